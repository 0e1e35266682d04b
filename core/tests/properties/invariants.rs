//! The invariants, each with its name, over the records and effects since the last check.

use std::collections::{BTreeMap, BTreeSet};

use rollbackd_core::apply::apply;
use rollbackd_core::config::Mode;
use rollbackd_core::deploy::{Migration, WatchEnd};
use rollbackd_core::event::Effect;
use rollbackd_core::firing::{Attempt, Firing, Outcome, Stage};
use rollbackd_core::name::{AttemptId, DeployId, FiringId, PageId, ServiceName, Version};
use rollbackd_core::record::{FiringRecord, LedgerRecord, PageRecord, Record, RehearsalRecord, WatchRecord};
use rollbackd_core::rehearsal::End;
use rollbackd_core::state::{ServiceState, State, Watch};
use rollbackd_core::time::Timestamp;
use rollbackd_core::{view, wake_at};

use super::days::Happens;
use crate::common::world::{Entry, World};

/// What the checks remember of all that has happened, by their own bookkeeping.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    state: State,
    records: usize,
    effects: usize,
    left: BTreeSet<(ServiceName, Version)>,
    automatic: BTreeMap<DeployId, FiringId>,
    automatic_at: BTreeMap<ServiceName, Vec<Timestamp>>,
    intended: BTreeSet<AttemptId>,
    started: BTreeSet<AttemptId>,
    receipts: Vec<u64>,
    ended: BTreeSet<FiringId>,
    pages: BTreeSet<PageId>,
}

/// Checks everything that is new in the world.
pub(crate) fn check(world: &World, known: &mut Ledger, after: &Happens) {
    for entry in &world.journal[known.records..] {
        before_record(world, known, entry);
        apply(&mut known.state, &entry.service, entry.at, &entry.record).expect("a record that fits");
        one_rollback_at_a_time(&known.state, &entry.service);
    }
    known.records = world.journal.len();
    assert_eq!(known.state, world.state, "the state is the fold of the records, after {after:?}");
    for (_, effect) in &world.effects[known.effects..] {
        effect_is_allowed(world, known, effect);
    }
    known.effects = world.effects.len();
    assert_eq!(known.intended, known.started, "what was intended was started, and nothing else");
    a_wake_lies_ahead(world);
    everything_can_be_shown(world);
    what_is_written_is_read_back(world);
}

fn one_rollback_at_a_time(state: &State, service: &ServiceName) {
    let own = &state.services[service];
    let rolling = own.firings.iter().filter(|firing| firing.is_rolling()).count();
    assert!(rolling <= 1, "one rollback at a time of {service}: {rolling}");
    let running = own.firings.iter().filter(|firing| firing.running().is_some()).count();
    assert!(running <= 1, "one attempt at a time of {service}: {running}");
    let orphan = own.firings.iter().find(|firing| firing.running().is_some() && firing.stage != Stage::Rolling);
    assert!(orphan.is_none(), "an attempt runs whose firing does not know: {orphan:?}");
}

fn before_record(world: &World, known: &mut Ledger, entry: &Entry) {
    let own = known.state.service(&entry.service);
    match &entry.record {
        Record::Firing { id, what } => {
            let firing = own.firing(id).expect("a record of a firing that is known").clone();
            let frozen = own.frozen(entry.at).is_some();
            firing_record(world, known, entry, &firing, what, frozen);
        }
        Record::Page(PageRecord::Opened { page }) => {
            assert!(own.page(&page.id).is_none(), "two open pages have the key {}", page.id);
            let about_ended =
                page.firing.as_ref().and_then(|id| own.firing(id)).is_some_and(|firing| !firing.is_open());
            assert!(!about_ended, "a page was opened about a firing that has ended: {page:?}");
            known.pages.insert(page.id.clone());
        }
        Record::Watch(WatchRecord::Opened { watch }) => {
            assert!(own.watch.is_none(), "one watch at a time");
            target_is_allowed(known, &entry.service, watch);
        }
        Record::Watch(WatchRecord::Ended { end: WatchEnd::Passed }) => {
            let watch = own.watch.as_ref().expect("the watch that ends").clone();
            let on_purpose = own.ledger.entry(&watch.deploy).is_some_and(|entry| entry.deploy.rehearsal);
            assert!(!on_purpose, "what a rehearsal deployed never passes");
            passed_by_health_alone(world, &entry.service, &watch, &own.firings);
        }
        Record::Ledger(LedgerRecord::Deployed { deploy, .. }) => {
            assert!(own.ledger.entry(&deploy.id).is_none(), "a deploy has its own id");
        }
        Record::Fired(firing) => {
            assert!(own.firing(&firing.id).is_none(), "a firing has its own id");
            assert!(firing.observed_at <= entry.at, "observed by data, and not in the future");
            assert!(firing.breach_at <= firing.observed_at);
        }
        Record::Rehearsal(what) => {
            let own = own.into_owned();
            rehearsal_record(world, known, &own, what);
        }
        Record::Ledger(_) | Record::Watch(_) | Record::Page(_) | Record::Frozen { .. } | Record::Thawed => {}
    }
}

