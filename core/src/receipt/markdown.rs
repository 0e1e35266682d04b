//! A receipt's facts as markdown.
//!
//! Never writes a text from outside but as a span of code, a fenced block or escaped words.

use std::time::Duration;

use super::facts::{AttemptFacts, SideEffectFacts};
use super::front::Kind;
use super::on_purpose::RehearsalFacts;
use super::text::{Sentence, cell, code_span, fenced, prose, took};
use super::timeline::serves;
use super::{Parts, Receipt};
use crate::firing::{FiringEnd, Origin};
use crate::time::Timestamp;

pub(super) fn markdown(receipt: &Receipt, parts: Parts<'_>) -> String {
    let sections = [
        heading(receipt),
        timeline(receipt),
        beside(receipt),
        commands(receipt),
        side_effects(receipt),
        gaps(receipt),
        to_do(receipt),
        files(receipt.front.number, parts),
    ];
    let sections: Vec<String> = sections.into_iter().filter(|section| !section.is_empty()).collect();
    format!("{}\n{}", receipt.front.yaml(), sections.join("\n"))
}

fn heading(receipt: &Receipt) -> String {
    let front = &receipt.front;
    let mut text = format!(
        "# Receipt {}: {} of {}, {}\n\n{}\n",
        receipt.stem(),
        code_span(front.trigger.as_str()),
        code_span(front.service.as_str()),
        front.outcome.name().replace('_', " "),
        receipt.summary.markdown()
    );
    if front.kind == Kind::DryRun {
        text.push_str("\nThis was a dry run: nothing was run and nobody was paged.\n");
    }
    if let Some(rehearsal) = &receipt.rehearsal {
        text.push_str(&format!("\n{}\n", on_purpose(receipt, rehearsal).markdown()));
    }
    if let Some(note) = receipt.note.as_ref().filter(|_| receipt.origin != Origin::Rehearsal) {
        text.push_str(&format!("\n{}\n", Sentence::new("What was said: ").quote(note).markdown()));
    }
    text.push_str(&format!(
        "\n![The trigger's value against its limit, and what happened when]({}.svg)\n",
        receipt.stem()
    ));
    text
}

/// That the version was bad on purpose, and who saw it.
fn on_purpose(receipt: &Receipt, rehearsal: &RehearsalFacts) -> Sentence {
    let by = &rehearsal.deployed_by;
    let bad = receipt.front.version.as_ref().map_or("the bad version", |version| version.as_str());
    let text = Sentence::new("This was a rehearsal: ").quote(bad).words(" was deployed on purpose by ").quote(&by.path);
    let text = text.words(&format!(" from {} UTC on ({})", time(receipt, by.started_at), by.result));
    match &rehearsal.witness {
        Some(witness) => text.words("; the witness was ").quote(witness).words("."),
        None => text.words("; no witness was named."),
    }
}

/// The time of day, to the millisecond; with its date, where that is not the one at which the clock started.
fn time(receipt: &Receipt, at: Timestamp) -> String {
    let (text, start) = (at.to_string(), receipt.front.observed_at.to_string());
    let (day, time) = (text.get(..10).unwrap_or_default(), text.get(11..23).unwrap_or_default());
    if start.starts_with(day) { time.to_owned() } else { format!("{day} {time}") }
}

fn timeline(receipt: &Receipt) -> String {
    let mut text = String::from("## Timeline\n\n");
    let phases = &receipt.timeline.phases;
    if !phases.is_empty() {
        text.push_str("| from (UTC) | step | took | share of the total |\n|---|---|---:|---:|\n");
    }
    for (index, phase) in phases.iter().enumerate() {
        let strong = if receipt.timeline.dominant == Some(index) { "**" } else { "" };
        let share = phase.share_percent.map_or("before the clock".to_owned(), |share| format!("{share:.1} %"));
        text.push_str(&format!(
            "| {} | {strong}{}{strong} | {} | {strong}{share}{strong} |\n",
            time(receipt, phase.from),
            phase.step.cell(),
            took(phase.took()),
        ));
    }
    text.push_str(&total_and_dominant(receipt));
    text.push_str(&proof(receipt));
    text.push_str(&story(receipt));
    text
}

