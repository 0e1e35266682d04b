//! The driver: decide, make durable (through JSON), apply, perform; and a clock that jumps from instant to instant.
//!
//! Never performs an effect before its records are applied, and never starts an attempt twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rollbackd_core::apply::apply;
use rollbackd_core::config::{Config, Metric, Observed, Trigger};
use rollbackd_core::deploy::{Migration, WatchEnd};
use rollbackd_core::event::{DeployReport, Effect, Event, Happening, Order, Refusal, Reply};
use rollbackd_core::firing::Outcome;
use rollbackd_core::name::{AttemptId, DeployId, FiringId, ServiceName, TriggerName, Version};
use rollbackd_core::record::{FiringRecord, Record, RehearsalRecord};
use rollbackd_core::state::State;
use rollbackd_core::time::Timestamp;
use rollbackd_core::wants::{Want, wants};
use rollbackd_core::{Decision, decide, resume, wake_at};

use super::outside::{Outside, Run, Sample};
use super::plan::{SHOP, reference};
use super::{duration, instant, service, trigger, version};

/// A record as the journal holds it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) service: ServiceName,
    pub(crate) at: Timestamp,
    pub(crate) record: Record,
}

/// Something that the outside will say.
#[derive(Clone, Debug)]
struct Due {
    at: Timestamp,
    service: ServiceName,
    serves: Option<Version>,
    attempt: Option<AttemptId>,
    what: Happening,
}

/// Everything: config, state, journal, clock and the outside of each service.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    pub(crate) journal: Vec<Entry>,
    pub(crate) effects: Vec<(Timestamp, Effect)>,
    pub(crate) outside: BTreeMap<ServiceName, Outside>,
    answered_until: BTreeMap<(ServiceName, TriggerName), (DeployId, Timestamp)>,
    due: Vec<Due>,
    started: BTreeSet<AttemptId>,
}

/// A deploy event that says no more than its version.
pub(crate) fn report(name: &str) -> DeployReport {
    DeployReport {
        version: version(name),
        previous: None,
        commit: None,
        migration: Migration::None,
        run_url: None,
        at: None,
        key: None,
    }
}

/// What it said when it refused; panics where it did not.
pub(crate) fn refusal(reply: &Reply) -> String {
    match reply {
        Reply::Refused(why) => why.to_string(),
        Reply::None
        | Reply::Deploy(_)
        | Reply::SameDeploy(_)
        | Reply::Firing(_)
        | Reply::SameFiring(_)
        | Reply::Rehearsal(_)
        | Reply::Done
        | Reply::NotNews(_) => {
            panic!("expected a refusal, not {reply:?}")
        }
    }
}

/// Whether it refused as a conflict.
pub(crate) const fn is_conflict(reply: &Reply) -> bool {
    matches!(reply, Reply::Refused(Refusal::Conflict(_)))
}

impl World {
    /// A world with this config in which nothing was ever deployed, at 10:00.
    pub(crate) fn new(config: Config) -> Self {
        let metric_triggers = |service: &rollbackd_core::config::Service| {
            let is_metric = |trigger: &&Arc<Trigger>| matches!(trigger.observed, Observed::Metric(_));
            Outside::new(service.triggers.iter().filter(is_metric).map(|trigger| trigger.name.clone()))
        };
        let outside = config.services.iter().map(|(name, plan)| (name.clone(), metric_triggers(plan))).collect();
        Self {
            config,
            state: State::default(),
            now: instant("2026-11-23T10:00:00Z"),
            journal: Vec::new(),
            effects: Vec::new(),
            outside,
            answered_until: BTreeMap::new(),
            due: Vec::new(),
            started: BTreeSet::new(),
        }
    }

    /// The reference config, with `v1` deployed and its watch passed; it is 10:40:07.
    pub(crate) fn proven() -> Self {
        Self::proven_with(reference())
    }

    /// The same with another config.
    pub(crate) fn proven_with(config: Config) -> Self {
        let mut world = Self::new(config);
        for name in world.config.services.keys().cloned().collect::<Vec<_>>() {
            world.deploy_of(&name, report("v1"));
        }
        world.run_to(instant("2026-11-23T10:40:07Z"));
        for own in world.state.services.values() {
            assert_eq!(own.last, Some(WatchEnd::Passed), "v1 was to pass");
        }
        world.effects.clear();
        world
    }

