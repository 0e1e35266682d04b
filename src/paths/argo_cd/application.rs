//! An application as Argo CD shows it: what it is synced by, what it was synced to, and what an operation came to.
//!
//! Never takes `status.sync` for what serves: after a rollback it tells how far git is from it, which is the point of one.
//!
//! Source: Argo CD, `assets/swagger.json` (`v1alpha1Application`, `v1alpha1RevisionHistory`, `v1alpha1OperationState`,
//! `v1alpha1SyncOperation`, `repositoryManifestResponse`) and `server/application/application.go` (Rollback).

use rollbackd_core::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::paths::remote::image::is_version;

/// As many hex digits of a hash as tell a history's few entries apart.
const FINGERPRINT_DIGITS: usize = 12;

/// The fewest digits of a commit that may stand for it: fewer could be a version.
const SHORTEST_COMMIT: usize = 7;

/// An application. What Argo CD leaves out where it is empty is empty here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Application {
    metadata: Metadata,
    spec: Spec,
    /// The operation that was asked for and is not over.
    pub(super) operation: Option<Operation>,
    pub(super) status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    deletion_timestamp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    sync_policy: Option<SyncPolicy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SyncPolicy {
    automated: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    /// The oldest first.
    pub(super) history: Vec<Deployment>,
    pub(super) operation_state: Option<OperationState>,
    pub(super) health: Health,
    pub(super) reconciled_at: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Health {
    pub(super) status: String,
    pub(super) message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct OperationState {
    pub(super) phase: String,
    pub(super) message: String,
    pub(super) started_at: String,
    pub(super) finished_at: Option<String>,
    pub(super) operation: Operation,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Operation {
    sync: Content,
}

/// One deployment of the history.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Deployment {
    pub(super) id: u64,
    deploy_started_at: Option<String>,
    #[serde(flatten)]
    pub(super) content: Content,
}

/// What a sync brings: revisions of sources.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Content {
    revision: String,
    revisions: Vec<String>,
    source: Value,
    sources: Vec<Value>,
}

impl Application {
    pub(super) const fn is_deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// The automated sync that is on, as it is configured: on unless it says of itself that it is not.
    pub(super) fn auto_sync(&self) -> Option<&Value> {
        let automated = self.spec.sync_policy.as_ref()?.automated.as_ref()?;
        (automated["enabled"] != false).then_some(automated)
    }
}

impl OperationState {
    pub(super) fn is_since(&self, start: Timestamp) -> bool {
        is_since(&self.started_at, start)
    }
}

impl Operation {
    /// What tells it from others. A sync that is no rollback names no sources.
    pub(super) fn fingerprint(&self) -> String {
        self.sync.fingerprint()
    }

    /// For sentences.
    pub(super) fn shown(&self) -> String {
        self.sync.shown()
    }
}

impl Deployment {
    pub(super) fn is_since(&self, start: Timestamp) -> bool {
        self.deploy_started_at.as_deref().is_some_and(|time| is_since(time, start))
    }
}

impl Content {
    /// The revision of each source.
    pub(super) fn revisions(&self) -> Vec<&str> {
        if self.revisions.is_empty() {
            return vec![&self.revision];
        }
        self.revisions.iter().map(String::as_str).collect()
    }

    /// Whether it has more than one source.
    pub(super) const fn is_of_many(&self) -> bool {
        !self.revisions.is_empty()
    }

    /// For sentences.
    pub(super) fn shown(&self) -> String {
        self.revisions().join(",")
    }

    /// Of a single source and of many, the other is there too, empty.
    fn all_sources(&self) -> impl Iterator<Item = &Value> {
        let is_one = self.source["repoURL"].as_str().is_some_and(|url| !url.is_empty());
        self.sources.iter().chain(is_one.then_some(&self.source))
    }

    /// What tells it from others: the same commit may be synced with other parameters.
    pub(super) fn fingerprint(&self) -> String {
        let sources: Vec<&Value> = self.all_sources().collect();
        let hash = Sha256::digest(serde_json::to_vec(&(self.revisions(), sources)).unwrap_or_default());
        let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.chars().take(FINGERPRINT_DIGITS).collect()
    }

    /// Whether it says itself that it is of this version: by a commit, a chart's version or a tag that it was synced to,
    /// an image that Kustomize puts in, or a parameter of Helm.
    pub(super) fn names(&self, version: &str) -> bool {
        self.revisions().iter().any(|revision| is_revision(revision, version))
            || self.all_sources().any(|source| source_names(source, version))
    }
}

fn is_since(time: &str, start: Timestamp) -> bool {
    time.parse::<Timestamp>().is_ok_and(|time| time >= start)
}

fn is_revision(revision: &str, version: &str) -> bool {
    let is_commit = |text: &str| text.bytes().all(|each| each.is_ascii_hexdigit());
    let is_short = version.len() >= SHORTEST_COMMIT && is_commit(version) && is_commit(revision);
    revision == version || (is_short && revision.starts_with(version))
}

fn source_names(source: &Value, version: &str) -> bool {
    let texts = |list: &Value, key: Option<&str>| -> Vec<String> {
        let items = list.as_array().into_iter().flatten();
        items.filter_map(|item| key.map_or(item, |key| &item[key]).as_str().map(str::to_owned)).collect()
    };
    // `old=new:tag`, or `name:tag`.
    let images = texts(&source["kustomize"]["images"], None);
    let image = |each: &String| is_version(each.rsplit('=').next().unwrap_or_default(), version);
    let parameters = texts(&source["helm"]["parameters"], Some("value"));
    source["targetRevision"] == version
        || images.iter().any(image)
        || parameters.iter().any(|value| value == version || is_version(value, version))
}

/// Whether a container in these manifests, each an object as JSON, has an image of this version.
pub(super) fn manifests_name(manifests: &[String], version: &str) -> bool {
    let objects = manifests.iter().filter_map(|manifest| serde_json::from_str::<Value>(manifest).ok());
    objects.into_iter().any(|object| has_image(&object, version))
}

/// Looks at the lists `containers` wherever they are: a CronJob has them deeper than a Deployment, and a Rollout is of a
/// kind of its own.
fn has_image(value: &Value, version: &str) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(key, value)| match value.as_array() {
            Some(containers) if key == "containers" => {
                containers.iter().any(|each| each["image"].as_str().is_some_and(|image| is_version(image, version)))
            }
            Some(_) | None => has_image(value, version),
        }),
        Value::Array(items) => items.iter().any(|item| has_image(item, version)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn content(json: Value) -> Content {
        serde_json::from_value(json).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_deployment_names_its_version_by_what_it_was_synced_with() {
        let commit = "9f8d111d8f8e3e88b6d7f8bbdf62fd3cd863ef9d";
        for (json, version) in [
            (json!({"revision": commit, "source": {"repoURL": "u"}}), commit),
            (json!({"revision": commit, "source": {"repoURL": "u"}}), "9f8d111"),
            (json!({"revision": "1.41.0", "source": {"repoURL": "u", "chart": "shop"}}), "1.41.0"),
            (json!({"revision": commit, "source": {"repoURL": "u", "targetRevision": "v41"}}), "v41"),
            (json!({"revision": commit, "source": {"repoURL": "u", "kustomize": {"images": ["a=r/shop:v41"]}}}), "v41"),
            (
                json!({"revision": commit, "source": {"repoURL": "u", "helm": {"parameters": [{"name": "tag", "value": "v41"}]}}}),
                "v41",
            ),
            (json!({"revisions": ["x", commit], "sources": [{"repoURL": "u"}, {"repoURL": "w"}]}), commit),
        ] {
            assert!(content(json.clone()).names(version), "{json}");
            assert!(!content(json.clone()).names("v42"), "{json}");
            assert!(!content(json.clone()).names("9f8d11"), "{json}");
        }
    }

    #[test]
    fn the_same_commit_with_other_parameters_is_another_deployment() {
        let with = |tag: &str| {
            content(
                json!({"revision": "abc", "source": {"repoURL": "u", "helm": {"parameters": [{"name": "t", "value": tag}]}}}),
            )
        };
        assert_eq!(with("v41").fingerprint(), with("v41").fingerprint());
        assert_ne!(with("v41").fingerprint(), with("v42").fingerprint());
        let plain = content(json!({"revision": "abc"}));
        assert_ne!(plain.fingerprint(), with("v41").fingerprint());
        let empty = content(json!({"revisions": ["abc"], "source": {"repoURL": ""}, "sources": [{"repoURL": "u"}]}));
        let absent = content(json!({"revisions": ["abc"], "sources": [{"repoURL": "u"}]}));
        assert_eq!(empty.fingerprint(), absent.fingerprint());
    }

    #[test]
    fn manifests_name_a_version_by_the_images_of_containers_alone() {
        let cron = json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": {
            "containers": [{"image": "shop:v41"}]}}}}}});
        let config = json!({"kind": "ConfigMap", "data": {"image": "shop:v41"}});
        assert!(manifests_name(&[config.to_string(), cron.to_string()], "v41"));
        assert!(!manifests_name(&[config.to_string(), "not json".to_owned()], "v41"));
    }

    #[test]
    fn automated_sync_is_on_unless_it_says_that_it_is_not() {
        let of = |policy: Value| -> bool {
            let application: Application = serde_json::from_value(json!({"spec": {"syncPolicy": policy}}))
                .unwrap_or_else(|error| panic!("{error}"));
            application.auto_sync().is_some()
        };
        assert!(of(json!({"automated": {}})) && of(json!({"automated": {"enabled": true}})));
        assert!(!of(json!({"automated": {"enabled": false}})) && !of(json!({})) && !of(Value::Null));
    }
}
