//! The seam to the outside world: all that the daemon asks of it and does to it.
//!
//! The real world is [`crate::edges::Edges`]; the simulation (`tests/simulation`) puts its own in its place, and
//! everything above this seam is the same code.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rollbackd_core::announcement::Announcement;
use rollbackd_core::config::Service;
use rollbackd_core::event::Order;
use rollbackd_core::firing::{Firing, Outcome};
use rollbackd_core::name::{AnnouncerName, AttemptId, PagerName};
use rollbackd_core::page::Page;
use rollbackd_core::reading::Answer;
use rollbackd_core::receipt::Evidence;
use rollbackd_core::time::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::pagers::{Alive, Failure};
use crate::paths::{NotReady, Progress};
use crate::receipts::{Kept, NotKept};

/// Something that the outside world takes its time for.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The outside world, as one config describes it.
pub trait Outside: Send + Sync {
    /// The config.
    fn settings(&self) -> &Settings;

    /// The values of `expr` at `from`, `from + step` and so on, up to `to`.
    fn range<'a>(&'a self, expr: &'a str, from: Timestamp, to: Timestamp, step: Duration) -> Pending<'a, Answer>;

    /// The value of `expr` at an instant.
    fn instant<'a>(&'a self, expr: &'a str, at: Timestamp) -> Pending<'a, Answer>;

    /// Whether a smoke URL answers 2xx.
    fn smoke<'a>(&'a self, url: &'a str) -> Pending<'a, bool>;

    /// Looks whether an order that may come soon could be carried out, and keeps connections and tokens for it. Changes
    /// nothing, and ends where an attempt of that path begins. `None` where there is nothing to look at: no such path, one
    /// that asks nobody, or one that is just being looked at.
    fn preflight<'a>(&'a self, order: &'a Order) -> Option<Pending<'a, Result<(), NotReady>>>;

    /// Runs the order, once. `None` where the config has no such path. `stop` says that the path's timeout is over.
    /// Dropping the future ends nothing: [`Self::follow`] takes the attempt up again.
    fn start<'a>(
        &'a self,
        order: &'a Order,
        progress: &'a mpsc::Sender<Progress>,
        stop: CancellationToken,
    ) -> Option<Pending<'a, Outcome>>;

    /// Finds an attempt that an earlier process started, and follows it to its end; never starts it. `None` where the
    /// config has no such path.
    fn follow<'a>(
        &'a self,
        order: &'a Order,
        handle: Option<&'a str>,
        progress: &'a mpsc::Sender<Progress>,
        stop: CancellationToken,
    ) -> Option<Pending<'a, Outcome>>;

    /// Removes what is kept on this machine of an attempt, once its outcome is in the journal.
    ///
    /// # Errors
    /// It can't be removed, or the attempt still runs.
    fn forget(&self, attempt: &AttemptId) -> io::Result<()>;

    /// Tries once to deliver a page, or the word that it is over.
    fn page<'a>(&'a self, pager: &'a PagerName, page: &'a Page, now: Timestamp) -> Pending<'a, Result<(), Failure>>;

    /// Tries once to say that a human has seen a page; `None` where this pager can't show it.
    fn acknowledge<'a>(
        &'a self,
        pager: &'a PagerName,
        page: &'a Page,
        now: Timestamp,
    ) -> Option<Pending<'a, Result<(), Failure>>>;

    /// Tries once to tell another system of a firing.
    fn announce<'a>(
        &'a self,
        announcer: &'a AnnouncerName,
        announcement: &'a Announcement,
        now: Timestamp,
    ) -> Pending<'a, Result<(), Failure>>;

    /// Tells a pager that the daemon works.
    fn say_alive<'a>(
        &'a self,
        pager: &'a PagerName,
        alive: &'a Alive,
        now: Timestamp,
    ) -> Pending<'a, Result<(), Failure>>;

    /// Sends the outgoing ping of the heartbeat; `None` where the config has none.
    fn ping(&self) -> Option<Pending<'_, Result<(), String>>>;

    /// How often an open page must be sent again so that it stays open there; `None` where once is enough.
    fn resend_every(&self, pager: &PagerName) -> Option<Duration>;

    /// Writes the receipt of a firing that ended, and returns its SHA-256 once it is durable. A receipt that was
    /// written before is the same receipt.
    fn publish(&self, plan: Arc<Service>, firing: Firing, evidence: Evidence) -> Pending<'_, Result<String, String>>;

    /// Commits what is new among the receipts, and pushes it; `None` where the config says nothing of it.
    fn keep_receipts(&self) -> Option<Pending<'_, Result<Kept, NotKept>>> {
        None
    }
}

/// The outside world that is in force; a reload replaces it as a whole.
#[derive(Clone)]
pub struct InForce(Arc<RwLock<Arc<dyn Outside>>>);

impl InForce {
    /// This one.
    #[must_use]
    pub fn new(outside: impl Outside + 'static) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(outside))))
    }

    /// The one now; whoever holds it keeps it until done.
    #[must_use]
    pub fn get(&self) -> Arc<dyn Outside> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another in force.
    pub fn set(&self, outside: impl Outside + 'static) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(outside);
    }
}
