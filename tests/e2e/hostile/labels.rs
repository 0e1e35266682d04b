//! A Prometheus whose labels and values were chosen by somebody who means harm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::world::{SERVICE, World, serve, triggers, wait_until};

/// Names that would be a way out of a folder, an argument, a query, a page or a line, if they were taken for names.
const POISON: [&str; 9] = [
    "../../../../etc/cron.d/x",
    "-rf",
    "$(touch /tmp/owned)",
    "v1\"} or vector(1) #",
    "{{ target.version }}",
    "<script>alert(1)</script>",
    "v1\n2026-11-24T00:00:00Z  INFO forged",
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "",
];

/// One series with this value at each point that was asked for.
fn series(labels: Value, form: &BTreeMap<String, String>, value: &str) -> Value {
    let number = |key: &str| form.get(key).and_then(|text| text.parse::<f64>().ok());
    let (Some(start), Some(end), Some(step)) = (number("start"), number("end"), number("step")) else {
        return json!({"metric": labels, "value": [number("time").unwrap_or_default(), value]});
    };
    let points = std::iter::successors(Some(start), |at| Some(at + step)).take_while(|at| *at <= end);
    json!({"metric": labels, "values": points.map(|at| json!([at, value])).collect::<Vec<_>>()})
}

/// Every service but ours is on fire; versions are whatever would do harm.
async fn lies(State(asked): State<Arc<AtomicUsize>>, body: String) -> Json<Value> {
    let form =
        reqwest::Url::parse(&format!("form:?{body}")).unwrap().query_pairs().into_owned().collect::<BTreeMap<_, _>>();
    asked.fetch_add(1, Ordering::Relaxed);
    let query = form.get("query").cloned().unwrap_or_default();
    let series: Vec<Value> = if query.contains("app_build_info") {
        let of = |text: &str| series(json!({"version": text, "revision": text, text: text}), &form, "1");
        POISON.iter().map(|text| of(text)).collect()
    } else {
        let poisoned =
            || POISON.iter().chain(&["capstone-api ", "CAPSTONE-API", "capstone-api\0", "capstone-api/../x"]);
        let big = |text: &str| json!({"service": text, "big": "x".repeat(100_000)});
        let others = poisoned().map(|text| series(big(text), &form, "1000"));
        // The mark that tells a trigger's queries apart is a label like any other.
        let marks = poisoned().map(|text| series(json!({"service": text, "rollbackd_query": text}), &form, "1000"));
        let total = series(json!({"service": SERVICE, "rollbackd_query": "total"}), &form, "1000");
        let bad = series(json!({"service": SERVICE}), &form, "0");
        others.chain(marks).chain([total, bad]).collect()
    };
    let kind = if form.contains_key("start") { "matrix" } else { "vector" };
    Json(json!({"status": "success", "data": {"resultType": kind, "result": series}}))
}

#[tokio::test]
async fn a_poisoned_label_names_no_service_no_version_and_no_file() {
    let mut world = World::start().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let (liar, _liar) = serve(Router::new().fallback(lies).with_state(Arc::clone(&asked))).await;
    let mut plan = world.plan();
    plan.top("prometheus", json!({"url": liar, "timeout": "2s"}));
    plan.triggers([triggers::smoke_test()]);
    plan.top("triggers", json!([triggers::shared_error_rate()]));
    world.run(&plan).await;
    let deploy = json!({"service": SERVICE, "version": "v2"});
    world.post("/v1/deploys", deploy).await.text_of(202, "deploy");
    world.trigger_until("error-rate", &["clear"]).await;
    let before = asked.load(Ordering::Relaxed);
    wait_until("it has looked ten times more", async || {
        let more = asked.load(Ordering::Relaxed) - before;
        if more >= 20 { Ok(()) } else { Err(more.to_string()) }
    })
    .await;
    let view = world.view(SERVICE).await;
    assert_eq!((&view["target"], &view["running"]), (&Value::Null, &json!("v2")), "{view}");
    assert_eq!(world.daemon().get("/v1/firings").await.json_of(200), json!([]));

    // Nothing was named that could be returned to, so a report pages and runs nothing.
    world.report("smoke-test").await;
    world.page("held").await;
    assert!(world.pipeline_runs().await.is_empty());
    let log = world.daemon().log();
    let metrics = world.daemon().get("/metrics").await.body.to_string();
    for text in POISON.iter().filter(|text| text.len() > 3) {
        assert!(!metrics.contains(text), "{text:?} is a label of ours: {metrics}");
        assert!(!log.contains(text), "{text:?} is in the log: {log}");
    }
    let known = ["journal.db", "journal.db-wal", "journal.db-shm", "journal.acknowledged", "lock", "attempts"];
    for entry in std::fs::read_dir(world.place("state")).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(known.iter().any(|known| *known == name), "{name:?} in the state folder");
    }
}
