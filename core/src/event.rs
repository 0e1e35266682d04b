//! The seam: everything that comes in (an [`Event`]), everything that goes out (an [`Effect`]), and the answer to whoever asked.
//!
//! An event never brings a command, a URL to call, a query or a file (design, R14): it names things of the config's
//! and the ledger's.

use std::time::Duration;

use crate::announcement::Announcement;
use crate::deploy::Migration;
use crate::firing::{Attempt, Outcome};
use crate::name::{
    AnnouncerName, AttemptId, Commit, DeployId, FiringId, PageId, PagerName, PathName, RehearsalId, ServiceName,
    TriggerName, Version,
};
use crate::reading::Answers;
use crate::time::Timestamp;
use crate::trigger::SoFar;

/// Something that happened to one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The service.
    pub service: ServiceName,
    /// What happened.
    pub what: Happening,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// A deploy was reported.
    Deployed(DeployReport),
    /// A source outside saw a deploy: what was told of it already, by whomever, is not told again.
    Hinted {
        /// What it says.
        report: DeployReport,
        /// The pipeline's run that deployed it.
        run: Option<Run>,
    },
    /// A platform's own records show a deploy. Somebody may have told of it before, or tell of it later.
    Shown {
        /// What they show.
        report: DeployReport,
    },
    /// A human or a pipeline says that a trigger is observed.
    Reported {
        /// The trigger.
        trigger: TriggerName,
        /// In their words.
        note: Option<String>,
        /// What it is about.
        about: About,
    },
    /// A human approves the rollback that a page asks about.
    Approved {
        /// The firing.
        firing: FiringId,
    },
    /// A human says that the firing is no reason to roll back.
    Dismissed {
        /// The firing.
        firing: FiringId,
        /// Why.
        why: String,
    },
    /// A human has seen the page.
    Acknowledged {
        /// The firing.
        firing: FiringId,
    },
    /// A human starts a rollback.
    RollbackAsked {
        /// By this path; by the preferred one where it isn't named.
        path: Option<PathName>,
        /// To this version of the ledger's; to the target where it isn't named.
        to: Option<Version>,
    },
    /// A human asks for a rehearsal.
    RehearsalAsked {
        /// The version that is known to be bad.
        bad: Version,
        /// Who watches.
        witness: Option<String>,
    },
    /// A human asks the rehearsal to stop: its bad version is rolled back at once.
    RehearsalStopAsked,
    /// A human holds automatic rollback.
    Frozen {
        /// For how long.
        duration: Duration,
        /// Why.
        why: String,
    },
    /// A human lets automatic rollback go on.
    Thawed,
    /// The queries of a trigger came back.
    Looked {
        /// Of this deploy.
        deploy: DeployId,
        /// The trigger.
        trigger: TriggerName,
        /// What came back.
        answers: Answers,
        /// Slots up to this one were answered by an earlier look: that this look failed says nothing about them.
        answered_until: Option<Timestamp>,
        /// What an earlier look at the same deploy, by the same config, has come to: the answers go on from there.
        so_far: Option<SoFar>,
        /// The same queries at instants besides the slots, where it was looked closer: when a breach began, and whether
        /// it still is one when its `for` is over.
        besides: Vec<Answers>,
        /// Where this is a piece of a long window, and more of it is still to be asked for: the window's last slot. Nothing
        /// follows from a piece but what it adds up to.
        more_until: Option<Timestamp>,
    },
    /// The expression of a trigger over the window before the deploy came back. Sent only when it did: a failed
    /// query is asked again.
    BaselineRead {
        /// Of this deploy.
        deploy: DeployId,
        /// The trigger.
        trigger: TriggerName,
        /// What came back.
        answers: Answers,
    },
    /// What `version_query` showed just before the deploy came back.
    VersionBeforeRead {
        /// Of this deploy.
        deploy: DeployId,
        /// The version, where one was shown.
        serving: Option<Serving>,
    },
    /// `version_query` shows a version that was not there before, while another was.
    Appeared {
        /// The version.
        version: Version,
        /// The instant of its first sample.
        at: Timestamp,
        /// Whether no other version is shown any more.
        alone: bool,
    },
    /// What `version_query` shows now came back.
    ServingRead {
        /// The version, where one is shown.
        serving: Option<Serving>,
        /// The instant asked for.
        at: Timestamp,
    },
    /// The smoke URL answered, or did not.
    SmokeAnswered {
        /// When it was asked.
        at: Timestamp,
        /// Whether it answered 2xx.
        healthy: bool,
    },
    /// An attempt has something that it can be found by again: a pipeline run's id, a process.
    AttemptStarted {
        /// The attempt.
        attempt: AttemptId,
        /// What it can be found by.
        handle: String,
    },
    /// An attempt waits for a person at the remote (a protected environment).
    AttemptWaits {
        /// The attempt.
        attempt: AttemptId,
        /// For what.
        why: String,
    },
    /// An attempt ended.
    AttemptEnded {
        /// The attempt.
        attempt: AttemptId,
        /// How.
        outcome: Outcome,
    },
    /// A pager took a page.
    PageDelivered {
        /// The page.
        page: PageId,
        /// Who took it.
        pager: PagerName,
        /// Whether it was the word that the page is over.
        resolved: bool,
    },
    /// Another system took what it was told of a firing.
    Announced {
        /// The firing.
        firing: FiringId,
        /// Which system.
        by: AnnouncerName,
        /// Whether it was how the firing ended.
        of_end: bool,
    },
    /// A receipt's files are durable.
    ReceiptPublished {
        /// Of this firing.
        firing: FiringId,
        /// The SHA-256 of its markdown, in hex.
        sha256: String,
    },
    /// Time alone: [`crate::wake_at`] said so.
    Woke,
}

