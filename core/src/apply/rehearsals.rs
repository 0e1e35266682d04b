//! What a record does to the rehearsal that is under way, and to what is remembered of its paths.

use crate::name::PathName;
use crate::record::RehearsalRecord;
use crate::rehearsal::{PathRun, Rehearsal, Rehearsed, Stage};
use crate::state::ServiceState;
use crate::time::Timestamp;

pub(super) fn apply_to_rehearsal(
    own: &mut ServiceState,
    at: Timestamp,
    record: &RehearsalRecord,
) -> Result<(), String> {
    if let RehearsalRecord::Asked { rehearsal } = record {
        own.ids += 1;
        own.rehearsal = Some(rehearsal.clone());
        return Ok(());
    }
    let rehearsal = own.rehearsal.as_mut().filter(|rehearsal| rehearsal.is_open());
    let rehearsal = rehearsal.ok_or("no rehearsal is under way")?;
    match record {
        RehearsalRecord::Asked { .. } => {}
        RehearsalRecord::Checked { trigger } => {
            rehearsal.checked.insert(trigger.clone());
        }
        RehearsalRecord::AttemptIntended { attempt } => {
            rehearsal.attempt = Some(attempt.as_ref().clone());
            rehearsal.stage = Stage::Deploying;
        }
        RehearsalRecord::AttemptStarted { .. } | RehearsalRecord::AttemptEnded { .. } => {
            return apply_to_attempt(rehearsal, at, record);
        }
        RehearsalRecord::AttemptWaits { why } => rehearsal.waits = Some(why.clone()),
        RehearsalRecord::Told { told } => rehearsal.told = told.clone(),
        RehearsalRecord::Reported { report } => rehearsal.reports.push(report.clone()),
        RehearsalRecord::Watching { until } => rehearsal.stage = Stage::Watching { until: *until },
        RehearsalRecord::StopAsked => rehearsal.stop_asked = true,
        RehearsalRecord::Ended { end, paths } => {
            rehearsal.stage = Stage::Ended { at, end: end.clone() };
            paths.iter().for_each(|(path, run)| remember(own, at, path, run));
        }
    }
    Ok(())
}

fn apply_to_attempt(rehearsal: &mut Rehearsal, at: Timestamp, record: &RehearsalRecord) -> Result<(), String> {
    let attempt = rehearsal.attempt.as_mut().ok_or("the rehearsal has no attempt")?;
    if let RehearsalRecord::AttemptStarted { handle } = record {
        attempt.handle = Some(handle.clone());
    }
    if let RehearsalRecord::AttemptEnded { outcome } = record {
        attempt.ended_at = Some(at);
        attempt.outcome = Some(outcome.clone());
        rehearsal.waits = None;
    }
    Ok(())
}

/// A run that was not clean begins a new row. Only one that brought production back was a rehearsal of its path.
fn remember(own: &mut ServiceState, at: Timestamp, path: &PathName, run: &PathRun) {
    match own.rehearsed.get_mut(path) {
        Some(known) => {
            known.in_a_row = if run.clean { known.in_a_row.saturating_add(1) } else { 0 };
            if run.took.is_some() {
                known.last = run.clone();
                known.at = at;
            }
        }
        None if run.took.is_some() => {
            let known = Rehearsed { last: run.clone(), at, in_a_row: u32::from(run.clean) };
            own.rehearsed.insert(path.clone(), known);
        }
        None => {}
    }
}
