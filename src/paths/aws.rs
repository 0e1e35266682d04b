//! What the paths at AWS share: settings, signed requests in AWS' JSON protocol, and what an answer means.
//!
//! Never repeats a request by itself, and never sends credentials: a request carries a signature made with them.
//!
//! Source: AWS, "JSON 1.1 protocol" (Smithy), "Common errors", and the SDKs' "Retry behavior" (which errors say that a
//! request was throttled).

mod credentials;
mod sign;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::{StatusCode, Url};
use rollbackd_core::config::node::{self, Fields, Node, Problems};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use self::credentials::{Chain, Credentials};
use self::sign::{Request, Scope, basic_time};
use super::ready::Ready;
use super::remote::api::{Answer, Api, NoAnswer, REQUEST_TIMEOUT};
use super::remote::{Asked, Found, Look};
use crate::clock::now;
use crate::http_client::{Endpoint, HttpSettings, Pem, one_line};

/// Between two looks: sixty of them in a budget of five minutes, and far below what AWS allows.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The shortest time between two looks, for stand-ins of AWS on this machine.
const SHORTEST_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The longest one: a roll-out that ends is noticed within a minute.
const LONGEST_POLL_INTERVAL: Duration = Duration::from_secs(60);

/// What is waited after the first throttled request of a row, where AWS names no time; twice as long after each further one.
const FIRST_THROTTLE: Duration = Duration::from_secs(1);

/// The longest such wait, as in AWS' own SDKs.
const LONGEST_THROTTLE: Duration = Duration::from_secs(20);

/// The longest wait that is believed: no path may take as long, and no sum with it overflows.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What was not carried out because the credentials ended meanwhile is asked again after this time, with new ones.
const RENEWED: Duration = Duration::from_secs(1);

/// By what name credentials are kept for the attempt after a pre-flight.
const CREDENTIALS: &str = "AWS credentials";

/// Errors that say that there were too many requests; such a request was not carried out.
const THROTTLED: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "PriorRequestNotComplete",
    "SlowDown",
    "EC2ThrottledException",
];

/// Errors that say that the credentials ended; such a request was not carried out.
const ENDED: &[&str] = &["ExpiredToken", "ExpiredTokenException", "RequestExpired"];

/// How AWS is reached: the keys of the config that all paths at AWS share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AwsSettings {
    pub(super) region: String,
    /// The service's own address where the config names none.
    endpoint: Option<Endpoint>,
    chain: Chain,
    http: HttpSettings,
    pub(super) poll_interval: Duration,
}

impl AwsSettings {
    /// Reads `region`, `endpoint_url`, `credentials_file`, `profile`, `poll_interval` and the keys of every HTTP client
    /// out of a mapping that may have more keys, which are its caller's.
    pub(super) fn decode(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Self> {
        let region = fields.required("region", problems).and_then(|at| region(at, problems));
        let endpoint = fields.optional("endpoint_url").map(|at| endpoint(at, problems));
        let file = fields.optional("credentials_file").map(|at| node::text(at, problems));
        let profile = fields.optional("profile").map(|at| node::text(at, problems));
        let poll_interval = fields.optional("poll_interval").map_or(Some(POLL_INTERVAL), |at| {
            node::duration_within(at, SHORTEST_POLL_INTERVAL, LONGEST_POLL_INTERVAL, problems)
        });
        let http = HttpSettings::decode(fields, problems, REQUEST_TIMEOUT);
        if http.bearer_token_file.is_some() || http.basic_auth.is_some() {
            let message = "AWS takes no bearer token and no password: its requests are signed, see `credentials_file`";
            problems.error(fields.place, message);
        }
        let chain = Chain { file: flat(file)?.map(Into::into), profile: flat(profile)?.map(str::to_owned) };
        Some(Self { region: region?, endpoint: flat(endpoint)?, chain, http, poll_interval: poll_interval? })
    }
}

/// What is right: absent, or present and well-formed.
fn flat<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    read.map_or(Some(None), |value| value.map(Some))
}

fn region(at: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(at, problems)?;
    let allowed = |each: char| each.is_ascii_lowercase() || each.is_ascii_digit() || each == '-';
    let is_region = written.contains('-') && written.chars().all(allowed) && !written.starts_with('-');
    if !is_region {
        problems.error(at.place, format!("expected an AWS region such as eu-central-1, not {written:?}"));
    }
    is_region.then(|| written.to_owned())
}

