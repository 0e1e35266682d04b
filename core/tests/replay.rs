//! The core replayed over given deploys and answers: what its story tells, and when.

#[expect(dead_code, reason = "each test crate uses another part of it")]
mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use rollbackd_core::board::Shown;
use rollbackd_core::config::{Config, Mode};
use rollbackd_core::deploy::WatchEnd;
use rollbackd_core::event::{Happening, Order, Reply, Serving};
use rollbackd_core::firing::{FiringEnd, Outcome, Stage};
use rollbackd_core::name::{ServiceName, Version};
use rollbackd_core::page::PageReason;
use rollbackd_core::reading::{Answers, Look};
use rollbackd_core::record::{PageRecord, Record, WatchRecord};
use rollbackd_core::replay::{Ask, Line, Replay, Source};
use rollbackd_core::state::Turn;
use rollbackd_core::time::Timestamp;
use rollbackd_core::view;

use common::outside::{Outside, Sample};
use common::plan::{SHOP, fleet, reference};
use common::world::report;
use common::{duration, instant, service, trigger, version};

/// One service's production, in which paths work after a minute.
struct Production {
    outside: Outside,
    orders: Vec<Order>,
    /// How long the paths of a service take, where that is not a minute.
    takes: BTreeMap<ServiceName, Duration>,
    /// The slots that were asked for, from the first to the last of each question.
    asked: Vec<(Timestamp, Timestamp)>,
}

impl Production {
    fn of(outside: Outside) -> Self {
        Self { outside, orders: Vec::new(), takes: BTreeMap::new(), asked: Vec::new() }
    }
}

impl Source for Production {
    fn answers(&mut self, ask: &Ask<'_>) -> Answers {
        self.asked.push((ask.from, ask.to));
        self.outside.answers(&ask.trigger.name, ask.metric, ask.from, ask.to)
    }

    fn serving(&mut self, _: &ServiceName, at: Timestamp, not: Option<&Version>) -> Option<Serving> {
        self.outside.serving(at).filter(|serving| Some(&serving.version) != not)
    }

    fn attempt(&mut self, order: &Order, at: Timestamp) -> Option<(Duration, Outcome)> {
        self.orders.push(order.clone());
        let took = self.takes.get(&order.service).copied().unwrap_or(duration("1m"));
        self.outside.serve(&version("v1"), at + took);
        Some((took, Outcome::Succeeded { receipt: Some("run 7".to_owned()), output: String::new() }))
    }
}

type Shop = Replay<Production>;

/// `v1` was deployed at 10:00 and passed; `v2` fails one request in ten.
fn shop(mode: Mode) -> Shop {
    let config = Config { mode, ..reference() };
    let triggers = ["error-rate", "p99-latency"].map(trigger);
    let mut outside = Outside::new(triggers);
    outside.sick.insert((version("v2"), trigger("error-rate")), Sample::Value(0.1));
    outside.serve(&version("v1"), instant("2026-11-23T10:00:00Z"));
    let production = Production::of(outside);
    let mut replay = Replay::new(config, production, instant("2026-11-23T10:00:00Z"));
    replay.deploy(&service(SHOP), report("v1"));
    replay.run_until(instant("2026-11-23T10:40:07Z"));
    assert_eq!(replay.state().services[SHOP].last, Some(WatchEnd::Passed));
    replay
}

/// The version serves, and that is told.
fn deploy(replay: &mut Shop, name: &str) -> Reply {
    let now = replay.now();
    replay.source().outside.serve(&version(name), now);
    replay.deploy(&service(SHOP), report(name))
}

/// What a trigger turned to, and when, since an instant; that it was armed by what it showed before is no turn.
fn turns(replay: &Shop, name: &str, since: Timestamp) -> Vec<(Timestamp, Turn)> {
    let turned = |line: &Line| {
        let Record::Watch(WatchRecord::Turned { trigger, turn, .. }) = &line.record else { return None };
        let counts = trigger.as_str() == name && line.at >= since && *turn != Turn::Unseen;
        counts.then_some((line.at, *turn))
    };
    replay.story().iter().filter_map(turned).collect()
}

