//! What is got ready while a trigger's `for` is running: what would be started if it fired now, and nothing else.

use rollbackd_core::config::{Action, Mode};
use rollbackd_core::deploy::Migration;
use rollbackd_core::event::{DeployReport, Happening, Order};
use rollbackd_core::preflight;

use crate::common::outside::{Run, Sample};
use crate::common::plan::{SHOP, fleet, reference, shop_trigger};
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
fn what_is_got_ready_is_what_the_firing_then_starts() {
    let mut world = breaching(World::proven());
    let ready = ready(&world).expect("the order of a path");
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

    let mut world = with(|_| {});
    world.announce(DeployReport { migration: Migration::Breaking, ..report("v2") });
    assert_eq!(ready(&world), None, "a migration");

    assert_eq!(ready(&breaching(World::new(reference()))), None, "no target");
}

#[test]
fn nothing_is_got_ready_for_a_trigger_that_does_not_breach_or_is_not_armed() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("60s");
    assert_eq!(ready(&world), None, "clear");

    let mut world = World::proven();
    world.show("error-rate", Sample::Value(0.2));
    world.run("3m");
    world.deploy("v2");
    world.run("60s");
    assert_eq!(ready(&world), None, "it was so before the deploy");

    let mut world = breaching(World::proven());
    world.tell(Happening::Frozen { duration: duration("1h"), why: "release day".to_owned() });
    world.run("2m");
    let firing = world.fired("error-rate").expect("held, and paged").id.clone();
    world.tell(Happening::Dismissed { firing, why: "known".to_owned() });
    world.tell(Happening::Thawed);
    world.run("30s");
    assert_eq!(ready(&world), None, "it has fired in this watch");

    let mut world = breaching(World::proven());
    world.deploy("v3");
    assert_eq!(ready(&world), None, "another deploy, of which nothing is known yet");
}

#[test]
fn what_is_got_ready_is_held_where_its_firing_would_be_and_not_for_what_breaches_later() {
    let names = ["a", "b", "c"];
    let ready_of =
        |world: &World| preflight::order(&world.config, &world.state, &service("a"), &trigger("error-rate"), world.now);
    let mut world = World::proven_with(fleet(&names));
    for name in names {
        world.deploy_of(&service(name), report("v2"));
    }
    let now = world.now;
    let breaches = |world: &mut World, name: &str, now| {
        world.outside.get_mut(&service(name)).unwrap().show(&trigger("error-rate"), now, Sample::Value(0.2));
    };
    breaches(&mut world, "a", now);
    world.run("90s");
    assert!(ready_of(&world).is_some());
    let now = world.now;
    breaches(&mut world, "b", now);
    breaches(&mut world, "c", now);
    world.run("25s");
    assert!(ready_of(&world).is_some(), "what began to breach much later is another matter");
}

#[test]
fn nothing_is_got_ready_beside_a_rollback_that_runs() {
    let mut world = breaching(World::proven());
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.observe("smoke-test");
    assert_eq!(world.paths_started(), ["pipeline"]);
    assert_eq!(ready(&world), None);
}
