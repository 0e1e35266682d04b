//! The rules at the very instant that they speak of: what still counts then, and what does not any more.

use std::time::Duration;

use rollbackd_core::config::AutomaticLimit;
use rollbackd_core::event::{DeployReport, Happening, Reply};
use rollbackd_core::firing::Outcome;
use rollbackd_core::page::PageReason;
use rollbackd_core::state::Turn;
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::Arming;

use super::attempts::rolling;
use super::looks::arming;
use crate::common::plan::{fleet, reference, shop};
use crate::common::world::{World, report};
use crate::common::{duration, instant, service, trigger};

const MOMENT: Duration = Duration::from_millis(1);

/// The same world at this instant, without anything having happened since.
fn at(world: &World, now: Timestamp) -> World {
    let mut world = world.clone();
    world.effects.clear();
    world.now = now;
    world
}

/// Whether the smoke test's red result starts a path at this instant.
fn starts(world: &World, name: &str, now: Timestamp) -> bool {
    let mut world = at(world, now);
    world.tell_of(
        &service(name),
        Happening::Reported { trigger: trigger("smoke-test"), note: None, about: Default::default() },
    );
    !world.started().is_empty()
}

#[test]
fn r1_the_automatic_limit_is_over_at_its_very_end() {
    let mut config = reference();
    shop(&mut config).automatic_limit = AutomaticLimit { rollbacks: 1, within: duration("1h") };
    let mut world = World::proven_with(config);
    world.deploy("v2");
    world.observe("smoke-test");
    let counted_at = world.now;
    world.run("50m");
    world.deploy("v3");
    assert!(!starts(&world, "capstone-api", counted_at + duration("1h") - MOMENT));
    assert!(starts(&world, "capstone-api", counted_at + duration("1h")));
}

#[test]
fn r2_what_is_unknown_when_the_timeout_ends_asks_at_once() {
    let mut world = rolling();
    let attempt = world.started()[0].clone();
    world.now = attempt.ends_at;
    world.end_attempt(&attempt.attempt, Outcome::Unknown { why: "the process is gone".to_owned() });
    assert_eq!(world.paged_for().last(), Some(&PageReason::UnknownOutcome), "{:?}", world.paged_for());
}

#[test]
fn r4_the_announcement_is_known_for_one_watch_after_the_rollback_ended() {
    let mut world = World::proven();
    let brought_back = world.own().ledger.latest().unwrap().deploy.id.clone();
    world.deploy("v2");
    world.observe("smoke-test");
    world.run("5m");
    let ended_at = world.own().returned.as_ref().unwrap().ended_at.expect("it has recovered");
    let announced = |now| at(&world, now).announce(report("v1"));
    assert_eq!(announced(ended_at + duration("30m") - MOMENT), Reply::SameDeploy(brought_back));
    assert!(matches!(announced(ended_at + duration("30m")), Reply::Deploy(_)));
}

#[test]
fn r5_what_is_seen_at_the_instant_of_the_deploy_tells_what_was_before_it() {
    let mut world = World::proven();
    world.run_to(instant("2026-11-23T10:41:00Z"));
    world.deploy("v2");
    world.look();
    assert_eq!(arming(&world, "error-rate"), Arming::Armed);
    let turn = world.own().watch.as_ref().unwrap().triggers.get("error-rate").unwrap().turn;
    assert_eq!(turn, Turn::Unseen, "nothing has been seen of the deploy yet");
}

#[test]
fn r10_what_fired_the_guards_time_ago_is_another_matter() {
    let names = ["a", "b", "c"];
    let mut world = World::proven_with(fleet(&names));
    for name in names {
        world.deploy_of(&service(name), report("v2"));
    }
    for name in ["a", "b"] {
        world.tell_of(
            &service(name),
            Happening::Reported { trigger: trigger("smoke-test"), note: None, about: Default::default() },
        );
    }
    let fired_at = world.now;
    assert!(!starts(&world, "c", fired_at + duration("10m") - MOMENT));
    assert!(starts(&world, "c", fired_at + duration("10m")));
}

#[test]
fn r11_a_freeze_is_over_at_its_very_end() {
    let mut world = World::proven();
    world.tell(Happening::Frozen { duration: duration("1m"), why: "stocktaking".to_owned() });
    let over_at = world.now + duration("1m");
    world.deploy("v2");
    assert!(!starts(&world, "capstone-api", over_at - MOMENT));
    assert!(starts(&world, "capstone-api", over_at));
}

#[test]
fn r13_clocks_may_differ_by_five_minutes_and_no_more() {
    let mut world = World::proven();
    let ahead = |world: &World, by: Duration| DeployReport { at: Some(world.now + by), ..report("v2") };
    let too_far = ahead(&world, duration("5m") + MOMENT);
    assert!(matches!(world.announce(too_far), Reply::Refused(_)));
    let near = ahead(&world, duration("5m"));
    assert!(matches!(world.announce(near), Reply::Deploy(_)));
    let deployed_at = world.own().ledger.latest().unwrap().deploy.at;
    assert_eq!(deployed_at, world.now, "what has not come yet is taken as now");
}

#[test]
fn r13_a_source_tells_of_the_same_deploy_for_one_watch_and_no_longer() {
    let mut world = World::proven();
    let deploy = world.deploy("v2");
    let over_at = world.own().watch.as_ref().unwrap().until;
    world.run("31m");
    let hinted = |at: Timestamp| {
        let report = DeployReport { at: Some(at), ..report("v2") };
        world.clone().tell(Happening::Hinted { report, run: None })
    };
    assert_eq!(hinted(over_at - MOMENT), Reply::SameDeploy(deploy));
    assert!(matches!(hinted(over_at), Reply::Deploy(_)));
}
