//! What a stolen token is good for, and events that come again, too late or from the future.

use serde_json::{Value, json};

use crate::world::{SERVICE, Secrets, WINDOW, World, triggers, wait_until};

const SERVICE_ROUTE: &str = "/v1/services/capstone-api";

/// A world with one token for each scope, each of which is its name.
async fn guarded() -> World {
    let mut world = World::start().await;
    let mut plan = world.plan();
    plan.triggers([triggers::smoke_test(), triggers::login_broken()]);
    let token = |scope: &str| json!({"name": scope, "sha256": Secrets::sha256_of(scope), "scopes": [scope]});
    plan.top("tokens", json!([token("read"), token("deploy"), token("operate")]));
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    world
}

/// The statuses of everything that a token could try against a service with an open firing.
async fn tried(world: &mut World, token: &str, firing: &str) -> Vec<(String, u16)> {
    world.daemon().authorize(token);
    let asks = [
        ("/v1/services".to_owned(), None),
        ("/v1/firings".to_owned(), None),
        ("/metrics".to_owned(), None),
        ("/v1/deploys".to_owned(), Some(json!({"service": SERVICE, "version": "v2"}))),
        ("/v1/reports".to_owned(), Some(json!({"service": SERVICE, "trigger": "login-broken"}))),
        (format!("{SERVICE_ROUTE}/freeze"), Some(json!({"for": "1h", "why": "stolen"}))),
        (format!("{SERVICE_ROUTE}/thaw"), Some(json!({}))),
        (format!("{SERVICE_ROUTE}/rollback"), Some(json!({"to": "evil"}))),
        (format!("/v1/firings/{firing}/ack"), Some(json!({}))),
        (format!("/v1/firings/{firing}/dismiss"), Some(json!({"why": ""}))),
        (format!("/v1/firings/{firing}x/approve"), Some(json!({}))),
    ];
    let mut statuses = Vec::new();
    for (route, body) in asks {
        let answer = match body {
            None => world.daemon().get(&route).await,
            Some(body) => world.post(&route, body).await,
        };
        statuses.push((route.replace(firing, "ID"), answer.status));
    }
    statuses
}

#[tokio::test]
async fn a_stolen_token_opens_its_own_doors_alone() {
    let mut world = guarded().await;
    world.daemon().authorize("deploy");
    world.deploy("v2", "v1").await;
    let firing = world.report("login-broken").await;
    let opened = |tried: Vec<(String, u16)>| -> Vec<String> {
        assert!(tried.iter().all(|(_, status)| *status != 401), "{tried:?}");
        tried.into_iter().filter(|(_, status)| *status != 403).map(|(route, _)| route).collect()
    };
    assert_eq!(opened(tried(&mut world, "read", &firing).await), ["/v1/services", "/v1/firings", "/metrics"]);
    assert_eq!(opened(tried(&mut world, "deploy", &firing).await), ["/v1/deploys", "/v1/reports"]);
    let operate = tried(&mut world, "operate", &firing).await;
    let done: Vec<u16> = operate.iter().map(|(_, status)| *status).collect();
    // It can freeze and thaw and acknowledge; it can't go to a version that the ledger has not, dismiss without a
    // reason, or approve what is not there.
    assert_eq!(done, [403, 403, 403, 403, 403, 200, 200, 404, 202, 422, 404], "{operate:?}");
    for stranger in ["", "Read", "rea", "readread", &"x".repeat(20_000), &Secrets::sha256_of("read")] {
        let answer = world.daemon().send("/v1/services", |client, url| client.get(url).bearer_auth(stranger)).await;
        assert_eq!(answer.status, 401, "{stranger:?}");
    }
    assert!(world.pipeline_runs().await.is_empty(), "nobody approved");
}

#[tokio::test]
async fn events_that_come_again_too_late_or_too_early_start_nothing() {
    let mut world = World::start().await;
    let mut plan = world.plan();
    plan.triggers([triggers::smoke_test(), triggers::login_broken()]);
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    let deploys = async |key: &str, body: &Value| {
        let sent =
            world.api().send("/v1/deploys", |client, url| client.post(url).header("Idempotency-Key", key).json(body));
        let answer = sent.await;
        (answer.status, answer.body["deploy"].as_str().unwrap_or_default().to_owned())
    };
    world.production.deploy(SERVICE, "v3", "test").await;
    wait_until("Prometheus sees it", async || {
        let serving = world.prometheus.value("count(app_build_info{version=\"v3\"})").await?;
        if serving == Some(1.0) { Ok(()) } else { Err(format!("{serving:?}")) }
    })
    .await;
    let ago = |seconds: u64| {
        let at = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
        let since = at.duration_since(std::time::UNIX_EPOCH).unwrap();
        rollbackd_core::time::Timestamp::from_milliseconds(i64::try_from(since.as_millis()).unwrap()).to_string()
    };
    let good = json!({"service": SERVICE, "version": "v2", "previous_version": "v1", "at": ago(20)});
    let newer = json!({"service": SERVICE, "version": "v3", "previous_version": "v2", "at": ago(10)});
    let (status, first) = deploys("run-1", &good).await;
    assert_eq!(status, 202);
    let (status, second) = deploys("run-2", &newer).await;
    assert_eq!(status, 202);
    // Replayed a hundred times, in turn and in the wrong order.
    for _ in 0..50 {
        assert_eq!(deploys("run-2", &newer).await, (200, second.clone()));
        assert_eq!(deploys("run-1", &good).await, (200, first.clone()));
    }
    // The same capture under a new key is still the same event; one that was held back comes too late.
    assert_eq!(deploys("run-3", &good).await, (200, first));
    let held_back = json!({"service": SERVICE, "version": "v0", "at": ago(15)});
    assert_eq!(deploys("run-4", &held_back).await.0, 202);
    let ahead = json!({"service": SERVICE, "version": "v9", "at": "2999-01-01T00:00:00Z"});
    assert_eq!(deploys("run-5", &ahead).await.0, 422);
    let view = world.view(SERVICE).await;
    assert_eq!((&view["running"], &view["watch"]["deploy"]), (&json!("v3"), &json!(second)), "{view}");

    // A report that comes again joins its firing, and rolls back once.
    let report = json!({"service": SERVICE, "trigger": "login-broken"});
    let firing = world.post("/v1/reports", report.clone()).await.text_of(202, "firing");
    for _ in 0..20 {
        let again = world.post("/v1/reports", report.clone()).await;
        assert!(matches!(again.status, 200 | 202), "{again:?}");
        assert_eq!(again.body["firing"], firing.as_str(), "{again:?}");
    }
    let firings = world.daemon().get("/v1/firings").await.json_of(200);
    assert_eq!(firings.as_array().unwrap().len(), 1, "{firings}");
    assert!(world.pipeline_runs().await.is_empty());
}
