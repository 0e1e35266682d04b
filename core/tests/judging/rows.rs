//! `trigger::judge`: rows of looks as text, one letter a slot, the first one the slot before the deploy.

use std::time::Duration;

use proptest::prelude::*;
use rollbackd_core::reading::{Look, Point};
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::{Arming, Rule, Verdict, judge};

/// From slot to slot, and from look to look.
pub(crate) const STEP: Duration = Duration::from_secs(15);

/// The slot before the deploy; the deploy is seven seconds later.
pub(crate) const BEFORE: Timestamp = Timestamp::from_milliseconds(900_000);

/// The slot of this number; the one before the deploy is 0.
pub(crate) fn slot(number: u32) -> Timestamp {
    BEFORE + STEP * number
}

fn letter(letter: char) -> Look {
    match letter {
        'B' => Look::Breach(0.2),
        'C' => Look::Clear(0.01),
        'L' => Look::LowTraffic,
        'N' => Look::NoData,
        'E' => Look::Error,
        'P' => Look::Partial,
        other => panic!("no look is written {other}"),
    }
}

fn points(row: &str) -> Vec<Point> {
    row.chars().zip(0..).map(|(each, number)| Point { at: slot(number), look: letter(each) }).collect()
}

pub(crate) fn rule(hold_in_slots: u32) -> Rule {
    Rule {
        hold: STEP * hold_in_slots,
        step: STEP,
        window: STEP * 2,
        interval: STEP,
        deploy_at: BEFORE + Duration::from_secs(7),
        since_deploy: false,
    }
}

fn judged(hold_in_slots: u32, row: &str) -> Verdict {
    judge(&rule(hold_in_slots), Arming::Unknown, &points(row), None)
}

/// The slots at which it began to breach and at which it fired.
fn fired(hold_in_slots: u32, row: &str) -> Option<(u32, u32)> {
    let number = |at: Timestamp| u32::try_from(at.since(BEFORE).as_secs() / STEP.as_secs()).unwrap_or(u32::MAX);
    let hold = rule(hold_in_slots).hold;
    judged(hold_in_slots, row).fired.map(|fired| (number(fired.breach_at), number(fired.observed_at(hold))))
}

#[test]
fn a_trigger_fires_when_every_slot_of_its_for_is_there_and_a_breach() {
    // For two slots: three looks, the third at the slot at which `for` is met exactly.
    let table = [
        ("CB", None),
        ("CBB", None),
        ("CBBB", Some((1, 3))),
        ("CCCBBB", Some((3, 5))),
        ("CBBCBB", None),
        ("CBBCBBB", Some((4, 6))),
        ("CBBLBBB", Some((4, 6))),
        ("CBBNBBB", Some((4, 6))),
        ("CBBEBBB", Some((4, 6))),
        ("CBBPBBB", Some((4, 6))),
        ("CBNBNBNB", None),
        ("CBBBC", Some((1, 3))),
        ("CBBBCBBB", Some((1, 3))),
        ("C", None),
        ("", None),
    ];
    for (row, expected) in table {
        assert_eq!(fired(2, row), expected, "{row}");
    }
}

#[test]
fn without_a_for_the_first_breach_fires() {
    for (row, expected) in [("CB", Some((1, 1))), ("CNB", Some((2, 2))), ("CN", None), ("BB", None), ("B", None)] {
        assert_eq!(fired(0, row), expected, "{row}");
    }
}

#[test]
fn a_for_that_ends_between_two_slots_is_met_there_and_seen_at_the_next_one() {
    let rule = Rule { hold: Duration::from_secs(20), ..rule(0) };
    assert_eq!(judge(&rule, Arming::Unknown, &points("CBB"), None).fired, None);
    let fired = judge(&rule, Arming::Unknown, &points("CBBB"), None).fired.unwrap();
    assert_eq!(fired.observed_at(rule.hold), slot(1) + Duration::from_secs(20));
}

