//! Broken copies of the core: each sees another config or another state than the real one, or leaves out something of
//! what was decided. The checker must find each, by the invariant that is named beside it.

#![expect(clippy::wildcard_enum_match_arm, reason = "each way of being broken concerns a few arms")]

use std::sync::Arc;

use rollbackd_core::Decision;
use rollbackd_core::config::{Action, Config, Mode, Service};
use rollbackd_core::deploy::{Migration, WatchEnd};
use rollbackd_core::event::{Effect, Event, Happening};
use rollbackd_core::firing::FiringEnd;
use rollbackd_core::record::{FiringRecord, Record, WatchRecord};
use rollbackd_core::state::{ServiceState, State};
use rollbackd_core::trigger::Arming;

use super::invariants::ONE_REMOTE_RUN;
use super::plan::SLOT;

/// How a copy of the core is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    StartsTwice,
    ForgetsIntent,
    LosesReceipts,
    LosesPages,
    IgnoresFreeze,
    IgnoresLimit,
    IgnoresOncePerDeploy,
    IgnoresFleet,
    IgnoresMigration,
    IgnoresRolling,
    RunsWhatAsks,
    RunsNever,
    ForgetsWhatWasLeft,
    MovesTheDeploy,
    FiresAtOnce,
    LosesTheTarget,
    ActsInDryRun,
    RepeatsReceipts,
    IgnoresWakes,
    PassesWhatWasBlind,
    ClaimsRecovery,
    /// Not the core: a pager that never works again, so that not everything can end.
    LeavesThePagerBroken,
}

/// Each with the plan in which it shows, and the invariant that has to find it.
pub(crate) const ALL: [(Break, &str, &str); 22] = [
    (Break::StartsTwice, "automatic limit", ONE_REMOTE_RUN),
    (Break::ForgetsIntent, "automatic limit", "R2 no remote run without durable intent"),
    (Break::LosesReceipts, "pagers and receipts", "R8 every ended firing has its receipt ordered"),
    (Break::LosesPages, "pagers and receipts", "R8 every page that is owed is being sent"),
    (Break::IgnoresFreeze, "veto", "R11 a freeze holds every automatic path"),
    (Break::IgnoresLimit, "automatic limit", "R1 automatic_limit"),
    (Break::IgnoresOncePerDeploy, "automatic limit", "R1 at most one automatic rollback for a deploy"),
    (Break::IgnoresFleet, "two services, fleet guard", "R10 services that fire together are held"),
    (Break::IgnoresMigration, "migration", "R6 a migration is never rolled back automatically"),
    (Break::IgnoresRolling, "humans", "R1 one rollback at a time"),
    (Break::RunsWhatAsks, "humans", "a trigger with `action: page` never runs a path without an approval"),
    (Break::RunsNever, "rollback: never", "R6 `rollback: never` is rolled back by nobody"),
    (Break::ForgetsWhatWasLeft, "deploys", "R3 R4 no watch opens that could roll forward to a version that was left"),
    (Break::MovesTheDeploy, "looks", "R5 what was before the deploy never fires"),
    (Break::FiresAtOnce, "looks", "R7 a trigger fires when every slot of its `for` is there and a breach"),
    (Break::LosesTheTarget, "deploys", "R13 the target carries over to the deploy that supersedes"),
    (Break::ActsInDryRun, "dry run", "R12 a dry run touches nothing"),
    (Break::RepeatsReceipts, "automatic limit", "R8 receipts are numbered without gaps"),
    (Break::IgnoresWakes, "veto", "a wake makes progress: the next lies ahead"),
    (
        Break::PassesWhatWasBlind,
        "looks",
        "R7 a watch passes by health alone: nothing fired, seen clear, no breach at its end",
    ),
    (Break::ClaimsRecovery, "veto", "R9 recovered: the target was seen serving"),
    (Break::LeavesThePagerBroken, "pagers and receipts", "from every state a quiet one can be reached"),
];

