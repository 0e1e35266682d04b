//! A proxy on loopback between a path and a stand-in of its platform: notes each request, and misbehaves when told to.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest body that is passed on; no request of a path is as long.
const LONGEST_BODY_BYTES: usize = 4 * 1024 * 1024;

/// One request, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) body: Bytes,
    /// The header in which some protocols name what is asked for (`X-Amz-Target`).
    pub(crate) target: Option<String>,
}

/// What happens to a request instead of being passed on and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is answered with this status, and does not arrive.
    Refused(u16),
    /// It is answered that a limit was met, with this `Retry-After` in seconds, and does not arrive.
    Limited(&'static str),
    /// It arrives and is carried out; then the connection breaks, without an answer.
    Unanswered,
    /// It arrives and is carried out; then the connection breaks in the midst of the answer.
    CutShort,
    /// It does not arrive: the connection breaks.
    Lost,
}

/// What the proxy does and has seen.
#[derive(Default)]
struct Notes {
    /// Requests that change something, with whether each arrived.
    changes: Vec<(Seen, bool)>,
    reads: usize,
    /// What happens to the next requests that change something.
    to_changes: VecDeque<Trouble>,
    /// What happens to the next reads once something was changed.
    to_looks: VecDeque<Trouble>,
    /// Each answer is held back for so long.
    slow: Duration,
    connections: usize,
    /// How many of the first of them are dead, without anybody having been told.
    dead: usize,
}

/// One connection, by its number.
struct Connection {
    stream: tokio::net::TcpStream,
    number: usize,
    notes: Arc<Mutex<Notes>>,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.number <= self.notes.lock().unwrap_or_else(PoisonError::into_inner).dead {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Counts the connections.
struct Counted {
    listener: tokio::net::TcpListener,
    notes: Arc<Mutex<Notes>>,
}

impl axum::serve::Listener for Counted {
    type Io = Connection;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.connections += 1;
        (Connection { stream, number: notes.connections, notes: Arc::clone(&self.notes) }, address)
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// The proxy. It ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Proxy {
    platform: String,
    is_change: fn(&Seen) -> bool,
    client: reqwest::Client,
    notes: Arc<Mutex<Notes>>,
}

impl Proxy {
    /// Starts one in front of the platform at this URL, and gives its own URL with the platform's path.
    pub(crate) async fn start(platform: &str, is_change: fn(&Seen) -> bool) -> (Self, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut url: reqwest::Url = platform.parse().unwrap();
        let origin = url.origin().ascii_serialization();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        let proxy = Self { platform: origin, is_change, client, notes: Arc::default() };
        let router = Router::new().fallback(pass).with_state(proxy.clone());
        let listener = Counted { listener, notes: Arc::clone(&proxy.notes) };
        tokio::spawn(async move { axum::serve(listener, router).await });
        url.set_port(Some(address.port())).unwrap();
        (proxy, url.to_string())
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These happen to the next requests that change something.
    pub(crate) fn troubles(&self, troubles: &[Trouble]) {
        self.notes().to_changes.extend(troubles);
    }

    /// These happen to the next reads that follow a change.
    pub(crate) fn troubles_looks(&self, troubles: &[Trouble]) {
        self.notes().to_looks.extend(troubles);
    }

    pub(crate) fn slow_down(&self, by: Duration) {
        self.notes().slow = by;
    }

    /// The requests that change something and arrived.
    pub(crate) fn changes(&self) -> Vec<Seen> {
        self.notes().changes.iter().filter(|(_, arrived)| *arrived).map(|(seen, _)| seen.clone()).collect()
    }

    /// How many requests that change something came, whether or not they arrived.
    pub(crate) fn asked(&self) -> usize {
        self.notes().changes.len()
    }

    pub(crate) fn reads(&self) -> usize {
        self.notes().reads
    }

    /// All connections that there are die, without a word to whoever has them.
    pub(crate) fn break_connections(&self) {
        let mut notes = self.notes();
        notes.dead = notes.connections;
    }

    pub(crate) fn connections(&self) -> usize {
        self.notes().connections
    }

    /// Notes the request, and says what is to happen to it.
    fn note(&self, seen: &Seen) -> Option<Trouble> {
        let mut notes = self.notes();
        if !(self.is_change)(seen) {
            notes.reads += 1;
            let changed = notes.changes.iter().any(|(_, arrived)| *arrived);
            return if changed { notes.to_looks.pop_front() } else { None };
        }
        let trouble = notes.to_changes.pop_front();
        let arrives = trouble.is_none_or(|trouble| matches!(trouble, Trouble::Unanswered | Trouble::CutShort));
        notes.changes.push((seen.clone(), arrives));
        trouble
    }
}

/// Ends the connection's task without an answer, and without a panic message in the test's output.
fn break_connection() -> ! {
    std::panic::resume_unwind(Box::new("the connection breaks"))
}

async fn pass(State(proxy): State<Proxy>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, LONGEST_BODY_BYTES).await.unwrap();
    let target = parts.headers.get("x-amz-target").map(|value| value.to_str().unwrap().to_owned());
    let seen = Seen { method: parts.method.clone(), uri: parts.uri.clone(), body: body.clone(), target };
    let trouble = proxy.note(&seen);
    match trouble {
        Some(Trouble::Refused(status)) => return answer(status, None),
        Some(Trouble::Limited(seconds)) => return answer(429, Some(seconds)),
        Some(Trouble::Lost) => break_connection(),
        Some(Trouble::Unanswered | Trouble::CutShort) | None => {}
    }
    let url = format!("{}{}", proxy.platform, parts.uri);
    let passed_on = proxy.client.request(parts.method, url).headers(parts.headers).body(body).send().await.unwrap();
    let (status, headers) = (passed_on.status(), passed_on.headers().clone());
    let body = passed_on.bytes().await.unwrap();
    if trouble == Some(Trouble::Unanswered) {
        break_connection();
    }
    let slow = proxy.notes().slow;
    tokio::time::sleep(slow).await;
    let cut_short = trouble == Some(Trouble::CutShort);
    let mut response = Response::new(if cut_short { half(&body) } else { Body::from(body) });
    *response.status_mut() = status;
    for (name, value) in &headers {
        // The body is whole here, whatever way it came.
        if name != "transfer-encoding" && name != "connection" && name != "content-length" {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

/// The first half of a body, after which the connection breaks.
fn half(body: &Bytes) -> Body {
    let parts = [Ok(body.slice(..body.len() / 2)), Err(std::io::Error::other("the connection breaks"))];
    Body::from_stream(futures_util::stream::iter(parts))
}

/// An answer that breaks off half-way.
pub(crate) async fn cut_short(answer: Response) -> Response {
    let (parts, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, LONGEST_BODY_BYTES).await.unwrap();
    Response::from_parts(parts, half(&body))
}

fn answer(status: u16, retry_after: Option<&str>) -> Response {
    let mut response = Response::new(Body::from(r#"{"message": "no, said the proxy"}"#));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", seconds.parse().unwrap());
    }
    response
}
