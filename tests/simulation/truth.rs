//! What the data really said: an oracle for firings, by the words of the design and not by the code that judges.

use std::time::Duration;

use rollbackd_core::config::{Condition, Config, Limit, Metric, Observed, Trigger};
use rollbackd_core::firing::{Firing, Stage};
use rollbackd_core::name::{ServiceName, TriggerName};
use rollbackd_core::state::Watch;
use rollbackd_core::time::Timestamp;

use crate::plan::{Act, Plan, Trouble};
use crate::production::{Production, Signal};
use crate::prometheus::{is_visible_at, true_time};
use crate::time;
use crate::world::number_of;

/// What a slot said of a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Breach,
    Clear,
    /// Too little traffic: an answer, but neither health nor harm.
    Low,
    Nothing,
}

/// The truth of one world.
pub(crate) struct Truth<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) production: &'a Production,
    pub(crate) config: &'a Config,
}

impl Truth<'_> {
    fn metric(&self, service: &ServiceName, name: &TriggerName) -> Option<(&Trigger, &Metric)> {
        let trigger = self.config.services.get(service)?.trigger(name)?;
        match &trigger.observed {
            Observed::Metric(metric) => Some((trigger, metric)),
            Observed::Report => None,
        }
    }

    /// The limit of a trigger that needs no baseline.
    pub(crate) fn fixed_limit(&self, service: &ServiceName, name: &TriggerName) -> Option<f64> {
        match self.metric(service, name)?.1.condition {
            Condition::Above(Limit::Fixed { value, .. }) => Some(value),
            Condition::Above(Limit::TimesBaseline { .. }) | Condition::Below(_) | Condition::Any => None,
        }
    }

    /// What a slot says, now that all its samples are there.
    fn said(&self, service: &ServiceName, name: &TriggerName, limit: Option<f64>, slot: Timestamp) -> Said {
        let metric = match name.as_str() {
            "error-rate" => 0,
            "p99-latency" => 1,
            _ => 2,
        };
        let signal = self.production.signal(self.plan, number_of(service), metric, true_time(self.plan, slot));
        let (limit, value) = match (limit, signal) {
            (_, Signal::Low) => return Said::Low,
            // The design: a `total` that is absent is no traffic.
            (_, Signal::Missing) if metric == 0 => return Said::Low,
            (Some(limit), Signal::Value(value)) => (limit, value),
            (None, Signal::Value(_)) | (_, Signal::Nan | Signal::Missing) => return Said::Nothing,
        };
        // As production's numbers come out of the queries: the ratio is a hundredth of a hundred times the value.
        let shown = if metric == 0 { value * 100.0 / 100.0 } else { value };
        if shown > limit { Said::Breach } else { Said::Clear }
    }

    /// R7: the breach's first instant, the one at which it was observed and every slot between them were a breach, and
    /// there.
    pub(crate) fn held(&self, service: &ServiceName, firing: &Firing, deploy_at: Timestamp) -> Result<(), String> {
        let Some((trigger, metric)) = self.metric(service, &firing.trigger) else { return Ok(()) };
        let (breach, observed) = (firing.breach_at, firing.observed_at);
        if observed.since(breach) != trigger.hold || breach <= deploy_at || observed < breach {
            return Err(format!("{} breached at {breach} and is observed at {observed}", firing.trigger));
        }
        // Its two ends may lie besides the slots, where it was looked closer; in between the slots are what is looked at.
        let slots =
            std::iter::successors(Some(breach.floor(metric.step) + metric.step), |slot| Some(*slot + metric.step));
        let between = slots.take_while(|slot| *slot < observed);
        for slot in std::iter::once(breach).chain(between).chain([observed]) {
            let said = self.said(service, &firing.trigger, firing.limit, slot);
            if said != Said::Breach || !is_visible_at(self.plan, slot, time::now()) {
                return Err(format!("{} fired, and at {slot} the data said {said:?}", firing.trigger));
            }
        }
        Ok(())
    }

    /// R5: what was breaching before the deploy fires only after it has been clear.
    pub(crate) fn was_armed(&self, service: &ServiceName, firing: &Firing, deploy_at: Timestamp) -> Result<(), String> {
        let Some((_, metric)) = self.metric(service, &firing.trigger) else { return Ok(()) };
        let said = |slot| self.said(service, &firing.trigger, firing.limit, slot);
        let before = deploy_at.floor(metric.step);
        // A look of some seconds ago may not have seen what came late.
        let was_seen = is_visible_at(self.plan, before, time::now() - Duration::from_secs(8));
        if said(before) != Said::Breach || !was_seen {
            return Ok(());
        }
        let slots = std::iter::successors(Some(before + metric.step), |slot| Some(*slot + metric.step));
        let mut after = slots.take_while(|slot| *slot < firing.breach_at);
        if after.any(|slot| said(slot) == Said::Clear) {
            return Ok(());
        }
        Err(format!("{} was breaching at {before}, before the deploy, and has not been clear since", firing.trigger))
    }

    /// R9: the first instant at which the condition had held for its `for`, by all of the data.
    pub(crate) fn first(
        &self,
        service: &ServiceName,
        name: &TriggerName,
        limit: Option<f64>,
        deploy_at: Timestamp,
        until: Timestamp,
    ) -> Option<Timestamp> {
        let (trigger, metric) = self.metric(service, name)?;
        let before = deploy_at.floor(metric.step);
        let mut armed = self.said(service, name, limit, before) != Said::Breach;
        let mut since = None;
        let slots = std::iter::successors(Some(before + metric.step), |slot| Some(*slot + metric.step));
        for slot in slots.take_while(|slot| *slot <= until) {
            match self.said(service, name, limit, slot) {
                Said::Breach => {
                    let began = *since.get_or_insert(slot);
                    if armed && slot.since(began) >= trigger.hold {
                        return Some(slot);
                    }
                }
                Said::Clear => {
                    armed = true;
                    since = None;
                }
                Said::Low | Said::Nothing => since = None,
            }
        }
        None
    }

    /// Whether slots that Prometheus has not come to yet look like slots without traffic: where the daemon's clock is ahead
    /// of Prometheus', a `total` is absent there, and by the design that is no traffic.
    pub(crate) fn looks_idle(&self, name: &TriggerName) -> bool {
        name.as_str() == "error-rate" && self.is_behind()
    }

    /// Whether Prometheus' clock was behind the daemon's: its newest samples are then always missing at first, and what is
    /// missing is asked for again, but not with every look.
    pub(crate) fn is_behind(&self) -> bool {
        time::most_ahead() > self.plan.prometheus_ahead
    }

    /// Whether all samples of this time came when they were taken.
    pub(crate) fn is_whole(&self, from: Timestamp, until: Timestamp) -> bool {
        let (from, until) = (from - Duration::from_secs(2), until);
        !self.plan.troubles.iter().any(|(begin, end, trouble)| {
            matches!(trouble, Trouble::Late(_)) && time::at(*begin) <= until && time::at(*end) >= from
        })
    }

    /// Whether a trigger was clear once between these, and whether anything was there at the end.
    pub(crate) fn clear(
        &self,
        service: &ServiceName,
        name: &TriggerName,
        deploy_at: Timestamp,
        (until, ended_at): (Timestamp, Timestamp),
    ) -> (bool, bool) {
        let Some((_, metric)) = self.metric(service, name) else { return (true, true) };
        // A baseline that was read after the bad version began to serve excuses it: then any value may be clear.
        let limit = self.fixed_limit(service, name).or(Some(f64::INFINITY));
        let step = metric.step;
        let slots = std::iter::successors(Some(deploy_at.floor(step) + step), |slot| Some(*slot + step));
        // The last looks of a watch are awaited for three intervals after its end, and longer where the daemon was
        // down then or its disk was full.
        let awaited = self.config.evaluation_interval * 4;
        let last = ended_at.max(until + awaited);
        let slots: Vec<Timestamp> = slots.take_while(|slot| *slot <= last).collect();
        let said = |slot: &Timestamp| self.said(service, name, limit, *slot);
        let absent_at_the_end = self.looks_idle(name) || !self.is_whole(deploy_at, until + awaited);
        let last = absent_at_the_end
            || slots.iter().filter(|slot| **slot + awaited >= until).any(|slot| said(slot) != Said::Nothing);
        (slots.iter().any(|slot| said(slot) == Said::Clear), last)
    }

    /// R9: production has left the version that fired, and the smoke URL has answered. Only where the daemon could see
    /// which version serves: without `version_query` it goes by the triggers, and a path that lies may be believed.
    pub(crate) fn recovered(&self, service: &ServiceName, firing: &Firing, now: Timestamp) -> Result<(), String> {
        let (Some(plan), Some(deploy)) = (self.config.services.get(service), &firing.deploy) else { return Ok(()) };
        let (from, until) = (deploy.at - FARTHEST_CLOCKS, now + FARTHEST_CLOCKS);
        let deployed = (from, &deploy.version);
        let is_current = self.plan.prometheus_ahead == 0 && !self.clock_is_set() && !self.shows_the_past(from, until);
        // The deploy of a rehearsal may never have come to serve; that it is gone is looked at where the rehearsal ends.
        if is_current
            && firing.rehearsal.is_none()
            && plan.version_query.is_some()
            && !self.production.was_replaced(number_of(service), deployed, until)
        {
            return Err(format!("{} is recovered, and {} served all the time", firing.id, deploy.version));
        }
        // Where the clock is never set, it is known when the proof was asked for.
        let (Stage::Verifying { since, .. }, false) = (&firing.stage, self.clock_is_set()) else { return Ok(()) };
        let fails = |(begin, end, trouble): &(u64, u64, Trouble)| {
            let all_the_time = time::at(*begin) <= *since && time::now() < time::at(*end);
            *trouble == Trouble::SmokeFails(number_of(service)) && all_the_time
        };
        if plan.smoke.is_some() && time::elapsed() < self.plan.all_well_at && self.plan.troubles.iter().any(fails) {
            return Err(format!("{} is recovered, and the smoke URL failed all the time", firing.id));
        }
        Ok(())
    }

    /// Whether the newest that Prometheus shows may be older than what serves.
    fn shows_the_past(&self, from: Timestamp, until: Timestamp) -> bool {
        let overlaps = |begin: u64, end: u64| time::at(begin) <= until && from <= time::at(end);
        let hides = |trouble: &Trouble| matches!(trouble, Trouble::Late(_) | Trouble::Gap);
        self.plan.troubles.iter().any(|(begin, end, trouble)| hides(trouble) && overlaps(*begin, *end))
    }

    fn clock_is_set(&self) -> bool {
        self.plan.acts.iter().any(|(_, act)| matches!(act, Act::ClockStep(_)))
    }

    /// Whether nothing at all was wrong in this world while a watch was open, so that the daemon must have seen all that
    /// its triggers need.
    pub(crate) fn nothing_hides(&self, service: &ServiceName, watch: &Watch, now: Timestamp) -> bool {
        // Baselines are read from before the deploy that replaced the last healthy version.
        let (from, until) = (watch.healthy_before.min(watch.at) - FARTHEST_CLOCKS, now + FARTHEST_CLOCKS);
        let overlaps = |begin: u64, end: u64| time::at(begin) <= until && from <= time::at(end);
        let is_wrong = self.plan.troubles.iter().any(|(begin, end, _)| overlaps(*begin, *end));
        let disturbs = |act: &Act| matches!(act, Act::Stop { .. } | Act::ClockStep(_) | Act::Reload { .. });
        let is_disturbed = self.plan.acts.iter().any(|(_, act)| disturbs(act));
        let needs_a_baseline =
            |name: &TriggerName| self.metric(service, name).is_some() && self.fixed_limit(service, name).is_none();
        let no_baseline = watch.triggers.iter().any(|(name, known)| needs_a_baseline(name) && known.baseline.is_none());
        self.plan.kills.is_empty() && self.plan.prometheus_ahead == 0 && !is_wrong && !is_disturbed && !no_baseline
    }
}

/// The clocks of a world are never further apart than this, and what a slot shows is never older than it.
const FARTHEST_CLOCKS: Duration = Duration::from_secs(12);
