//! Everything around the daemon, and the daemon: processes on loopback, ended by their ids.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::routing::post;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::Plan;
use crate::sample::Sample;

/// How long a process may take to answer first, and to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the daemon runs under elsewhere: what is measured here has the same environment.
const UNIT: &str = include_str!("../../systemd/rollbackd.service");
/// How far back the triggers' queries look.
const WINDOW: &str = "10s";
/// One service of so many has a trigger of its own.
pub(crate) const OWN_TRIGGER_OF: u16 = 10;
/// The triggers that every service shares and that ask Prometheus.
pub(crate) const SHARED_TRIGGERS: u32 = 2;

/// The processes, and how they are reached.
pub(crate) struct World {
    dir: PathBuf,
    daemon: Child,
    daemon_id: u32,
    others: Vec<Child>,
    pub(crate) client: reqwest::Client,
    pub(crate) api: String,
    pub(crate) production: String,
    pages_taken: Arc<AtomicU64>,
}

impl World {
    /// Starts everything and waits until the daemon is ready.
    pub(crate) async fn start(
        dir: &Path,
        [rollbackd, capstone_api]: &[PathBuf; 2],
        plan: &Plan,
    ) -> Result<Self, String> {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(30));
        let client = client.build().map_err(|error| error.to_string())?;
        let pages_taken = Arc::new(AtomicU64::new(0));
        let pager = pager(Arc::clone(&pages_taken)).await?;
        let [production_port, prometheus_port, api_port] = free_ports()?;
        let production = format!("http://127.0.0.1:{production_port}");
        let prometheus = format!("http://127.0.0.1:{prometheus_port}");
        let api = format!("http://127.0.0.1:{api_port}");
        let scrapes = json!({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [
            {"job_name": "production", "static_configs": [{"targets": [format!("127.0.0.1:{production_port}")]}]},
            {"job_name": "rollbackd", "scrape_interval": "5s",
             "static_configs": [{"targets": [format!("127.0.0.1:{api_port}")]}]},
        ]});
        let config = config(dir, capstone_api, plan, [&production, &prometheus, &api, &pager]);
        write(&dir.join("prometheus.yml"), &scrapes)?;
        write(&dir.join("rollbackd.yml"), &config)?;

        let several = plan.services.to_string();
        let listen = format!("127.0.0.1:{production_port}");
        let served = ["serve", "--several", &several, "--listen", &listen, "--version", "v1"];
        let mut others = vec![start(dir, "capstone_api", capstone_api, &served, &[])?];
        let listen = format!("--web.listen-address=127.0.0.1:{prometheus_port}");
        let arguments = ["--config.file=prometheus.yml", "--storage.tsdb.path=prometheus", &listen, "--log.level=warn"];
        others.push(start(dir, "prometheus", Path::new("prometheus"), &arguments, &[])?);
        answers(&client, &format!("{production}/metrics")).await?;
        answers(&client, &format!("{prometheus}/-/ready")).await?;
        let arguments = ["run", "--config", "rollbackd.yml", "--log-format", "json"];
        let daemon = start(dir, "rollbackd", rollbackd, &arguments, &environment_of(UNIT))?;
        let daemon_id = daemon.id().ok_or("the daemon ended at once")?;
        answers(&client, &format!("{api}/readyz")).await?;
        Ok(Self { dir: dir.to_owned(), daemon, daemon_id, others, client, api, production, pages_taken })
    }

    /// Measures the daemon, and asks it for its views as people do.
    pub(crate) async fn sample(&self, at: Duration) -> Result<Sample, String> {
        let metrics = get(&self.client, &format!("{}/metrics", self.api)).await?;
        for route in ["/v1/services", "/v1/services/svc-1", "/v1/firings"] {
            get(&self.client, &format!("{}{route}", self.api)).await?;
        }
        Sample::of(at, self.daemon_id, &self.place("state"), &metrics)
    }

    /// How many times the webhook was called.
    pub(crate) fn pages_taken(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.pages_taken)
    }

    /// How a process ended that should still run.
    pub(crate) fn ended_early(&mut self) -> Option<String> {
        std::iter::once(&mut self.daemon).chain(&mut self.others).find_map(|child| match child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(format!("a process ended by itself: {status}")),
            Err(error) => Some(format!("a process can't be asked after: {error}")),
        })
    }

    /// A file or folder of this soak.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The daemon's log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.place("rollbackd.log")).unwrap_or_default()
    }

    /// Ends every process, the daemon first, and removes what only Prometheus needed.
    pub(crate) async fn end(&mut self) {
        for child in std::iter::once(&mut self.daemon).chain(self.others.iter_mut().rev()) {
            if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
                let _ = kill_process(id, Signal::TERM);
            }
            if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
        let _ = std::fs::remove_dir_all(self.place("prometheus"));
    }
}

fn write(file: &Path, content: &Value) -> Result<(), String> {
    std::fs::write(file, content.to_string()).map_err(|error| format!("{}: {error}", file.display()))
}

/// The environment that this unit of systemd gives its service.
pub(crate) fn environment_of(unit: &str) -> Vec<(&str, &str)> {
    unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('=')).collect()
}

