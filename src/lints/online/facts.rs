//! What a Prometheus says of selectors and metrics, asked once each.
//!
//! Never takes no answer for "nothing".

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rollbackd_core::reading::{Answer, Labels, Series};
use rollbackd_core::time::Timestamp;

use crate::prometheus::Prometheus;

/// How far back a series is read to learn its scrape interval: ten scrapes at Prometheus' default of one a minute.
const SCRAPES_WITHIN: &str = "10m";

/// Fewer scrapes than these say nothing of their interval.
const LEAST_SCRAPES: usize = 3;

/// Prometheus moves a sample by up to this much to keep the grid; an interval is told no finer.
const GRID: Duration = Duration::from_millis(100);

/// What is known so far.
pub(super) struct Facts<'a> {
    pub(super) prometheus: &'a Prometheus,
    pub(super) now: Timestamp,
    answers: BTreeMap<String, Option<Vec<Series>>>,
    types: BTreeMap<String, Vec<String>>,
    unanswered: BTreeSet<String>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(prometheus: &'a Prometheus, now: Timestamp) -> Self {
        let (answers, types, unanswered) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { prometheus, now, answers, types, unanswered }
    }

    /// What could not be asked, a line each.
    pub(super) fn unanswered(self) -> Vec<String> {
        self.unanswered.into_iter().collect()
    }

    /// Notes that something could not be asked.
    pub(super) fn not_answered(&mut self, what: &str, why: &str) {
        self.unanswered.insert(format!("not looked for: {what}: {why}"));
    }

    /// Whether a selector has data now; none where nobody says.
    pub(super) async fn has_data(&mut self, selector: &str) -> Option<bool> {
        Some(!self.series(&format!("count({selector})")).await?.is_empty())
    }

    /// The values of a label, of the series that a selector has now.
    pub(super) async fn values_of(&mut self, selector: &str, label: &str) -> Option<Vec<String>> {
        let series = self.series(&format!("count by ({label}) ({selector})")).await?;
        Some(series.iter().filter_map(|series| series.labels.get(label).map(ToString::to_string)).collect())
    }

    /// The labels of one series that a selector has now.
    pub(super) async fn labels_of_one(&mut self, selector: &str) -> Option<Labels> {
        self.series(&format!("topk(1, {selector})")).await?.first().map(|series| series.labels.clone())
    }

    /// From sample to sample, as one series of this selector has them: the median.
    pub(super) async fn scrape_interval(&mut self, selector: &str) -> Option<Duration> {
        let labels = self.labels_of_one(selector).await?;
        let matchers: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let series = self.series(&format!("{{{}}}[{SCRAPES_WITHIN}]", matchers.join(","))).await?;
        let samples: Vec<Timestamp> = series.first()?.samples.iter().map(|sample| sample.0).collect();
        median_interval(&samples)
    }

    /// The types that exporters say of a metric.
    pub(super) async fn types_of(&mut self, metric: &str) -> Vec<String> {
        if let Some(known) = self.types.get(metric) {
            return known.clone();
        }
        let types = self.prometheus.types_of(metric).await.unwrap_or_else(|why| {
            self.not_answered("rate-of-gauge", &format!("no answer from /api/v1/metadata: {why}"));
            Vec::new()
        });
        self.types.insert(metric.to_owned(), types.clone());
        types
    }

    async fn series(&mut self, query: &str) -> Option<Vec<Series>> {
        if let Some(known) = self.answers.get(query) {
            return known.clone();
        }
        let answer = match self.prometheus.instant(query, self.now).await {
            Answer::Series(series) => Some(series),
            Answer::Partial(why) | Answer::Failed(why) => {
                self.not_answered(query, &why);
                None
            }
        };
        self.answers.insert(query.to_owned(), answer.clone());
        answer
    }
}

/// The median from one to the next, to the grid.
fn median_interval(samples: &[Timestamp]) -> Option<Duration> {
    if samples.len() < LEAST_SCRAPES {
        return None;
    }
    let mut intervals: Vec<Duration> =
        samples.iter().zip(samples.iter().skip(1)).map(|(earlier, later)| later.since(*earlier)).collect();
    intervals.sort();
    let median = intervals.get(intervals.len() / 2)?;
    let grid = GRID.as_millis();
    let steps = (median.as_millis() + grid / 2) / grid;
    Some(GRID * u32::try_from(steps.max(1)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_the_median_whatever_is_missing_or_moved() {
        let at = |milliseconds: &[i64]| -> Vec<Timestamp> {
            milliseconds.iter().map(|at| Timestamp::from_milliseconds(*at)).collect()
        };
        assert_eq!(median_interval(&at(&[0, 15_002, 29_999, 60_000, 75_001])), Some(Duration::from_secs(15)));
        assert_eq!(median_interval(&at(&[0, 500, 1_000, 1_500])), Some(Duration::from_millis(500)));
        assert_eq!(median_interval(&at(&[0, 15_000])), None);
    }
}
