//! The lints of `check`, by the page that describes them: every example points at its lint and at nothing else.
//!
//! Never asks a stand-in for Prometheus: the online examples are run against a real one, over data that promtool made.
#![expect(clippy::unwrap_used, reason = "what a test's helpers unwrap is the test's own claim")]

#[path = "../e2e/world/ports.rs"]
mod ports;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use rollbackd_core::config::lint::Lint;
use serde_json::Value;

use server::Server;

const PAGE: &str = include_str!("../../docs/lints.md");

/// A part of a config that is clean, in whose place an example stands.
const TRIGGER: &str = "- {name: smoke-test, observed: report, budget: 5m}\n";

/// A whole config around some services.
fn config(prometheus: &str, services: &str) -> String {
    format!(
        "prometheus: {{url: \"{prometheus}\", promql: lenient}}\npagers:\n  - {{name: oncall, webhook: {{url: \
         \"http://127.0.0.1:9999/hook/page\"}}}}\nservices:\n{}",
        indented(services, 2)
    )
}

/// A service around some triggers.
fn service(triggers: &str) -> String {
    let paths = "  paths: [{name: pipeline, timeout: 4m, command: [deploy, \"{{ target.version }}\"]}]\n";
    let head =
        "- name: shop\n  page: [oncall]\n  version_query: app_build_info{service=\"shop\"}\n  side_effects: none\n";
    format!("{head}{paths}  triggers:\n{}", indented(triggers, 4))
}

fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect()
}

/// The example of each lint: the first block below its heading.
fn examples() -> BTreeMap<String, String> {
    let sections = PAGE.split("\n### `").skip(1);
    sections
        .map(|section| {
            let (name, rest) = section.split_once('`').unwrap();
            let block = rest.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
            (name.to_owned(), block.unwrap_or_else(|| panic!("{name} has no example")).to_owned())
        })
        .collect()
}

/// What `check` says of a config.
struct Said {
    code: Option<i32>,
    text: String,
    json: Value,
}

impl Said {
    fn lints(&self) -> BTreeSet<String> {
        let problems = self.json["problems"].as_array().unwrap();
        problems.iter().map(|problem| problem["lint"].as_str().unwrap_or("error").to_owned()).collect()
    }
}

fn check(text: &str, options: &[&str]) -> Said {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("c.yml"), text).unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollbackd"));
        command.args(["check", "--config", "c.yml"]).args(options).args(more).current_dir(dir.path());
        command.output().unwrap()
    };
    let (shown, json) = (run(&[]), run(&["--json"]));
    let text = String::from_utf8(shown.stdout).unwrap() + &String::from_utf8(shown.stderr).unwrap();
    let json = serde_json::from_slice(&json.stdout).unwrap_or_else(|_| panic!("no JSON: {text}"));
    Said { code: shown.status.code(), text, json }
}

/// An example in a config that is clean but for it.
fn in_config(prometheus: &str, example: &str) -> String {
    if example.starts_with("- name: shop\n") {
        config(prometheus, example)
    } else {
        config(prometheus, &service(example))
    }
}

fn assert_points_at(name: &str, example: &str, said: &Said) {
    let mut lints = said.lints();
    if name != Lint::WindowCost.name() {
        lints.remove(Lint::WindowCost.name());
    }
    assert_eq!(lints, BTreeSet::from([name.to_owned()]), "{example}\n{}", said.text);
    assert!(said.text.contains(&format!("[{name}]\n")), "{}", said.text);
    assert_eq!(said.code, Some(0), "a lint does not change the exit code:\n{}", said.text);
}

#[test]
fn every_lint_has_a_row_and_an_example() {
    let rows: BTreeSet<&str> = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let names: BTreeSet<&str> = Lint::ALL.into_iter().map(Lint::name).collect();
    assert_eq!(rows, names);
    assert_eq!(examples().keys().map(String::as_str).collect::<BTreeSet<_>>(), names);
}

#[test]
fn each_offline_example_points_at_its_lint_alone() {
    for (name, example) in examples() {
        if !Lint::named(&name).unwrap().needs_prometheus() {
            assert_points_at(&name, &example, &check(&in_config("http://127.0.0.1:1", &example), &[]));
        }
    }
}

