//! The edges against the real programs that they talk to, and against stubs that misbehave.
//!
//! Loopback only; every program is on a port of its own and ends with its test.

#![expect(clippy::unwrap_used, reason = "in a test, what can't be had is a failure")]

mod announcers;
mod email;
mod http_client;
mod pager_contract;
mod pagers;
mod prometheus;
mod smtp;
mod world;
