//! The path `kubernetes`, against kmock with the real kubectl as the oracle: an undo by either leaves the same pod template.
//!
//! kmock 0.8 keeps objects and applies JSON patches, but has no controllers, ignores selectors and never counts
//! generations: the Deployment is seeded as its controller leaves it when it is done.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::world::{LONG, no_place, order, path};
use rollbackd_core::firing::Outcome;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// kmock's server; it ends when its standard input is closed.
struct Kmock {
    child: Child,
    stdin: Option<ChildStdin>,
    url: String,
    client: reqwest::Client,
}

impl Kmock {
    async fn start() -> Self {
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
        let kmock = Self { stdin: child.stdin.take(), child, url, client };
        kmock.seed().await;
        kmock
    }

    async fn seed(&self) {
        let annotations = |revision: &str| json!({"deployment.kubernetes.io/revision": revision});
        self.create("deployments", &json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "shop", "namespace": "prod", "uid": "u-1", "generation": 9, "annotations": annotations("3")},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "shop"}}, "template": template("v43", None)},
            "status": {"observedGeneration": 9, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
        }))
        .await;
        for (number, version) in [("1", "v41"), ("2", "v42"), ("3", "v43")] {
            self.create("replicasets", &json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": {"name": format!("shop-{version}"), "namespace": "prod", "uid": format!("rs-{number}"),
                    "labels": {"app": "shop"}, "annotations": annotations(number), "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop", "uid": "u-1", "controller": true}]},
                "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "shop"}}, "template": template(version, Some(version))},
            }))
            .await;
        }
    }

    fn resource(&self, resource: &str) -> String {
        format!("{}/apis/apps/v1/namespaces/prod/{resource}", self.url)
    }

    async fn create(&self, resource: &str, object: &Value) {
        let answer = self.client.post(self.resource(resource)).json(object).send().await.unwrap();
        assert!(answer.status().is_success(), "{resource}: {}", answer.text().await.unwrap());
    }

    async fn template(&self) -> Value {
        let shown: Value =
            self.client.get(self.resource("deployments/shop")).send().await.unwrap().json().await.unwrap();
        shown["spec"]["template"].clone()
    }
}

impl Drop for Kmock {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.child.wait());
    }
}

/// A pod template with what the API server fills in, as kubectl writes it back.
fn template(version: &str, hash: Option<&str>) -> Value {
    let mut template = json!({
        "metadata": {"creationTimestamp": null, "labels": {"app": "shop"}, "annotations": {"team": "a"}},
        "spec": {"containers": [{"name": "shop", "image": format!("r.test:5000/shop:{version}"),
            "env": [{"name": "V", "value": version}], "resources": {}}]},
    });
    if let Some(hash) = hash {
        template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
    }
    template
}

fn undo_by_kubectl(url: &str, home: &TempDir) {
    let mut command = Command::new("kubectl");
    command.args(["--server", url, "--namespace", "prod", "rollout", "undo", "deployment/shop", "--to-revision", "1"]);
    let ran = command.env("HOME", home.path()).env("KUBECONFIG", "/dev/null").output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_by_kubectl_and_one_by_us_leave_the_same_pod_template() {
    let (theirs, ours) = tokio::join!(Kmock::start(), Kmock::start());
    let home = tempfile::tempdir().unwrap();
    undo_by_kubectl(&theirs.url, &home);

    let config = json!({"namespace": "prod", "name": "shop", "url": ours.url, "poll_interval": "10ms"});
    let (path, parts) = path("kubernetes", &config);
    let order = order(&parts, LONG);
    let outcome = path.start(&order, &no_place(), &mpsc::channel(8).0, CancellationToken::new()).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");

    assert_eq!(ours.template().await, theirs.template().await);
    assert_eq!(ours.template().await, template("v41", None));
}
