//! One isolated world for one test: the example service, a Prometheus that scrapes it, a pager, a GitHub, and the daemon.
//!
//! Never shared between tests, and never outlives its test: each process is ended by its id when the world is dropped.

mod alertmanager;
mod daemon;
mod evidence;
mod github;
mod pager;
mod plan;
mod ports;
mod process;
mod prometheus;
mod proxy;
mod receipt;
mod relay;
mod secrets;
mod service;
mod wait;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

pub(crate) use self::alertmanager::Alertmanager;
pub(crate) use self::daemon::{Answer, Daemon};
pub(crate) use self::evidence::{
    Held, assert_held, assert_not_observed_before_the_data, assert_observed_by_the_data, instant,
};
pub(crate) use self::github::{GitHub, Script};
pub(crate) use self::pager::{Pager, Received};
pub(crate) use self::plan::{Plan, triggers};
pub(crate) use self::prometheus::Prometheus;
pub(crate) use self::proxy::{Fault, Proxy};
pub(crate) use self::receipt::Receipt;
pub(crate) use self::relay::Relay;
pub(crate) use self::secrets::Secrets;
pub(crate) use self::service::Production;
pub(crate) use self::wait::{PATIENCE, wait_until, wait_until_within};

/// The name of the only service, in a world with one.
pub(crate) const SERVICE: &str = "capstone-api";

/// How far back the queries of the scaled-down trigger list look.
pub(crate) const WINDOW: Duration = Duration::from_secs(4);

/// Everything around the daemon, and the daemon once [`World::run`] started it.
pub(crate) struct World {
    // Dropped in this order: those who ask before those who are asked, the folder last.
    pub(crate) daemon: Option<Daemon>,
    pub(crate) alertmanager: Option<Alertmanager>,
    pub(crate) prometheus: Prometheus,
    /// Between the two, in a world whose shape has one.
    pub(crate) relay: Option<Relay>,
    pub(crate) production: Production,
    pub(crate) pager: Pager,
    pub(crate) github: GitHub,
    dir: tempfile::TempDir,
}

/// How a world differs from the usual one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// From scrape to scrape.
    pub(crate) scrape_interval: Duration,
    /// `svc-1` to `svc-N` instead of `capstone-api`.
    pub(crate) several: Option<u16>,
    /// Prometheus scrapes by a relay, which can be cut.
    pub(crate) relayed: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { scrape_interval: Duration::from_millis(500), several: None, relayed: false }
    }
}

impl World {
    /// The usual world: one service at `v1`, 200 requests per second, scraped each 500 ms. The daemon is not started.
    pub(crate) async fn start() -> Self {
        Self::shaped(Shape::default()).await
    }

    /// A world of this shape.
    pub(crate) async fn shaped(shape: Shape) -> Self {
        let dir = tempfile::tempdir().expect("a folder for the world");
        let production = Production::start(dir.path(), shape.several).await;
        let relay = if shape.relayed { Some(Relay::start(production.port()).await) } else { None };
        let target = relay.as_ref().map_or_else(|| production.port(), Relay::port);
        let prometheus = Prometheus::start(dir.path(), target, shape.scrape_interval).await;
        let pager = Pager::start().await;
        let github = GitHub::start(production.url()).await;
        Self { daemon: None, alertmanager: None, prometheus, relay, production, pager, github, dir }
    }

    /// Waits until Prometheus has this much of the past: what comes before a deploy decides what is armed for it.
    pub(crate) async fn has_past(&self, past: Duration) {
        self.prometheus.has_past(past).await;
    }

    /// Starts an Alertmanager whose only receiver is the pager, at `/alertmanager`.
    pub(crate) async fn start_alertmanager(&mut self) -> String {
        let alertmanager = Alertmanager::start(self.dir.path(), &self.pager.url("/alertmanager")).await;
        let url = alertmanager.url().to_owned();
        self.alertmanager = Some(alertmanager);
        url
    }

    /// A folder or file of this world.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The receipts' folder.
    pub(crate) fn receipts_dir(&self) -> PathBuf {
        self.place("receipts")
    }

    /// The reference plan, scaled down: the trigger `error-rate`, and the pipeline as the only path.
    pub(crate) fn plan(&self) -> Plan {
        Plan::reference(self)
    }

    /// Writes the config, starts the daemon with it and waits until it is ready.
    pub(crate) async fn run(&mut self, plan: &Plan) {
        self.run_with(plan, &[]).await;
    }

    /// The same with more arguments for `rollbackd run`.
    pub(crate) async fn run_with(&mut self, plan: &Plan, arguments: &[&str]) {
        let daemon = Daemon::new(self.dir.path(), plan, arguments);
        self.daemon.insert(daemon).start().await;
    }

    /// The same with a state folder that is a small disk in memory, which only the daemon sees. Gives false where the
    /// system allows no such thing.
    pub(crate) async fn run_on_small_disk(&mut self, plan: &Plan) -> bool {
        let disk = self.place("state");
        std::fs::create_dir_all(&disk).expect("the place of the disk");
        if !Daemon::may_have_own_disk(&disk).await {
            eprintln!("not run: no mount namespaces here");
            return false;
        }
        let daemon = Daemon::new(self.dir.path(), plan, &[]).with_own_disk(&disk);
        self.daemon.insert(daemon).start().await;
        true
    }

    /// What `receipts verify` says of the receipts, which must be that all is well.
    pub(crate) async fn receipts_are_whole(&self) {
        let said = self.api().command(&["receipts", "verify", "--config", "rollbackd.yml"]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
    }

    /// The daemon.
    pub(crate) fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("the daemon was started")
    }

    /// The daemon, to be asked.
    pub(crate) fn api(&self) -> &Daemon {
        self.daemon.as_ref().expect("the daemon was started")
    }

