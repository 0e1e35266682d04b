//! `comparison::looks`: what is compared with what, slot by slot. Minutes are counted from the first slot.

use std::time::Duration;

use rollbackd_core::comparison::{self, Scene};
use rollbackd_core::config::{Against, Comparison, Condition, Limit, Metric, Test};
use rollbackd_core::name::Version;
use rollbackd_core::reading::{Answer, Answers, Look, Series};
use rollbackd_core::statistics::mann_whitney::smallest;
use rollbackd_core::statistics::sequential::most_possible;
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::Arming;

use crate::common::plan::p99_latency;
use crate::common::{duration, version};

const MINUTE: Duration = Duration::from_secs(60);
const WINDOWS: Test = Test::MannWhitney { window: Duration::from_secs(300) };

/// When the deploy is: twenty slots lie before it.
const DEPLOY: i64 = 20;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_milliseconds(minute * 60_000)
}

fn metric(test: Test, against: Against, condition: fn(Limit) -> Condition, factor: f64) -> Metric {
    Metric {
        condition: condition(Limit::TimesBaseline { factor, window: MINUTE * 20 }),
        step: MINUTE,
        comparison: Some(Comparison { test, against, false_alarms: 0.05 }),
        ..p99_latency(duration("15s"), duration("5m"))
    }
}

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
    let labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Series { labels, samples: samples.iter().map(|(minute, value)| (at(*minute), *value)).collect() }
}

/// The looks from the slot of the deploy on, for twenty slots.
fn looks(metric: &Metric, series: Vec<Series>, arming: Arming) -> Vec<Look> {
    looks_for(20, metric, Answer::Series(series), arming)
}

/// The looks from the slot of the deploy on, for so many slots of a watch of twenty.
fn looks_for(slots: i64, metric: &Metric, value: Answer, arming: Arming) -> Vec<Look> {
    let answers = Answers {
        from: at(1),
        to: at(DEPLOY + slots),
        step: MINUTE,
        value,
        total: None,
        at_least: None,
        presence: None,
        freshness: None,
    };
    let (v2, v1): (Version, Version) = (version("v2"), version("v1"));
    let (deploy_at, until) = (at(DEPLOY), at(DEPLOY + 20));
    let scene = Scene { deploy_at, healthy_before: deploy_at, until, version: &v2, target: Some(&v1), arming };
    let points = comparison::looks(metric, metric.comparison.as_ref().expect("it"), &scene, &answers);
    assert!(points.iter().zip(DEPLOY..).all(|(point, minute)| point.at == at(minute)), "from the deploy on");
    points.into_iter().map(|point| point.look).collect()
}

/// One letter for each look.
fn letters(looks: &[Look]) -> String {
    let letter = |look: &Look| match look {
        Look::Breach(_) => 'B',
        Look::Clear(_) => 'c',
        Look::LowTraffic | Look::NoTraffic => '-',
        Look::NoData => '?',
        Look::Error | Look::Partial => '!',
    };
    looks.iter().map(letter).collect()
}

/// Samples with a little noise that is the same each time: no two of a row are alike.
fn noisy(minutes: std::ops::RangeInclusive<i64>, level: f64) -> Vec<(i64, f64)> {
    let noise = |minute: i64| f64::from(i32::try_from(minute * 7 % 11).expect("a few")) * 0.001;
    minutes.map(|minute| (minute, level * (1.0 + noise(minute)))).collect()
}

/// Before the deploy at 100, and at this level since.
fn since(level: f64) -> Vec<Series> {
    vec![series(&[], &[noisy(1..=DEPLOY, 100.0), noisy(DEPLOY + 1..=DEPLOY + 20, level)].concat())]
}

#[test]
fn a_window_is_judged_at_its_end_and_its_word_stands_until_the_next() {
    let metric = metric(WINDOWS, Against::Before, Condition::Above, 1.2);
    // At the deploy, then four slots of the first window; the fifth tells.
    assert_eq!(letters(&looks(&metric, since(160.0), Arming::Unknown)), "c----BBBBBBBBBBBBBBBB");
    assert_eq!(letters(&looks(&metric, since(110.0), Arming::Unknown)), "c----cccccccccccccccc");
    let found = looks(&metric, since(160.0), Arming::Unknown);
    let Some(Look::Breach(value)) = found.get(5) else { panic!("{found:?}") };
    assert!((160.0..162.0).contains(value), "the median of the window: {value}");
}

