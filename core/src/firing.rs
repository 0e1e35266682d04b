//! A firing: our act upon a trigger, with its clock, its budget and its attempts. It ends in exactly one receipt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::announcement::Announced;
use crate::deploy::{Deploy, Target};
use crate::name::{AttemptId, Commit, FiringId, PathName, TriggerName, Version};
use crate::rehearsal::Rehearsing;
use crate::time::{Timestamp, as_milliseconds};

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// The remote says done.
    Succeeded {
        /// What stands for the revert: a run id, a revision, a commit SHA.
        receipt: Option<String>,
        /// The end of what it printed, secrets redacted.
        #[serde(default)]
        output: String,
    },
    /// It did not do it.
    Failed {
        /// Why.
        why: String,
        /// The end of what it printed, secrets redacted.
        #[serde(default)]
        output: String,
    },
    /// It used up its path's timeout.
    TimedOut,
    /// Somebody stopped it at the remote.
    Cancelled {
        /// Who or what, as far as the remote says.
        why: String,
    },
    /// It can't be known whether it was done, or even begun.
    Unknown {
        /// Why not.
        why: String,
    },
    /// It was certainly never begun (found out after a restart): it may be started now.
    NeverStarted,
}

/// One run of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its id, which the remote is given where it takes one.
    pub id: AttemptId,
    /// The path.
    pub path: PathName,
    /// What it runs, rendered.
    pub run: Vec<String>,
    /// The same for people: one line, quoted, with the adapter's kind in front.
    pub shown: String,
    /// When it was intended.
    pub started_at: Timestamp,
    /// When the path's timeout is over.
    pub ends_at: Timestamp,
    /// What it can be found by again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
    /// Whether its outcome is unknown and the version now serving is awaited instead.
    #[serde(default)]
    pub in_doubt: bool,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

impl Attempt {
    /// Whether it succeeded.
    #[must_use]
    pub const fn succeeded(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Succeeded { .. }))
    }

    /// Whether it is known by a commit: it reverts one, and a pipeline may deploy that.
    #[must_use]
    pub fn is_a_commit(&self) -> bool {
        self.commits().next().is_some()
    }

    /// Whether it is known by this commit, which may be shortened as git shortens it.
    #[must_use]
    pub fn is_commit(&self, commit: &Commit) -> bool {
        /// Git's own default.
        const SHORTEST: usize = 7;
        let told = commit.as_str();
        let begins = |known: &str| known.get(..told.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(told));
        told.len() >= SHORTEST && self.commits().any(begins)
    }

    /// What stands for the revert, where it succeeded: a run id, a revision, a commit SHA.
    #[must_use]
    pub fn receipt(&self) -> Option<&str> {
        match &self.outcome {
            Some(Outcome::Succeeded { receipt, .. }) => receipt.as_deref(),
            Some(
                Outcome::Failed { .. }
                | Outcome::TimedOut
                | Outcome::Cancelled { .. }
                | Outcome::Unknown { .. }
                | Outcome::NeverStarted,
            )
            | None => None,
        }
    }

    /// The commits among what it is found by and what stands for it. A run's number is none.
    fn commits(&self) -> impl Iterator<Item = &str> {
        // SHA-1 or SHA-256, in full.
        let whole = |text: &&str| matches!(text.len(), 40 | 64) && text.bytes().all(|each| each.is_ascii_hexdigit());
        [self.handle.as_deref(), self.receipt()].into_iter().flatten().filter(whole)
    }
}

/// What a firing is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "stage")]
pub enum Stage {
    /// A human may dismiss until then; after it the path starts.
    Veto {
        /// Until then.
        until: Timestamp,
    },
    /// A human was paged; their answer is awaited until then.
    Paged {
        /// Why.
        why: String,
        /// Until then.
        closes_at: Timestamp,
    },
    /// The last attempt is running.
    Rolling,
    /// A path said done (or a human did it): the proof is awaited.
    Verifying {
        /// Since then.
        since: Timestamp,
        /// Until then; after it the firing ends as not recovered.
        closes_at: Timestamp,
    },
    /// It ended.
    Ended {
        /// How.
        result: FiringEnd,
        /// When.
        at: Timestamp,
        /// The number of its receipt.
        receipt: u64,
        /// Whether the receipt's files are durable.
        published: bool,
    },
}

