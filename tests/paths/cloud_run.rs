//! The path `cloud_run`, against a stand-in that keeps a service, its revisions and its operations as Cloud Run does.
//!
//! Names of fields, states and parameters: Google's discovery document `run.v2`, revision 20261031 (in the package
//! google-api-python-client 2.202.0 as `run.v2.json`, Apache-2.0). The metadata server: Google, "Access metadata from the
//! metadata server". The exchange of an assertion: Google, "Using OAuth 2.0 for server to server applications".

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::contract::{Contract, SECRET, secret_file};
use crate::world::{Attempts, LONG, attempt, mistakes, no_place, order, path, serve, why, would_fail};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{self, KeyPair as _, UnparsedPublicKey};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rollbackd::paths::{Progress, RollbackPath};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const REGION: &str = "/v2/projects/acme-prod/locations/us-central1";

const BY_REVISION: &str = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION";

/// Fields of `GoogleCloudRunV2TrafficTarget`, all that it has.
const TRAFFIC_TARGET: &[&str] = &["type", "revision", "percent", "tag"];

struct Platform {
    /// Goes up with each change.
    generation: usize,
    traffic: Value,
    statuses: Value,
    /// Looks at the operation until it is done.
    steps: usize,
    /// What the operation ends with instead of a response.
    error: Option<Value>,
    operations: usize,
    revisions: Vec<Value>,
    modifier: &'static str,
    update_time: &'static str,
    reconciling: bool,
    terminal: Value,
    /// Somebody else changes the traffic after the service was read so often.
    interferes_after: Option<usize>,
    reads: usize,
    /// The next changes are answered with this status and are not carried out.
    conflicts: usize,
    /// Bodies of the changes that were carried out.
    changes: Vec<Value>,
    /// What tokens are asked for and given.
    tokens_given: usize,
    expires_in: u64,
    /// The public key of the service account.
    public_key: Vec<u8>,
    token_status: u16,
}

type Shared = Arc<Mutex<Platform>>;

fn revision(name: &str, image: &str, created: &str, ready: &str) -> Value {
    json!({
        "name": format!("projects/acme-prod/locations/us-central1/services/shop/revisions/{name}"),
        "createTime": created,
        "containers": [{"name": "shop", "image": image, "ports": [{"containerPort": 8080}]}, {"name": "proxy", "image": "gcr.io/x/proxy:v41"}],
        "containerStatuses": [{"name": "shop", "imageDigest": format!("{}@sha256:{name}", image.split(':').next().unwrap())}],
        "conditions": [{"type": "Active", "state": "CONDITION_FAILED", "revisionReason": "RETIRED"}, {"type": "Ready", "state": ready, "message": "the container did not start"}],
    })
}

