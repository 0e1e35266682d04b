//! R1 and R2: how many rollbacks there may be, and what may follow an attempt.

use rollbackd_core::config::{Action, AutomaticLimit};
use rollbackd_core::deploy::Migration;
use rollbackd_core::event::{DeployReport, Effect, Happening};
use rollbackd_core::firing::{FiringEnd, Outcome, Stage};
use rollbackd_core::page::PageReason;

use crate::common::outside::Run;
use crate::common::plan::{reference, report_trigger, shop, shop_path, shop_trigger};
use crate::common::world::{World, is_conflict, report};
use crate::common::{duration, path, version};

pub(crate) fn failed(why: &str) -> Outcome {
    Outcome::Failed { why: why.to_owned(), output: String::new() }
}

fn unknown() -> Outcome {
    Outcome::Unknown { why: "the process is gone".to_owned() }
}

/// v2 is deployed, its smoke test fails, and the pipeline is running without ever ending.
pub(crate) fn rolling() -> World {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.deploy("v2");
    world.run("20s");
    world.observe("smoke-test");
    assert_eq!(world.paths_started(), ["pipeline"]);
    world
}

#[test]
fn r1_what_fires_while_a_rollback_runs_joins_it_and_starts_nothing() {
    let mut world = rolling();
    let first = world.fired("smoke-test").unwrap().id.clone();
    world.sicken("v2", "error-rate", 0.2);
    let now = world.now;
    world.shop().serve(&version("v2"), now);
    world.run("150s");
    assert_eq!(world.paths_started(), ["pipeline"]);
    assert_eq!(world.own().firings.len(), 1);
    let joined = &world.firing(&first).joined;
    assert_eq!(joined.len(), 1);
    assert_eq!(joined[0].0.as_str(), "error-rate");
}

#[test]
fn r1_a_report_that_is_repeated_joins_once() {
    let mut world = rolling();
    for _ in 0..5 {
        world.observe("smoke-test");
    }
    assert!(world.fired("smoke-test").unwrap().joined.is_empty(), "its own trigger is no other one");
}

#[test]
fn r1_another_report_that_is_repeated_joins_once() {
    let mut config = reference();
    shop(&mut config).triggers.push(report_trigger("canary-test", Some("3m"), Action::Rollback).into());
    let mut world = World::proven_with(config);
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.deploy("v2");
    world.observe("smoke-test");
    for _ in 0..5 {
        world.observe("canary-test");
    }
    assert_eq!(world.fired("smoke-test").unwrap().joined.len(), 1);
    assert_eq!(world.own().firings.len(), 1);
}

#[test]
fn r1_a_human_can_start_no_second_rollback_while_one_runs_or_is_verified() {
    let mut world = rolling();
    let ask = Happening::RollbackAsked { path: None, to: None };
    assert!(is_conflict(&world.tell(ask.clone())));
    let paged = world.observe("login-broken");
    assert!(is_conflict(&world.tell(Happening::Approved { firing: paged.clone() })));
    let attempt = world.started()[0].attempt.clone();
    world.end_attempt(&attempt, Outcome::Succeeded { receipt: None, output: String::new() });
    assert!(matches!(world.fired("smoke-test").unwrap().stage, Stage::Verifying { .. }));
    assert!(is_conflict(&world.tell(ask)));
    assert!(is_conflict(&world.tell(Happening::Approved { firing: paged })));
    assert_eq!(world.paths_started(), ["pipeline"]);
}

#[test]
fn r1_a_page_that_is_proven_by_hand_does_not_end_the_rollback_that_runs() {
    let mut world = rolling();
    world.observe("login-broken");
    // The pipeline has switched the version already, and is still busy.
    let now = world.now;
    world.shop().serve(&version("v1"), now);
    world.run("1m");
    let firing = world.fired("smoke-test").unwrap();
    assert!(firing.running().is_some(), "the attempt is still running: {:?}", firing.stage);
    assert!(firing.is_open(), "its firing was ended under it: {:?}", firing.stage);
    let page = world.fired("login-broken").unwrap();
    assert!(matches!(page.stage, Stage::Paged { .. }), "the rollback brings production back: {:?}", page.stage);
    assert!(is_conflict(&world.tell(Happening::RollbackAsked { path: None, to: None })), "one at a time");
}

