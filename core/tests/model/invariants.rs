//! The invariants, each with its name and its rule. They judge by what really happened outside and by bookkeeping of
//! their own, never by a flag that the core keeps for itself.

use std::collections::BTreeSet;
use std::time::Duration;

use rollbackd_core::config::{Action, Mode, Observed, Service, Trigger};
use rollbackd_core::deploy::{Migration, WatchEnd};
use rollbackd_core::event::{Effect, Happening};
use rollbackd_core::firing::{Attempt, Firing, FiringEnd, Origin, Proof, Stage};
use rollbackd_core::name::{DeployId, FiringId, ServiceName, TriggerName};
use rollbackd_core::page::Page;
use rollbackd_core::proof;
use rollbackd_core::record::{FiringRecord, PageRecord, Record, WatchRecord};
use rollbackd_core::state::{ServiceState, Watch};
use rollbackd_core::time::Timestamp;

use super::plan::{Plan, Reading, SLOT};
use super::world::{Outside, World};

/// The name that three places speak of.
pub(crate) const ONE_REMOTE_RUN: &str = "R2 never two remote runs of a path in one round, unless it is repeatable";

/// An invariant that does not hold.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) name: &'static str,
    pub(crate) what: String,
}

impl Broken {
    pub(crate) const fn new(name: &'static str, what: String) -> Self {
        Self { name, what }
    }
}

/// Holds, or is broken.
pub(crate) fn hold(holds: bool, name: &'static str, what: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken::new(name, what())) }
}

fn plan_of<'a>(plan: &'a Plan, service: &ServiceName) -> &'a Service {
    &plan.config.services[service]
}

/// Of each record, in the state before it.
pub(crate) fn before_record(
    plan: &Plan,
    world: &mut World,
    service: &ServiceName,
    record: &Record,
) -> Result<(), Broken> {
    // Taken out for a moment, so that the bookkeeping of the world can be written.
    let own = world.state.services.remove(service.as_str());
    let empty = ServiceState::default();
    let held = one_record(plan, world, service, own.as_deref().unwrap_or(&empty), record);
    if let Some(own) = own {
        world.state.services.insert(service.clone(), own);
    }
    held
}

fn one_record(
    plan: &Plan,
    world: &mut World,
    service: &ServiceName,
    own: &ServiceState,
    record: &Record,
) -> Result<(), Broken> {
    match record {
        Record::Firing { id, what } => {
            let firing = own.firing(id).ok_or_else(|| Broken::new("a record names a known firing", format!("{id}")))?;
            firing_record(plan, world, service, own, firing, what)
        }
        Record::Page(PageRecord::Opened { page }) => page_opens(own, page),
        Record::Watch(WatchRecord::Opened { watch }) => watch_opens(world, service, own, watch),
        Record::Watch(WatchRecord::Ended { end: WatchEnd::Passed }) => {
            let watch = own.watch.as_ref().expect("the watch that ends");
            passed_by_health(plan_of(plan, service), &world.outside[service], own, watch)
        }
        Record::Fired(firing) => fires(plan_of(plan, service), world, service, own, firing),
        Record::Page(_)
        | Record::Watch(_)
        | Record::Ledger(_)
        | Record::Rehearsal(_)
        | Record::Frozen { .. }
        | Record::Thawed => Ok(()),
    }
}

fn page_opens(own: &ServiceState, page: &Page) -> Result<(), Broken> {
    hold(own.page(&page.id).is_none(), "R8 two open pages never share a dedup key", || format!("{page:?}"))?;
    let ended = page.firing.as_ref().and_then(|id| own.firing(id)).is_some_and(|firing| !firing.is_open());
    hold(!ended, "R8 no page opens about a firing that has ended", || format!("{page:?}"))
}

