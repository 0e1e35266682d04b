//! One attempt by git: a fresh clone, the revert as one commit, one push, and looks at whether it is on the branch.
//!
//! Never forces a push, and never makes a second revert: before each push the branch is read anew, and a revert of this
//! firing's is recognised by its trailer. A push of one branch is carried out whole or not at all.

use std::path::Path;
use std::time::Duration;

use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use rollbackd_core::name::AttemptId;

use super::GitRevert;
use super::follow::Pipelines;
use crate::clock::now;
use crate::git::{Fault, Git, Ran};
use crate::http_client::one_line;
use crate::paths::remote::{Asked, Found, Look, Remote};

/// Names the attempt in the revert's message, which is how it is found again.
const TRAILER: &str = "Rollbackd-Attempt";

/// How many commits of the branch are fetched, one step after the other until the deploy's is among them; the last
/// stands for all.
const DEPTHS: &[&str] = &["64", "1024", "2147483647"];

/// How often the branch may move between reading it and pushing.
const ROUNDS: u32 = 5;

/// How long a look may take: without time left it could find out nothing after a restart.
const LOOK_LIMIT: Duration = Duration::from_secs(60);

/// What is waited after a limit was met: git does not tell what the server named.
const LIMITED_WAIT: Duration = Duration::from_secs(60);

/// The branch as it was read last.
const HEAD: &str = "refs/remotes/origin/branch";

/// The branch with the revert that waits for a person, as it was read last.
const PUSHED: &str = "refs/remotes/origin/pushed";

/// One attempt, with all that it needs.
pub(crate) struct Revert<'a> {
    settings: &'a GitRevert,
    git: Git<'a>,
    order: &'a Order,
    is_cloned: bool,
    /// Asks for what deploys the branch; `None` where done means pushed.
    pipelines: Option<Pipelines<'a>>,
    /// The commit with which the branch got the revert, once that is seen.
    landed: Option<String>,
}

/// The deploy's commit, on the branch.
struct Deployed {
    sha: String,
    is_merge: bool,
}

/// What came of one round.
enum Round {
    Over(Asked),
    /// The branch moved meanwhile: nothing was pushed.
    Again,
}

impl<'a> Revert<'a> {
    pub(super) fn new(settings: &'a GitRevert, order: &'a Order, dir: &Path, program: &Path) -> Result<Self, String> {
        if order.run.len() != settings.parts() {
            return Err("the order does not fit the config, which changed meanwhile".to_owned());
        }
        let commit = &order.run[0];
        let is_hex = commit.chars().all(|each| each.is_ascii_hexdigit());
        if !is_hex || !(7..=64).contains(&commit.len()) {
            return Err(format!("{:?} is no commit: expected 7 to 64 hexadecimal digits", one_line(commit)));
        }
        let git = Git::new(settings.access(), dir, program, order.started_at.milliseconds() / 1000);
        let pipelines = settings.follow.as_ref().map(Pipelines::new).transpose()?;
        Ok(Self { settings, git, order, is_cloned: false, pipelines, landed: None })
    }

    /// The same in a folder that is no clone of ours: a repository that somebody keeps there is not looked into.
    pub(super) fn without_repository(self) -> Self {
        Self { git: self.git.without_repository(), ..self }
    }

    /// What is left of the path's timeout.
    fn left(&self) -> Duration {
        self.order.ends_at.since(now())
    }

    /// The branch that the revert is pushed to.
    fn goal(&self) -> &str {
        self.order.run.get(1).unwrap_or(&self.settings.branch)
    }

    fn waits_for_a_merge(&self) -> bool {
        self.settings.parts() > 1
    }

