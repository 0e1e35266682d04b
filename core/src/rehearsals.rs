//! Rehearsals: what is refused, what is looked at first, how the bad version is deployed, and that it never stays.
//!
//! Never rolls back by a way of its own: the bad version's deploy is watched as any other, a firing brings production
//! back, and the one firing that a rehearsal opens itself goes the way of all firings.

mod asking;
mod deploying;
mod ending;

pub(crate) use asking::{asked, checked, frozen, is_checking, stop_asked, unchecked};
pub(crate) use deploying::{
    appeared, attempt_ended, attempt_started, attempt_waits, is_own_run, keeps_report, told, woke,
};
pub(crate) use ending::{end_if_due, firing_ended, next_deadline, overtaken, rehearsing};

use crate::draft::Draft;
use crate::event::{Refusal, Reply};
use crate::record::{Record, RehearsalRecord};
use crate::rehearsal::{End, Rehearsal};

fn conflict(why: impl Into<String>) -> Reply {
    Reply::Refused(Refusal::Conflict(why.into()))
}

fn record(draft: &mut Draft<'_>, record: RehearsalRecord) {
    draft.record(Record::Rehearsal(record));
}

/// A copy of the rehearsal that is under way.
fn under_way(draft: &Draft<'_>) -> Option<Rehearsal> {
    draft.own().rehearsing().cloned()
}

/// Ends a rehearsal before anything was deployed: there is nothing to bring back, and no receipt.
fn call_off(draft: &mut Draft<'_>, why: impl Into<String>) {
    record(draft, RehearsalRecord::Ended { end: End::CalledOff { why: why.into() }, paths: Vec::new() });
}
