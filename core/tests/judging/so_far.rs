//! Going on from what earlier points have come to: it says the same as the whole window would.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rollbackd_core::config::{Observed, Query};
use rollbackd_core::event::Happening;
use rollbackd_core::reading::{Look, Point};
use rollbackd_core::trigger::{Arming, Rule, SETTLES_AFTER_INTERVALS, SoFar, Verdict, judge, judge_on};

use crate::common::outside::{Sample, Window, answers};
use crate::common::plan::{SHOP, shop_trigger, template};
use crate::common::world::World;
use crate::common::{instant, service, trigger};
use crate::rows::{BEFORE, STEP, rule, slot};

pub(crate) fn points(looks: &[Look]) -> Vec<Point> {
    looks.iter().zip(0..).map(|(look, number)| Point { at: slot(number), look: *look }).collect()
}

pub(crate) fn looks(most: usize) -> impl Strategy<Value = Vec<Look>> {
    let look = prop_oneof![
        8 => Just(Look::Breach(0.2)),
        4 => Just(Look::Clear(0.01)),
        1 => Just(Look::LowTraffic),
        1 => Just(Look::NoTraffic),
        2 => Just(Look::NoData),
        1 => Just(Look::Error),
    ];
    proptest::collection::vec(look, 1..most)
}

/// Looks each time that many slots are there, with nothing but the slots after those that are settled.
fn look_by_look(rule: &Rule, points: &[Point], at: &[usize]) -> (Verdict, Option<SoFar>) {
    let mut so_far: Option<SoFar> = None;
    let (mut arming, mut answered_until) = (Arming::Unknown, None);
    let mut all = at.to_vec();
    all.push(points.len());
    all.sort_unstable();
    let mut last = None;
    for count in all {
        let begin = so_far.map_or(BEFORE, |known| known.until + STEP);
        let new: Vec<Point> = points[..count].iter().filter(|point| point.at >= begin).copied().collect();
        let verdict = judge_on(rule, arming, so_far.as_ref(), &new, answered_until);
        (arming, answered_until) = (verdict.arming, verdict.answered_until);
        last = Some((verdict, so_far));
        so_far = verdict.so_far;
    }
    last.expect("a look")
}

proptest! {
    #[test]
    fn a_look_that_goes_on_from_the_looks_before_says_what_the_whole_window_says(
        looks in looks(60),
        hold in 0_u32..6,
        at in proptest::collection::vec(1_usize..60, 0..12),
    ) {
        let points = points(&looks);
        let at: Vec<usize> = at.into_iter().filter(|count| *count < points.len()).collect();
        let rule = rule(hold);
        let whole = judge(&rule, Arming::Unknown, &points, None);
        let (by_steps, _) = look_by_look(&rule, &points, &at);
        prop_assert_eq!(by_steps.arming, whole.arming);
        prop_assert_eq!(by_steps.breaching_since, whole.breaching_since);
        prop_assert_eq!(by_steps.said_breaching_since, whole.said_breaching_since);
        prop_assert_eq!(by_steps.clear_at, whole.clear_at);
        prop_assert_eq!(by_steps.fired, whole.fired);
        prop_assert_eq!(by_steps.did_not_help, whole.did_not_help);
        prop_assert_eq!(by_steps.latest, whole.latest);
        prop_assert_eq!(by_steps.answered_until, whole.answered_until);
        prop_assert_eq!(by_steps.blind, whole.blind);
    }

    #[test]
    fn what_a_look_may_leave_out_is_older_than_what_may_still_come_in(looks in looks(60)) {
        let points = points(&looks);
        let verdict = judge(&rule(2), Arming::Unknown, &points, None);
        if let Some(so_far) = verdict.so_far {
            let latest = points.last().expect("a point").at;
            prop_assert!(latest.since(so_far.until) >= STEP * SETTLES_AFTER_INTERVALS);
            let may_come = |point: &&Point| point.look.is_blind() || point.look == Look::NoTraffic;
            let first = points.iter().take_while(|point| point.at <= so_far.until).find(may_come);
            prop_assert_eq!(so_far.open_at(), first.map(|point| point.at));
        }
    }
}

