//! From a firing, its service's plan and the evidence to the facts of a receipt: chosen, cleaned and bounded.
//!
//! Never decides anything: what it can't find in its input it leaves out or calls unknown.

use std::time::Duration;

use serde::Serialize;

use super::front::{FrontMatter, Kind};
use super::on_purpose::{RehearsedFacts, rehearsed};
use super::text::{LONGEST_LINE, Sentence, block, line, took};
use super::timeline::how_it_ended;
use super::{Evidence, LONGEST_LIST, Receipt, gaps, picture, timeline};
use crate::config::{PathRule, Service};
use crate::firing::{Attempt, Firing, FiringEnd, Origin, Outcome, Step};
use crate::name::{AttemptId, PathName, TriggerName, Version};
use crate::time::Timestamp;

/// One attempt, or what would have been one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttemptFacts {
    /// Its id.
    pub id: AttemptId,
    /// The path.
    pub path: PathName,
    /// What the path is defined as: its kind, then each part as the config writes it. By this it is found out whether a
    /// path changed since its last rehearsal. Empty where the config has no such path any more.
    pub definition: Vec<String>,
    /// What was run, in one line.
    pub command: String,
    /// When it was intended.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How long it took, in seconds.
    pub seconds: Option<f64>,
    /// How it ended, in a word or two; `would have run` in a dry run.
    pub result: &'static str,
    /// Why it ended so.
    pub why: Option<String>,
    /// What stands for the revert.
    pub receipt: Option<String>,
    /// What it could be found by at the remote.
    pub handle: Option<String>,
    /// The end of what it printed.
    pub output: Option<String>,
    /// What rehearsals have shown of the path by then; of a rehearsal, itself counted in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rehearsed: Option<RehearsedFacts>,
}

/// From when to when production was bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BadWindow {
    /// The deploy; the breach, where no deploy is known.
    pub from: Timestamp,
    /// The recovery; the end of the firing, where there was none.
    pub until: Timestamp,
}

/// What proved the recovery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProofFacts {
    /// When the target was first seen serving.
    pub serving_at: Option<Timestamp>,
    /// The version that a pipeline made of a revert, and that counts as the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub built: Option<Version>,
    /// When the smoke URL first answered 2xx.
    pub smoke_at: Option<Timestamp>,
    /// When each trigger was first clear again.
    pub clear_at: Vec<(TriggerName, Timestamp)>,
}

/// One side effect, counted in the bad window.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SideEffectFacts {
    /// Its name.
    pub name: String,
    /// How often it happened; `None` where that is not known.
    pub count: Option<f64>,
    /// Why it is not known.
    pub why_unknown: Option<String>,
    /// What a human does about it.
    pub compensate: String,
}

impl SideEffectFacts {
    /// Whether something is to be made good, or may be.
    #[must_use]
    pub fn needs_a_human(&self) -> bool {
        self.count.is_none_or(|count| count > 0.0)
    }

    /// The count for people. Prometheus' `increase` estimates, so what is no whole number is shown as an estimate.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.count {
            None => "not known".to_owned(),
            Some(count) if (count - count.round()).abs() < 0.05 => format!("{count:.0}"),
            Some(count) => format!("about {count:.1}"),
        }
    }
}

/// A firing that has ended, and all that is known besides.
pub(super) struct Told<'a> {
    pub(super) firing: &'a Firing,
    pub(super) service: &'a Service,
    pub(super) evidence: &'a Evidence,
    pub(super) result: FiringEnd,
    pub(super) ended_at: Timestamp,
    pub(super) number: u64,
}

