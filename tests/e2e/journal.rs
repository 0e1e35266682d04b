//! The journal seen from outside: who holds it, what a daemon does with a damaged one, and how it is mended.
//!
//! Never opens the journal of a daemon that runs.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::world::{Daemon, Receipt, SERVICE, WINDOW, World, trigger_of, wait_until};

#[tokio::test]
async fn a_second_daemon_on_the_same_folder_ends_and_says_who_holds_it() {
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {"error_ratio": 0.2}})).await;
    let plan = world.plan();
    world.run(&plan).await;
    // Another port, the same folder.
    std::fs::create_dir(world.place("second")).unwrap();
    let mut other = world.plan();
    other.top("pagers", json!([{"name": "oncall", "webhook": {"url": world.pager.url("/other")}}]));
    let second = Daemon::new(&world.place("second"), &other, &[]);
    let said = second.command(&["run", "--config", "rollbackd.yml"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let holder = world.daemon().id();
    assert!(said.err.contains(&format!("process {holder} uses it")), "process {holder}: {said:?}");
    let repaired = second.command(&["journal", "repair", "--config", "rollbackd.yml"]).await;
    assert_eq!(repaired.code, Some(1), "{repaired:?}");
    assert!(repaired.err.contains(&format!("process {holder} uses it")), "{repaired:?}");

    world.has_past(WINDOW).await;
    world.deploy("v2", "v1").await;
    assert_eq!(world.receipt(1).await.get("outcome"), "recovered");
    assert_eq!(world.pipeline_runs().await, ["v1"]);
}

#[tokio::test]
async fn of_two_daemons_started_at_once_one_runs_and_a_kill_frees_its_place() {
    let mut world = World::start().await;
    let mut daemons = ["one", "other"].map(|name| {
        std::fs::create_dir(world.place(name)).unwrap();
        // Another port each, the same state folder.
        Daemon::new(&world.place(name), &world.plan(), &[])
    });
    for _ in 0..5 {
        daemons.iter_mut().for_each(Daemon::launch);
        let loser = wait_until("one of the two has ended", async || {
            daemons.iter_mut().position(|daemon| daemon.ended().is_some()).ok_or_else(|| "both run".to_owned())
        })
        .await;
        let said = daemons[loser].log();
        assert!(said.contains("uses it; stop that one first"), "{said}");
        let winner = &mut daemons[1 - loser];
        wait_until("the other one is ready", async || match winner.status_of("/readyz").await? {
            200 => Ok(()),
            other => Err(other.to_string()),
        })
        .await;
        winner.kill().await;
    }
    let [_, other] = daemons;
    world.daemon.insert(other).start().await;
    assert!(world.daemon().stop().await.success());
}

/// A world whose daemon has rolled `v2` back and was stopped, and its journal.
async fn rolled_back_and_stopped() -> (World, PathBuf) {
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {"error_ratio": 0.2}})).await;
    let plan = world.plan();
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    world.deploy("v2", "v1").await;
    world.receipt(1).await;
    world.view_until("the receipt is known", |view| view["last"] == "rolled_back").await;
    assert!(world.daemon().stop().await.success());
    let file = world.place("state").join("journal.db");
    (world, file)
}

fn ids_and_bodies(file: &Path) -> Vec<(u64, String)> {
    let journal = rusqlite::Connection::open(file).unwrap();
    let mut query = journal.prepare("SELECT id, body FROM record ORDER BY id").unwrap();
    let rows = query.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?))).unwrap();
    rows.map(|row| row.map(|(id, body)| (u64::try_from(id).unwrap(), body)).unwrap()).collect()
}

/// The daemon refuses, the commands say what is wrong with this record, and a repair mends it.
async fn assert_refused_and_mended(world: &mut World, record: u64) {
    let refused = world.daemon().command(&["run", "--config", "rollbackd.yml"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains(&format!("record {record}")), "{refused:?}");
    assert!(refused.err.contains("rollbackd journal verify --config"), "{refused:?}");
    assert!(refused.err.contains("rollbackd journal repair --config"), "{refused:?}");

    let shown = world.daemon().command(&["journal", "verify", "--config", "rollbackd.yml"]).await;
    assert_eq!(shown.code, Some(1), "{shown:?}");
    assert!(shown.out.contains(&format!("record {record}")), "{shown:?}");
    let mended = world.daemon().command(&["journal", "repair", "--config", "rollbackd.yml", "--json"]).await;
    assert_eq!(mended.code, Some(0), "{mended:?}");
    let mended: Value = serde_json::from_str(&mended.out).unwrap();
    assert_eq!(mended["last_id"], json!(record - 1), "{mended}");
    assert!(!mended["lost"].as_array().unwrap().is_empty(), "{mended}");
    let whole = world.daemon().command(&["journal", "verify", "--config", "rollbackd.yml"]).await;
    assert_eq!(whole.code, Some(0), "{whole:?}");
}

/// What comes after a repair is watched and rolled back as ever, under the next number.
async fn assert_goes_on(world: &mut World) {
    world.daemon().start().await;
    assert_eq!(world.daemon().get("/readyz").await.status, 200);
    world.production.versions(SERVICE, json!({"v3": {"error_ratio": 0.2}})).await;
    world.deploy("v3", "v1").await;
    let receipt = world.receipt(2).await;
    assert_eq!((receipt.get("version"), receipt.get("outcome")), ("v3", "recovered"));
    world.receipts_are_whole().await;
}

#[tokio::test]
async fn a_flipped_byte_in_the_journal_is_named_and_mended() {
    let (mut world, file) = rolled_back_and_stopped().await;
    let records = ids_and_bodies(&file);
    // The last one: what it says is only that the receipt is written.
    let (id, body) = records.last().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let place = bytes.windows(body.len()).position(|window| window == body.as_bytes()).unwrap();
    bytes[place + body.len() / 2] ^= 1;
    std::fs::write(&file, bytes).unwrap();

    assert_refused_and_mended(&mut world, *id).await;
    assert_goes_on(&mut world).await;
    let numbers: Vec<_> = Receipt::all(&world.receipts_dir()).iter().map(|receipt| receipt.number).collect();
    assert_eq!(numbers, [1, 2]);
}

#[tokio::test]
async fn a_deleted_record_is_named_and_a_repair_keeps_what_came_before() {
    let (mut world, file) = rolled_back_and_stopped().await;
    let records = ids_and_bodies(&file);
    // The one that says that the trigger fired: the rollback is forgotten with all that follows.
    let fired = records.iter().position(|(_, body)| body.contains("observed_at")).unwrap();
    let (id, _) = records[fired];
    let journal = rusqlite::Connection::open(&file).unwrap();
    journal.execute("DELETE FROM record WHERE id = ?1", [i64::try_from(id).unwrap()]).unwrap();
    drop(journal);

    assert_refused_and_mended(&mut world, id).await;
    world.daemon().start().await;
    // Production is on v1 and clear: what the data say now is looked at, and the version that served is not run again.
    world.view_until("the watch is there", |view| !view["watch"].is_null()).await;
    let view = world.view(SERVICE).await;
    assert_eq!(trigger_of(&view, "error-rate")["name"], "error-rate", "{view}");
}
