//! `status`: what is watched, each trigger's value against its limit, the clocks that run, told to a human under time
//! pressure: what is the matter stands first.

mod triggers;

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use rollbackd_core::name::ServiceName;
use rollbackd_core::time::{Timestamp, show_duration};
use serde::Deserialize;
use serde_json::Value;

use super::output::{Failure, Output, Paint, one_line};
use super::remote;
use super::table::{Cell, plain, table};
use crate::client::Client;

pub(super) use triggers::{Trigger, limit_words};

/// What a daemon that runs dry does not do.
const DRY_RUN: &str =
    "DRY RUN: no path runs and nobody is paged; the log and the receipts say what would have been done";

/// `status`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  rollbackd status                       every service
  rollbackd status capstone-api
  rollbackd status --json | jq '.[] | select(.watch != null) | .name'")]
pub(super) struct StatusArguments {
    /// The service; every service where it isn't named.
    #[arg(value_parser = remote::service)]
    service: Option<ServiceName>,
}

/// What of a service's view is shown.
#[derive(Debug, Deserialize)]
struct Service {
    name: String,
    #[serde(default)]
    dry_run: bool,
    running: Option<String>,
    target: Option<String>,
    watch: Option<Watch>,
    last: Option<String>,
    #[serde(default)]
    triggers: Vec<Trigger>,
    frozen: Option<Freeze>,
    rehearsal: Option<Rehearsal>,
    #[serde(default)]
    paths: Vec<RollbackPath>,
    #[serde(default)]
    firings: Vec<Firing>,
    #[serde(default)]
    pages: Vec<Page>,
}

#[derive(Debug, Deserialize)]
struct Watch {
    version: String,
    deployed_at: Timestamp,
    until: Timestamp,
    state: String,
    #[serde(default)]
    migration: String,
}

#[derive(Debug, Deserialize)]
struct Freeze {
    until: Timestamp,
    why: String,
}

#[derive(Debug, Deserialize)]
struct NextRun {
    at_least_seconds: f64,
    at_most_seconds: f64,
}

