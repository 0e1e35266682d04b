//! What holds an automatic rollback: a dry run, a freeze, a veto, a migration, a breach that was there before.
//!
//! Never takes silence for proof at once: after what should not happen, the data goes on for a while first.

use std::time::Duration;

use serde_json::json;

use crate::world::{Daemon, Plan, SERVICE, WINDOW, World, trigger_of, triggers, wait_until};

/// How long the data goes on before something counts as not having happened: a `for` and some looks.
const LONG_ENOUGH: Duration = Duration::from_secs(5);

/// A world whose `v2` is bad.
async fn bad_world() -> World {
    let world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {"error_ratio": 0.2}})).await;
    world
}

#[tokio::test]
async fn a_dry_run_records_what_it_would_run_and_touches_nothing() {
    let mut world = bad_world().await;
    let plan = world.plan();
    world.run_with(&plan, &["--dry-run"]).await;
    world.has_past(WINDOW).await;

    world.deploy("v2", "v1").await;
    world.trigger_until("error-rate", &["fired"]).await;
    world.looks_on(LONG_ENOUGH).await;
    assert!(world.pipeline_runs().await.is_empty());
    world.daemon().stop().await;
    let mut live = Daemon::new(&world.place(""), &plan, &[]);
    live.launch();
    assert!(!live.ends().await.success(), "what is open there would be taken for real");
    assert!(live.log().contains("that of a dry run: give this live run a `state_dir` of its own"), "{}", live.log());
    world.daemon().start().await;
    // The clock is on what production really did: somebody rolls back by hand.
    world.production.deploy(SERVICE, "v1", "test").await;

    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("kind"), receipt.get("outcome")), ("dry-run", "recovered"));
    assert!(receipt.body.contains("deploy --to"), "the command that would have run: {}", receipt.body);
    assert!(world.pipeline_runs().await.is_empty());
    assert!(world.pager.received().is_empty(), "{:?}", world.pager.received());
}

#[tokio::test]
async fn a_freeze_holds_the_rollback_and_a_human_may_still_approve() {
    let mut world = bad_world().await;
    let plan = world.plan();
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    let freeze = json!({"for": "1h", "why": "the big sale"});
    assert_eq!(world.post(&format!("/v1/services/{SERVICE}/freeze"), freeze).await.status, 200);

    world.deploy("v2", "v1").await;
    let page = world.page("held").await;
    assert!(page.body.to_string().contains("the big sale"), "{}", page.body);
    world.looks_on(LONG_ENOUGH).await;
    assert!(world.pipeline_runs().await.is_empty());

    let approved = world.post(&format!("/v1/firings/{}/approve", page.firing()), json!({})).await;
    assert_eq!(approved.status, 202, "{approved:?}");
    assert_eq!(world.receipt(1).await.get("outcome"), "recovered");
    assert_eq!(world.pipeline_runs().await, ["v1"]);
}

#[tokio::test]
async fn a_human_may_dismiss_during_the_veto() {
    let mut world = bad_world().await;
    let mut plan = world.plan();
    let mut trigger = triggers::error_rate();
    trigger["veto"] = json!("25s");
    plan.triggers([trigger]);
    world.run(&plan).await;
    world.has_past(WINDOW).await;

    world.deploy("v2", "v1").await;
    let page = world.page("veto").await;
    let dismiss = format!("/v1/firings/{}/dismiss", page.firing());
    assert_eq!(world.post(&dismiss, json!({"why": "a load test"})).await.status, 202);

    let receipt = world.receipt(1).await;
    assert_eq!(receipt.get("outcome"), "dismissed");
    assert!(receipt.body.contains("a load test"), "{}", receipt.body);
    let again = world.post(&dismiss, json!({"why": "twice"})).await;
    assert_eq!(again.status, 409, "{again:?}");
    world.looks_on(LONG_ENOUGH).await;
    assert!(world.pipeline_runs().await.is_empty());
    assert_eq!(world.receipts().len(), 1);
}

#[tokio::test]
async fn the_path_starts_when_nobody_dismisses_during_the_veto() {
    let mut world = bad_world().await;
    let mut plan = world.plan();
    let mut trigger = triggers::error_rate();
    trigger["veto"] = json!("2s");
    plan.triggers([trigger]);
    world.run(&plan).await;
    world.has_past(WINDOW).await;

    world.deploy("v2", "v1").await;
    world.page("veto").await;
    assert_eq!(world.receipt(1).await.get("outcome"), "recovered");
    assert_eq!(world.pipeline_runs().await, ["v1"]);
}

