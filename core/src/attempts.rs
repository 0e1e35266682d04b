//! The runs of paths: which one next, what it runs, and what follows from how it ended.
//!
//! Never runs anything: an intent is a record, and then an effect.

use std::time::Duration;

use crate::config::PathRule;
use crate::draft::Draft;
use crate::estimate::estimate;
use crate::event::{Effect, Order};
use crate::firing::{Attempt, Firing, Outcome};
use crate::guard;
use crate::name::{AttemptId, FiringId, PathName};
use crate::page::{self, PageReason};
use crate::record::FiringRecord;
use crate::rehearsals;
use crate::rollback::{ask, verify};
use crate::template::{Unknown, Values, Variable};
use crate::time::{Timestamp, show_duration};

/// A repeatable path whose outcome stays unknown is run this many times within one round, then a human is paged.
const MOST_REPEATS: usize = 3;

/// A dry run records exactly what it would have run, and then watches what production really does (design, R12).
fn pretend(draft: &mut Draft<'_>, id: &FiringId) {
    let Some(firing) = draft.firing(id) else { return };
    let next = candidates(draft, &firing).into_iter().find_map(|path| prepare(draft, &firing, path).ok());
    match next {
        Some(attempt) => {
            draft.firing_record(id, FiringRecord::WouldRun { attempt: Box::new(attempt) });
            verify(draft, id, "dry run: nothing was started; watching what production does".to_owned());
        }
        None => ask(draft, id, PageReason::NoPathLeft, "no path could have been started"),
    }
}

/// The paths that this round has not tried yet, in order of preference.
fn candidates<'a>(draft: &Draft<'a>, firing: &Firing) -> Vec<&'a PathRule> {
    let tried: Vec<&PathName> =
        firing.attempts.iter().skip(firing.earlier_attempts).map(|attempt| &attempt.path).collect();
    let allowed = |path: &&PathRule| firing.only_path.as_ref().is_none_or(|only| only == &path.name);
    draft.service.paths.iter().map(AsRef::as_ref).filter(allowed).filter(|path| !tried.contains(&&path.name)).collect()
}

pub(crate) fn start_next(draft: &mut Draft<'_>, id: &FiringId) {
    let Some(firing) = draft.firing(id) else { return };
    if newer_deploy(draft, &firing) {
        return ask(draft, id, PageReason::NoPathLeft, "a newer deploy arrived, so no further path is tried");
    }
    let automatic = !firing.approved;
    let frozen = guard::frozen(draft).filter(|_| automatic);
    let migrates = guard::migrates(&firing).filter(|_| automatic);
    if let Some(hold) = frozen.or(migrates).or_else(|| guard::target_left(draft, &firing)) {
        return ask(draft, id, PageReason::Held, &hold.to_string());
    }
    if draft.is_dry_run() {
        return pretend(draft, id);
    }
    let first = firing.attempts.len() == firing.earlier_attempts;
    let mut why_not = Vec::new();
    for path in candidates(draft, &firing) {
        let obstacle = if automatic && !first { does_not_fit(draft, &firing, path) } else { None };
        let prepared = match obstacle {
            Some(why) => Err(why),
            None => prepare(draft, &firing, path).map_err(|unknown| unknown.to_string()),
        };
        match prepared {
            Ok(attempt) => return intend(draft, id, attempt, automatic),
            Err(why) => {
                why_not.push(format!("{}: {why}", path.name));
                draft.firing_record(id, FiringRecord::PassedOver { path: path.name.clone(), why });
            }
        }
    }
    let why = if why_not.is_empty() {
        "no rollback path is left".to_owned()
    } else {
        format!("no rollback path is left ({})", why_not.join("; "))
    };
    ask(draft, id, PageReason::NoPathLeft, &why);
}

/// Whether another deploy than the one that the firing is about came since it fired.
pub(crate) fn newer_deploy(draft: &Draft<'_>, firing: &Firing) -> bool {
    let latest = draft.own().ledger.latest().map(|entry| &entry.deploy);
    let other = latest.filter(|latest| firing.deploy.as_ref().is_none_or(|deploy| deploy.id != latest.id));
    other.is_some_and(|latest| latest.reported_at >= firing.decided_at)
}

