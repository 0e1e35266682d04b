//! R8, of pages that nobody acknowledges: whom they go to next, when, and until when.

use rollbackd_core::config::{Config, Mode};
use rollbackd_core::event::{Effect, Happening};
use rollbackd_core::name::PagerName;
use rollbackd_core::page::{Page, PageReason};
use rollbackd_core::time::Timestamp;

use crate::common::duration;
use crate::common::outside::Sample;
use crate::common::plan::{reference, shop};
use crate::common::world::World;

fn names(names: &[&str]) -> Vec<PagerName> {
    names.iter().map(|name| PagerName::new(*name).expect("a pager name")).collect()
}

/// Two minutes each: the one on call, then two leads together, then the boss.
fn three_levels() -> Config {
    let mut config = reference();
    let shop = shop(&mut config);
    shop.page = vec![names(&["oncall"]), names(&["lead", "other-lead"]), names(&["boss"])];
    shop.escalate_after = Some(duration("2m"));
    config
}

/// Who was sent the page for this reason, each with the time since it was opened.
fn told(world: &World, reason: PageReason) -> Vec<(String, u64)> {
    let opened = world.pages_opened().iter().find(|page| page.reason == reason).map(|page| page.opened_at);
    let since = |at: Timestamp| at.since(opened.expect("a page")).as_secs();
    let open = |page: &Page| page.reason == reason && page.resolved_at.is_none();
    world.pages_sent().filter(|(_, _, page)| open(page)).map(|(at, pager, _)| (pager.to_string(), since(at))).collect()
}

fn pairs(told: &[(&str, u64)]) -> Vec<(String, u64)> {
    told.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect()
}

#[test]
fn r8_a_page_that_nobody_acknowledges_goes_from_level_to_level_in_time() {
    let mut world = World::proven_with(three_levels());
    world.deploy("v2");
    world.run("1m");
    let firing = world.observe("login-broken");
    world.run("9m");
    let all = [("oncall", 0), ("lead", 120), ("other-lead", 120), ("boss", 240)];
    assert_eq!(told(&world, PageReason::Manual), pairs(&all));
    assert_eq!(world.own().pages[0].pagers, names(&["boss", "lead", "oncall", "other-lead"]).into_iter().collect());
    assert_eq!(world.next_wake().map(|at| at > world.now), Some(true), "the last level is the last");
    let story: Vec<&str> = world.firing(&firing).story.iter().map(|step| step.what.as_str()).collect();
    assert!(story.contains(&"nobody acknowledged the page: it goes to lead, other-lead as well"), "{story:?}");
    // All that were told are told that it is over.
    world.effects.clear();
    world.tell(Happening::Dismissed { firing, why: "a test".to_owned() });
    let is_over = |page: &Page| page.resolved_at.is_some();
    let over: Vec<&str> =
        world.pages_sent().filter(|(_, _, page)| is_over(page)).map(|(_, pager, _)| pager.as_str()).collect();
    assert_eq!(over, ["boss", "lead", "oncall", "other-lead"]);
}

#[test]
fn r8_an_acknowledged_page_goes_no_further_and_its_pagers_are_told_who_can_show_it() {
    let mut world = World::proven_with(three_levels());
    world.deploy("v2");
    let firing = world.observe("login-broken");
    world.run("119s");
    world.tell(Happening::Acknowledged { firing: firing.clone() });
    let seen: Vec<&Effect> = world
        .effects
        .iter()
        .map(|(_, effect)| effect)
        .filter(|each| matches!(each, Effect::AcknowledgePage { .. }))
        .collect();
    let [Effect::AcknowledgePage { pager, page }] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((pager.as_str(), page.acknowledged_at), ("oncall", Some(world.now)));
    world.run("8m");
    assert_eq!(told(&world, PageReason::Manual), pairs(&[("oncall", 0)]));
    // A second word of it is no news, and a later page is a question of its own.
    let before = world.journal.len();
    world.tell(Happening::Acknowledged { firing });
    assert_eq!(world.journal.len(), before);
    world.run("3m");
    assert_eq!(told(&world, PageReason::BudgetSpent), pairs(&[("oncall", 0), ("lead", 120), ("other-lead", 120)]));
}

#[test]
fn r8_a_page_that_is_over_goes_no_further() {
    let mut world = World::proven_with(three_levels());
    world.deploy("v2");
    let firing = world.observe("login-broken");
    world.run("1m");
    world.tell(Happening::Dismissed { firing, why: "a test".to_owned() });
    world.run("10m");
    assert_eq!(told(&world, PageReason::Manual), pairs(&[("oncall", 0)]));
}

#[test]
fn r8_a_page_goes_on_after_a_restart_and_an_acknowledgement_is_said_again() {
    let mut world = World::proven_with(three_levels());
    world.deploy("v2");
    let firing = world.observe("login-broken");
    world.run("1m");
    world.restart();
    world.run("2m");
    assert_eq!(told(&world, PageReason::Manual), pairs(&[("oncall", 0), ("lead", 120), ("other-lead", 120)]));
    world.tell(Happening::Acknowledged { firing });
    world.effects.clear();
    world.restart();
    let seen = |(_, effect): &&(Timestamp, Effect)| matches!(effect, Effect::AcknowledgePage { .. });
    assert_eq!(world.effects.iter().filter(seen).count(), 3);
}

#[test]
fn r8_a_page_that_can_not_be_acknowledged_stays_with_the_first_level() {
    let mut world = World::proven_with(three_levels());
    world.deploy("v2");
    world.show("p99-latency", Sample::Missing);
    world.run("20m");
    assert_eq!(told(&world, PageReason::Blind), pairs(&[("oncall", 0)]));
}

#[test]
fn r12_a_dry_run_takes_no_page_to_another_level() {
    let mut world = World::proven_with(three_levels());
    world.deploy("v2");
    world.observe("login-broken");
    world.config.mode = Mode::DryRun;
    world.effects.clear();
    world.restart();
    world.run("5m");
    assert!(!world.effects.iter().any(|(_, effect)| matches!(effect, Effect::Page { .. })));
    assert_eq!(world.own().pages[0].pagers.len(), 1, "nor is it recorded as if it were");
}

#[test]
fn a_page_with_one_level_alone_goes_nowhere_else_and_wakes_nobody_for_it() {
    let mut config = three_levels();
    shop(&mut config).page.truncate(1);
    let mut world = World::proven_with(config);
    world.deploy("v2");
    world.observe("login-broken");
    assert_eq!(world.own().pages[0].escalates_at(), None);
    world.run("9m");
    assert_eq!(told(&world, PageReason::Manual), pairs(&[("oncall", 0)]));
}
