//! The shell's own keys of the config, and the core's, out of one tree.
//!
//! Never opens a file that the config names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use rollbackd_core::config::decode::{self as core, Dialect, Edges};
use rollbackd_core::config::node::{self, Fields, Node, Place, Problems};
use rollbackd_core::name::{AnnouncerName, NotAName, PagerName};

use super::{PrometheusSettings, Scope, Settings, Token};
use crate::announcers::{self, Announcer};
use crate::heartbeat::Heartbeat;
use crate::http_client::HttpSettings;
use crate::pagers::{self, Pager};
use crate::receipts::Keeping;
use crate::sources::Sources;
use crate::{paths, promql};

/// A query that takes longer than this is no look at production as it is now.
const PROMETHEUS_TIMEOUT: Duration = Duration::from_secs(5);

/// Prometheus' own default is 20 queries at once for everybody; 4 of them leave room for people and rules.
const DEFAULT_CONCURRENCY: usize = 4;
/// More at once would be the whole of a server's `query.max-concurrency`, and then some.
const MOST_CONCURRENCY: usize = 64;
const HOUR: Duration = Duration::from_secs(3600);
const MILLISECOND: Duration = Duration::from_millis(1);

/// The settings at the root of the config; what is wrong is noted. They are for use only where nothing was.
pub(super) fn decode(root: &Node, problems: &mut Problems) -> Option<Settings> {
    let mut fields = Fields::of(root, "the config", problems)?;
    let Queried { prometheus, graph_url, dialect } = prometheus(&mut fields, problems);
    let tokens = fields.optional("tokens").map(|node| tokens(node, problems));
    let listen = listen(&mut fields, tokens.as_deref(), problems);
    let state_dir = folder(&mut fields, "state_dir", "/var/lib/rollbackd", problems);
    let receipts_dir = folder(&mut fields, "receipts_dir", "library/raw/rollback-rehearsals", problems);
    let receipts = fields.optional("receipts").and_then(|node| Keeping::decode(node, problems));
    let external_url = fields.optional("external_url").and_then(|node| node::web_address(node, problems));
    let pagers = fields.optional("pagers").map_or(BTreeMap::new(), |node| PAGERS.decode(node, problems));
    let announcers = fields.optional("announcers");
    let announcers = announcers.map_or(BTreeMap::new(), |node| ANNOUNCERS.decode(node, problems));
    let heartbeat = fields.optional("heartbeat").and_then(|node| Heartbeat::decode(node, &pagers, problems));
    let mut adapters = BTreeMap::new();
    let names = pagers.keys().cloned().collect();
    let announcer_names = announcers.keys().cloned().collect();
    let edges = Edges {
        promql: &promql::read,
        dialect,
        lookback_delta: prometheus.as_ref().and_then(|prometheus| prometheus.lookback_delta),
        pagers: &names,
        announcers: &announcer_names,
        path_kinds: paths::KINDS,
        path: &mut |service, path, kind, node, problems| {
            let (adapter, parts) = paths::decode(kind, node, problems)?;
            adapters.insert((service.clone(), path.clone()), adapter);
            Some(parts)
        },
    };
    let mut decoded = core::decode(&mut fields, edges, problems);
    decoded.config.graph_url = graph_url;
    let sources = fields.optional("sources").and_then(|node| Sources::decode(node, &decoded.config, problems));
    fields.finish(problems);
    let pagers = pagers.into_iter().filter_map(|(name, pager)| Some((name, pager?))).collect();
    Some(Settings {
        core: decoded.config,
        prometheus: prometheus?,
        listen: listen?,
        state_dir,
        receipts_dir,
        receipts,
        service_label: decoded.service_label,
        tokens: tokens.unwrap_or_default(),
        paths: adapters,
        pagers,
        announcers: announcers.into_iter().filter_map(|(name, announcer)| Some((name, announcer?))).collect(),
        sources: sources.unwrap_or_default(),
        heartbeat,
        external_url: external_url.map(str::to_owned),
    })
}

/// What stands under `prometheus`.
#[derive(Default)]
struct Queried {
    prometheus: Option<PrometheusSettings>,
    graph_url: Option<String>,
    dialect: Dialect,
}

