//! Events that are decided one after the other, each on what those before it changed, to become durable together.
//!
//! Never writes and never applies.

use std::sync::Arc;

use rollbackd_core::config::Config;
use rollbackd_core::name::ServiceName;
use rollbackd_core::record::Record;
use rollbackd_core::time::Timestamp;
use rollbackd_core::{Ahead, Decision};

use crate::door::{Asked, Shared, Waiting};
use crate::journal::{self, Part};

/// Events that were decided one after the other and become durable together.
pub(super) struct Batch {
    pub(super) config: Arc<Config>,
    pub(super) ahead: Ahead,
    pub(super) parts: Vec<Part>,
    pub(super) decided: Vec<Decided>,
}

impl Batch {
    pub(super) fn begin(shared: &Shared) -> Self {
        let ahead = Ahead::of(&shared.state());
        Self { config: shared.config(), ahead, parts: Vec::new(), decided: Vec::new() }
    }
}

/// A decision whose records no journal takes, and who waits for it.
pub(super) struct Unwritable {
    pub(super) waiting: Option<Waiting>,
    pub(super) error: journal::Error,
}

/// One event of a batch, and what follows from it.
pub(super) struct Decided {
    pub(super) asked: Asked,
    pub(super) now: Timestamp,
    pub(super) decision: Decision,
}

/// The records as the journal takes them.
///
/// # Errors
/// One of them is too large, or is no JSON.
pub(super) fn part(
    service: &ServiceName,
    expected_seq: u64,
    at: Timestamp,
    records: &[Record],
) -> Result<Part, journal::Error> {
    let bodies = records.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
    let bodies =
        bodies.map_err(|error| journal::Error::NotBegun(format!("a record can't be written as JSON: {error}")))?;
    let part = Part { service: service.to_string(), expected_seq, at, bodies };
    part.check()?;
    Ok(part)
}
