//! A proxy between the daemon and the real Prometheus that can spoil what it forwards, for each service by itself.
//!
//! Never changes an answer where no fault is switched on, and never makes up data that would be a breach.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::ports::free_port;
use super::wait::wait_until;

/// Longer than any test's `timeout` for Prometheus.
const SLOW: Duration = Duration::from_secs(5);

/// More series than the daemon reads of one answer.
const TOO_MANY_SERIES: usize = 100_001;

/// As Prometheus says that a query took longer than it allows.
const GAVE_UP: &str = r#"{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}"#;

/// What is wrong with the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is taken and nothing comes.
    Hangs,
    /// The right answer, later than anybody waits for it.
    Slow,
    /// HTTP 500 with a page for people.
    InternalError,
    /// HTTP 502 with a page for people, as from a load balancer.
    BadGateway,
    /// HTTP 503 with the JSON of a Prometheus that gave a query up.
    Unavailable,
    /// HTTP 429.
    TooManyRequests,
    /// The first half of the JSON, as if it were all.
    Truncated,
    /// The right data, and a warning.
    Warns,
    /// The right data, and the word that it is not all: `isPartial`.
    Partial,
    /// Every value is NaN.
    NotANumber,
    /// No series at all.
    Empty,
    /// More series than can be read.
    TooManySeries,
}

impl Fault {
    pub(crate) const ALL: [Self; 12] = [
        Self::Hangs,
        Self::Slow,
        Self::InternalError,
        Self::BadGateway,
        Self::Unavailable,
        Self::TooManyRequests,
        Self::Truncated,
        Self::Warns,
        Self::Partial,
        Self::NotANumber,
        Self::Empty,
        Self::TooManySeries,
    ];
}

/// A fault and how many answers it has spoilt.
#[derive(Clone, Copy, Debug)]
struct Spoilt {
    fault: Fault,
    answers: usize,
}

type Book = Arc<Mutex<BTreeMap<String, Spoilt>>>;

#[derive(Clone)]
struct Shared {
    book: Book,
    prometheus: String,
    client: reqwest::Client,
}

/// The proxy.
pub(crate) struct Proxy {
    shared: Shared,
    port: u16,
    server: JoinHandle<()>,
}

impl Proxy {
    /// Forwards to the Prometheus at this URL, on a free port.
    pub(crate) async fn start(prometheus: String) -> Self {
        let shared = Shared { book: Arc::default(), prometheus, client: super::client() };
        let port = free_port();
        let server = serve(shared.clone(), port).await;
        Self { shared, port, server }
    }

    /// The base of its API.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Spoils the answers to queries that name this service from now on.
    pub(crate) fn spoil(&self, service: &str, fault: Fault) {
        lock(&self.shared.book).insert(service.to_owned(), Spoilt { fault, answers: 0 });
    }

    /// Spoils nothing of this service any more.
    pub(crate) fn mend(&self, service: &str) {
        lock(&self.shared.book).remove(service);
    }

    /// Waits until this many answers about the service were spoilt.
    pub(crate) async fn has_spoilt(&self, service: &str, answers: usize) {
        wait_until(&format!("{answers} answers about {service} were spoilt"), async || {
            let spoilt = lock(&self.shared.book).get(service).copied();
            if spoilt.is_some_and(|spoilt| spoilt.answers >= answers) { Ok(()) } else { Err(format!("{spoilt:?}")) }
        })
        .await;
    }

    /// Refuses connections from now on.
    pub(crate) async fn refuse(&mut self) {
        self.server.abort();
        // The listener is closed once the task has ended.
        let _ = (&mut self.server).await;
    }

    /// Takes connections from now on, reads what comes and resets them.
    pub(crate) async fn reset(&mut self) {
        self.refuse().await;
        let listener = listen(self.port).await;
        self.server = tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.expect("a connection");
                tokio::spawn(reset(connection));
            }
        });
    }

    /// Takes connections again.
    pub(crate) async fn accept(&mut self) {
        if !self.server.is_finished() {
            self.refuse().await;
        }
        self.server = serve(self.shared.clone(), self.port).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn listen(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).await.expect("the port of the proxy")
}

/// Ends a connection with RST instead of FIN, once something was asked.
async fn reset(mut connection: TcpStream) {
    let _ = connection.read(&mut [0; 1024]).await;
    connection.set_zero_linger().expect("a socket");
}

async fn serve(shared: Shared, port: u16) -> JoinHandle<()> {
    let listener = listen(port).await;
    let routes = Router::new().fallback(forward).with_state(shared);
    tokio::spawn(async move { axum::serve(listener, routes).await.expect("a server") })
}

