//! The path `kubernetes`, against a stand-in that keeps a workload and its revisions as an API server does.
//!
//! Shapes of objects and requests: Kubernetes' API reference (`apps/v1`: Deployment, ReplicaSet, StatefulSet,
//! ControllerRevision; `meta/v1` Status), "API concepts" (JSON patch, `fieldManager`), Argo Rollouts'
//! `manifests/crds/rollout-crd.yaml`; kubectl's `polymorphichelpers` for what an undo sends and when a roll-out is over.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::contract::{Contract, SECRET, secret_file};
use crate::world::{Attempts, attempt, mistakes, no_place, path, serve, why, would_fail};
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

/// Long over when any test runs.
const LONG_AGO: &str = "2026-01-01T00:00:00Z";
/// Not yet over when any test runs: as if the controller had said it during the attempt.
const LATER: &str = "2999-01-01T00:00:00Z";

struct Remote {
    kind: &'static str,
    object: Value,
    revisions: Vec<Value>,
    /// Patches that were taken.
    patches: Vec<Value>,
    /// What the next patches are answered, before any is taken.
    refusals: VecDeque<u16>,
    /// The connection breaks when the patch has been taken.
    breaks: bool,
    /// Somebody else changes the workload just before the next patch arrives.
    races: bool,
    /// What the controller says at each look after the change; the last one stays.
    after: VecDeque<Value>,
}

type Shared = Arc<Mutex<Remote>>;

fn template(version: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "shop", "app.kubernetes.io/version": version}},
        "spec": {"containers": [
            {"name": "shop", "image": format!("registry:5000/acme/shop:{version}"), "env": [{"name": "V", "value": version}]},
            {"name": "proxy", "image": "envoy:v1"},
        ]},
    })
}

fn owners(uid: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": "X", "name": "shop", "uid": uid, "controller": true}])
}

fn replica_set(kind: &str, uid: &str, number: u64, version: &str) -> Value {
    let (label, annotation) = match kind {
        "Rollout" => ("rollouts-pod-template-hash", "rollout.argoproj.io/revision"),
        _ => ("pod-template-hash", "deployment.kubernetes.io/revision"),
    };
    let mut template = template(version);
    template["metadata"]["labels"][label] = json!(format!("hash-{version}"));
    json!({
        "metadata": {"name": format!("shop-{version}"), "annotations": {annotation: number.to_string()},
            "ownerReferences": owners(uid)},
        "spec": {"template": template},
    })
}

fn controller_revision(uid: &str, number: u64, version: &str) -> Value {
    let mut template = template(version);
    template["$patch"] = json!("replace");
    json!({
        "metadata": {"name": format!("shop-{version}"), "ownerReferences": owners(uid)},
        "revision": number, "data": {"spec": {"template": template}},
    })
}

/// v42 serves as revision 8, v41 is revision 7, and a stranger with the same labels has a newer v41.
fn remote(kind: &'static str) -> Remote {
    let revision = |uid, number, version| match kind {
        "StatefulSet" => controller_revision(uid, number, version),
        _ => replica_set(kind, uid, number, version),
    };
    let strange = {
        let mut strange = revision("other", 9, "v41");
        let pointer = if kind == "StatefulSet" { "/data/spec/template/spec" } else { "/spec/template/spec" };
        *strange.pointer_mut(pointer).unwrap() = json!({"containers": [{"name": "shop", "image": "evil:v41"}]});
        strange
    };
    let (before, after) = statuses(kind);
    Remote {
        kind,
        object: json!({
            "kind": kind,
            "metadata": {"name": "shop", "namespace": "prod", "uid": "u-1", "generation": 8, "resourceVersion": "100",
                "annotations": {"deployment.kubernetes.io/revision": "8", "rollout.argoproj.io/revision": "8", "team": "a"}},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "shop"}}, "template": template("v42")},
            "status": before,
        }),
        revisions: vec![revision("u-1", 6, "v40"), strange, revision("u-1", 8, "v42"), revision("u-1", 7, "v41")],
        patches: Vec::new(),
        refusals: VecDeque::new(),
        breaks: false,
        races: false,
        after: after.into(),
    }
}

