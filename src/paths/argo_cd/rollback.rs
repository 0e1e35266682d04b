//! One attempt at Argo CD: the deployment of the history, automated sync out of the way, one rollback, its operation.
//!
//! Never takes another's operation for its own: a rollback names the revision and the sources that it goes back to.
//!
//! Source: Argo CD, `assets/swagger.json` (ApplicationService Get, GetManifests, Patch, Rollback, TerminateOperation),
//! `server/application/application.go`, `util/argo/argo.go` (SetAppOperation), `controller/appcontroller.go`.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use rollbackd_core::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ArgoCd;
use super::application::{Application, Content, Deployment, OperationState, manifests_name};
use crate::http_client::{Pem, one_line};
use crate::paths::ready::Ready;
use crate::paths::remote::api::{Answer, Api, NoAnswer};
use crate::paths::remote::reading::read;
use crate::paths::remote::{Asked, Cancelled, Found, Look, Remote};

/// How far Argo CD's clock and ours may differ: operations that began this long before the attempt are looked at too.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// Of how many deployments the manifests are rendered to find the version in them: as many as Argo CD keeps by default.
const RENDERED: usize = 10;

/// How often automated sync is asked to be turned off: an Application that is made from elsewhere gets it back.
const TURN_OFFS: u32 = 3;

/// What a phase says of an operation that somebody ended (`controller/appcontroller.go`).
const TERMINATED: &str = "terminated";

/// One attempt, with all that it needs.
pub(crate) struct Rollback<'a> {
    settings: &'a ArgoCd,
    api: Api,
    order: &'a Order,
    version: &'a str,
    turn_offs: u32,
    /// How automated sync was configured before it was turned off.
    turned_off: Option<String>,
}

/// By what a rollback is found again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Handle {
    /// The deployment of the history that it goes back to.
    id: u64,
    fingerprint: String,
    /// When the operation began that was there before, which is not it; `-` for none.
    before: String,
    revision: String,
}

#[derive(Deserialize)]
struct Manifests {
    #[serde(default)]
    manifests: Vec<String>,
}

impl Handle {
    fn of(deployment: &Deployment, before: Option<&OperationState>) -> Self {
        let content = &deployment.content;
        let before = before.map_or("-".to_owned(), |state| state.started_at.clone());
        Self { id: deployment.id, fingerprint: content.fingerprint(), before, revision: content.shown() }
    }

    fn write(&self) -> String {
        format!("{} {} {} {}", self.id, self.fingerprint, self.before, self.revision)
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ' ').map(str::to_owned);
        let id = parts.next()?.parse().ok()?;
        Some(Self { id, fingerprint: parts.next()?, before: parts.next()?, revision: parts.next()? })
    }
}

impl<'a> Rollback<'a> {
    pub(super) fn new(settings: &'a ArgoCd, order: &'a Order, version: &'a str, ready: &Ready) -> Result<Self, String> {
        let api = Api::kept("Argo CD", &settings.http, &Pem::default(), ready)?;
        Ok(Self { settings, api, order, version, turn_offs: 0, turned_off: None })
    }

    /// A request about the application, which is told from others of its name by its namespace and project.
    fn request(&self, method: Method, tail: &[&str]) -> RequestBuilder {
        let start = ["api", "v1", "applications", &self.settings.application];
        let segments: Vec<&str> = start.into_iter().chain(tail.iter().copied()).collect();
        self.api.client().request(method, self.settings.url.under(&segments))
    }

    /// What tells the application, as a query or a body has it.
    fn scope(&self) -> Vec<(&'static str, &'a str)> {
        let ArgoCd { app_namespace, project, .. } = self.settings;
        let namespace = app_namespace.as_deref().map(|name| ("appNamespace", name));
        namespace.into_iter().chain(project.as_deref().map(|name| ("project", name))).collect()
    }

    fn body(&self, mut body: Value) -> Value {
        body["name"] = json!(self.settings.application);
        for (key, value) in self.scope() {
            body[key] = json!(value);
        }
        body
    }

