//! What Prometheus has recorded, as the source of a replay: asked for in few large pieces before, and kept.
//!
//! Never takes a query that failed for data that is missing: the replay is worth nothing then, and says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use rollbackd_core::config::{Config, Metric, Observed, Trigger};
use rollbackd_core::event::Serving;
use rollbackd_core::name::{ServiceName, TriggerName, Version};
use rollbackd_core::reading::{Answer, Answers, Labels, Series};
use rollbackd_core::replay::{Ask, Source};
use rollbackd_core::template::Values;
use rollbackd_core::time::Timestamp;
use rollbackd_core::wants::names_since_deploy;
use tokio::runtime::Runtime;

use super::deploys::Deployed;
use super::progress::Progress;
use super::versions::History;
use crate::edges::Edges;
use crate::looker::over;
use crate::metrics::Metrics;

/// A query that names `since_deploy` is one query for each slot, and this many slots are asked for at once.
const SLOTS_ONE_BY_ONE: u32 = 100;

/// Where something is asked for that was not foreseen (a watch that a breach keeps open), so much more is asked for with it.
const AHEAD: Duration = Duration::from_secs(3600);

/// Who asks: a Prometheus, and what drives its requests.
pub(super) struct Asker {
    pub(super) runtime: Runtime,
    pub(super) edges: Edges,
    pub(super) metrics: Arc<Metrics>,
}

/// A trigger's queries during the watch of one deploy.
type Key = (ServiceName, TriggerName, Timestamp);

/// A stretch of time to be asked for.
#[derive(Clone, Debug)]
struct Stretch {
    key: Key,
    values: Values,
    from: Timestamp,
    to: Timestamp,
}

/// What was recorded.
pub(super) struct Recorded<'a> {
    asker: &'a Asker,
    histories: &'a BTreeMap<ServiceName, History>,
    until: Timestamp,
    pieces: BTreeMap<Key, Vec<Answers>>,
    failed: Option<String>,
    partial: Option<String>,
}

impl Asker {
    /// The answers of a trigger's queries over a stretch, in pieces where each slot is a query of its own.
    async fn ask(&self, (trigger, metric): (&Trigger, &Metric), stretch: &Stretch) -> Answers {
        let (service, _, deploy_at) = &stretch.key;
        let longest = if names_since_deploy(metric) { metric.step * (SLOTS_ONE_BY_ONE - 1) } else { Duration::MAX };
        let mut from = stretch.from;
        let mut asked: Option<Answers> = None;
        while from <= stretch.to {
            let to = stretch.to.min(from + longest);
            let of = (service, trigger, metric);
            let part =
                over(&self.edges, &self.metrics, of, &stretch.values, Some(*deploy_at), (from, to, metric.step)).await;
            asked = Some(match asked {
                Some(before) => joined(before, part),
                None => part,
            });
            from = to + metric.step;
        }
        asked.unwrap_or_else(|| nothing(stretch, metric.step))
    }
}

fn nothing(stretch: &Stretch, step: Duration) -> Answers {
    let (from, to) = (stretch.from, stretch.to);
    let value = Answer::Series(Vec::new());
    Answers { from, to, step, value, total: None, at_least: None, presence: None, freshness: None }
}

fn joined(before: Answers, after: Answers) -> Answers {
    let both = |before: Option<Answer>, after: Option<Answer>| Some(joined_answer(before?, after?));
    Answers {
        from: before.from,
        to: after.to,
        step: before.step,
        value: joined_answer(before.value, after.value),
        total: both(before.total, after.total),
        at_least: both(before.at_least, after.at_least),
        presence: both(before.presence, after.presence),
        freshness: both(before.freshness, after.freshness),
    }
}

fn joined_answer(before: Answer, after: Answer) -> Answer {
    match (before, after) {
        (Answer::Series(before), Answer::Series(after)) => {
            let mut all: BTreeMap<Labels, Vec<(Timestamp, f64)>> = BTreeMap::new();
            for series in before.into_iter().chain(after) {
                all.entry(series.labels).or_default().extend(series.samples);
            }
            Answer::Series(all.into_iter().map(|(labels, samples)| Series { labels, samples }).collect())
        }
        (spoiled @ (Answer::Failed(_) | Answer::Partial(_)), _)
        | (_, spoiled @ (Answer::Failed(_) | Answer::Partial(_))) => spoiled,
    }
}

impl<'a> Recorded<'a> {
    /// Nothing asked yet. What comes after `until` has not been recorded.
    pub(super) const fn new(asker: &'a Asker, histories: &'a BTreeMap<ServiceName, History>, until: Timestamp) -> Self {
        Self { asker, histories, until, pieces: BTreeMap::new(), failed: None, partial: None }
    }

    /// Asks for all that the watches of these deploys will look at, a few queries at once.
    ///
    /// # Errors
    /// A query failed: which, and why.
    pub(super) fn fetch(
        &mut self,
        config: &Config,
        deploys: &[Deployed],
        progress: &mut Progress,
    ) -> Result<(), String> {
        let stretches: Vec<Stretch> = deploys.iter().flat_map(|deploy| self.stretches(config, deploy)).collect();
        progress.begin("asking Prometheus", stretches.len());
        let asker = self.asker;
        let at_once = asker.edges.settings.prometheus.concurrency.clamp(1, super::MOST_TRIGGERS_AT_ONCE);
        let asked = futures_util::stream::iter(stretches).map(|stretch| async move {
            let (trigger, metric) = metric_of(config, &stretch.key.0, &stretch.key.1)?;
            let answers = asker.ask((trigger, metric), &stretch).await;
            Some((stretch.key, answers))
        });
        let pieces = &mut self.pieces;
        let failed = asker.runtime.block_on(async {
            let mut asked = std::pin::pin!(asked.buffer_unordered(at_once));
            while let Some(piece) = asked.next().await {
                progress.step();
                let Some((key, answers)) = piece else { continue };
                if let Some(why) = failure(&key, &answers) {
                    return Some(why);
                }
                pieces.entry(key).or_default().push(answers);
            }
            None
        });
        progress.end();
        failed.map_or(Ok(()), Err)
    }

