//! How far a roll-out has come, by what the controller says of it.
//!
//! Never takes counts for the new ones before the controller has seen the change, and never calls a roll-out failed for
//! what an earlier one left behind.
//!
//! Source: kubectl's `polymorphichelpers/rollout_status.go` (Deployment, StatefulSet); Argo Rollouts,
//! `utils/rollout/rolloututil.go` (phases of a Rollout).

use rollbackd_core::firing::Outcome;
use rollbackd_core::time::Timestamp;
use serde_json::Value;

use crate::http_client::one_line;
use crate::kubernetes::workload::{Kind, Workload, image};
use crate::paths::remote::Look;

/// The condition that tells whether a roll-out gets on.
const PROGRESSING: &str = "Progressing";

/// What the workload shows. `what` names it in sentences, `start` is when the attempt began.
pub(super) fn look(what: &str, workload: &Workload, start: Timestamp) -> Look {
    match workload.kind {
        Kind::Deployment => deployment(what, workload, start),
        Kind::StatefulSet => stateful_set(what, workload),
        Kind::Rollout => rollout(what, workload, start),
    }
}

fn done(what: &str, workload: &Workload) -> Look {
    let receipt = one_line(&format!("{what} revision {}", workload.revision()));
    let output = one_line(image(workload.template(), None).unwrap_or_default());
    Look::Ended(Outcome::Succeeded { receipt: Some(receipt), output })
}

fn failed(what: &str, condition: &Value) -> Look {
    let text = |key: &str| condition[key].as_str().unwrap_or_default();
    let why = one_line(&format!("{what}: {}: {}", text("reason"), text("message")));
    Look::Ended(Outcome::Failed { why, output: String::new() })
}

fn deployment(what: &str, workload: &Workload, start: Timestamp) -> Look {
    if workload.flag("/spec/paused") {
        return Look::Waits(format!("{what} is paused: resume it (kubectl rollout resume)"));
    }
    if workload.number("/status/observedGeneration") < workload.number("/metadata/generation") {
        return Look::Runs;
    }
    let condition = workload.condition(PROGRESSING).filter(|each| each["reason"] == "ProgressDeadlineExceeded");
    if let Some(condition) = condition.filter(|condition| Workload::is_since(condition, start)) {
        return failed(what, condition);
    }
    let updated = workload.number("/status/updatedReplicas");
    let over = updated >= workload.replicas()
        && workload.number("/status/replicas") <= updated
        && workload.number("/status/availableReplicas") >= updated;
    if over { done(what, workload) } else { Look::Runs }
}

fn stateful_set(what: &str, workload: &Workload) -> Look {
    if workload.text("/spec/updateStrategy/type") == "OnDelete" {
        return on_delete(what, workload);
    }
    let observed = workload.number("/status/observedGeneration");
    if observed == 0 || observed < workload.number("/metadata/generation") {
        return Look::Runs;
    }
    if workload.number("/status/readyReplicas") < workload.replicas() {
        return Look::Runs;
    }
    let partition = workload.number("/spec/updateStrategy/rollingUpdate/partition");
    let over = if partition > 0 {
        workload.number("/status/updatedReplicas") >= workload.replicas() - partition
    } else {
        is_one_revision(workload)
    };
    if over { done(what, workload) } else { Look::Runs }
}

fn is_one_revision(workload: &Workload) -> bool {
    workload.text("/status/updateRevision") == workload.text("/status/currentRevision")
}

/// Such a StatefulSet changes a pod when somebody deletes it, and not before.
fn on_delete(what: &str, workload: &Workload) -> Look {
    let seen = workload.number("/status/observedGeneration") >= workload.number("/metadata/generation");
    let all = workload.number("/status/updatedReplicas") >= workload.replicas()
        && workload.number("/status/readyReplicas") >= workload.replicas();
    if seen && all {
        return done(what, workload);
    }
    Look::Waits(format!(
        "{what} has the update strategy OnDelete: delete its pods, so that they come back as the target"
    ))
}

fn rollout(what: &str, workload: &Workload, start: Timestamp) -> Look {
    // A number as a text, unlike Kubernetes' own.
    let observed = workload.text("/status/observedGeneration").parse::<i64>();
    if observed.is_ok_and(|observed| observed < workload.number("/metadata/generation")) {
        return Look::Runs;
    }
    match workload.text("/status/phase") {
        "Healthy" if workload.text("/status/currentPodHash") == workload.text("/status/stableRS") => {
            done(what, workload)
        }
        "Degraded" => match workload.condition(PROGRESSING) {
            Some(condition) if Workload::is_since(condition, start) => failed(what, condition),
            Some(_) => Look::Runs,
            None => failed(what, workload.at("/status")),
        },
        "Paused" if !ends_by_itself(workload) => {
            let message = one_line(workload.text("/status/message"));
            Look::Waits(format!("{what} is paused ({message}): promote or resume it (kubectl argo rollouts promote)"))
        }
        // `Progressing`, a pause with a duration, and whatever else is not the end.
        _ => Look::Runs,
    }
}

/// Whether a paused Rollout goes on without anybody: its step names how long it lasts.
fn ends_by_itself(workload: &Workload) -> bool {
    let step = workload.number("/status/currentStepIndex");
    let duration = workload.at(&format!("/spec/strategy/canary/steps/{step}/pause/duration"));
    !workload.flag("/spec/paused") && !duration.is_null()
}
