//! A deploy, the ledger of a service's versions, and the version to return to.

use serde::{Deserialize, Serialize};

use crate::firing::FiringEnd;
use crate::name::{Commit, DeployId, Version};
use crate::time::Timestamp;

/// How many deploys a ledger remembers: more than a year of daily ones. The latest that passed is never forgotten.
pub const LONGEST_LEDGER: usize = 400;

/// How many versions to return to are never forgotten: each rollback may spend one.
pub const KEPT_TO_RETURN_TO: usize = 20;

/// How many ended firings a deploy remembers: each of its triggers may fire, and a human may ask again.
pub const REMEMBERED_INCIDENTS: usize = 16;

/// Whether a deploy changed data in a way that older code can't live with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Migration {
    /// No migration.
    #[default]
    None,
    /// A migration that the version before can live with.
    Compatible,
    /// A migration that it can't: never rolled back automatically (design, R6).
    Breaking,
}

/// A version starting to serve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deploy {
    /// Its id.
    pub id: DeployId,
    /// The version.
    pub version: Version,
    /// The version before, if the event names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Version>,
    /// The commit, if the event names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// Whether it migrated data.
    #[serde(default)]
    pub migration: Migration,
    /// Where its pipeline run can be seen: shown to people, never called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_url: Option<String>,
    /// When the version started to serve, by the event; when the event came, where it doesn't say.
    pub at: Timestamp,
    /// When the event came.
    pub reported_at: Timestamp,
    /// The event's own identity, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether nobody has told of it yet: `version_query` or a platform showed it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub seen: bool,
    /// Whether a rehearsal deployed it: the version is bad on purpose.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rehearsal: bool,
}

/// How a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchEnd {
    /// Every trigger was seen clear, none fired: the version is healthy.
    Passed,
    /// There was never enough traffic (or never a clear look) to say so.
    Unproven,
    /// At its end nothing could be seen.
    Blind,
    /// Its version was rolled back.
    RolledBack,
    /// A new deploy took its place.
    Superseded,
    /// A human was paged, and nothing else ended it.
    Paged,
    /// A human dismissed what fired.
    Dismissed,
}

/// One deploy in the ledger, and how it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The deploy.
    pub deploy: Deploy,
    /// How its watch ended; `None` while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<WatchEnd>,
    /// Whether a path was started to get away from it. Such a version is never a target (design, R3).
    #[serde(default, skip_serializing_if = "is_false")]
    pub rolled_back: bool,
    /// Whether that was automatic (design, R1: once per deploy).
    #[serde(default, skip_serializing_if = "is_false")]
    pub automatically: bool,
    /// The platform's revision of it, as `version_query` showed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How its firings ended, oldest first. No decision reads it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<Incident>,
}

/// How one firing about a deploy ended: what is asked for long after the firing itself is forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// The number of its receipt.
    pub receipt: u64,
    /// When, by the data, it fired.
    pub observed_at: Timestamp,
    /// When production was back, where it was seen to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_at: Option<Timestamp>,
    /// How it ended.
    pub result: FiringEnd,
    /// How many paths succeeded: each of them was a deployment that nobody had planned.
    pub rollbacks: usize,
    /// Whether it was a dry run.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

impl Entry {
    /// Remembers how a firing about it ended; beyond [`REMEMBERED_INCIDENTS`] the first ones stay.
    pub(crate) fn remember(&mut self, incident: Incident) {
        if self.incidents.len() < REMEMBERED_INCIDENTS {
            self.incidents.push(incident);
        }
    }

    /// Whether its watch ended, and not because something fired that no human has dismissed.
    const fn may_be_returned_to(&self) -> bool {
        match self.end {
            None | Some(WatchEnd::Superseded | WatchEnd::RolledBack | WatchEnd::Paged) => false,
            Some(WatchEnd::Passed | WatchEnd::Unproven | WatchEnd::Blind | WatchEnd::Dismissed) => true,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// The versions of a service and how each ended, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// The deploys, oldest first.
    pub entries: Vec<Entry>,
}

/// Where a target was learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetSource {
    /// It passed its own watch.
    Passed,
    /// The deploy event named it as the version before.
    Named,
    /// `version_query` showed it just before the deploy.
    Seen,
    /// A human named it.
    Human,
}

/// The version to return to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The version.
    pub version: Version,
    /// Where it was learned from.
    pub source: TargetSource,
    /// The platform's revision of it, where `version_query` showed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

impl Ledger {
    /// The deploy that was reported last.
    #[must_use]
    pub fn latest(&self) -> Option<&Entry> {
        self.entries.last()
    }

