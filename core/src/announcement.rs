//! An announcement: what other systems are told of a firing and of how it ended. It asks nothing of anybody.
//!
//! Never holds what others wrote: names that were checked, instants and our own words alone.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::draft::Draft;
use crate::event::Effect;
use crate::firing::{Firing, FiringEnd, Stage};
use crate::name::{AnnouncerName, Commit, DeployId, FiringId, PathName, ServiceName, TriggerName, Version};
use crate::record::FiringRecord;
use crate::rollback::word;
use crate::time::Timestamp;

/// What is told of a firing, or of its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Of this service.
    pub service: ServiceName,
    /// Which firing.
    pub firing: FiringId,
    /// The deploy that was watched; `None` where none was.
    pub deploy: Option<DeployId>,
    /// The pipeline's run that deployed, as the deploy event named it.
    pub run_url: Option<String>,
    /// The deployed version.
    pub version: Option<Version>,
    /// Its commit, as the deploy event named it.
    pub commit: Option<Commit>,
    /// The version to return to.
    pub target: Option<Version>,
    /// What fired.
    pub trigger: TriggerName,
    /// When the version was deployed.
    pub deployed_at: Option<Timestamp>,
    /// When the trigger fired, by the data.
    pub observed_at: Timestamp,
    /// `None` while it is open.
    pub ended: Option<Ended>,
}

/// How a firing ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Whether the target serves again, and the triggers are clear.
    pub recovered: bool,
    /// The outcome in the words of the receipt.
    pub outcome: &'static str,
    /// The path that brought the target back.
    pub path: Option<PathName>,
    /// The receipt of it.
    pub receipt_number: u64,
}

/// To whom a firing is announced, and who was not told yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// To these, as the config was when it fired.
    pub to: BTreeSet<AnnouncerName>,
    /// Who has not taken that it fired.
    pub beginning_owed: BTreeSet<AnnouncerName>,
    /// Who has not taken how it ended; empty until it has.
    pub end_owed: BTreeSet<AnnouncerName>,
}

impl Announced {
    /// A firing that begins now: everybody is still to be told.
    pub(crate) fn beginning(to: BTreeSet<AnnouncerName>) -> Self {
        Self { beginning_owed: to.clone(), to, end_owed: BTreeSet::new() }
    }

    /// Whether nobody was to be told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.to.is_empty()
    }
}

/// What is told of a firing: that it fired, or how it ended where it has and that is asked for.
fn announcement(service: &ServiceName, firing: &Firing, of_end: bool) -> Announcement {
    let deploy = firing.deploy.as_ref();
    let ended = match &firing.stage {
        Stage::Ended { result, at, receipt, .. } if of_end => Some(Ended {
            at: firing.recovered_at.unwrap_or(*at),
            recovered: *result == FiringEnd::Recovered,
            outcome: word(*result),
            path: firing.attempts.iter().rev().find(|attempt| attempt.succeeded()).map(|attempt| attempt.path.clone()),
            receipt_number: *receipt,
        }),
        Stage::Ended { .. } | Stage::Veto { .. } | Stage::Paged { .. } | Stage::Rolling | Stage::Verifying { .. } => {
            None
        }
    };
    Announcement {
        service: service.clone(),
        firing: firing.id.clone(),
        deploy: deploy.map(|deploy| deploy.id.clone()),
        run_url: deploy.and_then(|deploy| deploy.run_url.clone()),
        version: deploy.map(|deploy| deploy.version.clone()),
        commit: deploy.and_then(|deploy| deploy.commit.clone()),
        target: firing.target.as_ref().map(|target| target.version.clone()),
        trigger: firing.trigger.clone(),
        deployed_at: deploy.map(|deploy| deploy.at),
        observed_at: firing.observed_at,
        ended,
    }
}

/// What is still to be told of a firing: that it fired, or how it ended.
fn owed_of(service: &ServiceName, firing: &Firing, of_end: bool) -> Vec<Effect> {
    let Announced { beginning_owed, end_owed, .. } = &firing.announced;
    let told = |to: &AnnouncerName| Effect::Announce {
        announcer: to.clone(),
        announcement: Box::new(announcement(service, firing, of_end)),
    };
    if of_end { end_owed } else { beginning_owed }.iter().map(told).collect()
}

/// All that is still to be told of a firing, the beginning before the end.
pub(crate) fn owed(service: &ServiceName, firing: &Firing) -> Vec<Effect> {
    [owed_of(service, firing, false), owed_of(service, firing, true)].concat()
}

/// That it fired is to be told to all that the config names.
pub(crate) fn began(draft: &mut Draft<'_>, id: &FiringId) {
    tell(draft, id, false);
}

/// How it ended is to be told to all that were told that it fired.
pub(crate) fn ended(draft: &mut Draft<'_>, id: &FiringId) {
    tell(draft, id, true);
}

fn tell(draft: &mut Draft<'_>, id: &FiringId, of_end: bool) {
    let Some(firing) = draft.firing(id) else { return };
    owed_of(&draft.name().clone(), &firing, of_end).into_iter().for_each(|effect| draft.effect(effect));
}

/// Somebody took it.
pub(crate) fn taken(draft: &mut Draft<'_>, id: &FiringId, by: &AnnouncerName, of_end: bool) {
    let owed = |firing: &Firing| {
        let owed = if of_end { &firing.announced.end_owed } else { &firing.announced.beginning_owed };
        owed.contains(by)
    };
    if draft.firing(id).is_some_and(|firing| owed(&firing)) {
        draft.firing_record(id, FiringRecord::Announced { by: by.clone(), of_end });
    }
}
