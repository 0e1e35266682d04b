//! Every input of the fuzz targets' corpus, through the same functions: what was mended stays mended, also where
//! libFuzzer can't run.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy sees only in the tests themselves")]

#[expect(
    dead_code,
    unreachable_pub,
    reason = "libFuzzer's own entry is not needed here, and its package's doors are no doors"
)]
#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus");

fn inputs(target: &str) -> Vec<PathBuf> {
    let dir = Path::new(CORPUS).join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_input_of_the_corpus_passes_its_target() {
    let mut failed = Vec::new();
    for (target, function) in fuzz::TARGETS {
        let inputs = inputs(target);
        assert!(!inputs.is_empty(), "{target} has no corpus");
        for file in inputs {
            let bytes = fs::read(&file).unwrap();
            if panic::catch_unwind(AssertUnwindSafe(|| function(&bytes))).is_err() {
                failed.push(file);
            }
        }
    }
    assert!(failed.is_empty(), "these inputs break what always holds: {failed:#?}");
}

#[test]
fn every_folder_of_the_corpus_and_every_binary_is_a_target_s() {
    let names: Vec<&str> = fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
    for entry in fs::read_dir(CORPUS).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(names.contains(&name.as_str()), "{name} is the corpus of no target");
    }
    let manifest = fs::read_to_string(Path::new(CORPUS).join("../Cargo.toml")).unwrap();
    for name in names {
        let file = Path::new(CORPUS).join(format!("../fuzz_targets/{name}.rs"));
        let program = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(program.contains(&format!("run(\"{name}\", bytes)")), "{} runs another target", file.display());
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is not in fuzz/Cargo.toml");
    }
}
