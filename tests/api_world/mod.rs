//! The API on a real listener, before a supervisor that decides and applies, but keeps no journal and touches nothing.

#![expect(clippy::unwrap_used, reason = "a part of tests, which clippy sees only in the tests themselves")]
#![expect(dead_code, unreachable_pub, reason = "a module of several test binaries, each of which uses its part")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rollbackd::clock;
use rollbackd::door::{Asked, Door, NotDone, Shared};
use rollbackd::http::{Access, Limits, Scope, Token, router, serve_within};
use rollbackd::metrics::Metrics;
use rollbackd::sources::InForce;
use rollbackd_core::apply::apply;
use rollbackd_core::config::{
    Action, AutomaticLimit, Condition, Config, Limit, Metric, Observed, PathRule, Query, RunPart, Service, Trigger,
};
use rollbackd_core::decide;
use rollbackd_core::name::{PagerName, PathName, ServiceName, TriggerName};
use rollbackd_core::template::Template;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// What the supervisor does with what it is asked.
#[derive(Clone, Copy, PartialEq)]
pub enum Supervisor {
    Decides,
    CanNotWrite,
    IsGone,
    IsReplaying,
}

pub struct World {
    pub address: SocketAddr,
    pub shared: Arc<Shared>,
    pub metrics: Arc<Metrics>,
    pub access: Access,
    client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<std::io::Result<()>>,
}

pub struct Answered {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answered {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {} {:?}", self.status, self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

impl World {
    pub async fn open() -> Self {
        Self::new(Vec::new(), Supervisor::Decides).await
    }

    pub async fn with_tokens(tokens: Vec<Token>) -> Self {
        Self::new(tokens, Supervisor::Decides).await
    }

    /// Without tokens, and with these limits on connections.
    pub async fn limited(limits: Limits) -> Self {
        Self::with(limits, Vec::new(), Supervisor::Decides).await
    }

    pub async fn new(tokens: Vec<Token>, supervisor: Supervisor) -> Self {
        Self::with(Limits::default(), tokens, supervisor).await
    }

    async fn with(limits: Limits, tokens: Vec<Token>, supervisor: Supervisor) -> Self {
        let shared = Arc::new(Shared::default());
        shared.set_config(Arc::new(config()));
        if supervisor != Supervisor::IsReplaying {
            shared.set_replayed();
        }
        shared.set_journal_writable(true);
        let (events, asked) = mpsc::channel(16);
        tokio::spawn(supervise(asked, Arc::clone(&shared), supervisor));
        let (metrics, access) = (Arc::new(Metrics::new("test")), Access::new(tokens));
        let router =
            router(Door::new(events, Arc::clone(&shared)), access.clone(), InForce::default(), Arc::clone(&metrics));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve_within(limits, listener, router, async {
            let _ = stopped.await;
        }));
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Self { address, shared, metrics, access, client, stop: Some(stop), serving }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), self.url(path))
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answered {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answered { status, headers, text: response.text().await.unwrap() }
    }

    pub async fn get(&self, path: &str) -> Answered {
        self.send(self.request("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answered {
        self.send(self.request("POST", path).json(body)).await
    }

    /// A deploy of the capstone; its id.
    pub async fn deployed(&self, version: &str) -> String {
        let body = json!({"service": "capstone-api", "version": version, "previous_version": "v0"});
        let answered = self.post("/v1/deploys", &body).await;
        assert_eq!(answered.status, 202, "{}", answered.text);
        answered.json()["deploy"].as_str().unwrap().to_owned()
    }

    /// A report about the capstone; the firing's id.
    pub async fn fired(&self, trigger: &str) -> String {
        let answered = self.post("/v1/reports", &json!({"service": "capstone-api", "trigger": trigger})).await;
        assert_eq!(answered.status, 202, "{}", answered.text);
        answered.json()["firing"].as_str().unwrap().to_owned()
    }

    /// Stops serving; when this returns, every request has its answer.
    pub async fn stop(mut self) -> std::io::Result<()> {
        self.stop.take().unwrap().send(()).unwrap();
        drop(self.client);
        self.serving.await.unwrap()
    }
}

async fn supervise(mut asked: mpsc::Receiver<Asked>, shared: Arc<Shared>, supervisor: Supervisor) {
    if supervisor == Supervisor::IsGone {
        return;
    }
    while let Some(Asked { event, reply }) = asked.recv().await {
        let now = clock::now();
        let decision = decide(&shared.config(), &shared.state(), &event, now);
        let answer = match supervisor {
            Supervisor::CanNotWrite => Err(NotDone::JournalNotWritable("no space left on device".to_owned())),
            Supervisor::Decides | Supervisor::IsGone | Supervisor::IsReplaying => {
                for record in &decision.records {
                    apply(&mut shared.state_mut(), &event.service, now, record).unwrap();
                }
                assert_eq!(decision.fault, None);
                Ok(decision.reply)
            }
        };
        if let Some(reply) = reply {
            let _nobody_waits = reply.send(answer);
        }
    }
}

pub fn token(name: &str, secret: &str, scopes: &[Scope]) -> Token {
    Token {
        name: name.to_owned(),
        sha256: Sha256::digest(secret).into(),
        scopes: scopes.iter().copied().collect::<BTreeSet<_>>(),
    }
}

fn trigger(name: &str, observed: Observed, action: Action) -> Trigger {
    Trigger {
        name: TriggerName::new(name).unwrap(),
        observed,
        hold: Duration::from_secs(120),
        budget: Some(Duration::from_secs(300)),
        action,
        never_roll_back: name == "data-corruption",
        veto: Duration::ZERO,
        note: None,
        shared: None,
    }
}

fn error_rate() -> Observed {
    Observed::Metric(std::sync::Arc::new(Metric {
        query: Query::Ratio { bad: Template::parse("bad").unwrap(), total: Template::parse("total").unwrap() },
        condition: Condition::Above(Limit::Fixed { value: 0.05, shown_as_percentage: true }),
        at_least: None,
        window: Duration::from_secs(60),
        freshness: None,
        step: Duration::from_secs(15),
        comparison: None,
    }))
}

fn path(name: &str) -> PathRule {
    PathRule {
        name: PathName::new(name).unwrap(),
        timeout: Duration::from_secs(240),
        repeatable: false,
        kind: "command",
        run: vec![RunPart { name: String::new(), value: Template::parse("{{ target.version }}").unwrap() }],
        leaves_behind: None,
        pipeline_files: Vec::new(),
    }
}

fn service(name: &str) -> (ServiceName, Arc<Service>) {
    let name = ServiceName::new(name).unwrap();
    let service = Service {
        name: name.clone(),
        watch: Duration::from_secs(1800),
        page: vec![vec![PagerName::new("oncall").unwrap()]],
        escalate_after: None,
        announce: Vec::new(),
        version_query: None,
        watch_version: false,
        triggers: vec![
            trigger("error-rate", error_rate(), Action::Rollback).into(),
            trigger("smoke-test", Observed::Report, Action::Rollback).into(),
            trigger("login-broken", Observed::Report, Action::Page).into(),
            trigger("data-corruption", Observed::Report, Action::Page).into(),
            trigger("canary", Observed::Report, Action::Shadow).into(),
        ],
        paths: vec![path("pipeline").into(), path("console").into()],
        smoke: None,
        automatic_limit: AutomaticLimit::default(),
        side_effects: None,
        rehearsal: None,
    };
    (name, service.into())
}

fn config() -> Config {
    Config {
        evaluation_interval: Duration::from_secs(15),
        services: [service("billing"), service("capstone-api")].into_iter().collect(),
        ..Config::default()
    }
}