impl Happening {
    /// A look at a trigger whose answers hold its whole window: nothing is gone on from, and no instant was looked at besides
    /// the slots.
    #[must_use]
    pub const fn looked_whole(
        deploy: DeployId,
        trigger: TriggerName,
        answers: Answers,
        answered_until: Option<Timestamp>,
    ) -> Self {
        let besides = Vec::new();
        Self::Looked { deploy, trigger, answers, answered_until, so_far: None, besides, more_until: None }
    }
}

/// What a deploy event says.
#[derive(Clone, Debug, PartialEq)]
pub struct DeployReport {
    /// The version.
    pub version: Version,
    /// The version before.
    pub previous: Option<Version>,
    /// The commit.
    pub commit: Option<Commit>,
    /// Whether it migrated data.
    pub migration: Migration,
    /// Where its pipeline run can be seen.
    pub run_url: Option<String>,
    /// When the version started to serve.
    pub at: Option<Timestamp>,
    /// The event's own identity (`Idempotency-Key`, a delivery id).
    pub key: Option<String>,
}

impl DeployReport {
    /// A version was seen to begin to serve: no more is known of its deploy.
    pub(crate) const fn seen(version: Version, at: Timestamp) -> Self {
        Self {
            version,
            previous: None,
            commit: None,
            migration: Migration::None,
            run_url: None,
            at: Some(at),
            key: None,
        }
    }
}

/// What a report is about, as far as it says so. Where it says nothing, as a human's does, it is about what serves now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The report's own identity.
    pub key: Option<String>,
    /// When it was observed.
    pub at: Option<Timestamp>,
    /// When what was observed began: the pipeline's run.
    pub since: Option<Timestamp>,
    /// The version that was observed.
    pub version: Option<Version>,
    /// The commit that was observed.
    pub commit: Option<Commit>,
    /// The pipeline's run that was observed.
    pub run: Option<Run>,
}

/// A run of a pipeline, by which a source's event can be told from one that our own rollback caused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The pipeline's own id of it.
    pub id: String,
    /// Its title, which may hold the id of our attempt.
    pub title: Option<String>,
}

impl About {
    /// Whether it says which deploy it is about.
    pub(crate) const fn names_a_deploy(&self) -> bool {
        self.since.is_some() || self.version.is_some() || self.commit.is_some()
    }
}

/// What `version_query` showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The newest series' label `version`.
    pub version: Version,
    /// Its label `revision`, where it has one.
    pub revision: Option<String>,
    /// Since when it has been seen without a gap, as far back as was looked.
    pub since: Timestamp,
}

/// Something to do in the outside world. It is data: whoever performs it decides nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Run a path, once.
    StartAttempt(Order),
    /// Find an attempt that an earlier process started and follow it; never start it again.
    FollowAttempt {
        /// What was ordered.
        order: Order,
        /// What it can be found by, where that was recorded.
        handle: Option<String>,
    },
    /// Stop an attempt that used up its path's timeout.
    StopAttempt {
        /// The service.
        service: ServiceName,
        /// The attempt.
        attempt: AttemptId,
    },
    /// Deliver a page through one pager, again and again until it is taken.
    Page {
        /// The service.
        service: ServiceName,
        /// The pager.
        pager: PagerName,
        /// What it says.
        page: crate::page::Page,
    },
    /// Tell a pager that can show it that a human has seen a page.
    AcknowledgePage {
        /// The pager.
        pager: PagerName,
        /// The page.
        page: crate::page::Page,
    },
    /// Tell another system of a firing, again and again until it is taken.
    Announce {
        /// Which system.
        announcer: AnnouncerName,
        /// What it is told.
        announcement: Box<Announcement>,
    },
    /// Write a firing's receipt.
    PublishReceipt {
        /// The service.
        service: ServiceName,
        /// The firing.
        firing: FiringId,
    },
}

impl Effect {
    /// The order that it starts, where it starts one.
    #[must_use]
    pub const fn starts(&self) -> Option<&Order> {
        match self {
            Self::StartAttempt(order) => Some(order),
            Self::FollowAttempt { .. }
            | Self::StopAttempt { .. }
            | Self::Page { .. }
            | Self::AcknowledgePage { .. }
            | Self::Announce { .. }
            | Self::PublishReceipt { .. } => None,
        }
    }
}

