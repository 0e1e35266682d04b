//! A Deployment, StatefulSet or Rollout as the API shows it, and the earlier revisions of its pod template.
//!
//! Never takes a revision for the workload's that another one owns.
//!
//! Source: Kubernetes, API reference "Deployment v1 apps", "ReplicaSet v1 apps", "StatefulSet v1 apps" and
//! "ControllerRevision v1 apps"; the annotations of a roll-out as in kubectl's `polymorphichelpers`; Argo Rollouts'
//! `rollout-crd.yaml` and `utils/annotations`.

use rollbackd_core::time::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Why a workload is as it is, in the words of whoever changed it; ours begin with the attempt's id.
pub(crate) const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";

/// What kubectl takes for the pod's own container where several are there.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// As many hex digits of a hash as tell a workload's few revisions apart.
const FINGERPRINT_DIGITS: usize = 12;

/// The kinds of workload that can be brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `apps/v1`, its revisions are ReplicaSets.
    Deployment,
    /// `apps/v1`, its revisions are ControllerRevisions.
    StatefulSet,
    /// Argo Rollouts' `argoproj.io/v1alpha1`, its revisions are ReplicaSets.
    Rollout,
}

impl Kind {
    /// As the config writes them, which is as Kubernetes does.
    pub(crate) const WORDS: &[(&str, Self)] =
        &[("Deployment", Self::Deployment), ("StatefulSet", Self::StatefulSet), ("Rollout", Self::Rollout)];

    /// The name of the kind.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::Rollout => "Rollout",
        }
    }

    /// The resource of the API, and that of its revisions, each below their group's version.
    pub(crate) const fn resource(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::Rollout => "rollouts",
        }
    }

    /// The group and version of the resource.
    pub(crate) const fn group(self) -> (&'static str, &'static str) {
        match self {
            Self::Deployment | Self::StatefulSet => ("apps", "v1"),
            Self::Rollout => ("argoproj.io", "v1alpha1"),
        }
    }

    /// The resource of the revisions, in `apps/v1`.
    pub(crate) const fn revisions(self) -> &'static str {
        match self {
            Self::Deployment | Self::Rollout => "replicasets",
            Self::StatefulSet => "controllerrevisions",
        }
    }

    /// The label that a controller adds to the pod template of a revision, which the workload's own has not.
    const fn hash_label(self) -> Option<&'static str> {
        match self {
            Self::Deployment => Some("pod-template-hash"),
            Self::Rollout => Some("rollouts-pod-template-hash"),
            Self::StatefulSet => None,
        }
    }

    /// The numbers that a revision had before.
    const fn history_annotation(self) -> Option<&'static str> {
        match self {
            Self::Deployment => Some("deployment.kubernetes.io/revision-history"),
            Self::Rollout => Some("rollout.argoproj.io/revision-history"),
            Self::StatefulSet => None,
        }
    }

    const fn revision_annotation(self) -> &'static str {
        match self {
            Self::Deployment | Self::StatefulSet => "deployment.kubernetes.io/revision",
            Self::Rollout => "rollout.argoproj.io/revision",
        }
    }
}

/// A workload, as it is now.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) kind: Kind,
    object: Value,
}

impl Workload {
    pub(crate) const fn new(kind: Kind, object: Value) -> Self {
        Self { kind, object }
    }

