//! Proof of recovery: the target serves, the smoke URL answers, and what fired is clear. Only then does the clock stop.

use crate::attempts;
use crate::config::{Action, Observed};
use crate::draft::Draft;
use crate::event::Serving;
use crate::firing::{Firing, FiringEnd, Outcome, Proof, Stage};
use crate::name::{FiringId, TriggerName};
use crate::record::{FiringRecord, LedgerRecord, Record};
use crate::rollback;
use crate::time::Timestamp;

/// What of the proof a firing needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// `version_query` is configured and there is a target.
    pub serving: bool,
    /// A smoke URL is configured.
    pub smoke: bool,
    /// The metric triggers that fired.
    pub clear: Vec<TriggerName>,
}

/// What of the proof this firing of this service needs.
#[must_use]
pub fn needs(service: &crate::config::Service, firing: &Firing) -> Needs {
    let fired = std::iter::once(&firing.trigger).chain(firing.joined.iter().map(|(name, _)| name));
    let is_metric = |name: &&TriggerName| {
        service
            .trigger(name)
            .is_some_and(|trigger| matches!(trigger.observed, Observed::Metric(_)) && trigger.action != Action::Shadow)
    };
    Needs {
        serving: service.version_query.is_some() && firing.target.is_some(),
        smoke: service.smoke.is_some(),
        clear: fired.filter(is_metric).cloned().collect(),
    }
}

/// Since when something may count as proof; `None` while none is awaited. A human who was paged may bring production
/// back by hand: that counts only where `version_query` can show it.
#[must_use]
pub fn awaited_since(service: &crate::config::Service, firing: &Firing) -> Option<Timestamp> {
    match &firing.stage {
        Stage::Verifying { since, .. } => Some(*since),
        Stage::Paged { .. } if service.version_query.is_some() && firing.target.is_some() => {
            firing.attempts.iter().filter_map(|attempt| attempt.ended_at).chain([firing.decided_at]).max()
        }
        Stage::Paged { .. } | Stage::Veto { .. } | Stage::Rolling | Stage::Ended { .. } => None,
    }
}

fn change(draft: &mut Draft<'_>, firing: &Firing, proof: Proof, what: String) {
    // Another firing that the same word proved may have ended this one.
    if draft.firing(&firing.id).is_none_or(|firing| !firing.is_open()) {
        return;
    }
    if proof != firing.proof {
        draft.firing_record(&firing.id, FiringRecord::Proved { proof, what });
    }
    check(draft, &firing.id);
}

/// The firings that wait for proof at an instant.
fn waiting(draft: &Draft<'_>, at: Timestamp) -> Vec<Firing> {
    let since = |firing: &Firing| awaited_since(draft.service, firing);
    draft.own().open_firings().filter(|firing| since(firing).is_some_and(|since| at >= since)).cloned().collect()
}

/// `version_query` says what serves now.
pub(crate) fn serving_read(draft: &mut Draft<'_>, serving: Option<&Serving>, at: Timestamp) {
    let Some(serving) = serving else { return };
    learn_revision(draft, serving);
    settle_doubt(draft, serving);
    for firing in waiting(draft, at) {
        let on_target = firing.returns_to(&serving.version) && !is_from_before(&firing, serving);
        let serving_at = on_target.then(|| firing.proof.serving_at.unwrap_or(at));
        let proof = Proof { serving_at, ..firing.proof.clone() };
        let what = format!("{} serves", serving.version);
        change(draft, &firing, proof, what);
    }
}

/// Right after a deploy the metrics still show the version before. That is no recovery by anybody's hand: the target
/// must have begun to serve after the deploy. Once a path is done, what serves is what counts; in a dry run none is.
fn is_from_before(firing: &Firing, serving: &Serving) -> bool {
    (firing.dry_run || !firing.is_rolling()) && firing.deploy.as_ref().is_some_and(|deploy| serving.since <= deploy.at)
}

fn learn_revision(draft: &mut Draft<'_>, serving: &Serving) {
    let Some(revision) = &serving.revision else { return };
    let ledger = &draft.own().ledger;
    if ledger.knows(&serving.version) && ledger.revision(&serving.version) != Some(revision) {
        let record = LedgerRecord::RevisionSeen { version: serving.version.clone(), revision: revision.clone() };
        draft.record(Record::Ledger(record));
    }
}

