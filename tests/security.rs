//! The threat model in `docs/security.md`: every line of what somebody can't do names its tests, and they are there.
//! And what is so by construction: how tokens are compared, and what values show of themselves.

#![expect(clippy::unwrap_used, reason = "in a test, what can't be read is a failure")]

mod test_names;

use std::collections::BTreeMap;
use std::path::Path;

use test_names::{named, root, tests};

/// Who may want something, in the order of the page.
const ACTORS: [&str; 12] = [
    "Somebody on the network without a token",
    "A web page in the browser of somebody on this machine",
    "A user or process of this machine",
    "A stolen `read` token",
    "A stolen `deploy` token, or a CI that was taken over",
    "A stolen `operate` token",
    "A stolen webhook secret",
    "A poisoned metric, or a Prometheus that lies",
    "A pager that was taken over",
    "Somebody who controls where a remote redirects to",
    "A remote or a command that answers with hostile text",
    "Whoever reads the log, metrics, pages, receipts, journal, or a bug report with them",
];

/// What each actor can't do, with the cell of its tests.
fn lines() -> BTreeMap<String, Vec<(String, String)>> {
    let text = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let sections = text.split("\n## ").skip(1).filter_map(|section| section.split_once('\n'));
    let cells =
        |row: &str| -> Vec<String> { row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect() };
    let of = |body: &str| {
        let table = body.lines().skip_while(|line| *line != "| can't | shown by |").skip(2);
        let rows = table.take_while(|line| line.starts_with('|'));
        rows.map(|row| match cells(row).as_slice() {
            [what, tests] => (what.clone(), tests.clone()),
            other => panic!("expected two cells in {other:?}"),
        })
        .collect()
    };
    sections.map(|(actor, body)| (actor.to_owned(), of(body))).collect()
}

#[test]
fn every_line_of_the_threat_model_names_tests_that_are_there() {
    let (lines, there) = (lines(), tests());
    for actor in ACTORS {
        let lines = lines.get(actor).unwrap_or_else(|| panic!("no section {actor:?}"));
        assert!(!lines.is_empty(), "nothing is said that {actor} can't do");
        for (what, cell) in lines {
            for name in named(cell) {
                assert!(there.contains(&name), "{actor} can't {what}: {name:?} is no test");
            }
        }
    }
    let with_lines = lines.values().filter(|lines| !lines.is_empty()).count();
    assert_eq!(with_lines, ACTORS.len(), "an actor of the page is missing in this test");
}

#[test]
fn every_hostile_test_is_in_the_threat_model() {
    let text = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("tests/e2e/hostile")).unwrap() {
        let source = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for name in test_names::tests_of(&source) {
            assert!(text.contains(&format!("`{name}`")), "{name} shows nothing that docs/security.md says");
            count += 1;
        }
    }
    assert!(count >= 14, "{count}");
}

/// Every source file below a folder.
fn sources(dir: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let file = entry.unwrap().path();
        if file.is_dir() {
            found.extend(sources(&file));
        } else {
            found.push((file.display().to_string(), std::fs::read_to_string(&file).unwrap()));
        }
    }
    found
}

#[test]
fn no_token_is_compared_but_in_constant_time() {
    let mut compared = 0;
    for (file, text) in sources(&root().join("src")) {
        for line in text.lines().filter(|line| line.contains("sha256") && !line.trim_start().starts_with("//")) {
            if line.contains("ct_eq") {
                assert!(file.ends_with("http/access.rs"), "{file}: {line}");
                compared += 1;
            } else if file.contains("/http/") {
                // The one other line is the test's own: it makes a token.
                assert!(!line.contains("==") && !line.contains("!="), "{file}: {line}");
            }
        }
    }
    assert_eq!(compared, 1, "tokens are compared in one place");
}

#[test]
fn nothing_that_holds_a_secret_shows_it() {
    let text = r#"
prometheus: {url: "http://127.0.0.1:9090/s3cret", headers: {X-Api-Key: s3cret}, basic_auth: {username: u, password_file: /f}}
tokens: [{name: ci, sha256: 9b74c9897bac770ffc029102a200c5de1f4a0c7b2d5e8f90a1b2c3d4e5f60718, scopes: [read]}]
listen: 127.0.0.1:9797
pagers:
  - {name: oncall, webhook: {url: "https://hooks.example/T1/s3cret?key=s3cret", headers: {X-Key: s3cret}}}
  - {name: team, alertmanager: {url: "http://127.0.0.1:9093/s3cret"}}
  - {name: phone, ntfy: {url: "http://127.0.0.1:9093", topic: s3cret}}
services:
  - name: shop
    page: [oncall, team]
    triggers: [{name: login, observed: report, budget: 10m, action: page}]
    paths: [{name: p, timeout: 9s, command: {run: ["true"], secret_environment: {ANY: /run/secret}}}]
    side_effects: none
"#;
    let (settings, problems) = rollbackd::config::parse(text);
    let settings = settings.unwrap_or_else(|| panic!("{problems:?}"));
    let shown = format!("{settings:?} {settings:#?} {problems:?}");
    assert!(shown.contains("hooks.example") && !shown.contains("s3cret"), "{shown}");
    let client = rollbackd::client::Client::new("http://127.0.0.1:1", Some("s3cret".to_owned().into())).unwrap();
    let shown = format!("{client:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
}