impl Told<'_> {
    pub(super) fn receipt(&self) -> Receipt {
        let front = self.front();
        let side_effects = self.side_effects();
        let firing = self.firing;
        Receipt {
            firing: firing.id.clone(),
            deploy: firing.deploy.as_ref().map(|deploy| deploy.id.clone()),
            origin: firing.origin,
            rehearsal: firing.rehearsal.as_ref().map(|rehearsal| self.rehearsal(rehearsal)),
            note: firing.note.as_deref().map(|note| line(note, LONGEST_LINE)),
            value: firing.value.filter(|value| value.is_finite()),
            limit: self.limit(),
            unit: picture::unit(self),
            budget_seconds: front.budget.map(|budget| budget.as_secs_f64()),
            total_seconds: front.total.map(|total| total.as_secs_f64()),
            ended_at: self.ended_at,
            summary: self.summary(&front),
            timeline: timeline::timeline(firing, self.result, self.until()),
            story: story(firing),
            proof: self.proof(),
            joined: firing.joined.iter().take(LONGEST_LIST).cloned().collect(),
            attempts: self.attempts(&firing.attempts),
            would_run: self.attempts(&firing.would_run),
            beside: super::beside::beside(self),
            passed_over: self.passed_over(),
            bad_window: BadWindow { from: self.bad_since(), until: self.until().max(self.bad_since()) },
            gaps: gaps::gaps(self, &front, side_effects.as_deref()),
            to_do: gaps::to_do(self, side_effects.as_deref()),
            chart: picture::chart(self, &front),
            side_effects,
            front,
        }
    }

    /// The attempt that the front matter names: the last that succeeded, else the last of all.
    pub(super) fn told_attempt(&self) -> Option<&Attempt> {
        let attempts = &self.firing.attempts;
        attempts.iter().rev().find(|attempt| attempt.succeeded()).or_else(|| attempts.last())
    }

    pub(super) fn rule(&self, path: &PathName) -> Option<&PathRule> {
        self.service.path(path)
    }

    pub(super) fn limit(&self) -> Option<f64> {
        self.evidence.limit.or(self.firing.limit).filter(|limit| limit.is_finite())
    }

    /// Why the machinery ran.
    pub(super) fn kind(&self) -> Kind {
        match &self.firing.rehearsal {
            _ if self.firing.dry_run => Kind::DryRun,
            Some(_) => Kind::Rehearsal,
            None => self.evidence.kind,
        }
    }

    /// When the clock stopped: at the recovery, else when the firing ended.
    pub(super) fn until(&self) -> Timestamp {
        self.firing.recovered_at.unwrap_or(self.ended_at)
    }

    pub(super) fn bad_since(&self) -> Timestamp {
        self.firing.deploy.as_ref().map_or(self.firing.breach_at, |deploy| deploy.at)
    }

    fn front(&self) -> FrontMatter {
        let firing = self.firing;
        let deploy = firing.deploy.as_ref();
        let attempt = self.told_attempt();
        let path = attempt.or_else(|| firing.would_run.first()).map(|attempt| attempt.path.clone());
        let total = firing.recovered_at.map(|at| at.since(firing.observed_at));
        FrontMatter {
            number: self.number,
            kind: self.kind(),
            service: self.service.name.clone(),
            version: deploy.map(|deploy| deploy.version.clone()),
            commit: deploy.and_then(|deploy| deploy.commit.clone()),
            target: firing.target.as_ref().map(|target| target.version.clone()),
            trigger: firing.trigger.clone(),
            budget: firing.budget,
            deployed_at: deploy.map(|deploy| deploy.at),
            breach_at: firing.breach_at,
            observed_at: firing.observed_at,
            decided_at: firing.decided_at,
            path_started_at: attempt.map(|attempt| attempt.started_at),
            path_finished_at: attempt.and_then(|attempt| attempt.ended_at),
            recovered_at: firing.recovered_at,
            total,
            within_budget: within_budget(total, firing.budget, self.result),
            path,
            receipt: attempt.and_then(revert),
            outcome: self.result,
            previous_sha256: self.evidence.previous_sha256.as_deref().map(|hash| line(hash, LONGEST_LINE)),
        }
    }

    fn attempts(&self, attempts: &[Attempt]) -> Vec<AttemptFacts> {
        attempts.iter().take(LONGEST_LIST).map(|attempt| self.attempt(attempt)).collect()
    }

    pub(super) fn attempt(&self, attempt: &Attempt) -> AttemptFacts {
        let (why, output) = why_and_output(attempt.outcome.as_ref());
        AttemptFacts {
            id: attempt.id.clone(),
            path: attempt.path.clone(),
            definition: self.rule(&attempt.path).map(definition).unwrap_or_default(),
            command: block(&attempt.shown),
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            seconds: attempt.ended_at.map(|at| at.since(attempt.started_at).as_secs_f64()),
            result: if self.firing.dry_run { "would have run" } else { how_it_ended(attempt.outcome.as_ref()) },
            why: why.map(|why| line(why, LONGEST_LINE)),
            receipt: revert(attempt),
            handle: attempt.handle.as_deref().map(|handle| line(handle, LONGEST_LINE)),
            output: output.map(block).filter(|output| !output.is_empty()),
            rehearsed: self.evidence.rehearsed.get(&attempt.path).map(rehearsed),
        }
    }

    fn passed_over(&self) -> Vec<(PathName, String)> {
        let over = self.firing.passed_over.iter().take(LONGEST_LIST);
        over.map(|(path, why)| (path.clone(), line(why, LONGEST_LINE))).collect()
    }

    fn proof(&self) -> ProofFacts {
        let proof = &self.firing.proof;
        let clear_at = proof.clear_at.iter().take(LONGEST_LIST).map(|(name, at)| (name.clone(), *at)).collect();
        let built = self.firing.built.clone();
        ProofFacts { serving_at: proof.serving_at, built, smoke_at: proof.smoke_at, clear_at }
    }

    fn side_effects(&self) -> Option<Vec<SideEffectFacts>> {
        let counted = self.evidence.side_effects.iter().take(LONGEST_LIST).map(|each| SideEffectFacts {
            name: line(&each.name, LONGEST_LINE),
            count: each.count.as_ref().ok().copied().filter(|count| count.is_finite()),
            why_unknown: match &each.count {
                Ok(count) if count.is_finite() => None,
                Ok(count) => Some(format!("the query answered {count}")),
                Err(why) => Some(line(why, LONGEST_LINE)),
            },
            compensate: line(&each.compensate, LONGEST_LINE),
        });
        self.evidence.side_effects_declared.then(|| counted.collect())
    }

    pub(super) fn summary(&self, front: &FrontMatter) -> Sentence {
        let opening = Sentence::new(match front.kind {
            Kind::Incident => "",
            Kind::Rehearsal => "Rehearsal: ",
            Kind::DryRun => "Dry run: ",
        });
        opening.then(self.what_was_seen(front)).then(self.what_came_of_it(front)).words(".").capitalised()
    }

    fn what_was_seen(&self, front: &FrontMatter) -> Sentence {
        let subject = match &front.version {
            Some(version) => Sentence::new("version ").quote(version).words(" of ").quote(&front.service),
            None => Sentence::default().quote(&front.service),
        };
        match self.firing.origin {
            Origin::Metric => {
                subject.words(" set off ").quote(&front.trigger).words(&picture::value_against_limit(self))
            }
            Origin::Report => subject.words(" was reported for ").quote(&front.trigger),
            Origin::Human => Sentence::new("a human asked to roll back ").then(subject),
            Origin::Rehearsal => {
                let why = self.firing.note.as_deref().unwrap_or("no reason was recorded");
                Sentence::new("no trigger saw ")
                    .then(subject)
                    .words(" (")
                    .quote(why)
                    .words("), which was to go all the same")
            }
        }
    }

    fn what_came_of_it(&self, front: &FrontMatter) -> Sentence {
        match self.result {
            FiringEnd::Recovered => self.how_it_recovered(front),
            FiringEnd::Paged if front.kind == Kind::DryRun => Sentence::new(", and a human would have been paged"),
            FiringEnd::Paged => Sentence::new(", a human was paged, and no rollback of ours followed"),
            FiringEnd::Dismissed => {
                let why = self.firing.dismissed.as_deref().unwrap_or("no reason given");
                Sentence::new(", and a human dismissed it: ").quote(why)
            }
            FiringEnd::NotRecovered => {
                let tried = match self.firing.attempts.len() {
                    0 => ", nothing was run, and".to_owned(),
                    1 => ", and after one attempt".to_owned(),
                    many => format!(", and after {many} attempts"),
                };
                Sentence::new(&format!("{tried} production has not been seen to recover"))
            }
        }
    }

    fn how_it_recovered(&self, front: &FrontMatter) -> Sentence {
        let target = |sentence: Sentence| match &front.target {
            Some(target) => sentence.words(" to ").quote(target),
            None => sentence,
        };
        let done = match (&front.path, self.told_attempt()) {
            (Some(path), Some(_)) => {
                target(Sentence::new(" and was rolled back")).words(" by ").quote(path).words("; production was back")
            }
            (_, _) => Sentence::new("; production was back without a path of ours"),
        };
        let (Some(total), budget) = (front.total, front.budget) else { return done };
        let against = match budget {
            None => "; no budget was set".to_owned(),
            Some(budget) if total <= budget => format!(", within the budget of {}", took(budget)),
            Some(budget) => format!(", beyond the budget of {}", took(budget)),
        };
        done.words(&format!(" {} after it was observed{against}", took(total)))
    }
}

