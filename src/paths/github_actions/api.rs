//! The five requests to GitHub's REST API that a dispatch needs, and what their answers say.
//!
//! Never follows a redirect, never reads an answer without a bound, and never repeats a request by itself.
//!
//! Source: GitHub's published OpenAPI description (`api.github.com`, version 2022-11-28), "Actions / workflows",
//! "Actions / workflow runs" and "Rate limits for the REST API".

use std::error::Error as _;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use rollbackd_core::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::GithubActions;

/// The longest answer that is read: thirty runs are far below half of it.
const LONGEST_ANSWER_BYTES: usize = 1024 * 1024;

/// The longest token: installation tokens of 2026 have some hundred bytes, and no length is promised.
const LONGEST_TOKEN_BYTES: u64 = 16 * 1024;

/// How long a connection may take: longer means that it's not there, and each second counts against the budget.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one request may take: GitHub itself gives up after ten seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(12);

/// What GitHub asks for after a limit was met, where it names no time.
const UNNAMED_WAIT: Duration = Duration::from_secs(60);

/// The longest wait that is believed: no path may take as long, and no sum with it overflows.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// How many runs are listed: as many as fit into an answer, far more than start within a minute.
pub(super) const LISTED_RUNS: usize = 30;

/// One repository's workflow, as far as it can be asked.
pub(super) struct Api {
    client: Client,
    repo_url: String,
    workflow: String,
    token_file: PathBuf,
    api_version: String,
}

/// An answer, whatever it says.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The token can't be read: nothing was sent.
    NoToken(String),
    /// No connection came about: nothing was sent.
    NotSent(String),
    /// The request may have arrived.
    Broken(String),
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

/// A client that works without the system's CA files too, and takes the token nowhere else.
fn client() -> Result<Client, reqwest::Error> {
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    let roots: Result<Vec<_>, _> = roots.map(|root| reqwest::Certificate::from_der(root)).collect();
    Client::builder()
        .tls_certs_merge(roots?)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        // GitHub refuses requests without one.
        .user_agent(concat!("rollbackd/", env!("CARGO_PKG_VERSION")))
        .build()
}

impl Api {
    pub(super) fn new(settings: &GithubActions) -> Result<Self, String> {
        let client = client().map_err(|error| format!("could not set up an HTTP client: {}", shown(error)))?;
        Ok(Self {
            client,
            repo_url: format!("{}/repos/{}", settings.api_url, settings.repo),
            workflow: settings.workflow.clone(),
            token_file: settings.token_file.clone(),
            api_version: settings.api_version.clone(),
        })
    }

    /// Starts the workflow. The one request that must not be repeated when it may have arrived.
    pub(super) async fn dispatch(&self, body: &Value) -> Result<Answer, NoAnswer> {
        let url = format!("{}/actions/workflows/{}/dispatches", self.repo_url, self.workflow);
        self.send(self.client.post(url).json(body)).await
    }

    /// The newest dispatched runs of the workflow on this branch or tag, created since then.
    pub(super) async fn runs(&self, branch: &str, since: Timestamp) -> Result<Answer, NoAnswer> {
        let url = format!("{}/actions/workflows/{}/runs", self.repo_url, self.workflow);
        // In whole seconds, as in GitHub's own examples.
        let since = since.floor(Duration::from_secs(1)).to_string();
        let created = format!(">={}Z", since.split('.').next().unwrap_or_default());
        let count = LISTED_RUNS.to_string();
        self.send(self.client.get(url).query(&[
            ("event", "workflow_dispatch"),
            ("branch", branch),
            ("created", &created),
            ("per_page", &count),
            ("exclude_pull_requests", "true"),
        ]))
        .await
    }

    pub(super) async fn run(&self, id: u64) -> Result<Answer, NoAnswer> {
        self.send(self.client.get(format!("{}/actions/runs/{id}", self.repo_url))).await
    }

