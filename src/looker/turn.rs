//! One turn of looking: what is due together, and who shares a query.
//!
//! Never asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rollbackd_core::config::{Config, Metric};
use rollbackd_core::template::Values;
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::SETTLES_AFTER_INTERVALS;
use tokio::sync::mpsc;

use super::Over;
use super::ask::QuerySet;
use super::look::{Look, Reach, Shares};
use crate::outside::Outside;

/// A look back over no more intervals than this goes with all others of its query.
const NEAR_INTERVALS: u32 = SETTLES_AFTER_INTERVALS * 2;

/// Whether a look from the one to the other is too long to go with all others of its query.
pub(super) fn is_far(from: Timestamp, to: Timestamp, interval: Duration) -> bool {
    to.since(from) > interval * NEAR_INTERVALS
}

/// One turn of looking: what holds for all that is due in it.
pub(super) struct Turn {
    pub(super) edges: Arc<dyn Outside>,
    pub(super) config: Arc<Config>,
    pub(super) now: Timestamp,
    pub(super) groups: BTreeMap<Shares, Vec<Look>>,
    /// The queries of metrics whose templates name nothing, by the metrics' addresses: the same for all services.
    plain: BTreeMap<usize, Arc<QuerySet>>,
    pub(super) done: mpsc::UnboundedSender<Over>,
}

impl Turn {
    pub(super) fn new(
        edges: Arc<dyn Outside>,
        config: Arc<Config>,
        now: Timestamp,
        done: mpsc::UnboundedSender<Over>,
    ) -> Self {
        Self { edges, config, now, groups: BTreeMap::new(), plain: BTreeMap::new(), done }
    }

    pub(super) fn group(&mut self, metric: &Metric, interval: Duration, values: &Values, look: Look) {
        let queries = || Arc::new(QuerySet::of(metric, &look.service, values, look.since_deploy));
        let queries = if metric.names_nothing() {
            Arc::clone(self.plain.entry(std::ptr::from_ref(metric).addr()).or_insert_with(queries))
        } else {
            queries()
        };
        let reach = if !look.besides.is_empty() {
            Reach::Alone(look.service.clone(), look.trigger.clone())
        } else if is_far(look.from, look.to, interval) {
            Reach::Far(look.to.since(look.from).as_millis().ilog2())
        } else {
            Reach::Near
        };
        self.groups.entry(Shares { queries, step: metric.step, reach }).or_default().push(look);
    }
}
