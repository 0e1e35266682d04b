//! Judging by comparison: the samples of the version under watch against those before its deploy, or against those of the
//! version beside it. Gives looks, as [`crate::trigger`] does for values and limits, and what follows is the same.
//!
//! A pure function of the window's answers: never remembers a look. What is judged at a slot rests on the samples up to it.
//!
//! Samples are one step apart, and the step is no shorter than the queries' window, so that no request counts in two of
//! them: the tests take samples for independent. `docs/statistics.md` has what that is worth, measured.

use std::time::Duration;

use crate::config::{Against, Comparison, Condition, Limit, Metric, Test};
use crate::name::Version;
use crate::reading::{Answer, Answers, Look, Point, Series};
use crate::statistics::sequential::{Sequential, most_possible};
use crate::statistics::{mann_whitney, median};
use crate::time::{Timestamp, milliseconds};
use crate::trigger::{self, Arming};

/// After a trigger fired, what its median is taken of: one outlier among three moves it neither way.
const RECOVERY_SAMPLES: usize = 3;

/// What of the baseline a sequential test takes for new to tell what was before the deploy: the last quarter.
const BEFORE_PARTS: usize = 4;

/// Fewer samples than one in so many that there should be, and the baseline is not known.
const LEAST_SHARE: usize = 4;

/// What the watch says that is judged.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// When the deploy was.
    pub deploy_at: Timestamp,
    /// When the first of the deploys that superseded each other was: the baseline lies before it.
    pub healthy_before: Timestamp,
    /// When the watch ends.
    pub until: Timestamp,
    /// The version under watch.
    pub version: &'a Version,
    /// The version to return to, which runs beside it in a canary.
    pub target: Option<&'a Version>,
    /// Whether it may still fire: what has fired is only judged for whether it is over.
    pub arming: Arming,
}

/// From where on the queries are to be asked.
#[must_use]
pub fn from(metric: &Metric, healthy_before: Timestamp, deploy_at: Timestamp) -> Timestamp {
    let slot_before = deploy_at.floor(metric.step);
    match metric.baseline_window() {
        Some(window) => slot_before.min((healthy_before - window).floor(metric.step) + metric.step),
        None => slot_before,
    }
}

/// Whether a test could find the greatest difference that there may be in a watch of this length.
#[must_use]
pub fn can_fire(metric: &Metric, comparison: &Comparison, watch: Duration) -> bool {
    let since = slots(watch.saturating_sub(metric.window), metric.step);
    let before = metric.baseline_window().map(|window| slots(window, metric.step));
    match comparison.test {
        Test::MannWhitney { window } => {
            let (new, windows) = (slots(window, metric.step), slots(watch.saturating_sub(metric.window), window));
            let level = comparison.false_alarms / real(windows.max(1));
            windows > 0 && mann_whitney::smallest(new, before.unwrap_or(new)) <= level
        }
        Test::Sequential => {
            let among = before.unwrap_or(since);
            most_possible(among, since) >= 1.0 / comparison.false_alarms
        }
    }
}

/// The answers about one version alone, where its series are told from another's by a label.
#[must_use]
pub fn of_version(metric: &Metric, answers: &Answers, version: &Version) -> Answers {
    let Some(Comparison { against: Against::Beside { label }, .. }) = &metric.comparison else {
        return answers.clone();
    };
    let Answer::Series(all) = &answers.value else { return answers.clone() };
    let is_its = |series: &&Series| series.labels.get(label.as_str()).is_some_and(|name| name == version.as_str());
    let own = all.iter().filter(is_its);
    Answers { value: Answer::Series(own.cloned().collect()), ..answers.clone() }
}

/// The look at each slot, from the one before the deploy on.
#[must_use]
pub fn looks(metric: &Metric, comparison: &Comparison, scene: &Scene<'_>, answers: &Answers) -> Vec<Point> {
    let own = samples(metric, &of_version(metric, answers, scene.version));
    let before = before(comparison, scene, &own);
    let beside = beside(metric, comparison, scene, answers);
    let judged =
        Judged { metric, comparison, scene, own: &own, before: &before, typical: median(&before), beside: &beside };
    let slot_before = scene.deploy_at.floor(metric.step);
    let since: Vec<Point> = own.iter().filter(|point| point.at >= slot_before).copied().collect();
    if scene.arming == Arming::Spent {
        return since.iter().map(|point| judged.whether_over(*point)).collect();
    }
    let mut course = judged.begin();
    since.iter().map(|point| Point { at: point.at, look: judged.look(*point, slot_before, &mut course) }).collect()
}

/// The look at each slot for the sake of its value: with any limit, a breach and a clear look both have theirs.
fn samples(metric: &Metric, answers: &Answers) -> Vec<Point> {
    trigger::looks(metric, Some(0.0), answers)
}

/// What was before the deploy, as the baseline says it.
fn before(comparison: &Comparison, scene: &Scene<'_>, own: &[Point]) -> Vec<f64> {
    match comparison.against {
        Against::Before => values(own.iter().filter(|point| point.at <= scene.healthy_before)),
        Against::Beside { .. } => Vec::new(),
    }
}