#[test]
fn each_sample_is_judged_by_the_sequential_test() {
    let metric = metric(Test::Sequential, Against::Before, Condition::Above, 1.2);
    assert_eq!(letters(&looks(&metric, since(160.0), Arming::Unknown)), "c---BBBBBBBBBBBBBBBBB");
    assert_eq!(letters(&looks(&metric, since(110.0), Arming::Unknown)), "c---ccccccccccccccccc");
    // Between the two: worse by the look of it, and not sure. No breach, and no health either.
    let unsure = letters(&looks(&metric, since(120.4), Arming::Unknown));
    assert!(unsure.ends_with("----------------"), "{unsure}");
}

#[test]
fn below_is_the_same_the_other_way_round() {
    for test in [WINDOWS, Test::Sequential] {
        let metric = metric(test, Against::Before, Condition::Below, 0.8);
        assert!(letters(&looks(&metric, since(50.0), Arming::Unknown)).ends_with('B'), "{test:?}");
        assert!(letters(&looks(&metric, since(90.0), Arming::Unknown)).ends_with('c'), "{test:?}");
    }
}

#[test]
fn a_window_that_reaches_behind_the_deploy_is_of_both_versions_and_counts_for_neither() {
    let wide = Metric { window: MINUTE * 3, ..metric(WINDOWS, Against::Before, Condition::Above, 1.2) };
    assert_eq!(letters(&looks(&wide, since(160.0), Arming::Unknown)), "c------BBBBBBBBBBBBBB");
}

#[test]
fn a_difference_from_before_the_deploy_is_found_where_it_is_sure_and_else_is_no_health() {
    let metric = metric(Test::Sequential, Against::Before, Condition::Above, 1.2);
    for (level, first) in [(160.0, 'B'), (120.6, '-'), (110.0, 'c')] {
        // The last quarter of what was there before.
        let samples = [noisy(1..=DEPLOY - 5, 100.0), noisy(DEPLOY - 4..=DEPLOY, level)].concat();
        let found = letters(&looks(&metric, vec![series(&[], &samples)], Arming::Unknown));
        assert!(found.starts_with(first), "{level}: {found}");
    }
}

#[test]
fn without_a_baseline_nothing_is_known() {
    let metric = metric(WINDOWS, Against::Before, Condition::Above, 1.2);
    let few = vec![series(&[], &[noisy(18..=DEPLOY, 100.0), noisy(DEPLOY + 1..=DEPLOY + 20, 160.0)].concat())];
    assert_eq!(letters(&looks(&metric, few, Arming::Unknown)), "?----????????????????");
    let idle = vec![series(&[], &[noisy(1..=DEPLOY, 0.0), noisy(DEPLOY + 1..=DEPLOY + 20, 160.0)].concat())];
    assert_eq!(letters(&looks(&metric, idle, Arming::Unknown)), "?----????????????????", "no multiple of zero");
}

#[test]
fn a_quarter_of_the_samples_that_a_baseline_should_have_is_a_baseline() {
    for test in [WINDOWS, Test::Sequential] {
        // Lenient, so that five samples before the deploy are enough to tell: twenty should be there.
        let mut metric = metric(test, Against::Before, Condition::Above, 1.2);
        metric.comparison.as_mut().expect("it").false_alarms = 0.3;
        let last = |few: i64| {
            let samples = [noisy(DEPLOY - few + 1..=DEPLOY, 100.0), noisy(DEPLOY + 1..=DEPLOY + 10, 300.0)].concat();
            looks_for(10, &metric, Answer::Series(vec![series(&[], &samples)]), Arming::Unknown).pop()
        };
        assert!(matches!(last(5), Some(Look::Breach(_))), "{test:?}: {:?}", last(5));
        assert_eq!(last(4), Some(Look::NoData), "{test:?}");
    }
}

#[test]
fn windows_share_the_false_alarms_that_are_allowed_and_one_that_just_suffices_is_judged() {
    let letters_at = |false_alarms: f64| {
        let mut metric = metric(WINDOWS, Against::Before, Condition::Above, 1.2);
        metric.comparison.as_mut().expect("it").false_alarms = false_alarms;
        letters(&looks(&metric, since(110.0), Arming::Unknown))
    };
    // Three whole windows fit into the watch, and five samples that are all worse than twenty are the least likely.
    let least = smallest(5, 20);
    assert!((least * 3.0 / 3.0).to_bits() == least.to_bits(), "just as much");
    assert_eq!(letters_at(least * 3.0), "-----cccccccccccccccc");
    assert_eq!(letters_at(least * 2.9), "---------------------");
}

