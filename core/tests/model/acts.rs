//! What may happen in a state, and what then does: every choice that the world, people and time have.

use std::collections::BTreeSet;
use std::fmt;

use rollbackd_core::config::{Metric, Observed};
use rollbackd_core::event::{DeployReport, Happening};
use rollbackd_core::firing::{Firing, Outcome, Stage};
use rollbackd_core::name::{FiringId, ServiceName, TriggerName, Version};
use rollbackd_core::reading::Answer;
use rollbackd_core::time::Timestamp;
use rollbackd_core::wake_at;
use rollbackd_core::wants::{Want, wants};

use super::broken::Break;
use super::invariants::{self, Broken};
use super::plan::{Plan, Reading, Run, SLOT};
use super::turn::Turn;
use super::world::{Phase, World};
use crate::common::outside::{Sample, Window, answers};
use crate::common::version;

/// What a metric showed at a slot that nobody has asked about yet.
pub(crate) type Shown = (TriggerName, Timestamp, Reading);

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    /// One slot goes by.
    Tick,
    /// The daemon wakes for a service until nothing is due.
    Wake(ServiceName),
    /// The daemon looks at all that it wants to know of a service.
    Look {
        service: ServiceName,
        shown: Vec<Shown>,
        fails: bool,
        smoke: bool,
    },
    /// A version begins to serve, and that is reported.
    Deploy {
        service: ServiceName,
        version: Version,
        shown: Vec<Shown>,
    },
    /// A deploy event of a version comes, and what serves stays as it is.
    Announce {
        service: ServiceName,
        version: Version,
        shown: Vec<Shown>,
    },
    Report {
        service: ServiceName,
        trigger: TriggerName,
    },
    Approve {
        service: ServiceName,
        firing: FiringId,
    },
    Dismiss {
        service: ServiceName,
        firing: FiringId,
    },
    Acknowledge {
        service: ServiceName,
        firing: FiringId,
    },
    Ask {
        service: ServiceName,
        to: Option<Version>,
    },
    Freeze(ServiceName),
    Thaw(ServiceName),
    /// A remote's run ends, and its follower says so; `silently` where it did bring the target back without saying so.
    Ends {
        service: ServiceName,
        remote: usize,
        how: How,
    },
    /// A remote that nobody follows any more brings its target back, and says so where the daemon runs.
    Late {
        service: ServiceName,
        remote: usize,
    },
    PagerBreaks,
    PagerWorks,
    ReceiptsBreak,
    ReceiptsWork,
    Crash,
    Restart,
}

/// What a follower says of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Ran(Run),
    /// It is lost out of sight, and did bring the target back.
    DoneUnseen,
    NeverStarted,
}

impl fmt::Display for Act {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tick => write!(to, "a slot goes by"),
            Self::Wake(service) => write!(to, "{service}: wake"),
            Self::Look { service, shown, fails, smoke } => {
                write!(to, "{service}: look{}", if *fails { ", which fails" } else { "" })?;
                show(to, shown)?;
                if *smoke { Ok(()) } else { write!(to, ", no smoke answer") }
            }
            Self::Deploy { service, version, shown } => {
                write!(to, "{service}: {version} is deployed")?;
                show(to, shown)
            }
            Self::Announce { service, version, shown } => {
                write!(to, "{service}: {version} is announced")?;
                show(to, shown)
            }
            Self::Report { service, trigger } => write!(to, "{service}: {trigger} is reported"),
            Self::Approve { service, firing } => write!(to, "{service}: approve {}", number(firing)),
            Self::Dismiss { service, firing } => write!(to, "{service}: dismiss {}", number(firing)),
            Self::Acknowledge { service, firing } => write!(to, "{service}: ack {}", number(firing)),
            Self::Ask { service, to: None } => write!(to, "{service}: rollback"),
            Self::Ask { service, to: Some(version) } => write!(to, "{service}: rollback to {version}"),
            Self::Freeze(service) => write!(to, "{service}: freeze"),
            Self::Thaw(service) => write!(to, "{service}: thaw"),
            Self::Ends { service, remote, how } => write!(to, "{service}: run {remote} ends: {how:?}"),
            Self::Late { service, remote } => write!(to, "{service}: run {remote} succeeds late"),
            Self::PagerBreaks => write!(to, "the pager breaks"),
            Self::PagerWorks => write!(to, "the pager works again"),
            Self::ReceiptsBreak => write!(to, "receipts can't be written"),
            Self::ReceiptsWork => write!(to, "receipts can be written again"),
            Self::Crash => write!(to, "crash"),
            Self::Restart => write!(to, "restart"),
        }
    }
}

