//! `backtest`: the trigger list against history, as tables, JSON, and a page with charts.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rollbackd_core::time::parse_duration;

use super::output::{Failure, Output, Paint};
use super::table::{Cell, plain, table};
use super::whole_file;
use crate::backtest::{self, Asked, Backtest, FiringOutcome, Outcome, ServiceOutcome, TriggerOutcome, seconds};
use crate::clock;

/// `backtest`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
It finds the deploys (those that the journal in the config's state_dir knows, and before them those that version_query \
shows), and replays the trigger list at each with the daemon's own code, in a dry run. It asks Prometheus and changes \
nothing. Triggers with `observed: report` can't be replayed: what people said was recorded nowhere.

A file of incidents is a list of the times in which a service was really bad:
  - {service: capstone-api, from: 2026-11-03T10:02:00Z, to: 2026-11-03T10:40:00Z, note: payments failed}

Examples:
  rollbackd backtest --config rollbackd.yml --since 30d
  rollbackd backtest --config rollbackd.yml --incidents incidents.yml --html backtest.html
  rollbackd backtest --config rollbackd.yml --against stricter.yml      what would change?")]
pub(super) struct BacktestArguments {
    /// The config with the trigger list.
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// How far back: `30d`, `12h`.
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = parse_duration)]
    pub(super) since: Duration,
    /// Another config, whose trigger list is replayed over the same deploys and shown beside.
    #[arg(long, value_name = "FILE")]
    pub(super) against: Option<PathBuf>,
    /// The incidents that there really were, so that a firing outside any of them is told apart.
    #[arg(long, value_name = "FILE")]
    pub(super) incidents: Option<PathBuf>,
    /// Also write a page with charts, which needs nothing else, to this file.
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
}

/// Replays, and shows what was found.
pub(super) fn backtest(arguments: &BacktestArguments, output: &Output) -> Result<(), Failure> {
    let until = clock::now();
    let asked = Asked {
        config: arguments.config.clone(),
        against: arguments.against.clone(),
        incidents: arguments.incidents.clone(),
        since: until - arguments.since,
        until,
    };
    let found = backtest::run(&asked).map_err(Failure::Shown)?;
    let json = serde_json::to_value(&found).map_err(Failure::failed)?;
    output.say(&text(&found, output), &json)?;
    if let Some(file) = &arguments.html {
        let unwritable = |error| Failure::failed(format!("{} can't be written: {error}", file.display()));
        whole_file::replace(file, &backtest::page(&found)).map_err(unwritable)?;
    }
    Ok(())
}

fn text(found: &Backtest, output: &Output) -> String {
    let mut text = String::new();
    for service in &found.own.services {
        let other = found.against.as_ref();
        let beside = other.and_then(|other| other.services.iter().find(|each| each.service == service.service));
        text.push_str(&service_text(service, &found.own, output));
        if let (Some(beside), Some(other)) = (beside, other) {
            text.push_str(&beside_text(service, beside, (&found.own, other), output));
        }
        text.push('\n');
    }
    let notes = found.own.notes.iter().chain(found.against.iter().flat_map(|other| &other.notes));
    notes.for_each(|note| text.push_str(&format!("note: {note}\n")));
    text
}

fn service_text(service: &ServiceOutcome, of: &Outcome, output: &Output) -> String {
    let deploys = service.deploys.len();
    let heading = format!("{}: {deploys} deploys from {} to {}", service.service, of.since, of.until);
    let mut text = format!("{}\n\n", output.paint(Paint::Heading, &heading));
    if deploys == 0 {
        let why = "No deploy is known of this time: look further back (--since), or at what version_query shows.";
        return format!("{text}  {why}\n");
    }
    let rows: Vec<Vec<Cell>> = service.triggers.iter().map(|trigger| trigger_row(trigger, deploys)).collect();
    let columns = ["TRIGGER", "ACTION", "CONDITION", "FIRED", "AFTER DEPLOY", "BREACH LASTED", "OUTSIDE", "BLIND"];
    text.push_str(&table(output, "  ", &columns, &rows));
    text.push_str(&firings_text(service, output));
    text.push_str(&incidents_text(service, output));
    text.push_str(&sweep_text(service, output));
    text
}

fn trigger_row(trigger: &TriggerOutcome, deploys: usize) -> Vec<Cell> {
    let mut row = vec![plain(trigger.trigger.as_str()), plain(trigger.action), plain(&trigger.condition)];
    if !trigger.replayed {
        row.push(("not replayed".to_owned(), Paint::Notable));
        return row;
    }
    let fired = trigger.firings.len();
    let paint = if fired == 0 { Paint::Plain } else { Paint::Bad };
    row.push((format!("{fired} of {deploys}"), paint));
    row.push(plain(spread(trigger.firings.iter().map(|firing| firing.after_seconds))));
    row.push(plain(spread(trigger.firings.iter().map(|firing| firing.lasted_seconds))));
    row.push(match trigger.outside_incidents {
        None => plain("-"),
        Some(0) => plain("0"),
        Some(count) => (count.to_string(), Paint::Notable),
    });
    let blind = if trigger.blind_seconds > 0.0 { Paint::Notable } else { Paint::Plain };
    row.push((seconds(trigger.blind_seconds), blind));
    row
}

/// The shortest and the longest.
fn spread(all: impl Iterator<Item = f64> + Clone) -> String {
    match (all.clone().reduce(f64::min), all.reduce(f64::max)) {
        (Some(least), Some(most)) if least < most => format!("{} to {}", seconds(least), seconds(most)),
        (Some(only), _) => seconds(only),
        (None, _) => "-".to_owned(),
    }
}

