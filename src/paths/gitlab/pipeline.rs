//! One attempt at GitLab: a pipeline, created once, and its status.
//!
//! Never takes a pipeline for its own that has not the attempt's id in its name or among its variables.
//!
//! Source: GitLab, "Pipelines API" (create, list, get, variables, cancel), "Pipeline trigger tokens API" (trigger a
//! pipeline with a token) and "Rate limits".

use std::time::Duration;

use reqwest::StatusCode;
use rollbackd_core::event::Order;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{ATTEMPT_VARIABLE, Gitlab};
use crate::http_client;
use crate::paths::remote::api::{Answer, Api, NoAnswer};
use crate::paths::remote::correlation::names;
use crate::paths::remote::gitlab::Pipeline;
use crate::paths::remote::reading::{read, seen};
use crate::paths::remote::{Asked, Cancelled, Found, Look, Remote};

/// How far GitLab's clock and ours may differ: pipelines that changed this long before the attempt are looked at too.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// How many pipelines are listed: far more than are created by the API on one branch within a minute, and each is
/// one request more.
const LISTED_PIPELINES: &str = "20";

/// One attempt, with all that it needs.
pub(crate) struct Creation<'a> {
    settings: &'a Gitlab,
    api: Api,
    order: &'a Order,
}

#[derive(Deserialize)]
struct PipelineVariable {
    key: String,
    #[serde(default)]
    value: Option<String>,
}

impl<'a> Creation<'a> {
    pub(super) fn new(settings: &'a Gitlab, order: &'a Order) -> Result<Self, String> {
        Ok(Self { settings, api: settings.project.api()?, order })
    }

    async fn get(&self, tail: &[&str]) -> Result<Answer, NoAnswer> {
        self.api.send(self.api.client().get(self.settings.project.url(tail))).await
    }

    fn branch(&self) -> &str {
        self.order.run.first().map_or("", String::as_str)
    }

    /// The variables of the pipeline, the attempt's id among them.
    fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let values = self.order.run.iter().skip(1).map(String::as_str);
        let named = self.settings.variables.iter().map(String::as_str).zip(values);
        named.chain([(ATTEMPT_VARIABLE, self.order.attempt.as_str())])
    }

    /// The one request that must not be repeated when it may have arrived.
    async fn create(&self) -> Result<Answer, NoAnswer> {
        let project = &self.settings.project;
        let Some(file) = &self.settings.trigger_token_file else {
            let variables: Vec<_> = self.variables().map(|(key, value)| json!({"key": key, "value": value})).collect();
            let body = json!({"ref": self.branch(), "variables": variables});
            return self.api.send(self.api.client().post(project.url(&["pipeline"])).json(&body)).await;
        };
        let token = http_client::secret("trigger token file", file).await;
        let token = token.map_err(|error| NoAnswer::NoSecret(error.to_string()))?;
        let variables: Map<String, Value> = self.variables().map(|(key, value)| (key.into(), value.into())).collect();
        let body = json!({"token": token.expose_secret(), "ref": self.branch(), "variables": variables});
        // With a token in a header, GitLab would judge the request by that one alone.
        let api = self.api.without_token();
        api.send(api.client().post(project.url(&["trigger", "pipeline"])).json(&body)).await
    }

    /// What somebody should look at when creating the pipeline was refused.
    fn check(&self, status: StatusCode) -> String {
        let Gitlab { project, trigger_token_file, .. } = self.settings;
        let branch = self.branch();
        if let Some(file) = trigger_token_file.as_deref().map(std::path::Path::display) {
            return match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                    format!(
                        "that the trigger token in {file} is of {project}, and that its owner may run pipelines of {branch}"
                    )
                }
                _ => format!("that {branch} has a pipeline for the source `trigger`, which may be given variables"),
            };
        }
        let file = project.token_file().display();
        match status {
            StatusCode::UNAUTHORIZED => format!("that the token in {file} is valid and has not expired"),
            StatusCode::FORBIDDEN => {
                format!("that the token in {file} has the scope api and may run pipelines of {project}")
            }
            StatusCode::NOT_FOUND => format!("that {project} exists, and that the token in {file} may see it"),
            _ => format!("that {branch} has a pipeline for the source `api`, which may be given variables"),
        }
    }

    /// The newest pipelines that were created this way on this branch or tag and changed since then.
    async fn candidates(&self) -> Result<Answer, NoAnswer> {
        // A ref may be written in full; pipelines name the branch or tag alone.
        let branch = self.branch();
        let branch = branch.strip_prefix("refs/heads/").or_else(|| branch.strip_prefix("refs/tags/")).unwrap_or(branch);
        let since = (self.order.started_at - CLOCK_DIFFERENCE).to_string();
        let source = if self.settings.trigger_token_file.is_some() { "trigger" } else { "api" };
        let request = self.api.client().get(self.settings.project.url(&["pipelines"])).query(&[
            ("ref", branch),
            ("source", source),
            ("updated_after", &since),
            ("order_by", "id"),
            ("sort", "desc"),
            ("per_page", LISTED_PIPELINES),
        ]);
        self.api.send(request).await
    }

    async fn search(&self) -> Result<Found, String> {
        let candidates: Vec<Pipeline> = self.candidates().await.map_err(NoAnswer::why)?.json()?;
        let attempt = self.order.attempt.as_str();
        let named = |each: &&Pipeline| each.name.as_deref().is_some_and(|name| names(name, attempt));
        if let Some(found) = candidates.iter().find(named) {
            return Ok(Found::It(found.id.to_string()));
        }
        for candidate in candidates {
            let answer = self.get(&["pipelines", &candidate.id.to_string(), "variables"]).await;
            let variables: Vec<PipelineVariable> = answer.map_err(NoAnswer::why)?.json()?;
            if variables.iter().any(|each| each.key == ATTEMPT_VARIABLE && each.value.as_deref() == Some(attempt)) {
                return Ok(Found::It(candidate.id.to_string()));
            }
        }
        Ok(Found::NotYet)
    }
}

