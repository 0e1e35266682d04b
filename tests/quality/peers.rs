//! The decision rules of others, modelled from what they document, over the same deploys.
//!
//! Each gets the same two questions with the same limits and the same window: the share of failures above 5 %, and the
//! 99th percentile above a fixed 0.4 s (none of them has a baseline of its own but Kayenta), for the 30 minutes in which
//! our watch is open. Their series always exist, so that none of them is hurt by an empty answer of a clean service.

use crate::corpus::Deploy;
use crate::kayenta;
use crate::samples::Shown;

const FAILING: f64 = 0.05;
const SLOW: f64 = 0.4;
const WATCH: i64 = 1_800_000;

/// A peer's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Argo Rollouts: a metric fails when more measurements than `failureLimit` have failed since the analysis began, and
    /// errs when more than `consecutiveErrorLimit` (4) in a row could not be made; those are made again after 10 s.
    ArgoRollouts {
        /// From measurement to measurement, in seconds.
        interval: i64,
        /// How many failures are allowed: for the failures, and for the latency.
        failure_limits: [u32; 2],
        /// The window of the queries, in seconds.
        window: i64,
    },
    /// Flagger: so many failed checks since the revision began; whatever can't be read is a failed check.
    Flagger {
        /// From check to check, in seconds.
        interval: i64,
        /// How many failed checks roll back.
        threshold: u32,
    },
    /// Kayenta: Mann-Whitney against the hour before, judged anew with all since the deploy.
    Kayenta {
        /// From judgement to judgement, in seconds.
        interval: i64,
    },
}

impl Peer {
    pub(crate) const ALL: [Self; 6] = [
        Self::ArgoRollouts { interval: 30, failure_limits: [4, 10], window: 60 },
        Self::ArgoRollouts { interval: 300, failure_limits: [3, 3], window: 300 },
        Self::Flagger { interval: 30, threshold: 5 },
        Self::Flagger { interval: 60, threshold: 5 },
        Self::Kayenta { interval: 600 },
        Self::Kayenta { interval: 1800 },
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Self::ArgoRollouts { interval, failure_limits, window } => {
                let [failing, slow] = failure_limits;
                let limits = if failing == slow { failing.to_string() } else { format!("{failing} and {slow}") };
                format!("Argo Rollouts, each {interval} s, `failureLimit` {limits}, `[{window}s]`")
            }
            Self::Flagger { interval, threshold } => format!("Flagger, each {interval} s, `threshold` {threshold}"),
            Self::Kayenta { interval } => format!("Kayenta, each {} min", interval / 60),
        }
    }

    /// Whether it holds as long as the reference list does for failures: two minutes.
    pub(crate) const fn holds_as_long(self) -> bool {
        match self {
            Self::ArgoRollouts { interval, failure_limits: [limit, _], .. } => interval * limit as i64 == 120,
            Self::Flagger { interval, threshold } => interval * (threshold as i64 - 1) == 120,
            Self::Kayenta { .. } => false,
        }
    }

    /// When it would have rolled back, in seconds after the deploy.
    pub(crate) fn rolls_back(self, deploy: &Deploy) -> Option<f64> {
        let at = match self {
            Self::ArgoRollouts { interval, failure_limits, window } => {
                let metrics = [Metric::Failing, Metric::Slow];
                let of = metrics.into_iter().zip(failure_limits);
                of.filter_map(|(metric, limit)| argo_rollouts(deploy, metric, interval * 1000, limit, window * 1000))
                    .min()
            }
            Self::Flagger { interval, threshold } => flagger(deploy, interval * 1000, threshold),
            Self::Kayenta { interval } => {
                let judged = (1..=WATCH / (interval * 1000)).map(|index| deploy.at + index * interval * 1000);
                judged.into_iter().find(|at| kayenta::fails(deploy, *at))
            }
        };
        at.map(|at| (at - deploy.at) as f64 / 1000.0)
    }
}

#[derive(Clone, Copy)]
enum Metric {
    Failing,
    Slow,
}

impl Metric {
    /// The value that the condition is put to; NaN where nothing can be divided, none where nothing comes back.
    fn value(self, shown: &Shown) -> Option<f64> {
        match self {
            Self::Failing => shown.ratio(),
            Self::Slow => shown.p99,
        }
    }

    /// `result[0] <= 0.05`: NaN is no success.
    fn succeeds(self, value: f64) -> bool {
        match self {
            Self::Failing => value <= FAILING,
            Self::Slow => value <= SLOW,
        }
    }
}

fn argo_rollouts(deploy: &Deploy, metric: Metric, interval: i64, failure_limit: u32, window: i64) -> Option<i64> {
    const CONSECUTIVE_ERROR_LIMIT: u32 = 4;
    const ERROR_RETRY: i64 = 10_000;
    let (mut failed, mut errors) = (0, 0);
    // The first measurement is made at once.
    let mut now = deploy.at;
    while now <= deploy.at + WATCH {
        let value = if deploy.answers(now) { metric.value(&Shown::of(&deploy.scrapes, now, window)) } else { None };
        let Some(value) = value else {
            errors += 1;
            if errors > CONSECUTIVE_ERROR_LIMIT {
                return Some(now);
            }
            now += ERROR_RETRY;
            continue;
        };
        errors = 0;
        if !metric.succeeds(value) {
            failed += 1;
            if failed > failure_limit {
                return Some(now);
            }
        }
        now += interval;
    }
    None
}

fn flagger(deploy: &Deploy, interval: i64, threshold: u32) -> Option<i64> {
    const WINDOW: i64 = 60_000;
    let mut failed = 0;
    let mut now = deploy.at + interval;
    while now <= deploy.at + WATCH {
        // It acts at the tick after the one at which the checks had failed often enough.
        if failed >= threshold {
            return Some(now);
        }
        let shown = Shown::of(&deploy.scrapes, now, WINDOW);
        let succeeds = |metric: Metric| metric.value(&shown).is_some_and(|value| metric.succeeds(value));
        if !deploy.answers(now) || !succeeds(Metric::Failing) || !succeeds(Metric::Slow) {
            failed += 1;
        }
        now += interval;
    }
    None
}
