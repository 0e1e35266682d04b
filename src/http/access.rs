//! Who may ask what: bearer tokens with scopes (RFC 6750) and, where none is configured, this machine alone.
//!
//! Never holds a token: only hashes are compared, all of them, in a time that says nothing about them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::Asks;
use super::problem::{Kind, Problem};

pub use crate::config::{Scope, Token};

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::Operate => "operate",
        })
    }
}

/// The tokens in force. Clones share them, so that a reload reaches the router.
#[derive(Clone, Debug)]
pub struct Access {
    tokens: Arc<RwLock<Tokens>>,
}

#[derive(Debug)]
struct Tokens {
    required: bool,
    known: Vec<Token>,
}

impl Access {
    /// These tokens; with none, everybody who reaches the socket may do everything, so it must be a loopback one.
    #[must_use]
    pub fn new(tokens: Vec<Token>) -> Self {
        Self { tokens: Arc::new(RwLock::new(Tokens { required: !tokens.is_empty(), known: tokens })) }
    }

    /// Puts other tokens in force. Where some were needed before, some are needed still: the socket may not be a
    /// loopback one, so a reload to none shuts everybody out instead of letting everybody in.
    pub fn replace(&self, tokens: Vec<Token>) {
        let mut current = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        current.required = current.required || !tokens.is_empty();
        current.known = tokens;
    }

    /// Whose token the request has. Looks at every token, however early one fits.
    fn who(&self, headers: &HeaderMap) -> Who {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        if !tokens.required {
            return Who::AnybodyHere;
        }
        let presented: Vec<&HeaderValue> = headers.get_all(header::AUTHORIZATION).iter().collect();
        let [value] = presented.as_slice() else {
            return if presented.is_empty() { Who::Nobody } else { Who::Unknown };
        };
        let Some(token) = bearer(value) else { return Who::Unknown };
        let hash: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for known in &tokens.known {
            let same: Choice = known.sha256.as_slice().ct_eq(hash.as_slice());
            if bool::from(same) {
                found = Some(known);
            }
        }
        found.map_or(Who::Unknown, |token| Who::Holder { name: token.name.clone(), scopes: token.scopes.clone() })
    }
}

/// The token in an `Authorization` header; the scheme's case does not matter (RFC 9110, 11.1).
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let value = value.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

enum Who {
    /// No token is configured.
    AnybodyHere,
    /// No token was sent.
    Nobody,
    /// Something was sent, and it is no known token.
    Unknown,
    /// The holder of a token.
    Holder { name: String, scopes: BTreeSet<Scope> },
}

/// What stands before one route.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub(super) access: Access,
    pub(super) asks: Asks,
}

/// Lets a request through, or says why not.
pub(super) async fn admit(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let Asks::Scope(scope) = gate.asks else { return next.run(request).await };
    let name = match admitted(gate.access.who(request.headers()), scope, &request) {
        Ok(name) => name,
        Err(problem) => return problem.into_response(),
    };
    let (method, route) = (request.method().clone(), request.extensions().get::<MatchedPath>().cloned());
    let response = next.run(request).await;
    if method == Method::POST {
        let route = route.as_ref().map_or("unknown", MatchedPath::as_str);
        tracing::info!(token = name, route, status = response.status().as_u16(), "asked over HTTP");
    }
    response
}

fn admitted(who: Who, scope: Scope, request: &Request) -> Result<String, Problem> {
    let unauthorized = |detail: &str, challenge| {
        Err(Problem::new(Kind::Unauthorized, detail).with_header(header::WWW_AUTHENTICATE, challenge))
    };
    match who {
        Who::AnybodyHere => from_this_machine(request).map(|()| "none needed".to_owned()),
        Who::Nobody => {
            unauthorized("send a token of the config as `Authorization: Bearer TOKEN`", "Bearer realm=\"rollbackd\"")
        }
        Who::Unknown => unauthorized(
            "the `Authorization` header holds no token of the config; expected one `Bearer TOKEN` whose SHA-256 is listed there",
            "Bearer realm=\"rollbackd\", error=\"invalid_token\"",
        ),
        Who::Holder { name, scopes } if scopes.contains(&scope) => Ok(name),
        Who::Holder { .. } => {
            let detail = format!("this needs a token with the scope `{scope}`, which this one has not");
            let challenge = match scope {
                Scope::Read => "Bearer realm=\"rollbackd\", error=\"insufficient_scope\", scope=\"read\"",
                Scope::Deploy => "Bearer realm=\"rollbackd\", error=\"insufficient_scope\", scope=\"deploy\"",
                Scope::Operate => "Bearer realm=\"rollbackd\", error=\"insufficient_scope\", scope=\"operate\"",
            };
            Err(Problem::new(Kind::MissingScope, detail).with_header(header::WWW_AUTHENTICATE, challenge))
        }
    }
}

