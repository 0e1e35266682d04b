//! `check`: whether a config is right, with the line of every mistake, and what its writer hardly meant.
//!
//! Holds its arguments and what it prints; the looking is done elsewhere.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::budgets;
use super::census::{self, Census};
use super::output::{Failure, Output};
use crate::config::allow::Looked;
use crate::edges::Edges;
use crate::http_client;
use crate::lints::{Checked, Report, online};

/// `check`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Shows each mistake, warning and note as FILE:LINE:COLUMN with its line, then a line that sums up. It asks nobody, unless \
--online is given. Each warning and note has a name in brackets; docs/lints.md says what each means. A comment on its \
line, or on the line before, allows one on purpose:

  # rollbackd: allow ratio-without-at-least: a batch job, whose traffic is steady

Exit codes:
  0  the config can be used; with --strict, and there is no warning
  1  it can't; with --online, or a query was not answered; with --strict, or there is a warning

Examples:
  rollbackd check --config rollbackd.yml
  rollbackd check --config rollbackd.yml --online     also: what do Prometheus' data say of each query?
  rollbackd check --config rollbackd.yml --strict     in a pipeline: a warning fails it")]
pub struct CheckArguments {
    /// The config.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Also ask Prometheus: whether each query returns data, and what the data say of it.
    #[arg(long)]
    pub online: bool,
    /// Exit 1 where there is a warning.
    #[arg(long)]
    pub strict: bool,
}

/// Checks a config.
pub(super) fn check(arguments: &CheckArguments, output: &Output) -> Result<(), Failure> {
    let mut checked = match Checked::offline(&arguments.config) {
        Ok(checked) => checked,
        Err(why) => {
            output.say(&why, &json!({"ok": false, "report": why, "problems": []}))?;
            return Err(Failure::Told);
        }
    };
    let budgets = checked.settings.as_ref().map(|settings| budgets::warnings(&arguments.config, settings));
    let budgets = budgets.unwrap_or_default();
    let Some(settings) = checked.settings.clone().filter(|_| arguments.online) else {
        let report = with_budgets(&budgets, checked.finish(Looked::Offline));
        output.say(&report.text, &json!({"ok": report.ok, "report": report.text, "problems": report.json()}))?;
        return verdict(arguments, &report, report.ok);
    };
    http_client::install_crypto();
    let edges = Edges::open(settings).map_err(Failure::failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("the runtime could not be started: {error}")))?;
    let (answered, census) =
        runtime.block_on(async { (online::ask(&edges, &mut checked).await, census::ask_all(&edges).await) });
    let report = with_budgets(&budgets, checked.finish(Looked::Online));
    let ok = report.ok && answered.ok() && census.iter().all(Census::ok);
    let uncounted = census
        .iter()
        .filter_map(|census| Some(json!({"service": census.service, "uncounted": census.uncounted.as_ref().ok()?})));
    let json = json!({
        "ok": ok,
        "report": report.text,
        "problems": report.json(),
        "queries": answered.json(),
        "unanswered": answered.unanswered(),
        "side_effects": uncounted.collect::<Vec<_>>(),
    });
    let census: String = census.iter().map(Census::text).collect();
    output.say(&format!("{}{}{census}", report.text, answered.text()), &json)?;
    verdict(arguments, &report, ok)
}

/// What past runs say of the budgets, where the config can be used.
fn with_budgets(budgets: &str, mut report: Report) -> Report {
    report.text.push_str(budgets);
    report
}

fn verdict(arguments: &CheckArguments, report: &Report, ok: bool) -> Result<(), Failure> {
    if ok && !(arguments.strict && report.any_warning()) { Ok(()) } else { Err(Failure::Told) }
}
