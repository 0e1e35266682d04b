//! What is to be seen of a world: its firings, pages, receipts and attempts, as tests ask for them.

use rollbackd_core::deploy::WatchEnd;
use rollbackd_core::event::{Effect, Order};
use rollbackd_core::firing::{Firing, FiringEnd, Stage};
use rollbackd_core::name::{FiringId, PagerName};
use rollbackd_core::page::{Page, PageReason};
use rollbackd_core::record::{FiringRecord, PageRecord, Record};
use rollbackd_core::state::ServiceState;
use rollbackd_core::time::Timestamp;

use super::plan::SHOP;
use super::world::{Entry, World};

impl World {
    /// The state of the reference service.
    pub(crate) fn own(&self) -> &ServiceState {
        &self.state.services[SHOP]
    }

    /// The firing of this id, of any service.
    pub(crate) fn firing(&self, id: &FiringId) -> &Firing {
        let mut all = self.state.services.values();
        all.find_map(|own| own.firing(id)).unwrap_or_else(|| panic!("there is no firing {id}"))
    }

    /// The last firing of a trigger of the reference service.
    pub(crate) fn fired(&self, name: &str) -> Option<&Firing> {
        self.own().firings.iter().rev().find(|firing| firing.trigger.as_str() == name)
    }

    /// The attempts that were started since the world was made: versions to return to, by path.
    pub(crate) fn started(&self) -> Vec<Order> {
        self.effects.iter().filter_map(|(_, effect)| effect.starts().cloned()).collect()
    }

    /// The pages that were sent, each with whom to and when.
    pub(crate) fn pages_sent(&self) -> impl Iterator<Item = (Timestamp, &PagerName, &Page)> {
        self.effects.iter().filter_map(|(at, effect)| match effect {
            Effect::Page { pager, page, .. } => Some((*at, pager, page)),
            Effect::StartAttempt(_)
            | Effect::FollowAttempt { .. }
            | Effect::StopAttempt { .. }
            | Effect::AcknowledgePage { .. }
            | Effect::Announce { .. }
            | Effect::PublishReceipt { .. } => None,
        })
    }

    /// The paths of the attempts that were started.
    pub(crate) fn paths_started(&self) -> Vec<String> {
        self.started().iter().map(|order| order.path.to_string()).collect()
    }

    /// The pages that were opened, by the journal.
    pub(crate) fn pages_opened(&self) -> Vec<Page> {
        let opened = |entry: &Entry| match &entry.record {
            Record::Page(PageRecord::Opened { page }) => Some(page.as_ref().clone()),
            Record::Page(
                PageRecord::Delivered { .. }
                | PageRecord::Acknowledged { .. }
                | PageRecord::Escalated { .. }
                | PageRecord::Resolved { .. },
            )
            | Record::Ledger(_)
            | Record::Watch(_)
            | Record::Fired(_)
            | Record::Rehearsal(_)
            | Record::Firing { .. }
            | Record::Frozen { .. }
            | Record::Thawed => None,
        };
        self.journal.iter().filter_map(opened).collect()
    }

    /// Why pages were opened.
    pub(crate) fn paged_for(&self) -> Vec<PageReason> {
        self.pages_opened().iter().map(|page| page.reason).collect()
    }

    /// The summaries of the pages that were opened.
    pub(crate) fn said(&self) -> String {
        self.pages_opened().iter().map(|page| format!("{}\n", page.summary)).collect()
    }

    /// The numbers of the receipts, in the order in which they were promised.
    pub(crate) fn receipts(&self) -> Vec<u64> {
        let numbered = |entry: &Entry| match &entry.record {
            Record::Firing { what: FiringRecord::Ended { receipt, .. }, .. } => Some(*receipt),
            Record::Firing { .. }
            | Record::Page(_)
            | Record::Ledger(_)
            | Record::Watch(_)
            | Record::Fired(_)
            | Record::Rehearsal(_)
            | Record::Frozen { .. }
            | Record::Thawed => None,
        };
        self.journal.iter().filter_map(numbered).collect()
    }

    /// How the last firing of a trigger ended.
    pub(crate) fn ended(&self, name: &str) -> Option<FiringEnd> {
        match self.fired(name)?.stage {
            Stage::Ended { result, .. } => Some(result),
            Stage::Veto { .. } | Stage::Paged { .. } | Stage::Rolling | Stage::Verifying { .. } => None,
        }
    }

    /// The version that the watch would return to.
    pub(crate) fn target(&self) -> Option<String> {
        let target = self.own().watch.as_ref()?.target.as_ref()?;
        Some(target.version.to_string())
    }

    /// How the watch of the last deploy of a version ended.
    pub(crate) fn watch_end(&self, name: &str) -> Option<WatchEnd> {
        let entries = &self.own().ledger.entries;
        entries.iter().rev().find(|entry| entry.deploy.version.as_str() == name).and_then(|entry| entry.end)
    }

    /// The version that the outside really serves.
    pub(crate) fn really_serves(&self) -> String {
        let serving = self.outside[SHOP].serving(self.now);
        serving.map(|serving| serving.version.to_string()).unwrap_or_default()
    }
}
