//! The list of receipts for people and for programs.
//!
//! Never prints: whoever asked does.

use std::path::Path;

use rollbackd_core::receipt::{FrontMatter, stem, took};

/// One receipt in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its number.
    pub number: u64,
    /// Its front matter, or why that can't be read.
    pub facts: Result<FrontMatter, String>,
}

/// The list as a table of text, a header first. One line alone where there are none in this folder.
#[must_use]
pub fn table(dir: &Path, summaries: &[Summary]) -> String {
    if summaries.is_empty() {
        return format!("no receipts in {} yet\n", dir.display());
    }
    let header = ["no", "kind", "service", "version", "trigger", "outcome", "total", "budget", "path", "observed at"];
    let rows = summaries.iter().map(|summary| match &summary.facts {
        Ok(facts) => cells(facts),
        Err(why) => vec![stem(summary.number), why.clone()],
    });
    aligned(std::iter::once(header.map(str::to_owned).to_vec()).chain(rows).collect())
}

fn cells(facts: &FrontMatter) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    // Where no path of ours was started, the clock says how long production was bad, and nothing of a rollback that
    // took too long.
    let budget = facts.budget.map(|budget| match (facts.within_budget, facts.path_started_at) {
        (Some(false), Some(_)) => format!("{} (over)", took(budget)),
        (Some(false), None) | (Some(true) | None, _) => took(budget),
    });
    vec![
        stem(facts.number),
        facts.kind.name().to_owned(),
        facts.service.to_string(),
        or_dash(facts.version.as_ref().map(ToString::to_string)),
        facts.trigger.to_string(),
        facts.outcome.name().to_owned(),
        or_dash(facts.total.map(took)),
        or_dash(budget),
        or_dash(facts.path.as_ref().map(ToString::to_string)),
        facts.observed_at.to_string(),
    ]
}

/// Rows with each column as wide as its widest cell. A row of fewer cells (one that can't be read) widens none.
fn aligned(rows: Vec<Vec<String>>) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width_of = |column: usize| {
        let whole = rows.iter().filter(|row| row.len() == columns);
        whole.filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width_of).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// The list as JSON: an array of the front matters, or of `{number, error}` where one can't be read.
#[must_use]
pub fn json(summaries: &[Summary]) -> serde_json::Value {
    let rows = summaries.iter().map(|summary| match &summary.facts {
        Ok(facts) => serde_json::to_value(facts).unwrap_or_default(),
        Err(why) => serde_json::json!({"number": summary.number, "error": why}),
    });
    rows.collect()
}
