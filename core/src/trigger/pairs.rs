//! `bad` over `total`: which series belong together, found once for all slots.

use std::collections::BTreeMap;

use super::series;
use crate::reading::{Answers, Labels, Look, Series};
use crate::time::Timestamp;

/// The series of a ratio's two queries.
pub(super) struct Pairs<'a> {
    pairs: Vec<(&'a Series, Option<&'a Series>)>,
    /// What of `bad` belongs to no `total`.
    alone: Vec<&'a Series>,
}

impl<'a> Pairs<'a> {
    /// Matches the series by their labels.
    pub(super) fn of(answers: &'a Answers) -> Self {
        let (bad, total) = (series(Some(&answers.value)), series(answers.total.as_ref()));
        if total.is_empty() {
            // No traffic, whatever failed.
            return Self { pairs: Vec::new(), alone: Vec::new() };
        }
        if let ([bad], [total]) = (bad, total)
            && bad.labels == total.labels
        {
            return Self { pairs: vec![(total, Some(bad))], alone: Vec::new() };
        }
        let mut left: BTreeMap<&Labels, &Series> = bad.iter().map(|series| (&series.labels, series)).collect();
        let pairs = total.iter().map(|total| (total, left.remove(&total.labels))).collect();
        Self { pairs, alone: left.into_values().collect() }
    }

    /// The worst ratio over the series of `total`. No `bad` for a `total` is 0: a clean service has no such series at
    /// all.
    pub(super) fn ratio(&self, at: Timestamp) -> Result<f64, Look> {
        let failures = |bad: &Series| bad.at(at).is_some_and(|value| value > 0.0);
        let mut worst: Option<f64> = None;
        let (mut traffic, mut counted) = (false, false);
        let mut unmatched = self.alone.iter().any(|bad| failures(bad));
        for (total, bad) in &self.pairs {
            let Some(all) = total.at(at) else {
                unmatched |= bad.is_some_and(failures);
                continue;
            };
            counted = true;
            // Zero is no traffic; NaN is neither traffic nor the lack of it.
            if all == 0.0 {
                continue;
            }
            traffic = true;
            let ratio = bad.and_then(|bad| bad.at(at)).unwrap_or(0.0) / all;
            // A total that is infinite would make any failure look like none.
            if ratio.is_finite() && all.is_finite() {
                worst = Some(worst.map_or(ratio, |known| known.max(ratio)));
            }
        }
        // Failures that belong to no `total`: the two don't speak of the same things.
        if unmatched && !self.pairs.is_empty() {
            return Err(Look::Error);
        }
        if !traffic {
            return Err(if counted { Look::LowTraffic } else { Look::NoTraffic });
        }
        worst.ok_or(Look::NoData)
    }
}
