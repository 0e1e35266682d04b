//! The path `git_revert`: the deploy's commit is reverted on a fresh clone and pushed, for the pipeline to deploy.
//!
//! Never forces a push, never pushes half of anything, and never lets a token into an argument, a URL or the environment.

mod follow;
mod revert;

use std::path::PathBuf;
use std::time::Duration;

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::config::{PathParts, RunPart};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use rollbackd_core::template::{Template, Variable};

use self::follow::Follow;
use self::revert::{Revert, clone_of};
use super::by_hand::ByHand;
use super::ready::Ready;
use super::remote::secret_file::secret_file;
use super::remote::{Following, Remote as _};
use super::{Adapter, Attempt, NotReady, Place, nothing_ran};
use crate::git::Access;
use crate::git::settings::{branch, is_branch, text};
use crate::http_client::Endpoint;
use crate::outside::Pending;

/// Between two looks at whether the revert is on the branch: each is a fetch.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The shortest time between two looks, for repositories on this machine.
const SHORTEST_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The longest one: what waits for a person pages at the next look.
const LONGEST_POLL_INTERVAL: Duration = Duration::from_secs(60);

/// Any name that is not empty will do at GitHub and GitLab.
const USERNAME: &str = "x-access-token";

/// What git leaves to a human.
const LEAVES_BEHIND: &str = "the change is out of git: revert the revert to bring it back, mended";

/// A repository, but for the commit, which an order brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitRevert {
    /// Without credentials.
    url: String,
    /// The one protocol that git may speak.
    protocol: &'static str,
    /// The branch that is deployed.
    branch: String,
    /// Whether the revert goes to a branch of its own, which an order names.
    own_branch: bool,
    username: String,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    author_name: String,
    author_email: String,
    /// What deploys the branch; `None` where done means pushed.
    follow: Option<Follow>,
    poll_interval: Duration,
}

/// Reads the config.
pub(super) fn decode(at: &Node, problems: &mut Problems) -> Option<(GitRevert, PathParts)> {
    let mut fields = Fields::of(at, "a `git_revert` path", problems)?;
    let url = fields.required("url", problems).and_then(|at| url(at, problems));
    let branch = fields.optional("branch").map_or(Some("main".to_owned()), |at| branch(at, problems));
    let push_to = fields.optional("push_to").map(|at| push_to(at, problems));
    let username = fields.optional("username").map_or(Some(USERNAME), |at| text(at, problems));
    let token_file = fields.optional("token_file").and_then(|at| secret_file(at, "the token", problems));
    let ca_file = fields.optional("ca_file").and_then(|at| secret_file(at, "the certificates", problems));
    let author_name = fields.optional("author_name").map_or(Some("rollbackd"), |at| text(at, problems));
    let author_email = fields.optional("author_email").map_or(Some("rollbackd@localhost"), |at| text(at, problems));
    let follow = fields.optional("follow").map(|at| Follow::decode(at, problems));
    let poll_interval = fields.optional("poll_interval").map_or(Some(POLL_INTERVAL), |at| {
        node::duration_within(at, SHORTEST_POLL_INTERVAL, LONGEST_POLL_INTERVAL, problems)
    });
    fields.finish(problems);

    let push_to = push_to.map_or(Some(None), |push_to| push_to.map(Some))?;
    let follow = follow.map_or(Some(None), |follow| follow.map(Some))?;
    let (protocol, url) = url?;
    let git = GitRevert {
        url,
        protocol,
        branch: branch?,
        own_branch: push_to.is_some(),
        username: username?.to_owned(),
        token_file,
        ca_file,
        author_name: author_name?.to_owned(),
        author_email: author_email?.to_owned(),
        follow,
        poll_interval: poll_interval?,
    };
    let commit = Template::parse(&format!("{{{{ {} }}}}", Variable::DeployCommit.name())).ok()?;
    let mut run = vec![RunPart { name: "commit".to_owned(), value: commit }];
    run.extend(push_to.map(|value| RunPart { name: "push_to".to_owned(), value }));
    Some((git, PathParts { run, leaves_behind: Some(LEAVES_BEHIND.to_owned()) }))
}

