//! The names of all tests, read from the sources: for the tables in the documentation that name tests.
//!
//! Never judges what a test shows; only that it can be found by its name.

#![expect(clippy::unwrap_used, reason = "in a test, what can't be read is a failure")]
#![expect(unreachable_pub, reason = "a module of several test binaries")]

use std::collections::BTreeSet;
use std::path::Path;

/// Where tests are.
const FOLDERS: [&str; 4] = ["tests", "src", "core/tests", "core/src"];

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every test of the repository.
pub fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    FOLDERS.iter().for_each(|folder| collect(&root().join(folder), &mut tests));
    tests
}

/// The tests that a cell of a table names.
pub fn named(cell: &str) -> Vec<String> {
    cell.split("<br>").map(|name| name.trim_matches('`').to_owned()).collect()
}

/// The functions with a test attribute in this folder, and in those below it.
fn collect(dir: &Path, tests: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let file = entry.unwrap().path();
        if file.is_dir() {
            collect(&file, tests);
        } else if file.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&file).unwrap();
            tests.extend(tests_of(&text));
        }
    }
}

/// The tests in one source.
pub fn tests_of(text: &str) -> Vec<String> {
    let mut marked = false;
    let mut tests = Vec::new();
    for line in text.lines().map(str::trim) {
        match line.split_once("fn ") {
            _ if line == "#[test]" || line.starts_with("#[tokio::test") => marked = true,
            Some(("" | "async ", rest)) if marked => {
                tests.extend(rest.split('(').next().map(str::to_owned));
                marked = false;
            }
            Some(_) | None if line.starts_with("#[") || !marked => {}
            Some(_) | None => marked = false,
        }
    }
    tests
}