fn pages(replay: &Shop) -> Vec<PageReason> {
    let opened = |line: &Line| {
        let Record::Page(PageRecord::Opened { page }) = &line.record else { return None };
        Some(page.reason)
    };
    replay.story().iter().filter_map(opened).collect()
}

#[test]
fn a_dry_run_tells_when_each_trigger_turned_and_fired_and_what_would_have_run() {
    let mut replay = shop(Mode::DryRun);
    let deployed_at = replay.now();
    deploy(&mut replay, "v2");
    replay.run_until(instant("2026-11-23T10:44:00Z"));
    let first = instant("2026-11-23T10:40:15Z");
    assert_eq!(
        turns(&replay, "error-rate", deployed_at).first(),
        Some(&(first, Turn::Breaching { since: first })),
        "seen at the first slot after the deploy"
    );
    let [(_, firing)] = replay.firings() else { panic!("one firing, not {:?}", replay.firings()) };
    assert_eq!(firing.trigger, trigger("error-rate"));
    assert_eq!(firing.observed_at, instant("2026-11-23T10:42:15Z"), "two minutes later");
    assert_eq!(firing.decided_at, firing.observed_at, "looked at at that very slot");
    assert_eq!(
        firing.would_run.iter().map(|run| run.run.clone()).collect::<Vec<_>>(),
        [vec!["deploy".to_owned(), "v1".to_owned()]]
    );
    assert!(replay.source().orders.is_empty(), "nothing runs in a dry run");
    assert_eq!(replay.fault(), None);
}

#[test]
fn a_dry_run_goes_on_with_what_production_really_did() {
    let mut replay = shop(Mode::DryRun);
    deploy(&mut replay, "v2");
    replay.run_until(instant("2026-11-23T10:50:00Z"));
    assert!(matches!(replay.firings()[0].1.stage, Stage::Verifying { .. }), "{:?}", replay.firings()[0].1.stage);
    let reply = deploy(&mut replay, "v1");
    assert!(matches!(reply, Reply::SameDeploy(_)), "what humans go back to opens no watch: {reply:?}");
    replay.run_until(instant("2026-11-23T10:51:00Z"));
    let (_, firing) = &replay.firings()[0];
    assert!(matches!(firing.stage, Stage::Ended { result: FiringEnd::Recovered, .. }), "{:?}", firing.stage);
    assert_eq!(firing.recovered_at, Some(instant("2026-11-23T10:50:00Z")));
}

#[test]
fn a_live_replay_runs_the_paths_of_its_source_and_its_pagers_take_every_page() {
    let mut replay = shop(Mode::Live);
    deploy(&mut replay, "v2");
    let observed = Happening::Reported { trigger: trigger("login-broken"), note: None, about: Default::default() };
    assert!(matches!(replay.tell(&service(SHOP), observed), Reply::Firing(_)));
    assert_eq!(pages(&replay), [PageReason::Manual]);
    assert!(replay.state().services[SHOP].pages.iter().all(|page| page.undelivered.is_empty()));
    replay.run_until(instant("2026-11-23T10:45:00Z"));
    assert_eq!(replay.source().orders.len(), 1);
    let fired: Vec<_> = replay.firings().iter().map(|(_, firing)| (firing.trigger.as_str(), &firing.stage)).collect();
    let ["login-broken", "error-rate"] = fired.iter().map(|(name, _)| *name).collect::<Vec<_>>()[..] else {
        panic!("{fired:?}")
    };
    assert!(matches!(fired[1].1, Stage::Ended { result: FiringEnd::Recovered, published: true, .. }), "{fired:?}");
    let attempt = &replay.firings()[1].1.attempts[0];
    assert_eq!(attempt.ended_at, Some(attempt.started_at + duration("1m")));
}

