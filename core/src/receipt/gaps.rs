//! What the firing showed to be missing, and what it leaves to a human.
//!
//! Never blames: a gap is a fact and the question that it raises.

use std::time::Duration;

use serde::Serialize;

use super::facts::{SideEffectFacts, Told, why_and_output};
use super::front::{FrontMatter, Kind};
use super::text::{Sentence, took};
use super::timeline::how_it_ended;
use super::{LONGEST_LIST, PathExperience};
use crate::deploy::Migration;
use crate::firing::{Attempt, FiringEnd, Origin, Outcome};

/// A recovery that takes longer is a gap worth fixing (design, "Receipt").
const SLOW: Duration = Duration::from_mins(15);

/// A recovery that takes less raises the question whether it is automated into the blast radius (design, "Receipt").
const FAST: Duration = Duration::from_mins(2);

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapKind {
    /// Production did not recover.
    NotRecovered,
    /// The budget was not met.
    OverBudget,
    /// A path did not do it, and the next one had to.
    PathFellThrough,
    /// A path was not even tried.
    PathPassedOver,
    /// It took more than 15 minutes.
    Slow,
    /// It took less than 2 minutes.
    Fast,
    /// What a rehearsal deployed was seen by no trigger.
    NoTriggerSaw,
    /// Git does not know what serves.
    GitNotUpdated,
    /// The path is no longer the one that was rehearsed.
    PathChanged,
    /// The path was never rehearsed.
    PathNeverRehearsed,
    /// There was no version to return to.
    NoTarget,
    /// The config names no query for the version that serves.
    NoVersionQuery,
    /// The config names no smoke URL.
    NoSmoke,
    /// The config says nothing of side effects.
    SideEffectsNotDeclared,
    /// A side effect could not be counted.
    SideEffectNotCounted,
    /// The trigger's series could not be read.
    NoSeries,
}

/// One gap.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gap {
    /// What is missing.
    pub gap: GapKind,
    /// In a sentence.
    pub text: Sentence,
}

fn gap(gap: GapKind, text: Sentence) -> Gap {
    Gap { gap, text }
}

pub(super) fn gaps(told: &Told<'_>, front: &FrontMatter, side_effects: Option<&[SideEffectFacts]>) -> Vec<Gap> {
    let mut gaps = of_the_outcome(told, front);
    gaps.extend(of_the_paths(told, front));
    gaps.extend(of_the_proof(told));
    gaps.extend(of_side_effects(side_effects));
    gaps.truncate(LONGEST_LIST);
    gaps
}

fn of_the_outcome(told: &Told<'_>, front: &FrontMatter) -> Vec<Gap> {
    let mut gaps = Vec::new();
    if told.result == FiringEnd::NotRecovered {
        let text = "Not recovered: production was not seen back when the receipt was closed.";
        gaps.push(gap(GapKind::NotRecovered, Sentence::new(text)));
    }
    if told.firing.target.is_none() && !told.firing.never_roll_back {
        let text = "There was no version to return to: none has passed its watch, and the deploy event named none.";
        gaps.push(gap(GapKind::NoTarget, Sentence::new(text)));
    }
    if told.firing.origin == Origin::Rehearsal {
        let text = "No trigger saw the bad version: a real one like it would have been noticed by users first.";
        gaps.push(gap(GapKind::NoTriggerSaw, Sentence::new(text)));
    }
    let (Some(total), false) = (front.total, front.kind == Kind::DryRun) else { return gaps };
    if let (Some(budget), Some(false)) = (front.budget, front.within_budget) {
        let text = format!("Over budget: {} of {}.", took(total), took(budget));
        gaps.push(gap(GapKind::OverBudget, Sentence::new(&text)));
    }
    if total > SLOW {
        let text = format!("Recovery took {}: more than 15 minutes is a gap worth fixing.", took(total));
        gaps.push(gap(GapKind::Slow, Sentence::new(&text)));
    } else if total < FAST {
        let text = format!(
            "Recovery took {}, less than 2 minutes: is this automated into the blast radius? \
             Make sure that what makes it fast can't do as much harm as a bad deploy.",
            took(total)
        );
        gaps.push(gap(GapKind::Fast, Sentence::new(&text)));
    }
    gaps
}

