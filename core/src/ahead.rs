//! Several events decided one after the other, and made durable together: each sees what those before it changed.
//!
//! Never touches the state itself: what is ahead of it counts only once it is durable.

use std::borrow::Cow;

use crate::apply::{Illegal, apply};
use crate::name::ServiceName;
use crate::record::Record;
use crate::state::{ServiceState, State};
use crate::time::Timestamp;

/// What was decided on top of a state and is not durable yet: the services that it changes, as they will be.
#[derive(Clone, Debug, Default)]
pub struct Ahead(State);

impl Ahead {
    /// Nothing yet, on top of this state.
    #[must_use]
    pub fn of(state: &State) -> Self {
        Self(State { last_receipt: state.last_receipt, ..State::default() })
    }

    /// Adds what was just decided about a service.
    ///
    /// # Errors
    /// A record does not fit: a mistake in this program, since whoever decided has applied it to its own copy.
    pub fn take(
        &mut self,
        state: &State,
        service: &ServiceName,
        at: Timestamp,
        records: &[Record],
    ) -> Result<(), Illegal> {
        if !self.0.services.contains_key(service)
            && let Some(own) = state.services.get(service)
        {
            self.0.services.insert(service.clone(), own.clone());
        }
        records.iter().try_for_each(|record| apply(&mut self.0, service, at, record))
    }

    /// How many records a service has, once what was decided is durable: the sequence that the next one continues.
    #[must_use]
    pub fn sequence(&self, state: &State, service: &ServiceName) -> u64 {
        Seen { state, ahead: Some(self) }.get(service).map_or(0, |own| own.sequence)
    }
}

/// What a decision reads: the state, with what is ahead of it in its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) state: &'a State,
    pub(crate) ahead: Option<&'a Ahead>,
}

impl<'a> Seen<'a> {
    fn get(self, name: &ServiceName) -> Option<&'a ServiceState> {
        let ahead = self.ahead.and_then(|ahead| ahead.0.services.get(name));
        ahead.or_else(|| self.state.services.get(name)).map(AsRef::as_ref)
    }

    /// The state of a service; an empty one where nothing has happened to it yet.
    pub(crate) fn service(self, name: &ServiceName) -> Cow<'a, ServiceState> {
        self.get(name).map_or_else(|| Cow::Owned(ServiceState::default()), Cow::Borrowed)
    }

    /// All services, in the order of their names.
    pub(crate) fn services(self) -> impl Iterator<Item = (&'a ServiceName, &'a ServiceState)> {
        let known = self.state.services.iter().map(move |(name, own)| (name, self.get(name).unwrap_or(own)));
        // One that has no state yet but for what is ahead is rare enough to be looked for each time.
        let new = self.ahead.into_iter().flat_map(|ahead| &ahead.0.services);
        let new = new.filter(move |(name, _)| !self.state.services.contains_key(*name));
        let new = new.map(|(name, own)| (name, own.as_ref()));
        let mut all: Vec<_> = known.chain(new).collect();
        all.sort_by_key(|(name, _)| *name);
        all.into_iter()
    }

    /// The number of the last receipt that was promised.
    pub(crate) fn last_receipt(self) -> u64 {
        self.ahead.map_or(self.state.last_receipt, |ahead| ahead.0.last_receipt)
    }
}
