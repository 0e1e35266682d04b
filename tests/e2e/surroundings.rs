//! The surroundings by themselves: what the other tests stand on, shown without the daemon.
//!
//! Never starts the daemon.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{
    GitHub, PATIENCE, Pager, Production, SERVICE, Script, World, client, wait_until, wait_until_within,
};

const ERROR_RATIO: &str = "sum(rate(http_requests_total{code=~\"5..\"}[4s])) / sum(rate(http_requests_total[4s]))";

async fn value_until(world: &World, query: &str, what: &str, is_so: impl Fn(Option<f64>) -> bool) {
    wait_until(what, async || {
        let value = world.prometheus.value(query).await?;
        if is_so(value) { Ok(()) } else { Err(format!("{value:?}")) }
    })
    .await;
}

#[tokio::test]
async fn prometheus_sees_a_version_misbehave_and_the_next_one_clean_again() {
    let world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {"error_ratio": 0.06, "latency_seconds": 0.4}})).await;
    let clean = "count(http_requests_total{code=~\"5..\"})";
    assert_eq!(world.prometheus.value(clean).await, Ok(None), "a clean service has no series of errors");

    world.production.deploy(SERVICE, "v2", "test").await;
    value_until(&world, ERROR_RATIO, "6% are errors", |ratio| ratio.is_some_and(|ratio| (ratio - 0.06).abs() < 0.005))
        .await;
    let p99 = "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[4s])))";
    value_until(&world, p99, "p99 is slow", |p99| p99.is_some_and(|p99| p99 > 0.4)).await;
    let serving = "count(app_build_info{version=\"v2\",revision=\"capstone-api-v2\"})";
    assert_eq!(world.prometheus.value(serving).await, Ok(Some(1.0)));

    world.production.deploy(SERVICE, "v1", "test").await;
    value_until(&world, clean, "the series of errors is gone", |count| count.is_none()).await;
    value_until(&world, p99, "p99 is fast", |p99| p99.is_some_and(|p99| p99 < 0.1)).await;
}

#[tokio::test]
async fn each_of_several_services_misbehaves_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let production = Production::start(dir.path(), Some(3)).await;
    production.behave("svc-2", json!({"healthy": false, "hide_metrics": true})).await;
    let metrics = async || {
        let answer = client().get(format!("{}/metrics", production.url())).send().await.unwrap();
        answer.text().await.unwrap()
    };
    // A counter of requests needs a moment until it has counted one.
    let text = wait_until("requests were counted", async || {
        let text = metrics().await;
        if text.contains("http_requests_total{service=\"svc-1\"") { Ok(text) } else { Err(text) }
    })
    .await;
    assert!(text.contains("http_requests_total{service=\"svc-3\""), "{text}");
    assert!(!text.contains("http_requests_total{service=\"svc-2\""), "{text}");
    assert!(text.contains("app_build_info{service=\"svc-2\",version=\"v1\""), "{text}");
    for (service, status) in [("svc-1", 200), ("svc-2", 503)] {
        let health = client().get(format!("{}/healthz?service={service}", production.url())).send().await.unwrap();
        assert_eq!(health.status(), status, "{service}");
    }
}

#[tokio::test]
async fn a_held_prometheus_is_silent_and_a_killed_one_comes_back_with_its_data() {
    let mut world = World::start().await;
    world.has_past(Duration::from_secs(2)).await;
    world.prometheus.hold();
    let silent = tokio::time::timeout(Duration::from_secs(1), world.prometheus.value("up")).await;
    assert!(silent.is_err(), "{silent:?}");
    world.prometheus.go_on();
    value_until(&world, "up", "it answers again", |up| up == Some(1.0)).await;

    world.prometheus.kill().await;
    assert!(world.prometheus.value("up").await.is_err());
    world.prometheus.start_again().await;
    let old = "count(count_over_time(up[2m]) > 3)";
    assert_eq!(world.prometheus.value(old).await, Ok(Some(1.0)), "the samples from before are there");
}

#[tokio::test]
async fn alertmanager_forwards_an_alert_to_the_pager() {
    let mut world = World::start().await;
    let url = world.start_alertmanager().await;
    let alert = json!([{"labels": {"alertname": "RollbackdPage", "page_id": "p1", "reason": "held"}}]);
    let answer = client().post(format!("{url}/api/v2/alerts")).json(&alert).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let page = world.page("held").await;
    assert_eq!(page.route, "/alertmanager");
}

#[tokio::test]
async fn the_pager_refuses_as_often_as_it_is_told() {
    let pager = Pager::start().await;
    pager.refuse(&[503, 429]);
    for expected in [503, 429, 200] {
        let page = json!({"status": "firing", "reason": "held", "firing": "f1"});
        let post = client().post(pager.url("/hook/page")).header("Idempotency-Key", "p1").json(&page);
        assert_eq!(post.send().await.unwrap().status(), expected);
    }
    assert_eq!(pager.received().len(), 3);
    let taken = pager.taken_for("held");
    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].firing(), taken[0].key.as_deref()), ("f1", Some("p1")));
}

async fn run_of(github: &GitHub, id: u64) -> Value {
    let get = client().get(format!("{}/repos/acme/shop/actions/runs/{id}", github.url()));
    get.bearer_auth(GitHub::TOKEN).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn a_run_at_github_deploys_once_it_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let production = Production::start(dir.path(), None).await;
    let github = GitHub::start(production.url()).await;
    github.script(Script::succeeds().held());
    let url = format!("{}/repos/acme/shop/actions/workflows/deploy.yml/dispatches", github.url());
    let body = json!({"ref": "main", "inputs": {"image_tag": "v9"}, "return_run_details": true});
    assert_eq!(client().post(&url).json(&body).send().await.unwrap().status(), 401);
    assert_eq!((github.dispatches().len(), github.unauthorized()), (0, 1));

    let answer = client().post(&url).bearer_auth(GitHub::TOKEN).json(&body).send().await.unwrap();
    let id = answer.json::<Value>().await.unwrap()["workflow_run_id"].as_u64().unwrap();
    wait_until("the run has begun", async || {
        let run = run_of(&github, id).await;
        if run["status"] == "in_progress" { Ok(()) } else { Err(run.to_string()) }
    })
    .await;
    assert!(production.deploys().await.is_empty());
    github.release();
    wait_until_within(PATIENCE, "the run has ended", async || {
        let run = run_of(&github, id).await;
        if run["conclusion"] == "success" { Ok(()) } else { Err(run.to_string()) }
    })
    .await;
    let deploys = production.deploys().await;
    assert_eq!((deploys.len(), &deploys[0]["version"], &deploys[0]["by"]), (1, &json!("v9"), &json!("github")));
}
