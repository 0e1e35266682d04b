//! One look: the queries of a trigger rendered, asked once for all who share them, and told apart again.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rollbackd_core::config::{Metric, Query, Trigger};
use rollbackd_core::event::{Event, Happening};
use rollbackd_core::name::ServiceName;
use rollbackd_core::reading::{Answer, Answers, Labels, Series};
use rollbackd_core::template::{Template, Unknown, Values, Variable};
use rollbackd_core::time::{Timestamp, promql_duration};
use rollbackd_core::trigger::SETTLES_AFTER_INTERVALS;
use rollbackd_core::wants::Want;

use super::brought::{Again, Shared};
use super::closer::Range;
use super::gate::{Asker, Gate};
use super::look::{Look, Reach, Shares};
use super::pieces::slots_in_a_piece;
use super::split::Only;
use super::together::{Each, together};
use crate::clock;
use crate::door::Door;
use crate::metrics::Metrics;
use crate::outside::Outside;
use crate::serving::{self, Appeared};

/// How many slots of a `since_deploy` query one look asks for: each is a query of its own.
const MOST_SLOTS_ONE_BY_ONE: usize = 120;

/// What was before the deploy is asked over so many intervals, and a minute at least: none are enough to be blind.
const INTERVALS_BEFORE: u32 = SETTLES_AFTER_INTERVALS + 1;
const LEAST_BEFORE: Duration = Duration::from_secs(60);

/// The queries of a trigger, as one and with everything in its place; those who have the same ones share one answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QuerySet {
    /// The text; where it names `since_deploy`, with a mark in that place. Or why there is none.
    text: Result<String, String>,
    asked: Each<()>,
    /// Where the queries name `since_deploy`: the deploy's instant and the service, since such queries are not shared.
    since_deploy: Option<(Timestamp, ServiceName)>,
}

/// Stands where `since_deploy` goes; no PromQL contains it.
const MARK: &str = "\u{1}";

impl QuerySet {
    pub(super) fn of(metric: &Metric, service: &ServiceName, values: &Values, since_deploy: Option<Timestamp>) -> Self {
        let templates = templates(metric);
        let asked = templates.clone().map(|_| ());
        let text = rendered(templates, &values.clone().with(Variable::SinceDeploy, MARK));
        Self { text, asked, since_deploy: since_deploy.map(|at| (at, service.clone())) }
    }

    /// How many queries they are.
    pub(super) fn count(&self) -> usize {
        self.asked.count()
    }
}

fn templates(metric: &Metric) -> Each<&Template> {
    let at_least = metric.at_least.as_ref().map(|at_least| &at_least.expr);
    let freshness = metric.freshness.as_ref().map(|freshness| &freshness.newest);
    let (value, total, presence) = match &metric.query {
        Query::Ratio { bad, total } => (bad, Some(total), None),
        Query::Expression(expr) => (expr, None, None),
        Query::Filter { expr, presence } => (expr, None, Some(presence)),
    };
    Each { value, total, at_least, presence, freshness }
}

/// All queries of a trigger as the one that is asked, where there are several.
pub(crate) fn as_one(metric: &Metric) -> Option<Template> {
    let templates = templates(metric);
    let several = templates.count() > 1;
    // Cannot fail: only variables of templates that were read stand in it.
    several.then(|| Template::parse(&together(&templates.map(|each| each.source().to_owned()))).ok()).flatten()
}

/// All of them as one query.
fn rendered(templates: Each<&Template>, values: &Values) -> Result<String, String> {
    let texts = templates.try_map(|template| template.render(values));
    texts.map(|texts| together(&texts)).map_err(|unknown: Unknown| unknown.to_string())
}

