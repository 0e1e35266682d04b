//! What the push starts: the run or the pipeline of the commit that brought the revert, looked at until it ends.
//!
//! Never starts, cancels or repeats one: it only looks.
//!
//! Source: GitHub's OpenAPI description, `actions/list-workflow-runs` (`head_sha`); GitLab, "Pipelines API" (`sha`).

use std::time::Duration;

use rollbackd_core::config::node::{Fields, Node, Problems};
use rollbackd_core::firing::Outcome;
use tokio::time::Instant;

use crate::paths::remote::Look;
use crate::paths::remote::api::Api;
use crate::paths::remote::github::run::{Run, Runs};
use crate::paths::remote::github::{Actions, Repository, RepositoryApi, workflow};
use crate::paths::remote::gitlab::{Pipeline, Project};
use crate::paths::remote::reading::seen;

/// How long after the push its pipeline may take to show. One that is skipped, or filtered by what a push changes,
/// never does.
const SHOWS_WITHIN: Duration = Duration::from_secs(120);

/// Whose pipeline is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    /// The run of this workflow at GitHub.
    Github { repository: Repository, workflow: String },
    /// The pipeline of the project at GitLab.
    Gitlab(Project),
}

/// One attempt's way to ask for it.
pub(super) struct Pipelines<'a> {
    asked: Asked<'a>,
    /// Since when the commit's own is looked for.
    since: Option<Instant>,
}

enum Asked<'a> {
    Github { api: RepositoryApi<'a>, workflow: &'a str },
    Gitlab { api: Api, project: &'a Project },
}

impl Follow {
    /// Reads `follow`.
    pub(super) fn decode(at: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(at, "`follow`", problems)?;
        let found = fields.exactly_one(&["github", "gitlab"], problems);
        fields.finish(problems);
        let (forge, at) = found?;
        let mut fields = Fields::of(at, format!("`follow.{forge}`"), problems)?;
        let follow = if forge == "github" {
            let repository = Repository::decode(&mut fields, problems);
            let workflow = fields.required("workflow", problems).and_then(|at| workflow(at, problems));
            repository.zip(workflow).map(|(repository, workflow)| Self::Github { repository, workflow })
        } else {
            let reads = "it takes a token with the scope `read_api` to look at pipelines";
            Project::decode(&mut fields, reads, problems).map(Self::Gitlab)
        };
        fields.finish(problems);
        follow
    }
}

impl<'a> Pipelines<'a> {
    /// Gets ready; nothing is asked for yet.
    pub(super) fn new(follow: &'a Follow) -> Result<Self, String> {
        let asked = match follow {
            Follow::Github { repository, workflow } => {
                Asked::Github { api: RepositoryApi::new(repository, Actions::Read, None)?, workflow }
            }
            Follow::Gitlab(project) => Asked::Gitlab { api: project.api()?, project },
        };
        Ok(Self { asked, since: None })
    }

    /// How far the commit on this branch has come; its receipt is the commit.
    pub(super) async fn look(&mut self, commit: &str, branch: &str) -> Look {
        let newest = match &mut self.asked {
            Asked::Github { api, workflow } => newest_run(api, workflow, commit).await,
            Asked::Gitlab { api, project } => newest_pipeline(api, project, commit, branch).await,
        };
        match newest {
            Err(look) => look,
            Ok(Some(Look::Ended(outcome))) => Look::Ended(of_the_revert(outcome, commit, branch)),
            Ok(Some(look)) => look,
            Ok(None) => self.absent(commit, branch),
        }
    }

    fn absent(&mut self, commit: &str, branch: &str) -> Look {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() < SHOWS_WITHIN {
            return Look::Runs;
        }
        let what = match &self.asked {
            Asked::Github { workflow, .. } => format!("run of {workflow}"),
            Asked::Gitlab { .. } => "pipeline".to_owned(),
        };
        let why = format!(
            "the revert {commit} is on {branch}, and no {what} began for it within {} s: check what starts one",
            SHOWS_WITHIN.as_secs()
        );
        Look::Ended(Outcome::Failed { why, output: String::new() })
    }
}

/// The newest run of the commit, where there is one. `Err`: what it means that it could not be read.
async fn newest_run(api: &mut RepositoryApi<'_>, workflow: &str, commit: &str) -> Result<Option<Look>, Look> {
    let request = api.get(&format!("actions/workflows/{workflow}/runs"));
    let request = request.query(&[("head_sha", commit), ("per_page", "1"), ("exclude_pull_requests", "true")]);
    let runs: Runs = seen(api.send(request).await)?;
    Ok(runs.workflow_runs.into_iter().next().map(Run::look))
}

async fn newest_pipeline(api: &Api, project: &Project, commit: &str, branch: &str) -> Result<Option<Look>, Look> {
    let request = api.client().get(project.url(&["pipelines"]));
    let request =
        request.query(&[("sha", commit), ("ref", branch), ("order_by", "id"), ("sort", "desc"), ("per_page", "1")]);
    let found: Vec<Pipeline> = seen(api.send(request).await)?;
    Ok(found.first().map(Pipeline::look))
}

/// How the pipeline ended, said of the revert that it was to deploy.
fn of_the_revert(outcome: Outcome, commit: &str, branch: &str) -> Outcome {
    let told = |why: String| format!("the revert {commit} is on {branch}, and {why}");
    match outcome {
        Outcome::Succeeded { output, .. } => Outcome::Succeeded { receipt: Some(commit.to_owned()), output },
        Outcome::Failed { why, output } => Outcome::Failed { why: told(why), output },
        Outcome::Cancelled { why } => Outcome::Cancelled { why: told(why) },
        other @ (Outcome::TimedOut | Outcome::Unknown { .. } | Outcome::NeverStarted) => other,
    }
}

#[cfg(test)]
mod tests {
    use rollbackd_core::config::node::{Place, Value};

    use super::*;

    /// The tree of a config of texts and mappings.
    fn mapping(entries: &[(&str, Node)]) -> Node {
        let key = |name: &str| text(name);
        Node {
            place: Place { line: 1, column: 1 },
            value: Value::Map(entries.iter().map(|(name, value)| (key(name), value.clone())).collect()),
        }
    }

    fn text(written: &str) -> Node {
        let value = Value::Scalar { text: written.to_owned(), quoted: true };
        Node { place: Place { line: 1, column: 1 }, value }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipeline_that_does_not_show_within_two_minutes_has_failed() {
        let gitlab = mapping(&[("project", text("acme/shop")), ("bearer_token_file", text("/run/token"))]);
        let mut problems = Problems::default();
        let follow = Follow::decode(&mapping(&[("gitlab", gitlab)]), &mut problems);
        let follow = follow.unwrap_or_else(|| panic!("{:?}", problems.0));
        let mut pipelines = Pipelines::new(&follow).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(pipelines.absent("c0ffee", "main"), Look::Runs);
        tokio::time::advance(Duration::from_secs(119)).await;
        assert_eq!(pipelines.absent("c0ffee", "main"), Look::Runs);
        tokio::time::advance(Duration::from_secs(1)).await;
        let Look::Ended(Outcome::Failed { why, .. }) = pipelines.absent("c0ffee", "main") else { panic!("not failed") };
        assert_eq!(
            why,
            "the revert c0ffee is on main, and no pipeline began for it within 120 s: check what starts one"
        );
    }
}
