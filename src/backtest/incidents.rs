//! The incidents that a backtest's firings are compared with: a small YAML file that people write.

use std::path::Path;

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::name::ServiceName;
use rollbackd_core::time::Timestamp;

use crate::config::render_problems;
use crate::yaml;

/// A time in which a service was really bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Incident {
    /// The service.
    pub(super) service: ServiceName,
    /// Since then.
    pub(super) from: Timestamp,
    /// Until then.
    pub(super) to: Timestamp,
    /// In people's words.
    pub(super) note: Option<String>,
}

impl Incident {
    /// Whether a breach of this service, from its beginning until it fired, was a part of it.
    #[must_use]
    pub(super) fn covers(&self, service: &ServiceName, breach_at: Timestamp, observed_at: Timestamp) -> bool {
        &self.service == service && breach_at <= self.to && observed_at >= self.from
    }
}

/// Reads a file of incidents: a list of `{service, from, to, note?}`, instants as RFC 3339.
///
/// # Errors
/// The file can't be read, or holds mistakes: all of them, each with its line.
pub(super) fn read(file: &Path) -> Result<Vec<Incident>, String> {
    let name = file.display().to_string();
    let size = std::fs::metadata(file).map_err(|error| format!("{name}: can't be read: {error}"))?.len();
    if size > yaml::LONGEST_BYTES as u64 {
        return Err(format!("{name}: larger than {} bytes: expected a list of incidents", yaml::LONGEST_BYTES));
    }
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: can't be read: {error}"))?;
    parse(&name, &text)
}

fn parse(name: &str, text: &str) -> Result<Vec<Incident>, String> {
    let mut problems = Problems::default();
    let incidents = yaml::parse(text, &mut problems).map(|root| list(&root, &mut problems));
    match incidents {
        Some(incidents) if !problems.any_error() => Ok(incidents),
        Some(_) | None => Err(render_problems(name, text, &problems.0)),
    }
}

fn list(root: &Node, problems: &mut Problems) -> Vec<Incident> {
    node::list(root, "incidents", problems).to_vec().iter().filter_map(|node| incident(node, problems)).collect()
}

fn incident(node: &Node, problems: &mut Problems) -> Option<Incident> {
    let mut fields = Fields::of(node, "an incident", problems)?;
    let service = fields.required("service", problems).and_then(|node| {
        let text = node::text(node, problems)?;
        problems.take(node.place, ServiceName::new(text))
    });
    let from = fields.required("from", problems).and_then(|node| instant(node, problems));
    let to_place = fields.value_place("to");
    let to = fields.required("to", problems).and_then(|node| instant(node, problems));
    let note = fields.optional("note").and_then(|node| node::text(node, problems)).map(str::to_owned);
    fields.finish(problems);
    let (service, from, to) = (service?, from?, to?);
    if to < from {
        problems.error(to_place, format!("expected `to` to be after `from` ({from}), not {to}"));
    }
    Some(Incident { service, from, to, note })
}

fn instant(node: &Node, problems: &mut Problems) -> Option<Timestamp> {
    let text = node::text(node, problems)?;
    problems.take(node.place, text.parse::<Timestamp>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_incidents_is_read_and_covers_what_overlaps_it() {
        let read = parse(
            "incidents.yml",
            "- {service: api, from: 2026-11-01T10:00:00Z, to: 2026-11-01T10:30:00Z, note: the queue was full}\n\
             - {service: web, from: 2026-11-02T10:00:00+02:00, to: 2026-11-02T11:00:00Z}\n",
        );
        let incidents = read.unwrap();
        assert_eq!(incidents[0].note.as_deref(), Some("the queue was full"));
        assert_eq!(incidents[1].from.to_string(), "2026-11-02T08:00:00.000Z");
        let api = ServiceName::new("api").unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let covers = |breach: &str, observed: &str| incidents[0].covers(&api, at(breach), at(observed));
        assert!(covers("2026-11-01T09:58:00Z", "2026-11-01T10:00:00Z"), "it began before people noticed");
        assert!(!covers("2026-11-01T09:56:00Z", "2026-11-01T09:58:00Z"));
        assert!(!covers("2026-11-01T10:31:00Z", "2026-11-01T10:33:00Z"));
        assert!(!incidents[1].covers(&api, incidents[1].from, incidents[1].to), "another service");
    }

    #[test]
    fn each_mistake_is_told_with_its_line() {
        let error = parse(
            "incidents.yml",
            "- {service: api, from: yesterday, to: 2026-11-01T10:30:00Z}\n\
             - {service: api, from: 2026-11-01T10:30:00Z, to: 2026-11-01T10:00:00Z, why: x}\n",
        )
        .unwrap_err();
        for expected in ["incidents.yml:1:24", "RFC 3339", "incidents.yml:2:", "after `from`", "unknown key `why`"] {
            assert!(error.contains(expected), "{expected}: {error}");
        }
        assert!(parse("incidents.yml", "service: api\n").unwrap_err().contains("expected a list of incidents"));
    }
}