fn statuses(kind: &str) -> (Value, [Value; 3]) {
    match kind {
        "Deployment" => {
            let status = |observed, updated, available, total| {
                json!({"observedGeneration": observed, "updatedReplicas": updated, "availableReplicas": available,
                    "replicas": total, "conditions": [{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}]})
            };
            (status(8, 3, 3, 3), [status(8, 3, 3, 3), status(9, 1, 3, 4), status(9, 3, 3, 3)])
        }
        "StatefulSet" => {
            let status = |observed, ready, current, update| {
                json!({"observedGeneration": observed, "readyReplicas": ready, "currentRevision": current,
                    "updateRevision": update, "updatedReplicas": 3})
            };
            (
                status(8, 3, "shop-v42", "shop-v42"),
                [
                    status(8, 3, "shop-v42", "shop-v42"),
                    status(9, 2, "shop-v42", "shop-v41"),
                    status(9, 3, "shop-v41", "shop-v41"),
                ],
            )
        }
        _ => {
            let status = |observed: u64, phase, current, aborted: bool, updated| {
                json!({"observedGeneration": observed.to_string(), "phase": phase, "stableRS": "hash-v41",
                    "currentPodHash": current, "abort": aborted, "updatedReplicas": updated, "availableReplicas": 3})
            };
            (
                status(8, "Progressing", "hash-v42", false, 1),
                [
                    status(8, "Progressing", "hash-v42", false, 1),
                    status(9, "Progressing", "hash-v41", false, 2),
                    status(9, "Healthy", "hash-v41", false, 3),
                ],
            )
        }
    }
}

fn failure(status: u16, message: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": status});
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

/// Applies a JSON patch (RFC 6902), all of it or nothing; `None` where a test fails or it is none.
fn patched(object: &Value, patch: &Value) -> Option<Value> {
    let mut object = object.clone();
    for operation in patch.as_array()? {
        let pointer = operation["path"].as_str()?;
        let value = &operation["value"];
        match operation["op"].as_str()? {
            "test" if object.pointer(pointer) == Some(value) => {}
            "test" => return None,
            "replace" => *object.pointer_mut(pointer)? = value.clone(),
            "add" => {
                let (parent, key) = pointer.rsplit_once('/')?;
                let key = key.replace("~1", "/").replace("~0", "~");
                object.pointer_mut(parent)?.as_object_mut()?.insert(key, value.clone());
            }
            other => panic!("an operation that JSON patch does not have: {other}"),
        }
    }
    Some(object)
}

impl Remote {
    fn touch(&mut self) {
        let version = self.object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() + 1;
        self.object["metadata"]["resourceVersion"] = json!(version.to_string());
    }

    fn patch(&mut self, patch: Value, status: bool) -> Response {
        if let Some(refusal) = self.refusals.pop_front() {
            return failure(refusal, "no, said the stand-in");
        }
        if std::mem::take(&mut self.races) {
            self.object["spec"]["replicas"] = json!(4);
            self.object["metadata"]["generation"] = json!(9);
            self.touch();
        }
        let Some(after) = patched(&self.object, &patch) else {
            return failure(422, "the server rejected our request due to an error in our request");
        };
        assert_eq!(after["status"] != self.object["status"], status, "a subresource takes its own part alone: {patch}");
        if after["spec"] != self.object["spec"] {
            self.object["metadata"]["generation"] = json!(self.object["metadata"]["generation"].as_u64().unwrap() + 1);
        }
        let generation = self.object["metadata"]["generation"].clone();
        self.object = after;
        self.object["metadata"]["generation"] = generation;
        self.touch();
        self.patches.push(patch);
        if self.breaks {
            // Ends the connection's task without an answer, and without a panic message in the test's output.
            std::panic::resume_unwind(Box::new("the connection breaks"));
        }
        Json(self.object.clone()).into_response()
    }

    fn show(&mut self) -> Response {
        if !self.patches.is_empty() {
            let status = if self.after.len() > 1 { self.after.pop_front().unwrap() } else { self.after[0].clone() };
            self.object["status"] = status;
            let finished = self.after.len() == 1;
            let revision = if finished { "9" } else { "8" };
            for annotation in ["deployment.kubernetes.io/revision", "rollout.argoproj.io/revision"] {
                self.object["metadata"]["annotations"][annotation] = json!(revision);
            }
        }
        Json(self.object.clone()).into_response()
    }
}

async fn answer(State(remote): State<Shared>, request: Request) -> Response {
    if request.headers().get("authorization").is_none_or(|value| value != &format!("Bearer {SECRET}")) {
        return failure(401, "Unauthorized");
    }
    let content_type = request.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    let (method, uri) = (request.method().to_string(), request.uri().clone());
    let body = axum::body::to_bytes(request.into_body(), 65536).await.unwrap();
    let mut remote = remote.lock().unwrap_or_else(PoisonError::into_inner);
    let (resource, revisions) = match remote.kind {
        "Deployment" => ("/apis/apps/v1/namespaces/prod/deployments/shop", "replicasets"),
        "StatefulSet" => ("/apis/apps/v1/namespaces/prod/statefulsets/shop", "controllerrevisions"),
        _ => ("/apis/argoproj.io/v1alpha1/namespaces/prod/rollouts/shop", "replicasets"),
    };
    let tail = uri.path().strip_prefix("/k8s").unwrap_or_else(|| panic!("a request to {uri}"));
    match (method.as_str(), tail.strip_prefix(resource)) {
        ("GET", Some("")) => remote.show(),
        ("PATCH", Some(part @ ("" | "/status"))) => {
            assert_eq!(content_type.as_deref(), Some("application/json-patch+json"));
            assert_eq!(uri.query(), Some("fieldManager=rollbackd"));
            remote.patch(serde_json::from_slice(&body).unwrap(), part == "/status")
        }
        ("GET", None) if tail == format!("/apis/apps/v1/namespaces/prod/{revisions}") => {
            assert_eq!(uri.query(), Some("labelSelector=app%3Dshop"));
            Json(json!({"kind": "List", "items": remote.revisions})).into_response()
        }
        other => panic!("a request that the API does not have: {other:?} {uri}"),
    }
}

pub(crate) const CONTRACT: Contract = Contract {
    kind: "kubernetes",
    platform: || Box::pin(async { World::new("Deployment").await.url }),
    config: |url, dir| config("Deployment", url, dir),
    is_change: |seen| seen.method == "PATCH",
};

fn config(kind: &str, url: &str, dir: &Path) -> Value {
    json!({
        "kind": kind, "namespace": "prod", "name": "shop", "url": url, "bearer_token_file": secret_file(dir),
        "poll_interval": "10ms",
    })
}

struct World {
    remote: Shared,
    url: String,
    dir: TempDir,
    config: Value,
}

impl World {
    async fn new(kind: &'static str) -> Self {
        let remote = Arc::new(Mutex::new(remote(kind)));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&remote));
        let url = format!("{}/k8s/", serve(router).await);
        let dir = tempfile::tempdir().unwrap();
        let config = config(kind, &url, dir.path());
        Self { remote, url, dir, config }
    }

    async fn with(kind: &'static str, key: &str, value: Value) -> Self {
        let mut world = Self::new(kind).await;
        world.config[key] = value;
        world
    }

    fn remote(&self) -> MutexGuard<'_, Remote> {
        self.remote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn template(&self) -> Value {
        self.remote().object["spec"]["template"].clone()
    }

    fn changes(&self) -> usize {
        self.remote().patches.len()
    }
}

