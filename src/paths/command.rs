//! The path `command`: a program of the operator's with an argument list, watched by a process that outlives the daemon.
//!
//! Never uses a shell, never runs an attempt twice, and never ends a command because the daemon ends.
//!
//! What can't be ended: a process that leaves the command's process group on purpose (`setsid`, a daemon of its own).
//! What of the group is left when the command itself has exited is ended: nothing of an attempt goes on behind its back.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rollbackd_core::config::node::{self, Fields, Node, Place as At, Problems, Value};
use rollbackd_core::config::{PathParts, RunPart};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt_dir::{AttemptDir, Created, Seen, Task, Withdrawn};
use super::by_hand::ByHand;
use super::{Adapter, Attempt, Place, Progress, nothing_ran, supervised, tell};
use crate::outside::Pending;

/// From SIGTERM to SIGKILL where the config doesn't say: what most programs need to let go of a lock.
const KILL_AFTER: Duration = Duration::from_secs(10);

/// The longest `kill_after`: the next path waits for it.
const LONGEST_KILL_AFTER: Duration = Duration::from_secs(300);

/// How late progress and the end are noticed: far below what a rehearsal measures, and still cheap.
const TICK: Duration = Duration::from_millis(50);

/// How long the watching process may take, after SIGKILL, to see its group gone and write that down. Longer only where
/// a process hangs in the kernel.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// What git does not know of.
const LEAVES_BEHIND: &str = "git does not know of this rollback: commit the revert";

/// How a command runs, but for its arguments, which an [`Order`] brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    environment: BTreeMap<String, String>,
    pass_environment: Vec<String>,
    secret_environment: BTreeMap<String, PathBuf>,
    directory: PathBuf,
    kill_after: Duration,
}

impl Default for Command {
    fn default() -> Self {
        Self {
            environment: BTreeMap::new(),
            pass_environment: Vec::new(),
            secret_environment: BTreeMap::new(),
            directory: PathBuf::from("/"),
            kill_after: KILL_AFTER,
        }
    }
}

/// Reads the config: the argument list itself, or a mapping with `run` and what surrounds it.
pub(super) fn decode(at: &Node, problems: &mut Problems) -> Option<(Command, PathParts)> {
    if let Value::List(_) = at.value {
        return Some((Command::default(), parts(at, problems)?));
    }
    let mut fields = Fields::of(at, "a command (or its argument list)", problems)?;
    let run = fields.required("run", problems);
    let mut command = Command::default();
    if let Some(at) = fields.optional("environment") {
        command.environment = environment(at, problems);
    }
    if let Some(at) = fields.optional("pass_environment") {
        command.pass_environment = pass_environment(at, problems);
    }
    if let Some(at) = fields.optional("secret_environment") {
        command.secret_environment = secret_environment(at, problems);
    }
    if let Some(at) = fields.optional("directory") {
        command.directory = absolute(at, "directory", problems)?;
    }
    if let Some(at) = fields.optional("kill_after") {
        command.kill_after = kill_after(at, problems)?;
    }
    fields.finish(problems);
    check_names_once(at.place, &command, problems);
    Some((command, parts(run?, problems)?))
}

/// The argument list. The program itself is the config's alone: no event may choose it (design, R14).
fn parts(at: &Node, problems: &mut Problems) -> Option<PathParts> {
    let items = node::list(at, "arguments", problems);
    let Some(first) = items.first() else {
        problems.error(at.place, "expected a program and its arguments, such as [kubectl, rollout, undo]");
        return None;
    };
    let program = node::text(first, problems)?;
    if program.is_empty() || program.contains("{{") || (program.contains('/') && !program.starts_with('/')) {
        let message = format!("expected the program's name or its absolute path, without a template, not {program:?}");
        problems.error(first.place, message);
    }
    let mut run = Vec::with_capacity(items.len());
    for item in items {
        check_no_nul(item, problems);
        run.push(RunPart { name: String::new(), value: node::template(item, problems)? });
    }
    Some(PathParts { run, leaves_behind: Some(LEAVES_BEHIND.to_owned()) })
}

fn environment(at: &Node, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    for (name, place, value) in node::entries(at, "environment", problems) {
        check_variable(name, place, problems);
        check_no_nul(value, problems);
        let Some(text) = node::text(value, problems) else { continue };
        if text.contains("{{") {
            let hint = "templates belong into `run`; ROLLBACKD_SERVICE, _FIRING and _ATTEMPT are in the environment";
            problems.error(value.place, format!("`environment` takes no templates: {hint}"));
        }
        environment.insert(name.to_owned(), text.to_owned());
    }
    environment
}

fn pass_environment(at: &Node, problems: &mut Problems) -> Vec<String> {
    let mut names = Vec::new();
    for item in node::list(at, "names of environment variables", problems) {
        let Some(name) = node::text(item, problems) else { continue };
        check_variable(name, item.place, problems);
        names.push(name.to_owned());
    }
    names
}