/// Why a path can't finish in what is left of the budget, by what its past runs took (design, R9): so few of its runs
/// are that quick that it is not even to be hoped for. Where little is known the estimate is wide and the path is tried,
/// as is one that never ran: the spent budget pages in any case.
fn does_not_fit(draft: &Draft<'_>, firing: &Firing, path: &PathRule) -> Option<String> {
    let ends_at = firing.budget_ends_at()?;
    let left = ends_at.since(draft.now);
    if left.is_zero() {
        return Some("the budget is spent".to_owned());
    }
    let took = draft.own().durations.get(&path.name)?;
    let next = estimate(took.iter().map(|took| took.0))?;
    (next.at_least > left).then(|| {
        let (least, typical) = (whole_seconds(next.at_least), whole_seconds(next.typical));
        let runs = if next.runs == 1 { "1 past run".to_owned() } else { format!("{} past runs", next.runs) };
        let left = show_duration(left);
        format!("it takes {typical}, hardly ever less than {least} (by {runs}), and {left} of the budget is left")
    })
}

/// An estimate is no more exact than that.
fn whole_seconds(duration: Duration) -> String {
    let half = Duration::from_millis(500);
    show_duration(Duration::from_secs(duration.saturating_add(half).as_secs()))
}

/// What a path's templates may name for this firing.
fn values(draft: &Draft<'_>, firing: &Firing) -> Values {
    let deploy = firing.deploy.as_ref();
    let target = firing.target.as_ref();
    let ledger = &draft.own().ledger;
    let revision = target.and_then(|target| target.revision.as_deref().or_else(|| ledger.revision(&target.version)));
    Values::default()
        .with(Variable::Service, draft.name().as_str())
        .with(Variable::FiringId, firing.id.as_str())
        .with_some(Variable::DeployVersion, deploy.map(|deploy| deploy.version.as_str()))
        .with_some(Variable::DeployAt, deploy.map(|deploy| deploy.at.to_string()))
        .with_some(
            Variable::DeployCommit,
            deploy.and_then(|deploy| deploy.commit.as_ref()).map(|commit| commit.as_str()),
        )
        .with_some(Variable::TargetVersion, target.map(|target| target.version.as_str()))
        .with_some(Variable::TargetRevision, revision)
}

fn prepare(draft: &Draft<'_>, firing: &Firing, path: &PathRule) -> Result<Attempt, Unknown> {
    let number = firing.attempts.len() + 1;
    let id = AttemptId::new(format!("{}-a{number}", firing.id)).map_err(|_| Unknown(Variable::FiringId))?;
    let values = values(draft, firing).with(Variable::AttemptId, id.as_str());
    render(path, id, &values, draft.now)
}

/// What a run of a path is, with these values.
pub(crate) fn render(path: &PathRule, id: AttemptId, values: &Values, now: Timestamp) -> Result<Attempt, Unknown> {
    let run: Vec<String> = path.run.iter().map(|part| part.value.render(values)).collect::<Result<_, _>>()?;
    Ok(Attempt {
        id,
        path: path.name.clone(),
        shown: shown(path, &run),
        run,
        started_at: now,
        ends_at: now + path.timeout,
        handle: None,
        in_doubt: false,
        ended_at: None,
        outcome: None,
    })
}

/// What runs, for people: `command: gcloud run …`, `github_actions: ref=main inputs.image_tag=v41`.
fn shown(path: &PathRule, run: &[String]) -> String {
    let part = |(part, value): (&crate::config::RunPart, &String)| {
        let plain = !value.is_empty() && value.chars().all(|each| !each.is_whitespace() && each != '\'' && each != '"');
        let value = if plain { value.clone() } else { format!("{value:?}") };
        if part.name.is_empty() { value } else { format!("{}={value}", part.name) }
    };
    let parts: Vec<String> = path.run.iter().zip(run).map(part).collect();
    format!("{}: {}", path.kind, parts.join(" "))
}

