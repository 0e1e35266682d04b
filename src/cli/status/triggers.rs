//! The triggers of a service in `status`: each value against its limit, and what it comes to.

use rollbackd_core::time::Timestamp;
use serde::Deserialize;

use super::{show_number, show_seconds, show_since};
use crate::cli::output::{Output, Paint, one_line};
use crate::cli::table::{Cell, plain, table};

#[derive(Clone, Debug, Deserialize)]
pub(in crate::cli) struct Trigger {
    pub(in crate::cli) name: String,
    pub(in crate::cli) value: Option<f64>,
    pub(in crate::cli) limit: Option<f64>,
    pub(in crate::cli) breach: Option<String>,
    #[serde(default)]
    pub(in crate::cli) percentage: bool,
    observed_at: Option<Timestamp>,
    state: String,
    #[serde(default)]
    seen: Option<bool>,
    pub(in crate::cli) breaching_since: Option<Timestamp>,
    #[serde(default)]
    action: String,
    #[serde(default)]
    pub(in crate::cli) for_seconds: f64,
    budget_seconds: Option<f64>,
    #[serde(default)]
    pub(in crate::cli) observed_by_report: bool,
}

/// The triggers of a service, of which a watch is open or none.
pub(super) fn table_of(output: &Output, triggers: &[Trigger], watched: bool, now: Timestamp) -> String {
    if triggers.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<Cell>> = triggers.iter().map(|trigger| row(trigger, watched, now)).collect();
    table(output, "  ", &["TRIGGER", "STATE", "VALUE", "LIMIT", "FOR", "BUDGET", "ACTION", "SINCE"], &rows)
}

fn row(trigger: &Trigger, watched: bool, now: Timestamp) -> Vec<Cell> {
    let (state, paint) = state_words(trigger, watched);
    let value = trigger.value.filter(|_| trigger.seen != Some(false));
    let value = value.map_or_else(|| "-".to_owned(), |value| show_number(value, trigger.percentage));
    let (limit, hold) = if trigger.observed_by_report {
        ("reported".to_owned(), "-".to_owned())
    } else {
        (limit_words(trigger), show_seconds(trigger.for_seconds))
    };
    let since = trigger.observed_at.or(trigger.breaching_since).map(|at| show_since(at, now));
    vec![
        plain(one_line(&trigger.name)),
        (state, paint),
        plain(value),
        plain(limit),
        plain(hold),
        plain(trigger.budget_seconds.map_or_else(|| "none".to_owned(), show_seconds)),
        plain(one_line(&trigger.action)),
        plain(since.unwrap_or_default()),
    ]
}

/// What nobody has looked at is neither clear nor without data.
fn state_words(trigger: &Trigger, watched: bool) -> Cell {
    match (trigger.state.as_str(), trigger.seen) {
        ("clear" | "no_data", Some(false)) => ("not looked at yet".to_owned(), Paint::Notable),
        ("clear", None) if !watched && !trigger.observed_by_report => plain("not watched".to_owned()),
        ("clear", _) => ("clear".to_owned(), Paint::Good),
        ("breaching" | "fired", _) => (one_line(&trigger.state), Paint::Bad),
        _ => (one_line(&trigger.state), Paint::Notable),
    }
}

pub(in crate::cli) fn limit_words(trigger: &Trigger) -> String {
    let sign = match trigger.breach.as_deref() {
        Some("above") => "> ",
        Some("below") => "< ",
        Some("any") => return "any series".to_owned(),
        Some(_) | None => "",
    };
    match trigger.limit {
        Some(limit) => format!("{sign}{}", show_number(limit, trigger.percentage)),
        None => format!("{sign}baseline unknown"),
    }
}