fn of_the_paths(told: &Told<'_>, front: &FrontMatter) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for attempt in told.firing.attempts.iter().filter(|attempt| fell(attempt)) {
        gaps.push(gap(GapKind::PathFellThrough, fell_through(attempt)));
    }
    for (path, why) in &told.firing.passed_over {
        let text = Sentence::new("Path ").quote(path).words(" was passed over: ").quote(why).words(".");
        gaps.push(gap(GapKind::PathPassedOver, text));
    }
    for (attempt, left) in left_behind(told) {
        let text = Sentence::new("Git was not updated by ").quote(&attempt.path).words(": ").quote(left).words(".");
        gaps.push(gap(GapKind::GitNotUpdated, text));
    }
    if let (Some(earlier), Kind::Incident | Kind::DryRun) = (&told.evidence.earlier, front.kind) {
        gaps.extend(of_rehearsals(told, earlier));
    }
    gaps
}

const fn fell(attempt: &Attempt) -> bool {
    !attempt.succeeded() && !matches!(attempt.outcome, Some(Outcome::NeverStarted))
}

fn fell_through(attempt: &Attempt) -> Sentence {
    let how = how_it_ended(attempt.outcome.as_ref());
    let text = Sentence::new("Path ").quote(&attempt.path).words(&format!(" fell through: {how}"));
    let lasted = attempt.ended_at.map(|at| format!(" after {}", took(at.since(attempt.started_at))));
    let text = text.words(&lasted.unwrap_or_default());
    match why_and_output(attempt.outcome.as_ref()).0 {
        Some(why) => text.words(" (").quote(why).words(")."),
        None => text.words("."),
    }
}

/// The attempts that did, or may have done, what leaves something to a human.
fn left_behind<'a>(told: &'a Told<'_>) -> Vec<(&'a Attempt, &'a str)> {
    let mut found: Vec<(&Attempt, &str)> = Vec::new();
    for attempt in told.firing.attempts.iter().filter(|attempt| may_have_worked(attempt)) {
        let left = told.rule(&attempt.path).and_then(|rule| rule.leaves_behind.as_deref());
        if let Some(left) = left.filter(|_| found.iter().all(|(earlier, _)| earlier.path != attempt.path)) {
            found.push((attempt, left));
        }
    }
    found
}

const fn may_have_worked(attempt: &Attempt) -> bool {
    match attempt.outcome {
        Some(Outcome::Succeeded { .. } | Outcome::TimedOut | Outcome::Unknown { .. }) | None => true,
        Some(Outcome::Failed { .. } | Outcome::Cancelled { .. } | Outcome::NeverStarted) => false,
    }
}

fn of_rehearsals(told: &Told<'_>, earlier: &[PathExperience]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut seen = Vec::new();
    for attempt in told.firing.attempts.iter().chain(&told.firing.would_run) {
        let path = &attempt.path;
        if seen.contains(&path) {
            continue;
        }
        seen.push(path);
        let known = earlier.iter().find(|each| &each.path == path);
        let now = told.rule(path).map(super::facts::definition);
        match known.and_then(|known| known.rehearsed_at.map(|at| (at, known.rehearsed_as.as_ref()))) {
            None => {
                let text = Sentence::new("Path ").quote(path).words(" was never rehearsed.");
                gaps.push(gap(GapKind::PathNeverRehearsed, text));
            }
            Some((at, Some(then))) if now.as_ref() != Some(then) => {
                let text = Sentence::new("Path ").quote(path);
                let text = text.words(&format!(" changed since its last rehearsal ({at}): rehearse it again."));
                gaps.push(gap(GapKind::PathChanged, text));
            }
            Some(_) => {}
        }
    }
    gaps
}

fn of_the_proof(told: &Told<'_>) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let proof_was_due = told.firing.was_attempted() || told.result == FiringEnd::Recovered;
    if proof_was_due && told.service.version_query.is_none() {
        let text = "No version_query: nothing shows that the target is what serves.";
        gaps.push(gap(GapKind::NoVersionQuery, Sentence::new(text)));
    }
    if proof_was_due && told.service.smoke.is_none() {
        let text = "No smoke URL: nothing shows that the service answers a user.";
        gaps.push(gap(GapKind::NoSmoke, Sentence::new(text)));
    }
    if told.firing.origin == Origin::Metric && !told.evidence.series.iter().any(|(_, value)| value.is_finite()) {
        let text = Sentence::new("The series of ").quote(&told.firing.trigger);
        let text = text.words(" could not be read for this receipt: the chart has no line.");
        gaps.push(gap(GapKind::NoSeries, text));
    }
    gaps
}

