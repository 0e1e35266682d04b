//! Every kind of rollback path, each against a stand-in of what it reaches.
#![expect(clippy::unwrap_used, reason = "a test's own tools may panic: that fails the test")]

mod app_runner;
mod argo_cd;
mod aws_model;
mod cloud_run;
mod command;
mod contract;
mod ecs;
mod fly;
mod git_revert;
mod git_revert_faults;
mod git_revert_follow;
mod github_actions;
mod github_app;
mod gitlab;
mod http;
mod kmock;
#[expect(dead_code, reason = "the end-to-end tests use more of it")]
#[path = "../kmock_world/mod.rs"]
mod kmock_world;
mod kubernetes;
mod moto;
mod prism;
mod proxy;
mod world;