    async fn get(&self) -> Result<Answer, NoAnswer> {
        self.api.send(self.request(Method::GET, &[]).query(&self.scope())).await
    }

    /// The application, and the deployment of its history to go back to.
    async fn target(&self) -> Result<(Application, Deployment), Asked> {
        let answer = self.get().await;
        let check = |status| check(self.settings, status, "get");
        let application: Application = read(answer, check)?.json().map_err(Asked::Refused)?;
        if application.is_deleting() {
            return Err(Asked::Refused(format!("the application {} is being deleted", self.settings.application)));
        }
        let target = self.choose(&application).await.map_err(Asked::Refused)?;
        Ok((application, target))
    }

    async fn begin(&mut self) -> Result<Asked, Asked> {
        let (application, target) = self.target().await?;
        self.turn_off(&application).await?;
        if let Some(operation) = &application.operation {
            let why = format!("a sync to {} is in progress", one_line(&operation.shown()));
            return Err(Asked::Later(self.settings.poll_interval, why));
        }
        let handle = Handle::of(&target, application.status.operation_state.as_ref());
        let body = self.body(json!({"id": target.id, "dryRun": false, "prune": self.settings.prune}));
        match self.api.send(self.request(Method::POST, &["rollback"]).json(&body)).await {
            Ok(answer) => Ok(self.judge(&answer, &handle)),
            Err(no_answer) => Ok(no_answer.asked()),
        }
    }

    fn judge(&self, answer: &Answer, handle: &Handle) -> Asked {
        let message = answer.message();
        // A precondition that failed: nothing was changed.
        if answer.status == StatusCode::BAD_REQUEST && message.contains("auto-sync is enabled") {
            return self.waits();
        }
        if answer.status == StatusCode::BAD_REQUEST && message.contains("another operation is already in progress") {
            return Asked::Later(self.settings.poll_interval, message);
        }
        answer.refusal(&check(self.settings, answer.status, "sync")).unwrap_or_else(|| Asked::Accepted(handle.write()))
    }

    fn waits(&self) -> Asked {
        let what =
            "has automated sync on, and Argo CD rolls none back that has: turn it off, or sync the revert from git";
        Asked::Waits(format!("the application {} {what}", self.settings.application))
    }

    /// Turns automated sync off, where it is on and the config lets us. Sent again only where the application shows that
    /// it is still on, and it is the same whoever turned it off.
    async fn turn_off(&mut self, application: &Application) -> Result<(), Asked> {
        let Some(automated) = application.auto_sync() else { return Ok(()) };
        if !self.settings.disable_auto_sync {
            return Err(self.waits());
        }
        if self.turn_offs == TURN_OFFS {
            return Err(self.waits());
        }
        self.turn_offs += 1;
        let patch = json!({"spec": {"syncPolicy": {"automated": null}}}).to_string();
        let body = self.body(json!({"patch": patch, "patchType": "merge"}));
        let answer = self.api.send(self.request(Method::PATCH, &[]).json(&body)).await;
        let check = |status| check(self.settings, status, "update");
        let after: Application = read(answer, check)?.json().map_err(Asked::Refused)?;
        self.turned_off = Some(automated.to_string());
        if after.auto_sync().is_some() {
            return Err(Asked::Later(self.settings.poll_interval, "automated sync is still on".to_owned()));
        }
        Ok(())
    }

    /// The newest deployment that is of the target's version: by what it was synced with, or by the images in the
    /// manifests of its revision.
    async fn choose(&self, application: &Application) -> Result<Deployment, String> {
        let newest_first = || application.status.history.iter().rev();
        if let Some(found) = newest_first().find(|each| each.content.names(self.version)) {
            return Ok(found.clone());
        }
        let mut unread = String::new();
        for deployment in newest_first().take(RENDERED) {
            match self.manifests(&deployment.content).await {
                Ok(manifests) if manifests_name(&manifests, self.version) => return Ok(deployment.clone()),
                Ok(_) => {}
                Err(why) => unread = format!("; the manifests of {} could not be read: {why}", deployment.id),
            }
        }
        let there: Vec<String> = newest_first().map(|each| format!("{} ({})", each.id, each.content.shown())).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        let (name, version) = (&self.settings.application, self.version);
        let why = format!("no deployment in the history of {name} is {version}; there are: {there}{unread}");
        Err(one_line(&why))
    }

