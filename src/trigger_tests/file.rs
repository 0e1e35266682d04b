//! A file of trigger tests, read: every mistake with its place, as in the config.
//!
//! Never runs anything.

mod expectation;
mod series;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rollbackd_core::config::node::{self, Fields, Node, Place, Problems};
use rollbackd_core::config::{Config, Service};
use rollbackd_core::deploy::Migration;
use rollbackd_core::name::{Commit, PathName, ServiceName, TriggerName, Version};
use rollbackd_core::time::parse_duration;

use super::expect::Expectation;
use super::production::{Shown, Work};
use crate::{config, yaml};

/// A file, and the config that it is about.
pub(super) struct File {
    pub(super) config: Config,
    pub(super) tests: Vec<Test>,
}

/// One test.
pub(super) struct Test {
    pub(super) name: String,
    pub(super) service: ServiceName,
    /// From sample to sample.
    pub(super) interval: Duration,
    /// What serves at the beginning.
    pub(super) running: Option<Version>,
    /// What each trigger's queries show.
    pub(super) shown: BTreeMap<TriggerName, Shown>,
    /// What each path does.
    pub(super) paths: BTreeMap<PathName, Work>,
    /// In the order of time.
    pub(super) steps: Vec<Step>,
    /// In the order of time.
    pub(super) expectations: Vec<Expectation>,
}

/// Something that happens.
pub(super) struct Step {
    pub(super) at: Duration,
    pub(super) place: Place,
    pub(super) what: What,
}

/// What happens.
pub(super) enum What {
    Deploy { version: Version, previous: Option<Version>, commit: Option<Commit>, migration: Migration },
    Report { trigger: TriggerName, note: Option<String> },
    Approve { trigger: TriggerName },
    Dismiss { trigger: TriggerName, why: String },
    Freeze { duration: Duration, why: String },
    Thaw,
}

/// What a test may name.
struct Known<'a> {
    config: &'a Config,
}

/// Reads a file and the config that it names, which is looked for beside it.
///
/// # Errors
/// What is wrong with either, for people: each mistake with its place and line.
pub(super) fn read(file: &Path) -> Result<File, String> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| {
        format!(
            "{name}: error: can't be read: {error}: expected a file of trigger tests that is there and that this user \
             may read; rollbackd test --help shows one\n"
        )
    })?;
    let mut problems = Problems::default();
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Err(format!(
            "{name}:1:1: error: the file is empty: expected `config` and `tests`, see rollbackd test --help\n"
        ));
    }
    let root = yaml::parse(&text, &mut problems);
    let shown = |mut problems: Problems| {
        config::sort(&mut problems.0);
        config::render_problems(&name, &text, &problems.0)
    };
    let Some(root) = root else { return Err(shown(problems)) };
    let Some(mut fields) = Fields::of(&root, "the file", &mut problems) else { return Err(shown(problems)) };
    let Some(config) = fields.required("config", &mut problems).and_then(|node| node::text(node, &mut problems)) else {
        return Err(shown(problems));
    };
    let config = load(&beside(file, config))?;
    let tests = fields.required("tests", &mut problems);
    let tests = tests.map(|node| tests_of(node, &Known { config: &config }, &mut problems));
    fields.finish(&mut problems);
    if problems.any_error() { Err(shown(problems)) } else { Ok(File { config, tests: tests.unwrap_or_default() }) }
}

fn beside(file: &Path, config: &str) -> PathBuf {
    file.parent().map_or_else(|| PathBuf::from(config), |dir| dir.join(config))
}

fn load(file: &Path) -> Result<Config, String> {
    config::load(file).map(|loaded| loaded.settings.core).map_err(|error| config::explain(&error) + "\n")
}

fn tests_of(node: &Node, known: &Known<'_>, problems: &mut Problems) -> Vec<Test> {
    let nodes = node::list(node, "tests", problems);
    if nodes.is_empty() {
        problems.error(node.place, "there is no test: expected at least one");
    }
    nodes.iter().filter_map(|node| test(node, known, problems)).collect()
}

fn test(node: &Node, known: &Known<'_>, problems: &mut Problems) -> Option<Test> {
    let mut fields = Fields::of(node, "a test", problems)?;
    let name = fields.required("name", problems).and_then(|node| node::text(node, problems)).map(str::to_owned);
    if let Some(name) = &name {
        fields.call(format!("test {name:?}"));
    }
    let service = fields.required("service", problems).and_then(|node| service(node, known, problems));
    let interval = fields.optional("interval");
    let interval = interval
        .and_then(|node| node::duration_within(node, Duration::from_millis(100), Duration::from_secs(3600), problems));
    let running = fields.optional("running").and_then(|node| version(node, problems));
    let series = fields.optional("series");
    let paths = fields.optional("paths");
    let happens = fields.required("happens", problems);
    let expect = fields.required("expect", problems);
    fields.finish(problems);
    let service = service?;
    let shown = series.map_or(BTreeMap::new(), |node| series::series(node, service, problems));
    let paths = paths.map_or(BTreeMap::new(), |node| works(node, service, problems));
    let mut steps: Vec<Step> = node::list(happens?, "what happens", problems)
        .iter()
        .filter_map(|node| step(node, service, problems))
        .collect();
    let mut expectations: Vec<Expectation> = node::list(expect?, "expectations", problems)
        .iter()
        .filter_map(|node| expectation::expectation(node, service, problems))
        .collect();
    steps.sort_by_key(|step| step.at);
    expectations.sort_by_key(|expectation| expectation.at);
    let interval = interval.unwrap_or(known.config.evaluation_interval);
    Some(Test { name: name?, service: service.name.clone(), interval, running, shown, paths, steps, expectations })
}

