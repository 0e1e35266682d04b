//! Where AWS credentials come from: a file that the config names, or what AWS gives to a program that runs there.
//!
//! Never takes one out of the config, never shows one, and asks no address but this machine's, the link-local ones of AWS
//! and STS.
//!
//! Source: AWS, "SDKs and Tools Reference Guide: standardized credential providers" (their order and their variables).

mod file;
mod metadata;
mod web_identity;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use rollbackd_core::time::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;

use crate::http_client::Error;

/// How long before their end temporary credentials are replaced: AWS has new ones five minutes before.
const RENEWED_BEFORE: Duration = Duration::from_secs(120);

/// What a program at AWS is told in its environment.
pub(super) type Environment<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

/// Credentials, as a request is signed with them.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) key_id: String,
    pub(super) secret_key: SecretString,
    /// Of temporary ones.
    pub(super) token: Option<SecretString>,
    expires_at: Option<Timestamp>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Credentials that don't end by themselves.
    pub(super) fn fixed(key_id: &str, secret_key: &str) -> Self {
        Self { key_id: key_id.to_owned(), secret_key: secret_key.into(), token: None, expires_at: None }
    }

    pub(super) fn with_token(self, token: Option<String>) -> Self {
        Self { token: token.map(SecretString::from), ..self }
    }

    /// Whether they can be used for a while yet.
    pub(super) fn last(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| end > now + RENEWED_BEFORE)
    }
}

/// What the metadata services and STS answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Temporary {
    access_key_id: String,
    secret_access_key: String,
    #[serde(alias = "SessionToken")]
    token: String,
    expiration: Timestamp,
}

impl From<Temporary> for Credentials {
    fn from(given: Temporary) -> Self {
        let fixed = Self::fixed(&given.access_key_id, &given.secret_access_key).with_token(Some(given.token));
        Self { expires_at: Some(given.expiration), ..fixed }
    }
}

/// What the config says of credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// The only file to look into; without it the usual places are.
    pub(super) file: Option<PathBuf>,
    /// The section of the file.
    pub(super) profile: Option<String>,
}

impl Chain {
    /// The first credentials that there are. Why there are none: a source that is set up and fails ends the search, so
    /// that nothing is ever done with other rights than was meant.
    pub(super) async fn fetch(&self, region: &str, environment: Environment<'_>) -> Result<Credentials, String> {
        if let Some(file) = &self.file {
            let profile = self.profile.as_deref().unwrap_or(file::DEFAULT_PROFILE);
            return file::read(file, profile).await?.ok_or_else(|| file::no_profile(file, profile));
        }
        if let Some(found) = of_environment(environment)? {
            return Ok(found);
        }
        if let Some(role) = web_identity::Role::of(environment, region)? {
            return role.assume().await;
        }
        if let Some(found) = self.usual_file(environment).await? {
            return Ok(found);
        }
        match metadata::of_container(environment).await? {
            Some(found) => Ok(found),
            None => metadata::of_instance(environment).await,
        }
    }

    /// Those of `~/.aws/credentials`, or of the file that the environment names.
    async fn usual_file(&self, environment: Environment<'_>) -> Result<Option<Credentials>, String> {
        let home = || Some(PathBuf::from(environment("HOME")?).join(".aws/credentials"));
        let named = environment("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
        let Some(file) = named.or_else(home) else { return Ok(None) };
        let asked = self.profile.clone().or_else(|| environment("AWS_PROFILE"));
        let profile = asked.as_deref().unwrap_or(file::DEFAULT_PROFILE);
        let exists = tokio::fs::try_exists(&file).await.unwrap_or(false);
        let found = if exists { file::read(&file, profile).await? } else { None };
        match (found, asked) {
            (None, Some(asked)) => Err(file::no_profile(&file, &asked)),
            (found, _) => Ok(found),
        }
    }
}

fn of_environment(environment: Environment<'_>) -> Result<Option<Credentials>, String> {
    let Some(key_id) = environment("AWS_ACCESS_KEY_ID") else { return Ok(None) };
    let Some(secret_key) = environment("AWS_SECRET_ACCESS_KEY") else {
        return Err("the environment has AWS_ACCESS_KEY_ID and no AWS_SECRET_ACCESS_KEY".to_owned());
    };
    Ok(Some(Credentials::fixed(&key_id, &secret_key).with_token(environment("AWS_SESSION_TOKEN"))))
}

/// An address out of the environment, which is not shown: it may hold a token.
fn address(variable: &str, text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| format!("{variable} holds no http or https URL"))
}

fn said(error: &Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests;