fn number(firing: &FiringId) -> &str {
    firing.as_str().rsplit('-').next().unwrap_or_default()
}

fn show(to: &mut fmt::Formatter<'_>, shown: &[Shown]) -> fmt::Result {
    shown.iter().try_for_each(|(trigger, _, reading)| write!(to, ", {trigger} {reading:?}"))
}

/// An act, and where the daemon dies in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    pub(crate) act: Act,
    pub(crate) crash_at: Option<usize>,
    /// Whether it belongs to an environment in which everything works and no human does anything.
    pub(crate) fair: bool,
}

impl fmt::Display for Choice {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}", self.act)?;
        self.crash_at.map_or(Ok(()), |point| write!(to, " (crash at point {point})"))
    }
}

/// Everything that may happen next, and what it leads to.
pub(crate) fn successors(plan: &Plan, world: &World) -> Vec<(Choice, Result<World, Broken>)> {
    let mut all = Vec::new();
    for (act, fair) in acts(plan, world) {
        let (next, points) = run(plan, world, &act, None);
        all.push((Choice { act: act.clone(), crash_at: None, fair }, next));
        if world.left.crashes > 0 && act != Act::Crash {
            for point in 0..points {
                let (next, _) = run(plan, world, &act, Some(point));
                all.push((Choice { act: act.clone(), crash_at: Some(point), fair: false }, next));
            }
        }
    }
    all
}

/// One act; how many points there were at which the daemon could have died.
pub(crate) fn run(plan: &Plan, world: &World, act: &Act, crash_at: Option<usize>) -> (Result<World, Broken>, usize) {
    let mut turn = Turn::new(plan, world.clone(), crash_at);
    let done = perform(&mut turn, act);
    let points = turn.points;
    (done.and_then(|()| finish(turn)), points)
}

/// The same with everything that was recorded and done, for people.
pub(crate) fn run_aloud(plan: &Plan, world: &World, choice: &Choice) -> (Result<World, Broken>, Vec<String>) {
    let mut turn = Turn::new(plan, world.clone(), choice.crash_at);
    turn.tells = true;
    let done = perform(&mut turn, &choice.act);
    let told = std::mem::take(&mut turn.told);
    (done.and_then(|()| finish(turn)), told)
}

fn finish(mut turn: Turn<'_>) -> Result<World, Broken> {
    turn.world.forget(turn.plan);
    invariants::at_rest(turn.plan, &turn.world)?;
    Ok(turn.world)
}

fn due(plan: &Plan, world: &World) -> Vec<ServiceName> {
    let due = |name: &&ServiceName| wake_at(&plan.config, &world.state, name).is_some_and(|at| at <= world.now);
    plan.config.services.keys().filter(due).cloned().collect()
}

