//! What a rehearsal rehearsed: where any of it changes, what was shown to work is no longer what would run.
//!
//! Never reads the pipeline's own file: the shell says what is in it, where the config names it.

use super::facts::definition;
use super::text::{block, took};
use crate::config::{Condition, Limit, Metric, Observed, PipelineFile, Query, Service, Trigger};
use crate::name::{PathName, TriggerName};

/// The path as it is defined, and what the trigger waits for, part for part as the config writes them.
#[must_use]
pub fn fingerprint(service: &Service, path: &PathName, trigger: &TriggerName) -> Vec<String> {
    let mut parts = service.path(path).map(definition).unwrap_or_default();
    parts.extend(service.path(path).map(|rule| format!("timeout={}", took(rule.timeout))));
    let files = service.path(path).map(|rule| rule.pipeline_files.as_slice()).unwrap_or_default();
    parts.extend(files.iter().map(content));
    parts.extend(service.trigger(trigger).map(|trigger| block(&waits_for(trigger))));
    parts
}

fn content(file: &PipelineFile) -> String {
    let PipelineFile { name, sha256 } = file;
    block(&format!("file={name}: {}", sha256.as_ref().map_or("not readable", |sha256| sha256.as_str())))
}

fn waits_for(trigger: &Trigger) -> String {
    let observed = match &trigger.observed {
        Observed::Report => "reported".to_owned(),
        Observed::Metric(metric) => measured(metric),
    };
    let budget = trigger.budget.map_or("none".to_owned(), took);
    format!("trigger={}: {observed}, for {}, budget {budget}", trigger.name, took(trigger.hold))
}

fn measured(metric: &Metric) -> String {
    let query = match &metric.query {
        Query::Ratio { bad, total } => format!("{} / {}", bad.source(), total.source()),
        Query::Expression(expr) | Query::Filter { expr, .. } => expr.source().to_owned(),
    };
    let condition = match metric.condition {
        Condition::Above(limit) => format!(" above {}", compared(limit)),
        Condition::Below(limit) => format!(" below {}", compared(limit)),
        Condition::Any => String::new(),
    };
    let at_least = metric.at_least.as_ref();
    let at_least = at_least.map(|least| format!(", at least {} of {}", least.value, least.expr.source()));
    format!("{query}{condition}{}", at_least.unwrap_or_default())
}

fn compared(limit: Limit) -> String {
    match limit {
        Limit::Fixed { value, .. } => value.to_string(),
        Limit::TimesBaseline { factor, window } => format!("{factor}x baseline over {}", took(window)),
    }
}
