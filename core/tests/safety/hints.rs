//! What sources outside say: the same deploy by several of them, and reports that come again, late, early, or about another
//! version than the one that serves.

use rollbackd_core::deploy::{Migration, WatchEnd};
use rollbackd_core::event::{About, DeployReport, Happening, NotNews, Reply, Run};
use rollbackd_core::firing::{FiringEnd, Outcome};
use rollbackd_core::name::Commit;
use rollbackd_core::page::PageReason;
use rollbackd_core::state::REMEMBERED_REPORTS;
use rollbackd_core::time::Timestamp;

use super::targets::naming;
use crate::common::plan::{reference, shop_trigger};
use crate::common::world::{World, report};
use crate::common::{duration, trigger, version};

fn commit(text: &str) -> Commit {
    Commit::new(text).expect("a commit")
}

/// v2 was deployed a minute ago, from a commit.
fn deployed() -> World {
    let mut world = World::proven();
    world.deploy_of(
        &crate::common::service(crate::common::plan::SHOP),
        DeployReport { commit: Some(commit("9f1c2ab9c0f14e1f")), ..report("v2") },
    );
    world.run("1m");
    world
}

/// A pipeline's word that the smoke test is red.
fn red(world: &mut World, about: About) -> Reply {
    world.tell(Happening::Reported { trigger: trigger("smoke-test"), note: None, about })
}

fn keyed(key: &str) -> About {
    About { key: Some(key.to_owned()), ..About::default() }
}

fn hinted(world: &mut World, said: DeployReport) -> Reply {
    world.tell(Happening::Hinted { report: said, run: None })
}

fn by(key: &str, name: &str, at: Timestamp) -> DeployReport {
    DeployReport { key: Some(key.to_owned()), at: Some(at), ..report(name) }
}

