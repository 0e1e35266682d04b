//! Many services under watch at once: five shared triggers each, a real Prometheus that holds their series.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::routing::get as route;
use clap::Args;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::chart::{Line, draw};
use crate::journal::deploy_all;
use crate::measure::quantile_between;
use crate::process::{self, Process};
use crate::processes;
use crate::usage::{Metrics, Usage};
use crate::{Place, say};

/// The series of one service, `{}` standing for its name: 14 of them.
const SERIES: [&str; 14] = [
    "app_build_info{service=\"{}\",version=\"v1\"}",
    "queue_length{service=\"{}\"}",
    "http_requests_total{service=\"{}\",code=\"200\"}",
    "http_requests_total{service=\"{}\",code=\"500\"}",
    "http_request_duration_seconds_bucket{service=\"{}\",le=\"0.01\"}",
    "http_request_duration_seconds_bucket{service=\"{}\",le=\"0.05\"}",
    "http_request_duration_seconds_bucket{service=\"{}\",le=\"0.1\"}",
    "http_request_duration_seconds_bucket{service=\"{}\",le=\"0.25\"}",
    "http_request_duration_seconds_bucket{service=\"{}\",le=\"0.5\"}",
    "http_request_duration_seconds_bucket{service=\"{}\",le=\"1\"}",
    "http_request_duration_seconds_bucket{service=\"{}\",le=\"2.5\"}",
    "http_request_duration_seconds_bucket{service=\"{}\",le=\"+Inf\"}",
    "http_request_duration_seconds_sum{service=\"{}\"}",
    "http_request_duration_seconds_count{service=\"{}\"}",
];
/// How many of a hundred requests a second fall into each of them (a gauge has no seconds).
const GROWS: [f64; 14] = [0.0, 0.0, 99.0, 1.0, 20.0, 50.0, 80.0, 90.0, 95.0, 98.0, 99.0, 100.0, 12.0, 100.0];

/// The place of the failures among them.
const FAILURES: usize = 3;

#[derive(Args)]
pub(crate) struct Scale {
    /// How many services, one run for each number.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,10000")]
    services: Vec<u32>,
    /// How long each run is measured, after the first looks.
    #[arg(long, default_value_t = 90)]
    seconds: u64,
    /// `evaluation_interval`, and how often Prometheus scrapes.
    #[arg(long, default_value_t = 15)]
    interval: u64,
}

/// What one run showed.
struct Row {
    services: u32,
    processor_share: f64,
    resident: f64,
    peak: f64,
    queries_per_interval: f64,
    looks_per_interval: f64,
    begun_late: f64,
    lateness: [f64; 2],
    query_seconds: f64,
    missed: f64,
    prometheus_share: f64,
}

impl Scale {
    /// Runs it for each number of services.
    pub(crate) async fn run(&self, place: &Place) -> Result<(), String> {
        say(
            "services | CPU of one core | RSS MiB | peak MiB | queries per interval | looks per interval | begun late p99.9 s | answered late p50 s | p99.9 s | mean query s | missed | Prometheus CPU",
        );
        let mut rows = Vec::new();
        for services in &self.services {
            let dir = place.folder(&format!("scale-{services}"))?;
            let row = self.once(place, &dir, *services).await?;
            say(&format!(
                "{} | {:.2} % | {:.1} | {:.1} | {:.1} | {:.0} | ≤ {} | ≤ {} | ≤ {} | {:.3} | {:.0} | {:.0} %",
                row.services,
                row.processor_share * 100.0,
                row.resident,
                row.peak,
                row.queries_per_interval,
                row.looks_per_interval,
                row.begun_late,
                row.lateness[0],
                row.lateness[1],
                row.query_seconds,
                row.missed,
                row.prometheus_share * 100.0,
            ));
            rows.push(row);
        }
        let points = |of: fn(&Row) -> f64| rows.iter().map(|row| (f64::from(row.services), of(row))).collect();
        let lines = [
            Line {
                name: "CPU, percent of one core",
                colour: "#1f77b4",
                points: points(|row| row.processor_share * 100.0),
            },
            Line { name: "memory, MiB", colour: "#d62728", points: points(|row| row.resident) },
            Line { name: "queries per interval", colour: "#2ca02c", points: points(|row| row.queries_per_interval) },
        ];
        let picture = draw("rollbackd by the number of services under watch", "services", &lines);
        let file = place.output.join("scale.svg");
        std::fs::write(&file, picture).map_err(|error| format!("{}: {error}", file.display()))?;
        say(&format!("picture: {}", file.display()));
        Ok(())
    }