#[test]
fn r1_a_page_that_gives_up_does_not_end_the_rollback_that_a_human_started() {
    let mut world = rolling();
    let attempt = world.started()[0].attempt.clone();
    world.end_attempt(&attempt, Outcome::Cancelled { why: "by jane".to_owned() });
    world.run("29m");
    world.tell(Happening::RollbackAsked { path: None, to: None });
    world.run("2m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::NotRecovered), "nobody answered its page");
    let started = world.fired("human").unwrap();
    assert!(started.running().is_some() && started.is_open(), "{:?}", started.stage);
    assert!(is_conflict(&world.tell(Happening::RollbackAsked { path: None, to: None })), "one at a time");
}

#[test]
fn r1_an_announced_target_never_makes_two_firings_roll() {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.deploy("v2");
    world.run("20s");
    world.observe("login-broken");
    world.observe("smoke-test");
    world.announce(report("v1"));
    let rolling = world.own().firings.iter().filter(|firing| firing.is_rolling()).count();
    assert_eq!(rolling, 1);
    let story = &world.fired("smoke-test").unwrap().story;
    assert!(story.iter().any(|step| step.what.contains("v1 was announced")), "the rollback's own: {story:?}");
}

#[test]
fn r1_another_version_that_is_announced_makes_no_page_roll_beside_a_rollback() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("31m");
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.deploy("v3");
    world.observe("login-broken");
    world.tell(Happening::RollbackAsked { path: None, to: Some(version("v1")) });
    world.announce(report("v2"));
    assert_eq!(world.own().firings.iter().filter(|firing| firing.is_rolling()).count(), 1);
}

#[test]
fn r1_two_vetoes_end_in_one_rollback() {
    let mut config = reference();
    shop_trigger(&mut config, "smoke-test").veto = duration("30s");
    shop_trigger(&mut config, "error-rate").veto = duration("30s");
    let mut world = World::proven_with(config);
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("120s");
    world.observe("smoke-test");
    world.run("60s");
    assert_eq!(world.paths_started(), ["pipeline"]);
    assert_eq!(world.own().firings.iter().filter(|firing| firing.is_rolling()).count(), 1);
    assert!(world.said().contains("another rollback of this service is running"), "{}", world.said());
}

#[test]
fn r1_a_deploy_is_rolled_back_by_itself_once() {
    let mut world = World::proven();
    for name in ["pipeline", "console"] {
        world.shop().runs.insert(path(name), Run::Fails(duration("5s")));
    }
    world.deploy("v2");
    world.run("20s");
    world.observe("smoke-test");
    world.run("20s");
    assert_eq!(world.paths_started(), ["pipeline", "console"]);
    world.sicken("v2", "error-rate", 0.2);
    let now = world.now;
    world.shop().serve(&version("v2"), now);
    world.run("3m");
    assert!(world.fired("error-rate").is_some());
    assert_eq!(world.paths_started(), ["pipeline", "console"]);
    assert!(world.said().contains("rolled back automatically once already"), "{}", world.said());
}

#[test]
fn r1_a_human_may_roll_back_the_same_deploy_again() {
    let mut world = World::proven();
    for name in ["pipeline", "console"] {
        world.shop().runs.insert(path(name), Run::Fails(duration("5s")));
    }
    world.deploy("v2");
    world.run("20s");
    let firing = world.observe("smoke-test");
    world.run("20s");
    world.tell(Happening::Approved { firing });
    assert_eq!(world.paths_started(), ["pipeline", "console", "pipeline"]);
}

