//! The lives of a deploy that the matrix kills the daemon in, and the humans in them.
//!
//! Never takes a lost answer for a refusal: a human whose request got no answer looks what became of it, and asks again.

use serde_json::{Value, json};

use crate::world::{GitHub, Plan, World, triggers};

/// One life of a deploy: what is set up, what humans do, and what must have come of it.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// More arguments of `rollbackd run`.
    pub(super) arguments: &'static [&'static str],
    /// What humans and pipelines do, in order.
    pub(super) acts: &'static [Act],
    /// The kinds of records at which the daemon is killed: one of each append.
    pub(super) kinds: &'static [&'static str],
    /// The kind after which nothing is written, where one always comes last.
    pub(super) ends_with: &'static str,
    /// Whether `v2` is bad by the data, rather than by a report.
    pub(super) by_data: bool,
    /// The outcome of its receipt, where it has one.
    pub(super) outcome: Option<&'static str>,
    /// The versions that pipelines deployed.
    pub(super) runs: &'static [&'static str],
    /// What serves at the end.
    pub(super) serves: &'static str,
    /// How the watch ended; empty where it goes on.
    pub(super) last: &'static str,
}

/// What a human or a pipeline does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Deploys `v2` and reports it.
    Deploy,
    /// Reports this trigger while the deploy is watched.
    Report(&'static str),
    /// Reports this trigger while a rollback is under way.
    ReportMore(&'static str),
    /// Says that the page was seen.
    Acknowledge,
    /// Approves the rollback that a page asks for.
    Approve,
    /// Dismisses within the veto's time.
    Dismiss,
    Freeze,
    /// Freezes once all else is over: something is written after whatever came last.
    FreezeAtLast,
    Thaw,
    /// Brings production back by hand.
    BringBack,
    /// Announces the deploy of `v1` that the rollback has caused.
    Announce,
}

/// What the daemon shows.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) view: Value,
    pub(super) firings: Vec<Value>,
}

impl Seen {
    /// The state of the only firing.
    pub(super) fn firing(&self) -> &str {
        self.firings.first().and_then(|firing| firing["state"].as_str()).unwrap_or_default()
    }

    fn watched(&self) -> bool {
        !self.view["watch"].is_null()
    }

    /// All that was begun has come to its end.
    pub(super) fn is_over(&self, watch_goes_on: bool) -> bool {
        let settled = |firing: &Value| firing["state"] == "ended" && firing["receipt_published"] == true;
        let no_page = self.view["pages"].as_array().is_some_and(Vec::is_empty);
        let watch_is_over = !self.watched() && !self.view["last"].is_null();
        let of_firing = !self.firings.is_empty() && watch_goes_on;
        (watch_is_over || of_firing) && no_page && self.firings.iter().all(settled)
    }
}

impl Act {
    /// Whether it is time for it.
    pub(super) fn is_due(self, seen: &Seen) -> bool {
        match self {
            Self::Deploy | Self::Freeze | Self::Thaw => true,
            Self::Report(_) => seen.watched(),
            Self::ReportMore(_) => seen.firing() == "rolling_back",
            Self::Acknowledge | Self::Approve => seen.firing() == "paged",
            Self::Dismiss => seen.firing() == "veto",
            Self::BringBack => seen.firing() == "verifying",
            Self::Announce => seen.is_over(false),
            Self::FreezeAtLast => seen.is_over(true),
        }
    }

    /// Whether it can be seen to be done, or has been overtaken. A deploy may always be told again.
    pub(super) fn is_done(self, seen: &Seen) -> bool {
        let state = seen.firing();
        match self {
            Self::Deploy | Self::Thaw | Self::Announce | Self::BringBack => false,
            Self::Report(_) => !state.is_empty(),
            Self::ReportMore(trigger) => {
                let told = seen.firings.first().is_some_and(|firing| firing["story"].to_string().contains(trigger));
                told || state == "verifying" || state == "ended"
            }
            Self::Acknowledge => seen.firings.first().is_some_and(|firing| firing["acknowledged"] == true),
            Self::Approve => ["rolling_back", "verifying", "ended"].contains(&state),
            Self::Dismiss => state == "ended",
            Self::Freeze | Self::FreezeAtLast => !seen.view["frozen"].is_null(),
        }
    }

