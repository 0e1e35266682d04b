//! The database file: how it is made, opened, set and written to.
//!
//! Never waits for a daemon that has the file open, and never has SQLite create a file that was not there. Nothing in
//! this process may open and close the file by itself while a connection is open: that would drop SQLite's lock.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rollbackd_core::time::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};

use super::chain::{self, GENESIS, Hash, Tip};
use super::error::{Error, classify, not_writable};
use super::{Snapshot, Stored, snapshot};
use crate::state_dir::give_to_owner_of;

/// The file's name in the state folder.
pub(super) const NAME: &str = "journal.db";
/// The file's format (`PRAGMA user_version`).
pub(super) const FORMAT: i64 = 2;
/// The first one: a snapshot lay there in one piece.
pub(super) const FIRST_FORMAT: i64 = 1;
/// The tables by name, as the file must have them. The last is not in the first format.
const TABLES: [(&str, &str); 4] = [
    (
        "head",
        "CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), id INTEGER NOT NULL, hash BLOB NOT NULL) STRICT",
    ),
    (
        "record",
        "CREATE TABLE record (id INTEGER PRIMARY KEY, service TEXT NOT NULL, seq INTEGER NOT NULL, \
         at INTEGER NOT NULL, body TEXT NOT NULL, hash BLOB NOT NULL) STRICT",
    ),
    (
        "snapshot",
        "CREATE TABLE snapshot (one INTEGER PRIMARY KEY CHECK (one = 1), id INTEGER NOT NULL, at INTEGER NOT NULL, \
         body TEXT NOT NULL, sequences TEXT NOT NULL, previous BLOB NOT NULL, hash BLOB NOT NULL) STRICT",
    ),
    ("snapshot_piece", "CREATE TABLE snapshot_piece (number INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT"),
];
/// A backup tool may read the file's head for a moment; a daemon holds it for ever, and need not be waited for.
const BUSY: Duration = Duration::from_millis(500);
/// The write-ahead log is cut back to this after a burst (twice what it takes before it is written to the file).
const LONGEST_LOG_BYTES: i64 = 8 << 20;
/// Of the file's pages so many KiB are kept in memory (`PRAGMA cache_size`, below zero): what is written goes to the end of
/// the file and is not read again.
const CACHE: &str = "-512";
/// Pages given back after one compaction (16 MiB of 4 KiB pages): what is left waits for the next, so that no append
/// waits long.
const PAGES_GIVEN_BACK: u32 = 4096;

/// A snapshot as it is stored.
#[derive(Clone, Debug)]
pub(super) struct ChainedSnapshot {
    pub(super) snapshot: Snapshot,
    /// The hash of the last record that it replaced.
    pub(super) previous: Hash,
    pub(super) hash: Hash,
}

/// The tables of a format.
pub(super) const fn tables(format: i64) -> &'static [(&'static str, &'static str)] {
    match &TABLES {
        [first @ .., _] if format == FIRST_FORMAT => first,
        all => all,
    }
}

/// The database in this state folder.
pub(super) fn file_in(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// The file with something after its name, as SQLite names its companions.
pub(super) fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes names in the folder durable.
pub(super) fn sync_folder(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|folder| folder.sync_all()).map_err(not_writable("sync the folder of", dir))
}

