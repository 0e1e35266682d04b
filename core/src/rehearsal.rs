//! A rehearsal: a version that is known to be bad is deployed on purpose, to see and to time that the plan brings it back.
//!
//! Holds what is remembered of one. What it does is decided in `rehearsals`; its rollback is that of any firing.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::deploy::Migration;
use crate::firing::{Attempt, Took};
use crate::name::{Commit, DeployId, FiringId, RehearsalId, TriggerName, Version};
use crate::time::Timestamp;

/// The trigger's name in the receipt of a rollback that a rehearsal starts by itself; the config may not use it.
pub const REHEARSAL: &str = "rehearsal";

/// So many clean runs of a path in a row, each within [`QUICK`], and rehearsing it teaches no more: on to a game day.
pub const RUNS_BEFORE_A_GAME_DAY: u32 = 3;

/// A run that counts towards a game day takes less than this.
pub const QUICK: Duration = Duration::from_mins(5);

/// One rehearsal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// Its id.
    pub id: RehearsalId,
    /// The version that is deployed on purpose.
    pub bad: Version,
    /// The version that serves before, passed its watch, and is returned to.
    pub back_to: Version,
    /// Who watches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<String>,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// What the deploy of the bad version is called from the beginning, whoever tells of it first.
    pub deploy: DeployId,
    /// What it is doing.
    pub stage: Stage,
    /// The triggers that were seen, and did not breach, before anything was deployed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub checked: BTreeSet<TriggerName>,
    /// The one attempt that deploys the bad version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// Why that attempt waits for a person at the remote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// What was told or seen of the deploy while that attempt was under way.
    #[serde(default)]
    pub told: Told,
    /// What was reported meanwhile: it counts once the watch is open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<Reported>,
    /// Whether somebody asked it to stop.
    #[serde(default)]
    pub stop_asked: bool,
}

/// What a rehearsal is doing. Once a firing is open about its deploy, that firing tells the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "stage")]
pub enum Stage {
    /// The triggers are looked at once, before anything is deployed.
    Checking {
        /// Until then; what was not seen by then calls it off.
        until: Timestamp,
    },
    /// The bad version is being deployed.
    Deploying,
    /// The bad version serves, and the triggers are live.
    Watching {
        /// Until then; after it the bad version is rolled back, whether or not a trigger has seen it.
        until: Timestamp,
    },
    /// It ended.
    Ended {
        /// When.
        at: Timestamp,
        /// How.
        end: End,
    },
}

/// How a rehearsal ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "end")]
pub enum End {
    /// Production was back on the version from before.
    Recovered,
    /// Paths ran, and production was not seen to recover.
    NotRecovered,
    /// What held its rollback was left to a human, whose page is open.
    LeftToHuman,
    /// A human dismissed its rollback.
    Dismissed,
    /// Another version was deployed over it.
    Superseded {
        /// That version.
        by: Version,
    },
    /// Nothing was deployed.
    CalledOff {
        /// Why not.
        why: String,
    },
}

impl End {
    /// As it is written where it is told.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::NotRecovered => "not_recovered",
            Self::LeftToHuman => "left_to_human",
            Self::Dismissed => "dismissed",
            Self::Superseded { .. } => "superseded",
            Self::CalledOff { .. } => "called_off",
        }
    }
}

/// What others said of the deploy while its attempt was under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Since when the bad version serves, by the first that said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving_since: Option<Timestamp>,
    /// Whether it migrated data, by anybody.
    #[serde(default)]
    pub migration: Migration,
    /// Its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// Where its pipeline run can be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_url: Option<String>,
}

/// A trigger that was reported before the watch was open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// The trigger.
    pub trigger: TriggerName,
    /// When it was observed.
    pub at: Timestamp,
    /// In their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a firing knows of the rehearsal that it belongs to, for its receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsing {
    /// The rehearsal.
    pub id: RehearsalId,
    /// Who watches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<String>,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// What deployed the bad version.
    pub deployed_by: Attempt,
}

/// What one rehearsal showed of one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRun {
    /// The firing whose rollback it was.
    pub firing: FiringId,
    /// The number of its receipt.
    pub receipt: u64,
    /// The trigger that saw the bad version, or [`REHEARSAL`].
    pub trigger: TriggerName,
    /// From observed to recovered; `None` where the path did not bring production back.
    pub took: Option<Took>,
    /// Whether it all went by the plan: a trigger saw it, this path alone did it, within the budget and [`QUICK`].
    pub clean: bool,
    /// What was rehearsed: see [`crate::receipt::fingerprint`].
    pub fingerprint: Vec<String>,
}

/// What is remembered of the rehearsals of one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsed {
    /// The last that brought production back by this path.
    pub last: PathRun,
    /// When that was: its recovery.
    pub at: Timestamp,
    /// How many clean runs there were in a row, up to the last run.
    pub in_a_row: u32,
}

impl Rehearsal {
    /// Whether it is still to end.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Ended { .. })
    }

    /// The attempt that deploys the bad version, while that runs.
    #[must_use]
    pub fn running(&self) -> Option<&Attempt> {
        let running = |attempt: &&Attempt| attempt.outcome.is_none() && self.is_open();
        self.attempt.as_ref().filter(running)
    }

    /// Whether the bad version is being deployed now.
    #[must_use]
    pub const fn is_deploying(&self) -> bool {
        matches!(self.stage, Stage::Deploying)
    }
}
