//! One attempt at Cloud Run: the revision is found, the traffic changed once, and followed until the service shows it.
//!
//! Never changes the traffic of a service that somebody else changed since it was first read.
//!
//! Source: Google's discovery document `run.v2`, revision 20261031 (`projects.locations.services.get` and `.patch`,
//! `.revisions.get` and `.list`, `projects.locations.operations.get`); RFC 9110 on 409 and 412.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode, Url};
use rollbackd_core::event::Order;
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::access::Tokens;
use super::resources::{Operation, Revision, Revisions, Service};
use super::{By, CloudRun};
use crate::http_client::Pem;
use crate::paths::ready::Ready;
use crate::paths::remote::api::{Answer, Api, NoAnswer};
use crate::paths::remote::reading::{read, seen};
use crate::paths::remote::{Asked, Found, Look, Remote};

/// How far Google's clock and ours may differ: a service that changed this shortly before the attempt may have been
/// changed by it.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// How often the change is asked for where the service is said to have changed but nobody changed it.
const CONFLICTS: u32 = 3;

/// Between two such tries.
const CONFLICT_WAIT: Duration = Duration::from_secs(1);

/// How many revisions come in one answer: the most that Google gives.
const PAGE_SIZE: &str = "100";

/// How many such answers are read: a service has 1,000 revisions at most.
const PAGES: usize = 10;

/// One attempt, with all that it needs.
pub(crate) struct Traffic<'a> {
    settings: &'a CloudRun,
    api: Api,
    tokens: Tokens<'a>,
    order: &'a Order,
    /// The revision's name or image.
    wanted: &'a str,
    /// The revision, once found.
    revision: Option<String>,
    /// Which generation of the service the change was asked of.
    generation: Option<String>,
    conflicts: u32,
}

impl<'a> Traffic<'a> {
    pub(super) fn new(
        settings: &'a CloudRun,
        order: &'a Order,
        wanted: &'a str,
        ready: &'a Ready,
    ) -> Result<Self, String> {
        let api = Api::kept("Cloud Run", &settings.http, &Pem::default(), ready)?;
        let tokens = Tokens::new(&settings.access, &settings.http, ready)?;
        Ok(Self { settings, api, tokens, order, wanted, revision: None, generation: None, conflicts: 0 })
    }

    /// A part of the region's API. Whatever stands in a segment is one segment: its slashes are escaped.
    fn url(&self, tail: &[&str]) -> Url {
        let CloudRun { url, project, region, .. } = self.settings;
        let segments = ["v2", "projects", project, "locations", region];
        let segments: Vec<&str> = segments.into_iter().chain(tail.iter().copied()).collect();
        url.under(&segments)
    }

    fn service_url(&self, tail: &[&str]) -> Url {
        let segments: Vec<&str> =
            ["services", &self.settings.service].into_iter().chain(tail.iter().copied()).collect();
        self.url(&segments)
    }

    async fn send(&mut self, request: RequestBuilder) -> Result<Answer, NoAnswer> {
        let request = match self.tokens.token().await? {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        };
        self.api.send(request).await
    }

    /// Reads something before the change is asked for.
    async fn read<T: DeserializeOwned>(&mut self, url: Url) -> Result<T, Asked> {
        let request = self.api.client().get(url);
        let answer = self.send(request).await;
        read(answer, |status| self.check(status))?.json().map_err(Asked::NotSent)
    }

    /// What somebody should check whose request was refused like this.
    fn check(&self, status: StatusCode) -> String {
        let CloudRun { project, region, service, .. } = self.settings;
        match status {
            StatusCode::UNAUTHORIZED => "that the token or key is one of Google Cloud's and has not expired".to_owned(),
            StatusCode::FORBIDDEN => {
                format!("that the account has roles/run.developer on {service}, and may act as its service account")
            }
            StatusCode::NOT_FOUND => format!("that {service} exists in {region} of {project}"),
            _ => format!("{service} in the console"),
        }
    }

    /// The name of the revision to return to, which is ready.
    async fn revision(&mut self) -> Result<String, Asked> {
        if let Some(known) = &self.revision {
            return Ok(known.clone());
        }
        let found = match self.settings.by {
            By::Revision => self.named().await?,
            By::Image => self.newest_with_image().await?,
        };
        Ok(self.revision.insert(found).clone())
    }

    async fn named(&mut self) -> Result<String, Asked> {
        let url = self.service_url(&["revisions", self.wanted]);
        let revision: Revision = self.read(url).await?;
        let refuse = |why| Asked::Refused(format!("revision {} can't get the traffic: {why}", self.wanted));
        revision.obstacle().map_or_else(|| Ok(revision.id().to_owned()), |why| Err(refuse(why)))
    }

