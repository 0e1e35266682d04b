//! What a record does to a firing: its stage, its attempts, its story.

use crate::deploy::Incident;
use crate::firing::{Attempt, Firing, FiringEnd, Outcome, Proof, Stage, Step, Took};
use crate::name::{AttemptId, FiringId, Version};
use crate::record::FiringRecord;
use crate::state::{REMEMBERED_DURATIONS, REMEMBERED_FIRINGS, Returned, ServiceState};
use crate::time::{Timestamp, show_duration};

use super::spend;

pub(super) fn forget_old_firings(own: &mut ServiceState) {
    let settled = |firing: &Firing| matches!(firing.stage, Stage::Ended { published: true, .. });
    while own.firings.len() > REMEMBERED_FIRINGS {
        let Some(oldest) = own.firings.iter().position(settled) else { return };
        own.firings.remove(oldest);
    }
}

fn find<'a>(own: &'a mut ServiceState, id: &FiringId) -> Result<&'a mut Firing, String> {
    let found = own.firings.iter_mut().find(|firing| &firing.id == id);
    found.ok_or_else(|| format!("there is no firing {id}"))
}

fn find_attempt<'a>(firing: &'a mut Firing, id: &AttemptId) -> Result<&'a mut Attempt, String> {
    let found = firing.attempts.iter_mut().find(|attempt| &attempt.id == id);
    found.ok_or_else(|| format!("the firing has no attempt {id}"))
}

pub(super) fn tell(firing: &mut Firing, at: Timestamp, what: impl Into<String>) {
    /// A flapping proof could fill the journal; the receipt shows the first this many steps.
    const LONGEST_STORY: usize = 200;
    if firing.story.len() < LONGEST_STORY {
        firing.story.push(Step { at, what: what.into() });
    }
}

/// The deploy of the version that this firing went back to was announced. Another version than the target is what a
/// pipeline made of its revert.
pub(super) fn announced(own: &mut ServiceState, at: Timestamp, id: &FiringId, version: &Version) {
    let Some(firing) = own.firings.iter_mut().find(|firing| &firing.id == id) else { return };
    if firing.is_open() {
        tell(firing, at, format!("the deploy of {version} was announced"));
    }
    if !firing.returns_to(version) {
        firing.built = Some(version.clone());
    }
    let target = firing.target.as_ref().map(|target| &target.version);
    if let Some(returned) = own.returned.as_mut().filter(|returned| target == Some(&returned.version)) {
        returned.built.clone_from(&firing.built);
    }
}

pub(super) fn apply_to_firing(
    own: &mut ServiceState,
    at: Timestamp,
    id: &FiringId,
    what: &FiringRecord,
) -> Result<(), String> {
    match what {
        FiringRecord::Joined { trigger, observed_at } => {
            spend(own, trigger);
            let rolling = find(own, id)?;
            rolling.joined.push((trigger.clone(), *observed_at));
            tell(rolling, *observed_at, format!("{trigger} fired as well"));
        }
        FiringRecord::Paged { why, closes_at } => {
            let firing = find(own, id)?;
            firing.stage = Stage::Paged { why: why.clone(), closes_at: *closes_at };
            tell(firing, at, format!("a human is asked: {why}"));
        }
        FiringRecord::Vetoable { until } => {
            let firing = find(own, id)?;
            firing.stage = Stage::Veto { until: *until };
            tell(firing, at, "a human may dismiss before the path starts");
        }
        FiringRecord::AttemptIntended { attempt, automatic } => intend(own, at, id, attempt, *automatic)?,
        FiringRecord::AttemptStarted { attempt, handle } => {
            find_attempt(find(own, id)?, attempt)?.handle = Some(handle.clone());
        }
        FiringRecord::AttemptInDoubt { attempt, why } => {
            let firing = find(own, id)?;
            find_attempt(firing, attempt)?.in_doubt = true;
            tell(firing, at, format!("{why}; awaiting the version that serves instead"));
        }
        FiringRecord::AttemptEnded { attempt, outcome } => end_attempt(own, at, id, attempt, outcome)?,
        FiringRecord::PassedOver { path, why } => {
            let firing = find(own, id)?;
            firing.passed_over.push((path.clone(), why.clone()));
            tell(firing, at, format!("path {path} passed over: {why}"));
        }
        FiringRecord::WouldRun { attempt } => {
            let firing = find(own, id)?;
            tell(firing, at, format!("dry run: path {} would have started", attempt.path));
            firing.would_run.push(attempt.as_ref().clone());
        }
        FiringRecord::Verifying { closes_at, why } => {
            let firing = find(own, id)?;
            firing.stage = Stage::Verifying { since: at, closes_at: *closes_at };
            // What was seen before proves nothing of what a path has done since.
            firing.proof = Proof::default();
            tell(firing, at, why.clone());
        }
        FiringRecord::Proved { proof, what } => {
            let firing = find(own, id)?;
            firing.proof = proof.clone();
            tell(firing, at, what.clone());
        }
        FiringRecord::Approved
        | FiringRecord::Dismissed { .. }
        | FiringRecord::Acknowledged
        | FiringRecord::BudgetSpent
        | FiringRecord::Noted { .. } => apply_word(find(own, id)?, at, what),
        FiringRecord::Ended { result, receipt, recovered_at } => {
            end_firing(own, at, id, *result, *receipt, *recovered_at)?
        }
        FiringRecord::Announced { by, of_end } => {
            let announced = &mut find(own, id)?.announced;
            if *of_end {
                announced.end_owed.remove(by)
            } else {
                announced.beginning_owed.remove(by)
            };
        }
        FiringRecord::Published { .. } => publish(own, id)?,
    }
    Ok(())
}

