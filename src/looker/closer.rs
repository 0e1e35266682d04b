//! Where to look closer than the slots are: where a breach began, and where its `for` is over.
//!
//! Never judges: what the points say is the core's.

use std::time::Duration;

use rollbackd_core::board::Shown;
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::SoFar;

/// A closer look finds the beginning of a breach to this; what samples show changes with a scrape, and those are a
/// second apart at best.
const FINEST: Duration = Duration::from_millis(50);
/// So many points one closer look has at most.
const MOST_POINTS: u32 = 60;
/// So long after the instant that is asked for the samples of a scrape that began just before it have come in.
const LANDS_AFTER: Duration = Duration::from_millis(50);

/// A stretch of instants: the first, the last, and how far apart.
pub(super) type Range = (Timestamp, Timestamp, Duration);

/// The row of breaches that is open by this look and may fire: since when. One that has begun in the future was seen
/// before the clock was set back.
pub(super) fn open_row(shown: &Shown, hold: Duration, now: Timestamp) -> Option<Timestamp> {
    shown.breaching_since.filter(|since| shown.may_fire && !hold.is_zero() && *since <= now)
}

/// The slot at which a row was seen first, wherever between that and the slot before it began.
pub(super) fn slot_of(since: Timestamp, step: Duration) -> Timestamp {
    let slot = since.floor(step);
    if slot == since { slot } else { slot + step }
}

/// When it is to be looked whether the row has held for its `for`.
pub(super) fn exactly_at(since: Timestamp, hold: Duration) -> Timestamp {
    since + hold + LANDS_AFTER
}

/// Where to look closer besides the slots: between the first slot of the row and the one before it, and at the instant
/// at which its `for` is over.
pub(super) fn besides(
    since: Timestamp,
    hold: Duration,
    step: Duration,
    so_far: Option<&SoFar>,
    now: Timestamp,
) -> Vec<Range> {
    let finest = FINEST.max(step / MOST_POINTS);
    let slot = slot_of(since, step);
    let begun = (slot - step + finest, slot - finest, finest);
    let over = since + hold;
    let mut ranges = Vec::new();
    if begun.0 <= begun.1 && so_far.is_none_or(|known| known.until < slot) {
        ranges.push(begun);
    }
    if over <= now && over.floor(step) != over {
        ranges.push((over, over, step));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_milliseconds(milliseconds)
    }

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn it_is_looked_closer_where_a_row_began_and_where_its_for_is_over() {
        let (hold, step) = (ms(10_000), ms(2500));
        let begun = (at(97_550), at(99_950), ms(50));
        assert_eq!(besides(at(100_000), hold, step, None, at(100_000)), [begun]);
        // Found out to have begun earlier, it is the same stretch that shows it.
        assert_eq!(besides(at(98_200), hold, step, None, at(103_000)), [begun]);
        let over = (at(108_200), at(108_200), step);
        assert_eq!(besides(at(98_200), hold, step, None, at(108_250)), [begun, over]);
        // That is a slot, and is asked for anyway.
        assert_eq!(besides(at(100_000), hold, step, None, at(110_000)), [begun]);
    }
}
