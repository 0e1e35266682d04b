//! The path `http`, against a stand-in of a deploy service that keeps jobs.
//!
//! There is no vendor: the stand-in's API is the one that docs/paths/http.md describes. It takes a job once for each
//! `Idempotency-Key`, as the IETF draft "The Idempotency-Key HTTP Header Field" has it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::contract::{Contract, SECRET, secret_file};
use crate::world::{Attempts, LONG, attempt, mistakes, no_place, order, path, serve, why};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use rollbackd::paths::{Progress, RollbackPath};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const ATTEMPT: &str = "shop-f-1-a1";

/// One request that asked for a job.
#[derive(Clone, Debug)]
struct Asked {
    method: String,
    uri: String,
    headers: HeaderMap,
    body: Value,
}

struct Service {
    asked: Vec<Asked>,
    /// The attempts by their jobs, of which the first is job-1.
    jobs: Vec<String>,
    /// What a request for a job is answered, where it is not the usual.
    answer: Option<(u16, Value)>,
    location: Option<String>,
    /// The states that looks show; the last one stays.
    looks: VecDeque<&'static str>,
}

type Shared = Arc<Mutex<Service>>;

fn lock(service: &Shared) -> MutexGuard<'_, Service> {
    service.lock().unwrap_or_else(PoisonError::into_inner)
}

fn status(status: u16, body: Value) -> Response {
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

fn create(service: &mut Service, asked: Asked) -> Response {
    let key = asked.headers["idempotency-key"].to_str().unwrap().to_owned();
    service.asked.push(asked);
    let number = service.jobs.iter().position(|known| known == &key).unwrap_or(service.jobs.len());
    if number == service.jobs.len() {
        service.jobs.push(key);
    }
    let number = number + 1;
    let (code, body) = service.answer.clone().unwrap_or_else(|| {
        (202, json!({"id": format!("job-{number}"), "number": number, "state": "accepted", "run": "run/7"}))
    });
    let mut response = status(code, body);
    if let Some(location) = &service.location {
        response.headers_mut().insert("location", location.parse().unwrap());
    }
    response
}

fn look(service: &mut Service) -> Response {
    let state = if service.looks.len() > 1 { service.looks.pop_front().unwrap() } else { service.looks[0] };
    status(200, json!({"state": state, "release": "r-41", "log": null}))
}

async fn answer(State(service): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts.headers["authorization"] != format!("Bearer {SECRET}") {
        return status(401, json!({"message": "who are you?"}));
    }
    let body = axum::body::to_bytes(body, 65536).await.unwrap();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let mut service = lock(&service);
    let (method, uri) = (parts.method.to_string(), parts.uri.to_string());
    let segments: Vec<&str> = parts.uri.path().split('/').skip(1).collect();
    match (method.as_str(), segments.as_slice()) {
        ("POST" | "PUT", ["sub", "services", _, "rollback"]) => {
            create(&mut service, Asked { method, uri, headers: parts.headers, body })
        }
        ("GET", ["sub", "jobs"]) => {
            let wanted = parts.uri.query().unwrap().strip_prefix("key=").unwrap();
            let known = service.jobs.iter().position(|key| key == wanted);
            let jobs: Vec<Value> = known.iter().map(|index| json!({"id": format!("job-{}", index + 1)})).collect();
            status(200, json!({"jobs": jobs}))
        }
        ("GET", ["sub", "by-key", key]) if service.jobs.iter().any(|known| known == key) => look(&mut service),
        ("GET", ["sub", "jobs", id]) if id.strip_prefix("job-").is_some() => look(&mut service),
        ("GET", _) => status(404, json!({"message": "no such job"})),
        other => panic!("a request that the service does not have: {other:?}"),
    }
}

pub(crate) const CONTRACT: Contract = Contract {
    kind: "http",
    platform: || Box::pin(async { World::new().await.url }),
    config,
    is_change: |seen| seen.method != "GET",
};

fn config(url: &str, dir: &Path) -> Value {
    json!({
        "url": format!("{url}services/{{{{ service }}}}/rollback?to={{{{ target.version }}}}"),
        "headers": {"X-Tenant": "shop", "X-Reason": "{{ firing.id }}"},
        "body": {"version": "{{ target.version }}", "why": "rollback of {{ service }}", "force": true, "tags": ["a", 2]},
        "bearer_token_file": secret_file(dir),
        "success": {"status": [202], "json": {"pointer": "/state", "is": ["accepted"]}},
        "poll": {
            "url": format!("{url}jobs/{{{{ handle }}}}"), "handle": "/id", "interval": "10ms",
            "done": {"pointer": "/state", "is": ["done"]},
            "failed": {"pointer": "/state", "is": ["failed", "rejected"]},
            "cancelled": {"pointer": "/state", "is": ["cancelled"]},
            "waits": {"pointer": "/state", "is": ["waiting"]},
        },
        "find": {"url": format!("{url}jobs?key={{{{ attempt.id }}}}"), "handle": "/jobs/0/id"},
    })
}

struct World {
    service: Shared,
    url: String,
    dir: TempDir,
    config: Value,
}

impl World {
    async fn new() -> Self {
        let service = Arc::new(Mutex::new(Service {
            asked: Vec::new(),
            jobs: Vec::new(),
            answer: None,
            location: None,
            looks: VecDeque::from(["queued", "running", "done"]),
        }));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&service));
        let url = format!("{}/sub/", serve(router).await);
        let dir = tempfile::tempdir().unwrap();
        let config = config(&url, dir.path());
        Self { service, url, dir, config }
    }

    /// Without a poll: the answer is the end.
    async fn answered(code: u16, body: Value) -> Self {
        let mut world = Self::new().await;
        lock(&world.service).answer = Some((code, body));
        let config = world.config.as_object_mut().unwrap();
        config.retain(|key, _| key != "poll" && key != "find");
        world
    }

    fn service(&self) -> MutexGuard<'_, Service> {
        lock(&self.service)
    }

    fn asked(&self) -> usize {
        self.service().asked.len()
    }
}

