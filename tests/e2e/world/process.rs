//! A child process with its log, that ends with its owner.
//!
//! Never signals anything but the process it started, by its id.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::wait::{PATIENCE, wait_until};

/// How much of a log is shown when a test fails.
const SHOWN_LINES: usize = 60;

/// A running (or ended) child.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose output goes to `dir/NAME.log`, behind what an earlier one wrote there. It gets nothing of
    /// this process' environment but `PATH`: no proxy, no credentials.
    pub(crate) fn start(dir: &Path, name: &str, program: &Path, arguments: &[String]) -> Self {
        let log = dir.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("a log file");
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle to the log file"))
            .stderr(file)
            .kill_on_drop(true)
            .spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("could not start {}: {error}; scripts/install-dependencies installs it", program.display())
        });
        Self { name: name.to_owned(), child, log }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap_or_else(|| panic!("{} has ended: {}", self.name, self.log_tail()))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.id().unwrap_or_else(|| panic!("{} has ended: {}", self.name, self.log_tail()));
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("could not send {signal:?} to {}: {error}", self.name));
    }

    /// Stops it (SIGSTOP), and waits until each of its threads has: one that runs when the signal is sent may still answer.
    pub(crate) fn hold(&self) {
        self.signal(Signal::STOP);
        let id = self.child.id().expect("a process that runs");
        let since = std::time::Instant::now();
        while !threads_of(id).iter().all(|state| *state == 'T') {
            assert!(since.elapsed() < PATIENCE, "{} was not stopped: {:?}", self.name, threads_of(id));
            std::thread::yield_now();
        }
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.expect("the exit status of a child"),
            Err(_) => panic!("{} has not ended after {PATIENCE:?}: {}", self.name, self.log_tail()),
        }
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the exit status of a child")
    }

    /// Waits until this URL answers 200, or the process has ended: then says how.
    pub(crate) async fn answers(&mut self, url: &str) -> Result<(), String> {
        let client = super::client();
        let name = self.name.clone();
        wait_until(&format!("{name} answers at {url}"), async || {
            if let Some(status) = self.exit() {
                return Ok(Err(format!("{name} ended with {status}: {}", self.log_tail())));
            }
            match client.get(url).send().await {
                Ok(answer) if answer.status() == 200 => Ok(Ok(())),
                Ok(answer) => Err(format!("it answers {}", answer.status())),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    /// Its whole log.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the end of the log of {}:\n{}", self.name, self.log_tail());
        }
    }
}

/// The state of each thread, as proc(5) has it in `stat`: behind the command in parentheses.
fn threads_of(process: u32) -> Vec<char> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("the threads of a process");
    let stat = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("stat")).ok();
    let stats = threads.filter_map(Result::ok).filter_map(stat);
    stats.filter_map(|stat| stat.rsplit_once(") ")?.1.chars().next()).collect()
}
