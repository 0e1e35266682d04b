//! The driver: decide, make durable (through JSON), apply, perform, and what the outside answers at once. The daemon
//! may die between any two of these.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rollbackd_core::apply::apply;
use rollbackd_core::event::{Effect, Event, Happening, Order};
use rollbackd_core::name::ServiceName;
use rollbackd_core::record::Record;
use rollbackd_core::state::State;
use rollbackd_core::{Decision, decide, resume};

use super::broken;
use super::invariants::{self, Broken};
use super::plan::Plan;
use super::world::{Phase, Remote, World};

/// One step of the model, in the making.
pub(crate) struct Turn<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) world: World,
    /// The point at which the daemon dies in this step.
    crash_at: Option<usize>,
    /// How many points there were by now.
    pub(crate) points: usize,
    said: VecDeque<(ServiceName, Happening)>,
    /// What was recorded and done, for people.
    pub(crate) told: Vec<String>,
    pub(crate) tells: bool,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(plan: &'a Plan, world: World, crash_at: Option<usize>) -> Self {
        Self { plan, world, crash_at, points: 0, said: VecDeque::new(), told: Vec::new(), tells: false }
    }

    /// A point at which the daemon may die; whether it is dead.
    fn dies_here(&mut self) -> bool {
        if self.world.up && self.crash_at == Some(self.points) {
            self.die();
        }
        self.points += 1;
        !self.world.up
    }

    /// What was in memory is gone.
    pub(crate) fn die(&mut self) {
        self.world.up = false;
        self.world.left.crashes = self.world.left.crashes.saturating_sub(1);
        self.said.clear();
        for outside in self.world.outside.values_mut() {
            outside.sending.clear();
            outside.publishing.clear();
            outside.answered_until.clear();
            outside.looked = false;
            outside.remotes.iter_mut().for_each(|remote| remote.followed = false);
        }
        if self.tells {
            self.told.push("the daemon dies".to_owned());
        }
    }

    /// The state is what the journal holds; what was promised is done again.
    pub(crate) fn restart(&mut self) -> Result<(), Broken> {
        let written = serde_json::to_string(&self.world.state).expect("a state that can be written");
        let read: State = serde_json::from_str(&written).expect("a state that can be read");
        invariants::hold(read == self.world.state, "a snapshot is read as it was written", || written)?;
        self.world.up = true;
        let again = resume(&self.plan.config, &self.world.state);
        for effect in again {
            if self.dies_here() {
                return Ok(());
            }
            self.perform(&effect)?;
        }
        self.settle()
    }

    /// One event, and whatever the outside says at once to what it does.
    pub(crate) fn tell(&mut self, service: &ServiceName, what: Happening) -> Result<(), Broken> {
        self.said.push_back((service.clone(), what));
        self.settle()
    }

    fn settle(&mut self) -> Result<(), Broken> {
        while let Some((service, what)) = self.said.pop_front() {
            self.one(&service, what)?;
        }
        Ok(())
    }

    fn one(&mut self, service: &ServiceName, what: Happening) -> Result<(), Broken> {
        if !self.world.up {
            return Ok(());
        }
        let event = Event { service: service.clone(), what };
        let decision = self.decide(&event)?;
        invariants::hold(decision.fault.is_none(), "decide never returns a fault", || {
            format!("{:?} upon {event:?}", decision.fault)
        })?;
        if self.tells {
            self.told.extend(decision.records.iter().map(|record| format!("{service}: {record:?}")));
        }
        if let (Happening::Looked { deploy, trigger, .. }, Some(until)) =
            (&event.what, decision.verdict.and_then(|verdict| verdict.answered_until))
        {
            let outside = self.world.outside.get_mut(service).expect("a service of the model");
            outside.answered_until.insert(trigger.clone(), (deploy.clone(), until));
        }
        if !decision.records.is_empty() && self.dies_here() {
            return Ok(());
        }
        if !decision.records.is_empty() {
            let before = self.world.state.services.get(service).cloned();
            for record in &decision.records {
                self.record(service, record)?;
            }
            invariants::after_event(self.plan, &self.world, service, before.as_deref(), &event.what)?;
        }
        for effect in &decision.effects {
            if self.dies_here() {
                return Ok(());
            }
            self.perform(effect)?;
        }
        Ok(())
    }

    fn decide(&self, event: &Event) -> Result<Decision, Broken> {
        let (config, state, now) = (&self.plan.config, &self.world.state, self.world.now);
        let decided = match self.plan.broken {
            None => catch_unwind(AssertUnwindSafe(|| decide(config, state, event, now))),
            Some(how) => catch_unwind(AssertUnwindSafe(|| {
                let mut decision = decide(&broken::config(how, config), &broken::state(how, state, event), event, now);
                broken::decision(how, event, &mut decision);
                decision
            })),
        };
        decided.map_err(|_| Broken::new("decide never panics", format!("upon {event:?}")))
    }

    fn record(&mut self, service: &ServiceName, record: &Record) -> Result<(), Broken> {
        let written = serde_json::to_string(record).expect("a record that can be written");
        let read: Record = serde_json::from_str(&written).expect("a record that can be read");
        invariants::hold(&read == record, "a record is read as it was written", || written)?;
        invariants::before_record(self.plan, &mut self.world, service, &read)?;
        let applied = apply(&mut self.world.state, service, self.world.now, &read);
        invariants::hold(applied.is_ok(), "apply of what was decided never fails", || {
            format!("{applied:?}: {read:?}")
        })?;
        invariants::after_record(&self.world, service)
    }

    fn perform(&mut self, effect: &Effect) -> Result<(), Broken> {
        if self.tells {
            self.told.push(format!("  does {effect:?}"));
        }
        invariants::before_effect(self.plan, &self.world, effect)?;
        match effect {
            Effect::StartAttempt(order) => return self.start(order),
            Effect::FollowAttempt { order, .. } => self.follow(order),
            Effect::StopAttempt { service, attempt } => {
                let outside = self.world.outside.get_mut(service).expect("a service of the model");
                let remotes = outside.remotes.iter_mut().filter(|remote| &remote.attempt == attempt);
                remotes.for_each(|remote| remote.followed = false);
            }
            Effect::Page { service, page, .. } => {
                let outside = self.world.outside.get_mut(service).expect("a service of the model");
                if !page.undelivered.is_empty() {
                    outside.sending.insert((page.id.clone(), false));
                }
                if !page.unresolved.is_empty() {
                    outside.sending.insert((page.id.clone(), true));
                }
                self.deliver(service);
            }
            // The plans name no announcers, and whether somebody sees that a page was seen changes nothing.
            Effect::AcknowledgePage { .. } | Effect::Announce { .. } => {}
            Effect::PublishReceipt { service, firing } => {
                let outside = self.world.outside.get_mut(service).expect("a service of the model");
                outside.publishing.insert(firing.clone());
                self.publish(service);
            }
        }
        Ok(())
    }

    fn start(&mut self, order: &Order) -> Result<(), Broken> {
        let firing = self.world.state.services[&order.service].firing(&order.firing).expect("the firing of an order");
        let target = firing.target.as_ref().expect("a rollback has a target").version.clone();
        let outside = self.world.outside.get_mut(&order.service).expect("a service of the model");
        let runs = outside.runs.entry((order.firing.clone(), order.path.clone())).or_default();
        *runs += 1;
        let repeatable =
            self.plan.config.services[&order.service].path(&order.path).is_some_and(|path| path.repeatable);
        invariants::hold(*runs <= 1 || repeatable, invariants::ONE_REMOTE_RUN, || format!("{order:?}"))?;
        let known = outside.remotes.iter().any(|remote| remote.attempt == order.attempt);
        invariants::hold(!known, invariants::ONE_REMOTE_RUN, || format!("{order:?}"))?;
        outside.remotes.push(Remote {
            attempt: order.attempt.clone(),
            firing: order.firing.clone(),
            path: order.path.clone(),
            target,
            phase: Phase::Running,
            followed: true,
        });
        let what = Happening::AttemptStarted { attempt: order.attempt.clone(), handle: "run 1".to_owned() };
        self.said.push_back((order.service.clone(), what));
        Ok(())
    }

    /// The remote is asked what became of an attempt; of one that it never heard of, it can say so.
    fn follow(&mut self, order: &Order) {
        let firing = self.world.state.services[&order.service].firing(&order.firing).expect("the firing of an order");
        let target = firing.target.as_ref().expect("a rollback has a target").version.clone();
        let outside = self.world.outside.get_mut(&order.service).expect("a service of the model");
        if let Some(remote) = outside.remotes.iter_mut().find(|remote| remote.attempt == order.attempt) {
            remote.followed = true;
            return;
        }
        outside.remotes.push(Remote {
            attempt: order.attempt.clone(),
            firing: order.firing.clone(),
            path: order.path.clone(),
            target,
            phase: Phase::NeverStarted,
            followed: true,
        });
    }

    /// The pager takes what is being sent, where it works.
    pub(crate) fn deliver(&mut self, service: &ServiceName) {
        if !self.world.pager_works {
            return;
        }
        let outside = self.world.outside.get_mut(service).expect("a service of the model");
        let pager = self.plan.config.services[service].page.iter().flatten().next().expect("a pager");
        for (page, resolved) in std::mem::take(&mut outside.sending) {
            let what = Happening::PageDelivered { page, pager: pager.clone(), resolved };
            self.said.push_back((service.clone(), what));
        }
    }

    /// The receipts that are being written are durable, where they can be written.
    pub(crate) fn publish(&mut self, service: &ServiceName) {
        if !self.world.receipts_work {
            return;
        }
        let outside = self.world.outside.get_mut(service).expect("a service of the model");
        for firing in std::mem::take(&mut outside.publishing) {
            let what = Happening::ReceiptPublished { firing, sha256: "ab".repeat(32) };
            self.said.push_back((service.clone(), what));
        }
    }

    /// What was made ready is told.
    pub(crate) fn flush(&mut self) -> Result<(), Broken> {
        self.settle()
    }
}
