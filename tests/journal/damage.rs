//! A damaged journal is found to be so, or the damage is where it costs nothing: never is something else replayed.

use std::fs;
use std::path::Path;

use rollbackd::journal::{Error, Fault, Journal, Problem, Replay, verify};
use rusqlite::Connection;
use tempfile::TempDir;

use super::{at, body, fast_dir, written};

/// The files of a journal, to be put down damaged.
struct Files {
    file: Vec<u8>,
    log: Vec<u8>,
    acknowledged: Vec<u8>,
    replay: Replay,
}

impl Files {
    fn of(dir: &Path, replay: Replay) -> Self {
        let read = |name: &str| fs::read(dir.join(name)).unwrap_or_default();
        let (file, log) = (read("journal.db"), read("journal.db-wal"));
        Self { file, log, acknowledged: read("journal.acknowledged"), replay }
    }

    /// Everything in the database file, as a clean stop leaves it.
    fn stopped() -> Self {
        let dir = fast_dir();
        let (journal, replay) = written(dir.path());
        drop(journal);
        let files = Self::of(dir.path(), replay);
        assert!(files.log.is_empty());
        files
    }

    /// The latest records only in the log, as a kill leaves it.
    fn killed() -> Self {
        let dir = fast_dir();
        let (mut journal, mut replay) = written(dir.path());
        for number in 20..24 {
            journal.append("web", number - 18, at(number), &[body(number)]).unwrap();
        }
        let files = Self::of(dir.path(), replay.clone());
        assert!(files.log.len() > 4 * 4096);
        let copy = files.put(&files.file, &files.log);
        replay = Journal::open(copy.path()).unwrap().1;
        assert_eq!(replay.records.len(), 9);
        Self { replay, ..files }
    }

    fn put(&self, file: &[u8], log: &[u8]) -> TempDir {
        let dir = fast_dir();
        fs::write(dir.path().join("journal.db"), file).unwrap();
        fs::write(dir.path().join("journal.db-wal"), log).unwrap();
        fs::write(dir.path().join("journal.acknowledged"), &self.acknowledged).unwrap();
        dir
    }

    /// Found, or harmless: the same replay, and a journal that can be written to and read again. Gives whether it
    /// was found.
    fn is_found_or_harmless(&self, file: &[u8], log: &[u8], what: &str) -> bool {
        let dir = self.put(file, log);
        match Journal::open(dir.path()) {
            Err(Error::Corrupt { problems, .. }) => assert!(!problems.is_empty(), "{what}"),
            Err(Error::TooNew { .. }) => {}
            Err(error) => panic!("{what}: {error}"),
            Ok((mut journal, replay)) => {
                assert_eq!(replay, self.replay, "{what}");
                journal.append("new", 0, at(30), &[body(30), "x".repeat(9000)]).expect(what);
                drop(journal);
                let (_, after) = Journal::open(dir.path()).expect(what);
                assert_eq!(after.records.len(), self.replay.records.len() + 2, "{what}");
                return false;
            }
        }
        true
    }
}

/// Each page's beginning, where its structure is, and every so many bytes of the rest. `JOURNAL_EVERY_BYTE` makes it
/// every byte.
fn positions(length: usize) -> Vec<usize> {
    let all = std::env::var_os("JOURNAL_EVERY_BYTE").is_some();
    (0..length).filter(|position| all || position % 4096 < 64 || position % 61 == 0).collect()
}

#[test]
fn a_flipped_bit_in_the_file_is_found_or_harmless() {
    let files = Files::stopped();
    let mut found = 0;
    for position in positions(files.file.len()) {
        let mut file = files.file.clone();
        file[position] ^= if position % 2 == 0 { 1 << (position % 8) } else { 0xff };
        found += usize::from(files.is_found_or_harmless(&file, &[], &format!("byte {position}")));
    }
    assert!(found > 100, "only {found}");
}

#[test]
fn a_flipped_bit_in_the_log_is_found_or_harmless() {
    let files = Files::killed();
    let mut found = 0;
    for position in positions(files.log.len()) {
        let mut log = files.log.clone();
        log[position] ^= 1 << (position % 8);
        found += usize::from(files.is_found_or_harmless(&files.file, &log, &format!("byte {position}")));
    }
    assert!(found > 100, "only {found}");
}

