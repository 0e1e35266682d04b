//! R3, R6 and R13: the version to return to, what is never returned from, and what a newer deploy carries over.

use rollbackd_core::deploy::{Deploy, Entry, LONGEST_LEDGER, Ledger, Migration, TargetSource, WatchEnd};
use rollbackd_core::event::{DeployReport, Happening, Reply};
use rollbackd_core::firing::{FiringEnd, Outcome, Stage};
use rollbackd_core::name::DeployId;
use rollbackd_core::page::PageReason;

use crate::common::outside::{Run, Sample};
use crate::common::plan::{SHOP, reference, shop};
use crate::common::world::{World, is_conflict, refusal, report};
use crate::common::{duration, path, service, version};

fn source(world: &World) -> Option<TargetSource> {
    Some(world.own().watch.as_ref()?.target.as_ref()?.source)
}

pub(crate) fn naming(name: &str, previous: &str) -> DeployReport {
    DeployReport { previous: Some(version(previous)), ..report(name) }
}

#[test]
fn r3_the_latest_version_that_passed_comes_first_whatever_the_event_names() {
    let mut world = World::proven();
    world.deploy_of(&service(SHOP), naming("v2", "v0"));
    assert_eq!((world.target().as_deref(), source(&world)), (Some("v1"), Some(TargetSource::Passed)));
    world.run("31m");
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Passed));
    world.deploy("v3");
    assert_eq!(world.target().as_deref(), Some("v2"));
}

#[test]
fn r3_where_none_passed_it_is_the_one_that_the_event_names() {
    let mut world = World::new(reference());
    world.shop().serve(&version("v-seen"), crate::common::instant("2026-11-23T09:00:00Z"));
    world.deploy_of(&service(SHOP), naming("v1", "v0"));
    assert_eq!((world.target().as_deref(), source(&world)), (Some("v0"), Some(TargetSource::Named)));
    world.run("1m");
    assert_eq!(world.target().as_deref(), Some("v0"), "version_query is asked only where the event names none");
}

#[test]
fn r3_where_the_event_names_none_it_is_what_served_just_before() {
    let mut world = World::new(reference());
    world.shop().serve(&version("v0"), crate::common::instant("2026-11-23T09:00:00Z"));
    world.deploy("v1");
    assert_eq!(world.target(), None);
    world.run("15s");
    assert_eq!((world.target().as_deref(), source(&world)), (Some("v0"), Some(TargetSource::Seen)));
    world.observe("smoke-test");
    assert_eq!(world.started()[0].run, ["deploy", "v0"]);
}

#[test]
fn r3_what_served_just_before_is_asked_for_again_where_the_answer_came_back_empty() {
    let mut world = World::new(reference());
    world.deploy("v1");
    world.run("1m");
    assert_eq!(world.target(), None);
    // Prometheus has replayed its log, and shows what it could not show before.
    world.shop().serve(&version("v0"), crate::common::instant("2026-11-23T09:00:00Z"));
    world.run("15s");
    assert_eq!((world.target().as_deref(), source(&world)), (Some("v0"), Some(TargetSource::Seen)));
}

#[test]
fn r3_where_the_event_names_one_that_can_be_none_nothing_else_is_taken() {
    let mut world = World::new(reference());
    world.shop().serve(&version("v0"), crate::common::instant("2026-11-23T09:00:00Z"));
    world.deploy_of(&service(SHOP), naming("v1", "v1"));
    world.run("1m");
    assert_eq!(world.target(), None);
}

#[test]
fn r3_a_named_version_whose_own_watch_is_unfinished_is_no_target() {
    let mut world = World::new(reference());
    world.deploy("v1");
    world.run("5m");
    world.deploy_of(&service(SHOP), naming("v2", "v1"));
    world.run("1m");
    assert_eq!(world.target(), None);
    assert_eq!(world.watch_end("v1"), Some(WatchEnd::Superseded));
}

#[test]
fn r3_a_seen_version_whose_own_watch_is_unfinished_is_no_target() {
    let mut world = World::new(reference());
    world.shop().queries_fail = true;
    world.deploy("v1");
    world.run("5m");
    // Nobody knows what served before v1; what served before v2 is v1, which was never proven.
    world.shop().queries_fail = false;
    world.deploy("v2");
    world.run("1m");
    assert_eq!(world.target(), None);
}

