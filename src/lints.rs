//! `check`: a config and all that can be said of it, as people and programs read it.
//!
//! Never keeps a config from being used: a lint is a warning or a note, and a comment can allow it.

mod cost;
pub mod online;
mod places;
mod triggers;

use std::path::Path;

use rollbackd_core::config::node::{Problem, Problems, Severity};
use serde_json::{Value, json};

use self::places::Places;
use crate::config::allow::{Allowed, Looked};
use crate::config::{self, Settings};

/// A config that is being checked.
pub struct Checked {
    name: String,
    text: String,
    places: Places,
    /// What the config says; none where a mistake forbids its use.
    pub settings: Option<Settings>,
    problems: Problems,
}

impl Checked {
    /// Reads a config and looks at all that needs nobody else.
    ///
    /// # Errors
    /// The file can't be read, as a line for people.
    pub fn offline(file: &Path) -> Result<Self, String> {
        let name = file.display().to_string();
        let whole = config::read_whole(file).map_err(|error| {
            format!(
                "{name}: error: can't be read: {error}: expected a config that is there and that this user may read, \
                 such as config/rollbackd.yml"
            )
        })?;
        let places = whole.root.as_ref().map(Places::of).unwrap_or_default();
        let mut problems = Problems(whole.problems);
        if let Some(settings) = &whole.settings {
            triggers::look(settings, &places, &mut problems);
        }
        Ok(Self { name, text: whole.text, places, settings: whole.settings, problems })
    }

    /// What is left once comments have allowed what they name.
    #[must_use]
    pub fn finish(self, looked: Looked) -> Report {
        let mut problems = self.problems.0;
        let mut allowed = Allowed::of(&self.text);
        allowed.silence(&mut problems);
        if self.settings.is_some() {
            problems.extend(allowed.left(looked));
            // Who allows that on purpose says so on the comment's own line.
            allowed.silence(&mut problems);
        }
        config::sort(&mut problems);
        let summary = match &self.settings {
            Some(settings) => config::summary(settings, &problems),
            None => config::count(&problems),
        };
        let shown = config::render_problems(&self.name, &self.text, &problems);
        Report { text: format!("{shown}{}: {summary}\n", self.name), ok: self.settings.is_some(), problems }
    }
}

/// What `check` says of a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// For people: each mistake with its line, then one line that sums up.
    pub text: String,
    /// Whether the config can be used.
    pub ok: bool,
    /// All mistakes, warnings and notes in the order of their places.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Whether there is a warning.
    #[must_use]
    pub fn any_warning(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Warning)
    }

    /// The problems for programs.
    #[must_use]
    pub fn json(&self) -> Vec<Value> {
        let one = |problem: &Problem| {
            json!({
                "line": problem.place.line,
                "column": problem.place.column,
                "severity": config::word(problem.severity),
                "lint": problem.lint.map(|lint| lint.name()),
                "message": problem.message,
            })
        };
        self.problems.iter().map(one).collect()
    }
}

/// Checks a config file offline.
///
/// # Errors
/// The file can't be read, as a line for people.
pub fn check(file: &Path) -> Result<Report, String> {
    Ok(Checked::offline(file)?.finish(Looked::Offline))
}
