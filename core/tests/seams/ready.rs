//! What is got ready while a trigger's `for` is running: what would be started if it fired now, and nothing else.

use rollbackd_core::config::{Action, Mode};
use rollbackd_core::deploy::Migration;
use rollbackd_core::event::{Happening, Order};
use rollbackd_core::preflight;

use crate::common::outside::Run;
use crate::common::plan::{SHOP, reference, shop_trigger};
use crate::common::world::{World, report};
use crate::common::{duration, path, service, trigger};

fn ready(world: &World) -> Option<Order> {
    preflight::order(&world.config, &world.state, &service(SHOP), &trigger("error-rate"), world.now)
}

/// v2 serves for a minute and breaches: half of the trigger's `for` is over.
fn breaching(mut world: World) -> World {
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("60s");
    assert!(world.started().is_empty());
    world
}

#[test]
fn what_is_got_ready_is_what_the_firing_then_starts_and_changes_nothing() {
    let mut world = breaching(World::proven());
    let before = world.state.clone();
    let ready = ready(&world).expect("the order of a path");
    assert_eq!(world.state, before);
    world.run("2m");
    let started = world.started();
    let [order] = started.as_slice() else { panic!("expected one attempt, not {started:?}") };
    assert_eq!((&ready.service, &ready.path, &ready.run), (&order.service, &order.path, &order.run));
    assert_eq!(ready.ends_at.since(ready.started_at), order.ends_at.since(order.started_at));
}

#[test]
fn nothing_is_got_ready_that_would_not_be_started() {
    let with = |change: fn(&mut rollbackd_core::config::Config)| {
        let mut config = reference();
        change(&mut config);
        breaching(World::proven_with(config))
    };
    assert!(ready(&with(|_| {})).is_some());
    assert_eq!(ready(&with(|config| shop_trigger(config, "error-rate").action = Action::Page)), None);
    assert_eq!(ready(&with(|config| shop_trigger(config, "error-rate").action = Action::Shadow)), None);
    assert_eq!(ready(&with(|config| shop_trigger(config, "error-rate").veto = duration("30s"))), None);

    let mut world = with(|_| {});
    world.config.mode = Mode::DryRun;
    assert_eq!(ready(&world), None, "a dry run");

    let mut world = with(|_| {});
    world.tell(Happening::Frozen { duration: duration("1h"), why: "release day".to_owned() });
    assert_eq!(ready(&world), None, "frozen");
    world.tell(Happening::Thawed);
    assert!(ready(&world).is_some(), "thawed");

    let mut world = World::proven();
    world.announce(rollbackd_core::event::DeployReport { migration: Migration::Breaking, ..report("v2") });
    assert_eq!(ready(&world), None, "a migration");

    let mut world = World::new(reference());
    world.deploy("v2");
    assert_eq!(ready(&world), None, "no target");
}

#[test]
fn nothing_is_got_ready_beside_a_rollback_that_runs() {
    let mut world = breaching(World::proven());
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.observe("smoke-test");
    assert_eq!(world.paths_started(), ["pipeline"]);
    assert_eq!(ready(&world), None);
}
