//! The `rollbackd` command: arguments in, exit code out.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use rollbackd::paths::supervised;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [subcommand, dir] if subcommand == OsStr::new(supervised::SUBCOMMAND) => supervised::supervise(Path::new(dir)),
        [run, _, config, rest @ ..] if run == "run" => {
            let _ = rollbackd::logging::start(rollbackd::logging::Format::Human, "info");
            let dry_run = rest.iter().any(|each| each == "--dry-run");
            rollbackd::daemon::run(&rollbackd::daemon::Arguments { config: config.into(), dry_run })
        }
        _ => ExitCode::FAILURE,
    }
}
