//! Repair keeps the longest valid prefix, says what it lost, and deletes nothing.

use std::fs;
use std::path::Path;

use rollbackd::journal::{Error, Journal, Lost, repair, verify};
use rollbackd::state_dir::StateDir;
use rusqlite::Connection;

use super::{at, body, fast_dir, replay, written};

fn change(dir: &Path, statement: &str) {
    Connection::open(dir.join("journal.db")).unwrap().execute_batch(statement).unwrap();
}

fn lost(first: u64, last: u64, record: Option<(&str, u64)>) -> Lost {
    Lost { first, last, record: record.map(|(service, seq)| (service.to_owned(), seq)) }
}

#[test]
fn what_stands_before_the_damage_is_kept_and_the_journal_goes_on_from_there() {
    let dir = fast_dir();
    let (journal, before) = written(dir.path());
    drop(journal);
    change(dir.path(), "UPDATE record SET body = 'x' WHERE id = 7");
    let damaged = fs::read(dir.path().join("journal.db")).unwrap();
    let announced = verify(dir.path()).unwrap().lost;
    let repaired = repair(dir.path(), at(50)).unwrap();
    let expected = [lost(7, 7, Some(("web", 1))), lost(8, 8, Some(("web", 2))), lost(9, 9, Some(("api", 7)))];
    assert_eq!((repaired.last_id, repaired.lost.as_slice()), (6, expected.as_slice()));
    assert_eq!(announced, expected);
    let aside = repaired.moved_to.unwrap();
    assert_eq!(aside, dir.path().join("journal.db.broken-2027-01-15T08-00-00.050Z"));
    assert_eq!(fs::read(aside).unwrap(), damaged);
    let (mut journal, after) = Journal::open(dir.path()).unwrap();
    assert_eq!(after.snapshot, before.snapshot);
    assert_eq!(after.records, before.records[..2]);
    assert_eq!(journal.append("api", 6, at(51), &[body(51)]).unwrap(), 7);
    assert_eq!(journal.append("web", 0, at(52), &[body(52)]).unwrap(), 1);
    drop(journal);
    assert_eq!(replay(dir.path()).records.len(), 4);
}

#[test]
fn a_sound_journal_is_left_as_it_is() {
    let dir = fast_dir();
    let (journal, before) = written(dir.path());
    drop(journal);
    let repaired = repair(dir.path(), at(50)).unwrap();
    assert_eq!((repaired.last_id, repaired.moved_to), (9, None));
    assert_eq!(replay(dir.path()), before);
}

#[test]
fn records_that_only_the_head_or_the_acknowledgement_know_of_are_said_to_be_lost() {
    let dir = fast_dir();
    drop(written(dir.path()));
    change(dir.path(), "DELETE FROM record WHERE id > 7");
    assert_eq!(repair(dir.path(), at(50)).unwrap().lost, [lost(8, 9, None)]);
    assert_eq!(replay(dir.path()).records.len(), 3);
}

#[test]
fn without_its_snapshot_nothing_can_be_kept() {
    let dir = fast_dir();
    drop(written(dir.path()));
    change(dir.path(), "UPDATE snapshot SET body = '{}'");
    let repaired = repair(dir.path(), at(50)).unwrap();
    assert_eq!(repaired.last_id, 0);
    assert_eq!(repaired.lost[0], lost(1, 4, None));
    assert_eq!(repaired.lost.len(), 6);
    let after = replay(dir.path());
    assert_eq!((after.snapshot, after.records), (None, Vec::new()));
}

#[test]
fn damage_that_touches_no_record_loses_none() {
    for statement in ["DELETE FROM head", "UPDATE head SET id = 2", "CREATE TABLE t (x)", "PRAGMA user_version = 0"] {
        let dir = fast_dir();
        let (journal, before) = written(dir.path());
        drop(journal);
        change(dir.path(), statement);
        let repaired = repair(dir.path(), at(50)).unwrap();
        assert_eq!(repaired.lost, [], "{statement}");
        assert!(repaired.moved_to.is_some(), "{statement}");
        assert_eq!(replay(dir.path()), before, "{statement}");
    }
}

