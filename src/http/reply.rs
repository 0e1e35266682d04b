//! What the supervisor replied, as an HTTP answer.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use rollbackd_core::event::{Event, Refusal, Reply};
use serde_json::json;

use super::problem::{Kind, Problem};
use crate::door::{Door, NotDone};

/// A decision takes milliseconds and an fsync half a second on a bad day; after this, something is the matter.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// Brings an event and waits for the reply; a refusal is a problem.
pub(super) async fn ask(door: &Door, event: Event) -> Result<Reply, Problem> {
    let reply = ask_whatever_it_replies(door, event).await?;
    if let Reply::Refused(refusal) = reply { Err(refusal.into()) } else { Ok(reply) }
}

/// Brings an event and waits for the reply, which may be a refusal.
pub(super) async fn ask_whatever_it_replies(door: &Door, event: Event) -> Result<Reply, Problem> {
    match tokio::time::timeout(REPLY_TIMEOUT, door.ask(event)).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(not_done)) => Err(not_done.into()),
        Err(_) => {
            let detail = format!("no reply within {REPLY_TIMEOUT:?}; it may still be done: look before you ask again");
            Err(Problem::new(Kind::Unavailable, detail))
        }
    }
}

/// A reply that is no refusal, as an answer.
pub(super) fn answer(reply: Reply) -> Result<Response, Problem> {
    let (status, body) = match reply {
        Reply::Deploy(id) => (StatusCode::ACCEPTED, json!({ "deploy": id })),
        Reply::SameDeploy(id) => (StatusCode::OK, json!({ "deploy": id })),
        Reply::Firing(id) => (StatusCode::ACCEPTED, json!({ "firing": id })),
        // What asked this before was told 202, so it is told no other status now.
        Reply::SameFiring(id) => (StatusCode::ACCEPTED, json!({ "firing": id, "known": true })),
        Reply::Rehearsal(id) => (StatusCode::ACCEPTED, json!({ "rehearsal": id })),
        Reply::Done => (StatusCode::OK, json!({})),
        Reply::NotNews(why) => (StatusCode::OK, json!({ "ignored": why.to_string() })),
        Reply::Refused(refusal) => return Err(refusal.into()),
        Reply::None => return Err(Problem::new(Kind::Internal, "what was asked got no reply")),
    };
    Ok((status, Json(body)).into_response())
}

impl From<NotDone> for Problem {
    fn from(not_done: NotDone) -> Self {
        let kind = match not_done {
            NotDone::JournalNotWritable(_) => Kind::JournalNotWritable,
            NotDone::Stopping => Kind::Unavailable,
        };
        Self::new(kind, not_done)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::UnknownService { nearest, .. } => unknown_name("service", detail, nearest),
            Refusal::UnknownTrigger { nearest, .. } => unknown_name("trigger", detail, nearest),
            Refusal::UnknownPath { nearest, .. } => unknown_name("path", detail, nearest),
            Refusal::UnknownVersion { nearest, .. } => unknown_name("to", detail, nearest),
            Refusal::UnknownFiring { nearest, .. } => unknown_name("firing", detail, nearest),
            Refusal::NotReported(_) => Self::field("trigger", detail),
            Refusal::FromTheFuture { .. } => Self::field("at", detail),
            Refusal::Conflict(_) => Self::new(Kind::Conflict, detail),
        }
    }
}

fn unknown_name(field: &str, detail: String, nearest: Vec<String>) -> Problem {
    Problem::new(Kind::UnknownName, detail).about_field(field).did_you_mean(nearest)
}
