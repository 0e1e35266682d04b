//! The shell of `rollbackd`: thin edges around a pure core, and the one loop that drives it.
//!
//! The map: [`daemon`] runs the program, [`machine`] puts what is above the edges together; [`supervisor`] is the only
//! loop (wait, decide, append and sync, apply, perform); [`looker`] asks what the core wants to know; [`perform`] turns an effect into a call of one adapter.
//! [`outside`] and [`journal::Store`] are the seams to the edges; a simulated world can take their place.
//! Adapters know nothing of each other: [`prometheus`], [`paths`], [`pagers`], [`receipts`], [`journal`]. [`heartbeat`]
//! says that all of it works, [`rollouts`] looks at watched Deployments, [`backtest`] replays the trigger list over history. People and
//! pipelines come in by [`http`] and [`cli`].

#![forbid(unsafe_code)]

pub mod announcers;
pub mod backtest;
pub mod chance;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod counting;
pub mod daemon;
mod delivery;
pub mod door;
pub mod dora;
pub mod edges;
#[doc(hidden)]
pub mod fuzzing;
pub(crate) mod git;
pub mod heartbeat;
pub mod http;
pub mod http_client;
pub mod journal;
pub(crate) mod json_body;
pub(crate) mod kubernetes;
pub mod link;
pub mod lints;
pub mod logging;
pub mod looker;
pub mod machine;
pub mod metrics;
pub mod outside;
pub mod pagers;
pub mod paths;
pub mod perform;
pub mod pipeline_files;
pub mod prometheus;
pub mod promql;
pub mod receipts;
pub mod rollouts;
pub mod runbook;
pub mod serving;
pub mod sources;
pub mod state_dir;
pub mod supervisor;
pub mod telling;
pub mod trigger_tests;
pub mod yaml;
