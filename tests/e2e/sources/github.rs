//! GitHub's webhooks against the real daemon: signed, forged, delivered again, reordered.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::{SHA, Words, ago, begun, result, send};
use crate::world::{SERVICE, World};

const SECRET: &str = "It's a Secret to Everybody";
const ROUTE: &str = "/v1/events/github";

struct GitHub;

impl Words for GitHub {
    const NAME: &'static str = "github";
    const UNUSABLE: u16 = 422;

    fn config(world: &World) -> Value {
        std::fs::write(world.place("webhook-secret"), SECRET).unwrap();
        let repo = "acme/capstone-api";
        json!({
            "secret_file": world.place("webhook-secret"),
            "deployments": [{
                "service": SERVICE, "repo": repo, "environment": "production", "version": "payload.image_tag",
                "on_failure": "smoke-test",
            }],
            "workflows": [{"service": SERVICE, "repo": repo, "workflow": "deploy.yml", "on_failure": "smoke-test"}],
        })
    }

    fn deployed(id: u64, version: &str, at: &str) -> Value {
        deployment(id, version, at)
    }

    fn red(id: u64, began_at: &str, ended_at: &str) -> Value {
        red_run(id, SHA, began_at, ended_at)
    }

    fn unconcerned(at: &str) -> Vec<Value> {
        let elsewhere = |pointer: &str, value: &str| {
            let mut body = deployment(505, "v5", at);
            *body.pointer_mut(pointer).unwrap() = json!(value);
            body
        };
        vec![
            json!({"zen": "Keep it logically awesome.", "hook_id": 1}),
            json!({"ref": "refs/heads/main"}),
            elsewhere("/repository/full_name", "evil/capstone-api"),
            elsewhere("/deployment/environment", "staging"),
            elsewhere("/deployment_status/state", "inactive"),
            red_run(81, "0123456789abcdef0123456789abcdef01234567", &ago(3), at),
        ]
    }

    fn headers(body: &Value, delivery: &str) -> Vec<(&'static str, String)> {
        let kind = match body.as_object() {
            Some(fields) if fields.contains_key("deployment_status") => "deployment_status",
            Some(fields) if fields.contains_key("workflow_run") => "workflow_run",
            Some(fields) if fields.contains_key("zen") => "ping",
            Some(_) | None => "push",
        };
        vec![
            ("content-type", "application/json".to_owned()),
            ("x-github-event", kind.to_owned()),
            ("x-github-delivery", delivery.to_owned()),
            ("x-hub-signature-256", signature(SECRET, &body.to_string())),
        ]
    }
}

fn signature(secret: &str, body: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body.as_bytes());
    tag.as_ref().iter().fold("sha256=".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn deployment(id: u64, version: &str, at: &str) -> Value {
    json!({
        "action": "created",
        "deployment_status": {"id": id * 10, "state": "success", "environment": "production", "created_at": at},
        "deployment": {
            "id": id, "sha": SHA, "ref": "main", "task": "deploy", "environment": "production",
            "payload": {"image_tag": version},
        },
        "repository": {"full_name": "acme/capstone-api", "default_branch": "main"},
    })
}

fn red_run(id: u64, sha: &str, started_at: &str, ended_at: &str) -> Value {
    json!({
        "action": "completed",
        "workflow_run": {
            "id": id, "run_attempt": 1, "path": ".github/workflows/deploy.yml", "event": "push", "head_sha": sha,
            "status": "completed", "conclusion": "failure", "display_title": "Make checkout faster",
            "html_url": format!("https://github.com/acme/capstone-api/actions/runs/{id}"),
            "run_started_at": started_at, "updated_at": ended_at,
            "head_repository": {"full_name": "acme/capstone-api"},
        },
        "repository": {"full_name": "acme/capstone-api", "default_branch": "main"},
    })
}

#[tokio::test]
async fn a_red_workflow_after_a_deployment_rolls_back_once_however_often_both_are_delivered() {
    super::rolls_back_once::<GitHub>().await;
}

#[tokio::test]
async fn an_event_that_is_not_signed_with_the_secret_changes_nothing() {
    let mut world = GitHub::listening().await;
    let body = deployment(500, "v2", &ago(0)).to_string();
    let headers = |signature: Option<String>| {
        let kind =
            [("content-type", "application/json".to_owned()), ("x-github-event", "deployment_status".to_owned())];
        kind.into_iter().chain(signature.map(|signature| ("x-hub-signature-256", signature))).collect::<Vec<_>>()
    };
    let right = signature(SECRET, &body);
    let flipped = right.replace(&right[70..], if right.ends_with('0') { "1" } else { "0" });
    for wrong in [
        None,
        Some(String::new()),
        Some(signature("another secret", &body)),
        Some(signature(SECRET, "another body")),
        Some(right.replace("sha256=", "")),
        Some(right.replace("sha256=", "sha1=")),
        Some(flipped),
        Some(right[..70].to_owned()),
    ] {
        let answer = send(&world, ROUTE, &headers(wrong.clone()), body.clone()).await;
        assert_eq!(answer.body["type"], "urn:rollbackd:problem:not-proven", "{wrong:?}: {}", answer.body);
        assert_eq!(answer.status, 401);
    }
    // A body that is too large is not even read to its end, whatever it is signed with.
    let large = format!("{}{}", body, " ".repeat(1024 * 1024));
    let answer = send(&world, ROUTE, &headers(Some(signature(SECRET, &large))), large).await;
    assert_eq!(answer.status, 413, "{}", answer.body);
    // What a form sends is no JSON, and the secret that is not there can't be compared with.
    let form =
        [("content-type", "application/x-www-form-urlencoded".to_owned()), ("x-hub-signature-256", right.clone())];
    assert_eq!(send(&world, ROUTE, &form, body.clone()).await.status, 415);
    std::fs::remove_file(world.place("webhook-secret")).unwrap();
    assert_eq!(send(&world, ROUTE, &headers(Some(right.clone())), body.clone()).await.status, 503);
    std::fs::write(world.place("webhook-secret"), "").unwrap();
    let of_nothing = signature("", &body);
    assert_eq!(send(&world, ROUTE, &headers(Some(of_nothing)), body.clone()).await.status, 503);
    assert_eq!(begun(&world).await, (Value::Null, 0));

    // A secret that was changed counts at once.
    std::fs::write(world.place("webhook-secret"), "another secret").unwrap();
    assert_eq!(send(&world, ROUTE, &headers(Some(right)), body.clone()).await.status, 401);
    let answer = send(&world, ROUTE, &headers(Some(signature("another secret", &body))), body).await;
    result(&answer, 202);
    let log = world.daemon().log();
    assert!(!log.contains(SECRET) && !log.contains("another secret"));
}

#[tokio::test]
async fn events_out_of_order_from_the_future_or_about_something_else_start_nothing() {
    let world = super::starts_nothing::<GitHub>().await;
    // Nor one that brings a service of its own.
    let before = begun(&world).await;
    let mut named = deployment(507, "v5", &ago(0));
    named["service"] = json!("billing");
    named["deployment"]["payload"] = json!({"service": "billing", "image_tag": ["v5"]});
    let answer = GitHub::tell(&world, &named, "7").await;
    assert_eq!(answer.body["type"], "urn:rollbackd:problem:invalid-event", "{}", answer.body);
    assert_eq!(begun(&world).await, before);
}
