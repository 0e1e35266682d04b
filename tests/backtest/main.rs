//! `rollbackd backtest` as people run it: the binary, a real Prometheus with a month of history, and deploys of which is
//! known what they did.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy sees only in the tests themselves")]

mod history;
#[path = "../edges/world.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod world;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use rollbackd_core::deploy::{Deploy as Told, Migration};
use rollbackd_core::name::{DeployId, Version};
use rollbackd_core::record::{LedgerRecord, Record};
use rollbackd_core::time::Timestamp;
use serde_json::Value;

use history::{Deploy, Trouble, slot};
use world::Program;

const DAY: i64 = 86_400;

/// The reference list, with this Prometheus and these folders.
fn config(dir: &Path, prometheus: &str) -> String {
    let text = fs::read_to_string("config/rollbackd.yml").unwrap();
    let text = text.replace("http://127.0.0.1:9090", prometheus);
    text.replace("/var/lib/rollbackd", &dir.join("state").display().to_string())
}

/// A month that ends now, in which each deploy does what its name says.
struct Month {
    dir: tempfile::TempDir,
    deploys: Vec<Deploy>,
}

impl Month {
    fn new() -> Self {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let begin = slot(now) - 29 * DAY;
        let day = |day: i64| begin + day * DAY;
        let deploys = vec![
            Deploy::new(day(1), "v2-good", &[]),
            Deploy::new(day(4), "v3-fails", &[Trouble::Fail(0, 1200, 300)]),
            Deploy::new(day(4) + 1200, "v2-good", &[]),
            Deploy::new(day(8), "v4-slow", &[Trouble::Slow(0, 100_000, 300)]),
            Deploy::new(day(12), "v5-blip", &[Trouble::Fail(600, 645, 400)]),
            Deploy::new(day(16), "v6-bad-before", &[Trouble::Fail(-600, 1800, 300)]),
            Deploy::new(day(20), "v7-fails-little", &[Trouble::Fail(0, 3000, 70)]),
            Deploy::new(day(24), "v8-unseen", &[Trouble::Gap(300, 900)]),
        ];
        let dir = tempfile::tempdir().unwrap();
        history::write(&dir.path().join("history.om"), begin, slot(now), &deploys);
        fs::create_dir(dir.path().join("state")).unwrap();
        Self { dir, deploys }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn deploy(&self, version: &str) -> &Deploy {
        self.deploys.iter().find(|deploy| deploy.version == version).unwrap()
    }

    fn incidents(&self) {
        let incident = |version: &str, minutes: i64, note: &str| {
            let at = self.deploy(version).at;
            let instant = |second: i64| Timestamp::from_milliseconds(second * 1000);
            let (from, to) = (instant(at), instant(at + minutes * 60));
            format!("- {{service: capstone-api, from: {from}, to: {to}, note: {note}}}\n")
        };
        let incidents = [
            incident("v3-fails", 20, "payments failed"),
            incident("v7-fails-little", 60, "some <logins> failed"),
            incident("v2-good", 10, "the network was away"),
        ];
        fs::write(self.path().join("incidents.yml"), incidents.concat()).unwrap();
    }

    fn serve(&self, arguments: &[&str]) -> Program {
        let program = history::serve(self.path(), arguments);
        fs::write(self.path().join("rollbackd.yml"), config(self.path(), &program.url())).unwrap();
        program
    }

    fn backtest(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollbackd"));
        command.current_dir(self.path()).args(["backtest", "--config", "rollbackd.yml"]).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "no bar where nobody looks: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.backtest(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// One trigger of one list's outcome.
fn trigger<'a>(outcome: &'a Value, name: &str) -> &'a Value {
    let triggers = outcome["services"][0]["triggers"].as_array().unwrap();
    triggers.iter().find(|trigger| trigger["trigger"] == name).unwrap()
}

/// What a trigger would have fired on: version, seconds after the deploy, seconds that the breach lasted, whether it
/// was still breaching.
fn fired(outcome: &Value, name: &str) -> Vec<(String, f64, f64, bool)> {
    let told = |firing: &Value| {
        let text = firing["version"].as_str().unwrap().to_owned();
        let number = |key: &str| firing[key].as_f64().unwrap();
        (text, number("after_seconds"), number("lasted_seconds"), firing["still_breaching"].as_bool().unwrap())
    };
    trigger(outcome, name)["firings"].as_array().unwrap().iter().map(told).collect()
}

#[test]
fn it_says_which_trigger_would_have_fired_when_on_known_deploys() {
    let month = Month::new();
    let _prometheus = month.serve(&[]);
    month.incidents();
    let found = month.json(&["--since", "30d", "--incidents", "incidents.yml"]);
    let own = &found["own"];

    let deploys: Vec<(&str, &str)> = own["services"][0]["deploys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|deploy| (deploy["version"].as_str().unwrap(), deploy["at"].as_str().unwrap()))
        .collect();
    let expected: Vec<(String, String)> =
        month.deploys.iter().map(|deploy| (deploy.version.clone(), deploy.seen_at())).collect();
    assert_eq!(deploys, expected.iter().map(|(version, at)| (version.as_str(), at.as_str())).collect::<Vec<_>>());

    // 30 % failing is above 5 % of a minute after one scrape, 7 % after three; then two minutes.
    assert_eq!(
        fired(own, "error-rate"),
        [("v3-fails".to_owned(), 135.0, 1230.0, false), ("v7-fails-little".to_owned(), 165.0, 2970.0, false),]
    );
    assert_eq!(fired(own, "p99-latency"), [("v4-slow".to_owned(), 315.0, 3885.0, true)]);
    let first = &trigger(own, "error-rate")["firings"][0];
    assert_eq!(first["would"], "roll back to v2-good by pipeline");
    assert_eq!((&first["in_incident"], first["limit"].as_f64()), (&Value::Bool(true), Some(0.05)));
    assert_eq!(trigger(own, "p99-latency")["outside_incidents"], 1);
    assert_eq!(trigger(own, "error-rate")["outside_incidents"], 0);
    assert_eq!(trigger(own, "error-rate")["disarmed"], 1, "v6 was deployed while it was failing already (R5)");
    assert_eq!(trigger(own, "smoke-test")["replayed"], false);

    // What is not scraped is blind for the latency, and too little traffic for the ratio that asks for some.
    assert_eq!(trigger(own, "p99-latency")["blind_seconds"].as_f64(), Some(585.0));
    assert_eq!(trigger(own, "error-rate")["blind_seconds"].as_f64(), Some(0.0));
    assert_eq!(trigger(own, "error-rate")["low_traffic_seconds"].as_f64(), Some(585.0));

    let ends: Vec<&Value> = own["services"][0]["deploys"].as_array().unwrap().iter().map(|each| &each["end"]).collect();
    assert_eq!(ends[0], "passed");
    assert_eq!(own["services"][0]["deploys"][2]["watched"], false, "the return to v2 opens no watch (R4)");

    let incidents = own["services"][0]["incidents"].as_array().unwrap();
    let in_incidents: Vec<&Value> = incidents.iter().map(|incident| &incident["fired"]).collect();
    assert_eq!(serde_json::json!(in_incidents), serde_json::json!([["error-rate"], ["error-rate"], []]));

    let sweep = |name: &str| -> Vec<(String, u64, f64)> {
        let rows = trigger(own, name)["sweep"].as_array().unwrap();
        let row = |row: &Value| {
            let limit = row["limit"].as_str().unwrap().to_owned();
            (limit, row["fired"].as_u64().unwrap(), row["missed_incidents"].as_f64().unwrap())
        };
        rows.iter().map(row).collect()
    };
    assert_eq!(
        sweep("error-rate"),
        [("> 3 %".to_owned(), 2, 1.0), ("> 5 %".to_owned(), 2, 1.0), ("> 8 %".to_owned(), 1, 2.0),]
    );
    assert_eq!(sweep("p99-latency").iter().map(|row| row.1).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn a_server_that_allows_few_samples_is_asked_in_parts_and_says_the_same() {
    let month = Month::new();
    let all = month.serve(&[]);
    let expected = month.json(&["--since", "30d"]);
    drop(all);
    // One of the ranges that are asked for loads about twice this many.
    let few = month.serve(&["--query.max-samples=1500"]);
    let query = "sum by (le) (rate(http_request_duration_seconds_bucket[1m]))";
    let at = month.deploy("v4-slow").at;
    let ask = format!("{}/api/v1/query_range?query={query}&start={at}&end={}&step=15", few.url(), at + 7200);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(async { reqwest::get(&ask).await.unwrap().text().await.unwrap() });
    assert!(refused.contains("too many samples"), "{refused}");
    let told = |found: &Value| (fired(&found["own"], "error-rate"), fired(&found["own"], "p99-latency"));
    let found = month.json(&["--since", "30d"]);
    assert_eq!(told(&found), told(&expected));
    assert_eq!(found["own"]["services"][0]["deploys"], expected["own"]["services"][0]["deploys"]);
}

#[test]
fn two_lists_stand_side_by_side() {
    let month = Month::new();
    let _prometheus = month.serve(&[]);
    let text = fs::read_to_string(month.path().join("rollbackd.yml")).unwrap();
    fs::write(month.path().join("lax.yml"), text.replace("above: 5%", "above: 8%")).unwrap();
    let found = month.json(&["--against", "lax.yml"]);
    assert_eq!(fired(&found["own"], "error-rate").len(), 2);
    let versions = |outcome: &Value| fired(outcome, "error-rate").into_iter().map(|each| each.0).collect::<Vec<_>>();
    assert_eq!(versions(&found["against"]), ["v3-fails"]);
    let text = String::from_utf8(month.backtest(&["--against", "lax.yml"]).stdout).unwrap();
    let row = text.lines().find(|line| line.contains("v7-fails-little") && line.contains("nothing")).unwrap();
    assert!(row.contains("error-rate"), "{row}");
}

#[test]
fn a_time_without_deploys_and_a_page_that_can_not_be_written_are_told() {
    let month = Month::new();
    let _prometheus = month.serve(&[]);
    let text = String::from_utf8(month.backtest(&["--since", "1h"]).stdout).unwrap();
    assert!(text.contains("0 deploys") && text.contains("No deploy is known of this time"), "{text}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollbackd"));
    command.current_dir(month.path()).args(["backtest", "--config", "rollbackd.yml", "--html", "nowhere/page.html"]);
    let output = command.output().unwrap();
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("v7-fails-little"), "what was found is printed all the same: {text}");
    assert!(error.contains("nowhere/page.html can't be written"), "{error}");
}

#[test]
fn the_page_stands_alone_and_holds_nothing_that_is_not_escaped() {
    let month = Month::new();
    let _prometheus = month.serve(&[]);
    month.incidents();
    let found = month.backtest(&["--incidents", "incidents.yml", "--html", "backtest.html"]);
    let text = String::from_utf8(found.stdout).unwrap();
    assert!(text.contains("capstone-api: 8 deploys"), "{text}");
    let page = fs::read_to_string(month.path().join("backtest.html")).unwrap();
    assert!(page.contains("some &lt;logins&gt; failed") && !page.contains("<logins>"));
    assert!(
        !page.contains("<script") && !page.contains("src=") && !page.contains("@import"),
        "nothing is fetched or run"
    );
    assert_eq!(page.matches("<figure>").count(), 3, "a picture of each firing");
}

/// The deploys that a daemon was told of, as its journal holds them.
fn journal(dir: &Path, deploys: &[(&Deploy, i64)]) {
    let (mut journal, _) = rollbackd::journal::Journal::open(&dir.join("state")).unwrap();
    for (sequence, (deploy, late)) in (0..).zip(deploys) {
        let at = Timestamp::from_milliseconds(deploy.at * 1000);
        let told = Told {
            id: DeployId::new(format!("capstone-api-d-{sequence}")).unwrap(),
            version: Version::new(deploy.version.clone()).unwrap(),
            previous: None,
            commit: None,
            migration: Migration::Breaking,
            run_url: None,
            at,
            reported_at: Timestamp::from_milliseconds((deploy.at + late) * 1000),
            key: None,
            rehearsal: false,
            seen: false,
        };
        let record = Record::Ledger(LedgerRecord::Deployed { deploy: told, end: None, running: true });
        let body = serde_json::to_string(&record).unwrap();
        journal.append("capstone-api", sequence, at, &[body]).unwrap();
    }
}

#[test]
fn the_journal_is_read_beside_a_daemon_that_has_it_and_its_deploys_come_first() {
    let month = Month::new();
    let _prometheus = month.serve(&[]);
    let state = month.path().join("state");
    journal(month.path(), &[(month.deploy("v6-bad-before"), 0), (month.deploy("v7-fails-little"), 4)]);
    let held = rollbackd::state_dir::StateDir::claim(&state).unwrap();
    let open = rollbackd::journal::Journal::open(&state).unwrap();
    let files = || -> Vec<_> {
        let files = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = files.map(|file| (file.clone(), fs::read(file).unwrap())).collect();
        files.sort();
        files
    };
    let before = files();
    let found = month.json(&[]);
    assert_eq!(files(), before, "nothing in the folder is changed");
    drop((open, held));
    let deploys = found["own"]["services"][0]["deploys"].as_array().unwrap();
    let told: Vec<_> =
        deploys.iter().map(|each| (each["version"].as_str().unwrap(), each["found_in"].as_str().unwrap())).collect();
    assert_eq!(told[4..], [("v5-blip", "version_query"), ("v6-bad-before", "journal"), ("v7-fails-little", "journal")]);
    let little = trigger(&found["own"], "error-rate")["firings"].as_array().unwrap().last().unwrap();
    assert_eq!(
        little["after_seconds"].as_f64(),
        Some(180.0),
        "from the instant that was told, not from when it was seen"
    );
    assert!(little["would"].as_str().unwrap().starts_with("page: "), "a migration is never rolled back: {little}");
}

#[test]
fn what_can_not_be_asked_or_read_ends_it_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rollbackd.yml"), config(dir.path(), &world::dead_url())).unwrap();
    fs::write(dir.path().join("incidents.yml"), "- {service: capstone-api, from: yesterday}\n").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollbackd"));
        let output = command.current_dir(dir.path()).arg("backtest").args(arguments).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let error = run(&["--config", "rollbackd.yml"]);
    assert!(error.contains("capstone-api version_query") && error.contains("127.0.0.1"), "{error}");
    let error = run(&["--config", "rollbackd.yml", "--incidents", "incidents.yml"]);
    assert!(error.contains("incidents.yml:1:33") && error.contains("an incident has no `to`"), "{error}");
    let error = run(&["--config", "nowhere.yml"]);
    assert!(error.contains("nowhere.yml"), "{error}");
}
