//! The path `ecs`: a service of Amazon ECS, brought back to the task definition of the target and followed to its end.
//!
//! Never deploys a task definition that it has not found to be the target's, and starts no deployment beside one that
//! leads there already, such as that of ECS' own circuit breaker.

mod course;
mod ecs_api;
mod rollback;
mod seen;
mod target;

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::config::{PathParts, RunPart};
use rollbackd_core::event::Order;
use rollbackd_core::template::Template;

use self::rollback::Rollback;
use super::aws::AwsSettings;
use super::by_hand::ByHand;
use super::ready::Ready;
use super::remote::Platform;

/// The image's tag or digest where the config says nothing.
const IMAGE_TAG: &str = "{{ target.version }}";

/// The cluster where the config names none, as at ECS.
const CLUSTER: &str = "default";

/// What is left for a human.
const LEAVES_BEHIND: &str = "the service's task definition at ECS is the earlier one now: infrastructure as code (Terraform, \
    CloudFormation, CDK) and git still name the newer one, and their next run deploys it again: commit the revert there";

/// A service, but for the target, which an [`Order`] brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ecs {
    aws: AwsSettings,
    cluster: String,
    service: String,
    /// The container whose image tells the version; any where it is not named.
    container: Option<String>,
    by: By,
}

/// What an order's text names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The tag or digest of the image.
    Image,
    /// The task definition itself.
    TaskDefinition,
}

/// Reads the config.
pub(super) fn decode(at: &Node, problems: &mut Problems) -> Option<(Ecs, PathParts)> {
    let mut fields = Fields::of(at, "an `ecs` path", problems)?;
    let cluster = fields.optional("cluster").map_or(Some(CLUSTER.to_owned()), |at| name(at, problems));
    let service = fields.required("service", problems).and_then(|at| name(at, problems));
    let container = fields.optional("container").map(|at| name(at, problems));
    let run = target(&mut fields, problems);
    let aws = AwsSettings::decode(&mut fields, problems);
    fields.finish(problems);

    let container = container.map_or(Some(None), |name| name.map(Some))?;
    let (by, run) = run?;
    let ecs = Ecs { aws: aws?, cluster: cluster?, service: service?, container, by };
    Some((ecs, PathParts { run: vec![run], leaves_behind: Some(LEAVES_BEHIND.to_owned()) }))
}

/// By what the target is found: its image's tag, or its task definition where somebody knows it.
fn target(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<(By, RunPart)> {
    let image_tag = fields.optional("image_tag");
    let task_definition = fields.optional("task_definition");
    let (by, name, value) = match (image_tag, task_definition) {
        (Some(_), Some(at)) => {
            problems.error(at.place, "expected `image_tag` or `task_definition`, not both");
            return None;
        }
        (None, Some(at)) => (By::TaskDefinition, "task_definition", node::template(at, problems)),
        (Some(at), None) => (By::Image, "image_tag", node::template(at, problems)),
        (None, None) => (By::Image, "image_tag", Template::parse(IMAGE_TAG).ok()),
    };
    Some((by, RunPart { name: name.to_owned(), value: value? }))
}

/// A name, or an ARN.
fn name(at: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(at, problems)?;
    let allowed = |each: char| each.is_ascii_alphanumeric() || matches!(each, '-' | '_' | ':' | '/');
    let is_name = !written.is_empty() && written.chars().all(allowed);
    if !is_name {
        problems.error(at.place, format!("expected a name or an ARN at ECS, not {written:?}"));
    }
    is_name.then(|| written.to_owned())
}

impl Platform for Ecs {
    type Remote<'a> = Rollback<'a>;

    fn open<'a>(&'a self, order: &'a Order, ready: &'a Ready) -> Result<Rollback<'a>, String> {
        let [wanted] = order.run.as_slice() else {
            return Err("the order does not fit the path of the config, which changed meanwhile".to_owned());
        };
        Rollback::new(self, order, wanted, ready)
    }

    fn by_hand(&self, run: &[String]) -> ByHand {
        let [wanted] = run else { return ByHand::default() };
        let definition = match self.by {
            By::TaskDefinition => wanted.as_str(),
            By::Image => "TASK_DEFINITION",
        };
        let first = match self.by {
            By::TaskDefinition => "With the AWS CLI, where you are signed in.".to_owned(),
            By::Image => format!(
                "With the AWS CLI, where you are signed in; put the task definition whose image has the tag {wanted} \
                 for TASK_DEFINITION."
            ),
        };
        let place = ["--region", &self.aws.region, "--cluster", &self.cluster];
        let update = ["aws", "ecs", "update-service", "--service", &self.service, "--task-definition", definition];
        let wait = ["aws", "ecs", "wait", "services-stable", "--services", &self.service];
        ByHand::new(first).command(update.into_iter().chain(place)).command(wait.into_iter().chain(place))
    }
}
