//! The document: the table as it was seen, between words that don't change.
//!
//! Never puts anything into the table that no row has said.

use std::path::{Path, PathBuf};

use crate::fault::Fault;
use crate::seen::Row;
use crate::state::State;

/// What stands around the table.
const PAGE: &str = include_str!("page.md");

/// Where the table goes.
const TABLE: &str = "TABLE\n";

/// The published document.
pub(crate) fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fault-matrix.md")
}

/// A row of the table.
pub(crate) fn line(row: &Row) -> String {
    format!("| {} | {} |\n", row.fault.name, row.cells().join(" | "))
}

/// The document with these rows, and with what it said of all others.
pub(crate) fn with(rows: &[Row], published: &str) -> String {
    let states = State::ALL.map(State::name).join(" | ");
    let rule = "---|".repeat(State::ALL.len() + 3);
    let mut table = format!("| fault | {states} | pages `blind` | healthy ones rolled back |\n|{rule}\n");
    for fault in Fault::all() {
        let begin = format!("| {} | ", fault.name);
        let known = published.lines().find(|line| line.starts_with(&begin)).map(|line| format!("{line}\n"));
        let new = rows.iter().find(|row| row.fault.name == fault.name).map(line);
        table.extend(new.or(known));
    }
    assert!(PAGE.contains(TABLE), "the page has no place for the table");
    PAGE.replace(TABLE, &table)
}
