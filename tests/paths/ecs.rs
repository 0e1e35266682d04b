//! The path `ecs`, against a stand-in that deploys a service as Amazon ECS does.
//!
//! Requests are checked against AWS' service model `ecs/2014-11-13` (tests/paths/aws_model.rs). Answers and states: "Amazon
//! ECS API Reference", and "View service history using Amazon ECS service deployments". Signatures: tests/paths/moto.rs.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::aws_model;
use crate::contract::{Contract, SECRET};
use crate::world::{LONG, mistakes, no_place, now, order, path, why};
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

const ARN: &str = "arn:aws:ecs:eu-central-1:123456789012";

/// One service deployment, from its beginning to its end.
#[derive(Clone)]
struct Rollout {
    number: usize,
    /// The revision of the task definition `shop` that it deploys.
    to: u32,
    status: &'static str,
    created_at: f64,
    /// Whether ECS' circuit breaker ended it.
    triggered: bool,
}

/// How the newest service deployment ends.
#[derive(Clone, Copy)]
enum Ends {
    Well,
    /// The circuit breaker gives up, without going back.
    GivenUp,
    /// The circuit breaker goes back.
    RolledBack,
    /// Somebody deploys this revision instead.
    Replaced(u32),
    /// It never does.
    Never,
}

struct Remote {
    model: Option<Value>,
    rollouts: Vec<Rollout>,
    /// The task definitions: revision, image, status.
    definitions: BTreeMap<u32, (&'static str, &'static str)>,
    controller: &'static str,
    /// Whether ECS keeps the story of service deployments.
    keeps_story: bool,
    /// Whether deployments show their `rolloutState`.
    shows_state: bool,
    ends: Ends,
    /// How many looks a deployment takes.
    looks: usize,
    /// How many looks at the service show it as it was before its newest deployment.
    lags: usize,
    /// A person has to continue it at the first look.
    pauses: bool,
    /// What the next request of an operation is answered: status, error, `Retry-After`.
    faults: VecDeque<(&'static str, u16, &'static str)>,
    requests: Vec<(String, Value)>,
    key: Option<String>,
}

type Shared = Arc<Mutex<Remote>>;

fn rollout(number: usize, to: u32, status: &'static str) -> Rollout {
    let hours = u32::try_from(10 - number.min(9)).unwrap();
    Rollout { number, to, status, created_at: now().seconds() - 3600.0 * f64::from(hours), triggered: false }
}

impl Remote {
    /// Revision 7 with v41 served, then 8; 9 with v42 serves. Revision 10 has v41 too and never served.
    fn new() -> Self {
        let definitions = [
            (7, ("registry.test:5000/shop:v41", "ACTIVE")),
            (8, ("registry.test:5000/shop:v41-hotfix", "ACTIVE")),
            (9, ("registry.test:5000/shop:v42", "ACTIVE")),
            (10, ("registry.test:5000/shop:v41", "ACTIVE")),
        ];
        Self {
            model: aws_model::load("ecs/2014-11-13"),
            rollouts: vec![rollout(1, 7, "SUCCESSFUL"), rollout(2, 8, "SUCCESSFUL"), rollout(3, 9, "SUCCESSFUL")],
            definitions: BTreeMap::from(definitions),
            controller: "ECS",
            keeps_story: true,
            shows_state: true,
            ends: Ends::Well,
            looks: 3,
            lags: 0,
            pauses: false,
            faults: VecDeque::new(),
            requests: Vec::new(),
            key: None,
        }
    }

    fn newest(&mut self) -> &mut Rollout {
        self.rollouts.last_mut().unwrap()
    }

    /// What ran before the newest.
    fn before(&self) -> &Rollout {
        let earlier = self.rollouts.iter().rev().skip(1);
        earlier.into_iter().find(|each| each.status == "SUCCESSFUL").unwrap()
    }

