//! The operations of Amazon ECS that the path uses, and as much of their shapes as it reads.
//!
//! Never decides anything; only [`EcsApi::update`] and [`EcsApi::stop`] change something.
//!
//! Source: AWS' service model `ecs/2014-11-13` (as in botocore 1.44.8), and "Amazon ECS API Reference". Instants are seconds
//! of the epoch.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Ecs;
use crate::http_client::one_line;
use crate::paths::aws::{Aws, NoResult, Service};
use crate::paths::ready::Ready;

/// Amazon ECS.
static ECS: Service = Service {
    name: "Amazon ECS",
    signing: "ecs",
    target: "AmazonEC2ContainerServiceV20141113",
    content_type: "application/x-amz-json-1.1",
};

/// How many service revisions one request may describe.
pub(super) const REVISIONS_AT_ONCE: usize = 20;

/// How many things one page lists; ECS gives no more.
const PAGE: u32 = 100;

/// How many pages of service deployments are read: more deployments than a team makes in the 90 days that ECS keeps.
const PAGES: usize = 5;

/// A service. `deployments` holds what runs, not what once ran.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) task_definition: String,
    #[serde(default)]
    pub(super) deployments: Vec<Deployment>,
    #[serde(default)]
    deployment_controller: Option<Controller>,
    #[serde(default)]
    pub(super) desired_count: i64,
    #[serde(default)]
    pub(super) running_count: i64,
}

#[derive(Clone, Debug, Deserialize)]
struct Controller {
    #[serde(rename = "type")]
    kind: String,
}

/// One deployment of a service that still has tasks.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Deployment {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) task_definition: String,
    /// Absent behind a Classic Load Balancer, and where tasks are not replaced one by one.
    #[serde(default)]
    pub(super) rollout_state: Option<String>,
    #[serde(default)]
    pub(super) rollout_state_reason: Option<String>,
    #[serde(default)]
    pub(super) created_at: Option<f64>,
}

/// A service deployment: the story of one change of a service, kept for 90 days.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceDeployment {
    #[serde(rename = "serviceDeploymentArn")]
    pub(super) arn: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) status_reason: Option<String>,
    #[serde(default)]
    pub(super) source_service_revisions: Vec<Revised>,
    #[serde(default)]
    pub(super) target_service_revision: Option<Revised>,
    #[serde(default)]
    pub(super) rollback: Option<RolledBack>,
    #[serde(default)]
    pub(super) deployment_circuit_breaker: Option<Monitor>,
    #[serde(default)]
    pub(super) alarms: Option<Monitor>,
    #[serde(default)]
    pub(super) lifecycle_hook_details: Vec<Hook>,
}

/// A service revision, by its name alone.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Revised {
    pub(super) arn: String,
}

/// Where a service deployment was rolled back to.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RolledBack {
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) service_revision_arn: Option<String>,
}

/// What ECS itself watches a service deployment with: its circuit breaker, or alarms.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Monitor {
    #[serde(default)]
    pub(super) status: Option<String>,
}

/// A point at which a service deployment may wait.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Hook {
    #[serde(default)]
    pub(super) status: Option<String>,
}

/// A service deployment, as it is listed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Brief {
    #[serde(rename = "serviceDeploymentArn")]
    pub(super) arn: String,
    #[serde(default)]
    pub(super) target_service_revision_arn: Option<String>,
    #[serde(default)]
    pub(super) created_at: Option<f64>,
}

/// A service revision: what a service was at one time.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Revision {
    #[serde(rename = "serviceRevisionArn")]
    pub(super) arn: String,
    #[serde(default)]
    pub(super) task_definition: String,
    #[serde(default)]
    pub(super) container_images: Vec<ContainerImage>,
}

/// What a container of a service revision was made of.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerImage {
    #[serde(default)]
    pub(super) container_name: String,
    #[serde(default)]
    pub(super) image: String,
    #[serde(default)]
    pub(super) image_digest: Option<String>,
}

/// A task definition.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskDefinition {
    #[serde(rename = "taskDefinitionArn")]
    pub(super) arn: String,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) container_definitions: Vec<ContainerDefinition>,
}

/// One container of a task definition.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ContainerDefinition {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) image: String,
}

/// Something that could not be described; the answer is a success all the same.
#[derive(Debug, Deserialize)]
struct Failure {
    #[serde(default)]
    reason: Option<String>,
}

/// `family:revision` of a task definition, which names it within an account and a region; its ARN has that at its end.
pub(super) fn short(task_definition: &str) -> &str {
    task_definition.rsplit_once('/').map_or(task_definition, |(_, name)| name)
}

/// The service, as far as one attempt can ask for it.
pub(super) struct EcsApi<'a> {
    settings: &'a Ecs,
    aws: Aws<'a>,
}

impl<'a> EcsApi<'a> {
    pub(super) fn new(settings: &'a Ecs, ready: &'a Ready) -> Result<Self, String> {
        Ok(Self { settings, aws: Aws::new(&ECS, &settings.aws, ready)? })
    }

    async fn call<T: DeserializeOwned>(&self, operation: &str, input: Value) -> Result<T, NoResult> {
        self.aws.call(operation, &input).await
    }

