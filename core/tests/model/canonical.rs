//! What of a state can still matter, written down so that two states that can't be told apart from now on are the same:
//! instants relative to now, ids as places, what only people read left out, services of the same plan in any order.
//!
//! Every struct is taken apart by name, so that a field that is added has to be thought about here.

use std::collections::BTreeMap;
use std::time::Duration;

use rollbackd_core::config::{Config, Observed, Service};
use rollbackd_core::deploy::{Deploy, Entry, Target};
use rollbackd_core::firing::{Attempt, Firing, FiringEnd, Origin, Outcome, Proof, Stage};
use rollbackd_core::name::{DeployId, FiringId, Version};
use rollbackd_core::page::Page;
use rollbackd_core::reading::{Look, Point};
use rollbackd_core::state::{ServiceState, TriggerWatch, Turn, Watch};
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::{Arming, Rule, Verdict, judge};

use super::plan::{Bounds, Plan, Reading, SLOT};
use super::world::{Outside, Phase, World};

/// Ages beyond this are the same: longer than every watch, limit, guard and freeze of the plans, and than the time for
/// which anything stays open.
const OLDEST: i64 = 30;

struct Writer {
    bytes: Vec<u8>,
    now: Timestamp,
}

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    fn flag(&mut self, flag: bool) {
        self.bytes.push(u8::from(flag));
    }

    fn count(&mut self, count: usize) {
        self.bytes.push(u8::try_from(count).unwrap_or(u8::MAX));
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// In slots from now, positive for what is past.
    fn age(&mut self, at: Timestamp) {
        let slot = i64::try_from(SLOT.as_millis()).unwrap_or(1);
        let age = (self.now.milliseconds() - at.milliseconds()).div_euclid(slot).clamp(-OLDEST * 2, OLDEST);
        self.bytes.push(age.to_le_bytes()[0]);
    }

    /// The same where everything that is past by so long is the same.
    fn age_within(&mut self, at: Timestamp, within: Duration) {
        self.age(at.max(self.now - within));
    }

    fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// The state as a number of 128 bits.
pub(crate) fn hash(plan: &Plan, world: &World) -> u128 {
    let mut services: Vec<Vec<u8>> = plan
        .config
        .services
        .values()
        .map(|service| {
            let mut writer = Writer { bytes: Vec::with_capacity(256), now: world.now };
            let none = ServiceState::default();
            let own = world.state.services.get(&service.name).map_or(&none, AsRef::as_ref);
            write_service(&mut writer, &plan.config, service, own, &world.outside[&service.name]);
            writer.bytes
        })
        .collect();
    services.sort();
    let mut writer = Writer { bytes: Vec::with_capacity(600), now: world.now };
    writer.flag(world.up);
    writer.flag(world.pager_works);
    writer.flag(world.receipts_work);
    write_bounds(&mut writer, world.left);
    for service in services {
        writer.bytes.extend_from_slice(&u32::try_from(service.len()).unwrap_or(0).to_le_bytes());
        writer.bytes.extend_from_slice(&service);
    }
    digest(&writer.bytes)
}

/// FNV-1a over 128 bits, then mixed: the same on every machine.
fn digest(bytes: &[u8]) -> u128 {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

fn write_bounds(writer: &mut Writer, left: Bounds) {
    let Bounds {
        deploys,
        announcements,
        reports,
        approvals,
        asks,
        freezes,
        crashes,
        away,
        failed_looks,
        pager_breaks,
        receipts_break,
        late,
    } = left;
    let all = [
        deploys,
        announcements,
        reports,
        approvals,
        asks,
        freezes,
        crashes,
        away,
        failed_looks,
        pager_breaks,
        receipts_break,
        late,
    ];
    writer.bytes.extend_from_slice(&all);
}

/// Places stand for ids.
struct Places {
    deploys: BTreeMap<DeployId, u8>,
    firings: BTreeMap<FiringId, u8>,
}

fn place<K: Ord>(places: &BTreeMap<K, u8>, id: &K) -> u8 {
    places.get(id).copied().unwrap_or(u8::MAX)
}

fn write_service(writer: &mut Writer, config: &Config, plan: &Service, own: &ServiceState, outside: &Outside) {
    let ServiceState {
        sequence: _,
        ids: _,
        ledger,
        running,
        watch,
        last: _,
        firings,
        pages,
        freeze,
        automatic,
        // No report of the model has an identity.
        reports: _,
        returned,
        durations,
        // The model rehearses nothing.
        rehearsal: _,
        rehearsed: _,
    } = own;
    let matters = |firing: &&Firing| still_matters(config, own, writer.now, firing);
    let kept: Vec<&Firing> = firings.iter().filter(matters).collect();
    let numbered = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
    let places = Places {
        deploys: ledger.entries.iter().enumerate().map(|(at, entry)| (entry.deploy.id.clone(), numbered(at))).collect(),
        firings: kept.iter().enumerate().map(|(at, firing)| (firing.id.clone(), numbered(at))).collect(),
    };
    writer.count(ledger.entries.len());
    for entry in &ledger.entries {
        write_entry(writer, entry);
    }
    writer.optional(running.as_ref(), |writer, version| writer.text(version.as_str()));
    writer.optional(watch.as_ref(), |writer, watch| write_watch(writer, &places, watch));
    writer.count(kept.len());
    for firing in kept {
        write_firing(writer, config, own, &places, firing);
    }
    writer.count(pages.len());
    for page in pages {
        write_page(writer, &places, page);
    }
    let freeze = freeze.as_ref().filter(|freeze| freeze.until > writer.now);
    writer.optional(freeze, |writer, freeze| writer.age(freeze.until));
    let since = writer.now - plan.automatic_limit.within;
    writer.count(automatic.iter().filter(|at| **at > since).count());
    automatic.iter().filter(|at| **at > since).for_each(|at| writer.age(*at));
    writer.optional(returned.as_ref(), |writer, returned| {
        writer.text(returned.version.as_str());
        write_version(writer, returned.built.as_ref());
        writer.optional(returned.ended_at, |writer, at| writer.age_within(at, plan.watch));
    });
    for (path, took) in durations {
        writer.text(path.as_str());
        let mut took: Vec<u64> = took.iter().map(|took| took.0.as_secs() / SLOT.as_secs()).collect();
        took.sort_unstable();
        writer.count(took.len());
        took.into_iter().for_each(|took| writer.bytes.extend_from_slice(&took.to_le_bytes()[..1]));
    }
    write_outside(writer, plan, own, outside, &places);
}

/// Whether a firing can still be asked about: it is open, owed, of the watch, or counts for the fleet guard.
fn still_matters(config: &Config, own: &ServiceState, now: Timestamp, firing: &Firing) -> bool {
    let published = matches!(firing.stage, Stage::Ended { published: true, .. });
    let paged = own.pages.iter().any(|page| page.firing.as_ref() == Some(&firing.id));
    let watched =
        own.watch.as_ref().is_some_and(|watch| firing.deploy.as_ref().is_some_and(|deploy| deploy.id == watch.deploy));
    let lately = config.fleet_guard.is_some_and(|guard| firing.decided_at > now - guard.within);
    !published || paged || watched || lately
}

fn write_entry(writer: &mut Writer, entry: &Entry) {
    // What is only told decides nothing.
    let Entry { deploy, end, rolled_back, automatically, revision, incidents: _ } = entry;
    // What its instant matters to is written with the watch and with what serves; no event here is out of order.
    let Deploy {
        id: _,
        version,
        previous,
        commit: _,
        migration,
        run_url: _,
        at: _,
        reported_at: _,
        key,
        seen: _,
        rehearsal: _,
    } = deploy;
    writer.text(version.as_str());
    writer.optional(previous.as_ref(), |writer, version| writer.text(version.as_str()));
    writer.byte(*migration as u8);
    writer.flag(key.is_some());
    writer.optional(*end, |writer, end| writer.byte(end as u8));
    writer.flag(*rolled_back);
    writer.flag(*automatically);
    writer.flag(revision.is_some());
}

fn write_target(writer: &mut Writer, target: Option<&Target>) {
    writer.optional(target, |writer, Target { version, source, revision }| {
        writer.text(version.as_str());
        writer.byte(*source as u8);
        writer.flag(revision.is_some());
    });
}

fn write_version(writer: &mut Writer, version: Option<&Version>) {
    writer.optional(version, |writer, version| writer.text(version.as_str()));
}

fn write_watch(writer: &mut Writer, places: &Places, watch: &Watch) {
    let Watch { deploy, version, at, until, healthy_before, target, target_awaited, triggers, blind_paged } = watch;
    writer.byte(place(&places.deploys, deploy));
    writer.text(version.as_str());
    writer.age(*at);
    writer.age(*until);
    writer.optional(target_awaited.then_some(*healthy_before), Writer::age);
    write_target(writer, target.as_ref());
    writer.flag(*blind_paged);
    for (name, known) in triggers {
        let TriggerWatch { arming, turn, baseline, seen_clear, settled, shadowed_at, did_not_help } = known;
        writer.text(name.as_str());
        writer.byte(*arming as u8);
        match turn {
            Turn::Unseen => writer.byte(0),
            Turn::Clear => writer.byte(1),
            Turn::Breaching { since } => {
                writer.byte(2);
                writer.age(*since);
            }
            Turn::LowTraffic => writer.byte(3),
            Turn::Blind => writer.byte(4),
        }
        writer.flag(baseline.is_some());
        writer.flag(*seen_clear);
        writer.flag(*settled);
        writer.flag(shadowed_at.is_some());
        writer.flag(*did_not_help);
    }
}

fn write_firing(writer: &mut Writer, config: &Config, own: &ServiceState, places: &Places, firing: &Firing) {
    let Firing {
        id: _,
        trigger,
        origin,
        deploy,
        target,
        built,
        note: _,
        value: _,
        limit: _,
        budget,
        never_roll_back,
        dry_run,
        rehearsal: _,
        breach_at,
        observed_at,
        decided_at,
        stage,
        only_path,
        attempts,
        earlier_attempts,
        would_run,
        passed_over: _,
        joined,
        proof,
        recovered_at: _,
        acknowledged,
        approved,
        dismissed,
        budget_paged,
        // The plans name no announcers.
        announced: _,
        story: _,
    } = firing;
    let deploy_place = deploy.as_ref().map(|deploy| place(&places.deploys, &deploy.id));
    writer.optional(deploy_place, Writer::byte);
    writer.flag(*origin == Origin::Human);
    if let Some(guard) = config.fleet_guard {
        writer.age_within(*decided_at, guard.within);
        writer.age(*breach_at);
    }
    write_stage(writer, stage);
    if !firing.is_open() {
        return;
    }
    writer.text(trigger.as_str());
    write_target(writer, target.as_ref());
    write_version(writer, built.as_ref());
    for flag in [*never_roll_back, *dry_run, *acknowledged, *approved, dismissed.is_some(), *budget_paged] {
        writer.flag(flag);
    }
    writer.optional(budget.map(|budget| *observed_at + budget), |writer, end| writer.age_within(end, Duration::ZERO));
    let newer = own.ledger.latest().is_some_and(|latest| {
        let other = deploy.as_ref().is_none_or(|deploy| deploy.id != latest.deploy.id);
        other && latest.deploy.reported_at >= *decided_at
    });
    writer.flag(newer);
    writer.optional(only_path.as_ref(), |writer, path| writer.text(path.as_str()));
    writer.flag(*earlier_attempts > 0);
    writer.count(attempts.len() - earlier_attempts);
    attempts.iter().skip(*earlier_attempts).for_each(|attempt| write_attempt(writer, attempt));
    writer.flag(would_run.is_empty());
    let mut joined: Vec<&str> = joined.iter().map(|(trigger, _)| trigger.as_str()).collect();
    joined.sort_unstable();
    writer.count(joined.len());
    joined.into_iter().for_each(|trigger| writer.text(trigger));
    let Proof { serving_at, smoke_at, clear_at } = proof;
    writer.flag(serving_at.is_some());
    writer.flag(smoke_at.is_some());
    writer.count(clear_at.len());
    clear_at.keys().for_each(|trigger| writer.text(trigger.as_str()));
}

fn write_stage(writer: &mut Writer, stage: &Stage) {
    match stage {
        Stage::Veto { until } => {
            writer.byte(0);
            writer.age(*until);
        }
        Stage::Paged { why: _, closes_at } => {
            writer.byte(1);
            writer.age(*closes_at);
        }
        Stage::Rolling => writer.byte(2),
        Stage::Verifying { since: _, closes_at } => {
            writer.byte(3);
            writer.age(*closes_at);
        }
        Stage::Ended { result, at: _, receipt: _, published } => {
            writer.byte(4);
            writer.flag(*result == FiringEnd::Dismissed);
            writer.flag(*published);
        }
    }
}

fn write_attempt(writer: &mut Writer, attempt: &Attempt) {
    let Attempt { id: _, path, run: _, shown: _, started_at, ends_at, handle, in_doubt, ended_at: _, outcome } =
        attempt;
    writer.text(path.as_str());
    writer.flag(*in_doubt);
    match outcome {
        None => {
            writer.byte(0);
            writer.age(*started_at);
            writer.age(*ends_at);
            writer.flag(handle.is_some());
        }
        Some(Outcome::Succeeded { .. }) => writer.byte(1),
        Some(Outcome::Failed { .. }) => writer.byte(2),
        Some(Outcome::TimedOut) => writer.byte(3),
        Some(Outcome::Cancelled { .. }) => writer.byte(4),
        Some(Outcome::Unknown { .. }) => writer.byte(5),
        Some(Outcome::NeverStarted) => writer.byte(6),
    }
}

fn write_page(writer: &mut Writer, places: &Places, page: &Page) {
    let Page {
        id: _,
        service: _,
        reason,
        summary: _,
        details: _,
        firing,
        deploy,
        version: _,
        trigger,
        opened_at: _,
        resolved_at,
        // The plans have one level: whether somebody has it already changes nothing that is to come.
        acknowledged_at: _,
        levels_left: _,
        escalates_at: _,
        pagers,
        undelivered,
        unresolved,
    } = page;
    writer.byte(*reason as u8);
    writer.optional(firing.as_ref(), |writer, id| writer.byte(place(&places.firings, id)));
    writer.optional(deploy.as_ref(), |writer, id| writer.byte(place(&places.deploys, id)));
    writer.optional(trigger.as_ref(), |writer, trigger| writer.text(trigger.as_str()));
    writer.flag(resolved_at.is_some());
    writer.count(pagers.len());
    writer.count(undelivered.len());
    writer.count(unresolved.len());
}

fn write_outside(writer: &mut Writer, plan: &Service, own: &ServiceState, outside: &Outside, places: &Places) {
    let Outside {
        served,
        readings: _,
        answered_until: _,
        looked,
        remotes,
        runs,
        sending,
        publishing,
        left,
        automatic,
        automatic_at,
        approved,
        failed_look,
    } = outside;
    writer.optional(served.last(), |writer, (since, version)| {
        writer.text(version.as_str());
        // Only whether it has served since before each deploy.
        own.ledger.entries.iter().for_each(|entry| writer.flag(*since <= entry.deploy.at));
    });
    writer.flag(*looked);
    writer.flag(*failed_look);
    writer.count(remotes.len());
    for remote in remotes {
        writer.byte(place(&places.firings, &remote.firing));
        writer.text(remote.path.as_str());
        writer.text(remote.target.as_str());
        writer.flag(remote.followed);
        match remote.phase {
            Phase::NeverStarted => writer.byte(0),
            Phase::Running => writer.byte(1),
            Phase::Ended(run) => writer.byte(2 + run as u8),
        }
        let known = own.firing(&remote.firing).and_then(Firing::running);
        writer.flag(known.is_some_and(|attempt| attempt.id == remote.attempt));
    }
    for ((firing, path), count) in runs {
        writer.byte(place(&places.firings, firing));
        writer.text(path.as_str());
        writer.byte(*count);
    }
    writer.count(sending.len());
    for (page, resolved) in sending {
        let at = own.pages.iter().position(|known| &known.id == page);
        writer.count(at.unwrap_or(usize::from(u8::MAX)));
        writer.flag(*resolved);
    }
    writer.count(publishing.len());
    left.iter().for_each(|version| writer.text(version.as_str()));
    writer.count(automatic.len());
    writer.count(automatic_at.len());
    approved.iter().for_each(|firing| writer.byte(place(&places.firings, firing)));
    for trigger in &plan.triggers {
        let Observed::Metric(_) = &trigger.observed else { continue };
        write_readings(writer, own, outside, trigger);
    }
}

/// The readings by what they can still lead to: the verdicts that they give, for every arming. A verdict is the fold of
/// the points, so that the same verdict now and the same points from now on are the same verdict then.
fn write_readings(
    writer: &mut Writer,
    own: &ServiceState,
    outside: &Outside,
    trigger: &rollbackd_core::config::Trigger,
) {
    let readings = outside.readings.get(&trigger.name);
    let now = readings.and_then(|readings| readings.get(&writer.now));
    writer.optional(now, |writer, reading| writer.byte(*reading as u8));
    let (Some(watch), Some(readings)) = (&own.watch, readings) else { return };
    let points: Vec<Point> = readings.iter().map(|(at, reading)| Point { at: *at, look: look(*reading) }).collect();
    let answered = outside.answered_until.get(&trigger.name).filter(|(deploy, _)| deploy == &watch.deploy);
    let answered = answered.map(|(_, until)| *until);
    writer.optional(points.last().map(|point| point.at), Writer::age);
    writer.optional(answered, Writer::age);
    let rule =
        Rule { hold: trigger.hold, step: SLOT, window: SLOT, interval: SLOT, deploy_at: watch.at, since_deploy: false };
    let spent = watch.triggers.get(&trigger.name).is_some_and(|known| known.arming == Arming::Spent);
    let armings: &[Arming] = if spent { &[Arming::Spent] } else { &[Arming::Unknown, Arming::Armed, Arming::Disarmed] };
    for arming in armings {
        write_verdict(writer, &judge(&rule, *arming, &points, answered));
    }
    // Since when nothing has been seen.
    let seen = points.iter().rev().find(|point| !point.look.is_blind()).map(|point| point.at);
    writer.optional(seen, Writer::age);
    let row = readings.values().take_while(|reading| !look(**reading).is_blind()).count();
    writer.flag(row == readings.len());
    // A clear slot in the watch counts as proof for its end.
    let clear = readings.range(watch.at + SLOT..=watch.until).any(|(_, reading)| *reading == Reading::Clear);
    writer.flag(clear);
}

fn write_verdict(writer: &mut Writer, verdict: &Verdict) {
    let Verdict {
        latest,
        said,
        arming,
        breaching_since,
        said_breaching_since,
        clear_at,
        fired,
        did_not_help,
        blind,
        answered_until,
        // What the next look may leave out: the model brings the whole window each time.
        so_far: _,
    } = verdict;
    writer.optional(latest.as_ref(), |writer, point| write_look(writer, point.look));
    writer.optional(said.as_ref(), |writer, point| {
        write_look(writer, point.look);
        writer.age(point.at);
    });
    writer.byte(*arming as u8);
    writer.optional(*breaching_since, Writer::age);
    writer.optional(*said_breaching_since, Writer::age);
    writer.flag(clear_at.is_some());
    writer.optional(fired.as_ref(), |writer, fired| {
        writer.age(fired.breach_at);
    });
    writer.flag(*did_not_help);
    writer.flag(*blind);
    writer.optional(*answered_until, Writer::age);
}

fn write_look(writer: &mut Writer, look: Look) {
    writer.byte(match look {
        Look::Breach(_) => 0,
        Look::Clear(_) => 1,
        Look::LowTraffic | Look::NoTraffic => 2,
        Look::NoData => 3,
        Look::Error => 4,
        Look::Partial => 5,
    });
}

fn look(reading: Reading) -> Look {
    match reading {
        Reading::Breach => Look::Breach(0.9),
        Reading::Clear => Look::Clear(0.1),
        Reading::LowTraffic => Look::LowTraffic,
        Reading::NoData => Look::NoData,
    }
}