/// What a trigger's queries show of one service over any stretch of time: for a receipt's chart.
pub(crate) async fn over(
    edges: &dyn Outside,
    metrics: &Arc<Metrics>,
    (service, trigger, metric): (&ServiceName, &Trigger, &Metric),
    values: &Values,
    deploy_at: Option<Timestamp>,
    range: (Timestamp, Timestamp, Duration),
) -> Answers {
    let since_deploy = deploy_at.filter(|_| rollbackd_core::wants::names_since_deploy(metric));
    let queries = QuerySet::of(metric, service, values, since_deploy);
    let only = is_split(trigger, metric).then(|| only(edges, [service]));
    let settings = &edges.settings().prometheus;
    let gate = Gate::beside(settings.concurrency, settings.http.timeout, Arc::clone(metrics));
    let asker = Asker::Trigger(trigger.name.clone());
    let only = only.as_ref();
    let asked = Asked { edges, gate: &gate, asker: &asker, begun: &OnceLock::new(), range, since_deploy, only };
    asked.all(&queries).await.part(service, range, Again::No)
}

/// Whether one answer holds all services' series, told apart by `service_label`.
pub(crate) fn is_split(trigger: &Trigger, metric: &Metric) -> bool {
    let named = |template: &Template| template.names(Variable::Service);
    let by_name = match &metric.query {
        Query::Ratio { bad, total } => named(bad) || named(total),
        Query::Expression(expr) => named(expr),
        Query::Filter { expr, .. } => named(expr),
    };
    trigger.shared.is_some() && !by_name
}

fn only<'a>(edges: &dyn Outside, services: impl IntoIterator<Item = &'a ServiceName>) -> Only {
    Only::of(&edges.settings().service_label, services)
}

/// Asks once, and brings each service its own part.
///
/// # Errors
/// Why Prometheus gave no answer that says anything, which each service was told as well.
pub(super) async fn group(
    door: &Door,
    edges: &dyn Outside,
    gate: &Gate,
    metrics: &Metrics,
    shares: &Shares,
    looks: Vec<Look>,
) -> Result<(), String> {
    let Some(first) = looks.first() else { return Ok(()) };
    let (from, to) =
        looks.iter().fold((first.from, first.to), |(from, to), look| (from.min(look.from), to.max(look.to)));
    let asker = match shares.reach {
        Reach::Alone(..) => Asker::Closer(first.trigger.clone()),
        Reach::Near | Reach::Far(_) => Asker::Trigger(first.trigger.clone()),
    };
    let since_deploy = shares.queries.since_deploy.as_ref().map(|(at, _)| *at);
    let split = looks.iter().any(|look| look.split);
    let only = split.then(|| only(edges, looks.iter().map(|look| &look.service)));
    let begun = OnceLock::new();
    let ask = async |range| {
        let asked = Asked { edges, gate, asker: &asker, begun: &begun, range, since_deploy, only: only.as_ref() };
        asked.all(&shares.queries).await
    };
    let mut answers = ask((from, to, shares.step)).await;
    if let Some(begun) = begun.get() {
        looks.iter().filter_map(|look| look.due).for_each(|due| metrics.look_delayed(begun.since(due.at)));
    }
    let mut besides = Vec::new();
    let failed = answers.failure().map(str::to_owned);
    for range in looks.iter().flat_map(|look| &look.besides) {
        besides.push((*range, if let Some(why) = &failed { Shared::failed(why) } else { ask(*range).await }));
    }
    let once_each = only.as_ref().is_none_or(|only| only.count() == looks.len());
    let again = if once_each { Again::No } else { Again::Yes };
    let (mut looks, is_spoiled) = (looks.into_iter().peekable(), answers.is_spoiled());
    while let Some(mut look) = looks.next() {
        let is_piece = look.more_until.is_some();
        if is_spoiled && let Some(whole) = look.more_until.take() {
            // It says as much about the rest of the window: that nobody saw it.
            look.to = whole;
        }
        let part = answers.part(&look.service, (look.from, look.to, shares.step), again);
        let besides = besides.iter_mut().map(|(range, shown)| shown.part(&look.service, *range, again)).collect();
        let event = Event { service: look.service.clone(), what: look.happening(part, besides) };
        if let Some(due) = look.due {
            metrics.looked_late(clock::now().since(due.at));
        }
        // Whether there is a next piece is seen by what all of these have come to.
        let is_judged_first = is_piece && looks.peek().is_none();
        let told = if is_judged_first { door.ask(event).await.map(drop) } else { door.tell(event).await };
        if told.is_err() {
            // The daemon stops.
            break;
        }
    }
    failed.map_or(Ok(()), Err)
}

