//! The path `app_runner`, against a stand-in that updates a service as AWS App Runner does.
//!
//! Requests are checked against AWS' service model `apprunner/2020-05-15` (tests/paths/aws_model.rs). Answers and states:
//! "AWS App Runner API Reference".

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::aws_model;
use crate::contract::{Contract, SECRET};
use crate::ecs::credentials;
use crate::world::{Attempts, attempt, mistakes, now, serve, why, would_fail};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use rollbackd::paths::RollbackPath;
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use serde_json::{Value, json};
use tempfile::TempDir;

const SERVICE: &str = "arn:aws:apprunner:eu-central-1:123456789012:service/shop/8fe1e10304f84fd2b0df550fe98a71fa";
const REPOSITORY: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop";

struct Remote {
    model: Option<Value>,
    status: &'static str,
    source: Value,
    /// The newest last.
    operations: Vec<(String, &'static str, &'static str)>,
    /// How the newest operation ends, after this many looks.
    ends: &'static str,
    looks: usize,
    updates: Vec<Value>,
}

type Shared = Arc<Mutex<Remote>>;

impl Remote {
    fn new() -> Self {
        let source = json!({
            "ImageRepository": {"ImageIdentifier": format!("{REPOSITORY}:v42"), "ImageRepositoryType": "ECR",
                "ImageConfiguration": {"Port": "8080", "RuntimeEnvironmentVariables": {"MODE": "production"}}},
            "AutoDeploymentsEnabled": true,
            "AuthenticationConfiguration": {"AccessRoleArn": "arn:aws:iam::123456789012:role/pull"},
        });
        let operations = vec![("op-1".to_owned(), "CREATE_SERVICE", "SUCCEEDED")];
        let model = aws_model::load("apprunner/2020-05-15");
        Self { model, status: "RUNNING", source, operations, ends: "SUCCEEDED", looks: 3, updates: Vec::new() }
    }

    fn go_on(&mut self) {
        self.looks = self.looks.saturating_sub(1);
        let newest = self.operations.last_mut().unwrap();
        if self.looks == 0 && newest.2 == "IN_PROGRESS" {
            newest.2 = self.ends;
            self.status = "RUNNING";
        }
    }

    fn begin(&mut self, source: Value) -> Response {
        let id = format!("op-{}", self.operations.len() + 1);
        (self.status, self.source) = ("OPERATION_IN_PROGRESS", source);
        self.operations.push((id.clone(), "UPDATE_SERVICE", "IN_PROGRESS"));
        Json(json!({"OperationId": id, "Service": self.service()})).into_response()
    }

    fn service(&self) -> Value {
        json!({"ServiceName": "shop", "ServiceArn": SERVICE, "Status": self.status, "SourceConfiguration": self.source})
    }

    fn answer(&mut self, operation: &str, body: &Value) -> Response {
        if body["ServiceArn"] != SERVICE {
            return problem("ResourceNotFoundException");
        }
        match operation {
            "DescribeService" => {
                self.go_on();
                Json(json!({"Service": self.service()})).into_response()
            }
            "ListOperations" => {
                self.go_on();
                let shown = self.operations.iter().rev().map(|(id, kind, status)| {
                    json!({"Id": id, "Type": kind, "Status": status, "TargetArn": SERVICE,
                        "StartedAt": if *kind == "CREATE_SERVICE" { 1_700_000_000.0 } else { now().seconds() }})
                });
                Json(json!({"OperationSummaryList": shown.collect::<Vec<_>>()})).into_response()
            }
            "UpdateService" if self.status == "OPERATION_IN_PROGRESS" => problem("InvalidStateException"),
            "UpdateService" => {
                self.updates.push(body.clone());
                self.begin(body["SourceConfiguration"].clone())
            }
            other => panic!("the path has no use for {other}"),
        }
    }
}

fn problem(code: &str) -> Response {
    let body = Json(json!({"__type": code, "Message": "no, said the stand-in"}));
    (StatusCode::BAD_REQUEST, body).into_response()
}

async fn answer(State(remote): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers[name].to_str().unwrap().to_owned();
    let body: Value = serde_json::from_slice(&axum::body::to_bytes(body, 65536).await.unwrap()).unwrap();
    assert!(header("authorization").contains("/eu-central-1/apprunner/aws4_request"));
    let mut remote = remote.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(model) = &remote.model {
        aws_model::check(model, &header("x-amz-target"), &header("content-type"), &body);
    }
    remote.answer(header("x-amz-target").rsplit('.').next().unwrap(), &body)
}

pub(crate) const CONTRACT: Contract = Contract {
    kind: "app_runner",
    platform: || Box::pin(async { World::new().await.url }),
    config,
    is_change: |seen| seen.target.as_deref() == Some("AppRunner.UpdateService"),
};