    // What happens.

    /// One event of one service, and whatever the outside answers to its effects at once.
    pub(crate) fn tell_of(&mut self, service: &ServiceName, what: Happening) -> Reply {
        let decision = self.decide(service, what);
        self.settle();
        decision.reply
    }

    /// One event of the reference service.
    pub(crate) fn tell(&mut self, what: Happening) -> Reply {
        self.tell_of(&service(SHOP), what)
    }

    /// A version begins to serve, and that is reported at once.
    pub(crate) fn deploy_of(&mut self, service: &ServiceName, report: DeployReport) -> Reply {
        let at = report.at.unwrap_or(self.now);
        self.outside.get_mut(service).expect("a service of the world").serve(&report.version, at);
        self.tell_of(service, Happening::Deployed(report))
    }

    /// The same of the reference service.
    pub(crate) fn deploy(&mut self, name: &str) -> DeployId {
        let reply = self.deploy_of(&service(SHOP), report(name));
        let Reply::Deploy(id) = reply else { panic!("expected a new deploy of {name}, not {reply:?}") };
        id
    }

    /// The deploy event alone: what serves stays as it is.
    pub(crate) fn announce(&mut self, report: DeployReport) -> Reply {
        self.tell(Happening::Deployed(report))
    }

    /// A report that a trigger is observed; the firing.
    pub(crate) fn observe(&mut self, name: &str) -> FiringId {
        let reply = self.tell(Happening::Reported { trigger: trigger(name), note: None, about: Default::default() });
        let (Reply::Firing(id) | Reply::SameFiring(id)) = reply else {
            panic!("expected a firing of {name}, not {reply:?}")
        };
        id
    }

    /// An attempt ends like this.
    pub(crate) fn end_attempt(&mut self, attempt: &AttemptId, outcome: Outcome) -> Reply {
        self.due.retain(|due| due.attempt.as_ref() != Some(attempt));
        self.tell(Happening::AttemptEnded { attempt: attempt.clone(), outcome })
    }

    /// The reference service's outside, to be changed.
    pub(crate) fn shop(&mut self) -> &mut Outside {
        self.outside.get_mut(SHOP).expect("the reference service")
    }

    /// From now on a trigger's queries of the reference service show this.
    pub(crate) fn show(&mut self, name: &str, sample: Sample) {
        let now = self.now;
        self.shop().show(&trigger(name), now, sample);
    }

    /// This version makes this trigger breach, once it serves.
    pub(crate) fn sicken(&mut self, name: &str, by: &str, value: f64) {
        self.shop().sick.insert((version(name), trigger(by)), Sample::Value(value));
    }

    // How time goes by.

    /// Time goes by.
    pub(crate) fn run(&mut self, time: &str) {
        self.run_to(self.now + duration(time));
    }

    /// Time goes by until then: looks at each interval, wakes and answers when they are due.
    pub(crate) fn run_to(&mut self, until: Timestamp) {
        let interval = self.config.evaluation_interval;
        loop {
            let tick = self.now.floor(interval) + interval;
            let next = [Some(tick), self.next_due(), self.next_wake()].into_iter().flatten().min().unwrap_or(tick);
            if next > until {
                break;
            }
            self.now = self.now.max(next);
            self.settle();
            self.wake();
            if self.now == tick {
                self.look();
                self.wake();
            }
        }
        self.now = until;
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.due.iter().map(|due| due.at).min()
    }

