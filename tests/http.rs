//! The HTTP API over a real listener: every route, every kind of error, who may do what.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy sees only in the tests themselves")]

mod api_world;

use std::collections::BTreeMap;
use std::time::Duration;

use api_world::{Answered, Supervisor, World, token};
use rollbackd::http::{LARGEST_BODY_BYTES, Limits, Scope};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Every route: method, path, scope. `FIRING` stands for the id of one.
const ROUTES: [(&str, &str, Option<Scope>); 20] = [
    ("GET", "/healthz", None),
    ("GET", "/readyz", None),
    ("GET", "/-/healthy", None),
    ("GET", "/-/ready", None),
    ("GET", "/metrics", Some(Scope::Read)),
    ("GET", "/v1/services", Some(Scope::Read)),
    ("GET", "/v1/services/capstone-api", Some(Scope::Read)),
    ("GET", "/v1/firings", Some(Scope::Read)),
    ("GET", "/v1/firings/FIRING", Some(Scope::Read)),
    ("POST", "/v1/deploys", Some(Scope::Deploy)),
    ("POST", "/v1/reports", Some(Scope::Deploy)),
    ("POST", "/v1/events/cdevents", Some(Scope::Deploy)),
    ("POST", "/v1/firings/FIRING/approve", Some(Scope::Operate)),
    ("POST", "/v1/firings/FIRING/dismiss", Some(Scope::Operate)),
    ("POST", "/v1/firings/FIRING/ack", Some(Scope::Operate)),
    ("POST", "/v1/services/capstone-api/rollback", Some(Scope::Operate)),
    ("POST", "/v1/services/capstone-api/rehearse", Some(Scope::Operate)),
    ("POST", "/v1/services/capstone-api/rehearsal/stop", Some(Scope::Operate)),
    ("POST", "/v1/services/capstone-api/freeze", Some(Scope::Operate)),
    ("POST", "/v1/services/capstone-api/thaw", Some(Scope::Operate)),
];

/// Asserts that it is a problem of this status and kind, and gives it.
#[track_caller]
fn problem(answered: &Answered, status: u16, kind: &str) -> Value {
    assert_eq!(answered.status, status, "{}", answered.text);
    assert_eq!(answered.header("content-type"), "application/problem+json");
    assert_eq!(answered.header("cache-control"), "no-store");
    let problem = answered.json();
    assert_eq!(problem["type"], format!("urn:rollbackd:problem:{kind}"), "{problem}");
    assert_eq!(problem["status"], status);
    assert!(!problem["title"].as_str().unwrap().is_empty() && !problem["detail"].as_str().unwrap().is_empty());
    problem
}

#[tokio::test]
async fn a_deploy_opens_a_watch_once() {
    let world = World::open().await;
    let body = json!({
        "service": "capstone-api", "version": "v2", "previous_version": "v1", "commit": "abc123",
        "migration": "compatible", "run_url": "https://ci.example/run/1?a=\"b\"", "at": "2026-01-02T03:04:05.678+01:00",
    });
    let first = world.post("/v1/deploys", &body).await;
    assert_eq!(first.status, 202, "{}", first.text);
    let again = world.post("/v1/deploys", &body).await;
    assert_eq!((again.status, again.json()), (200, first.json()));

    let state = world.shared.state();
    let entry = &state.services.values().next().unwrap().ledger.entries[0];
    assert_eq!(json!(entry.deploy.id), first.json()["deploy"]);
    assert_eq!(entry.deploy.at.to_string(), "2026-01-02T02:04:05.678Z");
    assert_eq!(json!(entry.deploy.migration), "compatible");
    assert_eq!(entry.deploy.run_url.as_deref(), Some("https://ci.example/run/1?a=%22b%22"));
    assert_eq!(entry.deploy.commit.as_ref().unwrap().as_str(), "abc123");
    assert_eq!(entry.deploy.previous.as_ref().unwrap().as_str(), "v1");
}

