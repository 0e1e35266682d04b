//! Pages on their way: each to each pager in order, again and again until it is taken.
//!
//! A page and the word that it is over go through one queue per pager and page, so they can't overtake each other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rollbackd_core::config::Mode;
use rollbackd_core::event::{Event, Happening};
use rollbackd_core::name::{PageId, PagerName, ServiceName};
use rollbackd_core::page::{Page, PageReason};
use rollbackd_core::receipt::took;
use tokio::sync::mpsc;

use super::queues::Queues;
use crate::chance;
use crate::clock;
use crate::door::Door;
use crate::metrics::Metrics;
use crate::outside::InForce;
use crate::pagers::{self, Failure};

/// How often it is looked whether an open page has to be repeated, where its pager does not say.
const REPEAT_CHECK: Duration = Duration::from_secs(60);

/// The journal has been writable again for so long before its page is over: a disk that is full now and then must not
/// page each time.
const JOURNAL_QUIET: Duration = Duration::from_secs(30);

type Key = (PageId, PagerName);

/// The delivery of pages.
#[derive(Clone)]
pub(super) struct Paging {
    door: Door,
    edges: InForce,
    metrics: Arc<Metrics>,
    queues: Queues<Key, Parcel>,
    journal: Arc<Mutex<JournalPage>>,
}

/// A page, or the word that it is over, on its way to one pager.
struct Parcel {
    page: Page,
    /// To whom it is told that it was taken; nobody where that can't be recorded.
    service: Option<ServiceName>,
    what: What,
}

/// What of a page is on its way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// The page itself, or that it is over.
    Page,
    /// It was taken before the restart, and only has to be repeated.
    Taken,
    /// That a human has seen it.
    Acknowledgement,
}

/// The page that needs no journal.
#[derive(Default)]
struct JournalPage {
    open: Option<Page>,
    /// How often it has turned: whoever waits for quiet sees that there was none.
    turns: u64,
}

impl Paging {
    pub(super) fn new(door: Door, edges: InForce, metrics: Arc<Metrics>) -> Self {
        Self { door, edges, metrics, queues: Queues::default(), journal: Arc::default() }
    }

    pub(super) fn deliver(&self, service: ServiceName, pager: PagerName, page: Page) {
        self.enqueue(pager, Parcel { page, service: Some(service), what: What::Page });
    }

    pub(super) fn acknowledge(&self, pager: PagerName, page: Page) {
        self.enqueue(pager, Parcel { page, service: None, what: What::Acknowledgement });
    }

    /// After a start: pages that were taken and are not over still have to be repeated to pagers that forget.
    pub(super) fn go_on(&self) {
        let state = self.door.shared.state();
        for page in state.services.values().flat_map(|own| &own.pages).filter(|page| page.resolved_at.is_none()) {
            for pager in page.pagers.difference(&page.undelivered) {
                self.enqueue(pager.clone(), Parcel { page: page.clone(), service: None, what: What::Taken });
            }
        }
    }

    /// The place in the queue is taken here, before anything else is performed: a task of its own might come too late.
    fn enqueue(&self, pager: PagerName, parcel: Parcel) {
        let key = (parcel.page.id.clone(), pager);
        if let Some(parcels) = self.queues.put(&key, parcel) {
            tokio::spawn(self.clone().work(key, parcels));
        }
    }

    /// Delivers what concerns one page and one pager, one after the other, until the page is over.
    async fn work(self, key: Key, mut parcels: mpsc::UnboundedReceiver<Parcel>) {
        let pager = &key.1;
        let mut open: Option<Page> = None;
        loop {
            let Some(parcel) = self.next(pager, &mut parcels, open.as_ref()).await else { return };
            let is_over = parcel.page.resolved_at.is_some();
            if is_over && open.is_none() && parcel.page.undelivered.contains(pager) {
                // It was over before anybody had taken it, and then came a restart. It is delivered all the same.
                let page = Page { resolved_at: None, ..parcel.page.clone() };
                self.bring(pager, &Parcel { page, service: parcel.service.clone(), what: What::Page }).await;
            }
            match parcel.what {
                What::Page => self.bring(pager, &parcel).await,
                What::Taken => {}
                What::Acknowledgement => self.say_seen(pager, &parcel.page, &parcels).await,
            }
            open = (!is_over).then_some(parcel.page);
            if is_over && self.queues.is_done(&key, &parcels) {
                return;
            }
        }
    }

    /// What comes next; meanwhile an open page is repeated to a pager that forgets.
    async fn next(
        &self,
        pager: &PagerName,
        parcels: &mut mpsc::UnboundedReceiver<Parcel>,
        open: Option<&Page>,
    ) -> Option<Parcel> {
        loop {
            let every = self.edges.get().resend_every(pager);
            tokio::select! {
                biased;
                parcel = parcels.recv() => return parcel,
                () = tokio::time::sleep(every.unwrap_or(REPEAT_CHECK)) => {
                    if let (Some(page), Some(_)) = (open, every) {
                        self.repeat(pager, page).await;
                    }
                }
            }
        }
    }

