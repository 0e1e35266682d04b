//! A picture of one firing, as SVG: the trigger's series against its limit, what happened when, and the clock against its budget.
//!
//! Never holds a script, a style or font from elsewhere, or a text that is not escaped; the same facts give the same bytes.

mod draw;
mod scale;

use crate::time::Timestamp;

pub use scale::Unit;

/// What something is drawn as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As a plain fact.
    Plain,
    /// As something that we did.
    Ours,
    /// As something good.
    Good,
    /// As something bad.
    Bad,
    /// As the start of the clock.
    Clock,
}

/// An instant with its name: a vertical line.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// When.
    pub at: Timestamp,
    /// What.
    pub label: String,
    /// Drawn as.
    pub tone: Tone,
}

/// Something that lasted: a bar in a lane of its own under the series.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// The name of its lane.
    pub lane: String,
    /// Since then.
    pub from: Timestamp,
    /// Until then.
    pub until: Timestamp,
    /// How far it might have gone: an outline.
    pub at_most: Option<Timestamp>,
    /// What stands beside it.
    pub label: String,
    /// Drawn as.
    pub tone: Tone,
}

/// Everything that the picture shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What it is about.
    pub title: String,
    /// More of it, smaller.
    pub subtitle: String,
    /// How it ended.
    pub outcome: String,
    /// Drawn as.
    pub tone: Tone,
    /// The whole picture in words, for those who can't see it.
    pub description: String,
    /// What the values are measured in.
    pub unit: Unit,
    /// The values in the order of time; what is not finite is a gap.
    pub series: Vec<(Timestamp, f64)>,
    /// The limit and how it is called.
    pub limit: Option<(f64, String)>,
    /// Whether a value above the limit is the breach.
    pub above: bool,
    /// What stands in place of a series where there is none.
    pub without_series: String,
    /// The marks, in the order of time.
    pub marks: Vec<Mark>,
    /// From when to when production was bad.
    pub bad_window: (Timestamp, Timestamp),
    /// The bars, from the top down.
    pub bars: Vec<Bar>,
}

impl Chart {
    /// The picture as the text of an SVG file.
    #[must_use]
    pub fn svg(&self) -> String {
        draw::svg(self)
    }
}
