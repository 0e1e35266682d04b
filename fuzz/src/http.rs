//! Every route of the API, as bytes on a connection would call it.
//!
//! An input is requests one after the other, a line `%%` between them: a line `METHOD PATH`, headers, an empty line,
//! the body. Behind the door stands a supervisor that decides and applies, as the daemon's does, and keeps no journal.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, header};
use rollbackd::config;
use rollbackd::door::{Asked, Door, Shared};
use rollbackd::http::{Access, Token, router};
use rollbackd::metrics::Metrics;
use rollbackd::sources::InForce;
use rollbackd_core::apply::apply;
use rollbackd_core::config::Config;
use rollbackd_core::decide;
use rollbackd_core::state::State;
use rollbackd_core::time::Timestamp;
use serde_json::Value;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tower::ServiceExt as _;

/// The reference's services, and tokens `read-token`, `deploy-token` and `operate-token`, each with that scope alone.
const CONFIG: &str = concat!(
    include_str!("../../config/rollbackd.yml"),
    "
tokens:
  - {name: reader, sha256: 0328587016f9e316b9c31c94f944a2c453e1494a564062b5eab68039c75b58bf, scopes: [read]}
  - {name: pipeline, sha256: e0e2baa1858c9be1a3e01469a2bc9cf12342e00ddc40e3607234a58ba1891e92, scopes: [deploy]}
  - {name: oncall, sha256: 2de8e6cbdda43d8f8c4f33e79b7296ad4159d03cf42dbdf39c1e48ba6547fc61, scopes: [operate]}
"
);

static SETTINGS: LazyLock<(Config, Vec<Token>)> = LazyLock::new(|| {
    let (settings, problems) = config::parse(CONFIG);
    let settings = settings.unwrap_or_else(|| panic!("the config of the fuzz target: {problems:?}"));
    (settings.core, settings.tokens)
});

const MOST_REQUESTS: usize = 12;

/// No request makes the API fail, changes anything without its scope, or gets an answer in a form of its own.
pub(super) fn http(bytes: &[u8]) {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        // The first byte says whether tokens are needed at all.
        let (tokens, rest) = match bytes.strip_prefix(b"open\n") {
            Some(rest) => (Vec::new(), rest),
            None => (SETTINGS.1.clone(), bytes),
        };
        let shared = Arc::new(Shared::default());
        shared.set_config(Arc::new(SETTINGS.0.clone()));
        shared.set_replayed();
        shared.set_journal_writable(true);
        let (events, asked) = mpsc::channel(16);
        tokio::spawn(supervise(asked, Arc::clone(&shared)));
        let needs_tokens = !tokens.is_empty();
        let door = Door::new(events, Arc::clone(&shared));
        let router = router(door, Access::new(tokens), InForce::default(), Arc::new(Metrics::new("fuzz")));
        for request in requests(rest).into_iter().take(MOST_REQUESTS) {
            let asked = Asking::of(&request, needs_tokens);
            let before = shared.state().clone();
            let Ok(response) = router.clone().oneshot(request).await;
            let after = shared.state().clone();
            check(&asked, response, &before, &after).await;
        }
    });
}

/// What is known of a request before it is sent.
struct Asking {
    what: String,
    changes: bool,
    admitted: &'static str,
    needs_tokens: bool,
}

impl Asking {
    fn of(request: &Request<Body>, needs_tokens: bool) -> Self {
        let sent: Vec<_> = request.headers().get_all(header::AUTHORIZATION).iter().collect();
        let admitted = match sent.as_slice() {
            [one] => match one.as_bytes().split_at_checked(7).map_or(&b""[..], |(_, token)| token) {
                b"read-token" => "read",
                b"deploy-token" => "deploy",
                b"operate-token" => "operate",
                _ => "",
            },
            _ => "",
        };
        let what = format!("{} {}", request.method(), request.uri());
        Self { what, changes: request.method() == "POST", admitted, needs_tokens }
    }

    fn may_change(&self) -> bool {
        self.changes && (!self.needs_tokens || matches!(self.admitted, "deploy" | "operate"))
    }
}

async fn check(asked: &Asking, response: Response<Body>, before: &State, after: &State) {
    let what = &asked.what;
    let (parts, body) = response.into_parts();
    let status = parts.status.as_u16();
    let body = to_bytes(body, 16 << 20).await.expect("a body in memory");
    assert!(!matches!(status, 500..), "{what} made the API fail: {status} {}", String::from_utf8_lossy(&body));
    let media_type = parts.headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or_default());
    if status >= 400 {
        assert_eq!(media_type, Some("application/problem+json"), "{what}: {status}");
        // HEAD has no body.
        if !body.is_empty() {
            let problem: Value = serde_json::from_slice(&body).expect("a problem is JSON");
            assert_eq!(problem["status"], status, "{what}: {problem}");
            assert!(problem["type"].as_str().is_some_and(|kind| kind.starts_with("urn:rollbackd:problem:")));
        }
    } else if media_type == Some("application/json") && !body.is_empty() {
        assert!(serde_json::from_slice::<Value>(&body).is_ok(), "{what} is answered with broken JSON");
    }
    if before != after {
        assert!(asked.may_change(), "{what} changed something without its scope");
        assert!((200..300).contains(&status), "{what} was refused with {status} and changed something");
    }
    let token_free = ["/healthz", "/readyz", "/-/healthy", "/-/ready"].iter().any(|probe| what.contains(probe));
    if asked.needs_tokens && asked.admitted.is_empty() && !token_free {
        assert!(status >= 400, "{what} without a token is answered with {status}");
    }
}

async fn supervise(mut asked: mpsc::Receiver<Asked>, shared: Arc<Shared>) {
    let mut now = Timestamp::from_milliseconds(1_795_000_000_000);
    while let Some(Asked { event, reply }) = asked.recv().await {
        now = now + Duration::from_secs(1);
        let decision = decide(&shared.config(), &shared.state(), &event, now);
        assert_eq!(decision.fault, None, "{event:?}");
        for record in &decision.records {
            // What is decided is journalled as JSON, and must come back as it was.
            let written = serde_json::to_string(record).expect("a record that can be written");
            assert_eq!(serde_json::from_str(&written).ok().as_ref(), Some(record), "{written}");
            apply(&mut shared.state_mut(), &event.service, now, record).expect("a record that was decided fits");
        }
        if let Some(reply) = reply {
            let _nobody_waits = reply.send(Ok(decision.reply));
        }
    }
}

fn requests(bytes: &[u8]) -> Vec<Request<Body>> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.windows(4).position(|window| window == b"\n%%\n");
        let (one, next) = end.map_or((rest, &[][..]), |end| (&rest[..end], &rest[end + 4..]));
        found.extend(request(one));
        rest = next;
    }
    found
}

/// A request as bytes; `None` where they are none.
pub(super) fn request(bytes: &[u8]) -> Option<Request<Body>> {
    let head_end = bytes.windows(2).position(|window| window == b"\n\n");
    let (head, body) = head_end.map_or((bytes, &[][..]), |end| (&bytes[..end], &bytes[end + 2..]));
    let mut lines = head.split(|each| *each == b'\n');
    let (method, path) = str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(path);
    for line in lines {
        let colon = line.iter().position(|each| *each == b':')?;
        request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    request.body(Body::from(body.to_vec())).ok()
}
