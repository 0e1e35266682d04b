//! What the daemon counts and shows: each method says what happened, in the words of those who call it.
//!
//! Never takes a label from outside the config or a closed set: what a client sends can't make new series.

mod families;
mod labels;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rollbackd_core::config::Mode;
use rollbackd_core::event::Happening;
use rollbackd_core::firing::{FiringEnd, Outcome};
use rollbackd_core::name::{AnnouncerName, PagerName, PathName, ServiceName, TriggerName};
use rollbackd_core::reading::{Answer, Look};
use rollbackd_core::time::Timestamp;
use rollbackd_core::view::PathView;
use rollbackd_core::word;

use crate::paths::NotReady;

use families::{
    ConfigMetrics, EvaluationMetrics, JournalMetrics, OwnMetrics, PagingMetrics, RehearsalMetrics, RollbackMetrics,
    registered,
};
use labels::{
    AnnouncementLabels, AnswerLabels, AttemptLabels, BuildLabels, DeliveryLabels, FiringLabels, KeptLabels, KindLabels,
    OutcomeLabels, PagerLabels, PathLabels, ReasonLabels, ReceiverLabels, RequestLabels, ResultLabels, ServiceLabels,
    SourceLabels,
};
use words::{answer, kind, known_method, outcome_word};

/// What `GET /metrics` says it is: the OpenMetrics text format, version 1.0.0.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every metric. Names, help texts and units are its families'.
pub struct Metrics {
    registry: Registry,
    config: ConfigMetrics,
    journal: JournalMetrics,
    rollback: RollbackMetrics,
    rehearsal: RehearsalMetrics,
    evaluation: EvaluationMetrics,
    paging: PagingMetrics,
    own: OwnMetrics,
    dry_run: Gauge,
    http_requests: Family<RequestLabels, Counter>,
    source_events: Family<SourceLabels, Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
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

impl Metrics {
    /// All metrics, at zero, of this version of the daemon.
    #[must_use]
    pub fn new(version: &str) -> Self {
        let mut registry = Registry::with_prefix("rollbackd");
        let list = &mut registry;
        let build: Family<BuildLabels, Gauge> = Family::default();
        build.get_or_create(&BuildLabels { version: version.to_owned() }).set(1);
        registered(list, "build_info", "Always 1; the label says which version runs", build);
        let dry_run_help = "Whether the daemon runs dry (1): no path runs and nobody is paged, whatever fires";
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
            dry_run: registered(list, "dry_run", dry_run_help, Gauge::default()),
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

    /// The daemon runs dry, or live.
    pub fn runs(&self, mode: Mode) {
        self.dry_run.set(i64::from(mode == Mode::DryRun));
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

    /// It was looked whether a path could be run.
    pub fn preflight_ended(&self, service: &ServiceName, path: &PathName, found: &Result<(), NotReady>) {
        let outcome = match found {
            Ok(()) => "ready",
            Err(NotReady::Fails(_) | NotReady::Waits(_)) => "not_ready",
            Err(NotReady::Unseen(_)) => "unseen",
        };
        let labels = AttemptLabels { service: service.to_string(), path: path.to_string(), outcome };
        self.rollback.preflights.get_or_create(&labels).inc();
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

#[cfg(test)]
mod tests;
