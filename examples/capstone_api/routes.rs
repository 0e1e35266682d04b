//! The routes of the example service: what a service has anyway, and `/admin/...` for tests and the demonstration.
//!
//! Never asks who calls: it is a test double for loopback.

use std::collections::BTreeMap;

use axum::Json;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use crate::production::{Asker, Deployed, NoSuchService, Production};
use crate::traffic::Behaviour;

/// The routes. Each takes `?service=NAME` where the process serves several; without it the first is meant.
pub(crate) fn router(production: Production) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/admin/behave", post(behave))
        .route("/admin/versions", post(versions))
        .route("/admin/deploy", post(deploy))
        .route("/admin/deploys", get(deploys))
        .with_state(production)
}

#[derive(Deserialize)]
struct Which {
    service: Option<String>,
}

/// What `/admin/deploy` is sent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeployRequest {
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) by: Option<String>,
    #[serde(default)]
    pub(crate) attempt: Option<String>,
}

/// Why a request was not served.
enum Refused {
    NotFound(String),
    Wrong(String),
}

impl From<NoSuchService> for Refused {
    fn from(NoSuchService(name): NoSuchService) -> Self {
        Self::NotFound(format!("there is no service {name:?}"))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::NotFound(why) => (StatusCode::NOT_FOUND, why).into_response(),
            Self::Wrong(why) => (StatusCode::UNPROCESSABLE_ENTITY, why).into_response(),
        }
    }
}

async fn metrics(State(production): State<Production>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], production.metrics())
}

async fn healthz(State(production): State<Production>, Query(which): Query<Which>) -> Result<StatusCode, Refused> {
    let healthy = production.healthy(which.service.as_deref())?;
    Ok(if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE })
}

async fn behave(
    State(production): State<Production>,
    Query(which): Query<Which>,
    Json(behaviour): Json<Behaviour>,
) -> Result<(), Refused> {
    behaviour.check().map_err(Refused::Wrong)?;
    Ok(production.behave(which.service.as_deref(), behaviour)?)
}

async fn versions(
    State(production): State<Production>,
    Query(which): Query<Which>,
    Json(versions): Json<BTreeMap<String, Behaviour>>,
) -> Result<(), Refused> {
    for behaviour in versions.values() {
        behaviour.check().map_err(Refused::Wrong)?;
    }
    Ok(production.describe(which.service.as_deref(), versions)?)
}

async fn deploy(
    State(production): State<Production>,
    Query(which): Query<Which>,
    headers: HeaderMap,
    Json(request): Json<DeployRequest>,
) -> Result<Json<Deployed>, Refused> {
    let allowed = |each: char| each.is_ascii_alphanumeric() || "._+:@/-".contains(each);
    if request.version.is_empty() || !request.version.chars().all(allowed) {
        return Err(Refused::Wrong(format!("version {:?} is not allowed", request.version)));
    }
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).map(str::to_owned);
    let asker = Asker { by: request.by.or(agent), attempt: request.attempt };
    Ok(Json(production.deploy(which.service.as_deref(), &request.version, asker)?))
}

async fn deploys(State(production): State<Production>) -> Json<Vec<Deployed>> {
    Json(production.deploys())
}