fn watch_opens(world: &World, service: &ServiceName, own: &ServiceState, watch: &Watch) -> Result<(), Broken> {
    hold(own.watch.is_none(), "one watch at a time", || format!("{watch:?}"))?;
    let Some(target) = &watch.target else { return Ok(()) };
    hold(target.version != watch.version, "R3 a target is another version", || format!("{watch:?}"))?;
    let left = world.outside[service].left.contains(&target.version);
    hold(!left, "R3 R4 no watch opens that could roll forward to a version that was left", || format!("{watch:?}"))
}

/// R5, R7, R9: what fires was shown by the metric itself.
fn fires(
    plan: &Service,
    world: &World,
    service: &ServiceName,
    own: &ServiceState,
    firing: &Firing,
) -> Result<(), Broken> {
    hold(own.firing(&firing.id).is_none(), "a firing has its own id", || format!("{firing:?}"))?;
    let trigger = plan.trigger(&firing.trigger).filter(|_| firing.origin == Origin::Metric);
    let Some(trigger) = trigger else { return Ok(()) };
    let watch = own.watch.as_ref().ok_or_else(|| Broken::new("R7 a metric fires in a watch alone", String::new()))?;
    let shown = |at: Timestamp| world.outside[service].reading(&trigger.name, at);
    let told = || format!("{firing:?} of {:?}", world.outside[service].readings);
    hold(firing.breach_at > watch.at, "R5 what was before the deploy never fires", told)?;
    let all = slots(firing.breach_at, firing.observed_at).all(|at| shown(at) == Some(Reading::Breach));
    let long = firing.observed_at.since(firing.breach_at) >= trigger.hold;
    hold(all && long, "R7 a trigger fires when every slot of its `for` is there and a breach", told)?;
    let before = firing.breach_at - SLOT;
    let first = before <= watch.at || shown(before) != Some(Reading::Breach);
    let exact = first && firing.observed_at == firing.breach_at + trigger.hold;
    hold(exact, "R9 the clock starts when the data satisfied the trigger", told)?;
    let disarmed = shown(watch.at.floor(SLOT)) == Some(Reading::Breach);
    let cleared = slots(watch.at + SLOT, before).any(|at| shown(at) == Some(Reading::Clear));
    hold(!disarmed || cleared, "R5 a disarmed trigger never fires before it was clear", told)
}

fn slots(from: Timestamp, to: Timestamp) -> impl Iterator<Item = Timestamp> {
    std::iter::successors(Some(from), |at| Some(*at + SLOT)).take_while(move |at| *at <= to)
}

/// R7: a version is healthy by what was seen alone.
fn passed_by_health(plan: &Service, outside: &Outside, own: &ServiceState, watch: &Watch) -> Result<(), Broken> {
    const NAME: &str = "R7 a watch passes by health alone: nothing fired, seen clear, no breach at its end";
    let told = || format!("{watch:?} with {:?}", outside.readings);
    let about = |firing: &&Firing| firing.deploy.as_ref().is_some_and(|deploy| deploy.id == watch.deploy);
    hold(own.firings.iter().filter(about).count() == 0, NAME, told)?;
    for trigger in plan.triggers.iter().filter(|trigger| trigger.action != Action::Shadow) {
        let Observed::Metric(_) = &trigger.observed else { continue };
        let Some(readings) = outside.readings.get(&trigger.name) else {
            return Err(Broken::new(NAME, told()));
        };
        let after: Vec<Reading> = readings.range(watch.at + SLOT..=watch.until).map(|(_, reading)| *reading).collect();
        // What keeps the watch open beyond its end is seen as well.
        let clear = readings.range(watch.at + SLOT..).any(|(_, reading)| *reading == Reading::Clear);
        hold(clear, NAME, told)?;
        let parts = trigger.hold.as_millis() / SLOT.as_millis() + 1;
        let row = after.split(|reading| *reading != Reading::Breach).map(<[Reading]>::len).max().unwrap_or(0);
        let was_breaching = readings.get(&watch.at.floor(SLOT)) == Some(&Reading::Breach);
        hold(was_breaching || (row as u128) < parts, NAME, told)?;
        // What breaches at the end has to be clear, or gone, by the last slot that was seen.
        let ends_well =
            readings.values().next_back() != Some(&Reading::Breach) || after.last() != Some(&Reading::Breach);
        hold(ends_well, NAME, told)?;
    }
    Ok(())
}