impl Attempts for World {
    fn attempt(&self) -> (RollbackPath, Order) {
        attempt("kubernetes", &self.config)
    }
}

fn done(outcome: &Outcome) -> (String, String) {
    let Outcome::Succeeded { receipt: Some(receipt), output } = outcome else { panic!("{outcome:?}") };
    (receipt.clone(), output.clone())
}

#[tokio::test]
async fn the_template_of_the_revision_with_the_targets_image_is_put_back_and_followed() {
    for (kind, revision) in [("Deployment", "9"), ("StatefulSet", "shop-v41"), ("Rollout", "9")] {
        let world = World::new(kind).await;
        let (receipt, output) = done(&world.start().await);
        assert_eq!(receipt, format!("{kind} prod/shop revision {revision}"));
        assert_eq!(output, "registry:5000/acme/shop:v41");
        // Whole, without what the controller added, and not the stranger's.
        assert_eq!(world.template(), template("v41"), "{kind}");
        assert_eq!(world.changes(), 1, "{kind}");
        let annotations = world.remote().object["metadata"]["annotations"].clone();
        let cause = annotations["kubernetes.io/change-cause"].as_str().unwrap().to_owned();
        assert!(cause.starts_with("rollbackd shop-f-1-a1: back to v41 (images "), "{cause}");
        assert_eq!(annotations["team"], "a", "{kind}: what others wrote stays");
    }
}

