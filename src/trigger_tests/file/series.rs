//! The series of a test: what the queries of each trigger show.
//!
//! Never asks for more than a test is about: of a ratio its value will do, and what is not said is healthy.

use std::collections::BTreeMap;

use rollbackd_core::config::node::{self, Fields, Node, Problems, Value};
use rollbackd_core::config::{Metric, Observed, Query, Service};
use rollbackd_core::name::TriggerName;

use crate::trigger_tests::notation::{Sample, expand};
use crate::trigger_tests::production::Shown;

/// The series by trigger.
pub(super) fn series(node: &Node, service: &Service, problems: &mut Problems) -> BTreeMap<TriggerName, Shown> {
    let mut series = BTreeMap::new();
    for (name, place, node) in node::entries(node, "`series`", problems) {
        let Some(trigger) = service.triggers.iter().find(|trigger| trigger.name.as_str() == name) else {
            let names = service.triggers.iter().map(|trigger| trigger.name.as_str());
            problems.error(place, super::no_such("trigger", name, names));
            continue;
        };
        let Observed::Metric(metric) = &trigger.observed else {
            let message = format!("trigger {name} is observed by reports: tell of one in `happens`");
            problems.error(place, message);
            continue;
        };
        series.extend(shown(node, metric, name, problems).map(|shown| (trigger.name.clone(), shown)));
    }
    series
}

/// What one trigger's queries show: its value alone, or the parts by their keys.
fn shown(node: &Node, metric: &Metric, name: &str, problems: &mut Problems) -> Option<Shown> {
    if matches!(node.value, Value::Scalar { .. }) {
        return Some(Shown { value: Some(samples(node, problems)?), ..Shown::default() });
    }
    let mut fields = Fields::of(node, format!("the series of trigger {name}"), problems)?;
    let mut read =
        |key: &'static str, problems: &mut Problems| fields.optional(key).and_then(|node| samples(node, problems));
    let shown = Shown {
        value: read("value", problems),
        bad: read("bad", problems),
        total: read("total", problems),
        at_least: read("at_least", problems),
        presence: read("presence", problems),
    };
    let is_ratio = matches!(metric.query, Query::Ratio { .. });
    let is_filter = matches!(metric.query, Query::Filter { .. });
    let misplaced = [
        ("bad", shown.bad.is_some() && !is_ratio, "it has no `bad` and `total`"),
        ("total", shown.total.is_some() && !is_ratio, "it has no `bad` and `total`"),
        ("value", shown.value.is_some() && shown.bad.is_some(), "`bad` and `total` say it already"),
        ("at_least", shown.at_least.is_some() && metric.at_least.is_none(), "it has no `at_least`"),
        ("presence", shown.presence.is_some() && !is_filter, "only an alerting rule's expression has it"),
    ];
    for (key, _, why) in misplaced.into_iter().filter(|(_, is_misplaced, _)| *is_misplaced) {
        problems.error(fields.key_place(key), format!("`{key}` means nothing for trigger {name}: {why}"));
    }
    let is_half = shown.bad.is_some() != shown.total.is_some() && shown.value.is_none();
    if is_ratio && is_half {
        problems.error(fields.place, format!("a ratio needs both: trigger {name} has `bad` or `total` alone"));
    }
    fields.finish(problems);
    Some(shown)
}

fn samples(node: &Node, problems: &mut Problems) -> Option<Vec<Sample>> {
    let written = node::text(node, problems)?;
    problems.take(node.place, expand(written))
}