fn firing_record(
    plan: &Plan,
    world: &mut World,
    service: &ServiceName,
    own: &ServiceState,
    firing: &Firing,
    what: &FiringRecord,
) -> Result<(), Broken> {
    match what {
        FiringRecord::AttemptIntended { attempt, automatic } => {
            attempt_is_allowed(plan, world, service, own, firing, attempt)?;
            if *automatic {
                automatic_is_allowed(plan, world, service, own, firing)?;
            }
            let outside = world.outside.get_mut(service).expect("a service of the model");
            outside.left.extend(firing.deploy.as_ref().map(|deploy| deploy.version.clone()));
            Ok(())
        }
        FiringRecord::Ended { receipt, result, .. } => {
            hold(firing.is_open(), "R8 a firing ends once", || format!("{firing:?}"))?;
            hold(firing.running().is_none(), "R8 no firing ends while its attempt runs", || format!("{firing:?}"))?;
            let next = world.state.last_receipt + 1;
            hold(*receipt == next, "R8 receipts are numbered without gaps", || format!("{receipt}, not {next}"))?;
            if *result == FiringEnd::Recovered {
                recovered_is_proven(plan_of(plan, service), &world.outside[service], firing)?;
            }
            Ok(())
        }
        FiringRecord::Published { .. } => {
            hold(!firing.is_open(), "R8 a receipt is of a firing that has ended", || format!("{firing:?}"))
        }
        FiringRecord::Announced { .. } => Ok(()),
        FiringRecord::Proved { proof, .. } => proof_is_true(&world.outside[service], firing, proof),
        FiringRecord::Joined { .. }
        | FiringRecord::Paged { .. }
        | FiringRecord::Vetoable { .. }
        | FiringRecord::AttemptStarted { .. }
        | FiringRecord::AttemptInDoubt { .. }
        | FiringRecord::AttemptEnded { .. }
        | FiringRecord::PassedOver { .. }
        | FiringRecord::WouldRun { .. }
        | FiringRecord::Verifying { .. }
        | FiringRecord::Approved
        | FiringRecord::Dismissed { .. }
        | FiringRecord::Acknowledged
        | FiringRecord::BudgetSpent
        | FiringRecord::Noted { .. } => {
            hold(firing.is_open(), "R8 nothing is added to a firing that has ended", || format!("{what:?}"))
        }
    }
}

fn attempt_is_allowed(
    plan: &Plan,
    world: &World,
    service: &ServiceName,
    own: &ServiceState,
    firing: &Firing,
    attempt: &Attempt,
) -> Result<(), Broken> {
    let told = || format!("{attempt:?} of {firing:?}");
    hold(plan.config.mode == Mode::Live, "R12 a dry run intends nothing", told)?;
    let trigger = plan_of(plan, service).trigger(&firing.trigger);
    let never = trigger.is_some_and(|trigger| trigger.never_roll_back);
    hold(!never, "R6 `rollback: never` is rolled back by nobody", told)?;
    let approved = world.outside[service].approved.contains(&firing.id);
    let pages = trigger.is_some_and(|trigger: &Trigger| trigger.action == Action::Page);
    hold(!pages || approved, "a trigger with `action: page` never runs a path without an approval", told)?;
    let (Some(target), Some(deploy)) = (&firing.target, &firing.deploy) else {
        return Err(Broken::new("R3 a rollback has a target and a deploy", told()));
    };
    hold(target.version != deploy.version, "R3 a target is another version", told)?;
    let left = world.outside[service].left.contains(&target.version);
    hold(!left, "R3 R4 no rollback goes to a version that was left", told)?;
    let other = own.open_firings().any(|other| other.id != firing.id && other.is_rolling());
    hold(!other && firing.running().is_none(), "R1 one rollback at a time", told)
}

