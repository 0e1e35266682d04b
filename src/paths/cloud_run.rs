//! The path `cloud_run`: all traffic of a Cloud Run service to the revision of the version to return to.
//!
//! Never makes a revision, never drops a tag, never overwrites what somebody else changed in between, and never sends a
//! token anywhere but to `url`.

mod access;
mod resources;
mod traffic;

use std::time::Duration;

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::config::{PathParts, RunPart};
use rollbackd_core::event::Order;

use self::access::Access;
use self::traffic::Traffic;
use super::by_hand::ByHand;
use super::ready::Ready;
use super::remote::Platform;
use super::remote::api::REQUEST_TIMEOUT;
use crate::http_client::{Endpoint, HttpSettings};

/// Google's own server.
const URL: &str = "https://run.googleapis.com";

/// What the image of the version to return to is called where the config doesn't say.
const IMAGE: &str = "{{ target.version }}";

/// Between two looks: traffic moves within seconds.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The shortest time between two looks, for stand-ins of Google on this machine.
const SHORTEST_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The longest one: a rollback that is done is to be known of soon.
const LONGEST_POLL_INTERVAL: Duration = Duration::from_secs(60);

/// A service, but for the revision that gets its traffic, which an [`Order`] brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudRun {
    url: Endpoint,
    project: String,
    region: String,
    service: String,
    by: By,
    access: Access,
    http: HttpSettings,
    poll_interval: Duration,
}

/// By what an order names the revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Its name.
    Revision,
    /// Its container's image: a tag, a digest or the whole reference.
    Image,
}

/// Reads the config.
pub(super) fn decode(at: &Node, problems: &mut Problems) -> Option<(CloudRun, PathParts)> {
    let mut fields = Fields::of(at, "a `cloud_run` path", problems)?;
    let project = fields.required("project", problems).and_then(|at| name(at, "project", problems));
    let region = fields.required("region", problems).and_then(|at| name(at, "region", problems));
    let service = fields.required("service", problems).and_then(|at| name(at, "service", problems));
    let found = target(&mut fields, problems);
    let url = match fields.optional("url") {
        Some(at) => Endpoint::decode_private(at, problems),
        None => Endpoint::parse(URL).ok(),
    };
    let poll_interval = fields.optional("poll_interval").map_or(Some(POLL_INTERVAL), |at| {
        node::duration_within(at, SHORTEST_POLL_INTERVAL, LONGEST_POLL_INTERVAL, problems)
    });
    let http = HttpSettings::decode(&mut fields, problems, REQUEST_TIMEOUT);
    if http.basic_auth.is_some() {
        problems.error(fields.place, "a `cloud_run` path has no `basic_auth`: Google takes tokens alone");
    }
    let access = Access::decode(&mut fields, &http, problems);
    fields.finish(problems);

    let (by, part) = found?;
    let (project, region, service) = (project?, region?, service?);
    let left = leaves_behind(&project, &region, &service);
    let poll_interval = poll_interval?;
    let cloud_run = CloudRun { url: url?, project, region, service, by, access: access?, http, poll_interval };
    Some((cloud_run, PathParts { run: vec![part], leaves_behind: Some(left) }))
}

fn leaves_behind(project: &str, region: &str, service: &str) -> String {
    format!(
        "commit the revert, and when a good version is deployed run `gcloud run services update-traffic {service} \
         --to-latest --region {region} --project {project}`: until then all traffic stays on the revision, and new deploys get none"
    )
}

/// A name that is one segment of a URL's path.
fn name(at: &Node, what: &str, problems: &mut Problems) -> Option<String> {
    let written = node::text(at, problems)?;
    // A project of an organisation's own domain is written as `example.com:name`.
    let allowed = |each: char| each.is_ascii_alphanumeric() || matches!(each, '.' | ':' | '-' | '_');
    let is_name = written.starts_with(|each: char| each.is_ascii_alphanumeric()) && written.chars().all(allowed);
    if !is_name {
        problems.error(at.place, format!("expected the name of a {what}, without a path before it, not {written:?}"));
    }
    is_name.then(|| written.to_owned())
}

fn target(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<(By, RunPart)> {
    let part = |name: &str, value| RunPart { name: name.to_owned(), value };
    match (fields.optional("revision"), fields.optional("image")) {
        (Some(at), None) => Some((By::Revision, part("revision", node::template(at, problems)?))),
        (None, Some(at)) => Some((By::Image, part("image", node::template(at, problems)?))),
        (None, None) => Some((By::Image, part("image", rollbackd_core::template::Template::parse(IMAGE).ok()?))),
        (Some(_), Some(at)) => {
            problems.error(at.place, "expected `revision` or `image`, not both");
            None
        }
    }
}

impl Platform for CloudRun {
    type Remote<'a> = Traffic<'a>;

    fn open<'a>(&'a self, order: &'a Order, ready: &'a Ready) -> Result<Traffic<'a>, String> {
        let [wanted] = order.run.as_slice() else {
            return Err("the order does not fit the path of the config, which changed meanwhile".to_owned());
        };
        Traffic::new(self, order, wanted, ready)
    }

    fn by_hand(&self, run: &[String]) -> ByHand {
        let [wanted] = run else { return ByHand::default() };
        let place = [format!("--project={}", self.project), format!("--region={}", self.region)];
        let revision = match self.by {
            By::Revision => wanted.as_str(),
            By::Image => "REVISION",
        };
        let to = format!("--to-revisions={revision}=100");
        let update = ["gcloud", "run", "services", "update-traffic", &self.service, &place[0], &place[1], &to];
        match self.by {
            By::Revision => ByHand::new("With gcloud, where you are signed in.").command(update),
            By::Image => {
                let service = format!("--service={}", self.service);
                let first = format!(
                    "With gcloud, where you are signed in; put the revision whose image is {wanted} for REVISION."
                );
                ByHand::new(first)
                    .command(["gcloud", "run", "revisions", "list", &service, &place[0], &place[1]])
                    .command(update)
            }
        }
    }
}
