//! The little process that watches one command: it outlives the daemon, so that a restart loses neither the command nor
//! its outcome.
//!
//! Never leaves the command's process group behind: the outcome is written when all of the group is gone. A process
//! that left the group on purpose (`setsid`, a daemon) is not reached: only a control group could do that.

pub(crate) mod output;

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use rollbackd_core::firing::Outcome;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use secrecy::{ExposeSecret, SecretString};
use signal_hook::consts::SIGTERM;

use self::output::{Collector, Printed, Stream};
use super::attempt_dir::{AttemptDir, Task};
use super::nothing_ran;

/// The hidden subcommand of our own binary; its one argument is the attempt's directory.
pub const SUBCOMMAND: &str = "supervise-command";

/// Where programs are looked up when the config gives the command no `PATH`.
pub(super) const FIXED_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How late an exit, a signal or the deadline is noticed: far below what a rehearsal measures, and still cheap.
const TICK: Duration = Duration::from_millis(20);

/// How long the last output is waited for once the group is gone. Longer only where a process that left the group
/// holds the pipe open.
const DRAIN: Duration = Duration::from_secs(1);

/// How often a full disk is tried again with the outcome, a second apart, before it's given up as unknown.
const WRITES_OF_OUTCOME: u32 = 60;

/// The longest secret: Linux takes no longer value in an environment (128 KiB with its name), and half is plenty.
const LONGEST_SECRET_BYTES: u64 = 64 * 1024;

/// Runs the command of the attempt in `dir`, once, and writes its outcome there. For [`SUBCOMMAND`] alone.
///
/// The exit code is a failure when the attempt was taken before, or could not be read or written; what is wrong then
/// goes to stderr.
#[must_use]
pub fn supervise(dir: &Path) -> ExitCode {
    match run(&AttemptDir::at(dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("could not carry out the attempt in {}: {error}", dir.display());
            ExitCode::FAILURE
        }
    }
}

fn run(attempt: &AttemptDir) -> io::Result<()> {
    // Before the process id can be read by anybody, so that a request to stop is never lost.
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&stop))?;
    // Orphans of the command come to us and not to an init that may never reap them: a zombie would keep the group.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let (task, _held) = attempt.begin()?;
    let outcome = carry_out(&task, &stop);
    let mut written = attempt.end(&outcome);
    for _ in 1..WRITES_OF_OUTCOME {
        if written.is_ok() {
            break;
        }
        thread::sleep(Duration::from_secs(1));
        written = attempt.end(&outcome);
    }
    written
}

fn carry_out(task: &Task, stop: &AtomicBool) -> Outcome {
    let secrets = match read_secrets(&task.secret_environment) {
        Ok(secrets) => secrets,
        Err(why) => return nothing_ran(&why),
    };
    let (mut command, program) = match command_of(task, &secrets) {
        Ok(command) => command,
        Err(why) => return nothing_ran(&why),
    };
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let place = task.directory.display();
            return nothing_ran(&format!("could not start {} in directory {place}: {error}", program.display()));
        }
    };
    let collector = Collector::new(secrets.into_values().collect());
    drain(child.stdout.take(), Stream::Out, &collector);
    drain(child.stderr.take(), Stream::Error, &collector);
    let ended = watch(Pid::from_child(&child), task, stop);
    ended.outcome(collector.printed(DRAIN))
}

/// How the command came to its end.
enum Ended {
    /// By itself.
    Exited(WaitStatus),
    /// Its timeout was over.
    TimedOut,
    /// We were told to stop before that.
    Stopped,
}

impl Ended {
    fn outcome(self, printed: Printed) -> Outcome {
        match self {
            Self::Exited(status) if status.exit_status() == Some(0) => {
                Outcome::Succeeded { receipt: printed.receipt, output: printed.text }
            }
            Self::Exited(status) => {
                let why = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => format!("exited with {code}"),
                    (None, Some(signal)) => format!("ended by signal {signal}"),
                    (None, None) => format!("ended with wait status {}", status.as_raw()),
                };
                Outcome::Failed { why, output: printed.text }
            }
            Self::TimedOut => Outcome::TimedOut,
            Self::Stopped => Outcome::Cancelled {
                why: "the process that watches the command got SIGTERM before the path's timeout was over".to_owned(),
            },
        }
    }
}

