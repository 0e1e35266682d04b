//! One attempt at ECS: the target is found, the service is changed to it once, and ECS says when it runs.
//!
//! Never asks for a change before it has looked where the service goes, and gives nothing up when the time is over: to
//! stop the deployment of the target would bring the bad version back.

use std::time::Duration;

use rollbackd_core::event::Order;
use rollbackd_core::time::Timestamp;

use super::Ecs;
use super::course::{Course, UNDER_WAY, UnderWay, decide, primary};
use super::ecs_api::{EcsApi, Revised, ServiceDeployment, Shown, short};
use super::seen;
use super::target::{self, Target, Wanted};
use crate::paths::aws::NoResult;
use crate::paths::ready::Ready;
use crate::paths::remote::{Asked, Found, Look, Remote};

/// How far AWS' clock and ours may differ, and how long what ECS shows may lag behind what it did.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// How often the looks before the change may stay without an answer; a throttled one counts as none.
const UNANSWERED: u32 = 5;

/// How often the service may have moved on between the look and the change.
const OVERTAKEN: u32 = 3;

/// Before it is looked again after either.
const AGAIN: Duration = Duration::from_secs(1);

/// By what name a target is kept for the attempt after a pre-flight: to find it may take many requests.
const TARGET: &str = "the task definition at ECS";

/// One attempt, with all that it needs.
pub(crate) struct Rollback<'a> {
    settings: &'a Ecs,
    api: EcsApi<'a>,
    order: &'a Order,
    wanted: Wanted<'a>,
    ready: &'a Ready,
    target: Option<Target>,
    unanswered: u32,
    overtaken: u32,
}

/// What the looks before a change, or after a lost one, show.
struct Plan {
    service: Shown,
    target: Target,
    course: Course,
}

impl<'a> Rollback<'a> {
    pub(super) fn new(settings: &'a Ecs, order: &'a Order, wanted: &'a str, ready: &'a Ready) -> Result<Self, String> {
        let wanted = Wanted { by: settings.by, text: wanted, container: settings.container.as_deref() };
        let api = EcsApi::new(settings, ready)?;
        let found = ready.get::<(String, Target)>(TARGET).filter(|(text, _)| text == wanted.text);
        let target = found.map(|(_, target)| target);
        Ok(Self { settings, api, order, wanted, ready, target, unanswered: 0, overtaken: 0 })
    }

    /// Looks where the service goes, and decides. Changes nothing.
    async fn plan(&mut self) -> Result<Plan, NoResult> {
        let service = self.api.service().await?;
        let target = match &self.target {
            Some(target) => target.clone(),
            None => {
                let found = target::find(&self.api, &service, self.wanted).await?;
                self.ready.keep(TARGET, &(self.wanted.text.to_owned(), found.clone()));
                self.target.insert(found).clone()
            }
        };
        let under_way = match self.api.history(UNDER_WAY).await?.into_iter().next() {
            Some(newest) => Some(self.under_way(self.api.service_deployment(&newest.arn).await?).await?),
            None => None,
        };
        let course = decide(&service, under_way.as_ref(), target.name());
        Ok(Plan { service, target, course })
    }

    /// Adds the task definitions that a service deployment names.
    async fn under_way(&self, deployment: ServiceDeployment) -> Result<UnderWay, NoResult> {
        let to = deployment.target_service_revision.as_ref().map(|revised| revised.arn.as_str());
        let rolled_back = deployment.rollback.as_ref().and_then(|rollback| rollback.service_revision_arn.as_deref());
        let back_to = rolled_back.or(match deployment.source_service_revisions.as_slice() {
            [Revised { arn }] => Some(arn.as_str()),
            // Several at once: where ECS goes back to can't be told.
            _ => None,
        });
        let named: Vec<&str> = to.into_iter().chain(back_to).collect();
        let known = self.api.revisions(&named).await?;
        let name = |arn: Option<&str>| known.get(arn?).map(|revision| short(&revision.task_definition).to_owned());
        let (to, back_to) = (name(to), name(back_to));
        Ok(UnderWay { deployment, to, back_to })
    }

    /// What it means that a look before the change has no result: nothing was changed.
    fn no_plan(&mut self, no_result: NoResult) -> Asked {
        match no_result {
            NoResult::Perhaps(why) => {
                self.unanswered += 1;
                if self.unanswered == UNANSWERED { Asked::Refused(why) } else { Asked::Later(AGAIN, why) }
            }
            other @ (NoResult::Refused { .. }
            | NoResult::Later(..)
            | NoResult::NotSent(_)
            | NoResult::NoCredentials(_)
            | NoResult::Ended(_)) => other.asked(&self.check()),
        }
    }

    fn check(&self) -> String {
        let Ecs { cluster, service, .. } = self.settings;
        format!(
            "that the service {service} of the cluster {cluster} is there, and that the credentials may read and change it"
        )
    }

