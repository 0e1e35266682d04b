//! A watched Deployment: the real daemon and the real kubectl against kmock, with the part of the Deployment's controller
//! played here (kmock has none): revisions are numbered, ReplicaSets are made or brought back, and production follows.

use std::sync::Arc;
use std::time::Duration;

use rollbackd::clock;
use rollbackd_core::time::Timestamp;
use serde_json::{Value, json};

use crate::kmock_world::Kmock;
use crate::world::{Plan, SERVICE, WINDOW, World, instant, triggers, wait_until};

const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";

/// The Deployment `shop` with `v1` as its first revision, made an hour ago.
async fn cluster() -> Arc<Kmock> {
    let kmock = Kmock::start();
    let an_hour_ago = clock::now() - Duration::from_secs(3600);
    kmock.create("deployments", &json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "shop", "namespace": "prod", "uid": "u-1", "generation": 1, "annotations": {REVISION: "1"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "shop"}}, "template": template("v1")},
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
    }))
    .await;
    make_replica_set(&kmock, 1, &template("v1"), an_hour_ago).await;
    Arc::new(kmock)
}

fn template(version: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "shop"}},
        "spec": {"containers": [{"name": "shop", "image": format!("r.test:5000/shop:{version}")}]},
    })
}

async fn make_replica_set(kmock: &Kmock, number: usize, template: &Value, at: Timestamp) {
    let mut hashed = template.clone();
    hashed["metadata"]["labels"]["pod-template-hash"] = json!(format!("hash-{number}"));
    // In whole seconds, as Kubernetes writes it.
    let at = at.floor(Duration::from_secs(1)).to_string();
    kmock.create("replicasets", &json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": format!("shop-{number}"), "namespace": "prod", "creationTimestamp": at,
            "annotations": {REVISION: number.to_string()}, "ownerReferences": [{"uid": "u-1", "controller": true}]},
        "spec": {"template": hashed},
    }))
    .await;
}

