//! One sample: what the system says of the daemon's process, and what the daemon's own metrics say.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::usage::{Metrics, Usage};

/// What was measured at one instant.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Since the soak began.
    pub(crate) at: Duration,
    pub(crate) resident_bytes: f64,
    /// Of these, what is of no file: heap and stacks.
    pub(crate) anonymous_bytes: f64,
    pub(crate) descriptors: f64,
    pub(crate) threads: f64,
    pub(crate) processor_seconds: f64,
    pub(crate) journal_bytes: f64,
    pub(crate) records: f64,
    pub(crate) due: f64,
    pub(crate) made: f64,
    pub(crate) missed: f64,
    pub(crate) unused: f64,
    pub(crate) queries: f64,
    pub(crate) queries_failed: f64,
    pub(crate) queries_in_flight: f64,
    pub(crate) watches_open: f64,
    pub(crate) firings_open: f64,
    pub(crate) firings: f64,
    pub(crate) attempts: f64,
    pub(crate) receipts: f64,
    pub(crate) receipts_unpublished: f64,
    pub(crate) pages_delivered: f64,
    pub(crate) pages_undelivered: f64,
}

/// A column of the table of samples: its heading and its value.
pub(crate) type Column = (&'static str, fn(&Sample) -> f64);

/// Every column, in order.
pub(crate) const COLUMNS: [Column; 23] = [
    ("seconds", |sample| sample.at.as_secs_f64()),
    ("resident_bytes", |sample| sample.resident_bytes),
    ("anonymous_bytes", |sample| sample.anonymous_bytes),
    ("descriptors", |sample| sample.descriptors),
    ("threads", |sample| sample.threads),
    ("processor_seconds", |sample| sample.processor_seconds),
    ("journal_bytes", |sample| sample.journal_bytes),
    ("records", |sample| sample.records),
    ("evaluations_due", |sample| sample.due),
    ("evaluations", |sample| sample.made),
    ("evaluations_missed", |sample| sample.missed),
    ("evaluations_unused", |sample| sample.unused),
    ("queries", |sample| sample.queries),
    ("queries_failed", |sample| sample.queries_failed),
    ("queries_in_flight", |sample| sample.queries_in_flight),
    ("watches_open", |sample| sample.watches_open),
    ("firings_open", |sample| sample.firings_open),
    ("firings", |sample| sample.firings),
    ("attempts", |sample| sample.attempts),
    ("receipts", |sample| sample.receipts),
    ("receipts_unpublished", |sample| sample.receipts_unpublished),
    ("pages_delivered", |sample| sample.pages_delivered),
    ("pages_undelivered", |sample| sample.pages_undelivered),
];

impl Sample {
    /// Measures the process `id`, whose journal is in `state_dir` and whose `/metrics` read `metrics`.
    pub(crate) fn of(at: Duration, id: u32, state_dir: &Path, metrics: &str) -> Result<Self, String> {
        let usage = Usage::of(id)?;
        let descriptors = std::fs::read_dir(format!("/proc/{id}/fd")).map_err(|error| error.to_string())?.count();
        let metrics = Metrics::parse(metrics);
        Ok(Self {
            at,
            resident_bytes: usage.status("VmRSS")? * 1024.0,
            anonymous_bytes: usage.status("RssAnon")? * 1024.0,
            descriptors: f64::from(u32::try_from(descriptors).unwrap_or(u32::MAX)),
            threads: usage.status("Threads")?,
            processor_seconds: usage.processor_seconds()?,
            journal_bytes: journal_bytes(state_dir),
            records: metrics.sum("rollbackd_records_total", ""),
            due: metrics.sum("rollbackd_evaluations_due_total", ""),
            made: metrics.sum("rollbackd_evaluations_total", ""),
            missed: metrics.sum("rollbackd_evaluations_missed_total", ""),
            unused: metrics.sum("rollbackd_evaluations_unused_total", ""),
            queries: metrics.sum("rollbackd_prometheus_queries_total", ""),
            queries_failed: metrics.sum("rollbackd_prometheus_queries_total", "result=\"failed\""),
            queries_in_flight: metrics.sum("rollbackd_prometheus_queries_in_flight", ""),
            watches_open: metrics.sum("rollbackd_watches_open", ""),
            firings_open: metrics.sum("rollbackd_firings_open", ""),
            firings: metrics.sum("rollbackd_firings_total", ""),
            attempts: metrics.sum("rollbackd_attempts_total", ""),
            receipts: metrics.sum("rollbackd_receipts_total", ""),
            receipts_unpublished: metrics.sum("rollbackd_receipts_unpublished", ""),
            pages_delivered: metrics.sum("rollbackd_page_deliveries_total", "result=\"delivered\""),
            pages_undelivered: metrics.sum("rollbackd_pages_undelivered", ""),
        })
    }
}

fn journal_bytes(state_dir: &Path) -> f64 {
    let size = |name: &str| std::fs::metadata(state_dir.join(name)).map_or(0, |file| file.len());
    let bytes = size("journal.db") + size("journal.db-wal");
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) * 1024.0
}

/// All samples as comma-separated values.
pub(crate) fn csv(samples: &[Sample]) -> String {
    let mut text = COLUMNS.map(|(heading, _)| heading).join(",") + "\n";
    for sample in samples {
        let values = COLUMNS.map(|(_, value)| value(sample).to_string());
        let _ = writeln!(text, "{}", values.join(","));
    }
    text
}
