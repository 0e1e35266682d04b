//! Gets the path ready that will be run if a trigger's `for`, which is running, comes to its end.
//!
//! Decides nothing: what would be run is the core's word. No look and no attempt ever waits for it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rollbackd_core::name::{ServiceName, TriggerName};
use rollbackd_core::preflight;
use rollbackd_core::time::Timestamp;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock;
use crate::door::Door;
use crate::metrics::Metrics;
use crate::outside::InForce;
use crate::paths::NotReady;

/// So long before the `for` is over it begins: a token and a few reads take a second or two. What it finds is kept for
/// hardly longer (`src/paths/ready.rs`), since servers close connections that nobody uses.
const AHEAD: Duration = Duration::from_secs(4);

/// Longer than a few requests may take, each of which has a timeout of its own.
const LONGEST: Duration = Duration::from_secs(30);

/// What a pre-flight is about, and by whom it is made.
pub(super) struct Preflight {
    pub(super) door: Door,
    pub(super) edges: InForce,
    pub(super) metrics: Arc<Metrics>,
    pub(super) service: ServiceName,
    pub(super) trigger: TriggerName,
}

/// A pre-flight that is to come. Dropped before its time it does not come; afterwards it goes on to its end.
#[derive(Debug)]
pub(super) struct Planned {
    over_at: Timestamp,
    has_begun: Arc<AtomicBool>,
    _unless: DropGuard,
}

impl Planned {
    /// What comes after that time.
    fn after(wait: Duration, over_at: Timestamp, work: impl Future<Output = ()> + Send + 'static) -> Self {
        let (dropped, has_begun) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let planned = Self { over_at, has_begun: Arc::clone(&has_begun), _unless: dropped.clone().drop_guard() };
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = dropped.cancelled() => return,
                () = tokio::time::sleep(wait) => has_begun.store(true, Ordering::Relaxed),
            }
            work.await;
        });
        planned
    }

    /// Whether it has yet to begin, and for a `for` that is over at another instant.
    pub(super) fn is_for_another(&self, over_at: Timestamp) -> bool {
        self.over_at != over_at && !self.has_begun()
    }

    fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }
}

impl Preflight {
    /// Plans it for a `for` that is over at that instant.
    pub(super) fn plan(self, over_at: Timestamp) -> Planned {
        Planned::after((over_at - AHEAD).since(clock::now()), over_at, self.make())
    }

    async fn make(self) {
        let Self { door, edges, metrics, service, trigger } = self;
        let config = door.shared.config();
        let order = preflight::order(&config, &door.shared.state(), &service, &trigger, clock::now());
        let Some(order) = order else { return };
        let edges = edges.get();
        let Some(work) = edges.preflight(&order) else { return };
        let unseen = || NotReady::Unseen(format!("no answer in {} s", LONGEST.as_secs()));
        let found = tokio::time::timeout(LONGEST, work).await.unwrap_or_else(|_| Err(unseen()));
        metrics.preflight_ended(&service, &order.path, &found);
        let path = &order.path;
        match found {
            Ok(()) => tracing::debug!(%service, %trigger, %path, "the path is ready should the trigger fire"),
            Err(NotReady::Fails(why)) => {
                tracing::warn!(%service, %trigger, %path, why, "the path is not ready: if the trigger fired now, it would fail");
            }
            Err(NotReady::Waits(why)) => {
                tracing::warn!(%service, %trigger, %path, why, "the path is not ready: if the trigger fired now, it would wait");
            }
            Err(NotReady::Unseen(why)) => {
                tracing::info!(%service, %trigger, %path, why, "it could not be seen whether the path is ready");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(6);

    /// One that takes two seconds, and whether it came to its end.
    fn planned() -> (Planned, Arc<AtomicBool>) {
        let ended = Arc::new(AtomicBool::new(false));
        let tells = Arc::clone(&ended);
        let work = async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            tells.store(true, Ordering::Relaxed);
        };
        (Planned::after(WAIT, clock::now() + WAIT, work), ended)
    }

    async fn goes_by(time: Duration) {
        // A moment more: what is due at that instant is over then.
        tokio::time::sleep(time + Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_begins_in_its_time_and_then_nobody_has_to_hold_it() {
        let (planned, ended) = planned();
        goes_by(WAIT / 2).await;
        assert!(!planned.has_begun());
        goes_by(WAIT / 2).await;
        assert!(planned.has_begun() && !ended.load(Ordering::Relaxed));
        drop(planned);
        goes_by(WAIT).await;
        assert!(ended.load(Ordering::Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_come_where_the_row_is_over_before() {
        let (planned, ended) = planned();
        goes_by(WAIT / 2).await;
        drop(planned);
        goes_by(WAIT * 2).await;
        assert!(!ended.load(Ordering::Relaxed));
    }
}
