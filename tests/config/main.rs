//! The config as its writer meets it: the reference file means what the design's table says, and every mistake is
//! reported at its place, all at once.
#![expect(clippy::unwrap_used, reason = "what a test's helpers unwrap is the test's own claim")]

mod bounds;
mod comparisons;
mod meaning;
mod mistakes;
mod properties;

use std::time::Duration;

use rollbackd::config::{self, Settings};
use rollbackd_core::config::node::Severity;
use rollbackd_core::config::{Metric, Observed, Service, Trigger};
use rollbackd_core::name::TriggerName;

const REFERENCE: &str = include_str!("../../config/rollbackd.yml");

/// A config without a mistake or a warning, in which each test changes one thing.
const GOOD: &str = r#"
prometheus: {url: "http://127.0.0.1:9090"}
pagers:
  - {name: oncall, webhook: {url: "http://127.0.0.1:1/"}}
services:
  - name: shop
    page: [oncall]
    version_query: build_info
    side_effects: none
    paths:
      - {name: back, timeout: 1m, command: [deploy, "{{ target.version }}"]}
    triggers:
      - {name: errors, expr: 'sum(rate(errors_total[1m]))', above: 5, for: 1m, budget: 5m}
"#;

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// The settings of a text without errors.
fn settings(text: &str) -> Settings {
    let (settings, problems) = config::parse(text);
    settings.unwrap_or_else(|| panic!("{}", config::render_problems("config", text, &problems)))
}

/// All that is said of a text: `LINE:COLUMN: error: message`.
fn said(text: &str) -> Vec<String> {
    let (settings, problems) = config::parse(text);
    assert_eq!(settings.is_none(), problems.iter().any(|problem| problem.severity == Severity::Error));
    let shown = config::render_problems("F", text, &problems);
    shown.lines().filter_map(|line| Some(line.strip_prefix("F:")?.to_owned())).collect()
}

/// The good config with one piece of text replaced, which must be there.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replacen(from, to, 1)
}

fn trigger<'a>(service: &'a Service, name: &str) -> &'a Trigger {
    service.trigger(&TriggerName::new(name).unwrap()).unwrap()
}

fn metric(trigger: &Trigger) -> &Metric {
    match &trigger.observed {
        Observed::Metric(metric) => metric,
        Observed::Report => panic!("{} is reported", trigger.name),
    }
}

/// The only service's trigger `errors` of a config that is good but for warnings.
fn errors_trigger(text: &str) -> Trigger {
    let settings = settings(text);
    trigger(settings.core.services.values().next().unwrap(), "errors").clone()
}
