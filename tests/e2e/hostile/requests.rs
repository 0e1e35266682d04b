//! Requests that are made to be read in two ways, too large, too deep, in another protocol, or from another site.

use serde_json::json;

use super::{exchange, statuses};
use crate::world::{SERVICE, World};

/// What follows each request on its connection: smuggled, if it were taken for anything but a request of its own.
const NEXT: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A freeze with these headers and this body. It leaves a trace wherever it is carried out.
fn freeze(headers: &str, body: &str) -> String {
    format!(
        "POST /v1/services/{SERVICE}/freeze HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}\r\n{body}{NEXT}"
    )
}

async fn is_frozen(world: &World) -> bool {
    !world.view(SERVICE).await["frozen"].is_null()
}

#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_is_refused_with_its_connection() {
    let mut world = World::start().await;
    let plan = world.plan();
    world.run(&plan).await;
    let body = json!({"for": "1h", "why": "smuggled"}).to_string();
    let length = body.len();
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let content_length = format!("Content-Length: {length}\r\n");
    let refused = [
        ("two lengths", format!("{content_length}Content-Length: 3\r\n"), body.clone()),
        ("a list of lengths", format!("Content-Length: {length}, {length}\r\n"), body.clone()),
        ("a signed length", format!("Content-Length: +{length}\r\n"), body.clone()),
        ("an unknown coding", "Transfer-Encoding: xchunked\r\n".to_owned(), chunked.clone()),
        ("chunked not last", "Transfer-Encoding: chunked, identity\r\n".to_owned(), chunked.clone()),
        ("another coding before", "Transfer-Encoding: identity, chunked\r\n".to_owned(), chunked.clone()),
        ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n".to_owned(), chunked.clone()),
        ("a blank before the colon", format!("Transfer-Encoding : chunked\r\n{content_length}"), body.clone()),
        ("a folded header", format!("X-A: b\r\n {content_length}"), body.clone()),
        ("a header that begins with a blank", format!(" X-A: b\r\n{content_length}"), body.clone()),
        ("a header without a colon", format!("X-A\r\n{content_length}"), body.clone()),
        ("a lone CR", format!("X-A: b\r{content_length}"), body.clone()),
        ("a NUL", format!("X-A: b\0c\r\n{content_length}"), body.clone()),
        ("two hosts", format!("Host: localhost\r\n{content_length}"), body.clone()),
        ("a chunk's length as 0x", "Transfer-Encoding: chunked\r\n".to_owned(), format!("0x{chunked}")),
        ("a chunk longer than any", "Transfer-Encoding: chunked\r\n".to_owned(), format!("fffffffffffffffff{chunked}")),
        ("a chunk's length ended by LF", "Transfer-Encoding: chunked\r\n".to_owned(), chunked.replace("\r\n", "\n")),
    ];
    for (what, headers, body) in refused {
        let answer = exchange(plan.listen(), freeze(&headers, &body).as_bytes()).await;
        assert_eq!(statuses(&answer), [400], "{what}: {answer}");
        assert!(!is_frozen(&world).await, "{what}");
    }
    // Both lengths: the chunks count, and nothing more is read from the connection (RFC 9112, 6.1).
    for headers in [
        format!("{content_length}Transfer-Encoding: chunked\r\n"),
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n".to_owned(),
    ] {
        let answer = exchange(plan.listen(), freeze(&headers, &chunked).as_bytes()).await;
        assert_eq!(statuses(&answer), [200], "{headers}: {answer}");
        assert!(is_frozen(&world).await, "{headers}");
        world.post(&format!("/v1/services/{SERVICE}/thaw"), json!({})).await.json_of(200);
    }
}