#[tokio::test]
async fn the_target_may_be_told_by_a_label_a_container_or_a_revisions_number() {
    for (key, value) in
        [("label", json!("app.kubernetes.io/version")), ("container", json!("shop")), ("revision", json!("7"))]
    {
        let world = World::with("Deployment", key, value).await;
        done(&world.start().await);
        assert_eq!(world.template(), template("v41"), "{key}");
    }
}

#[tokio::test]
async fn a_version_that_no_revision_has_is_refused_with_those_that_are_there() {
    for (key, value) in [("version", json!("v39")), ("revision", json!("5")), ("container", json!("proxy"))] {
        let world = World::with("Deployment", key, value).await;
        let before = would_fail(&world.attempt()).await;
        let why = why(world.start().await);
        assert_eq!(why, format!("failed: {before}; nothing ran"));
        assert!(why.contains("7 (") && why.contains("8 (") && why.contains("revisionHistoryLimit"), "{why}");
        assert!(!why.contains("evil"), "{why}");
        assert_eq!(world.changes(), 0);
    }
}

#[tokio::test]
async fn after_an_undo_the_previous_revision_is_the_bad_one_and_is_not_gone_to() {
    let world = World::new("Deployment").await;
    done(&world.start().await);
    done(&world.start().await);
    assert_eq!(world.template(), template("v41"));
    assert_eq!(world.changes(), 1);
}

#[tokio::test]
async fn a_workload_that_somebody_changes_in_the_same_moment_is_read_again() {
    let world = World::new("Deployment").await;
    world.remote().races = true;
    world.remote().after = VecDeque::from([json!({"observedGeneration": 10, "updatedReplicas": 4, "replicas": 4,
        "availableReplicas": 4})]);
    done(&world.start().await);
    assert_eq!(world.changes(), 1);
    assert_eq!(world.remote().object["spec"]["replicas"], 4, "what the other one changed stays");
    assert_eq!(world.remote().patches[0][1], json!({"op": "test", "path": "/metadata/generation", "value": 9}));
}

#[tokio::test]
async fn conflicts_and_what_is_invalid_end_some_time() {
    for (status, times) in [(409, 9), (422, 1)] {
        let world = World::new("Deployment").await;
        world.remote().refusals = vec![status; times].into();
        let why = why(world.start().await);
        assert!(
            why.starts_with("failed:") && why.contains(&status.to_string()) && why.ends_with("nothing ran"),
            "{why}"
        );
        assert_eq!(world.changes(), 0);
    }
}

#[tokio::test]
async fn refusals_say_what_to_check() {
    for (status, expected) in
        [(401, "have not expired"), (403, "may patch deployments in namespace prod"), (404, "exists")]
    {
        let world = World::new("Deployment").await;
        world.remote().refusals.push_back(status);
        let why = why(world.start().await);
        assert!(why.contains(expected) && why.ends_with("nothing ran") && !why.contains(SECRET), "{why}");
    }
}

#[tokio::test]
async fn a_paused_deployment_pages_at_once_and_is_changed_when_it_is_resumed() {
    let world = World::new("Deployment").await;
    world.remote().object["spec"]["paused"] = json!(true);
    let (outcome, told) = world
        .start_and_wait(|| {
            let mut remote = world.remote();
            assert_eq!(remote.patches.len(), 0);
            remote.object["spec"]["paused"] = json!(false);
        })
        .await;
    assert!(told.contains("Deployment prod/shop is paused"), "{told}");
    done(&outcome);
    assert_eq!(world.changes(), 1);
}

#[tokio::test]
async fn a_roll_out_that_waits_for_a_person_pages_at_once() {
    for (kind, key, waiting, expected) in [
        ("StatefulSet", "updateStrategy", json!({"type": "OnDelete"}), "delete its pods"),
        ("Rollout", "strategy", json!({"canary": {"steps": [{"pause": {}}]}}), "promote"),
    ] {
        let world = World::new(kind).await;
        let last = world.remote().after[2].clone();
        let mut paused = last.clone();
        (paused["phase"], paused["updatedReplicas"]) = (json!("Paused"), json!(0));
        world.remote().after = VecDeque::from([paused]);
        world.remote().object["spec"][key] = waiting;
        let (outcome, told) = world.start_and_wait(|| world.remote().after = VecDeque::from([last])).await;
        assert!(told.contains(expected), "{kind}: {told}");
        done(&outcome);
    }
}

