//! The soak: a real daemon that watches many services for an hour against a real Prometheus, while its memory, its
//! files and its missed evaluations are measured and judged. `scripts/soak` builds and runs it.
//!
//! Never leaves a process behind: each is ended by its id, however the soak ends.

#![forbid(unsafe_code)]

#[path = "soak/account.rs"]
mod account;
#[path = "soak/judge.rs"]
mod judge;
#[path = "soak/picture.rs"]
mod picture;
#[path = "loopback/processes.rs"]
mod processes;
#[path = "soak/sample.rs"]
mod sample;
#[path = "soak/story.rs"]
mod story;
#[path = "loopback/usage.rs"]
mod usage;
#[path = "soak/world.rs"]
mod world;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::sample::Sample;
use crate::world::World;

/// A watch is this part of the whole, so that a short soak has whole watches too, and never longer than
/// [`LONGEST_WATCH`].
const WATCHES_IN_A_SOAK: u32 = 5;
const LONGEST_WATCH: Duration = Duration::from_secs(120);
/// So many samples are taken, or one each second.
const SAMPLES: u32 = 360;
/// What is open when the deploys end has so long to end beyond a watch.
const DRAIN: Duration = Duration::from_secs(20);

#[derive(Parser)]
#[command(about = "A real daemon under a steady load, measured and judged")]
struct Arguments {
    /// The binary of the daemon.
    #[arg(long)]
    rollbackd: PathBuf,
    /// The binary of the example service.
    #[arg(long)]
    capstone_api: PathBuf,
    /// Where the table, the samples, the plot and the logs go.
    #[arg(long)]
    output: PathBuf,
    /// How many services are watched.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=500))]
    services: u16,
    /// `evaluation_interval`.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    interval: Duration,
    /// How long it takes, from the first deploy to the last sample.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=1440))]
    minutes: u16,
    /// How long each watch takes; half as long again is from one deploy of a service to its next. By default a fifth of
    /// the whole, at most two minutes.
    #[arg(long, value_parser = humantime::parse_duration)]
    watch: Option<Duration>,
}

/// What is run, with everything that follows from the arguments.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) services: u16,
    pub(crate) interval: Duration,
    pub(crate) whole: Duration,
    pub(crate) watch: Duration,
    /// From one deploy of a service to its next.
    pub(crate) deploy_every: Duration,
    pub(crate) sample_every: Duration,
}

impl Plan {
    fn of(arguments: &Arguments) -> Self {
        let whole = Duration::from_secs(60) * u32::from(arguments.minutes);
        let longest = whole / WATCHES_IN_A_SOAK;
        let watch = arguments.watch.unwrap_or(LONGEST_WATCH).min(longest);
        Self {
            services: arguments.services,
            interval: arguments.interval,
            whole,
            watch,
            deploy_every: watch * 3 / 2,
            sample_every: (whole / SAMPLES).max(Duration::from_secs(1)),
        }
    }

    /// When the last deploy is made: its watch still ends within the soak.
    pub(crate) fn deploys_end(&self) -> Duration {
        self.whole.saturating_sub(self.watch + DRAIN)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match soak(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("soak: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every judgement passed.
async fn soak(arguments: &Arguments) -> Result<bool, String> {
    let plan = Plan::of(arguments);
    std::fs::create_dir_all(&arguments.output).map_err(|error| format!("{}: {error}", arguments.output.display()))?;
    let absolute = |path: &Path| std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()));
    let programs = [absolute(&arguments.rollbackd)?, absolute(&arguments.capstone_api)?];
    let mut world = World::start(&absolute(&arguments.output)?, &programs, &plan).await?;
    say(&format!(
        "soak: {} services each {:?}, watches of {:?}, for {:?}; everything goes to {}",
        plan.services,
        plan.interval,
        plan.watch,
        plan.whole,
        arguments.output.display()
    ));
    let story = story::begin(&world, &plan);
    let samples = measured(&mut world, &plan).await;
    story.stop();
    let told = story.told().await;
    // Whatever went wrong, what was measured is worth having.
    world.end().await;
    let samples = samples?;
    let file = |name: &str| arguments.output.join(name);
    let write = |name: &str, text: String| {
        std::fs::write(file(name), text).map_err(|error| format!("{}: {error}", file(name).display()))
    };
    write("samples.csv", sample::csv(&samples))?;
    write("soak.svg", picture::svg(&samples))?;
    let watches = account::watches(&world.log())?;
    let judged = judge::all(&plan, &samples, &watches);
    let table = judge::table(&samples, &told, &judged);
    say(&table);
    write("report.txt", table)?;
    Ok(judged.iter().all(judge::Judgement::passed))
}

fn say(text: &str) {
    // Whoever reads has gone: the files are there all the same.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Samples until the time is over. Ends early where the daemon does.
async fn measured(world: &mut World, plan: &Plan) -> Result<Vec<Sample>, String> {
    let began = Instant::now();
    let mut ticks = tokio::time::interval(plan.sample_every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut samples = Vec::new();
    while began.elapsed() < plan.whole {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = tokio::signal::ctrl_c() => return Err("interrupted".to_owned()),
        }
        if let Some(how) = world.ended_early() {
            return Err(format!("{how}; its log is in {}", world.place("rollbackd.log").display()));
        }
        samples.push(world.sample(began.elapsed()).await?);
    }
    // Every watch is over by now: what fell due is all made, missed or unused.
    let patience = Instant::now() + plan.watch + DRAIN;
    loop {
        let last = world.sample(began.elapsed()).await?;
        let over = last.watches_open == 0.0 && last.firings_open == 0.0 && last.queries_in_flight == 0.0;
        if over || Instant::now() > patience {
            samples.push(last);
            return Ok(samples);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