    fn begin(&mut self, to: u32) {
        let number = self.rollouts.len() + 1;
        if self.newest().status == "IN_PROGRESS" {
            self.newest().status = "STOPPED";
        }
        self.rollouts.push(Rollout { created_at: now().seconds(), ..rollout(number, to, "IN_PROGRESS") });
    }

    /// One look more has passed.
    fn go_on(&mut self) {
        let ends = self.ends;
        self.looks = self.looks.saturating_sub(1);
        let over = self.looks == 0;
        let newest = self.newest();
        match (newest.status, ends) {
            ("PENDING", _) => newest.status = "IN_PROGRESS",
            ("ROLLBACK_REQUESTED", _) => newest.status = "ROLLBACK_IN_PROGRESS",
            ("ROLLBACK_IN_PROGRESS", _) if over => newest.status = "ROLLBACK_SUCCESSFUL",
            ("IN_PROGRESS", Ends::Well) if over => newest.status = "SUCCESSFUL",
            ("IN_PROGRESS", Ends::GivenUp) if over => (newest.status, newest.triggered) = ("STOPPED", true),
            ("IN_PROGRESS", Ends::RolledBack) if over => {
                (newest.status, newest.triggered) = ("ROLLBACK_SUCCESSFUL", true)
            }
            ("IN_PROGRESS", Ends::Replaced(by)) if over => {
                self.ends = Ends::Well;
                self.begin(by);
            }
            _ => {}
        }
    }

    fn deployments(&mut self) -> Value {
        let newest = self.newest().clone();
        let shown = |rollout: &Rollout, status: &str, state: &str| {
            let mut shown = json!({
                "id": format!("ecs-svc/{}", rollout.number), "status": status, "taskDefinition": definition(rollout.to),
                "createdAt": rollout.created_at, "desiredCount": 2, "runningCount": 2, "pendingCount": 0, "failedTasks": 0,
            });
            if self.shows_state {
                shown["rolloutState"] = json!(state);
                shown["rolloutStateReason"] = json!(format!("ECS deployment ecs-svc/{} is {state}.", rollout.number));
            }
            shown
        };
        match (newest.status, newest.triggered) {
            ("SUCCESSFUL", _) => json!([shown(&newest, "PRIMARY", "COMPLETED")]),
            ("STOPPED", _) => json!([shown(&newest, "PRIMARY", "FAILED"), shown(self.before(), "ACTIVE", "COMPLETED")]),
            ("ROLLBACK_SUCCESSFUL", _) => json!([shown(self.before(), "PRIMARY", "COMPLETED")]),
            ("ROLLBACK_REQUESTED" | "ROLLBACK_IN_PROGRESS", _) => {
                json!([shown(self.before(), "PRIMARY", "IN_PROGRESS"), shown(&newest, "ACTIVE", "FAILED")])
            }
            _ => json!([shown(&newest, "PRIMARY", "IN_PROGRESS"), shown(self.before(), "ACTIVE", "COMPLETED")]),
        }
    }

    fn service(&mut self) -> Value {
        let deployments = self.deployments();
        json!({
            "serviceName": "shop", "status": "ACTIVE", "taskDefinition": deployments[0]["taskDefinition"],
            "deploymentController": {"type": self.controller}, "desiredCount": 2, "runningCount": 2, "pendingCount": 0,
            "deployments": deployments,
        })
    }

    /// Whether this look does not show the newest deployment, which we began.
    fn is_behind(&mut self) -> bool {
        let behind = self.lags > 0 && self.requests.iter().any(|(operation, _)| operation == "UpdateService");
        self.lags -= usize::from(behind);
        behind
    }

    fn as_it_was<T>(&mut self, show: impl FnOnce(&mut Self) -> T) -> T {
        let newest = self.rollouts.pop().unwrap();
        let shown = show(self);
        self.rollouts.push(newest);
        shown
    }

