//! The traffic of one running version: counters as a function of the time that has passed, and their text form.
//!
//! Never reads a clock: the time that has passed is an argument.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The upper bounds of the histogram's buckets, in seconds: those that client libraries have by default.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The handlers, each with its method and its share of the requests.
const HANDLERS: [(&str, &str, f64); 2] = [("/", "GET", 0.9), ("/payments", "POST", 0.1)];

/// How a version behaves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Behaviour {
    /// Requests per second; the service's own where it isn't said.
    pub(crate) requests_per_second: Option<f64>,
    /// The share of requests that is answered with 500.
    pub(crate) error_ratio: f64,
    /// How long an ordinary request takes.
    pub(crate) latency_seconds: f64,
    /// The share of requests that is slow.
    pub(crate) slow_ratio: f64,
    /// How long a slow request takes.
    pub(crate) slow_seconds: f64,
    /// Whether `/healthz` answers 200.
    pub(crate) healthy: bool,
    /// Whether each value of the traffic is NaN.
    pub(crate) nan: bool,
    /// Whether the traffic is missing from `/metrics`; `app_build_info` stays.
    pub(crate) hide_metrics: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            requests_per_second: None,
            error_ratio: 0.0,
            latency_seconds: 0.04,
            slow_ratio: 0.0,
            slow_seconds: 2.0,
            healthy: true,
            nan: false,
            hide_metrics: false,
        }
    }
}

impl Behaviour {
    /// Says what is wrong with it, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        let rate = self.requests_per_second.unwrap_or(0.0);
        if !(0.0..=1e6).contains(&rate) {
            return Err(format!("requests_per_second is {rate}: expected 0 to 1000000"));
        }
        for (name, ratio) in [("error_ratio", self.error_ratio), ("slow_ratio", self.slow_ratio)] {
            if !(0.0..=1.0).contains(&ratio) {
                return Err(format!("{name} is {ratio}: expected 0 to 1"));
            }
        }
        for (name, seconds) in [("latency_seconds", self.latency_seconds), ("slow_seconds", self.slow_seconds)] {
            if !(0.0..=3600.0).contains(&seconds) {
                return Err(format!("{name} is {seconds}: expected 0 to 3600"));
            }
        }
        Ok(())
    }
}

/// What one running version has counted so far. A deploy starts a new one: counters begin at zero again, and there is
/// no series of errors until one happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    /// Requests by handler and code; fractions are kept, shown are whole requests.
    requests: BTreeMap<(usize, u16), f64>,
    /// Requests by the time that they took, in microseconds.
    durations: BTreeMap<u64, f64>,
}

impl Counters {
    /// Adds the traffic of this much time.
    pub(crate) fn add(&mut self, behaviour: &Behaviour, usual_rate: f64, passed: Duration) {
        let requests = behaviour.requests_per_second.unwrap_or(usual_rate) * passed.as_secs_f64();
        for (index, (_, _, share)) in HANDLERS.iter().enumerate() {
            let handled = requests * share;
            self.count(index, 200, handled * (1.0 - behaviour.error_ratio));
            self.count(index, 500, handled * behaviour.error_ratio);
        }
        self.take(behaviour.latency_seconds, requests * (1.0 - behaviour.slow_ratio));
        self.take(behaviour.slow_seconds, requests * behaviour.slow_ratio);
    }

    fn count(&mut self, handler: usize, code: u16, requests: f64) {
        if requests > 0.0 {
            *self.requests.entry((handler, code)).or_default() += requests;
        }
    }

    fn take(&mut self, seconds: f64, requests: f64) {
        if requests > 0.0 {
            let microseconds = u64::try_from(Duration::from_secs_f64(seconds).as_micros()).unwrap_or(u64::MAX);
            *self.durations.entry(microseconds).or_default() += requests;
        }
    }

    /// `http_requests_total` of one service.
    pub(crate) fn show_requests(&self, text: &mut String, service: &str, nan: bool) {
        for ((handler, code), requests) in &self.requests {
            let (handler, method, _) = HANDLERS[*handler];
            let labels = format!("service=\"{service}\",code=\"{code}\",handler=\"{handler}\",method=\"{method}\"");
            let _ = writeln!(text, "http_requests_total{{{labels}}} {}", shown(requests.floor(), nan));
        }
    }

    /// `http_request_duration_seconds` of one service.
    pub(crate) fn show_durations(&self, text: &mut String, service: &str, nan: bool) {
        let name = "http_request_duration_seconds";
        let seconds = |microseconds: u64| Duration::from_micros(microseconds).as_secs_f64();
        let within = |bound: f64| -> f64 {
            let took = self.durations.iter().filter(|(took, _)| seconds(**took) <= bound);
            took.fold(0.0, |all, (_, requests)| all + requests)
        };
        for bound in BUCKETS {
            let value = shown(within(bound).floor(), nan);
            let _ = writeln!(text, "{name}_bucket{{service=\"{service}\",le=\"{bound}\"}} {value}");
        }
        let all = shown(within(f64::INFINITY).floor(), nan);
        let sum: f64 = self.durations.iter().map(|(took, requests)| seconds(*took) * requests).sum();
        let _ = writeln!(text, "{name}_bucket{{service=\"{service}\",le=\"+Inf\"}} {all}");
        let _ = writeln!(text, "{name}_sum{{service=\"{service}\"}} {}", shown(sum, nan));
        let _ = writeln!(text, "{name}_count{{service=\"{service}\"}} {all}");
    }
}

fn shown(value: f64, nan: bool) -> String {
    if nan { "NaN".to_owned() } else { value.to_string() }
}
