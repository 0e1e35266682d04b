//! One project at GitLab, as every path that asks for it there needs it: where it is, and what its pipelines show.
//!
//! Never sends a token anywhere but to `url`.
//!
//! Source: GitLab, "Pipelines API" (list, get one, their statuses).

use std::fmt;
use std::path::Path;

use reqwest::Url;
use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::firing::Outcome;
use serde::Deserialize;

use super::Look;
use super::api::{Api, REQUEST_TIMEOUT};
use crate::http_client::{Endpoint, HttpSettings, one_line};

/// GitLab's own server.
const URL: &str = "https://gitlab.com";

/// A project, and how it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Project {
    url: Endpoint,
    /// Its number, or its path with its groups.
    name: String,
    http: HttpSettings,
}

/// A pipeline, as it is created, listed and shown.
#[derive(Deserialize)]
pub(crate) struct Pipeline {
    pub(crate) id: u64,
    /// What `workflow: name` of its project's pipelines makes of it.
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    web_url: Option<String>,
}

impl Project {
    /// Reads `project`, `url`, and the keys of [`HttpSettings`]; `reads` says for what the token is needed.
    pub(crate) fn decode(fields: &mut Fields<'_>, reads: &str, problems: &mut Problems) -> Option<Self> {
        let url = match fields.optional("url") {
            Some(at) => Endpoint::decode(at, problems),
            None => Endpoint::parse(URL).ok(),
        };
        let name = fields.required("project", problems).and_then(|at| project(at, problems));
        let http = HttpSettings::decode(fields, problems, REQUEST_TIMEOUT);
        if http.bearer_token_file.is_none() {
            let what = fields.what();
            problems.error(fields.place, format!("{what} has no `bearer_token_file`: {reads}"));
        }
        Some(Self { url: url?, name: name?, http })
    }

    /// Its number, or its path with its groups.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where GitLab is.
    pub(crate) const fn server(&self) -> &Endpoint {
        &self.url
    }

    /// The file with the token.
    pub(crate) fn token_file(&self) -> &Path {
        self.http.bearer_token_file.as_deref().unwrap_or_else(|| "".as_ref())
    }

    /// A way to ask.
    pub(crate) fn api(&self) -> Result<Api, String> {
        Api::new("GitLab", &self.http)
    }

    /// A part of the project's API. Whatever stands in a segment is one segment: its slashes are escaped.
    pub(crate) fn url(&self, tail: &[&str]) -> Url {
        let segments: Vec<&str> =
            ["api", "v4", "projects", &self.name].into_iter().chain(tail.iter().copied()).collect();
        self.url.under(&segments)
    }
}

impl fmt::Display for Project {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

fn project(at: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(at, problems)?;
    let allowed = |each: char| each.is_ascii_alphanumeric() || matches!(each, '.' | '_' | '-');
    let is_part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.chars().all(allowed);
    let is_number = !written.is_empty() && written.chars().all(|each| each.is_ascii_digit());
    let is_project = is_number || (written.contains('/') && written.split('/').all(is_part));
    if !is_project {
        problems.error(at.place, format!("expected a project as group/name or its number, not {written:?}"));
    }
    is_project.then(|| written.to_owned())
}

impl Pipeline {
    /// What it shows: only `success` is a rollback, a skipped pipeline did nothing. Its success has its id for a receipt.
    pub(crate) fn look(&self) -> Look {
        let (id, url) = (self.id, one_line(self.web_url.as_deref().unwrap_or_default()));
        match self.status.as_deref() {
            Some("success") => Look::Ended(Outcome::Succeeded { receipt: Some(id.to_string()), output: url }),
            Some("canceled") => {
                Look::Ended(Outcome::Cancelled { why: format!("pipeline {id} was cancelled at GitLab: {url}") })
            }
            Some(ended @ ("failed" | "skipped")) => {
                Look::Ended(Outcome::Failed { why: format!("pipeline {id} ended as {ended}: {url}"), output: url })
            }
            Some("manual") => Look::Waits(format!("pipeline {id} waits for a person to start a job at GitLab: {url}")),
            // `created`, `pending`, `running`, `canceling`, and whatever else is not the end.
            Some(_) | None => Look::Runs,
        }
    }
}
