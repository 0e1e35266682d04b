//! A deploy is reported: a watch opens, or nothing does because it is known, too late, or what a rollback caused.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::apply::fresh_triggers;
use crate::builds;
use crate::config::Observed;
use crate::deploy::{Deploy, Entry, Ledger, Migration, Target, TargetSource, WatchEnd};
use crate::draft::Draft;
use crate::event::{DeployReport, NotNews, Refusal, Reply, Run, Serving};
use crate::firing::{Attempt, Firing, Stage};
use crate::name::{AttemptId, Commit, DeployId, FiringId, TriggerName, Version};
use crate::page::{self, PageReason};
use crate::record::{FiringRecord, LedgerRecord, Record, WatchRecord};
use crate::rehearsal::REHEARSAL;
use crate::rehearsals;
use crate::rollback;
use crate::state::{ServiceState, Watch};
use crate::time::Timestamp;
use crate::trigger::Baseline;

/// Clocks of different machines differ; an event that lies further ahead than this is a mistake of its sender.
pub(crate) const LARGEST_CLOCK_SKEW: Duration = Duration::from_secs(300);

pub(crate) fn reported(draft: &mut Draft<'_>, report: &DeployReport) -> Reply {
    let at = match instant(draft, report) {
        Ok(at) => at,
        Err(refusal) => return Reply::Refused(refusal),
    };
    if let Some(known) = rehearsals::told(draft, report, at, None) {
        return Reply::SameDeploy(known);
    }
    if let Some(known) = seen_before(draft, report, at) {
        learn(draft, &known, report);
        return Reply::SameDeploy(known);
    }
    if let Some(known) = same_event(draft, report) {
        learn_migration(draft, &known, report);
        return Reply::SameDeploy(known);
    }
    if let Some(known) = announced(draft, &report.version, report.commit.as_ref(), at) {
        return Reply::SameDeploy(known);
    }
    record(draft, report, at, false)
}

/// When a deploy was, by whoever tells of it; a little in the future is now.
fn instant(draft: &Draft<'_>, report: &DeployReport) -> Result<Timestamp, Refusal> {
    let (asked, now) = (report.at.unwrap_or(draft.now), draft.now);
    if asked > now + LARGEST_CLOCK_SKEW { Err(Refusal::FromTheFuture { at: asked, now }) } else { Ok(asked.min(now)) }
}

/// A platform's own records show a deploy. They say no more than `version_query` does, only earlier: whoever tells of the
/// deploy later, with an instant of their own, tells of the same one.
pub(crate) fn shown(draft: &mut Draft<'_>, report: &DeployReport) -> Reply {
    let at = match instant(draft, report) {
        Ok(at) => at,
        Err(refusal) => return Reply::Refused(refusal),
    };
    if let Some(known) = rehearsals::told(draft, report, at, None) {
        return Reply::SameDeploy(known);
    }
    if let Some(known) = same_version(draft, report, at).or_else(|| same_event(draft, report)) {
        learn_migration(draft, &known, report);
        learn_key(draft, &known, report);
        return Reply::SameDeploy(known);
    }
    if let Some(known) = announced(draft, &report.version, report.commit.as_ref(), at) {
        return Reply::SameDeploy(known);
    }
    record(draft, report, at, true)
}

/// By its key a platform's revision is known again when its version is not what serves any more.
fn learn_key(draft: &mut Draft<'_>, known: &DeployId, report: &DeployReport) {
    let Some(entry) = draft.own().ledger.entry(known).filter(|entry| entry.deploy.version == report.version) else {
        return;
    };
    if !entry.deploy.seen && entry.deploy.key.is_none() {
        // What was told of it stays as it was told.
        let Deploy { previous, commit, run_url, .. } = entry.deploy.clone();
        let (deploy, key) = (known.clone(), report.key.clone());
        draft.record(Record::Ledger(LedgerRecord::Told { deploy, previous, commit, run_url, key }));
    }
}