fn prometheus(fields: &mut Fields<'_>, problems: &mut Problems) -> Queried {
    let Some(node) = fields.required("prometheus", problems) else { return Queried::default() };
    let Some(mut fields) = Fields::of(node, "prometheus", problems) else { return Queried::default() };
    let external_url = fields.optional("external_url").and_then(|node| node::web_address(node, problems));
    let url = fields.required("url", problems).and_then(|node| api_below(node, problems));
    let http = HttpSettings::decode(&mut fields, problems, PROMETHEUS_TIMEOUT);
    let lookback_delta = fields.optional("lookback_delta");
    let lookback_delta = lookback_delta.and_then(|node| node::duration_within(node, MILLISECOND, HOUR, problems));
    let query_offset = fields.optional("query_offset");
    let query_offset = query_offset.and_then(|node| node::duration_within(node, Duration::ZERO, HOUR, problems));
    let concurrency = fields.optional("concurrency").and_then(|node| concurrency(node, problems));
    let dialects = [("strict", Dialect::Strict), ("lenient", Dialect::Lenient)];
    let dialect = fields.optional("promql").and_then(|node| node::choice(node, &dialects, problems));
    fields.finish(problems);
    let graph_url = external_url.or_else(|| url.filter(|url| may_be_shown(url)));
    let graph_url = graph_url.map(|url| url.trim_end_matches('/').to_owned());
    let prometheus = url.map(|url| PrometheusSettings {
        url: url.trim_end_matches('/').to_owned(),
        http,
        lookback_delta,
        query_offset: query_offset.unwrap_or_default(),
        concurrency: concurrency.unwrap_or(DEFAULT_CONCURRENCY),
    });
    Queried { prometheus, graph_url, dialect: dialect.unwrap_or_default() }
}

/// Whether an address may stand in a page: one with a path, a user or a query may hold a secret.
fn may_be_shown(url: &str) -> bool {
    let after_the_scheme = url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/');
    !after_the_scheme.contains(['/', '@', '?', '#'])
}

fn concurrency(node: &Node, problems: &mut Problems) -> Option<usize> {
    let concurrency = node::count(node, problems)?;
    if !(1..=MOST_CONCURRENCY).contains(&concurrency) {
        problems.error(node.place, format!("expected 1 to {MOST_CONCURRENCY} queries at once, not {concurrency}"));
    }
    Some(concurrency)
}

/// Where the API is served: without a token by loopback alone (design, "HTTP").
fn listen(fields: &mut Fields<'_>, tokens: Option<&[Token]>, problems: &mut Problems) -> Option<SocketAddr> {
    let Some(node) = fields.optional("listen") else {
        return Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9797)));
    };
    let written = node::text(node, problems)?;
    let expected = "expected an IP address and a port, as in 127.0.0.1:9797 or [::1]:9797";
    let listen: SocketAddr =
        problems.take(node.place, written.parse().map_err(|_| format!("{expected}, not {written:?}")))?;
    // Tokens that could not be read were meant all the same, and are a mistake of their own.
    if !listen.ip().to_canonical().is_loopback() && tokens.is_none() {
        let message = "without `tokens` anybody could roll back: rollbackd refuses to start on any other address than \
                       loopback (127.0.0.1 or [::1])";
        problems.error(node.place, message);
    }
    Some(listen)
}

/// The address below which the API is.
fn api_below<'a>(node: &'a Node, problems: &mut Problems) -> Option<&'a str> {
    let url = node::web_address(node, problems)?;
    let path = url.trim_end_matches('/');
    if url.contains(['?', '#']) || ["/api/v1", "/graph"].iter().any(|page| path.ends_with(page)) {
        let message =
            "expected the address of the server itself, as http://127.0.0.1:9090: `/api/v1/...` is added to it";
        problems.error(node.place, message);
        return None;
    }
    Some(url)
}

fn folder(fields: &mut Fields<'_>, key: &'static str, default: &str, problems: &mut Problems) -> PathBuf {
    let Some(node) = fields.optional(key) else { return PathBuf::from(default) };
    let written = node::text(node, problems).unwrap_or(default);
    if written.is_empty() || written.contains('\0') {
        problems.error(node.place, "expected the name of a folder");
    }
    PathBuf::from(written)
}

/// What a list of adapters with names is called in messages, and how its items are read.
struct Named<N, A> {
    one: &'static str,
    many: &'static str,
    kinds: &'static [&'static str],
    name: fn(String) -> Result<N, NotAName>,
    decode: fn(&str, &Node, &mut Problems) -> Option<A>,
}

