//! The path `argo_cd`, against a stand-in that keeps an application as Argo CD does.
//!
//! Shapes of requests and answers: Argo CD's `assets/swagger.json` (ApplicationService; `v1alpha1Application`,
//! `applicationApplicationRollbackRequest`, `applicationApplicationPatchRequest`, `runtimeError`); what is refused and
//! when, `server/application/application.go` and `util/argo/argo.go`.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::contract::{Contract, SECRET, secret_file};
use crate::world::{Attempts, attempt, mistakes, no_place, now, path, serve, why};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use rollbackd::paths::{NotReady, RollbackPath};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const LONG_AGO: &str = "2026-01-01T00:00:00Z";
const OLD: &str = "aaaa111d8f8e3e88b6d7f8bbdf62fd3cd863ef9d";
const BAD: &str = "bbbb222d8f8e3e88b6d7f8bbdf62fd3cd863ef9d";

struct Remote {
    application: Value,
    /// Images in the manifests of a revision.
    rendered: fn(&str) -> &'static str,
    rollbacks: Vec<Value>,
    patches: usize,
    terminations: usize,
    /// How often the application was shown.
    shown: usize,
    /// The connection breaks when the rollback has been taken.
    breaks: bool,
    /// Phase and health at each look after a rollback; the last one stays.
    after: VecDeque<(&'static str, &'static str)>,
    /// Automated sync comes back each time, as an ApplicationSet has it.
    insists: bool,
}

type Shared = Arc<Mutex<Remote>>;

fn source(version: &str) -> Value {
    json!({"repoURL": "https://git.test/shop", "path": "k8s", "targetRevision": "main",
        "kustomize": {"images": [format!("shop=registry/shop:{version}")]}})
}

fn history(id: u64, revision: &str, version: &str, at: &str) -> Value {
    json!({"id": id, "revision": revision, "source": source(version), "deployedAt": at, "deployStartedAt": at})
}

fn remote() -> Remote {
    Remote {
        application: json!({
            "metadata": {"name": "shop", "namespace": "argocd"},
            "spec": {"project": "default", "source": source("v42")},
            "status": {
                "sync": {"status": "Synced", "revision": BAD},
                "health": {"status": "Healthy"},
                "history": [history(40, OLD, "v40", LONG_AGO), history(41, OLD, "v41", LONG_AGO), history(42, BAD, "v42", LONG_AGO)],
                "operationState": {"phase": "Succeeded", "startedAt": LONG_AGO, "finishedAt": LONG_AGO,
                    "operation": {"sync": {"revision": BAD}, "initiatedBy": {"username": "ci"}}},
            },
        }),
        rendered: |_| "registry/shop:latest",
        rollbacks: Vec::new(),
        patches: 0,
        terminations: 0,
        shown: 0,
        breaks: false,
        after: VecDeque::from([
            ("", ""),
            ("Running", "Healthy"),
            ("Succeeded", "Progressing"),
            ("Succeeded", "Healthy"),
        ]),
        insists: false,
    }
}