fn config(url: &str, dir: &Path) -> Value {
    json!({
        "region": "eu-central-1", "endpoint_url": url, "service_arn": SERVICE,
        "credentials_file": credentials(dir, SECRET, "t0ken"), "poll_interval": "10ms",
    })
}

struct World {
    remote: Shared,
    url: String,
    dir: TempDir,
}

impl World {
    async fn new() -> Self {
        let remote = Arc::new(Mutex::new(Remote::new()));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&remote));
        let url = format!("{}/", serve(router).await);
        Self { remote, url, dir: tempfile::tempdir().unwrap() }
    }

    fn remote(&self) -> MutexGuard<'_, Remote> {
        self.remote.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempts for World {
    fn attempt(&self) -> (RollbackPath, Order) {
        attempt("app_runner", &config(&self.url, self.dir.path()))
    }
}

fn done(receipt: &str) -> Outcome {
    let output = format!("the service runs {REPOSITORY}:v41");
    Outcome::Succeeded { receipt: Some(receipt.to_owned()), output }
}

#[tokio::test]
async fn the_image_is_changed_once_with_all_settings_kept_and_automatic_deployments_off() {
    let world = World::new().await;
    let mut expected = world.remote().source.clone();
    expected["ImageRepository"]["ImageIdentifier"] = json!(format!("{REPOSITORY}:v41"));
    expected["AutoDeploymentsEnabled"] = json!(false);
    assert_eq!(world.start().await, done("op-2"));
    assert_eq!(world.remote().updates, [json!({"ServiceArn": SERVICE, "SourceConfiguration": expected})]);
    // What is there already is not asked for again.
    assert_eq!(world.start().await, done("op-2"));
    assert_eq!(world.remote().updates.len(), 1);
}

#[tokio::test]
async fn what_app_runner_works_on_is_waited_for_and_followed_where_it_is_the_target() {
    let world = World::new().await;
    let source = world.remote().source.clone();
    drop(world.remote().begin(source.clone()));
    assert_eq!(world.start().await, done("op-3"));
    assert_eq!(world.remote().updates.len(), 1);

    let world = World::new().await;
    let mut target = source;
    target["ImageRepository"]["ImageIdentifier"] = json!(format!("{REPOSITORY}:v41"));
    drop(world.remote().begin(target));
    assert_eq!(world.start().await, done("op-2"));
    assert_eq!(world.remote().updates.len(), 0);
}

#[tokio::test]
async fn only_an_operation_that_succeeded_is_a_rollback() {
    for (ends, expected) in [
        ("FAILED", "failed: the operation op-2 failed at App Runner"),
        ("ROLLBACK_SUCCEEDED", "failed: App Runner rolled the operation op-2 back"),
        ("ROLLBACK_FAILED", "failed: App Runner could not roll the operation op-2 back"),
    ] {
        let world = World::new().await;
        world.remote().ends = ends;
        let why = why(world.start().await);
        assert!(why.starts_with(expected), "{why}");
    }
}

#[tokio::test]
async fn after_a_crash_the_operation_in_flight_is_found_and_none_is_begun() {
    let world = World::new().await;
    assert_eq!(world.follow(None).await, Outcome::NeverStarted);
    let mut source = world.remote().source.clone();
    drop(world.remote().begin(source.clone()));
    assert!(why(world.follow(None).await).contains("op-2: it was rolled back, or somebody else's"));
    source["ImageRepository"]["ImageIdentifier"] = json!(format!("{REPOSITORY}:v41"));
    world.remote().looks = 5;
    drop(world.remote().begin(source));
    assert_eq!(world.follow(None).await, done("op-3"));
    assert_eq!(world.follow(Some("op-3")).await, done("op-3"));
    assert!(world.remote().updates.is_empty());
}

#[tokio::test]
async fn a_service_that_is_paused_or_built_from_code_is_refused() {
    let world = World::new().await;
    world.remote().status = "PAUSED";
    assert!(would_fail(&world.attempt()).await.contains("the service is PAUSED at App Runner"));
    assert!(why(world.start().await).contains("the service is PAUSED at App Runner"));
    world.remote().source = json!({"CodeRepository": {"RepositoryUrl": "https://git.test/shop"}});
    assert!(would_fail(&world.attempt()).await.contains("built from code"));
    assert!(why(world.start().await).contains("built from code"));
    assert!(world.remote().updates.is_empty());
}

#[tokio::test]
async fn mistakes_in_the_config_say_what_was_expected() {
    let world = World::new().await;
    for (key, value, expected) in [
        ("service_arn", json!("shop"), "expected the service's ARN"),
        ("region", json!("Frankfurt"), "expected an AWS region"),
        ("image", json!("x"), "unknown key `image`"),
    ] {
        let mut config = config(&world.url, world.dir.path());
        config[key] = value;
        let said = mistakes("app_runner", &config);
        assert!(said.contains(expected), "{key}: {said}");
    }
}
