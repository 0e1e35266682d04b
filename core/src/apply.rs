//! What a record does to the state: live run and replay are this one piece of code.
//!
//! Never decides, and needs no config: a record carries all that it changes.

use std::collections::BTreeMap;

use crate::deploy::{Deploy, Entry, WatchEnd};
use crate::firing::{Attempt, Firing, FiringEnd, Outcome, Proof, Stage, Step, Took};
use crate::name::{AttemptId, FiringId, ServiceName, TriggerName};
use crate::page::{Page, PageReason};
use crate::record::{FiringRecord, LedgerRecord, PageRecord, Record, WatchRecord};
use crate::state::{
    Freeze, REMEMBERED_DURATIONS, REMEMBERED_FIRINGS, Returned, ServiceState, State, TriggerWatch, Watch,
};
use crate::time::{Timestamp, show_duration};
use crate::trigger::{Arming, Baseline};

/// A record that does not fit the state: the journal was written by something else, or the code is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record of {service} does not fit the state before it: {why}")]
pub struct Illegal {
    /// The service.
    pub service: ServiceName,
    /// What does not fit.
    pub why: String,
}

/// Changes the state as one record of one service, made at this instant, says.
///
/// # Errors
/// The record names a watch, firing or page that the state doesn't have. The state is then unchanged but for the
/// service's sequence.
pub fn apply(state: &mut State, service: &ServiceName, at: Timestamp, record: &Record) -> Result<(), Illegal> {
    match record {
        Record::Firing { what: FiringRecord::Ended { receipt, .. }, .. } => {
            state.last_receipt = state.last_receipt.max(*receipt);
        }
        Record::Firing { id, what: FiringRecord::Published { sha256 } } => note_published(state, service, id, sha256),
        Record::Firing { .. }
        | Record::Ledger(_)
        | Record::Watch(_)
        | Record::Fired(_)
        | Record::Page(_)
        | Record::Frozen { .. }
        | Record::Thawed => {}
    }
    let own = state.services.entry(service.clone()).or_default();
    apply_to_service(own, at, record).map_err(|why| Illegal { service: service.clone(), why })
}

fn note_published(state: &mut State, service: &ServiceName, firing: &FiringId, sha256: &str) {
    let stage = state.services.get(service).and_then(|own| own.firing(firing)).map(|firing| &firing.stage);
    if let Some(Stage::Ended { receipt, .. }) = stage
        && state.last_published.as_ref().is_none_or(|(number, _)| number < receipt)
    {
        state.last_published = Some((*receipt, sha256.to_owned()));
    }
}

/// The same for the one service that is being decided about.
pub(crate) fn apply_to_service(own: &mut ServiceState, at: Timestamp, record: &Record) -> Result<(), String> {
    own.sequence += 1;
    match record {
        Record::Ledger(record) => apply_to_ledger(own, at, record),
        Record::Watch(record) => return apply_to_watch(own, record),
        Record::Fired(firing) => {
            own.ids += 1;
            spend(own, &firing.trigger);
            own.firings.push(firing.as_ref().clone());
            forget_old_firings(own);
        }
        Record::Firing { id, what } => return apply_to_firing(own, at, id, what),
        Record::Page(record) => return apply_to_pages(own, at, record),
        Record::Frozen { until, why } => own.freeze = Some(Freeze { until: *until, why: why.clone() }),
        Record::Thawed => own.freeze = None,
    }
    Ok(())
}

fn spend(own: &mut ServiceState, trigger: &TriggerName) {
    if let Some(known) = own.watch.as_mut().and_then(|watch| watch.triggers.get_mut(trigger)) {
        known.arming = Arming::Spent;
    }
}

fn forget_old_firings(own: &mut ServiceState) {
    let settled = |firing: &Firing| matches!(firing.stage, Stage::Ended { published: true, .. });
    while own.firings.len() > REMEMBERED_FIRINGS {
        let Some(oldest) = own.firings.iter().position(settled) else { return };
        own.firings.remove(oldest);
    }
}

