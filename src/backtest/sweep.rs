//! What other limits would have done: each trigger alone, with limits around the one that it has.

use std::time::Duration;

use rollbackd_core::config::{Condition, Config, Limit, Observed, Trigger};
use rollbackd_core::name::{ServiceName, TriggerName};
use serde::Serialize;

use super::alone;

/// Around 5 %: 3 %, 5 % and 8 %.
const AROUND_A_NUMBER: [f64; 3] = [0.6, 1.0, 1.6];

/// Around twice the baseline: 1.5 times, twice and 3 times.
const AROUND_A_BASELINE: [f64; 3] = [0.75, 1.0, 1.5];

/// A trigger with another limit, alone in a config.
pub(super) struct Variant {
    pub(super) service: ServiceName,
    pub(super) trigger: TriggerName,
    pub(super) condition: Condition,
    pub(super) is_own: bool,
    pub(super) config: Config,
}

/// What one limit would have done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SweepOutcome {
    /// The limit, as people read it.
    pub limit: String,
    /// Whether it is the limit that the trigger has.
    pub is_own: bool,
    /// How many deploys it would have fired on.
    pub fired: usize,
    /// How many of them outside any incident; none where no incidents were named.
    pub outside_incidents: Option<usize>,
    /// How many incidents no firing of it was a part of; none where no incidents were named.
    pub missed_incidents: Option<usize>,
    /// How long after the deploy it would have fired: the median, in seconds.
    pub median_after_seconds: Option<f64>,
}

/// Every trigger of every service with each limit around its own.
pub(super) fn variants(config: &Config) -> Vec<Variant> {
    let mut variants = Vec::new();
    for (name, service) in &config.services {
        for trigger in &service.triggers {
            for (is_own, condition, changed) in around(trigger) {
                variants.push(Variant {
                    service: name.clone(),
                    trigger: trigger.name.clone(),
                    condition,
                    is_own,
                    config: alone(config, service, changed),
                });
            }
        }
    }
    variants
}

fn around(trigger: &Trigger) -> Vec<(bool, Condition, Trigger)> {
    let Observed::Metric(metric) = &trigger.observed else { return Vec::new() };
    let changed = |(is_own, condition): (bool, Condition)| {
        let mut metric = metric.clone();
        std::sync::Arc::make_mut(&mut metric).condition = condition;
        (is_own, condition, Trigger { observed: Observed::Metric(metric), ..trigger.clone() })
    };
    conditions(metric.condition).into_iter().map(changed).collect()
}

/// The condition with each limit around its own.
fn conditions(own: Condition) -> Vec<(bool, Condition)> {
    let limits = |own: Limit| match own {
        Limit::Fixed { value, shown_as_percentage } => {
            AROUND_A_NUMBER.map(|factor| (factor == 1.0, Limit::Fixed { value: value * factor, shown_as_percentage }))
        }
        Limit::TimesBaseline { factor: own, window } => {
            AROUND_A_BASELINE.map(|factor| (factor == 1.0, Limit::TimesBaseline { factor: own * factor, window }))
        }
    };
    match own {
        Condition::Above(limit) => limits(limit).map(|(is_own, limit)| (is_own, Condition::Above(limit))).to_vec(),
        Condition::Below(limit) => limits(limit).map(|(is_own, limit)| (is_own, Condition::Below(limit))).to_vec(),
        Condition::Any => Vec::new(),
    }
}

/// The median of some durations, in seconds.
pub(super) fn median(durations: &[Duration]) -> Option<f64> {
    let mut seconds: Vec<f64> = durations.iter().map(Duration::as_secs_f64).collect();
    seconds.sort_by(f64::total_cmp);
    let middle = seconds.len() / 2;
    let upper = *seconds.get(middle)?;
    let lower = if seconds.len().is_multiple_of(2) { seconds.get(middle.checked_sub(1)?).copied() } else { None };
    Some(lower.map_or(upper, |lower| f64::midpoint(lower, upper)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn around_five_percent_are_three_and_eight_and_around_twice_the_baseline_one_and_a_half_and_three() {
        let limits = |condition| -> Vec<String> {
            let shown = |(is_own, condition)| match condition {
                Condition::Above(Limit::Fixed { value, .. }) => format!("{value:.2} {is_own}"),
                Condition::Below(Limit::TimesBaseline { factor, .. }) => format!("{factor}x {is_own}"),
                Condition::Above(_) | Condition::Below(_) | Condition::Any => panic!("{condition:?}"),
            };
            conditions(condition).into_iter().map(shown).collect()
        };
        let fixed = Condition::Above(Limit::Fixed { value: 0.05, shown_as_percentage: true });
        assert_eq!(limits(fixed), ["0.03 false", "0.05 true", "0.08 false"]);
        let window = Duration::from_secs(3600);
        let times = Condition::Below(Limit::TimesBaseline { factor: 2.0, window });
        assert_eq!(limits(times), ["1.5x false", "2x true", "3x false"]);
        assert_eq!(conditions(Condition::Any), []);
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        let of = |seconds: &[u64]| median(&seconds.iter().copied().map(Duration::from_secs).collect::<Vec<_>>());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[4, 1, 100]), Some(4.0));
        assert_eq!(of(&[1, 2, 4, 100]), Some(3.0));
    }
}
