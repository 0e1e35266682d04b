//! When to look at a trigger: as rarely as misses nothing, and each at its own time; more often while a recovery is awaited.
//!
//! Never lets a look come so late that a breach would be over before it was seen.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use rollbackd_core::config::{Config, Metric, Trigger};
use rollbackd_core::firing::Firing;
use rollbackd_core::name::{ServiceName, TriggerName};
use rollbackd_core::proof::{awaited_since, needs};
use rollbackd_core::state::State;
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::{pace, whole_steps};
use rollbackd_core::wake_at;

use super::ask::is_split;
use super::jobs::{Key, Subject};
use super::metric_of;

/// While a recovery is awaited it is seen this part later than it came: a fourth of the time that it took.
const RECOVERY_PART: u32 = 4;

/// The answer to what so many services share is most of a megabyte.
const LARGE_FLEET: usize = 1000;

/// When a trigger is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// From one look to the next.
    pub(super) every: Duration,
    /// How long each is after its slot, so that not all are at the same instant.
    apart: Duration,
    /// How long after its slot each is anyway: samples come in that late.
    offset: Duration,
    /// What there is to be seen by then, in these steps, is to be seen before then.
    before: Option<(Timestamp, Duration)>,
}

impl Pace {
    /// While nothing breaches. What is asked for each service by itself is spread by the services' names, what is shared
    /// by the triggers' places.
    pub(super) fn of(
        service: &ServiceName,
        (rule, metric): (&Trigger, &Metric),
        interval: Duration,
        offset: Duration,
    ) -> Self {
        let hold = rule.row();
        let every = pace(hold, metric.step, interval);
        let place = match rule.shared.filter(|_| is_split(rule, metric)) {
            Some(place) => place,
            None => spread(&(service, &rule.name)),
        };
        Self { every, apart: apart(hold, metric.step, every, fraction(place)), offset, before: None }
    }

    /// While this is awaited. When it came is known by its slot whenever that is looked at; what comes later by a rare
    /// look is only the word of it.
    pub(super) fn awaiting(self, awaited: &Awaited, step: Duration, now: Timestamp) -> Self {
        let part = now.since(awaited.since) / RECOVERY_PART;
        let every = whole_steps(part.min(self.every), step);
        // At the usual pace it goes with all others again, who share a query with it.
        let apart = if part < self.every { Duration::ZERO } else { self.apart };
        Self { every, apart, before: awaited.until.map(|until| (until, step)), ..self }
    }

    /// The next look.
    pub(super) fn next(&self, now: Timestamp) -> Timestamp {
        let usual = |every, after| next_slot(now - after, every) + after;
        let next = usual(self.every, self.offset + self.apart);
        match self.before {
            // What is looked at then is the last that the deadline knows of: it is looked in each slot before it, as an
            // answer may come too late for the last of them.
            Some((until, step)) if until > now && until < next + step * SLOTS_BEFORE => usual(step, self.offset),
            Some(_) | None => next,
        }
    }
}

/// Before a deadline it is looked at in so many slots.
const SLOTS_BEFORE: u32 = 2;

/// A recovery that is awaited of a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Awaited {
    /// Since when.
    pub(super) since: Timestamp,
    /// When time alone decides next: a budget is spent, the waiting is over.
    pub(super) until: Option<Timestamp>,
}

impl Awaited {
    /// Whether a firing waits for this trigger to be clear.
    pub(super) fn of(config: &Config, state: &State, service: &ServiceName, trigger: &TriggerName) -> Option<Self> {
        let (plan, own) = (config.services.get(service)?, state.services.get(service)?);
        let since =
            |firing: &Firing| awaited_since(plan, firing).filter(|_| needs(plan, firing).clear.contains(trigger));
        let since = own.open_firings().filter_map(since).max()?;
        Some(Self { since, until: wake_at(config, state, service) })
    }
}

