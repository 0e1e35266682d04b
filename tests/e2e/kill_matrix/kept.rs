//! What the life of a cell that failed has left: its journal, its log and its calls, kept for whoever looks for the cause.
//!
//! Never fails a cell by itself: what can't be kept is said instead.

use std::io;
use std::path::Path;

/// Copies a life's folder to where nothing removes it; gives what to say of it.
pub(super) fn keep(dir: &Path, cell: &str) -> String {
    let name = cell.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kill-matrix").join(name);
    match copy_anew(dir, &kept) {
        Ok(()) => format!("what it left is in {}", kept.display()),
        Err(error) => format!("what it left can't be kept in {}: {error}", kept.display()),
    }
}

fn copy_anew(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => copy(from, to),
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, there) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &there)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), there)?;
        }
    }
    Ok(())
}
