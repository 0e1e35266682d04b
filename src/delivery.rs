//! What all that tell others share: one try with an HTTP request, what its answer means, how long to wait before the next.
//!
//! Never shows more of a receiver than it is called by, and never tries again by itself.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode, header};
use rollbackd_core::name::FiringId;
use rollbackd_core::time::Timestamp;
use serde_json::Value;

use crate::http_client::{self, HttpSettings};

/// How long one try may take, unless the config says otherwise.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Before the second try.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// A receiver that comes back is used within this time, and one that is down is asked no more often than this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// After a refusal: trying again at once would give the same answer, but the config or the receiver may be mended.
const WAIT_AFTER_REFUSAL: Duration = Duration::from_secs(300);

/// The longest that a `Retry-After` is obeyed: a page must not be put off by an hour.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// The answers that are read are a handful of entries.
const LONGEST_ANSWER_BYTES: usize = 1024 * 1024;

/// How each status begins that is given to a deployment: where a platform tells its webhooks of it, it is known as no news.
pub(crate) const OWN_STATUS: &str = "rollbackd: ";

/// What one try is made with.
#[derive(Clone, Copy)]
pub(crate) struct Sending<'a> {
    pub(crate) http: &'a Client,
    pub(crate) now: Timestamp,
    /// Where humans reach this daemon.
    pub(crate) external_url: Option<&'a str>,
}

/// Why something was not taken.
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

impl Failure {
    /// In one word, for the metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Retry { .. } => "retry",
            Self::Permanent { .. } => "refused",
        }
    }
}

/// How long to wait after the `failures`-th failure in a row. `random`, from 0 to 1, spreads the waits from half to
/// the whole, so that much for a receiver that comes back doesn't arrive all at once.
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

/// Sends a request, and says what its answer means. `to` names the receiver in the reason.
pub(crate) async fn post(
    settings: &HttpSettings,
    request: RequestBuilder,
    to: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    answered(settings, request, to, now).await.map(drop)
}

/// The same for a request whose answer is JSON.
pub(crate) async fn asked(
    settings: &HttpSettings,
    request: RequestBuilder,
    to: &str,
    now: Timestamp,
) -> Result<Value, Failure> {
    let response = answered(settings, request, to, now).await?;
    let body = http_client::body_within(response, LONGEST_ANSWER_BYTES).await;
    let body = body.map_err(|error| later(format!("{to}: {error}")))?;
    serde_json::from_slice(&body).map_err(|error| later(format!("{to}: the answer is no JSON: {error}")))
}

async fn answered(
    settings: &HttpSettings,
    request: RequestBuilder,
    to: &str,
    now: Timestamp,
) -> Result<Response, Failure> {
    // A secret file that is not there may just be being rotated.
    let request = http_client::authorize(settings, request).await.map_err(|error| not_sent(&error))?;
    match request.send().await {
        Ok(response) => judge(response, to, now),
        Err(error) => Err(later(format!("{to}: {}", http_client::explain(&error)))),
    }
}

/// What kept a request from being made.
pub(crate) fn not_sent(error: &http_client::Error) -> Failure {
    later(error.to_string())
}

/// The same may work soon.
pub(crate) const fn later(why: String) -> Failure {
    Failure::Retry { why, after: None }
}

/// The one classification for all receivers.
fn judge(response: Response, to: &str, now: Timestamp) -> Result<Response, Failure> {
    let status = response.status();
    let why = format!("{to}: HTTP {status}");
    if status.is_success() {
        return Ok(response);
    }
    let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    // GitHub says so of too many requests as well; who names a time to come again refuses nothing for good.
    let is_too_many = status == StatusCode::FORBIDDEN && asked.is_some();
    let passes = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    if status.is_server_error() || passes.contains(&status) || is_too_many {
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

/// What a human opens to see a firing.
pub(crate) fn firing_url(external_url: Option<&str>, firing: &FiringId) -> Option<String> {
    Some(format!("{}/v1/firings/{firing}", external_url?.trim_end_matches('/')))
}

/// The beginning of a text, in at most so many bytes.
pub(crate) fn within(text: &str, longest_bytes: usize) -> String {
    if text.len() <= longest_bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(longest_bytes.saturating_sub('…'.len_utf8()));
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests;
