//! What humans and pipelines say: a trigger is observed, a page is answered, a rollback is wanted.

use std::time::Duration;

use crate::attempts;
use crate::config::Observed;
use crate::deploy::{Deploy, Target, TargetSource};
use crate::deploys::{LARGEST_CLOCK_SKEW, current, own_attempt, target_now};
use crate::draft::Draft;
use crate::event::{About, NotNews, Refusal, Reply};
use crate::firing::{Firing, FiringEnd, Origin, Stage};
use crate::guard;
use crate::name::{FiringId, PathName, TriggerName, Version, nearest};
use crate::page;
use crate::record::{FiringRecord, LedgerRecord, Record};
use crate::rehearsal::Rehearsal;
use crate::rehearsals;
use crate::rollback::{self, Observation};
use crate::time::Timestamp;

/// git itself shortens a commit to no fewer digits than this.
const SHORTEST_COMMIT: usize = 7;

/// Many sources tell instants in whole seconds: what they call 10:00:07 may have been nearly a second later.
const COARSEST_CLOCK: Duration = Duration::from_secs(1);

/// The trigger's name in the receipt of a rollback that a human asked for; the config may not use it.
pub const HUMAN: &str = "human";

pub(crate) fn reported(draft: &mut Draft<'_>, name: &TriggerName, note: Option<String>, about: &About) -> Reply {
    let Some(trigger) = draft.service.trigger(name) else { return unknown_trigger(draft, name) };
    if let Observed::Metric(_) = trigger.observed {
        return Reply::Refused(Refusal::NotReported(name.clone()));
    }
    if let Some(reply) = rehearsals::keeps_report(draft, name, note.as_ref(), about) {
        return reply;
    }
    let observed_at = match observed_at(draft, about) {
        Ok(at) => at,
        Err(reply) => return reply,
    };
    if let Some(key) = &about.key {
        draft.record(Record::Ledger(LedgerRecord::ReportTaken { key: key.clone() }));
    }
    let observation = Observation {
        trigger: name.clone(),
        origin: Origin::Report,
        breach_at: observed_at,
        observed_at,
        value: None,
        limit: None,
        note,
    };
    let recorded = draft.recorded();
    match rollback::fire(draft, trigger, observation) {
        Some(firing) if draft.recorded() == recorded => Reply::SameFiring(firing),
        Some(firing) => Reply::Firing(firing),
        None => Reply::Done,
    }
}

/// When it was observed, where the report is news about what serves now: a pipeline's word may come again, late, or
/// after another version was deployed.
fn observed_at(draft: &Draft<'_>, about: &About) -> Result<Timestamp, Reply> {
    let own = draft.own();
    let at = about.at.unwrap_or(draft.now);
    if at > draft.now + LARGEST_CLOCK_SKEW {
        return Err(Reply::Refused(Refusal::FromTheFuture { at, now: draft.now }));
    }
    let at = at.min(draft.now);
    let not_news = |why| Err(Reply::NotNews(why));
    if about.key.as_ref().is_some_and(|key| own.reports.contains(key)) {
        return not_news(NotNews::Known);
    }
    if let Some((attempt, _)) = own_attempt(own, about.run.as_ref()) {
        return not_news(NotNews::OwnAttempt(attempt));
    }
    if at + draft.service.watch < draft.now {
        return not_news(NotNews::TooLate(at));
    }
    let Some(deploy) = current(own).map(|entry| &entry.deploy) else {
        return if about.names_a_deploy() { not_news(NotNews::NoDeploy(draft.name().clone())) } else { Ok(at) };
    };
    let by_its_run = deploy.rehearsal && rehearsals::is_own_run(own, about.run.as_ref());
    if about.names_a_deploy() && !by_its_run && !is_about(about, deploy) {
        return not_news(NotNews::OtherDeploy(deploy.version.clone()));
    }
    if about.at.is_some() && at + COARSEST_CLOCK <= deploy.at {
        return not_news(NotNews::BeforeDeploy { at, version: deploy.version.clone() });
    }
    Ok(at.max(deploy.at.min(draft.now)))
}

