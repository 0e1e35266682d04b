//! Software delivery metrics out of a journal: how often a service is deployed, how often that fails, how long the
//! recovery takes, and how many deployments nobody had planned.
//!
//! The definitions are DORA's (<https://dora.dev/guides/dora-metrics/>); [`DEFINITIONS`] says how each is read here.
//! Change lead time is the fifth of them and no journal of deploys can tell it: it begins at a commit.
//!
//! Never counts a dry run or a rehearsal, and never guesses a time that was not recorded.

mod page;
mod weeks;

use std::collections::BTreeSet;
use std::time::Duration;

use rollbackd_core::deploy::{Entry, Incident, WatchEnd};
use rollbackd_core::firing::FiringEnd;
use rollbackd_core::name::ServiceName;
use rollbackd_core::state::{ServiceState, State};
use rollbackd_core::time::Timestamp;
use serde::Serialize;

pub use page::page;
pub(crate) use page::{percent, plural};
pub use weeks::Week;

/// What each figure means: DORA's definition, then what of a journal is taken for it.
pub const DEFINITIONS: [(&str, &str); 4] = [
    (
        "deployment frequency",
        "how many deployments there are over a period. A deployment is a deploy that was reported or seen; what a \
         rollback brings back is none.",
    ),
    (
        "change fail rate",
        "the share of deployments that need immediate intervention. Here: at least one trigger fired that rolls back \
         or pages, and no human dismissed it.",
    ),
    (
        "failed deployment recovery time",
        "how long it takes to recover from a deployment that fails and needs immediate intervention. Here: from the \
         instant at which, by the data, the first trigger fired to the proven recovery; where no rollback brought \
         production back, to the next deploy that passed its watch.",
    ),
    (
        "deployment rework rate",
        "the share of deployments that nobody had planned, made because of an incident in production. Here: \
         rollbacks, and deploys that came while the deploy before had failed and was not back; of all deploys and \
         rollbacks.",
    ),
];

/// A rate over less than this says nothing of a week.
const SHORTEST_PERIOD: Duration = Duration::from_hours(24);

/// The figures of all services over one period.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The begin of the period.
    pub since: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// The services by name.
    pub services: Vec<Figures>,
}

/// The figures of one service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// The service.
    pub service: ServiceName,
    /// Since when its deploys are known: the begin of the period, or the oldest deploy that the ledger has.
    pub known_since: Timestamp,
    /// The deploys.
    pub deployments: usize,
    /// Deploys a week, over the time since `known_since` (a day at least).
    pub per_week: f64,
    /// The deploys that failed.
    pub failed: usize,
    /// `failed` of `deployments`; `None` without deploys.
    pub change_fail_rate: Option<f64>,
    /// How long recoveries took.
    pub recovery: Recovery,
    /// The rollbacks by a path that succeeded.
    pub rollbacks: usize,
    /// The deploys that came while the one before had failed and was not back.
    pub fixes: usize,
    /// `rollbacks` and `fixes` of `deployments` and `rollbacks`; `None` without deploys.
    pub rework_rate: Option<f64>,
    /// Deploys of rehearsals and dry runs, which count nowhere.
    pub left_out: usize,
    /// The same week by week, oldest first; weeks begin on Monday, UTC.
    pub weeks: Vec<Week>,
}

/// How long recoveries of failed deploys took.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Recovery {
    /// How many are known.
    pub count: usize,
    /// Failed deploys whose recovery is not known: they still are bad, or it was never recorded.
    pub unknown: usize,
    /// The median in seconds, by nearest rank.
    pub median_seconds: Option<f64>,
    /// The 90th percentile in seconds, by nearest rank.
    pub p90_seconds: Option<f64>,
    /// How many took how long.
    pub distribution: Vec<Class>,
}

/// One class of a distribution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Class {
    /// What belongs to it.
    pub took: &'static str,
    /// How many do.
    pub count: usize,
}

/// The classes of recovery times: this long at most, and how it is called.
const CLASSES: [(Duration, &str); 7] = [
    (Duration::from_mins(2), "up to 2 minutes"),
    (Duration::from_mins(5), "up to 5 minutes"),
    (Duration::from_mins(15), "up to 15 minutes"),
    (Duration::from_hours(1), "up to 1 hour"),
    (Duration::from_hours(24), "up to 1 day"),
    (Duration::from_hours(24 * 7), "up to 1 week"),
    (Duration::MAX, "longer"),
];

