//! What must hold whatever happens: what is counted is what happened, and no secret is ever shown.
//!
//! Never trusts a single output: everything that the daemon writes or says is searched.

use serde_json::{Value, json};

use crate::world::{SERVICE, Script, Secrets, WINDOW, World, instant, triggers, wait_until};

#[tokio::test]
async fn the_metrics_count_what_happened() {
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {"error_ratio": 0.2}})).await;
    let mut plan = world.plan();
    let mut first = plan.pipeline(&world, &["--fail"]);
    first["name"] = json!("first");
    plan.paths([first, plan.pipeline(&world, &[])]);
    let mut trigger = triggers::error_rate();
    trigger["veto"] = json!("1s");
    plan.triggers([trigger]);
    world.run(&plan).await;
    world.pager.refuse(&[503]);
    world.has_past(WINDOW).await;
    world.deploy("v2", "v1").await;
    let receipt = world.receipt(1).await;
    world.view_until("the rollback is over", |view| view["last"] == "rolled_back").await;
    assert_eq!(world.post("/v1/reports", json!({})).await.status, 422);

    let expected = [
        "rollbackd_build_info{version=\"0.1.0\"} 1",
        "rollbackd_dry_run 0",
        "rollbackd_config_last_reload_successful 1",
        "rollbackd_journal_writable 1",
        "rollbackd_watches_open 0",
        "rollbackd_firings_open 0",
        "rollbackd_firings_total{service=\"capstone-api\",trigger=\"error-rate\"} 1",
        "rollbackd_attempts_total{service=\"capstone-api\",path=\"first\",outcome=\"failed\"} 1",
        "rollbackd_attempts_total{service=\"capstone-api\",path=\"pipeline\",outcome=\"succeeded\"} 1",
        "rollbackd_attempt_duration_seconds_count{service=\"capstone-api\",path=\"pipeline\"} 1",
        "rollbackd_receipts_total{outcome=\"recovered\"} 1",
        "rollbackd_recovery_duration_seconds_count{service=\"capstone-api\"} 1",
        "rollbackd_events_total{kind=\"deployed\"} 1",
        "rollbackd_events_total{kind=\"receipt_published\"} 1",
        // The page of the veto, refused once, and the word that it is over.
        "rollbackd_page_deliveries_total{pager=\"oncall\",result=\"delivered\"} 2",
        "rollbackd_page_deliveries_total{pager=\"oncall\",result=\"retry\"} 1",
        "rollbackd_pages_undelivered{pager=\"oncall\"} 0",
        "rollbackd_http_requests_total{route=\"/v1/deploys\",method=\"POST\",code=\"202\"} 1",
        "rollbackd_http_requests_total{route=\"/v1/reports\",method=\"POST\",code=\"422\"} 1",
    ];
    let text = wait_until("everything is counted", async || {
        let text = world.daemon().get("/metrics").await.body.as_str().unwrap_or_default().to_owned();
        let missing: Vec<_> = expected.iter().filter(|line| !text.lines().any(|each| each == **line)).collect();
        if missing.is_empty() { Ok(text) } else { Err(format!("{missing:#?} not in\n{text}")) }
    })
    .await;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
    };
    let recovery = value("rollbackd_recovery_duration_seconds_sum{service=\"capstone-api\"}");
    let told = instant(&receipt, "recovered_at").since(instant(&receipt, "observed_at")).as_secs_f64();
    assert!((recovery - told).abs() < 0.001, "counted {recovery}, told {told}");
    assert!(value("rollbackd_records_total") >= 10.0, "{text}");
    assert!(value("rollbackd_evaluations_total{answer=\"breach\"}") >= 1.0, "{text}");
    assert!(value("rollbackd_prometheus_queries_total{result=\"ok\"}") >= 1.0, "{text}");
}

#[tokio::test]
async fn a_deploy_during_a_watch_supersedes_it_and_goes_back_to_the_version_that_was_proven() {
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v3": {"error_ratio": 0.2}})).await;
    let plan = world.plan();
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    world.deploy("v2", "v1").await;
    world.trigger_until("error-rate", &["clear"]).await;
    // The version before is the one in between, which nobody has proven healthy.
    world.deploy("v3", "v2").await;
    assert_eq!(world.view(SERVICE).await["last"], "superseded");

    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("version"), receipt.get("target"), receipt.get("outcome")), ("v3", "v1", "recovered"));
    assert_eq!(world.pipeline_runs().await, ["v1"]);
}

#[tokio::test]
async fn no_secret_is_in_anything_that_the_daemon_writes_or_says() {
    everything_but_the_secrets_is_told("human").await;
}

