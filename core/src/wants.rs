//! What is to be looked at now, as data: the cadence of looking is the shell's, what to look at is decided here.

use std::sync::Arc;
use std::time::Duration;

use crate::comparison;
use crate::config::{Config, Metric, Observed, PathRule, Service, Trigger};
use crate::firing::Firing;
use crate::name::{DeployId, ServiceName, TriggerName};
use crate::proof::{awaited_since, needs};
use crate::rehearsal::Rehearsal;
use crate::rehearsals;
use crate::state::{ServiceState, State, Watch};
use crate::template::{Values, Variable};
use crate::time::Timestamp;

/// Something to be looked at for one service.
#[derive(Clone, Debug, PartialEq)]
pub enum Want {
    /// The queries of a trigger, at its slots from `from` on.
    Trigger {
        /// The deploy under watch.
        deploy: DeployId,
        /// The trigger.
        trigger: TriggerName,
        /// The first slot that matters: the one that tells what was before the deploy, or the first of a baseline that samples
        /// are compared with.
        from: Timestamp,
        /// The deploy's own instant, for `since_deploy`.
        deploy_at: Timestamp,
        /// What the queries' templates may name.
        values: Values,
    },
    /// The trigger's expression over its baseline window.
    Baseline {
        /// The deploy under watch.
        deploy: DeployId,
        /// The trigger.
        trigger: TriggerName,
        /// The first slot.
        from: Timestamp,
        /// The last slot.
        to: Timestamp,
        /// What the queries' templates may name.
        values: Values,
    },
    /// What `version_query` showed just before an instant.
    VersionBefore {
        /// The deploy under watch.
        deploy: DeployId,
        /// Just before then.
        before: Timestamp,
        /// The version that was deployed then, which is not the answer.
        not: crate::name::Version,
        /// What the query's template may name.
        values: Values,
    },
    /// What `version_query` shows now.
    Serving {
        /// Since when it must be known whether a version has served without a gap: the earliest deploy that is open.
        back_to: Option<Timestamp>,
        /// What the query's template may name.
        values: Values,
    },
    /// Whether `version_query` shows a version that was not there before.
    Version {
        /// Over this long.
        within: Duration,
        /// What the query's template may name.
        values: Values,
    },
    /// Whether the smoke URL answers.
    Smoke {
        /// The URL, of the config's.
        url: String,
    },
}

/// What is to be looked at for one service at this time.
#[must_use]
pub fn wants(config: &Config, state: &State, service: &ServiceName) -> Vec<Want> {
    wants_of(config, state, service, |_| true)
}

/// The same with the looks at these triggers of the watch alone: most are not due when one is.
#[must_use]
pub fn wants_of(
    config: &Config,
    state: &State,
    service: &ServiceName,
    is_due: impl Fn(&TriggerName) -> bool,
) -> Vec<Want> {
    let Some(plan) = config.services.get(service) else { return Vec::new() };
    let own = state.services.get(service).map(AsRef::as_ref);
    let mut wants = Vec::from_iter(for_deploys(plan, own));
    let Some(own) = own else { return wants };
    wants.extend(before_a_rehearsal(plan, own));
    if let Some(watch) = &own.watch {
        let due = plan.triggers.iter().filter(|trigger| is_due(&trigger.name));
        wants.extend(due.flat_map(|trigger| for_trigger(plan, own, watch, trigger)));
        if watch.target_awaited {
            let deployed_then = own.ledger.entries.iter().find(|entry| entry.deploy.at == watch.healthy_before);
            wants.push(Want::VersionBefore {
                deploy: watch.deploy.clone(),
                before: watch.healthy_before,
                not: deployed_then.map_or(&watch.version, |entry| &entry.deploy.version).clone(),
                values: watch_values(plan, own, watch),
            });
        }
    }
    wants.extend(for_proof(plan, own));
    wants
}

/// The triggers, once: whether they can be seen, and are clear, before a bad version is deployed on purpose.
fn before_a_rehearsal(plan: &Service, own: &ServiceState) -> Vec<Want> {
    /// So many slots back: the newest samples may not have come in yet.
    const SLOTS: u32 = 4;
    let want = |(rehearsal, trigger, metric): (&Rehearsal, &Trigger, &Metric)| Want::Trigger {
        deploy: rehearsal.deploy.clone(),
        trigger: trigger.name.clone(),
        from: (rehearsal.asked_at - metric.step * SLOTS).floor(metric.step),
        deploy_at: rehearsal.asked_at - metric.step * SLOTS,
        values: Values::of_deploy(&plan.name, &rehearsal.back_to, rehearsal.asked_at, None),
    };
    rehearsals::unchecked(plan, own).map(want).collect()
}

