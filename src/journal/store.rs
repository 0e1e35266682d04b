//! The seam behind which records are made durable: the journal's file here, another store later, a simulated disk in
//! the simulation.

use rollbackd_core::time::Timestamp;

use super::{Body, Error, Journal, Part};
use crate::outside::Pending;

/// Where records are made durable.
pub trait Store: Send {
    /// Appends records to several services, all or none; durable when it returns. See [`Journal::append_all`].
    fn append(&mut self, parts: Vec<Part>) -> Pending<'_, Result<(), Error>>;

    /// Replaces all records by a snapshot that stands for them. See [`Journal::compact`].
    fn compact(&mut self, at: Timestamp, body: Box<dyn Body>) -> Pending<'_, Result<(), Error>>;

    /// Whether the journal can be written again after it could not. See [`Journal::probe`].
    fn probe(&mut self) -> Pending<'_, Result<(), Error>>;

    /// How many records there are after the snapshot.
    fn records_since_snapshot(&self) -> u64;

    /// Whether it was lost in a failed write, and does not come back before the next start.
    fn is_lost(&self) -> bool;
}

/// The journal's file, written off the async threads: an fsync may stall for half a second.
#[derive(Debug)]
pub struct OffThread(Option<Journal>);

impl OffThread {
    /// This journal.
    #[must_use]
    pub const fn new(journal: Journal) -> Self {
        Self(Some(journal))
    }

    async fn run<T: Send + 'static>(
        &mut self,
        act: impl FnOnce(&mut Journal) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let Some(mut journal) = self.0.take() else {
            return Err(Error::NotBegun("it was lost in an earlier failure".to_owned()));
        };
        let joined = tokio::task::spawn_blocking(move || {
            let result = act(&mut journal);
            (journal, result)
        });
        let (journal, result) =
            joined.await.map_err(|error| Error::NotBegun(format!("the write was not finished: {error}")))?;
        self.0 = Some(journal);
        result
    }
}

impl Store for OffThread {
    fn append(&mut self, parts: Vec<Part>) -> Pending<'_, Result<(), Error>> {
        Box::pin(self.run(move |journal| journal.append_all(&parts)))
    }

    fn compact(&mut self, at: Timestamp, body: Box<dyn Body>) -> Pending<'_, Result<(), Error>> {
        Box::pin(self.run(move |journal| journal.compact(at, &*body)))
    }

    fn probe(&mut self) -> Pending<'_, Result<(), Error>> {
        Box::pin(self.run(Journal::probe))
    }

    fn records_since_snapshot(&self) -> u64 {
        self.0.as_ref().map_or(0, Journal::records_since_snapshot)
    }

    fn is_lost(&self) -> bool {
        self.0.is_none()
    }
}
