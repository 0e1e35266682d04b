//! The path `github_actions`: a `workflow_dispatch` of the pipeline that deploys normally, followed to its conclusion.
//!
//! Never dispatches a second time once a dispatch may have been accepted, and never sends the token anywhere but to
//! `api_url`.

pub(crate) mod api;
mod dispatch;

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use rollbackd_core::config::lint::Lint;
use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::config::{PathParts, RunPart};
use rollbackd_core::event::Order;

use self::dispatch::Dispatch;
use super::remote::Platform;

/// GitHub's own API.
const API_URL: &str = "https://api.github.com";

/// The version of the API whose answers are understood, see GitHub's REST API description.
const API_VERSION: &str = "2022-11-28";

/// Between two looks at a run: sixty of them in a budget of five minutes.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The shortest time between two looks, for stand-ins of GitHub on this machine.
const SHORTEST_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The most inputs that GitHub takes with a dispatch.
const MOST_INPUTS: usize = 25;

/// A workflow, but for its ref and the values of its inputs, which an [`Order`] brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GithubActions {
    /// Without a slash at its end.
    api_url: String,
    /// `owner/name`.
    repo: String,
    /// The workflow's file name or number.
    workflow: String,
    /// The names of the inputs, in the order in which an order has their values after the ref.
    inputs: Vec<String>,
    token_file: PathBuf,
    correlation_input: Option<String>,
    poll_interval: Duration,
    api_version: String,
}

/// Reads the config.
pub(super) fn decode(at: &Node, problems: &mut Problems) -> Option<(GithubActions, PathParts)> {
    let mut fields = Fields::of(at, "a `github_actions` path", problems)?;
    let api_url = fields.optional("api_url").map_or(Some(API_URL.to_owned()), |at| api_url(at, problems));
    let repo = fields.required("repo", problems).and_then(|at| repo(at, problems));
    let workflow = fields.required("workflow", problems).and_then(|at| workflow(at, problems));
    let branch = fields.required("ref", problems).and_then(|at| node::template(at, problems));
    let inputs = fields.optional("inputs").map_or(Some(Vec::new()), |at| inputs(at, problems));
    let token_file = fields.required("token_file", problems).and_then(|at| token_file(at, problems));
    let correlation_input = fields.optional("correlation_input").map(|at| input_name(at, problems));
    let poll_interval = fields.optional("poll_interval").map_or(Some(POLL_INTERVAL), |at| poll_interval(at, problems));
    let api_version = fields.optional("api_version").map_or(Some(API_VERSION.to_owned()), |at| header(at, problems));
    fields.finish(problems);

    let inputs = inputs?;
    let correlation_input = correlation_input.map_or(Some(None), |name| name.map(Some))?;
    check_inputs(at, &inputs, correlation_input.as_deref(), problems);
    let workflow = GithubActions {
        api_url: api_url?,
        repo: repo?,
        workflow: workflow?,
        inputs: inputs.iter().map(|(name, _)| name.clone()).collect(),
        token_file: token_file?,
        correlation_input,
        poll_interval: poll_interval?,
        api_version: api_version?,
    };
    let mut run = vec![RunPart { name: "ref".to_owned(), value: branch? }];
    run.extend(inputs.into_iter().map(|(name, value)| RunPart { name: format!("inputs.{name}"), value }));
    Some((workflow, PathParts { run, leaves_behind: None }))
}

fn api_url(at: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(at, problems)?;
    let safe = Url::parse(written).is_ok_and(|url| {
        let local = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        let plain =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        plain && (url.scheme() == "https" || (url.scheme() == "http" && local))
    });
    if !safe {
        // Not shown: it could hold a password.
        let message = "expected an https URL without user, query or fragment (http only for this machine), such as";
        problems.error(at.place, format!("{message} {API_URL} or https://HOST/api/v3"));
        return None;
    }
    Some(written.trim_end_matches('/').to_owned())
}

fn repo(at: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(at, problems)?;
    let is_repo = written.split_once('/').is_some_and(|(owner, name)| is_segment(owner) && is_segment(name));
    if !is_repo {
        problems.error(at.place, format!("expected a repository as owner/name, not {written:?}"));
    }
    is_repo.then(|| written.to_owned())
}

fn workflow(at: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(at, problems)?;
    if !is_segment(written) {
        problems.error(at.place, format!("expected the workflow's file name, such as deploy.yml, not {written:?}"));
    }
    is_segment(written).then(|| written.to_owned())
}

/// Whether the text is one segment of a URL's path and needs no quoting there.
fn is_segment(text: &str) -> bool {
    let allowed = |each: char| each.is_ascii_alphanumeric() || matches!(each, '.' | '_' | '-');
    !text.is_empty() && text != "." && text != ".." && text.chars().all(allowed)
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

fn token_file(at: &Node, problems: &mut Problems) -> Option<PathBuf> {
    let written = node::text(at, problems)?;
    if !written.starts_with('/') {
        // Not shown: somebody may have put the token itself here.
        problems.error(at.place, "expected the absolute path of the file that holds the token");
        return None;
    }
    Some(PathBuf::from(written))
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

fn header(at: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(at, problems)?;
    if !is_segment(written) {
        problems.error(at.place, format!("expected a version of GitHub's API, such as {API_VERSION}, not {written:?}"));
    }
    is_segment(written).then(|| written.to_owned())
}

impl Platform for GithubActions {
    type Remote<'a> = Dispatch<'a>;

    fn open<'a>(&'a self, order: &'a Order) -> Result<Dispatch<'a>, String> {
        if order.run.len() != self.inputs.len() + 1 {
            return Err("the order does not fit the inputs of the config, which changed meanwhile".to_owned());
        }
        Dispatch::new(self, order)
    }
}