    /// What is asked of the daemon.
    pub(super) fn request(self, service: &str, at: &str, seen: &Seen) -> (String, Value) {
        let firing = seen.firings.first().and_then(|firing| firing["id"].as_str()).unwrap_or_default();
        let deploy =
            |version: &str| json!({"service": service, "version": version, "previous_version": "v1", "at": at});
        match self {
            Self::Deploy => ("/v1/deploys".to_owned(), deploy("v2")),
            Self::Announce => ("/v1/deploys".to_owned(), json!({"service": service, "version": "v1", "at": at})),
            Self::Report(trigger) | Self::ReportMore(trigger) => {
                ("/v1/reports".to_owned(), json!({"service": service, "trigger": trigger}))
            }
            Self::Acknowledge => (format!("/v1/firings/{firing}/ack"), json!({})),
            Self::Approve => (format!("/v1/firings/{firing}/approve"), json!({})),
            Self::Dismiss => (format!("/v1/firings/{firing}/dismiss"), json!({"why": "it is not that bad"})),
            Self::Freeze | Self::FreezeAtLast => {
                (format!("/v1/services/{service}/freeze"), json!({"for": "1h", "why": "a test"}))
            }
            Self::Thaw => (format!("/v1/services/{service}/thaw"), json!({})),
            Self::BringBack => unreachable!("nobody tells the daemon"),
        }
    }
}

/// A breach that fires, a path that can't be prepared, one that fails, and one that brings `v1` back.
pub(super) const ROLLBACK: Scenario = Scenario {
    name: "rollback",
    arguments: &[],
    acts: &[Act::Deploy],
    kinds: &[
        "deployed",
        "turned clear",
        "revision seen",
        "turned to breach",
        "shadowed",
        "fired",
        "attempt ended",
        "attempt started",
        "verifying",
        "proved",
        "firing ended",
        "receipt published",
    ],
    ends_with: "receipt published",
    by_data: true,
    outcome: Some("recovered"),
    runs: &["v1"],
    serves: "v1",
    last: "rolled_back",
};

/// A trigger that asks a human, who acknowledges and approves; the deploy that this causes is announced.
pub(super) const APPROVED: Scenario = Scenario {
    name: "page and approve",
    arguments: &[],
    acts: &[Act::Deploy, Act::Report("login-broken"), Act::Acknowledge, Act::Approve, Act::Announce],
    kinds: &[
        "deployed",
        "fired",
        "page delivered",
        "acknowledged",
        "approved",
        "verifying",
        "firing ended",
        "receipt published",
        "announced",
    ],
    ends_with: "announced",
    by_data: false,
    outcome: Some("recovered"),
    runs: &["v1"],
    serves: "v1",
    last: "rolled_back",
};

/// A veto that nobody uses, another trigger while the path runs, and a budget that is spent before it ends.
pub(super) const LATE: Scenario = Scenario {
    name: "veto passes, budget spent",
    arguments: &[],
    acts: &[Act::Deploy, Act::Report("smoke-test"), Act::ReportMore("other-test")],
    kinds: &["veto open", "attempt intended", "attempt started", "joined", "budget spent", "verifying", "firing ended"],
    ends_with: "",
    by_data: false,
    outcome: Some("recovered"),
    runs: &["v1"],
    serves: "v1",
    last: "rolled_back",
};

/// A veto that a human uses. Its receipt and the word that its page is over become known in either order.
pub(super) const DISMISSED: Scenario = Scenario {
    name: "veto and dismiss",
    arguments: &[],
    acts: &[Act::Deploy, Act::Report("smoke-test"), Act::Dismiss, Act::FreezeAtLast],
    kinds: &["veto open", "page delivered", "dismissed", "receipt published"],
    ends_with: "",
    by_data: false,
    outcome: Some("dismissed"),
    runs: &[],
    serves: "v2",
    last: "",
};

/// A watch that passes, with a freeze that is taken back.
pub(super) const PASSED: Scenario = Scenario {
    name: "watch passes",
    arguments: &[],
    acts: &[Act::Deploy, Act::Freeze, Act::Thaw],
    kinds: &["deployed", "baseline kept", "turned clear", "frozen", "thawed", "settled", "watch ended"],
    ends_with: "watch ended",
    by_data: false,
    outcome: None,
    runs: &[],
    serves: "v2",
    last: "passed",
};

