//! The YAML front matter of a receipt: which keys, in which order, and how it is read back.
//!
//! Knows no other YAML than its own: one line for each key, and no value over two lines.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::text::{took, yaml};
use crate::firing::FiringEnd;
use crate::name::{Commit, PathName, ServiceName, TriggerName, Version};
use crate::time::Timestamp;

/// Why the machinery ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Production was bad.
    #[default]
    Incident,
    /// Somebody deployed a bad version on purpose.
    Rehearsal,
    /// Nothing was run, and it is told what would have been.
    DryRun,
}

/// The facts that stand in the front matter (design, "Receipt"), in its order. `None` is what is not known or did not happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontMatter {
    /// The receipt's number, counted from 1.
    pub number: u64,
    /// Why the machinery ran.
    pub kind: Kind,
    /// The service.
    pub service: ServiceName,
    /// The version that was bad.
    pub version: Option<Version>,
    /// Its commit.
    pub commit: Option<Commit>,
    /// The version to return to.
    pub target: Option<Version>,
    /// The trigger.
    pub trigger: TriggerName,
    /// From observed to recovered, at most.
    #[serde(with = "shown_duration")]
    pub budget: Option<Duration>,
    /// When the bad version started to serve.
    pub deployed_at: Option<Timestamp>,
    /// When the condition began to hold.
    pub breach_at: Timestamp,
    /// When it fired, by the data: the clock starts here.
    pub observed_at: Timestamp,
    /// When it was decided what to do.
    pub decided_at: Timestamp,
    /// When the attempt of `path` was started.
    pub path_started_at: Option<Timestamp>,
    /// When it ended.
    pub path_finished_at: Option<Timestamp>,
    /// When production was back: the clock stops here.
    pub recovered_at: Option<Timestamp>,
    /// From observed to recovered.
    #[serde(with = "shown_duration")]
    pub total: Option<Duration>,
    /// Whether that was within the budget.
    pub within_budget: Option<bool>,
    /// The path that did it, or that was tried last; in a dry run the one that would have been tried first.
    pub path: Option<PathName>,
    /// The run id or commit that represents the revert.
    pub receipt: Option<String>,
    /// How it ended.
    pub outcome: FiringEnd,
    /// The SHA-256 of the markdown of the receipt before.
    pub previous_sha256: Option<String>,
}

/// A text that is not the markdown of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAReceipt(String);

const FENCE: &str = "---";

impl FrontMatter {
    /// The front matter with its fences and a line end.
    #[must_use]
    pub fn yaml(&self) -> String {
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let text = |text: Option<&str>| text.map(yaml);
        let lines = [
            ("number", Some(self.number.to_string())),
            ("kind", text(Some(self.kind.name()))),
            ("service", text(Some(self.service.as_str()))),
            ("version", text(self.version.as_ref().map(Version::as_str))),
            ("commit", text(self.commit.as_ref().map(Commit::as_str))),
            ("target", text(self.target.as_ref().map(Version::as_str))),
            ("trigger", text(Some(self.trigger.as_str()))),
            ("budget", self.budget.map(took)),
            ("deployed_at", time(self.deployed_at)),
            ("breach_at", time(Some(self.breach_at))),
            ("observed_at", time(Some(self.observed_at))),
            ("decided_at", time(Some(self.decided_at))),
            ("path_started_at", time(self.path_started_at)),
            ("path_finished_at", time(self.path_finished_at)),
            ("recovered_at", time(self.recovered_at)),
            ("total", self.total.map(took)),
            ("within_budget", self.within_budget.map(|within| within.to_string())),
            ("path", text(self.path.as_ref().map(PathName::as_str))),
            ("receipt", text(self.receipt.as_deref())),
            ("outcome", text(Some(self.outcome.name()))),
            ("previous_sha256", text(self.previous_sha256.as_deref())),
        ];
        let lines = lines.map(|(key, value)| format!("{key}: {}\n", value.as_deref().unwrap_or("null")));
        format!("{FENCE}\n{}{FENCE}\n", lines.concat())
    }

    /// Reads the front matter at the beginning of a receipt's markdown.
    ///
    /// # Errors
    /// It has none, it is cut off, or a value is not what its key holds.
    pub fn read(markdown: &str) -> Result<Self, NotAReceipt> {
        let mut lines = markdown.lines();
        if lines.next() != Some(FENCE) {
            return Err(NotAReceipt("expected front matter between two lines of ---".to_owned()));
        }
        let mut facts = serde_json::Map::new();
        for line in lines {
            if line == FENCE {
                return serde_json::from_value(facts.into())
                    .map_err(|error| NotAReceipt(format!("the front matter is not a receipt's: {error}")));
            }
            let (key, value) =
                line.split_once(": ").ok_or_else(|| NotAReceipt(format!("expected a key in {line:?}")))?;
            facts.insert(key.to_owned(), scalar(key, value)?);
        }
        Err(NotAReceipt("the front matter is cut off".to_owned()))
    }

    /// Whether both tell the same firing: all that was known before anybody looked for evidence is the same.
    #[must_use]
    pub fn tells_the_same_firing(&self, other: &Self) -> bool {
        let identity = |front: &Self| {
            (front.number, front.service.clone(), front.trigger.clone(), front.breach_at, front.observed_at)
        };
        identity(self) == identity(other)
    }
}

fn scalar(key: &str, value: &str) -> Result<serde_json::Value, NotAReceipt> {
    let is_json = key == "number" || value.starts_with('"') || matches!(value, "null" | "true" | "false");
    if !is_json {
        return Ok(value.into());
    }
    serde_json::from_str(value).map_err(|error| NotAReceipt(format!("{key} can't be read: {error}")))
}

impl Kind {
    /// As it is written in a receipt.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Incident => "incident",
            Self::Rehearsal => "rehearsal",
            Self::DryRun => "dry-run",
        }
    }
}

impl FiringEnd {
    /// As it is written in a receipt.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Paged => "paged",
            Self::Dismissed => "dismissed",
            Self::NotRecovered => "not_recovered",
        }
    }
}

mod shown_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub(super) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        duration.map(super::took).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| crate::time::parse_duration(&text)).transpose().map_err(de::Error::custom)
    }
}
