//! `docs/kill-matrix.md`: what the matrix kills at, and what comes of it. `UPDATE=1` writes it anew.
//!
//! Never says what no cell asserts.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::preload::Point;
use super::records::KINDS;
use super::scenario::ALL;

const BEGIN: &str = "# Killed at every write of the journal\n
The real binary, with a real Prometheus, an example service, its pipeline and a pager, is killed (SIGKILL) at each record \
that it writes, and started again. Whatever the record and the moment: no attempt runs twice, every firing has one \
receipt, numbered without gaps, its clock is the one that was recorded, every page is taken under one key, no record \
that was there is lost or changed, and `journal verify` and `receipts verify` find nothing.\n
This page is written by the test: `UPDATE=1 cargo test --test e2e kill_matrix::table`. \
`cargo test --test e2e kill_matrix` runs a fixed selection that passes through every state; `KILL_MATRIX=all` runs every \
kind at every moment, and a kill before every single call on the journal's files; `KILL_MATRIX=3/20` runs every twentieth \
cell of that, from the third on; `KILL_MATRIX='rollback, Kill call 31'` lives that cell alone, by the name under which it failed. \
What a cell that failed has left (journal, log, calls, receipts) is kept in `target/tmp/kill-matrix`.\n";

const FAULTS: &str = "\n## A faulty disk\n
| fault | what the daemon does |
|---|---|
| a write or a sync fails once | nothing of that append counts; it is decided again once the journal is opened anew, never by the same handle |
| writes or syncs go on failing | nothing new runs, `/readyz` is 503, pagers are told at once; what ended meanwhile is recorded when there is room |
| syncs take seconds | looks and answers go on; the clock starts by the data all the same |
| the state folder is read-only | does not start; names the file and the reason |
| a file cut off, a bit flipped, a file gone | does not start, names the record where there is one, `journal verify` and `journal repair`; or nothing is lost and it goes on with the same records |
| a second daemon on the same folder | does not start, names the process that has it; a killed one frees its place |

## Seen on 2026-11-30, on two cores shared with others

| what | cells | as they should be | seconds | load |
|---|---:|---:|---:|---|
| a kill before every single call on the journal's files | 889 | 889, of which 882 were killed | 1475 | 5 to 20 |
| a kill at every record at every moment | 244 | 244, all killed | 443 | 7 to 17 |
| a write or sync that fails once, disks that stay faulty, slow syncs | 111 | 111 | 290, with the two rows below | 4 to 7 |
| damaged journals | 288 | 288: 10 had lost nothing, the others were refused | | |
| deploys of 40 services told at once, killed at each of five moments | 5 | 5, with 34 to 39 of them in one append | | |

A cell that was not killed had made fewer calls than the life that was counted before: how many there are depends on the scrapes. \
Two parts of an earlier count on the same day (306 of 919, 312 of 937) were as they should be as well, \
and so was an eighth (114 of 912) after a look had been changed to end at its first query that fails.

Reproduced by `KILL_MATRIX=all cargo test --locked --test e2e kill_matrix -- --nocapture --test-threads=1`; \
`a_daemon_killed_at_any_call` alone takes 25 minutes.

What the whole has found in itself: nothing is written after the receipt of a firing that was dismissed, so that one cell was never \
killed, which the test said; that life ends with a freeze now.
";

fn moments(page: &mut String) {
    page.push_str(
        "\n## The moments of an append\n\n| killed | what lies in the journal | what comes after |\n|---|---|---|\n",
    );
    for point in Point::ALL {
        let [when, lies] = point.story();
        let after = match point {
            Point::Torn => "it is decided again by the data; whoever asked got no answer and asks again",
            Point::Written | Point::Synced | Point::Acknowledged => "as the record says, below",
            Point::Next => "the outcome is looked up, or comes again",
        };
        let _ = writeln!(page, "| {when} | {lies} | {after} |");
    }
}

fn records(page: &mut String) {
    page.push_str("\n## The records\n\n| record | killed at in | what the start goes on with |\n|---|---|---|\n");
    let mut without = BTreeSet::new();
    for kind in KINDS {
        let lives = ALL.iter().filter(|scenario| scenario.kinds.contains(&kind.name));
        let lives: Vec<_> = lives.map(|scenario| scenario.name).collect();
        if lives.is_empty() {
            without.insert(kind.name);
        } else {
            let _ = writeln!(page, "| {} | {} | {} |", kind.name, lives.join("; "), kind.goes_on);
        }
    }
    let without: Vec<_> = without.into_iter().collect();
    let _ = writeln!(page, "\nWritten together with one of these, or not met in these lives: {}.", without.join(", "));
}

fn lives(page: &mut String) {
    page.push_str("\n## The lives\n\n| life | the pipeline deploys | receipts | outcome | then serves |\n|---|---|---:|---|---|\n");
    for scenario in ALL {
        let runs = if scenario.runs.is_empty() { "nothing".to_owned() } else { scenario.runs.join(", ") };
        let receipts = usize::from(scenario.outcome.is_some());
        let outcome = scenario.outcome.unwrap_or(scenario.last);
        let _ = writeln!(page, "| {} | {runs} | {receipts} | {outcome} | {} |", scenario.name, scenario.serves);
    }
}

#[test]
fn the_page_about_the_matrix_is_fresh() {
    let mut page = BEGIN.to_owned();
    moments(&mut page);
    records(&mut page);
    lives(&mut page);
    page.push_str(FAULTS);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kill-matrix.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(there, page, "run `UPDATE=1 cargo test --test e2e kill_matrix::table`");
}