#[tokio::test]
async fn no_secret_is_in_a_log_of_json_objects() {
    everything_but_the_secrets_is_told("json").await;
}

#[tokio::test]
async fn no_secret_is_in_a_log_of_pairs() {
    everything_but_the_secrets_is_told("logfmt").await;
}

async fn everything_but_the_secrets_is_told(log_format: &str) {
    let mut world = World::start().await;
    let secrets = Secrets::planted(&world);
    world.production.versions(SERVICE, json!({"v2": {"error_ratio": 0.2}})).await;
    // A dispatch that is refused, a command that prints its secret and fails, then one that works.
    world.github.script(Script { answer: 422, accepted: false, ..Script::fails() });
    let mut plan = world.plan();
    let place = |name: &str| json!(world.place(&format!("{name}-secret")));
    let shouts = "echo \"the secret is $PIPELINE_SECRET\"; echo \"again $PIPELINE_SECRET\" >&2; env; exit 3";
    let shouting = json!({
        "name": "shouting", "timeout": "10s",
        "command": {"run": ["sh", "-c", shouts], "secret_environment": {"PIPELINE_SECRET": place("command")}},
    });
    let mut pipeline = plan.pipeline(&world, &[]);
    let run = pipeline["command"].take();
    pipeline["command"] = json!({"run": run, "secret_environment": {"PIPELINE_SECRET": place("command")}});
    plan.paths([plan.github(&world), shouting, pipeline]);
    plan.top(
        "prometheus",
        json!({"url": world.prometheus.url(), "timeout": "2s", "bearer_token_file": place("prometheus"),
               "headers": {"X-Api-Key": secrets.get("header")}}),
    );
    let webhook = json!({"url": world.pager.url("/hook/page"), "bearer_token_file": place("pager")});
    plan.top("pagers", json!([{"name": "oncall", "webhook": webhook}]));
    plan.top(
        "tokens",
        json!([{"name": "test", "sha256": secrets.sha256("api"), "scopes": ["read", "deploy", "operate"]}]),
    );
    let mut trigger = triggers::error_rate();
    trigger["veto"] = json!("1s");
    plan.triggers([trigger]);
    world.pager.refuse(&[401, 500]);
    world.run_with(&plan, &["--log-level", "trace", "--log-format", log_format]).await;
    world.daemon().authorize(secrets.get("api"));
    world.has_past(WINDOW).await;
    world.deploy("v2", "v1").await;
    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("outcome"), receipt.get("path")), ("recovered", "pipeline"), "{}", receipt.body);
    world.view_until("the rollback is over", |view| view["last"] == "rolled_back").await;
    assert!(receipt.body.contains("the secret is"), "what the command printed is told: {}", receipt.body);

    let routes = ["/v1/services", "/v1/services/capstone-api", "/v1/firings", "/metrics", "/readyz", "/v1/nothing"]
        .map(str::to_owned);
    let firings = world.daemon().get("/v1/firings").await.json_of(200);
    let firing = firings[0]["id"].as_str().map(|id| format!("/v1/firings/{id}"));
    assert!(firing.is_some(), "{firings}");
    for route in routes.into_iter().chain(firing) {
        let answer = world.daemon().get(&route).await;
        secrets.assert_absent(&route, answer.body.to_string().as_bytes());
    }
    let wrong = world.daemon().send("/v1/services", |client, url| client.get(url).bearer_auth("wrong")).await;
    assert_eq!(wrong.status, 401);
    for arguments in
        [vec!["check", "--config", "rollbackd.yml"], vec!["check", "--online", "--config", "rollbackd.yml"]]
    {
        let said = world.daemon().command(&arguments).await;
        secrets.assert_absent(&arguments.join(" "), format!("{said:?}").as_bytes());
    }
    secrets.assert_absent("the pages", format!("{:?}", bodies(&world)).as_bytes());
    secrets.assert_absent("the log", world.daemon().log().as_bytes());
    assert!(secrets.assert_absent_below(&world.receipts_dir()) >= 3);
    assert!(secrets.assert_absent_below(&world.place("state")) >= 2);
    // The pager did get its token, so it was not absent for want of being used.
    assert!(world.pager.received().iter().all(|page| page.token.as_deref() == Some(secrets.get("pager"))));
    world.daemon().stop().await;
    secrets.assert_absent_below(&world.place("state"));
    secrets.assert_absent("the log after the end", world.daemon().log().as_bytes());
}

fn bodies(world: &World) -> Vec<Value> {
    world.pager.received().into_iter().map(|page| page.body).collect()
}
