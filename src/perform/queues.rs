//! Queues of what is on its way to a receiver: one for each key, worked off by one task, in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// The queues that are being worked off.
pub(super) struct Queues<K, T>(Arc<Mutex<BTreeMap<K, UnboundedSender<T>>>>);

impl<K, T> Clone for Queues<K, T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, T> Default for Queues<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord + Clone, T> Queues<K, T> {
    /// Puts something behind what came before it. Where nobody works at this key yet, that is what has to be worked off:
    /// by a task that ends only once [`Self::is_done`] has said so.
    #[must_use]
    pub(super) fn put(&self, key: &K, item: T) -> Option<UnboundedReceiver<T>> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let item = match queues.get(key) {
            Some(queue) => match queue.send(item) {
                Ok(()) => return None,
                Err(mpsc::error::SendError(item)) => item,
            },
            None => item,
        };
        let (queue, items) = mpsc::unbounded_channel();
        let _ = queue.send(item);
        queues.insert(key.clone(), queue);
        Some(items)
    }

    /// Whether nothing is left: then the queue is gone, and what comes later makes a new one.
    pub(super) fn is_done(&self, key: &K, items: &UnboundedReceiver<T>) -> bool {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_done = items.is_empty();
        if is_done {
            queues.remove(key);
        }
        is_done
    }
}
