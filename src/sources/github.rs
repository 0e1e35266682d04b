//! GitHub's webhooks `deployment_status` and `workflow_run`.
//!
//! Never parses a body before its signature is proven, and never believes the delivery's id, which is not signed: what
//! makes two events one is in the body. Fields as in GitHub's OpenAPI description, `x-webhooks`.

mod workflow_run;

use std::path::PathBuf;

use aws_lc_rs::hmac;
use axum::http::HeaderMap;
use rollbackd_core::config::Config;
use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::deploy::Migration;
use rollbackd_core::event::{About, DeployReport, Event, Happening, Run};
use rollbackd_core::name::{Commit, ServiceName, TriggerName};
use rollbackd_core::time::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;

use self::workflow_run::Workflow;
use super::mapping::{self, Deployed, VersionIn};
use super::{Denied, Translated, Untold};
use crate::delivery::OWN_STATUS;
use crate::{http_client, link};

const EVENT: &str = "x-github-event";
const SIGNATURE: &str = "x-hub-signature-256";

/// What the config says of GitHub's webhooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitHub {
    secret_file: PathBuf,
    deployments: Vec<Deployment>,
    workflows: Vec<Workflow>,
}

/// Deployments of a repository to an environment are deploys of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Deployment {
    service: ServiceName,
    repo: String,
    environment: String,
    version: VersionIn,
    on_failure: Option<TriggerName>,
}

/// The signature that a request says it has: the HMAC-SHA256 of its body.
#[derive(Clone, Copy, Debug)]
pub struct Signature([u8; 32]);

/// The repository of an event.
#[derive(Deserialize)]
struct Repository {
    full_name: String,
    default_branch: Option<String>,
}

#[derive(Deserialize)]
struct DeploymentStatus {
    deployment_status: Status,
    deployment: Target,
    repository: Repository,
    workflow_run: Option<RunRef>,
}

#[derive(Deserialize)]
struct Status {
    id: u64,
    state: String,
    #[serde(default)]
    description: Option<String>,
    created_at: Timestamp,
    log_url: Option<String>,
    target_url: Option<String>,
}

/// What GitHub calls a deployment.
#[derive(Deserialize)]
struct Target {
    id: u64,
    sha: String,
    r#ref: String,
    environment: String,
    #[serde(default)]
    payload: Value,
}

#[derive(Deserialize)]
struct RunRef {
    id: u64,
    display_title: Option<String>,
}

impl RunRef {
    fn run(self) -> Run {
        Run { id: self.id.to_string(), title: self.display_title }
    }
}

impl GitHub {
    /// Reads `secret_file`, `deployments` and `workflows`.
    pub fn decode(node: &Node, config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`github`", problems)?;
        let secret_file = fields.required("secret_file", problems);
        let secret_file = secret_file.and_then(|node| mapping::secret_file(node, problems));
        let deployments = fields.optional("deployments").map(|node| node::list(node, "deployments", problems));
        let workflows = fields.optional("workflows").map(|node| node::list(node, "workflows", problems));
        if deployments.is_none() && workflows.is_none() {
            problems.error(node.place, "`github` says of no `deployments` and no `workflows` whose they are");
        }
        fields.finish(problems);
        let deployments = deployments.unwrap_or_default().iter();
        let workflows = workflows.unwrap_or_default().iter();
        Some(Self {
            deployments: deployments.filter_map(|node| Deployment::decode(node, config, problems)).collect(),
            workflows: workflows.filter_map(|node| Workflow::decode(node, config, problems)).collect(),
            secret_file: secret_file?,
        })
    }

    /// The signature of a request, before its body is read.
    ///
    /// # Errors
    /// There is none, or it is none.
    pub fn signature(headers: &HeaderMap) -> Result<Signature, Denied> {
        let expected =
            "expected one header `X-Hub-Signature-256: sha256=` with 64 hex digits: give the webhook a secret";
        let sent: Vec<_> = headers.get_all(SIGNATURE).iter().collect();
        let [sent] = sent.as_slice() else { return Err(Denied::NotProven(expected)) };
        let digits = sent.to_str().ok().and_then(|text| text.strip_prefix("sha256="));
        digits.and_then(unhex).map(Signature).ok_or(Denied::NotProven(expected))
    }

    /// Whether the body has this signature. Reads the secret now, so that a new one counts at once.
    ///
    /// # Errors
    /// It has another one, or the secret can't be read.
    pub async fn prove(&self, signature: Signature, body: &[u8]) -> Result<(), Denied> {
        let secret = http_client::secret("webhook secret file", &self.secret_file).await.map_err(Denied::NoSecret)?;
        verify(&secret, signature, body)
    }

    /// What an event means, of the kind that the header says.
    ///
    /// # Errors
    /// It means nothing here, or can't be used.
    pub fn translate(&self, headers: &HeaderMap, body: &[u8]) -> Translated {
        let kind = headers.get(EVENT).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        match kind {
            "deployment_status" => self.deployment_status(super::read(body)?),
            "workflow_run" => workflow_run::translate(&self.workflows, body),
            "ping" => Err(Untold::Unconcerned("ping: the webhook is set up".to_owned())),
            _ => Err(Untold::Unconcerned("only `deployment_status` and `workflow_run` are of interest".to_owned())),
        }
    }