impl Platform {
    fn new() -> Self {
        let image = |tag: &str| format!("us-docker.pkg.dev/acme/shop/api:{tag}");
        Self {
            generation: 7,
            traffic: json!([
                {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100},
                {"type": BY_REVISION, "revision": "shop-00039-old", "tag": "canary"},
            ]),
            statuses: json!([{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]),
            steps: 2,
            error: None,
            operations: 0,
            revisions: vec![
                revision("shop-00042-bad", &image("v42"), "2026-01-04T10:00:00.123456Z", "CONDITION_SUCCEEDED"),
                revision("shop-00041-sad", &image("v41"), "2026-01-03T10:00:00Z", "CONDITION_FAILED"),
                revision("shop-00040-abc", &image("v41"), "2026-01-02T10:00:00Z", "CONDITION_SUCCEEDED"),
                revision("shop-00039-old", &image("v41"), "2026-01-01T10:00:00Z", "CONDITION_SUCCEEDED"),
            ],
            modifier: "deployer@acme.test",
            update_time: "2026-01-04T10:00:05.123456Z",
            reconciling: false,
            terminal: json!({"type": "Ready", "state": "CONDITION_SUCCEEDED"}),
            interferes_after: None,
            reads: 0,
            conflicts: 0,
            changes: Vec::new(),
            tokens_given: 0,
            expires_in: 3599,
            public_key: Vec::new(),
            token_status: 200,
        }
    }

    fn etag(&self) -> String {
        format!("\"etag-{}\"", self.generation)
    }

    fn service(&mut self) -> Response {
        self.reads += 1;
        self.goes_on();
        let shown = json!({
            "name": "projects/acme-prod/locations/us-central1/services/shop", "uid": "u", "etag": self.etag(),
            "generation": self.generation.to_string(), "updateTime": self.update_time, "lastModifier": self.modifier,
            "reconciling": self.reconciling, "traffic": self.traffic, "trafficStatuses": self.statuses,
            "terminalCondition": self.terminal, "template": {"containers": []},
        });
        if self.interferes_after == Some(self.reads) {
            self.interfere();
        }
        Json(shown).into_response()
    }

    fn interfere(&mut self) {
        self.generation += 1;
        self.modifier = "ann@acme.test";
        self.traffic = json!([{"type": BY_REVISION, "revision": "shop-00039-old", "percent": 100}]);
        self.statuses = self.traffic.clone();
    }

    fn change(&mut self, query: &str, body: Value) -> Response {
        assert_eq!(query, "updateMask=traffic");
        for (name, _) in body.as_object().unwrap() {
            assert!(["etag", "traffic"].contains(&name.as_str()), "{name} is not changed by a rollback");
        }
        for target in body["traffic"].as_array().unwrap() {
            let unknown = target.as_object().unwrap().keys().find(|name| !TRAFFIC_TARGET.contains(&name.as_str()));
            assert_eq!(unknown, None);
        }
        if self.conflicts > 0 {
            self.conflicts -= 1;
            return problem(409, "ABORTED", "Conflict for resource 'shop'");
        }
        if body["etag"] != json!(self.etag()) {
            return problem(409, "ABORTED", "the etag is not the current one");
        }
        self.generation += 1;
        self.modifier = "rollbackd@acme.test";
        self.update_time = "2099-01-01T00:00:00Z";
        self.traffic = body["traffic"].clone();
        self.reconciling = true;
        self.changes.push(body);
        self.operations += 1;
        Json(self.operation()).into_response()
    }

    /// By the project's number, as Google names it.
    fn operation(&self) -> Value {
        json!({"name": "projects/4711/locations/us-central1/operations/op-1", "metadata": {}, "done": false})
    }

    fn look(&mut self) -> Response {
        if self.operations == 0 {
            return problem(404, "NOT_FOUND", "no such operation");
        }
        let mut shown = self.operation();
        self.goes_on();
        if self.steps == 0 {
            shown["done"] = json!(true);
            match &self.error {
                Some(error) => shown["error"] = error.clone(),
                None => shown["response"] = json!({}),
            }
        }
        Json(shown).into_response()
    }

    /// The traffic moves a step further each time that somebody looks.
    fn goes_on(&mut self) {
        if self.operations > 0 && self.steps > 0 {
            self.steps -= 1;
            if self.steps == 0 {
                self.reconciling = false;
                if self.error.is_none() {
                    self.statuses = self.traffic.clone();
                }
            }
        }
    }

    /// Two to a page.
    fn list(&self, query: &str) -> Response {
        assert!(query.contains("pageSize=100"), "{query}");
        let from = query.split_once("pageToken=").map_or(0, |(_, token)| token.parse::<usize>().unwrap());
        let to = (from + 2).min(self.revisions.len());
        let mut page = json!({"revisions": self.revisions[from..to]});
        if to < self.revisions.len() {
            page["nextPageToken"] = json!(to.to_string());
        }
        Json(page).into_response()
    }

    fn give_token(&mut self) -> Response {
        if self.token_status != 200 {
            return problem(self.token_status, "UNAVAILABLE", "no token");
        }
        self.tokens_given += 1;
        let token = format!("ya29.{}", self.tokens_given);
        Json(json!({"access_token": token, "expires_in": self.expires_in, "token_type": "Bearer"})).into_response()
    }

    /// Takes an assertion that the service account signed.
    fn exchange(&mut self, form: &str, audience: &str) -> Response {
        let assertion = form.split_once("&assertion=").unwrap().1;
        assert!(form.starts_with("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&"), "{form}");
        let (signed, signature) = assertion.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let key = UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, &self.public_key);
        key.verify(signed.as_bytes(), &signature).unwrap();
        let parts: Vec<Value> = signed
            .split('.')
            .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
            .collect();
        assert_eq!(parts[0], json!({"alg": "RS256", "typ": "JWT", "kid": "key-1"}));
        let claims = &parts[1];
        assert_eq!(claims["iss"], "rollbackd@acme.test");
        assert_eq!(claims["aud"], audience);
        assert!(claims["scope"].as_str().unwrap().starts_with("https://www.googleapis.com/auth/"));
        let lasts = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert!((1..=3600).contains(&lasts), "{lasts}");
        self.give_token()
    }
}

