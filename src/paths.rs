//! The closed set of rollback paths: what the config may name, and the one way to start, follow and end an attempt.
//!
//! Never decides whether a path runs, and never runs an attempt a second time: an order is carried out once.

mod app_runner;
pub mod argo_cd;
pub(crate) mod attempt_dir;
mod aws;
pub mod by_hand;
pub mod cloud_run;
pub mod command;
mod ecs;
pub mod fly;
pub mod git_revert;
pub mod github_actions;
pub mod gitlab;
pub mod http;
pub mod kubernetes;
pub mod ready;
pub(crate) mod remote;
pub mod supervised;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rollbackd_core::config::PathParts;
use rollbackd_core::config::node::{Node, Problems};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use rollbackd_core::name::AttemptId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::outside::Pending;
use by_hand::ByHand;
use ready::Ready;

/// Every kind of path: the key under which the config describes it, and what reads that part of the config.
const ADAPTERS: &[(&str, Decode)] = &[
    ("argo_cd", |node, problems| registered(argo_cd::decode(node, problems))),
    ("app_runner", |node, problems| registered(app_runner::decode(node, problems))),
    ("command", |node, problems| registered(command::decode(node, problems))),
    ("ecs", |node, problems| registered(ecs::decode(node, problems))),
    ("cloud_run", |node, problems| registered(cloud_run::decode(node, problems))),
    ("fly", |node, problems| registered(fly::decode(node, problems))),
    ("github_actions", |node, problems| registered(github_actions::decode(node, problems))),
    ("gitlab", |node, problems| registered(gitlab::decode(node, problems))),
    ("git_revert", |node, problems| registered(git_revert::decode(node, problems))),
    ("http", |node, problems| registered(http::decode(node, problems))),
    ("kubernetes", |node, problems| registered(kubernetes::decode(node, problems))),
];

type Decode = fn(&Node, &mut Problems) -> Option<(RollbackPath, PathParts)>;

/// The keys under which the config may describe a path.
pub const KINDS: &[&str] = &{
    let mut kinds = [""; ADAPTERS.len()];
    let mut index = 0;
    while index < kinds.len() {
        kinds[index] = ADAPTERS[index].0;
        index += 1;
    }
    kinds
};

/// How a path reaches production. Holds the names of files with secrets, never a secret.
#[derive(Clone, Debug)]
pub struct RollbackPath(Arc<dyn Adapter>);

/// One kind of path.
pub(crate) trait Adapter: fmt::Debug + Send + Sync {
    /// Runs the attempt, once. Dropping the future ends nothing: [`Self::follow`] takes the attempt up again.
    fn start<'a>(&'a self, attempt: Attempt<'a>) -> Pending<'a, Outcome>;

    /// Finds an attempt that an earlier process started, by the handle where one was recorded, and follows it to its
    /// end. Never starts it.
    fn follow<'a>(&'a self, attempt: Attempt<'a>, handle: Option<&'a str>) -> Pending<'a, Outcome>;

    /// The pre-flight: looks whether the order could be carried out now; what it found ready for an attempt. Changes
    /// nothing, and leaves nothing behind. `Err`: why it may not be. `None` for a path that asks nobody.
    fn preflight<'a>(&'a self, _order: &'a Order, _place: &'a Place) -> Option<Pending<'a, Result<Ready, NotReady>>> {
        None
    }

    /// How a person does the same without us, with what an attempt would run.
    fn by_hand(&self, run: &[String]) -> ByHand;
}

/// One attempt, as an adapter needs it.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    /// What to run.
    pub(crate) order: &'a Order,
    /// Where commands live on this machine.
    pub(crate) place: &'a Place,
    /// Who is told what is known before the end.
    pub(crate) progress: &'a mpsc::Sender<Progress>,
    /// Says that the path's timeout is over: what can be ended is ended.
    pub(crate) stop: CancellationToken,
    /// What a pre-flight found just before.
    pub(crate) ready: &'a Ready,
}

/// Why a path may not be able to carry out an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// As things are it would fail. Why.
    Fails(String),
    /// It would wait for a person. For what.
    Waits(String),
    /// It could not be seen this time. Why.
    Unseen(String),
}

/// What is known of an attempt before it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It runs, and can be found again by this.
    Started {
        /// What it can be found by.
        handle: String,
    },
    /// It waits for a person at the remote.
    Waits {
        /// For what.
        why: String,
    },
}

