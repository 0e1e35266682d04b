//! Requests and configs with mistakes: each is answered with what is wrong, and none of them changes anything.
//!
//! Never sends what a correct client would send.

use serde_json::{Value, json};

use crate::world::{Answer, Daemon, SERVICE, WINDOW, World, triggers, wait_until};

/// A POST, the status of its answer, the word of the problem, and the field or name that the answer has to tell.
type Mistake = (&'static str, Value, u16, &'static str, &'static str);

fn assert_problem(answer: &Answer, what: &str, (status, word, named): (u16, &str, &str)) {
    assert_eq!(answer.status, status, "{what}: {}", answer.body);
    assert_eq!(answer.body["type"], format!("urn:rollbackd:problem:{word}"), "{what}: {}", answer.body);
    assert_eq!(answer.body["status"], status, "{what}: {}", answer.body);
    for text in ["title", "detail"] {
        assert!(answer.body[text].as_str().is_some_and(|text| !text.is_empty()), "{what}: {}", answer.body);
    }
    let tells = answer.body["field"] == named || answer.body["nearest"][0] == named;
    assert!(named.is_empty() || tells, "{what}: expected {named:?} in {}", answer.body);
}

/// A world with every trigger of the reference list, whose daemon watches `v2`.
async fn watching() -> World {
    let mut world = World::start().await;
    let mut plan = world.plan();
    plan.triggers([
        triggers::error_rate(),
        triggers::smoke_test(),
        triggers::login_broken(),
        triggers::data_corruption(),
    ]);
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    world.deploy("v2", "v1").await;
    world
}

fn mistakes() -> Vec<Mistake> {
    let deploy = |field: &str, value: Value| {
        let mut body = json!({"service": SERVICE, "version": "v3"});
        body[field] = value;
        body
    };
    let (rollback, freeze) = ("/v1/services/capstone-api/rollback", "/v1/services/capstone-api/freeze");
    vec![
        // Names that are not there: the nearest that is.
        ("/v1/deploys", json!({"service": "capstone-ap", "version": "v3"}), 404, "unknown-name", SERVICE),
        ("/v1/reports", json!({"service": "capstone", "trigger": "smoke-test"}), 404, "unknown-name", "service"),
        ("/v1/reports", json!({"service": SERVICE, "trigger": "smoke-tests"}), 404, "unknown-name", "smoke-test"),
        ("/v1/firings/no-such-firing/approve", json!({}), 404, "unknown-name", ""),
        ("/v1/firings/no-such-firing/dismiss", json!({"why": "x"}), 404, "unknown-name", ""),
        ("/v1/services/capstone-app/thaw", json!({}), 404, "unknown-name", SERVICE),
        (rollback, json!({"path": "pipelin"}), 404, "unknown-name", "pipeline"),
        (rollback, json!({"to": "v9"}), 404, "unknown-name", "to"),
        ("/v1/deploy", json!({}), 404, "unknown-route", ""),
        // A trigger that only the data can observe.
        ("/v1/reports", json!({"service": SERVICE, "trigger": "error-rate"}), 422, "invalid-field", "trigger"),
        // Fields that are missing, unknown, or of another type.
        ("/v1/deploys", json!({"version": "v3"}), 422, "invalid-field", "service"),
        ("/v1/deploys", json!({"service": SERVICE}), 422, "invalid-field", "version"),
        ("/v1/deploys", json!({"service": SERVICE, "version": null}), 422, "invalid-field", "version"),
        ("/v1/reports", json!({"service": SERVICE}), 422, "invalid-field", "trigger"),
        ("/v1/deploys", deploy("versoin", json!("v3")), 422, "invalid-field", "versoin"),
        ("/v1/deploys", deploy("command", json!(["rm"])), 422, "invalid-field", "command"),
        ("/v1/deploys", deploy("version", json!(3)), 422, "invalid-field", "version"),
        ("/v1/deploys", deploy("migration", json!("yes")), 422, "invalid-field", "migration"),
        ("/v1/deploys", deploy("version", json!("v3; rm -rf /")), 422, "invalid-field", "version"),
        ("/v1/deploys", deploy("version", json!("-v3")), 422, "invalid-field", "version"),
        ("/v1/deploys", deploy("commit", json!("$(id)")), 422, "invalid-field", "commit"),
        ("/v1/deploys", deploy("at", json!("yesterday")), 422, "invalid-field", "at"),
        ("/v1/deploys", deploy("at", json!("2999-01-01T00:00:00Z")), 422, "invalid-field", "at"),
        ("/v1/deploys", deploy("run_url", json!("javascript:alert(1)")), 422, "invalid-field", "run_url"),
        ("/v1/reports", json!({"service": SERVICE, "trigger": "smoke-test", "note": ""}), 422, "invalid-field", "note"),
        (freeze, json!({"for": "soon", "why": "x"}), 422, "invalid-field", "for"),
        (freeze, json!({"for": "1h"}), 422, "invalid-field", "why"),
        // No object at all.
        ("/v1/deploys", json!([1, 2]), 400, "not-json", ""),
        ("/v1/deploys", json!("v3"), 400, "not-json", ""),
    ]
}

#[tokio::test]
async fn each_mistake_in_a_request_is_named_and_changes_nothing() {
    let mut world = watching().await;
    world.trigger_until("error-rate", &["clear"]).await;
    let before = world.view(SERVICE).await["watch"].clone();
    for (route, body, status, word, named) in mistakes() {
        let what = format!("{route} {body}");
        let answer = world.post(route, body).await;
        assert_problem(&answer, &what, (status, word, named));
    }
    let raw = async |text: Vec<u8>, kind: &str| {
        let api = world.daemon.as_ref().unwrap();
        api.send("/v1/deploys", |client, url| client.post(url).header("content-type", kind).body(text)).await
    };
    let json = "application/json";
    assert_problem(&raw(b"{\"service\": ".to_vec(), json).await, "half", (400, "not-json", ""));
    assert_problem(&raw(b"{\"service\": \"\xff\"}".to_vec(), json).await, "no UTF-8", (400, "not-json", ""));
    assert_problem(&raw(b"{\"version\":\"a\",\"version\":\"b\"}".to_vec(), json).await, "twice", (400, "not-json", ""));
    let deep = "[".repeat(100_000).into_bytes();
    assert_problem(&raw(deep, json).await, "deep", (400, "not-json", ""));
    assert_problem(&raw(b"{}".to_vec(), "text/plain").await, "no JSON", (415, "wrong-media-type", ""));
    let large = format!("{{\"service\": \"{}\"}}", "x".repeat(1024 * 1024)).into_bytes();
    assert_problem(&raw(large, json).await, "too large", (413, "too-large", ""));
    let api = world.daemon();
    let deleted = api.send("/v1/services", |client, url| client.delete(url)).await;
    assert_problem(&deleted, "DELETE", (405, "method-not-allowed", ""));
    let foreign = api.send("/v1/services", |client, url| client.get(url).header("host", "evil.example")).await;
    assert_problem(&foreign, "foreign host", (403, "foreign-host", ""));
    let unknown = api.send("/v1/services/capstone-apy", |client, url| client.get(url)).await;
    assert_problem(&unknown, "GET", (404, "unknown-name", SERVICE));
    let unknown = api.send("/v1/firings/nothing", |client, url| client.get(url)).await;
    assert_problem(&unknown, "GET", (404, "unknown-name", ""));

    assert_eq!(world.view(SERVICE).await["watch"], before);
    assert_eq!(world.daemon().get("/v1/firings").await.json_of(200), json!([]));
    assert!(world.pipeline_runs().await.is_empty());
    assert!(world.pager.received().is_empty(), "{:?}", world.pager.received());
}

#[tokio::test]
async fn an_answer_to_a_firing_that_is_over_is_too_late() {
    let world = watching().await;
    let firing = world.report("smoke-test").await;
    assert_eq!(world.receipt(1).await.get("outcome"), "recovered");
    for (act, body) in [("approve", json!({})), ("dismiss", json!({"why": "too late"}))] {
        let answer = world.post(&format!("/v1/firings/{firing}/{act}"), body).await;
        assert_problem(&answer, act, (409, "conflict", ""));
    }
    let mistyped = world.post(&format!("/v1/firings/{firing}x/approve"), json!({})).await;
    assert_problem(&mistyped, "nearly", (404, "unknown-name", &firing));
    assert_eq!(world.pipeline_runs().await, ["v1"]);
    assert_eq!(world.receipts().len(), 1);
}

#[tokio::test]
async fn all_mistakes_of_a_config_are_shown_at_once_each_at_its_place_and_nothing_starts() {
    let world = World::start().await;
    let mut plan = world.plan();
    plan.service("watch", json!("soon"));
    plan.service("page", json!(["nobody"]));
    plan.top("evaluation_intervall", json!("1s"));
    plan.top("listen", json!("0.0.0.0:0"));
    let mut trigger = triggers::error_rate();
    trigger["total"] = json!("sum(brate(");
    plan.triggers([trigger]);
    let daemon = Daemon::new(&world.place("."), &plan, &[]);
    let line_of = |text: &str| 1 + plan.yaml().lines().position(|line| line.contains(text)).unwrap();

    let checked = daemon.command(&["check", "--config", "rollbackd.yml"]).await;
    let refused = daemon.command(&["run", "--config", "rollbackd.yml"]).await;
    assert_eq!((checked.code, refused.code), (Some(1), Some(1)), "{refused:?}");
    for mistake in ["soon", "nobody", "evaluation_intervall", "sum(brate(", "0.0.0.0:0"] {
        let place = format!("rollbackd.yml:{}:", line_of(mistake));
        let shown: Vec<_> = checked.out.lines().filter(|line| line.starts_with(&place)).collect();
        assert_eq!(shown.len(), 1, "{mistake} at {place} in {}", checked.out);
        let column = shown[0][place.len()..].split(':').next().unwrap().parse::<usize>();
        assert!(column.is_ok_and(|column| column > 0), "{}", shown[0]);
        assert!(refused.err.contains(shown[0]), "`run` says the same: {} in {}", shown[0], refused.err);
    }
    assert!(!world.place("state").exists(), "nothing was begun");
}

#[tokio::test]
async fn a_config_that_becomes_bad_stays_out_and_its_mistakes_are_logged_at_their_places() {
    let mut world = World::start().await;
    let plan = world.plan();
    world.run(&plan).await;
    let loaded = async |world: &mut World, expected: &str| {
        let line = format!("\nrollbackd_config_last_reload_successful {expected}\n");
        wait_until(&format!("the reload shows as {expected}"), async || {
            let text = world.daemon().get("/metrics").await.body;
            if text.as_str().unwrap_or_default().contains(&line) { Ok(()) } else { Err(text.to_string()) }
        })
        .await;
    };
    let mut bad = plan.clone();
    bad.service("watch", json!("soon"));
    bad.service("page", json!(["nobody"]));
    world.daemon().reload(&bad);
    loaded(&mut world, "0").await;
    let log = world.daemon().log();
    for mistake in ["soon", "nobody"] {
        let line = 1 + bad.yaml().lines().position(|line| line.contains(mistake)).unwrap();
        assert!(log.contains(&format!("rollbackd.yml:{line}:")), "{log}");
    }
    assert_eq!(world.view(SERVICE).await["name"], SERVICE);

    // A good one is taken all the same, and is in force.
    let mut good = plan.clone();
    good.triggers([triggers::error_rate(), triggers::login_broken()]);
    world.daemon().reload(&good);
    loaded(&mut world, "1").await;
    world.report("login-broken").await;
    world.page("manual").await;
}
