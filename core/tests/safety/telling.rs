//! R8 and R14: one receipt for each firing, pages until they are taken, and events that are hints and nothing more.

use rollbackd_core::event::{DeployReport, Effect, Happening, Reply};
use rollbackd_core::firing::{FiringEnd, Stage};
use rollbackd_core::name::{PagerName, Version};
use rollbackd_core::page::{Page, PageReason};
use rollbackd_core::{HUMAN, view};

use crate::common::outside::Run;
use crate::common::plan::{SHOP, fleet, reference, shop, shop_trigger};
use crate::common::world::{World, is_conflict, refusal, report};
use crate::common::{duration, path, service, trigger, version};

fn sent(world: &World) -> Vec<(PagerName, Page)> {
    world.pages_sent().map(|(_, pager, page)| (pager.clone(), page.clone())).collect()
}

#[test]
fn r8_every_end_of_a_firing_is_one_receipt_and_the_numbers_have_no_gaps() {
    let names = [SHOP, "other"];
    let mut world = World::proven_with(fleet(&names));
    let other = service("other");
    world.deploy("v2");
    world.deploy_of(&other, report("v2"));
    let dismissed = world.observe("login-broken");
    world.tell(Happening::Dismissed { firing: dismissed, why: "no".to_owned() });
    let acknowledged = world.observe("data-corruption");
    world.tell(Happening::Acknowledged { firing: acknowledged });
    world
        .tell_of(&other, Happening::Reported { trigger: trigger("smoke-test"), note: None, about: Default::default() });
    world.observe("login-broken");
    world.run("5m");
    world.observe("smoke-test");
    world.run("5m");
    world.deploy("v3");
    world.observe("login-broken");
    world.run("2h");
    let all = world.state.services.values().flat_map(|own| &own.firings);
    assert!(all.clone().all(|firing| matches!(firing.stage, Stage::Ended { published: true, .. })));
    assert_eq!(world.receipts(), (1..=all.count() as u64).collect::<Vec<_>>());
    assert_eq!(world.state.last_receipt, 6);
    assert_eq!(world.state.last_published, Some((6, "ab".repeat(32))));
}

#[test]
fn r8_a_firing_that_nobody_answers_ends_in_its_receipt_by_time_alone() {
    let mut world = World::proven();
    world.deploy("v2");
    world.observe("login-broken");
    world.run("2h");
    assert_eq!(world.ended("login-broken"), Some(FiringEnd::Paged));
    assert_eq!(world.receipts(), [1]);
    assert!(world.own().watch.is_none());
}

#[test]
fn r8_every_way_of_a_rollback_ends_in_its_receipt_by_time_alone() {
    for run in [Run::Hangs, Run::Lies(duration("1m")), Run::Fails(duration("1m")), Run::Succeeds(duration("1m"))] {
        let mut world = World::proven();
        for name in ["pipeline", "console"] {
            world.shop().runs.insert(path(name), run);
        }
        world.deploy("v2");
        world.observe("smoke-test");
        world.run("3h");
        let expected = if matches!(run, Run::Succeeds(_)) { FiringEnd::Recovered } else { FiringEnd::NotRecovered };
        assert_eq!(world.ended("smoke-test"), Some(expected), "{run:?}");
        assert_eq!(world.receipts(), [1], "{run:?}");
    }
}

#[test]
fn r8_a_receipt_that_was_not_written_is_written_after_a_restart_under_its_number() {
    let mut world = World::proven();
    world.shop().receipts_are_written = false;
    world.deploy("v2");
    let firing = world.observe("login-broken");
    world.tell(Happening::Dismissed { firing: firing.clone(), why: "no".to_owned() });
    assert!(matches!(world.firing(&firing).stage, Stage::Ended { published: false, receipt: 1, .. }));
    world.effects.clear();
    world.shop().receipts_are_written = true;
    world.restart();
    assert!(matches!(world.effects[0].1, Effect::PublishReceipt { .. }));
    world.settle();
    assert!(matches!(world.firing(&firing).stage, Stage::Ended { published: true, receipt: 1, .. }));
    world.restart();
    assert_eq!(world.effects.len(), 1, "nothing is promised any more");
}

#[test]
fn r8_a_receipt_that_is_not_written_is_not_forgotten_for_newer_ones() {
    let mut world = World::proven();
    world.shop().receipts_are_written = false;
    world.deploy("v2");
    for _ in 0..30 {
        let firing = world.observe("login-broken");
        world.tell(Happening::Dismissed { firing, why: "no".to_owned() });
        world.run("1s");
    }
    assert_eq!(world.own().firings.len(), 30);
    assert_eq!(world.receipts(), (1..=30).collect::<Vec<_>>());
}

