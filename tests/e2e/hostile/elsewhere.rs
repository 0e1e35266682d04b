//! Remotes that send the daemon elsewhere: it goes to none of them, and no secret does.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::IntoResponse;
use serde_json::json;

use crate::world::{SERVICE, Secrets, World, serve, triggers, wait_until};

type Book = Arc<Mutex<Vec<String>>>;

/// Answers everything with a redirect to another host, and notes who came.
async fn moved(State((book, elsewhere)): State<(Book, String)>, uri: Uri, _: HeaderMap, _: Bytes) -> impl IntoResponse {
    book.lock().unwrap().push(uri.path().to_owned());
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, format!("{elsewhere}{}", uri.path()))])
}

/// Notes who came, with all that they brought.
async fn visited(State(book): State<Book>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    book.lock().unwrap().push(format!("{uri} {headers:?} {}", String::from_utf8_lossy(&body)));
    StatusCode::OK
}

#[tokio::test]
async fn no_remote_sends_the_daemon_or_its_secrets_to_another_host() {
    let mut world = World::start().await;
    let secrets = Secrets::planted(&world);
    let (asked, strays) = (Book::default(), Book::default());
    let (elsewhere, _stranger) = serve(Router::new().fallback(visited).with_state(Arc::clone(&strays))).await;
    // Another host by its name, though it is the same machine: what a client keeps headers for, it keeps by host.
    let elsewhere = elsewhere.replace("127.0.0.1", "localhost");
    let (remote, _remote) = serve(Router::new().fallback(moved).with_state((Arc::clone(&asked), elsewhere))).await;

    let file = |name: &str| json!(world.place(&format!("{name}-secret")));
    let mut plan = world.plan();
    plan.top(
        "prometheus",
        json!({
            "url": format!("{remote}/prometheus"), "timeout": "2s", "bearer_token_file": file("prometheus"),
            "headers": {"X-Api-Key": secrets.get("header")},
        }),
    );
    plan.top("pagers", json!([
        {"name": "oncall", "webhook": {"url": format!("{remote}/webhook"), "bearer_token_file": file("pager")}},
        {"name": "team", "alertmanager": {"url": format!("{remote}/alertmanager"), "bearer_token_file": file("pager")}},
    ]));
    plan.service("page", json!(["oncall", "team"]));
    plan.service("smoke", json!({"url": format!("{remote}/smoke")}));
    plan.triggers([triggers::error_rate(), triggers::smoke_test()]);
    let mut github = plan.github(&world);
    github["github_actions"]["api_url"] = json!(format!("{remote}/github"));
    plan.paths([github, plan.pipeline(&world, &[])]);
    world.run(&plan).await;
    world.deploy("v2", "v1").await;
    world.report("smoke-test").await;

    // GitHub refuses so, the pipeline does it, then the smoke URL is asked, and pages are not taken.
    wait_until("each remote was asked", async || {
        let asked = asked.lock().unwrap().clone();
        let missing: Vec<_> = ["/prometheus", "/webhook", "/alertmanager", "/smoke", "/github"]
            .into_iter()
            .filter(|remote| !asked.iter().any(|path| path.starts_with(remote)))
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
    })
    .await;
    assert_eq!(world.pipeline_runs().await, ["v1"]);
    let said = world.daemon().command(&["check", "--online", "--config", "rollbackd.yml"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let client = world.daemon().command(&["--server", &remote, "status"]).await;
    assert_eq!(client.code, Some(1), "{client:?}");
    assert_eq!(*strays.lock().unwrap(), Vec::<String>::new());
    // A redirect is no answer of a healthy service: production is not proven to be back.
    let view = world.view(SERVICE).await;
    assert!(view["firings"][0]["state"] == "verifying" || view["firings"][0]["state"] == "paged", "{view}");
}
