//! The routes of webhooks: who sent it is proven, the source translates it, and the supervisor decides, as with any event.
//!
//! Never answers an event that is proven with an error only because it says nothing here: a forge that gets errors stops
//! sending.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rollbackd_core::event::{Event, Refusal, Reply};
use serde_json::{Value, json};

use super::Api;
use super::body;
use super::problem::{Kind, Problem};
use super::reply::ask_whatever_it_replies;
use crate::clock;
use crate::metrics::Source;
use crate::sources::cdevents::Mode;
use crate::sources::{Denied, GitHub, Translated, Untold};

type Answer = Result<Response, Problem>;

/// `POST /v1/events/github`.
pub(super) async fn github(State(api): State<Api>, request: Request) -> Answer {
    let sources = api.sources.get();
    let Some(github) = &sources.github else { return Err(not_configured("github")) };
    let signature = GitHub::signature(request.headers()).map_err(|why| denied(&api, Source::GitHub, &why))?;
    let headers = request.headers().clone();
    let body = body::whole(request).await?;
    github.prove(signature, &body).await.map_err(|why| denied(&api, Source::GitHub, &why))?;
    bring(&api, Source::GitHub, github.translate(&headers, &body)).await
}

/// `POST /v1/events/gitlab`.
pub(super) async fn gitlab(State(api): State<Api>, request: Request) -> Answer {
    let sources = api.sources.get();
    let Some(gitlab) = &sources.gitlab else { return Err(not_configured("gitlab")) };
    let proof = gitlab.proof(request.headers()).map_err(|why| denied(&api, Source::GitLab, &why))?;
    let body = body::whole(request).await?;
    gitlab.prove(proof, &body, clock::now()).await.map_err(|why| denied(&api, Source::GitLab, &why))?;
    bring(&api, Source::GitLab, gitlab.translate(&body)).await
}

/// `POST /v1/events/cdevents`. A CloudEvent has no signature: whoever sends one has a token with the scope `deploy`.
pub(super) async fn cdevents(State(api): State<Api>, request: Request) -> Answer {
    let sources = api.sources.get();
    let Some(cdevents) = &sources.cdevents else { return Err(not_configured("cdevents")) };
    let mode = Mode::of(body::media_type(request.headers()));
    let body = body::whole_of(&Mode::MEDIA_TYPES, request).await?;
    bring(&api, Source::CdEvents, cdevents.translate(mode, &body)).await
}

fn not_configured(source: &str) -> Problem {
    let detail = format!(
        "no events of this kind are taken: configure `sources.{source}`, with what belongs to which service (docs/sources/{source}.md)"
    );
    Problem::new(Kind::NotConfigured, detail)
}

fn denied(api: &Api, source: Source, why: &Denied) -> Problem {
    api.metrics.source_event(source, "denied");
    match why {
        Denied::NotProven(_) => {
            tracing::warn!(source = source.word(), %why, "an event was not believed");
            Problem::new(Kind::NotProven, why)
        }
        Denied::NoSecret(cause) => {
            tracing::error!(source = source.word(), %cause, "an event can't be checked");
            Problem::new(Kind::Unavailable, why)
        }
    }
}

/// Brings what an event means, and says of each part what came of it.
async fn bring(api: &Api, source: Source, translated: Translated) -> Answer {
    let events = match translated {
        Ok(events) => events,
        Err(Untold::Unconcerned(why)) => {
            api.metrics.source_event(source, "ignored");
            tracing::debug!(source = source.word(), why, "an event says nothing here");
            return Ok(Json(json!({ "ignored": why })).into_response());
        }
        Err(Untold::Unusable(why)) => {
            api.metrics.source_event(source, "refused");
            tracing::warn!(source = source.word(), why, "an event can't be used");
            return unusable(source, &body::shortened(&why));
        }
    };
    let (mut results, mut status) = (Vec::new(), StatusCode::OK);
    for event in events {
        let service = event.service.clone();
        let (result, told) = brought(api, event).await?;
        api.metrics.source_event(source, result);
        tracing::info!(source = source.word(), %service, result, told = %told, "an event came in");
        if matches!(result, "deploy" | "report") {
            status = StatusCode::ACCEPTED;
        }
        let mut told = told;
        told["service"] = json!(service);
        results.push(told);
    }
    Ok((status, Json(json!({ "results": results }))).into_response())
}

/// An event that is believed, and can't be used. Its sender is told so by an error, where that does no harm: GitLab stops
/// sending after four of them, and the next event may be one that can be used.
fn unusable(source: Source, why: &str) -> Answer {
    match source {
        Source::GitHub | Source::CdEvents | Source::Kubernetes => Err(Problem::new(Kind::InvalidEvent, why)),
        Source::GitLab => Ok(Json(json!({ "refused": why })).into_response()),
    }
}

/// What came of one event: a word of a closed set, and what is told of it. What the core refuses is told as well, and is no
/// error of the request: its sender can't do anything about it.
async fn brought(api: &Api, event: Event) -> Result<(&'static str, Value), Problem> {
    Ok(match ask_whatever_it_replies(&api.door, event).await? {
        Reply::Deploy(id) => ("deploy", json!({ "deploy": id })),
        Reply::Firing(id) => ("report", json!({ "firing": id })),
        Reply::SameFiring(id) => ("known", json!({ "firing": id, "ignored": "this firing is open already" })),
        Reply::Rehearsal(id) => ("report", json!({ "rehearsal": id })),
        Reply::SameDeploy(id) => ("known", json!({ "deploy": id, "ignored": "this deploy is known" })),
        Reply::NotNews(why) => ("known", json!({ "ignored": why.to_string() })),
        Reply::Done | Reply::None => ("known", json!({})),
        Reply::Refused(why) => ("refused", refused(&why)),
    })
}

fn refused(why: &Refusal) -> Value {
    json!({ "refused": why.to_string() })
}
