//! The state folder and the lock on it: one process at a time.
//!
//! Never deletes the lock file: a lock on a file that somebody else has already replaced would hold nobody out.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

/// The lock file's name in the state folder.
const LOCK: &str = "lock";
/// As much as is read of a lock file: a pid has at most ten digits, the rest could only be something else's.
const LONGEST_PID_BYTES: u64 = 32;

/// Why the state folder could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has it.
    #[error(
        "could not lock the state folder {dir}: {holder} uses it; stop that one first, or give this one a state_dir of its own",
        dir = dir.display(), holder = holder(*pid)
    )]
    Held {
        /// The state folder.
        dir: PathBuf,
        /// The process that holds it, as it wrote itself down; `None` where that can't be read.
        pid: Option<u32>,
    },
    /// The folder or its lock file can't be used.
    #[error(
        "could not {act} {file}: {source}; the state folder must be a folder that the user of rollbackd owns, on a disk that can be written to",
        file = file.display()
    )]
    Unusable {
        /// What was tried.
        act: &'static str,
        /// On what.
        file: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// The state folder, held by this process until this value is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct StateDir {
    dir: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Creates the folder where it is missing (0700), and takes its lock without waiting.
    ///
    /// # Errors
    /// `Held` where another process has the lock, `Unusable` where the folder or the lock file can't be made or opened.
    pub fn claim(dir: &Path) -> Result<Self, Error> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unusable("create the state folder", dir))?;
        let file = dir.join(LOCK);
        let mut lock = open(dir, &file).map_err(unusable("open the lock file", &file))?;
        match lock.try_lock() {
            Ok(()) => {
                sign(&lock);
                Ok(Self { dir: dir.to_owned(), _lock: lock })
            }
            Err(TryLockError::WouldBlock) => Err(Error::Held { dir: dir.to_owned(), pid: read_pid(&mut lock) }),
            Err(TryLockError::Error(source)) => Err(unusable("lock", &file)(source)),
        }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Gives a file that root has made (`journal repair` by hand) to the folder's owner, so that the daemon can use it.
/// Where that is not allowed, the maker is the owner already or the daemon's own error will say what is wrong.
pub(crate) fn give_to_owner_of(dir: &Path, file: &Path) {
    if let Ok(owner) = dir.metadata() {
        let _ = chown(file, Some(owner.uid()), Some(owner.gid()));
    }
}

fn open(dir: &Path, file: &Path) -> io::Result<File> {
    let missing = !file.exists();
    let lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(file)?;
    if missing {
        give_to_owner_of(dir, file);
    }
    Ok(lock)
}

/// The pid is a courtesy to whoever is held out; a full disk must not keep the daemon from watching.
fn sign(mut lock: &File) {
    let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
}

fn read_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(LONGEST_PID_BYTES).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn unusable(act: &'static str, file: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let file = file.to_owned();
    move |source| Error::Unusable { act, file, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_claim_is_refused_and_names_the_pid_until_the_first_is_dropped() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("var/state");
        let first = StateDir::claim(&dir).unwrap();
        assert_eq!(first.dir(), dir);
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let error = StateDir::claim(&dir).unwrap_err();
        assert!(matches!(error, Error::Held { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        StateDir::claim(&dir).unwrap();
    }

    #[test]
    fn a_shorter_pid_leaves_nothing_of_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(LOCK), "4294967295\nleft over\n").unwrap();
        let _held = StateDir::claim(dir.path()).unwrap();
        let text = std::fs::read_to_string(dir.path().join(LOCK)).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_lock_file_without_a_pid_still_says_that_somebody_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let _held = StateDir::claim(dir.path()).unwrap();
        std::fs::write(dir.path().join(LOCK), "?").unwrap();
        let error = StateDir::claim(dir.path()).unwrap_err();
        assert!(error.to_string().contains("another process uses it"), "{error}");
    }

    #[test]
    fn a_file_in_the_folders_place_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("state");
        std::fs::write(&dir, "").unwrap();
        assert!(matches!(StateDir::claim(&dir), Err(Error::Unusable { .. })));
    }
}
