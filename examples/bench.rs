//! The benchmarks of the whole system: a real daemon beside a real Prometheus, on loopback, each ending by itself.
//! `scripts/bench` builds and runs them; what they showed stands in `docs/performance.md`.
//!
//! Never asserts a time: it prints what it measured. Never leaves a process behind.

#![forbid(unsafe_code)]

#[path = "bench/chart.rs"]
mod chart;
#[path = "bench/journal.rs"]
mod journal;
#[path = "bench/lag.rs"]
mod lag;
#[path = "bench/measure.rs"]
mod measure;
#[path = "bench/process.rs"]
mod process;
#[path = "loopback/processes.rs"]
mod processes;
#[path = "bench/scale.rs"]
mod scale;
#[path = "bench/start.rs"]
mod start;
#[path = "bench/trouble.rs"]
mod trouble;
#[path = "loopback/usage.rs"]
mod usage;
#[path = "bench/windows.rs"]
mod windows;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measures the daemon as a whole, and the usual alerting beside it")]
struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// From the instant at which the samples satisfy a trigger to the first request of the way back.
    Lag(lag::Lag),
    /// Many services under watch, five shared triggers each.
    Scale(scale::Scale),
    /// The start: a journal of a year, and the idle daemon.
    Start(start::Start),
    /// A burst of deploys, each durable before it is accepted.
    Journal(journal::Burst),
    /// A fleet under watch, in which the daemon is killed, and then every service fails at once.
    Trouble(trouble::Trouble),
    /// From the instant at which a service fails to the first request of the way back, for several windows.
    Windows(windows::Windows),
}

/// Where everything is.
#[derive(Args)]
pub(crate) struct Place {
    /// The binary of the daemon.
    #[arg(long)]
    pub(crate) rollbackd: PathBuf,
    /// The binary of the example service.
    #[arg(long)]
    pub(crate) capstone_api: PathBuf,
    /// Where tables, pictures and logs go.
    #[arg(long)]
    pub(crate) output: PathBuf,
}

impl Place {
    /// An empty folder for one benchmark.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, String> {
        let dir = self.output.join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(dir)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { place, what } = Arguments::parse();
    let ended = match std::fs::create_dir_all(&place.output) {
        Err(error) => Err(format!("{}: {error}", place.output.display())),
        Ok(()) => match what {
            What::Lag(lag) => lag.run(&place).await,
            What::Scale(scale) => scale.run(&place).await,
            What::Start(start) => start.run(&place).await,
            What::Journal(burst) => burst.run(&place).await,
            What::Trouble(trouble) => trouble.run(&place).await,
            What::Windows(windows) => windows.run(&place).await,
        },
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&format!("the benchmark failed: {why}; logs are in {}", place.output.display()));
            ExitCode::FAILURE
        }
    }
}

/// One line for whoever watches.
pub(crate) fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}
