//! What is told of a rehearsal: each step once, what goes on now as one line, and how it ended.
//!
//! Pure: the daemon's views come in, texts go out.

use std::collections::BTreeSet;
use std::time::Duration;

use rollbackd_core::time::Timestamp;

use super::views::{Firing, Rehearsal, Service};
use crate::cli::output::{Output, Paint, one_line};
use crate::cli::status::{Trigger, limit_words, show_number, show_seconds, to_the_second};

/// How many characters a bar has.
const BAR: usize = 24;

/// Tells each thing once.
#[derive(Debug)]
pub(super) struct Teller {
    output: Output,
    said: BTreeSet<String>,
    story: usize,
}

impl Teller {
    pub(super) const fn new(output: Output) -> Self {
        Self { output, said: BTreeSet::new(), story: 0 }
    }

    /// What is new since the last look.
    pub(super) fn news(&mut self, service: &Service, rehearsal: &Rehearsal, firing: Option<&Firing>) -> Vec<String> {
        let mut lines = Vec::new();
        for (key, at, word, text) in steps(rehearsal) {
            if self.said.insert(key) {
                lines.push(self.line(at, word, Paint::Plain, &text));
            }
        }
        if let Some(firing) = firing {
            if self.said.insert(format!("firing {}", firing.id)) {
                self.story = 0;
                lines.push(self.line(firing.observed_at, "observed", Paint::Bad, &observed(service, firing)));
            }
            for step in firing.story.iter().skip(self.story) {
                let word = format!("+{}", clock(step.at.since(firing.observed_at)));
                lines.push(self.line(step.at, &word, Paint::Plain, &one_line(&step.what)));
            }
            self.story = self.story.max(firing.story.len());
        }
        lines
    }

    fn line(&self, at: Timestamp, word: &str, paint: Paint, text: &str) -> String {
        let time = at.to_string();
        let time = time.get(11..19).unwrap_or_default().to_owned();
        format!("{time}  {}  {text}", self.output.paint(paint, &format!("{word:<10}")))
    }

    /// What goes on now, against its limit; `None` once it has ended.
    pub(super) fn live(&self, service: &Service, rehearsal: &Rehearsal, firing: Option<&Firing>) -> Option<String> {
        if rehearsal.end.is_some() {
            return None;
        }
        let now = service.at;
        let text = match (firing.filter(|firing| firing.state != "ended"), rehearsal.state.as_str()) {
            (Some(firing), _) => budget(&self.output, firing, now),
            (None, "deploying") => {
                let attempt = rehearsal.attempt.as_ref()?;
                let (used, all) = (now.since(attempt.started_at), attempt.ends_at.since(attempt.started_at));
                format!("deploying    {} {} of {}", bar(share(used, all)), clock(used), clock(all))
            }
            (None, "watching") => self.watching(service, rehearsal),
            (None, _) => "checking     the triggers are looked at first".to_owned(),
        };
        Some(format!("          {text}"))
    }

    /// The trigger that is nearest to its limit.
    fn watching(&self, service: &Service, rehearsal: &Rehearsal) -> String {
        let fill = |trigger: &Trigger| filled(trigger).unwrap_or(0.0);
        let seen = service.triggers().iter().filter(|trigger| !trigger.observed_by_report);
        let left = rehearsal.until.map(|until| format!("; it goes in {}", clock(until.since(service.at))));
        let left = left.unwrap_or_default();
        let Some(nearest) = seen.max_by(|left, right| fill(left).total_cmp(&fill(right))) else {
            return format!("watching     no trigger is measured{left}");
        };
        let value = nearest.value.map_or("no value yet".to_owned(), |value| show_number(value, nearest.percentage));
        let held = nearest.breaching_since.map(|since| {
            let hold = show_seconds(nearest.for_seconds);
            self.output.paint(Paint::Bad, &format!(", breaching {} of {hold}", clock(service.at.since(since))))
        });
        let (name, limit) = (one_line(&nearest.name), limit_words(nearest));
        // While it breaches, that is what counts.
        format!("{name} {} {value}, fires {limit}{}", bar(fill(nearest)), held.unwrap_or(left))
    }

