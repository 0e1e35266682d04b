//! Rehearsals from outside: the command, the daemon's real machinery, a pipeline, and a Prometheus that sees it all.
//!
//! Never takes the daemon's word for what serves: production is asked.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::world::{Plan, SERVICE, Script, WINDOW, World, triggers, wait_until};

/// v1 has passed its watch; v13 fails one request of five, v3 does no harm that any trigger sees.
async fn healthy(rehearsal: Value, plan: impl FnOnce(&World, &mut Plan)) -> World {
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v13": {"error_ratio": 0.2}})).await;
    let mut written = world.plan();
    written.service("watch", json!("12s"));
    written.service("rehearsal", rehearsal);
    plan(&world, &mut written);
    world.run(&written).await;
    world.has_past(WINDOW).await;
    world.deploy("v1", "v0").await;
    world.view_until("v1 has passed", |view| view["last"] == "passed" && view["watch"].is_null()).await;
    world
}

fn monthly() -> Value {
    json!({"deploy_bad": "pipeline", "every": "30d"})
}

async fn serves(world: &World, version: &str) {
    wait_until(&format!("{version} serves"), async || {
        let deploys = world.production.deploys().await;
        let last = deploys.last().map(|deploy| deploy["version"].clone()).unwrap_or_default();
        if last == version { Ok(()) } else { Err(last.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_rehearsal_is_shown_recorded_and_told_in_a_receipt_of_its_own_kind() {
    let mut world = healthy(monthly(), |_, _| {}).await;
    let arguments = ["rehearse", SERVICE, "--bad", "v13", "--yes", "--witness", "Ada L.", "--record", "rehearsal.cast"];
    let said = world.daemon().command(&arguments).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    for step in ["deploying", "serving", "observed", "path pipeline started", "recovered on v1 in"] {
        assert!(said.out.contains(step), "{step} is missing: {}", said.out);
    }
    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("kind"), receipt.get("outcome")), ("rehearsal", "recovered"));
    assert_eq!((receipt.get("trigger"), receipt.get("within_budget")), ("error-rate", "true"));
    assert!(receipt.body.contains("the witness was `Ada L.`"), "{}", receipt.body);
    assert_eq!(world.pipeline_runs().await, ["v13", "v1"]);
    assert!(world.pager.taken().is_empty(), "nobody was needed");

    let cast = std::fs::read_to_string(world.place("rehearsal.cast")).unwrap();
    let mut lines = cast.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    assert_eq!(lines.next().unwrap()["version"], 2);
    let shown: String = lines.map(|event| event[2].as_str().unwrap_or_default().replace("\r\n", "\n")).collect();
    assert_eq!(shown, said.out, "what was recorded is what was shown");

    let view = world.view(SERVICE).await;
    let known = &view["paths"][0]["rehearsed"];
    assert_eq!((&known["in_a_row"], &known["changed"], &known["receipt"]), (&json!(1), &json!(false), &json!(1)));
    world.receipts_are_whole().await;
}

#[tokio::test]
async fn ctrl_c_brings_the_good_version_back_and_the_command_shows_it_to_the_end() {
    let mut world = healthy(monthly(), |_, _| {}).await;
    let mut command = world.daemon().spawn_command(&["rehearse", SERVICE, "--bad", "v3", "--yes"]);
    world.view_until("v3 is watched", |view| view["rehearsal"]["state"] == "watching").await;
    serves(&world, "v3").await;
    let id = i32::try_from(command.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), Signal::INT).unwrap();
    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("kind"), receipt.get("trigger")), ("rehearsal", "rehearsal"));
    assert_eq!(receipt.get("outcome"), "recovered");
    let status = command.wait().await.unwrap();
    assert_eq!(status.code(), Some(1), "no trigger saw it: that was no clean rehearsal");
    let mut out = String::new();
    command.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
    assert!(out.contains("stopping") && out.contains("NO TRIGGER SAW"), "{out}");
    serves(&world, "v1").await;
}

