//! How many queries Prometheus is asked at once: as many as the config says, and fewer while it is slow. Triggers take
//! turns, so that the slow queries of one keep none of another waiting behind all of them.
//!
//! Never lets none through: a Prometheus that is well again must be found out.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rollbackd_core::name::TriggerName;
use rollbackd_core::reading::Answer;
use tokio::sync::oneshot;

use crate::metrics::Metrics;

/// An answer that took this part of `timeout` is a slow one: one more query would push others over it.
const SLOW_PART: u32 = 2;
/// One that took less than this part is a quick one.
const QUICK_PART: u32 = 10;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asker {
    /// A trigger, whichever services it is asked about.
    Trigger(TriggerName),
    /// A trigger that breaches, looked at closer for one service: where a fleet breaches there are many such, and each is
    /// as much for the server as the look at all of them.
    Closer(TriggerName),
    /// Whoever wants to know versions.
    Versions,
}

/// The gate.
#[derive(Clone)]
pub(super) struct Gate {
    room: Arc<Mutex<Room>>,
    most: usize,
    timeout: Duration,
    metrics: Arc<Metrics>,
    shows: bool,
}

/// Who is let through, and who waits.
struct Room {
    open: usize,
    through: BTreeMap<Asker, usize>,
    waiting: BTreeMap<Asker, VecDeque<oneshot::Sender<Place>>>,
    /// Who was let through last.
    last: Option<Asker>,
}

/// A place in the room, given up when it is dropped.
struct Place {
    room: Arc<Mutex<Room>>,
    asker: Asker,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut room = locked(&self.room);
        if let Some(places) = room.through.get_mut(&self.asker) {
            *places -= 1;
            if *places == 0 {
                room.through.remove(&self.asker);
            }
        }
        drop(room);
        let_in(&self.room);
    }
}

fn locked(room: &Mutex<Room>) -> MutexGuard<'_, Room> {
    room.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets in as many as there are places for.
fn let_in(room: &Arc<Mutex<Room>>) {
    loop {
        let Some((asker, waits)) = locked(room).next() else { return };
        // Outside of the lock: where nobody waits any more the place comes back at once, and is given up.
        drop(waits.send(Place { room: Arc::clone(room), asker }));
    }
}

impl Room {
    /// The next one to be let in, for whom a place is taken. One place is left for all other askers, wherever there are
    /// two.
    fn next(&mut self) -> Option<(Asker, oneshot::Sender<Place>)> {
        if self.through.values().sum::<usize>() >= self.open {
            return None;
        }
        // Whoever gave up waiting is not to be found first.
        self.waiting.retain(|_, queue| {
            while queue.front().is_some_and(oneshot::Sender::is_closed) {
                queue.pop_front();
            }
            !queue.is_empty()
        });
        let most_of_one = self.open.saturating_sub(1).max(1);
        let may = |asker: &&Asker| self.through.get(*asker).is_none_or(|places| *places < most_of_one);
        let after = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut in_turn = self.waiting.range((after, Bound::Unbounded)).chain(&self.waiting).map(|(asker, _)| asker);
        let asker = in_turn.find(may)?.clone();
        let waits = self.waiting.get_mut(&asker)?.pop_front()?;
        *self.through.entry(asker.clone()).or_default() += 1;
        self.last = Some(asker.clone());
        Some((asker, waits))
    }
}

impl Gate {
    /// A gate for so many at once, to a server that may take so long.
    pub(super) fn new(most: usize, timeout: Duration, metrics: Arc<Metrics>) -> Self {
        let gate = Self { shows: true, ..Self::beside(most, timeout, metrics) };
        gate.show(gate.most);
        gate
    }

    /// One that lives for a few queries only, beside the one that shows in the metrics.
    pub(super) fn beside(most: usize, timeout: Duration, metrics: Arc<Metrics>) -> Self {
        let most = most.max(1);
        let room = Room { open: most, through: BTreeMap::new(), waiting: BTreeMap::new(), last: None };
        Self { room: Arc::new(Mutex::new(room)), most, timeout, metrics, shows: false }
    }

    /// Asks when there is room and it is this asker's turn, and learns from how long it took.
    pub(super) async fn ask(&self, asker: &Asker, query: impl Future<Output = Answer>) -> Answer {
        let waits = self.metrics.query_waits();
        let Some(place) = self.place(asker).await else {
            return Answer::Failed("the daemon is stopping".to_owned());
        };
        drop(waits);
        let began = tokio::time::Instant::now();
        let in_flight = self.metrics.query_started();
        let answer = query.await;
        drop(in_flight);
        let took = began.elapsed();
        self.metrics.query_answered(&answer, took);
        self.learn(took, matches!(answer, Answer::Failed(_)));
        drop(place);
        answer
    }

    async fn place(&self, asker: &Asker) -> Option<Place> {
        let (sender, place) = oneshot::channel();
        locked(&self.room).waiting.entry(asker.clone()).or_default().push_back(sender);
        let_in(&self.room);
        place.await.ok()
    }

    fn learn(&self, took: Duration, failed: bool) {
        // What hangs until its timeout or is refused says nothing of how much the server bears: one query that hangs must
        // not keep all others waiting.
        if failed {
            return;
        }
        let mut room = locked(&self.room);
        if took * SLOW_PART >= self.timeout {
            room.open = room.open.saturating_sub(1).max(1);
        } else if took * QUICK_PART < self.timeout {
            room.open = (room.open + 1).min(self.most);
        }
        self.show(room.open);
    }