#[test]
fn r3_a_version_that_was_rolled_back_is_never_a_target_however_it_is_named() {
    let mut world = World::new(reference());
    world.deploy_of(&service(SHOP), naming("v2", "v1"));
    world.run("1m");
    world.observe("smoke-test");
    world.run("3m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::Recovered));
    world.run("40m");
    world.deploy_of(&service(SHOP), naming("v3", "v2"));
    assert_eq!(world.target(), None, "named");
    let reply = world.tell(Happening::RollbackAsked { path: None, to: Some(version("v2")) });
    assert!(is_conflict(&reply), "by a human: {reply:?}");
    let now = world.now;
    world.shop().serve(&version("v2"), now);
    world.run("1m");
    world.deploy("v4");
    world.run("1m");
    assert_ne!(world.target().as_deref(), Some("v2"), "seen");
}

#[test]
fn r3_a_version_that_passed_once_and_was_rolled_back_later_is_no_target() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("40m");
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Passed));
    world.tell(Happening::RollbackAsked { path: None, to: None });
    world.run("5m");
    assert_eq!(world.really_serves(), "v1");
    world.deploy("v3");
    assert_eq!(world.target().as_deref(), Some("v1"));
}

#[test]
fn r3_the_version_that_a_human_left_after_a_rollback_is_no_target_either() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("31m");
    world.deploy("v3");
    world.run("1m");
    world.observe("smoke-test");
    world.run("5m");
    assert_eq!(world.really_serves(), "v2");
    // v2 turns out to be bad as well: a human goes one further back.
    world.tell(Happening::RollbackAsked { path: None, to: Some(version("v1")) });
    world.run("5m");
    assert_eq!(world.really_serves(), "v1");
    world.deploy("v4");
    assert_eq!(world.target().as_deref(), Some("v1"), "v2 was rolled back");
}

fn leave(world: &mut World, to: &str) {
    world.tell(Happening::RollbackAsked { path: None, to: Some(version(to)) });
    world.run("3m");
    assert_eq!(world.really_serves(), to);
}

#[test]
fn r3_a_target_that_was_rolled_back_since_it_fired_is_not_returned_to_by_an_approval() {
    let mut config = reference();
    // Nothing shows what serves, so the firing does not end by itself as recovered.
    shop(&mut config).version_query = None;
    let mut world = World::proven_with(config);
    for name in ["v2", "v3"] {
        world.deploy(name);
        world.run("31m");
    }
    let firing = world.observe("login-broken");
    assert_eq!(world.firing(&firing).target.as_ref().map(|target| target.version.as_str()), Some("v2"));
    leave(&mut world, "v2");
    leave(&mut world, "v1");
    assert!(world.fired("login-broken").unwrap().is_open(), "or there is nothing to approve");
    let reply = world.tell(Happening::Approved { firing });
    assert!(is_conflict(&reply) && refusal(&reply).contains("v2"), "{reply:?}");
    assert_eq!(world.paths_started().len(), 2);
    world.run("10m");
    assert_eq!(world.really_serves(), "v1");
}

#[test]
fn r3_a_target_that_was_rolled_back_while_a_path_ran_is_tried_neither_by_the_next_path_nor_again() {
    let failed = Outcome::Failed { why: "exit 1".to_owned(), output: String::new() };
    for outcome in [failed, Outcome::NeverStarted] {
        let mut world = World::proven();
        world.shop().runs.insert(path("pipeline"), Run::Hangs);
        world.deploy("v2");
        world.observe("smoke-test");
        let own = world.state.services.get_mut(SHOP).unwrap();
        let v1 = own.ledger.entries.iter_mut().find(|entry| entry.deploy.version.as_str() == "v1");
        v1.unwrap().rolled_back = true;
        let attempt = world.started()[0].attempt.clone();
        world.end_attempt(&attempt, outcome);
        assert_eq!(world.paths_started(), ["pipeline"]);
        assert!(world.said().contains("v1, the version to return to, was rolled back itself"), "{}", world.said());
    }
}