    /// Switches production to this version and reports the deploy, naming the version before. Gives the deploy's id.
    pub(crate) async fn deploy(&self, version: &str, previous: &str) -> String {
        self.deploy_as(SERVICE, json!({"version": version, "previous_version": previous})).await
    }

    /// The same for any service, with any fields of `POST /v1/deploys`.
    pub(crate) async fn deploy_as(&self, service: &str, mut report: Value) -> String {
        let version = report["version"].as_str().expect("a version").to_owned();
        self.production.deploy(service, &version, "test").await;
        report["service"] = json!(service);
        let answer = self.api().post("/v1/deploys", report).await;
        answer.text_of(202, "deploy")
    }

    /// Says that a trigger is observed. Gives the firing's id.
    pub(crate) async fn report(&self, trigger: &str) -> String {
        let report = json!({"service": SERVICE, "trigger": trigger, "note": "said by a test"});
        self.api().post("/v1/reports", report).await.text_of(202, "firing")
    }

    /// Asks for something: `POST` with this body.
    pub(crate) async fn post(&self, route: &str, body: Value) -> Answer {
        self.api().post(route, body).await
    }

    /// What the daemon knows of a service.
    pub(crate) async fn view(&self, service: &str) -> Value {
        self.api().get(&format!("/v1/services/{service}")).await.json_of(200)
    }

    /// What the daemon knows of every firing.
    pub(crate) async fn firings(&self) -> Vec<Value> {
        let firings = self.api().get("/v1/firings").await.json_of(200);
        firings.as_array().cloned().expect("a list of firings")
    }

    /// Waits until what the daemon knows of the only service is like this.
    pub(crate) async fn view_until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        self.view_of_until(SERVICE, what, is_so).await
    }

    /// Waits until what the daemon knows of this service is like this.
    pub(crate) async fn view_of_until(&self, service: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        wait_until(what, async || {
            // A daemon that is being started again does not answer yet.
            let view = self.api().try_get(&format!("/v1/services/{service}")).await?;
            if is_so(&view) { Ok(view) } else { Err(view.to_string()) }
        })
        .await
    }

    /// Waits until a trigger of the only service was looked at since the last deploy, and is in one of these states.
    pub(crate) async fn trigger_until(&self, trigger: &str, states: &[&str]) -> Value {
        let what = format!("trigger {trigger} is {}", states.join(" or "));
        self.view_until(&what, |view| {
            let state = trigger_of(view, trigger)["state"].as_str().unwrap_or_default().to_owned();
            states.contains(&state.as_str())
        })
        .await
    }

    /// The receipts so far, in the order of their numbers.
    pub(crate) fn receipts(&self) -> Vec<Receipt> {
        Receipt::all(&self.receipts_dir())
    }

    /// Waits for receipt `number`.
    pub(crate) async fn receipt(&self, number: u64) -> Receipt {
        wait_until(&format!("receipt {number} is there"), async || {
            let receipts = self.receipts();
            let numbers: Vec<_> = receipts.iter().map(|receipt| receipt.number).collect();
            receipts
                .into_iter()
                .find(|receipt| receipt.number == number)
                .ok_or_else(|| format!("there are {numbers:?}"))
        })
        .await
    }

    /// Waits for the first page with this reason.
    pub(crate) async fn page(&self, reason: &str) -> Received {
        wait_until(&format!("a page with the reason {reason}"), async || {
            let pages = self.pager.taken();
            let reasons: Vec<_> = pages.iter().map(|page| page.reason().to_owned()).collect();
            pages.into_iter().find(|page| page.reason() == reason).ok_or_else(|| format!("there are {reasons:?}"))
        })
        .await
    }

    /// The versions that pipelines (not tests) deployed, in order.
    pub(crate) async fn pipeline_runs(&self) -> Vec<String> {
        let deploys = self.production.deploys().await;
        let pipelines = deploys.iter().filter(|deploy| deploy["by"] != "test");
        pipelines.map(|deploy| deploy["version"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Lets the daemon look this many more times at a trigger, as the data in Prometheus goes on: for tests that
    /// something does not happen.
    pub(crate) async fn looks_on(&self, how_long: Duration) {
        self.prometheus.goes_on(how_long).await;
    }
}

/// The trigger of this name in what the daemon knows of a service; null where there is none.
pub(crate) fn trigger_of(view: &Value, name: &str) -> Value {
    let triggers = view["triggers"].as_array().map(Vec::as_slice).unwrap_or_default();
    triggers.iter().find(|trigger| trigger["name"] == name).cloned().unwrap_or(Value::Null)
}

/// The binary of the example service, which cargo builds beside the tests.
pub(crate) fn capstone_api() -> PathBuf {
    let daemon = Path::new(env!("CARGO_BIN_EXE_rollbackd"));
    let example = daemon.with_file_name("examples").join("capstone_api");
    assert!(example.exists(), "{} is missing: run `cargo build --examples` first", example.display());
    example
}

/// Serves these routes on a free port of loopback, as long as the task lives. Gives the base URL.
pub(crate) async fn serve(routes: axum::Router) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("the address of a listener");
    let server = tokio::spawn(async move { axum::serve(listener, routes).await.expect("a server") });
    (format!("http://{address}"), server)
}

/// The same that sends this token with each request.
pub(crate) fn client_with_token(token: &str) -> reqwest::Client {
    let value = format!("Bearer {token}").parse().expect("a token of visible characters");
    let headers = [(reqwest::header::AUTHORIZATION, value)].into_iter().collect();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(15));
    client.default_headers(headers).build().expect("an HTTP client")
}

/// A client for loopback: without proxies, and on a machine without certificates too.
pub(crate) fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(15));
    client.build().expect("an HTTP client")
}
