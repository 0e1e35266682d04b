//! Every kind of rollback path, each against a stand-in of what it reaches.
#![expect(clippy::unwrap_used, reason = "a test's own tools may panic: that fails the test")]

mod command;
mod contract;
mod git_revert;
mod github_actions;
mod gitlab;
mod http;
mod proxy;
mod world;
