//! What holds an automatic rollback: each a reason that a human is told, none of them a bool.

use std::time::Duration;

use crate::deploy::Migration;
use crate::draft::Draft;
use crate::firing::{Firing, Origin};
use crate::name::{ServiceName, Version};
use crate::state::{ServiceState, Turn};
use crate::time::{Timestamp, show_duration};
use crate::trigger::Arming;

/// Why a rollback does not start by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hold {
    /// The trigger says `rollback: never`.
    #[error("code alone is never rolled back for this trigger")]
    NeverRollBack,
    /// R6.
    #[error("the deploy migrated data (`migration: true`): follow the migration plan, code alone may not fit the data")]
    Migration,
    /// R11.
    #[error("automatic rollback is frozen until {until}: {why}")]
    Frozen {
        /// Until then.
        until: Timestamp,
        /// Why.
        why: String,
    },
    /// R10.
    #[error(
        "{services} services fired within {}: that is one outage, not {services} bad deploys ({})",
        show_duration(*within), listed(names, *services)
    )]
    Fleet {
        /// How many.
        services: usize,
        /// Within how long.
        within: Duration,
        /// Which: some of the others, and the own one last.
        names: Vec<String>,
    },
    /// R1: once per deploy.
    #[error("this deploy was rolled back automatically once already")]
    OncePerDeploy,
    /// R1: `automatic_limit`.
    #[error("{rollbacks} automatic rollbacks within {} are the limit", show_duration(*within))]
    Limit {
        /// How many.
        rollbacks: usize,
        /// Within how long.
        within: Duration,
    },
    /// R1: one at a time.
    #[error("another rollback of this service is running")]
    OneAtATime,
    /// R3.
    #[error("there is no version to return to: none has passed its watch, and the deploy names none that may be one")]
    NoTarget,
    /// R3: what was true of the target when the trigger fired is so no longer.
    #[error("{version}, the version to return to, was rolled back itself since it fired")]
    TargetLeft {
        /// The target.
        version: Version,
    },
    /// Triggers are live during a watch alone.
    #[error("no deploy of this service is under watch")]
    NoWatch,
    /// R9.
    #[error("the budget was spent before the breach could be seen")]
    BudgetSpent,
}

/// Each firing of an outage keeps the reason: with the names of a whole fleet in each they would be gigabytes.
const MOST_NAMED: usize = 20;

/// The first reason that holds the automatic rollback of this firing.
pub(crate) fn hold(draft: &Draft<'_>, firing: &Firing) -> Option<Hold> {
    let own = draft.own();
    if firing.never_roll_back {
        return Some(Hold::NeverRollBack);
    }
    if own.open_firings().any(|other| other.id != firing.id && other.is_rolling()) {
        return Some(Hold::OneAtATime);
    }
    let Some(deploy) = &firing.deploy else { return Some(Hold::NoWatch) };
    if own.watch.as_ref().is_none_or(|watch| watch.deploy != deploy.id) {
        return Some(Hold::NoWatch);
    }
    if let Some(hold) = migrates(firing).or_else(|| frozen(draft)) {
        return Some(hold);
    }
    if own.ledger.entry(&deploy.id).is_some_and(|entry| entry.automatically) {
        return Some(Hold::OncePerDeploy);
    }
    if firing.target.is_none() {
        return Some(Hold::NoTarget);
    }
    if firing.budget_ends_at().is_some_and(|end| end <= draft.now) {
        return Some(Hold::BudgetSpent);
    }
    // Why a rehearsal's version is bad is known, whatever else fires: it goes.
    limit(draft).or_else(|| fleet(draft, firing).filter(|_| firing.rehearsal.is_none()))
}

/// The freeze, where there is one now. It holds the first path, and any further one (design, R11).
pub(crate) fn frozen(draft: &Draft<'_>) -> Option<Hold> {
    let freeze = draft.own().frozen(draft.now)?;
    Some(Hold::Frozen { until: freeze.until, why: freeze.why.clone() })
}

/// That the firing's deploy migrated data, which may be learned when its rollback is under way already: it holds the next
/// path as well (design, R6).
pub(crate) fn migrates(firing: &Firing) -> Option<Hold> {
    let deploy = firing.deploy.as_ref()?;
    (deploy.migration == Migration::Breaking).then_some(Hold::Migration)
}

/// That the firing's target was left by another rollback since it fired. It holds each path, also one that a human
/// approves: what they approved is no version to return to any more (design, R3 and R4).
pub(crate) fn target_left(draft: &Draft<'_>, firing: &Firing) -> Option<Hold> {
    let version = &firing.target.as_ref()?.version;
    draft.own().ledger.was_rolled_back(version).then(|| Hold::TargetLeft { version: version.clone() })
}

/// That `automatic_limit` is reached.
pub(crate) fn limit(draft: &Draft<'_>) -> Option<Hold> {
    let limit = draft.service.automatic_limit;
    let since = draft.now - limit.within;
    let recent = draft.own().automatic.iter().filter(|at| **at > since).count();
    (recent >= limit.rollbacks).then_some(Hold::Limit { rollbacks: limit.rollbacks, within: limit.within })
}

/// Whether a breach is open that began no later than this: it will have held for its `for` at about the same time.
fn is_about_to_fire(own: &ServiceState, began_by: Timestamp) -> bool {
    own.watch.as_ref().is_some_and(|watch| {
        watch.triggers.values().any(|known| {
            known.arming == Arming::Armed && matches!(known.turn, Turn::Breaching { since } if since <= began_by)
        })
    })
}

/// Counts this service, the others whose triggers fired lately, and those whose breach began with this one: the first
/// of an outage to fire must not be rolled back for having been the first. What a human asked for says nothing.
fn fleet(draft: &Draft<'_>, firing: &Firing) -> Option<Hold> {
    let began_by = firing.breach_at + draft.config.evaluation_interval;
    let guard = draft.config.fleet_guard?;
    let since = draft.now - guard.within;
    let fired = |firing: &Firing| firing.decided_at > since && firing.origin != Origin::Human;
    let others = draft.seen.services().filter(|(name, _)| *name != draft.name());
    let together = |own: &ServiceState| own.firings.iter().any(fired) || is_about_to_fire(own, began_by);
    let mut names: Vec<&ServiceName> = others.filter(|(_, own)| together(own)).map(|(name, _)| name).collect();
    names.push(draft.name());
    let together = names.len();
    (together >= guard.services).then(|| Hold::Fleet {
        services: together,
        within: guard.within,
        names: names.iter().skip(together.saturating_sub(MOST_NAMED)).map(ToString::to_string).collect(),
    })
}

/// Some of so many names, and how many more there are.
fn listed(names: &[String], all: usize) -> String {
    let more = all.saturating_sub(names.len());
    let names = names.join(", ");
    if more > 0 { format!("{names} and {more} more") } else { names }
}
