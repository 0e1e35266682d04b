//! What was seen of a row: judged by the rules of the design, and told in the words of the document.
//!
//! Never tells what was expected: the words come from receipts, pages and runs alone.

use std::collections::BTreeMap;
use std::time::Duration;

use rollbackd_core::time::Timestamp;
use serde_json::Value;

use crate::fault::{Fault, Lasts};
use crate::state::State;
use crate::world::{Receipt, World, assert_held, instant};

/// A budget that ends this close to the proof may be seen spent or not: looks are that far apart on a busy machine.
const CLOSE: Duration = Duration::from_secs(3);

/// What a service came to.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// How its watch ended.
    pub(crate) last: String,
    /// The version that serves.
    pub(crate) running: String,
    /// Its firings.
    pub(crate) firings: Vec<Value>,
    /// Their receipts.
    pub(crate) receipts: Vec<Receipt>,
    /// How many pages were taken, by their reason.
    pub(crate) pages: BTreeMap<String, usize>,
    /// The runs of its path, as they arrived in production.
    pub(crate) runs: Vec<Value>,
}

/// A row, when all is over.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) fault: Fault,
    pub(crate) began_at: Timestamp,
    pub(crate) ended_at: Timestamp,
    /// All firings as they were just before the fault ended.
    pub(crate) firings_in_fault: Vec<Value>,
    pub(crate) seen: BTreeMap<State, Seen>,
}

impl Row {
    fn when(&self, at: Timestamp) -> &'static str {
        match at {
            at if at < self.began_at => "before",
            at if at < self.ended_at => "during",
            _ => "after",
        }
    }

    fn in_fault(&self, state: State) -> Option<&Value> {
        self.firings_in_fault.iter().find(|firing| firing["service"] == *state.service())
    }

    /// Whether the fault went on until everything was over that needs no Prometheus.
    fn is_long(&self) -> bool {
        self.fault.lasts != Lasts::UntilBlind
    }

    /// The row of the document, without the fault's name.
    pub(crate) fn cells(&self) -> Vec<String> {
        let mut cells: Vec<String> = self.seen.iter().map(|(state, seen)| self.cell(*state, seen)).collect();
        let blind: Vec<usize> = self.seen.values().map(|seen| count(seen, "blind")).collect();
        let (least, most) = (blind.iter().min().copied().unwrap_or(0), blind.iter().max().copied().unwrap_or(0));
        cells.push(if least == most { format!("{least} each") } else { format!("{least} to {most}") });
        let healthy = self.seen.iter().filter(|(state, _)| state.is_healthy());
        cells.push(healthy.map(|(_, seen)| seen.runs.len()).sum::<usize>().to_string());
        cells
    }

    fn cell(&self, state: State, seen: &Seen) -> String {
        let Some(receipt) = seen.receipts.first() else { return seen.last.clone() };
        match receipt.get("outcome") {
            "recovered" => self.recovered(state, seen, receipt),
            outcome if self.in_fault(state).is_some_and(|firing| firing["outcome"] == outcome) => {
                format!("{outcome} during")
            }
            outcome => format!("{outcome} after"),
        }
    }

    fn recovered(&self, state: State, seen: &Seen, receipt: &Receipt) -> String {
        let clock = self.when(instant(receipt, "observed_at"));
        if clock != "before" {
            let act = if count(seen, "held") > 0 { "held" } else { "rolled back" };
            return format!("{act}, clock {clock}");
        }
        let mut words = Vec::new();
        let budget = self.in_fault(state).and_then(|firing| firing["budget_ends_at"].as_str()).map(at);
        if let Some(budget) = budget.filter(|_| count(seen, "budget_spent") > 0) {
            words.push(format!("budget paged {}", self.when(budget)));
        }
        let path = self.when(instant(receipt, "path_finished_at"));
        if path != "before" {
            words.push(format!("path {path}"));
        }
        words.push(format!("proof {}", self.when(instant(receipt, "recovered_at"))));
        words.join(", ")
    }
}

