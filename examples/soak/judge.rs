//! The judgements, each with what it was made of.

use std::fmt::Write as _;
use std::time::Duration;

use crate::Plan;
use crate::account::{self, Watch};
use crate::sample::Sample;
use crate::story::Told;

/// This part of the soak is warm-up: pools fill, the allocator takes its share.
const WARM_UP: f64 = 1.0 / 6.0;
/// A soak that is shorter says nothing about a leak.
const FLATNESS_NEEDS: Duration = Duration::from_secs(600);
/// What the last quarter may have more than the first: a part of that, and a small amount besides.
const MEMORY_GROWTH: f64 = 0.10;
const MEMORY_SLACK_BYTES: f64 = 4.0 * 1024.0 * 1024.0;
const DESCRIPTORS_SLACK: f64 = 4.0;
const THREADS_SLACK: f64 = 4.0;

/// One judgement.
#[derive(Clone, Debug)]
pub(crate) struct Judgement {
    what: &'static str,
    /// `None` where the soak was too short to say.
    passed: Option<bool>,
    by: String,
}

impl Judgement {
    /// Whether nothing is wrong.
    pub(crate) fn passed(&self) -> bool {
        self.passed != Some(false)
    }
}

/// Everything that is judged.
pub(crate) fn all(plan: &Plan, samples: &[Sample], watches: &[Watch]) -> Vec<Judgement> {
    let long = plan.whole >= FLATNESS_NEEDS;
    let flat = |what, value: fn(&Sample) -> f64, growth: f64, slack: f64, unit: f64| {
        let (first, last) = quarters(plan, samples, value);
        let most = first * (1.0 + growth) + slack;
        let by = format!(
            "median of the first quarter {:.1}, of the last {:.1}, at most {:.1}; {:+.2} an hour",
            first / unit,
            last / unit,
            most / unit,
            slope(plan, samples, value) / unit
        );
        Judgement { what, passed: long.then_some(last <= most), by }
    };
    let mega = 1024.0 * 1024.0;
    vec![
        flat("memory is flat (MiB)", |sample| sample.resident_bytes, MEMORY_GROWTH, MEMORY_SLACK_BYTES, mega),
        flat("file descriptors are flat", |sample| sample.descriptors, 0.0, DESCRIPTORS_SLACK, 1.0),
        flat("threads are flat", |sample| sample.threads, 0.0, THREADS_SLACK, 1.0),
        accounted(samples),
        fell_due(plan, samples, watches),
        settled(samples),
    ]
}

/// Of what fell due, nothing is unaccounted for.
fn accounted(samples: &[Sample]) -> Judgement {
    let what = "no evaluation is unaccounted for";
    let Some(last) = samples.last() else {
        return Judgement { what, passed: Some(false), by: "no samples".to_owned() };
    };
    let unaccounted = last.due - last.made - last.missed - last.unused;
    let by = format!(
        "{} due = {} made + {} missed + {} unused, {unaccounted} left",
        last.due, last.made, last.missed, last.unused
    );
    Judgement { what, passed: Some(unaccounted == 0.0 && last.made > 0.0), by }
}

/// What fell due is what the watches in the log ask for.
fn fell_due(plan: &Plan, samples: &[Sample], watches: &[Watch]) -> Judgement {
    let expected = account::expected(plan, watches);
    let due = samples.last().map_or(0.0, |last| last.due);
    let (least, most) = (as_number(expected.least), as_number(expected.most));
    let by = format!(
        "{due} due; {} watches of {:.0} s in all ask for {least} to {most}",
        watches.len(),
        account::watched(watches).as_secs_f64()
    );
    Judgement { what: "what fell due is what was watched", passed: Some(least <= due && due <= most), by }
}

/// Nothing stays behind.
fn settled(samples: &[Sample]) -> Judgement {
    let left: f64 = samples.last().map_or(f64::INFINITY, |last| {
        last.watches_open + last.firings_open + last.receipts_unpublished + last.pages_undelivered
    });
    let by = format!("{left} watches, firings, receipts and pages are open at the end");
    Judgement { what: "everything ended", passed: Some(left == 0.0), by }
}

/// The medians of the first and the last quarter after the warm-up.
fn quarters(plan: &Plan, samples: &[Sample], value: fn(&Sample) -> f64) -> (f64, f64) {
    let values: Vec<f64> = warm(plan, samples).map(value).collect();
    let quarter = (values.len() / 4).max(1).min(values.len());
    (median(&values[..quarter]), median(&values[values.len() - quarter..]))
}

/// While deploys are made: the load is the same then.
fn warm<'a>(plan: &Plan, samples: &'a [Sample]) -> impl Iterator<Item = &'a Sample> {
    let (from, to) = (plan.whole.mul_f64(WARM_UP), plan.deploys_end());
    samples.iter().filter(move |sample| from <= sample.at && sample.at <= to)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// By least squares, for each hour.
fn slope(plan: &Plan, samples: &[Sample], value: fn(&Sample) -> f64) -> f64 {
    let points: Vec<(f64, f64)> =
        warm(plan, samples).map(|sample| (sample.at.as_secs_f64() / 3600.0, value(sample))).collect();
    let count = as_number(u64::try_from(points.len()).unwrap_or(0));
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (mean_at, mean_value) = (mean(|point| point.0), mean(|point| point.1));
    let both: f64 = points.iter().map(|(at, value)| (at - mean_at) * (value - mean_value)).sum();
    both / points.iter().map(|(at, _)| (at - mean_at).powi(2)).sum::<f64>()
}

/// Counts here are far below the 2^53 up to which this is exact.
#[expect(clippy::cast_precision_loss, reason = "counts of a soak stay far below 2^53")]
const fn as_number(count: u64) -> f64 {
    count as f64
}

/// Everything for a human.
pub(crate) fn table(samples: &[Sample], told: &Told, judged: &[Judgement]) -> String {
    let mut text = format!(
        "{:>7} {:>9} {:>5} {:>7} {:>11} {:>9} {:>9} {:>8} {:>8} {:>8} {:>7}\n",
        "minute",
        "rss MiB",
        "fds",
        "threads",
        "journal MiB",
        "records",
        "due",
        "missed",
        "firings",
        "receipts",
        "cpu s"
    );
    let every = (samples.len() / 20).max(1);
    let shown =
        samples.iter().enumerate().filter(|(place, _)| place.is_multiple_of(every) || place + 1 == samples.len());
    for (_, sample) in shown {
        let _ = writeln!(
            text,
            "{:>7.1} {:>9.1} {:>5} {:>7} {:>11.1} {:>9} {:>9} {:>8} {:>8} {:>8} {:>7.0}",
            sample.at.as_secs_f64() / 60.0,
            sample.resident_bytes / 1024.0 / 1024.0,
            sample.descriptors,
            sample.threads,
            sample.journal_bytes / 1024.0 / 1024.0,
            sample.records,
            sample.due,
            sample.missed,
            sample.firings,
            sample.receipts,
            sample.processor_seconds,
        );
    }
    let _ = writeln!(
        text,
        "\ndone: {} deploys ({} bad), {} reports ({} dismissed), {} calls of the pager, {} requests refused {}",
        told.deploys, told.bad_deploys, told.reports, told.dismissals, told.pages, told.refused, told.last_refusal
    );
    for judgement in judged {
        let word = match judgement.passed {
            Some(true) => "ok",
            Some(false) => "FAILED",
            None => "not judged (too short)",
        };
        let _ = writeln!(text, "{word}: {}: {}", judgement.what, judgement.by);
    }
    text
}