#[test]
fn a_median_at_the_very_limit_does_not_count_yet() {
    let flat = |minutes: std::ops::RangeInclusive<i64>, level: f64| minutes.map(move |minute| (minute, level));
    let samples: Vec<(i64, f64)> = flat(1..=DEPLOY, 100.0).chain(flat(DEPLOY + 1..=DEPLOY + 20, 150.0)).collect();
    for condition in [Condition::Above, Condition::Below] {
        let metric = metric(WINDOWS, Against::Before, condition, 1.5);
        let found = letters(&looks(&metric, vec![series(&[], &samples)], Arming::Unknown));
        assert!(found.ends_with('c'), "{found}");
    }
}

#[test]
fn evidence_that_could_just_suffice_is_judged() {
    // So many samples that the most they could say, and what is asked for, are the same number to the last bit.
    let most = |count: usize| most_possible(20, count);
    let exact = |count: &usize| (1.0 / (1.0 / most(*count))).to_bits() == most(*count).to_bits();
    let count = (4..15).find(exact).expect("one of them");
    let mut metric = metric(Test::Sequential, Against::Before, Condition::Above, 1.2);
    metric.comparison.as_mut().expect("it").false_alarms = 1.0 / most(count);
    let found = letters(&looks(&metric, since(110.0), Arming::Unknown));
    assert_eq!(found[1..].find('c'), Some(count - 1), "{found}");
}

#[test]
fn what_cannot_be_seen_is_blind_at_its_slot_and_what_failed_at_every_slot() {
    let metric = metric(Test::Sequential, Against::Before, Condition::Above, 1.2);
    let mut gap = since(160.0);
    gap[0].samples.retain(|(known, _)| *known != at(DEPLOY + 2) && *known != at(DEPLOY + 9));
    assert_eq!(letters(&looks(&metric, gap, Arming::Unknown)), "c-?--BBBB?BBBBBBBBBBB");
}

#[test]
fn what_has_fired_is_over_when_the_last_samples_are_back_by_their_median() {
    let metric = metric(WINDOWS, Against::Before, Condition::Above, 1.2);
    let back = [noisy(1..=DEPLOY, 100.0), noisy(DEPLOY + 1..=30, 160.0), noisy(31..=40, 100.0)].concat();
    assert_eq!(letters(&looks(&metric, vec![series(&[], &back)], Arming::Spent)), "-BBBBBBBBBBBccccccccc");
}

/// v1 and v2 beside each other, both in the same swing of the day: three times as slow at its end.
fn beside(level: f64) -> Vec<Series> {
    let swing = |samples: Vec<(i64, f64)>| -> Vec<(i64, f64)> {
        let grown = |minute: i64| f64::from(i32::try_from(minute - DEPLOY).expect("a few")).mul_add(0.1, 1.0);
        samples.into_iter().map(|(minute, value)| (minute, value * grown(minute.max(DEPLOY)))).collect()
    };
    vec![
        series(&[("version", "v1")], &swing(noisy(1..=DEPLOY + 20, 100.0))),
        series(&[("version", "v2")], &swing(noisy(DEPLOY + 1..=DEPLOY + 20, level))),
        series(&[("version", "v0")], &noisy(1..=DEPLOY + 20, 9_000.0)),
    ]
}

#[test]
fn versions_side_by_side_are_compared_with_each_other_and_not_with_the_past() {
    let against = || Against::Beside { label: "version".to_owned() };
    for (test, first) in [(WINDOWS, 5), (Test::Sequential, 12)] {
        let metric = metric(test, against(), Condition::Above, 1.2);
        let same = letters(&looks(&metric, beside(100.0), Arming::Unknown));
        assert!(same.starts_with('?') && same.ends_with('c') && !same.contains('B'), "{test:?}: {same}");
        let slower = letters(&looks(&metric, beside(250.0), Arming::Unknown));
        assert!(slower.ends_with('B'), "{test:?}: {slower}");
        assert!(slower.find('B').expect("a breach") <= first, "{test:?}: {slower}");
    }
    // By the past, the swing alone would be a difference.
    let swing = vec![series(
        &[],
        &beside(100.0)[0].samples.iter().map(|(at, value)| (at.milliseconds() / 60_000, *value)).collect::<Vec<_>>(),
    )];
    let by_the_past = metric(WINDOWS, Against::Before, Condition::Above, 1.2);
    assert!(letters(&looks(&by_the_past, swing, Arming::Unknown)).ends_with('B'));
}

