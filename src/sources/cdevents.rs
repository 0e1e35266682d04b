//! CDEvents as CloudEvents over HTTP: services that were deployed, and test suites that failed.
//!
//! Never proves who sent one, which a token with the scope `deploy` does before (design, "HTTP"), and never reads the
//! headers `ce-*`: they repeat the body.
//!
//! Source: cdevents/spec, tags v0.4.1 and v0.5.1: "CloudEvents Binding", "Continuous Deployment Events", "Testing Events".

mod purl;

use rollbackd_core::config::Config;
use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::deploy::Migration;
use rollbackd_core::event::{About, DeployReport, Event, Happening};
use rollbackd_core::name::{ServiceName, TriggerName, Version};
use rollbackd_core::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use self::purl::Purl;
use super::{Translated, Untold, mapping, read};
use crate::link;

/// What the config says of CDEvents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdEvents {
    deployments: Vec<Deployment>,
    test_suites: Vec<TestSuite>,
}

/// A service of theirs in an environment is a service of the config.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Deployment {
    service: ServiceName,
    subject: String,
    environment: String,
    version: VersionIn,
}

/// A test suite in an environment tests a service of the config.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TestSuite {
    service: ServiceName,
    test_suite: String,
    environment: String,
    on_failure: TriggerName,
}

/// Where in an artifact's purl the version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum VersionIn {
    /// What follows the `@`: of an OCI artifact its digest, of a package its release.
    Version,
    /// The qualifier `tag`.
    Tag,
}

/// How the event lies in the body (CloudEvents, "HTTP Protocol Binding").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The body is the event.
    Binary,
    /// The body is a CloudEvent, whose `data` is the event.
    Structured,
}

impl Mode {
    /// What a request may say that its body is. A batch of events is none of it.
    pub const MEDIA_TYPES: [&str; 3] = ["application/json", "application/cdevents+json", Self::STRUCTURED];

    const STRUCTURED: &str = "application/cloudevents+json";

    /// That of a body of this media type.
    #[must_use]
    pub const fn of(media_type: &str) -> Self {
        if media_type.eq_ignore_ascii_case(Self::STRUCTURED) { Self::Structured } else { Self::Binary }
    }
}

#[derive(Deserialize)]
struct Structured<T> {
    data: T,
}

/// So much of an event as says whether it is of interest.
#[derive(Deserialize)]
struct OfType {
    context: Type,
}

#[derive(Deserialize)]
struct Type {
    r#type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    context: Context,
    subject: Subject,
    #[serde(default)]
    custom_data: Value,
}

#[derive(Deserialize)]
struct Context {
    id: String,
    source: String,
    timestamp: Timestamp,
}

#[derive(Deserialize)]
struct Subject {
    id: String,
    content: Content,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    environment: Option<Environment>,
    artifact_id: Option<String>,
    outcome: Option<String>,
    test_suite: Option<SuiteRef>,
}

#[derive(Deserialize)]
struct Environment {
    id: String,
}

#[derive(Deserialize)]
struct SuiteRef {
    id: Option<String>,
    name: Option<String>,
    uri: Option<String>,
}

impl CdEvents {
    /// Reads `deployments` and `test_suites`.
    pub fn decode(node: &Node, config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`cdevents`", problems)?;
        let deployments = fields.optional("deployments").map(|node| node::list(node, "deployments", problems));
        let test_suites = fields.optional("test_suites").map(|node| node::list(node, "test suites", problems));
        if deployments.is_none() && test_suites.is_none() {
            problems.error(node.place, "`cdevents` says of no `deployments` and no `test_suites` whose they are");
        }
        fields.finish(problems);
        let (deployments, test_suites) = (deployments.unwrap_or_default(), test_suites.unwrap_or_default());
        let deployments = deployments.iter().filter_map(|node| Deployment::decode(node, config, problems)).collect();
        let test_suites = test_suites.iter().filter_map(|node| TestSuite::decode(node, config, problems)).collect();
        Some(Self { deployments, test_suites })
    }

    /// What an event means.
    ///
    /// # Errors
    /// It means nothing here, or can't be used.
    pub fn translate(&self, mode: Mode, body: &[u8]) -> Translated {
        let unconcerned = |why: &str| Err(Untold::Unconcerned(why.to_owned()));
        let OfType { context } = unwrapped(mode, body)?;
        // Each type has a version of its own at its end, which grows with the specification's.
        let is = |name: &str| context.r#type.strip_prefix(name).is_some_and(|version| version.starts_with('.'));
        if ["deployed", "upgraded", "rolledback"].iter().any(|done| is(&format!("dev.cdevents.service.{done}"))) {
            return self.deploys(unwrapped(mode, body)?);
        }
        if is("dev.cdevents.testsuiterun.finished") {
            return self.failures(&unwrapped(mode, body)?);
        }
        if is("dev.cdevents.service.published") || is("dev.cdevents.service.removed") {
            return unconcerned("it names no version: `service.deployed`, `upgraded` and `rolledback` do");
        }
        unconcerned("only services that were deployed and test suites that finished are of interest")
    }