#[test]
fn r3_a_version_on_which_a_trigger_fired_is_no_target_because_its_watch_has_ended() {
    let mut world = World::proven();
    world.deploy("v2");
    world.observe("login-broken");
    world.run("2h");
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Paged));
    // A human goes back by hand, long after the page; v2 is what served just before.
    world.deploy("v1");
    world.run("1m");
    assert_eq!(world.target(), None, "seen");
    world.deploy_of(&service(SHOP), naming("v3", "v2"));
    assert_ne!(world.target().as_deref(), Some("v2"), "named");
}

#[test]
fn r3_a_version_that_was_rolled_back_once_stays_so_however_a_later_watch_of_it_ends() {
    let mut world = World::new(reference());
    world.deploy_of(&service(SHOP), naming("v2", "v1"));
    world.observe("smoke-test");
    world.run("45m");
    world.shop().sick.insert((version("v2"), crate::common::trigger("error-rate")), Sample::Low);
    world.deploy("v2");
    world.run("31m");
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Unproven));
    world.deploy_of(&service(SHOP), naming("v3", "v2"));
    assert_eq!(world.target(), None);
}

#[test]
fn r3_a_version_that_a_human_called_healthy_may_be_named() {
    let mut world = World::new(reference());
    world.deploy("v1");
    let firing = world.observe("login-broken");
    world.tell(Happening::Dismissed { firing, why: "it works".to_owned() });
    world.run("31m");
    assert_eq!(world.watch_end("v1"), Some(WatchEnd::Dismissed));
    world.deploy_of(&service(SHOP), naming("v2", "v1"));
    assert_eq!(world.target().as_deref(), Some("v1"));
}

#[test]
fn r3_without_a_target_it_pages_and_starts_nothing() {
    let mut world = World::new(reference());
    world.deploy("v1");
    world.run("1m");
    let firing = world.observe("smoke-test");
    assert!(world.started().is_empty());
    assert_eq!(world.paged_for(), [PageReason::Held]);
    assert!(world.said().contains("there is no version to return to"), "{}", world.said());
    let reply = world.tell(Happening::Approved { firing });
    assert!(refusal(&reply).contains("there is no version to return to"));
    assert!(is_conflict(&world.tell(Happening::RollbackAsked { path: None, to: None })));
}

#[test]
fn r3_a_deployed_version_is_no_version_to_return_to() {
    let mut world = World::proven();
    world.deploy("v2");
    let reply = world.tell(Happening::RollbackAsked { path: None, to: Some(version("v2")) });
    assert!(is_conflict(&reply), "{reply:?}");
    assert!(world.started().is_empty());
    world.deploy_of(&service(SHOP), naming("v3", "v3"));
    assert_eq!(world.target().as_deref(), Some("v1"));
}

#[test]
fn r3_a_human_names_only_what_the_ledger_or_the_watch_knows() {
    let mut world = World::proven();
    world.deploy("v2");
    let reply = world.tell(Happening::RollbackAsked { path: None, to: Some(version("v77")) });
    assert!(refusal(&reply).contains("has no version v77"));
    world.tell(Happening::RollbackAsked { path: None, to: Some(version("v1")) });
    assert_eq!(world.started()[0].run, ["deploy", "v1"]);
}

#[test]
fn r3_what_a_human_rolled_back_in_a_dry_run_is_no_target() {
    let mut config = reference();
    config.mode = rollbackd_core::config::Mode::DryRun;
    shop(&mut config).version_query = None;
    let mut world = World::proven_with(config);
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("3m");
    // A human brings v1 back, and the pipeline announces it.
    world.deploy_of(&service(SHOP), report("v1"));
    world.run("5m");
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::RolledBack));
    let own = world.state.services.get_mut(SHOP).unwrap();
    for entry in &mut own.ledger.entries {
        if entry.deploy.version.as_str() == "v1" {
            entry.end = Some(WatchEnd::Unproven);
        }
    }
    world.run("40m");
    world.deploy_of(&service(SHOP), naming("v3", "v2"));
    assert_ne!(world.target().as_deref(), Some("v2"));
}