#[test]
fn what_was_before_the_deploy_does_not_count_towards_its_for() {
    // The breach of slot 0 disarms, and any other look there lets the three from slot 1 on count, no fewer.
    for before in ["C", "L", "N"] {
        assert_eq!(fired(2, &format!("{before}BB")), None, "{before}");
        assert_eq!(fired(2, &format!("{before}BBB")), Some((1, 3)), "{before}");
    }
    for before in ["B", "E", "P"] {
        assert_eq!(fired(2, &format!("{before}BBBBBBBB")), None, "{before}");
    }
}

#[test]
fn a_deploy_at_a_slot_makes_that_slot_the_one_before_it() {
    let rule = Rule { deploy_at: BEFORE, ..rule(2) };
    let fired = |row: &str| judge(&rule, Arming::Unknown, &points(row), None).fired;
    assert_eq!(fired("CBB"), None);
    assert!(fired("CBBB").is_some());
    assert_eq!(fired("BBBBB"), None, "what is at the deploy was before it");
    assert_eq!(judge(&rule, Arming::Unknown, &points("CLL"), None).clear_at, None, "nor is it health of the deployed");
}

#[test]
fn a_disarmed_trigger_is_armed_by_a_clear_look_and_by_no_other() {
    let table = [
        ("B", Arming::Disarmed),
        ("BB", Arming::Disarmed),
        ("BL", Arming::Disarmed),
        ("BN", Arming::Disarmed),
        ("BE", Arming::Disarmed),
        ("BP", Arming::Disarmed),
        ("BC", Arming::Armed),
        ("BBBCB", Arming::Armed),
        ("C", Arming::Armed),
        ("L", Arming::Armed),
        ("N", Arming::Armed),
        ("E", Arming::Unknown),
        ("P", Arming::Unknown),
        ("EC", Arming::Unknown),
        ("", Arming::Unknown),
    ];
    for (row, expected) in table {
        assert_eq!(judged(2, row).arming, expected, "{row}");
    }
    assert_eq!(fired(2, "BBBBCBBB"), Some((5, 7)));
    assert_eq!(fired(2, "BBBBLBBBB"), None);
}

#[test]
fn an_arming_that_is_known_is_not_forgotten_by_a_window_that_does_not_show_it() {
    for (known, row, expected) in [
        (Arming::Armed, "E", Arming::Armed),
        (Arming::Armed, "N", Arming::Armed),
        (Arming::Disarmed, "E", Arming::Disarmed),
        (Arming::Disarmed, "C", Arming::Disarmed),
        (Arming::Disarmed, "N", Arming::Disarmed),
        (Arming::Armed, "B", Arming::Disarmed),
        (Arming::Spent, "B", Arming::Spent),
        (Arming::Spent, "C", Arming::Spent),
    ] {
        let verdict = judge(&rule(2), known, &points(row), None);
        assert_eq!(verdict.arming, expected, "{known:?} {row}");
    }
    assert_eq!(judge(&rule(2), Arming::Spent, &points("CBBBBB"), None).fired, None, "it fired already");
}

#[test]
fn a_deploy_did_not_help_where_the_breach_outlasts_for_and_window() {
    // For two slots and a window of two, from seven seconds after slot 0 on: slot 5 is the first one after that.
    for (row, expected) in [
        ("BBBBB", false),
        ("BBBBBB", true),
        ("BBBBBC", false),
        ("BCBBBBBB", false),
        ("CBBBBBBB", false),
        ("BBBBBN", false),
        ("BNNNNB", true),
    ] {
        assert_eq!(judged(2, row).did_not_help, expected, "{row}");
    }
}

#[test]
fn a_watch_is_blind_after_three_intervals_without_an_answer() {
    let table = [
        ("C", false),
        ("CNNN", true),
        ("CNN", false),
        ("CNEP", true),
        ("CLLL", false),
        ("CNNL", false),
        ("CNNNC", false),
        ("CNNNB", false),
        // Slot 0 is missing as well: three intervals from there are slot 3.
        ("NNN", false),
        ("NNNN", true),
        ("EEE", false),
        ("EEEE", true),
    ];
    for (row, expected) in table {
        assert_eq!(judged(2, row).blind, expected, "{row}");
    }
}

