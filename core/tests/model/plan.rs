//! The table of configurations: what each is about, its config, and the bounds of what may happen.
//!
//! Nothing happens here: that is `acts`.

use std::sync::Arc;
use std::time::Duration;

use rollbackd_core::config::{
    Action, AtLeast, AutomaticLimit, Condition, Config, FleetGuard, Metric, Mode, Query, Service, Trigger,
};
use rollbackd_core::deploy::Migration;
use rollbackd_core::name::PagerName;

use super::broken::Break;
use crate::common::plan::{fixed, metric_trigger, report_trigger, rollback_path, template};
use crate::common::service;

/// The model's clock goes from slot to slot; every duration of its configs is a number of slots.
pub(crate) const SLOT: Duration = Duration::from_secs(60);

/// What a metric shows at a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reading {
    Breach,
    Clear,
    LowTraffic,
    NoData,
}

/// How a remote's run ends, as far as anybody here can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Run {
    /// It brings the target back, and says so.
    Succeeds,
    /// It says that it succeeded, and nothing has changed.
    Lies,
    Fails,
    /// Somebody stops it at the remote.
    Cancelled,
    /// Contact is lost: it goes on or doesn't.
    Unknown,
}

/// How often at most each thing happens on one way through the model. What is not bounded here (readings, outcomes of
/// attempts, dismissals, wakes, deliveries, time) may happen whenever it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Bounds {
    /// Deploys of a version that then serves.
    pub(crate) deploys: u8,
    /// Deploy events of a version that serves already or will, as a rollback causes them.
    pub(crate) announcements: u8,
    /// Reports of a trigger.
    pub(crate) reports: u8,
    /// Approvals.
    pub(crate) approvals: u8,
    /// Rollbacks that a human asks for.
    pub(crate) asks: u8,
    /// Freezes and thaws.
    pub(crate) freezes: u8,
    /// Crashes.
    pub(crate) crashes: u8,
    /// Slots during which the daemon is down.
    pub(crate) away: u8,
    /// Looks that fail.
    pub(crate) failed_looks: u8,
    /// Times that the pager stops taking pages.
    pub(crate) pager_breaks: u8,
    /// Times that receipts can't be written for a while.
    pub(crate) receipts_break: u8,
    /// Remotes that go on after they were given up, and succeed late.
    pub(crate) late: u8,
}

/// One configuration of the model.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) config: Config,
    pub(crate) bounds: Bounds,
    /// What a metric may show.
    pub(crate) readings: Vec<Reading>,
    /// What it may have shown at the slot of a deploy.
    pub(crate) before: Vec<Reading>,
    /// How attempts may end; that they never do is always possible.
    pub(crate) runs: Vec<Run>,
    /// The versions that may be deployed after `v1`, which has passed its watch unless `unproven`.
    pub(crate) versions: Vec<&'static str>,
    /// Whether nothing was ever deployed when the model begins.
    pub(crate) unproven: bool,
    /// What the deploy events name as the version before.
    pub(crate) previous: Option<&'static str>,
    /// What the deploy events say of a migration.
    pub(crate) migration: Migration,
    /// Whether a human dismisses.
    pub(crate) dismisses: bool,
    /// Whether a human acknowledges what is still open; what is left after its end may always be acknowledged.
    pub(crate) acknowledges: bool,
    /// Whether things happen before as well as after the wakes and looks of their slot.
    pub(crate) races: bool,
    /// Whether the smoke URL may fail.
    pub(crate) smoke_fails: bool,
    /// Whether the explorer says how far it is.
    pub(crate) aloud: bool,
    /// Which broken copy of the core is explored instead of it.
    pub(crate) broken: Option<Break>,
}

fn slots(count: u32) -> Duration {
    SLOT * count
}

fn in_slots(count: u32) -> String {
    format!("{}s", slots(count).as_secs())
}

/// Above 0.5, for this many slots after the first.
fn metric(hold: u32, with_traffic: bool) -> Trigger {
    let metric = Metric {
        query: Query::Expression(template("errors")),
        condition: Condition::Above(fixed(0.5)),
        at_least: with_traffic.then(|| AtLeast { expr: template("traffic"), value: 20.0 }),
        window: SLOT,
        freshness: None,
        step: SLOT,
        comparison: None,
    };
    metric_trigger("errors", metric, &in_slots(hold), &in_slots(4))
}

