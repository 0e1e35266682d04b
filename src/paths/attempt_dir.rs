//! The directory of one attempt of a command: what the daemon and the process that watches the command tell each other.
//!
//! Never holds the value of a secret, and never lets a command begin twice: whoever holds the lock says what happens.
//!
//! `order.json` is there as soon as the directory is; `lock` is held by the watching process as long as it lives; `pid`
//! is durable before the command begins; `outcome.json` is the last thing written.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rollbackd_core::firing::Outcome;
use rollbackd_core::name::{AttemptId, FiringId, ServiceName};
use rollbackd_core::time::{Timestamp, as_milliseconds};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::Place;

/// The longest file that is read back: an order's arguments and environment can't be longer than what Linux starts a
/// program with (about 2 MiB).
const LONGEST_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// What the watching process is to do. Secrets stand in it by the names of their files.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(super) service: ServiceName,
    pub(super) firing: FiringId,
    pub(super) attempt: AttemptId,
    pub(super) arguments: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) pass_environment: Vec<String>,
    pub(super) secret_environment: BTreeMap<String, PathBuf>,
    pub(super) directory: PathBuf,
    #[serde(with = "as_milliseconds")]
    pub(super) kill_after: Duration,
    pub(super) ends_at: Timestamp,
}

/// Whether [`AttemptDir::create`] made the directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Created {
    /// It is new: nothing of this attempt has begun.
    New,
    /// It was there: the attempt was begun before.
    Existed,
}

/// What the directory shows from outside.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    /// There is no directory: nothing was begun.
    Absent,
    /// There is an order, and no watching process has taken it yet.
    NotBegun,
    /// A watching process lives; its process id.
    Running(i32),
    /// It ended.
    Ended(Outcome),
    /// It was begun, nobody watches it, and there is no outcome. Why that may be.
    Lost(String),
}

/// Whether [`AttemptDir::withdraw`] came before the watching process.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Withdrawn {
    /// The command was never begun and never will be.
    Yes,
    /// Somebody has it: look again.
    TooLate,
}

/// The lock of an attempt, held until dropped or until the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: File,
}

/// The directory of one attempt.
#[derive(Clone, Debug)]
pub(crate) struct AttemptDir {
    dir: PathBuf,
}

impl AttemptDir {
    pub(super) fn of(place: &Place, attempt: &AttemptId) -> Self {
        Self { dir: place.attempts_dir.join(attempt.as_str()) }
    }

    pub(crate) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// What the watching process itself has to complain about.
    pub(super) fn log_file(&self) -> io::Result<File> {
        new_file(&self.dir.join("supervisor.log"))
    }

    /// The end of what the watching process complained about, for messages.
    pub(super) fn complaint(&self) -> String {
        let text = read(&self.dir.join("supervisor.log")).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().last().unwrap_or_default().chars().take(500).collect()
    }

