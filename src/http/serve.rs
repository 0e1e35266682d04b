//! Serves a router on a listener until it is told to stop.
//!
//! Never lets slow or idle clients take what the others need: connections are limited, each has its time, and where
//! there is no room for a new one, the one that has kept us waiting longest is closed.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::http::Request;
use axum::response::Response;
use axum::{BoxError, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::crowd::{Crowd, Guest, arriving};

/// Requests in flight get this long to end when the daemon stops; systemd's own patience is 90 s.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// All headers of a request; the largest here is a token.
const LARGEST_HEADERS_BYTES: usize = 32 * 1024;
/// How often the log says that there are too many connections.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// When a connection can't be accepted (no file descriptor is left), trying again at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How much connections may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many there may be at once.
    pub connections: usize,
    /// How long one may be open without a whole head of a request.
    pub header_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Pipelines, a scraper, a few people and their browsers; a daemon may have 1024 files open, and needs some
            // itself.
            connections: 256,
            // Longer than the usual scrape interval.
            header_timeout: Duration::from_secs(75),
        }
    }
}

/// Serves until `shutdown` is ready, then lets the requests in flight end.
///
/// # Errors
/// The listener is no listener any more.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()> + Send) -> io::Result<()> {
    serve_within(Limits::default(), listener, router, shutdown).await
}

/// The same within other limits.
///
/// # Errors
/// The listener is no listener any more.
pub async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    listener.local_addr()?;
    let connections = Connections { builder: Arc::new(builder(limits.header_timeout)), router };
    let mut room = Room::new(limits.connections);
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &mut room) => accepted,
        };
        match accepted {
            Ok((stream, seat)) => connections.spawn(stream, seat, graceful.watcher()),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "a connection could not be accepted; trying again");
                tokio::select! {
                    () = &mut shutdown => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("HTTP requests in flight were cut off after {DRAIN_TIMEOUT:?}");
    }
    Ok(())
}

fn builder(header_timeout: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(LARGEST_HEADERS_BYTES);
    builder
}

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, room: &mut Room) -> io::Result<(TcpStream, Seat)> {
    let (stream, _) = listener.accept().await?;
    Ok((stream, room.seat().await?))
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Room for so many connections.
struct Room {
    slots: Arc<Semaphore>,
    crowd: Crowd,
    told_at: Option<Instant>,
}

/// The place of one connection, until it is dropped.
struct Seat {
    guest: Arc<Guest>,
    _slot: OwnedSemaphorePermit,
}

impl Room {
    fn new(connections: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(connections)), crowd: Crowd::default(), told_at: None }
    }

    /// A seat for one more. Where there is none, whoever has kept us waiting longest has to give up theirs.
    async fn seat(&mut self) -> io::Result<Seat> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(self.taken(slot));
        }
        if self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            self.told_at = Some(Instant::now());
            tracing::warn!("there are too many HTTP connections: those that wait longest for their clients are closed");
        }
        let slot = tokio::select! {
            slot = Arc::clone(&self.slots).acquire_owned() => slot,
            () = self.crowd.let_one_go() => Arc::clone(&self.slots).acquire_owned().await,
        };
        Ok(self.taken(slot.map_err(io::Error::other)?))
    }

    fn taken(&self, slot: OwnedSemaphorePermit) -> Seat {
        Seat { guest: Arc::new(self.crowd.join()), _slot: slot }
    }
}

struct Connections {
    builder: Arc<auto::Builder<TokioExecutor>>,
    router: Router,
}

impl Connections {
    fn spawn(&self, stream: TcpStream, seat: Seat, watcher: Watcher) {
        let (router, guest) = (self.router.clone(), Arc::clone(&seat.guest));
        let service =
            tower::service_fn(move |request: Request<_>| answered(router.clone(), Arc::clone(&guest), request));
        let connection = self.builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let watched = watcher.watch(connection.into_owned());
        tokio::spawn(async move {
            tokio::select! {
                // What a client does to its own connection is no news.
                _ended = watched => {}
                () = seat.guest.let_go() => {}
            }
            drop(seat);
        });
    }
}

/// Works on a request; afterwards it is the client's turn again, to read the answer and to ask more.
async fn answered<B>(router: Router, guest: Arc<Guest>, request: Request<B>) -> Result<Response, Infallible>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let request = request.map(|body| arriving(body, Arc::clone(&guest)));
    let response = router.oneshot(request).await;
    guest.waits();
    response
}
