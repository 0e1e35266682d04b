//! The events: every kind, about whatever the state is about.

use std::time::Duration;

use rollbackd_core::event::{DeployReport, Happening, Serving};
use rollbackd_core::firing::Outcome;
use rollbackd_core::name::FiringId;
use rollbackd_core::page::Page;
use rollbackd_core::reading::{Answer, Answers};
use rollbackd_core::time::Timestamp;

use super::states::State;
use crate::common::outside::{Sample, Window, answers};
use crate::common::plan::SHOP;
use crate::common::world::report;
use crate::common::{duration, path, service, trigger, version};

/// One event.
pub(crate) struct Event {
    pub(crate) name: &'static str,
    /// How long after the state was reached.
    pub(crate) later: Duration,
    pub(crate) what: Box<dyn Fn(&State) -> Happening>,
}

fn now(name: &'static str, what: impl Fn(&State) -> Happening + 'static) -> Event {
    Event { name, later: Duration::ZERO, what: Box::new(what) }
}

fn later(name: &'static str, later: &str, what: impl Fn(&State) -> Happening + 'static) -> Event {
    Event { name, later: duration(later), what: Box::new(what) }
}

fn reported(name: &'static str, asked: &'static str) -> Event {
    now(name, move |_| Happening::Reported { trigger: trigger(asked), note: None, about: Default::default() })
}

fn ended(name: &'static str, outcome: Outcome) -> Event {
    now(name, move |state| Happening::AttemptEnded { attempt: state.attempt.clone(), outcome: outcome.clone() })
}

/// A look at error-rate three minutes later, which shows this after the deploy.
fn looked(name: &'static str, shown: impl Fn(usize) -> Sample + 'static) -> Event {
    later(name, "3m", move |state| {
        let answers = window(state, "error-rate", |at, first| {
            let slot = at.since(first).as_secs() / 15;
            if slot == 0 { Sample::Value(0.01) } else { shown(usize::try_from(slot).unwrap_or(0)) }
        });
        Happening::looked_whole(state.deploy.clone(), trigger("error-rate"), answers, None)
    })
}

fn window(state: &State, of: &str, shown: impl Fn(Timestamp, Timestamp) -> Sample) -> Answers {
    let metric = state.world.metric(&service(SHOP), &trigger(of));
    let watch = state.world.state.services.get(SHOP).and_then(|own| own.watch.as_ref());
    let to = state.world.now + duration("3m");
    let from = watch.map_or(to, |watch| watch.at).floor(metric.step);
    let to = to.floor(metric.step);
    answers(&metric, Window { from, to, step: metric.step }, |at| shown(at, from))
}

fn failed_look(state: &State) -> Happening {
    let metric = state.world.metric(&service(SHOP), &trigger("error-rate"));
    let answers = window(state, "error-rate", |_, _| Sample::Missing);
    let window = Window { from: answers.from, to: answers.to, step: answers.step };
    let answers = window.all(&metric, || Answer::Failed("refused".to_owned()));
    Happening::looked_whole(state.deploy.clone(), trigger("error-rate"), answers, None)
}

fn serving(name: &'static str, shown: Option<&'static str>) -> Event {
    now(name, move |state| Happening::ServingRead {
        serving: shown.map(|name| Serving {
            version: version(name),
            revision: Some(format!("rev-{name}")),
            since: state.world.now,
        }),
        at: state.world.now,
    })
}

fn appeared(name: &str, state: &State) -> Happening {
    Happening::Appeared { version: version(name), at: state.world.now, alone: true }
}

fn first_page(state: &State) -> Page {
    let own = state.world.state.services.get(SHOP);
    let known = own.and_then(|own| own.pages.first()).cloned();
    known.unwrap_or_else(|| state.world.pages_opened().pop().unwrap_or_else(no_page))
}

/// A page of some other service, which nobody here knows.
fn no_page() -> Page {
    let written = r#"{"id":"no-page","service":"capstone-api","reason":"held","summary":"","details":[],
        "opened_at":"2026-11-23T10:00:00.000Z","pagers":["oncall"],"undelivered":["oncall"]}"#;
    serde_json::from_str(written).expect("a page")
}

fn delivered(name: &'static str, resolved: bool) -> Event {
    now(name, move |state| {
        let page = first_page(state);
        let pager = page.pagers.first().expect("a pager").clone();
        Happening::PageDelivered { page: page.id, pager, resolved }
    })
}

fn deploys() -> Vec<Event> {
    vec![
        now("deploy v9", |_| Happening::Deployed(report("v9"))),
        now("deploy v9, previous v2", |_| {
            Happening::Deployed(DeployReport { previous: Some(version("v2")), ..report("v9") })
        }),
        now("deploy v2", |_| Happening::Deployed(report("v2"))),
        now("deploy v2, with a key of its own", |_| {
            Happening::Deployed(DeployReport { key: Some("k".to_owned()), ..report("v2") })
        }),
        now("deploy v1", |_| Happening::Deployed(report("v1"))),
        now("a platform shows v9", |_| Happening::Shown { report: report("v9") }),
        now("a platform shows v2", |_| Happening::Shown { report: report("v2") }),
        now("a platform shows v1", |_| Happening::Shown { report: report("v1") }),
        now("deploy v13", |_| Happening::Deployed(report("v13"))),
        now("deploy v9, two hours ago", |state| {
            Happening::Deployed(DeployReport { at: Some(state.world.now - duration("2h")), ..report("v9") })
        }),
        now("deploy v9, in ten minutes", |state| {
            Happening::Deployed(DeployReport { at: Some(state.world.now + duration("10m")), ..report("v9") })
        }),
    ]
}