/// What may happen, and whether it is fair.
fn acts(plan: &Plan, world: &World) -> Vec<(Act, bool)> {
    let mut acts = Vec::new();
    let whole = world.pager_works && world.receipts_work;
    if !world.up {
        acts.push((Act::Restart, true));
        if world.left.away > 0 {
            acts.push((Act::Tick, false));
        }
        remotes(plan, world, false, &mut acts);
        return acts;
    }
    let due = due(plan, world);
    let unlooked: Vec<&ServiceName> =
        world.outside.iter().filter(|(_, outside)| !outside.looked).map(|(name, _)| name).collect();
    acts.extend(due.iter().map(|name| (Act::Wake(name.clone()), whole)));
    if due.is_empty() || plan.races {
        unlooked.iter().for_each(|name| looks(plan, world, name, whole, &mut acts));
    }
    let rests = due.is_empty() && unlooked.is_empty();
    if rests {
        acts.push((Act::Tick, whole));
    }
    if rests || plan.races {
        remotes(plan, world, whole, &mut acts);
        for name in plan.config.services.keys() {
            deploys(plan, world, name, &mut acts);
            humans(plan, world, name, &mut acts);
        }
        if world.left.crashes > 0 {
            acts.push((Act::Crash, false));
        }
        if world.pager_works && world.left.pager_breaks > 0 {
            acts.push((Act::PagerBreaks, false));
        }
        if world.receipts_work && world.left.receipts_break > 0 {
            acts.push((Act::ReceiptsBreak, false));
        }
    }
    if !world.pager_works && plan.broken != Some(Break::LeavesThePagerBroken) {
        acts.push((Act::PagerWorks, true));
    }
    if !world.receipts_work {
        acts.push((Act::ReceiptsWork, true));
    }
    acts
}

/// Every combination of what the slots that nobody has asked about showed.
fn unseen(plan: &Plan, world: &World, service: &ServiceName) -> Vec<Vec<Shown>> {
    let own = &world.state.services[service];
    let Some(watch) = &own.watch else { return vec![Vec::new()] };
    let mut all: Vec<Vec<Shown>> = vec![Vec::new()];
    for trigger in metrics(plan, service) {
        let known = world.outside[service].readings.get(&trigger);
        let last = known.and_then(|known| known.keys().next_back().copied());
        let mut at = last.map_or(watch.at.floor(SLOT), |last| last + SLOT);
        while at <= world.now {
            all = combined(&all, &trigger, at, &plan.readings);
            at = at + SLOT;
        }
    }
    all
}

fn combined(all: &[Vec<Shown>], trigger: &TriggerName, at: Timestamp, readings: &[Reading]) -> Vec<Vec<Shown>> {
    let with = |shown: &Vec<Shown>, reading: Reading| {
        let mut shown = shown.clone();
        shown.push((trigger.clone(), at, reading));
        shown
    };
    all.iter().flat_map(|shown| readings.iter().map(|reading| with(shown, *reading))).collect()
}

fn metrics(plan: &Plan, service: &ServiceName) -> Vec<TriggerName> {
    let triggers = plan.config.services[service].triggers.iter();
    triggers.filter(|each| matches!(each.observed, Observed::Metric(_))).map(|each| each.name.clone()).collect()
}

fn looks(plan: &Plan, world: &World, service: &ServiceName, whole: bool, acts: &mut Vec<(Act, bool)>) {
    for shown in unseen(plan, world, service) {
        let service = service.clone();
        let asks = wants(&plan.config, &world.state, &service);
        acts.push((Act::Look { service: service.clone(), shown: shown.clone(), fails: false, smoke: true }, whole));
        if plan.smoke_fails && asks.iter().any(|want| matches!(want, Want::Smoke { .. })) {
            acts.push((
                Act::Look { service: service.clone(), shown: shown.clone(), fails: false, smoke: false },
                whole,
            ));
        }
        if world.left.failed_looks > 0 {
            acts.push((Act::Look { service, shown, fails: true, smoke: true }, false));
        }
    }
}

/// Every combination of what the metrics showed at the slot of a deploy, where that was not seen.
fn before_deploy(plan: &Plan, world: &World, service: &ServiceName) -> Vec<Vec<Shown>> {
    let mut all: Vec<Vec<Shown>> = vec![Vec::new()];
    for trigger in metrics(plan, service) {
        if world.outside[service].reading(&trigger, world.now).is_none() {
            all = combined(&all, &trigger, world.now, &plan.before);
        }
    }
    all
}