fn problem(status: u16, name: &str, message: &str) -> Response {
    let body = Json(json!({"error": {"code": status, "status": name, "message": message}}));
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

async fn answer(State(platform): State<Shared>, request: Request) -> Response {
    let (method, uri) = (request.method().to_string(), request.uri().clone());
    let headers = request.headers().clone();
    let host = headers["host"].to_str().unwrap().to_owned();
    let body = axum::body::to_bytes(request.into_body(), 65536).await.unwrap();
    let mut platform = platform.lock().unwrap_or_else(PoisonError::into_inner);
    if uri.path() == "/computeMetadata/v1/instance/service-accounts/default/token" {
        assert_eq!(headers["metadata-flavor"], "Google");
        return platform.give_token();
    }
    if uri.path() == "/token" {
        return platform.exchange(std::str::from_utf8(&body).unwrap(), &format!("http://{host}/token"));
    }
    let token = headers["authorization"].to_str().unwrap();
    if token != format!("Bearer {SECRET}") && token != format!("Bearer ya29.{}", platform.tokens_given) {
        return problem(401, "UNAUTHENTICATED", "no valid token");
    }
    let tail = uri.path().strip_prefix(REGION).unwrap_or_else(|| panic!("a request to {uri}"));
    let segments: Vec<&str> = tail.split('/').skip(1).collect();
    match (method.as_str(), segments.as_slice()) {
        ("GET", ["services", "shop"]) => platform.service(),
        ("PATCH", ["services", "shop"]) => {
            platform.change(uri.query().unwrap(), serde_json::from_slice(&body).unwrap())
        }
        ("GET", ["services", "shop", "revisions"]) => platform.list(uri.query().unwrap()),
        ("GET", ["services", "shop", "revisions", name]) => {
            let end = format!("/{name}");
            let found = platform.revisions.iter().find(|each| each["name"].as_str().unwrap().ends_with(&end));
            found.map_or_else(|| problem(404, "NOT_FOUND", "no such revision"), |each| Json(each).into_response())
        }
        ("GET", ["operations", "op-1"]) => platform.look(),
        other => panic!("a request that Cloud Run's API does not have: {other:?}"),
    }
}

pub(crate) const CONTRACT: Contract = Contract {
    kind: "cloud_run",
    platform: || Box::pin(async { World::new().await.url }),
    config,
    is_change: |seen| seen.method == "PATCH",
};

fn config(url: &str, dir: &Path) -> Value {
    json!({
        "project": "acme-prod", "region": "us-central1", "service": "shop", "url": url,
        "bearer_token_file": secret_file(dir), "poll_interval": "10ms",
    })
}

struct World {
    platform: Shared,
    url: String,
    dir: TempDir,
}

impl World {
    async fn new() -> Self {
        let platform = Arc::new(Mutex::new(Platform::new()));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&platform));
        let url = format!("{}/", serve(router).await);
        Self { platform, url, dir: tempfile::tempdir().unwrap() }
    }

    fn platform(&self) -> MutexGuard<'_, Platform> {
        self.platform.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self) -> Value {
        config(&self.url, self.dir.path())
    }

    async fn start_as(&self, config: &Value) -> Outcome {
        let (path, order) = attempt("cloud_run", config);
        path.start(&order, &no_place(), &mpsc::channel(8).0, CancellationToken::new()).await
    }

    fn without_token_file(&self, key: &str, value: Value) -> Value {
        let mut config = self.config();
        config.as_object_mut().unwrap().remove("bearer_token_file");
        config[key] = value;
        config
    }

    /// A new key of the service account, of which the stand-in knows the public half.
    fn key_file(&self, token_uri: &str) -> std::path::PathBuf {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        self.platform().public_key = pair.public_key().as_ref().to_vec();
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let private =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
        let file = self.dir.path().join("key.json");
        let key = json!({
            "type": "service_account", "project_id": "acme-prod", "private_key_id": "key-1", "private_key": private,
            "client_email": "rollbackd@acme.test", "token_uri": token_uri,
        });
        std::fs::write(&file, key.to_string()).unwrap();
        file
    }
}

