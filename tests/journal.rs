//! The journal as the daemon uses it: what was acknowledged is there, what is damaged is found.
//!
//! Never replaces a part of it: real files, real processes, real kills.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

#[path = "journal/crash.rs"]
mod crash;
#[path = "journal/damage.rs"]
mod damage;
#[path = "journal/disk.rs"]
mod disk;
#[path = "journal/mend.rs"]
mod mend;
#[path = "journal/snapshot.rs"]
mod snapshot;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;
use rollbackd::journal::{
    Error, Journal, LARGEST_BATCH, LARGEST_RECORD_BYTES, LONGEST_SERVICE_BYTES, Part, Replay, Stored, verify,
};
use rollbackd_core::time::Timestamp;
use tempfile::TempDir;

/// An instant that tells records apart.
fn at(number: u64) -> Timestamp {
    Timestamp::from_milliseconds(1_800_000_000_000 + i64::try_from(number).unwrap())
}

fn body(number: u64) -> String {
    format!(r#"{{"number":{number},"text":"größer"}}"#)
}

/// A folder in memory where there is such a thing: thousands of damaged copies need not reach a disk.
fn fast_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Opens, and reads everything back.
fn replay(dir: &Path) -> Replay {
    Journal::open(dir).unwrap().1
}

/// A journal with a snapshot, records of two services, and one that fills several pages.
fn written(dir: &Path) -> (Journal, Replay) {
    let (mut journal, _) = Journal::open(dir).unwrap();
    for number in 0..4 {
        journal.append("api", number, at(number), &[body(number)]).unwrap();
    }
    journal.compact(at(4), r#"{"state":"of four records"}"#).unwrap();
    journal.append("api", 4, at(5), &[body(5), body(6)]).unwrap();
    journal.append("web", 0, at(7), &[body(7), format!("\"{}\"", "x".repeat(6000))]).unwrap();
    journal.append("api", 6, at(9), &[body(9)]).unwrap();
    drop(journal);
    let (journal, replay) = Journal::open(dir).unwrap();
    assert_eq!(replay.records.len(), 5);
    (journal, replay)
}

#[test]
fn what_was_appended_is_replayed_in_order_with_its_id_and_sequence() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, empty) = Journal::open(dir.path()).unwrap();
    assert_eq!(empty, Replay { snapshot: None, records: Vec::new() });
    assert_eq!(journal.append("api", 0, at(1), &[body(1), body(2)]).unwrap(), 2);
    assert_eq!(journal.append("web", 0, at(3), &[String::new()]).unwrap(), 1);
    drop(journal);
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.append("api", 2, at(4), &[body(4)]).unwrap(), 3);
    assert_eq!(journal.records_since_snapshot(), 4);
    drop(journal);
    let stored = |id, service: &str, seq, number, body: String| Stored {
        id,
        service: service.to_owned(),
        seq,
        at: at(number),
        body,
    };
    let expected = [
        stored(1, "api", 1, 1, body(1)),
        stored(2, "api", 2, 1, body(2)),
        stored(3, "web", 1, 3, String::new()),
        stored(4, "api", 3, 4, body(4)),
    ];
    assert_eq!(replay(dir.path()), Replay { snapshot: None, records: expected.to_vec() });
}

#[test]
fn what_is_appended_together_is_there_in_its_order_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    let part = |service: &str, expected_seq, number| {
        let (service, bodies) = (service.to_owned(), vec![body(number), body(number + 1)]);
        Part { service, expected_seq, at: at(number), bodies }
    };
    journal.append_all(&[part("api", 0, 1), part("web", 0, 3), part("api", 2, 5)]).unwrap();
    let overtaken = journal.append_all(&[part("web", 2, 7), part("api", 2, 9)]).unwrap_err();
    assert!(matches!(overtaken, Error::Conflict { expected: 2, found: 4, .. }), "{overtaken}");
    let huge = Part { bodies: vec!["x".repeat(LARGEST_RECORD_BYTES + 1)], ..part("api", 4, 9) };
    assert!(matches!(journal.append_all(&[part("web", 2, 7), huge]), Err(Error::TooLarge { .. })));
    journal.append_all(&[part("web", 2, 11)]).unwrap();
    drop(journal);
    let found: Vec<_> = replay(dir.path())
        .records
        .into_iter()
        .map(|stored| (stored.id, stored.service, stored.seq, stored.body))
        .collect();
    let expected = [
        (1, "api", 1, 1),
        (2, "api", 2, 2),
        (3, "web", 1, 3),
        (4, "web", 2, 4),
        (5, "api", 3, 5),
        (6, "api", 4, 6),
        (7, "web", 3, 11),
        (8, "web", 4, 12),
    ];
    let expected: Vec<_> =
        expected.into_iter().map(|(id, service, seq, number)| (id, service.to_owned(), seq, body(number))).collect();
    assert_eq!(found, expected);
    assert_eq!(verify(dir.path()).unwrap().problems, vec![]);
}

