//! Runs git: one program with an argument list, an environment of our own and an end.
//!
//! Never uses a shell, never reads the machine's or anybody's settings of git, never runs a hook, never asks on a
//! terminal, and never holds a token: git asks our own program for it (`askpass`), which reads its file.

pub(crate) mod askpass;
pub(crate) mod settings;

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::http_client::one_line;

/// As much of each of git's outputs as is kept; the rest is read and dropped, so that git never waits for us.
const LONGEST_OUTPUT_BYTES: u64 = 256 * 1024;

/// Settings for each run. No redirect is followed, so no token goes where the config did not send it; a transfer that
/// stands still for 20 s ends.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "credential.helper=",
    "http.followRedirects=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=20",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "protocol.version=2",
];

/// What of our own environment git gets: where programs are, and the proxies that our other requests use too.
const PASSED: &[&str] =
    &["PATH", "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"];

/// Who git is at the remote and in commits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access<'a> {
    /// The protocols that git may speak, with colons between them.
    pub(crate) protocols: &'a str,
    /// Where https has a certificate of its own.
    pub(crate) ca_file: Option<&'a Path>,
    /// The author and committer: a name and an address.
    pub(crate) author: (&'a str, &'a str),
    /// The user name that goes with the token.
    pub(crate) username: &'a str,
    /// The file of the token.
    pub(crate) token_file: Option<&'a Path>,
}

/// Where git runs, and for whom.
pub(crate) struct Git<'a> {
    access: Access<'a>,
    dir: PathBuf,
    program: PathBuf,
    /// The instant of the commits that are made, as git writes it.
    date: String,
    /// Whether a run ends where nobody waits for it any more.
    is_killed: bool,
    /// Whether a repository around the folder is looked into.
    has_repository: bool,
}

/// What a run of git left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
    pub(crate) complaint: String,
}

/// Why something could not be asked of the remote.
#[derive(Debug)]
pub(crate) enum Fault {
    /// No connection came about: nothing was sent.
    NotSent(String),
    /// The remote refused, and asking again would not help.
    Refused(String),
    /// A limit was met.
    Limited(String),
    /// Anything else: what was sent may have arrived.
    Broken(String),
}

impl Fault {
    pub(crate) fn why(self) -> String {
        match self {
            Self::NotSent(why) | Self::Refused(why) | Self::Limited(why) | Self::Broken(why) => why,
        }
    }
}

impl<'a> Git<'a> {
    pub(crate) fn new(access: Access<'a>, dir: &Path, program: &Path, seconds: i64) -> Self {
        Self {
            access,
            dir: dir.to_owned(),
            program: askpass::findable(program),
            date: format!("@{seconds} +0000"),
            is_killed: true,
            has_repository: true,
        }
    }

    /// The same, whose runs go on to their end where nobody waits for them any more: git that is killed in somebody's
    /// own repository leaves its lock there.
    pub(crate) fn left_running(self) -> Self {
        Self { is_killed: false, ..self }
    }

    /// The same outside of any repository, whose settings would count.
    pub(crate) fn without_repository(self) -> Self {
        Self { has_repository: false, ..self }
    }

    /// Where the clone is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs git, for so long at most. `Err` where it could not be run or did not end.
    pub(crate) async fn run(&self, arguments: &[&str], input: &str, limit: Duration) -> Result<Ran, String> {
        let what = arguments.first().copied().unwrap_or_default();
        let mut child = self.command(arguments).spawn().map_err(|error| format!("could not start git: {error}"))?;
        let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin.take() {
                // Git may end without reading; its status tells.
                let _written = stdin.write_all(input.as_bytes()).await;
            }
        };
        let ended = async { tokio::join!(write, text_of(stdout), text_of(stderr), child.wait()) };
        let Ok(((), output, complaint, status)) = tokio::time::timeout(limit, ended).await else {
            return Err(format!("git {what} did not end in time"));
        };
        let status = status.map_err(|error| format!("could not wait for git {what}: {error}"))?;
        Ok(Ran { status, output, complaint })
    }

    /// Runs git; anything but a success is an error.
    pub(crate) async fn done(&self, arguments: &[&str], limit: Duration) -> Result<String, String> {
        let ran = self.run(arguments, "", limit).await?;
        if ran.status.success() { Ok(ran.output.trim_end().to_owned()) } else { Err(ran.why(arguments)) }
    }

    /// Runs git against the remote.
    pub(crate) async fn asks(&self, arguments: &[&str], limit: Duration) -> Result<String, Fault> {
        let ran = self.run(arguments, "", limit).await.map_err(Fault::Broken)?;
        if ran.status.success() { Ok(ran.output.trim_end().to_owned()) } else { Err(ran.fault(arguments)) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        if let Some(file) = self.access.ca_file {
            command.arg("-c").arg(format!("http.sslCAInfo={}", file.display()));
        }
        let passed = PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command
            .args(arguments)
            .env_clear()
            .envs(passed)
            .current_dir(&self.dir)
            .env("HOME", &self.dir)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CEILING_DIRECTORIES", self.dir.parent().unwrap_or(Path::new("/")))
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", self.access.protocols)
            .env("GIT_ATTR_NOSYSTEM", "1")
            .envs(["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"].map(|name| (name, self.access.author.0)))
            .envs(["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"].map(|name| (name, self.access.author.1)))
            .envs(["GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"].map(|name| (name, &self.date)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(self.is_killed);
        if !self.has_repository {
            command.env("GIT_DIR", "/dev/null");
        }
        if let Some(file) = self.access.token_file {
            command
                .env("GIT_ASKPASS", &self.program)
                .env(askpass::TOKEN_FILE, file)
                .env(askpass::USERNAME, self.access.username);
        }
        command
    }
}

async fn text_of(output: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let Some(mut output) = output else { return String::new() };
    let mut kept = Vec::new();
    let _read = (&mut output).take(LONGEST_OUTPUT_BYTES).read_to_end(&mut kept).await;
    let _dropped = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}

impl Ran {
    /// What went wrong, on one line.
    pub(crate) fn why(&self, arguments: &[&str]) -> String {
        let told = |line: &&str| ["fatal: ", "error: ", "remote: "].iter().any(|start| line.starts_with(start));
        let lines: Vec<&str> = self.complaint.lines().filter(told).collect();
        let what = arguments.first().copied().unwrap_or_default();
        let said = if lines.is_empty() { self.status.to_string() } else { lines.join("; ") };
        one_line(&format!("git {what}: {said}"))
    }

    /// What it means that the remote could not be asked. Git tells in words alone; they are these since git 2.30 at
    /// least, with `LC_ALL=C`.
    pub(crate) fn fault(&self, arguments: &[&str]) -> Fault {
        let why = self.why(arguments);
        let says = |words: &[&str]| words.iter().any(|words| self.complaint.contains(words));
        let unconnected = ["Could not resolve host", "Failed to connect", "Couldn't connect", "Connection refused"];
        let refused = [
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "returned error: 40",
            "not found",
            "does not appear to be a git repository",
        ];
        if says(&["returned error: 429"]) {
            Fault::Limited(why)
        } else if says(&["returned error: 408"]) {
            Fault::Broken(why)
        } else if says(&unconnected) {
            Fault::NotSent(why)
        } else if says(&refused) {
            Fault::Refused(why)
        } else {
            Fault::Broken(why)
        }
    }
}
