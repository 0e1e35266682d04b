//! The `rollbackd` command: arguments in, exit code out.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use rollbackd::paths::supervised;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [subcommand, dir] if subcommand == OsStr::new(supervised::SUBCOMMAND) => supervised::supervise(Path::new(dir)),
        _ => ExitCode::FAILURE,
    }
}