fn automatic_is_allowed(
    plan: &Plan,
    world: &mut World,
    service: &ServiceName,
    own: &ServiceState,
    firing: &Firing,
) -> Result<(), Broken> {
    let told = || format!("{firing:?}");
    let now = world.now;
    let approved = world.outside[service].approved.contains(&firing.id);
    hold(!approved, "an approved path is no automatic one", told)?;
    let deploy = firing.deploy.as_ref().expect("checked before");
    let first = world.outside[service].automatic.get(&deploy.id).is_none_or(|first| first == &firing.id);
    hold(first, "R1 at most one automatic rollback for a deploy", told)?;
    let migration = own.ledger.entry(&deploy.id).map_or(deploy.migration, |entry| entry.deploy.migration);
    hold(migration != Migration::Breaking, "R6 a migration is never rolled back automatically", told)?;
    hold(own.frozen(now).is_none(), "R11 a freeze holds every automatic path", told)?;
    let spent = firing.budget.is_some_and(|budget| firing.observed_at + budget <= now);
    hold(!spent, "R9 no automatic path starts once the budget is spent", told)?;
    let newest = own.ledger.entries.iter().max_by_key(|entry| entry.deploy.reported_at);
    let newer = newest.is_some_and(|newest| newest.deploy.id != deploy.id);
    hold(!newer, "R13 no automatic path leaves a deploy that was superseded", told)?;
    if firing.attempts.is_empty() {
        fleet_allows(plan, world, service)?;
        let limit = plan_of(plan, service).automatic_limit;
        let outside = world.outside.get_mut(service).expect("a service of the model");
        outside.automatic_at.retain(|at| *at > now - limit.within);
        outside.automatic_at.push(now);
        hold(outside.automatic_at.len() <= limit.rollbacks, "R1 automatic_limit", told)?;
    }
    let outside = world.outside.get_mut(service).expect("a service of the model");
    outside.automatic.entry(deploy.id.clone()).or_insert_with(|| firing.id.clone());
    Ok(())
}

/// R10, by the firings of the other services alone.
fn fleet_allows(plan: &Plan, world: &World, service: &ServiceName) -> Result<(), Broken> {
    let Some(guard) = plan.config.fleet_guard else { return Ok(()) };
    let lately = |firing: &Firing| firing.decided_at > world.now - guard.within && firing.origin != Origin::Human;
    let others = world.state.services.iter().filter(|(name, own)| *name != service && own.firings.iter().any(lately));
    let together = others.count() + 1;
    hold(together < guard.services, "R10 services that fire together are held", || format!("{together} with {service}"))
}

/// R9: whatever is said to be proven was really so at that instant.
fn proof_is_true(outside: &Outside, firing: &Firing, proof: &Proof) -> Result<(), Broken> {
    let told = || format!("{proof:?} with {:?}", outside.served);
    let target = firing.target.as_ref().map(|target| &target.version);
    // What was seen before was true then; what is new has to be true now.
    let new = proof.serving_at.filter(|_| proof.serving_at != firing.proof.serving_at);
    let served = new.is_none_or(|at| outside.served_at(at) == target);
    hold(served, "R9 the proof that the target serves is true", told)?;
    let clear = |(trigger, at): (&TriggerName, &Timestamp)| outside.reading(trigger, *at) == Some(Reading::Clear);
    // Readings from before the watch that is open now are forgotten here.
    let kept = |(trigger, at): &(&TriggerName, &Timestamp)| outside.reading(trigger, **at).is_some();
    hold(proof.clear_at.iter().filter(kept).all(clear), "R9 the proof that a trigger is clear is true", told)
}