    /// The one that was made last, of those with the image that are ready: it is the one that served.
    async fn newest_with_image(&mut self) -> Result<String, Asked> {
        let mut newest: Option<Revision> = None;
        let mut page = String::new();
        for _ in 0..PAGES {
            let mut url = self.service_url(&["revisions"]);
            url.query_pairs_mut().append_pair("pageSize", PAGE_SIZE);
            if !page.is_empty() {
                url.query_pairs_mut().append_pair("pageToken", &page);
            }
            let answer: Revisions = self.read(url).await?;
            let usable =
                answer.revisions.into_iter().filter(|each| each.runs(self.wanted) && each.obstacle().is_none());
            newest = newest.into_iter().chain(usable).max_by_key(Revision::created);
            page = answer.next_page_token;
            if page.is_empty() {
                break;
            }
        }
        newest.map(|found| found.id().to_owned()).ok_or_else(|| {
            let service = &self.settings.service;
            Asked::Refused(format!("{service} has no revision that is ready and whose image is {}", self.wanted))
        })
    }

    async fn change(&mut self) -> Result<Asked, Asked> {
        let revision = self.revision().await?;
        let service: Service = self.read(self.service_url(&[])).await?;
        if service.wants(&revision) {
            return Ok(Asked::Accepted(revision));
        }
        if self.generation.as_ref().is_some_and(|before| *before != service.generation) {
            return Err(Asked::Refused(self.changed(&service)));
        }
        self.generation = Some(service.generation.clone());
        let mut url = self.service_url(&[]);
        url.query_pairs_mut().append_pair("updateMask", "traffic");
        let body = json!({"etag": service.etag, "traffic": service.all_to(&revision)});
        let request = self.api.client().patch(url).json(&body);
        Ok(match self.send(request).await {
            Ok(answer) => self.judge(&answer, revision),
            Err(no_answer) => no_answer.asked(),
        })
    }

    fn judge(&mut self, answer: &Answer, revision: String) -> Asked {
        let conflicts = matches!(answer.status, StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED);
        if conflicts && self.conflicts + 1 < CONFLICTS {
            self.conflicts += 1;
            return Asked::Later(CONFLICT_WAIT, answer.complaint());
        }
        answer.refusal(&self.check(answer.status)).unwrap_or_else(|| match answer.json::<Operation>() {
            Ok(operation) => Asked::Accepted(format!("{revision}/operations/{}", operation.id())),
            Err(why) => Asked::Perhaps(format!("the change was accepted without telling its operation ({why})")),
        })
    }

    fn changed(&self, service: &Service) -> String {
        let (name, by) = (&self.settings.service, service.changed_by());
        format!("{name} was changed by {by} in the meantime, its traffic goes to {}", service.shown())
    }

    async fn search(&mut self) -> Result<Found, Asked> {
        let service: Service = self.read(self.service_url(&[])).await?;
        let revision = self.revision().await?;
        Ok(match &self.generation {
            _ if service.wants(&revision) => Found::It(revision),
            Some(before) if *before == service.generation => Found::Never,
            Some(_) => Found::Unclear(self.changed(&service)),
            None if service.is_older_than(self.order.started_at - CLOCK_DIFFERENCE) => Found::Never,
            None => Found::Unclear(self.changed(&service)),
        })
    }

    /// What the service says, once the operation is over or can't be told any more.
    async fn settled(&mut self, revision: &str, operation: Option<&Operation>) -> Look {
        let request = self.api.client().get(self.service_url(&[]));
        let failure = operation.and_then(|operation| operation.error.as_ref());
        let service = seen(self.send(request).await);
        service.map_or_else(|look| look, |service: Service| service.look(revision, failure))
    }
}

impl Remote for Traffic<'_> {
    const NAME: &'static str = "Cloud Run";
    const WHAT: &'static str = "traffic to revision";

    fn poll_interval(&self) -> Duration {
        self.settings.poll_interval
    }

    async fn preflight(&mut self) -> Result<(), Asked> {
        self.revision().await?;
        self.read::<Service>(self.service_url(&[])).await.map(drop)
    }

    async fn ask(&mut self) -> Asked {
        self.change().await.unwrap_or_else(|asked| asked)
    }

    async fn find(&mut self) -> Found {
        self.search().await.unwrap_or_else(Asked::unanswered)
    }

    async fn look(&mut self, handle: &str) -> Look {
        let Some((revision, id)) = handle.split_once("/operations/") else { return self.settled(handle, None).await };
        let request = self.api.client().get(self.url(&["operations", id]));
        // Without an answer, the operation goes on all the same: look again.
        let Ok(answer) = self.send(request).await else { return Look::Later(Duration::ZERO) };
        // Operations are forgotten after a while; the service isn't.
        if answer.status == StatusCode::NOT_FOUND {
            return self.settled(revision, None).await;
        }
        if let Some(unseen) = answer.unseen() {
            return unseen;
        }
        match answer.json::<Operation>() {
            Ok(operation) if operation.done => self.settled(revision, Some(&operation)).await,
            Ok(_) => Look::Runs,
            Err(_) => Look::Later(Duration::ZERO),
        }
    }
}
