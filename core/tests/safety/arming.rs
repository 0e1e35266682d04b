//! R5: a trigger that was breaching before the deploy is disarmed for it, alone, until it has been clear.

use rollbackd_core::deploy::WatchEnd;
use rollbackd_core::page::PageReason;
use rollbackd_core::trigger::Arming;

use super::looks::arming;
use crate::common::outside::Sample;
use crate::common::world::World;
use crate::common::{duration, instant};

const BAD: Sample = Sample::Value(0.2);
const GOOD: Sample = Sample::Value(0.01);

/// `error-rate` breaches already, then v2 is deployed, which changes nothing about that.
fn already_breaching() -> World {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.show("error-rate", BAD);
    world.run("1m");
    world.deploy("v2");
    world
}

#[test]
fn r5_a_trigger_that_was_breaching_before_the_deploy_does_not_roll_it_back() {
    let mut world = already_breaching();
    world.run("29m");
    assert_eq!(arming(&world, "error-rate"), Arming::Disarmed);
    assert!(world.started().is_empty());
    assert!(world.fired("error-rate").is_none());
}

#[test]
fn r5_it_alone_is_disarmed() {
    let mut world = already_breaching();
    world.show("p99-latency", Sample::Value(0.9));
    world.run("7m");
    assert!(world.fired("error-rate").is_none());
    assert!(world.fired("p99-latency").is_some());
    assert_eq!(world.started()[0].run, ["deploy", "v1"]);
}

#[test]
fn r5_it_pages_once_when_it_still_breaches_after_its_for_and_its_window() {
    let mut world = already_breaching();
    // Deployed at 10:41:07; 2m and a window of 1m later it is 10:44:07, and the next slot 10:44:15.
    world.run_to(instant("2026-11-23T10:44:14Z"));
    assert_eq!(world.paged_for(), []);
    world.run_to(instant("2026-11-23T10:44:15Z"));
    assert_eq!(world.paged_for(), [PageReason::DidNotHelp]);
    assert!(world.said().contains("the deploy did not help"));
    world.run("20m");
    assert_eq!(world.paged_for(), [PageReason::DidNotHelp]);
    assert!(world.started().is_empty());
}

#[test]
fn r5_a_watch_of_a_trigger_that_stayed_disarmed_has_not_passed_and_ends_in_time() {
    let mut world = already_breaching();
    world.run("31m");
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Unproven));
}

#[test]
fn r5_it_is_armed_again_once_it_has_been_clear() {
    let mut world = already_breaching();
    world.run("1m");
    world.show("error-rate", GOOD);
    world.run("1m");
    assert_eq!(arming(&world, "error-rate"), Arming::Armed);
    world.run("5m");
    assert!(world.fired("error-rate").is_none());
    let again_at = world.now;
    world.show("error-rate", BAD);
    world.run("3m");
    let firing = world.fired("error-rate").expect("armed again, it fires");
    assert!(firing.breach_at >= again_at, "{} {again_at}", firing.breach_at);
}

#[test]
fn r5_what_it_breached_before_it_was_clear_never_counts() {
    for (restarts, late) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = already_breaching();
        if late {
            // Ten minutes in which nobody looks: one look has to see the breach and its end.
            world.now = world.now + duration("5m");
            world.show("error-rate", GOOD);
            world.now = world.now + duration("5m");
        } else {
            world.run("5m");
            world.show("error-rate", GOOD);
        }
        for _ in 0..8 {
            world.run("1m");
            if restarts {
                world.restart();
            }
        }
        assert!(
            world.fired("error-rate").is_none(),
            "restarts {restarts}, late {late}: {:?}",
            world.fired("error-rate")
        );
        assert!(world.started().is_empty());
    }
}

#[test]
fn r5_too_little_traffic_or_a_gap_does_not_arm_it() {
    for between in [Sample::Low, Sample::Missing] {
        let mut world = already_breaching();
        world.run("1m");
        world.show("error-rate", between);
        world.run("30s");
        world.show("error-rate", BAD);
        world.run("10m");
        assert_eq!(arming(&world, "error-rate"), Arming::Disarmed, "{between:?}");
        assert!(world.started().is_empty());
    }
}

#[test]
fn r5_a_version_that_ends_the_breach_passes_its_watch() {
    let mut world = World::proven();
    world.show("error-rate", BAD);
    world.run("1m");
    world.deploy("v2");
    world.run("31m");
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Passed), "it was the fix");
}

#[test]
fn r5_nothing_fires_while_it_is_unknown_what_was_before_the_deploy() {
    let mut world = already_breaching();
    world.shop().queries_fail = true;
    world.run("5m");
    assert_eq!(arming(&world, "error-rate"), Arming::Unknown);
    world.shop().queries_fail = false;
    world.run("5m");
    assert_eq!(arming(&world, "error-rate"), Arming::Disarmed);
    assert!(world.started().is_empty());
}

#[test]
fn r5_the_slot_before_the_deploy_that_is_known_late_disarms_all_the_same() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    let deployed_at = world.now;
    world.show("error-rate", Sample::Missing);
    world.run("1m");
    world.deploy("v2");
    world.run("30s");
    // The data of the minute before the deploy come late.
    world.shop().show(&crate::common::trigger("error-rate"), deployed_at, BAD);
    world.run("10m");
    assert!(world.started().is_empty(), "{:?}", world.fired("error-rate"));
}

#[test]
fn r5_what_showed_nothing_before_the_deploy_may_fire() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.show("error-rate", Sample::Missing);
    world.run("1m");
    world.deploy("v2");
    world.run("3m");
    assert!(
        world.fired("error-rate").is_some(),
        "nothing says that it was breaching: {:?}",
        arming(&world, "error-rate")
    );
}
