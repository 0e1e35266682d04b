//! The pagers against a real Alertmanager, and against receivers that fail.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::world::{PATIENCE, Program, at, dead_url, node, serve};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, post};
use axum::{Json, Router};
use rollbackd::pagers::{Failure, PagerClient, decode, deliver};
use rollbackd_core::config::node::Problems;
use rollbackd_core::name::{DeployId, FiringId, PageId, ServiceName, TriggerName, Version};
use rollbackd_core::page::{Page, PageReason};
use rollbackd_core::time::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

const OURS: Option<&str> = Some("https://rollbackd.example/");

pub(crate) fn page() -> Page {
    Page {
        id: PageId::new("shop-f-20261123T100402Z-1-budget").unwrap(),
        service: ServiceName::new("shop").unwrap(),
        reason: PageReason::BudgetSpent,
        summary: "Rollback of shop did not finish in 5m".to_owned(),
        details: vec!["error-rate is 12% (limit 5%)".to_owned(), "Approve, dismiss or ack.".to_owned()],
        firing: Some(FiringId::new("shop-f-20261123T100402Z-1").unwrap()),
        deploy: Some(DeployId::new("shop-d-20261123T095800Z-1").unwrap()),
        version: Some(Version::new("v2").unwrap()),
        trigger: Some(TriggerName::new("error-rate").unwrap()),
        opened_at: at("2026-11-23T10:04:02.125Z"),
        resolved_at: None,
        acknowledged_at: None,
        levels_left: Vec::new(),
        escalates_at: None,
        pagers: std::collections::BTreeSet::new(),
        undelivered: std::collections::BTreeSet::new(),
        unresolved: std::collections::BTreeSet::new(),
    }
}

pub(crate) fn open(kind: &str, config: &Value) -> PagerClient {
    let mut problems = Problems::default();
    let pager = decode(kind, &node(config), &mut problems);
    assert_eq!(problems.0, []);
    pager.unwrap().open().unwrap()
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_milliseconds(jiff::Timestamp::now().as_millisecond())
}

/// The shortest waits there are.
fn hurry() -> f64 {
    0.0
}

/// A receiver that answers with these in turn, then 204, and shows what it got.
async fn receiver(answers: Vec<Response>) -> (String, mpsc::UnboundedReceiver<(HeaderMap, Value)>) {
    let (seen, requests) = mpsc::unbounded_channel();
    let answers = Arc::new(tokio::sync::Mutex::new(answers.into_iter()));
    let handler = move |headers: HeaderMap, Json(body): Json<Value>| async move {
        seen.send((headers, body)).unwrap();
        answers.lock().await.next().unwrap_or_else(|| StatusCode::NO_CONTENT.into_response())
    };
    (serve(Router::new().route("/hook/page", post(handler))).await, requests)
}

#[tokio::test]
async fn a_webhook_is_told_all_that_a_human_needs() {
    let (url, mut requests) = receiver(vec![]).await;
    let headers = json!({"X-Team": "shop"});
    let client = open("webhook", &json!({"url": format!("{url}/hook/page"), "headers": headers}));
    assert_eq!(client.resend_every(), None);
    let mut page = page();
    client.send(&page, now(), OURS).await.unwrap();
    let (headers, body) = requests.recv().await.unwrap();
    assert_eq!(headers["idempotency-key"], page.id.as_str());
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["x-team"], "shop");
    let firing = "https://rollbackd.example/v1/firings/shop-f-20261123T100402Z-1";
    let mut expected = json!({
        "version": "1", "status": "firing", "dedup_key": page.id, "reason": "budget_spent",
        "summary": page.summary, "details": page.details, "service": "shop", "trigger": "error-rate",
        "firing": page.firing, "deploy": page.deploy, "deployed_version": "v2",
        "opened_at": "2026-11-23T10:04:02.125Z", "resolved_at": null,
        "answer": {
            "approve": format!("{firing}/approve"),
            "dismiss": format!("{firing}/dismiss"),
            "ack": format!("{firing}/ack"),
        },
    });
    assert_eq!(body, expected);

    page.resolved_at = Some(at("2026-11-23T10:09:00Z"));
    client.send(&page, now(), OURS).await.unwrap();
    let (headers, body) = requests.recv().await.unwrap();
    let told_apart = format!("{}-resolved", page.id);
    assert_eq!(headers["idempotency-key"], told_apart, "or the receiver would drop it as a repetition");
    expected["status"] = "resolved".into();
    expected["resolved_at"] = "2026-11-23T10:09:00.000Z".into();
    expected.as_object_mut().unwrap().remove("answer");
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_webhook_that_fails_gets_the_same_page_until_it_takes_it() {
    let answers = vec![
        StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response(),
        StatusCode::REQUEST_TIMEOUT.into_response(),
    ];
    let (url, mut requests) = receiver(answers).await;
    let client = open("webhook", &json!({"url": format!("{url}/hook/page")}));
    let (page, mut failures) = (page(), Vec::new());
    let delivery = deliver(&client, &page, None, now, hurry, |failure| failures.push(failure.clone()));
    timeout(PATIENCE, delivery).await.expect("the page is delivered");
    let (first, body) = requests.recv().await.unwrap();
    for _ in 0..3 {
        let (again, body_again) = requests.recv().await.unwrap();
        assert_eq!((&again["idempotency-key"], &body_again), (&first["idempotency-key"], &body));
    }
    assert!(requests.try_recv().is_err(), "taken once");
    let retry = |text: &str, after| Failure::Retry { why: format!("{url}: HTTP {text}"), after };
    let expected = [
        retry("500 Internal Server Error", None),
        retry("429 Too Many Requests", Some(Duration::from_secs(1))),
        retry("408 Request Timeout", None),
    ];
    assert_eq!(failures, expected);
}

