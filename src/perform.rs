//! An effect becomes a call of one adapter; its outcome comes back as an event. Decides nothing.

mod announcing;
mod paging;
mod queues;
mod receipt_keeper;
mod receipt_writer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rollbackd_core::event::{Effect, Event, Happening, Order};
use rollbackd_core::firing::Outcome;
use rollbackd_core::name::{AttemptId, FiringId, ServiceName};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::door::Door;
use crate::metrics::Metrics;
use crate::outside::InForce;
use crate::paths::Progress;

pub use receipt_writer::ReceiptWriter;

/// Performs effects, each in a task of its own.
#[derive(Clone)]
pub struct Performer {
    door: Door,
    edges: InForce,
    metrics: Arc<Metrics>,
    stops: Arc<Mutex<BTreeMap<AttemptId, CancellationToken>>>,
    receipts: mpsc::UnboundedSender<(ServiceName, FiringId)>,
    paging: paging::Paging,
    announcing: announcing::Announcing,
}

impl Performer {
    /// A performer that brings outcomes to this door, and receipts to this writer.
    #[must_use]
    pub fn new(
        door: Door,
        edges: InForce,
        metrics: Arc<Metrics>,
        receipts: mpsc::UnboundedSender<(ServiceName, FiringId)>,
    ) -> Self {
        let paging = paging::Paging::new(door.clone(), edges.clone(), Arc::clone(&metrics));
        let announcing = announcing::Announcing::new(door.clone(), edges.clone(), Arc::clone(&metrics));
        Self { door, edges, metrics, stops: Arc::default(), receipts, paging, announcing }
    }

    /// Performs an effect whose records are durable.
    pub fn perform(&self, effect: Effect) {
        match effect {
            Effect::StartAttempt(order) => self.attempt(order, None, true),
            Effect::FollowAttempt { order, handle } => self.attempt(order, handle, false),
            Effect::StopAttempt { attempt, .. } => {
                let stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(stop) = stops.get(&attempt) {
                    stop.cancel();
                }
            }
            Effect::Page { service, pager, page } => self.paging.deliver(service, pager, page),
            Effect::AcknowledgePage { pager, page } => self.paging.acknowledge(pager, page),
            Effect::Announce { announcer, announcement } => self.announcing.deliver(announcer, *announcement),
            Effect::PublishReceipt { service, firing } => {
                if self.receipts.send((service, firing)).is_err() {
                    tracing::error!("the receipt writer has gone; the receipt is written after the next start");
                }
            }
        }
    }

    /// Nothing can be made durable: everybody is told, by a page that needs no journal.
    pub fn journal_is_not_writable(&self, why: &str) {
        self.paging.journal_is_not_writable(why);
    }

    /// The journal can be written again.
    pub fn journal_is_back(&self) {
        self.paging.journal_is_back();
    }

    /// Goes on telling the pagers that forget, about the pages that are open.
    pub fn go_on_paging(&self) {
        self.paging.go_on();
    }

    fn attempt(&self, order: Order, handle: Option<String>, begin: bool) {
        let stop = CancellationToken::new();
        let mut stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
        stops.insert(order.attempt.clone(), stop.clone());
        drop(stops);
        let performer = self.clone();
        tokio::spawn(async move {
            let began = order.started_at;
            let outcome = performer.run(&order, handle.as_deref(), begin, stop).await;
            let took = clock::now().since(began);
            performer.stops.lock().unwrap_or_else(PoisonError::into_inner).remove(&order.attempt);
            performer.metrics.attempt_ended(&order.service, &order.path, &outcome, took);
            performer.tell(&order.service, Happening::AttemptEnded { attempt: order.attempt.clone(), outcome }).await;
        });
    }

    async fn run(&self, order: &Order, handle: Option<&str>, begin: bool, stop: CancellationToken) -> Outcome {
        let edges = self.edges.get();
        let (progress, mut news) = mpsc::channel(8);
        let work =
            if begin { edges.start(order, &progress, stop) } else { edges.follow(order, handle, &progress, stop) };
        let Some(mut work) = work else {
            let why = format!("the config has no path {} any more", order.path);
            return if begin { Outcome::Failed { why, output: String::new() } } else { Outcome::Unknown { why } };
        };
        loop {
            tokio::select! {
                biased;
                Some(progress) = news.recv() => self.note(order, progress).await,
                outcome = &mut work => {
                    while let Ok(progress) = news.try_recv() {
                        self.note(order, progress).await;
                    }
                    return outcome;
                }
            }
        }
    }

    async fn note(&self, order: &Order, progress: Progress) {
        let attempt = order.attempt.clone();
        let what = match progress {
            Progress::Started { handle } => Happening::AttemptStarted { attempt, handle },
            Progress::Waits { why } => Happening::AttemptWaits { attempt, why },
        };
        self.tell(&order.service, what).await;
    }

    async fn tell(&self, service: &ServiceName, what: Happening) {
        if self.door.tell(Event { service: service.clone(), what }).await.is_err() {
            tracing::debug!(%service, "the daemon is stopping; the outcome is looked up after the next start");
        }
    }
}