/// Intent first: the record is durable before the effect is performed (design, R2).
fn intend(draft: &mut Draft<'_>, id: &FiringId, attempt: Attempt, automatic: bool) {
    let order = Order::of(draft.name(), id, &attempt);
    page::resolve_questions(draft, id);
    draft.firing_record(id, FiringRecord::AttemptIntended { attempt: Box::new(attempt), automatic });
    draft.effect(Effect::StartAttempt(order));
}

fn owner(draft: &Draft<'_>, attempt: &AttemptId) -> Option<(Firing, Attempt)> {
    let mut firings = draft.own().firings.iter();
    firings.find_map(|firing| {
        let found = firing.attempts.iter().find(|known| &known.id == attempt)?;
        Some((firing.clone(), found.clone()))
    })
}

pub(crate) fn attempt_started(draft: &mut Draft<'_>, attempt: &AttemptId, handle: &str) {
    let Some((firing, known)) = owner(draft, attempt) else {
        return rehearsals::attempt_started(draft, attempt, handle);
    };
    if known.outcome.is_none() && known.handle.as_deref() != Some(handle) {
        let what = FiringRecord::AttemptStarted { attempt: attempt.clone(), handle: handle.to_owned() };
        draft.firing_record(&firing.id, what);
    }
}

/// The remote waits for a person: that person is paged at once, and the attempt goes on.
pub(crate) fn attempt_waits(draft: &mut Draft<'_>, attempt: &AttemptId, why: &str) {
    let Some((firing, known)) = owner(draft, attempt) else {
        return rehearsals::attempt_waits(draft, attempt, why);
    };
    if known.outcome.is_none() {
        draft.firing_record(&firing.id, FiringRecord::Noted { what: format!("path {} waits: {why}", known.path) });
        let summary = format!("{}: the rollback by {} waits for a person: {why}", draft.name(), known.path);
        page::about_firing(draft, &firing.id, PageReason::RemoteWaits, summary);
    }
}

pub(crate) fn attempt_ended(draft: &mut Draft<'_>, attempt: &AttemptId, outcome: &Outcome) {
    let Some((firing, known)) = owner(draft, attempt) else {
        return rehearsals::attempt_ended(draft, attempt, outcome);
    };
    if known.outcome.is_some() {
        return ended_late(draft, &firing, &known, outcome);
    }
    let id = &firing.id;
    match outcome {
        Outcome::Succeeded { .. } => {
            end_attempt(draft, id, attempt, outcome);
            verify(draft, id, "the proof of recovery is awaited".to_owned());
        }
        Outcome::TimedOut if known.in_doubt => {
            let why = "its outcome could not be found out within the path's timeout".to_owned();
            end_attempt(draft, id, attempt, &Outcome::Unknown { why: why.clone() });
            ask(
                draft,
                id,
                PageReason::UnknownOutcome,
                &format!("the outcome of path {} is unknown: {why}", known.path),
            );
        }
        Outcome::Failed { .. } => {
            end_attempt(draft, id, attempt, outcome);
            start_next(draft, id);
        }
        Outcome::TimedOut => {
            end_attempt(draft, id, attempt, outcome);
            draft.effect(Effect::StopAttempt { service: draft.name().clone(), attempt: attempt.clone() });
            start_next(draft, id);
        }
        // Somebody at the remote did not want it: a human decides, not the next path.
        Outcome::Cancelled { why } => {
            end_attempt(draft, id, attempt, outcome);
            ask(draft, id, PageReason::Held, &format!("path {} was cancelled at the remote: {why}", known.path));
        }
        Outcome::NeverStarted => {
            end_attempt(draft, id, attempt, outcome);
            run_again(draft, &firing, &known);
        }
        Outcome::Unknown { why } => outcome_unknown(draft, &firing, &known, why),
    }
}