/// Without tokens, a web page must not reach the API through somebody's browser: neither under a name of its own that
/// leads here (DNS rebinding), nor from an origin of its own. What a form can send is held off by the media type.
fn from_this_machine(request: &Request) -> Result<(), Problem> {
    let foreign = |what: &str| {
        Err(Problem::new(
            Kind::ForeignHost,
            format!(
                "{what}; without tokens in the config only this machine is served: ask 127.0.0.1, or configure tokens"
            ),
        ))
    };
    let hosts: Vec<&HeaderValue> = request.headers().get_all(header::HOST).iter().collect();
    let [host] = hosts.as_slice() else { return foreign("expected one `Host` header") };
    if !host.to_str().is_ok_and(is_loopback) {
        return foreign("the `Host` header names another host than this machine");
    }
    if request.uri().authority().is_some_and(|authority| !is_loopback(authority.as_str())) {
        return foreign("the request line names another host than this machine");
    }
    let origin = request.headers().get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    let from_here = |origin: &str| origin.split_once("://").is_some_and(|(_, host)| is_loopback(host));
    if origin.is_some_and(|origin| !from_here(origin)) {
        return foreign("the `Origin` header names a page of another host");
    }
    // A browser's own word for it. Looking is let through: people follow links to here from other pages.
    let site = request.headers().get("sec-fetch-site").map(HeaderValue::as_bytes);
    if request.method() == Method::POST && site.is_some_and(|site| !matches!(site, b"same-origin" | b"none")) {
        return foreign("the `Sec-Fetch-Site` header says that a page of another site asks");
    }
    Ok(())
}

/// Whether `HOST[:PORT]` is this machine.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) if is_port(port) => host,
            Some(_) | None => return false,
        },
        None => match authority.split_once(':') {
            Some((host, _)) if is_port(authority.get(host.len()..).unwrap_or_default()) => host,
            Some(_) => return false,
            None => authority,
        },
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether this is what may follow a host: nothing, or `:PORT`.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_and_addresses_are_this_machine() {
        for here in ["localhost", "LOCALHOST:9797", "127.0.0.1", "127.0.0.1:80", "127.9.9.9", "[::1]", "[::1]:9797"] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in [
            "",
            "evil.example",
            "evil.example:9797",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "[::1",
            "[::1]x",
            "localhost:",
            "localhost:x",
            "evil@localhost",
            "::1",
        ] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }

    fn token(name: &str, secret: &str) -> Token {
        Token { name: name.to_owned(), sha256: Sha256::digest(secret).into(), scopes: BTreeSet::from([Scope::Read]) }
    }

    fn with(authorization: &[&str]) -> HeaderMap {
        let pairs = authorization.iter().map(|value| (header::AUTHORIZATION, HeaderValue::from_str(value).unwrap()));
        pairs.collect()
    }

    #[test]
    fn each_of_several_tokens_is_found() {
        let access = Access::new(vec![token("first", "one"), token("second", "two")]);
        for (secret, expected) in [("one", "first"), ("two", "second")] {
            let who = access.who(&with(&[&format!("bearer {secret}")]));
            assert!(matches!(who, Who::Holder { name, .. } if name == expected));
        }
        for wrong in [&["Bearer three"][..], &["one"], &["Basic one"], &["Bearer "], &["Bearer one", "Bearer one"]] {
            assert!(matches!(access.who(&with(wrong)), Who::Unknown), "{wrong:?}");
        }
        assert!(matches!(access.who(&with(&[])), Who::Nobody));
    }

    #[test]
    fn tokens_of_every_length_are_compared_as_hashes_of_one_length() {
        let secret: String = "0123456789abcdef".repeat(4);
        let access = Access::new(vec![token("long", &secret), token("short", "0"), token("middle", &secret[..32])]);
        for length in 1..=secret.len() {
            let who = access.who(&with(&[&format!("Bearer {}", &secret[..length])]));
            let name = match who {
                Who::Holder { name, .. } => name,
                Who::AnybodyHere | Who::Nobody | Who::Unknown => String::new(),
            };
            let expected = match length {
                1 => "short",
                32 => "middle",
                64 => "long",
                _ => "",
            };
            assert_eq!(name, expected, "of length {length}");
        }
        // Neither the hash itself nor a token with something more is the token.
        let hash: String = token("long", &secret).sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        for wrong in [hash, format!("{secret} "), format!("{secret}0"), secret.to_uppercase()] {
            assert!(matches!(access.who(&with(&[&format!("Bearer {wrong}")])), Who::Unknown), "{wrong}");
        }
    }

    #[test]
    fn a_reload_to_no_tokens_shuts_everybody_out() {
        let access = Access::new(vec![token("first", "one")]);
        access.replace(Vec::new());
        assert!(matches!(access.who(&with(&["Bearer one"])), Who::Unknown));
        let open = Access::new(Vec::new());
        assert!(matches!(open.who(&with(&[])), Who::AnybodyHere));
        open.replace(vec![token("first", "one")]);
        assert!(matches!(open.who(&with(&[])), Who::Nobody));
    }
}
