//! Every state of a watch and every kind of event, as one table of text that is compared with the stored one.
//!
//! `UPDATE=1 cargo test -p rollbackd-core --test matrix` writes it anew; whoever does reads the difference line by line.

#[expect(dead_code, reason = "each test crate uses another part of it")]
mod common;

#[path = "matrix/events.rs"]
mod events;
#[path = "matrix/shown.rs"]
mod shown;
#[path = "matrix/states.rs"]
mod states;

use std::fmt::Write as _;

const STORED: &str = include_str!("matrix.txt");
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/matrix.txt");

fn table() -> String {
    let mut table = String::new();
    for (name, state) in states::all() {
        let _ = writeln!(table, "== {name}\n");
        for event in events::all() {
            let mut world = state.world.clone();
            let what = (event.what)(&state);
            world.now = world.now + event.later;
            let before = world.journal.len();
            let sent = world.effects.len();
            let decision = world.decide(&common::service(common::plan::SHOP), what);
            assert_eq!(decision.records.len(), world.journal.len() - before);
            assert_eq!(decision.effects.len(), world.effects.len() - sent);
            let _ = writeln!(table, "{:<46}{}", event.name, shown::decision(&decision));
        }
        table.push('\n');
    }
    table
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the stored table is written where it is asked for, and only then")]
fn every_event_in_every_state_does_what_the_stored_table_says() {
    let table = table();
    if std::env::var("UPDATE").is_ok_and(|update| update == "1") {
        std::fs::write(FILE, &table).expect("a table that can be written");
        return;
    }
    for (number, (is, was)) in table.lines().zip(STORED.lines()).enumerate() {
        assert_eq!(is, was, "line {} of matrix.txt", number + 1);
    }
    assert_eq!(table.lines().count(), STORED.lines().count());
}
