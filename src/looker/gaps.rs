//! Gaps: when a look goes on from what was seen before, and when it asks for the whole window for the sake of a gap in that.
//!
//! Never waits for a gap to be filled: most never are.

use std::time::Duration;

use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::SoFar;

use super::jobs::Job;
use super::turn::is_far;

/// A gap is asked for again when this part of its age has passed: at first with each look, later more rarely.
const GAP_PART: u32 = 8;

/// What a look goes on from; `None` where it asks for the whole window. First it comes to the present: whoever begins anew
/// at each gap of a long watch might never do so.
pub(super) fn goes_on(
    job: &mut Job,
    so_far: Option<SoFar>,
    (present, interval): (Timestamp, Duration),
    now: Timestamp,
) -> Option<SoFar> {
    let is_on_the_way = |known: &SoFar| is_far(known.until, present, interval);
    let so_far = so_far.filter(|known| is_on_the_way(known) || !asks_gap_again(job, known, now));
    if so_far.is_none() {
        job.gap_asked_at = Some(now);
    }
    so_far
}

/// Whether it is time to ask for the whole window again for the sake of a gap in what was seen so far: the longer ago that
/// was, the more rarely.
fn asks_gap_again(job: &Job, so_far: &SoFar, now: Timestamp) -> bool {
    let Some(gap_at) = so_far.open_at() else { return false };
    let asked_at = job.gap_asked_at.filter(|at| *at <= now).unwrap_or(gap_at).max(gap_at);
    now.since(asked_at) >= now.since(gap_at) / GAP_PART
}

#[cfg(test)]
mod tests {
    use rollbackd_core::reading::{Look, Point};
    use rollbackd_core::trigger::{Rule, judge};

    use super::*;

    #[test]
    fn a_gap_is_asked_for_again_with_each_look_at_first_and_more_rarely_later() {
        let at = |second| Timestamp::from_milliseconds(second * 1000);
        let rule = Rule {
            hold: Duration::from_secs(15),
            step: Duration::from_secs(15),
            window: Duration::ZERO,
            interval: Duration::from_secs(15),
            deploy_at: at(7),
            since_deploy: false,
        };
        let look = |number| match number {
            1 => Look::NoData,
            _ => Look::Clear(0.0),
        };
        let points: Vec<_> = (0..9).map(|number| Point { at: at(number * 15), look: look(number) }).collect();
        let so_far = judge(&rule, Default::default(), &points, None).so_far.unwrap();
        assert_eq!(so_far.open_at(), Some(at(15)));
        let goes_on = |job: &mut Job, until, now: Timestamp| {
            let mut known = so_far;
            known.until = until;
            goes_on(job, Some(known), (now, rule.interval), now).is_some()
        };
        let asks_again = |job: &mut Job, now: Timestamp| !goes_on(job, now - rule.interval * 3, now);
        let mut job = Job::due(at(0));
        let asked: Vec<i64> =
            (8..80).map(|number| number * 15).filter(|second| asks_again(&mut job, at(*second))).collect();
        assert_eq!(asked[..4], [120, 135, 165, 195], "{asked:?}");
        assert!(asked.len() < 24, "{asked:?}");
        assert!(asked.iter().zip(&asked[1..]).all(|(one, next)| next - one <= (next - 15) / 8 + 15), "{asked:?}");
        // After a start it is asked for with all of the window, and on the way to the present, which may take long, not again.
        let mut job = Job::due(at(3600));
        assert_eq!(super::goes_on(&mut job, None, (at(3600), rule.interval), at(3600)), None);
        assert!([3601, 4500, 7200].into_iter().all(|second| goes_on(&mut job, so_far.until, at(second))));
        // Once it has come there, when an eighth of the gap's age has passed since the start.
        assert_eq!([4100, 4115, 4130].map(|second| asks_again(&mut job, at(second))), [false, true, false]);
    }
}
