//! A disk that is full or read-only: nothing is lost, it is said what it is, and it goes on when there is room.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rollbackd::journal::{Error, Journal, verify};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use super::crash::child;
use super::{at, replay};

/// Fills the disk, by whatever way, in the midst of appends; then makes room and goes on.
fn goes_on_when_there_is_room(dir: &Path, fill: impl Fn(), make_room: impl Fn()) {
    let text = |seq: u64| format!("{seq}{}", "x".repeat(3000));
    let (mut journal, _) = Journal::open(dir).unwrap();
    let mut seq = 0;
    for round in 0..4 {
        for _ in 0..10 {
            seq = journal.append("api", seq, at(seq), &[text(seq)]).unwrap();
        }
        fill();
        let mut failures = 0;
        // What is left (the log's own room, the rest of a block) takes a few more.
        for _ in 0..400 {
            match journal.append("api", seq, at(seq), &[text(seq), text(seq + 1)]) {
                Ok(new) => seq = new,
                Err(Error::NotWritable { .. }) => failures += 1,
                Err(error) => panic!("round {round}: {error}"),
            }
            if failures == 3 {
                break;
            }
        }
        assert_eq!(failures, 3, "round {round}: the disk never was full");
        if round == 2 {
            // A daemon that is started now still sees everything.
            drop(journal);
            let replayed;
            (journal, replayed) = Journal::open(dir).unwrap();
            assert_eq!(replayed.records.last().unwrap().seq, seq);
            let error = journal.append("api", seq, at(seq), &vec!["x".repeat(20_000); 40]).unwrap_err();
            assert!(matches!(error, Error::NotWritable { .. }), "{error}");
        }
        assert!(matches!(journal.compact(at(0), "y".repeat(900_000).as_str()), Err(Error::NotWritable { .. })));
        make_room();
        seq = journal.append("api", seq, at(seq), &[text(seq)]).unwrap();
    }
    drop(journal);
    let records = replay(dir).records;
    assert_eq!(records.len() as u64, seq);
    for record in records {
        assert_eq!(record.body, text(record.seq - 1));
    }
    assert_eq!(verify(dir).unwrap().problems, []);
}

#[test]
#[ignore = "limits its whole process; run by the test below"]
fn fills_up_to_a_file_size_limit() {
    let Some(dir) = std::env::var_os("JOURNAL_DIR") else { return };
    let dir = Path::new(&dir);
    // Else the limit's signal would end the process before the write could fail.
    signal_hook::flag::register(Signal::XFSZ.as_raw(), Arc::new(AtomicBool::new(false))).unwrap();
    let hard = getrlimit(Resource::Fsize).maximum;
    let fill = || {
        let log = fs::metadata(dir.join("journal.db-wal")).unwrap().len();
        setrlimit(Resource::Fsize, Rlimit { current: Some(log + 5000), maximum: hard }).unwrap();
    };
    let make_room = || setrlimit(Resource::Fsize, Rlimit { current: hard, maximum: hard }).unwrap();
    goes_on_when_there_is_room(dir, fill, make_room);
}

#[test]
fn a_write_that_fails_half_way_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output = child("disk::fills_up_to_a_file_size_limit", dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(dir.path().join("journal.db").exists(), "the child has not run");
}

#[test]
#[ignore = "needs a disk of its own; run by the tests below"]
fn fills_up_a_disk() {
    let Some(dir) = std::env::var_os("JOURNAL_DIR") else { return };
    let dir = Path::new(&dir);
    let filler = dir.join("filler");
    let fill = || {
        let mut file = OpenOptions::new().create(true).append(true).open(&filler).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    };
    goes_on_when_there_is_room(dir, fill, || fs::remove_file(&filler).unwrap());
}

#[test]
#[ignore = "needs a disk of its own; run by the tests below"]
fn turns_a_disk_read_only() {
    let Some(dir) = std::env::var_os("JOURNAL_DIR") else { return };
    let dir = Path::new(&dir);
    let (mut journal, _) = Journal::open(dir).unwrap();
    journal.append("api", 0, at(1), &["{}".to_owned()]).unwrap();
    drop(journal);
    fs::create_dir(dir.join("empty")).unwrap();
    let mount = |mode: &str| {
        let remount = format!("remount,{mode},size=1m");
        assert!(Command::new("mount").args(["-o", &remount]).arg(dir).status().unwrap().success());
    };
    mount("ro");
    File::create(dir.join("probe")).unwrap_err();
    for folder in [dir.to_owned(), dir.join("empty")] {
        let error = Journal::open(&folder).unwrap_err();
        assert!(matches!(error, Error::NotWritable { .. }), "{error}");
    }
    mount("rw");
    assert_eq!(replay(dir).records.len(), 1);
}

/// Runs one of the tests above with a small disk in memory that only its process sees; gives false where the system
/// allows no such thing.
fn run_on_own_disk(test: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@""#;
    let unshare = |command: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(dir.path()).args(command);
        unshare
    };
    if !unshare(&["true"]).status().is_ok_and(|status| status.success()) {
        eprintln!("not run: no mount namespaces here; the file size limit's test covers a full disk");
        return false;
    }
    let told = child(test, dir.path());
    let words: Vec<&str> =
        std::iter::once(told.get_program()).chain(told.get_args()).map(|word| word.to_str().unwrap()).collect();
    let output = unshare(&words).env("JOURNAL_DIR", dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
    true
}

#[test]
fn a_full_disk_loses_nothing_and_is_not_taken_for_damage() {
    run_on_own_disk("disk::fills_up_a_disk");
}

#[test]
fn a_read_only_disk_is_not_taken_for_damage() {
    run_on_own_disk("disk::turns_a_disk_read_only");
}
