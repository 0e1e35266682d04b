//! The path `github_actions`, against a stand-in that keeps runs as GitHub's API does.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::contract::{Contract, SECRET, secret_file};
use crate::github_app;
use crate::world::{LONG, mistakes, no_place, now, order, path, why};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rollbackd::paths::{NotReady, Progress, RollbackPath};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How the stand-in answers, beyond what GitHub always does.
#[derive(Default)]
pub(crate) struct Remote {
    runs: Vec<Run>,
    /// Bodies of dispatches that started a run.
    accepted: Vec<Value>,
    /// All other requests that should not come: redirects followed.
    strays: usize,
    pub(crate) cancels: usize,
    /// What the next dispatches are answered, before any is taken.
    refusals: VecDeque<Refusal>,
    /// What the next looks at a run are answered; the last one stays.
    pub(crate) looks: VecDeque<Look>,
    /// An Enterprise Server: does not know `return_run_details`.
    enterprise: bool,
    /// An older one refuses a member that it does not know.
    refuses_details: bool,
    /// The connection breaks when the run has been created.
    breaks: bool,
    /// The input that `run-name` shows.
    title_input: Option<&'static str>,
    /// Answers this to lists of runs.
    list_status: Option<u16>,
    /// Somebody else dispatches at the same time.
    with_another: bool,
    /// What it says of the workflow.
    workflow_state: Option<&'static str>,
}

