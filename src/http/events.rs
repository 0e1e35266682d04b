//! The routes that bring an event: a body is read into one, the supervisor decides, its reply is the answer.
//!
//! Never brings a command, query or URL to call (design, R14): names of the config's and the ledger's, and words for
//! people.

use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use rollbackd_core::deploy::Migration;
use rollbackd_core::event::{DeployReport, Event, Happening, Reply};
use rollbackd_core::name::{Commit, DeployId, FiringId, PathName, ServiceName, TriggerName, Version};
use rollbackd_core::receipt::text::line;
use rollbackd_core::time::{Timestamp, parse_duration};
use serde_json::Value;

use super::Api;
use super::body::{Fields, human_text, wrong_type};
use super::problem::Problem;
use super::reply::{answer, ask};
use super::views::{known_firing, known_service};
use crate::link;

type Answer = Result<Response, Problem>;

/// A UUID has 36 characters; a key that needs more than this is no key.
const LONGEST_KEY_BYTES: usize = 128;
/// A freeze for longer than this is a change of the config.
const LONGEST_FREEZE: Duration = Duration::from_secs(366 * 24 * 3600);

/// A name, or a few; it stands on one line of the receipt.
const LONGEST_WITNESS: usize = 120;

const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// `POST /v1/deploys`.
pub(super) async fn deployed(State(api): State<Api>, request: Request) -> Answer {
    let known = ["service", "version", "previous_version", "commit", "migration", "run_url", "at"];
    let key = idempotency_key(request.headers())?;
    let mut fields = Fields::read(request, &known).await?;
    let service = fields.required("service", ServiceName::new)?;
    let report = DeployReport {
        version: fields.required("version", Version::new)?,
        previous: fields.optional("previous_version", Version::new)?,
        commit: fields.optional("commit", Commit::new)?,
        migration: migration(fields.take("migration"))?,
        run_url: fields.optional("run_url", |text| link::checked(&text))?,
        at: fields.optional("at", Timestamp::try_from)?,
        key,
    };
    let event = Event { service: service.clone(), what: Happening::Deployed(report.clone()) };
    let reply = ask(&api.door, event).await?;
    if let Reply::SameDeploy(id) = &reply {
        key_is_of_this_deploy(&api, &service, &report, id)?;
    }
    answer(reply)
}

/// A key that was used for another version: a pipeline that always sends the same one would never be watched again,
/// and must hear of it.
fn key_is_of_this_deploy(api: &Api, service: &ServiceName, sent: &DeployReport, id: &DeployId) -> Result<(), Problem> {
    let state = api.door.shared.state();
    let own = state.service(service);
    let of_other = |deploy: &rollbackd_core::deploy::Deploy| deploy.key == sent.key && deploy.version != sent.version;
    match own.ledger.entry(id).map(|entry| &entry.deploy) {
        Some(deploy) if sent.key.is_some() && of_other(deploy) => {
            let (used, version) = (&deploy.version, &sent.version);
            let detail = format!(
                "this key was used for the deploy of {used}, so {version} is not recorded: send a key of its own with each deploy"
            );
            Err(Problem::field(IDEMPOTENCY_KEY, detail))
        }
        Some(_) | None => Ok(()),
    }
}

/// `POST /v1/reports`.
pub(super) async fn reported(State(api): State<Api>, request: Request) -> Answer {
    let mut fields = Fields::read(request, &["service", "trigger", "note"]).await?;
    let service = fields.required("service", ServiceName::new)?;
    let trigger = fields.required("trigger", TriggerName::new)?;
    let note = fields.optional("note", human_text)?;
    answer(
        ask(&api.door, Event { service, what: Happening::Reported { trigger, note, about: Default::default() } })
            .await?,
    )
}

/// `POST /v1/firings/ID/approve`.
pub(super) async fn approved(State(api): State<Api>, Path(id): Path<String>, request: Request) -> Answer {
    Fields::read(request, &[]).await?;
    about_firing(&api, &id, |firing| Happening::Approved { firing }).await
}

/// `POST /v1/firings/ID/dismiss`.
pub(super) async fn dismissed(State(api): State<Api>, Path(id): Path<String>, request: Request) -> Answer {
    let why = Fields::read(request, &["why"]).await?.required("why", human_text)?;
    about_firing(&api, &id, |firing| Happening::Dismissed { firing, why }).await
}