fn failure(status: u16, code: u64, message: &str) -> Response {
    let body = json!({"error": message, "code": code, "message": message});
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

impl Remote {
    fn is_automated(&self) -> bool {
        self.application["spec"]["syncPolicy"]["automated"].is_object()
    }

    /// As the server does it: a deployment of the history becomes an operation; the last one's state is forgotten.
    fn roll_back(&mut self, body: Value) -> Response {
        if self.is_automated() {
            return failure(400, 9, "rollback cannot be initiated when auto-sync is enabled");
        }
        let history = self.application["status"]["history"].as_array().unwrap();
        let Some(entry) = history.iter().find(|entry| entry["id"] == body["id"]).cloned() else {
            return failure(400, 3, "application argocd/shop does not have deployment with id");
        };
        if self.application["operation"].is_object() {
            return failure(400, 9, "another operation is already in progress");
        }
        self.application["operation"] = json!({"initiatedBy": {"username": "rollbackd"}, "sync": {
            "revision": entry["revision"], "source": entry["source"], "syncStrategy": {"apply": {}}}});
        self.application["status"].as_object_mut().unwrap().remove("operationState");
        self.rollbacks.push(body);
        if self.breaks {
            // Ends the connection's task without an answer, and without a panic message in the test's output.
            std::panic::resume_unwind(Box::new("the connection breaks"));
        }
        Json(self.application.clone()).into_response()
    }

    fn patch(&mut self, body: &Value) -> Response {
        assert_eq!(body["patchType"], "merge");
        let patch: Value = serde_json::from_str(body["patch"].as_str().unwrap()).unwrap();
        assert_eq!(patch, json!({"spec": {"syncPolicy": {"automated": null}}}));
        self.patches += 1;
        if !self.insists {
            self.application["spec"]["syncPolicy"].as_object_mut().unwrap().remove("automated");
        }
        Json(self.application.clone()).into_response()
    }

    /// As the controller does it, a step at each look.
    fn show(&mut self) -> Response {
        self.shown += 1;
        let under_way = self.application["operation"].is_object() && !self.rollbacks.is_empty();
        let ended = self.application["status"]["operationState"]["operation"]["sync"]["source"].is_object();
        if under_way || ended {
            let (phase, health) = if self.after.len() > 1 { self.after.pop_front().unwrap() } else { self.after[0] };
            self.step(phase, health);
        }
        Json(self.application.clone()).into_response()
    }

    fn step(&mut self, phase: &str, health: &str) {
        if phase.is_empty() {
            return;
        }
        let operation = self.application["operation"].clone();
        let status = &mut self.application["status"];
        status["health"] = json!({"status": health, "message": "as told"});
        if operation.is_object() {
            let time = now().to_string();
            status["operationState"] = json!({"phase": phase, "startedAt": time, "message": "one or more objects failed",
                "operation": operation});
        }
        let over = phase != "Running" && operation.is_object();
        if over {
            let time = now().to_string();
            (status["operationState"]["finishedAt"], status["reconciledAt"]) = (json!(time), json!(time));
            if phase == "Succeeded" {
                let sync = operation["sync"].clone();
                let entry =
                    json!({"id": 43, "revision": sync["revision"], "source": sync["source"], "deployStartedAt": time});
                status["history"].as_array_mut().unwrap().push(entry);
            }
            self.application.as_object_mut().unwrap().remove("operation");
        }
    }
}

async fn answer(State(remote): State<Shared>, request: Request) -> Response {
    if request.headers().get("authorization").is_none_or(|value| value != &format!("Bearer {SECRET}")) {
        return failure(401, 16, "no session information");
    }
    let (method, uri) = (request.method().to_string(), request.uri().clone());
    let body = axum::body::to_bytes(request.into_body(), 65536).await.unwrap();
    let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    let tail =
        uri.path().strip_prefix("/argocd/api/v1/applications/shop").unwrap_or_else(|| panic!("a request to {uri}"));
    let query = uri.query().unwrap_or_default();
    let scope = if body.is_null() {
        query.contains("appNamespace=argocd&project=default")
    } else {
        body["name"] == "shop" && body["appNamespace"] == "argocd" && body["project"] == "default"
    };
    assert!(scope, "{method} {uri} {body}");
    let mut remote = remote.lock().unwrap_or_else(PoisonError::into_inner);
    match (method.as_str(), tail) {
        ("GET", "") => remote.show(),
        ("GET", "/manifests") => {
            let revision = query.split('&').find_map(|pair| pair.strip_prefix("revision=")).unwrap();
            let pod = json!({"containers": [{"name": "shop", "image": (remote.rendered)(revision)}]});
            let manifest = json!({"kind": "Deployment", "spec": {"template": {"spec": pod}}});
            Json(json!({"manifests": [manifest.to_string()]})).into_response()
        }
        ("POST", "/rollback") => {
            assert!(body["id"].is_u64() && body["dryRun"] == false && body["prune"] == false, "{body}");
            remote.roll_back(body)
        }
        ("PATCH", "") => remote.patch(&body),
        ("DELETE", "/operation") => {
            remote.terminations += 1;
            remote.after = VecDeque::from([("Failed", "Healthy")]);
            Json(json!({})).into_response()
        }
        other => panic!("a request that Argo CD's API does not have: {other:?}"),
    }
}

pub(crate) const CONTRACT: Contract = Contract {
    kind: "argo_cd",
    platform: || Box::pin(async { World::new().await.url }),
    config,
    is_change: |seen| seen.method != "GET",
};

fn config(url: &str, dir: &Path) -> Value {
    json!({
        "url": url, "application": "shop", "app_namespace": "argocd", "project": "default",
        "bearer_token_file": secret_file(dir), "poll_interval": "10ms",
    })
}

struct World {
    remote: Shared,
    url: String,
    _dir: TempDir,
    config: Value,
}

impl World {
    async fn new() -> Self {
        let remote = Arc::new(Mutex::new(remote()));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&remote));
        let url = format!("{}/argocd/", serve(router).await);
        let dir = tempfile::tempdir().unwrap();
        let config = config(&url, dir.path());
        Self { remote, url, _dir: dir, config }
    }

    /// One with automated sync, which the config lets us turn off or not.
    async fn automated(disable: bool) -> Self {
        let mut world = Self::new().await;
        world.config["disable_auto_sync"] = json!(disable);
        world.remote().application["spec"]["syncPolicy"] = json!({"automated": {"prune": true}});
        world
    }

    fn remote(&self) -> MutexGuard<'_, Remote> {
        self.remote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rolled_back_to(&self) -> Vec<Value> {
        self.remote().rollbacks.iter().map(|body| body["id"].clone()).collect()
    }
}

