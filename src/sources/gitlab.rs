//! GitLab's webhooks for deployments and pipelines.
//!
//! Never parses a body before its sender is proven, never goes by a header that nobody signs, and never takes our own
//! rollback's pipeline for a deploy. Fields as in GitLab's documentation, "Webhook events", and in its
//! `lib/gitlab/data_builder`.

mod deployment;
mod pipeline;

use std::path::{Path, PathBuf};

use axum::http::HeaderMap;
use rollbackd_core::config::Config;
use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::time::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use self::deployment::Deployment;
use self::pipeline::Pipeline;
use super::standard_webhooks::{self, Signed};
use super::{Denied, Translated, Untold, mapping};
use crate::http_client;

const TOKEN: &str = "x-gitlab-token";

/// The kind of a path whose rollbacks GitLab tells of as deployments.
const PATH_KIND: &str = "gitlab";

/// What the config says of GitLab's webhooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitLab {
    secret_file: Option<PathBuf>,
    signing_token_file: Option<PathBuf>,
    path_user: Option<String>,
    deployments: Vec<Deployment>,
    pipelines: Vec<Pipeline>,
}

/// What a request says to prove who sent it.
#[derive(Debug)]
pub struct Proof(By);

/// How it is proven. A token is kept as its hash, so that tokens of every length are compared alike.
#[derive(Debug)]
enum By {
    Token([u8; 32]),
    Signature(Signed),
}

#[derive(Deserialize)]
struct Kind {
    object_kind: Option<String>,
}

/// The project of an event.
#[derive(Deserialize)]
struct Project {
    path_with_namespace: String,
    default_branch: Option<String>,
}

impl GitLab {
    /// Reads `secret_file`, `signing_token_file`, `path_user`, `deployments` and `pipelines`.
    pub fn decode(node: &Node, config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`gitlab`", problems)?;
        let secret_file = fields.optional("secret_file").and_then(|node| mapping::secret_file(node, problems));
        let signing = fields.optional("signing_token_file");
        let signing_token_file = signing.and_then(|node| mapping::secret_file(node, problems));
        if !fields.has("secret_file") && !fields.has("signing_token_file") {
            problems
                .error(node.place, "`gitlab` has no `signing_token_file` and no `secret_file`: expected one of them");
        }
        let path_user = fields.optional("path_user").and_then(|node| mapping::name(node, problems));
        let deployments = fields.optional("deployments").map(|node| node::list(node, "deployments", problems));
        let pipelines = fields.optional("pipelines").map(|node| node::list(node, "pipelines", problems));
        if deployments.is_none() && pipelines.is_none() {
            problems.error(node.place, "`gitlab` says of no `deployments` and no `pipelines` whose they are");
        }
        fields.finish(problems);
        let (deployments, pipelines) = (deployments.unwrap_or_default(), pipelines.unwrap_or_default());
        let decode = |node| Deployment::decode(node, config, path_user.as_deref(), problems);
        let deployments = deployments.iter().filter_map(decode).collect();
        let pipelines = pipelines.iter().filter_map(|node| Pipeline::decode(node, config, problems)).collect();
        Some(Self { secret_file, signing_token_file, path_user, deployments, pipelines })
    }

    /// What proves a request, before its body is read. One that says that it is signed must be: where a signing token is
    /// configured, it is never believed for its `X-Gitlab-Token`, which is sent in the clear.
    ///
    /// # Errors
    /// There is nothing, or it is none.
    pub fn proof(&self, headers: &HeaderMap) -> Result<Proof, Denied> {
        let signed = self.signing_token_file.is_some()
            && (self.secret_file.is_none() || standard_webhooks::says_signed(headers));
        if signed {
            return Signed::of(headers).map(|signed| Proof(By::Signature(signed)));
        }
        let sent: Vec<_> = headers.get_all(TOKEN).iter().collect();
        match sent.as_slice() {
            [token] => Ok(Proof(By::Token(Sha256::digest(token.as_bytes()).into()))),
            _ => Err(Denied::NotProven("expected one header `X-Gitlab-Token`: give the webhook a secret token")),
        }
    }

    /// Whether the body is its sender's. Reads the secret now, so that a new one counts at once.
    ///
    /// # Errors
    /// It is not, or the secret can't be read.
    pub async fn prove(&self, proof: Proof, body: &[u8], now: Timestamp) -> Result<(), Denied> {
        match (proof.0, &self.signing_token_file, &self.secret_file) {
            (By::Signature(signed), Some(file), _) => signed.verify(&signing_key(file).await?, body, now),
            (By::Token(sent), _, Some(file)) => {
                let secret = http_client::secret("webhook secret file", file).await.map_err(Denied::NoSecret)?;
                verify(&secret, sent)
            }
            // What is proven in another way than the config asks for, which a reload may have changed meanwhile.
            (By::Signature(_), None, _) | (By::Token(_), _, None) => {
                Err(Denied::NotProven("the config asks for another proof than this event has"))
            }
        }
    }

    /// What an event means, of the kind that its body says.
    ///
    /// # Errors
    /// It means nothing here, or can't be used.
    pub fn translate(&self, body: &[u8]) -> Translated {
        let Kind { object_kind } = super::read(body)?;
        match object_kind.as_deref() {
            Some("deployment") => deployment::translate(&self.deployments, self.path_user.as_deref(), body),
            Some("pipeline") => pipeline::translate(&self.pipelines, body),
            Some(_) | None => {
                Err(Untold::Unconcerned("only deployment events and pipeline events are of interest".to_owned()))
            }
        }
    }
}

async fn signing_key(file: &Path) -> Result<aws_lc_rs::hmac::Key, Denied> {
    let what = "webhook signing token file";
    let secret = http_client::secret(what, file).await.map_err(Denied::NoSecret)?;
    let expected = "`whsec_` and the base64 of a key, as GitLab shows it";
    let unusable = || Denied::NoSecret(http_client::Error::Contents { what, file: file.to_owned(), expected });
    standard_webhooks::key(&secret).ok_or_else(unusable)
}

/// Compares in a time that says nothing about the secret.
fn verify(secret: &SecretString, sent: [u8; 32]) -> Result<(), Denied> {
    let right: [u8; 32] = Sha256::digest(secret.expose_secret()).into();
    let wrong = "the header `X-Gitlab-Token` is not the secret of the config: compare the two";
    if bool::from(right.as_slice().ct_eq(sent.as_slice())) { Ok(()) } else { Err(Denied::NotProven(wrong)) }
}

/// An instant as GitLab's events have it: `2021-04-28 21:50:00 +0200`, `2016-08-12 15:23:28 UTC`, or RFC 3339.
fn instant(text: &str) -> Result<Timestamp, Untold> {
    let parts: Vec<&str> = text.split(' ').collect();
    let rewritten = match parts.as_slice() {
        [day, time, "UTC"] => format!("{day}T{time}Z"),
        [day, time, offset] => format!("{day}T{time}{offset}"),
        _ => text.to_owned(),
    };
    let unusable = |_| Untold::Unusable(format!("{text:?} is no instant as GitLab writes them"));
    rewritten.parse().map_err(unusable)
}

#[cfg(test)]
mod tests;
