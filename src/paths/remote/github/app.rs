//! A GitHub App's token for one repository: asked for with a claim that the app's private key signs, kept until it ends.
//!
//! Never asks for more than the repository and what the path does there, and never shows a key, a claim or a token.
//!
//! Source: GitHub, "Generating a JSON Web Token (JWT) for a GitHub App", "Generating an installation access token for a
//! GitHub App", and `apps/create-installation-access-token` of its OpenAPI description.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::{Actions, Repository, versioned};
use crate::clock::now;
use crate::http_client;
use crate::paths::ready::Ready;
use crate::paths::remote::api::{Answer, Api, NoAnswer};
use crate::paths::remote::secret_file::secret_file;
use crate::paths::remote::short_lived::ShortLived;
use crate::paths::remote::signed;

/// How far GitHub's clock and ours may differ: a claim of the future is refused, so each says it was made this long ago.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// How long a claim is valid: it is used at once. GitHub refuses ten minutes and more.
const CLAIM_LASTS: Duration = Duration::from_secs(300);

/// How long a token of an installation may be used. Counted by our clock too, which may be behind GitHub's.
const TOKEN_LASTS: Duration = Duration::from_secs(3600);

/// By what name a token is kept for the attempt after a pre-flight.
const TOKEN: &str = "the token of a GitHub App";

/// An app's installation. Holds the name of the file with the key, never the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct App {
    /// Its client id, or its number.
    id: String,
    installation: u64,
    private_key_file: PathBuf,
}

/// One attempt's token, asked for when it is needed.
pub(super) struct AppToken<'a> {
    app: &'a App,
    actions: Actions,
    kept: Option<ShortLived>,
    ready: Option<&'a Ready>,
}

#[derive(Deserialize)]
struct Issued {
    token: SecretString,
    #[serde(default)]
    expires_at: Option<String>,
}

impl App {
    /// Reads `app`.
    pub(super) fn decode(at: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(at, "`app`", problems)?;
        let id = fields.required("app_id", problems).and_then(|at| id(at, problems));
        let installation = fields.required("installation_id", problems).and_then(|at| installation(at, problems));
        let file = fields.required("private_key_file", problems);
        let file = file.and_then(|at| secret_file(at, "the app's private key", problems));
        fields.finish(problems);
        Some(Self { id: id?, installation: installation?, private_key_file: file? })
    }

    /// What shows GitHub that the app asks (RFC 7519).
    async fn claim(&self) -> Result<SecretString, NoAnswer> {
        let file = &self.private_key_file;
        let key = http_client::secret("private key file", file).await;
        let key = key.map_err(|error| NoAnswer::NoSecret(error.to_string()))?;
        let seconds = |at: Timestamp| at.milliseconds() / 1000;
        let claims = json!({
            "iss": self.id, "iat": seconds(now() - CLOCK_DIFFERENCE), "exp": seconds(now() + CLAIM_LASTS),
        });
        let unusable = |why| format!("the private key file {} can't be used: {why}", file.display());
        signed::sign(&key, None, &claims).map_err(|why| NoAnswer::NoSecret(unusable(why)))
    }
}

impl fmt::Display for App {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the app {} with its installation {}", self.id, self.installation)
    }
}

fn id(at: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(at, problems)?;
    let is_id = !written.is_empty() && written.chars().all(|each| each.is_ascii_alphanumeric() || each == '.');
    if !is_id {
        problems.error(at.place, "expected the app's client id, such as Iv23liABCDEFGH, or its number");
    }
    is_id.then(|| written.to_owned())
}

fn installation(at: &Node, problems: &mut Problems) -> Option<u64> {
    let found = node::text(at, problems)?.parse().ok();
    if found.is_none() {
        let message = "expected the installation's number, the last part of its settings' URL at GitHub";
        problems.error(at.place, message);
    }
    found
}

impl<'a> AppToken<'a> {
    pub(super) fn new(app: &'a App, actions: Actions, ready: Option<&'a Ready>) -> Self {
        Self { app, actions, kept: ready.and_then(|ready| ready.get(TOKEN)), ready }
    }

    /// The token for a request that is sent now. Whatever goes wrong here, that request was not sent.
    pub(super) async fn token(&mut self, api: &Api, repository: &Repository) -> Result<SecretString, NoAnswer> {
        if let Some(token) = self.kept.as_ref().and_then(|kept| kept.at(now())) {
            return Ok(token.clone());
        }
        let asked_at = now();
        let claim = self.app.claim().await?;
        let url = format!("{}/app/installations/{}/access_tokens", repository.api_url, self.app.installation);
        let narrowed = json!({"repositories": [repository.name], "permissions": {"actions": self.actions.word()}});
        let request = api.client().post(url).bearer_auth(claim.expose_secret()).json(&narrowed);
        let answer = api.send(versioned(request, &repository.api_version)).await;
        let issued = self.issued(answer, repository)?;
        let ends_at = issued.expires_at.and_then(|told| told.parse().ok()).unwrap_or(asked_at);
        let kept = ShortLived::new(issued.token.clone(), ends_at.min(asked_at + TOKEN_LASTS));
        if let Some(ready) = self.ready {
            ready.keep(TOKEN, &kept);
        }
        self.kept = Some(kept);
        Ok(issued.token)
    }

    /// The token was refused: the next request is sent with a new one.
    pub(super) fn forget(&mut self) {
        self.kept = None;
    }

    fn issued(&self, answer: Result<Answer, NoAnswer>, repository: &Repository) -> Result<Issued, NoAnswer> {
        let no_token = |why: &str| format!("there is no token for {}: {why}", self.app);
        let answer = answer.map_err(|no_answer| NoAnswer::NotSent(no_token(&no_answer.why())))?;
        if let Some(wait) = answer.wait(now()) {
            return Err(NoAnswer::Limited(wait, no_token(&answer.complaint())));
        }
        if answer.status.is_success() {
            let unreadable = |_| NoAnswer::NotSent(no_token("the answer with it is not as expected"));
            return answer.json().map_err(unreadable);
        }
        let why = no_token(&answer.complaint());
        if answer.status.is_server_error() || answer.status.as_u16() == 408 {
            return Err(NoAnswer::NotSent(why));
        }
        let key = self.app.private_key_file.display();
        let check = match answer.status.as_u16() {
            401 => format!("that the key in {key} is the app's and was not deleted, and this machine's clock"),
            403 => "that the installation is not suspended".to_owned(),
            404 => "`installation_id`, and that it is an installation of this app".to_owned(),
            _ => format!("that the app is installed for {repository} and may {} its Actions", self.actions.word()),
        };
        Err(NoAnswer::NoSecret(format!("{why}; check {check}")))
    }
}
