//! The path `argo_cd`: an application rolled back to the deployment in its history that is the target's.
//!
//! Never turns automated sync off unless the config says so, and never sends the token anywhere but to `url`.

mod application;
mod rollback;

use std::time::Duration;

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use rollbackd_core::config::{PathParts, RunPart};
use rollbackd_core::event::Order;
use rollbackd_core::template::Template;

use self::rollback::Rollback;
use super::by_hand::ByHand;
use super::ready::Ready;
use super::remote::Platform;
use super::remote::api::REQUEST_TIMEOUT;
use crate::http_client::{Endpoint, HttpSettings};

/// What names the version where the config doesn't say.
const VERSION: &str = "{{ target.version }}";

/// Between two looks at an application.
const POLL_INTERVAL: Duration = Duration::from_secs(3);

/// The shortest time between two looks, for stand-ins of Argo CD on this machine.
const SHORTEST_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The longest one: what waits for a person pages at the next look.
const LONGEST_POLL_INTERVAL: Duration = Duration::from_secs(60);

/// What a rollback leaves to a human.
const LEAVES: &str = "git still names the bad version, and Argo CD shows the application OutOfSync: commit the revert before \
                      anything syncs it";

/// What is left besides, where automated sync was turned off.
const LEAVES_WITHOUT_SYNC: &str = "automated sync of the application is off and git still names the bad version: commit the \
                                   revert, then turn automated sync on again";

/// An application of one Argo CD, but for the version, which an [`Order`] brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgoCd {
    url: Endpoint,
    application: String,
    /// The namespace of the Application object, where it is not Argo CD's own.
    app_namespace: Option<String>,
    project: Option<String>,
    disable_auto_sync: bool,
    prune: bool,
    http: HttpSettings,
    poll_interval: Duration,
}

/// Reads the config.
pub(super) fn decode(at: &Node, problems: &mut Problems) -> Option<(ArgoCd, PathParts)> {
    let mut fields = Fields::of(at, "an `argo_cd` path", problems)?;
    let url = fields.required("url", problems).and_then(|at| Endpoint::decode(at, problems));
    let application = fields.required("application", problems).and_then(|at| name(at, problems));
    let app_namespace = fields.optional("app_namespace").map(|at| name(at, problems));
    let project = fields.optional("project").map(|at| name(at, problems));
    let version = match fields.optional("version") {
        Some(at) => node::template(at, problems),
        None => problems.take(fields.place, Template::parse(VERSION)),
    };
    let disable_auto_sync = fields.optional("disable_auto_sync").map_or(Some(false), |at| node::boolean(at, problems));
    let prune = fields.optional("prune").map_or(Some(false), |at| node::boolean(at, problems));
    let poll_interval = fields.optional("poll_interval").map_or(Some(POLL_INTERVAL), |at| {
        node::duration_within(at, SHORTEST_POLL_INTERVAL, LONGEST_POLL_INTERVAL, problems)
    });
    let http = HttpSettings::decode(&mut fields, problems, REQUEST_TIMEOUT);
    if http.bearer_token_file.is_none() {
        problems
            .error(fields.place, "an `argo_cd` path has no `bearer_token_file`: Argo CD takes no other credentials");
    }
    fields.finish(problems);

    let disable_auto_sync = disable_auto_sync?;
    let settings = ArgoCd {
        url: url?,
        application: application?,
        app_namespace: app_namespace.map_or(Some(None), |name| name.map(Some))?,
        project: project.map_or(Some(None), |name| name.map(Some))?,
        disable_auto_sync,
        prune: prune?,
        http,
        poll_interval: poll_interval?,
    };
    let leaves_behind = if disable_auto_sync { LEAVES_WITHOUT_SYNC } else { LEAVES };
    let run = vec![RunPart { name: "version".to_owned(), value: version? }];
    Some((settings, PathParts { run, leaves_behind: Some(leaves_behind.to_owned()) }))
}

fn name(at: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(at, problems)?;
    let allowed = |each: char| each.is_ascii_lowercase() || each.is_ascii_digit() || matches!(each, '-' | '.');
    let is_name = written.starts_with(|each: char| each.is_ascii_alphanumeric()) && written.chars().all(allowed);
    if !is_name {
        problems
            .error(at.place, format!("expected a name as Kubernetes takes it, such as capstone-api, not {written:?}"));
    }
    is_name.then(|| written.to_owned())
}

impl Platform for ArgoCd {
    type Remote<'a> = Rollback<'a>;

    fn open<'a>(&'a self, order: &'a Order, ready: &'a Ready) -> Result<Rollback<'a>, String> {
        let [version] = order.run.as_slice() else {
            return Err("the order does not fit the config, which changed meanwhile".to_owned());
        };
        Rollback::new(self, order, version, ready)
    }

    fn by_hand(&self, run: &[String]) -> ByHand {
        let [version] = run else { return ByHand::default() };
        let application = match &self.app_namespace {
            Some(namespace) => format!("{namespace}/{}", self.application),
            None => self.application.clone(),
        };
        let first = format!(
            "At {} or with the argocd CLI, where you are signed in: find the history entry of {version} and put its \
             number for ID. Automated sync has to be off first.",
            self.url
        );
        ByHand::new(first)
            .command(["argocd", "app", "set", &application, "--sync-policy", "none"])
            .command(["argocd", "app", "history", &application])
            .command(["argocd", "app", "rollback", &application, "ID"])
    }
}