fn url(at: &Node, problems: &mut Problems) -> Option<(&'static str, String)> {
    let written = node::text(at, problems)?;
    if written.starts_with("file:///") {
        return Some(("file", written.to_owned()));
    }
    let endpoint = problems.take(at.place, Endpoint::parse(written))?;
    let protocol = if endpoint.url().scheme() == "http" { "http" } else { "https" };
    Some((protocol, endpoint.url().to_string()))
}

/// The attempt's id makes the branch this attempt's alone.
fn push_to(at: &Node, problems: &mut Problems) -> Option<Template> {
    let template = node::template(at, problems)?;
    let filled: Result<String, std::convert::Infallible> = template.fill(|_| Ok("x"));
    let is_branch = filled.is_ok_and(|filled| is_branch(&filled));
    let only_attempt = template.variables().eq([Variable::AttemptId]);
    if !is_branch || !only_attempt {
        problems.error(
            at.place,
            "expected a branch with {{ attempt.id }} and no other template in it, such as rollback/{{ attempt.id }}",
        );
        return None;
    }
    Some(template)
}

impl GitRevert {
    fn access(&self) -> Access<'_> {
        Access {
            protocols: self.protocol,
            ca_file: self.ca_file.as_deref(),
            author: (&self.author_name, &self.author_email),
            username: &self.username,
            token_file: self.token_file.as_deref(),
        }
    }

    /// How many parts an order has: the commit, and the branch that is pushed to where it is another one.
    const fn parts(&self) -> usize {
        if self.own_branch { 2 } else { 1 }
    }

    fn open<'a>(&'a self, attempt: &Attempt<'a>) -> Result<Revert<'a>, String> {
        let dir = clone_of(&attempt.place.attempts_dir, &attempt.order.attempt);
        Revert::new(self, attempt.order, &dir, &attempt.place.program)
    }
}

impl Adapter for GitRevert {
    fn start<'a>(&'a self, attempt: Attempt<'a>) -> Pending<'a, Outcome> {
        Box::pin(async move {
            match self.open(&attempt) {
                Ok(remote) => Following { remote, attempt }.start().await,
                Err(why) => nothing_ran(&why),
            }
        })
    }

    fn follow<'a>(&'a self, attempt: Attempt<'a>, handle: Option<&'a str>) -> Pending<'a, Outcome> {
        Box::pin(async move {
            match self.open(&attempt) {
                Ok(remote) => Following { remote, attempt }.follow(handle).await,
                Err(why) => Outcome::Unknown { why },
            }
        })
    }

    fn preflight<'a>(&'a self, order: &'a Order, place: &'a Place) -> Option<Pending<'a, Result<Ready, NotReady>>> {
        Some(Box::pin(async move {
            // Git runs in a folder that is there; a clone's own is made when it is needed.
            let dir = place.attempts_dir.parent().unwrap_or(&place.attempts_dir);
            let revert = Revert::new(self, order, dir, &place.program).map_err(NotReady::Fails)?;
            let looked = revert.without_repository().preflight().await;
            looked.map(|()| Ready::default()).map_err(|asked| asked.not_ready(order))
        }))
    }

    fn by_hand(&self, run: &[String]) -> ByHand {
        let [commit, ..] = run else { return ByHand::default() };
        let first = format!(
            "In a clone of {}, with branch {} checked out and up to date; where that branch is protected, push to another \
             and open a merge request. The commit of the bad deploy stands in its pipeline. Then wait for the pipeline.",
            self.url, self.branch
        );
        ByHand::new(first).command(["git", "revert", "--no-edit", commit]).command([
            "git",
            "push",
            "origin",
            &format!("HEAD:{}", self.branch),
        ])
    }
}
