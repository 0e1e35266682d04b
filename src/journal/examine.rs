//! Reads a whole journal and says what is wrong with it: the same walk opens, verifies and repairs.
//!
//! Never changes anything, and never stops at the first problem while there is something left to read.

use std::collections::BTreeMap;
use std::fmt;

use rollbackd_core::time::Timestamp;
use rusqlite::types::{FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, Row};

use super::chain::{self, GENESIS, Hash, Tip};
use super::database::{ChainedSnapshot, FIRST_FORMAT, FORMAT, tables};
use super::error::{Error, Fault, Problem, classify};
use super::{Snapshot, Stored, snapshot};

/// Findings of SQLite's own check that are shown: the first few name the page, the rest follow from them.
const INTEGRITY_LINES: u32 = 20;

/// Records that are not in the valid prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The first id.
    pub first: u64,
    /// The last id, the same where it is one record.
    pub last: u64,
    /// The record's service and sequence, where it is one record that can still be read.
    pub record: Option<(String, u64)>,
}

impl fmt::Display for Lost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.record, self.first == self.last) {
            (Some((service, seq)), true) => write!(formatter, "record {} ({service} {seq})", self.first),
            (None, true) => write!(formatter, "record {}", self.first),
            (_, false) => write!(formatter, "records {} to {}", self.first, self.last),
        }
    }
}

/// What a journal holds and what is wrong with it.
#[derive(Debug)]
pub(super) struct Examination {
    /// The snapshot, where it is sound.
    pub(super) snapshot: Option<ChainedSnapshot>,
    /// The longest valid prefix of the records after it.
    pub(super) records: Vec<Stored>,
    /// Where that prefix ends.
    pub(super) tip: Tip,
    /// The last sequence of each service in it.
    pub(super) sequences: BTreeMap<String, u64>,
    /// What is wrong; where this is empty, the prefix is everything.
    pub(super) problems: Vec<Problem>,
    /// What is not in the prefix.
    pub(super) lost: Vec<Lost>,
    /// Where the walk is: the last id that was seen, and its stored hash where it could be read.
    seen: (u64, Option<Hash>),
    /// The last sequence of each service that was seen.
    seen_sequences: BTreeMap<String, u64>,
    /// What was acknowledged last, as the file beside the database says.
    acknowledged: Option<Tip>,
}

impl Examination {
    /// Of a file of which nothing can be read.
    pub(super) fn unreadable(fault: Fault, acknowledged: Option<Tip>) -> Self {
        let mut examination = Self::begin(acknowledged);
        examination.problems.push(Problem::general(fault));
        examination.expect_end(acknowledged.map_or(0, |tip| tip.id));
        examination
    }

    pub(super) const fn begin(acknowledged: Option<Tip>) -> Self {
        Self {
            snapshot: None,
            records: Vec::new(),
            tip: GENESIS,
            sequences: BTreeMap::new(),
            problems: Vec::new(),
            lost: Vec::new(),
            seen: (GENESIS.id, Some(GENESIS.hash)),
            seen_sequences: BTreeMap::new(),
            acknowledged,
        }
    }

    /// Whether everything so far belongs to the valid prefix.
    fn is_whole(&self) -> bool {
        self.lost.is_empty()
    }

    fn lose(&mut self, first: u64, last: u64, record: Option<(String, u64)>) {
        self.lost.push(Lost { first, last, record });
    }

    fn take_snapshot(&mut self, chained: ChainedSnapshot) {
        let id = chained.snapshot.id;
        let Snapshot { at, body, sequences, .. } = &chained.snapshot;
        let hash = chain::of_snapshot(&Tip { id, hash: chained.previous }, *at, body, sequences);
        self.seen = (id, Some(chained.hash));
        self.seen_sequences.clone_from(sequences);
        if hash != chained.hash {
            self.problems.push(Problem::at(id, Fault::BadSnapshot));
            return self.lose(1, id, None);
        }
        let acknowledged = self.acknowledged.filter(|tip| tip.id == id);
        if acknowledged.is_some_and(|tip| tip.hash != hash && tip.hash != chained.previous) {
            self.problems.push(Problem::at(id, Fault::NotAcknowledged));
        }
        self.tip = Tip { id, hash };
        self.sequences.clone_from(sequences);
        self.snapshot = Some(chained);
    }

