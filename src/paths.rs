//! The closed set of rollback paths: what the config may name, and the one way to start, follow and end an attempt.
//!
//! Never decides whether a path runs, and never runs an attempt a second time: an order is carried out once.

pub(crate) mod attempt_dir;
pub mod command;
pub mod github_actions;
pub mod supervised;

use std::path::PathBuf;

use rollbackd_core::config::PathParts;
use rollbackd_core::config::node::{Node, Problems};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use rollbackd_core::name::AttemptId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The keys under which the config may describe a path.
pub const KINDS: &[&str] = &["command", "github_actions"];

/// How a path reaches production. Holds the names of files with secrets, never a secret.
#[derive(Clone, Debug, PartialEq)]
pub enum RollbackPath {
    /// A program of the operator's.
    Command(command::Command),
    /// A workflow of GitHub Actions.
    GithubActions(github_actions::GithubActions),
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

/// Reads an adapter's own part of a path. `kind` is one of [`KINDS`]. Every mistake is noted; `None` when there is one
/// that leaves nothing to run.
pub fn decode(kind: &str, node: &Node, problems: &mut Problems) -> Option<(RollbackPath, PathParts)> {
    match kind {
        "command" => {
            let (command, parts) = command::decode(node, problems)?;
            Some((RollbackPath::Command(command), parts))
        }
        "github_actions" => {
            let (workflow, parts) = github_actions::decode(node, problems)?;
            Some((RollbackPath::GithubActions(workflow), parts))
        }
        other => {
            problems.error(node.place, format!("unknown kind of path `{other}`: expected {}", KINDS.join(" or ")));
            None
        }
    }
}

impl RollbackPath {
    /// Runs the order, once. `stop` says that the path's timeout is over: what can be ended is ended. Dropping the
    /// future ends nothing: [`Self::follow`] takes the attempt up again.
    pub async fn start(
        &self,
        order: &Order,
        place: &Place,
        progress: &mpsc::Sender<Progress>,
        stop: CancellationToken,
    ) -> Outcome {
        match self {
            Self::Command(command) => command.start(order, place, progress, stop).await,
            Self::GithubActions(workflow) => workflow.start(order, progress, stop).await,
        }
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
        match self {
            Self::Command(command) => command.follow(order, place, progress, stop).await,
            Self::GithubActions(workflow) => workflow.follow(order, handle, progress, stop).await,
        }
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
