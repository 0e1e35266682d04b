//! Receipts, one after the other in the order of their numbers: what is told comes from the state, what is shown
//! besides is read from Prometheus, and a folder that can't be written is tried again until it can.

use std::sync::Arc;
use std::time::Duration;

use rollbackd_core::comparison;
use rollbackd_core::config::{Condition, Observed, Service, SideEffect};
use rollbackd_core::event::{Event, Happening};
use rollbackd_core::firing::{Firing, Stage};
use rollbackd_core::name::{FiringId, ServiceName};
use rollbackd_core::reading::Answer;
use rollbackd_core::receipt::{Evidence, SideEffectCount, took};
use rollbackd_core::state::ServiceState;
use rollbackd_core::template::{Values, Variable};
use rollbackd_core::time::{Timestamp, promql_duration};
use rollbackd_core::trigger;
use tokio::sync::mpsc;

use super::receipt_keeper::ReceiptKeeper;
use crate::clock;
use crate::door::Door;
use crate::looker;
use crate::metrics::Metrics;
use crate::outside::{InForce, Outside};

/// The longest wait between two tries to write a receipt.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The chart shows this much before the breach and after the end, in parts of the time between.
const MARGIN_PARTS: u32 = 4;

/// At least this much is shown on either side.
const LEAST_MARGIN: Duration = Duration::from_secs(5);

/// A chart of more points than this shows nothing more.
const CHART_POINTS: u32 = 400;

/// Writes receipts.
pub struct ReceiptWriter {
    door: Door,
    edges: InForce,
    metrics: Arc<Metrics>,
}

impl ReceiptWriter {
    /// A writer that brings "published" to this door.
    #[must_use]
    pub const fn new(door: Door, edges: InForce, metrics: Arc<Metrics>) -> Self {
        Self { door, edges, metrics }
    }

    /// Writes what it is told to, until nobody is left to tell it.
    pub async fn run(self, mut orders: mpsc::UnboundedReceiver<(ServiceName, FiringId)>) {
        let keeper = ReceiptKeeper::start(self.edges.clone(), Arc::clone(&self.metrics));
        while let Some((service, firing)) = orders.recv().await {
            self.write(&service, &firing).await;
            // Where it is full, the keeper is about to look anyway.
            let _told = keeper.try_send(());
        }
    }

