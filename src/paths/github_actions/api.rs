//! The five requests to GitHub's REST API that a dispatch needs, and the answer to the first.
//!
//! Never repeats a request by itself.
//!
//! Source: GitHub's published OpenAPI description (`api.github.com`, version 2022-11-28), "Actions / workflows" and
//! "Actions / workflow runs".

use std::time::Duration;

use rollbackd_core::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::GithubActions;
use crate::paths::ready::Ready;
use crate::paths::remote::api::{Answer, NoAnswer};
use crate::paths::remote::github::{Actions, RepositoryApi};

/// How many runs are listed: as many as fit into an answer, far more than start within a minute.
pub(super) const LISTED_RUNS: usize = 30;

/// One repository's workflow, as far as it can be asked.
pub(super) struct Api<'a> {
    repository: RepositoryApi<'a>,
    workflow: &'a str,
}

/// A workflow, as it is shown.
#[derive(Deserialize)]
pub(super) struct Workflow {
    /// `active`, or why it can't be started.
    #[serde(default)]
    pub(super) state: String,
}

#[derive(Deserialize)]
struct RunDetails {
    workflow_run_id: u64,
}

impl<'a> Api<'a> {
    pub(super) fn new(settings: &'a GithubActions, ready: &'a Ready) -> Result<Self, String> {
        let repository = RepositoryApi::new(&settings.repository, Actions::Write, Some(ready))?;
        Ok(Self { repository, workflow: &settings.workflow })
    }

    /// Shows the workflow.
    pub(super) async fn workflow(&mut self) -> Result<Answer, NoAnswer> {
        let request = self.repository.get(&format!("actions/workflows/{}", self.workflow));
        self.repository.send(request).await
    }

    /// Starts the workflow. The one request that must not be repeated when it may have arrived.
    pub(super) async fn dispatch(&mut self, body: &Value) -> Result<Answer, NoAnswer> {
        let request = self.repository.post(&format!("actions/workflows/{}/dispatches", self.workflow));
        self.repository.send(request.json(body)).await
    }

    /// The newest dispatched runs of the workflow on this branch or tag, created since then.
    pub(super) async fn runs(&mut self, branch: &str, since: Timestamp) -> Result<Answer, NoAnswer> {
        let request = self.repository.get(&format!("actions/workflows/{}/runs", self.workflow));
        // In whole seconds, as in GitHub's own examples.
        let since = since.floor(Duration::from_secs(1)).to_string();
        let created = format!(">={}Z", since.split('.').next().unwrap_or_default());
        let count = LISTED_RUNS.to_string();
        let request = request.query(&[
            ("event", "workflow_dispatch"),
            ("branch", branch),
            ("created", &created),
            ("per_page", &count),
            ("exclude_pull_requests", "true"),
        ]);
        self.repository.send(request).await
    }

    pub(super) async fn run(&mut self, id: u64) -> Result<Answer, NoAnswer> {
        let request = self.repository.get(&format!("actions/runs/{id}"));
        self.repository.send(request).await
    }

    pub(super) async fn cancel(&mut self, id: u64) -> Result<Answer, NoAnswer> {
        let request = self.repository.post(&format!("actions/runs/{id}/cancel"));
        self.repository.send(request).await
    }
}

/// The id of the run that a dispatch started, where the answer has it.
pub(crate) fn dispatched_run(answer: &Answer) -> Option<u64> {
    answer.json::<RunDetails>().ok().map(|details| details.workflow_run_id)
}