#[tokio::test]
async fn a_pause_that_ends_by_itself_pages_nobody() {
    let world = World::new("Rollout").await;
    world.remote().object["spec"]["strategy"] = json!({"canary": {"steps": [{"pause": {"duration": "30s"}}]}});
    world.remote().after[1]["phase"] = json!("Paused");
    let (path, order) = world.attempt();
    let (progress, mut told) = mpsc::channel(8);
    done(&path.start(&order, &no_place(), &progress, CancellationToken::new()).await);
    assert!(matches!(told.try_recv(), Ok(Progress::Started { .. })));
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn only_a_deadline_that_passed_since_the_change_is_a_failure() {
    let late = |when: &str| {
        json!({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "too slow",
            "lastUpdateTime": when})
    };
    let world = World::new("Deployment").await;
    world.remote().after[1]["conditions"] = json!([late(LONG_AGO)]);
    done(&world.start().await);

    let world = World::new("Deployment").await;
    world.remote().after[1]["conditions"] = json!([late(LATER)]);
    let why = why(world.start().await);
    assert!(why.starts_with("failed:") && why.contains("ProgressDeadlineExceeded: too slow"), "{why}");
}

#[tokio::test]
async fn what_somebody_else_changes_meanwhile_is_superseded_and_not_failed() {
    let world = World::new("Deployment").await;
    let handle = {
        done(&world.start().await);
        let object = world.remote().object.clone();
        let cause = object["metadata"]["annotations"]["kubernetes.io/change-cause"].as_str().unwrap().to_owned();
        cause.rsplit_once("(images ").unwrap().1.trim_end_matches(')').to_owned()
    };
    world.remote().object["spec"]["template"] = template("v43");
    let why = why(world.follow(Some(&handle)).await);
    assert!(why.starts_with("cancelled:") && why.contains("acme/shop:v43"), "{why}");
    // More pods and a restart take nothing back.
    world.remote().object["spec"]["template"] = template("v41");
    world.remote().object["spec"]["template"]["metadata"]["annotations"] = json!({"restartedAt": "now"});
    done(&world.follow(Some(&handle)).await);
}

#[tokio::test]
async fn after_a_crash_the_change_is_found_by_its_cause_also_where_another_one_followed() {
    let world = World::new("Deployment").await;
    assert_eq!(world.follow(None).await, Outcome::NeverStarted);
    world.remote().breaks = true;
    done(&world.start().await);
    done(&world.follow(None).await);

    // The controller wrote the cause to the ReplicaSet; then somebody rolled forward.
    let cause = world.remote().object["metadata"]["annotations"]["kubernetes.io/change-cause"].clone();
    world.remote().revisions[3]["metadata"]["annotations"]["kubernetes.io/change-cause"] = cause;
    world.remote().object["metadata"]["annotations"]["kubernetes.io/change-cause"] = json!("kubectl set image");
    world.remote().object["spec"]["template"] = template("v43");
    let why = why(world.follow(None).await);
    assert!(why.starts_with("cancelled:") && why.contains("v43"), "{why}");
    assert_eq!(world.changes(), 1);
}

#[tokio::test]
async fn an_update_is_aborted_only_where_the_stable_revision_is_the_target() {
    let world = World::with("Rollout", "by", json!("abort")).await;
    let status = |weight: u64| {
        json!({"observedGeneration": "8", "phase": "Degraded", "message": "RolloutAborted", "stableRS": "hash-v41",
            "currentPodHash": "hash-v42", "abort": true, "canary": {"weights": {"canary": {"weight": weight}}}})
    };
    world.remote().after = VecDeque::from([status(20), status(0)]);
    let (receipt, output) = done(&world.start().await);
    assert_eq!((receipt.as_str(), output.as_str()), ("Rollout prod/shop aborted, stable hash-v41", "RolloutAborted"));
    assert_eq!(world.template(), template("v42"), "the spec stays");
    done(&world.follow(None).await);
    assert_eq!(world.changes(), 1);

    let world = World::with("Rollout", "by", json!("abort")).await;
    world.remote().object["status"]["stableRS"] = json!("hash-v40");
    let refused = why(world.start().await);
    assert!(
        refused.contains("is registry:5000/acme/shop:v40, not v41") && refused.ends_with("nothing ran"),
        "{refused}"
    );
    world.remote().object["status"]["currentPodHash"] = json!("hash-v40");
    assert!(why(world.start().await).contains("nothing to abort"));
    assert_eq!(world.changes(), 0);
}

#[tokio::test]
async fn an_aborted_update_that_is_taken_up_again_is_superseded() {
    let world = World::with("Rollout", "by", json!("abort")).await;
    world.remote().after =
        VecDeque::from([json!({"stableRS": "hash-v41", "currentPodHash": "hash-v42", "abort": false})]);
    let why = why(world.start().await);
    assert!(why.starts_with("cancelled:") && why.contains("taken up again"), "{why}");
}

#[tokio::test]
async fn a_rollout_whose_template_stands_elsewhere_is_not_changed() {
    let world = World::new("Rollout").await;
    world.remote().object["spec"]["workloadRef"] = json!({"kind": "Deployment", "name": "web"});
    world.remote().object["spec"].as_object_mut().unwrap().remove("template");
    let why = why(world.start().await);
    assert!(why.contains("from Deployment web") && why.ends_with("nothing ran"), "{why}");
}

#[tokio::test]
async fn a_kubeconfig_is_read_at_each_attempt_and_its_plugins_are_refused() {
    let mut world = World::new("Deployment").await;
    let file = world.dir.path().join("kubeconfig");
    let server = world.url.trim_end_matches('/').to_owned();
    let write = |user: &str| {
        let text = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: \"{server}\"}}}}]\nusers: [{{name: u, user: {user}}}]\n"
        );
        std::fs::write(&file, text).unwrap();
    };
    let config = json!({"namespace": "prod", "name": "shop", "kubeconfig": file, "poll_interval": "10ms"});
    write("{exec: {command: aws}}");
    world.config = config;
    let refused = why(world.start().await);
    assert!(refused.contains("`exec`") && refused.ends_with("nothing ran"), "{refused}");
    for user in [format!("{{token: {SECRET}}}"), "{tokenFile: secret}".to_owned()] {
        write(&user);
        done(&world.start().await);
    }
    assert_eq!(world.changes(), 1);
}