/// An attempt whose outcome is unknown is known to have succeeded once its target serves (design, R2).
fn settle_doubt(draft: &mut Draft<'_>, serving: &Serving) {
    for firing in draft.open_firings() {
        let on_target = firing.returns_to(&serving.version);
        let doubted = firing.running().filter(|attempt| attempt.in_doubt && on_target);
        if let Some(attempt) = doubted {
            let output = "known by the version that serves".to_owned();
            attempts::attempt_ended(draft, &attempt.id, &Outcome::Succeeded { receipt: None, output });
        }
    }
}

/// The smoke URL answered, or did not.
pub(crate) fn smoke_answered(draft: &mut Draft<'_>, at: Timestamp, healthy: bool) {
    for firing in waiting(draft, at) {
        let smoke_at = healthy.then(|| firing.proof.smoke_at.unwrap_or(at));
        let proof = Proof { smoke_at, ..firing.proof.clone() };
        let what = if healthy { "the smoke URL answers" } else { "the smoke URL no longer answers" };
        change(draft, &firing, proof, what.to_owned());
    }
}

/// Where a trigger was clear.
pub(crate) struct ClearRow {
    /// The last breach before.
    pub(crate) broke_at: Option<Timestamp>,
    /// The instants since, in their order.
    pub(crate) instants: Vec<Timestamp>,
}

/// A trigger was seen clear. The first of the row's instants that may count as proof is when it became so, however much
/// later it was looked at; what was seen before it broke counts no longer.
pub(crate) fn trigger_clear(draft: &mut Draft<'_>, trigger: &TriggerName, row: &ClearRow) {
    let Some(last) = row.instants.last() else { return };
    for firing in waiting_for(draft, trigger, *last) {
        let Some(since) = awaited_since(draft.service, &firing) else { continue };
        let first = row.instants.iter().find(|at| **at >= since).unwrap_or(last);
        let mut proof = firing.proof.clone();
        if proof.clear_at.get(trigger).is_some_and(|known| Some(*known) < row.broke_at) {
            proof.clear_at.remove(trigger);
        }
        proof.clear_at.entry(trigger.clone()).or_insert(*first);
        change(draft, &firing, proof, format!("{trigger} is clear"));
    }
}

/// A trigger was seen breaching at this instant.
pub(crate) fn trigger_breaching(draft: &mut Draft<'_>, trigger: &TriggerName, at: Timestamp) {
    for firing in waiting_for(draft, trigger, at) {
        let mut proof = firing.proof.clone();
        proof.clear_at.remove(trigger);
        change(draft, &firing, proof, format!("{trigger} is breaching again"));
    }
}

fn waiting_for(draft: &Draft<'_>, trigger: &TriggerName, at: Timestamp) -> Vec<Firing> {
    let mut waiting = waiting(draft, at);
    waiting.retain(|firing| needs(draft.service, firing).clear.contains(trigger));
    waiting
}

/// Ends the firing as recovered once everything is proven: at the latest of the instants that prove it.
pub(crate) fn check(draft: &mut Draft<'_>, id: &FiringId) {
    let Some(firing) = draft.firing(id) else { return };
    let Some(since) = awaited_since(draft.service, &firing) else { return };
    let needs = needs(draft.service, &firing);
    // A dry run did nothing that could have helped: a smoke URL alone, or nothing at all, proves nothing of production.
    if firing.dry_run && !needs.serving && needs.clear.is_empty() {
        return;
    }
    let proof = &firing.proof;
    // What was begun by nobody here is proven by the version alone, and not while another rollback is under way: that
    // one brings production back, and its end is the end of what was asked besides.
    if !firing.is_rolling() && (proof.serving_at.is_none() || draft.own().rolling().is_some()) {
        return;
    }
    // A clock that was set back meanwhile must not make it older than what it is the end of.
    let mut latest = since.max(firing.observed_at);
    let seen = [(needs.serving, proof.serving_at), (needs.smoke, proof.smoke_at)];
    let clear = needs.clear.iter().map(|trigger| (true, proof.clear_at.get(trigger).copied()));
    for (needed, at) in seen.into_iter().chain(clear) {
        match at {
            Some(at) => latest = latest.max(at),
            None if needed => return,
            None => {}
        }
    }
    rollback::end(draft, id, FiringEnd::Recovered, Some(latest));
}