    fn deployment_status(&self, told: DeploymentStatus) -> Translated {
        // Else the end of a rollback would be reported as a failed deploy, and could fire a trigger.
        if told.deployment_status.description.as_ref().is_some_and(|text| text.starts_with(OWN_STATUS)) {
            return Err(Untold::Unconcerned("rollbackd's own word that it rolled back".to_owned()));
        }
        let failed = match told.deployment_status.state.as_str() {
            "success" => false,
            "failure" | "error" => true,
            // `inactive` is said of the deployment before, of itself.
            _ => return Err(Untold::Unconcerned("the deployment has not ended".to_owned())),
        };
        let is_of = |mapped: &&Deployment| {
            mapped.repo.eq_ignore_ascii_case(&told.repository.full_name)
                && mapped.environment == told.deployment.environment
        };
        let mapped: Vec<&Deployment> = self.deployments.iter().filter(is_of).collect();
        if mapped.is_empty() {
            let why = "no entry of `sources.github.deployments` has this repository and environment";
            return Err(Untold::Unconcerned(why.to_owned()));
        }
        let run = told.workflow_run.map(RunRef::run);
        let told = Ended { status: told.deployment_status, target: told.deployment, repository: told.repository, run };
        if failed { told.failures(&mapped) } else { told.deploys(&mapped) }
    }
}

/// A deployment that has ended.
struct Ended {
    status: Status,
    target: Target,
    repository: Repository,
    run: Option<Run>,
}

impl Ended {
    fn deploys(&self, mapped: &[&Deployment]) -> Translated {
        let payload = self.payload();
        let report = |mapped: &&Deployment| {
            Ok(DeployReport {
                version: self.deployed(payload.as_ref()).version(&mapped.version)?,
                previous: None,
                commit: Commit::new(&self.target.sha).ok(),
                migration: payload.as_ref().map_or(Migration::None, mapping::migration),
                run_url: self.link(),
                at: Some(self.status.created_at),
                key: Some(format!("github-deployment-{}", self.target.id)),
            })
        };
        let event = |mapped: &&Deployment| {
            let what = Happening::Hinted { report: report(mapped)?, run: self.run.clone() };
            Ok(Event { service: mapped.service.clone(), what })
        };
        mapped.iter().map(event).collect()
    }

    fn failures(&self, mapped: &[&Deployment]) -> Translated {
        let payload = self.payload();
        let failure = |mapped: &&Deployment| {
            let trigger = mapped.on_failure.clone()?;
            let about = About {
                key: Some(format!("github-deployment-status-{}", self.status.id)),
                at: Some(self.status.created_at),
                since: None,
                version: self.deployed(payload.as_ref()).version(&mapped.version).ok(),
                commit: Commit::new(&self.target.sha).ok(),
                run: self.run.clone(),
            };
            let link = self.link().map(|link| format!(": {link}")).unwrap_or_default();
            let note = Some(format!("GitHub says that deployment {} failed{link}", self.target.id));
            Some(Event { service: mapped.service.clone(), what: Happening::Reported { trigger, note, about } })
        };
        let events: Vec<Event> = mapped.iter().filter_map(failure).collect();
        if events.is_empty() {
            let why = "the deployment failed, and its entry of `sources.github.deployments` has no `on_failure`";
            return Err(Untold::Unconcerned(why.to_owned()));
        }
        Ok(events)
    }

    fn deployed<'a>(&'a self, payload: Option<&'a Value>) -> Deployed<'a> {
        Deployed {
            sha: Some(&self.target.sha),
            git_ref: &self.target.r#ref,
            branch: self.repository.default_branch.as_deref(),
            payload,
        }
    }

    /// What the deployment's maker added: an object, or a text that is one.
    fn payload(&self) -> Option<Value> {
        let payload = &self.target.payload;
        payload.as_str().map_or_else(|| Some(payload.clone()), |text| serde_json::from_str(text).ok())
    }

    fn link(&self) -> Option<String> {
        let links = [&self.status.log_url, &self.status.target_url];
        links.into_iter().flatten().find_map(|text| link::checked(text).ok())
    }
}

fn unhex(digits: &str) -> Option<[u8; 32]> {
    let digit = |each: &u8| char::from(*each).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Vec<u8> = digits.as_bytes().iter().map(digit).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

/// Compares in a time that says nothing about the right signature.
fn verify(secret: &SecretString, signature: Signature, body: &[u8]) -> Result<(), Denied> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let wrong = "the signature is not that of this body with the secret of the config: compare the two secrets";
    hmac::verify(&key, body, &signature.0).map_err(|_| Denied::NotProven(wrong))
}

impl Deployment {
    fn decode(node: &Node, config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "a deployment of GitHub", problems)?;
        let service = mapping::service(&mut fields, config, problems);
        let repo = fields.required("repo", problems).and_then(|node| mapping::repository(node, problems));
        let environment = fields.required("environment", problems).and_then(|node| mapping::name(node, problems));
        let version = fields.required("version", problems);
        let version = version.and_then(|node| VersionIn::decode(node, problems));
        let on_failure = fields.optional("on_failure");
        fields.finish(problems);
        let service = service?;
        let on_failure = on_failure.and_then(|node| mapping::trigger(node, service, problems));
        Some(Self {
            service: service.name.clone(),
            repo: repo?,
            environment: environment?,
            version: version?,
            on_failure,
        })
    }
}

#[cfg(test)]
mod tests;
