//! When the clock stops: only upon what is seen of the target, the smoke URL and the triggers after the path was done.

use std::sync::Arc;

use rollbackd_core::config::{Metric, Mode, Observed};
use rollbackd_core::deploy::WatchEnd;
use rollbackd_core::event::{Happening, Serving};
use rollbackd_core::firing::{FiringEnd, Outcome, Stage};

use crate::common::outside::{Run, Sample};
use crate::common::plan::{reference, shop, shop_trigger};
use crate::common::world::World;
use crate::common::{duration, path, version};

#[test]
fn r9_the_clock_stops_at_the_last_thing_that_proves_recovery() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("150s");
    world.shop().smoke_answers = false;
    world.run("2m");
    let firing = world.fired("error-rate").unwrap();
    assert!(matches!(firing.stage, Stage::Verifying { .. }));
    world.shop().smoke_answers = true;
    world.run("20s");
    let firing = world.fired("error-rate").unwrap();
    assert_eq!(firing.recovered_at, firing.proof.smoke_at);
    assert_eq!(world.ended("error-rate"), Some(FiringEnd::Recovered));
}

#[test]
fn r9_each_proof_counts_from_when_it_was_first_seen() {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.deploy("v2");
    let firing = world.observe("smoke-test");
    let attempt = world.started()[0].attempt.clone();
    world.end_attempt(&attempt, Outcome::Succeeded { receipt: None, output: String::new() });
    let done_at = world.now;
    let serving = Some(Serving { version: version("v1"), revision: None, since: world.now });
    for seconds in ["5s", "30s"] {
        world.now = done_at + duration(seconds);
        world.tell(Happening::ServingRead { serving: serving.clone(), at: done_at + duration(seconds) });
    }
    // The smoke URL was asked in between; its answer took long.
    world.tell(Happening::SmokeAnswered { at: done_at + duration("20s"), healthy: true });
    assert_eq!(world.firing(&firing).recovered_at, Some(done_at + duration("20s")));
}

/// A world in which both versions breach and a path is done; `for` is 10 s, looked at each 7.5 s in slots of 2.5 s.
fn breaching_after_its_path() -> World {
    let mut config = reference();
    let interval = config.evaluation_interval;
    let rule = shop_trigger(&mut config, "error-rate");
    rule.hold = duration("10s");
    let Observed::Metric(metric) = &mut rule.observed else { panic!("observed by a metric") };
    Arc::make_mut(metric).step = Metric::step(duration("10s"), interval);
    let mut world = World::proven_with(config);
    world.sicken("v2", "error-rate", 0.2);
    world.sicken("v1", "error-rate", 0.2);
    world.deploy("v2");
    world.run("5m");
    let stage = world.fired("error-rate").map(|firing| firing.stage.clone());
    assert!(matches!(stage, Some(Stage::Verifying { .. })), "{stage:?}");
    world.now = world.now.floor(duration("15s"));
    world
}

/// Shows each of these values for a slot of 2.5 s, one after the other, and looks at the end of the last.
fn then_looked(world: &mut World, values: &[f64]) {
    for value in values {
        world.now = world.now + duration("2500ms");
        world.show("error-rate", Sample::Value(*value));
    }
    world.look();
}

#[test]
fn r9_a_recovery_is_as_old_as_the_samples_say_however_late_the_look_comes() {
    let mut world = breaching_after_its_path();
    let begun = world.now;
    then_looked(&mut world, &[0.2, 0.0, 0.0]);
    assert_eq!(world.fired("error-rate").unwrap().recovered_at, Some(begun + duration("5s")));
}

#[test]
fn r9_only_what_is_clear_since_the_last_breach_proves_a_recovery() {
    let mut world = breaching_after_its_path();
    let begun = world.now;
    then_looked(&mut world, &[0.0, 0.2, 0.0]);
    assert_eq!(world.fired("error-rate").unwrap().recovered_at, Some(begun + duration("7500ms")));
    // The same where it was looked at before it broke again, and could not be proven yet.
    let mut world = breaching_after_its_path();
    world.shop().smoke_answers = false;
    world.look();
    let begun = world.now;
    then_looked(&mut world, &[0.2, 0.2, 0.0]);
    then_looked(&mut world, &[0.0, 0.2, 0.0]);
    world.shop().smoke_answers = true;
    assert_eq!(world.fired("error-rate").unwrap().recovered_at, None);
    then_looked(&mut world, &[0.0]);
    let firing = world.fired("error-rate").unwrap();
    let clear_at = firing.proof.clear_at.values().copied().next();
    assert_eq!(clear_at, Some(begun + duration("15s")), "{firing:?}");
}

