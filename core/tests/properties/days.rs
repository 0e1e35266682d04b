//! What may happen on a random day, and the config that it happens to. Nothing happens here: that is `living`.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use rollbackd_core::config::{Action, AutomaticLimit, Config, FleetGuard, Metric, Mode, Observed};
use rollbackd_core::firing::Outcome;

use crate::common::duration;
use crate::common::outside::{Run, Sample};
use crate::common::plan::{fleet, metric_trigger, report_trigger};

pub(crate) const SERVICES: [&str; 3] = ["a", "b", "c"];
pub(crate) const VERSIONS: [&str; 8] = ["v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8"];
pub(crate) const METRICS: [&str; 3] = ["error-rate", "p99-latency", "shadowed"];
pub(crate) const REPORTS: [&str; 6] =
    ["smoke-test", "with-veto", "login-broken", "data-corruption", "never", "shadow-report"];
pub(crate) const PATHS: [&str; 2] = ["pipeline", "console"];

/// How the configs differ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    version_query: bool,
    smoke: bool,
    repeatable: bool,
    fleet_guard: bool,
    limit: usize,
    budgets: bool,
    pub(crate) proven: bool,
}

pub(crate) fn variant() -> impl Strategy<Value = Variant> {
    let often = || prop::bool::weighted(0.7);
    (often(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.3), 1_usize..4, often(), often()).prop_map(
        |(version_query, smoke, repeatable, fleet_guard, limit, budgets, proven)| Variant {
            version_query,
            smoke,
            repeatable,
            fleet_guard,
            limit,
            budgets,
            proven,
        },
    )
}

/// Three services with short watches and every kind of trigger.
pub(crate) fn config(variant: Variant, mode: Mode) -> Config {
    let mut config = fleet(&SERVICES);
    config.mode = mode;
    config.evaluation_interval = duration("30s");
    let guard = FleetGuard { services: 2, within: duration("3m") };
    config.fleet_guard = variant.fleet_guard.then_some(guard);
    for plan in config.services.values_mut().map(Arc::make_mut) {
        plan.watch = duration("8m");
        plan.automatic_limit = AutomaticLimit { rollbacks: variant.limit, within: duration("30m") };
        let like_error_rate = plan.triggers[0].clone();
        let mut veto = report_trigger("with-veto", Some("5m"), Action::Rollback);
        veto.veto = duration("45s");
        let mut never = report_trigger("never", Some("5m"), Action::Rollback);
        never.never_roll_back = true;
        plan.triggers.extend([veto, never, report_trigger("shadow-report", None, Action::Shadow)].map(Arc::new));
        if let Observed::Metric(metric) = &like_error_rate.observed {
            let mut shadowed = metric_trigger("shadowed", metric.as_ref().clone(), "1m", "5m");
            shadowed.action = Action::Shadow;
            plan.triggers.push(shadowed.into());
        }
        for each in plan.triggers.iter_mut().map(Arc::make_mut) {
            each.hold = each.hold.min(duration("1m"));
            each.budget = each.budget.filter(|_| variant.budgets);
            if let Observed::Metric(metric) = &mut each.observed {
                let metric = std::sync::Arc::make_mut(metric);
                metric.step = Metric::step(each.hold, config.evaluation_interval);
            }
        }
        if !variant.version_query {
            plan.version_query = None;
        }
        if !variant.smoke {
            plan.smoke = None;
        }
        Arc::make_mut(&mut plan.paths[0]).repeatable = variant.repeatable;
    }
    config
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Happens {
    /// Time goes by, with looks.
    Time(u64),
    /// The daemon is away, and back.
    Away(u64),
    /// It restarts.
    Restart,
    /// A deploy is reported, and does or doesn't serve.
    Deploy {
        service: usize,
        version: usize,
        previous: Option<usize>,
        breaking: bool,
        at: Option<i64>,
        key: Option<u8>,
        serves: bool,
    },
    /// A version is deployed, and soon reported.
    Trouble(usize, usize, usize),
    /// A version serves without anybody saying so.
    Serves(usize, usize),
    /// A version makes a trigger breach from the next time on that it serves.
    Sick(usize, usize, usize, f64),
    /// A metric changes by itself.
    Shows(usize, usize, Sample),
    /// The outside works or doesn't: queries, partial answers, smoke URL, pagers, receipts.
    Works([bool; 5]),
    /// A path behaves like this from now on.
    Runs(usize, usize, Run),
    /// Somebody reports.
    Report(usize, usize),
    /// Somebody answers for a firing.
    Answer(usize, Index, u8),
    /// Somebody wants a rollback.
    Rollback(usize, Option<usize>, Option<usize>),
    /// Somebody rehearses with this version, or stops what is rehearsed.
    Rehearse(usize, Option<usize>),
    /// Somebody freezes or thaws.
    Freeze(usize, Option<u64>),
    /// Something is said of an attempt, at whatever time.
    Attempt(usize, Index, Said),
    /// A read of the version that serves comes back, or of the one before.
    Reads(usize, Option<usize>, bool),
}

/// What is said of an attempt.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// It ended.
    Ended(Outcome),
    /// It can be found by this.
    Started,
    /// It waits.
    Waits,
}

