//! A disk that is full while something happens outside. Alone in its process, whose file sizes it limits.

mod shell_world;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rollbackd_core::config::Mode;
use rollbackd_core::event::{Happening, Reply};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use shell_world::{World, next};

#[tokio::test]
async fn what_happens_while_the_disk_is_full_is_written_as_soon_as_there_is_room() {
    // Else the limit's signal would end the process before the write could fail.
    signal_hook::flag::register(Signal::XFSZ.as_raw(), Arc::new(AtomicBool::new(false))).unwrap();
    let hard = getrlimit(Resource::Fsize).maximum;
    let (mut world, mut pages) = World::start(Mode::Live).await;
    world.receiver.takes(false);
    let _loop = world.run();
    world.report().await;

    setrlimit(Resource::Fsize, Rlimit { current: Some(0), maximum: hard }).unwrap();
    world.receiver.takes(true);
    assert_eq!(next(&mut pages).await["status"], "firing");
    world.until("the journal can't be written", |world| !world.shared.journal_writable()).await;
    assert_eq!(world.undelivered(), 1, "nothing counts before it is durable");

    setrlimit(Resource::Fsize, Rlimit { current: hard, maximum: hard }).unwrap();
    // Comes before the next try of the loop itself.
    assert_eq!(world.ask(Happening::Thawed).await, Reply::Done);
    world.until("the page counts as taken", |world| world.undelivered() == 0).await;
}