/// A deploy that is news: recorded, and watched unless something newer serves.
fn record(draft: &mut Draft<'_>, report: &DeployReport, at: Timestamp, seen: bool) -> Reply {
    let Ok(id) = DeployId::new(draft.next_id('d')) else {
        return Reply::Refused(Refusal::Conflict("the service's name is too long for an id".to_owned()));
    };
    let deploy = Deploy {
        id: id.clone(),
        version: report.version.clone(),
        previous: report.previous.clone(),
        commit: report.commit.clone(),
        migration: report.migration,
        run_url: report.run_url.clone(),
        at,
        reported_at: draft.now,
        key: report.key.clone(),
        seen,
        rehearsal: false,
    };
    let out_of_order = draft.own().ledger.latest().is_some_and(|latest| latest.deploy.at > at);
    if out_of_order {
        let end = Some(WatchEnd::Superseded);
        draft.record(Record::Ledger(LedgerRecord::Deployed { deploy, end, running: false }));
    } else {
        open(draft, deploy);
    }
    Reply::Deploy(id)
}

/// `version_query` shows a version that was not there before. Nobody may have told of it, or will only later.
pub(crate) fn appeared(draft: &mut Draft<'_>, version: &Version, at: Timestamp, alone: bool) {
    let at = at.min(draft.now);
    if rehearsals::appeared(draft, version, at) {
        return;
    }
    let own = draft.own();
    let serves = own.running.as_ref() == Some(version);
    // What was deployed since then may only not serve yet.
    let is_old = own.ledger.latest().is_some_and(|latest| latest.deploy.at >= at);
    // Beside another one, an old version is no more than a part of production that came back late.
    let lingers = own.ledger.knows(version) && !alone;
    let is_ours = brought_back(draft, version, at).is_some() || builds::may_be(own, version);
    if !draft.service.watch_version || serves || is_old || lingers || is_ours {
        return;
    }
    let report = DeployReport::seen(version.clone(), at);
    let _: Reply = record(draft, &report, at, true);
}

/// The deploy that `version_query` or a platform showed before anybody told of it, where this tells of it now: its instant and ours of
/// the same deploy differ by a scrape, a roll-out and a pipeline's last steps.
fn seen_before(draft: &Draft<'_>, report: &DeployReport, at: Timestamp) -> Option<DeployId> {
    let own = draft.own();
    let last = own.ledger.latest().filter(|last| last.deploy.seen && !last.rolled_back)?;
    let (seen_at, watch) = (last.deploy.at, draft.service.watch);
    let same = last.deploy.version == report.version && at < seen_at + watch && seen_at < at + watch;
    (same && own.running.as_ref() == Some(&report.version)).then(|| last.deploy.id.clone())
}

/// What is told of a deploy that is known already.
fn learn(draft: &mut Draft<'_>, known: &DeployId, report: &DeployReport) {
    learn_migration(draft, known, report);
    let same = draft.own().ledger.entry(known).filter(|entry| entry.deploy.version == report.version);
    if same.is_some_and(|entry| entry.deploy.seen) {
        draft.record(Record::Ledger(LedgerRecord::Told {
            deploy: known.clone(),
            previous: report.previous.clone(),
            commit: report.commit.clone(),
            run_url: report.run_url.clone(),
            key: report.key.clone(),
        }));
        learn_target(draft, known);
    }
}

/// The version that the event names as the one before comes before what `version_query` shows (design, R3).
fn learn_target(draft: &mut Draft<'_>, known: &DeployId) {
    let own = draft.own();
    let Some(watch) = own.watch.as_ref().filter(|watch| &watch.deploy == known) else { return };
    let Some(entry) = own.ledger.entry(known).filter(|entry| entry.deploy.previous.is_some()) else { return };
    if watch.target.as_ref().is_none_or(|target| target.source == TargetSource::Seen) {
        let (target, _) = target(&own.ledger, &entry.deploy, false);
        draft.watch_record(WatchRecord::TargetFound { target });
    }
}

