//! Tokens of a GitHub App for the path `github_actions`, against a stand-in that checks what the app signs.
//!
//! Shapes: GitHub's OpenAPI description, `apps/create-installation-access-token`; the claims: GitHub, "Generating a JSON
//! Web Token (JWT) for a GitHub App".

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::contract::{Contract, SECRET};
use crate::github_actions::{Look, World, done};
use crate::world::{LONG, mistakes, no_place, now, order, path, why};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{self, KeyPair as _, UnparsedPublicKey};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rollbackd::paths::RollbackPath;
use rollbackd_core::event::Order;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The app's client id.
const APP: &str = "Iv23liABCDEF";

/// What gives tokens to the app's installation 42.
pub(crate) struct Issuer {
    public_key: Vec<u8>,
    /// What was asked for, each time that a token was given.
    given: Vec<Value>,
    /// What the next requests are answered instead, with a `Retry-After`.
    refusals: Vec<(u16, Option<&'static str>)>,
    /// How long tokens may be used.
    lasts: Duration,
}

pub(crate) type Shared = Arc<Mutex<Issuer>>;

pub(crate) fn issuer() -> Shared {
    let lasts = Duration::from_secs(3600);
    Arc::new(Mutex::new(Issuer { public_key: Vec::new(), given: Vec::new(), refusals: Vec::new(), lasts }))
}

pub(crate) fn router(issuer: &Shared) -> Router {
    let path = "/api/app/installations/42/access_tokens";
    Router::new().route(path, post(give)).with_state(Arc::clone(issuer))
}

fn lock(issuer: &Shared) -> MutexGuard<'_, Issuer> {
    issuer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the claim as GitHub does: signed by the app, made a while ago, and for ten minutes at most.
fn check(claim: &str, public_key: &[u8]) {
    let (signed, signature) = claim.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, public_key);
    key.verify(signed.as_bytes(), &signature).unwrap();
    let parts = signed.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    let parts: Vec<Value> = parts.map(|part| serde_json::from_slice(&part).unwrap()).collect();
    assert_eq!(parts[0], json!({"alg": "RS256", "typ": "JWT"}));
    assert_eq!(parts[1]["iss"], APP);
    let second = now().milliseconds() / 1000;
    let (issued, ends) = (parts[1]["iat"].as_i64().unwrap(), parts[1]["exp"].as_i64().unwrap());
    assert!(issued <= second - 60, "GitHub's clock may be a minute behind ours");
    assert!(ends > second && ends < second + 540, "GitHub's clock may be a minute behind, and takes ten at most");
}

async fn give(State(issuer): State<Shared>, headers: HeaderMap, Json(asked): Json<Value>) -> Response {
    let mut issuer = lock(&issuer);
    check(headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap(), &issuer.public_key);
    assert!(headers["x-github-api-version"] == "2022-11-28" && headers.contains_key("user-agent"));
    if !issuer.refusals.is_empty() {
        let (status, retry_after) = issuer.refusals.remove(0);
        let body = Json(json!({"message": "no, said the stand-in"}));
        let mut answer = (StatusCode::from_u16(status).unwrap(), body).into_response();
        if let Some(seconds) = retry_after {
            answer.headers_mut().insert("retry-after", seconds.parse().unwrap());
        }
        return answer;
    }
    let permissions = asked["permissions"].clone();
    issuer.given.push(asked);
    let expires_at = (now() + issuer.lasts).to_string();
    let given = json!({"token": SECRET, "expires_at": expires_at, "permissions": permissions});
    (StatusCode::CREATED, Json(given)).into_response()
}

/// The same promises as with a token in a file.
pub(crate) const CONTRACT: Contract = Contract {
    kind: "github_actions",
    platform: || {
        Box::pin(async {
            let world = World::new().await;
            let (key, _) = key_pair();
            lock(&world.issuer).public_key.clone_from(key);
            world.url()
        })
    },
    config: |url, dir| {
        let (_, private) = key_pair();
        config(url, &key_file(dir, private))
    },
    is_change: |seen| seen.method == "POST" && !seen.uri.path().ends_with("/access_tokens"),
};

/// The app's key: its public half, and its private one as PEM.
fn key_pair() -> &'static (Vec<u8>, String) {
    static PAIR: std::sync::OnceLock<(Vec<u8>, String)> = std::sync::OnceLock::new();
    PAIR.get_or_init(|| {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let pem = STANDARD.encode(der.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n");
        (pair.public_key().as_ref().to_vec(), pem)
    })
}

fn key_file(dir: &Path, content: &str) -> std::path::PathBuf {
    let file = dir.join("app.pem");
    std::fs::write(&file, content).unwrap();
    file
}

fn config(url: &str, key_file: &Path) -> Value {
    json!({
        "api_url": url, "repo": "acme/shop", "workflow": "deploy.yml", "ref": "main",
        "inputs": {"image_tag": "{{ target.version }}"}, "poll_interval": "10ms",
        "app": {"app_id": APP, "installation_id": 42, "private_key_file": key_file},
    })
}

/// A world with the app, and the config of a path by it.
pub(crate) async fn installed() -> (World, Value) {
    let world = World::new().await;
    let (public, private) = key_pair();
    lock(&world.issuer).public_key.clone_from(public);
    let mut config = config(&world.url(), &key_file(world.dir.path(), private));
    // Then the first request is the dispatch.
    config["correlation_input"] = json!("attempt_id");
    (world, config)
}

/// The same, with an attempt by it.
async fn ready() -> (World, (RollbackPath, Order)) {
    let (world, config) = installed().await;
    let (path, parts) = path("github_actions", &config);
    let order = order(&parts, LONG);
    (world, (path, order))
}