    fn service_deployment(&self, rollout: &Rollout) -> Value {
        let mut shown = json!({
            "serviceDeploymentArn": story_arn(rollout.number), "status": rollout.status, "createdAt": rollout.created_at,
            "targetServiceRevision": {"arn": revision_arn(rollout.number), "requestedTaskCount": 2},
            "deploymentCircuitBreaker": {"status": if rollout.triggered { "TRIGGERED" } else { "MONITORING" }},
        });
        let source = self.rollouts.iter().rev().skip_while(|each| each.number >= rollout.number);
        if let Some(source) = source.into_iter().find(|each| each.status == "SUCCESSFUL") {
            shown["sourceServiceRevisions"] = json!([{"arn": revision_arn(source.number)}]);
            if rollout.status.starts_with("ROLLBACK_") && rollout.status != "ROLLBACK_REQUESTED" {
                let reason = "Service deployment rolled back because of a test.";
                shown["rollback"] = json!({"reason": reason, "serviceRevisionArn": revision_arn(source.number)});
            }
        }
        if self.pauses {
            shown["lifecycleHookDetails"] =
                json!([{"hookId": "h", "targetType": "PAUSE", "status": "AWAITING_ACTION"}]);
        }
        shown
    }

    fn definition(&self, name: &str) -> Response {
        let name = name.rsplit('/').next().unwrap();
        let (family, revision) = name.rsplit_once(':').unwrap();
        let found = revision.parse().ok().and_then(|revision: u32| self.definitions.get(&revision));
        let Some((image, status)) = found else { return problem(400, "ClientException", "") };
        let arn = format!("{ARN}:task-definition/{family}:{revision}");
        let containers = json!([{"name": "app", "image": image}, {"name": "proxy", "image": "envoy:v9"}]);
        let definition = json!({"taskDefinitionArn": arn, "family": family, "status": status,
            "containerDefinitions": containers});
        Json(json!({"taskDefinition": definition})).into_response()
    }

    fn revision(&self, arn: &str) -> Option<Value> {
        let rollout = self.rollouts.iter().find(|each| revision_arn(each.number) == arn)?;
        let image = self.definitions[&rollout.to].0;
        Some(json!({"serviceRevisionArn": arn, "taskDefinition": definition(rollout.to), "containerImages": [
            {"containerName": "app", "image": image, "imageDigest": format!("sha256:{}", rollout.to)},
        ]}))
    }

    fn story(&mut self, body: &Value) -> Response {
        if !self.keeps_story {
            return problem(400, "UnsupportedFeatureException", "");
        }
        let states = body["status"].as_array();
        let wanted = |each: &&Rollout| states.is_none_or(|states| states.iter().any(|state| state == each.status));
        let listed: Vec<Value> = self
            .rollouts
            .iter()
            .filter(wanted)
            .map(|each| {
                json!({
                    "serviceDeploymentArn": story_arn(each.number), "status": each.status, "createdAt": each.created_at,
                    "targetServiceRevisionArn": revision_arn(each.number),
                })
            })
            .collect();
        Json(json!({"serviceDeployments": listed})).into_response()
    }

    fn stop(&mut self, body: &Value) -> Response {
        let newest = self.newest();
        assert_eq!(body["serviceDeploymentArn"], story_arn(newest.number));
        if !matches!(newest.status, "PENDING" | "IN_PROGRESS") {
            return problem(400, "ConflictException", "");
        }
        newest.status = "ROLLBACK_REQUESTED";
        Json(json!({"serviceDeploymentArn": story_arn(newest.number)})).into_response()
    }

    fn update(&mut self, body: &Value) -> Response {
        let (_, revision) = body["taskDefinition"].as_str().unwrap().rsplit_once(':').unwrap();
        self.begin(revision.parse().unwrap());
        Json(json!({"service": self.service()})).into_response()
    }

