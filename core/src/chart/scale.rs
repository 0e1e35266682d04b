//! From instants and values to places in the picture, and the round numbers at the axes.
//!
//! Never divides by nothing: a span of no length is widened first.

use std::time::Duration;

use crate::time::{Timestamp, milliseconds};

/// What values are measured in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A ratio that is shown as a percentage.
    Percent,
    /// Seconds.
    Seconds,
    /// A number of who knows what.
    #[default]
    Plain,
}

impl Unit {
    /// The value as people read it, to three digits.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        let shown = value * self.factor();
        let decimals = if shown == 0.0 { 0 } else { 2 - order(shown) };
        format!("{}{}", trimmed(shown, decimals), self.suffix())
    }

    const fn factor(self) -> f64 {
        match self {
            Self::Percent => 100.0,
            Self::Seconds | Self::Plain => 1.0,
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Percent => " %",
            Self::Seconds => " s",
            Self::Plain => "",
        }
    }
}

/// The power of ten of a number other than 0.
fn order(value: f64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "the logarithm of a finite float is below 400")]
    let order = value.abs().log10().floor() as i32;
    order
}

fn trimmed(value: f64, decimals: i32) -> String {
    /// Beyond these a number is no longer read at a glance, nor does it fit beside an axis.
    const PLAIN: std::ops::RangeInclusive<i32> = -4..=6;
    if value != 0.0 && !PLAIN.contains(&order(value)) {
        return format!("{value:.2e}");
    }
    let text = format!("{value:.0$}", usize::try_from(decimals).unwrap_or(0));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A coordinate: one decimal is finer than any screen.
pub(super) fn place(coordinate: f64) -> String {
    let text = format!("{coordinate:.1}");
    if text == "-0.0" { "0.0".to_owned() } else { text }
}

/// Time from left to right.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeScale {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    pub(super) left: f64,
    pub(super) right: f64,
}

impl TimeScale {
    /// The place of an instant, at the edge for what lies outside.
    pub(super) fn x(&self, at: Timestamp) -> f64 {
        let span = (self.until.seconds() - self.from.seconds()).max(0.001);
        let part = (at.seconds() - self.from.seconds()) / span;
        self.left + part.clamp(0.0, 1.0) * (self.right - self.left)
    }

    pub(super) fn shows(&self, at: Timestamp) -> bool {
        (self.from..=self.until).contains(&at)
    }

    /// Round instants, seven at most, as UTC times of day.
    pub(super) fn ticks(&self) -> Vec<(Timestamp, String)> {
        const SECOND: u64 = 1000;
        const MINUTE: u64 = 60 * SECOND;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        const MOST: u64 = 7;
        /// Only the years that a `Timestamp` can hold, divided by the most ticks.
        const LONGEST: u64 = 365 * DAY * 2000;
        let round = [100, 200, 500].into_iter();
        let round = round.chain([1, 2, 5, 10, 15, 30].map(|each| each * SECOND));
        let round = round.chain([1, 2, 5, 10, 15, 30].map(|each| each * MINUTE));
        let mut round = round.chain([1, 2, 3, 6, 12].map(|each| each * HOUR)).chain([1, 7, 30, 365].map(|d| d * DAY));
        let span = u64::try_from(milliseconds(self.until.since(self.from))).unwrap_or(0);
        let step = round.find(|step| span / step < MOST).unwrap_or(LONGEST);
        let step_length = Duration::from_millis(step);
        let first = (self.from + Duration::from_millis(step - 1)).floor(step_length);
        let ticks = std::iter::successors(Some(first), |at| Some(*at + step_length));
        let ticks = ticks.take(8).take_while(|at| *at <= self.until);
        ticks.map(|at| (at, time_of_day(at, step))).collect()
    }
}

