//! The ready-made alerting rules: promtool's own check and tests, and that no alert lacks a test or a paragraph.
//!
//! That every metric in them is one of the daemon's is checked beside the metrics themselves.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy sees only in the tests themselves")]

use std::path::Path;
use std::process::Command;

const RULES: &str = "config/prometheus/rollbackd.rules.yml";
const TESTS: &str = "config/prometheus/tests/rollbackd.yml";

fn read(file: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn promtool(arguments: &[&str]) {
    let ran = Command::new("promtool").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let ran = ran.unwrap_or_else(|error| panic!("promtool: {error}; scripts/install-dependencies installs it"));
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("SUCCESS"), "{said}");
}

/// Each alert: its name and what is written of it.
fn alerts(rules: &str) -> Vec<(&str, &str)> {
    let blocks = rules.split("- alert: ").skip(1);
    let alerts: Vec<_> = blocks.map(|block| block.split_once('\n').unwrap()).collect();
    assert!(alerts.len() >= 15, "{alerts:?}");
    alerts
}

#[test]
fn the_rules_are_valid_and_pass_their_tests() {
    promtool(&["check", "rules", RULES]);
    promtool(&["test", "rules", TESTS]);
}

#[test]
fn each_alert_says_what_happened_and_what_to_do() {
    let (rules, page) = (read(RULES), read("docs/operations.md"));
    for (alert, block) in alerts(&rules) {
        for key in ["expr: ", "severity: ", "summary: ", "description: "] {
            assert_eq!(block.matches(key).count(), 1, "{alert}: {key}");
        }
        let anchor = format!("runbook_url: docs/operations.md#{}\n", alert.to_lowercase());
        assert!(format!("{}\n", block.trim_end()).contains(&anchor), "{alert} has no {anchor}");
        let paragraph = page.split(&format!("\n### {alert}\n")).nth(1).unwrap_or_default();
        let paragraph = paragraph.split("\n#").next().unwrap();
        assert!(paragraph.split_whitespace().count() >= 15, "docs/operations.md says too little of {alert}");
    }
}

#[test]
fn each_alert_is_tested_to_fire_and_to_stay_quiet() {
    let (rules, tests) = (read(RULES), read(TESTS));
    for (alert, _) in alerts(&rules) {
        let fires = tests.split(&format!("alertname: {alert}\n")).nth(1).unwrap_or_default();
        assert!(fires.trim_start().starts_with("exp_alerts:\n"), "no test lets {alert} fire");
        assert!(tests.contains(&format!("alertname: {alert}, exp_alerts: []")), "no test keeps {alert} quiet");
    }
}