/// One run of a path, as it was made durable.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The service.
    pub service: ServiceName,
    /// What asked for it: the firing; where a bad version is deployed on purpose, the rehearsal's id in its place.
    pub firing: FiringId,
    /// The attempt: the correlation id that a remote is given.
    pub attempt: AttemptId,
    /// The path.
    pub path: PathName,
    /// What it runs: rendered, in the adapter's own order.
    pub run: Vec<String>,
    /// When it was intended.
    pub started_at: Timestamp,
    /// When its path's timeout is over.
    pub ends_at: Timestamp,
}

impl Order {
    /// What an attempt of a firing orders.
    pub(crate) fn of(service: &ServiceName, firing: &FiringId, attempt: &Attempt) -> Self {
        Self {
            service: service.clone(),
            firing: firing.clone(),
            attempt: attempt.id.clone(),
            path: attempt.path.clone(),
            run: attempt.run.clone(),
            started_at: attempt.started_at,
            ends_at: attempt.ends_at,
        }
    }

    /// What the attempt of a rehearsal orders; `None` only where its id could be no firing's, and every one can.
    pub(crate) fn of_rehearsal(service: &ServiceName, rehearsal: &RehearsalId, attempt: &Attempt) -> Option<Self> {
        Some(Self::of(service, &FiringId::new(rehearsal.as_str()).ok()?, attempt))
    }
}

/// The answer to whoever brought an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Nobody asked.
    None,
    /// A deploy was recorded.
    Deploy(DeployId),
    /// That deploy was known already, or is what a rollback itself caused: nothing starts.
    SameDeploy(DeployId),
    /// A firing began or was joined, or what was said about it counts.
    Firing(FiringId),
    /// The same was reported before, and that firing is still open: nothing changes.
    SameFiring(FiringId),
    /// A rehearsal began, or was asked to stop.
    Rehearsal(RehearsalId),
    /// Done.
    Done,
    /// Nothing is to be done. Why.
    NotNews(NotNews),
    /// It can't be done. Why.
    Refused(Refusal),
}

/// Why a report starts nothing, although nothing is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNews {
    /// It came before.
    #[error("this report was taken already")]
    Known,
    /// Nothing was deployed that it could be about.
    #[error("no deploy of {0} is known that it could be about")]
    NoDeploy(ServiceName),
    /// It tells of our own rollback.
    #[error("that run is attempt {0} of a rollback, which is followed by its own path")]
    OwnAttempt(AttemptId),
    /// It is about another version.
    #[error("it is about another deploy than that of {0}, which serves")]
    OtherDeploy(Version),
    /// It was observed before what serves was deployed.
    #[error("it was observed at {at}, before {version} was deployed")]
    BeforeDeploy {
        /// When it was observed.
        at: Timestamp,
        /// What serves.
        version: Version,
    },
    /// It was observed longer ago than a watch lasts.
    #[error("it was observed at {0}, which is longer ago than a watch lasts")]
    TooLate(Timestamp),
}

/// Why an event was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such service.
    #[error("there is no service {asked:?} in the config")]
    UnknownService {
        /// What was asked for.
        asked: String,
        /// The nearest names.
        nearest: Vec<String>,
    },
    /// No such trigger.
    #[error("service {service} has no trigger {asked:?}")]
    UnknownTrigger {
        /// The service.
        service: ServiceName,
        /// What was asked for.
        asked: String,
        /// The nearest names.
        nearest: Vec<String>,
    },
    /// The trigger is observed by Prometheus, not by reports.
    #[error("trigger {0} is observed by Prometheus; only triggers with `observed: report` can be reported")]
    NotReported(TriggerName),
    /// No such firing.
    #[error("there is no firing {asked:?}")]
    UnknownFiring {
        /// What was asked for.
        asked: String,
        /// The nearest names.
        nearest: Vec<String>,
    },
    /// No such path.
    #[error("service {service} has no path {asked:?}")]
    UnknownPath {
        /// The service.
        service: ServiceName,
        /// What was asked for.
        asked: String,
        /// The nearest names.
        nearest: Vec<String>,
    },
    /// No such version in the ledger.
    #[error("the ledger of {service} has no version {asked}")]
    UnknownVersion {
        /// The service.
        service: ServiceName,
        /// What was asked for.
        asked: Version,
        /// The nearest names.
        nearest: Vec<String>,
    },
    /// The event's instant lies in the future.
    #[error("`at` is {at}, which is more than five minutes after the daemon's {now}: check both clocks")]
    FromTheFuture {
        /// The event's instant.
        at: Timestamp,
        /// The daemon's.
        now: Timestamp,
    },
    /// Too late, or not possible now. Why.
    #[error("{0}")]
    Conflict(String),
}
