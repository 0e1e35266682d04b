//! R7: the six answers that a look can have, and how a watch ends by them.

use rollbackd_core::config::{Action, AtLeast, Condition, Metric, Observed, Query};
use rollbackd_core::deploy::WatchEnd;
use rollbackd_core::event::Happening;
use rollbackd_core::firing::FiringEnd;
use rollbackd_core::page::PageReason;
use rollbackd_core::reading::Look;
use rollbackd_core::state::Turn;
use rollbackd_core::trigger::Arming;
use rollbackd_core::wants::{Want, wants};

use crate::common::outside::Sample;
use crate::common::plan::{SHOP, metric_trigger, reference, shop, shop_trigger, template};
use crate::common::world::World;
use crate::common::{duration, instant, service, trigger};

const BAD: Sample = Sample::Value(0.2);
const GOOD: Sample = Sample::Value(0.01);

pub(crate) fn arming(world: &World, name: &str) -> Arming {
    world.own().watch.as_ref().expect("a watch").triggers.get(name).expect("a trigger").arming
}

/// v2 breaches from the first slot on; at this second after the deploy, for one slot, it shows something else.
fn breach_with(gap: Sample) -> World {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("60s");
    world.show("error-rate", gap);
    world.run("10s");
    world.show("error-rate", BAD);
    world
}

#[test]
fn r7_a_breach_without_a_gap_fires_and_anything_else_in_between_starts_its_for_again() {
    for gap in [BAD, GOOD, Sample::Low, Sample::Missing] {
        let mut world = breach_with(gap);
        world.run("3m");
        let expected = if gap == BAD { "2026-11-23T10:42:15Z" } else { "2026-11-23T10:43:30Z" };
        assert_eq!(world.fired("error-rate").unwrap().observed_at, instant(expected), "{gap:?}");
    }
}

#[test]
fn r7_a_missing_point_that_is_filled_in_later_counts_then() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("75s");
    let gap_at = world.now;
    world.show("error-rate", Sample::Missing);
    world.run("12s");
    world.show("error-rate", BAD);
    world.run("20s");
    assert!(world.fired("error-rate").is_none());
    world.shop().show(&trigger("error-rate"), gap_at, BAD);
    world.run("30s");
    let firing = world.fired("error-rate").expect("the row is whole now");
    assert_eq!(firing.breach_at, instant("2026-11-23T10:40:15Z"));
    assert_eq!(firing.observed_at, instant("2026-11-23T10:42:15Z"));
}

#[test]
fn r7_a_missing_point_that_is_filled_in_after_a_restart_counts_as_well() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("75s");
    let gap_at = world.now;
    world.show("error-rate", Sample::Missing);
    world.run("12s");
    world.show("error-rate", BAD);
    world.run("20s");
    world.restart();
    world.shop().show(&trigger("error-rate"), gap_at, BAD);
    world.run("30s");
    assert_eq!(world.fired("error-rate").expect("it fires").observed_at, instant("2026-11-23T10:42:15Z"));
}

#[test]
fn r7_a_missing_point_that_turns_out_clear_breaks_the_breach() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("75s");
    let gap_at = world.now;
    world.show("error-rate", Sample::Missing);
    world.run("12s");
    world.show("error-rate", BAD);
    world.run("20s");
    world.shop().show(&trigger("error-rate"), gap_at, GOOD);
    world.run("3m");
    assert_eq!(world.fired("error-rate").unwrap().breach_at, instant("2026-11-23T10:41:45Z"));
}

#[test]
fn r7_where_the_newest_samples_come_late_a_breach_that_cleared_keeps_no_watch_open() {
    let mut world = World::proven();
    world.shop().samples_come_after = duration("15s");
    world.deploy("v2");
    world.run("5m");
    world.show("error-rate", BAD);
    world.run("1m");
    assert!(matches!(
        world.own().watch.as_ref().unwrap().triggers.get("error-rate").unwrap().turn,
        Turn::Breaching { .. }
    ));
    world.show("error-rate", GOOD);
    world.run("30s");
    assert_eq!(world.own().watch.as_ref().unwrap().triggers.get("error-rate").unwrap().turn, Turn::Clear);
    world.run("30m");
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Passed));
}

#[test]
fn r7_where_the_newest_samples_come_late_a_recovery_is_proven_by_those_that_have_come() {
    let mut world = World::proven();
    world.shop().samples_come_after = duration("15s");
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("10m");
    assert_eq!(world.ended("error-rate"), Some(FiringEnd::Recovered));
}