#[test]
fn r6_a_deploy_that_migrated_data_is_never_rolled_back_by_itself() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.deploy_of(&service(SHOP), DeployReport { migration: Migration::Breaking, ..report("v2") });
    world.run("1m");
    world.observe("smoke-test");
    world.run("10m");
    assert!(world.started().is_empty());
    assert!(world.fired("error-rate").is_some());
    assert!(world.said().contains("migration plan"), "{}", world.said());
}

#[test]
fn r6_a_compatible_migration_is_rolled_back_as_any_other_deploy() {
    let mut world = World::proven();
    world.deploy_of(&service(SHOP), DeployReport { migration: Migration::Compatible, ..report("v2") });
    world.run("1m");
    world.observe("smoke-test");
    assert_eq!(world.paths_started(), ["pipeline"]);
}

#[test]
fn r6_a_human_may_approve_the_rollback_of_a_migration() {
    let mut world = World::proven();
    world.deploy_of(&service(SHOP), DeployReport { migration: Migration::Breaking, ..report("v2") });
    let firing = world.observe("smoke-test");
    world.tell(Happening::Approved { firing });
    assert_eq!(world.paths_started(), ["pipeline"]);
}

#[test]
fn r6_a_trigger_that_says_never_is_rolled_back_by_nobody() {
    let mut world = World::proven();
    world.deploy("v2");
    let firing = world.observe("data-corruption");
    assert!(is_conflict(&world.tell(Happening::Approved { firing: firing.clone() })));
    assert!(world.started().is_empty());
    let page = world.pages_opened().pop().unwrap();
    assert!(page.details.iter().any(|line| line.contains("RUNBOOK.md#migrations")), "{page:?}");
    assert!(!page.details.iter().any(|line| line.contains("approve")), "{page:?}");
    world.tell(Happening::Acknowledged { firing });
    assert_eq!(world.ended("data-corruption"), Some(FiringEnd::Paged));
}

#[test]
fn r13_a_new_deploy_supersedes_and_carries_target_and_baseline_over() {
    let mut world = World::new(reference());
    world.shop().serve(&version("v0"), crate::common::instant("2026-11-23T08:00:00Z"));
    world.deploy("v1");
    world.run("5m");
    // What v1 does to p99 must not become the baseline of v2.
    world.show("p99-latency", Sample::Value(0.35));
    let baseline = |world: &World| world.own().watch.as_ref().unwrap().triggers.get("p99-latency").unwrap().baseline;
    let known = baseline(&world);
    assert_eq!(known.unwrap().value, Some(0.2));
    world.run("5m");
    world.deploy_of(&service(SHOP), naming("v2", "v1"));
    assert_eq!(world.watch_end("v1"), Some(WatchEnd::Superseded));
    assert_eq!((world.target().as_deref(), source(&world)), (Some("v0"), Some(TargetSource::Seen)));
    assert_eq!(baseline(&world), known);
    world.run("1m");
    assert_eq!(baseline(&world), known);
}

#[test]
fn r13_a_baseline_that_was_not_read_yet_is_read_before_the_first_of_the_deploys() {
    let mut world = World::proven();
    world.shop().queries_fail = true;
    world.deploy("v2");
    world.show("p99-latency", Sample::Value(0.9));
    world.run("10m");
    world.deploy("v3");
    world.show("p99-latency", Sample::Value(0.9));
    world.shop().queries_fail = false;
    world.run("1m");
    let baseline = world.own().watch.as_ref().unwrap().triggers.get("p99-latency").unwrap().baseline.unwrap();
    assert_eq!(baseline.value, Some(0.2), "the hour before v2, not the one before v3");
}

#[test]
fn r13_a_target_that_is_still_looked_up_is_looked_up_for_the_next_deploy_as_well() {
    let mut world = World::new(reference());
    world.shop().serve(&version("v0"), crate::common::instant("2026-11-23T08:00:00Z"));
    world.deploy("v1");
    world.run("5s");
    world.deploy_of(&service(SHOP), naming("v2", "v1"));
    world.run("1m");
    assert_eq!(world.target().as_deref(), Some("v0"), "what served before v1, since v1 was never proven");
}

