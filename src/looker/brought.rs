//! What a look came back with, for all who share it.
//!
//! Never keeps half a look: where its query failed, all of it has failed.

use rollbackd_core::name::ServiceName;
use rollbackd_core::reading::{Answer, Answers, Series};

use super::closer::Range;
use super::split::{Only, Parts};
use super::together::{self, Each};

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
    fn of(series: Vec<Series>, only: Option<&Only>) -> Self {
        match only {
            Some(only) => Self::Split(only.split(series)),
            None => Self::Same(Answer::Series(series)),
        }
    }

    pub(super) fn part(&mut self, service: &ServiceName, again: Again) -> Answer {
        match self {
            Self::Same(answer) => answer.clone(),
            Self::Split(parts) => Answer::Series(parts.part(service, again)),
        }
    }
}

/// What all queries of a trigger came back with, for all who share them. Where that is no series, it is the value's.
pub(super) struct Shared(Each<Brought>);

impl Shared {
    /// What the answer holds for each of the queries that were asked, and of it for each of these services.
    pub(super) fn of(asked: &Each<()>, answer: Answer, only: Option<&Only>) -> Self {
        match answer {
            Answer::Series(all) => Self(together::apart(asked, all).map(|series| Brought::of(series, only))),
            spoiled @ (Answer::Partial(_) | Answer::Failed(_)) => Self(Each::alone(Brought::Same(spoiled))),
        }
    }

    pub(super) fn failed(why: &str) -> Self {
        Self(Each::alone(Brought::Same(Answer::Failed(why.to_owned()))))
    }

    /// Why there was no answer.
    pub(super) fn failure(&self) -> Option<&str> {
        match &self.0.value {
            Brought::Same(Answer::Failed(why)) => Some(why),
            Brought::Same(Answer::Series(_) | Answer::Partial(_)) | Brought::Split(_) => None,
        }
    }

    /// Whether it says nothing, or not all, of whatever was asked for.
    pub(super) const fn is_spoiled(&self) -> bool {
        matches!(&self.0.value, Brought::Same(Answer::Failed(_) | Answer::Partial(_)))
    }

    pub(super) fn part(&mut self, service: &ServiceName, (from, to, step): Range, again: Again) -> Answers {
        let each = self.0.as_mut().map(|brought| brought.part(service, again));
        let Each { value, total, at_least, presence, freshness } = each;
        Answers { from, to, step, value, total, at_least, presence, freshness }
    }
}
