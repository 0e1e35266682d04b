//! The one door: an event and the state give records and effects. Reads, and never changes.

use crate::ahead::{Ahead, Seen};
use crate::config::Config;
use crate::draft::{Decision, Draft};
use crate::event::{Event, Happening, Refusal, Reply};
use crate::firing::{Firing, Outcome};
use crate::name::nearest;
use crate::record::Record;
use crate::state::State;
use crate::time::Timestamp;
use crate::{announcement, answers, attempts, deploys, page, proof, rehearsals, rollback, watch};

/// What follows from an event at this instant.
///
/// Make the records durable, apply them, then perform the effects: that order is what the whole program promises.
pub fn decide(config: &Config, state: &State, event: &Event, now: Timestamp) -> Decision {
    decide_seen(config, Seen { state, ahead: None }, event, now)
}

/// The same where earlier decisions are not durable yet: this one counts on them, and must become durable with them or
/// after them.
pub fn decide_after(config: &Config, state: &State, ahead: &Ahead, event: &Event, now: Timestamp) -> Decision {
    decide_seen(config, Seen { state, ahead: Some(ahead) }, event, now)
}

fn decide_seen(config: &Config, seen: Seen<'_>, event: &Event, now: Timestamp) -> Decision {
    let Some(service) = config.services.get(&event.service) else {
        let asked = event.service.as_str();
        let nearest = nearest(asked, config.services.keys().map(crate::name::ServiceName::as_str));
        return Decision::only(Reply::Refused(Refusal::UnknownService { asked: asked.to_owned(), nearest }));
    };
    let mut draft = Draft::new(config, seen, service, now);
    let reply = happened(&mut draft, &event.what);
    rehearsals::end_if_due(&mut draft);
    watch::end_if_due(&mut draft);
    draft.finish(reply)
}

fn happened(draft: &mut Draft<'_>, what: &Happening) -> Reply {
    match what {
        Happening::Deployed(report) => return deploys::reported(draft, report),
        Happening::Hinted { report, run } => return deploys::hinted(draft, report, run.as_ref()),
        Happening::Shown { report } => return deploys::shown(draft, report),
        Happening::Reported { trigger, note, about } => return answers::reported(draft, trigger, note.clone(), about),
        Happening::Approved { firing } => return answers::approved(draft, firing),
        Happening::Dismissed { firing, why } => return answers::dismissed(draft, firing, why),
        Happening::Acknowledged { firing } => return answers::acknowledged(draft, firing),
        Happening::RollbackAsked { path, to } => return answers::rollback_asked(draft, path.as_ref(), to.as_ref()),
        Happening::RehearsalAsked { bad, witness } => return rehearsals::asked(draft, bad, witness.as_deref()),
        Happening::RehearsalStopAsked => return rehearsals::stop_asked(draft),
        Happening::Frozen { duration, why } => {
            draft.record(Record::Frozen { until: draft.now + *duration, why: why.clone() });
            rehearsals::frozen(draft);
            return Reply::Done;
        }
        Happening::Thawed => {
            draft.record(Record::Thawed);
            return Reply::Done;
        }
        Happening::Looked { deploy, trigger, answers, answered_until, .. }
            if rehearsals::is_checking(draft, deploy) =>
        {
            rehearsals::checked(draft, trigger, answers, *answered_until);
        }
        Happening::Looked { deploy, trigger, answers, answered_until, so_far, besides, more_until } => {
            let (answered_until, so_far, more_until) = (*answered_until, so_far.as_ref(), *more_until);
            let seen = watch::Seen { answers, besides, answered_until, so_far, more_until };
            watch::looked(draft, deploy, trigger, &seen);
        }
        Happening::BaselineRead { deploy, trigger, answers } => watch::baseline_read(draft, deploy, trigger, answers),
        Happening::VersionBeforeRead { deploy, serving } => {
            deploys::version_before_read(draft, deploy, serving.as_ref());
        }
        Happening::Appeared { version, at, alone } => deploys::appeared(draft, version, *at, *alone),
        Happening::ServingRead { serving, at } => proof::serving_read(draft, serving.as_ref(), *at),
        Happening::SmokeAnswered { at, healthy } => proof::smoke_answered(draft, *at, *healthy),
        Happening::AttemptStarted { attempt, handle } => attempts::attempt_started(draft, attempt, handle),
        Happening::AttemptWaits { attempt, why } => attempts::attempt_waits(draft, attempt, why),
        Happening::AttemptEnded { attempt, outcome } => attempts::attempt_ended(draft, attempt, outcome),
        Happening::PageDelivered { page, pager, resolved } => page::delivered(draft, page, pager, *resolved),
        Happening::Announced { firing, by, of_end } => announcement::taken(draft, firing, by, *of_end),
        Happening::ReceiptPublished { firing, sha256 } => rollback::receipt_published(draft, firing, sha256),
        Happening::Woke => woke(draft),
    }
    Reply::None
}

/// Time alone: every deadline that has passed is acted upon, which moves or removes it.
fn woke(draft: &mut Draft<'_>) {
    rehearsals::woke(draft);
    for known in draft.open_firings() {
        // What came before in this very wake may have ended it.
        let Some(firing) = draft.firing(&known.id).filter(Firing::is_open) else { continue };
        if firing.budget_ends_at().is_some_and(|end| end <= draft.now) && !firing.budget_paged {
            rollback::budget_spent(draft, &firing);
        }
        if let Some(attempt) = firing.running()
            && attempt.ends_at <= draft.now
        {
            attempts::attempt_ended(draft, &attempt.id, &Outcome::TimedOut);
        } else {
            rollback::stage_is_over(draft, &firing.id);
        }
    }
    page::escalate_if_due(draft);
}
