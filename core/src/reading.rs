//! What was read from Prometheus, and the six answers that a look at it can have.

pub mod body;

use std::time::Duration;

use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::time::Timestamp;

/// The labels of a series: values by names. Most series have one or two, and an answer has ten thousand series.
pub type Labels = LiteMap<SmolStr, SmolStr>;

/// One series of an answer: its labels and its samples, by instant. A sample may be NaN or infinite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Label names and values, without those that the query dropped.
    pub labels: Labels,
    /// Samples in the order of time.
    pub samples: Vec<(Timestamp, f64)>,
}

impl Series {
    /// The sample at exactly this instant.
    #[must_use]
    pub fn at(&self, instant: Timestamp) -> Option<f64> {
        let index = self.samples.binary_search_by_key(&instant, |sample| sample.0).ok()?;
        self.samples.get(index).map(|sample| sample.1)
    }
}

/// What one query came back with.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The series; none is an answer too.
    Series(Vec<Series>),
    /// Something was answered, but not by all that hold the data (a warning, `isPartial`, too many series). Why.
    Partial(String),
    /// Nothing usable: unreachable, refused, too slow, not understood. Why.
    Failed(String),
}

/// The answers of all queries of one trigger over the same slots.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// The first slot that was asked for.
    pub from: Timestamp,
    /// The last slot that was asked for.
    pub to: Timestamp,
    /// From slot to slot.
    pub step: Duration,
    /// The trigger's `expr`, or its `bad`.
    pub value: Answer,
    /// The trigger's `total`.
    pub total: Option<Answer>,
    /// The trigger's `at_least`.
    pub at_least: Option<Answer>,
    /// Whether what an alerting rule's `expr` selects has any data.
    pub presence: Option<Answer>,
    /// The instant of the newest sample that bare selectors read.
    pub freshness: Option<Answer>,
}

impl Answers {
    /// The answers of all queries that were asked.
    pub fn all(&self) -> impl Iterator<Item = &Answer> {
        let optional = [&self.total, &self.at_least, &self.presence, &self.freshness];
        std::iter::once(&self.value).chain(optional.into_iter().flatten())
    }

    /// The slots, first to last.
    pub fn slots(&self) -> impl Iterator<Item = Timestamp> + use<> {
        let (to, step) = (self.to, self.step.max(Duration::from_millis(1)));
        std::iter::successors(Some(self.from), move |slot| Some(*slot + step)).take_while(move |slot| *slot <= to)
    }
}

/// The answer of one look at one slot (design, R7). Only a breach counts towards a firing, only clear counts as health.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "look", content = "value")]
pub enum Look {
    /// The condition holds, with this value.
    Breach(f64),
    /// The condition does not hold, with this value.
    Clear(f64),
    /// Too little traffic to say anything.
    LowTraffic,
    /// The same, and nothing counts any traffic: the samples that do may still come, where they come late.
    NoTraffic,
    /// Empty, NaN or stale.
    NoData,
    /// The query failed.
    Error,
    /// Not everybody who holds the data answered.
    Partial,
}

impl Look {
    /// The value, where there is one.
    #[must_use]
    pub const fn value(self) -> Option<f64> {
        match self {
            Self::Breach(value) | Self::Clear(value) => Some(value),
            Self::LowTraffic | Self::NoTraffic | Self::NoData | Self::Error | Self::Partial => None,
        }
    }

    /// Whether this look says nothing although something should be there to be seen: the watch is blind.
    #[must_use]
    pub const fn is_blind(self) -> bool {
        match self {
            Self::NoData | Self::Error | Self::Partial => true,
            Self::Breach(_) | Self::Clear(_) | Self::LowTraffic | Self::NoTraffic => false,
        }
    }
}

/// A look and the slot it belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The slot: the instant that was asked for.
    pub at: Timestamp,
    /// What was seen there.
    pub look: Look,
}
