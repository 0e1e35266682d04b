//! A Prometheus that answers, and wrongly: errors, half answers, warnings, NaN, nothing, too much.
//!
//! Never expects a rollback from an answer that is not the whole truth, nor that one is forgotten because of it.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::world::{
    Fault, Proxy, Shape, WINDOW, World, assert_not_observed_before_the_data, assert_observed_by_the_data, trigger_of,
    triggers, wait_until,
};

/// A world with a service for each fault, asked through a proxy.
struct Faulty {
    world: World,
    proxy: Proxy,
    services: Vec<(String, Fault)>,
}

impl Faulty {
    /// The deployed `v2` of every service has this share of errors.
    async fn start(faults: &[Fault], error_ratio: f64) -> Self {
        Self::patient(faults, error_ratio, "1s").await
    }

    /// The same with a daemon that waits as long for an answer.
    async fn patient(faults: &[Fault], error_ratio: f64, timeout: &str) -> Self {
        let count = u16::try_from(faults.len()).unwrap();
        let mut world = World::shaped(Shape { several: Some(count), ..Shape::default() }).await;
        let proxy = Proxy::start(world.prometheus.url()).await;
        let services: Vec<_> =
            faults.iter().enumerate().map(|(index, fault)| (format!("svc-{}", index + 1), *fault)).collect();
        for (service, _) in &services {
            world.production.versions(service, json!({"v2": {"error_ratio": error_ratio}})).await;
        }
        let mut plan = world.plan();
        plan.several(count, [triggers::error_rate_of_service(), triggers::slow_of_service()]);
        plan.top("prometheus", json!({"url": proxy.url(), "timeout": timeout}));
        plan.top("fleet_guard", json!({"services": 100, "within": "10s"}));
        world.run(&plan).await;
        world.has_past(WINDOW).await;
        Self { world, proxy, services }
    }

    async fn deploy_all(&self) {
        let report = || json!({"version": "v2", "previous_version": "v1"});
        join_all(self.services.iter().map(|(service, _)| self.world.deploy_as(service, report()))).await;
    }

    async fn until(&self, service: &str, trigger: &str, states: &[&str]) {
        let what = format!("{trigger} of {service} is {}", states.join(" or "));
        let is_so = |view: &serde_json::Value| {
            let state = trigger_of(view, trigger)["state"].as_str().unwrap_or_default().to_owned();
            states.contains(&state.as_str())
        };
        self.world.view_of_until(service, &what, is_so).await;
    }

    /// The blind pages about this service's watch, about whichever trigger.
    fn blind_pages(&self, service: &str) -> usize {
        let pages = self.world.pager.taken_for("blind");
        pages.iter().filter(|page| page.body["service"] == service).count()
    }

    async fn blind_page(&self, service: &str) {
        wait_until(&format!("{service} pages blind"), async || {
            if self.blind_pages(service) > 0 { Ok(()) } else { Err("no such page".to_owned()) }
        })
        .await;
    }
}

#[tokio::test]
async fn no_wrong_answer_rolls_a_healthy_version_back_and_each_pages_blind_once() {
    let faulty = Faulty::start(&Fault::ALL, 0.0).await;
    faulty.deploy_all().await;
    join_all(faulty.services.iter().map(async |(service, fault)| {
        faulty.until(service, "slow", &["clear"]).await;
        faulty.proxy.spoil(service, *fault);
        faulty.blind_page(service).await;
        // A ratio without a `total` is no traffic, which is no reason to page.
        let states: &[&str] = if *fault == Fault::Empty { &["low_traffic"] } else { &["no_data", "error"] };
        faulty.until(service, "error-rate", states).await;
    }))
    .await;
    // It stays so for a while: more than another three intervals.
    faulty.world.looks_on(Duration::from_secs(3)).await;

    for (service, _) in &faulty.services {
        faulty.proxy.mend(service);
    }
    for (service, fault) in &faulty.services {
        faulty.until(service, "slow", &["clear"]).await;
        faulty.until(service, "error-rate", &["clear"]).await;
        assert_eq!(faulty.blind_pages(service), 1, "{service} with {fault:?}");
    }
    assert!(faulty.world.pipeline_runs().await.is_empty());
    assert!(faulty.world.receipts().is_empty());
}

