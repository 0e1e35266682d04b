//! One look: the queries of a trigger rendered, asked once for all who share them, and told apart again.

use std::collections::BTreeMap;
use std::time::Duration;

use rollbackd_core::config::{Metric, Query, Trigger};
use rollbackd_core::event::{Event, Happening};
use rollbackd_core::name::ServiceName;
use rollbackd_core::reading::{Answer, Answers, Series};
use rollbackd_core::template::{Template, Unknown, Values, Variable};
use rollbackd_core::time::{Timestamp, promql_duration};
use rollbackd_core::wants::Want;

use super::Look;
use crate::clock;
use crate::door::Door;
use crate::metrics::Metrics;
use crate::outside::Outside;
use crate::serving::{self, Appeared};

/// How many slots of a `since_deploy` query one look asks for: each is a query of its own.
const MOST_SLOTS_ONE_BY_ONE: usize = 120;

/// The queries of a trigger with everything in its place; those who have the same ones share one answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QuerySet {
    value: Rendered,
    total: Option<Rendered>,
    at_least: Option<Rendered>,
    presence: Option<Rendered>,
    freshness: Option<Rendered>,
    /// Where the queries name `since_deploy`: the deploy's instant and the service, since such queries are not shared.
    since_deploy: Option<(Timestamp, ServiceName)>,
}

/// A query's text; or, where it names `since_deploy`, the text up to that with a mark in its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rendered(Result<String, String>);

/// Stands where `since_deploy` goes; no PromQL contains it.
const MARK: &str = "\u{1}";

impl QuerySet {
    pub(super) fn of(metric: &Metric, service: &ServiceName, values: &Values, since_deploy: Option<Timestamp>) -> Self {
        let values = values.clone().with(Variable::SinceDeploy, MARK);
        let render =
            |template: &Template| Rendered(template.render(&values).map_err(|unknown: Unknown| unknown.to_string()));
        let at_least = metric.at_least.as_ref().map(|at_least| render(&at_least.expr));
        let freshness = metric.freshness.as_ref().map(|freshness| render(&freshness.newest));
        let since_deploy = since_deploy.map(|at| (at, service.clone()));
        match &metric.query {
            Query::Ratio { bad, total } => Self {
                value: render(bad),
                total: Some(render(total)),
                at_least,
                presence: None,
                freshness,
                since_deploy,
            },
            Query::Expression(expr) => {
                Self { value: render(expr), total: None, at_least, presence: None, freshness, since_deploy }
            }
            Query::Filter { expr, presence } => Self {
                value: render(expr),
                total: None,
                at_least,
                presence: Some(render(presence)),
                freshness,
                since_deploy,
            },
        }
    }
}

/// What a trigger's queries show of one service over any stretch of time: for a receipt's chart.
pub(crate) async fn over(
    edges: &dyn Outside,
    metrics: &Metrics,
    (service, trigger, metric): (&ServiceName, &Trigger, &Metric),
    values: &Values,
    deploy_at: Option<Timestamp>,
    (from, to, step): (Timestamp, Timestamp, Duration),
) -> Answers {
    let since_deploy = deploy_at.filter(|_| rollbackd_core::wants::names_since_deploy(metric));
    let queries = QuerySet::of(metric, service, values, since_deploy);
    let asked = Asked { edges, metrics, step, from, to, since_deploy };
    let label = is_split(trigger, metric).then_some(edges.settings().service_label.as_str());
    let answers = asked.all(&queries).await;
    answers.part(label, service, (from, to, step))
}

/// Whether one answer holds all services' series, told apart by `service_label`.
pub(crate) fn is_split(trigger: &Trigger, metric: &Metric) -> bool {
    let named = |template: &Template| template.names(Variable::Service);
    let by_name = match &metric.query {
        Query::Ratio { bad, total } => named(bad) || named(total),
        Query::Expression(expr) => named(expr),
        Query::Filter { expr, .. } => named(expr),
    };
    trigger.shared && !by_name
}

/// Asks once, and brings each service its own part.
pub(crate) async fn group(
    door: &Door,
    edges: &dyn Outside,
    metrics: &Metrics,
    queries: &QuerySet,
    step: Duration,
    looks: Vec<Look>,
) {
    let (Some(from), Some(to)) = (looks.iter().map(|look| look.from).min(), looks.iter().map(|look| look.to).max())
    else {
        return;
    };
    let asked =
        Asked { edges, metrics, step, from, to, since_deploy: queries.since_deploy.as_ref().map(|(at, _)| *at) };
    let answers = asked.all(queries).await;
    for look in looks {
        let label = look.split.then_some(edges.settings().service_label.as_str());
        let part = answers.part(label, &look.service, (look.from, look.to, step));
        let event = Event { service: look.service.clone(), what: look.happening(part) };
        if door.tell(event).await.is_err() {
            return;
        }
    }
}

/// What all queries of a set came back with, for all who share them.
struct Shared {
    value: Answer,
    total: Option<Answer>,
    at_least: Option<Answer>,
    presence: Option<Answer>,
    freshness: Option<Answer>,
}

impl Shared {
    fn part(
        &self,
        label: Option<&str>,
        service: &ServiceName,
        (from, to, step): (Timestamp, Timestamp, Duration),
    ) -> Answers {
        let part = |answer: &Answer| own_part(answer, label, service);
        Answers {
            from,
            to,
            step,
            value: part(&self.value),
            total: self.total.as_ref().map(part),
            at_least: self.at_least.as_ref().map(part),
            presence: self.presence.as_ref().map(part),
            freshness: self.freshness.as_ref().map(part),
        }
    }
}