#[test]
fn a_path_that_used_up_its_timeout_says_nothing_more_and_those_of_other_services_go_on() {
    let names = [SHOP, "other"].map(service);
    let start = instant("2026-11-23T10:00:00Z");
    let mut outside = Outside::new(["error-rate", "p99-latency"].map(trigger));
    outside.serve(&version("v1"), start);
    let mut replay = Replay::new(fleet(&[SHOP, "other"]), Production::of(outside), start);
    replay.source().takes = BTreeMap::from([(names[0].clone(), duration("5m")), (names[1].clone(), duration("3m"))]);
    for (name, until) in [("v1", "2026-11-23T10:40:00Z"), ("v2", "2026-11-23T10:41:00Z")] {
        let now = replay.now();
        replay.source().outside.serve(&version(name), now);
        names.iter().for_each(|service| drop(replay.deploy(service, report(name))));
        replay.run_until(instant(until));
    }
    // The path of the first has four minutes; that of the second is still running then.
    for (service, until) in names.iter().zip(["2026-11-23T10:43:00Z", "2026-11-23T10:47:00Z"]) {
        let what = Happening::Reported { trigger: trigger("smoke-test"), note: None, about: Default::default() };
        assert!(matches!(replay.tell(service, what), Reply::Firing(_)));
        replay.run_until(instant(until));
    }
    let first = |name: &ServiceName| {
        let (_, firing) = replay.firings().iter().find(|(service, _)| service == name).expect("a firing");
        firing.attempts[0].outcome.clone()
    };
    assert_eq!(first(&names[0]), Some(Outcome::TimedOut));
    assert!(matches!(first(&names[1]), Some(Outcome::Succeeded { .. })), "{:?}", first(&names[1]));
}

#[test]
fn at_any_instant_it_shows_what_status_would_show() {
    let mut replay = shop(Mode::DryRun);
    deploy(&mut replay, "v2");
    let state_at = |replay: &mut Shop, at: &str, name: &str| {
        replay.run_until(instant(at));
        let view = view::service(replay.config(), replay.state(), replay.board(), &service(SHOP), replay.now());
        let triggers = view.expect("the service").triggers;
        triggers.iter().find(|each| each.name.as_str() == name).expect("the trigger").state
    };
    assert_eq!(state_at(&mut replay, "2026-11-23T10:41:00Z", "error-rate"), "breaching");
    assert_eq!(state_at(&mut replay, "2026-11-23T10:41:00Z", "p99-latency"), "clear");
    assert_eq!(state_at(&mut replay, "2026-11-23T10:42:14Z", "error-rate"), "breaching");
    assert_eq!(state_at(&mut replay, "2026-11-23T10:42:15Z", "error-rate"), "fired");
    let shown = replay.board().get(&service(SHOP), &trigger("error-rate")).and_then(|shown| shown.look);
    assert_eq!(shown.and_then(Look::value), Some(0.1), "the value of the last look");
}

#[test]
fn a_look_that_changes_nothing_asks_for_its_newest_slot_alone_and_shows_the_same() {
    for (sample, later) in [(Sample::Value(0.01), Sample::Value(0.02)), (Sample::Low, Sample::Low)] {
        let replayed = |spares: bool| {
            let mut replay = shop(Mode::DryRun);
            deploy(&mut replay, "v3");
            let now = replay.now();
            replay.source().outside.show(&trigger("error-rate"), now, sample);
            replay.run_until(instant("2026-11-23T10:50:00Z"));
            let mut replay = if spares { replay } else { replay.sparing_nothing() };
            let now = replay.now();
            replay.source().outside.show(&trigger("error-rate"), now, later);
            replay.source().asked.clear();
            replay.run_until(instant("2026-11-23T11:00:00Z"));
            // What a look could go on from is not shown, and a replay goes on from none.
            let shown = |name: &str| {
                let shown = replay.board().get(&service(SHOP), &trigger(name));
                shown.map(|shown| Shown { so_far: None, ..shown })
            };
            let shown = ["error-rate", "p99-latency"].map(shown);
            (replay.source().asked.clone(), shown)
        };
        let ((spared, shown), (whole, expected)) = (replayed(true), replayed(false));
        assert!(!spared.is_empty() && spared.iter().all(|(from, to)| from == to), "{sample:?}: {spared:?}");
        assert!(!whole.is_empty() && whole.iter().all(|(from, to)| from < to), "{sample:?}: {whole:?}");
        assert_eq!(shown, expected, "{sample:?}");
    }
}