    /// The entry of this deploy.
    #[must_use]
    pub fn entry(&self, deploy: &DeployId) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| &entry.deploy.id == deploy)
    }

    /// The entry of this deploy, to be changed.
    pub fn entry_mut(&mut self, deploy: &DeployId) -> Option<&mut Entry> {
        self.entries.iter_mut().rev().find(|entry| &entry.deploy.id == deploy)
    }

    /// Whether the ledger has this version.
    #[must_use]
    pub fn knows(&self, version: &Version) -> bool {
        self.entries.iter().any(|entry| &entry.deploy.version == version)
    }

    /// Whether this version was ever rolled back, or deployed because it is bad.
    #[must_use]
    pub fn was_rolled_back(&self, version: &Version) -> bool {
        let bad = |entry: &Entry| entry.rolled_back || entry.deploy.rehearsal;
        self.entries.iter().any(|entry| &entry.deploy.version == version && bad(entry))
    }

    /// The platform's revision of this version, as it was last seen.
    #[must_use]
    pub fn revision(&self, version: &Version) -> Option<&str> {
        let mut seen = self.entries.iter().rev().filter(|entry| &entry.deploy.version == version);
        seen.find_map(|entry| entry.revision.as_deref())
    }

    /// The latest version, other than this one, that passed its own watch and was never rolled back.
    #[must_use]
    pub fn latest_passed(&self, other_than: &Version) -> Option<&Version> {
        let passed = self.entries.iter().rev().filter(|entry| entry.end == Some(WatchEnd::Passed));
        passed
            .map(|entry| &entry.deploy.version)
            .find(|version| *version != other_than && !self.was_rolled_back(version))
    }

    /// Whether this version may be a target although it never passed: it was not rolled back, it is another version,
    /// and no watch of its own says that it is unfinished or ended badly (design, R3).
    #[must_use]
    pub fn may_be_target(&self, version: &Version, deployed: &Version) -> bool {
        let own_watch = self.entries.iter().rev().find(|entry| &entry.deploy.version == version);
        version != deployed && own_watch.is_none_or(Entry::may_be_returned_to) && !self.was_rolled_back(version)
    }

    /// Adds a deploy and forgets the oldest beyond [`LONGEST_LEDGER`], but never the [`KEPT_TO_RETURN_TO`] latest
    /// versions to return to.
    pub fn add(&mut self, entry: Entry) {
        /// A vector that grows by itself doubles, and what it has no use for yet would be much of the memory of a fleet; so
        /// would room for many deploys of services that have few.
        const ROOM: std::ops::RangeInclusive<usize> = 2..=16;
        // Whoever adds a deploy that came late puts the newest one back behind it. Most of a fleet may have one.
        if self.entries.is_empty() {
            self.entries.reserve_exact(1);
        } else if self.entries.capacity() < self.entries.len() + 2 {
            self.entries.reserve_exact(self.entries.len().clamp(*ROOM.start(), *ROOM.end()));
        }
        self.entries.push(entry);
        if self.entries.len() > LONGEST_LEDGER {
            let forgotten = self.entries.remove(self.oldest_to_forget());
            // Once rolled back, never a target: that outlives the deploy it is known from.
            let same = |entry: &&mut Entry| entry.deploy.version == forgotten.deploy.version;
            self.entries.iter_mut().filter(same).for_each(|entry| entry.rolled_back |= forgotten.rolled_back);
        }
    }

    /// The oldest deploy with which nothing is lost: neither a version to return to, nor the only word that a version
    /// was rolled back. Where there is no such deploy, the oldest that is no version to return to.
    fn oldest_to_forget(&self) -> usize {
        let kept = self.latest_to_return_to();
        let may_go = |index: &usize| !kept.contains(index);
        // The last two are what has just come and what serves.
        let mut settled = (0..self.entries.len().saturating_sub(2)).filter(may_go);
        let free = settled.find(|index| !self.is_only_word(&self.entries[*index]));
        free.or_else(|| (0..self.entries.len()).find(may_go)).unwrap_or(0)
    }

    /// Whether that its version was rolled back is known by this deploy alone.
    fn is_only_word(&self, of: &Entry) -> bool {
        let same = self.entries.iter().filter(|entry| entry.deploy.version == of.deploy.version);
        of.rolled_back && same.count() == 1
    }

    /// The entries of the latest versions that passed and were never rolled back.
    fn latest_to_return_to(&self) -> Vec<usize> {
        let mut found: Vec<usize> = Vec::new();
        for (index, entry) in self.entries.iter().enumerate().rev() {
            let version = &entry.deploy.version;
            let known = found.iter().any(|other| &self.entries[*other].deploy.version == version);
            if entry.end == Some(WatchEnd::Passed) && !known && !self.was_rolled_back(version) {
                found.push(index);
            }
            if found.len() == KEPT_TO_RETURN_TO {
                break;
            }
        }
        found
    }
}
