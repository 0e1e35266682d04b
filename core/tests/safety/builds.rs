//! R4 where a pipeline names versions by the commit: what it makes of our revert is a version that nobody has seen, and
//! the deploy of it is ours all the same.

use rollbackd_core::deploy::WatchEnd;
use rollbackd_core::event::{DeployReport, Happening, Reply};
use rollbackd_core::firing::{FiringEnd, Outcome, Stage as FiringStage};
use rollbackd_core::name::{AttemptId, Commit};
use rollbackd_core::record::{Record, WatchRecord};

use crate::common::outside::Run;
use crate::common::plan::SHOP;
use crate::common::world::{Entry, World, report};
use crate::common::{duration, path, version};

/// The commit of the revert.
const REVERT: &str = "8f3c0d5a1b2e4f60718293a4b5c6d7e8f9012345";

/// v2 is being rolled back to v1 by a path that is known by this, and has not ended.
fn reverting(handle: &str) -> (World, AttemptId) {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.deploy("v2");
    world.run("1m");
    world.observe("smoke-test");
    let attempt = world.started()[0].attempt.clone();
    world.tell(Happening::AttemptStarted { attempt: attempt.clone(), handle: handle.to_owned() });
    (world, attempt)
}

fn built(name: &str, commit: &str) -> DeployReport {
    DeployReport { commit: Some(Commit::new(commit).expect("a commit")), ..report(name) }
}

fn succeeded(receipt: &str) -> Outcome {
    Outcome::Succeeded { receipt: Some(receipt.to_owned()), output: String::new() }
}

/// A version begins to serve, and nobody tells.
fn serves(world: &mut World, name: &str) {
    let now = world.now;
    world.shop().serve(&version(name), now);
}

fn watches(world: &World) -> usize {
    let opened = |entry: &&Entry| matches!(&entry.record, Record::Watch(WatchRecord::Opened { .. }));
    world.journal.iter().filter(opened).count()
}

#[test]
fn r4_what_a_pipeline_makes_of_our_revert_opens_no_watch_and_proves_recovery() {
    let (mut world, attempt) = reverting(REVERT);
    let before = watches(&world);
    world.run("30s");
    serves(&mut world, "v3");
    let told = |world: &mut World, report: DeployReport| {
        let reply = world.announce(report.clone());
        assert!(matches!(reply, Reply::SameDeploy(_)), "{report:?} at {}: {reply:?}", world.now);
    };
    told(&mut world, built("v3", REVERT));
    world.end_attempt(&attempt, succeeded(REVERT));
    world.run("1m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::Recovered));
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::RolledBack));
    // However often, and by whom: others do not name the commit.
    for time in ["1m", "25m"] {
        world.run(time);
        told(&mut world, built("v3", REVERT));
        told(&mut world, report("v3"));
        told(&mut world, DeployReport { key: Some(format!("ci-{time}")), ..report("v3") });
    }
    assert_eq!(watches(&world), before);
    assert_eq!((world.own().running.clone(), world.really_serves().as_str()), (Some(version("v3")), "v3"));
    // What comes next goes back to what was proven, not to what was left nor to what never was watched.
    world.deploy("v4");
    assert_eq!(world.target().as_deref(), Some("v1"));
}