    fn answer(&mut self, operation: &str, body: &Value) -> Response {
        match operation {
            "DescribeServices" if body["services"] == json!(["shop"]) && body["cluster"] == "prod" => {
                self.go_on();
                let services = if self.is_behind() { self.as_it_was(Self::service) } else { self.service() };
                Json(json!({"services": [services], "failures": []})).into_response()
            }
            "DescribeServices" => {
                Json(json!({"services": [], "failures": [{"arn": "x", "reason": "MISSING"}]})).into_response()
            }
            "ListServiceDeployments" if self.is_behind() => self.as_it_was(|remote| remote.story(body)),
            "ListServiceDeployments" => self.story(body),
            "DescribeServiceDeployments" => {
                self.go_on();
                let asked = body["serviceDeploymentArns"][0].as_str().unwrap();
                let found = self.rollouts.iter().find(|each| story_arn(each.number) == asked).cloned().unwrap();
                let shown = self.service_deployment(&found);
                self.pauses = false;
                Json(json!({"serviceDeployments": [shown]})).into_response()
            }
            "DescribeServiceRevisions" => {
                let arns = body["serviceRevisionArns"].as_array().unwrap();
                assert!(arns.len() <= 20, "at most 20");
                let found: Vec<Value> = arns.iter().filter_map(|arn| self.revision(arn.as_str().unwrap())).collect();
                Json(json!({"serviceRevisions": found, "failures": []})).into_response()
            }
            "ListTaskDefinitions" => {
                assert_eq!((&body["familyPrefix"], &body["sort"]), (&json!("shop"), &json!("DESC")));
                let active = self.definitions.iter().rev().filter(|(_, (_, status))| *status == "ACTIVE");
                let arns: Vec<String> = active.map(|(revision, _)| definition(*revision)).collect();
                Json(json!({"taskDefinitionArns": arns})).into_response()
            }
            "DescribeTaskDefinition" => self.definition(body["taskDefinition"].as_str().unwrap()),
            "UpdateService" => self.update(body),
            "StopServiceDeployment" => self.stop(body),
            other => panic!("the path has no use for {other}"),
        }
    }

    fn changes(&self) -> Vec<(String, Value)> {
        self.requests.iter().filter(|(operation, _)| changes(operation)).cloned().collect()
    }
}

fn changes(operation: &str) -> bool {
    operation.ends_with("UpdateService") || operation.ends_with("StopServiceDeployment")
}

fn definition(revision: u32) -> String {
    format!("{ARN}:task-definition/shop:{revision}")
}

fn story_arn(number: usize) -> String {
    format!("{ARN}:service-deployment/prod/shop/d{number}")
}

fn revision_arn(number: usize) -> String {
    format!("{ARN}:service-revision/prod/shop/{number}")
}

/// An error as the JSON protocol has it.
fn problem(status: u16, code: &str, retry_after: &str) -> Response {
    let body = Json(json!({"__type": format!("com.amazonaws.ecs#{code}"), "message": "no, said the stand-in"}));
    let mut answer = (StatusCode::from_u16(status).unwrap(), body).into_response();
    if !retry_after.is_empty() {
        answer.headers_mut().insert("retry-after", retry_after.parse().unwrap());
    }
    answer
}

async fn answer(State(remote): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers[name].to_str().unwrap().to_owned();
    let body: Value = serde_json::from_slice(&axum::body::to_bytes(body, 65536).await.unwrap()).unwrap();
    let signed = header("authorization");
    assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{signed}");
    assert!(signed.contains("/eu-central-1/ecs/aws4_request, SignedHeaders=content-type;host;x-amz-date;"), "{signed}");
    let mut remote = remote.lock().unwrap_or_else(PoisonError::into_inner);
    let target = header("x-amz-target");
    if let Some(model) = &remote.model {
        aws_model::check(model, &target, &header("content-type"), &body);
    }
    if remote.key.as_ref().is_some_and(|key| *key != header("x-amz-security-token")) {
        return problem(400, "ExpiredTokenException", "");
    }
    let operation = target.rsplit('.').next().unwrap();
    if let Some((_, status, code)) = remote.faults.pop_front_if(|(about, ..)| *about == operation) {
        return problem(status, code, if status == 429 { "1" } else { "" });
    }
    remote.requests.push((operation.to_owned(), body.clone()));
    remote.answer(operation, &body)
}

