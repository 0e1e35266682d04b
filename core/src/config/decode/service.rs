//! One service: its triggers with the shared ones, its paths, its side effects, and its rehearsal.
//!
//! Never reads an adapter's own keys.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::query::{self, Use};
use super::trigger::{self, Origin, Placed};
use super::{DAY, Reading, SECOND, SHORTEST, check, name, once, rehearsal, unknown};
use crate::by_service::ByService;
use crate::config::node::{self, Fields, Node, Place, Problems, Value};
use crate::config::{AutomaticLimit, PathRule, PipelineFile, Service, SideEffect};
use crate::name::{AnnouncerName, PagerName, PathName, ServiceName};

/// A service, and where the parts of it stand that are checked against each other.
pub(super) struct Written {
    pub(super) service: Service,
    pub(super) place: Place,
    pub(super) triggers: Vec<Placed>,
    /// Where each path's name stands, in the paths' order.
    pub(super) paths: Vec<Place>,
    /// What is there and could not be read, so that no check takes it for missing.
    pub(super) unread: Unread,
}

/// Which parts of a service are there, but not whole.
#[derive(Clone, Copy)]
pub(super) struct Unread {
    pub(super) page: bool,
    pub(super) paths: bool,
    pub(super) triggers: bool,
    pub(super) version_query: bool,
}

/// A path's time where it says none: what a pipeline needs for one deploy.
const DEFAULT_PATH_TIMEOUT: Duration = Duration::from_mins(5);
const DEFAULT_WATCH: Duration = Duration::from_mins(30);

/// The services of the config's list by name.
pub(super) fn decode_list(
    node: &Node,
    shared: &[Placed],
    reading: &mut Reading<'_>,
    problems: &mut Problems,
) -> ByService<Arc<Service>> {
    let mut seen = BTreeMap::new();
    let mut services = Vec::new();
    let nodes = node::list(node, "services", problems);
    if matches!(&node.value, Value::List(nodes) if nodes.is_empty()) {
        problems.error(node.place, "there is no service to watch: expected at least one");
    }
    for node in nodes {
        let Some(mut fields) = Fields::of(node, "a service", problems) else { continue };
        let found = name(&mut fields, ServiceName::new, problems);
        if let Some((name, place)) = &found {
            fields.call(format!("service {name}"));
            once(&mut seen, name, *place, "service", problems);
        }
        // What else is wrong with a service whose name is wrong shows all the same.
        let Some((name, place)) = found.or_else(|| Some((ServiceName::new("unnamed").ok()?, fields.place))) else {
            continue;
        };
        let written = decode(&mut fields, name, place, shared, reading, problems);
        fields.finish(problems);
        check::service(&written, problems);
        services.push((written.service.name.clone(), Arc::new(written.service)));
    }
    services.into_iter().collect()
}

fn decode(
    fields: &mut Fields<'_>,
    name: ServiceName,
    place: Place,
    shared: &[Placed],
    reading: &mut Reading<'_>,
    problems: &mut Problems,
) -> Written {
    let watch = fields.optional("watch");
    let watch = watch.map_or(DEFAULT_WATCH, |node| {
        // Whatever was meant: the longest, so that no trigger is blamed for it.
        node::duration_within(node, SHORTEST, 7 * DAY, problems).unwrap_or(7 * DAY)
    });
    let errors = problems.0.len();
    let escalate_after = fields
        .optional("escalate_after")
        .map(|node| (node::duration_within(node, SECOND, DAY, problems).unwrap_or(DAY), node.place));
    let page = fields.optional("page");
    let page = page.map_or(Vec::new(), |node| levels(node, escalate_after, reading, problems));
    let unread_page = problems.0.len() > errors;
    let announce = fields.optional("announce").map_or(Vec::new(), |node| announcers(node, reading, problems));
    let asks_version = fields.optional("version_query");
    let version_query = asks_version.and_then(|node| query::query(node, Use::Version, reading, problems));
    let watch_version = watch_version(fields, asks_version.is_some(), problems);
    let (triggers, unread_triggers) = triggers(fields, shared, reading, problems);
    let (paths, unread_paths) = paths(fields, &name, reading, problems);
    let smoke = fields.optional("smoke").and_then(|node| smoke(node, problems));
    let automatic_limit = fields.optional("automatic_limit").and_then(|node| automatic_limit(node, problems));
    let side_effects = fields.optional("side_effects").map(|node| side_effects(node, reading, problems));
    let (places, paths): (Vec<Place>, Vec<Arc<PathRule>>) = paths.into_iter().unzip();
    let unread = Unread {
        page: unread_page,
        paths: unread_paths,
        triggers: unread_triggers,
        version_query: asks_version.is_some() && version_query.is_none(),
    };
    let rehearsal = fields.optional("rehearsal");
    let rehearsal = rehearsal.and_then(|node| rehearsal::decode(node, watch, (&paths, unread.paths), problems));
    let service = Service {
        name,
        watch,
        page,
        announce,
        escalate_after: escalate_after.map(|(after, _)| after),
        version_query: version_query.map(|queried| queried.template),
        watch_version,
        triggers: triggers.iter().map(|placed| Arc::clone(&placed.trigger)).collect(),
        paths,
        smoke,
        automatic_limit: automatic_limit.unwrap_or_default(),
        side_effects,
        rehearsal: rehearsal.map(Box::new),
    };
    Written { service, place, triggers, paths: places, unread }
}

