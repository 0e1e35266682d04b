//! The pieces that every look and every deploy goes through, each by itself: `scripts/bench core` times them,
//! `scripts/bench instructions` counts their instructions.
//!
//! criterion times them; callgrind, from outside, needs rounds that are counted (`--times`).

#![forbid(unsafe_code)]

#[path = "../examples/bench/chart.rs"]
mod chart;
#[path = "pieces/series.rs"]
mod series;

use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use criterion::Criterion;
use rollbackd_core::config::{Condition, Config, Limit, Metric, Observed, Query, Service, Trigger};
use rollbackd_core::deploy::Migration;
use rollbackd_core::event::{DeployReport, Event, Happening};
use rollbackd_core::name::{ServiceName, TriggerName, Version};
use rollbackd_core::reading::{Answer, Answers, Labels, Look, Point, Series};
use rollbackd_core::state::State;
use rollbackd_core::template::Template;
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::{Arming, Rule, judge};
use rollbackd_core::wants::wants;
use rollbackd_core::{apply::apply, decide};

const STEP: Duration = Duration::from_secs(15);
const SERVICES: usize = 10_000;

/// A piece: its name, and how it is prepared.
type Piece = (&'static str, fn() -> Box<dyn FnMut()>);

const PIECES: [Piece; 6] = [
    ("parse_10000_series_of_4_samples", parse),
    ("judge_120_points", judge_a_watch),
    ("decide_a_look_that_changes_nothing", look),
    ("decide_and_apply_a_deploy", deploy),
    ("wants_of_a_service_under_watch", wanted),
    ("wake_at_of_a_service_under_watch", wakes),
];

fn main() {
    // What cargo adds is for criterion.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["--list"] => PIECES.iter().for_each(|(name, _)| say(name)),
        ["--times", times, wanted] => {
            let times: u32 = times.parse().unwrap_or(1);
            for (_, prepare) in PIECES.iter().filter(|(name, _)| name == wanted) {
                let mut piece = prepare();
                (0..times).for_each(|_| piece());
            }
        }
        ["--series"] => series::run(None),
        ["--series", output] => series::run(Some(Path::new(output))),
        _ => {
            let criterion = Criterion::default().without_plots().warm_up_time(Duration::from_secs(1));
            let mut criterion = criterion.measurement_time(Duration::from_secs(3)).configure_from_args();
            for (name, prepare) in PIECES {
                // Ten thousand services are prepared once, and only where the piece is wanted.
                let mut piece = None;
                criterion.bench_function(name, |bencher| bencher.iter(piece.get_or_insert_with(prepare)));
            }
            criterion.final_summary();
        }
    }
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn at(slot: u32) -> Timestamp {
    Timestamp::from_milliseconds(1_780_000_000_000).floor(STEP) + STEP * slot
}

fn name(number: usize) -> ServiceName {
    ServiceName::new(format!("svc-{number}")).expect("a piece of the benchmark")
}

fn trigger_name() -> TriggerName {
    TriggerName::new("error-rate").expect("a piece of the benchmark")
}

/// An answer as Prometheus gives it to a query that all services share: whole seconds without a fraction.
fn body_of(count: usize) -> String {
    let series = (0..count).map(|number| {
        let sample = |slot: u32| format!("[{},\"0.01{number}\"]", at(slot).milliseconds() / 1000);
        let samples: Vec<String> = (0..4).map(sample).collect();
        format!("{{\"metric\":{{\"service\":\"svc-{number}\"}},\"values\":[{}]}}", samples.join(","))
    });
    let series: Vec<String> = series.collect();
    format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{}]}}}}", series.join(","))
}

fn parse() -> Box<dyn FnMut()> {
    let body = body_of(SERVICES);
    Box::new(move || {
        let answer = rollbackd::fuzzing::prometheus_answer(200, false, black_box(body.as_bytes()));
        assert!(matches!(black_box(answer), Some(Answer::Series(series)) if series.len() == SERVICES));
    })
}

/// Half an hour of looks at one trigger.
fn judge_a_watch() -> Box<dyn FnMut()> {
    let points: Vec<Point> = (0..120).map(|slot| Point { at: at(slot), look: Look::Clear(0.01) }).collect();
    let rule =
        Rule { hold: STEP * 8, step: STEP, window: STEP * 4, interval: STEP, deploy_at: at(0), since_deploy: false };
    Box::new(move || {
        black_box(judge(black_box(&rule), Arming::Unknown, black_box(&points), None));
    })
}

