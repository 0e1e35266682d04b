//! Pages on their way: each to each pager in order, again and again until it is taken.
//!
//! A page and the word that it is over go through one queue per pager and page, so they can't overtake each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rollbackd_core::event::{Event, Happening};
use rollbackd_core::name::{PageId, PagerName, ServiceName};
use rollbackd_core::page::{Page, PageReason};

use crate::clock;
use crate::door::Door;
use crate::edges::InForce;
use crate::metrics::Metrics;
use crate::pagers::{self, Failure, PagerClient};

type Queue = Arc<tokio::sync::Mutex<()>>;

/// The delivery of pages.
#[derive(Clone)]
pub(super) struct Paging {
    door: Door,
    edges: InForce,
    metrics: Arc<Metrics>,
    queues: Arc<Mutex<BTreeMap<(PageId, PagerName), Queue>>>,
    journal_page: Arc<Mutex<Option<Page>>>,
    journal_is_back: Arc<AtomicBool>,
}

impl Paging {
    pub(super) fn new(door: Door, edges: InForce, metrics: Arc<Metrics>) -> Self {
        Self {
            door,
            edges,
            metrics,
            queues: Arc::default(),
            journal_page: Arc::default(),
            journal_is_back: Arc::default(),
        }
    }

    pub(super) fn deliver(&self, service: ServiceName, pager: PagerName, page: Page) {
        let queue = self.queue(&page.id, &pager);
        let paging = self.clone();
        tokio::spawn(async move {
            let turn = queue.lock().await;
            let resolved = page.resolved_at.is_some();
            paging.send(&pager, &page).await;
            let what = Happening::PageDelivered { page: page.id.clone(), pager: pager.clone(), resolved };
            let told = paging.door.tell(Event { service: service.clone(), what }).await;
            drop(turn);
            if resolved {
                paging.queues.lock().unwrap_or_else(PoisonError::into_inner).remove(&(page.id.clone(), pager.clone()));
            } else if told.is_ok() {
                paging.repeat(&service, &pager, page.id).await;
            }
        });
    }

    /// After a start: pages that were taken and are not over still have to be repeated to pagers that forget.
    pub(super) fn go_on(&self) {
        let state = self.door.shared.state();
        for (service, own) in &state.services {
            for page in own.pages.iter().filter(|page| page.resolved_at.is_none()) {
                for pager in page.pagers.difference(&page.undelivered) {
                    let (paging, service, pager, id) = (self.clone(), service.clone(), pager.clone(), page.id.clone());
                    tokio::spawn(async move { paging.repeat(&service, &pager, id).await });
                }
            }
        }
    }

    fn queue(&self, page: &PageId, pager: &PagerName) -> Queue {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(queues.entry((page.clone(), pager.clone())).or_default())
    }

    fn client(&self, pager: &PagerName) -> Option<PagerClient> {
        self.edges.get().pagers.get(pager).cloned()
    }

    /// Until it is taken. A pager that the config no longer has can't take anything: it is looked for again, since a
    /// reload may bring it back.
    async fn send(&self, pager: &PagerName, page: &Page) {
        let mut failures = 0_u32;
        loop {
            let sent = match self.client(pager) {
                Some(client) => {
                    let edges = self.edges.get();
                    client.send(page, clock::now(), edges.settings.external_url.as_deref()).await
                }
                None => Err(Failure::Permanent { why: "the config has no such pager".to_owned() }),
            };
            let Err(failure) = sent else {
                self.metrics.page_delivered(pager);
                return;
            };
            failures = failures.saturating_add(1);
            let reason = match failure {
                Failure::Retry { .. } => "retry",
                Failure::Permanent { .. } => "refused",
            };
            self.metrics.page_failed(pager, reason);
            let wait = pagers::wait_after(&failure, failures, random_share());
            tracing::warn!(%pager, page = %page.id, %failure, again_in = ?wait, "a page was not taken");
            tokio::time::sleep(wait).await;
        }
    }

    /// Alertmanager forgets an alert that is not sent again.
    async fn repeat(&self, service: &ServiceName, pager: &PagerName, id: PageId) {
        loop {
            let Some(every) = self.client(pager).and_then(|client| client.resend_every()) else { return };
            tokio::time::sleep(every).await;
            let open = self.door.shared.state().services.get(service).and_then(|own| own.page(&id).cloned());
            let Some(page) = open.filter(|page| page.resolved_at.is_none()) else { return };
            let Some(client) = self.client(pager) else { return };
            let edges = self.edges.get();
            if let Err(failure) = client.send(&page, clock::now(), edges.settings.external_url.as_deref()).await {
                tracing::warn!(%pager, page = %id, %failure, "an open page could not be repeated");
            }
        }
    }

    pub(super) fn journal_is_not_writable(&self, why: &str) {
        let edges = self.edges.get();
        let pagers: BTreeSet<PagerName> = edges.pagers.keys().cloned().collect();
        let (Ok(id), Ok(service)) = (PageId::new("rollbackd-journal-not-writable"), ServiceName::new("rollbackd"))
        else {
            return;
        };
        let page = Page {
            id,
            service,
            reason: PageReason::Held,
            summary: format!("rollbackd can't write its journal ({why}): no rollback starts by itself until it can"),
            details: vec!["free the disk, or make the state folder writable; rollbackd goes on by itself".to_owned()],
            firing: None,
            deploy: None,
            version: None,
            trigger: None,
            opened_at: clock::now(),
            resolved_at: None,
            undelivered: pagers.clone(),
            pagers,
            unresolved: BTreeSet::new(),
        };
        self.journal_is_back.store(false, Ordering::Relaxed);
        *self.journal_page.lock().unwrap_or_else(PoisonError::into_inner) = Some(page.clone());
        self.without_journal(&page);
    }

    pub(super) fn journal_is_back(&self) {
        self.journal_is_back.store(true, Ordering::Relaxed);
        let page = self.journal_page.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(page) = page {
            self.without_journal(&Page { resolved_at: Some(clock::now()), ..page });
        }
    }

    /// Delivers without recording that it was: that is what can't be done.
    fn without_journal(&self, page: &Page) {
        for pager in page.pagers.clone() {
            let (paging, page, queue) = (self.clone(), page.clone(), self.queue(&page.id, &pager));
            tokio::spawn(async move {
                let _turn = queue.lock().await;
                paging.send(&pager, &page).await;
            });
        }
    }
}

/// A share of one, so that pagers that failed together are not tried again together. Nothing depends on its quality.
fn random_share() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    #[expect(clippy::cast_precision_loss, reason = "a share needs no 64 bits")]
    let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
    share
}