fn secret_environment(at: &Node, problems: &mut Problems) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    for (name, place, value) in node::entries(at, "secret_environment", problems) {
        check_variable(name, place, problems);
        files.extend(secret_file(value, problems).map(|file| (name.to_owned(), file)));
    }
    files
}

fn absolute(at: &Node, what: &str, problems: &mut Problems) -> Option<PathBuf> {
    let file = absolute_path(at, problems)?;
    if file.is_none() {
        problems.error(at.place, format!("expected the absolute path of the {what}"));
    }
    file
}

fn secret_file(at: &Node, problems: &mut Problems) -> Option<PathBuf> {
    let file = absolute_path(at, problems)?;
    if file.is_none() {
        // Not shown: somebody may have put the secret itself here.
        problems.error_about_secret(at.place, "expected the absolute path of the file of a secret");
    }
    file
}

/// `None` inside where it is a text, but no absolute path.
fn absolute_path(at: &Node, problems: &mut Problems) -> Option<Option<PathBuf>> {
    let written = node::text(at, problems)?;
    Some((written.starts_with('/') && !written.contains('\0')).then(|| PathBuf::from(written)))
}

fn kill_after(at: &Node, problems: &mut Problems) -> Option<Duration> {
    let duration = node::duration(at, problems)?;
    if duration > LONGEST_KILL_AFTER {
        problems.error(at.place, "expected a `kill_after` of 5m at most: the next path waits for it");
    }
    Some(duration)
}

fn check_variable(name: &str, place: At, problems: &mut Problems) {
    let is_name = !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(|each| each.is_ascii_alphanumeric() || each == '_');
    if !is_name {
        problems.error(place, format!("{name:?} is no name of an environment variable"));
    } else if name.starts_with("ROLLBACKD_") {
        problems.error(place, format!("{name} can't be set: names with ROLLBACKD_ are set for each attempt"));
    }
}

fn check_no_nul(at: &Node, problems: &mut Problems) {
    if matches!(&at.value, Value::Scalar { text, .. } if text.contains('\0')) {
        problems.error(at.place, "no program takes a text with a NUL character in it");
    }
}

fn check_names_once(place: At, command: &Command, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    let secret = command.secret_environment.keys();
    for name in secret.chain(command.environment.keys()).chain(&command.pass_environment) {
        if !seen.insert(name) {
            problems.error(place, format!("environment variable {name} is given twice"));
        }
    }
}

impl Adapter for Command {
    fn start<'a>(&'a self, attempt: Attempt<'a>) -> Pending<'a, Outcome> {
        Box::pin(self.begin(attempt))
    }

    /// A command leaves what it is found by on disk, under the attempt's own name.
    fn follow<'a>(&'a self, attempt: Attempt<'a>, _handle: Option<&'a str>) -> Pending<'a, Outcome> {
        let Attempt { order, place, progress, stop, .. } = attempt;
        Box::pin(self.attend(AttemptDir::of(place, &order.attempt), None, progress, stop).until_it_ends())
    }

    fn by_hand(&self, run: &[String]) -> ByHand {
        let first = match self.environment.is_empty() && self.secret_environment.is_empty() {
            true => "The same, on a machine that has the program, signed in as yourself.".to_owned(),
            false => {
                let names: Vec<&str> =
                    self.environment.keys().chain(self.secret_environment.keys()).map(String::as_str).collect();
                let names = names.join(", ");
                format!(
                    "The same, on a machine that has the program, signed in as yourself, with these variables set: {names}."
                )
            }
        };
        ByHand::new(first).command(run.iter().cloned())
    }
}

impl Command {
    async fn begin(&self, attempt: Attempt<'_>) -> Outcome {
        let Attempt { order, place, progress, stop, .. } = attempt;
        let attempt = AttemptDir::of(place, &order.attempt);
        let task = self.task(order);
        match on_disk(&attempt, move |attempt| attempt.create(&task)).await {
            Ok(Created::New) => {}
            Ok(Created::Existed) => return self.attend(attempt, None, progress, stop).until_it_ends().await,
            Err(error) => {
                return nothing_ran(&format!("could not write the order to {}: {error}", attempt.path().display()));
            }
        }
        match self.spawn(&attempt, place) {
            Ok(child) => self.attend(attempt, Some(child), progress, stop).until_it_ends().await,
            Err(error) => {
                let program = place.program.display();
                let why = format!("could not start {program}, which watches the command: {error}");
                // Where this fails, the order lies there untaken, and whoever finds it takes it back.
                let _untaken = on_disk(&attempt, AttemptDir::withdraw).await;
                nothing_ran(&why)
            }
        }
    }

    fn task(&self, order: &Order) -> Task {
        Task {
            service: order.service.clone(),
            firing: order.firing.clone(),
            attempt: order.attempt.clone(),
            arguments: order.run.clone(),
            environment: self.environment.clone(),
            pass_environment: self.pass_environment.clone(),
            secret_environment: self.secret_environment.clone(),
            directory: self.directory.clone(),
            kill_after: self.kill_after,
            ends_at: order.ends_at,
        }
    }

