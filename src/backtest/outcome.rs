//! What a trigger list would have done, out of the watches of its replay and what was recorded meanwhile.

use std::time::Duration;

use rollbackd_core::chart::{Chart, Unit};
use rollbackd_core::config::{Action, Condition, Config, Limit, Metric, Observed, Query, Service, Trigger};
use rollbackd_core::deploy::WatchEnd;
use rollbackd_core::name::{ServiceName, TriggerName, Version};
use rollbackd_core::reading::{Look, Point};
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger;
use serde::Serialize;

use super::charts;
use super::deploys::{Deployed, FoundIn};
use super::incidents::Incident;
use super::recorded::Recorded;
use super::story::{Fired, Watched, Would};
use super::sweep::{SweepOutcome, Variant, median};

/// What one trigger list would have done.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The config's file.
    pub config: String,
    /// From then on.
    pub since: Timestamp,
    /// Until then.
    pub until: Timestamp,
    /// By service.
    pub services: Vec<ServiceOutcome>,
    /// What could not be known.
    pub notes: Vec<String>,
}

/// What it would have done for one service.
#[derive(Debug, Serialize)]
pub struct ServiceOutcome {
    /// The service.
    pub service: ServiceName,
    /// Its deploys.
    pub deploys: Vec<DeployOutcome>,
    /// Its triggers, in the order of the list.
    pub triggers: Vec<TriggerOutcome>,
    /// The incidents that were named, and what fired in each; none where no incidents were named.
    pub incidents: Option<Vec<IncidentOutcome>>,
}

/// One deploy.
#[derive(Debug, Serialize)]
pub struct DeployOutcome {
    /// Its version.
    pub version: Version,
    /// When it was.
    pub at: Timestamp,
    /// Where it was found.
    pub found_in: FoundIn,
    /// How its watch would have ended; none while it is open, and where none was opened (a version that was gone back to).
    pub end: Option<WatchEnd>,
    /// Whether it opened a watch.
    pub watched: bool,
    /// The triggers that would have fired.
    pub fired: Vec<TriggerName>,
}

/// One incident.
#[derive(Debug, Serialize)]
pub struct IncidentOutcome {
    /// Since then.
    pub from: Timestamp,
    /// Until then.
    pub to: Timestamp,
    /// In people's words.
    pub note: Option<String>,
    /// What fired in it.
    pub fired: Vec<TriggerName>,
}

/// What one trigger would have done.
#[derive(Debug, Serialize)]
pub struct TriggerOutcome {
    /// The trigger.
    pub trigger: TriggerName,
    /// `rollback`, `page` or `shadow`.
    pub action: &'static str,
    /// Its condition, as people read it.
    pub condition: String,
    /// Whether it could be replayed: what people and pipelines report was recorded nowhere.
    pub replayed: bool,
    /// The deploys that it would have fired on.
    pub firings: Vec<FiringOutcome>,
    /// How many of them outside any incident; none where no incidents were named.
    pub outside_incidents: Option<usize>,
    /// On how many deploys it was breaching before already, so that it would not have fired for it.
    pub disarmed: usize,
    /// How long it was watched, in seconds.
    pub watched_seconds: f64,
    /// How much of that nothing could be seen, in seconds.
    pub blind_seconds: f64,
    /// How much of that there was too little traffic, in seconds.
    pub low_traffic_seconds: f64,
    /// What other limits would have done.
    pub sweep: Vec<SweepOutcome>,
}

/// One firing.
#[derive(Debug, Serialize)]
pub struct FiringOutcome {
    /// The version that was deployed.
    pub version: Version,
    /// When.
    pub deployed_at: Timestamp,
    /// When the condition began to hold.
    pub breach_at: Timestamp,
    /// When it had held for its `for`.
    pub observed_at: Timestamp,
    /// How long after the deploy that was, in seconds.
    pub after_seconds: f64,
    /// The value then.
    pub value: Option<f64>,
    /// What it was compared with.
    pub limit: Option<f64>,
    /// How long the breach lasted as production really was, in seconds.
    pub lasted_seconds: f64,
    /// Whether it was still breaching when the last was seen of it.
    pub still_breaching: bool,
    /// What would have been done.
    pub would: String,
    /// Whether it was a part of an incident; none where no incidents were named.
    pub in_incident: Option<bool>,
    /// What it is measured in.
    #[serde(skip)]
    pub unit: Unit,
    /// Its picture.
    #[serde(skip)]
    pub chart: Chart,
}

/// All that outcomes are told from.
pub(super) struct Telling<'a> {
    pub(super) config: &'a Config,
    pub(super) deploys: &'a [Deployed],
    pub(super) recorded: &'a Recorded<'a>,
    pub(super) incidents: Option<&'a [Incident]>,
    pub(super) until: Timestamp,
}