#[test]
fn r9_what_nobody_could_see_dates_no_recovery() {
    let mut world = breaching_after_its_path();
    let begun = world.now;
    // Ten slots without a look, where there should have been three.
    then_looked(&mut world, &[0.0; 10]);
    let recovered_at = world.fired("error-rate").unwrap().recovered_at;
    assert_eq!(recovered_at, Some(begun + duration("20s")), "as late as a look may be, and not at its first slot");
}

#[test]
fn r9_where_the_clock_is_set_back_meanwhile_nothing_recovers_before_it_was_observed() {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.deploy("v2");
    let firing = world.observe("smoke-test");
    let attempt = world.started()[0].attempt.clone();
    world.now = world.now - duration("10s");
    world.end_attempt(&attempt, Outcome::Succeeded { receipt: None, output: String::new() });
    let at = world.now + duration("1s");
    world.now = at;
    let serving = Some(Serving { version: version("v1"), revision: None, since: at });
    world.tell(Happening::ServingRead { serving, at });
    world.tell(Happening::SmokeAnswered { at, healthy: true });
    let firing = world.firing(&firing);
    assert_eq!(firing.recovered_at, Some(firing.observed_at));
}

#[test]
fn r9_a_path_that_lies_is_no_recovery() {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Lies(duration("10s")));
    world.deploy("v2");
    world.observe("smoke-test");
    world.run("20m");
    assert!(matches!(world.fired("smoke-test").unwrap().stage, Stage::Verifying { .. }));
    world.run("20m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::NotRecovered));
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::RolledBack));
}

#[test]
fn r9_a_trigger_that_still_breaches_is_no_recovery() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.sicken("v1", "error-rate", 0.2);
    world.deploy("v2");
    world.run("10m");
    assert!(matches!(world.fired("error-rate").unwrap().stage, Stage::Verifying { .. }));
}

#[test]
fn r9_what_joined_has_to_clear_as_well() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.shop().runs.insert(path("pipeline"), Run::Succeeds(duration("3m")));
    world.deploy("v2");
    world.run("10s");
    world.observe("smoke-test");
    world.run("190s");
    world.show("error-rate", Sample::Value(0.3));
    world.run("5m");
    assert_eq!(world.fired("smoke-test").unwrap().joined.len(), 1);
    assert_eq!(world.ended("smoke-test"), None);
    world.show("error-rate", Sample::Value(0.0));
    world.run("1m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::Recovered));
}

#[test]
fn r9_what_was_seen_before_the_path_was_done_proves_nothing() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("20s");
    // While a human is asked, the bad version's smoke URL answers.
    let firing = world.observe("login-broken");
    world.run("1m");
    assert!(world.firing(&firing).proof.smoke_at.is_some());
    world.tell(Happening::Approved { firing: firing.clone() });
    world.run("50s");
    world.shop().smoke_answers = false;
    world.run("11s");
    assert_eq!(world.really_serves(), "v1");
    let now = world.now;
    let serving = world.shop().serving(now);
    world.tell(Happening::ServingRead { serving, at: now });
    assert!(world.firing(&firing).is_open(), "nobody has asked the smoke URL since: {:?}", world.firing(&firing).proof);
}

#[test]
fn r9_proof_that_is_gone_again_does_not_count() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("150s");
    world.shop().smoke_answers = false;
    world.run("1m");
    assert!(world.fired("error-rate").unwrap().proof.clear_at.contains_key("error-rate"));
    world.show("error-rate", Sample::Value(0.3));
    world.run("30s");
    world.shop().smoke_answers = true;
    world.run("30s");
    assert_eq!(world.ended("error-rate"), None);
}

