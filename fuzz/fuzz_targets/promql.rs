//! `cargo fuzz run promql`: see `rollbackd_fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rollbackd_fuzz::run("promql", bytes));
