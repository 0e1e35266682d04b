//! What happens when the surroundings fail: Prometheus gone, silent or empty, a pager that refuses, a bad config.
//!
//! Never expects a rollback from what could not be seen.

use std::time::Duration;

use serde_json::json;

use crate::world::{SERVICE, WINDOW, World, triggers, wait_until};

/// How long the data goes on before something counts as not having happened.
const LONG_ENOUGH: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_prometheus_killed_and_started_again_while_a_breach_is_open_delays_the_rollback_and_no_more() {
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {"error_ratio": 0.2}})).await;
    let plan = world.plan();
    world.run(&plan).await;
    world.has_past(WINDOW).await;

    world.deploy("v2", "v1").await;
    world.trigger_until("error-rate", &["breaching"]).await;
    world.prometheus.kill().await;
    world.prometheus.start_again().await;

    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("trigger"), receipt.get("outcome")), ("error-rate", "recovered"));
    assert_eq!(world.pipeline_runs().await, ["v1"]);
    assert_eq!(world.receipts().len(), 1);
}

#[tokio::test]
async fn a_prometheus_that_stays_silent_pages_blind_and_rolls_nothing_back() {
    let mut world = World::start().await;
    let plan = world.plan();
    world.run(&plan).await;
    world.has_past(WINDOW).await;

    world.deploy("v2", "v1").await;
    world.trigger_until("error-rate", &["clear"]).await;
    world.prometheus.hold();
    world.page("blind").await;
    assert!(world.pipeline_runs().await.is_empty());

    world.prometheus.go_on();
    world.trigger_until("error-rate", &["clear"]).await;
    world.looks_on(LONG_ENOUGH).await;
    assert_eq!(world.pager.taken_for("blind").len(), 1, "a watch pages blind once");
    assert!(world.pipeline_runs().await.is_empty());
    assert!(world.receipts().is_empty());
}

#[tokio::test]
async fn a_prometheus_that_is_gone_pages_blind_and_rolls_nothing_back() {
    let mut world = World::start().await;
    let plan = world.plan();
    world.run(&plan).await;
    world.has_past(WINDOW).await;

    world.deploy("v2", "v1").await;
    world.trigger_until("error-rate", &["clear"]).await;
    world.prometheus.kill().await;
    world.page("blind").await;
    assert!(world.pipeline_runs().await.is_empty());
    assert!(world.receipts().is_empty());
}

#[tokio::test]
async fn a_version_whose_p99_is_nan_or_missing_is_blind_and_not_bad() {
    // Without requests histogram_quantile gives NaN.
    for behaviour in [json!({"requests_per_second": 0}), json!({"hide_metrics": true})] {
        let mut world = World::start().await;
        world.production.versions(SERVICE, json!({"v2": behaviour})).await;
        let mut plan = world.plan();
        let mut trigger = triggers::p99_latency();
        trigger["above"] = json!(1);
        trigger.as_object_mut().unwrap().remove("baseline");
        plan.triggers([trigger]);
        world.run(&plan).await;
        world.has_past(WINDOW).await;

        world.deploy("v2", "v1").await;
        world.page("blind").await;
        world.trigger_until("p99-latency", &["no_data"]).await;
        world.looks_on(LONG_ENOUGH).await;
        assert!(world.pipeline_runs().await.is_empty());
        assert!(world.receipts().is_empty());
    }
}

#[tokio::test]
async fn a_page_goes_out_by_alertmanager() {
    let mut world = World::start().await;
    let alertmanager = world.start_alertmanager().await;
    let mut plan = world.plan();
    plan.top("pagers", json!([{"name": "oncall", "alertmanager": {"url": alertmanager}}]));
    plan.triggers([triggers::error_rate(), triggers::login_broken()]);
    world.run(&plan).await;
    world.has_past(WINDOW).await;

    world.deploy("v2", "v1").await;
    let firing = world.report("login-broken").await;
    let page = world.page("manual").await;
    assert_eq!(page.route, "/alertmanager");
    assert_eq!(page.body["alerts"][0]["labels"]["firing_id"], json!(firing));
    assert_eq!(page.body["alerts"][0]["labels"]["service"], SERVICE);
}

#[tokio::test]
async fn a_page_that_is_refused_is_sent_again_until_it_is_taken_with_the_same_key() {
    let mut world = World::start().await;
    let mut plan = world.plan();
    plan.triggers([triggers::error_rate(), triggers::login_broken()]);
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    world.pager.refuse(&[503, 429, 500]);

    world.deploy("v2", "v1").await;
    world.report("login-broken").await;
    world.page("manual").await;
    let received = world.pager.received();
    let answers: Vec<_> = received.iter().map(|page| page.answered).collect();
    assert_eq!(answers, [503, 429, 500, 200]);
    assert!(received[0].key.is_some());
    assert!(received.iter().all(|page| page.key == received[0].key), "{received:?}");
}

#[tokio::test]
async fn a_bad_config_is_refused_at_a_reload_and_the_old_one_stays() {
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {"error_ratio": 0.2}})).await;
    let plan = world.plan();
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    let mut bad = plan.clone();
    bad.service("watch", json!("soon"));
    world.daemon().reload(&bad);
    wait_until("the daemon says what is wrong", async || {
        let log = world.daemon().log();
        if log.contains("soon") { Ok(()) } else { Err(log) }
    })
    .await;

    world.deploy("v2", "v1").await;
    assert_eq!(world.receipt(1).await.get("outcome"), "recovered");
}
