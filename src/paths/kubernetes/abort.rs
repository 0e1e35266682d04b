//! An Argo Rollout's update given up half-way: its traffic goes back to the stable revision, which must be the target's.
//!
//! Never aborts an update to another revision than the one that was read, and never a Rollout whose update is over.
//!
//! Source: Argo Rollouts, `kubectl-argo-rollouts/cmd/abort`, `rollout-crd.yaml` (status), "FAQ" on aborted Rollouts.

use rollbackd_core::firing::Outcome;
use serde_json::json;

use super::change::Change;
use crate::http_client::one_line;
use crate::kubernetes::workload::Workload;
use crate::paths::remote::{Asked, Found, Look};

const STABLE: &str = "/status/stableRS";
const CURRENT: &str = "/status/currentPodHash";
const ABORTED: &str = "/status/abort";

/// Whether an update is on its way, or was given up.
fn is_updating(rollout: &Workload) -> bool {
    let (stable, current) = (rollout.text(STABLE), rollout.text(CURRENT));
    !stable.is_empty() && !current.is_empty() && stable != current
}

/// Looks for what an earlier request did: whoever aborted the update, it is aborted.
pub(super) fn find(rollout: &Workload) -> Found {
    let aborted = rollout.flag(ABORTED) && is_updating(rollout);
    if aborted { Found::It(rollout.text(STABLE).to_owned()) } else { Found::Never }
}

/// Proves that the stable revision is the target's, and gives up the update away from it.
pub(super) async fn ask(change: &mut Change<'_>) -> Result<Asked, Asked> {
    let (rollout, stable) = target(change).await?;
    if rollout.flag(ABORTED) {
        return Ok(Asked::Accepted(stable));
    }
    send(change, &rollout, stable).await
}

/// The Rollout, and its stable revision, which is the target's.
pub(super) async fn target(change: &mut Change<'_>) -> Result<(Workload, String), Asked> {
    let rollout = change.read().await?;
    let (what, stable) = (change.what(), rollout.text(STABLE).to_owned());
    if !is_updating(&rollout) {
        return Err(Asked::Refused(format!("{what} has no update in progress: there is nothing to abort")));
    }
    let revisions = change.read_revisions(&rollout).await?;
    let found = revisions.iter().find(|revision| revision.hash.as_deref() == Some(stable.as_str()));
    if !found.is_some_and(|revision| change.is_target(revision)) {
        let shown = found.and_then(|revision| change.shown(&revision.template)).unwrap_or(&stable);
        let why = format!("the stable revision of {what} is {shown}, not {}", change.target_words());
        return Err(Asked::Refused(one_line(&why)));
    }
    Ok((rollout, stable))
}

async fn send(change: &mut Change<'_>, rollout: &Workload, stable: String) -> Result<Asked, Asked> {
    let patch = json!([
        {"op": "test", "path": "/metadata/uid", "value": rollout.at("/metadata/uid")},
        {"op": "test", "path": CURRENT, "value": rollout.at(CURRENT)},
        {"op": "test", "path": STABLE, "value": rollout.at(STABLE)},
        {"op": "add", "path": ABORTED, "value": true},
    ]);
    let answer = match change.cluster.patch(&["status"], &patch).await {
        Ok(answer) => answer,
        Err(no_answer) => return Ok(no_answer.asked()),
    };
    let refused = change.refused(&answer, "rollouts/status", rollout).await;
    Ok(refused.unwrap_or(Asked::Accepted(stable)))
}

/// How far the traffic has come back. `handle` is the stable revision's hash.
pub(super) fn look(change: &Change<'_>, handle: &str, rollout: &Workload) -> Look {
    let what = change.what();
    let serves = rollout.text(STABLE) == handle;
    let ended = rollout.text(CURRENT) == handle && serves;
    if !serves || !(ended || rollout.flag(ABORTED)) {
        let why = format!("the update of {what} was taken up again, or followed by another one");
        return Look::Ended(Outcome::Cancelled { why });
    }
    if !(ended || is_back(rollout, handle)) {
        return Look::Runs;
    }
    let receipt = format!("{what} aborted, stable {}", one_line(handle));
    Look::Ended(Outcome::Succeeded { receipt: Some(receipt), output: one_line(rollout.text("/status/message")) })
}

/// Whether the stable revision has all the traffic.
fn is_back(rollout: &Workload, stable: &str) -> bool {
    let active = rollout.text("/status/blueGreen/activeSelector");
    if !active.is_empty() {
        return active == stable;
    }
    let weight = rollout.at("/status/canary/weights/canary/weight");
    if !weight.is_null() {
        return weight == 0;
    }
    // Without a traffic router, the pods are the traffic.
    rollout.number("/status/updatedReplicas") == 0 && rollout.number("/status/availableReplicas") >= rollout.replicas()
}
