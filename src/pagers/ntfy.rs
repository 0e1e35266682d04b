//! A topic of an ntfy server, published to as JSON.
//!
//! Never puts a page into a header, and never sends along what would let a phone answer: that needs a token.

use std::fmt;

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::page::Page;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Adapter, DEFAULT_TIMEOUT, Failure, Sending, firing_url, in_words, post, within};
use crate::http_client::{Endpoint, HttpSettings};
use crate::outside::Pending;

/// A longer message becomes an attachment, or is refused where the server takes none (ntfy, "Limitations").
const LONGEST_MESSAGE: usize = 4096;

/// The longest name of a topic, and the longest sequence id.
const LONGEST_NAME: usize = 64;

/// ntfy's highest: it goes on until somebody looks.
const USUAL_PRIORITY: usize = 5;

/// ntfy's default, for the word that a page is over.
const NORMAL_PRIORITY: usize = 3;

/// One topic.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Ntfy {
    server: Endpoint,
    topic: String,
    priority: usize,
    http: HttpSettings,
}

#[derive(Serialize)]
struct Message<'a> {
    topic: &'a str,
    title: String,
    message: String,
    priority: usize,
    tags: [&'static str; 1],
    sequence_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    click: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<Action>,
}

#[derive(Serialize)]
struct Action {
    action: &'static str,
    label: &'static str,
    url: String,
}

impl Ntfy {
    /// Reads `url`, `topic`, `priority`, and the keys of [`HttpSettings`].
    pub(super) fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`ntfy`", problems)?;
        let server = fields.required("url", problems).and_then(|node| server(node, problems));
        let topic = fields.required("topic", problems).and_then(|node| topic(node, problems));
        let priority = fields.optional("priority").map(|node| priority(node, problems));
        let http = HttpSettings::decode(&mut fields, problems, DEFAULT_TIMEOUT);
        fields.finish(problems);
        Some(Self { server: server?, topic: topic?, priority: priority.unwrap_or(Some(USUAL_PRIORITY))?, http })
    }

    fn message(&self, page: &Page, external_url: Option<&str>) -> Message<'_> {
        let is_over = page.resolved_at.is_some();
        let click = firing_url(external_url, page, "");
        let button = click.clone().map(|url| Action { action: "view", label: "Open the firing", url });
        Message {
            topic: &self.topic,
            title: format!("rollbackd: {}{}", page.service, if is_over { ": over" } else { "" }),
            message: within(&in_words(page, external_url), LONGEST_MESSAGE),
            priority: if is_over { self.priority.min(NORMAL_PRIORITY) } else { self.priority },
            tags: [if is_over { "white_check_mark" } else { "rotating_light" }],
            sequence_id: sequence_id(page),
            click,
            actions: button.into_iter().collect(),
        }
    }
}

impl fmt::Debug for Ntfy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the topic: on a server that is open to everybody its name is the secret.
        let mut shown = formatter.debug_struct("Ntfy");
        shown.field("server", &self.server).field("priority", &self.priority).field("http", &self.http);
        shown.finish_non_exhaustive()
    }
}

impl Adapter for Ntfy {
    fn settings(&self) -> &HttpSettings {
        &self.http
    }

    fn send<'a>(&'a self, page: &'a Page, with: Sending<'a>) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            let message = self.message(page, with.external_url);
            let request = with.http.post(self.server.url().clone()).json(&message);
            post(&self.http, request, &self.server.to_string(), with.now).await
        })
    }
}

/// What tells the server that a message takes the place of an earlier one: a page's id has characters, and may have a
/// length, that no sequence id may have.
fn sequence_id(page: &Page) -> String {
    let hash = Sha256::digest(page.id.as_str());
    hash.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

fn server(node: &Node, problems: &mut Problems) -> Option<Endpoint> {
    let server = Endpoint::decode(node, problems)?;
    let rest = (server.url().path(), server.url().query());
    if rest != ("/", None) {
        let message =
            "expected the server's address alone, as in https://ntfy.example.com: the topic is a key of its own";
        problems.error_about_secret(node.place, message);
        return None;
    }
    Some(server)
}

fn topic(node: &Node, problems: &mut Problems) -> Option<String> {
    let topic = node::text(node, problems)?;
    let of_a_topic = |each: char| each.is_ascii_alphanumeric() || matches!(each, '-' | '_');
    if topic.is_empty() || topic.len() > LONGEST_NAME || !topic.chars().all(of_a_topic) {
        let message = format!("expected a topic of 1 to {LONGEST_NAME} of A-Z a-z 0-9 _ -");
        problems.error_about_secret(node.place, message);
        return None;
    }
    Some(topic.to_owned())
}

fn priority(node: &Node, problems: &mut Problems) -> Option<usize> {
    let priority = node::count(node, problems)?;
    if !(1..=5).contains(&priority) {
        problems.error(node.place, format!("expected a priority of 1 to 5, not {priority}"));
        return None;
    }
    Some(priority)
}