#[test]
fn a_writer_that_was_overtaken_gets_a_conflict_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    journal.append("api", 0, at(1), &[body(1)]).unwrap();
    for expected_seq in [0, 2] {
        let error = journal.append("api", expected_seq, at(2), &[body(2)]).unwrap_err();
        let Error::Conflict { service, expected, found } = error else { panic!("{error}") };
        assert_eq!((service.as_str(), expected, found), ("api", expected_seq, 1));
    }
    assert_eq!(journal.append("api", 1, at(2), &[]).unwrap(), 1);
    assert_eq!(journal.append("api", 1, at(2), &[body(3)]).unwrap(), 2);
    drop(journal);
    let bodies: Vec<_> = replay(dir.path()).records.into_iter().map(|record| record.body).collect();
    assert_eq!(bodies, [body(1), body(3)]);
}

#[test]
fn what_is_larger_than_a_limit_is_refused_and_what_just_fits_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    let service = "s".repeat(LONGEST_SERVICE_BYTES);
    let largest = vec![String::new(); LARGEST_BATCH - 1];
    let largest = [largest, vec!["x".repeat(LARGEST_RECORD_BYTES)]].concat();
    assert_eq!(journal.append(&service, 0, at(1), &largest).unwrap(), LARGEST_BATCH as u64);
    let too_large = [
        (format!("{service}s"), vec![body(1)]),
        ("api".to_owned(), vec!["x".repeat(LARGEST_RECORD_BYTES + 1)]),
        ("api".to_owned(), vec![String::new(); LARGEST_BATCH + 1]),
    ];
    for (service, bodies) in too_large {
        assert!(matches!(journal.append(&service, 0, at(2), &bodies), Err(Error::TooLarge { .. })));
    }
    assert_eq!(journal.records_since_snapshot(), LARGEST_BATCH as u64);
    drop(journal);
    assert_eq!(replay(dir.path()).records.last().unwrap().body.len(), LARGEST_RECORD_BYTES);
}

#[test]
fn a_journal_is_readable_by_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    journal.append("api", 0, at(1), &[body(1)]).unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
}

#[test]
fn a_second_opener_is_refused_while_the_first_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    journal.append("api", 0, at(1), &[body(1)]).unwrap();
    assert!(matches!(verify(dir.path()), Err(Error::InUse { .. })));
    let other = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    assert!(other.query_row("SELECT count(*) FROM record", [], |row| row.get::<_, i64>(0)).is_err());
    assert_eq!(journal.append("api", 1, at(2), &[body(2)]).unwrap(), 2);
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    drop(written(dir.path()));
    let other = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    other.pragma_update(None, "user_version", 3).unwrap();
    drop(other);
    for error in [Journal::open(dir.path()).unwrap_err(), verify(dir.path()).unwrap_err()] {
        assert!(matches!(error, Error::TooNew { found: 3, known: 2, .. }), "{error}");
    }
}

#[test]
fn a_snapshot_takes_the_place_of_the_records_and_the_chain_goes_on_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, before) = written(dir.path());
    let snapshot = before.snapshot.unwrap();
    assert_eq!((snapshot.id, snapshot.at), (4, at(4)));
    assert_eq!(snapshot.body, r#"{"state":"of four records"}"#);
    journal.compact(at(10), "{}").unwrap();
    assert_eq!(journal.records_since_snapshot(), 0);
    journal.compact(at(11), "[]").unwrap();
    assert_eq!(journal.append("web", 2, at(12), &[body(12)]).unwrap(), 3);
    assert_eq!(journal.records_since_snapshot(), 1);
    drop(journal);
    let after = replay(dir.path());
    let snapshot = after.snapshot.unwrap();
    assert_eq!((snapshot.id, snapshot.body.as_str()), (9, "[]"));
    assert_eq!(snapshot.sequences, BTreeMap::from([("api".to_owned(), 7), ("web".to_owned(), 2)]));
    assert_eq!(after.records.iter().map(|record| (record.id, record.seq)).collect::<Vec<_>>(), [(10, 3)]);
}

#[test]
fn the_files_do_not_grow_with_the_number_of_compactions() {
    let dir = fast_dir();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    let mut seq = 0;
    let mut sizes = Vec::new();
    for round in 0..20 {
        for _ in 0..20 {
            seq = journal.append("api", seq, at(round), &vec!["x".repeat(4000); 32]).unwrap();
        }
        journal.compact(at(round), "y".repeat(20_000).as_str()).unwrap();
        let size = |name: &str| fs::metadata(dir.path().join(name)).unwrap().len();
        sizes.push(size("journal.db") + size("journal.db-wal"));
    }
    assert!(sizes.iter().all(|size| *size < 100_000), "2.5 MB a round, then a snapshot of 20 kB: {sizes:?}");
}

