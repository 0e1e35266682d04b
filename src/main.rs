//! The `rollbackd` command: arguments in, exit code out.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    rollbackd::cli::main(std::env::args_os())
}
