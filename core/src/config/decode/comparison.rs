//! `compare`: a trigger that a statistical test decides, with what it needs and what it does without.
//!
//! Never leaves a test to be looked at more often than its false alarms allow: that is not the config's to choose.

use std::time::Duration;

use super::query::Queried;
use super::{DAY, HOUR, MINUTE, SECOND};
use crate::config::lint::Lint;
use crate::config::node::{self, Fields, Node, Problems};
use crate::config::{Against, Comparison, Condition, Limit, Query, Test};
use crate::template::Variable;
use crate::time::show_duration;

/// False alarms in a whole watch, where the config says nothing: with a deploy a day, three or four a year.
const FALSE_ALARMS: f64 = 0.01;

/// More than one in five, and nobody believes an alarm.
const MOST_FALSE_ALARMS: f64 = 0.2;

/// Fewer samples than this in a window would show only differences that a limit shows as well.
const LEAST_SAMPLES: u64 = 5;

/// The keys that say how a trigger compares.
pub(super) struct Keys<'a> {
    pub(super) compare: Option<&'a Node>,
    pub(super) false_alarms: Option<&'a Node>,
    /// The label of `baseline`, with its place.
    pub(super) label: Option<(&'a Node, String)>,
}

/// What else a trigger says, as far as it was read.
pub(super) struct Read<'a> {
    pub(super) hold: Duration,
    /// The longest window of its queries.
    pub(super) window: Duration,
    pub(super) interval: Duration,
    pub(super) condition: Condition,
    pub(super) query: &'a Query,
    pub(super) queried: &'a [Queried],
}

/// The comparison with the step of its samples; nothing at all where it can't be read.
#[expect(
    clippy::option_option,
    reason = "no comparison is right for most triggers; one that can't be read is a mistake"
)]
pub(super) fn decode(
    fields: &Fields<'_>,
    keys: Keys<'_>,
    read: &Read<'_>,
    problems: &mut Problems,
) -> Option<Option<(Comparison, Duration)>> {
    let Some(compare) = keys.compare else {
        if keys.false_alarms.is_some() {
            problems.error(fields.key_place("false_alarms"), "`false_alarms` means nothing without `compare`");
        }
        if let Some((label, _)) = &keys.label {
            problems.error(label.place, "`label` means nothing without `compare`: expected `window`");
        }
        return Some(None);
    };
    let words = [("mann_whitney", Test::MannWhitney { window: read.hold }), ("sequential", Test::Sequential)];
    let test = node::choice(compare, &words, problems);
    let false_alarms = keys.false_alarms.map_or(Some(FALSE_ALARMS), |node| rate(node, problems));
    let fits = suits(fields, compare, read, problems);
    let step = step(fields, test?, read, problems);
    let against = keys.label.map_or(Against::Before, |(_, label)| Against::Beside { label });
    let comparison = Comparison { test: test?, against, false_alarms: false_alarms? };
    let step = step.filter(|_| fits)?;
    Some(Some((comparison, step)))
}

fn rate(node: &Node, problems: &mut Problems) -> Option<f64> {
    let written = node::text(node, problems)?;
    let number = written.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let rate = number.map(|number| number / 100.0).filter(|rate| *rate > 0.0 && *rate <= MOST_FALSE_ALARMS);
    if rate.is_none() {
        problems.error(
            node.place,
            format!("expected a percentage of watches, more than 0% and at most 20%, not {written:?}"),
        );
    }
    rate
}

/// What a baseline is of: a window before the deploy, or what a label tells of the versions that run side by side.
pub(super) struct Baseline<'a> {
    pub(super) window: Duration,
    pub(super) label: Option<(&'a Node, String)>,
}

