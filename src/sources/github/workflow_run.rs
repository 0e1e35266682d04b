//! GitHub's webhook `workflow_run`: a workflow that ends red is a trigger's report.
//!
//! Never a deploy: what a run deployed is not in the event, and the commit that it ran for need not be it.

use rollbackd_core::config::Config;
use rollbackd_core::config::node::{Fields, Node, Problems};
use rollbackd_core::event::{About, Event, Happening, Run};
use rollbackd_core::name::{Commit, ServiceName, TriggerName};
use rollbackd_core::time::Timestamp;
use serde::Deserialize;

use super::super::{Translated, Untold, mapping, read};
use super::Repository;
use crate::link;

/// A workflow of a repository is the pipeline of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workflow {
    service: ServiceName,
    repo: String,
    workflow: String,
    on_failure: TriggerName,
}

#[derive(Deserialize)]
struct Told {
    action: String,
    workflow_run: WorkflowRun,
    repository: Repository,
}

#[derive(Deserialize)]
struct WorkflowRun {
    id: u64,
    run_attempt: Option<u64>,
    path: String,
    event: Option<String>,
    head_sha: String,
    head_repository: Option<Repository>,
    display_title: Option<String>,
    conclusion: Option<String>,
    html_url: Option<String>,
    run_started_at: Option<Timestamp>,
    updated_at: Timestamp,
}

impl Workflow {
    pub(super) fn decode(node: &Node, config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "a workflow of GitHub", problems)?;
        let service = mapping::service(&mut fields, config, problems);
        let repo = fields.required("repo", problems).and_then(|node| mapping::repository(node, problems));
        let workflow = fields.required("workflow", problems).and_then(|node| mapping::name(node, problems));
        let on_failure = fields.required("on_failure", problems);
        fields.finish(problems);
        let service = service?;
        let on_failure = on_failure.and_then(|node| mapping::trigger(node, service, problems));
        Some(Self { service: service.name.clone(), repo: repo?, workflow: workflow?, on_failure: on_failure? })
    }
}

pub(super) fn translate(workflows: &[Workflow], body: &[u8]) -> Translated {
    let told: Told = read(body)?;
    let unconcerned = |why: &str| Err(Untold::Unconcerned(why.to_owned()));
    if told.action != "completed" {
        return unconcerned("the run has not ended");
    }
    let run = told.workflow_run;
    let (repo, file) = (&told.repository.full_name, file_of(&run.path));
    let is_of = |mapped: &&Workflow| mapped.repo.eq_ignore_ascii_case(repo) && mapped.workflow == file;
    let mapped: Vec<&Workflow> = workflows.iter().filter(is_of).collect();
    if mapped.is_empty() {
        return unconcerned("no entry of `sources.github.workflows` has this repository and workflow");
    }
    if is_of_a_pull_request(&run, repo) {
        return unconcerned("a run for a pull request deploys nothing");
    }
    // `startup_failure`, `cancelled`, `skipped` and the like say that nothing was tried, or that somebody stopped it.
    if !matches!(run.conclusion.as_deref(), Some("failure" | "timed_out")) {
        return unconcerned("the run did not fail");
    }
    Ok(mapped.into_iter().map(|mapped| run.failure(mapped)).collect())
}

/// Anybody may open a pull request, and have the workflow run as the request has it.
fn is_of_a_pull_request(run: &WorkflowRun, repo: &str) -> bool {
    let foreign = run.head_repository.as_ref().is_some_and(|head| !head.full_name.eq_ignore_ascii_case(repo));
    foreign || run.event.as_ref().is_some_and(|event| event.starts_with("pull_request"))
}

/// `.github/workflows/deploy.yml@main` is `deploy.yml`.
fn file_of(path: &str) -> &str {
    let path = path.split('@').next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

impl WorkflowRun {
    fn failure(&self, mapped: &Workflow) -> Event {
        let attempt = self.run_attempt.unwrap_or(1);
        let about = About {
            key: Some(format!("github-run-{}-{attempt}", self.id)),
            at: Some(self.updated_at),
            since: self.run_started_at,
            version: None,
            commit: Commit::new(&self.head_sha).ok(),
            run: Some(Run { id: self.id.to_string(), title: self.display_title.clone() }),
        };
        let link = self.html_url.as_deref().and_then(|text| link::checked(text).ok());
        let link = link.map(|link| format!(": {link}")).unwrap_or_default();
        let note =
            Some(format!("GitHub says that {} failed, run {} attempt {attempt}{link}", mapped.workflow, self.id));
        let what = Happening::Reported { trigger: mapped.on_failure.clone(), note, about };
        Event { service: mapped.service.clone(), what }
    }
}
