//! A pager that is a POST of our own JSON: the receiver can be anything.
//!
//! Never shows the receiver's URL beyond the server's name: in many services the path is the secret.

use std::path::PathBuf;

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::page::{Page, PageReason};
use rollbackd_core::time::Timestamp;
use secrecy::ExposeSecret;
use serde::Serialize;

use super::{Adapter, DEFAULT_TIMEOUT, Failure, Sending, firing_url, not_sent, post};
use crate::http_client::{self, Endpoint, HttpSettings};
use crate::outside::Pending;

/// A receiver of our JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Webhook {
    to: To,
    http: HttpSettings,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum To {
    Url(Endpoint),
    /// For receivers whose URL is a secret; read at each try.
    UrlFile(PathBuf),
}

/// Version 1 of the body. Fields are added to it, never changed.
#[derive(Serialize)]
struct Body<'a> {
    version: &'static str,
    status: &'static str,
    dedup_key: &'a str,
    reason: &'a PageReason,
    summary: &'a str,
    details: &'a [String],
    service: &'a str,
    trigger: Option<&'a str>,
    firing: Option<&'a str>,
    deploy: Option<&'a str>,
    deployed_version: Option<&'a str>,
    opened_at: Timestamp,
    resolved_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Routes>,
}

/// What a human may answer, as URLs to POST to.
#[derive(Serialize)]
struct Routes {
    approve: String,
    dismiss: String,
    ack: String,
}

impl Webhook {
    /// Reads `url` or `url_file`, and the keys of [`HttpSettings`].
    pub(super) fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`webhook`", problems)?;
        let to = match (fields.optional("url"), fields.optional("url_file")) {
            (Some(url), None) => Endpoint::decode(url, problems).map(To::Url),
            (None, Some(file)) => node::text(file, problems).map(|file| To::UrlFile(PathBuf::from(file))),
            (Some(_), Some(_)) | (None, None) => {
                problems.error(node.place, "expected `webhook` to have a `url` or a `url_file`");
                None
            }
        };
        let http = HttpSettings::decode(&mut fields, problems, DEFAULT_TIMEOUT);
        fields.finish(problems);
        Some(Self { to: to?, http })
    }

    async fn endpoint(&self) -> Result<Endpoint, http_client::Error> {
        match &self.to {
            To::Url(endpoint) => Ok(endpoint.clone()),
            To::UrlFile(file) => {
                Endpoint::parse(http_client::secret("webhook's URL file", file).await?.expose_secret())
            }
        }
    }
}

impl Adapter for Webhook {
    fn settings(&self) -> &HttpSettings {
        &self.http
    }

    fn send<'a>(&'a self, page: &'a Page, with: Sending<'a>) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            let endpoint = self.endpoint().await.map_err(|error| not_sent(&error))?;
            let request = with.http.post(endpoint.url().clone());
            let request = request.header("Idempotency-Key", idempotency_key(page)).json(&body(page, with.external_url));
            post(&self.http, request, &endpoint.to_string(), with.now).await
        })
    }
}

/// The page's id. The word that it is over is another message, and must not be dropped as a repetition of the first.
fn idempotency_key(page: &Page) -> String {
    if page.resolved_at.is_some() { format!("{}-resolved", page.id) } else { page.id.to_string() }
}

fn body<'a>(page: &'a Page, external_url: Option<&str>) -> Body<'a> {
    Body {
        version: "1",
        status: if page.resolved_at.is_some() { "resolved" } else { "firing" },
        dedup_key: page.id.as_str(),
        reason: &page.reason,
        summary: &page.summary,
        details: &page.details,
        service: page.service.as_str(),
        trigger: page.trigger.as_ref().map(|trigger| trigger.as_str()),
        firing: page.firing.as_ref().map(|firing| firing.as_str()),
        deploy: page.deploy.as_ref().map(|deploy| deploy.as_str()),
        deployed_version: page.version.as_ref().map(|version| version.as_str()),
        opened_at: page.opened_at,
        resolved_at: page.resolved_at,
        answer: if page.resolved_at.is_some() { None } else { routes(page, external_url) },
    }
}

fn routes(page: &Page, external_url: Option<&str>) -> Option<Routes> {
    let route = |act| firing_url(external_url, page, act);
    Some(Routes { approve: route("/approve")?, dismiss: route("/dismiss")?, ack: route("/ack")? })
}
