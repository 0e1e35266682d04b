//! `view`: what `status` and the API show, in the design's words.

use rollbackd_core::board::{Board, Shown};
use rollbackd_core::config::{Action, Limit};
use rollbackd_core::decide;
use rollbackd_core::event::{Event, Happening};
use rollbackd_core::reading::Look;
use rollbackd_core::view::{self, ServiceView, TriggerView};

use crate::common::outside::{Run, Sample};
use crate::common::plan::{SHOP, error_rate, p99_latency, reference, shop_trigger};
use crate::common::world::World;
use crate::common::{duration, path, service, trigger, version};

fn with_board(world: &World, board: &Board) -> ServiceView {
    view::service(&world.config, &world.state, board, &service(SHOP), world.now).expect("a service of the config")
}

fn shown(world: &World) -> ServiceView {
    with_board(world, &Board::default())
}

fn find<'a>(shown: &'a ServiceView, name: &str) -> &'a TriggerView {
    shown.triggers.iter().find(|trigger| trigger.name.as_str() == name).expect("a trigger of the config")
}

/// The state of the watch that is shown, in the design's word.
fn watch_state(world: &World) -> &'static str {
    shown(world).watch.expect("a watch").state
}

#[test]
fn a_watch_says_what_it_is_doing() {
    let mut config = reference();
    shop_trigger(&mut config, "smoke-test").veto = duration("30s");
    let mut world = World::proven_with(config);
    world.shop().runs.insert(path("pipeline"), Run::Lies(duration("1m")));
    world.deploy("v2");
    assert_eq!(watch_state(&world), "watching");
    world.observe("login-broken");
    assert_eq!(watch_state(&world), "paged");
    world.observe("smoke-test");
    assert_eq!(watch_state(&world), "firing");
    world.run("31s");
    assert_eq!(watch_state(&world), "rolling_back");
    world.run("1m");
    assert_eq!(watch_state(&world), "verifying");
}

#[test]
fn a_watch_is_not_paged_by_what_is_open_about_an_older_deploy() {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.deploy("v2");
    world.observe("smoke-test");
    world.deploy("v3");
    assert_eq!(shown(&world).firings.len(), 1, "the rollback of v2 is not stopped");
    assert_eq!(watch_state(&world), "watching");
    assert_eq!(find(&shown(&world), "smoke-test").observed_at, None, "nothing fired on v3");
}

#[test]
fn the_version_to_return_to_is_shown_with_and_without_a_watch() {
    let mut world = World::new(reference());
    assert_eq!(shown(&world).target, None);
    world = World::proven();
    assert_eq!(shown(&world).target, None, "nothing else has passed");
    world.deploy("v2");
    assert_eq!(shown(&world).target, Some(version("v1")));
    world.run("31m");
    assert_eq!(shown(&world).target, Some(version("v1")), "no watch is open");
}

#[test]
fn a_page_is_shown_while_a_human_is_needed_or_a_pager_has_not_taken_it() {
    let mut world = World::proven();
    world.deploy("v2");
    let taken = world.observe("login-broken");
    assert_eq!(shown(&world).pages.len(), 1, "taken, and a human is needed");
    // The pager is down: it is not told that this one is over, and does not learn of the next.
    world.shop().pagers_take = false;
    world.tell(Happening::Dismissed { firing: taken, why: "it works".to_owned() });
    assert_eq!(world.own().pages.len(), 1);
    assert!(shown(&world).pages.is_empty(), "that it is over is all that is owed");
    let lost = world.observe("login-broken");
    world.tell(Happening::Dismissed { firing: lost, why: "it works".to_owned() });
    let pages = shown(&world).pages;
    assert_eq!(pages.len(), 1, "nobody was told of it");
    assert_eq!(pages[0].undelivered, pages[0].pagers);
}

#[test]
fn all_firings_are_listed_with_their_ends() {
    let mut world = World::proven();
    world.deploy("v2");
    let dismissed = world.observe("login-broken");
    world.tell(Happening::Dismissed { firing: dismissed.clone(), why: "it works".to_owned() });
    let open = world.observe("data-corruption");
    let listed = view::firings(&world.state);
    let said: Vec<_> = listed.iter().map(|each| (each.id.clone(), each.state, each.outcome)).collect();
    assert_eq!(said, [(dismissed, "ended", Some("dismissed")), (open, "paged", None)]);
}

#[test]
fn a_trigger_shows_when_it_fired_whether_alone_or_joined_or_as_a_shadow() {
    let mut config = reference();
    shop_trigger(&mut config, "p99-latency").action = Action::Shadow;
    let mut world = World::proven_with(config);
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.sicken("v2", "error-rate", 0.2);
    world.sicken("v2", "p99-latency", 0.9);
    world.deploy("v2");
    world.run("10s");
    let reported_at = world.now;
    world.observe("smoke-test");
    world.run("8m");
    let shown = shown(&world);
    assert_eq!(find(&shown, "smoke-test").observed_at, Some(reported_at));
    let joined = world.fired("smoke-test").expect("it fired").joined[0].1;
    assert_eq!(find(&shown, "error-rate").observed_at, Some(joined));
    let shadowed = world.own().watch.as_ref().expect("a watch").triggers.get("p99-latency").unwrap().shadowed_at;
    assert!(shadowed.is_some());
    assert_eq!(find(&shown, "p99-latency").observed_at, shadowed);
    for (name, state) in [("smoke-test", "fired"), ("error-rate", "fired"), ("p99-latency", "fired")] {
        assert_eq!(find(&shown, name).state, state, "{name}");
    }
    assert_eq!((find(&shown, "login-broken").observed_at, find(&shown, "login-broken").state), (None, "clear"));
}

