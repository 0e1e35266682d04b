//! The open connections, and which of them is let go when there is no room for another.
//!
//! Never lets go of one whose request is being worked on: only of one that waits for its client, the longest first.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use futures_util::{StreamExt as _, stream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// All connections that wait for their clients: for a request, for the rest of one, or for an answer to be read.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowd {
    waiting: Arc<Mutex<Waiting>>,
    /// Told when a connection begins to wait.
    begins_to_wait: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Waiting {
    next_place: u64,
    /// The one that waits longest comes first.
    by_place: BTreeMap<u64, CancellationToken>,
}

impl Crowd {
    /// A new connection, which waits for its first request.
    pub(super) fn join(&self) -> Guest {
        let guest = Guest { crowd: self.clone(), let_go: CancellationToken::new(), place: Mutex::new(None) };
        guest.waits();
        guest
    }

    /// Lets go of the connection that waits longest; of the first that begins to, where none does.
    pub(super) async fn let_one_go(&self) {
        loop {
            let longest = self.lock().by_place.pop_first();
            if let Some((_, let_go)) = longest {
                let_go.cancel();
                return;
            }
            // Keeps a word that came between the look and here.
            self.begins_to_wait.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Guest {
    crowd: Crowd,
    let_go: CancellationToken,
    place: Mutex<Option<u64>>,
}

impl Guest {
    /// It is the client's turn, from now on.
    pub(super) fn waits(&self) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = self.crowd.lock();
        // One that was let go meanwhile stays so.
        if place.is_some_and(|place| waiting.by_place.remove(&place).is_none()) {
            return;
        }
        let next = waiting.next_place;
        waiting.next_place += 1;
        waiting.by_place.insert(next, self.let_go.clone());
        *place = Some(next);
        drop(waiting);
        self.crowd.begins_to_wait.notify_one();
    }

    /// It is our turn: the request is there. False where the connection was let go before it was.
    fn works(&self) -> bool {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = place.is_none_or(|place| self.crowd.lock().by_place.remove(&place).is_some());
        if kept {
            *place = None;
        }
        kept
    }

    /// Ready when it was let go.
    pub(super) async fn let_go(&self) {
        self.let_go.cancelled().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let place = self.place.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = place {
            self.crowd.lock().by_place.remove(place);
        }
    }
}

/// A request's body on its way: when its end has come, it is our turn.
pub(super) fn arriving<B>(body: B, guest: Arc<Guest>) -> Body
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    if body.is_end_stream() && guest.works() {
        return Body::empty();
    }
    let end = async move {
        if !guest.works() {
            // The connection is about to be dropped, and the request with it: nothing of it may begin.
            pending::<()>().await;
        }
        Ok(Bytes::new())
    };
    Body::from_stream(Body::new(body).into_data_stream().chain(stream::once(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_let_go(guest: &Guest) -> bool {
        tokio::time::timeout(std::time::Duration::ZERO, guest.let_go()).await.is_ok()
    }

    #[tokio::test]
    async fn the_connection_that_waits_longest_is_let_go_and_none_that_works() {
        let crowd = Crowd::default();
        let [first, second, third] = [crowd.join(), crowd.join(), crowd.join()];
        assert!(first.works());
        // The second has been answered once, so that the third waits longer.
        assert!(second.works());
        second.waits();
        crowd.let_one_go().await;
        assert_eq!([is_let_go(&first).await, is_let_go(&second).await, is_let_go(&third).await], [false, false, true]);
        assert!(!third.works(), "what comes too late does not begin");
        drop(second);
        // Nobody waits: it is the first one as soon as it does.
        let mut one_more = std::pin::pin!(crowd.let_one_go());
        assert!(tokio::time::timeout(std::time::Duration::ZERO, &mut one_more).await.is_err());
        first.waits();
        one_more.await;
        assert!(is_let_go(&first).await);
    }
}
