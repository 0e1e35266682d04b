//! The states, each reached by what really leads to it.

use rollbackd_core::config::Mode;
use rollbackd_core::event::Happening;
use rollbackd_core::firing::Outcome;
use rollbackd_core::name::{AttemptId, DeployId, FiringId};

use crate::common::outside::{Run, Sample};
use crate::common::plan::{reference, shop_trigger};
use crate::common::world::World;
use crate::common::{duration, path, version};

/// A world in one state, and what events there are about.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) world: World,
    pub(crate) deploy: DeployId,
    pub(crate) firing: FiringId,
    pub(crate) attempt: AttemptId,
}

fn of(world: World) -> State {
    let own = world.state.services.values().next();
    let last = own.and_then(|own| own.firings.last());
    let checking = own.and_then(|own| own.rehearsing()).map(|rehearsal| rehearsal.deploy.clone());
    let watched = own.and_then(|own| own.watch.as_ref()).map(|watch| watch.deploy.clone()).or(checking);
    let of_rehearsal = own.and_then(|own| own.rehearsal.as_ref()).and_then(|rehearsal| rehearsal.attempt.as_ref());
    let attempt = last.and_then(|firing| firing.attempts.last()).or(of_rehearsal).map(|attempt| attempt.id.clone());
    State {
        deploy: watched.unwrap_or_else(|| DeployId::new("no-deploy").expect("an id")),
        firing: last.map_or_else(|| FiringId::new("no-firing").expect("an id"), |firing| firing.id.clone()),
        attempt: attempt.unwrap_or_else(|| AttemptId::new("no-attempt").expect("an id")),
        world,
    }
}

fn watching() -> World {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.shop().runs.insert(path("console"), Run::Hangs);
    world.shop().pagers_take = false;
    world.shop().receipts_are_written = false;
    world.deploy("v2");
    world.run("53s");
    world
}

fn breaching() -> World {
    let mut world = watching();
    world.show("error-rate", Sample::Value(0.2));
    world.run("30s");
    world
}

fn disarmed() -> World {
    let mut world = World::proven();
    world.show("error-rate", Sample::Value(0.2));
    world.sicken("v2", "error-rate", 0.2);
    world.run("1m");
    world.deploy("v2");
    world.run("1m");
    world
}

fn veto() -> World {
    let mut world = watching();
    shop_trigger(&mut world.config, "smoke-test").veto = duration("30s");
    world.observe("smoke-test");
    world
}

fn paged() -> World {
    let mut world = watching();
    world.observe("login-broken");
    world
}

fn rolling() -> World {
    let mut world = watching();
    world.observe("smoke-test");
    world
}

fn in_doubt() -> World {
    let mut world = rolling();
    let attempt = world.started()[0].attempt.clone();
    world.end_attempt(&attempt, Outcome::Unknown { why: "the process is gone".to_owned() });
    world
}

fn verifying() -> World {
    let mut world = rolling();
    world.run("30s");
    let attempt = world.started()[0].attempt.clone();
    world.end_attempt(&attempt, Outcome::Succeeded { receipt: None, output: String::new() });
    world
}

fn tried() -> World {
    let mut world = rolling();
    for _ in 0..2 {
        let attempt = world.started().last().expect("an attempt").attempt.clone();
        world.end_attempt(&attempt, Outcome::Failed { why: "exit 1".to_owned(), output: String::new() });
    }
    world
}

fn overtaken() -> World {
    let mut world = rolling();
    world.deploy("v3");
    world.run("23s");
    world
}

fn recovered() -> World {
    let mut world = verifying();
    let now = world.now;
    world.shop().serve(&version("v1"), now);
    world.run("1m");
    world
}

fn given_up() -> World {
    let mut world = paged();
    world.run("2h");
    world
}

fn frozen() -> World {
    let mut world = watching();
    world.tell(Happening::Frozen { duration: duration("1h"), why: "stocktaking".to_owned() });
    world
}

fn dry() -> World {
    let mut config = reference();
    config.mode = Mode::DryRun;
    let mut world = World::proven_with(config);
    world.deploy("v2");
    world.run("53s");
    world.observe("smoke-test");
    world
}

/// A rehearsal was asked for; nothing was looked at yet.
fn checking() -> World {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.shop().runs.insert(path("console"), Run::Hangs);
    world.shop().pagers_take = false;
    world.shop().receipts_are_written = false;
    world.tell(Happening::RehearsalAsked { bad: version("v13"), witness: None });
    world
}

fn rehearsal_deploying() -> World {
    let mut world = checking();
    world.run("53s");
    world
}

fn rehearsal_watching() -> World {
    let mut world = rehearsal_deploying();
    let now = world.now;
    world.shop().serve(&version("v13"), now);
    let attempt = world.started()[0].attempt.clone();
    world.end_attempt(&attempt, Outcome::Succeeded { receipt: None, output: String::new() });
    world.run("53s");
    world
}

fn rehearsal_rolling() -> World {
    let mut world = rehearsal_watching();
    world.observe("smoke-test");
    world
}

fn rehearsal_held() -> World {
    let mut world = rehearsal_watching();
    world.tell(Happening::Frozen { duration: duration("1h"), why: "stocktaking".to_owned() });
    world.run("31m");
    world
}

/// All of them, with their names.
pub(crate) fn all() -> Vec<(&'static str, State)> {
    vec![
        ("no deploy: nothing was ever deployed", of(World::new(reference()))),
        ("idle: v1 passed its watch, none is open", of(World::proven())),
        ("watching: v2 was deployed 53 s ago, all is clear", of(watching())),
        ("breaching: error-rate of v2 breaches since 30 s", of(breaching())),
        ("disarmed: error-rate was breaching before v2 was deployed", of(disarmed())),
        ("frozen: v2 is watched, automatic rollback is held", of(frozen())),
        ("veto: smoke-test of v2 fired, the path starts in 30 s", of(veto())),
        ("paged: login-broken of v2 asks a human", of(paged())),
        ("rolling: the pipeline goes back to v1", of(rolling())),
        ("in doubt: what became of the pipeline is unknown", of(in_doubt())),
        ("overtaken: v3 was deployed while the pipeline goes back to v1", of(overtaken())),
        ("verifying: the pipeline is done, its proof is awaited", of(verifying())),
        ("tried: both paths failed, a human is asked", of(tried())),
        ("recovered: v1 serves again, the firing has ended", of(recovered())),
        ("given up: nobody answered, the firing and the watch have ended", of(given_up())),
        ("checking: a rehearsal of v13 was asked for, nothing is deployed", of(checking())),
        ("deploying: a rehearsal deploys v13", of(rehearsal_deploying())),
        ("rehearsing: v13 was deployed on purpose and is watched", of(rehearsal_watching())),
        ("rehearsing, rolling: the pipeline goes back from v13 to v1", of(rehearsal_rolling())),
        ("rehearsing, held: nothing fired on v13 in time, and a freeze holds its rollback", of(rehearsal_held())),
        ("dry: a dry run watches what production does about smoke-test", of(dry())),
    ]
}
