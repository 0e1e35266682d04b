//! What can go wrong with the journal, told apart by what the daemon does about it.
//!
//! Never holds the text of a record.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::state_dir;

/// Why the journal could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another writer was faster: decide again, on its records.
    #[error("could not append to {service}: expected it at sequence {expected}, found it at {found}; decide again")]
    Conflict {
        /// The service.
        service: String,
        /// The sequence that the caller decided on.
        expected: u64,
        /// The sequence that the journal has.
        found: u64,
    },
    /// Nothing was written; ask again once there is room, or the permission. The same journal goes on then.
    #[error(
        "could not {act} the journal {file}: {source}; nothing of it was written: see to the disk's room, health and permissions",
        file = file.display()
    )]
    NotWritable {
        /// What was tried.
        act: &'static str,
        /// The file.
        file: PathBuf,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A write was not begun, or it is not known how it ended. Ask again.
    #[error("could not write to the journal: {0}")]
    NotBegun(String),
    /// The file is not what was written: a human must look.
    #[error("{}", corrupt(file, problems))]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong, in the order in which it was found; never empty.
        problems: Vec<Problem>,
    },
    /// Written by a later release.
    #[error(
        "could not open the journal {file}: its format is {found}, and this rollbackd knows up to {known}; run the release that wrote it, or a later one",
        file = file.display()
    )]
    TooNew {
        /// The file.
        file: PathBuf,
        /// The file's format.
        found: i64,
        /// The latest format that this release knows.
        known: i64,
    },
    /// Another program has the file open.
    #[error(
        "could not open the journal {file}: another program has it open; stop the daemon, the backup or the database shell that uses it",
        file = file.display()
    )]
    InUse {
        /// The file.
        file: PathBuf,
    },
    /// A text that is larger than the journal takes.
    #[error("could not write {what} to the journal: it has {found} {unit}, and at most {limit} are allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        found: usize,
        /// How large it may be.
        limit: usize,
        /// What is counted.
        unit: &'static str,
    },
    /// A repair was begun and not finished.
    #[error(
        "could not open the journal in {dir}: a repair of it was interrupted; finish it with `rollbackd journal repair --config F`",
        dir = dir.display()
    )]
    RepairInterrupted {
        /// The state folder.
        dir: PathBuf,
    },
    /// No daemon has left a journal there.
    #[error(
        "there is no journal {file}: expected the state_dir of a daemon that has run, and a user who may read it",
        file = file.display()
    )]
    Absent {
        /// The file.
        file: PathBuf,
    },
    /// The state folder can't be claimed: somebody else uses it.
    #[error(transparent)]
    StateDir(#[from] state_dir::Error),
}

impl Error {
    /// Whether nothing was written and the same may work later; anything else keeps the daemon from going on.
    #[must_use]
    pub const fn is_not_writable(&self) -> bool {
        match self {
            Self::NotWritable { .. } | Self::NotBegun(_) | Self::TooLarge { .. } => true,
            Self::Conflict { .. }
            | Self::Corrupt { .. }
            | Self::TooNew { .. }
            | Self::InUse { .. }
            | Self::RepairInterrupted { .. }
            | Self::Absent { .. }
            | Self::StateDir(_) => false,
        }
    }
}

/// One thing that is wrong with a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The record at which it shows, where it shows at one.
    pub id: Option<u64>,
    /// That record's service, as far as it can be read.
    pub service: Option<String>,
    /// That record's place in its service's sequence, as far as it can be read.
    pub seq: Option<u64>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The record, or the one before it, is not what was written.
    BadHash,
    /// Records before this one are missing.
    GapInIds {
        /// The id that should have come.
        expected: u64,
    },
    /// Records of this one's service are missing before it.
    GapInSequence {
        /// The sequence that should have come.
        expected: u64,
    },
    /// The snapshot is not what was written.
    BadSnapshot,
    /// Records at the end are missing: these ids were acknowledged and are not there.
    MissingAtEnd {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// The row that says where the chain ends says something else than the chain.
    HeadMismatch,
    /// The record is not the one that was acknowledged under this id: the file is another journal's, or its past.
    NotAcknowledged,
    /// Something is stored in a form that the journal never writes.
    Malformed(String),
    /// A part of the file can't be read.
    Unreadable(String),
    /// A finding of the database's own integrity check.
    Integrity(String),
    /// The file is gone, but its companions are there.
    FileMissing,
}