    /// The manifests of a deployment, rendered by Argo CD.
    async fn manifests(&self, content: &Content) -> Result<Vec<String>, String> {
        let mut query: Vec<(&str, String)> =
            self.scope().into_iter().map(|(key, value)| (key, value.to_owned())).collect();
        for (index, revision) in content.revisions().into_iter().enumerate() {
            if content.is_of_many() {
                query.push(("revisions", revision.to_owned()));
                query.push(("sourcePositions", (index + 1).to_string()));
            } else {
                query.push(("revision", revision.to_owned()));
            }
        }
        let request = self.request(Method::GET, &["manifests"]).query(&query);
        let answer = self.api.send(request).await.map_err(NoAnswer::why)?;
        answer.json::<Manifests>().map(|found| found.manifests)
    }

    async fn application(&self) -> Result<Application, String> {
        self.get().await.map_err(NoAnswer::why)?.json()
    }

    /// Our operation, running or over, or a deployment that it left in the history.
    async fn search(&self) -> Result<Found, String> {
        let application = self.application().await?;
        let target = match self.choose(&application).await {
            Ok(target) => target,
            Err(why) => return Ok(Found::Unclear(why)),
        };
        let since: Timestamp = self.order.started_at - CLOCK_DIFFERENCE;
        let fingerprint = target.content.fingerprint();
        let runs = application.operation.as_ref().is_some_and(|operation| operation.fingerprint() == fingerprint);
        let state = application.status.operation_state.as_ref();
        let ended = state.is_some_and(|state| state.is_since(since) && state.operation.fingerprint() == fingerprint);
        let mut history = application.status.history.iter();
        let was = history.any(|each| each.is_since(since) && each.content.fingerprint() == fingerprint);
        let found = runs || ended || was;
        Ok(if found { Found::It(Handle::of(&target, None).write()) } else { Found::Never })
    }

    fn shown(&self, handle: &Handle, application: &Application) -> Look {
        if let Some(operation) = &application.operation {
            let is_ours = operation.fingerprint() == handle.fingerprint;
            return if is_ours { Look::Runs } else { self.superseded(&operation.shown()) };
        }
        match &application.status.operation_state {
            // Not begun, or an answer from before.
            None => Look::Runs,
            Some(state) if state.started_at == handle.before => Look::Runs,
            Some(state) if state.operation.fingerprint() != handle.fingerprint => {
                self.superseded(&state.operation.shown())
            }
            Some(state) => self.ended(handle, state, application),
        }
    }

    fn superseded(&self, to: &str) -> Look {
        let name = &self.settings.application;
        let why = one_line(&format!("another sync of {name}, to {to}, came after the rollback"));
        Look::Ended(Outcome::Cancelled { why })
    }

    fn ended(&self, handle: &Handle, state: &OperationState, application: &Application) -> Look {
        let name = &self.settings.application;
        let message = one_line(&state.message);
        match state.phase.as_str() {
            "Succeeded" => self.healthy(handle, state, application),
            "Failed" | "Error" if message.contains(TERMINATED) => Look::Ended(Outcome::Cancelled {
                why: format!("the rollback of {name} was ended at Argo CD: {message}"),
            }),
            phase @ ("Failed" | "Error") => {
                let why = format!("the rollback of {name} to {} ended as {phase}: {message}", handle.id);
                Look::Ended(Outcome::Failed { why, output: message })
            }
            // `Running`, `Terminating`, and whatever else is not the end.
            _ => Look::Runs,
        }
    }

