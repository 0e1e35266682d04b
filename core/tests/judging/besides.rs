//! What is seen at instants besides the slots, where it was looked closer: it takes its place in the row of looks.

use rollbackd_core::event::{Event, Happening};
use rollbackd_core::name::DeployId;
use rollbackd_core::reading::Answers;
use rollbackd_core::time::Timestamp;

use crate::common::outside::Sample;
use crate::common::plan::SHOP;
use crate::common::world::World;
use crate::common::{instant, service, trigger};

const BAD: Sample = Sample::Value(0.2);
const GOOD: Sample = Sample::Value(0.01);

/// v2 is deployed at 10:40:07 and fails from 10:41:20 on, five seconds after a slot; it is 10:43:20, two minutes later.
fn deployed() -> (World, DeployId) {
    let mut world = World::proven();
    let deploy = world.deploy("v2");
    world.shop().show(&trigger("error-rate"), instant("2026-11-23T10:41:20Z"), BAD);
    world.now = instant("2026-11-23T10:43:20Z");
    (world, deploy)
}

/// What was asked for at the instants from the one to the other.
fn answers(world: &World, from: &str, to: &str) -> Answers {
    let name = trigger("error-rate");
    let metric = world.metric(&service(SHOP), &name);
    world.outside[SHOP].answers(&name, &metric, instant(from), instant(to))
}

/// The look at all slots, and at these instants besides: when it began to breach and when it fired.
fn looked(world: &mut World, deploy: &DeployId, besides: Vec<Answers>) -> Option<(Timestamp, Timestamp)> {
    let answers = answers(world, "2026-11-23T10:40:00Z", "2026-11-23T10:43:15Z");
    let (deploy, trigger) = (deploy.clone(), trigger("error-rate"));
    world.tell(Happening::Looked {
        deploy,
        trigger,
        answers,
        answered_until: None,
        so_far: None,
        besides,
        more_until: None,
    });
    world.fired("error-rate").map(|firing| (firing.breach_at, firing.observed_at))
}

fn at(world: &World, instant: &str) -> Answers {
    answers(world, instant, instant)
}

#[test]
fn a_breach_that_was_seen_between_two_slots_counts_from_there_and_fires_between_two_slots() {
    let (mut world, deploy) = deployed();
    assert_eq!(looked(&mut world, &deploy, Vec::new()), None, "by the slots alone it has not held for two minutes");
    let began = at(&world, "2026-11-23T10:41:20Z");
    assert_eq!(looked(&mut world, &deploy, vec![began.clone()]), None, "nor is it known whether it still is one");
    let still = at(&world, "2026-11-23T10:43:20Z");
    let fired = looked(&mut world, &deploy, vec![still, began]);
    assert_eq!(fired, Some((instant("2026-11-23T10:41:20Z"), instant("2026-11-23T10:43:20Z"))));
}

#[test]
fn what_is_clear_between_two_slots_breaks_a_breach_and_what_is_missing_there_does_not() {
    for (between, fires) in [(BAD, true), (Sample::Missing, true), (GOOD, false)] {
        let (mut world, deploy) = deployed();
        let [began, still] = ["2026-11-23T10:41:20Z", "2026-11-23T10:43:20Z"].map(|instant| at(&world, instant));
        let name = trigger("error-rate");
        world.shop().show(&name, instant("2026-11-23T10:42:20Z"), between);
        world.shop().show(&name, instant("2026-11-23T10:42:25Z"), BAD);
        let besides = vec![began, at(&world, "2026-11-23T10:42:20Z"), still];
        assert_eq!(looked(&mut world, &deploy, besides).is_some(), fires, "{between:?}");
    }
}

/// A clock that is set back leaves looks at what has become the future; found by the simulation (seed 20893).
#[test]
fn nothing_behind_slots_that_nobody_asked_for_is_judged() {
    let (world, deploy) = deployed();
    let verdict = |to: &str, besides: Vec<Answers>| {
        let answers = answers(&world, "2026-11-23T10:40:00Z", to);
        let (deploy, trigger) = (deploy.clone(), trigger("error-rate"));
        let what = Happening::Looked {
            deploy,
            trigger,
            answers,
            answered_until: None,
            so_far: None,
            besides,
            more_until: None,
        };
        let event = Event { service: service(SHOP), what };
        rollbackd_core::decide(&world.config, &world.state, &event, world.now).verdict.expect("a verdict")
    };
    let ends = ["2026-11-23T10:41:20Z", "2026-11-23T10:43:20Z"].map(|instant| at(&world, instant)).to_vec();
    let holed = verdict("2026-11-23T10:42:00Z", ends.clone());
    assert_eq!(holed.fired, None, "from 10:42:15 to 10:43:15 it may have been clear");
    assert_eq!(holed, verdict("2026-11-23T10:42:00Z", ends[..1].to_vec()));
    assert!(verdict("2026-11-23T10:43:15Z", ends.clone()).fired.is_some(), "all of it is there");
    // Nor is what was missed taken for settled.
    let later = answers(&world, "2026-11-23T10:41:30Z", "2026-11-23T10:43:15Z");
    assert_eq!(verdict("2026-11-23T10:41:00Z", vec![later.clone()]), verdict("2026-11-23T10:41:00Z", Vec::new()));
    assert_ne!(verdict("2026-11-23T10:41:15Z", vec![later]), verdict("2026-11-23T10:41:15Z", Vec::new()));
}

#[test]
fn at_a_slot_the_slots_own_answer_counts() {
    let (mut world, deploy) = deployed();
    let clear = {
        let mut other = world.clone();
        other.shop().show(&trigger("error-rate"), instant("2026-11-23T10:42:00Z"), GOOD);
        at(&other, "2026-11-23T10:42:00Z")
    };
    let [began, still] = ["2026-11-23T10:41:20Z", "2026-11-23T10:43:20Z"].map(|instant| at(&world, instant));
    assert!(looked(&mut world, &deploy, vec![began, clear, still]).is_some());
}
