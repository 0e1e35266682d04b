//! The decision rules of others, modelled from what they document, over the same deploys.
//!
//! Each gets the same two questions with the same limits and the same window: the share of failures above 5 %, and the
//! 99th percentile above a fixed 0.4 s (none of them has a baseline of its own but Kayenta), for the 30 minutes in which
//! our watch is open. Their series always exist, so that none of them is hurt by an empty answer of a clean service.

use crate::corpus::{Deploy, Kind};
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
        /// Whether the conditions take an empty answer and NaN for success.
        guarded: bool,
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
    pub(crate) const ALL: [Self; 7] = [
        Self::ArgoRollouts { interval: 30, failure_limits: [4, 10], window: 60, guarded: false },
        Self::ArgoRollouts { interval: 30, failure_limits: [4, 10], window: 60, guarded: true },
        Self::ArgoRollouts { interval: 300, failure_limits: [3, 3], window: 300, guarded: false },
        Self::Flagger { interval: 30, threshold: 5 },
        Self::Flagger { interval: 60, threshold: 5 },
        Self::Kayenta { interval: 600 },
        Self::Kayenta { interval: 1800 },
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Self::ArgoRollouts { interval, failure_limits: [failing, slow], window, guarded } => {
                let limits = if failing == slow { failing.to_string() } else { format!("{failing} and {slow}") };
                let guarded = if guarded { ", guarded" } else { "" };
                format!("Argo Rollouts, each {interval} s, `failureLimit` {limits}, `[{window}s]`{guarded}")
            }
            Self::Flagger { interval, threshold } => format!("Flagger, each {interval} s, `threshold` {threshold}"),
            Self::Kayenta { interval } => format!("Kayenta, each {} min", interval / 60),
        }
    }

    /// Whether it holds as long as the reference list does: two minutes for failures, five for the latency.
    pub(crate) const fn holds_as_long(self, kind: Kind) -> bool {
        let is_latency = matches!(kind, Kind::LatencyOnly);
        match self {
            Self::ArgoRollouts { interval, failure_limits: [failing, slow], .. } => {
                if is_latency {
                    interval * slow as i64 == 300
                } else {
                    interval * failing as i64 == 120
                }
            }
            Self::Flagger { interval, threshold } => !is_latency && interval * (threshold as i64 - 1) == 120,
            Self::Kayenta { .. } => false,
        }
    }

    /// When it would have rolled back, in seconds after the deploy.
    pub(crate) fn rolls_back(self, deploy: &Deploy) -> Option<f64> {
        let at = match self {
            Self::ArgoRollouts { failure_limits, .. } => {
                let of = [Metric::Failing, Metric::Slow].into_iter().zip(failure_limits);
                of.filter_map(|(metric, limit)| self.argo_rollouts(deploy, metric, limit)).min()
            }
            Self::Flagger { interval, threshold } => flagger(deploy, interval * 1000, threshold),
            Self::Kayenta { interval } => {
                let judged = (1..=WATCH / (interval * 1000)).map(|index| deploy.at + index * interval * 1000);
                judged.into_iter().find(|at| kayenta::fails(deploy, *at))
            }
        };
        at.map(|at| (at - deploy.at) as f64 / 1000.0)
    }

    fn argo_rollouts(self, deploy: &Deploy, metric: Metric, failure_limit: u32) -> Option<i64> {
        const CONSECUTIVE_ERROR_LIMIT: u32 = 4;
        const ERROR_RETRY: i64 = 10_000;
        let Self::ArgoRollouts { interval, window, guarded, .. } = self else { return None };
        let (mut failed, mut errors) = (0, 0);
        let mut now = first_after(deploy, interval * 1000);
        while now <= deploy.at + WATCH {
            let shown = deploy.answers(now).then(|| Shown::of(&deploy.scrapes, now, window * 1000));
            let value = shown.map(|shown| metric.value(&shown));
            let succeeds = match value {
                // The query failed, or its condition could not be put to an empty answer.
                None => None,
                Some(None) => guarded.then_some(true),
                Some(Some(value)) => Some(metric.succeeds(value) || (guarded && value.is_nan())),
            };
            let Some(succeeds) = succeeds else {
                errors += 1;
                if errors > CONSECUTIVE_ERROR_LIMIT {
                    return Some(now);
                }
                now += ERROR_RETRY;
                continue;
            };
            errors = 0;
            if !succeeds {
                failed += 1;
                if failed > failure_limit {
                    return Some(now);
                }
            }
            now += interval * 1000;
        }
        None
    }
}

/// The first measurement. It is not at the instant at which the first request reaches the new version.
fn first_after(deploy: &Deploy, interval: i64) -> i64 {
    deploy.at + (deploy.phase * interval as f64) as i64
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

fn flagger(deploy: &Deploy, interval: i64, threshold: u32) -> Option<i64> {
    const WINDOW: i64 = 60_000;
    let mut failed = 0;
    let mut now = first_after(deploy, interval);
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