#[test]
fn r9_a_smoke_url_that_no_longer_answers_proves_nothing() {
    let mut world = World::proven();
    world.sicken("v1", "error-rate", 0.2);
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("5m");
    assert!(world.fired("error-rate").unwrap().proof.smoke_at.is_some(), "v1 serves, and still breaches");
    world.shop().smoke_answers = false;
    world.run("1m");
    world.show("error-rate", Sample::Value(0.0));
    world.run("1m");
    assert_eq!(world.ended("error-rate"), None, "{:?}", world.fired("error-rate").unwrap().proof);
    world.shop().smoke_answers = true;
    world.run("30s");
    assert_eq!(world.ended("error-rate"), Some(FiringEnd::Recovered));
}

#[test]
fn r8_nothing_is_added_to_a_firing_that_has_ended() {
    let mut world = World::proven();
    world.deploy("v2");
    world.observe("login-broken");
    world.observe("data-corruption");
    world.run("1m");
    let now = world.now;
    world.shop().serve(&version("v1"), now);
    world.run("2m");
    assert!(world.own().open_firings().next().is_none());
    for firing in &world.own().firings {
        let last = &firing.story.last().unwrap().what;
        assert!(["recovered", "left to the human who was paged"].contains(&last.as_str()), "{:?}", firing.story);
    }
}

// R12: the clock of a dry run.

fn dry() -> World {
    let mut config = reference();
    config.mode = Mode::DryRun;
    World::proven_with(config)
}

#[test]
fn r12_a_dry_run_keeps_the_clock_on_what_production_really_did() {
    let mut world = dry();
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("10m");
    let firing = world.fired("error-rate").unwrap();
    assert!(matches!(firing.stage, Stage::Verifying { .. }));
    assert_eq!(firing.would_run[0].run, ["deploy", "v1"]);
    let now = world.now;
    world.shop().serve(&version("v1"), now);
    world.run("1m");
    let firing = world.fired("error-rate").unwrap();
    assert_eq!(world.ended("error-rate"), Some(FiringEnd::Recovered));
    assert!(firing.recovered_at.unwrap() >= now);
    assert!(firing.dry_run);
}

#[test]
fn r12_a_dry_run_that_nobody_helped_has_not_recovered() {
    let mut world = dry();
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("40m");
    assert_eq!(world.ended("error-rate"), Some(FiringEnd::NotRecovered));
    assert_ne!(world.watch_end("v2"), Some(WatchEnd::RolledBack), "nobody rolled it back");
}

#[test]
fn r12_what_still_shows_the_version_before_is_no_recovery_of_a_dry_run() {
    let mut world = dry();
    // The smoke test fails as soon as the deploy is done, and v1 is seen to serve for some minutes more.
    world.announce(crate::common::world::report("v2"));
    world.observe("smoke-test");
    world.run("3m");
    assert_eq!(world.ended("smoke-test"), None);
    let now = world.now;
    world.shop().serve(&version("v1"), now);
    world.run("1m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::Recovered), "somebody has brought v1 back");
}

#[test]
fn r12_a_dry_run_in_which_nothing_can_prove_recovery_does_not_claim_it() {
    let mut config = reference();
    config.mode = Mode::DryRun;
    shop(&mut config).version_query = None;
    shop(&mut config).smoke = None;
    let mut world = World::proven_with(config);
    world.deploy("v2");
    world.observe("smoke-test");
    world.run("1m");
    assert_eq!(world.ended("smoke-test"), None, "nothing was run, and nothing was seen");
}

#[test]
fn r12_a_version_that_recovers_by_itself_in_a_dry_run_was_not_rolled_back() {
    let mut config = reference();
    config.mode = Mode::DryRun;
    shop(&mut config).version_query = None;
    let mut world = World::proven_with(config);
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("3m");
    world.show("error-rate", Sample::Value(0.0));
    world.run("1m");
    assert_eq!(world.own().running.as_ref().unwrap().as_str(), "v2");
    assert_ne!(world.watch_end("v2"), Some(WatchEnd::RolledBack));
}