/// Whether a report is about this deploy: by its version, else by its commit, else by the deploy having been made while
/// what was observed ran.
fn is_about(about: &About, deploy: &Deploy) -> bool {
    if about.version.as_ref() == Some(&deploy.version) {
        return true;
    }
    if let Some(commit) = &about.commit {
        if is_same_commit(commit.as_str(), deploy.version.as_str()) {
            return true;
        }
        if let Some(deployed) = &deploy.commit {
            return is_same_commit(commit.as_str(), deployed.as_str());
        }
    }
    about.version.is_none() && about.since.is_some_and(|since| deploy.at >= since)
}

/// Whether two texts are one commit, of which either may be shortened.
fn is_same_commit(left: &str, right: &str) -> bool {
    let shorter = left.len().min(right.len());
    let same = left.as_bytes().iter().zip(right.as_bytes()).all(|(left, right)| left.eq_ignore_ascii_case(right));
    same && shorter >= SHORTEST_COMMIT
}

fn unknown_trigger(draft: &Draft<'_>, asked: &TriggerName) -> Reply {
    let names = draft.service.triggers.iter().map(|trigger| trigger.name.as_str());
    Reply::Refused(Refusal::UnknownTrigger {
        service: draft.name().clone(),
        asked: asked.to_string(),
        nearest: nearest(asked.as_str(), names),
    })
}

fn known_firing(draft: &Draft<'_>, asked: &FiringId) -> Result<Firing, Reply> {
    draft.firing(asked).ok_or_else(|| {
        let names = draft.own().firings.iter().map(|firing| firing.id.as_str());
        let nearest = nearest(asked.as_str(), names);
        Reply::Refused(Refusal::UnknownFiring { asked: asked.to_string(), nearest })
    })
}

fn conflict(why: impl Into<String>) -> Reply {
    Reply::Refused(Refusal::Conflict(why.into()))
}

/// Why it is too late for an answer.
fn too_late(firing: &Firing) -> Reply {
    match &firing.stage {
        Stage::Rolling => conflict("too late: the rollback is running"),
        Stage::Verifying { .. } => conflict("too late: the rollback is done, its proof is awaited"),
        Stage::Ended { result, .. } => {
            conflict(format!("too late: the firing has ended ({})", rollback::word(*result)))
        }
        Stage::Veto { .. } | Stage::Paged { .. } => conflict("not possible now"),
    }
}

pub(crate) fn approved(draft: &mut Draft<'_>, id: &FiringId) -> Reply {
    let firing = match known_firing(draft, id) {
        Ok(firing) => firing,
        Err(refused) => return refused,
    };
    if !matches!(firing.stage, Stage::Paged { .. } | Stage::Veto { .. }) {
        return too_late(&firing);
    }
    if firing.never_roll_back {
        return conflict(format!(
            "trigger {} says `rollback: never`: code alone is not rolled back for it",
            firing.trigger
        ));
    }
    if firing.target.is_none() {
        return conflict("there is no version to return to: name one with `rollback SERVICE --to VERSION`");
    }
    if let Some(hold) = guard::target_left(draft, &firing) {
        return conflict(format!("{hold}: name another with `rollback SERVICE --to VERSION`"));
    }
    if draft.own().rolling().is_some() {
        return conflict("another rollback of this service is running");
    }
    if attempts::newer_deploy(draft, &firing) {
        return conflict("a newer deploy arrived since it fired: use `rollback SERVICE` to leave that one");
    }
    draft.firing_record(id, FiringRecord::Approved);
    page::resolve_questions(draft, id);
    rollback::begin(draft, id);
    Reply::Firing(id.clone())
}

