//! One attempt: dispatch once, find the run, follow it to its conclusion.
//!
//! Never dispatches again unless an answer proves that nothing ran; what may have been accepted is looked up instead.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use reqwest::StatusCode;
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use rollbackd_core::time::Timestamp;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::GithubActions;
use super::api::{Answer, Api, LISTED_RUNS, NoAnswer, Run, bounded};
use crate::clock::now;
use crate::paths::{Progress, nothing_ran, tell};

/// How often a connection is tried that does not come about; nothing was sent, so the next try is no second dispatch.
const CONNECTS: u32 = 3;

/// Between two such tries, and the least between two dispatches of which the first was certainly not carried out.
const RECONNECT: Duration = Duration::from_secs(1);

/// How often a run is looked for: it shows within seconds of its dispatch, and with [`LOOK_UP_INTERVAL`] this is half a
/// minute.
const LOOK_UPS: u32 = 15;

/// The longest time between two looks for a run.
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(2);

/// How far GitHub's clock and ours may differ: runs created this long before the attempt are looked at too.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// How often in a row a run may be refused (401, 403, 404) before its outcome counts as unknown: a new run may not show
/// everywhere at once, and a token may be being replaced.
const REFUSED_LOOKS: u32 = 5;

/// How long a cancelled run may take to end before the attempt counts as timed out all the same.
const CANCEL_GRACE: Duration = Duration::from_secs(15);

/// One attempt, with all that it needs.
pub(super) struct Attempt<'a> {
    settings: &'a GithubActions,
    api: Api,
    order: &'a Order,
    progress: &'a mpsc::Sender<Progress>,
    stop: CancellationToken,
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

/// What one dispatch came to.
enum Dispatched {
    /// This run.
    Run(u64),
    /// It was accepted, or may have been. What is known.
    Perhaps(String),
    /// It was refused for its form, and may be written like this instead.
    As(Form),
    /// It was not carried out, and may be sent again after this time. Why.
    Later(Duration, String),
    /// No connection came about.
    NotSent(String),
    /// It was refused. Why.
    Refused(String),
}