    /// Sends it until it is taken, and says so.
    async fn bring(&self, pager: &PagerName, parcel: &Parcel) {
        let page = &parcel.page;
        self.send(pager, page).await;
        let Some(service) = &parcel.service else { return };
        let resolved = page.resolved_at.is_some();
        let what = Happening::PageDelivered { page: page.id.clone(), pager: pager.clone(), resolved };
        let _ = self.door.tell(Event { service: service.clone(), what }).await;
    }

    /// Until it is taken. A pager that the config no longer has can't take anything: it is looked for again, since a
    /// reload may bring it back.
    async fn send(&self, pager: &PagerName, page: &Page) {
        let mut failures = 0_u32;
        loop {
            let Err(failure) = self.edges.get().page(pager, page, clock::now()).await else {
                self.metrics.page_delivered(pager);
                return;
            };
            failures = failures.saturating_add(1);
            self.metrics.page_failed(pager, failure.word());
            let wait = pagers::wait_after(&failure, failures, chance::share());
            tracing::warn!(%pager, page = %page.id, %failure, again_in = %took(wait), "a page was not taken");
            tokio::time::sleep(wait).await;
        }
    }

    /// That a human has seen a page changes how it is shown, and nobody waits for it: it gives way to what is over, and is
    /// not tried again where it was refused.
    async fn say_seen(&self, pager: &PagerName, page: &Page, parcels: &mpsc::UnboundedReceiver<Parcel>) {
        for failures in 1.. {
            let edges = self.edges.get();
            let Some(said) = edges.acknowledge(pager, page, clock::now()) else { return };
            let Err(failure) = said.await else { return };
            tracing::warn!(%pager, page = %page.id, %failure, "that a page was acknowledged was not taken");
            if matches!(failure, Failure::Permanent { .. }) || !parcels.is_empty() {
                return;
            }
            tokio::time::sleep(pagers::wait_after(&failure, failures, chance::share())).await;
        }
    }

    /// Alertmanager forgets an alert that is not sent again.
    async fn repeat(&self, pager: &PagerName, page: &Page) {
        if let Err(failure) = self.edges.get().page(pager, page, clock::now()).await {
            tracing::warn!(%pager, page = %page.id, %failure, "an open page could not be repeated");
        }
    }

    pub(super) fn journal_is_not_writable(&self, why: &str) {
        if self.door.shared.config().mode == Mode::DryRun {
            // Nobody is paged (design, R12); readyz, a metric and the log say it.
            return;
        }
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.turns += 1;
        if journal.open.is_none()
            && let Some(page) = self.journal_page(why)
        {
            journal.open = Some(page.clone());
            self.without_journal(&page);
        }
    }

    fn journal_page(&self, why: &str) -> Option<Page> {
        let pagers: BTreeSet<PagerName> = self.edges.get().settings().pagers.keys().cloned().collect();
        let now = clock::now();
        // Another id each time: whoever drops what was told already must not drop the next full disk.
        let instant: String = now.to_string().chars().filter(|each| each.is_ascii_alphanumeric()).collect();
        Some(Page {
            id: PageId::new(format!("rollbackd-journal-not-writable-{instant}")).ok()?,
            service: ServiceName::new("rollbackd").ok()?,
            reason: PageReason::Held,
            summary: format!("rollbackd can't write its journal ({why}): no rollback starts by itself until it can"),
            details: vec!["free the disk, or make the state folder writable; rollbackd goes on by itself".to_owned()],
            firing: None,
            deploy: None,
            version: None,
            trigger: None,
            opened_at: now,
            resolved_at: None,
            acknowledged_at: None,
            levels_left: Vec::new(),
            escalates_at: None,
            undelivered: pagers.clone(),
            pagers,
            unresolved: BTreeSet::new(),
        })
    }

    pub(super) fn journal_is_back(&self) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.turns += 1;
        let (turns, paging) = (journal.turns, self.clone());
        drop(journal);
        tokio::spawn(async move {
            tokio::time::sleep(JOURNAL_QUIET).await;
            let mut journal = paging.journal.lock().unwrap_or_else(PoisonError::into_inner);
            let over = if journal.turns == turns { journal.open.take() } else { None };
            drop(journal);
            if let Some(page) = over {
                paging.without_journal(&Page { resolved_at: Some(clock::now()), ..page });
            }
        });
    }

    /// Delivers without recording that it was: that is what can't be done.
    fn without_journal(&self, page: &Page) {
        for pager in page.pagers.clone() {
            self.enqueue(pager, Parcel { page: page.clone(), service: None, what: What::Page });
        }
    }
}