pub(crate) fn dismissed(draft: &mut Draft<'_>, id: &FiringId, why: &str) -> Reply {
    let firing = match known_firing(draft, id) {
        Ok(firing) => firing,
        Err(refused) => return refused,
    };
    if !matches!(firing.stage, Stage::Paged { .. } | Stage::Veto { .. }) {
        return too_late(&firing);
    }
    draft.firing_record(id, FiringRecord::Dismissed { why: why.to_owned() });
    rollback::end(draft, id, FiringEnd::Dismissed, None);
    Reply::Firing(id.clone())
}

pub(crate) fn acknowledged(draft: &mut Draft<'_>, id: &FiringId) -> Reply {
    let firing = match known_firing(draft, id) {
        Ok(firing) => firing,
        Err(refused) => return refused,
    };
    if !firing.is_open() && page::is_left(draft, id) {
        page::resolve_firing_pages(draft, id);
        return Reply::Firing(id.clone());
    }
    if !firing.is_open() {
        return too_late(&firing);
    }
    if !firing.acknowledged {
        draft.firing_record(id, FiringRecord::Acknowledged);
    }
    page::acknowledge(draft, id);
    // Nothing can be approved here: the human who has seen it has it, and that is all that the receipt can tell.
    if firing.never_roll_back && matches!(firing.stage, Stage::Paged { .. }) {
        rollback::end(draft, id, FiringEnd::Paged, None);
    }
    Reply::Firing(id.clone())
}

pub(crate) fn rollback_asked(draft: &mut Draft<'_>, path: Option<&PathName>, to: Option<&Version>) -> Reply {
    if let Some(path) = path
        && draft.service.path(path).is_none()
    {
        let names = draft.service.paths.iter().map(|path| path.name.as_str());
        return Reply::Refused(Refusal::UnknownPath {
            service: draft.name().clone(),
            asked: path.to_string(),
            nearest: nearest(path.as_str(), names),
        });
    }
    if draft.own().rolling().is_some() {
        return conflict("another rollback of this service is running");
    }
    if let Some(rehearsal) = draft.own().rehearsing().filter(|rehearsal| Rehearsal::is_deploying(rehearsal)) {
        return conflict(format!("rehearsal {} is deploying {}: stop it instead", rehearsal.id, rehearsal.bad));
    }
    let Some(deploy) = current(draft.own()).map(|entry| entry.deploy.clone()) else {
        return conflict("no deploy of this service is known, so there is nothing to roll back from");
    };
    if to.is_some_and(|version| version == &deploy.version) {
        return conflict(format!("{} is what serves already", deploy.version));
    }
    let target = match to {
        Some(version) => match named_target(draft, version) {
            Ok(target) => Some(target),
            Err(refused) => return refused,
        },
        None => target_now(draft, &deploy),
    };
    if target.is_none() {
        return conflict("there is no version to return to: name one with `--to VERSION`");
    }
    let Ok(trigger) = TriggerName::new(HUMAN) else { return conflict("no name for the trigger") };
    let Some(id) = rollback::open_human(draft, trigger, deploy, target, path.cloned()) else {
        return conflict("the service's name is too long for an id");
    };
    rollback::begin(draft, &id);
    Reply::Firing(id)
}

/// A version that a human names: one of the ledger's, or the target that the watch knows; never one that was rolled
/// back (design, R3).
fn named_target(draft: &Draft<'_>, version: &Version) -> Result<Target, Reply> {
    let own = draft.own();
    let is_target =
        own.watch.as_ref().and_then(|watch| watch.target.as_ref()).filter(|target| &target.version == version);
    if let Some(target) = is_target {
        return Ok(target.clone());
    }
    if !own.ledger.knows(version) {
        let names = own.ledger.entries.iter().map(|entry| entry.deploy.version.as_str());
        return Err(Reply::Refused(Refusal::UnknownVersion {
            service: draft.name().clone(),
            asked: version.clone(),
            nearest: nearest(version.as_str(), names),
        }));
    }
    if own.ledger.was_rolled_back(version) {
        return Err(conflict(format!("{version} was rolled back itself, so it is no version to return to")));
    }
    let revision = own.ledger.revision(version).map(str::to_owned);
    Ok(Target { version: version.clone(), source: TargetSource::Human, revision })
}
