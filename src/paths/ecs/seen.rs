//! What the states of a deployment mean for an attempt. Pure.
//!
//! Never calls a deployment over before ECS does, and never takes for a failure what somebody else gave up.

use rollbackd_core::firing::Outcome;
use rollbackd_core::time::Timestamp;

use super::course::{UnderWay, primary};
use super::ecs_api::{Deployment, ServiceDeployment, Shown, short};
use crate::http_client::one_line;
use crate::paths::remote::Look;

/// How far a service deployment has come on the way to `target`: either one that deploys it, or one that was stopped so
/// that ECS goes back to it.
pub(super) fn of_service_deployment(shown: &UnderWay, target: &str) -> Look {
    let UnderWay { deployment, to, back_to } = shown;
    let deploys = to.as_deref() == Some(target);
    let (arn, why) = (&deployment.arn, reason(deployment));
    let failed = |what: &str| Look::Ended(Outcome::Failed { why: format!("{arn} {what}{why}"), output: String::new() });
    match deployment.status.as_str() {
        "SUCCESSFUL" if deploys => succeeded(arn, target),
        "SUCCESSFUL" => failed("was over before it could be stopped"),
        "ROLLBACK_SUCCESSFUL" if deploys => failed("was rolled back by ECS"),
        "ROLLBACK_SUCCESSFUL" if back_to.as_deref() == Some(target) => succeeded(arn, target),
        "ROLLBACK_SUCCESSFUL" => failed(&format!("was rolled back to another task definition than {target}")),
        "ROLLBACK_FAILED" => failed("could not be rolled back"),
        "STOPPED" if was_triggered(deployment) => failed("was stopped by ECS as a failure"),
        "STOPPED" => Look::Ended(Outcome::Cancelled { why: format!("{arn} was stopped or replaced at ECS{why}") }),
        "PENDING" | "IN_PROGRESS" if awaits_action(deployment) => {
            Look::Waits(format!("{arn} waits at a lifecycle hook for a person to continue it"))
        }
        // On its way, or in a state that is not known yet.
        _ => Look::Runs,
    }
}

/// How far the deployment `id` of `target` has come; `None` where its service deployment has to say, because tasks of
/// something else are the newest now.
pub(super) fn of_deployment(service: &Shown, id: &str, target: &str) -> Option<Look> {
    let ours = service.deployments.iter().find(|deployment| deployment.id == id);
    if let Some(failed) = ours.filter(|deployment| deployment.rollout_state.as_deref() == Some("FAILED")) {
        return Some(Look::Ended(failure(failed)));
    }
    let newest = primary(service).filter(|newest| short(&newest.task_definition) == target)?;
    Some(match newest.rollout_state.as_deref() {
        Some("COMPLETED") => succeeded(&newest.id, target),
        Some("FAILED") => Look::Ended(failure(newest)),
        // Where ECS tells no state, this is what its own tools wait for (`aws ecs wait services-stable`).
        None if service.deployments.len() == 1 && service.running_count == service.desired_count => {
            succeeded(&newest.id, target)
        }
        Some(_) | None => Look::Runs,
    })
}

/// The deployment of the target is not the newest, and nothing says that it failed: something newer than `after` has
/// replaced it, or ECS, which shows what is new a while later, does not show it yet.
pub(super) fn not_the_newest(service: &Shown, id: &str, target: &str, after: Timestamp) -> Look {
    let is_new =
        |newest: &&Deployment| newest.created_at.and_then(Timestamp::from_seconds).is_some_and(|at| at > after);
    let Some(newest) = primary(service).filter(is_new) else {
        return Look::Refused(format!("ECS shows it neither as the newest nor as replaced, and not {target}"));
    };
    let by = format!("{} of {}", one_line(&newest.id), one_line(short(&newest.task_definition)));
    Look::Ended(Outcome::Cancelled { why: format!("the deployment {id} of {target} was replaced by {by}") })
}

fn succeeded(receipt: &str, target: &str) -> Look {
    Look::Ended(Outcome::Succeeded {
        receipt: Some(receipt.to_owned()),
        output: format!("the service runs the task definition {target}"),
    })
}

fn failure(deployment: &Deployment) -> Outcome {
    let (id, name) = (&deployment.id, short(&deployment.task_definition));
    let reason = one_line(deployment.rollout_state_reason.as_deref().unwrap_or_default());
    Outcome::Failed { why: format!("the deployment {id} of {name} failed: {reason}"), output: reason }
}

fn reason(deployment: &ServiceDeployment) -> String {
    let rollback = deployment.rollback.as_ref().and_then(|rollback| rollback.reason.as_deref());
    let reason = deployment.status_reason.as_deref().or(rollback).map(one_line);
    reason.filter(|reason| !reason.is_empty()).map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// Whether ECS' circuit breaker or an alarm gave it up.
fn was_triggered(deployment: &ServiceDeployment) -> bool {
    let monitors = [&deployment.deployment_circuit_breaker, &deployment.alarms];
    monitors.into_iter().flatten().any(|monitor| monitor.status.as_deref() == Some("TRIGGERED"))
}

fn awaits_action(deployment: &ServiceDeployment) -> bool {
    deployment.lifecycle_hook_details.iter().any(|hook| hook.status.as_deref() == Some("AWAITING_ACTION"))
}
