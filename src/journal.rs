//! The journal: an append-only log of records, durable before `append` returns, each chained to the one before by hash.
//!
//! Never knows what a record means, never gives out a record of a file in which anything is wrong, and never forgets
//! an acknowledged record other than by a snapshot that stands for it.
//!
//! A record is a JSON text. State is the fold of the snapshot, if there is one, and the records after it. The calls
//! block, for as long as an fsync takes; a failed append leaves the journal as it was, and usable.

mod acknowledged;
mod chain;
mod copied;
mod database;
mod error;
mod examine;
mod repair;
mod snapshot;
mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rollbackd_core::time::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use acknowledged::Acknowledged;
use chain::Tip;
pub use copied::read;
pub use error::{Error, Fault, Problem};
use error::{classify, not_writable};
use examine::Examination;
pub use examine::Lost;
pub use repair::{Repaired, Report, repair, verify};
pub use snapshot::Body;
pub use store::{OffThread, Store};

/// The largest record: the largest request body that is accepted (1 MiB) may end in one.
pub const LARGEST_RECORD_BYTES: usize = 1 << 20;
/// The most records in one append: a deploy that ends the firings of two hundred triggers, each with its pages, makes
/// this many; more is a loop.
pub const LARGEST_BATCH: usize = 1024;
/// The largest snapshot: ten thousand services with full ledgers take about 1.3 GB.
pub const LARGEST_SNAPSHOT_BYTES: usize = 2 << 30;
/// The longest service name, in bytes: twice what the core allows.
pub const LONGEST_SERVICE_BYTES: usize = 128;

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the journal: from 1, without gaps.
    pub id: u64,
    /// The service that it belongs to.
    pub service: String,
    /// Its place among the service's records: from 1, without gaps.
    pub seq: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// The record, a JSON text.
    pub body: String,
}

/// What stands for all records up to an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last record that it stands for; 0 where it stands for none.
    pub id: u64,
    /// When it was taken.
    pub at: Timestamp,
    /// The state, a JSON text.
    pub body: String,
    /// Each service's last sequence in it.
    pub sequences: BTreeMap<String, u64>,
}

/// All that a journal holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// What the records go on from.
    pub snapshot: Option<Snapshot>,
    /// The records after it, in order.
    pub records: Vec<Stored>,
}

/// What is appended to one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The service.
    pub service: String,
    /// The sequence that it is at, counting the parts before this one.
    pub expected_seq: u64,
    /// When the records were decided.
    pub at: Timestamp,
    /// The records, JSON texts.
    pub bodies: Vec<String>,
}

impl Part {
    /// Whether this can be appended at all.
    ///
    /// # Errors
    /// `TooLarge`.
    pub fn check(&self) -> Result<(), Error> {
        check_limits(&self.service, &self.bodies)
    }
}

/// So much room there must be again before the journal counts as writable: some dozens of records.
const PROBE_BYTES: usize = 64 * 1024;

/// The open journal of a state folder.
#[derive(Debug)]
pub struct Journal {
    file: PathBuf,
    /// `None` after a write that failed: what the file holds then is found out before the next one.
    connection: Option<Connection>,
    /// The last acknowledged end of the chain.
    tip: Tip,
    sequences: BTreeMap<String, u64>,
    /// The last id that the snapshot stands for.
    snapshot_id: u64,
    acknowledged: Acknowledged,
}

impl Journal {
    /// Opens the journal in this folder, which the caller has claimed; creates it (0600) where there is none.
    /// Reads and verifies all of it.
    ///
    /// # Errors
    /// `Corrupt` where anything is wrong with it, `TooNew`, `InUse`, `RepairInterrupted`, and `NotWritable` where it
    /// can't be created or opened for writing.
    pub fn open(state_dir: &Path) -> Result<(Self, Replay), Error> {
        let file = database::file_in(state_dir);
        if repair::is_interrupted(state_dir) {
            return Err(Error::RepairInterrupted { dir: state_dir.to_owned() });
        }
        if repair::is_absent(state_dir) {
            database::create(state_dir, &file, None, &[])?;
        }
        database::sync_files(&file)?;
        database::sync_folder(state_dir)?;
        let (connection, examination) = repair::inspect(state_dir)?;
        let Examination { snapshot, records, tip, sequences, problems, .. } = examination;
        let (Some(connection), []) = (connection, problems.as_slice()) else {
            return Err(Error::Corrupt { file, problems });
        };
        database::make_durable(&connection, &file)?;
        let mut acknowledged = Acknowledged::beside(state_dir);
        acknowledged.write(&tip);
        let snapshot_id = snapshot.as_ref().map_or(0, |chained| chained.snapshot.id);
        let journal = Self { file, connection: Some(connection), tip, sequences, snapshot_id, acknowledged };
        Ok((journal, Replay { snapshot: snapshot.map(|chained| chained.snapshot), records }))
    }

