//! The fuzz targets: each takes bytes that others could have written, and panics where something that always holds
//! does not.
//!
//! Never touches anything but folders of its own. The same functions run under libFuzzer (`scripts/fuzz`) and, over the
//! whole corpus, in an ordinary test (`tests/fuzz_corpus.rs`), which includes this file.

#![forbid(unsafe_code)]

mod config;
mod folder;
mod http;
mod journal;
mod paths;
mod prometheus;
mod receipts;
mod records;
mod texts;
mod webhooks;

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

/// What takes any bytes.
type Target = fn(&[u8]);

/// Every target and its name, which is also that of its folder in `fuzz/corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("attempt", paths::attempt),
    ("config", config::config),
    ("github", paths::github),
    ("http", http::http),
    ("journal", journal::journal),
    ("names", texts::names),
    ("output", paths::output),
    ("prometheus", prometheus::prometheus),
    ("promql", texts::promql),
    ("receipts", receipts::receipts),
    ("records", records::records),
    ("snapshot", records::snapshot),
    ("template", texts::template),
    ("times", texts::times),
    ("webhooks", webhooks::webhooks),
];

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Runs a target; ends the process where it panics, after saying why.
///
/// libFuzzer's own hook ends the process at every panic, also at those that the daemon catches (the PromQL parser's).
pub fn run(target: &str, bytes: &[u8]) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        panic::set_hook(Box::new(|info| PANICS.with_borrow_mut(|panics| panics.push(info.to_string()))));
    });
    let known = TARGETS.iter().find(|(name, _)| *name == target);
    let Some((_, function)) = known else { panic!("there is no fuzz target {target:?}") };
    PANICS.with_borrow_mut(Vec::clear);
    if panic::catch_unwind(AssertUnwindSafe(|| function(bytes))).is_err() {
        eprintln!("{target}: {}", PANICS.with_borrow(|panics| panics.join("\n")));
        std::process::abort();
    }
}