#[test]
fn r1_a_report_that_is_delivered_again_fires_nothing_also_when_its_firing_has_ended_and_after_a_restart() {
    let mut world = deployed();
    assert!(matches!(red(&mut world, keyed("run-1")), Reply::Firing(_)));
    assert!(matches!(red(&mut world, keyed("run-2")), Reply::SameFiring(_)), "the rollback for it runs already");
    world.run("5m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::Recovered));
    for key in ["run-1", "run-2"] {
        assert_eq!(red(&mut world, keyed(key)), Reply::NotNews(NotNews::Known));
        world.restart();
        assert_eq!(red(&mut world, keyed(key)), Reply::NotNews(NotNews::Known));
    }
    assert_eq!(world.own().firings.len(), 1);
    assert!(matches!(red(&mut world, keyed("run-3")), Reply::Firing(_)), "another one is heard");
}

#[test]
fn r1_a_service_remembers_so_many_reports_and_no_more() {
    let mut world = deployed();
    for number in 0..=REMEMBERED_REPORTS {
        red(&mut world, keyed(&format!("run-{number}")));
    }
    assert_eq!(world.own().reports.len(), REMEMBERED_REPORTS);
    assert_eq!(red(&mut world, keyed("run-1")), Reply::NotNews(NotNews::Known));
}

#[test]
fn r1_a_report_about_another_version_than_the_one_that_serves_fires_nothing() {
    let about = |version: Option<&str>, of: Option<&str>| About {
        version: version.map(crate::common::version),
        commit: of.map(commit),
        ..About::default()
    };
    for other in [about(Some("v1"), None), about(None, Some("0000000")), about(Some("v3"), Some("1234567"))] {
        let mut world = deployed();
        assert_eq!(red(&mut world, other.clone()), Reply::NotNews(NotNews::OtherDeploy(version("v2"))), "{other:?}");
        assert!(world.own().firings.is_empty());
    }
    for same in
        [about(Some("v2"), None), about(None, Some("9F1C2AB")), about(Some("main"), Some("9f1c2ab9c0f14e1f8a55"))]
    {
        assert!(matches!(red(&mut deployed(), same.clone()), Reply::Firing(_)), "{same:?}");
    }
    // A text that is too short to be a commit is the beginning of anything.
    assert!(matches!(red(&mut deployed(), about(None, Some("9f1c2a"))), Reply::NotNews(_)));
}

#[test]
fn r1_a_version_that_is_the_commit_itself_is_known_by_it() {
    let mut world = World::proven();
    world.deploy("9f1c2ab9c0f14e1f");
    let about = About { commit: Some(commit("9f1c2ab9c0f1")), ..About::default() };
    assert!(matches!(red(&mut world, about), Reply::Firing(_)));
}

#[test]
fn r1_a_run_that_began_after_the_deploy_has_not_deployed_it() {
    let mut world = World::proven();
    world.deploy("v2");
    let deployed_at = world.now;
    world.run("2m");
    let since = |at| About { since: Some(at), commit: Some(commit("1234567")), ..About::default() };
    let later = since(deployed_at + duration("1s"));
    assert_eq!(red(&mut world, later), Reply::NotNews(NotNews::OtherDeploy(version("v2"))));
    assert!(matches!(red(&mut world, since(deployed_at)), Reply::Firing(_)));
}

#[test]
fn r1_a_report_that_names_a_deploy_where_none_is_known_fires_nothing() {
    let mut world = World::new(reference());
    let about = About { commit: Some(commit("1234567")), ..About::default() };
    assert!(matches!(red(&mut world, about), Reply::NotNews(NotNews::NoDeploy(_))));
    assert!(world.state.services.is_empty());
}

#[test]
fn r1_a_report_from_before_the_deploy_or_longer_ago_than_a_watch_fires_nothing() {
    let at = |at| About { at: Some(at), ..About::default() };
    let mut world = deployed();
    let deployed_at = world.own().ledger.latest().unwrap().deploy.at;
    let before = at(deployed_at - duration("1s"));
    assert!(matches!(red(&mut world, before), Reply::NotNews(NotNews::BeforeDeploy { .. })));
    // A clock of whole seconds calls it the same second.
    assert!(matches!(red(&mut world.clone(), at(deployed_at - duration("999ms"))), Reply::Firing(_)));
    let observed_at = world.now;
    world.run("30m");
    assert!(matches!(red(&mut world.clone(), at(observed_at)), Reply::Firing(_)));
    world.run("1s");
    assert_eq!(red(&mut world, at(observed_at)), Reply::NotNews(NotNews::TooLate(observed_at)));
}

#[test]
fn r13_a_report_from_the_future_is_refused() {
    let mut world = deployed();
    let at = |world: &World, by| About { at: Some(world.now + duration(by)), ..About::default() };
    let ahead = at(&world, "5m1s");
    assert!(matches!(red(&mut world, ahead), Reply::Refused(_)));
    let nearly = at(&world, "5m");
    assert!(matches!(red(&mut world, nearly), Reply::Firing(_)));
    assert_eq!(world.fired("smoke-test").unwrap().observed_at, world.now);
}

#[test]
fn r9_the_clock_of_a_report_starts_when_it_was_observed() {
    let mut world = deployed();
    let observed_at = world.now;
    world.run("1m");
    red(&mut world, About { at: Some(observed_at), ..keyed("run-1") });
    assert_eq!(world.fired("smoke-test").unwrap().observed_at, observed_at);
    // What comes when its budget is spent asks a human.
    let mut world = deployed();
    let observed_at = world.now;
    world.run("4m");
    red(&mut world, About { at: Some(observed_at), ..keyed("run-1") });
    assert!(world.started().is_empty());
    assert!(!world.paged_for().is_empty());
}

#[test]
fn r13_the_same_deploy_seen_by_several_sources_is_one_deploy() {
    let mut world = deployed();
    let watch = world.own().watch.clone().unwrap();
    let at = watch.at;
    for said in [
        by("github-1", "v2", at + duration("30s")),
        by("gitlab-1", "v2", at - duration("30s")),
        by("argocd-1", "v2", world.now),
        DeployReport { key: Some("cdevents-1".to_owned()), ..report("v2") },
    ] {
        assert_eq!(hinted(&mut world, said.clone()), Reply::SameDeploy(watch.deploy.clone()), "{said:?}");
    }
    assert_eq!(world.own().watch.as_ref().map(|watch| watch.at), Some(at));
    // Also by the one that comes when the watch has just ended.
    world.run("32m");
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Passed));
    let late = by("argocd-2", "v2", at + duration("29m"));
    assert_eq!(hinted(&mut world, late), Reply::SameDeploy(watch.deploy));
    let again = by("github-2", "v2", world.now);
    let reply = hinted(&mut world, again);
    assert!(matches!(reply, Reply::Deploy(_)), "after its watch it is deployed once more, not {reply:?}");
}

