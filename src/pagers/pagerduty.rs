//! PagerDuty's Events API v2: `POST /v2/enqueue` with `trigger`, `acknowledge` and `resolve`.
//!
//! Never takes another key for a page than its id: that is what makes a repetition, and its end, the same alert.

use std::path::PathBuf;

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::page::Page;
use rollbackd_core::time::Timestamp;
use secrecy::ExposeSecret;
use serde::Serialize;

use super::{Adapter, DEFAULT_TIMEOUT, Failure, Sending, firing_url, not_sent, post, within};
use crate::http_client::{self, Endpoint, HttpSettings};
use crate::outside::Pending;

/// Where accounts of the US region are served.
const USUAL_URL: &str = "https://events.pagerduty.com";

/// The route below it.
const ROUTE: &str = "/v2/enqueue";

/// What opens an alert, and alone says what it is about.
const TRIGGER: &str = "trigger";

/// The longest summary that is taken, in characters (Events API v2, "PD-CEF"); bytes are never fewer.
const LONGEST_SUMMARY: usize = 1024;

/// A page has a handful of details: all of them stay far below the 512 KB that an event may have.
const LONGEST_DETAIL: usize = 4096;

const SEVERITIES: &[(&str, &str)] =
    &[("critical", "critical"), ("error", "error"), ("warning", "warning"), ("info", "info")];

/// One integration of a PagerDuty service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PagerDuty {
    server: Endpoint,
    routing_key_file: PathBuf,
    severity: &'static str,
    http: HttpSettings,
}

/// Not to be shown: it holds the routing key.
#[derive(Serialize)]
struct Event<'a> {
    routing_key: &'a str,
    event_action: &'static str,
    dedup_key: &'a str,
    #[serde(flatten)]
    alert: Option<Alert<'a>>,
}

/// What a trigger says besides; the others need none of it.
#[derive(Serialize)]
struct Alert<'a> {
    client: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_url: Option<&'a str>,
    links: Vec<Link>,
    payload: Payload<'a>,
}

#[derive(Serialize)]
struct Link {
    href: String,
    text: &'static str,
}

#[derive(Serialize)]
struct Payload<'a> {
    summary: String,
    source: &'a str,
    severity: &'static str,
    timestamp: Timestamp,
    component: &'a str,
    class: &'static str,
    custom_details: Details<'a>,
}

#[derive(Serialize)]
struct Details<'a> {
    details: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    firing: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deploy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployed_version: Option<&'a str>,
}

impl PagerDuty {
    /// Reads `routing_key_file`, `severity`, `url`, and the keys of [`HttpSettings`].
    pub(super) fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`pagerduty`", problems)?;
        let file = fields.required("routing_key_file", problems).and_then(|node| node::text(node, problems));
        let severity = fields.optional("severity").map(|node| node::choice(node, SEVERITIES, problems));
        let server = match fields.optional("url") {
            Some(url) => server(url, problems),
            None => Endpoint::parse(USUAL_URL).ok(),
        };
        let http = HttpSettings::decode(&mut fields, problems, DEFAULT_TIMEOUT);
        fields.finish(problems);
        let severity = severity.unwrap_or(Some("critical"));
        Some(Self { server: server?, routing_key_file: PathBuf::from(file?), severity: severity?, http })
    }

    async fn enqueue(&self, action: &'static str, page: &Page, with: Sending<'_>) -> Result<(), Failure> {
        let key = http_client::secret("routing key file", &self.routing_key_file).await;
        let key = key.map_err(|error| not_sent(&error))?;
        let event = Event {
            routing_key: key.expose_secret(),
            event_action: action,
            dedup_key: page.id.as_str(),
            alert: (action == TRIGGER).then(|| self.alert(page, with.external_url)),
        };
        let request = with.http.post(self.server.under(&["v2", "enqueue"])).json(&event);
        post(&self.http, request, &self.server.to_string(), with.now).await
    }

    fn alert<'a>(&self, page: &'a Page, external_url: Option<&'a str>) -> Alert<'a> {
        let link = firing_url(external_url, page, "").map(|href| Link { href, text: "the firing" });
        Alert {
            client: "rollbackd",
            client_url: external_url,
            links: link.into_iter().collect(),
            payload: Payload {
                summary: within(&page.summary, LONGEST_SUMMARY),
                source: page.service.as_str(),
                severity: self.severity,
                timestamp: page.opened_at,
                component: page.service.as_str(),
                class: page.reason.word(),
                custom_details: details(page),
            },
        }
    }
}

impl Adapter for PagerDuty {
    fn settings(&self) -> &HttpSettings {
        &self.http
    }

    fn send<'a>(&'a self, page: &'a Page, with: Sending<'a>) -> Pending<'a, Result<(), Failure>> {
        let action = if page.resolved_at.is_some() { "resolve" } else { TRIGGER };
        Box::pin(self.enqueue(action, page, with))
    }

    fn acknowledge<'a>(&'a self, page: &'a Page, with: Sending<'a>) -> Option<Pending<'a, Result<(), Failure>>> {
        Some(Box::pin(self.enqueue("acknowledge", page, with)))
    }
}

fn server(node: &Node, problems: &mut Problems) -> Option<Endpoint> {
    let server = Endpoint::decode(node, problems)?;
    if server.url().path().trim_end_matches('/').ends_with(ROUTE) {
        problems.error(node.place, format!("expected the address without {ROUTE}, as in {USUAL_URL}"));
        return None;
    }
    Some(server)
}

fn details(page: &Page) -> Details<'_> {
    Details {
        details: page.details.iter().map(|detail| within(detail, LONGEST_DETAIL)).collect(),
        trigger: page.trigger.as_ref().map(|trigger| trigger.as_str()),
        firing: page.firing.as_ref().map(|firing| firing.as_str()),
        deploy: page.deploy.as_ref().map(|deploy| deploy.as_str()),
        deployed_version: page.version.as_ref().map(|version| version.as_str()),
    }
}
