//! The path `ecs`, against moto's server: a referee for signatures, for the wire format, and for the policy of
//! docs/paths/ecs.md.
//!
//! moto 5.2.5 does not know service deployments, and its deployments never change: a filter in front of it answers the
//! one with the error that ECS has for it, and shows the other as ECS would. Requests reach moto as they were signed.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::aws_model::moto_home;
use crate::world::{LONG, no_place, order, path, why};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use rollbackd_core::firing::Outcome;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// moto's server; it ends when its standard input is closed.
struct Moto {
    child: Child,
    stdin: Option<ChildStdin>,
    told: Value,
    dir: TempDir,
}

impl Moto {
    /// With a user who may do what this policy says.
    fn start(policy: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("policy.json"), policy).unwrap();
        let python = moto_home().join("bin/python");
        assert!(python.exists(), "moto is missing: run scripts/install-dependencies");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/paths/moto_server.py");
        let mut command = Command::new(python);
        command.arg(script).arg(dir.path().join("policy.json")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(std::fs::File::create(dir.path().join("log")).unwrap()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("moto did not start: {}", std::fs::read_to_string(dir.path().join("log")).unwrap())
        });
        Self { stdin: child.stdin.take(), child, told, dir }
    }

    /// What comes of an attempt with this secret key.
    async fn attempt(&self, secret_key: &str) -> (Outcome, Vec<String>) {
        let file = self.dir.path().join("aws");
        let key_id = self.told["key_id"].as_str().unwrap();
        let keys = format!("[default]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret_key}\n");
        std::fs::write(&file, keys).unwrap();
        let filter = Filter::start(self.told["url"].as_str().unwrap()).await;
        let config = json!({"region": "eu-central-1", "endpoint_url": filter.1, "cluster": "prod", "service": "shop",
            "credentials_file": file, "poll_interval": "10ms"});
        let (path, parts) = path("ecs", &config);
        let order = order(&parts, LONG);
        let outcome = path.start(&order, &no_place(), &mpsc::channel(8).0, CancellationToken::new()).await;
        (outcome, filter.0.asked.lock().unwrap().clone())
    }

    fn secret_key(&self) -> &str {
        self.told["secret_key"].as_str().unwrap()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.child.wait());
    }
}

#[derive(Clone)]
struct Filter {
    moto: String,
    client: reqwest::Client,
    /// Each operation, with the status and the error that moto answered.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Filter {
    async fn start(moto: &str) -> (Self, String) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let filter = Self { moto: moto.to_owned(), client, asked: Arc::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state(filter.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (filter, url)
    }
}

async fn pass(State(filter): State<Filter>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let target = parts.headers["x-amz-target"].to_str().unwrap();
    let operation = target.rsplit('.').next().unwrap().to_owned();
    if operation == "ListServiceDeployments" {
        let body = Json(json!({"__type": "UnsupportedFeatureException", "message": "moto does not know it"}));
        return (StatusCode::BAD_REQUEST, body).into_response();
    }
    let body = axum::body::to_bytes(body, 65536).await.unwrap();
    let url = format!("{}{}", filter.moto, parts.uri);
    // The header `host` goes along as it was signed.
    let answer = filter.client.post(url).headers(parts.headers).body(body).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    // moto writes such errors as XML, whatever the protocol.
    let code = text.split_once("<Code>").and_then(|(_, after)| after.split_once("</Code>")).map(|(code, _)| code);
    let asked = format!("{operation} {} {}", status.as_u16(), code.unwrap_or_default());
    filter.asked.lock().unwrap().push(asked.trim().to_owned());
    match serde_json::from_str(&text) {
        Ok(shown) if status.is_success() => Json(as_ecs_shows(shown)).into_response(),
        _ => (status, Body::from(text)).into_response(),
    }
}

/// The newest deployment is of the service's task definition, and has a name of its own.
fn as_ecs_shows(mut shown: Value) -> Value {
    let place = if shown["service"].is_object() { "/service" } else { "/services/0" };
    if let Some(service) = shown.pointer_mut(place) {
        let definition = service["taskDefinition"].clone();
        let revision = definition.as_str().unwrap().rsplit(':').next().unwrap().to_owned();
        let deployment = &mut service["deployments"][0];
        (deployment["taskDefinition"], deployment["id"]) = (definition, json!(format!("ecs-svc/{revision}")));
    }
    shown
}

/// The policy that docs/paths/ecs.md gives, for any resource: moto compares no others.
fn documented_policy() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/paths/ecs.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, block) = page.split_once("```json\n").unwrap();
    let mut policy: Value = serde_json::from_str(block.split_once("```").unwrap().0).unwrap();
    for statement in policy["Statement"].as_array_mut().unwrap() {
        statement["Resource"] = json!("*");
    }
    policy.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_takes_our_signature_and_the_documented_policy_is_enough() {
    let moto = Moto::start(&documented_policy());
    let (outcome, asked) = moto.attempt(moto.secret_key()).await;
    let output = "the service runs the task definition shop:1".to_owned();
    assert_eq!(outcome, Outcome::Succeeded { receipt: Some("ecs-svc/1".to_owned()), output }, "{asked:?}");
    assert_eq!(asked.iter().filter(|each| *each == "UpdateService 200").count(), 1, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_refuses_another_key_and_a_policy_without_the_update() {
    let moto = Moto::start(&documented_policy().replace("ecs:UpdateService", "ecs:ListServices"));
    let (outcome, asked) = moto.attempt("wrong").await;
    let wrong = why(outcome);
    assert!(wrong.contains("403") && wrong.ends_with("nothing ran") && !wrong.contains("wrong"), "{wrong}");
    assert_eq!(asked, ["DescribeServices 403 SignatureDoesNotMatch"]);
    let (outcome, asked) = moto.attempt(moto.secret_key()).await;
    let denied = why(outcome);
    assert!(denied.contains("403") && denied.ends_with("nothing ran"), "{denied}");
    assert!(asked.contains(&"UpdateService 403 AccessDenied".to_owned()), "{asked:?}");
}