/// Whether there is time left.
enum Pause {
    Over,
    Stopped,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        settings: &'a GithubActions,
        order: &'a Order,
        progress: &'a mpsc::Sender<Progress>,
        stop: CancellationToken,
    ) -> Result<Self, String> {
        Ok(Self { settings, api: Api::new(settings)?, order, progress, stop })
    }

    pub(super) async fn start(&self) -> Outcome {
        let mut form = Form { with_details: true, correlated: self.settings.correlation_input.is_some() };
        let mut sign = self.sign(form).await;
        let mut connects = 0;
        loop {
            if self.stop.is_cancelled() {
                return Outcome::TimedOut;
            }
            let wait = match self.dispatch(form).await {
                Dispatched::Run(id) => return self.attend_new(id).await,
                Dispatched::Perhaps(what) => return self.attend_found(&sign, &what).await,
                Dispatched::Refused(why) => return nothing_ran(&why),
                Dispatched::Later(wait, why) if now() + wait >= self.order.ends_at => {
                    return nothing_ran(&format!("{why}; it asks to wait for longer than the path's timeout"));
                }
                Dispatched::NotSent(why) if connects + 1 == CONNECTS => {
                    return nothing_ran(&format!("could not connect to GitHub: {why}"));
                }
                Dispatched::Later(wait, _) => wait.max(RECONNECT),
                Dispatched::NotSent(_) => {
                    connects += 1;
                    RECONNECT
                }
                Dispatched::As(other) => {
                    if form.correlated != other.correlated {
                        sign = self.sign(other).await;
                    }
                    form = other;
                    continue;
                }
            };
            if let Pause::Stopped = self.pause(wait).await {
                return Outcome::TimedOut;
            }
        }
    }

    pub(super) async fn follow(&self, handle: Option<&str>) -> Outcome {
        match handle.and_then(|handle| handle.parse().ok()) {
            Some(id) => self.attend(id).await,
            None => {
                let sign = match self.settings.correlation_input {
                    Some(_) => Sign::Title,
                    None => Sign::Nothing("without a `correlation_input` its run can't be told from others".to_owned()),
                };
                self.attend_found(&sign, "the daemon ended before the run's id was recorded").await
            }
        }
    }

    async fn dispatch(&self, form: Form) -> Dispatched {
        match self.api.dispatch(&self.body(form)).await {
            Ok(answer) => self.judge(&answer, form),
            Err(NoAnswer::NoToken(why)) => Dispatched::Refused(why),
            Err(NoAnswer::NotSent(why)) => Dispatched::NotSent(why),
            Err(NoAnswer::Broken(why)) => {
                Dispatched::Perhaps(format!("the dispatch was sent and not answered ({why})"))
            }
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

    fn judge(&self, answer: &Answer, form: Form) -> Dispatched {
        let GithubActions { repo, workflow, token_file, correlation_input, .. } = self.settings;
        let message = answer.message();
        if let Some(wait) = answer.wait(now()) {
            return Dispatched::Later(wait, answer.complaint());
        }
        let complaint = answer.complaint();
        Dispatched::Refused(match answer.status {
            status if status.is_success() => {
                let without = "the dispatch was accepted without telling the run's id".to_owned();
                return answer.dispatched_run().map_or(Dispatched::Perhaps(without), Dispatched::Run);
            }
            status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
                return Dispatched::Perhaps(format!("the dispatch failed at GitHub's side ({complaint})"));
            }
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
                if form.with_details && message.contains("return_run_details") {
                    return Dispatched::As(Form { with_details: false, ..form });
                }
                let named = correlation_input.as_ref().is_some_and(|name| message.contains(name.as_str()));
                if form.correlated && named && message.to_lowercase().contains("unexpected input") {
                    return Dispatched::As(Form { correlated: false, ..form });
                }
                let branch = self.branch();
                format!("{complaint}; check that {workflow} on {branch} has `on: workflow_dispatch` with these inputs")
            }
            StatusCode::UNAUTHORIZED => {
                format!("{complaint}; check that the token in {} is valid and has not expired", token_file.display())
            }
            StatusCode::FORBIDDEN => {
                format!("{complaint}; check that the token in {} may write Actions of {repo}", token_file.display())
            }
            StatusCode::NOT_FOUND => format!(
                "{complaint}; check that {repo} has the workflow {workflow}, and that the token in {} may see it",
                token_file.display()
            ),
            status if status.is_redirection() => {
                format!("{complaint}; redirects are not followed with the token: check `repo` and `api_url`")
            }
            _ => complaint,
        })
    }

    /// By what the run can be recognised, should its id not be told. Asked before dispatching, since without a
    /// correlation id only the runs that were there before tell ours.
    async fn sign(&self, form: Form) -> Sign {
        if form.correlated {
            return Sign::Title;
        }
        match self.runs().await {
            Ok(runs) if runs.len() < LISTED_RUNS => Sign::New(runs.into_iter().map(|run| run.id).collect()),
            Ok(_) => Sign::Nothing(format!("{LISTED_RUNS} or more other runs began in the last minute")),
            Err(why) => Sign::Nothing(format!("the runs that were there before could not be listed ({why})")),
        }
    }

    async fn runs(&self) -> Result<Vec<Run>, String> {
        // A ref may be written in full; runs name the branch or tag alone.
        let branch = self.branch();
        let branch = branch.strip_prefix("refs/heads/").or_else(|| branch.strip_prefix("refs/tags/")).unwrap_or(branch);
        let since: Timestamp = self.order.started_at - CLOCK_DIFFERENCE;
        self.api.runs(branch, since).await.map_err(NoAnswer::why)?.into_runs()
    }

    fn branch(&self) -> &str {
        self.order.run.first().map_or("", String::as_str)
    }

    /// Looks for the run of a dispatch that may have been accepted, and follows it.
    async fn attend_found(&self, sign: &Sign, what: &str) -> Outcome {
        let unknown = |why: &str| Outcome::Unknown { why: format!("{what}, and {why}") };
        if let Sign::Nothing(why) = sign {
            return unknown(why);
        }
        let mut last = "no run of this attempt was found".to_owned();
        for _ in 0..LOOK_UPS {
            match self.runs().await.map(|runs| recognise(&runs, sign, self.order.attempt.as_str())) {
                Ok(ControlFlow::Break(Ok(id))) => return self.attend_new(id).await,
                Ok(ControlFlow::Break(Err(why))) => return unknown(why),
                Ok(ControlFlow::Continue(())) => {}
                Err(why) => last = format!("its run could not be looked up ({why})"),
            }
            if let Pause::Stopped = self.pause(self.settings.poll_interval.min(LOOK_UP_INTERVAL)).await {
                return unknown("its run was not found before the path's timeout was over");
            }
        }
        let input = self.settings.correlation_input.as_ref();
        let hint = input.map(|input| format!(": its workflow's `run-name` must show ${{{{ inputs.{input} }}}}"));
        let hint = hint.unwrap_or_default();
        unknown(&format!("{last}{hint}"))
    }

    async fn attend_new(&self, id: u64) -> Outcome {
        tell(self.progress, Progress::Started { handle: id.to_string() }).await;
        self.attend(id).await
    }

    /// Follows a run to its conclusion; cancels it when the path's timeout is over.
    async fn attend(&self, id: u64) -> Outcome {
        let mut told = false;
        let mut refused = 0;
        loop {
            let mut wait = self.settings.poll_interval;
            match self.look(id).await {
                Look::Ended(outcome) => return outcome,
                Look::Runs => refused = 0,
                Look::Waits(url) => {
                    refused = 0;
                    if !std::mem::replace(&mut told, true) {
                        let why = format!("run {id} waits for a person to approve it at GitHub: {url}");
                        tell(self.progress, Progress::Waits { why }).await;
                    }
                }
                Look::Refused(why) => {
                    refused += 1;
                    if refused == REFUSED_LOOKS {
                        return Outcome::Unknown { why: format!("run {id} can't be looked at any more: {why}") };
                    }
                }
                Look::Later(asked) => wait = asked.max(wait),
            }
            if let Pause::Stopped = self.pause(wait).await {
                return self.cancel(id).await;
            }
        }
    }

    async fn look(&self, id: u64) -> Look {
        // Without an answer, the run goes on all the same: look again.
        let Ok(answer) = self.api.run(id).await else { return Look::Later(Duration::ZERO) };
        if let Some(wait) = answer.wait(now()) {
            return Look::Later(wait);
        }
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                Look::Refused(answer.complaint())
            }
            _ => answer.into_run().map_or(Look::Later(Duration::ZERO), look_of),
        }
    }

    /// The path's timeout is over: cancels the run, and waits a moment for it to end, so that the next path is alone.
    async fn cancel(&self, id: u64) -> Outcome {
        let give_up_at = Instant::now() + CANCEL_GRACE;
        let mut asked = false;
        while Instant::now() < give_up_at {
            match self.look(id).await {
                Look::Ended(Outcome::Cancelled { .. }) => return Outcome::TimedOut,
                Look::Ended(outcome) => return outcome,
                Look::Runs | Look::Waits(_) | Look::Refused(_) | Look::Later(_) => {}
            }
            if !asked {
                asked = self.api.cancel(id).await.is_ok_and(|answer| answer.status.is_success());
            }
            tokio::time::sleep(self.settings.poll_interval.min(LOOK_UP_INTERVAL)).await;
        }
        Outcome::TimedOut
    }

    async fn pause(&self, duration: Duration) -> Pause {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Pause::Stopped,
            () = tokio::time::sleep(duration) => Pause::Over,
        }
    }
}

