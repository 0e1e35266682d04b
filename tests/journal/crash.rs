//! Killed at any point, the journal still has every record that it acknowledged.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rollbackd::journal::{Journal, Replay};

use super::{at, body};

/// Rounds of writing and killing: more find no more, fewer may miss the compaction.
const ROUNDS: usize = 15;
/// Records per append of the child.
const BATCH: usize = 3;
/// So many bytes longer is a snapshot than it has to be: it lies in several pieces, and a kill meets it more often.
const LONG: usize = 300_000;

/// This test program again, running one of its tests that are only for that.
pub(super) fn child(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture"]).env("JOURNAL_DIR", dir);
    command
}

/// All bodies so far: the child's snapshots are lists of them.
fn bodies(replay: Replay) -> Vec<String> {
    let snapshot = replay.snapshot.map(|snapshot| serde_json::from_str(&snapshot.body).unwrap());
    let mut all: Vec<String> = snapshot.unwrap_or_default();
    all.extend(replay.records.into_iter().map(|record| record.body));
    all
}

#[test]
#[ignore = "the part of the killed process; run by the test below"]
fn writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os("JOURNAL_DIR") else { return };
    let (mut journal, replay) = Journal::open(Path::new(&dir)).unwrap();
    let mut all = bodies(replay);
    let mut seq = all.len() as u64;
    for append in 1.. {
        let batch: Vec<String> = (0..BATCH).map(|each| body(seq + each as u64)).collect();
        seq = journal.append("api", seq, at(seq), &batch).unwrap();
        all.extend(batch);
        writeln!(std::io::stdout(), "acknowledged {seq}").unwrap();
        if append % 5 == 0 {
            let snapshot = serde_json::to_string(&all).unwrap() + &" ".repeat(LONG);
            journal.compact(at(seq), snapshot.as_str()).unwrap();
            writeln!(std::io::stdout(), "compacted {seq}").unwrap();
        }
    }
}

/// The last sequence that the child has acknowledged (0 for none), killed once it had done so this many times.
fn acknowledged_until_killed(mut child: Child, acknowledgements: usize) -> u64 {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = 0;
    let mut count = 0;
    while count < acknowledgements {
        let line = lines.next().expect("the child ended by itself").unwrap();
        if let Some((_, seq)) = line.split_once("acknowledged ") {
            last = seq.parse().unwrap();
            count += 1;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it wrote before the kill reached it was acknowledged as well; a line may be cut off.
    for line in lines.map_while(Result::ok) {
        if let Some((_, seq)) = line.split_once("acknowledged ") {
            last = last.max(seq.parse().unwrap_or(0));
        }
    }
    last
}

#[test]
fn every_acknowledged_record_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let child = child("crash::writes_until_it_is_killed", dir.path()).stdout(Stdio::piped()).spawn().unwrap();
        let last = acknowledged_until_killed(child, round * 7 % 13);
        acknowledged = acknowledged.max(last);
        let all = bodies(Journal::open(dir.path()).unwrap().1);
        let expected: Vec<String> = (0..all.len() as u64).map(body).collect();
        assert_eq!(all, expected, "round {round}");
        let found = all.len() as u64;
        // More than acknowledged is only the one append that the kill met.
        assert!(found >= acknowledged && found <= acknowledged + BATCH as u64, "{round}: {found}, {acknowledged}");
        acknowledged = found;
    }
    assert!(acknowledged > 100, "{acknowledged}");
}
