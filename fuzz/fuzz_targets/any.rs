//! The target that the environment names (FUZZ_TARGET): one binary to link instead of one for each, see `scripts/fuzz`.
#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<String> =
    LazyLock::new(|| std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target of fuzz/src/lib.rs"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rollbackd_fuzz::run(&TARGET, bytes));
