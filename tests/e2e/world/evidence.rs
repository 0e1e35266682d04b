//! What the data says about a firing, asked of Prometheus itself and not of the daemon.
//!
//! Never uses the daemon's own code to judge it.

use std::time::Duration;

use rollbackd_core::time::{Timestamp, milliseconds};

use super::{Prometheus, Receipt};

/// The evaluation interval of the scaled-down plan, from slot to slot.
const STEP: Duration = Duration::from_millis(500);

/// The `for` of the scaled-down `error-rate`.
const HOLD: Duration = Duration::from_secs(3);

/// A sample that was scraped on time may be stored a little later, and two busy cores are slow: a look may miss it.
const LATE: Duration = Duration::from_secs(1);

/// The instant of a receipt's front matter.
pub(crate) fn instant(receipt: &Receipt, key: &str) -> Timestamp {
    let text = receipt.get(key);
    Timestamp::try_from(text.to_owned()).unwrap_or_else(|error| panic!("{key} {text:?}: {error}"))
}

/// When `error-rate` had held for its `for`, by the data of today: the first instant at which it may be observed.
async fn first_observable(prometheus: &Prometheus, receipt: &Receipt) -> Timestamp {
    let (deployed_at, observed_at) = (instant(receipt, "deployed_at"), instant(receipt, "observed_at"));
    let service = receipt.get("service");
    let rate = |code: &str| format!("sum(rate(http_requests_total{{service=\"{service}\"{code}}}[4s]))");
    let ratio = format!("{} / {}", rate(",code=~\"5..\""), rate(""));
    let first = deployed_at.floor(STEP) + STEP;
    let ratios = prometheus.range(&ratio, first, observed_at, STEP).await;
    let breaches: Vec<Timestamp> = ratios.into_iter().filter(|(_, ratio)| *ratio > 0.05).map(|(at, _)| at).collect();
    let slots = u32::try_from(HOLD.as_millis() / STEP.as_millis()).expect("few slots");
    let held = |from: &&Timestamp| (0..=slots).all(|slot| breaches.contains(&(**from + STEP * slot)));
    let since = breaches.iter().find(held);
    *since.unwrap_or_else(|| panic!("by the data nothing held for {HOLD:?} up to {observed_at}: {breaches:?}")) + HOLD
}

/// The receipt's clock starts no earlier than the data say.
pub(crate) async fn assert_not_observed_before_the_data(prometheus: &Prometheus, receipt: &Receipt) -> Duration {
    let (breach_at, observed_at) = (instant(receipt, "breach_at"), instant(receipt, "observed_at"));
    let first = first_observable(prometheus, receipt).await;
    assert!(observed_at >= first, "observed at {observed_at}, by the data not before {first}");
    assert_eq!(milliseconds(observed_at.since(breach_at)), milliseconds(HOLD), "{:?}", receipt.front);
    observed_at.since(first)
}

/// The receipt's clock starts when the data say, neither earlier nor later.
pub(crate) async fn assert_observed_by_the_data(prometheus: &Prometheus, receipt: &Receipt) {
    let late = assert_not_observed_before_the_data(prometheus, receipt).await;
    assert!(late <= LATE, "observed {late:?} after the data said so: {:?}", receipt.front);
}
