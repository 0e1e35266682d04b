//! What the buckets of a histogram say between two readings, and what stands at a share of some values.

use crate::usage::Metrics;

/// The buckets of a histogram without labels: upper bound and how many are below it.
fn buckets(metrics: &Metrics, name: &str) -> Vec<(f64, f64)> {
    let bound = |labels: &str| match labels.strip_prefix("le=\"")?.strip_suffix("\"}")? {
        "+Inf" => Some(f64::INFINITY),
        bound => bound.parse().ok(),
    };
    let series = metrics.series(&format!("{name}_bucket"));
    let mut buckets: Vec<(f64, f64)> =
        series.iter().filter_map(|(labels, count)| Some((bound(labels)?, *count))).collect();
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    buckets
}

/// The bound below which this share of what came in between two readings lies.
pub(crate) fn quantile_between(before: &Metrics, after: &Metrics, name: &str, share: f64) -> f64 {
    let (now, then) = (buckets(after, name), buckets(before, name));
    let new: Vec<(f64, f64)> =
        now.iter().zip(&then).map(|((bound, count), (_, earlier))| (*bound, count - earlier)).collect();
    let all = new.last().map_or(0.0, |(_, count)| *count);
    new.iter().find(|(_, count)| *count >= all * share).map_or(f64::NAN, |(bound, _)| *bound)
}

/// This share of the values lies at or below it.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// The median of some values.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}
