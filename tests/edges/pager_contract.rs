//! What every kind of pager promises, each against a receiver on loopback that also misbehaves.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::pagers::{now, open, page};
use crate::smtp;
use crate::world::dead_url;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rollbackd::pagers::{Failure, KINDS, PagerClient};
use rollbackd_core::page::Page;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const OURS: Option<&str> = Some("https://rollbackd.example/");
const SECRET: &str = "s3cret";

/// What is special about a kind: what it speaks, its config for a receiver at this URL, and where its body has the
/// page's key.
struct Contract {
    kind: &'static str,
    wire: &'static Wire,
    config: fn(&str, &Path) -> Value,
    key: fn(&Value) -> Value,
}

/// What pagers speak: a receiver that answers each page with the next of these, as it stands, and then takes all that
/// come; and its answers.
struct Wire {
    receiver: fn(Vec<String>) -> BoxFuture<'static, Receiver>,
    /// Each with what a human has to see of it.
    refusals: fn() -> Vec<(String, &'static str)>,
    /// Each with the seconds for which it asks to be left alone.
    failures: fn() -> Vec<(String, Option<u64>)>,
}

/// Where a receiver is, and the body of each page that it saw.
type Receiver = (String, mpsc::UnboundedReceiver<Value>);

const HTTP: Wire = Wire {
    receiver: |answers| receiver(answers).boxed(),
    refusals: || {
        let lines =
            ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found", "409 Conflict", "410 Gone"];
        let lines = lines.into_iter().chain(["422 Unprocessable Entity"]);
        lines.map(|line| (status(line, ""), line)).collect()
    },
    failures: || {
        vec![
            (status("408 Request Timeout", ""), None),
            (status("429 Too Many Requests", "retry-after: 7\r\n"), Some(7)),
            (status("500 Internal Server Error", ""), None),
            (status("503 Service Unavailable", "retry-after: 9\r\n"), Some(9)),
            ("HTTP/1.1 20".to_owned(), None),
            (String::new(), None),
        ]
    },
};

const SMTP: Wire = Wire {
    receiver: |answers| smtp::receiver(answers).boxed(),
    refusals: || {
        let lines = ["550 5.7.1 not from you", "552 5.3.4 too big", "554 5.6.0 spam", "501 no"];
        lines.map(|line| (format!("{line}\r\n"), line)).into()
    },
    failures: || {
        let answers =
            ["421 4.3.2 going down\r\n", "450 4.2.1 busy\r\n", "452-4.3.1\r\n452 full\r\n", "nonsense\r\n", "25", ""];
        answers.map(|answer| (answer.to_owned(), None)).into()
    },
};

const CONTRACTS: &[Contract] = &[
    Contract {
        kind: "webhook",
        wire: &HTTP,
        config: |url, _| json!({"url": format!("{url}/{SECRET}")}),
        key: |body| body["dedup_key"].clone(),
    },
    Contract {
        kind: "webhook",
        wire: &HTTP,
        config: |url, _| {
            let body = json!({"key": "{{ page.id }}", "state": "{{ page.status }}"});
            json!({"url": format!("{url}/{SECRET}"), "body": body})
        },
        key: |body| body["key"].clone(),
    },
    Contract {
        kind: "alertmanager",
        wire: &HTTP,
        config: |url, _| json!({"url": format!("{url}/{SECRET}")}),
        key: |body| body[0]["labels"]["page_id"].clone(),
    },
    Contract {
        kind: "pagerduty",
        wire: &HTTP,
        config: |url, dir| json!({"url": url, "routing_key_file": file(dir, SECRET)}),
        key: |body| body["dedup_key"].clone(),
    },
    Contract {
        kind: "slack",
        wire: &HTTP,
        config: |url, dir| json!({"url_file": file(dir, &format!("{url}/services/{SECRET}"))}),
        key: |body| body["text"].as_str().and_then(|text| text.rsplit_once("page: ")).map(|(_, key)| key).into(),
    },
    Contract {
        kind: "ntfy",
        wire: &HTTP,
        config: |url, dir| json!({"url": url, "topic": SECRET, "bearer_token_file": file(dir, SECRET)}),
        key: |body| body["sequence_id"].clone(),
    },
    Contract {
        kind: "email",
        wire: &SMTP,
        config: |url, dir| {
            let smarthost = url.trim_start_matches("http://");
            let addresses = json!({"from": "rollbackd@example.com", "to": "oncall@example.com"});
            let login = json!({"auth_username": "rollbackd", "auth_password_file": file(dir, SECRET)});
            merged(json!({"smarthost": smarthost}), [addresses, login])
        },
        // The mail that says that it is over answers the first one.
        key: |body| body.get("references").unwrap_or(&body["message-id"]).clone(),
    },
];

fn merged(mut config: Value, more: impl IntoIterator<Item = Value>) -> Value {
    let map = config.as_object_mut().unwrap();
    more.into_iter().for_each(|more| map.extend(more.as_object().unwrap().clone()));
    config
}

fn file(dir: &Path, content: &str) -> String {
    let file = dir.join("secret");
    fs::write(&file, content).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Answers each request with the next of these, as it stands, and closes the connection; then with 202.
async fn receiver(answers: Vec<String>) -> (String, mpsc::UnboundedReceiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (seen, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut answers = answers.into_iter();
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answers.next().unwrap_or_else(|| status("202 Accepted", ""));
            let Some(body) = answered(stream, &answer).await else { continue };
            if seen.send(body).is_err() {
                return;
            }
        }
    });
    (url, requests)
}

