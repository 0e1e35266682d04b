//! Looks: what the core wants to be looked at, asked when it is due, brought back as events.
//!
//! Cadence lives here, meaning does not: an answer is never interpreted, only handed on.

mod ask;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rollbackd_core::config::{Metric, Observed, Trigger};
use rollbackd_core::event::{Event, Happening};
use rollbackd_core::name::{ServiceName, TriggerName};
use rollbackd_core::time::Timestamp;
use rollbackd_core::wants::{Want, wants};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::door::Door;
use crate::metrics::{Metrics, Turning};
use crate::outside::{InForce, Outside};

use ask::QuerySet;
pub(crate) use ask::over;

/// While a recovery is awaited the version and the smoke URL are asked this often at least: the clock stops by them.
const PROOF_INTERVAL: Duration = Duration::from_secs(1);

/// The longest sleep: a clock that was set, or a service that appeared, is noticed within it.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// What is looked at, without its instants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Trigger(TriggerName),
    Baseline(TriggerName),
    VersionBefore,
    Serving,
    Version,
    Smoke,
}

/// When a subject is due, and whether an earlier look at it is still under way.
#[derive(Clone, Debug)]
struct Job {
    due_at: Timestamp,
    under_way: bool,
    /// What it last asked, where it may share that with others.
    asks: Option<Arc<Shares>>,
}

/// Looks with the same queries and the same slots share one answer.
type Shares = (QuerySet, Duration);

type Key = (ServiceName, Subject);

/// One trigger's look at one service, as it goes into a group that shares a query.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) service: ServiceName,
    pub(crate) trigger: TriggerName,
    pub(crate) deploy: rollbackd_core::name::DeployId,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) answered_until: Option<Timestamp>,
    /// The service's label in a query that is shared; `None` where the query is the service's own.
    pub(crate) split: bool,
    /// Where the queries name `since_deploy`: the deploy's instant.
    pub(crate) since_deploy: Option<Timestamp>,
    pub(crate) values: rollbackd_core::template::Values,
    pub(crate) baseline: bool,
}

/// Says that looks have come to their end, however they do: a mistake in one must not keep a trigger from ever being
/// looked at again.
struct UnderWay {
    keys: Vec<Key>,
    done: mpsc::UnboundedSender<Vec<Key>>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let _ = self.done.send(std::mem::take(&mut self.keys));
    }
}

/// Looks at what is due until it is told to stop.
pub struct Looker {
    door: Door,
    edges: InForce,
    metrics: Arc<Metrics>,
    jobs: BTreeMap<Key, Job>,
    looked_at: Timestamp,
    concurrency: Arc<Semaphore>,
    /// For the versions that serve: each service asks for its own at each interval, and triggers do not wait behind them.
    versions: Arc<Semaphore>,
}

impl Looker {
    /// A looker that brings what it sees to this door.
    #[must_use]
    pub fn new(door: Door, edges: InForce, metrics: Arc<Metrics>) -> Self {
        let most = edges.get().settings().prometheus.concurrency.max(1);
        let (concurrency, versions) = (Arc::new(Semaphore::new(most)), Arc::new(Semaphore::new(most.div_ceil(2))));
        Self { door, edges, metrics, jobs: BTreeMap::new(), looked_at: clock::now(), concurrency, versions }
    }

