//! Free ports on loopback for programs that can't be given port 0.
//!
//! Never from the range that the kernel gives to outgoing connections: a program that is killed must find its port free
//! when it is started again.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below Linux' default `ip_local_port_range`, which begins at 32768.
const PORTS: std::ops::Range<u32> = 12_000..32_000;

/// Counts through the range, so that tests of one process never get the same port.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port that nobody listened on a moment ago. Test processes side by side begin at different places.
pub(crate) fn free_port() -> u16 {
    let size = PORTS.end - PORTS.start;
    let begin = std::process::id().wrapping_mul(61);
    for _ in 0..size {
        let place = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % size;
        let port = u16::try_from(PORTS.start + place).expect("the range is of ports");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free in {PORTS:?}");
}