fn recovered_is_proven(plan: &Service, outside: &Outside, firing: &Firing) -> Result<(), Broken> {
    let told = || format!("{firing:?} with {:?}", outside.served);
    let needs = proof::needs(plan, firing);
    let asks = plan.version_query.is_some() && firing.target.is_some();
    hold(!asks || firing.proof.serving_at.is_some(), "R9 recovered: the target was seen serving", told)?;
    let smoke = plan.smoke.is_none() || firing.proof.smoke_at.is_some();
    hold(smoke, "R9 recovered: the smoke URL answered", told)?;
    let clear = needs.clear.iter().all(|trigger| firing.proof.clear_at.contains_key(trigger));
    hold(clear, "R9 recovered: what fired was seen clear", told)
}

/// Of the state after each record.
pub(crate) fn after_record(world: &World, service: &ServiceName) -> Result<(), Broken> {
    let own = &world.state.services[service];
    let rolling = own.firings.iter().filter(|firing| firing.is_rolling()).count();
    hold(rolling <= 1, "R1 one rollback at a time", || format!("{:?}", own.firings))?;
    let running = own.firings.iter().filter(|firing| firing.running().is_some());
    let orphan = running.clone().find(|firing| firing.stage != Stage::Rolling);
    hold(running.count() <= 1 && orphan.is_none(), "R1 at most one running attempt for a service", || {
        format!("{:?}", own.firings)
    })
}

/// Of one event, with the state of its service before and after it.
pub(crate) fn after_event(
    plan: &Plan,
    world: &World,
    service: &ServiceName,
    before: Option<&ServiceState>,
    what: &Happening,
) -> Result<(), Broken> {
    let (Some(before), Some(own)) = (before, world.state.services.get(service)) else { return Ok(()) };
    let took = |page: &Page| {
        if let Happening::PageDelivered { page: id, pager, resolved } = what
            && id == &page.id
        {
            return Some((pager.clone(), *resolved));
        }
        None
    };
    for page in before.pages.iter().filter(|page| own.page(&page.id).is_none()) {
        let mut owed: BTreeSet<_> = page.undelivered.iter().map(|pager| (pager.clone(), false)).collect();
        owed.extend(page.unresolved.iter().map(|pager| (pager.clone(), true)));
        if let Some(taken) = took(page) {
            owed.remove(&taken);
        }
        let over = page.resolved_at.is_some() || page.pagers.is_empty();
        hold(over && owed.is_empty(), "R8 a page stays until it is delivered and resolved", || format!("{page:?}"))?;
    }
    if let (Some(old), Some(new)) = (&before.watch, &own.watch)
        && old.deploy != new.deploy
        && let Some(target) = old.target.as_ref().filter(|target| target.version != new.version)
    {
        let same = new.target.as_ref() == Some(target);
        hold(same, "R13 the target carries over to the deploy that supersedes", || format!("{old:?} {new:?}"))?;
    }
    brings_back(plan, before, own, what)
}

/// R4: the deploy event of the version that a rollback under way goes back to opens no watch.
fn brings_back(plan: &Plan, before: &ServiceState, own: &ServiceState, what: &Happening) -> Result<(), Broken> {
    let Happening::Deployed(report) = what else { return Ok(()) };
    let back = before.rolling().and_then(|firing| firing.target.as_ref());
    if plan.config.mode == Mode::Live && back.is_some_and(|target| target.version == report.version) {
        let deploy = |own: &ServiceState| -> Option<DeployId> { Some(own.ledger.latest()?.deploy.id.clone()) };
        let opened = deploy(before) != deploy(own);
        return hold(!opened, "R4 the deploy that a rollback causes opens no watch", || format!("{report:?}"));
    }
    Ok(())
}

