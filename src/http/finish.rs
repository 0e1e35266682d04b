//! What every request and answer has in common: one that two readers could read in two ways is refused, each is counted,
//! and an error is problem details whoever made it.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rollbackd_core::name::nearest;

use super::problem::{Kind, Problem, quoted};
use crate::metrics::Metrics;

/// The answer where no route is.
pub(super) async fn unknown_route(method: Method, uri: Uri) -> Problem {
    let path = uri.path();
    Problem::new(Kind::UnknownRoute, format!("there is no route {} {}", quoted(method.as_str()), quoted(path)))
        .did_you_mean(nearest(&quoted(path), super::patterns()))
}

/// Refuses what a proxy before us may have read otherwise than we do, so that nothing is smuggled past it (RFC 9112, 3.2
/// and 6.1), and ends the connection with it. Most of that hyper refuses by itself.
pub(super) async fn unambiguous(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let codings: Vec<&HeaderValue> = headers.get_all(header::TRANSFER_ENCODING).iter().collect();
    let plain = match codings.as_slice() {
        [] => true,
        [coding] => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    };
    let what = if !plain {
        "expected no `Transfer-Encoding` but `chunked`, once"
    } else if headers.get_all(header::HOST).iter().count() > 1 {
        "expected one `Host` header, not several"
    } else {
        return next.run(request).await;
    };
    Problem::new(Kind::Ambiguous, what).with_header(header::CONNECTION, "close").into_response()
}

/// Counts the answer under its route's pattern.
pub(super) async fn count(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("unknown", MatchedPath::as_str);
    metrics.http_answered(route, method.as_str(), response.status().as_u16());
    response
}

/// Turns what axum or a layer answered by itself into problem details, and marks every answer as not to be kept.
pub(super) async fn as_problem(request: Request, next: Next) -> Response {
    let asked = format!("{} {}", quoted(request.method().as_str()), quoted(request.uri().path()));
    let mut response = next.run(request).await;
    let failed = response.status().is_client_error() || response.status().is_server_error();
    let told = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
    if failed && !told {
        let allow = response.headers().get(header::ALLOW).cloned();
        response = problem_of(response.status(), &asked, allow.as_ref()).into_response();
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn problem_of(status: StatusCode, asked: &str, allow: Option<&HeaderValue>) -> Problem {
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = allow.and_then(|allow| allow.to_str().ok()).unwrap_or("another method");
        return Problem::new(Kind::MethodNotAllowed, format!("{asked} is not possible: expected {allowed}"));
    }
    if status.is_client_error() {
        // The path can't be decoded: nothing else is read by axum itself.
        return Problem::new(Kind::UnknownRoute, format!("{asked} can't be read: its path is not UTF-8"));
    }
    Problem::new(Kind::Internal, format!("{asked} failed by a mistake in rollbackd; its log says more"))
}
