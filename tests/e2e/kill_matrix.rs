//! kill -9 at every write of the journal, in every state of a watch, on the real binary with a real Prometheus.
//!
//! Never counts a cell whose daemon was not killed where it had to be.

mod cell;
mod damage;
mod kept;
mod preload;
mod records;
mod scenario;
mod table;
mod together;

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::{JoinError, LocalSet};

use self::cell::{Shown, live, service};
use self::preload::{Act, Fault, Place, Point};
use self::records::text_of;
use self::scenario::{ALL, APPROVED, LATE, REMOTE, ROLLBACK, Scenario};
use crate::world::{Shape, WINDOW, World};

/// So many daemons live at the same time: they wait for data most of their lives.
const AT_ONCE: usize = 6;

/// What the end of a life says whose watch should have ended otherwise.
const ENDED_BLIND: &str = "\"last\":\"blind\"";

/// One matrix at a time: a machine on which everything is late has blind watches, and shows nothing else.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// So many services one world has, each for one cell.
const PER_WORLD: usize = 30;

type Cell = (&'static Scenario, Fault);

/// By which a cell is told from all others, and can be asked for.
fn name_of((scenario, fault): &Cell) -> String {
    format!("{}, {:?} {}", scenario.name, fault.act, fault.place)
}

/// What a task that panicked has said.
fn told_by(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(other) => (*other.downcast::<&str>().expect("a text")).to_owned(),
        },
        Err(error) => error.to_string(),
    }
}

/// Lives through all cells, so many at once, and gives what each has shown or how it failed.
async fn live_through(cells: Vec<Cell>, at_once: usize) -> Vec<(Cell, Result<Shown, String>)> {
    let mut all = Vec::new();
    for part in cells.chunks(PER_WORLD) {
        let several = u16::try_from(part.len()).expect("few cells");
        let world = Rc::new(World::shaped(Shape { several: Some(several), ..Shape::default() }).await);
        world.has_past(WINDOW * 3).await;
        let places = Arc::new(tokio::sync::Semaphore::new(at_once));
        let lives: Vec<_> = part
            .iter()
            .enumerate()
            .map(|(index, (scenario, fault))| {
                let (world, places, fault, scenario) =
                    (Rc::clone(&world), Arc::clone(&places), fault.clone(), *scenario);
                tokio::task::spawn_local(async move {
                    let _place = places.acquire_owned().await.expect("a place");
                    live(world, scenario, index + 1, fault).await
                })
            })
            .collect();
        for (number, (cell, life)) in (1..).zip(part.iter().zip(lives)) {
            let shown = life.await.map_err(|error| {
                let why = told_by(error);
                let kept = kept::keep(&world.place(&service(number)), &name_of(cell));
                format!("{why}\n({kept})")
            });
            all.push((cell.clone(), shown));
        }
    }
    all
}

/// The points of an append at which CI kills: all five where the record orders something outside, else one in turn.
fn chosen(kind: &str, index: usize) -> Vec<Point> {
    const ORDERS: [&str; 3] = ["fired", "approved", "attempt intended"];
    if ORDERS.contains(&kind) {
        return Point::ALL.to_vec();
    }
    // The last one does not exist at the end of a life.
    vec![Point::ALL[index % (Point::ALL.len() - 1)]]
}

/// The lives that are tried: all of them, or those that pass through every state.
fn lives() -> &'static [&'static Scenario] {
    const EVERY_STATE: &[&Scenario] = &[&ROLLBACK, &APPROVED, &LATE];
    if asked_for_all() { &ALL } else { EVERY_STATE }
}

/// Kills at records: at every point of every append, or at the chosen ones.
fn at_records(all: bool) -> Vec<Cell> {
    let kinds = lives().iter().flat_map(|scenario| scenario.kinds.iter().map(move |kind| (*scenario, *kind)));
    let cells = kinds.enumerate().flat_map(|(index, (scenario, kind))| {
        let points = if all { Point::ALL.to_vec() } else { chosen(kind, index) };
        let there = move |point: &Point| *point != Point::Next || kind != scenario.ends_with;
        points.into_iter().filter(there).map(move |point| (scenario, Fault::kill(at(point, kind))))
    });
    cells.collect()
}

fn at(point: Point, kind: &'static str) -> Place {
    Place::Record(point, kind)
}

