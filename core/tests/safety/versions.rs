//! Deploys that nobody tells of: a version that `version_query` shows and that was not there before (design, "Deploy events").

use rollbackd_core::deploy::{Deploy, Migration, TargetSource};
use rollbackd_core::event::{DeployReport, Happening, Reply};
use rollbackd_core::firing::Stage;
use rollbackd_core::name::Commit;
use rollbackd_core::page::PageReason;
use rollbackd_core::record::{Record, WatchRecord};

use super::targets::naming;
use crate::common::plan::{SHOP, reference, shop};
use crate::common::world::{Entry, World, report};
use crate::common::{duration, instant, service, version};

/// A version begins to serve, and nobody tells of it.
fn switch(world: &mut World, name: &str) {
    let now = world.now;
    world.shop().serve(&version(name), now);
}

fn watches(world: &World) -> Vec<String> {
    let opened = |entry: &Entry| match &entry.record {
        Record::Watch(WatchRecord::Opened { watch }) => Some(watch.version.to_string()),
        Record::Watch(_)
        | Record::Ledger(_)
        | Record::Fired(_)
        | Record::Rehearsal(_)
        | Record::Firing { .. }
        | Record::Page(_)
        | Record::Frozen { .. }
        | Record::Thawed => None,
    };
    world.journal.iter().filter_map(opened).collect()
}

fn latest(world: &World) -> Deploy {
    world.own().ledger.latest().expect("a deploy").deploy.clone()
}

#[test]
fn a_version_that_nobody_told_of_is_watched_from_its_first_sample_and_rolled_back() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    switch(&mut world, "v2");
    world.run("1m");
    assert_eq!(watches(&world), ["v1", "v2"]);
    let deploy = latest(&world);
    assert!(deploy.seen, "{deploy:?}");
    assert_eq!(deploy.at, instant("2026-11-23T10:40:07Z"), "not when the daemon looked");
    world.run("10m");
    assert_eq!(world.own().running, Some(version("v1")), "v1 is back");
    assert_eq!(world.started().len(), 1);
}

#[test]
fn a_service_of_which_nothing_was_ever_told_is_watched_all_the_same() {
    let mut world = World::new(reference());
    switch(&mut world, "v1");
    world.run("5m");
    assert!(watches(&world).is_empty(), "what served already is no deploy");
    switch(&mut world, "v2");
    world.run("1m");
    assert_eq!(watches(&world), ["v2"]);
    let target = world.own().watch.as_ref().and_then(|watch| watch.target.clone()).expect("what served before");
    assert_eq!((target.version, target.source), (version("v1"), TargetSource::Seen));
}

#[test]
fn versions_are_not_watched_where_the_config_says_so() {
    let mut config = reference();
    shop(&mut config).watch_version = false;
    let mut world = World::proven_with(config);
    switch(&mut world, "v2");
    let now = world.now;
    world.run("5m");
    world.tell(Happening::Appeared { version: version("v2"), at: now, alone: true });
    assert_eq!(watches(&world), ["v1"]);
}

#[test]
fn r4_the_version_that_a_rollback_brings_back_is_no_deploy_when_it_appears() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("40m");
    assert_eq!(world.own().running, Some(version("v1")), "v1 is back");
    assert_eq!(watches(&world), ["v1", "v2"]);
    world.run("24h");
    assert_eq!(watches(&world), ["v1", "v2"]);
}

#[test]
fn r4_the_target_that_a_human_brings_back_is_no_deploy_when_it_appears() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("1m");
    let firing = world.observe("login-broken");
    switch(&mut world, "v1");
    world.run("2m");
    assert_eq!(watches(&world), ["v1", "v2"]);
    let stage = &world.own().firing(&firing).expect("the firing").stage;
    assert!(matches!(stage, Stage::Ended { .. }), "proven by what serves: {stage:?}");
}

#[test]
fn r13_an_event_about_a_version_that_was_seen_tells_of_the_same_deploy_once() {
    let mut world = World::proven();
    switch(&mut world, "v2");
    world.run("1m");
    let commit = Some(Commit::new("0a1b2c3").expect("a commit"));
    let told = DeployReport {
        key: Some("delivery-1".to_owned()),
        at: Some(instant("2026-11-23T10:39:50Z")),
        run_url: Some("https://ci/1".to_owned()),
        commit: commit.clone(),
        ..report("v2")
    };
    for reply in [world.announce(told.clone()), world.announce(told.clone()), world.announce(report("v2"))] {
        assert_eq!(reply, Reply::SameDeploy(latest(&world).id));
    }
    assert_eq!(watches(&world), ["v1", "v2"]);
    let deploy = latest(&world);
    assert_eq!((deploy.commit, deploy.run_url, deploy.key), (commit, told.run_url, told.key));
    assert!(!deploy.seen && deploy.at == instant("2026-11-23T10:40:07Z"), "{:?}", deploy.at);
}

