//! Keeps receipts in git: each is committed to the repository that its folder belongs to, and pushed where the config says so.
//!
//! Never commits anything but receipts that are whole and new there, never forces a push, never pulls, and never runs a hook.
//! What fails is tried again with the next receipt and at the next start; no receipt waits for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rollbackd_core::config::node::{self, Fields, Node, Problems, Value};
use rollbackd_core::receipt::stem;

use super::{Receipts, Summary, number_of};
use crate::clock;
use crate::git::settings::{absolute, branch, text};
use crate::git::{Access, Git};

/// What git does on this machine takes less, also in a large repository.
const LOCAL_LIMIT: Duration = Duration::from_secs(30);

/// A push of some kilobytes takes less, also over a slow line.
const PUSH_LIMIT: Duration = Duration::from_secs(60);

/// A first run in a folder with years of receipts commits so many, the next run the rest.
const MOST_AT_ONCE: usize = 500;

/// Who commits where the config does not say.
const AUTHOR: (&str, &str) = ("rollbackd", "rollbackd@localhost");

/// Any name that is not empty will do at GitHub and GitLab.
const USERNAME: &str = "x-access-token";

/// Where a remote may be.
const PROTOCOLS: &str = "https:http:ssh:file";

/// The config's `receipts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeping {
    push: Option<Push>,
    author_name: String,
    author_email: String,
    username: String,
    token_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Push {
    remote: String,
    /// The branch at the remote; of the same name as the one here, where none is named.
    branch: Option<String>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// How many receipts were committed.
    pub committed: usize,
    /// Whether the branch was pushed, or was there already.
    pub pushed: bool,
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// They could not be committed.
    #[error("receipts could not be committed: {0}")]
    NotCommitted(String),
    /// They are committed, and could not be pushed.
    #[error("receipts are committed and could not be pushed: {0}")]
    NotPushed(String),
}

impl Keeping {
    /// Reads the config: `None` where it says that receipts are not committed.
    pub(crate) fn decode(at: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(at, "`receipts`", problems)?;
        let commit = fields.optional("commit").map_or(Some(false), |at| node::boolean(at, problems));
        let push_place = fields.value_place("push");
        let push = fields.optional("push").and_then(|at| remote(at, problems));
        let push_branch = fields.optional("push_branch").map(|at| (at.place, branch(at, problems)));
        let username = fields.optional("username").map_or(Some(USERNAME), |at| text(at, problems));
        let token_file = fields.optional("token_file").and_then(|at| absolute(at, problems));
        let author_name = fields.optional("author_name").map_or(Some(AUTHOR.0), |at| text(at, problems));
        let author_email = fields.optional("author_email").map_or(Some(AUTHOR.1), |at| text(at, problems));
        fields.finish(problems);
        if let (Some(false), Some(_)) = (commit, &push) {
            problems.error(push_place, "`push` needs `commit: true`: only what is committed can be pushed");
        }
        if let (None, Some((place, _))) = (&push, &push_branch) {
            problems.error(*place, "`push_branch` needs `push`, the remote that it is a branch of");
        }
        let push = push.map(|remote| Push { remote, branch: push_branch.and_then(|(_, branch)| branch) });
        commit?.then_some(())?;
        Some(Self {
            push,
            author_name: author_name?.to_owned(),
            author_email: author_email?.to_owned(),
            username: username?.to_owned(),
            token_file,
        })
    }

    /// Commits what is new in the folder, and pushes where that is configured. `program` answers git when it asks for a
    /// token.
    ///
    /// # Errors
    /// What git said.
    pub async fn keep(&self, dir: &Path, program: &Path) -> Result<Kept, NotKept> {
        if !dir.exists() {
            // There was no receipt yet.
            return Ok(Kept::default());
        }
        let dir = dir.canonicalize().map_err(|error| NotKept::NotCommitted(format!("{}: {error}", dir.display())))?;
        let root = root_of(&dir).ok_or_else(|| {
            NotKept::NotCommitted(format!(
                "{} belongs to no git repository: make one, or clone one there",
                dir.display()
            ))
        })?;
        let access = Access {
            protocols: PROTOCOLS,
            ca_file: None,
            author: (&self.author_name, &self.author_email),
            username: &self.username,
            token_file: self.token_file.as_deref(),
        };
        let git = Git::new(access, root, program, clock::now().milliseconds() / 1000).left_running();
        let committed = commit_all(&git, root, &dir).await.map_err(NotKept::NotCommitted)?;
        let Some(push) = &self.push else { return Ok(Kept { committed, pushed: false }) };
        push.run(&git).await.map_err(NotKept::NotPushed)?;
        Ok(Kept { committed, pushed: true })
    }
}

/// The name of a remote, or `false`.
fn remote(at: &Node, problems: &mut Problems) -> Option<String> {
    if matches!(&at.value, Value::Scalar { text, .. } if text == "false") {
        return None;
    }
    let written = node::text(at, problems)?;
    if written.contains("://") || written.contains('@') || !crate::git::settings::is_branch(written) {
        // Not shown: an address may have a password in it.
        let expected = "expected the name of a remote of the repository, such as origin, or false";
        problems.error_about_secret(at.place, expected);
        return None;
    }
    Some(written.to_owned())
}

