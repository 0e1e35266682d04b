//! What the queries of a look came back with, for all who share them.
//!
//! Never keeps half a look: where one of its queries failed, it has failed.

use rollbackd_core::name::ServiceName;
use rollbackd_core::reading::{Answer, Answers};

use super::closer::Range;
use super::split::Parts;

/// What one query came back with, for all who share it.
pub(super) enum Brought {
    /// The same for everybody.
    Same(Answer),
    /// Each service's own series.
    Split(Parts),
}

/// Whether a service's part is asked for again: only then is it worth a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Yes,
    No,
}

impl Brought {
    /// Why there was no answer.
    pub(super) fn failure(&self) -> Option<String> {
        match self {
            Self::Same(Answer::Failed(why)) => Some(why.clone()),
            Self::Same(Answer::Series(_) | Answer::Partial(_)) | Self::Split(_) => None,
        }
    }

    pub(super) fn part(&mut self, service: &ServiceName, again: Again) -> Answer {
        match self {
            Self::Same(answer) => answer.clone(),
            Self::Split(parts) => Answer::Series(parts.part(service, again)),
        }
    }
}

/// What all queries of a set came back with, for all who share them. Where one of them failed, `value` did.
pub(super) struct Shared {
    pub(super) value: Brought,
    pub(super) total: Option<Brought>,
    pub(super) at_least: Option<Brought>,
    pub(super) presence: Option<Brought>,
    pub(super) freshness: Option<Brought>,
}

impl Shared {
    pub(super) fn failed(why: &str) -> Self {
        let value = Brought::Same(Answer::Failed(why.to_owned()));
        Self { value, total: None, at_least: None, presence: None, freshness: None }
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.value.failure()
    }

    pub(super) fn part(&mut self, service: &ServiceName, (from, to, step): Range, again: Again) -> Answers {
        let part = |brought: &mut Option<Brought>| brought.as_mut().map(|brought| brought.part(service, again));
        Answers {
            from,
            to,
            step,
            value: self.value.part(service, again),
            total: part(&mut self.total),
            at_least: part(&mut self.at_least),
            presence: part(&mut self.presence),
            freshness: part(&mut self.freshness),
        }
    }
}