fn deploys(plan: &Plan, world: &World, service: &ServiceName, acts: &mut Vec<(Act, bool)>) {
    let outside = &world.outside[service];
    let serving = outside.serving().map(|serving| serving.version);
    if world.left.deploys > 0 {
        for name in &plan.versions {
            let version = version(name);
            if serving.as_ref() == Some(&version) {
                continue;
            }
            for shown in before_deploy(plan, world, service) {
                acts.push((Act::Deploy { service: service.clone(), version: version.clone(), shown }, false));
            }
        }
    }
    if world.left.announcements > 0 {
        let mut versions: BTreeSet<Version> = serving.into_iter().collect();
        if let Some(own) = world.state.services.get(service) {
            versions.extend(own.open_firings().filter_map(|firing| Some(firing.target.as_ref()?.version.clone())));
        }
        for version in versions {
            for shown in before_deploy(plan, world, service) {
                acts.push((Act::Announce { service: service.clone(), version: version.clone(), shown }, false));
            }
        }
    }
}

fn humans(plan: &Plan, world: &World, service: &ServiceName, acts: &mut Vec<(Act, bool)>) {
    let Some(own) = world.state.services.get(service) else { return };
    let mut add = |act: Act| acts.push((act, false));
    if world.left.reports > 0 && !own.ledger.entries.is_empty() {
        for trigger in &plan.config.services[service].triggers {
            if trigger.observed == Observed::Report {
                add(Act::Report { service: service.clone(), trigger: trigger.name.clone() });
            }
        }
    }
    for firing in &own.firings {
        let (service, id) = (service.clone(), firing.id.clone());
        let asked = matches!(firing.stage, Stage::Paged { .. } | Stage::Veto { .. });
        if asked && world.left.approvals > 0 {
            add(Act::Approve { service: service.clone(), firing: id.clone() });
        }
        if asked && plan.dismisses {
            add(Act::Dismiss { service: service.clone(), firing: id.clone() });
        }
        let left = own.pages.iter().any(|page| page.firing.as_ref() == Some(&id) && page.resolved_at.is_none());
        if (!firing.is_open() && left) || (firing.is_open() && plan.acknowledges && !firing.acknowledged) {
            add(Act::Acknowledge { service, firing: id });
        }
    }
    if world.left.asks > 0 {
        add(Act::Ask { service: service.clone(), to: None });
        let known: BTreeSet<&Version> = own.ledger.entries.iter().map(|entry| &entry.deploy.version).collect();
        for version in known {
            add(Act::Ask { service: service.clone(), to: Some(version.clone()) });
        }
    }
    if world.left.freezes > 0 {
        add(Act::Freeze(service.clone()));
    }
    if own.frozen(world.now).is_some() {
        add(Act::Thaw(service.clone()));
    }
}

fn remotes(plan: &Plan, world: &World, whole: bool, acts: &mut Vec<(Act, bool)>) {
    for (service, outside) in &world.outside {
        for (index, remote) in outside.remotes.iter().enumerate() {
            let mut add = |how: How| {
                acts.push((Act::Ends { service: service.clone(), remote: index, how }, whole && world.up));
            };
            match (remote.phase, remote.followed) {
                (Phase::Running, true) => {
                    plan.runs.iter().for_each(|run| add(How::Ran(*run)));
                    if plan.runs.contains(&Run::Unknown) {
                        add(How::DoneUnseen);
                    }
                }
                (Phase::Running, false) if !world.up => {
                    plan.runs.iter().filter(|run| **run != Run::Unknown).for_each(|run| add(How::Ran(*run)));
                }
                (Phase::Ended(run), true) => {
                    add(How::Ran(run));
                    add(How::Ran(Run::Unknown));
                }
                (Phase::NeverStarted, true) => {
                    add(How::NeverStarted);
                    add(How::Ran(Run::Unknown));
                }
                (Phase::Running | Phase::Ended(_) | Phase::NeverStarted, false) => {}
            }
            if remote.phase == Phase::Running && !remote.followed && world.up && world.left.late > 0 {
                acts.push((Act::Late { service: service.clone(), remote: index }, false));
            }
        }
    }
}

