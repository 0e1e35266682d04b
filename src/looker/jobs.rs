//! What is looked at, service by service, and an agenda of when each service has something due.
//!
//! Never goes through all services for the sake of one: there may be ten thousand.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use litemap::LiteMap;
use rollbackd_core::name::{ServiceName, TriggerName};
use rollbackd_core::time::Timestamp;

use super::preflight::{Planned, Preflight};

/// What is looked at, without its instants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Trigger(TriggerName),
    Baseline(TriggerName),
    VersionBefore,
    Serving,
    Version,
    Smoke,
}

impl Subject {
    /// The trigger that it is about, where it is about one.
    pub(super) const fn trigger(&self) -> Option<&TriggerName> {
        match self {
            Self::Trigger(name) | Self::Baseline(name) => Some(name),
            Self::VersionBefore | Self::Serving | Self::Version | Self::Smoke => None,
        }
    }
}

pub(super) type Key = (ServiceName, Subject);

/// When a subject is due, and whether an earlier look at it is still under way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) due_at: Timestamp,
    pub(super) under_way: bool,
    /// Not wanted any more: it goes as soon as it is not under way.
    pub(super) unwanted: bool,
    /// When the slots back to a gap were last asked for again.
    pub(super) gap_asked_at: Option<Timestamp>,
    /// The row of breaches that is looked at closer. Boxed: few of a fleet have one.
    pub(super) closer: Option<Box<Closer>>,
}

/// A row of breaches that is looked at closer.
#[derive(Debug)]
pub(super) struct Closer {
    /// Its place among the few that are looked at closer; given up once that is done.
    pub(super) place: Option<Arc<()>>,
    /// Its first slot.
    pub(super) slot: Timestamp,
    /// When it is to be looked exactly, besides the slots, and for the beginning of which row that was done.
    pub(super) exactly_at: Option<Timestamp>,
    pub(super) exactly_done: Option<Timestamp>,
    /// Gets the path ready that is to be run then.
    preflight: Option<Planned>,
}

impl Closer {
    /// One that is to be looked at at that instant.
    pub(super) const fn new(place: Arc<()>, slot: Timestamp, at: Timestamp) -> Self {
        Self { place: Some(place), slot, exactly_at: Some(at), exactly_done: None, preflight: None }
    }

    /// Plans the pre-flight for a `for` that is over at that instant, in place of one that has not begun.
    pub(super) fn prepare(&mut self, over_at: Timestamp, preflight: impl FnOnce() -> Preflight) {
        if self.preflight.as_ref().is_none_or(|planned| planned.is_for_another(over_at)) {
            self.preflight = Some(preflight().plan(over_at));
        }
    }
}

impl Job {
    /// One that is due.
    pub(super) const fn due(at: Timestamp) -> Self {
        Self { due_at: at, under_way: false, unwanted: false, gap_asked_at: None, closer: None }
    }

    /// When it is to be looked at next.
    pub(super) fn next(&self) -> Timestamp {
        let exactly_at = self.closer.as_ref().and_then(|closer| closer.exactly_at);
        exactly_at.map_or(self.due_at, |exactly| exactly.min(self.due_at))
    }
}

#[derive(Default)]
struct Own {
    jobs: LiteMap<Subject, Job>,
    noted: Option<Timestamp>,
}

/// All jobs.
#[derive(Default)]
pub(super) struct Jobs {
    own: HashMap<ServiceName, Own>,
    agenda: BTreeSet<(Timestamp, ServiceName)>,
    /// Held once by each row of breaches that is looked at closer.
    closer: Arc<()>,
}

impl Jobs {
    /// One job. Whoever changes when it is due calls [`Self::note`] afterwards.
    pub(super) fn get_mut(&mut self, (service, subject): &Key) -> Option<&mut Job> {
        self.own.get_mut(service)?.jobs.get_mut(subject)
    }

    /// Those of a service. Whoever changes when one is due calls [`Self::note`] afterwards.
    pub(super) fn of_mut(&mut self, service: &ServiceName) -> &mut LiteMap<Subject, Job> {
        &mut self.own.entry(service.clone()).or_default().jobs
    }

    /// All jobs; [`Self::note_all`] afterwards.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        self.own.values_mut().flat_map(|own| own.jobs.iter_mut().map(|(_, job)| job))
    }

    /// A place for a row of breaches that is to be looked at closer, where there is one of so many. Counted by those who
    /// hold one: in an outage each of ten thousand asks for one.
    pub(super) fn place(&self, most: usize) -> Option<Arc<()>> {
        (Arc::strong_count(&self.closer) <= most).then(|| Arc::clone(&self.closer))
    }

    /// The next instant at which something is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// The services that have something due by then.
    pub(super) fn due(&self, now: Timestamp) -> Vec<ServiceName> {
        self.agenda.iter().take_while(|(at, _)| *at <= now).map(|(_, service)| service.clone()).collect()
    }

    /// Puts into the agenda when a service has something due next.
    pub(super) fn note(&mut self, service: &ServiceName) {
        let Some(own) = self.own.get_mut(service) else { return };
        let next = own.jobs.values().filter(|job| !job.under_way).map(Job::next).min();
        if next == own.noted {
            return;
        }
        if let Some(before) = std::mem::replace(&mut own.noted, next) {
            self.agenda.remove(&(before, service.clone()));
        }
        if let Some(next) = next {
            self.agenda.insert((next, service.clone()));
        }
        if own.jobs.is_empty() {
            self.own.remove(service);
        }
    }

    /// The same for all services.
    pub(super) fn note_all(&mut self) {
        let all: Vec<ServiceName> = self.own.keys().cloned().collect();
        all.iter().for_each(|service| self.note(service));
    }
}