/// `POST /v1/firings/ID/ack`.
pub(super) async fn acknowledged(State(api): State<Api>, Path(id): Path<String>, request: Request) -> Answer {
    Fields::read(request, &[]).await?;
    about_firing(&api, &id, |firing| Happening::Acknowledged { firing }).await
}

async fn about_firing(api: &Api, asked: &str, what: impl FnOnce(FiringId) -> Happening) -> Answer {
    let (service, firing) = known_firing(&api.door.shared.state(), asked)?;
    answer(ask(&api.door, Event { service, what: what(firing) }).await?)
}

/// `POST /v1/services/NAME/rollback`.
pub(super) async fn rollback_asked(State(api): State<Api>, Path(name): Path<String>, request: Request) -> Answer {
    let mut fields = Fields::read(request, &["path", "to"]).await?;
    let path = fields.optional("path", PathName::new)?;
    let to = fields.optional("to", Version::new)?;
    about_service(&api, &name, Happening::RollbackAsked { path, to }).await
}

/// `POST /v1/services/NAME/rehearse`.
pub(super) async fn rehearsal_asked(State(api): State<Api>, Path(name): Path<String>, request: Request) -> Answer {
    let mut fields = Fields::read(request, &["bad", "witness"]).await?;
    let bad = fields.required("bad", Version::new)?;
    let witness = fields.optional("witness", witness)?;
    about_service(&api, &name, Happening::RehearsalAsked { bad, witness }).await
}

/// `POST /v1/services/NAME/rehearsal/stop`.
pub(super) async fn rehearsal_stop_asked(State(api): State<Api>, Path(name): Path<String>, request: Request) -> Answer {
    Fields::read(request, &[]).await?;
    about_service(&api, &name, Happening::RehearsalStopAsked).await
}

/// `POST /v1/services/NAME/freeze`.
pub(super) async fn frozen(State(api): State<Api>, Path(name): Path<String>, request: Request) -> Answer {
    let mut fields = Fields::read(request, &["for", "why"]).await?;
    let duration = fields.required("for", freeze_duration)?;
    let why = fields.required("why", human_text)?;
    about_service(&api, &name, Happening::Frozen { duration, why }).await
}

/// `POST /v1/services/NAME/thaw`.
pub(super) async fn thawed(State(api): State<Api>, Path(name): Path<String>, request: Request) -> Answer {
    Fields::read(request, &[]).await?;
    about_service(&api, &name, Happening::Thawed).await
}

async fn about_service(api: &Api, asked: &str, what: Happening) -> Answer {
    let service = known_service(&api.door.shared.config(), asked)?;
    answer(ask(&api.door, Event { service, what }).await?)
}

fn migration(value: Option<Value>) -> Result<Migration, Problem> {
    match value {
        None | Some(Value::Bool(false)) => Ok(Migration::None),
        Some(Value::Bool(true)) => Ok(Migration::Breaking),
        Some(Value::String(text)) if text == "compatible" => Ok(Migration::Compatible),
        Some(other) => Err(wrong_type("migration", "false, true or \"compatible\"", &other)),
    }
}

/// A name on one line, as it will stand in the receipt.
fn witness(text: String) -> Result<String, String> {
    let name = line(&text, LONGEST_WITNESS);
    if name.trim().is_empty() || name != text {
        return Err(format!("expected a name of at most {LONGEST_WITNESS} characters on one line"));
    }
    Ok(name)
}

fn freeze_duration(text: String) -> Result<Duration, String> {
    let duration = parse_duration(&text)?;
    if duration.is_zero() || duration > LONGEST_FREEZE {
        return Err(format!("expected a duration of more than 0s and at most 366d, not {text:?}"));
    }
    Ok(duration)
}

/// The event's own identity, with or without the quotes that a structured header has.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let sent: Vec<&HeaderValue> = headers.get_all(IDEMPOTENCY_KEY).iter().collect();
    let value = match sent.as_slice() {
        [] => return Ok(None),
        [value] => value.to_str().unwrap_or_default(),
        _ => return Err(Problem::field(IDEMPOTENCY_KEY, "expected one key, not several")),
    };
    let key = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    let allowed = |each: char| each.is_ascii_alphanumeric() || "-_.:/+=@".contains(each);
    if key.is_empty() || key.len() > LONGEST_KEY_BYTES || !key.chars().all(allowed) {
        let detail = format!("expected 1 to {LONGEST_KEY_BYTES} of A-Z a-z 0-9 - _ . : / + = @");
        return Err(Problem::field(IDEMPOTENCY_KEY, detail));
    }
    Ok(Some(key.to_owned()))
}
