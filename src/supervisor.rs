//! The only loop: wait, decide, append and sync, apply, perform. That order is the product's promise.
//!
//! Decides nothing itself, and names no adapter.

mod batch;
mod inbox;
mod stored;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rollbackd_core::apply::apply;
use rollbackd_core::board::Shown;
use rollbackd_core::config::Config;
use rollbackd_core::event::{Event, Happening, Reply};
use rollbackd_core::name::ServiceName;
use rollbackd_core::record::{Record, WatchRecord};
use rollbackd_core::state::State;
use rollbackd_core::time::Timestamp;
use rollbackd_core::{Decision, decide_after, wake_at};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::clock;
use crate::counting;
use crate::door::{Asked, NotDone, Shared, Waiting};
use crate::journal::{self, Part, Store};
use crate::metrics::{Metrics, Turning};
use crate::perform::Performer;
use crate::telling;

use batch::{Batch, Decided, Unwritable, part};
pub use inbox::Inbox;
use inbox::{MOST_TOGETHER, Next, Order, wait};
use stored::StateOf;
pub use stored::{is_to_be_compacted, replay};

/// The longest sleep: the watchdog is fed, a clock that was set is noticed, and a full disk is tried again within it.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A snapshot that could not be written is not tried again before: to write one takes as long as there is state.
const COMPACT_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Outcomes that wait for a journal that can't be written; they come from attempts and pagers, of which there are few.
const MOST_KEPT: usize = 10_000;

/// With more services than this, what is open is not counted anew after each change.
const GAUGED_AT_ONCE: usize = 1000;

/// After a start, so long the deadlines of a service wait for the outcome of the attempt that was under way: it may
/// have ended long before its timeout, and a lookup takes half a minute at most.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(30);

/// What ended the loop.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
    /// Another daemon writes the same journal, or the journal is broken: going on could do something twice.
    #[error(transparent)]
    Journal(#[from] journal::Error),
}

/// Owns the state and the journal.
pub struct Supervisor {
    shared: Arc<Shared>,
    journal: Box<dyn Store>,
    performer: Performer,
    metrics: Arc<Metrics>,
    changed: mpsc::UnboundedSender<ServiceName>,
    wakes: BTreeSet<(Timestamp, ServiceName)>,
    wake_of: BTreeMap<ServiceName, Timestamp>,
    kept: VecDeque<Event>,
    /// The services whose attempt is looked up after the start, until then at most.
    lookups: BTreeMap<ServiceName, Instant>,
    /// The config by which the deadlines were set.
    scheduled_by: Arc<Config>,
    tried_at: Instant,
    /// Not compacted before: the last try failed just now.
    compact_from: Instant,
    /// Whether the gauges show what was applied last, and when they were set.
    is_gauged: bool,
    gauged_at: Instant,
}

