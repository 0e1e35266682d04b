//! R10, R11 and R12: what holds every rollback, and the dry run that touches nothing.

use std::sync::Arc;

use rollbackd_core::config::Mode;
use rollbackd_core::event::{Effect, Happening, Reply};
use rollbackd_core::firing::{FiringEnd, Outcome, Stage};
use rollbackd_core::page::PageReason;

use crate::common::outside::Run;
use crate::common::plan::{fleet, reference, shop, shop_trigger};
use crate::common::world::{World, report};
use crate::common::{duration, path, service, trigger};

fn touches_the_outside(world: &World) -> Vec<&Effect> {
    let touches = |effect: &&Effect| match effect {
        Effect::StartAttempt(_)
        | Effect::StopAttempt { .. }
        | Effect::Page { .. }
        | Effect::AcknowledgePage { .. }
        | Effect::Announce { .. } => true,
        Effect::FollowAttempt { .. } | Effect::PublishReceipt { .. } => false,
    };
    world.effects.iter().map(|(_, effect)| effect).filter(touches).collect()
}

fn smoke_test_fails(world: &mut World, name: &str) {
    let reply = world.tell_of(
        &service(name),
        Happening::Reported { trigger: trigger("smoke-test"), note: None, about: Default::default() },
    );
    assert!(matches!(reply, Reply::Firing(_)), "{reply:?}");
}

fn deploy_all(world: &mut World, names: &[&str]) {
    for name in names {
        world.deploy_of(&service(name), report("v2"));
    }
}

#[test]
fn r10_the_third_service_that_fires_within_the_guard_is_held_and_pages() {
    let names = ["a", "b", "c"];
    let mut world = World::proven_with(fleet(&names));
    deploy_all(&mut world, &names);
    for name in names {
        world.run("1m");
        smoke_test_fails(&mut world, name);
    }
    let services: Vec<String> = world.started().iter().map(|order| order.service.to_string()).collect();
    assert_eq!(services, ["a", "b"]);
    assert_eq!(world.paged_for(), [PageReason::Held]);
    assert!(world.said().contains("3 services fired within 10m"), "{}", world.said());
    assert!(world.said().contains("a, b, c"), "{}", world.said());
}

#[test]
fn r10_services_that_fire_further_apart_are_not_one_outage() {
    let names = ["a", "b", "c"];
    let mut world = World::proven_with(fleet(&names));
    deploy_all(&mut world, &names);
    for name in names {
        smoke_test_fails(&mut world, name);
        world.run("6m");
    }
    assert_eq!(world.started().len(), 3);
}

#[test]
fn r10_one_service_that_fires_often_is_not_several() {
    let mut world = World::proven_with(fleet(&["a", "b"]));
    deploy_all(&mut world, &["a", "b"]);
    for _ in 0..3 {
        world.tell_of(
            &service("a"),
            Happening::Reported { trigger: trigger("login-broken"), note: None, about: Default::default() },
        );
        world.tell_of(
            &service("a"),
            Happening::Reported { trigger: trigger("data-corruption"), note: None, about: Default::default() },
        );
    }
    smoke_test_fails(&mut world, "b");
    assert_eq!(world.started().len(), 1);
}

#[test]
fn r10_what_a_human_asked_for_is_no_outage() {
    let names = ["a", "b", "c"];
    let mut world = World::proven_with(fleet(&names));
    deploy_all(&mut world, &names);
    for name in ["a", "b"] {
        world.tell_of(&service(name), Happening::RollbackAsked { path: None, to: None });
    }
    smoke_test_fails(&mut world, "c");
    assert_eq!(world.started().len(), 3);
}

#[test]
fn r10_a_veto_looks_again_when_it_is_over() {
    let names = ["a", "b", "c"];
    let mut config = fleet(&names);
    let mut triggers = Arc::make_mut(config.services.get_mut("a").unwrap()).triggers.iter_mut().map(Arc::make_mut);
    triggers.find(|trigger| trigger.name.as_str() == "smoke-test").unwrap().veto = duration("30s");
    drop(triggers);
    let mut world = World::proven_with(config);
    deploy_all(&mut world, &names);
    for name in names {
        smoke_test_fails(&mut world, name);
    }
    world.run("1m");
    let services: Vec<String> = world.started().iter().map(|order| order.service.to_string()).collect();
    assert_eq!(services, ["b"], "a's veto ended after b and c had fired");
}

fn freeze(world: &mut World, time: &str) {
    world.tell(Happening::Frozen { duration: duration(time), why: "stocktaking".to_owned() });
}

#[test]
fn r11_a_freeze_holds_and_the_page_says_why() {
    let mut world = World::proven();
    freeze(&mut world, "1h");
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("5m");
    assert!(world.started().is_empty());
    assert_eq!(world.paged_for(), [PageReason::Held,]);
    assert!(world.said().contains("frozen until") && world.said().contains("stocktaking"), "{}", world.said());
}

#[test]
fn r11_a_freeze_that_is_over_or_thawed_holds_nothing() {
    for thawed in [false, true] {
        let mut world = World::proven();
        freeze(&mut world, "1h");
        world.deploy("v2");
        if thawed {
            world.tell(Happening::Thawed);
        } else {
            freeze(&mut world, "1m");
            world.run("61s");
        }
        world.observe("smoke-test");
        assert_eq!(world.paths_started(), ["pipeline"]);
    }
}