fn report(name: &str, budget: Option<u32>, action: Action) -> Trigger {
    let budget = budget.map(in_slots);
    report_trigger(name, budget.as_deref(), action)
}

fn plan_of(name: &str, triggers: Vec<Trigger>) -> Service {
    Service {
        name: service(name),
        watch: slots(3),
        page: vec![vec![PagerName::new("oncall").expect("a pager name")]],
        escalate_after: None,
        announce: Vec::new(),
        version_query: Some(template("build_info")),
        watch_version: false,
        triggers: triggers.into_iter().map(Arc::new).collect(),
        paths: vec![
            rollback_path("pipeline", &in_slots(2), "{{ target.version }}").into(),
            rollback_path("console", &in_slots(1), "{{ target.version }}").into(),
        ],
        smoke: None,
        automatic_limit: AutomaticLimit { rollbacks: 3, within: slots(6) },
        side_effects: None,
        rehearsal: None,
    }
}

fn config(names: &[&str], triggers: &[Trigger]) -> Config {
    Config {
        mode: Mode::Live,
        evaluation_interval: SLOT,
        fleet_guard: None,
        services: names.iter().map(|name| (service(name), plan_of(name, triggers.to_vec()).into())).collect(),
        ..Config::default()
    }
}

fn plan(name: &'static str, triggers: &[Trigger], bounds: Bounds) -> Plan {
    Plan {
        name,
        config: config(&["a"], triggers),
        bounds,
        readings: vec![Reading::Breach, Reading::Clear, Reading::NoData],
        before: vec![Reading::Clear],
        runs: vec![Run::Succeeds, Run::Lies, Run::Fails, Run::Unknown],
        versions: vec!["v2"],
        unproven: false,
        previous: None,
        migration: Migration::None,
        dismisses: false,
        acknowledges: false,
        races: false,
        smoke_fails: false,
        aloud: false,
        broken: None,
    }
}

fn own(plan: &mut Plan) -> impl Iterator<Item = &mut Service> {
    plan.config.services.values_mut().map(Arc::make_mut)
}