/// Waits until the command has ended or must end, and then until all of its group is gone.
fn watch(leader: Pid, task: &Task, stop: &AtomicBool) -> Ended {
    let mut exit = None;
    let ended = loop {
        reap(leader, &mut exit);
        if let Some(status) = exit {
            break Ended::Exited(status);
        }
        if crate::clock::now() >= task.ends_at {
            break Ended::TimedOut;
        }
        if stop.load(Ordering::Relaxed) {
            break Ended::Stopped;
        }
        thread::sleep(TICK);
    };
    end_group(leader, task.kill_after, &mut exit);
    ended
}

/// Ends what is left of the group: SIGTERM, and SIGKILL after `kill_after`. Returns when the group is gone.
fn end_group(group: Pid, kill_after: Duration, exit: &mut Option<WaitStatus>) {
    let kill_at = Instant::now() + kill_after;
    let mut signal = Some(Signal::TERM);
    loop {
        reap(group, exit);
        if rustix::process::test_kill_process_group(group) == Err(Errno::SRCH) {
            return;
        }
        if let Some(signal) = signal.take() {
            let _already_gone = rustix::process::kill_process_group(group, signal);
        }
        if Instant::now() >= kill_at {
            // Again at each tick: a fork that ran while the signal was delivered may have been missed.
            signal = Some(Signal::KILL);
        }
        thread::sleep(TICK);
    }
}

/// Collects those of the group that have ended, and notes the exit of the command itself.
fn reap(group: Pid, exit: &mut Option<WaitStatus>) {
    while let Ok(Some((pid, status))) = rustix::process::waitpgid(group, WaitOptions::NOHANG) {
        if pid == group {
            *exit = Some(status);
        }
    }
}

fn read_secrets(files: &BTreeMap<String, PathBuf>) -> Result<BTreeMap<String, SecretString>, String> {
    files.iter().map(|(name, file)| Ok((name.clone(), read_secret(name, file)?))).collect()
}

fn read_secret(name: &str, file: &Path) -> Result<SecretString, String> {
    let complain = |what: &str| format!("could not read the secret for {name} from {}: {what}", file.display());
    let mut content = Vec::new();
    let open = fs::File::open(file).map_err(|error| complain(&error.to_string()))?;
    open.take(LONGEST_SECRET_BYTES + 1).read_to_end(&mut content).map_err(|error| complain(&error.to_string()))?;
    if content.len() as u64 > LONGEST_SECRET_BYTES {
        return Err(complain("it is longer than 64 KiB"));
    }
    let text = String::from_utf8(content).map_err(|_| complain("it is not UTF-8"))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() || secret.contains('\0') {
        return Err(complain("expected a text that is not empty and has no NUL in it"));
    }
    Ok(SecretString::from(secret.to_owned()))
}

fn command_of(task: &Task, secrets: &BTreeMap<String, SecretString>) -> Result<(Command, PathBuf), String> {
    let (name, arguments) = task.arguments.split_first().ok_or("the command has no program")?;
    let mut environment = BTreeMap::from([("PATH".to_owned(), FIXED_PATH.to_owned())]);
    for name in &task.pass_environment {
        environment.extend(std::env::var(name).ok().map(|value| (name.clone(), value)));
    }
    environment.extend(task.environment.clone());
    let program = find_program(name, &environment["PATH"])?;
    let mut command = Command::new(&program);
    command.args(arguments).env_clear().envs(environment);
    command.envs(secrets.iter().map(|(name, secret)| (name, secret.expose_secret())));
    command.env("ROLLBACKD_SERVICE", task.service.as_str());
    command.env("ROLLBACKD_FIRING", task.firing.as_str());
    command.env("ROLLBACKD_ATTEMPT", task.attempt.as_str());
    command.current_dir(&task.directory).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok((command, program))
}

/// The program's file: itself where its path is absolute, else the first executable of that name in `path`.
fn find_program(name: &str, path: &str) -> Result<PathBuf, String> {
    if name.starts_with('/') {
        return Ok(PathBuf::from(name));
    }
    let executable =
        |file: &PathBuf| fs::metadata(file).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
    let dirs = path.split(':').filter(|dir| dir.starts_with('/'));
    let found = dirs.map(|dir| Path::new(dir).join(name)).find(executable);
    found.ok_or_else(|| format!("no executable file named {name:?} in PATH={path}"))
}

/// Reads a stream to its end in a thread of its own, so that the command never waits for us.
fn drain(stream: Option<impl Read + Send + 'static>, which: Stream, collector: &Collector) {
    let Some(mut stream) = stream else { return };
    let sink = collector.sink(which);
    thread::spawn(move || {
        let mut buffer = [0; 8 * 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => sink.take(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    });
}
