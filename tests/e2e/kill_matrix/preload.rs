//! The library that is preloaded into the daemon, and what it is told: where in the journal's writing, and what there.
//!
//! Never changes the daemon: it is the binary that is shipped, and the library is its own files' faulty disk.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::records::text_of;

/// The source of the library.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/kill_matrix/journal_faults.c");

/// Where in an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Point {
    /// Before the page with the record is written: what comes before it in the log is there.
    Torn,
    /// Before the sync: all of the append is written.
    Written,
    /// After the sync, before the acknowledgement.
    Synced,
    /// After the acknowledgement, before anything is done about it.
    Acknowledged,
    /// Before the next append begins: what the record asked for is under way or done, its outcome is not written.
    Next,
}

impl Point {
    pub(super) const ALL: [Self; 5] = [Self::Torn, Self::Written, Self::Synced, Self::Acknowledged, Self::Next];

    /// When that is, and what lies in the journal then.
    pub(super) const fn story(self) -> [&'static str; 2] {
        match self {
            Self::Torn => ["while the append is half written", "all records before it"],
            Self::Written => ["before its sync", "the record too; the start syncs it before it goes on from it"],
            Self::Synced => ["after its sync, before it counts as acknowledged", "the record too"],
            Self::Acknowledged => ["before anything is done about it", "the record too"],
            Self::Next => {
                ["before the next append, what it asked for under way or done", "the record too, without the outcome"]
            }
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Torn => "torn",
            Self::Written => "written",
            Self::Synced => "synced",
            Self::Acknowledged => "acknowledged",
            Self::Next => "next",
        }
    }
}

/// One exact place in the daemon's writing of its journal.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Before this call on the journal's files, counted from the start of the process.
    Call(u32),
    /// At this point of the append that holds the first record of this kind.
    Record(Point, &'static str),
    /// At this point of the append that holds the first record with this text.
    Text(Point, &'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(number) => write!(formatter, "call {number}"),
            Self::Record(point, text) | Self::Text(point, text) => write!(formatter, "{} {text}", point.name()),
        }
    }
}

impl Place {
    /// As the library is told it.
    fn told(&self) -> String {
        match self {
            Self::Call(_) | Self::Text(..) => self.to_string(),
            Self::Record(point, kind) => format!("{} {}", point.name(), text_of(kind)),
        }
    }
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// SIGKILL.
    Kill,
    /// Syncs fail with EIO.
    Fail,
    /// Writes fail with ENOSPC.
    Full,
    /// Syncs take two seconds longer.
    Slow,
    /// Nothing: the calls are noted.
    Nothing,
}

/// A fault to be.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) act: Act,
    pub(super) place: Place,
    /// It goes on until this file is there; without one it happens once.
    pub(super) until: Option<PathBuf>,
}

impl Fault {
    pub(super) const fn kill(place: Place) -> Self {
        Self { act: Act::Kill, place, until: None }
    }

    /// What the daemon's environment has to say, and where the calls are noted.
    pub(super) fn environment(&self, notes: &Path) -> Vec<(&'static str, String)> {
        let act = match self.act {
            Act::Kill => "kill",
            Act::Fail => "fail",
            Act::Full => "full",
            Act::Slow => "slow",
            Act::Nothing => "none",
        };
        let mut all = vec![
            ("LD_PRELOAD", library().display().to_string()),
            ("JOURNAL_FAULT_ACT", act.to_owned()),
            ("JOURNAL_FAULT_AT", self.place.told()),
            ("JOURNAL_FAULT_LOG", notes.display().to_string()),
        ];
        if let Some(until) = &self.until {
            all.push(("JOURNAL_FAULT_UNTIL", until.display().to_string()));
        }
        all
    }
}

/// The library, built once by the C compiler that SQLite was built with.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("journal_faults-{}.so", std::process::id()));
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&file)
            .args([SOURCE, "-ldl"])
            .output()
            .expect("a C compiler; scripts/install-dependencies installs one");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        file
    })
}
