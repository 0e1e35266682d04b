//! What the chart of a firing shows, and how values are named beside their limit.
//!
//! Never draws: [`crate::chart`] does.

use super::facts::Told;
use super::front::{FrontMatter, Kind};
use super::text::{line, took};
use super::timeline::how_it_ended;
use crate::chart::{Bar, Chart, Mark, Tone};
use crate::config::{Condition, Limit, Metric, Observed, Query};
use crate::firing::{FiringEnd, Origin, Outcome};
use crate::time::Timestamp;

pub use crate::chart::Unit;

/// Most points that are looked at: a day of one each 5 s. The drawing thins them further.
const MOST_POINTS: usize = 17_280;

fn metric<'a>(told: &Told<'a>) -> Option<&'a Metric> {
    match &told.service.trigger(&told.firing.trigger)?.observed {
        Observed::Report => None,
        Observed::Metric(metric) => Some(metric),
    }
}

/// Percent where the config says so or divides; seconds where a quantile is taken of a histogram of seconds.
pub(super) fn unit(told: &Told<'_>) -> Unit {
    if told.evidence.limit_is_percentage {
        return Unit::Percent;
    }
    match metric(told).map(|metric| &metric.query) {
        Some(Query::Ratio { .. }) => Unit::Percent,
        Some(Query::Expression(expr) | Query::Filter { expr, .. })
            if expr.source().contains("histogram_quantile") && expr.source().contains("_seconds") =>
        {
            Unit::Seconds
        }
        Some(Query::Expression(_) | Query::Filter { .. }) | None => Unit::Plain,
    }
}

fn limit_label(told: &Told<'_>, limit: f64) -> String {
    let shown = unit(told).show(limit);
    match metric(told).map(|metric| metric.condition) {
        Some(
            Condition::Above(Limit::TimesBaseline { factor, .. })
            | Condition::Below(Limit::TimesBaseline { factor, .. }),
        ) => {
            format!("{shown}, {factor}x baseline")
        }
        Some(Condition::Above(Limit::Fixed { .. }) | Condition::Below(Limit::Fixed { .. }) | Condition::Any) | None => {
            shown
        }
    }
}

/// ` (7.3 % against a limit of 5 %)`, as far as it is known.
pub(super) fn value_against_limit(told: &Told<'_>) -> String {
    let value = told.firing.value.filter(|value| value.is_finite()).map(|value| unit(told).show(value));
    let limit = told.limit().map(|limit| limit_label(told, limit));
    match (value, limit) {
        (Some(value), Some(limit)) => format!(" ({value} against a limit of {limit})"),
        (Some(value), None) => format!(" ({value})"),
        (None, Some(limit)) => format!(" (limit {limit})"),
        (None, None) => String::new(),
    }
}

pub(super) fn chart(told: &Told<'_>, front: &FrontMatter) -> Chart {
    let series = told.evidence.series.iter().take(MOST_POINTS).copied();
    Chart {
        title: format!("{}: {}", front.service, front.trigger),
        subtitle: subtitle(front),
        outcome: outcome(front),
        tone: tone(front),
        description: told.summary(front).plain(),
        unit: unit(told),
        series: series.collect(),
        limit: told.limit().map(|limit| (limit, format!("limit {}", limit_label(told, limit)))),
        above: told.evidence.above,
        without_series: match told.firing.origin {
            Origin::Metric => "no series: Prometheus gave none when this receipt was written",
            Origin::Report => "no series: this trigger was reported, not measured",
            Origin::Human => "no series: a human asked for this rollback",
            Origin::Rehearsal => "no series: no trigger saw what this rehearsal deployed",
        }
        .to_owned(),
        marks: marks(told, front),
        bad_window: (told.bad_since(), told.until().max(told.bad_since())),
        bars: bars(told, front),
    }
}

/// A version as far as it fits: of a long one (a digest) both ends.
fn short(version: &str) -> String {
    const LONGEST: usize = 36;
    const END: usize = 12;
    let count = version.chars().count();
    if count <= LONGEST {
        return version.to_owned();
    }
    let beginning: String = version.chars().take(LONGEST - END - 1).collect();
    let end: String = version.chars().skip(count - END).collect();
    format!("{beginning}…{end}")
}

