//! The production of one test: what its series show, which version serves, what its paths do.
//!
//! Never knows what the core makes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use rollbackd_core::config::{Condition, Limit, Metric, Query};
use rollbackd_core::event::{Order, Serving};
use rollbackd_core::firing::Outcome;
use rollbackd_core::name::{PathName, ServiceName, TriggerName, Version};
use rollbackd_core::reading::{Answer, Answers, Series};
use rollbackd_core::replay::{Ask, Source};
use rollbackd_core::time::Timestamp;

use super::notation::Sample;

/// Requests at each point where a test says only the ratio. Any traffic that is wanted by `at_least` is there as well.
const TRAFFIC: f64 = 1000.0;

/// What a path takes where a test does not say.
const USUAL: Work = Work::Succeeds(Duration::from_mins(1));

/// What the queries of a trigger show; what is not said is healthy.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    /// The value that is compared: a ratio's own, or that of `expr`.
    pub(super) value: Option<Vec<Sample>>,
    pub(super) bad: Option<Vec<Sample>>,
    pub(super) total: Option<Vec<Sample>>,
    pub(super) at_least: Option<Vec<Sample>>,
    /// Whether anything that an alerting rule's expression selects has data.
    pub(super) presence: Option<Vec<Sample>>,
}

/// What a path does when it is run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// It brings the target back after this time.
    Succeeds(Duration),
    /// It fails after this time.
    Fails(Duration),
    /// It never says anything.
    Hangs,
}

/// One service's production.
pub(super) struct Production {
    start: Timestamp,
    interval: Duration,
    shown: BTreeMap<TriggerName, Shown>,
    works: BTreeMap<PathName, Work>,
    served: Vec<(Timestamp, Version)>,
    target: Option<Version>,
}

impl Production {
    pub(super) const fn new(
        start: Timestamp,
        interval: Duration,
        shown: BTreeMap<TriggerName, Shown>,
        works: BTreeMap<PathName, Work>,
    ) -> Self {
        Self { start, interval, shown, works, served: Vec::new(), target: None }
    }

    /// From this instant on this version serves.
    pub(super) fn serve(&mut self, version: Version, at: Timestamp) {
        self.served.push((at, version));
        self.served.sort_by_key(|(since, _)| *since);
    }

    /// What a path that is run brings back.
    pub(super) fn aim(&mut self, target: Option<Version>) {
        self.target = target;
    }

    /// The sample that a row shows at an instant: each holds for one interval, and what is not said shows `unsaid`.
    fn sample(&self, row: Option<&Vec<Sample>>, unsaid: Sample, at: Timestamp) -> Sample {
        let Some(row) = row else { return unsaid };
        if at < self.start {
            return Sample::Missing;
        }
        let index = at.since(self.start).as_millis() / self.interval.as_millis().max(1);
        let sample = usize::try_from(index).ok().and_then(|index| row.get(index));
        sample.copied().unwrap_or(Sample::Missing)
    }

    /// The answer to one query: that of a query that fails now says nothing of the past either.
    fn answer(&self, ask: &Ask<'_>, at: impl Fn(Timestamp) -> Sample) -> Answer {
        match at(ask.to) {
            Sample::Failed => return Answer::Failed("the test says that the query fails".to_owned()),
            Sample::Partial => return Answer::Partial("the test says that not all answer".to_owned()),
            Sample::Value(_) | Sample::Missing => {}
        }
        let slots = slots(ask);
        let samples: Vec<(Timestamp, f64)> = slots.filter_map(|slot| Some((slot, value_of(at(slot))?))).collect();
        let series = Series { samples, ..Series::default() };
        Answer::Series(if series.samples.is_empty() { Vec::new() } else { vec![series] })
    }
}

fn slots(ask: &Ask<'_>) -> impl Iterator<Item = Timestamp> + use<> {
    let (to, step) = (ask.to, ask.metric.step.max(Duration::from_millis(1)));
    std::iter::successors(Some(ask.from), move |slot| Some(*slot + step)).take_while(move |slot| *slot <= to)
}