/// Makes what was written durable, if it is there: a process that was killed may have left a commit that no disk has
/// seen yet, and what is replayed must not be lost any more. To be called with no connection open.
pub(super) fn sync_files(file: &Path) -> Result<(), Error> {
    for each in [with_suffix(file, "-wal"), file.to_owned()] {
        match File::open(&each).and_then(|open| open.sync_all()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(not_writable("sync", &each)(error)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Opens the file so that neither reading nor closing changes it.
pub(super) fn connect(file: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<(Connection, bool)> {
        let connection = Connection::open_with_flags(file, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        let read_only = connection.is_readonly("main")?;
        Ok((connection, read_only))
    };
    let (connection, read_only) = open().map_err(|error| classify("open", file, error))?;
    if read_only {
        return Err(not_writable("open", file)(io::ErrorKind::PermissionDenied.into()));
    }
    // Exclusive: a second opener fails at once, and the index of the log needs no shared file. Without a map of the
    // file, a truncated one is an error and not a signal.
    for (name, value) in [("locking_mode", "exclusive"), ("mmap_size", "0"), ("cell_size_check", "1")] {
        set(&connection, file, name, value)?;
    }
    Ok(connection)
}

/// Sets an examined connection to durable writes.
pub(super) fn make_durable(connection: &Connection, file: &Path) -> Result<(), Error> {
    let log_limit = LONGEST_LOG_BYTES.to_string();
    let settings = [
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("fullfsync", "1"),
        ("checkpoint_fullfsync", "1"),
        ("temp_store", "2"),
        ("cache_size", CACHE),
        ("journal_size_limit", &log_limit),
    ];
    for (name, value) in settings {
        set(connection, file, name, value)?;
    }
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
        .map(|_| ())
        .map_err(|error| classify("set up", file, error))
}

/// Sets a pragma and makes sure that it holds: SQLite ignores what it can't do.
fn set(connection: &Connection, file: &Path, name: &'static str, wanted: &str) -> Result<(), Error> {
    let ask = || -> rusqlite::Result<Option<Value>> {
        connection.pragma_update(None, name, wanted)?;
        let mut found = None;
        connection.pragma_query(None, name, |row| {
            found = Some(row.get(0)?);
            Ok(())
        })?;
        Ok(found)
    };
    let found = match ask().map_err(|error| classify("set up", file, error))? {
        Some(Value::Integer(number)) => number.to_string(),
        Some(Value::Text(text)) => text,
        // A build of SQLite without memory maps answers nothing.
        None if name == "mmap_size" => return Ok(()),
        Some(Value::Null | Value::Real(_) | Value::Blob(_)) | None => "nothing".to_owned(),
    };
    if found == wanted {
        return Ok(());
    }
    let source = format!("expected PRAGMA {name} to be {wanted} on this file system, found {found}").into();
    Err(Error::NotWritable { act: "set up", file: file.to_owned(), source })
}

/// Writes a new file with this content under a passing name, and gives it its own name when it is complete and
/// durable: a crash leaves all of it or nothing.
pub(super) fn create(
    dir: &Path,
    file: &Path,
    chained: Option<&ChainedSnapshot>,
    records: &[Stored],
) -> Result<(), Error> {
    let passing = with_suffix(file, ".new");
    remove_with_companions(&passing)?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&passing)
        .map_err(not_writable("create", &passing))?;
    give_to_owner_of(dir, &passing);
    let mut connection = connect(&passing)?;
    let failed = |error| classify("create", &passing, error);
    connection.pragma_update(None, "auto_vacuum", "incremental").map_err(failed)?;
    make_durable(&connection, &passing)?;
    fill(&mut connection, chained, records).map_err(failed)?;
    // Closing the last connection writes the log into the file and removes it.
    connection.close().map_err(|(_, error)| failed(error))?;
    if with_suffix(&passing, "-wal").exists() {
        let source = "its log could not be written into it".into();
        return Err(Error::NotWritable { act: "create", file: passing, source });
    }
    sync_files(&passing)?;
    fs::rename(&passing, file).map_err(not_writable("create", file))?;
    sync_folder(dir)
}

fn fill(connection: &mut Connection, chained: Option<&ChainedSnapshot>, records: &[Stored]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (_, table) in TABLES {
        transaction.execute(table, [])?;
    }
    transaction.pragma_update(None, "user_version", FORMAT)?;
    let mut tip = GENESIS;
    transaction.execute("INSERT INTO head VALUES (1, ?1, ?2)", params![sql(tip.id), tip.hash])?;
    if let Some(chained) = chained {
        let Snapshot { id, at, body, sequences } = &chained.snapshot;
        let before = Tip { id: *id, hash: chained.previous };
        tip = snapshot::put(&transaction, &before, *at, (body.as_str(), body.len()), sequences)?;
    }
    for record in records {
        tip = put_record(&transaction, &tip, &record.service, record.seq, record.at, &record.body)?;
    }
    move_head(&transaction, &GENESIS, &tip)?;
    transaction.commit()
}

/// Makes a file of the first format one of this. A snapshot in one piece stays as it is until the next.
pub(super) fn bring_up_to_date(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let format: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if format != FIRST_FORMAT {
        return Ok(());
    }
    for (_, table) in tables(FORMAT).iter().skip(tables(FIRST_FORMAT).len()) {
        transaction.execute(table, [])?;
    }
    transaction.pragma_update(None, "user_version", FORMAT)
}

/// Removes a file and what SQLite keeps beside it, if they are there; the companions first, since a log without its
/// file would be taken for the next file's.
pub(super) fn remove_with_companions(file: &Path) -> Result<(), Error> {
    for suffix in ["-wal", "-shm", "-journal", ""] {
        let each = with_suffix(file, suffix);
        match fs::remove_file(&each) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(not_writable("remove", &each)(error)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Adds a record after `tip`; gives the new tip.
pub(super) fn put_record(
    transaction: &Transaction<'_>,
    tip: &Tip,
    service: &str,
    seq: u64,
    at: Timestamp,
    body: &str,
) -> rusqlite::Result<Tip> {
    let id = tip.id + 1;
    let hash = chain::of_record(&tip.hash, id, service, seq, at, body);
    transaction.prepare_cached("INSERT INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        sql(id),
        service,
        sql(seq),
        at.milliseconds(),
        body,
        hash
    ])?;
    Ok(Tip { id, hash })
}

/// Moves the head, if it is where we left it: whoever else wrote to the file has moved it.
pub(super) fn move_head(transaction: &Transaction<'_>, from: &Tip, to: &Tip) -> rusqlite::Result<()> {
    let moved = transaction
        .prepare_cached("UPDATE head SET id = ?1, hash = ?2 WHERE one = 1 AND id = ?3 AND hash = ?4")?
        .execute(params![sql(to.id), to.hash, sql(from.id), from.hash])?;
    if moved == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(moved)) }
}

/// Writes the log into the file, syncs that, and cuts the log to nothing.
pub(super) fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    // The answer's first column says whether a reader held it up; with an exclusive lock there is none.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Gives the room that a compaction freed back to the disk.
pub(super) fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    // The pragma frees one page per step.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES_GIVEN_BACK})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    checkpoint(connection)
}

/// Ids and sequences are stored as SQLite's integers; both count from 1 and never get near the end.
pub(super) fn sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Whether a file of this size can be written beside the journal; it is removed again at once.
pub(super) fn room_for(file: &Path, bytes: usize) -> std::io::Result<()> {
    let written = std::fs::File::create(file).and_then(|mut created| {
        std::io::Write::write_all(&mut created, &vec![0; bytes])?;
        created.sync_all()
    });
    let removed = std::fs::remove_file(file);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_synced_and_the_log_is_the_only_companion() {
        let dir = tempfile::tempdir().unwrap();
        let file = file_in(dir.path());
        create(dir.path(), &file, None, &[]).unwrap();
        let connection = connect(&file).unwrap();
        make_durable(&connection, &file).unwrap();
        let ask = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, Value>(0)).unwrap();
        assert_eq!(ask("synchronous"), Value::Integer(2));
        assert_eq!(ask("journal_mode"), Value::Text("wal".to_owned()));
        assert_eq!(ask("auto_vacuum"), Value::Integer(2));
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["journal.db", "journal.db-wal"]);
    }

    #[test]
    fn a_setting_that_does_not_hold_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = file_in(dir.path());
        create(dir.path(), &file, None, &[]).unwrap();
        let connection = connect(&file).unwrap();
        let error = set(&connection, &file, "journal_mode", "sideways").unwrap_err();
        assert!(error.to_string().contains("expected PRAGMA journal_mode to be sideways"), "{error}");
    }
}