pub(crate) const CONTRACT: Contract = Contract {
    kind: "ecs",
    platform: || Box::pin(async { World::new().await.url }),
    config,
    is_change: |seen| seen.target.as_deref().is_some_and(changes),
};

fn config(url: &str, dir: &Path) -> Value {
    json!({
        "region": "eu-central-1", "endpoint_url": url, "cluster": "prod", "service": "shop",
        "credentials_file": credentials(dir, SECRET, "t0ken"), "poll_interval": "10ms",
    })
}

pub(crate) fn credentials(dir: &Path, secret: &str, token: &str) -> std::path::PathBuf {
    let file = dir.join("aws");
    let keys =
        format!("aws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {secret}\naws_session_token = {token}\n");
    std::fs::write(&file, format!("[default]\n{keys}")).unwrap();
    file
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
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { remote, url, dir: tempfile::tempdir().unwrap() }
    }

    /// A world in which the bad version is being deployed, over this revision.
    async fn deploying(over: u32) -> Self {
        let world = Self::new().await;
        let mut bad = rollout(4, 9, "IN_PROGRESS");
        bad.created_at = now().seconds() - 120.0;
        world.remote().rollouts =
            vec![rollout(1, 7, "SUCCESSFUL"), rollout(2, 8, "SUCCESSFUL"), rollout(3, over, "SUCCESSFUL"), bad];
        world
    }

    fn remote(&self) -> MutexGuard<'_, Remote> {
        self.remote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempt(&self, config: &Value) -> (RollbackPath, Order) {
        let (path, parts) = path("ecs", config);
        (path, order(&parts, LONG))
    }

    async fn start_with(&self, config: &Value) -> Outcome {
        let (path, order) = self.attempt(config);
        path.start(&order, &no_place(), &mpsc::channel(8).0, CancellationToken::new()).await
    }

    async fn start(&self) -> Outcome {
        self.start_with(&config(&self.url, self.dir.path())).await
    }

    async fn follow(&self, handle: Option<&str>) -> Outcome {
        let (path, order) = self.attempt(&config(&self.url, self.dir.path()));
        path.follow(&order, handle, &no_place(), &mpsc::channel(8).0, CancellationToken::new()).await
    }

    fn changes(&self) -> Vec<(String, Value)> {
        self.remote().changes()
    }
}

fn done(receipt: &str) -> Outcome {
    let output = "the service runs the task definition shop:7".to_owned();
    Outcome::Succeeded { receipt: Some(receipt.to_owned()), output }
}

fn updated() -> Vec<(String, Value)> {
    let body = json!({"cluster": "prod", "service": "shop", "taskDefinition": definition(7)});
    vec![("UpdateService".to_owned(), body)]
}

#[tokio::test]
async fn the_service_is_updated_once_to_what_served_the_target_and_not_to_the_one_before() {
    let world = World::new().await;
    assert_eq!(world.start().await, done("ecs-svc/4"));
    assert_eq!(world.changes(), updated());
}

#[tokio::test]
async fn a_deployment_in_progress_is_stopped_where_ecs_goes_back_to_the_target_then() {
    let world = World::deploying(7).await;
    world.remote().ends = Ends::Never;
    assert_eq!(world.start().await, done(&story_arn(4)));
    let body = json!({"serviceDeploymentArn": story_arn(4), "stopType": "ROLLBACK"});
    assert_eq!(world.changes(), [("StopServiceDeployment".to_owned(), body)]);
}

