//! Serves a router on a listener until it is told to stop.
//!
//! Never lets slow or idle clients take what the others need: connections are limited, and each has its time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Pipelines, a scraper, a few people and their browsers; a daemon may have 1024 files open, and needs some itself.
const MOST_CONNECTIONS: usize = 256;
/// A connection on which no request has come for this long is closed: longer than the usual scrape interval.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
/// Requests in flight get this long to end when the daemon stops; systemd's own patience is 90 s.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// All headers of a request; the largest here is a token.
const LARGEST_HEADERS_BYTES: usize = 32 * 1024;
/// When a connection can't be accepted (no file descriptor is left), trying again at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves until `shutdown` is ready, then lets the requests in flight end.
///
/// # Errors
/// The listener is no listener any more.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()> + Send) -> io::Result<()> {
    listener.local_addr()?;
    let connections = Connections { builder: Arc::new(builder()), router };
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, slot)) => connections.spawn(stream, slot, graceful.watcher()),
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

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(LARGEST_HEADERS_BYTES);
    builder
}

/// The next connection, once there is a slot for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<((TcpStream, SocketAddr), OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.accept().await?, slot))
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

struct Connections {
    builder: Arc<auto::Builder<TokioExecutor>>,
    router: Router,
}

impl Connections {
    fn spawn(&self, (stream, _): (TcpStream, SocketAddr), slot: OwnedSemaphorePermit, watcher: Watcher) {
        let service = TowerToHyperService::new(self.router.clone());
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let watched = watcher.watch(connection);
        tokio::spawn(async move {
            // What a client does to its own connection is no news.
            let _ended = watched.await;
            drop(slot);
        });
    }
}
