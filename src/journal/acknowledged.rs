//! The last acknowledged record, kept beside the database: a damaged or lost write-ahead log takes the newest
//! records *and* the head row with it, which only something outside the database can tell.
//!
//! Never runs ahead of the database: it is written after the commit. It may lag behind (it is not synced), and its
//! own damage costs nothing but this check.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::chain::{Tip, digest, from_hex, hex};
use crate::state_dir::give_to_owner_of;

/// The file's name in the state folder.
const NAME: &str = "journal.acknowledged";

/// The file, open where it can be.
#[derive(Debug)]
pub(super) struct Acknowledged {
    file: PathBuf,
    open: Option<File>,
}

impl Acknowledged {
    pub(super) fn beside(dir: &Path) -> Self {
        Self { file: dir.join(NAME), open: None }
    }

    /// What was written last; `None` where there is nothing, or nothing that can be trusted.
    pub(super) fn read(dir: &Path) -> Option<Tip> {
        parse(&fs::read_to_string(dir.join(NAME)).ok()?)
    }

    /// Keeps this end of the chain, as well as the disk allows: a record that is durable must not be reported as
    /// failed for the sake of a check.
    pub(super) fn write(&mut self, tip: &Tip) {
        if self.open.is_none() {
            self.open = create(&self.file).ok();
        }
        if let Some(open) = &self.open {
            // In place and always of the same length, so that a crash finds the old line or the new one.
            let _ = open.write_all_at(line(tip).as_bytes(), 0);
        }
    }

    /// Forgets everything: the chain is about to end earlier.
    pub(super) fn remove(dir: &Path) -> io::Result<()> {
        match fs::remove_file(dir.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn create(file: &Path) -> io::Result<File> {
    let missing = !file.exists();
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file)?;
    if missing && let Some(dir) = file.parent() {
        give_to_owner_of(dir, file);
    }
    Ok(open)
}

fn line(tip: &Tip) -> String {
    format!("{:020} {} {}\n", tip.id, hex(&tip.hash), check(tip))
}

fn check(tip: &Tip) -> String {
    hex(&digest(&[b"rollbackd journal acknowledged 1", &tip.id.to_be_bytes(), &tip.hash]))
}

fn parse(text: &str) -> Option<Tip> {
    let mut words = text.split_ascii_whitespace();
    let tip = Tip { id: words.next()?.parse().ok()?, hash: from_hex(words.next()?)? };
    (words.next()? == check(&tip) && words.next().is_none()).then_some(tip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_makes_it_untrusted_or_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let tip = Tip { id: 41, hash: digest(&[b"x"]) };
        Acknowledged::beside(dir.path()).write(&tip);
        assert_eq!(Acknowledged::read(dir.path()), Some(tip));
        let sound = fs::read(dir.path().join(NAME)).unwrap();
        for position in 0..sound.len() {
            let mut changed = sound.clone();
            changed[position] ^= 1;
            fs::write(dir.path().join(NAME), &changed).unwrap();
            assert!(matches!(Acknowledged::read(dir.path()), None | Some(Tip { id: 41, .. })), "{position}");
        }
        Acknowledged::remove(dir.path()).unwrap();
        Acknowledged::remove(dir.path()).unwrap();
        assert_eq!(Acknowledged::read(dir.path()), None);
    }
}