#[tokio::test]
async fn failures_are_told_apart_and_hold_no_secret() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let elsewhere = Router::new().fallback(any(move |_: Request| async move { seen.send(()).unwrap() }));
    let elsewhere = serve(elsewhere).await;
    let router = Router::new().route("/s3cret/gone", any(|| async { StatusCode::GONE }));
    let router = router.route("/s3cret/busy", any(|| async { StatusCode::SERVICE_UNAVAILABLE }));
    let redirect = any(move || async move { Redirect::permanent(&elsewhere) });
    let url = serve(router.route("/s3cret/moved", redirect)).await;
    let table = [
        (format!("{url}/s3cret/gone"), "refused: ", "HTTP 410 Gone"),
        (format!("{url}/s3cret/moved"), "refused: ", "HTTP 308 Permanent Redirect"),
        (format!("{url}/s3cret/busy"), "", "HTTP 503 Service Unavailable"),
        (format!("{}/s3cret", dead_url()), "", "could not connect: "),
    ];
    for (url, class, why) in table {
        let failure = open("webhook", &json!({"url": url})).send(&page(), now(), None).await.unwrap_err();
        let shown = failure.to_string();
        assert_eq!(matches!(failure, Failure::Permanent { .. }), class == "refused: ", "{shown}");
        assert!(shown.starts_with(class) && shown.contains(why) && !shown.contains("s3cret"), "{shown}");
    }
    assert!(requests.try_recv().is_err(), "no redirect is followed");
}

#[tokio::test]
async fn a_secret_url_is_read_from_its_file_at_each_try() {
    let (url, mut requests) = receiver(vec![]).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("url");
    let client = open("webhook", &json!({"url_file": file}));
    let missing = client.send(&page(), now(), None).await.unwrap_err();
    assert!(matches!(&missing, Failure::Retry { why, .. } if why.contains("URL file")), "{missing}");
    fs::write(&file, format!("{url}/hook/page\n")).unwrap();
    client.send(&page(), now(), None).await.unwrap();
    assert!(requests.recv().await.is_some());
}

#[tokio::test]
async fn a_dead_pager_does_not_disturb_another() {
    let (url, mut requests) = receiver(vec![]).await;
    let dead = open("webhook", &json!({"url": dead_url()}));
    let alive = open("webhook", &json!({"url": format!("{url}/hook/page")}));
    let (failed, mut failures) = mpsc::unbounded_channel();
    let failing = tokio::spawn(async move {
        deliver(&dead, &page(), None, now, hurry, |failure| failed.send(failure.clone()).unwrap()).await;
    });
    assert!(failures.recv().await.is_some(), "the dead one fails first");
    timeout(PATIENCE, deliver(&alive, &page(), None, now, hurry, |failure| panic!("{failure}"))).await.unwrap();
    assert!(requests.recv().await.is_some());
    assert!(!failing.is_finished(), "the dead one is still tried");
    assert!(failures.recv().await.is_some(), "again and again");
    failing.abort();
}

/// Debian's Alertmanager, which passes on to this URL at once.
fn alertmanager(dir: &Path, sink: &str) -> Program {
    let config = format!(
        "route: {{receiver: sink, group_by: [page_id], group_wait: 0s, group_interval: 1s}}\n\
         receivers: [{{name: sink, webhook_configs: [{{url: \"{sink}/hook/page\"}}]}}]\n"
    );
    fs::write(dir.join("config.yml"), config).unwrap();
    let mut command = Command::new("prometheus-alertmanager");
    command.current_dir(dir).args(["--config.file=config.yml", "--storage.path=data", "--cluster.listen-address="]);
    Program::start(command.arg("--web.listen-address=127.0.0.1:0"), "\"Listening on\" address=")
}