/// What a controller does about the Deployment until the test is over.
async fn control(kmock: Arc<Kmock>, production: impl AsyncFn(String)) {
    loop {
        let deployment = kmock.get("deployments/shop").await;
        let template = &deployment["spec"]["template"];
        let list = kmock.get("replicasets").await;
        let sets: Vec<(&Value, Value, usize)> = list["items"].as_array().unwrap().iter().map(revision).collect();
        let newest = sets.iter().max_by_key(|(_, _, number)| *number).unwrap();
        if &newest.1 != template {
            let number = newest.2 + 1;
            match sets.iter().find(|(_, known, _)| known == template) {
                Some((set, _, before)) => {
                    let name = format!("replicasets/{}", set["metadata"]["name"].as_str().unwrap());
                    let annotations = json!({REVISION: number.to_string(), HISTORY: before.to_string()});
                    kmock.merge(&name, &json!({"metadata": {"annotations": annotations}})).await;
                }
                None => make_replica_set(&kmock, number, template, clock::now()).await,
            }
            let condition = json!({"type": "Progressing", "lastUpdateTime": clock::now().to_string()});
            kmock.merge("deployments/shop", &json!({
                "metadata": {"annotations": {REVISION: number.to_string()}}, "status": {"conditions": [condition]},
            }))
            .await;
            let image = template["spec"]["containers"][0]["image"].as_str().unwrap();
            production(image.rsplit(':').next().unwrap().to_owned()).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A ReplicaSet, the pod template that it was made of, and its number.
fn revision(set: &Value) -> (&Value, Value, usize) {
    let mut template = set["spec"]["template"].clone();
    template["metadata"]["labels"].as_object_mut().unwrap().remove("pod-template-hash");
    (set, template, set["metadata"]["annotations"][REVISION].as_str().unwrap().parse().unwrap())
}

/// A config that watches the Deployment and goes back by an undo of it.
fn watching(world: &World, kmock: &Kmock) -> Plan {
    let mut plan = world.plan();
    plan.triggers([triggers::error_rate()]);
    plan.paths([json!({"name": "undo", "timeout": "20s", "kubernetes": {
        "namespace": "prod", "name": "shop", "url": kmock.url, "poll_interval": "200ms",
    }})]);
    plan.top("sources", json!({"kubernetes": {
        "url": kmock.url, "deployments": [{"service": SERVICE, "namespace": "prod", "name": "shop", "container": "shop"}],
    }}));
    plan
}

/// Waits until so many revisions came to this.
async fn revisions(world: &World, result: &str, count: usize) {
    let line = format!("rollbackd_source_events_total{{source=\"kubernetes\",result=\"{result}\"}} {count}\n");
    wait_until(&line, async || {
        let metrics = world.api().get("/metrics").await.body.as_str().unwrap_or_default().to_owned();
        if metrics.contains(&line) { Ok(()) } else { Err(metrics) }
    })
    .await;
}

/// Waits until so many looks, or more, came to this.
async fn revisions_at_least(world: &World, result: &str, count: u64) {
    let line = format!("rollbackd_source_events_total{{source=\"kubernetes\",result=\"{result}\"}} ");
    wait_until(&line, async || {
        let metrics = world.api().get("/metrics").await.body.as_str().unwrap_or_default().to_owned();
        let found = metrics.lines().find_map(|shown| shown.strip_prefix(&line)?.parse::<u64>().ok());
        if found.is_some_and(|found| found >= count) { Ok(()) } else { Err(metrics) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_revision_is_rolled_back_by_an_undo_that_is_no_deploy() {
    let kmock = cluster().await;
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {"error_ratio": 0.2}})).await;
    let plan = watching(&world, &kmock);
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    // What has served for longer than a watch when the daemon comes to know it is no deploy.
    revisions(&world, "ignored", 1).await;
    assert_eq!(world.view(SERVICE).await["watch"], json!(null));

    kmock.kubectl(&["set", "image", "deployment/shop", "shop=r.test:5000/shop:v2"]);
    let follow = async |version: String| world.production.deploy(SERVICE, &version, "kubernetes").await;
    let rolled_back = async {
        let receipt = world.receipt(1).await;
        assert_eq!((receipt.get("outcome"), receipt.get("path")), ("recovered", "undo"));
        assert_eq!((receipt.get("version"), receipt.get("target")), ("v2", "v1"));
        let made = kmock.get("replicasets/shop-2").await["metadata"]["creationTimestamp"].clone();
        assert_eq!(instant(&receipt, "deployed_at"), made.as_str().unwrap().parse().unwrap());

        // Revision 3, which is the first one's ReplicaSet again.
        revisions(&world, "known", 1).await;
        assert_eq!(world.view(SERVICE).await["watch"], json!(null));
        assert_eq!((world.receipts().len(), world.pipeline_runs().await), (1, vec!["v2".to_owned(), "v1".to_owned()]));
    };
    tokio::select! {
        () = rolled_back => {}
        () = control(Arc::clone(&kmock), follow) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_is_one_deploy_whoever_tells_of_it_and_a_restart_is_none() {
    let kmock = cluster().await;
    let mut world = World::start().await;
    let plan = watching(&world, &kmock);
    let mut before = plan.clone();
    before.top("sources", json!({}));
    world.run(&before).await;
    world.has_past(WINDOW).await;
    // A reload counts from the next look on.
    world.daemon().reload(&plan);
    revisions(&world, "ignored", 1).await;
    let follow = async |_version: String| {};
    let controller = tokio::spawn(control(Arc::clone(&kmock), follow));
    world.production.deploy(SERVICE, "v3", "test").await;
    kmock.kubectl(&["set", "image", "deployment/shop", "shop=r.test:5000/shop:v3"]);
    let view = world.view_until("v3 is watched", |view| view["watch"]["version"] == "v3").await;
    let deploy = view["watch"]["deploy"].clone();
    assert_eq!(view["target"], "v1", "the version of the revision before");

    // The pipeline tells of it when it is done, with an instant of its own.
    let told = json!({"service": SERVICE, "version": "v3", "at": clock::now().to_string(), "migration": true});
    let told = world.post("/v1/deploys", told).await;
    assert_eq!((told.status, &told.body["deploy"]), (200, &deploy), "{}", told.body);

    kmock.kubectl(&["rollout", "restart", "deployment/shop"]);
    revisions(&world, "known", 1).await;
    world.daemon().kill().await;
    world.daemon().start().await;
    revisions(&world, "known", 1).await;
    let view = world.view(SERVICE).await;
    assert_eq!((&view["watch"]["deploy"], &view["watch"]["version"]), (&deploy, &json!("v3")));
    controller.abort();

    kmock.kubectl(&["delete", "deployment", "shop", "--wait=false"]);
    let gone = "check that the Deployment prod/shop exists in this cluster";
    wait_until("its absence is said", async || {
        let log = world.api().log();
        if log.contains(gone) { Ok(()) } else { Err(log) }
    })
    .await;
    revisions_at_least(&world, "failed", 3).await;
    assert_eq!(world.api().log().matches(gone).count(), 1, "of what lasts the log tells once");
    assert_eq!(world.view(SERVICE).await["watch"]["deploy"], deploy);
}