/// A deploy that nobody tells of counts from its own instant, and is over when its watch would be. While a rehearsal
/// deploys its bad version, since when that serves is wanted wherever it can be seen.
fn for_deploys(plan: &Service, own: Option<&ServiceState>) -> Option<Want> {
    let deploying = own.and_then(ServiceState::rehearsing).is_some_and(Rehearsal::is_deploying);
    (plan.watch_version || (deploying && plan.version_query.is_some()))
        .then(|| Want::Version { within: plan.watch, values: service_values(plan) })
}

fn service_values(plan: &Service) -> Values {
    Values::default().with(Variable::Service, plan.name.as_str())
}

fn watch_values(plan: &Service, own: &ServiceState, watch: &Watch) -> Values {
    let commit = own.ledger.entry(&watch.deploy).and_then(|entry| entry.deploy.commit.as_ref());
    Values::of_deploy(&plan.name, &watch.version, watch.at, commit)
}

/// The look at a trigger, and at its baseline until that is known: what was not compared yet has to be seen as such, and
/// an answer that came back empty once may be filled in later.
fn for_trigger(plan: &Service, own: &ServiceState, watch: &Watch, trigger: &Trigger) -> Vec<Want> {
    let Observed::Metric(metric) = &trigger.observed else { return Vec::new() };
    let Some(known) = watch.triggers.get(&trigger.name) else { return Vec::new() };
    let values = if metric.names_nothing() { Values::default() } else { watch_values(plan, own, watch) };
    let (deploy, name) = (watch.deploy.clone(), trigger.name.clone());
    let mut wants = Vec::new();
    let is_known = known.baseline.is_some_and(|baseline| baseline.value.is_some());
    if let Some(window) = metric.baseline_window().filter(|_| !is_known) {
        let to = watch.healthy_before.floor(metric.step);
        let from = (watch.healthy_before - window).floor(metric.step) + metric.step;
        let (deploy, trigger, values) = (deploy.clone(), name.clone(), values.clone());
        wants.push(Want::Baseline { deploy, trigger, from, to: to.max(from), values });
    }
    // Always the whole window: a row of breaches may begin before a gap that later data fill in, and what counts after
    // the deploy depends on what was before it.
    let from = match metric.comparison {
        Some(_) => comparison::from(metric, watch.healthy_before, watch.at),
        None => watch.at.floor(metric.step),
    };
    wants.push(Want::Trigger { deploy, trigger: name, from, deploy_at: watch.at, values });
    wants
}

/// Whether a metric's queries name `since_deploy`, and so have to be asked slot by slot.
#[must_use]
pub fn names_since_deploy(metric: &Metric) -> bool {
    metric.templates().any(|template| template.names(Variable::SinceDeploy))
}

fn for_proof(plan: &Service, own: &ServiceState) -> Vec<Want> {
    let proving = |firing: &&Firing| awaited_since(plan, firing).is_some();
    let doubted = own.open_firings().any(|firing| firing.running().is_some_and(|attempt| attempt.in_doubt));
    let needed: Vec<_> = own.open_firings().filter(proving).map(|firing| needs(plan, firing)).collect();
    let mut wants = Vec::new();
    let serving = || doubted || learns_revision(plan, own) || needed.iter().any(|needs| needs.serving);
    if plan.version_query.is_some() && serving() {
        wants.push(Want::Serving { back_to: earliest_open(own), values: service_values(plan) });
    }
    if let Some(url) = plan.smoke.as_ref().filter(|_| needed.iter().any(|needs| needs.smoke)) {
        wants.push(Want::Smoke { url: url.clone() });
    }
    wants
}

/// The earliest deploy that a firing is open about.
fn earliest_open(own: &ServiceState) -> Option<Timestamp> {
    own.open_firings().filter_map(|firing| firing.deploy.as_ref()).map(|deploy| deploy.at).min()
}

/// Whether a path names the platform's revision, and that of the version under watch is not known yet.
fn learns_revision(plan: &Service, own: &ServiceState) -> bool {
    let names = |path: &Arc<PathRule>| path.run.iter().any(|part| part.value.names(Variable::TargetRevision));
    let unknown = own.watch.as_ref().is_some_and(|watch| own.ledger.revision(&watch.version).is_none());
    unknown && plan.paths.iter().any(names)
}