    /// Runs until stopped. `changed` names the services whose wants may have changed.
    pub async fn run(mut self, mut changed: mpsc::UnboundedReceiver<ServiceName>, stop: CancellationToken) {
        let (done, mut finished) = mpsc::unbounded_channel::<Vec<Key>>();
        let all: Vec<ServiceName> = self.door.shared.config().services.keys().cloned().collect();
        all.iter().for_each(|service| self.refresh(service));
        loop {
            // What is due comes before what is new: a flood of changes must not hold looks up.
            if self.sleep() == Duration::ZERO {
                self.look(clock::now(), &done);
            }
            let sleep = self.sleep();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(service) = changed.recv() => self.refresh(&service),
                Some(keys) = finished.recv() => self.finish(&keys),
                () = tokio::time::sleep(sleep) => self.look(clock::now(), &done),
            }
            self.metrics.turned(Turning::Looker);
        }
    }

    /// Until the next look is due.
    fn sleep(&self) -> Duration {
        let next = self.jobs.values().filter(|job| !job.under_way).map(|job| job.due_at).min();
        next.map_or(LONGEST_SLEEP, |at| at.since(clock::now())).min(LONGEST_SLEEP)
    }

    /// Adds what a service newly wants, due at once, and drops what it wants no longer.
    fn refresh(&mut self, service: &ServiceName) {
        let wanted: BTreeSet<Key> = self.wants(service).iter().map(|want| (service.clone(), subject(want))).collect();
        self.jobs.retain(|key, job| &key.0 != service || job.under_way || wanted.contains(key));
        let now = clock::now();
        for key in wanted {
            self.jobs.entry(key).or_insert(Job { due_at: now, under_way: false, asks: None });
        }
    }

    fn wants(&self, service: &ServiceName) -> Vec<Want> {
        wants(&self.door.shared.config(), &self.door.shared.state(), service)
    }

    fn finish(&mut self, keys: &[Key]) {
        for key in keys {
            if let Some(job) = self.jobs.get_mut(key) {
                job.under_way = false;
            }
        }
        let services: BTreeSet<&ServiceName> = keys.iter().map(|key| &key.0).collect();
        services.into_iter().for_each(|service| self.refresh(service));
    }

    /// Starts every look that is due: those that share a query share it, all others go by themselves.
    fn look(&mut self, now: Timestamp, done: &mpsc::UnboundedSender<Vec<Key>>) {
        let edges = self.edges.get();
        self.notice_clock(now);
        let due: BTreeSet<Key> =
            self.jobs.iter().filter(|(_, job)| job.due_at <= now).map(|(key, _)| key.clone()).collect();
        let services: BTreeSet<ServiceName> = due.iter().map(|(service, _)| service.clone()).collect();
        let asked: BTreeSet<Arc<Shares>> =
            self.jobs.values().filter(|job| job.under_way).filter_map(|job| job.asks.clone()).collect();
        let mut groups: BTreeMap<Shares, Vec<Look>> = BTreeMap::new();
        for service in services {
            for want in self.wants(&service) {
                let key = (service.clone(), subject(&want));
                if due.contains(&key) {
                    self.start(&edges, key, want, now, &mut groups, done);
                }
            }
        }
        // A reload may have ended what was wanted; a look that nobody starts would stay due for ever.
        self.jobs.retain(|key, job| job.under_way || job.due_at > now || !due.contains(key));
        // What is still under way and not wanted now owes nothing for the time until it is wanted again.
        self.jobs.values_mut().filter(|job| job.due_at < now).for_each(|job| job.due_at = now);
        for (shares, looks) in groups {
            let shares = Arc::new(shares);
            if asked.contains(&shares) {
                self.put_off(&looks);
                continue;
            }
            for look in &looks {
                if let Some(job) = self.jobs.get_mut(&look.key()) {
                    job.asks = Some(Arc::clone(&shares));
                }
            }
            let (door, edges, metrics) = (self.door.clone(), Arc::clone(&edges), Arc::clone(&self.metrics));
            let concurrency = Arc::clone(&self.concurrency);
            let under_way = UnderWay { keys: looks.iter().map(Look::key).collect(), done: done.clone() };
            tokio::spawn(async move {
                let _under_way = under_way;
                let _permit = concurrency.acquire().await;
                ask::group(&door, edges.as_ref(), &metrics, &shares.0, shares.1, looks).await;
            });
        }
    }

    /// The same is being asked already, for others: the next time all go together again. Where each asked for itself,
    /// a slow Prometheus would be asked once for each service instead of once for all, and would never catch up.
    fn put_off(&mut self, looks: &[Look]) {
        for look in looks {
            if let Some(job) = self.jobs.get_mut(&look.key()) {
                job.under_way = false;
            }
            if !look.baseline {
                self.metrics.evaluations_missed(1);
            }
        }
    }

    /// Where the clock was set back, what is due by the old one would not be looked at until then.
    fn notice_clock(&mut self, now: Timestamp) {
        if now + LONGEST_SLEEP < self.looked_at {
            tracing::warn!(from = %self.looked_at, to = %now, "the clock was set back; everything is looked at now");
            self.jobs.values_mut().for_each(|job| job.due_at = now);
        }
        self.looked_at = now;
    }

    fn start(
        &mut self,
        edges: &Arc<dyn Outside>,
        key: Key,
        want: Want,
        now: Timestamp,
        groups: &mut BTreeMap<Shares, Vec<Look>>,
        done: &mpsc::UnboundedSender<Vec<Key>>,
    ) {
        let interval = edges.settings().core.evaluation_interval;
        let metric = self.metric_of(&key);
        let step = metric.as_ref().map_or(interval, |(_, metric)| metric.step);
        let offset = edges.settings().prometheus.query_offset;
        let next = next_slot(now - offset, step) + offset;
        let Some(job) = self.jobs.get_mut(&key) else { return };
        count_due(&self.metrics, &key.1, job, slots_due(job.due_at, next, step));
        if job.under_way {
            job.due_at = next;
            return;
        }
        job.under_way = true;
        match (want, metric) {
            (Want::Trigger { deploy, trigger, from, deploy_at, values }, Some((rule, metric))) => {
                job.due_at = next;
                let answered_until = self.answered_until(&key.0, &trigger);
                let to = (now - offset).floor(step).max(from);
                let since_deploy = rollbackd_core::wants::names_since_deploy(&metric).then_some(deploy_at);
                let split = ask::is_split(&rule, &metric);
                let look = Look {
                    service: key.0,
                    trigger,
                    deploy,
                    from: from.min(to),
                    to,
                    answered_until,
                    split,
                    since_deploy,
                    values,
                    baseline: false,
                };
                group(groups, &metric, look);
            }
            (Want::Baseline { deploy, trigger, from, to, values }, Some((rule, metric))) => {
                job.due_at = now + interval;
                let split = ask::is_split(&rule, &metric);
                let look = Look {
                    service: key.0,
                    trigger,
                    deploy,
                    from,
                    to,
                    answered_until: None,
                    split,
                    since_deploy: None,
                    values,
                    baseline: true,
                };
                group(groups, &metric, look);
            }
            (other, _) => {
                let is_routine = matches!(other, Want::Version { .. });
                job.due_at = now + if is_routine { interval } else { interval.min(PROOF_INTERVAL) };
                // What a rollback waits for is asked at once.
                let versions = is_routine.then(|| Arc::clone(&self.versions));
                let (door, edges) = (self.door.clone(), Arc::clone(edges));
                let under_way = UnderWay { keys: vec![key.clone()], done: done.clone() };
                tokio::spawn(async move {
                    let _under_way = under_way;
                    let _permit = match &versions {
                        Some(versions) => versions.acquire().await.ok(),
                        None => None,
                    };
                    if let Some(what) = ask::alone(&door, edges.as_ref(), &key.0, other).await {
                        let _ = door.tell(Event { service: key.0.clone(), what }).await;
                    }
                });
            }
        }
    }

    fn answered_until(&self, service: &ServiceName, trigger: &TriggerName) -> Option<Timestamp> {
        let board = self.door.shared.board();
        board.get(&(service.clone(), trigger.clone())).and_then(|verdict| verdict.answered_until)
    }

    fn metric_of(&self, key: &Key) -> Option<(Trigger, Metric)> {
        let (Subject::Trigger(name) | Subject::Baseline(name)) = &key.1 else { return None };
        let config = self.door.shared.config();
        let trigger = config.services.get(&key.0)?.trigger(name)?.clone();
        let Observed::Metric(metric) = &trigger.observed else { return None };
        let metric = metric.as_ref().clone();
        Some((trigger, metric))
    }
}

