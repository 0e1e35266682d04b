//! The config's tree of values as the checked [`Config`]: every mistake noted at its place, none stops the reading.
//!
//! Never knows PromQL or an adapter's keys: the shell hands in a reader for each.

mod check;
mod comparison;
mod metric;
mod query;
mod rehearsal;
mod service;
mod trigger;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::node::{self, Fields, Node, Place, Problems};
use super::{Config, FleetGuard, Mode, PathRule, RunPart};
use crate::by_service::ByService;
use crate::name::{AnnouncerName, NotAName, PagerName, PathName, ServiceName};

/// What the shell brings to the reading.
pub struct Edges<'a> {
    /// Reads PromQL whose templates are rendered with stand-ins.
    pub promql: PromqlReader<'a>,
    /// Whether PromQL that can't be read is a mistake.
    pub dialect: Dialect,
    /// How old a sample may be and still count, where the config says so itself.
    pub lookback_delta: Option<Duration>,
    /// The pagers that a service may name.
    pub pagers: &'a BTreeSet<PagerName>,
    /// The announcers that a service may name.
    pub announcers: &'a BTreeSet<AnnouncerName>,
    /// The keys of the adapters, of which a path has exactly one.
    pub path_kinds: &'static [&'static str],
    /// Reads what stands under an adapter's key.
    pub path: PathReader<'a>,
}

/// Says what is known of a query, or why it is none.
pub type PromqlReader<'a> = &'a dyn Fn(&str) -> Result<PromqlFacts, String>;

/// Reads what stands under an adapter's key, and says what the core needs of it.
pub type PathReader<'a> =
    &'a mut dyn FnMut(&ServiceName, &PathName, &'static str, &Node, &mut Problems) -> Option<PathParts>;

/// What is known of a query without asking a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromqlFacts {
    /// How far behind an instant it looks: the longest range and offset; subqueries add up.
    pub window: Duration,
    /// What it selects: bare selectors, without ranges, offsets and repetition, in their order.
    pub selectors: Vec<String>,
    /// Those of them that are read as they are, without a range: a sample that is minutes old still shows there.
    pub instant_selectors: Vec<String>,
    /// Whether it drops series by itself.
    pub filtering: Filtering,
    /// Whether it gives a number without series (`scalar(…)`, `time()`).
    pub is_scalar: bool,
}

/// Whether a query drops series by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtering {
    /// Nothing in it filters.
    Never,
    /// A comparison, `and`, `unless`, `or` or `absent` somewhere in it does.
    Inside,
    /// A comparison is the last thing that is done, as in most alerting rules.
    Outermost,
}

/// Whether PromQL that can't be read is a mistake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// It is.
    #[default]
    Strict,
    /// It may be a dialect (MetricsQL): a warning, and the server has the last word.
    Lenient,
}

/// What the core needs of a path's adapter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PathParts {
    /// What it will run, in the adapter's own order.
    pub run: Vec<RunPart>,
    /// What a path of this kind leaves behind for a human.
    pub leaves_behind: Option<String>,
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// What decisions depend on.
    pub config: Config,
    /// The label that names the service in a shared query.
    pub service_label: String,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_hours(24);
/// The shortest duration that anything here may have: the clock of a look is milliseconds, its network is not.
const SHORTEST: Duration = Duration::from_millis(100);
/// The most slots in a `for`, a baseline, or both that are asked for at once: Prometheus answers at most 11,000 points of a
/// series.
const MOST_SLOTS: u128 = 10_000;

