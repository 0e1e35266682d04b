//! Judging: the answers of a trigger's queries give looks, and the looks of a window give a verdict.
//!
//! A pure function of the trigger and the window's points, so that live, restart, dry run and backtest are one code
//! path. Never counts polls and never remembers: whoever asks brings the whole window.

mod pace;
mod pairs;
mod so_far;

pub use pace::{pace, whole_steps};
pub(crate) use so_far::Calm;
pub use so_far::{SETTLES_AFTER_INTERVALS, SoFar};

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Condition, Limit, Metric, Query};
use crate::reading::{Answer, Answers, Look, Point, Series};
use crate::statistics::median;
use crate::time::Timestamp;

use pairs::Pairs;
use so_far::Follows;

/// A watch is blind after this many intervals without an answer (design, R7).
pub const BLIND_INTERVALS: u32 = 3;

/// Whether a trigger may fire for this deploy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arming {
    /// Not known yet: what it was just before the deploy has not been seen.
    #[default]
    Unknown,
    /// It may fire.
    Armed,
    /// It was breaching before the deploy (design, R5).
    Disarmed,
    /// It fired.
    Spent,
}

/// The value that the expression had before the deploy, and how well that is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The median of the looks; `None` where too few of them had a value to compare with.
    pub value: Option<f64>,
    /// How many looks had a value.
    pub looks: u32,
    /// How many there should have been.
    pub expected: u32,
}

/// A condition that held for its `for`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fired {
    /// When it began to hold.
    pub breach_at: Timestamp,
    /// The value when it had held long enough.
    pub value: f64,
}

impl Fired {
    /// When, by the data, it had held long enough.
    #[must_use]
    pub fn observed_at(&self, hold: Duration) -> Timestamp {
        self.breach_at + hold
    }
}

/// What the points of a window say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The last point.
    pub latest: Option<Point>,
    /// The last point after the deploy that said something: the newest samples may not have come in yet.
    pub said: Option<Point>,
    /// Whether it may fire, after this window.
    pub arming: Arming,
    /// Since when it has been breaching without a gap, where it is.
    pub breaching_since: Option<Timestamp>,
    /// The same for the point that said something last.
    pub said_breaching_since: Option<Timestamp>,
    /// The last slot at which it was clear.
    pub clear_at: Option<Timestamp>,
    /// The firing, if the condition held for its `for` while the trigger was armed.
    pub fired: Option<Fired>,
    /// Whether a disarmed trigger is still breaching after its `for` and its query's window.
    pub did_not_help: bool,
    /// Whether nothing has been seen for [`BLIND_INTERVALS`].
    pub blind: bool,
    /// Up to this slot everything was answered for good.
    pub answered_until: Option<Timestamp>,
    /// What the next look may go on from.
    pub so_far: Option<SoFar>,
}

impl Verdict {
    /// What no point says anything of yet.
    const fn unseen(arming: Arming, answered_until: Option<Timestamp>) -> Self {
        Self {
            latest: None,
            said: None,
            arming,
            breaching_since: None,
            said_breaching_since: None,
            clear_at: None,
            fired: None,
            did_not_help: false,
            blind: false,
            answered_until,
            so_far: None,
        }
    }

    /// Of a piece of a window nothing counts but what the pieces after it go on from.
    #[must_use]
    pub(crate) const fn so_far_alone(self) -> Self {
        Self { so_far: self.so_far, ..Self::unseen(self.arming, self.answered_until) }
    }
}

/// The number that values are compared with; `None` where it needs a baseline that is not known.
///
/// A baseline that is not positive is no baseline: any multiple of it would make everything a breach.
#[must_use]
pub fn limit(metric: &Metric, baseline: Option<&Baseline>) -> Option<f64> {
    match metric.condition {
        Condition::Above(limit) | Condition::Below(limit) => match limit {
            Limit::Fixed { value, .. } => Some(value),
            Limit::TimesBaseline { factor, .. } => {
                baseline.and_then(|known| known.value).filter(|value| *value > 0.0).map(|value| value * factor)
            }
        },
        Condition::Any => Some(0.0),
    }
}

/// The look at each slot of the answers.
#[must_use]
pub fn looks(metric: &Metric, limit: Option<f64>, answers: &Answers) -> Vec<Point> {
    let one_for_all = unusable(answers);
    let pairs = Pairs::of(answers);
    answers
        .slots()
        .map(|at| Point { at, look: one_for_all.unwrap_or_else(|| look_at(metric, limit, (answers, &pairs), at)) })
        .collect()
}

