//! Prometheus' Alertmanager as a pager: its API v2, `POST /api/v2/alerts`.
//!
//! Never puts what may change into a label: labels are an alert's identity.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::page::Page;
use rollbackd_core::time::Timestamp;
use serde::Serialize;

use super::{Adapter, Alive, DEFAULT_TIMEOUT, Failure, Heartbeat, Sending, firing_url, post};
use crate::http_client::{Endpoint, HttpSettings};
use crate::outside::Pending;

/// An open alert lives this long without being sent again: Alertmanager's own default for `resolve_timeout`.
const LIVES_FOR: Duration = Duration::from_secs(300);

/// A fifth of that: four tries in a row may fail before an alert is taken for resolved.
const RESEND_EVERY: Duration = Duration::from_secs(60);

/// More members than any cluster in use; each gets a connection at the same time.
const MOST_URLS: usize = 16;

/// One Alertmanager, or the members of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alertmanager {
    members: Vec<Endpoint>,
    http: HttpSettings,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    labels: BTreeMap<&'static str, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: Timestamp,
    ends_at: Timestamp,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator_url: Option<String>,
}

impl Alertmanager {
    /// Reads `url` or `urls`, and the keys of [`HttpSettings`].
    pub(super) fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`alertmanager`", problems)?;
        let members = match (fields.optional("url"), fields.optional("urls")) {
            (Some(url), None) => vec![Endpoint::decode(url, problems)?],
            (None, Some(urls)) => members(urls, problems)?,
            (Some(_), Some(_)) | (None, None) => {
                problems.error(node.place, "expected `alertmanager` to have a `url`, or `urls` (all of a cluster)");
                return None;
            }
        };
        let http = HttpSettings::decode(&mut fields, problems, DEFAULT_TIMEOUT);
        fields.finish(problems);
        Some(Self { members, http })
    }

    /// Posts to every member at once, since members share what they sent, not what they were sent. One that takes it
    /// is enough.
    async fn post(&self, alert: Alert, with: Sending<'_>) -> Result<(), Failure> {
        let posts = self.members.iter().map(|member| async {
            let request = with.http.post(member.under(&["api", "v2", "alerts"])).json(&[&alert]);
            post(&self.http, request, &member.to_string(), with.now).await
        });
        join_all(posts).await.into_iter().reduce(better).unwrap_or(Ok(()))
    }
}

impl Adapter for Alertmanager {
    fn settings(&self) -> &HttpSettings {
        &self.http
    }

    fn send<'a>(&'a self, page: &'a Page, with: Sending<'a>) -> Pending<'a, Result<(), Failure>> {
        Box::pin(self.post(alert(page, with.now, with.external_url), with))
    }

    fn resend_every(&self) -> Option<Duration> {
        Some(RESEND_EVERY)
    }

    fn heartbeat(&self) -> Option<&dyn Heartbeat> {
        Some(self)
    }
}

impl Heartbeat for Alertmanager {
    fn say_alive<'a>(&'a self, alive: &'a Alive, with: Sending<'a>) -> Pending<'a, Result<(), Failure>> {
        Box::pin(self.post(heartbeat(alive, with.now, with.external_url), with))
    }
}

fn members(node: &Node, problems: &mut Problems) -> Option<Vec<Endpoint>> {
    let nodes = node::list(node, "URLs", problems);
    if nodes.is_empty() || nodes.len() > MOST_URLS {
        problems.error(node.place, format!("expected 1 to {MOST_URLS} URLs"));
        return None;
    }
    nodes.iter().map(|node| Endpoint::decode(node, problems)).collect()
}

/// The better of two members' answers: taken, then may work soon, then refused.
fn better(one: Result<(), Failure>, other: Result<(), Failure>) -> Result<(), Failure> {
    let (Err(one), Err(other)) = (one, other) else { return Ok(()) };
    let why = format!("{one}; {other}");
    Err(match (one, other) {
        (Failure::Permanent { .. }, Failure::Permanent { .. }) => Failure::Permanent { why },
        (Failure::Retry { after, .. }, Failure::Permanent { .. })
        | (Failure::Permanent { .. }, Failure::Retry { after, .. }) => Failure::Retry { why, after },
        (Failure::Retry { after: one, .. }, Failure::Retry { after: other, .. }) => {
            // The one that can be asked first: `None` is at once.
            Failure::Retry { why, after: one.min(other) }
        }
    })
}

/// The whole alert each time: what a later one leaves out, even when resolved, is lost to the receivers.
fn alert(page: &Page, now: Timestamp, external_url: Option<&str>) -> Alert {
    let firing = page.firing.as_ref().map(ToString::to_string);
    let trigger = page.trigger.as_ref().map(ToString::to_string);
    let labels = [
        ("alertname", Some("RollbackdPage".to_owned())),
        ("service", Some(page.service.to_string())),
        ("trigger", trigger),
        ("reason", Some(reason(page))),
        ("severity", Some("page".to_owned())),
        ("page_id", Some(page.id.to_string())),
        ("firing_id", firing),
    ];
    let annotations = [
        ("summary", Some(page.summary.clone())),
        ("description", Some(page.details.join("\n"))),
        ("deploy", page.deploy.as_ref().map(ToString::to_string)),
        ("version", page.version.as_ref().map(ToString::to_string)),
    ];
    // Alertmanager refuses an end before the start.
    let ends_at = page.resolved_at.unwrap_or_else(|| now.max(page.opened_at) + LIVES_FOR).max(page.opened_at);
    Alert {
        labels: present(labels),
        annotations: present(annotations),
        starts_at: page.opened_at,
        ends_at,
        generator_url: firing_url(external_url, page, ""),
    }
}

/// Always firing while the daemon works: whoever is to be woken watches for its end.
fn heartbeat(alive: &Alive, now: Timestamp, external_url: Option<&str>) -> Alert {
    let labels = [
        ("alertname", Some("RollbackdAlive".to_owned())),
        ("instance", Some(alive.instance.clone())),
        ("severity", Some("none".to_owned())),
    ];
    let summary = format!("rollbackd at {} works", alive.instance);
    let description = "This alert always fires. Where it ends, rollbackd does not run, or can't do its work, or can't \
                       say so: no deploy is watched.";
    let annotations = [("summary", Some(summary)), ("description", Some(description.to_owned()))];
    Alert {
        labels: present(labels),
        annotations: present(annotations),
        starts_at: alive.since.min(now),
        ends_at: now + alive.lives_for,
        generator_url: external_url.map(str::to_owned),
    }
}

fn present<const N: usize>(pairs: [(&'static str, Option<String>); N]) -> BTreeMap<&'static str, String> {
    pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The reason in the words of the journal and the webhook: `no_path_left`.
fn reason(page: &Page) -> String {
    page.reason.word().to_owned()
}
