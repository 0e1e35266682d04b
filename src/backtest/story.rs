//! The story of a replay, read by watch: what fired in it, what it was compared with, how it ended.

use std::collections::{BTreeMap, BTreeSet};

use rollbackd_core::deploy::WatchEnd;
use rollbackd_core::firing::{Firing, Origin};
use rollbackd_core::name::{DeployId, FiringId, ServiceName, TriggerName};
use rollbackd_core::record::{FiringRecord, Record, WatchRecord};
use rollbackd_core::replay::Line;
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::{Arming, Baseline};

/// What a replay left.
pub(super) struct Stepped {
    pub(super) lines: Vec<Line>,
    pub(super) firings: Vec<(ServiceName, Firing)>,
}

/// What a trigger did in a watch, and what would have been done.
#[derive(Clone, Debug)]
pub(super) struct Fired {
    /// When the condition had held for its `for`.
    pub(super) observed_at: Timestamp,
    /// What would have been done: roll back, page, nothing.
    pub(super) would: Would,
}

/// What would have been done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Would {
    /// This path would have run, to this version.
    RollBack {
        /// The path.
        path: String,
        /// The target.
        target: String,
    },
    /// A human would have been paged. Why.
    Page(String),
    /// It was counted with the rollback that another trigger had begun.
    Join(TriggerName),
    /// Nothing: it is a shadow.
    Nothing,
}

/// One watch.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) service: ServiceName,
    pub(super) deploy_at: Timestamp,
    /// Which of the deploys that were told.
    pub(super) index: usize,
    pub(super) ended: Option<(Timestamp, WatchEnd)>,
    pub(super) baselines: BTreeMap<TriggerName, Baseline>,
    pub(super) disarmed: BTreeSet<TriggerName>,
    pub(super) fired: BTreeMap<TriggerName, Fired>,
}

/// Reads the watches of a replay. `replies` say which deploy each of those that were told became.
pub(super) fn read(stepped: &Stepped, replies: &[Option<DeployId>]) -> Vec<Watched> {
    let index_of: BTreeMap<&DeployId, usize> =
        replies.iter().enumerate().filter_map(|(index, id)| Some((id.as_ref()?, index))).collect();
    let mut watches: Vec<Watched> = Vec::new();
    let mut by_deploy: BTreeMap<DeployId, usize> = BTreeMap::new();
    let mut open: BTreeMap<&ServiceName, usize> = BTreeMap::new();
    for line in &stepped.lines {
        match &line.record {
            Record::Watch(WatchRecord::Opened { watch }) => {
                let Some(index) = index_of.get(&watch.deploy) else { continue };
                open.insert(&line.service, watches.len());
                by_deploy.insert(watch.deploy.clone(), watches.len());
                let carried = watch.triggers.iter().filter_map(|(name, known)| Some((name.clone(), known.baseline?)));
                watches.push(Watched {
                    service: line.service.clone(),
                    deploy_at: watch.at,
                    index: *index,
                    ended: None,
                    baselines: carried.collect(),
                    disarmed: BTreeSet::new(),
                    fired: BTreeMap::new(),
                });
            }
            Record::Watch(record) => {
                if let Some(watch) = open.get(&line.service).and_then(|index| watches.get_mut(*index)) {
                    note(watch, line.at, record);
                }
            }
            Record::Fired(_) | Record::Firing { .. } | Record::Ledger(_) | Record::Page(_) => {}
            Record::Rehearsal(_) | Record::Frozen { .. } | Record::Thawed => {}
        }
    }
    for (_, firing) in &stepped.firings {
        let index = firing.deploy.as_ref().and_then(|deploy| by_deploy.get(&deploy.id));
        if let Some(watch) = index.and_then(|index| watches.get_mut(*index)) {
            note_firing(watch, firing, &stepped.lines);
        }
    }
    watches
}

fn note(watch: &mut Watched, at: Timestamp, record: &WatchRecord) {
    match record {
        WatchRecord::BaselineKept { trigger, baseline } => {
            watch.baselines.insert(trigger.clone(), *baseline);
        }
        WatchRecord::Turned { trigger, arming: Arming::Disarmed, .. } => {
            watch.disarmed.insert(trigger.clone());
        }
        WatchRecord::Shadowed { trigger, observed_at, .. } => {
            watch.fired.insert(trigger.clone(), Fired { observed_at: *observed_at, would: Would::Nothing });
        }
        WatchRecord::Ended { end } => watch.ended = Some((at, *end)),
        WatchRecord::Opened { .. }
        | WatchRecord::TargetFound { .. }
        | WatchRecord::Turned { .. }
        | WatchRecord::Settled { .. } => {}
    }
}

fn note_firing(watch: &mut Watched, firing: &Firing, lines: &[Line]) {
    if firing.origin != Origin::Metric {
        return;
    }
    let would = match (firing.would_run.first(), &firing.target) {
        (Some(run), Some(target)) => Would::RollBack { path: run.path.to_string(), target: target.version.to_string() },
        (Some(_), None) | (None, _) => Would::Page(why_paged(&firing.id, lines)),
    };
    watch.fired.insert(firing.trigger.clone(), Fired { observed_at: firing.observed_at, would });
    for (joined, observed_at) in &firing.joined {
        let would = Would::Join(firing.trigger.clone());
        watch.fired.insert(joined.clone(), Fired { observed_at: *observed_at, would });
    }
}

fn why_paged(firing: &FiringId, lines: &[Line]) -> String {
    let paged = lines.iter().find_map(|line| match &line.record {
        Record::Firing { id, what: FiringRecord::Paged { why, .. } } if id == firing => Some(why.clone()),
        Record::Firing { .. }
        | Record::Ledger(_)
        | Record::Watch(_)
        | Record::Fired(_)
        | Record::Page(_)
        | Record::Rehearsal(_)
        | Record::Frozen { .. }
        | Record::Thawed => None,
    });
    paged.unwrap_or_else(|| "nothing was decided".to_owned())
}