    /// The baseline's window and the watch, with what a firing at its very end looks at.
    fn stretches(&self, config: &Config, deploy: &Deployed) -> Vec<Stretch> {
        let Some(plan) = config.services.get(&deploy.service) else { return Vec::new() };
        let report = &deploy.report;
        let values = Values::of_deploy(&deploy.service, &report.version, deploy.at, report.commit.as_ref());
        let mut stretches = Vec::new();
        for trigger in &plan.triggers {
            let Observed::Metric(metric) = &trigger.observed else { continue };
            let slot = deploy.at.floor(metric.step);
            let from = metric.baseline_window().map_or(slot, |window| (deploy.at - window).floor(metric.step));
            let to = (deploy.at + plan.watch * 2 + trigger.hold).min(self.until).floor(metric.step);
            let key = (deploy.service.clone(), trigger.name.clone(), deploy.at);
            stretches.push(Stretch { key, values: values.clone(), from, to: to.max(from) });
        }
        stretches
    }

    /// The answers to a trigger's queries over a stretch: of what was asked before, else asked now.
    pub(super) fn over(
        &mut self,
        (trigger, metric): (&Trigger, &Metric),
        (service, deploy_at): (&ServiceName, Timestamp),
        values: &Values,
        (from, to): (Timestamp, Timestamp),
    ) -> Answers {
        let key = (service.clone(), trigger.name.clone(), deploy_at);
        let known = self.pieces.get(&key).and_then(|pieces| pieces.iter().find(|piece| holds(piece, from, to)));
        if let Some(piece) = known {
            return part(piece, from, to);
        }
        let ahead = (to + AHEAD).min(self.until).floor(metric.step).max(to);
        let stretch = Stretch { key: key.clone(), values: values.clone(), from, to: ahead };
        let answers = self.asker.runtime.block_on(self.asker.ask((trigger, metric), &stretch));
        let asked = part(&answers, from, to);
        match failure(&key, &answers) {
            Some(why) => self.failed = Some(why),
            None => self.pieces.entry(key).or_default().push(answers),
        }
        asked
    }

    /// What was asked for a deploy's watch, as far as it was: for what is told of it besides its replay.
    pub(super) fn known(&self, service: &ServiceName, trigger: &TriggerName, deploy_at: Timestamp) -> Option<&Answers> {
        self.pieces.get(&(service.clone(), trigger.clone(), deploy_at))?.first()
    }

    /// The first query that failed while it was replayed.
    pub(super) fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// The first answer that was a part of the data alone.
    pub(super) fn partial(&self) -> Option<&str> {
        self.partial.as_deref()
    }
}

impl Source for &mut Recorded<'_> {
    fn answers(&mut self, ask: &Ask<'_>) -> Answers {
        let answers =
            self.over((ask.trigger, ask.metric), (ask.service, ask.deploy_at), ask.values, (ask.from, ask.to));
        let partial = answers.all().find_map(|answer| match answer {
            Answer::Partial(why) => Some(why),
            Answer::Series(_) | Answer::Failed(_) => None,
        });
        if let (None, Some(why)) = (&self.partial, partial) {
            self.partial = Some(format!("{} {}: {why}", ask.service, ask.trigger.name));
        }
        answers
    }

    fn serving(&mut self, service: &ServiceName, at: Timestamp, not: Option<&Version>) -> Option<Serving> {
        self.histories.get(service)?.at(at, not)
    }
}

fn metric_of<'a>(
    config: &'a Config,
    service: &ServiceName,
    trigger: &TriggerName,
) -> Option<(&'a Trigger, &'a Metric)> {
    let trigger = config.services.get(service)?.trigger(trigger)?;
    match &trigger.observed {
        Observed::Metric(metric) => Some((trigger, metric)),
        Observed::Report => None,
    }
}

/// Whether a piece has each slot of a stretch.
fn holds(piece: &Answers, from: Timestamp, to: Timestamp) -> bool {
    piece.from <= from && to <= piece.to
}

/// The part of a piece from one slot to another.
fn part(piece: &Answers, from: Timestamp, to: Timestamp) -> Answers {
    let of = |answer: &Answer| match answer {
        Answer::Series(series) => {
            Answer::Series(series.iter().filter_map(|series| part_of(series, from, to)).collect())
        }
        Answer::Partial(why) => Answer::Partial(why.clone()),
        Answer::Failed(why) => Answer::Failed(why.clone()),
    };
    Answers {
        from,
        to,
        step: piece.step,
        value: of(&piece.value),
        total: piece.total.as_ref().map(of),
        at_least: piece.at_least.as_ref().map(of),
        presence: piece.presence.as_ref().map(of),
        freshness: piece.freshness.as_ref().map(of),
    }
}

fn part_of(series: &Series, from: Timestamp, to: Timestamp) -> Option<Series> {
    let first = series.samples.partition_point(|(at, _)| *at < from);
    let end = series.samples.partition_point(|(at, _)| *at <= to);
    let samples = series.samples.get(first..end).filter(|samples| !samples.is_empty())?;
    Some(Series { labels: series.labels.clone(), samples: samples.to_vec() })
}

fn failure((service, trigger, _): &Key, answers: &Answers) -> Option<String> {
    answers.all().find_map(|answer| match answer {
        Answer::Failed(why) => Some(format!("{service} {trigger}: {why}")),
        Answer::Series(_) | Answer::Partial(_) => None,
    })
}