#[tokio::test]
async fn a_deploy_with_a_migration_is_paged_and_not_rolled_back() {
    let mut world = bad_world().await;
    let plan = world.plan();
    world.run(&plan).await;
    world.has_past(WINDOW).await;

    world.deploy_as(SERVICE, json!({"version": "v2", "previous_version": "v1", "migration": true})).await;
    let page = world.page("held").await;
    assert!(page.body.to_string().contains("migration"), "{}", page.body);
    world.looks_on(LONG_ENOUGH).await;
    assert!(world.pipeline_runs().await.is_empty());
}

#[tokio::test]
async fn a_deploy_with_a_compatible_migration_is_rolled_back() {
    let mut world = bad_world().await;
    let plan = world.plan();
    world.run(&plan).await;
    world.has_past(WINDOW).await;

    world.deploy_as(SERVICE, json!({"version": "v2", "previous_version": "v1", "migration": "compatible"})).await;
    assert_eq!(world.receipt(1).await.get("outcome"), "recovered");
}

#[tokio::test]
async fn a_breach_from_before_the_deploy_is_not_the_deploys_and_pages_that_it_did_not_help() {
    let world = bad_world().await;
    let plan = world.plan();
    breaching_before(world, &plan, "4s").await;
}

#[tokio::test]
async fn a_breach_from_before_the_deploy_is_not_the_deploys_where_the_query_counts_from_the_deploy_either() {
    let world = bad_world().await;
    let mut plan = world.plan();
    let mut trigger = triggers::error_rate();
    trigger["bad"] = json!("sum(rate(http_requests_total{code=\"500\"}[{{ since_deploy }}]))");
    trigger["total"] = json!("sum(rate(http_requests_total[{{ since_deploy }}]))");
    plan.triggers([trigger]);
    breaching_before(world, &plan, "1m").await;
}

/// v1 has failed for so long that it shows over this range, and v2 is no better.
async fn breaching_before(mut world: World, plan: &Plan, range: &str) {
    world.run(plan).await;
    world.production.behave(SERVICE, json!({"error_ratio": 0.2})).await;
    world.has_past(WINDOW).await;
    wait_until("the errors of v1 show", async || {
        let rate = |selector: &str| format!("sum(rate(http_requests_total{selector}[{range}]))");
        let ratio = format!("{} / {}", rate("{code=\"500\"}"), rate(""));
        match world.prometheus.value(&ratio).await? {
            Some(ratio) if ratio > 0.1 => Ok(()),
            ratio => Err(format!("{ratio:?}")),
        }
    })
    .await;

    world.deploy("v2", "v1").await;
    world.trigger_until("error-rate", &["disarmed"]).await;
    world.page("did_not_help").await;
    world.looks_on(LONG_ENOUGH).await;
    assert!(world.pipeline_runs().await.is_empty());
}

#[tokio::test]
async fn a_shadow_trigger_is_recorded_and_does_nothing() {
    let mut world = bad_world().await;
    let mut plan = world.plan();
    let mut trigger = triggers::error_rate();
    trigger["action"] = json!("shadow");
    plan.triggers([trigger]);
    world.run(&plan).await;
    world.has_past(WINDOW).await;

    world.deploy("v2", "v1").await;
    let view = world.trigger_until("error-rate", &["fired"]).await;
    assert!(!trigger_of(&view, "error-rate")["observed_at"].is_null(), "{view}");
    world.looks_on(LONG_ENOUGH).await;
    assert!(world.pipeline_runs().await.is_empty());
    assert!(world.pager.received().is_empty(), "{:?}", world.pager.received());
}

#[tokio::test]
async fn a_deploy_that_is_reported_twice_is_one_deploy() {
    let mut world = World::start().await;
    let plan = world.plan();
    world.run(&plan).await;
    let report = json!({
        "service": SERVICE, "version": "v2", "previous_version": "v1", "at": "2026-11-23T10:00:00Z",
    });
    let first = world.post("/v1/deploys", report.clone()).await.text_of(202, "deploy");
    let second = world.post("/v1/deploys", report).await.text_of(200, "deploy");
    assert_eq!(first, second);
}
