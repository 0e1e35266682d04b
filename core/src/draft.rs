//! A decision in the making: records are applied to a copy of the one service as they are added, so that what comes
//! later in the same decision sees what came before.
//!
//! Never touches the state that it was given.

use std::borrow::Cow;

use crate::ahead::Seen;
use crate::apply::apply_to_service;
use crate::config::{Config, Mode, Service};
use crate::event::{Effect, Reply};
use crate::firing::Firing;
use crate::name::{FiringId, ServiceName};
use crate::record::{FiringRecord, PageRecord, Record, WatchRecord};
use crate::state::ServiceState;
use crate::time::Timestamp;
use crate::trigger::Verdict;

/// What was decided: first make the records durable, then apply them, then perform the effects, in this order.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The facts.
    pub records: Vec<Record>,
    /// What is to be done once they are durable.
    pub effects: Vec<Effect>,
    /// The answer to whoever asked.
    pub reply: Reply,
    /// What a look showed, for those who show it.
    pub verdict: Option<Verdict>,
    /// A record that did not fit: a mistake in this program, to be logged. The record is left out.
    pub fault: Option<String>,
}

impl Decision {
    /// Nothing to do but to answer.
    pub(crate) const fn only(reply: Reply) -> Self {
        Self { records: Vec::new(), effects: Vec::new(), reply, verdict: None, fault: None }
    }
}

pub(crate) struct Draft<'a> {
    pub(crate) config: &'a Config,
    pub(crate) seen: Seen<'a>,
    pub(crate) service: &'a Service,
    pub(crate) now: Timestamp,
    own: Cow<'a, ServiceState>,
    last_receipt: u64,
    records: Vec<Record>,
    effects: Vec<Effect>,
    pub(crate) verdict: Option<Verdict>,
    fault: Option<String>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(config: &'a Config, seen: Seen<'a>, service: &'a Service, now: Timestamp) -> Self {
        Self {
            config,
            seen,
            service,
            now,
            own: seen.service(&service.name),
            last_receipt: seen.last_receipt(),
            records: Vec::new(),
            effects: Vec::new(),
            verdict: None,
            fault: None,
        }
    }

    pub(crate) fn name(&self) -> &'a ServiceName {
        &self.service.name
    }

    pub(crate) fn own(&self) -> &ServiceState {
        &self.own
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.config.mode == Mode::DryRun
    }

    /// A copy of the firing as it is by now.
    pub(crate) fn firing(&self, id: &FiringId) -> Option<Firing> {
        self.own.firing(id).cloned()
    }

    /// Copies of the open firings.
    pub(crate) fn open_firings(&self) -> Vec<Firing> {
        self.own.open_firings().cloned().collect()
    }

    /// Adds a record and applies it to the copy.
    pub(crate) fn record(&mut self, record: Record) {
        match apply_to_service(self.own.to_mut(), self.now, &record) {
            Ok(()) => self.records.push(record),
            Err(why) => {
                debug_assert!(false, "{why}: {record:?}");
                self.fault.get_or_insert(why);
            }
        }
    }

    /// How many records there are so far: by this it is seen whether something came of a step.
    pub(crate) const fn recorded(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn watch_record(&mut self, record: WatchRecord) {
        self.record(Record::Watch(record));
    }

    pub(crate) fn firing_record(&mut self, id: &FiringId, what: FiringRecord) {
        self.record(Record::Firing { id: id.clone(), what });
    }

    pub(crate) fn page_record(&mut self, record: PageRecord) {
        self.record(Record::Page(record));
    }

    /// Adds an effect, unless it touches the outside in a dry run: whatever was begun before the mode changed is left
    /// alone (design, R12).
    pub(crate) fn effect(&mut self, effect: Effect) {
        let touches_the_outside = match &effect {
            Effect::StartAttempt(_)
            | Effect::StopAttempt { .. }
            | Effect::Page { .. }
            | Effect::AcknowledgePage { .. }
            | Effect::Announce { .. } => true,
            Effect::FollowAttempt { .. } | Effect::PublishReceipt { .. } => false,
        };
        if !(touches_the_outside && self.is_dry_run()) {
            self.effects.push(effect);
        }
    }

    /// The number of the next receipt; each is given out once.
    pub(crate) fn next_receipt(&mut self) -> u64 {
        self.last_receipt += 1;
        self.last_receipt
    }

    /// The next id's tail: the instant and a number, so that it differs from those of an earlier state folder as well.
    pub(crate) fn next_id(&self, kind: char) -> String {
        let instant: String = self.now.to_string().chars().filter(|each| each.is_ascii_alphanumeric()).collect();
        format!("{}-{kind}-{instant}-{}", self.name(), self.own.ids + 1)
    }

    pub(crate) fn finish(self, reply: Reply) -> Decision {
        Decision { records: self.records, effects: self.effects, reply, verdict: self.verdict, fault: self.fault }
    }
}