impl Attempts for World {
    fn attempt(&self) -> (RollbackPath, Order) {
        attempt("http", &self.config)
    }
}

fn done(receipt: &str, output: &str) -> Outcome {
    Outcome::Succeeded { receipt: Some(receipt.to_owned()), output: output.to_owned() }
}

#[tokio::test]
async fn the_request_is_sent_once_as_the_config_has_it_and_its_job_is_followed() {
    let world = World::new().await;
    assert_eq!(world.start().await, done("job-1", "/state is \"done\""));
    let asked = world.service().asked.clone();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].method.as_str(), asked[0].uri.as_str()), ("POST", "/sub/services/shop/rollback?to=v41"));
    assert_eq!(asked[0].body, json!({"version": "v41", "why": "rollback of shop", "force": true, "tags": ["a", 2]}));
    for (name, value) in [("idempotency-key", ATTEMPT), ("x-tenant", "shop"), ("x-reason", "shop-f-1")] {
        assert_eq!(asked[0].headers[name], value, "{name}");
    }
}

#[tokio::test]
async fn what_is_filled_in_changes_neither_the_place_nor_the_shape_of_the_request() {
    let world = World::new().await;
    let (path, mut order) = world.attempt();
    for value in order.run.iter_mut().skip(2) {
        *value = "a/../b?c=\"},{&%".to_owned();
    }
    let outcome = path.start(&order, &no_place(), &mpsc::channel(8).0, CancellationToken::new()).await;
    assert_eq!(outcome, done("job-1", "/state is \"done\""));
    let asked = world.service().asked.clone();
    let escaped = "a%2F..%2Fb%3Fc%3D%22%7D%2C%7B%26%25";
    assert_eq!(asked[0].uri, format!("/sub/services/{escaped}/rollback?to={escaped}"));
    assert_eq!(asked[0].body["version"], "a/../b?c=\"},{&%");
    assert_eq!(asked[0].body.as_object().unwrap().len(), 4);
}

