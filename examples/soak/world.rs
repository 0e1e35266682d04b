//! Everything around the daemon, and the daemon: processes on loopback, ended by their ids.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::routing::post;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Child;

use crate::Plan;
use crate::processes;
use crate::sample::Sample;

/// How long a process may take to answer first.
const PATIENCE: Duration = Duration::from_secs(60);
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
        let [production_port, prometheus_port, api_port] = processes::free_ports()?;
        let production = format!("http://127.0.0.1:{production_port}");
        let prometheus = format!("http://127.0.0.1:{prometheus_port}");
        let api = format!("http://127.0.0.1:{api_port}");
        let scrapes = json!({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [
            {"job_name": "production", "static_configs": [{"targets": [format!("127.0.0.1:{production_port}")]}]},
            {"job_name": "rollbackd", "scrape_interval": "5s",
             "static_configs": [{"targets": [format!("127.0.0.1:{api_port}")]}]},
        ]});
        let config = config(dir, capstone_api, plan, [&production, &prometheus, &api, &pager]);
        processes::write(&dir.join("prometheus.yml"), &scrapes)?;
        processes::write(&dir.join("rollbackd.yml"), &config)?;

        let several = plan.services.to_string();
        let listen = format!("127.0.0.1:{production_port}");
        let served = ["serve", "--several", &several, "--listen", &listen, "--version", "v1"];
        let mut others = vec![processes::start(dir, "capstone_api", capstone_api, &served, &[])?];
        let listen = format!("--web.listen-address=127.0.0.1:{prometheus_port}");
        let arguments = ["--config.file=prometheus.yml", "--storage.tsdb.path=prometheus", &listen, "--log.level=warn"];
        others.push(processes::start(dir, "prometheus", Path::new("prometheus"), &arguments, &[])?);
        answers(&client, &format!("{production}/metrics")).await?;
        answers(&client, &format!("{prometheus}/-/ready")).await?;
        let arguments = ["run", "--config", "rollbackd.yml", "--log-format", "json"];
        let daemon = processes::start(dir, "rollbackd", rollbackd, &arguments, &processes::environment())?;
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
            processes::end(child, Signal::TERM).await;
        }
        let _ = std::fs::remove_dir_all(self.place("prometheus"));
    }
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
