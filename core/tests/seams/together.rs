//! Events that are decided together, before any of it is durable, come to the same as one after the other.

use proptest::prelude::*;
use rollbackd_core::apply::apply;
use rollbackd_core::event::{Event, Happening, Reply};
use rollbackd_core::record::{FiringRecord, Record};
use rollbackd_core::state::State;
use rollbackd_core::{Ahead, Decision, decide, decide_after};

use crate::common::plan::fleet;
use crate::common::world::{World, report};
use crate::common::{duration, service, trigger};

const NAMES: [&str; 4] = ["api", "pay", "shop", "web"];

/// What may happen to one of the services; deploys and reports make it fire, roll back and page.
fn event() -> impl Strategy<Value = Event> {
    let what = prop_oneof![
        3 => Just(Happening::Deployed(report("v2"))),
        2 => Just(Happening::Deployed(report("v3"))),
        4 => Just(Happening::Reported { trigger: trigger("smoke-test"), note: None, about: Default::default() }),
        2 => Just(Happening::Reported { trigger: trigger("login-broken"), note: None, about: Default::default() }),
        1 => Just(Happening::RollbackAsked { path: None, to: None }),
        1 => Just(Happening::Frozen { duration: duration("1h"), why: "a test".to_owned() }),
        1 => Just(Happening::Thawed),
        1 => Just(Happening::Woke),
    ];
    (0..NAMES.len(), what).prop_map(|(name, what)| Event { service: service(NAMES[name]), what })
}

fn applied(state: &mut State, world: &World, event: &Event, records: &[Record]) {
    records
        .iter()
        .for_each(|record| apply(state, &event.service, world.now, record).expect("a record that was just decided"));
}

proptest! {
    #[test]
    fn what_is_decided_together_is_what_is_decided_one_by_one(events in proptest::collection::vec(event(), 1..20)) {
        let world = World::proven_with(fleet(&NAMES));
        let mut one_by_one = world.state.clone();
        let mut expected: Vec<Decision> = Vec::new();
        for event in &events {
            let decision = decide(&world.config, &one_by_one, event, world.now);
            applied(&mut one_by_one, &world, event, &decision.records);
            expected.push(decision);
        }
        let mut ahead = Ahead::of(&world.state);
        let mut found = Vec::new();
        for event in &events {
            let decision = decide_after(&world.config, &world.state, &ahead, event, world.now);
            ahead.take(&world.state, &event.service, world.now, &decision.records).unwrap();
            found.push(decision);
        }
        prop_assert_eq!(&found, &expected);
        let mut durable = world.state.clone();
        for (event, decision) in events.iter().zip(&found) {
            applied(&mut durable, &world, event, &decision.records);
        }
        prop_assert_eq!(durable, one_by_one);
    }
}

#[test]
fn the_sequence_goes_on_from_what_is_ahead_and_from_the_state_where_nothing_is() {
    let world = World::proven_with(fleet(&NAMES));
    let (api, pay) = (service("api"), service("pay"));
    let mut ahead = Ahead::of(&world.state);
    let [durable, other] = [&api, &pay].map(|name| world.state.services[name].sequence);
    assert_eq!(ahead.sequence(&world.state, &api), durable);
    let frozen = Happening::Frozen { duration: duration("1h"), why: "a test".to_owned() };
    for decided in 1..4 {
        let event = Event { service: api.clone(), what: frozen.clone() };
        let decision = decide_after(&world.config, &world.state, &ahead, &event, world.now);
        assert_eq!(decision.records.len(), 1);
        ahead.take(&world.state, &api, world.now, &decision.records).unwrap();
        assert_eq!(ahead.sequence(&world.state, &api), durable + decided);
    }
    assert_eq!(ahead.sequence(&world.state, &pay), other, "nothing was decided about it");
    assert_eq!(Ahead::default().sequence(&State::default(), &api), 0, "nothing has ever happened to it");
}

#[test]
fn receipts_that_are_promised_together_are_numbered_on_from_the_last_one_that_is_durable() {
    let mut world = World::proven_with(fleet(&NAMES));
    let firings = NAMES.map(|name| {
        let what = Happening::Reported { trigger: trigger("login-broken"), note: None, about: Default::default() };
        let reply = world.tell_of(&service(name), what);
        let Reply::Firing(firing) = reply else { panic!("expected a firing, not {reply:?}") };
        Event { service: service(name), what: Happening::Dismissed { firing, why: "it works".to_owned() } }
    });
    let [first, others @ ..] = firings;
    world.tell_of(&first.service, first.what);
    assert_eq!(world.receipts(), [1]);
    let mut ahead = Ahead::of(&world.state);
    let promised = others.map(|event| {
        let decision = decide_after(&world.config, &world.state, &ahead, &event, world.now);
        ahead.take(&world.state, &event.service, world.now, &decision.records).unwrap();
        decision.records.iter().find_map(|record| {
            let Record::Firing { what: FiringRecord::Ended { receipt, .. }, .. } = record else { return None };
            Some(*receipt)
        })
    });
    assert_eq!(promised, [Some(2), Some(3), Some(4)]);
}

#[test]
fn services_that_fire_together_are_one_outage_before_any_of_it_is_durable() {
    let mut world = World::proven_with(fleet(&NAMES));
    for name in NAMES {
        let _ = world.deploy_of(&service(name), report("v2"));
    }
    let mut ahead = Ahead::of(&world.state);
    let started = NAMES.map(|name| {
        let what = Happening::Reported { trigger: trigger("smoke-test"), note: None, about: Default::default() };
        let event = Event { service: service(name), what };
        let decision = decide_after(&world.config, &world.state, &ahead, &event, world.now);
        ahead.take(&world.state, &event.service, world.now, &decision.records).unwrap();
        decision.effects.iter().any(|effect| matches!(effect, rollbackd_core::event::Effect::StartAttempt(_)))
    });
    assert_eq!(started, [true, true, false, false], "the third makes it an outage");
}
