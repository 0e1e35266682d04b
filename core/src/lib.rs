//! The decisions of `rollbackd`: pure, without I/O, clock, async or log.

pub mod config;
pub mod deploy;
pub mod event;
pub mod firing;
pub mod name;
pub mod page;
pub mod reading;
pub mod template;
pub mod time;