/// The folder at the top of the repository that this folder belongs to.
fn root_of(dir: &Path) -> Option<&Path> {
    dir.ancestors().find(|each| each.join(".git").exists())
}

/// Commits each receipt that is whole and new there, the oldest first; tells how many.
async fn commit_all(git: &Git<'_>, root: &Path, dir: &Path) -> Result<usize, String> {
    let below = dir.strip_prefix(root).map_err(|error| error.to_string())?;
    let below = below.to_str().ok_or_else(|| format!("{} is not UTF-8", below.display()))?;
    let folder = if below.is_empty() { "." } else { below };
    // A submodule or a worktree is changed by its own user; nothing of that is asked.
    let status = ["status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--", &literal(folder)];
    let status = git.done(&status, LOCAL_LIMIT).await?;
    let new = new_receipts(&status, below);
    if new.is_empty() {
        return Ok(0);
    }
    let receipts = Receipts::new(dir);
    let known = receipts.list().map_err(|error| error.to_string())?;
    let mut committed = 0;
    for (number, files) in new.into_iter().take(MOST_AT_ONCE) {
        let Some(summary) = known.iter().find(|summary| summary.number == number) else { continue };
        let paths: Vec<String> = files.iter().map(|file| literal(file)).collect();
        commit(git, &paths, &message(summary)).await?;
        committed += 1;
    }
    Ok(committed)
}

/// The files of receipts that git does not have yet, by number, as `git status -z` names them: untracked, or added by
/// us before a crash. What is changed or gone is not ours to commit.
fn new_receipts(status: &str, below: &str) -> BTreeMap<u64, Vec<String>> {
    let mut found: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for entry in status.split('\0') {
        let (Some(what), Some(path)) = (entry.get(..2), entry.get(3..)) else { continue };
        let path_below =
            if below.is_empty() { Some(path) } else { path.strip_prefix(below).and_then(|it| it.strip_prefix('/')) };
        let number = path_below.and_then(|name| name.split_once('.')).and_then(|(name, extension)| {
            let is_ours = matches!(extension, "md" | "json" | "svg");
            number_of(name).filter(|_| is_ours)
        });
        if let (Some(number), "??" | "A " | "AM") = (number, what) {
            found.entry(number).or_default().push(path.to_owned());
        }
    }
    // The markdown comes last: without it the receipt is not whole yet.
    found.retain(|_, files| files.iter().any(|file| file.ends_with(".md")));
    found
}

/// A path in which git takes no character for more than itself.
fn literal(path: &str) -> String {
    format!(":(top,literal){path}")
}

/// Commits these files alone: what others have staged stays staged.
async fn commit(git: &Git<'_>, paths: &[String], message: &str) -> Result<(), String> {
    let add = ["add", "--"].into_iter().chain(paths.iter().map(String::as_str));
    git.done(&add.collect::<Vec<_>>(), LOCAL_LIMIT).await?;
    let commit = ["-c", "commit.gpgSign=false", "commit", "--only", "--no-verify", "--quiet", "--cleanup=verbatim"];
    let arguments = commit.into_iter().chain(["--file=-", "--"]).chain(paths.iter().map(String::as_str));
    let arguments: Vec<&str> = arguments.collect();
    let ran = git.run(&arguments, message, LOCAL_LIMIT).await?;
    if ran.status.success() { Ok(()) } else { Err(ran.why(&["commit"])) }
}

fn message(summary: &Summary) -> String {
    let number = stem(summary.number);
    match &summary.facts {
        Ok(front) => {
            let outcome = front.outcome.name().replace('_', " ");
            format!("Receipt {number}: {} of {}, {outcome} ({})\n", front.trigger, front.service, front.kind.name())
        }
        Err(_) => format!("Receipt {number}\n"),
    }
}

impl Push {
    /// Pushes the branch that is checked out. Nothing is forced: where the remote has more, a person pulls.
    async fn run(&self, git: &Git<'_>) -> Result<(), String> {
        let here = git.done(&["symbolic-ref", "--short", "HEAD"], LOCAL_LIMIT).await;
        let here = here.map_err(|why| format!("no branch is checked out there ({why})"))?;
        let there = self.branch.as_deref().unwrap_or(&here);
        let refs = format!("refs/heads/{here}:refs/heads/{there}");
        let push = ["push", "--quiet", "--no-verify", "--end-of-options", &self.remote, &refs];
        git.asks(&push, PUSH_LIMIT).await.map(|_| ()).map_err(crate::git::Fault::why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_receipts_that_are_new_are_committed() {
        let status = "?? r/001.json\0?? r/001.md\0?? r/001.svg\0A  r/002.md\0 M r/003.md\0 D r/004.md\0?? r/005.svg\0\
                      ?? r/README.md\0?? r/6.md\0?? r/sub/007.md\0?? other/008.md\0M  src/main.rs\0?? r/.009.md.rollbackd-tmp\0";
        let found = new_receipts(status, "r");
        let expected = BTreeMap::from([
            (1, vec!["r/001.json".to_owned(), "r/001.md".to_owned(), "r/001.svg".to_owned()]),
            (2, vec!["r/002.md".to_owned()]),
        ]);
        assert_eq!(found, expected);
        assert_eq!(new_receipts("?? 001.md\0?? x/002.md\0", "").into_keys().collect::<Vec<_>>(), [1]);
    }
}
