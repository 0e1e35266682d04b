//! A firing from its first moment to its receipt: what holds it, which path next, until when, when to page instead.

use std::time::Duration;

use crate::announcement::{self, Announced};
use crate::attempts;
use crate::config::{Action, Trigger};
use crate::deploy::{Deploy, Target, WatchEnd};
use crate::deploys::{current, target_now};
use crate::draft::Draft;
use crate::event::Effect;
use crate::firing::{Firing, FiringEnd, Origin, Proof, Stage};
use crate::guard;
use crate::name::{FiringId, PathName, TriggerName};
use crate::page::{self, PageReason};
use crate::proof;
use crate::record::{FiringRecord, Record, WatchRecord};
use crate::rehearsals;
use crate::state::TriggerWatch;
use crate::time::{Timestamp, show_duration};
use crate::trigger::Arming;

/// That a trigger's condition held long enough, or that somebody said so.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    pub(crate) trigger: TriggerName,
    pub(crate) origin: Origin,
    pub(crate) breach_at: Timestamp,
    pub(crate) observed_at: Timestamp,
    pub(crate) value: Option<f64>,
    pub(crate) limit: Option<f64>,
    pub(crate) note: Option<String>,
}

/// How a firing ended, in the receipt's word.
#[must_use]
pub const fn word(result: FiringEnd) -> &'static str {
    match result {
        FiringEnd::Recovered => "recovered",
        FiringEnd::Paged => "paged",
        FiringEnd::Dismissed => "dismissed",
        FiringEnd::NotRecovered => "not_recovered",
    }
}

/// A trigger fired: the firing that began, the one that it belongs to, or none for a shadow.
pub(crate) fn fire(draft: &mut Draft<'_>, trigger: &Trigger, observed: Observation) -> Option<FiringId> {
    match trigger.action {
        Action::Shadow => {
            shadow(draft, observed);
            return None;
        }
        Action::Rollback => {
            if let Some(rolling) = rolling_for_this_deploy(draft) {
                join(draft, &rolling, observed);
                return Some(rolling.id);
            }
        }
        Action::Page => {}
    }
    let current = current(draft.own()).map(|entry| &entry.deploy.id);
    let same = |firing: &&Firing| {
        firing.trigger == observed.trigger && firing.deploy.as_ref().map(|deploy| &deploy.id) == current
    };
    if let Some(open) = draft.own().open_firings().find(same) {
        return Some(open.id.clone());
    }
    let firing = fresh(draft, trigger, observed)?;
    let id = firing.id.clone();
    draft.record(Record::Fired(Box::new(firing)));
    announcement::began(draft, &id);
    decide_action(draft, trigger, &id);
    Some(id)
}

/// Noted once in a watch. Triggers are live during a watch alone; outside one there is nothing to be a shadow of.
fn shadow(draft: &mut Draft<'_>, observed: Observation) {
    let watch = draft.own().watch.as_ref();
    let spent = |known: &TriggerWatch| known.arming == Arming::Spent;
    let told = watch.is_none_or(|watch| watch.triggers.get(&observed.trigger).is_some_and(spent));
    if !told {
        let value = observed.value.unwrap_or_default();
        let (trigger, observed_at) = (observed.trigger, observed.observed_at);
        draft.record(Record::Watch(WatchRecord::Shadowed { trigger, observed_at, value }));
    }
}

fn join(draft: &mut Draft<'_>, rolling: &Firing, observed: Observation) {
    let joined = rolling.joined.iter().any(|(trigger, _)| trigger == &observed.trigger);
    if rolling.trigger != observed.trigger && !joined {
        let what = FiringRecord::Joined { trigger: observed.trigger, observed_at: observed.observed_at };
        draft.firing_record(&rolling.id, what);
    }
}

fn rolling_for_this_deploy(draft: &Draft<'_>) -> Option<Firing> {
    let latest = &draft.own().ledger.latest()?.deploy.id;
    let rolling = draft.own().rolling()?;
    rolling.deploy.as_ref().filter(|deploy| &deploy.id == latest).map(|_| rolling.clone())
}

