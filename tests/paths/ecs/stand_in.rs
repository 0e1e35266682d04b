//! A service at a stand-in of Amazon ECS, and how it is deployed. Shapes and states as the parent's head says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::aws_model;
use crate::world::now;

pub(super) const ARN: &str = "arn:aws:ecs:eu-central-1:123456789012";

/// One service deployment, from its beginning to its end.
#[derive(Clone)]
pub(super) struct Rollout {
    pub(super) number: usize,
    /// The revision of the task definition `shop` that it deploys.
    pub(super) to: u32,
    pub(super) status: &'static str,
    pub(super) created_at: f64,
    /// Whether ECS' circuit breaker ended it.
    pub(super) triggered: bool,
}

/// How the newest service deployment ends.
#[derive(Clone, Copy)]
pub(super) enum Ends {
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

pub(super) struct Remote {
    pub(super) model: Option<Value>,
    pub(super) rollouts: Vec<Rollout>,
    /// The task definitions: revision, image, status.
    pub(super) definitions: BTreeMap<u32, (&'static str, &'static str)>,
    pub(super) controller: &'static str,
    /// Whether ECS keeps the story of service deployments.
    pub(super) keeps_story: bool,
    /// Whether deployments show their `rolloutState`.
    pub(super) shows_state: bool,
    pub(super) ends: Ends,
    /// How many looks a deployment takes.
    pub(super) looks: usize,
    /// How many looks at the service show it as it was before its newest deployment.
    pub(super) lags: usize,
    /// A person has to continue it at the first look.
    pub(super) pauses: bool,
    /// What the next request of an operation is answered: status, error, `Retry-After`.
    pub(super) faults: VecDeque<(&'static str, u16, &'static str)>,
    pub(super) requests: Vec<(String, Value)>,
    pub(super) key: Option<String>,
}

pub(super) type Shared = Arc<Mutex<Remote>>;

pub(super) fn rollout(number: usize, to: u32, status: &'static str) -> Rollout {
    let hours = u32::try_from(10 - number.min(9)).unwrap();
    Rollout { number, to, status, created_at: now().seconds() - 3600.0 * f64::from(hours), triggered: false }
}

impl Remote {
    /// Revision 7 with v41 served, then 8; 9 with v42 serves. Revision 10 has v41 too and never served.
    pub(super) fn new() -> Self {
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

    pub(super) fn newest(&mut self) -> &mut Rollout {
        self.rollouts.last_mut().unwrap()
    }

    /// What ran before the newest.
    pub(super) fn before(&self) -> &Rollout {
        let earlier = self.rollouts.iter().rev().skip(1);
        earlier.into_iter().find(|each| each.status == "SUCCESSFUL").unwrap()
    }

    pub(super) fn begin(&mut self, to: u32) {
        let number = self.rollouts.len() + 1;
        if self.newest().status == "IN_PROGRESS" {
            self.newest().status = "STOPPED";
        }
        self.rollouts.push(Rollout { created_at: now().seconds(), ..rollout(number, to, "IN_PROGRESS") });
    }

    /// One look more has passed.
    pub(super) fn go_on(&mut self) {
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

    pub(super) fn deployments(&mut self) -> Value {
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

    pub(super) fn service(&mut self) -> Value {
        let deployments = self.deployments();
        json!({
            "serviceName": "shop", "status": "ACTIVE", "taskDefinition": deployments[0]["taskDefinition"],
            "deploymentController": {"type": self.controller}, "desiredCount": 2, "runningCount": 2, "pendingCount": 0,
            "deployments": deployments,
        })
    }

    /// Whether this look does not show the newest deployment, which we began.
    pub(super) fn is_behind(&mut self) -> bool {
        let behind = self.lags > 0 && self.requests.iter().any(|(operation, _)| operation == "UpdateService");
        self.lags -= usize::from(behind);
        behind
    }

    pub(super) fn as_it_was<T>(&mut self, show: impl FnOnce(&mut Self) -> T) -> T {
        let newest = self.rollouts.pop().unwrap();
        let shown = show(self);
        self.rollouts.push(newest);
        shown
    }

    pub(super) fn service_deployment(&self, rollout: &Rollout) -> Value {
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

    pub(super) fn definition(&self, name: &str) -> Response {
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

    pub(super) fn revision(&self, arn: &str) -> Option<Value> {
        let rollout = self.rollouts.iter().find(|each| revision_arn(each.number) == arn)?;
        let image = self.definitions[&rollout.to].0;
        Some(json!({"serviceRevisionArn": arn, "taskDefinition": definition(rollout.to), "containerImages": [
            {"containerName": "app", "image": image, "imageDigest": format!("sha256:{}", rollout.to)},
        ]}))
    }

    pub(super) fn story(&mut self, body: &Value) -> Response {
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

    pub(super) fn stop(&mut self, body: &Value) -> Response {
        let newest = self.newest();
        assert_eq!(body["serviceDeploymentArn"], story_arn(newest.number));
        if !matches!(newest.status, "PENDING" | "IN_PROGRESS") {
            return problem(400, "ConflictException", "");
        }
        newest.status = "ROLLBACK_REQUESTED";
        Json(json!({"serviceDeploymentArn": story_arn(newest.number)})).into_response()
    }

    pub(super) fn update(&mut self, body: &Value) -> Response {
        let (_, revision) = body["taskDefinition"].as_str().unwrap().rsplit_once(':').unwrap();
        self.begin(revision.parse().unwrap());
        Json(json!({"service": self.service()})).into_response()
    }

    pub(super) fn answer(&mut self, operation: &str, body: &Value) -> Response {
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

    pub(super) fn changes(&self) -> Vec<(String, Value)> {
        self.requests.iter().filter(|(operation, _)| changes(operation)).cloned().collect()
    }
}

pub(super) fn changes(operation: &str) -> bool {
    operation.ends_with("UpdateService") || operation.ends_with("StopServiceDeployment")
}

pub(super) fn definition(revision: u32) -> String {
    format!("{ARN}:task-definition/shop:{revision}")
}

pub(super) fn story_arn(number: usize) -> String {
    format!("{ARN}:service-deployment/prod/shop/d{number}")
}

pub(super) fn revision_arn(number: usize) -> String {
    format!("{ARN}:service-revision/prod/shop/{number}")
}

/// An error as the JSON protocol has it.
pub(super) fn problem(status: u16, code: &str, retry_after: &str) -> Response {
    let body = Json(json!({"__type": format!("com.amazonaws.ecs#{code}"), "message": "no, said the stand-in"}));
    let mut answer = (StatusCode::from_u16(status).unwrap(), body).into_response();
    if !retry_after.is_empty() {
        answer.headers_mut().insert("retry-after", retry_after.parse().unwrap());
    }
    answer
}

pub(super) async fn answer(State(remote): State<Shared>, request: Request) -> Response {
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
