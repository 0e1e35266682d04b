//! The state and the journal: what its records add up to, and when a snapshot takes their place.
//!
//! Never takes a part of the records for all of them.

use std::io;
use std::sync::Arc;

use rollbackd_core::apply::apply;
use rollbackd_core::name::ServiceName;
use rollbackd_core::record::Record;
use rollbackd_core::state::State;

use crate::door::Shared;
use crate::journal::{self, Body};

/// So many records after the last snapshot at least, what ended is compacted.
const RECORDS_BETWEEN_SNAPSHOTS: u64 = 5_000;

/// And so many for each service: a snapshot is as large as there are services, and is written as a whole.
const RECORDS_OF_A_SERVICE: u64 = 4;

/// The state as a snapshot has it. Nobody changes it while it is written: who would, waits for that.
pub(super) struct StateOf(pub(super) Arc<Shared>);

impl Body for StateOf {
    fn write_to(&self, to: &mut dyn io::Write) -> io::Result<()> {
        Ok(serde_json::to_writer(to, &*self.0.state())?)
    }
}

/// Whether a snapshot is to take the place of the records since the last one.
#[must_use]
pub fn is_to_be_compacted(records: u64, state: &State) -> bool {
    let services = u64::try_from(state.services.len()).unwrap_or(u64::MAX);
    records >= RECORDS_BETWEEN_SNAPSHOTS.max(services.saturating_mul(RECORDS_OF_A_SERVICE))
}

/// The state that a journal's records add up to.
///
/// # Errors
/// A record is none of ours, or does not fit those before it. Which.
pub fn replay(replay: &journal::Replay) -> Result<State, String> {
    let mut state = match &replay.snapshot {
        Some(snapshot) => serde_json::from_str(&snapshot.body)
            .map_err(|error| format!("the snapshot at record {} can't be read: {error}", snapshot.id))?,
        None => State::default(),
    };
    for stored in &replay.records {
        let which = || format!("record {} ({} {})", stored.id, stored.service, stored.seq);
        let record: Record =
            serde_json::from_str(&stored.body).map_err(|error| format!("{} can't be read: {error}", which()))?;
        let service = ServiceName::new(stored.service.clone()).map_err(|error| format!("{}: {error}", which()))?;
        apply(&mut state, &service, stored.at, &record).map_err(|illegal| format!("{}: {illegal}", which()))?;
    }
    Ok(state)
}