#[test]
fn r13_what_was_asked_about_the_old_version_ends_and_a_rollback_that_runs_is_not_stopped() {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.deploy("v2");
    world.observe("login-broken");
    world.observe("smoke-test");
    world.deploy("v3");
    assert_eq!(world.ended("login-broken"), Some(FiringEnd::Paged));
    assert_eq!(world.fired("smoke-test").unwrap().stage, Stage::Rolling);
    assert!(world.paged_for().contains(&PageReason::DeployDuringRollback));
    let attempt = world.started()[0].attempt.clone();
    let outcome = Outcome::Failed { why: "exit 1".to_owned(), output: String::new() };
    world.end_attempt(&attempt, outcome);
    assert_eq!(world.paths_started(), ["pipeline"], "no further path on top of v3");
}

#[test]
fn r13_a_rollback_that_fails_after_a_newer_deploy_tells_a_human_and_cannot_be_approved() {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.deploy("v2");
    let firing = world.observe("smoke-test");
    world.deploy("v3");
    let pages = world.paged_for().len();
    let attempt = world.started()[0].attempt.clone();
    world.end_attempt(&attempt, Outcome::Failed { why: "exit 1".to_owned(), output: String::new() });
    assert_eq!(world.paged_for().len(), pages + 1, "that it failed is news: {}", world.said());
    let reply = world.tell(Happening::Approved { firing });
    assert!(is_conflict(&reply) && refusal(&reply).contains("newer deploy"), "{reply:?}");
    assert_eq!(world.paths_started(), ["pipeline"]);
}

#[test]
fn r13_a_superseded_firing_whose_paths_ran_has_not_recovered() {
    let mut world = World::proven();
    for name in ["pipeline", "console"] {
        world.shop().runs.insert(path(name), Run::Fails(duration("5s")));
    }
    world.deploy("v2");
    world.observe("login-broken");
    world.observe("smoke-test");
    world.run("20s");
    world.deploy("v3");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::NotRecovered));
    assert_eq!(world.ended("login-broken"), Some(FiringEnd::Paged));
    assert_eq!(world.receipts(), [1, 2]);
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Superseded));
}

#[test]
fn r13_the_deploy_that_supersedes_by_returning_to_the_target_needs_another_one() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("1m");
    world.deploy_of(&service(SHOP), naming("v1", "v2"));
    assert_eq!(world.target(), None, "v2 was never proven, and v1 is no way back from v1");
}

#[test]
fn r13_two_deploys_of_one_instant_are_two() {
    let mut world = World::proven();
    assert_ne!(world.deploy("v2"), world.deploy("v3"));
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Superseded));
    assert_eq!(world.watch_end("v3"), None);
}

#[test]
fn r13_an_event_that_comes_again_or_too_late_supersedes_nothing() {
    let mut world = World::proven();
    let at = Some(world.now + duration("2s"));
    let first = DeployReport { at, ..report("v2") };
    let Reply::Deploy(id) = world.deploy_of(&service(SHOP), first.clone()) else { panic!("a new deploy") };
    world.run("10s");
    assert_eq!(world.announce(first), Reply::SameDeploy(id.clone()), "the same version and instant");
    assert_eq!(world.announce(report("v2")), Reply::SameDeploy(id.clone()), "the version under watch, without instant");
    let keyed = DeployReport { key: Some("k".to_owned()), ..report("v3") };
    let Reply::Deploy(third) = world.announce(keyed.clone()) else { panic!("a new deploy") };
    world.run("1h");
    assert_eq!(world.announce(keyed), Reply::SameDeploy(third.clone()), "the same key");
    let older = DeployReport { at: Some(world.now - duration("2h")), ..report("v0") };
    assert!(matches!(world.announce(older), Reply::Deploy(_)));
    assert_eq!(world.own().ledger.latest().unwrap().deploy.id, third);
    assert_eq!(world.own().running, Some(version("v3")));
}

#[test]
fn r13_an_event_from_the_future_is_refused() {
    let mut world = World::proven();
    let at = Some(world.now + duration("6m"));
    assert!(refusal(&world.announce(DeployReport { at, ..report("v2") })).contains("check both clocks"));
    assert!(world.own().watch.is_none());
}

