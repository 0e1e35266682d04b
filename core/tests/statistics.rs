//! What the tests of `compare` are worth, measured on simulated deploys: false alarms, differences that are found, and how
//! soon. The tables of `docs/statistics.md` are what this measures.
//!
//! `UPDATE=1 cargo test -p rollbackd-core --test statistics` writes them anew; whoever does reads the difference.

#![expect(clippy::cast_precision_loss, reason = "counts of simulated watches")]

#[expect(dead_code, reason = "each test crate uses another part of it")]
mod common;

use std::fmt::Write as _;
use std::time::Duration;

use rollbackd_core::comparison::{self, Scene};
use rollbackd_core::config::{Against, Comparison, Condition, Limit, Metric, Test};
use rollbackd_core::reading::{Answer, Answers, Series};
use rollbackd_core::statistics::mann_whitney;
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::{self, Arming, Rule};

use common::plan::p99_latency;
use common::{duration, version};

const PAGE: &str = include_str!("../../docs/statistics.md");
const PAGE_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/statistics.md");
const BEGIN: &str = "<!-- measured by core/tests/statistics.rs -->\n";
const END: &str = "<!-- end -->\n";

/// Watches for each figure: the error of a share of 1 % is a fifth of a percent then.
const WATCHES: u32 = 2_000;

/// A sample a minute: an hour before the deploy, and a watch of half an hour.
const MINUTE: Duration = Duration::from_secs(60);
const BEFORE: i64 = 60;
const SINCE: i64 = 30;

const FALSE_ALARMS: f64 = 0.01;
const WINDOWS: Test = Test::MannWhitney { window: Duration::from_secs(600) };

/// `SplitMix64` (G. L. Steele, D. Lea and C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From just above 0 to 1.
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64
    }

    /// Normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let (radius, turn) = ((-2.0 * self.uniform().ln()).sqrt(), std::f64::consts::TAU * self.uniform());
        radius * turn.cos()
    }
}

/// A kind of deploy.
#[derive(Clone, Copy)]
struct Deploy {
    /// How many times slower the new version is.
    ratio: f64,
    /// The standard deviation of the logarithm of a sample.
    noise: f64,
    /// How much of a sample's deviation the next one has as well.
    memory: f64,
}

impl Deploy {
    /// The samples, a minute apart: those before the deploy, then those since.
    fn samples(self, chance: &mut Chance) -> Vec<f64> {
        let mut deviation = chance.normal();
        let sample = |minute: i64| {
            let ratio = if minute < BEFORE { 1.0 } else { self.ratio };
            let value = 0.2 * ratio * (self.noise * deviation).exp();
            deviation = self.memory * deviation + (1.0 - self.memory * self.memory).sqrt() * chance.normal();
            value
        };
        (0..BEFORE + SINCE).map(sample).collect()
    }
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_milliseconds((minute + 1) * 60_000)
}

/// After how many minutes the trigger fired, as the daemon judges it.
fn fires_after(test: Test, margin: f64, samples: &[f64]) -> Option<f64> {
    let comparison = Comparison { test, against: Against::Before, false_alarms: FALSE_ALARMS };
    let metric = Metric {
        condition: Condition::Above(Limit::TimesBaseline { factor: margin, window: duration("1h") }),
        step: MINUTE,
        comparison: Some(comparison.clone()),
        ..p99_latency(duration("15s"), duration("5m"))
    };
    let minutes = BEFORE + SINCE;
    let samples = (0..minutes).map(at).zip(samples.iter().copied()).collect();
    let answers = Answers {
        from: at(0),
        to: at(minutes - 1),
        step: MINUTE,
        value: Answer::Series(vec![Series { samples, ..Series::default() }]),
        total: None,
        at_least: None,
        presence: None,
        freshness: None,
    };
    let (deploy_at, v2) = (at(BEFORE - 1), version("v2"));
    let scene = Scene {
        deploy_at,
        healthy_before: deploy_at,
        until: deploy_at + MINUTE * 30,
        version: &v2,
        target: None,
        arming: Arming::Unknown,
    };
    let points = comparison::looks(&metric, &comparison, &scene, &answers);
    let rule =
        Rule { hold: Duration::ZERO, step: MINUTE, window: MINUTE, interval: MINUTE, deploy_at, since_deploy: false };
    let fired = trigger::judge(&rule, Arming::Unknown, &points, None).fired?;
    Some(fired.observed_at(rule.hold).since(deploy_at).as_secs_f64() / 60.0)
}

/// What share of watches fired, and after how many minutes half of those that did.
fn measured(deploy: Deploy, fires: impl Fn(&[f64]) -> Option<f64>) -> (f64, Option<f64>) {
    let mut chance = Chance(20_261_129);
    let mut after: Vec<f64> = (0..WATCHES).filter_map(|_| fires(&deploy.samples(&mut chance))).collect();
    after.sort_by(f64::total_cmp);
    (after.len() as f64 / f64::from(WATCHES), after.get(after.len() / 2).copied())
}

fn by(test: Test, margin: f64, deploy: Deploy) -> (f64, Option<f64>) {
    measured(deploy, |samples| fires_after(test, margin, samples))
}

