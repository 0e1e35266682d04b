//! A GitHub in this process, as far as a workflow dispatch needs it: runs that end as a test scripts them, and deploy.
//!
//! Never lets a dispatch without a token through, and counts each one that arrives.
//!
//! Source of the shapes: GitHub's published OpenAPI description, "Actions / workflows" and "Actions / workflow runs".

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How a dispatch is answered and how its run goes on.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// The status of the answer: 200 with the run's id, 204 without it, 502 for an answer that was lost.
    pub(crate) answer: u16,
    /// Whether a run starts; with 502 a dispatch may have been accepted all the same.
    pub(crate) accepted: bool,
    /// How long the run takes, once it is not held.
    pub(crate) take: Duration,
    /// Whether it waits for [`GitHub::release`].
    pub(crate) held: bool,
    /// What it concludes with; `success` deploys.
    pub(crate) conclusion: &'static str,
}

impl Script {
    /// Accepted, with the run's id; succeeds at once.
    pub(crate) const fn succeeds() -> Self {
        Self { answer: 200, accepted: true, take: Duration::ZERO, held: false, conclusion: "success" }
    }

    /// Accepted, with the run's id; ends red without deploying.
    pub(crate) const fn fails() -> Self {
        Self { conclusion: "failure", ..Self::succeeds() }
    }

    /// The same, but the run only ends after [`GitHub::release`].
    pub(crate) const fn held(self) -> Self {
        Self { held: true, ..self }
    }

    /// The same, but the answer is lost on its way.
    pub(crate) const fn answer_lost(self) -> Self {
        Self { answer: 502, ..self }
    }
}

#[derive(Clone)]
struct Run {
    id: u64,
    title: String,
    branch: String,
    created_at: String,
    status: &'static str,
    conclusion: Option<&'static str>,
}

struct Book {
    script: Script,
    dispatches: Vec<Value>,
    runs: Vec<Run>,
    unauthorized: usize,
    /// How often the workflow was looked at, and how many dispatches there were when it was first.
    looks: usize,
    dispatched_before: usize,
}

#[derive(Clone)]
struct Shared {
    book: Arc<Mutex<Book>>,
    released: watch::Sender<bool>,
    deploy_url: String,
}

/// The stand-in for GitHub's API.
pub(crate) struct GitHub {
    shared: Shared,
    url: String,
    server: JoinHandle<()>,
}

impl GitHub {
    /// The token that it takes.
    pub(crate) const TOKEN: &str = "e2e-github-token";

    /// Listens on a free port; runs deploy to this production, by the name `github`.
    pub(crate) async fn start(production: &str) -> Self {
        Self::start_for(production, super::SERVICE).await
    }

