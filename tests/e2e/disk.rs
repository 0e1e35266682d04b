//! A full disk under the journal: nothing new runs, everybody is told, and it goes on by itself when there is room.
//!
//! Never takes an attempt for one that did not run by what the daemon says: runs are counted where they arrive.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::world::{Daemon, Received, SERVICE, Script, WINDOW, World, wait_until};

/// Takes what is left of a disk. Gives the file that has to go for there to be room again.
fn fill(disk: &Path) -> PathBuf {
    let filler = disk.join("filler");
    let mut file = OpenOptions::new().create(true).append(true).open(&filler).expect("a file on the small disk");
    while file.write_all(&[0; 4096]).is_ok() {}
    // The rest of a block.
    while file.write_all(&[0]).is_ok() {}
    filler
}

/// Takes all that is left, and what the journal gives back when it finds the disk full, until it can write nothing.
pub(crate) async fn exhaust(world: &mut World) -> PathBuf {
    let disk = world.daemon().own_disk();
    let mut refused = 0;
    wait_until("nothing can be written", async || {
        fill(&disk);
        let freeze = json!({"for": "1ms", "why": "x".repeat(1000)});
        let answer = world.post(&format!("/v1/services/{SERVICE}/freeze"), freeze).await;
        refused = if answer.status == 503 { refused + 1 } else { 0 };
        if refused == 5 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    disk.join("filler")
}

pub(crate) async fn readyz_is(world: &mut World, status: u16) {
    wait_until(&format!("/readyz is {status}"), async || match world.daemon().status_of("/readyz").await? {
        found if found == status => Ok(()),
        found => Err(format!("it is {found}")),
    })
    .await;
}

#[tokio::test]
async fn a_breach_on_a_full_disk_pages_and_starts_nothing_until_there_is_room() {
    let mut world = World::start().await;
    let plan = world.plan();
    if !world.run_on_small_disk(&plan).await {
        return;
    }
    world.has_past(WINDOW).await;
    world.deploy("v2", "v1").await;
    world.trigger_until("error-rate", &["clear"]).await;
    let filler = exhaust(&mut world).await;
    world.production.behave(SERVICE, json!({"error_ratio": 0.2})).await;
    let page = wait_until("a page about the journal", async || {
        let pages = world.pager.taken();
        pages.into_iter().find(|page| page.body.to_string().contains("journal")).ok_or_else(|| "no page".to_owned())
    })
    .await;
    assert!(page.body["summary"].as_str().unwrap().contains("can't write its journal"), "{}", page.body);
    readyz_is(&mut world, 503).await;
    let refused = world.post("/v1/deploys", json!({"service": SERVICE, "version": "v3"})).await;
    assert_eq!((refused.status, &refused.body["type"]), (503, &json!("urn:rollbackd:problem:journal-not-writable")));
    let metrics = world.daemon().get("/metrics").await.body;
    assert!(metrics.as_str().unwrap().contains("\nrollbackd_journal_writable 0\n"), "{metrics}");
    world.trigger_until("error-rate", &["breaching", "fired"]).await;
    world.looks_on(Duration::from_secs(5)).await;
    assert!(world.pipeline_runs().await.is_empty());
    let attempts = filler.with_file_name("attempts");
    assert!(std::fs::read_dir(attempts).map_or(0, Iterator::count) == 0, "an attempt was ordered");
    assert!(world.receipts().is_empty());

    std::fs::remove_file(filler).unwrap();
    readyz_is(&mut world, 200).await;
    let receipt = world.receipt(1).await;
    assert_eq!((receipt.get("outcome"), receipt.get("trigger")), ("recovered", "error-rate"));
    assert_eq!(world.pipeline_runs().await, ["v1"]);
    wait_until("the page about the journal is over", async || {
        let is_over =
            |over: &Received| over.body["status"] == "resolved" && over.body["dedup_key"] == page.body["dedup_key"];
        if world.pager.received().iter().any(is_over) { Ok(()) } else { Err("it is open".to_owned()) }
    })
    .await;
}

#[tokio::test]
async fn an_attempt_that_ends_while_the_disk_is_full_is_known_to_have_ended_when_there_is_room() {
    let mut world = World::start().await;
    world.production.versions(SERVICE, json!({"v2": {"error_ratio": 0.2}})).await;
    world.github.script(Script::succeeds().held());
    let mut plan = world.plan();
    plan.paths([plan.github(&world)]);
    if !world.run_on_small_disk(&plan).await {
        return;
    }
    world.has_past(WINDOW).await;
    world.deploy("v2", "v1").await;
    wait_until("the pipeline was dispatched and that is known", async || {
        let view = world.view(SERVICE).await;
        if world.github.dispatches().is_empty() { Err(view.to_string()) } else { Ok(()) }
    })
    .await;
    let filler = exhaust(&mut world).await;
    world.github.release();
    wait_until("the pipeline has deployed", async || match world.pipeline_runs().await.len() {
        1 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    // The daemon asks for the run each 200 ms: by now it knows, and could not write it down.
    world.looks_on(Duration::from_secs(2)).await;

    std::fs::remove_file(filler).unwrap();
    // The first thing that is written again is something else.
    let freeze = json!({"for": "1h", "why": "the disk was full"});
    wait_until("something can be written", async || {
        match world.post(&format!("/v1/services/{SERVICE}/freeze"), freeze.clone()).await.status {
            200 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    let receipt = world.receipt(1).await;
    assert_eq!(receipt.get("outcome"), "recovered", "{}", receipt.body);
    assert!(receipt.body.contains("Running `github`") && !receipt.body.contains("timed out"), "{}", receipt.body);
    assert_eq!(world.github.dispatches().len(), 1);
    assert_eq!(world.pipeline_runs().await, ["v1"]);
}

#[tokio::test]
async fn a_daemon_that_only_looks_finds_that_there_is_room_again() {
    let mut world = World::start().await;
    let mut plan = world.plan();
    // The end of the watch would have to be written down.
    plan.service("watch", json!("10m"));
    if !world.run_on_small_disk(&plan).await {
        return;
    }
    world.has_past(WINDOW).await;
    world.deploy("v2", "v1").await;
    world.trigger_until("error-rate", &["clear"]).await;
    let filler = exhaust(&mut world).await;
    readyz_is(&mut world, 503).await;
    // Looks go on, and nothing that they show has to be written down.
    std::fs::remove_file(filler).unwrap();
    readyz_is(&mut world, 200).await;
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_written_keeps_the_daemon_from_starting_and_it_says_why() {
    let mut world = World::start().await;
    let mut plan = world.plan();
    // Nobody can write there, root neither.
    plan.top("state_dir", json!("/proc/rollbackd"));
    let daemon = Daemon::new(&world.place("."), &plan, &[]);
    let said = world.daemon.insert(daemon).command(&["run", "--config", "rollbackd.yml"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("could not create the state folder /proc/rollbackd"), "{said:?}");
    let file = world.place("a-file");
    File::create(&file).unwrap();
    plan.top("state_dir", json!(file));
    let daemon = Daemon::new(&world.place("."), &plan, &[]);
    let said = daemon.command(&["run", "--config", "rollbackd.yml"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("a-file"), "{said:?}");
}
