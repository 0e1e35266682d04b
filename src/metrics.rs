//! Every metric of the daemon, with its help text and unit, in one list.
//!
//! Never takes a label from outside the config or a closed set: what a client sends can't make new series.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};
use rollbackd_core::event::Happening;
use rollbackd_core::firing::{FiringEnd, Outcome};
use rollbackd_core::name::{AnnouncerName, PagerName, PathName, ServiceName, TriggerName};
use rollbackd_core::reading::{Answer, Look};
use rollbackd_core::time::Timestamp;
use rollbackd_core::view::PathView;
use rollbackd_core::word;

/// What `GET /metrics` says it is: the OpenMetrics text format, version 1.0.0.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// An fsync takes a fraction of a millisecond on a good disk and half a second on a bad day.
const APPEND_BUCKETS: [f64; 10] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 2.5];
/// Queries take milliseconds; `prometheus.timeout` is seconds.
const QUERY_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// A look should be answered within the second in which it is due.
const LATENESS_BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Rollbacks take seconds to minutes; 2 and 15 minutes are the bounds of a receipt's gaps, 5 and 10 the usual budgets.
const ROLLBACK_BUCKETS: [f64; 10] = [5.0, 15.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 900.0, 1800.0];

type Seconds = Gauge<f64, AtomicU64>;
type HistogramFamily<Labels> = Family<Labels, Histogram, fn() -> Histogram>;

macro_rules! label_sets {
    ($($name:ident { $($label:ident: $kind:ty),+ })+) => {$(
        #[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
        struct $name { $($label: $kind),+ }
    )+};
}