/// A source outside saw a deploy. Several may see the same one, each with a key and an instant of its own, and a pipeline
/// may have reported it before them.
pub(crate) fn hinted(draft: &mut Draft<'_>, report: &DeployReport, run: Option<&Run>) -> Reply {
    let at = report.at.unwrap_or(draft.now);
    if let Some((attempt, target)) = own_attempt(draft.own(), run) {
        // Whatever version the forge calls it by: a run that is dispatched for a tag is a deploy of its branch there.
        let known = target.and_then(|target| announced(draft, &target.version, None, at.min(draft.now)));
        return known.map_or(Reply::NotNews(NotNews::OwnAttempt(attempt)), Reply::SameDeploy);
    }
    if let Some(known) = rehearsals::told(draft, report, at.min(draft.now), run) {
        return Reply::SameDeploy(known);
    }
    match same_version(draft, report, at) {
        Some(known) => {
            learn(draft, &known, report);
            Reply::SameDeploy(known)
        }
        None => reported(draft, report),
    }
}

/// The attempt of ours that a pipeline's run is, with the version that it goes back to (design, R4).
pub(crate) fn own_attempt(own: &ServiceState, run: Option<&Run>) -> Option<(AttemptId, Option<Target>)> {
    let run = run?;
    let titled = |attempt: &Attempt| run.title.as_ref().is_some_and(|title| title.contains(attempt.id.as_str()));
    let is_it = |attempt: &&Attempt| attempt.handle.as_ref() == Some(&run.id) || titled(attempt);
    own.firings.iter().rev().find_map(|firing| {
        let attempt = firing.attempts.iter().find(is_it)?;
        Some((attempt.id.clone(), firing.target.clone()))
    })
}

/// The last deploy, where it is of this version, serves, and was not so long ago that this must be another one.
fn same_version(draft: &Draft<'_>, report: &DeployReport, at: Timestamp) -> Option<DeployId> {
    let own = draft.own();
    let last = own.ledger.latest().filter(|last| last.deploy.version == report.version && !last.rolled_back)?;
    let same = own.running.as_ref() == Some(&report.version) && at < last.deploy.at + draft.service.watch;
    same.then(|| last.deploy.id.clone())
}

/// Of several who tell of one deploy, one may know that it migrated data: that holds it, whoever came first (design, R6).
pub(crate) fn learn_migration(draft: &mut Draft<'_>, known: &DeployId, report: &DeployReport) {
    let entry = draft.own().ledger.entry(known);
    let same_version = entry.filter(|entry| entry.deploy.version == report.version);
    if report.migration == Migration::Breaking
        && same_version.is_some_and(|entry| entry.deploy.migration != Migration::Breaking)
    {
        let (deploy, migration) = (known.clone(), report.migration);
        draft.record(Record::Ledger(LedgerRecord::MigrationLearned { deploy, migration }));
    }
}

/// The deploy that this event tells of once more (design, "HTTP").
fn same_event(draft: &Draft<'_>, report: &DeployReport) -> Option<DeployId> {
    let same = |entry: &&Entry| {
        let deploy = &entry.deploy;
        let same_key = report.key.is_some() && deploy.key == report.key;
        let same_instant = report.at.is_some_and(|at| at == deploy.at || was_ahead(entry, at));
        same_key || (deploy.version == report.version && same_instant)
    };
    let entries = &draft.own().ledger.entries;
    if let Some(entry) = entries.iter().rev().find(same) {
        return Some(entry.deploy.id.clone());
    }
    // Without an instant of its own, the version under watch told again is the same deploy told again.
    let watch = draft.own().watch.as_ref()?;
    (report.at.is_none() && report.key.is_none() && watch.version == report.version).then(|| watch.deploy.clone())
}

/// Whether a deploy may have been told with this instant: one a little in the future was taken as the one at which the
/// event came. A version that was left meanwhile is deployed anew.
fn was_ahead(entry: &Entry, at: Timestamp) -> bool {
    let deploy = &entry.deploy;
    let ahead = at > deploy.at && at <= deploy.reported_at + LARGEST_CLOCK_SKEW;
    ahead && deploy.at == deploy.reported_at && !entry.rolled_back
}