#[test]
fn r8_a_page_that_is_not_taken_is_sent_again_after_a_restart_with_the_same_key() {
    let mut config = reference();
    shop(&mut config).page[0].push(PagerName::new("second").unwrap());
    let mut world = World::proven_with(config);
    world.shop().pagers_take = false;
    world.deploy("v2");
    world.observe("login-broken");
    let first = sent(&world);
    assert_eq!(first.len(), 2, "one for each pager");
    assert_eq!(first[0].1.id, first[1].1.id);
    world.tell(Happening::PageDelivered { page: first[0].1.id.clone(), pager: first[0].0.clone(), resolved: false });
    world.effects.clear();
    world.restart();
    let again = sent(&world);
    assert_eq!(again.len(), 1, "only who has not taken it");
    assert_eq!((&again[0].0, &again[0].1.id), (&first[1].0, &first[1].1.id));
    let shown =
        view::service(&world.config, &world.state, &rollbackd_core::board::Board::default(), &service(SHOP), world.now)
            .unwrap();
    assert_eq!(shown.pages[0].undelivered, [first[1].0.clone()]);
}

#[test]
fn r8_a_page_that_is_over_before_it_was_taken_is_still_owed() {
    let mut world = World::proven();
    world.shop().pagers_take = false;
    world.deploy("v2");
    let firing = world.observe("login-broken");
    world.tell(Happening::Dismissed { firing, why: "no".to_owned() });
    world.run("5m");
    let page = world.own().pages[0].clone();
    assert!(page.resolved_at.is_some() && !page.undelivered.is_empty() && !page.unresolved.is_empty());
    world.shop().pagers_take = true;
    world.restart();
    world.settle();
    assert!(world.own().pages.is_empty());
}

#[test]
fn r8_the_word_that_a_page_is_over_is_owed_as_well() {
    let mut world = World::proven();
    world.deploy("v2");
    let firing = world.observe("login-broken");
    world.shop().pagers_take = false;
    world.tell(Happening::Dismissed { firing, why: "no".to_owned() });
    let page = world.own().pages[0].clone();
    assert!(page.undelivered.is_empty() && !page.unresolved.is_empty());
    world.effects.clear();
    world.restart();
    assert_eq!(sent(&world).len(), 1);
}

#[test]
fn r8_the_same_reason_is_paged_once_while_it_is_open() {
    let mut world = World::proven();
    world.deploy("v2");
    let first = world.observe("login-broken");
    assert_eq!(world.observe("login-broken"), first, "the firing that is open already");
    assert_eq!(world.paged_for(), [PageReason::Manual]);
}

#[test]
fn r8_an_approved_page_is_over_and_a_second_one_for_the_same_reason_has_its_own_key_while_the_first_is_owed() {
    let mut world = World::proven();
    world.shop().pagers_take = false;
    for name in ["pipeline", "console"] {
        world.shop().runs.insert(path(name), Run::Fails(duration("1s")));
    }
    world.deploy("v2");
    world.observe("smoke-test");
    world.run("5s");
    let firing = world.fired("smoke-test").unwrap().id.clone();
    world.tell(Happening::Approved { firing });
    world.run("5s");
    let keys: Vec<String> = world
        .pages_opened()
        .iter()
        .filter(|page| page.reason == PageReason::NoPathLeft)
        .map(|page| page.id.to_string())
        .collect();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn r8_no_page_is_opened_about_a_firing_that_has_ended() {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Lies(duration("10s")));
    world.deploy("v2");
    world.observe("smoke-test");
    world.observe("login-broken");
    world.run("20s");
    // The daemon is away for hours: everything is due at the first wake.
    world.now = world.now + duration("5h");
    world.wake();
    assert!(world.own().open_firings().next().is_none());
    let about = |page: &&Page| page.resolved_at.is_none() && page.trigger == Some(trigger("login-broken"));
    let open: Vec<_> = world.own().pages.iter().filter(about).collect();
    assert!(open.is_empty(), "it is no page of the one that gave up: {open:?}");
    assert_eq!(world.receipts(), [1, 2]);
}

/// The pages for which a human is still needed.
fn open_pages(world: &World) -> Vec<PageReason> {
    world.own().pages.iter().filter(|page| page.resolved_at.is_none()).map(|page| page.reason).collect()
}