#[tokio::test]
async fn an_api_server_that_keeps_failing_is_given_up_before_the_timeout() {
    let mut world = World::new("Deployment").await;
    let router = Router::new().fallback(|| async { failure(503, "apiserver not ready") });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.config["url"] = json!(format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let why = why(world.start().await);
    assert!(why.starts_with("failed:") && why.contains("503") && why.ends_with("nothing ran"), "{why}");
}

#[tokio::test]
async fn what_is_left_behind_is_said_of_each_way_back() {
    for (kind, by, expected) in [("Deployment", "undo", "commit the revert"), ("Rollout", "abort", "shows Degraded")] {
        let world = World::with(kind, "by", json!(by)).await;
        let (_, parts) = path("kubernetes", &world.config);
        assert!(parts.leaves_behind.unwrap().contains(expected));
    }
}

#[tokio::test]
async fn mistakes_in_the_config_say_what_was_expected() {
    let world = World::new("Deployment").await;
    for (key, value, expected) in [
        ("kind", json!("DaemonSet"), "expected Deployment or StatefulSet or Rollout"),
        ("by", json!("abort"), "is for `kind: Rollout` alone"),
        ("name", json!("Shop"), "as Kubernetes takes it"),
        ("namespace", json!("../kube-system"), "as Kubernetes takes it"),
        ("namespace", json!(null), "has no `namespace`"),
        ("version", json!("{{ tag }}"), "unknown template variable"),
        ("kubeconfig", json!("/etc/kube/config"), "not both"),
        ("context", json!("prod"), "one of a `kubeconfig`"),
        ("url", json!(null), "`bearer_token_file` goes with `url` alone"),
        ("url", json!("https://user:hunter2@k8s.test"), "no user name or password"),
        ("poll_interval", json!("1ms"), "expected 10ms to"),
        ("deployment", json!("x"), "unknown key `deployment`"),
    ] {
        let mut config = world.config.clone();
        config[key] = value;
        let said = mistakes("kubernetes", &config);
        assert!(said.contains(expected) && !said.contains("hunter2"), "{key}: {said}");
    }
    let mut config = world.config.clone();
    (config["container"], config["label"]) = (json!("shop"), json!("version"));
    assert!(mistakes("kubernetes", &config).contains("`container` and `label`"));
    (config["revision"], config["version"]) = (json!("7"), json!("v41"));
    assert!(mistakes("kubernetes", &config).contains("not both"));
}