fn of_side_effects(side_effects: Option<&[SideEffectFacts]>) -> Vec<Gap> {
    let Some(side_effects) = side_effects else {
        let text = "Side effects are not declared: what the bad version did that no rollback undoes is not known. \
                    Declare them, or write ";
        let text = Sentence::new(text).quote("side_effects: none").words(" on purpose.");
        return vec![gap(GapKind::SideEffectsNotDeclared, text)];
    };
    let unknown = side_effects.iter().filter_map(|each| Some((each, each.why_unknown.as_ref()?)));
    let text = |(each, why): (&SideEffectFacts, &String)| {
        let text = Sentence::new("Side effect ").quote(&each.name).words(" could not be counted: ").quote(why);
        gap(GapKind::SideEffectNotCounted, text.words("."))
    };
    unknown.map(text).collect()
}

/// What a human must still do, most urgent first.
pub(super) fn to_do(told: &Told<'_>, side_effects: Option<&[SideEffectFacts]>) -> Vec<Sentence> {
    let mut to_do = about_production(told);
    if !told.firing.dry_run {
        let doubtful = told
            .firing
            .attempts
            .iter()
            .filter(|attempt| matches!(attempt.outcome, Some(Outcome::Unknown { .. } | Outcome::TimedOut) | None));
        to_do.extend(doubtful.map(|attempt| {
            let text = Sentence::new("Look up what became of ").quote(&attempt.path).words(", attempt ");
            text.quote(&attempt.id).words(": it may still be running or have worked.")
        }));
    }
    for (attempt, left) in left_behind(told) {
        to_do.push(Sentence::new("After ").quote(&attempt.path).words(": ").quote(left).words("."));
    }
    for each in side_effects.unwrap_or_default().iter().filter(|each| each.needs_a_human()) {
        let count = each.shown();
        to_do.push(Sentence::default().quote(&each.name).words(&format!(" ({count}): ")).quote(&each.compensate));
    }
    to_do.extend(about_the_version(told));
    to_do.truncate(LONGEST_LIST);
    to_do
}

fn about_production(told: &Told<'_>) -> Vec<Sentence> {
    let firing = told.firing;
    let mut to_do = Vec::new();
    match told.result {
        FiringEnd::NotRecovered => {
            let text = Sentence::new("Bring ").quote(&told.service.name);
            to_do.push(text.words(" back by hand: it has not been seen to recover."));
        }
        FiringEnd::Paged if !firing.dry_run => {
            let text = Sentence::new("Decide about ").quote(&told.service.name);
            to_do.push(text.words(": nothing was rolled back."));
        }
        FiringEnd::Paged | FiringEnd::Recovered | FiringEnd::Dismissed => {}
    }
    let note = told.service.trigger(&firing.trigger).and_then(|trigger| trigger.note.as_deref());
    if let (Some(note), true) = (note, told.result != FiringEnd::Dismissed) {
        to_do.push(Sentence::new("The trigger's note says: ").quote(note));
    }
    if firing.deploy.as_ref().is_some_and(|deploy| deploy.migration == Migration::Breaking) {
        to_do.push(Sentence::new("The deploy migrated data: follow the migration plan before code goes back."));
    }
    to_do
}

fn about_the_version(told: &Told<'_>) -> Option<Sentence> {
    let rehearsal = told.kind() == Kind::Rehearsal;
    let deploy = told.firing.deploy.as_ref().filter(|_| !rehearsal && told.result != FiringEnd::Dismissed)?;
    let text = Sentence::new("Find out why ").quote(&deploy.version);
    let text = match told.firing.origin {
        Origin::Metric | Origin::Report => text.words(" set off ").quote(&told.firing.trigger),
        Origin::Human | Origin::Rehearsal => text.words(" had to be rolled back"),
    };
    Some(text.words(" before that change is deployed again."))
}
