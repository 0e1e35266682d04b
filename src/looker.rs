//! Looks: what the core wants to be looked at, asked when it is due, brought back as events.
//!
//! Cadence lives here, meaning does not: an answer is never interpreted, only handed on.

mod ask;
mod brought;
mod cadence;
mod closer;
mod gaps;
mod gate;
mod jobs;
mod look;
mod pieces;
mod preflight;
mod split;
mod together;
mod turn;
mod under_way;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rollbackd_core::board::Shown;
use rollbackd_core::config::{Config, Metric, Observed, Trigger};
use rollbackd_core::name::{DeployId, ServiceName, TriggerName};
use rollbackd_core::state::State;
use rollbackd_core::template::Values;
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::SoFar;
use rollbackd_core::wants::{self, Want, wants, wants_of};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::door::Door;
use crate::metrics::{Metrics, Turning};
use crate::outside::InForce;

pub(crate) use ask::{as_one, over};
use cadence::{Awaited, Pace, in_turn};
use gate::Gate;
use jobs::{Closer, Job, Jobs, Key, Subject};
use look::{Due, Look, Shares};
use pieces::Cut;
use preflight::Preflight;
pub(crate) use split::told_apart;
use turn::Turn;
use under_way::{Over, UnderWay};
use versions::Versions;

/// While a recovery is awaited the version and the smoke URL are asked this often at least: the clock stops by them.
const PROOF_INTERVAL: Duration = Duration::from_secs(1);

/// A look that failed while a row of breaches was followed is made again so long afterwards.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// So many triggers are looked at closer at once, until their `for` is over.
const MOST_CLOSER: usize = 64;

/// And so many where the server works out all services for the sake of one.
const MOST_CLOSER_OF_ALL: usize = 8;

/// The longest sleep: a clock that was set, or a service that appeared, is noticed within it.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// Looks at what is due until it is told to stop.
pub struct Looker {
    door: Door,
    edges: InForce,
    metrics: Arc<Metrics>,
    jobs: Jobs,
    /// What is being asked for those who share it, and whose looks at the same wait for its end.
    asking: BTreeMap<Arc<Shares>, Vec<Key>>,
    looked_at: Timestamp,
    gate: Gate,
    versions: Versions,
}

impl Looker {
    /// A looker that brings what it sees to this door.
    #[must_use]
    pub fn new(door: Door, edges: InForce, metrics: Arc<Metrics>) -> Self {
        let outside = edges.get();
        let settings = &outside.settings().prometheus;
        let gate = Gate::new(settings.concurrency, settings.http.timeout, Arc::clone(&metrics));
        let versions = Versions::start(door.clone(), gate.clone());
        let (jobs, asking) = (Jobs::default(), BTreeMap::new());
        Self { door, edges, metrics, jobs, asking, looked_at: clock::now(), gate, versions }
    }