    /// The next instant at which the core wants to be woken.
    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        self.config.services.keys().filter_map(|name| wake_at(&self.config, &self.state, name)).min()
    }

    /// Wakes every service whose time has come; a wake makes progress.
    pub(crate) fn wake(&mut self) {
        for name in self.config.services.keys().cloned().collect::<Vec<_>>() {
            let mut wakes = 0;
            while wake_at(&self.config, &self.state, &name).is_some_and(|at| at <= self.now) {
                wakes += 1;
                assert!(wakes <= 5, "waking {name} makes no progress: {:?}", self.state.services.get(&name));
                self.tell_of(&name, Happening::Woke);
            }
        }
    }

    /// Whatever the outside says at this instant or said before.
    pub(crate) fn settle(&mut self) {
        while let Some(index) = self.due.iter().position(|due| due.at <= self.now) {
            let due = self.due.remove(index);
            if let Some(serves) = &due.serves {
                self.outside.get_mut(&due.service).expect("a service of the world").serve(serves, due.at);
            }
            let _ = self.decide(&due.service, due.what);
        }
    }

    /// Looks at everything that is wanted now.
    pub(crate) fn look(&mut self) {
        for name in self.config.services.keys().cloned().collect::<Vec<_>>() {
            for want in wants(&self.config, &self.state, &name) {
                self.look_at(&name, want);
            }
        }
    }

    fn look_at(&mut self, name: &ServiceName, want: Want) {
        let outside = self.outside.get(name).expect("a service of the world");
        let reads = !outside.queries_fail && !outside.queries_are_partial;
        let what = match want {
            Want::Trigger { deploy, trigger, from, deploy_at, .. } => {
                return self.look_at_trigger(name, deploy, trigger, from, deploy_at);
            }
            Want::Baseline { deploy, trigger, from, to, .. } if reads => {
                let answers = outside.answers(&trigger, &self.metric(name, &trigger), from, to);
                Happening::BaselineRead { deploy, trigger, answers }
            }
            Want::VersionBefore { deploy, before, not, .. } if reads => {
                let serving = outside.serving_before(before).filter(|serving| serving.version != not);
                Happening::VersionBeforeRead { deploy, serving }
            }
            Want::Serving { .. } if reads => {
                Happening::ServingRead { serving: outside.serving(self.now), at: self.now }
            }
            Want::Smoke { .. } => Happening::SmokeAnswered { at: self.now, healthy: outside.smoke_answers },
            Want::Version { .. } if reads => match outside.appeared(self.now) {
                Some((version, at, alone)) => Happening::Appeared { version, at, alone },
                None => return,
            },
            Want::Baseline { .. } | Want::VersionBefore { .. } | Want::Serving { .. } | Want::Version { .. } => return,
        };
        self.tell_of(name, what);
    }

    fn look_at_trigger(
        &mut self,
        name: &ServiceName,
        deploy: DeployId,
        trigger: TriggerName,
        wanted: Timestamp,
        deploy_at: Timestamp,
    ) {
        let metric = self.metric(name, &trigger);
        let key = (name.clone(), trigger.clone());
        let answered_until =
            self.answered_until.get(&key).filter(|(known, _)| known == &deploy).map(|(_, until)| *until);
        let overlap = answered_until.map(|until| until + metric.step - metric.step * 2);
        let from = overlap.map_or(wanted, |overlap| wanted.min(overlap)).max(wanted.min(deploy_at.floor(metric.step)));
        let to = self.now.floor(metric.step).max(from);
        let answers = self.outside.get(name).expect("a service of the world").answers(&trigger, &metric, from, to);
        let what = Happening::looked_whole(deploy.clone(), trigger, answers, answered_until);
        let decision = self.decide(name, what);
        if let Some(until) = decision.verdict.and_then(|verdict| verdict.answered_until) {
            self.answered_until.insert(key, (deploy, until));
        }
        self.settle();
    }

    /// The metric of a trigger.
    pub(crate) fn metric(&self, name: &ServiceName, trigger: &TriggerName) -> Metric {
        let plan = self.config.services.get(name).expect("a service of the config");
        match &plan.trigger(trigger).expect("a trigger of the config").observed {
            Observed::Metric(metric) => metric.as_ref().clone(),
            Observed::Report => panic!("{trigger} is observed by reports"),
        }
    }

    /// The process dies and starts again: the state is what the journal says, and what was promised is done again.
    pub(crate) fn restart(&mut self) {
        self.state = self.replayed();
        self.config.looking_since = Some(self.now);
        self.answered_until.clear();
        for effect in resume(&self.config, &self.state) {
            self.perform(&effect);
            self.effects.push((self.now, effect));
        }
    }

    /// The state that the journal adds up to.
    pub(crate) fn replayed(&self) -> State {
        let mut state = State::default();
        for entry in &self.journal {
            apply(&mut state, &entry.service, entry.at, &entry.record).expect("a record that fits");
        }
        state
    }

    /// Decides, makes durable, applies, performs. Panics where the core says that it made a mistake.
    pub(crate) fn decide(&mut self, name: &ServiceName, what: Happening) -> Decision {
        let event = Event { service: name.clone(), what };
        let decision = decide(&self.config, &self.state, &event, self.now);
        assert_eq!(decision.fault, None, "upon {event:?}");
        for record in &decision.records {
            let written = serde_json::to_string(record).expect("a record that can be written");
            let read: Record = serde_json::from_str(&written).expect("a record that can be read");
            assert_eq!(&read, record, "a record is read as it was written: {written}");
            apply(&mut self.state, name, self.now, &read).expect("a record that fits");
            self.journal.push(Entry { service: name.clone(), at: self.now, record: read });
        }
        for effect in &decision.effects {
            self.perform(effect);
            self.effects.push((self.now, effect.clone()));
        }
        decision
    }

    fn perform(&mut self, effect: &Effect) {
        match effect {
            Effect::StartAttempt(order) => self.start(order),
            Effect::FollowAttempt { .. } => {}
            Effect::StopAttempt { attempt, .. } => self.due.retain(|due| due.attempt.as_ref() != Some(attempt)),
            Effect::Page { service, pager, page } => {
                if !self.outside[service].pagers_take {
                    return;
                }
                for resolved in [false, true] {
                    let left = if resolved { &page.unresolved } else { &page.undelivered };
                    if left.contains(pager) {
                        let what = Happening::PageDelivered { page: page.id.clone(), pager: pager.clone(), resolved };
                        self.expect(service, self.now, None, None, what);
                    }
                }
            }
            Effect::AcknowledgePage { .. } => {}
            Effect::Announce { announcer, announcement } => {
                let service = &announcement.service;
                if self.outside[service].announcers_take {
                    let (by, of_end) = (announcer.clone(), announcement.ended.is_some());
                    let what = Happening::Announced { firing: announcement.firing.clone(), by, of_end };
                    self.expect(service, self.now, None, None, what);
                }
            }
            Effect::PublishReceipt { service, firing } => {
                if self.outside[service].receipts_are_written {
                    let what = Happening::ReceiptPublished { firing: firing.clone(), sha256: "ab".repeat(32) };
                    self.expect(service, self.now, None, None, what);
                }
            }
        }
    }

    fn start(&mut self, order: &Order) {
        assert!(self.started.insert(order.attempt.clone()), "{} was started twice", order.attempt);
        let intended = |entry: &Entry| {
            matches!(&entry.record, Record::Firing { what: FiringRecord::AttemptIntended { attempt, .. }, .. }
                | Record::Rehearsal(RehearsalRecord::AttemptIntended { attempt })
                if attempt.id == order.attempt && attempt.run == order.run)
        };
        assert!(self.journal.iter().any(intended), "{} was started without its intent", order.attempt);
        let own = &self.state.services[&order.service];
        let target = match own.firing(&order.firing) {
            Some(firing) => firing.target.as_ref().map(|target| target.version.clone()),
            None => own.rehearsal.as_ref().map(|rehearsal| rehearsal.bad.clone()),
        };
        let (after, serves, outcome) = match self.outside[&order.service].run(&order.path) {
            Run::Succeeds(after) => (after, target, Outcome::Succeeded { receipt: None, output: String::new() }),
            Run::Lies(after) => (after, None, Outcome::Succeeded { receipt: None, output: String::new() }),
            Run::Fails(after) => {
                (after, None, Outcome::Failed { why: "exit status 1".to_owned(), output: String::new() })
            }
            Run::Hangs => return,
        };
        let what = Happening::AttemptEnded { attempt: order.attempt.clone(), outcome };
        self.expect(&order.service, self.now + after, serves, Some(order.attempt.clone()), what);
    }

    fn expect(
        &mut self,
        service: &ServiceName,
        at: Timestamp,
        serves: Option<Version>,
        attempt: Option<AttemptId>,
        what: Happening,
    ) {
        self.due.push(Due { at, service: service.clone(), serves, attempt, what });
    }
}
