//! A pager's receiver in this process: it records what it is sent, and refuses as often as a test wants.
//!
//! Never answers a page: a human's answer is a call of the test's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::Value;
use tokio::task::JoinHandle;

/// One request that a pager's receiver got.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The route it came to: `/hook/page`, `/alertmanager`.
    pub(crate) route: String,
    /// Its `Idempotency-Key`, where it has one.
    pub(crate) key: Option<String>,
    /// The bearer token that it came with.
    pub(crate) token: Option<String>,
    /// Its body.
    pub(crate) body: Value,
    /// What it was answered.
    pub(crate) answered: u16,
}

impl Received {
    /// Why the daemon pages: `held`, `manual`, `blind`; through Alertmanager too.
    pub(crate) fn reason(&self) -> &str {
        let own = &self.body["reason"];
        let alert = &self.body["alerts"][0]["labels"]["reason"];
        own.as_str().or_else(|| alert.as_str()).unwrap_or_default()
    }

    /// The firing that it is about.
    pub(crate) fn firing(&self) -> &str {
        self.body["firing"].as_str().unwrap_or_default()
    }

    /// Whether it opens something; the other pages say that something is over.
    pub(crate) fn is_open(&self) -> bool {
        self.body["status"] == "firing"
    }
}

#[derive(Default)]
struct Book {
    received: Vec<Received>,
    refusals: Vec<u16>,
}

/// The receiver.
pub(crate) struct Pager {
    book: Arc<Mutex<Book>>,
    base: String,
    server: JoinHandle<()>,
}

impl Pager {
    /// Listens on a free port; every route takes pages.
    pub(crate) async fn start() -> Self {
        let book = Arc::new(Mutex::new(Book::default()));
        let routes = Router::new().fallback(take).with_state(Arc::clone(&book));
        let (base, server) = super::serve(routes).await;
        Self { book, base, server }
    }

    /// Its address with this route.
    pub(crate) fn url(&self, route: &str) -> String {
        format!("{}{route}", self.base)
    }

    /// Refuses the next requests with these statuses, then takes everything again.
    pub(crate) fn refuse(&self, statuses: &[u16]) {
        lock(&self.book).refusals = statuses.iter().rev().copied().collect();
    }

    /// All requests, those that were refused too.
    pub(crate) fn received(&self) -> Vec<Received> {
        lock(&self.book).received.clone()
    }

    /// The pages that were taken and open something.
    pub(crate) fn taken(&self) -> Vec<Received> {
        let received = self.received().into_iter();
        received.filter(|request| request.answered == 200 && request.is_open()).collect()
    }

    /// The pages with this reason that were taken.
    pub(crate) fn taken_for(&self, reason: &str) -> Vec<Received> {
        self.taken().into_iter().filter(|page| page.reason() == reason).collect()
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(book): State<Arc<Mutex<Book>>>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut book = lock(&book);
    let answered = book.refusals.pop().unwrap_or(200);
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    let authorization = headers.get("authorization").and_then(|value| value.to_str().ok());
    let token = authorization.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    book.received.push(Received { route: uri.path().to_owned(), key, token, body, answered });
    StatusCode::from_u16(answered).expect("a status")
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
