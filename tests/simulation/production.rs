//! Production as it really is: which version serves when, what each does to the metrics, and the runs of paths. It goes
//! on while the daemon is down.

use std::collections::BTreeMap;

use rollbackd_core::name::{AttemptId, Version};
use rollbackd_core::time::Timestamp;

use crate::plan::{Health, METRICS, Plan, Run, Trouble};
use crate::time;

/// What a metric shows at an instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Signal {
    Value(f64),
    Low,
    Nan,
    Missing,
}

/// What each metric shows of a healthy version.
const HEALTHY: [f64; 3] = [0.01, 0.2, 0.3];

/// What each metric shows of a version of which it says nothing good: enough to be a breach of its trigger.
const BAD: [f64; 3] = [0.06, 0.5, 0.95];

/// One run of a path at the remote.
#[derive(Clone, Debug)]
pub(crate) struct RemoteRun {
    pub(crate) service: usize,
    pub(crate) run: Run,
    pub(crate) version: Version,
    pub(crate) done_at: Option<Timestamp>,
    pub(crate) stopped: bool,
}

/// All services' production.
#[derive(Debug)]
pub(crate) struct Production {
    /// By service: since when which version serves, in the order of time. May reach into the future.
    served: Vec<Vec<(Timestamp, Version)>>,
    health: BTreeMap<Version, Health>,
    pub(crate) runs: BTreeMap<AttemptId, RemoteRun>,
    begun: usize,
    versions: usize,
}

/// The version of this number.
fn version(number: usize) -> Version {
    Version::new(format!("v{number}")).expect("a version")
}

impl Production {
    /// Every service has served a good version for ever.
    pub(crate) fn new(services: usize) -> Self {
        let long_ago = Timestamp::from_milliseconds(time::BEGIN - 3_600_000);
        Self {
            served: vec![vec![(long_ago, version(0))]; services],
            health: BTreeMap::from([(version(0), Health::Good)]),
            runs: BTreeMap::new(),
            begun: 0,
            versions: 1,
        }
    }

    /// Forgets what served long ago.
    pub(crate) fn forget(&mut self) {
        const KEPT: usize = 20;
        self.runs.clear();
        for served in &mut self.served {
            served.drain(..served.len().saturating_sub(KEPT));
        }
        let served = &self.served;
        self.health.retain(|version, _| served.iter().flatten().any(|(_, kept)| kept == version));
    }

    /// A new version that serves nobody yet.
    pub(crate) fn build(&mut self, health: Health) -> Version {
        let new = version(self.versions);
        self.versions += 1;
        self.health.insert(new.clone(), health);
        new
    }

    /// A new version begins to serve now.
    pub(crate) fn deploy(&mut self, service: usize, health: Health) -> Version {
        let new = self.build(health);
        self.serve(service, time::now(), new.clone());
        new
    }

    /// From then on this version serves.
    pub(crate) fn serve(&mut self, service: usize, at: Timestamp, version: Version) {
        let served = &mut self.served[service];
        served.push((at, version));
        served.sort_by_key(|(since, _)| *since);
    }

    /// The version that served then, and since when.
    pub(crate) fn serving(&self, service: usize, at: Timestamp) -> &(Timestamp, Version) {
        let served = &self.served[service];
        served.iter().rev().find(|(since, _)| *since <= at).unwrap_or(&served[0])
    }

    /// Whether another version served after the first deploy of this one after `from`, and before `until`.
    pub(crate) fn was_replaced(
        &self,
        service: usize,
        (from, version): (Timestamp, &Version),
        until: Timestamp,
    ) -> bool {
        let mut since_then = self.served[service].iter().filter(|(since, _)| from <= *since && *since <= until);
        let began = since_then.find(|(_, served)| served == version);
        began.is_none() || since_then.any(|(_, served)| served != version)
    }