/// When the first look is due at what a large fleet shares: with the next one of all others, unless somebody waits for it.
/// All triggers at once would be much for a server, and their answers much to hold.
pub(super) fn in_turn(
    config: &Config,
    state: &State,
    key: &Key,
    offset: Duration,
    now: Timestamp,
) -> Option<Timestamp> {
    let Subject::Trigger(name) = &key.1 else { return None };
    if config.services.len() < LARGE_FLEET {
        return None;
    }
    let (rule, metric) = metric_of(config, key).filter(|(rule, metric)| is_split(rule, metric))?;
    let watch = state.services.get(&key.0)?.watch.as_ref()?;
    let (interval, step) = (config.evaluation_interval, metric.step);
    // There is nothing to be seen of the deploy itself yet; or it was looked at before the daemon was started again.
    let is_new = now.since(watch.at) <= step;
    let has_begun = config.looking_since.is_some_and(|since| now.since(since) <= interval) && watch.until > now;
    let is_awaited = Awaited::of(config, state, &key.0, name).is_some();
    ((is_new || has_begun) && !is_awaited).then(|| Pace::of(&key.0, (rule, metric), interval, offset).next(now))
}

/// The same number for the same names, and others all over for others.
fn spread(names: &(&ServiceName, &TriggerName)) -> u32 {
    let mut hasher = DefaultHasher::new();
    names.hash(&mut hasher);
    u32::try_from(hasher.finish() >> 32).unwrap_or(0)
}

/// How long after its slot a trigger is looked at, so that not all ask at the same instant: `fraction` of as long as a
/// breach is still seen before its `for` is over, and no longer than from one look to the next.
fn apart(hold: Duration, step: Duration, pace: Duration, fraction: f64) -> Duration {
    pace.min(hold.saturating_sub(step + pace)).mul_f64(fraction)
}

/// The part of a turn that is the own one of the `place`th of any number: the first at its beginning, the second in its
/// middle, then in the middles of what is left. Source: van der Corput's sequence to the base of two.
fn fraction(place: u32) -> f64 {
    f64::from(place.reverse_bits()) / 2_f64.powi(32)
}

/// The next instant of a grid.
fn next_slot(now: Timestamp, step: Duration) -> Timestamp {
    now.floor(step) + step
}

