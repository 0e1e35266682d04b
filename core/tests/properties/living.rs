//! A random day as it happens to a world: each thing once, and the outside's answer to what follows.

use std::time::Duration;

use proptest::sample::Index;
use rollbackd_core::config::Mode;
use rollbackd_core::deploy::Migration;
use rollbackd_core::event::{DeployReport, Happening, Serving};
use rollbackd_core::name::{AttemptId, FiringId, ServiceName};

use super::days::{Happens, METRICS, PATHS, REPORTS, SERVICES, Said, VERSIONS, Variant, config};
use crate::common::outside::Sample;
use crate::common::world::{World, report};
use crate::common::{path, service, trigger, version};

/// The world before the day: in most of them two versions have passed.
pub(crate) fn morning(variant: Variant, mode: Mode) -> World {
    let mut world = World::new(config(variant, mode));
    for passes in VERSIONS.iter().take(if variant.proven { 2 } else { 0 }) {
        for service in 0..SERVICES.len() {
            let _ = world.deploy_of(&name(service), report(passes));
        }
        world.run("10m");
    }
    world
}

fn name(index: usize) -> ServiceName {
    service(SERVICES[index])
}

/// One thing happens, and the outside answers to what follows from it.
pub(crate) fn one_day(world: &mut World, happens: &Happens) {
    match happens {
        Happens::Time(seconds) => world.run_to(world.now + Duration::from_secs(*seconds)),
        Happens::Away(seconds) => {
            world.now = world.now + Duration::from_secs(*seconds);
            let before = world.state.clone();
            world.restart();
            assert_eq!(world.state, before, "a restart finds what was there");
            world.settle();
            world.wake();
        }
        Happens::Restart => {
            let before = world.state.clone();
            world.restart();
            assert_eq!(world.state, before, "a restart finds what was there");
            world.settle();
        }
        Happens::Deploy { .. } => deployed(world, happens),
        Happens::Trouble(service, index, reported) => {
            let _ = world.deploy_of(&name(*service), report(VERSIONS[*index]));
            world.run("20s");
            let what =
                Happening::Reported { trigger: trigger(REPORTS[*reported]), note: None, about: Default::default() };
            let _ = world.tell_of(&name(*service), what);
        }
        Happens::Serves(service, index) => {
            let now = world.now;
            outside(world, *service).serve(&version(VERSIONS[*index]), now);
        }
        Happens::Sick(service, index, metric, value) => {
            let key = (version(VERSIONS[*index]), trigger(METRICS[*metric]));
            outside(world, *service).sick.insert(key, Sample::Value(*value));
        }
        Happens::Shows(service, metric, shown) => {
            let now = world.now;
            outside(world, *service).show(&trigger(METRICS[*metric]), now, *shown);
        }
        Happens::Works(works) => set_works(world, *works),
        Happens::Runs(service, index, run) => {
            outside(world, *service).runs.insert(path(PATHS[*index]), *run);
        }
        Happens::Report(service, index) => {
            let what = Happening::Reported {
                trigger: trigger(REPORTS[*index]),
                note: Some("seen".to_owned()),
                about: Default::default(),
            };
            let _ = world.tell_of(&name(*service), what);
        }
        Happens::Answer(service, index, answer) => answered(world, *service, index, *answer),
        Happens::Rollback(service, by, to) => {
            let what = Happening::RollbackAsked {
                path: by.map(|index| path(PATHS[index])),
                to: to.map(|index| version(VERSIONS[index])),
            };
            let _ = world.tell_of(&name(*service), what);
        }
        Happens::Rehearse(service, bad) => {
            let asked = |index: usize| Happening::RehearsalAsked { bad: version(VERSIONS[index]), witness: None };
            let _ = world.tell_of(&name(*service), bad.map_or(Happening::RehearsalStopAsked, asked));
        }
        Happens::Freeze(service, time) => {
            let frozen = |seconds| Happening::Frozen { duration: Duration::from_secs(seconds), why: "so".to_owned() };
            let _ = world.tell_of(&name(*service), time.map_or(Happening::Thawed, frozen));
        }
        Happens::Attempt(service, index, said) => said_of(world, *service, index, said),
        Happens::Reads(service, index, before) => read(world, *service, *index, *before),
    }
}

fn outside(world: &mut World, index: usize) -> &mut crate::common::outside::Outside {
    world.outside.get_mut(SERVICES[index]).expect("a service of the world")
}