#[test]
fn r11_a_freeze_during_a_veto_holds_what_would_have_followed() {
    let mut config = reference();
    shop_trigger(&mut config, "smoke-test").veto = duration("30s");
    let mut world = World::proven_with(config);
    world.deploy("v2");
    world.observe("smoke-test");
    freeze(&mut world, "1h");
    world.run("1m");
    assert!(world.started().is_empty());
    assert_eq!(world.paged_for(), [PageReason::Veto, PageReason::Held]);
}

#[test]
fn r11_a_freeze_during_a_rollback_stops_nothing_and_starts_no_further_path() {
    for outcome in [Outcome::Failed { why: "exit 1".to_owned(), output: String::new() }, Outcome::NeverStarted] {
        let mut world = World::proven();
        world.shop().runs.insert(path("pipeline"), Run::Hangs);
        world.deploy("v2");
        world.observe("smoke-test");
        freeze(&mut world, "1h");
        assert!(touches_the_outside(&world).iter().all(|effect| !matches!(effect, Effect::StopAttempt { .. })));
        let attempt = world.started()[0].attempt.clone();
        world.end_attempt(&attempt, outcome);
        assert_eq!(world.paths_started(), ["pipeline"]);
        assert!(world.said().contains("frozen until"), "{}", world.said());
    }
}

#[test]
fn r11_a_freeze_does_not_bind_a_human() {
    let mut world = World::proven();
    freeze(&mut world, "1h");
    world.deploy("v2");
    let firing = world.observe("smoke-test");
    world.tell(Happening::Approved { firing });
    assert_eq!(world.paths_started(), ["pipeline"]);
}

#[test]
fn r11_a_veto_that_is_not_used_ends_in_the_rollback() {
    let mut config = reference();
    shop_trigger(&mut config, "smoke-test").veto = duration("30s");
    let mut world = World::proven_with(config);
    world.deploy("v2");
    world.observe("smoke-test");
    world.run("29s");
    assert!(world.started().is_empty());
    world.run("1s");
    assert_eq!(world.paths_started(), ["pipeline"]);
}

#[test]
fn r11_a_veto_that_is_used_ends_as_dismissed() {
    let mut config = reference();
    shop_trigger(&mut config, "smoke-test").veto = duration("30s");
    let mut world = World::proven_with(config);
    world.deploy("v2");
    let firing = world.observe("smoke-test");
    world.run("10s");
    world.tell(Happening::Dismissed { firing, why: "flaky".to_owned() });
    world.run("5m");
    assert!(world.started().is_empty());
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::Dismissed));
}

fn dry() -> World {
    let mut config = reference();
    config.mode = Mode::DryRun;
    World::proven_with(config)
}

#[test]
fn r12_a_dry_run_starts_nothing_and_pages_nobody() {
    let mut world = dry();
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.observe("login-broken");
    world.observe("data-corruption");
    world.run("10m");
    world.shop().queries_fail = true;
    world.run("40m");
    world.deploy("v3");
    world.tell(Happening::RollbackAsked { path: None, to: None });
    world.restart();
    world.run("40m");
    assert_eq!(touches_the_outside(&world), Vec::<&Effect>::new());
    assert!(world.fired("error-rate").is_some());
    assert!(world.own().open_firings().next().is_none(), "each firing ended");
}

#[test]
fn r12_a_dry_run_records_exactly_what_it_would_have_run() {
    let mut live = World::proven();
    let mut dry = dry();
    for world in [&mut live, &mut dry] {
        world.sicken("v2", "error-rate", 0.2);
        world.deploy("v2");
        world.run("5m");
    }
    let (ran, would) = (&live.fired("error-rate").unwrap().attempts[0], &dry.fired("error-rate").unwrap().would_run[0]);
    assert_eq!(
        (&ran.path, &ran.run, &ran.shown, ran.started_at),
        (&would.path, &would.run, &would.shown, would.started_at)
    );
}

#[test]
fn r12_a_dry_run_is_held_by_what_would_have_held_it() {
    let mut world = dry();
    freeze(&mut world, "1h");
    world.deploy("v2");
    world.observe("smoke-test");
    let firing = world.fired("smoke-test").unwrap();
    assert!(firing.would_run.is_empty());
    assert!(matches!(firing.stage, Stage::Paged { .. }));
}

#[test]
fn r12_a_dry_run_that_takes_over_a_live_rollback_starts_no_further_path_and_pages_nobody() {
    for outcome in
        [Outcome::Failed { why: "exit 1".to_owned(), output: String::new() }, Outcome::NeverStarted, Outcome::TimedOut]
    {
        let mut world = World::proven();
        shop(&mut world.config).version_query = None;
        world.shop().runs.insert(path("pipeline"), Run::Hangs);
        world.deploy("v2");
        world.observe("login-broken");
        world.observe("smoke-test");
        let attempt = world.started()[0].attempt.clone();
        world.config.mode = Mode::DryRun;
        world.restart();
        world.effects.clear();
        world.end_attempt(&attempt, outcome);
        world.run("2h");
        assert_eq!(touches_the_outside(&world), Vec::<&Effect>::new());
        assert!(world.own().open_firings().next().is_none(), "each firing ended");
    }
}

#[test]
fn r12_a_dry_run_does_not_send_what_a_live_run_still_owes() {
    let mut world = World::proven();
    world.shop().pagers_take = false;
    world.deploy("v2");
    world.observe("login-broken");
    assert_eq!(world.paged_for(), [PageReason::Manual]);
    world.effects.clear();
    world.config.mode = Mode::DryRun;
    world.restart();
    assert_eq!(touches_the_outside(&world), Vec::<&Effect>::new());
    world.config.mode = Mode::Live;
    world.restart();
    assert_eq!(touches_the_outside(&world).len(), 1, "the next live run owes it still");
}