/// How a firing ended: the receipt's `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FiringEnd {
    /// The target serves and the triggers are clear.
    Recovered,
    /// A human was paged, and no rollback of ours followed.
    Paged,
    /// A human dismissed it.
    Dismissed,
    /// Paths ran, and production did not recover.
    NotRecovered,
}

/// Who or what observed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Prometheus.
    Metric,
    /// A report by a human or a pipeline.
    Report,
    /// A human asked for the rollback itself.
    Human,
    /// A rehearsal: no trigger has fired, and its bad version must not stay.
    Rehearsal,
}

/// What has been seen of the recovery so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// When the version query first showed the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving_at: Option<Timestamp>,
    /// When the smoke URL first answered 2xx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoke_at: Option<Timestamp>,
    /// When each trigger that fired was first clear again.
    #[serde(default)]
    pub clear_at: std::collections::BTreeMap<TriggerName, Timestamp>,
}

/// One line of a firing's story, for the receipt's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// What, in one short sentence.
    pub what: String,
}

/// A firing, with everything that its receipt tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Firing {
    /// Its id.
    pub id: FiringId,
    /// The trigger; `human` where a human asked for a rollback.
    pub trigger: TriggerName,
    /// Who or what observed it.
    pub origin: Origin,
    /// The deploy that it is about; `None` where none is known.
    pub deploy: Option<Deploy>,
    /// The version to return to.
    pub target: Option<Target>,
    /// The version that a pipeline made of a revert of ours, where it names versions by the commit: as good as the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built: Option<Version>,
    /// What they said, where it was reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The value that fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The limit that it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// The budget, from observed to recovered, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_milliseconds")]
    pub budget: Option<Duration>,
    /// Whether code is never rolled back for it.
    pub never_roll_back: bool,
    /// Whether it is a dry run.
    pub dry_run: bool,
    /// The rehearsal that its bad version was deployed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<Box<Rehearsing>>,
    /// When the condition began to hold.
    pub breach_at: Timestamp,
    /// When, by the data, it fired: the clock starts here.
    pub observed_at: Timestamp,
    /// When we decided what to do.
    pub decided_at: Timestamp,
    /// What it is doing.
    pub stage: Stage,
    /// The only path that may be used, where a human named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_path: Option<PathName>,
    /// The runs of paths so far.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// How many of them belong to earlier rounds: a human's approval begins a new one, in which each path may run again.
    #[serde(default)]
    pub earlier_attempts: usize,
    /// What a dry run would have run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub would_run: Vec<Attempt>,
    /// Paths that were passed over, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<(PathName, String)>,
    /// Other triggers that fired while this rollback was running.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<(TriggerName, Timestamp)>,
    /// What has been seen of the recovery.
    #[serde(default)]
    pub proof: Proof,
    /// When production was back: the clock stops here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_at: Option<Timestamp>,
    /// Whether a human acknowledged.
    #[serde(default)]
    pub acknowledged: bool,
    /// Whether a human approved.
    #[serde(default)]
    pub approved: bool,
    /// Why a human dismissed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dismissed: Option<String>,
    /// Whether the page about the spent budget went out.
    #[serde(default)]
    pub budget_paged: bool,
    /// Which other systems are told of it.
    #[serde(default, skip_serializing_if = "Announced::is_empty")]
    pub announced: Announced,
    /// The story so far.
    #[serde(default)]
    pub story: Vec<Step>,
}

impl Firing {
    /// When the budget is spent.
    #[must_use]
    pub fn budget_ends_at(&self) -> Option<Timestamp> {
        self.budget.map(|budget| self.observed_at + budget)
    }

    /// The attempt that runs now.
    #[must_use]
    pub fn running(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|attempt| attempt.outcome.is_none())
    }

    /// Whether it still is to end.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Ended { .. })
    }

    /// Whether a rollback is under way: running, or waiting for its proof.
    #[must_use]
    pub const fn is_rolling(&self) -> bool {
        matches!(self.stage, Stage::Rolling | Stage::Verifying { .. })
    }

    /// Whether this version is the one to return to, or what a pipeline made of a revert to it.
    #[must_use]
    pub fn returns_to(&self, version: &Version) -> bool {
        self.target.as_ref().is_some_and(|target| &target.version == version) || self.built.as_ref() == Some(version)
    }

    /// Whether any path was started for it.
    #[must_use]
    pub fn was_attempted(&self) -> bool {
        !self.attempts.is_empty()
    }
}

/// How long an attempt took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Took(#[serde(with = "as_milliseconds")] pub Duration);

mod optional_milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub(super) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
    }
}