label_sets! {
    BuildLabels { version: String }
    KindLabels { kind: &'static str }
    AnswerLabels { answer: &'static str }
    ResultLabels { result: &'static str }
    OutcomeLabels { outcome: &'static str }
    ServiceLabels { service: String }
    FiringLabels { service: String, trigger: String }
    PathLabels { service: String, path: String }
    AttemptLabels { service: String, path: String, outcome: &'static str }
    PagerLabels { pager: String }
    TaskLabels { task: &'static str }
    ReceiverLabels { receiver: String }
    ReasonLabels { reason: &'static str }
    DeliveryLabels { pager: String, result: &'static str }
    AnnouncementLabels { announcer: String, result: &'static str }
    KeptLabels { act: &'static str, result: &'static str }
    SourceLabels { source: &'static str, result: &'static str }
    RequestLabels { route: String, method: &'static str, code: u16 }
}

/// Every metric. Each method says what happened; the name and the unit are this room's.
pub struct Metrics {
    registry: Registry,
    config: ConfigMetrics,
    journal: JournalMetrics,
    rollback: RollbackMetrics,
    rehearsal: RehearsalMetrics,
    evaluation: EvaluationMetrics,
    paging: PagingMetrics,
    own: OwnMetrics,
    http_requests: Family<RequestLabels, Counter>,
    source_events: Family<SourceLabels, Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

struct ConfigMetrics {
    last_reload_successful: Gauge,
    last_reload_success_at: Seconds,
}

struct JournalMetrics {
    events: Family<KindLabels, Counter>,
    records: Counter,
    append_duration: Histogram,
    writable: Gauge,
}

struct RollbackMetrics {
    watches_open: Gauge,
    triggers_blind: Gauge,
    firings: Family<FiringLabels, Counter>,
    firings_open: Gauge,
    budget_ends: Deadlines<FiringLabels>,
    attempt_ends: Deadlines<PathLabels>,
    attempts: Family<AttemptLabels, Counter>,
    attempt_duration: HistogramFamily<PathLabels>,
    receipts: Family<OutcomeLabels, Counter>,
    receipts_unpublished: Gauge,
    receipts_kept: Family<KeptLabels, Counter>,
    recovery_duration: HistogramFamily<ServiceLabels>,
}

struct RehearsalMetrics {
    open: Gauge,
    last_at: Family<PathLabels, Seconds>,
    due_at: Family<PathLabels, Seconds>,
    last_took: Family<PathLabels, Seconds>,
    clean_in_a_row: Family<PathLabels, Gauge>,
    changed: Family<PathLabels, Gauge>,
}

struct EvaluationMetrics {
    due: Counter,
    evaluations: Family<AnswerLabels, Counter>,
    missed: Counter,
    unused: Counter,
    last_at: Seconds,
    query_duration: Histogram,
    queries: Family<ResultLabels, Counter>,
    queries_in_flight: Gauge,
    queries_waiting: Gauge,
    query_limit: Gauge,
    delay: Histogram,
    lateness: Histogram,
}

struct PagingMetrics {
    deliveries: Family<DeliveryLabels, Counter>,
    undelivered: Family<PagerLabels, Gauge>,
    announcements: Family<AnnouncementLabels, Counter>,
}

/// What the daemon says of itself: whether its loops turn, and what became of its heartbeats.
struct OwnMetrics {
    supervisor_turns: Counter,
    looker_turns: Counter,
    heartbeats_sent: Family<ReceiverLabels, Counter>,
    heartbeats_failed: Family<ReceiverLabels, Counter>,
    heartbeats_withheld: Family<ReasonLabels, Counter>,
    heartbeat_last_success_at: Family<ReceiverLabels, Seconds>,
}

/// Who tells of deploys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// GitHub's webhooks.
    GitHub,
    /// GitLab's webhooks.
    GitLab,
    /// CDEvents, by whomever.
    CdEvents,
    /// Deployments of a Kubernetes cluster.
    Kubernetes,
}

impl Source {
    /// Its name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::CdEvents => "cdevents",
            Self::Kubernetes => "kubernetes",
        }
    }
}

/// A loop that has to turn for as long as the daemon works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turning {
    /// Decides, and writes the journal.
    Supervisor,
    /// Asks Prometheus.
    Looker,
}

/// A query to Prometheus that is under way; counted until it is dropped.
#[derive(Debug)]
pub struct QueryInFlight(Gauge);

impl Drop for QueryInFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Registers a metric and keeps a handle on it.
fn registered<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// The same for what is counted in seconds; the name gets the suffix `_seconds`.
fn registered_seconds<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

fn rollback_histogram() -> Histogram {
    Histogram::new(ROLLBACK_BUCKETS)
}

/// Instants that are there only while something is under way.
struct Deadlines<Labels> {
    family: Family<Labels, Seconds>,
    shown: Mutex<BTreeSet<Labels>>,
}

impl<Labels: Clone + Ord + std::hash::Hash + Eq> Deadlines<Labels> {
    fn of(family: Family<Labels, Seconds>) -> Self {
        Self { family, shown: Mutex::default() }
    }

    /// Shows these and no others. What stays is never gone in between: a scrape would take it for over.
    fn show(&self, all: BTreeMap<Labels, Timestamp>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in shown.iter().filter(|labels| !all.contains_key(*labels)) {
            self.family.remove(gone);
        }
        for (labels, at) in &all {
            self.family.get_or_create(labels).set(at.seconds());
        }
        *shown = all.into_keys().collect();
    }
}

impl ConfigMetrics {
    fn register(registry: &mut Registry) -> Self {
        Self {
            last_reload_successful: registered(
                registry,
                "config_last_reload_successful",
                "Whether the last attempt to load the config succeeded (1) or the one before is still in force (0)",
                Gauge::default(),
            ),
            last_reload_success_at: registered_seconds(
                registry,
                "config_last_reload_success_timestamp",
                "When the config in force was loaded, in seconds since the epoch",
                Seconds::default(),
            ),
        }
    }
}

impl JournalMetrics {
    fn register(registry: &mut Registry) -> Self {
        Self {
            events: registered(registry, "events", "Events that came in, by kind", Family::default()),
            records: registered(registry, "records", "Records made durable in the journal", Counter::default()),
            append_duration: registered_seconds(
                registry,
                "journal_append_duration",
                "How long it took to make the records of one decision durable",
                Histogram::new(APPEND_BUCKETS),
            ),
            writable: registered(
                registry,
                "journal_writable",
                "Whether the last write to the journal succeeded (1); where it did not (0), nothing new is begun",
                Gauge::default(),
            ),
        }
    }
}

impl RollbackMetrics {
    fn register(registry: &mut Registry) -> Self {
        Self {
            watches_open: registered(registry, "watches_open", "Watches that are open now", Gauge::default()),
            triggers_blind: registered(
                registry,
                "triggers_blind",
                "Triggers of open watches that have had no usable answer for three intervals",
                Gauge::default(),
            ),
            firings: registered(registry, "firings", "Firings that began", Family::default()),
            firings_open: registered(registry, "firings_open", "Firings that are still to end", Gauge::default()),
            budget_ends: Deadlines::of(registered_seconds(
                registry,
                "firing_budget_end_timestamp",
                "When the budget of an open firing is spent, in seconds since the epoch; no series where none is open",
                Family::default(),
            )),
            attempt_ends: Deadlines::of(registered_seconds(
                registry,
                "attempt_timeout_timestamp",
                "When the timeout of a running path is over, in seconds since the epoch; no series where none runs",
                Family::default(),
            )),
            attempts: registered(registry, "attempts", "Runs of a path that ended, by outcome", Family::default()),
            attempt_duration: registered_seconds(
                registry,
                "attempt_duration",
                "How long a run of a path took, whatever its outcome",
                Family::new_with_constructor(rollback_histogram as fn() -> Histogram),
            ),
            receipts: registered(registry, "receipts", "Receipts published, by outcome", Family::default()),
            receipts_kept: registered(
                registry,
                "receipts_kept",
                "Times that new receipts were to be committed to git or pushed, by how that went",
                Family::default(),
            ),
            receipts_unpublished: registered(
                registry,
                "receipts_unpublished",
                "Firings that have ended and whose receipt is not written yet: see the log where this does not go to 0",
                Gauge::default(),
            ),
            recovery_duration: registered_seconds(
                registry,
                "recovery_duration",
                "From observed to recovered, by the data",
                Family::new_with_constructor(rollback_histogram as fn() -> Histogram),
            ),
        }
    }
}

impl RehearsalMetrics {
    fn register(registry: &mut Registry) -> Self {
        Self {
            open: registered(registry, "rehearsals_open", "Rehearsals that are under way", Gauge::default()),
            last_at: registered_seconds(
                registry,
                "path_rehearsal_last_timestamp",
                "When a path last brought a rehearsal back, in seconds since the epoch; no series where it never did",
                Family::default(),
            ),
            due_at: registered_seconds(
                registry,
                "path_rehearsal_due_timestamp",
                "When a path's next rehearsal is due, in seconds since the epoch; 0 where it was never rehearsed",
                Family::default(),
            ),
            last_took: registered_seconds(
                registry,
                "path_rehearsal_last_recovery",
                "From observed to recovered in a path's last rehearsal",
                Family::default(),
            ),
            clean_in_a_row: registered(
                registry,
                "path_rehearsals_clean_in_a_row",
                "How many rehearsals of a path in a row went by the plan, each in less than five minutes",
                Family::default(),
            ),
            changed: registered(
                registry,
                "path_changed_since_rehearsal",
                "Whether a path, or the trigger it was rehearsed by, is no longer what was rehearsed (1)",
                Family::default(),
            ),
        }
    }
}

impl EvaluationMetrics {
    fn register(registry: &mut Registry) -> Self {
        Self {
            due: registered(
                registry,
                "evaluations_due",
                "Looks at a trigger that fell due: each was made, was missed, was not used, or is under way",
                Counter::default(),
            ),
            evaluations: registered(registry, "evaluations", "Looks at a trigger, by answer", Family::default()),
            missed: registered(
                registry,
                "evaluations_missed",
                "Looks at a trigger that were not made in time: the next one asks for their points too",
                Counter::default(),
            ),
            unused: registered(
                registry,
                "evaluations_unused",
                "Looks at a trigger whose answer came when the watch was over, or before there was anything to judge",
                Counter::default(),
            ),
            last_at: registered_seconds(
                registry,
                "last_evaluation_timestamp",
                "When a trigger was last looked at, in seconds since the epoch",
                Seconds::default(),
            ),
            query_duration: registered_seconds(
                registry,
                "prometheus_query_duration",
                "How long Prometheus took to answer a query",
                Histogram::new(QUERY_BUCKETS),
            ),
            queries: registered(
                registry,
                "prometheus_queries",
                "Queries that Prometheus was asked, by result: ok, partial or failed",
                Family::default(),
            ),
            queries_in_flight: registered(
                registry,
                "prometheus_queries_in_flight",
                "Queries that wait for Prometheus now",
                Gauge::default(),
            ),
            queries_waiting: registered(
                registry,
                "prometheus_queries_waiting",
                "Queries that wait for room: as many are under way as Prometheus is asked at once",
                Gauge::default(),
            ),
            query_limit: registered(
                registry,
                "prometheus_query_limit",
                "Queries that Prometheus is asked at once: prometheus.concurrency, or fewer while it is slow",
                Gauge::default(),
            ),
            delay: registered_seconds(
                registry,
                "evaluation_delay",
                "From the instant at which a look at a trigger was due until it was begun",
                Histogram::new(LATENESS_BUCKETS),
            ),
            lateness: registered_seconds(
                registry,
                "evaluation_lateness",
                "From the instant at which a look at a trigger was due until it was answered",
                Histogram::new(LATENESS_BUCKETS),
            ),
        }
    }
}

impl PagingMetrics {
    fn register(registry: &mut Registry) -> Self {
        Self {
            deliveries: registered(
                registry,
                "page_deliveries",
                "Attempts to deliver a page, by result: delivered, or why not",
                Family::default(),
            ),
            undelivered: registered(
                registry,
                "pages_undelivered",
                "Pages that this pager has not taken yet",
                Family::default(),
            ),
            announcements: registered(
                registry,
                "announcement_deliveries",
                "Attempts to tell another system of a firing, by result: delivered, or why not",
                Family::default(),
            ),
        }
    }
}

impl OwnMetrics {
    fn register(registry: &mut Registry) -> Self {
        let turns_help = "Turns of the loops that have to go on, by task: each turns every second or more often";
        let turns: Family<TaskLabels, Counter> = registered(registry, "loop_turns", turns_help, Family::default());
        // One after the other: what `get_or_create` gives is a lock, held for as long as it is there.
        let supervisor_turns = turns.get_or_create(&TaskLabels { task: "supervisor" }).clone();
        let looker_turns = turns.get_or_create(&TaskLabels { task: "looker" }).clone();
        Self {
            supervisor_turns,
            looker_turns,
            heartbeats_sent: registered(
                registry,
                "heartbeats_sent",
                "Heartbeats that were taken, by receiver: a pager's name, or ping",
                Family::default(),
            ),
            heartbeats_failed: registered(
                registry,
                "heartbeats_failed",
                "Heartbeats that were not taken, by receiver",
                Family::default(),
            ),
            heartbeats_withheld: registered(
                registry,
                "heartbeats_withheld",
                "Heartbeats that were not sent because the daemon could not do its work, by reason",
                Family::default(),
            ),
            heartbeat_last_success_at: registered_seconds(
                registry,
                "heartbeat_last_success_timestamp",
                "When this receiver last took a heartbeat, in seconds since the epoch",
                Family::default(),
            ),
        }
    }
}

impl Metrics {
    /// All metrics, at zero, of this version of the daemon.
    #[must_use]
    pub fn new(version: &str) -> Self {
        let mut registry = Registry::with_prefix("rollbackd");
        let list = &mut registry;
        let build: Family<BuildLabels, Gauge> = Family::default();
        build.get_or_create(&BuildLabels { version: version.to_owned() }).set(1);
        registered(list, "build_info", "Always 1; the label says which version runs", build);
        let http_help = "Requests that were answered, by route pattern, method and status code";
        let sources_help = "Events of webhooks and other sources, by what came of them";
        Self {
            config: ConfigMetrics::register(list),
            journal: JournalMetrics::register(list),
            rollback: RollbackMetrics::register(list),
            rehearsal: RehearsalMetrics::register(list),
            evaluation: EvaluationMetrics::register(list),
            paging: PagingMetrics::register(list),
            own: OwnMetrics::register(list),
            http_requests: registered(list, "http_requests", http_help, Family::default()),
            source_events: registered(list, "source_events", sources_help, Family::default()),
            registry,
        }
    }

    /// Everything as OpenMetrics text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing into a string does not fail, and no metric here is one that text can't hold.
            Err(fmt::Error) => "# EOF\n".to_owned(),
        }
    }

    /// A config was loaded and is in force since this instant.
    pub fn config_loaded(&self, at: Timestamp) {
        self.config.last_reload_successful.set(1);
        self.config.last_reload_success_at.set(at.seconds());
    }

    /// A config could not be loaded; the one before stays in force.
    pub fn config_refused(&self) {
        self.config.last_reload_successful.set(0);
    }

    /// An event came in.
    pub fn event(&self, what: &Happening) {
        self.journal.events.get_or_create(&KindLabels { kind: kind(what) }).inc();
    }

    /// The records of one decision were made durable.
    pub fn records_appended(&self, records: usize, took: Duration) {
        self.journal.records.inc_by(u64::try_from(records).unwrap_or(u64::MAX));
        self.journal.append_duration.observe(took.as_secs_f64());
        self.journal.writable.set(1);
    }

    /// The journal could not be written.
    pub fn journal_not_writable(&self) {
        self.journal.writable.set(0);
    }

    /// The journal can be written, before anything was.
    pub fn journal_opened(&self) {
        self.journal.writable.set(1);
    }

    /// How many watches are open.
    pub fn watches_open(&self, count: usize) {
        set_count(&self.rollback.watches_open, count);
    }

    /// A firing began.
    pub fn firing_began(&self, service: &ServiceName, trigger: &TriggerName) {
        let labels = FiringLabels { service: service.to_string(), trigger: trigger.to_string() };
        self.rollback.firings.get_or_create(&labels).inc();
    }

    /// How many firings are open.
    pub fn firings_open(&self, count: usize) {
        set_count(&self.rollback.firings_open, count);
    }

    /// How many triggers of open watches are blind.
    pub fn triggers_blind(&self, count: usize) {
        set_count(&self.rollback.triggers_blind, count);
    }

    /// When the budgets of the open firings are spent. Of several of one trigger, the earliest counts.
    pub fn budgets_end<'a>(&self, all: impl Iterator<Item = (&'a ServiceName, &'a TriggerName, Timestamp)>) {
        self.rollback.budget_ends.show(earliest(all.map(|(service, trigger, at)| {
            (FiringLabels { service: service.to_string(), trigger: trigger.to_string() }, at)
        })));
    }

    /// When the timeouts of the running paths are over.
    pub fn attempts_time_out<'a>(&self, all: impl Iterator<Item = (&'a ServiceName, &'a PathName, Timestamp)>) {
        self.rollback.attempt_ends.show(earliest(
            all.map(|(service, path, at)| (PathLabels { service: service.to_string(), path: path.to_string() }, at)),
        ));
    }

    /// How many rehearsals are under way, and what is known of those of each path of each service.
    pub fn rehearsals<'a>(&self, open: usize, paths: impl Iterator<Item = (&'a ServiceName, PathView)>) {
        let own = &self.rehearsal;
        set_count(&own.open, open);
        for family in [&own.last_at, &own.due_at, &own.last_took] {
            family.clear();
        }
        own.clean_in_a_row.clear();
        own.changed.clear();
        for (service, path) in paths {
            let labels = PathLabels { service: service.to_string(), path: path.name.to_string() };
            let due_at = path.rehearsal_due_at.map(|at| if path.rehearsed.is_some() { at.seconds() } else { 0.0 });
            if let Some(due_at) = due_at {
                own.due_at.get_or_create(&labels).set(due_at);
            }
            if let Some(known) = path.rehearsed {
                own.last_at.get_or_create(&labels).set(known.at.seconds());
                own.last_took.get_or_create(&labels).set(known.took_seconds);
                own.clean_in_a_row.get_or_create(&labels).set(i64::from(known.in_a_row));
                own.changed.get_or_create(&labels).set(i64::from(known.changed));
            }
        }
    }

    /// A run of a path ended.
    pub fn attempt_ended(&self, service: &ServiceName, path: &PathName, outcome: &Outcome, took: Duration) {
        let (service, path) = (service.to_string(), path.to_string());
        let labels = AttemptLabels { service: service.clone(), path: path.clone(), outcome: outcome_word(outcome) };
        self.rollback.attempts.get_or_create(&labels).inc();
        self.rollback.attempt_duration.get_or_create(&PathLabels { service, path }).observe(took.as_secs_f64());
    }

    /// A receipt was published.
    pub fn receipt_published(&self, end: FiringEnd) {
        self.rollback.receipts.get_or_create(&OutcomeLabels { outcome: word(end) }).inc();
    }

    /// New receipts were to be committed or pushed (`act`), and that was `done` or `failed`.
    pub fn receipts_kept(&self, act: &'static str, result: &'static str) {
        self.rollback.receipts_kept.get_or_create(&KeptLabels { act, result }).inc();
    }

    /// How many firings have ended whose receipt is not durable yet.
    pub fn receipts_unpublished(&self, count: usize) {
        set_count(&self.rollback.receipts_unpublished, count);
    }

    /// Production is back, this long after the trigger was observed.
    pub fn recovered(&self, service: &ServiceName, took: Duration) {
        let labels = ServiceLabels { service: service.to_string() };
        self.rollback.recovery_duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A trigger was looked at.
    pub fn evaluated(&self, look: Look, at: Timestamp) {
        self.evaluation.evaluations.get_or_create(&AnswerLabels { answer: answer(look) }).inc();
        self.evaluation.last_at.set(at.seconds());
    }

    /// Looks at a trigger fell due, whether or not they could be made.
    pub fn evaluations_due(&self, count: u64) {
        self.evaluation.due.inc_by(count);
    }

    /// A trigger was looked at and there was nothing to judge: the watch was over, or no slot has passed yet.
    pub fn evaluation_unused(&self) {
        self.evaluation.unused.inc();
    }

    /// Looks at a trigger were not made in time.
    pub fn evaluations_missed(&self, count: u64) {
        self.evaluation.missed.inc_by(count);
    }

    /// A query is under way until what this returns is dropped.
    #[must_use]
    pub fn query_started(&self) -> QueryInFlight {
        self.evaluation.queries_in_flight.inc();
        QueryInFlight(self.evaluation.queries_in_flight.clone())
    }

    /// A query waits for room until what this returns is dropped.
    #[must_use]
    pub fn query_waits(&self) -> QueryInFlight {
        self.evaluation.queries_waiting.inc();
        QueryInFlight(self.evaluation.queries_waiting.clone())
    }

    /// So many queries may be under way at once.
    pub fn query_limit(&self, limit: usize) {
        self.evaluation.query_limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
    }

    /// A look at a trigger was begun this long after it was due.
    pub fn look_delayed(&self, delay: Duration) {
        self.evaluation.delay.observe(delay.as_secs_f64());
    }

    /// A look at a trigger was answered this long after it was due.
    pub fn looked_late(&self, late: Duration) {
        self.evaluation.lateness.observe(late.as_secs_f64());
    }

    /// Prometheus answered a query, or did not.
    pub fn query_answered(&self, answer: &Answer, took: Duration) {
        let result = match answer {
            Answer::Series(_) => "ok",
            Answer::Partial(_) => "partial",
            Answer::Failed(_) => "failed",
        };
        self.evaluation.queries.get_or_create(&ResultLabels { result }).inc();
        self.evaluation.query_duration.observe(took.as_secs_f64());
    }

    /// A pager took a page.
    pub fn page_delivered(&self, pager: &PagerName) {
        self.page_tried(pager, "delivered");
    }

    /// A pager did not take a page. `reason` is a word of a closed set, never the error's text.
    pub fn page_failed(&self, pager: &PagerName, reason: &'static str) {
        self.page_tried(pager, reason);
    }

    fn page_tried(&self, pager: &PagerName, result: &'static str) {
        self.paging.deliveries.get_or_create(&DeliveryLabels { pager: pager.to_string(), result }).inc();
    }

    /// An announcer took an announcement.
    pub fn announcement_delivered(&self, announcer: &AnnouncerName) {
        self.announcement_tried(announcer, "delivered");
    }

    /// An announcer did not take an announcement. `reason` is a word of a closed set, never the error's text.
    pub fn announcement_failed(&self, announcer: &AnnouncerName, reason: &'static str) {
        self.announcement_tried(announcer, reason);
    }

    fn announcement_tried(&self, announcer: &AnnouncerName, result: &'static str) {
        let labels = AnnouncementLabels { announcer: announcer.to_string(), result };
        self.paging.announcements.get_or_create(&labels).inc();
    }

    /// How many pages this pager has not taken yet.
    pub fn pages_undelivered(&self, pager: &PagerName, count: usize) {
        set_count(&self.paging.undelivered.get_or_create(&PagerLabels { pager: pager.to_string() }), count);
    }

    /// A loop turned.
    pub fn turned(&self, of: Turning) {
        self.turns_of(of).inc();
    }

    /// How often a loop has turned.
    #[must_use]
    pub fn turns(&self, of: Turning) -> u64 {
        self.turns_of(of).get()
    }

    const fn turns_of(&self, of: Turning) -> &Counter {
        match of {
            Turning::Supervisor => &self.own.supervisor_turns,
            Turning::Looker => &self.own.looker_turns,
        }
    }

    /// How many queries Prometheus has answered in full, and how many it has not.
    #[must_use]
    pub fn queries_so_far(&self) -> (u64, u64) {
        let count = |result| self.evaluation.queries.get_or_create(&ResultLabels { result }).get();
        (count("ok"), count("partial") + count("failed"))
    }

    /// A receiver (a pager's name, or `ping`) took a heartbeat.
    pub fn heartbeat_sent(&self, receiver: &str, at: Timestamp) {
        let labels = ReceiverLabels { receiver: receiver.to_owned() };
        self.own.heartbeats_sent.get_or_create(&labels).inc();
        self.own.heartbeat_last_success_at.get_or_create(&labels).set(at.seconds());
    }

    /// A receiver did not take a heartbeat.
    pub fn heartbeat_failed(&self, receiver: &str) {
        self.own.heartbeats_failed.get_or_create(&ReceiverLabels { receiver: receiver.to_owned() }).inc();
    }

    /// No heartbeat was sent. `reason` is a word of a closed set.
    pub fn heartbeat_withheld(&self, reason: &'static str) {
        self.own.heartbeats_withheld.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// An event came in. `result` is a word of a closed set.
    pub fn source_event(&self, source: Source, result: &'static str) {
        self.source_events.get_or_create(&SourceLabels { source: source.word(), result }).inc();
    }

    /// A request was answered. `route` is the pattern, never the path that was asked for.
    pub fn http_answered(&self, route: &str, method: &str, code: u16) {
        let labels = RequestLabels { route: route.to_owned(), method: known_method(method), code };
        self.http_requests.get_or_create(&labels).inc();
    }
}

fn earliest<Labels: Ord>(all: impl Iterator<Item = (Labels, Timestamp)>) -> BTreeMap<Labels, Timestamp> {
    let mut earliest = BTreeMap::new();
    for (labels, at) in all {
        let known = earliest.entry(labels).or_insert(at);
        *known = at.min(*known);
    }
    earliest
}

fn set_count(gauge: &Gauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// A client may send any word as a method; each would be a series.
fn known_method(method: &str) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|known| *known == method).unwrap_or("other")
}

const fn kind(what: &Happening) -> &'static str {
    match what {
        Happening::Deployed(_) => "deployed",
        Happening::Hinted { .. } => "hinted",
        Happening::Shown { .. } => "shown",
        Happening::Reported { .. } => "reported",
        Happening::Approved { .. } => "approved",
        Happening::Dismissed { .. } => "dismissed",
        Happening::Acknowledged { .. } => "acknowledged",
        Happening::RollbackAsked { .. } => "rollback_asked",
        Happening::RehearsalAsked { .. } => "rehearsal_asked",
        Happening::RehearsalStopAsked => "rehearsal_stop_asked",
        Happening::Frozen { .. } => "frozen",
        Happening::Thawed => "thawed",
        Happening::Looked { .. } => "looked",
        Happening::BaselineRead { .. } => "baseline_read",
        Happening::VersionBeforeRead { .. } => "version_before_read",
        Happening::Appeared { .. } => "appeared",
        Happening::ServingRead { .. } => "serving_read",
        Happening::SmokeAnswered { .. } => "smoke_answered",
        Happening::AttemptStarted { .. } => "attempt_started",
        Happening::AttemptWaits { .. } => "attempt_waits",
        Happening::AttemptEnded { .. } => "attempt_ended",
        Happening::PageDelivered { .. } => "page_delivered",
        Happening::Announced { .. } => "announced",
        Happening::ReceiptPublished { .. } => "receipt_published",
        Happening::Woke => "woke",
    }
}

const fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded { .. } => "succeeded",
        Outcome::Failed { .. } => "failed",
        Outcome::TimedOut => "timed_out",
        Outcome::Cancelled { .. } => "cancelled",
        Outcome::Unknown { .. } => "unknown",
        Outcome::NeverStarted => "never_started",
    }
}

