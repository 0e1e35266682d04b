//! The announcers against stand-ins that check each request: Grafana's after its HTTP API ("Annotations"), GitHub's after
//! its OpenAPI description (`/repos/{owner}/{repo}/deployments` and `.../statuses`), a CDEvents receiver after CDEvents
//! 0.5.1 and the CloudEvents 1.0 HTTP binding.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::pagers::now;
use crate::world::{at, dead_url, node, serve};
use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use rollbackd::announcers::{Announcement, AnnouncerClient, Ended, Failure, KINDS, decode};
use rollbackd_core::config::node::Problems;
use rollbackd_core::name::{Commit, DeployId, FiringId, PathName, ServiceName, TriggerName, Version};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const OURS: Option<&str> = Some("https://rollbackd.example/");
const FIRING: &str = "shop-f-20261123T100402Z-1";
const SHA: &str = "9f1c2ab0d3e4f5a6b7c8d9e0f1a2b3c4d5e6f708";

fn announcement() -> Announcement {
    Announcement {
        service: ServiceName::new("shop").unwrap(),
        firing: FiringId::new(FIRING).unwrap(),
        deploy: Some(DeployId::new("shop-d-20261123T095800Z-1").unwrap()),
        run_url: Some("https://ci.example/1".to_owned()),
        version: Some(Version::new("v2").unwrap()),
        commit: Some(Commit::new(SHA).unwrap()),
        target: Some(Version::new("sha256:ab12").unwrap()),
        trigger: TriggerName::new("error-rate").unwrap(),
        deployed_at: Some(at("2026-11-23T09:58:00Z")),
        observed_at: at("2026-11-23T10:04:02.125Z"),
        ended: None,
    }
}

fn recovered() -> Announcement {
    let path = Some(PathName::new("pipeline").unwrap());
    let ended =
        Ended { at: at("2026-11-23T10:07:30Z"), recovered: true, outcome: "recovered", path, receipt_number: 12 };
    Announcement { ended: Some(ended), ..announcement() }
}

fn paged() -> Announcement {
    let mut paged = recovered();
    paged.ended = paged.ended.map(|ended| Ended { recovered: false, outcome: "not_recovered", path: None, ..ended });
    paged
}

fn open(kind: &str, config: &Value) -> AnnouncerClient {
    let mut problems = Problems::default();
    let announcer = decode(kind, &node(config), &mut problems);
    assert_eq!(problems.0, []);
    announcer.unwrap().open().unwrap()
}