    fn take_record(&mut self, record: Stored, hash: Hash) {
        let (id, previous) = self.seen;
        let mut faults = Vec::new();
        let in_place = record.id == id + 1;
        if !in_place {
            faults.push(Fault::GapInIds { expected: id + 1 });
        }
        let seq = self.seen_sequences.get(&record.service).map_or(1, |seq| seq.saturating_add(1));
        if record.seq != seq {
            faults.push(Fault::GapInSequence { expected: seq });
        }
        let fits = |previous: Hash| {
            chain::of_record(&previous, record.id, &record.service, record.seq, record.at, &record.body) == hash
        };
        if in_place && previous.is_some_and(|previous| !fits(previous)) {
            faults.push(Fault::BadHash);
        }
        if record.id > id + 1 {
            self.lose(id + 1, record.id - 1, None);
        }
        let sound = faults.is_empty();
        if self.acknowledged.is_some_and(|tip| tip.id == record.id && tip.hash != hash) {
            faults.push(Fault::NotAcknowledged);
        }
        let Stored { id, ref service, seq, .. } = record;
        self.problems.extend(faults.into_iter().map(|fault| Problem {
            id: Some(id),
            service: Some(service.clone()),
            seq: Some(seq),
            fault,
        }));
        self.seen = (id, Some(hash));
        self.seen_sequences.insert(service.clone(), seq);
        if sound && self.is_whole() {
            self.tip = Tip { id, hash };
            self.sequences.insert(record.service.clone(), seq);
            self.records.push(record);
        } else {
            self.lose(id, id, Some((record.service, seq)));
        }
    }

    fn take_malformed(&mut self, id: u64, fault: Fault) {
        self.problems.push(Problem::at(id, fault));
        self.lose((self.seen.0 + 1).min(id), id, None);
        self.seen = (id, None);
    }

    fn take_head(&mut self, head: Tip) {
        let (end, hash) = self.seen;
        if head.id < end || (head.id == end && hash.is_some_and(|hash| hash != head.hash)) {
            self.problems.push(Problem::general(Fault::HeadMismatch));
        }
        self.expect_end(head.id.max(self.acknowledged.map_or(0, |tip| tip.id)));
    }

    /// The chain should have gone on to this id.
    fn expect_end(&mut self, last: u64) {
        let end = self.seen.0;
        if last > end {
            self.problems.push(Problem::general(Fault::MissingAtEnd { first: end + 1, last }));
            self.lose(end + 1, last, None);
        }
    }
}

/// Walks through the whole file.
pub(super) fn examine(
    connection: &Connection,
    file: &std::path::Path,
    acknowledged: Option<Tip>,
) -> Result<Examination, Error> {
    let mut examination = Examination::begin(acknowledged);
    let mut format = FORMAT;
    match connection.pragma_query_value(None, "user_version", |row| row.get(0)) {
        Ok(found @ (FIRST_FORMAT | FORMAT)) => format = found,
        Ok(found) if found > FORMAT => {
            return Err(Error::TooNew { file: file.to_owned(), found, known: FORMAT });
        }
        Ok(found) => {
            let text = format!("its format is {found}, which no rollbackd has written");
            examination.problems.push(Problem::general(Fault::Malformed(text)));
        }
        Err(error) => {
            if tells_of_content(&error) {
                return Ok(Examination::unreadable(Fault::Unreadable(error.to_string()), acknowledged));
            }
            return Err(classify("read", file, error));
        }
    }
    check_structure(connection, format, &mut examination.problems);
    walk(connection, format, &mut examination).unwrap_or_else(|error| {
        let next = examination.seen.0 + 1;
        examination.problems.push(Problem::at(next, Fault::Unreadable(error.to_string())));
        examination.seen.1 = None;
    });
    match read_head(connection) {
        Ok(head) => examination.take_head(head),
        Err(error) => {
            let text = format!("its head can't be read: {error}");
            examination.problems.push(Problem::general(Fault::Malformed(text)));
            examination.expect_end(acknowledged.map_or(0, |tip| tip.id));
        }
    }
    if let Err(error) = read_schema_anew(connection) {
        let text = format!("its header can't be read a second time: {error}");
        examination.problems.push(Problem::general(Fault::Malformed(text)));
    }
    Ok(examination)
}

/// SQLite reads the header and the schema again whenever it takes its copy for outdated, and looks more closely then: a
/// text encoding that it does not know passes once, and not again. Nothing can be read any more where it fails.
fn read_schema_anew(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "writable_schema", "reset")?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// Whether a failed first read says something about what is in the file, or only that it could not be opened (its log
/// can't be made, somebody else holds it).
fn tells_of_content(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, OutOfMemory, PermissionDenied, ReadOnly,
    };
    !matches!(
        error.sqlite_error_code(),
        Some(CannotOpen | DatabaseBusy | DatabaseLocked | DiskFull | OutOfMemory | PermissionDenied | ReadOnly)
    )
}