    /// The sync is over; the platform is done when what it changed is healthy. Health from before the sync's end says
    /// nothing about it.
    fn healthy(&self, handle: &Handle, state: &OperationState, application: &Application) -> Look {
        let status = &application.status;
        let time = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<Timestamp>().ok());
        if time(&status.reconciled_at).zip(time(&state.finished_at)).is_some_and(|(seen, end)| seen < end) {
            return Look::Runs;
        }
        let name = &self.settings.application;
        match status.health.status.as_str() {
            "Healthy" => Look::Ended(self.done(handle, application)),
            "Suspended" => {
                let message = one_line(&status.health.message);
                Look::Waits(format!("the application {name} is suspended: something in it is paused ({message})"))
            }
            // `Progressing`; `Degraded`, which may yet be the pods of the bad version; `Missing`, `Unknown`.
            _ => Look::Runs,
        }
    }

    fn done(&self, handle: &Handle, application: &Application) -> Outcome {
        let mut history = application.status.history.iter().rev();
        let entry = history.find(|each| each.content.fingerprint() == handle.fingerprint);
        let id = entry.map_or(handle.id, |entry| entry.id);
        let receipt = one_line(&format!("{} history {id}, revision {}", self.settings.application, handle.revision));
        let off = self.turned_off.as_ref().map(|was| format!("automated sync was turned off, it was {was}"));
        Outcome::Succeeded { receipt: Some(receipt), output: off.unwrap_or_default() }
    }
}

impl Remote for Rollback<'_> {
    const NAME: &'static str = "Argo CD";
    const WHAT: &'static str = "rollback";

    fn poll_interval(&self) -> Duration {
        self.settings.poll_interval
    }

    async fn preflight(&mut self) -> Result<(), Asked> {
        let (application, _) = self.target().await?;
        let stays_on = application.auto_sync().is_some() && !self.settings.disable_auto_sync;
        if stays_on { Err(self.waits()) } else { Ok(()) }
    }

    async fn ask(&mut self) -> Asked {
        self.begin().await.unwrap_or_else(|asked| asked)
    }

    async fn find(&mut self) -> Found {
        self.search().await.unwrap_or_else(Found::Unanswered)
    }

    async fn look(&mut self, handle: &str) -> Look {
        let Some(handle) = Handle::read(handle) else { return Look::Refused("that is no rollback".to_owned()) };
        // Without an answer, the operation goes on all the same: look again.
        let Ok(answer) = self.get().await else { return Look::Later(Duration::ZERO) };
        let seen = || answer.json().map_or(Look::Later(Duration::ZERO), |shown| self.shown(&handle, &shown));
        answer.unseen().unwrap_or_else(seen)
    }

    async fn cancel(&mut self, handle: &str) -> Cancelled {
        let Some(handle) = Handle::read(handle) else { return Cancelled::Impossible };
        let Ok(application) = self.application().await else { return Cancelled::NotTaken };
        // What runs may be another's by now, and what is synced already can't be given up.
        if application.operation.is_none_or(|operation| operation.fingerprint() != handle.fingerprint) {
            return Cancelled::Impossible;
        }
        let request = self.request(Method::DELETE, &["operation"]).query(&self.scope());
        let taken = self.api.send(request).await.is_ok_and(|answer| answer.status.is_success());
        if taken { Cancelled::Taken } else { Cancelled::NotTaken }
    }
}

/// What somebody should look at when a request was refused; `action` as in a policy of Argo CD.
fn check(settings: &ArgoCd, status: StatusCode, action: &str) -> String {
    let ArgoCd { application, http, .. } = settings;
    let file = http.bearer_token_file.as_deref().unwrap_or_else(|| "".as_ref()).display();
    match status {
        StatusCode::UNAUTHORIZED => format!("that the token in {file} is valid and has not expired"),
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            format!("that the application {application} exists and the token in {file} may {action} it")
        }
        _ => format!("the application {application}"),
    }
}
