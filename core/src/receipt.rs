//! The receipt: everything that the journal knows of one firing, and what was read at its end, told to people and programs.
//!
//! Never reads, hashes or writes a file: it makes texts, and the shell publishes them.

mod beside;
mod facts;
mod fingerprint;
mod front;
mod gaps;
mod markdown;
mod on_purpose;
mod picture;
pub mod text;
mod timeline;

use serde::Serialize;

use crate::config::Service;
use crate::firing::{Firing, Origin, Stage, Step};
use crate::name::{DeployId, FiringId, PathName, TriggerName, Version};
use crate::time::Timestamp;

pub use beside::BesideFacts;
pub use facts::{AttemptFacts, BadWindow, ProofFacts, SideEffectFacts, definition};
pub use fingerprint::fingerprint;
pub use front::{FrontMatter, Kind, NotAReceipt};
pub use gaps::{Gap, GapKind};
pub use on_purpose::{RehearsalFacts, RehearsedFacts};
pub use picture::Unit;
pub use text::{Sentence, took};
pub use timeline::{Phase, Timeline};

/// The most entries that any list of a receipt shows: beyond that nobody reads, and a receipt stays a page.
pub const LONGEST_LIST: usize = 100;

/// What was read at the end of a firing, or is known from earlier receipts; none of it is in the journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Why the machinery ran, as its caller knows; a dry run or a rehearsal by the daemon is one whatever this says.
    pub kind: Kind,
    /// The trigger's value over time (the worst series); empty where it is reported or Prometheus did not answer.
    pub series: Vec<(Timestamp, f64)>,
    /// The limit that the value was compared with; the firing's own where this is `None`.
    pub limit: Option<f64>,
    /// Whether the config wrote the limit as a percentage.
    pub limit_is_percentage: bool,
    /// Whether a value above the limit is the breach; below it otherwise.
    pub above: bool,
    /// What was counted in the bad window.
    pub side_effects: Vec<SideEffectCount>,
    /// Whether the config says anything about side effects, be it `none`.
    pub side_effects_declared: bool,
    /// What earlier receipts tell of the paths; `None` where nobody looked.
    pub earlier: Option<Vec<PathExperience>>,
    /// What rehearsals have shown of each path by now.
    pub rehearsed: std::collections::BTreeMap<PathName, crate::rehearsal::Rehearsed>,
    /// The SHA-256 of the markdown of the receipt before, in hex; `None` for the first.
    pub previous_sha256: Option<String>,
}

/// One side effect of the config, counted.
#[derive(Clone, Debug, PartialEq)]
pub struct SideEffectCount {
    /// Its name.
    pub name: String,
    /// How often it happened in the bad window, or why that is not known.
    pub count: Result<f64, String>,
    /// What a human does about it, rendered.
    pub compensate: String,
}

/// What earlier receipts of the same service tell of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathExperience {
    /// The path.
    pub path: PathName,
    /// When it was last rehearsed.
    pub rehearsed_at: Option<Timestamp>,
    /// What the path was defined as in that rehearsal (see [`AttemptFacts::definition`]).
    pub rehearsed_as: Option<Vec<String>>,
    /// How long its successful attempts took, oldest first.
    pub took: Vec<std::time::Duration>,
    /// From the start of such an attempt until production was back, oldest first; of those where it was.
    pub back_after: Vec<std::time::Duration>,
}

/// The hashes of a receipt's other texts, which its markdown repeats: so the chain of markdown files covers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The SHA-256 of [`Receipt::facts`], in hex.
    pub facts_sha256: &'a str,
    /// The SHA-256 of [`Receipt::chart`], in hex.
    pub svg_sha256: &'a str,
}

/// The hashes that `NNN.json` carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Files<'a> {
    /// The SHA-256 of `NNN.md`, in hex.
    pub md: &'a str,
    /// The SHA-256 of `NNN.svg`, in hex.
    pub svg: &'a str,
}

/// A firing that has no receipt yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not tell firing {0} as a receipt: it has not ended")]
pub struct StillOpen(FiringId);