#[test]
fn r8_a_page_that_nobody_answered_is_not_over_because_its_firing_ended() {
    let mut world = World::proven();
    world.deploy("v2");
    let firing = world.observe("login-broken");
    world.run("2h");
    assert_eq!(world.ended("login-broken"), Some(FiringEnd::Paged));
    assert_eq!(open_pages(&world), [PageReason::Manual, PageReason::BudgetSpent]);
    assert!(sent(&world).iter().all(|(_, page)| page.resolved_at.is_none()), "no pager was told that it is over");
    let mut later = world.clone();
    assert_eq!(world.tell(Happening::Acknowledged { firing: firing.clone() }), Reply::Firing(firing));
    assert_eq!(open_pages(&world), []);
    later.deploy("v3");
    assert_eq!(open_pages(&later), []);
}

#[test]
fn r8_somebody_is_told_where_production_did_not_recover() {
    for budget in [None, Some(duration("3m"))] {
        let mut config = reference();
        shop_trigger(&mut config, "smoke-test").budget = budget;
        let mut world = World::proven_with(config);
        world.shop().runs.insert(path("pipeline"), Run::Lies(duration("10s")));
        world.deploy("v2");
        world.observe("smoke-test");
        world.run("45m");
        assert_eq!(world.ended("smoke-test"), Some(FiringEnd::NotRecovered));
        assert_eq!(open_pages(&world).len(), 1, "budget {budget:?}");
    }
}

#[test]
fn r8_an_answer_that_comes_too_late_is_a_conflict_that_says_why() {
    let mut world = World::proven();
    world.deploy("v2");
    let firing = world.observe("smoke-test");
    for what in [
        Happening::Approved { firing: firing.clone() },
        Happening::Dismissed { firing: firing.clone(), why: "no".to_owned() },
    ] {
        let reply = world.tell(what);
        assert!(is_conflict(&reply) && refusal(&reply).contains("the rollback is running"), "{reply:?}");
    }
    assert_eq!(world.tell(Happening::Acknowledged { firing: firing.clone() }), Reply::Firing(firing.clone()));
    world.run("5m");
    for what in [
        Happening::Approved { firing: firing.clone() },
        Happening::Dismissed { firing: firing.clone(), why: "no".to_owned() },
        Happening::Acknowledged { firing },
    ] {
        let reply = world.tell(what);
        assert!(is_conflict(&reply) && refusal(&reply).contains("has ended (recovered)"), "{reply:?}");
    }
    assert_eq!(world.receipts(), [1]);
}

#[test]
fn r14_an_event_names_only_what_the_config_and_the_ledger_have() {
    let mut world = World::proven();
    world.deploy("v2");
    let before = world.state.clone();
    let unknown = world.tell_of(&service("capstone-ap"), Happening::Deployed(report("v9")));
    assert!(refusal(&unknown).contains("capstone-ap"));
    for (what, says) in [
        (Happening::Reported { trigger: trigger("smoke-tset"), note: None, about: Default::default() }, "no trigger"),
        (
            Happening::Reported { trigger: trigger("error-rate"), note: None, about: Default::default() },
            "observed by Prometheus",
        ),
        (Happening::Reported { trigger: trigger(HUMAN), note: None, about: Default::default() }, "no trigger"),
        (Happening::Approved { firing: rollbackd_core::name::FiringId::new("nope").unwrap() }, "no firing"),
        (Happening::RollbackAsked { path: Some(path("bash")), to: None }, "no path"),
        (Happening::RollbackAsked { path: None, to: Some(version("evil")) }, "no version"),
    ] {
        let reply = world.tell(what.clone());
        assert!(refusal(&reply).contains(says), "{what:?}: {reply:?}");
    }
    assert_eq!(world.state, before, "what is refused leaves no trace");
}

#[test]
fn r14_no_text_of_an_event_reaches_what_is_run() {
    let mut world = World::proven();
    let evil = DeployReport {
        run_url: Some("https://evil/$(reboot)".to_owned()),
        key: Some("{{ service }}; reboot".to_owned()),
        ..report("v2")
    };
    world.deploy_of(&service(SHOP), evil);
    world.tell(Happening::Reported {
        trigger: trigger("smoke-test"),
        note: Some("{{ target.version }}; $(reboot)".to_owned()),
        about: Default::default(),
    });
    assert_eq!(world.started()[0].run, ["deploy", "v1"]);
    for bad in ["v1; reboot", "$(reboot)", "-rf", "../../etc/passwd\n", "{{ service }}", "v1 v2", ""] {
        assert!(Version::new(bad).is_err(), "{bad}");
    }
}

#[test]
fn r14_a_version_is_put_into_one_argument_as_it_is() {
    let mut world = World::new(reference());
    let tag = "ghcr.io/acme/shop@sha256:0a1b--x";
    world.deploy_of(&service(SHOP), DeployReport { previous: Some(version(tag)), ..report("v2") });
    world.observe("smoke-test");
    assert_eq!(world.started()[0].run, ["deploy", tag]);
}
