//! `check` against what there is: requests in a real Prometheus that no side effect counts, budgets that past runs missed.

#![expect(clippy::unwrap_used, reason = "in a test, the helpers as well, a panic is the message")]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use rollbackd::edges::Edges;
use rollbackd::journal::{Journal, OffThread};
use rollbackd::machine::Machine;
use rollbackd::metrics::Metrics;
use rollbackd::outside::InForce;
use rollbackd_core::deploy::Migration;
use rollbackd_core::event::{DeployReport, Event, Happening, Reply, Serving};
use rollbackd_core::name::{Commit, ServiceName, TriggerName, Version};
use rollbackd_core::state::State;
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// What client libraries of several kinds show of one service.
const METRICS: &str = r#"
http_requests_total{service="shop",method="POST",handler="/payments",code="200"} 7
http_requests_total{service="shop",method="POST",handler="/refunds",code="200"} 7
http_requests_total{service="shop",method="GET",handler="/goods",code="200"} 7
http_requests_total{service="other",method="POST",handler="/elsewhere",code="200"} 7
http_server_requests_seconds_count{service="shop",method="put",uri="/orders/{id}",status="204"} 7
http_server_request_duration_seconds_count{service="shop",http_request_method="DELETE",http_route="/baskets/:id"} 7
http_requests_in_flight{service="shop",method="POST"} 1
"#;

struct Prometheus {
    process: Child,
    url: String,
    _dir: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    /// A real one that scrapes these metrics each second and has done so once.
    async fn of(metrics: &'static str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let routes = Router::new().route("/metrics", get(async move || metrics));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let dir = tempfile::tempdir().unwrap();
        let config = json!({"global": {"scrape_interval": "1s"}, "scrape_configs": [
            {"job_name": "shop", "static_configs": [{"targets": [target.to_string()]}]}]});
        fs::write(dir.path().join("prometheus.yml"), config.to_string()).unwrap();
        // Prometheus can't say which port it got where it is given 0.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let process = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{error}; scripts/install-dependencies installs Prometheus"));
        let prometheus = Self { process, url, _dir: dir };
        let ends = Instant::now() + PATIENCE;
        while !prometheus.has_scraped().await {
            assert!(Instant::now() < ends, "Prometheus has not scraped");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        prometheus
    }

    async fn has_scraped(&self) -> bool {
        let asked = reqwest::get(format!("{}/api/v1/query?query=http_requests_in_flight", self.url)).await;
        let Ok(answer) = asked else { return false };
        let body: Value = answer.json().await.unwrap_or_default();
        body["data"]["result"].as_array().is_some_and(|result| !result.is_empty())
    }
}

fn config(dir: &Path, prometheus: &str, side_effects: &Value) -> Value {
    json!({
        "prometheus": {"url": prometheus},
        "receipts_dir": dir.join("receipts"),
        "state_dir": dir.join("state"),
        "pagers": [{"name": "oncall", "webhook": {"url": "http://127.0.0.1:9/"}}],
        "services": [{
            "name": "shop", "page": ["oncall"], "version_query": "build_info",
            "triggers": [
                {"name": "smoke-test", "observed": "report", "budget": "3m"},
                {"name": "login-broken", "observed": "report", "budget": "10m"},
            ],
            "paths": [{"name": "pipeline", "timeout": "2m", "command": ["true"]}],
            "side_effects": side_effects,
        }],
    })
}

async fn check(dir: &Path, config: &Value, arguments: &[&str]) -> (i32, String) {
    fs::write(dir.join("rollbackd.yml"), config.to_string()).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rollbackd"));
    command.args(["check", "--config", "rollbackd.yml"]).args(arguments).env_clear().current_dir(dir);
    let ran = command.output().await.unwrap();
    (ran.status.code().unwrap(), String::from_utf8(ran.stdout).unwrap() + &String::from_utf8(ran.stderr).unwrap())
}

#[tokio::test]
async fn what_changes_something_and_is_in_no_side_effect_is_listed() {
    let prometheus = Prometheus::of(METRICS).await;
    let dir = tempfile::tempdir().unwrap();
    let payments = json!([
        {"name": "payments", "compensate": "void them",
         "count": "sum(increase(http_requests_total{service=\"shop\",handler=\"/payments\"}[{{ bad_window }}]))"},
        {"name": "orders", "compensate": "cancel them",
         "count": "sum(increase(http_server_requests_seconds_count{uri=~\"/orders/.*\",method=\"put\"}[{{ bad_window }}]))"},
        {"name": "mails", "compensate": "write again", "count": "sum(increase(mails_total[{{ bad_window }}]))"},
    ]);
    let (code, told) = check(dir.path(), &config(dir.path(), &prometheus.url, &payments), &["--online"]).await;
    assert_eq!(code, 0, "{told}");
    for expected in [
        "shop side effects: warning: DELETE /baskets/:id is in the metrics and in no side effect\n",
        "shop side effects: warning: POST /refunds is in the metrics and in no side effect\n",
        "shop side effect mails count: warning: empty now: nothing of the kind happened in the last hour",
    ] {
        assert!(told.contains(expected), "{expected}\nin\n{told}");
    }
    for counted in ["/payments is", "/orders/{id} is", "/goods", "/elsewhere"] {
        assert!(!told.contains(counted), "{counted}\nin\n{told}");
    }
    let (_, told) = check(dir.path(), &config(dir.path(), &prometheus.url, &payments), &["--online", "--json"]).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        told["side_effects"],
        json!([{"service": "shop", "uncounted": ["DELETE /baskets/:id", "POST /refunds"]}])
    );