impl Remote for Creation<'_> {
    const NAME: &'static str = "GitLab";
    const WHAT: &'static str = "pipeline";

    fn poll_interval(&self) -> Duration {
        self.settings.poll_interval
    }

    async fn preflight(&mut self) -> Result<(), Asked> {
        if let Some(file) = &self.settings.trigger_token_file {
            // What it is good for, only its use would tell.
            let token = http_client::secret("trigger token file", file).await;
            token.map_err(|error| Asked::Refused(error.to_string()))?;
        }
        let check = |status: StatusCode| {
            let (project, file) = (&self.settings.project, self.settings.project.token_file().display());
            match status {
                StatusCode::UNAUTHORIZED => format!("that the token in {file} is valid and has not expired"),
                _ => format!("that {project} exists, and that the token in {file} may see its pipelines"),
            }
        };
        read(self.candidates().await, check).map(drop)
    }

    async fn ask(&mut self) -> Asked {
        match self.create().await {
            Ok(answer) => {
                answer.refusal(&self.check(answer.status)).unwrap_or_else(|| match answer.json::<Pipeline>() {
                    Ok(created) => Asked::Accepted(created.id.to_string()),
                    Err(why) => Asked::Perhaps(format!("the pipeline was accepted without telling its id ({why})")),
                })
            }
            Err(no_answer) => no_answer.asked(),
        }
    }

    async fn find(&mut self) -> Found {
        self.search().await.unwrap_or_else(Found::Unanswered)
    }

    async fn look(&mut self, handle: &str) -> Look {
        let Ok(id) = handle.parse::<u64>() else { return Look::Refused("that is no pipeline's id".to_owned()) };
        let shown = seen(self.get(&["pipelines", &id.to_string()]).await);
        shown.map_or_else(|look| look, |shown: Pipeline| shown.look())
    }

    async fn cancel(&mut self, handle: &str) -> Cancelled {
        let Ok(id) = handle.parse::<u64>() else { return Cancelled::Impossible };
        let url = self.settings.project.url(&["pipelines", &id.to_string(), "cancel"]);
        let taken = self.api.send(self.api.client().post(url)).await.is_ok_and(|answer| answer.status.is_success());
        if taken { Cancelled::Taken } else { Cancelled::NotTaken }
    }

    fn hint(&self) -> String {
        format!("where the token may not read variables, `workflow: name` must show ${ATTEMPT_VARIABLE}")
    }
}
