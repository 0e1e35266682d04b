//! `cargo fuzz run webhooks`: see `rollbackd_fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rollbackd_fuzz::run("webhooks", bytes));
