//! What a process has used, and what its metrics say.

use std::collections::BTreeMap;

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) processor_seconds: f64,
    /// Memory now.
    pub(crate) resident_mebibytes: f64,
    /// The most memory that it ever had.
    pub(crate) peak_mebibytes: f64,
}

impl Usage {
    /// Of the process with this id.
    pub(crate) fn of(id: u32) -> Result<Self, String> {
        let read = |file: &str| std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"));
        let stat = read(&format!("/proc/{id}/stat"))?;
        // The name is in parentheses and may hold spaces; what follows it does not.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks = |place: usize| after_name.split_whitespace().nth(place).and_then(|ticks| ticks.parse::<f64>().ok());
        let status = read(&format!("/proc/{id}/status"))?;
        let kibibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').split_whitespace().next()?.parse::<f64>().ok()
        };
        let used = (|| {
            Some(Self {
                // Linux counts a hundred ticks in a second on every machine that this runs on.
                processor_seconds: (ticks(11)? + ticks(12)?) / 100.0,
                resident_mebibytes: kibibytes("VmRSS")? / 1024.0,
                peak_mebibytes: kibibytes("VmHWM")? / 1024.0,
            })
        })();
        used.ok_or_else(|| format!("/proc/{id} can't be read"))
    }
}

/// `/metrics`, read: the value of each series.
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the text.
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(
            lines
                .filter_map(|line| line.rsplit_once(' '))
                .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
                .collect(),
        )
    }

    /// The sum of all series of this name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let of = |series: &str| series == name || series.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
        self.0.iter().filter(|(series, _)| of(series)).map(|(_, value)| value).fold(0.0, |sum, value| sum + value)
    }

    /// The buckets of a histogram: upper bound and how many are below it.
    fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let prefix = format!("{name}_bucket{{le=\"");
        let bound = |series: &str| match series.strip_prefix(&prefix)?.strip_suffix("\"}")? {
            "+Inf" => Some(f64::INFINITY),
            bound => bound.parse().ok(),
        };
        let mut buckets: Vec<(f64, f64)> =
            self.0.iter().filter_map(|(series, count)| Some((bound(series)?, *count))).collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        buckets
    }

    /// The bound below which this share of what came in between two readings lies.
    pub(crate) fn quantile(&self, before: &Self, name: &str, share: f64) -> f64 {
        let (now, then) = (self.buckets(name), before.buckets(name));
        let new: Vec<(f64, f64)> =
            now.iter().zip(&then).map(|((bound, count), (_, earlier))| (*bound, count - earlier)).collect();
        let all = new.last().map_or(0.0, |(_, count)| *count);
        new.iter().find(|(_, count)| *count >= all * share).map_or(f64::NAN, |(bound, _)| *bound)
    }
}

/// This share of the values lies at or below it.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// The median of some values.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}
