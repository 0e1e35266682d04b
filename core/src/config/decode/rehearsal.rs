//! `rehearsal`: which path deploys a bad version on purpose, how often that is due, and how long the version may stay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{DAY, MINUTE, SHORTEST, once, unknown};
use crate::config::node::{self, Fields, Node, Problems};
use crate::config::{PathRule, RehearsalRule};
use crate::name::Version;
use crate::template::Variable;

/// Reads what stands under `rehearsal`. A path that could not be read is a mistake of its own.
pub(super) fn decode(
    node: &Node,
    watch: Duration,
    (paths, unread_paths): (&[Arc<PathRule>], bool),
    problems: &mut Problems,
) -> Option<RehearsalRule> {
    let mut fields = Fields::of(node, "rehearsal", problems)?;
    let deploy_bad = fields.required("deploy_bad", problems).and_then(|node| {
        let written = node::text(node, problems)?;
        let found = paths.iter().find(|path| path.name.as_str() == written);
        if found.is_none() && !unread_paths {
            unknown(node, "path", written, paths.iter().map(|path| path.name.as_str()), problems);
        }
        let found = found?;
        let told = |variable| found.run.iter().any(|part| part.value.names(variable));
        if !(told(Variable::TargetVersion) || told(Variable::TargetRevision)) {
            let message = format!("path {written} can't deploy a bad version: it names no {{{{ target.version }}}}");
            problems.error(node.place, message);
        }
        Some(found.name.clone())
    });
    let every = fields.required("every", problems);
    let every = every.and_then(|node| node::duration_within(node, MINUTE, 366 * DAY, problems));
    let timeout = fields.optional("timeout");
    let timeout = timeout.map_or(Some(watch), |node| node::duration_within(node, SHORTEST, watch, problems));
    let bad_versions = fields.optional("bad_versions").map_or(Vec::new(), |node| bad_versions(node, problems));
    fields.finish(problems);
    Some(RehearsalRule { deploy_bad: deploy_bad?, every: every?, timeout: timeout?, bad_versions })
}

fn bad_versions(node: &Node, problems: &mut Problems) -> Vec<Version> {
    let mut seen = BTreeMap::new();
    let mut versions = Vec::new();
    for node in node::list(node, "bad_versions", problems) {
        let Some(written) = node::text(node, problems) else { continue };
        if let Some(version) = problems.take(node.place, Version::new(written)) {
            once(&mut seen, &version, node.place, "bad version", problems);
            versions.push(version);
        }
    }
    versions
}
