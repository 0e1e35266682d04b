//! GitLab's pipeline events: a pipeline that deployed and ended red is a trigger's report.
//!
//! Never a deploy: a pipeline may be started with a version that is not the commit which it ran for.

use rollbackd_core::config::Config;
use rollbackd_core::config::node::{Fields, Node, Problems};
use rollbackd_core::event::{About, Event, Happening, Run};
use rollbackd_core::name::{Commit, ServiceName, TriggerName};
use rollbackd_core::time::Timestamp;
use serde::Deserialize;

use super::super::{Translated, Untold, mapping, read};
use super::{Project, instant};
use crate::link;

/// The variable by which the path `gitlab` marks the pipelines that it creates.
const ATTEMPT_VARIABLE: &str = "ROLLBACKD_ATTEMPT";

/// The pipelines of a project that deploy to an environment are those of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pipeline {
    service: ServiceName,
    project: String,
    environment: String,
    on_failure: TriggerName,
}

#[derive(Deserialize)]
struct Told {
    object_attributes: Attributes,
    project: Project,
    #[serde(default)]
    builds: Vec<Job>,
}

#[derive(Deserialize)]
struct Attributes {
    id: u64,
    sha: String,
    status: String,
    source: Option<String>,
    created_at: Option<String>,
    finished_at: Option<String>,
    #[serde(default)]
    variables: Vec<Variable>,
    url: Option<String>,
}

#[derive(Deserialize)]
struct Variable {
    key: String,
}

#[derive(Deserialize)]
struct Job {
    started_at: Option<String>,
    environment: Option<Environment>,
}

#[derive(Deserialize)]
struct Environment {
    name: Option<String>,
    action: Option<String>,
}

impl Pipeline {
    pub(super) fn decode(node: &Node, config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "a pipeline of GitLab", problems)?;
        let service = mapping::service(&mut fields, config, problems);
        let project = fields.required("project", problems).and_then(|node| mapping::repository(node, problems));
        let environment = fields.required("environment", problems).and_then(|node| mapping::name(node, problems));
        let on_failure = fields.required("on_failure", problems);
        fields.finish(problems);
        let service = service?;
        let on_failure = on_failure.and_then(|node| mapping::trigger(node, service, problems));
        let service = service.name.clone();
        Some(Self { service, project: project?, environment: environment?, on_failure: on_failure? })
    }
}

pub(super) fn translate(pipelines: &[Pipeline], body: &[u8]) -> Translated {
    let told: Told = read(body)?;
    let unconcerned = |why: &str| Err(Untold::Unconcerned(why.to_owned()));
    if told.object_attributes.status != "failed" {
        return unconcerned("the pipeline has not failed");
    }
    let project = &told.project.path_with_namespace;
    let mut mapped = pipelines.iter().filter(|mapped| mapped.project.eq_ignore_ascii_case(project)).peekable();
    if mapped.peek().is_none() {
        return unconcerned("no entry of `sources.gitlab.pipelines` has this project");
    }
    if told.is_of_a_merge_request() {
        return unconcerned("a pipeline for a merge request deploys nothing");
    }
    if told.object_attributes.variables.iter().any(|variable| variable.key == ATTEMPT_VARIABLE) {
        return unconcerned("that pipeline is an attempt of a rollback, which is followed by its own path");
    }
    let mapped: Vec<&Pipeline> = mapped.filter(|mapped| told.deployed_to(&mapped.environment)).collect();
    if mapped.is_empty() {
        return unconcerned("the pipeline failed before it deployed to an environment of `sources.gitlab.pipelines`");
    }
    let (since, at) = told.object_attributes.instants()?;
    Ok(mapped.into_iter().map(|mapped| told.object_attributes.failure(mapped, since, at)).collect())
}

impl Told {
    /// Anybody may open a merge request, and have the pipeline run as the request has it.
    fn is_of_a_merge_request(&self) -> bool {
        let source = self.object_attributes.source.as_deref();
        matches!(source, Some("merge_request_event" | "external_pull_request_event"))
    }

    /// Whether a job that deploys to this environment began. `start` is what GitLab says of a job that says nothing.
    fn deployed_to(&self, name: &str) -> bool {
        let is_it = |environment: &Environment| {
            environment.name.as_deref() == Some(name) && matches!(environment.action.as_deref(), Some("start") | None)
        };
        self.builds.iter().any(|job| job.started_at.is_some() && job.environment.as_ref().is_some_and(is_it))
    }
}

impl Attributes {
    /// When it began and ended.
    fn instants(&self) -> Result<(Option<Timestamp>, Timestamp), Untold> {
        let since = self.created_at.as_deref().map(instant).transpose()?;
        let missing = || Untold::Unusable("the pipeline failed, and has no `finished_at`".to_owned());
        Ok((since, instant(self.finished_at.as_deref().ok_or_else(missing)?)?))
    }

    fn failure(&self, mapped: &Pipeline, since: Option<Timestamp>, at: Timestamp) -> Event {
        let about = About {
            // A job that is run once more ends the same pipeline again, at another instant.
            key: Some(format!("gitlab-pipeline-{}-{}", self.id, at.milliseconds())),
            at: Some(at),
            since,
            version: None,
            commit: Commit::new(&self.sha).ok(),
            run: Some(Run { id: self.id.to_string(), title: None }),
        };
        let link = self.url.as_deref().and_then(|text| link::checked(text).ok());
        let link = link.map(|link| format!(": {link}")).unwrap_or_default();
        let note = Some(format!("GitLab says that pipeline {} failed{link}", self.id));
        let what = Happening::Reported { trigger: mapped.on_failure.clone(), note, about };
        Event { service: mapped.service.clone(), what }
    }
}