/// An answer that failed or is partial spoils the look at every slot.
fn unusable(answers: &Answers) -> Option<Look> {
    let mut found = None;
    for answer in answers.all() {
        match answer {
            Answer::Failed(_) => return Some(Look::Error),
            Answer::Partial(_) => found = Some(Look::Partial),
            Answer::Series(_) => {}
        }
    }
    found
}

fn series(answer: Option<&Answer>) -> &[Series] {
    match answer {
        Some(Answer::Series(series)) => series,
        Some(Answer::Partial(_) | Answer::Failed(_)) | None => &[],
    }
}

fn values(answer: Option<&Answer>, at: Timestamp) -> impl Iterator<Item = f64> + '_ {
    series(answer).iter().filter_map(move |series| series.at(at))
}

/// Whether the newest sample that is read as it is, without a range, is too old to say anything about this instant.
/// Where there is no such sample at all, the value itself tells.
fn is_stale(metric: &Metric, answers: &Answers, at: Timestamp) -> bool {
    let Some(freshness) = &metric.freshness else { return false };
    let newest = values(answers.freshness.as_ref(), at).filter_map(Timestamp::from_seconds).max();
    newest.is_some_and(|newest| at.since(newest) > freshness.stale_after)
}

fn look_at(metric: &Metric, limit: Option<f64>, (answers, pairs): (&Answers, &Pairs<'_>), at: Timestamp) -> Look {
    if is_stale(metric, answers, at) {
        return Look::NoData;
    }
    if let Some(at_least) = &metric.at_least {
        let mut counted = values(answers.at_least.as_ref(), at).peekable();
        let nothing_counts = counted.peek().is_none();
        if counted.filter(|value| value.is_finite()).sum::<f64>() < at_least.value {
            return if nothing_counts { Look::NoTraffic } else { Look::LowTraffic };
        }
    }
    let value = match &metric.query {
        Query::Ratio { .. } => match pairs.ratio(at) {
            Ok(value) => value,
            Err(look) => return look,
        },
        Query::Expression(_) => {
            let finite = values(Some(&answers.value), at).filter(|value| value.is_finite());
            match worst(metric.condition, finite) {
                Some(value) => value,
                None => return Look::NoData,
            }
        }
        Query::Filter { .. } => return filtered(answers, at),
    };
    match limit {
        Some(limit) => compare(metric.condition, value, limit),
        None => Look::NoData,
    }
}

/// An alerting rule's expression: what it returns is a breach, and its value here is how many series it returned.
fn filtered(answers: &Answers, at: Timestamp) -> Look {
    let returned = values(Some(&answers.value), at).count();
    if returned > 0 {
        #[expect(clippy::cast_precision_loss, reason = "the number of series of an answer is bounded far below 2^52")]
        return Look::Breach(returned as f64);
    }
    let anything = values(answers.presence.as_ref(), at).next().is_some();
    if anything { Look::Clear(0.0) } else { Look::NoData }
}

fn worst(condition: Condition, values: impl Iterator<Item = f64>) -> Option<f64> {
    match condition {
        Condition::Above(_) | Condition::Any => values.reduce(f64::max),
        Condition::Below(_) => values.reduce(f64::min),
    }
}

fn compare(condition: Condition, value: f64, limit: f64) -> Look {
    let breach = match condition {
        Condition::Above(_) => value > limit,
        Condition::Below(_) => value < limit,
        Condition::Any => true,
    };
    if breach { Look::Breach(value) } else { Look::Clear(value) }
}

/// The baseline: the median over the window before the deploy of what the trigger's own expression shows. The median,
/// because a burst in that hour should not lift the limit.
#[must_use]
pub fn baseline(metric: &Metric, answers: &Answers) -> Baseline {
    /// Fewer looks with a value than one in this many, and the baseline is not known.
    const LEAST_SHARE: usize = 4;
    // Whatever the values are compared with, a breach and a clear look both have theirs: of several series that of the
    // one that the trigger will compare as well.
    let points = looks(metric, Some(0.0), answers);
    let values: Vec<f64> = points.iter().filter_map(|point| point.look.value()).collect();
    let enough = !values.is_empty() && values.len() * LEAST_SHARE >= points.len();
    let count = |looks: usize| u32::try_from(looks).unwrap_or(u32::MAX);
    Baseline { value: median(&values).filter(|_| enough), looks: count(values.len()), expected: count(points.len()) }
}

/// What a trigger's rules say about time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// How long the condition must hold.
    pub hold: Duration,
    /// From slot to slot.
    pub step: Duration,
    /// How far the queries look back.
    pub window: Duration,
    /// The longest time between two looks.
    pub interval: Duration,
    /// When the deploy was: data up to then does not count.
    pub deploy_at: Timestamp,
    /// Whether the queries count from the deploy on: what comes in late shows in each later slot, so that no slot is
    /// asked for again for its sake.
    pub since_deploy: bool,
}

