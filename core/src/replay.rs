//! A replay: the core stepped over given deploys and given answers, as the daemon would step it, without I/O and clock.
//!
//! Backtests and the trigger tests that users write are this. It never judges by itself: every turn, firing and page in
//! its story is one that [`crate::decide`] decided, at the instants at which the daemon would have asked.

mod quiet;
mod source;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::apply::apply;
use crate::board::{Board, Shown};
use crate::config::{Config, Metric, Observed, Trigger};
use crate::event::{DeployReport, Effect, Event, Happening, Reply};
use crate::firing::Firing;
use crate::name::{DeployId, ServiceName, TriggerName};
use crate::reading::Answers;
use crate::record::Record;
use crate::state::State;
use crate::template::Values;
use crate::time::Timestamp;
use crate::trigger::Verdict;
use crate::wants::{Want, wants};
use crate::{decide, wake_at};

pub use source::{Ask, Source};

/// Waking makes progress, so that no instant needs more wakes of one service than this: one per firing that is open.
const MOST_WAKES: usize = 1000;

/// One line of a replay's story: a record that the daemon would have made durable.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// When it was decided.
    pub at: Timestamp,
    /// Of this service.
    pub service: ServiceName,
    /// What: turns of triggers, firings, pages, ends of watches.
    pub record: Record,
}

/// The core, stepped from instant to instant.
///
/// ```text
/// let mut replay = Replay::new(config, source, start);
/// replay.run_until(deploy_at);
/// replay.deploy(&service, report);
/// replay.run_until(deploy_at + watch);
/// replay.story()   // turns, firings, pages, in the order in which they were decided
/// replay.firings() // each firing as it is by now: what would run, who was paged, how it ended
/// replay.state(), replay.board() // for `view::service`: clear, breaching, fired, … at this instant
/// ```
#[derive(Debug)]
pub struct Replay<S> {
    config: Config,
    source: S,
    state: State,
    now: Timestamp,
    story: Vec<Line>,
    firings: Vec<(ServiceName, Firing)>,
    board: Board,
    looked: BTreeMap<(ServiceName, TriggerName), (DeployId, Timestamp)>,
    due: Vec<(Timestamp, ServiceName, Happening)>,
    fault: Option<String>,
    spares: bool,
}

impl<S: Source> Replay<S> {
    /// A replay of this config that begins at an instant, with nothing ever deployed. Its mode says what firings do: in
    /// a dry run production goes on as it really did, live the source's paths run and pagers take every page at once.
    pub fn new(config: Config, source: S, start: Timestamp) -> Self {
        Self {
            config,
            source,
            state: State::default(),
            now: start,
            story: Vec::new(),
            firings: Vec::new(),
            board: Board::default(),
            looked: BTreeMap::new(),
            due: Vec::new(),
            fault: None,
            spares: true,
        }
    }

    /// The same, with every look brought to the core as the daemon brings it, whether it can change anything or not.
    /// Slow for long watches, and the same story.
    #[must_use]
    pub fn sparing_nothing(self) -> Self {
        Self { spares: false, ..self }
    }

    /// A deploy is told of now; its instant is now as well where the report names none.
    pub fn deploy(&mut self, service: &ServiceName, report: DeployReport) -> Reply {
        self.tell(service, Happening::Deployed(report))
    }

    /// Anything happens now: a report, a human's answer, a freeze. What it makes the core want is looked at at once.
    pub fn tell(&mut self, service: &ServiceName, what: Happening) -> Reply {
        let reply = self.decided(service, what);
        self.settle();
        self.look(true);
        self.wake();
        reply
    }

