//! Config files: bytes to settings or to mistakes with their places.

use rollbackd::config::{self, Settings, render_problems};
use rollbackd::yaml;
use rollbackd_core::apply::apply;
use rollbackd_core::config::node::{Node, Problem, Problems, Severity, Value};
use rollbackd_core::decide;
use rollbackd_core::deploy::Migration;
use rollbackd_core::event::{DeployReport, Event, Happening};
use rollbackd_core::name::Version;
use rollbackd_core::state::State;
use rollbackd_core::time::Timestamp;
use rollbackd_core::wants::wants;

/// A config is used or refused with a reason and its place; one that is used means the same however it is written,
/// and a deploy can be decided with it.
pub(super) fn config(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (settings, problems) = config::parse(text);
    let lines: Vec<&str> = yaml::lines(text).collect();
    for problem in &problems {
        let place = problem.place;
        let line = place.line.checked_sub(1).and_then(|index| lines.get(index));
        let columns = line.map_or(0, |line| line.chars().count() + 1);
        // An empty file has no line, and is wrong at its beginning.
        let nothing_there = lines.is_empty() && (place.line, place.column) == (1, 1);
        assert!(nothing_there || (1..=columns).contains(&place.column), "{problem} is nowhere");
    }
    let any_error = problems.iter().any(|problem| problem.severity == Severity::Error);
    assert_eq!(settings.is_some(), !any_error, "{problems:?}");
    let shown = render_problems("a.yml", text, &problems);
    assert_eq!(shown.is_empty(), problems.is_empty());
    assert!(!shown.contains(|each: char| each.is_control() && each != '\n'), "{shown:?}");
    let Some(settings) = settings else { return };
    assert!(settings.listen.ip().to_canonical().is_loopback() || !settings.tokens.is_empty(), "open to everybody");
    same_when_written_anew(text, &settings, &problems);
    deploys(&settings);
}

/// The tree, written as YAML of another style, means the same.
fn same_when_written_anew(text: &str, settings: &Settings, problems: &[Problem]) {
    let Some(tree) = yaml::parse(text, &mut Problems::default()) else { panic!("settings without a tree") };
    let mut anew = String::new();
    if write(&tree, &mut anew).is_none() || anew.len() > yaml::LONGEST_BYTES {
        return;
    }
    let (again, problems_again) = config::parse(&anew);
    assert_eq!(again.map(|again| format!("{again:?}")), Some(format!("{settings:?}")), "{text}\nwritten as\n{anew}");
    // The anew written file is one line, which some messages name; and an alias repeats a mistake at its place.
    let kinds = |problems: &[Problem]| problems.iter().filter(|each| each.severity == Severity::Error).count();
    assert_eq!(kinds(problems), kinds(&problems_again));
}

/// Writes a tree in YAML's flow style; `None` where a plain scalar could be read as something else there.
fn write(node: &Node, text: &mut String) -> Option<()> {
    match &node.value {
        Value::Null => text.push('~'),
        Value::Scalar { text: scalar, quoted: true } => write_quoted(scalar, text),
        Value::Scalar { text: scalar, quoted: false } => {
            let safe = |each: char| each.is_ascii_alphanumeric() || "._-/+%@".contains(each);
            let starts = scalar.starts_with(|first: char| first.is_ascii_alphanumeric());
            (starts && scalar.chars().all(safe)).then(|| text.push_str(scalar))?;
        }
        Value::List(nodes) => {
            text.push('[');
            for node in nodes {
                write(node, text)?;
                text.push_str(", ");
            }
            text.push(']');
        }
        Value::Map(entries) => {
            text.push('{');
            for (key, value) in entries {
                write(key, text)?;
                text.push_str(": ");
                write(value, text)?;
                text.push_str(", ");
            }
            text.push('}');
        }
    }
    Some(())
}

fn write_quoted(scalar: &str, text: &mut String) {
    text.push('"');
    for each in scalar.chars() {
        match each {
            '"' | '\\' => text.extend(['\\', each]),
            ' '..='~' => text.push(each),
            _ => text.push_str(&format!("\\U{:08X}", u32::from(each))),
        }
    }
    text.push('"');
}

fn deploys(settings: &Settings) {
    let now = Timestamp::from_milliseconds(1_795_000_000_000);
    let mut state = State::default();
    for service in settings.core.services.keys() {
        let report = DeployReport {
            version: Version::new("v2").expect("a version"),
            previous: Version::new("v1").ok(),
            commit: None,
            migration: Migration::None,
            run_url: None,
            at: None,
            key: None,
        };
        let event = Event { service: service.clone(), what: Happening::Deployed(report) };
        let decision = decide(&settings.core, &state, &event, now);
        assert_eq!(decision.fault, None);
        for record in &decision.records {
            apply(&mut state, service, now, record).expect("a record of our own");
        }
        let _ = wants(&settings.core, &state, service);
        let _ = rollbackd_core::wake_at(&settings.core, &state, service);
    }
}