impl Attempts for World {
    fn attempt(&self) -> (RollbackPath, Order) {
        attempt("cloud_run", &self.config())
    }
}

fn done(revision: &str) -> Outcome {
    Outcome::Succeeded { receipt: Some(revision.to_owned()), output: format!("all traffic goes to {revision}") }
}

#[tokio::test]
async fn all_traffic_goes_to_the_newest_ready_revision_of_the_version_and_tags_stay() {
    let world = World::new().await;
    let (path, parts) = path("cloud_run", &world.config());
    let (progress, mut told) = mpsc::channel(8);
    let outcome = path.start(&order(&parts, LONG), &no_place(), &progress, CancellationToken::new()).await;
    assert_eq!(outcome, done("shop-00040-abc"));
    let handle = "shop-00040-abc/operations/op-1".to_owned();
    assert_eq!(told.try_recv(), Ok(Progress::Started { handle }));
    let traffic = json!([
        {"type": BY_REVISION, "revision": "shop-00040-abc", "percent": 100},
        {"type": BY_REVISION, "revision": "shop-00039-old", "tag": "canary"},
    ]);
    assert_eq!(world.platform().changes, [json!({"etag": "\"etag-7\"", "traffic": traffic})]);
    assert!(parts.leaves_behind.unwrap().contains("update-traffic shop --to-latest --region us-central1"));
}

#[tokio::test]
async fn a_revision_is_found_by_its_name_its_digest_or_its_whole_image() {
    for (key, value) in [
        ("revision", "shop-00040-abc"),
        ("image", "sha256:shop-00040-abc"),
        ("image", "us-docker.pkg.dev/acme/shop/api:{{ target.version }}"),
    ] {
        let world = World::new().await;
        let mut config = world.config();
        config[key] = json!(value);
        assert_eq!(world.start_as(&config).await, done("shop-00040-abc"), "{value}");
    }
}

#[tokio::test]
async fn without_a_revision_that_is_ready_nothing_is_changed() {
    for (key, value, expected) in [
        ("revision", "shop-00041-sad", "the container did not start"),
        ("revision", "shop-00001-xyz", "404"),
        ("image", "v40", "no revision that is ready and whose image is v40"),
        // The tag of another container than the one that serves.
        ("image", "gcr.io/x/proxy:v41", "no revision that is ready"),
    ] {
        let world = World::new().await;
        let mut config = world.config();
        config[key] = json!(value);
        let before = would_fail(&attempt("cloud_run", &config)).await;
        let why = why(world.start_as(&config).await);
        assert!(why.contains(expected), "{why}");
        assert_eq!(why, format!("failed: {before}; nothing ran"));
        assert_eq!(world.platform().changes, [] as [Value; 0]);
    }
}

