//! `rollbackd test`: the shipped examples, what a failure and a mistake look like, and promtool's notation against promtool.

#![expect(clippy::unwrap_used, reason = "what a test's helpers unwrap is the test's own claim")]

use std::fs;
use std::path::Path;
use std::process::Command;

use rollbackd::trigger_tests::{Sample, expand};
use serde_json::Value;

const REFERENCE: &str = include_str!("../config/rollbackd.yml");

struct Ran {
    code: Option<i32>,
    text: String,
}

fn run(dir: &Path, arguments: &[&str]) -> Ran {
    let ran =
        Command::new(env!("CARGO_BIN_EXE_rollbackd")).arg("test").args(arguments).current_dir(dir).output().unwrap();
    let text = String::from_utf8(ran.stdout).unwrap() + &String::from_utf8(ran.stderr).unwrap();
    Ran { code: ran.status.code(), text }
}

/// A file with one test beside the reference config.
fn of(series: &str, rest: &str) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rollbackd.yml"), REFERENCE).unwrap();
    let head = "config: rollbackd.yml\ntests:\n  - name: one\n    service: capstone-api\n    running: v1\n";
    let text = format!("{head}    series: {series}\n{rest}");
    fs::write(dir.path().join("t.yml"), text).unwrap();
    run(dir.path(), &["t.yml"])
}

fn expecting(series: &str, expectation: &str) -> Ran {
    of(series, &format!("    happens: [{{at: 2m, deploy: v2}}]\n    expect: [{expectation}]\n"))
}

#[test]
fn the_shipped_tests_succeed_and_each_row_of_the_reference_list_has_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = run(root, &["config/tests/reference.yml", "docs/examples/trigger-tests.yml"]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    let tests = fs::read_to_string(root.join("config/tests/reference.yml")).unwrap();
    for trigger in ["error-rate", "p99-latency", "smoke-test", "login-broken", "data-corruption"] {
        assert!(tests.contains(&format!(": {trigger}")) || tests.contains(&format!("{{{trigger}:")), "{trigger}");
    }
}

#[test]
fn every_shipped_expectation_fails_where_the_config_says_something_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = fs::read_to_string(root.join("config/tests/reference.yml")).unwrap();
    let changes = [
        ("above: 5%", "above: 9%", "eight percent of errors"),
        ("for: 2m", "for: 3m", "eight percent of errors"),
        ("value: 20}", "value: 10}", "too little traffic"),
        ("above: 2x baseline", "above: 3x baseline", "a p99 of more than twice"),
        ("above: 2x baseline", "above: 1.9x baseline", "a p99 of exactly twice"),
        ("budget: 10m, action: page}", "budget: 10m}", "a broken login asks a human"),
        ("inputs: {image_tag: \"{{ target.version }}\"}", "inputs: {tag: \"{{ target.version }}\"}", "eight percent"),
    ];
    for (from, to, name) in changes {
        assert!(REFERENCE.contains(from), "{from}");
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tests")).unwrap();
        fs::write(dir.path().join("rollbackd.yml"), REFERENCE.replacen(from, to, 1)).unwrap();
        fs::write(dir.path().join("tests/reference.yml"), &tests).unwrap();
        let ran = run(dir.path(), &["tests/reference.yml"]);
        assert_eq!(ran.code, Some(1), "{from} -> {to}");
        assert!(ran.text.contains(&format!("FAILED: {name}")), "{from} -> {to}: {}", ran.text);
    }
}

#[test]
fn what_is_not_as_expected_is_shown_with_its_place_and_what_it_is() {
    let ran = expecting("{error-rate: 0.01x8 0.08x40}", "{at: 4m, trigger: error-rate, state: fired, runs: pipeline}");
    assert_eq!(ran.code, Some(1));
    let expected = "  FAILED: one\n    t.yml:8:14: at 4m, trigger error-rate state:\n        exp: fired\n        got: breaching \
                    (value 0.08, limit 0.05; breaching since 2m 15s)\n    t.yml:8:14: at 4m, runs:\n        exp: [pipeline]\n        \
                    got: []\n";
    assert!(ran.text.contains(expected), "{}", ran.text);
}

