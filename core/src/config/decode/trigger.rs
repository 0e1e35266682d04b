//! One trigger of a list: its name, how it is observed, how long it must hold, and what happens then.
//!
//! Never looks at the service it belongs to: what only shows there is checked there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{DAY, MINUTE, Reading, metric, name, once};
use crate::config::lint::Lint;
use crate::config::node::{self, Fields, Node, Place, Problems, Value};
use crate::config::{Action, Trigger};
use crate::name::TriggerName;
use crate::time::show_duration;

/// Which list a trigger stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The list at the top level.
    Shared,
    /// A service's own list.
    Own,
}

/// A trigger, and where its `for` stands, which its service is checked against.
#[derive(Clone)]
pub(super) struct Placed {
    pub(super) trigger: Arc<Trigger>,
    pub(super) hold_place: Place,
}

/// The triggers that a human's own rollback, and a rehearsal's, are recorded under.
const RESERVED: [&str; 2] = [crate::HUMAN, crate::rehearsal::REHEARSAL];

/// Beyond this a rollback is a gap worth fixing (design, "Receipt").
const LONG_BUDGET: Duration = Duration::from_mins(15);
/// Below this a rollback is automated into the blast radius (design, "Receipt").
const SHORT_BUDGET: Duration = Duration::from_mins(2);

/// The triggers of a list; those that can't be used are noted and left out.
pub(super) fn decode_list(node: &Node, origin: Origin, reading: &Reading<'_>, problems: &mut Problems) -> Vec<Placed> {
    let mut seen = BTreeMap::new();
    let mut triggers = Vec::new();
    for (place, node) in (0..).zip(node::list(node, "triggers", problems)) {
        let Some(mut fields) = Fields::of(node, "a trigger", problems) else { continue };
        let found = name(&mut fields, TriggerName::new, problems);
        if let Some((name, place)) = &found {
            fields.call(format!("trigger {name}"));
            once(&mut seen, name, *place, "trigger", problems);
            if RESERVED.contains(&name.as_str()) {
                let message = format!("a trigger can't be called {name}: a {name}'s own rollback is recorded under it");
                problems.error(*place, message);
            }
        }
        let trigger = decode(&mut fields, found, (origin, place), reading, problems);
        finish(fields, problems);
        triggers.extend(trigger);
    }
    triggers
}

fn decode(
    fields: &mut Fields<'_>,
    name: Option<(TriggerName, Place)>,
    (origin, place): (Origin, u32),
    reading: &Reading<'_>,
    problems: &mut Problems,
) -> Option<Placed> {
    let hold = fields.optional("for");
    let hold = hold.and_then(|node| node::duration_within(node, Duration::ZERO, 7 * DAY, problems)).unwrap_or_default();
    let observed = metric::decode(fields, hold, origin, reading, problems);
    let is_report = fields.optional("observed").is_some();
    if is_report && !hold.is_zero() {
        let message = "`for` means nothing in a trigger with `observed: report`: a report fires at once";
        problems.error(fields.key_place("for"), message);
    }
    let action = fields.optional("action").and_then(|node| action(node, problems)).unwrap_or_default();
    let budget = budget(fields, action, problems);
    let never_roll_back = never_roll_back(fields, action, problems);
    let veto = veto(fields, action, budget, problems);
    let note = fields.optional("note").and_then(|node| node::text(node, problems)).map(str::to_owned);
    let (name, _) = name?;
    let shared = (origin == Origin::Shared).then_some(place);
    let observed = observed?;
    let trigger = Trigger { name, observed, hold, budget, action, never_roll_back, veto, note, shared };
    Some(Placed { trigger: Arc::new(trigger), hold_place: fields.value_place("for") })
}

fn action(node: &Node, problems: &mut Problems) -> Option<Action> {
    let words = [("rollback", Action::Rollback), ("page", Action::Page), ("shadow", Action::Shadow)];
    node::choice(node, &words, problems)
}

fn budget(fields: &mut Fields<'_>, action: Action, problems: &mut Problems) -> Option<Duration> {
    let Some(node) = fields.optional("budget") else {
        if action == Action::Rollback {
            let message = format!("{} has no `budget`: write one, or `budget: none`", fields.what());
            problems.warning(Lint::NoBudget, fields.place, message);
        }
        return None;
    };
    if matches!(&node.value, Value::Scalar { text, .. } if text == "none") {
        return None;
    }
    let budget = node::duration_within(node, super::SHORTEST, 7 * DAY, problems)?;
    let (shown, long, short) = (show_duration(budget), show_duration(LONG_BUDGET), show_duration(SHORT_BUDGET));
    if action == Action::Rollback && budget > LONG_BUDGET {
        problems.warning(
            Lint::LongBudget,
            node.place,
            format!("a budget of {shown} is longer than {long}: a gap worth fixing"),
        );
    }
    if action == Action::Rollback && budget < SHORT_BUDGET {
        let why = "few paths finish in it, and one that does acts before anyone looks";
        problems.warning(Lint::ShortBudget, node.place, format!("a budget of {shown} is shorter than {short}: {why}"));
    }
    Some(budget)
}

fn never_roll_back(fields: &mut Fields<'_>, action: Action, problems: &mut Problems) -> bool {
    let Some(node) = fields.optional("rollback") else { return false };
    if node::choice(node, &[("never", ())], problems).is_none() {
        return false;
    }
    match action {
        Action::Page => {}
        Action::Rollback => {
            let message =
                format!("{} is never rolled back, yet its action is rollback: set action: page", fields.what());
            problems.error(node.place, message);
        }
        Action::Shadow => {
            problems.warning(
                Lint::ShadowNever,
                node.place,
                "`rollback: never` says nothing of a shadow trigger: it rolls nothing back",
            );
        }
    }
    true
}

fn veto(fields: &mut Fields<'_>, action: Action, budget: Option<Duration>, problems: &mut Problems) -> Duration {
    let Some(node) = fields.optional("veto") else { return Duration::ZERO };
    let Some(veto) = node::duration_within(node, Duration::ZERO, 60 * MINUTE, problems) else { return Duration::ZERO };
    if let Some(budget) = budget.filter(|budget| veto >= *budget) {
        let (veto, budget) = (show_duration(veto), show_duration(budget));
        problems.error(node.place, format!("a veto of {veto} leaves nothing of the budget of {budget}: shorten it"));
    }
    match action {
        Action::Rollback => {}
        Action::Page | Action::Shadow => {
            problems.warning(
                Lint::IdleVeto,
                node.place,
                "a veto only delays a rollback: this trigger starts none by itself",
            );
        }
    }
    veto
}

/// Notes the keys that nobody asked for. Those of a whole alerting rule get a hint of their own.
fn finish(fields: Fields<'_>, problems: &mut Problems) {
    if fields.has("alert") {
        let message = "an alerting rule's `expr` and `for` are taken as they are; its `alert` is called `name` here, \
                       and its labels and annotations are left out";
        problems.error(fields.key_place("alert"), message);
    } else {
        fields.finish(problems);
    }
}
