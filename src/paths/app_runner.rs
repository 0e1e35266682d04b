//! The path `app_runner`: a service of AWS App Runner, brought back to an earlier image and followed to its end.
//!
//! Never takes another image than one of the service's own repository, and starts no operation beside one that leads
//! there already.

mod operation;

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::config::{PathParts, RunPart};
use rollbackd_core::event::Order;
use rollbackd_core::template::Template;

use self::operation::Operation;
use super::aws::AwsSettings;
use super::by_hand::ByHand;
use super::ready::Ready;
use super::remote::Platform;

/// The image's tag where the config says nothing.
const IMAGE_TAG: &str = "{{ target.version }}";

/// What is left for a human.
const LEAVES_BEHIND: &str = "the service at App Runner has the earlier image now, and automatic deployments are off, or the \
    next push would undo it: git and infrastructure as code still name the newer image: commit the revert there, then \
    switch automatic deployments on again if they were";

/// A service, but for the image's tag, which an [`Order`] brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AppRunner {
    aws: AwsSettings,
    service_arn: String,
}

/// Reads the config.
pub(super) fn decode(at: &Node, problems: &mut Problems) -> Option<(AppRunner, PathParts)> {
    let mut fields = Fields::of(at, "an `app_runner` path", problems)?;
    let service_arn = fields.required("service_arn", problems).and_then(|at| service_arn(at, problems));
    let image_tag =
        fields.optional("image_tag").map_or_else(|| Template::parse(IMAGE_TAG).ok(), |at| node::template(at, problems));
    let aws = AwsSettings::decode(&mut fields, problems);
    fields.finish(problems);

    let run = vec![RunPart { name: "image_tag".to_owned(), value: image_tag? }];
    let app_runner = AppRunner { aws: aws?, service_arn: service_arn? };
    Some((app_runner, PathParts { run, leaves_behind: Some(LEAVES_BEHIND.to_owned()) }))
}

fn service_arn(at: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(at, problems)?;
    let allowed = |each: char| each.is_ascii_alphanumeric() || matches!(each, '-' | '_' | ':' | '/');
    let is_arn = written.starts_with("arn:") && written.contains(":service/") && written.chars().all(allowed);
    if !is_arn {
        let message = "expected the service's ARN, arn:aws:apprunner:REGION:ACCOUNT:service/NAME/ID, not";
        problems.error(at.place, format!("{message} {written:?}"));
    }
    is_arn.then(|| written.to_owned())
}

impl Platform for AppRunner {
    type Remote<'a> = Operation<'a>;

    fn open<'a>(&'a self, order: &'a Order, ready: &'a Ready) -> Result<Operation<'a>, String> {
        let [tag] = order.run.as_slice() else {
            return Err("the order does not fit the path of the config, which changed meanwhile".to_owned());
        };
        Operation::new(self, order, tag, ready)
    }

    fn by_hand(&self, run: &[String]) -> ByHand {
        let [tag] = run else { return ByHand::default() };
        let first = format!(
            "In the App Runner console or with the AWS CLI, where you are signed in: take the source configuration of \
             the service, change the tag of its image to {tag}, and put the file's name for SOURCE.json."
        );
        let place = ["--region", &self.aws.region, "--service-arn", &self.service_arn];
        let show = ["aws", "apprunner", "describe-service", "--query", "Service.SourceConfiguration"];
        let update = ["aws", "apprunner", "update-service", "--source-configuration", "file://SOURCE.json"];
        ByHand::new(first).command(show.into_iter().chain(place)).command(update.into_iter().chain(place))
    }
}
