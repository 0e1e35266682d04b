//! What the metrics count of the journal's records, and what they gauge of the state. Decides nothing.

use std::collections::BTreeMap;

use rollbackd_core::config::Config;
use rollbackd_core::firing::{Firing, Stage};
use rollbackd_core::name::{PagerName, ServiceName};
use rollbackd_core::record::{FiringRecord, Record};
use rollbackd_core::state::{State, TriggerWatch, Turn};
use rollbackd_core::time::Timestamp;

use crate::metrics::Metrics;

/// Gauges what is open.
pub fn gauge(metrics: &Metrics, state: &State, config: &Config) {
    let services = state.services.values();
    metrics.watches_open(services.clone().filter(|own| own.watch.is_some()).count());
    metrics.firings_open(services.clone().map(|own| own.open_firings().count()).sum());
    let unpublished = |firing: &&Firing| matches!(firing.stage, Stage::Ended { published: false, .. });
    metrics.receipts_unpublished(services.clone().map(|own| own.firings.iter().filter(unpublished).count()).sum());
    let is_blind = |trigger: &&TriggerWatch| matches!(trigger.turn, Turn::Blind);
    let watches = services.clone().filter_map(|own| own.watch.as_ref());
    metrics.triggers_blind(watches.map(|watch| watch.triggers.values().filter(is_blind).count()).sum());
    let open = || state.services.iter().flat_map(|(name, own)| own.open_firings().map(move |firing| (name, firing)));
    metrics.budgets_end(open().filter_map(|(name, firing)| Some((name, &firing.trigger, firing.budget_ends_at()?))));
    let running = open().filter_map(|(name, firing)| Some((name, firing.running()?)));
    metrics.attempts_time_out(running.map(|(name, attempt)| (name, &attempt.path, attempt.ends_at)));
    // A pager whose last page is over has none that it did not take.
    let mut undelivered: BTreeMap<&PagerName, usize> =
        config.services.values().flat_map(|service| service.page.iter().flatten()).map(|pager| (pager, 0)).collect();
    for page in services.flat_map(|own| &own.pages) {
        for pager in &page.pagers {
            let waits = usize::from(page.undelivered.contains(pager) || page.unresolved.contains(pager));
            *undelivered.entry(pager).or_default() += waits;
        }
    }
    undelivered.into_iter().for_each(|(pager, count)| metrics.pages_undelivered(pager, count));
}

/// Gauges the rehearsals: what they showed of each path changes only when one goes on, or with the config.
pub fn gauge_rehearsals(metrics: &Metrics, state: &State, config: &Config, now: Timestamp) {
    let open = state.services.values().filter(|own| own.rehearsing().is_some()).count();
    let rehearsing = config.services.values().filter(|plan| plan.rehearsal.is_some());
    let paths = rehearsing.flat_map(|plan| {
        let shown = rollbackd_core::view::paths(plan, &state.service(&plan.name), now);
        shown.into_iter().map(move |path| (&plan.name, path))
    });
    metrics.rehearsals(open, paths);
}

/// Counts a record that has become durable and is applied.
pub fn count(metrics: &Metrics, state: &State, service: &ServiceName, record: &Record) {
    match record {
        Record::Fired(firing) => metrics.firing_began(service, &firing.trigger),
        Record::Firing { id, what: FiringRecord::Ended { recovered_at: Some(at), .. } } => {
            let firing = state.services.get(service).and_then(|own| own.firing(id));
            if let Some(firing) = firing {
                metrics.recovered(service, at.since(firing.observed_at));
            }
        }
        Record::Firing { .. }
        | Record::Watch(_)
        | Record::Ledger(_)
        | Record::Page(_)
        | Record::Rehearsal(_)
        | Record::Frozen { .. }
        | Record::Thawed => {}
    }
}