fn apply_to_ledger(own: &mut ServiceState, at: Timestamp, record: &LedgerRecord) {
    match record {
        LedgerRecord::Deployed { deploy, end, running } => add_deploy(own, deploy, *end, *running),
        LedgerRecord::Announced { version, firing } => {
            own.running = Some(version.clone());
            if let Some(firing) = firing.as_ref().and_then(|id| own.firings.iter_mut().find(|each| &each.id == id)) {
                tell(firing, at, format!("the deploy of {version} was announced"));
            }
        }
        LedgerRecord::RevisionSeen { version, revision } => {
            let newest = own.ledger.entries.iter_mut().rev().find(|entry| &entry.deploy.version == version);
            if let Some(entry) = newest {
                entry.revision = Some(revision.clone());
            }
        }
    }
}

fn add_deploy(own: &mut ServiceState, deploy: &Deploy, end: Option<WatchEnd>, running: bool) {
    own.ids += 1;
    let entry = Entry { deploy: deploy.clone(), end, rolled_back: false, automatically: false, revision: None };
    if running {
        own.ledger.add(entry);
        own.running = Some(deploy.version.clone());
        // While a rollback runs, what it goes back to still has to be recognised when it is announced.
        if own.rolling().is_none() {
            own.returned = None;
        }
    } else {
        let newest = own.ledger.entries.pop();
        own.ledger.add(entry);
        own.ledger.entries.extend(newest);
    }
}

fn apply_to_watch(own: &mut ServiceState, record: &WatchRecord) -> Result<(), String> {
    if let WatchRecord::Opened { watch } = record {
        own.watch = Some(watch.as_ref().clone());
        return Ok(());
    }
    let watch = own.watch.as_mut().ok_or("no watch is open")?;
    match record {
        WatchRecord::Opened { .. } => {}
        WatchRecord::TargetFound { target } => {
            watch.target.clone_from(target);
            watch.target_awaited = false;
        }
        WatchRecord::BaselineKept { trigger, baseline } => trigger_watch(watch, trigger)?.baseline = Some(*baseline),
        WatchRecord::Turned { trigger, turn, arming, seen_clear, .. } => {
            let known = trigger_watch(watch, trigger)?;
            known.turn = *turn;
            known.seen_clear |= *seen_clear;
            if known.arming != Arming::Spent {
                known.arming = *arming;
            }
        }
        WatchRecord::Settled { trigger } => trigger_watch(watch, trigger)?.settled = true,
        WatchRecord::Shadowed { trigger, observed_at, .. } => {
            // A reported trigger has no state before it is reported.
            let known = watch.triggers.entry(trigger.clone()).or_default();
            known.arming = Arming::Spent;
            known.shadowed_at = Some(*observed_at);
        }
        WatchRecord::Ended { end } => {
            let deploy = watch.deploy.clone();
            if let Some(entry) = own.ledger.entry_mut(&deploy) {
                entry.end = Some(*end);
            }
            own.last = Some(*end);
            own.watch = None;
        }
    }
    Ok(())
}

fn trigger_watch<'a>(watch: &'a mut Watch, trigger: &TriggerName) -> Result<&'a mut TriggerWatch, String> {
    watch.triggers.get_mut(trigger).ok_or_else(|| format!("the watch has no trigger {trigger}"))
}

fn find<'a>(own: &'a mut ServiceState, id: &FiringId) -> Result<&'a mut Firing, String> {
    let found = own.firings.iter_mut().find(|firing| &firing.id == id);
    found.ok_or_else(|| format!("there is no firing {id}"))
}

fn find_attempt<'a>(firing: &'a mut Firing, id: &AttemptId) -> Result<&'a mut Attempt, String> {
    let found = firing.attempts.iter_mut().find(|attempt| &attempt.id == id);
    found.ok_or_else(|| format!("the firing has no attempt {id}"))
}