#[test]
fn each_example_can_be_allowed_where_it_is_shown() {
    for (name, example) in examples() {
        if Lint::named(&name).unwrap().needs_prometheus() {
            continue;
        }
        let text = in_config("http://127.0.0.1:1", &example);
        let said = check(&text, &[]);
        let problems = said.json["problems"].as_array().unwrap();
        let line = problems.iter().find(|problem| problem["lint"] == *name).unwrap()["line"].as_u64().unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.insert(usize::try_from(line).unwrap() - 1, format!("# rollbackd: allow {name}: on purpose"));
        let allowed = check(&lines.join("\n"), &[]);
        assert!(!allowed.lints().contains(&name) || name.ends_with("-allow"), "{}", allowed.text);
        assert!(name.ends_with("-allow") || !allowed.lints().contains("unused-allow"), "{}", allowed.text);
    }
}

#[test]
fn each_online_example_points_at_its_lint_alone_and_what_is_right_at_none() {
    let server = Server::start();
    for (name, example) in examples() {
        if Lint::named(&name).unwrap().needs_prometheus() {
            let offline = check(&in_config(server.url(), &example), &[]).lints();
            assert!(!offline.contains(&name), "{name} is not known without asking");
            assert_points_at(&name, &example, &check(&in_config(server.url(), &example), &["--online"]));
        }
    }
    let right = concat!(
        "- name: error-rate\n",
        "  bad:   sum(rate(http_requests_total{service=\"shop\",code=~\"5..\"}[1m]))\n",
        "  total: sum(rate(http_requests_total{service=\"shop\"}[1m]))\n",
        "  above: 5%\n  for: 2m\n  budget: 5m\n",
        "  at_least: {expr: 'sum(increase(http_requests_total{service=\"shop\"}[1m]))', value: 20}\n",
        "- name: queue\n  expr: max by (shard) (queue_length{service=\"shop\"})\n",
        "  above: 2x baseline\n  baseline: {window: 30m}\n  for: 2m\n  budget: 5m\n",
        "- {name: gone, expr: 'absent(up{job=\"nobody\"})', for: 2m, budget: 5m}\n",
    );
    let said = check(&in_config(server.url(), right), &["--online", "--strict"]);
    // That nobody's `up` is there to be absent is what the last one asks; that it is empty shows nothing amiss.
    let lints: Vec<String> = said.lints().into_iter().filter(|lint| lint != Lint::WindowCost.name()).collect();
    assert_eq!(lints, [Lint::EmptyNow.name()], "{}", said.text);
}

#[test]
fn what_is_misspelt_is_told_with_what_there_is() {
    let server = Server::start();
    let said = |query: &str| {
        let trigger = format!("- {{name: queue, expr: 'max({query})', above: 5, for: 2m, budget: 5m}}\n");
        check(&in_config(server.url(), &trigger), &["--online"]).text
    };
    let label = said("queue_length{servce=\"shop\"}");
    assert!(label.contains("queue_length has no label servce; it has service, shard"), "{label}");
    let value = said("queue_length{service=\"shop\",shard=\"7\"}");
    assert!(value.contains("shard=\"7\" matches nothing: shard of queue_length is 0, 1 now"), "{value}");
    let metric = said("queue_lenght{service=\"shop\"}");
    assert!(metric.contains("there is no series queue_lenght now"), "{metric}");
    let ratio = |bad: &str| {
        let total = "sum(rate(http_requests_total{service=\"shop\"}[1m]))";
        let rest = "above: 5%, for: 2m, budget: 5m, at_least: {expr: vector(99), value: 1}";
        let trigger = format!("- {{name: errors, bad: 'sum(rate({bad}[1m]))', total: '{total}', {rest}}}\n");
        check(&in_config(server.url(), &trigger), &["--online"]).text
    };
    let elsewhere = ratio("http_requests_total{service=\"shopp\",code=~\"5..\"}");
    assert!(
        elsewhere.contains("service=\"shopp\" matches nothing: service of http_requests_total is shop now"),
        "{elsewhere}"
    );
    let too_short = concat!(
        "- {name: errors, bad: 'sum(rate(http_requests_total{service=\"shop\",code=~\"5..\"}[59s]))', ",
        "total: 'sum(rate(http_requests_total{service=\"shop\"}[1m]))', above: 5%, for: 2m, budget: 5m, ",
        "at_least: {expr: vector(99), value: 1}}\n",
    );
    let scrapes = check(&in_config(server.url(), too_short), &["--online"]).text;
    assert!(scrapes.contains("the range of 59s is shorter than 4 scrapes"), "of what has no series now: {scrapes}");
    let clean = ratio("http_requests_total{service=\"shop\",code=~\"5..\"}");
    assert!(!clean.contains("warning"), "{clean}");
    assert!(metric.contains("c.yml:11:") && metric.contains("^"), "{metric}");
}