    /// What stands at this JSON pointer.
    pub(crate) fn at(&self, pointer: &str) -> &Value {
        self.object.pointer(pointer).unwrap_or(&Value::Null)
    }

    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.at(pointer).as_str().unwrap_or_default()
    }

    /// A number; what is not there is 0, as in Kubernetes' own types.
    pub(crate) fn number(&self, pointer: &str) -> i64 {
        self.at(pointer).as_i64().unwrap_or_default()
    }

    pub(crate) fn flag(&self, pointer: &str) -> bool {
        self.at(pointer).as_bool().unwrap_or_default()
    }

    /// How many pods are wanted; 1 where nobody says.
    pub(crate) fn replicas(&self) -> i64 {
        self.at("/spec/replicas").as_i64().unwrap_or(1)
    }

    pub(crate) fn template(&self) -> &Value {
        self.at("/spec/template")
    }

    pub(crate) fn annotations(&self) -> &Value {
        self.at("/metadata/annotations")
    }

    pub(crate) fn change_cause(&self) -> Option<&str> {
        self.annotations().get(CHANGE_CAUSE)?.as_str()
    }

    /// What the platform calls the revision that it has now.
    pub(crate) fn revision(&self) -> &str {
        match self.kind {
            Kind::StatefulSet => self.text("/status/updateRevision"),
            kind @ (Kind::Deployment | Kind::Rollout) => {
                self.annotations().get(kind.revision_annotation()).and_then(Value::as_str).unwrap_or_default()
            }
        }
    }

    /// The condition of this type.
    pub(crate) fn condition(&self, name: &str) -> Option<&Value> {
        self.at("/status/conditions").as_array()?.iter().find(|each| each["type"] == name)
    }

    /// Whether the condition is of this attempt: what an earlier roll-out left stays until the controller sees progress.
    pub(crate) fn is_since(condition: &Value, start: Timestamp) -> bool {
        let updated = condition["lastUpdateTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        updated.is_none_or(|updated| updated >= start)
    }

    /// The selector of its pods as a query's `labelSelector`, which its revisions match too.
    pub(crate) fn selector(&self) -> String {
        let labels = self.at("/spec/selector/matchLabels").as_object().into_iter().flatten();
        let labels = labels.map(|(label, value)| format!("{label}={}", value.as_str().unwrap_or_default()));
        let expressions = self.at("/spec/selector/matchExpressions").as_array().into_iter().flatten();
        labels.chain(expressions.filter_map(requirement)).collect::<Vec<_>>().join(",")
    }
}

/// A requirement of a selector, as queries write it (Kubernetes, "Labels and Selectors").
fn requirement(expression: &Value) -> Option<String> {
    let key = expression["key"].as_str()?;
    let values: Vec<&str> = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let values = values.join(",");
    Some(match expression["operator"].as_str()? {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "Exists" => key.to_owned(),
        "DoesNotExist" => format!("!{key}"),
        // The list is the longer for it; whose a revision is says its owner.
        _ => return None,
    })
}

/// An earlier (or the present) revision of a workload's pod template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Revision {
    pub(crate) number: u64,
    /// Without what the controller added.
    pub(crate) template: Value,
    pub(crate) change_cause: Option<String>,
    /// What the controller calls it by: the hash of a ReplicaSet's template.
    pub(crate) hash: Option<String>,
    /// When its object was made.
    pub(crate) created_at: Option<Timestamp>,
    /// Whether it had another number before: an undo brought it back, and its object is as old as its first number.
    pub(crate) is_back: bool,
}

impl Revision {
    /// The revisions in a list that this workload owns, the newest first.
    pub(crate) fn of(workload: &Workload, list: &Value) -> Vec<Self> {
        let items = list["items"].as_array().into_iter().flatten();
        let owned = items.filter(|item| is_controlled_by(item, workload.at("/metadata/uid")));
        let mut found: Vec<Self> = owned.filter_map(|item| Self::read(workload.kind, item)).collect();
        found.sort_by_key(|revision| std::cmp::Reverse(revision.number));
        found
    }