impl Telling<'_> {
    pub(super) fn services(&self, watches: &[Watched], sweeps: &[(Variant, Vec<Watched>)]) -> Vec<ServiceOutcome> {
        self.config.services.values().map(|plan| self.service(plan, watches, sweeps)).collect()
    }

    fn service(&self, plan: &Service, watches: &[Watched], sweeps: &[(Variant, Vec<Watched>)]) -> ServiceOutcome {
        let watches: Vec<&Watched> = watches.iter().filter(|watch| watch.service == plan.name).collect();
        let own = self.deploys.iter().enumerate().filter(|(_, deploy)| deploy.service == plan.name);
        let deploys =
            own.map(|(index, deploy)| deploy_outcome(deploy, watches.iter().find(|each| each.index == index)));
        let triggers: Vec<TriggerOutcome> =
            plan.triggers.iter().map(|trigger| self.trigger(plan, trigger, &watches, sweeps)).collect();
        ServiceOutcome {
            service: plan.name.clone(),
            deploys: deploys.collect(),
            incidents: self.incidents.map(|all| incidents(all, &plan.name, &triggers)),
            triggers,
        }
    }

    fn trigger(
        &self,
        plan: &Service,
        trigger: &Trigger,
        watches: &[&Watched],
        sweeps: &[(Variant, Vec<Watched>)],
    ) -> TriggerOutcome {
        let mut outcome = TriggerOutcome {
            trigger: trigger.name.clone(),
            action: match trigger.action {
                Action::Rollback => "rollback",
                Action::Page => "page",
                Action::Shadow => "shadow",
            },
            condition: "reported".to_owned(),
            replayed: false,
            firings: Vec::new(),
            outside_incidents: None,
            disarmed: watches.iter().filter(|watch| watch.disarmed.contains(&trigger.name)).count(),
            watched_seconds: 0.0,
            blind_seconds: 0.0,
            low_traffic_seconds: 0.0,
            sweep: Vec::new(),
        };
        let Observed::Metric(metric) = &trigger.observed else { return outcome };
        outcome.replayed = true;
        outcome.condition = condition(metric, trigger);
        for watch in watches {
            let looks = self.looks(watch, trigger, metric);
            let in_watch = |point: &&Point| watch.ended.is_none_or(|(at, _)| point.at <= at);
            let step = metric.step.as_secs_f64();
            for point in looks.iter().filter(in_watch) {
                outcome.watched_seconds += step;
                match point.look {
                    Look::NoData | Look::Error | Look::Partial => outcome.blind_seconds += step,
                    Look::LowTraffic | Look::NoTraffic => outcome.low_traffic_seconds += step,
                    Look::Breach(_) | Look::Clear(_) => {}
                }
            }
            if let Some(fired) = watch.fired.get(&trigger.name) {
                outcome.firings.extend(self.firing(plan, (trigger, metric), watch, fired, &looks));
            }
        }
        let outside = outcome.firings.iter().filter(|firing| firing.in_incident == Some(false)).count();
        outcome.outside_incidents = self.incidents.map(|_| outside);
        let own = sweeps.iter().filter(|(of, _)| of.service == plan.name && of.trigger == trigger.name);
        outcome.sweep = own.map(|(variant, watches)| self.swept(variant, metric, trigger.hold, watches)).collect();
        outcome
    }

    /// The looks after the deploy, as far as anything was recorded.
    fn looks(&self, watch: &Watched, trigger: &Trigger, metric: &Metric) -> Vec<Point> {
        let Some(answers) = self.recorded.known(&watch.service, &trigger.name, watch.deploy_at) else {
            return Vec::new();
        };
        let limit = trigger::limit(metric, watch.baselines.get(&trigger.name));
        let mut looks = trigger::looks(metric, limit, answers);
        looks.retain(|point| point.at > watch.deploy_at && point.at <= self.until);
        looks
    }

    fn firing(
        &self,
        plan: &Service,
        (trigger, metric): (&Trigger, &Metric),
        watch: &Watched,
        fired: &Fired,
        looks: &[Point],
    ) -> Option<FiringOutcome> {
        let deploy = self.deploys.get(watch.index)?;
        let breach_at = fired.observed_at - trigger.hold;
        let later = || looks.iter().filter(|point| point.at > fired.observed_at);
        let clear_at = later().find(|point| matches!(point.look, Look::Clear(_))).map(|point| point.at);
        let last_seen = later().next_back().map_or(fired.observed_at, |point| point.at);
        let value = looks.iter().find(|point| point.at == fired.observed_at).and_then(|point| point.look.value());
        let limit = match metric.condition {
            Condition::Any => None,
            Condition::Above(_) | Condition::Below(_) => trigger::limit(metric, watch.baselines.get(&trigger.name)),
        };
        let would = would(&fired.would);
        let unit = unit(metric);
        let shown = charts::Shown {
            service: &plan.name,
            trigger,
            metric,
            deploy,
            breach_at,
            observed_at: fired.observed_at,
            clear_at,
            last_seen,
            limit,
            would: &would,
            unit,
        };
        let chart = charts::firing(&shown, self.recorded.known(&plan.name, &trigger.name, deploy.at));
        Some(FiringOutcome {
            version: deploy.report.version.clone(),
            deployed_at: deploy.at,
            breach_at,
            observed_at: fired.observed_at,
            after_seconds: fired.observed_at.since(deploy.at).as_secs_f64(),
            value,
            limit,
            lasted_seconds: clear_at.unwrap_or(last_seen).since(breach_at).as_secs_f64(),
            still_breaching: clear_at.is_none(),
            would,
            in_incident: self.in_incident(&plan.name, breach_at, fired.observed_at),
            unit,
            chart,
        })
    }

    fn in_incident(&self, service: &ServiceName, breach_at: Timestamp, observed_at: Timestamp) -> Option<bool> {
        Some(self.incidents?.iter().any(|incident| incident.covers(service, breach_at, observed_at)))
    }

    fn swept(&self, variant: &Variant, metric: &Metric, hold: Duration, watches: &[Watched]) -> SweepOutcome {
        let fired = watches.iter().filter_map(|watch| Some((watch, watch.fired.get(&variant.trigger)?)));
        let fired: Vec<(Duration, Timestamp)> =
            fired.map(|(watch, fired)| (fired.observed_at.since(watch.deploy_at), fired.observed_at)).collect();
        let after: Vec<Duration> = fired.iter().map(|(after, _)| *after).collect();
        let within = |incident: &Incident| {
            fired.iter().any(|(_, observed_at)| incident.covers(&variant.service, *observed_at - hold, *observed_at))
        };
        let outside =
            fired.iter().filter(|(_, at)| self.in_incident(&variant.service, *at - hold, *at) == Some(false)).count();
        let of_service = |incident: &&Incident| incident.service == variant.service;
        SweepOutcome {
            limit: limit_text(variant.condition, unit(metric)),
            is_own: variant.is_own,
            fired: fired.len(),
            outside_incidents: self.incidents.map(|_| outside),
            missed_incidents: self
                .incidents
                .map(|all| all.iter().filter(of_service).filter(|incident| !within(incident)).count()),
            median_after_seconds: median(&after),
        }
    }
}