#[test]
fn a_look_that_failed_does_not_make_blind_what_was_answered_before() {
    let failed = points("EEEEE");
    let verdict = judge(&rule(2), Arming::Armed, &failed, Some(slot(2)));
    assert!(!verdict.blind, "slots 3 and 4 alone are missing");
    assert_eq!(verdict.answered_until, Some(slot(2)));
    assert!(judge(&rule(2), Arming::Armed, &points("EEEEEE"), Some(slot(2))).blind);
}

#[test]
fn what_was_answered_for_good_ends_at_the_first_gap() {
    for (row, before, expected) in [
        ("", None, None),
        ("E", None, None),
        ("CBL", None, Some(2)),
        ("CBNB", None, Some(1)),
        ("CBNB", Some(2), Some(3)),
        ("CNNN", Some(2), Some(2)),
        ("EEEE", Some(3), Some(3)),
    ] {
        let verdict = judge(&rule(2), Arming::Unknown, &points(row), before.map(slot));
        assert_eq!(verdict.answered_until, expected.map(slot), "{row}");
    }
}

#[test]
fn the_verdict_shows_the_last_point_and_since_when_it_breaches() {
    let since = |row: &str| judged(9, row).breaching_since;
    assert_eq!(since("CBB"), Some(slot(1)));
    assert_eq!(since("CBCB"), Some(slot(3)));
    assert_eq!(since("CBC"), None);
    assert_eq!(since("CBN"), None);
    assert_eq!(since("BBB"), Some(slot(1)), "disarmed, but breaching");
    assert_eq!(judged(9, "CBBL").latest, Some(Point { at: slot(3), look: Look::LowTraffic }));
    assert_eq!(judged(9, "CBCB").clear_at, Some(slot(2)));
}

fn row() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(vec!['B', 'B', 'B', 'C', 'L', 'N', 'E', 'P']), 1..25)
        .prop_map(|letters| letters.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_firing_is_a_row_of_breaches_of_exactly_its_for(row in row(), hold in 0_u32..6) {
        if let Some((began, observed)) = fired(hold, &row) {
            prop_assert_eq!(observed - began, hold);
            prop_assert!(began > 0, "what was before the deploy does not count");
            let letters: Vec<char> = row.chars().collect();
            let breaches = letters[began as usize..=observed as usize].iter().all(|each| *each == 'B');
            prop_assert!(breaches, "{}", row);
        }
    }

    #[test]
    fn a_row_of_breaches_after_a_clear_look_fires(row in row(), hold in 0_u32..4) {
        let whole = format!("C{row}C{}", "B".repeat(hold as usize + 1));
        prop_assert!(fired(hold, &whole).is_some(), "{}", whole);
    }

    #[test]
    fn a_point_that_is_lost_never_makes_it_fire_earlier(
        row in row(),
        lost in proptest::sample::select(vec!['L', 'N', 'E', 'P']),
        at in any::<proptest::sample::Index>(),
        hold in 0_u32..6,
    ) {
        let mut letters: Vec<char> = row.chars().collect();
        // Never the slot before the deploy: what is not known there disarms nothing.
        if letters.len() > 1 {
            let at = 1 + at.index(letters.len() - 1);
            letters[at] = lost;
        }
        let with: String = letters.into_iter().collect();
        match (fired(hold, &row), fired(hold, &with)) {
            (None, Some(_)) => prop_assert!(false, "{} fires, {} does not", with, row),
            (Some((_, whole)), Some((_, lossy))) => prop_assert!(lossy >= whole, "{} {}", row, with),
            (Some(_) | None, None) => {}
        }
    }

    #[test]
    fn what_comes_later_does_not_change_when_it_fired(row in row(), more in row(), hold in 0_u32..6) {
        if let Some(first) = fired(hold, &row) {
            prop_assert_eq!(fired(hold, &format!("{row}{more}")), Some(first));
        }
    }

    #[test]
    fn a_longer_for_never_fires_earlier(row in row(), hold in 0_u32..6) {
        if let Some((_, longer)) = fired(hold + 1, &row) {
            let shorter = fired(hold, &row);
            prop_assert!(shorter.is_some_and(|(_, shorter)| shorter < longer), "{}", row);
        }
    }
}
