//! R5, R7 and R9 where a statistical test decides: what the world shows is the same without noise.

use std::time::Duration;

use rollbackd_core::config::{Against, AtLeast, Comparison, Condition, Config, Limit, Metric, Test};
use rollbackd_core::deploy::WatchEnd;
use rollbackd_core::firing::FiringEnd;
use rollbackd_core::page::PageReason;
use rollbackd_core::trigger::Arming;

use super::looks::arming;
use crate::common::outside::Sample;
use crate::common::plan::{metric_trigger, p99_latency, reference, shop, template};
use crate::common::world::World;
use crate::common::{duration, instant};

const MINUTE: Duration = Duration::from_secs(60);

/// The reference list with `p99-latency` compared by this test, above 1.2 times the baseline of an hour.
fn compared(test: Test) -> Config {
    let mut config = reference();
    let metric = Metric {
        condition: Condition::Above(Limit::TimesBaseline { factor: 1.2, window: duration("1h") }),
        step: MINUTE,
        at_least: Some(AtLeast { expr: template("traffic"), value: 20.0 }),
        comparison: Some(Comparison { test, against: Against::Before, false_alarms: 0.01 }),
        ..p99_latency(duration("15s"), duration("5m"))
    };
    let hold = match test {
        Test::MannWhitney { .. } => "10m",
        Test::Sequential => "0s",
    };
    let trigger = metric_trigger("p99-latency", metric, hold, "20m");
    let place = shop(&mut config).triggers.iter_mut().find(|known| known.name == trigger.name);
    *place.expect("the trigger of the reference list") = trigger.into();
    config
}

const WINDOWS: Test = Test::MannWhitney { window: Duration::from_secs(600) };

/// A version that is 60 % slower: below twice the baseline, so that no limit of the reference list is crossed.
fn slow(test: Test) -> World {
    let mut world = World::proven_with(compared(test));
    world.sicken("v2", "p99-latency", 0.32);
    world.deploy("v2");
    world
}

#[test]
fn r9_a_difference_is_observed_at_the_end_of_the_window_that_shows_it() {
    let mut world = slow(WINDOWS);
    // Deployed at 10:40:07: the first sample that is v2's alone is that of 10:42, and the tenth of them that of 10:51.
    world.run_to(instant("2026-11-23T10:50:59Z"));
    assert!(world.fired("p99-latency").is_none());
    world.run("1m");
    let firing = world.fired("p99-latency").expect("a firing");
    assert_eq!(firing.observed_at, instant("2026-11-23T10:51:00Z"));
    assert_eq!((firing.value, firing.limit), (Some(0.32), Some(0.24)));
    assert_eq!(world.started()[0].run, ["deploy", "v1"]);
}

#[test]
fn r9_a_difference_is_observed_at_the_sample_that_makes_it_sure() {
    let mut world = slow(Test::Sequential);
    world.run("12m");
    let firing = world.fired("p99-latency").expect("a firing");
    // Each sample is greater than the whole baseline: the fifth makes it sure, more than a hundred to one.
    assert_eq!(firing.observed_at, instant("2026-11-23T10:46:00Z"));
}

#[test]
fn r9_what_a_test_found_is_over_when_the_last_samples_are_back_and_no_further_window_is_waited_for() {
    for test in [WINDOWS, Test::Sequential] {
        let mut world = slow(test);
        world.run("25m");
        assert_eq!(world.ended("p99-latency"), Some(FiringEnd::Recovered), "{test:?}");
        let firing = world.fired("p99-latency").expect("a firing");
        let done = firing.attempts[0].ended_at.expect("an end of the path");
        let took = firing.recovered_at.expect("an instant").since(done);
        assert!(took <= MINUTE * 3, "{test:?}: {took:?}");
    }
}

#[test]
fn r7_a_version_that_differs_by_less_than_counts_passes() {
    for test in [WINDOWS, Test::Sequential] {
        let mut world = World::proven_with(compared(test));
        world.sicken("v2", "p99-latency", 0.23);
        world.deploy("v2");
        world.run("31m");
        assert_eq!(world.watch_end("v2"), Some(WatchEnd::Passed), "{test:?}");
    }
}

