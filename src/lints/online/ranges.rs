//! Ranges that hold too few scrapes, and rates of what is no counter.
//!
//! Never guesses a metric's type by its name.

use std::time::Duration;

use rollbackd_core::config::lint::Lint;
use rollbackd_core::config::node::Problems;
use rollbackd_core::time::show_duration;

use super::facts::Facts;
use super::{Asked, STAND_IN};
use crate::lints::triggers::is_written;
use crate::promql::shape::{Range, Shape};

/// A rate needs two samples; with four, one scrape may be missed and the ends of the range may fall between two.
const LEAST_SCRAPES: u32 = 4;

/// Notes what is wrong with the ranges of a query.
pub(super) async fn look(facts: &mut Facts<'_>, asked: &Asked, shape: &Shape, problems: &mut Problems) {
    for range in shape.ranges.iter().filter(|range| !range.selector.text.contains(STAND_IN)) {
        few_scrapes(facts, asked, range, problems).await;
        rate_of_gauge(facts, asked, range, problems).await;
    }
}

async fn few_scrapes(facts: &mut Facts<'_>, asked: &Asked, range: &Range, problems: &mut Problems) {
    // Asked only where it could matter: `since_deploy` grows by itself.
    if !is_written(range.length) {
        return;
    }
    let Some(interval) = scrape_interval(facts, range).await else { return };
    let least = interval * LEAST_SCRAPES;
    if range.length < least {
        let (length, interval, least) = (show_duration(range.length), show_duration(interval), show_duration(least));
        let message = format!(
            "the range of {length} is shorter than {LEAST_SCRAPES} scrapes: {} has a sample each {interval}, so one \
             missed scrape leaves a gap; make it {least} or longer",
            range.selector.name.as_deref().unwrap_or(&range.selector.text)
        );
        problems.warning(Lint::FewScrapes, asked.place, message);
    }
}

/// That of what is selected; where that is nothing now (a `bad` while nothing fails), that of any series of the metric.
async fn scrape_interval(facts: &mut Facts<'_>, range: &Range) -> Option<Duration> {
    match (facts.scrape_interval(&range.selector.text).await, &range.selector.name) {
        (None, Some(name)) => facts.scrape_interval(name).await,
        (known, _) => known,
    }
}

async fn rate_of_gauge(facts: &mut Facts<'_>, asked: &Asked, range: &Range, problems: &mut Problems) {
    let takes_counters = matches!(range.function, "rate" | "irate" | "increase" | "resets");
    let Some(name) = range.selector.name.as_deref().filter(|_| takes_counters) else { return };
    let types = facts.types_of(name).await;
    if !types.is_empty() && types.iter().all(|kind| kind == "gauge") {
        let function = range.function;
        let message = format!(
            "{function}({name}) takes each fall of a gauge for a restarted counter: its exporter says that {name} is a \
             gauge; use delta, deriv or avg_over_time"
        );
        problems.warning(Lint::RateOfGauge, asked.place, message);
    }
}
