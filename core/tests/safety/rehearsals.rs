//! Rehearsals where they touch the rules: what refuses one, that its bad version never stays, and that all else is the
//! rollback of any deploy.

use rollbackd_core::config::{Config, Mode, PipelineFile};
use rollbackd_core::deploy::{Migration, WatchEnd};
use rollbackd_core::event::{About, DeployReport, Effect, Happening, Reply, Run as PipelineRun};
use rollbackd_core::firing::{FiringEnd, Outcome, Stage as FiringStage};
use rollbackd_core::name::{AnnouncerName, AttemptId};
use rollbackd_core::page::PageReason;
use rollbackd_core::record::{Record, WatchRecord};
use rollbackd_core::rehearsal::{End, REHEARSAL, Rehearsal, Stage};
use rollbackd_core::view;

use crate::common::outside::{Run, Sample};
use crate::common::plan::{SHOP, reference, shop, shop_path, shop_trigger};
use crate::common::world::{World, refusal, report};
use crate::common::{duration, path, service, trigger, version};

const BAD: &str = "v13-bad";

fn ask(world: &mut World) -> Reply {
    world.tell(Happening::RehearsalAsked { bad: version(BAD), witness: Some("Ada".to_owned()) })
}

/// v1 serves and has passed; v13-bad fails one request of five; each path has one word of its own.
fn healthy_with(config: Config) -> World {
    let mut world = World::proven_with(config);
    world.sicken(BAD, "error-rate", 0.2);
    world
}

fn healthy() -> World {
    healthy_with(reference())
}

/// A rehearsal is deploying its bad version; that attempt says nothing by itself.
fn deploying() -> World {
    let mut world = healthy();
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    assert!(matches!(ask(&mut world), Reply::Rehearsal(_)));
    world.run("15s");
    assert_eq!(rehearsal(&world).stage, Stage::Deploying);
    world
}

/// The bad version serves and no trigger sees it.
fn unseen() -> World {
    let mut world = World::proven();
    ask(&mut world);
    world.run("2m");
    assert!(matches!(rehearsal(&world).stage, Stage::Watching { .. }), "{:?}", rehearsal(&world).stage);
    assert_eq!(world.really_serves(), BAD);
    world
}

fn rehearsal(world: &World) -> &Rehearsal {
    world.own().rehearsal.as_ref().expect("a rehearsal")
}

fn end(world: &World) -> Option<&End> {
    match &rehearsal(world).stage {
        Stage::Ended { end, .. } => Some(end),
        Stage::Checking { .. } | Stage::Deploying | Stage::Watching { .. } => None,
    }
}

fn attempt(world: &World) -> AttemptId {
    rehearsal(world).attempt.as_ref().expect("an attempt").id.clone()
}

fn stops(world: &World) -> usize {
    world.effects.iter().filter(|(_, effect)| matches!(effect, Effect::StopAttempt { .. })).count()
}

/// The watches of this version that were opened.
fn watches(world: &World, name: &str) -> usize {
    let opened = |record: &Record| matches!(record, Record::Watch(WatchRecord::Opened { watch }) if watch.version.as_str() == name);
    world.journal.iter().filter(|entry| opened(&entry.record)).count()
}

#[test]
fn a_rehearsal_deploys_the_bad_version_and_the_trigger_brings_the_good_one_back() {
    let mut world = healthy();
    let asked = ask(&mut world);
    assert!(matches!(asked, Reply::Rehearsal(_)), "{asked:?}");
    world.run("10m");
    assert_eq!(end(&world), Some(&End::Recovered));
    assert_eq!(world.really_serves(), "v1");
    assert_eq!(world.ended("error-rate"), Some(FiringEnd::Recovered));
    assert_eq!(world.paths_started(), ["pipeline", "pipeline"], "one deploys v13-bad, one brings v1 back");
    assert_eq!(world.started()[0].run, ["deploy", BAD]);
    assert_eq!(world.started()[1].run, ["deploy", "v1"]);
    let firing = world.fired("error-rate").unwrap();
    assert_eq!(firing.rehearsal.as_ref().unwrap().witness.as_deref(), Some("Ada"));
    assert!(firing.deploy.as_ref().unwrap().rehearsal);
    assert_eq!(world.own().firings.len(), 1, "nothing but the trigger had to bring it back");
    let known = &world.own().rehearsed[&path("pipeline")];
    assert_eq!((known.in_a_row, known.last.trigger.as_str()), (1, "error-rate"));
}

