//! Deploys that nobody tells of: seen by the version label alone.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::{SERVICE, WINDOW, World, triggers, wait_until};

/// A world whose `v2` is bad and whose daemon watches versions.
async fn watching() -> World {
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {"error_ratio": 0.2}})).await;
    let mut plan = world.plan();
    plan.service("watch_version", json!(true));
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    world
}

async fn told(world: &World, report: Value) -> (u16, String) {
    let answer = world.post("/v1/deploys", report).await;
    let status = answer.status;
    (status, answer.text_of(status, "deploy"))
}

#[tokio::test]
async fn a_bad_version_that_nobody_told_of_is_rolled_back_and_what_comes_back_is_no_deploy() {
    let world = watching().await;
    world.production.deploy(SERVICE, "v2", "test").await;
    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("outcome"), receipt.get("version"), receipt.get("target")), ("recovered", "v2", "v1"));
    assert_eq!(world.pipeline_runs().await, ["v1"]);

    // v1 is what is shown now; a good v3 is a deploy again, and its only watch is that of v3.
    world.production.deploy(SERVICE, "v3", "test").await;
    let is_so = |view: &Value| view["watch"]["version"] == "v3" && view["target"] == "v1";
    let view = world.view_until("v3 is watched, and v1 is what it would go back to", is_so).await;
    assert_eq!(view["watch"]["state"], "watching");
    assert_eq!(world.pipeline_runs().await, ["v1"]);
    assert_eq!(world.receipts().len(), 1);
}

#[tokio::test]
async fn a_deploy_that_is_told_of_after_it_was_seen_is_the_same_deploy() {
    let world = watching().await;
    world.production.deploy(SERVICE, "v3", "test").await;
    let view = world.view_until("v3 is watched", |view| view["watch"]["version"] == "v3").await;
    let seen = view["watch"]["deploy"].as_str().expect("a deploy").to_owned();
    let report = json!({"service": SERVICE, "version": "v3", "migration": true, "commit": "0a1b2c3d"});
    assert_eq!(told(&world, report.clone()).await, (200, seen.clone()));
    assert_eq!(told(&world, report).await, (200, seen.clone()));
    let view = world.view(SERVICE).await;
    assert_eq!((&view["watch"]["deploy"], &view["watch"]["migration"]), (&json!(seen), &json!("breaking")));
}

#[tokio::test]
async fn a_version_appears_where_the_watch_is_so_long_that_its_query_has_coarser_steps() {
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {}})).await;
    let mut plan = world.plan();
    plan.service("watch_version", json!(true));
    // 3600 intervals, asked in steps of nine: the newest sample is older than two intervals.
    plan.service("watch", json!("30m"));
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    world.production.deploy(SERVICE, "v2", "test").await;
    world.view_until("v2 is watched", |view| view["watch"]["version"] == "v2").await;
}

#[tokio::test]
async fn the_versions_of_a_service_that_a_reload_brought_are_looked_at() {
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {}})).await;
    let mut plan = world.plan();
    plan.service("watch_version", json!(true));
    let mut before = plan.clone();
    before.service("name", json!("another-api"));
    before.service("version_query", json!("app_build_info{service=\"another-api\"}"));
    world.run(&before).await;
    world.has_past(WINDOW).await;
    world.daemon().reload(&plan);
    wait_until("the service is there", async || world.api().try_get(&format!("/v1/services/{SERVICE}")).await).await;
    // Nobody tells of it, neither before nor now.
    world.production.deploy(SERVICE, "v2", "test").await;
    world.view_until("v2 is watched", |view| view["watch"]["version"] == "v2").await;
}

/// How many connections were taken, how many of them are open, and how many were at most.
#[derive(Default)]
struct Crowd {
    taken: usize,
    open: usize,
    most: usize,
}

/// A Prometheus that takes connections and says nothing.
async fn silent() -> (String, Arc<Mutex<Crowd>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let crowd = Arc::new(Mutex::new(Crowd::default()));
    let counted = Arc::clone(&crowd);
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            let mut crowd = counted.lock().expect("nobody panics with it");
            crowd.taken += 1;
            crowd.open += 1;
            crowd.most = crowd.most.max(crowd.open);
            drop(crowd);
            tokio::spawn(async move {
                // Until the daemon has given it up.
                let _ = tokio::io::copy(&mut connection, &mut tokio::io::sink()).await;
                counted.lock().expect("nobody panics with it").open -= 1;
            });
        }
    });
    (url, crowd)
}

#[tokio::test]
async fn many_services_ask_for_their_versions_a_few_at_a_time() {
    let mut world = World::start().await;
    let (url, crowd) = silent().await;
    let mut plan = world.plan();
    plan.service("watch_version", json!(true));
    plan.several(12, [triggers::error_rate()]);
    plan.top("prometheus", json!({"url": url, "timeout": "300ms", "concurrency": 6}));
    world.run(&plan).await;
    wait_until("each service has asked", async || match crowd.lock().unwrap().taken {
        taken if taken >= 24 => Ok(()),
        taken => Err(format!("{taken} queries came")),
    })
    .await;
    let most = crowd.lock().unwrap().most;
    // A connection that was given up may be seen to end a moment after the next has come.
    assert!((1..=6).contains(&most), "half of the concurrency, and not one for each of twelve: {most}");
}
