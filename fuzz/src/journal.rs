//! The journal's file, damaged: edits of a sound one, or any bytes at all.
//!
//! An input that begins with `edit` holds places and bytes (three bytes each: two of place, one to put there) for the
//! known sound file, and cuts it at the place where a byte `0xff` is to be put; any other input is the file itself.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use rollbackd::journal::{Journal, Replay, verify};
use rollbackd_core::time::Timestamp;

use super::folder;

const FILE: &str = "journal.db";

static SOUND: LazyLock<(Vec<u8>, Replay)> = LazyLock::new(|| {
    let dir = folder::empty();
    let (mut journal, _) = Journal::open(dir.path()).expect("a new journal");
    let at = |milliseconds| Timestamp::from_milliseconds(milliseconds);
    journal.append("billing", 0, at(1), &["\"compacted\"".to_owned()]).expect("an append");
    journal.compact(at(2), "{\"state\": 1}").expect("a compaction");
    for seq in 0..8 {
        let body = format!("{{\"record\": {seq}, \"text\": \"{}\"}}", "x".repeat(100));
        journal.append("capstone-api", seq, at(3), &[body]).expect("an append");
    }
    drop(journal);
    let bytes = fs::read(dir.path().join(FILE)).expect("the journal's file");
    let replay = open(dir.path()).expect("a sound journal");
    (bytes, replay)
});

fn open(dir: &Path) -> Option<Replay> {
    Journal::open(dir).ok().map(|(_, replay)| replay)
}

/// A damaged journal is refused, or gives exactly what was put in; one that opens can be appended to.
pub(super) fn journal(bytes: &[u8]) {
    let dir = folder::empty();
    let edits = bytes.strip_prefix(b"edit");
    let file = edits.map_or_else(|| bytes.to_vec(), edited);
    fs::write(dir.path().join(FILE), file).expect("a file in memory");
    let report = verify(dir.path());
    let Some(replay) = open(dir.path()) else {
        assert!(!report.is_ok_and(|report| report.problems.is_empty()), "sound, and yet not opened");
        return;
    };
    assert!(report.is_ok_and(|report| report.problems.is_empty()), "opened, and yet not sound");
    if edits.is_some() {
        assert_eq!(replay, SOUND.1, "a changed journal was believed");
    }
    assert!(replay.records.is_sorted_by(|earlier, later| earlier.id + 1 == later.id));
    let (mut journal, _) = Journal::open(dir.path()).expect("it was opened before");
    let of_snapshot = replay.snapshot.as_ref().and_then(|snapshot| snapshot.sequences.get("fuzz")).copied();
    let last = replay.records.iter().rev().find(|record| record.service == "fuzz").map(|record| record.seq);
    let at = Timestamp::from_milliseconds(4);
    let appended = journal.append("fuzz", last.or(of_snapshot).unwrap_or(0), at, &["{}".to_owned()]);
    assert!(appended.is_ok(), "{appended:?}");
    drop(journal);
    let again = open(dir.path()).expect("what was appended to can be read");
    assert_eq!(again.records.len(), replay.records.len() + 1);
    assert_eq!(again.records[..replay.records.len()], replay.records[..]);
}

fn edited(edits: &[u8]) -> Vec<u8> {
    let mut file = SOUND.0.clone();
    for edit in edits.chunks_exact(3).take(64) {
        let place = usize::from(u16::from_le_bytes([edit[0], edit[1]]));
        match edit[2] {
            0xff => file.truncate(place),
            byte => file.get_mut(place).into_iter().for_each(|there| *there = byte),
        }
    }
    file
}
