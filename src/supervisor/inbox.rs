//! Where events come in, and what is waited for.
//!
//! Never does anything about what happened.

use std::time::Duration;

use rollbackd_core::name::ServiceName;
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
const MOST_TOGETHER: usize = 256;

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
    Woke(ServiceName),
    Idle,
    Stop,
}

/// Names what happened, and does nothing about it.
pub(super) async fn wait(
    due: Option<(Timestamp, ServiceName)>,
    before_a_wake: &mut usize,
    inbox: &mut Inbox,
    stop: &CancellationToken,
) -> Next {
    if stop.is_cancelled() {
        return Next::Stop;
    }
    let now = clock::now();
    let sleep = match due {
        Some((at, service)) if at <= now => {
            let before = waiting(&mut inbox.events, MOST_BEFORE_A_WAKE.saturating_sub(*before_a_wake));
            if !before.is_empty() {
                *before_a_wake += before.len();
                return Next::Asked(before);
            }
            *before_a_wake = 0;
            return Next::Woke(service);
        }
        Some((at, _)) => at.since(now).clamp(Duration::from_millis(1), LONGEST_SLEEP),
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
        let due = || Some((Timestamp::from_milliseconds(1), ServiceName::new("api").unwrap()));
        let (stop, mut before) = (CancellationToken::new(), 0);
        for _ in 0..2 {
            let mut taken = 0;
            while let Next::Asked(events) = wait(due(), &mut before, &mut inbox, &stop).await {
                taken += events.len();
            }
            assert_eq!(taken, MOST_BEFORE_A_WAKE, "then the deadline");
        }
        stop.cancel();
        assert!(matches!(wait(due(), &mut before, &mut inbox, &stop).await, Next::Stop));
    }
}