/// The alerts that it shows: those that are open.
async fn alerts(alertmanager: &Program) -> Vec<Value> {
    let shown = reqwest::get(format!("{}/api/v2/alerts", alertmanager.url())).await.unwrap();
    shown.json().await.unwrap()
}

#[tokio::test]
async fn a_real_alertmanager_shows_an_open_page_and_passes_on_that_it_is_over() {
    let (sink, mut notified) = receiver(vec![]).await;
    let dir = tempfile::tempdir().unwrap();
    let alertmanager = alertmanager(dir.path(), &sink);
    // One member of the cluster is dead: the other is enough.
    let client = open("alertmanager", &json!({"urls": [dead_url(), alertmanager.url()]}));
    assert_eq!(client.resend_every(), Some(Duration::from_secs(60)));

    let (mut page, sent_at) = (page(), now());
    page.opened_at = sent_at - Duration::from_secs(90);
    client.send(&page, sent_at, OURS).await.unwrap();
    let [shown] = &alerts(&alertmanager).await[..] else { panic!("one alert is open") };
    let labels = json!({
        "alertname": "RollbackdPage", "service": "shop", "trigger": "error-rate", "reason": "budget_spent",
        "severity": "page", "page_id": page.id, "firing_id": page.firing,
    });
    let annotations = json!({
        "summary": page.summary, "description": "error-rate is 12% (limit 5%)\nApprove, dismiss or ack.",
        "deploy": page.deploy, "version": "v2",
    });
    assert_eq!((&shown["labels"], &shown["annotations"]), (&labels, &annotations));
    assert_eq!(shown["generatorURL"], "https://rollbackd.example/v1/firings/shop-f-20261123T100402Z-1");
    let instant = |key: &str| at(shown[key].as_str().unwrap());
    assert_eq!((instant("startsAt"), instant("endsAt")), (page.opened_at, sent_at + Duration::from_secs(300)));

    let later = sent_at + Duration::from_secs(60);
    client.send(&page, later, OURS).await.unwrap();
    let [shown] = &alerts(&alertmanager).await[..] else { panic!("still one alert") };
    assert_eq!(at(shown["endsAt"].as_str().unwrap()), later + Duration::from_secs(300));
    let (_, firing) = timeout(PATIENCE, notified.recv()).await.expect("it notifies").unwrap();
    assert_eq!(firing["alerts"][0]["status"], "firing");

    page.resolved_at = Some(now());
    client.send(&page, now(), OURS).await.unwrap();
    let (_, resolved) = timeout(PATIENCE, notified.recv()).await.expect("it notifies again").unwrap();
    assert_eq!(resolved["alerts"][0]["status"], "resolved");
    assert_eq!((&resolved["alerts"][0]["labels"], &resolved["alerts"][0]["annotations"]), (&labels, &annotations));
    assert_eq!(alerts(&alertmanager).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_page_over_at_the_instant_it_was_opened_is_no_mistake_to_alertmanager() {
    let (sink, _notified) = receiver(vec![]).await;
    let dir = tempfile::tempdir().unwrap();
    let alertmanager = alertmanager(dir.path(), &sink);
    let client = open("alertmanager", &json!({"url": alertmanager.url()}));
    let mut page = page();
    (page.firing, page.trigger, page.version, page.deploy, page.details) = (None, None, None, None, vec![]);
    page.resolved_at = Some(page.opened_at);
    client.send(&page, now(), None).await.unwrap();
    page.resolved_at = Some(page.opened_at - Duration::from_secs(1));
    client.send(&page, now(), None).await.unwrap();
}

#[tokio::test]
async fn alertmanagers_that_all_fail_are_tried_again_soon_unless_all_refuse() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let handler = any(move || {
        count.fetch_add(1, Ordering::SeqCst);
        async { StatusCode::BAD_REQUEST }
    });
    let refusing = serve(Router::new().fallback(handler)).await;
    let failure = |urls: Value| async move {
        open("alertmanager", &json!({"urls": urls})).send(&page(), now(), None).await.unwrap_err()
    };
    let all = failure(json!([refusing, refusing])).await;
    assert!(matches!(all, Failure::Permanent { .. }), "{all}");
    let one = failure(json!([refusing, dead_url()])).await;
    assert!(matches!(&one, Failure::Retry { why, .. } if why.contains("400") && why.contains("connect")), "{one}");
    assert_eq!(calls.load(Ordering::SeqCst), 3, "each one is posted to");
}
