//! The dead man's switch: says regularly that the daemon works, so that its silence is an alarm.
//!
//! Never says so where it does not: a heartbeat of a process that only exists would be worse than none.

mod settings;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rollbackd_core::config::Mode;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::door::Shared;
use crate::metrics::{Metrics, Turning};
use crate::outside::{InForce, Outside};
use crate::pagers::Alive;

pub use settings::{Heartbeat, Ping, PingClient};

/// How often it is looked whether a heartbeat is due: a reload may have changed that.
const TICK: Duration = Duration::from_secs(1);

/// The loops turn each second or sooner; one fsync on a bad day takes half of that. A loop that needs longer than this
/// does not do its work.
const TURNS_WITHIN: Duration = Duration::from_secs(10);

/// How often it is looked whether the loops have turned.
const TURNS_CHECK: Duration = Duration::from_millis(50);

/// An alert lives so many heartbeats without another one, and after a failure the next is tried in this part of the
/// time: four may fail in a row, as with Alertmanager's own resends.
const LIVES_FOR: u32 = 5;

/// What the ping is called in metrics and the log.
const PING: &str = "ping";

/// Why no heartbeat is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Unwell {
    #[error("the journal can't be written")]
    Journal,
    #[error("the supervisor has not turned for {TURNS_WITHIN:?}")]
    Supervisor,
    #[error("the looker has not turned for {TURNS_WITHIN:?}")]
    Looker,
    #[error("a watch is open, and Prometheus answers no query")]
    Prometheus,
}

impl Unwell {
    const fn word(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Supervisor => "supervisor",
            Self::Looker => "looker",
            Self::Prometheus => "prometheus",
        }
    }
}

/// Sends the heartbeats.
pub struct Heart {
    shared: Arc<Shared>,
    edges: InForce,
    metrics: Arc<Metrics>,
    prometheus: Answering,
    /// What was said last: the log tells of changes alone.
    said: Option<Unwell>,
}

/// Whether Prometheus answers, by the counts of its answers.
#[derive(Clone, Copy, Debug, Default)]
struct Answering {
    answered: u64,
    not_answered: u64,
    silent: bool,
}

impl Answering {
    /// Takes the counts so far. One answer since the last time is enough; none out of none says nothing new.
    fn note(&mut self, (answered, not_answered): (u64, u64)) {
        if answered > self.answered {
            self.silent = false;
        } else if not_answered > self.not_answered {
            self.silent = true;
        }
        (self.answered, self.not_answered) = (answered, not_answered);
    }
}

impl Heart {
    /// One that beats as the config in force says.
    #[must_use]
    pub fn new(shared: Arc<Shared>, edges: InForce, metrics: Arc<Metrics>) -> Self {
        Self { shared, edges, metrics, prometheus: Answering::default(), said: None }
    }

    /// Beats until it is stopped. In a dry run it never does (design, R12).
    pub async fn run(mut self, stop: CancellationToken) {
        if self.shared.config().mode == Mode::DryRun {
            return stop.cancelled().await;
        }
        let began = clock::now();
        let mut since_last = None;
        loop {
            let edges = self.edges.get();
            if let Some(heartbeat) = &edges.settings().heartbeat {
                let is_due = since_last.is_none_or(|(last, wait): (tokio::time::Instant, Duration)| {
                    last.elapsed() >= wait.min(heartbeat.every)
                });
                if is_due {
                    let last = tokio::time::Instant::now();
                    let alive = Alive {
                        since: began,
                        lives_for: heartbeat.every * LIVES_FOR,
                        instance: edges.settings().instance(),
                    };
                    let beat = tokio::select! {
                        beat = self.beat(edges.as_ref(), heartbeat, &alive) => beat,
                        () = stop.cancelled() => return,
                    };
                    since_last = Some((last, if beat { heartbeat.every } else { heartbeat.every / LIVES_FOR }));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Tells every receiver, if there is something to tell. Whether all of them took it.
    async fn beat(&mut self, edges: &dyn Outside, heartbeat: &Heartbeat, alive: &Alive) -> bool {
        let unwell = self.unwell().await;
        self.say(unwell);
        if let Some(unwell) = unwell {
            self.metrics.heartbeat_withheld(unwell.word());
            return false;
        }
        let this = &*self;
        let pagers = join_all(heartbeat.pagers.iter().map(|name| async move {
            let told = edges.say_alive(name, alive, clock::now()).await;
            this.told(name.as_str(), told.map_err(|failure| failure.to_string()))
        }));
        let ping = async {
            match edges.ping() {
                Some(ping) => this.told(PING, ping.await),
                None => true,
            }
        };
        let (pagers, ping) = tokio::join!(pagers, ping);
        ping && pagers.into_iter().all(|told| told)
    }

    fn told(&self, receiver: &str, told: Result<(), String>) -> bool {
        match told {
            Ok(()) => self.metrics.heartbeat_sent(receiver, clock::now()),
            Err(why) => {
                self.metrics.heartbeat_failed(receiver);
                tracing::warn!(receiver, why, "the heartbeat was not taken");
                return false;
            }
        }
        true
    }

    fn say(&mut self, unwell: Option<Unwell>) {
        if unwell != self.said {
            match unwell {
                Some(why) => tracing::error!(%why, "no heartbeats until this is over"),
                None => tracing::info!("heartbeats go on"),
            }
            self.said = unwell;
        }
    }

    /// What keeps the daemon from its work now.
    async fn unwell(&mut self) -> Option<Unwell> {
        self.prometheus.note(self.metrics.queries_so_far());
        if let Some(stuck) = self.stuck().await {
            return Some(stuck);
        }
        if !self.shared.journal_writable() {
            return Some(Unwell::Journal);
        }
        let watching = self.shared.state().services.values().any(|own| own.watch.is_some());
        (watching && self.prometheus.silent).then_some(Unwell::Prometheus)
    }

    /// Waits until both loops have turned from now on: what they did earlier says nothing about now.
    async fn stuck(&self) -> Option<Unwell> {
        let turns = || [Turning::Supervisor, Turning::Looker].map(|of| self.metrics.turns(of));
        let before = turns();
        let until = tokio::time::Instant::now() + TURNS_WITHIN;
        loop {
            let now = turns();
            let stuck = match (now[0] > before[0], now[1] > before[1]) {
                (true, true) => return None,
                (false, _) => Unwell::Supervisor,
                (true, false) => Unwell::Looker,
            };
            if tokio::time::Instant::now() >= until {
                return Some(stuck);
            }
            tokio::time::sleep(TURNS_CHECK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_is_enough_and_no_question_changes_nothing() {
        let mut answering = Answering::default();
        let after = |answering: &mut Answering, counts| {
            answering.note(counts);
            answering.silent
        };
        assert!(!after(&mut answering, (0, 0)), "nothing was asked yet");
        assert!(after(&mut answering, (0, 1)));
        assert!(after(&mut answering, (0, 1)), "nothing was asked since");
        assert!(!after(&mut answering, (1, 5)), "one of five was answered");
        assert!(!after(&mut answering, (1, 5)));
        assert!(after(&mut answering, (1, 6)));
    }
}
