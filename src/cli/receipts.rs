//! The receipts, read from their folder: they must be readable where no daemon runs.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::output::{Failure, Output};
use crate::config;
use crate::journal::Journal;
use crate::receipts::{self, Receipts};
use crate::state_dir::StateDir;
use crate::supervisor::replay;

/// `receipts`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  rollbackd receipts --config rollbackd.yml
  rollbackd receipts --receipts-dir library/raw/rollback-rehearsals show 7
  rollbackd receipts verify --config rollbackd.yml    is every receipt there, as it was written?")]
pub struct ReceiptsArguments {
    /// The folder of the receipts.
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "config")]
    pub receipts_dir: Option<PathBuf>,
    /// The config, whose `receipts_dir` is that folder.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do; without it, list them.
    #[command(subcommand)]
    pub command: Option<ReceiptsCommand>,
}

/// What to do with the receipts.
#[derive(Debug, Subcommand)]
pub enum ReceiptsCommand {
    /// Show one.
    Show {
        /// Its number.
        #[arg(value_name = "N", value_parser = number)]
        number: u64,
    },
    /// Check that none is missing or changed.
    Verify,
}

fn number(text: &str) -> Result<u64, String> {
    let expected =
        |_| format!("expected the number of a receipt, such as 7 (`rollbackd receipts` lists them), not {text:?}");
    text.parse().map_err(expected)
}

/// The folder of the receipts where neither a folder nor a config is named: the design's default, below this folder.
const DEFAULT_DIR: &str = "library/raw/rollback-rehearsals";

/// The receipts, and the folder of the journal that knows the last one.
struct Place {
    receipts: Receipts,
    state_dir: Option<PathBuf>,
}

impl ReceiptsArguments {
    fn place(&self) -> Result<Place, Failure> {
        let Some(config) = &self.config else {
            let dir = self.receipts_dir.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_DIR));
            return Ok(Place { receipts: Receipts::new(dir), state_dir: None });
        };
        let loaded = config::load(config).map_err(|error| Failure::Shown(config::explain(&error)))?;
        let receipts = Receipts::new(loaded.settings.receipts_dir);
        Ok(Place { receipts, state_dir: Some(loaded.settings.state_dir) })
    }
}

/// What the journal knows of the last receipt, so that its loss is found too. While the daemon runs, the journal is
/// its own, and the chain alone is verified. Where no daemon has left a journal, none is made.
fn last_published(state_dir: &Path) -> Vec<(u64, String)> {
    if !["journal.db", "lock"].iter().all(|name| state_dir.join(name).exists()) {
        return Vec::new();
    }
    let Ok(claimed) = StateDir::claim(state_dir) else { return Vec::new() };
    let state = Journal::open(claimed.dir()).ok().and_then(|(_, stored)| replay(&stored).ok());
    state.and_then(|state| state.last_published).into_iter().collect()
}

/// Does what the arguments say.
pub(super) fn receipts(arguments: &ReceiptsArguments, output: &Output) -> Result<(), Failure> {
    let place = arguments.place()?;
    match arguments.command {
        None => list(&place, output),
        Some(ReceiptsCommand::Show { number }) => show(&place, number, output),
        Some(ReceiptsCommand::Verify) => verify(&place, output),
    }
}

/// Lists the receipts, oldest first.
fn list(place: &Place, output: &Output) -> Result<(), Failure> {
    let summaries = place.receipts.list().map_err(Failure::failed)?;
    output.say(&receipts::table(place.receipts.dir(), &summaries), &receipts::json(&summaries))
}

/// Shows the markdown of one receipt; its JSON where that is asked for.
fn show(place: &Place, number: u64, output: &Output) -> Result<(), Failure> {
    let markdown = place.receipts.show(number).map_err(Failure::failed)?;
    let json = if output.is_json() { place.receipts.told(number).map_err(Failure::failed)? } else { Value::Null };
    output.say(&markdown, &json)
}

/// Follows the chain of `previous_sha256` from the first receipt to the last.
fn verify(place: &Place, output: &Output) -> Result<(), Failure> {
    let dir = place.receipts.dir();
    if !dir.is_dir() {
        return Err(Failure::failed(format!(
            "there is no folder {}: expected the receipts_dir of a daemon, which counts from this folder where it is relative",
            dir.display()
        )));
    }
    let known = place.state_dir.as_deref().map(last_published).unwrap_or_default();
    let report = place.receipts.verify(&known).map_err(Failure::failed)?;
    let json = serde_json::to_value(&report).map_err(Failure::failed)?;
    output.say(&report.table(), &json)?;
    if report.is_good() { Ok(()) } else { Err(Failure::Told) }
}
