//! When to look: at the longest distances that miss nothing while a trigger is clear, and closer where a breach began
//! and where its `for` is over.
//!
//! Never judges: what the points say is the core's.

use std::time::Duration;

use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::{Arming, SoFar, Verdict};

/// A closer look finds the beginning of a breach to this; what samples show changes with a scrape, and those are a
/// second apart at best.
const FINEST: Duration = Duration::from_millis(50);
/// So many points one closer look has at most.
const MOST_POINTS: u32 = 60;
/// So long after the instant that is asked for the samples of a scrape that began just before it have come in.
const LANDS_AFTER: Duration = Duration::from_millis(50);

/// A stretch of instants: the first, the last, and how far apart.
pub(super) type Range = (Timestamp, Timestamp, Duration);

/// From one look to the next while nothing breaches: a breach that begins right after one must be seen by the next
/// before its `for` is over. No longer than `interval`, and whole steps.
pub(super) fn pace(hold: Duration, step: Duration, interval: Duration) -> Duration {
    let least = step.max(Duration::from_millis(1));
    let longest = interval.min(hold.saturating_sub(step)).max(least);
    let steps = longest.as_millis() / least.as_millis();
    least * u32::try_from(steps).unwrap_or(1).max(1)
}

/// How long after its slot a trigger is looked at, so that not all ask at the same instant: `fraction` of as long as a
/// breach is still seen before its `for` is over, and no longer than from one look to the next.
pub(super) fn apart(hold: Duration, step: Duration, pace: Duration, fraction: f64) -> Duration {
    pace.min(hold.saturating_sub(step + pace)).mul_f64(fraction)
}

/// The part of a turn that is the own one of the `place`th of any number: the first at its beginning, the second in its
/// middle, then in the middles of what is left. Source: van der Corput's sequence to the base of two.
pub(super) fn fraction(place: u32) -> f64 {
    f64::from(place.reverse_bits()) / 2_f64.powi(32)
}

/// The row of breaches that is open by this verdict and may fire: since when. One that has begun in the future was seen
/// before the clock was set back.
pub(super) fn open_row(verdict: &Verdict, hold: Duration, now: Timestamp) -> Option<Timestamp> {
    let may_fire = verdict.arming == Arming::Armed && verdict.fired.is_none() && !hold.is_zero();
    verdict.breaching_since.filter(|since| may_fire && *since <= now)
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
    fn while_a_trigger_is_clear_it_is_looked_at_as_rarely_as_misses_nothing() {
        for (hold, step, interval, expected) in [
            (10_000, 2500, 15_000, 7500),
            (120_000, 15_000, 15_000, 15_000),
            (2000, 500, 1000, 1000),
            (1000, 250, 1000, 750),
            (0, 15_000, 15_000, 15_000),
        ] {
            let found = pace(ms(hold), ms(step), ms(interval));
            assert_eq!(found, ms(expected), "{hold} {step} {interval}");
            assert!(hold == 0 || found + ms(step) <= ms(hold).max(ms(step) * 2));
        }
    }

    #[test]
    fn looks_are_apart_as_far_as_each_still_sees_a_breach_before_its_for_is_over() {
        for (hold, step, interval, longest) in [
            (120_000, 15_000, 15_000, 15_000),
            (40_000, 15_000, 15_000, 10_000),
            (10_000, 2500, 15_000, 0),
            (2000, 500, 1000, 500),
            (0, 15_000, 15_000, 0),
        ] {
            let pace = pace(ms(hold), ms(step), ms(interval));
            assert_eq!(apart(ms(hold), ms(step), pace, 1.0), ms(longest), "{hold} {step} {interval}");
            assert_eq!(apart(ms(hold), ms(step), pace, 0.5), ms(longest) / 2);
        }
        assert_eq!([0, 1, 2, 3, 4].map(fraction), [0.0, 0.5, 0.25, 0.75, 0.125]);
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
