//! Writes a file that a command was asked for: it holds all of the new text, or what it held before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::output::Failure;

/// Writes the text beside the file and gives it the file's name when it is whole. A link stays a link, and a file that
/// was there keeps its permissions.
///
/// # Errors
/// The file or its folder can't be written.
pub(super) fn write(file: &Path, text: &str) -> Result<(), Failure> {
    replace(file, text).map_err(|error| {
        let expected = "expected a file in a folder that is there and that this user may write";
        Failure::failed(format!("could not write {}: {error}; {expected}", file.display()))
    })
}

/// The same, for a caller who says by itself what went wrong.
///
/// # Errors
/// The file or its folder can't be written.
pub(super) fn replace(file: &Path, text: &str) -> io::Result<()> {
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let name = file.file_name().ok_or_else(|| io::Error::other("it is the name of a folder"))?;
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).map_or(PathBuf::from("."), Path::to_owned);
    let mut unfinished = std::ffi::OsString::from(".");
    unfinished.push(name);
    unfinished.push(".rollbackd-tmp");
    let unfinished = dir.join(unfinished);
    let written = write_new(&unfinished, &file, text).and_then(|()| fs::rename(&unfinished, &file));
    if written.is_err() {
        // What could not be written whole is of no use; the error that is told is the first.
        let _removed = fs::remove_file(&unfinished);
    }
    written?;
    File::open(dir)?.sync_all()
}

fn write_new(unfinished: &Path, file: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut new = OpenOptions::new().write(true).create_new(true).open(unfinished)?;
    if let Ok(before) = fs::metadata(file) {
        new.set_permissions(before.permissions())?;
    }
    new.write_all(text.as_bytes())?;
    new.sync_all()
}
