//! What came of the tests, for people in promtool's manner, and for programs.
//!
//! Never says more of a test that succeeded than that it did.

use std::fmt::Write as _;
use std::time::Duration;

use rollbackd_core::config::node::Place;
use rollbackd_core::time::show_duration;
use serde_json::{Value, json};

/// What came of all files.
pub struct Report {
    pub(super) files: Vec<FileReport>,
}

/// What came of one file.
pub struct FileReport {
    pub(super) name: String,
    /// Why it can't be run, in lines of its own.
    pub(super) unusable: Option<String>,
    pub(super) tests: Vec<TestReport>,
}

/// What came of one test.
pub(super) struct TestReport {
    pub(super) name: String,
    pub(super) expectations: usize,
    pub(super) failures: Vec<Failure>,
}

/// One expectation that was not met.
pub(super) struct Failure {
    pub(super) place: Place,
    pub(super) at: Option<Duration>,
    pub(super) mismatch: Mismatch,
}

/// What differs.
pub(super) struct Mismatch {
    pub(super) what: String,
    pub(super) expected: String,
    pub(super) got: String,
}

impl Report {
    /// Whether every test of every file succeeded.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.files.iter().all(FileReport::ok)
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        self.files.iter().map(FileReport::text).collect()
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({"ok": self.ok(), "files": self.files.iter().map(FileReport::json).collect::<Vec<_>>()})
    }
}

impl FileReport {
    fn ok(&self) -> bool {
        self.unusable.is_none() && self.tests.iter().all(|test| test.failures.is_empty())
    }

    fn text(&self) -> String {
        let mut text = format!("Testing {}\n", self.name);
        if let Some(why) = &self.unusable {
            return text + "  FAILED: it can't be run\n" + why;
        }
        for test in self.tests.iter().filter(|test| !test.failures.is_empty()) {
            let _ = writeln!(text, "  FAILED: {}", test.name);
            test.failures.iter().for_each(|failure| text.push_str(&failure.text(&self.name)));
        }
        if self.ok() {
            let expectations: usize = self.tests.iter().map(|test| test.expectations).sum();
            let _ = writeln!(text, "  SUCCESS: {} tests, {expectations} expectations", self.tests.len());
        }
        text
    }

    fn json(&self) -> Value {
        let tests: Vec<Value> = self.tests.iter().map(TestReport::json).collect();
        json!({"file": self.name, "ok": self.ok(), "unusable": self.unusable, "tests": tests})
    }
}

impl TestReport {
    fn json(&self) -> Value {
        let failures: Vec<Value> = self.failures.iter().map(Failure::json).collect();
        json!({
            "name": self.name,
            "ok": self.failures.is_empty(),
            "expectations": self.expectations,
            "failures": failures,
        })
    }
}

impl Failure {
    fn text(&self, file: &str) -> String {
        let Mismatch { what, expected, got } = &self.mismatch;
        let at = self.at.map_or(String::new(), |at| format!("at {}, ", show_duration(at)));
        let Place { line, column } = self.place;
        format!("    {file}:{line}:{column}: {at}{what}:\n        exp: {expected}\n        got: {got}\n")
    }

    fn json(&self) -> Value {
        json!({
            "line": self.place.line,
            "column": self.place.column,
            "at_seconds": self.at.map(|at| at.as_secs_f64()),
            "what": self.mismatch.what,
            "expected": self.mismatch.expected,
            "got": self.mismatch.got,
        })
    }
}
