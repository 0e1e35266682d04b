//! How a snapshot is stored: in pieces, so that neither writing nor reading one holds copies of all of it.
//!
//! Never stores a text that is not the one whose length and hash it says.

use std::collections::BTreeMap;
use std::io;

use rollbackd_core::time::Timestamp;
use rusqlite::{Connection, Transaction, params};

use super::chain::{OfSnapshot, Tip};
use super::database::sql;

/// The size of a piece. SQLite copies each twice.
const PIECE_BYTES: usize = 64 * 1024;

/// A JSON text that is written as often as it is asked for, always the same: what is large need not be held as a text.
pub trait Body: Send {
    /// Writes all of it.
    ///
    /// # Errors
    /// It can't be written as JSON, or not there.
    fn write_to(&self, to: &mut dyn io::Write) -> io::Result<()>;
}

impl Body for str {
    fn write_to(&self, to: &mut dyn io::Write) -> io::Result<()> {
        to.write_all(self.as_bytes())
    }
}

/// How many bytes it is long.
pub(super) fn length(body: &(impl Body + ?Sized)) -> io::Result<usize> {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    body.write_to(&mut count)?;
    Ok(count.0)
}

/// Puts a snapshot of this length in the place of the one before; gives the new end of the chain.
pub(super) fn put(
    transaction: &Transaction<'_>,
    tip: &Tip,
    at: Timestamp,
    (body, length): (&(impl Body + ?Sized), usize),
    sequences: &BTreeMap<String, u64>,
) -> rusqlite::Result<Tip> {
    transaction.execute("DELETE FROM snapshot", [])?;
    transaction.execute("DELETE FROM snapshot_piece", [])?;
    let hasher = OfSnapshot::begin(tip, at, length);
    let mut pieces = Pieces { transaction, next: Vec::with_capacity(PIECE_BYTES), number: 0, written: 0, hasher };
    body.write_to(&mut pieces).and_then(|()| pieces.put_next()).map_err(other)?;
    if pieces.written != length {
        let why = format!("the state had {length} bytes, and then {}", pieces.written);
        return Err(other(io::Error::other(why)));
    }
    let hash = pieces.hasher.end(sequences);
    let sequences = serde_json::to_string(sequences).map_err(|error| other(error.into()))?;
    transaction.execute(
        "INSERT INTO snapshot VALUES (1, ?1, ?2, '', ?3, ?4, ?5)",
        params![sql(tip.id), at.milliseconds(), sequences, tip.hash, hash],
    )?;
    Ok(Tip { id: tip.id, hash })
}

fn other(error: io::Error) -> rusqlite::Error {
    match error.downcast::<rusqlite::Error>() {
        Ok(error) => error,
        Err(error) => rusqlite::Error::ToSqlConversionFailure(Box::new(error)),
    }
}

/// Stores what is written into it piece by piece.
struct Pieces<'a> {
    transaction: &'a Transaction<'a>,
    next: Vec<u8>,
    number: i64,
    written: usize,
    hasher: OfSnapshot,
}

impl Pieces<'_> {
    fn put_next(&mut self) -> io::Result<()> {
        if self.next.is_empty() {
            return Ok(());
        }
        self.number += 1;
        self.transaction
            .prepare_cached("INSERT INTO snapshot_piece VALUES (?1, ?2)")
            .and_then(|mut insert| insert.execute(params![self.number, self.next]))
            .map_err(io::Error::other)?;
        self.hasher.take(&self.next);
        self.written += self.next.len();
        self.next.clear();
        Ok(())
    }
}

impl io::Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (fits, _) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.next.len()));
        self.next.extend_from_slice(fits);
        if self.next.len() == PIECE_BYTES {
            self.put_next()?;
        }
        Ok(fits.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends the pieces that are there to what a journal of format 1 has in one.
pub(super) fn read_pieces(connection: &Connection, whole: &mut Vec<u8>) -> rusqlite::Result<()> {
    let length: i64 =
        connection.query_row("SELECT coalesce(sum(length(body)), 0) FROM snapshot_piece", [], |row| row.get(0))?;
    whole.reserve_exact(usize::try_from(length).unwrap_or(0));
    let mut statement = connection.prepare("SELECT body FROM snapshot_piece ORDER BY number")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        whole.extend_from_slice(row.get_ref(0)?.as_blob()?);
    }
    Ok(())
}
