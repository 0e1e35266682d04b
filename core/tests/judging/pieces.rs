//! A long window that is asked for piece by piece says the same as all of it at once, and nothing before its last piece.

use proptest::prelude::*;
use rollbackd_core::event::Happening;
use rollbackd_core::reading::Look;
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::{Arming, SETTLES_AFTER_INTERVALS, SoFar, Verdict, judge, judge_on, judge_piece};

use crate::common::outside::Sample;
use crate::common::plan::SHOP;
use crate::common::world::World;
use crate::common::{instant, service, trigger};
use crate::rows::{BEFORE, STEP, rule};
use crate::so_far::{looks, points};

proptest! {
    #[test]
    fn pieces_say_what_the_whole_window_says(
        looks in looks(60),
        hold in 0_u32..6,
        length in 1_usize..20,
        armed in prop_oneof![
            Just(Arming::Unknown), Just(Arming::Armed), Just(Arming::Disarmed), Just(Arming::Spent),
        ],
        answered in proptest::option::of(0_u32..60),
    ) {
        let (points, rule) = (points(&looks), rule(hold));
        let until = points.last().expect("a point").at;
        let answered = answered.map(|slots| BEFORE + STEP * slots).filter(|at| *at <= until);
        let whole = judge(&rule, armed, &points, answered);
        let (mut so_far, mut answered_until): (Option<SoFar>, Option<Timestamp>) = (None, answered);
        let by_pieces = loop {
            let rest = so_far.map_or(&points[..], |known| &points[points.partition_point(|point| point.at <= known.until)..]);
            let piece = &rest[..length.min(rest.len())];
            let ends_soon = piece.last().is_none_or(|last| last.at + STEP * SETTLES_AFTER_INTERVALS >= until);
            let verdict = judge_piece(&rule, armed, so_far.as_ref(), piece, answered_until, Some(until));
            // A piece that leads no further is none to go on from.
            if ends_soon || verdict.so_far == so_far {
                break judge_on(&rule, armed, so_far.as_ref(), rest, answered_until);
            }
            (so_far, answered_until) = (verdict.so_far, verdict.answered_until);
        };
        let Verdict { so_far: left, .. } = by_pieces;
        // What was said last is of the points of one look; so it is between two looks (`so_far.rs`).
        let of_all = |verdict: Verdict| Verdict { so_far: None, said: None, ..verdict };
        prop_assert_eq!(of_all(by_pieces), of_all(whole));
        prop_assert_eq!(left.map(|left| left.until), whole.so_far.map(|known| known.until));
    }
}

#[test]
fn all_of_a_piece_is_settled_but_what_is_as_new_as_may_still_change() {
    let row = points(&[Look::Clear(0.01); 6]);
    let reaches = |until: u32| judge_piece(&rule(2), Arming::Unknown, None, &row, None, Some(BEFORE + STEP * until));
    for (window, settled) in [(5, 2), (7, 4), (8, 5), (100, 5)] {
        assert_eq!(reaches(window).so_far.unwrap().until, BEFORE + STEP * settled, "of {window} slots");
    }
}

/// v2 is deployed at 10:40 and fails for three minutes, from 10:42 to 10:45, longer than its `for` of two; it is 11:00.
fn recovered() -> World {
    let mut world = World::proven();
    world.deploy("v2");
    let name = trigger("error-rate");
    world.shop().show(&name, instant("2026-11-23T10:42:00Z"), Sample::Value(0.2));
    world.shop().show(&name, instant("2026-11-23T10:45:00Z"), Sample::Value(0.01));
    world.now = instant("2026-11-23T11:00:00Z");
    world
}

/// A look at these slots, where the window goes on.
fn look(world: &World, (from, to): (&str, &str), so_far: Option<SoFar>, more_until: Option<&str>) -> Happening {
    let name = trigger("error-rate");
    let metric = world.metric(&service(SHOP), &name);
    let answers = world.outside[SHOP].answers(&name, &metric, instant(from), instant(to));
    let deploy = world.state.services[SHOP].watch.as_ref().expect("a watch").deploy.clone();
    let (besides, more_until) = (Vec::new(), more_until.map(instant));
    Happening::Looked { deploy, trigger: name, answers, answered_until: None, so_far, besides, more_until }
}

const FIRST: (&str, &str) = ("2026-11-23T10:40:00Z", "2026-11-23T10:50:00Z");
const SECOND: (&str, &str) = ("2026-11-23T10:50:15Z", "2026-11-23T11:00:00Z");

#[test]
fn what_a_piece_shows_is_acted_upon_with_the_last_one() {
    let mut world = recovered();
    let first = world.decide(&service(SHOP), look(&world, FIRST, None, Some(SECOND.1)));
    assert!(first.records.is_empty() && first.effects.is_empty(), "{:?}", first.records);
    let verdict = first.verdict.unwrap();
    assert_eq!(
        (verdict.latest, verdict.fired, verdict.breaching_since),
        (None, None, None),
        "nobody is shown the past"
    );
    assert_eq!(verdict.so_far.unwrap().until, instant(FIRST.1));
    world.tell(look(&world, SECOND, verdict.so_far, None));
    let firing = world.fired("error-rate").expect("it did breach for longer than its `for`");
    assert_eq!(firing.breach_at, instant("2026-11-23T10:42:00Z"));
    let mut whole = recovered();
    whole.tell(look(&whole, (FIRST.0, SECOND.1), None, None));
    assert_eq!(whole.fired("error-rate").map(|firing| firing.breach_at), Some(firing.breach_at));
}

#[test]
fn a_piece_that_leads_no_further_is_judged_as_it_is() {
    let mut world = recovered();
    world.outside.get_mut(SHOP).unwrap().queries_fail = true;
    let decision = world.decide(&service(SHOP), look(&world, FIRST, None, Some(SECOND.1)));
    let verdict = decision.verdict.unwrap();
    assert!(verdict.blind && verdict.so_far.is_none(), "{verdict:?}");
    assert!(!decision.records.is_empty(), "a human is told that the watch is blind");
}
