//! Which version serves, out of the series that `version_query` returned: the newest one's label `version`.
//!
//! Never guesses: where two versions are equally new, none is named.

use std::collections::BTreeMap;
use std::time::Duration;

use rollbackd_core::event::Serving;
use rollbackd_core::name::Version;
use rollbackd_core::reading::{Answer, Series};
use rollbackd_core::time::Timestamp;

/// How many steps back is looked for where a series began.
const STEPS: u32 = 20;

/// The most steps that a longer stretch is looked at in: a coarser step finds the same beginning less exactly.
const MOST_STEPS: u32 = 400;

/// From when, and in which steps, is to be asked what serves at an instant: so far back that a version which has
/// served since before `back_to` is seen to have done so.
#[must_use]
pub fn stretch(back_to: Option<Timestamp>, at: Timestamp, interval: Duration) -> (Timestamp, Duration) {
    let least = at - interval * STEPS;
    let from = back_to.map_or(least, |back_to| least.min(back_to - interval * 2));
    let step = interval.max(at.since(from) / MOST_STEPS);
    (from.min(back_to.map_or(from, |back_to| back_to - step * 2)), step)
}

/// The label that names the version.
const VERSION_LABEL: &str = "version";

/// The label that names the platform's revision.
const REVISION_LABEL: &str = "revision";

/// What served at the end of the range that was asked for; `None` inside where no version or more than one is newest.
///
/// # Errors
/// The query failed or was answered in part.
pub fn newest(answer: &Answer, step: Duration, not: Option<&Version>) -> Result<Option<Serving>, String> {
    let series = match answer {
        Answer::Series(series) => series,
        Answer::Partial(why) | Answer::Failed(why) => return Err(why.clone()),
    };
    let mut versions: BTreeMap<Version, Seen> = BTreeMap::new();
    for each in series {
        let Some((version, seen)) = candidate(each, step) else { continue };
        if not == Some(&version) {
            continue;
        }
        let known = versions.entry(version).or_insert_with(|| seen.clone());
        if (seen.0, seen.1) > (known.0, known.1) {
            *known = seen;
        }
    }
    let newest = versions.values().map(|(last, began, _)| (*last, *began)).max();
    let mut newest_versions = versions.into_iter().filter(|(_, (last, began, _))| Some((*last, *began)) == newest);
    let first = newest_versions.next();
    if newest_versions.next().is_some() {
        return Ok(None);
    }
    Ok(first.map(|(version, (_, since, revision))| Serving { version, revision, since }))
}

/// A version that was not there while another one was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appeared {
    /// The version.
    pub version: Version,
    /// The instant of its first sample.
    pub at: Timestamp,
    /// Whether no other version is shown any more.
    pub alone: bool,
}

/// The version that is still shown at the end of the range, where its first sample is later than another version's, and
/// later than those of all others that are still shown. A version that merely comes back after a gap of all samples, as
/// when Prometheus was away, has not appeared; nor has the only one that there ever was.
///
/// # Errors
/// The query failed or was answered in part.
pub fn appeared(answer: &Answer, at: Timestamp, step: Duration) -> Result<Option<Appeared>, String> {
    let series = match answer {
        Answer::Series(series) => series,
        Answer::Partial(why) | Answer::Failed(why) => return Err(why.clone()),
    };
    let mut versions: BTreeMap<Version, (Timestamp, Timestamp)> = BTreeMap::new();
    for each in series {
        let version = each.labels.get(VERSION_LABEL).and_then(|label| Version::new(label.as_str()).ok());
        let (Some(version), Some((first, _)), Some((last, _))) = (version, each.samples.first(), each.samples.last())
        else {
            continue;
        };
        let known = versions.entry(version).or_insert((*first, *last));
        *known = (known.0.min(*first), known.1.max(*last));
    }
    let shown = |last: Timestamp| at.since(last) < step * 2;
    let mut here = versions.iter().filter(|(_, (_, last))| shown(*last)).map(|(version, (first, _))| (*first, version));
    let Some((first, version)) = here.clone().max() else { return Ok(None) };
    let ties = here.clone().filter(|(other, _)| *other == first).count() > 1;
    let alone = here.all(|(_, other)| other == version);
    let after_another = versions.iter().any(|(other, (began, _))| other != version && *began < first);
    let found = after_another && !ties;
    Ok(found.then(|| Appeared { version: version.clone(), at: first, alone }))
}

/// When a version was last seen, when its last unbroken run of samples began, and its revision.
type Seen = (Timestamp, Timestamp, Option<String>);

/// A series' version, and how new it is.
fn candidate(series: &Series, step: Duration) -> Option<(Version, Seen)> {
    let version = Version::new(series.labels.get(VERSION_LABEL)?.as_str()).ok()?;
    let mut backwards = series.samples.iter().rev().map(|(at, _)| *at);
    let last = backwards.next()?;
    let mut began = last;
    for at in backwards {
        if began.since(at) > step + step / 2 {
            break;
        }
        began = at;
    }
    let revision =
        series.labels.get(REVISION_LABEL).filter(|label| Version::new(label.as_str()).is_ok()).map(ToString::to_string);
    Some((version, (last, began, revision)))
}

