//! Every kind of rollback path, each against a stand-in of what it reaches.
#![expect(clippy::unwrap_used, reason = "a test's own tools may panic: that fails the test")]

mod argo_cd;
mod command;
mod contract;
mod github_actions;
mod gitlab;
mod kubernetes;
mod proxy;
mod world;
