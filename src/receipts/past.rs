//! What earlier receipts tell of the paths that were tried.
//!
//! Reads what this program wrote, and takes nothing in it for more than it says.

use std::collections::BTreeMap;
use std::time::Duration;

use rollbackd_core::name::{PathName, ServiceName};
use rollbackd_core::receipt::{Kind, PathExperience};
use rollbackd_core::time::Timestamp;
use serde::Deserialize;

/// How receipts say that an attempt did it, and that it was never begun.
const SUCCEEDED: &str = "succeeded";
const NEVER_STARTED: &str = "never started";

/// A path that was tried for a firing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastRun {
    /// The path.
    pub path: PathName,
    /// From observed to recovered, where this path brought production back.
    pub total: Option<Duration>,
}

/// As much of an `NNN.json` as tells what to expect of a path.
#[derive(Deserialize)]
pub(super) struct Past {
    kind: Kind,
    pub(super) service: ServiceName,
    #[serde(default)]
    recovered_at: Option<Timestamp>,
    #[serde(default)]
    total_seconds: Option<f64>,
    attempts: Vec<PastAttempt>,
}

#[derive(Deserialize)]
struct PastAttempt {
    path: PathName,
    definition: Vec<String>,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    result: String,
}

impl Past {
    /// Each path that was tried, once.
    pub(super) fn runs(self) -> Vec<PastRun> {
        let mut runs: Vec<PastRun> = Vec::new();
        let total = self.total_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        for attempt in self.attempts.into_iter().filter(|attempt| attempt.result != NEVER_STARTED) {
            let total = total.filter(|_| attempt.result == SUCCEEDED);
            match runs.iter_mut().find(|run| run.path == attempt.path) {
                Some(known) => known.total = total,
                None => runs.push(PastRun { path: attempt.path, total }),
            }
        }
        runs
    }

    pub(super) fn learn(self, paths: &mut BTreeMap<PathName, PathExperience>) {
        for attempt in self.attempts.into_iter().filter(|attempt| attempt.result == SUCCEEDED) {
            let known = paths.entry(attempt.path.clone()).or_insert_with(|| PathExperience {
                path: attempt.path,
                rehearsed_at: None,
                rehearsed_as: None,
                took: Vec::new(),
                back_after: Vec::new(),
            });
            let took: Option<Duration> = attempt.ended_at.map(|at| at.since(attempt.started_at));
            known.took.extend(took);
            known.back_after.extend(self.recovered_at.map(|at| at.since(attempt.started_at)));
            if self.kind == Kind::Rehearsal {
                known.rehearsed_at = Some(attempt.started_at);
                known.rehearsed_as = Some(attempt.definition);
            }
        }
    }
}