/// The samples of the version beside; none where there is none, or none is wanted.
fn beside(metric: &Metric, comparison: &Comparison, scene: &Scene<'_>, answers: &Answers) -> Vec<Point> {
    match (&comparison.against, scene.target) {
        (Against::Beside { .. }, Some(target)) => samples(metric, &of_version(metric, answers, target)),
        (Against::Beside { .. }, None) | (Against::Before, _) => Vec::new(),
    }
}

fn values<'a>(points: impl IntoIterator<Item = &'a Point>) -> Vec<f64> {
    points.into_iter().filter_map(|point| point.look.value()).collect()
}

/// Everything that a judgement rests on.
struct Judged<'a> {
    metric: &'a Metric,
    comparison: &'a Comparison,
    scene: &'a Scene<'a>,
    own: &'a [Point],
    before: &'a [f64],
    /// Its median.
    typical: Option<f64>,
    beside: &'a [Point],
}

/// What is known on the way from slot to slot.
struct Course {
    /// What the slots before said last.
    said: Look,
    test: Sequential,
    /// How many values the test began with, or came to know beside.
    among: usize,
    new: Vec<f64>,
}

impl Judged<'_> {
    fn begin(&self) -> Course {
        let base = self.scaled(self.before);
        let test = Sequential::among(&base);
        Course { said: Look::LowTraffic, test, among: base.len(), new: Vec::new() }
    }

    fn look(&self, point: Point, slot_before: Timestamp, course: &mut Course) -> Look {
        if point.at == slot_before {
            return self.before_deploy(point);
        }
        if point.at < self.first_slot() {
            // Its window reaches behind the deploy: it is of both versions.
            return if point.look.value().is_some() { Look::LowTraffic } else { point.look };
        }
        let said = match self.comparison.test {
            Test::MannWhitney { window } => self.by_windows(point.at, window, course.said),
            Test::Sequential => self.by_samples(point, course),
        };
        course.said = said;
        if point.look.value().is_some() { said } else { point.look }
    }

    /// The first slot whose window lies behind the deploy.
    fn first_slot(&self) -> Timestamp {
        let at = self.scene.deploy_at + self.metric.window;
        let slot = at.floor(self.metric.step);
        if slot < at { slot + self.metric.step } else { slot }
    }

    /// How many samples the baseline should have; of what runs beside, any will do.
    fn least(&self) -> usize {
        match self.comparison.against {
            Against::Before => {
                let expected = self.own.iter().filter(|point| point.at <= self.scene.healthy_before).count();
                expected.div_ceil(LEAST_SHARE)
            }
            Against::Beside { .. } => 1,
        }
    }

    /// Which multiple of the baseline still does not count.
    const fn factor(&self) -> f64 {
        match self.metric.condition {
            Condition::Above(Limit::TimesBaseline { factor, .. })
            | Condition::Below(Limit::TimesBaseline { factor, .. }) => factor,
            // A comparison is only read with a multiple.
            Condition::Above(Limit::Fixed { .. }) | Condition::Below(Limit::Fixed { .. }) | Condition::Any => 1.0,
        }
    }

    /// The same value, with the worse as the greater.
    const fn worse(&self, value: f64) -> f64 {
        match self.metric.condition {
            Condition::Below(_) => -value,
            Condition::Above(_) | Condition::Any => value,
        }
    }

    /// The worst that does not count yet, with the worse as the greater.
    fn scaled(&self, base: &[f64]) -> Vec<f64> {
        base.iter().map(|value| self.worse(value * self.factor())).collect()
    }

    /// Windows of their own, one after the other, each judged once, at its end, and only where every sample of it is there.
    /// In between, the last one's word stands.
    fn by_windows(&self, at: Timestamp, window: Duration, said: Look) -> Look {
        let per_window = slots(window, self.metric.step);
        let index = slots(at.since(self.first_slot()), self.metric.step);
        if !(index + 1).is_multiple_of(per_window) {
            return said;
        }
        let from = at - window + self.metric.step;
        let new: Vec<Point> = self.own.iter().filter(|point| from <= point.at && point.at <= at).copied().collect();
        if new.iter().any(|point| point.look.is_blind()) {
            return said;
        }
        let base = match self.comparison.against {
            Against::Before => self.before.to_vec(),
            Against::Beside { .. } => values(self.beside.iter().filter(|point| from <= point.at && point.at <= at)),
        };
        let level = self.comparison.false_alarms / real(self.windows(window));
        self.compared(&values(&new), &base, level)
    }

    /// How many windows fit into the watch: together they raise no more false alarms than one test would (Bonferroni).
    fn windows(&self, window: Duration) -> usize {
        slots(self.scene.until.since(self.scene.deploy_at + self.metric.window), window).max(1)
    }

    fn compared(&self, new: &[f64], base: &[f64], level: f64) -> Look {
        if base.len() < self.least() {
            return Look::NoData;
        }
        if mann_whitney::smallest(new.len(), base.len()) > level {
            return Look::LowTraffic;
        }
        let new_worse: Vec<f64> = new.iter().map(|value| self.worse(*value)).collect();
        let is_shifted = mann_whitney::greater(&new_worse, &self.scaled(base)) <= level;
        self.said(new, median(base), is_shifted)
    }

    /// A difference counts where the test finds it and the median shows it. Where only the median does, there is too little to
    /// say so, and that is no health either.
    fn said(&self, new: &[f64], typical: Option<f64>, is_shifted: bool) -> Look {
        let (Some(value), Some(beyond)) = (median(new), self.is_beyond(new, typical)) else { return Look::NoData };
        match (beyond, is_shifted) {
            (true, true) => Look::Breach(value),
            (true, false) => Look::LowTraffic,
            (false, true | false) => Look::Clear(value),
        }
    }

    /// Whether the median is worse than what does not count yet. A baseline whose median is not positive is none.
    fn is_beyond(&self, new: &[f64], typical: Option<f64>) -> Option<bool> {
        let limit = typical.filter(|median| *median > 0.0)? * self.factor();
        Some(self.worse(median(new)?) > self.worse(limit))
    }

    fn by_samples(&self, point: Point, course: &mut Course) -> Look {
        let other = self.beside.iter().find(|beside| beside.at == point.at).and_then(|beside| beside.look.value());
        for value in self.scaled(other.as_slice()) {
            course.test.learn(value);
            course.among += 1;
        }
        let Some(value) = point.look.value() else { return course.said };
        course.test.take(self.worse(value));
        course.new.push(value);
        let (among, count, most) = (course.among, course.new.len(), course.test.most());
        let wanted = 1.0 / self.comparison.false_alarms;
        if among < self.least() {
            return Look::NoData;
        }
        if most_possible(among, count) < wanted {
            return Look::LowTraffic;
        }
        if matches!(course.said, Look::Breach(_)) {
            return course.said;
        }
        self.said(&course.new, self.typical_until(point.at), most >= wanted)
    }

    /// The median of the baseline as it is known at a slot.
    fn typical_until(&self, at: Timestamp) -> Option<f64> {
        match self.comparison.against {
            Against::Before => self.typical,
            Against::Beside { .. } => {
                let first = self.first_slot();
                median(&values(self.beside.iter().filter(|point| first <= point.at && point.at <= at)))
            }
        }
    }

    /// Whether it was breaching before the deploy: the last of what was there by then, against what was before (design, R5).
    /// Of what runs beside nothing was there.
    fn before_deploy(&self, point: Point) -> Look {
        match self.comparison.against {
            Against::Beside { .. } if point.look == Look::Error || point.look == Look::Partial => return point.look,
            Against::Beside { .. } => return Look::NoData,
            Against::Before => {}
        }
        if point.look.value().is_none() {
            return point.look;
        }
        let there: Vec<&Point> = self.own.iter().filter(|each| each.at <= point.at).collect();
        let last = match self.comparison.test {
            Test::MannWhitney { window } => slots(window, self.metric.step),
            Test::Sequential => there.len().div_ceil(BEFORE_PARTS),
        };
        let (earlier, last) = there.split_at(there.len().saturating_sub(last));
        let earlier = earlier.iter().filter(|each| each.at <= self.scene.healthy_before);
        let (base, new) = (values(earlier.copied()), values(last.iter().copied()));
        match self.comparison.test {
            Test::MannWhitney { .. } => self.compared(&new, &base, self.comparison.false_alarms),
            Test::Sequential => {
                let mut test = Sequential::among(&self.scaled(&base));
                new.iter().for_each(|value| test.take(self.worse(*value)));
                self.said(&new, median(&base), test.most() >= 1.0 / self.comparison.false_alarms)
            }
        }
    }

    /// What has fired is over when the last samples are back within the margin: their median, by the limit alone. No test
    /// is asked how sure that is: the clock of a recovery should not run for as long as another window takes.
    fn whether_over(&self, point: Point) -> Point {
        let last = self.own.iter().filter(|each| self.first_slot() <= each.at && each.at <= point.at);
        let last = values(last.rev().take(RECOVERY_SAMPLES));
        let beyond = self.is_beyond(&last, self.typical_until(point.at));
        let look = match (point.look.value(), beyond, median(&last)) {
            (Some(_), Some(true), Some(value)) => Look::Breach(value),
            (Some(_), Some(false), Some(value)) => Look::Clear(value),
            (Some(_), _, _) => Look::LowTraffic,
            (None, _, _) => self.gone(point),
        };
        Point { at: point.at, look }
    }

    /// In a canary, what fired is over as well when its version is there no more, and the other one is.
    fn gone(&self, point: Point) -> Look {
        let other = self.beside.iter().find(|beside| beside.at == point.at).and_then(|beside| beside.look.value());
        match (point.look, other) {
            (Look::NoData, Some(value)) => Look::Clear(value),
            (look, _) => look,
        }
    }
}

/// How often a step goes into a time.
fn slots(time: Duration, step: Duration) -> usize {
    usize::try_from(milliseconds(time) / milliseconds(step).max(1)).unwrap_or(usize::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "the windows of a watch are few")]
const fn real(count: usize) -> f64 {
    count as f64
}
