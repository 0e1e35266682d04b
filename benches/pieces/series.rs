//! What one shared trigger costs by the number of series in its answer: read, told apart, judged. `scripts/bench series`.

use std::path::Path;
use std::time::{Duration, Instant};

use rollbackd_core::decide;
use rollbackd_core::event::Event;
use rollbackd_core::reading::Answer;

use crate::chart::{Line, draw};
use crate::{at, body_of, clear, deployed, look_of, name, say, take};

const COUNTS: [usize; 4] = [100, 1000, 10_000, 100_000];
/// The median of so many rounds.
const ROUNDS: usize = 9;
/// So many looks wait together at most where the daemon judges them (`src/supervisor.rs`); they come to it one by one.
const TOGETHER: usize = 256;

/// The three parts of one evaluation.
#[derive(Clone, Copy)]
struct Parts {
    read: Duration,
    told_apart: Duration,
    judged: Duration,
}

impl Parts {
    fn whole(self) -> Duration {
        self.read + self.told_apart + self.judged
    }
}

/// Prints the table, and draws it where a folder is given.
pub(crate) fn run(output: Option<&Path>) {
    say("series | read ms | told apart ms | judged ms | whole ms | µs a series");
    let rows: Vec<(usize, Parts)> = COUNTS.iter().map(|count| (*count, measured(*count))).collect();
    let milliseconds = |part: Duration| part.as_secs_f64() * 1000.0;
    for (count, parts) in &rows {
        say(&format!(
            "{count} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3}",
            milliseconds(parts.read),
            milliseconds(parts.told_apart),
            milliseconds(parts.judged),
            milliseconds(parts.whole()),
            parts.whole().as_secs_f64() * 1e6 / precise(*count),
        ));
    }
    let Some(output) = output else { return };
    let points = |of: fn(Parts) -> Duration| {
        rows.iter().map(|(count, parts)| (precise(*count), milliseconds(of(*parts)))).collect()
    };
    let lines = [
        Line { name: "whole, ms", colour: "#1f77b4", points: points(Parts::whole) },
        Line { name: "read", colour: "#2ca02c", points: points(|parts| parts.read) },
        Line { name: "told apart", colour: "#ff7f0e", points: points(|parts| parts.told_apart) },
        Line { name: "judged", colour: "#d62728", points: points(|parts| parts.judged) },
    ];
    let file = output.join("series.svg");
    let picture = draw("one evaluation of a shared trigger by the series in its answer", "series", &lines);
    std::fs::create_dir_all(output).expect("a folder for the picture");
    std::fs::write(&file, picture).expect("the picture");
    say(&format!("picture: {}", file.display()));
}

fn precise(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The round of the median.
fn measured(count: usize) -> Parts {
    let (config, mut state) = deployed(count);
    // In the order in which the looker brings them.
    let mut services: Vec<_> = (0..count).map(name).collect();
    services.sort();
    let body = body_of(count);
    // A look that shows what the one before it did: what each interval brings for nearly all.
    for service in &services {
        let first = look_of(&state, service, clear());
        take(&config, &mut state, &first, at(3));
    }
    let mut rounds: Vec<Parts> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            let answer = rollbackd::fuzzing::prometheus_answer(200, false, body.as_bytes());
            let Some(Answer::Series(series)) = answer else { panic!("an answer that can be read") };
            let read = began.elapsed();
            let began = Instant::now();
            let parts = rollbackd::fuzzing::told_apart("service", &services, series);
            let told_apart = began.elapsed();
            let (mut judged, mut unchanged, mut parts) = (Duration::ZERO, 0, parts.into_iter());
            for services in services.chunks(TOGETHER) {
                let looks = services.iter().zip(&mut parts).map(|(service, part)| look_of(&state, service, part));
                let looks: Vec<Event> = looks.collect();
                let began = Instant::now();
                let decisions = looks.iter().map(|look| decide(&config, &state, look, at(3)));
                unchanged +=
                    decisions.filter(|decision| decision.verdict.is_some() && decision.records.is_empty()).count();
                judged += began.elapsed();
            }
            assert_eq!(unchanged, count, "each was judged, and changes nothing");
            Parts { read, told_apart, judged }
        })
        .collect();
    rounds.sort_by_key(|parts| parts.whole());
    rounds[ROUNDS / 2]
}