/// A bad version is deployed once, by nothing that runs beside anything else, and never stays by being forgotten.
fn rehearsal_record(world: &World, known: &mut Ledger, own: &ServiceState, what: &RehearsalRecord) {
    match what {
        RehearsalRecord::Asked { .. } => assert!(own.rehearsing().is_none(), "one rehearsal at a time"),
        RehearsalRecord::AttemptIntended { attempt } => {
            assert_eq!(world.config.mode, Mode::Live, "a dry run deploys nothing");
            assert!(own.watch.is_none() && own.open_firings().next().is_none(), "nothing bad is deployed over trouble");
            assert!(known.intended.insert(attempt.id.clone()), "an attempt is intended once");
        }
        RehearsalRecord::Ended { end, .. } => {
            let rehearsal = own.rehearsing().expect("the rehearsal that ends");
            let about = |firing: &&Firing| firing.deploy.as_ref().is_some_and(|deploy| deploy.id == rehearsal.deploy);
            let tried =
                rehearsal.attempt.as_ref().is_some_and(|attempt| attempt.outcome != Some(Outcome::NeverStarted));
            match end {
                End::CalledOff { .. } => assert!(!tried, "what may have been deployed is not called off"),
                End::Superseded { .. } => {}
                End::Recovered | End::NotRecovered | End::LeftToHuman | End::Dismissed => {
                    assert!(own.firings.iter().any(|firing| about(&firing)), "it ends by a firing, and its receipt");
                }
            }
        }
        RehearsalRecord::Checked { .. }
        | RehearsalRecord::AttemptStarted { .. }
        | RehearsalRecord::AttemptWaits { .. }
        | RehearsalRecord::AttemptEnded { .. }
        | RehearsalRecord::Told { .. }
        | RehearsalRecord::Reported { .. }
        | RehearsalRecord::Watching { .. }
        | RehearsalRecord::StopAsked => assert!(own.rehearsing().is_some()),
    }
}

fn firing_record(world: &World, known: &mut Ledger, entry: &Entry, firing: &Firing, what: &FiringRecord, frozen: bool) {
    match what {
        FiringRecord::AttemptIntended { attempt, automatic } => {
            attempt_is_allowed(known, &entry.service, firing, attempt);
            if *automatic {
                assert!(!frozen, "a freeze holds every automatic path");
                automatic_is_allowed(world, known, entry, firing);
            }
        }
        FiringRecord::Ended { receipt, .. } => {
            assert!(known.ended.insert(firing.id.clone()), "a firing ends once: {}", firing.id);
            assert!(firing.running().is_none(), "no firing ends while its attempt runs");
            known.receipts.push(*receipt);
            let expected: Vec<u64> = (1..=known.receipts.len() as u64).collect();
            assert_eq!(known.receipts, expected, "receipts have no gaps");
        }
        FiringRecord::Published { .. } => assert!(!firing.is_open()),
        FiringRecord::Announced { of_end, .. } => {
            assert!(!of_end || !firing.is_open(), "an end is announced once it is")
        }
        FiringRecord::Joined { .. }
        | FiringRecord::Paged { .. }
        | FiringRecord::Vetoable { .. }
        | FiringRecord::AttemptStarted { .. }
        | FiringRecord::AttemptInDoubt { .. }
        | FiringRecord::AttemptEnded { .. }
        | FiringRecord::PassedOver { .. }
        | FiringRecord::WouldRun { .. }
        | FiringRecord::Verifying { .. }
        | FiringRecord::Proved { .. }
        | FiringRecord::Approved
        | FiringRecord::Dismissed { .. }
        | FiringRecord::Acknowledged
        | FiringRecord::BudgetSpent
        | FiringRecord::Noted { .. } => {
            assert!(firing.is_open(), "nothing is added to a firing that has ended: {what:?}");
        }
    }
}

/// Never to a version that was left, never to the one that is left, and no ping-pong.
fn attempt_is_allowed(known: &mut Ledger, service: &ServiceName, firing: &Firing, attempt: &Attempt) {
    let target = firing.target.as_ref().expect("a rollback has a target");
    let deploy = firing.deploy.as_ref().expect("a rollback is from a deploy");
    assert!(!firing.never_roll_back, "code is never rolled back for this trigger");
    assert!(!firing.dry_run, "a dry run starts nothing");
    assert_ne!(target.version, deploy.version, "back to what is left");
    let left = known.left.contains(&(service.clone(), target.version.clone()));
    assert!(!left, "no ping-pong: {} was rolled back before", target.version);
    assert!(known.intended.insert(attempt.id.clone()), "an attempt is intended once");
    known.left.insert((service.clone(), deploy.version.clone()));
}

