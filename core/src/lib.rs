//! The decisions of `rollbackd`: pure, without I/O, clock, async or log.
//!
//! The story on one page. An [`event::Event`] comes in: a deploy was reported, the queries of a trigger came back, an
//! attempt ended, a human answered. [`decide`] reads the [`config::Config`] and the [`state::State`] and gives a
//! [`Decision`]: records and effects. Whoever drives the core makes the records durable, then [`apply::apply`]s them,
//! then performs the effects, in this order. Between events, [`wake_at`] says when time alone matters next,
//! [`wants::wants`] says what is to be looked at, [`preflight::order`] what is to be got ready, and [`resume`] says what
//! to do again after a restart. The state is the fold of the records, so that replay and live run are one piece of code.
//!
//! Where to read on: [`trigger`] judges, `watch` turns judgements into turns and firings, `guard` holds, `rollback`
//! takes a firing from its first moment to its receipt, `proof` stops the clock, `rehearsals` deploys a bad version on
//! purpose and leaves the rest to all of these.

#![forbid(unsafe_code)]

mod ahead;
pub mod announcement;
mod answers;
pub mod apply;
mod attempts;
pub mod board;
mod builds;
pub mod by_service;
pub mod chart;
pub mod comparison;
pub mod config;
mod decide;
pub mod deploy;
mod deploys;
mod draft;
pub mod estimate;
pub mod event;
pub mod firing;
pub mod guard;
pub mod name;
pub mod page;
pub mod preflight;
pub mod proof;
pub mod reading;
pub mod receipt;
pub mod record;
pub mod rehearsal;
mod rehearsals;
pub mod replay;
mod rollback;
pub mod state;
pub mod statistics;
pub mod template;
pub mod time;
pub mod trigger;
pub mod view;
mod wake;
pub mod wants;
mod watch;

pub use ahead::Ahead;
pub use answers::HUMAN;
pub use decide::{decide, decide_after};
pub use draft::Decision;
pub use rollback::word;
pub use wake::{resume, wake_at};