    /// Time goes by until then, and what is due at that very instant is done. Nothing happens where it is past already.
    pub fn run_until(&mut self, until: Timestamp) {
        while let Some(next) = self.next().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.settle();
            self.wake();
            self.look(false);
            self.wake();
        }
        self.now = self.now.max(until);
    }

    /// Where it is in time.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The config that is replayed.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The state at this instant.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// What the last look at each trigger showed, for [`crate::view::service`].
    pub const fn board(&self) -> &Board {
        &self.board
    }

    /// Every record so far, in its order.
    pub fn story(&self) -> &[Line] {
        &self.story
    }

    /// Every firing so far as it is by now, in the order in which they began.
    pub fn firings(&self) -> &[(ServiceName, Firing)] {
        &self.firings
    }

    /// The source, to be asked or changed between steps.
    pub const fn source(&mut self) -> &mut S {
        &mut self.source
    }

    /// A mistake of the core's, where it made one: the replay is worth nothing then.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// The next instant at which anything happens: a slot of something that is looked at, a deadline, an answer.
    fn next(&self) -> Option<Timestamp> {
        let services = || self.config.services.keys();
        let slots = services().flat_map(|service| self.wanted(service)).map(|(step, _)| self.now.floor(step) + step);
        let wakes = services().filter_map(|service| wake_at(&self.config, &self.state, service));
        let answers = self.due.iter().map(|(at, ..)| *at);
        slots.chain(wakes.chain(answers).map(|at| at.max(self.now))).min()
    }

    /// What is looked at, each with how often. Deploys are told, never found.
    fn wanted(&self, service: &ServiceName) -> Vec<(Duration, Want)> {
        let interval = self.config.evaluation_interval;
        let step = |want: Want| match &want {
            Want::Trigger { trigger, .. } => Some((self.metric(service, trigger)?.1.step, want)),
            Want::Baseline { .. } | Want::VersionBefore { .. } | Want::Serving { .. } | Want::Smoke { .. } => {
                Some((interval, want))
            }
            Want::Version { .. } => None,
        };
        wants(&self.config, &self.state, service).into_iter().filter_map(step).collect()
    }

    fn metric(&self, service: &ServiceName, trigger: &TriggerName) -> Option<(&Trigger, &Metric)> {
        let trigger = self.config.services.get(service)?.trigger(trigger)?;
        match &trigger.observed {
            Observed::Metric(metric) => Some((trigger, metric)),
            Observed::Report => None,
        }
    }

    /// Looks at what is due at this instant; at everything, where something has just happened.
    fn look(&mut self, all: bool) {
        let services: Vec<ServiceName> = self.config.services.keys().cloned().collect();
        for service in services {
            // Baselines and versions come first in the wants of each trigger, as a look has to be compared with them.
            for (step, want) in self.wanted(&service) {
                if all || self.now.floor(step) == self.now {
                    self.look_at(&service, want);
                    self.settle();
                }
            }
        }
    }

    fn look_at(&mut self, service: &ServiceName, want: Want) {
        let what = match want {
            Want::Trigger { deploy, trigger, from, deploy_at, values } => {
                return self.look_at_trigger(service, (deploy, trigger), (from, deploy_at), &values);
            }
            Want::Baseline { deploy, trigger, from, to, values } => {
                let Some(deploy_at) = self.deploy_at(service) else { return };
                let Some(answers) = self.ask(service, &trigger, &values, deploy_at, (from, to)) else { return };
                Happening::BaselineRead { deploy, trigger, answers }
            }
            Want::VersionBefore { deploy, before, not, .. } => {
                let just_before = before - Duration::from_millis(1);
                let serving = self.source.serving(service, just_before, Some(&not));
                Happening::VersionBeforeRead { deploy, serving }
            }
            Want::Serving { .. } => {
                Happening::ServingRead { serving: self.source.serving(service, self.now, None), at: self.now }
            }
            Want::Smoke { .. } => {
                Happening::SmokeAnswered { at: self.now, healthy: self.source.smoke(service, self.now) }
            }
            Want::Version { .. } => return,
        };
        self.decided(service, what);
    }

    fn look_at_trigger(
        &mut self,
        service: &ServiceName,
        (deploy, trigger): (DeployId, TriggerName),
        (from, deploy_at): (Timestamp, Timestamp),
        values: &Values,
    ) {
        let Some((_, metric)) = self.metric(service, &trigger) else { return };
        let to = self.now.floor(metric.step).max(from);
        let key = (service.clone(), trigger.clone());
        let answered_until = self.looked.get(&key).filter(|(of, _)| of == &deploy).map(|(_, until)| *until);
        if answered_until.is_some()
            && let Some(shown) = self.spared(&key, values, deploy_at, to)
        {
            self.looked.insert(key.clone(), (deploy, to));
            self.note(key, shown);
            return;
        }
        let Some(answers) = self.ask(service, &trigger, values, deploy_at, (from, to)) else { return };
        let event = Event {
            service: service.clone(),
            what: Happening::looked_whole(deploy.clone(), trigger, answers, answered_until),
        };
        let Some(verdict) = self.step(&event).1 else { return };
        if let Some(until) = verdict.answered_until {
            self.looked.insert(key.clone(), (deploy, until));
        }
        self.note(key, verdict.into());
    }

    fn note(&mut self, (service, trigger): (ServiceName, TriggerName), shown: Shown) {
        self.board.put(&self.config, &service, &trigger, shown);
    }

    /// What a look that changes nothing shows, where this one does not.
    fn spared(
        &mut self,
        key: &(ServiceName, TriggerName),
        values: &Values,
        deploy_at: Timestamp,
        to: Timestamp,
    ) -> Option<Shown> {
        let before = self.board.get(&key.0, &key.1).filter(|_| self.spares)?;
        let newest = self.ask(&key.0, &key.1, values, deploy_at, (to, to))?;
        let of = self.metric(&key.0, &key.1)?;
        quiet::unchanged(self.state.services.get(&key.0)?, of, &before, &newest)
    }

    fn deploy_at(&self, service: &ServiceName) -> Option<Timestamp> {
        self.state.services.get(service)?.watch.as_ref().map(|watch| watch.at)
    }

    fn ask(
        &mut self,
        service: &ServiceName,
        trigger: &TriggerName,
        values: &Values,
        deploy_at: Timestamp,
        (from, to): (Timestamp, Timestamp),
    ) -> Option<Answers> {
        let trigger = self.config.services.get(service)?.trigger(trigger)?;
        let Observed::Metric(metric) = &trigger.observed else { return None };
        Some(self.source.answers(&Ask { service, trigger, metric, values, deploy_at, from, to }))
    }

    /// What was awaited until now has come.
    fn settle(&mut self) {
        while let Some(index) = self.due.iter().position(|(at, ..)| *at <= self.now) {
            let (_, service, what) = self.due.remove(index);
            self.decided(&service, what);
        }
    }

    fn wake(&mut self) {
        let services: Vec<ServiceName> = self.config.services.keys().cloned().collect();
        for service in services {
            let is_due =
                |replay: &Self| wake_at(&replay.config, &replay.state, &service).is_some_and(|at| at <= replay.now);
            let mut wakes = 0;
            while is_due(self) {
                wakes += 1;
                if wakes > MOST_WAKES {
                    let now = self.now;
                    self.fault.get_or_insert_with(|| format!("waking {service} at {now} makes no progress"));
                    // Time has to go on, whatever went wrong.
                    self.now = now + Duration::from_secs(1);
                    break;
                }
                self.decided(&service, Happening::Woke);
                self.settle();
            }
        }
    }

    fn decided(&mut self, service: &ServiceName, what: Happening) -> Reply {
        self.step(&Event { service: service.clone(), what }).0
    }

    /// Decides, applies, performs: the order of the daemon, with the story in the journal's place.
    fn step(&mut self, event: &Event) -> (Reply, Option<Verdict>) {
        let decision = decide(&self.config, &self.state, event, self.now);
        if let Some(fault) = decision.fault {
            self.fault.get_or_insert(fault);
        }
        for record in decision.records {
            if let Err(illegal) = apply(&mut self.state, &event.service, self.now, &record) {
                self.fault.get_or_insert(illegal.to_string());
            }
            self.note_firing(&event.service, &record);
            self.story.push(Line { at: self.now, service: event.service.clone(), record });
        }
        for effect in decision.effects {
            self.perform(effect);
        }
        (decision.reply, decision.verdict)
    }

    /// The state forgets what ended long ago; the story does not.
    fn note_firing(&mut self, service: &ServiceName, record: &Record) {
        let id = match record {
            Record::Fired(firing) => {
                self.firings.push((service.clone(), firing.as_ref().clone()));
                return;
            }
            Record::Firing { id, .. } => id,
            // That a deploy was announced, or migrated data, is told in the firings that are open about it.
            Record::Ledger(_)
            | Record::Watch(_)
            | Record::Page(_)
            | Record::Rehearsal(_)
            | Record::Frozen { .. }
            | Record::Thawed => return,
        };
        let by_now = self.state.services.get(service).and_then(|own| own.firing(id));
        let noted = self.firings.iter_mut().rev().find(|(_, firing)| &firing.id == id);
        if let (Some(by_now), Some((_, noted))) = (by_now, noted) {
            noted.clone_from(by_now);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::StartAttempt(order) => {
                if let Some((after, outcome)) = self.source.attempt(&order, self.now) {
                    let what = Happening::AttemptEnded { attempt: order.attempt, outcome };
                    self.due.push((self.now + after, order.service, what));
                }
            }
            Effect::StopAttempt { attempt, .. } => {
                self.due.retain(
                    |(_, _, what)| !matches!(what, Happening::AttemptEnded { attempt: ended, .. } if *ended == attempt),
                );
            }
            Effect::Page { service, pager, page } => {
                for (resolved, left) in [(false, &page.undelivered), (true, &page.unresolved)] {
                    if left.contains(&pager) {
                        let (page, pager) = (page.id.clone(), pager.clone());
                        let what = Happening::PageDelivered { page, pager, resolved };
                        self.due.push((self.now, service.clone(), what));
                    }
                }
            }
            Effect::PublishReceipt { service, firing } => {
                let what = Happening::ReceiptPublished { firing, sha256: "0".repeat(64) };
                self.due.push((self.now, service, what));
            }
            Effect::Announce { announcer, announcement } => {
                let (by, of_end) = (announcer, announcement.ended.is_some());
                let what = Happening::Announced { firing: announcement.firing.clone(), by, of_end };
                self.due.push((self.now, announcement.service.clone(), what));
            }
            // Nothing is ever started again in a replay.
            Effect::FollowAttempt { .. } | Effect::AcknowledgePage { .. } => {}
        }
    }
}
