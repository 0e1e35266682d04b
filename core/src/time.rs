//! Instants and durations as the core uses them: milliseconds since the Unix epoch, handed in, never read from a clock.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An instant: milliseconds since the Unix epoch, UTC. Shown and stored as RFC 3339 with milliseconds.
///
/// One that may be missing takes no more room than one that is there: what is known of each trigger is many of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Timestamp {
    one_more: NonZeroU64,
}

/// The last instant that can be written in any time zone and read again, 9999-12-30T22:00Z; anything later is clamped to
/// it, so that no record holds an instant that the next start can't read.
const LATEST_MILLISECONDS: i64 = 253_402_207_200_000;

/// A text that is no RFC 3339 instant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an RFC 3339 instant such as 2026-11-23T10:04:02.125Z, not {0:?}")]
pub struct NotATimestamp(String);

impl Timestamp {
    /// The instant this many milliseconds after the Unix epoch, clamped to what lies between 1970 and the end of 9999.
    #[must_use]
    pub const fn from_milliseconds(milliseconds: i64) -> Self {
        let clamped = if milliseconds < 0 {
            0
        } else if milliseconds > LATEST_MILLISECONDS {
            LATEST_MILLISECONDS
        } else {
            milliseconds
        };
        Self { one_more: NonZeroU64::MIN.saturating_add(clamped.unsigned_abs()) }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn milliseconds(self) -> i64 {
        (self.one_more.get() - 1).cast_signed()
    }

    /// Seconds since the Unix epoch, as Prometheus takes and gives them.
    #[must_use]
    pub fn seconds(self) -> f64 {
        // Exact: 2^53 milliseconds are 285,000 years.
        #[expect(clippy::cast_precision_loss, reason = "clamped far below 2^53")]
        let milliseconds = self.milliseconds() as f64;
        milliseconds / 1000.0
    }

    /// The instant this many seconds after the epoch, rounded to the millisecond; `None` for what is not finite.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        if !seconds.is_finite() {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a float-to-integer cast saturates, and the constructor clamps"
        )]
        let milliseconds = (seconds * 1000.0).round() as i64;
        Some(Self::from_milliseconds(milliseconds))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.one_more.get().saturating_sub(earlier.one_more.get()))
    }

    /// The latest multiple of `step` (counted from the epoch) that is not after this instant. Slots lie on such
    /// multiples, so that all services that share a query share its slots. A step of zero is taken as 1 ms.
    #[must_use]
    pub fn floor(self, step: Duration) -> Self {
        let step = milliseconds(step).max(1);
        Self::from_milliseconds(self.milliseconds() - self.milliseconds().rem_euclid(step))
    }
}

/// A duration in whole milliseconds, saturating.
#[must_use]
pub fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self::from_milliseconds(self.milliseconds().saturating_add(milliseconds(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self::from_milliseconds(self.milliseconds().saturating_sub(milliseconds(duration)))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Timestamp({})", self.milliseconds())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.milliseconds()) {
            Ok(instant) => write!(formatter, "{instant:.3}"),
            Err(_) => write!(formatter, "{}ms", self.milliseconds()),
        }
    }
}

impl FromStr for Timestamp {
    type Err = NotATimestamp;
    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        let instant: jiff::Timestamp = text.parse().map_err(|_| NotATimestamp(text.to_owned()))?;
        Ok(Self::from_milliseconds(instant.as_millisecond()))
    }
}

impl From<Timestamp> for String {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.to_string()
    }
}

impl TryFrom<String> for Timestamp {
    type Error = NotATimestamp;
    fn try_from(text: String) -> Result<Self, NotATimestamp> {
        text.parse()
    }
}

/// Reads a duration as people write it in the config: `90s`, `2m`, `1h30m`, `500ms`, `30d`.
///
/// # Errors
/// Says what was expected where the text is no duration, or one that humantime takes for something that the writer
/// hardly meant: `5M` (months), years, or the same unit twice.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = "expected a duration such as 90s, 2m or 1h30m";
    // humantime takes the micro sign as a part of a unit, which the list below would not see.
    if !text.is_ascii() {
        return Err(format!("{expected} (units ms, s, m, h, d, w), not {text:?}"));
    }
    let mut units: Vec<String> = Vec::new();
    let mut unit = String::new();
    for character in text.chars().chain(std::iter::once('0')) {
        if character.is_ascii_alphabetic() {
            unit.push(character);
        } else if !unit.is_empty() {
            units.push(std::mem::take(&mut unit));
        }
    }
    for (index, unit) in units.iter().enumerate() {
        if !matches!(unit.as_str(), "ms" | "s" | "sec" | "m" | "min" | "h" | "d" | "w") {
            return Err(format!("{expected} (units ms, s, m, h, d, w), not {text:?}"));
        }
        if units[..index].contains(unit) {
            return Err(format!("{expected}; {text:?} has the unit {unit:?} twice"));
        }
    }
    let duration = humantime::parse_duration(text).map_err(|error| format!("{expected}, not {text:?}: {error}"))?;
    if !duration.subsec_nanos().is_multiple_of(1_000_000) {
        return Err(format!("{expected}, in whole milliseconds, not {text:?}"));
    }
    Ok(duration)
}

