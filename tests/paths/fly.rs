//! The path `fly`, against a stand-in that keeps machines and leases as Fly.io's Machines API does.
//!
//! Routes, bodies and states: Fly.io's documentation of the Machines API (superfly/docs at 1e41182 and dc34b02, "Machines" and
//! "Machine states and lifecycle") and the types of superfly/fly-go (`machine_types.go`, `flaps/flaps_machines.go`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::contract::{Contract, SECRET, secret_file};
use crate::world::{Attempts, LONG, attempt, mistakes, no_place, order, path, serve, why, would_fail};
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

/// What the body of an update may have ("Update a Machine", body parameters).
const UPDATE: &[&str] =
    &["config", "current_version", "name", "region", "lease_ttl", "skip_launch", "lsvd", "skip_service_registration"];

/// What an updated machine shows, one after another, when it is looked at.
const COMING: &[(&str, &str)] = &[("replacing", "critical"), ("started", "critical"), ("started", "passing")];

struct Platform {
    machines: BTreeMap<String, Value>,
    /// What each machine that was updated still shows.
    coming: BTreeMap<String, Vec<(&'static str, &'static str)>>,
    /// What the next updates come to.
    becomes: &'static [(&'static str, &'static str)],
    /// By machine: the nonce and the description.
    leases: BTreeMap<String, (String, String)>,
    /// The machines that were updated, in order, with whether they were to be launched.
    updates: Vec<(String, bool)>,
    /// Another's lease lasts for so many tries.
    leased_elsewhere: usize,
    /// The next updates are answered with this status, and are not carried out.
    refusals: Vec<u16>,
}

type Shared = Arc<Mutex<Platform>>;

fn image_ref(reference: &str) -> Value {
    let (place, tag) = reference.rsplit_once(':').unwrap();
    let (registry, repository) = place.split_once('/').unwrap();
    json!({"registry": registry, "repository": repository, "tag": tag, "digest": format!("sha256:{tag}"), "labels": {}})
}

fn machine(id: &str, tag: &str) -> Value {
    let image = format!("registry.fly.io/shop:{tag}");
    json!({
        "id": id, "name": id, "state": "started", "region": "ord", "instance_id": format!("{id}-1"), "image_ref": image_ref(&image),
        "config": {
            "image": image, "env": {"A": "b"}, "guest": {"cpus": 1, "memory_mb": 256},
            "metadata": {"fly_process_group": "app", "fly_release_version": "42"},
            "services": [{"internal_port": 8080, "checks": [{"type": "http"}]}],
        },
        "checks": [{"name": "servicecheck-00-http-8080", "status": "passing"}, {"name": "bg_deployments_compat", "status": "critical"}],
        "host_status": "ok",
    })
}

fn refused(status: u16, why: &str) -> Response {
    (StatusCode::from_u16(status).unwrap(), Json(json!({"error": why, "status": "unknown"}))).into_response()
}

impl Platform {
    fn new(machines: &[Value]) -> Self {
        let machines = machines.iter().map(|each| (each["id"].as_str().unwrap().to_owned(), each.clone())).collect();
        Self {
            machines,
            coming: BTreeMap::new(),
            becomes: COMING,
            leases: BTreeMap::new(),
            updates: Vec::new(),
            leased_elsewhere: 0,
            refusals: Vec::new(),
        }
    }

    fn shown(&mut self, id: &str) -> Response {
        let Some(machine) = self.machines.get_mut(id) else { return refused(404, "machine not found") };
        let coming = self.coming.entry(id.to_owned()).or_default();
        if !coming.is_empty() {
            let (state, check) = coming.remove(0);
            machine["state"] = json!(state);
            machine["checks"] = json!([{"name": "servicecheck-00-http-8080", "status": check}]);
        }
        Json(machine.clone()).into_response()
    }

