//! The path `github_actions` behind Prism, a proxy that checks each request and each answer against GitHub's own OpenAPI
//! description (tests/paths/prism/github.json).
//!
//! Prism keeps no state: behind it is the stand-in of github_actions.rs, whose answers are completed by the
//! description's own examples. Prism does not look at tokens.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::github_actions::{Look, World, done};
use crate::github_app::installed;
use crate::world::no_place;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use rollbackd::paths::{Progress, RollbackPath};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const DESCRIPTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/paths/prism/github.json");

/// Prism, in front of one server; it ends with this.
struct Prism {
    child: Child,
    url: String,
}

impl Prism {
    fn start(upstream: &str) -> Self {
        let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("prism");
        let program = home.join("node_modules/@stoplight/prism-cli/dist/index.js");
        assert!(program.exists(), "Prism is missing: run scripts/install-dependencies");
        let mut node = Command::new("node");
        node.arg(program).args(["proxy", "--errors", "--host", "127.0.0.1", "--port", "0", DESCRIPTION, upstream]);
        let mut child = node.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = |line: &String| line.split("listening on ").nth(1).map(|url| url.trim().to_owned());
        let url = lines.by_ref().find_map(|line| said(&line.unwrap())).expect("Prism starts");
        // What it goes on to say must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }
}

impl Drop for Prism {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// The stand-in that is behind Prism now.
type Behind = Arc<Mutex<String>>;

/// An example of the description's, with what the stand-in keeps in its place.
fn example(name: &str, kept: &Value) -> Value {
    let description: Value = serde_json::from_slice(&std::fs::read(DESCRIPTION).unwrap()).unwrap();
    let mut example = description["components"]["examples"][name]["value"].clone();
    assert!(example.is_object(), "the description has no example {name}");
    for (key, value) in kept.as_object().unwrap() {
        example[key] = value.clone();
    }
    example
}

/// An answer of the stand-in, as complete as GitHub's are.
fn complete(path: &str, body: &[u8]) -> Vec<u8> {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return b"{}".to_vec() };
    let complete = if path.ends_with("/runs") {
        let runs = body["workflow_runs"].as_array().unwrap().iter().map(|run| example("workflow-run", run));
        json!({"total_count": body["total_count"], "workflow_runs": runs.collect::<Vec<_>>()})
    } else if path.contains("/actions/runs/") {
        example("workflow-run", &body)
    } else {
        body
    };
    complete.to_string().into_bytes()
}

async fn pass(State(behind): State<Behind>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let base = behind.lock().unwrap().clone();
    let url = format!("{base}{}", parts.uri.to_string().trim_start_matches('/'));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut headers = parts.headers;
    headers.remove("host");
    headers.remove("accept-encoding");
    let answered = client.request(parts.method, url).headers(headers).body(body).send().await.unwrap();
    let status = answered.status();
    let body = answered.bytes().await.unwrap();
    let body = if status == 204 || !status.is_success() { body.to_vec() } else { complete(parts.uri.path(), &body) };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    if status != 204 {
        response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    }
    response
}

/// The same attempt, with Prism between.
fn by_way_of(prism: &Prism, config: &Value) -> (RollbackPath, Order) {
    let mut config = config.clone();
    config["api_url"] = json!(prism.url);
    let (path, parts) = crate::world::path("github_actions", &config);
    (path, crate::world::order(&parts, crate::world::LONG))
}

/// Whether Prism takes this body of a dispatch.
async fn is_taken(prism: &Prism, body: &Value) -> bool {
    let url = format!("{}/repos/acme/shop/actions/workflows/deploy.yml/dispatches", prism.url);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = client.post(url).header("content-type", "application/json").body(body.to_string());
    body.header("authorization", format!("Bearer {}", crate::contract::SECRET))
        .header("user-agent", "test")
        .header("x-github-api-version", "2022-11-28")
        .send()
        .await
        .unwrap()
        .status()
        .is_success()
}

/// One process is started for all of it: that takes the longest.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_of_github_is_as_its_own_description_says() {
    let behind: Behind = Arc::default();
    let router = Router::new().fallback(pass).with_state(Arc::clone(&behind));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let prism = tokio::task::spawn_blocking(move || Prism::start(&upstream)).await.unwrap();
    let place = |world: &World| world.url().clone_into(&mut behind.lock().unwrap());

    // It does check: a branch has to be named, and inputs are a mapping.
    let world = World::new().await;
    place(&world);
    assert!(is_taken(&prism, &json!({"ref": "main", "inputs": {}, "return_run_details": true})).await);
    assert!(!is_taken(&prism, &json!({"inputs": {}, "return_run_details": true})).await);
    assert!(!is_taken(&prism, &json!({"ref": "main", "inputs": "v41"})).await);

    // With a token in a file: the runs before are listed, one is started, its id told, and its states followed.
    let world = World::new().await;
    place(&world);
    let states = [("queued", None), ("waiting", None), ("in_progress", None), ("completed", Some("success"))];
    world.remote().looks = states.map(|(status, conclusion)| Look::Is(status, conclusion)).into();
    assert_eq!(world.start(&by_way_of(&prism, &world.config())).await, done(77));

    // With the token of an app.
    let (world, config) = installed().await;
    place(&world);
    assert_eq!(world.start(&by_way_of(&prism, &config)).await, done(77));

    // A run that outlasts the timeout is cancelled.
    let world = World::new().await;
    place(&world);
    world.remote().looks = [Look::Is("in_progress", None)].into();
    let (path, order) = by_way_of(&prism, &world.config());
    let (progress, mut told) = mpsc::channel(8);
    let stop = CancellationToken::new();
    let at = no_place();
    let start = path.start(&order, &at, &progress, stop.clone());
    let (outcome, ()) = tokio::join!(start, async {
        assert!(matches!(told.recv().await, Some(Progress::Started { .. })));
        stop.cancel();
    });
    assert_eq!(outcome, Outcome::TimedOut);
    assert_eq!(world.remote().cancels, 1);
}
