//! The path `fly`: the image of the version to return to on each machine of a Fly.io app, one machine after another.
//!
//! Never changes two machines at once, never one that runs the image already, and nothing of a machine but its image.

mod machine;
mod rolling;

use std::time::Duration;

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::config::{PathParts, RunPart};
use rollbackd_core::event::Order;

use self::rolling::Rolling;
use super::by_hand::ByHand;
use super::ready::Ready;
use super::remote::Platform;
use crate::http_client::{Endpoint, HttpSettings};

/// The Machines API, from anywhere.
const URL: &str = "https://api.machines.dev";

/// The process group that a `fly.toml` without `[processes]` has.
const PROCESS_GROUP: &str = "app";

/// Between two looks at a machine: Fly.io takes five a second.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The shortest time between two looks, for stand-ins of Fly.io on this machine.
const SHORTEST_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The longest one: each machine waits for the one before it.
const LONGEST_POLL_INTERVAL: Duration = Duration::from_secs(60);

/// How long one request may take: an update is answered when the machine's host has the image.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What a change by the Machines API leaves to a human.
const LEAVES_BEHIND: &str = "commit the revert and run `fly deploy`: neither `fly releases` nor fly.toml knows of this, \
                             and only the image went back, configuration and secrets did not";

/// The machines of an app, but for their image, which an [`Order`] brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fly {
    url: Endpoint,
    app: String,
    process_group: String,
    http: HttpSettings,
    poll_interval: Duration,
}

/// Reads the config.
pub(super) fn decode(at: &Node, problems: &mut Problems) -> Option<(Fly, PathParts)> {
    let mut fields = Fields::of(at, "a `fly` path", problems)?;
    let app = fields.required("app", problems).and_then(|at| name(at, problems));
    let image = fields.required("image", problems).and_then(|at| node::template(at, problems));
    let process_group =
        fields.optional("process_group").map_or(Some(PROCESS_GROUP.to_owned()), |at| name(at, problems));
    let url = fields.optional("url").map_or_else(|| Endpoint::parse(URL).ok(), |at| url(at, problems));
    let poll_interval = fields.optional("poll_interval").map_or(Some(POLL_INTERVAL), |at| {
        node::duration_within(at, SHORTEST_POLL_INTERVAL, LONGEST_POLL_INTERVAL, problems)
    });
    let http = HttpSettings::decode(&mut fields, problems, REQUEST_TIMEOUT);
    if http.bearer_token_file.is_none() {
        problems.error(fields.place, "a `fly` path has no `bearer_token_file`: Fly.io takes no other credentials");
    }
    fields.finish(problems);

    let (app, process_group) = (app?, process_group?);
    let fly = Fly { url: url?, app, process_group, http, poll_interval: poll_interval? };
    let run = vec![RunPart { name: "image".to_owned(), value: image? }];
    Some((fly, PathParts { run, leaves_behind: Some(LEAVES_BEHIND.to_owned()) }))
}

fn name(at: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(at, problems)?;
    let allowed = |each: char| each.is_ascii_alphanumeric() || matches!(each, '-' | '_');
    let is_name = !written.is_empty() && written.chars().all(allowed);
    if !is_name {
        problems.error(at.place, format!("expected a name of letters, digits, - and _, not {written:?}"));
    }
    is_name.then(|| written.to_owned())
}

/// Fly.io's private network has its own encryption, and no https.
fn url(at: &Node, problems: &mut Problems) -> Option<Endpoint> {
    let endpoint = Endpoint::decode(at, problems)?;
    let within = endpoint.url().host_str().is_some_and(|host| host.ends_with(".internal"));
    if !within && !endpoint.is_private() {
        let message =
            "expected an https URL (http only for this machine and http://_api.internal:4280): a token is sent there";
        problems.error(at.place, message);
        return None;
    }
    Some(endpoint)
}

impl Platform for Fly {
    type Remote<'a> = Rolling<'a>;

    fn open<'a>(&'a self, order: &'a Order, ready: &'a Ready) -> Result<Rolling<'a>, String> {
        let [image] = order.run.as_slice() else {
            return Err("the order does not fit the path of the config, which changed meanwhile".to_owned());
        };
        Rolling::new(self, order, image, ready)
    }

    fn by_hand(&self, run: &[String]) -> ByHand {
        let [image] = run else { return ByHand::default() };
        let first = "With flyctl, where you are signed in; an image that is only a tag needs its repository before it.";
        ByHand::new(first)
            .command(["fly", "releases", "--app", &self.app, "--image"])
            .command(["fly", "deploy", "--app", &self.app, "--image", image])
    }
}