#[test]
fn r13_a_hint_of_another_version_is_a_deploy_like_any_other() {
    let mut world = deployed();
    let now = world.now;
    let older = hinted(&mut world, by("github-0", "v0", now - duration("10m")));
    assert!(matches!(older, Reply::Deploy(_)));
    assert_eq!(world.own().running, Some(version("v2")), "it came too late to matter");
    assert!(matches!(hinted(&mut world, by("github-3", "v3", now)), Reply::Deploy(_)));
    assert_eq!(world.own().running, Some(version("v3")));
    assert!(matches!(hinted(&mut world, by("github-0", "v0", now)), Reply::SameDeploy(_)), "delivered again");
    assert!(matches!(hinted(&mut world, by("github-9", "v9", now + duration("6m"))), Reply::Refused(_)));
}

#[test]
fn r4_a_hint_of_what_a_rollback_brought_back_opens_no_watch_and_the_bad_version_seen_again_is_watched() {
    let mut world = deployed();
    red(&mut world, keyed("run-1"));
    let now = world.now;
    assert!(matches!(hinted(&mut world, by("github-4", "v1", now)), Reply::SameDeploy(_)));
    world.run("5m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::Recovered));
    assert!(matches!(hinted(&mut world, by("argocd-4", "v1", now)), Reply::SameDeploy(_)));
    assert!(world.own().watch.is_none());
    let now = world.now;
    let reply = hinted(&mut world, by("github-5", "v2", now));
    assert!(matches!(reply, Reply::Deploy(_)), "{reply:?}");
    assert_eq!(world.target().as_deref(), Some("v1"));
}

#[test]
fn r4_what_a_human_brings_back_is_the_deploy_of_that_version_and_not_the_one_that_it_leaves() {
    let mut world = deployed();
    let brought_back = world.own().ledger.entries[0].deploy.id.clone();
    world.observe("login-broken");
    let now = world.now;
    for key in ["github-4", "argocd-4"] {
        assert_eq!(hinted(&mut world, by(key, "v1", now)), Reply::SameDeploy(brought_back.clone()), "{key}");
    }
}

#[test]
fn r4_the_bad_version_deployed_once_more_while_it_is_rolled_back_is_another_deploy() {
    let mut world = deployed();
    red(&mut world, keyed("run-1"));
    world.run("10s");
    let now = world.now;
    assert!(matches!(hinted(&mut world, by("github-4", "v2", now)), Reply::Deploy(_)));
    assert!(world.paged_for().contains(&PageReason::DeployDuringRollback));
}

#[test]
fn r6_a_migration_that_only_the_second_event_of_a_deploy_tells_of_holds_as_well() {
    let migrates = |said: DeployReport| DeployReport { migration: Migration::Breaking, ..said };
    let twice: [fn(&mut World, DeployReport) -> Reply; 2] = [hinted, |world, said| world.announce(said)];
    for tell in twice {
        let mut world = deployed();
        assert!(matches!(tell(&mut world, migrates(report("v2"))), Reply::SameDeploy(_)));
        red(&mut world, keyed("run-1"));
        assert!(world.started().is_empty());
        assert_eq!(world.paged_for(), [PageReason::Held]);
    }
    // And what is said during a veto is heard by what follows it.
    let mut config = reference();
    shop_trigger(&mut config, "smoke-test").veto = duration("30s");
    let mut world = World::proven_with(config);
    world.deploy("v2");
    red(&mut world, keyed("run-1"));
    hinted(&mut world, migrates(report("v2")));
    world.run("2m");
    assert!(world.started().is_empty());
    // What runs is not stopped, and nothing further starts.
    let mut world = deployed();
    red(&mut world, keyed("run-1"));
    let attempt = world.started()[0].attempt.clone();
    world.announce(migrates(report("v2")));
    world.end_attempt(&attempt, Outcome::Failed { why: "exit status 1".to_owned(), output: String::new() });
    world.run("5m");
    assert_eq!(world.started().len(), 1);
    assert_eq!(world.paged_for().first(), Some(&PageReason::Held));
    // One that was told of the version before is none of this deploy.
    let mut world = deployed();
    red(&mut world, keyed("run-1"));
    world.announce(migrates(naming("v1", "v2")));
    assert_eq!(world.started().len(), 1);
}

#[test]
fn r13_a_version_that_is_deployed_again_with_an_instant_of_its_own_is_watched_again() {
    let mut world = deployed();
    let deployed_at = world.own().ledger.latest().unwrap().deploy.at;
    let told = |world: &mut World, at| world.announce(DeployReport { at: Some(at), ..report("v2") });
    // What was ahead of the clock then, and comes again now, is the same event.
    assert!(matches!(told(&mut world.clone(), deployed_at + duration("30s")), Reply::SameDeploy(_)));
    world.run("9m");
    let now = world.now;
    assert!(matches!(told(&mut world, now), Reply::Deploy(_)));
    // A version that was left within those minutes, too.
    let mut world = deployed();
    red(&mut world, keyed("run-1"));
    world.run("2m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::Recovered));
    let now = world.now;
    assert!(now < deployed_at + duration("5m"));
    assert!(matches!(told(&mut world, now), Reply::Deploy(_)));
    assert_eq!(world.target().as_deref(), Some("v1"));
}

#[test]
fn r4_the_run_of_our_own_rollback_is_known_by_its_id_or_title_whatever_version_the_forge_calls_it_by() {
    let mut world = deployed();
    red(&mut world, keyed("run-1"));
    let attempt = world.started()[0].attempt.clone();
    world.tell(Happening::AttemptStarted { attempt: attempt.clone(), handle: "7701".to_owned() });
    let run = |id: &str, title: &str| Some(Run { id: id.to_owned(), title: Some(title.to_owned()) });
    let ours = [run("7701", "deploy"), run("7702", &format!("deploy v1 {attempt}"))];
    for time in ["1s", "5m"] {
        for run in ours.clone() {
            let report = by("github-7", "v2", world.now);
            let reply = world.tell(Happening::Hinted { report, run: run.clone() });
            assert!(matches!(reply, Reply::SameDeploy(_)), "{reply:?}");
            let failed = red(&mut world, About { run, version: Some(version("v1")), ..keyed("run-7") });
            assert_eq!(failed, Reply::NotNews(NotNews::OwnAttempt(attempt.clone())));
        }
        assert_eq!(world.own().running, Some(version("v1")));
        world.run(time);
    }
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::Recovered));
    let other = world.tell(Happening::Hinted { report: by("github-8", "v3", world.now), run: run("7703", "deploy") });
    assert!(matches!(other, Reply::Deploy(_)));
}

