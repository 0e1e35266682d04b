//! The keys of the config that every adapter with a remote shares, as in Prometheus' own `http_config`.
//!
//! Never holds a secret, and never shows a header's value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use rollbackd_core::config::node::{self, Fields, Node, Problems};

/// Headers that the client sets itself, or that would put a secret into the config.
const RESERVED: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "cookie",
    "host",
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "accept-encoding",
    "transfer-encoding",
    "upgrade",
    "idempotency-key",
];

/// How a remote is reached: timeout, credentials, TLS, headers.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// How long one request may take, from the connection to the last byte of the answer.
    pub timeout: Duration,
    /// The file with the token of `Authorization: Bearer`.
    pub bearer_token_file: Option<PathBuf>,
    /// A user name and the file with its password.
    pub basic_auth: Option<BasicAuth>,
    /// How the server is trusted, and how it may trust us.
    pub tls: Tls,
    /// More headers, such as `X-Scope-OrgID`.
    pub headers: BTreeMap<String, String>,
}

/// HTTP basic authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicAuth {
    /// The user name.
    pub username: String,
    /// The file with the password.
    pub password_file: PathBuf,
}

/// TLS, by file names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The only CAs to trust, as PEM; without it the machine's and the public ones are.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, as PEM.
    pub cert_file: Option<PathBuf>,
    /// Our private key, as PEM.
    pub key_file: Option<PathBuf>,
    /// Whether the server's certificate is not looked at.
    pub insecure_skip_verify: bool,
}

impl HttpSettings {
    /// No credentials, the usual CAs, this timeout.
    #[must_use]
    pub const fn with_timeout(timeout: Duration) -> Self {
        let tls = Tls { ca_file: None, cert_file: None, key_file: None, insecure_skip_verify: false };
        Self { timeout, bearer_token_file: None, basic_auth: None, tls, headers: BTreeMap::new() }
    }

    /// Reads `timeout`, `bearer_token_file`, `basic_auth`, `tls` and `headers` out of a mapping that may have more
    /// keys, which are its caller's.
    pub fn decode(fields: &mut Fields<'_>, problems: &mut Problems, default_timeout: Duration) -> Self {
        let timeout = fields.optional("timeout").and_then(|node| timeout(node, problems));
        let bearer_token_file = fields.optional("bearer_token_file").and_then(|node| file(node, problems));
        let basic_auth = fields.optional("basic_auth");
        if let (Some(_), Some(basic)) = (&bearer_token_file, basic_auth) {
            problems.error(basic.place, "expected `bearer_token_file` or `basic_auth`, not both");
        }
        Self {
            timeout: timeout.unwrap_or(default_timeout),
            bearer_token_file,
            basic_auth: basic_auth.and_then(|node| BasicAuth::decode(node, problems)),
            tls: fields.optional("tls").and_then(|node| Tls::decode(node, problems)).unwrap_or_default(),
            headers: fields.optional("headers").map(|node| headers(node, problems)).unwrap_or_default(),
        }
    }
}

impl fmt::Debug for HttpSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HttpSettings")
            .field("timeout", &self.timeout)
            .field("bearer_token_file", &self.bearer_token_file)
            .field("basic_auth", &self.basic_auth)
            .field("tls", &self.tls)
            .field("headers", &self.headers.keys())
            .finish()
    }
}

impl BasicAuth {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`basic_auth`", problems)?;
        let username = fields.required("username", problems).and_then(|node| node::text(node, problems));
        let password_file = fields.required("password_file", problems).and_then(|node| file(node, problems));
        fields.finish(problems);
        Some(Self { username: username?.to_owned(), password_file: password_file? })
    }
}

impl Tls {
    /// Reads the mapping `tls`.
    pub fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`tls`", problems)?;
        let ca_file = fields.optional("ca_file").and_then(|node| file(node, problems));
        let cert_file = fields.optional("cert_file").and_then(|node| file(node, problems));
        let key_file = fields.optional("key_file").and_then(|node| file(node, problems));
        let skip = fields.optional("insecure_skip_verify").and_then(|node| node::boolean(node, problems));
        if cert_file.is_some() != key_file.is_some() {
            problems.error(node.place, "expected `cert_file` and `key_file` together, or neither");
        }
        fields.finish(problems);
        Some(Self { ca_file, cert_file, key_file, insecure_skip_verify: skip.unwrap_or_default() })
    }
}

/// A timeout at this node, which is longer than 0.
pub fn timeout(node: &Node, problems: &mut Problems) -> Option<Duration> {
    let timeout = node::duration(node, problems)?;
    if timeout.is_zero() {
        problems.error(node.place, "expected a timeout longer than 0s");
        return None;
    }
    Some(timeout)
}

fn file(node: &Node, problems: &mut Problems) -> Option<PathBuf> {
    node::text(node, problems).map(PathBuf::from)
}

fn headers(node: &Node, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for (name, place, value) in node::entries(node, "`headers`", problems) {
        let Some(text) = node::text(value, problems) else { continue };
        if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
            let hint = "credentials come from `bearer_token_file` or `basic_auth`";
            problems.error_about_secret(place, format!("header {name:?} can't be set here; {hint}"));
        } else if HeaderName::try_from(name).is_err() {
            problems.error(place, format!("{name:?} is no name of a header"));
        } else if HeaderValue::try_from(text).is_err() {
            let message = format!("the value of header {name:?} has characters that no header may have");
            problems.error_about_secret(value.place, message);
        } else {
            headers.insert(name.to_owned(), text.to_owned());
        }
    }
    headers
}
