//! How many queries Prometheus is asked at once: as many as the config says, and fewer while it is slow.
//!
//! Never lets none through: a Prometheus that is well again must be found out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rollbackd_core::reading::Answer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::Metrics;

/// An answer that took this part of `timeout` is a slow one: one more query would push others over it.
const SLOW_PART: u32 = 2;
/// One that took less than this part is a quick one.
const QUICK_PART: u32 = 10;

/// The gate.
#[derive(Clone)]
pub(super) struct Gate {
    room: Arc<Semaphore>,
    most: usize,
    open: Arc<AtomicUsize>,
    timeout: Duration,
    metrics: Arc<Metrics>,
    shows: bool,
}

impl Gate {
    /// A gate for so many at once, to a server that may take so long.
    pub(super) fn new(most: usize, timeout: Duration, metrics: Arc<Metrics>) -> Self {
        let gate = Self { shows: true, ..Self::beside(most, timeout, metrics) };
        gate.set(gate.most);
        gate
    }

    /// One that lives for a few queries only, beside the one that shows in the metrics.
    pub(super) fn beside(most: usize, timeout: Duration, metrics: Arc<Metrics>) -> Self {
        let most = most.max(1);
        let (room, open) = (Arc::new(Semaphore::new(most)), Arc::new(AtomicUsize::new(most)));
        Self { room, most, open, timeout, metrics, shows: false }
    }

    /// Asks when there is room, and learns from how long it took.
    pub(super) async fn ask(&self, query: impl Future<Output = Answer>) -> Answer {
        let waits = self.metrics.query_waits();
        let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
            return Answer::Failed("the daemon is stopping".to_owned());
        };
        drop(waits);
        let began = tokio::time::Instant::now();
        let in_flight = self.metrics.query_started();
        let answer = query.await;
        drop(in_flight);
        let took = began.elapsed();
        self.metrics.query_answered(&answer, took);
        self.learn(permit, took, matches!(answer, Answer::Failed(_)));
        answer
    }

    fn learn(&self, permit: OwnedSemaphorePermit, took: Duration, failed: bool) {
        // What hangs until its timeout or is refused says nothing of how much the server bears: one query that hangs must
        // not keep all others waiting.
        if failed {
            return;
        }
        let open = self.open.load(Ordering::Relaxed);
        if took * SLOW_PART >= self.timeout {
            if open > 1 {
                permit.forget();
                self.set(open - 1);
            }
        } else if took * QUICK_PART < self.timeout && open < self.most {
            self.room.add_permits(1);
            self.set(open + 1);
        }
    }

    fn set(&self, open: usize) {
        self.open.store(open, Ordering::Relaxed);
        if self.shows {
            self.metrics.query_limit(open);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered_after(gate: &Gate, took: Duration, failed: bool) {
        gate.ask(async {
            tokio::time::sleep(took).await;
            if failed { Answer::Failed(String::new()) } else { Answer::Series(Vec::new()) }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_server_is_asked_less_at_once_down_to_one_and_a_quick_one_more_again() {
        let metrics = Arc::new(Metrics::new("test"));
        let gate = Gate::new(3, Duration::from_secs(5), Arc::clone(&metrics));
        for expected in [2, 1, 1] {
            answered_after(&gate, Duration::from_secs(4), false).await;
            assert_eq!(gate.room.available_permits(), expected);
        }
        answered_after(&gate, Duration::from_millis(1), true).await;
        assert_eq!(gate.room.available_permits(), 1, "a refused connection says nothing of its speed");
        for expected in [2, 3, 3] {
            answered_after(&gate, Duration::from_millis(1), false).await;
            assert_eq!(gate.room.available_permits(), expected);
        }
        answered_after(&gate, Duration::from_secs(5), true).await;
        assert_eq!(gate.room.available_permits(), 3, "one that hangs keeps no other waiting");
        assert!(metrics.text().contains("rollbackd_prometheus_query_limit 3"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_query_that_always_takes_ten_seconds_holds_up_no_other() {
        let gate = Gate::new(4, Duration::from_secs(15), Arc::new(Metrics::new("test")));
        for interval in 0..10 {
            let began = tokio::time::Instant::now();
            let others = async {
                for _ in 0..6 {
                    answered_after(&gate, Duration::from_millis(10), false).await;
                }
                began.elapsed()
            };
            let ((), took) = tokio::join!(answered_after(&gate, Duration::from_secs(10), false), others);
            assert_eq!(took, Duration::from_millis(60), "interval {interval}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_room_shows() {
        let metrics = Arc::new(Metrics::new("test"));
        let gate = Gate::new(1, Duration::from_secs(5), Arc::clone(&metrics));
        let second = async {
            tokio::task::yield_now().await;
            let asked = gate.ask(std::future::ready(Answer::Series(Vec::new())));
            tokio::select! { biased; _ = asked => false, () = std::future::ready(()) => true }
        };
        let (_, waited) = tokio::join!(answered_after(&gate, Duration::from_millis(9), false), second);
        assert!(waited);
        assert!(metrics.text().contains("rollbackd_prometheus_queries_waiting 0"), "whoever gives up waits no more");
    }
}