/// Lives through all cells. Where a watch has ended blind, the machine may have been late: that cell is lived once more,
/// with nothing beside it, and what that shows counts.
async fn all_lived(cells: Vec<Cell>) -> Vec<(Cell, Result<Shown, String>)> {
    let _turn = TURN.lock().await;
    let lived = live_through(cells, AT_ONCE).await;
    let is_blind = |shown: &Result<Shown, String>| shown.as_ref().is_err_and(|why| why.contains(ENDED_BLIND));
    let (blind, mut lived): (Vec<_>, Vec<_>) = lived.into_iter().partition(|(_, shown)| is_blind(shown));
    if !blind.is_empty() {
        println!("{} watches ended blind; they are lived once more, one after the other", blind.len());
        lived.extend(live_through(blind.into_iter().map(|(cell, _)| cell).collect(), 1).await);
    }
    lived
}

async fn shown_by(cells: Vec<Cell>) -> Vec<(Cell, Shown)> {
    let lived = LocalSet::new().run_until(all_lived(cells)).await;
    let (right, wrong): (Vec<_>, Vec<_>) = lived.into_iter().partition(|(_, shown)| shown.is_ok());
    let wrong: Vec<_> =
        wrong.into_iter().map(|(cell, why)| format!("{}: {}", name_of(&cell), why.err().unwrap_or_default())).collect();
    assert!(wrong.is_empty(), "{} of {} cells:\n{}", wrong.len(), wrong.len() + right.len(), wrong.join("\n\n"));
    right.into_iter().filter_map(|(cell, shown)| Some((cell, shown.ok()?))).collect()
}

/// How much is asked for.
#[derive(Clone, PartialEq, Eq)]
enum Asked {
    /// What CI has time for.
    Selection,
    /// Everything, or one in `every` cells of it, beginning with number `from`.
    All { from: usize, every: usize },
    /// The cell of this name.
    One(String),
}

/// `KILL_MATRIX=all`, or `KILL_MATRIX=3/20`: every twentieth cell of all, from the third on, or
/// `KILL_MATRIX='rollback, Kill call 31'`: that cell alone, by the name under which it failed.
fn asked() -> Asked {
    let Ok(which) = std::env::var("KILL_MATRIX") else { return Asked::Selection };
    if which == "all" {
        return Asked::All { from: 0, every: 1 };
    }
    if which.contains(", ") {
        return Asked::One(which);
    }
    let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number > 0);
    let part = which.split_once('/').and_then(|(from, every)| Some((number(from)?, number(every)?)));
    let Some((from, every)) = part.filter(|(from, every)| from <= every) else {
        panic!(
            "KILL_MATRIX is `all`, a part of it such as `3/20`, or a cell such as `rollback, Kill call 31`, not {which:?}"
        )
    };
    Asked::All { from: from - 1, every }
}

fn asked_for_all() -> bool {
    asked() != Asked::Selection
}

/// Of all cells, those of the part that is asked for.
fn part_of(cells: Vec<Cell>) -> Vec<Cell> {
    match asked() {
        Asked::Selection => cells,
        Asked::All { from, every } => cells.into_iter().skip(from).step_by(every).collect(),
        Asked::One(name) => {
            let one = cells.into_iter().find(|cell| name_of(cell) == name);
            vec![one.unwrap_or_else(|| panic!("this test has no cell {name:?}"))]
        }
    }
}

#[tokio::test]
async fn a_daemon_killed_at_any_record_goes_on_and_does_nothing_twice() {
    let mut states = BTreeSet::new();
    for ((scenario, fault), shown) in shown_by(part_of(at_records(asked_for_all()))).await {
        let Place::Record(point, kind) = fault.place else { unreachable!("all are records") };
        let place = format!("{}, {}", scenario.name, fault.place);
        let Some(killed_at) = shown.killed_at else { panic!("{place}: the daemon was not killed") };
        let survived = killed_at.iter().any(|body| body.contains(text_of(kind)));
        assert_eq!(survived, point != Point::Torn, "{place}: {killed_at:#?}");
        println!(
            "{place}: killed while {}{}",
            shown.state,
            if shown.human_helped { "; a human had to approve" } else { "" }
        );
        states.insert(shown.state);
    }
    if matches!(asked(), Asked::All { every: 2.., .. } | Asked::One(_)) {
        return;
    }
    let all = ["firing", "no watch", "paged", "rolling_back", "verifying", "watching"];
    assert_eq!(states.iter().collect::<Vec<_>>(), all.iter().collect::<Vec<_>>());
}