/// Starts a program with nothing in its environment but the path and this.
fn start(
    dir: &Path,
    name: &str,
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<Child, String> {
    let log = File::create(dir.join(format!("{name}.log"))).map_err(|error| format!("{name}.log: {error}"))?;
    let second = log.try_clone().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(environment.iter().copied()).current_dir(dir);
    command.stdin(Stdio::null()).stdout(second).stderr(log).kill_on_drop(true);
    command.spawn().map_err(|error| format!("could not start {}: {error}", program.display()))
}

/// Free ports below the range that the kernel gives to outgoing connections; held together, so that they differ.
fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT], String> {
    let begin = 12_000 + u16::try_from(std::process::id() * 61 % 19_000).unwrap_or(0);
    let free = (begin..32_000).filter_map(|port| Some((port, TcpListener::bind(("127.0.0.1", port)).ok()?)));
    let held: Vec<(u16, TcpListener)> = free.take(COUNT).collect();
    let ports: Vec<u16> = held.iter().map(|(port, _)| *port).collect();
    ports.try_into().map_err(|_| "no ports are free".to_owned())
}

/// A webhook that takes every page.
async fn pager(taken: Arc<AtomicU64>) -> Result<String, String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let take = move || async move { _ = taken.fetch_add(1, Ordering::Relaxed) };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/page", post(take))).await });
    Ok(format!("http://{address}/page"))
}

/// The text of an answer that is a success.
pub(crate) async fn get(client: &reqwest::Client, url: &str) -> Result<String, String> {
    let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
    let answer = answer.map_err(|error| format!("{url}: {error}"))?;
    answer.text().await.map_err(|error| format!("{url}: {error}"))
}

async fn answers(client: &reqwest::Client, url: &str) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    loop {
        match get(client, url).await {
            Ok(_) => return Ok(()),
            Err(why) if Instant::now() > until => return Err(why),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn config(dir: &Path, capstone_api: &Path, plan: &Plan, [production, prometheus, api, pager]: [&str; 4]) -> Value {
    let rate = |matchers: &str| format!("sum by (service) (rate(http_requests_total{{{matchers}}}[{WINDOW}]))");
    let duration = |part: &str| format!("sum by (service) (rate(http_request_duration_seconds_{part}[{WINDOW}]))");
    let command = [
        &capstone_api.display().to_string(),
        "deploy",
        "--to",
        production,
        "--service={{ service }}",
        "--take=2s",
        "{{ target.version }}",
    ];
    let service = |number: u16| {
        let name = format!("svc-{number}");
        let mut service = json!({
            "name": name, "watch": seconds(plan.watch), "page": ["oncall"], "side_effects": "none",
            "version_query": format!("app_build_info{{service=\"{name}\"}}"),
            "smoke": {"url": format!("{production}/healthz?service={name}")},
            "paths": [{"name": "pipeline", "timeout": "30s", "command": command}],
        });
        if number.is_multiple_of(OWN_TRIGGER_OF) {
            let requests = format!("sum(rate(http_requests_total{{service=\"{name}\"}}[{WINDOW}]))");
            service["triggers"] =
                json!([{"name": "no-traffic", "expr": requests, "below": 1, "for": "10s", "budget": "1m"}]);
        }
        service
    };
    json!({
        "prometheus": {"url": prometheus, "timeout": "5s"}, "evaluation_interval": seconds(plan.interval),
        "listen": api.trim_start_matches("http://"), "state_dir": dir.join("state"), "receipts_dir": dir.join("receipts"),
        // Many services share this machine; what is rolled back here is never an outage of them all.
        "fleet_guard": {"services": plan.services.max(3), "within": "10s"},
        "pagers": [{"name": "oncall", "webhook": {"url": pager}}],
        "triggers": [
            {"name": "error-rate", "bad": rate("code=~\"5..\""), "total": rate(""), "above": "5%", "for": "5s", "budget": "1m"},
            {"name": "slow", "expr": format!("{} / {}", duration("sum"), duration("count")), "above": 1, "for": "5s", "budget": "1m"},
            {"name": "login-broken", "observed": "report", "budget": "1m", "action": "page"},
        ],
        "services": (1..=plan.services).map(service).collect::<Vec<_>>(),
    })
}

fn seconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_gets_the_environment_of_its_unit() {
        let unit =
            "[Service]\n# Environment=NOT=this\nEnvironment=ONE=1\nExecStart=/bin/true --x=1\nEnvironment=TWO=a=b\n";
        assert_eq!(environment_of(unit), [("ONE", "1"), ("TWO", "a=b")]);
        // docs/operations.md says what each is for.
        assert_eq!(environment_of(UNIT), [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "131072")]);
    }

    #[tokio::test]
    async fn nothing_else_is_in_its_environment() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = start(dir.path(), "env", Path::new("/usr/bin/env"), &[], &[("ONE", "1")]).unwrap();
        assert!(child.wait().await.unwrap().success());
        let shown = std::fs::read_to_string(dir.path().join("env.log")).unwrap();
        let mut names: Vec<&str> = shown.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        names.sort_unstable();
        assert_eq!(names, ["ONE", "PATH"], "{shown}");
    }
}
