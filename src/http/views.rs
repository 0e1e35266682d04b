//! The routes that show something. They change nothing.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use rollbackd_core::config::Config;
use rollbackd_core::event::Refusal;
use rollbackd_core::name::{FiringId, ServiceName, nearest};
use rollbackd_core::state::State as CoreState;
use rollbackd_core::view::{self, FiringView, ServiceView};
use serde_json::json;

use super::Api;
use super::problem::{Kind, Problem, quoted};
use crate::clock;
use crate::metrics::CONTENT_TYPE;

/// The process serves.
pub(super) async fn healthy() -> Response {
    Json(json!({ "status": "healthy" })).into_response()
}

/// The journal is replayed, the config is loaded, and what is decided can be made durable.
pub(super) async fn ready(State(api): State<Api>) -> Result<Response, Problem> {
    let shared = &api.door.shared;
    if !shared.replayed() {
        return Err(Problem::new(Kind::Unavailable, "the journal is being replayed"));
    }
    if !shared.journal_writable() {
        return Err(Problem::new(
            Kind::JournalNotWritable,
            "the last write to the journal failed; nothing new is begun until one succeeds: see the disk and the log",
        ));
    }
    Ok(Json(json!({ "status": "ready" })).into_response())
}

/// Every metric.
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], api.metrics.text()).into_response()
}

/// Every service of the config.
pub(super) async fn services(State(api): State<Api>) -> Json<Vec<ServiceView>> {
    let (shared, now) = (&api.door.shared, clock::now());
    let config = shared.config();
    let (state, board) = (shared.state(), shared.board());
    let names = config.services.keys();
    Json(names.filter_map(|name| view::service(&config, &state, &board, name, now)).collect())
}

/// One service.
pub(super) async fn service(State(api): State<Api>, Path(asked): Path<String>) -> Result<Json<ServiceView>, Problem> {
    let (shared, now) = (&api.door.shared, clock::now());
    let config = shared.config();
    let name = known_service(&config, &asked)?;
    let (state, board) = (shared.state(), shared.board());
    let view = view::service(&config, &state, &board, &name, now);
    view.map(Json).ok_or_else(|| unknown_service(&config, &asked))
}

/// Every firing that is remembered.
pub(super) async fn firings(State(api): State<Api>) -> Json<Vec<FiringView>> {
    Json(view::firings(&api.door.shared.state()))
}

/// One firing.
pub(super) async fn firing(State(api): State<Api>, Path(asked): Path<String>) -> Result<Json<FiringView>, Problem> {
    let state = api.door.shared.state();
    let (service, id) = known_firing(&state, &asked)?;
    let found = state.service(&service).firing(&id).map(|firing| view::firing(&service, firing));
    found.map(Json).ok_or_else(|| unknown_firing(&state, &asked))
}

/// The service of this name.
pub(super) fn known_service(config: &Config, asked: &str) -> Result<ServiceName, Problem> {
    config.services.get_key_value(asked).map(|(name, _)| name.clone()).ok_or_else(|| unknown_service(config, asked))
}

fn unknown_service(config: &Config, asked: &str) -> Problem {
    let nearest = nearest(asked, config.services.keys().map(ServiceName::as_str));
    Refusal::UnknownService { asked: quoted(asked), nearest }.into()
}

/// The firing of this id, and the service that it belongs to.
pub(super) fn known_firing(state: &CoreState, asked: &str) -> Result<(ServiceName, FiringId), Problem> {
    let of = |(name, id): (&ServiceName, &FiringId)| (id.as_str() == asked).then(|| (name.clone(), id.clone()));
    ids(state).find_map(of).ok_or_else(|| unknown_firing(state, asked))
}

fn unknown_firing(state: &CoreState, asked: &str) -> Problem {
    let nearest = nearest(asked, ids(state).map(|(_, id)| id.as_str()));
    Refusal::UnknownFiring { asked: quoted(asked), nearest }.into()
}

fn ids(state: &CoreState) -> impl Iterator<Item = (&ServiceName, &FiringId)> {
    state.services.iter().flat_map(|(name, own)| own.firings.iter().map(move |firing| (name, &firing.id)))
}