#[test]
fn r1_the_automatic_limit_pages_and_frees_itself_after_its_time() {
    let mut config = reference();
    shop(&mut config).automatic_limit = AutomaticLimit { rollbacks: 2, within: duration("1h") };
    let mut world = World::proven_with(config);
    for name in ["v2", "v3", "v4"] {
        world.deploy(name);
        world.run("1m");
        world.observe("smoke-test");
        world.run("5m");
    }
    assert_eq!(world.paths_started().len(), 2);
    assert!(world.said().contains("2 automatic rollbacks within 1h are the limit"), "{}", world.said());
    world.run("1h");
    world.deploy("v5");
    world.run("1m");
    world.observe("smoke-test");
    assert_eq!(world.paths_started().len(), 3);
}

#[test]
fn r1_what_a_human_asked_for_does_not_count_against_the_limit() {
    let mut config = reference();
    shop(&mut config).automatic_limit = AutomaticLimit { rollbacks: 1, within: duration("1h") };
    let mut world = World::proven_with(config);
    world.deploy("v2");
    world.tell(Happening::RollbackAsked { path: None, to: None });
    world.run("5m");
    assert_eq!(world.really_serves(), "v1");
    world.deploy("v3");
    world.run("1m");
    world.observe("smoke-test");
    assert_eq!(world.paths_started().len(), 2);
}

#[test]
fn r2_every_attempt_is_recorded_before_it_is_started_and_never_started_by_a_restart() {
    let mut world = rolling();
    let order = world.started()[0].clone();
    world.effects.clear();
    world.restart();
    assert!(world.started().is_empty());
    let followed = world
        .effects
        .iter()
        .any(|(_, effect)| matches!(effect, Effect::FollowAttempt { order: again, handle: None } if again == &order));
    assert!(followed, "{:?}", world.effects);
}

#[test]
fn r2_a_restart_follows_an_attempt_by_what_it_can_be_found_by() {
    let mut world = rolling();
    let attempt = world.started()[0].attempt.clone();
    world.tell(Happening::AttemptStarted { attempt, handle: "run 4711".to_owned() });
    world.restart();
    let (_, last) = world.effects.last().unwrap();
    assert!(matches!(last, Effect::FollowAttempt { handle: Some(handle), .. } if handle == "run 4711"), "{last:?}");
}

#[test]
fn r2_each_attempt_has_a_number_of_its_own_from_one_on() {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Fails(duration("5s")));
    world.deploy("v2");
    world.run("20s");
    let firing = world.observe("smoke-test");
    world.run("1m");
    let ids: Vec<String> = world.started().iter().map(|order| order.attempt.to_string()).collect();
    assert_eq!(ids, [format!("{firing}-a1"), format!("{firing}-a2")]);
}