/// An instant of the API's.
pub(crate) fn at(text: &str) -> Timestamp {
    Timestamp::try_from(text.to_owned()).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn count(seen: &Seen, reason: &str) -> usize {
    seen.pages.get(reason).copied().unwrap_or(0)
}

/// Every rule, on every cell.
pub(crate) async fn judge(world: &World, row: &Row) {
    for (state, seen) in &row.seen {
        let what = format!("{}, {state:?}", row.fault.name);
        did_nothing_twice(*state, seen, &what);
        was_told_once(row, *state, seen, &what);
        match state {
            State::Clear | State::Fresh | State::Relieved => {
                assert_eq!((seen.last.as_str(), seen.running.as_str()), ("passed", "v2"), "{what}: {seen:?}");
            }
            State::Ending => {
                let end = if row.is_long() { "blind" } else { "passed" };
                assert_eq!((seen.last.as_str(), seen.running.as_str()), (end, "v2"), "{what}: {seen:?}");
            }
            State::Dismissed => {
                assert_eq!((seen.last.as_str(), seen.running.as_str()), ("dismissed", "v2"), "{what}: {seen:?}");
                assert_eq!(seen.receipts[0].get("outcome"), "dismissed", "{what}");
                let in_fault = row.in_fault(*state).expect("it fired before");
                assert_eq!(in_fault["outcome"], "dismissed", "{what}");
            }
            State::Breaching | State::Tight | State::FreshSlow => fired_by_what_was_seen_later(row, *state, &what),
            State::Veto | State::RollingBack | State::Verifying | State::Paged => {
                went_on_and_was_proven_later(row, *state, &what);
            }
        }
        for receipt in &seen.receipts {
            let limit = seen.firings[0]["limit"].as_f64().expect("a limit");
            assert_held(&world.prometheus, receipt, &state.held(limit)).await;
        }
    }
    world.receipts_are_whole().await;
}

/// One firing, one receipt and one run where there is to be one, and else none: what is healthy is left alone.
fn did_nothing_twice(state: State, seen: &Seen, what: &str) {
    let fired = usize::from(!state.is_healthy());
    assert_eq!(seen.firings.len(), fired, "{what}: {:?}", seen.firings);
    assert_eq!(seen.receipts.len(), fired, "{what}: {:?}", seen.receipts);
    assert_eq!(seen.runs.len(), state.runs(), "{what}: {:?}", seen.runs);
    for firing in &seen.firings {
        let attempts = firing["attempts"].as_array().map(Vec::len);
        assert_eq!(attempts, Some(state.runs()), "{what}: {firing}");
    }
    assert!(seen.runs.iter().all(|run| run["version"] == "v1"), "{what}: {:?}", seen.runs);
}

/// One page that it is blind, one for each question, one where a budget was spent, and no other.
fn was_told_once(row: &Row, state: State, seen: &Seen, what: &str) {
    let question = match state {
        State::Veto | State::Dismissed => Some("veto"),
        State::Paged => Some("manual"),
        State::Tight => row.fires_unseen().then_some("held"),
        State::Clear
        | State::Ending
        | State::Fresh
        | State::Relieved
        | State::Breaching
        | State::FreshSlow
        | State::RollingBack
        | State::Verifying => None,
    };
    let expected: BTreeMap<String, usize> =
        [Some("blind"), question].into_iter().flatten().map(|reason| (reason.to_owned(), 1)).collect();
    let mut told = seen.pages.clone();
    let spent = told.remove("budget_spent").unwrap_or(0);
    assert_eq!(told, expected, "{what}");
    match (seen.firings.first().and_then(|firing| firing["budget_ends_at"].as_str()), seen.receipts.first()) {
        (Some(budget), Some(receipt)) if receipt.get("outcome") == "recovered" => {
            let (budget, recovered_at) = (at(budget), instant(receipt, "recovered_at"));
            assert!(spent <= 1, "{what}: paged {spent} times that the budget is spent");
            if recovered_at > budget + CLOSE {
                assert_eq!(spent, 1, "{what}: the budget was spent at {budget}, it recovered at {recovered_at}");
            } else if recovered_at + CLOSE < budget {
                assert_eq!(spent, 0, "{what}: the budget was spent at {budget}, it recovered at {recovered_at}");
            }
        }
        _ => assert_eq!(spent, 0, "{what}"),
    }
}

impl Row {
    /// Whether what breaches throughout fires, by the data, while nobody can see it: where Prometheus has the data, and
    /// the fault is longer than a `for`.
    fn fires_unseen(&self) -> bool {
        self.is_long() && self.fault.data_is_kept()
    }
}

/// Nothing fired while nothing could be seen; then the breach fired at the instant that the data give it.
fn fired_by_what_was_seen_later(row: &Row, state: State, what: &str) {
    assert!(row.in_fault(state).is_none(), "{what}: fired unseen: {:?}", row.in_fault(state));
    let seen = &row.seen[&state];
    let receipt = &seen.receipts[0];
    assert_eq!(receipt.get("outcome"), "recovered", "{what}");
    assert_eq!((seen.last.as_str(), seen.running.as_str()), ("rolled_back", "v1"), "{what}: {seen:?}");
    let clock = if row.fires_unseen() { "during" } else { "after" };
    assert_eq!(row.when(instant(receipt, "observed_at")), clock, "{what}: {:?}", receipt.front);
    assert_eq!(row.when(instant(receipt, "decided_at")), "after", "{what}: {:?}", receipt.front);
}

/// A rollback that was under way, or that a human asked for, went on; it was proven by what was seen after the fault.
fn went_on_and_was_proven_later(row: &Row, state: State, what: &str) {
    let seen = &row.seen[&state];
    let receipt = &seen.receipts[0];
    assert_eq!(receipt.get("outcome"), "recovered", "{what}");
    assert_eq!((seen.last.as_str(), seen.running.as_str()), ("rolled_back", "v1"), "{what}: {seen:?}");
    let when = |key: &str| row.when(instant(receipt, key));
    assert_eq!((when("observed_at"), when("recovered_at")), ("before", "after"), "{what}: {:?}", receipt.front);
    // A short fault is over before the veto is, and before the path is released.
    let (path, in_fault) = if state == State::Verifying {
        ("before", "verifying")
    } else if row.is_long() || state == State::Paged {
        ("during", "verifying")
    } else if state == State::Veto {
        ("after", "veto")
    } else {
        ("after", "rolling_back")
    };
    let firing = row.in_fault(state).expect("it fired before");
    assert_eq!(firing["state"], in_fault, "{what}: {firing}");
    assert_eq!(when("path_finished_at"), path, "{what}: {:?}", receipt.front);
}
