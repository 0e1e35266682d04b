//! A real Prometheus that scrapes the example service, and can be stopped, killed and started again.
//!
//! Never loses its data folder while the world lasts.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rollbackd_core::time::Timestamp;
use rustix::process::Signal;
use serde_json::Value;

use super::ports::free_port;
use super::process::Process;
use super::wait::wait_until;

/// How often another port is tried where somebody was quicker.
const TRIES: u32 = 5;

/// A Prometheus with its own data folder and port.
pub(crate) struct Prometheus {
    process: Process,
    dir: PathBuf,
    port: u16,
    client: reqwest::Client,
}

impl Prometheus {
    /// Starts one and waits until it has scraped once.
    pub(crate) async fn start(dir: &Path, target: u16, scrape_interval: Duration) -> Self {
        write_config(dir, target, scrape_interval);
        let mut last = String::new();
        for _ in 0..TRIES {
            let port = free_port();
            let mut process = launch(dir, port);
            match process.answers(&format!("http://127.0.0.1:{port}/-/ready")).await {
                Ok(()) => {
                    let prometheus = Self { process, dir: dir.to_owned(), port, client: super::client() };
                    prometheus.has_past(Duration::ZERO).await;
                    return prometheus;
                }
                Err(why) => last = why,
            }
        }
        panic!("Prometheus did not start: {last}");
    }

    /// The base of its API.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The value of an instant query with one series or none.
    pub(crate) async fn value(&self, query: &str) -> Result<Option<f64>, String> {
        let get = self.client.get(format!("{}/api/v1/query", self.url())).query(&[("query", query)]);
        let answer = get.send().await.map_err(|error| error.to_string())?;
        let body: Value = answer.json().await.map_err(|error| error.to_string())?;
        if body["status"] != "success" {
            return Err(body.to_string());
        }
        let value = &body["data"]["result"][0]["value"][1];
        Ok(value.as_str().and_then(|value| value.parse().ok()))
    }

    /// The values of a range query with one series or none.
    pub(crate) async fn range(
        &self,
        query: &str,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
    ) -> Vec<(Timestamp, f64)> {
        let seconds = |at: Timestamp| format!("{:.3}", at.seconds());
        let step = format!("{}ms", step.as_millis());
        let parameters = [("query", query), ("start", &seconds(from)), ("end", &seconds(to)), ("step", step.as_str())];
        let get = self.client.get(format!("{}/api/v1/query_range", self.url())).query(&parameters);
        let body: Value = get.send().await.expect("an answer").json().await.expect("JSON");
        assert_eq!(body["status"], "success", "{body}");
        let samples = body["data"]["result"][0]["values"].as_array().cloned().unwrap_or_default();
        let sample = |sample: &Value| {
            let at = sample[0].as_f64().and_then(Timestamp::from_seconds).expect("an instant");
            (at, sample[1].as_str().and_then(|value| value.parse().ok()).expect("a value"))
        };
        samples.iter().map(sample).collect()
    }

    /// Waits until its first sample is this old (two minutes at most).
    pub(crate) async fn has_past(&self, past: Duration) {
        let query = "time() - min_over_time(timestamp(up)[2m:1s])";
        wait_until(&format!("Prometheus has {past:?} of past"), async || match self.value(query).await? {
            Some(age) if age >= past.as_secs_f64() => Ok(()),
            age => Err(format!("it has {age:?} seconds")),
        })
        .await;
    }

    /// Waits until its newest sample is this much newer than the newest one now.
    pub(crate) async fn goes_on(&self, how_long: Duration) {
        let newest = "timestamp(up)";
        let begin = wait_until("Prometheus has a newest sample", async || {
            self.value(newest).await?.ok_or_else(|| "it has none".to_owned())
        })
        .await;
        let begun_at = Instant::now();
        super::wait::wait_until_within(how_long + super::PATIENCE, "Prometheus goes on scraping", async || {
            let now = self.value(newest).await?.unwrap_or(begin);
            if now - begin >= how_long.as_secs_f64() {
                return Ok(());
            }
            Err(format!("it scraped {} s in {:?}", now - begin, begun_at.elapsed()))
        })
        .await;
    }

    /// Holds it (SIGSTOP): connections are taken by the kernel, and nothing answers.
    pub(crate) fn hold(&self) {
        self.process.hold();
    }

    /// Lets it go on (SIGCONT).
    pub(crate) fn go_on(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Kills it (SIGKILL): from then on connections are refused.
    pub(crate) async fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.ended().await;
    }

    /// Stops it (SIGTERM) as for an update: from then on connections are refused.
    pub(crate) async fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        self.process.ended().await;
    }

    /// Starts it again with the same data and port, and waits until it is ready.
    pub(crate) async fn start_again(&mut self) {
        self.process = launch(&self.dir, self.port);
        let ready = self.process.answers(&format!("{}/-/ready", self.url())).await;
        ready.unwrap_or_else(|why| panic!("Prometheus did not start again: {why}"));
    }
}

fn write_config(dir: &Path, target: u16, scrape_interval: Duration) {
    let interval = format!("{}ms", scrape_interval.as_millis());
    let config = format!(
        "global: {{scrape_interval: {interval}, scrape_timeout: {interval}, evaluation_interval: {interval}}}\n\
         scrape_configs: [{{job_name: capstone, static_configs: [{{targets: [\"127.0.0.1:{target}\"]}}]}}]\n"
    );
    std::fs::write(dir.join("prometheus.yml"), config).expect("the config of Prometheus");
}

fn launch(dir: &Path, port: u16) -> Process {
    let arguments = [
        "--config.file=prometheus.yml".to_owned(),
        "--storage.tsdb.path=prometheus-data".to_owned(),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--log.level=warn".to_owned(),
    ];
    Process::start(dir, "prometheus", Path::new("prometheus"), &arguments)
}
