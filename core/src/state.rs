//! The state: what the journal's records add up to. Only [`crate::record::apply`] changes it.

use std::collections::BTreeMap;

use litemap::LiteMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::by_service::ByService;
use crate::deploy::{Ledger, Target, WatchEnd};
use crate::firing::{Firing, Took};
use crate::name::{DeployId, FiringId, PageId, PathName, ServiceName, TriggerName, Version};
use crate::page::Page;
use crate::rehearsal::{Rehearsal, Rehearsed};
use crate::time::Timestamp;
use crate::trigger::{Arming, Baseline};

/// How many ended firings a service remembers, for people who ask.
pub const REMEMBERED_FIRINGS: usize = 20;

/// How many past durations of a path are kept.
pub const REMEMBERED_DURATIONS: usize = 20;

/// How many reports a service knows again: more than come within a watch. One that was observed longer ago than a
/// watch lasts starts nothing anyway.
pub const REMEMBERED_REPORTS: usize = 256;

/// The state of all services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// By service. Boxed: a map of many has room that it does not use.
    pub services: ByService<Box<ServiceState>>,
    /// The number of the last receipt that was promised; numbers have no gaps.
    pub last_receipt: u64,
    /// The last receipt whose files are durable, and the SHA-256 of its markdown.
    #[serde(default)]
    pub last_published: Option<(u64, String)>,
}

/// The state of one service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceState {
    /// How many records it has: the sequence of the journal.
    pub sequence: u64,
    /// How many ids were given out.
    pub ids: u64,
    /// Its versions.
    pub ledger: Ledger,
    /// The version that serves, as far as events and rollbacks say.
    pub running: Option<Version>,
    /// The watch that is open.
    pub watch: Option<Watch>,
    /// How the last watch ended.
    pub last: Option<WatchEnd>,
    /// The open firings, and the last that ended.
    pub firings: Vec<Firing>,
    /// The pages that are not over.
    pub pages: Vec<Page>,
    /// Automatic rollback is held.
    pub freeze: Option<Freeze>,
    /// When automatic rollbacks began, latest last.
    pub automatic: Vec<Timestamp>,
    /// The identities of the reports that were taken, latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<String>,
    /// The version that a rollback went back to, until another is deployed.
    pub returned: Option<Box<Returned>>,
    /// How long successful attempts of each path took, latest last.
    pub durations: BTreeMap<PathName, Vec<Took>>,
    /// The rehearsal that is under way, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<Box<Rehearsal>>,
    /// What rehearsals showed of each path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rehearsed: BTreeMap<PathName, Rehearsed>,
}

/// Automatic rollback is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Until then.
    pub until: Timestamp,
    /// Why.
    pub why: String,
}

/// A rollback went back to a version: its deploy will be announced, perhaps often, and starts nothing (design, R4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returned {
    /// The version.
    pub version: Version,
    /// Since when.
    pub since: Timestamp,
    /// When the rollback ended, one way or another.
    pub ended_at: Option<Timestamp>,
    /// The version that a pipeline made of a revert of ours: it stands for that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built: Option<Version>,
}

/// The time after a deploy in which triggers are live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// The deploy.
    pub deploy: DeployId,
    /// Its version.
    pub version: Version,
    /// When it was.
    pub at: Timestamp,
    /// When the watch ends, unless a breach is open then.
    pub until: Timestamp,
    /// The instant before which baselines and the version before are read: the deploy that replaced the last healthy
    /// version, which is an earlier one where this watch superseded another.
    pub healthy_before: Timestamp,
    /// The version to return to.
    pub target: Option<Target>,
    /// Whether `version_query` is still to be asked for the target.
    pub target_awaited: bool,
    /// Each metric trigger's own state.
    #[serde(serialize_with = "as_map")]
    pub triggers: LiteMap<TriggerName, TriggerWatch>,
    /// Whether the page about being blind was opened.
    #[serde(default)]
    pub blind_paged: bool,
}

/// Always a map, also where there is nothing in it.
fn as_map<S: Serializer>(triggers: &LiteMap<TriggerName, TriggerWatch>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(triggers.iter())
}

/// One metric trigger during one watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TriggerWatch {
    /// Whether it may fire.
    pub arming: Arming,
    /// What it was when it last turned.
    pub turn: Turn,
    /// What its expression showed before the deploy, once that was read.
    pub baseline: Option<Baseline>,
    /// Whether it was ever clear.
    pub seen_clear: bool,
    /// Whether the last slot of the watch was answered.
    pub settled: bool,
    /// When, by the data, it would have fired, where it is a shadow.
    #[serde(default)]
    pub shadowed_at: Option<Timestamp>,
    /// Whether the page that the deploy did not help was opened.
    #[serde(default)]
    pub did_not_help: bool,
}

/// What a trigger turned to. Single looks are not journalled; turns are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "turn")]
pub enum Turn {
    /// Nothing decisive has been seen yet.
    #[default]
    Unseen,
    /// Clear.
    Clear,
    /// Breaching without a gap.
    Breaching {
        /// Since then.
        since: Timestamp,
    },
    /// Too little traffic.
    LowTraffic,
    /// Nothing has been seen for three intervals.
    Blind,
}

impl ServiceState {
    /// The firing of this id.
    #[must_use]
    pub fn firing(&self, id: &FiringId) -> Option<&Firing> {
        self.firings.iter().find(|firing| &firing.id == id)
    }

    /// The firings that are still to end.
    pub fn open_firings(&self) -> impl Iterator<Item = &Firing> {
        self.firings.iter().filter(|firing| firing.is_open())
    }

    /// The firing whose rollback is under way: one at a time (design, R1).
    #[must_use]
    pub fn rolling(&self) -> Option<&Firing> {
        self.firings.iter().find(|firing| firing.is_rolling())
    }

    /// The version that this one is known as in the ledger: what a pipeline made of a revert stands for the target.
    #[must_use]
    pub fn stands_for<'a>(&'a self, version: &'a Version) -> &'a Version {
        let built = self.returned.as_ref().filter(|returned| returned.built.as_ref() == Some(version));
        built.map_or(version, |returned| &returned.version)
    }

    /// The rehearsal that is under way.
    #[must_use]
    pub fn rehearsing(&self) -> Option<&Rehearsal> {
        self.rehearsal.as_deref().filter(|rehearsal| rehearsal.is_open())
    }

    /// The page of this id.
    #[must_use]
    pub fn page(&self, id: &PageId) -> Option<&Page> {
        self.pages.iter().find(|page| &page.id == id)
    }

    /// Whether automatic rollback is held now.
    #[must_use]
    pub fn frozen(&self, now: Timestamp) -> Option<&Freeze> {
        self.freeze.as_ref().filter(|freeze| freeze.until > now)
    }
}

impl State {
    /// The state of a service; an empty one where nothing has happened to it yet.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> std::borrow::Cow<'_, ServiceState> {
        self.services.get(name).map_or_else(
            || std::borrow::Cow::Owned(ServiceState::default()),
            |own| std::borrow::Cow::Borrowed(own.as_ref()),
        )
    }
}