/// A config of this kind for a receiver at this URL, with a secret.
fn config(kind: &str, url: &str, dir: &Path) -> Value {
    let token = dir.join("token");
    std::fs::write(&token, "s3cret").unwrap();
    match kind {
        "grafana" => json!({"url": url, "bearer_token_file": token}),
        "github" => {
            json!({"api_url": url, "repo": "acme/shop", "environment": "production", "bearer_token_file": token})
        }
        "cdevents" => json!({"url": format!("{url}/s3cret"), "environment": "production"}),
        other => panic!("no config for {other}"),
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Seen {
    what: String,
    body: Value,
}

type All = Arc<Mutex<Vec<Seen>>>;

/// Answers with the next of these, then by the platform's own way, and keeps what it saw.
async fn receiver(answers: Vec<Response>, usual: fn(&Seen, &HeaderMap, &[Seen]) -> Response) -> (String, All) {
    let (seen, answers) = (All::default(), Arc::new(Mutex::new(VecDeque::from(answers))));
    let all = Arc::clone(&seen);
    let handler = move |request: Request| async move {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        let now = Seen { what: format!("{} {}", parts.method, parts.uri), body };
        let mut all = all.lock().unwrap();
        let usual = usual(&now, &parts.headers, &all);
        all.push(now);
        answers.lock().unwrap().pop_front().unwrap_or(usual)
    };
    (serve(Router::new().fallback(any(handler))).await, seen)
}

fn whats(seen: &All) -> Vec<String> {
    seen.lock().unwrap().iter().map(|seen| seen.what.clone()).collect()
}

/// Has what was posted to it, whatever it answered then.
fn grafana(now: &Seen, headers: &HeaderMap, earlier: &[Seen]) -> Response {
    assert_eq!(headers["authorization"], "Bearer s3cret");
    let (method, uri) = now.what.split_once(' ').unwrap();
    if method == "POST" {
        assert_eq!(uri, "/api/annotations");
        let is_valid = now.body["text"].is_string() && now.body["time"].is_i64() && now.body["timeEnd"].is_i64();
        assert!(is_valid && now.body["tags"].is_array(), "{}", now.body);
        return axum::Json(json!({"message": "Annotation added", "id": 1})).into_response();
    }
    assert_eq!(uri, format!("/api/annotations?type=annotation&tags=rollbackd&tags=firing%3A{FIRING}&limit=1"));
    let stored: Vec<_> = earlier.iter().filter(|seen| seen.what.starts_with("POST")).map(|seen| &seen.body).collect();
    axum::Json(json!(stored)).into_response()
}

#[tokio::test]
async fn grafana_gets_one_region_when_a_firing_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (url, seen) = receiver(vec![], grafana).await;
    let client = open("grafana", &config("grafana", &url, dir.path()));
    client.announce(&announcement(), now(), OURS).await.unwrap();
    assert_eq!(whats(&seen), <[&str; 0]>::default(), "nothing while it is open");
    client.announce(&recovered(), now(), OURS).await.unwrap();
    let expected = json!({
        "time": 1_795_427_880_000_i64, "timeEnd": 1_795_428_450_000_i64,
        "tags": ["rollbackd", "service:shop", format!("firing:{FIRING}")],
        "text": "shop: error-rate fired on v2; back on sha256:ab12 by pipeline (receipt 12)",
    });
    assert_eq!(seen.lock().unwrap().last().unwrap().body, expected);
    client.announce(&recovered(), now(), OURS).await.unwrap();
    let posts = whats(&seen).iter().filter(|what| what.starts_with("POST")).count();
    assert_eq!(posts, 1, "once, however often it is told");

    let (url, seen) = receiver(vec![], grafana).await;
    let mut config = config("grafana", &url, dir.path());
    config
        .as_object_mut()
        .unwrap()
        .extend([("dashboard_uid".to_owned(), json!("abc")), ("panel_id".to_owned(), json!(7))]);
    let mut over = paged();
    over.deployed_at = None;
    open("grafana", &config).announce(&over, now(), None).await.unwrap();
    let body = seen.lock().unwrap().last().unwrap().body.clone();
    assert_eq!((&body["dashboardUID"], &body["panelId"]), (&json!("abc"), &json!(7)));
    assert_eq!(body["time"], over.observed_at.milliseconds());
    assert_eq!(body["text"], "shop: error-rate fired on v2; not recovered (receipt 12)");
}

#[tokio::test]
async fn an_annotation_that_was_taken_without_a_word_is_not_added_again() {
    let dir = tempfile::tempdir().unwrap();
    let answers = vec![axum::Json(json!([])).into_response(), StatusCode::BAD_GATEWAY.into_response()];
    let (url, seen) = receiver(answers, grafana).await;
    let client = open("grafana", &config("grafana", &url, dir.path()));
    let failure = client.announce(&recovered(), now(), OURS).await.unwrap_err();
    assert!(matches!(failure, Failure::Retry { .. }), "{failure}");
    client.announce(&recovered(), now(), OURS).await.unwrap();
    assert_eq!(whats(&seen).iter().filter(|what| what.starts_with("POST")).count(), 1);
}

/// Has one deployment of this commit, and the statuses that were posted to it, whatever it answered then.
fn github(now: &Seen, headers: &HeaderMap, earlier: &[Seen]) -> Response {
    assert_eq!(headers["authorization"], "Bearer s3cret");
    assert_eq!(headers["x-github-api-version"], "2022-11-28");
    let deployments = format!("GET /repos/acme/shop/deployments?sha={SHA}&environment=production&per_page=1");
    let statuses = "/repos/acme/shop/deployments/42/statuses";
    if now.what == deployments {
        return axum::Json(json!([{"id": 42, "sha": SHA, "environment": "production"}])).into_response();
    }
    if now.what == format!("GET {statuses}?per_page=1") {
        let newest = earlier.iter().rev().find(|seen| seen.what.starts_with("POST")).map(|seen| seen.body.clone());
        let first = json!({"state": "success", "description": "deployed"});
        return axum::Json(json!([newest.unwrap_or(first)])).into_response();
    }
    assert_eq!(now.what, format!("POST {statuses}"));
    let known = ["state", "description", "environment", "auto_inactive", "log_url"];
    assert!(now.body.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{}", now.body);
    assert!(now.body["description"].as_str().unwrap().chars().count() <= 140, "{}", now.body);
    (StatusCode::CREATED, axum::Json(json!({"id": 1}))).into_response()
}

#[tokio::test]
async fn github_marks_the_bad_versions_deployment_once_it_is_rolled_back() {
    let dir = tempfile::tempdir().unwrap();
    let (url, seen) = receiver(vec![], github).await;
    let client = open("github", &config("github", &url, dir.path()));
    let without_commit = Announcement { commit: None, ..recovered() };
    for nothing_to_tell in [announcement(), paged(), without_commit] {
        client.announce(&nothing_to_tell, now(), OURS).await.unwrap();
    }
    assert_eq!(whats(&seen), <[&str; 0]>::default());
    client.announce(&recovered(), now(), OURS).await.unwrap();
    let expected = json!({
        "state": "failure", "environment": "production", "auto_inactive": false,
        "description": format!("rollbackd: {FIRING}: rolled back to sha256:ab12 after error-rate"),
        "log_url": format!("https://rollbackd.example/v1/firings/{FIRING}"),
    });
    assert_eq!(seen.lock().unwrap().last().unwrap().body, expected);
    client.announce(&recovered(), now(), OURS).await.unwrap();
    let posts = whats(&seen).iter().filter(|what| what.starts_with("POST")).count();
    assert_eq!(posts, 1, "once, however often it is told");

    let mut long = recovered();
    long.target = Some(Version::new("v".repeat(128)).unwrap());
    let (url, seen) = receiver(vec![], github).await;
    open("github", &config("github", &url, dir.path())).announce(&long, now(), None).await.unwrap();
    let description = seen.lock().unwrap().last().unwrap().body["description"].clone();
    assert!(description.as_str().unwrap().starts_with(&format!("rollbackd: {FIRING}")), "{description}");
}

#[tokio::test]
async fn a_commit_without_a_deployment_changes_nothing_at_github() {
    let dir = tempfile::tempdir().unwrap();
    let (url, seen) = receiver(vec![axum::Json(json!([])).into_response()], github).await;
    open("github", &config("github", &url, dir.path())).announce(&recovered(), now(), OURS).await.unwrap();
    assert_eq!(whats(&seen).len(), 1, "one look: {:?}", whats(&seen));
}

/// What the specification requires of each event, and that the headers say the same.
fn cdevents(now: &Seen, headers: &HeaderMap, _: &[Seen]) -> Response {
    let (context, subject) = (&now.body["context"], &now.body["subject"]);
    assert_eq!(now.what, "POST /s3cret");
    assert_eq!((&headers["ce-specversion"], &context["specversion"]), (&"1.0".parse().unwrap(), &json!("0.5.1")));
    for (header, value) in [
        ("ce-id", &context["id"]),
        ("ce-source", &context["source"]),
        ("ce-type", &context["type"]),
        ("ce-time", &context["timestamp"]),
        ("ce-subject", &subject["id"]),
    ] {
        assert_eq!(headers[header].to_str().unwrap(), value.as_str().unwrap(), "{header}");
    }
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(subject["content"]["environment"], json!({"id": "production"}));
    StatusCode::ACCEPTED.into_response()
}

#[tokio::test]
async fn cdevents_tell_of_an_incident_its_rollback_and_its_end_in_that_order() {
    let dir = tempfile::tempdir().unwrap();
    let (url, seen) = receiver(vec![], cdevents).await;
    let client = open("cdevents", &config("cdevents", &url, dir.path()));
    for each in [announcement(), recovered(), paged()] {
        client.announce(&each, now(), OURS).await.unwrap();
    }
    let event = |kind: &str, word: &str, at: &str, subject: Value| {
        let id = format!("{FIRING}-{word}");
        let context = json!({"specversion": "0.5.1", "id": id, "source": "/rollbackd", "type": kind, "timestamp": at});
        json!({"context": context, "subject": subject})
    };
    let incident = |description: &str| {
        let content =
            json!({"environment": {"id": "production"}, "service": {"id": "shop"}, "description": description});
        json!({"id": FIRING, "source": "/rollbackd", "content": content})
    };
    let artifact = json!({"environment": {"id": "production"}, "artifactId": "pkg:generic/shop@sha256%3Aab12"});
    let service = json!({"id": "shop", "source": "/rollbackd", "content": artifact});
    let (begin, end) = ("2026-11-23T10:04:02.125Z", "2026-11-23T10:07:30.000Z");
    let resolved = incident("shop: error-rate fired on v2; back on sha256:ab12 by pipeline (receipt 12)");
    let expected = [
        event(
            "dev.cdevents.incident.detected.0.3.0",
            "incident-detected",
            begin,
            incident("shop: error-rate fired on v2"),
        ),
        event("dev.cdevents.service.rolledback.0.3.0", "service-rolledback", end, service),
        event("dev.cdevents.incident.resolved.0.3.0", "incident-resolved", end, resolved),
    ];
    let bodies: Vec<Value> = seen.lock().unwrap().iter().map(|seen| seen.body.clone()).collect();
    assert_eq!(bodies, expected);
}

#[tokio::test]
async fn an_end_is_told_again_under_the_same_ids_until_all_of_it_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let answers = vec![StatusCode::OK.into_response(), StatusCode::SERVICE_UNAVAILABLE.into_response()];
    let (url, seen) = receiver(answers, cdevents).await;
    let client = open("cdevents", &config("cdevents", &url, dir.path()));
    client.announce(&recovered(), now(), OURS).await.unwrap_err();
    client.announce(&recovered(), now(), OURS).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[..2], seen[2..]);
}

