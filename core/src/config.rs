//! The trigger list, the paths and all else that decisions depend on, checked: what a service's plan says.
//!
//! Holds nothing of how an edge reaches its remote: addresses, credentials and timeouts of calls are the shell's.

pub mod decode;
pub mod lint;
pub mod node;

pub use decode::PathParts;

use std::sync::Arc;
use std::time::Duration;

use crate::by_service::ByService;
use crate::name::{AnnouncerName, PagerName, PathName, ServiceName, TriggerName, Version};
use crate::template::Template;
use crate::time::Timestamp;

/// Whether the outside world is touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Paths run, pages go out.
    #[default]
    Live,
    /// Nothing outside the state and receipts folders changes (design, R12).
    DryRun,
}

/// Everything that decisions depend on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Whether the outside world is touched.
    pub mode: Mode,
    /// How many configs were in force before it, in this process: what was judged by another does not count on.
    pub generation: u32,
    /// Since when this process looks; `None` where nothing was left out before. What ended in the meantime is looked at
    /// before it is judged.
    pub looking_since: Option<Timestamp>,
    /// The longest time between two looks.
    pub evaluation_interval: Duration,
    /// How many services firing together are one outage; `None` where the config has no `fleet_guard`.
    pub fleet_guard: Option<FleetGuard>,
    /// Where people see Prometheus' own pages, for the link to a chart; without a slash at its end.
    pub graph_url: Option<String>,
    /// The services by name. A config that is put in force shares them with the one that was read.
    pub services: ByService<Arc<Service>>,
}

/// This many services firing within this time are one outage (design, R10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetGuard {
    /// How many services.
    pub services: usize,
    /// Within how long.
    pub within: Duration,
}

/// At most this many automatic rollbacks of one service within this time (design, R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutomaticLimit {
    /// How many rollbacks.
    pub rollbacks: usize,
    /// Within how long.
    pub within: Duration,
}

impl Default for AutomaticLimit {
    fn default() -> Self {
        Self { rollbacks: 3, within: Duration::from_secs(3600) }
    }
}

/// One service's plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// How long triggers are live after a deploy.
    pub watch: Duration,
    /// Who is paged, level by level: the first at once, the next where nobody acknowledged within `escalate_after`.
    pub page: Vec<Vec<PagerName>>,
    /// How long one level has to acknowledge; `None` where there is one level alone.
    pub escalate_after: Option<Duration>,
    /// Which other systems are told that a trigger fired, and how that ended.
    pub announce: Vec<AnnouncerName>,
    /// The query whose newest series' label `version` says what serves.
    pub version_query: Option<Template>,
    /// Whether a version that the query shows and nobody told of is a deploy.
    pub watch_version: bool,
    /// The trigger list: its own triggers, then the shared ones that it doesn't replace; all services have those in common.
    pub triggers: Vec<Arc<Trigger>>,
    /// The rollback paths, preferred first. Services whose paths say the same have them in common.
    pub paths: Vec<Arc<PathRule>>,
    /// The URL that must answer 2xx before the clock stops.
    pub smoke: Option<String>,
    /// How often automatic rollback may happen.
    pub automatic_limit: AutomaticLimit,
    /// What a bad version may have done that no rollback undoes; `None` where the config says nothing.
    pub side_effects: Option<Vec<SideEffect>>,
    /// How it rehearses its rollback; `None` where it does not.
    pub rehearsal: Option<Box<RehearsalRule>>,
}

/// How a service rehearses its rollback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RehearsalRule {
    /// The path that deploys the bad version on purpose, as its `target.version`.
    pub deploy_bad: PathName,
    /// How often a rehearsal of each path is due.
    pub every: Duration,
    /// How long the bad version may serve with no trigger seeing it: after that it is rolled back all the same. Never
    /// longer than the watch.
    pub timeout: Duration,
    /// The versions that `rehearse --surprise` may draw from.
    pub bad_versions: Vec<Version>,
}

impl Service {
    /// The trigger of this name.
    #[must_use]
    pub fn trigger(&self, name: &TriggerName) -> Option<&Trigger> {
        self.triggers.iter().find(|trigger| &trigger.name == name).map(Arc::as_ref)
    }

    /// The path of this name, with its place in the order of preference.
    #[must_use]
    pub fn path(&self, name: &PathName) -> Option<&PathRule> {
        self.paths.iter().find(|path| &path.name == name).map(Arc::as_ref)
    }
}