/// The calls of a life at which the daemon is killed: all, or as many in CI as live at once. Those are among the first
/// four fifths: how many calls a life makes depends on the scrapes that it meets.
fn calls_of(life: &Shown) -> Vec<u32> {
    /// In the creation of the journal.
    const FIRST: u32 = 7;
    if asked_for_all() {
        return (1..=life.calls).collect();
    }
    let last = life.calls * 4 / 5;
    let step = usize::try_from(last).expect("few calls") / AT_ONCE;
    (FIRST..last).step_by(step.max(1)).take(AT_ONCE).collect()
}

#[tokio::test]
async fn a_daemon_killed_at_any_call_on_its_journal_goes_on_and_does_nothing_twice() {
    let nothing = |scenario: &&'static Scenario| {
        (*scenario, Fault { act: Act::Nothing, place: Place::Call(u32::MAX), until: None })
    };
    let lives = if asked_for_all() { lives() } else { &lives()[..1] };
    let whole = shown_by(lives.iter().map(nothing).collect()).await;
    let cells: Vec<Cell> = whole
        .iter()
        .flat_map(|((scenario, _), shown)| calls_of(shown).into_iter().map(move |call| (*scenario, call)))
        .map(|(scenario, call)| (scenario, Fault::kill(Place::Call(call))))
        .collect();
    let (all, cells) = (cells.len(), part_of(cells));
    let count = cells.len();
    println!("{count} of {all} calls");
    let killed = shown_by(cells).await.iter().filter(|(_, shown)| shown.killed_at.is_some()).count();
    println!("{killed} of {count} were killed; the others had made fewer calls when all was over");
    assert!(killed * 10 >= count * 9, "only {killed} of {count} were killed");
}

/// Faults that happen once, at each record; every fifth of them in CI.
fn faults_that_pass() -> Vec<Cell> {
    let once = |act, point, kind| Fault { act, place: at(point, kind), until: None };
    let both = |kind| [once(Act::Fail, Point::Written, kind), once(Act::Full, Point::Torn, kind)];
    let lives = if asked_for_all() { lives() } else { &lives()[..1] };
    let kinds = lives.iter().flat_map(|scenario| scenario.kinds.iter().map(move |kind| (*scenario, *kind)));
    let all = kinds.flat_map(|(scenario, kind)| both(kind).map(|fault| (scenario, fault)));
    all.enumerate().filter(|(index, _)| asked_for_all() || index % 5 == 0).map(|(_, cell)| cell).collect()
}

#[tokio::test]
async fn a_write_or_sync_that_fails_once_loses_nothing_and_does_nothing_twice() {
    for ((scenario, fault), shown) in shown_by(part_of(faults_that_pass())).await {
        assert!(shown.failed >= 1, "{}, {:?} {}: the fault was not met", scenario.name, fault.act, fault.place);
    }
}

#[tokio::test]
async fn a_disk_that_stays_faulty_stops_what_is_new_pages_and_is_gone_on_from() {
    let until = tempfile::tempdir().unwrap();
    let mut cells = Vec::new();
    for (scenario, kind) in
        [(&ROLLBACK, "fired"), (&ROLLBACK, "attempt ended"), (&REMOTE, "attempt started"), (&APPROVED, "approved")]
    {
        for (act, point) in [(Act::Fail, Point::Written), (Act::Full, Point::Torn)] {
            let until = until.path().join(cells.len().to_string());
            cells.push((scenario, Fault { act, place: at(point, kind), until: Some(until) }));
        }
    }
    cells.truncate(if asked_for_all() { cells.len() } else { 2 });
    for ((scenario, fault), shown) in shown_by(cells).await {
        assert!(shown.failed >= 1, "{}, {:?} {}: the fault was not met", scenario.name, fault.act, fault.place);
    }
}

#[tokio::test]
async fn syncs_that_take_seconds_hold_up_neither_the_answers_nor_the_clock() {
    let never = Path::new("/nonexistent");
    let slow = |kind| Fault { act: Act::Slow, place: at(Point::Written, kind), until: Some(never.to_owned()) };
    let mut cells = vec![(&ROLLBACK, slow("deployed")), (&APPROVED, slow("deployed")), (&LATE, slow("veto open"))];
    cells.truncate(if asked_for_all() { cells.len() } else { 1 });
    for ((scenario, _), shown) in shown_by(cells).await {
        assert!(shown.answered_in_a_sync, "{}: nothing was answered while a sync was held up", scenario.name);
    }
}
