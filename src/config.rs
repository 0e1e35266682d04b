//! The config file as checked settings, or all that is wrong with it, each with its place.
//!
//! Never reads a secret (only the names of their files), and never asks a remote anything.

pub mod allow;
mod decode;
mod render;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rollbackd_core::config::Config;
use rollbackd_core::config::node::{Node, Place, Problem, Problems};
use rollbackd_core::name::{AnnouncerName, PagerName, PathName, ServiceName};

use self::allow::Allowed;
pub use self::render::{count, render_problems, summary, word};
use crate::announcers::Announcer;
use crate::heartbeat::Heartbeat;
use crate::http_client::{Endpoint, HttpSettings};
use crate::pagers::Pager;
use crate::paths::RollbackPath;
use crate::receipts::Keeping;
use crate::sources::Sources;
use crate::yaml;

/// Everything that the config says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What decisions depend on.
    pub core: Config,
    /// Where and how the metrics are asked for.
    pub prometheus: PrometheusSettings,
    /// Where the API is served; loopback alone where there is no token.
    pub listen: SocketAddr,
    /// The folder of the journal.
    pub state_dir: PathBuf,
    /// The folder of the receipts.
    pub receipts_dir: PathBuf,
    /// Whether and how receipts are kept in git.
    pub receipts: Option<Keeping>,
    /// The label that names the service in a shared query.
    pub service_label: String,
    /// Who may use the API, and for what.
    pub tokens: Vec<Token>,
    /// The adapter of each path.
    pub paths: BTreeMap<(ServiceName, PathName), RollbackPath>,
    /// The adapter of each pager.
    pub pagers: BTreeMap<PagerName, Pager>,
    /// The adapter of each announcer.
    pub announcers: BTreeMap<AnnouncerName, Announcer>,
    /// Who tells of deploys by webhooks and events.
    pub sources: Sources,
    /// Who is told that the daemon works.
    pub heartbeat: Option<Heartbeat>,
    /// Where people reach the API, for the links in pages.
    pub external_url: Option<String>,
}

impl Settings {
    /// What tells this daemon from others: where people reach it, or where it listens.
    #[must_use]
    pub fn instance(&self) -> String {
        self.external_url.clone().unwrap_or_else(|| self.listen.to_string())
    }
}

/// Where and how the metrics are asked for.
#[derive(Clone)]
pub struct PrometheusSettings {
    /// The API's base, with any path prefix and without `/api/v1`.
    pub url: String,
    /// Credentials, TLS, headers, timeout.
    pub http: HttpSettings,
    /// How long a sample stays valid, sent with each query; `None` leaves it to the server.
    pub lookback_delta: Option<Duration>,
    /// How far behind the present queries are asked, for servers whose newest samples come late.
    pub query_offset: Duration,
    /// How many queries may be under way at once.
    pub concurrency: usize,
}

impl fmt::Debug for PrometheusSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PrometheusSettings")
            // The server alone: a path may hold a token.
            .field("url", &Endpoint::parse(&self.url).ok())
            .field("http", &self.http)
            .field("lookback_delta", &self.lookback_delta)
            .field("query_offset", &self.query_offset)
            .field("concurrency", &self.concurrency)
            .finish()
    }
}

/// A bearer token, known by its hash alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whose it is, for the log.
    pub name: String,
    /// The SHA-256 of the token.
    pub sha256: [u8; 32],
    /// What it is good for.
    pub scopes: BTreeSet<Scope>,
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Looking.
    Read,
    /// Reporting deploys and triggers.
    Deploy,
    /// Approving, dismissing, rolling back, freezing.
    Operate,
}

/// A config that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// What its writer hardly meant, for the log.
    pub warnings: Vec<Problem>,
}

/// A config that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file can't be read.
    #[error("the config {} can't be read: expected a file that is there and that this user may read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds mistakes.
    #[error("{0}")]
    Mistakes(String),
}

/// A load error with its cause, for people.
#[must_use]
pub fn explain(error: &LoadError) -> String {
    match error {
        LoadError::Unreadable { file, source } if file.is_relative() => {
            format!("{error}: {source}; this name counts from the folder that rollbackd was started in")
        }
        LoadError::Unreadable { source, .. } => format!("{error}: {source}"),
        LoadError::Mistakes(text) => text.clone(),
    }
}

/// A config file as it was read: all that is known of it before anybody looks closer.
#[derive(Debug)]
pub struct Whole {
    /// The file's text, as far as it is UTF-8.
    pub text: String,
    /// The text as a tree; none where its structure is broken.
    pub root: Option<Node>,
    /// What it says; none where a mistake forbids its use.
    pub settings: Option<Settings>,
    /// All mistakes and warnings, in no order, and what comments allow among them.
    pub problems: Vec<Problem>,
}

/// Reads a config file.
///
/// # Errors
/// The file can't be read, or holds mistakes: then the error's text shows all of them.
pub fn load(file: &Path) -> Result<Loaded, LoadError> {
    let mut whole = read_whole(file).map_err(|source| LoadError::Unreadable { file: file.to_owned(), source })?;
    Allowed::of(&whole.text).silence(&mut whole.problems);
    sort(&mut whole.problems);
    match whole.settings {
        Some(mut settings) => {
            // Commands run in folders of their own, and find their attempts by it.
            settings.state_dir = std::path::absolute(&settings.state_dir)
                .map_err(|source| LoadError::Unreadable { file: settings.state_dir.clone(), source })?;
            Ok(Loaded { settings, warnings: whole.problems })
        }
        None => Err(LoadError::Mistakes(render_problems(&file.display().to_string(), &whole.text, &whole.problems))),
    }
}

/// Reads a config file, for who looks closer than [`load`] does.
///
/// # Errors
/// The file can't be read. Mistakes in it are in the answer.
pub fn read_whole(file: &Path) -> io::Result<Whole> {
    match String::from_utf8(read(file)?) {
        Ok(text) => Ok(whole(text)),
        Err(error) => Ok(not_text(&error)),
    }
}

/// Reads a config: what it says, unless a mistake forbids that, and all mistakes and warnings in the order of their
/// places, without what comments allow.
#[must_use]
pub fn parse(text: &str) -> (Option<Settings>, Vec<Problem>) {
    let mut whole = whole(text.to_owned());
    Allowed::of(text).silence(&mut whole.problems);
    sort(&mut whole.problems);
    (whole.settings, whole.problems)
}

/// Puts mistakes in the order of their places. An alias repeats one at the same place as often as the value itself: it is
/// kept once.
pub fn sort(problems: &mut Vec<Problem>) {
    problems.sort_by(|left, right| {
        (left.place, left.severity, &left.message).cmp(&(right.place, right.severity, &right.message))
    });
    problems.dedup();
}

fn whole(text: String) -> Whole {
    let mut problems = Problems::default();
    let root = yaml::parse(&text, &mut problems);
    let settings = root.as_ref().and_then(|root| decode::decode(root, &mut problems));
    let usable = !problems.any_error();
    Whole { text, root, settings: settings.filter(|_| usable), problems: problems.0 }
}

/// The file's bytes; one more than the longest at most, so that a device or a log named by mistake does not fill memory.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let longest = u64::try_from(yaml::LONGEST_BYTES).unwrap_or(u64::MAX);
    File::open(file)?.take(longest.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn not_text(error: &std::string::FromUtf8Error) -> Whole {
    let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
    let text = String::from_utf8_lossy(valid).into_owned();
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let mut problems = Problems::default();
    problems.error(Place { line, column }, "not UTF-8 from here on: save the file as UTF-8");
    Whole { text, root: None, settings: None, problems: problems.0 }
}
