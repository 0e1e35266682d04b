//! What serves: each service's version, how it behaves, its counters, and the deploys that brought it there.
//!
//! Never resets by itself: only a deploy changes the version and starts the counters anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::traffic::{Behaviour, Counters};

/// One deploy, and who did it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Deployed {
    /// Counted from 1, over all services.
    pub(crate) number: usize,
    /// The service.
    pub(crate) service: String,
    /// The version.
    pub(crate) version: String,
    /// When, in seconds since the Unix epoch.
    pub(crate) at: f64,
    /// Who asked for it, in their words: a pipeline's name.
    pub(crate) by: Option<String>,
    /// The attempt that asked for it, where one did.
    pub(crate) attempt: Option<String>,
}

/// Who asked for a deploy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asker {
    pub(crate) by: Option<String>,
    pub(crate) attempt: Option<String>,
}

struct Service {
    version: String,
    behaviour: Behaviour,
    versions: BTreeMap<String, Behaviour>,
    counters: Counters,
    counted_until: Instant,
}

struct State {
    services: BTreeMap<String, Service>,
    first: String,
    usual_rate: f64,
    deploys: Vec<Deployed>,
}

/// All services of this process.
#[derive(Clone)]
pub(crate) struct Production(Arc<Mutex<State>>);

/// A service that is not there.
#[derive(Debug)]
pub(crate) struct NoSuchService(pub(crate) String);

impl Production {
    /// All services at this version, well behaved.
    pub(crate) fn new(names: &[String], version: &str, usual_rate: f64) -> Self {
        let now = Instant::now();
        let service = || Service {
            version: version.to_owned(),
            behaviour: Behaviour::default(),
            versions: BTreeMap::new(),
            counters: Counters::default(),
            counted_until: now,
        };
        let services = names.iter().map(|name| (name.clone(), service())).collect();
        let first = names.first().cloned().unwrap_or_default();
        Self(Arc::new(Mutex::new(State { services, first, usual_rate, deploys: Vec::new() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Behaves like this from now on, until the next deploy.
    pub(crate) fn behave(&self, service: Option<&str>, behaviour: Behaviour) -> Result<(), NoSuchService> {
        self.state().change(service, |service| service.behaviour = behaviour)
    }

    /// These versions behave like this once they are deployed; one that serves already does so from now on.
    pub(crate) fn describe(
        &self,
        service: Option<&str>,
        versions: BTreeMap<String, Behaviour>,
    ) -> Result<(), NoSuchService> {
        self.state().change(service, |service| {
            if let Some(behaviour) = versions.get(&service.version) {
                service.behaviour = *behaviour;
            }
            service.versions.extend(versions);
        })
    }

    /// Switches the version, at once.
    pub(crate) fn deploy(&self, service: Option<&str>, version: &str, asker: Asker) -> Result<Deployed, NoSuchService> {
        let mut state = self.state();
        state.change(service, |service| {
            version.clone_into(&mut service.version);
            service.behaviour = service.versions.get(version).copied().unwrap_or_default();
            service.counters = Counters::default();
        })?;
        let deployed = Deployed {
            number: state.deploys.len() + 1,
            service: service.unwrap_or(&state.first).to_owned(),
            version: version.to_owned(),
            at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
            by: asker.by,
            attempt: asker.attempt,
        };
        state.deploys.push(deployed.clone());
        Ok(deployed)
    }

    /// The deploys so far, oldest first.
    pub(crate) fn deploys(&self) -> Vec<Deployed> {
        self.state().deploys.clone()
    }

    /// Whether the version that serves is healthy.
    pub(crate) fn healthy(&self, service: Option<&str>) -> Result<bool, NoSuchService> {
        let mut healthy = false;
        self.state().change(service, |service| healthy = service.behaviour.healthy)?;
        Ok(healthy)
    }

    /// Everything in the text form of Prometheus (exposition format 0.0.4).
    pub(crate) fn metrics(&self) -> String {
        let mut state = self.state();
        state.count_until(Instant::now());
        let mut text = String::from("# HELP app_build_info What serves.\n# TYPE app_build_info gauge\n");
        for (name, service) in &state.services {
            let version = &service.version;
            let labels = format!("service=\"{name}\",version=\"{version}\",revision=\"{name}-{version}\"");
            let _ = writeln!(text, "app_build_info{{{labels}}} 1");
        }
        let shown = || state.services.iter().filter(|(_, service)| !service.behaviour.hide_metrics);
        text.push_str("# HELP http_requests_total Requests answered.\n# TYPE http_requests_total counter\n");
        for (name, service) in shown() {
            service.counters.show_requests(&mut text, name, service.behaviour.nan);
        }
        text.push_str("# HELP http_request_duration_seconds How long requests took.\n");
        text.push_str("# TYPE http_request_duration_seconds histogram\n");
        for (name, service) in shown() {
            service.counters.show_durations(&mut text, name, service.behaviour.nan);
        }
        text
    }
}

impl State {
    /// Counts what happened so far as the service behaved so far, then changes it.
    fn change(&mut self, service: Option<&str>, change: impl FnOnce(&mut Service)) -> Result<(), NoSuchService> {
        let now = Instant::now();
        let name = service.unwrap_or(&self.first).to_owned();
        let usual_rate = self.usual_rate;
        let service = self.services.get_mut(&name).ok_or(NoSuchService(name))?;
        service.count_until(now, usual_rate);
        change(service);
        Ok(())
    }

    fn count_until(&mut self, now: Instant) {
        for service in self.services.values_mut() {
            service.count_until(now, self.usual_rate);
        }
    }
}

impl Service {
    fn count_until(&mut self, now: Instant, usual_rate: f64) {
        let passed = now.saturating_duration_since(self.counted_until);
        self.counters.add(&self.behaviour, usual_rate, passed);
        self.counted_until = now;
    }
}
