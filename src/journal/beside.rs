//! What a journal holds, read beside the daemon that may be writing it.
//!
//! Never opens the daemon's own files with SQLite (they are the daemon's alone) and changes nothing in its folder: it
//! reads a copy.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::database::{self, with_suffix};
use super::error::{Error, not_writable};
use super::{Journal, Replay};

/// A copy that was made while the daemon wrote may be torn, which the chain of hashes shows: then it is made again.
const MOST_COPIES: usize = 5;

/// A folder that is gone when this is dropped.
struct CopyDir(PathBuf);

impl Drop for CopyDir {
    fn drop(&mut self) {
        // What is left is in the folder for temporary files, for its owner alone.
        let _removed = fs::remove_dir_all(&self.0);
    }
}

/// All that the journal in this folder holds; `None` where there is none.
///
/// # Errors
/// It can't be read or copied, or it is damaged.
pub fn read_beside(state_dir: &Path) -> Result<Option<Replay>, Error> {
    let file = database::file_in(state_dir);
    if !file.exists() {
        return Ok(None);
    }
    let mut copies = 1;
    loop {
        match read_copy(&file) {
            Ok(replay) => return Ok(Some(replay)),
            Err(Error::Corrupt { problems, .. }) if copies == MOST_COPIES => {
                return Err(Error::Corrupt { file, problems });
            }
            Err(Error::Corrupt { .. }) => copies += 1,
            Err(other) => return Err(other),
        }
    }
}

fn read_copy(file: &Path) -> Result<Replay, Error> {
    let dir = copy_dir().map_err(not_writable("make a folder for a copy of", file))?;
    let copy = dir.0.join(database::NAME);
    // The log first: what is checkpointed between the two copies is then in both.
    for (from, to) in [(with_suffix(file, "-wal"), with_suffix(&copy, "-wal")), (file.to_owned(), copy)] {
        match fs::copy(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(not_writable("copy", &from)(error));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Journal::open(&dir.0).map(|(_, replay)| replay)
}

/// A new folder that nobody else can read.
fn copy_dir() -> io::Result<CopyDir> {
    let unique = crate::chance::share().to_bits();
    let dir = std::env::temp_dir().join(format!("rollbackd-journal-{}-{unique:x}", std::process::id()));
    DirBuilder::new().mode(0o700).create(&dir)?;
    Ok(CopyDir(dir))
}
