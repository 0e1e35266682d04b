//! A fleet-wide rollout: every service reports a deploy in one burst, and each 202 is durable.

use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::measure::quantile;
use crate::process::{self, Connection};
use crate::processes;
use crate::scale::name;
use crate::usage::Metrics;
use crate::{Place, say};

#[derive(Args)]
pub(crate) struct Burst {
    /// How many services deploy.
    #[arg(long, default_value_t = 10_000)]
    services: u32,
    /// Over how many connections.
    #[arg(long, default_value_t = 64)]
    connections: u32,
}

impl Burst {
    /// The burst, a crash, and what is left.
    pub(crate) async fn run(&self, place: &Place) -> Result<(), String> {
        let dir = place.folder("journal")?;
        let [port] = processes::free_ports()?;
        processes::write(&dir.join("rollbackd.yml"), &config(&dir, self.services, port))?;
        let (mut daemon, ready) = process::rollbackd(&dir, &place.rollbackd, port).await?;
        let (took, answers) = deploy_all(port, self.services, self.connections, "v1").await?;
        let appends = Metrics::parse(&process::get(port, "/metrics").await?);
        daemon.end(Signal::KILL).await;
        let (mut daemon, again) = process::rollbackd(&dir, &place.rollbackd, port).await?;
        let open = Metrics::parse(&process::get(port, "/metrics").await?).sum("rollbackd_watches_open", "");
        daemon.end(Signal::TERM).await;
        say(
            "deploys | accepted within s | one answer p50 s | p99 s | syncs | records | watches open after kill -9 | first start s | start after it s",
        );
        say(&format!(
            "{} | {:.2} | {:.3} | {:.3} | {:.0} | {:.0} | {open:.0} | {:.2} | {:.2}",
            self.services,
            took.as_secs_f64(),
            quantile(&answers, 0.5),
            quantile(&answers, 0.99),
            appends.sum("rollbackd_journal_append_duration_seconds_count", ""),
            appends.sum("rollbackd_records_total", ""),
            ready.as_secs_f64(),
            again.as_secs_f64(),
        ));
        Ok(())
    }
}

/// Reports a deploy of each service; how long until the last was accepted, and each answer's seconds.
pub(crate) async fn deploy_all(
    port: u16,
    services: u32,
    connections: u32,
    version: &str,
) -> Result<(Duration, Vec<f64>), String> {
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for first in 1..=connections.min(services) {
        let (version, step) = (version.to_owned(), connections);
        tasks.spawn(async move {
            let mut connection = Connection::open(port).await?;
            let mut answers = Vec::new();
            let mut number = first;
            while number <= services {
                let body = json!({"service": name(number), "version": version}).to_string();
                let asked = Instant::now();
                let (status, answer) = connection.ask("POST", "/v1/deploys", &body).await?;
                if status != 202 {
                    return Err(format!("a deploy was answered {status}: {answer}"));
                }
                answers.push(asked.elapsed().as_secs_f64());
                number += step;
            }
            Ok::<_, String>(answers)
        });
    }
    let mut answers = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        answers.extend(ended.map_err(|error| error.to_string())??);
    }
    Ok((began.elapsed(), answers))
}

/// Services that nobody asks Prometheus about.
pub(crate) fn config(dir: &std::path::Path, services: u32, port: u16) -> Value {
    let service = |number| json!({"name": name(number), "watch": "1h", "page": ["oncall"], "side_effects": "none"});
    json!({
        "prometheus": {"url": "http://127.0.0.1:9"},
        "listen": format!("127.0.0.1:{port}"), "state_dir": dir.join("state"), "receipts_dir": dir.join("receipts"),
        "pagers": [{"name": "oncall", "webhook": {"url": "http://127.0.0.1:9/page"}}],
        "triggers": [{"name": "login-broken", "observed": "report", "budget": "10m", "action": "page"}],
        "services": (1..=services).map(service).collect::<Vec<_>>(),
    })
}
