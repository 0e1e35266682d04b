//! The path is got ready while a trigger's `for` is running, against the stand-in for GitHub.

use serde_json::json;

use crate::world::{SERVICE, WINDOW, World};

/// How a pre-flight ended, as `/metrics` counts it.
fn counted(outcome: &str) -> String {
    format!("rollbackd_preflights_total{{service=\"capstone-api\",path=\"github\",outcome=\"{outcome}\"}} 1")
}

async fn metrics(world: &World) -> String {
    world.api().get("/metrics").await.body.as_str().unwrap_or_default().to_owned()
}

/// The way back is GitHub, and `v2` has errors.
async fn world() -> World {
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {"error_ratio": 0.2}})).await;
    let mut plan = world.plan();
    plan.paths([plan.github(&world)]);
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    world
}

#[tokio::test]
async fn a_path_is_looked_at_once_before_it_is_run_and_run_once() {
    let world = world().await;
    world.deploy("v2", "v1").await;
    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("path"), receipt.get("outcome")), ("github", "recovered"));
    assert_eq!(world.github.looks(), (1, 0));
    assert_eq!(world.github.dispatches().len(), 1);
    let metrics = metrics(&world).await;
    assert!(metrics.contains(&counted("ready")), "{metrics}");
}

#[tokio::test]
async fn a_path_that_would_fail_is_told_of_before_the_trigger_fires() {
    let mut world = world().await;
    std::fs::write(world.place("github-token"), "expired\n").unwrap();
    world.deploy("v2", "v1").await;
    world.page("no_path_left").await;
    let log = world.daemon().log();
    let at = |what: &str| log.find(what).unwrap_or_else(|| panic!("no {what:?} in {log}"));
    assert!(at("the path is not ready") < at("a trigger fired"), "{log}");
    assert!(log.contains("GitHub answered 401"), "{log}");
    let metrics = metrics(&world).await;
    assert!(metrics.contains(&counted("not_ready")), "{metrics}");
    assert!(world.github.dispatches().is_empty());
}

#[tokio::test]
async fn no_path_is_looked_at_where_a_freeze_would_hold_it() {
    let mut world = world().await;
    let said = world.daemon().command(&["freeze", SERVICE, "--for", "1h", "--why", "release day"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    world.deploy("v2", "v1").await;
    world.page("held").await;
    assert_eq!(world.github.looks().0, 0);
}