/// Shows a duration as the config would write it, to the millisecond: `1m 30s`. [`parse_duration`] reads it back.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let mut left = duration.as_millis();
    let mut parts = Vec::new();
    // No months and years, which humantime would show, and which nobody may write.
    for (unit, milliseconds) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        let count = left / milliseconds;
        left %= milliseconds;
        if count > 0 {
            parts.push(format!("{count}{unit}"));
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// The longest duration that Prometheus reads, some 292 years: it counts nanoseconds in 63 bits ("duration out of
/// range", `ParseDuration` of its `model` package).
pub const LONGEST_PROMQL: Duration = Duration::from_millis(9_223_372_036_854);

/// Shows a duration as PromQL takes it: exact to the millisecond, from `1ms` (a range of nothing is none) to
/// [`LONGEST_PROMQL`].
///
/// No number in it needs more than 32 bits: not every reader of PromQL takes more.
#[must_use]
pub fn promql_duration(duration: Duration) -> String {
    let milliseconds = milliseconds(duration.min(LONGEST_PROMQL)).max(1);
    let (number, unit) = if milliseconds % 1000 == 0 { (milliseconds / 1000, "s") } else { (milliseconds, "ms") };
    if number <= i64::from(u32::MAX) {
        return format!("{number}{unit}");
    }
    let (days, rest) = (milliseconds / DAY_MILLISECONDS, milliseconds % DAY_MILLISECONDS);
    if rest == 0 { format!("{days}d") } else { format!("{days}d{rest}ms") }
}

const DAY_MILLISECONDS: i64 = 24 * 60 * 60 * 1000;

/// Serde for durations in records: milliseconds.
pub mod as_milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes whole milliseconds.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// Reads whole milliseconds.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Ok(Duration::from_millis(u64::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_survives_being_written_and_read() {
        let instant: Timestamp = "2026-11-23T10:04:02.125Z".parse().unwrap();
        assert_eq!(instant.to_string(), "2026-11-23T10:04:02.125Z");
        assert_eq!("2026-11-23T12:04:02.125+02:00".parse(), Ok(instant));
        assert_eq!(Timestamp::from_milliseconds(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(format!("{:?}", Timestamp::from_milliseconds(7)), "Timestamp(7)");
    }

    #[test]
    fn an_instant_lies_where_it_can_be_written_and_read_again() {
        for (milliseconds, shown) in [
            (i64::MIN, "1970-01-01T00:00:00.000Z"),
            (-1, "1970-01-01T00:00:00.000Z"),
            (1, "1970-01-01T00:00:00.001Z"),
            (253_402_207_199_999, "9999-12-30T21:59:59.999Z"),
            (253_402_207_200_001, "9999-12-30T22:00:00.000Z"),
            (i64::MAX, "9999-12-30T22:00:00.000Z"),
        ] {
            let instant = Timestamp::from_milliseconds(milliseconds);
            assert_eq!(instant.to_string(), shown);
            assert_eq!(shown.parse(), Ok(instant));
        }
    }

    #[test]
    fn months_years_and_repeated_units_are_no_durations() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["5M", "1y", "1month", "5m5m", "", "90", "-5m", "soon", "1\u{b5}s", "0.0001s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_duration_is_shown_as_it_may_be_written() {
        let table = [("0s", "0s"), ("90s", "1m 30s"), ("2w", "14d"), ("366d", "366d"), ("1h1ms", "1h 1ms")];
        for (written, shown) in table {
            let duration = parse_duration(written).unwrap();
            assert_eq!(show_duration(duration), shown);
            assert_eq!(parse_duration(shown), Ok(duration));
        }
    }

    #[test]
    fn slots_lie_on_multiples_of_the_step() {
        let instant = Timestamp::from_milliseconds(31_999);
        assert_eq!(instant.floor(Duration::from_secs(15)).milliseconds(), 30_000);
        assert_eq!(instant.floor(Duration::ZERO), instant);
    }
}
