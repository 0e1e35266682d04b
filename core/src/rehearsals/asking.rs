//! A rehearsal is asked for: what refuses it, and the one look at the triggers before anything is deployed.

use std::time::Duration;

use crate::attempts;
use crate::config::{Action, Metric, Observed, Service, Trigger};
use crate::deploy::Migration;
use crate::draft::Draft;
use crate::event::{Effect, Order, Reply};
use crate::firing::Attempt;
use crate::guard;
use crate::name::{AttemptId, DeployId, RehearsalId, TriggerName, Version};
use crate::reading::{Answers, Look};
use crate::record::RehearsalRecord;
use crate::rehearsal::{REHEARSAL, Rehearsal, Stage, Told};
use crate::state::ServiceState;
use crate::template::{Values, Variable};
use crate::time::Timestamp;
use crate::trigger::{self, Arming, BLIND_INTERVALS, Rule};

use super::{call_off, conflict, ending, record, under_way};

/// A human asks for a rehearsal.
pub(crate) fn asked(draft: &mut Draft<'_>, bad: &Version, witness: Option<&str>) -> Reply {
    if let Some(rehearsal) = under_way(draft) {
        return conflict(format!("rehearsal {} of this service is under way already", rehearsal.id));
    }
    let back_to = match back_to(draft, bad) {
        Ok(version) => version,
        Err(why) => return conflict(why),
    };
    let ids = RehearsalId::new(draft.next_id('r')).ok().zip(DeployId::new(draft.next_id('d')).ok());
    let Some((id, deploy)) = ids else { return conflict("the service's name is too long for an id") };
    let rehearsal = Rehearsal {
        id: id.clone(),
        bad: bad.clone(),
        back_to,
        witness: witness.map(str::to_owned),
        asked_at: draft.now,
        deploy,
        stage: Stage::Checking { until: draft.now + patience(draft) },
        checked: std::collections::BTreeSet::new(),
        attempt: None,
        waits: None,
        told: Told::default(),
        reports: Vec::new(),
        stop_asked: false,
    };
    if let Err(why) = prepare(draft, &rehearsal) {
        return conflict(why);
    }
    record(draft, RehearsalRecord::Asked { rehearsal: Box::new(rehearsal) });
    begin_if_checked(draft);
    Reply::Rehearsal(id)
}

/// How long the look before it may take: as long as a watch may be blind, and never too short for one slow answer.
fn patience(draft: &Draft<'_>) -> Duration {
    const LEAST: Duration = Duration::from_secs(10);
    (draft.config.evaluation_interval * (BLIND_INTERVALS + 1)).max(LEAST)
}

/// The version that serves and is returned to, where nothing stands against a rehearsal; else what does.
fn back_to(draft: &Draft<'_>, bad: &Version) -> Result<Version, String> {
    let own = draft.own();
    if draft.service.rehearsal.is_none() {
        return Err(format!(
            "the config of {} has no `rehearsal: {{deploy_bad: PATH, every: 30d}}`: it says how a bad version is deployed",
            draft.name()
        ));
    }
    if draft.is_dry_run() {
        return Err("this daemon runs with --dry-run: it deploys nothing, and would roll nothing back".to_owned());
    }
    if let Some(hold) = guard::frozen(draft) {
        return Err(format!("{hold}: the rehearsal's rollback would be held"));
    }
    if let Some(watch) = &own.watch {
        return Err(format!("{} is under watch until {}: wait until it has passed", watch.version, watch.until));
    }
    if let Some(firing) = own.open_firings().next() {
        return Err(format!("the service is not healthy: firing {} ({}) is open", firing.id, firing.trigger));
    }
    if let Some(page) = own.pages.iter().find(|page| page.resolved_at.is_none()) {
        return Err(format!("the service is not healthy: page {} waits for a human", page.id));
    }
    let Some(serves) = &own.running else {
        return Err("no deploy of this service is known, so there is no version to return to".to_owned());
    };
    if serves == bad {
        return Err(format!("{bad} is what serves already"));
    }
    if own.ledger.latest_passed(bad) != Some(serves) {
        return Err(format!(
            "{serves} serves and has not passed a watch of its own: it is no version that a rollback would return to"
        ));
    }
    let last = own.ledger.entries.iter().rev().find(|entry| &entry.deploy.version == bad);
    if last.is_some_and(|entry| entry.deploy.migration == Migration::Breaking) {
        return Err(format!("{bad} migrates data (`migration: true`): code alone is never rolled back from it"));
    }
    match guard::limit(draft) {
        Some(hold) => Err(format!("{hold}: the rehearsal's rollback would be held")),
        None => Ok(serves.clone()),
    }
}

/// What deploys the bad version: the path renders it as the version to go to.
fn prepare(draft: &Draft<'_>, rehearsal: &Rehearsal) -> Result<Attempt, String> {
    let rule = draft.service.rehearsal.as_ref();
    let Some(path) = rule.and_then(|rule| draft.service.path(&rule.deploy_bad)) else {
        return Err("the config has no path for `deploy_bad` any more".to_owned());
    };
    let own = draft.own();
    let before = own.ledger.entries.iter().rev().find(|entry| entry.deploy.version == rehearsal.back_to);
    let before = before.map(|entry| &entry.deploy);
    let id = AttemptId::new(format!("{}-a1", rehearsal.id)).map_err(|error| error.to_string())?;
    let values = Values::default()
        .with(Variable::Service, draft.name().as_str())
        .with(Variable::FiringId, rehearsal.id.as_str())
        .with(Variable::AttemptId, id.as_str())
        .with(Variable::TargetVersion, rehearsal.bad.as_str())
        .with_some(Variable::TargetRevision, own.ledger.revision(&rehearsal.bad))
        .with(Variable::DeployVersion, rehearsal.back_to.as_str())
        .with_some(Variable::DeployAt, before.map(|deploy| deploy.at.to_string()))
        .with_some(Variable::DeployCommit, before.and_then(|deploy| deploy.commit.as_ref()).map(|it| it.as_str()));
    let rendered = attempts::render(path, id, &values, draft.now);
    rendered.map_err(|unknown| format!("path {} can't deploy {}: {unknown}", path.name, rehearsal.bad))
}

