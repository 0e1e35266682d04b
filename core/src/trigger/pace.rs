//! How rarely a trigger may be looked at.
//!
//! Never says when: that is the shell's.

use std::time::Duration;

/// The longest time from one look to the next while nothing breaches: a breach that begins right after one must be seen by
/// the next before its `for` (`hold`) is over. No longer than `interval`, and whole steps.
#[must_use]
pub fn pace(hold: Duration, step: Duration, interval: Duration) -> Duration {
    whole_steps(interval.min(hold.saturating_sub(step)), step)
}

/// The most whole steps that are no longer than `longest`; at least one.
#[must_use]
pub fn whole_steps(longest: Duration, step: Duration) -> Duration {
    let least = step.max(Duration::from_millis(1));
    let steps = longest.as_millis() / least.as_millis();
    least * u32::try_from(steps).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_a_trigger_is_clear_it_is_looked_at_as_rarely_as_misses_nothing() {
        let ms = Duration::from_millis;
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
}