#[test]
fn what_was_rehearsed_changes_with_the_path_the_trigger_and_the_pipelines_own_file() {
    let mut config = healthy().config;
    let file = |sha256: &str| PipelineFile { name: "/srv/deploy.yml".to_owned(), sha256: Some(sha256.to_owned()) };
    shop_path(&mut config, "pipeline").pipeline_files = vec![file("ab")];
    let mut world = healthy();
    world.config = config;
    ask(&mut world);
    world.run("10m");
    let changed = |world: &World| {
        let shown = view::service(
            &world.config,
            &world.state,
            &rollbackd_core::board::Board::default(),
            &service(SHOP),
            world.now,
        );
        shown.expect("a service").paths[0].rehearsed.as_ref().expect("a rehearsal").changed
    };
    assert!(!changed(&world), "it is as it was rehearsed");
    let changes: [fn(&mut Config); 3] = [
        |config| shop_path(config, "pipeline").pipeline_files[0].sha256 = Some("cd".to_owned()),
        |config| shop_path(config, "pipeline").timeout = duration("5m"),
        |config| shop_trigger(config, "error-rate").hold = duration("3m"),
    ];
    for change in changes {
        let mut other = world.clone();
        change(&mut other.config);
        assert!(changed(&other));
    }
}

#[test]
fn what_version_query_shows_meanwhile_says_since_when_the_bad_version_serves() {
    let mut world = deploying();
    world.run("50s");
    let serves_since = world.now;
    world.shop().serve(&version(BAD), serves_since);
    world.run("1m");
    world.end_attempt(&attempt(&world), Outcome::Succeeded { receipt: None, output: String::new() });
    world.run("2m");
    let firing = world.fired("error-rate").expect("a firing");
    assert_eq!(firing.deploy.as_ref().unwrap().at, serves_since);
    let fired_after = firing.observed_at.since(serves_since);
    assert!(fired_after < duration("150s"), "the clock waits for no pipeline: {fired_after:?}");
}

