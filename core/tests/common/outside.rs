//! The outside of one service: what its metrics show, which version serves, what attempts and pagers do.
//!
//! Never knows what the daemon thinks: versions misbehave, paths take their time, and queries answer what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rollbackd_core::config::{Metric, Query};
use rollbackd_core::event::Serving;
use rollbackd_core::name::{PathName, TriggerName, Version};
use rollbackd_core::reading::{Answer, Answers, Series};
use rollbackd_core::time::Timestamp;

use super::duration;

/// What a metric shows at an instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sample {
    /// This value: a ratio for `bad` over `total`, else the value of the expression.
    Value(f64),
    /// Too little traffic, and the NaN that it causes.
    Low,
    /// NaN although there is traffic, or nothing at all.
    Missing,
}

/// What a path does when it is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Run {
    /// It brings the target back after this time.
    Succeeds(Duration),
    /// It says that it succeeded after this time, and nothing serves but what served before.
    Lies(Duration),
    /// It fails after this time.
    Fails(Duration),
    /// It never says anything.
    Hangs,
}

/// The outside of one service.
#[derive(Clone, Debug)]
pub(crate) struct Outside {
    samples: BTreeMap<TriggerName, Vec<(Timestamp, Sample)>>,
    served: Vec<(Timestamp, Version)>,
    /// Which versions make which trigger breach, with the value that it then shows.
    pub(crate) sick: BTreeMap<(Version, TriggerName), Sample>,
    /// Queries fail while this is set.
    pub(crate) queries_fail: bool,
    /// Queries come back with a warning while this is set.
    pub(crate) queries_are_partial: bool,
    /// Samples come this much later than they were taken.
    pub(crate) samples_come_after: Duration,
    /// Queries come back well, and without any series, while this is set.
    pub(crate) queries_are_empty: bool,
    /// What the smoke URL says.
    pub(crate) smoke_answers: bool,
    /// What each path does.
    pub(crate) runs: BTreeMap<PathName, Run>,
    /// Whether the version before is still shown beside the one that serves.
    pub(crate) old_lingers: bool,
    /// Whether pagers take pages.
    pub(crate) pagers_take: bool,
    pub(crate) announcers_take: bool,
    /// Whether receipts can be written.
    pub(crate) receipts_are_written: bool,
    /// The versions whose series have no label `revision`.
    pub(crate) without_revision: BTreeSet<Version>,
}

/// What a healthy version shows for a trigger of the reference list.
fn healthy(trigger: &TriggerName) -> Sample {
    match trigger.as_str() {
        "p99-latency" => Sample::Value(0.2),
        _ => Sample::Value(0.01),
    }
}

impl Outside {
    pub(crate) fn new(triggers: impl IntoIterator<Item = TriggerName>) -> Self {
        let start = Timestamp::from_milliseconds(0);
        let steady = |name: TriggerName| {
            let sample = healthy(&name);
            (name, vec![(start, sample)])
        };
        Self {
            samples: triggers.into_iter().map(steady).collect(),
            served: Vec::new(),
            sick: BTreeMap::new(),
            queries_fail: false,
            queries_are_partial: false,
            samples_come_after: Duration::ZERO,
            queries_are_empty: false,
            smoke_answers: true,
            runs: BTreeMap::new(),
            old_lingers: false,
            pagers_take: true,
            announcers_take: true,
            receipts_are_written: true,
            without_revision: BTreeSet::new(),
        }
    }

    /// From this instant on a trigger's queries show this.
    pub(crate) fn show(&mut self, trigger: &TriggerName, at: Timestamp, sample: Sample) {
        let known = self.samples.entry(trigger.clone()).or_default();
        known.retain(|(since, _)| *since != at);
        known.push((at, sample));
        known.sort_by_key(|(since, _)| *since);
    }

    /// From this instant on this version serves, and misbehaves as it does.
    pub(crate) fn serve(&mut self, version: &Version, at: Timestamp) {
        self.served.push((at, version.clone()));
        let triggers: Vec<TriggerName> = self.samples.keys().cloned().collect();
        for trigger in triggers {
            let sick = self.sick.get(&(version.clone(), trigger.clone())).copied();
            let sample = sick.unwrap_or_else(|| healthy(&trigger));
            self.show(&trigger, at, sample);
        }
    }

    /// What `version_query` shows at an instant.
    pub(crate) fn serving(&self, at: Timestamp) -> Option<Serving> {
        let (since, version) = self.served.iter().rev().find(|(since, _)| *since <= at)?.clone();
        let revision = (!self.without_revision.contains(&version)).then(|| format!("rev-{version}"));
        Some(Serving { version, revision, since })
    }

