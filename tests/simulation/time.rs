//! Simulated time: the runtime's paused clock on top of what has passed in the daemon's earlier lives, and a clock of
//! the daemon's that may be wrong.

use std::cell::Cell;
use std::time::Duration;

use rollbackd_core::time::Timestamp;
use tokio::time::Instant;

/// The instant at which every world begins.
pub(crate) const BEGIN: i64 = 1_800_000_000_000;

thread_local! {
    /// The true time at the beginning of this life, and the runtime's instant then.
    static EPOCH: Cell<(i64, Option<Instant>)> = const { Cell::new((BEGIN, None)) };
    /// How far the daemon's clock is ahead.
    static AHEAD: Cell<i64> = const { Cell::new(0) };
    /// How far it ever was in this world.
    static MOST_AHEAD: Cell<i64> = const { Cell::new(0) };
}

/// This thread's clock is the simulated one from now on.
pub(crate) fn take_over() {
    rollbackd::clock::replace(|| Timestamp::from_milliseconds(now().milliseconds() + AHEAD.get()));
}

/// A life of the daemon begins, so long after the world did. Called inside its runtime.
pub(crate) fn begin(elapsed: u64) {
    EPOCH.set((BEGIN + elapsed.cast_signed(), Some(Instant::now())));
}

/// A world begins: the daemon's clock is right.
pub(crate) fn begin_world() {
    AHEAD.set(0);
    MOST_AHEAD.set(0);
}

/// How far the daemon's clock ever was ahead in this world.
pub(crate) fn most_ahead() -> i64 {
    MOST_AHEAD.get()
}

/// Sets the daemon's clock, so many milliseconds ahead of the true one.
pub(crate) fn set_ahead(milliseconds: i64) {
    AHEAD.set(milliseconds);
    MOST_AHEAD.set(MOST_AHEAD.get().max(milliseconds));
}

/// How far the daemon's clock is ahead.
pub(crate) fn ahead() -> i64 {
    AHEAD.get()
}

/// The true time.
pub(crate) fn now() -> Timestamp {
    let (begin, instant) = EPOCH.get();
    let elapsed = instant.map_or(0, |instant| instant.elapsed().as_millis());
    Timestamp::from_milliseconds(begin + i64::try_from(elapsed).unwrap_or(0))
}

/// How long this life of the daemon has lasted.
pub(crate) fn lived() -> Duration {
    EPOCH.get().1.map_or(Duration::ZERO, |instant| instant.elapsed())
}

/// Milliseconds since the world began.
pub(crate) fn elapsed() -> u64 {
    now().milliseconds().wrapping_sub(BEGIN).cast_unsigned()
}

/// The true time so many milliseconds after the world began.
pub(crate) fn at(milliseconds: u64) -> Timestamp {
    Timestamp::from_milliseconds(BEGIN + milliseconds.cast_signed())
}