    /// How it ended, and whether it went by the plan: a trigger saw it, and production was back within the budget.
    pub(super) fn verdict(&self, rehearsal: &Rehearsal, firing: Option<&Firing>) -> (String, bool) {
        let end = rehearsal.end.as_deref().unwrap_or("unknown").replace('_', " ");
        let why = rehearsal.why.as_ref().map(|why| format!(": {}", one_line(why))).unwrap_or_default();
        let receipt = firing.and_then(|firing| firing.receipt);
        let receipt = receipt.map(|number| format!("; receipt {number:03}")).unwrap_or_default();
        let took = firing.and_then(|firing| Some((firing, firing.recovered_at?.since(firing.observed_at))));
        let (words, good) = match took {
            None => (format!("{end}{why}"), false),
            Some((firing, took)) => {
                let budget = firing.budget_ends_at.map(|end| end.since(firing.observed_at));
                let within = budget.is_none_or(|budget| took <= budget);
                let seen = firing.trigger != rollbackd_core::rehearsal::REHEARSAL;
                let against = match budget {
                    Some(budget) if within => format!(" of {}", to_the_second(budget)),
                    Some(budget) => format!(", OVER the budget of {}", to_the_second(budget)),
                    None => ", without a budget".to_owned(),
                };
                let unseen = if seen { "" } else { ", but NO TRIGGER SAW the bad version" };
                (
                    format!("{end} on {} in {}{against}{unseen}", one_line(&rehearsal.back_to), to_the_second(took)),
                    within && seen,
                )
            }
        };
        let good = good && rehearsal.end.as_deref() == Some("recovered");
        (self.output.paint(if good { Paint::Good } else { Paint::Bad }, &format!("{words}{receipt}")), good)
    }
}

/// The rehearsal's own steps so far; its firing tells the rest.
fn steps(rehearsal: &Rehearsal) -> Vec<(String, Timestamp, &'static str, String)> {
    let (bad, back_to) = (one_line(&rehearsal.bad), one_line(&rehearsal.back_to));
    let asked = format!("rehearsal {}: {bad} on purpose, then back to {back_to}", one_line(&rehearsal.id));
    let mut steps = vec![("asked".to_owned(), rehearsal.asked_at, "asked", asked)];
    let Some(attempt) = &rehearsal.attempt else { return steps };
    let path = one_line(&attempt.path);
    let all = to_the_second(attempt.ends_at.since(attempt.started_at));
    steps.push((
        "deploying".to_owned(),
        attempt.started_at,
        "deploying",
        format!("{bad} by path {path}, at most {all}"),
    ));
    if let Some(why) = &rehearsal.waits {
        let why = one_line(why);
        steps.push((format!("waits {why}"), attempt.started_at, "waits", format!("for a person at the remote: {why}")));
    }
    if let (Some(at), Some(outcome)) = (attempt.ended_at, &attempt.outcome) {
        let took = to_the_second(at.since(attempt.started_at));
        let (word, text) = if outcome.outcome == "succeeded" {
            ("serving", format!("{bad} is deployed after {took}: its watch is open"))
        } else {
            let why = outcome.why.as_ref().map(|why| format!(": {}", one_line(why))).unwrap_or_default();
            ("failed", format!("path {path} {} after {took}{why}", outcome.outcome.replace('_', " ")))
        };
        steps.push(("deployed".to_owned(), at, word, text));
    }
    steps
}

fn observed(service: &Service, firing: &Firing) -> String {
    let trigger = one_line(&firing.trigger);
    let budget = firing.budget_ends_at.map(|end| to_the_second(end.since(firing.observed_at)));
    let budget = budget.map_or("no budget".to_owned(), |budget| format!("budget {budget}"));
    let percentage = service.triggers().iter().any(|known| known.name == firing.trigger && known.percentage);
    let value = firing.value.zip(firing.limit).map(|(value, limit)| {
        format!(" at {} against {}", show_number(value, percentage), show_number(limit, percentage))
    });
    let note = firing.note.as_ref().map(|note| format!(" ({})", one_line(note)));
    format!("{trigger}{}{}: the clock runs, {budget}", value.unwrap_or_default(), note.unwrap_or_default())
}

fn budget(output: &Output, firing: &Firing, now: Timestamp) -> String {
    let used = now.since(firing.observed_at);
    let state = one_line(&firing.state).replace('_', " ");
    match firing.budget_ends_at.map(|end| end.since(firing.observed_at)) {
        Some(all) if used <= all => format!("{state:<13}{} {} of {}", bar(share(used, all)), clock(used), clock(all)),
        Some(all) => output.paint(Paint::Bad, &format!("{state:<13}{} {} OVER {}", bar(1.0), clock(used), clock(all))),
        None => format!("{state:<13}{}, no budget", clock(used)),
    }
}

/// How near a trigger is to its limit: 1 at the limit and beyond.
fn filled(trigger: &Trigger) -> Option<f64> {
    let (value, limit) = (trigger.value?, trigger.limit?);
    let filled = if trigger.breach.as_deref() == Some("below") { limit / value } else { value / limit };
    filled.is_finite().then_some(filled.clamp(0.0, 1.0))
}

fn share(used: Duration, all: Duration) -> f64 {
    if all.is_zero() { 1.0 } else { used.as_secs_f64() / all.as_secs_f64() }
}

fn bar(share: f64) -> String {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a few characters"
    )]
    let full = ((share.clamp(0.0, 1.0) * BAR as f64).round() as usize).min(BAR);
    format!("[{}{}]", "#".repeat(full), "-".repeat(BAR - full))
}

