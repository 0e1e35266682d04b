//! A client of the HTTP API: sends the token, understands problem details.
//!
//! Never follows a redirect (the token would go along), never shows the token, and never sends it through a proxy to
//! this very machine.

use std::fmt::Write as _;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use reqwest::{Certificate, Method, StatusCode, Url};
use rollbackd_core::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::clock;

/// The daemon is near; a connection that takes longer does not come.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The daemon itself gives up on a reply after 30 s and says so: longer than that.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
/// The state of a thousand services with twenty firings each, and then some.
const LARGEST_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Why an answer could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("server {server:?} can't be used: expected a URL such as http://127.0.0.1:9797 ({why})")]
    BadServer {
        /// What was given.
        server: String,
        /// What is wrong with it.
        why: String,
    },
    /// The token can't be sent.
    #[error("the token can't be sent: expected one line of visible ASCII characters")]
    BadToken,
    /// The client could not be built.
    #[error("the HTTP client could not be built: {0}")]
    Broken(String),
    /// Nobody answers there.
    #[error(
        "{server} can't be reached ({why}): is the daemon running there? --server and ROLLBACKD_SERVER name another"
    )]
    Unreachable {
        /// The address.
        server: String,
        /// The innermost cause.
        why: String,
    },
    /// The API refused.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// Something answered that is no rollbackd.
    #[error("what answers at {server} is no rollbackd ({why}): see --server")]
    NotRollbackd {
        /// The address.
        server: String,
        /// What was wrong with the answer.
        why: String,
    },
}

/// Problem details, as the API tells them (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// The kind of problem.
    #[serde(default)]
    pub r#type: String,
    /// The kind of problem in words.
    #[serde(default)]
    pub title: String,
    /// The status code.
    #[serde(default)]
    pub status: u16,
    /// What is the matter and what to do.
    pub detail: String,
    /// The field that it is about.
    #[serde(default)]
    pub field: Option<String>,
    /// The names that may have been meant.
    #[serde(default)]
    pub nearest: Vec<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = self.detail.clone();
        if let Some(field) = self.field.as_ref().filter(|field| !self.detail.contains(field.as_str())) {
            write!(text, " ({field})")?;
        }
        if !self.nearest.is_empty() {
            write!(text, "; did you mean {}?", self.nearest.join(", "))?;
        }
        if self.status == reqwest::StatusCode::UNAUTHORIZED.as_u16() {
            text.push_str("; a command takes its token from `--token-file` or ROLLBACKD_TOKEN");
        }
        formatter.write_str(&text)
    }
}

/// What the API answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The daemon's clock, to the second; this machine's where the answer doesn't say.
    pub at: Timestamp,
    /// The body.
    pub body: Value,
}

/// A client of one daemon.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    server: Url,
    token: Option<SecretString>,
}

