//! R1 to R14 as far as they speak of behaviour, checked at each record that becomes durable and each act upon the
//! outside, against what really happened. By bookkeeping of their own: nothing here asks the daemon what it thinks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rollbackd_core::apply::apply;
use rollbackd_core::config::{Action, Config, Mode};
use rollbackd_core::deploy::{LONGEST_LEDGER, Migration, TargetSource, WatchEnd};
use rollbackd_core::event::{Event, Order, Reply};
use rollbackd_core::firing::{Attempt, Firing, FiringEnd, Origin, Outcome, Stage};
use rollbackd_core::name::{AttemptId, DeployId, FiringId, PageId, PagerName, ServiceName, TriggerName, Version};
use rollbackd_core::page::PageReason;
use rollbackd_core::record::{FiringRecord, LedgerRecord, PageRecord, Record, RehearsalRecord, WatchRecord};
use rollbackd_core::rehearsal::{End, Rehearsal};
use rollbackd_core::state::{ServiceState, State, Watch};
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::Arming;

use crate::plan::Plan;
use crate::production::Production;
use crate::reached::{Reached, Seen};
use crate::truth::Truth;

/// A rule that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) rule: &'static str,
    pub(crate) how: String,
}

/// What the rules remember.
pub(crate) struct Rules {
    pub(crate) config: Arc<Config>,
    /// The fold of all records that ever became durable.
    pub(crate) state: State,
    pub(crate) broken: Option<Broken>,
    /// Versions that a path was started to get away from.
    left: BTreeSet<(ServiceName, Version)>,
    /// The versions that passed their own watch, oldest first.
    passed: BTreeMap<ServiceName, Vec<Version>>,
    automatic: BTreeMap<DeployId, FiringId>,
    automatic_at: BTreeMap<ServiceName, Vec<Timestamp>>,
    /// When each service last fired, by its own doing.
    fired_at: BTreeMap<ServiceName, Vec<Timestamp>>,
    intended: BTreeSet<AttemptId>,
    receipts: u64,
    /// How many there were when all was quiet last.
    pub(crate) receipts_before: u64,
    superseded: BTreeMap<ServiceName, Watch>,
    fired: BTreeSet<(DeployId, TriggerName)>,
    disk_full_at: Option<u64>,
    /// Whether the page that the journal can't be written reached a pager, and is not over there.
    journal_page_is_open: bool,
    /// Whether each record is printed.
    pub(crate) tells: bool,
    /// All pages that were ever opened, and for whom.
    pub(crate) pages_opened: BTreeSet<(PageId, PagerName)>,
    /// What is to be announced: of which firing, and whether it is its end.
    pub(crate) to_announce: BTreeSet<(FiringId, bool)>,
}