fn service<'a>(node: &Node, known: &Known<'a>, problems: &mut Problems) -> Option<&'a Service> {
    let written = node::text(node, problems)?;
    let found = known.config.services.get(written);
    if found.is_none() {
        let names = known.config.services.keys().map(ServiceName::as_str);
        problems.error(node.place, no_such("service", written, names));
    }
    found.map(AsRef::as_ref)
}

/// The trigger that is named at this node.
fn trigger(node: &Node, service: &Service, problems: &mut Problems) -> Option<TriggerName> {
    let written = node::text(node, problems)?;
    let found = service.triggers.iter().find(|trigger| trigger.name.as_str() == written);
    if found.is_none() {
        let names = service.triggers.iter().map(|trigger| trigger.name.as_str());
        problems.error(node.place, no_such("trigger", written, names));
    }
    found.map(|trigger| trigger.name.clone())
}

/// The path that is named at this node.
fn path(node: &Node, service: &Service, problems: &mut Problems) -> Option<PathName> {
    let written = node::text(node, problems)?;
    named_path(written, node.place, service, problems)
}

fn named_path(written: &str, place: Place, service: &Service, problems: &mut Problems) -> Option<PathName> {
    let found = service.paths.iter().find(|path| path.name.as_str() == written);
    if found.is_none() {
        problems.error(place, no_such("path", written, service.paths.iter().map(|path| path.name.as_str())));
    }
    found.map(|path| path.name.clone())
}

fn no_such<'n>(what: &str, asked: &str, names: impl Iterator<Item = &'n str>) -> String {
    format!("there is no {what} {asked:?}: the config has {}", names.collect::<Vec<_>>().join(", "))
}

fn version(node: &Node, problems: &mut Problems) -> Option<Version> {
    let written = node::text(node, problems)?;
    problems.take(node.place, Version::new(written))
}

/// The time since the first sample at the key `at`.
fn at(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Duration> {
    let node = fields.required("at", problems)?;
    let written = node::text(node, problems)?;
    problems.take(node.place, if written == "0" { Ok(Duration::ZERO) } else { parse_duration(written) })
}

/// What each path does: `succeeds after 1m`, `fails after 30s`, `hangs`.
fn works(node: &Node, service: &Service, problems: &mut Problems) -> BTreeMap<PathName, Work> {
    let mut works = BTreeMap::new();
    for (name, place, node) in node::entries(node, "`paths`", problems) {
        let path = named_path(name, place, service, problems);
        let written = node::text(node, problems).unwrap_or_default();
        let work = work(written);
        if work.is_none() {
            let expected = "expected `succeeds after 1m`, `fails after 30s` or `hangs`";
            problems.error(node.place, format!("{expected}, not {written:?}"));
        }
        works.extend(path.zip(work));
    }
    works
}

fn work(written: &str) -> Option<Work> {
    let after = |text: &str| parse_duration(text.trim()).ok();
    match (written.strip_prefix("succeeds after "), written.strip_prefix("fails after ")) {
        (Some(text), _) => Some(Work::Succeeds(after(text)?)),
        (None, Some(text)) => Some(Work::Fails(after(text)?)),
        (None, None) => (written == "hangs").then_some(Work::Hangs),
    }
}

const HAPPENINGS: &[&str] = &["deploy", "report", "approve", "dismiss", "freeze", "thaw"];

fn step(node: &Node, service: &Service, problems: &mut Problems) -> Option<Step> {
    let mut fields = Fields::of(node, "what happens", problems)?;
    let at = at(&mut fields, problems);
    let what = match fields.exactly_one(HAPPENINGS, problems) {
        Some(("deploy", node)) => deploy(node, &mut fields, problems),
        Some(("report", node)) => {
            let note = fields.optional("note").and_then(|node| node::text(node, problems)).map(str::to_owned);
            trigger(node, service, problems).map(|trigger| What::Report { trigger, note })
        }
        Some(("approve", node)) => trigger(node, service, problems).map(|trigger| What::Approve { trigger }),
        Some(("dismiss", node)) => {
            let why = why(&mut fields, problems);
            trigger(node, service, problems).map(|trigger| What::Dismiss { trigger, why })
        }
        Some(("freeze", node)) => {
            let why = why(&mut fields, problems);
            node::duration(node, problems).map(|duration| What::Freeze { duration, why })
        }
        Some((_, node)) => node::boolean(node, problems).map(|_| What::Thaw),
        None => None,
    };
    fields.finish(problems);
    Some(Step { at: at?, place: node.place, what: what? })
}

fn why(fields: &mut Fields<'_>, problems: &mut Problems) -> String {
    let written = fields.optional("why").and_then(|node| node::text(node, problems));
    written.unwrap_or("a trigger test says so").to_owned()
}

fn deploy(node: &Node, fields: &mut Fields<'_>, problems: &mut Problems) -> Option<What> {
    let version = self::version(node, problems);
    let previous = fields.optional("previous").and_then(|node| self::version(node, problems));
    let commit = fields.optional("commit").and_then(|node| {
        let written = node::text(node, problems)?;
        problems.take(node.place, Commit::new(written))
    });
    let words = [("false", Migration::None), ("compatible", Migration::Compatible), ("true", Migration::Breaking)];
    let migration = fields.optional("migration").and_then(|node| node::choice(node, &words, problems));
    Some(What::Deploy { version: version?, previous, commit, migration: migration.unwrap_or_default() })
}