#[tokio::test]
async fn a_deployment_in_progress_is_replaced_where_ecs_would_go_back_elsewhere() {
    let world = World::deploying(8).await;
    world.remote().ends = Ends::Never;
    let (path, order) = world.attempt(&config(&world.url, world.dir.path()));
    let (progress, mut told) = mpsc::channel(8);
    let place = no_place();
    let (outcome, ()) = tokio::join!(path.start(&order, &place, &progress, CancellationToken::new()), async {
        told.recv().await.unwrap();
        world.remote().ends = Ends::Well;
    });
    assert_eq!(outcome, done("ecs-svc/5"));
    assert_eq!(world.changes(), updated());
}

#[tokio::test]
async fn a_stop_that_comes_too_late_is_looked_at_again() {
    let world = World::deploying(7).await;
    world.remote().ends = Ends::Never;
    world.remote().faults.push_back(("StopServiceDeployment", 400, "ConflictException"));
    assert_eq!(world.start().await, done(&story_arn(4)));
    assert_eq!(world.changes().len(), 1);
}

#[tokio::test]
async fn the_circuit_breaker_on_its_way_to_the_target_is_followed_and_nothing_is_begun_beside_it() {
    let world = World::deploying(7).await;
    world.remote().newest().status = "ROLLBACK_IN_PROGRESS";
    world.remote().looks = 6;
    assert_eq!(world.start().await, done(&story_arn(4)));

    let over = World::deploying(7).await;
    over.remote().newest().status = "ROLLBACK_SUCCESSFUL";
    assert_eq!(over.start().await, done("ecs-svc/3"));

    // Where ECS keeps no story, its deployments tell the same.
    let silent = World::deploying(7).await;
    silent.remote().newest().status = "ROLLBACK_IN_PROGRESS";
    silent.remote().keeps_story = false;
    silent.remote().definitions.remove(&10);
    assert_eq!(silent.start().await, done("ecs-svc/3"));
    for world in [world, over, silent] {
        assert_eq!(world.changes(), []);
    }
}

#[tokio::test]
async fn what_ecs_gives_up_has_failed_and_what_somebody_replaces_was_cancelled() {
    for (ends, expected) in [
        (Ends::GivenUp, "failed: the deployment ecs-svc/4 of shop:7 failed: ECS deployment ecs-svc/4 is FAILED."),
        (
            Ends::RolledBack,
            "failed: arn:aws:ecs:eu-central-1:123456789012:service-deployment/prod/shop/d4 was rolled back by ECS",
        ),
        (
            Ends::Replaced(10),
            "cancelled: arn:aws:ecs:eu-central-1:123456789012:service-deployment/prod/shop/d4 was stopped or",
        ),
    ] {
        let world = World::new().await;
        world.remote().ends = ends;
        let why = why(world.start().await);
        assert!(why.starts_with(expected), "{why}");
        assert_eq!(world.changes(), updated());
    }
}

#[tokio::test]
async fn without_a_story_the_only_task_definition_with_the_image_is_the_target_and_two_are_none() {
    let world = World::new().await;
    world.remote().keeps_story = false;
    let two = why(world.start().await);
    assert!(two.contains("both shop:10 and shop:7 have") && two.ends_with("nothing ran"), "{two}");
    world.remote().definitions.remove(&10);
    assert_eq!(world.start().await, done("ecs-svc/4"));
    assert_eq!(world.changes(), updated());

    let none = World::new().await;
    let mut config = config(&none.url, none.dir.path());
    for (key, value, expected) in [
        ("image_tag", "v40", "image with the tag v40"),
        ("container", "proxy", "image with the tag v41"),
        ("cluster", "other", "cluster other has no service shop (MISSING)"),
    ] {
        let right = config.get(key).cloned();
        config[key] = json!(value);
        let why = why(none.start_with(&config).await);
        assert!(why.contains(expected) && why.ends_with("nothing ran"), "{why}");
        config.as_object_mut().unwrap().remove(key);
        config.as_object_mut().unwrap().extend(right.map(|right| (key.to_owned(), right)));
    }
    assert_eq!(none.changes(), []);
}