/// So many services that share one trigger.
fn config_of(count: usize) -> Config {
    let template = |text: &str| Template::parse(text).expect("a template");
    let metric = Metric {
        query: Query::Expression(template("bad / total")),
        condition: Condition::Above(Limit::Fixed { value: 0.05, shown_as_percentage: true }),
        at_least: None,
        window: STEP * 4,
        freshness: None,
        step: STEP,
        comparison: None,
    };
    let trigger = std::sync::Arc::new(Trigger {
        name: trigger_name(),
        observed: Observed::Metric(std::sync::Arc::new(metric)),
        hold: STEP * 8,
        budget: Some(STEP * 20),
        action: rollbackd_core::config::Action::Page,
        never_roll_back: false,
        veto: Duration::ZERO,
        note: None,
        shared: Some(0),
    });
    let service = |number: usize| Service {
        name: name(number),
        watch: STEP * 120,
        page: Vec::new(),
        escalate_after: None,
        announce: Vec::new(),
        version_query: None,
        watch_version: false,
        triggers: vec![std::sync::Arc::clone(&trigger)],
        paths: Vec::new(),
        smoke: None,
        automatic_limit: rollbackd_core::config::AutomaticLimit::default(),
        side_effects: None,
        rehearsal: None,
    };
    let services = (0..count).map(|number| (name(number), service(number).into())).collect();
    Config { evaluation_interval: STEP, services, ..Config::default() }
}

fn reported(number: usize, version: &str) -> Event {
    let report = DeployReport {
        version: Version::new(version).expect("a piece of the benchmark"),
        previous: None,
        commit: None,
        migration: Migration::default(),
        run_url: None,
        at: None,
        key: None,
    };
    Event { service: name(number), what: Happening::Deployed(report) }
}

fn take(config: &Config, state: &mut State, event: &Event, now: Timestamp) {
    let decision = decide(config, state, event, now);
    for record in &decision.records {
        apply(state, &event.service, now, record).expect("a piece of the benchmark");
    }
}

/// What an answer shows of one service that is well.
fn clear() -> Answer {
    let samples = (0..4).map(|slot| (at(slot), 0.01)).collect();
    Answer::Series(vec![Series { labels: Labels::default(), samples }])
}

/// The look at a service under watch that this was the answer of.
fn look_of(state: &State, service: &ServiceName, value: Answer) -> Event {
    let deploy = state.services[service].watch.as_ref().expect("a watch").deploy.clone();
    let answers = Answers {
        from: at(0),
        to: at(3),
        step: STEP,
        value,
        total: None,
        at_least: None,
        presence: None,
        freshness: None,
    };
    let (trigger, so_far, besides) = (trigger_name(), None, Vec::new());
    let what = Happening::Looked { deploy, trigger, answers, answered_until: None, so_far, besides, more_until: None };
    Event { service: service.clone(), what }
}

/// So many services under watch.
fn deployed(count: usize) -> (Config, State) {
    let (config, mut state) = (config_of(count), State::default());
    for number in 0..count {
        take(&config, &mut state, &reported(number, "v1"), at(0));
    }
    (config, state)
}

/// All services under watch, and a look at one of them that was seen before.
fn watched() -> (Config, State, Event) {
    let (config, mut state) = deployed(SERVICES);
    let look = look_of(&state, &name(7), clear());
    take(&config, &mut state, &look, at(3));
    (config, state, look)
}

fn look() -> Box<dyn FnMut()> {
    let (config, state, look) = watched();
    Box::new(move || {
        let decision = decide(black_box(&config), black_box(&state), black_box(&look), at(3));
        assert!(black_box(decision).records.is_empty());
    })
}

fn deploy() -> Box<dyn FnMut()> {
    let (config, mut state, _) = watched();
    let mut number = 0;
    Box::new(move || {
        number += 1;
        take(black_box(&config), &mut state, &reported(number % SERVICES, "v2"), at(4));
    })
}

fn wanted() -> Box<dyn FnMut()> {
    let (config, state, _) = watched();
    Box::new(move || {
        black_box(wants(black_box(&config), black_box(&state), &name(7)));
    })
}

fn wakes() -> Box<dyn FnMut()> {
    let (config, state, _) = watched();
    Box::new(move || {
        black_box(rollbackd_core::wake_at(black_box(&config), black_box(&state), &name(7)));
    })
}