#[test]
fn a_trigger_is_seen_once_a_look_has_said_something_of_the_version_under_watch() {
    let mut world = World::proven();
    let seen = |world: &World, name: &str, look: Option<Look>| {
        let mut board = Board::default();
        let last = Shown { look, breaching_since: None, may_fire: true, answered_until: None, so_far: None };
        board.put(&world.config, &service(SHOP), &trigger(name), last);
        find(&with_board(world, &board), name).seen
    };
    assert_eq!(seen(&world, "error-rate", None), None, "no watch is open");
    world.deploy("v2");
    assert_eq!(seen(&world, "smoke-test", None), None, "nobody looks at what is reported");
    for of_the_version_before in [None, Some(Look::Clear(0.0)), Some(Look::Breach(0.2))] {
        assert_eq!(seen(&world, "error-rate", of_the_version_before), Some(false), "{of_the_version_before:?}");
    }
    for answer in [Look::LowTraffic, Look::NoTraffic, Look::NoData, Look::Error, Look::Partial] {
        assert_eq!(seen(&world, "error-rate", Some(answer)), Some(true), "{answer:?}");
    }
    world.run("1m");
    for now in [None, Some(Look::Clear(0.0))] {
        assert_eq!(seen(&world, "error-rate", now), Some(true), "{now:?}");
    }
}

#[test]
fn a_trigger_is_shown_by_its_last_look_and_else_by_its_last_turn() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    assert_eq!(find(&shown(&world), "error-rate").state, "no_data", "not seen yet");
    world.run("30s");
    assert_eq!(find(&shown(&world), "error-rate").state, "breaching", "by its turn");
    let words = [
        (Look::Breach(0.2), "breaching"),
        (Look::Clear(0.01), "clear"),
        (Look::LowTraffic, "low_traffic"),
        (Look::NoData, "no_data"),
        (Look::Error, "error"),
        (Look::Partial, "error"),
    ];
    for (look, word) in words {
        let seen =
            Shown { look: Some(look), breaching_since: None, may_fire: true, answered_until: None, so_far: None };
        let mut board = Board::default();
        board.put(&world.config, &service(SHOP), &trigger("error-rate"), seen);
        let shown = with_board(&world, &board);
        assert_eq!(find(&shown, "error-rate").state, word);
        assert_eq!(find(&shown, "error-rate").value, look.value());
    }
}

#[test]
fn what_was_seen_of_a_service_is_forgotten_whole_and_of_no_other() {
    let mut world = World::proven();
    world.deploy("v2");
    let mut board = Board::default();
    let answers = world.outside[SHOP].answers(
        &trigger("error-rate"),
        &world.metric(&service(SHOP), &trigger("error-rate")),
        world.now,
        world.now,
    );
    let deploy = world.own().watch.as_ref().expect("a watch").deploy.clone();
    let what = Happening::looked_whole(deploy, trigger("error-rate"), answers, None);
    let looked = Event { service: service(SHOP), what };
    let verdict = decide(&world.config, &world.state, &looked, world.now).verdict.expect("a verdict");
    for name in [SHOP, "billing"] {
        board.put(&world.config, &service(name), &trigger("error-rate"), verdict.into());
    }
    board.forget(&service(SHOP));
    assert_eq!(board.get(&service(SHOP), &trigger("error-rate")), None);
    assert_eq!(board.get(&service("billing"), &trigger("error-rate")), Some(verdict.into()));
}

#[test]
fn a_trigger_that_was_breaching_before_the_deploy_is_shown_as_disarmed() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.show("error-rate", Sample::Value(0.2));
    world.run("1m");
    world.deploy("v2");
    world.run("1m");
    assert_eq!(find(&shown(&world), "error-rate").state, "disarmed");
}

#[test]
fn a_trigger_that_is_spent_stays_fired_when_its_firing_is_forgotten() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("150s");
    let own = world.state.services.get_mut(SHOP).expect("the reference service");
    own.firings.clear();
    assert_eq!(find(&shown(&world), "error-rate").state, "fired");
}

#[test]
fn a_limit_that_was_written_as_a_percentage_is_shown_as_one() {
    let interval = duration("15s");
    assert!(view::is_percentage(&error_rate(interval, duration("2m"))));
    assert!(!view::is_percentage(&p99_latency(interval, duration("5m"))));
    let mut below = error_rate(interval, duration("2m"));
    for shown_as_percentage in [false, true] {
        below.condition = rollbackd_core::config::Condition::Below(Limit::Fixed { value: 0.5, shown_as_percentage });
        assert_eq!(view::is_percentage(&below), shown_as_percentage);
    }
}

#[test]
fn a_path_is_due_for_a_rehearsal_at_once_and_then_so_long_after_its_last() {
    let mut world = World::proven();
    assert_eq!(shown(&world).paths[0].rehearsal_due_at, Some(world.now), "it was never rehearsed");
    world.sicken("v13-bad", "error-rate", 0.2);
    world.tell(Happening::RehearsalAsked { bad: version("v13-bad"), witness: None });
    world.run("10m");
    let recovered_at = world.own().rehearsed[&path("pipeline")].at;
    assert_eq!(shown(&world).paths[0].rehearsal_due_at, Some(recovered_at + duration("720h")));
}
