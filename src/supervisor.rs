//! The only loop: wait, decide, append and sync, apply, perform. That order is the product's promise.
//!
//! Decides nothing itself, and names no adapter.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rollbackd_core::apply::apply;
use rollbackd_core::event::{Event, Happening, Reply};
use rollbackd_core::name::{PagerName, ServiceName};
use rollbackd_core::record::{FiringRecord, Record, WatchRecord};
use rollbackd_core::state::State;
use rollbackd_core::time::Timestamp;
use rollbackd_core::{Decision, decide, wake_at};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::clock;
use crate::door::{Asked, NotDone, Shared};
use crate::journal::{self, Journal};
use crate::metrics::Metrics;
use crate::perform::Performer;
use crate::telling;

/// The longest sleep: the watchdog is fed, a clock that was set is noticed, and a full disk is tried again within it.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// So many records after the last snapshot, what ended is compacted.
const RECORDS_BETWEEN_SNAPSHOTS: u64 = 5_000;

/// Outcomes that wait for a journal that can't be written; they come from attempts and pagers, of which there are few.
const MOST_KEPT: usize = 10_000;

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
    journal: Option<Journal>,
    performer: Performer,
    metrics: Arc<Metrics>,
    changed: mpsc::UnboundedSender<ServiceName>,
    wakes: BTreeSet<(Timestamp, ServiceName)>,
    wake_of: BTreeMap<ServiceName, Timestamp>,
    spans: BTreeMap<ServiceName, Span>,
    kept: VecDeque<Event>,
}

/// What happened while waiting.
enum Next {
    Asked(Box<Asked>),
    Woke(ServiceName),
    Idle,
    Stop,
}

