//! Decision lag: from the first instant at which the samples satisfy a trigger, found afterwards by a range query every
//! 50 ms, to the first request of the way back. The usual alerting (a rule, Alertmanager, a webhook) sees the same data.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::routing::post as route;
use clap::Args;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::measure::{median, quantile};
use crate::process::{self, Process};
use crate::processes;
use crate::scale::name;
use crate::usage::Metrics;
use crate::{Place, say};

/// How far the queries look back, and the condition.
const WINDOW: &str = "10s";
const LIMIT: f64 = 0.05;
/// How finely it is found afterwards when the samples satisfied the trigger, in seconds.
const FINE: f64 = 0.05;

#[derive(Args)]
pub(crate) struct Lag {
    /// How many services fail, each once.
    #[arg(long, default_value_t = 20)]
    breaches: u32,
    /// `for`, in seconds.
    #[arg(long, default_value_t = 10)]
    hold: u32,
    /// `evaluation_interval`.
    #[arg(long, default_value = "15s")]
    interval: String,
    /// One trigger shared by all services instead of one of each service's own.
    #[arg(long)]
    shared: bool,
    /// The share of requests that fails.
    #[arg(long, default_value_t = 1.0)]
    errors: f64,
    /// Alerting at its defaults as well (15 s evaluation, 30 s group wait): the run takes a minute more.
    #[arg(long)]
    defaults: bool,
}