fn fresh(draft: &Draft<'_>, trigger: &Trigger, observed: Observation) -> Option<Firing> {
    let deploy = current(draft.own()).map(|entry| entry.deploy.clone());
    let target = deploy.as_ref().and_then(|deploy| target_now(draft, deploy));
    let mut firing = empty(draft, observed.trigger, observed.origin, deploy, target)?;
    firing.note = observed.note;
    firing.value = observed.value;
    firing.limit = observed.limit;
    firing.budget = trigger.budget;
    firing.never_roll_back = trigger.never_roll_back;
    firing.breach_at = observed.breach_at;
    firing.observed_at = observed.observed_at;
    Some(firing)
}

fn empty(
    draft: &Draft<'_>,
    trigger: TriggerName,
    origin: Origin,
    deploy: Option<Deploy>,
    target: Option<Target>,
) -> Option<Firing> {
    let rehearsal = rehearsals::rehearsing(draft.own(), deploy.as_ref());
    Some(Firing {
        id: FiringId::new(draft.next_id('f')).ok()?,
        trigger,
        origin,
        target,
        built: None,
        note: None,
        value: None,
        limit: None,
        budget: None,
        never_roll_back: false,
        dry_run: draft.is_dry_run(),
        announced: announced(draft, rehearsal.is_some()),
        rehearsal,
        deploy,
        breach_at: draft.now,
        observed_at: draft.now,
        decided_at: draft.now,
        // Whatever follows is in the same decision; until then nobody has been asked anything.
        stage: Stage::Paged { why: "not decided yet".to_owned(), closes_at: closes_at(draft) },
        only_path: None,
        attempts: Vec::new(),
        earlier_attempts: 0,
        would_run: Vec::new(),
        passed_over: Vec::new(),
        joined: Vec::new(),
        proof: Proof::default(),
        recovered_at: None,
        acknowledged: false,
        approved: false,
        dismissed: None,
        budget_paged: false,
        story: Vec::new(),
    })
}

/// In a dry run nobody is told (design, R12). A rehearsal is no incident: whoever counts those must not count it.
fn announced(draft: &Draft<'_>, is_rehearsal: bool) -> Announced {
    let to = draft.service.announce.iter().filter(|_| !is_rehearsal && !draft.is_dry_run());
    Announced::beginning(to.cloned().collect())
}

/// A human asked for a rollback.
pub(crate) fn open_human(
    draft: &mut Draft<'_>,
    trigger: TriggerName,
    deploy: Deploy,
    target: Option<Target>,
    only_path: Option<PathName>,
) -> Option<FiringId> {
    let mut firing = empty(draft, trigger, Origin::Human, Some(deploy), target)?;
    firing.only_path = only_path;
    firing.approved = true;
    let id = firing.id.clone();
    draft.record(Record::Fired(Box::new(firing)));
    announcement::began(draft, &id);
    Some(id)
}

/// A rehearsal wants its bad version to go, which no trigger has seen; `by_human` where a human stopped it.
pub(crate) fn open_rehearsal(
    draft: &mut Draft<'_>,
    trigger: TriggerName,
    deploy: Deploy,
    target: Option<Target>,
    why: String,
    by_human: bool,
) -> Option<FiringId> {
    let mut firing = empty(draft, trigger, Origin::Rehearsal, Some(deploy), target)?;
    firing.note = Some(why);
    firing.approved = by_human;
    let id = firing.id.clone();
    draft.record(Record::Fired(Box::new(firing)));
    Some(id)
}

/// Until when a human's answer, or the proof, is awaited: one watch's time at least.
fn closes_at(draft: &Draft<'_>) -> Timestamp {
    let from_now = draft.now + draft.service.watch;
    draft.own().watch.as_ref().map_or(from_now, |watch| watch.until.max(from_now))
}

fn decide_action(draft: &mut Draft<'_>, trigger: &Trigger, id: &FiringId) {
    let Some(firing) = draft.firing(id) else { return };
    if trigger.action == Action::Page {
        let what = if trigger.never_roll_back {
            "code is never rolled back for this trigger"
        } else {
            "the trigger list asks for a human's decision"
        };
        return ask(draft, id, PageReason::Manual, what);
    }
    if let Some(hold) = guard::hold(draft, &firing) {
        return ask(draft, id, PageReason::Held, &hold.to_string());
    }
    if trigger.veto > Duration::ZERO && !draft.is_dry_run() {
        return veto(draft, &firing, trigger.veto);
    }
    begin(draft, id);
}