/// A dry run, and a human who does what it only tells of.
pub(super) const DRY_RUN: Scenario = Scenario {
    name: "dry run",
    arguments: &["--dry-run"],
    acts: &[Act::Deploy, Act::Report("smoke-test"), Act::BringBack],
    kinds: &["fired", "proved", "firing ended", "receipt published"],
    ends_with: "receipt published",
    by_data: false,
    outcome: Some("recovered"),
    runs: &[],
    serves: "v1",
    last: "rolled_back",
};

/// A path whose runs are elsewhere, and are found there by their correlation id.
pub(super) const REMOTE: Scenario = Scenario {
    name: "remote pipeline",
    arguments: &[],
    acts: &[Act::Deploy, Act::Report("smoke-test")],
    kinds: &["fired", "attempt started", "verifying", "firing ended", "receipt published"],
    ends_with: "receipt published",
    by_data: false,
    outcome: Some("recovered"),
    runs: &["v1"],
    serves: "v1",
    last: "rolled_back",
};

/// A watch with too little traffic to say anything.
pub(super) const UNPROVEN: Scenario = Scenario {
    name: "too little traffic",
    arguments: &[],
    acts: &[Act::Deploy],
    kinds: &["turned to low traffic", "watch ended"],
    ends_with: "watch ended",
    by_data: false,
    outcome: None,
    runs: &[],
    serves: "v2",
    last: "unproven",
};

pub(super) const ALL: [&Scenario; 8] = [&ROLLBACK, &APPROVED, &LATE, &REMOTE, &DISMISSED, &PASSED, &UNPROVEN, &DRY_RUN];

impl Scenario {
    /// Its config, for the world's usual service. The path `broken` notes each run in a file.
    pub(super) fn plan(&self, world: &World, github: &GitHub, broken_runs: &str) -> Plan {
        let mut plan = world.plan();
        match self.name {
            "rollback" => {
                let mut shadow = triggers::error_rate();
                shadow["name"] = json!("shadow");
                shadow["action"] = json!("shadow");
                shadow["for"] = json!("1s");
                plan.triggers([triggers::error_rate(), shadow]);
                let unknown = json!({"name": "console", "timeout": "5s", "command": ["true", "{{ target.revision }}"]});
                let note = "echo \"$ROLLBACKD_ATTEMPT\" >> \"$0\"; exit 1";
                let broken = json!({"name": "broken", "timeout": "5s", "command": ["sh", "-c", note, broken_runs]});
                plan.paths([unknown, broken, plan.pipeline(world, &["--take=300ms"])]);
            }
            "page and approve" => plan.triggers([triggers::login_broken()]),
            "veto passes, budget spent" => {
                let mut smoke = triggers::smoke_test();
                smoke["veto"] = json!("1s");
                smoke["budget"] = json!("3s");
                let other = json!({"name": "other-test", "observed": "report", "budget": "30s"});
                plan.triggers([smoke, other]);
                plan.paths([plan.pipeline(world, &["--take=4s"])]);
            }
            "veto and dismiss" => {
                let mut smoke = triggers::smoke_test();
                smoke["veto"] = json!("60s");
                smoke["budget"] = json!("90s");
                plan.triggers([smoke]);
            }
            "watch passes" => {
                plan.triggers([triggers::error_rate(), triggers::p99_latency()]);
                plan.service("watch", json!("6s"));
            }
            "too little traffic" => {
                let mut trigger = triggers::error_rate();
                let requests = "sum(increase(http_requests_total{service=\"capstone-api\"}[4s]))";
                trigger["at_least"] = json!({"expr": requests, "value": 1_000_000});
                plan.triggers([trigger]);
                plan.service("watch", json!("4s"));
            }
            "remote pipeline" => {
                plan.triggers([triggers::smoke_test()]);
                plan.paths([plan.github_at(world, github)]);
            }
            "dry run" => plan.triggers([triggers::smoke_test()]),
            other => unreachable!("no scenario {other}"),
        }
        plan
    }
}