fn end_attempt(draft: &mut Draft<'_>, id: &FiringId, attempt: &AttemptId, outcome: &Outcome) {
    draft.firing_record(id, FiringRecord::AttemptEnded { attempt: attempt.clone(), outcome: outcome.clone() });
}

/// An attempt that was given up says something after all. It changes nothing, but the receipt tells it.
fn ended_late(draft: &mut Draft<'_>, firing: &Firing, attempt: &Attempt, outcome: &Outcome) {
    let what = match outcome {
        Outcome::Succeeded { .. } => "succeeded after it had been given up",
        Outcome::Failed { .. } | Outcome::Cancelled { .. } => "failed after it had been given up",
        Outcome::TimedOut | Outcome::Unknown { .. } | Outcome::NeverStarted => return,
    };
    if firing.is_open() {
        draft.firing_record(&firing.id, FiringRecord::Noted { what: format!("path {} {what}", attempt.path) });
    }
}

/// Never blindly run again: only where the path says `repeatable`, else the version that serves tells, else a human
/// (design, R2).
fn outcome_unknown(draft: &mut Draft<'_>, firing: &Firing, attempt: &Attempt, why: &str) {
    let id = &firing.id;
    let unknown = Outcome::Unknown { why: why.to_owned() };
    let repeats = firing.attempts.iter().skip(firing.earlier_attempts).filter(|each| each.path == attempt.path).count();
    let repeatable = draft.service.path(&attempt.path).is_some_and(|path| path.repeatable);
    if repeatable && repeats < MOST_REPEATS {
        end_attempt(draft, id, &attempt.id, &unknown);
        return run_again(draft, firing, attempt);
    }
    if draft.service.version_query.is_some() && firing.target.is_some() && draft.now < attempt.ends_at {
        if !attempt.in_doubt {
            let what = FiringRecord::AttemptInDoubt { attempt: attempt.id.clone(), why: why.to_owned() };
            draft.firing_record(id, what);
        }
        return;
    }
    end_attempt(draft, id, &attempt.id, &unknown);
    ask(draft, id, PageReason::UnknownOutcome, &format!("the outcome of path {} is unknown: {why}", attempt.path));
}

fn run_again(draft: &mut Draft<'_>, firing: &Firing, attempt: &Attempt) {
    let Some(now) = draft.firing(&firing.id) else { return };
    let frozen = guard::frozen(draft).is_some() && !now.approved;
    let migrates = guard::migrates(&now).is_some() && !now.approved;
    let held = frozen || migrates || guard::target_left(draft, &now).is_some();
    if draft.is_dry_run() || newer_deploy(draft, &now) || held {
        return start_next(draft, &firing.id);
    }
    let prepared = draft.service.path(&attempt.path).map(|path| prepare(draft, &now, path));
    match prepared {
        Some(Ok(again)) => intend(draft, &firing.id, again, !firing.approved),
        Some(Err(_)) | None => start_next(draft, &firing.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunPart;
    use crate::template::Template;

    #[test]
    fn what_runs_is_shown_so_that_each_argument_can_be_told_apart() {
        let part = |name: &str| RunPart { name: name.to_owned(), value: Template::parse("").unwrap() };
        let path = |kind: &'static str, names: &[&str]| PathRule {
            name: PathName::new("path").unwrap(),
            timeout: Duration::from_secs(1),
            repeatable: false,
            kind,
            run: names.iter().map(|name| part(name)).collect(),
            leaves_behind: None,
            pipeline_files: Vec::new(),
        };
        let run = ["gcloud", "", "to v1", "it's", "\"v1\"", "--to=v1"].map(str::to_owned);
        let command = path("command", &[""; 6]);
        assert_eq!(shown(&command, &run), r#"command: gcloud "" "to v1" "it's" "\"v1\"" --to=v1"#);
        let inputs = path("github_actions", &["ref", "inputs.note"]);
        let run = ["main", "by hand"].map(str::to_owned);
        assert_eq!(shown(&inputs, &run), r#"github_actions: ref=main inputs.note="by hand""#);
    }
}