#[test]
fn a_look_that_failed_moves_nothing_out_of_reach() {
    let seen = points(&[Look::Clear(0.01); 10]);
    let verdict = judge(&rule(2), Arming::Unknown, &seen, None);
    let so_far = verdict.so_far.unwrap();
    let failed: Vec<Point> = (7..20).map(|number| Point { at: slot(number), look: Look::Error }).collect();
    let next = judge_on(&rule(2), Arming::Armed, Some(&so_far), &failed, verdict.answered_until);
    assert_eq!(next.so_far, Some(so_far), "the slots that the failed look was about are asked for again");
    assert!(next.blind);
}

#[test]
fn a_trigger_that_has_fired_fires_no_second_time_for_what_was_seen_before() {
    let row = points(&[&[Look::Clear(0.0)][..], &[Look::Breach(0.2); 12]].concat());
    let verdict = judge(&rule(2), Arming::Unknown, &row, None);
    let so_far = verdict.so_far.unwrap();
    assert!(verdict.fired.is_some() && so_far.until > verdict.fired.unwrap().observed_at(rule(2).hold));
    let next = judge_on(&rule(2), Arming::Spent, Some(&so_far), &row[8..], verdict.answered_until);
    assert_eq!((next.fired, next.arming), (None, Arming::Spent));
}

#[test]
fn what_was_seen_between_two_slots_counts_from_there() {
    // Clear, then breaches: looked closer, the breach began five seconds before the first slot that shows it.
    let mut row =
        points(&[Look::Clear(0.0), Look::Clear(0.0), Look::Breach(0.2), Look::Breach(0.2), Look::Breach(0.2)]);
    let began = row[2].at - Duration::from_secs(5);
    row.insert(2, Point { at: began, look: Look::Breach(0.2) });
    assert_eq!(judge(&rule(2), Arming::Unknown, &row, None).fired.unwrap().observed_at(rule(2).hold), began + STEP * 2);
    row.truncate(5);
    assert_eq!(judge(&rule(2), Arming::Unknown, &row, None).fired, None);
    row.push(Point { at: began + STEP * 2, look: Look::Breach(0.2) });
    let fired = judge(&rule(2), Arming::Unknown, &row, None).fired.unwrap();
    assert_eq!((fired.breach_at, fired.observed_at(rule(2).hold)), (began, began + STEP * 2));
}

#[test]
fn where_what_was_before_the_deploy_is_not_known_the_next_look_asks_for_it_again() {
    let mut row = points(&[&[Look::Error][..], &[Look::Breach(0.2); 12]].concat());
    let verdict = judge(&rule(2), Arming::Unknown, &row, None);
    assert_eq!((verdict.arming, verdict.so_far), (Arming::Unknown, None));
    row[0].look = Look::Clear(0.01);
    assert!(judge(&rule(2), Arming::Unknown, &row, None).fired.is_some(), "it turns out to have been clear");
}

#[test]
fn a_look_goes_on_from_a_slot_and_never_from_between_two() {
    let mut row = points(&[Look::Clear(0.01); 12]);
    let between = Duration::from_secs(7);
    row.insert(9, Point { at: row[8].at + between, look: Look::Clear(0.01) });
    row.push(Point { at: row[12].at + between, look: Look::Clear(0.01) });
    let so_far = judge(&rule(2), Arming::Unknown, &row, None).so_far.unwrap();
    assert_eq!(so_far.until, BEFORE + STEP * 8, "the one between is as old as what is settled");
}

#[test]
fn what_was_seen_before_counts_where_the_new_points_say_nothing_yet() {
    let mut row = points(&[Look::Clear(0.01); 10]);
    // A gap, so that what came after it is not answered for good.
    row[1].look = Look::NoData;
    let verdict = judge(&rule(2), Arming::Unknown, &row, None);
    let so_far = verdict.so_far.unwrap();
    assert_eq!(so_far.until, BEFORE + STEP * 6);
    row[7..].iter_mut().for_each(|point| point.look = Look::NoData);
    for (count, blind) in [(9, false), (10, true)] {
        let next = judge_on(&rule(2), Arming::Armed, Some(&so_far), &row[7..count], verdict.answered_until);
        assert_eq!(next.blind, blind, "{count} slots");
        assert_eq!(judge(&rule(2), Arming::Armed, &row[..count], verdict.answered_until).blind, blind);
    }
}

