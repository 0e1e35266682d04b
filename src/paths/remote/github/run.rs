//! A run of a workflow at GitHub, as it is listed and shown, and what it says.
//!
//! Source: GitHub's OpenAPI description, `workflow-run`.

use rollbackd_core::firing::Outcome;
use serde::Deserialize;

use crate::http_client::one_line;
use crate::paths::remote::Look;

/// A run, as it is listed and shown.
#[derive(Debug, Deserialize)]
pub(crate) struct Run {
    pub(crate) id: u64,
    #[serde(default)]
    pub(crate) display_title: Option<String>,
    #[serde(default)]
    pub(crate) status: Option<String>,
    #[serde(default)]
    pub(crate) conclusion: Option<String>,
    #[serde(default)]
    pub(crate) html_url: Option<String>,
}

/// Runs, newest first.
#[derive(Debug, Deserialize)]
pub(crate) struct Runs {
    pub(crate) workflow_runs: Vec<Run>,
}

impl Run {
    /// What it shows. Its success has its id for a receipt.
    pub(crate) fn look(self) -> Look {
        let url = one_line(self.html_url.as_deref().unwrap_or_default());
        match self.status.as_deref() {
            Some("completed") => Look::Ended(conclude(self.id, self.conclusion.as_deref(), url)),
            Some("waiting") => {
                Look::Waits(format!("run {} waits for a person to approve it at GitHub: {url}", self.id))
            }
            // `requested`, `queued`, `pending`, `in_progress`, and whatever else is not the end.
            Some(_) | None => Look::Runs,
        }
    }
}

/// Only `success` is a rollback: `neutral` and `skipped` runs did nothing.
fn conclude(id: u64, conclusion: Option<&str>, url: String) -> Outcome {
    match conclusion {
        Some("success") => Outcome::Succeeded { receipt: Some(id.to_string()), output: url },
        Some("cancelled") => Outcome::Cancelled { why: format!("run {id} was cancelled at GitHub: {url}") },
        other => {
            let other = one_line(other.unwrap_or("nothing"));
            Outcome::Failed { why: format!("run {id} concluded as {other}: {url}"), output: url }
        }
    }
}