#[test]
fn nothing_is_deployed_where_something_stands_against_it() {
    type Against = (&'static str, fn(&mut World));
    let against: [Against; 8] = [
        ("under watch until", |world| {
            world.deploy("v2");
        }),
        ("is frozen until", |world| {
            world.tell(Happening::Frozen { duration: duration("1h"), why: "stocktaking".to_owned() });
        }),
        ("is not healthy: firing", |world| {
            world.observe("login-broken");
        }),
        ("are the limit", |world| {
            shop(&mut world.config).automatic_limit.rollbacks = 0;
        }),
        ("runs with --dry-run", |world| world.config.mode = Mode::DryRun),
        ("has no `rehearsal:", |world| shop(&mut world.config).rehearsal = None),
        ("has not passed a watch of its own", |world| {
            world.deploy("v2");
            world.shop().queries_fail = true;
            world.run("2h");
            world.shop().queries_fail = false;
        }),
        ("no deploy of this service is known", |world| *world = World::new(reference())),
    ];
    for (why, arrange) in against {
        let mut world = healthy();
        arrange(&mut world);
        let before = world.journal.len();
        let reply = ask(&mut world);
        assert!(refusal(&reply).contains(why), "{why}: {}", refusal(&reply));
        assert_eq!(world.journal.len(), before, "{why}: a refusal leaves nothing behind");
        assert!(world.paths_started().is_empty(), "{why}");
    }
}

#[test]
fn what_serves_already_is_no_bad_version_and_neither_is_a_second_rehearsal() {
    let mut world = deploying();
    assert!(refusal(&ask(&mut world)).contains("is under way already"));
    let mut world = healthy();
    let same = world.tell(Happening::RehearsalAsked { bad: version("v1"), witness: None });
    assert!(refusal(&same).contains("is what serves already"));
}

#[test]
fn a_page_that_waits_for_a_human_refuses_a_rehearsal() {
    let mut world = healthy();
    world.observe("login-broken");
    world.run("2h");
    assert!(world.own().open_firings().next().is_none(), "the firing has ended, its page has not");
    assert!(refusal(&ask(&mut world)).contains("waits for a human"));
}

#[test]
fn nothing_is_deployed_while_a_trigger_breaches_or_nothing_can_be_seen() {
    let mut world = healthy();
    world.show("error-rate", Sample::Value(0.2));
    world.run("30s");
    ask(&mut world);
    world.run("30s");
    let Some(End::CalledOff { why }) = end(&world) else { panic!("{:?}", end(&world)) };
    assert!(why.contains("error-rate is breaching"), "{why}");

    let mut world = healthy();
    world.shop().queries_fail = true;
    ask(&mut world);
    world.run("2m");
    let Some(End::CalledOff { why }) = end(&world) else { panic!("{:?}", end(&world)) };
    assert!(why.contains("nothing could be seen of error-rate"), "{why}");
    assert!(world.paths_started().is_empty());
}

#[test]
fn r2_the_deploy_of_a_bad_version_is_intended_before_it_runs_and_followed_after_a_crash() {
    let mut world = deploying();
    world.restart();
    let followed = world.effects.iter().filter(|(_, effect)| matches!(effect, Effect::FollowAttempt { .. })).count();
    assert_eq!((followed, world.paths_started().len()), (1, 1), "followed, never started again");
    let now = world.now;
    world.shop().serve(&version(BAD), now);
    world.shop().runs.clear();
    world.end_attempt(&attempt(&world), Outcome::Succeeded { receipt: None, output: String::new() });
    world.run("10m");
    assert_eq!(end(&world), Some(&End::Recovered));
    assert_eq!(world.really_serves(), "v1");
}

#[test]
fn r2_a_bad_deploy_that_was_never_begun_is_not_begun_after_a_crash() {
    let mut world = deploying();
    world.restart();
    world.end_attempt(&attempt(&world), Outcome::NeverStarted);
    let Some(End::CalledOff { why }) = end(&world) else { panic!("{:?}", end(&world)) };
    assert!(why.contains("nothing was deployed"), "{why}");
    world.run("1h");
    assert_eq!(world.paths_started().len(), 1);
    assert!(world.own().firings.is_empty() && world.own().watch.is_none());
}

#[test]
fn r2_whatever_a_deploy_that_did_not_end_well_has_left_is_rolled_back() {
    let why = || "why".to_owned();
    let outcomes = [
        Outcome::Failed { why: why(), output: String::new() },
        Outcome::Cancelled { why: why() },
        Outcome::Unknown { why: why() },
        Outcome::TimedOut,
    ];
    for outcome in outcomes {
        let mut world = deploying();
        world.shop().runs.clear();
        world.end_attempt(&attempt(&world), outcome.clone());
        assert_eq!(world.paths_started(), ["pipeline", "pipeline"], "{outcome:?}");
        assert_eq!(world.started()[1].run, ["deploy", "v1"]);
        world.run("10m");
        assert_eq!(world.ended(REHEARSAL), Some(FiringEnd::Recovered), "{outcome:?}");
        assert_eq!(end(&world), Some(&End::Recovered));
        assert_eq!(world.own().rehearsed[&path("pipeline")].in_a_row, 0, "that was no clean run");
    }
}

#[test]
fn a_bad_deploy_that_uses_up_its_timeout_is_stopped_and_rolled_back() {
    let mut world = deploying();
    world.run("230s");
    assert_eq!(stops(&world), 0);
    world.run("5s");
    assert_eq!(stops(&world), 1);
    assert_eq!(world.started().len(), 2);
}

#[test]
fn a_bad_version_that_no_trigger_sees_is_rolled_back_at_the_end_all_the_same() {
    let mut world = unseen();
    world.run("31m");
    assert_eq!(world.ended(REHEARSAL), Some(FiringEnd::Recovered));
    assert_eq!(world.fired(REHEARSAL).unwrap().note.as_deref(), Some("no trigger has fired within 30m"));
    assert_eq!(world.really_serves(), "v1");
    assert_eq!(world.watch_end(BAD), Some(WatchEnd::RolledBack), "it has not passed");
    assert_eq!(end(&world), Some(&End::Recovered));
}

#[test]
fn a_timeout_of_its_own_ends_it_sooner() {
    let mut config = reference();
    shop(&mut config).rehearsal.as_mut().unwrap().timeout = duration("5m");
    let mut world = World::proven_with(config);
    ask(&mut world);
    world.run("8m");
    assert_eq!(end(&world), Some(&End::Recovered));
}

#[test]
fn a_human_who_stops_it_brings_the_good_version_back_at_once() {
    let mut world = unseen();
    let stopped = world.tell(Happening::RehearsalStopAsked);
    assert!(matches!(stopped, Reply::Rehearsal(_)), "{stopped:?}");
    assert_eq!(world.started().last().unwrap().run, ["deploy", "v1"]);
    world.run("3m");
    assert_eq!(end(&world), Some(&End::Recovered));
    assert!(refusal(&world.tell(Happening::RehearsalStopAsked)).contains("no rehearsal"));
}

#[test]
fn a_human_who_stops_it_while_it_deploys_stops_that_and_what_it_left_is_rolled_back() {
    let mut world = deploying();
    world.tell(Happening::RehearsalStopAsked);
    assert_eq!(stops(&world), 1);
    assert_eq!(world.started().len(), 1, "one after the other: nothing races the deploy");
    world.shop().runs.clear();
    world.end_attempt(&attempt(&world), Outcome::TimedOut);
    world.run("3m");
    assert_eq!(world.ended(REHEARSAL), Some(FiringEnd::Recovered));
}

#[test]
fn a_rehearsal_that_is_stopped_before_it_deploys_has_deployed_nothing() {
    let mut world = healthy();
    ask(&mut world);
    world.tell(Happening::RehearsalStopAsked);
    assert!(matches!(end(&world), Some(End::CalledOff { .. })));
    world.run("1h");
    assert!(world.paths_started().is_empty());
}

#[test]
fn r1_a_rehearsal_counts_towards_the_limit_and_is_refused_once_that_is_reached() {
    let mut world = healthy();
    for _ in 0..3 {
        assert!(matches!(ask(&mut world), Reply::Rehearsal(_)));
        world.run("10m");
        assert_eq!(end(&world), Some(&End::Recovered));
    }
    assert!(refusal(&ask(&mut world)).contains("3 automatic rollbacks within 1h are the limit"));
    assert_eq!(world.own().rehearsed[&path("pipeline")].in_a_row, 3);
}

#[test]
fn r3_a_bad_version_is_never_a_target_and_what_it_returns_to_is_what_served() {
    let mut world = healthy();
    ask(&mut world);
    world.run("10m");
    world.deploy("v2");
    assert_eq!(world.target().as_deref(), Some("v1"));
    assert!(world.own().ledger.was_rolled_back(&version(BAD)));
}

#[test]
fn r3_a_bad_version_that_a_human_left_there_is_never_a_target_either() {
    let mut world = unseen();
    world.tell(Happening::Frozen { duration: duration("2h"), why: "stocktaking".to_owned() });
    world.run("31m");
    let firing = world.fired(REHEARSAL).unwrap().id.clone();
    world.tell(Happening::Dismissed { firing, why: "let it be".to_owned() });
    assert_eq!(end(&world), Some(&End::Dismissed));
    world.announce(DeployReport { previous: Some(version(BAD)), ..report("v2") });
    assert_eq!(world.target().as_deref(), Some("v1"), "not the one that the event names");
    let to_bad = world.tell(Happening::RollbackAsked { path: None, to: Some(version(BAD)) });
    assert!(refusal(&to_bad).contains("no version to return to"));
}

#[test]
fn r4_however_the_bad_deploy_is_announced_it_is_watched_once() {
    let mut world = healthy();
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    ask(&mut world);
    world.run("15s");
    let run = PipelineRun { id: "991".to_owned(), title: None };
    world.tell(Happening::AttemptStarted { attempt: attempt(&world), handle: run.id.clone() });
    world.run("30s");
    let now = world.now;
    world.shop().serve(&version(BAD), now);
    let announce = |world: &mut World| {
        let told = DeployReport { at: Some(now), ..report(BAD) };
        let by_run = Happening::Hinted { report: report("main-0a1b2c3"), run: Some(run.clone()) };
        let all = [Happening::Deployed(told), Happening::Deployed(report(BAD)), by_run];
        for what in all {
            let reply = world.tell(what);
            assert_eq!(reply, Reply::SameDeploy(rehearsal(world).deploy.clone()));
        }
    };
    announce(&mut world);
    world.run("30s");
    assert_eq!(watches(&world, BAD), 0, "the pipeline still runs");
    world.end_attempt(&attempt(&world), Outcome::Succeeded { receipt: None, output: String::new() });
    assert_eq!(world.own().watch.as_ref().unwrap().at, now, "the event says since when it serves");
    announce(&mut world);
    world.shop().runs.clear();
    world.run("10m");
    assert_eq!(end(&world), Some(&End::Recovered));
    let late = world.tell(Happening::Deployed(DeployReport { at: Some(now), ..report(BAD) }));
    assert!(matches!(late, Reply::SameDeploy(_)), "{late:?}");
    let by_run = Happening::Hinted { report: report("main-0a1b2c3"), run: Some(run) };
    assert!(matches!(world.tell(by_run), Reply::SameDeploy(_)));
    assert_eq!((watches(&world, BAD), watches(&world, "v1"), watches(&world, "main-0a1b2c3")), (1, 1, 0));
}

#[test]
fn a_smoke_test_that_the_pipeline_reports_before_it_ends_counts_once_the_watch_is_open() {
    let mut world = deploying();
    world.run("30s");
    let observed_at = world.now;
    world.tell(Happening::Reported { trigger: trigger("smoke-test"), note: None, about: About::default() });
    assert!(world.own().firings.is_empty(), "nothing rolls back what is still being deployed");
    world.run("20s");
    world.shop().runs.clear();
    world.end_attempt(&attempt(&world), Outcome::Failed { why: "exit 1".to_owned(), output: String::new() });
    let firing = world.fired("smoke-test").expect("the report's own firing");
    assert_eq!(firing.observed_at, observed_at, "the clock started when it was observed");
    world.run("5m");
    assert_eq!(world.own().firings.len(), 1, "the failed deploy needs no second rollback");
    assert_eq!(end(&world), Some(&End::Recovered));
}

#[test]
fn r6_a_bad_version_that_turns_out_to_migrate_data_is_not_rolled_back_by_itself() {
    let mut world = deploying();
    world.announce(DeployReport { migration: Migration::Breaking, ..report(BAD) });
    world.end_attempt(&attempt(&world), Outcome::Failed { why: "exit 1".to_owned(), output: String::new() });
    assert_eq!(world.paths_started().len(), 1);
    assert!(world.said().contains("migrated data"), "{}", world.said());
    let mut world = healthy();
    world.deploy_of(
        &crate::common::service("capstone-api"),
        DeployReport { migration: Migration::Breaking, ..report(BAD) },
    );
    world.tell(Happening::RollbackAsked { path: None, to: None });
    world.run("10m");
    assert!(refusal(&ask(&mut world)).contains("migrates data"));
}

#[test]
fn r10_a_rehearsal_is_rolled_back_whatever_else_fires_for_its_cause_is_known() {
    let mut world = healthy_with(crate::common::plan::fleet(&["capstone-api", "billing", "search"]));
    ask(&mut world);
    for other in ["billing", "search"] {
        let name = crate::common::service(other);
        world.deploy_of(&name, report("v2"));
        world.tell_of(
            &name,
            Happening::Reported { trigger: trigger("login-broken"), note: None, about: About::default() },
        );
    }
    world.run("10m");
    assert_eq!(world.ended("error-rate"), Some(FiringEnd::Recovered));
}

#[test]
fn r11_a_freeze_holds_the_rollback_of_a_rehearsal_and_pages_and_a_human_still_stops_it() {
    let mut world = unseen();
    world.tell(Happening::Frozen { duration: duration("2h"), why: "stocktaking".to_owned() });
    world.run("31m");
    let firing = world.fired(REHEARSAL).expect("it wants its version to go").clone();
    assert!(matches!(firing.stage, FiringStage::Paged { .. }), "{:?}", firing.stage);
    assert!(world.paged_for().contains(&PageReason::Held));
    assert!(world.said().contains("which a rehearsal deployed"), "{}", world.said());
    assert_eq!(world.paths_started().len(), 1, "the freeze is no detail");
    assert!(matches!(world.tell(Happening::RehearsalStopAsked), Reply::Rehearsal(_)));
    world.run("5m");
    assert_eq!((world.really_serves().as_str(), end(&world)), ("v1", Some(&End::Recovered)));
}

#[test]
fn r11_a_freeze_before_anything_was_deployed_calls_it_off() {
    let mut world = healthy();
    ask(&mut world);
    world.tell(Happening::Frozen { duration: duration("2h"), why: "stocktaking".to_owned() });
    world.run("10m");
    assert!(matches!(end(&world), Some(End::CalledOff { .. })));
    assert!(world.paths_started().is_empty());
}

#[test]
fn a_rehearsal_whose_page_nobody_answers_ends_and_leaves_the_page() {
    let mut world = unseen();
    world.tell(Happening::Frozen { duration: duration("24h"), why: "stocktaking".to_owned() });
    world.run("3h");
    assert_eq!(end(&world), Some(&End::LeftToHuman));
    assert_eq!(world.ended(REHEARSAL), Some(FiringEnd::Paged));
    assert!(world.own().pages.iter().any(|page| page.resolved_at.is_none()));
}

#[test]
fn a_human_who_dismisses_what_a_trigger_saw_does_not_leave_the_bad_version_there() {
    let mut config = reference();
    shop_trigger(&mut config, "error-rate").veto = duration("5m");
    let mut world = healthy_with(config);
    ask(&mut world);
    world.run("5m");
    let firing = world.fired("error-rate").expect("a firing").id.clone();
    world.tell(Happening::Dismissed { firing, why: "it is only a rehearsal".to_owned() });
    world.run("40m");
    assert_eq!((world.really_serves().as_str(), end(&world)), ("v1", Some(&End::Recovered)));
}

#[test]
fn r12_a_dry_run_rehearses_nothing() {
    let mut world = healthy();
    world.config.mode = Mode::DryRun;
    assert!(refusal(&ask(&mut world)).contains("runs with --dry-run"));
    assert!(world.paths_started().is_empty() && world.own().rehearsal.is_none());
}

#[test]
fn r13_a_new_deploy_over_a_rehearsal_ends_it_with_one_receipt() {
    let mut world = unseen();
    world.deploy("v2");
    assert_eq!(end(&world), Some(&End::Superseded { by: version("v2") }));
    assert_eq!(world.ended(REHEARSAL), Some(FiringEnd::Paged));
    assert_eq!(world.receipts().len(), 1);
    assert_eq!(world.target().as_deref(), Some("v1"), "never the bad one");
    assert!(!world.paged_for().contains(&PageReason::DeployDuringRehearsal));
    world.run("1h");
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Passed));
    assert_eq!(world.paths_started().len(), 1, "v2 stays");
}

