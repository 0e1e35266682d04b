//! `journal verify` and `journal repair`: what is wrong with a journal, and the longest valid prefix of it, saved.
//!
//! Never deletes the damaged files: they are copied aside first. Never runs beside a daemon.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rollbackd_core::time::Timestamp;
use rusqlite::Connection;

use super::acknowledged::Acknowledged;
use super::database::{self, with_suffix};
use super::error::{Error, Fault, Problem, not_writable};
use super::examine::{Examination, Lost, examine};
use crate::state_dir::{StateDir, give_to_owner_of};

/// What the mended file is called until it takes the damaged one's place: where it is there, it is complete.
const MENDED: &str = ".repaired";

/// What `verify` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The journal's file.
    pub file: PathBuf,
    /// The last id that the snapshot stands for; `None` without a (sound) snapshot.
    pub snapshot_id: Option<u64>,
    /// How many sound records there are after it.
    pub records: u64,
    /// The last id of the valid prefix.
    pub last_id: u64,
    /// What is wrong; empty where nothing is.
    pub problems: Vec<Problem>,
    /// What a repair would lose.
    pub lost: Vec<Lost>,
}

/// What `repair` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The journal's file.
    pub file: PathBuf,
    /// The last id that was kept.
    pub last_id: u64,
    /// What was wrong.
    pub problems: Vec<Problem>,
    /// What was lost.
    pub lost: Vec<Lost>,
    /// Where the damaged file is now; `None` where nothing was wrong, so that nothing was changed, and where a repair
    /// that was interrupted has only been finished: what that one lost is in the file that it moved aside.
    pub moved_to: Option<PathBuf>,
}

/// Says what is wrong with the journal in this folder, and changes nothing.
///
/// # Errors
/// `StateDir` or `InUse` while a daemon runs, `RepairInterrupted`, `TooNew`, and `NotWritable` where the file can't be
/// opened (SQLite needs to lock it).
pub fn verify(state_dir: &Path) -> Result<Report, Error> {
    let _held = claim_existing(state_dir)?;
    let file = database::file_in(state_dir);
    if is_interrupted(state_dir) {
        return Err(Error::RepairInterrupted { dir: state_dir.to_owned() });
    }
    let (_, found) = inspect_or_nothing(state_dir)?;
    Ok(Report {
        file,
        snapshot_id: found.snapshot.map(|chained| chained.snapshot.id),
        records: found.records.len() as u64,
        last_id: found.tip.id,
        problems: found.problems,
        lost: found.lost,
    })
}

/// Keeps the longest valid prefix of the journal in this folder, and moves the damaged files aside.
///
/// Interrupted at any point, it can be run again, and nothing of the damaged files is gone.
///
/// # Errors
/// `StateDir` or `InUse` while a daemon runs, `TooNew`, and `NotWritable` where a file can't be written.
pub fn repair(state_dir: &Path, now: Timestamp) -> Result<Repaired, Error> {
    let _held = claim_existing(state_dir)?;
    let file = database::file_in(state_dir);
    if is_interrupted(state_dir) {
        put_in_place(state_dir, &file)?;
    }
    let (connection, found) = inspect_or_nothing(state_dir)?;
    // Closed before the file is copied: see `database`.
    drop(connection);
    let Examination { snapshot, records, tip, problems, lost, .. } = found;
    let mut repaired = Repaired { file: file.clone(), last_id: tip.id, problems, lost, moved_to: None };
    if repaired.problems.is_empty() {
        return Ok(repaired);
    }
    let aside = with_suffix(&file, &format!(".broken-{}", now.to_string().replace(':', "-")));
    copy_aside(state_dir, &file, &aside)?;
    database::create(state_dir, &with_suffix(&file, MENDED), snapshot.as_ref(), &records)?;
    put_in_place(state_dir, &file)?;
    repaired.moved_to = Some(aside);
    Ok(repaired)
}

/// Whether a repair was begun and has not come to its end.
pub(super) fn is_interrupted(state_dir: &Path) -> bool {
    with_suffix(&database::file_in(state_dir), MENDED).exists()
}

/// Whether there never was a journal in this folder: not if something is left of one.
pub(super) fn is_absent(state_dir: &Path) -> bool {
    let file = database::file_in(state_dir);
    let log = with_suffix(&file, "-wal").metadata().map_or(0, |log| log.len());
    !file.exists() && log == 0 && Acknowledged::read(state_dir).is_none_or(|tip| tip.id == 0)
}

/// Reads the whole journal, and leaves it as it is.
pub(super) fn inspect(state_dir: &Path) -> Result<(Option<Connection>, Examination), Error> {
    let file = database::file_in(state_dir);
    let acknowledged = Acknowledged::read(state_dir);
    if !file.exists() {
        return Ok((None, Examination::unreadable(Fault::FileMissing, acknowledged)));
    }
    let connection = database::connect(&file)?;
    let examination = examine(&connection, &file, acknowledged)?;
    Ok((Some(connection), examination))
}

fn inspect_or_nothing(state_dir: &Path) -> Result<(Option<Connection>, Examination), Error> {
    if is_absent(state_dir) { Ok((None, Examination::begin(None))) } else { inspect(state_dir) }
}

/// The lock, on a folder that must be there: a mistyped one is not to be created.
fn claim_existing(state_dir: &Path) -> Result<StateDir, Error> {
    if !state_dir.is_dir() {
        return Err(Error::Absent { file: database::file_in(state_dir) });
    }
    Ok(StateDir::claim(state_dir)?)
}

/// Copies, so that the damaged journal stays where it is until the mended one is complete.
fn copy_aside(dir: &Path, file: &Path, aside: &Path) -> Result<(), Error> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let (from, to) = (with_suffix(file, suffix), with_suffix(aside, suffix));
        if from.exists() {
            copy(&from, &to).map_err(not_writable("copy aside to", &to))?;
            give_to_owner_of(dir, &to);
        }
    }
    database::sync_folder(dir)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut File::open(from)?, &mut copy)?;
    copy.sync_all()
}

/// The mended file takes the damaged one's place. Each step can be the last one before a crash: as long as the mended
/// file has its passing name, `open` refuses and `repair` comes back here.
fn put_in_place(dir: &Path, file: &Path) -> Result<(), Error> {
    Acknowledged::remove(dir).map_err(not_writable("forget the end of", file))?;
    database::remove_with_companions(file)?;
    database::sync_folder(dir)?;
    fs::rename(with_suffix(file, MENDED), file).map_err(not_writable("mend", file))?;
    database::sync_folder(dir)
}