#[tokio::test]
async fn a_header_that_would_break_the_request_is_not_sent() {
    let world = World::new().await;
    let (path, parts) = path("http", &world.config);
    let mut order = order(&parts, LONG);
    let reason = parts.run.iter().position(|part| part.name == "headers.X-Reason").unwrap();
    order.run[reason] = "x\r\nX-Admin: yes".to_owned();
    let outcome = path.start(&order, &no_place(), &mpsc::channel(8).0, CancellationToken::new()).await;
    assert!(why(outcome).ends_with("characters that none may have; nothing ran"));
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn each_state_of_the_job_is_told_from_the_others() {
    for (state, expected) in [
        ("failed", "failed: job-1 failed at the remote: /state is \"failed\""),
        ("rejected", "failed: job-1 failed at the remote: /state is \"rejected\""),
        ("cancelled", "cancelled: job-1 was cancelled at the remote: /state is \"cancelled\""),
    ] {
        let world = World::new().await;
        world.service().looks = VecDeque::from(["queued", "something new", state]);
        assert_eq!(why(world.start().await), expected);
        assert_eq!(world.asked(), 1);
    }
}

#[tokio::test]
async fn a_job_that_waits_for_a_person_is_told_once_and_followed_on() {
    let world = World::new().await;
    world.service().looks = VecDeque::from(["waiting", "waiting", "done"]);
    let (path, order) = world.attempt();
    let (progress, mut told) = mpsc::channel(8);
    path.start(&order, &no_place(), &progress, CancellationToken::new()).await;
    assert_eq!(told.try_recv(), Ok(Progress::Started { handle: "job-1".to_owned() }));
    assert!(matches!(told.try_recv(), Ok(Progress::Waits { why }) if why.starts_with("job-1 waits for a person")));
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_job_that_outlasts_the_timeout_is_left_to_itself_and_timed_out() {
    let world = World::new().await;
    world.service().looks = VecDeque::from(["running"]);
    assert_eq!(world.start_and_stop().await, Outcome::TimedOut);
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn without_a_poll_the_answer_is_the_end() {
    let mut world = World::answered(202, json!({"state": "accepted", "run": "run/7"})).await;
    assert_eq!(world.start().await, done(ATTEMPT, ""));
    world.config["receipt"] = json!("/run");
    assert_eq!(world.start().await, done("run/7", ""));
}

#[tokio::test]
async fn an_answer_that_is_no_success_fails_and_one_that_tells_nothing_is_unknown() {
    for (code, body, expected) in [
        (
            202,
            json!({"state": "refused"}),
            "failed: the remote did not do it: it answered 202, and /state is \"refused\"",
        ),
        (200, json!({"state": "accepted"}), "failed: the remote did not do it: it answered 200, which is no"),
        (
            202,
            json!({"ok": true}),
            "unknown: the request was taken without telling how: its answer has nothing at /state",
        ),
        (202, json!(null), "unknown: the request was taken without telling how"),
    ] {
        let world = World::answered(code, body).await;
        let why = why(world.start().await);
        assert!(why.starts_with(expected), "{why}");
        assert_eq!(world.asked(), 1);
    }
}

#[tokio::test]
async fn a_job_without_a_handle_in_the_answer_is_found_by_the_attempt() {
    let world = World::new().await;
    world.service().answer = Some((202, json!({"state": "accepted"})));
    assert_eq!(world.start().await, done("job-1", "/state is \"done\""));
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn a_poll_url_with_the_attempt_in_it_needs_no_handle() {
    let mut world = World::new().await;
    world.config.as_object_mut().unwrap().remove("find");
    let poll = world.config["poll"].as_object_mut().unwrap();
    poll.remove("handle");
    poll.insert("url".to_owned(), json!(format!("{}by-key/{{{{ attempt.id }}}}", world.url)));
    world.config["receipt"] = json!("/release");
    assert_eq!(world.start().await, done("r-41", "/state is \"done\""));
    assert_eq!(world.follow(None).await, done("r-41", "/state is \"done\""));
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn a_location_is_followed_on_the_same_server_alone() {
    let mut world = World::new().await;
    world.config.as_object_mut().unwrap().remove("find");
    let poll = world.config["poll"].as_object_mut().unwrap();
    poll.retain(|key, _| key != "handle" && key != "url");
    world.service().location = Some("../../jobs/job-1".to_owned());
    assert_eq!(world.start().await, done("/sub/jobs/job-1", "/state is \"done\""));
    assert_eq!(world.follow(Some("/sub/jobs/job-1")).await, done("/sub/jobs/job-1", "/state is \"done\""));
    for elsewhere in ["http://127.0.0.1:9/jobs/job-1", "//127.0.0.1:9/jobs/job-1"] {
        world.service().location = Some(elsewhere.to_owned());
        let why = why(world.start().await);
        assert!(why.starts_with("unknown:") && why.contains("another server"), "{why}");
    }
    assert!(why(world.follow(Some("//127.0.0.1:9/x")).await).contains("another server"));
}

#[tokio::test]
async fn after_a_crash_the_job_in_flight_is_found_and_none_is_asked_for() {
    let world = World::new().await;
    world.service().jobs = vec!["shop-f-1-a12".to_owned(), ATTEMPT.to_owned()];
    assert_eq!(world.follow(None).await, done("job-2", "/state is \"done\""));
    assert_eq!(world.follow(Some("job-2")).await, done("job-2", "/state is \"done\""));
    assert_eq!(world.asked(), 0);

    let world = World::answered(202, json!({"state": "accepted"})).await;
    let why = why(world.follow(None).await);
    assert!(why.starts_with("unknown:") && why.contains("without `poll`"), "{why}");
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn an_order_of_another_config_is_not_sent() {
    let world = World::new().await;
    let (path, mut order) = world.attempt();
    order.run.pop();
    let outcome = path.start(&order, &no_place(), &mpsc::channel(8).0, CancellationToken::new()).await;
    assert!(why(outcome).contains("which changed meanwhile; nothing ran"));
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn what_runs_is_shown_as_a_person_would_write_it() {
    let world = World::new().await;
    let (path, parts) = path("http", &world.config);
    let names: Vec<&str> = parts.run.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(parts.run[0].value.source(), "POST");
    assert_eq!(parts.run[1].value.source(), world.config["url"].as_str().unwrap());
    assert!(names.contains(&"body.version") && names.contains(&"body.tags.0"), "{names:?}");
    assert!(parts.leaves_behind.is_some());
    assert!(!format!("{path:?}").contains("rollback"), "{path:?}");
}

#[tokio::test]
async fn mistakes_in_the_config_say_what_was_expected() {
    let world = World::new().await;
    let other = "http://127.0.0.1:9/jobs";
    for (at, value, expected) in [
        ("/method", json!("GET"), "expected POST, PUT, PATCH or DELETE"),
        ("/url", json!("http://user:hunter2@h/"), "no user name or password"),
        ("/url", json!("http://{{ service }}/"), "never in the server"),
        ("/body", json!("version={{ target.version }}"), "as a mapping or a list"),
        ("/body", json!({"a": "{{ nothing }}"}), "unknown template variable"),
        ("/headers", json!({"Authorization": "Bearer hunter2"}), "can't be set here"),
        ("/headers", json!({"Idempotency-Key": "x"}), "can't be set here"),
        ("/headers", json!({"X-Y": "{{ nothing }}"}), "unknown template variable"),
        ("/success", json!({"status": [404]}), "from 200 to 299"),
        ("/success", json!({"json": {"pointer": "state", "is": ["x"]}}), "a JSON pointer such as /state"),
        ("/success", json!({"json": {"pointer": "/state", "is": []}}), "at least one value"),
        ("/poll/url", json!(format!("{other}/{{{{ handle }}}}")), "credentials go nowhere else"),
        ("/poll/url", json!(format!("{}jobs/last", world.url)), "`handle` needs a `poll.url`"),
        ("/poll/handle", json!(null), "needs a `handle`"),
        ("/poll/interval", json!("1ms"), "expected 10ms to"),
        ("/poll/waits", json!({"pointer": "/state", "is": ["done"]}), "\"done\" can't mean both done and waits"),
        ("/poll/done", json!(null), "has no `done`"),
        ("/poll", json!(null), "together with a `poll`"),
        ("/find/url", json!(format!("{}jobs?key=x", world.url)), "of another attempt"),
        ("/find/url", json!(format!("{other}?key={{{{ attempt.id }}}}")), "credentials go nowhere else"),
        ("/find/url", json!(format!("{}jobs/{{{{ handle }}}}", world.url)), "in `poll.url` alone"),
        ("/urll", json!("x"), "did you mean `url`"),
    ] {
        let mut config = world.config.clone();
        match config.pointer_mut(at) {
            Some(place) => *place = value,
            None => config[&at[1..]] = value,
        }
        let said = mistakes("http", &config);
        assert!(said.contains(expected) && !said.contains("hunter2"), "{at}: {said}");
    }
    assert!(world.dir.path().exists());
}
