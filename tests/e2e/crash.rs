//! kill -9 at each moment of a rollback: the next start goes on where the data and the journal say, and does nothing
//! twice.
//!
//! Never counts a run by what the daemon says: runs are counted where they arrive.

use serde_json::{Value, json};

use crate::world::{SERVICE, WINDOW, World, assert_observed_by_the_data, wait_until};

/// A world whose `v2` is bad, with a pipeline of these arguments; the daemon runs and `v2` is deployed.
async fn bad_deploy(pipeline: &[&str]) -> World {
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {"error_ratio": 0.2}})).await;
    let mut plan = world.plan();
    plan.paths([plan.pipeline(&world, pipeline)]);
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    world.deploy("v2", "v1").await;
    world
}

async fn killed_and_started_again(world: &mut World) {
    world.daemon().kill().await;
    world.daemon().start().await;
}

async fn assert_rolled_back_once(world: &World) {
    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("outcome"), receipt.get("trigger")), ("recovered", "error-rate"), "{}", receipt.body);
    assert_observed_by_the_data(&world.prometheus, &receipt).await;
    world.view_until("the rollback is over", |view| view["last"] == "rolled_back" && view["watch"].is_null()).await;
    assert_eq!(world.pipeline_runs().await, ["v1"]);
    assert_eq!(world.receipts().len(), 1);
    world.receipts_are_whole().await;
}

#[tokio::test]
async fn a_daemon_killed_right_after_it_took_a_deploy_watches_that_deploy() {
    let mut world = bad_deploy(&[]).await;
    killed_and_started_again(&mut world).await;
    assert_rolled_back_once(&world).await;
}

#[tokio::test]
async fn a_daemon_killed_while_a_breach_is_open_fires_when_the_data_say() {
    let mut world = bad_deploy(&[]).await;
    world.trigger_until("error-rate", &["breaching"]).await;
    killed_and_started_again(&mut world).await;
    assert_rolled_back_once(&world).await;
}

#[tokio::test]
async fn a_daemon_killed_as_soon_as_its_attempt_is_ordered_runs_it_once() {
    let mut world = bad_deploy(&["--take=1s"]).await;
    let attempts = world.place("state").join("attempts");
    wait_until("an attempt is ordered", async || {
        let there = std::fs::read_dir(&attempts).map_err(|error| error.to_string())?.next();
        there.map(|_| ()).ok_or_else(|| "the folder is empty".to_owned())
    })
    .await;
    killed_and_started_again(&mut world).await;
    assert_rolled_back_once(&world).await;
}

#[tokio::test]
async fn a_daemon_killed_while_it_verifies_goes_on_verifying_and_runs_nothing_again() {
    let mut world = bad_deploy(&[]).await;
    world.view_until("the rollback is verified", |view| view["watch"]["state"] == "verifying").await;
    killed_and_started_again(&mut world).await;
    assert_rolled_back_once(&world).await;
}

#[tokio::test]
async fn a_daemon_killed_between_the_end_and_the_receipt_writes_that_receipt() {
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {"error_ratio": 0.2}})).await;
    let plan = world.plan();
    // Until this file is gone, no receipt can be written.
    std::fs::write(world.receipts_dir(), "in the way").unwrap();
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    world.deploy("v2", "v1").await;
    wait_until("the receipt could not be written", async || {
        let log = world.daemon().log();
        if log.contains("the receipt could not be written") { Ok(()) } else { Err(log) }
    })
    .await;

    world.daemon().kill().await;
    std::fs::remove_file(world.receipts_dir()).unwrap();
    world.daemon().start().await;
    assert_rolled_back_once(&world).await;
}

/// What the daemon's records have made of the world: changes whenever one of them does.
fn turn(view: &Value) -> String {
    let fields = ["running", "target", "last"].map(|field| view[field].to_string());
    let trigger = &view["triggers"][0];
    format!("{fields:?} {} {} {}", view["watch"]["state"], trigger["state"], trigger["observed_at"])
}

#[tokio::test]
async fn a_daemon_killed_at_every_turn_of_a_rollback_comes_to_the_same_end() {
    let mut world = bad_deploy(&["--take=1s"]).await;
    let mut turns = Vec::new();
    while world.receipts().is_empty() {
        let known = turns.last().cloned().unwrap_or_default();
        let view =
            world.view_until("something has changed", |view| turn(view) != known || !view["last"].is_null()).await;
        if !view["last"].is_null() {
            break;
        }
        turns.push(turn(&view));
        killed_and_started_again(&mut world).await;
        assert!(turns.len() < 40, "no end after so many turns: {turns:#?}");
    }
    assert!(turns.len() >= 4, "{turns:#?}");
    assert_rolled_back_once(&world).await;
}
