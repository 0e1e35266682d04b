//! What every source's part of the config has in common: what is told of belongs to this service, and to this trigger.

use std::path::PathBuf;

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::config::{Config, Observed, Service};
use rollbackd_core::deploy::Migration;
use rollbackd_core::name::{ServiceName, TriggerName, Version, nearest};
use serde_json::Value;

/// The service of the config that `service` names.
pub(super) fn service<'a>(fields: &mut Fields<'_>, config: &'a Config, problems: &mut Problems) -> Option<&'a Service> {
    let node = fields.required("service", problems)?;
    let written = node::text(node, problems)?;
    let name = problems.take(node.place, ServiceName::new(written))?;
    let known = config.services.get(&name);
    // Where the services can't be read, that is the mistake, and not this.
    if known.is_none() && !problems.any_error() {
        let near = nearest(written, config.services.keys().map(ServiceName::as_str));
        let hint = if near.is_empty() { String::new() } else { format!(": did you mean `{}`?", near.join("` or `")) };
        problems.error(node.place, format!("there is no service {written}{hint}"));
    }
    known.map(AsRef::as_ref)
}

/// The trigger with `observed: report` at this node.
pub(super) fn trigger(node: &Node, service: &Service, problems: &mut Problems) -> Option<TriggerName> {
    let written = node::text(node, problems)?;
    let name = problems.take(node.place, TriggerName::new(written))?;
    let reported = service.triggers.iter().filter(|trigger| trigger.observed == Observed::Report);
    let reported: Vec<&str> = reported.map(|trigger| trigger.name.as_str()).collect();
    if !reported.contains(&written) {
        let expected = if reported.is_empty() { "which has none".to_owned() } else { reported.join(", ") };
        let message = format!(
            "expected a trigger of {} with `observed: report` ({expected}), not {written:?}: Prometheus observes the others",
            service.name
        );
        problems.error(node.place, message);
    }
    Some(name)
}

/// The file of a secret.
pub(super) fn secret_file(node: &Node, problems: &mut Problems) -> Option<PathBuf> {
    let file = PathBuf::from(node::text(node, problems)?);
    if !file.is_absolute() {
        problems.error(node.place, "expected the absolute path of the file with the secret");
    }
    Some(file)
}

/// A text that something is called elsewhere.
pub(super) fn name(node: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(node, problems)?;
    if written.is_empty() {
        problems.error(node.place, "expected a name, not an empty text");
    }
    Some(written.to_owned())
}

/// `OWNER/NAME`, or more parts where projects lie in groups of groups.
pub(super) fn repository(node: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(node, problems)?;
    if written.split('/').count() < 2 || written.split('/').any(str::is_empty) {
        problems.error(node.place, format!("expected OWNER/NAME, not {written:?}"));
    }
    Some(written.to_owned())
}

/// Whether the deploy's maker says that it migrates data, in the words of `POST /v1/deploys`.
pub(super) fn migration(added: &Value) -> Migration {
    match added.get("migration") {
        Some(Value::Bool(true)) => Migration::Breaking,
        Some(Value::String(text)) if text == "compatible" => Migration::Compatible,
        Some(_) | None => Migration::None,
    }
}

/// A text of an event as a version.
pub(super) fn version(text: &str, of: &str) -> Result<Version, super::Untold> {
    Version::new(text).map_err(|error| super::Untold::Unusable(format!("{of} is no version: {error}")))
}

/// Where in an event the version stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum VersionIn {
    /// The whole commit.
    Sha,
    /// The first so many digits of it.
    ShortSha(usize),
    /// The tag that was deployed.
    Tag,
    /// A key of what the deploy's maker added.
    Payload(String),
}

/// git's own shortest, and the whole of a SHA-256.
const SHORT: std::ops::RangeInclusive<usize> = 7..=64;

impl VersionIn {
    /// Reads `sha`, `sha:N`, `tag` or `payload.KEY`.
    pub(super) fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let written = node::text(node, problems)?;
        let found = match written.split_once([':', '.']) {
            None if written == "sha" => Some(Self::Sha),
            None if written == "tag" => Some(Self::Tag),
            Some(("sha", digits)) => digits.parse().ok().filter(|digits| SHORT.contains(digits)).map(Self::ShortSha),
            Some(("payload", key)) if !key.is_empty() => Some(Self::Payload(key.to_owned())),
            Some(_) | None => None,
        };
        if found.is_none() {
            problems.error(
                node.place,
                format!("expected sha, sha:N (7 to 64 digits), tag or payload.KEY, not {written:?}"),
            );
        }
        found
    }
}

/// What is known of a deploy, to find its version in.
pub(super) struct Deployed<'a> {
    pub(super) sha: Option<&'a str>,
    pub(super) git_ref: &'a str,
    /// Refs that are branches for certain.
    pub(super) branch: Option<&'a str>,
    pub(super) payload: Option<&'a Value>,
}

impl Deployed<'_> {
    /// The version, where the config says that it stands.
    pub(super) fn version(&self, from: &VersionIn) -> Result<Version, super::Untold> {
        let unusable = |why: String| super::Untold::Unusable(why);
        let sha = || self.sha.ok_or_else(|| unusable("the event names no commit".to_owned()));
        match from {
            VersionIn::Sha => version(sha()?, "the commit"),
            VersionIn::ShortSha(digits) => version(sha()?.get(..*digits).unwrap_or(sha()?), "the commit"),
            VersionIn::Tag => self.tag(),
            VersionIn::Payload(key) => {
                let value = self.payload.and_then(|payload| payload.get(key)).and_then(Value::as_str);
                let missing = || unusable(format!("the deployment's payload has no text {key:?}"));
                version(value.ok_or_else(missing)?, &format!("`payload.{key}`"))
            }
        }
    }

    /// The tag. A branch is no version: it would be the same for every deploy.
    fn tag(&self) -> Result<Version, super::Untold> {
        let name = self.git_ref.strip_prefix("refs/tags/").unwrap_or(self.git_ref);
        if self.git_ref.starts_with("refs/heads/") || self.branch == Some(name) {
            let why =
                format!("{name:?} is a branch, and the config says `version: tag`: deploy from tags, or use `sha`");
            return Err(super::Untold::Unusable(why));
        }
        version(name, "the tag")
    }
}