impl Client {
    /// A client of the daemon at this address.
    ///
    /// # Errors
    /// The address is no http(s) URL, or holds credentials.
    pub fn new(server: &str, token: Option<SecretString>) -> Result<Self, Error> {
        let server = parse_server(server)?;
        // The platform's roots are there as well; without these, a machine that has none could not even speak http.
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|root| Certificate::from_der(root).ok());
        let mut builder = reqwest::Client::builder()
            .tls_certs_merge(roots)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .user_agent(concat!("rollbackd/", env!("CARGO_PKG_VERSION")));
        if is_this_machine(&server) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| Error::Broken(innermost(&error)))?;
        Ok(Self { http, server, token })
    }

    /// Asks for what a path shows.
    ///
    /// # Errors
    /// The server can't be reached, refuses, or is no rollbackd.
    pub async fn get(&self, path: &[&str]) -> Result<Answer, Error> {
        self.send(self.request(Method::GET, path)?).await
    }

    /// Asks a path to do something.
    ///
    /// # Errors
    /// The server can't be reached, refuses, or is no rollbackd.
    pub async fn post(&self, path: &[&str], body: &Value, key: Option<&str>) -> Result<Answer, Error> {
        let mut request = self.request(Method::POST, path)?.json(body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        self.send(request).await
    }

    /// A request to a path, each piece of it escaped.
    fn request(&self, method: Method, path: &[&str]) -> Result<reqwest::RequestBuilder, Error> {
        let mut url = self.server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.http.request(method, url);
        let Some(token) = &self.token else { return Ok(request) };
        let mut value =
            HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).map_err(|_| Error::BadToken)?;
        value.set_sensitive(true);
        Ok(request.header(reqwest::header::AUTHORIZATION, value))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, Error> {
        let unreachable =
            |error: reqwest::Error| Error::Unreachable { server: self.server.to_string(), why: innermost(&error) };
        let mut response = request.send().await.map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if bytes.len() + chunk.len() > LARGEST_ANSWER_BYTES {
                return Err(self.not_rollbackd("its answer has no end"));
            }
            bytes.extend_from_slice(&chunk);
        }
        self.understand(status, &headers, &bytes)
    }

    fn understand(&self, status: StatusCode, headers: &HeaderMap, bytes: &[u8]) -> Result<Answer, Error> {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("application/problem+json")
            && let Ok(problem) = serde_json::from_slice(bytes)
        {
            return Err(Error::Refused(Box::new(problem)));
        }
        if !status.is_success() || !kind.starts_with("application/json") {
            return Err(self.not_rollbackd(&format!("it answers {} with {kind:?}", status.as_u16())));
        }
        let body = serde_json::from_slice(bytes).map_err(|_| self.not_rollbackd("its answer is not JSON"))?;
        Ok(Answer { status: status.as_u16(), at: date(headers).unwrap_or_else(clock::now), body })
    }

    /// That the answer is not one of the API's.
    #[must_use]
    pub fn not_rollbackd(&self, why: &str) -> Error {
        Error::NotRollbackd { server: self.server.to_string(), why: why.to_owned() }
    }
}

fn parse_server(server: &str) -> Result<Url, Error> {
    // What is wrong may be that it holds a password, so what was given is not repeated then.
    let bad = |why: &str| Error::BadServer { server: server.to_owned(), why: why.to_owned() };
    let url = Url::parse(server).map_err(|error| bad(&error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        let why = "it holds a user name or password; the token goes into a file or ROLLBACKD_TOKEN".to_owned();
        return Err(Error::BadServer { server: url.host_str().unwrap_or_default().to_owned(), why });
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("its scheme is neither http nor https"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("it has a query or a fragment"));
    }
    Ok(url)
}

fn is_this_machine(server: &Url) -> bool {
    let host = server.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The `Date` of an answer (RFC 9110, 6.6.1).
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let instant = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_milliseconds(instant.timestamp().as_millisecond()))
}

/// The cause at the bottom, which is the one that helps; the layers above it repeat the URL.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_http_url_without_credentials() {
        for good in ["http://127.0.0.1:9797", "https://rollbackd.example/prefix/", "http://[::1]:80"] {
            assert!(Client::new(good, None).is_ok(), "{good}");
        }
        for bad in ["127.0.0.1:9797", "", "ftp://x", "http://x/?a=b", "http://x/#a"] {
            assert!(matches!(Client::new(bad, None), Err(Error::BadServer { .. })), "{bad}");
        }
        let error = Client::new("http://me:hunter2@x", None).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn each_piece_of_a_path_is_escaped_and_the_prefix_is_kept() {
        let client = Client::new("https://rollbackd.example/prefix/", None).unwrap();
        let request = client.request(Method::GET, &["v1", "services", "a/b?c#d"]).unwrap().build().unwrap();
        assert_eq!(request.url().as_str(), "https://rollbackd.example/prefix/v1/services/a%2Fb%3Fc%23d");
    }

    #[test]
    fn a_token_is_sent_and_not_shown() {
        let client = Client::new("http://127.0.0.1:1", Some(SecretString::from("hunter2"))).unwrap();
        let request = client.request(Method::GET, &[]).unwrap().build().unwrap();
        assert_eq!(request.headers()["authorization"], "Bearer hunter2");
        assert!(!format!("{request:?} {client:?}").contains("hunter2"));
        let client = Client::new("http://127.0.0.1:1", Some(SecretString::from("hunter2\nx"))).unwrap();
        let error = client.request(Method::GET, &[]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn the_daemons_clock_is_read_from_its_answer() {
        let headers: HeaderMap =
            [(DATE, HeaderValue::from_static("Mon, 23 Nov 2026 10:04:02 GMT"))].into_iter().collect();
        assert_eq!(date(&headers).unwrap().to_string(), "2026-11-23T10:04:02.000Z");
    }
}