fn deploy_outcome(deploy: &Deployed, watch: Option<&&Watched>) -> DeployOutcome {
    DeployOutcome {
        version: deploy.report.version.clone(),
        at: deploy.at,
        found_in: deploy.found_in,
        end: watch.and_then(|watch| watch.ended).map(|(_, end)| end),
        watched: watch.is_some(),
        fired: watch.map(|watch| watch.fired.keys().cloned().collect()).unwrap_or_default(),
    }
}

fn incidents(all: &[Incident], service: &ServiceName, triggers: &[TriggerOutcome]) -> Vec<IncidentOutcome> {
    let told = |incident: &Incident| {
        let fired = triggers.iter().filter(|trigger| {
            let covered = |firing: &FiringOutcome| incident.covers(service, firing.breach_at, firing.observed_at);
            trigger.firings.iter().any(covered)
        });
        IncidentOutcome {
            from: incident.from,
            to: incident.to,
            note: incident.note.clone(),
            fired: fired.map(|trigger| trigger.trigger.clone()).collect(),
        }
    };
    all.iter().filter(|incident| &incident.service == service).map(told).collect()
}

fn would(would: &Would) -> String {
    match would {
        Would::RollBack { path, target } => format!("roll back to {target} by {path}"),
        Would::Page(why) => format!("page: {why}"),
        Would::Join(other) => format!("joined the rollback of {other}"),
        Would::Nothing => "nothing: it is a shadow".to_owned(),
    }
}

/// Percent where the config says so or divides; seconds where a quantile is taken of a histogram of seconds.
fn unit(metric: &Metric) -> Unit {
    let limit = match metric.condition {
        Condition::Above(limit) | Condition::Below(limit) => Some(limit),
        Condition::Any => None,
    };
    if let Some(Limit::Fixed { shown_as_percentage: true, .. }) = limit {
        return Unit::Percent;
    }
    match &metric.query {
        Query::Ratio { .. } => Unit::Percent,
        Query::Expression(expr) | Query::Filter { expr, .. }
            if expr.source().contains("histogram_quantile") && expr.source().contains("_seconds") =>
        {
            Unit::Seconds
        }
        Query::Expression(_) | Query::Filter { .. } => Unit::Plain,
    }
}

fn condition(metric: &Metric, trigger: &Trigger) -> String {
    let limit = limit_text(metric.condition, unit(metric));
    format!("{limit} for {}", rollbackd_core::time::show_duration(trigger.hold))
}

fn limit_text(condition: Condition, unit: Unit) -> String {
    let text = |limit: Limit| match limit {
        Limit::Fixed { value, .. } => unit.show(value),
        Limit::TimesBaseline { factor, .. } => format!("{}x baseline", Unit::Plain.show(factor)),
    };
    match condition {
        Condition::Above(limit) => format!("> {}", text(limit)),
        Condition::Below(limit) => format!("< {}", text(limit)),
        Condition::Any => "any series".to_owned(),
    }
}
