//! Finds the task definition of the version to return to.
//!
//! Never takes the one before for the target: revisions may have been skipped, or never have served. What the service ran
//! with that image and ECS called a success is the target; where ECS keeps no such story, the only task definition of the
//! family with that image is, and two of them are none.

use super::By;
use super::ecs_api::{EcsApi, REVISIONS_AT_ONCE, Revision, Shown, TaskDefinition, refused, short};
use crate::http_client::one_line;
use crate::paths::aws::NoResult;

/// How many successful service deployments are looked into, the newest first.
const LOOKED_INTO: usize = 100;

/// How many task definitions of the family are described where the service has no story of that version. ECS allows
/// twenty such requests a second.
const DESCRIBED: usize = 40;

/// What names the target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) by: By,
    pub(super) text: &'a str,
    pub(super) container: Option<&'a str>,
}

/// The target, proven to exist and to be deployable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) arn: String,
}

impl Target {
    /// `family:revision`.
    pub(super) fn name(&self) -> &str {
        short(&self.arn)
    }
}

/// Finds the target of a service.
pub(super) async fn find(api: &EcsApi<'_>, service: &Shown, wanted: Wanted<'_>) -> Result<Target, NoResult> {
    let name = match wanted.by {
        By::TaskDefinition => wanted.text.to_owned(),
        By::Image => match of_history(api, wanted).await? {
            Some(name) => name,
            None => return of_family(api, service, wanted).await,
        },
    };
    let found = api.task_definition(&name).await?;
    check(&found, service)?;
    Ok(Target { arn: found.arn })
}

/// That it can be deployed, and is one of this service.
fn check(found: &TaskDefinition, service: &Shown) -> Result<(), NoResult> {
    let name = short(&found.arn);
    let (family, serves) = (family(&found.arn), family(&service.task_definition));
    if family != serves {
        return Err(refused(format!("the task definition {name} is none of the service's family {serves}")));
    }
    if found.status != "ACTIVE" {
        let status = one_line(&found.status);
        return Err(refused(format!("the task definition {name} is {status} and can't be deployed any more")));
    }
    Ok(())
}

fn family(task_definition: &str) -> &str {
    let name = short(task_definition);
    name.rsplit_once(':').map_or(name, |(family, _)| family)
}

/// The task definition of the newest successful service deployment with the wanted image.
async fn of_history(api: &EcsApi<'_>, wanted: Wanted<'_>) -> Result<Option<String>, NoResult> {
    let history = api.history(&["SUCCESSFUL"]).await?;
    let mut arns: Vec<&str> = Vec::new();
    for arn in history.iter().filter_map(|each| each.target_service_revision_arn.as_deref()) {
        if !arns.contains(&arn) && arns.len() < LOOKED_INTO {
            arns.push(arn);
        }
    }
    for some in arns.chunks(REVISIONS_AT_ONCE) {
        let known = api.revisions(some).await?;
        let newest = some.iter().filter_map(|arn| known.get(*arn)).find(|revision| wanted.is_in_revision(revision));
        if let Some(revision) = newest {
            return Ok(Some(revision.task_definition.clone()));
        }
    }
    Ok(None)
}

/// The only task definition of the service's family with the wanted image.
async fn of_family(api: &EcsApi<'_>, service: &Shown, wanted: Wanted<'_>) -> Result<Target, NoResult> {
    let family = family(&service.task_definition);
    let mut found: Option<Target> = None;
    for arn in api.family(family, DESCRIBED).await? {
        let described = api.task_definition(&arn).await?;
        if !wanted.is_in_definition(&described) {
            continue;
        }
        check(&described, service)?;
        if let Some(newer) = found {
            let (newer, older) = (newer.name(), short(&described.arn));
            return Err(refused(format!(
                "both {newer} and {older} have an image with the tag {}, and ECS remembers no successful deployment of \
                 either: which one is healthy can't be told; name it by `task_definition`",
                wanted.text
            )));
        }
        found = Some(Target { arn: described.arn });
    }
    found.ok_or_else(|| {
        refused(format!(
            "none of the service's successful deployments and of the newest {DESCRIBED} task definitions of {family} has \
             an image with the tag {}",
            wanted.text
        ))
    })
}

impl Wanted<'_> {
    fn is_of(&self, container: &str) -> bool {
        self.container.is_none_or(|wanted| wanted == container)
    }

    fn is_in_revision(&self, revision: &Revision) -> bool {
        revision
            .container_images
            .iter()
            .filter(|each| self.is_of(&each.container_name))
            .any(|each| is_image(&each.image, self.text) || each.image_digest.as_deref() == Some(self.text))
    }

    fn is_in_definition(&self, definition: &TaskDefinition) -> bool {
        let containers = definition.container_definitions.iter().filter(|each| self.is_of(&each.name));
        containers.into_iter().any(|each| is_image(&each.image, self.text))
    }
}

/// Whether an image has this tag or this digest, or is written so as a whole.
fn is_image(image: &str, wanted: &str) -> bool {
    let (named, digest) = image.split_once('@').map_or((image, None), |(named, digest)| (named, Some(digest)));
    let last = named.rsplit_once('/').map_or(named, |(_, last)| last);
    let tag = last.split_once(':').map(|(_, tag)| tag);
    image == wanted || tag == Some(wanted) || digest == Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_its_whole_tag_or_its_digest() {
        for (image, wanted) in [
            ("registry.test:5000/acme/shop:v41", "v41"),
            ("shop:v41", "v41"),
            ("shop:v41", "shop:v41"),
            ("shop:v41@sha256:aa", "v41"),
            ("shop@sha256:aa", "sha256:aa"),
        ] {
            assert!(is_image(image, wanted), "{image} {wanted}");
        }
        for (image, wanted) in [
            ("shop:v41", "v4"),
            ("shop:v41", "41"),
            ("registry.test:5000/shop", "5000/shop"),
            ("shop", "shop:"),
            ("v41", "v4"),
        ] {
            assert!(!is_image(image, wanted), "{image} {wanted}");
        }
    }

    #[test]
    fn a_family_is_the_name_without_its_revision() {
        assert_eq!(family("arn:aws:ecs:eu-central-1:123456789012:task-definition/shop:41"), "shop");
        assert_eq!(family("shop:41"), "shop");
    }
}