    /// An empty repository in the attempt's own directory.
    async fn clone_anew(&mut self) -> Result<(), String> {
        if self.is_cloned {
            return Ok(());
        }
        let dir = self.git.dir();
        let remove = tokio::fs::remove_dir_all(dir).await;
        if let Err(error) =
            remove.or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        {
            return Err(format!("could not clear {}: {error}", dir.display()));
        }
        let made = tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).await;
        made.map_err(|error| format!("could not make {}: {error}", dir.display()))?;
        self.git.done(&["init", "--quiet", "--template=", "."], LOOK_LIMIT).await?;
        self.is_cloned = true;
        Ok(())
    }

    /// Reads the branch, as much of it as goes back to before the deploy's commit.
    async fn fetch(&mut self, limit: Duration) -> Result<Deployed, Fault> {
        self.clone_anew().await.map_err(Fault::Refused)?;
        let branch = &self.settings.branch;
        let refspec = format!("+refs/heads/{branch}:{HEAD}");
        for depth in DEPTHS {
            let depth = format!("--depth={depth}");
            let fetch = ["fetch", "--quiet", "--no-tags", &depth, "--end-of-options", &self.settings.url, &refspec];
            self.git.asks(&fetch, limit).await?;
            if let Some(found) = self.deployed().await.map_err(Fault::Broken)? {
                return Ok(found);
            }
        }
        let commit = &self.order.run[0];
        Err(Fault::Refused(format!("commit {commit} is not on {branch}, or is the first of all")))
    }

    /// The deploy's commit, where it and what was before it have been fetched.
    async fn deployed(&self) -> Result<Option<Deployed>, String> {
        let named = format!("{}^{{commit}}", self.order.run[0]);
        let ran = self.git.run(&["rev-parse", "--verify", "--quiet", &named], "", LOOK_LIMIT).await?;
        if !ran.status.success() {
            return Ok(None);
        }
        let sha = ran.output.trim().to_owned();
        let ancestor = self.git.run(&["merge-base", "--is-ancestor", &sha, HEAD], "", LOOK_LIMIT).await?;
        let line = self.git.done(&["rev-list", "--parents", "--max-count=1", &sha], LOOK_LIMIT).await?;
        // At the edge of what was fetched a commit seems to have no parents.
        let parents = line.split_whitespace().count().saturating_sub(1);
        Ok((ancestor.status.success() && parents > 0).then_some(Deployed { sha, is_merge: parents > 1 }))
    }

    /// This firing's revert among the commits after the deploy's, in what `tip` names.
    async fn own(&self, deployed: &Deployed, tip: &str) -> Result<Option<String>, String> {
        // Of any of its attempts: one that was given up may have come through after all.
        let grep = format!("--grep={TRAILER}: {}-a", self.order.firing);
        self.newest(&grep, deployed, tip).await
    }

    async fn newest(&self, grep: &str, deployed: &Deployed, tip: &str) -> Result<Option<String>, String> {
        let range = format!("{}..{tip}", deployed.sha);
        let log = ["log", "--fixed-strings", grep, "--format=%H", "--max-count=1", &range, "--"];
        let found = self.git.done(&log, LOOK_LIMIT).await?;
        Ok((!found.is_empty()).then_some(found))
    }

    /// The revert on the branch of its own, where it waits for a person; outside `None` where there is no such branch.
    async fn waiting(&self, deployed: &Deployed, limit: Duration) -> Result<Option<Option<String>>, Fault> {
        let goal = format!("refs/heads/{}", self.goal());
        let url = self.settings.url.as_str();
        let listed = self.git.asks(&["ls-remote", "--end-of-options", url, &goal], limit).await?;
        if listed.is_empty() {
            return Ok(None);
        }
        let refspec = format!("+{goal}:{PUSHED}");
        let fetch = ["fetch", "--quiet", "--no-tags", "--end-of-options", url, &refspec];
        self.git.asks(&fetch, limit).await?;
        self.own(deployed, PUSHED).await.map(Some).map_err(Fault::Broken)
    }

    /// Sees whether the branch has the revert; where it has not, what that means.
    async fn land(&mut self, handle: &str) -> Result<Option<Look>, Fault> {
        let deployed = self.fetch(LOOK_LIMIT).await?;
        if let Some(own) = self.own(&deployed, HEAD).await.map_err(Fault::Broken)? {
            self.landed = Some(self.brought_by(&deployed, own).await.map_err(Fault::Broken)?);
            return Ok(None);
        }
        let (branch, goal) = (&self.settings.branch, self.goal());
        if !self.waits_for_a_merge() {
            return Ok(Some(Look::Refused(format!("it is not on {branch} any more"))));
        }
        Ok(Some(match self.waiting(&deployed, LOOK_LIMIT).await? {
            Some(_) => Look::Waits(format!("{handle} on {goal} waits for a person to merge it into {branch}")),
            None => Look::Ended(Outcome::Cancelled { why: format!("{goal} was deleted without being merged") }),
        }))
    }

    /// The commit with which the branch got the revert: the revert itself, or the merge of it.
    async fn brought_by(&self, deployed: &Deployed, own: String) -> Result<String, String> {
        let tips = format!("{}..{HEAD}", deployed.sha);
        let tips = self.git.done(&["rev-list", "--first-parent", &tips, "--"], LOOK_LIMIT).await?;
        if tips.lines().any(|tip| tip == own) {
            return Ok(own);
        }
        let with_it = format!("{own}..{HEAD}");
        let with_it = self.git.done(&["rev-list", "--ancestry-path", &with_it, "--"], LOOK_LIMIT).await?;
        // The newest comes first.
        let oldest = tips.lines().rev().find(|tip| with_it.lines().any(|commit| commit == *tip));
        Ok(oldest.map_or(own, str::to_owned))
    }

    /// Where this firing's revert is by now, wherever it was pushed to.
    async fn search(&mut self) -> Result<Found, Fault> {
        let deployed = self.fetch(LOOK_LIMIT).await?;
        let on_branch = self.own(&deployed, HEAD).await.map_err(Fault::Broken)?;
        let waiting = if on_branch.is_none() && self.waits_for_a_merge() {
            self.waiting(&deployed, LOOK_LIMIT).await?.flatten()
        } else {
            None
        };
        // It is not there, and a push can't come through any more once the branch has been read for the next one.
        Ok(on_branch.or(waiting).map_or(Found::Never, Found::It))
    }

    async fn round(&mut self) -> Round {
        match self.try_round().await {
            Ok(round) => round,
            Err(Fault::NotSent(why)) => Round::Over(Asked::NotSent(why)),
            Err(Fault::Limited(why)) => Round::Over(Asked::Later(LIMITED_WAIT, why)),
            Err(Fault::Refused(why) | Fault::Broken(why)) => Round::Over(Asked::Refused(why)),
        }
    }

    /// Up to the push everything is on this machine: whatever fails, nothing was changed.
    async fn try_round(&mut self) -> Result<Round, Fault> {
        let deployed = self.fetch(self.left()).await?;
        if let Some(own) = self.own(&deployed, HEAD).await.map_err(Fault::Broken)? {
            return Ok(Round::Over(Asked::Accepted(own)));
        }
        if self.waits_for_a_merge() {
            match self.waiting(&deployed, self.left()).await? {
                None => {}
                Some(Some(own)) => return Ok(Round::Over(Asked::Accepted(own))),
                Some(None) => {
                    return Err(Fault::Refused(format!("there is a branch {} already, of somebody else", self.goal())));
                }
            }
        }
        let commit = self.commit(&deployed).await.map_err(Fault::Refused)?;
        if self.left().is_zero() {
            return Err(Fault::Refused("the path's timeout was over before the push".to_owned()));
        }
        Ok(self.push(&commit).await)
    }

    /// Makes the revert, on this machine alone.
    async fn commit(&self, deployed: &Deployed) -> Result<String, String> {
        let left = self.left();
        self.git.done(&["checkout", "--quiet", "--force", "--detach", HEAD], left).await?;
        let mut revert = vec!["revert", "--no-commit"];
        if deployed.is_merge {
            revert.extend(["-m", "1"]);
        }
        revert.push(&deployed.sha);
        let ran = self.git.run(&revert, "", left).await?;
        if !ran.status.success() {
            return Err(self.conflict(deployed, &ran, &revert).await);
        }
        let tree = self.git.done(&["write-tree"], left).await?;
        let before = self.git.done(&["rev-parse", &format!("{HEAD}^{{tree}}")], left).await?;
        if tree == before {
            return Err(self.reverted_already(deployed).await);
        }
        let made = ["commit-tree", &tree, "-p", HEAD, "-F", "-"];
        let ran = self.git.run(&made, &self.message(deployed), left).await?;
        if ran.status.success() { Ok(ran.output.trim().to_owned()) } else { Err(ran.why(&made)) }
    }

    async fn conflict(&self, deployed: &Deployed, ran: &Ran, revert: &[&str]) -> String {
        let listed = self.git.done(&["diff", "--name-only", "--diff-filter=U"], LOOK_LIMIT).await.unwrap_or_default();
        if listed.is_empty() {
            return ran.why(revert);
        }
        let files = one_line(&listed.lines().collect::<Vec<_>>().join(", "));
        format!("reverting {} conflicts with later commits in {files}: revert it by hand", deployed.sha)
    }

    async fn reverted_already(&self, deployed: &Deployed) -> String {
        let grep = format!("--grep=This reverts commit {}", deployed.sha);
        let by = self.newest(&grep, deployed, HEAD).await.ok().flatten();
        let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
        format!(
            "commit {} is reverted on {} already{by}: there is nothing to revert",
            deployed.sha, self.settings.branch
        )
    }

    /// No text of anybody else's: a subject with `[skip ci]` in it would keep the pipeline from running.
    fn message(&self, deployed: &Deployed) -> String {
        let Order { service, firing, attempt, .. } = self.order;
        let sha = &deployed.sha;
        let short: &str = sha.get(..12).unwrap_or(sha);
        let merge = if deployed.is_merge { " as the merge into its first parent" } else { "" };
        format!(
            "Revert {short} to roll back {service}\n\nThis reverts commit {sha}{merge}.\nMade by rollbackd for firing \
             {firing}.\n\n{TRAILER}: {attempt}\n"
        )
    }

    async fn push(&self, commit: &str) -> Round {
        let refspec = format!("{commit}:refs/heads/{}", self.goal());
        let push = ["push", "--porcelain", "--no-verify", "--end-of-options", &self.settings.url, &refspec];
        let ran = match self.git.run(&push, "", self.left()).await {
            Ok(ran) => ran,
            Err(why) => return Round::Over(Asked::Perhaps(why)),
        };
        if ran.status.success() {
            return Round::Over(Asked::Accepted(commit.to_owned()));
        }
        let Some(refused) = ran.output.lines().find_map(|line| line.strip_prefix("!\t")) else {
            return Round::Over(match ran.fault(&push) {
                Fault::NotSent(why) => Asked::NotSent(why),
                Fault::Refused(why) => Asked::Refused(format!("{why}; check that the token may push")),
                Fault::Limited(why) => Asked::Later(LIMITED_WAIT, why),
                Fault::Broken(why) => Asked::Perhaps(why),
            });
        };
        let moved = ["(fetch first)", "(non-fast-forward)", "cannot lock ref", "failed to update ref", "(stale info)"];
        if moved.iter().any(|reason| refused.contains(reason)) {
            return Round::Again;
        }
        let said = one_line(refused.split('\t').next_back().unwrap_or_default());
        Round::Over(Asked::Refused(format!("{} was not pushed to: {said}; {}", self.goal(), ran.why(&push))))
    }
}