fn perform(turn: &mut Turn<'_>, act: &Act) -> Result<(), Broken> {
    let now = turn.world.now;
    match act {
        Act::Tick => tick(turn),
        Act::Wake(service) => return wake(turn, service),
        Act::Look { service, shown, fails, smoke } => return look(turn, service, shown, *fails, *smoke),
        Act::Deploy { service, version, shown } => {
            turn.world.left.deploys -= 1;
            let outside = turn.world.outside.get_mut(service).expect("a service of the model");
            outside.serve(version, now);
            see(turn, service, shown);
            return turn.tell(service, deployed(turn.plan, version));
        }
        Act::Announce { service, version, shown } => {
            turn.world.left.announcements -= 1;
            see(turn, service, shown);
            return turn.tell(service, deployed(turn.plan, version));
        }
        Act::Report { service, trigger } => {
            turn.world.left.reports -= 1;
            return turn.tell(
                service,
                Happening::Reported { trigger: trigger.clone(), note: None, about: Default::default() },
            );
        }
        Act::Approve { service, firing } => return approve(turn, service, firing),
        Act::Dismiss { service, firing } => {
            return turn.tell(service, Happening::Dismissed { firing: firing.clone(), why: "no".to_owned() });
        }
        Act::Acknowledge { service, firing } => {
            return turn.tell(service, Happening::Acknowledged { firing: firing.clone() });
        }
        Act::Ask { service, to } => return ask(turn, service, to.as_ref()),
        Act::Freeze(service) => {
            turn.world.left.freezes -= 1;
            return turn.tell(service, Happening::Frozen { duration: SLOT * 2, why: "busy".to_owned() });
        }
        Act::Thaw(service) => return turn.tell(service, Happening::Thawed),
        Act::Ends { service, remote, how } => return ends(turn, service, *remote, *how),
        Act::Late { service, remote } => return late(turn, service, *remote),
        Act::PagerBreaks => {
            turn.world.left.pager_breaks -= 1;
            turn.world.pager_works = false;
        }
        Act::PagerWorks => {
            turn.world.pager_works = true;
            turn.plan.config.services.keys().for_each(|service| turn.deliver(service));
            return turn.flush();
        }
        Act::ReceiptsBreak => {
            turn.world.left.receipts_break -= 1;
            turn.world.receipts_work = false;
        }
        Act::ReceiptsWork => {
            turn.world.receipts_work = true;
            turn.plan.config.services.keys().for_each(|service| turn.publish(service));
            return turn.flush();
        }
        Act::Crash => turn.die(),
        Act::Restart => return turn.restart(),
    }
    Ok(())
}

fn tick(turn: &mut Turn<'_>) {
    let world = &mut turn.world;
    world.now = world.now + SLOT;
    if !world.up {
        world.left.away -= 1;
    }
    for outside in world.outside.values_mut() {
        outside.looked = false;
        outside.failed_look = false;
    }
}

fn wake(turn: &mut Turn<'_>, service: &ServiceName) -> Result<(), Broken> {
    /// One turn for each of the deadlines that may be due at one instant, and one more.
    const MOST_TURNS: usize = 4;
    for _ in 0..MOST_TURNS {
        let due = wake_at(&turn.plan.config, &turn.world.state, service).is_some_and(|at| at <= turn.world.now);
        if !due || !turn.world.up {
            break;
        }
        turn.tell(service, Happening::Woke)?;
    }
    if !turn.world.up {
        return Ok(());
    }
    invariants::after_wake(&turn.world, service, wake_at(&turn.plan.config, &turn.world.state, service))
}