/// When somebody was first told of a service, in seconds since the epoch.
pub(crate) type Told = Arc<Mutex<BTreeMap<(&'static str, String), f64>>>;

pub(crate) const OURS: &str = "rollbackd";
const TUNED: &str = "alerting rule, Alertmanager, webhook: tuned (1 s evaluation, 0 s group wait)";
const DEFAULTS: &str = "the same at its defaults (15 s evaluation, 30 s group wait)";

impl Lag {
    /// Everything in one run, on the same samples.
    pub(crate) async fn run(&self, place: &Place) -> Result<(), String> {
        let dir = place.folder("lag")?;
        let told = Told::default();
        let listener = listener(Arc::clone(&told)).await?;
        let [port] = processes::free_ports()?;
        let services = usize::try_from(self.breaches).map_err(|error| error.to_string())?;
        let (first, production) = process::production(&dir, &place.capstone_api, services)?;
        let mut running = vec![first];
        let peer = self.peer(&dir, "tuned", "1s", "0s", production, listener).await?;
        let prometheus = peer.1;
        running.extend(peer.0);
        if self.defaults {
            running.extend(self.peer(&dir, "defaults", "15s", "30s", production, listener).await?.0);
        }
        processes::write(&dir.join("rollbackd.yml"), &self.config(&dir, [prometheus, port, listener]))?;
        let (daemon, _) = process::rollbackd(&dir, &place.rollbackd, port).await?;
        running.insert(0, daemon);
        let measured = self.measure(port, production, prometheus, &told).await;
        for process in &mut running {
            process.end(Signal::TERM).await;
        }
        measured
    }

    async fn measure(&self, port: u16, production: u16, prometheus: u16, told: &Told) -> Result<(), String> {
        for number in 1..=self.breaches {
            let deploy = json!({"service": name(number), "version": "v2", "previous_version": "v1"});
            process::post(port, "/v1/deploys", &deploy).await?;
        }
        // Each is seen clear, and has a whole window of samples.
        tokio::time::sleep(Duration::from_secs(40)).await;
        let before = Metrics::parse(&process::get(port, "/metrics").await?);
        let began = now();
        for number in 1..=self.breaches {
            let behaviour = json!({"error_ratio": self.errors});
            process::post(production, &format!("/admin/behave?service={}", name(number)), &behaviour).await?;
            // No multiple of a scrape or of a slot, so that every phase is met.
            tokio::time::sleep(Duration::from_millis(1370)).await;
        }
        let patience =
            Duration::from_secs(u64::from(self.hold)) + Duration::from_secs(if self.defaults { 75 } else { 25 });
        tokio::time::sleep(patience).await;
        let after = Metrics::parse(&process::get(port, "/metrics").await?);
        let queries =
            after.sum("rollbackd_prometheus_queries_total", "") - before.sum("rollbackd_prometheus_queries_total", "");
        let mut lags: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        let mut missing: BTreeMap<&str, u32> = BTreeMap::new();
        let peers = if self.defaults { vec![OURS, TUNED, DEFAULTS] } else { vec![OURS, TUNED] };
        for number in 1..=self.breaches {
            let satisfied = self.satisfied(prometheus, &name(number), began).await?;
            let told = told.lock().unwrap_or_else(PoisonError::into_inner);
            for who in &peers {
                match told.get(&(who, name(number))) {
                    Some(at) => lags.entry(who).or_default().push(at - satisfied),
                    None => *missing.entry(who).or_default() += 1,
                }
            }
        }
        say(&format!(
            "{} breaches, for: {} s, scrapes each second, evaluation_interval {}",
            self.breaches, self.hold, self.interval
        ));
        say("who | median s | p99 s | least s | most s | never told");
        for who in peers {
            let lags = lags.get(who).cloned().unwrap_or_default();
            let never = missing.get(who).copied().unwrap_or(0);
            say(&format!(
                "{who} | {:.3} | {:.3} | {:.3} | {:.3} | {never}",
                median(&lags),
                quantile(&lags, 0.99),
                quantile(&lags, 0.0),
                quantile(&lags, 1.0),
            ));
        }
        let seconds = now() - began;
        say(&format!(
            "queries of rollbackd: {:.2} a second for {} triggers, {:.0} in all",
            queries / seconds,
            self.breaches,
            queries
        ));
        Ok(())
    }

    /// The first instant at which the condition has held for `for`, looked at every 50 ms.
    async fn satisfied(&self, prometheus: u16, service: &str, began: f64) -> Result<f64, String> {
        let query = format!("{} / {} > {LIMIT}", rate(service, "code=~\"5..\""), rate(service, ""));
        let (start, end) = ((began / FINE).floor() * FINE, now());
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/api/v1/query_range?query={encoded}&start={start:.3}&end={end:.3}&step={FINE}");
        let answer: Value =
            serde_json::from_str(&process::get(prometheus, &path).await?).map_err(|error| error.to_string())?;
        let samples = answer["data"]["result"][0]["values"].as_array().cloned().unwrap_or_default();
        let instants: Vec<f64> = samples.iter().filter_map(|sample| sample[0].as_f64()).collect();
        let mut since = None;
        let mut last = f64::MIN;
        for at in instants {
            if at - last > FINE * 1.5 {
                since = Some(at);
            }
            last = at;
            if since.is_some_and(|since| at - since >= f64::from(self.hold) - FINE / 10.0) {
                return Ok(at);
            }
        }
        Err(format!("{service} never satisfied the trigger by the samples"))
    }

    /// A Prometheus with a rule, and an Alertmanager with a webhook.
    async fn peer(
        &self,
        dir: &Path,
        peer: &'static str,
        evaluation: &str,
        wait: &str,
        production: u16,
        listener: u16,
    ) -> Result<(Vec<Process>, u16), String> {
        let [alertmanager, _] = processes::free_ports()?;
        let hook = format!("http://127.0.0.1:{listener}/alert/{peer}");
        processes::write(
            &dir.join(format!("{peer}-alertmanager.yml")),
            &json!({
                "route": {"receiver": "hook", "group_by": ["service"], "group_wait": wait, "group_interval": "1m", "repeat_interval": "1h"},
                "receivers": [{"name": "hook", "webhook_configs": [{"url": hook}]}],
            }),
        )?;
        let (config, data) =
            (format!("--config.file={peer}-alertmanager.yml"), format!("--storage.path={peer}-alertmanager-data"));
        let listen = format!("--web.listen-address=127.0.0.1:{alertmanager}");
        let arguments = [config.as_str(), data.as_str(), listen.as_str(), "--cluster.listen-address="];
        let second = Process::start(
            dir,
            &format!("{peer}-alertmanager"),
            Path::new("prometheus-alertmanager"),
            &arguments,
            &[],
        )?;
        let by = |matchers: &str| format!("sum by (service) (rate(http_requests_total{{{matchers}}}[{WINDOW}]))");
        let rule = json!({"alert": "ErrorRate", "expr": format!("{} / {} > {LIMIT}", by("code=~\"5..\""), by("")), "for": format!("{}s", self.hold)});
        processes::write(
            &dir.join(format!("{peer}-rules.yml")),
            &json!({"groups": [{"name": "bench", "rules": [rule]}]}),
        )?;
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": evaluation},
            "rule_files": [format!("{peer}-rules.yml")],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [format!("127.0.0.1:{alertmanager}")]}]}]},
            "scrape_configs": [{"job_name": "production", "static_configs": [{"targets": [format!("127.0.0.1:{production}")]}]}],
        });
        let (first, port) = process::prometheus(dir, peer, &config).await?;
        Ok((vec![first, second], port))
    }

    fn config(&self, dir: &Path, [prometheus, port, listener]: [u16; 3]) -> Value {
        let trigger = |bad: String, total: String| json!([{"name": "error-rate", "bad": bad, "total": total, "above": LIMIT, "for": format!("{}s", self.hold), "budget": "5m"}]);
        let by = |matchers: &str| format!("sum by (service) (rate(http_requests_total{{{matchers}}}[{WINDOW}]))");
        let service = |number: u32| {
            let own = name(number);
            let url = format!("http://127.0.0.1:{listener}/path/{own}");
            let mut service = json!({"name": own, "watch": "1h", "page": ["oncall"], "side_effects": "none",
                "paths": [{"name": "pipeline", "timeout": "1m", "http": {"url": url, "body": {"version": "{{ target.version }}"}}}]});
            if !self.shared {
                service["triggers"] = trigger(rate(&own, "code=~\"5..\""), rate(&own, ""));
            }
            service
        };
        let mut config = json!({
            "prometheus": {"url": format!("http://127.0.0.1:{prometheus}")}, "evaluation_interval": self.interval,
            "listen": format!("127.0.0.1:{port}"), "state_dir": dir.join("state"), "receipts_dir": dir.join("receipts"),
            "pagers": [{"name": "oncall", "webhook": {"url": format!("http://127.0.0.1:{listener}/page")}}],
            "services": (1..=self.breaches).map(service).collect::<Vec<_>>(),
        });
        if self.shared {
            config["triggers"] = trigger(by("code=~\"5..\""), by(""));
        }
        config
    }
}