impl Rule {
    /// The slot that tells what was before the deploy: the last one that is not after it.
    #[must_use]
    pub fn slot_before(&self) -> Timestamp {
        self.deploy_at.floor(self.step)
    }

    /// So much younger than the slot at which something came may the one be that a look shows, where each look is as late
    /// as it may be.
    pub(crate) fn between_looks(&self) -> Duration {
        pace(self.hold, self.step, self.interval).saturating_sub(self.step)
    }
}

/// What the points of a window say. The points are one step apart, without holes, and begin at [`Rule::slot_before`]:
/// a window that begins later can't know of a gap that was filled in before it, or of a breach older than the deploy.
#[must_use]
pub fn judge(rule: &Rule, arming: Arming, points: &[Point], answered_before: Option<Timestamp>) -> Verdict {
    judge_on(rule, arming, None, points, answered_before)
}

/// The same where earlier points were judged already: the points go on one step after `so_far`, or begin before that.
#[must_use]
pub fn judge_on(
    rule: &Rule,
    arming: Arming,
    so_far: Option<&SoFar>,
    points: &[Point],
    answered_before: Option<Timestamp>,
) -> Verdict {
    judge_piece(rule, arming, so_far, points, answered_before, None)
}

/// The same where the points are a piece of a long window, of which more is asked for up to `more_until`: what is settled
/// by then is settled, though it is the newest of these points.
#[must_use]
pub fn judge_piece(
    rule: &Rule,
    arming: Arming,
    so_far: Option<&SoFar>,
    points: &[Point],
    answered_before: Option<Timestamp>,
    more_until: Option<Timestamp>,
) -> Verdict {
    let points = so_far.map_or(points, |known| {
        let (_judged, new) = points.split_at(points.partition_point(|point| point.at <= known.until));
        new
    });
    let points = without_a_hole(rule, so_far, points);
    let mut verdict = Verdict {
        latest: points.last().copied(),
        said: points.iter().rev().find(|point| point.at > rule.deploy_at && !point.look.is_blind()).copied(),
        ..Verdict::unseen(arming_before(rule, arming, points), answered_before)
    };
    if let Some(known) = so_far {
        known.resume(arming, &mut verdict);
    }
    let mut follows = Follows::new(rule, so_far, points, answered_before, more_until);
    for point in points {
        if point.at > rule.deploy_at && verdict.arming != Arming::Unknown {
            take_point(rule, *point, &mut verdict);
        }
        follows.take(rule, *point, &verdict);
    }
    verdict.so_far = follows.so_far();
    verdict.blind = is_blind(rule, so_far, points, answered_before);
    let whole = so_far.is_none_or(|known| !known.has_gap());
    verdict.answered_until = if whole { answered_until(points, answered_before) } else { answered_before };
    verdict
}

/// The points up to the first slot that nobody asked for: that may have been anything, and the next look asks for it. A
/// clock that was set back leaves looks at what has become the future.
fn without_a_hole<'a>(rule: &Rule, so_far: Option<&SoFar>, points: &'a [Point]) -> &'a [Point] {
    let first = so_far.map(|known| known.until).or_else(|| points.first().map(|point| point.at));
    let before = first.into_iter().chain(points.iter().map(|point| point.at));
    let whole = points.iter().zip(before).take_while(|(point, before)| point.at <= *before + rule.step).count();
    points.split_at(whole).0
}

/// What it was before the deploy, wherever the window shows it, is what the points after it are judged by: whoever
/// brings the whole window gets the same answer however often it was looked at before.
fn arming_before(rule: &Rule, arming: Arming, points: &[Point]) -> Arming {
    let before = points.iter().find(|point| point.at == rule.slot_before()).map(|point| point.look);
    match (arming, before) {
        (Arming::Spent, _) => Arming::Spent,
        (Arming::Unknown | Arming::Armed | Arming::Disarmed, Some(Look::Breach(_))) => Arming::Disarmed,
        (Arming::Unknown, Some(Look::Clear(_) | Look::LowTraffic | Look::NoTraffic | Look::NoData)) => Arming::Armed,
        (Arming::Unknown, Some(Look::Error | Look::Partial) | None) => Arming::Unknown,
        (Arming::Armed | Arming::Disarmed, _) => arming,
    }
}

