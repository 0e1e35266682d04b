//! The corpus: deploys of which is known whether they were bad, generated from seeds.
//!
//! Each is 100 minutes of one service, an hour of it before the deploy, scraped each 15 s: requests come as a Poisson
//! process, failures and latencies are drawn, the process starts anew with its counters at zero when it is deployed.

use crate::samples::{BOUNDS, Scrape};

/// From scrape to scrape, in milliseconds.
const SCRAPE: i64 = 15_000;

/// From so long before the deploy until so long after it, in milliseconds.
const BEFORE: i64 = 4_000_000;
pub(crate) const AFTER: i64 = 2_400_000;

/// The instant of the deploys, but for a part of a slot.
const DEPLOYED: i64 = 1_795_000_020_000;

/// What a deploy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Healthy, with the noise of 0.1 to 1.5 % failures.
    Noise,
    /// Healthy, with 1 to 10 requests a minute.
    LowTraffic,
    /// Healthy; scrapes fail for half a minute to five minutes, several times.
    ScrapeGaps,
    /// Healthy; Prometheus is away for one to three minutes, neither scraping nor answering.
    PrometheusRestarts,
    /// Healthy; traffic and latency swing as over a day, several times faster.
    DailySwing,
    /// Healthy; up to a minute and a quarter of failures, as when a database fails over, once or twice.
    ShortBursts,
    /// Healthy in itself: the version before fails 20 % already, and this one does until it is fixed by it 10 minutes later.
    FailingBefore,
    /// 6 % of the requests fail.
    Fails6,
    /// 20 % fail.
    Fails20,
    /// All fail.
    FailsAll,
    /// Failures grow from 1 % to 25 % in 20 minutes.
    SlowBurn,
    /// Nothing fails, and everything takes three times as long.
    LatencyOnly,
    /// One endpoint of many fails: a tenth of the traffic.
    OneEndpoint,
    /// 20 % fail, and a fifth of the scrapes fail as well.
    FailsUnseen,
}

impl Kind {
    pub(crate) const ALL: [Self; 14] = [
        Self::Noise,
        Self::LowTraffic,
        Self::ScrapeGaps,
        Self::PrometheusRestarts,
        Self::DailySwing,
        Self::ShortBursts,
        Self::FailingBefore,
        Self::Fails6,
        Self::Fails20,
        Self::FailsAll,
        Self::SlowBurn,
        Self::LatencyOnly,
        Self::OneEndpoint,
        Self::FailsUnseen,
    ];

    pub(crate) const fn is_bad(self) -> bool {
        match self {
            Self::Noise
            | Self::LowTraffic
            | Self::ScrapeGaps
            | Self::PrometheusRestarts
            | Self::DailySwing
            | Self::ShortBursts
            | Self::FailingBefore => false,
            Self::Fails6
            | Self::Fails20
            | Self::FailsAll
            | Self::SlowBurn
            | Self::LatencyOnly
            | Self::OneEndpoint
            | Self::FailsUnseen => true,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Noise => "noise",
            Self::LowTraffic => "low traffic",
            Self::ScrapeGaps => "scrape gaps",
            Self::PrometheusRestarts => "Prometheus restarts",
            Self::DailySwing => "daily swing",
            Self::ShortBursts => "short bursts",
            Self::FailingBefore => "failing before the deploy",
            Self::Fails6 => "6 % fail",
            Self::Fails20 => "20 % fail",
            Self::FailsAll => "100 % fail",
            Self::SlowBurn => "slow burn",
            Self::LatencyOnly => "latency only",
            Self::OneEndpoint => "one endpoint only",
            Self::FailsUnseen => "20 % fail, scrapes fail too",
        }
    }
}

/// One deploy, and what was scraped around it.
pub(crate) struct Deploy {
    pub(crate) kind: Kind,
    /// In milliseconds since the epoch.
    pub(crate) at: i64,
    pub(crate) scrapes: Vec<Scrape>,
    /// When Prometheus did not answer.
    pub(crate) away: Vec<(i64, i64)>,
    /// How much of its interval went by between the deploy and the first measurement of whoever measures by one of its own.
    pub(crate) phase: f64,
}

impl Deploy {
    pub(crate) fn answers(&self, at: i64) -> bool {
        !self.away.iter().any(|(from, until)| (*from..*until).contains(&at))
    }
}