const PAGERS: Named<PagerName, Pager> =
    Named { one: "pager", many: "pagers", kinds: pagers::KINDS, name: PagerName::new, decode: pagers::decode };

const ANNOUNCERS: Named<AnnouncerName, Announcer> = Named {
    one: "announcer",
    many: "announcers",
    kinds: announcers::KINDS,
    name: AnnouncerName::new,
    decode: announcers::decode,
};

impl<N: Ord + Clone + fmt::Display, A> Named<N, A> {
    /// The adapters by name. One that can't be read keeps its name, so that no service is blamed for naming it.
    fn decode(&self, node: &Node, problems: &mut Problems) -> BTreeMap<N, Option<A>> {
        let mut seen = BTreeMap::new();
        let mut adapters = BTreeMap::new();
        for node in node::list(node, self.many, problems) {
            let article = if self.one.starts_with('a') { "an" } else { "a" };
            let Some(mut fields) = Fields::of(node, format!("{article} {}", self.one), problems) else { continue };
            let name = fields.required("name", problems).and_then(|node| {
                let written = node::text(node, problems)?;
                Some((problems.take(node.place, (self.name)(written.to_owned()))?, node.place))
            });
            if let Some((name, place)) = &name {
                fields.call(format!("{} {name}", self.one));
                once(&mut seen, &name.to_string(), *place, self.one, problems);
            }
            let adapter = fields.exactly_one(self.kinds, problems);
            let adapter = adapter.and_then(|(kind, node)| (self.decode)(kind, node, problems));
            fields.finish(problems);
            adapters.extend(name.map(|(name, _)| (name, adapter)));
        }
        adapters
    }
}

fn tokens(node: &Node, problems: &mut Problems) -> Vec<Token> {
    let nodes = node::list(node, "tokens", problems);
    if nodes.is_empty() {
        problems.error(node.place, "expected at least one token; without `tokens` only loopback is served");
    }
    let mut seen = BTreeMap::new();
    let mut tokens = Vec::new();
    for node in nodes {
        let Some(mut fields) = Fields::of(node, "a token", problems) else { continue };
        let name = fields.required("name", problems);
        let name = name.and_then(|node| Some((node::text(node, problems)?.to_owned(), node.place)));
        if let Some((name, place)) = &name {
            once(&mut seen, name, *place, "token", problems);
        }
        let sha256 = fields.required("sha256", problems).and_then(|node| sha256(node, problems));
        let scopes = fields.required("scopes", problems).map(|node| scopes(node, problems));
        fields.finish(problems);
        if let (Some((name, _)), Some(sha256), Some(scopes)) = (name, sha256, scopes) {
            tokens.push(Token { name, sha256, scopes });
        }
    }
    tokens
}

fn scopes(node: &Node, problems: &mut Problems) -> BTreeSet<Scope> {
    let words = [("read", Scope::Read), ("deploy", Scope::Deploy), ("operate", Scope::Operate)];
    let nodes = node::list(node, "scopes", problems);
    if matches!(&node.value, node::Value::List(nodes) if nodes.is_empty()) {
        problems.error(node.place, "expected at least one scope: read, deploy or operate");
    }
    nodes.iter().filter_map(|node| node::choice(node, &words, problems)).collect()
}

/// The hash at this node. A mistake never repeats what stands there: it may be the token itself, pasted by mistake.
fn sha256(node: &Node, problems: &mut Problems) -> Option<[u8; 32]> {
    let written = node::text(node, problems)?;
    let hash = hash_of(written);
    if hash.is_none() {
        let how = "printf %s \"$TOKEN\" | sha256sum";
        problems.error(node.place, format!("expected the token's SHA-256 in 64 hex digits ({how}), never the token"));
    }
    hash
}

fn hash_of(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    if digits.len() != 64 {
        return None;
    }
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.try_into().ok()
}

/// Notes the second of two that have one name.
fn once(seen: &mut BTreeMap<String, Place>, name: &str, place: Place, what: &str, problems: &mut Problems) {
    if let Some(first) = seen.get(name) {
        problems.error(place, format!("a second {what} {name}: the first is on line {}", first.line));
    } else {
        seen.insert(name.to_owned(), place);
    }
}
