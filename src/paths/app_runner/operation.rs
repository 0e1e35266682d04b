//! One attempt at App Runner: the service is updated to the image once, and its operation is followed.
//!
//! Never updates a service while App Runner works on it, which refuses that.
//!
//! Source: AWS' service model `apprunner/2020-05-15` (as in botocore 1.44.8), and "AWS App Runner API Reference".

use std::time::Duration;

use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use rollbackd_core::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::AppRunner;
use crate::http_client::one_line;
use crate::paths::aws::{Aws, NoResult, Service};
use crate::paths::ready::Ready;
use crate::paths::remote::{Asked, Found, Look, Remote};

/// AWS App Runner.
static APP_RUNNER: Service = Service {
    name: "AWS App Runner",
    signing: "apprunner",
    target: "AppRunner",
    content_type: "application/x-amz-json-1.0",
};

/// How far AWS' clock and ours may differ.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// How many operations are listed: a service has one at a time, and each takes minutes.
const LISTED: u32 = 20;

/// How often the looks before the change may stay without an answer; a throttled one counts as none.
const UNANSWERED: u32 = 5;

/// How often an operation may have begun between the look and the change.
const OVERTAKEN: u32 = 3;

/// Before it is looked again after either.
const AGAIN: Duration = Duration::from_secs(1);

/// One attempt, with all that it needs.
pub(crate) struct Operation<'a> {
    settings: &'a AppRunner,
    aws: Aws<'a>,
    order: &'a Order,
    tag: &'a str,
    unanswered: u32,
    overtaken: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    #[serde(default)]
    status: String,
    /// As it is, since an update has to send all of it again.
    #[serde(default)]
    source_configuration: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    id: String,
    #[serde(rename = "Type", default)]
    kind: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    started_at: Option<f64>,
}

impl<'a> Operation<'a> {
    pub(super) fn new(
        settings: &'a AppRunner,
        order: &'a Order,
        tag: &'a str,
        ready: &'a Ready,
    ) -> Result<Self, String> {
        let aws = Aws::new(&APP_RUNNER, &settings.aws, ready)?;
        Ok(Self { settings, aws, order, tag, unanswered: 0, overtaken: 0 })
    }

    async fn service(&self) -> Result<Shown, NoResult> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Described {
            service: Shown,
        }
        let input = json!({"ServiceArn": self.settings.service_arn});
        Ok(self.aws.call::<Described>("DescribeService", &input).await?.service)
    }

    /// The newest operations, the newest first.
    async fn operations(&self) -> Result<Vec<Summary>, NoResult> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Listed {
            #[serde(default)]
            operation_summary_list: Vec<Summary>,
        }
        let input = json!({"ServiceArn": self.settings.service_arn, "MaxResults": LISTED});
        Ok(self.aws.call::<Listed>("ListOperations", &input).await?.operation_summary_list)
    }

    /// What is to be done first of all; nothing is changed before.
    async fn plan(&mut self) -> Result<Asked, NoResult> {
        let service = self.service().await?;
        let image = self.image(&service)?;
        let newest = if is_image(&service, &image) { self.operations().await?.into_iter().next() } else { None };
        match service.status.as_str() {
            "OPERATION_IN_PROGRESS" => Ok(match newest {
                Some(newest) => Asked::Accepted(newest.id),
                None => {
                    let why = "App Runner works on the service, and takes no update meanwhile".to_owned();
                    Asked::Later(self.settings.aws.poll_interval, why)
                }
            }),
            "RUNNING" => match newest.filter(|newest| newest.status == "SUCCEEDED") {
                Some(newest) => Ok(Asked::Accepted(newest.id)),
                None => Ok(self.update(service, &image).await),
            },
            status => Err(not_running(status)),
        }
    }

    /// The image to return to: the service's own, with the wanted tag.
    fn image(&self, service: &Shown) -> Result<String, NoResult> {
        let now = identifier(service).ok_or_else(|| NoResult::Refused {
            code: String::new(),
            why: "the service is built from code, not from an image: only an image has an earlier version".to_owned(),
        })?;
        let named = now.split_once('@').map_or(now, |(named, _)| named);
        let tag_at = named.rfind(':').filter(|colon| named.rfind('/').is_none_or(|slash| slash < *colon));
        Ok(format!("{}:{}", tag_at.and_then(|at| named.get(..at)).unwrap_or(named), self.tag))
    }

    async fn update(&mut self, service: Shown, image: &str) -> Asked {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Updated {
            operation_id: String,
        }
        let mut source = service.source_configuration;
        source["ImageRepository"]["ImageIdentifier"] = json!(image);
        // Otherwise the next push deploys over the rollback.
        source["AutoDeploymentsEnabled"] = json!(false);
        let input = json!({"ServiceArn": self.settings.service_arn, "SourceConfiguration": source});
        match self.aws.call::<Updated>("UpdateService", &input).await {
            Ok(updated) => Asked::Accepted(updated.operation_id),
            Err(NoResult::Refused { code, why }) if code == "InvalidStateException" && self.overtaken < OVERTAKEN => {
                self.overtaken += 1;
                Asked::Later(AGAIN, why)
            }
            Err(no_result) => no_result.asked(&self.check()),
        }
    }

    fn check(&self) -> String {
        let arn = &self.settings.service_arn;
        format!("that {arn} and its image {} are there, and that the credentials may update it", self.tag)
    }

    async fn search(&self) -> Result<Found, NoResult> {
        let service = self.service().await?;
        let at_target = is_image(&service, &self.image(&service)?);
        let earliest = self.order.started_at - CLOCK_DIFFERENCE;
        let is_since =
            |each: &Summary| each.started_at.and_then(Timestamp::from_seconds).is_some_and(|at| at >= earliest);
        let operations = self.operations().await?;
        let update = operations.into_iter().find(|each| each.kind == "UPDATE_SERVICE" && is_since(each));
        Ok(match update {
            Some(update) if at_target => Found::It(update.id),
            Some(update) => Found::Unclear(format!(
                "App Runner shows another image after the operation {}: it was rolled back, or somebody else's",
                one_line(&update.id)
            )),
            None => Found::Never,
        })
    }

    async fn look_at(&self, id: &str) -> Result<Look, NoResult> {
        let Some(found) = self.operations().await?.into_iter().find(|each| each.id == id) else {
            return Ok(Look::Refused("App Runner does not list it".to_owned()));
        };
        let ended = |why: String| Look::Ended(Outcome::Failed { why, output: String::new() });
        Ok(match found.status.as_str() {
            "SUCCEEDED" => {
                let service = self.service().await?;
                reached(id, &self.image(&service)?, &service)
            }
            "FAILED" => ended(format!("the operation {id} failed at App Runner")),
            "ROLLBACK_SUCCEEDED" => {
                ended(format!("App Runner rolled the operation {id} back: the image did not start"))
            }
            "ROLLBACK_FAILED" => ended(format!("App Runner could not roll the operation {id} back")),
            // `PENDING`, `IN_PROGRESS`, `ROLLBACK_IN_PROGRESS`, and whatever else is not the end.
            _ => Look::Runs,
        })
    }
}

