//! The door between those who bring events or want to see the state, and the supervisor who owns it.
//!
//! Holds no decision: an event goes in, a reply comes back; views are read from what the supervisor last applied.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rollbackd_core::board::Board;
use rollbackd_core::config::Config;
use rollbackd_core::event::{Event, Reply};
use rollbackd_core::state::State;
use tokio::sync::{mpsc, oneshot};

/// Events that wait for the supervisor; more than this, and whoever brings one waits as well.
pub const QUEUED_EVENTS: usize = 4096;

/// The same of looks, each with what its queries came back with: whoever brings ten thousand keeps them until it is their turn.
pub const QUEUED_LOOKS: usize = 512;

/// An event, and where its reply goes.
#[derive(Debug)]
pub struct Asked {
    /// The event.
    pub event: Event,
    /// Where the reply goes; nobody may be waiting for it.
    pub reply: Option<Waiting>,
}

/// Who waits for a reply.
pub type Waiting = oneshot::Sender<Result<Reply, NotDone>>;

/// Why an event was not taken at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// Nothing can be made durable, so nothing new is begun (design, R2).
    #[error("the journal can't be written ({0}); nothing new is begun until it can")]
    JournalNotWritable(String),
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

/// What everybody may see.
#[derive(Debug, Default)]
pub struct Shared {
    state: RwLock<State>,
    board: RwLock<Board>,
    config: RwLock<Arc<Config>>,
    journal_writable: AtomicBool,
    replayed: AtomicBool,
}

impl Shared {
    /// The state as it was last applied.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, for the supervisor alone.
    pub fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last look at each trigger showed.
    pub fn board(&self) -> RwLockReadGuard<'_, Board> {
        self.board.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The board, for the supervisor alone.
    pub fn board_mut(&self) -> RwLockWriteGuard<'_, Board> {
        self.board.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The config that is in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a new config in force.
    pub fn set_config(&self, config: Arc<Config>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Whether the last write to the journal succeeded.
    #[must_use]
    pub fn journal_writable(&self) -> bool {
        self.journal_writable.load(Ordering::Relaxed)
    }

    /// Notes whether the last write to the journal succeeded.
    pub fn set_journal_writable(&self, writable: bool) {
        self.journal_writable.store(writable, Ordering::Relaxed);
    }

    /// Whether the journal was replayed and the config loaded.
    #[must_use]
    pub fn replayed(&self) -> bool {
        self.replayed.load(Ordering::Relaxed)
    }

    /// Notes that the journal was replayed and the config loaded.
    pub fn set_replayed(&self) {
        self.replayed.store(true, Ordering::Relaxed);
    }
}

/// The door: brings events in, shows the state.
#[derive(Clone, Debug)]
pub struct Door {
    events: mpsc::Sender<Asked>,
    /// What everybody may see.
    pub shared: Arc<Shared>,
}

impl Door {
    /// A door in front of whoever receives these events.
    #[must_use]
    pub const fn new(events: mpsc::Sender<Asked>, shared: Arc<Shared>) -> Self {
        Self { events, shared }
    }

    /// Brings an event and waits for the reply.
    ///
    /// # Errors
    /// Nothing can be made durable, or the daemon is stopping.
    pub async fn ask(&self, event: Event) -> Result<Reply, NotDone> {
        let (reply, answer) = oneshot::channel();
        self.events.send(Asked { event, reply: Some(reply) }).await.map_err(|_| NotDone::Stopping)?;
        answer.await.map_err(|_| NotDone::Stopping)?
    }

    /// Brings an event that nobody waits for.
    ///
    /// # Errors
    /// The daemon is stopping.
    pub async fn tell(&self, event: Event) -> Result<(), NotDone> {
        self.events.send(Asked { event, reply: None }).await.map_err(|_| NotDone::Stopping)
    }
}