    async fn write(&self, service: &ServiceName, id: &FiringId) {
        let config = self.door.shared.config();
        let firing = self.door.shared.state().services.get(service).and_then(|own| {
            let firing = own.firing(id)?;
            Some(with_revision(own, firing))
        });
        let (Some(plan), Some(firing)) = (config.services.get(service), firing) else {
            tracing::error!(%service, firing = %id, "a receipt was ordered for a firing that is not known");
            return;
        };
        let evidence = self.evidence(plan, &firing).await;
        let mut wait = Duration::from_millis(500);
        loop {
            let edges = self.edges.get();
            match edges.publish(plan.clone(), firing.clone(), evidence.clone()).await {
                Ok(sha256) => {
                    tracing::info!(%service, firing = %id, %sha256, "receipt written");
                    if let Stage::Ended { result, .. } = firing.stage {
                        self.metrics.receipt_published(result);
                    }
                    let what = Happening::ReceiptPublished { firing: id.clone(), sha256 };
                    let _ = self.door.tell(Event { service: service.clone(), what }).await;
                    self.forget_attempts(&firing);
                    return;
                }
                Err(why) => {
                    tracing::error!(%service, firing = %id, why, again_in = %took(wait), "the receipt could not be written");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// The outcomes are in the journal and told: what the attempts left on this machine is needed no longer.
    fn forget_attempts(&self, firing: &Firing) {
        let edges = self.edges.get();
        let on_purpose = firing.rehearsal.iter().map(|rehearsal| &rehearsal.deployed_by);
        for attempt in firing.attempts.iter().chain(on_purpose) {
            if let Err(error) = edges.forget(&attempt.id) {
                tracing::warn!(attempt = %attempt.id, %error, "the folder of an attempt could not be removed");
            }
        }
    }

    async fn evidence(&self, plan: &Service, firing: &Firing) -> Evidence {
        let edges = self.edges.get();
        let end = ended_at(firing);
        let mut evidence = Evidence { limit: firing.limit, above: true, ..Evidence::default() };
        if let Some(Observed::Metric(metric)) = plan.trigger(&firing.trigger).map(|trigger| &trigger.observed) {
            evidence.above = !matches!(metric.condition, Condition::Below(_));
            evidence.limit_is_percentage = rollbackd_core::view::is_percentage(metric);
            evidence.series = series(edges.as_ref(), &self.metrics, plan, firing, end).await;
        }
        let own = self.door.shared.state().services.get(&plan.name).map(|own| own.rehearsed.clone());
        evidence.rehearsed = own.unwrap_or_default();
        evidence.side_effects_declared = plan.side_effects.is_some();
        for side_effect in plan.side_effects.iter().flatten() {
            evidence.side_effects.push(count(edges.as_ref(), plan, firing, side_effect, end).await);
        }
        evidence
    }
}

/// The firing with the platform's revision of its target, which may have been seen only after it began.
fn with_revision(own: &ServiceState, firing: &Firing) -> Firing {
    let mut firing = firing.clone();
    if let Some(target) = firing.target.as_mut().filter(|target| target.revision.is_none()) {
        target.revision = own.ledger.revision(&target.version).map(str::to_owned);
    }
    firing
}

fn ended_at(firing: &Firing) -> Timestamp {
    let ended = match &firing.stage {
        Stage::Ended { at, .. } => *at,
        Stage::Veto { .. } | Stage::Paged { .. } | Stage::Rolling | Stage::Verifying { .. } => firing.decided_at,
    };
    firing.recovered_at.unwrap_or(ended)
}

fn values(plan: &Service, firing: &Firing) -> Values {
    let deploy = firing.deploy.as_ref();
    Values::default()
        .with(Variable::Service, plan.name.as_str())
        .with(Variable::FiringId, firing.id.as_str())
        .with_some(Variable::DeployVersion, deploy.map(|deploy| deploy.version.as_str()))
        .with_some(Variable::DeployAt, deploy.map(|deploy| deploy.at.to_string()))
        .with_some(
            Variable::DeployCommit,
            deploy.and_then(|deploy| deploy.commit.as_ref()).map(|commit| commit.as_str()),
        )
        .with_some(Variable::TargetVersion, firing.target.as_ref().map(|target| target.version.as_str()))
        .with_some(Variable::TargetRevision, firing.target.as_ref().and_then(|target| target.revision.as_deref()))
}

/// The trigger's value around the incident. Where Prometheus does not answer, the chart says so; the receipt is
/// written all the same.
async fn series(
    edges: &dyn Outside,
    metrics: &Arc<Metrics>,
    plan: &Service,
    firing: &Firing,
    end: Timestamp,
) -> Vec<(Timestamp, f64)> {
    let Some(trigger) = plan.trigger(&firing.trigger) else { return Vec::new() };
    let Observed::Metric(metric) = &trigger.observed else { return Vec::new() };
    let begin = firing.deploy.as_ref().map_or(firing.breach_at, |deploy| deploy.at.min(firing.breach_at));
    let margin = (end.since(begin) / MARGIN_PARTS).max(LEAST_MARGIN);
    // Of what lies ahead Prometheus would show the last samples on.
    let (from, to) = (begin - margin, (end + margin).min(clock::now()));
    let step = metric.step.max(to.since(from) / CHART_POINTS);
    let values = values(plan, firing);
    let at = firing.deploy.as_ref().map(|deploy| deploy.at);
    let subject = (&plan.name, trigger, metric.as_ref());
    let answers = looker::over(edges, metrics, subject, &values, at, (from.floor(step), to, step)).await;
    // A comparison with what runs beside has no limit to draw, and two versions in its answers.
    let answers =
        firing.deploy.as_ref().map_or(answers.clone(), |at| comparison::of_version(metric, &answers, &at.version));
    let limit = firing.limit.or_else(|| metric.comparison.as_ref().map(|_| 0.0));
    let points = trigger::looks(metric, limit, &answers);
    points.into_iter().filter_map(|point| Some((point.at, point.look.value()?))).collect()
}

async fn count(
    edges: &dyn Outside,
    plan: &Service,
    firing: &Firing,
    side_effect: &SideEffect,
    end: Timestamp,
) -> SideEffectCount {
    let began = firing.deploy.as_ref().map_or(firing.breach_at, |deploy| deploy.at);
    let window = promql_duration(end.since(began).max(Duration::from_secs(1)));
    let values = values(plan, firing).with(Variable::BadWindow, window.clone()).with(Variable::SinceDeploy, window);
    let counted = match side_effect.count.render(&values) {
        Ok(query) => match edges.instant(&query, end).await {
            Answer::Series(series) => Ok(series
                .iter()
                .filter_map(|series| series.samples.last())
                .map(|sample| sample.1)
                .filter(|value| value.is_finite())
                .sum()),
            Answer::Partial(why) | Answer::Failed(why) => Err(why),
        },
        Err(unknown) => Err(unknown.to_string()),
    };
    let compensate = side_effect.compensate.render(&values).unwrap_or_else(|_| side_effect.compensate.to_string());
    SideEffectCount { name: side_effect.name.clone(), count: counted, compensate }
}
