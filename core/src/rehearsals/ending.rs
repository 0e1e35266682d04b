//! How a rehearsal ends: the bad version goes by the firing of whatever saw it, and by one of the rehearsal's own where
//! nothing did. It never stays without a human who was paged for it.

use crate::answers;
use crate::config::Service;
use crate::deploy::Deploy;
use crate::deploys::target_now;
use crate::draft::Draft;
use crate::event::{Effect, Reply};
use crate::firing::{Firing, FiringEnd, Origin, Outcome, Stage as FiringStage, Took};
use crate::guard;
use crate::name::{PathName, TriggerName, Version};
use crate::page::PageReason;
use crate::receipt::fingerprint;
use crate::record::RehearsalRecord;
use crate::rehearsal::{End, PathRun, QUICK, REHEARSAL, Rehearsal, Rehearsing, Stage};
use crate::rollback;
use crate::state::ServiceState;
use crate::time::{Timestamp, show_duration};

use super::{call_off, deploying, record, under_way};

/// Who wants the bad version to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A human, whom nothing holds but what holds any human.
    ByHuman,
    /// Time, or a deploy that failed: all that holds an automatic rollback holds this.
    ByNobody,
}

/// What a firing about this deploy has to know of the rehearsal that made it.
pub(crate) fn rehearsing(own: &ServiceState, deploy: Option<&Deploy>) -> Option<Box<Rehearsing>> {
    let rehearsal = own.rehearsal.as_ref().filter(|rehearsal| deploy.is_some_and(|it| it.id == rehearsal.deploy))?;
    Some(Box::new(Rehearsing {
        id: rehearsal.id.clone(),
        witness: rehearsal.witness.clone(),
        asked_at: rehearsal.asked_at,
        deployed_by: rehearsal.attempt.clone()?,
    }))
}

fn is_about(firing: &Firing, rehearsal: &Rehearsal) -> bool {
    firing.deploy.as_ref().is_some_and(|deploy| deploy.id == rehearsal.deploy)
}

/// Whether a rollback of the bad version has begun, or a human was paged for the one that the rehearsal wanted.
fn is_going(own: &ServiceState, rehearsal: &Rehearsal) -> bool {
    let about = own.firings.iter().filter(|firing| is_about(firing, rehearsal));
    let going = |firing: &Firing| firing.was_attempted() || firing.origin == Origin::Rehearsal;
    about.into_iter().any(going) || own.rolling().is_some()
}

/// When time alone matters to the rehearsal.
pub(crate) fn next_deadline(own: &ServiceState) -> Option<Timestamp> {
    let rehearsal = own.rehearsing()?;
    match &rehearsal.stage {
        Stage::Checking { until } => Some(*until),
        Stage::Deploying => rehearsal.running().map(|attempt| attempt.ends_at),
        Stage::Watching { until } => Some(*until).filter(|_| !is_going(own, rehearsal)),
        Stage::Ended { .. } => None,
    }
}

/// The time in which something should have seen the bad version is over.
pub(crate) fn end_if_due(draft: &mut Draft<'_>) {
    let Some(rehearsal) = under_way(draft) else { return };
    match &rehearsal.stage {
        Stage::Checking { until } if *until <= draft.now => {
            let unseen = super::unchecked(draft.service, draft.own()).map(|(_, trigger, _)| trigger.name.to_string());
            let unseen: Vec<String> = unseen.collect();
            let why = format!("nothing could be seen of {}: a bad version would not be seen either", unseen.join(", "));
            call_off(draft, why);
        }
        Stage::Watching { until } if *until <= draft.now && !is_going(draft.own(), &rehearsal) => {
            let served = rehearsal.attempt.as_ref().and_then(|attempt| attempt.ended_at);
            let lasted = show_duration(until.since(served.unwrap_or(rehearsal.asked_at)));
            roll_back(draft, &format!("no trigger has fired within {lasted}"), Asked::ByNobody);
        }
        Stage::Checking { .. } | Stage::Deploying | Stage::Watching { .. } | Stage::Ended { .. } => {}
    }
}

/// The rollback of a rehearsal that no trigger has started: a firing of its own, and then as any other.
pub(super) fn roll_back(draft: &mut Draft<'_>, why: &str, asked: Asked) {
    if draft.own().rolling().is_some() {
        return;
    }
    let Some(id) = open_firing(draft, why, asked) else { return };
    let held = draft.firing(&id).and_then(|firing| guard::hold(draft, &firing)).filter(|_| asked == Asked::ByNobody);
    match held {
        Some(hold) => rollback::ask(draft, &id, PageReason::Held, &hold.to_string()),
        None => rollback::begin(draft, &id),
    }
}

fn open_firing(draft: &mut Draft<'_>, why: &str, asked: Asked) -> Option<crate::name::FiringId> {
    let rehearsal = under_way(draft)?;
    let deploy = draft.own().ledger.entry(&rehearsal.deploy).map(|entry| entry.deploy.clone())?;
    let target = target_now(draft, &deploy);
    let trigger = TriggerName::new(REHEARSAL).ok()?;
    rollback::open_rehearsal(draft, trigger, deploy, target, why.to_owned(), asked == Asked::ByHuman)
}