    async fn once(&self, place: &Place, dir: &Path, services: u32) -> Result<Row, String> {
        let mut fleet = Fleet::deployed(place, dir, services, self.interval).await?;
        let row = self.measure(services, &fleet).await;
        fleet.daemon.end(Signal::TERM).await;
        fleet.end(dir).await;
        row
    }

    async fn measure(&self, services: u32, Fleet { daemon, prometheus, port, .. }: &Fleet) -> Result<Row, String> {
        let port = *port;
        tokio::time::sleep(Duration::from_secs(self.interval * 4)).await;
        let seen = async || -> Result<_, String> {
            let metrics = Metrics::parse(&process::get(port, "/metrics").await?);
            Ok((metrics, Usage::of(daemon.id)?, Usage::of(prometheus.id)?, Instant::now()))
        };
        let (before, used, prometheus_used, began) = seen().await?;
        tokio::time::sleep(Duration::from_secs(self.seconds)).await;
        let (after, used_then, prometheus_then, ended) = seen().await?;
        let seconds = ended.duration_since(began).as_secs_f64();
        let intervals = seconds / Duration::from_secs(self.interval).as_secs_f64();
        let grew = |name: &str| after.sum(name, "") - before.sum(name, "");
        let late = |share: f64| quantile_between(&before, &after, "rollbackd_evaluation_lateness_seconds", share);
        let begun_late = quantile_between(&before, &after, "rollbackd_evaluation_delay_seconds", 0.999);
        Ok(Row {
            services,
            processor_share: (used_then.processor_seconds()? - used.processor_seconds()?) / seconds,
            resident: used_then.status("VmRSS")? / 1024.0,
            peak: used_then.status("VmHWM")? / 1024.0,
            queries_per_interval: grew("rollbackd_prometheus_queries_total") / intervals,
            looks_per_interval: grew("rollbackd_evaluations_total") / intervals,
            begun_late,
            lateness: [late(0.5), late(0.999)],
            query_seconds: grew("rollbackd_prometheus_query_duration_seconds_sum")
                / grew("rollbackd_prometheus_query_duration_seconds_count"),
            missed: grew("rollbackd_evaluations_missed_total"),
            prometheus_share: (prometheus_then.processor_seconds()? - prometheus_used.processor_seconds()?) / seconds,
        })
    }
}

/// Many services that were deployed just now, and their daemon.
pub(crate) struct Fleet {
    pub(crate) daemon: Process,
    pub(crate) prometheus: Process,
    pub(crate) port: u16,
    /// Once this is set, half of all requests fail.
    pub(crate) fails: Arc<AtomicBool>,
}

impl Fleet {
    /// Starts all of it. `interval` is in seconds, of looks and of scrapes.
    pub(crate) async fn deployed(place: &Place, dir: &Path, services: u32, interval: u64) -> Result<Self, String> {
        let (exporter, fails) = exporter(services).await?;
        let every = format!("{interval}s");
        let scrapes = json!({"global": {"scrape_interval": every, "scrape_timeout": every},
            "scrape_configs": [{"job_name": "fleet", "static_configs": [{"targets": [format!("127.0.0.1:{exporter}")]}]}]});
        let (prometheus, metrics_port) = process::prometheus(dir, "prometheus", &scrapes).await?;
        let [port] = processes::free_ports()?;
        processes::write(&dir.join("rollbackd.yml"), &config(dir, services, &every, [metrics_port, port]))?;
        // Rates need two scrapes, and the slot before the deploys is to have them.
        tokio::time::sleep(Duration::from_secs(interval * 4 + 1)).await;
        let (daemon, _) = process::rollbackd(dir, &place.rollbackd, port).await?;
        deploy_all(port, services, 64, "v1").await?;
        Ok(Self { daemon, prometheus, port, fails })
    }