#[test]
fn a_slot_that_was_answered_before_is_no_gap_where_it_cannot_be_read_any_more() {
    let mut row = points(&[Look::Clear(0.01); 12]);
    row[2].look = Look::NoData;
    for (answered, gap) in [(1, Some(2)), (2, None)] {
        let verdict = judge(&rule(2), Arming::Unknown, &row, Some(BEFORE + STEP * answered));
        assert_eq!(verdict.so_far.unwrap().open_at(), gap.map(|gap| BEFORE + STEP * gap));
    }
}

#[test]
fn what_queries_that_count_from_the_deploy_do_not_show_at_first_is_no_gap() {
    // No query has two samples that soon.
    for nothing in [Look::NoData, Look::NoTraffic] {
        let row = points(&[&[nothing; 4][..], &[Look::Clear(0.01); 11]].concat());
        assert_eq!(judge(&rule(2), Arming::Unknown, &row, None).so_far.unwrap().open_at(), Some(BEFORE));
        let counts_from_deploy = Rule { since_deploy: true, ..rule(2) };
        let verdict = judge(&counts_from_deploy, Arming::Unknown, &row, None);
        assert_eq!(verdict.so_far.unwrap().open_at(), None, "{nothing:?}");
        assert!(!verdict.blind);
        let blind = [Look::NoData; 10].map(|look| if nothing == Look::NoData { look } else { Look::Error });
        assert!(judge(&counts_from_deploy, Arming::Unknown, &points(&blind), None).blind);
    }
}

#[test]
fn of_a_watch_it_is_known_that_its_queries_count_from_the_deploy() {
    let (shop, name) = (service(SHOP), trigger("error-rate"));
    let deployed_at = instant("2026-11-23T10:40:00Z");
    for (range, open_at) in [("1m", Some(deployed_at)), ("{{ since_deploy }}", None)] {
        let mut world = World::proven();
        let mut metric = world.metric(&shop, &name);
        metric.at_least = None;
        let query = |counter: &str| template(&format!("sum(rate({counter}[{range}]))"));
        metric.query = Query::Ratio { bad: query("bad_total"), total: query("requests_total") };
        shop_trigger(&mut world.config, name.as_str()).observed = Observed::Metric(Arc::new(metric.clone()));
        let deploy = world.deploy("v2");
        world.now = deployed_at + Duration::from_secs(300);
        let window = Window { from: deployed_at, to: world.now, step: metric.step };
        let sample = |at| if at == deployed_at { Sample::Missing } else { Sample::Value(0.01) };
        let answers = answers(&metric, window, sample);
        let happening = Happening::looked_whole(deploy, name.clone(), answers, None);
        let so_far = world.decide(&shop, happening).verdict.unwrap().so_far.unwrap();
        assert_eq!(so_far.open_at(), open_at, "[{range}]");
    }
}

#[test]
fn a_look_that_goes_on_from_what_another_config_has_judged_says_nothing() {
    let mut world = World::proven();
    let deploy = world.deploy("v2");
    world.now = instant("2026-11-23T10:45:00Z");
    let (shop, name) = (service(SHOP), trigger("error-rate"));
    let metric = world.metric(&shop, &name);
    let mut look = |generation: u32, so_far: Option<SoFar>| {
        world.config.generation = generation;
        let answers = world.outside[SHOP].answers(
            &name,
            &metric,
            instant("2026-11-23T10:40:00Z"),
            instant("2026-11-23T10:45:00Z"),
        );
        let (deploy, trigger) = (deploy.clone(), name.clone());
        let besides = Vec::new();
        world.decide(
            &shop,
            Happening::Looked { deploy, trigger, answers, answered_until: None, so_far, besides, more_until: None },
        )
    };
    let so_far = look(1, None).verdict.expect("a look that says something").so_far;
    assert_eq!(so_far.map(|so_far| so_far.generation), Some(1));
    assert!(look(1, so_far).verdict.is_some());
    let other = look(2, so_far);
    assert_eq!(
        (other.verdict, other.records),
        (None, Vec::new()),
        "only the whole window says what it is by this config"
    );
}