/// A human stops a rehearsal whose bad version serves; what refuses that, if anything does.
pub(super) fn stop(draft: &mut Draft<'_>, rehearsal: &Rehearsal) -> Option<Reply> {
    if draft.own().rolling().is_some() {
        return None;
    }
    let waits = |firing: &&Firing| {
        let asks = matches!(firing.stage, FiringStage::Paged { .. } | FiringStage::Veto { .. });
        is_about(firing, rehearsal) && asks && !firing.never_roll_back
    };
    let waiting = draft.own().open_firings().find(waits).map(|firing| firing.id.clone());
    match waiting {
        // What is asked of a human already is answered by this.
        Some(firing) => match answers::approved(draft, &firing) {
            Reply::Refused(why) => Some(Reply::Refused(why)),
            Reply::None
            | Reply::Deploy(_)
            | Reply::SameDeploy(_)
            | Reply::Firing(_)
            | Reply::SameFiring(_)
            | Reply::Rehearsal(_)
            | Reply::Done
            | Reply::NotNews(_) => None,
        },
        None => {
            roll_back(draft, "a human stopped the rehearsal", Asked::ByHuman);
            None
        }
    }
}

/// A firing ended: with it the rehearsal, where the bad version went by it or was left to a human.
pub(crate) fn firing_ended(draft: &mut Draft<'_>, firing: &Firing, result: FiringEnd) {
    let Some(rehearsal) = under_way(draft).filter(|rehearsal| is_about(firing, rehearsal)) else { return };
    if !matches!(rehearsal.stage, Stage::Watching { .. }) {
        return;
    }
    let last_word = firing.was_attempted() || firing.origin == Origin::Rehearsal;
    let end = match result {
        FiringEnd::Recovered => End::Recovered,
        // Of what never ran, the rehearsal itself is still to bring its version back.
        FiringEnd::Paged | FiringEnd::Dismissed | FiringEnd::NotRecovered if !last_word => return,
        FiringEnd::NotRecovered => End::NotRecovered,
        FiringEnd::Paged => End::LeftToHuman,
        FiringEnd::Dismissed => End::Dismissed,
    };
    let paths = path_runs(draft.service, firing, result);
    record(draft, RehearsalRecord::Ended { end, paths });
}

/// What the firing showed of each path that ran.
fn path_runs(service: &Service, firing: &Firing, result: FiringEnd) -> Vec<(PathName, PathRun)> {
    let FiringStage::Ended { receipt, .. } = &firing.stage else { return Vec::new() };
    let total = firing.recovered_at.map(|at| at.since(firing.observed_at));
    let by_the_plan = firing.origin != Origin::Rehearsal && firing.origin != Origin::Human;
    let in_time = total.is_some_and(|total| total < QUICK && firing.budget.is_none_or(|budget| total <= budget));
    let alone = firing.attempts.len() == 1 && result == FiringEnd::Recovered;
    let mut runs: Vec<(PathName, PathRun)> = Vec::new();
    for attempt in &firing.attempts {
        let worked = attempt.succeeded() && result == FiringEnd::Recovered;
        let run = PathRun {
            firing: firing.id.clone(),
            receipt: *receipt,
            trigger: firing.trigger.clone(),
            took: total.filter(|_| worked).map(Took),
            clean: worked && alone && by_the_plan && in_time && !firing.approved,
            fingerprint: fingerprint(service, &attempt.path, &firing.trigger),
        };
        runs.retain(|(path, _)| path != &attempt.path);
        runs.push((attempt.path.clone(), run));
    }
    runs
}

/// Another version is deployed over a rehearsal (design, R13): it is what serves, and the rehearsal is over. While the
/// bad version was still being deployed, it is not certain which came last: then the answer is why a human must look.
pub(crate) fn overtaken(draft: &mut Draft<'_>, by: &Version) -> Option<String> {
    let rehearsal = under_way(draft)?;
    let end = RehearsalRecord::Ended { end: End::Superseded { by: by.clone() }, paths: Vec::new() };
    match &rehearsal.stage {
        Stage::Checking { .. } => {
            call_off(draft, format!("{by} was deployed"));
            None
        }
        Stage::Deploying => {
            let attempt = rehearsal.running().cloned()?;
            let service = draft.name().clone();
            draft.effect(Effect::StopAttempt { service, attempt: attempt.id.clone() });
            // Nobody follows it any more: what it still does is nobody's to say.
            let why = format!("given up, since {by} was deployed meanwhile");
            record(draft, RehearsalRecord::AttemptEnded { outcome: Outcome::Unknown { why } });
            deploying::serve(draft, &rehearsal);
            let _receipt = open_firing(draft, &format!("{by} was deployed meanwhile"), Asked::ByNobody);
            record(draft, end);
            Some(format!(
                "{}: {by} was deployed while a rehearsal was deploying {} by path {}; the rehearsal is given up and its \
                 deploy was told to stop, so see which version serves",
                draft.name(),
                rehearsal.bad,
                attempt.path
            ))
        }
        Stage::Watching { .. } => {
            let own = draft.own();
            if !own.firings.iter().any(|firing| is_about(firing, &rehearsal)) {
                let _receipt = open_firing(draft, &format!("{by} was deployed over it"), Asked::ByNobody);
            }
            record(draft, end);
            None
        }
        Stage::Ended { .. } => None,
    }
}