#[tokio::test]
async fn a_wrong_answer_in_the_midst_of_a_breach_neither_hides_it_nor_makes_it_older() {
    let faulty = Faulty::start(&Fault::ALL, 0.2).await;
    faulty.deploy_all().await;
    join_all(faulty.services.iter().map(async |(service, fault)| {
        faulty.until(service, "error-rate", &["breaching"]).await;
        faulty.proxy.spoil(service, *fault);
        faulty.proxy.has_spoilt(service, 3).await;
        faulty.proxy.mend(service);
    }))
    .await;

    let count = faulty.services.len();
    faulty.world.receipt(u64::try_from(count).unwrap()).await;
    let receipts = faulty.world.receipts();
    assert_eq!(receipts.len(), count);
    for (service, fault) in &faulty.services {
        let receipt = receipts.iter().find(|receipt| receipt.get("service") == service).unwrap();
        assert_eq!((receipt.get("outcome"), receipt.get("trigger")), ("recovered", "error-rate"), "{fault:?}");
        if *fault == Fault::Empty {
            assert_not_observed_before_the_data(&faulty.world.prometheus, receipt).await;
        } else {
            assert_observed_by_the_data(&faulty.world.prometheus, receipt).await;
        }
    }
    assert_eq!(faulty.world.pipeline_runs().await, vec!["v1"; count]);
    faulty.world.receipts_are_whole().await;
}

#[tokio::test]
async fn refused_connections_page_blind_once_and_the_watch_goes_on_when_they_are_over() {
    let mut faulty = Faulty::start(&[Fault::Empty], 0.0).await;
    faulty.deploy_all().await;
    faulty.until("svc-1", "slow", &["clear"]).await;
    faulty.proxy.refuse().await;
    faulty.blind_page("svc-1").await;
    faulty.world.looks_on(Duration::from_secs(3)).await;
    faulty.proxy.accept().await;

    faulty.until("svc-1", "slow", &["clear"]).await;
    faulty.until("svc-1", "error-rate", &["clear"]).await;
    assert_eq!(faulty.blind_pages("svc-1"), 1, "a watch pages blind once");
    assert!(faulty.world.receipts().is_empty());
    // And it still acts on what it sees.
    faulty.world.production.behave("svc-1", json!({"error_ratio": 0.2})).await;
    let receipt = faulty.world.receipt(1).await;
    assert_eq!(receipt.get("outcome"), "recovered");
    assert_observed_by_the_data(&faulty.world.prometheus, &receipt).await;
}

#[tokio::test]
async fn connections_refused_in_the_midst_of_a_breach_neither_hide_it_nor_make_it_older() {
    let mut faulty = Faulty::start(&[Fault::Empty], 0.2).await;
    faulty.deploy_all().await;
    faulty.until("svc-1", "error-rate", &["breaching"]).await;
    faulty.proxy.refuse().await;
    faulty.until("svc-1", "error-rate", &["error"]).await;
    faulty.proxy.accept().await;

    let receipt = faulty.world.receipt(1).await;
    assert_eq!(receipt.get("outcome"), "recovered");
    assert_observed_by_the_data(&faulty.world.prometheus, &receipt).await;
    assert_eq!(faulty.world.pipeline_runs().await, ["v1"]);
}

#[tokio::test]
async fn queries_that_take_a_minute_delay_their_own_triggers_and_no_other() {
    let mut faulty = Faulty::patient(&[Fault::Hangs, Fault::Empty], 0.2, "60s").await;
    faulty.proxy.spoil("svc-1", Fault::Hangs);
    faulty.world.deploy_as("svc-1", json!({"version": "v2", "previous_version": "v1"})).await;
    // Both of its triggers wait: each for the first of its queries.
    faulty.proxy.has_spoilt("svc-1", 2).await;
    faulty.world.deploy_as("svc-2", json!({"version": "v2", "previous_version": "v1"})).await;

    let receipt = faulty.world.receipt(1).await;
    assert_eq!((receipt.get("service"), receipt.get("outcome")), ("svc-2", "recovered"));
    assert_observed_by_the_data(&faulty.world.prometheus, &receipt).await;
    let metrics = faulty.world.daemon().get("/metrics").await.body;
    let metrics = metrics.as_str().unwrap_or_default();
    let answered = |result: &str| metrics.contains(&format!("queries_total{{result=\"{result}\"}}"));
    assert!(answered("ok") && !answered("failed"), "those of svc-1 still wait: {metrics}");
    faulty.until("svc-1", "error-rate", &["no_data"]).await;
}