/// The config as the broken copy sees it.
pub(crate) fn config(broken: Break, config: &Config) -> Config {
    let mut config = config.clone();
    match broken {
        Break::IgnoresFleet => config.fleet_guard = None,
        Break::ActsInDryRun => config.mode = Mode::Live,
        _ => {}
    }
    config.services.values_mut().map(Arc::make_mut).for_each(|service| plan(broken, service));
    config
}

fn plan(broken: Break, service: &mut Service) {
    let triggers = service.triggers.iter_mut().map(Arc::make_mut);
    match broken {
        Break::IgnoresLimit | Break::IgnoresOncePerDeploy => service.automatic_limit.rollbacks = 99,
        Break::RunsWhatAsks => triggers.for_each(|trigger| trigger.action = Action::Rollback),
        Break::RunsNever => triggers.for_each(|trigger| {
            trigger.action = Action::Rollback;
            trigger.never_roll_back = false;
        }),
        Break::FiresAtOnce => {
            triggers.for_each(|trigger| trigger.hold = std::time::Duration::ZERO);
        }
        _ => {}
    }
}

/// The state as the broken copy sees it.
pub(crate) fn state(broken: Break, state: &State, event: &Event) -> State {
    let mut state = state.clone();
    let asks = matches!(event.what, Happening::RollbackAsked { .. } | Happening::Reported { .. });
    if broken == Break::IgnoresRolling && !asks {
        return state;
    }
    if broken == Break::RepeatsReceipts {
        state.last_receipt = 0;
    }
    state.services.values_mut().for_each(|own| own_state(broken, own));
    state
}

fn own_state(broken: Break, own: &mut ServiceState) {
    match broken {
        Break::IgnoresFreeze => own.freeze = None,
        Break::IgnoresOncePerDeploy => own.ledger.entries.iter_mut().for_each(|entry| entry.automatically = false),
        Break::IgnoresMigration => {
            own.ledger.entries.iter_mut().for_each(|entry| entry.deploy.migration = Migration::None);
        }
        Break::IgnoresRolling => own.firings.retain(|firing| !firing.is_rolling()),
        Break::ForgetsWhatWasLeft => own.ledger.entries.iter_mut().for_each(|entry| {
            entry.rolled_back = false;
            entry.end = Some(WatchEnd::Passed);
        }),
        Break::MovesTheDeploy => {
            if let Some(watch) = &mut own.watch {
                watch.at = watch.at - SLOT;
                watch.triggers.iter_mut().for_each(|(_, known)| known.arming = Arming::Armed);
            }
        }
        Break::LosesTheTarget => {
            if let Some(watch) = &mut own.watch {
                watch.target = None;
            }
            own.ledger.entries.clear();
        }
        _ => {}
    }
}

/// What the broken copy makes of a decision.
pub(crate) fn decision(broken: Break, event: &Event, decision: &mut Decision) {
    let starts = |effect: &Effect| matches!(effect, Effect::StartAttempt(_));
    match broken {
        Break::StartsTwice => {
            let again: Vec<Effect> = decision.effects.iter().filter(|effect| starts(effect)).cloned().collect();
            decision.effects.extend(again);
        }
        Break::ForgetsIntent => decision
            .records
            .retain(|record| !matches!(record, Record::Firing { what: FiringRecord::AttemptIntended { .. }, .. })),
        Break::LosesReceipts => decision.effects.retain(|effect| !matches!(effect, Effect::PublishReceipt { .. })),
        Break::LosesPages => decision.effects.retain(|effect| !matches!(effect, Effect::Page { .. })),
        Break::IgnoresWakes if event.what == Happening::Woke => {
            decision.records.clear();
            decision.effects.clear();
        }
        Break::PassesWhatWasBlind => decision.records.iter_mut().for_each(|record| {
            if let Record::Watch(WatchRecord::Ended { end }) = record {
                *end = WatchEnd::Passed;
            }
        }),
        Break::ClaimsRecovery => decision.records.iter_mut().for_each(|record| {
            if let Record::Firing { what: FiringRecord::Ended { result, .. }, .. } = record {
                *result = FiringEnd::Recovered;
            }
        }),
        _ => {}
    }
}
