//! Announcements on their way: each firing to each announcer in order, again and again until it is taken.
//!
//! How a firing ended goes through the queue in which its beginning stands, so that they can't overtake each other.

use std::sync::Arc;

use rollbackd_core::announcement::Announcement;
use rollbackd_core::event::{Event, Happening};
use rollbackd_core::name::{AnnouncerName, FiringId};
use rollbackd_core::receipt::took;
use tokio::sync::mpsc;

use super::queues::Queues;
use crate::announcers;
use crate::chance;
use crate::clock;
use crate::door::Door;
use crate::metrics::Metrics;
use crate::outside::InForce;

type Key = (FiringId, AnnouncerName);

/// The delivery of announcements.
#[derive(Clone)]
pub(super) struct Announcing {
    door: Door,
    edges: InForce,
    metrics: Arc<Metrics>,
    queues: Queues<Key, Announcement>,
}

impl Announcing {
    pub(super) fn new(door: Door, edges: InForce, metrics: Arc<Metrics>) -> Self {
        Self { door, edges, metrics, queues: Queues::default() }
    }

    /// The place in the queue is taken here, before anything else is performed: a task of its own might come too late.
    pub(super) fn deliver(&self, announcer: AnnouncerName, announcement: Announcement) {
        let key = (announcement.firing.clone(), announcer);
        if let Some(announcements) = self.queues.put(&key, announcement) {
            tokio::spawn(self.clone().work(key, announcements));
        }
    }

    async fn work(self, key: Key, mut announcements: mpsc::UnboundedReceiver<Announcement>) {
        while let Some(announcement) = announcements.recv().await {
            self.send(&key.1, &announcement).await;
            let of_end = announcement.ended.is_some();
            let what = Happening::Announced { firing: key.0.clone(), by: key.1.clone(), of_end };
            let _ = self.door.tell(Event { service: announcement.service, what }).await;
            if self.queues.is_done(&key, &announcements) {
                return;
            }
        }
    }

    /// Until it is taken. An announcer that the config no longer has is looked for again: a reload may bring it back.
    async fn send(&self, announcer: &AnnouncerName, announcement: &Announcement) {
        let mut failures = 0_u32;
        loop {
            let Err(failure) = self.edges.get().announce(announcer, announcement, clock::now()).await else {
                self.metrics.announcement_delivered(announcer);
                return;
            };
            failures = failures.saturating_add(1);
            self.metrics.announcement_failed(announcer, failure.word());
            let wait = announcers::wait_after(&failure, failures, chance::share());
            let firing = &announcement.firing;
            tracing::warn!(%announcer, %firing, %failure, again_in = %took(wait), "an announcement was not taken");
            tokio::time::sleep(wait).await;
        }
    }
}