fn any_platform(_: &Seen, _: &HeaderMap, _: &[Seen]) -> Response {
    axum::Json(json!([])).into_response()
}

#[tokio::test]
async fn every_announcer_tells_failures_apart_and_says_no_secret() {
    let again = |status: StatusCode, seconds: &'static str| (status, [("retry-after", seconds)]).into_response();
    for kind in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let answers = [
            (StatusCode::UNAUTHORIZED.into_response(), None),
            (StatusCode::FORBIDDEN.into_response(), None),
            (StatusCode::NOT_FOUND.into_response(), None),
            (StatusCode::PERMANENT_REDIRECT.into_response(), None),
            (StatusCode::CONFLICT.into_response(), None),
            (StatusCode::UNPROCESSABLE_ENTITY.into_response(), None),
            (again(StatusCode::TOO_MANY_REQUESTS, "7"), Some(Some(7))),
            (again(StatusCode::FORBIDDEN, "9"), Some(Some(9))),
            (StatusCode::INTERNAL_SERVER_ERROR.into_response(), Some(None)),
        ];
        let (answers, expected): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
        let (url, _seen) = receiver(answers, any_platform).await;
        let client = open(kind, &config(kind, &url, dir.path()));
        for expected in expected {
            let failure = client.announce(&recovered(), now(), OURS).await.unwrap_err();
            let shown = format!("{failure} {failure:?} {client:?}");
            assert!(shown.contains(&url) && !shown.contains("s3cret"), "{kind}: {shown}");
            match (failure, expected) {
                (Failure::Permanent { .. }, None) => {}
                (Failure::Retry { after, .. }, Some(seconds)) => {
                    assert_eq!(after, seconds.map(Duration::from_secs), "{kind}");
                }
                (failure, expected) => panic!("{kind}: {failure:?}, not {expected:?}"),
            }
        }
        let nobody = open(kind, &config(kind, &dead_url(), dir.path()));
        let failure = nobody.announce(&recovered(), now(), OURS).await.unwrap_err();
        assert!(
            matches!(&failure, Failure::Retry { why, .. } if why.contains("could not connect")),
            "{kind}: {failure}"
        );
    }
}

