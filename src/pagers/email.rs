//! A mail to one address, by an SMTP server; the keys are named as in Alertmanager's `email_config`.
//!
//! Never sends a password over a network that can read it, and never lets a page begin a header of its own.

mod message;
mod smtp;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::page::Page;
use secrecy::SecretString;

use super::{Adapter, Failure, Sending, not_sent};
use crate::http_client::{self, HttpSettings, Tls};
use crate::outside::Pending;
use smtp::{Login, Mail, Security, Server};

/// Servers that receive mail may keep whoever connects waiting on purpose, for six seconds and more.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The port on which TLS starts at once (RFC 8314, 3.3).
const IMPLICIT_TLS_PORT: u16 = 465;

/// A path is no longer (RFC 5321, 4.5.3.1.3).
const LONGEST_ADDRESS: usize = 254;

/// The longest line of a mail without its end (RFC 5322, 2.1.1).
const LONGEST_LINE: usize = 998;

/// Headers that say what the page says, or how its text is written.
const RESERVED: &[&str] = &[
    "from",
    "to",
    "cc",
    "bcc",
    "sender",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "auto-submitted",
    "content-type",
    "content-transfer-encoding",
];

/// One address, and the server that takes mail for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Email {
    from: String,
    to: String,
    server: Server,
    login: Option<(String, PathBuf)>,
    /// Its timeout, TLS and headers; the headers are the mail's.
    settings: HttpSettings,
}

impl Email {
    /// Reads `smarthost`, `from`, `to`, `hello`, `auth_username`, `auth_password_file`, `require_tls`,
    /// `force_implicit_tls`, `headers`, `tls` and `timeout`.
    pub(super) fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`email`", problems)?;
        let from = fields.required("from", problems).and_then(|node| address(node, problems));
        let to = fields.required("to", problems).and_then(|node| address(node, problems));
        let smarthost = fields.required("smarthost", problems).and_then(|node| smarthost(node, problems));
        let hello = match fields.optional("hello") {
            Some(node) => hello(node, problems),
            None => Some("localhost".to_owned()),
        };
        let login = login(&mut fields, problems);
        let security = smarthost.as_ref().and_then(|(host, port)| security(&mut fields, host, *port, problems));
        let settings = settings(&mut fields, problems);
        fields.finish(problems);
        let (host, port) = smarthost?;
        let server = Server { host, port, security: security?, hello: hello? };
        if login.is_some() && server.security == Security::Plain && !is_loopback(&server.host) {
            let message = "the password would be sent without encryption: expected `require_tls: true`";
            problems.error(node.place, message);
        }
        Some(Self { from: from?, to: to?, server, login, settings })
    }

    async fn deliver(&self, page: &Page, with: Sending<'_>) -> Result<(), Failure> {
        let password = match &self.login {
            Some((_, file)) => {
                Some(http_client::secret("password file", file).await.map_err(|error| not_sent(&error))?)
            }
            None => None,
        };
        let tls = self.settings.tls.clone();
        // Reading certificate files, of which a machine has hundreds, must hold up nothing else.
        let connector = tokio::task::spawn_blocking(move || http_client::connector(&tls)).await;
        let connector = connector.map_err(|error| later(&error.to_string()))?.map_err(|error| not_sent(&error))?;
        let text = message::of(page, with.external_url, &self.from, &self.to, &self.settings.headers);
        let mail = Mail { from: &self.from, to: &self.to, text: &text };
        let told = smtp::send(&self.server, &connector, self.login(password.as_ref()), &mail);
        let told = tokio::time::timeout(self.settings.timeout, told).await;
        told.unwrap_or_else(|_| Err(later(&format!("{}: timed out", self.server))))
    }

    fn login<'a>(&'a self, password: Option<&'a SecretString>) -> Option<Login<'a>> {
        let (username, _) = self.login.as_ref()?;
        Some(Login { username, password: password? })
    }
}

impl Adapter for Email {
    /// No mail is sent with the client that is made of them, but making it finds a mistake in the certificate files
    /// when the config loads.
    fn settings(&self) -> &HttpSettings {
        &self.settings
    }

    fn send<'a>(&'a self, page: &'a Page, with: Sending<'a>) -> Pending<'a, Result<(), Failure>> {
        Box::pin(self.deliver(page, with))
    }
}

fn later(why: &str) -> Failure {
    Failure::Retry { why: why.to_owned(), after: None }
}

