//! Scraped counters, and what PromQL makes of them: `rate` and `increase` with their extrapolation, and
//! `histogram_quantile`, as `promql/functions.go` and `promql/quantile.go` of Prometheus compute them.

/// The upper bounds of the latency's buckets, in seconds; the last is `+Inf`.
pub(crate) const BOUNDS: [f64; 9] = [0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, f64::INFINITY];

/// What one scrape read: counters since the process began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scrape {
    /// When, in milliseconds.
    pub(crate) at: i64,
    pub(crate) total: f64,
    pub(crate) bad: f64,
    /// Requests within each bound.
    pub(crate) buckets: [f64; BOUNDS.len()],
}

/// The increase of a counter per second over a window that ends at an instant; `None` with fewer than two samples.
pub(crate) fn rate(scrapes: &[Scrape], counter: impl Fn(&Scrape) -> f64, at: i64, window: i64) -> Option<f64> {
    let first = scrapes.partition_point(|scrape| scrape.at <= at - window);
    let end = scrapes.partition_point(|scrape| scrape.at <= at);
    let within = scrapes.get(first..end).filter(|within| within.len() >= 2)?;
    let (first, last) = (&within[0], &within[within.len() - 1]);
    let mut increase = counter(last) - counter(first);
    for pair in within.windows(2) {
        if counter(&pair[1]) < counter(&pair[0]) {
            increase += counter(&pair[0]);
        }
    }
    let seconds = |milliseconds: i64| milliseconds as f64 / 1000.0;
    let sampled = seconds(last.at - first.at);
    let between = sampled / (within.len() - 1) as f64;
    let mut to_start = seconds(first.at - (at - window));
    let to_end = seconds(at - last.at);
    if increase > 0.0 && counter(first) >= 0.0 {
        // A counter was never below zero.
        to_start = to_start.min(sampled * (counter(first) / increase));
    }
    let extrapolated = |gap: f64| if gap < between * 1.1 { gap } else { between / 2.0 };
    let factor = (sampled + extrapolated(to_start) + extrapolated(to_end)) / sampled;
    Some(increase * factor / seconds(window))
}

/// The quantile of a histogram of rates; NaN without observations.
pub(crate) fn quantile(share: f64, rates: &[f64; BOUNDS.len()]) -> f64 {
    let mut highest = 0.0_f64;
    let rates = rates.map(|rate| {
        highest = highest.max(rate);
        highest
    });
    let all = rates[BOUNDS.len() - 1];
    if all == 0.0 {
        return f64::NAN;
    }
    let rank = share * all;
    let bucket = rates.iter().position(|rate| *rate >= rank).unwrap_or(BOUNDS.len() - 1);
    if bucket == BOUNDS.len() - 1 {
        return BOUNDS[BOUNDS.len() - 2];
    }
    let (start, below) = if bucket == 0 { (0.0, 0.0) } else { (BOUNDS[bucket - 1], rates[bucket - 1]) };
    start + (BOUNDS[bucket] - start) * ((rank - below) / (rates[bucket] - below))
}

/// What the service's metrics show at an instant, over a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shown {
    /// Failed requests a second.
    pub(crate) bad: Option<f64>,
    /// All requests a second.
    pub(crate) total: Option<f64>,
    /// The 99th percentile of the latency, in seconds; NaN without requests.
    pub(crate) p99: Option<f64>,
}

impl Shown {
    pub(crate) fn of(scrapes: &[Scrape], at: i64, window: i64) -> Self {
        let mut rates = [0.0; BOUNDS.len()];
        let mut any = false;
        for (index, bucket) in rates.iter_mut().enumerate() {
            if let Some(found) = rate(scrapes, |scrape| scrape.buckets[index], at, window) {
                (*bucket, any) = (found, true);
            }
        }
        Self {
            bad: rate(scrapes, |scrape| scrape.bad, at, window),
            total: rate(scrapes, |scrape| scrape.total, at, window),
            p99: any.then(|| quantile(0.99, &rates)),
        }
    }

    /// `sum(rate(bad)) / sum(rate(total))` as PromQL divides.
    pub(crate) fn ratio(&self) -> Option<f64> {
        Some(self.bad? / self.total?)
    }
}
