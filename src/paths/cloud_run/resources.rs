//! The parts of Cloud Run's resources that a rollback reads and writes, and what they say. No I/O.
//!
//! Never takes a revision that is not ready, and never counts as done what the service does not show.
//!
//! Source: Google's discovery document `run.v2`, revision 20261031: `GoogleCloudRunV2Service`, `…Revision`, `…Condition`,
//! `…TrafficTarget`, `…TrafficTargetStatus`, `GoogleLongrunningOperation`, `GoogleRpcStatus`.

use rollbackd_core::firing::Outcome;
use rollbackd_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::http_client::one_line;
use crate::paths::remote::Look;

/// The type of a traffic target that names its revision.
const BY_REVISION: &str = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION";

/// A condition's state that is a success.
const SUCCEEDED: &str = "CONDITION_SUCCEEDED";

/// A condition's state that is a failure, and the end.
const FAILED: &str = "CONDITION_FAILED";

/// The codes of `google.rpc.Code` by which an operation was given up for somebody else's: cancelled and aborted.
const GIVEN_UP: &[i64] = &[1, 10];

/// A service, with what serves and what should.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service {
    pub(super) etag: String,
    /// Goes up whenever somebody changes what should be. A whole number, as text.
    #[serde(default)]
    pub(super) generation: String,
    #[serde(default)]
    update_time: Option<String>,
    #[serde(default)]
    last_modifier: Option<String>,
    #[serde(default)]
    reconciling: bool,
    /// What should serve.
    #[serde(default)]
    traffic: Vec<Target>,
    /// What serves.
    #[serde(default)]
    traffic_statuses: Vec<Target>,
    #[serde(default)]
    terminal_condition: Option<Condition>,
}

/// A share of the traffic.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Target {
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    percent: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Condition {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// A revision of the service.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Revision {
    name: String,
    #[serde(default)]
    create_time: Option<String>,
    #[serde(default)]
    delete_time: Option<String>,
    #[serde(default)]
    containers: Vec<Container>,
    #[serde(default)]
    container_statuses: Vec<ContainerStatus>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Debug, Deserialize)]
struct Container {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    image: String,
    #[serde(default)]
    ports: Vec<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    image_digest: Option<String>,
}

/// A page of revisions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Revisions {
    #[serde(default)]
    pub(super) revisions: Vec<Revision>,
    #[serde(default)]
    pub(super) next_page_token: String,
}

/// A change on its way.
#[derive(Debug, Deserialize)]
pub(super) struct Operation {
    name: String,
    #[serde(default)]
    pub(super) done: bool,
    #[serde(default)]
    pub(super) error: Option<Failure>,
}

/// Why an operation did not succeed.
#[derive(Debug, Deserialize)]
pub(super) struct Failure {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

impl Target {
    fn to(revision: &str) -> Self {
        let (kind, revision) = (Some(BY_REVISION.to_owned()), Some(revision.to_owned()));
        Self { kind, revision, percent: Some(100), tag: None }
    }

    fn is_to(&self, revision: &str) -> bool {
        self.kind.as_deref() == Some(BY_REVISION) && self.revision.as_deref().map(last) == Some(revision)
    }

    fn share(&self) -> i64 {
        self.percent.unwrap_or_default()
    }

    /// For a person: `shop-00042-def 100%`.
    fn shown(&self) -> String {
        format!("{} {}%", self.revision.as_deref().map_or("the latest revision", last), self.share())
    }
}

impl Service {
    /// The traffic as it should be: all to this revision, and each tag where it was.
    pub(super) fn all_to(&self, revision: &str) -> Vec<Target> {
        let tagged = self.traffic.iter().filter(|target| target.tag.is_some());
        let tagged = tagged.map(|target| Target { percent: None, ..target.clone() });
        std::iter::once(Target::to(revision)).chain(tagged).collect()
    }

    /// Whether all traffic should go to this revision.
    pub(super) fn wants(&self, revision: &str) -> bool {
        all_goes_to(&self.traffic, revision)
    }

    /// Where traffic should go, for a person.
    pub(super) fn shown(&self) -> String {
        let shares = self.traffic.iter().filter(|target| target.share() > 0);
        let shares: Vec<String> = shares.map(Target::shown).collect();
        if shares.is_empty() { "the latest revision 100%".to_owned() } else { one_line(&shares.join(", ")) }
    }

    /// Who changed it last, for a person.
    pub(super) fn changed_by(&self) -> String {
        one_line(self.last_modifier.as_deref().unwrap_or("somebody else"))
    }

    /// Whether nobody changed it since then.
    pub(super) fn is_older_than(&self, instant: Timestamp) -> bool {
        time(self.update_time.as_deref()).is_some_and(|changed| changed < instant)
    }

