//! GitLab's webhooks against the real daemon: signed, forged, delivered again, reordered, and by our own rollback.
//!
//! Fields as in GitLab's documentation, "Webhook events"; the signature as in the specification "Standard Webhooks".

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{FUTURE, SHA, Words, ago, begun, of_no_interest, result, send};
use crate::world::{SERVICE, World};

const ROUTE: &str = "/v1/events/gitlab";
const SIGNING_TOKEN: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PATH_USER: &str = "project_7_bot_3c1d";

struct GitLab;

impl Words for GitLab {
    const NAME: &'static str = "gitlab";
    // GitLab stops sending to who answers with errors.
    const UNUSABLE: u16 = 200;

    fn config(world: &World) -> Value {
        std::fs::write(world.place("signing-token"), SIGNING_TOKEN).unwrap();
        let (project, environment) = ("acme/capstone-api", "production");
        json!({
            "signing_token_file": world.place("signing-token"),
            "path_user": PATH_USER,
            "deployments": [{
                "service": SERVICE, "project": project, "environment": environment, "version": "tag",
                "on_failure": "smoke-test",
            }],
            "pipelines": [{
                "service": SERVICE, "project": project, "environment": environment, "on_failure": "smoke-test",
            }],
        })
    }

    fn deployed(id: u64, version: &str, at: &str) -> Value {
        json!({
            "object_kind": "deployment", "status": "success", "status_changed_at": as_gitlab_writes(at),
            "deployment_id": id, "deployable_id": id + 1, "environment": "production",
            "deployable_url": format!("https://gitlab.example/acme/capstone-api/-/jobs/{id}"),
            "project": {"path_with_namespace": "acme/capstone-api", "default_branch": "main"},
            "short_sha": &SHA[..8], "ref": version, "user": {"username": "root"},
            "commit_url": format!("https://gitlab.example/acme/capstone-api/-/commit/{SHA}"),
        })
    }

    fn red(id: u64, began_at: &str, ended_at: &str) -> Value {
        json!({
            "object_kind": "pipeline",
            "object_attributes": {
                "id": id, "ref": "v2", "tag": true, "sha": SHA, "source": "push", "status": "failed", "variables": [],
                "created_at": as_gitlab_writes(began_at), "finished_at": as_gitlab_writes(ended_at),
                "url": format!("https://gitlab.example/acme/capstone-api/-/pipelines/{id}"),
            },
            "project": {"path_with_namespace": "acme/capstone-api", "default_branch": "main"},
            "builds": [{
                "id": 1, "name": "deploy", "status": "success", "started_at": as_gitlab_writes(began_at),
                "environment": {"name": "production", "action": "start", "deployment_tier": "production"},
            }],
        })
    }

    fn unconcerned(at: &str) -> Vec<Value> {
        let with = |mut body: Value, pointer: &str, value: Value| {
            *body.pointer_mut(pointer).unwrap() = value;
            body
        };
        let deployed = |pointer, value: &str| with(Self::deployed(505, "v5", at), pointer, json!(value));
        let red = |pointer, value| with(Self::red(81, &ago(3), at), pointer, value);
        vec![
            json!({"object_kind": "push", "ref": "refs/heads/main"}),
            deployed("/project/path_with_namespace", "evil/capstone-api"),
            deployed("/environment", "review/1"),
            deployed("/status", "running"),
            deployed("/user/username", PATH_USER),
            red("/object_attributes/sha", json!("0123456789abcdef0123456789abcdef01234567")),
            red("/object_attributes/source", json!("merge_request_event")),
            red("/object_attributes/status", json!("success")),
            red("/builds/0/started_at", Value::Null),
        ]
    }

    fn headers(body: &Value, delivery: &str) -> Vec<(&'static str, String)> {
        signed(&body.to_string(), delivery, &now())
    }
}

/// `2026-11-23 09:58:02 UTC`.
fn as_gitlab_writes(instant: &str) -> String {
    format!("{} UTC", instant.replace('T', " ").trim_end_matches('Z').trim_end_matches(".000"))
}

/// Seconds since 1970.
fn now() -> String {
    (rollbackd::clock::now().milliseconds() / 1000).to_string()
}

