//! Which versions served over time, out of what `version_query` showed at each slot.
//!
//! Never takes a gap of all samples for a deploy, nor a part of production that came back late.

use std::collections::{BTreeMap, BTreeSet};

use rollbackd_core::event::Serving;
use rollbackd_core::name::Version;
use rollbackd_core::reading::Series;
use rollbackd_core::time::Timestamp;

/// The label that names the version.
const VERSION_LABEL: &str = "version";

/// The label that names the platform's revision.
const REVISION_LABEL: &str = "revision";

/// The versions that served, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct History(Vec<Serving>);

/// When a version came, and whether it had been there before.
#[derive(Clone, Copy)]
struct Came {
    at: Timestamp,
    again: bool,
}

/// What is known while the slots are walked through.
#[derive(Default)]
struct Walk {
    /// The versions that are shown now.
    here: BTreeMap<Version, Came>,
    known: BTreeSet<Version>,
}

impl History {
    /// The history that these series tell. A slot at which nothing is shown tells nothing.
    #[must_use]
    pub(super) fn of(series: &[Series]) -> Self {
        let mut slots: BTreeMap<Timestamp, BTreeMap<Version, Option<String>>> = BTreeMap::new();
        for each in series {
            let Some(version) = each.labels.get(VERSION_LABEL).and_then(|label| Version::new(label.as_str()).ok())
            else {
                continue;
            };
            let revision = each.labels.get(REVISION_LABEL).filter(|label| Version::new(label.as_str()).is_ok());
            for (at, _) in &each.samples {
                slots.entry(*at).or_default().insert(version.clone(), revision.map(ToString::to_string));
            }
        }
        let mut walk = Walk::default();
        let mut served: Vec<Serving> = Vec::new();
        for (at, shown) in slots {
            let current = served.last();
            if let Some((version, since)) = walk.next(at, shown.keys(), current) {
                let revision = shown.get(&version).cloned().flatten();
                served.push(Serving { version, revision, since });
            }
        }
        Self(served)
    }

    /// What served at an instant. `not` is the version of the deploy before which is asked: it is not the answer.
    #[must_use]
    pub(super) fn at(&self, at: Timestamp, not: Option<&Version>) -> Option<Serving> {
        self.0.iter().rev().find(|serving| serving.since <= at && Some(&serving.version) != not).cloned()
    }

    /// The deploys: each version that took the place of another.
    #[must_use]
    pub(super) fn deploys(&self) -> &[Serving] {
        self.0.get(1..).unwrap_or_default()
    }
}

impl Walk {
    /// The version that begins to serve at this slot, with the instant since when it does, where there is one.
    fn next<'a>(
        &mut self,
        at: Timestamp,
        shown: impl Iterator<Item = &'a Version>,
        current: Option<&Serving>,
    ) -> Option<(Version, Timestamp)> {
        let came = |version: &Version| Came { at, again: self.known.contains(version) };
        let here = shown.map(|version| (version.clone(), self.here.get(version).copied().unwrap_or(came(version))));
        self.here = here.collect();
        self.known.extend(self.here.keys().cloned());
        let still = current.and_then(|current| self.here.get(&current.version));
        // Beside the one that serves, a version that was there before is no more than a part of production that came
        // back late.
        let may_follow = |came: &Came| still.is_none_or(|still| came.at > still.at && !came.again);
        let following = || self.here.iter().filter(|(_, came)| may_follow(came));
        let newest = following().map(|(_, came)| came.at).max()?;
        let mut newest_ones = following().filter(|(_, came)| came.at == newest);
        let (version, _) = newest_ones.next().filter(|_| newest_ones.next().is_none())?;
        // What had been there all along serves again from now on.
        let since = if current.is_none_or(|current| newest > current.since) { newest } else { at };
        Some((version.clone(), since))
    }
}

#[cfg(test)]
mod tests {
    use rollbackd_core::reading::Labels;

    use super::*;

    fn series(version: &str, slots: impl IntoIterator<Item = i64>) -> Series {
        let labels = Labels::from_iter([("version".into(), version.into())]);
        let samples = slots.into_iter().map(|slot| (Timestamp::from_milliseconds(slot * 1000), 1.0)).collect();
        Series { labels, samples }
    }

    fn served(series: &[Series]) -> Vec<(String, i64)> {
        let seconds = |at: Timestamp| at.milliseconds() / 1000;
        History::of(series).0.iter().map(|each| (each.version.to_string(), seconds(each.since))).collect()
    }

    #[test]
    fn a_version_serves_from_its_first_sample_until_another_comes() {
        type Served<'a> = &'a [(&'a str, i64)];
        let table: [(&str, Vec<Series>, Served<'_>); 11] = [
            ("one after the other", vec![series("v1", 1..4), series("v2", 4..8)], &[("v1", 1), ("v2", 4)]),
            ("a roll-out with both", vec![series("v1", 1..6), series("v2", 4..8)], &[("v1", 1), ("v2", 4)]),
            (
                "back to the one before",
                vec![series("v1", (1..4).chain(8..9)), series("v2", 4..8)],
                &[("v1", 1), ("v2", 4), ("v1", 8)],
            ),
            (
                "back to one that was still shown",
                vec![series("v1", 1..12), series("v2", 4..8)],
                &[("v1", 1), ("v2", 4), ("v1", 8)],
            ),
            (
                "a gap of everything",
                vec![series("v1", 1..4), series("v2", (4..6).chain(20..25))],
                &[("v1", 1), ("v2", 4)],
            ),
            (
                "a gap while both are there",
                vec![series("v1", (1..6).chain(20..22)), series("v2", (4..6).chain(20..25))],
                &[("v1", 1), ("v2", 4)],
            ),
            (
                "an old instance that comes back late",
                vec![series("v1", (1..5).chain(6..8)), series("v2", 4..12)],
                &[("v1", 1), ("v2", 4)],
            ),
            ("two from the beginning name none", vec![series("v1", 1..9), series("v2", 1..9)], &[]),
            ("a label that is no version", vec![series("$(x)", 1..9), series("v2", 3..9)], &[("v2", 3)]),
            (
                "back to the one before while the other is still shown",
                vec![series("v1", (1..4).chain(8..14)), series("v2", 4..11)],
                &[("v1", 1), ("v2", 4), ("v1", 8)],
            ),
            ("nothing", vec![], &[]),
        ];
        for (what, shown, expected) in table {
            let expected: Vec<_> = expected.iter().map(|(version, at)| ((*version).to_owned(), *at)).collect();
            assert_eq!(served(&shown), expected, "{what}");
        }
    }

    #[test]
    fn what_was_there_at_the_beginning_is_no_deploy() {
        let history = History::of(&[series("v1", 1..4), series("v2", 4..8)]);
        assert_eq!(history.deploys().iter().map(|each| each.version.to_string()).collect::<Vec<_>>(), ["v2"]);
        let at = Timestamp::from_milliseconds(5000);
        assert_eq!(history.at(at, None).map(|each| each.version.to_string()), Some("v2".to_owned()));
        let not = Version::new("v2").unwrap();
        assert_eq!(history.at(at, Some(&not)).map(|each| each.version.to_string()), Some("v1".to_owned()));
    }
}