    /// Appends records to a service, all or none; durable when it returns the service's new last sequence.
    ///
    /// # Errors
    /// As [`Self::append_all`].
    pub fn append(&mut self, service: &str, expected_seq: u64, at: Timestamp, bodies: &[String]) -> Result<u64, Error> {
        let part = Part { service: service.to_owned(), expected_seq, at, bodies: bodies.to_vec() };
        self.append_all(std::slice::from_ref(&part))?;
        Ok(self.sequence(service))
    }

    /// Appends records to several services, all or none and in this order, with one sync; durable when it returns.
    ///
    /// # Errors
    /// `Conflict` where a service is not at its `expected_seq`, `TooLarge`, `NotWritable` (nothing was appended; ask
    /// again), and `Corrupt` where the file was changed from outside.
    pub fn append_all(&mut self, parts: &[Part]) -> Result<(), Error> {
        let mut sequences: BTreeMap<&str, u64> = BTreeMap::new();
        for part in parts {
            part.check()?;
            let known = self.sequence(&part.service);
            let found = sequences.entry(&part.service).or_insert(known);
            if *found != part.expected_seq {
                let (service, expected) = (part.service.clone(), part.expected_seq);
                return Err(Error::Conflict { service, expected, found: *found });
            }
            *found += part.bodies.len() as u64;
        }
        if parts.iter().all(|part| part.bodies.is_empty()) {
            return Ok(());
        }
        self.write("append to", |transaction, mut tip| {
            for part in parts {
                for (seq, body) in (part.expected_seq + 1..).zip(&part.bodies) {
                    tip = database::put_record(transaction, &tip, &part.service, seq, part.at, body)?;
                }
            }
            Ok(tip)
        })?;
        for (service, seq) in sequences.into_iter().filter(|(_, seq)| *seq > 0) {
            match self.sequences.get_mut(service) {
                Some(known) => *known = seq,
                None => drop(self.sequences.insert(service.to_owned(), seq)),
            }
        }
        Ok(())
    }

    fn sequence(&self, service: &str) -> u64 {
        self.sequences.get(service).copied().unwrap_or(0)
    }

    /// Replaces all records, and the snapshot before, by a snapshot that stands for them. Room that this frees goes
    /// back to the disk, now or at the next compactions.
    ///
    /// # Errors
    /// `TooLarge`, `NotWritable` (nothing was replaced; ask again), and `Corrupt` where the file was changed from
    /// outside.
    pub fn compact(&mut self, at: Timestamp, body: &(impl Body + ?Sized)) -> Result<(), Error> {
        let length = snapshot::length(body).map_err(not_writable("measure the state for", &self.file))?;
        check("a snapshot", length, LARGEST_SNAPSHOT_BYTES, "bytes")?;
        let sequences = self.sequences.clone();
        self.write("compact", |transaction, tip| {
            // Not at the start already: on a full disk a daemon has to start all the same.
            database::bring_up_to_date(transaction)?;
            transaction.execute("DELETE FROM record", [])?;
            snapshot::put(transaction, &tip, at, (body, length), &sequences)
        })?;
        self.snapshot_id = self.tip.id;
        // The snapshot stands. What could not be given back waits for the next compaction, on a new connection.
        self.connection = self.connection.take().filter(|connection| database::give_back(connection).is_ok());
        Ok(())
    }

    /// Writes the chain's end where it is already: whether the journal can be written again after it could not.
    ///
    /// # Errors
    /// `NotWritable` while it can't, and `Corrupt` where the file was changed from outside.
    pub fn probe(&mut self) -> Result<(), Error> {
        // The last bytes of a full disk may take the chain's end and not the next record.
        let room = self.file.with_file_name("journal.probe");
        let written = database::room_for(&room, PROBE_BYTES);
        written.map_err(|source| Error::NotWritable {
            act: "write again to",
            file: self.file.clone(),
            source: source.into(),
        })?;
        self.write("write again to", |_, tip| Ok(tip))
    }

    /// How many records there are after the snapshot.
    #[must_use]
    pub const fn records_since_snapshot(&self) -> u64 {
        self.tip.id - self.snapshot_id
    }

    /// Runs one transaction that takes the chain from one end to the next, and acknowledges it.
    fn write(
        &mut self,
        act: &'static str,
        change: impl FnOnce(&Transaction<'_>, Tip) -> rusqlite::Result<Tip>,
    ) -> Result<(), Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.reconnect()?,
        };
        // A connection whose write has failed is dropped, not used again: what it believes to be on the disk may not
        // be there (after a failed fsync the kernel no longer tries).
        let tip = commit(&mut connection, self.tip, change).map_err(|error| classify(act, &self.file, error))?;
        self.connection = Some(connection);
        self.tip = tip;
        self.acknowledged.write(&tip);
        Ok(())
    }

    /// Opens the file again after a write that failed, and takes back what that write may have left in it.
    fn reconnect(&mut self) -> Result<Connection, Error> {
        let mut connection = database::connect(&self.file)?;
        database::make_durable(&connection, &self.file)?;
        let failed = |error| classify("write again to", &self.file, error);
        match left_behind(&connection, &self.tip).map_err(failed)? {
            LeftBehind::Nothing => {}
            LeftBehind::Records(head) => {
                take_back(&mut connection, head, self.tip).map_err(failed)?;
            }
            LeftBehind::Snapshot(head) => {
                self.tip = head;
                self.snapshot_id = head.id;
            }
            LeftBehind::Foreign => {
                let problems = vec![Problem::general(Fault::HeadMismatch)];
                return Err(Error::Corrupt { file: self.file.clone(), problems });
            }
        }
        // What an fsync has failed on is only in memory; the checkpoint writes it anew and syncs that.
        database::checkpoint(&connection).map_err(failed)?;
        Ok(connection)
    }
}