/// Reads one request, answers it, and says what its body was.
async fn answered(stream: TcpStream, answer: &str) -> Option<Value> {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    stream.write_all(answer.as_bytes()).await.ok()?;
    Some(serde_json::from_slice(&body).unwrap())
}

fn status(line: &str, headers: &str) -> String {
    format!("HTTP/1.1 {line}\r\n{headers}connection: close\r\ncontent-length: 0\r\n\r\n")
}

fn opened(contract: &Contract, url: &str, dir: &Path) -> PagerClient {
    open(contract.kind, &(contract.config)(url, dir))
}

#[test]
fn every_kind_of_pager_has_its_contract_tested() {
    let tested: BTreeSet<&str> = CONTRACTS.iter().map(|contract| contract.kind).collect();
    assert_eq!(tested, KINDS.iter().copied().collect());
}

#[tokio::test]
async fn every_pager_is_told_once_and_that_it_is_over_under_the_same_key() {
    for contract in CONTRACTS {
        let dir = tempfile::tempdir().unwrap();
        let (url, mut requests) = (contract.wire.receiver)(vec![]).await;
        let client = opened(contract, &url, dir.path());
        let (mut page, sent_at) = (page(), now());
        client.send(&page, sent_at, OURS).await.unwrap();
        let first = requests.recv().await.unwrap();
        page.resolved_at = Some(sent_at);
        client.send(&page, sent_at, OURS).await.unwrap();
        let over = requests.recv().await.unwrap();
        let key = (contract.key)(&first);
        assert!(key.is_string(), "{}: {first}", contract.kind);
        assert_eq!((contract.key)(&over), key, "{}", contract.kind);
        assert_ne!(over, first, "{}", contract.kind);
        assert!(requests.try_recv().is_err(), "{}: once each", contract.kind);
    }
}

#[tokio::test]
async fn every_pager_takes_a_refusal_for_one_and_says_no_secret() {
    for contract in CONTRACTS {
        let dir = tempfile::tempdir().unwrap();
        let (answers, shown): (Vec<_>, Vec<_>) = (contract.wire.refusals)().into_iter().unzip();
        let (url, _requests) = (contract.wire.receiver)(answers).await;
        let client = opened(contract, &url, dir.path());
        for refusal in shown {
            let failure = client.send(&page(), now(), OURS).await.unwrap_err();
            let shown = format!("{failure} {failure:?} {client:?}");
            assert!(matches!(failure, Failure::Permanent { .. }), "{}: {shown}", contract.kind);
            assert!(shown.contains(refusal) && !shown.contains(SECRET), "{}: {shown}", contract.kind);
        }
    }
}

#[tokio::test]
async fn every_pager_tries_again_with_the_same_body_until_it_is_taken() {
    for contract in CONTRACTS {
        let dir = tempfile::tempdir().unwrap();
        let answers = (contract.wire.failures)();
        let (url, mut requests) =
            (contract.wire.receiver)(answers.iter().map(|(answer, _)| answer.clone()).collect()).await;
        let client = opened(contract, &url, dir.path());
        let sent_at = now();
        let mut bodies = Vec::new();
        for (answer, seconds) in &answers {
            let failure = client.send(&page(), sent_at, OURS).await.unwrap_err();
            let Failure::Retry { why, after } = failure else { panic!("{}: {answer:?}: {failure}", contract.kind) };
            assert_eq!(after, seconds.map(Duration::from_secs), "{}: {answer:?}", contract.kind);
            assert!(!why.contains(SECRET), "{}: {why}", contract.kind);
            bodies.push(requests.recv().await.unwrap());
        }
        client.send(&page(), sent_at, OURS).await.unwrap();
        let taken = requests.recv().await.unwrap();
        assert!(bodies.iter().all(|body| body == &taken), "{}: {bodies:?}", contract.kind);
    }
}

#[tokio::test]
async fn every_pager_tries_again_where_nobody_listens_or_its_secret_is_being_replaced() {
    for contract in CONTRACTS {
        let dir = tempfile::tempdir().unwrap();
        let client = opened(contract, &dead_url(), dir.path());
        let failure = client.send(&page(), now(), OURS).await.unwrap_err();
        assert!(matches!(&failure, Failure::Retry { why, .. } if why.contains("could not connect")), "{failure}");
        if fs::remove_file(dir.path().join("secret")).is_ok() {
            let failure = client.send(&page(), now(), OURS).await.unwrap_err();
            let named = matches!(&failure, Failure::Retry { why, .. } if why.contains("could not read the"));
            assert!(named, "{}: {failure}", contract.kind);
        }
    }
}

