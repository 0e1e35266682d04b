//! One world from its beginning to its end: the daemon lives, dies and is started again, until all is quiet.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use rollbackd::journal::Replay;
use rollbackd::machine::{Machine, put_in_force};
use rollbackd::metrics::Metrics;
use rollbackd::outside::InForce;
use rollbackd::supervisor::replay;
use rollbackd_core::config::Mode;
use rollbackd_core::deploy::Migration;
use rollbackd_core::event::{DeployReport, Event, Happening, Refusal, Reply};
use rollbackd_core::firing::Stage;
use rollbackd_core::name::{PathName, TriggerName, Version};
use rollbackd_core::state::State;

use crate::config::settings;
use crate::disk::{SimulatedDisk, replayed};
use crate::outside::Simulated;
use crate::plan::{Act, Health, Plan, Variant};
use crate::reached::{Reached, Seen};
use crate::rules::Broken;
use crate::time;
use crate::world::{Shared, Tell, World, is_journal_page, service};

/// After all is well it may take so long until all is quiet: a pager that refused is tried again after five minutes.
const QUIET_WITHIN: u64 = 1_200_000;

/// A deadline that a daemon at work has not met by then was forgotten: it waits half a minute for a lookup, and a write
/// to a slow disk takes its time.
const PATIENCE: Duration = Duration::from_secs(45);

/// How a life ended.
enum End {
    Killed,
    Stopped { down: u64 },
    Quiet,
    Broken,
}

/// What became of a world.
pub(crate) struct Story {
    pub(crate) broken: Option<Broken>,
    pub(crate) reached: Reached,
    /// How long it took, in simulated milliseconds.
    pub(crate) lasted: u64,
    pub(crate) records: u64,
    pub(crate) lives: u64,
}

