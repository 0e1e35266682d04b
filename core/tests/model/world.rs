//! One state of the model: the core's own state, and the small outside that belongs to it.
//!
//! Never decides anything that the core decides, and never looks at what the core thinks to say what really happens.

use std::collections::{BTreeMap, BTreeSet};

use rollbackd_core::event::Serving;
use rollbackd_core::firing::{Firing, Stage};
use rollbackd_core::name::{AttemptId, DeployId, FiringId, PageId, PathName, ServiceName, TriggerName, Version};
use rollbackd_core::state::State;
use rollbackd_core::time::Timestamp;
use rollbackd_core::wants::wants;

use super::plan::{Bounds, Plan, Reading, Run, SLOT};
use crate::common::{instant, version};

/// What became of a remote's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The order never reached it.
    NeverStarted,
    Running,
    /// It ended, and the daemon was not told.
    Ended(Run),
}

/// What the remote knows of one attempt.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) attempt: AttemptId,
    pub(crate) firing: FiringId,
    pub(crate) path: PathName,
    pub(crate) target: Version,
    pub(crate) phase: Phase,
    /// Whether the daemon that runs now will hear of its end.
    pub(crate) followed: bool,
}

/// The outside of one service, and what the checks remember by their own bookkeeping.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outside {
    /// Which version has served since when.
    pub(crate) served: Vec<(Timestamp, Version)>,
    /// What each metric showed at the slots of the watch.
    pub(crate) readings: BTreeMap<TriggerName, BTreeMap<Timestamp, Reading>>,
    /// What the looker remembers until a restart.
    pub(crate) answered_until: BTreeMap<TriggerName, (DeployId, Timestamp)>,
    /// Whether it was looked at in this slot.
    pub(crate) looked: bool,
    /// The runs that may still do something, or that the daemon asks about.
    pub(crate) remotes: Vec<Remote>,
    /// How often each path of each open firing's round really ran.
    pub(crate) runs: BTreeMap<(FiringId, PathName), u8>,
    /// Pages that the daemon is delivering; `true` for the word that it is over.
    pub(crate) sending: BTreeSet<(PageId, bool)>,
    /// Receipts that the daemon is writing.
    pub(crate) publishing: BTreeSet<FiringId>,
    /// Versions that a path was started to get away from.
    pub(crate) left: BTreeSet<Version>,
    /// The firing that rolled a deploy back automatically.
    pub(crate) automatic: BTreeMap<DeployId, FiringId>,
    /// When automatic rollbacks began.
    pub(crate) automatic_at: Vec<Timestamp>,
    /// The firings that a human approved or asked for.
    pub(crate) approved: BTreeSet<FiringId>,
    /// The slot at which a slot's look last failed altogether.
    pub(crate) failed_look: bool,
}

/// One state of the model.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    /// Whether the daemon runs.
    pub(crate) up: bool,
    pub(crate) pager_works: bool,
    pub(crate) receipts_work: bool,
    /// What may still happen.
    pub(crate) left: Bounds,
    pub(crate) outside: BTreeMap<ServiceName, Outside>,
}

impl Outside {
    pub(crate) fn serve(&mut self, version: &Version, at: Timestamp) {
        if self.served.last().is_none_or(|(_, serving)| serving != version) {
            self.served.push((at, version.clone()));
        }
    }

    /// What `version_query` shows.
    pub(crate) fn serving(&self) -> Option<Serving> {
        let (since, version) = self.served.last()?.clone();
        Some(Serving { version, revision: None, since })
    }

    pub(crate) fn served_at(&self, at: Timestamp) -> Option<&Version> {
        self.served.iter().rev().find(|(since, _)| *since <= at).map(|(_, version)| version)
    }

    pub(crate) fn reading(&self, trigger: &TriggerName, at: Timestamp) -> Option<Reading> {
        self.readings.get(trigger)?.get(&at).copied()
    }
}

impl World {
    /// The state in which the model begins, at 10:00; before `v1` is deployed, where it is.
    pub(crate) fn new(plan: &Plan) -> Self {
        let outside = plan.config.services.keys().map(|name| (name.clone(), Outside::default())).collect();
        let now = instant("2026-11-23T10:00:00Z");
        let mut world = Self {
            state: State::default(),
            now,
            up: true,
            pager_works: true,
            receipts_work: true,
            left: plan.bounds,
            outside,
        };
        for outside in world.outside.values_mut() {
            outside.looked = true;
            if plan.unproven {
                outside.serve(&version("v0"), now);
            }
        }
        world
    }

    /// Nothing is under way and nobody is owed anything; a human may still be needed.
    pub(crate) fn is_settled(&self) -> bool {
        self.up
            && self.state.services.values().all(|own| {
                let published = |stage: &Stage| matches!(stage, Stage::Ended { published: true, .. });
                own.watch.is_none()
                    && own.firings.iter().all(|firing| published(&firing.stage))
                    && own.pages.iter().all(|page| page.undelivered.is_empty() && page.unresolved.is_empty())
            })
    }

    /// The same, and no human is needed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_settled() && self.state.services.values().all(|own| own.pages.is_empty())
    }

    /// Forgets what can't matter any more: stories, readings before the watch, remotes that nobody asks about.
    pub(crate) fn forget(&mut self, plan: &Plan) {
        let now = self.now;
        for (name, outside) in &mut self.outside {
            outside.looked |= self.up && wants(&plan.config, &self.state, name).is_empty();
            let Some(own) = self.state.services.get_mut(name.as_str()) else { continue };
            for firing in &mut own.firings {
                firing.story.clear();
            }
            let from = own.watch.as_ref().map_or(now, |watch| watch.at.floor(SLOT));
            for readings in outside.readings.values_mut() {
                readings.retain(|at, _| *at >= from);
            }
            let open: BTreeSet<&FiringId> = own.open_firings().map(|firing| &firing.id).collect();
            let may_succeed_late = self.left.late > 0;
            outside.remotes.retain(|remote| {
                let mut running = own.firings.iter().filter_map(Firing::running);
                let asked = running.any(|attempt| attempt.id == remote.attempt);
                asked || (may_succeed_late && remote.phase == Phase::Running)
            });
            outside.runs.retain(|(firing, _), _| open.contains(firing));
            outside.approved.retain(|firing| open.contains(firing));
            let within = plan.config.services[name].automatic_limit.within;
            outside.automatic_at.retain(|at| *at > now - within);
            if own.watch.is_none() {
                outside.answered_until.clear();
            }
        }
    }
}
