//! Every metric's family, with its help text and unit, in one list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};
use rollbackd_core::time::Timestamp;

use super::labels::{
    AnnouncementLabels, AnswerLabels, AttemptLabels, DeliveryLabels, FiringLabels, KeptLabels, KindLabels,
    OutcomeLabels, PagerLabels, PathLabels, ReasonLabels, ReceiverLabels, ResultLabels, ServiceLabels, TaskLabels,
};

/// An fsync takes a fraction of a millisecond on a good disk and half a second on a bad day.
const APPEND_BUCKETS: [f64; 10] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 2.5];
/// Queries take milliseconds; `prometheus.timeout` is seconds.
const QUERY_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// A look should be answered within the second in which it is due.
const LATENESS_BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Rollbacks take seconds to minutes; 2 and 15 minutes are the bounds of a receipt's gaps, 5 and 10 the usual budgets.
const ROLLBACK_BUCKETS: [f64; 10] = [5.0, 15.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 900.0, 1800.0];

pub(super) type Seconds = Gauge<f64, AtomicU64>;
type HistogramFamily<Labels> = Family<Labels, Histogram, fn() -> Histogram>;

/// Registers a metric and keeps a handle on it.
pub(super) fn registered<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
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
pub(super) struct Deadlines<Labels> {
    family: Family<Labels, Seconds>,
    shown: Mutex<BTreeSet<Labels>>,
}

impl<Labels: Clone + Ord + std::hash::Hash + Eq> Deadlines<Labels> {
    fn of(family: Family<Labels, Seconds>) -> Self {
        Self { family, shown: Mutex::default() }
    }

    /// Shows these and no others. What stays is never gone in between: a scrape would take it for over.
    pub(super) fn show(&self, all: BTreeMap<Labels, Timestamp>) {
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

pub(super) struct ConfigMetrics {
    pub(super) last_reload_successful: Gauge,
    pub(super) last_reload_success_at: Seconds,
}

impl ConfigMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
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

pub(super) struct JournalMetrics {
    pub(super) events: Family<KindLabels, Counter>,
    pub(super) records: Counter,
    pub(super) append_duration: Histogram,
    pub(super) writable: Gauge,
}

impl JournalMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
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

pub(super) struct RollbackMetrics {
    pub(super) watches_open: Gauge,
    pub(super) triggers_blind: Gauge,
    pub(super) firings: Family<FiringLabels, Counter>,
    pub(super) firings_open: Gauge,
    pub(super) budget_ends: Deadlines<FiringLabels>,
    pub(super) attempt_ends: Deadlines<PathLabels>,
    pub(super) attempts: Family<AttemptLabels, Counter>,
    pub(super) attempt_duration: HistogramFamily<PathLabels>,
    pub(super) preflights: Family<AttemptLabels, Counter>,
    pub(super) receipts: Family<OutcomeLabels, Counter>,
    pub(super) receipts_unpublished: Gauge,
    pub(super) receipts_kept: Family<KeptLabels, Counter>,
    pub(super) recovery_duration: HistogramFamily<ServiceLabels>,
}

impl RollbackMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
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
            preflights: registered(
                registry,
                "preflights",
                "Times that it was looked whether a path could be run, just before a trigger's `for` was over, by outcome",
                Family::default(),
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

pub(super) struct RehearsalMetrics {
    pub(super) open: Gauge,
    pub(super) last_at: Family<PathLabels, Seconds>,
    pub(super) due_at: Family<PathLabels, Seconds>,
    pub(super) last_took: Family<PathLabels, Seconds>,
    pub(super) clean_in_a_row: Family<PathLabels, Gauge>,
    pub(super) changed: Family<PathLabels, Gauge>,
}

impl RehearsalMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
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

pub(super) struct EvaluationMetrics {
    pub(super) due: Counter,
    pub(super) evaluations: Family<AnswerLabels, Counter>,
    pub(super) missed: Counter,
    pub(super) unused: Counter,
    pub(super) last_at: Seconds,
    pub(super) query_duration: Histogram,
    pub(super) queries: Family<ResultLabels, Counter>,
    pub(super) queries_in_flight: Gauge,
    pub(super) queries_waiting: Gauge,
    pub(super) query_limit: Gauge,
    pub(super) delay: Histogram,
    pub(super) lateness: Histogram,
}

impl EvaluationMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
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
                "Looks at a trigger whose answer came when the watch was over, before there was anything to judge, or as a piece of more",
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
                "From the instant at which a look at a trigger was due until its first query was sent",
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

pub(super) struct PagingMetrics {
    pub(super) deliveries: Family<DeliveryLabels, Counter>,
    pub(super) undelivered: Family<PagerLabels, Gauge>,
    pub(super) announcements: Family<AnnouncementLabels, Counter>,
}

impl PagingMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
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

/// What the daemon says of itself: whether its loops turn, and what became of its heartbeats.
pub(super) struct OwnMetrics {
    pub(super) supervisor_turns: Counter,
    pub(super) looker_turns: Counter,
    pub(super) heartbeats_sent: Family<ReceiverLabels, Counter>,
    pub(super) heartbeats_failed: Family<ReceiverLabels, Counter>,
    pub(super) heartbeats_withheld: Family<ReasonLabels, Counter>,
    pub(super) heartbeat_last_success_at: Family<ReceiverLabels, Seconds>,
}

impl OwnMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
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
