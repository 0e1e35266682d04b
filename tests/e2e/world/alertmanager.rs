//! A real Alertmanager that forwards every alert to the pager at once.
//!
//! Never talks to other Alertmanagers: its cluster port is closed.

use std::path::Path;

use super::ports::free_port;
use super::process::Process;

/// A running Alertmanager.
pub(crate) struct Alertmanager {
    _process: Process,
    url: String,
}

impl Alertmanager {
    /// Starts one with this webhook as its only receiver, and waits until it is ready.
    pub(crate) async fn start(dir: &Path, webhook: &str) -> Self {
        let config = format!(
            "route: {{receiver: pager, group_by: [page_id], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\n\
             receivers: [{{name: pager, webhook_configs: [{{url: \"{webhook}\", send_resolved: true}}]}}]\n"
        );
        std::fs::write(dir.join("alertmanager.yml"), config).expect("the config of Alertmanager");
        let mut last = String::new();
        for _ in 0..5 {
            let port = free_port();
            let arguments = [
                "--config.file=alertmanager.yml".to_owned(),
                "--storage.path=alertmanager-data".to_owned(),
                "--cluster.listen-address=".to_owned(),
                format!("--web.listen-address=127.0.0.1:{port}"),
            ];
            let mut process = Process::start(dir, "alertmanager", Path::new("prometheus-alertmanager"), &arguments);
            let url = format!("http://127.0.0.1:{port}");
            match process.answers(&format!("{url}/-/ready")).await {
                Ok(()) => return Self { _process: process, url },
                Err(why) => last = why,
            }
        }
        panic!("Alertmanager did not start: {last}");
    }

    /// The base of its API.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}
