//! Those who mean harm: what they can send, say, plant and hold open, and what comes of it.
//!
//! Never takes a stub for the daemon: it is the real one, told by the same doors as an attacker's.

mod crowd;
mod elsewhere;
mod labels;
mod requests;
mod secrets;
mod tokens;
mod words;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::PATIENCE;

/// Sends these bytes, and gives all that comes until the daemon closes the connection.
async fn exchange(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The daemon may refuse before it has read everything.
    let _ = stream.write_all(bytes).await;
    until_closed(stream).await
}

/// All that comes until the daemon closes the connection, by a reset too.
async fn until_closed(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _end_or_reset = read.expect("the daemon closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status codes of the answers in what came.
fn statuses(answer: &str) -> Vec<u16> {
    let lines = answer.split("HTTP/1.1 ").skip(1);
    lines.filter_map(|rest| rest.split(' ').next()?.parse().ok()).collect()
}