    /// Makes the directory with the order in it, durably and in one step: it's either whole or not there.
    pub(super) fn create(&self, task: &Task) -> io::Result<Created> {
        if self.dir.exists() {
            return Ok(Created::Existed);
        }
        let parent = self.parent();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        let draft = self.beside("draft");
        remove_if_there(&draft)?;
        fs::DirBuilder::new().mode(0o700).create(&draft)?;
        write_synced(&draft.join("order.json"), &serde_json::to_vec(task)?)?;
        write_synced(&draft.join("lock"), b"")?;
        sync_dir(&draft)?;
        match fs::rename(&draft, &self.dir) {
            Ok(()) => sync_dir(parent).map(|()| Created::New),
            Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) => {
                remove_if_there(&draft).map(|()| Created::Existed)
            }
            Err(error) => Err(error),
        }
    }

    /// What can be seen from outside, now.
    pub(crate) fn look(&self) -> io::Result<Seen> {
        if let Some(outcome) = self.outcome()? {
            return Ok(Seen::Ended(outcome));
        }
        let pid = match read(&self.dir.join("pid")) {
            Ok(pid) => String::from_utf8_lossy(&pid).trim().parse().map_err(io::Error::other)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(if self.dir.exists() { Seen::NotBegun } else { Seen::Absent });
            }
            Err(error) => return Err(error),
        };
        if self.try_lock()?.is_none() {
            return Ok(Seen::Running(pid));
        }
        // The outcome is written under the lock, so one that came after the first look is there now.
        Ok(self.outcome()?.map_or_else(
            || {
                Seen::Lost(format!(
                    "process {pid}, which watched the command, is gone and left no outcome (killed, or the machine \
                     restarted): the command may have been done, or still run; see {}",
                    self.dir.display()
                ))
            },
            Seen::Ended,
        ))
    }

    /// Takes the order back, unless a watching process has it.
    pub(super) fn withdraw(&self) -> io::Result<Withdrawn> {
        let Some(_held) = self.try_lock()? else { return Ok(Withdrawn::TooLate) };
        if self.dir.join("pid").exists() || self.dir.join("outcome.json").exists() {
            return Ok(Withdrawn::TooLate);
        }
        // Moved away under the lock: a watching process that comes late finds no order.
        let aside = self.beside("withdrawn");
        remove_if_there(&aside)?;
        fs::rename(&self.dir, &aside)?;
        sync_dir(self.parent())?;
        remove_if_there(&aside)?;
        Ok(Withdrawn::Yes)
    }

    /// Asks the watching process to end its command. One that is gone already is not asked.
    pub(super) fn ask_to_stop(&self, pid: i32) -> io::Result<()> {
        let Some(pid) = Pid::from_raw(pid) else { return Ok(()) };
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => process,
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // The lock is still held after the process was opened, so its number was not given to another one.
        if self.try_lock()?.is_some() {
            return Ok(());
        }
        match pidfd_send_signal(process, Signal::TERM) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the order for the calling process, which from now on is the one that watches the command.
    pub(crate) fn begin(&self) -> io::Result<(Task, Held)> {
        let taken = || {
            io::Error::other(format!("the attempt in {} is taken, was withdrawn or is not there", self.dir.display()))
        };
        let lock = self.try_lock()?.ok_or_else(taken)?;
        if self.dir.join("pid").exists() || self.dir.join("outcome.json").exists() {
            return Err(taken());
        }
        let task = serde_json::from_slice(&read(&self.dir.join("order.json"))?)?;
        self.write("pid", std::process::id().to_string().as_bytes())?;
        Ok((task, lock))
    }

    /// Writes how it ended.
    pub(super) fn end(&self, outcome: &Outcome) -> io::Result<()> {
        self.write("outcome.json", &serde_json::to_vec(outcome)?)
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        if matches!(self.look()?, Seen::Running(_)) {
            return Err(io::Error::other(format!("the attempt in {} still runs", self.dir.display())));
        }
        // A crash between two steps may have left these.
        remove_if_there(&self.beside("draft"))?;
        remove_if_there(&self.beside("withdrawn"))?;
        remove_if_there(&self.dir)
    }

    fn outcome(&self) -> io::Result<Option<Outcome>> {
        match read(&self.dir.join("outcome.json")) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The lock, where nobody holds it. A lock file that was moved away between opening and locking counts as held.
    fn try_lock(&self) -> io::Result<Option<Held>> {
        let file = self.dir.join("lock");
        let lock = match OpenOptions::new().write(true).open(&file) {
            Ok(lock) => lock,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let same = fs::metadata(&file).is_ok_and(|there| lock.metadata().is_ok_and(|held| held.ino() == there.ino()));
        Ok(same.then_some(Held { _lock: lock }))
    }

    /// Writes a file that others see whole or not at all, durably.
    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let draft = self.dir.join(format!("{name}.draft"));
        write_synced(&draft, content)?;
        fs::rename(&draft, self.dir.join(name))?;
        sync_dir(&self.dir)
    }

    fn parent(&self) -> &Path {
        self.dir.parent().unwrap_or(Path::new("."))
    }

    /// A name beside the directory that no attempt has, since ids start with a letter or digit.
    fn beside(&self, purpose: &str) -> PathBuf {
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        self.parent().join(format!(".{purpose}-{name}"))
    }
}

fn new_file(file: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(file)
}

fn write_synced(file: &Path, content: &[u8]) -> io::Result<()> {
    let mut open = new_file(file)?;
    open.write_all(content)?;
    open.sync_all()
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(file)?.take(LONGEST_FILE_BYTES).read_to_end(&mut content)?;
    Ok(content)
}

fn remove_if_there(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