/// One deploy, as far as it counts.
#[derive(Clone, Debug)]
struct Deployment {
    at: Timestamp,
    failure: Option<Failure>,
    rollbacks: usize,
    is_fix: bool,
    left_out: bool,
}

/// That it failed.
#[derive(Clone, Copy, Debug)]
struct Failure {
    /// When the first trigger fired, where that is recorded.
    observed_at: Option<Timestamp>,
    /// When production was proven to be back on another version.
    rolled_back_at: Option<Timestamp>,
    /// When production was back, also where a later deploy brought that.
    recovered_at: Option<Timestamp>,
}

impl Failure {
    fn took(&self) -> Option<Duration> {
        Some(self.recovered_at?.since(self.observed_at?))
    }
}

/// The figures of a state. `not_incidents` are the numbers of receipts that tell of a rehearsal or a dry run.
#[must_use]
pub fn report(state: &State, not_incidents: &BTreeSet<u64>, since: Timestamp, until: Timestamp) -> Report {
    let services = state.services.iter().filter(|(_, own)| !own.ledger.entries.is_empty());
    let services = services.map(|(name, own)| figures(name, own, not_incidents, since, until)).collect();
    Report { since, until, services }
}

fn figures(
    name: &ServiceName,
    own: &ServiceState,
    not_incidents: &BTreeSet<u64>,
    since: Timestamp,
    until: Timestamp,
) -> Figures {
    let all = deployments(own, not_incidents);
    let first = all.iter().map(|deployment| deployment.at).min().unwrap_or(until);
    let known_since = first.max(since).min(until);
    let within = all.into_iter().filter(|deployment| deployment.at >= since && deployment.at <= until);
    let (left_out, counted): (Vec<_>, Vec<_>) = within.partition(|deployment| deployment.left_out);
    let tally = Tally::of(&counted);
    let days = until.since(known_since).max(SHORTEST_PERIOD).as_secs_f64() / SHORTEST_PERIOD.as_secs_f64();
    Figures {
        service: name.clone(),
        known_since,
        deployments: tally.deployments,
        per_week: number(tally.deployments) / days * 7.0,
        failed: tally.failed,
        change_fail_rate: share(tally.failed, tally.deployments),
        recovery: recovery(&counted),
        rollbacks: tally.rollbacks,
        fixes: tally.fixes,
        rework_rate: tally.rework_rate(),
        left_out: left_out.len(),
        weeks: weeks::weeks(&counted, known_since, until),
    }
}

/// Counts of some deploys.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    deployments: usize,
    failed: usize,
    rollbacks: usize,
    fixes: usize,
}

impl Tally {
    fn of(deployments: &[Deployment]) -> Self {
        Self {
            deployments: deployments.len(),
            failed: deployments.iter().filter(|each| each.failure.is_some()).count(),
            rollbacks: deployments.iter().map(|each| each.rollbacks).sum(),
            fixes: deployments.iter().filter(|each| each.is_fix).count(),
        }
    }

    fn rework_rate(&self) -> Option<f64> {
        share(self.rollbacks + self.fixes, self.deployments + self.rollbacks)
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| number(part) / number(whole))
}

#[expect(clippy::cast_precision_loss, reason = "a ledger has some hundred entries")]
const fn number(count: usize) -> f64 {
    count as f64
}

fn deployments(own: &ServiceState, not_incidents: &BTreeSet<u64>) -> Vec<Deployment> {
    let entries = &own.ledger.entries;
    let mut deployments: Vec<Deployment> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let left_out = is_left_out(own, entry, not_incidents);
        let healthy_again = entries.get(index + 1..).unwrap_or_default().iter();
        let healthy_again = healthy_again.filter(|later| later.end == Some(WatchEnd::Passed));
        let healthy_again = healthy_again.map(|later| later.deploy.at).next();
        let failure = failure(own, entry)
            .map(|rolled_back| Failure { recovered_at: rolled_back.rolled_back_at.or(healthy_again), ..rolled_back });
        let at = entry.deploy.at;
        let before = deployments.last().filter(|before| !before.left_out).and_then(|before| before.failure);
        let is_fix = before.is_some_and(|before| before.rolled_back_at.is_none_or(|back| back > at));
        deployments.push(Deployment {
            at,
            failure,
            rollbacks: entry.incidents.iter().map(|incident| incident.rollbacks).sum(),
            is_fix,
            left_out,
        });
    }
    deployments
}