/// The deploy of the version that a rollback went back to, or that a human brings back, however often it is announced
/// (design, R4). It opens no watch.
fn announced(draft: &mut Draft<'_>, version: &Version, commit: Option<&Commit>, at: Timestamp) -> Option<DeployId> {
    let current = current(draft.own())?.deploy.id.clone();
    let built = || builds::by_commit(draft, version, commit?, at).map(Some);
    let firing = brought_back(draft, version, at).or_else(built)?;
    let by_us = firing.as_ref().is_some_and(|firing| !firing.returns_to(version));
    let under_way = draft.own().rolling().is_some();
    let id = firing.as_ref().map(|firing| firing.id.clone());
    draft.record(Record::Ledger(LedgerRecord::Announced { version: version.clone(), firing: id }));
    if let (false, Some(Firing { id, stage: Stage::Paged { .. } | Stage::Veto { .. }, .. })) = (under_way, &firing) {
        let what = if by_us { "the revert was deployed after all" } else { "the target was deployed by somebody else" };
        rollback::verify(draft, id, what.to_owned());
    }
    let own = draft.own();
    let known_as = own.stands_for(version);
    let known = own.ledger.entries.iter().rev().find(|entry| &entry.deploy.version == known_as);
    Some(known.map_or(current, |entry| entry.deploy.id.clone()))
}

/// Whether a rollback went back to this version, or a human brings it back: by the firing, while that is open.
fn brought_back(draft: &Draft<'_>, version: &Version, at: Timestamp) -> Option<Option<Firing>> {
    let current = current(draft.own())?.deploy.id.clone();
    let brings_back = |firing: &&Firing| {
        firing.returns_to(version)
            && (firing.is_rolling() || firing.deploy.as_ref().is_some_and(|deploy| deploy.id == current))
    };
    let firing = draft.own().rolling().filter(brings_back).cloned();
    let firing = firing.or_else(|| draft.own().open_firings().find(brings_back).cloned());
    let returned = draft.own().returned.as_ref().is_some_and(|returned| {
        &returned.version == draft.own().stands_for(version)
            && returned.ended_at.is_none_or(|ended| at < ended + draft.service.watch)
    });
    (firing.is_some() || returned).then_some(firing)
}

fn open(draft: &mut Draft<'_>, deploy: Deploy) {
    let uncertain = rehearsals::overtaken(draft, &deploy.version);
    let until = deploy.at + draft.service.watch;
    open_until(draft, deploy, until);
    if let (Some(summary), Ok(trigger)) = (uncertain, TriggerName::new(REHEARSAL)) {
        page::about_watch(draft, PageReason::DeployDuringRehearsal, &trigger, summary);
    }
}

/// A deploy that serves now, with its watch until then; none where that is over already.
pub(crate) fn open_until(draft: &mut Draft<'_>, deploy: Deploy, until: Timestamp) {
    let before = draft.own().watch.clone();
    supersede(draft, &deploy);
    let too_late = until <= draft.now;
    let end = too_late.then_some(WatchEnd::Unproven);
    let record = LedgerRecord::Deployed { deploy: deploy.clone(), end, running: true };
    draft.record(Record::Ledger(record));
    if !too_late {
        let watch = Box::new(fresh_watch(draft, &deploy, until, before.as_ref()));
        draft.watch_record(WatchRecord::Opened { watch });
    }
}

/// The watch of a new deploy. Where it supersedes another, baseline and target carry over: the version in between was
/// never proven healthy (design, R13).
fn fresh_watch(draft: &Draft<'_>, deploy: &Deploy, until: Timestamp, before: Option<&Watch>) -> Watch {
    let carried = before.and_then(|before| before.target.clone()).filter(|target| target.version != deploy.version);
    let (target, awaited) = match carried {
        Some(target) => (Some(target), false),
        None => target(&draft.own().ledger, deploy, draft.service.version_query.is_some()),
    };
    // What the watch before was still to look up carries over as well, unless this event says it.
    let awaited = awaited || (target.is_none() && before.is_some_and(|before| before.target_awaited));
    let metric = draft.service.triggers.iter().filter(|trigger| matches!(trigger.observed, Observed::Metric(_)));
    let baselines: BTreeMap<TriggerName, Baseline> = before.map_or_else(BTreeMap::new, |before| {
        let kept = |(name, known): (&TriggerName, &crate::state::TriggerWatch)| Some((name.clone(), known.baseline?));
        before.triggers.iter().filter_map(kept).collect()
    });
    Watch {
        deploy: deploy.id.clone(),
        version: deploy.version.clone(),
        at: deploy.at,
        until,
        healthy_before: before.map_or(deploy.at, |before| before.healthy_before),
        target,
        target_awaited: awaited,
        triggers: fresh_triggers(metric.map(|trigger| trigger.name.clone()), &baselines),
        blind_paged: false,
    }
}