impl Rules {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            config: Arc::new(config.clone()),
            state: State::default(),
            broken: None,
            left: BTreeSet::new(),
            passed: BTreeMap::new(),
            automatic: BTreeMap::new(),
            automatic_at: BTreeMap::new(),
            fired_at: BTreeMap::new(),
            intended: BTreeSet::new(),
            receipts: 0,
            receipts_before: 0,
            superseded: BTreeMap::new(),
            fired: BTreeSet::new(),
            disk_full_at: None,
            journal_page_is_open: false,
            tells: false,
            pages_opened: BTreeSet::new(),
            to_announce: BTreeSet::new(),
        }
    }

    /// Forgets what nothing depends on any more: the ledgers have forgotten those versions, and all is quiet.
    pub(crate) fn forget(&mut self) {
        let state = &self.state;
        let known = |service: &ServiceName, version: &Version| state.service(service).ledger.knows(version);
        self.left.retain(|(service, version)| known(service, version));
        self.passed.iter_mut().for_each(|(service, passed)| passed.retain(|version| known(service, version)));
        self.receipts_before = self.receipts;
        self.disk_full_at = None;
        self.automatic.clear();
        self.intended.clear();
        self.fired.clear();
        self.pages_opened.clear();
        self.to_announce.clear();
        let lately = |times: &mut Vec<Timestamp>| drop(times.drain(..times.len().saturating_sub(10)));
        self.automatic_at.values_mut().chain(self.fired_at.values_mut()).for_each(lately);
    }

    /// Notes that a rule is broken, unless one is already: what follows from a breach says nothing more.
    pub(crate) fn must(&mut self, rule: &'static str, holds: bool, how: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(Broken { rule, how: how() });
        }
    }

    pub(crate) fn disk_is_full(&mut self, elapsed: u64) {
        self.disk_full_at = Some(elapsed);
    }

    /// A pager took the page that the journal can't be written, or the word that it is over.
    pub(crate) const fn journal_page(&mut self, over: bool) {
        self.journal_page_is_open = !over;
    }

    /// Whether it is still open there from before all was quiet last: another full disk is no news then.
    pub(crate) const fn journal_page_is_open(&self) -> bool {
        self.journal_page_is_open
    }

    /// When a write last failed since the last start.
    pub(crate) const fn disk_was_full_at(&self) -> Option<u64> {
        self.disk_full_at
    }

    /// The daemon starts: whatever it could not write before it does not know.
    pub(crate) const fn starts(&mut self) {
        self.disk_full_at = None;
        self.journal_page_is_open = false;
    }

    /// Records became durable, all of one decision.
    pub(crate) fn appended(
        &mut self,
        plan: &Plan,
        production: &Production,
        reached: &mut Reached,
        service: &str,
        at: Timestamp,
        bodies: &[String],
    ) {
        let service = ServiceName::new(service).expect("a service's name");
        let mut batch = Vec::with_capacity(bodies.len());
        for body in bodies {
            match serde_json::from_str::<Record>(body) {
                Ok(record) => batch.push(record),
                Err(error) => self.must("R2", false, || format!("a record can't be read back: {error}: {body}")),
            }
        }
        for record in &batch {
            if self.tells {
                println!("{at} {service} {record:?}");
            }
            let truth = Truth { plan, production, config: &Arc::clone(&self.config) };
            self.before(&truth, reached, &service, at, record);
            if let Err(why) = apply(&mut self.state, &service, at, record) {
                self.must("R2", false, || format!("a durable record does not fit: {why}: {record:?}"));
            }
            self.one_at_a_time(&service);
        }
        self.superseded.remove(&service);
        self.nothing_is_dropped(&service, &batch);
    }

    fn before(
        &mut self,
        truth: &Truth<'_>,
        reached: &mut Reached,
        service: &ServiceName,
        at: Timestamp,
        record: &Record,
    ) {
        match record {
            Record::Firing { id, what } => {
                let Some(firing) = self.state.service(service).firing(id).cloned() else {
                    return self.must("R8", false, || format!("a record of a firing that is not known: {id}"));
                };
                self.firing_record(truth, reached, service, at, &firing, what);
            }
            Record::Fired(firing) => self.fires(truth, reached, service, at, firing),
            Record::Watch(WatchRecord::Opened { watch }) => self.watch_opens(service, watch),
            Record::Watch(WatchRecord::Ended { end }) => self.watch_ends(truth, reached, service, at, *end),
            Record::Watch(WatchRecord::Turned { arming, trigger, .. }) => {
                let known = self.state.service(service).watch.clone();
                let before = known.and_then(|watch| watch.triggers.get(trigger).map(|known| known.arming));
                match (before, arming) {
                    (_, Arming::Disarmed) => reached.see(Seen::Disarmed),
                    (Some(Arming::Disarmed), Arming::Armed) => reached.see(Seen::ArmedAgain),
                    _ => {}
                }
            }
            Record::Page(PageRecord::Opened { page }) => {
                let dry_run = self.config.mode == Mode::DryRun;
                let twice = self.state.service(service).page(&page.id).is_some();
                self.must("R8", !twice, || format!("two open pages have the key {}", page.id));
                if !dry_run {
                    self.pages_opened.extend(page.pagers.iter().map(|pager| (page.id.clone(), pager.clone())));
                    page_seen(reached, page.reason, &page.summary);
                }
            }
            Record::Page(PageRecord::Escalated { page, pagers, .. }) => {
                let known = self.state.service(service).page(page).cloned();
                let unseen = known.is_some_and(|page| page.acknowledged_at.is_none() && page.resolved_at.is_none());
                self.must("R8", unseen, || format!("page {page} goes on, although somebody has it, or it is over"));
                self.pages_opened.extend(pagers.iter().map(|pager| (page.clone(), pager.clone())));
                reached.see(Seen::PageEscalated);
            }
            Record::Rehearsal(what) => self.rehearsal_record(truth, reached, service, what),
            Record::Ledger(LedgerRecord::Announced { .. }) => reached.see(Seen::AnnouncementIgnored),
            Record::Ledger(LedgerRecord::Told { .. }) => reached.see(Seen::ToldAfterItAppeared),
            Record::Ledger(LedgerRecord::Deployed { deploy, .. }) => {
                let known = self.state.service(service).ledger.entry(&deploy.id).is_some();
                self.must("R13", !known, || format!("two deploys have the id {}", deploy.id));
                if deploy.seen {
                    reached.see(Seen::VersionAppeared);
                }
            }
            Record::Ledger(
                LedgerRecord::RevisionSeen { .. }
                | LedgerRecord::MigrationLearned { .. }
                | LedgerRecord::ReportTaken { .. },
            )
            | Record::Watch(_)
            | Record::Page(_)
            | Record::Frozen { .. }
            | Record::Thawed => {}
        }
    }

    /// A bad version is deployed on purpose once, over nothing that is the matter, and is gone when the rehearsal says so.
    fn rehearsal_record(
        &mut self,
        truth: &Truth<'_>,
        reached: &mut Reached,
        service: &ServiceName,
        what: &RehearsalRecord,
    ) {
        let own = self.state.service(service).into_owned();
        match what {
            RehearsalRecord::AttemptIntended { attempt } => {
                self.must("R12", self.config.mode == Mode::Live, || "a dry run deploys a bad version".to_owned());
                let quiet = own.watch.is_none() && own.open_firings().next().is_none();
                self.must("R1", quiet, || format!("{} is deployed on purpose over trouble", attempt.id));
                let new = self.intended.insert(attempt.id.clone());
                self.must("R2", new, || format!("attempt {} is intended twice", attempt.id));
                reached.see(Seen::RehearsalDeployed);
            }
            RehearsalRecord::StopAsked => reached.see(Seen::RehearsalStopped),
            RehearsalRecord::Ended { end, .. } => {
                let Some(rehearsal) = own.rehearsing() else {
                    return self.must("R8", false, || "a rehearsal ends that is not under way".to_owned());
                };
                let begun = rehearsal.attempt.as_ref().is_some_and(|it| truth.production.runs.contains_key(&it.id));
                match end {
                    End::CalledOff { why } => {
                        reached.see(Seen::RehearsalCalledOff);
                        self.must("R2", !begun, || format!("called off ({why}), and it was begun at the remote"));
                    }
                    End::Superseded { .. } => reached.see(Seen::RehearsalSuperseded),
                    End::Recovered => {
                        reached.see(Seen::RehearsalRecovered);
                        self.bad_version_is_gone(truth, service, &own, rehearsal);
                    }
                    End::NotRecovered | End::LeftToHuman | End::Dismissed => {}
                }
            }
            RehearsalRecord::Asked { .. }
            | RehearsalRecord::Checked { .. }
            | RehearsalRecord::AttemptStarted { .. }
            | RehearsalRecord::AttemptWaits { .. }
            | RehearsalRecord::AttemptEnded { .. }
            | RehearsalRecord::Told { .. }
            | RehearsalRecord::Reported { .. }
            | RehearsalRecord::Watching { .. } => {}
        }
    }

    /// Where `version_query` shows what serves, recovery is proven by it: at that instant the bad version served nobody.
    fn bad_version_is_gone(
        &mut self,
        truth: &Truth<'_>,
        service: &ServiceName,
        own: &ServiceState,
        rehearsal: &Rehearsal,
    ) {
        let about = |firing: &&Firing| firing.deploy.as_ref().is_some_and(|deploy| deploy.id == rehearsal.deploy);
        let proven =
            own.firings.iter().filter(about).find_map(|firing| firing.proof.serving_at.zip(firing.recovered_at));
        let Some((seen_at, _)) = proven.filter(|_| truth.config.services[service].version_query.is_some()) else {
            return;
        };
        // A deploy that was given up may come to serve late: nobody follows it any more, and docs/rehearsals.md says so.
        if !rehearsal.attempt.as_ref().is_some_and(Attempt::succeeded) {
            return;
        }
        // What is shown was scraped a little before; clocks that differ, and samples that come late, show what was long ago.
        let shown = truth.plan.prometheus_ahead == 0 && crate::time::ahead() == 0 && truth.is_whole(seen_at, seen_at);
        let (since, serves) = truth.production.serving(crate::world::number_of(service), seen_at);
        let gone = serves != &rehearsal.bad || *since > seen_at - std::time::Duration::from_secs(3);
        self.must("R9", gone || !shown, || format!("{} serves at {seen_at}, and the rehearsal is over", rehearsal.bad));
    }

    fn firing_record(
        &mut self,
        truth: &Truth<'_>,
        reached: &mut Reached,
        service: &ServiceName,
        at: Timestamp,
        firing: &Firing,
        what: &FiringRecord,
    ) {
        if let FiringRecord::Announced { .. } = what {
            return;
        }
        let is_published = matches!(what, FiringRecord::Published { .. });
        self.must("R8", firing.is_open() != is_published, || {
            format!("{what:?} comes to a firing in {:?}", firing.stage)
        });
        match what {
            FiringRecord::AttemptIntended { attempt, automatic } => {
                self.intended(reached, service, at, firing, (attempt, *automatic));
            }
            FiringRecord::AttemptEnded { outcome, .. } => match outcome {
                Outcome::TimedOut => reached.see(Seen::TimedOut),
                Outcome::Unknown { .. } => reached.see(Seen::UnknownOutcome),
                Outcome::Succeeded { .. }
                | Outcome::Failed { .. }
                | Outcome::Cancelled { .. }
                | Outcome::NeverStarted => {}
            },
            FiringRecord::AttemptInDoubt { .. } => reached.see(Seen::InDoubt),
            FiringRecord::Ended { receipt, result, recovered_at } => {
                self.receipts += 1;
                self.to_announce.extend((!firing.announced.is_empty()).then(|| (firing.id.clone(), true)));
                let expected = self.receipts;
                self.must("R8", *receipt == expected, || format!("receipt {receipt}, and {expected} is next"));
                self.must("R8", firing.running().is_none(), || "a firing ends while its attempt runs".to_owned());
                let early = recovered_at.is_some_and(|back| back < firing.observed_at);
                self.must("R9", !early, || format!("recovered at {recovered_at:?}, before {}", firing.observed_at));
                match result {
                    FiringEnd::Recovered => {
                        reached.see(Seen::Recovered);
                        if let Err(how) = truth.recovered(service, firing, at) {
                            self.must("R9", false, || how);
                        }
                        // Also where somebody else has brought production back.
                        let left = firing.deploy.as_ref().map(|deploy| (service.clone(), deploy.version.clone()));
                        self.left.extend(left);
                    }
                    FiringEnd::Paged => reached.see(Seen::EndedPaged),
                    FiringEnd::Dismissed => reached.see(Seen::Dismissed),
                    FiringEnd::NotRecovered => reached.see(Seen::NotRecovered),
                }
            }
            FiringRecord::WouldRun { .. } => {
                let dry_run = firing.dry_run;
                self.must("R12", dry_run, || "a live firing only would run something".to_owned());
                reached.see(Seen::DryRunWouldRun);
            }
            FiringRecord::Joined { .. } => reached.see(Seen::Joined),
            FiringRecord::Vetoable { .. } => reached.see(Seen::VetoRunning),
            FiringRecord::Approved => reached.see(Seen::Approved),
            FiringRecord::BudgetSpent => reached.see(Seen::BudgetSpent),
            FiringRecord::Paged { .. }
            | FiringRecord::AttemptStarted { .. }
            | FiringRecord::PassedOver { .. }
            | FiringRecord::Verifying { .. }
            | FiringRecord::Proved { .. }
            | FiringRecord::Dismissed { .. }
            | FiringRecord::Acknowledged
            | FiringRecord::Noted { .. }
            | FiringRecord::Announced { .. }
            | FiringRecord::Published { .. } => {}
        }
    }

    /// A path is about to run.
    fn intended(
        &mut self,
        reached: &mut Reached,
        service: &ServiceName,
        at: Timestamp,
        firing: &Firing,
        (attempt, automatic): (&Attempt, bool),
    ) {
        self.attempt_is_allowed(service, firing, attempt);
        if automatic {
            self.automatic_is_allowed(service, at, firing);
        }
        if firing.attempts.iter().any(|earlier| earlier.path != attempt.path) {
            reached.see(Seen::SecondPath);
        }
        let never = |earlier: &Attempt| matches!(earlier.outcome, Some(Outcome::NeverStarted));
        if firing.attempts.iter().any(never) {
            reached.see(Seen::StartedAfterNeverBegun);
        }
        if matches!(firing.stage, Stage::Veto { .. }) {
            reached.see(Seen::VetoRan);
        }
    }

    /// R1, R3, R4 and R12: to where, and from where.
    fn attempt_is_allowed(&mut self, service: &ServiceName, firing: &Firing, attempt: &Attempt) {
        self.must("R12", self.config.mode == Mode::Live, || "a dry run intends an attempt".to_owned());
        self.must("R6", !firing.never_roll_back, || "a path runs for `rollback: never`".to_owned());
        let (Some(target), Some(deploy)) = (&firing.target, &firing.deploy) else {
            return self.must("R3", false, || format!("a path runs without a target: {firing:?}"));
        };
        let to = target.version.clone();
        self.must("R3", to != deploy.version, || format!("back to {to}, which is what is left"));
        let left = self.left.contains(&(service.clone(), to.clone()));
        self.must("R4", !left, || format!("ping-pong: {to} was rolled back before"));
        if target.source == TargetSource::Passed {
            let passed = self.passed.get(service).is_some_and(|passed| passed.contains(&to));
            self.must("R3", passed, || format!("{to} never passed a watch"));
        }
        let new = self.intended.insert(attempt.id.clone());
        self.must("R2", new, || format!("attempt {} is intended twice", attempt.id));
        self.left.insert((service.clone(), deploy.version.clone()));
    }

    /// R1, R6, R10 and R11: by itself.
    fn automatic_is_allowed(&mut self, service: &ServiceName, at: Timestamp, firing: &Firing) {
        let frozen = self.state.service(service).frozen(at).is_some();
        self.must("R11", !frozen, || "a path starts by itself while automatic rollback is frozen".to_owned());
        let Some(deploy) = &firing.deploy else { return };
        let breaking = deploy.migration == Migration::Breaking;
        self.must("R6", !breaking, || format!("{} migrated data and is rolled back by itself", deploy.version));
        let first = self.automatic.entry(deploy.id.clone()).or_insert_with(|| firing.id.clone()).clone();
        self.must("R1", first == firing.id, || format!("{} is rolled back by itself twice", deploy.id));
        if !firing.attempts.is_empty() {
            return;
        }
        let limit = self.config.services[service].automatic_limit;
        let times = self.automatic_at.entry(service.clone()).or_default();
        times.retain(|earlier| *earlier > at - limit.within);
        times.push(at);
        let count = times.len();
        self.must("R1", count <= limit.rollbacks, || format!("{count} automatic rollbacks, over the limit"));
        // Why a rehearsal's version is bad is known, whatever else fires (decision 0021).
        let Some(guard) = self.config.fleet_guard.filter(|_| firing.rehearsal.is_none()) else { return };
        let lately = |times: &Vec<Timestamp>| times.iter().any(|fired| *fired > at - guard.within);
        let others = self.fired_at.iter().filter(|(other, times)| *other != service && lately(times)).count();
        self.must("R10", others + 1 < guard.services, || format!("{} services fire together", others + 1));
    }

    /// R5, R7 and R9: a trigger that Prometheus observes fires by the data, and at its instant.
    fn fires(
        &mut self,
        truth: &Truth<'_>,
        reached: &mut Reached,
        service: &ServiceName,
        at: Timestamp,
        firing: &Firing,
    ) {
        self.to_announce.extend((!firing.announced.is_empty()).then(|| (firing.id.clone(), false)));
        let known = self.state.service(service).firing(&firing.id).is_some();
        self.must("R8", !known, || format!("two firings have the id {}", firing.id));
        if firing.origin != Origin::Human {
            self.fired_at.entry(service.clone()).or_default().push(at);
        }
        match firing.origin {
            Origin::Metric => reached.see(Seen::FiredByMetric),
            Origin::Report => reached.see(Seen::FiredByReport),
            Origin::Human => reached.see(Seen::RollbackByHuman),
            Origin::Rehearsal => reached.see(Seen::RehearsalUnseen),
        }
        let (Origin::Metric, Some(deploy)) = (firing.origin, &firing.deploy) else { return };
        let again = !self.fired.insert((deploy.id.clone(), firing.trigger.clone()));
        self.must("R7", !again, || format!("{} fires twice for {}", firing.trigger, deploy.id));
        let Some(watch) = self.state.service(service).watch.clone() else { return };
        if let Err(how) = truth.held(service, firing, watch.at) {
            self.must("R7", false, || how);
        }
        if let Err(how) = truth.was_armed(service, firing, watch.at) {
            self.must("R5", false, || how);
        }
        if truth.is_whole(watch.at, firing.observed_at) && !truth.is_behind() {
            if let Some(earlier) = truth.first(service, &firing.trigger, firing.limit, watch.at, firing.observed_at) {
                let observed = firing.observed_at;
                self.must("R9", earlier >= observed, || {
                    format!("{} is observed at {observed}, and the data had it at {earlier}", firing.trigger)
                });
            }
        } else {
            reached.see(Seen::FiredFromLateData);
        }
    }

    /// R4 and R13: what a watch begins with.
    fn watch_opens(&mut self, service: &ServiceName, watch: &Watch) {
        let open = self.state.service(service).watch.is_some();
        self.must("R13", !open, || "a watch begins while another is open".to_owned());
        if let Some(target) = &watch.target {
            let left = self.left.contains(&(service.clone(), target.version.clone()));
            self.must("R4", !left, || format!("a watch could roll forward to {}", target.version));
            self.must("R3", target.version != watch.version, || "a watch's target is its own version".to_owned());
        }
        let passed = self.passed.get(service).map(Vec::as_slice).unwrap_or_default();
        let left = |version: &Version| self.left.contains(&(service.clone(), version.clone()));
        let own = self.state.service(service);
        // What was bad on purpose once is no version to return to, also where it passed later.
        let rehearsed = own.ledger.entries.iter().filter(|entry| entry.deploy.rehearsal);
        let rehearsed: BTreeSet<&Version> = rehearsed.map(|entry| &entry.deploy.version).collect();
        let fits = |version: &&Version| **version != watch.version && !left(version) && !rehearsed.contains(version);
        let latest = passed.iter().rev().find(fits).cloned();
        drop(own);
        let target = watch.target.as_ref().map(|target| target.version.clone());
        let Some(before) = self.superseded.remove(service) else {
            if let Some(latest) = &latest {
                let own = self.state.service(service);
                let how = (target.as_ref() != Some(latest)).then(|| {
                    let known = own.ledger.entries.iter().filter(|entry| &entry.deploy.version == latest);
                    let known: Vec<_> = known.map(|entry| (&entry.deploy.id, entry.end, entry.rolled_back)).collect();
                    format!("{latest} passed last, and the target is {target:?}; in the ledger: {known:?}")
                });
                drop(own);
                self.must("R3", how.is_none(), || how.unwrap_or_default());
            }
            return;
        };
        self.must("R13", watch.healthy_before <= before.healthy_before, || {
            format!("the baseline moves from {} to {}", before.healthy_before, watch.healthy_before)
        });
        let carried = before.target.map(|target| target.version);
        let usable =
            |carried: &Version| *carried != watch.version && !self.left.contains(&(service.clone(), carried.clone()));
        if let Some(carried) = carried.filter(usable) {
            self.must("R13", target.as_ref() == Some(&carried), || {
                format!("the target of the watch before was {carried}, and this one's is {target:?}")
            });
        }
    }

    /// R7: how a watch may end.
    fn watch_ends(
        &mut self,
        truth: &Truth<'_>,
        reached: &mut Reached,
        service: &ServiceName,
        at: Timestamp,
        end: WatchEnd,
    ) {
        let Some(watch) = self.state.service(service).watch.clone() else {
            return self.must("R13", false, || "a watch ends that is not open".to_owned());
        };
        match end {
            WatchEnd::Passed => reached.see(Seen::WatchPassed),
            WatchEnd::Unproven => reached.see(Seen::WatchUnproven),
            WatchEnd::Blind => reached.see(Seen::WatchBlind),
            WatchEnd::RolledBack => reached.see(Seen::WatchRolledBack),
            WatchEnd::Superseded => {
                reached.see(Seen::WatchSuperseded);
                self.superseded.insert(service.clone(), watch.clone());
            }
            WatchEnd::Paged => reached.see(Seen::WatchPaged),
            WatchEnd::Dismissed => reached.see(Seen::WatchDismissed),
        }
        if matches!(end, WatchEnd::Passed | WatchEnd::Unproven | WatchEnd::Blind) {
            let about = |firing: &&Firing| firing.deploy.as_ref().is_some_and(|deploy| deploy.id == watch.deploy);
            let fired = self.state.service(service).firings.iter().filter(about).count();
            self.must("R7", fired == 0, || format!("a watch in which something fired ends {end:?}"));
            self.must("R7", at >= watch.until, || format!("a watch ends {end:?} before its time"));
        }
        if matches!(end, WatchEnd::Passed | WatchEnd::Unproven) {
            self.nothing_was_missed(truth, service, &watch, end);
        }
        if end == WatchEnd::Blind {
            let open_eyes = truth.nothing_hides(service, &watch, at);
            self.must("R7", !open_eyes, || format!("the watch of {} ends blind, and all was there", watch.version));
        }
        if end == WatchEnd::Passed {
            self.was_seen_healthy(truth, service, &watch, at);
            let passed = self.passed.entry(service.clone()).or_default();
            passed.retain(|version| version != &watch.version);
            passed.push(watch.version);
            self.must("R3", passed_fits(&self.passed, service), || "a ledger longer than it may be".to_owned());
        }
    }

    /// A watch ends without a firing only where no trigger's condition held for its `for`.
    fn nothing_was_missed(&mut self, truth: &Truth<'_>, service: &ServiceName, watch: &Watch, end: WatchEnd) {
        if !truth.is_whole(watch.at, watch.until) {
            // What comes in only after the watch has ended comes too late: `query_offset` is for servers like that.
            return;
        }
        let names: Vec<TriggerName> = watch.triggers.keys().cloned().collect();
        for name in names {
            let Some(limit) = truth.fixed_limit(service, &name).filter(|_| !truth.looks_idle(&name)) else { continue };
            if let Some(at) = truth.first(service, &name, Some(limit), watch.at, watch.until) {
                self.must("R7", false, || {
                    format!("the watch of {} ends {end:?}, and {name} held at {at}", watch.version)
                });
            }
        }
    }

    /// R7: only clear counts as health, and a watch that ends blind has not passed.
    fn was_seen_healthy(&mut self, truth: &Truth<'_>, service: &ServiceName, watch: &Watch, ended_at: Timestamp) {
        for trigger in &Arc::clone(&self.config).services[service].triggers {
            if trigger.action == Action::Shadow || !watch.triggers.contains_key(&trigger.name) {
                continue;
            }
            let (clear, at_end) = truth.clear(service, &trigger.name, watch.at, (watch.until, ended_at));
            self.must("R7", clear, || format!("{} passed, and {} was never clear", watch.version, trigger.name));
            self.must("R7", at_end, || format!("{} passed, and {} ended blind", watch.version, trigger.name));
        }
    }

    fn one_at_a_time(&mut self, service: &ServiceName) {
        let own = self.state.service(service);
        let rolling = own.firings.iter().filter(|firing| firing.is_rolling()).count();
        let running = own.firings.iter().filter(|firing| firing.running().is_some()).count();
        drop(own);
        self.must("R1", rolling <= 1, || format!("{rolling} rollbacks of {service} at a time"));
        self.must("R1", running <= 1, || format!("{running} attempts of {service} at a time"));
    }

    /// R9: when an attempt ends, what comes next is decided in the same breath.
    fn nothing_is_dropped(&mut self, service: &ServiceName, batch: &[Record]) {
        let ended = batch.iter().find_map(|record| match record {
            Record::Firing { id, what: FiringRecord::AttemptEnded { .. } } => Some(id),
            _ => None,
        });
        let Some(id) = ended else { return };
        let waits = |firing: &Firing| matches!(firing.stage, Stage::Rolling) && firing.running().is_none();
        let waits = self.state.service(service).firing(id).is_some_and(waits);
        self.must("R9", !waits, || format!("an attempt of {id} ended, and nothing follows: {batch:?}"));
    }

    /// R12: it was looked whether an order could be carried out. Whatever holds rollbacks may have come since it was
    /// planned, so that is not asked; a dry run plans none.
    pub(crate) fn looked_before(&mut self) {
        self.must("R12", self.config.mode == Mode::Live, || "a dry run gets a path ready".to_owned());
    }

    /// R2 and R1: a run begins at the remote.
    pub(crate) fn remote_run_begins(&mut self, production: &Production, order: &Order) {
        self.must("R12", self.config.mode == Mode::Live, || "a dry run runs a path".to_owned());
        let intended = self.intended.contains(&order.attempt);
        self.must("R2", intended, || format!("{} runs, and its intent is not durable", order.attempt));
        let before = production.runs.contains_key(&order.attempt);
        self.must("R2", !before, || format!("{} runs twice", order.attempt));
        let others = production
            .runs
            .iter()
            .filter(|(id, run)| crate::world::service(run.service) == order.service && production.goes_on(id))
            .map(|(id, _)| id);
        for other in others {
            let own = self.state.service(&order.service);
            let bad = own.rehearsal.as_ref().and_then(|rehearsal| rehearsal.attempt.as_ref());
            let all = own.firings.iter().flat_map(|firing| &firing.attempts).chain(bad);
            let known = all.clone().find(|attempt| &attempt.id == other);
            // One that timed out, or that nobody knows anything of, may go on: that can't be helped, and is known.
            let given_up = known.is_none_or(|attempt| attempt.outcome.is_some() || attempt.in_doubt);
            drop(own);
            self.must("R1", given_up, || format!("{} runs while {other} does", order.attempt));
        }
    }

    /// R2: whoever was told that something was taken may rely on it.
    pub(crate) fn was_answered(&mut self, event: &Event, reply: &Reply) {
        let own = self.state.service(&event.service);
        let is_durable = match reply {
            Reply::Deploy(deploy) => own.ledger.entry(deploy).is_some(),
            Reply::Firing(firing) | Reply::SameFiring(firing) => own.firing(firing).is_some(),
            Reply::Rehearsal(id) => own.rehearsal.as_ref().is_some_and(|rehearsal| &rehearsal.id == id),
            Reply::None | Reply::SameDeploy(_) | Reply::Done | Reply::NotNews(_) | Reply::Refused(_) => true,
        };
        drop(own);
        self.must("R2", is_durable, || format!("{event:?} was answered {reply:?}, and that is not durable"));
    }

    /// R8: a pager hears of a page, and only then that it is over.
    pub(crate) fn page_is_over(&mut self, page: &PageId, pager: &PagerName, was_taken: bool) {
        let known = self.pages_opened.contains(&(page.clone(), pager.clone()));
        self.must("R8", was_taken || !known, || format!("{pager} is told that {page} is over, and never of it"));
    }

    /// What must hold at any time while the daemon lives and can write.
    pub(crate) fn now(&mut self, now: Timestamp, patience: std::time::Duration) {
        let spent = |firing: &&Firing| firing.budget_ends_at().is_some_and(|end| end + patience < now);
        let open = || self.state.services.values().flat_map(|own| own.open_firings());
        let forgotten = open().find(|firing| spent(firing) && !firing.budget_paged).map(|firing| {
            format!("the budget of {} was spent at {:?}, and nobody was told", firing.id, firing.budget_ends_at())
        });
        self.must("R9", forgotten.is_none(), || forgotten.unwrap_or_default());
    }
}

