//! Decision quality: the reference list and the rules of others, each over the same deploys of which is known whether
//! they were bad. `docs/decision-quality.md` holds the tables, as this program makes them:
//!
//! ```text
//! UPDATE=1 cargo test --test quality
//! ```
//!
//! `SEEDS=1000 cargo test --test quality -- --nocapture` asks the same of more deploys, and prints what it found.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy sees only in the tests themselves")]

mod corpus;
#[path = "../backtest/history.rs"]
#[expect(dead_code, reason = "the backtest's tests use more of it")]
mod history;
mod kayenta;
mod own;
mod peers;
mod real;
mod samples;
#[path = "../edges/world.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod world;

use std::fmt::Write as _;
use std::fs;

use corpus::{Deploy, Kind};
use peers::Peer;

/// Deploys of each kind, for the page.
const SEEDS: u64 = 40;

/// Deploys of each kind, where more are asked for.
fn more_seeds() -> Option<u64> {
    std::env::var("SEEDS").ok().map(|seeds| seeds.parse().expect("SEEDS is a number"))
}

/// Where the tables stand.
const PAGE: &str = "docs/decision-quality.md";
const BEGIN: &str = "<!-- begin: made by `UPDATE=1 cargo test --test quality` -->\n";
const END: &str = "<!-- end -->\n";

/// What one set of rules did on every deploy: when it would have rolled back.
struct Column {
    name: String,
    /// None for our own.
    peer: Option<Peer>,
    /// By kind, then by seed.
    decided: Vec<Vec<Option<f64>>>,
}

impl Column {
    fn of(&self, kind: Kind) -> &[Option<f64>] {
        &self.decided[Kind::ALL.iter().position(|each| *each == kind).unwrap()]
    }

    fn rolled_back(&self, of: impl Fn(Kind) -> bool) -> (usize, usize) {
        let all = Kind::ALL.into_iter().filter(|kind| of(*kind)).flat_map(|kind| self.of(kind));
        let all: Vec<_> = all.collect();
        (all.iter().filter(|decided| decided.is_some()).count(), all.len())
    }

    /// The median and the largest of the times to detect.
    fn times(&self, kind: Kind) -> Option<(f64, f64)> {
        let mut times: Vec<f64> = self.of(kind).iter().flatten().copied().collect();
        times.sort_by(f64::total_cmp);
        Some((*times.get(times.len() / 2)?, *times.last()?))
    }
}

fn columns(seeds: u64) -> Vec<Column> {
    let deploys: Vec<Vec<Deploy>> =
        Kind::ALL.into_iter().map(|kind| (0..seeds).map(|seed| corpus::deploy(kind, seed)).collect()).collect();
    let decided = |rule: &dyn Fn(&Deploy) -> Option<f64>| -> Vec<Vec<Option<f64>>> {
        deploys.iter().map(|of_kind| of_kind.iter().map(rule).collect()).collect()
    };
    let config = own::reference();
    let own = Column {
        name: "**rollbackd, the reference list**".to_owned(),
        peer: None,
        decided: decided(&|deploy| own::rolls_back(&config, deploy)),
    };
    let peers = Peer::ALL.into_iter().map(|peer| Column {
        name: peer.name(),
        peer: Some(peer),
        decided: decided(&|deploy| peer.rolls_back(deploy)),
    });
    std::iter::once(own).chain(peers).collect()
}

fn percent(part: usize, of: usize) -> String {
    if of == 0 { "-".to_owned() } else { format!("{:.1} %", 100.0 * part as f64 / of as f64) }
}

fn tables(columns: &[Column], seeds: u64) -> String {
    let mut text = format!(
        "{} deploys, {seeds} of each kind. A false rollback is one of a healthy deploy, a missed breach a bad deploy that \
         was not rolled back within its 30 minutes.\n\n\
         | rules | false rollbacks | missed breaches | precision | recall |\n|---|---|---|---|---|\n",
        Kind::ALL.len() as u64 * seeds
    );
    for column in columns {
        let (wrong, healthy) = column.rolled_back(|kind| !kind.is_bad());
        let (right, bad) = column.rolled_back(Kind::is_bad);
        let _ = writeln!(
            text,
            "| {} | {wrong} of {healthy} | {} of {bad} | {} | {} |",
            column.name,
            bad - right,
            percent(right, right + wrong),
            percent(right, bad)
        );
    }
    text.push_str("\nFalse rollbacks by kind of healthy deploy:\n\n");
    text.push_str(&by_kind(columns, false, &|column, kind| {
        let wrong = column.of(kind).iter().flatten().count();
        if wrong == 0 { "0".to_owned() } else { format!("{wrong} of {seeds}") }
    }));
    text.push_str("\nTime from the deploy to the decision, by kind of bad deploy: median (longest), and how many were missed:\n\n");
    text.push_str(&by_kind(columns, true, &|column, kind| {
        let missed = column.of(kind).iter().filter(|decided| decided.is_none()).count();
        let missed = if missed == 0 { String::new() } else { format!(", {missed} missed") };
        let times = column.times(kind);
        times.map_or_else(|| "all missed".to_owned(), |(median, most)| format!("{median:.0} s ({most:.0} s){missed}"))
    }));
    text
}

fn by_kind(columns: &[Column], bad: bool, cell: &dyn Fn(&Column, Kind) -> String) -> String {
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.is_bad() == bad).collect();
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let mut text = format!("| rules | {} |\n|---{}|\n", names.join(" | "), "|---".repeat(kinds.len()));
    for column in columns {
        let cells: Vec<String> = kinds.iter().map(|kind| cell(column, *kind)).collect();
        let _ = writeln!(text, "| {} | {} |", column.name, cells.join(" | "));
    }
    text
}

/// The page holds these tables; or will, where it is to be updated.
fn compare_with_page(made: &str) {
    let page = fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the mark at which the tables begin");
    let (stored, after) = rest.split_once(END).expect("the mark at which the tables end");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(PAGE, format!("{before}{BEGIN}{made}{END}{after}")).unwrap();
    } else {
        assert_eq!(stored, made, "{PAGE} is out of date: UPDATE=1 cargo test --test quality");
    }
}

#[test]
fn the_reference_list_rolls_back_what_is_bad_and_nothing_else_and_the_page_says_so() {
    let seeds = more_seeds().unwrap_or(SEEDS);
    let columns = columns(seeds);
    let made = tables(&columns, seeds);
    if more_seeds().is_some() {
        println!("{made}");
    } else {
        compare_with_page(&made);
    }
    let own = columns.iter().find(|column| column.peer.is_none()).unwrap();
    assert_eq!(own.rolled_back(|kind| !kind.is_bad()).0, 0, "false rollbacks\n{made}");
    let (right, bad) = own.rolled_back(Kind::is_bad);
    assert_eq!(right, bad, "missed breaches\n{made}");
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_bad()) {
        for peer in columns.iter().filter(|column| column.peer.is_some_and(|peer| peer.holds_as_long(kind))) {
            let (ours, theirs) = (own.times(kind).unwrap().0, peer.times(kind).unwrap().0);
            assert!(ours <= theirs, "{}: {ours} s, and {theirs} s by {}", kind.name(), peer.name);
        }
    }
}
