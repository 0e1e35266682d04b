//! The path `gitlab`, against a stand-in that keeps pipelines as GitLab's API does.
//!
//! Shapes of requests and answers: docs.gitlab.com, "Pipelines API" (create, list, get one, its variables, cancel) and
//! "Pipeline trigger tokens API" (trigger a pipeline with a token).

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::contract::{Contract, SECRET, secret_file};
use crate::world::{Attempts, attempt, mistakes, no_place, serve, why};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use rollbackd::paths::{Progress, RollbackPath};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const PROJECT: &str = "/sub/api/v4/projects/acme%2Fshop";

/// The token that starts pipelines and does nothing else.
const TRIGGER_TOKEN: &str = "glptt-s3cret";

#[derive(Default)]
struct Remote {
    /// Bodies of requests that created a pipeline, the first of which is number 77.
    created: Vec<Value>,
    /// What the next requests to create one are answered, before any is taken.
    refusals: VecDeque<(u16, Option<&'static str>)>,
    /// The connection breaks when the pipeline has been created.
    breaks: bool,
    /// The statuses that looks show; the last one stays. A number is an answer of that status.
    looks: VecDeque<&'static str>,
    cancels: usize,
    list_status: Option<u16>,
    /// What the token may not see.
    variables_status: Option<u16>,
    /// The name of each pipeline.
    name: Option<&'static str>,
    by_trigger: bool,
}

type Shared = Arc<Mutex<Remote>>;

fn problem(status: u16, retry_after: Option<&'static str>) -> Response {
    let body = Json(json!({"message": {"base": ["no, said the stand-in"]}}));
    let mut answer = (StatusCode::from_u16(status).unwrap(), body).into_response();
    if let Some(seconds) = retry_after {
        answer.headers_mut().insert("retry-after", seconds.parse().unwrap());
    }
    answer
}

fn create(remote: &mut Remote, body: Value) -> Response {
    if let Some((status, retry_after)) = remote.refusals.pop_front() {
        return problem(status, retry_after);
    }
    remote.created.push(body);
    if remote.breaks {
        // Ends the connection's task without an answer, and without a panic message in the test's output.
        std::panic::resume_unwind(Box::new("the connection breaks"));
    }
    (StatusCode::CREATED, Json(shown(76 + remote.created.len(), "created"))).into_response()
}

/// The same by a trigger token: no other is looked at, and variables are a mapping.
fn trigger(remote: &mut Remote, mut body: Value) -> Response {
    if body["token"] != TRIGGER_TOKEN {
        return problem(404, None);
    }
    let named = body["variables"].as_object().unwrap().iter();
    let variables: Vec<Value> = named.map(|(key, value)| json!({"key": key, "value": value})).collect();
    body = json!({"ref": body["ref"], "variables": variables});
    remote.by_trigger = true;
    create(remote, body)
}

fn shown(id: usize, status: &str) -> Value {
    json!({"id": id, "iid": 1, "status": status, "ref": "main", "web_url": format!("https://gitlab.test/p/{id}")})
}

fn look(remote: &mut Remote, id: usize) -> Response {
    let status = if remote.looks.len() > 1 { remote.looks.pop_front().unwrap() } else { remote.looks[0] };
    match status.parse() {
        Ok(status) => problem(status, None),
        Err(_) => Json(shown(id, status)).into_response(),
    }
}

fn list(remote: &Remote, query: &str) -> Response {
    if let Some(status) = remote.list_status {
        return problem(status, None);
    }
    let source = match (remote.created.is_empty(), remote.by_trigger) {
        (true, _) => "source=",
        (false, true) => "source=trigger",
        (false, false) => "source=api",
    };
    for expected in ["ref=main&", source, "updated_after=20", "order_by=id", "sort=desc"] {
        assert!(query.contains(expected), "{query}");
    }
    let named = |id| {
        let mut shown = shown(id, "running");
        shown["name"] = json!(remote.name);
        shown
    };
    let all: Vec<Value> = (0..remote.created.len()).rev().map(|index| named(77 + index)).collect();
    Json(all).into_response()
}

async fn answer(State(remote): State<Shared>, request: Request) -> Response {
    let by_trigger = request.uri().path().ends_with("/trigger/pipeline");
    let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    // A token in the header is judged first, and one that may only read may not start anything.
    if authorization != (!by_trigger).then(|| format!("Bearer {SECRET}")) {
        return problem(401, None);
    }
    let (method, uri) = (request.method().to_string(), request.uri().clone());
    let body = axum::body::to_bytes(request.into_body(), 65536).await.unwrap();
    let tail = uri.path().strip_prefix(PROJECT).unwrap_or_else(|| panic!("a request to {uri}"));
    let segments: Vec<&str> = tail.split('/').skip(1).collect();
    let mut remote = remote.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let number = |id: &str| id.parse::<usize>().unwrap();
    match (method.as_str(), segments.as_slice()) {
        ("POST", ["pipeline"]) => create(&mut remote, serde_json::from_slice(&body).unwrap()),
        ("POST", ["trigger", "pipeline"]) => trigger(&mut remote, serde_json::from_slice(&body).unwrap()),
        ("GET", ["pipelines"]) => list(&remote, uri.query().unwrap()),
        ("GET", ["pipelines", id]) => look(&mut remote, number(id)),
        ("GET", ["pipelines", _, "variables"]) if remote.variables_status.is_some() => {
            problem(remote.variables_status.unwrap(), None)
        }
        ("GET", ["pipelines", id, "variables"]) => {
            Json(remote.created[number(id) - 77]["variables"].clone()).into_response()
        }
        ("POST", ["pipelines", _, "cancel"]) => {
            remote.cancels += 1;
            remote.looks = VecDeque::from(["canceling", "canceled"]);
            Json(shown(77, "canceling")).into_response()
        }
        other => panic!("a request that GitLab's API does not have: {other:?}"),
    }
}

pub(crate) const CONTRACT: Contract = Contract {
    kind: "gitlab",
    platform: || Box::pin(async { World::new().await.url }),
    config,
    is_change: |seen| seen.method == "POST",
};

fn config(url: &str, dir: &Path) -> Value {
    json!({
        "url": url, "project": "acme/shop", "ref": "main", "variables": {"IMAGE_TAG": "{{ target.version }}"},
        "bearer_token_file": secret_file(dir), "poll_interval": "10ms",
    })
}

/// The same promises where a trigger token starts the pipeline.
pub(crate) const TRIGGER_CONTRACT: Contract = Contract { config: trigger_config, ..CONTRACT };

fn trigger_config(url: &str, dir: &Path) -> Value {
    let file = dir.join("trigger");
    std::fs::write(&file, format!("{TRIGGER_TOKEN}\n")).unwrap();
    let mut config = config(url, dir);
    config["trigger_token_file"] = json!(file);
    config
}

struct World {
    remote: Shared,
    url: String,
    dir: TempDir,
}

impl World {
    async fn new() -> Self {
        let remote = Arc::new(Mutex::new(Remote {
            looks: VecDeque::from(["created", "pending", "running", "success"]),
            ..Remote::default()
        }));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&remote));
        let url = format!("{}/sub/", serve(router).await);
        let dir = tempfile::tempdir().unwrap();
        Self { remote, url, dir }
    }

    fn remote(&self) -> MutexGuard<'_, Remote> {
        self.remote.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn config(&self) -> Value {
        config(&self.url, self.dir.path())
    }

    /// Starts by a trigger token.
    async fn trigger(&self) -> Outcome {
        let (path, order) = attempt("gitlab", &trigger_config(&self.url, self.dir.path()));
        path.start(&order, &no_place(), &mpsc::channel(8).0, CancellationToken::new()).await
    }

    fn created(&self) -> usize {
        self.remote().created.len()
    }
}

