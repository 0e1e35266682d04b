//! What a pre-flight found, kept for the attempt that may follow at once: connections, and tokens that end.
//!
//! Never gives anything out that is older than [`KEPT`], and keeps nothing on disk. An attempt without a pre-flight finds
//! nothing here, and makes what it needs.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rollbackd_core::event::Order;
use rollbackd_core::name::{PathName, ServiceName};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::NotReady;
use crate::outside::Pending;

/// How long after a pre-flight an attempt may use what it found. The servers that close idle connections soonest and
/// not before this wait for five seconds (Apache `KeepAliveTimeout`, Node.js `server.keepAliveTimeout`): what is sent in
/// the very moment in which a connection is closed may or may not have arrived.
const KEPT: Duration = Duration::from_millis(4500);

/// What was found, by what it is.
#[derive(Default)]
pub struct Ready {
    keeps: bool,
    found: Mutex<HashMap<&'static str, Box<dyn Any + Send>>>,
}

impl Ready {
    /// For a pre-flight, to keep things in. The default holds nothing, and keeps nothing.
    pub(super) fn of_preflight() -> Self {
        Self { keeps: true, ..Self::default() }
    }

    /// Whether what is kept here is of use to anybody.
    pub(crate) const fn keeps(&self) -> bool {
        self.keeps
    }

    /// What was kept under this name.
    pub(crate) fn get<T: Clone + 'static>(&self, name: &'static str) -> Option<T> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).get(name)?.downcast_ref().cloned()
    }

    /// Keeps something under a name that is used for nothing else.
    pub(crate) fn keep<T: Clone + Send + 'static>(&self, name: &'static str, what: &T) {
        if self.keeps {
            self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(name, Box::new(what.clone()));
        }
    }
}

/// Of the secrets that may be in it, nothing is shown.
impl fmt::Debug for Ready {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Ready(..)")
    }
}

/// What pre-flights found, by the service and the path.
#[derive(Clone, Debug, Default)]
pub struct Shelf(Arc<Mutex<Kept>>);

/// Of which service and path.
type Which = (ServiceName, PathName);

type Kept = HashMap<Which, Entry>;

#[derive(Debug)]
enum Entry {
    /// It is being looked for.
    UnderWay(Arc<CancellationToken>),
    /// It was found, then.
    Found(Arc<Ready>, Instant),
}

/// A look that is under way. Dropped, it leaves nothing that it did not find.
struct Looking {
    shelf: Shelf,
    which: Which,
    /// An attempt of the path has begun.
    begun: Arc<CancellationToken>,
}

