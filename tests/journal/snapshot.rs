//! A snapshot lies in pieces: whatever its length it comes back, and a journal that has it in one piece is read on.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rollbackd::journal::{Body, Error, Fault, Journal, read, repair, verify};
use rusqlite::Connection;

use super::{Path, at, body, fast_dir, replay, written};

/// So large is a piece.
const PIECE: usize = 64 * 1024;

/// A text of so many bytes whose letters take two of them, so that a piece may end within one.
fn text(bytes: usize) -> String {
    let odd = if bytes % 2 == 1 { "x" } else { "" };
    format!("{odd}{}", "é".repeat(bytes / 2))
}

fn pieces(dir: &Path) -> Vec<i64> {
    let file = Connection::open(dir.join("journal.db")).unwrap();
    let mut lengths = file.prepare("SELECT length(body) FROM snapshot_piece ORDER BY number").unwrap();
    lengths.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

#[test]
fn a_snapshot_of_any_length_comes_back_as_it_was() {
    let dir = fast_dir();
    for (bytes, expected) in
        [(0, 0), (1, 1), (PIECE - 1, 1), (PIECE, 1), (PIECE + 1, 2), (3 * PIECE, 3), (3 * PIECE + 7, 4), (2, 1)]
    {
        let (mut journal, before) = Journal::open(dir.path()).unwrap();
        let seq = before.snapshot.map_or(0, |snapshot| snapshot.sequences["api"]);
        journal.append("api", seq, at(seq), &[body(seq)]).unwrap();
        journal.compact(at(9), text(bytes).as_str()).unwrap();
        drop(journal);
        assert_eq!(pieces(dir.path()).len(), expected, "{bytes} bytes");
        assert!(replay(dir.path()).snapshot.unwrap().body == text(bytes), "{bytes} bytes");
    }
}

#[test]
fn a_snapshot_of_which_a_piece_is_missing_changed_or_in_another_place_is_found() {
    for damage in [
        "DELETE FROM snapshot_piece WHERE number = 2",
        "DELETE FROM snapshot_piece",
        "UPDATE snapshot_piece SET body = CAST(replace(CAST(body AS TEXT), '2', '3') AS BLOB) WHERE number = 2",
        "UPDATE snapshot_piece SET number = 9 WHERE number = 1",
        "INSERT INTO snapshot_piece VALUES (9, x'20')",
        "UPDATE snapshot SET body = ' '",
    ] {
        let dir = fast_dir();
        let (mut journal, _) = written(dir.path());
        journal.compact(at(10), ["1", "2", "3"].map(|letter| letter.repeat(PIECE)).concat().as_str()).unwrap();
        drop(journal);
        Connection::open(dir.path().join("journal.db")).unwrap().execute(damage, []).unwrap();
        let error = Journal::open(dir.path()).unwrap_err();
        let Error::Corrupt { problems, .. } = &error else { panic!("{damage}: {error}") };
        assert!(problems.iter().any(|problem| problem.fault == Fault::BadSnapshot), "{damage}: {error}");
        assert_eq!(repair(dir.path(), at(11)).unwrap().last_id, 0, "{damage}");
    }
}

/// Makes the journal one of the first format, which had a snapshot in one piece.
fn set_back(dir: &Path) {
    let file = Connection::open(dir.join("journal.db")).unwrap();
    file.execute_batch(
        "BEGIN; UPDATE snapshot SET body = coalesce((SELECT CAST(body AS TEXT) FROM snapshot_piece), ''); \
         DROP TABLE snapshot_piece; PRAGMA user_version = 1; COMMIT",
    )
    .unwrap();
}

fn format(dir: &Path) -> i64 {
    let file = Connection::open(dir.join("journal.db")).unwrap();
    file.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[test]
fn a_journal_of_the_first_format_is_read_and_written_as_it_is_until_its_next_snapshot() {
    let dir = fast_dir();
    let (journal, before) = written(dir.path());
    drop(journal);
    set_back(dir.path());
    assert_eq!(verify(dir.path()).unwrap().problems, []);
    assert_eq!(read(dir.path()).unwrap(), before);
    assert_eq!(format(dir.path()), 1, "nobody who only reads may change it");

    let (mut journal, found) = Journal::open(dir.path()).unwrap();
    assert_eq!(found, before);
    journal.append("api", 7, at(20), &[body(20)]).unwrap();
    drop(journal);
    // On a full disk a daemon has to start: nothing is written for the format's sake alone.
    assert_eq!(format(dir.path()), 1);
    let (mut journal, found) = Journal::open(dir.path()).unwrap();
    assert_eq!((found.snapshot, found.records.len()), (before.snapshot, before.records.len() + 1));
    journal.compact(at(21), text(PIECE + 1).as_str()).unwrap();
    drop(journal);
    assert_eq!(format(dir.path()), 2);
    assert!(replay(dir.path()).snapshot.unwrap().body == text(PIECE + 1));
}

#[test]
fn a_damaged_journal_of_the_first_format_is_repaired_into_one_of_this() {
    let dir = fast_dir();
    let (journal, before) = written(dir.path());
    drop(journal);
    set_back(dir.path());
    let file = Connection::open(dir.path().join("journal.db")).unwrap();
    file.execute("UPDATE record SET body = '{}' WHERE id = 8", []).unwrap();
    drop(file);
    assert!(matches!(Journal::open(dir.path()), Err(Error::Corrupt { .. })));
    assert_eq!(format(dir.path()), 1, "what is damaged stays as it is");
    assert_eq!(repair(dir.path(), at(30)).unwrap().last_id, 7);
    assert_eq!(format(dir.path()), 2);
    let after = replay(dir.path());
    assert_eq!((after.snapshot, &after.records[..]), (before.snapshot, &before.records[..3]));
}

/// A text that is another one each time.
struct Moving(AtomicU64);

impl Body for Moving {
    fn write_to(&self, to: &mut dyn io::Write) -> io::Result<()> {
        to.write_all("y".repeat(PIECE).as_bytes())?;
        write!(to, "{}", self.0.fetch_add(9, Ordering::Relaxed))
    }
}

#[test]
fn a_state_that_changes_while_it_is_written_takes_nothings_place() {
    let dir = fast_dir();
    let (mut journal, before) = written(dir.path());
    let error = journal.compact(at(20), &Moving(AtomicU64::new(1))).unwrap_err();
    assert!(error.is_not_writable() && error.to_string().contains("65537 bytes, and then 65538"), "{error}");
    assert_eq!(journal.append("api", 7, at(21), &[body(21)]).unwrap(), 8);
    drop(journal);
    let after = replay(dir.path());
    assert_eq!((after.snapshot, after.records.len()), (before.snapshot, before.records.len() + 1));
}