fn firings_text(service: &ServiceOutcome, output: &Output) -> String {
    let mut rows: Vec<(&FiringOutcome, Vec<Cell>)> = Vec::new();
    for trigger in &service.triggers {
        rows.extend(trigger.firings.iter().map(|firing| (firing, firing_row(trigger, firing))));
    }
    if rows.is_empty() {
        return "\n  No trigger would have fired.\n".to_owned();
    }
    rows.sort_by_key(|(firing, _)| firing.observed_at);
    let rows: Vec<Vec<Cell>> = rows.into_iter().map(|(_, row)| row).collect();
    let columns = ["DEPLOYED", "VERSION", "TRIGGER", "AFTER", "VALUE", "LIMIT", "LASTED", "INCIDENT", "WOULD"];
    format!("\n{}", table(output, "  ", &columns, &rows))
}

fn firing_row(trigger: &TriggerOutcome, firing: &FiringOutcome) -> Vec<Cell> {
    let shown = |value: Option<f64>| plain(value.map_or_else(|| "-".to_owned(), |value| firing.unit.show(value)));
    let still = if firing.still_breaching { " and on" } else { "" };
    vec![
        plain(firing.deployed_at.to_string()),
        plain(firing.version.as_str()),
        plain(trigger.trigger.as_str()),
        plain(seconds(firing.after_seconds)),
        shown(firing.value),
        shown(firing.limit),
        plain(format!("{}{still}", seconds(firing.lasted_seconds))),
        match firing.in_incident {
            None => plain("-"),
            Some(true) => ("yes".to_owned(), Paint::Good),
            Some(false) => ("no".to_owned(), Paint::Notable),
        },
        plain(&firing.would),
    ]
}

fn incidents_text(service: &ServiceOutcome, output: &Output) -> String {
    let Some(incidents) = service.incidents.as_ref().filter(|incidents| !incidents.is_empty()) else {
        return String::new();
    };
    let row = |incident: &backtest::IncidentOutcome| {
        let names: Vec<&str> = incident.fired.iter().map(|name| name.as_str()).collect();
        let fired = match names.is_empty() {
            true => ("nothing".to_owned(), Paint::Bad),
            false => plain(names.join(", ")),
        };
        let note = incident.note.clone().unwrap_or_default();
        vec![plain(incident.from.to_string()), plain(incident.to.to_string()), fired, plain(note)]
    };
    let rows: Vec<Vec<Cell>> = incidents.iter().map(row).collect();
    format!("\n{}", table(output, "  ", &["INCIDENT FROM", "TO", "FIRED IN IT", "NOTE"], &rows))
}

fn sweep_text(service: &ServiceOutcome, output: &Output) -> String {
    let mut rows = Vec::new();
    for trigger in &service.triggers {
        for swept in &trigger.sweep {
            let count = |count: Option<usize>| plain(count.map_or_else(|| "-".to_owned(), |count| count.to_string()));
            let own = if swept.is_own { "  (as it is)" } else { "" };
            rows.push(vec![
                plain(trigger.trigger.as_str()),
                plain(format!("{}{own}", swept.limit)),
                plain(swept.fired.to_string()),
                plain(swept.median_after_seconds.map_or_else(|| "-".to_owned(), seconds)),
                count(swept.outside_incidents),
                count(swept.missed_incidents),
            ]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let columns = ["ALONE, WITH ANOTHER LIMIT", "", "FIRED", "MEDIAN AFTER", "OUTSIDE", "INCIDENTS MISSED"];
    format!("\n{}", table(output, "  ", &columns, &rows))
}

/// Two lists side by side: what each trigger did, and the deploys on which they differ.
fn beside_text(
    own: &ServiceOutcome,
    other: &ServiceOutcome,
    (of_own, of_other): (&Outcome, &Outcome),
    output: &Output,
) -> String {
    let find = |all: &ServiceOutcome, name: &str| -> String {
        let trigger = all.triggers.iter().find(|trigger| trigger.trigger.as_str() == name);
        trigger.map_or_else(
            || "not in the list".to_owned(),
            |trigger| match trigger.replayed {
                true => format!("{} of {}, {}", trigger.firings.len(), all.deploys.len(), trigger.condition),
                false => "not replayed".to_owned(),
            },
        )
    };
    let mut names: Vec<&str> = Vec::new();
    for trigger in own.triggers.iter().chain(&other.triggers) {
        if !names.contains(&trigger.trigger.as_str()) {
            names.push(trigger.trigger.as_str());
        }
    }
    let rows: Vec<Vec<Cell>> =
        names.iter().map(|name| vec![plain(*name), plain(find(own, name)), plain(find(other, name))]).collect();
    let mut text = format!("\n{}", table(output, "  ", &["FIRED", &of_own.config, &of_other.config], &rows));
    let mut differing = Vec::new();
    for (left, right) in own.deploys.iter().zip(&other.deploys).filter(|(left, right)| left.fired != right.fired) {
        let names = |fired: &[rollbackd_core::name::TriggerName]| {
            let names: Vec<&str> = fired.iter().map(|name| name.as_str()).collect();
            plain(if names.is_empty() { "nothing".to_owned() } else { names.join(", ") })
        };
        differing.push(vec![
            plain(left.at.to_string()),
            plain(left.version.as_str()),
            names(&left.fired),
            names(&right.fired),
        ]);
    }
    match differing.is_empty() {
        true => text.push_str("\n  Both lists would have fired on the same deploys.\n"),
        false => {
            let columns = ["DIFFERENT ON", "VERSION", &of_own.config, &of_other.config];
            text.push_str(&format!("\n{}", table(output, "  ", &columns, &differing)));
        }
    }
    text
}
