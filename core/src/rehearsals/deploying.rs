//! The bad version is being deployed: its one attempt, and what is told and seen meanwhile.
//!
//! The watch opens once the attempt has ended: until then a rollback would race the very deploy that it undoes. The
//! triggers are judged by their data from the instant at which the bad version began to serve, so that no time is lost
//! on the clock.

use crate::config::Action;
use crate::deploy::{Deploy, Migration};
use crate::deploys::{self, LARGEST_CLOCK_SKEW};
use crate::draft::Draft;
use crate::event::{About, DeployReport, Effect, Reply, Run};
use crate::firing::{Attempt, Origin, Outcome};
use crate::name::{AttemptId, DeployId, TriggerName, Version};
use crate::record::{LedgerRecord, Record, RehearsalRecord};
use crate::rehearsal::{Rehearsal, Reported, Stage, Told};
use crate::rollback::{self, Observation};
use crate::state::ServiceState;
use crate::time::Timestamp;

use super::{call_off, ending, record, under_way};

fn owned(draft: &Draft<'_>, attempt: &AttemptId) -> Option<(Rehearsal, Attempt)> {
    let rehearsal = under_way(draft)?;
    let known = rehearsal.running().filter(|known| &known.id == attempt)?.clone();
    Some((rehearsal, known))
}

/// The attempt can be found by something now.
pub(crate) fn attempt_started(draft: &mut Draft<'_>, attempt: &AttemptId, handle: &str) {
    if owned(draft, attempt).is_some_and(|(_, known)| known.handle.as_deref() != Some(handle)) {
        record(draft, RehearsalRecord::AttemptStarted { handle: handle.to_owned() });
    }
}

/// The remote waits for a person. Nothing is bad yet, so that whoever rehearses is told, and nobody is paged.
pub(crate) fn attempt_waits(draft: &mut Draft<'_>, attempt: &AttemptId, why: &str) {
    if owned(draft, attempt).is_some_and(|(rehearsal, _)| rehearsal.waits.as_deref() != Some(why)) {
        record(draft, RehearsalRecord::AttemptWaits { why: why.to_owned() });
    }
}

/// The attempt ended. Whatever may have been deployed is watched or rolled back; only what was never begun is not there.
pub(crate) fn attempt_ended(draft: &mut Draft<'_>, attempt: &AttemptId, outcome: &Outcome) {
    let Some((rehearsal, known)) = owned(draft, attempt) else { return };
    record(draft, RehearsalRecord::AttemptEnded { outcome: outcome.clone() });
    let path = &known.path;
    let failed = match outcome {
        Outcome::NeverStarted => {
            return call_off(
                draft,
                format!("path {path} had not been started before the restart: nothing was deployed"),
            );
        }
        Outcome::Succeeded { .. } => None,
        Outcome::Failed { why, .. } => Some(format!("path {path} failed to deploy {}: {why}", rehearsal.bad)),
        Outcome::Cancelled { why } => Some(format!("path {path} was cancelled at the remote: {why}")),
        Outcome::Unknown { why } => Some(format!("what became of path {path} is unknown: {why}")),
        Outcome::TimedOut => {
            draft.effect(Effect::StopAttempt { service: draft.name().clone(), attempt: attempt.clone() });
            Some(format!("path {path} used up its timeout"))
        }
    };
    serve(draft, &rehearsal);
    fire_reports(draft, &rehearsal);
    if rehearsal.stop_asked {
        ending::roll_back(draft, "a human stopped the rehearsal", ending::Asked::ByHuman);
    } else if let Some(why) = failed {
        ending::roll_back(draft, &why, ending::Asked::ByNobody);
    }
}

/// From now on the bad version counts as what serves, and its watch is open.
pub(super) fn serve(draft: &mut Draft<'_>, rehearsal: &Rehearsal) {
    let began = rehearsal.attempt.as_ref().map_or(rehearsal.asked_at, |attempt| attempt.started_at);
    let told = &rehearsal.told;
    // Nothing bad served before the attempt: a trigger can't seem to have breached before its deploy (design, R5).
    let at = told.serving_since.unwrap_or(began).max(began).min(draft.now);
    let deploy = Deploy {
        id: rehearsal.deploy.clone(),
        version: rehearsal.bad.clone(),
        previous: Some(rehearsal.back_to.clone()),
        commit: told.commit.clone(),
        migration: told.migration,
        run_url: told.run_url.clone(),
        at,
        reported_at: draft.now,
        key: None,
        seen: false,
        rehearsal: true,
    };
    let watched_until = draft.now + draft.service.watch;
    let timeout = draft.service.rehearsal.as_ref().map_or(draft.service.watch, |rule| rule.timeout);
    deploys::open_until(draft, deploy, watched_until);
    record(draft, RehearsalRecord::Watching { until: (draft.now + timeout).min(watched_until) });
}

