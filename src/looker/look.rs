//! One trigger's look at one service, and with whom it shares a query.

use std::sync::Arc;
use std::time::Duration;

use rollbackd_core::event::Happening;
use rollbackd_core::name::{DeployId, ServiceName, TriggerName};
use rollbackd_core::reading::Answers;
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::SoFar;

use super::ask::QuerySet;
use super::closer;
use super::jobs::{Key, Subject};

/// Looks with the same queries, the same slots and the same reach share one answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shares {
    pub(super) queries: Arc<QuerySet>,
    pub(super) step: Duration,
    pub(super) reach: Reach,
}

/// How far back a look asks: one that reaches back to the deploy must not make all others as long.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// What has come in since the last looks.
    Near,
    /// Further back. With those alone that look back less than twice as far or half as far, by the logarithm to the base of
    /// two: none waits long for one that has to begin much earlier.
    Far(u32),
    /// Besides the slots as well, where this service's trigger breaches.
    Alone(ServiceName, TriggerName),
}

/// One trigger's look at one service, as it goes into a group that shares a query.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) service: ServiceName,
    pub(super) trigger: TriggerName,
    pub(super) deploy: DeployId,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) answered_until: Option<Timestamp>,
    /// The service's label in a query that is shared; `None` where the query is the service's own.
    pub(super) split: bool,
    /// Where the queries name `since_deploy`: the deploy's instant.
    pub(super) since_deploy: Option<Timestamp>,
    pub(super) baseline: bool,
    /// Whether a piece of its window may be judged before the others are there.
    pub(super) in_pieces: bool,
    /// Where a piece of its window is asked for, and more is to follow: the window's last slot.
    pub(super) more_until: Option<Timestamp>,
    /// What the slots before `from` have come to.
    pub(super) so_far: Option<SoFar>,
    /// Where to look besides the slots.
    pub(super) besides: Vec<closer::Range>,
    /// `None` for one that is no evaluation.
    pub(super) due: Option<Due>,
}

/// When a look was due, and how many looks were by the time at which it was begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) at: Timestamp,
    pub(super) slots: u64,
}

impl Look {
    pub(super) fn key(&self) -> Key {
        let name = self.trigger.clone();
        (self.service.clone(), if self.baseline { Subject::Baseline(name) } else { Subject::Trigger(name) })
    }

    pub(super) fn happening(&self, answers: Answers, besides: Vec<Answers>) -> Happening {
        let (deploy, trigger) = (self.deploy.clone(), self.trigger.clone());
        if self.baseline {
            Happening::BaselineRead { deploy, trigger, answers }
        } else {
            Happening::Looked {
                deploy,
                trigger,
                answers,
                answered_until: self.answered_until,
                so_far: self.so_far,
                besides,
                more_until: self.more_until,
            }
        }
    }
}
