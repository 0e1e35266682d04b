//! The simulated Prometheus: answers the config's queries from what production showed.

use std::collections::BTreeMap;
use std::time::Duration;

use rollbackd_core::reading::{Answer, Labels, Series};
use rollbackd_core::time::Timestamp;

use crate::config::SERVICES;
use crate::plan::{Plan, Trouble};
use crate::production::{Production, Signal, metric_named_in};
use crate::time;

/// What of a metric a query asks for.
enum Asked {
    Bad,
    Total,
    Traffic,
    Value,
    /// When the newest sample was taken.
    Newest,
}

/// The answer to a query now, which may put several together: those that are marked by a label, then one that is not.
pub(crate) fn answer(
    plan: &Plan,
    production: &Production,
    expr: &str,
    range: (Timestamp, Timestamp, Duration),
) -> Answer {
    let (mut queries, mut rest) = (Vec::new(), expr);
    while let Some((query, (name, after))) =
        rest.split_once(", \"rollbackd_query\", \"").and_then(|(query, after)| Some((query, after.split_once('"')?)))
    {
        queries.push((Some(name), query));
        rest = after;
    }
    queries.push((None, rest));
    let mut all = Vec::new();
    for (name, query) in queries {
        match answer_to_one(plan, production, query, range) {
            Answer::Series(found) => all.extend(found.into_iter().map(|mut series| {
                if let Some(name) = name {
                    series.labels.insert("rollbackd_query".into(), name.into());
                }
                series
            })),
            spoiled @ (Answer::Partial(_) | Answer::Failed(_)) => return spoiled,
        }
    }
    Answer::Series(all)
}

fn answer_to_one(
    plan: &Plan,
    production: &Production,
    expr: &str,
    (from, to, step): (Timestamp, Timestamp, Duration),
) -> Answer {
    let services: Vec<usize> = (0..plan.variant.services).filter(|service| names(expr, *service)).collect();
    let slots = std::iter::successors(Some(from), |slot| Some(*slot + step)).take_while(|slot| *slot <= to);
    let slots: Vec<Timestamp> = slots.filter(|slot| is_visible(plan, *slot)).collect();
    if expr.starts_with("build_info") {
        return versions(plan, production, services[0], &slots);
    }
    let Some(metric) = metric_named_in(expr) else { return Answer::Failed(format!("what is {expr:?}?")) };
    let asked = asked(expr);
    let mut series = Vec::new();
    for service in services {
        let sample = |slot: &Timestamp| {
            let signal = production.signal(plan, service, metric, true_time(plan, *slot));
            Some((*slot, value(&asked, signal, *slot)?))
        };
        let samples: Vec<(Timestamp, f64)> = slots.iter().filter_map(sample).collect();
        if !samples.is_empty() {
            let labels = Labels::from_iter([("service".into(), SERVICES[service].into())]);
            series.push(Series { labels, samples });
        }
    }
    Answer::Series(series)
}

/// Whether a query asks about this service: by its name, or about all of them.
fn names(expr: &str, service: usize) -> bool {
    !expr.contains("service=\"") || expr.contains(&format!("service=\"{}\"", SERVICES[service]))
}

fn asked(expr: &str) -> Asked {
    match expr {
        _ if expr.contains("timestamp(") => Asked::Newest,
        _ if expr.contains("_bad") => Asked::Bad,
        _ if expr.contains("_total") => Asked::Total,
        _ if expr.contains("_traffic") => Asked::Traffic,
        _ => Asked::Value,
    }
}

/// The true instant of a sample that Prometheus gives this time.
pub(crate) fn true_time(plan: &Plan, slot: Timestamp) -> Timestamp {
    Timestamp::from_milliseconds(slot.milliseconds() - plan.prometheus_ahead)
}

/// Whether the samples of a slot are there by now.
fn is_visible(plan: &Plan, slot: Timestamp) -> bool {
    is_visible_at(plan, slot, time::now())
}

/// Whether the samples of a slot are there at a true instant.
pub(crate) fn is_visible_at(plan: &Plan, slot: Timestamp, now: Timestamp) -> bool {
    let at = true_time(plan, slot);
    let late = plan.troubles.iter().filter_map(|(from, until, trouble)| match trouble {
        Trouble::Late(by) if time::at(*from) <= at && at < time::at(*until) => Some(Duration::from_millis(*by)),
        _ => None,
    });
    at + late.max().unwrap_or_default() <= now
}

fn value(asked: &Asked, signal: Signal, slot: Timestamp) -> Option<f64> {
    match (asked, signal) {
        (_, Signal::Missing) => None,
        (Asked::Newest, _) => Some(slot.seconds()),
        (Asked::Traffic, Signal::Low) => Some(2.0),
        (Asked::Traffic, _) => Some(100.0),
        (_, Signal::Nan) => Some(f64::NAN),
        (Asked::Total, Signal::Low) => Some(2.0),
        (Asked::Total, Signal::Value(_)) => Some(100.0),
        (Asked::Bad, Signal::Low) => Some(1.0),
        (Asked::Bad, Signal::Value(value)) => Some(value * 100.0).filter(|bad| *bad > 0.0),
        (Asked::Value, Signal::Low) => Some(0.0),
        (Asked::Value, Signal::Value(value)) => Some(value),
    }
}

fn versions(plan: &Plan, production: &Production, service: usize, slots: &[Timestamp]) -> Answer {
    let mut series: BTreeMap<String, Vec<(Timestamp, f64)>> = BTreeMap::new();
    for slot in slots {
        let at = true_time(plan, *slot);
        if production.signal(plan, service, 0, at) != Signal::Missing {
            let (_, version) = production.serving(service, at);
            series.entry(version.to_string()).or_default().push((*slot, 1.0));
        }
    }
    let labelled = series.into_iter().map(|(version, samples)| {
        let revision = format!("rev-{version}");
        Series {
            labels: Labels::from_iter([("version".into(), version.into()), ("revision".into(), revision.into())]),
            samples,
        }
    });
    Answer::Series(labelled.collect())
}