#[tokio::test]
async fn a_key_makes_the_same_deploy_the_same_and_is_refused_for_another_version() {
    let world = World::open().await;
    let deploy = |version: &str, key: &str| {
        let body = json!({"service": "capstone-api", "version": version});
        world.request("POST", "/v1/deploys").header("Idempotency-Key", key).json(&body)
    };
    let first = world.send(deploy("v2", "run-17")).await;
    assert_eq!(first.status, 202);
    let again = world.send(deploy("v2", "\"run-17\"")).await;
    assert_eq!((again.status, again.json()), (200, first.json()));
    let other = problem(&world.send(deploy("v3", "run-17")).await, 422, "invalid-field");
    assert_eq!(other["field"], "Idempotency-Key");
    for bad in ["", "a b", "é", &"x".repeat(129)] {
        let refused = problem(&world.send(deploy("v4", bad)).await, 422, "invalid-field");
        assert_eq!(refused["field"], "Idempotency-Key");
    }
    let twice = deploy("v4", "one").header("Idempotency-Key", "two");
    problem(&world.send(twice).await, 422, "invalid-field");
    assert_eq!(world.shared.state().services.values().next().unwrap().ledger.entries.len(), 1);
}

#[tokio::test]
async fn migration_is_false_true_or_compatible() {
    let world = World::open().await;
    for (sent, recorded) in
        [(json!(false), "none"), (json!(true), "breaking"), (json!("compatible"), "compatible"), (Value::Null, "none")]
    {
        let body = json!({"service": "billing", "version": format!("v-{sent}").replace('"', ""), "migration": sent});
        assert_eq!(world.post("/v1/deploys", &body).await.status, 202, "{sent}");
        let view = world.get("/v1/services/billing").await.json();
        assert_eq!(view["watch"]["migration"], recorded);
    }
}

#[tokio::test]
async fn a_report_begins_a_firing_that_can_be_seen_and_answered() {
    let world = World::open().await;
    world.deployed("v2").await;
    let body = json!({"service": "capstone-api", "trigger": "login-broken", "note": "form\nanswers 500"});
    let answered = world.post("/v1/reports", &body).await;
    assert_eq!(answered.status, 202);
    let id = answered.json()["firing"].as_str().unwrap().to_owned();

    let firing = world.get(&format!("/v1/firings/{id}")).await.json();
    assert_eq!(
        (&firing["id"], &firing["state"], &firing["service"]),
        (&json!(id), &json!("paged"), &json!("capstone-api"))
    );
    assert_eq!(world.get("/v1/firings").await.json().as_array().unwrap().len(), 1);
    assert_eq!(world.get("/v1/services/capstone-api").await.json()["watch"]["state"], "paged");

    let ack = world.post(&format!("/v1/firings/{id}/ack"), &json!({})).await;
    assert_eq!((ack.status, ack.json()), (202, json!({"firing": id})));
    assert_eq!(world.get(&format!("/v1/firings/{id}")).await.json()["acknowledged"], true);

    // A POST without a body says that it is JSON all the same.
    let approve =
        world.request("POST", &format!("/v1/firings/{id}/approve")).header("content-type", "application/json");
    let approved = world.send(approve).await;
    assert_eq!((approved.status, approved.json()), (202, json!({"firing": id})));
    assert_eq!(world.get(&format!("/v1/firings/{id}")).await.json()["state"], "rolling_back");
    problem(&world.post(&format!("/v1/firings/{id}/approve"), &json!({})).await, 409, "conflict");
    let late = world.post(&format!("/v1/firings/{id}/dismiss"), &json!({"why": "no"})).await;
    assert_eq!(problem(&late, 409, "conflict")["detail"], "too late: the rollback is running");
}

#[tokio::test]
async fn a_dismissed_firing_has_ended() {
    let world = World::open().await;
    world.deployed("v2").await;
    let id = world.fired("login-broken").await;
    let dismissed = world.post(&format!("/v1/firings/{id}/dismiss"), &json!({"why": "a test account"})).await;
    assert_eq!(dismissed.status, 202);
    assert_eq!(world.get(&format!("/v1/firings/{id}")).await.json()["outcome"], "dismissed");
    problem(&world.post(&format!("/v1/firings/{id}/ack"), &json!({})).await, 409, "conflict");
}

