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
/// So many points one closer look has at most: each is a state of the data that is asked for.
const MOST_POINTS: usize = 300;
/// And so many for all services together: of a query that all share the server works out each point for all of them.
const POINTS_OF_A_FLEET: usize = 80_000;
/// But so many at least.
const LEAST_POINTS: usize = 8;
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

/// How many points a closer look has, where the server works out so many services for each.
pub(super) fn points(services: usize) -> u32 {
    let points = (POINTS_OF_A_FLEET / services.max(1)).clamp(LEAST_POINTS, MOST_POINTS);
    u32::try_from(points).unwrap_or(u32::MAX)
}

/// Where to look closer besides the slots: between the first slot of the row and the one before it, and at the instant
/// at which its `for` is over.
pub(super) fn besides(
    since: Timestamp,
    hold: Duration,
    (step, points): (Duration, u32),
    so_far: Option<&SoFar>,
    now: Timestamp,
) -> Vec<Range> {
    let finest = FINEST.max(step / points.max(1));
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
        assert_eq!(besides(at(100_000), hold, (step, 50), None, at(100_000)), [begun]);
        // Found out to have begun earlier, it is the same stretch that shows it.
        assert_eq!(besides(at(98_200), hold, (step, 50), None, at(103_000)), [begun]);
        let over = (at(108_200), at(108_200), step);
        assert_eq!(besides(at(98_200), hold, (step, 50), None, at(108_250)), [begun, over]);
        // That is a slot, and is asked for anyway.
        assert_eq!(besides(at(100_000), hold, (step, 50), None, at(110_000)), [begun]);
    }

    #[test]
    fn a_query_that_a_fleet_shares_is_asked_for_few_points() {
        assert_eq!([1, 200, 1000, 10_000, 1_000_000].map(points), [300, 300, 80, 8, 8]);
        let coarse = besides(at(112_000), ms(120_000), (ms(16_000), points(10_000)), None, at(112_000));
        assert_eq!(coarse, [(at(98_000), at(110_000), ms(2000))]);
    }
}