impl Problem {
    pub(super) const fn general(fault: Fault) -> Self {
        Self { id: None, service: None, seq: None, fault }
    }

    pub(super) const fn at(id: u64, fault: Fault) -> Self {
        Self { id: Some(id), service: None, seq: None, fault }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = self.id {
            write!(formatter, "record {id}")?;
            if let (Some(service), Some(seq)) = (&self.service, self.seq) {
                write!(formatter, " ({service:?}, sequence {seq})")?;
            }
            formatter.write_str(": ")?;
        }
        self.fault.fmt(formatter)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadHash => write!(formatter, "its hash does not fit it and the record before it: one was changed"),
            Self::GapInIds { expected } => write!(formatter, "expected record {expected} in its place"),
            Self::GapInSequence { expected } => write!(formatter, "expected sequence {expected} of its service"),
            Self::BadSnapshot => write!(formatter, "the snapshot's hash does not fit it: it was changed"),
            Self::MissingAtEnd { first, last } if first == last => {
                write!(formatter, "record {first} was written and is missing at the end")
            }
            Self::MissingAtEnd { first, last } => {
                write!(formatter, "records {first} to {last} were written and are missing at the end")
            }
            Self::HeadMismatch => write!(formatter, "the chain does not end where its head says"),
            Self::NotAcknowledged => write!(formatter, "another record was acknowledged under this id"),
            Self::Malformed(what) => write!(formatter, "{what}"),
            Self::Unreadable(why) => write!(formatter, "could not be read from here on: {why}"),
            Self::Integrity(line) => write!(formatter, "integrity check: {line}"),
            Self::FileMissing => write!(formatter, "the file is missing, though records were written to it"),
        }
    }
}

fn corrupt(file: &Path, problems: &[Problem]) -> String {
    let first = problems.first().map_or_else(|| "of unknown cause".to_owned(), Problem::to_string);
    let more = match problems.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    format!(
        "the journal {} is damaged: {first}{more}; `rollbackd journal verify --config F` shows everything that is wrong, \
         `rollbackd journal repair --config F` keeps the records before it and moves the damaged files aside",
        file.display()
    )
}

/// Sorts a database's error by what the daemon can do about it.
pub(super) fn classify(act: &'static str, file: &Path, error: rusqlite::Error) -> Error {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, FileLockingProtocolFailed, NoLargeFileSupport, OutOfMemory,
        PermissionDenied, ReadOnly, SystemIoFailure,
    };
    let file = file.to_owned();
    // What was to be written could not be made: nothing is wrong with the file.
    if let rusqlite::Error::ToSqlConversionFailure(source) = error {
        return Error::NotWritable { act, file, source };
    }
    match error.sqlite_error_code() {
        Some(DatabaseBusy | DatabaseLocked) => Error::InUse { file },
        Some(
            DiskFull
            | SystemIoFailure
            | ReadOnly
            | CannotOpen
            | PermissionDenied
            | OutOfMemory
            | NoLargeFileSupport
            | FileLockingProtocolFailed,
        ) => Error::NotWritable { act, file, source: Box::new(error) },
        // The rest (a constraint that doesn't hold, a table that isn't there) is only possible in a file that the
        // journal did not write.
        Some(_) | None => {
            Error::Corrupt { file, problems: vec![Problem::general(Fault::Unreadable(error.to_string()))] }
        }
    }
}

/// A file system's error, which leaves the journal as it was.
pub(super) fn not_writable(act: &'static str, file: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let file = file.to_owned();
    move |source| Error::NotWritable { act, file, source: Box::new(source) }
}
