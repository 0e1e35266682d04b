//! What a Deployment and its ReplicaSets say of the last deploy. Pure.
//!
//! Never takes a restart or another environment for a deploy: only another version can be left again.

use rollbackd_core::deploy::Migration;
use rollbackd_core::event::DeployReport;
use rollbackd_core::name::Version;
use rollbackd_core::time::Timestamp;
use serde_json::Value;

use crate::http_client::one_line;
use crate::kubernetes::workload::{self, Revision, Workload};

/// Says on a pod template that the version migrated data: `"true"` or `"compatible"`.
const MIGRATION: &str = "rollbackd/migration";

/// Where the version of a pod template stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sign {
    /// In a container's image; without a name in that of the pod's default container.
    Image {
        /// The container.
        container: Option<String>,
        /// Which part of it.
        part: Part,
    },
    /// In this label.
    Label(String),
}

/// A part of an image's reference (the grammar of distribution/reference: `name[:tag][@digest]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The tag; of an image without one the digest.
    Tag,
    /// The digest.
    Digest,
}

/// What the last deploy was.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// The controller has not made all of it yet.
    NotYet,
    /// The pod template names no version. Why.
    NoVersion(String),
    /// This. Its key is the number of the revision that began it.
    Deploy(Box<DeployReport>),
}

/// Tells a revision of a Deployment from others; none while the controller has not come to know what is asked for.
pub(super) fn mark(workload: &Workload) -> Option<String> {
    let observed = workload.number("/status/observedGeneration") >= workload.number("/metadata/generation");
    let number = workload.revision();
    (observed && !number.is_empty()).then(|| format!("{}#{number}", workload.text("/metadata/uid")))
}

/// The last deploy: the first of the latest revisions that have one version. So a restart right after a deploy does not
/// hide it, and a restart long after is no deploy. `revisions` are the newest first.
pub(super) fn latest(workload: &Workload, revisions: &[Revision], sign: &Sign) -> Found {
    let mut back =
        revisions.iter().skip_while(|revision| revision.number.to_string() != workload.revision()).peekable();
    let Some(newest) = back.peek() else { return Found::NotYet };
    let version = match version_of(&newest.template, sign) {
        Ok(version) => version,
        Err(why) => return Found::NoVersion(why),
    };
    let is_same = |revision: &&Revision| version_of(&revision.template, sign).as_ref() == Ok(&version);
    let mut first = *newest;
    while let Some(same) = back.next_if(is_same) {
        first = same;
    }
    let previous = back.next().and_then(|revision| version_of(&revision.template, sign).ok());
    Found::Deploy(Box::new(DeployReport {
        previous,
        commit: None,
        migration: migration(&first.template),
        run_url: None,
        at: began_at(workload, first),
        key: Some(first.number.to_string()),
        version,
    }))
}

/// When the pods of a revision were first asked for: when its ReplicaSet was made. One that an undo brought back was made
/// long before; the controller's last word on the roll-out is the nearest that is known then.
fn began_at(workload: &Workload, revision: &Revision) -> Option<Timestamp> {
    if !revision.is_back {
        return revision.created_at;
    }
    workload.condition("Progressing")?["lastUpdateTime"].as_str()?.parse().ok()
}

fn migration(template: &Value) -> Migration {
    match template["metadata"]["annotations"][MIGRATION].as_str() {
        Some("true") => Migration::Breaking,
        Some("compatible") => Migration::Compatible,
        Some(_) | None => Migration::None,
    }
}

fn version_of(template: &Value, sign: &Sign) -> Result<Version, String> {
    let (text, of) = match sign {
        Sign::Label(label) => {
            let found = workload::label(template, label);
            (found.ok_or_else(|| format!("the pod template has no label {label}"))?, format!("the label {label}"))
        }
        Sign::Image { container, part } => {
            let image = workload::image(template, container.as_deref());
            let image = image.ok_or("the pod template has no such container")?;
            let found = part.of(image);
            let missing = || format!("the image {} has {}", one_line(image), part.missing());
            (found.ok_or_else(missing)?, format!("what names the version in the image {}", one_line(image)))
        }
    };
    Version::new(text).map_err(|error| format!("{of} is no version: {error}"))
}

impl Part {
    fn of(self, image: &str) -> Option<&str> {
        let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
        // A colon before the last slash is that of a registry's port.
        let tag = name.rsplit('/').next().unwrap_or_default().split_once(':').map(|(_, tag)| tag);
        match self {
            Self::Tag => tag.or(digest),
            Self::Digest => digest,
        }
    }

    const fn missing(self) -> &'static str {
        match self {
            Self::Tag => "neither tag nor digest: deploy tags, since `latest` names no version",
            Self::Digest => "no digest: deploy by digest, or use `version: tag`",
        }
    }
}

#[cfg(test)]
mod tests {
    use rollbackd_core::time::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::kubernetes::workload::Kind;

    const TAG: Sign = Sign::Image { container: None, part: Part::Tag };
    const ROLLED_AT: &str = "2026-11-29T12:00:00Z";

    fn template(image: &str) -> Value {
        json!({"metadata": {"labels": {"app": "shop", "version": "7"}}, "spec": {"containers": [{"name": "app", "image": image}]}})
    }