fn group(groups: &mut BTreeMap<Shares, Vec<Look>>, metric: &Metric, look: Look) {
    let queries = QuerySet::of(metric, &look.service, &look.values, look.since_deploy);
    groups.entry((queries, metric.step)).or_default().push(look);
}

fn next_slot(now: Timestamp, step: Duration) -> Timestamp {
    now.floor(step) + step
}

/// The points of looks that are missed are not lost: the look that follows asks for them too.
fn count_due(metrics: &Metrics, of: &Subject, job: &Job, due: u64) {
    if matches!(of, Subject::Trigger(_)) {
        metrics.evaluations_due(due);
        metrics.evaluations_missed(if job.under_way { due } else { due - 1 });
    }
}

/// How many looks fell due from `due_at` until before the next slot: one, and more where the loop came late.
fn slots_due(due_at: Timestamp, next: Timestamp, step: Duration) -> u64 {
    let slots = next.since(due_at).as_millis().div_ceil(step.as_millis().max(1));
    u64::try_from(slots).unwrap_or(u64::MAX).max(1)
}

fn subject(want: &Want) -> Subject {
    match want {
        Want::Trigger { trigger, .. } => Subject::Trigger(trigger.clone()),
        Want::Baseline { trigger, .. } => Subject::Baseline(trigger.clone()),
        Want::VersionBefore { .. } => Subject::VersionBefore,
        Want::Serving { .. } => Subject::Serving,
        Want::Version { .. } => Subject::Version,
        Want::Smoke { .. } => Subject::Smoke,
    }
}

impl Look {
    fn key(&self) -> Key {
        let name = self.trigger.clone();
        (self.service.clone(), if self.baseline { Subject::Baseline(name) } else { Subject::Trigger(name) })
    }

