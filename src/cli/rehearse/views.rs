//! What of the daemon's views a rehearsal is shown from.

use rollbackd_core::name::Version;
use rollbackd_core::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::status::Trigger;

/// A service's view, as far as a rehearsal shows it.
#[derive(Clone, Debug)]
pub(super) struct Service {
    told: ServiceView,
    pub(super) at: Timestamp,
}

#[derive(Clone, Debug, Deserialize)]
struct ServiceView {
    running: Option<String>,
    #[serde(default)]
    triggers: Vec<Trigger>,
    rehearsal: Option<Value>,
    rehearsal_plan: Option<Plan>,
    #[serde(default)]
    paths: Vec<RollbackPath>,
    #[serde(skip)]
    read: Option<Rehearsal>,
}

#[derive(Clone, Debug, Deserialize)]
struct RollbackPath {
    rehearsed: Option<Rehearsed>,
}

#[derive(Clone, Debug, Deserialize)]
struct Rehearsed {
    ready_for_a_game_day: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct Plan {
    #[serde(default)]
    bad_versions: Vec<Version>,
}

/// A rehearsal's view.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Rehearsal {
    pub(super) id: String,
    pub(super) bad: String,
    pub(super) back_to: String,
    pub(super) asked_at: Timestamp,
    pub(super) state: String,
    pub(super) until: Option<Timestamp>,
    pub(super) attempt: Option<Attempt>,
    pub(super) waits: Option<String>,
    pub(super) firing: Option<String>,
    pub(super) end: Option<String>,
    pub(super) why: Option<String>,
    /// The view as it came.
    #[serde(skip)]
    pub(super) told: Value,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Attempt {
    pub(super) path: String,
    pub(super) started_at: Timestamp,
    pub(super) ends_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) outcome: Option<Outcome>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Outcome {
    pub(super) outcome: String,
    pub(super) why: Option<String>,
}

/// A firing's view.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Firing {
    pub(super) id: String,
    pub(super) trigger: String,
    pub(super) state: String,
    pub(super) note: Option<String>,
    pub(super) observed_at: Timestamp,
    pub(super) budget_ends_at: Option<Timestamp>,
    pub(super) recovered_at: Option<Timestamp>,
    pub(super) receipt: Option<u64>,
    #[serde(default)]
    pub(super) receipt_published: bool,
    pub(super) value: Option<f64>,
    pub(super) limit: Option<f64>,
    #[serde(default)]
    pub(super) story: Vec<Step>,
    /// The view as it came.
    #[serde(skip)]
    pub(super) told: Value,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Step {
    pub(super) at: Timestamp,
    pub(super) what: String,
}

impl Service {
    /// Reads a view that was true at this instant.
    pub(super) fn read(body: Value, at: Timestamp) -> Result<Self, serde_json::Error> {
        let mut told: ServiceView = serde_json::from_value(body)?;
        if let Some(view) = told.rehearsal.clone() {
            let mut read: Rehearsal = serde_json::from_value(view.clone())?;
            read.told = view;
            told.read = Some(read);
        }
        Ok(Self { told, at })
    }

    pub(super) fn triggers(&self) -> &[Trigger] {
        &self.told.triggers
    }

    pub(super) fn running(&self) -> &str {
        self.told.running.as_deref().unwrap_or("nothing that is known")
    }

    pub(super) const fn rehearsal(&self) -> Option<&Rehearsal> {
        self.told.read.as_ref()
    }

    pub(super) fn is_ready_for_a_game_day(&self) -> bool {
        let paths = self.told.paths.iter();
        paths.filter_map(|path| path.rehearsed.as_ref()).any(|known| known.ready_for_a_game_day)
    }

    pub(super) fn bad_versions(&self) -> Vec<Version> {
        self.told.rehearsal_plan.as_ref().map(|plan| plan.bad_versions.clone()).unwrap_or_default()
    }
}

impl Firing {
    /// Reads a view.
    pub(super) fn read(body: Value) -> Result<Self, serde_json::Error> {
        let read: Self = serde_json::from_value(body.clone())?;
        Ok(Self { told: body, ..read })
    }
}

impl Rehearsal {
    /// Whether nothing more comes: it has ended, and the receipt of its firing is there.
    pub(super) fn is_over(&self, firing: Option<&Firing>) -> bool {
        self.end.is_some() && firing.is_none_or(|firing| firing.receipt_published || firing.receipt.is_none())
    }
}