fn total_and_dominant(receipt: &Receipt) -> String {
    let front = &receipt.front;
    let clock = receipt.timeline.phases.iter().filter(|phase| phase.share_percent.is_some());
    let spent: Duration = clock.map(super::Phase::took).sum();
    let end = if front.recovered_at.is_some() { "recovered" } else { "the end of the firing" };
    let budget = front.budget.map_or("no budget".to_owned(), |budget| format!("budget {}", took(budget)));
    let mut text = format!("\n- Total, from observed to {end}: {} ({budget}).\n", took(spent));
    let dominant = receipt.timeline.dominant.and_then(|index| receipt.timeline.phases.get(index));
    if let Some((phase, share)) = dominant.and_then(|phase| Some((phase, phase.share_percent?))) {
        text.push_str(&format!("- The dominant step: {}, {share:.1} % of the total.\n", phase.step.markdown()));
    }
    text
}

fn proof(receipt: &Receipt) -> String {
    let mut seen = Vec::new();
    if let Some(at) = receipt.proof.serving_at {
        let served = serves(receipt.target(), receipt.proof.built.as_ref());
        seen.push(served.words(&format!(" seen serving at {}", time(receipt, at))));
    }
    if let Some(at) = receipt.proof.smoke_at {
        seen.push(Sentence::new(&format!("the smoke URL answered 2xx at {}", time(receipt, at))));
    }
    for (trigger, at) in &receipt.proof.clear_at {
        seen.push(Sentence::default().quote(trigger).words(&format!(" clear at {}", time(receipt, *at))));
    }
    let seen: Vec<String> = seen.iter().map(Sentence::markdown).collect();
    let mut text = if seen.is_empty() { String::new() } else { format!("- Proof: {}.\n", seen.join("; ")) };
    for (trigger, at) in &receipt.joined {
        let also = Sentence::new("Fired meanwhile: ").quote(trigger).words(&format!(" at {}.", time(receipt, *at)));
        text.push_str(&format!("- {}\n", also.markdown()));
    }
    text
}

/// When a dry run would have acted and been back, and when production really was.
fn beside(receipt: &Receipt) -> String {
    let Some(facts) = &receipt.beside else { return String::new() };
    let clock = |at: Option<Timestamp>, seconds: Option<f64>| match at {
        None => "not known".to_owned(),
        Some(at) => {
            let after = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            format!("{} ({} after observed)", time(receipt, at), took(after.unwrap_or_default()))
        }
    };
    let acted = facts.would_have_acted_at;
    let acted = clock(acted, acted.map(|at| at.since(receipt.front.observed_at).as_secs_f64()));
    let back = clock(facts.would_have_been_back_at, facts.would_have_taken_seconds);
    let really = clock(facts.really_back_at, facts.really_took_seconds);
    let rows =
        format!("| a path started | {acted} | by a human: not known here |\n| production back | {back} | {really} |\n");
    let head = "| at (UTC) | rollbackd would have | really |\n|---|---|---|\n";
    format!("## Beside what really happened\n\n{head}{rows}\n{}\n", facts.sentence().markdown())
}

fn story(receipt: &Receipt) -> String {
    if receipt.story.is_empty() {
        return String::new();
    }
    let rows = receipt.story.iter().map(|step| format!("| {} | {} |\n", time(receipt, step.at), prose(&step.what)));
    format!("\n| at (UTC) | what was recorded |\n|---|---|\n{}", rows.collect::<String>())
}

fn commands(receipt: &Receipt) -> String {
    if receipt.front.kind == Kind::DryRun {
        let would = attempts(receipt, &receipt.would_run);
        let said = if would.is_empty() { nothing_would_have_run(receipt) } else { "Nothing was run." };
        return format!("## Commands that would have been run\n\n{said}\n{would}");
    }
    // Its run stands for no revert.
    let on_purpose = receipt.rehearsal.as_ref().map(|rehearsal| {
        let deployed_by = AttemptFacts { receipt: None, ..rehearsal.deployed_by.clone() };
        format!("\nTo deploy the bad version:\n{}\nTo bring the good one back:\n", attempt(receipt, &deployed_by))
    });
    let ran = format!("{}{}", on_purpose.unwrap_or_default(), attempts(receipt, &receipt.attempts));
    let nothing = if ran.is_empty() { format!("\n{}\n", nothing_ran(receipt)) } else { String::new() };
    format!("## Commands run\n{nothing}{ran}")
}

