//! R4: the deploy that a rollback causes, however it is announced and how often, starts nothing.

use rollbackd_core::deploy::{Migration, WatchEnd};
use rollbackd_core::event::{DeployReport, Happening, Reply};
use rollbackd_core::firing::{FiringEnd, Stage};
use rollbackd_core::record::{Record, WatchRecord};

use super::targets::naming;
use crate::common::outside::Run;
use crate::common::plan::SHOP;
use crate::common::world::{Entry, World, report};
use crate::common::{duration, path, service, version};

/// v2 is being rolled back to v1 by a pipeline that takes a minute.
fn going_back() -> World {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("1m");
    world.observe("smoke-test");
    world
}

fn watches(world: &World) -> usize {
    let opened = |entry: &&Entry| matches!(&entry.record, Record::Watch(WatchRecord::Opened { .. }));
    world.journal.iter().filter(opened).count()
}

#[test]
fn r4_the_undo_that_a_rollback_makes_is_no_deploy_when_the_platform_shows_it() {
    let mut world = going_back();
    let before = watches(&world);
    let undone = DeployReport {
        key: Some("kubernetes-shop/shop@u-1#3".to_owned()),
        previous: Some(version("v2")),
        at: Some(world.now),
        ..report("v1")
    };
    // While it runs, while it is verified, right after it, and as a restart of the daemon shows it again.
    for time in ["30s", "40s", "2m", "20m"] {
        let reply = world.tell(Happening::Shown { report: undone.clone() });
        assert!(matches!(reply, Reply::SameDeploy(_)), "at {}: {reply:?}", world.now);
        world.run(time);
    }
    assert_eq!((watches(&world), world.started().len()), (before, 1));
    assert_eq!(world.own().running, Some(version("v1")));
    // What deploys from git brings the bad version back: that is a deploy.
    let again =
        DeployReport { key: Some("kubernetes-shop/shop@u-1#4".to_owned()), at: Some(world.now), ..report("v2") };
    assert!(matches!(world.tell(Happening::Shown { report: again }), Reply::Deploy(_)));
    assert_eq!(watches(&world), before + 1);
}

#[test]
fn r4_the_deploy_that_a_rollback_causes_opens_no_watch_however_often_it_is_announced() {
    let mut world = going_back();
    let before = watches(&world);
    let announcements = |world: &World| {
        let keyed = |key: &str| DeployReport { key: Some(key.to_owned()), ..report("v1") };
        [
            report("v1"),
            naming("v1", "v2"),
            keyed("github-1"),
            keyed("github-1"),
            keyed("cdevents-9"),
            DeployReport { at: Some(world.now), ..report("v1") },
            DeployReport {
                at: Some(world.now + duration("2s")),
                run_url: Some("https://ci/1".to_owned()),
                ..report("v1")
            },
            DeployReport { migration: Migration::Breaking, ..report("v1") },
        ]
    };
    // While it runs, while it is verified, right after it, and nearly a watch later.
    for time in ["30s", "40s", "2m", "25m"] {
        for announced in announcements(&world) {
            let reply = world.announce(announced.clone());
            assert!(matches!(reply, Reply::SameDeploy(_)), "{announced:?} at {}: {reply:?}", world.now);
        }
        world.run(time);
    }
    assert_eq!(watches(&world), before);
    assert_eq!(world.own().running, Some(version("v1")));
    assert_eq!(world.started().len(), 1);
}

#[test]
fn r4_a_late_announcement_opens_a_watch_that_cannot_roll_forward() {
    let mut world = going_back();
    world.run("3h");
    world.announce(naming("v1", "v2"));
    assert_ne!(world.target().as_deref(), Some("v2"));
    world.observe("smoke-test");
    world.run("10m");
    assert!(world.started().iter().all(|order| order.run[1] == "v1"), "{:?}", world.started());
}

#[test]
fn r4_the_deploy_that_a_human_makes_instead_of_us_opens_no_watch() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("1m");
    world.observe("login-broken");
    world.run("1m");
    let before = watches(&world);
    let reply = world.deploy_of(&service(SHOP), report("v1"));
    assert!(matches!(reply, Reply::SameDeploy(_)), "{reply:?}");
    assert!(matches!(world.fired("login-broken").unwrap().stage, Stage::Verifying { .. }));
    let last = world.fired("login-broken").unwrap().story.last().unwrap();
    assert_eq!(last.what, "the target was deployed by somebody else");
    world.run("1m");
    assert_eq!(world.ended("login-broken"), Some(FiringEnd::Recovered));
    assert_eq!(watches(&world), before);
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::RolledBack));
    world.run("1m");
    world.announce(report("v1"));
    assert_eq!(watches(&world), before);
}

#[test]
fn r4_a_human_who_goes_one_further_back_after_a_rollback_opens_no_watch_either() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("31m");
    world.deploy("v3");
    world.run("1m");
    world.observe("smoke-test");
    world.run("5m");
    assert_eq!(world.really_serves(), "v2");
    let firing = world.observe("login-broken");
    let asked = world.firing(&firing);
    assert_eq!(asked.deploy.as_ref().unwrap().version, version("v2"), "about what serves");
    assert_eq!(asked.target.as_ref().unwrap().version, version("v1"));
    let before = watches(&world);
    world.deploy_of(&service(SHOP), report("v1"));
    assert_eq!(watches(&world), before);
    world.run("1m");
    assert_eq!(world.ended("login-broken"), Some(FiringEnd::Recovered));
    world.deploy("v4");
    assert_eq!(world.target().as_deref(), Some("v1"), "v2 was left");
}

#[test]
fn r4_the_deploy_of_a_rollback_that_a_human_asked_for_opens_no_watch() {
    let mut world = World::proven();
    world.deploy("v2");
    world.tell(Happening::RollbackAsked { path: None, to: None });
    let before = watches(&world);
    world.announce(report("v1"));
    world.run("5m");
    world.announce(report("v1"));
    assert_eq!(watches(&world), before);
}

#[test]
fn r4_the_announcement_of_a_rollback_that_gave_up_opens_no_watch() {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Lies(duration("10s")));
    world.deploy("v2");
    world.run("1m");
    world.observe("smoke-test");
    world.run("45m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::NotRecovered));
    let before = watches(&world);
    world.announce(report("v1"));
    assert_eq!(watches(&world), before);
}

#[test]
fn r4_a_deploy_meanwhile_does_not_make_the_announcement_unknown() {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Lies(duration("1m")));
    world.deploy("v2");
    world.observe("smoke-test");
    world.run("10s");
    world.deploy("v3");
    world.run("45m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::NotRecovered));
    let before = watches(&world);
    world.announce(report("v1"));
    assert_eq!(watches(&world), before);
}

#[test]
fn r4_another_page_that_ends_does_not_shorten_the_time_in_which_announcements_are_known() {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Lies(duration("3m")));
    world.deploy("v2");
    let paged = world.observe("login-broken");
    world.observe("smoke-test");
    world.tell(Happening::Dismissed { firing: paged, why: "it is not".to_owned() });
    world.run("34m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::NotRecovered), "{:?}", world.fired("smoke-test"));
    let before = watches(&world);
    world.announce(report("v1"));
    assert_eq!(watches(&world), before);
}

#[test]
fn r4_the_bad_version_deployed_again_is_watched_and_goes_back_to_the_good_one() {
    let mut world = going_back();
    world.run("10m");
    world.deploy("v2");
    assert_eq!(world.target().as_deref(), Some("v1"));
    world.run("1m");
    world.observe("smoke-test");
    world.run("5m");
    assert_eq!(world.really_serves(), "v1");
}