impl Attempts for World {
    fn attempt(&self) -> (RollbackPath, Order) {
        attempt("gitlab", &self.config())
    }
}

fn done(id: u64) -> Outcome {
    Outcome::Succeeded { receipt: Some(id.to_string()), output: format!("https://gitlab.test/p/{id}") }
}

fn body(attempt: &str) -> Value {
    json!({"ref": "main", "variables": [
        {"key": "IMAGE_TAG", "value": "v41"}, {"key": "ROLLBACKD_ATTEMPT", "value": attempt},
    ]})
}

#[tokio::test]
async fn a_pipeline_is_created_once_and_followed_to_its_success() {
    let world = World::new().await;
    let (path, order) = world.attempt();
    let (progress, mut told) = mpsc::channel(8);
    assert_eq!(path.start(&order, &no_place(), &progress, CancellationToken::new()).await, done(77));
    assert_eq!(told.try_recv(), Ok(Progress::Started { handle: "77".to_owned() }));
    assert_eq!(world.remote().created, [body("shop-f-1-a1")]);
}

#[tokio::test]
async fn only_success_is_a_rollback() {
    for (status, expected) in [
        ("failed", "failed: pipeline 77 ended as failed: https://gitlab.test/p/77"),
        ("skipped", "failed: pipeline 77 ended as skipped: https://gitlab.test/p/77"),
        ("canceled", "cancelled: pipeline 77 was cancelled at GitLab: https://gitlab.test/p/77"),
    ] {
        let world = World::new().await;
        world.remote().looks = VecDeque::from(["running", status]);
        assert_eq!(why(world.start().await), expected);
    }
}