#[test]
fn r4_what_appears_while_our_revert_is_deployed_is_no_deploy_until_its_commit_is_told() {
    let (mut world, attempt) = reverting(REVERT);
    let before = watches(&world);
    serves(&mut world, "v3");
    world.run("1m");
    world.end_attempt(&attempt, succeeded(REVERT));
    world.run("1m");
    assert_eq!((watches(&world), world.ended("smoke-test")), (before, None), "whose it is can't be told yet");
    world.announce(built("v3", REVERT));
    world.run("1m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::Recovered));
    world.run("10m");
    assert_eq!(watches(&world), before);
}

#[test]
fn r4_what_appears_during_a_revert_and_is_never_told_of_is_watched_once_that_has_ended() {
    let (mut world, attempt) = reverting(REVERT);
    let before = watches(&world);
    world.end_attempt(&attempt, succeeded(REVERT));
    world.run("20m");
    serves(&mut world, "v3");
    world.run("9m");
    assert_eq!((watches(&world), world.ended("smoke-test")), (before, None));
    world.run("5m");
    assert_eq!((watches(&world), world.ended("smoke-test")), (before + 1, Some(FiringEnd::NotRecovered)));
    assert_eq!(world.target().as_deref(), Some("v1"), "no way forward to v2");
}

#[test]
fn r4_a_commit_is_known_by_seven_digits_of_its_own_and_a_run_by_none() {
    let run = "12345678901";
    for (handle, told, is_ours) in [
        (REVERT, &REVERT[..7], true),
        (REVERT, &REVERT[..12], true),
        (REVERT, &REVERT[..6], false),
        (REVERT, "8F3C0D5A1B2E", true),
        (REVERT, "8f3c0d5b", false),
        (REVERT, "9f3c0d5a1b2e4f60718293a4b5c6d7e8f9012345", false),
        (run, run, false),
        (run, &run[..7], false),
    ] {
        let (mut world, _) = reverting(handle);
        let before = watches(&world);
        let reply = world.announce(built("v3", told));
        assert_eq!(matches!(reply, Reply::SameDeploy(_)), is_ours, "{handle} {told}: {reply:?}");
        assert_eq!(watches(&world) == before, is_ours, "{handle} {told}");
    }
}

#[test]
fn what_a_pipeline_made_of_a_revert_that_gave_up_is_still_known_without_its_commit() {
    let (mut world, attempt) = reverting(REVERT);
    world.announce(built("v3", REVERT));
    world.end_attempt(&attempt, succeeded(REVERT));
    world.run("50m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::NotRecovered), "v3 never served");
    let reply = world.announce(report("v3"));
    assert!(matches!(reply, Reply::SameDeploy(_)), "{reply:?}");
}

#[test]
fn a_revert_is_known_by_the_commit_that_stands_for_it_as_well_where_it_was_found_by_a_run() {
    for (receipt, is_ours) in [(REVERT, true), ("9f3c0d5a1b2e4f60718293a4b5c6d7e8f9012345", false)] {
        let (mut world, attempt) = reverting("12345678901");
        world.end_attempt(&attempt, succeeded(receipt));
        world.run("10s");
        let reply = world.announce(built("v3", &REVERT[..7]));
        assert_eq!(matches!(reply, Reply::SameDeploy(_)), is_ours, "{receipt}: {reply:?}");
    }
}

#[test]
fn r4_a_version_that_was_seen_before_is_what_it_is_whatever_commit_is_named_with_it() {
    let (mut world, attempt) = reverting(REVERT);
    world.run("30s");
    let again = DeployReport { at: Some(world.now), ..built("v2", REVERT) };
    assert!(matches!(world.announce(again), Reply::Deploy(_)), "the bad version deployed again");
    world.end_attempt(&attempt, succeeded(REVERT));
    world.run("5m");
    assert_eq!(world.ended("smoke-test"), None, "v2 serves, which proves nothing");
}

#[test]
fn r4_the_build_of_a_revert_is_known_for_a_watch_after_its_firing_and_until_another_deploy() {
    let given_up = || {
        let (mut world, attempt) = reverting(REVERT);
        world.end_attempt(&attempt, succeeded(REVERT));
        world.run("31m");
        assert_eq!(world.ended("smoke-test"), Some(FiringEnd::NotRecovered));
        world
    };
    let mut world = given_up();
    let before = watches(&world);
    assert!(matches!(world.announce(built("v3", REVERT)), Reply::SameDeploy(_)));
    assert_eq!((watches(&world), world.own().running.clone()), (before, Some(version("v3"))));

    for (after, is_ours) in [("1799s", true), ("30m", false), ("40m", false)] {
        let mut world = given_up();
        let FiringStage::Ended { at, .. } = world.fired("smoke-test").unwrap().stage else {
            panic!("it has not ended")
        };
        world.run_to(at + duration(after));
        let reply = world.announce(built("v3", REVERT));
        assert_eq!(matches!(reply, Reply::SameDeploy(_)), is_ours, "{after}: {reply:?}");
    }

    let mut world = given_up();
    world.deploy("v4");
    assert!(matches!(world.announce(built("v3", REVERT)), Reply::Deploy(_)));
}

#[test]
fn r4_a_revert_that_is_deployed_after_a_human_was_asked_is_verified() {
    let (mut world, attempt) = reverting(REVERT);
    let why = "the run was cancelled".to_owned();
    world.end_attempt(&attempt, Outcome::Cancelled { why });
    world.run("1m");
    serves(&mut world, "v3");
    let before = watches(&world);
    world.announce(built("v3", REVERT));
    let last = world.fired("smoke-test").unwrap().story.last().unwrap();
    assert_eq!(last.what, "the revert was deployed after all");
    world.run("1m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::Recovered));
    assert_eq!(watches(&world), before);
}

#[test]
fn r4_a_build_is_known_again_after_a_restart() {
    let (mut world, attempt) = reverting(REVERT);
    serves(&mut world, "v3");
    world.announce(built("v3", REVERT));
    world.restart();
    world.end_attempt(&attempt, succeeded(REVERT));
    world.run("1m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::Recovered));
    world.restart();
    let before = watches(&world);
    world.announce(report("v3"));
    assert_eq!((watches(&world), world.state.services[SHOP].running.clone()), (before, Some(version("v3"))));
}