/// What a human (or the clock) said about a firing.
fn apply_word(firing: &mut Firing, at: Timestamp, what: &FiringRecord) {
    let sentence = match what {
        FiringRecord::Approved => {
            firing.approved = true;
            firing.earlier_attempts = firing.attempts.len();
            "a human approved"
        }
        FiringRecord::Dismissed { why } => {
            firing.dismissed = Some(why.clone());
            "a human dismissed"
        }
        FiringRecord::Acknowledged => {
            firing.acknowledged = true;
            "a human acknowledged"
        }
        FiringRecord::BudgetSpent => {
            firing.budget_paged = true;
            "the budget is spent"
        }
        FiringRecord::Noted { what } => what,
        FiringRecord::Joined { .. }
        | FiringRecord::Paged { .. }
        | FiringRecord::Vetoable { .. }
        | FiringRecord::AttemptIntended { .. }
        | FiringRecord::AttemptStarted { .. }
        | FiringRecord::AttemptInDoubt { .. }
        | FiringRecord::AttemptEnded { .. }
        | FiringRecord::PassedOver { .. }
        | FiringRecord::WouldRun { .. }
        | FiringRecord::Verifying { .. }
        | FiringRecord::Proved { .. }
        | FiringRecord::Ended { .. }
        | FiringRecord::Announced { .. }
        | FiringRecord::Published { .. } => return,
    };
    tell(firing, at, sentence);
}

fn intend(
    own: &mut ServiceState,
    at: Timestamp,
    id: &FiringId,
    attempt: &Attempt,
    automatic: bool,
) -> Result<(), String> {
    /// Far more than any `automatic_limit` counts.
    const REMEMBERED_ROLLBACKS: usize = 100;
    let firing = find(own, id)?;
    let first = firing.attempts.is_empty();
    firing.stage = Stage::Rolling;
    firing.attempts.push(attempt.clone());
    tell(firing, at, format!("path {} started", attempt.path));
    let (deploy, target) = (firing.deploy.as_ref().map(|deploy| deploy.id.clone()), firing.target.clone());
    let built = firing.built.clone();
    if let Some(entry) = deploy.and_then(|deploy| own.ledger.entry_mut(&deploy)) {
        entry.rolled_back = true;
        entry.automatically |= automatic;
    }
    if automatic && first {
        own.automatic.push(at);
        let surplus = own.automatic.len().saturating_sub(REMEMBERED_ROLLBACKS);
        own.automatic.drain(..surplus);
    }
    if let Some(target) = target {
        own.returned = Some(Box::new(Returned { version: target.version, since: at, ended_at: None, built }));
    }
    Ok(())
}

