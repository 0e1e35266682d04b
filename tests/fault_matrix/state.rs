//! The columns: in which state each service's watch is when the fault begins, and the plan that brings it there.
//!
//! Never differs from the reference trigger list but in lengths, and in who may answer.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fault::{Fault, Lasts};
use crate::world::{Held, Plan, World, capstone_api, triggers};

/// The `for` of a trigger that is to be breaching, and not fired, when the fault begins.
const LONG_HOLD: Duration = Duration::from_secs(20);

/// From look to look: a watch is blind after three of them, on a machine that is busy with other things as well.
const INTERVAL: Duration = Duration::from_secs(1);

/// The `for` of all others: so long that a slot is a whole interval.
const HOLD: Duration = Duration::from_secs(4);

/// As many queries at once as a look at all services needs: slow answers are not to make each other wait.
const CONCURRENCY: usize = 60;

/// The `for` of what is deployed as the fault begins: a short fault is over before it is.
const FRESH_HOLD: Duration = Duration::from_secs(12);

/// What errors are: four times the limit.
const BAD: f64 = 0.2;

/// A state of a watch, with a service of its own in each world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Watching a healthy version.
    Clear,
    /// Watching a healthy version, in a watch that ends while the fault lasts.
    Ending,
    /// Watching a healthy version that was deployed as the fault began: its baseline is still to be read.
    Fresh,
    /// Watching a version whose breach ends while nobody can see it, before its `for` is over.
    Relieved,
    /// Watching a version that breaches, its `for` is running, and the breach goes on.
    Breaching,
    /// The same, with a budget that is spent before anybody can see that it fired.
    Tight,
    /// Watching a version that is slower than its baseline, which is still to be read: it was deployed as the fault began.
    FreshSlow,
    /// Fired; the path starts unless a human dismisses, and none does.
    Veto,
    /// Fired; a human dismisses in time.
    Dismissed,
    /// A path runs.
    RollingBack,
    /// The path is done, and the trigger has not been clear yet.
    Verifying,
    /// A human was paged, and approves.
    Paged,
}

impl State {
    /// All columns, in the order of the document.
    pub(crate) const ALL: [Self; 12] = [
        Self::Clear,
        Self::Ending,
        Self::Fresh,
        Self::Relieved,
        Self::Breaching,
        Self::Tight,
        Self::FreshSlow,
        Self::Veto,
        Self::Dismissed,
        Self::RollingBack,
        Self::Verifying,
        Self::Paged,
    ];

    /// As the document names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Clear => "`watching`, clear",
            Self::Ending => "`watching`, ends during it",
            Self::Fresh => "baseline to be read, healthy",
            Self::Relieved => "`for` runs, breach ends unseen",
            Self::Breaching => "`for` runs",
            Self::Tight => "`for` runs, budget spent unseen",
            Self::FreshSlow => "baseline to be read, slow",
            Self::Veto => "`firing`, veto runs",
            Self::Dismissed => "`firing`, dismissed",
            Self::RollingBack => "`rolling_back`",
            Self::Verifying => "`verifying`",
            Self::Paged => "`paged`, approved",
        }
    }

    /// Its service.
    pub(crate) fn service(self) -> String {
        let place = Self::ALL.iter().position(|state| *state == self).expect("a state of the list");
        format!("svc-{}", place + 1)
    }

    /// Whether its version is to be left alone.
    pub(crate) const fn is_healthy(self) -> bool {
        matches!(self, Self::Clear | Self::Ending | Self::Fresh | Self::Relieved)
    }

    /// How many runs of its path there are to be.
    pub(crate) const fn runs(self) -> usize {
        match self {
            Self::Clear | Self::Ending | Self::Fresh | Self::Relieved | Self::Dismissed => 0,
            Self::Breaching
            | Self::Tight
            | Self::FreshSlow
            | Self::Veto
            | Self::RollingBack
            | Self::Verifying
            | Self::Paged => 1,
        }
    }

    /// How its versions behave at first.
    pub(crate) fn versions(self) -> Versions {
        let (v1, v2) = match self {
            Self::Clear | Self::Ending | Self::Fresh => (json!({}), json!({})),
            Self::FreshSlow => (json!({}), json!({"latency_seconds": 0.4})),
            Self::Relieved
            | Self::Breaching
            | Self::Tight
            | Self::Veto
            | Self::Dismissed
            | Self::RollingBack
            | Self::Verifying
            | Self::Paged => (json!({}), json!({"error_ratio": BAD})),
        };
        Versions { v1, v2 }
    }

    /// What has to have held by the data before it fires.
    pub(crate) fn held(self, limit: f64) -> Held {
        let service = self.service();
        let held = match self {
            Self::Relieved | Self::Breaching | Self::Tight => Held::error_rate(&service, LONG_HOLD),
            Self::FreshSlow => {
                Held { query: latency(&service), above: limit, ..Held::error_rate(&service, FRESH_HOLD) }
            }
            Self::Clear
            | Self::Ending
            | Self::Fresh
            | Self::Veto
            | Self::Dismissed
            | Self::RollingBack
            | Self::Verifying
            | Self::Paged => Held::error_rate(&service, HOLD),
        };
        Held { step: INTERVAL, ..held }
    }

    /// What its plan says of `error-rate` that the shared trigger does not.
    fn error_rate(self, fault: &Fault) -> Value {
        match self {
            Self::Relieved | Self::Breaching => json!({"for": seconds(LONG_HOLD)}),
            Self::Tight => json!({"for": seconds(LONG_HOLD), "budget": "8s"}),
            Self::Veto => json!({"veto": seconds(in_fault(fault))}),
            Self::Dismissed => json!({"veto": "90s"}),
            Self::Verifying => json!({"budget": seconds(in_fault(fault))}),
            Self::Paged => json!({"action": "page"}),
            Self::Clear | Self::Ending | Self::Fresh | Self::FreshSlow | Self::RollingBack => json!({}),
        }
    }

    /// Writes its part of the plan.
    fn plan(self, world: &World, fault: &Fault, plan: &mut Plan) {
        let service = self.service();
        let mut error_rate = triggers::error_rate_of_service();
        error_rate["budget"] = json!("2m");
        error_rate["for"] = json!(seconds(HOLD));
        merge(&mut error_rate, &self.error_rate(fault));
        let mut own = vec![error_rate];
        if matches!(self, Self::Fresh | Self::FreshSlow) {
            own.push(json!({
                "name": "latency", "expr": latency("{{ service }}"), "above": "2x baseline",
                "baseline": {"window": "8s"}, "for": seconds(FRESH_HOLD), "budget": "2m",
            }));
        }
        plan.of(&service, "triggers", json!(own));
        let watch = if self == Self::Ending { in_fault(fault) } else { fault.watch() };
        plan.of(&service, "watch", json!(seconds(watch)));
        if self == Self::RollingBack {
            plan.of(&service, "paths", json!([held_pipeline(world)]));
        }
    }
}