fn see(turn: &mut Turn<'_>, service: &ServiceName, shown: &[Shown]) {
    let outside = turn.world.outside.get_mut(service).expect("a service of the model");
    for (trigger, at, reading) in shown {
        outside.readings.entry(trigger.clone()).or_default().insert(*at, *reading);
    }
}

pub(crate) fn deployed(plan: &Plan, version_now: &Version) -> Happening {
    Happening::Deployed(DeployReport {
        version: version_now.clone(),
        previous: plan.previous.map(version),
        commit: None,
        migration: plan.migration,
        run_url: None,
        at: None,
        key: None,
    })
}

fn look(turn: &mut Turn<'_>, service: &ServiceName, shown: &[Shown], fails: bool, smoke: bool) -> Result<(), Broken> {
    see(turn, service, shown);
    if fails {
        turn.world.left.failed_looks -= 1;
    }
    let now = turn.world.now;
    for want in wants(&turn.plan.config, &turn.world.state, service) {
        let outside = &turn.world.outside[service];
        let what = match want {
            Want::Trigger { deploy, trigger, from, .. } => {
                let metric = metric(turn.plan, service, &trigger);
                let window = Window { from, to: now, step: metric.step };
                let answers = if fails {
                    window.all(&metric, || Answer::Failed("connection refused".to_owned()))
                } else {
                    answers(&metric, window, |at| sample(outside.reading(&trigger, at)))
                };
                let known = outside.answered_until.get(&trigger).filter(|(known, _)| known == &deploy);
                let answered_until = known.map(|(_, until)| *until);
                Happening::looked_whole(deploy, trigger, answers, answered_until)
            }
            Want::Smoke { .. } => Happening::SmokeAnswered { at: now, healthy: smoke },
            Want::Serving { .. } if !fails => Happening::ServingRead { serving: outside.serving(), at: now },
            Want::VersionBefore { deploy, before, not, .. } if !fails => {
                let served = outside.served.iter().rev().find(|(since, version)| *since < before && version != &not);
                let serving = served.map(|(since, version)| rollbackd_core::event::Serving {
                    version: version.clone(),
                    revision: None,
                    since: *since,
                });
                Happening::VersionBeforeRead { deploy, serving }
            }
            Want::Serving { .. } | Want::VersionBefore { .. } | Want::Baseline { .. } | Want::Version { .. } => {
                continue;
            }
        };
        turn.tell(service, what)?;
    }
    if turn.world.up {
        let outside = turn.world.outside.get_mut(service).expect("a service of the model");
        outside.looked = true;
    }
    Ok(())
}

fn sample(reading: Option<Reading>) -> Sample {
    match reading {
        Some(Reading::Breach) => Sample::Value(0.9),
        Some(Reading::Clear) => Sample::Value(0.1),
        Some(Reading::LowTraffic) => Sample::Low,
        Some(Reading::NoData) | None => Sample::Missing,
    }
}

fn metric(plan: &Plan, service: &ServiceName, trigger: &TriggerName) -> Metric {
    match &plan.config.services[service].trigger(trigger).expect("a trigger of the config").observed {
        Observed::Metric(metric) => metric.as_ref().clone(),
        Observed::Report => panic!("{trigger} is observed by reports"),
    }
}

/// The bookkeeping is made first: what follows from the approval is judged by it.
fn approve(turn: &mut Turn<'_>, service: &ServiceName, id: &FiringId) -> Result<(), Broken> {
    turn.world.left.approvals -= 1;
    let own = &turn.world.state.services[service];
    let firing = own.firing(id).expect("a firing of the state");
    let never = turn.plan.config.services[service].trigger(&firing.trigger).is_some_and(|known| known.never_roll_back);
    let counts = !never && own.rolling().is_none();
    if counts {
        let outside = turn.world.outside.get_mut(service).expect("a service of the model");
        outside.approved.insert(id.clone());
        outside.runs.retain(|(firing, _), _| firing != id);
    }
    turn.tell(service, Happening::Approved { firing: id.clone() })?;
    forget_unheard(turn, service, id);
    Ok(())
}

