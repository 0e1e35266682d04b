//! Baselines whose window reaches behind the deploy before, by the deploys of the last week.
//!
//! Never reads the journal: who checks a config, in a pipeline or on a laptop, has none. The label `version` of
//! `version_query` has a history wherever Prometheus can be asked.

use std::collections::BTreeSet;
use std::time::Duration;

use rollbackd_core::config::lint::Lint;
use rollbackd_core::config::node::Problems;
use rollbackd_core::config::{Observed, Service};
use rollbackd_core::reading::{Answer, Series};
use rollbackd_core::template::{Values, Variable};
use rollbackd_core::time::{Timestamp, show_duration};

use super::facts::Facts;
use crate::lints::places::Places;

/// Long enough to be typical, short enough to be there: Prometheus keeps 15 days by default.
const HISTORY: Duration = Duration::from_hours(7 * 24);
/// 2,016 points a series; deploys that are nearer to each other than this are one.
const STEP: Duration = Duration::from_mins(5);
/// A version that was not seen for this long and comes again was deployed again.
const GONE: Duration = Duration::from_mins(20);
/// Fewer times from deploy to deploy are not typical of anything.
const LEAST_GAPS: usize = 3;
/// One deploy in this many, and it is no exception.
const ONE_IN: usize = 4;

/// Notes each baseline of a service whose window is longer than the time since the deploy before often is.
pub(super) async fn look(facts: &mut Facts<'_>, service: &Service, places: &Places, problems: &mut Problems) {
    let windows: Vec<_> = service
        .triggers
        .iter()
        .filter_map(|trigger| match &trigger.observed {
            Observed::Metric(metric) => Some((trigger, metric.baseline_window()?)),
            Observed::Report => None,
        })
        .collect();
    if windows.is_empty() {
        return;
    }
    let Some(history) = history(facts, service).await else { return };
    let gaps = gaps(&history, facts.now - HISTORY);
    for (trigger, window) in windows {
        if let Some(message) = judge(&gaps, window) {
            problems.warning(Lint::BaselineBehindDeploy, places.of_trigger(service, trigger, "baseline"), message);
        }
    }
}

async fn history(facts: &mut Facts<'_>, service: &Service) -> Option<Vec<Series>> {
    let values = Values::default().with(Variable::Service, service.name.as_str());
    let query = service.version_query.as_ref()?.render(&values).ok()?;
    let query = format!("count by (version) ({query})");
    let to = facts.now.floor(STEP);
    match facts.prometheus.range(&query, to - HISTORY, to, STEP).await {
        Answer::Series(series) => Some(series),
        Answer::Partial(why) | Answer::Failed(why) => {
            facts.not_answered(Lint::BaselineBehindDeploy.name(), &why);
            None
        }
    }
}

/// The times from deploy to deploy, shortest first. What served when the history begins was deployed before.
fn gaps(history: &[Series], begins_at: Timestamp) -> Vec<Duration> {
    let deploys: BTreeSet<Timestamp> = history.iter().flat_map(|series| starts(series, begins_at + GONE)).collect();
    let mut gaps: Vec<Duration> =
        deploys.iter().zip(deploys.iter().skip(1)).map(|(earlier, later)| later.since(*earlier)).collect();
    gaps.sort();
    gaps
}

fn starts(series: &Series, after: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
    let times = || series.samples.iter().map(|sample| sample.0);
    let before = std::iter::once(None).chain(times().map(Some));
    times().zip(before).filter_map(move |(at, before)| {
        let begins = before.is_none_or(|before| at.since(before) > GONE);
        (begins && at > after).then_some(at)
    })
}

/// What is wrong with a window, where these are the times from deploy to deploy.
fn judge(gaps: &[Duration], window: Duration) -> Option<String> {
    let short = gaps.iter().filter(|gap| **gap < window).count();
    if gaps.len() < LEAST_GAPS || short * ONE_IN < gaps.len() {
        return None;
    }
    let quarter = gaps.get(gaps.len() / ONE_IN)?;
    let (window, quarter, all) = (show_duration(window), show_duration(*quarter), gaps.len());
    Some(format!(
        "in {short} of the last {all} deploys (of 7d) the {window} before the deploy reach behind the deploy before: the \
         baseline then mixes two versions, and the older one's bad minutes; a quarter of them came within {quarter} of \
         the one before: make the window no longer than that"
    ))
}

#[cfg(test)]
mod tests {
    use rollbackd_core::reading::Labels;

    use super::*;

    fn minutes(minutes: i64) -> Timestamp {
        Timestamp::from_milliseconds(minutes * 60_000)
    }

    fn serving(spans: &[(i64, i64)]) -> Series {
        let times = spans.iter().flat_map(|(from, to)| (*from..=*to).step_by(5));
        Series { labels: Labels::default(), samples: times.map(|minute| (minutes(minute), 1.0)).collect() }
    }

    #[test]
    fn a_version_that_came_back_was_deployed_again_and_the_first_one_was_not() {
        let history = [serving(&[(0, 100), (200, 300)]), serving(&[(100, 200)]), serving(&[(310, 400), (410, 500)])];
        let found: Vec<u64> = gaps(&history, minutes(0)).iter().map(|gap| gap.as_secs() / 60).collect();
        assert_eq!(found, [100, 110]);
    }

    #[test]
    fn a_window_is_too_long_where_one_deploy_in_four_is_nearer() {
        let hour = Duration::from_secs(3600);
        let of = |gaps: &[u64]| {
            judge(&gaps.iter().map(|hours| hour * u32::try_from(*hours).unwrap()).collect::<Vec<_>>(), 2 * hour)
        };
        assert!(of(&[1, 5, 5, 5]).is_some_and(|said| said.contains("in 1 of the last 4 deploys")));
        assert_eq!(of(&[1, 5, 5, 5, 5]), None);
        assert_eq!(of(&[2, 2, 2]), None, "exactly as long does not reach behind it");
        assert_eq!(of(&[1, 1]), None, "two are not typical");
    }
}