    /// The service as it is.
    pub(super) async fn service(&self) -> Result<Shown, NoResult> {
        #[derive(Deserialize)]
        struct Described {
            #[serde(default)]
            services: Vec<Shown>,
            #[serde(default)]
            failures: Vec<Failure>,
        }
        let Ecs { cluster, service, .. } = self.settings;
        let described: Described =
            self.call("DescribeServices", json!({"cluster": cluster, "services": [service]})).await?;
        let reason = described.failures.into_iter().find_map(|failure| failure.reason).unwrap_or_default();
        let found = described.services.into_iter().next().filter(|found| found.status != "INACTIVE");
        let found = found.ok_or_else(|| refused(format!("cluster {cluster} has no service {service} ({reason})")))?;
        match &found.deployment_controller {
            Some(Controller { kind }) if kind != "ECS" => Err(refused(format!(
                "the service {service} is deployed by the controller {kind}, not by ECS itself: roll it back there"
            ))),
            Some(_) | None => Ok(found),
        }
    }

    /// Service deployments in these states, the newest first; in all states where none is named. Nothing where the
    /// service has no such story.
    pub(super) async fn history(&self, states: &[&str]) -> Result<Vec<Brief>, NoResult> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Listed {
            #[serde(default)]
            service_deployments: Vec<Brief>,
            #[serde(default)]
            next_token: Option<String>,
        }
        let Ecs { cluster, service, .. } = self.settings;
        let mut input = json!({"cluster": cluster, "service": service, "maxResults": PAGE});
        if !states.is_empty() {
            input["status"] = json!(states);
        }
        let mut found = Vec::new();
        for _ in 0..PAGES {
            let listed: Listed = match self.call("ListServiceDeployments", input.clone()).await {
                Err(NoResult::Refused { code, .. }) if code == "UnsupportedFeatureException" => return Ok(found),
                listed => listed?,
            };
            found.extend(listed.service_deployments);
            let Some(next) = listed.next_token else { break };
            input["nextToken"] = json!(next);
        }
        found.sort_by(|one, other| other.created_at.unwrap_or_default().total_cmp(&one.created_at.unwrap_or_default()));
        Ok(found)
    }

    /// One service deployment in full.
    pub(super) async fn service_deployment(&self, arn: &str) -> Result<ServiceDeployment, NoResult> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Described {
            #[serde(default)]
            service_deployments: Vec<ServiceDeployment>,
            #[serde(default)]
            failures: Vec<Failure>,
        }
        let described: Described =
            self.call("DescribeServiceDeployments", json!({"serviceDeploymentArns": [arn]})).await?;
        let reason = described.failures.into_iter().find_map(|failure| failure.reason).unwrap_or_default();
        let found = described.service_deployments.into_iter().next();
        found.ok_or_else(|| refused(format!("there is no service deployment {} ({reason})", one_line(arn))))
    }

    /// These service revisions, [`REVISIONS_AT_ONCE`] at most; those that ECS no longer knows are left out.
    pub(super) async fn revisions(&self, arns: &[&str]) -> Result<BTreeMap<String, Revision>, NoResult> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Described {
            #[serde(default)]
            service_revisions: Vec<Revision>,
        }
        if arns.is_empty() {
            return Ok(BTreeMap::new());
        }
        let described: Described = self.call("DescribeServiceRevisions", json!({"serviceRevisionArns": arns})).await?;
        Ok(described.service_revisions.into_iter().map(|each| (each.arn.clone(), each)).collect())
    }

    /// A task definition, by its ARN or as `family:revision`.
    pub(super) async fn task_definition(&self, name: &str) -> Result<TaskDefinition, NoResult> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Described {
            task_definition: TaskDefinition,
        }
        let described: Described = self.call("DescribeTaskDefinition", json!({"taskDefinition": name})).await?;
        Ok(described.task_definition)
    }

    /// The newest task definitions of a family that can be deployed, as ARNs, the newest first.
    pub(super) async fn family(&self, family: &str, most: usize) -> Result<Vec<String>, NoResult> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Listed {
            #[serde(default)]
            task_definition_arns: Vec<String>,
        }
        let input = json!({"familyPrefix": family, "status": "ACTIVE", "sort": "DESC", "maxResults": most});
        let listed: Listed = self.call("ListTaskDefinitions", input).await?;
        Ok(listed.task_definition_arns.into_iter().take(most).collect())
    }

    /// Changes the service to this task definition. What ECS shows of it right after.
    pub(super) async fn update(&self, task_definition: &str) -> Result<Shown, NoResult> {
        #[derive(Deserialize)]
        struct Updated {
            service: Shown,
        }
        let Ecs { cluster, service, .. } = self.settings;
        let input = json!({"cluster": cluster, "service": service, "taskDefinition": task_definition});
        Ok(self.call::<Updated>("UpdateService", input).await?.service)
    }

    /// Stops a service deployment, so that ECS brings back what was before it.
    pub(super) async fn stop(&self, arn: &str) -> Result<Value, NoResult> {
        self.call("StopServiceDeployment", json!({"serviceDeploymentArn": arn, "stopType": "ROLLBACK"})).await
    }
}

/// A state of affairs that no second request changes.
pub(super) fn refused(why: String) -> NoResult {
    NoResult::Refused { code: String::new(), why }
}
