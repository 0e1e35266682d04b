//! What a page says besides its first line: all that a human needs to decide.

use std::time::Duration;

use crate::config::{Metric, Observed, Query};
use crate::draft::Draft;
use crate::firing::{Attempt, Firing, Origin, Outcome, Took};
use crate::name::PathName;
use crate::receipt::fingerprint;
use crate::receipt::text::{line, percent_encoded, took};
use crate::rehearsal::Rehearsing;
use crate::template::{Values, Variable};
use crate::time::{promql_duration, show_duration};

/// What others wrote stands on one line of a page, however it was written, so that it can't pass for a line of ours.
/// As long as a note may be.
pub(super) const LONGEST: usize = 4096;

/// What a chart shows of the time before the deploy.
const BEFORE_THE_DEPLOY: Duration = Duration::from_mins(15);

/// What a human needs to decide: what was seen, how much time there is, where to and by which ways, and how to answer.
pub(super) fn details(draft: &Draft<'_>, firing: &Firing) -> Vec<String> {
    let (id, trigger) = (&firing.id, draft.service.trigger(&firing.trigger));
    let mut details = Vec::new();
    if let (Some(value), Some(limit)) = (firing.value, firing.limit) {
        details.push(format!("value {value:.4}, limit {limit:.4}"));
    }
    details.push(clock(draft, firing));
    details.extend(firing.target.as_ref().map(|target| format!("the version to return to is {}", target.version)));
    if !firing.never_roll_back {
        details.extend(draft.service.paths.iter().map(|path| last_run(draft, &path.name)));
        details.extend(firing.attempts.iter().skip(firing.earlier_attempts).filter_map(tried));
    }
    details.extend(chart(draft, firing).map(|link| format!("chart: {link}")));
    details.extend(trigger.and_then(|trigger| trigger.note.clone()));
    let said = if firing.origin == Origin::Rehearsal { "why" } else { "reported" };
    details.extend(firing.note.as_ref().map(|note| format!("{said}: {}", line(note, LONGEST))));
    details.extend(firing.rehearsal.as_ref().map(|rehearsal| on_purpose(rehearsal)));
    if !firing.never_roll_back {
        details.push(format!("to roll back: rollbackd approve {id}"));
        details.push(format!("to leave it: rollbackd dismiss {id} --why TEXT"));
    }
    details.push(format!("seen: rollbackd ack {id}"));
    details
}

/// Whoever is paged must know that nobody made a mistake here.
fn on_purpose(rehearsal: &Rehearsing) -> String {
    let witness = rehearsal.witness.as_ref().map(|witness| format!(", witness {}", line(witness, LONGEST)));
    format!("rehearsal {}: this version was deployed on purpose{}", rehearsal.id, witness.unwrap_or_default())
}

/// How much of the budget is used, and what is left of it.
fn clock(draft: &Draft<'_>, firing: &Firing) -> String {
    let used = format!("observed at {}, {} ago", firing.observed_at, took(draft.now.since(firing.observed_at)));
    let Some(budget) = firing.budget else { return format!("{used}; no budget") };
    let left = budget.saturating_sub(draft.now.since(firing.observed_at));
    let left = if left.is_zero() { "is spent".to_owned() } else { format!("has {} left", took(left)) };
    format!("{used}; the budget of {} {left}", show_duration(budget))
}

fn last_run(draft: &Draft<'_>, path: &PathName) -> String {
    let rehearsed = match draft.own().rehearsed.get(path) {
        _ if draft.service.rehearsal.is_none() => String::new(),
        Some(known) if known.last.fingerprint != fingerprint(draft.service, path, &known.last.trigger) => {
            format!("; rehearsed at {}, and changed since", known.at)
        }
        Some(known) => format!("; rehearsed at {}, {} clean in a row", known.at, known.in_a_row),
        None => "; never rehearsed".to_owned(),
    };
    match draft.own().durations.get(path).and_then(|durations| durations.last()) {
        Some(Took(last)) => format!("path {path} took {} last time{rehearsed}", took(*last)),
        None => format!("path {path} has not brought a version back yet{rehearsed}"),
    }
}

/// How a way that was tried did not bring the target back: what has to be done by hand may stand there.
fn tried(attempt: &Attempt) -> Option<String> {
    let path = &attempt.path;
    let told = |what: &str, why: &str| Some(line(&format!("path {path} {what}: {why}"), LONGEST));
    match attempt.outcome.as_ref()? {
        Outcome::Failed { why, .. } => told("failed", why),
        Outcome::Cancelled { why } => told("was cancelled", why),
        Outcome::Unknown { why } => told("may have changed something", why),
        Outcome::TimedOut => Some(format!("path {path} used up its timeout")),
        Outcome::Succeeded { .. } | Outcome::NeverStarted => None,
    }
}

/// A link to the trigger's expression in Prometheus' own expression browser, from before the deploy on (the parameters
/// are those of its "Graph" tab: `g0.expr`, `g0.tab`, `g0.range_input`).
fn chart(draft: &Draft<'_>, firing: &Firing) -> Option<String> {
    let server = draft.config.graph_url.as_deref()?;
    let Observed::Metric(metric) = &draft.service.trigger(&firing.trigger)?.observed else { return None };
    let deploy = firing.deploy.as_ref()?;
    let since = draft.now.since(deploy.at);
    let values = Values::of_deploy(draft.name(), &deploy.version, deploy.at, deploy.commit.as_ref())
        .with(Variable::SinceDeploy, promql_duration(since.max(Duration::from_secs(1))));
    let minutes = (since + BEFORE_THE_DEPLOY).as_secs().div_ceil(60);
    let expr = percent_encoded(&expression(metric, &values)?);
    Some(format!("{server}/graph?g0.expr={expr}&g0.tab=0&g0.range_input={minutes}m"))
}

/// What a trigger compares with its limit, in PromQL.
fn expression(metric: &Metric, values: &Values) -> Option<String> {
    match &metric.query {
        Query::Ratio { bad, total } => {
            Some(format!("({}) / ({})", bad.render(values).ok()?, total.render(values).ok()?))
        }
        Query::Expression(expr) | Query::Filter { expr, .. } => expr.render(values).ok(),
    }
}
