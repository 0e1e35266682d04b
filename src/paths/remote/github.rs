//! One repository at GitHub, as every path that asks for it there needs it: where it is, and with whose token.
//!
//! Never sends a token anywhere but to `api_url`, and never repeats a request by itself.
//!
//! Source: GitHub's published OpenAPI description (`api.github.com`, version 2022-11-28).

mod app;
pub(crate) mod run;

use std::fmt;
use std::path::PathBuf;

use reqwest::header::ACCEPT;
use reqwest::{RequestBuilder, Url};
use rollbackd_core::config::node::{self, Fields, Node, Problems};
use secrecy::{ExposeSecret, SecretString};

use self::app::{App, AppToken};
use super::api::{Answer, Api, NoAnswer, REQUEST_TIMEOUT};
use super::secret_file::secret_file;
use crate::http_client::HttpSettings;
use crate::paths::ready::Ready;

/// GitHub's own API.
const API_URL: &str = "https://api.github.com";

/// The version of the API whose answers are understood, see GitHub's REST API description.
const API_VERSION: &str = "2022-11-28";

/// A repository, and who asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    /// Without a slash at its end.
    api_url: String,
    owner: String,
    name: String,
    api_version: String,
    access: Access,
}

/// Who vouches for us.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Access {
    /// Somebody who keeps a token in this file.
    TokenFile(PathBuf),
    /// An app that is installed there: tokens are issued to it.
    App(App),
}

/// What a token may do to the repository's workflows: no more is asked for than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actions {
    /// Look at runs.
    Read,
    /// Start and cancel runs as well.
    Write,
}

impl Actions {
    const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl Repository {
    /// Reads `repo`, `api_url`, `api_version`, and either `token_file` or `app` out of a mapping that may have more keys.
    pub(crate) fn decode(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Self> {
        let api_url = fields.optional("api_url").map_or(Some(API_URL.to_owned()), |at| api_url(at, problems));
        let repo = fields.required("repo", problems).and_then(|at| repo(at, problems));
        let api_version =
            fields.optional("api_version").map_or(Some(API_VERSION.to_owned()), |at| api_version(at, problems));
        let access = Access::decode(fields, problems);
        let (owner, name) = repo?;
        Some(Self { api_url: api_url?, owner, name, api_version: api_version?, access: access? })
    }

    /// Whose token it is, for sentences about what to check.
    pub(crate) fn token(&self) -> String {
        match &self.access {
            Access::TokenFile(file) => format!("the token in {}", file.display()),
            Access::App(app) => app.to_string(),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.owner, self.name)
    }
}

impl Access {
    fn decode(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Self> {
        match (fields.optional("token_file"), fields.optional("app")) {
            (Some(at), None) => secret_file(at, "the token", problems).map(Self::TokenFile),
            (None, Some(at)) => App::decode(at, problems).map(Self::App),
            (Some(_), Some(at)) => {
                problems.error(at.place, "expected `token_file` or `app`, not both");
                None
            }
            (None, None) => {
                let what = fields.what();
                problems.error(fields.place, format!("{what} has no `token_file` and no `app`: expected one of them"));
                None
            }
        }
    }
}

fn api_url(at: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(at, problems)?;
    let safe = Url::parse(written).is_ok_and(|url| {
        let local = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        let plain =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        plain && (url.scheme() == "https" || (url.scheme() == "http" && local))
    });
    if !safe {
        // Not shown: it could hold a password.
        let message = "expected an https URL without user, query or fragment (http only for this machine), such as";
        problems.error_about_secret(at.place, format!("{message} {API_URL} or https://HOST/api/v3"));
        return None;
    }
    Some(written.trim_end_matches('/').to_owned())
}

fn repo(at: &Node, problems: &mut Problems) -> Option<(String, String)> {
    let written = node::text(at, problems)?;
    let found = written.split_once('/').filter(|(owner, name)| is_segment(owner) && is_segment(name));
    if found.is_none() {
        problems.error(at.place, format!("expected a repository as owner/name, not {written:?}"));
    }
    found.map(|(owner, name)| (owner.to_owned(), name.to_owned()))
}

fn api_version(at: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(at, problems)?;
    if !is_segment(written) {
        problems.error(at.place, format!("expected a version of GitHub's API, such as {API_VERSION}, not {written:?}"));
    }
    is_segment(written).then(|| written.to_owned())
}

/// A workflow's file name.
pub(crate) fn workflow(at: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(at, problems)?;
    if !is_segment(written) {
        problems.error(at.place, format!("expected the workflow's file name, such as deploy.yml, not {written:?}"));
    }
    is_segment(written).then(|| written.to_owned())
}

/// Whether the text is one segment of a URL's path and needs no quoting there.
fn is_segment(text: &str) -> bool {
    let allowed = |each: char| each.is_ascii_alphanumeric() || matches!(each, '.' | '_' | '-');
    !text.is_empty() && text != "." && text != ".." && text.chars().all(allowed)
}

/// One attempt's way to ask for the repository.
pub(crate) struct RepositoryApi<'a> {
    repository: &'a Repository,
    api: Api,
    /// `None` where the token is in a file.
    app: Option<AppToken<'a>>,
}

impl<'a> RepositoryApi<'a> {
    /// Gets ready; nothing is asked for yet.
    pub(crate) fn new(repository: &'a Repository, actions: Actions, ready: Option<&'a Ready>) -> Result<Self, String> {
        let mut http = HttpSettings::with_timeout(REQUEST_TIMEOUT);
        let app = match &repository.access {
            Access::TokenFile(file) => {
                http.bearer_token_file = Some(file.clone());
                None
            }
            Access::App(app) => Some(AppToken::new(app, actions, ready)),
        };
        Ok(Self { repository, api: Api::new("GitHub", &http)?, app })
    }

    /// A `GET` below the repository's own URL; `tail` is of checked segments, without a slash before it.
    pub(crate) fn get(&self, tail: &str) -> RequestBuilder {
        self.api.client().get(self.url(tail))
    }

    /// A `POST` there.
    pub(crate) fn post(&self, tail: &str) -> RequestBuilder {
        self.api.client().post(self.url(tail))
    }

    fn url(&self, tail: &str) -> String {
        let Repository { api_url, owner, name, .. } = self.repository;
        format!("{api_url}/repos/{owner}/{name}/{tail}")
    }

    /// Sends a request once, with a token of its own where the settings have none.
    pub(crate) async fn send(&mut self, request: RequestBuilder) -> Result<Answer, NoAnswer> {
        let request = match &mut self.app {
            Some(app) => {
                let token: SecretString = app.token(&self.api, self.repository).await?;
                request.bearer_auth(token.expose_secret())
            }
            None => request,
        };
        let answer = self.api.send(versioned(request, &self.repository.api_version)).await?;
        if let (reqwest::StatusCode::UNAUTHORIZED, Some(app)) = (answer.status, &mut self.app) {
            app.forget();
        }
        Ok(answer)
    }
}

fn versioned(request: RequestBuilder, api_version: &str) -> RequestBuilder {
    request.header(ACCEPT, "application/vnd.github+json").header("x-github-api-version", api_version)
}
