//! A pager that is a POST of our own JSON, or of JSON as the config has it: the receiver can be anything.
//!
//! Never shows the receiver's URL beyond the server's name: in many services the path is the secret.

use rollbackd_core::config::node::{Fields, Node, Problems};
use rollbackd_core::page::{Page, PageReason};
use rollbackd_core::time::Timestamp;
use serde::Serialize;

use super::body::Body;
use super::{Adapter, DEFAULT_TIMEOUT, Failure, Sending, firing_url, not_sent, post, status};
use crate::http_client::{HttpSettings, To};
use crate::outside::Pending;

/// A receiver of JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Webhook {
    to: To,
    /// The config's own body; without it, [`Standard`].
    body: Option<Body>,
    /// The same for the word that a page is over; without it, as for the page.
    resolved_body: Option<Body>,
    http: HttpSettings,
}

/// Version 1 of the body. Fields are added to it, never changed.
#[derive(Serialize)]
struct Standard<'a> {
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
    /// Reads `body`, `resolved_body`, and the keys of [`To`] and of [`HttpSettings`].
    pub(super) fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`webhook`", problems)?;
        let to = To::decode(&mut fields, problems);
        let body = fields.optional("body").map(|node| Body::decode(node, problems));
        let resolved_body = fields.optional("resolved_body").map(|node| Body::decode(node, problems));
        if resolved_body.is_some() && body.is_none() {
            problems.error(fields.key_place("resolved_body"), "expected `resolved_body` together with a `body`");
        }
        let http = HttpSettings::decode(&mut fields, problems, DEFAULT_TIMEOUT);
        fields.finish(problems);
        Some(Self { to: to?, body: body.flatten(), resolved_body: resolved_body.flatten(), http })
    }

    /// The body that the config has for this page.
    fn own_body(&self, page: &Page) -> Option<&Body> {
        let over = self.resolved_body.as_ref().filter(|_| page.resolved_at.is_some());
        over.or(self.body.as_ref())
    }
}

impl Adapter for Webhook {
    fn settings(&self) -> &HttpSettings {
        &self.http
    }

    fn send<'a>(&'a self, page: &'a Page, with: Sending<'a>) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            let endpoint = self.to.endpoint().await.map_err(|error| not_sent(&error))?;
            let request = with.http.post(endpoint.url().clone());
            let request = request.header("Idempotency-Key", idempotency_key(page));
            let request = match self.own_body(page) {
                Some(body) => request.json(&body.render(page, with.external_url)),
                None => request.json(&standard(page, with.external_url)),
            };
            post(&self.http, request, &endpoint.to_string(), with.now).await
        })
    }
}

/// The page's id. The word that it is over is another message, and must not be dropped as a repetition of the first.
fn idempotency_key(page: &Page) -> String {
    if page.resolved_at.is_some() { format!("{}-resolved", page.id) } else { page.id.to_string() }
}

fn standard<'a>(page: &'a Page, external_url: Option<&str>) -> Standard<'a> {
    Standard {
        version: "1",
        status: status(page),
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
