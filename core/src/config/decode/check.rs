//! What only shows once a whole service is read: triggers without a path, a `for` that no watch can see, nobody paged.
//!
//! Never repeats what is wrong with one part alone, and never blames a part that could not be read.

use std::time::Duration;

use super::MOST_SLOTS;
use super::service::Written;
use crate::comparison::can_fire;
use crate::config::lint::Lint;
use crate::config::node::Problems;
use crate::config::{Action, Observed, PathRule, Trigger};
use crate::template::Variable;
use crate::time::show_duration;

/// Checks the parts of a service against each other.
pub(super) fn service(written: &Written, problems: &mut Problems) {
    triggers(written, problems);
    holds(written, problems);
    comparisons(written, problems);
    paths(written, problems);
    somebody_to_page(written, problems);
    what_serves(written, problems);
    side_effects(written, problems);
}

fn triggers(written: &Written, problems: &mut Problems) {
    let name = &written.service.name;
    if written.triggers.is_empty() && !written.unread.triggers {
        let message = format!("service {name} has no triggers: its deploys are recorded, not watched");
        problems.warning(Lint::NoTriggers, written.place, message);
    }
    let rolling: Vec<&str> = rolling_back(written).map(|trigger| trigger.name.as_str()).collect();
    if written.service.paths.is_empty() && !written.unread.paths && !rolling.is_empty() {
        let rolling = rolling.join(", ");
        let message = format!("service {name} has no path to roll back by for {rolling}; add one or set action: page");
        problems.error(written.place, message);
    }
}

fn rolling_back(written: &Written) -> impl Iterator<Item = &Trigger> {
    let triggers = written.service.triggers.iter().map(AsRef::as_ref);
    triggers.filter(|trigger: &&Trigger| trigger.action == Action::Rollback)
}

fn holds(written: &Written, problems: &mut Problems) {
    let (name, watch) = (&written.service.name, written.service.watch);
    for placed in written.triggers.iter().filter(|placed| placed.trigger.hold > watch) {
        let (trigger, hold, watch) = (&placed.trigger.name, show_duration(placed.trigger.hold), show_duration(watch));
        let message = format!("trigger {trigger} can never fire for {name}: `for` is {hold}, the watch only {watch}");
        problems.error(placed.hold_place, message);
    }
}

/// A test needs samples: where the watch or the baseline is too short for them, it would be as if the trigger were not there.
fn comparisons(written: &Written, problems: &mut Problems) {
    let (name, watch) = (&written.service.name, written.service.watch);
    for placed in &written.triggers {
        let Observed::Metric(metric) = &placed.trigger.observed else { continue };
        let Some(comparison) = &metric.comparison else { continue };
        let (trigger, apart) = (&placed.trigger.name, show_duration(metric.step));
        let asked = metric.baseline_window().unwrap_or_default() + watch;
        let slots = asked.as_millis() / metric.step.as_millis().max(1);
        if slots > MOST_SLOTS {
            let message = format!(
                "trigger {trigger} of {name} asks for {slots} points at once, from its baseline to the end of the watch: \
                 expected at most {MOST_SLOTS}; shorten either"
            );
            problems.error(placed.hold_place, message);
        } else if !can_fire(metric, comparison, watch) {
            let message = format!(
                "trigger {trigger} can never fire for {name}: with a sample every {apart}, the watch of {} and its baseline \
                 hold too few to tell anything; lengthen them, or shorten the query's window",
                show_duration(watch)
            );
            problems.error(placed.hold_place, message);
        }
    }
}

fn paths(written: &Written, problems: &mut Problems) {
    let budgets: Vec<Option<Duration>> = rolling_back(written).map(|trigger| trigger.budget).collect();
    let longest = budgets.iter().flatten().max();
    if let (Some(path), Some(place), Some(longest)) = (written.service.paths.first(), written.paths.first(), longest)
        && !budgets.contains(&None)
        && path.timeout > *longest
    {
        let (name, timeout, longest) = (&path.name, show_duration(path.timeout), show_duration(*longest));
        let message = format!("path {name} may take {timeout}, longer than every budget: the longest is {longest}");
        problems.warning(Lint::PathOverBudget, *place, message);
    }
    let reads_revision = |path: &PathRule| path.run.iter().any(|part| part.value.names(Variable::TargetRevision));
    if written.service.version_query.is_none() && !written.unread.version_query {
        for (path, place) in written.service.paths.iter().zip(&written.paths).filter(|(path, _)| reads_revision(path)) {
            let why = "its service has no `version_query`, whose label `revision` would say it";
            problems.error(*place, format!("path {} needs {{{{ target.revision }}}}: {why}", path.name));
        }
    }
}

fn somebody_to_page(written: &Written, problems: &mut Problems) {
    let acts = written.service.triggers.iter().any(|trigger| trigger.action != Action::Shadow);
    if acts && written.service.page.is_empty() && !written.unread.page {
        let message = format!("service {} pages nobody: set `page` to a list of pagers", written.service.name);
        problems.warning(Lint::PagesNobody, written.place, message);
    }
}

fn what_serves(written: &Written, problems: &mut Problems) {
    let asked = written.service.version_query.is_some() || written.unread.version_query;
    if rolling_back(written).next().is_some() && !asked {
        let name = &written.service.name;
        let message = format!("service {name} has no `version_query`: that the target serves again can't be proven");
        problems.warning(Lint::NoVersionQuery, written.place, message);
    }
}

fn side_effects(written: &Written, problems: &mut Problems) {
    if written.service.side_effects.is_none() && rolling_back(written).next().is_some() {
        let name = &written.service.name;
        let message = format!("service {name} says nothing of side effects: list them, or write `side_effects: none`");
        problems.warning(Lint::NoSideEffects, written.place, message);
    }
}