#[test]
fn r7_a_window_with_a_gap_says_nothing_until_the_gap_is_filled_in() {
    let mut world = slow(WINDOWS);
    world.run_to(instant("2026-11-23T10:45:30Z"));
    world.show("p99-latency", Sample::Missing);
    world.run("1m");
    world.show("p99-latency", Sample::Value(0.32));
    world.run_to(instant("2026-11-23T11:00:59Z"));
    assert!(world.fired("p99-latency").is_none(), "nine of ten samples are no whole window");
    // The second window is whole.
    world.run("1m");
    assert_eq!(world.fired("p99-latency").expect("a firing").observed_at, instant("2026-11-23T11:01:00Z"));

    // The same gap, and the sample comes late: the first window counts then, at its own end.
    let mut world = slow(WINDOWS);
    world.run_to(instant("2026-11-23T10:45:30Z"));
    world.show("p99-latency", Sample::Missing);
    world.run("1m");
    world.show("p99-latency", Sample::Value(0.32));
    world.run_to(instant("2026-11-23T10:55:00Z"));
    assert!(world.fired("p99-latency").is_none());
    let gap = instant("2026-11-23T10:45:30Z");
    let name = crate::common::trigger("p99-latency");
    world.shop().show(&name, gap, Sample::Value(0.32));
    world.run("1m");
    assert_eq!(world.fired("p99-latency").expect("a firing").observed_at, instant("2026-11-23T10:51:00Z"));
}

#[test]
fn r7_samples_that_cannot_be_seen_are_blind_and_failed_queries_forget_nothing() {
    let mut world = slow(WINDOWS);
    world.run("6m");
    world.shop().queries_fail = true;
    world.run("4m");
    assert_eq!(world.paged_for(), [PageReason::Blind]);
    world.shop().queries_fail = false;
    world.run("3m");
    assert_eq!(world.fired("p99-latency").expect("a firing").observed_at, instant("2026-11-23T10:51:00Z"));
}

#[test]
fn r7_too_few_samples_are_too_little_to_say_and_end_unproven() {
    let mut world = World::proven_with(compared(WINDOWS));
    world.deploy("v2");
    world.run("3m");
    world.show("p99-latency", Sample::Low);
    world.run("28m");
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Unproven));
    assert_eq!(world.paged_for(), []);
}

#[test]
fn r5_a_difference_from_before_the_deploy_is_not_the_deploys() {
    for (test, before) in [(WINDOWS, 12), (Test::Sequential, 16)] {
        let mut world = World::proven_with(compared(test));
        world.sicken("v2", "p99-latency", 0.32);
        for minute in 0..before {
            // No two alike, as in production.
            world.show("p99-latency", Sample::Value(f64::from(minute * 7 % before).mul_add(0.0001, 0.32)));
            world.run("1m");
        }
        world.deploy("v2");
        world.run("2m");
        assert_eq!(arming(&world, "p99-latency"), Arming::Disarmed, "{test:?}");
        world.run("27m");
        assert_eq!(arming(&world, "p99-latency"), Arming::Disarmed, "{test:?}");
        assert!(world.fired("p99-latency").is_none() && world.started().is_empty(), "{test:?}");
    }
}

#[test]
fn r5_a_difference_that_the_deploy_did_not_end_pages() {
    let mut world = World::proven_with(compared(WINDOWS));
    world.sicken("v2", "p99-latency", 0.32);
    world.show("p99-latency", Sample::Value(0.32));
    world.run("12m");
    world.deploy("v2");
    world.run("29m");
    assert_eq!(world.paged_for(), [PageReason::DidNotHelp]);
}

#[test]
fn r13_a_deploy_that_supersedes_is_compared_with_the_baseline_before_the_first() {
    let mut world = World::proven_with(compared(WINDOWS));
    world.sicken("v2", "p99-latency", 0.32);
    world.sicken("v3", "p99-latency", 0.32);
    world.deploy("v2");
    world.run("4m");
    world.deploy("v3");
    world.run("13m");
    // By the samples before v2: those of v2 itself would hide it.
    let firing = world.fired("p99-latency").expect("a firing");
    assert_eq!((firing.limit, &world.started()[0].run), (Some(0.24), &vec!["deploy".to_owned(), "v1".to_owned()]));
}

#[test]
fn a_restart_changes_nothing_of_what_a_comparison_finds() {
    for test in [WINDOWS, Test::Sequential] {
        let mut through = slow(test);
        through.run("15m");
        let mut restarted = slow(test);
        for _ in 0..15 {
            restarted.run("1m");
            restarted.restart();
        }
        let observed = |world: &World| world.fired("p99-latency").map(|firing| firing.observed_at);
        assert!(observed(&through).is_some());
        assert_eq!(observed(&restarted), observed(&through), "{test:?}");
    }
}