fn not_running(status: &str) -> NoResult {
    let why = format!("the service is {} at App Runner, not RUNNING", one_line(status));
    NoResult::Refused { code: String::new(), why }
}

/// Whether it takes an update now or a while later.
fn is_up(service: &Shown) -> Result<(), NoResult> {
    match service.status.as_str() {
        "RUNNING" | "OPERATION_IN_PROGRESS" => Ok(()),
        status => Err(not_running(status)),
    }
}

fn identifier(service: &Shown) -> Option<&str> {
    service.source_configuration.pointer("/ImageRepository/ImageIdentifier").and_then(Value::as_str)
}

fn is_image(service: &Shown, image: &str) -> bool {
    identifier(service) == Some(image)
}

/// An operation that succeeded: whether the service has the image still.
fn reached(id: &str, image: &str, service: &Shown) -> Look {
    Look::Ended(if is_image(service, image) {
        Outcome::Succeeded { receipt: Some(id.to_owned()), output: format!("the service runs {image}") }
    } else {
        Outcome::Cancelled { why: format!("the operation {id} succeeded, and somebody changed the image since then") }
    })
}

impl Remote for Operation<'_> {
    const NAME: &'static str = "AWS App Runner";
    const WHAT: &'static str = "operation";

    fn poll_interval(&self) -> Duration {
        self.settings.aws.poll_interval
    }

    async fn preflight(&mut self) -> Result<(), Asked> {
        let mut service = self.service().await;
        if matches!(service, Err(NoResult::Ended(_))) {
            service = self.service().await;
        }
        let found = match service {
            Ok(service) => self.image(&service).and_then(|_| is_up(&service)),
            Err(no_result) => Err(no_result),
        };
        found.map_err(|no_result| no_result.not_ready(&self.check()))
    }

    async fn ask(&mut self) -> Asked {
        match self.plan().await {
            Ok(asked) => asked,
            // It may not have been carried out; a look changes nothing.
            Err(NoResult::Perhaps(why)) => {
                self.unanswered += 1;
                if self.unanswered == UNANSWERED { Asked::Refused(why) } else { Asked::Later(AGAIN, why) }
            }
            Err(no_result) => no_result.asked(&self.check()),
        }
    }

    async fn find(&mut self) -> Found {
        self.search().await.unwrap_or_else(NoResult::found)
    }

    async fn look(&mut self, handle: &str) -> Look {
        self.look_at(handle).await.unwrap_or_else(NoResult::look)
    }
}
