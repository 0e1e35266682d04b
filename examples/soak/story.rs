//! What happens to the services: a deploy of each every few minutes, now and then a bad one, and people who report.
//!
//! Never looks at the daemon's answers but to count them: it is the load, not the judge.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Plan;
use crate::world::World;

/// From one bad deploy to the next, and from one report of a human to the next.
const BAD_EVERY: Duration = Duration::from_secs(45);
const REPORT_EVERY: Duration = Duration::from_secs(30);
/// A human looks for so long before dismissing.
const DISMISS_AFTER: Duration = Duration::from_secs(5);

/// What was done, and how it was answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) deploys: u64,
    pub(crate) bad_deploys: u64,
    pub(crate) reports: u64,
    pub(crate) dismissals: u64,
    /// Requests that were not answered with success, with the last such answer.
    pub(crate) refused: u64,
    pub(crate) last_refusal: String,
    /// Calls of the pagers' webhook.
    pub(crate) pages: u64,
}

/// The story while it goes on.
pub(crate) struct Story {
    stop: CancellationToken,
    deploys: JoinHandle<Told>,
    reports: JoinHandle<Told>,
    pages: Arc<AtomicU64>,
}

impl Story {
    /// Tells it to end.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// What was done, once it has ended.
    pub(crate) async fn told(self) -> Told {
        let mut told = self.deploys.await.unwrap_or_default();
        let reports = self.reports.await.unwrap_or_default();
        told.refused += reports.refused;
        if !reports.last_refusal.is_empty() {
            told.last_refusal = reports.last_refusal;
        }
        Told {
            reports: reports.reports,
            dismissals: reports.dismissals,
            pages: self.pages.load(Ordering::Relaxed),
            ..told
        }
    }
}

/// Begins to deploy and to report, until it is stopped or the deploys are to end.
pub(crate) fn begin(world: &World, plan: &Plan) -> Story {
    let stop = CancellationToken::new();
    let teller = || Teller {
        client: world.client.clone(),
        api: world.api.clone(),
        production: world.production.clone(),
        services: plan.services,
        told: Told::default(),
    };
    let (deploys, reports) = (teller().deploys(plan.clone()), teller().reports(plan.clone()));
    Story {
        deploys: tokio::spawn(until(stop.clone(), plan.deploys_end(), deploys)),
        reports: tokio::spawn(until(stop.clone(), plan.deploys_end(), reports)),
        pages: world.pages_taken(),
        stop,
    }
}

/// Each step of a story until it is stopped, or its time is over.
async fn until(stop: CancellationToken, end: Duration, mut steps: Steps) -> Told {
    let ends = tokio::time::sleep(end);
    tokio::pin!(ends);
    let mut ticks = tokio::time::interval(steps.every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0.. {
        tokio::select! {
            () = stop.cancelled() => break,
            () = &mut ends => break,
            _ = ticks.tick() => steps.step(number).await,
        }
    }
    steps.teller.told
}

enum What {
    Deploys { one_bad_of: u64 },
    Reports,
}

struct Steps {
    every: Duration,
    what: What,
    teller: Teller,
}

impl Steps {
    async fn step(&mut self, number: u64) {
        match self.what {
            What::Deploys { one_bad_of } => self.teller.deploy(number, number % one_bad_of == one_bad_of - 1).await,
            What::Reports => self.teller.report(number).await,
        }
    }
}

struct Teller {
    client: reqwest::Client,
    api: String,
    production: String,
    services: u16,
    told: Told,
}

impl Teller {
    fn deploys(self, plan: Plan) -> Steps {
        let every = plan.deploy_every / u32::from(plan.services);
        // Odd, so that it is another service each round.
        let bad_every = BAD_EVERY.min(plan.watch);
        let one_bad_of = u64::try_from(bad_every.as_millis() / every.as_millis().max(1)).unwrap_or(1) | 1;
        Steps { every, what: What::Deploys { one_bad_of: one_bad_of.max(7) }, teller: self }
    }

    fn reports(self, plan: Plan) -> Steps {
        Steps { every: REPORT_EVERY.min(plan.watch), what: What::Reports, teller: self }
    }

    /// The services take turns.
    fn service(&self, number: u64) -> String {
        format!("svc-{}", number % u64::from(self.services) + 1)
    }

    async fn deploy(&mut self, number: u64, bad: bool) {
        let service = self.service(number);
        let round = number / u64::from(self.services) + 2;
        let version = if bad { format!("v{round}-bad") } else { format!("v{round}") };
        self.told.deploys += 1;
        let (production, api) = (self.production.clone(), self.api.clone());
        if bad {
            self.told.bad_deploys += 1;
            let versions = json!({ version.as_str(): {"error_ratio": 0.3} });
            self.post(&format!("{production}/admin/versions?service={service}"), versions).await;
        }
        let deployed = json!({"version": version, "by": "soak"});
        self.post(&format!("{production}/admin/deploy?service={service}"), deployed).await;
        let mut event = json!({"service": service, "version": version});
        if round == 2 {
            event["previous_version"] = json!("v1");
        }
        self.post(&format!("{api}/v1/deploys"), event).await;
    }

    async fn report(&mut self, number: u64) {
        let (service, api) = (self.service(number * 7), self.api.clone());
        self.told.reports += 1;
        let report = json!({"service": service, "trigger": "login-broken", "note": "said by the soak"});
        let answer = self.post(&format!("{api}/v1/reports"), report).await;
        let Some(firing) = answer.as_ref().and_then(|answer| answer["firing"].as_str()) else { return };
        tokio::time::sleep(DISMISS_AFTER).await;
        self.told.dismissals += 1;
        let why = json!({"why": "the soak says so"});
        self.post(&format!("{api}/v1/firings/{firing}/dismiss"), why).await;
    }

    /// The body of an answer that is a success.
    async fn post(&mut self, url: &str, body: Value) -> Option<Value> {
        let refusal = match self.client.post(url).json(&body).send().await {
            Ok(answer) if answer.status().is_success() => return Some(answer.json().await.unwrap_or(Value::Null)),
            Ok(answer) => format!("{}: {}", answer.status(), answer.text().await.unwrap_or_default()),
            Err(error) => error.to_string(),
        };
        self.told.refused += 1;
        self.told.last_refusal = format!("{url}: {refusal}");
        None
    }
}