#[test]
fn r2_an_unknown_outcome_is_looked_up_and_not_run_again() {
    let mut world = rolling();
    let attempt = world.started()[0].attempt.clone();
    world.end_attempt(&attempt, unknown());
    assert_eq!(world.paths_started(), ["pipeline"], "nothing is run again or instead");
    assert!(world.fired("smoke-test").unwrap().running().unwrap().in_doubt);
    let now = world.now;
    world.shop().serve(&version("v1"), now);
    world.run("1m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::Recovered));
    assert_eq!(world.paths_started(), ["pipeline"]);
}

#[test]
fn r2_an_outcome_that_stays_unknown_pages_and_runs_nothing() {
    let mut world = rolling();
    let attempt = world.started()[0].attempt.clone();
    world.end_attempt(&attempt, unknown());
    world.run("5m");
    assert_eq!(world.paths_started(), ["pipeline"]);
    assert!(world.paged_for().contains(&PageReason::UnknownOutcome));
    let stops = world.effects.iter().any(|(_, effect)| matches!(effect, Effect::StopAttempt { .. }));
    assert!(!stops, "there is nothing that could be stopped");
}

#[test]
fn r2_without_a_version_query_an_unknown_outcome_pages_at_once() {
    let mut config = reference();
    shop(&mut config).version_query = None;
    let mut world = World::proven_with(config);
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.deploy("v2");
    world.observe("smoke-test");
    let attempt = world.started()[0].attempt.clone();
    world.end_attempt(&attempt, unknown());
    assert!(world.paged_for().contains(&PageReason::UnknownOutcome));
    assert_eq!(world.paths_started(), ["pipeline"]);
}

#[test]
fn r2_only_a_repeatable_path_is_run_again_and_not_for_ever() {
    let mut config = reference();
    shop(&mut config).version_query = None;
    shop_path(&mut config, "pipeline").repeatable = true;
    let mut world = World::proven_with(config);
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.deploy("v2");
    world.observe("smoke-test");
    for _ in 0..10 {
        let Some(attempt) = world.fired("smoke-test").unwrap().running().map(|attempt| attempt.id.clone()) else {
            break;
        };
        world.end_attempt(&attempt, unknown());
    }
    assert_eq!(world.paths_started(), ["pipeline", "pipeline", "pipeline"]);
    assert!(world.paged_for().contains(&PageReason::UnknownOutcome));
}

#[test]
fn r2_an_attempt_that_never_started_is_started_now() {
    let mut world = rolling();
    let attempt = world.started()[0].attempt.clone();
    world.end_attempt(&attempt, Outcome::NeverStarted);
    assert_eq!(world.paths_started(), ["pipeline", "pipeline"]);
    assert_ne!(world.started()[1].attempt, attempt, "its id is its own");
}

#[test]
fn r6_what_never_started_is_not_started_over_a_migration_that_was_told_meanwhile_unless_a_human_approves() {
    let mut world = rolling();
    let never_started = |world: &mut World| {
        let attempt = world.started().last().unwrap().attempt.clone();
        world.end_attempt(&attempt, Outcome::NeverStarted);
    };
    world.announce(DeployReport { migration: Migration::Breaking, ..report("v2") });
    never_started(&mut world);
    assert_eq!(world.paths_started(), ["pipeline"]);
    assert_eq!(world.paged_for().last(), Some(&PageReason::Held));
    let firing = world.fired("smoke-test").unwrap().id.clone();
    world.tell(Happening::Approved { firing });
    never_started(&mut world);
    assert_eq!(world.paths_started(), ["pipeline", "pipeline", "pipeline"]);
}

#[test]
fn r2_nothing_is_run_again_on_top_of_a_deploy_that_came_meanwhile() {
    for outcome in [Outcome::NeverStarted, failed("exit 1"), unknown()] {
        let mut config = reference();
        shop_path(&mut config, "pipeline").repeatable = true;
        let mut world = World::proven_with(config);
        world.shop().runs.insert(path("pipeline"), Run::Hangs);
        world.deploy("v2");
        world.observe("smoke-test");
        let attempt = world.started()[0].attempt.clone();
        world.run("10s");
        world.deploy("v3");
        world.end_attempt(&attempt, outcome.clone());
        assert_eq!(world.paths_started(), ["pipeline"], "after {outcome:?}");
        assert!(world.said().contains("v3 was deployed while a rollback is running"), "{}", world.said());
    }
}

#[test]
fn r2_the_word_of_an_attempt_that_was_given_up_starts_nothing_and_changes_no_stage() {
    let mut world = rolling();
    let attempt = world.started()[0].attempt.clone();
    world.shop().runs.insert(path("console"), Run::Hangs);
    world.end_attempt(&attempt, failed("exit 1"));
    assert_eq!(world.paths_started(), ["pipeline", "console"]);
    for outcome in [failed("again"), unknown(), Outcome::NeverStarted, Outcome::TimedOut] {
        world.end_attempt(&attempt, outcome);
    }
    world.end_attempt(&attempt, Outcome::Succeeded { receipt: None, output: String::new() });
    assert_eq!(world.paths_started(), ["pipeline", "console"]);
    assert_eq!(world.fired("smoke-test").unwrap().stage, Stage::Rolling);
}

#[test]
fn r2_what_was_cancelled_at_the_remote_asks_a_human_and_not_the_next_path() {
    let mut world = rolling();
    let attempt = world.started()[0].attempt.clone();
    world.end_attempt(&attempt, Outcome::Cancelled { why: "by jane".to_owned() });
    assert_eq!(world.paths_started(), ["pipeline"]);
    assert!(world.said().contains("cancelled at the remote: by jane"), "{}", world.said());
}