#[test]
fn r7_failed_and_partial_looks_neither_fire_nor_count_as_health() {
    for partial in [false, true] {
        let mut world = World::proven();
        world.sicken("v2", "error-rate", 0.2);
        world.deploy("v2");
        if partial {
            world.shop().queries_are_partial = true;
        } else {
            world.shop().queries_fail = true;
        }
        world.run("31m");
        assert!(world.fired("error-rate").is_none());
        assert_eq!(world.watch_end("v2"), Some(WatchEnd::Blind), "partial {partial}");
    }
}

#[test]
fn r7_a_look_that_fails_forgets_nothing_of_the_looks_before() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("60s");
    world.shop().queries_fail = true;
    world.run("30s");
    world.shop().queries_fail = false;
    world.run("45s");
    assert_eq!(world.fired("error-rate").unwrap().observed_at, instant("2026-11-23T10:42:15Z"));
}

#[test]
fn r7_a_watch_that_is_blind_for_three_intervals_pages_once() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("1m");
    world.shop().queries_fail = true;
    // The last answer was of 10:41:00; three intervals later it is 10:41:45.
    world.run_to(instant("2026-11-23T10:41:44Z"));
    assert_eq!(world.paged_for(), []);
    world.run_to(instant("2026-11-23T10:41:45Z"));
    assert_eq!(world.paged_for(), [PageReason::Blind]);
    world.run("5m");
    world.shop().queries_fail = false;
    world.run("1m");
    assert!(world.own().pages.iter().all(|page| page.resolved_at.is_some()), "it sees again");
    world.shop().queries_fail = true;
    world.run("5m");
    assert_eq!(world.paged_for(), [PageReason::Blind], "once for a watch");
    assert!(world.started().is_empty());
}

#[test]
fn r7_a_watch_that_never_sees_anything_pages_from_its_first_look_on() {
    let mut world = World::proven();
    world.show("error-rate", Sample::Missing);
    world.run("10m");
    world.shop().sick.insert((crate::common::version("v2"), trigger("error-rate")), Sample::Missing);
    world.deploy("v2");
    world.run("1m");
    assert_eq!(world.paged_for(), [PageReason::Blind]);
    world.run("31m");
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Blind));
}

#[test]
fn r7_a_trigger_whose_baseline_cannot_be_read_is_blind_and_pages() {
    let mut config = reference();
    shop(&mut config).triggers.retain(|trigger| trigger.name.as_str() != "error-rate");
    let mut world = World::proven_with(config);
    world.shop().queries_fail = true;
    world.deploy("v2");
    world.run("2m");
    assert_eq!(world.paged_for(), [PageReason::Blind]);
}

#[test]
fn r7_a_trigger_whose_baseline_is_read_late_is_still_judged_by_what_was_before_the_deploy() {
    let mut world = World::proven();
    world.show("p99-latency", Sample::Value(0.9));
    world.run("2m");
    world.sicken("v2", "p99-latency", 0.9);
    world.shop().queries_fail = true;
    world.deploy("v2");
    world.run("2m");
    // The trigger's own queries work again before the one for its baseline does.
    world.shop().queries_fail = false;
    let (name, deploy, now) = (trigger("p99-latency"), world.own().watch.as_ref().unwrap().deploy.clone(), world.now);
    let metric = world.metric(&service(SHOP), &name);
    let from = world.own().watch.as_ref().unwrap().at.floor(metric.step);
    let answers = world.shop().answers(&name, &metric, from, now.floor(metric.step));
    world.tell(Happening::looked_whole(deploy, name, answers, None));
    assert_eq!(arming(&world, "p99-latency"), Arming::Unknown, "nothing could be compared yet");
    world.run("10m");
    assert_eq!(arming(&world, "p99-latency"), Arming::Disarmed);
    assert!(world.started().is_empty());
}

#[test]
fn r7_a_piece_of_a_long_window_that_failed_is_as_blind_as_any_look_that_did() {
    for (fails, paged) in [(false, &[][..]), (true, &[PageReason::Blind][..])] {
        let mut world = World::proven();
        let deploy = world.deploy("v2");
        world.shop().queries_fail = fails;
        let (name, from) = (trigger("error-rate"), world.now);
        let (to, until) = (from + duration("5m"), from + duration("1h"));
        world.now = until;
        let metric = world.metric(&service(SHOP), &name);
        let answers = world.shop().answers(&name, &metric, from.floor(metric.step), to.floor(metric.step));
        let (so_far, besides, more_until) = (None, Vec::new(), Some(until));
        let answered_until = None;
        world.tell(Happening::Looked { deploy, trigger: name, answers, answered_until, so_far, besides, more_until });
        assert_eq!(world.paged_for(), paged, "{fails}");
    }
}