fn sample() -> impl Strategy<Value = Sample> {
    prop_oneof![
        3 => (0.0001_f64..0.9).prop_map(Sample::Value),
        1 => Just(Sample::Low),
        1 => Just(Sample::Missing),
    ]
}

fn run() -> impl Strategy<Value = Run> {
    let time = || (1_u64..200).prop_map(Duration::from_secs);
    prop_oneof![
        3 => time().prop_map(Run::Succeeds),
        1 => time().prop_map(Run::Lies),
        2 => time().prop_map(Run::Fails),
        1 => Just(Run::Hangs),
    ]
}

fn said() -> impl Strategy<Value = Said> {
    let why = || "said so".to_owned();
    let outcome = select(vec![
        Outcome::Succeeded { receipt: Some("1".to_owned()), output: String::new() },
        Outcome::Failed { why: why(), output: String::new() },
        Outcome::TimedOut,
        Outcome::Cancelled { why: why() },
        Outcome::Unknown { why: why() },
        Outcome::NeverStarted,
    ]);
    prop_oneof![6 => outcome.prop_map(Said::Ended), 1 => Just(Said::Started), 1 => Just(Said::Waits)]
}

fn deploy() -> impl Strategy<Value = Happens> {
    let version = || 0..VERSIONS.len();
    (
        some_service(),
        version(),
        prop::option::of(version()),
        prop::bool::weighted(0.1),
        prop::option::weighted(0.3, -1500_i64..310),
        prop::option::weighted(0.3, 0_u8..4),
        prop::bool::weighted(0.9),
    )
        .prop_map(|(service, version, previous, breaking, at, key, serves)| Happens::Deploy {
            service,
            version,
            previous,
            breaking,
            at,
            key,
            serves,
        })
}

/// Most of it happens to one service, so that much happens to it.
fn some_service() -> impl Strategy<Value = usize> {
    prop_oneof![5 => Just(0_usize), 1 => Just(1_usize), 1 => Just(2_usize)]
}

fn happens() -> impl Strategy<Value = Happens> {
    let service = some_service;
    let works = || prop::bool::weighted(0.8);
    let version = || 0..VERSIONS.len();
    prop_oneof![
        12 => (1_u64..240).prop_map(Happens::Time),
        2 => (240_u64..1500).prop_map(Happens::Time),
        2 => (1_u64..2000).prop_map(Happens::Away),
        2 => Just(Happens::Restart),
        8 => deploy(),
        1 => (service(), version()).prop_map(|(service, version)| Happens::Serves(service, version)),
        2 => (service(), version(), 0..METRICS.len(), 0.06_f64..1.0)
            .prop_map(|(service, version, metric, value)| Happens::Sick(service, version, metric, value)),
        4 => (service(), 0..METRICS.len(), sample()).prop_map(|(service, metric, shown)| Happens::Shows(service, metric, shown)),
        2 => [works(), works(), works(), works(), works()].prop_map(Happens::Works),
        8 => (service(), version(), select(vec![0_usize, 0, 1, 2]))
            .prop_map(|(service, version, report)| Happens::Trouble(service, version, report)),
        2 => (service(), 0..PATHS.len(), run()).prop_map(|(service, path, run)| Happens::Runs(service, path, run)),
        8 => (service(), 0..REPORTS.len()).prop_map(|(service, report)| Happens::Report(service, report)),
        5 => (service(), any::<Index>(), 0_u8..3).prop_map(|(service, firing, answer)| Happens::Answer(service, firing, answer)),
        2 => (service(), prop::option::of(0..PATHS.len()), prop::option::of(version()))
            .prop_map(|(service, path, to)| Happens::Rollback(service, path, to)),
        5 => (service(), prop::option::weighted(0.8, version())).prop_map(|(service, bad)| Happens::Rehearse(service, bad)),
        1 => (service(), prop::option::of(1_u64..900)).prop_map(|(service, time)| Happens::Freeze(service, time)),
        9 => (service(), any::<Index>(), said()).prop_map(|(service, attempt, said)| Happens::Attempt(service, attempt, said)),
        2 => (service(), prop::option::of(version()), any::<bool>())
            .prop_map(|(service, version, before)| Happens::Reads(service, version, before)),
    ]
}

/// A day: at most this much happens.
pub(crate) fn day() -> impl Strategy<Value = Vec<Happens>> {
    proptest::collection::vec(happens(), 1..40)
}