#[tokio::test]
async fn what_has_the_traffic_already_is_not_changed_again() {
    let world = World::new().await;
    world.platform().traffic = json!([{"type": BY_REVISION, "revision": "shop-00040-abc", "percent": 100}]);
    let traffic = world.platform().traffic.clone();
    world.platform().statuses = traffic;
    assert_eq!(world.start().await, done("shop-00040-abc"));
    assert_eq!(world.platform().changes.len(), 0);
}

#[tokio::test]
async fn somebody_elses_change_in_between_is_not_overwritten() {
    let world = World::new().await;
    world.platform().interferes_after = Some(1);
    let why = why(world.start().await);
    assert!(why.contains("changed by ann@acme.test") && why.contains("shop-00039-old 100%"), "{why}");
    assert!(why.ends_with("nothing ran"), "{why}");
    assert_eq!(world.platform().changes.len(), 0);
}

#[tokio::test]
async fn a_conflict_with_cloud_run_itself_is_tried_again_and_not_for_ever() {
    let world = World::new().await;
    world.platform().conflicts = 2;
    assert_eq!(world.start().await, done("shop-00040-abc"));
    assert_eq!(world.platform().changes.len(), 1);

    let world = World::new().await;
    world.platform().conflicts = 9;
    assert!(why(world.start().await).ends_with("nothing ran"));
    assert_eq!(world.platform().conflicts, 6);
}

#[tokio::test]
async fn a_change_that_somebody_replaces_is_told_apart_from_one_that_failed() {
    let world = World::new().await;
    assert_eq!(world.start().await, done("shop-00040-abc"));
    world.platform().interfere();
    let said = why(world.follow(Some("shop-00040-abc/operations/op-1")).await);
    assert!(said.starts_with("cancelled:") && said.contains("ann@acme.test"), "{said}");

    for (code, expected) in [(1, "cancelled:"), (10, "cancelled:"), (9, "failed:")] {
        let world = World::new().await;
        world.platform().error = Some(json!({"code": code, "message": "it could not be routed"}));
        let said = why(world.start().await);
        assert!(said.starts_with(expected) && said.contains("it could not be routed"), "{code}: {said}");
    }
}

#[tokio::test]
async fn the_traffic_that_is_shown_counts_more_than_how_the_operation_ended() {
    // The newest revision never became ready: operations fail, although the traffic is where it should be.
    let world = World::new().await;
    world.platform().error = Some(json!({"code": 9, "message": "revision shop-00042-bad is not ready"}));
    world.platform().terminal = json!({"type": "Ready", "state": "CONDITION_FAILED", "message": "not ready"});
    world.platform().statuses = json!([{"type": BY_REVISION, "revision": "shop-00040-abc", "percent": 100}]);
    assert_eq!(world.start().await, done("shop-00040-abc"));
}

#[tokio::test]
async fn after_a_crash_the_service_says_what_was_begun() {
    // Never begun: nobody changed the service since long before the attempt.
    let world = World::new().await;
    assert_eq!(world.follow(None).await, Outcome::NeverStarted);
    // Somebody changed it since then, to something else.
    world.platform().update_time = "2099-01-01T00:00:00Z";
    let said = why(world.follow(None).await);
    assert!(said.starts_with("unknown:") && said.contains("deployer@acme.test"), "{said}");
    // Done, and its operation forgotten.
    let traffic = json!([{"type": BY_REVISION, "revision": "shop-00040-abc", "percent": 100}]);
    world.platform().traffic = traffic.clone();
    world.platform().statuses = traffic;
    for handle in [None, Some("shop-00040-abc/operations/op-1"), Some("shop-00040-abc")] {
        assert_eq!(world.follow(handle).await, done("shop-00040-abc"), "{handle:?}");
    }
    assert_eq!(world.platform().changes.len(), 0);
}