impl Supervisor {
    /// A supervisor of the state that was replayed.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        journal: Journal,
        performer: Performer,
        metrics: Arc<Metrics>,
        changed: mpsc::UnboundedSender<ServiceName>,
    ) -> Self {
        let mut supervisor = Self {
            shared,
            journal: Some(journal),
            performer,
            metrics,
            changed,
            wakes: BTreeSet::new(),
            wake_of: BTreeMap::new(),
            spans: BTreeMap::new(),
            kept: VecDeque::new(),
        };
        supervisor.reschedule_all();
        supervisor
    }

    /// Runs until told to stop, or until the journal can't be trusted. `alive` is called after each turn.
    pub async fn run(mut self, mut events: mpsc::Receiver<Asked>, stop: CancellationToken, alive: impl Fn()) -> Ended {
        loop {
            let due = self.wakes.first().cloned().filter(|_| self.shared.journal_writable());
            let turn = match wait(due, &mut events, &stop).await {
                Next::Asked(asked) => self.take(*asked).await,
                Next::Woke(service) => self.take(Asked { event: woke(service), reply: None }).await,
                Next::Idle => self.retry().await,
                Next::Stop => return Ended::Stopped,
            };
            if let Err(error) = turn {
                return Ended::Journal(error);
            }
            alive();
        }
    }

    async fn take(&mut self, asked: Asked) -> Result<(), journal::Error> {
        let Asked { event, reply } = asked;
        let span = self.spans.get(&event.service).cloned().unwrap_or_else(Span::none);
        let result = self.turn(&event).instrument(span).await;
        let answer = match result {
            Ok(reply) => Ok(reply),
            Err(error) if error.is_not_writable() => {
                self.cannot_write(&event, &error);
                Err(NotDone::JournalNotWritable(error.to_string()))
            }
            Err(error) => {
                if let Some(waiting) = reply {
                    let _ = waiting.send(Err(NotDone::Stopping));
                }
                return Err(error);
            }
        };
        if let Some(waiting) = reply {
            // Whoever asked may have gone; what was decided stands.
            let _ = waiting.send(answer);
        }
        Ok(())
    }

    /// Decide, append and sync, apply, perform.
    async fn turn(&mut self, event: &Event) -> Result<Reply, journal::Error> {
        let now = clock::now();
        let config = self.shared.config();
        let decision = decide(&config, &self.shared.state(), event, now);
        self.metrics.event(&event.what);
        if let Some(fault) = &decision.fault {
            tracing::error!(service = %event.service, fault, "a record did not fit and was left out: please report this");
        }
        self.note_verdict(event, &decision);
        if !decision.records.is_empty() {
            self.append(&event.service, now, &decision.records).await?;
            self.apply(&event.service, now, &decision.records);
        }
        self.reschedule(&event.service);
        if !decision.records.is_empty() || !matches!(event.what, Happening::Looked { .. }) {
            // Whoever looks has gone only where the daemon stops.
            let _ = self.changed.send(event.service.clone());
        }
        for effect in decision.effects {
            self.performer.perform(effect);
        }
        Ok(decision.reply)
    }

    fn note_verdict(&self, event: &Event, decision: &Decision) {
        if let (Happening::Looked { trigger, .. }, Some(verdict)) = (&event.what, decision.verdict) {
            if let Some(latest) = verdict.latest {
                self.metrics.evaluated(latest.look, latest.at);
            }
            self.shared.board_mut().insert((event.service.clone(), trigger.clone()), verdict);
        }
    }

    /// Off the async threads: an fsync may stall for half a second.
    async fn append(&mut self, service: &ServiceName, at: Timestamp, records: &[Record]) -> Result<(), journal::Error> {
        let expected = self.shared.state().services.get(service).map_or(0, |own| own.sequence);
        let bodies = records.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
        let bodies =
            bodies.map_err(|error| journal::Error::NotBegun(format!("a record can't be written as JSON: {error}")))?;
        let began = std::time::Instant::now();
        let name = service.to_string();
        let result = self.on_journal(move |journal| journal.append(&name, expected, at, &bodies)).await;
        result?;
        self.metrics.records_appended(records.len(), began.elapsed());
        if !self.shared.journal_writable() {
            self.journal_is_back();
        }
        Ok(())
    }

    async fn on_journal<T: Send + 'static>(
        &mut self,
        act: impl FnOnce(&mut Journal) -> Result<T, journal::Error> + Send + 'static,
    ) -> Result<T, journal::Error> {
        let Some(mut journal) = self.journal.take() else {
            return Err(journal::Error::NotBegun("it was lost in an earlier failure".to_owned()));
        };
        let joined = tokio::task::spawn_blocking(move || {
            let result = act(&mut journal);
            (journal, result)
        });
        let (journal, result) =
            joined.await.map_err(|error| journal::Error::NotBegun(format!("the write was not finished: {error}")))?;
        self.journal = Some(journal);
        result
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
        for record in records {
            self.follow_watch(service, record);
            telling::log(service, record);
            self.count(service, record);
        }
        self.gauge(&self.shared.state());
    }

    fn gauge(&self, state: &State) {
        let services = state.services.values();
        self.metrics.watches_open(services.clone().filter(|own| own.watch.is_some()).count());
        self.metrics.firings_open(services.clone().map(|own| own.open_firings().count()).sum());
        let mut undelivered: BTreeMap<&PagerName, usize> = BTreeMap::new();
        for page in services.flat_map(|own| &own.pages) {
            for pager in &page.pagers {
                let waits = usize::from(page.undelivered.contains(pager) || page.unresolved.contains(pager));
                *undelivered.entry(pager).or_default() += waits;
            }
        }
        undelivered.into_iter().for_each(|(pager, count)| self.metrics.pages_undelivered(pager, count));
    }

    fn count(&self, service: &ServiceName, record: &Record) {
        match record {
            Record::Fired(firing) => self.metrics.firing_began(service, &firing.trigger),
            Record::Firing { id, what: FiringRecord::Ended { recovered_at: Some(at), .. } } => {
                let state = self.shared.state();
                let firing = state.services.get(service).and_then(|own| own.firing(id));
                if let Some(firing) = firing {
                    self.metrics.recovered(service, at.since(firing.observed_at));
                }
            }
            Record::Firing { .. }
            | Record::Watch(_)
            | Record::Ledger(_)
            | Record::Page(_)
            | Record::Frozen { .. }
            | Record::Thawed => {}
        }
    }

    fn journal_is_back(&self) {
        tracing::info!("the journal can be written again");
        self.shared.set_journal_writable(true);
        self.metrics.journal_opened();
        self.performer.journal_is_back();
    }

    fn follow_watch(&mut self, service: &ServiceName, record: &Record) {
        match record {
            Record::Watch(WatchRecord::Opened { watch }) => {
                self.shared.board_mut().retain(|(of, _), _| of != service);
                let span = tracing::info_span!("watch", %service, deploy = %watch.deploy, version = %watch.version);
                self.spans.insert(service.clone(), span);
            }
            Record::Watch(WatchRecord::Ended { .. }) => {
                self.spans.remove(service);
            }
            Record::Watch(_)
            | Record::Ledger(_)
            | Record::Fired(_)
            | Record::Firing { .. }
            | Record::Page(_)
            | Record::Frozen { .. }
            | Record::Thawed => {}
        }
    }

    /// Nothing new is begun. What has happened outside is kept until it can be written; what was merely seen is seen
    /// again by the next look.
    fn cannot_write(&mut self, event: &Event, error: &journal::Error) {
        if self.shared.journal_writable() {
            tracing::error!(%error, "the journal can't be written: no new attempts until it can");
            self.performer.journal_is_not_writable(&error.to_string());
        }
        self.shared.set_journal_writable(false);
        self.metrics.journal_not_writable();
        let is_outcome = matches!(
            event.what,
            Happening::AttemptStarted { .. }
                | Happening::AttemptWaits { .. }
                | Happening::AttemptEnded { .. }
                | Happening::PageDelivered { .. }
                | Happening::ReceiptPublished { .. }
        );
        if is_outcome && self.kept.len() < MOST_KEPT {
            self.kept.push_back(event.clone());
        }
    }

    /// Tries the journal again where it failed, compacts it where it has grown.
    async fn retry(&mut self) -> Result<(), journal::Error> {
        if !self.shared.journal_writable() {
            return self.try_journal().await;
        }
        let grown =
            self.journal.as_ref().is_some_and(|journal| journal.records_since_snapshot() >= RECORDS_BETWEEN_SNAPSHOTS);
        if grown { self.compact().await } else { Ok(()) }
    }

    async fn try_journal(&mut self) -> Result<(), journal::Error> {
        match self.on_journal(|journal| journal.probe()).await {
            Ok(()) => {}
            Err(error) if error.is_not_writable() => return Ok(()),
            Err(error) => return Err(error),
        }
        self.journal_is_back();
        for event in std::mem::take(&mut self.kept) {
            self.take(Asked { event, reply: None }).await?;
        }
        Ok(())
    }

    async fn compact(&mut self) -> Result<(), journal::Error> {
        let body = serde_json::to_string(&*self.shared.state());
        let body =
            body.map_err(|error| journal::Error::NotBegun(format!("the state can't be written as JSON: {error}")))?;
        match self.on_journal(move |journal| journal.compact(clock::now(), &body)).await {
            Ok(()) => tracing::debug!("the journal was compacted"),
            Err(error) if error.is_not_writable() => tracing::warn!(%error, "the journal could not be compacted"),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// After a reload, deadlines may have moved.
    fn reschedule_all(&mut self) {
        let services: Vec<ServiceName> = self.shared.state().services.keys().cloned().collect();
        services.iter().for_each(|service| self.reschedule(service));
        for (name, own) in &self.shared.state().services {
            if let Some(watch) = &own.watch {
                let span =
                    tracing::info_span!("watch", service = %name, deploy = %watch.deploy, version = %watch.version);
                self.spans.insert(name.clone(), span);
            }
        }
    }

    fn reschedule(&mut self, service: &ServiceName) {
        if let Some(at) = self.wake_of.remove(service) {
            self.wakes.remove(&(at, service.clone()));
        }
        let next = wake_at(&self.shared.config(), &self.shared.state(), service);
        if let Some(at) = next {
            self.wake_of.insert(service.clone(), at);
            self.wakes.insert((at, service.clone()));
        }
    }
}

/// Names what happened, and does nothing about it.
async fn wait(
    due: Option<(Timestamp, ServiceName)>,
    events: &mut mpsc::Receiver<Asked>,
    stop: &CancellationToken,
) -> Next {
    let now = clock::now();
    let sleep = match &due {
        Some((at, service)) if *at <= now => return Next::Woke(service.clone()),
        Some((at, _)) => at.since(now).clamp(Duration::from_millis(1), LONGEST_SLEEP),
        None => LONGEST_SLEEP,
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => Next::Stop,
        asked = events.recv() => asked.map_or(Next::Stop, |asked| Next::Asked(Box::new(asked))),
        () = tokio::time::sleep(sleep) => Next::Idle,
    }
}

const fn woke(service: ServiceName) -> Event {
    Event { service, what: Happening::Woke }
}

/// The state that a journal's records add up to.
///
/// # Errors
/// A record is none of ours, or does not fit those before it. Which.
pub fn replay(replay: &journal::Replay) -> Result<State, String> {
    let mut state = match &replay.snapshot {
        Some(snapshot) => serde_json::from_str(&snapshot.body)
            .map_err(|error| format!("the snapshot at record {} can't be read: {error}", snapshot.id))?,
        None => State::default(),
    };
    for stored in &replay.records {
        let which = || format!("record {} ({} {})", stored.id, stored.service, stored.seq);
        let record: Record =
            serde_json::from_str(&stored.body).map_err(|error| format!("{} can't be read: {error}", which()))?;
        let service = ServiceName::new(stored.service.clone()).map_err(|error| format!("{}: {error}", which()))?;
        apply(&mut state, &service, stored.at, &record).map_err(|illegal| format!("{}: {illegal}", which()))?;
    }
    Ok(state)
}