/// SQLite's own check, whether the tables are those that the journal makes, and whether SQLite would write to them.
fn check_structure(connection: &Connection, format: i64, problems: &mut Vec<Problem>) {
    let as_made = || -> rusqlite::Result<bool> {
        let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
        let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let found: Vec<(String, String)> = found.collect::<rusqlite::Result<_>>()?;
        Ok(found.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).eq(tables(format).iter().copied()))
    };
    let check = || -> rusqlite::Result<Vec<String>> {
        let mut statement = connection.prepare(&format!("PRAGMA integrity_check({INTEGRITY_LINES})"))?;
        statement.query_map([], |row| row.get(0))?.collect()
    };
    // Only now, after its first page was read, is it known whether its header claims a later file format, which can be
    // read and not written.
    if !connection.is_readonly("main").is_ok_and(|read_only| !read_only) {
        problems
            .push(Problem::general(Fault::Malformed("its header claims a format that can't be written".to_owned())));
    }
    match as_made() {
        Ok(true) => {}
        Ok(false) => {
            problems.push(Problem::general(Fault::Malformed("its tables are not those of a journal".to_owned())));
        }
        Err(error) => problems.push(Problem::general(Fault::Unreadable(error.to_string()))),
    }
    match check() {
        Ok(lines) if lines == ["ok"] => {}
        Ok(lines) => problems.extend(lines.into_iter().map(|line| Problem::general(Fault::Integrity(line)))),
        Err(error) => problems.push(Problem::general(Fault::Integrity(error.to_string()))),
    }
}

fn walk(connection: &Connection, format: i64, examination: &mut Examination) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT id, at, body, sequences, previous, hash FROM snapshot")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        match read_snapshot(connection, format, row) {
            Ok(chained) => examination.take_snapshot(chained),
            Err(error) => {
                let id = unsigned(row.get_ref(0)?).unwrap_or(0);
                examination.take_malformed(id, Fault::Malformed(format!("the snapshot is malformed: {error}")));
            }
        }
    }
    let mut statement = connection.prepare("SELECT id, service, seq, at, body, hash FROM record ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        match read_record(row) {
            Ok((record, hash)) => examination.take_record(record, hash),
            Err(error) => {
                let id = unsigned(row.get_ref(0)?).unwrap_or(0);
                examination.take_malformed(id, Fault::Malformed(format!("it is malformed: {error}")));
            }
        }
    }
    Ok(())
}

/// Where the head says that the chain ends.
pub(super) fn read_head(connection: &Connection) -> rusqlite::Result<Tip> {
    connection.query_row("SELECT id, hash FROM head WHERE one = 1", [], |row| {
        Ok(Tip { id: unsigned(row.get_ref(0)?)?, hash: hash(row.get_ref(1)?)? })
    })
}

/// Where a record or the snapshot of this id ends the chain.
pub(super) fn read_hash(connection: &Connection, id: u64) -> rusqlite::Result<Vec<Hash>> {
    let select = "SELECT hash FROM record WHERE id = ?1 UNION ALL SELECT hash FROM snapshot WHERE id = ?1 \
                  UNION ALL SELECT previous FROM snapshot WHERE id = ?1";
    let mut statement = connection.prepare(select)?;
    let found = statement.query_map([super::database::sql(id)], |row| Ok(hash(row.get_ref(0)?)?))?;
    found.collect()
}

fn read_record(row: &Row<'_>) -> rusqlite::Result<(Stored, Hash)> {
    let record = Stored {
        id: unsigned(row.get_ref(0)?)?,
        service: row.get_ref(1)?.as_str()?.to_owned(),
        seq: unsigned(row.get_ref(2)?)?,
        at: Timestamp::from_milliseconds(row.get_ref(3)?.as_i64()?),
        body: row.get_ref(4)?.as_str()?.to_owned(),
    };
    Ok((record, hash(row.get_ref(5)?)?))
}

fn read_snapshot(connection: &Connection, format: i64, row: &Row<'_>) -> rusqlite::Result<ChainedSnapshot> {
    let sequences = serde_json::from_str(row.get_ref(3)?.as_str()?).map_err(|_| FromSqlError::InvalidType)?;
    let mut body = row.get_ref(2)?.as_str()?.as_bytes().to_vec();
    if format != FIRST_FORMAT {
        snapshot::read_pieces(connection, &mut body)?;
    }
    let snapshot = Snapshot {
        id: unsigned(row.get_ref(0)?)?,
        at: Timestamp::from_milliseconds(row.get_ref(1)?.as_i64()?),
        body: String::from_utf8(body).map_err(|error| FromSqlError::Utf8Error(error.utf8_error()))?,
        sequences,
    };
    Ok(ChainedSnapshot { snapshot, previous: hash(row.get_ref(4)?)?, hash: hash(row.get_ref(5)?)? })
}

fn unsigned(value: ValueRef<'_>) -> FromSqlResult<u64> {
    let number = value.as_i64()?;
    u64::try_from(number).map_err(|_| FromSqlError::OutOfRange(number))
}

fn hash(value: ValueRef<'_>) -> FromSqlResult<Hash> {
    let bytes = value.as_blob()?;
    bytes.try_into().map_err(|_| FromSqlError::InvalidBlobSize { expected_size: 32, blob_size: bytes.len() })
}
