//! What lies at the very bound of what is allowed, and what a trigger asks beside its own query.

use std::time::Duration;

use rollbackd::config;
use rollbackd_core::config::{Query, RunPart};

use super::{GOOD, REFERENCE, errors_trigger, metric, said, settings, trigger, with};

#[test]
fn what_lies_at_a_bound_is_taken_without_a_word() {
    let traffic = |value: &str| with("above: 5", &format!("at_least: {{expr: traffic, value: {value}}}, above: 5"));
    let quick = with("pagers:", "evaluation_interval: 100ms\npagers:");
    for text in [
        with("pagers:", "fleet_guard: {services: 2, within: 1m}\npagers:"),
        with("pagers:", "service_label: _job\npagers:"),
        with("above: 5", "above: 2x baseline, baseline: {window: 1m}"),
        traffic("0"),
        with("budget: 5m", "budget: 15m"),
        with("budget: 5m", "budget: 2m"),
        with("for: 1m", "for: 30m"),
        // Ten thousand points of 100 ms.
        quick.replacen("for: 1m", "for: 1000s", 1),
    ] {
        assert_eq!(said(&text), Vec::<String>::new(), "{text}");
    }
    for (text, says) in [
        (traffic("inf"), "expected a number"),
        (with("above: 5", "above: 0x baseline"), "or a multiple such as 2x baseline"),
        (with("pagers:", "service_label: 0job\npagers:"), "expected a label name"),
    ] {
        assert!(said(&text).iter().any(|line| line.contains(says)), "{text}: {:?}", said(&text));
    }
}

#[test]
fn a_mistake_is_shown_with_its_place() {
    let (_, problems) = config::parse(&with("for: 1m", "for: soon"));
    let shown = problems[0].to_string();
    assert!(shown.starts_with("13:76: expected a duration such as 90s"), "{shown}");
}

#[test]
fn what_is_read_without_a_range_is_read_with_its_age() {
    let written = |expr: &str| errors_trigger(&with("sum(rate(errors_total[1m]))", expr));
    let age = |expr: &str| {
        let freshness = metric(&written(expr)).freshness.clone()?;
        Some((freshness.newest.source().to_owned(), freshness.stale_after))
    };
    let stale_after = Duration::from_secs(75);
    assert_eq!(age("sum(rate(errors_total[1m]))"), None, "a range is empty once the samples stop");
    assert_eq!(age("sum(queue)"), Some(("max(timestamp(queue))".to_owned(), stale_after)));
    assert_eq!(
        age(r#"sum(queue{s="{{ service }}"})"#),
        Some((r#"max(timestamp(queue{s="{{ service }}"}))"#.to_owned(), stale_after))
    );
}

#[test]
fn how_old_a_sample_may_be_is_what_the_config_says_of_it() {
    let of_queue = with("sum(rate(errors_total[1m]))", "sum(queue)");
    let told = of_queue.replacen("9090\"}", "9090\", lookback_delta: 30s}", 1);
    let age = |text: &str| metric(&errors_trigger(text)).freshness.as_ref().map(|freshness| freshness.stale_after);
    assert_eq!([age(&of_queue), age(&told)], [75, 30].map(|seconds| Some(Duration::from_secs(seconds))));
}

#[test]
fn a_shared_query_is_told_apart_by_service_only_where_it_does_not_name_one() {
    let shared = r#"
triggers:
  - {name: one-query, expr: 'sum by (service) (queue)', above: 2, budget: 5m, action: page}
  - {name: each-its-own, expr: 'sum(queue{job="{{ service }}"})', above: 2, budget: 5m, action: page}
  - {name: rule, expr: 'up{job="{{ service }}"} == 0', budget: 5m, action: page}
services:
"#;
    let settings = settings(&GOOD.replacen("services:\n", shared.trim_start(), 1));
    let shop = &settings.core.services["shop"];
    let newest = |name: &str| metric(trigger(shop, name)).freshness.as_ref().unwrap().newest.source().to_owned();
    assert_eq!(newest("one-query"), "max by (service) (timestamp(queue))");
    assert_eq!(newest("each-its-own"), r#"max(timestamp(queue{job="{{ service }}"}))"#);
    let Query::Filter { presence, .. } = &metric(trigger(shop, "rule")).query else { panic!("no filter") };
    assert_eq!(presence.source(), r#"count(up{job="{{ service }}"})"#);
    let own = errors_trigger(&with("expr: 'sum(rate(errors_total[1m]))', above: 5", "expr: 'up == 0'"));
    let Query::Filter { presence, .. } = &metric(&own).query else { panic!("no filter") };
    assert_eq!(presence.source(), "count(up)", "a service's own query is about that service");
}

#[test]
fn the_inputs_of_a_pipeline_are_part_of_what_is_run() {
    let settings = settings(REFERENCE);
    let run: Vec<(&str, &str)> = settings.core.services["capstone-api"].paths[0]
        .run
        .iter()
        .map(|RunPart { name, value }| (name.as_str(), value.source()))
        .collect();
    assert!(run.contains(&("inputs.image_tag", "{{ target.version }}")), "{run:?}");
}
