//! GitHub's webhooks against the real daemon: signed, forged, delivered again, reordered.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::{ago, begun, listening, result, send};
use crate::world::{Answer, SERVICE, World};

const SECRET: &str = "It's a Secret to Everybody";
const ROUTE: &str = "/v1/events/github";
const SHA: &str = "9f1c2ab9c0f14e1f8a55c1f0d0a7b6a1c2d3e4f5";

async fn with_github() -> World {
    listening(|world| {
        std::fs::write(world.place("webhook-secret"), SECRET).unwrap();
        let repo = "acme/capstone-api";
        json!({"github": {
            "secret_file": world.place("webhook-secret"),
            "deployments": [{
                "service": SERVICE, "repo": repo, "environment": "production", "version": "payload.image_tag",
                "on_failure": "smoke-test",
            }],
            "workflows": [{"service": SERVICE, "repo": repo, "workflow": "deploy.yml", "on_failure": "smoke-test"}],
        }})
    })
    .await
}

fn signature(secret: &str, body: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body.as_bytes());
    tag.as_ref().iter().fold("sha256=".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

async fn signed(world: &World, kind: &str, body: &Value, delivery: &str) -> Answer {
    let body = body.to_string();
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("x-github-event", kind.to_owned()),
        ("x-github-delivery", delivery.to_owned()),
        ("x-hub-signature-256", signature(SECRET, &body)),
    ];
    send(world, ROUTE, &headers, body).await
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
    let mut world = with_github().await;
    let (deployed, at) = (deployment(500, "v2", &ago(0)), ago(0));
    world.production.deploy(SERVICE, "v2", "test").await;
    let first = result(&signed(&world, "deployment_status", &deployed, "delivery-1").await, 202);
    // Again: the same delivery, another delivery id, and a second status of the same deployment.
    for delivery in ["delivery-1", "delivery-2"] {
        let again = result(&signed(&world, "deployment_status", &deployed, delivery).await, 200);
        assert_eq!(again["deploy"], first["deploy"]);
    }
    world.view_until("the target is known", |view| view["target"] == "v1").await;

    let red = red_run(77, SHA, &at, &ago(0));
    let fired = result(&signed(&world, "workflow_run", &red, "delivery-3").await, 202);
    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("outcome"), receipt.get("trigger")), ("recovered", "smoke-test"));
    assert_eq!((receipt.get("version"), receipt.get("target")), ("v2", "v1"));
    assert!(fired["firing"].is_string(), "{fired}");

    let before = begun(&world).await;
    for restarted in [false, true] {
        if restarted {
            world.daemon().kill().await;
            world.daemon().start().await;
        }
        for delivery in ["delivery-3", "delivery-4"] {
            let again = result(&signed(&world, "workflow_run", &red, delivery).await, 200);
            assert!(again["ignored"].is_string(), "{again}");
            let again = result(&signed(&world, "deployment_status", &deployed, delivery).await, 200);
            assert_eq!(again["deploy"], first["deploy"]);
        }
    }
    assert_eq!(begun(&world).await, before);
    assert_eq!(world.pipeline_runs().await, ["v1"]);
    assert_eq!(world.receipts().len(), 1);
    let metrics = world.api().get("/metrics").await.body;
    let metrics = metrics.as_str().unwrap_or_default();
    assert!(metrics.contains("rollbackd_source_events_total{source=\"github\",result=\"known\"} 4"), "{metrics}");
}

#[tokio::test]
async fn an_event_that_is_not_signed_with_the_secret_changes_nothing() {
    let mut world = with_github().await;
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
    let world = with_github().await;
    world.production.deploy(SERVICE, "v3", "test").await;
    let newest = result(&signed(&world, "deployment_status", &deployment(503, "v3", &ago(1)), "1").await, 202);
    let before = begun(&world).await;
    assert_eq!(before.0, newest["deploy"]);
    // An older deploy that comes late is written down, and what serves stays watched.
    result(&signed(&world, "deployment_status", &deployment(502, "v2", &ago(5)), "2").await, 202);
    let ahead = deployment(504, "v4", "2999-01-01T00:00:00Z");
    let refused = result(&signed(&world, "deployment_status", &ahead, "3").await, 200);
    assert!(refused["refused"].as_str().unwrap().contains("more than five minutes"), "{refused}");
    // A red run that was before the deploy, is about another commit, comes from the future, or from long ago.
    for red in [
        red_run(80, SHA, &ago(60), &ago(20)),
        red_run(81, "0123456789abcdef0123456789abcdef01234567", &ago(3), &ago(0)),
        red_run(82, SHA, &ago(3), "2999-01-01T00:00:00Z"),
        red_run(83, SHA, &ago(900), &ago(600)),
    ] {
        let told = result(&signed(&world, "workflow_run", &red, "4").await, 200);
        assert!(told["ignored"].is_string() || told["refused"].is_string(), "{told}");
    }
    let elsewhere = |pointer: &str, value: &str| {
        let mut body = deployment(505, "v5", &ago(0));
        *body.pointer_mut(pointer).unwrap() = json!(value);
        body
    };
    for (kind, body) in [
        ("ping", json!({"zen": "Keep it logically awesome.", "hook_id": 1})),
        ("push", json!({"ref": "refs/heads/main"})),
        ("deployment_status", elsewhere("/repository/full_name", "evil/capstone-api")),
        ("deployment_status", elsewhere("/deployment/environment", "staging")),
        ("deployment_status", elsewhere("/deployment_status/state", "inactive")),
    ] {
        let answer = signed(&world, kind, &body, "5").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body["ignored"].as_str().is_some_and(|why| !why.is_empty()), "{}", answer.body);
    }
    // Its own events can't bring what is no version, nor a name of their own.
    for evil in ["$(reboot)", "-rf", "{{ service }}", "v1 v2"] {
        let answer = signed(&world, "deployment_status", &deployment(506, evil, &ago(0)), "6").await;
        assert_eq!(answer.body["type"], "urn:rollbackd:problem:invalid-event", "{}", answer.body);
    }
    let mut named = deployment(507, "v5", &ago(0));
    named["service"] = json!("billing");
    named["deployment"]["payload"] = json!({"service": "billing", "image_tag": ["v5"]});
    assert_eq!(signed(&world, "deployment_status", &named, "7").await.status, 422);
    assert_eq!(begun(&world).await, before);
    assert_eq!(world.view(SERVICE).await["running"], "v3");
    assert!(world.pipeline_runs().await.is_empty());
}