    /// How far the traffic to this revision has come, once its operation is over or unknown.
    pub(super) fn look(&self, revision: &str, failure: Option<&Failure>) -> Look {
        if !self.wants(revision) {
            let by = self.changed_by();
            let why = format!("its traffic was changed again at Cloud Run by {by}, to {}", self.shown());
            return Look::Ended(Outcome::Cancelled { why });
        }
        if self.reconciling {
            return Look::Runs;
        }
        if all_goes_to(&self.traffic_statuses, revision) {
            let output = format!("all traffic goes to {revision}");
            return Look::Ended(Outcome::Succeeded { receipt: Some(revision.to_owned()), output });
        }
        if let Some(failure) = failure {
            return Look::Ended(failure.outcome());
        }
        match &self.terminal_condition {
            Some(Condition { state: Some(state), message, .. }) if state == FAILED => {
                let message = one_line(message.as_deref().unwrap_or_default());
                let why = format!("Cloud Run could not give the traffic to {revision}: {message}");
                Look::Ended(Outcome::Failed { why, output: String::new() })
            }
            // Not reconciling, not failed, and not there: what is shown lags behind.
            Some(_) | None => Look::Runs,
        }
    }
}

fn all_goes_to(traffic: &[Target], revision: &str) -> bool {
    let (there, elsewhere): (Vec<&Target>, Vec<&Target>) = traffic.iter().partition(|target| target.is_to(revision));
    let sum = |targets: &[&Target]| targets.iter().map(|target| target.share()).sum::<i64>();
    sum(&there) == 100 && sum(&elsewhere) == 0
}

impl Failure {
    fn outcome(&self) -> Outcome {
        let message = one_line(&self.message);
        if GIVEN_UP.contains(&self.code) {
            return Outcome::Cancelled { why: format!("the change was given up at Cloud Run: {message}") };
        }
        Outcome::Failed { why: format!("Cloud Run could not change the traffic: {message}"), output: String::new() }
    }
}

impl Operation {
    /// The last part of its name, which is enough to find it again.
    pub(super) fn id(&self) -> &str {
        last(&self.name)
    }
}

impl Revision {
    /// Its name within its service.
    pub(super) fn id(&self) -> &str {
        last(&self.name)
    }

    /// Why it can't get traffic.
    pub(super) fn obstacle(&self) -> Option<String> {
        if self.delete_time.is_some() {
            return Some("it was deleted".to_owned());
        }
        let ready = self.conditions.iter().find(|each| each.kind.as_deref() == Some("Ready"));
        if ready.is_some_and(|ready| ready.state.as_deref() == Some(SUCCEEDED)) {
            return None;
        }
        let message = ready.and_then(|ready| ready.message.as_deref()).unwrap_or_default();
        Some(format!("it is not ready: {}", one_line(message)))
    }

    /// When it was made.
    pub(super) fn created(&self) -> Option<Timestamp> {
        time(self.create_time.as_deref())
    }

    /// Whether its container that serves has this image, by tag, digest or whole reference.
    pub(super) fn runs(&self, image: &str) -> bool {
        let serving = self.containers.iter().find(|container| !container.ports.is_empty());
        let only = self.containers.first().filter(|_| self.containers.len() == 1);
        let Some(container) = serving.or(only) else { return false };
        let status = self.container_statuses.iter().find(|status| {
            status.name == container.name || (self.containers.len() == 1 && self.container_statuses.len() == 1)
        });
        is_image(&container.image, image)
            || status.and_then(|status| status.image_digest.as_deref()).is_some_and(|digest| is_image(digest, image))
    }
}

/// Whether a reference is this image: the whole reference, its tag, or its digest.
fn is_image(reference: &str, image: &str) -> bool {
    let (tagged, digest) =
        reference.split_once('@').map_or((reference, None), |(tagged, digest)| (tagged, Some(digest)));
    let tag = tagged.rsplit('/').next().and_then(|name| name.split_once(':')).map(|(_, tag)| tag);
    [Some(reference), Some(tagged), tag, digest].contains(&Some(image))
}

fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn time(written: Option<&str>) -> Option<Timestamp> {
    written?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_its_reference_its_tag_or_its_digest_and_by_nothing_else() {
        let reference = "us-docker.pkg.dev:443/acme/shop/api:v41@sha256:abc";
        for image in [reference, "us-docker.pkg.dev:443/acme/shop/api:v41", "v41", "sha256:abc"] {
            assert!(is_image(reference, image), "{image}");
        }
        for image in ["v4", "41", "api:v41", "api", "443/acme/shop/api:v41", "abc", ""] {
            assert!(!is_image(reference, image), "{image}");
        }
        assert!(!is_image("localhost:5000/api", "5000/api"));
    }
}
