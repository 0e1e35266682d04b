//! Where events come in, and what is waited for.
//!
//! Never does anything about what happened.

use std::time::Duration;

use rollbackd_core::time::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::LONGEST_SLEEP;
use crate::clock;
use crate::door::Asked;

/// So many events that came in before a deadline was met are taken before it: an attempt whose end waits in the queue
/// has not used up its timeout. Not all of them, so that nobody can hold deadlines up by sending events.
const MOST_BEFORE_A_WAKE: usize = 256;

/// So many events are made durable at once: their records share one sync, and a few milliseconds decide them all.
pub(super) const MOST_TOGETHER: usize = 256;

/// Where events come in.
#[derive(Debug)]
pub struct Inbox {
    /// What people, pipelines, attempts and pagers say.
    pub events: mpsc::Receiver<Asked>,
    /// What looks brought: there may be thousands of them, and nothing else waits behind them.
    pub looks: mpsc::Receiver<Asked>,
}

/// What happened while waiting.
pub(super) enum Next {
    Asked(Vec<Asked>),
    /// Deadlines are met.
    Woke,
    Idle,
    Stop,
}

/// Who goes first where deadlines are met and others wait.
#[derive(Default)]
pub(super) struct Order {
    /// So many events were taken before the deadlines that are met now.
    before: usize,
    /// The last turn was that of deadlines, so that looks come next: thousands may be met at once.
    woke: bool,
}

/// Names what happened, and does nothing about it.
pub(super) async fn wait(
    due: Option<Timestamp>,
    order: &mut Order,
    inbox: &mut Inbox,
    stop: &CancellationToken,
) -> Next {
    if stop.is_cancelled() {
        return Next::Stop;
    }
    let now = clock::now();
    if due.is_none_or(|at| at > now) {
        *order = Order::default();
    }
    let sleep = match due {
        Some(at) if at <= now => {
            let mut before = waiting(&mut inbox.events, MOST_BEFORE_A_WAKE.saturating_sub(order.before));
            order.before += before.len();
            if std::mem::take(&mut order.woke) {
                before.extend(waiting(&mut inbox.looks, MOST_TOGETHER));
            }
            if !before.is_empty() {
                return Next::Asked(before);
            }
            *order = Order { before: 0, woke: true };
            return Next::Woke;
        }
        Some(at) => at.since(now).clamp(Duration::from_millis(1), LONGEST_SLEEP),
        None => LONGEST_SLEEP,
    };
    let first = tokio::select! {
        biased;
        () = stop.cancelled() => return Next::Stop,
        asked = inbox.events.recv() => match asked {
            Some(asked) => asked,
            None => return Next::Stop,
        },
        Some(asked) = inbox.looks.recv() => asked,
        () = tokio::time::sleep(sleep) => return Next::Idle,
    };
    let mut together = vec![first];
    together.extend(waiting(&mut inbox.events, MOST_TOGETHER - 1));
    together.extend(waiting(&mut inbox.looks, MOST_TOGETHER - together.len()));
    Next::Asked(together)
}

/// What waits in a queue, so many at most.
fn waiting(queue: &mut mpsc::Receiver<Asked>, most: usize) -> Vec<Asked> {
    std::iter::from_fn(|| queue.try_recv().ok()).take(most).collect()
}

#[cfg(test)]
mod tests {
    use rollbackd_core::event::{Event, Happening};
    use rollbackd_core::name::ServiceName;

    use super::*;

    fn asked() -> Asked {
        Asked { event: Event { service: ServiceName::new("api").unwrap(), what: Happening::Thawed }, reply: None }
    }

    #[tokio::test]
    async fn what_came_in_before_a_deadline_is_taken_before_it_and_nobody_holds_it_up_for_ever() {
        let (events, events_inbox) = mpsc::channel(1024);
        let (_looks, looks_inbox) = mpsc::channel(1);
        let mut inbox = Inbox { events: events_inbox, looks: looks_inbox };
        (0..1000).for_each(|_| events.try_send(asked()).unwrap());
        let due = || Some(Timestamp::from_milliseconds(1));
        let (stop, mut order) = (CancellationToken::new(), Order::default());
        for _ in 0..2 {
            let mut taken = 0;
            while let Next::Asked(events) = wait(due(), &mut order, &mut inbox, &stop).await {
                taken += events.len();
            }
            assert_eq!(taken, MOST_BEFORE_A_WAKE, "then the deadline");
        }
        stop.cancel();
        assert!(matches!(wait(due(), &mut order, &mut inbox, &stop).await, Next::Stop));
    }

    #[tokio::test]
    async fn where_deadlines_are_met_all_the_time_looks_have_every_other_turn() {
        let (_events, events_inbox) = mpsc::channel(1);
        let (looks, looks_inbox) = mpsc::channel(1024);
        let mut inbox = Inbox { events: events_inbox, looks: looks_inbox };
        (0..1000).for_each(|_| looks.try_send(asked()).unwrap());
        let (stop, mut order) = (CancellationToken::new(), Order::default());
        let mut turns = Vec::new();
        for _ in 0..10 {
            turns.push(match wait(Some(Timestamp::from_milliseconds(1)), &mut order, &mut inbox, &stop).await {
                Next::Asked(looks) => looks.len(),
                Next::Woke => 0,
                Next::Idle | Next::Stop => panic!("something is due"),
            });
        }
        assert_eq!(turns, [0, 256, 0, 256, 0, 256, 0, 232, 0, 0]);
    }
}
