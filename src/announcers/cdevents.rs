//! CDEvents 0.5.1, as CloudEvents in binary mode: an incident when a trigger fires, the rollback and the incident's end
//! when it has recovered.
//!
//! Never gives one thing two ids: a receiver knows a repetition by its source and id.

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::name::{ServiceName, Version};
use rollbackd_core::template::{Names, Text};
use rollbackd_core::time::Timestamp;
use serde::Serialize;

use super::{Adapter, Announcement, DEFAULT_TIMEOUT, Failure, Sending, in_words, not_sent, post};
use crate::http_client::{HttpSettings, To};
use crate::outside::Pending;

/// The version of the specification.
const SPECIFICATION: &str = "0.5.1";

/// Who says it, where the config does not.
const USUAL_SOURCE: &str = "/rollbackd";

/// A package URL of a thing that no package manager knows.
const USUAL_ARTIFACT: &str = "pkg:generic/{{ service }}@{{ target.version }}";

/// What a package URL may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    Service,
    TargetVersion,
}

impl Names for Fact {
    const ALL: &'static [Self] = &[Self::Service, Self::TargetVersion];

    fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::TargetVersion => "target.version",
        }
    }
}

/// A receiver of CDEvents.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CdEvents {
    to: To,
    source: String,
    environment: String,
    artifact_id: Text<Fact>,
    http: HttpSettings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    IncidentDetected,
    ServiceRolledBack,
    IncidentResolved,
}

#[derive(Serialize)]
struct Event<'a> {
    context: Context<'a>,
    subject: Subject<'a>,
}

#[derive(Serialize)]
struct Context<'a> {
    specversion: &'static str,
    id: String,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: Timestamp,
}

#[derive(Serialize)]
struct Subject<'a> {
    id: &'a str,
    source: &'a str,
    content: Content<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Content<'a> {
    environment: Reference<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Reference<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_id: Option<String>,
}

#[derive(Serialize)]
struct Reference<'a> {
    id: &'a str,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::IncidentDetected => "dev.cdevents.incident.detected.0.3.0",
            Self::ServiceRolledBack => "dev.cdevents.service.rolledback.0.3.0",
            Self::IncidentResolved => "dev.cdevents.incident.resolved.0.3.0",
        }
    }

    /// What its id says besides the firing.
    const fn word(self) -> &'static str {
        match self {
            Self::IncidentDetected => "incident-detected",
            Self::ServiceRolledBack => "service-rolledback",
            Self::IncidentResolved => "incident-resolved",
        }
    }
}

