//! Deterministic simulation: the whole daemon above its edges, on simulated time and in seeded random worlds.
//!
//! `cargo test --test simulation -- --seeds 100000`: that many worlds; `--seed 7` runs one and tells its story, `--from`
//! begins elsewhere, `--threads` says how many run side by side. A world in which a rule is broken is run again, shrunk
//! (not with `--no-shrink`), and printed with its seed. `--days 24` is one world of that many simulated days, in which the daemon must not grow.

#![expect(clippy::print_stdout, reason = "a program of its own, which tells what it found")]
#![expect(clippy::wildcard_enum_match_arm, reason = "each place speaks of one trouble, or of one record, among many")]

mod config;
mod disk;
mod life;
mod outside;
mod plan;
mod production;
mod prometheus;
mod reached;
mod rules;
mod soak;
mod time;
mod truth;
mod world;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use life::{Story, live};
use plan::Plan;
use reached::{ALL, Reached};

/// So many worlds are run where nobody says otherwise; `scripts/simulate` runs more of them, faster.
const WORLDS: u64 = 500;

/// From so many worlds on, a state that was never reached is a failure.
const ENOUGH: u64 = 3_000;

struct Arguments {
    from: u64,
    worlds: u64,
    one: Option<u64>,
    days: Option<u64>,
    threads: usize,
    shrinks: bool,
}

fn arguments() -> Result<Arguments, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut arguments = Arguments { from: 0, worlds: WORLDS, one: None, days: None, threads, shrinks: true };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let mut number = || {
            let value = given.next().ok_or_else(|| format!("{name} needs a number"))?;
            value.replace('_', "").parse::<u64>().map_err(|error| format!("{name} {value}: {error}"))
        };
        match name.as_str() {
            "--seeds" => arguments.worlds = number()?,
            "--from" => arguments.from = number()?,
            "--seed" => arguments.one = Some(number()?),
            "--days" => arguments.days = Some(number()?),
            "--no-shrink" => arguments.shrinks = false,
            "--threads" => arguments.threads = usize::try_from(number()?).unwrap_or(1).max(1),
            // What cargo and its relatives say to every test.
            "--nocapture" | "--include-ignored" | "--quiet" | "-q" => {}
            "--test-threads" | "--format" | "--skip" => drop(given.next()),
            other if !other.starts_with('-') => return Err(format!("filter {other:?}: the simulation is one test")),
            other => return Err(format!("unknown argument {other}: see tests/simulation/main.rs")),
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    life::note_panics();
    match arguments() {
        Ok(Arguments { one: Some(seed), .. }) => one(seed),
        Ok(Arguments { days: Some(days), from, .. }) => soak::soak(from, days),
        Ok(arguments) => many(&arguments),
        Err(why) => {
            eprintln!("simulation: {why}");
            ExitCode::from(if why.starts_with("filter") { 0 } else { 2 })
        }
    }
}

fn one(seed: u64) -> ExitCode {
    let plan = Plan::of(seed);
    println!("{plan:#?}");
    let story = live(&plan, true);
    println!("{} lives, {} records, {:.1} simulated seconds", story.lives, story.records, seconds(story.lasted));
    for seen in ALL.into_iter().filter(|seen| story.reached.0[*seen as usize] > 0) {
        println!("  {seen:?}: {}", story.reached.0[seen as usize]);
    }
    match story.broken {
        None => ExitCode::SUCCESS,
        Some(broken) => {
            println!("BROKEN {}: {}", broken.rule, broken.how);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// What all worlds add up to.
#[derive(Default)]
struct Sum {
    reached: Reached,
    lasted: u64,
    records: u64,
    lives: u64,
    broken: Vec<u64>,
}

impl Sum {
    fn add(&mut self, seed: u64, story: &Story) {
        self.reached.add_world(&story.reached);
        self.lasted += story.lasted;
        self.records += story.records;
        self.lives += story.lives;
        if story.broken.is_some() {
            self.broken.push(seed);
        }
    }
}

fn many(arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let (next, failed) = (AtomicU64::new(arguments.from), AtomicBool::new(false));
    let end = arguments.from + arguments.worlds;
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                let mut own = Sum::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || failed.load(Ordering::Relaxed) {
                        break;
                    }
                    let story = live(&Plan::of(seed), false);
                    if story.broken.is_some() {
                        failed.store(true, Ordering::Relaxed);
                    }
                    own.add(seed, &story);
                }
                let mut sum = sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                sum.reached.add(&own.reached);
                sum.lasted += own.lasted;
                sum.records += own.records;
                sum.lives += own.lives;
                sum.broken.extend(own.broken);
            });
        }
    });
    let sum = sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report(arguments, &sum, began)
}

fn report(arguments: &Arguments, sum: &Sum, began: Instant) -> ExitCode {
    let took = began.elapsed().as_secs_f64();
    if let Some(seed) = sum.broken.iter().min() {
        shrink(*seed, arguments.shrinks);
        return ExitCode::FAILURE;
    }
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let days = sum.lasted as f64 / 86_400_000.0;
    println!(
        "simulation: {} worlds from seed {}, {:.1} simulated days, {} lives, {} records, in {took:.1} s",
        arguments.worlds, arguments.from, days, sum.lives, sum.records
    );
    for seen in ALL {
        println!("  reached in {:>7} worlds: {seen:?}", sum.reached.0[seen as usize]);
    }
    let never = sum.reached.never();
    if arguments.worlds >= ENOUGH && !never.is_empty() {
        println!(
            "simulation: never reached: {never:?}. These worlds say nothing about it: change tests/simulation/plan.rs"
        );
        return ExitCode::FAILURE;
    }
    println!("simulation: no rule was broken");
    ExitCode::SUCCESS
}

/// Takes away what is not needed for the rule to be broken, as long as something can be taken away.
fn shrink(seed: u64, wanted: bool) {
    let mut plan = Plan::of(seed);
    let Some(first) = live(&plan, false).broken else {
        println!("simulation: seed {seed} broke a rule, and not when it was run again: something is not deterministic");
        return;
    };
    println!("simulation: seed {seed} breaks {}: {}", first.rule, first.how);
    if !wanted {
        return;
    }
    let mut last = first.clone();
    'smaller: loop {
        for smaller in plan.smaller() {
            if let Some(broken) = live(&smaller, false).broken.filter(|broken| broken.rule == first.rule) {
                (plan, last) = (smaller, broken);
                continue 'smaller;
            }
        }
        break;
    }
    println!("the least of it that still breaks {}: {}\n{plan:#?}", last.rule, last.how);
    println!("again: cargo test --test simulation -- --seed {seed}");
}