    fn show(&self, open: usize) {
        if self.shows {
            self.metrics.query_limit(open);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::{join, join_all};
    use tokio::time::{Instant, sleep};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn trigger(name: &str) -> TriggerName {
        TriggerName::new(name).unwrap()
    }

    async fn answered_after(gate: &Gate, asker: &Asker, took: Duration, failed: bool) {
        let query = async {
            sleep(took).await;
            if failed { Answer::Failed(String::new()) } else { Answer::Series(Vec::new()) }
        };
        gate.ask(asker, query).await;
    }

    fn open(gate: &Gate) -> usize {
        locked(&gate.room).open
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_server_is_asked_less_at_once_down_to_one_and_a_quick_one_more_again() {
        let metrics = Arc::new(Metrics::new("test"));
        let gate = Gate::new(3, SECOND * 5, Arc::clone(&metrics));
        for expected in [2, 1, 1] {
            answered_after(&gate, &Asker::Versions, SECOND * 4, false).await;
            assert_eq!(open(&gate), expected);
        }
        answered_after(&gate, &Asker::Versions, Duration::from_millis(1), true).await;
        assert_eq!(open(&gate), 1, "a refused connection says nothing of its speed");
        for expected in [2, 3, 3] {
            answered_after(&gate, &Asker::Versions, Duration::from_millis(1), false).await;
            assert_eq!(open(&gate), expected);
        }
        answered_after(&gate, &Asker::Versions, SECOND * 5, true).await;
        assert_eq!(open(&gate), 3, "one that hangs keeps no other waiting");
        assert!(metrics.text().contains("rollbackd_prometheus_query_limit 3"));
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_answers_are_slow_together_as_many_are_asked_as_it_says() {
        let gate = Gate::new(4, SECOND * 5, Arc::new(Metrics::new("test")));
        let (one, other) = (Asker::Trigger(trigger("one")), Asker::Closer(trigger("one")));
        let slow = |asker| answered_after(&gate, asker, SECOND * 4, false);
        join_all([&one, &one, &other, &other].map(slow)).await;
        assert_eq!(open(&gate), 1);
        let began = Instant::now();
        join_all([&one, &other].map(slow)).await;
        assert_eq!(began.elapsed(), SECOND * 8, "one after the other");
    }

    #[tokio::test(start_paused = true)]
    async fn a_query_that_always_takes_ten_seconds_holds_up_no_other() {
        let gate = Gate::new(4, SECOND * 15, Arc::new(Metrics::new("test")));
        let (slow, quick) = (Asker::Trigger(trigger("slow")), Asker::Trigger(trigger("quick")));
        for interval in 0..10 {
            let began = Instant::now();
            let others = async {
                for _ in 0..6 {
                    answered_after(&gate, &quick, Duration::from_millis(10), false).await;
                }
                began.elapsed()
            };
            let ((), took) = join(answered_after(&gate, &slow, SECOND * 10, false), others).await;
            assert_eq!(took, Duration::from_millis(60), "interval {interval}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_slow_queries_of_one_trigger_keep_those_of_another_waiting_for_one_of_them_at_most() {
        let gate = Gate::new(4, SECOND * 5, Arc::new(Metrics::new("test")));
        let (slow, quick) = (Asker::Trigger(trigger("slow")), Asker::Trigger(trigger("quick")));
        let all_slow = join_all((0..100).map(|_| answered_after(&gate, &slow, SECOND * 4, false)));
        let others = async {
            let mut longest = Duration::ZERO;
            for _ in 0..10 {
                let began = Instant::now();
                answered_after(&gate, &quick, Duration::from_millis(10), false).await;
                longest = longest.max(began.elapsed());
                sleep(SECOND * 15).await;
            }
            longest
        };
        let (_, longest) = join(all_slow, others).await;
        assert!(longest < SECOND * 5, "{longest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_takes_no_place_with_it() {
        let gate = Gate::new(1, SECOND * 60, Arc::new(Metrics::new("test")));
        let asked = || answered_after(&gate, &Asker::Versions, SECOND * 10, false);
        let gave_up = async { tokio::time::timeout(SECOND, asked()).await };
        let (_, gave_up) = join(asked(), gave_up).await;
        assert!(gave_up.is_err());
        let began = Instant::now();
        asked().await;
        assert_eq!(began.elapsed(), SECOND * 10);
        assert!(locked(&gate.room).through.is_empty() && locked(&gate.room).waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_room_shows() {
        let metrics = Arc::new(Metrics::new("test"));
        let gate = Gate::new(1, SECOND * 5, Arc::clone(&metrics));
        let shows = |line: &str| metrics.text().lines().any(|each| each == line);
        let second = async {
            tokio::task::yield_now().await;
            let asked = gate.ask(&Asker::Versions, std::future::ready(Answer::Series(Vec::new())));
            tokio::pin!(asked);
            assert!(futures_util::poll!(&mut asked).is_pending());
            assert!(shows("rollbackd_prometheus_queries_waiting 1"));
        };
        join(answered_after(&gate, &Asker::Versions, Duration::from_millis(9), false), second).await;
        assert!(shows("rollbackd_prometheus_queries_waiting 0"), "whoever gives up waits no more");
    }
}
