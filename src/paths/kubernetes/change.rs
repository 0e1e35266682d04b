//! One attempt at a cluster: read what is there, change it once, and follow the controller to its end.
//!
//! Never changes anything but the object that was read: each patch tests that it is still the same.

use std::time::Duration;

use reqwest::StatusCode;
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;

use super::cluster::{Cluster, revisions_of, workload_of};
use super::{By, Kubernetes, Sign, abort, progress, undo};
use crate::http_client::one_line;
use crate::kubernetes::workload::{self, Revision, Workload};
use crate::paths::ready::Ready;
use crate::paths::remote::api::Answer;
use crate::paths::remote::image::is_version;
use crate::paths::remote::reading::read;
use crate::paths::remote::{Asked, Found, Look, Remote};

/// How often a patch may meet a workload that somebody else changed in the same moment.
const CONFLICTS: u32 = 5;

/// One attempt, with all that it needs.
pub(crate) struct Change<'a> {
    pub(super) settings: &'a Kubernetes,
    pub(super) cluster: Cluster<'a>,
    order: &'a Order,
    /// The version or the revision's number.
    pub(super) target: &'a str,
    conflicts: u32,
}

impl<'a> Change<'a> {
    pub(super) fn new(
        settings: &'a Kubernetes,
        order: &'a Order,
        target: &'a str,
        ready: &Ready,
    ) -> Result<Self, String> {
        let cluster = Cluster::open(settings, ready)?;
        Ok(Self { settings, cluster, order, target, conflicts: 0 })
    }

    /// The workload, for sentences.
    pub(super) fn what(&self) -> String {
        format!("{} {}/{}", self.settings.kind.word(), self.settings.namespace, self.settings.name)
    }

    /// The target, for sentences.
    pub(super) fn target_words(&self) -> String {
        match self.settings.sign {
            Sign::Revision => format!("revision {}", self.target),
            Sign::Image(_) | Sign::Label(_) => self.target.to_owned(),
        }
    }

    /// The workload, or what it means for the change that it was not shown.
    pub(super) async fn read(&mut self) -> Result<Workload, Asked> {
        let answer = self.cluster.workload().await;
        let check = |status| self.cluster.check(status, "get", self.settings.kind.resource());
        let answer = read(answer, check)?;
        workload_of(self.settings, &answer).map_err(Asked::Refused)
    }

    /// Its revisions, likewise.
    pub(super) async fn read_revisions(&mut self, workload: &Workload) -> Result<Vec<Revision>, Asked> {
        let answer = self.cluster.revisions(workload).await;
        let check = |status| self.cluster.check(status, "list", workload.kind.revisions());
        let answer = read(answer, check)?;
        revisions_of(workload, &answer).map_err(Asked::Refused)
    }