#[test]
fn r7_a_baseline_that_came_back_empty_is_asked_for_again() {
    let mut world = World::proven();
    world.sicken("v2", "p99-latency", 0.9);
    world.shop().queries_are_empty = true;
    world.deploy("v2");
    world.run("2m");
    assert_eq!(world.paged_for(), [PageReason::Blind]);
    world.shop().queries_are_empty = false;
    world.run("10m");
    assert_eq!(world.started().len(), 1, "the data of the hour before were there all along");
}

#[test]
fn r7_too_little_traffic_pages_nobody_and_ends_unproven() {
    let mut world = World::proven();
    world.show("error-rate", Sample::Low);
    world.shop().sick.insert((crate::common::version("v2"), trigger("error-rate")), Sample::Low);
    world.deploy("v2");
    world.run("31m");
    assert_eq!(world.paged_for(), []);
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Unproven));
}

#[test]
fn r7_too_little_traffic_wins_over_the_nan_that_it_causes() {
    let mut config = reference();
    let Observed::Metric(p99) = &mut shop_trigger(&mut config, "p99-latency").observed else { panic!("a metric") };
    std::sync::Arc::make_mut(p99).at_least = Some(AtLeast { expr: template("traffic"), value: 20.0 });
    let mut world = World::proven_with(config);
    world.shop().sick.insert((crate::common::version("v2"), trigger("p99-latency")), Sample::Low);
    world.deploy("v2");
    world.run("31m");
    assert_eq!(world.paged_for(), []);
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Unproven));
}

#[test]
fn r7_traffic_that_was_enough_for_one_clear_look_is_enough_to_pass() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("20m");
    world.show("error-rate", Sample::Low);
    world.run("11m");
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Passed));
}

#[test]
fn r7_a_watch_that_ends_blind_has_not_passed() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("29m");
    world.show("p99-latency", Sample::Missing);
    world.run("3m");
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Blind));
    world.deploy("v3");
    assert_eq!(world.target().as_deref(), Some("v1"));
}

#[test]
fn r7_a_daemon_that_was_down_past_the_end_of_a_watch_looks_before_it_ends_it() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("20m");
    let mut worse = world.clone();

    world.now = world.now + duration("30m");
    world.restart();
    let mut blind = world.clone();
    world.run("20s");
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Passed), "what was there all the time is seen");

    blind.shop().queries_fail = true;
    blind.run("40s");
    assert!(blind.own().watch.is_some());
    blind.run("20s");
    assert_eq!(blind.watch_end("v2"), Some(WatchEnd::Blind), "it is waited for as long as for any last look");

    worse.now = worse.now + duration("2m");
    worse.show("error-rate", BAD);
    worse.now = worse.now + duration("28m");
    worse.restart();
    worse.run("20s");
    let own = worse.own();
    assert_eq!(own.open_firings().map(|firing| firing.trigger.as_str()).collect::<Vec<_>>(), ["error-rate"]);
    assert!(worse.paths_started().is_empty(), "its budget was spent while nobody looked: a human decides");
}

#[test]
fn r7_a_gap_that_stays_does_not_keep_a_healthy_version_from_passing_in_time() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("10m");
    world.show("error-rate", Sample::Missing);
    world.run("20s");
    world.show("error-rate", GOOD);
    world.run_to(instant("2026-11-23T11:10:07Z"));
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Passed));
}

#[test]
fn r7_a_breach_that_is_open_at_the_end_keeps_the_watch_open_until_it_fires() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("29m");
    world.show("error-rate", BAD);
    world.run("70s");
    assert!(world.own().watch.is_some(), "it breaches since before the end");
    world.run("60s");
    assert_eq!(world.paths_started(), ["pipeline"]);
}

#[test]
fn r7_a_breach_that_is_open_at_the_end_keeps_the_watch_open_until_it_clears() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("29m");
    world.show("error-rate", BAD);
    world.run("90s");
    assert!(world.own().watch.is_some());
    world.show("error-rate", GOOD);
    world.run("30s");
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Passed));
    assert!(world.started().is_empty());
}