    fn read(kind: Kind, item: &Value) -> Option<Self> {
        let annotations = &item["metadata"]["annotations"];
        let (number, mut template) = match kind {
            Kind::StatefulSet => (item["revision"].as_u64()?, item.pointer("/data/spec/template")?.clone()),
            Kind::Deployment | Kind::Rollout => (
                annotations[kind.revision_annotation()].as_str()?.parse().ok()?,
                item.pointer("/spec/template")?.clone(),
            ),
        };
        // A ControllerRevision is a patch that says of itself that it replaces.
        template.as_object_mut()?.remove("$patch");
        let labels = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut);
        let hash = kind.hash_label().and_then(|label| labels?.remove(label));
        let change_cause = annotations[CHANGE_CAUSE].as_str().map(str::to_owned);
        let hash = hash.and_then(|hash| hash.as_str().map(str::to_owned));
        let created_at = item["metadata"]["creationTimestamp"].as_str().and_then(|time| time.parse().ok());
        let is_back = kind.history_annotation().is_some_and(|history| annotations[history].is_string());
        Some(Self { number, template, change_cause, hash, created_at, is_back })
    }
}

fn is_controlled_by(item: &Value, uid: &Value) -> bool {
    let owners = item["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    !uid.is_null() && owners.into_iter().any(|owner| owner["controller"] == true && owner["uid"] == *uid)
}

/// The image of this container of a pod template; without a name, of its default one.
pub(crate) fn image<'a>(template: &'a Value, container: Option<&str>) -> Option<&'a str> {
    let default = &template["metadata"]["annotations"][DEFAULT_CONTAINER];
    let wanted = container.or_else(|| default.as_str());
    let mut containers = template["spec"]["containers"].as_array()?.iter();
    let container = match wanted {
        Some(name) => containers.find(|each| each["name"] == name),
        None => containers.next(),
    };
    container?["image"].as_str()
}

/// A label of a pod template.
pub(crate) fn label<'a>(template: &'a Value, label: &str) -> Option<&'a str> {
    template["metadata"]["labels"][label].as_str()
}

/// What tells one set of images from another.
pub(crate) fn fingerprint(template: &Value) -> String {
    let lists = ["containers", "initContainers"].map(|list| template["spec"][list].as_array());
    let mut images: Vec<(&str, &str)> = lists
        .into_iter()
        .flatten()
        .flatten()
        .map(|each| (each["name"].as_str().unwrap_or_default(), each["image"].as_str().unwrap_or_default()))
        .collect();
    images.sort_unstable();
    let hash = Sha256::digest(serde_json::to_vec(&images).unwrap_or_default());
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.chars().take(FINGERPRINT_DIGITS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_container_is_the_named_one_the_default_one_or_the_first() {
        let mut template = json!({"metadata": {}, "spec": {"containers": [
            {"name": "app", "image": "shop:v41"}, {"name": "proxy", "image": "envoy:v1"},
        ]}});
        assert_eq!(image(&template, None), Some("shop:v41"));
        assert_eq!(image(&template, Some("proxy")), Some("envoy:v1"));
        assert_eq!(image(&template, Some("other")), None);
        template["metadata"] = json!({"annotations": {DEFAULT_CONTAINER: "proxy"}});
        assert_eq!(image(&template, None), Some("envoy:v1"));
    }

    #[test]
    fn a_selector_is_written_as_queries_write_it() {
        let selector = json!({"matchLabels": {"app": "shop"}, "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "x", "operator": "NotIn", "values": ["c"]},
            {"key": "y", "operator": "Exists"}, {"key": "z", "operator": "DoesNotExist"},
        ]});
        let workload = Workload::new(Kind::Deployment, json!({"spec": {"selector": selector}}));
        assert_eq!(workload.selector(), "app=shop,tier in (a,b),x notin (c),y,!z");
    }

    #[test]
    fn a_fingerprint_tells_images_and_nothing_else() {
        let with = |image: &str, value: &str| json!({"spec": {"containers": [{"name": "app", "image": image, "env": [{"name": "A", "value": value}]}]}});
        assert_eq!(fingerprint(&with("shop:v41", "1")), fingerprint(&with("shop:v41", "2")));
        assert_ne!(fingerprint(&with("shop:v41", "1")), fingerprint(&with("shop:v42", "1")));
    }
}
