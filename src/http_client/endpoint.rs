//! The address of a remote, checked.
//!
//! Never shows more of itself than the server's name: a path or a query may hold a token.

use std::fmt;

use reqwest::Url;
use rollbackd_core::config::node::{self, Node, Problems};

use super::Error;

/// An `http` or `https` URL without credentials in it. Shown as scheme, host and port alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Checks the text.
    ///
    /// # Errors
    /// It is no absolute `http://` or `https://` URL, or has a user name or a password in it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |why: &str| Err(Error::Url(format!("expected a URL such as http://127.0.0.1:9090: {why}")));
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => return refuse(&error.to_string()),
        };
        if !matches!(url.scheme(), "http" | "https") {
            return refuse("only http and https are spoken");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("no user name or password may stand in it, use `basic_auth` with a `password_file`");
        }
        if url.fragment().is_some() {
            return refuse("a part after # is never sent");
        }
        Ok(Self(url))
    }

    /// The URL at this node of the config.
    pub fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let text = node::text(node, problems)?;
        problems.take(node.place, Self::parse(text))
    }

    /// The URL at this node of the config, where nobody can read on the way what is sent.
    pub fn decode_private(node: &Node, problems: &mut Problems) -> Option<Self> {
        let endpoint = Self::decode(node, problems)?;
        if !endpoint.is_private() {
            problems.error(node.place, "expected an https URL (http only for this machine): a token is sent there");
            return None;
        }
        Some(endpoint)
    }

    /// Whether nobody can read on the way what is sent there: https, or this machine.
    #[must_use]
    pub fn is_private(&self) -> bool {
        let here = matches!(self.0.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        self.0.scheme() == "https" || here
    }

    /// The URL as it was given.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.0
    }

    /// The URL with these segments after its own path; a query in it stays.
    #[must_use]
    pub fn under(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.origin().ascii_serialization())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Endpoint({self})")
    }
}
