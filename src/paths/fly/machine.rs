//! A machine of Fly.io, as its API shows it, and what that says. No I/O.
//!
//! Never takes a machine for healthy whose checks have not all been seen to pass.
//!
//! Source: Fly.io, "Machines" (properties, update, config object), "Machine states and lifecycle"; the types of superfly/fly-go
//! (`machine_types.go`: `Machine`, `MachineImageRef`, `MachineCheckStatus`, `HostStatus`).

use serde::Deserialize;
use serde_json::Value;

use crate::http_client::one_line;

/// Checks that the API makes up for old clients (fly-go, `RemoveCompatChecks`).
const MADE_UP_CHECK: &str = "bg_deployments_compat";

/// A machine.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Machine {
    pub(super) id: String,
    #[serde(default)]
    state: String,
    /// Which version of the machine this is.
    #[serde(default)]
    pub(super) instance_id: String,
    #[serde(default)]
    image_ref: ImageRef,
    /// Not there where its host can't be reached.
    #[serde(default)]
    config: Option<Value>,
    /// What is known of it then.
    #[serde(default)]
    incomplete_config: Option<Value>,
    #[serde(default)]
    checks: Option<Vec<Check>>,
}

/// Which image a machine has, its tag resolved.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ImageRef {
    #[serde(default)]
    registry: String,
    #[serde(default)]
    repository: String,
    #[serde(default)]
    tag: String,
    #[serde(default)]
    digest: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Check {
    #[serde(default)]
    name: String,
    #[serde(default)]
    status: String,
}

/// How far a machine has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It runs and all its checks pass.
    Healthy,
    /// It is stopped, or was never started.
    Stopped,
    /// It is on its way.
    Coming,
    /// It will not come. Its state.
    Broken(String),
}

impl ImageRef {
    /// Whether this is the image of a reference such as `registry.fly.io/shop:v41`, with a tag, a digest or both.
    pub(super) fn is(&self, reference: &str) -> bool {
        let (tagged, digest) =
            reference.split_once('@').map_or((reference, None), |(tagged, digest)| (tagged, Some(digest)));
        let place = format!("{}/{}", self.registry, self.repository);
        let Some(rest) = tagged.strip_prefix(&place) else { return false };
        match (rest.strip_prefix(':'), digest) {
            (_, Some(digest)) if rest.is_empty() || rest.starts_with(':') => self.digest == digest,
            (Some(tag), None) => self.tag == tag,
            (_, Some(_)) | (None, None) => false,
        }
    }

    /// For a person.
    pub(super) fn shown(&self) -> String {
        let Self { registry, repository, tag, digest } = self;
        let version = if tag.is_empty() { format!("@{digest}") } else { format!(":{tag}") };
        one_line(&format!("{registry}/{repository}{version}"))
    }
}

impl Machine {
    pub(super) const fn image(&self) -> &ImageRef {
        &self.image_ref
    }

    /// Whether it is one of this process group, and there to stay.
    pub(super) fn belongs_to(&self, process_group: &str) -> bool {
        let config = self.config.as_ref().or(self.incomplete_config.as_ref());
        let group = config.and_then(|config| config.pointer("/metadata/fly_process_group")).and_then(Value::as_str);
        group == Some(process_group) && !matches!(self.state.as_str(), "destroyed" | "destroying")
    }

    /// Its whole config with this image instead of its own. `Err`: why it can't be changed.
    pub(super) fn with_image(&self, image: &str) -> Result<Value, String> {
        let Some(config) = &self.config else { return Err("its host can't be reached".to_owned()) };
        let several = config.get("containers").and_then(Value::as_array).is_some_and(|each| !each.is_empty());
        if several {
            return Err("it is made of several containers, of which each has an image".to_owned());
        }
        let mut config = config.clone();
        config["image"] = image.into();
        Ok(config)
    }

    /// Whether its config can be read now.
    pub(super) const fn is_reachable(&self) -> bool {
        self.config.is_some()
    }

    /// Whether it is to be started by an update: one that is stopped stays so, until somebody needs it.
    pub(super) fn is_up(&self) -> bool {
        !matches!(self.state.as_str(), "created" | "stopped" | "stopping" | "suspended" | "suspending")
    }

    /// How far it has come.
    pub(super) fn stage(&self) -> Stage {
        match self.state.as_str() {
            "started" if self.passes() => Stage::Healthy,
            "stopped" | "suspended" | "created" => Stage::Stopped,
            "failed" | "launch_failed" | "destroying" | "destroyed" => Stage::Broken(one_line(&self.state)),
            // `starting`, `replacing`, `updating`, and whatever else is not the end.
            _ => Stage::Coming,
        }
    }

    /// Whether all checks pass, and there are as many as the config has if it has any.
    fn passes(&self) -> bool {
        let checks = self.checks.iter().flatten().filter(|check| !check.name.starts_with(MADE_UP_CHECK));
        let (passing, other): (Vec<&Check>, Vec<&Check>) = checks.partition(|check| check.status == "passing");
        other.is_empty() && (!passing.is_empty() || !self.has_checks())
    }

    fn has_checks(&self) -> bool {
        let Some(config) = &self.config else { return false };
        let own = config.get("checks").and_then(Value::as_object).is_some_and(|checks| !checks.is_empty());
        let services = config.get("services").and_then(Value::as_array);
        let of_services = services.into_iter().flatten().filter_map(|service| service.get("checks"));
        own || of_services.filter_map(Value::as_array).any(|checks| !checks.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_its_place_and_its_tag_or_digest() {
        let text = |text: &str| text.to_owned();
        let image = ImageRef {
            registry: text("registry.fly.io"),
            repository: text("shop"),
            tag: text("v41"),
            digest: text("sha256:abc"),
        };
        for same in ["registry.fly.io/shop:v41", "registry.fly.io/shop@sha256:abc", "registry.fly.io/shop:x@sha256:abc"]
        {
            assert!(image.is(same), "{same}");
        }
        for other in [
            "registry.fly.io/shop:v4",
            "registry.fly.io/shop",
            "registry.fly.io/shopping:v41",
            "registry.fly.io/shop:v41@sha256:abd",
            "registry.fly.io/shopping@sha256:abc",
            "shop:v41",
        ] {
            assert!(!image.is(other), "{other}");
        }
    }
}