struct Asked<'a> {
    edges: &'a dyn Outside,
    gate: &'a Gate,
    asker: &'a Asker,
    /// When the first of its queries was let through the gate.
    begun: &'a OnceLock<Timestamp>,
    range: Range,
    since_deploy: Option<Timestamp>,
    only: Option<&'a Only>,
}

impl Asked<'_> {
    async fn ask(&self, query: impl Future<Output = Answer>) -> Answer {
        let query = async {
            self.begun.get_or_init(clock::now);
            query.await
        };
        self.gate.ask(self.asker, query).await
    }

    async fn all(&self, queries: &QuerySet) -> Shared {
        let text = match &queries.text {
            Ok(text) => text,
            Err(why) => return Shared::failed(why),
        };
        let answer = match self.only {
            Some(only) => self.pieces(&only.narrow(text), only, queries.asked.count()).await,
            None => self.answer(text).await,
        };
        Shared::of(&queries.asked, answer, self.only)
    }

    /// Asks for a long stretch piece by piece, and keeps of each only what is wanted: all services' series over a whole
    /// watch would be more than fits into the memory that a daemon should need.
    async fn pieces(&self, text: &str, only: &Only, queries: usize) -> Answer {
        let (from, to, step) = self.range;
        let core = &self.edges.settings().core;
        let series = only.answered(core.services.len()).saturating_mul(queries);
        let slots = slots_in_a_piece(series, core.evaluation_interval, step);
        if self.since_deploy.is_some() || from + step * slots > to {
            return self.answer(text).await;
        }
        let mut merged: BTreeMap<Labels, Vec<(Timestamp, f64)>> = BTreeMap::new();
        let mut begin = from;
        while begin <= to {
            let end = to.min(begin + step * (slots - 1));
            match self.ask(self.edges.range(text, begin, end, step)).await {
                Answer::Series(found) => {
                    for series in found.into_iter().filter(|series| only.wants(series)) {
                        merged.entry(series.labels).or_default().extend(series.samples);
                    }
                }
                spoiled @ (Answer::Partial(_) | Answer::Failed(_)) => return spoiled,
            }
            begin = end + step;
        }
        Answer::Series(merged.into_iter().map(|(labels, samples)| Series { labels, samples }).collect())
    }

    async fn answer(&self, text: &str) -> Answer {
        let (from, to, step) = self.range;
        match self.since_deploy {
            Some(deploy_at) if text.contains(MARK) => self.slot_by_slot(text, deploy_at).await,
            Some(_) | None => self.ask(self.edges.range(text, from, to, step)).await,
        }
    }

    /// A window that begins with the deploy is another one at each slot, so each slot is a query of its own. Before the
    /// deploy it has no such window, and whether it was breaching then has to be known all the same (design, R5).
    async fn slot_by_slot(&self, text: &str, deploy_at: Timestamp) -> Answer {
        let mut series: BTreeMap<Labels, Vec<(Timestamp, f64)>> = BTreeMap::new();
        let before = (self.edges.settings().core.evaluation_interval * INTERVALS_BEFORE).max(LEAST_BEFORE);
        for slot in slots_one_by_one(self.range, deploy_at) {
            let window = if slot > deploy_at { slot.since(deploy_at) } else { before };
            let query = text.replace(MARK, &promql_duration(window));
            match self.ask(self.edges.instant(&query, slot)).await {
                Answer::Series(found) => {
                    for each in found {
                        series.entry(each.labels).or_default().extend(each.samples.last().map(|last| (slot, last.1)));
                    }
                }
                spoiled @ (Answer::Partial(_) | Answer::Failed(_)) => return spoiled,
            }
        }
        Answer::Series(series.into_iter().map(|(labels, samples)| Series { labels, samples }).collect())
    }
}