#[test]
fn a_shortened_file_or_log_is_found_or_harmless() {
    let (stopped, killed) = (Files::stopped(), Files::killed());
    for length in (0..stopped.file.len()).step_by(397).chain((0..stopped.file.len()).step_by(4096)) {
        let found = stopped.is_found_or_harmless(&stopped.file[..length], &[], &format!("file of {length} bytes"));
        assert!(found, "file of {length} bytes");
    }
    for length in (0..killed.log.len()).step_by(397) {
        let found = killed.is_found_or_harmless(&killed.file, &killed.log[..length], &format!("log of {length} bytes"));
        assert!(found, "log of {length} bytes");
    }
}

#[test]
fn a_file_of_something_else_is_found() {
    let files = Files::stopped();
    let other = vec![0x5a; 20_000];
    assert!(files.is_found_or_harmless(&other, &[], "garbage"));
    assert!(files.is_found_or_harmless(&[], &[], "nothing"));
}

/// What `verify` says after somebody has changed the journal of `written` (snapshot of 1 to 4, records 5 to 9).
fn problems_after(change: &str) -> Vec<Problem> {
    let dir = fast_dir();
    drop(written(dir.path()));
    Connection::open(dir.path().join("journal.db")).unwrap().execute_batch(change).unwrap();
    let before = fs::read(dir.path().join("journal.db")).unwrap();
    let report = verify(dir.path()).unwrap();
    assert_eq!(before, fs::read(dir.path().join("journal.db")).unwrap(), "verify has written: {change}");
    let Err(Error::Corrupt { problems, .. }) = Journal::open(dir.path()) else { panic!("opened after: {change}") };
    assert_eq!(problems, report.problems, "{change}");
    problems
}

fn problem(id: u64, service: &str, seq: u64, fault: Fault) -> Problem {
    Problem { id: Some(id), service: Some(service.to_owned()), seq: Some(seq), fault }
}

fn general(fault: Fault) -> Problem {
    Problem { id: None, service: None, seq: None, fault }
}

#[test]
fn a_deleted_record_is_named() {
    let gaps = [
        problem(7, "web", 1, Fault::GapInIds { expected: 6 }),
        problem(9, "api", 7, Fault::GapInSequence { expected: 6 }),
    ];
    assert_eq!(problems_after("DELETE FROM record WHERE id = 6"), gaps);
}

#[test]
fn a_record_missing_at_the_end_is_named_even_if_the_head_agrees_that_it_never_was() {
    let missing = [general(Fault::MissingAtEnd { first: 9, last: 9 })];
    assert_eq!(problems_after("DELETE FROM record WHERE id = 9"), missing);
    let agreed =
        "UPDATE head SET id = 8, hash = (SELECT hash FROM record WHERE id = 8); DELETE FROM record WHERE id = 9";
    assert_eq!(problems_after(agreed), missing);
    let all = "DELETE FROM record; DELETE FROM snapshot; UPDATE head SET id = 0, hash = zeroblob(32)";
    assert_eq!(problems_after(all), [general(Fault::MissingAtEnd { first: 1, last: 9 })]);
}

#[test]
fn a_changed_field_of_a_record_is_named() {
    for change in ["body = 'x'", "at = at + 1", "hash = zeroblob(32)", "body = body || ' '", "at = -at"] {
        let problems = problems_after(&format!("UPDATE record SET {change} WHERE id = 7"));
        assert_eq!(problems[0], problem(7, "web", 1, Fault::BadHash), "{change}");
    }
    let problems = problems_after("UPDATE record SET service = 'new' WHERE id = 7");
    assert_eq!(problems[0], problem(7, "new", 1, Fault::BadHash));
    let problems = problems_after("UPDATE record SET seq = 3 WHERE id = 7");
    assert_eq!(problems[0], problem(7, "web", 3, Fault::GapInSequence { expected: 1 }));
    let problems = problems_after("UPDATE record SET hash = x'00' WHERE id = 7");
    assert!(matches!(&problems[0], Problem { id: Some(7), fault: Fault::Malformed(_), .. }), "{problems:?}");
    let problems = problems_after("UPDATE record SET body = CAST(x'ff' AS TEXT) WHERE id = 7");
    assert!(matches!(&problems[0], Problem { id: Some(7), fault: Fault::Malformed(_), .. }), "{problems:?}");
}

