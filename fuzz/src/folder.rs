//! A small folder out of one input: each file's bytes behind a line `%% NAME`.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

/// An empty folder, in memory where the machine has such a place.
pub(super) fn empty() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(dir) = tempfile::tempdir_in(memory)
    {
        return dir;
    }
    tempfile::tempdir().expect("a folder for temporary files")
}

/// The names and contents in an input; what stands before the first name belongs to none.
pub(super) fn files(bytes: &[u8]) -> Vec<(&str, &[u8])> {
    let mut files = Vec::new();
    let mut rest = bytes;
    while let Some(start) = find(rest, b"%% ") {
        let Some(line_end) = find(&rest[start..], b"\n") else { break };
        let name = str::from_utf8(&rest[start + 3..start + line_end]).unwrap_or_default();
        rest = &rest[start + line_end + 1..];
        let end = find(rest, b"\n%% ").map_or(rest.len(), |end| end + 1);
        let plain = name.bytes().all(|each| each.is_ascii_alphanumeric() || matches!(each, b'.' | b'-' | b'_'));
        if plain && name.len() < 40 && name.bytes().any(|each| each != b'.') {
            files.push((name, &rest[..end]));
        }
        rest = &rest[end..];
    }
    files
}

/// The files, written into a folder that ends with the value.
pub(super) fn written(files: &[(&str, &[u8])]) -> TempDir {
    let dir = empty();
    for (name, content) in files {
        fs::write(dir.path().join(name), content).expect("a file in memory");
    }
    dir
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