/// What the draw decided for one deploy.
struct Drawn {
    kind: Kind,
    per_second: f64,
    failing: f64,
    /// How often, in milliseconds from the deploy.
    gaps: Vec<(i64, i64)>,
    bursts: Vec<(i64, i64)>,
    phase: f64,
    endpoint_fails: f64,
}

/// The deploy of this kind and seed: always the same.
pub(crate) fn deploy(kind: Kind, seed: u64) -> Deploy {
    let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (kind as u64));
    let at = DEPLOYED + random.i64(0..SCRAPE);
    let drawn = draw(kind, &mut random);
    let first_scrape = random.i64(0..SCRAPE);
    let (mut scrapes, mut counters, mut deployed) = (Vec::new(), Counters::default(), false);
    let mut now = at - BEFORE + first_scrape;
    while now < at + AFTER {
        let after = now - at;
        if after >= 0 && !deployed {
            (counters, deployed) = (Counters::default(), true);
        }
        counters.go_on(&drawn, after, &mut random);
        let lost = drawn.gaps.iter().any(|(from, until)| (*from..*until).contains(&after));
        let unseen = kind == Kind::FailsUnseen && after > 0 && random.f64() < 0.2;
        if !lost && !unseen {
            scrapes.push(counters.scrape(now));
        }
        now += SCRAPE;
    }
    let restarts = if kind == Kind::PrometheusRestarts { drawn.gaps } else { Vec::new() };
    let away = restarts.into_iter().map(|(from, until)| (at + from, at + until)).collect();
    Deploy { kind, at, scrapes, away, phase: random.f64() }
}

fn draw(kind: Kind, random: &mut fastrand::Rng) -> Drawn {
    let between = |random: &mut fastrand::Rng, least: f64, most: f64| least + random.f64() * (most - least);
    let times = |random: &mut fastrand::Rng, count: i64, least: i64, most: i64| -> Vec<(i64, i64)> {
        let one = |random: &mut fastrand::Rng, part: i64| {
            let from = part * 1_700_000 / count + random.i64(30_000..1_700_000 / count - most * 1000);
            (from, from + random.i64(least * 1000..=most * 1000))
        };
        (0..count).map(|part| one(random, part)).collect()
    };
    let mut drawn = Drawn {
        kind,
        per_second: between(random, 20.0, 100.0),
        failing: between(random, 0.001, 0.015),
        gaps: Vec::new(),
        bursts: Vec::new(),
        phase: random.f64(),
        endpoint_fails: between(random, 0.8, 1.0),
    };
    match kind {
        Kind::LowTraffic => {
            drawn.per_second = between(random, 1.0, 10.0) / 60.0;
            drawn.failing = between(random, 0.01, 0.03);
        }
        Kind::ScrapeGaps => drawn.gaps = times(random, 3, 30, 300),
        Kind::PrometheusRestarts => drawn.gaps = times(random, 2, 60, 180),
        Kind::ShortBursts => {
            let count = random.i64(1..=2);
            drawn.bursts = times(random, count, 15, 75);
        }
        Kind::Noise
        | Kind::DailySwing
        | Kind::FailingBefore
        | Kind::Fails6
        | Kind::Fails20
        | Kind::FailsAll
        | Kind::SlowBurn
        | Kind::LatencyOnly
        | Kind::OneEndpoint
        | Kind::FailsUnseen => {}
    }
    drawn
}

impl Drawn {
    /// Requests a second, this long after the deploy.
    fn traffic(&self, after: i64) -> f64 {
        let swing = if self.kind == Kind::DailySwing { self.swing(after) * 0.6 } else { 0.0 };
        self.per_second * (1.0 + swing)
    }

    fn swing(&self, after: i64) -> f64 {
        (std::f64::consts::TAU * (after as f64 / 5_400_000.0 + self.phase)).sin()
    }

    /// The share of the requests that fails.
    fn fails(&self, after: i64) -> f64 {
        if self.bursts.iter().any(|(from, until)| (*from..*until).contains(&after)) {
            return 0.4;
        }
        let is_new = after >= 0;
        match self.kind {
            Kind::FailingBefore if after < 600_000 => 0.2,
            Kind::Fails6 if is_new => 0.06,
            Kind::Fails20 | Kind::FailsUnseen if is_new => 0.2,
            Kind::FailsAll if is_new => 1.0,
            Kind::SlowBurn if is_new => 0.01 + 0.24 * (after as f64 / 1_200_000.0).min(1.0),
            Kind::OneEndpoint if is_new => self.failing + 0.1 * self.endpoint_fails,
            Kind::Noise
            | Kind::LowTraffic
            | Kind::ScrapeGaps
            | Kind::PrometheusRestarts
            | Kind::DailySwing
            | Kind::ShortBursts
            | Kind::FailingBefore
            | Kind::Fails6
            | Kind::Fails20
            | Kind::FailsAll
            | Kind::SlowBurn
            | Kind::LatencyOnly
            | Kind::OneEndpoint
            | Kind::FailsUnseen => self.failing,
        }
    }

