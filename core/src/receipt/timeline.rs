//! Where the time went: the clock from observed to recovered, cut at what happened in between.
//!
//! Never loses or doubles a millisecond of the clock: its phases follow each other without gap or overlap.

use std::time::Duration;

use serde::Serialize;

use super::text::Sentence;
use crate::firing::{Firing, FiringEnd, Outcome};
use crate::name::Version;
use crate::time::Timestamp;

/// One step: from when to when, and its share of the clock.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Phase {
    /// What went on.
    pub step: Sentence,
    /// Since then.
    pub from: Timestamp,
    /// Until then.
    pub until: Timestamp,
    /// How long, in seconds.
    pub seconds: f64,
    /// Its share of the clock, in percent with one decimal; `None` before the clock starts. All shares make 100.
    pub share_percent: Option<f64>,
}

impl Phase {
    /// How long it took.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.until.since(self.from)
    }
}

/// All steps of a firing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timeline {
    /// In the order of time, from the deploy on.
    pub phases: Vec<Phase>,
    /// The index of the phase with the largest share; `None` where the clock did not run.
    pub dominant: Option<usize>,
}

/// An instant, and the step that ends there.
struct Cut {
    at: Timestamp,
    step: Sentence,
}

/// The timeline of a firing whose clock stopped, or that ended, at `end`.
pub(super) fn timeline(firing: &Firing, result: FiringEnd, end: Timestamp) -> Timeline {
    let start = firing.deploy.as_ref().map_or(firing.breach_at, |deploy| deploy.at.min(firing.breach_at));
    let before = [
        Cut { at: firing.breach_at, step: Sentence::new("Serving, no breach yet") },
        Cut { at: firing.observed_at, step: Sentence::new("Breaching, not yet for long enough to fire") },
    ];
    let mut cuts = cuts(firing, end);
    cuts.push(Cut { at: end, step: last_step(firing, result) });

    let mut phases = phases_between(start, firing.observed_at, before);
    let mut clock = phases_between(firing.observed_at, end, cuts);
    let dominant = share_out(&mut clock).map(|index| phases.len() + index);
    phases.append(&mut clock);
    Timeline { phases, dominant }
}

/// What cuts the clock, in the order in which one thing causes the next.
fn cuts(firing: &Firing, end: Timestamp) -> Vec<Cut> {
    let mut cuts = vec![Cut { at: firing.decided_at, step: Sentence::new("Deciding what to do") }];
    for attempt in &firing.attempts {
        let how = how_it_ended(attempt.outcome.as_ref());
        let path = || Sentence::default().quote(&attempt.path);
        cuts.push(Cut { at: attempt.started_at, step: Sentence::new("Waiting to start ").then(path()) });
        let until = attempt.ended_at.unwrap_or(end);
        cuts.push(Cut { at: until, step: Sentence::new("Running ").then(path()).words(&format!(" ({how})")) });
    }
    cuts.extend(proofs(firing));
    cuts
}

/// What was to serve: the target, or what a pipeline made of a revert to it.
pub(super) fn serves(target: Option<&Version>, built: Option<&Version>) -> Sentence {
    let target = target.map_or("the target", |target| target.as_str());
    let sentence = Sentence::default().quote(target);
    match built {
        Some(built) => sentence.words(" (or ").quote(built).words(", the build of its revert)"),
        None => sentence,
    }
}

/// What was seen of the recovery, in the order of time. What was seen while a path still ran takes no time of its own.
fn proofs(firing: &Firing) -> Vec<Cut> {
    let until = |at: Timestamp, what: Sentence| Cut { at, step: Sentence::new("Waiting until ").then(what) };
    let target = firing.target.as_ref().map(|target| &target.version);
    let served = || serves(target, firing.built.as_ref()).words(" was seen serving");
    let mut proofs = Vec::new();
    proofs.extend(firing.proof.serving_at.map(|at| until(at, served())));
    proofs.extend(firing.proof.smoke_at.map(|at| until(at, Sentence::new("the smoke URL answered 2xx"))));
    let clear = firing.proof.clear_at.iter();
    proofs.extend(clear.map(|(trigger, at)| until(*at, Sentence::default().quote(trigger).words(" was clear"))));
    proofs.sort_by_key(|cut| cut.at);
    proofs
}

/// How an attempt ended, in a word or two.
pub(super) const fn how_it_ended(outcome: Option<&Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Succeeded { .. }) => "succeeded",
        Some(Outcome::Failed { .. }) => "failed",
        Some(Outcome::TimedOut) => "timed out",
        Some(Outcome::Cancelled { .. }) => "cancelled",
        Some(Outcome::Unknown { .. }) => "outcome unknown",
        Some(Outcome::NeverStarted) => "never started",
        None => "not seen to end",
    }
}

fn last_step(firing: &Firing, result: FiringEnd) -> Sentence {
    Sentence::new(match result {
        FiringEnd::Recovered if firing.dry_run => "Waiting until production was back without us",
        FiringEnd::Recovered => "Making sure",
        FiringEnd::Paged => "Waiting for a human",
        FiringEnd::Dismissed => "Waiting until a human dismissed it",
        FiringEnd::NotRecovered => "Waiting for a recovery that did not come",
    })
}

/// The steps from `start` to `end`; what ends outside is clamped, and what took no time is left out.
fn phases_between(start: Timestamp, end: Timestamp, cuts: impl IntoIterator<Item = Cut>) -> Vec<Phase> {
    let mut from = start;
    let mut phases = Vec::new();
    for Cut { at, step } in cuts {
        let until = at.min(end);
        if until > from {
            let seconds = until.since(from).as_secs_f64();
            phases.push(Phase { step, from, until, seconds, share_percent: None });
            from = until;
        }
    }
    phases
}

/// Gives each phase its share in tenths of a percent, the remainders to the largest, so that they make 100 exactly.
/// The answer is the index of the longest phase.
fn share_out(phases: &mut [Phase]) -> Option<usize> {
    const WHOLE: u128 = 1000;
    let total: u128 = phases.iter().map(|phase| phase.took().as_millis()).sum();
    if total == 0 {
        return None;
    }
    let scaled: Vec<u128> = phases.iter().map(|phase| phase.took().as_millis() * WHOLE).collect();
    let mut tenths: Vec<u128> = scaled.iter().map(|scaled| scaled / total).collect();
    let mut by_remainder: Vec<usize> = (0..phases.len()).collect();
    by_remainder.sort_by_key(|index| std::cmp::Reverse(scaled[*index] % total));
    let missing = usize::try_from(WHOLE - tenths.iter().sum::<u128>()).unwrap_or(0);
    for index in by_remainder.into_iter().take(missing) {
        tenths[index] += 1;
    }
    for (phase, tenths) in phases.iter_mut().zip(tenths) {
        phase.share_percent = u32::try_from(tenths).ok().map(|tenths| f64::from(tenths) / 10.0);
    }
    (0..phases.len()).max_by_key(|index| (scaled[*index], std::cmp::Reverse(*index)))
}
