//! Doors for the fuzz targets (`fuzz/`) and the benchmarks: what reads bytes that others wrote, and is nobody else's business.
//!
//! Never used by the daemon, and no part of what this package promises to anybody.

use std::io;
use std::path::Path;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue};
use rollbackd_core::firing::Outcome;
use rollbackd_core::name::ServiceName;
use rollbackd_core::reading;
use rollbackd_core::time::Timestamp;
use secrecy::SecretString;

use crate::looker;
use crate::paths::attempt_dir::{AttemptDir, Seen, Task};
use crate::paths::github_actions::api::dispatched_run;
use crate::paths::remote::api::Answer;
use crate::paths::remote::github::run::{Run, Runs};
use crate::paths::supervised::output::{Collector, Stream};
use crate::prometheus;

/// What an answer of Prometheus of this status and body comes to.
#[must_use]
pub fn prometheus_answer(status: u16, is_text: bool, body: &[u8]) -> Option<reading::Answer> {
    Some(prometheus::body::decode(StatusCode::from_u16(status).ok()?, is_text, body))
}

/// The part of each of these services, in their order, of an answer that they share: by the value of this label.
#[must_use]
pub fn told_apart(label: &str, services: &[ServiceName], answer: Vec<reading::Series>) -> Vec<reading::Answer> {
    looker::told_apart(label, services, answer)
}

/// What an answer of GitHub says to each of the questions that are asked of it.
#[derive(Debug)]
pub struct GithubAnswer {
    /// The id of the run that a dispatch started.
    pub dispatched: Option<u64>,
    /// The run: its id and status.
    pub run: Result<(u64, Option<String>), String>,
    /// The runs: their ids.
    pub runs: Result<Vec<u64>, String>,
    /// What it says is wrong.
    pub message: String,
    /// How long it asks to wait.
    pub wait: Option<Duration>,
}

/// Reads an answer of GitHub. Headers that no header may be are left out.
#[must_use]
pub fn github_answer(
    status: u16,
    headers: &[(&'static str, &str)],
    body: &[u8],
    now: Timestamp,
) -> Option<GithubAnswer> {
    let status = StatusCode::from_u16(status).ok()?;
    let valid = |(name, value): &(&'static str, &str)| {
        Some((reqwest::header::HeaderName::from_static(name), HeaderValue::from_str(value).ok()?))
    };
    let headers: HeaderMap = headers.iter().filter_map(valid).collect();
    let answer = Answer::of("GitHub", status, headers, body.to_vec());
    Some(GithubAnswer {
        dispatched: dispatched_run(&answer),
        run: answer.json().map(|run: Run| (run.id, run.status)),
        runs: answer.json().map(|runs: Runs| runs.workflow_runs.into_iter().map(|run| run.id).collect()),
        message: answer.message(),
        wait: answer.wait(now),
    })
}

/// What the directory of an attempt shows.
#[derive(Debug, PartialEq)]
pub enum AttemptSeen {
    /// Nothing was begun.
    Absent,
    /// Nobody has taken the order yet.
    NotBegun,
    /// A process lives that holds the lock.
    Running,
    /// It ended.
    Ended(Outcome),
    /// It was begun, and nobody knows how it ended.
    Lost,
}

/// Looks at the directory of an attempt, as a restarted daemon does.
///
/// # Errors
/// A file in it can't be read or is no such file.
pub fn attempt_look(dir: &Path) -> io::Result<AttemptSeen> {
    Ok(match AttemptDir::at(dir).look()? {
        Seen::Absent => AttemptSeen::Absent,
        Seen::NotBegun => AttemptSeen::NotBegun,
        Seen::Running(_) => AttemptSeen::Running,
        Seen::Ended(outcome) => AttemptSeen::Ended(outcome),
        Seen::Lost(_) => AttemptSeen::Lost,
    })
}

/// Takes the order in this directory as the watching process does, and gives it back as it would be written, without
/// carrying it out.
///
/// # Errors
/// It is taken, or no order.
pub fn attempt_begin(dir: &Path) -> io::Result<Vec<u8>> {
    let (task, _held) = AttemptDir::at(dir).begin()?;
    Ok(serde_json::to_vec(&task)?)
}

/// An order as it would be written again; `None` where it is none.
#[must_use]
pub fn order_again(bytes: &[u8]) -> Option<Vec<u8>> {
    serde_json::to_vec(&serde_json::from_slice::<Task>(bytes).ok()?).ok()
}

/// What is kept of a command's output that arrived in these pieces: what stands for the revert, and the text.
#[must_use]
pub fn printed(secrets: &[&str], pieces: &[&[u8]]) -> (Option<String>, String) {
    let collector = Collector::new(secrets.iter().map(|secret| SecretString::from(*secret)).collect());
    let sink = collector.sink(Stream::Out);
    pieces.iter().for_each(|piece| sink.take(piece));
    drop(sink);
    let printed = collector.printed(Duration::ZERO);
    (printed.receipt, printed.text)
}