    /// Ends what the daemon asks, and takes its data away.
    pub(crate) async fn end(mut self, dir: &Path) {
        self.prometheus.end(Signal::KILL).await;
        let _ = std::fs::remove_dir_all(dir.join("prometheus-data"));
    }
}

/// Serves the series of all services. All services show the same numbers: what is measured doesn't depend on them.
/// From the instant at which it is told so, half of all requests fail.
async fn exporter(services: u32) -> Result<(u16, Arc<AtomicBool>), String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    let names: Vec<[String; 14]> =
        (1..=services).map(|number| SERIES.map(|series| format!("{} ", series.replace("{}", &name(number))))).collect();
    let (names, began) = (Arc::new(names), Instant::now());
    let fails = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&fails);
    let since = Arc::new(OnceLock::new());
    let show = move || {
        let names = Arc::clone(&names);
        let failing = told.load(Ordering::Relaxed).then(|| since.get_or_init(Instant::now).elapsed());
        async move {
            let seconds = began.elapsed().as_secs_f64();
            let mut values = GROWS.map(|grows| if grows == 0.0 { 1.0 } else { grows * seconds });
            if let Some(failing) = failing {
                values[FAILURES] += 100.0 * failing.as_secs_f64();
            }
            let values = values.map(|value| format!("{value}\n"));
            let mut text = String::with_capacity(names.len() * 14 * 90);
            for series in 0..SERIES.len() {
                for service in names.iter() {
                    text.push_str(&service[series]);
                    text.push_str(&values[series]);
                }
            }
            ([("content-type", "text/plain; version=0.0.4")], text)
        }
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/metrics", route(show))).await });
    Ok((port, fails))
}

/// The name of a service.
pub(crate) fn name(number: u32) -> String {
    format!("svc-{number}")
}

fn config(dir: &Path, services: u32, interval: &str, [prometheus, port]: [u16; 2]) -> Value {
    let rate = |matchers: &str| format!("sum by (service) (rate(http_requests_total{{{matchers}}}[1m]))");
    let duration = |part: &str| format!("sum by (service) (rate(http_request_duration_seconds_{part}[1m]))");
    let p99 = "histogram_quantile(0.99, sum by (service, le) (rate(http_request_duration_seconds_bucket[1m])))";
    let trigger = |name: &str, rest: Value| {
        let mut trigger = json!({"name": name, "for": "2m", "budget": "5m"});
        if let (Value::Object(all), Value::Object(rest)) = (&mut trigger, rest) {
            all.extend(rest);
        }
        trigger
    };
    let paths = json!([{"name": "pipeline", "timeout": "1m", "command": ["true", "{{ target.version }}"]}]);
    let service = |number| json!({"name": name(number), "watch": "1h", "page": ["oncall"], "side_effects": "none", "paths": paths});
    json!({
        "prometheus": {"url": format!("http://127.0.0.1:{prometheus}"), "timeout": "15s"}, "evaluation_interval": interval,
        "listen": format!("127.0.0.1:{port}"), "state_dir": dir.join("state"), "receipts_dir": dir.join("receipts"),
        "pagers": [{"name": "oncall", "webhook": {"url": "http://127.0.0.1:9/page"}}],
        "triggers": [
            trigger("error-rate", json!({"bad": rate("code=~\"5..\""), "total": rate(""), "above": "5%"})),
            trigger("p99", json!({"expr": p99, "above": 5})),
            trigger("mean", json!({"expr": format!("{} / {}", duration("sum"), duration("count")), "above": 5})),
            trigger("queue", json!({"expr": "max by (service) (queue_length)", "above": 500})),
            trigger("no-traffic", json!({"expr": rate(""), "below": 1})),
        ],
        "services": (1..=services).map(service).collect::<Vec<_>>(),
    })
}