#[tokio::test]
async fn the_body_of_one_request_is_never_another_request() {
    let mut world = World::start().await;
    let plan = world.plan();
    world.run(&plan).await;
    let body = json!({"for": "1h", "why": "hidden"}).to_string();
    let hidden = freeze(&format!("Content-Length: {}\r\n", body.len()), &body);
    let length = hidden.len();
    // Refused before its body is read, without a use for a body, and read to its end.
    let bearers = [
        (415, format!("POST /v1/deploys HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")),
        (403, format!("POST /v1/deploys HTTP/1.1\r\nHost: evil.example\r\nContent-Length: {length}\r\n\r\n")),
        (404, format!("POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")),
        (200, format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")),
        (405, format!("PUT /v1/deploys HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")),
    ];
    for (status, head) in bearers {
        let answer = exchange(plan.listen(), format!("{head}{hidden}{NEXT}").as_bytes()).await;
        assert_eq!(statuses(&answer)[0], status, "{head}{answer}");
        assert!(statuses(&answer)[1..].iter().all(|status| *status == 200), "{head}{answer}");
        assert!(!answer.contains("{}"), "no answer to a freeze: {answer}");
        assert!(!is_frozen(&world).await, "{head}");
    }
}

#[tokio::test]
async fn only_http_1_is_spoken_and_heads_have_an_end() {
    let mut world = World::start().await;
    let plan = world.plan();
    world.run(&plan).await;
    // The preface of HTTP/2, then as many streams as fit, each reset at once (CVE-2023-44487).
    let mut rapid = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for stream in (1_u32..20_001).step_by(2) {
        rapid.extend([0, 0, 1, 1, 5]);
        rapid.extend(stream.to_be_bytes());
        rapid.push(0x82);
        rapid.extend([0, 0, 4, 3, 0]);
        rapid.extend(stream.to_be_bytes());
        rapid.extend([0, 0, 0, 8]);
    }
    let answer = exchange(plan.listen(), &rapid).await;
    assert!(!answer.contains("200"), "{answer}");
    let upgrade = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
    let answer = exchange(plan.listen(), upgrade.as_bytes()).await;
    assert_eq!(statuses(&answer), [200], "the upgrade is not taken up: {answer}");
    for (what, head, status) in [
        ("a version that is none", "GET /healthz HTTP/1.2\r\nHost: localhost\r\n\r\n".to_owned(), 400),
        ("a target of a proxy", "GET nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(), 403),
        ("a long header", format!("GET /healthz HTTP/1.1\r\nX-A: {}\r\n\r\n", "a".repeat(2_000_000)), 431),
        ("a long target", format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(2_000_000)), 431),
        ("many headers", format!("GET /healthz HTTP/1.1\r\n{}\r\n", "X-A: b\r\n".repeat(1_000)), 431),
    ] {
        let answer = exchange(plan.listen(), head.as_bytes()).await;
        // Where the rest of it is still on its way when the connection is closed, the answer may be lost.
        assert!(statuses(&answer).iter().all(|found| *found == status), "{what}: {answer}");
    }
    assert_eq!(world.daemon().get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_web_page_in_somebodys_browser_can_start_nothing() {
    let mut world = World::start().await;
    let plan = world.plan();
    world.run(&plan).await;
    world.deploy("v2", "v1").await;
    let rollback = format!("POST /v1/services/{SERVICE}/rollback HTTP/1.1\r\n");
    let port = plan.listen().rsplit(':').next().unwrap();
    let json = "Content-Type: application/json\r\n";
    for (what, headers, status) in [
        ("a form", "Host: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n".to_owned(), 415),
        ("a form of text", "Host: localhost\r\nContent-Type: text/plain\r\n".to_owned(), 415),
        ("a beacon", "Host: localhost\r\nOrigin: https://evil.example\r\nContent-Type: text/plain\r\n".to_owned(), 403),
        ("a script", format!("Host: localhost\r\nOrigin: https://evil.example\r\n{json}"), 403),
        ("a sandboxed frame", format!("Host: localhost\r\nOrigin: null\r\n{json}"), 403),
        ("a script whose origin was stripped", format!("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n{json}"), 403),
        (
            "a name that leads here",
            format!("Host: evil.example:{port}\r\nOrigin: http://evil.example:{port}\r\n{json}"),
            403,
        ),
        ("a name that looks like it", format!("Host: localhost.evil.example\r\n{json}"), 403),
        ("another address that leads here", format!("Host: 0.0.0.0:{port}\r\n{json}"), 403),
    ] {
        let request = format!("{rollback}{headers}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}");
        assert_eq!(statuses(&exchange(plan.listen(), request.as_bytes()).await), [status], "{what}");
    }
    // What a browser asks before it lets a page of another origin send JSON: it gets no leave.
    let preflight = format!(
        "OPTIONS /v1/services/{SERVICE}/rollback HTTP/1.1\r\nHost: localhost\r\nOrigin: http://127.0.0.1:3000\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\nConnection: close\r\n\r\n"
    );
    let answer = exchange(plan.listen(), preflight.as_bytes()).await.to_lowercase();
    assert!(answer.starts_with("http/1.1 405") && !answer.contains("access-control"), "{answer}");
    assert_eq!(world.daemon().get("/v1/firings").await.json_of(200), json!([]));
    assert!(world.pipeline_runs().await.is_empty());
}