#[tokio::test]
async fn every_announcer_tries_again_where_the_connection_is_reset_or_the_answer_is_nonsense() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let resetting = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    for kind in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let client = open(kind, &config(kind, &resetting, dir.path()));
        let failure = client.announce(&recovered(), now(), OURS).await.unwrap_err();
        assert!(matches!(failure, Failure::Retry { .. }), "{kind}: {failure:?}");
    }
    for kind in ["grafana", "github"] {
        for nonsense in ["<html>", "{}", ""] {
            let dir = tempfile::tempdir().unwrap();
            let (url, seen) = receiver(vec![nonsense.into_response()], any_platform).await;
            let client = open(kind, &config(kind, &url, dir.path()));
            let failure = client.announce(&recovered(), now(), OURS).await.unwrap_err();
            assert!(matches!(failure, Failure::Retry { .. }), "{kind}: {failure:?}");
            assert_eq!(whats(&seen).len(), 1, "{kind}: nothing is changed on such an answer");
        }
    }
}

#[test]
fn mistakes_in_an_announcer_are_named() {
    let table = [
        ("grafana", json!({}), "no `url`"),
        ("grafana", json!({"url": "grafana"}), "expected a URL"),
        ("grafana", json!({"url": "http://g", "panel_id": 7}), "together with its `dashboard_uid`"),
        ("github", json!({"repo": "acme", "environment": "p"}), "a repository as owner/name"),
        ("github", json!({"repo": "acme/../x", "environment": "p"}), "a repository as owner/name"),
        ("github", json!({"repo": "acme/shop"}), "no `environment`"),
        ("cdevents", json!({"environment": "p"}), "a `url` or a `url_file`"),
        ("cdevents", json!({"url": "http://c", "environment": "p", "artifact_id": "shop"}), "a package URL"),
        (
            "cdevents",
            json!({"url": "http://c", "environment": "p", "artifact_id": "pkg:oci/{{ x }}"}),
            "expected service",
        ),
        ("cdevents", json!({"url": "http://c", "environment": "p", "source": "a\nb"}), "a source such as"),
        ("semaphore", json!({}), "expected one of grafana, github, cdevents"),
    ];
    for (kind, config, expected) in table {
        let mut problems = Problems::default();
        decode(kind, &node(&config), &mut problems);
        let shown = problems.0.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ");
        assert!(shown.contains(expected), "{shown:?} should say {expected:?}");
    }
}