/// The configurations; the larger bounds add one of most things.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn plans(large: bool) -> Vec<Plan> {
    let more = u8::from(large);
    let smoke = || report("smoke-test", Some(4), Action::Rollback);
    let one = Bounds { deploys: 1, ..Bounds::default() };
    let mut all = Vec::new();

    let mut looks = plan("looks", &[metric(1, true)], Bounds { failed_looks: more, away: more, crashes: 1, ..one });
    looks.readings.push(Reading::LowTraffic);
    looks.before = vec![Reading::Clear, Reading::Breach];
    looks.runs = vec![Run::Succeeds];
    if large {
        looks.before.push(Reading::NoData);
        looks.runs.extend([Run::Lies, Run::Fails]);
    }
    all.push(looks);

    let mut attempts = plan(
        "attempts",
        &[smoke()],
        Bounds { reports: 1, approvals: more, crashes: 1 + more, away: more, late: 1, ..one },
    );
    attempts.runs.push(Run::Cancelled);
    attempts.races = large;
    all.push(attempts);

    let mut repeatable = plan("repeatable", &[smoke()], Bounds { reports: 1, crashes: 1 + more, away: more, ..one });
    own(&mut repeatable).for_each(|own| Arc::make_mut(&mut own.paths[0]).repeatable = true);
    repeatable.runs = vec![Run::Fails, Run::Unknown];
    if large {
        repeatable.runs.extend([Run::Succeeds, Run::Cancelled]);
    }
    all.push(repeatable);

    let mut blindfold =
        plan("no version query", &[smoke()], Bounds { reports: 1, approvals: more, crashes: 1, late: more, ..one });
    own(&mut blindfold).for_each(|own| {
        own.version_query = None;
        own.smoke = Some("http://127.0.0.1:8080/healthz".to_owned());
    });
    blindfold.smoke_fails = true;
    all.push(blindfold);

    let mut deploys = plan(
        "deploys",
        &[smoke()],
        Bounds { deploys: 2, announcements: 1, reports: 1 + more, asks: more, crashes: 1, ..one },
    );
    deploys.versions = vec!["v2", "v3"];
    if large {
        deploys.versions.push("v1");
    }
    deploys.runs = vec![Run::Succeeds, Run::Fails];
    all.push(deploys);

    let mut humans = plan(
        "humans",
        &[smoke(), report("login", None, Action::Page)],
        Bounds { reports: 1 + more, approvals: 1, asks: 1, freezes: more, crashes: 0, ..one },
    );
    humans.dismisses = true;
    humans.acknowledges = large;
    humans.runs = vec![Run::Succeeds, Run::Fails];
    all.push(humans);

    let mut never = report("corruption", None, Action::Page);
    never.never_roll_back = true;
    let mut corruption = plan(
        "rollback: never",
        &[never, smoke()],
        Bounds { reports: 1 + more, approvals: more, asks: more, crashes: 1, ..one },
    );
    corruption.acknowledges = true;
    corruption.dismisses = true;
    corruption.runs = vec![Run::Succeeds, Run::Fails];
    all.push(corruption);

    let mut with_veto = smoke();
    with_veto.veto = SLOT;
    let mut veto = plan(
        "veto",
        &[with_veto],
        Bounds { reports: 1, approvals: 1, freezes: 1, announcements: more, crashes: 1, ..one },
    );
    veto.dismisses = true;
    veto.races = large;
    veto.runs = vec![Run::Succeeds, Run::Fails];
    all.push(veto);

    let mut migration =
        plan("migration", &[metric(1, false), smoke()], Bounds { reports: 1, approvals: 1, crashes: more, ..one });
    migration.migration = Migration::Breaking;
    migration.dismisses = large;
    migration.readings = vec![Reading::Breach, Reading::Clear];
    migration.runs = vec![Run::Succeeds, Run::Fails];
    all.push(migration);

    let mut rehearsed = plan(
        "dry run",
        &[metric(1, false), smoke()],
        Bounds { deploys: 1, reports: 1, announcements: more, crashes: 1, asks: more, ..one },
    );
    rehearsed.config.mode = Mode::DryRun;
    rehearsed.versions = vec!["v2", "v1"];
    all.push(rehearsed);

    let mut pagers = plan(
        "pagers and receipts",
        &[report("login", Some(4), Action::Page), smoke()],
        Bounds { reports: 1, pager_breaks: 1, receipts_break: 1, crashes: 1, approvals: more, ..one },
    );
    pagers.runs = vec![Run::Succeeds, Run::Fails];
    pagers.dismisses = large;
    all.push(pagers);

    let mut unproven = plan("nothing proven", &[smoke()], Bounds { deploys: 2, reports: 1 + more, crashes: 1, ..one });
    unproven.unproven = true;
    unproven.versions = vec!["v1", "v2", "v3"];
    unproven.runs = vec![Run::Succeeds, Run::Fails];
    all.push(unproven);

    let mut limit = plan(
        "automatic limit",
        &[smoke(), report("red", None, Action::Rollback)],
        Bounds { deploys: 2, reports: 2, crashes: more, ..one },
    );
    own(&mut limit).for_each(|own| own.automatic_limit.rollbacks = 1);
    limit.versions = vec!["v2", "v3"];
    limit.runs = vec![Run::Succeeds, Run::Fails];
    all.push(limit);

    let mut fleet = plan("two services, fleet guard", &[metric(1, false)], Bounds { deploys: 2, crashes: more, ..one });
    fleet.config.services.insert(service("b"), plan_of("b", vec![metric(1, false)]).into());
    fleet.config.fleet_guard = Some(FleetGuard { services: 2, within: slots(3) });
    fleet.readings = vec![Reading::Breach, Reading::Clear];
    fleet.runs = vec![Run::Succeeds];
    if large {
        fleet.readings.push(Reading::NoData);
        fleet.runs.push(Run::Fails);
    }
    all.push(fleet);

    let mut pair = plan("two services", &[smoke()], Bounds { deploys: 2, reports: 2, crashes: 1, ..one });
    pair.config.services.insert(service("b"), plan_of("b", vec![smoke()]).into());
    pair.runs = vec![Run::Succeeds];
    if large {
        pair.runs.push(Run::Fails);
    }
    all.push(pair);

    all
}