impl Remote for Revert<'_> {
    const NAME: &'static str = "the git remote";
    const WHAT: &'static str = "the revert";

    fn poll_interval(&self) -> Duration {
        self.settings.poll_interval
    }

    /// Clones nothing: whether the commit is there to be reverted is seen when it is.
    async fn preflight(&mut self) -> Result<(), Asked> {
        let branch = format!("refs/heads/{}", self.settings.branch);
        let list = ["ls-remote", "--end-of-options", &self.settings.url, &branch];
        let listed = self.git.asks(&list, LOOK_LIMIT).await.map_err(|fault| match fault {
            Fault::Refused(why) => Asked::Refused(why),
            Fault::NotSent(why) | Fault::Limited(why) | Fault::Broken(why) => Asked::NotSent(why),
        })?;
        if listed.is_empty() {
            return Err(Asked::Refused(format!("there is no branch {}", self.settings.branch)));
        }
        Ok(())
    }

    async fn ask(&mut self) -> Asked {
        for _ in 0..ROUNDS {
            if let Round::Over(asked) = self.round().await {
                return asked;
            }
        }
        Asked::Refused(format!("{} moved {ROUNDS} times between reading it and pushing", self.goal()))
    }

    async fn find(&mut self) -> Found {
        self.search().await.unwrap_or_else(|fault| Found::Unanswered(fault.why()))
    }

    async fn look(&mut self, handle: &str) -> Look {
        if self.landed.is_none() {
            match self.land(handle).await {
                Ok(None) => {}
                Ok(Some(look)) => return look,
                Err(Fault::Refused(why)) => return Look::Refused(why),
                Err(Fault::Limited(_)) => return Look::Later(LIMITED_WAIT),
                Err(Fault::NotSent(_) | Fault::Broken(_)) => return Look::Later(Duration::ZERO),
            }
        }
        match (&self.landed, &mut self.pipelines) {
            // Whoever deploys it calls it by that commit: so it is recognised when it is announced.
            (Some(landed), _) if landed != handle => Look::Renamed(landed.clone()),
            (Some(landed), Some(pipelines)) => pipelines.look(landed, &self.settings.branch).await,
            (Some(landed), None) => {
                Look::Ended(Outcome::Succeeded { receipt: Some(landed.clone()), output: String::new() })
            }
            (None, _) => Look::Runs,
        }
    }
}

/// The directory of an attempt's clone.
pub(super) fn clone_of(attempts_dir: &Path, attempt: &AttemptId) -> std::path::PathBuf {
    attempts_dir.join(attempt.as_str())
}