#[tokio::test]
async fn refusals_say_what_to_check_and_that_nothing_ran() {
    for (status, expected) in [
        (401, "has not expired"),
        (403, "has the scope api and may run pipelines of acme/shop"),
        (404, "that acme/shop exists"),
        (400, "no, said the stand-in"),
        (409, "may be given variables"),
        (422, "may be given variables"),
    ] {
        let world = World::new().await;
        world.remote().refusals.push_back((status, None));
        let why = why(world.start().await);
        assert!(why.starts_with("failed:") && why.contains(expected) && why.ends_with("nothing ran"), "{why}");
        assert!(!why.contains(SECRET), "{why}");
        assert_eq!(world.created(), 0);
    }
}

#[tokio::test]
async fn a_rate_limit_is_waited_out_or_fails_at_once_where_it_outlasts_the_timeout() {
    let world = World::new().await;
    world.remote().refusals.push_back((429, Some("1")));
    assert_eq!(world.start().await, done(77));
    assert_eq!(world.created(), 1);

    let world = World::new().await;
    world.remote().refusals.push_back((429, Some("3600")));
    assert!(why(world.start().await).ends_with("nothing ran"));
    assert_eq!(world.created(), 0);
}

#[tokio::test]
async fn a_pipeline_whose_answer_is_lost_is_found_by_its_variable_and_not_created_again() {
    let world = World::new().await;
    world.remote().created.push(body("shop-f-1-a12"));
    world.remote().breaks = true;
    assert_eq!(world.start().await, done(78));
    assert_eq!(world.created(), 2);
}

#[tokio::test]
async fn a_failure_at_gitlabs_side_is_looked_up_and_unknown_where_nothing_is_found() {
    let world = World::new().await;
    world.remote().refusals.push_back((502, None));
    let why = why(world.start().await);
    assert!(why.starts_with("unknown:") && why.contains("502"), "{why}");
    assert_eq!(world.created(), 0);
}

#[tokio::test]
async fn a_pipeline_is_followed_through_faults() {
    let world = World::new().await;
    world.remote().looks = VecDeque::from(["500", "404", "401", "something_new", "success"]);
    assert_eq!(world.start().await, done(77));
}