/// Minutes and seconds, as a stopwatch shows them.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const AT: &str = "2026-11-23T10:01:30Z";

    fn service(rehearsal: Value) -> Service {
        let body = serde_json::json!({
            "running": "v1",
            "triggers": [
                {"name": "error-rate", "value": 0.04, "limit": 0.05, "breach": "above", "percentage": true,
                 "observed_at": null, "state": "clear", "breaching_since": "2026-11-23T10:01:10Z", "action": "rollback",
                 "for_seconds": 120.0, "budget_seconds": 300.0, "observed_by_report": false},
                {"name": "p99-latency", "value": 0.1, "limit": 0.9, "breach": "above", "percentage": false,
                 "observed_at": null, "state": "clear", "breaching_since": null, "action": "rollback",
                 "for_seconds": 300.0, "budget_seconds": 600.0, "observed_by_report": false}],
            "rehearsal": rehearsal,
        });
        Service::read(body, AT.parse().unwrap()).unwrap()
    }

    fn rehearsal(state: &str, end: Option<&str>) -> Value {
        serde_json::json!({
            "id": "shop-r-1", "bad": "v13", "back_to": "v1", "asked_at": "2026-11-23T10:00:00Z", "state": state,
            "until": "2026-11-23T10:31:00Z", "waits": null, "firing": null, "end": end, "why": null,
            "attempt": {"path": "pipeline", "started_at": "2026-11-23T10:00:10Z", "ends_at": "2026-11-23T10:04:10Z",
                        "ended_at": "2026-11-23T10:01:00Z", "outcome": {"outcome": "succeeded"}},
        })
    }

    fn firing(recovered_at: Option<&str>, trigger: &str) -> Firing {
        Firing::read(serde_json::json!({
            "id": "shop-f-1", "trigger": trigger, "state": "rolling_back", "note": null,
            "observed_at": "2026-11-23T10:01:15Z", "budget_ends_at": "2026-11-23T10:06:15Z",
            "recovered_at": recovered_at, "receipt": 7, "receipt_published": true, "value": 0.213, "limit": 0.05,
            "story": [{"at": "2026-11-23T10:01:16Z", "what": "path pipeline \u{1b}[2Jstarted"}],
        }))
        .unwrap()
    }

    #[test]
    fn each_step_is_told_once_with_its_time_and_its_place_on_the_clock() {
        let service = service(rehearsal("watching", None));
        let mut teller = Teller::new(Output::new(false));
        let told = service.rehearsal().unwrap();
        assert_eq!(
            teller.news(&service, told, Some(&firing(None, "error-rate"))),
            [
                "10:00:00  asked       rehearsal shop-r-1: v13 on purpose, then back to v1",
                "10:00:10  deploying   v13 by path pipeline, at most 4m",
                "10:01:00  serving     v13 is deployed after 50s: its watch is open",
                "10:01:15  observed    error-rate at 21.3% against 5%: the clock runs, budget 5m",
                "10:01:16  +0:01       path pipeline \u{fffd}[2Jstarted",
            ]
        );
        assert!(teller.news(&service, told, Some(&firing(None, "error-rate"))).is_empty());
    }

    #[test]
    fn the_live_line_shows_the_trigger_that_is_nearest_to_its_limit_and_then_the_clock() {
        let service = service(rehearsal("watching", None));
        let teller = Teller::new(Output::new(false));
        let told = service.rehearsal().unwrap();
        assert_eq!(
            teller.live(&service, told, None).unwrap().trim_start(),
            "error-rate [###################-----] 4%, fires > 5%, breaching 0:20 of 2m"
        );
        assert_eq!(
            teller.live(&service, told, Some(&firing(None, "error-rate"))).unwrap().trim_start(),
            "rolling back [#-----------------------] 0:15 of 5:00"
        );
    }

    #[test]
    fn only_what_a_trigger_saw_and_was_back_within_the_budget_went_by_the_plan() {
        let teller = Teller::new(Output::new(false));
        let verdict = |end: &str, recovered: Option<&str>, trigger: &str| {
            let service = service(rehearsal("ended", Some(end)));
            teller.verdict(service.rehearsal().unwrap(), Some(&firing(recovered, trigger)))
        };
        let soon = Some("2026-11-23T10:02:40Z");
        let good = ("recovered on v1 in 1m25s of 5m; receipt 007".to_owned(), true);
        assert_eq!(verdict("recovered", soon, "error-rate"), good);
        assert!(!verdict("recovered", Some("2026-11-23T10:09:00Z"), "error-rate").1, "over the budget");
        assert!(!verdict("recovered", soon, "rehearsal").1, "no trigger saw it");
        assert_eq!(verdict("not_recovered", None, "error-rate"), ("not recovered; receipt 007".to_owned(), false));
    }
}
