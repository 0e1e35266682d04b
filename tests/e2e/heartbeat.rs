//! The dead man's switch: heartbeats while the daemon works, and silence where it does not.
//!
//! Never takes a heartbeat that is late for one that is missing: silence is told by the daemon's metrics, or by
//! Alertmanager's own clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::routing::get;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::disk::{exhaust, readyz_is};
use crate::world::{SERVICE, WINDOW, World, client, wait_until};

/// The path of a ping URL: whoever knows it can keep the dead man's switch quiet.
const SECRET: &str = "/3f2b8c1e-planted-secret";

/// Waits until Alertmanager has an alert of that name that has not ended, or has none.
async fn alive_is(alertmanager: &str, wanted: bool) -> Value {
    wait_until(&format!("RollbackdAlive is there: {wanted}"), async || {
        let alerts = client().get(format!("{alertmanager}/api/v2/alerts")).send().await;
        let alerts: Value =
            alerts.map_err(|error| error.to_string())?.json().await.map_err(|error| error.to_string())?;
        let all = alerts.as_array().cloned().unwrap_or_default();
        let found = all.into_iter().find(|alert| alert["labels"]["alertname"] == "RollbackdAlive");
        if found.is_some() == wanted { Ok(found.unwrap_or(Value::Null)) } else { Err(alerts.to_string()) }
    })
    .await
}

/// Waits until this counter of the daemon's is at least so high.
async fn counted(world: &mut World, series: &str, least: u64) {
    wait_until(&format!("{series} is {least} or more"), async || {
        let metrics = world.daemon().get("/metrics").await.body;
        let metrics = metrics.as_str().unwrap_or_default();
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<u64>().ok());
        if value.is_some_and(|value| value >= least) { Ok(()) } else { Err(metrics.to_owned()) }
    })
    .await;
}

fn pings(world: &World) -> usize {
    world.pager.received().iter().filter(|request| request.route == SECRET).count()
}

async fn pinged(world: &World, least: usize) {
    wait_until(&format!("{least} pings or more"), async || {
        let pings = pings(world);
        if pings >= least { Ok(()) } else { Err(format!("there are {pings}")) }
    })
    .await;
}

#[tokio::test]
async fn alertmanager_sees_the_daemon_alive_until_it_is_killed_or_hangs() {
    let mut world = World::start().await;
    let alertmanager = world.start_alertmanager().await;
    let mut plan = world.plan();
    plan.top("pagers", json!([{"name": "oncall", "alertmanager": {"url": alertmanager}}]));
    plan.top("heartbeat", json!({"every": "2s", "pagers": ["oncall"]}));
    plan.top("external_url", json!("https://rollbackd.example.com"));
    world.run(&plan).await;

    let alert = alive_is(&alertmanager, true).await;
    assert_eq!(alert["status"]["state"], "active", "{alert}");
    assert_eq!(alert["labels"]["instance"], "https://rollbackd.example.com");
    assert_eq!(alert["labels"]["severity"], "none");
    // It stays there longer than one heartbeat holds.
    counted(&mut world, "rollbackd_heartbeats_sent_total{receiver=\"oncall\"}", 7).await;
    alive_is(&alertmanager, true).await;

    world.daemon().kill().await;
    alive_is(&alertmanager, false).await;

    world.daemon().start().await;
    alive_is(&alertmanager, true).await;
    world.daemon().signal(Signal::STOP);
    alive_is(&alertmanager, false).await;
    world.daemon().signal(Signal::CONT);
    alive_is(&alertmanager, true).await;
}

