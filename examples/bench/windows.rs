//! Time to detect: from the first instant at which a service fails to the first request of the way back, for queries that look
//! back differently far, and for failures of different shares. Most of it is the query's window.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use clap::Args;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::lag::{OURS, Told, listener, now};
use crate::process;
use crate::processes;
use crate::scale::name;
use crate::{Place, say};

/// How far the queries look back, as the table has it.
const WINDOWS: [&str; 3] = ["1m", "5m", "{{ since_deploy }}"];
const ERRORS: [f64; 3] = [0.06, 0.2, 1.0];
const LIMIT: f64 = 0.05;
const HOLD: &str = "10s";
/// The deploy is so long before the failure.
const DEPLOYED_BEFORE: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(crate) struct Windows {
    /// How long samples are gathered before the deploy, in seconds: the longest window has to be full.
    #[arg(long, default_value_t = 300)]
    warm_up: u64,
    /// How long is waited for the slowest, in seconds.
    #[arg(long, default_value_t = 420)]
    patience: u64,
}

/// Each window with each share of errors: a service of its own.
fn cases() -> impl Iterator<Item = (u32, &'static str, f64)> {
    let all = WINDOWS.into_iter().flat_map(|window| ERRORS.map(|errors| (window, errors)));
    (1..).zip(all).map(|(number, (window, errors))| (number, window, errors))
}

impl Windows {
    /// All in one run, on one Prometheus.
    pub(crate) async fn run(&self, place: &Place) -> Result<(), String> {
        let dir = place.folder("windows")?;
        let told = Told::default();
        let listener = listener(Told::clone(&told)).await?;
        let [port] = processes::free_ports()?;
        let (first, production) = process::production(&dir, &place.capstone_api, cases().count())?;
        let mut running = vec![first];
        let scrapes = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [{"job_name": "production", "static_configs": [{"targets": [format!("127.0.0.1:{production}")]}]}],
        });
        let (process, prometheus) = process::prometheus(&dir, "prometheus", &scrapes).await?;
        running.push(process);
        processes::write(&dir.join("rollbackd.yml"), &config(&dir, [prometheus, port, listener]))?;
        let (daemon, _) = process::rollbackd(&dir, &place.rollbackd, port).await?;
        running.insert(0, daemon);
        let measured = self.measure(port, production, &told).await;
        for process in &mut running {
            process.end(Signal::TERM).await;
        }
        measured
    }

    async fn measure(&self, port: u16, production: u16, told: &Told) -> Result<(), String> {
        tokio::time::sleep(Duration::from_secs(self.warm_up)).await;
        for (number, ..) in cases() {
            let deploy = json!({"service": name(number), "version": "v2", "previous_version": "v1"});
            process::post(port, "/v1/deploys", &deploy).await?;
        }
        tokio::time::sleep(DEPLOYED_BEFORE).await;
        let mut began = BTreeMap::new();
        for (number, _, errors) in cases() {
            let behaviour = json!({"error_ratio": errors});
            process::post(production, &format!("/admin/behave?service={}", name(number)), &behaviour).await?;
            began.insert(number, now());
        }
        tokio::time::sleep(Duration::from_secs(self.patience)).await;
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        say(&format!(
            "limit {LIMIT}, for: {HOLD}, scrapes each second, evaluation_interval 15s; seconds, `for` included"
        ));
        say(&format!(
            "window | {} of the requests fail",
            ERRORS.map(|errors| format!("{:.0}%", errors * 100.0)).join(" | ")
        ));
        for window in WINDOWS {
            let row = cases().filter(|(_, of, _)| *of == window).map(|(number, ..)| {
                let at = told.get(&(OURS, name(number)));
                at.map_or_else(|| "never".to_owned(), |at| format!("{:.1}", at - began[&number]))
            });
            say(&format!("{window} | {}", row.collect::<Vec<_>>().join(" | ")));
        }
        Ok(())
    }
}

fn config(dir: &std::path::Path, [prometheus, port, listener]: [u16; 3]) -> Value {
    let service = |(number, window, _): (u32, &str, f64)| {
        let own = name(number);
        let sum = |matchers: &str| format!("sum(rate(http_requests_total{{service=\"{own}\",{matchers}}}[{window}]))");
        let url = format!("http://127.0.0.1:{listener}/path/{own}");
        json!({"name": own, "watch": "1h", "page": ["oncall"], "side_effects": "none",
            "triggers": [{"name": "error-rate", "bad": sum("code=~\"5..\""), "total": sum(""), "above": LIMIT, "for": HOLD, "budget": "5m"}],
            "paths": [{"name": "pipeline", "timeout": "1m", "http": {"url": url, "body": {"version": "{{ target.version }}"}}}]})
    };
    json!({
        "prometheus": {"url": format!("http://127.0.0.1:{prometheus}")}, "evaluation_interval": "15s",
        "listen": format!("127.0.0.1:{port}"), "state_dir": dir.join("state"), "receipts_dir": dir.join("receipts"),
        "pagers": [{"name": "oncall", "webhook": {"url": format!("http://127.0.0.1:{listener}/page")}}],
        "services": cases().map(service).collect::<Vec<_>>(),
    })
}
