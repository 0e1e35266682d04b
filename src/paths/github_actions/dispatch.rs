//! One attempt at GitHub: a dispatch, its run, and the run's conclusion.
//!
//! Never sends another form of a dispatch unless an answer proves that nothing ran.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::StatusCode;
use rollbackd_core::event::Order;
use rollbackd_core::time::Timestamp;
use serde_json::{Map, Value, json};

use super::GithubActions;
use super::api::{Api, LISTED_RUNS, Workflow, dispatched_run};
use crate::http_client::one_line;
use crate::paths::ready::Ready;
use crate::paths::remote::api::{Answer, NoAnswer};
use crate::paths::remote::correlation::names;
use crate::paths::remote::github::run::{Run, Runs};
use crate::paths::remote::reading::{read, seen};
use crate::paths::remote::{Asked, Cancelled, Found, Look, Remote};

/// How far GitHub's clock and ours may differ: runs created this long before the attempt are looked at too.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// One attempt, with all that it needs.
pub(crate) struct Dispatch<'a> {
    settings: &'a GithubActions,
    api: Api<'a>,
    order: &'a Order,
    /// `None` before the first dispatch.
    form: Option<Form>,
    sign: Sign,
}

/// How a dispatch is written. What a server does not take is left out, once its answer proves that nothing ran.
#[derive(Clone, Copy)]
struct Form {
    with_details: bool,
    correlated: bool,
}

/// By what the run of a dispatch is recognised.
enum Sign {
    /// The attempt's id in its title.
    Title,
    /// It is the only one that is not among these.
    New(BTreeSet<u64>),
    /// By nothing. Why.
    Nothing(String),
}

impl<'a> Dispatch<'a> {
    pub(super) fn new(settings: &'a GithubActions, order: &'a Order, ready: &'a Ready) -> Result<Self, String> {
        let sign = match settings.correlation_input {
            Some(_) => Sign::Title,
            None => Sign::Nothing("without a `correlation_input` its run can't be told from others".to_owned()),
        };
        Ok(Self { settings, api: Api::new(settings, ready)?, order, form: None, sign })
    }

    /// Sends one form of the dispatch. `Err`: it was refused for its form, and may be written like this instead.
    async fn dispatch(&mut self, form: Form) -> Result<Asked, Form> {
        if self.form.is_none_or(|before| before.correlated != form.correlated) {
            self.sign = self.sign(form).await;
        }
        self.form = Some(form);
        match self.api.dispatch(&self.body(form)).await {
            Ok(answer) => self.judge(&answer, form),
            Err(no_answer) => Ok(no_answer.asked()),
        }
    }

    fn body(&self, form: Form) -> Value {
        let values = self.order.run.iter().skip(1).map(|value| json!(value));
        let mut inputs: Map<String, Value> = self.settings.inputs.iter().cloned().zip(values).collect();
        if let Some(name) = self.settings.correlation_input.as_ref().filter(|_| form.correlated) {
            inputs.insert(name.clone(), json!(self.order.attempt.as_str()));
        }
        let mut body = json!({"ref": self.branch(), "inputs": inputs});
        if form.with_details {
            body["return_run_details"] = json!(true);
        }
        body
    }

    fn judge(&self, answer: &Answer, form: Form) -> Result<Asked, Form> {
        let (message, correlation_input) = (answer.message(), &self.settings.correlation_input);
        let refused_form = matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
        if refused_form && form.with_details && message.contains("return_run_details") {
            return Err(Form { with_details: false, ..form });
        }
        let named = correlation_input.as_ref().is_some_and(|name| message.contains(name.as_str()));
        if refused_form && form.correlated && named && message.to_lowercase().contains("unexpected input") {
            return Err(Form { correlated: false, ..form });
        }
        let check = self.check(answer.status);
        let accepted = || match dispatched_run(answer) {
            Some(id) => Asked::Accepted(id.to_string()),
            None => Asked::Perhaps("the dispatch was accepted without telling the run's id".to_owned()),
        };
        Ok(answer.refusal(&check).unwrap_or_else(accepted))
    }

    /// What somebody should look at when a request was refused.
    fn check(&self, status: StatusCode) -> String {
        let GithubActions { repository, workflow, .. } = self.settings;
        let token = repository.token();
        match status {
            StatusCode::UNAUTHORIZED => format!("that {token} is valid and has not expired"),
            StatusCode::FORBIDDEN => format!("that {token} may write Actions of {repository}"),
            StatusCode::NOT_FOUND => {
                format!("that {repository} has the workflow {workflow}, and that {token} may see it")
            }
            _ => format!("that {workflow} on {} has `on: workflow_dispatch` with these inputs", self.branch()),
        }
    }