    /// What shows the version of a pod template: an image, or a label.
    pub(super) fn shown<'t>(&self, template: &'t serde_json::Value) -> Option<&'t str> {
        match &self.settings.sign {
            Sign::Image(container) => workload::image(template, container.as_deref()),
            Sign::Label(label) => workload::label(template, label),
            Sign::Revision => workload::image(template, None),
        }
    }

    /// Whether a pod template says of itself that it is the target's. A number does not stand in it.
    pub(super) fn names_target(&self, template: &serde_json::Value) -> bool {
        match &self.settings.sign {
            Sign::Image(_) => self.shown(template).is_some_and(|image| is_version(image, self.target)),
            Sign::Label(_) => self.shown(template) == Some(self.target),
            Sign::Revision => false,
        }
    }

    /// Whether a revision is the target's.
    pub(super) fn is_target(&self, revision: &Revision) -> bool {
        match self.settings.sign {
            Sign::Revision => self.target.parse() == Ok(revision.number),
            Sign::Image(_) | Sign::Label(_) => self.names_target(&revision.template),
        }
    }

    /// What an answer other than a success means for a patch. A conflict, or a test of the patch that failed, changed
    /// nothing: where the workload is another by now, it is read again.
    pub(super) async fn refused(&mut self, answer: &Answer, resource: &str, before: &Workload) -> Option<Asked> {
        let conflict = answer.status == StatusCode::CONFLICT;
        if conflict || answer.status == StatusCode::UNPROCESSABLE_ENTITY {
            self.conflicts += 1;
            let now = match self.read().await {
                Ok(now) => now,
                Err(asked) => return Some(asked),
            };
            let pointer = "/metadata/resourceVersion";
            if self.conflicts < CONFLICTS && (conflict || now.text(pointer) != before.text(pointer)) {
                let why = format!("{} was changed by somebody else in the same moment", self.what());
                return Some(Asked::Later(Duration::ZERO, why));
            }
        }
        answer.refusal(&self.cluster.check(answer.status, "patch", resource))
    }

    /// How our changes are told from others'.
    pub(super) fn mark(&self) -> String {
        format!("rollbackd {}: ", self.order.attempt.as_str())
    }

    async fn search(&self) -> Result<Found, String> {
        let answer = self.cluster.workload().await.map_err(|no_answer| no_answer.why())?;
        let workload = workload_of(self.settings, &answer)?;
        match self.settings.by {
            By::Abort => Ok(abort::find(&workload)),
            By::Undo => self.find_undo(&workload).await,
        }
    }

    /// The workload says whose its last change was; once the controller has seen ours, so does its ReplicaSet, even
    /// where somebody changed the workload again since then.
    async fn find_undo(&self, workload: &Workload) -> Result<Found, String> {
        let mark = self.mark();
        if let Some(handle) = undo::handle_in(workload.change_cause(), &mark) {
            return Ok(Found::It(handle));
        }
        let answer = self.cluster.revisions(workload).await.map_err(|no_answer| no_answer.why())?;
        let revisions = revisions_of(workload, &answer)?;
        let causes = revisions.iter().map(|revision| revision.change_cause.as_deref());
        let ours = causes.into_iter().find_map(|cause| undo::handle_in(cause, &mark));
        Ok(ours.map_or(Found::Never, Found::It))
    }

    fn shown_end(&self, handle: &str, workload: &Workload) -> Look {
        match self.settings.by {
            By::Abort => abort::look(self, handle, workload),
            By::Undo if self.is_ours(handle, workload) => progress::look(&self.what(), workload, self.order.started_at),
            By::Undo => {
                let shown = one_line(self.shown(workload.template()).unwrap_or("something else"));
                let why = format!("{} was changed by somebody else meanwhile: it is at {shown} now", self.what());
                Look::Ended(Outcome::Cancelled { why })
            }
        }
    }

    /// Whether the workload still has the images that we gave it, or others of the target's version: a restart or a new
    /// number of pods takes nothing back.
    fn is_ours(&self, handle: &str, workload: &Workload) -> bool {
        workload::fingerprint(workload.template()) == handle || self.names_target(workload.template())
    }
}

impl Remote for Change<'_> {
    const NAME: &'static str = "Kubernetes";
    const WHAT: &'static str = "roll-out";

    fn poll_interval(&self) -> Duration {
        self.settings.poll_interval
    }

    async fn preflight(&mut self) -> Result<(), Asked> {
        match self.settings.by {
            By::Undo => undo::target(self).await.map(drop),
            By::Abort => abort::target(self).await.map(drop),
        }
    }

    async fn ask(&mut self) -> Asked {
        let asked = match self.settings.by {
            By::Undo => undo::ask(self).await,
            By::Abort => abort::ask(self).await,
        };
        asked.unwrap_or_else(|asked| asked)
    }

    async fn find(&mut self) -> Found {
        self.search().await.unwrap_or_else(Found::Unanswered)
    }

    async fn look(&mut self, handle: &str) -> Look {
        // Without an answer, the roll-out goes on all the same: look again.
        let Ok(answer) = self.cluster.workload().await else { return Look::Later(Duration::ZERO) };
        let seen = || {
            let workload = workload_of(self.settings, &answer);
            workload.map_or(Look::Later(Duration::ZERO), |workload| self.shown_end(handle, &workload))
        };
        answer.unseen().unwrap_or_else(seen)
    }
}
