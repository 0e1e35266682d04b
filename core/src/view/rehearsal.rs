//! What is shown of rehearsals: the one under way, and what they showed of each path.

use serde::Serialize;

use crate::config::{PathRule, RehearsalRule, Service};
use crate::firing::{Attempt, Firing, Stage as FiringStage};
use crate::name::{DeployId, FiringId, PathName, RehearsalId, TriggerName, Version};
use crate::receipt::fingerprint;
use crate::rehearsal::{End, RUNS_BEFORE_A_GAME_DAY, Rehearsal, Rehearsed, Stage};
use crate::state::ServiceState;
use crate::time::Timestamp;

/// A rehearsal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RehearsalView {
    /// Its id.
    pub id: RehearsalId,
    /// The version that is deployed on purpose.
    pub bad: Version,
    /// The version that is returned to.
    pub back_to: Version,
    /// Who watches.
    pub witness: Option<String>,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// `checking`, `deploying`, `watching`, `firing`, `paged`, `rolling_back`, `verifying` or `ended`.
    pub state: &'static str,
    /// When that is over by time alone: the check, the deploy's timeout, the time in which a trigger should fire.
    pub until: Option<Timestamp>,
    /// The deploy of the bad version; it is known from the beginning, and in the ledger once that version serves.
    pub deploy: DeployId,
    /// What deploys the bad version.
    pub attempt: Option<Attempt>,
    /// Why that waits for a person at the remote.
    pub waits: Option<String>,
    /// The firing that brings production back, once there is one.
    pub firing: Option<FiringId>,
    /// Whether a human asked it to stop.
    pub stop_asked: bool,
    /// `recovered`, `not_recovered`, `left_to_human`, `dismissed`, `superseded` or `called_off`, once it ended.
    pub end: Option<&'static str>,
    /// Why nothing was deployed, or what was deployed over it.
    pub why: Option<String>,
}

/// How a service rehearses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RehearsalPlanView {
    /// The path that deploys the bad version.
    pub deploy_bad: PathName,
    /// How often each path is due, in seconds.
    pub every_seconds: f64,
    /// How long a bad version may stay that no trigger sees, in seconds.
    pub timeout_seconds: f64,
    /// What `--surprise` may draw from.
    pub bad_versions: Vec<Version>,
}

/// What rehearsals showed of a path.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RehearsedView {
    /// When the last one that it brought back had recovered.
    pub at: Timestamp,
    /// From observed to recovered, in seconds.
    pub took_seconds: f64,
    /// The trigger that saw the bad version, or `rehearsal`.
    pub trigger: TriggerName,
    /// The number of its receipt.
    pub receipt: u64,
    /// How many in a row were clean, each in less than five minutes.
    pub in_a_row: u32,
    /// Whether the path or the trigger is no longer what was rehearsed.
    pub changed: bool,
    /// Whether there were enough in a row to move on to a game day (`rehearse --surprise`).
    pub ready_for_a_game_day: bool,
}

pub(super) fn plan(rule: &RehearsalRule) -> RehearsalPlanView {
    RehearsalPlanView {
        deploy_bad: rule.deploy_bad.clone(),
        every_seconds: rule.every.as_secs_f64(),
        timeout_seconds: rule.timeout.as_secs_f64(),
        bad_versions: rule.bad_versions.clone(),
    }
}

pub(super) fn view(own: &ServiceState) -> Option<RehearsalView> {
    let rehearsal = own.rehearsal.as_ref()?;
    let firing = firing(own, rehearsal);
    let (end, why) = match &rehearsal.stage {
        Stage::Ended { end, .. } => (Some(end.word()), why(end)),
        Stage::Checking { .. } | Stage::Deploying | Stage::Watching { .. } => (None, None),
    };
    Some(RehearsalView {
        id: rehearsal.id.clone(),
        bad: rehearsal.bad.clone(),
        back_to: rehearsal.back_to.clone(),
        witness: rehearsal.witness.clone(),
        asked_at: rehearsal.asked_at,
        state: state(rehearsal, firing),
        until: match &rehearsal.stage {
            Stage::Checking { until } | Stage::Watching { until } => Some(*until),
            Stage::Deploying => rehearsal.running().map(|attempt| attempt.ends_at),
            Stage::Ended { .. } => None,
        },
        deploy: rehearsal.deploy.clone(),
        attempt: rehearsal.attempt.clone(),
        waits: rehearsal.waits.clone(),
        firing: firing.map(|firing| firing.id.clone()),
        stop_asked: rehearsal.stop_asked,
        end,
        why,
    })
}

/// The firing that tells how it goes on: one whose rollback has begun, else the first.
fn firing<'a>(own: &'a ServiceState, rehearsal: &Rehearsal) -> Option<&'a Firing> {
    let about = |firing: &&Firing| firing.deploy.as_ref().is_some_and(|deploy| deploy.id == rehearsal.deploy);
    let rolled = own.firings.iter().rev().filter(about).find(|firing| firing.was_attempted());
    rolled.or_else(|| own.firings.iter().find(about))
}

fn state(rehearsal: &Rehearsal, firing: Option<&Firing>) -> &'static str {
    match (&rehearsal.stage, firing.map(|firing| &firing.stage)) {
        (Stage::Checking { .. }, _) => "checking",
        (Stage::Deploying, _) => "deploying",
        (Stage::Ended { .. }, _) => "ended",
        (Stage::Watching { .. }, Some(FiringStage::Veto { .. })) => "firing",
        (Stage::Watching { .. }, Some(FiringStage::Paged { .. })) => "paged",
        (Stage::Watching { .. }, Some(FiringStage::Rolling)) => "rolling_back",
        (Stage::Watching { .. }, Some(FiringStage::Verifying { .. })) => "verifying",
        (Stage::Watching { .. }, Some(FiringStage::Ended { .. }) | None) => "watching",
    }
}

fn why(end: &End) -> Option<String> {
    match end {
        End::CalledOff { why } => Some(why.clone()),
        End::Superseded { by } => Some(format!("{by} was deployed over it")),
        End::Recovered | End::NotRecovered | End::LeftToHuman | End::Dismissed => None,
    }
}

pub(super) fn rehearsed(plan: &Service, path: &PathRule, known: &Rehearsed) -> RehearsedView {
    let last = &known.last;
    let changed = last.fingerprint != fingerprint(plan, &path.name, &last.trigger);
    RehearsedView {
        at: known.at,
        took_seconds: last.took.map_or(0.0, |took| took.0.as_secs_f64()),
        trigger: last.trigger.clone(),
        receipt: last.receipt,
        in_a_row: known.in_a_row,
        changed,
        ready_for_a_game_day: known.in_a_row >= RUNS_BEFORE_A_GAME_DAY && !changed,
    }
}
