//! The daemon started on a journal that was cut off or changed: it says what is wrong and what to do, or nothing is.
//!
//! Never takes a start for a recovery: the records are compared with those that were written.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};

use super::preload::{Fault, Place, Point};
use super::records::{self, Files};
use super::scenario::ROLLBACK;
use super::{asked_for_all, cell, shown_by};
use crate::world::{Daemon, Shape, World, wait_until};

/// So many daemons start at the same time.
const AT_ONCE: usize = 4;

/// SQLite's pages, and what stands before each in its log, and before all.
const PAGE: usize = 4096;
const FRAME: usize = PAGE + 24;
const LOG_HEADER: usize = 32;

/// A damaged journal, and what was done to it.
struct Damaged {
    what: String,
    files: Files,
    /// What the daemon has to find, where it must find something.
    must_name: Option<String>,
}

fn cut(files: &Files, name: &'static str, length: usize) -> Damaged {
    let mut files = files.clone();
    files.get_mut(name).expect("a file").truncate(length);
    Damaged { what: format!("{name} cut to {length} bytes"), files, must_name: None }
}

fn flipped(files: &Files, name: &'static str, position: usize) -> Damaged {
    let mut files = files.clone();
    files.get_mut(name).expect("a file")[position] ^= 1 << (position % 8);
    Damaged { what: format!("{name}: byte {position} flipped"), files, must_name: None }
}

fn without(files: &Files, name: &'static str) -> Damaged {
    let mut files = files.clone();
    files.remove(name);
    Damaged { what: format!("without {name}"), files, must_name: None }
}

/// Every so many of these; all where all is asked for.
fn some<T>(items: impl Iterator<Item = T>, every: usize) -> impl Iterator<Item = T> {
    items.step_by(if asked_for_all() { 1 } else { every })
}

/// Each record's body with one byte changed, where it lies in the database.
fn changed_records(stopped: &Files, bodies: &[String]) -> Vec<Damaged> {
    let file = &stopped["journal.db"];
    let of = |(index, body): (usize, &String)| {
        // Pages that were split keep a copy that nobody reads.
        let places = (0..file.len() - body.len()).filter(|at| file[*at..].starts_with(body.as_bytes()));
        let mut files = stopped.clone();
        let changed = files.get_mut("journal.db").expect("a file");
        places.for_each(|place| changed[place + body.len() / 2] ^= 1);
        // A record with the same words is changed too; the first is named.
        let first = bodies.iter().position(|each| each == body).unwrap_or(index);
        let record = format!("record {}", first + 1);
        Damaged { what: format!("{record} changed"), files, must_name: Some(record) }
    };
    bodies.iter().enumerate().map(of).collect()
}

/// What a kill leaves is in the log, what a stop leaves is in the database.
fn damages(killed: &Files, stopped: &Files, bodies: &[String]) -> Vec<Damaged> {
    let (log, database) = (killed["journal.db-wal"].len(), stopped["journal.db"].len());
    let frames = || (LOG_HEADER..log).step_by(FRAME);
    let mut all: Vec<Damaged> = changed_records(stopped, bodies);
    all.extend(some(frames(), 9).map(|frame| cut(killed, "journal.db-wal", frame)));
    all.extend(some((1..log).step_by(1999), 8).map(|length| cut(killed, "journal.db-wal", length)));
    all.extend(some((0..database).step_by(PAGE / 2), 2).map(|length| cut(stopped, "journal.db", length)));
    all.extend(some(frames(), 7).map(|frame| flipped(killed, "journal.db-wal", frame + 9)));
    all.extend(some(frames(), 7).map(|frame| flipped(killed, "journal.db-wal", frame + 24 + PAGE - 40)));
    all.extend(
        (0..database).step_by(PAGE).flat_map(|page| [3, PAGE - 40].map(|at| flipped(stopped, "journal.db", page + at))),
    );
    all.extend([0, 30, 100].map(|at| flipped(killed, "journal.acknowledged", at)));
    all.extend([0, 60].map(|length| cut(killed, "journal.acknowledged", length)));
    all.extend(["journal.db", "journal.db-wal", "journal.acknowledged"].map(|name| without(killed, name)));
    all
}

/// How a daemon that was started on this journal went on.
#[derive(Debug, PartialEq, Eq)]
enum Went {
    Ended,
    On,
}