/// Where commands live on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder with one directory for each attempt of a command.
    pub attempts_dir: PathBuf,
    /// Our own binary, which also is the process that watches a command. `/proc/self/exe` still names it after an
    /// upgrade has replaced the file.
    pub program: PathBuf,
}

fn registered<A: Adapter + 'static>(decoded: Option<(A, PathParts)>) -> Option<(RollbackPath, PathParts)> {
    decoded.map(|(adapter, parts)| (RollbackPath(Arc::new(adapter)), parts))
}

/// Reads an adapter's own part of a path. `kind` is one of [`KINDS`]. Every mistake is noted; `None` when there is one
/// that leaves nothing to run.
pub fn decode(kind: &str, node: &Node, problems: &mut Problems) -> Option<(RollbackPath, PathParts)> {
    let Some((_, decode)) = ADAPTERS.iter().find(|(known, _)| *known == kind) else {
        problems.error(node.place, format!("unknown kind of path `{kind}`: expected one of {}", KINDS.join(", ")));
        return None;
    };
    decode(node, problems)
}

impl RollbackPath {
    /// Looks whether the order could be carried out now; what it found ready for an attempt, or why it may not be.
    /// Changes nothing. `None` where there is nothing to look at.
    #[must_use]
    pub fn preflight<'a>(&'a self, order: &'a Order, place: &'a Place) -> Option<Pending<'a, Result<Ready, NotReady>>> {
        self.0.preflight(order, place)
    }

    /// Runs the order, once. `stop` says that the path's timeout is over: what can be ended is ended. Dropping the
    /// future ends nothing: [`Self::follow`] takes the attempt up again.
    pub async fn start(
        &self,
        order: &Order,
        place: &Place,
        progress: &mpsc::Sender<Progress>,
        stop: CancellationToken,
    ) -> Outcome {
        self.start_ready(order, place, &Ready::default(), progress, stop).await
    }

    /// The same with what a pre-flight found just before.
    pub async fn start_ready(
        &self,
        order: &Order,
        place: &Place,
        ready: &Ready,
        progress: &mpsc::Sender<Progress>,
        stop: CancellationToken,
    ) -> Outcome {
        self.0.start(Attempt { order, place, progress, stop, ready }).await
    }

    /// Finds an attempt that an earlier process started, and follows it to its end. Never starts it.
    pub async fn follow(
        &self,
        order: &Order,
        handle: Option<&str>,
        place: &Place,
        progress: &mpsc::Sender<Progress>,
        stop: CancellationToken,
    ) -> Outcome {
        self.0.follow(Attempt { order, place, progress, stop, ready: &Ready::default() }, handle).await
    }
}

impl RollbackPath {
    /// How a person does the same without us. `run` is what an attempt would run, rendered.
    #[must_use]
    pub fn by_hand(&self, run: &[String]) -> ByHand {
        self.0.by_hand(run)
    }
}

/// Removes what is kept on disk of an attempt, once its outcome is in the journal. One that left nothing is no error.
///
/// # Errors
/// The directory can't be removed, or the attempt still runs.
pub fn forget(place: &Place, attempt: &AttemptId) -> std::io::Result<()> {
    attempt_dir::AttemptDir::of(place, attempt).remove()
}

/// Tells the supervisor; nobody listens any more when the daemon is stopping, and then nobody needs to know.
async fn tell(progress: &mpsc::Sender<Progress>, what: Progress) {
    let _unheard = progress.send(what).await;
}

/// An attempt that certainly changed nothing.
fn nothing_ran(why: &str) -> Outcome {
    Outcome::Failed { why: format!("{why}; nothing ran"), output: String::new() }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use rollbackd_core::name::{AttemptId, FiringId, PathName, ServiceName};

    use super::Order;
    use crate::clock::now;

    /// An order that has a minute.
    pub(crate) fn order() -> Order {
        Order {
            service: ServiceName::new("shop").unwrap(),
            firing: FiringId::new("shop-f-1").unwrap(),
            attempt: AttemptId::new("shop-f-1-a1").unwrap(),
            path: PathName::new("pipeline").unwrap(),
            run: Vec::new(),
            started_at: now(),
            ends_at: now() + Duration::from_secs(60),
        }
    }
}