/// The series of one service, without the label that told them apart.
fn own_part(answer: &Answer, label: Option<&str>, service: &ServiceName) -> Answer {
    let (Answer::Series(all), Some(label)) = (answer, label) else { return answer.clone() };
    let own = all.iter().filter(|series| series.labels.get(label).is_some_and(|name| name == service.as_str()));
    let stripped = own.map(|series| {
        let mut series = series.clone();
        series.labels.remove(label);
        series
    });
    Answer::Series(stripped.collect())
}

struct Asked<'a> {
    edges: &'a dyn Outside,
    metrics: &'a Metrics,
    step: Duration,
    from: Timestamp,
    to: Timestamp,
    since_deploy: Option<Timestamp>,
}

impl Asked<'_> {
    async fn all(&self, queries: &QuerySet) -> Shared {
        let (value, total, at_least, presence, freshness) = tokio::join!(
            self.answer(Some(&queries.value)),
            self.answer(queries.total.as_ref()),
            self.answer(queries.at_least.as_ref()),
            self.answer(queries.presence.as_ref()),
            self.answer(queries.freshness.as_ref()),
        );
        let value = value.unwrap_or_else(|| Answer::Failed("nothing was asked".to_owned()));
        Shared { value, total, at_least, presence, freshness }
    }

    async fn answer(&self, query: Option<&Rendered>) -> Option<Answer> {
        let text = match &query?.0 {
            Ok(text) => text,
            Err(why) => return Some(Answer::Failed(why.clone())),
        };
        let began = std::time::Instant::now();
        let _in_flight = self.metrics.query_started();
        let answer = match self.since_deploy {
            Some(deploy_at) if text.contains(MARK) => self.slot_by_slot(text, deploy_at).await,
            Some(_) | None => self.edges.range(text, self.from, self.to, self.step).await,
        };
        self.metrics.query_answered(&answer, began.elapsed());
        Some(answer)
    }

    /// A window that begins with the deploy is another one at each slot, so each slot is a query of its own. Slots up
    /// to the deploy have no window at all, and so no data.
    async fn slot_by_slot(&self, text: &str, deploy_at: Timestamp) -> Answer {
        let mut series: BTreeMap<BTreeMap<String, String>, Vec<(Timestamp, f64)>> = BTreeMap::new();
        for slot in slots_one_by_one((self.from, self.to, self.step), deploy_at) {
            let query = text.replace(MARK, &promql_duration(slot.since(deploy_at)));
            match self.edges.instant(&query, slot).await {
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

/// The latest slots after the deploy, in their order: what is bad now must be seen, however long the watch is.
fn slots_one_by_one(
    (from, to, step): (Timestamp, Timestamp, Duration),
    deploy_at: Timestamp,
) -> impl Iterator<Item = Timestamp> {
    let slots = std::iter::successors(Some(from), move |slot| Some(*slot + step)).take_while(move |slot| *slot <= to);
    let after: Vec<Timestamp> = slots.filter(|slot| *slot > deploy_at).collect();
    let earlier = after.len().saturating_sub(MOST_SLOTS_ONE_BY_ONE);
    after.into_iter().skip(earlier)
}

/// What belongs to one service alone: its versions, its smoke URL.
pub(crate) async fn alone(door: &Door, edges: &dyn Outside, service: &ServiceName, want: Want) -> Option<Happening> {
    match want {
        Want::VersionBefore { deploy, before, not, values } => {
            let just_before = before - Duration::from_millis(1);
            let serving = serving_at(door, edges, service, &values, (None, just_before), Some(&not)).await?;
            Some(Happening::VersionBeforeRead { deploy, serving })
        }
        Want::Serving { back_to, values } => {
            let at = clock::now();
            let serving = serving_at(door, edges, service, &values, (back_to, at), None).await?;
            Some(Happening::ServingRead { serving, at })
        }
        Want::Version { within, values } => {
            let at = clock::now();
            let (answer, step) = versions(door, edges, service, &values, (Some(at - within), at)).await?;
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
    edges: &dyn Outside,
    service: &ServiceName,
    values: &Values,
    (back_to, at): (Option<Timestamp>, Timestamp),
    not: Option<&rollbackd_core::name::Version>,
) -> Option<Option<rollbackd_core::event::Serving>> {
    let (answer, step) = versions(door, edges, service, values, (back_to, at)).await?;
    told_of_failure(service, serving::newest(&answer, step, not))
}

/// What `version_query` shows over a stretch of time, and in which steps.
async fn versions(
    door: &Door,
    edges: &dyn Outside,
    service: &ServiceName,
    values: &Values,
    (back_to, at): (Option<Timestamp>, Timestamp),
) -> Option<(Answer, Duration)> {
    let config = door.shared.config();
    let query = config.services.get(service)?.version_query.as_ref()?.render(values).ok()?;
    let (from, step) = serving::stretch(back_to, at, edges.settings().core.evaluation_interval);
    Some((edges.range(&query, from, at, step).await, step))
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
        let asked = |to| slots_one_by_one((at(990), at(to), Duration::from_secs(15)), at(1000)).collect::<Vec<_>>();
        assert_eq!(asked(1035), [at(1005), at(1020), at(1035)]);
        let long = asked(990 + 15 * 500);
        assert_eq!(long.len(), MOST_SLOTS_ONE_BY_ONE);
        assert_eq!(long.last(), Some(&at(990 + 15 * 500)));
    }
}
