//! Pagers: how a human is told. One classification of failures and one loop of retries for all of them.
//!
//! Never gives a page up, and never lets one pager wait for another: each is delivered to on its own.

mod alertmanager;
mod body;
mod email;
mod ntfy;
mod pagerduty;
mod slack;
mod webhook;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use rollbackd_core::config::node::{Node, Problems};
use rollbackd_core::page::Page;
use rollbackd_core::time::Timestamp;

use crate::delivery::{DEFAULT_TIMEOUT, Sending, not_sent, post, within};
use crate::http_client::{self, HttpSettings};
use crate::outside::Pending;

pub use crate::delivery::{Failure, wait_after};

/// Every kind of pager: the key under which the config describes it, and what reads that part of the config.
const ADAPTERS: &[(&str, Decode)] = &[
    ("webhook", |node, problems| registered(webhook::Webhook::decode(node, problems))),
    ("alertmanager", |node, problems| registered(alertmanager::Alertmanager::decode(node, problems))),
    ("pagerduty", |node, problems| registered(pagerduty::PagerDuty::decode(node, problems))),
    ("slack", |node, problems| registered(slack::Slack::decode(node, problems))),
    ("ntfy", |node, problems| registered(ntfy::Ntfy::decode(node, problems))),
    ("email", |node, problems| registered(email::Email::decode(node, problems))),
];

type Decode = fn(&Node, &mut Problems) -> Option<Pager>;

/// The kinds of pagers, as the config names them.
pub const KINDS: &[&str] = &{
    let mut kinds = [""; ADAPTERS.len()];
    let mut index = 0;
    while index < kinds.len() {
        kinds[index] = ADAPTERS[index].0;
        index += 1;
    }
    kinds
};

/// One pager as the config describes it. Holds the names of files with secrets, never a secret.
#[derive(Clone, Debug)]
pub struct Pager(Arc<dyn Adapter>);

/// One kind of pager.
trait Adapter: fmt::Debug + Send + Sync {
    /// How the client is made that it sends with.
    fn settings(&self) -> &HttpSettings;

    /// Tries once to deliver a page, or the word that it is over where it has a `resolved_at`.
    fn send<'a>(&'a self, page: &'a Page, with: Sending<'a>) -> Pending<'a, Result<(), Failure>>;

    /// Tries once to say that a human has seen the page; `None` where this kind can't show it.
    fn acknowledge<'a>(&'a self, _page: &'a Page, _with: Sending<'a>) -> Option<Pending<'a, Result<(), Failure>>> {
        None
    }

    /// How often an open page must be sent again so that it stays open there; `None` where once is enough.
    fn resend_every(&self) -> Option<Duration> {
        None
    }

    /// What tries once to say that the daemon works; `None` where pages don't end by themselves, so that silence would
    /// say nothing.
    fn heartbeat(&self) -> Option<&dyn Heartbeat> {
        None
    }
}

/// A pager that notices when the daemon falls silent.
trait Heartbeat {
    /// Tries once to say that the daemon works.
    fn say_alive<'a>(&'a self, alive: &'a Alive, with: Sending<'a>) -> Pending<'a, Result<(), Failure>>;
}

fn registered<A: Adapter + 'static>(decoded: Option<A>) -> Option<Pager> {
    decoded.map(|adapter| Pager(Arc::new(adapter)))
}

/// Reads a pager of this kind; notes what is wrong with it.
pub fn decode(kind: &str, node: &Node, problems: &mut Problems) -> Option<Pager> {
    let Some((_, decode)) = ADAPTERS.iter().find(|(known, _)| *known == kind) else {
        problems.error(node.place, format!("unknown pager {kind:?}: expected one of {}", KINDS.join(", ")));
        return None;
    };
    decode(node, problems)
}

impl Pager {
    /// Makes the client; to be done when the config loads, so that no firing is the first to find a mistake.
    ///
    /// # Errors
    /// A certificate file can't be used.
    pub fn open(&self) -> Result<PagerClient, http_client::Error> {
        Ok(PagerClient { pager: self.clone(), http: http_client::build(self.0.settings())? })
    }