#[test]
fn r13_a_new_deploy_while_the_bad_one_is_under_way_stops_that_and_a_human_is_told() {
    let mut world = deploying();
    world.deploy("v2");
    assert_eq!(stops(&world), 1);
    assert_eq!(end(&world), Some(&End::Superseded { by: version("v2") }));
    assert!(world.paged_for().contains(&PageReason::DeployDuringRehearsal));
    let given_up = rehearsal(&world).attempt.as_ref().and_then(|attempt| attempt.outcome.as_ref());
    assert!(matches!(given_up, Some(Outcome::Unknown { .. })), "nobody follows it any more: {given_up:?}");
    assert!(world.said().contains("see which version serves"), "{}", world.said());
    assert_eq!((world.receipts().len(), world.own().watch.as_ref().unwrap().version.as_str()), (1, "v2"));
    let id = attempt(&world);
    world.end_attempt(&id, Outcome::TimedOut);
    world.run("40m");
    assert_eq!(world.paths_started().len(), 1);
}

#[test]
fn a_human_asks_for_no_rollback_of_the_good_version_while_the_bad_one_is_deployed() {
    let mut world = deploying();
    let asked = world.tell(Happening::RollbackAsked { path: None, to: None });
    assert!(refusal(&asked).contains("stop it instead"));
}

#[test]
fn a_rehearsal_is_no_incident_that_other_systems_are_told_of() {
    for is_seen in [true, false] {
        let mut config = healthy().config;
        shop(&mut config).announce = vec![AnnouncerName::new("graphs").expect("an announcer name")];
        let mut world = healthy_with(config);
        if !is_seen {
            world.shop().sick.clear();
        }
        ask(&mut world);
        world.run("2h");
        assert!(world.own().rehearsing().is_none() && world.own().firings.len() == 1, "it ran: {is_seen}");
        let announced = |(_, effect): &(_, Effect)| matches!(effect, Effect::Announce { .. });
        assert!(!world.effects.iter().any(announced));
    }
}
