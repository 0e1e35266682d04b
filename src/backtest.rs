//! `backtest`: what the trigger list would have done at each deploy of a time, replayed over what Prometheus recorded.
//!
//! Never judges by itself: the daemon's own core does, in a dry run. Never changes anything, neither outside nor in the
//! state folder.

mod charts;
mod deploys;
mod html;
mod incidents;
mod outcome;
mod progress;
mod recorded;
mod story;
mod sweep;
mod versions;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rollbackd_core::config::{Config, Mode, Service};
use rollbackd_core::event::Reply;
use rollbackd_core::name::DeployId;
use rollbackd_core::replay::Replay;
use rollbackd_core::time::Timestamp;
use serde::Serialize;

use self::deploys::Found;
use self::incidents::Incident;
use self::outcome::Telling;
use self::progress::Progress;
use self::recorded::{Asker, Recorded};
use crate::edges::Edges;
use crate::metrics::Metrics;
use crate::{config, http_client};

pub use self::deploys::{Deployed, FoundIn};
pub use self::html::page;
pub(crate) use self::html::seconds;
pub use self::outcome::{DeployOutcome, FiringOutcome, IncidentOutcome, Outcome, ServiceOutcome, TriggerOutcome};
pub use self::sweep::SweepOutcome;

/// The queries of so many triggers are asked at once, up to five for each: a backtest is not worth slowing down those who
/// watch production by the same Prometheus.
const MOST_TRIGGERS_AT_ONCE: usize = 2;

/// What is replayed.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The config with the trigger list.
    pub config: PathBuf,
    /// Another config, whose trigger list is replayed over the same deploys.
    pub against: Option<PathBuf>,
    /// The incidents that firings are compared with.
    pub incidents: Option<PathBuf>,
    /// From then on.
    pub since: Timestamp,
    /// Until then.
    pub until: Timestamp,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Backtest {
    /// What the config's own list would have done.
    pub own: Outcome,
    /// What the other list would have done.
    pub against: Option<Outcome>,
}

/// Replays the trigger list of a config, and of another, over the deploys of a time.
///
/// # Errors
/// A config or the file of incidents can't be used, or a query failed.
pub fn run(asked: &Asked) -> Result<Backtest, String> {
    http_client::install_crypto();
    let mut progress = Progress::on_terminal();
    let incidents = asked.incidents.as_deref().map(incidents::read).transpose()?;
    let asker = asker(&asked.config)?;
    let plans = &asker.edges.settings.core.services;
    let found = deploys::find(&asker, plans, (asked.since, asked.until))?;
    let time = (asked.since, asked.until);
    let own = replayed(&asker, &found, time, incidents.as_deref(), &mut progress)?;
    let against = match &asked.against {
        Some(file) => {
            let other = self::asker(file)?;
            let mut outcome = replayed(&other, &found, time, incidents.as_deref(), &mut progress)?;
            outcome.config = file.display().to_string();
            Some(outcome)
        }
        None => None,
    };
    let own = Outcome { config: asked.config.display().to_string(), ..own };
    Ok(Backtest { own, against })
}

/// Who asks by a config: the clients of its edges, none of which is ever told to do anything.
fn asker(file: &Path) -> Result<Asker, String> {
    let mut settings = config::load(file).map_err(|error| config::explain(&error))?.settings;
    settings.core.mode = Mode::DryRun;
    let mut edges = Edges::open(settings)?;
    edges.prometheus = edges.prometheus.for_history();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime could not be started: {error}"))?;
    Ok(Asker { runtime, edges, metrics: Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"))) })
}

fn replayed(
    asker: &Asker,
    found: &Found,
    (since, until): (Timestamp, Timestamp),
    incidents: Option<&[Incident]>,
    progress: &mut Progress,
) -> Result<Outcome, String> {
    let config = &asker.edges.settings.core;
    let deploys: Vec<Deployed> =
        found.deploys.iter().filter(|deploy| config.services.contains_key(&deploy.service)).cloned().collect();
    let mut recorded = Recorded::new(asker, &found.histories, until);
    recorded.fetch(config, &deploys, progress)?;
    let variants = sweep::variants(config);
    progress.begin("replaying", variants.len() + 1);
    let (replay, replies) = replay(config.clone(), &deploys, &mut recorded, (since, until))?;
    let story = story::read(&replay, &replies);
    let mut sweeps = Vec::new();
    for variant in variants {
        progress.step();
        let of: Vec<Deployed> = deploys.iter().filter(|deploy| deploy.service == variant.service).cloned().collect();
        let (replay, replies) = self::replay(variant.config.clone(), &of, &mut recorded, (since, until))?;
        sweeps.push((variant, story::read(&replay, &replies)));
    }
    progress.end();
    let telling = Telling { config, deploys: &deploys, recorded: &recorded, incidents, until };
    let mut notes = found.notes.clone();
    notes.extend(recorded.partial().map(|why| format!("answered in part, which counts as blind: {why}")));
    Ok(Outcome { config: String::new(), since, until, services: telling.services(&story, &sweeps), notes })
}

/// What each deploy was to the core: none where it opened no watch.
type Replies = Vec<Option<DeployId>>;

/// Steps the core over the deploys.
fn replay(
    config: Config,
    deploys: &[Deployed],
    recorded: &mut Recorded<'_>,
    (since, until): (Timestamp, Timestamp),
) -> Result<(story::Stepped, Replies), String> {
    let mut replay = Replay::new(config, &mut *recorded, since);
    let mut replies = Replies::new();
    for deploy in deploys {
        replay.run_until(deploy.told_at);
        replies.push(match replay.deploy(&deploy.service, deploy.report.clone()) {
            Reply::Deploy(id) => Some(id),
            Reply::None
            | Reply::SameDeploy(_)
            | Reply::Firing(_)
            | Reply::SameFiring(_)
            | Reply::Rehearsal(_)
            | Reply::Done
            | Reply::NotNews(_) => None,
            Reply::Refused(why) => return Err(format!("{} {}: {why}", deploy.service, deploy.report.version)),
        });
    }
    replay.run_until(until);
    if let Some(fault) = replay.fault() {
        return Err(format!("a mistake in rollbackd, please report it: {fault}"));
    }
    let stepped = story::Stepped { lines: replay.story().to_vec(), firings: replay.firings().to_vec() };
    drop(replay);
    match recorded.failed() {
        Some(why) => Err(why.to_owned()),
        None => Ok((stepped, replies)),
    }
}

/// A config in which one service has one trigger alone.
fn alone(config: &Config, service: &Service, trigger: rollbackd_core::config::Trigger) -> Config {
    let service = Service { triggers: vec![trigger.into()], ..service.clone() };
    let services = [(service.name.clone(), service.into())].into_iter().collect();
    // Alone it is no outage.
    Config { services, fleet_guard: None, ..config.clone() }
}