#[derive(Debug, Deserialize)]
struct RollbackPath {
    name: String,
    kind: String,
    timeout_seconds: f64,
    #[serde(default)]
    took_seconds: Vec<f64>,
    next: Option<NextRun>,
    rehearsed: Option<Rehearsed>,
    rehearsal_due_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
struct Rehearsed {
    at: Timestamp,
    took_seconds: f64,
    in_a_row: u32,
    changed: bool,
    ready_for_a_game_day: bool,
}

#[derive(Debug, Deserialize)]
struct Rehearsal {
    bad: String,
    back_to: String,
    witness: Option<String>,
    state: String,
}

#[derive(Debug, Deserialize)]
struct Firing {
    id: String,
    trigger: String,
    state: String,
    why: Option<String>,
    observed_at: Timestamp,
    budget_ends_at: Option<Timestamp>,
    #[serde(default)]
    acknowledged: bool,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    attempts: Vec<Attempt>,
}

#[derive(Debug, Deserialize)]
struct Attempt {
    path: String,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
struct Page {
    reason: String,
    summary: String,
    opened_at: Timestamp,
    #[serde(default)]
    undelivered: Vec<String>,
}

/// Shows one service, or every one.
pub(super) async fn status(client: &Client, asked: StatusArguments, output: &Output) -> Result<(), Failure> {
    let answer = match &asked.service {
        Some(name) => client.get(&["v1", "services", name.as_str()]).await?,
        None => client.get(&["v1", "services"]).await?,
    };
    let views = match &answer.body {
        Value::Array(services) => services.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            vec![answer.body.clone()]
        }
    };
    let services: Vec<Service> = serde_json::from_value(Value::Array(views))
        .map_err(|error| client.not_rollbackd(&format!("its view of a service can't be read: {error}")))?;
    output.say(&all_told(output, &services, answer.at), &answer.body)
}

/// First what is true of the whole daemon: whoever reads of a firing must know whether anything runs for it.
fn all_told(output: &Output, services: &[Service], now: Timestamp) -> String {
    if services.is_empty() {
        return "the config has no service".to_owned();
    }
    let told: Vec<String> = services.iter().map(|service| told(output, service, now)).collect();
    let dry = services.iter().any(|service| service.dry_run);
    let mode = if dry { output.paint(Paint::Notable, DRY_RUN) + "\n\n" } else { String::new() };
    mode + &told.join("\n")
}

fn told(output: &Output, service: &Service, now: Timestamp) -> String {
    let mut text = output.paint(Paint::Heading, &one_line(&service.name));
    text += &match (&service.running, &service.target) {
        (None, _) => "  no deploy is known".to_owned(),
        (Some(running), Some(target)) => format!("  runs {}, would return to {}", one_line(running), one_line(target)),
        (Some(running), None) => format!("  runs {}, has no version to return to", one_line(running)),
    };
    text.push('\n');
    for (label, words) in facts(output, service, now) {
        // Writing into a string does not fail.
        let _ = writeln!(text, "  {label:<7}  {words}");
    }
    text += &triggers::table_of(output, &service.triggers, service.watch.is_some(), now);
    text += &paths(output, &service.paths, now);
    text
}

/// What is the matter, then what is watched.
fn facts(output: &Output, service: &Service, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut facts: Vec<(&'static str, String)> =
        service.firings.iter().map(|firing| ("firing", firing_words(output, firing, now))).collect();
    facts.extend(service.pages.iter().map(|page| ("page", page_words(output, page, now))));
    if let Some(rehearsal) = service.rehearsal.as_ref().filter(|rehearsal| rehearsal.state != "ended") {
        let (bad, back_to) = (one_line(&rehearsal.bad), one_line(&rehearsal.back_to));
        let witness =
            rehearsal.witness.as_ref().map(|name| format!(", witness {}", one_line(name))).unwrap_or_default();
        let words = format!("{}: {bad} on purpose, then back to {back_to}{witness}", one_line(&rehearsal.state));
        facts.push(("rehears", output.paint(Paint::Notable, &words)));
    }
    if let Some(freeze) = &service.frozen {
        let left = show_left(freeze.until, now);
        let words = format!("automatic rollback is held, {left} left: {}", one_line(&freeze.why));
        facts.push(("frozen", output.paint(Paint::Notable, &words)));
    }
    match (&service.watch, &service.last) {
        (Some(watch), _) => facts.push(("watch", watch_words(output, watch, now))),
        (None, Some(last)) => facts.push(("watch", format!("none; the last one: {}", one_line(last)))),
        (None, None) => facts.push(("watch", "none".to_owned())),
    }
    facts
}

fn watch_words(output: &Output, watch: &Watch, now: Timestamp) -> String {
    let state = output.paint(if watch.state == "watching" { Paint::Good } else { Paint::Bad }, &one_line(&watch.state));
    let (version, since) = (one_line(&watch.version), show_since(watch.deployed_at, now));
    let left = if watch.until > now {
        format!("{} left", show_left(watch.until, now))
    } else {
        "held open by a breach".to_owned()
    };
    let migration = match watch.migration.as_str() {
        "breaking" => ", with a migration: never rolled back automatically",
        "compatible" => ", with a compatible migration",
        _ => "",
    };
    format!("{state}, {version} deployed {since} ago{migration}, {left}")
}

fn firing_words(output: &Output, firing: &Firing, now: Timestamp) -> String {
    let state = output.paint(Paint::Bad, &one_line(&firing.state));
    let mut words =
        format!("{} {state}, observed {} ago", one_line(&firing.trigger), show_since(firing.observed_at, now));
    if let Some(ends_at) = firing.budget_ends_at {
        words += &if ends_at > now {
            format!(", {} left of the budget", show_left(ends_at, now))
        } else {
            output.paint(Paint::Bad, &format!(", budget spent {} ago", show_since(ends_at, now)))
        };
    }
    if let Some(attempt) = firing.attempts.iter().rev().find(|attempt| attempt.ended_at.is_none()) {
        let (path, since) = (one_line(&attempt.path), show_since(attempt.started_at, now));
        words += &format!(", path {path} runs since {since}");
    }
    for (holds, note) in [(firing.acknowledged, ", acknowledged"), (firing.dry_run, ", dry run")] {
        words += if holds { note } else { "" };
    }
    if let Some(why) = &firing.why {
        words += &format!(": {}", one_line(why));
    }
    format!("{words}  [{}]", one_line(&firing.id))
}

fn page_words(output: &Output, page: &Page, now: Timestamp) -> String {
    let (reason, since) = (one_line(&page.reason), show_since(page.opened_at, now));
    let undelivered = if page.undelivered.is_empty() {
        String::new()
    } else {
        let pagers: Vec<String> = page.undelivered.iter().map(|pager| one_line(pager)).collect();
        output.paint(Paint::Bad, &format!(", NOT YET DELIVERED to {}", pagers.join(", ")))
    };
    format!("{reason}, opened {since} ago{undelivered}: {}", one_line(&page.summary))
}

fn paths(output: &Output, paths: &[RollbackPath], now: Timestamp) -> String {
    let row = |path: &RollbackPath| {
        let took = path.took_seconds.iter().rev().take(3).map(|seconds| show_seconds(*seconds));
        let took: Vec<String> = took.collect();
        let took = if took.is_empty() { "never run here".to_owned() } else { took.join(", ") };
        let next = path.next.as_ref();
        let next = next.map_or("-".to_owned(), |next| {
            format!("{} to {}", show_seconds(next.at_least_seconds), show_seconds(next.at_most_seconds))
        });
        vec![
            plain(one_line(&path.name)),
            plain(one_line(&path.kind)),
            plain(show_seconds(path.timeout_seconds)),
            plain(took),
            plain(next),
        ]
    };
    if paths.is_empty() {
        return output.paint(Paint::Notable, "  no path: every firing pages") + "\n";
    }
    let mut rows: Vec<Vec<Cell>> = paths.iter().map(row).collect();
    let header = ["PATH", "KIND", "TIMEOUT", "LAST TOOK", "NEXT", "REHEARSED"];
    if !paths.iter().any(|path| path.rehearsal_due_at.is_some()) {
        return table(output, "  ", &header[..5], &rows);
    }
    rows.iter_mut().zip(paths).for_each(|(row, path)| row.push(rehearsed_words(path, now)));
    table(output, "  ", &header, &rows)
}

/// When, in how long, how often in a row; and what speaks against relying on it.
fn rehearsed_words(path: &RollbackPath, now: Timestamp) -> Cell {
    let Some(due_at) = path.rehearsal_due_at else { return plain("-".to_owned()) };
    let Some(known) = &path.rehearsed else { return ("never: overdue".to_owned(), Paint::Notable) };
    let mut words = format!("{} ago in {}", show_since(known.at, now), show_seconds(known.took_seconds));
    if known.in_a_row > 0 {
        words += &format!(", {} clean in a row", known.in_a_row);
    }
    if known.changed {
        return (format!("{words}: CHANGED since"), Paint::Notable);
    }
    if due_at <= now {
        return (format!("{words}: overdue"), Paint::Notable);
    }
    if known.ready_for_a_game_day {
        words += ": on to a game day (--surprise)";
    }
    plain(words)
}

/// Three or four digits that mean something; more would only have to be read.
pub(super) fn show_number(value: f64, percentage: bool) -> String {
    let (value, unit) = if percentage { (value * 100.0, "%") } else { (value, "") };
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

pub(super) fn show_seconds(seconds: f64) -> String {
    Duration::try_from_secs_f64(seconds).map_or_else(|_| "-".to_owned(), to_the_second)
}

fn show_since(at: Timestamp, now: Timestamp) -> String {
    to_the_second(now.since(at))
}

fn show_left(until: Timestamp, now: Timestamp) -> String {
    to_the_second(until.since(now))
}

/// A human counts seconds; what is shorter is shown as it is.
pub(super) fn to_the_second(duration: Duration) -> String {
    let shown = if duration.as_secs() == 0 { duration } else { Duration::from_secs(duration.as_secs()) };
    show_duration(shown).replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_percentages_are_percentages() {
        for (value, percentage, shown) in [
            (0.0723, true, "7.23%"),
            (0.05, true, "5%"),
            (0.0, true, "0%"),
            (0.000_012, false, "0"),
            (0.4321, false, "0.4321"),
            (12.34, false, "12.3"),
            (1500.0, false, "1500"),
            (100.0, false, "100"),
            (-2.5, false, "-2.5"),
        ] {
            assert_eq!(show_number(value, percentage), shown);
        }
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(show_seconds(90.4), "1m30s");
        assert_eq!(show_seconds(0.25), "250ms");
        assert_eq!(show_seconds(f64::NAN), "-");
        assert_eq!(show_since(Timestamp::from_milliseconds(0), Timestamp::from_milliseconds(3_600_000)), "1h");
    }

    #[test]
    fn what_is_the_matter_stands_first() {
        let body = serde_json::json!({
            "name": "shop", "running": "v2", "target": "v1",
            "watch": {"version": "v2", "deployed_at": "2026-11-23T10:00:00Z", "until": "2026-11-23T10:30:00Z",
                      "state": "paged", "migration": "breaking"},
            "last": null, "frozen": {"until": "2026-11-23T10:15:00Z", "why": "load\u{1b}[2J test"},
            "triggers": [
                {"name": "error-rate", "value": 0.0723, "limit": 0.05, "breach": "above", "percentage": true,
                 "observed_at": "2026-11-23T10:09:00Z", "state": "fired", "breaching_since": null,
                 "action": "rollback", "for_seconds": 120.0, "budget_seconds": 300.0, "observed_by_report": false},
                {"name": "login", "value": null, "limit": null, "breach": null, "percentage": false,
                 "observed_at": null, "state": "clear", "breaching_since": null, "action": "page",
                 "for_seconds": 0.0, "budget_seconds": null, "observed_by_report": true}],
            "paths": [{"name": "pipeline", "kind": "command", "timeout_seconds": 240.0, "took_seconds": [80.0, 92.0],
                       "next": {"at_least_seconds": 56.4, "typical_seconds": 85.8, "at_most_seconds": 130.6},
                       "rehearsal_due_at": "2026-12-23T09:10:00Z",
                       "rehearsed": {"at": "2026-11-23T09:10:00Z", "took_seconds": 97.2, "in_a_row": 2, "changed": true,
                                     "ready_for_a_game_day": false}}],
            "firings": [{"id": "shop-f-1", "trigger": "error-rate", "state": "paged", "why": "a migration",
                         "observed_at": "2026-11-23T10:09:00Z", "budget_ends_at": "2026-11-23T10:14:00Z",
                         "acknowledged": true, "attempts": []}],
            "pages": [{"reason": "held", "summary": "shop: error-rate", "opened_at": "2026-11-23T10:09:01Z",
                       "undelivered": ["oncall"]}],
        });
        let service: Service = serde_json::from_value(body).unwrap();
        let text = told(&Output::new(false), &service, "2026-11-23T10:10:00Z".parse().unwrap());
        assert_eq!(
            text,
            "shop  runs v2, would return to v1
  firing   error-rate paged, observed 1m ago, 4m left of the budget, acknowledged: a migration  [shop-f-1]
  page     held, opened 59s ago, NOT YET DELIVERED to oncall: shop: error-rate
  frozen   automatic rollback is held, 5m left: load\u{fffd}[2J test
  watch    paged, v2 deployed 10m ago, with a migration: never rolled back automatically, 20m left
  TRIGGER     STATE  VALUE  LIMIT     FOR  BUDGET  ACTION    SINCE
  error-rate  fired  7.23%  > 5%      2m   5m      rollback  1m
  login       clear  -      reported  -    none    page
  PATH      KIND     TIMEOUT  LAST TOOK     NEXT          REHEARSED
  pipeline  command  4m       1m32s, 1m20s  56s to 2m10s  1h ago in 1m37s, 2 clean in a row: CHANGED since
"
        );
    }
}
