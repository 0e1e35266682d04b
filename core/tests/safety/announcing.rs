//! R8 and R12, of what other systems are told: that a trigger fired, and how that ended, each until it is taken.

use rollbackd_core::announcement::Announcement;
use rollbackd_core::config::{Config, Mode};
use rollbackd_core::event::Effect;
use rollbackd_core::name::AnnouncerName;

use crate::common::plan::{reference, shop};
use crate::common::world::World;
use crate::common::{path, version};

fn announcing() -> Config {
    let mut config = reference();
    shop(&mut config).announce = vec![AnnouncerName::new("graphs").expect("an announcer name")];
    config
}

fn told(world: &World) -> Vec<Announcement> {
    let announcement = |(_, effect): &(_, Effect)| match effect {
        Effect::Announce { announcement, .. } => Some(announcement.as_ref().clone()),
        Effect::StartAttempt(_)
        | Effect::FollowAttempt { .. }
        | Effect::StopAttempt { .. }
        | Effect::Page { .. }
        | Effect::AcknowledgePage { .. }
        | Effect::PublishReceipt { .. } => None,
    };
    world.effects.iter().filter_map(announcement).collect()
}

#[test]
fn r8_a_firing_is_announced_when_it_begins_and_when_it_ends() {
    let mut world = World::proven_with(announcing());
    let deploy = world.deploy("v2");
    let firing = world.observe("smoke-test");
    world.run("10m");
    let [begun, over]: [Announcement; 2] = told(&world).try_into().expect("two announcements");
    for each in [&begun, &over] {
        assert_eq!((&each.firing, each.deploy.as_ref()), (&firing, Some(&deploy)));
        assert_eq!((each.version.clone(), each.target.clone()), (Some(version("v2")), Some(version("v1"))));
        assert_eq!(each.trigger.as_str(), "smoke-test");
    }
    assert!(begun.ended.is_none());
    let ended = over.ended.expect("its end");
    let known = world.firing(&firing);
    assert_eq!(Some(ended.at), known.recovered_at);
    assert_eq!((ended.recovered, ended.outcome, ended.receipt_number), (true, "recovered", 1));
    assert_eq!(ended.path, Some(path("pipeline")));
    assert!(known.announced.beginning_owed.is_empty() && known.announced.end_owed.is_empty());
}

#[test]
fn r8_an_announcement_that_is_not_taken_is_owed_after_a_restart_the_beginning_before_the_end() {
    let mut world = World::proven_with(announcing());
    world.shop().announcers_take = false;
    world.deploy("v2");
    world.observe("smoke-test");
    world.run("10m");
    world.shop().announcers_take = true;
    world.effects.clear();
    world.restart();
    assert_eq!(told(&world).iter().map(|each| each.ended.is_some()).collect::<Vec<_>>(), [false, true]);
    world.run("1m");
    world.effects.clear();
    world.restart();
    assert!(told(&world).is_empty(), "what was taken is not told again");
}

#[test]
fn r12_a_dry_run_announces_nothing() {
    let mut config = announcing();
    config.mode = Mode::DryRun;
    let mut world = World::proven_with(config);
    world.deploy("v2");
    world.observe("smoke-test");
    world.run("2h");
    assert!(world.ended("smoke-test").is_some());
    assert!(told(&world).is_empty());
    world.config.mode = Mode::Live;
    world.effects.clear();
    world.restart();
    assert!(told(&world).is_empty(), "nor is it owed once it is live");
}
