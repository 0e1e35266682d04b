//! What a record does to the state: live run and replay are this one piece of code.
//!
//! Never decides, and needs no config: a record carries all that it changes.

mod firings;
mod rehearsals;

use std::collections::BTreeMap;

use litemap::LiteMap;

use crate::deploy::{Deploy, Entry, WatchEnd};
use crate::firing::Stage;
use crate::name::{DeployId, FiringId, ServiceName, TriggerName};
use crate::page::{Page, PageReason};
use crate::record::{FiringRecord, LedgerRecord, PageRecord, Record, WatchRecord};
use crate::state::{Freeze, REMEMBERED_REPORTS, ServiceState, State, TriggerWatch, Watch};
use crate::time::Timestamp;
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
        | Record::Rehearsal(_)
        | Record::Frozen { .. }
        | Record::Thawed => {}
    }
    let own = state.services.or_default(service);
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
            firings::forget_old_firings(own);
        }
        Record::Firing { id, what } => return firings::apply_to_firing(own, at, id, what),
        Record::Page(record) => return apply_to_pages(own, at, record),
        Record::Rehearsal(record) => return rehearsals::apply_to_rehearsal(own, at, record),
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

fn apply_to_ledger(own: &mut ServiceState, at: Timestamp, record: &LedgerRecord) {
    match record {
        LedgerRecord::Deployed { deploy, end, running } => add_deploy(own, deploy, *end, *running),
        LedgerRecord::Announced { version, firing } => {
            own.running = Some(version.clone());
            if let Some(firing) = firing {
                firings::announced(own, at, firing, version);
            }
        }
        LedgerRecord::MigrationLearned { deploy, migration } => {
            change_deploy(own, deploy, |known| known.migration = *migration);
        }
        LedgerRecord::Told { deploy, previous, commit, run_url, key } => change_deploy(own, deploy, |known| {
            // A platform knows the version before and the key of its own; who tells of it later may not.
            known.previous = previous.clone().or_else(|| known.previous.take());
            known.commit = commit.clone().or_else(|| known.commit.take());
            known.run_url = run_url.clone().or_else(|| known.run_url.take());
            known.key = key.clone().or_else(|| known.key.take());
            known.seen = false;
        }),
        LedgerRecord::ReportTaken { key } => {
            own.reports.push(key.clone());
            let superfluous = own.reports.len().saturating_sub(REMEMBERED_REPORTS);
            own.reports.drain(..superfluous);
        }
        LedgerRecord::RevisionSeen { version, revision } => {
            let newest = own.ledger.entries.iter_mut().rev().find(|entry| &entry.deploy.version == version);
            if let Some(entry) = newest {
                entry.revision = Some(revision.clone());
            }
        }
    }
}

/// Changes what is known of a deploy, in the ledger and in the firings that are open about it.
fn change_deploy(own: &mut ServiceState, id: &DeployId, change: impl Fn(&mut Deploy)) {
    if let Some(entry) = own.ledger.entry_mut(id) {
        change(&mut entry.deploy);
    }
    let told = own.firings.iter_mut().filter(|firing| firing.is_open());
    let told = told.filter_map(|firing| firing.deploy.as_mut()).filter(|told| &told.id == id);
    told.for_each(change);
}

fn add_deploy(own: &mut ServiceState, deploy: &Deploy, end: Option<WatchEnd>, running: bool) {
    own.ids += 1;
    let entry = Entry {
        deploy: deploy.clone(),
        end,
        rolled_back: false,
        automatically: false,
        revision: None,
        incidents: Vec::new(),
    };
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
        PageRecord::Acknowledged { page } => find_page(own, page.as_str())?.acknowledged_at = Some(at),
        PageRecord::Escalated { page, pagers, next } => {
            let page = find_page(own, page.as_str())?;
            page.pagers.extend(pagers.iter().cloned());
            page.undelivered.extend(pagers.iter().cloned());
            page.levels_left = page.levels_left.split_off(1.min(page.levels_left.len()));
            page.escalates_at = *next;
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
        | PageReason::DeployDuringRollback
        | PageReason::DeployDuringRehearsal => {}
    }
}

/// The watch's triggers as they are when it opens; a baseline that is known already carries over.
#[must_use]
pub fn fresh_triggers(
    names: impl IntoIterator<Item = TriggerName>,
    baselines: &BTreeMap<TriggerName, Baseline>,
) -> LiteMap<TriggerName, TriggerWatch> {
    let fresh = |name: TriggerName| {
        let baseline = baselines.get(&name).copied();
        (name, TriggerWatch { baseline, ..TriggerWatch::default() })
    };
    names.into_iter().map(fresh).collect()
}