impl Attempts for World {
    fn attempt(&self) -> (RollbackPath, Order) {
        attempt("argo_cd", &self.config)
    }
}

fn done(outcome: &Outcome) -> (String, String) {
    let Outcome::Succeeded { receipt: Some(receipt), output } = outcome else { panic!("{outcome:?}") };
    (receipt.clone(), output.clone())
}

#[tokio::test]
async fn the_deployment_of_the_targets_image_is_rolled_back_to_and_followed_until_healthy() {
    let world = World::new().await;
    let (receipt, output) = done(&world.start().await);
    assert_eq!((receipt, output.as_str()), (format!("shop history 43, revision {OLD}"), ""));
    // 40 was synced from the same commit, with another image.
    assert_eq!(world.rolled_back_to(), [41]);
    assert_eq!(world.remote().application["status"]["sync"]["revision"], BAD, "git is where it was");
}

#[tokio::test]
async fn a_version_that_stands_in_git_alone_is_found_in_the_manifests() {
    let mut world = World::new().await;
    world.config["version"] = json!("v39");
    world.remote().rendered = |revision| if revision == OLD { "registry/shop:v39" } else { "registry/shop:v42" };
    done(&world.start().await);
    assert_eq!(world.rolled_back_to(), [41], "the newest deployment of that commit");
}

#[tokio::test]
async fn a_commit_may_be_the_version() {
    let mut world = World::new().await;
    world.config["version"] = json!(OLD[..8]);
    done(&world.start().await);
    assert_eq!(world.rolled_back_to(), [41]);
}

#[tokio::test]
async fn a_version_that_is_not_in_the_history_is_refused_with_what_is() {
    let mut world = World::new().await;
    world.config["version"] = json!("v39");
    let why = why(world.start().await);
    assert!(why.starts_with("failed:") && why.contains("42 (bbbb") && why.ends_with("nothing ran"), "{why}");
    assert!(world.rolled_back_to().is_empty());
}

#[tokio::test]
async fn automated_sync_pages_at_once_and_nothing_is_changed_until_a_person_turns_it_off() {
    let world = World::automated(false).await;
    let (path, order) = world.attempt();
    let before = path.preflight(&order, &no_place()).unwrap().await.unwrap_err();
    let (outcome, told) = world
        .start_and_wait(|| {
            let mut remote = world.remote();
            assert!(remote.rollbacks.is_empty() && remote.patches == 0);
            remote.application["spec"]["syncPolicy"] = json!({"automated": {"enabled": false}});
            remote.application["spec"]["syncPolicy"] = json!({});
        })
        .await;
    assert!(told.contains("shop has automated sync on"), "{told}");
    assert_eq!(before, NotReady::Waits(told));
    done(&outcome);
    assert_eq!(world.remote().patches, 0);
    assert!(path.preflight(&order, &no_place()).unwrap().await.is_ok());
}

