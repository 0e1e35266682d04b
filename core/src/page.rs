//! A page: what a human is told, why, and until when.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::name::{DeployId, FiringId, PageId, PagerName, ServiceName, TriggerName, Version};
use crate::time::Timestamp;

/// Why a human is paged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageReason {
    /// A trigger fired and something holds the automatic rollback.
    Held,
    /// A trigger with `action: page` fired.
    Manual,
    /// The path starts unless a human dismisses in time.
    Veto,
    /// No path is left, or none that can finish within the budget.
    NoPathLeft,
    /// The outcome of an attempt can't be known.
    UnknownOutcome,
    /// The remote waits for a person.
    RemoteWaits,
    /// The budget is spent and production has not recovered.
    BudgetSpent,
    /// A new deploy arrived while a rollback was running.
    DeployDuringRollback,
    /// Nothing can be seen.
    Blind,
    /// A trigger that was breaching before the deploy still is.
    DidNotHelp,
}

/// A page. Its id is the dedup key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Its id, which stays the same however often it is delivered.
    pub id: PageId,
    /// Of this service.
    pub service: ServiceName,
    /// Why.
    pub reason: PageReason,
    /// One sentence for a human: what happened and what is asked of them.
    pub summary: String,
    /// More sentences: the trigger's note, the value, how to answer.
    pub details: Vec<String>,
    /// The firing, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firing: Option<FiringId>,
    /// The deploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<DeployId>,
    /// The deployed version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerName>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was over; `None` while a human is still needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// The pagers that have not yet taken it.
    pub undelivered: BTreeSet<PagerName>,
    /// The pagers that have not yet taken the word that it is over; empty until it is.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unresolved: BTreeSet<PagerName>,
}

impl Page {
    /// Whether nothing more has to be delivered.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.resolved_at.is_some() && self.undelivered.is_empty() && self.unresolved.is_empty()
    }
}
