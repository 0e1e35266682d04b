//! One world that lasts for days: the same daemon, one thing after another, and neither its state nor its memory grows.

use std::process::ExitCode;
use std::time::Instant;

use crate::life::live_on;
use crate::plan::Plan;
use crate::reached::Reached;
use crate::time;
use crate::world::World;

const DAY: u64 = 86_400_000;

/// What was measured at the end of a day.
struct Measured {
    resident_kib: u64,
    state_bytes: usize,
    receipts: u64,
}

/// Lives for so many days, and says whether the daemon grew.
pub(crate) fn soak(seed: u64, days: u64) -> ExitCode {
    let began = Instant::now();
    let mut measured: Vec<Measured> = Vec::new();
    let (mut next, mut plans) = (seed, 0_u64);
    let mut first = Plan::of(seed);
    first.variant.services = 3;
    first.variant.dry_run = false;
    println!("day, resident KiB, bytes of the state, receipts so far");
    let story = live_on(&first, std::env::var_os("SIMULATION_TELLS").is_some(), &mut |world: &World| {
        if time::elapsed() / DAY > measured.len() as u64 {
            measured.push(measure(world));
            let day = measured.last()?;
            println!("{}, {}, {}, {}", measured.len(), day.resident_kib, day.state_bytes, day.receipts);
        }
        next += 1;
        plans += 1;
        (time::elapsed() < days * DAY).then(|| Plan::of(next))
    });
    println!(
        "soak: {days} simulated days, {plans} times something else, {} lives, {} records, in {:.1} s",
        story.lives,
        story.records,
        began.elapsed().as_secs_f64()
    );
    let Reached(reached) = story.reached;
    println!("soak: {} of {} interesting states", reached.iter().filter(|count| **count > 0).count(), reached.len());
    if let Some(broken) = story.broken {
        println!("BROKEN {}: {}", broken.rule, broken.how);
        return ExitCode::FAILURE;
    }
    judge(&measured)
}

fn measure(world: &World) -> Measured {
    let state = serde_json::to_string(&world.rules.state).map_or(0, |text| text.len());
    Measured { resident_kib: resident_kib(), state_bytes: state, receipts: world.rules.state.last_receipt }
}

/// The memory of this process, which is little more than the daemon's machinery and the world around it.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// After the ledgers are full (400 deploys each) nothing grows by more than a twentieth from the second quarter of the
/// days to the last.
fn judge(measured: &[Measured]) -> ExitCode {
    let quarter = measured.len() / 4;
    if quarter == 0 {
        println!("soak: too few days to say whether anything grows");
        return ExitCode::SUCCESS;
    }
    let middle = |values: &mut Vec<u64>| {
        values.sort_unstable();
        values[values.len() / 2]
    };
    let of = |range: &[Measured], what: fn(&Measured) -> u64| middle(&mut range.iter().map(what).collect());
    let (early, late) = (&measured[quarter..2 * quarter], &measured[measured.len() - quarter..]);
    let mut grown = false;
    for (name, what) in [
        ("resident memory in KiB", (|day| day.resident_kib) as fn(&Measured) -> u64),
        ("bytes of the state", |day| day.state_bytes as u64),
    ] {
        let (before, after) = (of(early, what), of(late, what));
        println!("soak: {name}: median {before} in the second quarter, {after} in the last");
        grown |= after > before + before / 20;
    }
    if grown { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