/// Pages a human and waits for the answer.
pub(crate) fn ask(draft: &mut Draft<'_>, id: &FiringId, reason: PageReason, why: &str) {
    draft.firing_record(id, FiringRecord::Paged { why: why.to_owned(), closes_at: closes_at(draft) });
    let Some(firing) = draft.firing(id) else { return };
    let asked = if firing.never_roll_back {
        "follow the plan for it"
    } else if attempts::newer_deploy(draft, &firing) {
        "see which version serves"
    } else if matches!(reason, PageReason::NoPathLeft | PageReason::UnknownOutcome) {
        "roll back by hand, or approve to try the paths again"
    } else {
        "approve or dismiss"
    };
    let summary = format!("{}: {} fired{}; {why}; {asked}", draft.name(), firing.trigger, on_version(&firing));
    page::about_firing(draft, id, reason, summary);
}

fn on_version(firing: &Firing) -> String {
    let on = firing.deploy.as_ref().map(|deploy| format!(" on {}", deploy.version)).unwrap_or_default();
    if firing.rehearsal.is_some() { format!("{on}, which a rehearsal deployed") } else { on }
}

fn veto(draft: &mut Draft<'_>, firing: &Firing, veto: Duration) {
    let until = draft.now + veto;
    draft.firing_record(&firing.id, FiringRecord::Vetoable { until });
    let back_to = firing.target.as_ref().map(|target| format!(" to {}", target.version)).unwrap_or_default();
    let summary = format!(
        "{}: {} fired{}; rolling back{back_to} in {} unless dismissed",
        draft.name(),
        firing.trigger,
        on_version(firing),
        show_duration(veto)
    );
    page::about_firing(draft, &firing.id, PageReason::Veto, summary);
}

/// Starts the rollback of a firing that nothing holds.
pub(crate) fn begin(draft: &mut Draft<'_>, id: &FiringId) {
    attempts::start_next(draft, id);
}

/// Awaits the proof from now on.
pub(crate) fn verify(draft: &mut Draft<'_>, id: &FiringId, why: String) {
    page::resolve_questions(draft, id);
    draft.firing_record(id, FiringRecord::Verifying { closes_at: closes_at(draft), why });
    proof::check(draft, id);
}

/// A stage that has a deadline is over.
pub(crate) fn stage_is_over(draft: &mut Draft<'_>, id: &FiringId) {
    let Some(firing) = draft.firing(id) else { return };
    match &firing.stage {
        Stage::Veto { until } if *until <= draft.now => veto_is_over(draft, &firing),
        Stage::Paged { closes_at, .. } if *closes_at <= draft.now => {
            let result = if firing.was_attempted() { FiringEnd::NotRecovered } else { FiringEnd::Paged };
            close(draft, id, result, None);
        }
        Stage::Verifying { closes_at, .. } if *closes_at <= draft.now => not_recovered(draft, &firing),
        Stage::Veto { .. } | Stage::Paged { .. } | Stage::Verifying { .. } | Stage::Rolling | Stage::Ended { .. } => {}
    }
}

/// What held nothing when the trigger fired may hold now: a freeze, other services that fired meanwhile.
fn veto_is_over(draft: &mut Draft<'_>, firing: &Firing) {
    page::resolve_questions(draft, &firing.id);
    match guard::hold(draft, firing) {
        Some(hold) => ask(draft, &firing.id, PageReason::Held, &hold.to_string()),
        None => begin(draft, &firing.id),
    }
}

/// The budget is spent: a human is paged, and nothing that runs is stopped (design, R9).
pub(crate) fn budget_spent(draft: &mut Draft<'_>, firing: &Firing) {
    draft.firing_record(&firing.id, FiringRecord::BudgetSpent);
    let budget = firing.budget.map(show_duration).unwrap_or_default();
    let doing = match &firing.stage {
        Stage::Rolling => "the rollback is still running",
        Stage::Verifying { .. } if firing.was_attempted() => "the path is done, but recovery is not proven",
        Stage::Verifying { .. } => "production has not been seen back",
        Stage::Paged { .. } => "nobody has answered the page",
        Stage::Veto { .. } => "the time to dismiss is not over",
        Stage::Ended { .. } => return,
    };
    let summary = format!("{}: the budget of {budget} for {} is spent; {doing}", draft.name(), firing.trigger);
    page::about_firing(draft, &firing.id, PageReason::BudgetSpent, summary);
}

