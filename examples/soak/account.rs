//! What was to be looked at, worked out from the daemon's log alone: its metrics are checked against it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::Plan;
use crate::world::{OWN_TRIGGER_OF, SHARED_TRIGGERS};

/// A watch, from its opening to its end.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    service: String,
    opened: Timestamp,
    ended: Timestamp,
}

/// How many looks fell due: at least and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) least: u64,
    pub(crate) most: u64,
}

/// Every watch that the log tells of. One that has not ended is a mistake of the soak's.
pub(crate) fn watches(log: &str) -> Result<Vec<Watch>, String> {
    let mut open: BTreeMap<String, Timestamp> = BTreeMap::new();
    let mut watches = Vec::new();
    for line in log.lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let (Some(message), Some(service)) = (line["message"].as_str(), line["service"].as_str()) else { continue };
        if !matches!(message, "watch opened" | "watch ended") {
            continue;
        }
        let at = line["timestamp"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        let at = at.ok_or_else(|| format!("a line of the log has no timestamp: {line}"))?;
        if message == "watch opened" {
            open.insert(service.to_owned(), at);
        } else if let Some(opened) = open.remove(service) {
            watches.push(Watch { service: service.to_owned(), opened, ended: at });
        }
    }
    match open.len() {
        0 => Ok(watches),
        several => Err(format!("{several} watches were still open when the soak ended")),
    }
}

/// What had to fall due in these watches.
///
/// A look falls due when a watch opens and at each slot (a whole multiple of the interval since the epoch) until it
/// ends. The log's instants are those of the records, which the looker learns a moment later: the first and the last slot
/// of a watch may go either way.
pub(crate) fn expected(plan: &Plan, watches: &[Watch]) -> Expected {
    let step = plan.interval.as_millis().max(1);
    let slot = |at: Timestamp| u128::try_from(at.as_millisecond()).unwrap_or(0) / step;
    watches.iter().fold(Expected::default(), |sum, watch| {
        let slots = u64::try_from(slot(watch.ended).saturating_sub(slot(watch.opened))).unwrap_or(u64::MAX);
        let triggers = triggers(&watch.service);
        Expected { least: sum.least + triggers * slots.saturating_sub(1), most: sum.most + triggers * (slots + 2) }
    })
}

/// All watches together.
pub(crate) fn watched(watches: &[Watch]) -> Duration {
    watches.iter().map(|watch| watch.ended.duration_since(watch.opened).unsigned_abs()).sum()
}

/// How many triggers of a service ask Prometheus.
fn triggers(service: &str) -> u64 {
    let number: u16 = service.trim_start_matches("svc-").parse().unwrap_or(0);
    u64::from(SHARED_TRIGGERS) + u64::from(number.is_multiple_of(OWN_TRIGGER_OF))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let second = Duration::from_secs(1);
        Plan {
            services: 20,
            interval: second,
            whole: second,
            watch: second,
            deploy_every: second,
            sample_every: second,
        }
    }

    #[test]
    fn what_was_to_be_looked_at_follows_from_the_log() {
        let line = |at: &str, message: &str, service: &str| {
            format!(
                "{{\"timestamp\":\"2026-11-24T12:00:{at}Z\",\"message\":\"{message}\",\"service\":\"{service}\"}}\n"
            )
        };
        let log = line("00.200", "watch opened", "svc-1")
            + "no JSON\n"
            + &line("01.500", "watch opened", "svc-10")
            + &line("10.100", "watch ended", "svc-1")
            + &line("21.400", "watch ended", "svc-10");
        let watches = watches(&log).unwrap();
        assert_eq!(watched(&watches), Duration::from_millis(9_900 + 19_900));
        // Two triggers over 10 slots, three over 20.
        assert_eq!(expected(&plan(), &watches), Expected { least: 2 * 9 + 3 * 19, most: 2 * 12 + 3 * 22 });
    }

    #[test]
    fn a_watch_that_never_ended_is_no_small_thing() {
        let log = "{\"timestamp\":\"2026-11-24T12:00:00Z\",\"message\":\"watch opened\",\"service\":\"svc-1\"}\n";
        assert_eq!(watches(log).unwrap_err(), "1 watches were still open when the soak ended");
    }
}
