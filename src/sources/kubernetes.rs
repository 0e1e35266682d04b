//! Watched Deployments of a Kubernetes cluster: a revision with another version than the one before is a deploy.
//!
//! Never changes anything, and never asks for more than a Deployment and its ReplicaSets. Asks again and again instead of
//! keeping a watch open: what is told is in the objects themselves, so nothing is lost between two questions, and there
//! is no `410 Gone` and no broken stream to recover from.
//!
//! Source: Kubernetes, API reference "Deployment v1 apps" and "ReplicaSet v1 apps"; `pkg/controller/deployment` for when
//! revisions are numbered and conditions are updated.

mod rollout;

use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use rollbackd_core::config::Config;
use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::event::{DeployReport, Event, Happening};
use rollbackd_core::name::ServiceName;
use serde_json::Value;

use self::rollout::{Found, Part, Sign};
use super::mapping;
use crate::http_client::{self, HttpSettings};
use crate::kubernetes::credentials::{self, Way};
use crate::kubernetes::workload::{Kind, Revision, Workload};
use crate::kubernetes::{Access, object_name};

/// A question that takes longer is asked again at the next interval.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest answer that is read: a Deployment keeps ten ReplicaSets of some ten kilobytes by default.
const LONGEST_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// What the config says of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    access: Access,
    http: HttpSettings,
    /// The Deployments that are watched.
    pub deployments: Vec<Deployment>,
}

/// New revisions of a Deployment are deploys of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deployment {
    /// The service.
    pub service: ServiceName,
    namespace: String,
    name: String,
    sign: Sign,
}

/// What a look at a Deployment showed.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// The same revision as at the look before, or one that its controller is only making.
    Nothing,
    /// Another revision.
    Revision {
        /// Tells it from others of this and of other Deployments.
        mark: String,
        /// The deploy that it belongs to; or why it is none.
        deploy: Result<Box<Event>, String>,
    },
}

impl Kubernetes {
    /// Reads where the API server is, and `deployments`.
    pub fn decode(node: &Node, config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`kubernetes`", problems)?;
        let access = Access::decode(&mut fields, problems, TIMEOUT);
        let deployments = fields.required("deployments", problems);
        let deployments = deployments.map(|node| node::list(node, "deployments", problems));
        fields.finish(problems);
        let deployments = deployments?.iter().filter_map(|node| Deployment::decode(node, config, problems)).collect();
        let (access, http) = access?;
        Some(Self { access, http, deployments })
    }

    /// Looks at a Deployment. `known` is the mark of the revision that was seen last.
    ///
    /// # Errors
    /// It can't be seen: what the API server said, and what somebody should look at.
    pub async fn look(&self, at: &Deployment, known: Option<&str>) -> Result<Seen, String> {
        let way = credentials::way(&self.access, &self.http)?;
        let client = http_client::build_with(&way.http, &way.pem).map_err(|error| error.to_string())?;
        let asked = Asked { way, client, at };
        let workload = Workload::new(Kind::Deployment, asked.get("get", "deployments", &[&at.name], None).await?);
        let Some(mark) = rollout::mark(&workload).filter(|mark| known != Some(mark)) else { return Ok(Seen::Nothing) };
        let list = asked.get("list", "replicasets", &[], Some(&workload.selector())).await?;
        let revisions = Revision::of(&workload, &list);
        Ok(match rollout::latest(&workload, &revisions, &at.sign) {
            Found::NotYet => Seen::Nothing,
            Found::NoVersion(why) => Seen::Revision { mark, deploy: Err(why) },
            Found::Deploy(report) => Seen::Revision { mark, deploy: Ok(Box::new(at.event(&workload, *report))) },
        })
    }
}

impl Deployment {
    fn decode(node: &Node, config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "a deployment", problems)?;
        let service = mapping::service(&mut fields, config, problems).map(|service| service.name.clone());
        let namespace = fields.required("namespace", problems).and_then(|node| object_name(node, problems));
        let name = fields.required("name", problems).and_then(|node| object_name(node, problems));
        let sign = sign(&mut fields, problems);
        fields.finish(problems);
        Some(Self { service: service?, namespace: namespace?, name: name?, sign: sign? })
    }

    fn event(&self, workload: &Workload, report: DeployReport) -> Event {
        let uid = workload.text("/metadata/uid");
        let key = report.key.map(|number| format!("kubernetes-{}/{}@{uid}#{number}", self.namespace, self.name));
        let what = Happening::Shown { report: DeployReport { key, ..report } };
        Event { service: self.service.clone(), what }
    }
}

impl std::fmt::Display for Deployment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// Where the version of a pod template stands.
fn sign(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Sign> {
    let container = fields.optional("container").map(|node| object_name(node, problems));
    let label = fields.optional("label").map(|node| mapping::name(node, problems));
    let parts = [("tag", Part::Tag), ("digest", Part::Digest)];
    let part = fields.optional("version").map(|node| node::choice(node, &parts, problems));
    let Some(label) = label else {
        let container = container.map_or(Some(None), |container| container.map(Some));
        return Some(Sign::Image { container: container?, part: part.unwrap_or(Some(Part::Tag))? });
    };
    for key in ["container", "version"].into_iter().filter(|key| fields.has(key)) {
        let message =
            format!("`{key}` is of an image, and `label` tells the version without one: expected one of them");
        problems.error(fields.key_place(key), message);
    }
    Some(Sign::Label(label?))
}

/// One look.
struct Asked<'a> {
    way: Way,
    client: Client,
    at: &'a Deployment,
}

impl Asked<'_> {
    async fn get(&self, verb: &str, resource: &str, tail: &[&str], selector: Option<&str>) -> Result<Value, String> {
        let start = ["apis", "apps", "v1", "namespaces", &self.at.namespace, resource];
        let segments: Vec<&str> = start.into_iter().chain(tail.iter().copied()).collect();
        let mut request = self.way.request(&self.client, Method::GET, &segments);
        if let Some(selector) = selector {
            request = request.query(&[("labelSelector", selector)]);
        }
        let request = http_client::authorize(&self.way.http, request).await.map_err(|error| error.to_string())?;
        let response = request.send().await.map_err(|error| http_client::explain(&error))?;
        let status = response.status();
        let body = http_client::body_within(response, LONGEST_ANSWER_BYTES).await.map_err(|error| error.to_string())?;
        if status != StatusCode::OK {
            let said: Value = serde_json::from_slice(&body).unwrap_or_default();
            let said = http_client::one_line(said["message"].as_str().unwrap_or_default());
            let check = self.way.check(status, (verb, resource), ("Deployment", &self.at.namespace, &self.at.name));
            return Err(format!("the API server answered {}: {said}; check {check}", status.as_u16()));
        }
        serde_json::from_slice(&body).map_err(|error| format!("the API server's answer is not as expected: {error}"))
    }
}
