//! Durable facts: what the journal holds. What each does to the state stands in [`crate::apply`].
//!
//! Never decides: what a record says has happened.

use serde::{Deserialize, Serialize};

use crate::deploy::{Deploy, Migration, Target, WatchEnd};
use crate::firing::{Attempt, Firing, FiringEnd, Outcome, Proof};
use crate::name::{
    AnnouncerName, AttemptId, Commit, DeployId, FiringId, PageId, PagerName, PathName, TriggerName, Version,
};
use crate::page::Page;
use crate::rehearsal::{End, PathRun, Rehearsal, Reported, Told};
use crate::state::{Turn, Watch};
use crate::time::Timestamp;
use crate::trigger::{Arming, Baseline};

/// One durable fact about one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// About its versions.
    Ledger(LedgerRecord),
    /// About the watch that is open.
    Watch(WatchRecord),
    /// A firing began.
    Fired(Box<Firing>),
    /// About a firing.
    Firing {
        /// The firing.
        id: FiringId,
        /// What happened to it.
        what: FiringRecord,
    },
    /// About a page.
    Page(PageRecord),
    /// About a rehearsal.
    Rehearsal(RehearsalRecord),
    /// Automatic rollback is held.
    Frozen {
        /// Until then.
        until: Timestamp,
        /// Why.
        why: String,
    },
    /// Automatic rollback goes on.
    Thawed,
}

/// A fact about a service's versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "record")]
pub enum LedgerRecord {
    /// A deploy was reported.
    Deployed {
        /// The deploy.
        deploy: Deploy,
        /// How its watch ended, where it opens none (it came too late, or out of order).
        end: Option<WatchEnd>,
        /// Whether its version is what serves now.
        running: bool,
    },
    /// A deploy that a rollback (or a human in its stead) caused was announced: it opens no watch (design, R4).
    Announced {
        /// The version.
        version: Version,
        /// The firing that brought it back, while that is open.
        firing: Option<FiringId>,
    },
    /// A deploy that was told of without it turned out to have migrated data.
    MigrationLearned {
        /// The deploy.
        deploy: DeployId,
        /// Whether older code can live with it.
        migration: Migration,
    },
    /// Somebody told of a deploy that `version_query` had shown: what only they know.
    Told {
        /// The deploy.
        deploy: DeployId,
        /// The version before.
        previous: Option<Version>,
        /// The commit.
        commit: Option<Commit>,
        /// Where its pipeline run can be seen.
        run_url: Option<String>,
        /// The event's own identity.
        key: Option<String>,
    },
    /// A report with an identity of its own was taken: coming again, it starts nothing.
    ReportTaken {
        /// Its identity.
        key: String,
    },
    /// The platform's revision of a version was seen.
    RevisionSeen {
        /// The version.
        version: Version,
        /// The revision.
        revision: String,
    },
}

/// A fact about the watch that is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "record")]
pub enum WatchRecord {
    /// A watch began.
    Opened {
        /// The watch.
        watch: Box<Watch>,
    },
    /// The target was looked up.
    TargetFound {
        /// The target, if there is one.
        target: Option<Target>,
    },
    /// A baseline was read.
    BaselineKept {
        /// Of this trigger.
        trigger: TriggerName,
        /// The baseline.
        baseline: Baseline,
    },
    /// A trigger turned.
    Turned {
        /// The trigger.
        trigger: TriggerName,
        /// To what.
        turn: Turn,
        /// Whether it may fire.
        arming: Arming,
        /// Whether it has been clear by now.
        seen_clear: bool,
        /// The value at that slot.
        value: Option<f64>,
    },
    /// The last slot of the watch was answered for a trigger.
    Settled {
        /// The trigger.
        trigger: TriggerName,
    },
    /// A trigger with `action: shadow` would have fired.
    Shadowed {
        /// The trigger.
        trigger: TriggerName,
        /// When, by the data.
        observed_at: Timestamp,
        /// The value.
        value: f64,
    },
    /// The watch ended.
    Ended {
        /// How.
        end: WatchEnd,
    },
}