/// As much of an instant as ticks of this distance need.
fn time_of_day(at: Timestamp, step_milliseconds: u64) -> String {
    let text = at.to_string();
    let range = match step_milliseconds {
        0..1000 => 14..21,
        1000..60_000 => 11..19,
        60_000..86_400_000 => 11..16,
        _ => 0..10,
    };
    text.get(range).unwrap_or_default().to_owned()
}

/// Values from bottom to top.
#[derive(Clone, Copy, Debug)]
pub(super) struct ValueScale {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

impl ValueScale {
    /// The scale that shows all these values. It begins at 0 unless they lie far away from it and close together.
    pub(super) fn around(values: impl Iterator<Item = f64>, top: f64, bottom: f64) -> Self {
        /// Nothing that is measured is larger; larger floats lose the differences that ticks are made of.
        const LARGEST: f64 = 1e15;
        let values: Vec<f64> = values.map(|value| value.clamp(-LARGEST, LARGEST)).collect();
        let least = values.iter().copied().reduce(f64::min);
        let (Some(least), Some(most)) = (least, values.iter().copied().reduce(f64::max)) else {
            return Self { low: 0.0, high: 1.0, top, bottom };
        };
        // Both together say that they are positive.
        let far_from_zero = least > 0.7 * most && most > least;
        let low = if far_from_zero { least - (most - least) * 0.3 } else { least.min(0.0) };
        let span = (most.max(0.0) - low).max(most.abs() * 1e-6);
        let high = if span > 0.0 { low + span * 1.1 } else { low + 1.0 };
        Self { low, high, top, bottom }
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        let part = (value - self.low) / (self.high - self.low);
        self.bottom - part.clamp(0.0, 1.0) * (self.bottom - self.top)
    }