/// Where something shows what serves, a new version is noticed, unless the config says otherwise.
fn watch_version(fields: &mut Fields<'_>, asks_version: bool, problems: &mut Problems) -> bool {
    let Some(node) = fields.optional("watch_version") else { return asks_version };
    let watch_version = node::boolean(node, problems).unwrap_or(asks_version);
    if watch_version && !asks_version {
        problems.error(node.place, "`watch_version` needs a `version_query`, which shows what serves");
    }
    watch_version
}

/// Who is paged. Without `escalate_after` all at once; with it, each item of the list is a level: a pager, or a list of
/// pagers that are told together.
fn levels(
    node: &Node,
    escalate_after: Option<(Duration, Place)>,
    reading: &Reading<'_>,
    problems: &mut Problems,
) -> Vec<Vec<PagerName>> {
    let mut known = Vec::new();
    let mut levels = Vec::new();
    for node in node::list(node, "pagers", problems) {
        let together = match &node.value {
            Value::List(_) if escalate_after.is_none() => {
                let expected = "expected a pager's name; a list in a list is a level, which needs `escalate_after`";
                problems.error(node.place, expected);
                continue;
            }
            Value::List(nodes) => nodes.as_slice(),
            Value::Null | Value::Map(_) | Value::Scalar { .. } => std::slice::from_ref(node),
        };
        let pagers = reading.edges.pagers;
        let told: Vec<PagerName> =
            together.iter().filter_map(|node| take(node, "pager", pagers, &mut known, problems)).collect();
        levels.push(told);
    }
    levels.retain(|level| !level.is_empty());
    match escalate_after {
        None if levels.is_empty() => levels,
        None => vec![levels.concat()],
        Some((_, place)) if levels.len() < 2 => {
            problems.error(place, "expected a `page` of two levels at least: there is nobody to escalate to");
            levels
        }
        Some(_) => levels,
    }
}

fn announcers(node: &Node, reading: &Reading<'_>, problems: &mut Problems) -> Vec<AnnouncerName> {
    let mut announcers = Vec::new();
    for node in node::list(node, "announcers", problems) {
        let _taken = take(node, "announcer", reading.edges.announcers, &mut announcers, problems);
    }
    announcers
}

/// Takes the name at this node, which has to be one of these, and is a mistake a second time.
fn take<N: Ord + Clone + Borrow<str>>(
    node: &Node,
    what: &str,
    among: &BTreeSet<N>,
    taken: &mut Vec<N>,
    problems: &mut Problems,
) -> Option<N> {
    let written = node::text(node, problems)?;
    let Some(name) = among.get(written) else {
        unknown(node, what, written, among.iter().map(Borrow::borrow), problems);
        return None;
    };
    if taken.contains(name) {
        problems.error(node.place, format!("{what} {written} stands here a second time"));
        return None;
    }
    taken.push(name.clone());
    Some(name.clone())
}

/// The service's own triggers, then the shared ones that it doesn't replace; and whether some could not be read.
fn triggers(
    fields: &mut Fields<'_>,
    shared: &[Placed],
    reading: &Reading<'_>,
    problems: &mut Problems,
) -> (Vec<Placed>, bool) {
    let node = fields.optional("triggers");
    let mut triggers = node.map_or(Vec::new(), |node| trigger::decode_list(node, Origin::Own, reading, problems));
    let unread = node.is_some_and(|node| length(node) != Some(triggers.len()));
    let replaced = |name| triggers.iter().any(|own: &Placed| &own.trigger.name == name);
    let rest: Vec<Placed> = shared.iter().filter(|placed| !replaced(&placed.trigger.name)).cloned().collect();
    triggers.extend(rest);
    (triggers, unread)
}

/// How many items a list has, where it is one.
fn length(node: &Node) -> Option<usize> {
    match &node.value {
        Value::List(items) => Some(items.len()),
        Value::Null | Value::Scalar { .. } | Value::Map(_) => None,
    }
}

fn paths(
    fields: &mut Fields<'_>,
    service: &ServiceName,
    reading: &mut Reading<'_>,
    problems: &mut Problems,
) -> (Vec<(Place, Arc<PathRule>)>, bool) {
    let Some(node) = fields.optional("paths") else { return (Vec::new(), false) };
    let mut seen = BTreeMap::new();
    let mut paths = Vec::new();
    for node in node::list(node, "paths", problems) {
        let Some(mut fields) = Fields::of(node, "a path", problems) else { continue };
        let found = name(&mut fields, PathName::new, problems);
        if let Some((name, place)) = &found {
            fields.call(format!("path {name}"));
            once(&mut seen, name, *place, "path", problems);
        }
        let named = found.clone().or_else(|| Some((PathName::new("unnamed").ok()?, fields.place)));
        let rule = named.and_then(|(name, _)| path(&mut fields, name, service, reading, problems));
        fields.finish(problems);
        paths.extend(found.zip(rule).map(|((_, place), rule)| (place, reading.share(rule))));
    }
    let unread = length(node) != Some(paths.len());
    (paths, unread)
}

