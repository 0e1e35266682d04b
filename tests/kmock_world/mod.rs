//! kmock's server (`tests/paths/kmock_server.py`), and the real kubectl against it.
//!
//! kmock 0.8 keeps objects and applies JSON patches and merges, but has no controllers, ignores selectors and never counts
//! generations. A strategic merge is a plain one to it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// kmock's server; it ends when its standard input is closed.
pub(crate) struct Kmock {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) url: String,
    client: reqwest::Client,
    home: TempDir,
}

impl Kmock {
    /// One without any object.
    pub(crate) fn start() -> Self {
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let python = target.parent().unwrap().join("kmock/bin/python");
        assert!(python.exists(), "kmock is missing: run scripts/install-dependencies");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/paths/kmock_server.py");
        let mut command = Command::new(python);
        let mut child = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().trim_end_matches('/').to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "kmock did not start: {line:?}");
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { stdin: child.stdin.take(), child, url, client, home: tempfile::tempdir().unwrap() }
    }

    fn resource(&self, resource: &str) -> String {
        format!("{}/apis/apps/v1/namespaces/prod/{resource}", self.url)
    }

    pub(crate) async fn create(&self, resource: &str, object: &Value) {
        let answer = self.client.post(self.resource(resource)).json(object).send().await.unwrap();
        assert!(answer.status().is_success(), "{resource}: {}", answer.text().await.unwrap());
    }

    /// An object, or a list of them.
    pub(crate) async fn get(&self, resource: &str) -> Value {
        self.client.get(self.resource(resource)).send().await.unwrap().json().await.unwrap()
    }

    /// Merges this into an object.
    pub(crate) async fn merge(&self, resource: &str, part: &Value) {
        let request = self.client.patch(self.resource(resource)).body(part.to_string());
        let answer = request.header("Content-Type", "application/merge-patch+json").send().await.unwrap();
        assert!(answer.status().is_success(), "{resource}: {}", answer.text().await.unwrap());
    }

    /// Runs the real kubectl.
    pub(crate) fn kubectl(&self, arguments: &[&str]) {
        let mut command = Command::new("kubectl");
        command.args(["--server", &self.url, "--namespace", "prod"]).args(arguments);
        let ran = command.env("HOME", self.home.path()).env("KUBECONFIG", "/dev/null").output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
}

impl Drop for Kmock {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.child.wait());
    }
}