/// A fact about a firing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "record")]
pub enum FiringRecord {
    /// A trigger fired while a rollback was running already.
    Joined {
        /// The trigger.
        trigger: TriggerName,
        /// When, by the data.
        observed_at: Timestamp,
    },
    /// A human is asked.
    Paged {
        /// Why.
        why: String,
        /// Until when an answer is awaited.
        closes_at: Timestamp,
    },
    /// A human may dismiss until then; after it the path starts.
    Vetoable {
        /// Until then.
        until: Timestamp,
    },
    /// A path is about to run.
    AttemptIntended {
        /// The attempt.
        attempt: Box<Attempt>,
        /// Whether nobody asked for it.
        automatic: bool,
    },
    /// An attempt can be found by something now.
    AttemptStarted {
        /// The attempt.
        attempt: AttemptId,
        /// What it can be found by.
        handle: String,
    },
    /// An attempt's outcome is unknown; the version that serves is awaited instead.
    AttemptInDoubt {
        /// The attempt.
        attempt: AttemptId,
        /// Why.
        why: String,
    },
    /// An attempt ended.
    AttemptEnded {
        /// The attempt.
        attempt: AttemptId,
        /// How.
        outcome: Outcome,
    },
    /// A path was not taken.
    PassedOver {
        /// The path.
        path: PathName,
        /// Why not.
        why: String,
    },
    /// What a dry run would have run.
    WouldRun {
        /// The attempt.
        attempt: Box<Attempt>,
    },
    /// The proof of recovery is awaited.
    Verifying {
        /// Until when.
        closes_at: Timestamp,
        /// Why, for the story.
        why: String,
    },
    /// Something of the proof was seen, or is no longer so.
    Proved {
        /// All that is seen now.
        proof: Proof,
        /// What is new, for the story.
        what: String,
    },
    /// A human approved: a new round of paths begins.
    Approved,
    /// A human dismissed.
    Dismissed {
        /// Why.
        why: String,
    },
    /// A human has seen it.
    Acknowledged,
    /// The budget is spent.
    BudgetSpent,
    /// Something happened that its receipt should tell.
    Noted {
        /// What.
        what: String,
    },
    /// A firing ended.
    Ended {
        /// How.
        result: FiringEnd,
        /// The number of its receipt.
        receipt: u64,
        /// When production was back, where it is.
        recovered_at: Option<Timestamp>,
    },
    /// Another system took that it fired, or how it ended.
    Announced {
        /// Which one.
        by: AnnouncerName,
        /// Whether it was how it ended.
        of_end: bool,
    },
    /// A receipt's files are durable.
    Published {
        /// The SHA-256 of its markdown.
        sha256: String,
    },
}

/// A fact about a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "record")]
pub enum PageRecord {
    /// A page is to be delivered.
    Opened {
        /// The page.
        page: Box<Page>,
    },
    /// A pager took a page.
    Delivered {
        /// The page.
        page: PageId,
        /// The pager.
        pager: PagerName,
        /// Whether it was the word that it is over.
        resolved: bool,
    },
    /// A human has seen it.
    Acknowledged {
        /// The page.
        page: PageId,
    },
    /// Nobody acknowledged it in time: it is for these pagers as well.
    Escalated {
        /// The page.
        page: PageId,
        /// The next level.
        pagers: Vec<PagerName>,
        /// When it goes to the level after that.
        next: Option<Timestamp>,
    },
    /// A page is over.
    Resolved {
        /// The page.
        page: PageId,
    },
}

/// A fact about the rehearsal that is under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "record")]
pub enum RehearsalRecord {
    /// A human asked for it.
    Asked {
        /// The rehearsal.
        rehearsal: Box<Rehearsal>,
    },
    /// A trigger was seen, and does not breach.
    Checked {
        /// The trigger.
        trigger: TriggerName,
    },
    /// The bad version is about to be deployed.
    AttemptIntended {
        /// The attempt.
        attempt: Box<Attempt>,
    },
    /// The attempt can be found by something now.
    AttemptStarted {
        /// What it can be found by.
        handle: String,
    },
    /// The attempt waits for a person at the remote.
    AttemptWaits {
        /// For what.
        why: String,
    },
    /// The attempt ended.
    AttemptEnded {
        /// How.
        outcome: Outcome,
    },
    /// Somebody told of the deploy, or it was seen, while the attempt was under way.
    Told {
        /// All that is known by now.
        told: Told,
    },
    /// A trigger was reported while the attempt was under way.
    Reported {
        /// The report.
        report: Reported,
    },
    /// The bad version serves: its watch is open.
    Watching {
        /// When it is rolled back, whatever was seen.
        until: Timestamp,
    },
    /// A human asked it to stop.
    StopAsked,
    /// It ended.
    Ended {
        /// How.
        end: End,
        /// What it showed of each path that ran.
        paths: Vec<(PathName, PathRun)>,
    },
}
