//! What a receipt tells of rehearsals: the one that its firing belongs to, and what they have shown of each path.

use serde::Serialize;

use super::facts::{AttemptFacts, Told};
use super::text::{LONGEST_LINE, line};
use crate::name::RehearsalId;
use crate::rehearsal::{Rehearsed, Rehearsing};
use crate::time::Timestamp;

/// What rehearsals have shown of a path.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RehearsedFacts {
    /// When the last one that it brought back had recovered.
    pub at: Timestamp,
    /// From observed to recovered, in seconds.
    pub seconds: f64,
    /// How many in a row went by the plan, each in less than five minutes.
    pub in_a_row: u32,
}

/// The rehearsal that a firing belongs to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RehearsalFacts {
    /// Its id.
    pub id: RehearsalId,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// Who watched.
    pub witness: Option<String>,
    /// What deployed the bad version on purpose.
    pub deployed_by: AttemptFacts,
}

impl Told<'_> {
    pub(super) fn rehearsal(&self, rehearsal: &Rehearsing) -> RehearsalFacts {
        RehearsalFacts {
            id: rehearsal.id.clone(),
            asked_at: rehearsal.asked_at,
            witness: rehearsal.witness.as_deref().map(|witness| line(witness, LONGEST_LINE)),
            deployed_by: AttemptFacts { rehearsed: None, ..self.attempt(&rehearsal.deployed_by) },
        }
    }
}

pub(super) fn rehearsed(known: &Rehearsed) -> RehearsedFacts {
    let seconds = known.last.took.map_or(0.0, |took| took.0.as_secs_f64());
    RehearsedFacts { at: known.at, seconds, in_a_row: known.in_a_row }
}
