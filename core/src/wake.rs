//! When time alone matters next, and what is to be done again after a restart. There are no timers to cancel.

use crate::announcement::owed;
use crate::config::{Config, Mode, Service};
use crate::event::{Effect, Order};
use crate::firing::{Firing, Stage};
use crate::name::ServiceName;
use crate::page::Page;
use crate::rehearsals;
use crate::state::{ServiceState, State};
use crate::time::Timestamp;
use crate::watch::ends_at;

/// The next instant at which time alone changes something for a service. Waking then makes progress: the deadline is
/// met or gone.
#[must_use]
pub fn wake_at(config: &Config, state: &State, service: &ServiceName) -> Option<Timestamp> {
    let own = state.services.get(service)?;
    let plan = config.services.get(service)?;
    let of_firings = own.open_firings().filter_map(next_of_firing);
    // In a dry run nobody is paged, whatever was begun before.
    let of_pages = own.pages.iter().filter(|_| config.mode == Mode::Live).filter_map(Page::escalates_at);
    let of_watch = ends_at(config, plan, own);
    of_firings.chain(of_pages).chain(of_watch).chain(rehearsals::next_deadline(own)).min()
}

fn next_of_firing(firing: &Firing) -> Option<Timestamp> {
    let stage = match &firing.stage {
        Stage::Veto { until } => Some(*until),
        Stage::Paged { closes_at, .. } | Stage::Verifying { closes_at, .. } => Some(*closes_at),
        Stage::Rolling => firing.running().map(|attempt| attempt.ends_at),
        Stage::Ended { .. } => None,
    };
    let budget = firing.budget_ends_at().filter(|_| !firing.budget_paged);
    stage.into_iter().chain(budget).min()
}

/// What was promised and not yet seen done: to be performed again after a restart. Attempts are followed, never
/// started (design, R2); pages that were not taken are sent (design, R8); receipts are written.
#[must_use]
pub fn resume(config: &Config, state: &State) -> Vec<Effect> {
    let services = state.services.iter().filter_map(|(name, own)| Some((config.services.get(name)?, own)));
    services.flat_map(|(service, own)| resume_service(config.mode, service, own)).collect()
}

fn resume_service(mode: Mode, service: &Service, own: &ServiceState) -> Vec<Effect> {
    let mut effects = Vec::new();
    let deploying = own.rehearsing().and_then(|rehearsal| Some((rehearsal, rehearsal.running()?)));
    if let Some((rehearsal, attempt)) = deploying
        && let Some(order) = Order::of_rehearsal(&service.name, &rehearsal.id, attempt)
    {
        effects.push(Effect::FollowAttempt { order, handle: attempt.handle.clone() });
    }
    for firing in &own.firings {
        if let Some(attempt) = firing.running().filter(|_| firing.is_open()) {
            let order = Order::of(&service.name, &firing.id, attempt);
            effects.push(Effect::FollowAttempt { order, handle: attempt.handle.clone() });
        }
        if matches!(firing.stage, Stage::Ended { published: false, .. }) {
            effects.push(Effect::PublishReceipt { service: service.name.clone(), firing: firing.id.clone() });
        }
    }
    if mode == Mode::Live {
        effects.extend(own.firings.iter().flat_map(|firing| owed(&service.name, firing)));
        for page in &own.pages {
            for pager in page.undelivered.union(&page.unresolved).cloned() {
                effects.push(Effect::Page { service: service.name.clone(), pager, page: page.clone() });
            }
            // Said once more: it changes nothing where it was taken before.
            for pager in page.pagers.iter().filter(|_| page.acknowledged_at.is_some() && page.resolved_at.is_none()) {
                effects.push(Effect::AcknowledgePage { pager: pager.clone(), page: page.clone() });
            }
        }
    }
    effects
}
