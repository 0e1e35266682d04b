//! `runbook`: the config as markdown for people, in a page of theirs that a pipeline can keep up to date.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use rollbackd_core::config::Config;
use rollbackd_core::name::ServiceName;
use rollbackd_core::receipt::Kind;
use rollbackd_core::state::State;
use serde_json::json;

use super::output::{Failure, Output};
use super::whole_file;
use crate::receipts::{Receipts, Summary};
use crate::runbook::{Filled, Rehearsed, compare, put_between, runbook};
use crate::supervisor::replay;
use crate::{config, journal};

/// A page that people read is far smaller.
const LARGEST_PAGE_BYTES: u64 = 4 << 20;

/// `runbook`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
The same config and receipts give the same text, so a pipeline can check it. In the page, the text stands between these two \
lines; everything else in it is yours:
  <!-- rollbackd runbook: begin -->
  <!-- rollbackd runbook: end -->

Examples:
  rollbackd runbook --config rollbackd.yml                          print it
  rollbackd runbook --config rollbackd.yml --update RUNBOOK.md      write it into a page of yours
  rollbackd runbook --config rollbackd.yml --check RUNBOOK.md       exit 1 where the page is out of date (CI)
  rollbackd runbook --config rollbackd.yml --now                    with the versions of this moment, in an incident")]
pub(super) struct RunbookArguments {
    /// The config.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Write it between the two comments of this page.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check", "now"])]
    update: Option<PathBuf>,
    /// Say whether this page is up to date; exit 1 where it is not.
    #[arg(long, value_name = "FILE", conflicts_with = "now")]
    check: Option<PathBuf>,
    /// Fill in the versions that the journal knows now.
    #[arg(long)]
    now: bool,
}

/// Prints it, writes it or checks it.
pub(super) fn runbook_of(arguments: &RunbookArguments, output: &Output) -> Result<(), Failure> {
    let loaded = config::load(&arguments.config).map_err(|error| Failure::Shown(config::explain(&error)))?;
    let settings = loaded.settings;
    let rehearsed = rehearsals(&Receipts::new(settings.receipts_dir.clone()), &settings.core)?;
    let filled = if arguments.now { known_now(&settings.state_dir)? } else { BTreeMap::new() };
    let runbook = runbook(&settings, &rehearsed, &filled);
    let warnings: String = runbook.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    let told = |did: &str, ok: bool| json!({"ok": ok, "did": did, "warnings": runbook.warnings});
    if let Some(file) = &arguments.update {
        let page = read_page(file)?;
        let new = put_between(&page, &runbook.markdown).map_err(|error| named(file, &error))?;
        if new == page {
            return output.say(&format!("{warnings}{}: up to date\n", file.display()), &told("nothing", true));
        }
        whole_file::write(file, &new)?;
        return output.say(&format!("{warnings}{}: updated\n", file.display()), &told("updated", true));
    }
    if let Some(file) = &arguments.check {
        let page = read_page(file)?;
        let Some((line, expected)) = compare(&page, &runbook.markdown).map_err(|error| named(file, &error))? else {
            return output.say(&format!("{warnings}{}: up to date\n", file.display()), &told("checked", true));
        };
        let update = format!("rollbackd runbook --config {} --update {}", arguments.config.display(), file.display());
        let text = format!(
            "{warnings}{}:{line}: out of date, expected here: {expected}\nto write it: {update}\n",
            file.display()
        );
        output.say(&text, &told("checked", false))?;
        return Err(Failure::Told);
    }
    let mut json = told("printed", true);
    if let Some(json) = json.as_object_mut() {
        json.insert("markdown".to_owned(), json!(runbook.markdown));
    }
    output.say(&runbook.markdown, &json)
}

fn named(file: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::Shown(format!("{}: {why}", file.display()))
}

fn read_page(file: &Path) -> Result<String, Failure> {
    use std::io::Read as _;
    let mut page = String::new();
    let read = std::fs::File::open(file).and_then(|open| open.take(LARGEST_PAGE_BYTES + 1).read_to_string(&mut page));
    read.map_err(|error| {
        Failure::failed(format!("could not read {}: {error}; expected a page of markdown", file.display()))
    })?;
    if page.len() as u64 > LARGEST_PAGE_BYTES {
        return Err(Failure::failed(format!("{} is larger than 4 MiB: expected a page of markdown", file.display())));
    }
    Ok(page)
}

/// The last rehearsal of each path of each service. A receipt that can't be read tells nothing.
fn rehearsals(receipts: &Receipts, config: &Config) -> Result<BTreeMap<ServiceName, Rehearsed>, Failure> {
    let summaries = receipts.list().map_err(Failure::failed)?;
    let mut found: BTreeMap<ServiceName, Rehearsed> = BTreeMap::new();
    for service in config.services.keys() {
        let experience = receipts.experience(service).map_err(Failure::failed)?;
        let last = summaries.iter().filter_map(rehearsal).filter(|front| &front.service == service);
        let last = last.filter_map(|front| Some((front.path.clone()?, front.clone()))).collect();
        found.insert(service.clone(), Rehearsed { last, experience });
    }
    Ok(found)
}

fn rehearsal(summary: &Summary) -> Option<&rollbackd_core::receipt::FrontMatter> {
    summary.facts.as_ref().ok().filter(|front| front.kind == Kind::Rehearsal)
}

/// The versions as the journal knows them.
fn known_now(state_dir: &Path) -> Result<BTreeMap<ServiceName, Filled>, Failure> {
    let stored = journal::read(state_dir).map_err(Failure::failed)?;
    let state: State = replay(&stored).map_err(Failure::failed)?;
    let mut known = BTreeMap::new();
    for (name, own) in &state.services {
        let latest = own.ledger.latest().map(|entry| &entry.deploy);
        let target = rollbackd_core::view::target(own);
        known.insert(
            name.clone(),
            Filled {
                bad: own.running.as_ref().map(ToString::to_string),
                revision: target.as_ref().and_then(|target| own.ledger.revision(target)).map(str::to_owned),
                target: target.map(|target| target.to_string()),
                commit: latest.and_then(|deploy| deploy.commit.as_ref()).map(ToString::to_string),
                at: latest.map(|deploy| deploy.at),
            },
        );
    }
    Ok(known)
}
