//! What the data says about a firing, asked of Prometheus itself and not of the daemon.
//!
//! Never uses the daemon's own code to judge it.

use std::collections::BTreeSet;
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

/// The beginning of a breach is found to this, and no coarser than a sixtieth of a slot (decision 0025).
const FINEST: Duration = Duration::from_millis(50);

/// What has to have held, and for how long, before something may be observed.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// Its value, at each instant.
    pub(crate) query: String,
    /// A breach where the value is above this.
    pub(crate) above: f64,
    /// The trigger's `for`.
    pub(crate) hold: Duration,
    /// From slot to slot: the plan's `evaluation_interval`.
    pub(crate) step: Duration,
}

impl Held {
    /// The error rate of a service, over its limit for this long.
    pub(crate) fn error_rate(service: &str, hold: Duration) -> Self {
        let rate = |code: &str| format!("sum(rate(http_requests_total{{service=\"{service}\"{code}}}[4s]))");
        Self { query: format!("{} / {}", rate(",code=~\"5..\""), rate("")), above: 0.05, hold, step: STEP }
    }
}

/// When it had held for its `for`, by the data of today: the first instant at which it may be observed. It may have
/// begun between two slots; from there to the first slot it has to be a breach throughout, then at each slot, and at
/// last at the instant at which the `for` is over.
async fn first_observable(prometheus: &Prometheus, receipt: &Receipt, held: &Held) -> Timestamp {
    let (deployed_at, observed_at) = (instant(receipt, "deployed_at"), instant(receipt, "observed_at"));
    let fine = FINEST.max(held.step / 60);
    let first = deployed_at.floor(held.step) + held.step;
    let values = prometheus.range(&held.query, first, observed_at, fine).await;
    let breaches: BTreeSet<Timestamp> =
        values.into_iter().filter(|(_, value)| *value > held.above).map(|(at, _)| at).collect();
    let all_in = |from: Timestamp, until: Timestamp, step: Duration| {
        let mut instants = std::iter::successors(Some(from), |at| Some(*at + step)).take_while(|at| *at <= until);
        instants.all(|at| breaches.contains(&at))
    };
    let for_long = |from: &&Timestamp| {
        let over = **from + held.hold;
        let slot = if from.floor(held.step) == **from { **from } else { from.floor(held.step) + held.step };
        all_in(**from, slot, fine) && all_in(slot, over, held.step) && breaches.contains(&over)
    };
    let since = breaches.iter().find(for_long);
    *since.unwrap_or_else(|| panic!("by the data {held:?} did not hold up to {observed_at}: {breaches:?}")) + held.hold
}

async fn late_by(prometheus: &Prometheus, receipt: &Receipt, held: &Held) -> Duration {
    let (breach_at, observed_at) = (instant(receipt, "breach_at"), instant(receipt, "observed_at"));
    let first = first_observable(prometheus, receipt, held).await;
    assert!(observed_at >= first, "observed at {observed_at}, by the data not before {first}");
    assert_eq!(milliseconds(observed_at.since(breach_at)), milliseconds(held.hold), "{:?}", receipt.front);
    observed_at.since(first)
}

/// The receipt's clock starts when the data say that this held, neither earlier nor later.
pub(crate) async fn assert_held(prometheus: &Prometheus, receipt: &Receipt, held: &Held) {
    let late = late_by(prometheus, receipt, held).await;
    assert!(late <= LATE, "observed {late:?} after the data said so: {:?}", receipt.front);
}

/// The clock of a receipt of `error-rate` starts no earlier than the data say.
pub(crate) async fn assert_not_observed_before_the_data(prometheus: &Prometheus, receipt: &Receipt) {
    late_by(prometheus, receipt, &Held::error_rate(receipt.get("service"), HOLD)).await;
}

/// The clock of a receipt of `error-rate` starts when the data say, neither earlier nor later.
pub(crate) async fn assert_observed_by_the_data(prometheus: &Prometheus, receipt: &Receipt) {
    assert_held(prometheus, receipt, &Held::error_rate(receipt.get("service"), HOLD)).await;
}
