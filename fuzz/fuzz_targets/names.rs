//! `cargo fuzz run names`: see `rollbackd_fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rollbackd_fuzz::run("names", bytes));
