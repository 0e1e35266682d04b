//! GitHub: the deployment of a version that was rolled back gets the status `failure` (REST API, "Deployment statuses").
//!
//! Never creates a deployment: that of the restored version would come back as a deploy event, and could be watched.

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::name::Commit;
use serde::Serialize;
use serde_json::Value;

use super::{Adapter, Announcement, DEFAULT_TIMEOUT, Failure, Sending, asked, firing_url, later, post, within};
use crate::delivery::OWN_STATUS;
use crate::http_client::{Endpoint, HttpSettings};
use crate::outside::Pending;

/// GitHub's own API.
const API_URL: &str = "https://api.github.com";

/// The version of the API whose answers are understood, see GitHub's REST API description.
const API_VERSION: &str = "2022-11-28";

/// A longer description is refused.
const LONGEST_DESCRIPTION: usize = 140;

/// One environment of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Github {
    api: Endpoint,
    owner: String,
    repo: String,
    environment: String,
    http: HttpSettings,
}

#[derive(Serialize)]
struct Status<'a> {
    state: &'static str,
    description: String,
    environment: &'a str,
    /// No other deployment is marked inactive: one of them is the restored version's.
    auto_inactive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_url: Option<String>,
}

impl Github {
    /// Reads `api_url`, `repo`, `environment`, and the keys of [`HttpSettings`].
    pub(super) fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`github`", problems)?;
        let api = match fields.optional("api_url") {
            Some(node) => Endpoint::decode(node, problems),
            None => Endpoint::parse(API_URL).ok(),
        };
        let repo = fields.required("repo", problems).and_then(|node| repo(node, problems));
        let environment = fields.required("environment", problems).and_then(|node| node::text(node, problems));
        let http = HttpSettings::decode(&mut fields, problems, DEFAULT_TIMEOUT);
        fields.finish(problems);
        let (owner, repo) = repo?;
        Some(Self { api: api?, owner, repo, environment: environment?.to_owned(), http })
    }

    async fn mark(&self, announcement: &Announcement, with: Sending<'_>) -> Result<(), Failure> {
        let Some(commit) = of_a_recovered(announcement) else { return Ok(()) };
        let sought = [("sha", commit.as_str()), ("environment", &self.environment), ("per_page", "1")];
        // The newest comes first.
        let Some(deployment) = self.newest(&["deployments"], &sought, with).await? else { return Ok(()) };
        let Some(id) = deployment["id"].as_u64().map(|id| id.to_string()) else {
            return Err(later(format!("{}: a deployment without an id", self.api)));
        };
        let statuses = ["deployments", &id, "statuses"];
        let newest = self.newest(&statuses, &[("per_page", "1")], with).await?;
        let status = self.status(announcement, with.external_url);
        // The same firing says the same in each try.
        let is_ours = |newest: Value| newest["description"] == status.description;
        if newest.is_some_and(is_ours) {
            return Ok(());
        }
        let request = with.http.post(self.below(&statuses)).json(&status);
        post(&self.http, versioned(request), &self.api.to_string(), with.now).await
    }

    async fn newest(&self, path: &[&str], query: &[(&str, &str)], with: Sending<'_>) -> Result<Option<Value>, Failure> {
        let request = versioned(with.http.get(self.below(path)).query(query));
        match asked(&self.http, request, &self.api.to_string(), with.now).await? {
            Value::Array(found) => Ok(found.into_iter().next()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                Err(later(format!("{}: the answer is no list", self.api)))
            }
        }
    }

    fn below(&self, path: &[&str]) -> reqwest::Url {
        let repo = ["repos", self.owner.as_str(), self.repo.as_str()];
        self.api.under(&[repo.as_slice(), path].concat())
    }

    fn status(&self, announcement: &Announcement, external_url: Option<&str>) -> Status<'_> {
        let to = announcement.target.as_ref().map(|target| format!(" to {target}")).unwrap_or_default();
        // The firing early, so that no cut takes it away.
        let Announcement { firing, trigger, .. } = announcement;
        let description = format!("{OWN_STATUS}{firing}: rolled back{to} after {trigger}");
        Status {
            state: "failure",
            description: within(&description, LONGEST_DESCRIPTION),
            environment: &self.environment,
            auto_inactive: false,
            log_url: firing_url(external_url, &announcement.firing),
        }
    }
}

impl Adapter for Github {
    fn settings(&self) -> &HttpSettings {
        &self.http
    }

    fn has_news(&self, announcement: &Announcement) -> bool {
        of_a_recovered(announcement).is_some()
    }

    fn tell<'a>(&'a self, announcement: &'a Announcement, with: Sending<'a>) -> Pending<'a, Result<(), Failure>> {
        Box::pin(self.mark(announcement, with))
    }
}

/// The commit whose deployment was rolled back.
fn of_a_recovered(announcement: &Announcement) -> Option<&Commit> {
    announcement.commit.as_ref().filter(|_| announcement.ended.as_ref().is_some_and(|ended| ended.recovered))
}

fn versioned(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    request.header("accept", "application/vnd.github+json").header("x-github-api-version", API_VERSION)
}

fn repo(node: &Node, problems: &mut Problems) -> Option<(String, String)> {
    let text = node::text(node, problems)?;
    let is_segment = |text: &str| {
        let allowed = |each: char| each.is_ascii_alphanumeric() || matches!(each, '.' | '_' | '-');
        !matches!(text, "" | "." | "..") && text.chars().all(allowed)
    };
    let found = text.split_once('/').filter(|(owner, name)| is_segment(owner) && is_segment(name));
    if found.is_none() {
        problems.error(node.place, format!("expected a repository as owner/name, not {text:?}"));
    }
    found.map(|(owner, name)| (owner.to_owned(), name.to_owned()))
}