fn end_attempt(
    own: &mut ServiceState,
    at: Timestamp,
    id: &FiringId,
    attempt: &AttemptId,
    outcome: &Outcome,
) -> Result<(), String> {
    let firing = find(own, id)?;
    let ended = find_attempt(firing, attempt)?;
    ended.ended_at = Some(at);
    ended.outcome = Some(outcome.clone());
    ended.in_doubt = false;
    let (path, took) = (ended.path.clone(), at.since(ended.started_at));
    let what = match outcome {
        Outcome::Succeeded { .. } => format!("path {path} done after {}", show_duration(took)),
        Outcome::Failed { why, .. } => format!("path {path} failed: {why}"),
        Outcome::TimedOut => format!("path {path} used up its timeout"),
        Outcome::Cancelled { why } => format!("path {path} was cancelled: {why}"),
        Outcome::Unknown { why } => format!("the outcome of path {path} is unknown: {why}"),
        Outcome::NeverStarted => format!("path {path} had not been started before the restart"),
    };
    tell(firing, at, what);
    if matches!(outcome, Outcome::Succeeded { .. }) {
        let known = own.durations.entry(path).or_default();
        known.push(Took(took));
        let surplus = known.len().saturating_sub(REMEMBERED_DURATIONS);
        known.drain(..surplus);
    }
    Ok(())
}

fn end_firing(
    own: &mut ServiceState,
    at: Timestamp,
    id: &FiringId,
    result: FiringEnd,
    receipt: u64,
    recovered_at: Option<Timestamp>,
) -> Result<(), String> {
    let found = own.firings.iter_mut().find(|firing| &firing.id == id);
    let ended = found.ok_or_else(|| format!("there is no firing {id}"))?;
    ended.stage = Stage::Ended { result, at, receipt, published: false };
    ended.recovered_at = recovered_at;
    ended.announced.end_owed.clone_from(&ended.announced.to);
    let sentence = match result {
        FiringEnd::Recovered => "recovered",
        FiringEnd::Paged => "left to the human who was paged",
        FiringEnd::Dismissed => "dismissed",
        FiringEnd::NotRecovered => "given up: production did not recover",
    };
    tell(ended, recovered_at.unwrap_or(at), sentence);
    // In a dry run nothing of ours went back; what `version_query` showed or a deploy event said counts all the same.
    let announced = own.running.as_ref().is_some_and(|running| ended.returns_to(running));
    let seen = ended.was_attempted() || ended.proof.serving_at.is_some() || announced;
    let went_back = result == FiringEnd::Recovered && seen;
    let went_away = ended.was_attempted();
    let deploy = ended.deploy.as_ref().map(|deploy| deploy.id.clone());
    let (back_on, built) = (ended.target.clone().filter(|_| went_back), ended.built.clone());
    let incident = Incident {
        receipt,
        observed_at: ended.observed_at,
        recovered_at,
        result,
        rollbacks: ended.attempts.iter().filter(|attempt| attempt.succeeded()).count(),
        dry_run: ended.dry_run,
    };
    if let Some(entry) = deploy.and_then(|deploy| own.ledger.entry_mut(&deploy)) {
        entry.rolled_back |= went_back;
        entry.remember(incident);
    }
    if let Some(target) = back_on {
        if !announced {
            own.running = Some(target.version.clone());
        }
        own.returned = Some(Box::new(Returned { version: target.version, since: at, ended_at: Some(at), built }));
    } else if let Some(returned) = own.returned.as_mut().filter(|_| went_away) {
        returned.ended_at.get_or_insert(at);
    }
    Ok(())
}

fn publish(own: &mut ServiceState, id: &FiringId) -> Result<(), String> {
    match &mut find(own, id)?.stage {
        Stage::Ended { published, .. } => *published = true,
        Stage::Veto { .. } | Stage::Paged { .. } | Stage::Rolling | Stage::Verifying { .. } => {
            return Err(format!("firing {id} has not ended"));
        }
    }
    forget_old_firings(own);
    Ok(())
}