    fn deploys(&self, told: Told) -> Translated {
        let is_of = |mapped: &&Deployment| mapped.subject == told.subject.id && told.subject.is_in(&mapped.environment);
        let mapped: Vec<&Deployment> = self.deployments.iter().filter(is_of).collect();
        if mapped.is_empty() {
            let why = "no entry of `sources.cdevents.deployments` has this subject and environment";
            return Err(Untold::Unconcerned(why.to_owned()));
        }
        let artifact = told.subject.content.artifact_id.as_deref();
        let artifact = artifact.ok_or_else(|| Untold::Unusable("the event names no `artifactId`".to_owned()))?;
        let artifact = Purl::parse(artifact).map_err(Untold::Unusable)?;
        let report = |mapped: &Deployment| {
            Ok(DeployReport {
                version: mapped.version.of(&artifact)?,
                previous: None,
                commit: None,
                migration: told.migration(),
                run_url: None,
                at: Some(told.context.timestamp),
                key: Some(told.context.key()),
            })
        };
        let event = |mapped: &Deployment| {
            let what = Happening::Hinted { report: report(mapped)?, run: None };
            Ok(Event { service: mapped.service.clone(), what })
        };
        mapped.into_iter().map(event).collect()
    }

    fn failures(&self, told: &Told) -> Translated {
        let unconcerned = |why: &str| Err(Untold::Unconcerned(why.to_owned()));
        // `fail` before v0.5. `error` and `cancel` say that nothing was tested to its end.
        if !matches!(told.subject.content.outcome.as_deref(), Some("failure" | "fail")) {
            return unconcerned("the test suite did not fail");
        }
        let is_of =
            |mapped: &&TestSuite| told.subject.is_in(&mapped.environment) && told.subject.is_run_of(&mapped.test_suite);
        let mapped: Vec<&TestSuite> = self.test_suites.iter().filter(is_of).collect();
        if mapped.is_empty() {
            return unconcerned("no entry of `sources.cdevents.test_suites` has this test suite and environment");
        }
        Ok(mapped.into_iter().map(|mapped| told.failure(mapped)).collect())
    }
}

fn unwrapped<'a, T: Deserialize<'a>>(mode: Mode, body: &'a [u8]) -> Result<T, Untold> {
    match mode {
        Mode::Binary => read(body),
        Mode::Structured => read(body).map(|Structured { data }| data),
    }
}

impl Told {
    fn migration(&self) -> Migration {
        mapping::migration(&self.custom_data)
    }

    /// The event says of no version: it is about what serves in that environment.
    fn failure(&self, mapped: &TestSuite) -> Event {
        let about = About { key: Some(self.context.key()), at: Some(self.context.timestamp), ..About::default() };
        let link = self.subject.content.test_suite.as_ref().and_then(|suite| suite.uri.as_deref());
        let link = link.and_then(|text| link::checked(text).ok());
        let link = link.map(|link| format!(": {link}")).unwrap_or_default();
        let note = Some(format!("a CDEvent says that the test suite {} failed{link}", mapped.test_suite));
        let what = Happening::Reported { trigger: mapped.on_failure.clone(), note, about };
        Event { service: mapped.service.clone(), what }
    }
}

impl Context {
    /// What makes two events one: the source and the id (CDEvents, "id (context)"). As a hash, since both are any text.
    fn key(&self) -> String {
        let hash = Sha256::digest(format!("{}:{}{}", self.source.len(), self.source, self.id));
        hash.iter().fold("cdevents-".to_owned(), |key, byte| key + &format!("{byte:02x}"))
    }
}

impl Subject {
    fn is_in(&self, environment: &str) -> bool {
        self.content.environment.as_ref().is_some_and(|known| known.id == environment)
    }

    fn is_run_of(&self, test_suite: &str) -> bool {
        let suite = self.content.test_suite.as_ref();
        let names = |suite: &SuiteRef| [&suite.id, &suite.name].into_iter().flatten().any(|name| name == test_suite);
        suite.is_some_and(names)
    }
}

impl VersionIn {
    /// Reads `purl.version` or `purl.tag`.
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        node::choice(node, &[("purl.version", Self::Version), ("purl.tag", Self::Tag)], problems)
    }

    fn of(self, artifact: &Purl) -> Result<Version, Untold> {
        let (found, what) = match self {
            Self::Version => (artifact.version.as_deref(), "version"),
            Self::Tag => (artifact.tag.as_deref(), "qualifier `tag`"),
        };
        let missing = || Untold::Unusable(format!("the artifact's purl has no {what}"));
        mapping::version(found.ok_or_else(missing)?, &format!("the {what} of the artifact's purl"))
    }
}

impl Deployment {
    fn decode(node: &Node, config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "a deployment of CDEvents", problems)?;
        let service = mapping::service(&mut fields, config, problems);
        let subject = fields.required("subject", problems).and_then(|node| mapping::name(node, problems));
        let environment = fields.required("environment", problems).and_then(|node| mapping::name(node, problems));
        let version = fields.required("version", problems).and_then(|node| VersionIn::decode(node, problems));
        fields.finish(problems);
        let service = service?.name.clone();
        Some(Self { service, subject: subject?, environment: environment?, version: version? })
    }
}

impl TestSuite {
    fn decode(node: &Node, config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "a test suite of CDEvents", problems)?;
        let service = mapping::service(&mut fields, config, problems);
        let test_suite = fields.required("test_suite", problems).and_then(|node| mapping::name(node, problems));
        let environment = fields.required("environment", problems).and_then(|node| mapping::name(node, problems));
        let on_failure = fields.required("on_failure", problems);
        fields.finish(problems);
        let service = service?;
        let on_failure = on_failure.and_then(|node| mapping::trigger(node, service, problems));
        let service = service.name.clone();
        Some(Self { service, test_suite: test_suite?, environment: environment?, on_failure: on_failure? })
    }
}

#[cfg(test)]
mod tests;