/// Reads `baseline`; an hour where it says nothing.
pub(super) fn baseline<'a>(node: Option<&'a Node>, problems: &mut Problems) -> Baseline<'a> {
    let read = node.and_then(|node| {
        let mut fields = Fields::of(node, "baseline", problems)?;
        let label = fields.optional("label");
        let window = if label.is_some() { fields.optional("window") } else { fields.required("window", problems) };
        if let (Some(_), Some(window)) = (label, window) {
            problems.error(
                window.place,
                "expected `window` or `label`, not both: what runs beside is compared as it comes",
            );
        }
        let window = window.and_then(|node| {
            let window = node::duration_within(node, SECOND, 7 * DAY, problems)?;
            if window < MINUTE {
                problems.warning(Lint::ShortBaseline, node.place, "a baseline of less than 1m rests on few samples");
            }
            Some(window)
        });
        fields.finish(problems);
        let label = label.and_then(|node| Some((node, node::text(node, problems)?.to_owned())));
        Some(Baseline { window: window.unwrap_or(HOUR), label })
    });
    read.unwrap_or(Baseline { window: HOUR, label: None })
}

/// Whether the trigger's queries and limit are such that samples of them can be compared.
fn suits(fields: &Fields<'_>, compare: &Node, read: &Read<'_>, problems: &mut Problems) -> bool {
    let mut fits = true;
    let mut wrong = |place, message: &str| {
        problems.error(place, message);
        fits = false;
    };
    match read.query {
        Query::Expression(_) => {}
        Query::Ratio { .. } => wrong(
            compare.place,
            "`compare` needs an `expr`: a healthy version's ratio is 0, and no multiple of that means anything; a ratio has a \
             limit such as 5%",
        ),
        Query::Filter { .. } => wrong(compare.place, "`compare` needs a limit such as `above: 1.2x baseline`"),
    }
    match read.condition {
        Condition::Above(Limit::TimesBaseline { .. })
        | Condition::Below(Limit::TimesBaseline { .. })
        | Condition::Any => {}
        Condition::Above(Limit::Fixed { .. }) | Condition::Below(Limit::Fixed { .. }) => wrong(
            compare.place,
            "`compare` needs a limit such as `above: 1.2x baseline`: what is within that multiple does not count",
        ),
    }
    for each in read.queried.iter().filter(|each| each.template.names(Variable::SinceDeploy)) {
        wrong(
            each.place,
            "{{ since_deploy }} makes windows that overlap: samples are compared that have nothing in common",
        );
    }
    if let Condition::Above(Limit::TimesBaseline { factor: 1.0, .. }) = read.condition {
        let message = "without a margin, a difference that nobody would notice fires in the end: write 1.2x baseline";
        problems.warning(Lint::BaselineFactor, fields.value_place("above"), message);
    }
    fits
}

/// From sample to sample: no shorter than the queries' window.
fn step(fields: &Fields<'_>, test: Test, read: &Read<'_>, problems: &mut Problems) -> Option<Duration> {
    let apart = read.window.max(read.interval);
    match test {
        Test::Sequential => {
            if !read.hold.is_zero() {
                let message =
                    "`for` means nothing with `compare: sequential`, which fires as soon as there is enough to say so";
                problems.error(fields.key_place("for"), message);
                return None;
            }
            Some(apart)
        }
        Test::MannWhitney { window } => {
            let samples = samples(window, apart);
            if samples.is_none() {
                let (apart, least) =
                    (show_duration(apart), show_duration(apart * u32::try_from(LEAST_SAMPLES).unwrap_or(u32::MAX)));
                let message = format!(
                    "{} compares windows as long as its `for`, with one sample every {apart} (its query's window, or \
                     evaluation_interval): expected `for` to be {least} or longer",
                    fields.what()
                );
                problems.error(fields.value_place("for"), message);
            }
            samples.map(|samples| window / samples)
        }
    }
}

/// How many samples a window has: as many as fit, and such that they are whole milliseconds apart.
fn samples(window: Duration, apart: Duration) -> Option<u32> {
    let (window, apart) = (window.as_millis(), apart.max(SECOND / 10).as_millis());
    let most = window / apart;
    let samples = (u128::from(LEAST_SAMPLES)..=most).rev().find(|samples| window.is_multiple_of(*samples))?;
    u32::try_from(samples).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_as_many_samples_as_fit_into_it() {
        let samples = |window, apart| samples(Duration::from_secs(window), Duration::from_secs(apart));
        assert_eq!(samples(600, 60), Some(10));
        assert_eq!(samples(600, 45), Some(12), "13 would be parts of a millisecond apart");
        assert_eq!(samples(300, 60), Some(5));
        assert_eq!(samples(240, 60), None);
        assert_eq!(samples(0, 60), None);
    }
}