/// What somebody does who asks the plain test at each sample, from the fifth on.
fn asked_again_and_again(margin: f64, samples: &[f64]) -> Option<f64> {
    let (before, since) = samples.split_at(60);
    let scaled: Vec<f64> = before.iter().map(|value| value * margin).collect();
    let found = (5..=since.len()).find(|count| mann_whitney::greater(&since[..*count], &scaled) <= FALSE_ALARMS)?;
    Some(found as f64)
}

/// The plain test, once, on the first ten samples.
fn asked_once(margin: f64, samples: &[f64]) -> Option<f64> {
    let (before, since) = samples.split_at(60);
    let scaled: Vec<f64> = before.iter().map(|value| value * margin).collect();
    (mann_whitney::greater(&since[..10], &scaled) <= FALSE_ALARMS).then_some(10.0)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

const NOISE: f64 = 0.25;

/// A deploy as the tests take it: what one sample deviates says nothing of the next.
const fn plain(ratio: f64) -> Deploy {
    Deploy { ratio, noise: NOISE, memory: 0.0 }
}

fn false_alarms() -> String {
    let mut table = String::from(
        "| false alarms in a watch, of 1 % wanted | plain test, once | plain test, at each sample | `mann_whitney` | `sequential` |\n\
         |---|---|---|---|---|\n",
    );
    for (what, deploy) in [
        ("no difference, `above: 1.2x baseline`", plain(1.0)),
        ("exactly the 20 % that do not count", plain(1.2)),
        ("the same, each sample with 0.3 of the last one's deviation", Deploy { memory: 0.3, ..plain(1.2) }),
        ("the same, with 0.6 of it", Deploy { memory: 0.6, ..plain(1.2) }),
    ] {
        let once = measured(deploy, |samples| asked_once(1.2, samples)).0;
        let again = measured(deploy, |samples| asked_again_and_again(1.2, samples)).0;
        let shares = [once, again, by(WINDOWS, 1.2, deploy).0, by(Test::Sequential, 1.2, deploy).0].map(percent);
        let _ = writeln!(table, "| {what} | {} |", shares.join(" | "));
    }
    table
}

fn found() -> String {
    let mut table = String::from(
        "| found in a watch, and after how many minutes (median) | `mann_whitney`, 1.1x | `sequential`, 1.1x | `mann_whitney`, 1.2x | `sequential`, 1.2x |\n\
         |---|---|---|---|---|\n",
    );
    for noise in [0.1, 0.25, 0.5] {
        for percent_slower in [20, 50, 100] {
            let deploy = Deploy { ratio: 1.0 + f64::from(percent_slower) / 100.0, noise, memory: 0.0 };
            let cells = [(WINDOWS, 1.1), (Test::Sequential, 1.1), (WINDOWS, 1.2), (Test::Sequential, 1.2)];
            let cells = cells.map(|(test, margin)| {
                let (share, after) = by(test, margin, deploy);
                after.map_or_else(|| percent(share), |after| format!("{}, {after:.0}", percent(share)))
            });
            let _ =
                writeln!(table, "| {percent_slower} % slower, noise {:.0} % | {} |", noise * 100.0, cells.join(" | "));
        }
    }
    table
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the page is written where it is asked for, and only then")]
fn the_page_has_what_is_measured() {
    let tables = format!("{BEGIN}{}\n{}{END}", false_alarms(), found());
    let (before, rest) = PAGE.split_once(BEGIN).expect("the beginning of the tables");
    let (_, after) = rest.split_once(END).expect("the end of the tables");
    let page = format!("{before}{tables}{after}");
    if std::env::var("UPDATE").is_ok_and(|update| update == "1") {
        std::fs::write(PAGE_FILE, page).expect("a page that can be written");
        return;
    }
    assert!(PAGE == page, "docs/statistics.md says something else; measured:\n{tables}");
}

#[test]
fn false_alarms_are_no_more_than_the_config_says_and_plain_looks_again_and_again_raise_many() {
    // Three standard errors.
    let most = FALSE_ALARMS + 3.0 * (FALSE_ALARMS * (1.0 - FALSE_ALARMS) / f64::from(WATCHES)).sqrt();
    for ratio in [1.0, 1.2] {
        for test in [WINDOWS, Test::Sequential] {
            let (share, _) = by(test, 1.2, plain(ratio));
            assert!(share <= most, "{test:?} at {ratio}: {share}");
        }
    }
    let (again, _) = measured(plain(1.2), |samples| asked_again_and_again(1.2, samples));
    assert!(again > 4.0 * FALSE_ALARMS, "{again}");
}

#[test]
fn a_version_half_as_slow_again_is_found_and_one_twice_as_slow_sooner_by_the_sequential_test() {
    let after = [WINDOWS, Test::Sequential].map(|test| {
        assert!(by(test, 1.1, plain(1.5)).0 > 0.95, "{test:?}");
        let (share, after) = by(test, 1.2, plain(2.0));
        assert!(share > 0.99, "{test:?}: {share}");
        after
    });
    assert!(after[1] < after[0], "{after:?}");
}
