//! Whom the daemon tells besides the first pager: the next level of an escalation, PagerDuty of an acknowledgement, and
//! other systems of what fired and how it ended.

use serde_json::{Value, json};

use crate::world::{SERVICE, WINDOW, World, wait_until};

/// The bodies that came to this route so far, those that were refused too.
fn sent_to(world: &World, route: &str) -> Vec<Value> {
    world.pager.received().into_iter().filter(|each| each.route == route).map(|each| each.body).collect()
}

#[tokio::test]
async fn a_page_that_nobody_acknowledges_goes_to_pagerduty_and_an_acknowledgement_is_shown_there() {
    let mut world = World::start().await;
    let key = world.place("routing-key");
    std::fs::write(&key, "a-routing-key").unwrap();
    let mut plan = world.plan();
    plan.top(
        "pagers",
        json!([
            {"name": "oncall", "webhook": {"url": world.pager.url("/hook/page")}},
            {"name": "lead", "pagerduty": {"url": world.pager.url(""), "routing_key_file": key}},
        ]),
    );
    plan.service("page", json!(["oncall", "lead"]));
    plan.service("escalate_after", json!("2s"));
    plan.triggers([json!({"name": "login-broken", "observed": "report", "budget": "10m", "action": "page"})]);
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    world.deploy("v2", "v1").await;

    let report = json!({"service": SERVICE, "trigger": "login-broken"});
    assert_eq!(world.post("/v1/reports", report).await.status, 202);
    let page = world.page("manual").await;
    let actions = |world: &World| -> Vec<Value> {
        sent_to(world, "/v2/enqueue").into_iter().map(|event| event["event_action"].clone()).collect()
    };
    wait_until("PagerDuty is told", async || match actions(&world).as_slice() {
        [action] if action == "trigger" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;

    let acknowledged = world.post(&format!("/v1/firings/{}/ack", page.firing()), json!({})).await;
    assert_eq!(acknowledged.status, 202, "{acknowledged:?}");
    wait_until("PagerDuty shows that somebody has it", async || match actions(&world).as_slice() {
        [_, action] if action == "acknowledge" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let dismissed = world.post(&format!("/v1/firings/{}/dismiss", page.firing()), json!({"why": "a test"})).await;
    assert_eq!(dismissed.status, 202, "{dismissed:?}");
    wait_until("PagerDuty is told that it is over", async || match actions(&world).as_slice() {
        [_, _, action] if action == "resolve" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let keys: Vec<Value> = sent_to(&world, "/v2/enqueue").into_iter().map(|event| event["dedup_key"].clone()).collect();
    assert!(keys.iter().all(|key| key == &keys[0]), "{keys:?}");
}

#[tokio::test]
async fn a_rollback_is_announced_once_each_also_where_the_receiver_refuses_and_the_daemon_is_killed() {
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {"error_ratio": 0.2}})).await;
    let mut plan = world.plan();
    let events =
        json!({"name": "events", "cdevents": {"url": world.pager.url("/events"), "environment": "production"}});
    plan.top("announcers", json!([events]));
    plan.service("announce", json!(["events"]));
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    // Nobody is paged here, so what is refused is the announcement.
    world.pager.refuse(&[503]);
    world.deploy("v2", "v1").await;
    let receipt = world.receipt(1).await;
    assert_eq!(receipt.get("outcome"), "recovered");
    let kinds = |world: &World| -> Vec<String> {
        let events = world.pager.received().into_iter().filter(|each| each.route == "/events" && each.answered == 200);
        events.filter_map(|each| each.body["context"]["type"].as_str().map(str::to_owned)).collect()
    };
    wait_until("all is announced", async || {
        let told = kinds(&world);
        let expected = ["incident.detected", "service.rolledback", "incident.resolved"];
        let same = told.len() == expected.len() && told.iter().zip(expected).all(|(told, kind)| told.contains(kind));
        if same { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    let page = world.pager.taken();
    assert!(page.is_empty(), "an announcement is no page: {page:?}");

    // What was taken is not told again by the next process.
    world.daemon().kill().await;
    world.run(&plan).await;
    world.looks_on(WINDOW).await;
    assert_eq!(kinds(&world).len(), 3);
}