    /// The version that `version_query` shows by now where another was shown before, and since when; with whether it
    /// is the only one.
    pub(crate) fn appeared(&self, at: Timestamp) -> Option<(Version, Timestamp, bool)> {
        let served: Vec<_> = self.served.iter().filter(|(since, _)| *since <= at).collect();
        let (_, newest) = served.last()?;
        let (since, before) =
            served.windows(2).rev().find_map(|pair| (pair[0].1 != pair[1].1).then_some((pair[1].0, &pair[0].1)))?;
        (before != newest).then(|| (newest.clone(), since, !self.old_lingers))
    }

    /// What served just before an instant.
    pub(crate) fn serving_before(&self, before: Timestamp) -> Option<Serving> {
        self.serving(before - Duration::from_millis(1))
    }

    /// What a path does; the pipeline takes a minute where nothing else was said.
    pub(crate) fn run(&self, path: &PathName) -> Run {
        self.runs.get(path).copied().unwrap_or(Run::Succeeds(duration("1m")))
    }

    fn sample(&self, trigger: &TriggerName, at: Timestamp) -> Sample {
        let known = self.samples.get(trigger).map(Vec::as_slice).unwrap_or_default();
        known.iter().rev().find(|(since, _)| *since <= at).map_or(Sample::Missing, |(_, sample)| *sample)
    }

    /// The answers of a trigger's queries over a window, as a Prometheus would give them.
    pub(crate) fn answers(&self, trigger: &TriggerName, metric: &Metric, from: Timestamp, to: Timestamp) -> Answers {
        let window = Window { from, to, step: metric.step };
        if self.queries_fail {
            return window.all(metric, || Answer::Failed("connection refused".to_owned()));
        }
        if self.queries_are_partial {
            return window.all(metric, || Answer::Partial("a store did not answer".to_owned()));
        }
        if self.queries_are_empty {
            return window.all(metric, || Answer::Series(Vec::new()));
        }
        let come = |at: Timestamp| at + self.samples_come_after <= to;
        answers(metric, window, |at| if come(at) { self.sample(trigger, at) } else { Sample::Missing })
    }
}

/// The slots of a look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) step: Duration,
}

impl Window {
    /// The same answer to every query of a metric.
    pub(crate) fn all(self, metric: &Metric, answer: impl Fn() -> Answer) -> Answers {
        Answers {
            from: self.from,
            to: self.to,
            step: self.step,
            value: answer(),
            total: matches!(metric.query, Query::Ratio { .. }).then(&answer),
            at_least: metric.at_least.is_some().then(&answer),
            presence: matches!(metric.query, Query::Filter { .. }).then(&answer),
            freshness: None,
        }
    }
}

/// A series without labels.
pub(crate) fn one_series(samples: Vec<(Timestamp, f64)>) -> Answer {
    if samples.is_empty() {
        Answer::Series(Vec::new())
    } else {
        Answer::Series(vec![Series { samples, ..Series::default() }])
    }
}

/// The answers that show these samples at the slots of a window.
pub(crate) fn answers(metric: &Metric, window: Window, sample: impl Fn(Timestamp) -> Sample) -> Answers {
    /// Requests per look where there is traffic.
    const TRAFFIC: f64 = 1000.0;
    let mut all = window.all(metric, || Answer::Series(Vec::new()));
    let (mut value, mut total, mut traffic, mut presence) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for at in all.slots() {
        match sample(at) {
            Sample::Value(shown) => {
                let is_ratio = matches!(metric.query, Query::Ratio { .. });
                // A filter returns a series only where its own comparison holds: here, for anything above zero.
                if !matches!(metric.query, Query::Filter { .. }) || shown > 0.0 {
                    value.push((at, if is_ratio { shown * TRAFFIC } else { shown }));
                }
                total.push((at, TRAFFIC));
                traffic.push((at, TRAFFIC));
                presence.push((at, 1.0));
            }
            Sample::Low => {
                value.push((at, f64::NAN));
                total.push((at, 0.0));
                traffic.push((at, 1.0));
            }
            Sample::Missing => {
                total.push((at, f64::NAN));
                traffic.push((at, TRAFFIC));
            }
        }
    }
    all.value = one_series(value);
    all.total = all.total.map(|_| one_series(total));
    all.at_least = all.at_least.map(|_| one_series(traffic));
    all.presence = all.presence.map(|_| one_series(presence));
    all
}
