//! The values of the log, in the words of the API and the docs.

use rollbackd_core::deploy::{Migration, WatchEnd};
use rollbackd_core::firing::Outcome;
use rollbackd_core::rehearsal::End;
use rollbackd_core::state::Turn;
use rollbackd_core::trigger::Arming;

pub(super) const fn watch_end(end: WatchEnd) -> &'static str {
    match end {
        WatchEnd::Passed => "passed",
        WatchEnd::Unproven => "unproven",
        WatchEnd::Blind => "blind",
        WatchEnd::RolledBack => "rolled_back",
        WatchEnd::Superseded => "superseded",
        WatchEnd::Paged => "paged",
        WatchEnd::Dismissed => "dismissed",
    }
}

pub(super) const fn migration(migration: Migration) -> &'static str {
    match migration {
        Migration::None => "none",
        Migration::Compatible => "compatible",
        Migration::Breaking => "breaking",
    }
}

pub(super) const fn turn(turn: Turn) -> &'static str {
    match turn {
        Turn::Unseen => "unseen",
        Turn::Clear => "clear",
        Turn::Breaching { .. } => "breaching",
        Turn::LowTraffic => "low_traffic",
        Turn::Blind => "blind",
    }
}

pub(super) const fn arming(arming: Arming) -> &'static str {
    match arming {
        Arming::Unknown => "unknown",
        Arming::Armed => "armed",
        Arming::Disarmed => "disarmed",
        Arming::Spent => "spent",
    }
}

pub(super) const fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded { .. } => "succeeded",
        Outcome::Failed { .. } => "failed",
        Outcome::TimedOut => "timed_out",
        Outcome::Cancelled { .. } => "cancelled",
        Outcome::Unknown { .. } => "unknown",
        Outcome::NeverStarted => "never_started",
    }
}

/// Why a rehearsal ended before its time.
pub(super) fn why_over(end: &End) -> Option<String> {
    match end {
        End::CalledOff { why } => Some(why.clone()),
        End::Superseded { by } => Some(format!("{by} was deployed over it")),
        End::Recovered | End::NotRecovered | End::LeftToHuman | End::Dismissed => None,
    }
}

/// Why it did not succeed, where that was said.
pub(super) fn why(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Failed { why, .. } | Outcome::Cancelled { why } | Outcome::Unknown { why } => Some(why),
        Outcome::Succeeded { .. } | Outcome::TimedOut | Outcome::NeverStarted => None,
    }
}
