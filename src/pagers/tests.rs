//! Configs; what goes over the wire is in `tests/pagers.rs`.

use rollbackd_core::config::node::{Node, Place, Problems, Value};

use super::*;

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
