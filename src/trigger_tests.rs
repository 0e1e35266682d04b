//! `test`: trigger tests that users write: what queries show, what happens, and what must be true when.
//!
//! Never judges by itself: each test is a replay of the daemon's own core over the series of the file.

mod expect;
mod file;
mod notation;
mod production;
mod report;
mod run;

use std::path::Path;

pub use self::notation::{Sample, expand};
pub use self::report::{FileReport, Report};

/// Runs the tests of some files, each with the config that it names.
#[must_use]
pub fn run(files: &[impl AsRef<Path>]) -> Report {
    Report { files: files.iter().map(|file| of_file(file.as_ref())).collect() }
}

fn of_file(file: &Path) -> FileReport {
    let name = file.display().to_string();
    match file::read(file) {
        Ok(read) => {
            let tests = read.tests.iter().map(|test| run::run(&read.config, test)).collect();
            FileReport { name, unusable: None, tests }
        }
        Err(why) => FileReport { name, unusable: Some(why), tests: Vec::new() },
    }
}