    /// How much longer than usual a request takes.
    fn slowness(&self, after: i64) -> f64 {
        match self.kind {
            Kind::LatencyOnly if after >= 0 => 3.0,
            Kind::DailySwing => 1.0 + 0.2 * self.swing(after),
            Kind::Noise
            | Kind::LowTraffic
            | Kind::ScrapeGaps
            | Kind::PrometheusRestarts
            | Kind::ShortBursts
            | Kind::FailingBefore
            | Kind::Fails6
            | Kind::Fails20
            | Kind::FailsAll
            | Kind::SlowBurn
            | Kind::LatencyOnly
            | Kind::OneEndpoint
            | Kind::FailsUnseen => 1.0,
        }
    }
}

/// What the process has counted since it began.
#[derive(Clone, Copy, Default)]
struct Counters {
    total: f64,
    bad: f64,
    buckets: [f64; BOUNDS.len()],
}

impl Counters {
    /// The time until the next scrape goes by.
    fn go_on(&mut self, drawn: &Drawn, after: i64, random: &mut fastrand::Rng) {
        let requests = poisson(drawn.traffic(after) * SCRAPE as f64 / 1000.0, random);
        self.total += requests;
        self.bad += binomial(requests, drawn.fails(after), random);
        let (mut left, mut below, mut within) = (requests, 0.0, 0.0);
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS) {
            let share = latency_within(bound / drawn.slowness(after));
            let here = binomial(left, ((share - below) / (1.0 - below)).clamp(0.0, 1.0), random);
            (left, below, within) = (left - here, share, within + here);
            *bucket += within;
        }
    }

    const fn scrape(&self, at: i64) -> Scrape {
        Scrape { at, total: self.total, bad: self.bad, buckets: self.buckets }
    }
}

/// The share of requests that take no longer than this: log-normal, half of them 60 ms, one in a hundred 190 ms.
fn latency_within(seconds: f64) -> f64 {
    const MEDIAN: f64 = 0.06;
    const SPREAD: f64 = 0.5;
    if seconds.is_infinite() { 1.0 } else { normal((seconds / MEDIAN).ln() / SPREAD) }
}

/// The normal distribution, to 1e-7 (Abramowitz and Stegun 7.1.26).
pub(crate) fn normal(deviations: f64) -> f64 {
    let x = deviations.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let coefficients = [0.254_829_592, -0.284_496_736, 1.421_413_741, -1.453_152_027, 1.061_405_429];
    let series = coefficients.iter().rev().fold(0.0, |sum, each| (sum + each) * t);
    let error = 1.0 - series * (-x * x).exp();
    if deviations < 0.0 { f64::midpoint(1.0, -error) } else { f64::midpoint(1.0, error) }
}

fn poisson(mean: f64, random: &mut fastrand::Rng) -> f64 {
    if mean > 200.0 {
        return (mean + mean.sqrt() * gauss(random)).round().max(0.0);
    }
    let limit = (-mean).exp();
    let (mut product, mut count) = (random.f64(), 0.0);
    while product > limit {
        product *= random.f64();
        count += 1.0;
    }
    count
}

fn binomial(of: f64, share: f64, random: &mut fastrand::Rng) -> f64 {
    if share >= 1.0 || of <= 0.0 {
        return of.max(0.0);
    }
    let (mean, deviation) = (of * share, (of * share * (1.0 - share)).sqrt());
    if mean > 30.0 && of - mean > 30.0 {
        return (mean + deviation * gauss(random)).round().clamp(0.0, of);
    }
    (0..of as u64).filter(|_| random.f64() < share).count() as f64
}

/// A normally distributed number (Box and Muller).
fn gauss(random: &mut fastrand::Rng) -> f64 {
    let (one, other) = (1.0 - random.f64(), random.f64());
    (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos()
}