/// What a random run does.
#[derive(Clone, Debug)]
enum Step {
    Append { service: usize, bodies: Vec<String>, behind: u64 },
    Compact { body: String },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let body = prop_oneof![3 => ".{0,40}", 1 => "[a-z]{5000}"];
    let bodies = prop::collection::vec(body.clone(), 0..4);
    prop_oneof![
        8 => (0..3_usize, bodies, prop_oneof![9 => Just(0_u64), 1 => 1..3_u64])
            .prop_map(|(service, bodies, behind)| Step::Append { service, bodies, behind }),
        1 => prop_oneof![3 => body, 1 => (60_000..140_000_usize).prop_map(|length| "é".repeat(length / 2))]
            .prop_map(|body| Step::Compact { body }),
        2 => Just(Step::Reopen),
    ]
}

/// The journal as it should be: everything in a list.
#[derive(Default)]
struct Model {
    sequences: BTreeMap<String, u64>,
    last_id: u64,
    snapshot: Option<(u64, String, BTreeMap<String, u64>)>,
    records: Vec<Stored>,
}

impl Model {
    fn append(&mut self, service: &str, expected: u64, now: Timestamp, bodies: &[String]) -> Result<u64, u64> {
        let seq = self.sequences.entry(service.to_owned()).or_default();
        if *seq != expected {
            return Err(*seq);
        }
        for body in bodies {
            *seq += 1;
            self.last_id += 1;
            let (id, service, body) = (self.last_id, service.to_owned(), body.clone());
            self.records.push(Stored { id, service, seq: *seq, at: now, body });
        }
        Ok(*seq)
    }

    fn compact(&mut self, body: &str) {
        self.records.clear();
        let used = self.sequences.iter().filter(|(_, seq)| **seq > 0);
        let sequences = used.map(|(service, seq)| (service.clone(), *seq)).collect();
        self.snapshot = Some((self.last_id, body.to_owned(), sequences));
    }

    fn assert_is(&self, replay: &Replay) {
        let snapshot = replay.snapshot.clone().map(|snapshot| (snapshot.id, snapshot.body, snapshot.sequences));
        assert_eq!(snapshot, self.snapshot);
        assert_eq!(replay.records, self.records);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_run_of_appends_compactions_and_restarts_gives_back_what_was_put_in(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        let dir = fast_dir();
        let mut model = Model::default();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        for (number, step) in (0_u64..).zip(steps) {
            match step {
                Step::Append { service, bodies, behind } => {
                    let service = ["api", "web", ""][service];
                    let seq = model.sequences.get(service).copied().unwrap_or(0).saturating_sub(behind);
                    let answer = journal.append(service, seq, at(number), &bodies).map_err(|error| {
                        let Error::Conflict { found, .. } = error else { panic!("{error}") };
                        found
                    });
                    prop_assert_eq!(answer, model.append(service, seq, at(number), &bodies));
                }
                Step::Compact { body } => {
                    journal.compact(at(number), body.as_str()).unwrap();
                    model.compact(&body);
                }
                Step::Reopen => {
                    drop(journal);
                    let replay;
                    (journal, replay) = Journal::open(dir.path()).unwrap();
                    model.assert_is(&replay);
                }
            }
            prop_assert_eq!(journal.records_since_snapshot(), model.records.len() as u64);
        }
        drop(journal);
        model.assert_is(&replay(dir.path()));
        prop_assert_eq!(verify(dir.path()).unwrap().problems, vec![]);
    }
}

#[test]
fn a_journal_that_a_daemon_holds_is_read_from_a_copy_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, replay) = written(dir.path());
    let names = || {
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    assert_eq!(rollbackd::journal::read(dir.path()).unwrap(), replay, "beside the writer");
    let error = Journal::open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "the writer still holds its file: {error}");
    journal.append("api", 7, at(10), &[body(10)]).unwrap();
    let read = rollbackd::journal::read(dir.path()).unwrap();
    assert_eq!(read.records.last().map(|record| record.body.clone()), Some(body(10)), "what was appended since");
    assert_eq!(names(), before);
}

#[test]
fn a_journal_is_read_whole_however_often_its_log_is_moved_into_its_file_meanwhile() {
    let dir = fast_dir();
    let (mut journal, _) = written(dir.path());
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut seq = 7;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                seq = journal.append("api", seq, at(seq), &[format!("\"{}\"", "y".repeat(20_000))]).unwrap();
                if seq.is_multiple_of(20) {
                    journal.compact(at(seq), "{}").unwrap();
                }
            }
        });
        let reads: Vec<_> = (0..20).map(|_| rollbackd::journal::read(dir.path())).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for read in reads {
            read.unwrap();
        }
    });
}

#[test]
fn where_no_daemon_has_run_there_is_no_journal_to_read_and_none_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let error = rollbackd::journal::read(dir.path()).unwrap_err();
    assert!(error.to_string().contains("there is no journal"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