    /// Runs until stopped. `changed` names the services whose wants may have changed.
    pub async fn run(mut self, mut changed: mpsc::UnboundedReceiver<ServiceName>, stop: CancellationToken) {
        let (done, mut finished) = mpsc::unbounded_channel::<Over>();
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
                Some(over) = finished.recv() => self.finish(&over),
                () = tokio::time::sleep(sleep) => self.look(clock::now(), &done),
            }
            self.metrics.turned(Turning::Looker);
        }
    }

    /// Until the next look is due.
    fn sleep(&self) -> Duration {
        self.jobs.next().map_or(LONGEST_SLEEP, |at| at.since(clock::now())).min(LONGEST_SLEEP)
    }

    /// Adds what a service newly wants, due at once unless that is what a large fleet shares, and drops what it wants no longer.
    fn refresh(&mut self, service: &ServiceName) {
        let config = self.door.shared.config();
        let wanted = wants(&config, &self.door.shared.state(), service);
        let wanted: BTreeSet<Subject> = wanted.iter().map(subject).collect();
        let (now, offset) = (clock::now(), self.edges.get().settings().prometheus.query_offset);
        let jobs = self.jobs.of_mut(service);
        for (subject, job) in jobs.iter_mut() {
            let is_wanted = wanted.contains(subject);
            if is_wanted && job.unwanted {
                // It owes nothing for the time in which it was not wanted.
                job.due_at = now;
            }
            job.unwanted = !is_wanted;
        }
        jobs.retain(|_, job| !job.unwanted || job.under_way);
        let new: Vec<Subject> = wanted.into_iter().filter(|subject| !jobs.contains_key(subject)).collect();
        jobs.reserve(new.len());
        for subject in new {
            let key = (service.clone(), subject);
            let due_at = in_turn(&config, &self.door.shared.state(), &key, offset, now).unwrap_or(now);
            jobs.insert(key.1, Job::due(due_at));
        }
        // A look comes to its end before what it brought is judged, or after that: what it said is followed both times.
        let idle = jobs.iter().filter(|(_, job)| !job.under_way);
        let idle: Vec<Key> = idle.map(|(subject, _)| (service.clone(), subject.clone())).collect();
        idle.iter().for_each(|key| self.follow_breach(key));
        self.hasten(service, now);
        self.jobs.note(service);
    }

    fn finish(&mut self, over: &Over) {
        let waiting = over.shared.as_ref().and_then(|shared| self.asking.remove(shared)).unwrap_or_default();
        if let Some(until) = over.piece_until.filter(|_| !over.failed) {
            over.keys.iter().for_each(|key| self.go_on_from(until, key));
        }
        for key in over.keys.iter().chain(&waiting) {
            let Some(job) = self.jobs.get_mut(key) else { continue };
            job.under_way = false;
            if over.failed && job.closer.is_some() {
                // It says nothing of the row, whose `for` may be over by now.
                job.due_at = job.due_at.min(clock::now() + AGAIN_AFTER);
            }
            if job.unwanted {
                self.jobs.of_mut(&key.0).remove(&key.1);
            } else {
                self.follow_breach(key);
            }
            self.jobs.note(&key.0);
        }
    }

    /// Makes the next piece due, where this one up to that slot came to something. Else the same would be asked for again
    /// and again: it is due in its turn.
    fn go_on_from(&mut self, until: Timestamp, key: &Key) {
        let shown = key.1.trigger().and_then(|trigger| self.shown(&key.0, trigger));
        let so_far = shown.and_then(|shown| shown.so_far).filter(|known| known.until >= until);
        if let (Some(_), Some(job)) = (so_far, self.jobs.get_mut(key)) {
            job.due_at = clock::now();
        }
    }

    /// Where a trigger has begun to breach, it is looked closer when exactly; then when its `for` will be over.
    fn follow_breach(&mut self, key: &Key) {
        let Subject::Trigger(name) = &key.1 else { return };
        let Some(shown) = self.shown(&key.0, name) else { return };
        let config = self.door.shared.config();
        let Some((rule, metric)) = metric_of(&config, key) else { return };
        let hold = rule.row();
        let since = closer::open_row(&shown, hold, clock::now()).filter(|_| !wants::names_since_deploy(metric));
        let Some(job) = self.jobs.get_mut(key) else { return };
        let Some(since) = since else {
            job.closer = None;
            return;
        };
        let slot = closer::slot_of(since, metric.step);
        if let Some(closer) = job.closer.as_mut().filter(|closer| closer.slot == slot) {
            if closer.exactly_done != Some(since) {
                let offset = self.edges.get().settings().prometheus.query_offset;
                let exactly_at = closer::exactly_at(since, hold) + offset;
                closer.exactly_at = Some(exactly_at);
                closer.prepare(exactly_at, || Preflight {
                    door: self.door.clone(),
                    edges: self.edges.clone(),
                    metrics: Arc::clone(&self.metrics),
                    service: key.0.clone(),
                    trigger: name.clone(),
                });
            }
            return;
        }
        // Where so many breach at once it is an outage, which nothing is rolled back for.
        let place = self.jobs.place(if ask::is_split(rule, metric) { MOST_CLOSER_OF_ALL } else { MOST_CLOSER });
        let Some(job) = self.jobs.get_mut(key) else { return };
        job.closer = place.map(|place| Box::new(Closer::new(place, slot, clock::now())));
    }

    /// Starts every look that is due: those that share a query share it, all others go by themselves.
    fn look(&mut self, now: Timestamp, done: &mpsc::UnboundedSender<Over>) {
        self.notice_clock(now);
        let (edges, config) = (self.edges.get(), self.door.shared.config());
        let mut turn = Turn::new(edges, config, now, done.clone());
        for service in self.jobs.due(now) {
            let own = self.jobs.of_mut(&service);
            let is_due = |job: &Job| !job.under_way && job.next() <= now;
            let due: BTreeSet<TriggerName> = own
                .iter()
                .filter(|(_, job)| is_due(job))
                .filter_map(|(subject, _)| subject.trigger().cloned())
                .collect();
            let wanted = wants_of(&turn.config, &self.door.shared.state(), &service, |trigger| due.contains(trigger));
            for want in wanted {
                let key = (service.clone(), subject(&want));
                if self.jobs.get_mut(&key).is_some_and(|job| is_due(job)) {
                    self.start(&mut turn, key, want);
                }
            }
            // A reload may have ended what was wanted; a look that nobody starts would stay due for ever.
            self.jobs.of_mut(&service).retain(|_, job| job.under_way || job.next() > now);
            self.jobs.note(&service);
        }
        for (shares, looks) in std::mem::take(&mut turn.groups) {
            self.ask(&turn, shares, looks);
        }
    }

    fn ask(&mut self, turn: &Turn, shares: Shares, looks: Vec<Look>) {
        if let Some(waiting) = self.asking.get_mut(&shares) {
            return wait(waiting, &mut self.jobs, &looks, turn.now);
        }
        let Cut { now: mut looks, later, piece_until } = pieces::first(&shares, looks, &turn.config);
        let mut waiting = Vec::new();
        wait(&mut waiting, &mut self.jobs, &later, turn.now);
        // Of a fleet they are megabytes.
        looks.shrink_to_fit();
        let shares = Arc::new(shares);
        self.asking.insert(Arc::clone(&shares), waiting);
        looks.iter().filter_map(|look| look.due).for_each(|due| count_due(&self.metrics, due.slots));
        let (door, edges, metrics) = (self.door.clone(), Arc::clone(&turn.edges), Arc::clone(&self.metrics));
        let gate = self.gate.clone();
        let keys = looks.iter().map(Look::key).collect();
        let over = Over { keys, shared: Some(Arc::clone(&shares)), piece_until, failed: false };
        let under_way = UnderWay { over, done: turn.done.clone() };
        tokio::spawn(async move {
            let mut under_way = under_way;
            under_way.over.failed = ask::group(&door, edges.as_ref(), &gate, &metrics, &shares, looks).await.is_err();
        });
    }

    /// Where the clock was set back, what is due by the old one would not be looked at until then.
    fn notice_clock(&mut self, now: Timestamp) {
        if now + LONGEST_SLEEP < self.looked_at {
            tracing::warn!(from = %self.looked_at, to = %now, "the clock was set back; everything is looked at now");
            self.jobs.all_mut().for_each(|job| job.due_at = now);
            self.jobs.note_all();
        }
        self.looked_at = now;
    }

    fn start(&mut self, turn: &mut Turn, key: Key, want: Want) {
        let interval = turn.config.evaluation_interval;
        let now = turn.now;
        let config = Arc::clone(&turn.config);
        match (want, metric_of(&config, &key)) {
            (Want::Trigger { deploy, trigger, from, deploy_at, values }, Some((rule, metric))) => {
                self.look_at_trigger(turn, &key, (rule, metric), (deploy, trigger, from, deploy_at, values));
            }
            (Want::Baseline { deploy, trigger, from, to, values }, Some((rule, metric))) => {
                let Some(job) = self.jobs.get_mut(&key) else { return };
                (job.due_at, job.under_way) = (now + interval, true);
                let look = Look {
                    service: key.0,
                    trigger,
                    deploy,
                    from,
                    to,
                    answered_until: None,
                    split: ask::is_split(rule, metric),
                    since_deploy: None,
                    baseline: true,
                    in_pieces: false,
                    more_until: None,
                    so_far: None,
                    besides: Vec::new(),
                    due: None,
                };
                turn.group(metric, interval, &values, look);
            }
            (other, _) => {
                let Some(job) = self.jobs.get_mut(&key) else { return };
                let is_version = matches!(other, Want::Version { .. });
                (job.due_at, job.under_way) =
                    (now + if is_version { interval } else { interval.min(PROOF_INTERVAL) }, true);
                let over = Over { keys: vec![key.clone()], ..Over::default() };
                let under_way = UnderWay { over, done: turn.done.clone() };
                let one = versions::One { service: key.0, want: other, edges: Arc::clone(&turn.edges), under_way };
                if is_version {
                    self.versions.ask(one);
                } else {
                    tokio::spawn(one.ask(self.door.clone(), self.gate.clone()));
                }
            }
        }
    }

    fn look_at_trigger(
        &mut self,
        turn: &mut Turn,
        key: &Key,
        (rule, metric): (&Trigger, &Metric),
        (deploy, trigger, from, deploy_at, values): (DeployId, TriggerName, Timestamp, Timestamp, Values),
    ) {
        let (interval, step, now) = (turn.config.evaluation_interval, metric.step, turn.now);
        let hold = rule.row();
        let offset = turn.edges.settings().prometheus.query_offset;
        let shown = self.shown(&key.0, &trigger);
        let so_far = shown.and_then(|shown| shown.so_far);
        // Where the clock was set back, what was seen of the future was only what had not come yet.
        let stands =
            |known: &SoFar| known.generation == turn.config.generation && (from..now - offset).contains(&known.until);
        let so_far = so_far.filter(stands);
        let pace = Pace::of(&key.0, (rule, metric), interval, offset);
        let pace = self.awaiting(&turn.config, &key.0, (rule, metric), pace, now).unwrap_or(pace);
        let Some(job) = self.jobs.get_mut(key) else { return };
        let mut due = Due { at: job.next(), slots: 1 };
        // Else it is looked closer, besides the slots: due by what was seen.
        if job.due_at <= now {
            let next = pace.next(now);
            due.slots = cadence::slots_due(job.due_at, next, pace.every);
            job.due_at = next;
        }
        job.under_way = true;
        let open = shown.and_then(|shown| closer::open_row(&shown, hold, now)).filter(|_| job.closer.is_some());
        if let Some(closer) = job.closer.as_mut().filter(|closer| closer.exactly_at.is_some_and(|at| at <= now)) {
            closer.exactly_at = None;
            closer.exactly_done = open.filter(|since| closer::exactly_at(*since, hold) + offset <= now);
            closer.place = closer.place.take().filter(|_| closer.exactly_done.is_none());
        }
        // While a row is open, what is missing has its last chances to come in before it fires.
        let is_whole = |known: &SoFar| open.is_none() || known.open_at().is_none();
        let so_far = gaps::goes_on(job, so_far.filter(is_whole), (now - offset, interval), now);
        let split = ask::is_split(rule, metric);
        let besides = open.map_or_else(Vec::new, |since| {
            let points = closer::points(if split { turn.config.services.len() } else { 1 });
            closer::besides(since, hold, (step, points), so_far.as_ref(), now - offset)
        });
        let from = so_far.map_or(from, |known| known.until + step);
        let to = (now - offset).floor(step).max(from);
        // The look before a rehearsal is at no watch, and is judged as a whole.
        let is_watched = || self.door.shared.state().services.get(&key.0).is_some_and(|own| own.watch.is_some());
        let is_far = turn::is_far(from, to, interval);
        let look = Look {
            service: key.0.clone(),
            trigger,
            deploy,
            from: from.min(to),
            to,
            answered_until: shown.and_then(|shown| shown.answered_until),
            split,
            since_deploy: wants::names_since_deploy(metric).then_some(deploy_at),
            baseline: false,
            in_pieces: is_far && split && metric.comparison.is_none() && is_watched(),
            more_until: None,
            so_far,
            besides,
            due: Some(due),
        };
        turn.group(metric, interval, &values, look);
    }

    /// A trigger's pace while a recovery is awaited of it; `None` where none is.
    fn awaiting(
        &self,
        config: &Config,
        service: &ServiceName,
        (rule, metric): (&Trigger, &Metric),
        pace: Pace,
        now: Timestamp,
    ) -> Option<Pace> {
        let awaited = Awaited::of(config, &self.door.shared.state(), service, &rule.name)?;
        Some(pace.awaiting(&awaited, metric.step, now))
    }

    /// Where a recovery has come to be awaited, it is looked sooner than was due before.
    fn hasten(&mut self, service: &ServiceName, now: Timestamp) {
        let waits = |state: &State| state.services.get(service).is_some_and(|own| own.open_firings().next().is_some());
        if !waits(&self.door.shared.state()) {
            return;
        }
        let config = self.door.shared.config();
        let offset = self.edges.get().settings().prometheus.query_offset;
        let looked_at = |subject: &&Subject| matches!(subject, Subject::Trigger(_));
        let triggers: Vec<Subject> = self.jobs.of_mut(service).keys().filter(looked_at).cloned().collect();
        for key in triggers.into_iter().map(|subject| (service.clone(), subject)) {
            let Some((rule, metric)) = metric_of(&config, &key) else { continue };
            let pace = Pace::of(service, (rule, metric), config.evaluation_interval, offset);
            let Some(pace) = self.awaiting(&config, service, (rule, metric), pace, now) else { continue };
            if let Some(job) = self.jobs.get_mut(&key) {
                job.due_at = job.due_at.min(pace.next(now));
            }
        }
    }

    fn shown(&self, service: &ServiceName, trigger: &TriggerName) -> Option<Shown> {
        self.door.shared.board().get(service, trigger)
    }
}

/// The same is being asked already, for others: these wait for its end, and then go together with all who are due by
/// then. Where each asked for itself, a slow Prometheus would be asked once for each service instead of once for all, and
/// would never catch up; where these waited for their next turn, that might find others asking every time.
fn wait(waiting: &mut Vec<Key>, jobs: &mut Jobs, looks: &[Look], now: Timestamp) {
    for look in looks {
        let key = look.key();
        if let Some(job) = jobs.get_mut(&key) {
            job.due_at = look.due.map_or(now, |due| due.at);
        }
        waiting.push(key);
    }
}

fn metric_of<'a>(config: &'a Config, key: &Key) -> Option<(&'a Trigger, &'a Metric)> {
    let trigger = config.services.get(&key.0)?.trigger(key.1.trigger()?)?;
    let Observed::Metric(metric) = &trigger.observed else { return None };
    Some((trigger, metric))
}

/// The points of looks that are missed are not lost: the look that follows asks for them too.
fn count_due(metrics: &Metrics, due: u64) {
    metrics.evaluations_due(due);
    metrics.evaluations_missed(due - 1);
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

#[cfg(test)]
mod tests;