#[tokio::test]
async fn a_daemon_that_can_not_write_its_journal_does_not_ping() {
    let mut world = World::start().await;
    let mut plan = world.plan();
    plan.top("heartbeat", json!({"every": "1s", "ping": {"url": world.pager.url(SECRET)}}));
    if !world.run_on_small_disk(&plan).await {
        return;
    }
    pinged(&world, 2).await;

    let filler = exhaust(&mut world).await;
    readyz_is(&mut world, 503).await;
    counted(&mut world, "rollbackd_heartbeats_withheld_total{reason=\"journal\"}", 1).await;
    let before = pings(&world);
    counted(&mut world, "rollbackd_heartbeats_withheld_total{reason=\"journal\"}", 4).await;
    assert_eq!(pings(&world), before);

    std::fs::remove_file(filler).unwrap();
    readyz_is(&mut world, 200).await;
    pinged(&world, before + 2).await;
}

#[tokio::test]
async fn a_daemon_whose_prometheus_is_gone_while_a_watch_is_open_does_not_ping() {
    let mut world = World::start().await;
    let mut plan = world.plan();
    plan.top("heartbeat", json!({"every": "1s", "ping": {"url": world.pager.url(SECRET)}}));
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    pinged(&world, 1).await;

    world.prometheus.kill().await;
    world.deploy("v2", "v1").await;
    counted(&mut world, "rollbackd_heartbeats_withheld_total{reason=\"prometheus\"}", 2).await;

    world.prometheus.start_again().await;
    let before = pings(&world);
    pinged(&world, before + 2).await;
}

#[tokio::test]
async fn a_ping_that_is_redirected_or_refused_goes_nowhere_else_and_its_url_into_no_log() {
    let elsewhere = Arc::new(AtomicUsize::new(0));
    let counted_elsewhere = Arc::clone(&elsewhere);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let redirect = move || {
        let first = asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        let status = if first { StatusCode::FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
        async move { (status, [(header::LOCATION, format!("http://{address}/elsewhere{SECRET}"))]) }
    };
    let taken = move || async move { _ = counted_elsewhere.fetch_add(1, Ordering::SeqCst) };
    let routes = axum::Router::new().route(SECRET, get(redirect)).fallback(taken);
    let server = tokio::spawn(async move { axum::serve(listener, routes).await });

    let mut world = World::start().await;
    let file = world.place("ping-url");
    std::fs::write(&file, format!("http://{address}{SECRET}\n")).unwrap();
    let mut plan = world.plan();
    plan.top("heartbeat", json!({"every": "1s", "ping": {"url_file": file}}));
    world.run_with(&plan, &["--log-level", "trace"]).await;
    counted(&mut world, "rollbackd_heartbeats_failed_total{receiver=\"ping\"}", 4).await;

    let log = world.daemon().log();
    assert!(log.contains("302") && log.contains("500"), "{log}");
    assert!(log.contains(&format!("http://{address}")), "which server is no secret");
    let own: Vec<&str> = log.lines().filter(|line| line.contains("planted-secret")).collect();
    assert!(own.is_empty(), "{own:?}");
    let metrics = world.daemon().get("/metrics").await.body;
    assert!(!metrics.to_string().contains("planted-secret"));
    assert_eq!(elsewhere.load(Ordering::SeqCst), 0, "a redirect was followed");
    server.abort();
}

#[tokio::test]
async fn a_dry_run_sends_no_heartbeat() {
    let mut world = World::start().await;
    let alertmanager = world.start_alertmanager().await;
    let mut plan = world.plan();
    plan.top("pagers", json!([{"name": "oncall", "alertmanager": {"url": alertmanager}}]));
    let ping = json!({"url": world.pager.url(SECRET)});
    plan.top("heartbeat", json!({"every": "1s", "pagers": ["oncall"], "ping": ping}));
    world.run_with(&plan, &["--dry-run"]).await;
    world.has_past(WINDOW).await;
    world.deploy("v2", "v1").await;
    world.trigger_until("error-rate", &["clear"]).await;
    world.looks_on(Duration::from_secs(5)).await;
    assert_eq!(pings(&world), 0);
    alive_is(&alertmanager, false).await;
    assert_eq!(world.view(SERVICE).await["name"], SERVICE);
}
