//! One attempt at GitLab: a pipeline, created once, and its status.
//!
//! Never takes a pipeline for its own that has not the attempt's id among its variables.
//!
//! Source: GitLab, "Pipelines API" (create, list, get, variables, cancel) and "Rate limits".

use std::time::Duration;

use reqwest::{StatusCode, Url};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use serde::Deserialize;
use serde_json::json;

use super::{ATTEMPT_VARIABLE, Gitlab};
use crate::http_client::one_line;
use crate::paths::remote::api::{Answer, Api, NoAnswer};
use crate::paths::remote::{Asked, Cancelled, Found, Look, Remote};

/// How far GitLab's clock and ours may differ: pipelines that changed this long before the attempt are looked at too.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// How many pipelines are listed: far more than are created by the API on one branch within a minute, and each is
/// one request more.
const LISTED_PIPELINES: &str = "20";

/// One attempt, with all that it needs.
pub(crate) struct Pipeline<'a> {
    settings: &'a Gitlab,
    api: Api,
    order: &'a Order,
}

/// A pipeline, as it is created, listed and shown.
#[derive(Deserialize)]
struct Shown {
    id: u64,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    web_url: Option<String>,
}

#[derive(Deserialize)]
struct PipelineVariable {
    key: String,
    #[serde(default)]
    value: Option<String>,
}

impl<'a> Pipeline<'a> {
    pub(super) fn new(settings: &'a Gitlab, order: &'a Order) -> Result<Self, String> {
        Ok(Self { settings, api: Api::new("GitLab", &settings.http)?, order })
    }

    /// A part of the project's API. Whatever stands in a segment is one segment: its slashes are escaped.
    fn url(&self, tail: &[&str]) -> Url {
        let segments: Vec<&str> =
            ["api", "v4", "projects", &self.settings.project].into_iter().chain(tail.iter().copied()).collect();
        self.settings.url.under(&segments)
    }

    async fn get(&self, tail: &[&str]) -> Result<Answer, NoAnswer> {
        self.api.send(self.api.client().get(self.url(tail))).await
    }

    fn branch(&self) -> &str {
        self.order.run.first().map_or("", String::as_str)
    }

    /// What somebody should look at when creating the pipeline was refused.
    fn check(&self, status: StatusCode) -> String {
        let project = &self.settings.project;
        let file = self.settings.http.bearer_token_file.as_deref().unwrap_or_else(|| "".as_ref()).display();
        match status {
            StatusCode::UNAUTHORIZED => format!("that the token in {file} is valid and has not expired"),
            StatusCode::FORBIDDEN => {
                format!("that the token in {file} has the scope api and may run pipelines of {project}")
            }
            StatusCode::NOT_FOUND => format!("that {project} exists, and that the token in {file} may see it"),
            _ => format!("that {} has a pipeline for the source `api`, which may be given variables", self.branch()),
        }
    }

    /// The newest pipelines that were created by the API on this branch or tag and changed since then.
    async fn candidates(&self) -> Result<Vec<Shown>, String> {
        // A ref may be written in full; pipelines name the branch or tag alone.
        let branch = self.branch();
        let branch = branch.strip_prefix("refs/heads/").or_else(|| branch.strip_prefix("refs/tags/")).unwrap_or(branch);
        let since = (self.order.started_at - CLOCK_DIFFERENCE).to_string();
        let request = self.api.client().get(self.url(&["pipelines"])).query(&[
            ("ref", branch),
            ("source", "api"),
            ("updated_after", &since),
            ("order_by", "id"),
            ("sort", "desc"),
            ("per_page", LISTED_PIPELINES),
        ]);
        self.api.send(request).await.map_err(NoAnswer::why)?.json()
    }

    async fn search(&self) -> Result<Found, String> {
        for candidate in self.candidates().await? {
            let answer = self.get(&["pipelines", &candidate.id.to_string(), "variables"]).await;
            let variables: Vec<PipelineVariable> = answer.map_err(NoAnswer::why)?.json()?;
            let attempt = Some(self.order.attempt.as_str());
            if variables.iter().any(|each| each.key == ATTEMPT_VARIABLE && each.value.as_deref() == attempt) {
                return Ok(Found::It(candidate.id.to_string()));
            }
        }
        Ok(Found::NotYet)
    }
}

impl Remote for Pipeline<'_> {
    const NAME: &'static str = "GitLab";
    const WHAT: &'static str = "pipeline";

    fn poll_interval(&self) -> Duration {
        self.settings.poll_interval
    }

    async fn ask(&mut self) -> Asked {
        let named = self.settings.variables.iter().map(String::as_str).zip(self.order.run.iter().skip(1));
        let mut variables: Vec<_> = named.map(|(key, value)| json!({"key": key, "value": value})).collect();
        variables.push(json!({"key": ATTEMPT_VARIABLE, "value": self.order.attempt.as_str()}));
        let body = json!({"ref": self.branch(), "variables": variables});
        match self.api.send(self.api.client().post(self.url(&["pipeline"])).json(&body)).await {
            Ok(answer) => answer.refusal(&self.check(answer.status)).unwrap_or_else(|| match answer.json::<Shown>() {
                Ok(created) => Asked::Accepted(created.id.to_string()),
                Err(why) => Asked::Perhaps(format!("the pipeline was accepted without telling its id ({why})")),
            }),
            Err(no_answer) => no_answer.asked(),
        }
    }

    async fn find(&mut self) -> Found {
        self.search().await.unwrap_or_else(Found::Unanswered)
    }

    async fn look(&mut self, handle: &str) -> Look {
        let Ok(id) = handle.parse::<u64>() else { return Look::Refused("that is no pipeline's id".to_owned()) };
        // Without an answer, the pipeline goes on all the same: look again.
        let Ok(answer) = self.get(&["pipelines", &id.to_string()]).await else { return Look::Later(Duration::ZERO) };
        let seen = || answer.json().map_or(Look::Later(Duration::ZERO), |shown| look_of(&shown));
        answer.unseen().unwrap_or_else(seen)
    }

    async fn cancel(&mut self, handle: &str) -> Cancelled {
        let Ok(id) = handle.parse::<u64>() else { return Cancelled::Impossible };
        let url = self.url(&["pipelines", &id.to_string(), "cancel"]);
        let taken = self.api.send(self.api.client().post(url)).await.is_ok_and(|answer| answer.status.is_success());
        if taken { Cancelled::Taken } else { Cancelled::NotTaken }
    }
}

/// Only `success` is a rollback: a skipped pipeline did nothing.
fn look_of(shown: &Shown) -> Look {
    let (id, url) = (shown.id, one_line(shown.web_url.as_deref().unwrap_or_default()));
    match shown.status.as_deref() {
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
