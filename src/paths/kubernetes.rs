//! The path `kubernetes`: the pod template of an earlier revision put back, as `kubectl rollout undo` does it, or an
//! Argo Rollout's update aborted.
//!
//! Never goes to "the previous" revision: after one undo that is the bad one. Never runs `kubectl` or a plugin of it.

mod abort;
mod change;
mod cluster;
mod progress;
mod undo;

use std::time::Duration;

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::config::{PathParts, RunPart};
use rollbackd_core::event::Order;
use rollbackd_core::template::Template;

use self::change::Change;
use super::by_hand::ByHand;
use super::ready::Ready;
use super::remote::Platform;
use super::remote::api::REQUEST_TIMEOUT;
use crate::http_client::HttpSettings;
use crate::kubernetes::workload::Kind;
use crate::kubernetes::{Access, object_name};

/// What names the version where the config doesn't say.
const VERSION: &str = "{{ target.version }}";

/// Between two looks: pods take seconds to become ready.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The shortest time between two looks, for stand-ins of an API server on this machine.
const SHORTEST_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The longest one: what waits for a person pages at the next look.
const LONGEST_POLL_INTERVAL: Duration = Duration::from_secs(60);

/// What an undone workload leaves to a human.
const UNDO_LEAVES: &str = "git does not know of the rollback, and what deploys from git (Argo CD, Flux, the next pipeline) \
                           brings the bad version back: commit the revert";

/// What an aborted Rollout leaves to a human.
const ABORT_LEAVES: &str = "the Rollout is aborted and shows Degraded, and its spec still names the bad version: commit the \
                            revert before anything retries the update";

/// One workload of a cluster, but for the target, which an [`Order`] brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    kind: Kind,
    by: By,
    namespace: String,
    name: String,
    sign: Sign,
    access: Access,
    http: HttpSettings,
    poll_interval: Duration,
}

/// How the workload gets back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The pod template of the target's revision becomes the workload's.
    Undo,
    /// The update in progress is given up; the stable revision must be the target's.
    Abort,
}

/// By what the target's revision is told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sign {
    /// Its number.
    Revision,
    /// The tag or digest of this container's image; without a name the pod's default container.
    Image(Option<String>),
    /// This label of its pods.
    Label(String),
}

/// Reads the config.
pub(super) fn decode(at: &Node, problems: &mut Problems) -> Option<(Kubernetes, PathParts)> {
    let mut fields = Fields::of(at, "a `kubernetes` path", problems)?;
    let kind = fields.optional("kind").map_or(Some(Kind::Deployment), |at| node::choice(at, Kind::WORDS, problems));
    let by = fields
        .optional("by")
        .map_or(Some(By::Undo), |at| node::choice(at, &[("undo", By::Undo), ("abort", By::Abort)], problems));
    if by == Some(By::Abort) && kind.is_some_and(|kind| kind != Kind::Rollout) {
        problems.error(fields.value_place("by"), "`by: abort` is for `kind: Rollout` alone: expected `undo`");
    }
    let namespace = fields.required("namespace", problems).and_then(|at| object_name(at, problems));
    let name = fields.required("name", problems).and_then(|at| object_name(at, problems));
    let target = target(&mut fields, problems);
    let poll_interval = fields.optional("poll_interval").map_or(Some(POLL_INTERVAL), |at| {
        node::duration_within(at, SHORTEST_POLL_INTERVAL, LONGEST_POLL_INTERVAL, problems)
    });
    let access = Access::decode(&mut fields, problems, REQUEST_TIMEOUT);
    fields.finish(problems);

    let (sign, run) = target?;
    let (access, http) = access?;
    let leaves_behind = match by? {
        By::Undo => UNDO_LEAVES,
        By::Abort => ABORT_LEAVES,
    };
    let settings = Kubernetes {
        kind: kind?,
        by: by?,
        namespace: namespace?,
        name: name?,
        sign,
        access,
        http,
        poll_interval: poll_interval?,
    };
    Some((settings, PathParts { run: vec![run], leaves_behind: Some(leaves_behind.to_owned()) }))
}

/// What names the target, and by what its revision is told.
fn target(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<(Sign, RunPart)> {
    let (version, revision) = (fields.optional("version"), fields.optional("revision"));
    let container = fields.optional("container").map(|at| object_name(at, problems));
    let label = fields.optional("label").map(|at| node::text(at, problems).map(str::to_owned));
    let given = [("revision", revision.is_some()), ("container", container.is_some()), ("label", label.is_some())];
    let given: Vec<&str> = given.iter().filter(|(_, given)| *given).map(|(key, _)| *key).collect();
    if let [first, second, ..] = given.as_slice() {
        let message = format!("{} has `{first}` and `{second}`: each tells the target's revision alone", fields.what());
        problems.error(fields.key_place(second), message);
    }
    if let (Some(_), Some(version)) = (revision, version) {
        problems.error(version.place, "expected `version` or `revision`, not both");
    }
    if let Some(at) = revision {
        return Some((Sign::Revision, RunPart { name: "revision".to_owned(), value: node::template(at, problems)? }));
    }
    let value = match version {
        Some(at) => node::template(at, problems)?,
        None => problems.take(fields.place, Template::parse(VERSION))?,
    };
    let sign = match label {
        Some(label) => Sign::Label(label?),
        None => Sign::Image(container.map_or(Some(None), |container| container.map(Some))?),
    };
    Some((sign, RunPart { name: "version".to_owned(), value }))
}

impl Platform for Kubernetes {
    type Remote<'a> = Change<'a>;

    fn open<'a>(&'a self, order: &'a Order, ready: &'a Ready) -> Result<Change<'a>, String> {
        let [target] = order.run.as_slice() else {
            return Err("the order does not fit the config, which changed meanwhile".to_owned());
        };
        Change::new(self, order, target, ready)
    }

    fn by_hand(&self, run: &[String]) -> ByHand {
        let [target] = run else { return ByHand::default() };
        let word = Kind::WORDS.iter().find(|(_, kind)| *kind == self.kind).map_or("", |(word, _)| *word);
        let (kind, namespace) = (word.to_ascii_lowercase(), format!("--namespace={}", self.namespace));
        let workload = format!("{kind}/{}", self.name);
        let which = match &self.sign {
            Sign::Revision => format!("revision {target}"),
            Sign::Image(_) => format!("the revision whose image has the tag {target}"),
            Sign::Label(label) => format!("the revision whose pods have {label}={target}"),
        };
        let first = format!("With kubectl and a context of the cluster, find {which} and put its number for REVISION.");
        let number = if self.sign == Sign::Revision { target.as_str() } else { "REVISION" };
        let to = format!("--to-revision={number}");
        match (self.kind, self.by) {
            (_, By::Abort) => ByHand::new("With the kubectl plugin of Argo Rollouts and a context of the cluster.")
                .command(["kubectl", "argo", "rollouts", "abort", &self.name, &namespace]),
            (Kind::Rollout, By::Undo) => ByHand::new(format!("{first} It needs the plugin of Argo Rollouts."))
                .command(["kubectl", "argo", "rollouts", "get", "rollout", &self.name, &namespace])
                .command(["kubectl", "argo", "rollouts", "undo", &self.name, &namespace, &to]),
            (Kind::Deployment | Kind::StatefulSet, By::Undo) => ByHand::new(first)
                .command(["kubectl", "rollout", "history", &workload, &namespace])
                .command(["kubectl", "rollout", "undo", &workload, &namespace, &to])
                .command(["kubectl", "rollout", "status", &workload, &namespace]),
        }
    }
}