const fn answer(look: Look) -> &'static str {
    match look {
        Look::Breach(_) => "breach",
        Look::Clear(_) => "clear",
        Look::LowTraffic | Look::NoTraffic => "low_traffic",
        Look::NoData => "no_data",
        Look::Error => "error",
        Look::Partial => "partial",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rollbackd_core::view::RehearsedView;
    use std::process::{Command, Stdio};

    use super::*;

    /// One of everything, so that every metric has a sample.
    fn busy() -> Metrics {
        let metrics = Metrics::new("0.1.0");
        let service = ServiceName::new("shop").unwrap();
        let (path, pager) = (PathName::new("pipeline").unwrap(), PagerName::new("oncall").unwrap());
        let at = Timestamp::from_milliseconds(1_500);
        metrics.config_loaded(at);
        metrics.event(&Happening::Woke);
        metrics.records_appended(3, Duration::from_millis(2));
        metrics.watches_open(1);
        metrics.triggers_blind(2);
        let trigger = TriggerName::new("error-rate").unwrap();
        metrics.budgets_end([(&service, &trigger, at + Duration::from_secs(1)), (&service, &trigger, at)].into_iter());
        metrics.attempts_time_out([(&service, &path, at)].into_iter());
        metrics.rehearsals(1, std::iter::once((&service, rehearsed(&path, at))));
        metrics.firing_began(&service, &TriggerName::new("error-rate").unwrap());
        metrics.firings_open(1);
        metrics.attempt_ended(&service, &path, &Outcome::TimedOut, Duration::from_secs(240));
        metrics.receipt_published(FiringEnd::NotRecovered);
        metrics.receipts_unpublished(1);
        metrics.receipts_kept("push", "failed");
        metrics.recovered(&service, Duration::from_secs(90));
        metrics.evaluated(Look::LowTraffic, at);
        metrics.evaluations_due(4);
        metrics.evaluations_missed(2);
        metrics.evaluation_unused();
        metrics.query_answered(&Answer::Partial(String::new()), Duration::from_millis(7));
        metrics.page_delivered(&pager);
        metrics.page_failed(&pager, "timeout");
        metrics.pages_undelivered(&pager, 1);
        let graphs = AnnouncerName::new("graphs").unwrap();
        metrics.announcement_delivered(&graphs);
        metrics.announcement_failed(&graphs, "retry");
        metrics.turned(Turning::Supervisor);
        metrics.heartbeat_sent("oncall", at);
        metrics.heartbeat_failed("ping");
        metrics.heartbeat_withheld("journal");
        metrics.http_answered("/v1/services/{name}", "GET", 404);
        metrics.source_event(Source::GitHub, "deploy");
        metrics
    }

    fn rehearsed(path: &PathName, at: Timestamp) -> PathView {
        let trigger = TriggerName::new("error-rate").unwrap();
        let known = RehearsedView {
            at,
            took_seconds: 97.5,
            trigger,
            receipt: 3,
            in_a_row: 2,
            changed: true,
            ready_for_a_game_day: false,
        };
        PathView {
            name: path.clone(),
            kind: "command",
            timeout_seconds: 60.0,
            took_seconds: Vec::new(),
            next: None,
            rehearsed: Some(known),
            rehearsal_due_at: Some(at + Duration::from_secs(60)),
        }
    }

    #[test]
    fn every_metric_has_its_name_its_labels_and_its_value() {
        let text = busy().text();
        for line in [
            "rollbackd_build_info{version=\"0.1.0\"} 1",
            "rollbackd_config_last_reload_successful 1",
            "rollbackd_config_last_reload_success_timestamp_seconds 1.5",
            "rollbackd_events_total{kind=\"woke\"} 1",
            "rollbackd_records_total 3",
            "rollbackd_journal_append_duration_seconds_count 1",
            "rollbackd_journal_writable 1",
            "rollbackd_watches_open 1",
            "rollbackd_triggers_blind 2",
            "rollbackd_firing_budget_end_timestamp_seconds{service=\"shop\",trigger=\"error-rate\"} 1.5",
            "rollbackd_attempt_timeout_timestamp_seconds{service=\"shop\",path=\"pipeline\"} 1.5",
            "rollbackd_firings_total{service=\"shop\",trigger=\"error-rate\"} 1",
            "rollbackd_rehearsals_open 1",
            "rollbackd_path_rehearsal_last_timestamp_seconds{service=\"shop\",path=\"pipeline\"} 1.5",
            "rollbackd_path_rehearsal_due_timestamp_seconds{service=\"shop\",path=\"pipeline\"} 61.5",
            "rollbackd_path_rehearsal_last_recovery_seconds{service=\"shop\",path=\"pipeline\"} 97.5",
            "rollbackd_path_rehearsals_clean_in_a_row{service=\"shop\",path=\"pipeline\"} 2",
            "rollbackd_path_changed_since_rehearsal{service=\"shop\",path=\"pipeline\"} 1",
            "rollbackd_firings_open 1",
            "rollbackd_attempts_total{service=\"shop\",path=\"pipeline\",outcome=\"timed_out\"} 1",
            "rollbackd_attempt_duration_seconds_sum{service=\"shop\",path=\"pipeline\"} 240.0",
            "rollbackd_receipts_total{outcome=\"not_recovered\"} 1",
            "rollbackd_receipts_unpublished 1",
            "rollbackd_receipts_kept_total{act=\"push\",result=\"failed\"} 1",
            "rollbackd_recovery_duration_seconds_sum{service=\"shop\"} 90.0",
            "rollbackd_evaluations_total{answer=\"low_traffic\"} 1",
            "rollbackd_evaluations_due_total 4",
            "rollbackd_evaluations_missed_total 2",
            "rollbackd_evaluations_unused_total 1",
            "rollbackd_last_evaluation_timestamp_seconds 1.5",
            "rollbackd_prometheus_query_duration_seconds_count 1",
            "rollbackd_prometheus_queries_total{result=\"partial\"} 1",
            "rollbackd_prometheus_queries_in_flight 0",
            "rollbackd_page_deliveries_total{pager=\"oncall\",result=\"delivered\"} 1",
            "rollbackd_page_deliveries_total{pager=\"oncall\",result=\"timeout\"} 1",
            "rollbackd_pages_undelivered{pager=\"oncall\"} 1",
            "rollbackd_announcement_deliveries_total{announcer=\"graphs\",result=\"delivered\"} 1",
            "rollbackd_announcement_deliveries_total{announcer=\"graphs\",result=\"retry\"} 1",
            "rollbackd_loop_turns_total{task=\"supervisor\"} 1",
            "rollbackd_loop_turns_total{task=\"looker\"} 0",
            "rollbackd_heartbeats_sent_total{receiver=\"oncall\"} 1",
            "rollbackd_heartbeats_failed_total{receiver=\"ping\"} 1",
            "rollbackd_heartbeats_withheld_total{reason=\"journal\"} 1",
            "rollbackd_heartbeat_last_success_timestamp_seconds{receiver=\"oncall\"} 1.5",
            "rollbackd_source_events_total{source=\"github\",result=\"deploy\"} 1",
            "rollbackd_http_requests_total{route=\"/v1/services/{name}\",method=\"GET\",code=\"404\"} 1",
        ] {
            assert!(text.lines().any(|each| each == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn every_metric_that_an_alert_asks_for_is_one_of_these() {
        let rules = include_str!("../config/prometheus/rollbackd.rules.yml");
        let text = busy().text();
        let is_of_a_name = |each: char| each.is_ascii_alphanumeric() || each == '_';
        let words = rules.split(|each| !is_of_a_name(each)).filter(|word| word.starts_with("rollbackd_"));
        let asked: BTreeSet<&str> = words.collect();
        assert!(asked.len() > 10, "{asked:?}");
        for name in asked {
            let shown = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
            assert!(text.lines().any(shown), "an alert asks for {name}, which is not in\n{text}");
        }
    }

    #[test]
    fn a_query_is_in_flight_until_it_is_dropped() {
        let metrics = Metrics::new("0.1.0");
        let query = metrics.query_started();
        assert!(metrics.text().contains("rollbackd_prometheus_queries_in_flight 1"));
        drop(query);
        assert!(metrics.text().contains("rollbackd_prometheus_queries_in_flight 0"));
    }

    #[test]
    fn a_journal_that_can_not_be_written_and_a_refused_config_show() {
        let metrics = busy();
        metrics.journal_not_writable();
        metrics.config_refused();
        let text = metrics.text();
        assert!(text.contains("rollbackd_journal_writable 0"));
        assert!(text.contains("rollbackd_config_last_reload_successful 0"));
        assert!(
            text.contains("rollbackd_config_last_reload_success_timestamp_seconds 1.5"),
            "the good one is in force"
        );
    }

    #[test]
    fn a_deadline_shows_only_while_something_is_under_way() {
        let metrics = busy();
        metrics.budgets_end(std::iter::empty());
        metrics.attempts_time_out(std::iter::empty());
        metrics.rehearsals(0, std::iter::empty());
        let text = metrics.text();
        assert!(!text.contains("_timestamp_seconds{service"), "{text}");
    }

    #[test]
    fn a_method_that_nobody_knows_makes_no_series() {
        let metrics = Metrics::new("0.1.0");
        metrics.http_answered("/healthz", "BREW", 405);
        assert!(metrics.text().contains("method=\"other\""));
    }

    /// The classic text format, which is what `promtool check metrics` reads: there a counter's family has the suffix
    /// `_total` as well, and there is neither a unit nor an end mark.
    fn classic(text: &str) -> String {
        let counters: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter")))
            .collect();
        let with_total = |line: &str| {
            let mut words: Vec<String> = line.splitn(4, ' ').map(str::to_owned).collect();
            if words[0] == "#" && counters.contains(&words[2].as_str()) {
                words[2].push_str("_total");
            }
            words.join(" ")
        };
        let kept = text.lines().filter(|line| !line.starts_with("# UNIT") && *line != "# EOF");
        kept.map(|line| with_total(line) + "\n").collect()
    }

    #[test]
    fn promtool_finds_nothing_wrong_where_it_is_installed() {
        let promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut promtool) = promtool else {
            eprintln!("promtool is not installed: not checked");
            return;
        };
        promtool.stdin.take().unwrap().write_all(classic(&busy().text()).as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert_eq!(said, "");
    }
}