fn automatic_is_allowed(world: &World, known: &mut Ledger, entry: &Entry, firing: &Firing) {
    let deploy = firing.deploy.as_ref().expect("a rollback is from a deploy");
    assert_ne!(deploy.migration, Migration::Breaking, "a migration is never rolled back by itself");
    let first = known.automatic.entry(deploy.id.clone()).or_insert_with(|| firing.id.clone());
    assert_eq!(first, &firing.id, "one automatic rollback for a deploy");
    if firing.attempts.is_empty() {
        let limit = world.config.services[&entry.service].automatic_limit;
        let times = known.automatic_at.entry(entry.service.clone()).or_default();
        times.retain(|at| *at > entry.at - limit.within);
        times.push(entry.at);
        assert!(times.len() <= limit.rollbacks, "the automatic limit of {}", limit.rollbacks);
    }
}

fn target_is_allowed(known: &Ledger, service: &ServiceName, watch: &Watch) {
    if let Some(target) = &watch.target {
        assert_ne!(target.version, watch.version, "the target of a watch is another version");
        let left = known.left.contains(&(service.clone(), target.version.clone()));
        assert!(!left, "the target {} was rolled back before", target.version);
    }
}

/// A watch passes only where every live trigger was seen clear and nothing fired.
fn passed_by_health_alone(world: &World, service: &ServiceName, watch: &Watch, firings: &[Firing]) {
    let about = |firing: &&Firing| firing.deploy.as_ref().is_some_and(|deploy| deploy.id == watch.deploy);
    assert_eq!(firings.iter().filter(about).count(), 0, "a watch in which something fired has not passed");
    for trigger in &world.config.services[service].triggers {
        let live = trigger.action != rollbackd_core::config::Action::Shadow;
        if let Some(seen) = watch.triggers.get(&trigger.name).filter(|_| live) {
            assert!(seen.seen_clear, "{} was never seen clear", trigger.name);
        }
    }
}

fn effect_is_allowed(world: &World, known: &mut Ledger, effect: &Effect) {
    let live = world.config.mode == Mode::Live;
    match effect {
        Effect::StartAttempt(order) => {
            assert!(live, "a dry run starts nothing");
            assert!(known.intended.contains(&order.attempt), "intent first");
            assert!(known.started.insert(order.attempt.clone()), "an attempt is started once");
        }
        Effect::Page { page, .. } => {
            assert!(live, "a dry run pages nobody");
            assert!(known.pages.contains(&page.id), "a page is recorded before it is sent");
        }
        Effect::AcknowledgePage { page, .. } => {
            assert!(live, "a dry run tells nobody");
            assert!(known.pages.contains(&page.id) && page.acknowledged_at.is_some());
        }
        Effect::Announce { .. } => assert!(live, "a dry run tells nobody"),
        Effect::StopAttempt { attempt, .. } => {
            assert!(live, "a dry run stops nothing");
            assert!(known.intended.contains(attempt));
        }
        Effect::FollowAttempt { order, .. } => assert!(known.intended.contains(&order.attempt)),
        Effect::PublishReceipt { firing, .. } => {
            assert!(known.ended.contains(firing), "a receipt is of a firing that ended");
        }
    }
}

/// After everything that was due was done, the next wake lies ahead; [`World::wake`] sees that each one makes progress.
fn a_wake_lies_ahead(world: &World) {
    let mut world = world.clone();
    world.wake();
    for name in world.config.services.keys() {
        let wake = wake_at(&world.config, &world.state, name);
        assert!(wake.is_none_or(|at| at > world.now), "{name} wakes at {wake:?}, and it is {}", world.now);
    }
}

fn everything_can_be_shown(world: &World) {
    for name in world.config.services.keys() {
        let shown =
            view::service(&world.config, &world.state, &rollbackd_core::board::Board::default(), name, world.now);
        let written = serde_json::to_string(&shown.expect("a service of the config"));
        assert!(written.is_ok());
    }
    assert!(serde_json::to_string(&view::firings(&world.state)).is_ok());
}

fn what_is_written_is_read_back(world: &World) {
    let written = serde_json::to_string(&world.state).expect("a state that can be written");
    let read: State = serde_json::from_str(&written).expect("a state that can be read");
    assert_eq!(read, world.state);
}

/// Once all is well again, every firing has its receipt, every page was taken, and no watch is open.
pub(crate) fn everything_ended(world: &World) {
    for (name, own) in &world.state.services {
        assert!(own.rehearsing().is_none(), "a rehearsal of {name} has not ended: {:?}", own.rehearsal);
        assert!(own.watch.is_none(), "a watch of {name} is still open: {:?}", own.watch);
        for firing in &own.firings {
            let done = matches!(firing.stage, Stage::Ended { published: true, .. });
            assert!(done, "a firing of {name} has no receipt: {:?}", firing.stage);
        }
        assert!(own.pages.is_empty(), "pages of {name} are left: {:?}", own.pages);
    }
}