#[test]
fn r7_a_breach_that_begins_after_the_end_neither_fires_nor_keeps_the_watch_open() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("29m");
    let firing = world.observe("login-broken");
    world.run("3m");
    world.show("error-rate", BAD);
    world.run("5m");
    assert!(world.fired("error-rate").is_none());
    world.tell(Happening::Dismissed { firing, why: "it works".to_owned() });
    world.run("5m");
    assert!(world.own().watch.is_none(), "nothing can end it any more: {:?}", world.own().watch);
}

#[test]
fn r7_a_version_that_breaches_when_its_watch_ends_has_not_passed() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("29m");
    world.show("error-rate", BAD);
    world.run("75s");
    world.show("error-rate", Sample::Missing);
    world.run("15s");
    world.show("error-rate", BAD);
    world.run("5m");
    assert!(world.watch_end("v2").is_some());
    assert_ne!(world.watch_end("v2"), Some(WatchEnd::Passed));
}

#[test]
fn r7_a_breach_that_turns_into_silence_does_not_keep_the_watch_open_for_ever() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("29m");
    world.show("error-rate", BAD);
    world.run("1m");
    world.show("error-rate", Sample::Missing);
    world.run("5m");
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Blind));
}

#[test]
fn r7_a_shadow_trigger_is_recorded_and_does_nothing_else() {
    let mut config = reference();
    shop_trigger(&mut config, "error-rate").action = Action::Shadow;
    let mut world = World::proven_with(config);
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("5m");
    assert_eq!(arming(&world, "error-rate"), Arming::Spent);
    world.show("error-rate", Sample::Missing);
    world.run("26m");
    assert!(world.own().firings.is_empty());
    assert_eq!(world.paged_for(), []);
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Passed));
}

#[test]
fn r7_a_shadow_trigger_that_is_reported_does_nothing_whether_a_watch_is_open_or_not() {
    let mut config = reference();
    shop_trigger(&mut config, "smoke-test").action = Action::Shadow;
    let mut world = World::proven_with(config);
    let report = || Happening::Reported {
        trigger: trigger("smoke-test"),
        note: Some("red".to_owned()),
        about: Default::default(),
    };
    world.tell(report());
    world.deploy("v2");
    world.tell(report());
    assert!(world.own().firings.is_empty());
    assert!(world.started().is_empty());
}

#[test]
fn r7_an_alerting_rule_pastes_in() {
    let mut config = reference();
    let metric = Metric {
        query: Query::Filter { expr: template("up == 0"), presence: template("up") },
        condition: Condition::Any,
        at_least: None,
        window: duration("1m"),
        freshness: None,
        step: duration("15s"),
        comparison: None,
    };
    shop(&mut config).triggers.push(metric_trigger("down", metric, "1m", "5m").into());
    let mut world = World::new(config);
    world.show("down", Sample::Value(0.0));
    world.shop().sick.insert((crate::common::version("v1"), trigger("down")), Sample::Value(0.0));
    world.shop().sick.insert((crate::common::version("v2"), trigger("down")), Sample::Value(0.0));
    world.deploy("v1");
    world.run("31m");
    assert_eq!(world.watch_end("v1"), Some(WatchEnd::Passed));
    world.deploy("v2");
    world.run("1m");
    world.show("down", Sample::Value(2.0));
    world.run("2m");
    assert!(world.fired("down").is_some());
}

#[test]
fn r7_the_window_that_is_asked_for_begins_where_an_open_row_of_breaches_does() {
    let mut world = breach_with(Sample::Missing);
    world.run("20s");
    let from = |world: &World| {
        wants(&world.config, &world.state, &service(SHOP)).into_iter().find_map(|want| match want {
            Want::Trigger { trigger, from, .. } if trigger.as_str() == "error-rate" => Some(from),
            Want::Trigger { .. }
            | Want::Baseline { .. }
            | Want::VersionBefore { .. }
            | Want::Serving { .. }
            | Want::Version { .. }
            | Want::Smoke { .. } => None,
        })
    };
    assert!(
        from(&world).unwrap() <= instant("2026-11-23T10:40:15Z"),
        "the gap may still be filled in: {:?}",
        from(&world)
    );
    let Observed::Metric(_) = &shop_trigger(&mut world.config, "error-rate").observed else { panic!("a metric") };
    assert!(!matches!(world.own().watch.as_ref().unwrap().triggers.get("error-rate").unwrap().turn, Turn::Unseen));
    assert!(Look::NoData.is_blind());
}