#[tokio::test]
async fn a_task_definition_that_is_named_has_to_be_the_services_own_and_deployable() {
    let world = World::new().await;
    world.remote().definitions.insert(6, ("registry.test:5000/shop:v6", "INACTIVE"));
    for (named, expected) in [
        ("shop:6", "shop:6 is INACTIVE and can't be deployed"),
        ("blog:7", "blog:7 is none of the service's family shop"),
        ("shop:99", "ClientException"),
    ] {
        let mut config = config(&world.url, world.dir.path());
        config["task_definition"] = json!(named);
        let why = why(world.start_with(&config).await);
        assert!(why.contains(expected) && why.ends_with("nothing ran"), "{why}");
    }
    assert_eq!(world.changes(), []);
    let mut config = config(&world.url, world.dir.path());
    config["task_definition"] = json!("shop:7");
    assert_eq!(world.start_with(&config).await, done("ecs-svc/4"));
}

#[tokio::test]
async fn a_service_that_ecs_itself_does_not_deploy_is_refused() {
    let world = World::new().await;
    world.remote().controller = "CODE_DEPLOY";
    let why = why(world.start().await);
    assert!(why.contains("by the controller CODE_DEPLOY") && why.ends_with("nothing ran"), "{why}");
    assert_eq!(world.changes(), []);
}

#[tokio::test]
async fn throttling_is_waited_out_before_the_change_at_it_and_after_it() {
    let world = World::new().await;
    world.remote().faults = VecDeque::from([
        ("DescribeServices", 400, "ThrottlingException"),
        ("UpdateService", 400, "ThrottlingException"),
        ("DescribeServices", 429, "TooManyRequestsException"),
        ("DescribeServices", 503, "ServiceUnavailable"),
    ]);
    assert_eq!(world.start().await, done("ecs-svc/4"));
    assert_eq!(world.changes(), updated());
    assert!(world.remote().faults.is_empty());
}

#[tokio::test]
async fn a_refusal_says_what_to_check_and_an_ended_session_is_renewed() {
    let world = World::new().await;
    world.remote().faults.push_back(("ListServiceDeployments", 400, "AccessDeniedException"));
    let why = why(world.start().await);
    assert!(why.contains("AccessDeniedException") && why.contains("the credentials may read and change it"), "{why}");
    assert!(why.ends_with("nothing ran") && !why.contains(SECRET) && !why.contains("t0ken"), "{why}");
    assert_eq!(world.changes(), []);

    let world = World::new().await;
    let (path, order) = world.attempt(&config(&world.url, world.dir.path()));
    let (progress, mut told) = mpsc::channel(8);
    let place = no_place();
    let (outcome, ()) = tokio::join!(path.start(&order, &place, &progress, CancellationToken::new()), async {
        told.recv().await.unwrap();
        credentials(world.dir.path(), SECRET, "t0ken2");
        world.remote().key = Some("t0ken2".to_owned());
    });
    assert_eq!(outcome, done("ecs-svc/4"));
}

#[tokio::test]
async fn after_a_crash_what_was_begun_is_found_even_where_somebody_has_replaced_it() {
    let world = World::new().await;
    world.remote().begin(7);
    assert_eq!(world.follow(Some("ecs-svc/4 shop:7")).await, done("ecs-svc/4"));
    assert_eq!(world.follow(None).await, done("ecs-svc/4"));

    let replaced = World::new().await;
    replaced.remote().begin(7);
    replaced.remote().begin(9);
    assert!(why(replaced.follow(None).await).starts_with("cancelled:"));

    let other = World::new().await;
    let mut foreign = rollout(4, 8, "SUCCESSFUL");
    foreign.created_at = now().seconds() + 120.0;
    other.remote().rollouts.push(foreign);
    assert!(why(other.follow(None).await).contains("somebody else has deployed"));
    other.remote().keeps_story = false;
    let gone = why(other.follow(Some("ecs-svc/5 shop:7")).await);
    assert_eq!(gone, "cancelled: the deployment ecs-svc/5 of shop:7 was replaced by ecs-svc/4 of shop:8");

    let none = World::new().await;
    assert_eq!(none.follow(None).await, Outcome::NeverStarted);
    for world in [world, replaced, other, none] {
        assert_eq!(world.changes(), []);
    }
}