    pub(crate) fn happening(&self, answers: rollbackd_core::reading::Answers) -> Happening {
        let (deploy, trigger) = (self.deploy.clone(), self.trigger.clone());
        if self.baseline {
            Happening::BaselineRead { deploy, trigger, answers }
        } else {
            Happening::Looked { deploy, trigger, answers, answered_until: self.answered_until }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::door::Shared;
    use crate::edges::Edges;

    fn looker(dir: &std::path::Path) -> Looker {
        crate::http_client::install_crypto();
        let file = dir.join("rollbackd.yml");
        let text = format!(
            "prometheus: {{url: 'http://127.0.0.1:9'}}\nlisten: 127.0.0.1:0\nstate_dir: {dir}\nreceipts_dir: {dir}\n\
             services:\n  - {{name: api, watch: 30m, page: [oncall], side_effects: none, \
             triggers: [{{name: smoke-test, observed: report, budget: 3m}}], \
             paths: [{{name: path, timeout: 1m, command: ['true']}}]}}\n\
             pagers: [{{name: oncall, webhook: {{url: 'http://127.0.0.1:9'}}}}]\n",
            dir = dir.display()
        );
        std::fs::write(&file, text).unwrap();
        let settings = config::load(&file).unwrap_or_else(|error| panic!("{}", config::explain(&error))).settings;
        let (events, _) = mpsc::channel(1);
        let door = Door::new(events, Arc::new(Shared::default()));
        door.shared.set_config(Arc::new(settings.core.clone()));
        Looker::new(door, InForce::new(Edges::open(settings).unwrap()), Arc::new(Metrics::new("test")))
    }

    fn key() -> Key {
        (ServiceName::new("api").unwrap(), Subject::Serving)
    }

    #[tokio::test]
    async fn a_look_that_is_wanted_no_longer_is_forgotten_and_not_due_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let mut looker = looker(dir.path());
        let (done, _finished) = mpsc::unbounded_channel();
        let now = clock::now();
        looker.jobs.insert(key(), Job { due_at: now, under_way: false, asks: None });
        looker.look(now, &done);
        assert!(looker.jobs.is_empty());
    }

    #[tokio::test]
    async fn while_nothing_is_watched_nothing_falls_due_however_long_the_last_look_takes() {
        let dir = tempfile::tempdir().unwrap();
        let mut looker = looker(dir.path());
        let (done, _finished) = mpsc::unbounded_channel();
        let now = clock::now();
        let last_watch = now - Duration::from_secs(60);
        looker.jobs.insert(key(), Job { due_at: last_watch, under_way: true, asks: None });
        looker.look(now, &done);
        assert!(looker.jobs[&key()].under_way);
        assert_eq!(looker.jobs[&key()].due_at, now, "the next watch would count the slots since the last one");
    }

    #[test]
    fn a_loop_that_comes_late_counts_each_slot_that_it_passed() {
        let (at, step) = (Timestamp::from_milliseconds, Duration::from_secs(1));
        assert_eq!(slots_due(at(5_000), at(6_000), step), 1, "in time");
        assert_eq!(slots_due(at(5_000), at(8_000), step), 3, "at 7.2 s: 5, 6 and 7 were due");
        assert_eq!(slots_due(at(4_300), at(5_000), step), 1, "the first look of a watch, between two slots");
        assert_eq!(slots_due(at(4_300), at(7_000), step), 3, "the same, too late: and those of 5 and 6");
        assert_eq!(slots_due(at(9_000), at(8_000), step), 1, "the clock was set back");
    }

    #[tokio::test]
    async fn a_clock_that_was_set_back_makes_nobody_wait_until_it_has_caught_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut looker = looker(dir.path());
        let (hour, now) = (Duration::from_secs(3600), clock::now());
        looker.jobs.insert(key(), Job { due_at: now + Duration::from_secs(1), under_way: false, asks: None });
        looker.notice_clock(now);
        looker.notice_clock(now - hour);
        assert_eq!(looker.jobs[&key()].due_at, now - hour);
    }

    #[tokio::test]
    async fn a_look_that_panics_is_not_under_way_for_ever() {
        let (done, mut finished) = mpsc::unbounded_channel();
        let under_way = UnderWay { keys: vec![key()], done };
        let task = tokio::spawn(async move {
            let _under_way = under_way;
            panic!("on purpose");
        });
        assert!(task.await.is_err());
        assert_eq!(finished.recv().await, Some(vec![key()]));
    }
}