/// How many looks fell due from `due_at` until before the next slot: one, and more where the loop came late.
pub(super) fn slots_due(due_at: Timestamp, next: Timestamp, step: Duration) -> u64 {
    let slots = next.since(due_at).as_millis().div_ceil(step.as_millis().max(1));
    u64::try_from(slots).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use rollbackd_core::config::Observed;

    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_recovery_is_looked_for_at_each_slot_at_first_and_then_as_often_as_a_fourth_of_its_time_passes() {
        let (at, step) = (|second: i64| Timestamp::from_milliseconds(second * 1000), ms(2500));
        let pace = |every, apart| Pace { every: ms(every), apart: ms(apart), offset: ms(500), before: None };
        let since = at(1000);
        for (waited, every, apart) in
            [(0, 2500, 0), (10, 2500, 0), (19, 2500, 0), (20, 5000, 0), (30, 7500, 1000), (3600, 7500, 1000)]
        {
            let now = since + Duration::from_secs(waited);
            let awaiting = pace(7500, 1000).awaiting(&Awaited { since, until: None }, step, now);
            assert_eq!(awaiting, pace(every, apart), "{waited} s");
        }
        // Where each slot is looked at anyway, it does not wait for its turn either.
        let (two_minutes, step) = (Pace { every: ms(15_000), ..pace(0, 9000) }, ms(15_000));
        let apart_after =
            |waited| two_minutes.awaiting(&Awaited { since, until: None }, step, since + ms(waited)).apart;
        assert_eq!([0, 59_999, 60_000].map(apart_after), [ms(0), ms(0), ms(9000)]);
    }

    #[test]
    fn before_a_deadline_each_slot_is_looked_at() {
        let (at, step) = (Timestamp::from_milliseconds, ms(2500));
        let next = |until, now| {
            let clear = Pace { every: ms(7500), apart: ms(1000), offset: ms(500), before: None };
            clear.awaiting(&Awaited { since: at(0), until }, step, at(now)).next(at(now))
        };
        assert_eq!(next(None, 99_000), at(106_500), "with all others, who ask for 105 s a second later");
        assert_eq!(next(Some(at(200_000)), 99_000), at(106_500));
        assert_eq!(next(Some(at(111_500)), 99_000), at(106_500), "two slots are left after that");
        let mut looks = vec![at(99_000)];
        while looks.last().is_some_and(|last| *last < at(111_400)) {
            looks.extend(looks.last().map(|last| next(Some(at(111_400)), last.milliseconds())));
        }
        let slots = [98_500, 100_500, 103_000, 105_500, 108_000, 110_500, 113_000].map(at);
        assert_eq!(looks[1..], slots[1..], "in each slot until it is met");
        assert_eq!(next(Some(at(99_000)), 99_000), at(106_500), "it is met");
    }

    #[test]
    fn looks_are_apart_as_far_as_each_still_sees_a_breach_before_its_for_is_over() {
        for (hold, step, interval, most) in [
            (120_000, 15_000, 15_000, 15_000),
            (40_000, 15_000, 15_000, 10_000),
            (10_000, 2500, 15_000, 0),
            (2000, 500, 1000, 500),
            (0, 15_000, 15_000, 0),
        ] {
            let pace = rollbackd_core::trigger::pace(ms(hold), ms(step), ms(interval));
            assert_eq!(apart(ms(hold), ms(step), pace, 1.0), ms(most), "{hold} {step} {interval}");
            assert_eq!(apart(ms(hold), ms(step), pace, 0.5), ms(most) / 2);
        }
        assert_eq!([0, 1, 2, 3, 4].map(fraction), [0.0, 0.5, 0.25, 0.75, 0.125]);
    }

    /// How long after its slot each trigger of a service is looked at.
    fn after_the_slot(service: &str) -> Vec<Duration> {
        let text = "prometheus: {url: 'http://127.0.0.1:9'}\nlisten: 127.0.0.1:0\nstate_dir: /s\nreceipts_dir: /r\n\
                    triggers:\n\
                    - {name: one, expr: 'sum by (service) (rate(one[1m]))', above: 1, for: 2m, budget: 5m}\n\
                    - {name: two, expr: 'sum by (service) (rate(two[1m]))', above: 1, for: 2m, budget: 5m}\n\
                    - {name: own, expr: 'rate(own{service=\"{{ service }}\"}[1m])', above: 1, for: 2m, budget: 5m}\n\
                    - {name: at-once, expr: 'sum by (service) (rate(two[1m]))', above: 1, budget: 5m}\n\
                    pagers: [{name: oncall, webhook: {url: 'http://127.0.0.1:9'}}]\n\
                    services:\n\
                    - {name: a, page: [oncall], side_effects: none, paths: [{name: path, command: ['true']}]}\n\
                    - {name: b, page: [oncall], side_effects: none, paths: [{name: path, command: ['true']}]}\n";
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rollbackd.yml");
        std::fs::write(&file, text).unwrap();
        let loaded = crate::config::load(&file).unwrap_or_else(|error| panic!("{}", crate::config::explain(&error)));
        let plan = &loaded.settings.core.services[service];
        let after = |rule: &Trigger| match &rule.observed {
            Observed::Metric(metric) => Pace::of(&plan.name, (rule, metric), ms(15_000), ms(0)).apart,
            Observed::Report => Duration::ZERO,
        };
        plan.triggers.iter().map(|rule| after(rule)).collect()
    }

    #[test]
    fn what_services_share_has_one_turn_for_all_and_what_each_asks_for_itself_one_by_its_name() {
        let (a, b) = (after_the_slot("a"), after_the_slot("b"));
        assert_eq!((&a[..2], &b[..2]), (&[ms(0), ms(7500)][..], &[ms(0), ms(7500)][..]));
        assert!(a[2] != b[2] && a[2] < ms(15_000) && b[2] < ms(15_000), "{a:?} {b:?}");
        assert_eq!((a[3], b[3]), (ms(0), ms(0)), "without `for` each moment counts");
        assert_eq!(after_the_slot("a"), a, "the same each time");
    }
}