/// Passed versions are remembered as long as ledgers are.
fn passed_fits(passed: &BTreeMap<ServiceName, Vec<Version>>, service: &ServiceName) -> bool {
    passed.get(service).is_none_or(|passed| passed.len() <= LONGEST_LEDGER)
}

fn page_seen(reached: &mut Reached, reason: PageReason, summary: &str) {
    match reason {
        PageReason::Blind => reached.see(Seen::BlindPaged),
        PageReason::DidNotHelp => reached.see(Seen::DidNotHelp),
        PageReason::RemoteWaits => reached.see(Seen::RemoteWaits),
        PageReason::Held => {
            let held_by = [
                ("that is one outage", Seen::HeldByFleet),
                ("frozen until", Seen::HeldByFreeze),
                ("migrated data", Seen::HeldByMigration),
                ("are the limit", Seen::HeldByLimit),
                ("no version to return to", Seen::HeldWithoutTarget),
            ];
            held_by.iter().filter(|(words, _)| summary.contains(words)).for_each(|(_, seen)| reached.see(*seen));
        }
        PageReason::Manual
        | PageReason::Veto
        | PageReason::NoPathLeft
        | PageReason::UnknownOutcome
        | PageReason::BudgetSpent
        | PageReason::DeployDuringRehearsal
        | PageReason::DeployDuringRollback => {}
    }
}