#[test]
fn a_report_about_another_version_is_no_news_of_a_rehearsals_bad_one_unless_it_comes_from_its_run() {
    let mut world = World::proven();
    world.tell(Happening::RehearsalAsked { bad: version("v13-bad"), witness: None });
    world.run("15s");
    let attempt = world.own().rehearsal.as_ref().and_then(|rehearsal| rehearsal.attempt.clone()).expect("an attempt");
    world.tell(Happening::AttemptStarted { attempt: attempt.id, handle: "991".to_owned() });
    world.run("2m");
    assert!(world.own().watch.as_ref().is_some_and(|watch| watch.version == version("v13-bad")));
    let other = About { version: Some(version("v12")), ..About::default() };
    let by = |id: &str| Some(Run { id: id.to_owned(), title: None });
    for run in [None, by("990")] {
        let reply = red(&mut world, About { run, ..other.clone() });
        assert_eq!(reply, Reply::NotNews(NotNews::OtherDeploy(version("v13-bad"))));
    }
    assert!(matches!(red(&mut world, About { run: by("991"), ..other.clone() }), Reply::Firing(_)));
    // Once another version is deployed, the same run tells of what does not serve any more.
    world.run("10m");
    world.deploy("v14");
    let late = red(&mut world, About { run: by("991"), ..other });
    assert_eq!(late, Reply::NotNews(NotNews::OtherDeploy(version("v14"))));
}