fn signed(body: &str, id: &str, at: &str) -> Vec<(&'static str, String)> {
    let key = BASE64_STANDARD.decode(SIGNING_TOKEN.trim_start_matches("whsec_")).unwrap();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), format!("{id}.{at}.{body}").as_bytes());
    vec![
        ("content-type", "application/json".to_owned()),
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", at.to_owned()),
        ("webhook-signature", format!("v1,{}", BASE64_STANDARD.encode(tag))),
    ]
}

#[tokio::test]
async fn a_red_pipeline_after_a_deployment_rolls_back_once_and_its_own_deployment_starts_nothing() {
    let world = super::rolls_back_once::<GitLab>().await;
    // What GitLab tells of our own rollback, in which it calls the version by the branch's commit and tag.
    let before = begun(&world).await;
    let mut deployed = GitLab::deployed(501, "v2", &ago(0));
    deployed["user"]["username"] = json!(PATH_USER);
    let mut failed = deployed.clone();
    failed["status"] = json!("failed");
    let mut pipeline = GitLab::red(78, &ago(0), &ago(0));
    pipeline["object_attributes"]["source"] = json!("api");
    pipeline["object_attributes"]["variables"] = json!([{"key": "ROLLBACKD_ATTEMPT", "value": "an-attempt"}]);
    for own in [deployed, failed, pipeline] {
        let answer = GitLab::tell(&world, &own, "own").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(of_no_interest(&answer.body), "{}", answer.body);
    }
    assert_eq!(begun(&world).await, before);
    assert_eq!(world.view(SERVICE).await["running"], "v1");
}

#[tokio::test]
async fn gitlabs_events_out_of_order_from_the_future_or_about_something_else_start_nothing() {
    let world = super::starts_nothing::<GitLab>().await;
    // Whatever the event is: an error, and after four of them GitLab sends no more.
    for body in [json!({}), json!([]), json!({"object_kind": "deployment"}), json!({"object_kind": "pipeline"})] {
        assert_eq!(GitLab::tell(&world, &body, "7").await.status, 200, "{body}");
    }
}

#[tokio::test]
async fn an_event_of_gitlab_that_is_not_proven_changes_nothing() {
    let mut world = GitLab::listening().await;
    let body = GitLab::deployed(500, "v2", &ago(0)).to_string();
    let right = signed(&body, "1", &now());
    let without = |name: &str| right.iter().filter(|(header, _)| *header != name).cloned().collect::<Vec<_>>();
    let mut other_id = right.clone();
    other_id[1].1 = "2".to_owned();
    let mut broken = right.clone();
    broken[3].1 = broken[3].1.replace("v1,", "v1,AAAA");
    let token = ("x-gitlab-token", SIGNING_TOKEN.to_owned());
    for wrong in [
        signed("another body", "1", &now()),
        // Somebody who recorded a delivery sends it again.
        signed(&body, "1", "1614265330"),
        signed(&body, "1", &FUTURE[..4]),
        without("webhook-id"),
        without("webhook-timestamp"),
        without("webhook-signature"),
        // The token in the clear is no way around the signature.
        without("webhook-signature").into_iter().chain([token]).collect(),
        other_id,
        broken,
    ] {
        let answer = send(&world, ROUTE, &wrong, body.clone()).await;
        assert_eq!(answer.body["type"], "urn:rollbackd:problem:not-proven", "{wrong:?}: {}", answer.body);
        assert_eq!(answer.status, 401);
    }
    for unusable in ["", "no signing token"] {
        std::fs::write(world.place("signing-token"), unusable).unwrap();
        assert_eq!(send(&world, ROUTE, &right, body.clone()).await.status, 503);
    }
    assert_eq!(begun(&world).await, (Value::Null, 0));
    std::fs::write(world.place("signing-token"), SIGNING_TOKEN).unwrap();
    result(&send(&world, ROUTE, &right, body).await, 202);
    let log = world.daemon().log();
    assert!(!log.contains(SIGNING_TOKEN) && !log.contains(&SIGNING_TOKEN[6..]));
}