/// One trigger: a condition, how long it must hold, and what happens then.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// Its name.
    pub name: TriggerName,
    /// How it is observed.
    pub observed: Observed,
    /// `for`: how long the condition must hold.
    pub hold: Duration,
    /// From observed to recovered; `None` where there is no hurry that could be met (`data-corruption`).
    pub budget: Option<Duration>,
    /// What happens when it fires.
    pub action: Action,
    /// `rollback: never`: code alone is never rolled back for it, not even by a human through this program.
    pub never_roll_back: bool,
    /// How long a human may dismiss before the path starts.
    pub veto: Duration,
    /// What the page says besides.
    pub note: Option<String>,
    /// Its place in the list at the top level, counted from 0, where it came from there: all services share it.
    pub shared: Option<u32>,
}

impl Trigger {
    /// How long its looks must be breaches without a gap before it fires. A comparison's own windows are that already.
    #[must_use]
    pub fn row(&self) -> Duration {
        match &self.observed {
            Observed::Metric(metric) if metric.comparison.is_some() => Duration::ZERO,
            Observed::Metric(_) | Observed::Report => self.hold,
        }
    }
}

/// What happens when a trigger fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Action {
    /// The preferred path runs.
    #[default]
    Rollback,
    /// A human is paged, and may approve.
    Page,
    /// It is recorded and shown, nothing else.
    Shadow,
}

/// How a trigger is observed.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed {
    /// A human or a pipeline says so.
    Report,
    /// Prometheus says so.
    Metric(Arc<Metric>),
}

/// What is asked of Prometheus for a trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// The queries.
    pub query: Query,
    /// When the value is a breach.
    pub condition: Condition,
    /// Too little traffic says nothing.
    pub at_least: Option<AtLeast>,
    /// How far behind an instant the queries look: the longest range (and offset) in them.
    pub window: Duration,
    /// Tells how old the newest sample is that bare selectors read, where there are any: Prometheus goes on showing the
    /// last sample of a series for minutes after the samples have stopped.
    pub freshness: Option<Freshness>,
    /// From slot to slot: `for` in equal parts, none longer than `evaluation_interval`. Of a comparison none shorter than
    /// the window, so that no two samples overlap.
    pub step: Duration,
    /// `compare`: a test decides whether the limit's multiple of the baseline is exceeded, and not a value.
    pub comparison: Option<Comparison>,
}

/// How samples are compared with a baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// By which test.
    pub test: Test,
    /// With what.
    pub against: Against,
    /// How probable a false alarm may be in a whole watch, where nothing differs by more than the limit's multiple.
    pub false_alarms: f64,
}

/// A statistical test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// Mann and Whitney's, once at the end of each window.
    MannWhitney {
        /// `for`: as long is each window.
        window: Duration,
    },
    /// The mixture sequential probability ratio test, at each sample.
    Sequential,
}

/// With what a version is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Against {
    /// With what was before the deploy.
    Before,
    /// With the version to return to, which runs beside it.
    Beside {
        /// The label that names the version of a series.
        label: String,
    },
}

/// How the age of what a trigger reads is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Freshness {
    /// A query for the instant of the newest sample, in seconds since the epoch.
    pub newest: Template,
    /// An older sample is stale: it says nothing (design, R7).
    pub stale_after: Duration,
}

/// The queries of a trigger.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// `bad` over `total`.
    Ratio {
        /// What failed.
        bad: Template,
        /// All there was.
        total: Template,
    },
    /// One expression whose value is compared.
    Expression(Template),
    /// An alerting rule's expression, which filters by itself: any series is a breach.
    Filter {
        /// The expression.
        expr: Template,
        /// A query that returns something wherever anything that the expression selects has data: tells "clear"
        /// from "no data".
        presence: Template,
    },
}

/// When a value is a breach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Condition {
    /// The value is greater than the limit.
    Above(Limit),
    /// The value is less than the limit.
    Below(Limit),
    /// Any series that is returned.
    Any,
}

/// What a value is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// This number; `shown_as_percentage` where it was written as one (0.05 for `5%`).
    Fixed {
        /// The number.
        value: f64,
        /// Whether the config wrote a percentage.
        shown_as_percentage: bool,
    },
    /// This many times the baseline.
    TimesBaseline {
        /// How many times.
        factor: f64,
        /// How long before the deploy the baseline is taken from.
        window: Duration,
    },
}

/// Traffic below which a look says nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct AtLeast {
    /// The query for the traffic.
    pub expr: Template,
    /// The least that counts.
    pub value: f64,
}