    /// Round values, six at most, each with its label.
    pub(super) fn ticks(&self, unit: Unit) -> Vec<(f64, String)> {
        let factor = unit.factor();
        let (low, high) = (self.low * factor, self.high * factor);
        let rough = (high - low) / 5.0;
        let power = 10_f64.powi(order(rough));
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|each| each * power).find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let decimals = -order(step);
        let first = (low / step).ceil();
        let ticks = (0..6_u8).map(|index| (first + f64::from(index)) * step).take_while(|value| *value <= high);
        ticks.map(|value| (value / factor, format!("{}{}", trimmed(value, decimals), unit.suffix()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_to_three_digits_in_its_unit() {
        assert_eq!(Unit::Percent.show(0.05), "5 %");
        assert_eq!(Unit::Percent.show(0.073_12), "7.31 %");
        assert_eq!(Unit::Seconds.show(0.840_4), "0.84 s");
        assert_eq!(Unit::Plain.show(12_345.6), "12346");
        assert_eq!(Unit::Plain.show(0.0), "0");
        assert_eq!(Unit::Plain.show(1.5e12), "1.50e12");
    }

    #[test]
    fn a_value_too_small_or_too_large_to_read_is_shown_with_its_power_of_ten() {
        assert_eq!(Unit::Plain.show(0.000_123_4), "0.000123");
        assert_eq!(Unit::Plain.show(0.000_012_34), "1.23e-5");
        assert_eq!(Unit::Plain.show(1_234_567.0), "1234567");
        assert_eq!(Unit::Plain.show(12_345_678.0), "1.23e7");
    }

    #[test]
    fn nothing_is_shown_as_minus_zero() {
        assert_eq!(Unit::Plain.show(-0.0), "0");
        assert_eq!([-0.04, -0.06, 0.0, 1.25].map(place), ["0.0", "-0.1", "0.0", "1.2"].map(str::to_owned));
    }

    /// From 0 at the bottom to 100 at the top.
    fn scale_of(values: &[f64]) -> ValueScale {
        ValueScale::around(values.iter().copied(), 0.0, 100.0)
    }

    fn assert_close(actual: f64, expected: f64) {
        assert!((actual - expected).abs() <= expected.abs() * 1e-12, "{actual} is not {expected}");
    }

    #[test]
    fn a_scale_begins_at_zero_unless_the_values_lie_far_from_it_and_close_together() {
        let table: [(&[f64], f64, f64); 10] = [
            (&[], 0.0, 1.0),
            (&[0.0], 0.0, 1.0),
            (&[0.0, 100.0], 0.0, 110.0),
            (&[70.0, 100.0], 0.0, 110.0),
            (&[100.0, 80.0, 90.0], 74.0, 102.6),
            (&[100.0, 100.0], 0.0, 110.0),
            (&[-50.0, 50.0], -50.0, 60.0),
            (&[-100.0, -80.0], -100.0, 10.0),
            // Nothing that is measured is larger.
            (&[0.0, f64::MAX], 0.0, 1.1e15),
            (&[f64::MIN, 0.0], -1e15, 1e14),
        ];
        for (values, low, high) in table {
            let scale = scale_of(values);
            assert_close(scale.low, low);
            assert_close(scale.high, high);
        }
    }

    #[test]
    fn values_that_hardly_differ_are_not_drawn_as_a_mountain() {
        let scale = scale_of(&[100.0, 100.000_000_01]);
        assert!((scale.high - scale.low - 110e-6).abs() < 1e-9, "{scale:?}");
    }

    #[test]
    fn a_value_has_its_place_between_bottom_and_top_and_never_beyond() {
        let scale = ValueScale { low: 10.0, high: 20.0, top: 100.0, bottom: 300.0 };
        let places = [9.0, 10.0, 12.5, 15.0, 20.0, 21.0].map(|value| scale.y(value));
        let expected = [300.0, 300.0, 250.0, 200.0, 100.0, 100.0];
        assert!(places.iter().zip(expected).all(|(actual, expected)| (actual - expected).abs() < 1e-9), "{places:?}");
    }

    #[test]
    fn ticks_are_round_within_the_scale_and_named_in_its_unit() {
        let table: [(&[f64], Unit, &str); 8] = [
            (&[0.0, 0.073, 0.05], Unit::Percent, "0 %, 2 %, 4 %, 6 %, 8 %"),
            (&[0.8, 0.9], Unit::Percent, "80 %, 85 %, 90 %"),
            (&[0.0, 0.4], Unit::Seconds, "0 s, 0.1 s, 0.2 s, 0.3 s, 0.4 s"),
            (&[0.0, 0.002], Unit::Plain, "0, 0.0005, 0.001, 0.0015, 0.002"),
            (&[0.0, 40.0], Unit::Plain, "0, 10, 20, 30, 40"),
            (&[100.0, 80.0], Unit::Plain, "80, 90, 100"),
            (&[-50.0, 50.0], Unit::Plain, "-50, 0, 50"),
            (&[0.0, 3e9], Unit::Plain, "0, 1.00e9, 2.00e9, 3.00e9"),
        ];
        for (values, unit, expected) in table {
            let ticks = scale_of(values).ticks(unit);
            let labels: Vec<&str> = ticks.iter().map(|tick| tick.1.as_str()).collect();
            assert_eq!(labels.join(", "), expected, "{values:?}");
            for (value, label) in &ticks {
                let factor = if unit == Unit::Percent { 100.0 } else { 1.0 };
                let named: f64 = label.split(' ').next().unwrap().parse().unwrap();
                assert!((value * factor - named).abs() <= named.abs() * 1e-9, "{value} is named {label}");
            }
        }
    }

    #[test]
    fn no_values_and_one_value_have_a_scale() {
        for values in [vec![], vec![0.0], vec![f64::MAX], vec![f64::MIN], vec![3.0, 3.0], vec![-1.0, -2.0]] {
            let scale = scale_of(&values);
            assert!(scale.high > scale.low, "{values:?}");
            assert!(scale.ticks(Unit::Plain).len() > 1, "{values:?} {scale:?}");
        }
    }

    /// A multiple of every round step up to a year: 15330 days are a multiple of 7, 30 and 365.
    fn round_instant() -> Timestamp {
        let instant: Timestamp = "2011-12-22T00:00:00Z".parse().unwrap();
        assert_eq!(instant.floor(Duration::from_hours(15_330 * 24)), instant);
        instant
    }

    fn time_scale(from: Timestamp, until: Timestamp) -> TimeScale {
        TimeScale { from, until, left: 100.0, right: 300.0 }
    }

    #[test]
    fn an_instant_has_its_place_between_left_and_right_and_never_beyond() {
        let from = round_instant();
        let after = |seconds| from + Duration::from_secs(seconds);
        let scale = time_scale(from, after(80));
        let instants = [from - Duration::from_secs(1), from, after(20), after(40), after(80), after(81)];
        let places = instants.map(|at| place(scale.x(at)));
        assert_eq!(places, ["100.0", "100.0", "150.0", "200.0", "300.0", "300.0"].map(str::to_owned));
        assert_eq!(instants.map(|at| scale.shows(at)), [false, true, true, true, true, false]);
        assert!(time_scale(from, from).x(from).is_finite());
    }

    #[test]
    fn time_has_as_many_round_ticks_as_have_room() {
        let steps = "100ms 200ms 500ms 1s 2s 5s 10s 15s 30s 1m 2m 5m 10m 15m 30m 1h 2h 3h 6h 12h 1d 7d 30d 365d";
        let steps: Vec<Duration> = steps.split(' ').map(|step| crate::time::parse_duration(step).unwrap()).collect();
        let (from, millisecond) = (round_instant(), Duration::from_millis(1));
        let multiples = |step: Duration, indices: std::ops::Range<u32>| -> Vec<Timestamp> {
            indices.map(|index| from + step * index).collect()
        };
        let instants = |scale: TimeScale| -> Vec<Timestamp> { scale.ticks().iter().map(|tick| tick.0).collect() };
        for (index, step) in steps.iter().enumerate() {
            let until = from + *step * 7 - millisecond;
            assert_eq!(instants(time_scale(from, until)), multiples(*step, 0..7), "{step:?}");
            assert_eq!(instants(time_scale(from + millisecond, until)), multiples(*step, 1..7), "{step:?}");
            let Some(next) = steps.get(index + 1) else { continue };
            let until = from + *step * 7;
            let mut expected = multiples(*next, 0..7);
            expected.retain(|at| *at <= until);
            assert_eq!(instants(time_scale(from, until)), expected, "{step:?}");
        }
    }

    #[test]
    fn a_span_of_thousands_of_years_has_ticks_as_well() {
        let scale = time_scale(Timestamp::from_milliseconds(0), "9998-01-01T00:00:00Z".parse().unwrap());
        let labels: Vec<String> = scale.ticks().into_iter().map(|tick| tick.1).collect();
        assert_eq!(labels, ["1970-01-01", "3968-09-03", "5967-05-07", "7966-01-07", "9964-09-09"]);
    }

    #[test]
    fn a_tick_says_as_much_of_its_instant_as_its_distance_needs() {
        let table = [
            ("600ms", "00:00.1"),
            ("3s", "00:00.5"),
            ("6s", "00:00:01"),
            ("3m", "00:00:30"),
            ("6m", "00:01"),
            ("3d", "12:00"),
            ("6d", "2011-12-23"),
        ];
        for (span, second) in table {
            let until = round_instant() + crate::time::parse_duration(span).unwrap();
            assert_eq!(time_scale(round_instant(), until).ticks()[1].1, second, "{span}");
        }
    }

    #[test]
    fn times_of_day_are_round() {
        let from: Timestamp = "2026-11-23T10:00:10Z".parse().unwrap();
        let labels: Vec<String> =
            time_scale(from, from + Duration::from_secs(500)).ticks().into_iter().map(|tick| tick.1).collect();
        assert_eq!(labels, ["10:02", "10:04", "10:06", "10:08"]);
    }
}
