//! The commands that work on this machine: the daemon itself, the journal, a command's supervisor.
//!
//! Holds their arguments, and hands over to the rooms that do them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::output::{Failure, Output};
use crate::logging::{self, Format};
use crate::paths::supervised;
use crate::{clock, config, daemon, journal};

/// `run`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
SIGTERM and SIGINT stop it cleanly: what is in flight is handed to the next start. SIGHUP reloads the config and keeps \
the old one if the new is bad.

Examples:
  rollbackd run --config rollbackd.yml --dry-run      records exactly what it would have run, and touches nothing
  rollbackd run --config rollbackd.yml --log-format json --log-level debug")]
pub struct RunArguments {
    /// The config.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Change nothing outside the state and receipts folders: no path, no page.
    #[arg(long)]
    pub dry_run: bool,
    /// The form of the log, on stderr; `journald` writes to the system's journal instead, and is the default where
    /// systemd runs the daemon (human elsewhere).
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
    /// The least that is logged.
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
    /// `key=value` pairs.
    Logfmt,
    /// systemd's journal, with fields.
    Journald,
}

/// The least that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What may become a failure.
    Warn,
    /// What happened.
    Info,
    /// How it happened.
    Debug,
    /// Everything.
    Trace,
}

/// `journal`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  rollbackd journal verify --config rollbackd.yml     is every record there, as it was written?
  rollbackd journal repair --config rollbackd.yml     keep what is whole, put the rest aside; says what was lost")]
pub struct JournalArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: JournalCommand,
}

/// What to do with the journal.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Read every record and its place in the chain; changes nothing.
    Verify {
        /// The config, whose `state_dir` holds the journal.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Keep the records that are whole, and put the others aside. The daemon must not be running.
    Repair {
        /// The config, whose `state_dir` holds the journal.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// `supervise-command`.
#[derive(Args, Debug)]
pub struct SuperviseArguments {
    /// The folder of the attempt: what to run, and where its outcome goes.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Runs the daemon.
pub(super) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let format = match arguments.log_format {
        Some(LogFormat::Human) => Format::Human,
        Some(LogFormat::Json) => Format::Json,
        Some(LogFormat::Logfmt) => Format::Logfmt,
        Some(LogFormat::Journald) => Format::Journald,
        None => Format::by_surroundings(),
    };
    let level = match arguments.log_level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "info,rollbackd=debug",
        LogLevel::Trace => "trace",
    };
    logging::start(format, level).map_err(Failure::failed)?;
    let arguments = daemon::Arguments { config: arguments.config.clone(), dry_run: arguments.dry_run };
    daemon::run(&arguments).map_err(Failure::Shown)
}

/// Verifies or repairs the journal.
pub(super) fn journal(arguments: &JournalArguments, output: &Output) -> Result<(), Failure> {
    match &arguments.command {
        JournalCommand::Verify { config } => verify_journal(&state_dir(config)?, output),
        JournalCommand::Repair { config } => repair_journal(&state_dir(config)?, output),
    }
}

fn state_dir(config: &Path) -> Result<PathBuf, Failure> {
    let loaded = config::load(config).map_err(|error| Failure::Shown(config::explain(&error)))?;
    Ok(loaded.settings.state_dir)
}

fn verify_journal(state_dir: &Path, output: &Output) -> Result<(), Failure> {
    let report = journal::verify(state_dir).map_err(Failure::failed)?;
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    let whole = problems.is_empty();
    let mut text = format!("{}: {} records up to {}", report.file.display(), report.records, report.last_id);
    text.push_str(if whole { ": every one is there, as it was written\n" } else { ": broken\n" });
    problems.iter().for_each(|problem| text.push_str(&format!("  {problem}\n")));
    report.lost.iter().for_each(|lost| text.push_str(&format!("  a repair would lose {lost}\n")));
    if !whole {
        text.push_str("to keep what is whole and put the rest aside: rollbackd journal repair --config FILE\n");
    }
    let json = json!({"ok": whole, "records": report.records, "last_id": report.last_id, "problems": problems});
    output.say(&text, &json)?;
    if whole { Ok(()) } else { Err(Failure::Told) }
}

fn repair_journal(state_dir: &Path, output: &Output) -> Result<(), Failure> {
    let repaired = journal::repair(state_dir, clock::now()).map_err(Failure::failed)?;
    let lost: Vec<String> = repaired.lost.iter().map(ToString::to_string).collect();
    let mut text = format!("{}: whole up to record {}\n", repaired.file.display(), repaired.last_id);
    if let Some(moved) = &repaired.moved_to {
        text.push_str(&format!("the broken files are kept in {}\n", moved.display()));
    }
    lost.iter().for_each(|lost| text.push_str(&format!("  lost: {lost}\n")));
    let moved = repaired.moved_to.as_ref().map(|moved| moved.display().to_string());
    output.say(&text, &json!({"last_id": repaired.last_id, "lost": lost, "moved_to": moved}))
}

/// Supervises the command of one attempt.
pub(super) fn supervise_command(arguments: &SuperviseArguments) -> Result<(), Failure> {
    if supervised::supervise(&arguments.dir) == ExitCode::SUCCESS { Ok(()) } else { Err(Failure::Told) }
}
