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

use reqwest::{Client, RequestBuilder, Response, StatusCode, header};
use rollbackd_core::config::node::{Node, Problems};
use rollbackd_core::page::Page;
use rollbackd_core::time::Timestamp;

use crate::http_client::{self, HttpSettings};
use crate::outside::Pending;

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

/// How long one try may take, unless the config says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Before the second try.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// A pager that comes back is used within this time, and one that is down is asked no more often than this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// After a refusal: trying again at once would give the same answer, but the config or the receiver may be mended.
const WAIT_AFTER_REFUSAL: Duration = Duration::from_secs(300);

/// The longest that a `Retry-After` is obeyed: a page must not be put off by an hour.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// One pager as the config describes it. Holds the names of files with secrets, never a secret.
#[derive(Clone, Debug)]
pub struct Pager(Arc<dyn Adapter>);

/// One kind of pager.
trait Adapter: fmt::Debug + Send + Sync {
    /// How the client is made that it sends with.
    fn settings(&self) -> &HttpSettings;

    /// Tries once to deliver a page, or the word that it is over where it has a `resolved_at`.
    fn send<'a>(&'a self, page: &'a Page, with: Sending<'a>) -> Pending<'a, Result<(), Failure>>;

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

/// What one try is made with.
#[derive(Clone, Copy)]
struct Sending<'a> {
    http: &'a Client,
    now: Timestamp,
    /// Where humans reach this daemon.
    external_url: Option<&'a str>,
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

/// Why a page was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The same may work soon.
    #[error("{why}")]
    Retry {
        /// What happened.
        why: String,
        /// How long the receiver asks to be left alone.
        after: Option<Duration>,
    },
    /// It won't work before somebody mends the config or the receiver.
    #[error("refused: {why}")]
    Permanent {
        /// What happened.
        why: String,
    },
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

/// How long to wait after the `failures`-th failure in a row. `random`, from 0 to 1, spreads the waits from half to
/// the whole, so that many pages to a pager that comes back don't arrive all at once.
#[must_use]
pub fn wait_after(failure: &Failure, failures: u32, random: f64) -> Duration {
    let (longest, least) = match failure {
        Failure::Retry { after, .. } => {
            let doubled = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
            (doubled.min(LONGEST_WAIT), after.unwrap_or_default())
        }
        Failure::Permanent { .. } => (WAIT_AFTER_REFUSAL, Duration::ZERO),
    };
    let part = if random.is_nan() { 0.0 } else { random.clamp(0.0, 1.0) };
    longest.mul_f64(0.5 + part / 2.0).max(least)
}

/// Sends a request, and says what its answer means for a page. `to` names the receiver in the reason.
async fn post(settings: &HttpSettings, request: RequestBuilder, to: &str, now: Timestamp) -> Result<(), Failure> {
    // A secret file that is not there may just be being rotated.
    let request = http_client::authorize(settings, request).await.map_err(|error| not_sent(&error))?;
    match request.send().await {
        Ok(response) => judge(&response, to, now),
        Err(error) => Err(Failure::Retry { why: format!("{to}: {}", http_client::explain(&error)), after: None }),
    }
}

fn not_sent(error: &http_client::Error) -> Failure {
    Failure::Retry { why: error.to_string(), after: None }
}

/// The one classification for all pagers.
fn judge(response: &Response, to: &str, now: Timestamp) -> Result<(), Failure> {
    let status = response.status();
    let why = format!("{to}: HTTP {status}");
    if status.is_success() {
        return Ok(());
    }
    let passes = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    if status.is_server_error() || passes.contains(&status) {
        let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        return Err(Failure::Retry { why, after: asked.and_then(|text| retry_after(text, now)) });
    }
    Err(Failure::Permanent { why })
}

/// The two forms of `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let wait = match text.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
            Timestamp::from_milliseconds(date.timestamp().as_millisecond()).since(now)
        }
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// What a human opens to answer a page: this daemon's route for an act upon its firing.
fn firing_url(external_url: Option<&str>, page: &Page, act: &str) -> Option<String> {
    let base = external_url?.trim_end_matches('/');
    Some(format!("{base}/v1/firings/{}{act}", page.firing.as_ref()?))
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

/// The beginning of a text, in at most so many bytes.
fn within(text: &str, longest_bytes: usize) -> String {
    if text.len() <= longest_bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(longest_bytes.saturating_sub('…'.len_utf8()));
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests;
