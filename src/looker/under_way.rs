//! Looks that are under way, and the word that they are over.
//!
//! Never loses that word.

use std::sync::Arc;

use rollbackd_core::time::Timestamp;
use tokio::sync::mpsc;

use super::jobs::Key;
use super::look::Shares;

/// Says that looks have come to their end, however they do: a mistake in one must not keep a trigger from ever being
/// looked at again.
pub(super) struct UnderWay {
    pub(super) over: Over,
    pub(super) done: mpsc::UnboundedSender<Over>,
}

/// Looks that have come to their end, and what they shared.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) keys: Vec<Key>,
    pub(super) shared: Option<Arc<Shares>>,
    /// Where they are a piece of what is to be looked at: its last slot.
    pub(super) piece_until: Option<Timestamp>,
    /// Whether Prometheus gave no answer that says anything.
    pub(super) failed: bool,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let _ = self.done.send(std::mem::take(&mut self.over));
    }
}