#[test]
fn the_version_to_return_to_is_the_one_that_served_just_before_the_deploy() {
    let start = instant("2026-11-23T10:00:00Z");
    let mut outside = Outside::new(["error-rate", "p99-latency"].map(trigger));
    outside.serve(&version("v0"), start - duration("1h"));
    outside.serve(&version("v1"), start);
    let production = Production::of(outside);
    let mut replay = Replay::new(Config { mode: Mode::DryRun, ..reference() }, production, start);
    replay.deploy(&service(SHOP), report("v1"));
    replay.run_until(start + duration("1m"));
    assert_eq!(view::target(&replay.state().services[SHOP]), Some(version("v0")));
}

#[test]
fn a_baseline_is_read_before_anything_is_compared_with_it() {
    let mut replay = shop(Mode::DryRun);
    let deployed_at = replay.now();
    replay.source().outside.sick.insert((version("v3"), trigger("p99-latency")), Sample::Value(0.5));
    deploy(&mut replay, "v3");
    replay.run_until(instant("2026-11-23T10:47:00Z"));
    let [(_, firing)] = replay.firings() else { panic!("one firing, not {:?}", replay.firings()) };
    assert_eq!((firing.trigger.as_str(), firing.limit), ("p99-latency", Some(0.4)), "twice the 0.2 of the hour before");
    assert_eq!(firing.observed_at, instant("2026-11-23T10:45:15Z"));
    let blind = turns(&replay, "p99-latency", deployed_at).iter().any(|(_, turn)| *turn == Turn::Blind);
    assert!(!blind, "never blind, since the baseline is there at the first look");
}

#[test]
fn no_time_goes_by_where_nothing_is_awaited_and_never_backwards() {
    let mut replay = shop(Mode::DryRun);
    let lines = replay.story().len();
    replay.run_until(instant("2036-11-23T10:00:00Z"));
    replay.run_until(instant("2026-11-23T10:00:00Z"));
    assert_eq!(replay.now(), instant("2036-11-23T10:00:00Z"));
    assert_eq!(replay.story().len(), lines);
}

/// A service whose metrics change at random, often enough for every turn.
struct Weather(seeded::Random);

mod seeded {
    /// Numbers out of a seed (SplitMix64).
    #[derive(Clone)]
    pub(super) struct Random(pub(super) u64);

    impl Random {
        pub(super) fn below(&mut self, most: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)) % most
        }
    }
}

impl Weather {
    /// Two deploys on one afternoon, with what the metrics showed between and after them.
    fn day(mut self, spares: bool) -> Shop {
        let start = instant("2026-11-23T10:00:00Z");
        let mut outside = Outside::new(["error-rate", "p99-latency"].map(trigger));
        outside.serve(&version("v1"), start);
        outside.serve(&version("v2"), start + duration("90m"));
        outside.serve(&version("v3"), start + duration("110m"));
        for name in ["error-rate", "p99-latency"].map(trigger) {
            let mut at = start;
            while at < start + duration("4h") {
                let sample = match self.0.below(10) {
                    0 => Sample::Value(0.9),
                    1 | 2 => Sample::Low,
                    3 => Sample::Missing,
                    _ => Sample::Value(0.01),
                };
                outside.show(&name, at, sample);
                at = at + duration("15s") * u32::try_from(1 + self.0.below(40)).expect("a small number");
            }
        }
        let config = Config { mode: Mode::DryRun, ..reference() };
        let replay = Replay::new(config, Production::of(outside), start);
        let mut replay = if spares { replay } else { replay.sparing_nothing() };
        for (minutes, name) in [(Duration::ZERO, "v1"), (duration("90m"), "v2"), (duration("110m"), "v3")] {
            replay.run_until(start + minutes);
            replay.deploy(&service(SHOP), report(name));
        }
        replay.run_until(start + duration("4h"));
        replay
    }
}

#[test]
fn sparing_looks_that_change_nothing_changes_no_story() {
    let (mut fired, mut turned) = (0, 0);
    for seed in 0..60 {
        let day = |spares| Weather(seeded::Random(seed)).day(spares);
        let (spared, whole) = (day(true), day(false));
        assert_eq!(spared.story(), whole.story(), "seed {seed}");
        assert_eq!(spared.board(), whole.board(), "what status shows, of seed {seed}");
        fired += spared.firings().len();
        turned += spared.story().len();
    }
    assert!(fired > 15 && turned > 600, "{fired} firings and {turned} records are no weather");
}
