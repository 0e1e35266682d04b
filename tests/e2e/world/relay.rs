//! A relay between Prometheus and the example service, which can be cut: a target that is down while production lives.
//!
//! Never reads what it carries.

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::ports::free_port;

/// The relay.
pub(crate) struct Relay {
    port: u16,
    to: u16,
    server: JoinHandle<()>,
}

impl Relay {
    /// Carries connections to this port of loopback.
    pub(crate) async fn start(to: u16) -> Self {
        let port = free_port();
        Self { port, to, server: serve(port, to).await }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Ends all connections and refuses new ones.
    pub(crate) async fn cut(&mut self) {
        self.server.abort();
        // The listener and the connections are closed once the task has ended.
        let _ = (&mut self.server).await;
    }

    /// Carries again.
    pub(crate) async fn mend(&mut self) {
        self.server = serve(self.port, self.to).await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(port: u16, to: u16) -> JoinHandle<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port of the relay");
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (connection, _) = listener.accept().await.expect("a connection");
            connections.spawn(carry(connection, to));
        }
    })
}

async fn carry(mut from: TcpStream, to: u16) {
    let Ok(mut to) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
}