#[test]
fn each_mistake_of_a_file_has_its_place() {
    let table = [
        ("{error-rte: 1}", "{at: 3m, runs: []}", "t.yml:6:14: error: there is no trigger \"error-rte\""),
        ("{error-rate: 1y3}", "{at: 3m, runs: []}", "t.yml:6:26: error: expected a number"),
        ("{smoke-test: 1}", "{at: 3m, runs: []}", "t.yml:6:14: error: trigger smoke-test is observed by reports"),
        ("{error-rate: {bad: 1}}", "{at: 3m, runs: []}", "t.yml:6:26: error: a ratio needs both"),
        (
            "{error-rate: {value: 1, bad: 1, total: 1}}",
            "{at: 3m, runs: []}",
            "t.yml:6:27: error: `value` means nothing",
        ),
        ("{p99-latency: {total: 1}}", "{at: 3m, runs: []}", "t.yml:6:28: error: `total` means nothing"),
        ("{p99-latency: {at_least: 1}}", "{at: 3m, runs: []}", "it has no `at_least`"),
        ("{error-rate: {vale: 1}}", "{at: 3m, runs: []}", "t.yml:6:27: error: unknown key `vale`"),
        ("{}", "{at: 3m, trigger: error-rate, state: red}", "t.yml:8:51: error: expected clear or breaching"),
        ("{}", "{at: 3m, state: clear}", "t.yml:8:23: error: `state` needs a `trigger`"),
        ("{}", "{at: 3m, trigger: error-rate}", "t.yml:8:32: error: expected a `state` of this trigger"),
        ("{}", "{at: 3m}", "t.yml:8:14: error: nothing is expected here"),
        ("{}", "{at: soon, runs: []}", "t.yml:8:19: error: expected a duration"),
        ("{}", "{at: 3m, runs: pipelin}", "t.yml:8:29: error: there is no path \"pipelin\""),
        ("{}", "{at: 3m, pages: nobody}", "there is no pager of the service \"nobody\": the config has oncall"),
        ("{}", "{at: 3m, run: []}", "t.yml:8:23: error: unknown key `run`"),
    ];
    for (series, expectation, expected) in table {
        let ran = expecting(series, expectation);
        assert_eq!(ran.code, Some(1), "{expected}");
        assert!(ran.text.contains(expected), "{expected}\n{}", ran.text);
        assert!(ran.text.contains("FAILED: it can't be run"), "{}", ran.text);
    }
    let step = of("{}", "    happens: [{at: 2m, deploy: v2, report: smoke-test}]\n    expect: [{at: 3m, runs: []}]\n");
    assert!(step.text.contains("t.yml:7:36: error: what happens has `deploy` already"), "{}", step.text);
}

#[test]
fn what_is_refused_fails_the_test_with_the_reason() {
    let rest = "    happens: [{at: 2m, deploy: v2}, {at: 3m, approve: error-rate}, {at: 4m, deploy: v2}]\n    expect: [{at: 5m, runs: []}]\n";
    let ran = of("{}", rest);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.text
            .contains("at 3m, what happens:\n        exp: it is taken\n        got: no firing of error-rate is open"),
        "{}",
        ran.text
    );
    assert!(ran.text.contains("at 4m, what happens:"), "{}", ran.text);
}

#[test]
fn a_look_after_the_watch_is_no_sight_of_health() {
    let ran = expecting("{}", "{at: 40m, trigger: error-rate, state: clear}");
    assert!(ran.text.contains("got: not_watched"), "{}", ran.text);
    assert_eq!(expecting("{}", "{at: 40m, trigger: error-rate, state: not_watched, last: passed}").code, Some(0));
}

#[test]
fn a_file_that_cannot_be_read_fails_and_the_others_are_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = run(root, &["no-such.yml", "config/tests/reference.yml"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.text.contains("no-such.yml: error: can't be read"), "{}", ran.text);
    assert!(ran.text.contains("SUCCESS: "), "{}", ran.text);
}

#[test]
fn programs_get_the_same_as_people() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = run(root, &["--json", "config/tests/reference.yml"]);
    let json: Value = serde_json::from_str(&ran.text).unwrap();
    assert_eq!(json["ok"], true);
    assert!(json["files"][0]["tests"].as_array().unwrap().len() >= 10, "{json}");
    assert_eq!(json["files"][0]["tests"][0]["failures"], Value::Array(Vec::new()));
}

/// promtool says what each point of a series is: its last minute without the point before.
#[test]
fn the_notation_means_what_it_means_to_promtool() {
    let notations =
        ["-2+4x3", " 1-2x4", "1x4", "1 _x3 stale", "10+10x2 30+20x5", "0x10 .5 1e2 1.5e-1x2", "_ 3 _ _ 4x2 _x2 5"];
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rules.yml"), "groups: []\n").unwrap();
    let mut text = "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n".to_owned();
    for notation in notations {
        let samples = expand(notation).unwrap();
        text += &format!(
            "  - interval: 1m\n    input_series: [{{series: m, values: '{notation}'}}]\n    promql_expr_test:\n"
        );
        for (minute, sample) in samples.iter().chain([&Sample::Missing]).enumerate() {
            let expected = match sample {
                Sample::Value(value) => format!("[{{labels: '{{}}', value: {value}}}]"),
                Sample::Missing | Sample::Failed | Sample::Partial => "[]".to_owned(),
            };
            text +=
                &format!("      - {{expr: 'sum_over_time(m[59s])', eval_time: {minute}m, exp_samples: {expected}}}\n");
        }
    }
    fs::write(dir.path().join("test.yml"), text).unwrap();
    let ran = Command::new("promtool").args(["test", "rules", "test.yml"]).current_dir(dir.path()).output();
    let ran = ran.expect("promtool; scripts/install-dependencies installs it");
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    for notation in ["1x", "1+2", "1++x2", "abc", "1+2x3x4", "0x1f"] {
        assert!(expand(notation).is_err(), "{notation}");
        let text = format!(
            "rule_files: [rules.yml]\ntests: [{{input_series: [{{series: m, values: '{notation}'}}], promql_expr_test: [{{expr: vector(1), eval_time: 1m, exp_samples: [{{labels: '{{}}', value: 1}}]}}]}}]\n"
        );
        fs::write(dir.path().join("bad.yml"), text).unwrap();
        let ran = Command::new("promtool").args(["test", "rules", "bad.yml"]).current_dir(dir.path()).output().unwrap();
        assert!(!ran.status.success(), "promtool takes {notation:?}");
    }
}