#[test]
fn records_that_have_changed_places_are_named() {
    let swap = "UPDATE record SET id = 99 WHERE id = 5; UPDATE record SET id = 5 WHERE id = 6; \
                UPDATE record SET id = 6 WHERE id = 99";
    let problems = problems_after(swap);
    assert!(problems.contains(&problem(5, "api", 6, Fault::BadHash)), "{problems:?}");
    assert!(problems.contains(&problem(6, "api", 5, Fault::BadHash)), "{problems:?}");
}

#[test]
fn a_changed_or_missing_snapshot_is_named() {
    for change in ["body = '{}'", "at = at + 1", "sequences = '{\"api\":5}'", "previous = zeroblob(32)"] {
        let problems = problems_after(&format!("UPDATE snapshot SET {change}"));
        let bad = Problem { id: Some(4), service: None, seq: None, fault: Fault::BadSnapshot };
        assert_eq!(problems[0], bad, "{change}");
    }
    let problems = problems_after("DELETE FROM snapshot");
    assert_eq!(problems[0], problem(5, "api", 5, Fault::GapInIds { expected: 1 }));
    let problems = problems_after("UPDATE snapshot SET sequences = '{\"api\":18446744073709551615}', id = -1");
    assert!(matches!(&problems[0].fault, Fault::Malformed(_)), "{problems:?}");
    let problems = problems_after("UPDATE snapshot SET sequences = '{\"api\":18446744073709551615}'");
    assert!(problems.len() > 1, "{problems:?}");
}

#[test]
fn a_changed_or_missing_head_is_named() {
    assert_eq!(problems_after("UPDATE head SET id = 8"), [general(Fault::HeadMismatch)]);
    assert_eq!(problems_after("UPDATE head SET hash = zeroblob(32)"), [general(Fault::HeadMismatch)]);
    let ahead = problems_after("UPDATE head SET id = 11");
    assert_eq!(ahead, [general(Fault::MissingAtEnd { first: 10, last: 11 })]);
    assert!(matches!(&problems_after("DELETE FROM head")[..], [Problem { fault: Fault::Malformed(_), .. }]));
}

#[test]
fn a_table_too_many_is_named() {
    assert!(matches!(&problems_after("CREATE TABLE t (x)")[..], [Problem { fault: Fault::Malformed(_), .. }]));
    assert!(matches!(&problems_after("PRAGMA user_version = 0")[..], [Problem { fault: Fault::Malformed(_), .. }]));
}

#[test]
fn another_past_under_the_same_ids_is_named() {
    let (here, there) = (fast_dir(), fast_dir());
    drop(written(here.path()));
    let (mut journal, _) = Journal::open(there.path()).unwrap();
    journal.append("other", 0, at(1), &vec![body(1); 12]).unwrap();
    drop(journal);
    fs::copy(there.path().join("journal.db"), here.path().join("journal.db")).unwrap();
    let problems = verify(here.path()).unwrap().problems;
    assert_eq!(problems, [problem(9, "other", 9, Fault::NotAcknowledged)]);
}

#[test]
fn a_file_that_is_gone_is_not_taken_for_a_new_journal() {
    for left in ["journal.acknowledged", "journal.db-wal"] {
        let dir = Files::killed();
        let dir = dir.put(&dir.file, &dir.log);
        for name in ["journal.db", "journal.db-wal", "journal.acknowledged"] {
            if name != left {
                fs::remove_file(dir.path().join(name)).unwrap();
            }
        }
        let error = Journal::open(dir.path()).unwrap_err();
        let Error::Corrupt { problems, .. } = &error else { panic!("{error}") };
        assert_eq!(problems[0].fault, Fault::FileMissing);
        assert!(!dir.path().join("journal.db").exists());
    }
}

#[test]
fn the_error_says_which_record_and_which_commands() {
    let dir = fast_dir();
    drop(written(dir.path()));
    let other = Connection::open(dir.path().join("journal.db")).unwrap();
    other.execute("UPDATE record SET body = 'secret' WHERE id = 7", []).unwrap();
    drop(other);
    let text = Journal::open(dir.path()).unwrap_err().to_string();
    let said = [
        "record 7 (\"web\", sequence 1)",
        "rollbackd journal verify --config F",
        "rollbackd journal repair --config F",
    ];
    for part in said {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("secret"));
}
