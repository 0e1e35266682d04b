//! Production: the example service as a process, and the levers that make it misbehave.
//!
//! Never tells the daemon anything: a deploy here is what happens in the world, not its report.

use std::path::Path;

use serde_json::{Value, json};

use super::process::Process;
use super::wait::wait_until;

/// Requests per second of each version that nothing else is said about: enough that 4% and 6% of a window of four
/// seconds are whole requests far from the limit.
const REQUESTS_PER_SECOND: &str = "200";

/// The running example service.
pub(crate) struct Production {
    _process: Process,
    port: u16,
    url: String,
    client: reqwest::Client,
}

impl Production {
    /// Starts it at version `v1`.
    pub(crate) async fn start(dir: &Path, several: Option<u16>) -> Self {
        let port_file = dir.join("capstone-api.port");
        let mut arguments: Vec<String> =
            ["serve", "--version", "v1", "--requests-per-second", REQUESTS_PER_SECOND].map(str::to_owned).into();
        arguments.extend(["--port-file".to_owned(), port_file.display().to_string()]);
        if let Some(several) = several {
            arguments.extend(["--several".to_owned(), several.to_string()]);
        }
        let mut process = Process::start(dir, "capstone-api", &super::capstone_api(), &arguments);
        let port: u16 = wait_until("the example service says its port", async || {
            assert!(process.exit().is_none(), "the example service ended: {}", process.log_tail());
            let port = std::fs::read_to_string(&port_file).map_err(|error| error.to_string())?;
            port.parse().map_err(|error| format!("{port:?}: {error}"))
        })
        .await;
        let url = format!("http://127.0.0.1:{port}");
        Self { _process: process, port, url, client: super::client() }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Says how versions of a service behave: `{"v2": {"error_ratio": 0.06}}`.
    pub(crate) async fn versions(&self, service: &str, versions: Value) {
        self.ask("versions", service, versions).await;
    }

    /// Behaves like this from now on, until the next deploy.
    pub(crate) async fn behave(&self, service: &str, behaviour: Value) {
        self.ask("behave", service, behaviour).await;
    }

    /// Switches to a version, at once.
    pub(crate) async fn deploy(&self, service: &str, version: &str, by: &str) {
        self.ask("deploy", service, json!({"version": version, "by": by})).await;
    }

    /// Each deploy so far: `number`, `service`, `version`, `at`, `by`, `attempt`.
    pub(crate) async fn deploys(&self) -> Vec<Value> {
        let answer = self.client.get(format!("{}/admin/deploys", self.url)).send().await.expect("the deploys");
        answer.json().await.expect("a list of deploys")
    }

    async fn ask(&self, lever: &str, service: &str, body: Value) {
        let post = self.client.post(format!("{}/admin/{lever}?service={service}", self.url)).json(&body);
        let answer = post.send().await.expect("an answer of the example service");
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        assert!(status.is_success(), "the example service refused {lever} {body}: {status} {text}");
    }
}
