//! The path `git_revert` where the git server misbehaves: the promises of `contract.rs`, which asks platforms by HTTP alone.

use crate::contract::SECRET;
use crate::git_revert::World;
use crate::world::why;
use rollbackd_core::firing::Outcome;

#[tokio::test]
async fn a_server_that_refuses_to_be_read_fails_the_attempt_and_nothing_is_pushed() {
    for status in [401, 403, 404, 409, 422, 429, 500, 503] {
        let world = World::new().await;
        let before = world.tip("main");
        world.server.faults().unreadable = Some(status);
        let why = why(world.start().await);
        assert!(why.starts_with("failed:") && why.ends_with("nothing ran"), "{status}: {why}");
        assert!(!why.contains(SECRET), "{why}");
        assert_eq!((world.pushes(), world.tip("main")), (0, before), "{status}");
    }
}

#[tokio::test]
async fn a_push_that_is_refused_changes_nothing_and_the_branch_is_read_before_that_is_said() {
    for status in [401, 403, 404, 409, 422, 429, 500, 503] {
        let world = World::new().await;
        let before = world.tip("main");
        world.server.faults().refuses = Some(status);
        let why = why(world.start().await);
        // The branch shows that it is not there.
        assert!(why.starts_with("failed:") && why.ends_with("nothing ran"), "{status}: {why}");
        assert!(!why.contains(SECRET), "{why}");
        assert_eq!(world.tip("main"), before, "{status}");
    }
}

#[tokio::test]
async fn answers_that_break_off_are_no_answers() {
    let world = World::new().await;
    world.server.faults().cut_short = true;
    let outcome = world.start().await;
    assert!(matches!(&outcome, Outcome::Failed { why, .. } if why.ends_with("nothing ran")), "{outcome:?}");
    assert_eq!(world.pushes(), 0);
    world.server.faults().cut_short = false;
    assert!(matches!(world.start().await, Outcome::Succeeded { .. }));
}