/// Of each effect, in the durable state.
pub(crate) fn before_effect(plan: &Plan, world: &World, effect: &Effect) -> Result<(), Broken> {
    let live = plan.config.mode == Mode::Live;
    let told = || format!("{effect:?}");
    match effect {
        Effect::StartAttempt(order) | Effect::FollowAttempt { order, .. } => {
            let touches = matches!(effect, Effect::StartAttempt(_));
            hold(live || !touches, "R12 a dry run touches nothing", told)?;
            let firing = world.state.services.get(&order.service).and_then(|own| own.firing(&order.firing));
            let durable = firing.and_then(Firing::running).is_some_and(|attempt| {
                attempt.id == order.attempt && attempt.run == order.run && attempt.path == order.path
            });
            hold(durable, "R2 no remote run without durable intent", told)
        }
        Effect::StopAttempt { .. } | Effect::AcknowledgePage { .. } | Effect::Announce { .. } => {
            hold(live, "R12 a dry run touches nothing", told)
        }
        Effect::Page { service, page, .. } => {
            hold(live, "R12 a dry run touches nothing", told)?;
            let known = world.state.services.get(service).and_then(|own| own.page(&page.id));
            hold(known.is_some() || page.resolved_at.is_some(), "R8 a page is durable before it is sent", told)
        }
        Effect::PublishReceipt { service, firing } => {
            let ended = world.state.services.get(service).and_then(|own| own.firing(firing));
            hold(ended.is_some_and(|firing| !firing.is_open()), "R8 a receipt is of a firing that has ended", told)
        }
    }
}

/// Of the state between two steps: what is promised is also being done.
pub(crate) fn at_rest(plan: &Plan, world: &World) -> Result<(), Broken> {
    if !world.up {
        return Ok(());
    }
    for (name, own) in &world.state.services {
        let outside = &world.outside[name];
        for firing in &own.firings {
            if matches!(firing.stage, Stage::Ended { published: false, .. }) {
                let ordered = outside.publishing.contains(&firing.id);
                hold(ordered, "R8 every ended firing has its receipt ordered", || format!("{firing:?}"))?;
            }
            is_asked(plan, own, firing)?;
            if let Some(attempt) = firing.running().filter(|attempt| !attempt.in_doubt) {
                let followed = outside.remotes.iter().any(|remote| remote.attempt == attempt.id && remote.followed);
                hold(followed, "R2 an attempt that runs is followed", || format!("{attempt:?}"))?;
            }
        }
        for page in &own.pages {
            let ordered = |owed: bool, resolved: bool| !owed || outside.sending.contains(&(page.id.clone(), resolved));
            let both = ordered(!page.undelivered.is_empty(), false) && ordered(!page.unresolved.is_empty(), true);
            hold(both, "R8 every page that is owed is being sent", || format!("{page:?}"))?;
        }
    }
    Ok(())
}

/// A firing that waits for a human has an open page that says so.
fn is_asked(plan: &Plan, own: &ServiceState, firing: &Firing) -> Result<(), Broken> {
    let asks = matches!(firing.stage, Stage::Paged { .. } | Stage::Veto { .. });
    if !asks || plan.config.mode == Mode::DryRun {
        return Ok(());
    }
    let about = |page: &&Page| page.firing.as_ref() == Some(&firing.id) && page.resolved_at.is_none();
    hold(own.pages.iter().any(|page| about(&page)), "R8 who is waited for has an open page", || format!("{firing:?}"))
}

/// After the wakes of an instant: the next lies ahead, and what was due was done.
pub(crate) fn after_wake(world: &World, service: &ServiceName, wake: Option<Timestamp>) -> Result<(), Broken> {
    let ahead = wake.is_none_or(|at| at > world.now);
    hold(ahead, "a wake makes progress: the next lies ahead", || format!("{service} wakes at {wake:?}"))?;
    let Some(own) = world.state.services.get(service) else { return Ok(()) };
    let spent = |firing: &&Firing| {
        firing.budget.is_some_and(|budget: Duration| firing.observed_at + budget <= world.now) && !firing.budget_paged
    };
    let untold: Option<&FiringId> = own.open_firings().find(spent).map(|firing| &firing.id);
    hold(untold.is_none(), "R9 a spent budget pages", || format!("{untold:?}"))
}