/// The version to return to, and whether `version_query` is still to be asked for it (design, R3).
fn target(ledger: &Ledger, deploy: &Deploy, can_ask: bool) -> (Option<Target>, bool) {
    if let Some(version) = ledger.latest_passed(&deploy.version) {
        let revision = ledger.revision(version).map(str::to_owned);
        return (Some(Target { version: version.clone(), source: TargetSource::Passed, revision }), false);
    }
    match &deploy.previous {
        Some(named) if ledger.may_be_target(named, &deploy.version) => {
            let revision = ledger.revision(named).map(str::to_owned);
            (Some(Target { version: named.clone(), source: TargetSource::Named, revision }), false)
        }
        Some(_) => (None, false),
        None => (None, can_ask),
    }
}

/// The deploy of what serves: the one under watch, else that of the version that a rollback went back to, else the last.
pub(crate) fn current(own: &ServiceState) -> Option<&Entry> {
    let watched = own.watch.as_ref().and_then(|watch| own.ledger.entry(&watch.deploy));
    let running = own.running.as_ref().map(|running| own.stands_for(running));
    let running = |entry: &&Entry| running == Some(&entry.deploy.version);
    watched.or_else(|| own.ledger.entries.iter().rev().find(running)).or_else(|| own.ledger.latest())
}

/// The version to return to where no watch is open.
pub(crate) fn target_now(draft: &Draft<'_>, deploy: &Deploy) -> Option<Target> {
    let own = draft.own();
    let watch = own.watch.as_ref().filter(|watch| watch.deploy == deploy.id);
    match watch {
        Some(watch) => watch.target.clone(),
        None => target(&own.ledger, deploy, false).0,
    }
}

fn supersede(draft: &mut Draft<'_>, deploy: &Deploy) {
    for firing in draft.open_firings() {
        let note = format!("{} was deployed", deploy.version);
        draft.firing_record(&firing.id, FiringRecord::Noted { what: note });
        if firing.is_rolling() {
            deployed_during_rollback(draft, &firing.id, &deploy.version);
        } else {
            rollback::superseded(draft, &firing);
        }
    }
    page::resolve_left_pages(draft);
    if draft.own().watch.is_some() {
        page::resolve_watch_pages(draft);
        draft.watch_record(WatchRecord::Ended { end: WatchEnd::Superseded });
    }
}

fn deployed_during_rollback(draft: &mut Draft<'_>, firing: &FiringId, version: &Version) {
    let summary = format!(
        "{}: {version} was deployed while a rollback is running; the rollback is not stopped, so see which version serves",
        draft.name()
    );
    page::about_firing(draft, firing, PageReason::DeployDuringRollback, summary);
}

/// `version_query` said what served just before the deploy.
pub(crate) fn version_before_read(draft: &mut Draft<'_>, deploy: &DeployId, serving: Option<&Serving>) {
    let Some(watch) = draft.own().watch.clone() else { return };
    if &watch.deploy != deploy || !watch.target_awaited {
        return;
    }
    // An empty answer may be filled in later: it is asked for again.
    let Some(serving) = serving else { return };
    let usable = draft.own().ledger.may_be_target(&serving.version, &watch.version);
    let target = usable.then(|| Target {
        version: serving.version.clone(),
        source: TargetSource::Seen,
        revision: serving.revision.clone(),
    });
    draft.watch_record(WatchRecord::TargetFound { target });
}