/// A path said done, and nothing proved it in time. Whoever was not paged by the spent budget is now.
fn not_recovered(draft: &mut Draft<'_>, firing: &Firing) {
    if firing.budget.is_none() {
        let summary =
            format!("{}: the path is done, but recovery was never proven; nothing more is tried", draft.name());
        page::about_firing(draft, &firing.id, PageReason::NoPathLeft, summary);
    }
    close(draft, &firing.id, FiringEnd::NotRecovered, None);
}

/// A firing ends, and no human is needed for it any more.
pub(crate) fn end(draft: &mut Draft<'_>, id: &FiringId, result: FiringEnd, recovered_at: Option<Timestamp>) {
    page::resolve_firing_pages(draft, id);
    close(draft, id, result, recovered_at);
    if result == FiringEnd::Recovered {
        page::resolve_left_pages(draft);
    }
}

/// Every firing ends here, with the number of its one receipt (design, R8). A page that nobody answered in time is not
/// over by that: it stays until somebody takes it, production is back, or another version is deployed.
fn close(draft: &mut Draft<'_>, id: &FiringId, result: FiringEnd, recovered_at: Option<Timestamp>) {
    conclude(draft, id, result, recovered_at);
    let Some(firing) = draft.firing(id) else { return };
    if result == FiringEnd::Recovered || (result == FiringEnd::NotRecovered && firing.was_attempted()) {
        end_rolled_back_watch(draft, &firing, result);
    }
}

fn conclude(draft: &mut Draft<'_>, id: &FiringId, result: FiringEnd, recovered_at: Option<Timestamp>) {
    let receipt = draft.next_receipt();
    draft.firing_record(id, FiringRecord::Ended { result, receipt, recovered_at });
    draft.effect(Effect::PublishReceipt { service: draft.name().clone(), firing: id.clone() });
    announcement::ended(draft, id);
    if let Some(firing) = draft.firing(id) {
        rehearsals::firing_ended(draft, &firing, result);
    }
}

/// A newer deploy ends what was asked about the one before.
pub(crate) fn superseded(draft: &mut Draft<'_>, firing: &Firing) {
    page::resolve_firing_pages(draft, &firing.id);
    let result = if firing.was_attempted() { FiringEnd::NotRecovered } else { FiringEnd::Paged };
    conclude(draft, &firing.id, result, None);
}

/// The watch of a version that was rolled back is over, and so is what else was asked about it.
fn end_rolled_back_watch(draft: &mut Draft<'_>, firing: &Firing, result: FiringEnd) {
    let Some(watch) = draft.own().watch.clone() else { return };
    // Another rollback is under way: its end is the end of the watch, and nothing ends it before.
    if draft.own().rolling().is_some() {
        return;
    }
    let same = firing.deploy.as_ref().is_some_and(|deploy| deploy.id == watch.deploy);
    // In a dry run a human went back, or nobody did and it recovered by itself.
    let went_back = draft.own().ledger.entry(&watch.deploy).is_some_and(|entry| entry.rolled_back);
    let end_as = match (same, result) {
        (true, _) if went_back => WatchEnd::RolledBack,
        // Production is back on the target: what was deployed in between does not serve.
        (false, FiringEnd::Recovered) => WatchEnd::Superseded,
        (true | false, _) => return,
    };
    for other in draft.open_firings().into_iter().filter(|other| other.id != firing.id) {
        let note = format!("{} was rolled back by firing {}", watch.version, firing.id);
        draft.firing_record(&other.id, FiringRecord::Noted { what: note });
        end(draft, &other.id, FiringEnd::Paged, None);
    }
    page::resolve_watch_pages(draft);
    draft.watch_record(WatchRecord::Ended { end: end_as });
}

pub(crate) fn receipt_published(draft: &mut Draft<'_>, id: &FiringId, sha256: &str) {
    let unpublished = |firing: &Firing| matches!(firing.stage, Stage::Ended { published: false, .. });
    if draft.firing(id).is_some_and(|firing| unpublished(&firing)) {
        draft.firing_record(id, FiringRecord::Published { sha256: sha256.to_owned() });
    }
}