    /// A Deployment at the last of these revisions: number, image, and whether it was another number before.
    fn deployment(revisions: &[(u64, &str, bool)]) -> (Workload, Vec<Revision>) {
        let (last, image, _) = revisions.last().unwrap();
        let workload = Workload::new(
            Kind::Deployment,
            json!({"metadata": {"uid": "u-1", "generation": 9, "annotations": {"deployment.kubernetes.io/revision": last.to_string()}},
                "spec": {"template": template(image)},
                "status": {"observedGeneration": 9, "conditions": [{"type": "Progressing", "lastUpdateTime": ROLLED_AT}]}}),
        );
        let items = revisions.iter().map(|(number, image, is_back)| {
            let mut annotations = json!({"deployment.kubernetes.io/revision": number.to_string()});
            if *is_back {
                annotations["deployment.kubernetes.io/revision-history"] = json!("1");
            }
            json!({"metadata": {"annotations": annotations, "creationTimestamp": format!("2026-11-29T10:00:{number:02}Z"),
                "ownerReferences": [{"uid": "u-1", "controller": true}]}, "spec": {"template": template(image)}})
        });
        let list = json!({"items": items.collect::<Vec<_>>()});
        let revisions = Revision::of(&workload, &list);
        (workload, revisions)
    }

    fn found(revisions: &[(u64, &str, bool)], sign: &Sign) -> Found {
        let (workload, revisions) = deployment(revisions);
        latest(&workload, &revisions, sign)
    }

    fn deploy(revisions: &[(u64, &str, bool)]) -> (String, Option<String>, Timestamp, String) {
        let Found::Deploy(report) = found(revisions, &TAG) else { panic!("no deploy") };
        let previous = report.previous.map(|previous| previous.to_string());
        (report.version.to_string(), previous, report.at.unwrap(), report.key.unwrap())
    }

    #[test]
    fn a_deploy_is_the_first_revision_of_its_version_and_began_when_its_replica_set_was_made() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (made, back) = (at("2026-11-29T10:00:05Z"), at(ROLLED_AT));
        let v1 = || Some("v1".to_owned());
        for (what, revisions, expected) in [
            (
                "another version",
                vec![(4, "r/shop:v1", false), (5, "r/shop:v2", false)],
                ("v2".to_owned(), v1(), made, "5".to_owned()),
            ),
            (
                "restarted since then",
                vec![
                    (4, "r/shop:v1", false),
                    (5, "r/shop:v2", false),
                    (6, "r/shop:v2", false),
                    (7, "r/shop:v2", false),
                ],
                ("v2".to_owned(), v1(), made, "5".to_owned()),
            ),
            ("the only one", vec![(5, "r/shop:v2", false)], ("v2".to_owned(), None, made, "5".to_owned())),
            (
                "undone",
                vec![(5, "r/shop:v2", false), (6, "r/shop:v1", true)],
                ("v1".to_owned(), Some("v2".to_owned()), back, "6".to_owned()),
            ),
            (
                "a digest without a tag",
                vec![(4, "r:5000/shop:v1", false), (5, "r:5000/shop@sha256:ab", false)],
                ("sha256:ab".to_owned(), v1(), made, "5".to_owned()),
            ),
        ] {
            assert_eq!(deploy(&revisions), expected, "{what}");
        }
    }

    #[test]
    fn what_names_no_version_is_told_as_such() {
        let digest = Sign::Image { container: None, part: Part::Digest };
        for (image, sign, expected) in [
            ("r:5000/shop", TAG, "neither tag nor digest"),
            ("shop:v1", digest, "no digest"),
            ("shop:$(reboot)", TAG, "is no version"),
            ("shop:v1", Sign::Image { container: Some("other".to_owned()), part: Part::Tag }, "no such container"),
            ("shop:v1", Sign::Label("tier".to_owned()), "no label tier"),
        ] {
            let Found::NoVersion(why) = found(&[(5, image, false)], &sign) else { panic!("{image} has a version") };
            assert!(why.contains(expected), "{why}");
        }
        let Found::Deploy(report) = found(&[(5, "shop", false)], &Sign::Label("version".to_owned())) else { panic!() };
        assert_eq!(report.version.as_str(), "7");
    }

    #[test]
    fn nothing_is_said_before_the_controller_knows_what_is_asked_for() {
        let (workload, revisions) = deployment(&[(4, "shop:v1", false), (5, "shop:v2", false)]);
        assert_eq!(mark(&workload).as_deref(), Some("u-1#5"));
        assert_eq!(latest(&workload, &revisions[1..], &TAG), Found::NotYet, "the ReplicaSet is not there yet");
        let behind = json!({"metadata": {"uid": "u-1", "generation": 9, "annotations": {"deployment.kubernetes.io/revision": "5"}},
            "status": {"observedGeneration": 8}});
        assert_eq!(mark(&Workload::new(Kind::Deployment, behind)), None);
    }

    #[test]
    fn a_pod_template_says_whether_its_version_migrated_data() {
        let annotated = |value: &str| json!({"metadata": {"annotations": {MIGRATION: value}}});
        assert_eq!(migration(&annotated("true")), Migration::Breaking);
        assert_eq!(migration(&annotated("compatible")), Migration::Compatible);
        assert_eq!(migration(&annotated("false")), Migration::None);
        assert_eq!(migration(&json!({})), Migration::None);
    }
}