/// Our parser refuses `@ end()`, so nobody knows that this gives a number without series; Prometheus answers it alone,
/// and not beside another.
#[test]
fn queries_that_are_answered_one_by_one_and_not_as_the_one_that_is_asked_are_told() {
    let server = Server::start();
    let said = |expr: &str| {
        let at_least = "at_least: {expr: 'max(queue_length)', value: 1}";
        let trigger = format!("- {{name: queue, expr: '{expr}', above: 5, for: 2m, budget: 5m, {at_least}}}\n");
        check(&in_config(server.url(), &trigger), &["--online"])
    };
    let number = said("scalar(max(queue_length @ end()))");
    assert!(number.text.contains("shop queue expr: 1 series"), "{}", number.text);
    assert!(number.text.contains("shop queue, its queries asked as one: error: "), "{}", number.text);
    assert_eq!(number.code, Some(1));
    let series = said("max(queue_length @ end())");
    assert!(!series.text.contains("asked as one"), "{}", series.text);
    assert_eq!(series.code, Some(0), "{}", series.text);
}

#[test]
fn what_a_window_costs_is_said_of_one_that_begins_with_the_deploy_as_well() {
    let said = |range: &str| {
        let noted = examples().remove(Lint::WindowCost.name()).unwrap().replace("[1m]", &format!("[{range}]"));
        check(&in_config("http://127.0.0.1:1", &noted), &[]).text
    };
    let (minute, since_deploy) = (said("1m"), said("{{ since_deploy }}"));
    assert!(minute.contains("above 5% 50s after 6%, 15s after 20%, 3s after 100% of the requests"), "{minute}");
    let expected = "half-way through the watch, 15m after it, the ratio is above 5% 5m after 20%, 48s after 100% of \
         the requests begin to fail, not within the watch where 6% do; then";
    assert!(since_deploy.contains(expected), "{since_deploy}");
}

#[test]
fn a_warning_is_a_failure_only_where_strictness_is_asked_for() {
    let loose = config("http://127.0.0.1:1", &service("- {name: smoke-test, observed: report}\n"));
    assert_eq!(check(&loose, &[]).code, Some(0));
    assert_eq!(check(&loose, &["--strict"]).code, Some(1));
    assert_eq!(check(&config("http://127.0.0.1:1", &service(TRIGGER)), &["--strict"]).code, Some(0));
    let noted = examples().remove(Lint::WindowCost.name()).unwrap();
    assert_eq!(check(&in_config("http://127.0.0.1:1", &noted), &["--strict"]).code, Some(0), "a note is no warning");
}

#[test]
fn a_prometheus_that_does_not_answer_is_told_and_no_lint_is_claimed() {
    let text = in_config("http://127.0.0.1:1", &examples()["label-matches-nothing"]);
    let said = check(&text, &["--online"]);
    assert_eq!(said.code, Some(1));
    assert!(said.text.contains("shop error-rate total: error: no answer from"), "{}", said.text);
    assert_eq!(said.lints(), BTreeSet::from([Lint::WindowCost.name().to_owned()]));
}

#[test]
fn every_example_of_the_docs_is_clean_or_says_that_it_is_meant() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for dir in ["config", "config/recipes", "docs/examples"] {
        for entry in fs::read_dir(root.join(dir)).unwrap() {
            let file = entry.unwrap().path();
            let is_config = file.extension().is_some_and(|found| found == "yml")
                && fs::read_to_string(&file).unwrap().lines().any(|line| line.starts_with("services:"));
            if is_config {
                let said = check(&fs::read_to_string(&file).unwrap(), &["--strict"]);
                assert_eq!(said.code, Some(0), "{}\n{}", file.display(), said.text);
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen}");
}