    /// Starts the watching process, in a process group of its own from its first instant: a signal to the daemon's
    /// group (Ctrl-C) does not reach it. What is passed on reaches the command through its environment, not the disk.
    fn spawn(&self, attempt: &AttemptDir, place: &Place) -> io::Result<Child> {
        let log = attempt.log_file()?;
        let passed = self.pass_environment.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        tokio::process::Command::new(&place.program)
            .arg(supervised::SUBCOMMAND)
            .arg(attempt.path())
            .env_clear()
            .envs(passed)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(false)
            .spawn()
    }

    fn attend<'a>(
        &self,
        attempt: AttemptDir,
        child: Option<Child>,
        progress: &'a mpsc::Sender<Progress>,
        stop: CancellationToken,
    ) -> Attendance<'a> {
        Attendance { attempt, child, kill_after: self.kill_after, progress, stop, told: false, give_up_at: None }
    }
}

/// The daemon's part while an attempt runs: it only looks, and asks for the end when the timeout is over.
struct Attendance<'a> {
    attempt: AttemptDir,
    /// The watching process, where it is a child of ours.
    child: Option<Child>,
    kill_after: Duration,
    progress: &'a mpsc::Sender<Progress>,
    stop: CancellationToken,
    told: bool,
    /// Set when the end was asked for.
    give_up_at: Option<Instant>,
}

impl Attendance<'_> {
    async fn until_it_ends(mut self) -> Outcome {
        loop {
            if let Some(outcome) = self.look().await {
                return outcome;
            }
            if self.give_up_at.is_some_and(|at| Instant::now() >= at) {
                let dir = self.attempt.path().display();
                return Outcome::Unknown { why: format!("the command does not end, not even by SIGKILL; see {dir}") };
            }
            let stopped = self.stop.is_cancelled();
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = self.stop.cancelled(), if !stopped => {}
            }
        }
    }

    /// The outcome, where there is one by now.
    async fn look(&mut self) -> Option<Outcome> {
        // Asked before looking: what the child wrote before it ended is then there.
        let somebody_comes = self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
        match on_disk(&self.attempt, AttemptDir::look).await {
            Ok(Seen::Ended(outcome)) => Some(self.as_asked(outcome)),
            Ok(Seen::Running(pid)) => self.running(pid).await,
            Ok(Seen::NotBegun) if somebody_comes && !self.stop.is_cancelled() => None,
            Ok(Seen::NotBegun) => self.withdraw().await,
            Ok(Seen::Absent) => Some(self.never_ran("the attempt was withdrawn before it began")),
            Ok(Seen::Lost(why)) => Some(Outcome::Unknown { why }),
            Err(error) => {
                let dir = self.attempt.path().display();
                Some(Outcome::Unknown { why: format!("could not read in {dir} what became of the attempt: {error}") })
            }
        }
    }

    async fn running(&mut self, pid: i32) -> Option<Outcome> {
        if !std::mem::replace(&mut self.told, true) {
            tell(self.progress, Progress::Started { handle: format!("pid {pid}") }).await;
        }
        if !self.stop.is_cancelled() || self.give_up_at.is_some() {
            return None;
        }
        self.give_up_at = Some(Instant::now() + self.kill_after + STOP_GRACE);
        let asked = on_disk(&self.attempt, move |attempt| attempt.ask_to_stop(pid)).await;
        asked
            .err()
            .map(|error| Outcome::Unknown { why: format!("could not ask process {pid} to end its command: {error}") })
    }

    /// Takes the order back: no process has taken it, and none will or there is no time left for it.
    async fn withdraw(&self) -> Option<Outcome> {
        let complaint = self.attempt.complaint();
        match on_disk(&self.attempt, AttemptDir::withdraw).await {
            Ok(Withdrawn::TooLate) => None,
            Ok(Withdrawn::Yes) => Some(self.never_ran(&complaint)),
            Err(error) => Some(Outcome::Unknown { why: format!("could not take the order back: {error}") }),
        }
    }

    fn never_ran(&self, complaint: &str) -> Outcome {
        match self.child {
            None => Outcome::NeverStarted,
            Some(_) if self.stop.is_cancelled() => Outcome::TimedOut,
            Some(_) => nothing_ran(&format!("the process that watches the command ended before it began: {complaint}")),
        }
    }

    /// An end that we asked for is the timeout, whatever the watching process calls it.
    fn as_asked(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Cancelled { .. } if self.stop.is_cancelled() => Outcome::TimedOut,
            Outcome::Succeeded { .. }
            | Outcome::Failed { .. }
            | Outcome::TimedOut
            | Outcome::Cancelled { .. }
            | Outcome::Unknown { .. }
            | Outcome::NeverStarted => outcome,
        }
    }
}

/// Does something in the attempt's directory without holding up others: a disk may be slow.
async fn on_disk<T: Send + 'static>(
    attempt: &AttemptDir,
    what: impl FnOnce(&AttemptDir) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let attempt = attempt.clone();
    tokio::task::spawn_blocking(move || what(&attempt)).await.map_err(io::Error::other)?
}