#[tokio::test]
async fn a_shadow_trigger_is_recorded_and_begins_nothing() {
    let world = World::open().await;
    world.deployed("v2").await;
    let answered = world.post("/v1/reports", &json!({"service": "capstone-api", "trigger": "canary"})).await;
    assert_eq!((answered.status, answered.json()), (200, json!({})));
    assert_eq!(world.get("/v1/firings").await.json(), json!([]));
}

#[tokio::test]
async fn a_human_starts_a_rollback() {
    let world = World::open().await;
    problem(&world.post("/v1/services/capstone-api/rollback", &json!({})).await, 409, "conflict");
    world.deployed("v2").await;
    let answered = world.post("/v1/services/capstone-api/rollback", &json!({"path": "console"})).await;
    assert_eq!(answered.status, 202, "{}", answered.text);
    let view = world.get("/v1/services/capstone-api").await.json();
    assert_eq!(view["firings"][0]["attempts"][0]["path"], "console");
    assert_eq!(view["watch"]["state"], "rolling_back");
}

#[tokio::test]
async fn a_freeze_holds_until_it_is_thawed() {
    let world = World::open().await;
    let frozen = world.post("/v1/services/billing/freeze", &json!({"for": "1h30m", "why": "moving house"})).await;
    assert_eq!((frozen.status, frozen.json()), (200, json!({})));
    assert_eq!(world.get("/v1/services/billing").await.json()["frozen"]["why"], "moving house");
    let thawed = world.post("/v1/services/billing/thaw", &json!({})).await;
    assert_eq!((thawed.status, thawed.json()), (200, json!({})));
    assert_eq!(world.get("/v1/services/billing").await.json()["frozen"], Value::Null);
}