#[test]
fn r13_a_hint_about_a_version_that_was_seen_tells_of_the_same_deploy() {
    let mut world = World::proven();
    switch(&mut world, "v2");
    world.run("1m");
    let told = DeployReport { key: Some("hook-1".to_owned()), at: Some(world.now), ..report("v2") };
    let reply = world.tell(Happening::Hinted { report: told, run: None });
    assert_eq!(reply, Reply::SameDeploy(latest(&world).id));
    assert_eq!((watches(&world).len(), latest(&world).key), (2, Some("hook-1".to_owned())));
}

#[test]
fn r13_a_version_that_was_told_of_before_it_appears_is_the_same_deploy() {
    let mut world = World::proven();
    world.announce(report("v2"));
    world.run("1m");
    switch(&mut world, "v2");
    world.run("40m");
    assert_eq!(watches(&world), ["v1", "v2"]);
}

#[test]
fn r13_the_same_version_told_of_a_watch_later_is_another_deploy() {
    let mut world = World::proven();
    switch(&mut world, "v2");
    world.run("31m");
    let reply = world.announce(DeployReport { at: Some(world.now), ..report("v2") });
    assert!(matches!(reply, Reply::Deploy(_)), "{reply:?}");
}

#[test]
fn r13_an_event_a_whole_watch_before_or_after_what_was_seen_tells_of_another_deploy() {
    for (waits, far) in [("1m", false), ("31m", true)] {
        let mut world = World::proven();
        switch(&mut world, "v2");
        let seen_at = world.now;
        world.run(waits);
        let at = if far { seen_at + duration("30m") } else { seen_at - duration("30m") };
        let reply = world.announce(DeployReport { at: Some(at), ..report("v2") });
        assert!(matches!(reply, Reply::Deploy(_)), "{at}: {reply:?}");
    }
}

#[test]
fn r13_a_version_that_appears_supersedes_the_watch_before_it() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("5m");
    switch(&mut world, "v3");
    world.run("1m");
    let watch = world.own().watch.clone().expect("a watch");
    assert_eq!((watch.version, watch.target.map(|target| target.version)), (version("v3"), Some(version("v1"))));
}

#[test]
fn r13_an_old_version_beside_a_new_one_is_no_deploy_until_it_is_alone() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("5m");
    world.shop().old_lingers = true;
    switch(&mut world, "v1");
    world.run("5m");
    assert_eq!(watches(&world), ["v1", "v2"], "an instance of v1 came back late");
    world.shop().old_lingers = false;
    world.run("1m");
    assert_eq!(watches(&world), ["v1", "v2", "v1"], "somebody went back to v1");
}

#[test]
fn r13_what_appeared_before_the_latest_deploy_is_not_what_was_deployed_since() {
    let mut world = World::proven();
    switch(&mut world, "v2");
    let appeared_at = world.now;
    world.run("5s");
    // It was reported before it serves, and before anybody looked.
    world.announce(report("v3"));
    world.tell(Happening::Appeared { version: version("v2"), at: appeared_at, alone: true });
    assert_eq!(watches(&world), ["v1", "v3"]);
}

#[test]
fn r6_a_migration_that_is_told_after_the_version_was_seen_holds_it() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    switch(&mut world, "v2");
    world.run("1m");
    world.announce(DeployReport { migration: Migration::Breaking, ..report("v2") });
    world.run("10m");
    assert!(world.started().is_empty(), "a human is asked instead");
    assert_eq!(world.pages_opened()[0].reason, PageReason::Held);
}

#[test]
fn r3_the_version_that_the_event_names_comes_before_the_one_that_was_seen() {
    let mut world = World::new(reference());
    switch(&mut world, "v0");
    world.run("5m");
    switch(&mut world, "v2");
    world.run("1m");
    world.announce(naming("v2", "v1"));
    let target = world.own().watch.as_ref().and_then(|watch| watch.target.clone()).expect("the named version");
    assert_eq!((target.version, target.source), (version("v1"), TargetSource::Named));
}

