//! The closed sets that labels are taken from.

use rollbackd_core::event::Happening;
use rollbackd_core::firing::Outcome;
use rollbackd_core::reading::Look;

/// A client may send any word as a method; each would be a series.
pub(super) fn known_method(method: &str) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|known| *known == method).unwrap_or("other")
}

pub(super) const fn kind(what: &Happening) -> &'static str {
    match what {
        Happening::Deployed(_) => "deployed",
        Happening::Hinted { .. } => "hinted",
        Happening::Shown { .. } => "shown",
        Happening::Reported { .. } => "reported",
        Happening::Approved { .. } => "approved",
        Happening::Dismissed { .. } => "dismissed",
        Happening::Acknowledged { .. } => "acknowledged",
        Happening::RollbackAsked { .. } => "rollback_asked",
        Happening::RehearsalAsked { .. } => "rehearsal_asked",
        Happening::RehearsalStopAsked => "rehearsal_stop_asked",
        Happening::Frozen { .. } => "frozen",
        Happening::Thawed => "thawed",
        Happening::Looked { .. } => "looked",
        Happening::BaselineRead { .. } => "baseline_read",
        Happening::VersionBeforeRead { .. } => "version_before_read",
        Happening::Appeared { .. } => "appeared",
        Happening::ServingRead { .. } => "serving_read",
        Happening::SmokeAnswered { .. } => "smoke_answered",
        Happening::AttemptStarted { .. } => "attempt_started",
        Happening::AttemptWaits { .. } => "attempt_waits",
        Happening::AttemptEnded { .. } => "attempt_ended",
        Happening::PageDelivered { .. } => "page_delivered",
        Happening::Announced { .. } => "announced",
        Happening::ReceiptPublished { .. } => "receipt_published",
        Happening::Woke => "woke",
    }
}

pub(super) const fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded { .. } => "succeeded",
        Outcome::Failed { .. } => "failed",
        Outcome::TimedOut => "timed_out",
        Outcome::Cancelled { .. } => "cancelled",
        Outcome::Unknown { .. } => "unknown",
        Outcome::NeverStarted => "never_started",
    }
}

pub(super) const fn answer(look: Look) -> &'static str {
    match look {
        Look::Breach(_) => "breach",
        Look::Clear(_) => "clear",
        Look::LowTraffic | Look::NoTraffic => "low_traffic",
        Look::NoData => "no_data",
        Look::Error => "error",
        Look::Partial => "partial",
    }
}