/// What happened in place of a command.
const fn nothing_ran(receipt: &Receipt) -> &'static str {
    match receipt.front.outcome {
        FiringEnd::Paged => "Nothing was run: a human was paged.",
        FiringEnd::Dismissed => "Nothing was run: a human dismissed it.",
        FiringEnd::Recovered => "Nothing was run: production came back without a path of ours.",
        FiringEnd::NotRecovered => "Nothing was run, and production was not seen to recover.",
    }
}

/// The same of a dry run, in which no path would have been started either.
const fn nothing_would_have_run(receipt: &Receipt) -> &'static str {
    match receipt.front.outcome {
        FiringEnd::Paged => "Nothing was run, and no path would have been: a human would have been paged.",
        FiringEnd::Dismissed | FiringEnd::Recovered | FiringEnd::NotRecovered => {
            "Nothing was run, and no path would have been."
        }
    }
}

fn attempts(receipt: &Receipt, attempts: &[AttemptFacts]) -> String {
    attempts.iter().map(|each| attempt(receipt, each)).collect()
}

fn attempt(receipt: &Receipt, attempt: &AttemptFacts) -> String {
    let mut head = Sentence::default().quote(&attempt.path);
    head = head.words(&format!(", at {} UTC: {}", time(receipt, attempt.started_at), attempt.result));
    if let Some(ended_at) = attempt.ended_at {
        head = head.words(&format!(" after {}", took(ended_at.since(attempt.started_at))));
    }
    if let Some(receipt) = &attempt.receipt {
        head = head.words("; the revert is ").quote(receipt);
    }
    if let Some(why) = &attempt.why {
        head = head.words("; ").quote(why);
    }
    let mut text = format!("\n{}\n\n{}", head.markdown(), fenced(&attempt.command));
    if let Some(output) = &attempt.output {
        text.push_str(&format!("\nThe end of what it printed:\n\n{}", fenced(output)));
    }
    if let Some(known) = &attempt.rehearsed {
        let lasted = Duration::try_from_secs_f64(known.seconds).map_or_else(|_| "not known".to_owned(), took);
        let row = known.in_a_row;
        text.push_str(&format!("\nLast rehearsed at {} in {lasted}; {row} clean in a row.\n", known.at));
    }
    text
}

fn side_effects(receipt: &Receipt) -> String {
    let window = receipt.bad_window;
    let mut text = format!(
        "## Side effects in the bad window\n\nFrom {} to {} ({}).\n\n",
        window.from,
        window.until,
        took(window.until.since(window.from))
    );
    match receipt.side_effects.as_deref() {
        None => text.push_str("Not declared, so not known.\n"),
        Some([]) => text.push_str("Declared as none.\n"),
        Some(counted) => {
            text.push_str("| side effect | count | compensating action |\n|---|---:|---|\n");
            text.extend(counted.iter().map(side_effect));
        }
    }
    text
}

fn side_effect(each: &SideEffectFacts) -> String {
    let why = each.why_unknown.as_deref().map(|why| format!(": {}", cell(why))).unwrap_or_default();
    let action = if each.needs_a_human() { cell(&each.compensate) } else { "none needed".to_owned() };
    format!("| {} | {}{why} | {action} |\n", cell(&each.name), each.shown())
}

fn gaps(receipt: &Receipt) -> String {
    let items: String = receipt.gaps.iter().map(|gap| format!("- {}\n", gap.text.markdown())).collect();
    format!("## Gaps discovered\n\n{}", if items.is_empty() { "None.\n" } else { &items })
}

fn to_do(receipt: &Receipt) -> String {
    let items: String = receipt.to_do.iter().map(|item| format!("- [ ] {}\n", item.markdown())).collect();
    let dismissed = receipt.front.outcome == FiringEnd::Dismissed;
    let nothing = if dismissed { "Nothing: it was dismissed.\n" } else { "Nothing.\n" };
    format!("## What a human must still do\n\n{}", if items.is_empty() { nothing } else { &items })
}

/// The last section: the hashes that let the chain of markdown files cover the two files beside them as well.
pub(super) fn files(number: u64, parts: Parts<'_>) -> String {
    let stem = super::stem(number);
    format!(
        "## Files\n\n- [{stem}.json]({stem}.json), without its `sha256`: {}\n- [{stem}.svg]({stem}.svg): {}\n",
        code_span(parts.facts_sha256),
        code_span(parts.svg_sha256)
    )
}
