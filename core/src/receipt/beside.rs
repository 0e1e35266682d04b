//! A dry run beside what really happened: when the daemon would have acted and been back by its history, and how long
//! production really took.
//!
//! Never guesses: a path without a past has no time.

use std::time::Duration;

use serde::Serialize;

use super::PathExperience;
use super::facts::Told;
use super::text::{Sentence, took};
use crate::name::PathName;
use crate::time::Timestamp;

/// Both times.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BesideFacts {
    /// The path that would have run first; `None` where a human would have been paged instead.
    pub path: Option<PathName>,
    /// When it would have been started.
    pub would_have_acted_at: Option<Timestamp>,
    /// How many past runs of that path are known, by which production was back.
    pub past_runs: usize,
    /// Of those, from the start of the path until production was back: the median, in seconds.
    pub median_seconds: Option<f64>,
    /// The same: the longest, in seconds.
    pub longest_seconds: Option<f64>,
    /// When production would have been back by that median.
    pub would_have_been_back_at: Option<Timestamp>,
    /// From observed until then, in seconds.
    pub would_have_taken_seconds: Option<f64>,
    /// When production really was back.
    pub really_back_at: Option<Timestamp>,
    /// From observed until then, in seconds.
    pub really_took_seconds: Option<f64>,
}

pub(super) fn beside(told: &Told<'_>) -> Option<BesideFacts> {
    let firing = told.firing;
    if !firing.dry_run {
        return None;
    }
    let would = firing.would_run.first();
    let known = would.and_then(|would| past(told.evidence.earlier.as_deref()?, &would.path));
    let mut back_after: Vec<Duration> = known.map(|known| known.back_after.clone()).unwrap_or_default();
    back_after.sort_unstable();
    // The lower of the two in the middle: a time that really was.
    let median = back_after.get(back_after.len().saturating_sub(1) / 2).copied();
    let back_at = would.zip(median).map(|(would, median)| would.started_at + median);
    let since_observed = |at: Timestamp| at.since(firing.observed_at).as_secs_f64();
    Some(BesideFacts {
        path: would.map(|would| would.path.clone()),
        would_have_acted_at: would.map(|would| would.started_at),
        past_runs: back_after.len(),
        median_seconds: median.map(|median| median.as_secs_f64()),
        longest_seconds: back_after.last().map(Duration::as_secs_f64),
        would_have_been_back_at: back_at,
        would_have_taken_seconds: back_at.map(since_observed),
        really_back_at: firing.recovered_at,
        really_took_seconds: firing.recovered_at.map(since_observed),
    })
}

fn past<'a>(earlier: &'a [PathExperience], path: &PathName) -> Option<&'a PathExperience> {
    earlier.iter().find(|known| &known.path == path)
}

impl BesideFacts {
    /// What follows from both times.
    #[must_use]
    pub fn sentence(&self) -> Sentence {
        let Some(path) = &self.path else {
            return Sentence::new("No path would have been started: a human would have been paged at once.");
        };
        let Some(would) = self.would_have_taken_seconds.and_then(duration) else {
            let text =
                Sentence::new("No past run of ").quote(path).words(" is known here: rehearse it once, and the next");
            return text.words(" dry run can say when production would have been back.");
        };
        let (median, longest) = (self.median_seconds.and_then(duration), self.longest_seconds.and_then(duration));
        let runs =
            if self.past_runs == 1 { "one past run".to_owned() } else { format!("{} past runs", self.past_runs) };
        let history = format!(
            " ({runs}: median {}, longest {} from its start until production was back)",
            took(median.unwrap_or_default()),
            took(longest.unwrap_or_default())
        );
        let text = Sentence::new("By ")
            .quote(path)
            .words(&history)
            .words(&format!(" production would have been back {}", took(would)));
        let text = text.words(" after it was observed");
        match self.really_took_seconds.and_then(duration) {
            None => text.words("; it has not been seen back."),
            Some(really) if really > would => text.words(&format!(
                "; it really took {}, {} longer.",
                took(really),
                took(really.saturating_sub(would))
            )),
            Some(really) => {
                text.words(&format!("; it really took {}, {} less.", took(really), took(would.saturating_sub(really))))
            }
        }
    }
}

fn duration(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}
