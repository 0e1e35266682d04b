//! R10, of services whose breach began together: which of them happens to fire first must not matter.

use rollbackd_core::firing::Stage;
use rollbackd_core::page::PageReason;

use crate::common::outside::Sample;
use crate::common::plan::fleet;
use crate::common::world::{World, report};
use crate::common::{service, trigger, version};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three services with a v2 that was deployed a minute ago.
fn deployed() -> World {
    let mut world = World::proven_with(fleet(&NAMES));
    for name in NAMES {
        world.deploy_of(&service(name), report("v2"));
    }
    world.run("1m");
    world
}

fn breaches(world: &mut World, name: &str) {
    let now = world.now;
    let outside = world.outside.get_mut(name).expect("a service of the world");
    outside.show(&trigger("error-rate"), now, Sample::Value(0.2));
}

#[test]
fn r10_the_first_of_an_outage_to_fire_is_held_as_well() {
    let mut world = deployed();
    NAMES.iter().for_each(|name| breaches(&mut world, name));
    world.run("3m");
    assert!(world.started().is_empty(), "{:?}", world.started());
    assert_eq!(world.paged_for(), [PageReason::Held; 3]);
}

#[test]
fn r10_of_an_outage_a_few_services_are_named_however_many_fire() {
    let names: Vec<String> = (0..60).map(|number| format!("service-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::proven_with(fleet(&names));
    for name in &names {
        world.deploy_of(&service(name), report("v2"));
    }
    world.run("1m");
    names.iter().for_each(|name| breaches(&mut world, name));
    world.run("3m");
    let stages = names.iter().flat_map(|name| &world.state.services[*name].firings).map(|firing| &firing.stage);
    let whys: Vec<&String> =
        stages.filter_map(|stage| if let Stage::Paged { why, .. } = stage { Some(why) } else { None }).collect();
    assert_eq!(whys.len(), 60);
    for (name, why) in names.iter().zip(whys) {
        assert!(why.starts_with("60 services fired within 10m") && why.contains("and 40 more"), "{why}");
        assert!(why.contains(&format!("{name} and")) && why.len() < 500, "{why}");
    }
}

#[test]
fn r10_a_breach_that_began_later_is_another_matter() {
    let mut world = deployed();
    breaches(&mut world, "a");
    world.run("1m");
    breaches(&mut world, "b");
    breaches(&mut world, "c");
    world.run("75s");
    assert_eq!(world.started().len(), 1, "a has fired: {:?}", world.started());
    assert_eq!(world.started()[0].service, service("a"));
}

#[test]
fn r10_a_trigger_that_was_breaching_before_its_deploy_makes_no_outage() {
    let mut world = World::proven_with(fleet(&NAMES));
    for name in ["b", "c"] {
        let outside = world.outside.get_mut(name).expect("a service of the world");
        outside.sick.insert((version("v2"), trigger("error-rate")), Sample::Value(0.2));
        breaches(&mut world, name);
    }
    world.run("1m");
    for name in NAMES {
        world.deploy_of(&service(name), report("v2"));
    }
    world.run("1m");
    breaches(&mut world, "a");
    world.run("3m");
    assert_eq!(world.started().len(), 1, "{:?}", world.started());
}
