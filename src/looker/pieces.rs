//! A long stretch of many series is asked for piece by piece: all its samples at once would be more than a server gives and
//! more than a daemon should hold.
//!
//! Never says what a piece means: what its slots add up to is the core's, which keeps it until the last one.

use std::time::Duration;

use rollbackd_core::config::Config;
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::SETTLES_AFTER_INTERVALS;

use super::look::{Look, Reach, Shares};
use super::split;

/// So many samples are asked for at once. For a server a piece of a fleet's watch is no more than a usual look at the fleet, which
/// it answers in time.
const SAMPLES_IN_A_PIECE: usize = 50_000;

/// A service may have so many series, where one is counted on: where that is too many, few slots are asked for.
const SERIES_OF_A_SERVICE: usize = 50;
const FEW_SLOTS: usize = 20;

/// But as many as a usual look has, which covers what has not settled, and one interval more.
const INTERVALS_IN_A_PIECE: u32 = SETTLES_AFTER_INTERVALS + 1;

/// No more samples than this in any case: of twice as many an answer is not read.
const MOST_SAMPLES_IN_A_PIECE: usize = 500_000;

/// How many slots of so many series are asked for at once, these far apart.
pub(super) fn slots_in_a_piece(series: usize, interval: Duration, step: Duration) -> u32 {
    let usual = (interval * INTERVALS_IN_A_PIECE).as_millis() / step.as_millis().max(1) + 1;
    let usual = usize::try_from(usual).unwrap_or(usize::MAX);
    let series = series.max(1);
    let many = FEW_SLOTS.max(SAMPLES_IN_A_PIECE / series / SERIES_OF_A_SERVICE);
    let slots = many.min(SAMPLES_IN_A_PIECE / series).max(usual).min(MOST_SAMPLES_IN_A_PIECE / series);
    u32::try_from(slots).unwrap_or(u32::MAX).max(1)
}

/// Looks of which some are asked for now and some once these are over.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) now: Vec<Look>,
    pub(super) later: Vec<Look>,
    /// The last slot that is asked for now, where more is to follow.
    pub(super) piece_until: Option<Timestamp>,
}

/// The first piece of what these look back to. Where all are asked for at once, that is all of it.
///
/// Those whose slots can't be judged one after the other go first, and by themselves. Those who come in later wait until
/// the others have come as far, and those who begin until nobody is on the way: else whoever begins again and again would
/// hold up all others.
pub(super) fn first(shares: &Shares, looks: Vec<Look>, core: &Config) -> Cut {
    let all = |now| Cut { now, later: Vec::new(), piece_until: None };
    if !matches!(shares.reach, Reach::Far(_)) || looks.len() <= split::MOST_NAMED {
        return all(looks);
    }
    let (looks, whole): (Vec<Look>, Vec<Look>) = looks.into_iter().partition(|look| look.in_pieces);
    if !whole.is_empty() {
        return Cut { now: whole, later: looks, piece_until: None };
    }
    let (on_the_way, begin): (Vec<Look>, Vec<Look>) = looks.into_iter().partition(|look| look.so_far.is_some());
    let (looks, mut later) = if on_the_way.is_empty() { (begin, Vec::new()) } else { (on_the_way, begin) };
    let (Some(from), Some(to)) = (looks.iter().map(|look| look.from).min(), looks.iter().map(|look| look.to).max())
    else {
        return all(looks);
    };
    let series = core.services.len().max(looks.len()).saturating_mul(shares.queries.count());
    let slots = slots_in_a_piece(series, core.evaluation_interval, shares.step);
    let until = from + shares.step * (slots - 1);
    // What has not settled is asked for again: a piece of its own would be for nothing.
    if until + core.evaluation_interval * SETTLES_AFTER_INTERVALS >= to {
        return Cut { now: looks, later, piece_until: None };
    }
    let (mut now, after): (Vec<Look>, Vec<Look>) = looks.into_iter().partition(|look| look.from <= until);
    later.extend(after);
    for look in &mut now {
        look.more_until = Some(look.to);
        look.to = until;
    }
    Cut { now, later, piece_until: Some(until) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_look_at_all_services_is_one_piece_and_what_no_answer_may_hold_is_not_asked_for_at_once() {
        let slots = |series, step| slots_in_a_piece(series, Duration::from_secs(15), Duration::from_millis(step));
        assert_eq!((slots(10_000, 15_000), slots(20_000, 15_000)), (5, 5), "a usual look");
        assert_eq!(slots(20_000, 2500), 25, "four intervals of them");
        assert_eq!(slots(40_000, 2500), 12, "these would be a million");
        assert_eq!(slots(100_000, 15_000), 5);
        assert_eq!(slots(200, 15_000), 20, "who knows how many series a service has");
        assert_eq!((slots(2, 15_000), slots(0, 15_000)), (500, 1000), "of one service hours");
        assert_eq!(slots(10_000_000, 15_000), 1);
    }
}