/// Reads the core's keys of the config's top level: `evaluation_interval`, `fleet_guard`, `service_label`, `triggers`,
/// `services`. The shell asks the same `fields` for its own keys, then finishes them.
pub fn decode(fields: &mut Fields<'_>, edges: Edges<'_>, problems: &mut Problems) -> Decoded {
    let evaluation_interval = fields
        .optional("evaluation_interval")
        .and_then(|node| node::duration_within(node, SHORTEST, HOUR, problems))
        .unwrap_or(15 * SECOND);
    let fleet_guard = fields.optional("fleet_guard").and_then(|node| fleet_guard(node, problems));
    let service_label = service_label(fields, problems);
    let mut reading = Reading { edges, evaluation_interval, service_label, latest: BTreeMap::new() };
    let shared = fields.optional("triggers");
    let shared = shared.map(|node| trigger::decode_list(node, trigger::Origin::Shared, &reading, problems));
    let services = match fields.required("services", problems) {
        Some(node) => service::decode_list(node, shared.as_deref().unwrap_or_default(), &mut reading, problems),
        None => ByService::default(),
    };
    Decoded {
        config: Config { mode: Mode::Live, evaluation_interval, fleet_guard, services, ..Config::default() },
        service_label: reading.service_label,
    }
}

/// What every part of the reading needs.
struct Reading<'a> {
    edges: Edges<'a>,
    evaluation_interval: Duration,
    service_label: String,
    /// The latest path of each name: a fleet's paths say the same.
    latest: BTreeMap<PathName, Arc<PathRule>>,
}

impl Reading<'_> {
    /// The path itself, or the one before of this name, where that says the same.
    fn share(&mut self, rule: PathRule) -> Arc<PathRule> {
        if let Some(same) = self.latest.get(&rule.name).filter(|known| known.as_ref() == &rule) {
            return Arc::clone(same);
        }
        let rule = Arc::new(rule);
        self.latest.insert(rule.name.clone(), Arc::clone(&rule));
        rule
    }
}

fn fleet_guard(node: &Node, problems: &mut Problems) -> Option<FleetGuard> {
    let mut fields = Fields::of(node, "fleet_guard", problems)?;
    let services = fields.required("services", problems).and_then(|node| {
        let services = node::count(node, problems)?;
        if services < 2 {
            problems.error(node.place, "expected at least 2: one service firing is a bad deploy, not an outage");
        }
        Some(services)
    });
    let within = fields.required("within", problems);
    let within = within.and_then(|node| node::duration_within(node, SECOND, DAY, problems));
    fields.finish(problems);
    Some(FleetGuard { services: services?, within: within? })
}

fn service_label(fields: &mut Fields<'_>, problems: &mut Problems) -> String {
    let default = "service".to_owned();
    let Some(node) = fields.optional("service_label") else { return default };
    let Some(label) = node::text(node, problems) else { return default };
    let is_label = label.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && label.chars().all(|each| each.is_ascii_alphanumeric() || each == '_');
    if !is_label {
        problems.error(node.place, format!("expected a label name such as service or job, not {label:?}"));
    }
    label.to_owned()
}

/// The name at the key `name`, and where it stands.
fn name<T>(
    fields: &mut Fields<'_>,
    check: impl Fn(String) -> Result<T, NotAName>,
    problems: &mut Problems,
) -> Option<(T, Place)> {
    let node = fields.required("name", problems)?;
    let written = node::text(node, problems)?;
    Some((problems.take(node.place, check(written.to_owned()))?, node.place))
}

/// Notes the second of two that have one name.
fn once<T: Ord + Clone + std::fmt::Display>(
    seen: &mut BTreeMap<T, Place>,
    name: &T,
    place: Place,
    what: &str,
    problems: &mut Problems,
) {
    if let Some(first) = seen.get(name) {
        problems.error(place, format!("a second {what} {name}: the first is on line {}", first.line));
    } else {
        seen.insert(name.clone(), place);
    }
}

/// Notes a name that does not exist, with the nearest that do.
fn unknown<'n>(
    node: &Node,
    what: &str,
    asked: &str,
    known: impl IntoIterator<Item = &'n str> + Clone,
    problems: &mut Problems,
) {
    let near = crate::name::nearest(asked, known.clone());
    let all: Vec<&str> = known.into_iter().collect();
    let hint = match (near.is_empty(), all.is_empty()) {
        (false, _) => format!("did you mean {}?", near.join(" or ")),
        (true, false) => format!("expected one of {}", all.join(", ")),
        (true, true) => format!("there is no {what} at all"),
    };
    problems.error(node.place, format!("there is no {what} {asked:?}: {hint}"));
}