#[tokio::test]
async fn automated_sync_is_turned_off_where_the_config_says_so_and_the_receipt_tells_it() {
    let world = World::automated(true).await;
    let (way, order) = world.attempt();
    assert!(way.preflight(&order, &no_place()).unwrap().await.is_ok());
    assert_eq!(world.remote().patches, 0);
    let (_, output) = done(&world.start().await);
    assert_eq!(output, r#"automated sync was turned off, it was {"prune":true}"#);
    assert_eq!(world.remote().patches, 1);
    let (_, parts) = path("argo_cd", &world.config);
    assert!(parts.leaves_behind.unwrap().starts_with("automated sync of the application is off"));
}

#[tokio::test]
async fn automated_sync_that_comes_back_pages() {
    let world = World::automated(true).await;
    world.remote().insists = true;
    let (outcome, told) = world
        .start_and_wait(|| {
            let mut remote = world.remote();
            remote.insists = false;
            remote.application["spec"]["syncPolicy"] = json!({});
        })
        .await;
    assert!(told.contains("automated sync on"), "{told}");
    done(&outcome);
    assert!(world.remote().patches <= 3);
}

#[tokio::test]
async fn a_sync_in_progress_is_waited_for() {
    let world = World::new().await;
    world.remote().application["operation"] = json!({"sync": {"revision": BAD}});
    let (path, order) = world.attempt();
    let stop = CancellationToken::new();
    let (place, (progress, _told)) = (no_place(), mpsc::channel(8));
    let (outcome, ()) = tokio::join!(path.start(&order, &place, &progress, stop), async {
        while world.remote().shown < 3 {
            tokio::task::yield_now().await;
        }
        assert!(world.rolled_back_to().is_empty());
        world.remote().application.as_object_mut().unwrap().remove("operation");
    });
    done(&outcome);
    assert_eq!(world.rolled_back_to(), [41]);
}

#[tokio::test]
async fn failed_and_ended_by_somebody_are_told_apart() {
    let world = World::new().await;
    world.remote().after = VecDeque::from([("Running", "Healthy"), ("Failed", "Healthy")]);
    let failed = why(world.start().await);
    assert_eq!(failed, "failed: the rollback of shop to 41 ended as Failed: one or more objects failed");

    let world = World::new().await;
    done(&world.start().await);
    {
        let mut remote = world.remote();
        let state = &mut remote.application["status"]["operationState"];
        (state["phase"], state["message"]) = (json!("Failed"), json!("Operation terminated"));
    }
    let ended = why(world.follow(None).await);
    assert!(ended.starts_with("cancelled:") && ended.contains("ended at Argo CD"), "{ended}");
}

#[tokio::test]
async fn another_sync_that_follows_supersedes_the_rollback() {
    let world = World::new().await;
    done(&world.start().await);
    world.remote().application["operation"] = json!({"sync": {"revision": BAD}});
    let superseded = why(world.follow(None).await);
    assert!(superseded.starts_with("cancelled:") && superseded.contains(BAD), "{superseded}");
    assert_eq!(world.rolled_back_to(), [41]);
}

#[tokio::test]
async fn health_from_before_the_end_of_the_sync_is_not_believed() {
    let world = World::new().await;
    done(&world.start().await);
    world.remote().application["status"]["reconciledAt"] = json!(LONG_AGO);
    let (path, order) = world.attempt();
    let (progress, mut told) = mpsc::channel(8);
    let (place, stop) = (no_place(), CancellationToken::new());
    let (outcome, ()) = tokio::join!(path.follow(&order, None, &place, &progress, stop), async {
        told.recv().await.unwrap();
        world.remote().application["status"]["health"] = json!({"status": "Degraded"});
        world.remote().after = VecDeque::from([("Succeeded", "Healthy")]);
        world.remote().application["status"]["reconciledAt"] = json!(now().to_string());
    });
    done(&outcome);
}

#[tokio::test]
async fn a_suspended_application_pages_at_once() {
    let world = World::new().await;
    world.remote().after = VecDeque::from([("Succeeded", "Suspended")]);
    let (outcome, told) =
        world.start_and_wait(|| world.remote().after = VecDeque::from([("Succeeded", "Healthy")])).await;
    assert!(told.contains("is suspended"), "{told}");
    done(&outcome);
}

#[tokio::test]
async fn a_rollback_that_outlasts_the_timeout_is_terminated_and_only_ours() {
    let world = World::new().await;
    world.remote().after = VecDeque::from([("Running", "Healthy")]);
    let (path, order) = world.attempt();
    let (progress, mut told) = mpsc::channel(8);
    let stop = CancellationToken::new();
    let place = no_place();
    let (outcome, ()) = tokio::join!(path.start(&order, &place, &progress, stop.clone()), async {
        told.recv().await.unwrap();
        stop.cancel();
    });
    assert!(matches!(outcome, Outcome::TimedOut | Outcome::Failed { .. }), "{outcome:?}");
    assert_eq!(world.remote().terminations, 1);
}

#[tokio::test]
async fn after_a_crash_the_rollback_is_found_and_none_is_asked_for() {
    let world = World::new().await;
    assert_eq!(world.follow(None).await, Outcome::NeverStarted);
    world.remote().breaks = true;
    done(&world.start().await);
    done(&world.follow(None).await);
    assert_eq!(world.rolled_back_to(), [41]);
}

#[tokio::test]
async fn mistakes_in_the_config_say_what_was_expected() {
    let world = World::new().await;
    for (key, value, expected) in [
        ("url", json!(null), "has no `url`"),
        ("url", json!("https://user:hunter2@argo.test"), "no user name or password"),
        ("application", json!("../shop"), "as Kubernetes takes it"),
        ("project", json!("A B"), "as Kubernetes takes it"),
        ("version", json!("{{ tag }}"), "unknown template variable"),
        ("disable_auto_sync", json!("yes"), "expected true or false"),
        ("bearer_token_file", json!(null), "has no `bearer_token_file`"),
        ("poll_interval", json!("1ms"), "expected 10ms to"),
        ("app", json!("x"), "unknown key `app`"),
    ] {
        let mut config = world.config.clone();
        config[key] = value;
        let said = mistakes("argo_cd", &config);
        assert!(said.contains(expected) && !said.contains("hunter2"), "{key}: {said}");
    }
}