/// A deploy of this version in the ledger, that ended like this.
fn entry(number: usize, name: &str, rolled_back: bool) -> Entry {
    let at = crate::common::instant("2026-11-23T09:00:00Z");
    let id = DeployId::new(format!("shop-d-{number}")).expect("an id");
    let deploy = Deploy {
        rehearsal: false,
        id,
        version: version(name),
        previous: None,
        commit: None,
        migration: Migration::None,
        run_url: None,
        at,
        reported_at: at,
        key: None,
        seen: false,
    };
    let end = Some(if rolled_back { WatchEnd::RolledBack } else { WatchEnd::Passed });
    Entry { deploy, end, rolled_back, automatically: rolled_back, revision: None, incidents: Vec::new() }
}

#[test]
fn r3_a_version_that_was_rolled_back_stays_so_when_the_ledger_forgets_that_deploy() {
    let mut ledger = Ledger::default();
    ledger.add(entry(0, "bad", true));
    ledger.add(entry(1, "bad", false));
    (2..=LONGEST_LEDGER).for_each(|number| ledger.add(entry(number, "good", false)));
    assert_eq!(ledger.entries.len(), LONGEST_LEDGER);
    assert!(ledger.entries.iter().all(|entry| entry.end == Some(WatchEnd::Passed)), "the deploy itself is forgotten");
    assert!(ledger.was_rolled_back(&version("bad")));
    assert!(!ledger.was_rolled_back(&version("good")));
    assert_eq!(ledger.latest_passed(&version("good")), None);
}

#[test]
fn r3_a_version_that_was_rolled_back_late_stays_so_when_its_deploy_is_the_oldest() {
    let mut ledger = Ledger::default();
    ledger.add(entry(0, "bad", false));
    (1..LONGEST_LEDGER).for_each(|number| ledger.add(entry(number, &format!("good-{number}"), false)));
    // It was the oldest version to return to, and then it was left itself.
    ledger.entries[0].rolled_back = true;
    (0..10).for_each(|number| ledger.add(entry(LONGEST_LEDGER + number, &format!("later-{number}"), false)));
    assert_eq!(ledger.entries.len(), LONGEST_LEDGER);
    assert!(ledger.was_rolled_back(&version("bad")));
    ledger.add(entry(LONGEST_LEDGER + 10, "bad", false));
    assert_ne!(ledger.latest_passed(&version("later-9")), Some(&version("bad")));
}

#[test]
fn r3_a_ledger_full_of_what_was_rolled_back_keeps_what_is_new() {
    let mut ledger = Ledger::default();
    for number in 0..LONGEST_LEDGER * 2 {
        ledger.add(entry(number, &format!("bad-{number}"), true));
        assert_eq!(ledger.latest().expect("a deploy").deploy.version, version(&format!("bad-{number}")));
    }
    assert_eq!(ledger.entries.len(), LONGEST_LEDGER);
    ledger.add(entry(0, "good", false));
    ledger.add(entry(1, "worse", true));
    assert_eq!(ledger.latest_passed(&version("worse")), Some(&version("good")));
}

#[test]
fn r3_the_ledger_never_forgets_what_it_would_return_to() {
    let mut ledger = Ledger::default();
    ledger.add(entry(0, "good", false));
    ledger.add(entry(1, "better", false));
    for number in 2..10 {
        ledger.add(entry(number, &format!("passed-and-rolled-back-{number}"), false));
        ledger.entries[number].rolled_back = true;
    }
    (10..LONGEST_LEDGER * 2).for_each(|number| ledger.add(entry(number, "bad", true)));
    assert_eq!(ledger.entries.len(), LONGEST_LEDGER);
    assert_eq!(ledger.latest_passed(&version("bad")), Some(&version("better")));
    assert_eq!(ledger.latest_passed(&version("better")), Some(&version("good")));
    // What is returned to again and again is spent: others are left.
    let better = ledger.entries.iter().position(|entry| entry.deploy.version == version("better")).expect("it is kept");
    ledger.entries[better].rolled_back = true;
    assert_eq!(ledger.latest_passed(&version("bad")), Some(&version("good")));
}