#[tokio::test]
async fn an_app_asks_for_one_token_for_its_repository_and_actions_alone() {
    let (world, attempt) = ready().await;
    assert_eq!(world.start(&attempt).await, done(77));
    let narrowed = json!({"repositories": ["shop"], "permissions": {"actions": "write"}});
    assert_eq!(lock(&world.issuer).given, [narrowed]);
    assert_eq!(world.accepted(), 1);
}

#[tokio::test]
async fn the_token_of_a_look_before_is_that_of_the_attempt_which_follows_and_of_no_later_one() {
    let (world, attempt) = ready().await;
    let (path, order) = &attempt;
    let found = path.preflight(order, &no_place()).unwrap().await.unwrap();
    let (progress, stop) = (mpsc::channel(8).0, CancellationToken::new());
    assert_eq!(path.start_ready(order, &no_place(), &found, &progress, stop).await, done(77));
    assert_eq!(lock(&world.issuer).given.len(), 1);
    world.remote().looks = [Look::Is("completed", Some("success"))].into();
    assert_eq!(world.start(&attempt).await, done(78));
    assert_eq!(lock(&world.issuer).given.len(), 2);
}

#[tokio::test]
async fn a_token_that_ends_is_renewed_before_it_does() {
    let (world, attempt) = ready().await;
    // A minute before its end it is not used any more.
    lock(&world.issuer).lasts = Duration::from_secs(59);
    assert_eq!(world.start(&attempt).await, done(77));
    // The dispatch and three looks at the run.
    assert_eq!(lock(&world.issuer).given.len(), 4);
}

#[tokio::test]
async fn after_a_token_was_refused_another_one_is_asked_for() {
    let (world, attempt) = ready().await;
    world.remote().looks = [Look::Answers(401), Look::Is("completed", Some("success"))].into();
    assert_eq!(world.start(&attempt).await, done(77));
    assert_eq!(lock(&world.issuer).given.len(), 2);
}

#[tokio::test]
async fn without_a_token_nothing_ran_and_what_to_check_is_said() {
    for (status, expected) in [
        (401, "the app's and was not deleted, and this machine's clock"),
        (403, "not suspended"),
        (404, "`installation_id`"),
        (422, "installed for acme/shop and may write its Actions"),
    ] {
        let (world, attempt) = ready().await;
        lock(&world.issuer).refusals = vec![(status, None)];
        let why = why(world.start(&attempt).await);
        assert!(why.starts_with("failed: there is no token for the app Iv23liABCDEF"), "{why}");
        assert!(why.contains(expected) && why.contains("no, said the stand-in"), "{why}");
        assert!(why.ends_with("nothing ran"), "{why}");
        assert_eq!(world.accepted(), 0);
    }
}

#[tokio::test]
async fn a_token_that_is_not_to_be_had_for_a_moment_is_asked_for_again() {
    for refusal in [(500, None), (502, None), (408, None), (429, Some("1")), (403, Some("1"))] {
        let (world, attempt) = ready().await;
        lock(&world.issuer).refusals = vec![refusal];
        assert_eq!(world.start(&attempt).await, done(77), "{refusal:?}");
    }
    let (world, attempt) = ready().await;
    lock(&world.issuer).refusals = vec![(500, None); 3];
    assert!(why(world.start(&attempt).await).starts_with("failed: could not ask GitHub: there is no token"));
    let (world, attempt) = ready().await;
    lock(&world.issuer).refusals = vec![(429, Some("3600"))];
    assert!(why(world.start(&attempt).await).contains("to wait for longer than the path's timeout"));
    assert_eq!(world.accepted(), 0);
}

#[tokio::test]
async fn a_key_that_can_not_be_used_is_named_by_its_file_and_never_shown() {
    let (world, attempt) = ready().await;
    let (_, private) = key_pair();
    let broken = private.replace("PRIVATE KEY", "PUBLIC KEY");
    let inside = private.lines().nth(1).unwrap();
    for content in ["", "s3cret", &broken] {
        let file = key_file(world.dir.path(), content);
        let why = why(world.start(&attempt).await);
        assert!(why.contains(file.to_str().unwrap()) && why.ends_with("nothing ran"), "{why}");
        assert!(!why.contains("s3cret") && !why.contains(inside.get(..20).unwrap()), "{why}");
    }
    assert_eq!(lock(&world.issuer).given.len() + world.accepted(), 0);
}

#[test]
fn mistakes_in_the_app_say_what_was_expected() {
    let config = config("http://127.0.0.1:9", Path::new("/run/app.pem"));
    let with = |key: &str, value: Value| {
        let mut config = config.clone();
        config["app"][key] = value;
        mistakes("github_actions", &config)
    };
    assert!(with("app_id", json!("a b")).contains("client id"));
    assert!(!with("app_id", json!(12345)).contains("app"));
    assert!(with("installation_id", json!("acme")).contains("the installation's number"));
    let pasted = with("private_key_file", json!("-----BEGIN hunter2"));
    assert!(pasted.contains("holds the app's private key") && !pasted.contains("hunter2"), "{pasted}");
    assert!(with("key", json!("x")).contains("unknown key"));
    let mut both = config.clone();
    both["token_file"] = json!("/run/token");
    assert!(mistakes("github_actions", &both).contains("`token_file` or `app`, not both"));
    let mut none = config.clone();
    none.as_object_mut().unwrap().remove("app");
    assert!(mistakes("github_actions", &none).contains("has no `token_file` and no `app`"));
}
