//! Exhaustive model checking: every state that a small world can reach, with a crash at each point, keeps the
//! invariants; and from every one a quiet state can be reached. See docs/model.md.
//!
//! `ROLLBACKD_MODEL=large` explores larger bounds; `ROLLBACKD_MODEL_PLAN=NAME` one plan alone.

#![expect(clippy::unwrap_in_result, reason = "in a test, what can't be is a failure")]

#[expect(dead_code, reason = "each test crate uses another part of it")]
mod common;

#[path = "model/acts.rs"]
mod acts;
#[path = "model/broken.rs"]
mod broken;
#[path = "model/canonical.rs"]
mod canonical;
#[path = "model/explore.rs"]
mod explore;
#[path = "model/invariants.rs"]
mod invariants;
#[path = "model/plan.rs"]
mod plan;
#[path = "model/turn.rs"]
mod turn;
#[path = "model/world.rs"]
mod world;

use explore::explore;
use plan::plans;

#[expect(clippy::disallowed_methods, reason = "which bounds to explore; nothing of the core depends on it")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The page that says what was explored.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/model.md");

/// The head of its table.
const TABLE: &str = "| plan | states | transitions | depth | quiet | waiting |\n|---|---|---|---|---|---|\n";

#[test]
fn every_reachable_state_keeps_the_invariants_and_can_end() {
    let large = setting("ROLLBACKD_MODEL").is_some_and(|bounds| bounds == "large");
    let only = setting("ROLLBACKD_MODEL_PLAN");
    let (mut rows, mut broken) = (String::new(), Vec::new());
    let aloud = setting("ROLLBACKD_MODEL_ALOUD").is_some();
    for mut plan in plans(large).into_iter().filter(|plan| only.as_ref().is_none_or(|only| only == plan.name)) {
        plan.aloud = aloud;
        match explore(&plan) {
            Ok(found) => {
                let row = format!(
                    "| {} | {} | {} | {} | {} | {} |",
                    plan.name, found.states, found.transitions, found.depth, found.quiet, found.waiting
                );
                eprintln!("{row} {:.1} s", found.took.as_secs_f64());
                rows.push_str(&row);
                rows.push('\n');
            }
            Err(trace) => {
                eprintln!("| {} | BROKEN |\n{trace}", plan.name);
                broken.push(format!("{}: see above", plan.name));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    if !large && only.is_none() {
        is_written_down(&rows);
    }
}

/// `UPDATE=1` writes the table anew.
#[expect(clippy::disallowed_methods, reason = "the page is written by hand of a developer alone")]
fn is_written_down(rows: &str) {
    let page = std::fs::read_to_string(PAGE).expect("docs/model.md");
    let (before, rest) = page.split_once(TABLE).expect("the table of docs/model.md");
    let (_, after) = rest.split_once("\n\n").expect("a paragraph after the table");
    let expected = format!("{before}{TABLE}{rows}\n{after}");
    if setting("UPDATE").is_some() {
        std::fs::write(PAGE, &expected).expect("docs/model.md can be written");
    } else {
        assert!(page == expected, "docs/model.md has other rows: UPDATE=1 writes these\n{rows}");
    }
}

/// Goes the way that these choices name in a plan: what a trace of the explorer prints can be pasted as it is.
fn follow(name: &str, way: &[&str]) -> world::World {
    let plan = plans(false).into_iter().find(|plan| plan.name == name).expect("a plan of the table");
    explore::follow(&plan, way)
}

#[test]
fn a_way_that_the_explorer_prints_can_be_gone_again() {
    let rolling = ["a: v2 is deployed", "a: smoke-test is reported", "a: run 0 ends: Ran(Succeeds)"];
    assert!(!follow("automatic limit", &rolling).is_settled());
    let proven = [&rolling[..], &["a slot goes by", "a: look"]].concat();
    assert!(follow("automatic limit", &proven).is_quiet());
}

#[test]
fn a_broken_copy_of_the_core_is_found_by_the_invariant_that_it_breaks() {
    for (how, name, invariant) in broken::ALL {
        let mut plan = plans(false).into_iter().find(|plan| plan.name == name).expect("a plan of the table");
        plan.broken = Some(how);
        match explore(&plan) {
            Ok(found) => panic!("{how:?} was not found: {found:?}"),
            Err(trace) => assert!(trace.contains(invariant), "{how:?} was to break {invariant:?}, and:\n{trace}"),
        }
    }
}

#[test]
fn states_with_one_canonical_form_have_the_same_successors() {
    for plan in plans(false) {
        explore::canonical_form_is_sound(&plan, 300).unwrap_or_else(|differs| panic!("{differs}"));
    }
}
