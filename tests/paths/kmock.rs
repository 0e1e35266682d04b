//! The path `kubernetes`, against kmock with the real kubectl as the oracle: an undo by either leaves the same pod template.
//!
//! kmock has no controllers: the Deployment is seeded as its controller leaves it when it is done.

use crate::kmock_world::Kmock;
use crate::world::{LONG, no_place, order, path};
use rollbackd_core::firing::Outcome;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

async fn seeded() -> Kmock {
    let kmock = Kmock::start();
    let annotations = |revision: &str| json!({"deployment.kubernetes.io/revision": revision});
    kmock.create("deployments", &json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "shop", "namespace": "prod", "uid": "u-1", "generation": 9, "annotations": annotations("3")},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "shop"}}, "template": template("v43", None)},
        "status": {"observedGeneration": 9, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
    }))
    .await;
    for (number, version) in [("1", "v41"), ("2", "v42"), ("3", "v43")] {
        kmock.create("replicasets", &json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": format!("shop-{version}"), "namespace": "prod", "uid": format!("rs-{number}"),
                "labels": {"app": "shop"}, "annotations": annotations(number), "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop", "uid": "u-1", "controller": true}]},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "shop"}}, "template": template(version, Some(version))},
        }))
        .await;
    }
    kmock
}

async fn template_at(kmock: &Kmock) -> Value {
    kmock.get("deployments/shop").await["spec"]["template"].clone()
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

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_by_kubectl_and_one_by_us_leave_the_same_pod_template() {
    let (theirs, ours) = tokio::join!(seeded(), seeded());
    theirs.kubectl(&["rollout", "undo", "deployment/shop", "--to-revision", "1"]);

    let config = json!({"namespace": "prod", "name": "shop", "url": ours.url, "poll_interval": "10ms"});
    let (path, parts) = path("kubernetes", &config);
    let order = order(&parts, LONG);
    let outcome = path.start(&order, &no_place(), &mpsc::channel(8).0, CancellationToken::new()).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");

    assert_eq!(template_at(&ours).await, template_at(&theirs).await);
    assert_eq!(template_at(&ours).await, template("v41", None));
}