fn rate(service: &str, matchers: &str) -> String {
    format!("sum(rate(http_requests_total{{service=\"{service}\",{matchers}}}[{WINDOW}]))")
}

pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Takes the way back of the daemon, the alerts of its peers, and pages; notes when each service was first told of.
pub(crate) async fn listener(told: Told) -> Result<u16, String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    let note = |told: &Told, who: &'static str, service: String| {
        let at = now();
        told.lock().unwrap_or_else(PoisonError::into_inner).entry((who, service)).or_insert(at);
    };
    let ours = Arc::clone(&told);
    let path = move |axum::extract::Path(service): axum::extract::Path<String>| {
        note(&ours, OURS, service);
        async { "{}" }
    };
    let alert = move |axum::extract::Path(peer): axum::extract::Path<String>, axum::Json(sent): axum::Json<Value>| {
        let who = if peer == "tuned" { TUNED } else { DEFAULTS };
        for alert in sent["alerts"].as_array().into_iter().flatten() {
            note(&told, who, alert["labels"]["service"].as_str().unwrap_or_default().to_owned());
        }
        async { "" }
    };
    let router = axum::Router::new()
        .route("/path/{service}", route(path))
        .route("/alert/{peer}", route(alert))
        .route("/page", route(async || ""));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(port)
}
