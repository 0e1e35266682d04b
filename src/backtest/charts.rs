//! The picture of a firing that would have been: the trigger's values, its limit, and what would have happened when.

use rollbackd_core::chart::{Bar, Chart, Mark, Tone, Unit};
use rollbackd_core::config::{Condition, Metric, Trigger};
use rollbackd_core::name::ServiceName;
use rollbackd_core::reading::Answers;
use rollbackd_core::time::{Timestamp, show_duration};
use rollbackd_core::trigger;

use super::deploys::Deployed;

/// How much is shown of the time before the deploy.
const BEFORE: std::time::Duration = std::time::Duration::from_secs(600);

/// What a picture shows.
pub(super) struct Shown<'a> {
    pub(super) service: &'a ServiceName,
    pub(super) trigger: &'a Trigger,
    pub(super) metric: &'a Metric,
    pub(super) deploy: &'a Deployed,
    pub(super) breach_at: Timestamp,
    pub(super) observed_at: Timestamp,
    pub(super) clear_at: Option<Timestamp>,
    pub(super) last_seen: Timestamp,
    pub(super) limit: Option<f64>,
    pub(super) would: &'a str,
    pub(super) unit: Unit,
}

/// Draws a firing. `answers` is what was recorded around it.
pub(super) fn firing(shown: &Shown<'_>, answers: Option<&Answers>) -> Chart {
    let until = shown.clear_at.unwrap_or(shown.last_seen);
    let (first, last) = (shown.deploy.at - BEFORE, until + BEFORE);
    let points = answers.map(|answers| trigger::looks(shown.metric, Some(shown.limit.unwrap_or(0.0)), answers));
    let points = points.unwrap_or_default();
    let within = points.iter().filter(|point| (first..=last).contains(&point.at));
    let lasted = until.since(shown.breach_at);
    let (version, name) = (&shown.deploy.report.version, &shown.trigger.name);
    let after = show_duration(shown.observed_at.since(shown.deploy.at));
    let mut marks = vec![
        Mark { at: shown.deploy.at, label: format!("{version} deployed"), tone: Tone::Plain },
        Mark { at: shown.breach_at, label: "breach".to_owned(), tone: Tone::Bad },
        Mark { at: shown.observed_at, label: "would have fired".to_owned(), tone: Tone::Clock },
    ];
    marks.extend(shown.clear_at.map(|at| Mark { at, label: "clear".to_owned(), tone: Tone::Good }));
    let outcome = if shown.clear_at.is_some() { "the breach lasted" } else { "the breach lasted at least" };
    Chart {
        title: format!("{}: {name}", shown.service),
        subtitle: format!("{version}, deployed at {}", shown.deploy.at),
        outcome: format!("{outcome} {}", show_duration(lasted)),
        tone: Tone::Bad,
        description: format!("{name} would have fired {after} after the deploy of {version}: {}", shown.would),
        unit: shown.unit,
        series: within.map(|point| (point.at, point.look.value().unwrap_or(f64::NAN))).collect(),
        limit: shown.limit.map(|limit| (limit, format!("limit {}", shown.unit.show(limit)))),
        above: !matches!(shown.metric.condition, Condition::Below(_)),
        without_series: "nothing was recorded".to_owned(),
        marks,
        bad_window: (shown.breach_at, until),
        bars: vec![Bar {
            lane: "breach".to_owned(),
            from: shown.breach_at,
            until,
            at_most: None,
            // The heading says how long; beside a bar this wide it would stand in its lane's name.
            label: String::new(),
            tone: Tone::Bad,
        }],
    }
}