    /// How often an open page must be sent again so that it stays open there; `None` where once is enough.
    #[must_use]
    pub fn resend_every(&self) -> Option<Duration> {
        self.0.resend_every()
    }

    /// Whether it notices when the daemon falls silent.
    #[must_use]
    pub fn takes_heartbeat(&self) -> bool {
        self.0.heartbeat().is_some()
    }
}

/// A pager that can be sent to.
#[derive(Clone, Debug)]
pub struct PagerClient {
    pager: Pager,
    http: Client,
}

/// That the daemon works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alive {
    /// Since when it runs.
    pub since: Timestamp,
    /// How long the word holds without another one.
    pub lives_for: Duration,
    /// Which daemon.
    pub instance: String,
}

impl PagerClient {
    /// Tries once to deliver a page, or the word that it is over where it has a `resolved_at`. `external_url` is
    /// where humans reach this daemon.
    ///
    /// # Errors
    /// The page was not taken.
    pub async fn send(&self, page: &Page, now: Timestamp, external_url: Option<&str>) -> Result<(), Failure> {
        self.pager.0.send(page, Sending { http: &self.http, now, external_url }).await
    }

    /// Tries once to say that a human has seen the page; `None` where this kind of pager can't show it. Saying it again
    /// changes nothing.
    #[must_use]
    pub fn acknowledge<'a>(
        &'a self,
        page: &'a Page,
        now: Timestamp,
        external_url: Option<&'a str>,
    ) -> Option<Pending<'a, Result<(), Failure>>> {
        self.pager.0.acknowledge(page, Sending { http: &self.http, now, external_url })
    }

    /// Tries once to say that the daemon works.
    ///
    /// # Errors
    /// It was not taken, or this pager's pages don't end by themselves, so that silence would say nothing.
    pub async fn say_alive(&self, alive: &Alive, now: Timestamp, external_url: Option<&str>) -> Result<(), Failure> {
        match self.pager.0.heartbeat() {
            Some(heartbeat) => heartbeat.say_alive(alive, Sending { http: &self.http, now, external_url }).await,
            None => Err(Failure::Permanent { why: "this pager takes no heartbeat".to_owned() }),
        }
    }

    /// See [`Pager::resend_every`].
    #[must_use]
    pub fn resend_every(&self) -> Option<Duration> {
        self.pager.resend_every()
    }
}

/// Delivers a page: tries until it is taken, and only then returns. Dropping the future is the way to stop it.
/// `now` is the clock, `random` gives numbers from 0 to 1, `on_failure` hears of each try that failed.
pub async fn deliver(
    client: &PagerClient,
    page: &Page,
    external_url: Option<&str>,
    now: impl Fn() -> Timestamp,
    mut random: impl FnMut() -> f64,
    mut on_failure: impl FnMut(&Failure),
) {
    for failures in 1.. {
        match client.send(page, now(), external_url).await {
            Ok(()) => return,
            Err(failure) => {
                on_failure(&failure);
                tokio::time::sleep(wait_after(&failure, failures, random())).await;
            }
        }
    }
}

/// What a human opens to answer a page: this daemon's route for an act upon its firing.
fn firing_url(external_url: Option<&str>, page: &Page, act: &str) -> Option<String> {
    Some(crate::delivery::firing_url(external_url, page.firing.as_ref()?)? + act)
}

/// What a page is now, in one word for programs.
const fn status(page: &Page) -> &'static str {
    if page.resolved_at.is_some() { "resolved" } else { "firing" }
}

/// A page as text, for receivers that take nothing else. Once it is over, nobody has to be told how to answer.
fn in_words(page: &Page, external_url: Option<&str>) -> String {
    if page.resolved_at.is_some() {
        return format!("rollbackd: over: {}", page.summary);
    }
    let link = firing_url(external_url, page, "").map(|url| format!("firing: {url}"));
    let lines = std::iter::once(format!("rollbackd: {}", page.summary));
    lines.chain(page.details.iter().cloned()).chain(link).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