#[tokio::test]
async fn a_service_shows_what_the_design_says() {
    let world = World::open().await;
    world.deployed("v2").await;
    let services = world.get("/v1/services").await.json();
    let names: Vec<&str> = services.as_array().unwrap().iter().map(|each| each["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["billing", "capstone-api"]);
    let view = world.get("/v1/services/capstone-api").await.json();
    assert_eq!(view, services[1]);
    assert_eq!((&view["running"], &view["target"]), (&json!("v2"), &json!("v0")));
    for key in ["deploy", "version", "until", "state"] {
        assert!(view["watch"][key].is_string(), "{key}");
    }
    assert_eq!(view["watch"]["state"], "watching");
    let trigger = &view["triggers"][0];
    for key in ["name", "value", "limit", "observed_at", "state"] {
        assert!(trigger.get(key).is_some(), "{key}");
    }
    assert_eq!(
        (&trigger["limit"], &trigger["breach"], &trigger["percentage"]),
        (&json!(0.05), &json!("above"), &json!(true))
    );
    for key in ["last", "frozen"] {
        assert!(view.get(key).is_some(), "{key}");
    }
}

#[tokio::test]
async fn ready_means_replayed_and_writable() {
    let world = World::open().await;
    for path in ["/healthz", "/-/healthy", "/readyz", "/-/ready"] {
        assert_eq!(world.get(path).await.status, 200, "{path}");
    }
    world.shared.set_journal_writable(false);
    for path in ["/readyz", "/-/ready"] {
        problem(&world.get(path).await, 503, "journal-not-writable");
    }
    assert_eq!(world.get("/healthz").await.status, 200);

    let world = World::new(Vec::new(), Supervisor::IsReplaying).await;
    let detail = problem(&world.get("/readyz").await, 503, "unavailable")["detail"].clone();
    assert_eq!(detail, "the journal is being replayed");
}

#[tokio::test]
async fn a_journal_that_can_not_be_written_and_a_stopping_daemon_are_503() {
    let body = json!({"service": "capstone-api", "version": "v2"});
    let world = World::new(Vec::new(), Supervisor::CanNotWrite).await;
    let answered = world.post("/v1/deploys", &body).await;
    let detail = problem(&answered, 503, "journal-not-writable")["detail"].clone();
    assert!(detail.as_str().unwrap().contains("no space left on device"), "{detail}");
    let world = World::new(Vec::new(), Supervisor::IsGone).await;
    problem(&world.post("/v1/deploys", &body).await, 503, "unavailable");
}

/// Path, body, status, kind, field, nearest: `-` stands for none. `SVC` and `VER` make the fields that a deploy needs.
const REFUSED: &str = r#"
/v1/deploys | { | 400 | not-json | - | -
/v1/deploys | [] | 400 | not-json | - | -
/v1/deploys | {} {} | 400 | not-json | - | -
/v1/deploys | {"service": "a", "service": "b"} | 400 | not-json | - | -
/v1/deploys |  | 422 | invalid-field | service | -
/v1/deploys | {"service": null} | 422 | invalid-field | service | -
/v1/deploys | {"service": 7, VER} | 422 | invalid-field | service | -
/v1/deploys | {"service": "a/../b", VER} | 422 | invalid-field | service | -
/v1/deploys | {SVC} | 422 | invalid-field | version | -
/v1/deploys | {SVC, "version": "-rf"} | 422 | invalid-field | version | -
/v1/deploys | {SVC, "version": "$(id)"} | 422 | invalid-field | version | -
/v1/deploys | {"service": "capstone-ap", VER} | 404 | unknown-name | service | capstone-api
/v1/deploys | {SVC, "verison": "v"} | 422 | invalid-field | verison | version
/v1/deploys | {SVC, VER, "command": ["rm"]} | 422 | invalid-field | command | commit
/v1/deploys | {SVC, VER, "previous_version": "a b"} | 422 | invalid-field | previous_version | -
/v1/deploys | {SVC, VER, "commit": "a/b"} | 422 | invalid-field | commit | -
/v1/deploys | {SVC, VER, "migration": "maybe"} | 422 | invalid-field | migration | -
/v1/deploys | {SVC, VER, "migration": 1} | 422 | invalid-field | migration | -
/v1/deploys | {SVC, VER, "at": "yesterday"} | 422 | invalid-field | at | -
/v1/deploys | {SVC, VER, "at": "9000-01-01T00:00:00Z"} | 422 | invalid-field | at | -
/v1/deploys | {SVC, VER, "at": 1700000000} | 422 | invalid-field | at | -
/v1/deploys | {SVC, VER, "run_url": "javascript:alert(1)"} | 422 | invalid-field | run_url | -
/v1/deploys | {SVC, VER, "run_url": "file:///etc/passwd"} | 422 | invalid-field | run_url | -
/v1/deploys | {SVC, VER, "run_url": "https://me:pw@ci.example/"} | 422 | invalid-field | run_url | -
/v1/reports | {SVC, "trigger": "smoke-tset"} | 404 | unknown-name | trigger | smoke-test
/v1/reports | {SVC, "trigger": "error-rate"} | 422 | invalid-field | trigger | -
/v1/reports | {SVC, "trigger": "smoke-test", "note": ""} | 422 | invalid-field | note | -
/v1/reports | {SVC, "trigger": "smoke-test", "note": "\u001b[2J"} | 422 | invalid-field | note | -
/v1/services/capstone-api/freeze | {"for": "1h"} | 422 | invalid-field | why | -
/v1/services/capstone-api/freeze | {"why": "x"} | 422 | invalid-field | for | -
/v1/services/capstone-api/freeze | {"for": "5M", "why": "x"} | 422 | invalid-field | for | -
/v1/services/capstone-api/freeze | {"for": "0s", "why": "x"} | 422 | invalid-field | for | -
/v1/services/capstone-api/freeze | {"for": "400d", "why": "x"} | 422 | invalid-field | for | -
/v1/services/capstone-api/freeze | {"for": "99999999999999999999d", "why": "x"} | 422 | invalid-field | for | -
/v1/services/capstone-api/rollback | {"path": "pipelin"} | 404 | unknown-name | path | pipeline
/v1/services/capstone-api/rollback | {"to": "V2"} | 404 | unknown-name | to | v2
/v1/services/capstone-api/rollback | {"to": "{{ x }}"} | 422 | invalid-field | to | -
/v1/services/capstone-api/rehearse | {} | 422 | invalid-field | bad | -
/v1/services/capstone-api/rehearse | {"bad": "v1; reboot"} | 422 | invalid-field | bad | -
/v1/services/capstone-api/rehearse | {"bad": "v13", "witness": "Ada\nL."} | 422 | invalid-field | witness | -
/v1/services/capstone-api/rehearse | {"bad": "v13", "witness": " "} | 422 | invalid-field | witness | -
/v1/services/capstone-api/rehearse | {"bad": "v13", "path": "console"} | 422 | invalid-field | path | -
/v1/services/capstone-api/rehearse | {"bad": "v13"} | 409 | conflict | - | -
/v1/services/capstone-api/rehearsal/stop | {} | 409 | conflict | - | -
/v1/services/capstone-api/thaw | {"why": "x"} | 422 | invalid-field | why | -
/v1/services/biling/thaw | {} | 404 | unknown-name | service | billing
/v1/services/%2e%2e/thaw | {} | 404 | unknown-route | - | -
/v1/services/a%2Fb/thaw | {} | 404 | unknown-name | service | -
/v1/services/%ff/thaw | {} | 404 | unknown-route | - | -
/v1/firings/nope/approve | {} | 404 | unknown-name | firing | -
/v1/firings/nope/dismiss | {} | 422 | invalid-field | why | -
/v1/firings/nope/ack | {} | 404 | unknown-name | firing | -
/v1/deploy | {} | 404 | unknown-route | - | /v1/deploys
/v1/services | {} | 405 | method-not-allowed | - | -
"#;

#[tokio::test]
async fn what_can_not_be_used_is_refused_with_its_field() {
    let world = World::open().await;
    world.deployed("v2").await;
    let mut count = 0;
    for line in REFUSED.lines().filter(|line| !line.is_empty()) {
        let parts: Vec<&str> = line.split(" | ").collect();
        let [path, body, status, kind, field, nearest] = parts[..] else { panic!("{line}") };
        let body = body.replace("SVC", r#""service": "capstone-api""#).replace("VER", r#""version": "v3""#);
        let request = world.request("POST", path).header("content-type", "application/json").body(body);
        let answered = world.send(request).await;
        assert_eq!(answered.status.to_string(), status, "{line}\n{}", answered.text);
        let told = problem(&answered, answered.status, kind);
        assert_eq!(told["field"].as_str().unwrap_or("-"), field, "{line}\n{told}");
        if nearest != "-" {
            assert_eq!(told["nearest"][0], nearest, "{line}\n{told}");
        }
        count += 1;
    }
    assert_eq!(count, 54);
    let state = world.shared.state();
    assert_eq!(state.services.len(), 1, "nothing of this left a record");
    assert_eq!(state.services.values().next().unwrap().ledger.entries.len(), 1);
}

#[tokio::test]
async fn a_mistake_in_the_json_is_told_with_its_place() {
    let world = World::open().await;
    let request = world.request("POST", "/v1/deploys").header("content-type", "application/json; charset=utf-8");
    let answered = world.send(request.body("{\n  \"service\": \"a\",\n  oops\n}")).await;
    let detail = problem(&answered, 400, "not-json")["detail"].as_str().unwrap().to_owned();
    assert!(detail.ends_with("at line 3 column 3"), "{detail}");
}

#[tokio::test]
async fn an_unknown_firing_names_the_nearest() {
    let world = World::open().await;
    world.deployed("v2").await;
    let id = world.fired("login-broken").await;
    let (wrong, _) = id.split_at(id.len() - 1);
    for path in [format!("/v1/firings/{wrong}x"), format!("/v1/firings/{wrong}x/")] {
        let answered = world.get(&path).await;
        assert_eq!(answered.status, 404, "{path}");
    }
    assert_eq!(
        problem(&world.get(&format!("/v1/firings/{wrong}x")).await, 404, "unknown-name")["nearest"],
        json!([id])
    );
}

#[tokio::test]
async fn texts_and_bodies_have_a_limit() {
    let world = World::open().await;
    world.deployed("v2").await;
    let report =
        |bytes: usize| json!({"service": "capstone-api", "trigger": "login-broken", "note": "x".repeat(bytes)});
    assert_eq!(problem(&world.post("/v1/reports", &report(4097)).await, 422, "invalid-field")["field"], "note");
    assert_eq!(world.post("/v1/reports", &report(4096)).await.status, 202);
    let url = format!("https://ci.example/{}", "x".repeat(2048));
    let deploy = json!({"service": "billing", "version": "v", "run_url": url});
    assert_eq!(problem(&world.post("/v1/deploys", &deploy).await, 422, "invalid-field")["field"], "run_url");

    let spaces = |bytes: usize| {
        let body = "{}".to_owned() + &" ".repeat(bytes - 2);
        world.request("POST", "/v1/services/billing/thaw").header("content-type", "application/json").body(body)
    };
    assert_eq!(world.send(spaces(LARGEST_BODY_BYTES)).await.status, 200);
    problem(&world.send(spaces(LARGEST_BODY_BYTES + 1)).await, 413, "too-large");

    let many: BTreeMap<String, u8> = (0..65).map(|number| (format!("f{number}"), 0)).collect();
    problem(&world.post("/v1/deploys", &json!(many)).await, 400, "not-json");
    let deep = "[".repeat(100_000);
    let request = world.request("POST", "/v1/deploys").header("content-type", "application/json");
    problem(&world.send(request.body(format!("{{\"service\": {deep}"))).await, 400, "not-json");
}

#[tokio::test]
async fn a_source_that_is_not_configured_takes_no_event_and_says_what_to_configure() {
    let world = World::open().await;
    for source in ["github", "gitlab", "cdevents"] {
        let answered = world.post(&format!("/v1/events/{source}"), &json!({"action": "created"})).await;
        let told = problem(&answered, 404, "not-configured");
        assert!(told["detail"].as_str().unwrap().contains(&format!("`sources.{source}`")), "{told}");
    }
    assert!(world.shared.state().services.is_empty());
}

#[tokio::test]
async fn what_a_form_can_send_is_refused() {
    let world = World::open().await;
    for kind in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", "application/jsonp", ""] {
        let request = world.request("POST", "/v1/services/billing/thaw").header("content-type", kind).body("{}");
        problem(&world.send(request).await, 415, "wrong-media-type");
    }
    problem(&world.send(world.request("POST", "/v1/services/billing/thaw")).await, 415, "wrong-media-type");
    assert!(world.shared.state().services.is_empty());
}

#[tokio::test]
async fn methods_and_routes_that_are_not_there_are_problems_too() {
    let world = World::open().await;
    for (method, path, _) in ROUTES {
        let wrong = if method == "GET" { "POST" } else { "GET" };
        let answered = world.send(world.request(wrong, path).header("content-type", "application/json")).await;
        problem(&answered, 405, "method-not-allowed");
        assert!(answered.header("allow").contains(method), "{path}: {}", answered.header("allow"));
    }
    let answered = world.send(world.request("OPTIONS", "/v1/deploys")).await;
    problem(&answered, 405, "method-not-allowed");
    assert_eq!(answered.header("access-control-allow-origin"), "");
    for path in ["/", "/v1", "/v1/", "/v2/services", "/v1/services/", "/healthz/"] {
        problem(&world.get(path).await, 404, "unknown-route");
    }
    assert_eq!(world.send(world.request("HEAD", "/v1/services")).await.status, 200);
}

/// Sends raw bytes and gives the answer.
async fn raw(world: &World, request: &str) -> String {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn without_tokens_only_this_machine_is_served() {
    let open = World::open().await;
    let closed = World::with_tokens(vec![token("reader", "read-me", &[Scope::Read])]).await;
    let port = open.address.port();
    for (head, status) in [
        (format!("GET /v1/services HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"), "200"),
        ("GET /v1/services HTTP/1.1\r\nHost: localhost\r\n".to_owned(), "200"),
        ("GET /v1/services HTTP/1.1\r\nHost: [::1]:1\r\n".to_owned(), "200"),
        ("GET /v1/services HTTP/1.1\r\nHost: localhost\r\nOrigin: http://127.0.0.1:8000\r\n".to_owned(), "200"),
        (format!("GET /v1/services HTTP/1.1\r\nHost: evil.example:{port}\r\n"), "403"),
        ("GET /v1/services HTTP/1.1\r\nHost: 10.0.0.1\r\n".to_owned(), "403"),
        ("GET /v1/services HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n".to_owned(), "403"),
        ("GET /v1/services HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n".to_owned(), "403"),
        ("GET http://evil.example/v1/services HTTP/1.1\r\nHost: localhost\r\n".to_owned(), "403"),
        ("GET /v1/services HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n".to_owned(), "200"),
        (
            "POST /v1/services/billing/thaw HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n".to_owned(),
            "403",
        ),
        (
            "POST /v1/services/billing/thaw HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-site\r\n".to_owned(),
            "403",
        ),
        ("POST /v1/services/billing/thaw HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: none\r\n".to_owned(), "415"),
        ("GET /v1/services HTTP/1.0\r\n".to_owned(), "403"),
        ("GET /nowhere HTTP/1.1\r\nHost: evil.example\r\n".to_owned(), "403"),
        ("GET /healthz HTTP/1.1\r\nHost: probe.example\r\n".to_owned(), "200"),
    ] {
        let answer = raw(&open, &format!("{head}Connection: close\r\n\r\n")).await;
        let found = answer.split(' ').nth(1).unwrap_or_default();
        assert_eq!(found, status, "{head}{answer}");
        if found == "403" {
            assert!(answer.contains("urn:rollbackd:problem:foreign-host"), "{answer}");
        }
    }
    let named = "GET /v1/services HTTP/1.1\r\nHost: rollbackd.example\r\nAuthorization: Bearer read-me\r\nConnection: close\r\n\r\n";
    assert!(raw(&closed, named).await.starts_with("HTTP/1.1 200"), "with a token the host does not matter");
}

#[tokio::test]
async fn each_scope_opens_its_routes_and_no_other() {
    let secrets = [("s3cret-one", Scope::Read), ("s3cret-two", Scope::Deploy), ("s3cret-three", Scope::Operate)];
    let tokens = secrets.iter().map(|(secret, scope)| token("somebody", secret, &[*scope])).collect();
    let world = World::with_tokens(tokens).await;
    for (method, path, needed) in ROUTES {
        let path = path.replace("FIRING", "nope");
        let asked = |secret: &str| {
            let request = world.request(method, &path).header("content-type", "application/json").body("{}");
            if secret.is_empty() { request } else { request.bearer_auth(secret) }
        };
        let (nobody, unknown) = (world.send(asked("")).await, world.send(asked("guess-0815")).await);
        let Some(needed) = needed else {
            assert_eq!((nobody.status, unknown.status), (200, 200), "{path}");
            continue;
        };
        problem(&nobody, 401, "unauthorized");
        assert_eq!(nobody.header("www-authenticate"), "Bearer realm=\"rollbackd\"");
        problem(&unknown, 401, "unauthorized");
        assert_eq!(unknown.header("www-authenticate"), "Bearer realm=\"rollbackd\", error=\"invalid_token\"");
        for (secret, scope) in secrets {
            let answered = world.send(asked(secret)).await;
            if scope == needed {
                assert!(!matches!(answered.status, 401 | 403), "{method} {path} {secret}: {}", answered.text);
            } else {
                let told = problem(&answered, 403, "missing-scope");
                assert!(told["detail"].as_str().unwrap().contains(&format!("`{needed}`")), "{told}");
                assert!(answered.header("www-authenticate").contains(&format!("scope=\"{needed}\"")));
            }
            for (secret, _) in secrets.iter().chain(&[("guess-0815", Scope::Read)]) {
                let sent_back = format!("{} {:?}", answered.text, answered.headers);
                assert!(!sent_back.contains(secret), "{sent_back}");
            }
        }
    }
    assert_eq!(world.get("/nowhere").await.status, 401, "who may nothing is not told what there is");
    let reader = world.request("GET", "/nowhere").bearer_auth("s3cret-one");
    problem(&world.send(reader).await, 404, "unknown-route");
}

#[tokio::test]
async fn other_tokens_come_into_force_while_it_runs() {
    let world = World::with_tokens(vec![token("old", "old-one", &[Scope::Read])]).await;
    world.access.replace(vec![token("new", "new-one", &[Scope::Read])]);
    assert_eq!(world.send(world.request("GET", "/v1/services").bearer_auth("old-one")).await.status, 401);
    assert_eq!(world.send(world.request("GET", "/v1/services").bearer_auth("new-one")).await.status, 200);
    world.access.replace(Vec::new());
    assert_eq!(world.get("/v1/services").await.status, 401);
}

#[tokio::test]
async fn requests_are_counted_under_their_pattern() {
    let world = World::open().await;
    world.get("/v1/services/capstone-api").await;
    world.get("/v1/services/nobody-1").await;
    world.get("/v1/services/nobody-2").await;
    world.get("/nowhere/at/all").await;
    let metrics = world.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    for line in [
        "rollbackd_http_requests_total{route=\"/v1/services/{name}\",method=\"GET\",code=\"200\"} 1",
        "rollbackd_http_requests_total{route=\"/v1/services/{name}\",method=\"GET\",code=\"404\"} 2",
        "rollbackd_http_requests_total{route=\"unknown\",method=\"GET\",code=\"404\"} 1",
        "rollbackd_build_info{version=\"test\"} 1",
    ] {
        assert!(metrics.text.lines().any(|each| each == line), "{line} is not in\n{}", metrics.text);
    }
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_daemon_stops() {
    let world = World::open().await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = "POST /v1/services/billing/thaw HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // Once it asks for the body, the request is in flight.
    let mut hundred = [0; 25];
    stream.read_exact(&mut hundred).await.unwrap();
    assert_eq!(hundred.as_slice(), b"HTTP/1.1 100 Continue\r\n\r\n");
    let address = world.address;
    let stopping = tokio::spawn(world.stop());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!stopping.is_finished(), "it waits for the request");
    stream.write_all(b"{}").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stopping.await.unwrap().unwrap();
}

/// Connects and sends this much of a request.
async fn sends(world: &World, beginning: &str) -> TcpStream {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(beginning.as_bytes()).await.unwrap();
    stream
}

/// Whether the daemon closes it, without a word.
async fn is_closed(mut stream: TcpStream) -> bool {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    // With bytes of ours unread, its end is a reset.
    read.is_ok() || read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn a_connection_on_which_no_whole_head_comes_in_time_is_closed() {
    let limits = Limits { header_timeout: Duration::from_millis(200), ..Limits::default() };
    let world = World::limited(limits).await;
    for beginning in ["", "G", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: 1\r\n"] {
        assert!(is_closed(sends(&world, beginning).await).await, "{beginning:?}");
    }
    let mut dripping = sends(&world, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n").await;
    // However many headers come, the time is for all of them.
    while dripping.write_all(b"X-Slow: 1\r\n").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(world.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn where_there_is_no_room_the_connection_that_waits_longest_gives_up_its_place() {
    let world = World::limited(Limits { connections: 2, ..Limits::default() }).await;
    let head = "POST /v1/services/billing/thaw HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let first = sends(&world, "").await;
    let second = sends(&world, "GET /healthz HTTP/1.1\r\n").await;
    let body = sends(&world, &format!("{head}Content-Length: 2\r\n\r\n{{")).await;
    assert!(is_closed(first).await, "one that only came");
    let mut reader = sends(&world, "GET /v1/services HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(is_closed(second).await, "one with half a head");
    // Its answer has come, so from now on it waits as well, but not as long as the one with half a body.
    let mut byte = [0];
    reader.read_exact(&mut byte).await.unwrap();
    assert_eq!(world.get("/healthz").await.status, 200);
    assert!(is_closed(body).await, "one with half a body");
}
