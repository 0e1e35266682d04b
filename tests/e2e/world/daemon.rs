//! The daemon as a process, its HTTP API and its command line.
//!
//! Never looks into the daemon's state folder: what can be known is known by its doors.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use rustix::process::Signal;
use serde_json::Value;

use super::plan::Plan;
use super::process::Process;

/// The daemon: its config, and its process while it runs.
pub(crate) struct Daemon {
    dir: PathBuf,
    arguments: Vec<String>,
    own_disk: Option<PathBuf>,
    url: String,
    client: reqwest::Client,
    process: Option<Process>,
}

/// An answer of the API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    /// The body, of an answer with this status.
    pub(crate) fn json_of(self, status: u16) -> Value {
        assert_eq!(self.status, status, "the daemon answered {}", self.body);
        self.body
    }

    /// A text of the body, of an answer with this status.
    pub(crate) fn text_of(self, status: u16, field: &str) -> String {
        let body = self.json_of(status);
        body[field].as_str().unwrap_or_else(|| panic!("{body} has no {field:?}")).to_owned()
    }
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Daemon {
    /// A daemon with this plan, not started yet.
    pub(crate) fn new(dir: &Path, plan: &Plan, arguments: &[&str]) -> Self {
        let config = dir.join("rollbackd.yml");
        std::fs::write(&config, plan.yaml()).expect("the config of the daemon");
        let mut all = vec!["run".to_owned(), "--config".to_owned(), config.display().to_string()];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let url = format!("http://{}", plan.listen());
        Self { dir: dir.to_owned(), arguments: all, own_disk: None, url, client: super::client(), process: None }
    }

    /// Whether this system lets it have a disk of its own at this place.
    pub(crate) async fn may_have_own_disk(disk: &Path) -> bool {
        let tried = tokio::process::Command::new("unshare").args(on_own_disk(disk, Path::new("true"), &[])).status();
        tried.await.is_ok_and(|status| status.success())
    }

    /// The same with a small disk in memory at this place, which is gone when it ends.
    pub(crate) fn with_own_disk(self, disk: &Path) -> Self {
        Self { own_disk: Some(disk.to_owned()), ..self }
    }

    /// Where the daemon's own disk can be reached from here.
    pub(crate) fn own_disk(&mut self) -> PathBuf {
        let disk = self.own_disk.clone().expect("a disk of its own");
        let inside = disk.strip_prefix("/").expect("an absolute place").to_owned();
        PathBuf::from(format!("/proc/{}/root", self.process().id())).join(inside)
    }

    /// Starts it and waits for `/readyz`.
    pub(crate) async fn start(&mut self) {
        self.launch();
        let ready = format!("{}/readyz", self.url);
        let answered = self.process().answers(&ready).await;
        answered.unwrap_or_else(|why| panic!("the daemon did not become ready: {why}"));
    }

    /// Starts it without waiting for anything.
    pub(crate) fn launch(&mut self) {
        assert!(self.process.is_none(), "the daemon runs already");
        let binary = Path::new(env!("CARGO_BIN_EXE_rollbackd"));
        self.process = Some(match &self.own_disk {
            None => Process::start(&self.dir, "rollbackd", binary, &self.arguments),
            Some(disk) => {
                let arguments = on_own_disk(disk, binary, &self.arguments);
                Process::start(&self.dir, "rollbackd", Path::new("unshare"), &arguments)
            }
        });
    }

    /// Starts it with these variables in its environment, without waiting for anything.
    pub(crate) fn launch_with(&mut self, environment: &[(&str, String)]) {
        assert!(self.process.is_none(), "the daemon runs already");
        let mut arguments: Vec<String> = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        arguments.push(env!("CARGO_BIN_EXE_rollbackd").to_owned());
        arguments.extend(self.arguments.iter().cloned());
        // Becomes the daemon by exec, so the process' id is the daemon's.
        self.process = Some(Process::start(&self.dir, "rollbackd", Path::new("env"), &arguments));
    }

    /// How it ended by itself, if it has: it can be started again then.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut().and_then(Process::exit)?;
        self.process = None;
        Some(status)
    }

    /// Whether it was started and has not been seen to end.
    pub(crate) const fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Replaces the config and asks for a reload.
    pub(crate) fn reload(&mut self, plan: &Plan) {
        std::fs::write(self.dir.join("rollbackd.yml"), plan.yaml()).expect("the config of the daemon");
        self.process().signal(Signal::HUP);
    }

    /// Stops it with SIGTERM, and waits until it has ended.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.end(Signal::TERM).await
    }

    /// Kills it (SIGKILL), and waits until it has ended.
    pub(crate) async fn kill(&mut self) -> ExitStatus {
        self.end(Signal::KILL).await
    }

    /// Sends it a signal that does not end it.
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        self.process.take().expect("the daemon runs").ended().await
    }

    async fn end(&mut self, signal: Signal) -> ExitStatus {
        let mut process = self.process.take().expect("the daemon runs");
        process.signal(signal);
        process.ended().await
    }

    /// Its log so far, over all its starts.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("rollbackd.log")).unwrap_or_default()
    }

    /// Its process id.
    pub(crate) fn id(&mut self) -> u32 {
        self.process().id()
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the daemon runs")
    }

    /// `GET`, which is expected to be answered.
    pub(crate) async fn get(&self, route: &str) -> Answer {
        answer(self.client.get(format!("{}{route}", self.url))).await.expect("an answer of the daemon")
    }

    /// `GET`, where the daemon may be starting just now.
    pub(crate) async fn try_get(&self, route: &str) -> Result<Value, String> {
        let answer = answer(self.client.get(format!("{}{route}", self.url))).await?;
        if answer.status == 200 { Ok(answer.body) } else { Err(format!("{answer:?}")) }
    }

    /// The status alone of a `GET`.
    pub(crate) async fn status_of(&self, route: &str) -> Result<u16, String> {
        answer(self.client.get(format!("{}{route}", self.url))).await.map(|answer| answer.status)
    }

    /// Any request that a test makes up.
    pub(crate) async fn send(
        &self,
        route: &str,
        make: impl FnOnce(&reqwest::Client, String) -> reqwest::RequestBuilder,
    ) -> Answer {
        answer(make(&self.client, format!("{}{route}", self.url))).await.expect("an answer of the daemon")
    }

    /// From now on all requests come with this token.
    pub(crate) fn authorize(&mut self, token: &str) {
        self.client = super::client_with_token(token);
    }

    /// `POST` with a JSON body, where the daemon may end at any moment.
    pub(crate) async fn try_post(&self, route: &str, body: Value) -> Result<Answer, String> {
        self.posting(route, body).await
    }

    /// The same, to be sent beside others.
    pub(crate) fn posting(
        &self,
        route: &str,
        body: Value,
    ) -> impl Future<Output = Result<Answer, String>> + Send + 'static {
        answer(self.client.post(format!("{}{route}", self.url)).json(&body))
    }

    /// `POST` with a JSON body.
    pub(crate) async fn post(&self, route: &str, body: Value) -> Answer {
        let post = self.client.post(format!("{}{route}", self.url)).json(&body);
        answer(post).await.expect("an answer of the daemon")
    }

    /// Starts a command that talks to it, with its output in pipes.
    pub(crate) fn spawn_command(&self, arguments: &[&str]) -> tokio::process::Child {
        tokio::process::Command::new(env!("CARGO_BIN_EXE_rollbackd"))
            .args(arguments)
            .env_clear()
            .env("ROLLBACKD_SERVER", &self.url)
            .current_dir(&self.dir)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a command that starts")
    }

    /// Runs a command that talks to it.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Said {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_rollbackd"))
            .args(arguments)
            .env_clear()
            .env("ROLLBACKD_SERVER", &self.url)
            .current_dir(&self.dir)
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(super::PATIENCE, output).await;
        let output = output.expect("a command that ends").expect("the output of a command");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// The arguments of `unshare` for a program with a disk of its own: each becomes the next by exec, so the process'
/// id is the program's.
fn on_own_disk(disk: &Path, program: &Path, arguments: &[String]) -> Vec<String> {
    let script = "mount -t tmpfs -o size=2m tmpfs \"$0\" && exec \"$@\"";
    let mut all: Vec<String> = ["--user", "--map-root-user", "--mount", "sh", "-c", script].map(str::to_owned).into();
    all.extend([disk.display().to_string(), program.display().to_string()]);
    all.extend(arguments.iter().cloned());
    all
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer, String> {
    let answer = request.send().await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let text = answer.text().await.map_err(|error| error.to_string())?;
    let body = if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text) };
    Ok(Answer { status, body: body.unwrap_or(Value::String(text)) })
}
