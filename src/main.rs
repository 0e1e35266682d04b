//! The `rollbackd` command: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    rollbackd::cli::main(std::env::args_os())
}