fn deployed(world: &mut World, happens: &Happens) {
    let Happens::Deploy { service, version: index, previous, breaking, at, key, serves } = happens else { return };
    let now = world.now;
    let moved = |seconds: i64| {
        let by = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { now - by } else { now + by }
    };
    let reported = DeployReport {
        previous: previous.map(|index| version(VERSIONS[index])),
        migration: if *breaking { Migration::Breaking } else { Migration::None },
        at: at.map(moved),
        key: key.map(|key| format!("key-{key}")),
        ..report(VERSIONS[*index])
    };
    if *serves {
        outside(world, *service).serve(&reported.version, now);
    }
    let _ = world.tell_of(&name(*service), Happening::Deployed(reported));
}

fn set_works(world: &mut World, [queries, whole, smoke, pagers, receipts]: [bool; 5]) {
    for outside in world.outside.values_mut() {
        outside.queries_fail = !queries;
        outside.queries_are_partial = !whole;
        outside.smoke_answers = smoke;
        outside.pagers_take = pagers;
        outside.receipts_are_written = receipts;
    }
}

fn answered(world: &mut World, service: usize, index: &Index, answer: u8) {
    let Some(own) = world.state.services.get(SERVICES[service]) else { return };
    let firings: Vec<FiringId> = own.firings.iter().map(|firing| firing.id.clone()).collect();
    if firings.is_empty() {
        return;
    }
    // Mostly for one that is open, and now and then for one that is long over.
    let open: Vec<FiringId> = own.open_firings().map(|firing| firing.id.clone()).collect();
    let asked = if open.is_empty() || index.index(5) == 0 { &firings } else { &open };
    let firing = index.get(asked).clone();
    let what = match answer {
        0 => Happening::Approved { firing },
        1 => Happening::Dismissed { firing, why: "no".to_owned() },
        _ => Happening::Acknowledged { firing },
    };
    let _ = world.tell_of(&name(service), what);
}

fn said_of(world: &mut World, service: usize, index: &Index, said: &Said) {
    let Some(own) = world.state.services.get(SERVICES[service]) else { return };
    let deploys_bad = own.rehearsal.as_ref().and_then(|rehearsal| rehearsal.attempt.as_ref());
    let attempts: Vec<AttemptId> = own
        .firings
        .iter()
        .flat_map(|firing| &firing.attempts)
        .chain(deploys_bad)
        .map(|attempt| attempt.id.clone())
        .collect();
    if attempts.is_empty() {
        return;
    }
    // Mostly of the one that runs, and now and then of one that is long over.
    let running = own.rolling().and_then(|firing| firing.running());
    let running = running.or_else(|| own.rehearsing()?.running()).filter(|_| index.index(5) > 0);
    let attempt = running.map_or_else(|| index.get(&attempts).clone(), |attempt| attempt.id.clone());
    let what = match said {
        Said::Ended(outcome) => Happening::AttemptEnded { attempt, outcome: outcome.clone() },
        Said::Started => Happening::AttemptStarted { attempt, handle: "run 1".to_owned() },
        Said::Waits => Happening::AttemptWaits { attempt, why: "a person".to_owned() },
    };
    let _ = world.tell_of(&name(service), what);
}

fn read(world: &mut World, service: usize, index: Option<usize>, before: bool) {
    let serving = index.map(|index| Serving {
        version: version(VERSIONS[index]),
        revision: Some(format!("rev-{index}")),
        since: world.now,
    });
    let watched = world.state.services.get(SERVICES[service]).and_then(|own| own.watch.as_ref());
    let what = match watched {
        Some(watch) if before => Happening::VersionBeforeRead { deploy: watch.deploy.clone(), serving },
        Some(_) | None => Happening::ServingRead { serving, at: world.now },
    };
    let _ = world.tell_of(&name(service), what);
}

/// Everything works again and every metric is healthy, for long enough that everything can end.
pub(crate) fn heal(world: &mut World) {
    set_works(world, [true; 5]);
    let now = world.now;
    for outside in world.outside.values_mut() {
        for metric in METRICS {
            outside.sick.retain(|_, _| false);
            outside.show(&trigger(metric), now, Sample::Value(0.001));
        }
    }
    world.restart();
    world.run("2h");
    // What was given up for want of an answer is answered now.
    for each in SERVICES {
        let Some(own) = world.state.services.get(each) else { continue };
        let left: Vec<FiringId> = own.pages.iter().filter_map(|page| page.firing.clone()).collect();
        for firing in left {
            let _ = world.tell_of(&service(each), Happening::Acknowledged { firing });
        }
    }
    world.run("1m");
}