async fn forward(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let fault = shared.fault_for(uri.query().unwrap_or_default(), &body);
    let answer = match fault {
        Some(Fault::Hangs) => std::future::pending().await,
        Some(Fault::InternalError) => page_for_people(StatusCode::INTERNAL_SERVER_ERROR),
        Some(Fault::BadGateway) => page_for_people(StatusCode::BAD_GATEWAY),
        Some(Fault::Unavailable) => json_answer(StatusCode::SERVICE_UNAVAILABLE, GAVE_UP.as_bytes()),
        Some(Fault::TooManyRequests) => (StatusCode::TOO_MANY_REQUESTS, "slow down\n").into_response(),
        data => {
            if data == Some(Fault::Slow) {
                tokio::time::sleep(SLOW).await;
            }
            match shared.ask(method, &uri, &headers, body).await {
                Ok((status, answer)) => json_answer(status, &changed(data, &answer)),
                Err(_) => page_for_people(StatusCode::BAD_GATEWAY),
            }
        }
    };
    // A connection that is kept open would go on being answered while new ones are refused.
    ([(header::CONNECTION, "close")], answer)
}

impl Shared {
    /// The fault for the service that a query names; queries come percent-encoded.
    fn fault_for(&self, query: &str, body: &[u8]) -> Option<Fault> {
        let body = String::from_utf8_lossy(body);
        let mut book = lock(&self.book);
        let named = |service: &str| [query, &body].iter().any(|text| text.contains(&format!("%22{service}%22")));
        let (_, spoilt) = book.iter_mut().find(|(service, _)| named(service))?;
        spoilt.answers += 1;
        Some(spoilt.fault)
    }

    async fn ask(
        &self,
        method: Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<(StatusCode, Vec<u8>), reqwest::Error> {
        let mut request = self.client.request(method, format!("{}{uri}", self.prometheus)).body(body);
        if let Some(kind) = headers.get(header::CONTENT_TYPE) {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let answer = request.send().await?;
        Ok((answer.status(), answer.bytes().await?.to_vec()))
    }
}

fn page_for_people(status: StatusCode) -> Response {
    (status, [(header::CONTENT_TYPE, "text/html")], format!("<html><h1>{status}</h1></html>\n")).into_response()
}

fn json_answer(status: StatusCode, body: &[u8]) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_vec()).into_response()
}

fn changed(fault: Option<Fault>, answer: &[u8]) -> Vec<u8> {
    let with = |change: fn(&mut Value)| {
        let mut answer: Value = serde_json::from_slice(answer).expect("JSON of Prometheus");
        change(&mut answer);
        answer.to_string().into_bytes()
    };
    match fault {
        Some(Fault::Truncated) => answer[..answer.len() / 2].to_vec(),
        Some(Fault::Warns) => with(|answer| answer["warnings"] = json!(["partial"])),
        Some(Fault::Partial) => with(|answer| answer["isPartial"] = json!(true)),
        Some(Fault::NotANumber) => with(|answer| each_series(answer, not_a_number)),
        Some(Fault::Empty) => with(|answer| answer["data"]["result"] = json!([])),
        Some(Fault::TooManySeries) => too_many(answer),
        Some(
            Fault::Hangs
            | Fault::Slow
            | Fault::InternalError
            | Fault::BadGateway
            | Fault::Unavailable
            | Fault::TooManyRequests,
        )
        | None => answer.to_vec(),
    }
}

fn each_series(answer: &mut Value, change: fn(&mut Value)) {
    let series = answer["data"]["result"].as_array_mut();
    series.into_iter().flatten().for_each(change);
}

fn not_a_number(series: &mut Value) {
    if let Some(sample) = series.get_mut("value") {
        sample[1] = json!("NaN");
    }
    let samples = series.get_mut("values").and_then(Value::as_array_mut);
    samples.into_iter().flatten().for_each(|sample| sample[1] = json!("NaN"));
}

/// Written as text: values for all of these would hold up everything else in the test's own process for seconds.
fn too_many(answer: &[u8]) -> Vec<u8> {
    const NUMBER: &str = "the number of the series";
    let mut answer: Value = serde_json::from_slice(answer).expect("JSON of Prometheus");
    let mut one = answer["data"]["result"][0].take();
    if one.is_null() {
        one = json!({"metric": {}, "values": []});
    }
    one["metric"]["instance"] = json!(NUMBER);
    let one = one.to_string();
    answer["data"]["result"] = json!([NUMBER]);
    let whole = answer.to_string();
    let (begin, end) = whole.split_once(&json!(NUMBER).to_string()).expect("the place of the series");
    let (before, after) = one.split_once(NUMBER).expect("the place of the number");
    let mut text = String::with_capacity(whole.len() + TOO_MANY_SERIES * (one.len() + 1));
    text.push_str(begin);
    for number in 0..TOO_MANY_SERIES {
        text.push_str(if number == 0 { "" } else { "," });
        text.push_str(before);
        text.push_str(&number.to_string());
        text.push_str(after);
    }
    text.push_str(end);
    text.into_bytes()
}

fn lock(book: &Mutex<BTreeMap<String, Spoilt>>) -> MutexGuard<'_, BTreeMap<String, Spoilt>> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