/// Lets the path of [`State::RollingBack`] end.
pub(crate) fn release(world: &World) {
    std::fs::write(gate(world), "").expect("a file of the world");
}

fn gate(world: &World) -> PathBuf {
    world.place("released")
}

/// The usual pipeline, which waits until it is released.
fn held_pipeline(world: &World) -> Value {
    // It ends with the world, too: a command outlives the daemon that started it.
    let wait = "while [ ! -e \"$0\" ]; do [ -d \"${0%/*}\" ] || exit 1; sleep 0.1; done; exec \"$@\"";
    let pipeline = capstone_api();
    json!({"name": "pipeline", "timeout": "2m", "command": [
        "sh", "-c", wait, gate(world), pipeline, "deploy", "--to", world.production.url(),
        "--service={{ service }}", "{{ target.version }}",
    ]})
}

/// What begins before the fault and is to be over in it: long enough for all services to get to their states first. A
/// fault that is over as soon as every watch is blind is over before that.
fn in_fault(fault: &Fault) -> Duration {
    match fault.lasts {
        Lasts::UntilBlind => Duration::from_secs(50),
        Lasts::AtLeast(_) => Duration::from_secs(40),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

/// The mean and not a quantile: `histogram_quantile` of buckets that are all NaN is the highest bound, and so a breach by
/// the data (Prometheus 2.42).
fn latency(service: &str) -> String {
    let rate = |what: &str| format!("sum(rate(http_request_duration_seconds_{what}{{service=\"{service}\"}}[4s]))");
    format!("{} / {}", rate("sum"), rate("count"))
}

/// A trigger that no version fires: an expression, which can't tell a clean service from none.
fn slow() -> Value {
    let expr = latency("{{ service }}");
    json!({"name": "slow", "expr": expr, "above": 1, "for": seconds(HOLD), "budget": "2m"})
}

/// How the two versions of a service behave.
#[derive(Clone, Debug)]
pub(crate) struct Versions {
    pub(crate) v1: Value,
    pub(crate) v2: Value,
}

impl Versions {
    /// Both behave as healthy ones.
    pub(crate) fn healthy() -> Self {
        Self { v1: json!({}), v2: json!({}) }
    }

    /// The target is no better than what was deployed.
    pub(crate) fn both_bad() -> Self {
        let bad = json!({"error_ratio": BAD});
        Self { v1: bad.clone(), v2: bad }
    }

    /// The same, with what the service exposes besides.
    pub(crate) fn exposing(&self, more: &Value) -> Value {
        let (mut v1, mut v2) = (self.v1.clone(), self.v2.clone());
        merge(&mut v1, more);
        merge(&mut v2, more);
        json!({"v1": v1, "v2": v2})
    }
}

fn merge(into: &mut Value, more: &Value) {
    for (key, value) in more.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}

/// The plan of a world: a service for each state, Prometheus at this URL.
pub(crate) fn plan(world: &World, fault: &Fault, prometheus: &str) -> Plan {
    let mut plan = world.plan();
    let count = u16::try_from(State::ALL.len()).expect("few states");
    plan.several(count, [slow()]);
    plan.top("prometheus", json!({"url": prometheus, "timeout": "3s", "concurrency": CONCURRENCY}));
    plan.top("evaluation_interval", json!(seconds(INTERVAL)));
    // All services of a world fire at about the same time on purpose.
    plan.top("fleet_guard", json!({"services": 100, "within": "10s"}));
    State::ALL.iter().for_each(|state| state.plan(world, fault, &mut plan));
    plan
}