fn take_point(rule: &Rule, point: Point, verdict: &mut Verdict) {
    let value = match point.look {
        Look::Breach(value) => value,
        Look::Clear(_) => {
            verdict.clear_at = Some(point.at);
            verdict.breaching_since = None;
            verdict.said_breaching_since = None;
            if verdict.arming == Arming::Disarmed {
                verdict.arming = Arming::Armed;
            }
            return;
        }
        Look::LowTraffic | Look::NoTraffic => {
            verdict.breaching_since = None;
            verdict.said_breaching_since = None;
            return;
        }
        Look::NoData | Look::Error | Look::Partial => {
            verdict.breaching_since = None;
            return;
        }
    };
    let since = *verdict.breaching_since.get_or_insert(point.at);
    verdict.said_breaching_since = Some(since);
    match verdict.arming {
        Arming::Armed if verdict.fired.is_none() && point.at.since(since) >= rule.hold => {
            verdict.fired = Some(Fired { breach_at: since, value });
        }
        Arming::Disarmed if point.at >= rule.deploy_at + rule.window + rule.hold => verdict.did_not_help = true,
        Arming::Armed | Arming::Disarmed | Arming::Spent | Arming::Unknown => {}
    }
}

/// Whether the last points, back to the last one that said something, cover [`BLIND_INTERVALS`].
fn is_blind(rule: &Rule, so_far: Option<&SoFar>, points: &[Point], answered_before: Option<Timestamp>) -> bool {
    let said_something =
        |point: &&Point| !point.look.is_blind() || answered_before.is_some_and(|until| point.at <= until);
    let (Some(latest), Some(first)) = (points.last(), points.first()) else { return false };
    let before = so_far.map_or(first.at - rule.step, |known| known.seen_at().unwrap_or(rule.slot_before()));
    let seen_at = points.iter().rev().find(said_something).map_or(before, |point| point.at);
    latest.at.since(seen_at.max(rule.slot_before())) >= rule.interval * BLIND_INTERVALS
}

/// The last slot of the unbroken row, from the front, of those that said something.
fn answered_until(points: &[Point], answered_before: Option<Timestamp>) -> Option<Timestamp> {
    let done = |point: &&Point| !point.look.is_blind() || answered_before.is_some_and(|until| point.at <= until);
    let row = points.iter().take_while(done).last().map(|point| point.at);
    row.max(answered_before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Freshness;
    use crate::reading::Labels;
    use crate::template::Template;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_milliseconds(second * 1000)
    }

    #[test]
    fn a_sample_that_is_shown_on_after_the_samples_stopped_says_nothing() {
        let template = |text: &str| Template::parse(text).unwrap();
        let metric = Metric {
            query: Query::Expression(template("queue_length")),
            condition: Condition::Above(Limit::Fixed { value: 5.0, shown_as_percentage: false }),
            at_least: None,
            window: Duration::ZERO,
            freshness: Some(Freshness {
                newest: template("max(timestamp(queue_length))"),
                stale_after: Duration::from_secs(2),
            }),
            step: Duration::from_secs(1),
            comparison: None,
        };
        let series = |value: &dyn Fn(i64) -> f64| {
            let samples = (10..=16).map(|second| (at(second), value(second))).collect();
            Answer::Series(vec![Series { labels: Labels::default(), samples }])
        };
        let answers = Answers {
            from: at(10),
            to: at(16),
            step: metric.step,
            value: series(&|_| 9.0),
            total: None,
            at_least: None,
            presence: None,
            #[expect(clippy::cast_precision_loss, reason = "some seconds")]
            freshness: Some(series(&|second| second.min(12) as f64)),
        };
        let looks: Vec<Look> = looks(&metric, Some(5.0), &answers).iter().map(|point| point.look).collect();
        let (fresh, stale) = looks.split_at(5);
        assert!(fresh.iter().all(|look| *look == Look::Breach(9.0)), "{looks:?}");
        assert!(stale.iter().all(|look| *look == Look::NoData), "{looks:?}");
    }
}