impl Supervisor {
    /// A supervisor of the state that was replayed.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        journal: Box<dyn Store>,
        performer: Performer,
        metrics: Arc<Metrics>,
        changed: mpsc::UnboundedSender<ServiceName>,
    ) -> Self {
        let scheduled_by = shared.config();
        let mut supervisor = Self {
            shared,
            journal,
            performer,
            metrics,
            changed,
            wakes: BTreeSet::new(),
            wake_of: BTreeMap::new(),
            kept: VecDeque::new(),
            lookups: BTreeMap::new(),
            scheduled_by,
            tried_at: Instant::now(),
            compact_from: Instant::now(),
            is_gauged: true,
            gauged_at: Instant::now(),
        };
        supervisor.reschedule_all();
        supervisor.go_on();
        supervisor
    }

    /// What the state that was replayed asks for, besides its deadlines.
    fn go_on(&mut self) {
        let until = Instant::now() + LOOKUP_PATIENCE;
        for (name, own) in &self.shared.state().services {
            let deploys = own.rehearsing().is_some_and(|rehearsal| rehearsal.running().is_some());
            if deploys || own.open_firings().any(|firing| firing.running().is_some()) {
                self.lookups.insert(name.clone(), until);
            }
        }
        counting::gauge(&self.metrics, &self.shared.state(), &self.shared.config());
    }

    /// Runs until told to stop, or until the journal can't be trusted. `alive` is called after each turn.
    pub async fn run(mut self, mut inbox: Inbox, stop: CancellationToken, alive: impl Fn()) -> Ended {
        let mut order = Order::default();
        loop {
            let due = self.next_wake();
            let next = wait(due, &mut order, &mut inbox, &stop).await;
            let turn = match next {
                Next::Asked(events) => self.take(events).await,
                Next::Woke => self.wake().await,
                Next::Idle => Ok(()),
                Next::Stop => return Ended::Stopped,
            };
            let turn = match turn {
                Ok(()) => self.now_and_then().await,
                Err(error) => Err(error),
            };
            if let Err(error) = turn {
                return Ended::Journal(error);
            }
            self.gauge();
            self.metrics.turned(Turning::Supervisor);
            alive();
            // Whoever has been answered goes on before the next batch: where much waits, nothing else here would let them.
            tokio::task::yield_now().await;
        }
    }

    /// The next deadline that may be met: none while nothing can be made durable.
    fn next_wake(&mut self) -> Option<Timestamp> {
        if !self.shared.journal_writable() {
            return None;
        }
        let now = Instant::now();
        self.lookups.retain(|_, until| *until > now);
        self.deadlines().next().map(|(at, _)| *at)
    }

    fn deadlines(&self) -> impl Iterator<Item = &(Timestamp, ServiceName)> {
        self.wakes.iter().filter(|(_, service)| !self.lookups.contains_key(service))
    }

    /// Wakes those whose deadlines are met, together: where a fleet was deployed at once, its watches end at once.
    async fn wake(&mut self) -> Result<(), journal::Error> {
        let now = clock::now();
        let due: Vec<_> = self.deadlines().take_while(|(at, _)| *at <= now).take(MOST_TOGETHER).cloned().collect();
        let wakes = due.iter().map(|(_, service)| Asked { event: woke(service.clone()), reply: None });
        self.take(wakes.collect()).await?;
        for (at, service) in due {
            if self.wake_of.get(&service) == Some(&at) {
                // The clock was set back just now, or a record did not fit: whatever it is, others must have their turn.
                self.schedule(&service, Some(clock::now() + LONGEST_SLEEP));
            }
        }
        Ok(())
    }

    /// Takes the events that wait, in their order: decides each on what those before it changed, makes all of it
    /// durable at once, then applies and performs.
    async fn take(&mut self, events: Vec<Asked>) -> Result<(), journal::Error> {
        let mut batch = Batch::begin(&self.shared);
        for asked in events {
            if matches!(asked.event.what, Happening::AttemptEnded { .. }) {
                self.lookups.remove(&asked.event.service);
            }
            if !self.kept.is_empty() && is_outcome(&asked.event.what) {
                self.keep(asked.event);
            } else if let Err(unwritable) = self.decide(&mut batch, asked) {
                let Unwritable { waiting, error } = *unwritable;
                self.cannot_write(&error);
                answer(waiting, Err(NotDone::JournalNotWritable(error.to_string())));
            }
        }
        match self.append(batch.parts).await {
            Ok(()) => {
                let replies: Vec<_> = batch.decided.into_iter().map(|decided| self.publish(decided)).collect();
                self.take_kept().await?;
                // Whoever asked may have gone; what was decided stands.
                replies.into_iter().for_each(|(waiting, reply)| answer(waiting, Ok(reply)));
                Ok(())
            }
            Err(error) if self.is_left_undone(&error) => {
                self.cannot_write(&error);
                for Asked { event, reply } in batch.decided.into_iter().map(|decided| decided.asked) {
                    if is_outcome(&event.what) {
                        self.keep(event);
                    }
                    answer(reply, Err(NotDone::JournalNotWritable(error.to_string())));
                }
                Ok(())
            }
            Err(error) => {
                batch.decided.into_iter().for_each(|decided| answer(decided.asked.reply, Err(NotDone::Stopping)));
                Err(error)
            }
        }
    }

    /// What happened while the journal could not be written, as soon as it can be, however that was found out.
    async fn take_kept(&mut self) -> Result<(), journal::Error> {
        while self.shared.journal_writable() {
            let Some(event) = self.kept.pop_front() else { return Ok(()) };
            let mut batch = Batch::begin(&self.shared);
            if let Err(unwritable) = self.decide(&mut batch, Asked { event, reply: None }) {
                self.cannot_write(&unwritable.error);
                continue;
            }
            match self.append(batch.parts).await {
                Ok(()) => batch.decided.into_iter().for_each(|decided| drop(self.publish(decided))),
                Err(error) if self.is_left_undone(&error) => {
                    self.cannot_write(&error);
                    batch.decided.into_iter().for_each(|decided| self.kept.push_front(decided.asked.event));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the loop goes on after this error. A journal that was lost in a failed write does not come back: the
    /// next start opens it anew.
    fn is_left_undone(&self, error: &journal::Error) -> bool {
        error.is_not_writable() && !self.journal.is_lost()
    }

    /// Adds one event's decision to a batch, unless its records can't be written at all.
    fn decide(&mut self, batch: &mut Batch, asked: Asked) -> Result<(), Box<Unwritable>> {
        let (now, event) = (clock::now(), &asked.event);
        let state = self.shared.state();
        let decision = decide_after(&batch.config, &state, &batch.ahead, event, now);
        self.metrics.event(&event.what);
        if let Some(fault) = &decision.fault {
            let _inside = span_of(&state, &event.service).entered();
            tracing::error!(service = %event.service, fault, "a record did not fit and was left out: please report this");
        }
        self.count_look(event, &decision);
        if !decision.records.is_empty() {
            // Until its records are durable nothing goes on from it: they may have to be decided again.
            self.show(event, decision.verdict.map(|verdict| Shown { so_far: None, ..verdict.into() }));
            let expected_seq = batch.ahead.sequence(&state, &event.service);
            match part(&event.service, expected_seq, now, &decision.records) {
                Ok(part) => batch.parts.push(part),
                Err(error) => return Err(Box::new(Unwritable { waiting: asked.reply, error })),
            }
            // decide() applied the same records to its own copy, so this can't differ.
            if let Err(illegal) = batch.ahead.take(&state, &event.service, now, &decision.records) {
                tracing::error!(%illegal, "a record that was just decided does not fit: please report this");
            }
        }
        batch.decided.push(Decided { asked, now, decision });
        Ok(())
    }

    /// What was decided is durable: apply, perform. Gives who waits for the reply, and the reply.
    fn publish(&mut self, decided: Decided) -> (Option<Waiting>, Reply) {
        let Decided { asked: Asked { event, reply: waiting }, now, decision } = decided;
        let is_told = !decision.records.is_empty() || !decision.effects.is_empty();
        let _inside = is_told.then(|| span_of(&self.shared.state(), &event.service).entered());
        self.show(&event, decision.verdict.map(Shown::from));
        if !decision.records.is_empty() {
            self.apply(&event.service, now, &decision.records);
        }
        let only_looked = matches!(event.what, Happening::Looked { .. });
        if !decision.records.is_empty() || !only_looked {
            self.reschedule(&event.service);
            // Whoever looks has gone only where the daemon stops.
            let _ = self.changed.send(event.service.clone());
        }
        for effect in decision.effects {
            self.performer.perform(effect);
        }
        (waiting, decision.reply)
    }

    fn count_look(&self, event: &Event, decision: &Decision) {
        if !matches!(event.what, Happening::Looked { .. }) {
            return;
        }
        match decision.verdict.and_then(|verdict| verdict.latest) {
            Some(latest) => self.metrics.evaluated(latest.look, latest.at),
            None => self.metrics.evaluation_unused(),
        }
    }

    /// Puts what a look came to on the board, from where the next look goes on.
    fn show(&self, event: &Event, shown: Option<Shown>) {
        let (Happening::Looked { trigger, .. }, Some(shown)) = (&event.what, shown) else { return };
        self.shared.board_mut().put(&self.shared.config(), &event.service, trigger, shown);
    }

    async fn append(&mut self, parts: Vec<Part>) -> Result<(), journal::Error> {
        if parts.is_empty() {
            return Ok(());
        }
        let (began, records) = (Instant::now(), parts.iter().map(|part| part.bodies.len()).sum());
        self.journal.append(parts).await?;
        self.metrics.records_appended(records, began.elapsed());
        if !self.shared.journal_writable() {
            self.journal_is_back();
        }
        Ok(())
    }

    fn apply(&mut self, service: &ServiceName, at: Timestamp, records: &[Record]) {
        let mut state = self.shared.state_mut();
        for record in records {
            // decide() applied the same records to its own copy, so this can't differ.
            if let Err(illegal) = apply(&mut state, service, at, record) {
                tracing::error!(%illegal, "a record that was just decided does not fit: please report this");
            }
        }
        drop(state);
        if records.iter().any(|record| matches!(record, Record::Rehearsal(_))) {
            self.gauge_rehearsals();
        }
        for record in records {
            self.forget_looks(service, record);
            telling::log(service, record);
            counting::count(&self.metrics, &self.shared.state(), service, record);
        }
        self.is_gauged = false;
    }

    /// Gauges what is open, where it has changed: at once, or each second where there is so much that counting it after
    /// each change would take longer than the changes themselves.
    fn gauge(&mut self) {
        let few = self.shared.state().services.len() <= GAUGED_AT_ONCE;
        if !self.is_gauged && (few || self.gauged_at.elapsed() >= LONGEST_SLEEP) {
            counting::gauge(&self.metrics, &self.shared.state(), &self.shared.config());
            (self.is_gauged, self.gauged_at) = (true, Instant::now());
        }
    }

    fn gauge_rehearsals(&self) {
        counting::gauge_rehearsals(&self.metrics, &self.shared.state(), &self.shared.config(), clock::now());
    }

    fn journal_is_back(&self) {
        tracing::info!("the journal can be written again");
        self.shared.set_journal_writable(true);
        self.metrics.journal_opened();
        self.performer.journal_is_back();
    }

    /// What was looked at belongs to one watch.
    fn forget_looks(&self, service: &ServiceName, record: &Record) {
        match record {
            Record::Watch(WatchRecord::Opened { .. } | WatchRecord::Ended { .. }) => {
                self.shared.board_mut().forget(service);
            }
            Record::Watch(_)
            | Record::Ledger(_)
            | Record::Fired(_)
            | Record::Rehearsal(_)
            | Record::Firing { .. }
            | Record::Page(_)
            | Record::Frozen { .. }
            | Record::Thawed => {}
        }
    }

    /// Nothing new is begun. What has happened outside is kept until it can be written; what was merely seen is seen
    /// again by the next look.
    fn cannot_write(&mut self, error: &journal::Error) {
        if is_too_large(error) {
            // The journal is sound: only this one decision can't be written, now or later.
            tracing::error!(%error, "a decision was left out: please report this");
            return;
        }
        if self.shared.journal_writable() {
            tracing::error!(%error, "the journal can't be written: no new attempts until it can");
            self.performer.journal_is_not_writable(&error.to_string());
        }
        self.shared.set_journal_writable(false);
        self.metrics.journal_not_writable();
    }

    fn keep(&mut self, event: Event) {
        if self.kept.len() < MOST_KEPT {
            self.kept.push_back(event);
        } else {
            tracing::error!(service = %event.service, "too much happened while the journal can't be written: an outcome is forgotten until the next start");
        }
    }

    /// What is due by itself from time to time, however many events there are: a journal that failed is tried again, one
    /// that has grown is compacted, and a config that was reloaded may have moved deadlines.
    async fn now_and_then(&mut self) -> Result<(), journal::Error> {
        let config = self.shared.config();
        if !Arc::ptr_eq(&config, &self.scheduled_by) {
            self.scheduled_by = config;
            self.reschedule_all();
        }
        if self.tried_at.elapsed() < LONGEST_SLEEP {
            return Ok(());
        }
        self.tried_at = Instant::now();
        if !self.shared.journal_writable() {
            return self.try_journal().await;
        }
        let grown = is_to_be_compacted(self.journal.records_since_snapshot(), &self.shared.state());
        if grown && self.compact_from <= Instant::now() { self.compact().await } else { Ok(()) }
    }

    async fn try_journal(&mut self) -> Result<(), journal::Error> {
        match self.journal.probe().await {
            Ok(()) => {}
            Err(error) if self.is_left_undone(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.journal_is_back();
        self.take_kept().await
    }

    async fn compact(&mut self) -> Result<(), journal::Error> {
        match self.journal.compact(clock::now(), Box::new(StateOf(Arc::clone(&self.shared)))).await {
            Ok(()) => tracing::debug!("the journal was compacted"),
            Err(error) if error.is_not_writable() => {
                tracing::warn!(%error, "the journal could not be compacted: it is tried again in a while");
                self.compact_from = Instant::now() + COMPACT_AGAIN_AFTER;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// After a start or a reload: deadlines may have moved, and other things may be wanted to be looked at.
    fn reschedule_all(&mut self) {
        self.gauge_rehearsals();
        // One that a reload brought has no state yet, and its versions are looked at all the same.
        let mut services: BTreeSet<ServiceName> = self.shared.state().services.keys().cloned().collect();
        services.extend(self.shared.config().services.keys().cloned());
        for service in services {
            self.reschedule(&service);
            let _ = self.changed.send(service);
        }
    }

    fn reschedule(&mut self, service: &ServiceName) {
        let next = wake_at(&self.shared.config(), &self.shared.state(), service);
        self.schedule(service, next);
    }

    fn schedule(&mut self, service: &ServiceName, next: Option<Timestamp>) {
        if let Some(at) = self.wake_of.remove(service) {
            self.wakes.remove(&(at, service.clone()));
        }
        if let Some(at) = next {
            self.wake_of.insert(service.clone(), at);
            self.wakes.insert((at, service.clone()));
        }
    }
}

/// The watch that a service is under: what the log says belongs to it. Made when there is something to say, since most
/// looks change nothing and there may be ten thousand watches.
fn span_of(state: &State, service: &ServiceName) -> Span {
    let watch = state.services.get(service).and_then(|own| own.watch.as_ref());
    watch.map_or_else(
        Span::none,
        |watch| tracing::info_span!("watch", %service, deploy = %watch.deploy, version = %watch.version),
    )
}

const fn is_too_large(error: &journal::Error) -> bool {
    matches!(error, journal::Error::TooLarge { .. })
}

/// Whether this has happened outside and is told once.
const fn is_outcome(what: &Happening) -> bool {
    matches!(
        what,
        Happening::AttemptStarted { .. }
            | Happening::AttemptWaits { .. }
            | Happening::AttemptEnded { .. }
            | Happening::PageDelivered { .. }
            | Happening::Announced { .. }
            | Happening::ReceiptPublished { .. }
    )
}

fn answer(waiting: Option<Waiting>, reply: Result<Reply, NotDone>) {
    if let Some(waiting) = waiting {
        let _ = waiting.send(reply);
    }
}

const fn woke(service: ServiceName) -> Event {
    Event { service, what: Happening::Woke }
}