#[tokio::test]
async fn where_ecs_shows_no_state_of_a_deployment_it_is_over_when_nothing_else_runs() {
    let world = World::new().await;
    world.remote().shows_state = false;
    world.remote().looks = 4;
    assert_eq!(world.start().await, done("ecs-svc/4"));
    assert!(world.remote().looks == 0, "it was called over too early");
}

#[tokio::test]
async fn a_deployment_that_waits_for_a_person_is_told_once_and_followed_on() {
    let world = World::deploying(8).await;
    world.remote().newest().to = 7;
    world.remote().looks = 6;
    world.remote().ends = Ends::Never;
    let (path, order) = world.attempt(&config(&world.url, world.dir.path()));
    let (progress, mut told) = mpsc::channel(8);
    let place = no_place();
    let (outcome, ()) = tokio::join!(path.start(&order, &place, &progress, CancellationToken::new()), async {
        assert!(matches!(told.recv().await, Some(Progress::Started { .. })));
        world.remote().pauses = true;
        assert!(matches!(told.recv().await, Some(Progress::Waits { why }) if why.contains("lifecycle hook")));
        world.remote().ends = Ends::Well;
    });
    assert_eq!(outcome, done(&story_arn(4)));
    assert_eq!(world.changes(), []);
}

#[tokio::test]
async fn a_deployment_that_ecs_does_not_show_yet_is_not_taken_for_replaced() {
    let world = World::new().await;
    world.remote().lags = 6;
    assert_eq!(world.start().await, done("ecs-svc/4"));
    assert_eq!(world.changes(), updated());
    assert_eq!(world.remote().lags, 0);
}

#[tokio::test]
async fn when_the_time_is_over_the_deployment_of_the_target_goes_on() {
    let world = World::new().await;
    world.remote().ends = Ends::Never;
    let (path, order) = world.attempt(&config(&world.url, world.dir.path()));
    let (progress, mut told) = mpsc::channel(8);
    let (stop, place) = (CancellationToken::new(), no_place());
    let (outcome, ()) = tokio::join!(path.start(&order, &place, &progress, stop.clone()), async {
        told.recv().await.unwrap();
        stop.cancel();
    });
    assert_eq!(outcome, Outcome::TimedOut);
    assert_eq!(world.changes(), updated());
}

#[tokio::test]
async fn mistakes_in_the_config_say_what_was_expected() {
    let world = World::new().await;
    for (key, value, expected) in [
        ("region", json!("Frankfurt"), "expected an AWS region"),
        ("region", json!(null), "region"),
        ("endpoint_url", json!("http://ecs.test/"), "expected an https URL"),
        ("endpoint_url", json!("https://user:hunter2@ecs.test"), "no user name or password"),
        ("service", json!("sh op"), "expected a name or an ARN"),
        ("task_definition", json!("{{ branch }}"), "unknown template variable"),
        ("bearer_token_file", json!("/t"), "AWS takes no bearer token"),
        ("poll_interval", json!("1ms"), "expected 10ms to"),
        ("servce", json!("x"), "did you mean `service`"),
    ] {
        let mut config = config(&world.url, world.dir.path());
        config[key] = value;
        let said = mistakes("ecs", &config);
        assert!(said.contains(expected) && !said.contains("hunter2"), "{key}: {said}");
    }
    let mut both = config(&world.url, world.dir.path());
    (both["task_definition"], both["image_tag"]) = (json!("shop:7"), json!("v41"));
    assert!(mistakes("ecs", &both).contains("not both"));
    let (_, parts) = path("ecs", &config(&world.url, world.dir.path()));
    assert!(parts.leaves_behind.unwrap().contains("infrastructure as code"));
}