/// A status, headers and a body.
type Refusal = (u16, Vec<(&'static str, String)>, Value);

struct Run {
    id: u64,
    title: String,
    branch: String,
    created_at: String,
}

#[derive(Clone, Copy)]
pub(crate) enum Look {
    Is(&'static str, Option<&'static str>),
    Answers(u16),
    Limited,
    TooLong,
}

const DONE: Look = Look::Is("completed", Some("success"));

type Shared = Arc<Mutex<Remote>>;

impl Remote {
    fn add_run(&mut self, title: &str, branch: &str) -> u64 {
        let id = 77 + self.runs.len() as u64;
        let created_at = now().to_string();
        self.runs.push(Run { id, title: title.to_owned(), branch: branch.to_owned(), created_at });
        id
    }

    fn accept(&mut self, body: &Value) -> u64 {
        self.accepted.push(body.clone());
        if self.with_another {
            self.add_run("deploy by hand", "main");
        }
        let title = self.title_input.and_then(|input| body["inputs"][input].as_str()).unwrap_or("deploy");
        let title = format!("rollback {title}");
        self.add_run(&title, body["ref"].as_str().unwrap())
    }
}

fn problem(status: u16, message: &str) -> Response {
    (StatusCode::from_u16(status).unwrap(), Json(json!({"message": message}))).into_response()
}

async fn dispatch(State(remote): State<Shared>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if headers["authorization"] != format!("Bearer {SECRET}") {
        return problem(401, "Bad credentials");
    }
    assert!(headers.contains_key("user-agent") && headers["x-github-api-version"] == "2022-11-28");
    let mut remote = remote.lock().unwrap();
    if let Some((status, headers, body)) = remote.refusals.pop_front() {
        let mut answer = (StatusCode::from_u16(status).unwrap(), Json(body)).into_response();
        for (name, value) in headers {
            answer.headers_mut().insert(name, value.parse().unwrap());
        }
        return answer;
    }
    if remote.refuses_details && body.get("return_run_details").is_some() {
        return problem(422, "Invalid request.\n\n\"return_run_details\" is not a permitted key.");
    }
    let inputs = body["inputs"].as_object().unwrap();
    let unexpected = inputs.keys().find(|name| !["image_tag", "attempt_id"].contains(&name.as_str()));
    if let Some(name) = unexpected {
        return problem(422, &format!("Unexpected inputs provided: [\"{name}\"]"));
    }
    let id = remote.accept(&body);
    if remote.breaks {
        drop(remote);
        // Ends the connection's task without an answer, and without a panic message in the test's output.
        std::panic::resume_unwind(Box::new("the connection breaks"));
    }
    if remote.enterprise || body["return_run_details"] != json!(true) {
        return StatusCode::NO_CONTENT.into_response();
    }
    let (api, shown) = (format!("https://api.github.test/runs/{id}"), format!("https://github.test/runs/{id}"));
    Json(json!({"workflow_run_id": id, "run_url": api, "html_url": shown})).into_response()
}

async fn workflow(State(remote): State<Shared>, headers: HeaderMap) -> Response {
    if headers["authorization"] != format!("Bearer {SECRET}") {
        return problem(401, "Bad credentials");
    }
    let state = remote.lock().unwrap().workflow_state.unwrap_or("active");
    Json(json!({"id": 1, "name": "Deploy", "path": ".github/workflows/deploy.yml", "state": state})).into_response()
}

async fn list(State(remote): State<Shared>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let remote = remote.lock().unwrap();
    if let Some(status) = remote.list_status {
        return problem(status, "no list today");
    }
    assert_eq!(query["event"], "workflow_dispatch");
    let since = query["created"].strip_prefix(">=").unwrap();
    assert!(since.len() == 20 && since.ends_with('Z'), "{since}");
    let runs = remote.runs.iter().filter(|run| run.branch == query["branch"] && run.created_at.as_str() >= since);
    let runs: Vec<Value> = runs.map(|run| json!({"id": run.id, "display_title": run.title})).collect();
    Json(json!({"total_count": runs.len(), "workflow_runs": runs})).into_response()
}

async fn show(State(remote): State<Shared>, Path(id): Path<u64>) -> Response {
    let mut remote = remote.lock().unwrap();
    if !remote.runs.iter().any(|run| run.id == id) {
        return problem(404, "Not Found");
    }
    let look = if remote.looks.len() > 1 { remote.looks.pop_front().unwrap() } else { remote.looks[0] };
    let url = format!("https://github.test/runs/{id}");
    match look {
        Look::Is(status, conclusion) => {
            Json(json!({"id": id, "status": status, "conclusion": conclusion, "html_url": url})).into_response()
        }
        Look::Answers(status) => problem(status, "not now"),
        Look::Limited => (StatusCode::FORBIDDEN, [("retry-after", "1")], "{}").into_response(),
        Look::TooLong => {
            let padding = "x".repeat(2 * 1024 * 1024);
            Json(json!({"id": id, "status": "completed", "conclusion": "failure", "x": padding})).into_response()
        }
    }
}

async fn cancel(State(remote): State<Shared>, Path(_): Path<u64>) -> Response {
    let mut remote = remote.lock().unwrap();
    remote.cancels += 1;
    remote.looks = VecDeque::from([Look::Is("in_progress", None), Look::Is("completed", Some("cancelled"))]);
    StatusCode::ACCEPTED.into_response()
}

async fn stray(State(remote): State<Shared>) -> Response {
    remote.lock().unwrap().strays += 1;
    StatusCode::NO_CONTENT.into_response()
}

pub(crate) const CONTRACT: Contract = Contract {
    kind: "github_actions",
    platform: || Box::pin(async { World::new().await.url() }),
    config,
    is_change: |seen| seen.method == "POST",
};

fn config(url: &str, dir: &std::path::Path) -> Value {
    json!({
        "api_url": url, "repo": "acme/shop", "workflow": "deploy.yml", "ref": "main",
        "inputs": {"image_tag": "{{ target.version }}"}, "token_file": secret_file(dir), "poll_interval": "10ms",
    })
}

pub(crate) struct World {
    remote: Shared,
    pub(crate) issuer: github_app::Shared,
    address: SocketAddr,
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let looks = VecDeque::from([Look::Is("queued", None), Look::Is("in_progress", None), DONE]);
        let remote = Arc::new(Mutex::new(Remote { looks, ..Remote::default() }));
        let router = Router::new()
            .route("/api/repos/acme/shop/actions/workflows/deploy.yml", get(workflow))
            .route("/api/repos/acme/shop/actions/workflows/deploy.yml/dispatches", post(dispatch))
            .route("/api/repos/acme/shop/actions/workflows/deploy.yml/runs", get(list))
            .route("/api/repos/acme/shop/actions/runs/{id}", get(show))
            .route("/api/repos/acme/shop/actions/runs/{id}/cancel", post(cancel))
            .route("/elsewhere", get(stray).post(stray))
            .with_state(Arc::clone(&remote));
        let issuer = github_app::issuer();
        let router = router.merge(github_app::router(&issuer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let dir = tempfile::tempdir().unwrap();
        Self { remote, issuer, address, dir }
    }

    pub(crate) fn remote(&self) -> MutexGuard<'_, Remote> {
        self.remote.lock().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/", self.address)
    }

    pub(crate) fn config(&self) -> Value {
        config(&self.url(), self.dir.path())
    }

    fn plain(&self) -> (RollbackPath, Order) {
        let (path, parts) = path("github_actions", &self.config());
        (path, order(&parts, LONG))
    }

    /// With a correlation input of this name, which `run-name` shows where the workflow has it.
    fn correlated(&self, input: &'static str) -> (RollbackPath, Order) {
        self.remote().title_input = Some(input);
        let mut config = self.config();
        config["correlation_input"] = json!(input);
        let (path, parts) = path("github_actions", &config);
        (path, order(&parts, LONG))
    }

    pub(crate) async fn start(&self, (path, order): &(RollbackPath, Order)) -> Outcome {
        path.start(order, &no_place(), &mpsc::channel(8).0, CancellationToken::new()).await
    }

    async fn follow(&self, (path, order): &(RollbackPath, Order), handle: Option<&str>) -> Outcome {
        path.follow(order, handle, &no_place(), &mpsc::channel(8).0, CancellationToken::new()).await
    }

    pub(crate) fn accepted(&self) -> usize {
        self.remote().accepted.len()
    }

    fn refuse(&self, status: u16, headers: &[(&'static str, &str)], message: &str) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.remote().refusals.push_back((status, headers, json!({"message": message})));
    }
}

pub(crate) fn done(id: u64) -> Outcome {
    Outcome::Succeeded { receipt: Some(id.to_string()), output: format!("https://github.test/runs/{id}") }
}

#[tokio::test]
async fn a_workflow_that_is_disabled_or_not_to_be_seen_is_told_of_before_it_is_started() {
    let world = World::new().await;
    let (path, order) = world.plain();
    assert!(path.preflight(&order, &no_place()).unwrap().await.is_ok());
    world.remote().workflow_state = Some("disabled_manually");
    let why = path.preflight(&order, &no_place()).unwrap().await.unwrap_err();
    let expected = "the workflow deploy.yml of acme/shop is disabled_manually: enable it at GitHub";
    assert_eq!(why, NotReady::Fails(expected.to_owned()));
    std::fs::write(world.dir.path().join("secret"), "another\n").unwrap();
    let Err(NotReady::Fails(why)) = path.preflight(&order, &no_place()).unwrap().await else {
        panic!("the token is another's")
    };
    assert!(why.starts_with("GitHub answered 401: Bad credentials; check that the token in "), "{why}");
    assert_eq!(world.accepted(), 0);
}

#[tokio::test]
async fn a_run_whose_id_is_told_is_followed_to_its_success() {
    let world = World::new().await;
    let (path, order) = world.correlated("attempt_id");
    let (progress, mut told) = mpsc::channel(8);
    assert_eq!(path.start(&order, &no_place(), &progress, CancellationToken::new()).await, done(77));
    assert_eq!(told.try_recv(), Ok(Progress::Started { handle: "77".to_owned() }));
    assert_eq!(
        world.remote().accepted,
        [
            json!({"ref": "main", "inputs": {"image_tag": "v41", "attempt_id": "shop-f-1-a1"}, "return_run_details": true})
        ]
    );
}

#[tokio::test]
async fn only_success_is_a_rollback() {
    for (conclusion, expected) in [
        ("failure", "failed: run 77 concluded as failure: https://github.test/runs/77"),
        ("skipped", "failed: run 77 concluded as skipped: https://github.test/runs/77"),
        ("neutral", "failed: run 77 concluded as neutral: https://github.test/runs/77"),
        ("cancelled", "cancelled: run 77 was cancelled at GitHub: https://github.test/runs/77"),
    ] {
        let world = World::new().await;
        world.remote().looks = VecDeque::from([Look::Is("completed", Some(conclusion))]);
        assert_eq!(why(world.start(&world.plain()).await), expected);
        assert_eq!(world.accepted(), 1);
    }
}

#[tokio::test]
async fn a_server_that_tells_no_id_is_asked_for_the_run_with_the_attempt_in_its_title() {
    let world = World::new().await;
    world.remote().enterprise = true;
    world.remote().with_another = true;
    world.remote().add_run("rollback shop-f-1-a12", "main");
    assert_eq!(world.start(&world.correlated("attempt_id")).await, done(79));
    assert_eq!(world.accepted(), 1);
}

#[tokio::test]
async fn without_a_correlation_input_the_only_new_run_is_ours() {
    let world = World::new().await;
    world.remote().enterprise = true;
    world.remote().add_run("rollback deploy", "main");
    assert_eq!(world.start(&world.plain()).await, done(78));
    assert_eq!(world.accepted(), 1);
}

#[tokio::test]
async fn without_a_correlation_input_two_new_runs_can_not_be_told_apart() {
    let world = World::new().await;
    world.remote().enterprise = true;
    world.remote().with_another = true;
    let why = why(world.start(&world.plain()).await);
    assert!(why.starts_with("unknown:") && why.contains("more than one run"), "{why}");
    assert_eq!(world.accepted(), 1);
}

#[tokio::test]
async fn what_was_accepted_and_is_not_found_is_unknown_and_says_what_to_change() {
    let world = World::new().await;
    world.remote().enterprise = true;
    let attempt = world.correlated("attempt_id");
    world.remote().title_input = None;
    let why = why(world.start(&attempt).await);
    assert!(why.starts_with("unknown:") && why.contains("${{ inputs.attempt_id }}"), "{why}");
    assert_eq!(world.accepted(), 1);
}

#[tokio::test]
async fn a_server_that_refuses_to_tell_the_id_is_asked_without() {
    let world = World::new().await;
    world.remote().refuses_details = true;
    assert_eq!(world.start(&world.correlated("attempt_id")).await, done(77));
    assert_eq!(world.accepted(), 1);
}

#[tokio::test]
async fn a_workflow_without_the_correlation_input_is_dispatched_without_it() {
    let world = World::new().await;
    world.remote().refuses_details = true;
    world.remote().add_run("rollback deploy", "main");
    assert_eq!(world.start(&world.correlated("rollback_id")).await, done(78));
    assert_eq!(world.remote().accepted, [json!({"ref": "main", "inputs": {"image_tag": "v41"}})]);
}

#[tokio::test]
async fn a_dispatch_whose_answer_is_lost_is_looked_up_and_not_sent_again() {
    for attempt in [World::correlated as fn(&World, &'static str) -> _, |world, _| world.plain()] {
        let world = World::new().await;
        world.remote().breaks = true;
        assert_eq!(world.start(&attempt(&world, "attempt_id")).await, done(77));
        assert_eq!(world.accepted(), 1);
    }
}

#[tokio::test]
async fn a_dispatch_that_fails_at_githubs_side_is_looked_up_and_not_sent_again() {
    let world = World::new().await;
    world.refuse(502, &[], "Server Error");
    let why = why(world.start(&world.correlated("attempt_id")).await);
    assert!(why.starts_with("unknown:") && why.contains("502"), "{why}");
    assert!(world.remote().refusals.is_empty());
    assert_eq!(world.accepted(), 0);
}

#[tokio::test]
async fn refusals_say_what_to_check_and_that_nothing_ran() {
    for (status, message, expected) in [
        (401, "Bad credentials", "has not expired"),
        (403, "Resource not accessible by personal access token", "may write Actions of acme/shop"),
        (404, "Not Found", "has the workflow deploy.yml"),
        (422, "No ref found for: main", "deploy.yml on main has `on: workflow_dispatch`"),
        (422, "Unexpected inputs provided: [\"image_tag\"]", "with these inputs"),
    ] {
        let world = World::new().await;
        world.refuse(status, &[], message);
        let why = why(world.start(&world.correlated("attempt_id")).await);
        assert!(why.starts_with("failed:") && why.contains(message) && why.contains(expected), "{why}");
        assert!(why.ends_with("nothing ran") && !why.contains(SECRET), "{why}");
        assert_eq!(world.accepted(), 0);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_token() {
    let world = World::new().await;
    let elsewhere = format!("http://{}/elsewhere", world.address);
    world.refuse(307, &[("location", &elsewhere)], "Moved");
    assert!(why(world.start(&world.plain()).await).contains("redirects are not followed"));
    assert_eq!(world.remote().strays, 0);
}

/// What GitHub, or who sits in its place, sends: whatever the request is.
async fn answers_all(body: Vec<u8>, encoding: &'static str) -> (RollbackPath, Order, TempDir) {
    let answer = move || async move { ([("content-encoding", encoding), ("content-type", "application/json")], body) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "gh-token\n").unwrap();
    let config = json!({
        "api_url": format!("http://{address}"), "repo": "acme/shop", "workflow": "deploy.yml", "ref": "main",
        "token_file": dir.path().join("token"), "poll_interval": "10ms",
    });
    let (path, parts) = path("github_actions", &config);
    let order = order(&parts, Duration::from_secs(5));
    (path, order, dir)
}

#[tokio::test]
async fn an_answer_that_is_a_bomb_or_has_no_bottom_is_no_answer() {
    let spaces = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(spaces.path(), vec![b' '; 64 << 20]).unwrap();
    let packed = std::process::Command::new("gzip").arg("-c").arg(spaces.path()).output().unwrap().stdout;
    assert!(packed.len() < 1 << 17);
    let deep = format!("{{\"workflow_runs\":{}", "[".repeat(400_000)).into_bytes();
    for (body, encoding) in [(packed, "gzip"), (deep, "identity")] {
        let (path, order, _dir) = answers_all(body, encoding).await;
        let outcome = path.start(&order, &no_place(), &mpsc::channel(8).0, CancellationToken::new()).await;
        // A dispatch may have been accepted all the same, which nobody can know from such answers.
        assert!(why(outcome).starts_with("unknown: "), "{encoding}");
    }
}

#[tokio::test]
async fn a_rate_limit_is_waited_out_and_the_dispatch_sent_then() {
    let reset = (now().milliseconds() / 1000 - 1).to_string();
    for headers in [vec![("retry-after", "1")], vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &reset)]] {
        let world = World::new().await;
        world.refuse(403, &headers, "API rate limit exceeded");
        assert_eq!(world.start(&world.plain()).await, done(77));
        assert_eq!(world.accepted(), 1);
    }
}

#[tokio::test]
async fn a_rate_limit_that_outlasts_the_timeout_fails_at_once() {
    let reset = (now().milliseconds() / 1000 + 3600).to_string();
    for (status, headers) in [
        (429, vec![("retry-after", "3600")]),
        (429, vec![]),
        (403, vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset.as_str())]),
        (403, vec![("retry-after", "18446744073709551615")]),
    ] {
        let world = World::new().await;
        world.refuse(status, &headers, "You have exceeded a secondary rate limit");
        let why = why(world.start(&world.plain()).await);
        assert!(why.starts_with("failed:") && why.ends_with("nothing ran"), "{why}");
        assert_eq!(world.accepted(), 0);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_fails_and_nothing_ran() {
    let world = World::new().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut config = world.config();
    config["api_url"] = json!(format!("http://{closed}"));
    let (path, parts) = path("github_actions", &config);
    let why = why(world.start(&(path, order(&parts, LONG))).await);
    assert!(
        why.starts_with("failed: could not ask GitHub: could not connect") && why.ends_with("nothing ran"),
        "{why}"
    );
}

#[tokio::test]
async fn a_token_file_that_can_not_be_used_fails_and_nothing_ran() {
    let world = World::new().await;
    let attempt = world.plain();
    let token = secret_file(world.dir.path());
    for content in [Some(" \n"), Some("a\nb\n"), None] {
        match content {
            Some(content) => std::fs::write(&token, content).unwrap(),
            None => std::fs::remove_file(&token).unwrap(),
        }
        let why = why(world.start(&attempt).await);
        assert!(why.contains(token.to_str().unwrap()) && why.ends_with("nothing ran"), "{why}");
    }
    assert_eq!(world.accepted(), 0);
}

#[tokio::test]
async fn a_run_that_waits_for_a_person_is_told_once_and_followed_on() {
    let world = World::new().await;
    let waiting = Look::Is("waiting", None);
    world.remote().looks = VecDeque::from([waiting, waiting, Look::Is("in_progress", None), waiting, DONE]);
    let (path, order) = world.plain();
    let (progress, mut told) = mpsc::channel(8);
    assert_eq!(path.start(&order, &no_place(), &progress, CancellationToken::new()).await, done(77));
    assert!(matches!(told.try_recv(), Ok(Progress::Started { .. })));
    assert!(matches!(told.try_recv(), Ok(Progress::Waits { why }) if why.contains("https://github.test/runs/77")));
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_run_is_followed_through_faults_limits_and_unreadable_answers() {
    let world = World::new().await;
    world.remote().looks = VecDeque::from([
        Look::Answers(500),
        Look::Answers(502),
        Look::Answers(404),
        Look::TooLong,
        Look::Limited,
        Look::Answers(401),
        Look::Is("something_new", None),
        DONE,
    ]);
    assert_eq!(world.start(&world.plain()).await, done(77));
    assert_eq!(world.accepted(), 1);
}

#[tokio::test]
async fn a_run_that_is_not_shown_any_more_is_unknown_and_not_failed() {
    let world = World::new().await;
    world.remote().looks = VecDeque::from([Look::Answers(403)]);
    let why = why(world.start(&world.plain()).await);
    assert!(why.starts_with("unknown: run 77") && why.contains("403"), "{why}");
}

#[tokio::test]
async fn a_run_that_outlasts_the_timeout_is_cancelled() {
    let world = World::new().await;
    world.remote().looks = VecDeque::from([Look::Is("in_progress", None)]);
    let (path, order) = world.plain();
    let (progress, mut told) = mpsc::channel(8);
    let stop = CancellationToken::new();
    let place = no_place();
    let (outcome, ()) = tokio::join!(path.start(&order, &place, &progress, stop.clone()), async {
        told.recv().await.unwrap();
        stop.cancel();
    });
    assert_eq!(outcome, Outcome::TimedOut);
    assert_eq!(world.remote().cancels, 1);
}

#[tokio::test]
async fn a_run_goes_on_without_the_daemon_and_is_followed_by_its_handle() {
    let world = World::new().await;
    world.remote().looks = VecDeque::from([Look::Is("in_progress", None)]);
    let (path, order) = world.plain();
    let (progress, mut told) = mpsc::channel(8);
    let starting = {
        let (path, order) = (path.clone(), order.clone());
        tokio::spawn(async move { path.start(&order, &no_place(), &progress, CancellationToken::new()).await })
    };
    let Some(Progress::Started { handle }) = told.recv().await else { panic!("nothing was told") };
    starting.abort();
    assert!(starting.await.unwrap_err().is_cancelled());
    world.remote().looks = VecDeque::from([DONE]);
    assert_eq!(world.follow(&(path, order), Some(&handle)).await, done(77));
    assert_eq!((world.accepted(), world.remote().cancels), (1, 0));
}

#[tokio::test]
async fn a_run_without_a_recorded_id_is_found_by_its_title_and_never_dispatched() {
    let world = World::new().await;
    let attempt = world.correlated("attempt_id");
    world.remote().add_run("rollback shop-f-1-a1", "main");
    assert_eq!(world.follow(&attempt, None).await, done(77));

    let world = World::new().await;
    let attempt = world.correlated("attempt_id");
    world.remote().add_run("rollback shop-f-1-a2", "main");
    assert!(why(world.follow(&attempt, None).await).starts_with("unknown:"));
    world.remote().list_status = Some(503);
    assert!(why(world.follow(&attempt, None).await).contains("503"));
    assert!(why(world.follow(&world.plain(), None).await).contains("correlation_input"));
    assert_eq!(world.accepted(), 0);
}

#[tokio::test]
async fn a_timeout_that_was_over_before_the_dispatch_dispatches_nothing() {
    let world = World::new().await;
    let (path, order) = world.plain();
    let stop = CancellationToken::new();
    stop.cancel();
    assert_eq!(path.start(&order, &no_place(), &mpsc::channel(8).0, stop).await, Outcome::TimedOut);
    assert_eq!(world.accepted(), 0);
}

#[tokio::test]
async fn the_parts_of_what_runs_have_their_names() {
    let world = World::new().await;
    let (_, parts) = path("github_actions", &world.config());
    let names: Vec<_> = parts.run.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["ref", "inputs.image_tag"]);
    assert_eq!(parts.leaves_behind, None);
}

#[tokio::test]
async fn mistakes_in_the_config_say_what_was_expected() {
    let world = World::new().await;
    let many: BTreeMap<String, &str> = (0..26).map(|index| (format!("input{index}"), "x")).collect();
    for (key, value, expected) in [
        ("api_url", json!("http://github.test"), "expected an https URL"),
        ("api_url", json!("https://user:hunter2@github.test"), "expected an https URL"),
        ("repo", json!("acme"), "owner/name"),
        ("repo", json!("acme/../x"), "owner/name"),
        ("workflow", json!(".github/workflows/deploy.yml"), "deploy.yml"),
        ("workflow", json!(null), "has no `workflow`"),
        ("ref", json!("{{ branch }}"), "unknown template variable"),
        ("inputs", json!(many), "25 inputs"),
        ("token_file", json!("hunter2"), "absolute path of the file that holds the token"),
        ("correlation_input", json!("image_tag"), "among `inputs` too"),
        ("poll_interval", json!("1ms"), "10ms at least"),
        ("api_version", json!("a b"), "2022-11-28"),
        ("api_ur", json!("x"), "did you mean `api_url`"),
    ] {
        let mut config = world.config();
        config[key] = value;
        let said = mistakes("github_actions", &config);
        assert!(said.contains(expected) && !said.contains("hunter2"), "{key}: {said}");
    }
}

#[tokio::test]
async fn the_reference_config_of_the_design_is_read() {
    let (_, parts) = path(
        "github_actions",
        &json!({
            "api_url": "https://api.github.com", "repo": "acme/capstone-api", "workflow": "deploy.yml", "ref": "main",
            "inputs": {"image_tag": "{{ target.version }}"}, "token_file": "/run/credentials/rollbackd.service/github",
        }),
    );
    assert_eq!(order(&parts, Duration::ZERO).run, ["main", "v41"]);
}