    fn update(&mut self, id: &str, nonce: Option<&str>, body: &Value) -> Response {
        let unknown = body.as_object().unwrap().keys().find(|name| !UPDATE.contains(&name.as_str()));
        assert_eq!(unknown, None);
        let held = self.leases.get(id).map(|(nonce, _)| nonce.as_str());
        assert!(held.is_some() && held == nonce, "an update of {id} without its lease");
        let busy = self.coming.iter().find(|(other, coming)| *other != id && !coming.is_empty());
        assert_eq!(busy, None, "two machines at once");
        if !self.refusals.is_empty() {
            return refused(self.refusals.remove(0), "manifest unknown");
        }
        let machine = self.machines.get_mut(id).unwrap();
        if body["current_version"] != machine["instance_id"] {
            return refused(409, "the machine has another version");
        }
        let mut before = machine["config"].clone();
        before["image"] = body["config"]["image"].clone();
        assert_eq!(body["config"], before, "more than the image changed");
        machine["config"] = before;
        machine["image_ref"] = image_ref(body["config"]["image"].as_str().unwrap());
        machine["instance_id"] = json!(format!("{id}-2"));
        let skip = body["skip_launch"] == json!(true);
        if !skip {
            machine["state"] = json!("replacing");
            self.coming.insert(id.to_owned(), self.becomes.to_vec());
        }
        self.updates.push((id.to_owned(), !skip));
        Json(machine.clone()).into_response()
    }

    fn lease(&mut self, id: &str, body: &Value) -> Response {
        if self.leased_elsewhere > 0 {
            self.leased_elsewhere -= 1;
            return refused(409, "lease currently held by ann@acme.test");
        }
        assert!(body["ttl"].as_u64().unwrap() < 120, "{body}");
        if self.leases.contains_key(id) {
            return refused(409, "lease currently held by rollbackd");
        }
        let description = body["description"].as_str().unwrap().to_owned();
        self.leases.insert(id.to_owned(), (format!("nonce-{id}"), description));
        (StatusCode::CREATED, Json(self.lease_of(id))).into_response()
    }

    fn lease_of(&self, id: &str) -> Value {
        let (nonce, description) = &self.leases[id];
        json!({"status": "success", "data": {"nonce": nonce, "description": description, "owner": "x", "expires_at": 1}})
    }
}

async fn answer(State(platform): State<Shared>, request: Request) -> Response {
    if request.headers()["authorization"] != format!("Bearer {SECRET}").as_str() {
        return refused(401, "no valid token");
    }
    let (method, uri) = (request.method().to_string(), request.uri().clone());
    let nonce = request.headers().get("fly-machine-lease-nonce").map(|nonce| nonce.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(request.into_body(), 65536).await.unwrap();
    let body = || serde_json::from_slice(&body).unwrap();
    let tail = uri.path().strip_prefix("/v1/apps/shop/machines").unwrap_or_else(|| panic!("a request to {uri}"));
    let segments: Vec<&str> = tail.split('/').skip(1).collect();
    let mut platform = platform.lock().unwrap_or_else(PoisonError::into_inner);
    match (method.as_str(), segments.as_slice()) {
        ("GET", []) => Json(platform.machines.values().cloned().collect::<Vec<_>>()).into_response(),
        ("GET", [id]) => platform.shown(id),
        ("POST", [id]) => platform.update(id, nonce.as_deref(), &body()),
        ("POST", [id, "lease"]) => platform.lease(id, &body()),
        ("GET", [id, "lease"]) if platform.leases.contains_key(*id) => Json(platform.lease_of(id)).into_response(),
        ("GET", [_, "lease"]) => refused(404, "no lease"),
        ("DELETE", [id, "lease"]) => {
            assert_eq!(platform.leases.remove(*id).map(|(nonce, _)| nonce), nonce);
            Json(json!({"status": "success", "data": {"ok": true}})).into_response()
        }
        other => panic!("a request that Fly.io's API does not have: {other:?}"),
    }
}

/// One machine: what becomes of several after a crash is in the tests below.
pub(crate) const CONTRACT: Contract = Contract {
    kind: "fly",
    platform: || Box::pin(async { World::of(&[machine("m1", "v42")]).await.url }),
    config,
    is_change: |seen| seen.method == "POST" && !seen.uri.path().ends_with("/lease"),
};

fn config(url: &str, dir: &Path) -> Value {
    json!({
        "app": "shop", "image": "registry.fly.io/shop:{{ target.version }}", "url": url,
        "bearer_token_file": secret_file(dir), "poll_interval": "10ms",
    })
}

struct World {
    platform: Shared,
    url: String,
    dir: TempDir,
}

impl World {
    async fn of(machines: &[Value]) -> Self {
        let platform = Arc::new(Mutex::new(Platform::new(machines)));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&platform));
        let url = format!("{}/", serve(router).await);
        Self { platform, url, dir: tempfile::tempdir().unwrap() }
    }

    /// Two machines with the bad version and one that has the target already.
    async fn new() -> Self {
        Self::of(&[machine("m1", "v42"), machine("m2", "v41"), machine("m3", "v42")]).await
    }

    fn platform(&self) -> MutexGuard<'_, Platform> {
        self.platform.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn updated(&self) -> Vec<String> {
        self.platform().updates.iter().map(|(id, _)| id.clone()).collect()
    }
}