#[tokio::test]
async fn a_bad_version_that_no_trigger_sees_goes_when_its_time_is_over() {
    let rehearsal = json!({"deploy_bad": "pipeline", "every": "30d", "timeout": "3s"});
    let mut world = healthy(rehearsal, |_, _| {}).await;
    let said = world.daemon().command(&["rehearse", SERVICE, "--bad", "v3", "--yes", "--json"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("no trigger has fired within 3s"), "with --json the steps are for people: {said:?}");
    let told: Value = serde_json::from_str(&said.out).expect("JSON alone on stdout");
    assert_eq!((&told["rehearsal"]["end"], &told["clean"]), (&json!("recovered"), &json!(false)));
    assert_eq!((&told["firing"]["trigger"], &told["firing"]["outcome"]), (&json!("rehearsal"), &json!("recovered")));
    serves(&world, "v1").await;
    assert_eq!(world.view(SERVICE).await["last"], "rolled_back");
}

#[tokio::test]
async fn a_daemon_killed_while_it_deploys_the_bad_version_goes_on_with_that_run() {
    let mut world = healthy(json!({"deploy_bad": "github", "every": "30d"}), |world, plan| {
        world.github.script(Script::succeeds().held());
        plan.paths([plan.pipeline(world, &[]), plan.github(world)]);
    })
    .await;
    let asked = world.post(&format!("/v1/services/{SERVICE}/rehearse"), json!({"bad": "v13"})).await;
    let id = asked.text_of(202, "rehearsal");
    wait_until("the pipeline was dispatched", async || match world.github.dispatches().len() {
        0 => Err("no dispatch".to_owned()),
        _ => Ok(()),
    })
    .await;
    world.daemon().kill().await;
    world.daemon().start().await;
    world.github.release();
    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("kind"), receipt.get("outcome")), ("rehearsal", "recovered"));
    assert_eq!(world.github.dispatches().len(), 1, "never deployed twice");
    let view = world.view(SERVICE).await;
    assert_eq!((&view["rehearsal"]["id"], &view["rehearsal"]["end"]), (&json!(id), &json!("recovered")));
    serves(&world, "v1").await;
}

#[tokio::test]
async fn a_daemon_killed_while_the_bad_version_serves_goes_on_to_bring_the_good_one_back() {
    let mut world = healthy(monthly(), |_, _| {}).await;
    world.post(&format!("/v1/services/{SERVICE}/rehearse"), json!({"bad": "v13"})).await.text_of(202, "rehearsal");
    world.view_until("v13 is watched", |view| view["rehearsal"]["state"] == "watching").await;
    world.daemon().kill().await;
    world.daemon().start().await;
    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("kind"), receipt.get("trigger")), ("rehearsal", "error-rate"));
    serves(&world, "v1").await;
}

#[tokio::test]
async fn what_speaks_against_a_rehearsal_refuses_it_and_nothing_is_deployed() {
    let mut world = healthy(monthly(), |_, plan| {
        plan.triggers([triggers::error_rate(), triggers::login_broken()]);
    })
    .await;
    let rehearse = format!("/v1/services/{SERVICE}/rehearse");
    let no_version = world.post(&rehearse, json!({"bad": "v1; reboot"})).await;
    assert_eq!(no_version.status, 422, "{no_version:?}");
    for (before, body, why) in [
        (None, json!({"bad": "v1"}), "serves already"),
        (Some(("freeze", json!({"for": "1h", "why": "stocktaking"}))), json!({"bad": "v13"}), "frozen"),
        (Some(("thaw", json!({}))), json!({"bad": "v1"}), "serves already"),
    ] {
        if let Some((action, body)) = before {
            world.post(&format!("/v1/services/{SERVICE}/{action}"), body).await;
        }
        let refused = world.post(&rehearse, body).await;
        assert!(refused.body["detail"].as_str().unwrap_or_default().contains(why), "{refused:?}");
        assert_eq!(refused.status, 409, "{refused:?}");
    }
    let nothing = world.post(&format!("/v1/services/{SERVICE}/rehearsal/stop"), json!({})).await;
    assert_eq!(nothing.status, 409, "{nothing:?}");
    let report = world.post("/v1/reports", json!({"service": SERVICE, "trigger": "login-broken"})).await;
    assert_eq!(report.status, 202, "{report:?}");
    let said = world.daemon().command(&["rehearse", SERVICE, "--bad", "v13", "--yes"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("is not healthy"), "{said:?}");
    assert!(world.pipeline_runs().await.is_empty());
}

#[tokio::test]
async fn nobody_rehearses_by_mistake() {
    let mut world = World::start().await;
    let plan = world.plan();
    world.run(&plan).await;
    let said = world.daemon().command(&["rehearse", SERVICE, "--bad", "v13"]).await;
    assert_eq!(said.code, Some(2), "stdin is no terminal: {said:?}");
    assert!(said.err.contains("--yes"), "{said:?}");
    let said = world.daemon().command(&["rehearse", SERVICE, "--bad", "v13", "--yes"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("has no `rehearsal:"), "{said:?}");
}
