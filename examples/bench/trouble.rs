//! A fleet under watch in trouble: the daemon is killed and starts again in the midst of all watches, and then every
//! service fails at once.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::measure::quantile_between;
use crate::process::{self, Process};
use crate::scale::Fleet;
use crate::usage::{Metrics, Usage};
use crate::{Place, say};
use clap::Args;
use rustix::process::Signal;

/// The shared triggers of a service.
const TRIGGERS: f64 = 5.0;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Args)]
pub(crate) struct Trouble {
    /// How many services.
    #[arg(long, default_value_t = 10_000)]
    services: u32,
    /// How long they are under watch, in seconds, when the daemon is killed.
    #[arg(long, default_value_t = 600)]
    watched: u64,
    /// `evaluation_interval`, and how often Prometheus scrapes.
    #[arg(long, default_value_t = 15)]
    interval: u64,
}

impl Trouble {
    /// Runs it.
    pub(crate) async fn run(&self, place: &Place) -> Result<(), String> {
        let dir = place.folder("trouble")?;
        let mut fleet = Fleet::deployed(place, &dir, self.services, self.interval).await?;
        let port = fleet.port;
        tokio::time::sleep(Duration::from_secs(self.watched)).await;

        fleet.daemon.end(Signal::KILL).await;
        let began = Instant::now();
        let (daemon, ready) = process::rollbackd(&dir, &place.rollbackd, port).await?;
        fleet.daemon = daemon;
        let looks = f64::from(self.services) * TRIGGERS;
        until(port, |metrics| metrics.sum("rollbackd_evaluations_total", "") >= looks).await?;
        let seen = Metrics::parse(&process::get(port, "/metrics").await?);
        let failed = seen.sum("rollbackd_prometheus_queries_total", "result=\"failed\"");
        say(&format!(
            "killed after {} s: ready again in {:.2} s, everything looked at in {:.1} s, {:.0} queries of which {failed:.0} \
             failed, peak {:.1} MiB",
            self.watched,
            ready.as_secs_f64(),
            began.elapsed().as_secs_f64(),
            seen.sum("rollbackd_prometheus_queries_total", ""),
            peak(&fleet.daemon)?
        ));

        let before = Metrics::parse(&process::get(port, "/metrics").await?);
        fleet.fails.store(true, Ordering::Relaxed);
        until(port, |metrics| metrics.sum("rollbackd_firings_open", "") >= 1.0).await?;
        let first = Instant::now();
        let services = f64::from(self.services);
        until(port, |metrics| metrics.sum("rollbackd_firings_open", "") >= services).await?;
        let all = first.elapsed();
        tokio::time::sleep(Duration::from_secs(self.interval * 2)).await;
        let after = Metrics::parse(&process::get(port, "/metrics").await?);
        let journal = std::fs::metadata(dir.join("state/journal.db")).map_or(0, |file| file.len());
        let begun = quantile_between(&before, &after, "rollbackd_evaluation_delay_seconds", 0.999);
        say(&format!(
            "all fail at once: from the first firing to the last {:.1} s, {:.0} firings open, looks begun at most {begun} s late \
             (99.9 %), peak {:.1} MiB, journal {:.1} MiB",
            all.as_secs_f64(),
            after.sum("rollbackd_firings_open", ""),
            peak(&fleet.daemon)?,
            mebibytes(journal)
        ));
        fleet.daemon.end(Signal::KILL).await;
        fleet.end(&dir).await;
        Ok(())
    }
}

async fn until(port: u16, is_so: impl Fn(&Metrics) -> bool) -> Result<(), String> {
    let ends = Instant::now() + PATIENCE;
    while Instant::now() < ends {
        if is_so(&Metrics::parse(&process::get(port, "/metrics").await?)) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(format!("it did not come to that within {} s", PATIENCE.as_secs()))
}

fn peak(daemon: &Process) -> Result<f64, String> {
    Ok(Usage::of(daemon.id)?.status("VmHWM")? / 1024.0)
}

#[expect(clippy::cast_precision_loss, reason = "a file of the benchmark is far below 2^52 bytes")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}