#[test]
fn of_versions_side_by_side_nothing_is_known_until_both_are_there_and_nothing_from_before_the_deploy() {
    let metric = metric(Test::Sequential, Against::Beside { label: "version".to_owned() }, Condition::Above, 1.2);
    let mut late = beside(100.0);
    late[0].samples.retain(|(known, _)| *known > at(DEPLOY + 3));
    let found = letters(&looks(&metric, late, Arming::Unknown));
    assert!(found.starts_with("????"), "{found}");
    assert!(found.ends_with('c'), "it is compared with what is there since: {found}");
    // A version that was deployed once more ran before as well.
    let mut again = beside(250.0);
    again[1] = series(&[("version", "v2")], &noisy(1..=DEPLOY + 20, 250.0));
    assert!(letters(&looks(&metric, again, Arming::Unknown)).starts_with('?'));
    for failed in [Answer::Failed("refused".to_owned()), Answer::Partial("a store".to_owned())] {
        assert_eq!(letters(&looks_for(3, &metric, failed, Arming::Unknown)), "!!!!");
    }
}

#[test]
fn a_canary_that_fired_is_over_when_its_version_is_gone_and_the_other_is_there() {
    let metric = metric(WINDOWS, Against::Beside { label: "version".to_owned() }, Condition::Above, 1.2);
    let mut gone = beside(250.0);
    gone[1].samples.retain(|(known, _)| *known < at(DEPLOY + 10));
    let found = letters(&looks(&metric, gone, Arming::Spent));
    assert!(found.starts_with("cBBBBBBBBB") && found.ends_with("ccccccccccc"), "{found}");
    // Where neither is there, nothing is known.
    let mut silent = beside(250.0);
    silent[0].samples.retain(|(known, _)| *known < at(DEPLOY + 10));
    silent[1].samples.retain(|(known, _)| *known < at(DEPLOY + 10));
    assert!(letters(&looks(&metric, silent, Arming::Spent)).ends_with("???????????"));
}

#[test]
fn the_queries_are_asked_from_where_the_baseline_begins() {
    let before = metric(WINDOWS, Against::Before, Condition::Above, 1.2);
    assert_eq!(comparison::from(&before, at(DEPLOY), at(DEPLOY)), at(1));
    assert_eq!(comparison::from(&before, at(DEPLOY), at(DEPLOY + 5)), at(1), "behind the first of two deploys");
    let beside = metric(WINDOWS, Against::Beside { label: "version".to_owned() }, Condition::Above, 1.2);
    assert_eq!(comparison::from(&beside, at(DEPLOY), at(DEPLOY)), at(DEPLOY));
}

#[test]
fn windows_can_fire_where_one_fits_into_the_watch_and_all_of_them_leave_a_level_that_can_be_reached() {
    let can = |false_alarms: f64, against: Against, watch: &str| {
        let comparison = Comparison { test: WINDOWS, against, false_alarms };
        let metric = Metric {
            comparison: Some(comparison.clone()),
            ..metric(WINDOWS, comparison.against.clone(), Condition::Above, 1.2)
        };
        comparison::can_fire(&metric, &comparison, duration(watch))
    };
    // The first minute is of both versions, and each window has five.
    assert!(!can(0.05, Against::Before, "5m59s"), "no window fits");
    assert!(can(0.05, Against::Before, "6m"));
    // Five samples that are all worse than twenty come about by chance once in 25! / (20! * 5!).
    let least = 1.0 / 53130.0;
    assert!(can(least * 3.5, Against::Before, "16m"), "three windows");
    assert!(!can(least * 3.5, Against::Before, "21m"), "four windows");
    // Beside it there are no more samples than in the window itself: once in 10! / (5! * 5!).
    let beside = || Against::Beside { label: "version".to_owned() };
    assert!(can(1.01 / 252.0, beside(), "6m"));
    assert!(!can(0.99 / 252.0, beside(), "6m"));
}

#[test]
fn the_sequential_test_can_fire_where_all_samples_of_the_watch_together_could_be_evidence_enough() {
    let can = |against: &Against, false_alarms: f64| {
        let comparison = Comparison { test: Test::Sequential, against: against.clone(), false_alarms };
        comparison::can_fire(
            &metric(Test::Sequential, against.clone(), Condition::Above, 1.2),
            &comparison,
            duration("11m"),
        )
    };
    // Ten samples lie behind the first minute, which is of both versions.
    let beside = Against::Beside { label: "version".to_owned() };
    for (against, among) in [(Against::Before, 20), (beside, 10)] {
        let most = most_possible(among, 10);
        assert!(can(&against, 1.01 / most), "{against:?}");
        assert!(!can(&against, 0.99 / most), "{against:?}");
    }
}
