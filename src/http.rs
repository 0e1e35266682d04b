//! The HTTP API: a sender of events and a reader of views.
//!
//! Never decides anything, and never answers an error in another form than problem details (RFC 9457).

mod access;
mod body;
mod crowd;
mod events;
mod finish;
mod problem;
mod reply;
mod serve;
mod sources;
mod views;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post};
use tower_http::catch_panic::CatchPanicLayer;

pub use access::{Access, Scope, Token};
pub use axum::Router;
pub use serve::{Limits, serve, serve_within};

use crate::door::Door;
use crate::metrics::Metrics;
use crate::sources::InForce;

/// A deploy event is a few hundred bytes; a webhook of a forge, the largest thing that comes in, some hundred KiB.
pub const LARGEST_BODY_BYTES: usize = 1024 * 1024;

/// What every route may use.
#[derive(Clone, Debug)]
struct Api {
    door: Door,
    access: Access,
    sources: InForce,
    metrics: Arc<Metrics>,
}

/// What a route asks of whoever calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// Nothing: a probe must work without a token.
    Nothing,
    /// What the source signs with: the route itself compares it with the whole body.
    Signature,
    /// A token with this scope, where tokens are configured.
    Scope(Scope),
}

/// Every route, with what it asks of whoever calls it: the one list of the API.
fn routes() -> Vec<(&'static str, Asks, MethodRouter<Api>)> {
    let (read, deploy, operate) = (Asks::Scope(Scope::Read), Asks::Scope(Scope::Deploy), Asks::Scope(Scope::Operate));
    vec![
        ("/healthz", Asks::Nothing, get(views::healthy)),
        ("/readyz", Asks::Nothing, get(views::ready)),
        // The names that Prometheus and its family use.
        ("/-/healthy", Asks::Nothing, get(views::healthy)),
        ("/-/ready", Asks::Nothing, get(views::ready)),
        ("/metrics", read, get(views::metrics)),
        ("/v1/services", read, get(views::services)),
        ("/v1/services/{name}", read, get(views::service)),
        ("/v1/firings", read, get(views::firings)),
        ("/v1/firings/{id}", read, get(views::firing)),
        ("/v1/deploys", deploy, post(events::deployed)),
        ("/v1/reports", deploy, post(events::reported)),
        ("/v1/events/github", Asks::Signature, post(sources::github)),
        ("/v1/events/gitlab", Asks::Signature, post(sources::gitlab)),
        ("/v1/events/cdevents", deploy, post(sources::cdevents)),
        ("/v1/firings/{id}/approve", operate, post(events::approved)),
        ("/v1/firings/{id}/dismiss", operate, post(events::dismissed)),
        ("/v1/firings/{id}/ack", operate, post(events::acknowledged)),
        ("/v1/services/{name}/rollback", operate, post(events::rollback_asked)),
        ("/v1/services/{name}/rehearse", operate, post(events::rehearsal_asked)),
        ("/v1/services/{name}/rehearsal/stop", operate, post(events::rehearsal_stop_asked)),
        ("/v1/services/{name}/freeze", operate, post(events::frozen)),
        ("/v1/services/{name}/thaw", operate, post(events::thawed)),
    ]
}

/// The API in front of this door.
pub fn router(door: Door, access: Access, sources: InForce, metrics: Arc<Metrics>) -> Router {
    let api = Api { door, access, sources, metrics };
    let mut router = Router::new();
    for (pattern, asks, methods) in routes() {
        let gate = access::Gate { access: api.access.clone(), asks };
        router = router.route(pattern, methods.layer(from_fn_with_state(gate, access::admit)));
    }
    // What no route is has no scope either; whoever may do nothing at all is not even told that.
    let gate = access::Gate { access: api.access.clone(), asks: Asks::Scope(Scope::Read) };
    let router = router.fallback(finish::unknown_route.layer(from_fn_with_state(gate, access::admit)));
    finished(router, Arc::clone(&api.metrics)).with_state(api)
}

/// What every route has in common. A mistake in one request ends that request alone.
fn finished(router: Router<Api>, metrics: Arc<Metrics>) -> Router<Api> {
    router
        .layer(DefaultBodyLimit::max(LARGEST_BODY_BYTES))
        .layer(CatchPanicLayer::new())
        .layer(from_fn(finish::unambiguous))
        .layer(from_fn_with_state(metrics, finish::count))
        .layer(from_fn(finish::as_problem))
}

/// The patterns of all routes, for "did you mean".
fn patterns() -> Vec<&'static str> {
    routes().into_iter().map(|(pattern, _, _)| pattern).collect()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_mistake_in_one_request_is_a_counted_problem() {
        async fn mistaken() {
            panic!("words-of-the-panic");
        }
        let metrics = Arc::new(Metrics::new("test"));
        let api = Api {
            door: Door::new(tokio::sync::mpsc::channel(1).0, Arc::default()),
            access: Access::new(Vec::new()),
            sources: InForce::default(),
            metrics: Arc::clone(&metrics),
        };
        let routes = Router::new().route("/mistaken", get(mistaken));
        let router: Router = finished(routes, Arc::clone(&metrics)).with_state(api);
        let response = router.oneshot(Request::get("/mistaken").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status().as_u16(), 500);
        let body = to_bytes(response.into_body(), 4096).await.unwrap();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["type"], "urn:rollbackd:problem:internal");
        assert!(!problem.to_string().contains("words-of-the-panic"));
        assert!(metrics.text().contains("route=\"/mistaken\",method=\"GET\",code=\"500\"} 1"));
    }
}