fn subtitle(front: &FrontMatter) -> String {
    let versions = match (&front.version, &front.target) {
        (Some(version), Some(target)) => format!("{} → {}", short(version.as_str()), short(target.as_str())),
        (Some(version), None) => short(version.as_str()),
        (None, Some(target)) => format!("→ {}", short(target.as_str())),
        (None, None) => "version unknown".to_owned(),
    };
    let day = front.observed_at.to_string();
    format!("{versions} · {} · {}, times in UTC", front.kind.name(), day.get(..10).unwrap_or_default())
}

fn outcome(front: &FrontMatter) -> String {
    match (front.outcome, front.total, front.budget) {
        (FiringEnd::Recovered, Some(total), Some(budget)) => {
            format!("recovered in {} of {}", took(total), took(budget))
        }
        (FiringEnd::Recovered, Some(total), None) => format!("recovered in {}", took(total)),
        (FiringEnd::Recovered, None, _) => "recovered".to_owned(),
        (FiringEnd::Paged, _, _) if front.kind == Kind::DryRun => "would have paged".to_owned(),
        (FiringEnd::Paged, _, _) => "a human was paged".to_owned(),
        (FiringEnd::Dismissed, _, _) => "dismissed by a human".to_owned(),
        (FiringEnd::NotRecovered, _, _) => "not recovered".to_owned(),
    }
}

fn tone(front: &FrontMatter) -> Tone {
    match (front.outcome, front.within_budget) {
        (FiringEnd::Recovered, Some(false)) => Tone::Clock,
        (FiringEnd::Recovered, Some(true) | None) => Tone::Good,
        (FiringEnd::NotRecovered, _) => Tone::Bad,
        (FiringEnd::Paged | FiringEnd::Dismissed, _) => Tone::Plain,
    }
}

/// The marks in the order of time; each with its distance from observed.
fn marks(told: &Told<'_>, front: &FrontMatter) -> Vec<Mark> {
    let observed = front.observed_at;
    let marks = [
        (front.deployed_at, "deploy", Tone::Plain),
        (Some(front.breach_at), "breach", Tone::Bad),
        (Some(observed), "observed", Tone::Clock),
        (front.path_started_at, "path started", Tone::Ours),
        (front.path_finished_at, "path done", Tone::Ours),
        (front.recovered_at, "recovered", Tone::Good),
        (told.firing.recovered_at.is_none().then_some(told.ended_at), "closed", Tone::Plain),
    ];
    let marks = marks.into_iter().filter_map(|(at, name, tone)| {
        let at = at?;
        Some(Mark { at, label: format!("{name}{}", distance(at, observed)), tone })
    });
    let mut marks: Vec<Mark> = marks.collect();
    marks.sort_by_key(|mark| mark.at);
    marks
}

/// ` +1m 2s`: to a tenth of a second below a minute, else to the second.
fn distance(at: Timestamp, from: Timestamp) -> String {
    let before = from.since(at);
    let (sign, length) = if before.is_zero() { ("+", at.since(from)) } else { ("−", before) };
    let unit: u128 = if length.as_secs() < 60 { 100 } else { 1000 };
    let rounded = (length.as_millis() + unit / 2) / unit * unit;
    if rounded == 0 {
        return String::new();
    }
    format!(" {sign}{}", took(std::time::Duration::from_millis(u64::try_from(rounded).unwrap_or(u64::MAX))))
}

fn bars(told: &Told<'_>, front: &FrontMatter) -> Vec<Bar> {
    let until = told.until();
    let spent = took(until.since(front.observed_at));
    let clock = Bar {
        lane: "clock".to_owned(),
        from: front.observed_at,
        until,
        at_most: told.firing.budget_ends_at(),
        label: match front.budget {
            Some(budget) => format!("{spent} of {}", took(budget)),
            None => format!("{spent}, no budget"),
        },
        tone: tone(front),
    };
    let attempts = told.firing.attempts.iter().map(|attempt| {
        let ended_at = attempt.ended_at.unwrap_or(until);
        let how = how_it_ended(attempt.outcome.as_ref());
        Bar {
            lane: line(attempt.path.as_str(), 9),
            from: attempt.started_at,
            until: ended_at,
            at_most: None,
            label: format!("{}, {how}", took(ended_at.since(attempt.started_at))),
            tone: match attempt.outcome {
                Some(Outcome::Succeeded { .. }) => Tone::Ours,
                Some(Outcome::Failed { .. } | Outcome::TimedOut | Outcome::Cancelled { .. }) => Tone::Bad,
                Some(Outcome::Unknown { .. } | Outcome::NeverStarted) | None => Tone::Plain,
            },
        }
    });
    std::iter::once(clock).chain(attempts).collect()
}
