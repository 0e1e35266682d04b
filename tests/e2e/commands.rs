//! The command line against a running daemon.
//!
//! Never depends on the wording of what people read: `--json` is for programs, and tests are programs.

use serde_json::{Value, json};

use crate::world::{Daemon, SERVICE, WINDOW, World, trigger_of, triggers};

#[tokio::test]
async fn a_rollback_can_be_followed_on_the_command_line() {
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {"error_ratio": 0.2}})).await;
    let plan = world.plan();
    world.run(&plan).await;
    world.has_past(WINDOW).await;

    world.production.deploy(SERVICE, "v2", "test").await;
    let deploy = world.daemon().command(&["deploy", SERVICE, "v2", "--previous", "v1"]).await;
    assert_eq!(deploy.code, Some(0), "{deploy:?}");
    world.trigger_until("error-rate", &["breaching", "fired"]).await;
    let status = world.daemon().command(&["status", SERVICE, "--json"]).await;
    let view: Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!(trigger_of(&view, "error-rate")["limit"], json!(0.05), "{view}");

    world.receipt(1).await;
    let receipts = world.daemon().command(&["receipts", "show", "1", "--config", "rollbackd.yml"]).await;
    assert!(receipts.out.contains("error-rate"), "{receipts:?}");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_an_error_that_names_the_nearest() {
    let mut world = World::start().await;
    let plan = world.plan();
    world.run(&plan).await;
    let said = world.daemon().command(&["deploy", "capstone-ap", "v2"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains(SERVICE), "{said:?}");
}

#[tokio::test]
async fn the_plans_of_these_tests_are_configs_without_a_mistake() {
    let world = World::start().await;
    let mut reference = world.plan();
    reference.triggers([
        triggers::error_rate(),
        triggers::p99_latency(),
        triggers::smoke_test(),
        triggers::login_broken(),
        triggers::data_corruption(),
    ]);
    reference.paths([reference.github(&world), reference.pipeline(&world, &["--take=2s"])]);
    let mut several = world.plan();
    several.several(3, [triggers::shared_error_rate()]);
    several.top("fleet_guard", json!({"services": 3, "within": "10s"}));
    several.top("pagers", json!([{"name": "oncall", "alertmanager": {"url": "http://127.0.0.1:9093"}}]));
    for plan in [reference, several] {
        let daemon = Daemon::new(&world.place("."), &plan, &[]);
        let said = daemon.command(&["check", "--config", "rollbackd.yml"]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
    }
}

#[tokio::test]
async fn a_mistake_in_the_config_is_shown_at_its_place() {
    let world = World::start().await;
    let mut plan = world.plan();
    plan.service("watch", json!("soon"));
    let daemon = Daemon::new(&world.place("."), &plan, &[]);
    let said = daemon.command(&["check", "--config", "rollbackd.yml"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let shown = format!("{}{}", said.out, said.err);
    let line = 1 + plan.yaml().lines().position(|line| line.contains("soon")).unwrap();
    assert!(shown.contains(&format!("rollbackd.yml:{line}:")), "{shown}");
}
