//! It does not matter how often one looks, nor whether the daemon was away: the data say when a trigger fired.

use proptest::prelude::*;
use rollbackd_core::config::{Action, Config};
use rollbackd_core::time::Timestamp;

use crate::common::outside::Sample;
use crate::common::plan::{SHOP, reference, shop, shop_trigger};
use crate::common::world::{World, report};
use crate::common::{duration, service, trigger};

/// How many slots of 15 seconds a case has.
const SLOTS: usize = 40;

/// `error-rate` alone, which only pages, so that nothing but the data decides about its firing.
fn config() -> Config {
    let mut config = reference();
    shop(&mut config).triggers.retain(|trigger| trigger.name.as_str() == "error-rate");
    let rule = shop_trigger(&mut config, "error-rate");
    rule.action = Action::Page;
    rule.hold = duration("1m");
    config
}

/// What the data are at each slot, the first one the slot before the deploy.
fn data() -> impl Strategy<Value = Vec<Sample>> {
    let sample = prop_oneof![
        12 => Just(Sample::Value(0.2)),
        3 => Just(Sample::Value(0.01)),
        1 => Just(Sample::Low),
        2 => Just(Sample::Missing),
    ];
    proptest::collection::vec(sample, SLOTS)
}

/// A world that was just deployed to, and the instants of its slots.
fn deployed(data: &[Sample]) -> (World, Vec<Timestamp>) {
    let mut world = World::new(config());
    world.run("7s");
    let first = world.now.floor(duration("15s"));
    let slots: Vec<Timestamp> =
        (0..u32::try_from(data.len()).unwrap_or(0)).map(|number| first + duration("15s") * number).collect();
    let _ = world.deploy_of(&service(SHOP), report("v1"));
    for (at, sample) in slots.iter().zip(data) {
        world.shop().show(&trigger("error-rate"), *at, *sample);
    }
    (world, slots)
}

fn observed_at(world: &World) -> Option<Timestamp> {
    world.own().firings.first().map(|firing| firing.observed_at)
}

fn look_once_at_the_end(data: &[Sample]) -> Option<Timestamp> {
    let (mut world, slots) = deployed(data);
    world.now = slots[slots.len() - 1];
    world.look();
    observed_at(&world)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn looking_often_and_looking_once_say_the_same(
        data in data(),
        looks in proptest::collection::vec(any::<bool>(), SLOTS),
        restarts in proptest::collection::vec(prop::bool::weighted(0.1), SLOTS),
        failures in proptest::collection::vec(prop::bool::weighted(0.2), SLOTS),
    ) {
        let (mut world, slots) = deployed(&data);
        for (number, at) in slots.iter().enumerate().skip(1) {
            world.now = *at;
            if restarts[number] {
                world.restart();
            }
            world.shop().queries_fail = failures[number] && number + 1 < SLOTS;
            if looks[number] || number + 1 == SLOTS {
                world.look();
            }
        }
        prop_assert_eq!(observed_at(&world), look_once_at_the_end(&data));
    }

    #[test]
    fn data_that_come_late_never_make_it_fire_earlier_and_are_not_forgotten(
        data in data(),
        late in proptest::collection::vec(prop_oneof![3 => Just(0_usize), 1 => 1_usize..8], SLOTS),
    ) {
        // What comes late is missing until then; the slot before the deploy is there in time.
        let (mut world, slots) = deployed(&data);
        for (number, at) in slots.iter().enumerate().skip(1) {
            if late[number] > 0 {
                world.shop().show(&trigger("error-rate"), *at, Sample::Missing);
            }
        }
        for (number, at) in slots.iter().enumerate().skip(1) {
            world.now = *at;
            for (other, then) in slots.iter().enumerate().skip(1) {
                if late[other] > 0 && (other + late[other] == number || number + 1 == SLOTS) {
                    world.shop().show(&trigger("error-rate"), *then, data[other]);
                }
            }
            world.look();
        }
        match (observed_at(&world), look_once_at_the_end(&data)) {
            (Some(seen), Some(true_one)) => prop_assert!(seen >= true_one),
            (None, Some(true_one)) => prop_assert!(false, "{} was forgotten", true_one),
            (Some(seen), None) => prop_assert!(false, "{} is by no data", seen),
            (None, None) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn four_percent_never_fires_and_six_percent_always(
        deployed_after in 0_u64..120,
        fails in proptest::collection::vec(prop::bool::weighted(0.3), 20),
    ) {
        for (ratio, fires) in [(0.04, false), (0.06, true)] {
            let mut config = config();
            shop_trigger(&mut config, "error-rate").hold = duration("2m");
            let mut world = World::new(config);
            world.run_to(world.now + std::time::Duration::from_secs(deployed_after));
            let deployed_at = world.now;
            let _ = world.deploy_of(&service(SHOP), report("v1"));
            let after = deployed_at + std::time::Duration::from_millis(1);
            world.shop().show(&trigger("error-rate"), after, Sample::Value(ratio));
            for fail in &fails {
                world.shop().queries_fail = *fail;
                world.run("15s");
            }
            world.shop().queries_fail = false;
            world.run("15s");
            let first = deployed_at.floor(duration("15s")) + duration("15s");
            let expected = fires.then(|| first + duration("2m"));
            prop_assert_eq!(observed_at(&world), expected, "{}", ratio);
        }
    }
}