/// The triggers that are to be seen once before a bad version is deployed. One that is compared with a baseline has
/// none before its deploy, so that there is nothing to judge.
pub(crate) fn unchecked<'a>(
    service: &'a Service,
    own: &'a ServiceState,
) -> impl Iterator<Item = (&'a Rehearsal, &'a Trigger, &'a Metric)> {
    let checking = own.rehearsing().filter(|rehearsal| matches!(rehearsal.stage, Stage::Checking { .. }));
    checking.into_iter().flat_map(move |rehearsal| {
        service.triggers.iter().filter_map(move |trigger| match &trigger.observed {
            Observed::Metric(metric) => {
                let counts = trigger.action != Action::Shadow && metric.baseline_window().is_none();
                let open = counts && !rehearsal.checked.contains(&trigger.name);
                open.then_some((rehearsal, trigger.as_ref(), metric.as_ref()))
            }
            Observed::Report => None,
        })
    })
}

/// Whether a look is the one before a rehearsal.
pub(crate) fn is_checking(draft: &Draft<'_>, deploy: &DeployId) -> bool {
    draft
        .own()
        .rehearsing()
        .is_some_and(|rehearsal| matches!(rehearsal.stage, Stage::Checking { .. }) && &rehearsal.deploy == deploy)
}

/// A trigger was looked at before anything is deployed.
pub(crate) fn checked(draft: &mut Draft<'_>, name: &TriggerName, answers: &Answers, until: Option<Timestamp>) {
    let own = draft.own().clone();
    let Some((rehearsal, trigger, metric)) = unchecked(draft.service, &own).find(|(_, each, _)| &each.name == name)
    else {
        return;
    };
    let points = trigger::looks(metric, trigger::limit(metric, None), answers);
    let interval = draft.config.evaluation_interval;
    let rule = Rule {
        hold: trigger.hold,
        step: metric.step,
        window: metric.window,
        interval,
        deploy_at: rehearsal.asked_at,
        since_deploy: false,
    };
    // Nothing is gone on from: one look that says something is all that is asked of a trigger.
    draft.verdict = Some(trigger::Verdict { so_far: None, ..trigger::judge(&rule, Arming::default(), &points, until) });
    // The newest samples may not have come in yet: the last look that says something counts.
    match points.iter().rev().map(|point| point.look).find(|look| !look.is_blind()) {
        Some(Look::Breach(value)) => {
            call_off(draft, format!("the service is not healthy: {name} is breaching ({value:.4})"));
        }
        Some(Look::Clear(_) | Look::LowTraffic | Look::NoTraffic) => {
            record(draft, RehearsalRecord::Checked { trigger: name.clone() });
            begin_if_checked(draft);
        }
        Some(Look::NoData | Look::Error | Look::Partial) | None => {}
    }
}

/// The one attempt begins: its intent is durable before it runs (design, R2).
fn begin_if_checked(draft: &mut Draft<'_>) {
    let Some(rehearsal) = under_way(draft) else { return };
    if unchecked(draft.service, draft.own()).next().is_some() {
        return;
    }
    if let Err(why) = back_to(draft, &rehearsal.bad) {
        return call_off(draft, why);
    }
    match prepare(draft, &rehearsal) {
        Ok(attempt) => {
            let order = Order::of_rehearsal(draft.name(), &rehearsal.id, &attempt);
            record(draft, RehearsalRecord::AttemptIntended { attempt: Box::new(attempt) });
            if let Some(order) = order {
                draft.effect(Effect::StartAttempt(order));
            }
        }
        Err(why) => call_off(draft, why),
    }
}

/// A freeze holds what a rehearsal would end with, so that it does not begin.
pub(crate) fn frozen(draft: &mut Draft<'_>) {
    let checking = under_way(draft).filter(|rehearsal| matches!(rehearsal.stage, Stage::Checking { .. }));
    if checking.is_some() {
        call_off(draft, "automatic rollback was frozen before anything was deployed");
    }
}

/// A human asks the rehearsal to stop: what is bad goes away at once, by the same rollback.
pub(crate) fn stop_asked(draft: &mut Draft<'_>) -> Reply {
    let Some(rehearsal) = under_way(draft) else { return conflict("no rehearsal of this service is under way") };
    if !rehearsal.stop_asked {
        record(draft, RehearsalRecord::StopAsked);
    }
    match &rehearsal.stage {
        Stage::Checking { .. } => call_off(draft, "it was stopped before anything was deployed"),
        Stage::Deploying => {
            if let Some(attempt) = rehearsal.running().map(|attempt| attempt.id.clone()) {
                draft.effect(Effect::StopAttempt { service: draft.name().clone(), attempt });
            }
        }
        Stage::Watching { .. } => {
            if let Some(refused) = ending::stop(draft, &rehearsal) {
                return refused;
            }
        }
        Stage::Ended { .. } => return conflict(format!("{REHEARSAL} {} has ended", rehearsal.id)),
    }
    Reply::Rehearsal(rehearsal.id)
}
