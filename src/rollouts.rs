//! Looks at the Deployments of `sources.kubernetes` once an evaluation interval, and tells the supervisor of deploys.
//!
//! Decides nothing, and changes nothing: it goes on in a dry run as well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt as _;
use rollbackd_core::event::{Event, Happening, Refusal, Reply};
use rollbackd_core::time::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::door::Door;
use crate::metrics::{Metrics, Source};
use crate::sources::InForce;
use crate::sources::kubernetes::{Deployment, Kubernetes, Seen};

/// So many Deployments are looked at at once: an API server serves hundreds of requests, and others need it too.
const AT_ONCE: usize = 8;

/// The looks, and what they showed so far.
pub struct Rollouts {
    door: Door,
    sources: InForce,
    metrics: Arc<Metrics>,
    /// The mark of the revision that was seen last.
    known: BTreeMap<Deployment, String>,
    /// Those that could not be seen: the log tells of changes alone.
    unseen: BTreeSet<Deployment>,
}

impl Rollouts {
    /// Looks as the config in force says.
    #[must_use]
    pub const fn new(door: Door, sources: InForce, metrics: Arc<Metrics>) -> Self {
        Self { door, sources, metrics, known: BTreeMap::new(), unseen: BTreeSet::new() }
    }

    /// Looks until it is stopped. A reload counts from the next look on.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let interval = self.door.shared.config().evaluation_interval;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.look() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
        }
    }

    async fn look(&mut self) {
        let sources = self.sources.get();
        let watched = sources.kubernetes.as_ref().map_or(&[][..], |kubernetes| kubernetes.deployments.as_slice());
        self.known.retain(|deployment, _| watched.contains(deployment));
        self.unseen.retain(|deployment| watched.contains(deployment));
        let Some(kubernetes) = &sources.kubernetes else { return };
        for (deployment, seen) in self.seen(kubernetes).await {
            match seen {
                Ok(seen) => {
                    if self.unseen.remove(&deployment) {
                        tracing::info!(%deployment, service = %deployment.service, "the Deployment is seen again");
                    }
                    self.take(deployment, seen).await;
                }
                Err(why) => self.not_seen(deployment, &why),
            }
        }
    }

    async fn seen(&self, kubernetes: &Kubernetes) -> Vec<(Deployment, Result<Seen, String>)> {
        let looks = kubernetes.deployments.clone().into_iter().map(|deployment| async move {
            let known = self.known.get(&deployment).map(String::as_str);
            let seen = kubernetes.look(&deployment, known).await;
            (deployment, seen)
        });
        futures_util::stream::iter(looks).buffer_unordered(AT_ONCE).collect().await
    }

    fn not_seen(&mut self, deployment: Deployment, why: &str) {
        self.metrics.source_event(Source::Kubernetes, "failed");
        if !self.unseen.contains(&deployment) {
            tracing::warn!(%deployment, service = %deployment.service, why, "a watched Deployment can't be seen");
            self.unseen.insert(deployment);
        }
    }

    /// Tells of a revision. What could not be told is told at the next look.
    async fn take(&mut self, deployment: Deployment, seen: Seen) {
        let Seen::Revision { mark, deploy } = seen else { return };
        let told = match deploy {
            Ok(event) => self.tell(&deployment, *event).await,
            Err(why) => {
                self.metrics.source_event(Source::Kubernetes, "refused");
                tracing::warn!(%deployment, service = %deployment.service, why, "a revision names no version");
                true
            }
        };
        if told {
            self.known.insert(deployment, mark);
        }
    }

    /// Whether nothing more is to be said of the deploy.
    async fn tell(&self, deployment: &Deployment, event: Event) -> bool {
        if self.is_old(&event) {
            self.metrics.source_event(Source::Kubernetes, "ignored");
            return true;
        }
        let (result, again) = match self.door.ask(event).await {
            Ok(Reply::Deploy(_)) => ("deploy", false),
            // Our clock will have caught up.
            Ok(Reply::Refused(Refusal::FromTheFuture { .. })) => ("refused", true),
            Ok(Reply::Refused(_)) => ("refused", false),
            Ok(
                Reply::SameDeploy(_)
                | Reply::NotNews(_)
                | Reply::Done
                | Reply::None
                | Reply::Firing(_)
                | Reply::SameFiring(_)
                | Reply::Rehearsal(_),
            ) => ("known", false),
            // Nothing is begun while the journal can't be written; it will be told again.
            Err(_) => return false,
        };
        self.metrics.source_event(Source::Kubernetes, result);
        tracing::info!(%deployment, service = %deployment.service, result, "a revision came in");
        !again
    }

    /// Whether a deploy is over by now: a version that has served for longer than a watch, or whose service is no more.
    fn is_old(&self, event: &Event) -> bool {
        let Happening::Shown { report } = &event.what else { return false };
        let at: Timestamp = report.at.unwrap_or_else(clock::now);
        let config = self.door.shared.config();
        config.services.get(&event.service).is_none_or(|service| at + service.watch <= clock::now())
    }
}