    pub(super) async fn cancel(&self, id: u64) -> Result<Answer, NoAnswer> {
        self.send(self.client.post(format!("{}/actions/runs/{id}/cancel", self.repo_url))).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, NoAnswer> {
        let request = request
            .header(AUTHORIZATION, self.authorization().map_err(NoAnswer::NoToken)?)
            .header(ACCEPT, "application/vnd.github+json")
            .header("x-github-api-version", &self.api_version);
        let response = request.send().await.map_err(|error| {
            if error.is_connect() || error.is_builder() {
                NoAnswer::NotSent(shown(error))
            } else {
                NoAnswer::Broken(shown(error))
            }
        })?;
        Answer::read(response).await.map_err(NoAnswer::Broken)
    }

    /// Read anew each time: tokens of an installation are replaced every hour.
    fn authorization(&self) -> Result<HeaderValue, String> {
        let file = self.token_file.display();
        let mut token = String::new();
        let open = std::fs::File::open(&self.token_file);
        let read = open.and_then(|open| open.take(LONGEST_TOKEN_BYTES).read_to_string(&mut token));
        read.map_err(|error| format!("could not read the token from {file}: {error}"))?;
        let token = token.trim();
        if token.is_empty() {
            return Err(format!("could not read the token from {file}: it is empty"));
        }
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut value = value.map_err(|_| format!("the token in {file} has characters that no header can have"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl NoAnswer {
    /// What went wrong.
    pub(super) fn why(self) -> String {
        match self {
            Self::NoToken(why) | Self::NotSent(why) | Self::Broken(why) => why,
        }
    }
}

impl Answer {
    async fn read(mut response: Response) -> Result<Self, String> {
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(shown)? {
            if body.len() + chunk.len() > LONGEST_ANSWER_BYTES {
                return Err(format!("the answer ({status}) is longer than 1 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Self::of(status, headers, body))
    }

    /// What came back, once its length was bounded.
    pub(crate) const fn of(status: StatusCode, headers: HeaderMap, body: Vec<u8>) -> Self {
        Self { status, headers, body }
    }

    /// The id of the run that a dispatch started, where the answer has it.
    pub(crate) fn dispatched_run(&self) -> Option<u64> {
        serde_json::from_slice::<RunDetails>(&self.body).ok().map(|details| details.workflow_run_id)
    }

    /// The run that was asked for.
    pub(crate) fn into_run(self) -> Result<Run, String> {
        if self.status != StatusCode::OK {
            return Err(self.complaint());
        }
        serde_json::from_slice(&self.body).map_err(|error| format!("the answer is no workflow run: {error}"))
    }

    /// The runs that were asked for.
    pub(crate) fn into_runs(self) -> Result<Vec<Run>, String> {
        if self.status != StatusCode::OK {
            return Err(self.complaint());
        }
        let runs = serde_json::from_slice::<Runs>(&self.body);
        runs.map(|runs| runs.workflow_runs).map_err(|error| format!("the answer is no list of workflow runs: {error}"))
    }

    /// What GitHub says is wrong.
    pub(crate) fn message(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        bounded(body.get("message").and_then(Value::as_str).unwrap_or_default())
    }

    /// The status and what GitHub says is wrong.
    pub(crate) fn complaint(&self) -> String {
        format!("GitHub answered {}: {}", self.status.as_u16(), self.message())
    }

    /// How long GitHub asks to wait, where a rate limit was met. Such a request was not carried out.
    pub(crate) fn wait(&self, now: Timestamp) -> Option<Duration> {
        if !matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::FORBIDDEN) {
            return None;
        }
        if let Some(seconds) = self.number(RETRY_AFTER.as_str()) {
            return Some(Duration::from_secs(seconds).min(LONGEST_WAIT));
        }
        if self.number("x-ratelimit-remaining") == Some(0) {
            let reset = self.number("x-ratelimit-reset").and_then(|seconds| i64::try_from(seconds).ok());
            let reset = reset.map(|seconds| Timestamp::from_milliseconds(seconds.saturating_mul(1000)));
            // A second more: the reset is given in whole seconds.
            let wait = reset.map(|reset| reset.since(now) + Duration::from_secs(1));
            return Some(wait.unwrap_or(UNNAMED_WAIT).min(LONGEST_WAIT));
        }
        let limited = self.status == StatusCode::TOO_MANY_REQUESTS || self.message().contains("rate limit");
        limited.then_some(UNNAMED_WAIT)
    }

    fn number(&self, header: &str) -> Option<u64> {
        self.headers.get(header)?.to_str().ok()?.trim().parse().ok()
    }
}

/// A remote's text, fit for a receipt: of one line, and no longer than needed to understand it.
pub(super) fn bounded(text: &str) -> String {
    text.chars().map(|each| if each.is_control() { ' ' } else { each }).take(400).collect()
}

/// An error with its causes, which alone say what went wrong, and without the URL.
fn shown(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    bounded(&text)
}
