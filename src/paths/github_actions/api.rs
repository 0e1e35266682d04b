//! The five requests to GitHub's REST API that a dispatch needs, and what their answers say.
//!
//! Never follows a redirect, never reads an answer without a bound, and never repeats a request by itself.
//!
//! Source: GitHub's published OpenAPI description (`api.github.com`, version 2022-11-28), "Actions / workflows",
//! "Actions / workflow runs" and "Rate limits for the REST API".

use std::time::Duration;

use reqwest::RequestBuilder;
use reqwest::header::ACCEPT;
use rollbackd_core::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::GithubActions;
use crate::http_client::HttpSettings;
use crate::paths::remote::api::{self, Answer, NoAnswer, REQUEST_TIMEOUT};

/// How many runs are listed: as many as fit into an answer, far more than start within a minute.
pub(super) const LISTED_RUNS: usize = 30;

/// One repository's workflow, as far as it can be asked.
pub(super) struct Api {
    api: api::Api,
    repo_url: String,
    workflow: String,
    api_version: String,
}

/// A run, as it is listed and shown.
#[derive(Debug, Deserialize)]
pub(crate) struct Run {
    pub(crate) id: u64,
    #[serde(default)]
    pub(crate) display_title: Option<String>,
    #[serde(default)]
    pub(crate) status: Option<String>,
    #[serde(default)]
    pub(crate) conclusion: Option<String>,
    #[serde(default)]
    pub(crate) html_url: Option<String>,
}

#[derive(Deserialize)]
struct Runs {
    workflow_runs: Vec<Run>,
}

#[derive(Deserialize)]
struct RunDetails {
    workflow_run_id: u64,
}

impl Api {
    pub(super) fn new(settings: &GithubActions) -> Result<Self, String> {
        let mut http = HttpSettings::with_timeout(REQUEST_TIMEOUT);
        http.bearer_token_file = Some(settings.token_file.clone());
        Ok(Self {
            api: api::Api::new("GitHub", &http)?,
            repo_url: format!("{}/repos/{}", settings.api_url, settings.repo),
            workflow: settings.workflow.clone(),
            api_version: settings.api_version.clone(),
        })
    }

    /// Starts the workflow. The one request that must not be repeated when it may have arrived.
    pub(super) async fn dispatch(&self, body: &Value) -> Result<Answer, NoAnswer> {
        let url = format!("{}/actions/workflows/{}/dispatches", self.repo_url, self.workflow);
        self.send(self.api.client().post(url).json(body)).await
    }

    /// The newest dispatched runs of the workflow on this branch or tag, created since then.
    pub(super) async fn runs(&self, branch: &str, since: Timestamp) -> Result<Answer, NoAnswer> {
        let url = format!("{}/actions/workflows/{}/runs", self.repo_url, self.workflow);
        // In whole seconds, as in GitHub's own examples.
        let since = since.floor(Duration::from_secs(1)).to_string();
        let created = format!(">={}Z", since.split('.').next().unwrap_or_default());
        let count = LISTED_RUNS.to_string();
        self.send(self.api.client().get(url).query(&[
            ("event", "workflow_dispatch"),
            ("branch", branch),
            ("created", &created),
            ("per_page", &count),
            ("exclude_pull_requests", "true"),
        ]))
        .await
    }

    pub(super) async fn run(&self, id: u64) -> Result<Answer, NoAnswer> {
        self.send(self.api.client().get(format!("{}/actions/runs/{id}", self.repo_url))).await
    }

    pub(super) async fn cancel(&self, id: u64) -> Result<Answer, NoAnswer> {
        self.send(self.api.client().post(format!("{}/actions/runs/{id}/cancel", self.repo_url))).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, NoAnswer> {
        let request = request.header(ACCEPT, "application/vnd.github+json");
        self.api.send(request.header("x-github-api-version", &self.api_version)).await
    }
}

/// The id of the run that a dispatch started, where the answer has it.
pub(crate) fn dispatched_run(answer: &Answer) -> Option<u64> {
    answer.json::<RunDetails>().ok().map(|details| details.workflow_run_id)
}

/// The run that was asked for.
pub(crate) fn run_of(answer: &Answer) -> Result<Run, String> {
    answer.json()
}

/// The runs that were asked for.
pub(crate) fn runs_of(answer: &Answer) -> Result<Vec<Run>, String> {
    answer.json::<Runs>().map(|runs| runs.workflow_runs)
}