    /// The versions that have served by now, the newest first, each once.
    pub(crate) fn earlier(&self, service: usize) -> Vec<Version> {
        let mut all: Vec<Version> = Vec::new();
        for (since, version) in self.served[service].iter().rev() {
            if *since <= time::now() && !all.contains(version) {
                all.push(version.clone());
            }
        }
        all
    }

    /// What a metric shows at a true instant.
    pub(crate) fn signal(&self, plan: &Plan, service: usize, metric: usize, at: Timestamp) -> Signal {
        let mut shown = None;
        for (from, until, trouble) in &plan.troubles {
            if time::at(*from) > at || time::at(*until) <= at {
                continue;
            }
            match trouble {
                Trouble::Gap => return Signal::Missing,
                Trouble::Nan(of, which) if (*of, *which) == (service, metric) => shown = Some(Signal::Nan),
                Trouble::LowTraffic(of) if *of == service && metric == 0 => shown = Some(Signal::Low),
                Trouble::Spike(of, which, value) if (*of, *which) == (service, metric) => {
                    shown = Some(Signal::Value(*value));
                }
                _ => {}
            }
        }
        shown.unwrap_or_else(|| Signal::Value(self.value(service, metric, at)))
    }

    fn value(&self, service: usize, metric: usize, at: Timestamp) -> f64 {
        let (since, version) = self.serving(service, at);
        let age = u64::try_from(at.since(*since).as_millis()).unwrap_or(0);
        match self.health.get(version) {
            Some(Health::Bad { metric: sick, value, after, lasts }) if *sick == metric => {
                let is_bad = age >= *after && age < after.saturating_add(*lasts);
                if is_bad { BAD[metric].max(*value) } else { HEALTHY[metric] }
            }
            Some(Health::Flaps { metric: sick, period }) if *sick == metric => {
                if (age / period) % 2 == 0 {
                    BAD[metric]
                } else {
                    HEALTHY[metric]
                }
            }
            _ => HEALTHY[metric],
        }
    }

    /// A path is run at the remote. What it will do to production stands in the future at once.
    pub(crate) fn begin(&mut self, plan: &Plan, service: usize, attempt: &AttemptId, version: &Version) -> Run {
        let run = plan.runs[self.begun % plan.runs.len()];
        self.begun += 1;
        let after = match run {
            Run::Succeeds(after) | Run::FailsAndChanges(after) | Run::SucceedsLate(after) => Some((after, true)),
            Run::Waits(after) => Some((after + 1_500, true)),
            Run::Vanishes(after) => Some((after, after % 2 == 0)),
            Run::Lies(after) | Run::Fails(after) => Some((after, false)),
            Run::Hangs => None,
        };
        let done = after.map(|(after, changes)| (time::at(time::elapsed() + after), changes));
        if let Some((at, true)) = done {
            self.serve(service, at, version.clone());
        }
        let remote =
            RemoteRun { service, run, version: version.clone(), done_at: done.map(|(at, _)| at), stopped: false };
        self.runs.insert(attempt.clone(), remote);
        run
    }

    /// Somebody tries to stop a run: what is not done is not done any more, where it can be stopped.
    pub(crate) fn stop(&mut self, attempt: &AttemptId) {
        let Some(run) = self.runs.get_mut(attempt) else { return };
        let Some(done_at) = run.done_at.filter(|at| *at > time::now()) else { return };
        if !matches!(run.run, Run::SucceedsLate(_)) {
            run.stopped = true;
            run.done_at = None;
            let (service, version) = (run.service, run.version.clone());
            self.served[service].retain(|(at, served)| *at != done_at || *served != version);
        }
    }

    /// Whether a run still goes on at the remote.
    pub(crate) fn goes_on(&self, attempt: &AttemptId) -> bool {
        self.runs.get(attempt).is_some_and(|run| !run.stopped && run.done_at.is_none_or(|at| at > time::now()))
    }
}

/// The number of a metric, by the beginning of its series' names.
pub(crate) fn metric_named_in(query: &str) -> Option<usize> {
    METRICS.iter().position(|metric| query.contains(&format!("{metric}_")))
}