/// An address to which a request may be sent that stands for credentials.
fn endpoint(at: &Node, problems: &mut Problems) -> Option<Endpoint> {
    let endpoint = Endpoint::decode(at, problems)?;
    let local = matches!(endpoint.url().host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    if endpoint.url().query().is_some() || (endpoint.url().scheme() == "http" && !local) {
        problems.error(at.place, "expected an https URL without a query (http only for this machine)");
        return None;
    }
    Some(endpoint)
}

/// The public address of a service. Source: botocore's `partitions.json`.
fn public_url(service: &str, region: &str) -> String {
    let suffixes = [("cn-", "amazonaws.com.cn"), ("eusc-", "amazonaws.eu")];
    let suffix = suffixes.iter().find(|(begins, _)| region.starts_with(begins)).map_or("amazonaws.com", |(_, own)| own);
    format!("https://{service}.{region}.{suffix}/")
}

/// A service of AWS, as its model describes it.
#[derive(Debug)]
pub(super) struct Service {
    /// For sentences.
    pub(super) name: &'static str,
    /// By which requests are signed, and the beginning of its address.
    pub(super) signing: &'static str,
    /// What stands before an operation's name.
    pub(super) target: &'static str,
    /// Of a request's body.
    pub(super) content_type: &'static str,
}

/// A service, as far as one attempt can ask it.
pub(super) struct Aws<'a> {
    service: &'static Service,
    settings: &'a AwsSettings,
    url: Url,
    api: Api,
    credentials: Mutex<Option<Credentials>>,
    ready: &'a Ready,
    /// How many requests in a row were throttled.
    throttled: AtomicU32,
}

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoResult {
    /// It was refused.
    Refused {
        /// The error's name; empty where the answer has none.
        code: String,
        /// What AWS said.
        why: String,
    },
    /// It was not carried out, and may be asked again after this time. Why.
    Later(Duration, String),
    /// No connection came about, or nothing could be signed. Why.
    NotSent(String),
    /// There are no credentials. Why not.
    NoCredentials(String),
    /// The credentials ended: it was not carried out, and may be asked again with new ones. Why.
    Ended(String),
    /// It may have been carried out. Why that is not known.
    Perhaps(String),
}

impl<'a> Aws<'a> {
    pub(super) fn new(service: &'static Service, settings: &'a AwsSettings, ready: &'a Ready) -> Result<Self, String> {
        let url = match &settings.endpoint {
            Some(endpoint) => endpoint.url().clone(),
            None => Url::parse(&public_url(service.signing, &settings.region))
                .map_err(|error| format!("the region {} makes no address: {error}", settings.region))?,
        };
        let api = Api::kept(service.name, &settings.http, &Pem::default(), ready)?;
        let credentials = Mutex::new(ready.get(CREDENTIALS));
        Ok(Self { service, settings, url, api, credentials, ready, throttled: AtomicU32::new(0) })
    }

    /// Asks for an operation, once.
    pub(super) async fn call<T: DeserializeOwned>(&self, operation: &str, input: &Value) -> Result<T, NoResult> {
        let credentials = self.credentials().await.map_err(NoResult::NoCredentials)?;
        let body = input.to_string();
        let mut request = self.api.client().post(self.url.clone());
        // The client writes the host that is signed, as the URL has it.
        let headers = self.headers(operation, &body, &credentials).into_iter().filter(|(name, _)| *name != "host");
        for (name, value) in headers {
            let mut value = reqwest::header::HeaderValue::try_from(value)
                .map_err(|_| NoResult::NotSent("the AWS credentials have characters that no header may have".into()))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        match self.api.send(request.body(body)).await {
            Ok(answer) => self.result(&answer).await,
            Err(NoAnswer::NoSecret(why) | NoAnswer::NotSent(why) | NoAnswer::Limited(_, why)) => {
                Err(NoResult::NotSent(why))
            }
            Err(NoAnswer::Broken(why)) => {
                Err(NoResult::Perhaps(format!("the request was sent and not answered ({why})")))
            }
        }
    }

    /// All headers of a request that are signed, and the signature.
    fn headers(&self, operation: &str, body: &str, credentials: &Credentials) -> Vec<(&'static str, String)> {
        use secrecy::ExposeSecret as _;
        let at = basic_time(now());
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let mut headers = vec![
            ("content-type", self.service.content_type.to_owned()),
            ("host", format!("{}{port}", self.url.host_str().unwrap_or_default())),
            ("x-amz-date", at.clone()),
        ];
        let token = credentials.token.as_ref();
        headers.extend(token.map(|token| ("x-amz-security-token", token.expose_secret().to_owned())));
        headers.push(("x-amz-target", format!("{}.{operation}", self.service.target)));
        let request = Request { method: "POST", path: self.url.path(), headers: &headers, body: body.as_bytes() };
        let scope = Scope { region: &self.settings.region, service: self.service.signing };
        let authorization = sign::authorization(request, scope, &at, credentials);
        headers.push(("authorization", authorization));
        headers
    }

    /// Those of this attempt, renewed in time.
    async fn credentials(&self) -> Result<Credentials, String> {
        let mut held = self.credentials.lock().await;
        if let Some(credentials) = held.as_ref().filter(|credentials| credentials.last(now())) {
            return Ok(credentials.clone());
        }
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let fetched = self.settings.chain.fetch(&self.settings.region, &environment).await?;
        self.ready.keep(CREDENTIALS, &fetched);
        Ok(held.insert(fetched).clone())
    }

    async fn result<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, NoResult> {
        if answer.status.is_success() {
            self.throttled.store(0, Ordering::Relaxed);
            return answer.json().map_err(NoResult::Perhaps);
        }
        let (code, why) = (code(answer), complaint(answer));
        if answer.status == StatusCode::TOO_MANY_REQUESTS || THROTTLED.contains(&code.as_str()) {
            return Err(NoResult::Later(self.throttle(answer), why));
        }
        if ENDED.contains(&code.as_str()) && self.credentials.lock().await.take().is_some() {
            return Err(NoResult::Ended(why));
        }
        Err(match answer.status {
            status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
                NoResult::Perhaps(format!("the request failed at the side of {} ({why})", self.service.name))
            }
            status if status.is_redirection() => NoResult::Refused {
                code,
                why: format!("{why}; redirects are not followed with a signature: check `endpoint_url`"),
            },
            _ => NoResult::Refused { code, why },
        })
    }