impl Attempts for World {
    fn attempt(&self) -> (RollbackPath, Order) {
        attempt("fly", &config(&self.url, self.dir.path()))
    }
}

fn done(machines: &str) -> Outcome {
    let image = "registry.fly.io/shop:v41";
    Outcome::Succeeded { receipt: Some(image.to_owned()), output: format!("{machines} has {image}") }
}

#[tokio::test]
async fn machine_after_machine_gets_the_image_and_is_healthy_before_the_next() {
    let world = World::new().await;
    let (path, parts) = path("fly", &config(&world.url, world.dir.path()));
    let (progress, mut told) = mpsc::channel(8);
    let outcome = path.start(&order(&parts, LONG), &no_place(), &progress, CancellationToken::new()).await;
    assert_eq!(outcome, done("m1/m1-2, m2/m2-1, m3/m3-2"));
    for handle in ["m1/m1-2", "m3/m3-2"] {
        assert_eq!(told.try_recv(), Ok(Progress::Started { handle: handle.to_owned() }));
    }
    assert_eq!(world.updated(), ["m1", "m3"]);
    assert!(world.platform().leases.is_empty());
    assert!(parts.leaves_behind.unwrap().contains("neither `fly releases` nor fly.toml"));
}

#[tokio::test]
async fn only_machines_of_the_process_group_change_and_stopped_ones_stay_stopped() {
    let (mut worker, mut asleep) = (machine("m0", "v42"), machine("m4", "v42"));
    worker["config"]["metadata"]["fly_process_group"] = json!("worker");
    asleep["state"] = json!("stopped");
    let world = World::of(&[worker, machine("m1", "v42"), asleep]).await;
    assert_eq!(world.start().await, done("m1/m1-2, m4/m4-2"));
    assert_eq!(world.platform().updates, [("m1".to_owned(), true), ("m4".to_owned(), false)]);
}

#[tokio::test]
async fn a_machine_that_fails_ends_the_attempt_and_the_others_stay_as_they_are() {
    let world = World::new().await;
    world.platform().becomes = &[("replacing", "critical"), ("failed", "critical")];
    let said = why(world.start().await);
    assert!(said.starts_with("failed: machine m1 has the image and is failed"), "{said}");
    assert_eq!(world.updated(), ["m1"]);
}

#[tokio::test]
async fn a_refusal_after_the_first_machine_says_what_was_changed_before() {
    let world = World::new().await;
    let (path, parts) = path("fly", &config(&world.url, world.dir.path()));
    let (progress, mut told) = mpsc::channel(1);
    let (order, place) = (order(&parts, LONG), no_place());
    let (outcome, ()) = tokio::join!(path.start(&order, &place, &progress, CancellationToken::new()), async {
        told.recv().await.unwrap();
        world.platform().refusals.push(422);
    });
    let said = why(outcome);
    assert!(said.contains("manifest unknown") && said.contains("1 of its parts (machine) had been changed"), "{said}");
    assert!(said.starts_with("failed:") && !said.contains("nothing ran"), "{said}");
    assert!(world.platform().leases.is_empty());
}

#[tokio::test]
async fn somebody_elses_lease_is_waited_for() {
    let world = World::new().await;
    world.platform().leased_elsewhere = 1;
    assert_eq!(world.start().await, done("m1/m1-2, m2/m2-1, m3/m3-2"));
}

#[tokio::test]
async fn a_machine_that_somebody_else_changes_is_told_apart_from_a_failure() {
    let world = World::new().await;
    let (path, parts) = path("fly", &config(&world.url, world.dir.path()));
    let (progress, mut told) = mpsc::channel(1);
    let (order, place) = (order(&parts, LONG), no_place());
    let (outcome, ()) = tokio::join!(path.start(&order, &place, &progress, CancellationToken::new()), async {
        told.recv().await.unwrap();
        world.platform().machines.insert("m3".to_owned(), machine("m3", "v43"));
    });
    let said = why(outcome);
    assert!(said.starts_with("cancelled: machine m3 was changed by somebody else") && said.contains("v43"), "{said}");
    assert_eq!(world.updated(), ["m1"]);
}