async fn start_on(world: Rc<World>, number: usize, damaged: Damaged, whole: Arc<Vec<String>>) -> Went {
    let dir = world.place(&format!("damaged-{number}"));
    let state = dir.join("state");
    std::fs::create_dir_all(&state).expect("a state folder");
    damaged.files.iter().for_each(|(name, bytes)| std::fs::write(state.join(name), bytes).expect("a file"));
    let plan = cell::plan(&world, &ROLLBACK, &world.github, "svc-1", &dir);
    let mut daemon = Daemon::new(&dir, &plan, &[]);
    daemon.launch();
    let what = &damaged.what;
    let ended = wait_until(&format!("{what}: it has ended or is ready"), async || match daemon.ended() {
        Some(status) => Ok(Some(status)),
        None if daemon.status_of("/readyz").await? == 200 => Ok(None),
        None => Err("it is not ready".to_owned()),
    })
    .await;
    if let Some(status) = ended {
        let log = daemon.log();
        assert_eq!(status.code(), Some(1), "{what}: {log}");
        let journal = state.join("journal.db").display().to_string();
        let says =
            [journal.as_str(), "is damaged", "rollbackd journal verify --config", "rollbackd journal repair --config"];
        let missing: Vec<_> =
            says.into_iter().chain(damaged.must_name.as_deref()).filter(|text| !log.contains(text)).collect();
        assert!(missing.is_empty(), "{what}: {missing:?} not in {log}");
        let there = records::files_in(&state);
        let is_as_it_was = |(name, bytes): (&&str, &Vec<u8>)| there.get(*name) == Some(bytes);
        assert!(damaged.files.iter().all(is_as_it_was), "{what}: what is damaged was changed");
        return Went::Ended;
    }
    assert_eq!(damaged.must_name, None, "{what}: it was not found");
    assert!(daemon.stop().await.success(), "{what}");
    let found: Vec<String> = records::lying_in(&state).into_iter().map(|(_, body)| body).collect();
    assert_eq!(found, *whole, "{what}: it went on with other records");
    Went::On
}

#[tokio::test]
async fn a_daemon_started_on_a_damaged_journal_says_so_or_has_lost_nothing() {
    let at_the_end = Fault::kill(Place::Record(Point::Acknowledged, "receipt published"));
    let (_, shown) = shown_by(vec![(&ROLLBACK, at_the_end)]).await.remove(0);
    let whole = Arc::new(shown.killed_at.expect("it was killed"));
    let damaged = damages(&shown.left, &shown.stopped, &whole);
    let count = damaged.len();

    let world = Rc::new(World::shaped(Shape { several: Some(1), ..Shape::default() }).await);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let started = async {
        let start = |(number, damaged)| {
            let (world, places, whole) = (Rc::clone(&world), Arc::clone(&places), Arc::clone(&whole));
            spawn_local(async move {
                let _place = places.acquire_owned().await.expect("a place");
                start_on(world, number, damaged, whole).await
            })
        };
        let starts: Vec<_> = damaged.into_iter().enumerate().map(start).collect();
        let mut went = Vec::new();
        for start in starts {
            went.push(start.await.expect("a start that was judged"));
        }
        went
    };
    let went = LocalSet::new().run_until(started).await;
    let on = went.iter().filter(|went| **went == Went::On).count();
    println!("{count} damaged journals: {on} had lost nothing, the others were refused");
    assert!(on > 0 && on < count, "{on} of {count}");
    assert!(world.pipeline_runs().await.is_empty());
    assert!(world.pager.received().is_empty());
}

/// The arguments of `unshare` for a daemon whose state folder is read-only.
fn on_read_only(state: &str, config: &str) -> Vec<String> {
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let words = ["--user", "--map-root-user", "--mount", "sh", "-c", script, state, env!("CARGO_BIN_EXE_rollbackd")];
    words.into_iter().chain(["run", "--config", config]).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_journal_on_a_read_only_disk_keeps_the_daemon_from_starting_and_it_says_why() {
    let world = World::start().await;
    let dir: PathBuf = world.place("read-only");
    let state = dir.join("state");
    std::fs::create_dir_all(&state).unwrap();
    let plan = cell::plan(&world, &ROLLBACK, &world.github, "capstone-api", &dir);
    let mut daemon = Daemon::new(&dir, &plan, &[]);
    // With a journal there, and without.
    for _ in 0..2 {
        let config = dir.join("rollbackd.yml").display().to_string();
        let arguments = on_read_only(&state.display().to_string(), &config);
        let said = tokio::process::Command::new("unshare").args(arguments).kill_on_drop(true).output().await.unwrap();
        let told = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(1), "{told}");
        let place = state.display().to_string();
        assert!(told.contains(&place) && told.contains("Read-only file system"), "{told}");
        if records::files_in(&state).is_empty() {
            daemon.start().await;
            assert!(daemon.stop().await.success());
        }
    }
}
