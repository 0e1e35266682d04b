//! The config's `heartbeat`, and the outgoing ping that is one of its receivers.
//!
//! Never shows a ping's URL beyond the server's name: in services of this kind the path is the secret.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::StatusCode;
use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::name::{PagerName, nearest};

use crate::http_client::{self, HttpSettings, To};
use crate::pagers::Pager;

const USUAL_EVERY: Duration = Duration::from_secs(60);
const SHORTEST_EVERY: Duration = Duration::from_secs(1);
const LONGEST_EVERY: Duration = Duration::from_secs(3600);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Who is told that the daemon works, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// From one heartbeat to the next.
    pub every: Duration,
    /// The Alertmanagers, each a pager of the config.
    pub pagers: Vec<PagerName>,
    /// A URL that is asked for, with nothing in it.
    pub ping: Option<Ping>,
}

/// A URL that a dead man's switch of another kind watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    to: To,
    http: HttpSettings,
}

/// A ping that can be sent.
#[derive(Clone, Debug)]
pub struct PingClient {
    ping: Ping,
    http: reqwest::Client,
}

impl Heartbeat {
    /// Reads `every`, `pagers` and `ping`. `known` are the config's pagers; one that could not be read has no adapter.
    pub fn decode(node: &Node, known: &BTreeMap<PagerName, Option<Pager>>, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "heartbeat", problems)?;
        let every = fields.optional("every");
        let every = every.and_then(|node| node::duration_within(node, SHORTEST_EVERY, LONGEST_EVERY, problems));
        let pagers = fields.optional("pagers");
        let ping = fields.optional("ping");
        if pagers.is_none() && ping.is_none() {
            problems.error(node.place, "expected `heartbeat` to have `pagers`, a `ping`, or both: it tells nobody");
        }
        let pagers = pagers.map(|node| receivers(node, known, problems)).unwrap_or_default();
        let ping = ping.and_then(|node| Ping::decode(node, problems));
        fields.finish(problems);
        Some(Self { every: every.unwrap_or(USUAL_EVERY), pagers, ping })
    }
}

fn receivers(node: &Node, known: &BTreeMap<PagerName, Option<Pager>>, problems: &mut Problems) -> Vec<PagerName> {
    let mut names: Vec<PagerName> = Vec::new();
    for node in node::list(node, "pagers", problems) {
        let Some(written) = node::text(node, problems) else { continue };
        let Some(name) = problems.take(node.place, PagerName::new(written)) else { continue };
        match known.get(&name) {
            // One whose adapter can't be read has its own mistake.
            Some(pager) if pager.as_ref().is_none_or(Pager::takes_heartbeat) => names.push(name),
            Some(_) => problems.error(
                node.place,
                format!(
                    "pages of {name} do not end by themselves, so nobody would notice silence: expected an alertmanager"
                ),
            ),
            None => {
                let near = nearest(written, known.keys().map(PagerName::as_str));
                let hint =
                    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) };
                problems.error(node.place, format!("there is no pager {written:?}{hint}"));
            }
        }
    }
    names.sort();
    names.dedup();
    names
}

impl Ping {
    /// Reads the keys of [`To`] and of [`HttpSettings`].
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`ping`", problems)?;
        let to = To::decode(&mut fields, problems);
        let http = HttpSettings::decode(&mut fields, problems, PING_TIMEOUT);
        fields.finish(problems);
        Some(Self { to: to?, http })
    }

    /// Makes the client; to be done when the config loads.
    ///
    /// # Errors
    /// A certificate file can't be used.
    pub fn open(&self) -> Result<PingClient, http_client::Error> {
        Ok(PingClient { ping: self.clone(), http: http_client::build(&self.http)? })
    }
}

impl PingClient {
    /// Asks for the URL once.
    ///
    /// # Errors
    /// It was not answered with success; a redirect is none. Why, without the URL.
    pub async fn send(&self) -> Result<(), String> {
        let endpoint = self.ping.to.endpoint().await.map_err(|error| error.to_string())?;
        let request = self.http.get(endpoint.url().clone());
        let request = http_client::authorize(&self.ping.http, request).await.map_err(|error| error.to_string())?;
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("{endpoint}: {}", refusal(answer.status()))),
            Err(error) => Err(format!("{endpoint}: {}", http_client::explain(&error))),
        }
    }
}

fn refusal(status: StatusCode) -> String {
    let hint = if status.is_redirection() { " (redirects are not followed)" } else { "" };
    format!("HTTP {status}{hint}")
}