/// An approval that was refused, or lost in a crash, does not count.
fn forget_unheard(turn: &mut Turn<'_>, service: &ServiceName, id: &FiringId) {
    let heard = turn.world.state.services[service].firing(id).is_some_and(|firing| firing.approved);
    if !heard {
        let outside = turn.world.outside.get_mut(service).expect("a service of the model");
        outside.approved.remove(id);
    }
}

fn ask(turn: &mut Turn<'_>, service: &ServiceName, to: Option<&Version>) -> Result<(), Broken> {
    turn.world.left.asks -= 1;
    // The id that the firing will get is known by the core alone: every firing of a human's is approved by that.
    turn.tell(service, Happening::RollbackAsked { path: None, to: to.cloned() })
}

fn ends(turn: &mut Turn<'_>, service: &ServiceName, index: usize, how: How) -> Result<(), Broken> {
    let now = turn.world.now;
    let up = turn.world.up;
    let outside = turn.world.outside.get_mut(service).expect("a service of the model");
    let remote = outside.remotes[index].clone();
    let was_running = remote.phase == Phase::Running;
    if was_running && matches!(how, How::Ran(Run::Succeeds) | How::DoneUnseen) {
        outside.serve(&remote.target, now);
    }
    if remote.phase == Phase::NeverStarted || was_running {
        let known = &mut outside.remotes[index];
        match how {
            How::Ran(Run::Unknown) | How::NeverStarted => {}
            How::Ran(run) => known.phase = Phase::Ended(run),
            How::DoneUnseen => known.phase = Phase::Ended(Run::Succeeds),
        }
    }
    if !up {
        return Ok(());
    }
    outside.remotes[index].followed = false;
    let outcome = outcome(how);
    let ended = !matches!(how, How::Ran(Run::Unknown) | How::DoneUnseen);
    turn.tell(service, Happening::AttemptEnded { attempt: remote.attempt.clone(), outcome })?;
    let outside = turn.world.outside.get_mut(service).expect("a service of the model");
    let mut asked = turn.world.state.services[service].firings.iter().filter_map(Firing::running);
    if ended && !asked.any(|attempt| attempt.id == remote.attempt) {
        outside.remotes.retain(|known| known.attempt != remote.attempt);
    }
    Ok(())
}

fn outcome(how: How) -> Outcome {
    let why = || "said so".to_owned();
    match how {
        How::Ran(Run::Succeeds | Run::Lies) => Outcome::Succeeded { receipt: None, output: String::new() },
        How::Ran(Run::Fails) => Outcome::Failed { why: why(), output: String::new() },
        How::Ran(Run::Cancelled) => Outcome::Cancelled { why: why() },
        How::Ran(Run::Unknown) | How::DoneUnseen => Outcome::Unknown { why: why() },
        How::NeverStarted => Outcome::NeverStarted,
    }
}

fn late(turn: &mut Turn<'_>, service: &ServiceName, index: usize) -> Result<(), Broken> {
    turn.world.left.late -= 1;
    let now = turn.world.now;
    let outside = turn.world.outside.get_mut(service).expect("a service of the model");
    outside.remotes[index].phase = Phase::Ended(Run::Succeeds);
    let remote = outside.remotes[index].clone();
    outside.serve(&remote.target, now);
    let outcome = Outcome::Succeeded { receipt: None, output: String::new() };
    turn.tell(service, Happening::AttemptEnded { attempt: remote.attempt, outcome })
}

/// One step in which nothing but time, wakes and looks happen.
pub(crate) fn calm(plan: &Plan, world: &World) -> World {
    let calm = |act: &Act| matches!(act, Act::Tick | Act::Wake(_) | Act::Look { fails: false, .. });
    let act = acts(plan, world).into_iter().map(|(act, _)| act).find(calm).expect("time goes by");
    run(plan, world, &act, None).0.unwrap_or_else(|broken| panic!("{}: {}", broken.name, broken.what))
}