/// Whether a dry run or a rehearsal is what fired about it, or what fires now.
fn is_left_out(own: &ServiceState, entry: &Entry, not_incidents: &BTreeSet<u64>) -> bool {
    let told = |incident: &Incident| incident.dry_run || not_incidents.contains(&incident.receipt);
    let about = |deploy: &Option<rollbackd_core::deploy::Deploy>| {
        deploy.as_ref().is_some_and(|deploy| deploy.id == entry.deploy.id)
    };
    let open = own.open_firings().any(|firing| firing.dry_run && about(&firing.deploy));
    open || entry.incidents.iter().any(told)
}

/// Whether and how a deploy failed, by its own firings alone.
fn failure(own: &ServiceState, entry: &Entry) -> Option<Failure> {
    let open = own.open_firings();
    let open = open.filter(|firing| firing.deploy.as_ref().is_some_and(|deploy| deploy.id == entry.deploy.id));
    let mut open = open.map(|firing| firing.observed_at).peekable();
    let still_open = open.peek().is_some();
    let counted = || entry.incidents.iter().filter(|incident| incident.result != FiringEnd::Dismissed);
    let observed_at = counted().map(|incident| incident.observed_at).chain(open).min();
    if observed_at.is_some() {
        // One that is still open is not over because another one is.
        let recovered = counted().filter_map(|incident| incident.recovered_at).max();
        return Some(Failure { observed_at, rolled_back_at: recovered.filter(|_| !still_open), recovered_at: None });
    }
    // Written before incidents were remembered: that it failed is known, and when is not.
    let failed = entry.incidents.is_empty()
        && (entry.rolled_back || matches!(entry.end, Some(WatchEnd::RolledBack | WatchEnd::Paged)));
    failed.then_some(Failure { observed_at: None, rolled_back_at: None, recovered_at: None })
}

fn recovery(deployments: &[Deployment]) -> Recovery {
    let failures: Vec<Failure> = deployments.iter().filter_map(|deployment| deployment.failure).collect();
    let mut took: Vec<Duration> = failures.iter().filter_map(Failure::took).collect();
    took.sort_unstable();
    let mut distribution: Vec<Class> = CLASSES.map(|(_, name)| Class { took: name, count: 0 }).to_vec();
    for duration in &took {
        let class = CLASSES.iter().position(|(longest, _)| duration <= longest);
        if let Some(class) = class.and_then(|class| distribution.get_mut(class)) {
            class.count += 1;
        }
    }
    Recovery {
        count: took.len(),
        unknown: failures.len() - took.len(),
        median_seconds: nearest_rank(&took, 50).map(|took| took.as_secs_f64()),
        p90_seconds: nearest_rank(&took, 90).map(|took| took.as_secs_f64()),
        distribution,
    }
}

/// The percentile by nearest rank of durations in their order: a value that did occur.
fn nearest_rank(sorted: &[Duration], percent: usize) -> Option<Duration> {
    sorted.get((sorted.len() * percent).div_ceil(100).checked_sub(1)?).copied()
}

impl Recovery {
    /// The median.
    #[must_use]
    pub fn median(&self) -> Option<Duration> {
        self.median_seconds.map(Duration::from_secs_f64)
    }

    /// The 90th percentile.
    #[must_use]
    pub fn p90(&self) -> Option<Duration> {
        self.p90_seconds.map(Duration::from_secs_f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_occurred() {
        let seconds = |values: &[u64]| values.iter().map(|each| Duration::from_secs(*each)).collect::<Vec<_>>();
        assert_eq!(nearest_rank(&[], 50), None);
        assert_eq!(nearest_rank(&seconds(&[7]), 90), Some(Duration::from_secs(7)));
        assert_eq!(nearest_rank(&seconds(&[1, 2, 3, 4]), 50), Some(Duration::from_secs(2)));
        assert_eq!(nearest_rank(&seconds(&[1, 2, 3, 4]), 90), Some(Duration::from_secs(4)));
    }
}