    let none = config(dir.path(), &prometheus.url, &json!("none"));
    let (code, told) = check(dir.path(), &none, &["--online"]).await;
    assert_eq!(code, 0);
    assert!(!told.contains("side effects: "), "said on purpose: {told}");
}

#[tokio::test]
async fn a_prometheus_that_does_not_answer_is_an_error_and_not_an_empty_list() {
    let dir = tempfile::tempdir().unwrap();
    let effects = json!([{"name": "mails", "compensate": "write again", "count": "sum(mails_total)"}]);
    let (code, told) = check(dir.path(), &config(dir.path(), "http://127.0.0.1:9", &effects), &["--online"]).await;
    assert_eq!(code, 1);
    assert!(told.contains("shop side effects: error: "), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_tells_the_compensating_action_with_all_that_it_names() {
    rollbackd::http_client::install_crypto();
    let dir = tempfile::tempdir().unwrap();
    let effects = json!([{"name": "mails", "count": "sum(mails_total)", "compensate":
        "undo {{ service }} {{ deploy.version }} {{ deploy.commit }} {{ target.version }} {{ target.revision }}"}]);
    let mut plan = config(dir.path(), "http://127.0.0.1:9", &effects);
    plan["services"][0]["triggers"][1]["action"] = json!("page");
    plan["services"][0]["watch"] = json!("2s");
    fs::write(dir.path().join("rollbackd.yml"), plan.to_string()).unwrap();
    let loaded = rollbackd::config::load(&dir.path().join("rollbackd.yml"));
    let settings = loaded.unwrap_or_else(|error| panic!("{}", rollbackd::config::explain(&error))).settings;
    fs::create_dir(&settings.state_dir).unwrap();
    let (journal, _) = Journal::open(&settings.state_dir).unwrap();
    let edges = InForce::new(Edges::open(settings).unwrap());
    let store = Box::new(OffThread::new(journal));
    let machine = Machine::start(&edges, store, State::default(), &Arc::new(Metrics::new("test")), || {});
    let ask = async |what| machine.door.ask(Event { service: ServiceName::new("shop").unwrap(), what }).await.unwrap();
    let version = |name: &str| Version::new(name).unwrap();
    let deploy = |name: &str, previous: Option<&str>| {
        Happening::Deployed(DeployReport {
            version: version(name),
            previous: previous.map(version),
            commit: Some(Commit::new("abc1234").unwrap()),
            migration: Migration::None,
            run_url: None,
            at: None,
            key: None,
        })
    };
    let _ = ask(deploy("v1", None)).await;
    let shared = Arc::clone(&machine.door.shared);
    let watched = || shared.state().services.values().any(|own| own.watch.is_some());
    let ends = Instant::now() + PATIENCE;
    while watched() {
        assert!(Instant::now() < ends, "the watch of v1 does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let _ = ask(deploy("v2", Some("v1"))).await;
    let trigger = TriggerName::new("login-broken").unwrap();
    let Reply::Firing(firing) = ask(Happening::Reported { trigger, note: None, about: Default::default() }).await
    else {
        panic!("no firing");
    };
    let at = rollbackd::clock::now();
    let serving = Serving {
        version: version("v1"),
        revision: Some("shop-00041".to_owned()),
        since: at - Duration::from_hours(1),
    };
    let _ = ask(Happening::ServingRead { serving: Some(serving), at }).await;
    let _ = ask(Happening::Dismissed { firing, why: "a test".to_owned() }).await;
    let receipt = dir.path().join("receipts/001.json");
    let ends = Instant::now() + PATIENCE;
    while !receipt.exists() {
        assert!(Instant::now() < ends, "no receipt");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told: Value = serde_json::from_str(&fs::read_to_string(receipt).unwrap()).unwrap();
    assert_eq!(told["side_effects"][0]["compensate"], "undo shop v2 abc1234 v1 shop-00041");
    machine.stop.cancel();
}

/// A receipt as far as past runs are read from it.
fn receipt(dir: &Path, number: usize, kind: &str, path: &str, result: &str, total: Option<f64>) {
    let receipts = dir.join("receipts");
    fs::create_dir_all(&receipts).unwrap();
    let attempt = json!({"path": path, "definition": [], "started_at": "2026-10-01T10:02:00.000Z",
                         "ended_at": "2026-10-01T10:03:00.000Z", "result": result});
    let json = json!({"kind": kind, "service": "shop", "total_seconds": total, "attempts": [attempt]});
    fs::write(receipts.join(format!("{number:03}.json")), json.to_string()).unwrap();
    fs::write(receipts.join(format!("{number:03}.md")), "").unwrap();
}

#[tokio::test]
async fn a_budget_that_the_preferred_path_missed_in_over_one_of_ten_runs_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let plan = config(dir.path(), "http://127.0.0.1:9", &json!("none"));
    let (_, told) = check(dir.path(), &plan, &[]).await;
    assert!(!told.contains("missed"), "without receipts there is nothing to say: {told}");
    for number in 1..=9 {
        receipt(dir.path(), number, "rehearsal", "pipeline", "succeeded", Some(100.0));
    }
    receipt(dir.path(), 10, "incident", "pipeline", "succeeded", Some(200.0));
    receipt(dir.path(), 11, "incident", "console", "succeeded", Some(9000.0));
    let (_, told) = check(dir.path(), &plan, &[]).await;
    assert!(!told.contains("missed"), "one of ten is a bad day, and another path's runs are not its: {told}");

    receipt(dir.path(), 12, "incident", "pipeline", "failed", Some(250.0));
    let (code, told) = check(dir.path(), &plan, &[]).await;
    assert_eq!(code, 0, "a warning: {told}");
    let expected = "rollbackd.yml: warning: service shop, trigger smoke-test: path pipeline missed its budget of 3m in 2 of 11 \
                    runs (incidents and rehearsals, from observed to recovered); by these the next takes 1m ";
    assert!(told.contains(expected), "{told}");
    assert!(!told.contains("login-broken"), "1 of 11 missed its 10m: {told}");
    fs::write(dir.path().join("receipts/013.json"), "damaged").unwrap();
    fs::write(dir.path().join("receipts/013.md"), "").unwrap();
    assert!(check(dir.path(), &plan, &[]).await.1.contains(expected), "a receipt that can't be read tells nothing");
}