    /// By what the run can be recognised, should its id not be told. Asked before dispatching, since without a
    /// correlation id only the runs that were there before tell ours.
    async fn sign(&mut self, form: Form) -> Sign {
        if form.correlated {
            return Sign::Title;
        }
        match self.runs().await {
            Ok(runs) if runs.len() < LISTED_RUNS => Sign::New(runs.into_iter().map(|run| run.id).collect()),
            Ok(_) => Sign::Nothing(format!("{LISTED_RUNS} or more other runs began in the last minute")),
            Err(why) => Sign::Nothing(format!("the runs that were there before could not be listed ({why})")),
        }
    }

    async fn runs(&mut self) -> Result<Vec<Run>, String> {
        // A ref may be written in full; runs name the branch or tag alone.
        let branch = self.order.run.first().map_or("", String::as_str);
        let branch = branch.strip_prefix("refs/heads/").or_else(|| branch.strip_prefix("refs/tags/")).unwrap_or(branch);
        let since: Timestamp = self.order.started_at - CLOCK_DIFFERENCE;
        let runs: Runs = self.api.runs(branch, since).await.map_err(NoAnswer::why)?.json()?;
        Ok(runs.workflow_runs)
    }

    fn branch(&self) -> &str {
        self.order.run.first().map_or("", String::as_str)
    }
}

impl Remote for Dispatch<'_> {
    const NAME: &'static str = "GitHub";
    const WHAT: &'static str = "run";

    fn poll_interval(&self) -> Duration {
        self.settings.poll_interval
    }

    async fn preflight(&mut self) -> Result<(), Asked> {
        let answer = self.api.workflow().await;
        let shown: Workflow = read(answer, |status| self.check(status))?.json().map_err(Asked::NotSent)?;
        if shown.state == "active" {
            return Ok(());
        }
        let GithubActions { repository, workflow, .. } = self.settings;
        let state = one_line(&shown.state);
        Err(Asked::Refused(format!("the workflow {workflow} of {repository} is {state}: enable it at GitHub")))
    }

    async fn ask(&mut self) -> Asked {
        let first = Form { with_details: true, correlated: self.settings.correlation_input.is_some() };
        let mut form = self.form.unwrap_or(first);
        loop {
            match self.dispatch(form).await {
                Ok(asked) => return asked,
                Err(other) => form = other,
            }
        }
    }

    async fn find(&mut self) -> Found {
        if let Sign::Nothing(why) = &self.sign {
            return Found::Unclear(why.clone());
        }
        match self.runs().await {
            Ok(runs) => recognise(&runs, &self.sign, self.order.attempt.as_str()),
            Err(why) => Found::Unanswered(why),
        }
    }

    async fn look(&mut self, handle: &str) -> Look {
        let Ok(id) = handle.parse() else { return Look::Refused("that is no run's id".to_owned()) };
        seen(self.api.run(id).await).map_or_else(|look| look, Run::look)
    }

    async fn cancel(&mut self, handle: &str) -> Cancelled {
        let Ok(id) = handle.parse() else { return Cancelled::Impossible };
        let taken = self.api.cancel(id).await.is_ok_and(|answer| answer.status.is_success());
        if taken { Cancelled::Taken } else { Cancelled::NotTaken }
    }

    fn hint(&self) -> String {
        let input = self.settings.correlation_input.as_ref();
        let hint = input.map(|input| format!("its workflow's `run-name` must show ${{{{ inputs.{input} }}}}"));
        hint.unwrap_or_default()
    }
}

/// The one run with the sign, none yet, or why it can't be told.
fn recognise(runs: &[Run], sign: &Sign, attempt: &str) -> Found {
    let ours = |run: &&Run| match sign {
        Sign::Title => run.display_title.as_deref().is_some_and(|title| names(title, attempt)),
        Sign::New(before) => !before.contains(&run.id),
        Sign::Nothing(_) => false,
    };
    let found: Vec<u64> = runs.iter().filter(ours).map(|run| run.id).collect();
    match found.as_slice() {
        [] => Found::NotYet,
        [id] => Found::It(id.to_string()),
        [_, _, ..] => Found::Unclear("more than one run could be its".to_owned()),
    }
}
