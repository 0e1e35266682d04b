//! How a rollback comes to its end although something goes wrong on the way: a crash, a red pipeline, a lost answer.
//!
//! Never counts a run by what the daemon says: runs are counted where they arrive.

use serde_json::json;

use crate::world::{Plan, SERVICE, Script, WINDOW, World, wait_until};

/// A world whose `v2` is bad, with these paths; the daemon runs and `v2` is deployed.
async fn bad_deploy(paths: impl FnOnce(&World) -> Vec<serde_json::Value>) -> World {
    bad_deploy_by(|world, plan| plan.paths(paths(world))).await
}

/// The same by a plan that is changed.
async fn bad_deploy_by(change: impl FnOnce(&World, &mut Plan)) -> World {
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {"error_ratio": 0.2}})).await;
    let mut plan = world.plan();
    change(&world, &mut plan);
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    world.deploy("v2", "v1").await;
    world
}

async fn dispatched(world: &World) {
    wait_until("the pipeline was dispatched", async || match world.github.dispatches().len() {
        0 => Err("no dispatch".to_owned()),
        _ => Ok(()),
    })
    .await;
}

async fn assert_one_run_and_one_receipt(world: &World) {
    let receipt = world.receipt(1).await;
    assert_eq!(receipt.get("outcome"), "recovered");
    assert_eq!(world.pipeline_runs().await, ["v1"]);
    assert_eq!(world.receipts().len(), 1);
}

#[tokio::test]
async fn a_state_dir_below_the_folder_in_which_the_daemon_was_started_is_found_by_what_runs_elsewhere() {
    let world = bad_deploy_by(|_, plan| plan.top("state_dir", json!("./state"))).await;
    assert_one_run_and_one_receipt(&world).await;
}

#[tokio::test]
async fn a_daemon_killed_while_the_pipeline_runs_finds_that_run_again() {
    let mut world = bad_deploy(|world| {
        world.github.script(Script::succeeds().held());
        vec![world.plan().github(world)]
    })
    .await;
    dispatched(&world).await;
    world.daemon().kill().await;
    world.daemon().start().await;
    world.github.release();

    assert_one_run_and_one_receipt(&world).await;
    assert_eq!(world.github.dispatches().len(), 1);
    assert_eq!(world.github.unauthorized(), 0);
    assert_eq!(world.receipts()[0].get("receipt"), "7001");
}

#[tokio::test]
async fn a_daemon_stopped_while_the_pipeline_runs_hands_the_run_to_the_next_start() {
    let mut world = bad_deploy(|world| {
        world.github.script(Script::succeeds().held());
        vec![world.plan().github(world)]
    })
    .await;
    dispatched(&world).await;
    assert!(world.daemon().stop().await.success());
    world.github.release();
    world.daemon().start().await;

    assert_one_run_and_one_receipt(&world).await;
    assert_eq!(world.github.dispatches().len(), 1);
}

#[tokio::test]
async fn a_command_outlives_a_killed_daemon_and_is_not_run_again() {
    let mut world = bad_deploy(|world| vec![world.plan().pipeline(world, &["--take=4s"])]).await;
    world.view_until("the path runs", |view| view["watch"]["state"] == "rolling_back").await;
    world.daemon().kill().await;
    world.daemon().start().await;

    assert_one_run_and_one_receipt(&world).await;
}

#[tokio::test]
async fn a_dispatch_whose_answer_is_lost_is_looked_up_and_not_sent_again() {
    let world = bad_deploy(|world| {
        world.github.script(Script::succeeds().answer_lost());
        vec![world.plan().github(world)]
    })
    .await;
    assert_one_run_and_one_receipt(&world).await;
    assert_eq!(world.github.dispatches().len(), 1);
}

#[tokio::test]
async fn the_next_path_starts_when_the_first_one_fails() {
    let world = bad_deploy(|world| {
        let mut first = world.plan().pipeline(world, &["--fail"]);
        first["name"] = json!("first");
        vec![first, world.plan().pipeline(world, &[])]
    })
    .await;
    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("outcome"), receipt.get("path")), ("recovered", "pipeline"));
    assert!(receipt.body.contains("first"), "{}", receipt.body);
    assert_eq!(world.pipeline_runs().await, ["v1"]);
}

#[tokio::test]
async fn a_run_that_ends_red_falls_through_to_the_next_path() {
    let world = bad_deploy(|world| {
        world.github.script(Script::fails());
        vec![world.plan().github(world), world.plan().pipeline(world, &[])]
    })
    .await;
    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("outcome"), receipt.get("path")), ("recovered", "pipeline"));
    assert_eq!(world.github.dispatches().len(), 1);
}

#[tokio::test]
async fn a_human_is_paged_when_every_path_fails() {
    let world = bad_deploy(|world| vec![world.plan().pipeline(world, &["--fail"])]).await;
    world.page("no_path_left").await;
    assert!(world.pipeline_runs().await.is_empty());
}

#[tokio::test]
async fn the_deploy_that_a_rollback_causes_opens_no_watch() {
    let world = bad_deploy(|world| vec![world.plan().pipeline(world, &[])]).await;
    world.receipt(1).await;
    let announced = json!({"service": SERVICE, "version": "v1", "previous_version": "v2"});
    let answer = world.post("/v1/deploys", announced).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let view = world.view(SERVICE).await;
    assert!(view["watch"].is_null(), "{view}");
    assert_ne!(view["target"], "v2", "{view}");
}

#[tokio::test]
async fn a_path_that_was_done_while_the_daemon_was_down_has_not_used_up_its_timeout() {
    let mut world = bad_deploy(|world| {
        world.github.script(Script::succeeds().held());
        let mut github = world.plan().github(world);
        github["timeout"] = json!("5s");
        vec![github, world.plan().pipeline(world, &[])]
    })
    .await;
    dispatched(&world).await;
    world.daemon().kill().await;
    world.github.release();
    world.looks_on(std::time::Duration::from_secs(7)).await;
    world.daemon().start().await;

    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("outcome"), receipt.get("path")), ("recovered", "github"));
    assert_eq!(world.pipeline_runs().await, ["v1"], "one run is enough");
}

#[tokio::test]
async fn a_service_with_an_open_firing_can_not_be_forgotten_by_a_restart() {
    let mut world = World::start().await;
    let mut plan = world.plan();
    plan.triggers([crate::world::triggers::login_broken()]);
    world.run(&plan).await;
    world.deploy("v2", "v1").await;
    world.report("login-broken").await;
    assert!(world.daemon().stop().await.success());
    let mut without = plan.clone();
    without.service("name", json!("another"));
    let mut daemon = crate::world::Daemon::new(&world.place(""), &without, &[]);
    daemon.launch();
    assert!(!daemon.ends().await.success());
    assert!(daemon.log().contains("put it back"), "{}", daemon.log());
}