fn settings(fields: &mut Fields<'_>, problems: &mut Problems) -> HttpSettings {
    let timeout = fields.optional("timeout").and_then(|node| http_client::timeout(node, problems));
    let mut settings = HttpSettings::with_timeout(timeout.unwrap_or(DEFAULT_TIMEOUT));
    settings.tls = fields.optional("tls").and_then(|node| Tls::decode(node, problems)).unwrap_or_default();
    for (name, place, value) in
        fields.optional("headers").map(|node| node::entries(node, "`headers`", problems)).unwrap_or_default()
    {
        let Some(text) = node::text(value, problems) else { continue };
        if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
            problems.error(place, format!("header {name:?} can't be set here: it comes from the page"));
        } else if name.is_empty() || !name.chars().all(|each| each.is_ascii_graphic() && each != ':') {
            problems.error(place, format!("{name:?} is no name of a header"));
        } else if !is_printable(text) || name.len() + ": ".len() + text.len() > LONGEST_LINE {
            let message = format!("expected the value of header {name:?} as one line of printable ASCII");
            problems.error(value.place, message);
        } else {
            settings.headers.insert(name.to_owned(), text.to_owned());
        }
    }
    settings
}

fn is_printable(text: &str) -> bool {
    text.chars().all(|each| each.is_ascii_graphic() || each == ' ')
}

/// Such as `oncall@example.com`: the form that needs no quotes, so that it can stand in a command and in a header.
fn address(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node::text(node, problems)?;
    let of_a_user = |each: char| each.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(each);
    let is_one = text.rsplit_once('@').is_some_and(|(user, domain)| {
        !user.is_empty() && user.chars().all(of_a_user) && is_domain(domain) && text.len() <= LONGEST_ADDRESS
    });
    if !is_one {
        let message = format!(
            "expected one address alone, as in oncall@example.com, not {text:?}; a list is an address of its server"
        );
        problems.error(node.place, message);
        return None;
    }
    Some(text.to_owned())
}

fn is_domain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|each| each.is_ascii_alphanumeric() || matches!(each, '.' | '-'))
}

fn smarthost(node: &Node, problems: &mut Problems) -> Option<(String, u16)> {
    let text = node::text(node, problems)?;
    let found = text.rsplit_once(':').and_then(|(host, port)| {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_host = is_domain(host) || host.parse::<IpAddr>().is_ok();
        Some((host.to_owned(), port.parse().ok().filter(|port| *port > 0 && is_host)?))
    });
    if found.is_none() {
        problems.error(node.place, format!("expected a server and its port, as in smtp.example.com:587, not {text:?}"));
    }
    found
}

/// What we call ourselves: a domain, or an address in brackets (RFC 5321, 4.1.1.1).
fn hello(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node::text(node, problems)?;
    let of_a_name = |each: char| each.is_ascii_alphanumeric() || ".-:[]".contains(each);
    if text.is_empty() || text.len() > LONGEST_ADDRESS || !text.chars().all(of_a_name) {
        problems.error(node.place, format!("expected a name such as rollbackd.example.com, not {text:?}"));
        return None;
    }
    Some(text.to_owned())
}

fn login(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<(String, PathBuf)> {
    let username = fields.optional("auth_username").and_then(|node| node::text(node, problems));
    let file = fields.optional("auth_password_file").and_then(|node| node::text(node, problems));
    match (username, file) {
        (Some(username), Some(file)) => Some((username.to_owned(), PathBuf::from(file))),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            problems.error(fields.place, "expected `auth_username` and `auth_password_file` together, or neither");
            None
        }
    }
}

/// As Alertmanager decides it, but that this machine itself need not be spoken to in secret.
fn security(fields: &mut Fields<'_>, host: &str, port: u16, problems: &mut Problems) -> Option<Security> {
    let implicit = fields.optional("force_implicit_tls").map(|node| node::boolean(node, problems));
    let required = fields.optional("require_tls").map(|node| node::boolean(node, problems));
    let implicit = implicit.unwrap_or(Some(port == IMPLICIT_TLS_PORT))?;
    let required = required.unwrap_or_else(|| Some(!is_loopback(host)))?;
    Some(match (implicit, required) {
        (true, true | false) => Security::Implicit,
        (false, true) => Security::StartTls,
        (false, false) => Security::Plain,
    })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
