//! One sample: what the system says of the daemon's process, and what the daemon's own metrics say.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

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
        let status = read(&format!("/proc/{id}/status"))?;
        let of_status = |field: &str| -> Result<f64, String> {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            let number = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
            number.and_then(|number| number.parse().ok()).ok_or_else(|| format!("/proc/{id}/status has no {field}"))
        };
        let descriptors = std::fs::read_dir(format!("/proc/{id}/fd")).map_err(|error| error.to_string())?.count();
        let metrics = Metrics::parse(metrics);
        Ok(Self {
            at,
            resident_bytes: of_status("VmRSS")? * 1024.0,
            anonymous_bytes: of_status("RssAnon")? * 1024.0,
            descriptors: f64::from(u32::try_from(descriptors).unwrap_or(u32::MAX)),
            threads: of_status("Threads")?,
            processor_seconds: processor_seconds(id)?,
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

fn read(file: &str) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))
}

/// User and system time, in seconds: Linux counts a hundred ticks in each on every machine that this runs on.
fn processor_seconds(id: u32) -> Result<f64, String> {
    let stat = read(&format!("/proc/{id}/stat"))?;
    // The name is in parentheses and may hold spaces; what follows it does not.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let field = |place: usize| after_name.split_whitespace().nth(place).and_then(|ticks| ticks.parse::<f64>().ok());
    match (field(11), field(12)) {
        (Some(user), Some(system)) => Ok((user + system) / 100.0),
        _ => Err(format!("/proc/{id}/stat can't be read: {stat}")),
    }
}

fn journal_bytes(state_dir: &Path) -> f64 {
    let size = |name: &str| std::fs::metadata(state_dir.join(name)).map_or(0, |file| file.len());
    let bytes = size("journal.db") + size("journal.db-wal");
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) * 1024.0
}

/// `/metrics`, read: for each name its series.
struct Metrics<'a>(BTreeMap<&'a str, Vec<(&'a str, f64)>>);

impl<'a> Metrics<'a> {
    fn parse(text: &'a str) -> Self {
        let mut all: BTreeMap<&str, Vec<(&str, f64)>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            all.entry(name).or_default().extend(value.parse().ok().map(|value: f64| (labels, value)));
        }
        Self(all)
    }

    /// The sum over the series of this name that have this label; a counter without series has counted nothing.
    fn sum(&self, name: &str, label: &str) -> f64 {
        let series = self.0.get(name).map(Vec::as_slice).unwrap_or_default();
        series.iter().filter(|(labels, _)| labels.contains(label)).fold(0.0, |sum, (_, value)| sum + value)
    }
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