impl Metric {
    /// `for` in equal parts: at least four, none longer than the evaluation interval, none shorter than 100 ms.
    /// So the slot at which `for` is met exists exactly.
    #[must_use]
    pub fn step(hold: Duration, evaluation_interval: Duration) -> Duration {
        /// Fewer looks than this within one `for` would let a blip between two of them pass for a breach.
        const LEAST_PARTS: u128 = 4;
        let interval = evaluation_interval.as_millis().max(1);
        let hold = hold.as_millis();
        if hold == 0 {
            return evaluation_interval;
        }
        let parts = hold.div_ceil(interval).max(LEAST_PARTS);
        // The divisor that leaves no remainder keeps the slot at which `for` is met on the grid.
        let exact = (parts..parts.saturating_mul(2)).find(|parts| hold.is_multiple_of(*parts)).unwrap_or(parts);
        Duration::from_millis(u64::try_from((hold / exact).max(100)).unwrap_or(u64::MAX))
    }

    /// All templates that are asked as queries.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        let (value, besides) = match &self.query {
            Query::Ratio { bad, total } => (bad, Some(total)),
            Query::Expression(expr) => (expr, None),
            Query::Filter { expr, presence } => (expr, Some(presence)),
        };
        let at_least = self.at_least.as_ref().map(|at_least| &at_least.expr);
        let freshness = self.freshness.as_ref().map(|freshness| &freshness.newest);
        std::iter::once(value).chain(besides).chain(at_least).chain(freshness)
    }

    /// Whether its queries name nothing, and so are the same for all services and deploys.
    #[must_use]
    pub fn names_nothing(&self) -> bool {
        self.templates().all(|template| template.variables().next().is_none())
    }

    /// The length of the baseline's window, where the limit is a multiple of a baseline from before the deploy.
    #[must_use]
    pub const fn baseline_window(&self) -> Option<Duration> {
        if let Some(Comparison { against: Against::Beside { .. }, .. }) = &self.comparison {
            return None;
        }
        match self.condition {
            Condition::Above(Limit::TimesBaseline { window, .. })
            | Condition::Below(Limit::TimesBaseline { window, .. }) => Some(window),
            Condition::Above(Limit::Fixed { .. }) | Condition::Below(Limit::Fixed { .. }) | Condition::Any => None,
        }
    }
}

/// One rollback path, as far as decisions and receipts need it.
#[derive(Clone, Debug, PartialEq)]
pub struct PathRule {
    /// Its name.
    pub name: PathName,
    /// After how long an attempt counts as failed.
    pub timeout: Duration,
    /// Whether an attempt with an unknown outcome may be run again (design, R2).
    pub repeatable: bool,
    /// The adapter's key in the config: `command`, `github_actions`.
    pub kind: &'static str,
    /// What it will run, in the adapter's own order; rendered when an attempt is intended, recorded, then run as recorded.
    pub run: Vec<RunPart>,
    /// What the path leaves behind that a human must do, for the receipt ("commit the revert").
    pub leaves_behind: Option<String>,
    /// Files that say what the path does beyond the config: the pipeline's own. What was rehearsed changes with them.
    pub pipeline_files: Vec<PipelineFile>,
}

/// A file that a path's meaning depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineFile {
    /// Its name, as the config writes it.
    pub name: String,
    /// The SHA-256 of its content in hex, as the shell read it; `None` where it could not be read, or was not.
    pub sha256: Option<String>,
}

/// One part of what a path runs: an argument, an input.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPart {
    /// Its name, where it has one (`inputs.image_tag`); empty for an argument of a command.
    pub name: String,
    /// Its value.
    pub value: Template,
}

/// What a bad version may have done that no rollback undoes.
#[derive(Clone, Debug, PartialEq)]
pub struct SideEffect {
    /// Its name.
    pub name: String,
    /// A query for how often it happened in the bad window.
    pub count: Template,
    /// What a human does about it.
    pub compensate: Template,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_at_which_for_is_met_is_on_the_grid() {
        let step =
            |hold: u64, interval: u64| Metric::step(Duration::from_millis(hold), Duration::from_millis(interval));
        assert_eq!(step(120_000, 15_000), Duration::from_secs(15));
        assert_eq!(step(300_000, 15_000), Duration::from_secs(15));
        assert_eq!(step(10_000, 15_000), Duration::from_millis(2500));
        assert_eq!(step(0, 15_000), Duration::from_secs(15));
        for (hold, interval) in [(120_000, 7_000), (2_000, 1_000), (3_000, 500), (45_000, 15_000)] {
            let step = step(hold, interval);
            assert!(step <= Duration::from_millis(interval));
            assert_eq!(u128::from(hold) % step.as_millis(), 0, "{hold} {interval}");
        }
    }
}
