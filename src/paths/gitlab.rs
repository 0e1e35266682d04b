//! The path `gitlab`: a pipeline of the project that deploys normally, created once and followed to its end.
//!
//! Never creates a second pipeline once one may have been created.

mod pipeline;

use std::path::PathBuf;
use std::time::Duration;

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::config::{PathParts, RunPart};
use rollbackd_core::event::Order;
use rollbackd_core::template::Template;

use self::pipeline::Creation;
use super::by_hand::ByHand;
use super::ready::Ready;
use super::remote::Platform;
use super::remote::gitlab::Project;
use super::remote::secret_file::secret_file;

/// The variable of each pipeline that gets the attempt's id, by which it is found again.
const ATTEMPT_VARIABLE: &str = "ROLLBACKD_ATTEMPT";

/// Between two looks at a pipeline: sixty of them in a budget of five minutes.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The shortest time between two looks, for stand-ins of GitLab on this machine.
const SHORTEST_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The longest one: a pipeline that waits for a person pages at the next look.
const LONGEST_POLL_INTERVAL: Duration = Duration::from_secs(60);

/// A project's pipeline, but for its ref and the values of its variables, which an [`Order`] brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gitlab {
    project: Project,
    /// The names of the variables, in the order in which an order has their values after the ref.
    variables: Vec<String>,
    /// The file with the token that starts pipelines and does nothing else; the project's token then only looks.
    trigger_token_file: Option<PathBuf>,
    poll_interval: Duration,
}

/// Reads the config.
pub(super) fn decode(at: &Node, problems: &mut Problems) -> Option<(Gitlab, PathParts)> {
    let mut fields = Fields::of(at, "a `gitlab` path", problems)?;
    let trigger_token_file =
        fields.optional("trigger_token_file").map(|at| secret_file(at, "the trigger token", problems));
    let reads = if trigger_token_file.is_some() {
        "the trigger token starts pipelines and can't look at them, which a token with the scope `read_api` can"
    } else {
        "GitLab takes no other credentials"
    };
    let project = Project::decode(&mut fields, reads, problems);
    let branch = fields.required("ref", problems).and_then(|at| node::template(at, problems));
    let variables = fields.optional("variables").map_or(Some(Vec::new()), |at| variables(at, problems));
    let poll_interval = fields.optional("poll_interval").map_or(Some(POLL_INTERVAL), |at| {
        node::duration_within(at, SHORTEST_POLL_INTERVAL, LONGEST_POLL_INTERVAL, problems)
    });
    fields.finish(problems);

    let variables = variables?;
    let names = variables.iter().map(|(name, _)| name.clone()).collect();
    let trigger_token_file = trigger_token_file.map_or(Some(None), |file| file.map(Some))?;
    let gitlab = Gitlab { project: project?, variables: names, trigger_token_file, poll_interval: poll_interval? };
    let mut run = vec![RunPart { name: "ref".to_owned(), value: branch? }];
    run.extend(variables.into_iter().map(|(name, value)| RunPart { name: format!("variables.{name}"), value }));
    Some((gitlab, PathParts { run, leaves_behind: None }))
}

fn variables(at: &Node, problems: &mut Problems) -> Option<Vec<(String, Template)>> {
    let mut found = Vec::new();
    for (name, place, value) in node::entries(at, "variables", problems) {
        let allowed = |each: char| each.is_ascii_alphanumeric() || each == '_';
        if name == ATTEMPT_VARIABLE {
            problems.error(place, format!("{ATTEMPT_VARIABLE} gets the attempt's id by itself: leave it out"));
        } else if name.is_empty() || !name.chars().all(allowed) {
            problems.error(place, format!("expected a variable's name of letters, digits and _, not {name:?}"));
        }
        found.push((name.to_owned(), node::template(value, problems)?));
    }
    Some(found)
}

impl Platform for Gitlab {
    type Remote<'a> = Creation<'a>;

    fn open<'a>(&'a self, order: &'a Order, _ready: &'a Ready) -> Result<Creation<'a>, String> {
        if order.run.len() != self.variables.len() + 1 {
            return Err("the order does not fit the variables of the config, which changed meanwhile".to_owned());
        }
        Creation::new(self, order)
    }

    fn by_hand(&self, run: &[String]) -> ByHand {
        let [branch, values @ ..] = run else { return ByHand::default() };
        let mut command = vec!["glab", "ci", "run", "--repo", self.project.name(), "--branch", branch];
        let variables: Vec<String> =
            self.variables.iter().zip(values).map(|(name, value)| format!("{name}:{value}")).collect();
        variables.iter().for_each(|variable| command.extend(["--variables-env", variable]));
        let first = format!(
            "Start a pipeline of project {} at {} in the browser (Build, Pipelines, New pipeline), or with the GitLab \
             CLI where you are signed in, and wait until it has passed.",
            self.project.name(),
            self.project.server()
        );
        ByHand::new(first).command(command)
    }
}
