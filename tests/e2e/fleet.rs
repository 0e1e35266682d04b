//! Shared triggers: one query for all services, a rollback for the one that is bad, and none when all are.
//!
//! Never gives a service a trigger of its own.

use std::time::Duration;

use serde_json::json;

use crate::world::{Shape, WINDOW, World, instant, triggers, wait_until};

/// Three services that share one trigger; `bad` of them get a bad `v2`, and the daemon runs with this guard.
async fn fleet(bad: &[&str], guard: serde_json::Value) -> World {
    let mut world = World::shaped(Shape { several: Some(3), ..Shape::default() }).await;
    for service in bad {
        world.production.versions(service, json!({"v2": {"error_ratio": 0.2}})).await;
    }
    let mut plan = world.plan();
    plan.several(3, [triggers::shared_error_rate()]);
    plan.top("fleet_guard", guard);
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    world
}

async fn deploy_all(world: &World) {
    let deploy = |service| world.deploy_as(service, json!({"version": "v2", "previous_version": "v1"}));
    tokio::join!(deploy("svc-1"), deploy("svc-2"), deploy("svc-3"));
}

#[tokio::test]
async fn a_shared_trigger_rolls_back_the_service_that_is_bad_and_no_other() {
    let world = fleet(&["svc-2"], json!({"services": 3, "within": "10s"})).await;
    deploy_all(&world).await;

    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("service"), receipt.get("outcome")), ("svc-2", "recovered"));
    world.looks_on(Duration::from_secs(5)).await;
    let rolled_back = world.production.deploys().await;
    let rolled_back: Vec<_> = rolled_back.iter().filter(|deploy| deploy["by"] != "test").collect();
    assert_eq!(rolled_back.len(), 1, "{rolled_back:?}");
    assert_eq!(rolled_back[0]["service"], "svc-2");
    for service in ["svc-1", "svc-3"] {
        let view = world.view(service).await;
        assert_eq!((&view["running"], &view["watch"]["state"]), (&json!("v2"), &json!("watching")), "{view}");
    }
}

#[tokio::test]
async fn a_slow_prometheus_is_still_asked_once_for_all_services() {
    let mut world = fleet(&[], json!({"services": 3, "within": "10s"})).await;
    world.prometheus.hold();
    // One after the other, so that each would be looked at by itself.
    for service in ["svc-1", "svc-2", "svc-3"] {
        world.deploy_as(service, json!({"version": "v2", "previous_version": "v1"})).await;
    }
    let mut most = 0;
    wait_until("many looks could not be made", async || {
        let metrics = world.daemon().get("/metrics").await.body;
        let metrics = metrics.as_str().unwrap_or_default();
        let value = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        most = most.max(value("rollbackd_prometheus_queries_in_flight").unwrap_or(0));
        let missed = value("rollbackd_evaluations_missed_total").unwrap_or(0);
        if missed >= 30 { Ok(()) } else { Err(format!("{missed} were missed")) }
    })
    .await;
    // One query of the trigger at a time; those that look far back go beside those that don't.
    assert!((1..=2).contains(&most), "{most} at once: each service was asked for by itself");

    world.prometheus.go_on();
    for service in ["svc-1", "svc-2", "svc-3"] {
        world
            .view_of_until(service, "it is looked at again", |view| {
                crate::world::trigger_of(view, "error-rate")["state"] == "clear"
            })
            .await;
    }
}

#[tokio::test]
async fn a_fleet_is_looked_at_from_its_deploys_on_after_a_restart_and_what_broke_long_before_it_is_rolled_back() {
    // So many are asked about by pieces of twenty slots, ten seconds.
    let mut world = World::shaped(Shape { several: Some(25), ..Shape::default() }).await;
    let mut plan = world.plan();
    plan.several(25, [triggers::shared_error_rate()]);
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    for number in 1..=25 {
        world.deploy_as(&format!("svc-{number}"), json!({"version": "v2", "previous_version": "v1"})).await;
    }
    world.daemon().kill().await;
    world.looks_on(Duration::from_secs(12)).await;
    world.production.versions("svc-2", json!({"v2": {"error_ratio": 0.2}})).await;
    world.looks_on(Duration::from_secs(15)).await;
    let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    world.daemon().start().await;

    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("service"), receipt.get("outcome")), ("svc-2", "recovered"));
    let observed_at = instant(&receipt, "observed_at");
    assert!(observed_at.seconds() < started.as_secs_f64(), "{observed_at} is after the start");
    for service in ["svc-1", "svc-25"] {
        world
            .view_of_until(service, "it is looked at", |view| {
                crate::world::trigger_of(view, "error-rate")["state"] == "clear"
            })
            .await;
    }
    assert_eq!(world.receipts().len(), 1);
}

#[tokio::test]
async fn two_bad_services_of_three_are_two_bad_deploys() {
    let world = fleet(&["svc-1", "svc-2"], json!({"services": 3, "within": "10s"})).await;
    deploy_all(&world).await;
    let mut services =
        [world.receipt(1).await, world.receipt(2).await].map(|receipt| receipt.get("service").to_owned());
    services.sort();
    assert_eq!(services, ["svc-1", "svc-2"]);
}

#[tokio::test]
async fn all_services_firing_together_are_one_outage_that_is_held_and_paged() {
    let world = fleet(&["svc-1", "svc-2", "svc-3"], json!({"services": 3, "within": "10s"})).await;
    deploy_all(&world).await;
    for service in ["svc-1", "svc-2", "svc-3"] {
        world.view_of_until(service, "it is held and paged", |view| view["watch"]["state"] == "paged").await;
    }
    assert!(!world.pager.taken_for("held").is_empty());
    world.looks_on(Duration::from_secs(5)).await;
    assert!(world.pipeline_runs().await.is_empty());
}