    /// The same for a pipeline of another service.
    pub(crate) async fn start_for(production: &str, service: &str) -> Self {
        let book = Book {
            script: Script::succeeds(),
            dispatches: Vec::new(),
            runs: Vec::new(),
            unauthorized: 0,
            looks: 0,
            dispatched_before: 0,
        };
        let shared = Shared {
            book: Arc::new(Mutex::new(book)),
            released: watch::Sender::new(false),
            deploy_url: format!("{production}/admin/deploy?service={service}"),
        };
        let actions = "/repos/{owner}/{repo}/actions";
        let routes = Router::new()
            .route(&format!("{actions}/workflows/{{workflow}}"), get(workflow))
            .route(&format!("{actions}/workflows/{{workflow}}/dispatches"), post(dispatch))
            .route(&format!("{actions}/workflows/{{workflow}}/runs"), get(list))
            .route(&format!("{actions}/runs/{{id}}"), get(show))
            .route(&format!("{actions}/runs/{{id}}/cancel"), post(cancel))
            .with_state(shared.clone());
        let (url, server) = super::serve(routes).await;
        Self { shared, url, server }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What happens with dispatches from now on.
    pub(crate) fn script(&self, script: Script) {
        lock(&self.shared.book).script = script;
    }

    /// Lets held runs end.
    pub(crate) fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// The body of each dispatch that arrived with the token, whatever it was answered.
    pub(crate) fn dispatches(&self) -> Vec<Value> {
        lock(&self.shared.book).dispatches.clone()
    }

    /// How often the workflow was looked at, and how many dispatches there had been when it was first.
    pub(crate) fn looks(&self) -> (usize, usize) {
        let book = lock(&self.shared.book);
        (book.looks, book.dispatched_before)
    }

    /// How many requests came without the token.
    pub(crate) fn unauthorized(&self) -> usize {
        lock(&self.shared.book).unauthorized
    }
}

impl Drop for GitHub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Workflow = (String, String, String);

async fn dispatch(
    State(shared): State<Shared>,
    Path((owner, repo, workflow)): Path<Workflow>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if let Some(refused) = shared.refuses(&headers) {
        return refused;
    }
    let (script, id) = shared.record(&workflow, &body);
    if script.accepted {
        let version = body["inputs"]["image_tag"].as_str().unwrap_or_default().to_owned();
        tokio::spawn(shared.clone().carry_out(id, script.clone(), version));
    }
    let run = format!("/repos/{owner}/{repo}/actions/runs/{id}");
    match script.answer {
        200 if body["return_run_details"] == true => {
            Json(json!({"workflow_run_id": id, "run_url": run, "html_url": run})).into_response()
        }
        200 | 204 => StatusCode::NO_CONTENT.into_response(),
        other => problem(other, "scripted by a test"),
    }
}

async fn workflow(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    if let Some(refused) = shared.refuses(&headers) {
        return refused;
    }
    let mut book = lock(&shared.book);
    if book.looks == 0 {
        book.dispatched_before = book.dispatches.len();
    }
    book.looks += 1;
    Json(json!({"id": 1, "name": "deploy", "state": "active"})).into_response()
}

async fn list(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    if let Some(refused) = shared.refuses(&headers) {
        return refused;
    }
    let runs: Vec<_> = lock(&shared.book).runs.iter().rev().map(shown).collect();
    Json(json!({"total_count": runs.len(), "workflow_runs": runs})).into_response()
}

async fn show(
    State(shared): State<Shared>,
    Path((_, _, id)): Path<(String, String, u64)>,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = shared.refuses(&headers) {
        return refused;
    }
    match lock(&shared.book).runs.iter().find(|run| run.id == id) {
        Some(run) => Json(shown(run)).into_response(),
        None => problem(404, "Not Found"),
    }
}

async fn cancel(State(shared): State<Shared>, Path((_, _, id)): Path<(String, String, u64)>) -> Response {
    shared.conclude(id, "cancelled");
    (StatusCode::ACCEPTED, Json(json!({}))).into_response()
}

fn shown(run: &Run) -> Value {
    json!({
        "id": run.id, "display_title": run.title, "event": "workflow_dispatch", "head_branch": run.branch,
        "status": run.status, "conclusion": run.conclusion, "created_at": run.created_at,
        "html_url": format!("https://github.invalid/runs/{}", run.id),
    })
}

fn problem(status: u16, message: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    (status, Json(json!({"message": message}))).into_response()
}

impl Shared {
    fn refuses(&self, headers: &HeaderMap) -> Option<Response> {
        let expected = format!("Bearer {}", GitHub::TOKEN);
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if given == Some(expected.as_str()) {
            return None;
        }
        lock(&self.book).unauthorized += 1;
        Some(problem(401, "Bad credentials"))
    }

    /// Writes a dispatch down; its run, where it is accepted, has the correlation id in its title.
    fn record(&self, workflow: &str, body: &Value) -> (Script, u64) {
        let mut book = lock(&self.book);
        book.dispatches.push(body.clone());
        let id = 7000 + u64::try_from(book.dispatches.len()).expect("few dispatches");
        if book.script.accepted {
            let correlation = body["inputs"]["correlation_id"].as_str().unwrap_or_default();
            let run = Run {
                id,
                title: format!("{workflow} {correlation}"),
                branch: body["ref"].as_str().unwrap_or_default().to_owned(),
                created_at: now(),
                status: "queued",
                conclusion: None,
            };
            book.runs.push(run);
        }
        (book.script.clone(), id)
    }

    /// A run from its start to its conclusion.
    async fn carry_out(self, id: u64, script: Script, version: String) {
        self.change(id, |run| run.status = "in_progress");
        if script.held {
            let mut released = self.released.subscribe();
            let _ = released.wait_for(|released| *released).await;
        }
        tokio::time::sleep(script.take).await;
        if script.conclusion == "success" && !self.is_over(id) {
            let body = json!({"version": version, "by": "github", "attempt": id.to_string()});
            let answer =
                super::client().post(&self.deploy_url).json(&body).send().await.expect("a deploy to production");
            assert!(answer.status().is_success(), "production refused the deploy: {}", answer.status());
        }
        self.conclude(id, script.conclusion);
    }

    fn is_over(&self, id: u64) -> bool {
        lock(&self.book).runs.iter().any(|run| run.id == id && run.conclusion.is_some())
    }

    fn conclude(&self, id: u64, conclusion: &'static str) {
        self.change(id, |run| {
            if run.conclusion.is_none() {
                run.status = "completed";
                run.conclusion = Some(conclusion);
            }
        });
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Run)) {
        if let Some(run) = lock(&self.book).runs.iter_mut().find(|run| run.id == id) {
            change(run);
        }
    }
}

/// Now, in whole seconds as GitHub writes it.
fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    let milliseconds = i64::try_from(since.as_secs()).expect("a clock") * 1000;
    let instant = rollbackd_core::time::Timestamp::from_milliseconds(milliseconds).to_string();
    instant.replace(".000Z", "Z")
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