#[cfg(test)]
mod tests {
    use rollbackd_core::reading::Labels;

    use super::*;

    fn series(version: &str, seconds: &[i64]) -> Series {
        let labels = Labels::from_iter([("version".into(), version.into())]);
        Series {
            labels,
            samples: seconds.iter().map(|second| (Timestamp::from_milliseconds(second * 1000), 1.0)).collect(),
        }
    }

    fn newest_of(series: Vec<Series>, not: Option<&str>) -> Option<String> {
        let not = not.map(|version| Version::new(version).unwrap());
        let found = newest(&Answer::Series(series), Duration::from_secs(1), not.as_ref()).unwrap();
        found.map(|serving| serving.version.to_string())
    }

    #[test]
    fn a_version_that_served_before_the_deploy_is_seen_to_however_long_ago_that_was() {
        let at = |seconds: i64| Timestamp::from_milliseconds(seconds * 1000);
        for (deployed, now) in [(1_000, 1_001), (1_000, 1_030), (1_000, 90_000)] {
            let (from, step) = stretch(Some(at(deployed)), at(now), Duration::from_secs(1));
            assert!(from + step < at(deployed), "{deployed} {now}: {from} {step:?}");
            assert!(at(now).since(from).as_millis() / step.as_millis() <= u128::from(MOST_STEPS) + 3);
        }
        assert_eq!(stretch(None, at(100), Duration::from_secs(1)), (at(80), Duration::from_secs(1)));
    }

    #[test]
    fn the_series_that_is_still_there_serves() {
        assert_eq!(newest_of(vec![series("v1", &[1, 2, 3]), series("v2", &[4, 5])], None), Some("v2".to_owned()));
    }

    #[test]
    fn of_two_that_are_there_the_one_that_began_last_serves() {
        assert_eq!(newest_of(vec![series("v1", &[1, 2, 3, 4]), series("v2", &[3, 4])], None), Some("v2".to_owned()));
        assert_eq!(newest_of(vec![series("v1", &[1, 4, 5]), series("v2", &[2, 3, 4, 5])], None), Some("v1".to_owned()));
    }

    #[test]
    fn two_that_are_equally_new_name_none() {
        assert_eq!(newest_of(vec![series("v1", &[1, 2]), series("v2", &[1, 2])], None), None);
    }

    #[test]
    fn the_deployed_version_is_not_what_was_before() {
        assert_eq!(newest_of(vec![series("v1", &[1, 2, 3]), series("v2", &[3])], Some("v2")), Some("v1".to_owned()));
    }

    #[test]
    fn a_version_has_appeared_where_another_was_there_before_it() {
        let (old, new) = (|seconds: &[i64]| series("v1", seconds), |seconds: &[i64]| series("v2", seconds));
        type Expected = Option<(&'static str, i64, bool)>;
        let table: [(&str, Vec<Series>, Expected); 10] = [
            ("a roll-out that is over", vec![old(&[1, 2, 3]), new(&[3, 4, 5])], Some(("v2", 3, true))),
            ("one that is under way", vec![old(&[1, 2, 3, 4, 5]), new(&[4, 5])], Some(("v2", 4, false))),
            ("one of several instances", vec![old(&[1, 2]), new(&[4, 5]), new(&[3, 4, 5])], Some(("v2", 3, true))),
            ("the only one", vec![old(&[1, 2, 3, 4, 5])], None),
            ("another instance of the only one", vec![old(&[1, 2, 3, 4, 5]), old(&[4, 5])], None),
            ("two from the beginning", vec![old(&[1, 2, 3, 4, 5]), new(&[1, 2, 3, 4, 5])], None),
            ("the new one is gone again", vec![old(&[1, 2, 3, 4, 5]), new(&[2, 3])], None),
            ("after a gap of all", vec![old(&[1, 2, 5]), new(&[2, 5])], Some(("v2", 2, false))),
            ("nothing any more", vec![old(&[1, 2]), new(&[2])], None),
            ("a label that is no version", vec![old(&[1, 2, 3]), series("$(reboot)", &[4, 5])], None),
        ];
        for (what, shown, expected) in table {
            let at = Timestamp::from_milliseconds(5_000);
            let found = appeared(&Answer::Series(shown), at, Duration::from_secs(1)).unwrap();
            let found = found.map(|found| (found.version.to_string(), found.at, found.alone));
            let expected = expected.map(|(version, second, alone)| {
                (version.to_owned(), Timestamp::from_milliseconds(second * 1000), alone)
            });
            assert_eq!(found, expected, "{what}");
        }
        let failed = appeared(&Answer::Partial("half".to_owned()), Timestamp::from_milliseconds(0), Duration::ZERO);
        assert_eq!(failed, Err("half".to_owned()));
    }

    #[test]
    fn a_label_that_is_no_version_names_nothing() {
        assert_eq!(newest_of(vec![series("$(reboot)", &[1])], None), None);
    }
}