#[tokio::test]
async fn what_can_not_be_changed_is_named() {
    let mut several = machine("m1", "v42");
    several["config"]["containers"] = json!([{"name": "a", "image": "b"}]);
    let said = why(World::of(&[several]).await.start().await);
    assert!(said.contains("several containers") && said.ends_with("nothing ran"), "{said}");

    let mut unreachable = machine("m3", "v42");
    unreachable["incomplete_config"] = unreachable["config"].take();
    unreachable["host_status"] = json!("unreachable");
    let world = World::of(&[machine("m1", "v42"), unreachable]).await;
    let said = why(world.start().await);
    assert!(said.starts_with("failed: machine m3 was not changed: its host can't be reached"), "{said}");
    assert_eq!(world.updated(), ["m1"]);

    let mut worker = machine("m1", "v42");
    worker["config"]["metadata"]["fly_process_group"] = json!("worker");
    let world = World::of(&[worker]).await;
    let before = would_fail(&world.attempt()).await;
    let said = why(world.start().await);
    assert!(said.contains("no machine of the process group app"), "{said}");
    assert_eq!(said, format!("failed: {before}; nothing ran"));
}

#[tokio::test]
async fn after_a_crash_a_part_that_is_done_is_no_success_and_nothing_more_is_changed() {
    // Known by its handle: the machine is healthy, others are not changed.
    let world = World::of(&[machine("m1", "v41"), machine("m3", "v42")]).await;
    let said = why(world.follow(Some("m1/m1-1")).await);
    assert!(said.starts_with("unknown: the daemon ended when a part of the change was done"), "{said}");
    // Not known: some machines have the image, which may always have been so.
    let said = why(world.follow(None).await);
    assert!(said.starts_with("unknown:") && said.contains("1 of 2 machines"), "{said}");
    // An update of ours may be on its way.
    let world = World::of(&[machine("m1", "v42")]).await;
    world.platform().leases.insert("m1".to_owned(), ("nonce".to_owned(), "shop-f-1-a1".to_owned()));
    assert!(why(world.follow(None).await).starts_with("unknown:"));
    // Somebody else's lease says that ours is not.
    world.platform().leases.insert("m1".to_owned(), ("nonce".to_owned(), "deploy".to_owned()));
    assert_eq!(world.follow(None).await, Outcome::NeverStarted);
    assert_eq!(world.updated(), [] as [String; 0]);
    // Asked again, a half-done rollback changes the rest alone.
    let world = World::of(&[machine("m1", "v41"), machine("m3", "v42")]).await;
    assert_eq!(world.start().await, done("m1/m1-1, m3/m3-2"));
    assert_eq!(world.updated(), ["m3"]);
}

#[tokio::test]
async fn when_the_time_is_over_no_further_machine_is_changed() {
    let world = World::new().await;
    let (path, parts) = path("fly", &config(&world.url, world.dir.path()));
    let (progress, mut told) = mpsc::channel(8);
    let (stop, place, order) = (CancellationToken::new(), no_place(), order(&parts, LONG));
    world.platform().becomes = &[("replacing", "critical"); 64];
    let (outcome, ()) = tokio::join!(path.start(&order, &place, &progress, stop.clone()), async {
        told.recv().await.unwrap();
        stop.cancel();
    });
    assert_eq!(outcome, Outcome::TimedOut);
    assert_eq!(world.updated(), ["m1"]);
}

#[tokio::test]
async fn mistakes_in_the_config_say_what_was_expected() {
    let world = World::new().await;
    for (key, value, expected) in [
        ("url", json!("http://fly.test"), "expected an https URL"),
        ("app", json!("../shop"), "expected a name of"),
        ("image", json!("{{ tag }}"), "unknown template variable"),
        ("process_group", json!(""), "expected a name of"),
        ("bearer_token_file", json!(null), "has no `bearer_token_file`"),
        ("poll_interval", json!("1ms"), "expected 10ms to"),
        ("imag", json!("x"), "did you mean `image`"),
    ] {
        let mut config = config(&world.url, world.dir.path());
        config[key] = value;
        let said = mistakes("fly", &config);
        assert!(said.contains(expected), "{key}: {said}");
    }
    let mut internal = config(&world.url, world.dir.path());
    internal["url"] = json!("http://_api.internal:4280");
    assert_eq!(mistakes("fly", &internal), "");
}