fn path(
    fields: &mut Fields<'_>,
    name: PathName,
    service: &ServiceName,
    reading: &mut Reading<'_>,
    problems: &mut Problems,
) -> Option<PathRule> {
    let timeout = fields.optional("timeout");
    let timeout = timeout.and_then(|node| node::duration_within(node, SHORTEST, DAY, problems));
    let repeatable = fields.optional("repeatable").and_then(|node| node::boolean(node, problems));
    let leaves_behind = fields.optional("leaves_behind").and_then(|node| node::text(node, problems)).map(str::to_owned);
    let pipeline_files = fields.optional("pipeline_files");
    let pipeline_files = pipeline_files.map_or(Vec::new(), |node| pipeline_files_of(node, problems));
    let (kind, node) = fields.exactly_one(reading.edges.path_kinds, problems)?;
    let parts = (reading.edges.path)(service, &name, kind, node, problems)?;
    for part in &parts.run {
        let place = place_of(node, part.value.source()).unwrap_or(node.place);
        query::check_variables(&part.value, place, Use::Path, problems);
    }
    Some(PathRule {
        name,
        timeout: timeout.unwrap_or(DEFAULT_PATH_TIMEOUT),
        repeatable: repeatable.unwrap_or(false),
        kind,
        run: parts.run,
        leaves_behind: leaves_behind.or(parts.leaves_behind),
        pipeline_files,
    })
}

/// The names of files alone: the core reads none.
fn pipeline_files_of(node: &Node, problems: &mut Problems) -> Vec<PipelineFile> {
    let mut files = Vec::new();
    for node in node::list(node, "files", problems) {
        let Some(name) = node::text(node, problems) else { continue };
        if !name.starts_with('/') || name.contains('\0') {
            problems
                .error(node.place, format!("expected the whole path of a file, as in /srv/deploy.yml, not {name:?}"));
        }
        files.push(PipelineFile { name: name.to_owned(), sha256: None });
    }
    files
}

/// Where a text stands below this node.
pub(super) fn place_of(node: &Node, wanted: &str) -> Option<Place> {
    match &node.value {
        Value::Null => None,
        Value::Scalar { text, .. } => (text == wanted).then_some(node.place),
        Value::List(items) => items.iter().find_map(|item| place_of(item, wanted)),
        Value::Map(entries) => entries.iter().find_map(|(_, value)| place_of(value, wanted)),
    }
}

fn smoke(node: &Node, problems: &mut Problems) -> Option<String> {
    let mut fields = Fields::of(node, "smoke", problems)?;
    let url = fields.required("url", problems).and_then(|node| node::web_address(node, problems));
    fields.finish(problems);
    url.map(str::to_owned)
}

fn automatic_limit(node: &Node, problems: &mut Problems) -> Option<AutomaticLimit> {
    let mut fields = Fields::of(node, "automatic_limit", problems)?;
    let rollbacks = fields.required("rollbacks", problems).and_then(|node| {
        let rollbacks = node::count(node, problems)?;
        if rollbacks == 0 {
            problems.error(node.place, "expected at least 1: `action: page` on each trigger turns rollbacks off");
        }
        Some(rollbacks)
    });
    let within = fields.required("within", problems);
    let within = within.and_then(|node| node::duration_within(node, SECOND, 30 * DAY, problems));
    fields.finish(problems);
    Some(AutomaticLimit { rollbacks: rollbacks?, within: within? })
}

fn side_effects(node: &Node, reading: &Reading<'_>, problems: &mut Problems) -> Vec<SideEffect> {
    if matches!(&node.value, Value::Scalar { text, .. } if text == "none") {
        return Vec::new();
    }
    if length(node).is_none_or(|length| length == 0) {
        problems.error(node.place, "expected a list of side effects, or the word none, said on purpose");
        return Vec::new();
    }
    let mut seen = BTreeMap::new();
    let mut effects = Vec::new();
    for node in node::list(node, "side effects", problems) {
        let Some(mut fields) = Fields::of(node, "a side effect", problems) else { continue };
        let name = fields.required("name", problems);
        let name = name.and_then(|node| Some((node::text(node, problems)?.to_owned(), node.place)));
        if let Some((name, place)) = &name {
            once(&mut seen, name, *place, "side effect", problems);
        }
        let count = fields.required("count", problems);
        let count = count.and_then(|node| query::query(node, Use::Count, reading, problems));
        let compensate = fields.required("compensate", problems);
        let compensate = compensate.and_then(|node| query::template(node, Use::Compensate, problems));
        fields.finish(problems);
        if let (Some((name, _)), Some(count), Some(compensate)) = (name, count, compensate) {
            effects.push(SideEffect { name, count: count.template, compensate });
        }
    }
    effects
}
