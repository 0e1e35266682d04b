//! The deploys of a time: those that the journal knows, and before its first one those that `version_query` shows.
//!
//! Never writes to the journal, and needs no daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use rollbackd_core::by_service::ByService;
use rollbackd_core::config::Service;
use rollbackd_core::deploy::{Deploy, Migration};
use rollbackd_core::event::{DeployReport, Serving};
use rollbackd_core::name::ServiceName;
use rollbackd_core::reading::{Answer, Series};
use rollbackd_core::state::State;
use rollbackd_core::template::{Values, Variable};
use rollbackd_core::time::Timestamp;
use serde::Serialize;
use std::time::Duration;

use super::recorded::Asker;
use super::versions::History;
use crate::journal;
use crate::supervisor::replay;

/// No more points than this of a month are asked for: a finer step finds no deploy that lasts.
const SHORTEST_STEP: Duration = Duration::from_secs(15);

/// Where a deploy was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundIn {
    /// The journal.
    Journal,
    /// The history of the label that `version_query` shows.
    VersionQuery,
}

/// A deploy that is replayed.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// The service.
    pub service: ServiceName,
    /// When it was.
    pub at: Timestamp,
    /// When the daemon was told of it.
    pub told_at: Timestamp,
    /// What it was told.
    pub report: DeployReport,
    /// Where it was found.
    pub found_in: FoundIn,
}

/// What was found of all services.
pub(super) struct Found {
    pub(super) deploys: Vec<Deployed>,
    pub(super) histories: BTreeMap<ServiceName, History>,
    /// What could not be read, for people.
    pub(super) notes: Vec<String>,
}

/// Finds the deploys of these services from `since` until `until`, in the order in which they were told.
///
/// # Errors
/// A version query failed.
pub(super) fn find(
    asker: &Asker,
    services: &ByService<Arc<Service>>,
    (since, until): (Timestamp, Timestamp),
) -> Result<Found, String> {
    let mut notes = Vec::new();
    let state = journalled(&asker.edges.settings.state_dir, &mut notes);
    let mut found = Found { deploys: Vec::new(), histories: BTreeMap::new(), notes };
    for (name, plan) in services {
        let history = history(asker, plan, (since, until))?;
        let of = |deploy: &&Deploy| (since..=until).contains(&deploy.at);
        let own = state.services.get(name);
        let entries = own.map(|own| own.ledger.entries.iter().map(|entry| &entry.deploy)).into_iter().flatten();
        let told: Vec<Deployed> = entries.filter(of).map(|deploy| from_journal(name, deploy)).collect();
        let first_told = told.iter().map(|deploy| deploy.at).min();
        let seen = history.iter().flat_map(History::deploys);
        let seen = seen.filter(|serving| first_told.is_none_or(|first| serving.since + plan.watch < first));
        found.deploys.extend(seen.map(|serving| from_history(name, serving)));
        found.deploys.extend(told);
        found.histories.extend(history.map(|history| (name.clone(), history)));
        if plan.version_query.is_none() && first_told.is_none() {
            found.notes.push(format!(
                "{name}: no deploy is known: the journal has none, and without `version_query` none can be seen"
            ));
        }
    }
    found.deploys.sort_by_key(|deploy| (deploy.told_at, deploy.at));
    let mut known = BTreeSet::new();
    found.deploys.retain(|deploy| known.insert((deploy.service.clone(), deploy.at)));
    Ok(found)
}

/// What the journal says; an empty state, and a note, where it can't be read.
fn journalled(state_dir: &Path, notes: &mut Vec<String>) -> State {
    let read = match journal::read(state_dir) {
        Err(journal::Error::Absent { .. }) => return State::default(),
        read => read.map_err(|error| error.to_string()),
    };
    match read.and_then(|stored| replay(&stored)) {
        Ok(state) => state,
        Err(why) => {
            notes.push(format!("the journal in {} is left out: {why}", state_dir.display()));
            State::default()
        }
    }
}

/// The versions that `version_query` showed; `None` where the service has no such query.
fn history(asker: &Asker, plan: &Service, (since, until): (Timestamp, Timestamp)) -> Result<Option<History>, String> {
    let Some(query) = &plan.version_query else { return Ok(None) };
    let values = Values::default().with(Variable::Service, plan.name.as_str());
    let query = query.render(&values).map_err(|unknown| format!("{} version_query: {unknown}", plan.name))?;
    let step = asker.edges.settings.core.evaluation_interval.max(SHORTEST_STEP);
    let asked = asker.edges.prometheus.range(&query, since.floor(step), until.floor(step), step);
    match asker.runtime.block_on(asked) {
        Answer::Series(series) => Ok(Some(History::of(&series as &[Series]))),
        Answer::Partial(why) | Answer::Failed(why) => Err(format!("{} version_query: {why}", plan.name)),
    }
}

fn from_journal(service: &ServiceName, deploy: &Deploy) -> Deployed {
    Deployed {
        service: service.clone(),
        at: deploy.at,
        told_at: deploy.reported_at,
        report: DeployReport {
            version: deploy.version.clone(),
            previous: deploy.previous.clone(),
            commit: deploy.commit.clone(),
            migration: deploy.migration,
            run_url: None,
            at: Some(deploy.at),
            key: None,
        },
        found_in: FoundIn::Journal,
    }
}

fn from_history(service: &ServiceName, serving: &Serving) -> Deployed {
    Deployed {
        service: service.clone(),
        at: serving.since,
        told_at: serving.since,
        report: DeployReport {
            version: serving.version.clone(),
            previous: None,
            commit: None,
            migration: Migration::None,
            run_url: None,
            at: Some(serving.since),
            key: None,
        },
        found_in: FoundIn::VersionQuery,
    }
}