    async fn update(&self, target: &Target) -> Asked {
        match self.api.update(&target.arn).await {
            Ok(service) => match decide(&service, None, target.name()) {
                Course::Follow(id) => Asked::Accepted(handle(&id, target.name())),
                // Where tasks are not replaced one by one, the service deployment shows it.
                Course::Stop(_) | Course::Update => {
                    Asked::Perhaps("the change was accepted without showing its deployment".to_owned())
                }
            },
            Err(no_result) => no_result.asked(&self.check()),
        }
    }

    async fn stop(&mut self, arn: &str, target: &Target) -> Asked {
        match self.api.stop(arn).await {
            Ok(_) => Asked::Accepted(handle(arn, target.name())),
            Err(NoResult::Refused { code, why }) if is_overtaken(&code) && self.overtaken < OVERTAKEN => {
                self.overtaken += 1;
                Asked::Later(AGAIN, why)
            }
            Err(no_result) => no_result.asked(&self.check()),
        }
    }

    async fn search(&mut self) -> Result<Found, NoResult> {
        let Plan { service, target, course } = self.plan().await?;
        if let Course::Follow(id) = course {
            return Ok(Found::It(handle(&id, target.name())));
        }
        let story = self.since_start(target.name()).await?;
        if let Some(ours) = story.to_target {
            return Ok(Found::It(handle(&ours, target.name())));
        }
        let latest = self.order.started_at + CLOCK_DIFFERENCE;
        let created = primary(&service).and_then(|newest| newest.created_at).and_then(Timestamp::from_seconds);
        if story.to_others || created.is_some_and(|created| created > latest) {
            return Ok(Found::Unclear("somebody else has deployed something to the service meanwhile".to_owned()));
        }
        Ok(Found::Never)
    }

    /// What was deployed to the service since the attempt started.
    async fn since_start(&self, target: &str) -> Result<Story, NoResult> {
        let (earliest, latest) = (self.order.started_at - CLOCK_DIFFERENCE, self.order.started_at + CLOCK_DIFFERENCE);
        let mut story = Story::default();
        for brief in self.api.history(&[]).await? {
            let created = brief.created_at.and_then(Timestamp::from_seconds);
            let (Some(created), Some(revision)) = (created, brief.target_service_revision_arn) else { continue };
            if created < earliest {
                break;
            }
            let known = self.api.revisions(&[&revision]).await?;
            if known.get(&revision).is_some_and(|revision| short(&revision.task_definition) == target) {
                story.to_target.get_or_insert(brief.arn);
            } else if created > latest {
                story.to_others = true;
            }
        }
        Ok(story)
    }

    async fn look_at(&self, id: &str, target: &str) -> Result<Look, NoResult> {
        if is_service_deployment(id) {
            let shown = self.under_way(self.api.service_deployment(id).await?).await?;
            return Ok(seen::of_service_deployment(&shown, target));
        }
        let service = self.api.service().await?;
        if let Some(look) = seen::of_deployment(&service, id, target) {
            return Ok(look);
        }
        match self.since_start(target).await?.to_target {
            Some(ours) => {
                let shown = self.under_way(self.api.service_deployment(&ours).await?).await?;
                Ok(seen::of_service_deployment(&shown, target))
            }
            None => Ok(seen::not_the_newest(&service, id, target, self.order.started_at + CLOCK_DIFFERENCE)),
        }
    }
}

/// What was deployed to a service in some time.
#[derive(Default)]
struct Story {
    /// The newest service deployment of the target.
    to_target: Option<String>,
    /// Whether something else was deployed, certainly after the start.
    to_others: bool,
}

/// By what an attempt is found again: the deployment, and the task definition that was found for it.
fn handle(id: &str, target: &str) -> String {
    format!("{id} {target}")
}

fn is_service_deployment(id: &str) -> bool {
    id.starts_with("arn:")
}

/// Whether a service deployment can't be stopped because it is over by now.
fn is_overtaken(code: &str) -> bool {
    matches!(code, "ConflictException" | "ServiceDeploymentNotFoundException")
}

impl Remote for Rollback<'_> {
    const NAME: &'static str = "Amazon ECS";
    const WHAT: &'static str = "deployment";

    fn poll_interval(&self) -> Duration {
        self.settings.aws.poll_interval
    }

    async fn preflight(&mut self) -> Result<(), Asked> {
        let mut plan = self.plan().await;
        if matches!(plan, Err(NoResult::Ended(_))) {
            plan = self.plan().await;
        }
        plan.map(drop).map_err(|no_result| no_result.not_ready(&self.check()))
    }

    async fn ask(&mut self) -> Asked {
        match self.plan().await {
            Ok(Plan { target, course, .. }) => match course {
                Course::Follow(id) => Asked::Accepted(handle(&id, target.name())),
                Course::Stop(arn) => self.stop(&arn, &target).await,
                Course::Update => self.update(&target).await,
            },
            Err(no_result) => self.no_plan(no_result),
        }
    }

    async fn find(&mut self) -> Found {
        self.search().await.unwrap_or_else(NoResult::found)
    }

    async fn look(&mut self, handle: &str) -> Look {
        let Some((id, target)) = handle.split_once(' ') else {
            return Look::Refused("that names no deployment and its task definition".to_owned());
        };
        self.look_at(id, target).await.unwrap_or_else(NoResult::look)
    }
}
