//! Killed while the records of several services become durable together: all of that append is there, or nothing.
//!
//! Never takes for granted that several were together: a life in which they were not shows nothing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinSet;

use super::preload::{Act, Fault, Place, Point};
use super::records::{self, kind_of};
use crate::world::{Daemon, World, triggers, wait_until};

/// So many services are told of a deploy at the same time; the daemon is killed at the record of the one in the middle.
const SERVICES: u16 = 40;
const KILLED_AT: &str = "\"told-20\"";

/// A life in which none, or one alone, was in the append is lived again so often at most.
const LIVES: usize = 5;

fn version(number: u16) -> String {
    format!("told-{number}")
}

/// How often the deploy of each service lies in the journal.
fn deploys_in(bodies: &[String]) -> BTreeMap<u16, usize> {
    let mut found = BTreeMap::new();
    for body in bodies.iter().filter(|body| kind_of(body) == "deployed") {
        let is_of = |number: &u16| body.contains(&format!("{:?}", version(*number)));
        *found.entry((1..=SERVICES).find(is_of).expect("a deploy that was told")).or_default() += 1;
    }
    found
}

/// Tells of all deploys at the same time; gives those that were taken.
async fn tell_all(daemon: &Daemon, at: &str) -> Vec<u16> {
    let mut told = JoinSet::new();
    for number in 1..=SERVICES {
        let service = format!("svc-{number}");
        let report = json!({"service": service, "version": version(number), "previous_version": "v1", "at": at});
        let answer = daemon.posting("/v1/deploys", report);
        told.spawn(async move { answer.await.is_ok_and(|answer| answer.status < 300).then_some(number) });
    }
    told.join_all().await.into_iter().flatten().collect()
}

/// The records of the append that was acknowledged last, by what the library noted.
fn acknowledged_last(notes: &Path) -> Range<usize> {
    let notes = std::fs::read_to_string(notes).expect("notes");
    let up_to: Vec<usize> = notes.lines().filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok()).collect();
    match up_to.as_slice() {
        [] => 0..0,
        [only] => 0..*only,
        [.., before, last] => *before..*last,
    }
}

fn lying_in(world: &World) -> Vec<String> {
    records::lying_in(&world.place("state")).into_iter().map(|(_, body)| body).collect()
}

/// Lives once, and gives how many services were in the append at which the daemon was killed.
async fn live(world: &World, point: Point) -> usize {
    let state = world.place("state");
    let notes = world.place("calls");
    let _ = (std::fs::remove_dir_all(&state), std::fs::remove_file(&notes));
    let mut plan = world.plan();
    plan.several(SERVICES, [triggers::shared_error_rate()]);
    let mut daemon = Daemon::new(&world.place(""), &plan, &[]);
    let fault = Fault { act: Act::Kill, place: Place::Text(point, KILLED_AT), until: None };
    daemon.launch_with(&fault.environment(&notes));
    wait_until("the daemon is ready", async || daemon.status_of("/readyz").await.map(drop)).await;

    let at = rollbackd::clock::now().to_string();
    let taken = tell_all(&daemon, &at).await;
    assert_eq!(daemon.ends().await.signal(), Some(Signal::KILL.as_raw()), "{point:?}: {}", daemon.log());
    let bodies = lying_in(world);
    let acknowledged = records::acknowledged_in(&state);
    let (before, of_append) = bodies.split_at(acknowledged);
    let (before, together) = (deploys_in(before), deploys_in(of_append));
    let is_there = before.contains_key(&20) || together.contains_key(&20);
    assert_eq!(is_there, point != Point::Torn, "{point:?}: {bodies:#?}");
    // Nobody is told that it was taken before it is acknowledged, and whoever was told finds it.
    assert!(taken.iter().all(|number| before.contains_key(number)), "{point:?}: {taken:?} of {before:?}");

    daemon.start().await;
    let again = tell_all(&daemon, &at).await;
    assert_eq!(again.len(), usize::from(SERVICES), "{point:?}: {}", daemon.log());
    assert!(daemon.stop().await.success(), "{point:?}: {}", daemon.log());
    let after = lying_in(world);
    assert!(after.starts_with(&bodies), "{point:?}: {bodies:#?} {after:#?}");
    let each_once = (1..=SERVICES).map(|number| (number, 1)).collect();
    assert_eq!(deploys_in(&after), each_once, "{point:?}");
    let said = daemon.command(&["journal", "verify", "--config", "rollbackd.yml"]).await;
    assert_eq!(said.code, Some(0), "{point:?}: {said:?}");
    // What is torn has left nothing by which it could be counted: all that were told and never came to be.
    match point {
        Point::Torn => usize::from(SERVICES) - before.len(),
        Point::Written | Point::Synced => together.len(),
        Point::Acknowledged | Point::Next => deploys_in(&bodies[acknowledged_last(&notes)]).len(),
    }
}

#[tokio::test]
async fn services_whose_deploys_become_durable_together_are_all_there_after_a_kill_or_none_is() {
    let world = World::start().await;
    for point in Point::ALL {
        let mut together = 0;
        for _ in 0..LIVES {
            together = live(&world, point).await;
            if together > 1 {
                break;
            }
        }
        println!("{}: {together} services were in the append", point.name());
        assert!(together > 1, "{point:?}: the append had one service at most");
    }
}
