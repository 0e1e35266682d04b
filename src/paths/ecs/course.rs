//! What is to be done about a service, by where it already goes. Pure.
//!
//! Never says that something is to be changed while ECS is on its way to the target.

use super::ecs_api::{Deployment, ServiceDeployment, Shown, short};

/// The states of a service deployment that is not over.
pub(super) const UNDER_WAY: &[&str] =
    &["PENDING", "IN_PROGRESS", "STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS"];

/// A service deployment that is not over, with the task definitions that it names.
#[derive(Clone, Debug)]
pub(super) struct UnderWay {
    pub(super) deployment: ServiceDeployment,
    /// `family:revision` of what it deploys.
    pub(super) to: Option<String>,
    /// `family:revision` of what ECS goes back to when it is given up, where that is certain.
    pub(super) back_to: Option<String>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Nothing: this leads to the target, or has led there.
    Follow(String),
    /// This service deployment is to be stopped: ECS goes back to the target then.
    Stop(String),
    /// The service is to be changed to the target.
    Update,
}

/// What is to be done so that the service runs `target` (`family:revision`).
pub(super) fn decide(service: &Shown, under_way: Option<&UnderWay>, target: &str) -> Course {
    if let Some(UnderWay { deployment, to, back_to }) = under_way {
        let arn = deployment.arn.clone();
        match deployment.status.as_str() {
            "ROLLBACK_REQUESTED" | "ROLLBACK_IN_PROGRESS" if back_to.as_deref() == Some(target) => {
                return Course::Follow(arn);
            }
            "PENDING" | "IN_PROGRESS" if to.as_deref() == Some(target) => return Course::Follow(arn),
            "PENDING" | "IN_PROGRESS" if back_to.as_deref() == Some(target) => return Course::Stop(arn),
            // It leads elsewhere, or ends by itself: the target is named, so what it leaves does not matter.
            _ => return Course::Update,
        }
    }
    match primary(service) {
        Some(deployment) if short(&deployment.task_definition) == target => Course::Follow(deployment.id.clone()),
        Some(_) | None => Course::Update,
    }
}

/// The newest deployment of a service.
pub(super) fn primary(service: &Shown) -> Option<&Deployment> {
    service.deployments.iter().find(|deployment| deployment.status == "PRIMARY")
}