/// What a path is defined as now, part for part: what [`AttemptFacts::definition`] and
/// [`super::PathExperience::rehearsed_as`] are compared with.
#[must_use]
pub fn definition(rule: &PathRule) -> Vec<String> {
    let parts = rule.run.iter().take(LONGEST_LIST).map(|part| {
        let named = if part.name.is_empty() { String::new() } else { format!("{}=", part.name) };
        block(&format!("{named}{}", part.value.source()))
    });
    std::iter::once(rule.kind.to_owned()).chain(parts).collect()
}

fn revert(attempt: &Attempt) -> Option<String> {
    attempt.receipt().map(|receipt| line(receipt, LONGEST_LINE))
}

pub(super) fn why_and_output(outcome: Option<&Outcome>) -> (Option<&str>, Option<&str>) {
    match outcome {
        Some(Outcome::Succeeded { output, .. }) => (None, Some(output)),
        Some(Outcome::Failed { why, output }) => (Some(why), Some(output)),
        Some(Outcome::Cancelled { why } | Outcome::Unknown { why }) => (Some(why), None),
        Some(Outcome::TimedOut | Outcome::NeverStarted) | None => (None, None),
    }
}

/// Known where production recovered, and where paths ran and it did not. Where a human took over, nobody knows.
fn within_budget(total: Option<Duration>, budget: Option<Duration>, result: FiringEnd) -> Option<bool> {
    let budget = budget?;
    match (total, result) {
        (Some(total), _) => Some(total <= budget),
        (None, FiringEnd::NotRecovered) => Some(false),
        (None, FiringEnd::Recovered | FiringEnd::Paged | FiringEnd::Dismissed) => None,
    }
}

/// In the order of time: what was learned late (when production was back, what fired meanwhile) is told where it
/// happened. What happened at one instant stays as it was recorded.
fn story(firing: &Firing) -> Vec<Step> {
    let mut story: Vec<&Step> = firing.story.iter().collect();
    story.sort_by_key(|step| step.at);
    story.into_iter().take(LONGEST_LIST).map(clean_step).collect()
}

fn clean_step(step: &Step) -> Step {
    Step { at: step.at, what: line(&step.what, LONGEST_LINE) }
}