fn people() -> Vec<Event> {
    let answer = |firing: FiringId| Happening::Dismissed { firing, why: "no".to_owned() };
    vec![
        reported("report smoke-test", "smoke-test"),
        reported("report login-broken", "login-broken"),
        reported("report data-corruption", "data-corruption"),
        reported("report error-rate", "error-rate"),
        reported("report nonsense", "nonsense"),
        now("approve", |state| Happening::Approved { firing: state.firing.clone() }),
        now("dismiss", move |state| answer(state.firing.clone())),
        now("ack", |state| Happening::Acknowledged { firing: state.firing.clone() }),
        now("rollback", |_| Happening::RollbackAsked { path: None, to: None }),
        now("rollback --path console", |_| Happening::RollbackAsked { path: Some(path("console")), to: None }),
        now("rollback --to v1", |_| Happening::RollbackAsked { path: None, to: Some(version("v1")) }),
        now("rollback --to v2", |_| Happening::RollbackAsked { path: None, to: Some(version("v2")) }),
        now("rollback --to v77", |_| Happening::RollbackAsked { path: None, to: Some(version("v77")) }),
        now("rehearse v13", |_| Happening::RehearsalAsked { bad: version("v13"), witness: None }),
        now("rehearse v1", |_| Happening::RehearsalAsked { bad: version("v1"), witness: None }),
        now("stop the rehearsal", |_| Happening::RehearsalStopAsked),
        now("freeze", |_| Happening::Frozen { duration: duration("1h"), why: "why".to_owned() }),
        now("thaw", |_| Happening::Thawed),
    ]
}

fn readings() -> Vec<Event> {
    vec![
        looked("look: breach since the deploy", |_| Sample::Value(0.2)),
        looked("look: breach since a minute", |slot| Sample::Value(if slot > 12 { 0.2 } else { 0.01 })),
        looked("look: breach with one gap", |slot| if slot == 9 { Sample::Missing } else { Sample::Value(0.2) }),
        looked("look: clear", |_| Sample::Value(0.01)),
        looked("look: too little traffic", |_| Sample::Low),
        looked("look: no data", |_| Sample::Missing),
        later("look: failed", "3m", failed_look),
        now("baseline", |state| Happening::BaselineRead {
            deploy: state.deploy.clone(),
            trigger: trigger("p99-latency"),
            answers: window(state, "p99-latency", |_, _| Sample::Value(0.3)),
        }),
        now("version before: v0", |state| Happening::VersionBeforeRead {
            deploy: state.deploy.clone(),
            serving: Some(Serving { version: version("v0"), revision: None, since: state.world.now }),
        }),
        now("appeared: v9", |state| appeared("v9", state)),
        now("appeared: v13", |state| appeared("v13", state)),
        now("appeared: v1, alone", |state| appeared("v1", state)),
        serving("serving: v1", Some("v1")),
        serving("serving: v2", Some("v2")),
        serving("serving: nothing", None),
        now("smoke answers", |state| Happening::SmokeAnswered { at: state.world.now, healthy: true }),
        now("smoke does not answer", |state| Happening::SmokeAnswered { at: state.world.now, healthy: false }),
    ]
}

fn performed() -> Vec<Event> {
    let why = || "why".to_owned();
    vec![
        now("attempt started", |state| Happening::AttemptStarted {
            attempt: state.attempt.clone(),
            handle: "run 1".to_owned(),
        }),
        now("attempt waits", |state| Happening::AttemptWaits {
            attempt: state.attempt.clone(),
            why: "environment production".to_owned(),
        }),
        ended("attempt succeeded", Outcome::Succeeded { receipt: None, output: String::new() }),
        ended("attempt failed", Outcome::Failed { why: why(), output: String::new() }),
        ended("attempt timed out", Outcome::TimedOut),
        ended("attempt cancelled", Outcome::Cancelled { why: why() }),
        ended("attempt unknown", Outcome::Unknown { why: why() }),
        ended("attempt never started", Outcome::NeverStarted),
        delivered("page delivered", false),
        delivered("page's end delivered", true),
        now("receipt published", |state| Happening::ReceiptPublished {
            firing: state.firing.clone(),
            sha256: "ab".repeat(32),
        }),
        now("wake", |_| Happening::Woke),
        later("wake after a minute", "1m", |_| Happening::Woke),
        later("wake after five minutes", "5m", |_| Happening::Woke),
        later("wake after a day", "24h", |_| Happening::Woke),
    ]
}

/// All of them, in the order of the table.
pub(crate) fn all() -> Vec<Event> {
    [deploys(), people(), readings(), performed()].into_iter().flatten().collect()
}