const fn value_of(sample: Sample) -> Option<f64> {
    match sample {
        Sample::Value(value) => Some(value),
        Sample::Missing | Sample::Failed | Sample::Partial => None,
    }
}

/// A sample with its value changed.
fn map(sample: Sample, change: impl Fn(f64) -> f64) -> Sample {
    match sample {
        Sample::Value(value) => Sample::Value(change(value)),
        Sample::Missing | Sample::Failed | Sample::Partial => sample,
    }
}

/// What a trigger shows that a test says nothing of: it is clear. Of an alerting rule's expression that is nothing.
fn healthy(metric: &Metric) -> Sample {
    match metric.condition {
        Condition::Above(Limit::Fixed { value, .. }) => Sample::Value(if value > 0.0 { 0.0 } else { value - 1.0 }),
        Condition::Below(Limit::Fixed { value, .. }) => Sample::Value(value + 1.0),
        Condition::Above(Limit::TimesBaseline { .. }) | Condition::Below(Limit::TimesBaseline { .. }) => {
            Sample::Value(1.0)
        }
        Condition::Any => Sample::Missing,
    }
}

impl Source for Production {
    fn answers(&mut self, ask: &Ask<'_>) -> Answers {
        let healthy_throughout = Shown::default();
        let shown = self.shown.get(&ask.trigger.name).unwrap_or(&healthy_throughout);
        let metric = ask.metric;
        let value = |at| self.sample(shown.value.as_ref(), healthy(metric), at);
        let traffic = Sample::Value(metric.at_least.as_ref().map_or(TRAFFIC, |least| least.value.max(TRAFFIC)));
        let (value, total) = match (&metric.query, &shown.bad) {
            (Query::Ratio { .. }, Some(bad)) => (
                self.answer(ask, |at| self.sample(Some(bad), Sample::Missing, at)),
                Some(self.answer(ask, |at| self.sample(shown.total.as_ref(), traffic, at))),
            ),
            (Query::Ratio { .. }, None) => (
                self.answer(ask, |at| map(value(at), |ratio| ratio * TRAFFIC)),
                // Requests that are not there at all take the ratio with them; a NaN in it is no lack of requests.
                Some(self.answer(ask, |at| map(value(at), |ratio| if ratio.is_nan() { ratio } else { TRAFFIC }))),
            ),
            (Query::Expression(_) | Query::Filter { .. }, _) => (self.answer(ask, value), None),
        };
        let always = |row: Option<&Vec<Sample>>, unsaid| self.answer(ask, |at| self.sample(row, unsaid, at));
        Answers {
            from: ask.from,
            to: ask.to,
            step: metric.step,
            value,
            total,
            at_least: metric.at_least.is_some().then(|| always(shown.at_least.as_ref(), traffic)),
            presence: matches!(metric.query, Query::Filter { .. })
                .then(|| always(shown.presence.as_ref(), Sample::Value(1.0))),
            // What is shown is what the query says at that instant: nothing of it is old.
            freshness: metric.freshness.is_some().then(|| self.answer(ask, |at| Sample::Value(at.seconds()))),
        }
    }

    fn serving(&mut self, _: &ServiceName, at: Timestamp, not: Option<&Version>) -> Option<Serving> {
        let (since, version) = self.served.iter().rev().find(|(since, _)| *since <= at)?;
        let serving =
            Serving { version: version.clone(), revision: Some(format!("{version}-revision")), since: *since };
        Some(serving).filter(|serving| Some(&serving.version) != not)
    }

    fn attempt(&mut self, order: &Order, at: Timestamp) -> Option<(Duration, Outcome)> {
        match self.works.get(&order.path).copied().unwrap_or(USUAL) {
            Work::Succeeds(after) => {
                if let Some(target) = self.target.clone() {
                    self.serve(target, at + after);
                }
                Some((after, Outcome::Succeeded { receipt: None, output: String::new() }))
            }
            Work::Fails(after) => {
                let why = "the test says that it fails".to_owned();
                Some((after, Outcome::Failed { why, output: String::new() }))
            }
            Work::Hangs => None,
        }
    }
}
