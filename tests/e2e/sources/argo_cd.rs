//! What docs/sources/argo-cd.md has Argo CD post, against the real daemon.
//!
//! The templates are rendered here as Argo CD would: each expression is looked up with the value that it has for an
//! application as in argo-cd's `pkg/apis/application/v1alpha1/types.go`. tests/docs.rs keeps page and file the same.

use serde_json::{Value, json};

use super::ago;
use crate::world::{Answer, SERVICE, Secrets, WINDOW, World};

const CONFIG_MAP: &str = include_str!("../../../docs/examples/argo-cd-notifications.yml");

/// One webhook of a template: its path, and its body before it is rendered.
fn template(name: &str) -> (&'static str, String) {
    let start = CONFIG_MAP.split_once(&format!("  template.{name}: |\n")).expect("the template").1;
    let inside = |line: &&str| line.starts_with("    ");
    let lines: Vec<&str> = start.lines().take_while(inside).map(str::trim_start).collect();
    assert!(lines.contains(&"method: POST"), "Argo CD sends a GET where nothing is said");
    let path = lines.iter().find_map(|line| line.strip_prefix("path: ")).expect("a path");
    let body = lines.iter().position(|line| *line == "body: |").expect("a body");
    (path, lines[body + 1..].join("\n"))
}

/// Replaces each `{{ expression }}` by its value as JSON.
fn rendered(template: &str, values: &[(&str, &str)]) -> String {
    let mut pieces = template.split("{{ ");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (expression, rest) = piece.split_once(" }}").expect("an expression that ends");
        let value = values.iter().find(|(known, _)| *known == expression);
        let (_, value) = value.unwrap_or_else(|| panic!("nobody said what {expression:?} is"));
        text += &json!(value).to_string();
        text += rest;
    }
    text
}

/// What Argo CD posts for an application that was synced then, and whose pods have these images.
async fn post(world: &World, name: &str, images: &str, synced_at: &str) -> Answer {
    // sprig: `regexReplaceAll REGEX TEXT REPLACEMENT`; greedy, so the last image of that name.
    let version = images.rsplit_once(&format!("/{SERVICE}:")).map_or(images, |(_, tag)| tag.split(' ').next().unwrap());
    let (path, body) = template(name);
    let url = format!("https://argocd.example/applications/{SERVICE}");
    let values = [
        ("toJson .app.metadata.name", SERVICE),
        (
            "regexReplaceAll (printf `^.*/%s:(\\S+).*$` .app.metadata.name) (join \" \" .app.status.summary.images) `${1}` | toJson",
            version,
        ),
        ("toJson .app.status.operationState.syncResult.revision", super::SHA),
        ("printf \"%s/applications/%s\" .context.argocdUrl .app.metadata.name | toJson", &url),
        ("toJson .app.status.operationState.finishedAt", synced_at),
        (
            "printf \"Argo CD says that %s is degraded: %s/applications/%s\" .app.metadata.name .context.argocdUrl .app.metadata.name | toJson",
            &format!("Argo CD says that {SERVICE} is degraded: {url}"),
        ),
    ];
    let headers = [("authorization", "Bearer argo-cd".to_owned()), ("content-type", "application/json".to_owned())];
    super::send(world, path, &headers, rendered(&body, &values)).await
}

/// A daemon with the triggers of the page's config, and the token that Argo CD has.
async fn guarded() -> World {
    let mut world = World::start().await;
    let mut plan = world.plan();
    plan.triggers([json!({"name": "argo-cd-degraded", "observed": "report", "budget": "20s", "action": "page"})]);
    let token = |scope: &str, name: &str| json!({"name": name, "sha256": Secrets::sha256_of(name), "scopes": [scope]});
    plan.top("tokens", json!([token("deploy", "argo-cd"), token("read", "reader")]));
    world.run(&plan).await;
    world.daemon().authorize("reader");
    world.has_past(WINDOW).await;
    world
}

#[tokio::test]
async fn what_argo_cd_posts_is_a_deploy_once_and_a_page_for_a_human() {
    let world = guarded().await;
    world.production.deploy(SERVICE, "v2", "test").await;
    let (images, synced_at) = ("docker.io/envoyproxy/envoy:v1.38 ghcr.io/acme/capstone-api:v2 x/y:1", ago(0));
    let told = post(&world, "rollbackd-deployed", images, &synced_at).await;
    let deploy = told.text_of(202, "deploy");
    let view = world.view(SERVICE).await;
    assert_eq!((&view["running"], &view["watch"]["deploy"]), (&json!("v2"), &json!(deploy)));
    // The notifications controller tries again where it got no answer.
    let again = post(&world, "rollbackd-deployed", images, &synced_at).await;
    assert_eq!(again.text_of(200, "deploy"), deploy);
    // An image that is pinned by its digest has no tag: nothing is guessed.
    let pinned = post(&world, "rollbackd-deployed", "x/y:1 ghcr.io/acme/capstone-api@sha256:0b31", &ago(0)).await;
    assert_eq!((pinned.status, &pinned.body["field"]), (422, &json!("version")), "{}", pinned.body);

    let degraded = post(&world, "rollbackd-degraded", images, &synced_at).await;
    let firing = degraded.text_of(202, "firing");
    let firing = world.view_until("a human is asked", |view| view["watch"]["state"] == "paged").await["firings"]
        .as_array()
        .and_then(|firings| firings.iter().find(|known| known["id"] == json!(firing)).cloned());
    assert_eq!(firing.unwrap_or(Value::Null)["trigger"], "argo-cd-degraded");
    assert!(world.pipeline_runs().await.is_empty());
}

#[tokio::test]
async fn what_argo_cd_posts_late_from_the_future_or_without_its_token_starts_nothing() {
    let world = guarded().await;
    let image = |version: &str| format!("ghcr.io/acme/capstone-api:{version}");
    world.production.deploy(SERVICE, "v3", "test").await;
    post(&world, "rollbackd-deployed", &image("v3"), &ago(1)).await.text_of(202, "deploy");
    let before = super::begun(&world).await;
    // An older one that comes late is written down, and what serves stays watched.
    assert_eq!(post(&world, "rollbackd-deployed", &image("v2"), &ago(5)).await.status, 202);
    assert_eq!(post(&world, "rollbackd-deployed", &image("v4"), super::FUTURE).await.status, 422);
    for evil in ["$(reboot)", "-rf", "v1\u{a0}v2"] {
        assert_eq!(post(&world, "rollbackd-deployed", &image(evil), &ago(0)).await.status, 422);
    }
    let (path, body) = template("rollbackd-degraded");
    let headers =
        [("content-type", "application/json".to_owned()), ("authorization", "Bearer $rollbackd-token".to_owned())];
    assert_eq!(super::send(&world, path, &headers, body).await.status, 401);
    assert_eq!(super::begun(&world).await, before);
    assert_eq!(world.view(SERVICE).await["running"], "v3");
}