#[tokio::test]
async fn a_pipeline_that_waits_for_a_person_is_told_once_and_followed_on() {
    let world = World::new().await;
    world.remote().looks = VecDeque::from(["manual", "manual", "running", "success"]);
    let (path, order) = world.attempt();
    let (progress, mut told) = mpsc::channel(8);
    assert_eq!(path.start(&order, &no_place(), &progress, CancellationToken::new()).await, done(77));
    assert!(matches!(told.try_recv(), Ok(Progress::Started { .. })));
    assert!(matches!(told.try_recv(), Ok(Progress::Waits { why }) if why.contains("https://gitlab.test/p/77")));
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_pipeline_that_outlasts_the_timeout_is_cancelled() {
    let world = World::new().await;
    world.remote().looks = VecDeque::from(["running"]);
    assert_eq!(world.start_and_stop().await, Outcome::TimedOut);
    assert_eq!(world.remote().cancels, 1);
}

#[tokio::test]
async fn after_a_crash_the_pipeline_in_flight_is_found_and_none_is_created() {
    let world = World::new().await;
    world.remote().created.push(body("shop-f-1-a1"));
    assert_eq!(world.follow(Some("77")).await, done(77));
    assert_eq!(world.follow(None).await, done(77));
    assert_eq!(world.created(), 1);

    let world = World::new().await;
    world.remote().created.push(body("shop-f-1-a2"));
    assert!(why(world.follow(None).await).starts_with("unknown:"));
    world.remote().list_status = Some(503);
    assert!(why(world.follow(None).await).contains("503"));
    assert_eq!(world.created(), 1);
}

#[tokio::test]
async fn a_trigger_token_starts_the_pipeline_and_the_other_token_follows_it() {
    let world = World::new().await;
    assert_eq!(world.trigger().await, done(77));
    assert!(world.remote().by_trigger);
    assert_eq!(world.remote().created, [body("shop-f-1-a1")]);
}

#[tokio::test]
async fn a_pipeline_by_a_trigger_token_is_found_again_and_no_second_one_is_started() {
    let world = World::new().await;
    world.remote().breaks = true;
    assert_eq!(world.trigger().await, done(77));
    assert_eq!(world.created(), 1);

    // By the name that `workflow: name` gives it, where the token may not see variables.
    for (name, is_found) in [("rollback shop-f-1-a1", true), ("rollback shop-f-1-a11", false)] {
        let world = World::new().await;
        world.remote().breaks = true;
        world.remote().variables_status = Some(403);
        world.remote().name = Some(name);
        let outcome = world.trigger().await;
        if is_found {
            assert_eq!(outcome, done(77));
        } else {
            let why = why(outcome);
            assert!(why.starts_with("unknown:") && why.contains("`workflow: name`"), "{why}");
        }
        assert_eq!(world.created(), 1);
    }
}

#[tokio::test]
async fn a_trigger_token_that_is_refused_says_what_to_check_and_that_nothing_ran() {
    for (status, expected) in [
        (401, "that its owner may run pipelines of main"),
        (403, "is of acme/shop"),
        (404, "is of acme/shop"),
        (400, "a pipeline for the source `trigger`"),
    ] {
        let world = World::new().await;
        world.remote().refusals.push_back((status, None));
        let why = why(world.trigger().await);
        assert!(why.contains(expected) && why.ends_with("nothing ran"), "{why}");
        assert!(!why.contains(TRIGGER_TOKEN) && !why.contains(SECRET), "{why}");
        assert_eq!(world.created(), 0);
    }
    let world = World::new().await;
    let config = trigger_config(&world.url, world.dir.path());
    std::fs::remove_file(world.dir.path().join("trigger")).unwrap();
    let (path, order) = attempt("gitlab", &config);
    let outcome = path.start(&order, &no_place(), &mpsc::channel(8).0, CancellationToken::new()).await;
    assert!(why(outcome).contains("could not read the trigger token file"));
}

#[tokio::test]
async fn a_trigger_token_alone_is_not_enough_and_the_config_says_for_what() {
    let world = World::new().await;
    let mut config = trigger_config(&world.url, world.dir.path());
    config.as_object_mut().unwrap().remove("bearer_token_file");
    let said = mistakes("gitlab", &config);
    assert!(said.contains("starts pipelines and can't look at them") && said.contains("`read_api`"), "{said}");
    config["trigger_token_file"] = json!("glptt-hunter2");
    let said = mistakes("gitlab", &config);
    assert!(said.contains("holds the trigger token") && !said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn mistakes_in_the_config_say_what_was_expected() {
    let world = World::new().await;
    for (key, value, expected) in [
        ("url", json!("https://user:hunter2@gitlab.test"), "no user name or password"),
        ("project", json!("shop"), "group/name"),
        ("project", json!("acme/../shop"), "group/name"),
        ("ref", json!("{{ branch }}"), "unknown template variable"),
        ("variables", json!({"ROLLBACKD_ATTEMPT": "x"}), "leave it out"),
        ("variables", json!({"a b": "x"}), "letters, digits and _"),
        ("bearer_token_file", json!(null), "has no `bearer_token_file`"),
        ("poll_interval", json!("1ms"), "expected 10ms to"),
        ("projekt", json!("x"), "did you mean `project`"),
    ] {
        let mut config = world.config();
        config[key] = value;
        let said = mistakes("gitlab", &config);
        assert!(said.contains(expected) && !said.contains("hunter2"), "{key}: {said}");
    }
}
