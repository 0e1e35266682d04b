//! Events of forges and pipelines, as they are sent and as somebody who means harm would send them.
//!
//! Never takes the sender's word for anything: each test asks the daemon what came of it. What holds for every source is
//! here, once; each source brings its own words for it.

mod argo_cd;
mod cdevents;
mod github;
mod gitlab;
mod kubernetes;

use rollbackd::clock;
use rollbackd_core::time::Timestamp;
use serde_json::{Value, json};

use crate::world::{Answer, SERVICE, WINDOW, World, triggers};

/// Somebody far ahead of us.
const FUTURE: &str = "2999-01-01T00:00:00Z";

/// A commit, as everything here is deployed from.
const SHA: &str = "9f1c2ab9c0f14e1f8a55c1f0d0a7b6a1c2d3e4f5";

/// How a source says what all of them can say. Instants are given in RFC 3339.
trait Words {
    /// The last part of its route, and its name in metrics.
    const NAME: &'static str;
    /// What an event about the service that can't be used is answered with.
    const UNUSABLE: u16;

    /// Its part of `sources`, with the files that it names.
    fn config(world: &World) -> Value;

    /// This version was deployed then.
    fn deployed(id: u64, version: &str, at: &str) -> Value;

    /// What deployed and tested the last deploy is red; it ran from then to then.
    fn red(id: u64, began_at: &str, ended_at: &str) -> Value;

    /// What is no news about the service at all.
    fn unconcerned(at: &str) -> Vec<Value>;

    /// The headers that a delivery of this body has, each of which has a name of its own.
    fn headers(body: &Value, delivery: &str) -> Vec<(&'static str, String)>;

    /// A daemon that takes them.
    async fn listening() -> World {
        listening(|world| json!({ Self::NAME: Self::config(world) })).await
    }

    /// Delivers one.
    async fn tell(world: &World, body: &Value, delivery: &str) -> Answer {
        let route = format!("/v1/events/{}", Self::NAME);
        send(world, &route, &Self::headers(body, delivery), body.to_string()).await
    }
}

/// A red pipeline after a deploy rolls back once, however often both are delivered, also after a restart.
async fn rolls_back_once<W: Words>() -> World {
    let mut world = W::listening().await;
    let (deployed, at) = (W::deployed(500, "v2", &ago(0)), ago(0));
    world.production.deploy(SERVICE, "v2", "test").await;
    let first = result(&W::tell(&world, &deployed, "delivery-1").await, 202);
    // Again: the same delivery, and another one.
    for delivery in ["delivery-1", "delivery-2"] {
        let again = result(&W::tell(&world, &deployed, delivery).await, 200);
        assert_eq!(again["deploy"], first["deploy"]);
    }
    world.view_until("the target is known", |view| view["target"] == "v1").await;

    let red = W::red(77, &at, &ago(0));
    let fired = result(&W::tell(&world, &red, "delivery-3").await, 202);
    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("outcome"), receipt.get("trigger")), ("recovered", "smoke-test"));
    assert_eq!((receipt.get("version"), receipt.get("target")), ("v2", "v1"));
    assert!(fired["firing"].is_string(), "{fired}");

    let before = begun(&world).await;
    for restarted in [false, true] {
        if restarted {
            world.daemon().kill().await;
            world.daemon().start().await;
        }
        for delivery in ["delivery-3", "delivery-4"] {
            let again = result(&W::tell(&world, &red, delivery).await, 200);
            assert!(again["ignored"].is_string(), "{again}");
            let again = result(&W::tell(&world, &deployed, delivery).await, 200);
            assert_eq!(again["deploy"], first["deploy"]);
        }
    }
    assert_eq!(begun(&world).await, before);
    assert_eq!(world.pipeline_runs().await, ["v1"]);
    assert_eq!(world.receipts().len(), 1);
    let metrics = world.api().get("/metrics").await.body;
    let known = format!("rollbackd_source_events_total{{source=\"{}\",result=\"known\"}} 4", W::NAME);
    assert!(metrics.as_str().unwrap_or_default().contains(&known), "{metrics}");
    world
}

