//! `test`: trigger tests, run offline by the daemon's own core.
//!
//! Holds its arguments and what it prints.

use std::path::PathBuf;

use clap::Args;

use super::output::{Failure, Output};
use crate::trigger_tests;

/// `test`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
A file names a config, says what the queries of its triggers show (in promtool's notation), what happens, and what must be \
true when. It asks nobody and runs nothing: the daemon's own core is stepped through it. docs/trigger-tests.md has the \
whole format.

  config: rollbackd.yml                    # beside the file
  tests:
    - name: eight percent for two minutes roll back
      service: capstone-api
      interval: 15s
      running: v1
      series: {error-rate: 0.01x8 0.08x40}
      happens:
        - {at: 2m, deploy: v2}
      expect:
        - {at: 4m, trigger: error-rate, state: breaching}
        - {at: 5m, trigger: error-rate, state: fired, runs: pipeline}

Exit codes:
  0  everything was as expected
  1  something was not, or a file can't be run

Examples:
  rollbackd test trigger-tests.yml
  rollbackd test --json tests/*.yml")]
pub(super) struct TestArguments {
    /// The files.
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
}

/// Runs trigger tests.
pub(super) fn test(arguments: &TestArguments, output: &Output) -> Result<(), Failure> {
    let report = trigger_tests::run(&arguments.files);
    output.say(&report.text(), &report.json())?;
    if report.ok() { Ok(()) } else { Err(Failure::Told) }
}
