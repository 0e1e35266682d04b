//! What a ratio's range costs: how long a real failure needs until the range shows it. Of a range that begins with the
//! deploy, how long one that begins half-way through the watch.
//!
//! Never a measurement: the time at which a share that fails steadily since one instant, after none failed, makes the ratio
//! of two sums over the range meet the limit. Measured with Prometheus 2.42: 249 s where this says 250 s, 50 s where it
//! says 50 s.

use std::time::Duration;

use rollbackd_core::config::lint::Lint;
use rollbackd_core::config::node::Problems;
use rollbackd_core::config::{Condition, Limit, Metric, Query, Service, Trigger};
use rollbackd_core::time::show_duration;

use super::places::Places;
use super::triggers::is_written;
use crate::promql::shape::Shape;

/// Failures that are told, in limits: one just above it, and one that is four times as bad. All requests are told besides.
const IN_LIMITS: [f64; 2] = [1.2, 4.0];

/// Notes what the range of a ratio costs.
pub(super) fn note(
    service: &Service,
    trigger: &Trigger,
    metric: &Metric,
    shapes: &[Shape],
    places: &Places,
    problems: &mut Problems,
) {
    let (Some(limit), Some(range)) = (share(metric), range(metric, shapes)) else { return };
    let message = if is_written(range) {
        let told = told(limit, |share| Some(time_to_cross(range, limit, share)));
        format!("the range of {} costs time: the ratio is above {} {told}", show_duration(range), percent(limit))
    } else {
        let (half, limit_shown) = (service.watch / 2, percent(limit));
        let told = told(limit, |share| time_to_cross_since(half, limit, share).filter(|time| *time <= half));
        format!(
            "a range of `{{{{ since_deploy }}}}` costs more time the later a failure begins: right after the deploy none; \
             half-way through the watch, {} after it, the ratio is above {limit_shown} {told}",
            show_duration(half)
        )
    };
    let message = format!("{message}; then `for` is {}", show_duration(trigger.hold));
    let key = if matches!(metric.query, Query::Ratio { .. }) { "bad" } else { "expr" };
    problems.note(Lint::WindowCost, places.of_trigger(service, trigger, key), message);
}

/// After which time each share of failures is seen; `None` for one that the watch does not see.
fn told(limit: f64, time: impl Fn(f64) -> Option<Duration>) -> String {
    let shares = IN_LIMITS.into_iter().map(|limits| limit * limits).filter(|share| *share < 1.0).chain([1.0]);
    let (mut seen, mut unseen) = (Vec::new(), String::new());
    for share in shares {
        match time(share) {
            Some(time) => seen.push(format!("{} after {}", show_duration(time), percent(share))),
            None => unseen = format!(", not within the watch where {} do", percent(share)),
        }
    }
    format!("{} of the requests begin to fail{unseen}", seen.join(", "))
}

/// The limit, where it is a share of all.
fn share(metric: &Metric) -> Option<f64> {
    match metric.condition {
        Condition::Above(Limit::Fixed { value, .. }) if value > 0.0 && value < 1.0 => Some(value),
        Condition::Above(_) | Condition::Below(_) | Condition::Any => None,
    }
}

/// The one range of a ratio of rates; none where it is no such ratio.
fn range(metric: &Metric, shapes: &[Shape]) -> Option<Duration> {
    let is_ratio = match metric.query {
        Query::Ratio { .. } => shapes.len() == 2,
        Query::Expression(_) | Query::Filter { .. } => shapes.iter().all(|shape| shape.divides),
    };
    let mut ranges = shapes.iter().flat_map(|shape| &shape.ranges);
    let length = ranges.clone().map(|range| range.length).next()?;
    let alike = ranges
        .all(|range| matches!(range.function, "rate" | "increase") && range.length == length && !range.in_subquery);
    (is_ratio && alike).then_some(length)
}

/// After this time a share that fails since one instant makes up the limit in a range of this length: the part of the
/// range that has failed by then, times the share, is the limit.
fn time_to_cross(range: Duration, limit: f64, share: f64) -> Duration {
    whole_seconds(range.as_secs_f64() * limit / share).unwrap_or(range)
}

/// The same where the range began with the deploy, `good` before the failure: what has failed by then, of all since the
/// deploy, is the limit.
fn time_to_cross_since(good: Duration, limit: f64, share: f64) -> Option<Duration> {
    whole_seconds(good.as_secs_f64() * limit / (share - limit))
}

/// To the second above. Float error would make 51 s of 50.000000001 s.
fn whole_seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64((seconds - 1e-6).ceil()).ok()
}

fn percent(share: f64) -> String {
    let rounded = (share * 100_000.0).round() / 1000.0;
    format!("{rounded}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_cross_is_what_was_measured() {
        let cross = |range, share| time_to_cross(Duration::from_secs(range), 0.05, share).as_secs();
        assert_eq!([cross(300, 0.06), cross(60, 0.06), cross(60, 0.2), cross(60, 1.0)], [250, 50, 15, 3]);
    }

    #[test]
    fn the_time_to_cross_since_the_deploy_is_what_was_measured() {
        // 315.4, 30.4 and 15.6 s with `for: 10s` and up to two scrapes, a minute after the deploy (docs/performance.md).
        let cross = |share| time_to_cross_since(Duration::from_secs(60), 0.05, share).map(|time| time.as_secs());
        assert_eq!([cross(0.06), cross(0.2), cross(1.0)], [Some(300), Some(20), Some(4)]);
    }

    #[test]
    fn a_share_is_told_without_float_error() {
        assert_eq!([0.05 * 1.2, 0.05 * 4.0, 1.0, 0.001].map(percent), ["6%", "20%", "100%", "0.1%"]);
    }
}