/// Events out of order, from the future, about something else or with what can't be a version start nothing.
async fn starts_nothing<W: Words>() -> World {
    let world = W::listening().await;
    world.production.deploy(SERVICE, "v3", "test").await;
    let newest = result(&W::tell(&world, &W::deployed(503, "v3", &ago(1)), "1").await, 202);
    let before = begun(&world).await;
    assert_eq!(before.0, newest["deploy"]);
    // An older deploy that comes late is written down, and what serves stays watched.
    result(&W::tell(&world, &W::deployed(502, "v2", &ago(5)), "2").await, 202);
    let refused = result(&W::tell(&world, &W::deployed(504, "v4", FUTURE), "3").await, 200);
    assert!(refused["refused"].as_str().unwrap().contains("more than five minutes"), "{refused}");
    // Red before the deploy, from the future, and from long ago.
    for red in [W::red(80, &ago(60), &ago(20)), W::red(82, &ago(3), FUTURE), W::red(83, &ago(900), &ago(600))] {
        let told = result(&W::tell(&world, &red, "4").await, 200);
        assert!(told["ignored"].is_string() || told["refused"].is_string(), "{told}");
    }
    for body in W::unconcerned(&ago(0)) {
        let answer = W::tell(&world, &body, "5").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(of_no_interest(&answer.body), "{body} is answered with {}", answer.body);
    }
    // No event can bring what is no version.
    for evil in ["$(reboot)", "-rf", "{{ service }}", "v1 v2"] {
        let answer = W::tell(&world, &W::deployed(506, evil, &ago(0)), "6").await;
        assert_eq!(answer.status, W::UNUSABLE, "{}", answer.body);
        let told = if W::UNUSABLE == 200 { &answer.body["refused"] } else { &answer.body["detail"] };
        assert!(told.as_str().is_some_and(|why| why.contains("is no version")), "{}", answer.body);
    }
    assert_eq!(begun(&world).await, before);
    assert_eq!(world.view(SERVICE).await["running"], "v3");
    assert!(world.pipeline_runs().await.is_empty());
    world
}

/// Whether an answer says why the event is of no interest: of all of it, or of the one service that it is about.
fn of_no_interest(body: &Value) -> bool {
    let ignored = |told: &Value| told["ignored"].as_str().is_some_and(|why| !why.is_empty());
    ignored(body) || ignored(&body["results"][0])
}

/// A world whose daemon takes the events of these sources, with `v1` serving and the trigger `smoke-test`.
async fn listening(sources: impl FnOnce(&World) -> Value) -> World {
    let mut world = World::start().await;
    let mut plan = world.plan();
    plan.triggers([triggers::smoke_test()]);
    plan.top("sources", sources(&world));
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    world
}

/// The instant of so many seconds ago, as most senders write it: in whole seconds.
fn ago(seconds: i64) -> String {
    let milliseconds = clock::now().milliseconds() / 1000 - seconds;
    Timestamp::from_milliseconds(milliseconds * 1000).to_string()
}

/// Posts these bytes with these headers.
async fn send(world: &World, route: &str, headers: &[(&str, String)], body: String) -> Answer {
    let add = |request: reqwest::RequestBuilder, (name, value): &(&str, String)| request.header(*name, value);
    let make = |client: &reqwest::Client, url: String| headers.iter().fold(client.post(url).body(body), add);
    world.api().send(route, make).await
}

/// What came of the one service that an event is about.
#[track_caller]
fn result(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.body["results"][0]["service"], SERVICE, "{}", answer.body);
    answer.body["results"][0].clone()
}

/// How many deploys and firings there are.
async fn begun(world: &World) -> (Value, usize) {
    (world.view(SERVICE).await["watch"]["deploy"].clone(), world.firings().await.len())
}
