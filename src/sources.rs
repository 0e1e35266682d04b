//! Deploys and failed pipelines as others tell of them: each source's event is checked for who sent it, and translated
//! into the core's events by what the config says.
//!
//! Never acts, and never takes a name from an event: what an event is about stands in the config, and of the event itself
//! a version, a commit, instants and ids are used (design, R14).

pub mod cdevents;
pub mod github;
pub mod gitlab;
pub mod kubernetes;
mod mapping;
mod standard_webhooks;

use std::sync::{Arc, PoisonError, RwLock};

use rollbackd_core::config::Config;
use rollbackd_core::config::node::{Fields, Node, Problems};
use rollbackd_core::event::Event;

pub use self::cdevents::CdEvents;
pub use self::github::GitHub;
pub use self::gitlab::GitLab;
pub use self::kubernetes::Kubernetes;
use crate::http_client;

/// The sources of one config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// GitHub's webhooks.
    pub github: Option<GitHub>,
    /// GitLab's webhooks.
    pub gitlab: Option<GitLab>,
    /// CDEvents, by whomever.
    pub cdevents: Option<CdEvents>,
    /// Deployments of a Kubernetes cluster.
    pub kubernetes: Option<Kubernetes>,
}

impl Sources {
    /// Reads `sources`; the services and triggers that it names must be of this config.
    pub fn decode(node: &Node, config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`sources`", problems)?;
        let github = fields.optional("github").and_then(|node| GitHub::decode(node, config, problems));
        let gitlab = fields.optional("gitlab").and_then(|node| GitLab::decode(node, config, problems));
        let cdevents = fields.optional("cdevents").and_then(|node| CdEvents::decode(node, config, problems));
        let kubernetes = fields.optional("kubernetes").and_then(|node| Kubernetes::decode(node, config, problems));
        fields.finish(problems);
        Some(Self { github, gitlab, cdevents, kubernetes })
    }
}

/// The sources that are in force; a reload replaces them as a whole.
#[derive(Clone, Debug, Default)]
pub struct InForce(Arc<RwLock<Arc<Sources>>>);

impl InForce {
    /// These.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(sources))))
    }

    /// Those now.
    #[must_use]
    pub fn get(&self) -> Arc<Sources> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts others in force.
    pub fn set(&self, sources: Sources) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(sources);
    }
}

/// Why an event is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// It does not prove who sent it.
    #[error("{0}")]
    NotProven(&'static str),
    /// The secret can't be read now: the event may be sent again.
    #[error("the secret can't be read: see the daemon's log")]
    NoSecret(#[source] http_client::Error),
}

/// What comes of an event that is believed.
pub type Translated = Result<Vec<Event>, Untold>;

/// Why an event says nothing to the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untold {
    /// It is about something else. What.
    Unconcerned(String),
    /// It is about a service of the config, and what it says can't be used. Why.
    Unusable(String),
}

/// Reads a body as far as this type goes.
fn read<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, Untold> {
    serde_json::from_slice(body).map_err(|error| Untold::Unusable(format!("the body can't be read: {error}")))
}
