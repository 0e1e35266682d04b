//! What would be run if a trigger fired at this instant: its `for` is running, and what can be got ready is.
//!
//! By the decision itself, made and thrown away: whatever would hold the rollback, or page instead, brings no order here.

use crate::ahead::Seen;
use crate::config::Config;
use crate::draft::Draft;
use crate::event::{Effect, Order, Reply};
use crate::firing::Origin;
use crate::name::{ServiceName, TriggerName};
use crate::rollback::{Observation, fire};
use crate::state::{State, Turn};
use crate::time::Timestamp;
use crate::trigger::Arming;

/// The order that would follow at once if the `for` of this trigger's breach were over now; `None` where none would: it
/// does not breach or is not armed, it pages, a freeze or another guard holds it, somebody may still dismiss it, there is
/// no target, or it is a dry run.
///
/// Its ids are of no firing. It is for looking alone: to be sure that the path could be reached.
#[must_use]
pub fn order(
    config: &Config,
    state: &State,
    service: &ServiceName,
    trigger: &TriggerName,
    now: Timestamp,
) -> Option<Order> {
    let plan = config.services.get(service)?;
    let trigger = plan.trigger(trigger)?;
    let known = state.services.get(service)?.watch.as_ref()?.triggers.get(&trigger.name)?;
    let Turn::Breaching { since } = known.turn else { return None };
    if known.arming != Arming::Armed {
        return None;
    }
    let mut draft = Draft::new(config, Seen { state, ahead: None }, plan, now);
    let observed = Observation {
        trigger: trigger.name.clone(),
        origin: Origin::Metric,
        breach_at: since,
        observed_at: now,
        value: None,
        limit: None,
        note: None,
    };
    fire(&mut draft, trigger, observed)?;
    draft.finish(Reply::None).effects.iter().find_map(Effect::starts).cloned()
}