fn fire_reports(draft: &mut Draft<'_>, rehearsal: &Rehearsal) {
    for report in &rehearsal.reports {
        let Some(trigger) = draft.service.trigger(&report.trigger) else { continue };
        let observation = Observation {
            trigger: trigger.name.clone(),
            origin: Origin::Report,
            breach_at: report.at,
            observed_at: report.at,
            value: None,
            limit: None,
            note: report.note.clone(),
        };
        let _: Option<crate::name::FiringId> = rollback::fire(draft, trigger, observation);
    }
}

/// Whether a pipeline's run is the attempt of this service's rehearsal, be that over or not.
pub(crate) fn is_own_run(own: &ServiceState, run: Option<&Run>) -> bool {
    let (Some(run), Some(rehearsal)) = (run, &own.rehearsal) else { return false };
    rehearsal.attempt.as_ref().is_some_and(|attempt| {
        let titled = run.title.as_ref().is_some_and(|title| title.contains(attempt.id.as_str()));
        attempt.handle.as_ref() == Some(&run.id) || titled
    })
}

/// The deploy that this service's rehearsal made, where an event tells of it: by its run, or by the version while that
/// may serve. It opens no second watch, however often it is told and by whomever.
pub(crate) fn told(draft: &mut Draft<'_>, report: &DeployReport, at: Timestamp, run: Option<&Run>) -> Option<DeployId> {
    let rehearsal = draft.own().rehearsal.clone()?;
    let began = rehearsal.attempt.as_ref()?.started_at;
    let by_version = report.version == rehearsal.bad && at + LARGEST_CLOCK_SKEW >= began;
    let is_it = is_own_run(draft.own(), run) || by_version;
    match &rehearsal.stage {
        Stage::Deploying if is_it => learn(draft, &rehearsal, report, at.max(began)),
        Stage::Watching { .. } if is_it => deploys::learn_migration(draft, &rehearsal.deploy, report),
        // Late word of it. Once it has ended, only an older instant, or its own run, tells it from a new deploy.
        Stage::Ended { at: ended, .. } if is_it && (is_own_run(draft.own(), run) || at <= *ended) => {}
        Stage::Checking { .. } | Stage::Deploying | Stage::Watching { .. } | Stage::Ended { .. } => return None,
    }
    Some(rehearsal.deploy)
}

fn learn(draft: &mut Draft<'_>, rehearsal: &Rehearsal, report: &DeployReport, at: Timestamp) {
    let known = &rehearsal.told;
    let breaking = report.migration == Migration::Breaking;
    let told = Told {
        serving_since: Some(known.serving_since.map_or(at, |known| known.min(at))),
        migration: if breaking { Migration::Breaking } else { known.migration },
        commit: known.commit.clone().or_else(|| report.commit.clone()),
        run_url: known.run_url.clone().or_else(|| report.run_url.clone()),
    };
    if &told != known {
        record(draft, RehearsalRecord::Told { told });
    }
}

/// Whether the version that `version_query` shows anew is the rehearsal's; then it says since when that serves.
pub(crate) fn appeared(draft: &mut Draft<'_>, version: &Version, at: Timestamp) -> bool {
    let report = DeployReport::seen(version.clone(), at);
    told(draft, &report, at, None).is_some()
}

/// A report that comes while the bad version is being deployed counts once its watch is open: a pipeline says that its
/// smoke test failed before it ends itself.
pub(crate) fn keeps_report(
    draft: &mut Draft<'_>,
    trigger: &TriggerName,
    note: Option<&String>,
    about: &About,
) -> Option<Reply> {
    let rehearsal = under_way(draft).filter(Rehearsal::is_deploying)?;
    let unnamed = !about.names_a_deploy() && about.run.is_none();
    let own = draft.own();
    if !(unnamed || is_own_run(own, about.run.as_ref()) || about.version.as_ref() == Some(&rehearsal.bad)) {
        return None;
    }
    if let Some(key) = about.key.as_ref().filter(|key| !own.reports.contains(key)) {
        draft.record(Record::Ledger(LedgerRecord::ReportTaken { key: key.clone() }));
    }
    let shadow = draft.service.trigger(trigger).is_some_and(|trigger| trigger.action == Action::Shadow);
    if !shadow && rehearsal.reports.iter().all(|known| &known.trigger != trigger) {
        let at = about.at.unwrap_or(draft.now).min(draft.now);
        let report = Reported { trigger: trigger.clone(), at, note: note.cloned() };
        record(draft, RehearsalRecord::Reported { report });
    }
    Some(Reply::Rehearsal(rehearsal.id))
}

/// Time alone: an attempt that used up its path's timeout.
pub(crate) fn woke(draft: &mut Draft<'_>) {
    let due = under_way(draft).and_then(|rehearsal| rehearsal.running().cloned());
    if let Some(attempt) = due.filter(|attempt| attempt.ends_at <= draft.now) {
        attempt_ended(draft, &attempt.id, &Outcome::TimedOut);
    }
}
