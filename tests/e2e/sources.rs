//! Events of forges and pipelines, as they are sent and as somebody who means harm would send them.
//!
//! Never takes the sender's word for anything: each test asks the daemon what came of it.

mod github;

use rollbackd::clock;
use rollbackd_core::time::Timestamp;
use serde_json::Value;

use crate::world::{Answer, SERVICE, WINDOW, World, triggers};

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
fn result(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.body["results"][0]["service"], SERVICE, "{}", answer.body);
    answer.body["results"][0].clone()
}

/// How many deploys and firings there are.
async fn begun(world: &World) -> (Value, usize) {
    (world.view(SERVICE).await["watch"]["deploy"].clone(), world.firings().await.len())
}