thread_local! {
    /// What panicked on this thread: a task's panic ends that task alone, and must not pass unseen.
    static PANICKED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on a panic is noted instead of printed.
pub(crate) fn note_panics() {
    std::panic::set_hook(Box::new(|panic| PANICKED.set(Some(panic.to_string()))));
}

/// Lives through a world; `tells` prints each record. A panic anywhere in it breaks it.
pub(crate) fn live(plan: &Plan, tells: bool) -> Story {
    PANICKED.set(None);
    let story = std::panic::catch_unwind(|| live_on(plan, tells, &mut |_| None));
    let mut story =
        story.unwrap_or_else(|_| Story { broken: None, reached: Reached::default(), lasted: 0, records: 0, lives: 0 });
    if let Some(how) = PANICKED.take() {
        story.broken = Some(Broken { rule: "no panic", how });
    }
    story
}

/// Lives through a world in which, each time that all is quiet, something else happens: whatever `plans` says.
pub(crate) fn live_on(plan: &Plan, tells: bool, plans: &mut dyn FnMut(&World) -> Option<Plan>) -> Story {
    let shared = Shared::new(plan.clone());
    shared.lock().rules.tells = tells;
    let mut rng = fastrand::Rng::with_seed(1);
    rollbackd::chance::replace(move || rng.f64());
    time::begin_world();
    let (mut elapsed, mut lives) = (0, 0);
    loop {
        lives += 1;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let end = runtime.block_on(async {
            time::begin(elapsed);
            time::take_over();
            one_life(&shared, plans).await
        });
        elapsed = runtime.block_on(async { time::elapsed() });
        drop(runtime);
        let mut world = shared.lock();
        let is_broken = world.rules.broken.is_some();
        match end {
            End::Killed if !is_broken => {
                died(&mut world);
                elapsed += world.down;
            }
            End::Stopped { down } if !is_broken => {
                world.see(Seen::Stopped);
                elapsed += down;
            }
            End::Killed | End::Stopped { .. } | End::Quiet | End::Broken => {
                let records = world.disk.last;
                let (broken, reached) = (world.rules.broken.clone(), world.reached.clone());
                return Story { broken, reached, lasted: elapsed, records, lives };
            }
        }
        world.dead = false;
        world.rules.starts();
        if let Some(tell) = world.being_told.take() {
            // Whoever was not answered says it again.
            world.tell_at(elapsed + 500, Tell { tries: tell.tries + 1, ..tell });
        }
    }
}

/// Notes what the daemon was at when it was killed.
fn died(world: &mut World) {
    let mut all = Vec::new();
    for own in world.rules.state.services.values() {
        for firing in &own.firings {
            all.push(match &firing.stage {
                Stage::Veto { .. } | Stage::Paged { .. } => Seen::KilledWhileFiring,
                Stage::Rolling => Seen::KilledWhileRolling,
                Stage::Verifying { .. } => Seen::KilledWhileVerifying,
                Stage::Ended { published: false, .. } => Seen::KilledWithReceiptUnwritten,
                Stage::Ended { published: true, .. } => Seen::KilledIdle,
            });
        }
        if own.pages.iter().any(|page| !page.undelivered.is_empty()) {
            all.push(Seen::KilledWithPageUndelivered);
        }
    }
    all.into_iter().for_each(|seen| world.see(seen));
}

async fn one_life(shared: &Shared, plans: &mut dyn FnMut(&World) -> Option<Plan>) -> End {
    let Ok(state) = woken(shared, &replayed(shared)) else { return End::Broken };
    let settings = shared.lock().settings.clone();
    let outside = InForce::new(Simulated { settings, shared: shared.clone() });
    let metrics = Arc::new(Metrics::new("simulated"));
    let disk = Box::new(SimulatedDisk(shared.clone()));
    let machine = Machine::start(&outside, disk, state, &metrics, || {});
    tokio::select! {
        biased;
        () = shared.died.notified() => End::Killed,
        end = script(shared, &outside, machine, plans) => end,
    }
}

/// The journal, read by the daemon's own code: it must give what became durable, no more and no less.
fn woken(shared: &Shared, stored: &Replay) -> Result<State, ()> {
    let replayed = replay(stored);
    let mut world = shared.lock();
    match replayed {
        Ok(state) => {
            let same = state == world.rules.state;
            world.rules.must("R2", same, || "the journal's replay is not what became durable".to_owned());
            Ok(state)
        }
        Err(why) => {
            world.rules.must("R2", false, || format!("the journal can't be replayed: {why}"));
            Err(())
        }
    }
}

/// Does what the plan says, then waits until all is quiet.
async fn script(
    shared: &Shared,
    outside: &InForce,
    mut machine: Machine,
    plans: &mut dyn FnMut(&World) -> Option<Plan>,
) -> End {
    loop {
        let (next, all_well_at) = {
            let world = shared.lock();
            (world.next_due(), world.plan.all_well_at)
        };
        let until = match next {
            Some(at) => at.min(time::elapsed() + 2_000),
            None => time::elapsed() + 2_000,
        };
        let wait = Duration::from_millis(until.saturating_sub(time::elapsed()));
        tokio::select! {
            biased;
            () = shared.more.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
        if let Some(end) = what_is_due(shared, outside, &mut machine).await {
            return end;
        }
        if machine.tasks.supervisor.is_finished() || machine.tasks.looker.is_finished() {
            shared.lock().rules.must("R2", false, || "a task of the daemon ended by itself".to_owned());
        }
        look_around(shared);
        if shared.lock().rules.broken.is_some() {
            return End::Broken;
        }
        if time::elapsed() >= all_well_at {
            if time::ahead() != 0 {
                time::set_ahead(0);
            }
            if next.is_none() && time::elapsed() > all_well_at + 2_000 && is_quiet(shared, &machine) {
                at_the_end(shared);
                if !goes_on(shared, plans) {
                    return End::Quiet;
                }
                continue;
            }
            if time::elapsed() > all_well_at + QUIET_WITHIN {
                let left = what_is_left(shared);
                shared.lock().rules.must("R8", false, || format!("all is well, and not all is quiet: {left}"));
                return End::Broken;
            }
        }
    }
}

/// Whether something else is to happen in this world, and begins.
fn goes_on(shared: &Shared, plans: &mut dyn FnMut(&World) -> Option<Plan>) -> bool {
    let mut world = shared.lock();
    let plan = if world.rules.broken.is_none() { plans(&world) } else { None };
    plan.map(|plan| world.go_on_with(plan)).is_some()
}

/// What must hold at any time.
fn look_around(shared: &Shared) {
    let mut world = shared.lock();
    let troubled = world.troubles().next().is_some() || time::ahead() != 0;
    let at_work = time::lived() > PATIENCE;
    if !troubled && at_work && time::elapsed() > world.plan.all_well_at + 60_000 {
        world.rules.now(time::now(), PATIENCE);
    }
}

async fn what_is_due(shared: &Shared, outside: &InForce, machine: &mut Machine) -> Option<End> {
    let killed = shared.lock().due_kill();
    if let Some(down) = killed {
        shared.kill(down);
        return None;
    }
    let now = time::elapsed();
    let due = {
        let mut world = shared.lock();
        let first = world.to_tell.first_key_value().map(|(key, _)| *key).filter(|(at, _)| *at <= now);
        let told = first.and_then(|key| world.to_tell.remove(&key));
        world.being_told.clone_from(&told);
        told
    };
    if let Some(tell) = due {
        say(shared, machine, tell).await;
        return None;
    }
    let act = {
        let mut world = shared.lock();
        let due = world.plan.acts.get(world.next_act).filter(|(at, _)| *at <= now).map(|(_, act)| act.clone());
        world.next_act += usize::from(due.is_some());
        due
    };
    match act {
        Some(act) => perform(shared, outside, machine, act).await,
        None => None,
    }
}

/// Brings an event to the daemon's door, and again where it is not heard.
async fn say(shared: &Shared, machine: &Machine, tell: Tell) {
    let answer = machine.door.ask(tell.event.clone()).await;
    shared.lock().being_told = None;
    if let Ok(reply) = &answer {
        shared.lock().rules.was_answered(&tell.event, reply);
    }
    match answer {
        Ok(Reply::Refused(Refusal::Conflict(_))) => {
            if matches!(tell.event.what, Happening::Approved { .. }) {
                shared.lock().see(Seen::ApprovedTooLate);
            }
        }
        Ok(_) => {}
        Err(_) => {
            shared.lock().see(Seen::NotHeard);
            shared.tell_again(tell);
        }
    }
}

async fn perform(shared: &Shared, outside: &InForce, machine: &mut Machine, act: Act) -> Option<End> {
    let now = time::elapsed();
    let tell = |at: u64, number: usize, what: Happening| shared.tell_at(at, Event { service: service(number), what });
    match act {
        Act::Deploy { service, health, told_after, times, with_at, breaking, keyed } => {
            let version = shared.lock().production.deploy(service, health);
            let report = DeployReport {
                key: keyed.then(|| format!("key-{version}")),
                migration: if breaking { Migration::Breaking } else { Migration::None },
                at: with_at.then(time::now),
                ..report_of(version)
            };
            for each in 0..u64::from(times) {
                tell(now + told_after + each * 900, service, Happening::Deployed(report.clone()));
            }
        }
        Act::DeployAgain { service, back } => {
            let earlier: Vec<Version> = shared.lock().production.earlier(service);
            let version = earlier[back % earlier.len()].clone();
            shared.lock().production.serve(service, time::now(), version.clone());
            tell(now, service, Happening::Deployed(report_of(version)));
        }
        Act::Report { service, trigger } => {
            let trigger = TriggerName::new(trigger).expect("a trigger's name");
            tell(now, service, Happening::Reported { trigger, note: None, about: Default::default() });
        }
        Act::Rollback { service, path } => {
            let path = path.map(|path| PathName::new(path).expect("a path's name"));
            tell(now, service, Happening::RollbackAsked { path, to: None });
        }
        Act::Rehearse { service, health, after, stopped_after } => {
            let (good, bad) = {
                let mut world = shared.lock();
                (world.production.deploy(service, Health::Good), world.production.build(health))
            };
            tell(now, service, Happening::Deployed(report_of(good)));
            tell(now + after, service, Happening::RehearsalAsked { bad, witness: None });
            if let Some(stopped) = stopped_after {
                tell(now + after + stopped, service, Happening::RehearsalStopAsked);
            }
        }
        Act::Freeze { service, lasts } => {
            let duration = Duration::from_millis(lasts);
            tell(now, service, Happening::Frozen { duration, why: "an incident elsewhere".to_owned() });
        }
        Act::Thaw { service } => tell(now, service, Happening::Thawed),
        Act::Reload { limit, fleet_guard, smoke } => {
            let variant = Variant { limit, fleet_guard, smoke, ..shared.lock().variant };
            reload(shared, outside, machine, variant);
        }
        Act::ClockStep(by) => {
            if by < 0 {
                shared.lock().see(Seen::ClockSetBack);
            }
            time::set_ahead((time::ahead() + by).clamp(-8_000, 8_000));
        }
        Act::Stop { down } => {
            machine.stop.cancel();
            let _ended = (&mut machine.tasks.supervisor).await;
            return Some(End::Stopped { down });
        }
    }
    None
}

/// The least that a deploy event says.
pub(crate) fn report_of(version: Version) -> DeployReport {
    DeployReport {
        version,
        previous: None,
        commit: None,
        migration: Migration::None,
        run_url: None,
        at: None,
        key: None,
    }
}

fn reload(shared: &Shared, outside: &InForce, machine: &Machine, variant: Variant) {
    let new = {
        let mut world = shared.lock();
        world.see(Seen::Reloaded);
        world.variant = variant;
        world.settings = settings(variant);
        world.rules.config = Arc::new(world.settings.core.clone());
        world.settings.clone()
    };
    put_in_force(outside, &machine.door.shared, Simulated { settings: new, shared: shared.clone() });
}

/// Whether nothing is left to be done.
fn is_quiet(shared: &Shared, machine: &Machine) -> bool {
    let world = shared.lock();
    let own = machine.door.shared.state();
    own.services.values().all(|own| {
        let published = own.firings.iter().all(|firing| matches!(firing.stage, Stage::Ended { published: true, .. }));
        own.watch.is_none()
            && own.rehearsing().is_none()
            && published
            && own.pages.iter().all(|page| page.undelivered.is_empty() && page.unresolved.is_empty())
    }) && world.to_tell.is_empty()
        && journal_is_told(&world)
}

/// Whether a pager was told of each full disk. That page is in no state, and a pager that refused is tried again later.
fn journal_is_told(world: &World) -> bool {
    let paged = || world.taken.keys().any(|(page, _, over)| is_journal_page(page) && !over);
    let nobody_is_paged = world.settings.core.mode == Mode::DryRun;
    nobody_is_paged || world.rules.disk_was_full_at().is_none() || world.rules.journal_page_is_open() || paged()
}

fn what_is_left(shared: &Shared) -> String {
    let world = shared.lock();
    let mut left = String::new();
    if !journal_is_told(&world) {
        left.push_str("nobody was told that the disk was full; ");
    }
    for (name, own) in &world.rules.state.services {
        for firing in own.firings.iter().filter(|firing| !matches!(firing.stage, Stage::Ended { published: true, .. }))
        {
            left.push_str(&format!("{name}: firing {} in {:?}; ", firing.id, firing.stage));
        }
        for page in own.pages.iter().filter(|page| !page.undelivered.is_empty() || !page.unresolved.is_empty()) {
            left.push_str(&format!("{name}: page {} undelivered; ", page.id));
        }
        if let Some(rehearsal) = own.rehearsing() {
            left.push_str(&format!("{name}: rehearsal {} in {:?}; ", rehearsal.id, rehearsal.stage));
        }
        if let Some(watch) = &own.watch {
            left.push_str(&format!("{name}: a watch until {} with {:?}; ", watch.until, watch.triggers));
        }
    }
    left
}

/// What must hold once all is quiet.
fn at_the_end(shared: &Shared) {
    let mut world = shared.lock();
    let world = &mut *world;
    let promised = world.rules.state.last_receipt;
    let written: Vec<u64> = world.receipts.keys().copied().collect();
    let first = written.first().copied().unwrap_or(promised + 1);
    let expected: Vec<u64> = (first..=promised).collect();
    let none_lost = first == world.rules.receipts_before + 1;
    world.rules.must("R8", none_lost, || format!("the first receipt since all was quiet last is {first}"));
    world.rules.must("R8", written == expected, || format!("receipts {written:?}, and {promised} were promised"));
    if world.settings.core.mode == Mode::DryRun {
        return;
    }
    let opened = world.rules.pages_opened.clone();
    for (page, pager) in opened {
        let taken = world.taken.contains_key(&(page.clone(), pager.clone(), false));
        world.rules.must("R8", taken, || format!("page {page} never reached {pager}"));
        let own = || world.rules.state.services.values();
        let open = own().any(|own| own.page(&page).is_some_and(|page| page.resolved_at.is_none()));
        let last_word = world.last_word.get(&(page.clone(), pager.clone())).copied();
        world
            .rules
            .must("R8", open || last_word != Some(false), || format!("page {page} is over, and open at {pager}"));
    }
    for (firing, of_end) in world.rules.to_announce.clone() {
        let told = world.announced.contains(&(firing.clone(), of_end));
        world.rules.must("R8", told, || format!("{firing} was never announced; its end: {of_end}"));
    }
    if let Some(at) = world.rules.disk_was_full_at() {
        let told = journal_is_told(world);
        world.rules.must("R2", told, || format!("the disk was full {at} ms after the beginning, and nobody was told"));
        if told {
            world.see(Seen::JournalPaged);
        }
    }
}