/// What a look at a run shows.
enum Look {
    /// It is over.
    Ended(Outcome),
    /// It runs, or will.
    Runs,
    /// It waits for a person; where.
    Waits(String),
    /// It is not shown to us. Why.
    Refused(String),
    /// Nothing was shown this time; to be asked again, after this time at least.
    Later(Duration),
}

fn look_of(run: Run) -> Look {
    let url = bounded(run.html_url.as_deref().unwrap_or_default());
    match run.status.as_deref() {
        Some("completed") => Look::Ended(conclude(run.id, run.conclusion.as_deref(), url)),
        Some("waiting") => Look::Waits(url),
        // `requested`, `queued`, `pending`, `in_progress`, and whatever else is not the end.
        Some(_) | None => Look::Runs,
    }
}

/// Only `success` is a rollback: `neutral` and `skipped` runs did nothing.
fn conclude(id: u64, conclusion: Option<&str>, url: String) -> Outcome {
    match conclusion {
        Some("success") => Outcome::Succeeded { receipt: Some(id.to_string()), output: url },
        Some("cancelled") => Outcome::Cancelled { why: format!("run {id} was cancelled at GitHub: {url}") },
        other => {
            let other = bounded(other.unwrap_or("nothing"));
            Outcome::Failed { why: format!("run {id} concluded as {other}: {url}"), output: url }
        }
    }
}

/// The one run with the sign, none yet, or why it can't be told.
fn recognise(runs: &[Run], sign: &Sign, attempt: &str) -> ControlFlow<Result<u64, &'static str>> {
    let ours = |run: &&Run| match sign {
        Sign::Title => run.display_title.as_deref().is_some_and(|title| names(title, attempt)),
        Sign::New(before) => !before.contains(&run.id),
        Sign::Nothing(_) => false,
    };
    let found: Vec<u64> = runs.iter().filter(ours).map(|run| run.id).collect();
    match found.as_slice() {
        [] => ControlFlow::Continue(()),
        [id] => ControlFlow::Break(Ok(*id)),
        [_, _, ..] => ControlFlow::Break(Err("more than one run could be its")),
    }
}

/// Whether the title has the id as a word of its own: `…-a1` is not named by `…-a12`.
fn names(title: &str, id: &str) -> bool {
    let of_a_word = |each: char| each.is_ascii_alphanumeric() || matches!(each, '-' | '_');
    title.match_indices(id).any(|(start, found)| {
        !title[..start].ends_with(of_a_word) && !title[start + found.len()..].starts_with(of_a_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_names_an_attempt_as_a_whole_word_alone() {
        assert!(names("rollback shop-f-1-a1", "shop-f-1-a1"));
        assert!(names("rollback (shop-f-1-a1).", "shop-f-1-a1"));
        for other in ["rollback shop-f-1-a12", "big-shop-f-1-a1", "shop-f-1-a", ""] {
            assert!(!names(other, "shop-f-1-a1"), "{other}");
        }
    }
}