impl CdEvents {
    /// Reads `source`, `environment`, `artifact_id`, and the keys of [`To`] and of [`HttpSettings`].
    pub(super) fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`cdevents`", problems)?;
        let to = To::decode(&mut fields, problems);
        let source = match fields.optional("source") {
            Some(node) => source(node, problems),
            None => Some(USUAL_SOURCE.to_owned()),
        };
        let environment = fields.required("environment", problems).and_then(|node| node::text(node, problems));
        let artifact_id = match fields.optional("artifact_id") {
            Some(node) => artifact_id(node, problems),
            None => Text::parse(USUAL_ARTIFACT).ok(),
        };
        let http = HttpSettings::decode(&mut fields, problems, DEFAULT_TIMEOUT);
        fields.finish(problems);
        let environment = environment?.to_owned();
        Some(Self { to: to?, source: source?, environment, artifact_id: artifact_id?, http })
    }

    /// One after another: the end must not arrive before what it ends.
    async fn emit(&self, announcement: &Announcement, with: Sending<'_>) -> Result<(), Failure> {
        for kind in kinds(announcement) {
            self.post(&self.event(kind, announcement), with).await?;
        }
        Ok(())
    }

    /// The headers say what the context says (CloudEvents' HTTP binding, binary mode).
    async fn post(&self, event: &Event<'_>, with: Sending<'_>) -> Result<(), Failure> {
        let endpoint = self.to.endpoint().await.map_err(|error| not_sent(&error))?;
        let request = with
            .http
            .post(endpoint.url().clone())
            .header("ce-specversion", "1.0")
            .header("ce-id", &event.context.id)
            .header("ce-source", event.context.source)
            .header("ce-type", event.context.kind)
            .header("ce-subject", event.subject.id)
            .header("ce-time", event.context.timestamp.to_string())
            .json(event);
        post(&self.http, request, &endpoint.to_string(), with.now).await
    }

    fn event<'a>(&'a self, kind: Kind, announcement: &'a Announcement) -> Event<'a> {
        let ended_at = announcement.ended.as_ref().map_or(announcement.observed_at, |ended| ended.at);
        let Announcement { service, firing, .. } = announcement;
        let (subject, timestamp) = match kind {
            Kind::IncidentDetected => (firing.as_str(), announcement.observed_at),
            Kind::ServiceRolledBack => (service.as_str(), ended_at),
            Kind::IncidentResolved => (firing.as_str(), ended_at),
        };
        let id = format!("{firing}-{}", kind.word());
        Event {
            context: Context { specversion: SPECIFICATION, id, source: &self.source, kind: kind.name(), timestamp },
            subject: Subject { id: subject, source: &self.source, content: self.content(kind, announcement) },
        }
    }

    fn content<'a>(&'a self, kind: Kind, announcement: &'a Announcement) -> Content<'a> {
        let environment = Reference { id: &self.environment };
        let Announcement { service, target, .. } = announcement;
        match kind {
            Kind::IncidentDetected | Kind::IncidentResolved => Content {
                environment,
                description: Some(in_words(announcement)),
                service: Some(Reference { id: service.as_str() }),
                artifact_id: None,
            },
            Kind::ServiceRolledBack => Content {
                environment,
                description: None,
                service: None,
                artifact_id: target.as_ref().map(|target| self.artifact(service, target)),
            },
        }
    }

    fn artifact(&self, service: &ServiceName, target: &Version) -> String {
        let filled: Result<String, std::convert::Infallible> = self.artifact_id.fill(|fact| {
            Ok(match fact {
                Fact::Service => service.to_string(),
                Fact::TargetVersion => percent_encoded(target.as_str()),
            })
        });
        filled.unwrap_or_else(|never| match never {})
    }
}

impl Adapter for CdEvents {
    fn settings(&self) -> &HttpSettings {
        &self.http
    }

    fn has_news(&self, announcement: &Announcement) -> bool {
        !kinds(announcement).is_empty()
    }

    fn tell<'a>(&'a self, announcement: &'a Announcement, with: Sending<'a>) -> Pending<'a, Result<(), Failure>> {
        Box::pin(self.emit(announcement, with))
    }
}

/// What is told: that the incident is over only where production has recovered, since else somebody still has it in hand.
fn kinds(announcement: &Announcement) -> Vec<Kind> {
    match (&announcement.ended, &announcement.target) {
        (None, _) => vec![Kind::IncidentDetected],
        (Some(ended), Some(_)) if ended.recovered => vec![Kind::ServiceRolledBack, Kind::IncidentResolved],
        (Some(ended), None) if ended.recovered => vec![Kind::IncidentResolved],
        (Some(_), Some(_) | None) => vec![],
    }
}

/// A version within a package URL: what could be its separators is encoded.
fn percent_encoded(version: &str) -> String {
    let encoded = version.chars().map(|each| match each {
        ':' => "%3A".to_owned(),
        '/' => "%2F".to_owned(),
        '@' => "%40".to_owned(),
        '+' => "%2B".to_owned(),
        other => other.to_string(),
    });
    encoded.collect()
}

/// A reference to a URI, as far as it can stand in a header.
fn source(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node::text(node, problems)?;
    if text.is_empty() || !text.chars().all(|each| each.is_ascii_graphic()) {
        problems.error(node.place, format!("expected a source such as {USUAL_SOURCE}, not {text:?}"));
        return None;
    }
    Some(text.to_owned())
}

fn artifact_id(node: &Node, problems: &mut Problems) -> Option<Text<Fact>> {
    let text = node::text(node, problems)?;
    if !text.starts_with("pkg:") {
        problems.error(node.place, "expected a package URL such as pkg:oci/shop@{{ target.version }}");
        return None;
    }
    problems.take(node.place, Text::parse(text))
}