#[tokio::test]
async fn the_metadata_servers_token_is_used_until_shortly_before_its_end() {
    let world = World::new().await;
    let config = world.without_token_file("metadata_url", json!(world.url));
    assert_eq!(world.start_as(&config).await, done("shop-00040-abc"));
    assert_eq!(world.platform().tokens_given, 1);

    let world = World::new().await;
    world.platform().expires_in = 30;
    let config = world.without_token_file("metadata_url", json!(world.url));
    assert_eq!(world.start_as(&config).await, done("shop-00040-abc"));
    assert!(world.platform().tokens_given > 5, "{}", world.platform().tokens_given);
}

#[tokio::test]
async fn the_token_of_a_look_before_is_that_of_the_attempt_which_follows() {
    let world = World::new().await;
    let (path, order) = attempt("cloud_run", &world.without_token_file("metadata_url", json!(world.url)));
    let found = path.preflight(&order, &no_place()).unwrap().await.unwrap();
    assert_eq!(world.platform().tokens_given, 1);
    assert_eq!(world.platform().changes, [] as [Value; 0]);
    let (progress, stop) = (mpsc::channel(8).0, CancellationToken::new());
    assert_eq!(path.start_ready(&order, &no_place(), &found, &progress, stop).await, done("shop-00040-abc"));
    assert_eq!(world.platform().tokens_given, 1);
}

#[tokio::test]
async fn a_service_accounts_key_signs_for_a_token() {
    let world = World::new().await;
    let file = world.key_file(&format!("{}token", world.url));
    assert_eq!(world.start_as(&world.without_token_file("key_file", json!(file))).await, done("shop-00040-abc"));
    assert_eq!(world.platform().tokens_given, 1);
}

#[tokio::test]
async fn without_a_token_nothing_is_asked_and_no_key_is_shown() {
    let world = World::new().await;
    let file = world.key_file("http://oauth2.test/token");
    let config = world.without_token_file("key_file", json!(file));
    let said = why(world.start_as(&config).await);
    assert!(said.contains("its token_uri is not https") && said.ends_with("nothing ran"), "{said}");
    for (text, expected) in [
        ("{\"type\": \"authorized_user\", \"client_email\": \"s3cret\"}", "the JSON of a service account's key"),
        ("s3cret", "the JSON of a service account's key"),
    ] {
        std::fs::write(&file, text).unwrap();
        let said = why(world.start_as(&config).await);
        assert!(said.contains(expected) && !said.contains("s3cret"), "{said}");
    }
    for (status, expected) in [(404, "has a service account"), (503, "could not ask Cloud Run: there is no token")] {
        world.platform().token_status = status;
        let said = why(world.start_as(&world.without_token_file("metadata_url", json!(world.url))).await);
        assert!(said.contains(expected) && said.ends_with("nothing ran"), "{said}");
    }
    assert_eq!(world.platform().reads, 0);
}

#[tokio::test]
async fn mistakes_in_the_config_say_what_was_expected() {
    let world = World::new().await;
    for (key, value, expected) in [
        ("url", json!("http://run.test"), "expected an https URL"),
        ("url", json!("https://user:hunter2@run.test"), "no user name or password"),
        ("project", json!("projects/acme-prod"), "without a path before it"),
        ("region", json!(".."), "the name of a region"),
        ("service", json!(null), "service"),
        ("revision", json!("{{ revision }}"), "unknown template variable"),
        ("key_file", json!("/k"), "expected one of `key_file`"),
        ("metadata_url", json!("http://127.0.0.1:1"), "expected one of `key_file`"),
        ("poll_interval", json!("1ms"), "expected 10ms to"),
        ("regoin", json!("x"), "did you mean `region`"),
    ] {
        let mut config = world.config();
        config[key] = value;
        let said = mistakes("cloud_run", &config);
        assert!(said.contains(expected) && !said.contains("hunter2"), "{key}: {said}");
    }
    let mut config = world.config();
    config["revision"] = json!("r");
    config["image"] = json!("i");
    assert!(mistakes("cloud_run", &config).contains("not both"));
}