/// The facts of one receipt. Every text in it is clean and bounded already; only the syntax around it is still to come.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Receipt {
    /// What its YAML front matter says.
    #[serde(flatten)]
    pub front: FrontMatter,
    /// The firing.
    pub firing: FiringId,
    /// The deploy that it was about.
    pub deploy: Option<DeployId>,
    /// Who or what observed it.
    pub origin: Origin,
    /// The rehearsal that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<RehearsalFacts>,
    /// What they said.
    pub note: Option<String>,
    /// The value that fired.
    pub value: Option<f64>,
    /// The limit that it was compared with.
    pub limit: Option<f64>,
    /// What both are measured in.
    pub unit: Unit,
    /// The budget in seconds.
    pub budget_seconds: Option<f64>,
    /// The total in seconds.
    pub total_seconds: Option<f64>,
    /// When the firing ended, recovered or not.
    pub ended_at: Timestamp,
    /// What happened, in one sentence.
    pub summary: Sentence,
    /// Where the time went.
    pub timeline: Timeline,
    /// The story, in the order of time.
    pub story: Vec<Step>,
    /// What proved the recovery.
    pub proof: ProofFacts,
    /// Other triggers that fired meanwhile.
    pub joined: Vec<(TriggerName, Timestamp)>,
    /// The attempts, in their order.
    pub attempts: Vec<AttemptFacts>,
    /// What a dry run would have run.
    pub would_run: Vec<AttemptFacts>,
    /// What a dry run would have taken, beside what production really took; `None` where it was no dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<BesideFacts>,
    /// Paths that were passed over, and why.
    pub passed_over: Vec<(PathName, String)>,
    /// From when to when production was bad.
    pub bad_window: BadWindow,
    /// What was counted in it; `None` where the config says nothing of side effects.
    pub side_effects: Option<Vec<SideEffectFacts>>,
    /// Gaps discovered.
    pub gaps: Vec<Gap>,
    /// What a human must still do.
    pub to_do: Vec<Sentence>,
    #[serde(skip)]
    chart: crate::chart::Chart,
}

/// Tells a firing that has ended.
///
/// # Errors
/// The firing has not ended: it has no number and no outcome yet.
pub fn receipt(firing: &Firing, service: &Service, evidence: &Evidence) -> Result<Receipt, StillOpen> {
    let Stage::Ended { result, at, receipt, .. } = &firing.stage else {
        return Err(StillOpen(firing.id.clone()));
    };
    let told = facts::Told { firing, service, evidence, result: *result, ended_at: *at, number: *receipt };
    Ok(told.receipt())
}

impl Receipt {
    /// The version that was to be returned to.
    #[must_use]
    pub const fn target(&self) -> Option<&Version> {
        self.front.target.as_ref()
    }

    /// `NNN`, as its files are named.
    #[must_use]
    pub fn stem(&self) -> String {
        stem(self.front.number)
    }

    /// `NNN.svg`: the trigger's series, its limit and the marks. The same facts give the same bytes.
    #[must_use]
    pub fn chart(&self) -> String {
        self.chart.svg()
    }

    /// The facts as JSON, without the hashes of the files.
    #[must_use]
    pub fn facts(&self) -> String {
        // Writing to a string fails only for keys that are no texts, and there are none.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// `NNN.md`.
    #[must_use]
    pub fn markdown(&self, parts: Parts<'_>) -> String {
        markdown::markdown(self, parts)
    }

    /// `NNN.json`: the facts, and the hashes of the files beside it as the last key.
    #[must_use]
    pub fn json(&self, files: Files<'_>) -> String {
        let facts = self.facts();
        format!("{}{}", facts.strip_suffix(FACTS_END).unwrap_or_default(), hashes_end(files))
    }
}

/// How the facts end, and what the hashes take the place of.
const FACTS_END: &str = "\n}\n";

fn hashes_end(files: Files<'_>) -> String {
    format!(",\n  \"sha256\": {{\n    \"md\": \"{}\",\n    \"svg\": \"{}\"\n  }}{FACTS_END}", files.md, files.svg)
}

/// The facts within the text of an `NNN.json`, as [`Receipt::facts`] wrote them; `None` where it ends otherwise.
#[must_use]
pub fn facts_within(json: &str, files: Files<'_>) -> Option<String> {
    json.strip_suffix(&hashes_end(files)).map(|facts| format!("{facts}{FACTS_END}"))
}

/// Whether the text of an `NNN.md` ends with these hashes, as [`Receipt::markdown`] wrote them.
#[must_use]
pub fn names_parts(markdown: &str, number: u64, parts: Parts<'_>) -> bool {
    markdown.ends_with(&markdown::files(number, parts))
}

/// The number in three digits or more.
#[must_use]
pub fn stem(number: u64) -> String {
    format!("{number:03}")
}
