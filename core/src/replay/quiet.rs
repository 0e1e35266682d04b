//! Looks that say the same as the look before: most of a long watch. Of these only the newest slot is read.
//!
//! Never spares a look that could change anything: what a whole window says is the core's to judge.

use crate::board::Shown;
use crate::config::{Metric, Trigger};
use crate::name::TriggerName;
use crate::reading::{Answers, Look};
use crate::state::{ServiceState, Turn, Watch};
use crate::time::Timestamp;
use crate::trigger::{self, Arming};

/// What a look at one more slot shows, where it changes nothing; `None` where the whole window has to be judged. `newest`
/// are the answers at that slot alone, and `before` is what the slot before it showed.
pub(super) fn unchanged(
    own: &ServiceState,
    (trigger, metric): (&Trigger, &Metric),
    before: &Shown,
    newest: &Answers,
) -> Option<Shown> {
    let watch = own.watch.as_ref()?;
    let at = newest.to;
    if !may_be_spared(own, watch, &trigger.name, at, metric) || before.answered_until? + metric.step != at {
        return None;
    }
    let known = watch.triggers.get(&trigger.name)?;
    let limit = trigger::limit(metric, known.baseline.as_ref());
    let [point] = trigger::looks(metric, limit, newest)[..] else { return None };
    match (known.turn, point.look) {
        // Armed and turned to clear, it was seen clear: what arms it is judged with what was clear.
        (Turn::Clear, Look::Clear(_)) | (Turn::LowTraffic, Look::LowTraffic | Look::NoTraffic) => {
            Some(Shown { look: Some(point.look), answered_until: Some(at), ..*before })
        }
        (Turn::Unseen | Turn::Clear | Turn::Breaching { .. } | Turn::LowTraffic | Turn::Blind, _) => None,
    }
}

/// Whether nothing but this trigger's own looks could be waiting for what this slot shows.
fn may_be_spared(own: &ServiceState, watch: &Watch, name: &TriggerName, at: Timestamp, metric: &Metric) -> bool {
    let Some(known) = watch.triggers.get(name) else { return false };
    let is_armed = matches!(known.arming, Arming::Armed | Arming::Spent);
    // The last slot of the watch settles it.
    let is_last = !known.settled && at >= watch.until.floor(metric.step);
    is_armed && !is_last && !watch.blind_paged && own.open_firings().next().is_none()
}
