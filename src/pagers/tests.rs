//! Waits, classifications and configs; what goes over the wire is in `tests/pagers.rs`.

use std::time::Duration;

use rollbackd_core::config::node::{Node, Place, Problems, Value};
use rollbackd_core::time::Timestamp;

use super::*;

fn retry(after: Option<u64>) -> Failure {
    Failure::Retry { why: "down".to_owned(), after: after.map(Duration::from_secs) }
}

#[test]
fn waits_double_up_to_half_a_minute() {
    let waits: Vec<u128> = (1..=9).map(|failures| wait_after(&retry(None), failures, 1.0).as_millis()).collect();
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    assert_eq!(wait_after(&retry(None), u32::MAX, 1.0), LONGEST_WAIT);
    assert_eq!(wait_after(&retry(None), 0, 1.0), FIRST_WAIT);
}

#[test]
fn waits_are_spread_from_half_to_the_whole_whatever_the_random_number() {
    let waits = [0.0, 0.5, 1.0, -3.0, 7.0, f64::NAN].map(|random| wait_after(&retry(None), 2, random).as_millis());
    assert_eq!(waits, [500, 750, 1000, 500, 1000, 500]);
}

#[test]
fn a_receiver_is_left_alone_as_long_as_it_asks() {
    assert_eq!(wait_after(&retry(Some(7)), 1, 0.0), Duration::from_secs(7));
    assert_eq!(wait_after(&retry(Some(1)), 20, 1.0), LONGEST_WAIT);
}

#[test]
fn a_refusal_is_tried_again_slowly() {
    let refused = Failure::Permanent { why: "HTTP 404".to_owned() };
    assert_eq!(wait_after(&refused, 1, 1.0), WAIT_AFTER_REFUSAL);
    assert_eq!(wait_after(&refused, 9, 0.0), WAIT_AFTER_REFUSAL / 2);
}

#[test]
fn retry_after_is_seconds_or_a_date_and_never_more_than_five_minutes() {
    let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
    let wait = |text| retry_after(text, now).map(|wait| wait.as_secs());
    assert_eq!(wait("12"), Some(12));
    assert_eq!(wait(" 0 "), Some(0));
    assert_eq!(wait("86400"), Some(300));
    assert_eq!(wait("Mon, 23 Nov 2026 10:00:30 GMT"), Some(30));
    assert_eq!(wait("Mon, 23 Nov 2026 09:00:00 GMT"), Some(0));
    assert_eq!(wait("Mon, 23 Nov 2027 10:00:00 GMT"), None, "a weekday that is not the date's");
    assert_eq!(wait("soon"), None);
    assert_eq!(wait("-1"), None);
}

fn scalar(text: &str) -> Node {
    Node { place: Place::default(), value: Value::Scalar { text: text.to_owned(), quoted: false } }
}

fn decoded(kind: &str, entries: Vec<(&str, Node)>) -> Result<Pager, String> {
    let entries = entries.into_iter().map(|(key, node)| (scalar(key), node)).collect();
    let (node, mut problems) = (Node { place: Place::default(), value: Value::Map(entries) }, Problems::default());
    let pager = decode(kind, &node, &mut problems);
    match (pager, problems.0.first()) {
        (Some(pager), None) => Ok(pager),
        (_, problem) => Err(problem.unwrap().message.clone()),
    }
}

#[test]
fn mistakes_in_a_pager_are_named() {
    let list = |urls: &[&str]| Node {
        place: Place::default(),
        value: Value::List(urls.iter().map(|url| scalar(url)).collect()),
    };
    let url = || ("url", scalar("http://127.0.0.1/"));
    let key = || ("routing_key_file", scalar("/key"));
    let topic = || ("topic", scalar("oncall"));
    let table = [
        ("webhook", vec![], "a `url` or a `url_file`"),
        ("webhook", vec![url(), ("url_file", scalar("/f"))], "a `url` or a `url_file`"),
        ("webhook", vec![("url", scalar("127.0.0.1"))], "expected a URL"),
        ("webhook", vec![url(), ("urll", scalar("x"))], "did you mean `url`"),
        ("alertmanager", vec![], "a `url`, or `urls`"),
        ("alertmanager", vec![("urls", list(&[]))], "1 to 16 URLs"),
        ("alertmanager", vec![("urls", list(&["http://a", "b"]))], "expected a URL"),
        ("webhook", vec![url(), ("body", scalar("{}"))], "as a mapping or a list"),
        ("webhook", vec![url(), ("body", list(&["{{ page.sumary }}"]))], "expected page.summary"),
        ("webhook", vec![url(), ("body", list(&["{{ page.id"]))], "not closed"),
        ("webhook", vec![url(), ("resolved_body", list(&["x"]))], "together with a `body`"),
        ("pagerduty", vec![], "no `routing_key_file`"),
        ("pagerduty", vec![key(), ("severity", scalar("high"))], "expected critical or error or warning or info"),
        ("pagerduty", vec![key(), ("url", scalar("https://h/v2/enqueue"))], "without /v2/enqueue"),
        ("slack", vec![], "no `url_file`"),
        ("slack", vec![url()], "write it to a file that `url_file` names"),
        ("ntfy", vec![url()], "no `topic`"),
        ("ntfy", vec![url(), ("topic", scalar("a/b"))], "expected a topic of 1 to 64"),
        ("ntfy", vec![("url", scalar("https://h/topic")), topic()], "the server's address alone"),
        ("ntfy", vec![url(), topic(), ("priority", scalar("6"))], "a priority of 1 to 5"),
        ("smoke_signal", vec![url()], "expected one of webhook, alertmanager, pagerduty, slack, ntfy"),
    ];
    for (kind, entries, expected) in table {
        let problem = decoded(kind, entries).unwrap_err();
        assert!(problem.contains(expected), "{problem:?} should say {expected:?}");
    }
}

#[test]
fn a_pager_shows_no_secret_of_its_url() {
    let pager = decoded("webhook", vec![("url", scalar("https://hooks.example/T0/s3cret"))]).unwrap();
    let shown = format!("{pager:?} {:?}", pager.open().unwrap());
    assert!(shown.contains("https://hooks.example") && !shown.contains("s3cret"), "{shown}");
}