#[test]
fn a_page_of_garbage_and_a_cut_file_are_repaired_to_a_journal_that_opens() {
    for (from, to) in [(0, 100), (4096, 8192), (8192, 12288), (16384, 20480), (20480, 24576)] {
        for cut in [true, false] {
            let dir = fast_dir();
            let (journal, before) = written(dir.path());
            drop(journal);
            let file = dir.path().join("journal.db");
            let mut bytes = fs::read(&file).unwrap();
            assert!(bytes.len() >= to, "{}", bytes.len());
            if cut {
                bytes.truncate(from)
            } else {
                bytes[from..to].fill(0xa5)
            }
            fs::write(&file, &bytes).unwrap();
            let repaired = repair(dir.path(), at(50)).unwrap();
            let after = replay(dir.path());
            assert_eq!(after.records, before.records[..after.records.len()], "{from} {cut}");
            let last = after.records.last().map_or(after.snapshot.map_or(0, |snapshot| snapshot.id), |last| last.id);
            assert_eq!(repaired.last_id, last, "{from} {cut}");
            let lost: u64 = repaired.lost.iter().map(|lost| lost.last - lost.first + 1).sum();
            assert_eq!(last + lost, 9, "{from} {cut}: {:?}", repaired.lost);
        }
    }
}

#[test]
fn whatever_the_header_says_what_does_not_open_is_repaired_and_opens() {
    const HEADER_BYTES: usize = 100;
    // A later format is no damage: the release that wrote it is asked for.
    const FORMAT: std::ops::Range<usize> = 60..64;
    // SQLite looks at two bits of it, and takes the first reading for fixed.
    const TEXT_ENCODING: usize = 59;
    let dir = fast_dir();
    let (journal, before) = written(dir.path());
    drop(journal);
    let sound = fs::read(dir.path().join("journal.db")).unwrap();
    let acknowledged = fs::read(dir.path().join("journal.acknowledged")).unwrap();
    let mut repaired_with_all = 0;
    let masks = |position| (1..=0xff).filter(move |mask: &u8| mask.is_power_of_two() || position == TEXT_ENCODING);
    for (position, mask) in (0..HEADER_BYTES).flat_map(|position| masks(position).map(move |mask| (position, mask))) {
        let dir = fast_dir();
        let mut file = sound.clone();
        file[position] ^= mask;
        fs::write(dir.path().join("journal.db"), file).unwrap();
        fs::write(dir.path().join("journal.acknowledged"), &acknowledged).unwrap();
        let what = format!("byte {position}, mask {mask:#04x}");
        if let Ok((mut journal, found)) = Journal::open(dir.path()) {
            assert_eq!(found, before, "{what}");
            journal.append("new", 0, at(30), &[body(30), "x".repeat(9000)]).expect(&what);
            drop(journal);
            assert_eq!(replay(dir.path()).records.len(), before.records.len() + 2, "{what}");
            continue;
        }
        let report = match verify(dir.path()) {
            Err(Error::TooNew { .. }) if FORMAT.contains(&position) => continue,
            other => other.expect(&what),
        };
        assert_ne!(report.problems, [], "{what}: does not open, and nothing is found");
        let repaired = repair(dir.path(), at(50)).expect(&what);
        assert!(repaired.moved_to.is_some(), "{what}");
        let after = replay(dir.path());
        assert_eq!(after.records, before.records[..after.records.len()], "{what}");
        repaired_with_all += usize::from(after == before);
    }
    assert!(repaired_with_all > 0);
}

#[test]
fn nothing_is_repaired_beside_a_daemon() {
    let dir = fast_dir();
    drop(written(dir.path()));
    change(dir.path(), "DELETE FROM record WHERE id = 9");
    let held = StateDir::claim(dir.path()).unwrap();
    assert!(matches!(repair(dir.path(), at(50)), Err(Error::StateDir(_))));
    assert!(matches!(verify(dir.path()), Err(Error::StateDir(_))));
    drop(held);
    assert_eq!(repair(dir.path(), at(50)).unwrap().last_id, 8);
}

#[test]
fn a_repair_that_was_cut_off_is_finished_and_until_then_nothing_opens() {
    let dir = fast_dir();
    let (journal, before) = written(dir.path());
    drop(journal);
    // The moment after the damaged file was removed, and before the mended one took its place.
    fs::rename(dir.path().join("journal.db"), dir.path().join("journal.db.repaired")).unwrap();
    assert!(matches!(Journal::open(dir.path()), Err(Error::RepairInterrupted { .. })));
    assert!(matches!(verify(dir.path()), Err(Error::RepairInterrupted { .. })));
    let repaired = repair(dir.path(), at(50)).unwrap();
    assert_eq!((repaired.last_id, repaired.moved_to), (9, None));
    assert_eq!(replay(dir.path()), before);
}

#[test]
fn a_folder_that_is_not_there_is_not_made() {
    let dir = fast_dir();
    let missing = dir.path().join("mistyped");
    assert!(matches!(repair(&missing, at(50)), Err(Error::Absent { file }) if file.starts_with(&missing)));
    assert!(matches!(verify(&missing), Err(Error::Absent { .. })));
    assert!(!missing.exists());
    assert_eq!(verify(dir.path()).unwrap().problems, []);
}
