//! The path `github_actions`: a `workflow_dispatch` of the pipeline that deploys normally, followed to its conclusion.
//!
//! Never dispatches a second time once a dispatch may have been accepted.

pub(crate) mod api;
mod dispatch;

use std::time::Duration;

use rollbackd_core::config::lint::Lint;
use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::config::{PathParts, RunPart};
use rollbackd_core::event::Order;

use self::dispatch::Dispatch;
use super::by_hand::ByHand;
use super::ready::Ready;
use super::remote::Platform;
use super::remote::github::{Repository, workflow};

/// Between two looks at a run: sixty of them in a budget of five minutes.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The shortest time between two looks, for stand-ins of GitHub on this machine.
const SHORTEST_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The most inputs that GitHub takes with a dispatch.
const MOST_INPUTS: usize = 25;

/// A workflow, but for its ref and the values of its inputs, which an [`Order`] brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GithubActions {
    repository: Repository,
    /// The workflow's file name or number.
    workflow: String,
    /// The names of the inputs, in the order in which an order has their values after the ref.
    inputs: Vec<String>,
    correlation_input: Option<String>,
    poll_interval: Duration,
}

/// Reads the config.
pub(super) fn decode(at: &Node, problems: &mut Problems) -> Option<(GithubActions, PathParts)> {
    let mut fields = Fields::of(at, "a `github_actions` path", problems)?;
    let repository = Repository::decode(&mut fields, problems);
    let workflow = fields.required("workflow", problems).and_then(|at| workflow(at, problems));
    let branch = fields.required("ref", problems).and_then(|at| node::template(at, problems));
    let inputs = fields.optional("inputs").map_or(Some(Vec::new()), |at| inputs(at, problems));
    let correlation_input = fields.optional("correlation_input").map(|at| input_name(at, problems));
    let poll_interval = fields.optional("poll_interval").map_or(Some(POLL_INTERVAL), |at| poll_interval(at, problems));
    fields.finish(problems);

    let inputs = inputs?;
    let correlation_input = correlation_input.map_or(Some(None), |name| name.map(Some))?;
    check_inputs(at, &inputs, correlation_input.as_deref(), problems);
    let workflow = GithubActions {
        repository: repository?,
        workflow: workflow?,
        inputs: inputs.iter().map(|(name, _)| name.clone()).collect(),
        correlation_input,
        poll_interval: poll_interval?,
    };
    let mut run = vec![RunPart { name: "ref".to_owned(), value: branch? }];
    run.extend(inputs.into_iter().map(|(name, value)| RunPart { name: format!("inputs.{name}"), value }));
    Some((workflow, PathParts { run, leaves_behind: None }))
}

fn inputs(at: &Node, problems: &mut Problems) -> Option<Vec<(String, rollbackd_core::template::Template)>> {
    let entries = node::entries(at, "inputs", problems);
    entries.into_iter().map(|(name, _, value)| Some((name.to_owned(), node::template(value, problems)?))).collect()
}

fn input_name(at: &Node, problems: &mut Problems) -> Option<String> {
    node::text(at, problems).map(str::to_owned)
}

fn check_inputs(
    at: &Node,
    inputs: &[(String, rollbackd_core::template::Template)],
    correlation_input: Option<&str>,
    problems: &mut Problems,
) {
    if inputs.len() + usize::from(correlation_input.is_some()) > MOST_INPUTS {
        problems.error(at.place, format!("GitHub takes {MOST_INPUTS} inputs at most, `correlation_input` among them"));
    }
    if let Some((name, _)) = inputs.iter().find(|(name, _)| Some(name.as_str()) == correlation_input) {
        let message =
            format!("`correlation_input` {name} is among `inputs` too: it gets the attempt's id, leave it out there");
        problems.error(at.place, message);
    }
}

fn poll_interval(at: &Node, problems: &mut Problems) -> Option<Duration> {
    let duration = node::duration(at, problems)?;
    if duration < SHORTEST_POLL_INTERVAL {
        problems.error(at.place, "expected a `poll_interval` of 10ms at least");
    } else if duration < Duration::from_secs(1) {
        let message = "GitHub takes 5,000 requests an hour: a `poll_interval` under 1s uses them up";
        problems.warning(Lint::FastPolling, at.place, message);
    }
    Some(duration)
}

impl Platform for GithubActions {
    type Remote<'a> = Dispatch<'a>;

    fn open<'a>(&'a self, order: &'a Order, ready: &'a Ready) -> Result<Dispatch<'a>, String> {
        if order.run.len() != self.inputs.len() + 1 {
            return Err("the order does not fit the inputs of the config, which changed meanwhile".to_owned());
        }
        Dispatch::new(self, order, ready)
    }

    fn by_hand(&self, run: &[String]) -> ByHand {
        let [branch, values @ ..] = run else { return ByHand::default() };
        let repository = self.repository.to_string();
        let mut command = vec!["gh", "workflow", "run", &self.workflow, "--repo", &repository, "--ref", branch];
        let inputs: Vec<String> =
            self.inputs.iter().zip(values).map(|(name, value)| format!("{name}={value}")).collect();
        inputs.iter().for_each(|input| command.extend(["--raw-field", input]));
        let first = format!(
            "Start the workflow {} of {} in the browser (Actions, Run workflow), or with the GitHub CLI where you are \
             signed in, and wait until it is green.",
            self.workflow, repository
        );
        ByHand::new(first).command(command)
    }
}
