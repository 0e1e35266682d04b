//! `compare`: what good ones mean, and what is said of bad ones.

use std::time::Duration;

use rollbackd_core::config::{Against, Comparison, Metric, Test};

use super::{GOOD, metric, minutes, said, settings, trigger};

/// The example of the documentation.
const EXAMPLE: &str = include_str!("../../docs/examples/statistics.yml");

/// The good config with a trigger more that compares, in these words.
fn comparing(words: &str) -> String {
    let own = format!("triggers:\n      - {{name: slower, expr: 'p50{{job=\"x\"}}', budget: 5m, {words}}}\n");
    let text = GOOD.replacen("triggers:\n", &own, 1);
    assert_ne!(text, GOOD);
    text
}

/// What is said of it, without the places.
fn complaints(words: &str) -> Vec<String> {
    let said = said(&comparing(words)).into_iter();
    said.map(|line| line.splitn(3, ':').nth(2).unwrap_or_default().trim().to_owned()).collect()
}

#[test]
fn the_example_compares_as_it_says() {
    assert_eq!(said(EXAMPLE), Vec::<String>::new());
    let settings = settings(EXAMPLE);
    let service = settings.core.services.values().next().unwrap();
    let of = |name: &str| -> Metric { metric(trigger(service, name)).clone() };
    let (windows, sequential, canary) = (of("p50-latency"), of("p50-latency-soon"), of("p50-latency-canary"));
    let minute = Duration::from_secs(60);
    for metric in [&windows, &sequential, &canary] {
        assert_eq!((metric.step, metric.window), (minute, minute), "samples are a window apart");
    }
    let expected = |test, against, false_alarms| Some(Comparison { test, against, false_alarms });
    assert_eq!(windows.comparison, expected(Test::MannWhitney { window: minutes(10) }, Against::Before, 0.01));
    assert_eq!(sequential.comparison, expected(Test::Sequential, Against::Before, 0.005));
    let beside = Against::Beside { label: "version".to_owned() };
    assert_eq!(canary.comparison, expected(Test::Sequential, beside, 0.01));
    assert_eq!((windows.baseline_window(), canary.baseline_window()), (Some(minutes(60)), None));
}

#[test]
fn what_cannot_be_compared_is_refused_with_what_to_write() {
    for (words, expected) in [
        ("compare: t_test, above: 1.2x baseline", "error: expected mann_whitney or sequential, not \"t_test\""),
        ("compare: sequential, above: 5", "error: `compare` needs a limit such as `above: 1.2x baseline`"),
        ("compare: sequential, above: 1.2x baseline, for: 5m", "error: `for` means nothing with `compare: sequential`"),
        ("compare: mann_whitney, above: 1.2x baseline", "error: trigger slower compares windows as long as its `for`"),
        ("compare: mann_whitney, above: 1.2x baseline, for: 1m", "expected `for` to be 1m 15s or longer"),
        ("compare: sequential, above: 1.2x baseline, false_alarms: 50%", "error: expected a percentage of watches"),
        ("compare: sequential, above: 1.2x baseline, false_alarms: 0.01", "error: expected a percentage of watches"),
        ("above: 1.2x baseline, false_alarms: 1%", "error: `false_alarms` means nothing without `compare`"),
        ("above: 1.2x baseline, baseline: {label: version}", "error: `label` means nothing without `compare`"),
        (
            "compare: sequential, above: 1.2x baseline, baseline: {label: version, window: 1h}",
            "error: expected `window` or `label`, not both",
        ),
        ("compare: sequential, above: 1x baseline", "warning: without a margin"),
        ("compare: sequential, above: 0.9x baseline", "warning: a healthy version is above this half of the time"),
        (
            "compare: sequential, above: 1.2x baseline, baseline: {window: 1m}",
            "error: trigger slower can never fire for",
        ),
        ("compare: sequential, above: 1.2x baseline, baseline: {window: 41h30m}", "asks for 10080 points at once"),
        ("compare: mann_whitney, above: 1.2x baseline, for: 5m, baseline: {window: 15s}", "can never fire for"),
    ] {
        let found = complaints(words);
        assert!(found.iter().any(|line| line.contains(expected)), "{words}: {found:?}");
    }
    let overlapping = comparing("compare: sequential, above: 1.2x baseline")
        .replace("p50{job=\"x\"}", "rate(p50[{{ since_deploy }}])");
    assert!(
        said(&overlapping).iter().any(|line| line.contains("makes windows that overlap")),
        "{:?}",
        said(&overlapping)
    );
    let ratio =
        comparing("compare: sequential, above: 1.2x baseline").replace("expr: 'p50{job=\"x\"}'", "bad: a, total: b");
    assert!(said(&ratio).iter().any(|line| line.contains("`compare` needs an `expr`")), "{:?}", said(&ratio));
}

#[test]
fn a_good_comparison_is_said_nothing_of() {
    for words in [
        "compare: sequential, above: 1.2x baseline",
        "compare: mann_whitney, below: 0.8x baseline, for: 10m, false_alarms: 5 %",
        "compare: mann_whitney, above: 1.5x baseline, for: 10m, baseline: {label: version}",
    ] {
        assert_eq!(complaints(words), Vec::<String>::new(), "{words}");
    }
}