    /// How long to wait after a throttled request.
    fn throttle(&self, answer: &Answer) -> Duration {
        let row = self.throttled.fetch_add(1, Ordering::Relaxed);
        let asked = answer.header("retry-after").and_then(|seconds| seconds.trim().parse().ok());
        let asked = asked.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
        asked.unwrap_or_else(|| FIRST_THROTTLE.saturating_mul(1 << row.min(10)).min(LONGEST_THROTTLE))
    }
}

/// The error's name: `aws.ecs#ThrottlingException` and `ThrottlingException:http://…` are the same.
fn code(answer: &Answer) -> String {
    let body: Value = serde_json::from_str(&answer.text()).unwrap_or_default();
    let named = body.pointer("/__type").and_then(Value::as_str).or_else(|| answer.header("x-amzn-errortype"));
    let named = named.unwrap_or_default();
    let named = named.rsplit_once('#').map_or(named, |(_, name)| name);
    one_line(named.split(':').next().unwrap_or_default())
}

/// The status, the error's name, and what AWS says.
fn complaint(answer: &Answer) -> String {
    let code = code(answer);
    if code.is_empty() { answer.complaint() } else { format!("{} ({code})", answer.complaint()) }
}

impl NoResult {
    /// What went wrong.
    pub(super) fn why(self) -> String {
        match self {
            Self::Refused { why, .. }
            | Self::Later(_, why)
            | Self::NotSent(why)
            | Self::NoCredentials(why)
            | Self::Ended(why)
            | Self::Perhaps(why) => why,
        }
    }

    /// What it means for a request that changes something. `check` is what somebody should look at.
    pub(super) fn asked(self, check: &str) -> Asked {
        match self {
            Self::Refused { why, .. } => Asked::Refused(format!("{why}; check {check}")),
            Self::Later(wait, why) => Asked::Later(wait, why),
            Self::Ended(why) => Asked::Later(RENEWED, why),
            Self::NotSent(why) | Self::NoCredentials(why) => Asked::NotSent(why),
            Self::Perhaps(why) => Asked::Perhaps(why),
        }
    }

    /// What it means for a pre-flight, which has asked twice where the credentials had ended.
    pub(super) fn not_ready(self, check: &str) -> Asked {
        match self {
            Self::NoCredentials(why) => Asked::Refused(why),
            Self::Ended(why) => Asked::Refused(format!("{why}; check the credentials: they have ended")),
            other @ (Self::Refused { .. } | Self::Later(..) | Self::NotSent(_) | Self::Perhaps(_)) => {
                other.asked(check)
            }
        }
    }

    /// What it means for a look.
    pub(super) fn look(self) -> Look {
        match self {
            Self::Refused { why, .. } => Look::Refused(why),
            Self::Later(wait, _) => Look::Later(wait),
            Self::Ended(_) => Look::Later(RENEWED),
            Self::NotSent(_) | Self::NoCredentials(_) | Self::Perhaps(_) => Look::Later(Duration::ZERO),
        }
    }

    /// What it means for a search.
    pub(super) fn found(self) -> Found {
        Found::Unanswered(self.why())
    }
}

#[cfg(test)]
mod tests;
