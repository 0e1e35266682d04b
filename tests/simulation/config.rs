//! The configs of the worlds: real YAML, read by the real reader, on a time scale of seconds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use rollbackd::config::{Settings, parse};
use rollbackd_core::config::Mode;

use crate::plan::Variant;

/// The services' names.
pub(crate) const SERVICES: [&str; 3] = ["a", "b", "c"];

thread_local! {
    static READ: RefCell<BTreeMap<Variant, Settings>> = const { RefCell::new(BTreeMap::new()) };
}

/// The settings of a variant; each is read once by each thread.
pub(crate) fn settings(variant: Variant) -> Settings {
    READ.with_borrow_mut(|read| read.entry(variant).or_insert_with(|| parsed(variant)).clone())
}

fn parsed(variant: Variant) -> Settings {
    let text = text(variant);
    let (settings, problems) = parse(&text);
    let mut settings = settings.unwrap_or_else(|| panic!("the simulation's config: {problems:?}\n{text}"));
    settings.core.mode = if variant.dry_run { Mode::DryRun } else { Mode::Live };
    settings
}

/// The triggers that Prometheus observes; `which` selects the service's series.
fn metric_triggers(which: &str, veto: bool) -> String {
    let veto = if veto { ", veto: 2s" } else { "" };
    let lines = [
        format!(
            "name: error-rate, bad: 'sum by (service) (rate(errors_bad{which}[1s]))', \
             total: 'sum by (service) (rate(errors_total{which}[1s]))', above: 5%, for: 3s, budget: 20s, \
             at_least: {{expr: 'sum by (service) (increase(errors_traffic{which}[1s]))', value: 20}}"
        ),
        format!(
            "name: p99-latency, expr: 'max by (service) (rate(latency_value{which}[1s]))', above: 2x baseline, \
             baseline: {{window: 5s}}, for: 2s, budget: 15s{veto}"
        ),
        format!(
            "name: saturation, expr: 'max by (service) (saturation_value{which})', above: 0.9, for: 2s, budget: 15s, \
             action: page"
        ),
    ];
    lines.map(|line| format!("      - {{{line}}}\n")).concat()
}

fn text(variant: Variant) -> String {
    let mut text = "prometheus: {url: 'http://127.0.0.1:9'}\nevaluation_interval: 1s\nstate_dir: nowhere\n\
                    receipts_dir: nowhere\npagers:\n  - {name: oncall, webhook: {url: 'http://127.0.0.1:9/page'}}\n  \
                    - {name: second, alertmanager: {url: 'http://127.0.0.1:9'}}\n"
        .to_owned();
    text.push_str("announcers:\n  - {name: graphs, grafana: {url: 'http://127.0.0.1:9'}}\n");
    if variant.fleet_guard {
        text.push_str("fleet_guard: {services: 2, within: 8s}\n");
    }
    if variant.shared {
        text.push_str("triggers:\n");
        text.push_str(&metric_triggers("", variant.veto));
    }
    text.push_str("services:\n");
    for name in &SERVICES[..variant.services] {
        let pagers = if variant.second_pager { "[oncall, second]" } else { "[oncall]" };
        let _ = writeln!(text, "  - name: {name}\n    watch: 12s\n    page: {pagers}\n    side_effects: none");
        if variant.second_pager && variant.escalates {
            text.push_str("    escalate_after: 3s\n");
        }
        if variant.announces {
            text.push_str("    announce: [graphs]\n");
        }
        let _ = writeln!(text, "    automatic_limit: {{rollbacks: {}, within: 30s}}", variant.limit);
        if variant.version_query {
            let _ = writeln!(text, "    version_query: build_info{{service=\"{name}\"}}");
            let _ = writeln!(text, "    watch_version: {}", variant.watch_version);
        }
        if variant.smoke {
            let _ = writeln!(text, "    smoke: {{url: 'http://127.0.0.1:9/{name}'}}");
        }
        text.push_str("    triggers:\n");
        if !variant.shared {
            text.push_str(&metric_triggers(&format!("{{service=\"{name}\"}}"), variant.veto));
        }
        for report in [
            "smoke-test, observed: report, budget: 12s",
            "with-veto, observed: report, budget: 15s, veto: 2s",
            "login-broken, observed: report, budget: 20s, action: page",
            "data-corruption, observed: report, action: page, rollback: never",
        ] {
            let _ = writeln!(text, "      - {{name: {report}}}");
        }
        text.push_str("    rehearsal: {deploy_bad: pipeline, every: 1h, timeout: 8s}\n");
        let revision = if variant.revision && variant.version_query { ", '{{ target.revision }}'" } else { "" };
        let _ = writeln!(
            text,
            "    paths:\n      - {{name: pipeline, timeout: 5s, repeatable: {}, command: [deploy, {name}, \
             '{{{{ target.version }}}}']}}\n      - {{name: console, timeout: 3s, command: [console, {name}, \
             '{{{{ target.version }}}}'{revision}]}}",
            variant.repeatable
        );
    }
    text
}
