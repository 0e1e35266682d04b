//! The figures week by week.
//!
//! Never depends on where the reader is: weeks begin on Monday, 00:00 UTC, as in ISO 8601.

use std::time::Duration;

use rollbackd_core::time::{Timestamp, milliseconds};
use serde::Serialize;

use super::{Deployment, Tally, recovery};

const DAY: Duration = Duration::from_hours(24);
const WEEK: Duration = Duration::from_hours(24 * 7);

/// The first Monday after the Unix epoch, which was a Thursday.
const FIRST_MONDAY: Duration = Duration::from_hours(24 * 4);

/// More weeks than these are no picture: two years of them.
const MOST_WEEKS: usize = 106;

/// One week.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Week {
    /// Its Monday, as `2026-11-23`.
    pub week_of: String,
    /// The deploys.
    pub deployments: usize,
    /// Those of them that failed.
    pub failed: usize,
    /// The rollbacks of them.
    pub rollbacks: usize,
    /// Those of them that came while the one before had failed and was not back.
    pub fixes: usize,
    /// The median of the recoveries of those that failed, in seconds.
    pub median_recovery_seconds: Option<f64>,
}

/// The weeks from one instant to another, at most the latest two years of them. A recovery belongs to its deploy's week.
pub(super) fn weeks(deployments: &[Deployment], since: Timestamp, until: Timestamp) -> Vec<Week> {
    let mut weeks = Vec::new();
    let mut monday = monday_of(until);
    while weeks.len() < MOST_WEEKS && monday + WEEK > since {
        let next = monday + WEEK;
        let own: Vec<Deployment> =
            deployments.iter().filter(|each| each.at >= monday && each.at < next).cloned().collect();
        weeks.push(week(monday, &own));
        if monday < Timestamp::from_milliseconds(milliseconds(WEEK)) {
            break;
        }
        monday = monday - WEEK;
    }
    weeks.reverse();
    weeks
}

fn week(monday: Timestamp, deployments: &[Deployment]) -> Week {
    let Tally { deployments: count, failed, rollbacks, fixes } = Tally::of(deployments);
    Week {
        week_of: monday.to_string().get(..10).unwrap_or_default().to_owned(),
        deployments: count,
        failed,
        rollbacks,
        fixes,
        median_recovery_seconds: recovery(deployments).median_seconds,
    }
}

fn monday_of(at: Timestamp) -> Timestamp {
    let into = (at.milliseconds() - milliseconds(FIRST_MONDAY)).rem_euclid(milliseconds(WEEK));
    Timestamp::from_milliseconds(at.milliseconds() - into).floor(DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_begins_on_monday_at_midnight_utc() {
        for (at, monday) in [
            ("2026-11-29T23:59:59.999Z", "2026-11-23T00:00:00.000Z"),
            ("2026-11-30T00:00:00.000Z", "2026-11-30T00:00:00.000Z"),
            ("2027-01-01T12:00:00.000Z", "2026-12-28T00:00:00.000Z"),
        ] {
            assert_eq!(monday_of(at.parse().unwrap()).to_string(), monday);
        }
    }

    #[test]
    fn a_week_without_deploys_is_a_week_all_the_same() {
        let weeks = weeks(&[], "2026-11-02T10:00:00Z".parse().unwrap(), "2026-11-29T10:00:00Z".parse().unwrap());
        let names: Vec<&str> = weeks.iter().map(|week| week.week_of.as_str()).collect();
        assert_eq!(names, ["2026-11-02", "2026-11-09", "2026-11-16", "2026-11-23"]);
    }
}