/// A page that says things that receivers could take for their own.
#[tokio::test]
async fn every_pager_gives_up_on_a_receiver_that_says_nothing_and_tries_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(connection) = listener.accept().await {
            held.push(connection);
        }
    });
    for contract in CONTRACTS {
        let dir = tempfile::tempdir().unwrap();
        let config = merged((contract.config)(&silent, dir.path()), [json!({"timeout": "200ms"})]);
        let failure = open(contract.kind, &config).send(&page(), now(), OURS).await.unwrap_err();
        assert!(matches!(failure, Failure::Retry { .. }), "{}: {failure:?}", contract.kind);
        assert!(!format!("{failure:?}").contains(SECRET), "{}: {failure:?}", contract.kind);
    }
}

async fn told(kind: &str, config: Value, requests: &mut mpsc::UnboundedReceiver<Value>) -> Value {
    let mut page = page();
    page.summary = format!("<!channel> & \"}}, {{{{ page.id }}}} {}", "ü".repeat(3000));
    open(kind, &config).send(&page, now(), OURS).await.unwrap();
    requests.recv().await.unwrap()
}

#[tokio::test]
async fn what_others_wrote_is_cut_and_mentions_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (url, mut requests) = receiver(vec![]).await;
    let slack = told("slack", json!({"url_file": file(dir.path(), &url)}), &mut requests).await;
    let text = slack["text"].as_str().unwrap();
    assert!(text.contains("&lt;!channel&gt; &amp; ") && !text.contains(['<', '>']), "{text}");
    assert!(text.ends_with("\npage: shop-f-20261123T100402Z-1-budget") && text.len() < 4000, "{text}");
    assert_eq!(
        (&slack["mrkdwn"], &slack["link_names"], &slack["parse"]),
        (&json!(false), &json!(false), &json!("none"))
    );

    let config = json!({"url": url, "routing_key_file": file(dir.path(), "key")});
    let pagerduty = told("pagerduty", config, &mut requests).await;
    let summary = pagerduty["payload"]["summary"].as_str().unwrap();
    assert!(summary.len() <= 1024 && summary.ends_with('…'), "{summary}");
    assert_eq!((&pagerduty["routing_key"], &pagerduty["event_action"]), (&json!("key"), &json!("trigger")));
    assert_eq!(
        (&pagerduty["payload"]["severity"], &pagerduty["payload"]["source"]),
        (&json!("critical"), &json!("shop"))
    );
    let firing = "https://rollbackd.example/v1/firings/shop-f-20261123T100402Z-1";
    assert_eq!(pagerduty["links"], json!([{"href": firing, "text": "the firing"}]));
    assert_eq!(pagerduty["payload"]["custom_details"]["deployed_version"], "v2");

    let ntfy = told("ntfy", json!({"url": url, "topic": "oncall", "priority": 4}), &mut requests).await;
    let message = ntfy["message"].as_str().unwrap();
    assert!(message.len() <= 4096 && message.starts_with("rollbackd: <!channel>"), "{message}");
    assert_eq!((&ntfy["topic"], &ntfy["priority"], &ntfy["click"]), (&json!("oncall"), &json!(4), &json!(firing)));
    assert_eq!(ntfy["actions"], json!([{"action": "view", "label": "Open the firing", "url": firing}]));
    assert!(ntfy["sequence_id"].as_str().is_some_and(|id| id.len() == 64), "{ntfy}");

    let body = json!({"a": ["x {{page.summary}}", 1.5, true, null], "b": {"url": "{{ page.url }}"}, "over": "{{ page.resolved_at }}"});
    let webhook = told("webhook", json!({"url": url, "body": body}), &mut requests).await;
    let first = webhook["a"][0].as_str().unwrap();
    assert!(first.starts_with("x <!channel> & \"}, {{ page.id }} ü"), "{first}");
    assert_eq!((&webhook["a"][1], &webhook["a"][2], &webhook["a"][3]), (&json!(1.5), &json!(true), &json!(null)));
    assert_eq!((&webhook["b"], &webhook["over"]), (&json!({"url": firing}), &json!(null)));
}

#[tokio::test]
async fn pagerduty_is_told_that_a_human_has_seen_a_page_and_the_others_can_not_show_it() {
    let dir = tempfile::tempdir().unwrap();
    let (url, mut requests) = receiver(vec![]).await;
    let seen = Page { acknowledged_at: Some(now()), ..page() };
    for contract in CONTRACTS.iter().filter(|contract| contract.kind != "pagerduty") {
        let client = opened(contract, &dead_url(), dir.path());
        assert!(client.acknowledge(&seen, now(), OURS).is_none(), "{}", contract.kind);
    }
    let client = open("pagerduty", &json!({"url": url, "routing_key_file": file(dir.path(), "key")}));
    client.acknowledge(&seen, now(), OURS).expect("PagerDuty shows it").await.unwrap();
    let told = requests.recv().await.unwrap();
    let expected = json!({"routing_key": "key", "event_action": "acknowledge", "dedup_key": page().id});
    assert_eq!(told, expected);
}