/// What a write that was reported as failed has left in the file.
enum LeftBehind {
    /// The chain ends where it was acknowledged.
    Nothing,
    /// Records after that, up to this end: nobody was told of them.
    Records(Tip),
    /// A snapshot of exactly what was acknowledged; it stands for the same, and stays.
    Snapshot(Tip),
    /// Something that this journal has not written.
    Foreign,
}

fn left_behind(connection: &Connection, tip: &Tip) -> rusqlite::Result<LeftBehind> {
    let head = examine::read_head(connection)?;
    let known = examine::read_hash(connection, tip.id)?.contains(&tip.hash) || *tip == chain::GENESIS;
    Ok(match (head == *tip, known) {
        (true, _) => LeftBehind::Nothing,
        (false, true) if head.id > tip.id => LeftBehind::Records(head),
        (false, true) if head.id == tip.id => LeftBehind::Snapshot(head),
        (false, true | false) => LeftBehind::Foreign,
    })
}

fn take_back(connection: &mut Connection, head: Tip, tip: Tip) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute("DELETE FROM record WHERE id > ?1", params![database::sql(tip.id)])?;
    database::move_head(&transaction, &head, &tip)?;
    transaction.commit()
}

fn commit(
    connection: &mut Connection,
    tip: Tip,
    change: impl FnOnce(&Transaction<'_>, Tip) -> rusqlite::Result<Tip>,
) -> rusqlite::Result<Tip> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let next = change(&transaction, tip)?;
    database::move_head(&transaction, &tip, &next)?;
    transaction.commit()?;
    Ok(next)
}

fn check_limits(service: &str, bodies: &[String]) -> Result<(), Error> {
    check("a service's name", service.len(), LONGEST_SERVICE_BYTES, "bytes")?;
    check("a batch", bodies.len(), LARGEST_BATCH, "records")?;
    bodies.iter().try_for_each(|body| check("a record", body.len(), LARGEST_RECORD_BYTES, "bytes"))
}

const fn check(what: &'static str, found: usize, limit: usize, unit: &'static str) -> Result<(), Error> {
    if found > limit { Err(Error::TooLarge { what, found, limit, unit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_milliseconds(milliseconds)
    }

    fn open(dir: &Path) -> (Journal, Vec<String>) {
        let (journal, replay) = Journal::open(dir).unwrap();
        (journal, replay.records.into_iter().map(|record| record.body).collect())
    }

    /// A journal with one record whose last write was reported as failed, though this much of it is in the file.
    fn after_failed(dir: &Path, change: impl FnOnce(&Transaction<'_>, Tip) -> rusqlite::Result<Tip>) -> Journal {
        let (mut journal, _) = open(dir);
        journal.append("api", 0, at(1), &["kept".to_owned()]).unwrap();
        let mut connection = journal.connection.take().unwrap();
        commit(&mut connection, journal.tip, change).unwrap();
        journal
    }

    #[test]
    fn records_that_were_reported_as_failed_are_taken_back_before_the_next_append() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = after_failed(dir.path(), |transaction, tip| {
            let tip = database::put_record(transaction, &tip, "api", 2, at(2), "never acknowledged")?;
            database::put_record(transaction, &tip, "web", 1, at(2), "never acknowledged")
        });
        assert_eq!(journal.append("api", 1, at(3), &["decided again".to_owned()]).unwrap(), 2);
        drop(journal);
        assert_eq!(open(dir.path()).1, ["kept", "decided again"]);
    }

    #[test]
    fn a_snapshot_that_was_reported_as_failed_stands_for_the_same_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = after_failed(dir.path(), |transaction, tip| {
            let sequences = BTreeMap::from([("api".to_owned(), 1)]);
            transaction.execute("DELETE FROM record", [])?;
            snapshot::put(transaction, &tip, at(2), ("[]", 2), &sequences)
        });
        assert_eq!(journal.append("api", 1, at(3), &["next".to_owned()]).unwrap(), 2);
        assert_eq!(journal.records_since_snapshot(), 1);
        drop(journal);
        assert_eq!(open(dir.path()).1, ["next"]);
    }

    #[test]
    fn a_file_that_another_program_has_written_to_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = after_failed(dir.path(), |transaction, tip| {
            transaction.execute("DELETE FROM record", [])?;
            database::put_record(transaction, &Tip { id: tip.id - 1, ..tip }, "api", 1, at(2), "forged")
        });
        for _ in 0..2 {
            let error = journal.append("api", 1, at(3), &["next".to_owned()]).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        }
    }
}