#[test]
fn r3_a_version_that_passed_stays_the_target_whatever_is_told_later() {
    let mut world = World::proven();
    switch(&mut world, "v2");
    world.run("1m");
    world.announce(naming("v2", "v0"));
    let target = world.own().watch.as_ref().and_then(|watch| watch.target.clone()).expect("the proven version");
    assert_eq!((target.version, target.source), (version("v1"), TargetSource::Passed));
}

#[test]
fn a_version_is_asked_about_also_before_anything_was_told_and_over_no_longer_than_a_watch() {
    let world = World::new(reference());
    let wanted = rollbackd_core::wants::wants(&world.config, &world.state, &service(SHOP));
    let [rollbackd_core::wants::Want::Version { within, .. }] = wanted.as_slice() else { panic!("{wanted:?}") };
    assert_eq!(*within, duration("30m"));
}

#[test]
fn r13_what_a_platform_shows_is_one_deploy_with_what_is_told_of_it_before_or_later() {
    let at = |world: &World, name: &str| DeployReport { at: Some(world.now), ..report(name) };
    let keyed = |shown: DeployReport| DeployReport {
        key: Some("kubernetes-shop/shop@u-1#2".to_owned()),
        previous: Some(version("v1")),
        ..shown
    };
    let mut world = World::proven();
    let shown = keyed(at(&world, "v2"));
    assert!(matches!(world.tell(Happening::Shown { report: shown.clone() }), Reply::Deploy(_)));
    world.run("2m");
    // The pipeline tells of it when it is done, with an instant of its own.
    let told = DeployReport { migration: Migration::Breaking, ..at(&world, "v2") };
    assert_eq!(world.announce(told), Reply::SameDeploy(latest(&world).id));
    assert_eq!(world.tell(Happening::Shown { report: shown.clone() }), Reply::SameDeploy(latest(&world).id));
    let deploy = latest(&world);
    assert_eq!((deploy.migration, deploy.previous, deploy.key), (Migration::Breaking, Some(version("v1")), shown.key));
    assert_eq!(watches(&world), ["v1", "v2"]);

    let mut world = World::proven();
    let told = DeployReport { previous: Some(version("v0")), commit: Commit::new("ab12cd3").ok(), ..at(&world, "v2") };
    world.announce(told.clone());
    world.run("20s");
    let shown = keyed(at(&world, "v2"));
    assert_eq!(world.tell(Happening::Shown { report: shown.clone() }), Reply::SameDeploy(latest(&world).id));
    let deploy = latest(&world);
    assert_eq!((deploy.previous, deploy.commit, deploy.key), (told.previous, told.commit, shown.key.clone()));
    assert_eq!(watches(&world), ["v1", "v2"]);
    // Left by a way that the platform knows nothing of: it still shows v2, also to a daemon that was started again.
    let left = latest(&world).id;
    world.observe("smoke-test");
    world.run("5m");
    assert_eq!(world.own().running, Some(version("v1")));
    assert_eq!(world.tell(Happening::Shown { report: shown }), Reply::SameDeploy(left));
    assert_eq!(watches(&world), ["v1", "v2"]);
}

#[test]
fn what_a_platform_shows_of_a_deploy_that_was_seen_or_told_leaves_who_told_of_it_as_it_was() {
    let shown = |world: &World| DeployReport { key: Some("u-1#2".to_owned()), at: Some(world.now), ..report("v2") };
    let mut world = World::proven();
    switch(&mut world, "v2");
    world.run("1m");
    let by_platform = shown(&world);
    assert_eq!(world.tell(Happening::Shown { report: by_platform }), Reply::SameDeploy(latest(&world).id));
    assert!(latest(&world).seen, "nobody has told of it yet");
    world.run("1m");
    let told = DeployReport { at: Some(world.now), commit: Commit::new("ab12cd3").ok(), ..report("v2") };
    assert_eq!(world.announce(told.clone()), Reply::SameDeploy(latest(&world).id));
    assert_eq!((latest(&world).commit, watches(&world).len()), (told.commit, 2));

    let mut world = World::proven();
    world.announce(DeployReport { key: Some("delivery-1".to_owned()), ..report("v2") });
    let by_platform = shown(&world);
    world.tell(Happening::Shown { report: by_platform });
    assert_eq!(latest(&world).key.as_deref(), Some("delivery-1"), "whoever told of it may tell again");
}
