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
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if !(least.is_finite() && most.is_finite()) {
            return Self { low: 0.0, high: 1.0, top, bottom };
        }
        let far_from_zero = least > 0.7 * most && least > 0.0 && most > least;
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
        let decimals = (-order(step * 1.000_001)).max(0);
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
    fn ticks_are_round_and_within_the_scale() {
        let scale = ValueScale::around([0.0, 0.073, 0.05].into_iter(), 0.0, 100.0);
        let labels: Vec<String> = scale.ticks(Unit::Percent).into_iter().map(|tick| tick.1).collect();
        assert_eq!(labels, ["0 %", "2 %", "4 %", "6 %", "8 %"].map(str::to_owned).to_vec(), "{labels:?}");
    }

    #[test]
    fn no_values_and_one_value_have_a_scale() {
        for values in [vec![], vec![0.0], vec![f64::MAX], vec![f64::MIN], vec![3.0, 3.0], vec![-1.0, -2.0]] {
            let scale = ValueScale::around(values.iter().copied(), 0.0, 100.0);
            assert!(scale.high > scale.low, "{values:?}");
            assert!(scale.ticks(Unit::Plain).len() > 1, "{values:?} {scale:?}");
        }
    }

    #[test]
    fn times_of_day_are_round() {
        let from: Timestamp = "2026-11-23T10:00:10Z".parse().unwrap();
        let scale = TimeScale { from, until: from + Duration::from_secs(500), left: 0.0, right: 1.0 };
        let labels: Vec<String> = scale.ticks().into_iter().map(|tick| tick.1).collect();
        assert_eq!(labels, ["10:02", "10:04", "10:06", "10:08"].map(str::to_owned).to_vec());
    }
}
