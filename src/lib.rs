//! The shell of `rollbackd`: thin edges around a pure core, and the one loop that drives it.
pub mod clock;
pub mod config;
pub mod door;
pub mod pagers;
pub mod paths;
pub mod prometheus;
pub mod promql;
pub mod yaml;
pub mod http_client;

pub mod journal;
pub mod state_dir;
