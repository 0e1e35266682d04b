//! Reads the journal of a daemon that may be running: copies its files and reads the copy.
//!
//! Never opens the daemon's own file with SQLite, never claims the folder and never changes anything in it. A daemon
//! holds its file for itself alone, so that nobody else can read it in place.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::database::{self, NAME, with_suffix};
use super::error::{Error, not_writable};
use super::examine::examine;
use super::{Replay, repair};
use crate::chance;

/// A copy that was taken while the daemon moved its log into the file holds half of it: it is taken again, this often.
/// A checkpoint takes a fraction of a second, and there is one for some hundred records.
const MOST_TRIES: u32 = 8;

/// From one try to the next.
const PAUSE: Duration = Duration::from_millis(150);

/// Reads what the journal in this folder holds now, whether or not a daemon runs.
///
/// The chain of hashes tells a whole copy from one that was taken in the middle of a change.
///
/// # Errors
/// `Absent` where no daemon has left a journal, `NotWritable` where it can't be read or copied, and those of reading
/// it: `Corrupt` where something is wrong with every copy.
pub fn read(state_dir: &Path) -> Result<Replay, Error> {
    let file = database::file_in(state_dir);
    if repair::is_interrupted(state_dir) {
        return Err(Error::RepairInterrupted { dir: state_dir.to_owned() });
    }
    let mut tries = 1;
    loop {
        match read_copy(&file) {
            Err(Error::Corrupt { .. }) if tries < MOST_TRIES => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            Err(Error::Corrupt { problems, .. }) => return Err(Error::Corrupt { file, problems }),
            read => return read,
        }
    }
}

fn read_copy(file: &Path) -> Result<Replay, Error> {
    let dir = PassingDir::new().map_err(not_writable("make a folder for a copy of", file))?;
    let copy = dir.0.join(NAME);
    // The log first: what is moved from it into the file meanwhile is then in both, and not in neither.
    match copy_private(&with_suffix(file, "-wal"), &with_suffix(&copy, "-wal")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(not_writable("copy the log of", file)(error));
        }
        Ok(()) | Err(_) => {}
    }
    copy_private(file, &copy).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            Error::Absent { file: file.to_owned() }
        } else {
            not_writable("copy", file)(error)
        }
    })?;
    let connection = database::connect(&copy)?;
    let found = examine(&connection, &copy, None)?;
    if !found.problems.is_empty() {
        return Err(Error::Corrupt { file: copy, problems: found.problems });
    }
    Ok(Replay { snapshot: found.snapshot.map(|chained| chained.snapshot), records: found.records })
}

/// Copies a file for this user's eyes alone.
fn copy_private(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = fs::File::open(from)?;
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut copy).map(|_| ())
}

/// A folder of our own for one copy, removed at the end.
struct PassingDir(PathBuf);

impl PassingDir {
    fn new() -> io::Result<Self> {
        let name = format!("rollbackd-{}-{:x}", std::process::id(), chance::share().to_bits());
        let dir = std::env::temp_dir().join(name);
        // Fails where anything has that name: nobody else prepares the folder that we write to.
        DirBuilder::new().mode(0o700).create(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for PassingDir {
    fn drop(&mut self) {
        // What is left in the folder for temporary files is cleared away by the system.
        let _removed = fs::remove_dir_all(&self.0);
    }
}