/// The slot before the deploy, and the latest of those after it: what is bad now must be seen, however long the watch is.
fn slots_one_by_one((from, to, step): Range, deploy_at: Timestamp) -> impl Iterator<Item = Timestamp> {
    let slots = std::iter::successors(Some(from), move |slot| Some(*slot + step)).take_while(move |slot| *slot <= to);
    let (before, after): (Vec<Timestamp>, Vec<Timestamp>) =
        slots.filter(|slot| *slot + step > deploy_at).partition(|slot| *slot <= deploy_at);
    let earlier = after.len().saturating_sub(MOST_SLOTS_ONE_BY_ONE);
    before.into_iter().chain(after.into_iter().skip(earlier))
}

/// What belongs to one service alone: its versions, its smoke URL.
pub(super) async fn alone(
    door: &Door,
    (edges, gate): (&dyn Outside, &Gate),
    service: &ServiceName,
    want: Want,
) -> Option<Happening> {
    match want {
        Want::VersionBefore { deploy, before, not, values } => {
            let just_before = before - Duration::from_millis(1);
            let serving = serving_at(door, (edges, gate), service, &values, (None, just_before), Some(&not)).await?;
            Some(Happening::VersionBeforeRead { deploy, serving })
        }
        Want::Serving { back_to, values } => {
            let at = clock::now();
            let serving = serving_at(door, (edges, gate), service, &values, (back_to, at), None).await?;
            Some(Happening::ServingRead { serving, at })
        }
        Want::Version { within, values } => {
            let at = clock::now();
            let (answer, step) = versions(door, (edges, gate), service, &values, (Some(at - within), at)).await?;
            let appeared = told_of_failure(service, serving::appeared(&answer, at, step))?;
            appeared.map(|Appeared { version, at, alone }| Happening::Appeared { version, at, alone })
        }
        Want::Smoke { url } => {
            let at = clock::now();
            Some(Happening::SmokeAnswered { at, healthy: edges.smoke(&url).await })
        }
        Want::Trigger { .. } | Want::Baseline { .. } => None,
    }
}

/// `None` where the query failed: it is asked again when it is due again.
async fn serving_at(
    door: &Door,
    (edges, gate): (&dyn Outside, &Gate),
    service: &ServiceName,
    values: &Values,
    (back_to, at): (Option<Timestamp>, Timestamp),
    not: Option<&rollbackd_core::name::Version>,
) -> Option<Option<rollbackd_core::event::Serving>> {
    let (answer, step) = versions(door, (edges, gate), service, values, (back_to, at)).await?;
    told_of_failure(service, serving::newest(&answer, step, not))
}

/// What `version_query` shows over a stretch of time, and in which steps.
async fn versions(
    door: &Door,
    (edges, gate): (&dyn Outside, &Gate),
    service: &ServiceName,
    values: &Values,
    (back_to, at): (Option<Timestamp>, Timestamp),
) -> Option<(Answer, Duration)> {
    let config = door.shared.config();
    let query = config.services.get(service)?.version_query.as_ref()?.render(values).ok()?;
    let (from, step) = serving::stretch(back_to, at, edges.settings().core.evaluation_interval);
    Some((gate.ask(&Asker::Versions, edges.range(&query, from, at, step)).await, step))
}

fn told_of_failure<T>(service: &ServiceName, read: Result<T, String>) -> Option<T> {
    read.inspect_err(|why| tracing::warn!(%service, why, "version_query was not answered")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_milliseconds(second * 1000)
    }

    #[test]
    fn of_a_long_watch_the_latest_slots_are_asked_one_by_one() {
        let asked = |to| slots_one_by_one((at(945), at(to), Duration::from_secs(15)), at(1000)).collect::<Vec<_>>();
        assert_eq!(asked(1035), [at(990), at(1005), at(1020), at(1035)], "and of those before it the last");
        let long = asked(990 + 15 * 500);
        assert_eq!((long.len(), long.first()), (MOST_SLOTS_ONE_BY_ONE + 1, Some(&at(990))));
        assert_eq!(long.last(), Some(&at(990 + 15 * 500)));
    }
}