fn tell(firing: &mut Firing, at: Timestamp, what: impl Into<String>) {
    /// A flapping proof could fill the journal; the receipt shows the first this many steps.
    const LONGEST_STORY: usize = 200;
    if firing.story.len() < LONGEST_STORY {
        firing.story.push(Step { at, what: what.into() });
    }
}

fn apply_to_firing(own: &mut ServiceState, at: Timestamp, id: &FiringId, what: &FiringRecord) -> Result<(), String> {
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
        own.returned = Some(Returned { version: target.version, since: at, ended_at: None });
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
    let sentence = match result {
        FiringEnd::Recovered => "recovered",
        FiringEnd::Paged => "left to the human who was paged",
        FiringEnd::Dismissed => "dismissed",
        FiringEnd::NotRecovered => "given up: production did not recover",
    };
    tell(ended, recovered_at.unwrap_or(at), sentence);
    // In a dry run nothing of ours went back; what `version_query` showed or a deploy event said counts all the same.
    let announced = ended.target.as_ref().is_some_and(|target| own.running.as_ref() == Some(&target.version));
    let seen = ended.was_attempted() || ended.proof.serving_at.is_some() || announced;
    let went_back = result == FiringEnd::Recovered && seen;
    let went_away = ended.was_attempted();
    let deploy = ended.deploy.as_ref().map(|deploy| deploy.id.clone());
    let back_on = ended.target.clone().filter(|_| went_back);
    if let Some(entry) = deploy.filter(|_| went_back).and_then(|deploy| own.ledger.entry_mut(&deploy)) {
        entry.rolled_back = true;
    }
    if let Some(target) = back_on {
        own.running = Some(target.version.clone());
        own.returned = Some(Returned { version: target.version, since: at, ended_at: Some(at) });
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

fn apply_to_pages(own: &mut ServiceState, at: Timestamp, record: &PageRecord) -> Result<(), String> {
    match record {
        PageRecord::Opened { page } => {
            note_page(own, page);
            own.pages.push(page.as_ref().clone());
        }
        PageRecord::Delivered { page, pager, resolved } => {
            let page = find_page(own, page.as_str())?;
            if *resolved {
                page.unresolved.remove(pager)
            } else {
                page.undelivered.remove(pager)
            };
        }
        PageRecord::Resolved { page } => {
            let page = find_page(own, page.as_str())?;
            page.resolved_at = Some(at);
            page.unresolved.clone_from(&page.pagers);
        }
    }
    own.pages.retain(|page| !page.is_over());
    Ok(())
}

fn find_page<'a>(own: &'a mut ServiceState, id: &str) -> Result<&'a mut Page, String> {
    own.pages.iter_mut().find(|page| page.id.as_str() == id).ok_or_else(|| format!("there is no page {id}"))
}

fn note_page(own: &mut ServiceState, page: &Page) {
    let Some(watch) = own.watch.as_mut() else { return };
    match page.reason {
        PageReason::Blind => watch.blind_paged = true,
        PageReason::DidNotHelp => {
            if let Some(known) = page.trigger.as_ref().and_then(|trigger| watch.triggers.get_mut(trigger)) {
                known.did_not_help = true;
            }
        }
        PageReason::Held
        | PageReason::Manual
        | PageReason::Veto
        | PageReason::NoPathLeft
        | PageReason::UnknownOutcome
        | PageReason::RemoteWaits
        | PageReason::BudgetSpent
        | PageReason::DeployDuringRollback => {}
    }
}

/// The watch's triggers as they are when it opens; a baseline that is known already carries over.
#[must_use]
pub fn fresh_triggers(
    names: impl IntoIterator<Item = TriggerName>,
    baselines: &BTreeMap<TriggerName, Baseline>,
) -> BTreeMap<TriggerName, TriggerWatch> {
    let fresh = |name: TriggerName| {
        let baseline = baselines.get(&name).copied();
        (name, TriggerWatch { baseline, ..TriggerWatch::default() })
    };
    names.into_iter().map(fresh).collect()
}
