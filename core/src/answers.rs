//! What humans and pipelines say: a trigger is observed, a page is answered, a rollback is wanted.

use crate::attempts;
use crate::config::{Observed, Trigger};
use crate::deploy::{Target, TargetSource};
use crate::deploys::{current, target_now};
use crate::draft::Draft;
use crate::event::{Refusal, Reply};
use crate::firing::{Firing, FiringEnd, Origin, Stage};
use crate::guard;
use crate::name::{FiringId, PathName, TriggerName, Version, nearest};
use crate::page;
use crate::record::FiringRecord;
use crate::rollback::{self, Observation};

/// The trigger's name in the receipt of a rollback that a human asked for; the config may not use it.
pub const HUMAN: &str = "human";

pub(crate) fn reported(draft: &mut Draft<'_>, name: &TriggerName, note: Option<String>) -> Reply {
    let Some(trigger) = draft.service.trigger(name) else { return unknown_trigger(draft, name) };
    if let Observed::Metric(_) = trigger.observed {
        return Reply::Refused(Refusal::NotReported(name.clone()));
    }
    let observation = Observation {
        trigger: name.clone(),
        origin: Origin::Report,
        breach_at: draft.now,
        observed_at: draft.now,
        value: None,
        limit: None,
        note,
    };
    match rollback::fire(draft, trigger, observation) {
        Some(firing) => Reply::Firing(firing),
        None => Reply::Done,
    }
}

fn unknown_trigger(draft: &Draft<'_>, asked: &TriggerName) -> Reply {
    let names = draft.service.triggers.iter().map(|trigger: &Trigger| trigger.name.as_str());
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