impl Shelf {
    /// Keeps what is found, unless an attempt of the path begins before that: it is not to be disturbed. `None` where
    /// the same is being looked for already, or was found just now: for another trigger of the service.
    pub(crate) fn fill<'a>(
        &self,
        order: &Order,
        look: impl Future<Output = Result<Ready, NotReady>> + Send + 'a,
    ) -> Option<Pending<'a, Result<(), NotReady>>> {
        let looking = self.begin(order)?;
        Some(Box::pin(async move {
            let found = tokio::select! {
                biased;
                () = looking.begun.cancelled() => return Err(overtaken()),
                found = look => found?,
            };
            looking.put(found)
        }))
    }

    fn begin(&self, order: &Order) -> Option<Looking> {
        let (which, begun) = (which(order), Arc::new(CancellationToken::new()));
        let mut kept = self.lock();
        match kept.get(&which) {
            Some(Entry::UnderWay(_)) => return None,
            Some(Entry::Found(_, at)) if at.elapsed() <= KEPT => return None,
            Some(Entry::Found(..)) | None => {}
        }
        kept.insert(which.clone(), Entry::UnderWay(Arc::clone(&begun)));
        Some(Looking { shelf: self.clone(), which, begun })
    }

    /// What is there, for one attempt; a look that is under way ends.
    pub(crate) fn take(&self, order: &Order) -> Option<Arc<Ready>> {
        match self.lock().remove(&which(order))? {
            Entry::Found(ready, at) => (at.elapsed() <= KEPT).then_some(ready),
            Entry::UnderWay(begun) => {
                begun.cancel();
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Looking {
    fn put(&self, ready: Ready) -> Result<(), NotReady> {
        let ready = Arc::new(ready);
        let mut kept = self.shelf.lock();
        if self.begun.is_cancelled() {
            return Err(overtaken());
        }
        kept.insert(self.which.clone(), Entry::Found(Arc::clone(&ready), Instant::now()));
        drop(kept);
        let (shelf, which) = (self.shelf.clone(), self.which.clone());
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            let mut kept = shelf.lock();
            if matches!(kept.get(&which), Some(Entry::Found(there, _)) if Arc::ptr_eq(there, &ready)) {
                kept.remove(&which);
            }
        });
        Ok(())
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        let mut kept = self.shelf.lock();
        if matches!(kept.get(&self.which), Some(Entry::UnderWay(begun)) if Arc::ptr_eq(begun, &self.begun)) {
            kept.remove(&self.which);
        }
    }
}

fn overtaken() -> NotReady {
    NotReady::Unseen("the path began to run meanwhile".to_owned())
}

fn which(order: &Order) -> Which {
    (order.service.clone(), order.path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::tests::order;

    fn with(what: &str) -> Ready {
        let ready = Ready::of_preflight();
        ready.keep("who", &what.to_owned());
        ready
    }

    async fn fills(shelf: &Shelf, what: &str) {
        shelf.fill(&order(), async { Ok(with(what)) }).unwrap().await.unwrap();
    }

    fn taken(shelf: &Shelf) -> Option<String> {
        shelf.take(&order())?.get("who")
    }

    #[tokio::test(start_paused = true)]
    async fn one_attempt_takes_what_is_there_and_the_next_one_finds_nothing() {
        let shelf = Shelf::default();
        fills(&shelf, "first").await;
        assert!(shelf.take(&Order { path: PathName::new("console").unwrap(), ..order() }).is_none());
        assert_eq!(taken(&shelf).as_deref(), Some("first"));
        assert_eq!(taken(&shelf), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_there_is_gone_after_its_time() {
        let shelf = Shelf::default();
        fills(&shelf, "first").await;
        tokio::time::sleep(KEPT + Duration::from_millis(1)).await;
        assert!(shelf.lock().is_empty());
        fills(&shelf, "second").await;
        assert_eq!(taken(&shelf).as_deref(), Some("second"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_looked_for_or_was_found_just_now_is_not_looked_for_again() {
        let shelf = Shelf::default();
        let order = order();
        let other = || async { Ok(with("other")) };
        let under_way = shelf.fill(&order, async { Ok(with("first")) }).unwrap();
        assert!(shelf.fill(&order, other()).is_none());
        under_way.await.unwrap();
        assert!(shelf.fill(&order, other()).is_none());
        assert_eq!(taken(&shelf).as_deref(), Some("first"));
        assert!(shelf.fill(&order, other()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_begins_before_ends_the_look() {
        let shelf = Shelf::default();
        let (order, hangs) = (order(), std::future::pending::<Result<Ready, NotReady>>());
        let look = shelf.fill(&order, hangs).unwrap();
        let (looked, found) = tokio::join!(look, async { shelf.take(&order) });
        assert!(matches!(looked, Err(NotReady::Unseen(_))) && found.is_none());
        // What comes to its end in the same moment is for nobody any more.
        let look = shelf.begin(&order).unwrap();
        assert!(shelf.take(&order).is_none());
        assert!(look.put(with("late")).is_err() && shelf.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_failed_or_was_given_up_leaves_nothing() {
        let shelf = Shelf::default();
        let failed = NotReady::Fails("the token has expired".to_owned());
        assert_eq!(shelf.fill(&order(), async { Err(failed.clone()) }).unwrap().await, Err(failed));
        assert!(shelf.lock().is_empty());
        drop(shelf.fill(&order(), std::future::pending()));
        assert!(shelf.lock().is_empty());
    }

    #[test]
    fn an_attempt_without_a_look_keeps_nothing() {
        let nothing = Ready::default();
        nothing.keep("who", &"it".to_owned());
        assert_eq!(nothing.get::<String>("who"), None);
    }

    #[test]
    fn no_secret_is_shown() {
        let shown = format!("{:?}", with("s3cret"));
        assert_eq!(shown, "Ready(..)");
    }
}
