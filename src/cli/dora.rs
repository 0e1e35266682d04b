//! `dora`: software delivery metrics out of the journal, whether or not the daemon runs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rollbackd_core::name::ServiceName;
use rollbackd_core::receipt::{Kind, took};
use rollbackd_core::time::parse_duration;
use serde_json::json;

use super::output::{Failure, Output, Paint};
use super::table::{Cell, plain, table};
use super::{remote, whole_file};
use crate::dora::{DEFINITIONS, Figures, Report, Week, page, percent, plural, report};
use crate::receipts::Receipts;
use crate::supervisor::replay;
use crate::{clock, config, journal};

/// `dora`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
The definitions are DORA's (https://dora.dev/guides/dora-metrics/); --json says how each is read here. Rehearsals and dry \
runs do not count. It reads a copy of the journal, so it may be asked beside the daemon, by whoever may read its state_dir. \
The journal remembers the latest 400 deploys of each service.

Examples:
  rollbackd dora --config rollbackd.yml
  rollbackd dora --config rollbackd.yml --since 30d --service capstone-api --json
  rollbackd dora --config rollbackd.yml --html dora.html       one page with charts, to be sent on")]
pub(super) struct DoraArguments {
    /// The config, whose `state_dir` holds the journal.
    #[arg(long, value_name = "FILE", default_value = "/etc/rollbackd/rollbackd.yml")]
    config: PathBuf,
    /// How far back: 90d, 12w.
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = period)]
    since: Duration,
    /// The service; every service where it isn't named.
    #[arg(long, value_name = "SERVICE", value_parser = remote::service)]
    service: Option<ServiceName>,
    /// Also write a page with charts to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn period(text: &str) -> Result<Duration, String> {
    let period = parse_duration(text)?;
    if period.is_zero() { Err("expected a time that is over, such as 90d".to_owned()) } else { Ok(period) }
}

/// Computes and prints the figures.
pub(super) fn dora(arguments: &DoraArguments, output: &Output) -> Result<(), Failure> {
    let loaded = config::load(&arguments.config).map_err(|error| Failure::Shown(config::explain(&error)))?;
    let stored = journal::read(&loaded.settings.state_dir).map_err(Failure::failed)?;
    let state = replay(&stored).map_err(Failure::failed)?;
    let not_incidents = not_incidents(&Receipts::new(loaded.settings.receipts_dir))?;
    let now = clock::now();
    let mut report = report(&state, &not_incidents, now - arguments.since, now);
    if let Some(service) = &arguments.service {
        report.services.retain(|figures| &figures.service == service);
        let known = state.services.contains_key(service) || loaded.settings.core.services.contains_key(service);
        if !known {
            let known: Vec<&str> = loaded.settings.core.services.keys().map(ServiceName::as_str).collect();
            return Err(Failure::failed(format!("there is no service {service}: expected {}", known.join(" or "))));
        }
    }
    if let Some(file) = &arguments.html {
        whole_file::write(file, &page(&report))?;
    }
    let definitions: serde_json::Map<_, _> =
        DEFINITIONS.iter().map(|(name, meaning)| ((*name).to_owned(), json!(meaning))).collect();
    let mut json = serde_json::to_value(&report).map_err(Failure::failed)?;
    if let Some(json) = json.as_object_mut() {
        json.insert("definitions".to_owned(), definitions.into());
        json.insert("source".to_owned(), json!("https://dora.dev/guides/dora-metrics/"));
    }
    output.say(&shown(&report, output), &json)
}

/// The numbers of the receipts that tell of rehearsals and dry runs. One that can't be read is taken for an incident.
fn not_incidents(receipts: &Receipts) -> Result<BTreeSet<u64>, Failure> {
    let summaries = receipts.list().map_err(Failure::failed)?;
    let told = summaries.iter().filter_map(|summary| summary.facts.as_ref().ok());
    Ok(told.filter(|facts| facts.kind != Kind::Incident).map(|facts| facts.number).collect())
}

fn shown(report: &Report, output: &Output) -> String {
    let day = |at: rollbackd_core::time::Timestamp| at.to_string().get(..10).unwrap_or_default().to_owned();
    let mut text = format!("{} to {}\n", day(report.since), day(report.until));
    if report.services.is_empty() {
        text.push_str("no deploy is known\n");
    }
    for figures in &report.services {
        let since = format!("deploys known since {}", day(figures.known_since));
        let _ = writeln!(text, "\n{}  {since}", output.paint(Paint::Heading, figures.service.as_str()));
        summary(figures).iter().for_each(|(name, value)| {
            let _ = writeln!(text, "  {name:<33}{value}");
        });
        text.push('\n');
        let heading = ["WEEK OF", "DEPLOYS", "FAILED", "ROLLBACKS", "FIXES", "MEDIAN RECOVERY"];
        let rows: Vec<Vec<Cell>> = figures.weeks.iter().map(row).collect();
        text.push_str(&table(output, "  ", &heading, &rows));
    }
    text
}

fn summary(figures: &Figures) -> Vec<(&'static str, String)> {
    let recovery = &figures.recovery;
    let mut known = match (recovery.median(), recovery.p90()) {
        (Some(median), Some(p90)) => format!("median {}, p90 {}, of {}", took(median), took(p90), recovery.count),
        (_, _) => "none known".to_owned(),
    };
    if recovery.unknown > 0 {
        let _ = write!(known, "; {} not known", recovery.unknown);
    }
    let classes = recovery.distribution.iter().filter(|class| class.count > 0);
    let classes: Vec<String> = classes.map(|class| format!("{} {}", class.count, class.took)).collect();
    let failed = format!("{} ({} of {})", percent(figures.change_fail_rate), figures.failed, figures.deployments);
    let unplanned = format!("{}, {}", plural(figures.rollbacks, "rollback"), plural(figures.fixes, "fix"));
    let mut lines = vec![
        ("deployment frequency", format!("{:.1} a week ({})", figures.per_week, plural(figures.deployments, "deploy"))),
        ("change fail rate", failed),
        ("failed deployment recovery time", known),
        ("deployment rework rate", format!("{} ({unplanned})", percent(figures.rework_rate))),
    ];
    if !classes.is_empty() {
        lines.insert(3, ("", classes.join(", ")));
    }
    if figures.left_out > 0 {
        lines.push(("left out", format!("{} of rehearsals and dry runs", plural(figures.left_out, "deploy"))));
    }
    lines
}

fn row(week: &Week) -> Vec<Cell> {
    let recovery = week.median_recovery_seconds.map_or("-".to_owned(), |it| took(Duration::from_secs_f64(it)));
    let failed = if week.failed > 0 { Paint::Bad } else { Paint::Plain };
    vec![
        plain(week.week_of.clone()),
        plain(week.deployments.to_string()),
        (week.failed.to_string(), failed),
        plain(week.rollbacks.to_string()),
        plain(week.fixes.to_string()),
        plain(recovery),
    ]
}
