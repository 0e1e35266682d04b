//! R8, of pages: what each is about, its key, and until when a human is needed.

use rollbackd_core::config::Action;
use rollbackd_core::event::Happening;
use rollbackd_core::firing::{FiringEnd, Outcome, Stage};
use rollbackd_core::page::{Page, PageReason};

use crate::common::outside::{Run, Sample};
use crate::common::plan::{reference, shop_trigger};
use crate::common::world::{World, is_conflict};
use crate::common::{duration, path, version};

fn open(world: &World) -> Vec<PageReason> {
    let pages = world.own().pages.iter();
    pages.filter(|page| page.resolved_at.is_none()).map(|page| page.reason).collect()
}

/// Both paths of the reference service fail soon.
fn paths_fail(world: &mut World) {
    for name in ["pipeline", "console"] {
        world.shop().runs.insert(path(name), Run::Fails(duration("5s")));
    }
}

#[test]
fn r8_a_page_says_what_it_is_about() {
    let mut world = World::proven();
    let deploy = world.deploy("v2");
    world.run("5m");
    let firing = world.observe("login-broken");
    world.show("p99-latency", Sample::Missing);
    world.run("2m");
    let pages = world.pages_opened();
    let [manual, blind]: &[Page; 2] = pages.as_slice().try_into().expect("two pages");
    assert_eq!((manual.reason, blind.reason), (PageReason::Manual, PageReason::Blind));
    assert_eq!((&manual.firing, &blind.firing), (&Some(firing), &None));
    for (page, by) in [(manual, "login-broken"), (blind, "p99-latency")] {
        assert_eq!(page.deploy.as_ref(), Some(&deploy), "{page:?}");
        assert_eq!(page.version, Some(version("v2")), "{page:?}");
        assert_eq!(page.trigger.as_ref().map(ToString::to_string).as_deref(), Some(by));
    }
    assert!(manual.summary.contains("login-broken fired on v2;"), "{}", manual.summary);
}

#[test]
fn r8_a_page_tells_the_clock_the_ways_back_and_how_to_answer() {
    let mut world = World::proven();
    world.deploy("v2");
    world.observe("smoke-test");
    world.run("20m");
    assert_eq!(world.own().running, Some(version("v1")), "the pipeline took a minute");
    world.deploy("v3");
    world.run("1m");
    let firing = world.observe("login-broken");
    world.run("11m");
    let pages: Vec<Page> = world.pages_opened();
    let about = |reason: PageReason| pages.iter().rev().find(|page| page.reason == reason).expect("a page");
    let [clock, target, pipeline, console, approve, dismiss, ack] = about(PageReason::Manual).details.as_slice() else {
        panic!("{:?}", about(PageReason::Manual).details)
    };
    assert!(
        clock.starts_with("observed at 2026-11-23T11:0") && clock.ends_with("; the budget of 10m has 10m left"),
        "{clock}"
    );
    assert_eq!(target, "the version to return to is v1");
    assert_eq!(pipeline, "path pipeline took 1m last time; never rehearsed");
    assert_eq!(console, "path console has not brought a version back yet; never rehearsed");
    assert_eq!(approve, &format!("to roll back: rollbackd approve {firing}"));
    assert_eq!(dismiss, &format!("to leave it: rollbackd dismiss {firing} --why TEXT"));
    assert_eq!(ack, &format!("seen: rollbackd ack {firing}"));
    let spent = &about(PageReason::BudgetSpent).details[0];
    assert!(spent.ends_with("10m ago; the budget of 10m is spent"), "{spent}");
}

#[test]
fn r8_the_page_that_no_path_is_left_says_how_each_failed_and_a_failed_path_alone_pages_nobody() {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.shop().runs.insert(path("console"), Run::Hangs);
    world.deploy("v2");
    world.observe("smoke-test");
    let failed = |why: &str| Outcome::Failed { why: why.to_owned(), output: String::new() };
    let first = world.started()[0].attempt.clone();
    world.end_attempt(&first, failed("it conflicts in src/pay.rs,\nto roll back: rm"));
    assert_eq!(world.pages_opened(), [], "the next path has started");
    let second = world.started()[1].attempt.clone();
    world.end_attempt(&second, failed("exit status 1"));
    let page = world.pages_opened().pop().expect("a page");
    assert_eq!(page.reason, PageReason::NoPathLeft);
    let failed: Vec<&String> = page.details.iter().filter(|line| line.contains("failed: ")).collect();
    assert_eq!(
        failed,
        ["path pipeline failed: it conflicts in src/pay.rs, to roll back: rm", "path console failed: exit status 1"]
    );
}

#[test]
fn r8_a_page_where_nothing_is_rolled_back_names_no_way_back() {
    let mut world = World::proven();
    world.deploy("v2");
    world.observe("data-corruption");
    let details = world.pages_opened().pop().expect("a page").details;
    assert!(details[0].ends_with("; no budget"), "{details:?}");
    assert!(!details.iter().any(|line| line.starts_with("path ") || line.starts_with("to roll back")), "{details:?}");
}

#[test]
fn r8_each_page_for_one_reason_has_its_own_key_while_the_ones_before_are_owed() {
    let mut world = World::proven();
    world.shop().pagers_take = false;
    paths_fail(&mut world);
    world.deploy("v2");
    let firing = world.observe("smoke-test");
    for _ in 0..2 {
        world.run("30s");
        world.tell(Happening::Approved { firing: firing.clone() });
    }
    world.run("30s");
    let keys: Vec<String> = world.pages_opened().iter().map(|page| page.id.to_string()).collect();
    let first = format!("{firing}-no_path_left");
    assert_eq!(keys, [first.clone(), format!("{first}-2"), format!("{first}-3")]);
}

#[test]
fn r8_a_remote_that_says_twice_that_it_waits_pages_once() {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.deploy("v2");
    world.observe("smoke-test");
    let attempt = world.started()[0].attempt.clone();
    for _ in 0..2 {
        world.tell(Happening::AttemptWaits { attempt: attempt.clone(), why: "protected environment".to_owned() });
    }
    assert_eq!(open(&world), [PageReason::RemoteWaits]);
}

#[test]
fn r8_the_pages_about_a_watch_are_over_when_it_ends() {
    for superseded in [false, true] {
        let mut world = World::proven();
        world.deploy("v2");
        world.show("p99-latency", Sample::Missing);
        world.run("5m");
        assert_eq!(open(&world), [PageReason::Blind]);
        if superseded {
            world.deploy("v3");
        } else {
            world.run("27m");
        }
        assert_eq!(open(&world), [], "superseded {superseded}");
    }
}

#[test]
fn r8_a_watch_is_blind_until_everything_is_seen_again_and_that_ends_no_other_page() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.show("error-rate", Sample::Value(0.2));
    world.run("1m");
    world.deploy("v2");
    world.run("5m");
    world.show("p99-latency", Sample::Missing);
    world.run("5m");
    assert_eq!(open(&world), [PageReason::DidNotHelp, PageReason::Blind], "the other trigger is seen all the time");
    world.show("p99-latency", Sample::Value(0.2));
    world.run("1m");
    assert_eq!(open(&world), [PageReason::DidNotHelp]);
}

#[test]
fn r8_what_has_ended_is_not_acknowledged_for_the_page_of_another() {
    let mut world = World::proven();
    world.deploy("v2");
    let dismissed = world.observe("login-broken");
    world.tell(Happening::Dismissed { firing: dismissed.clone(), why: "it works".to_owned() });
    world.observe("data-corruption");
    assert!(is_conflict(&world.tell(Happening::Acknowledged { firing: dismissed })));
    assert_eq!(open(&world), [PageReason::Manual]);
}

#[test]
fn r8_what_was_left_to_a_human_is_over_when_production_is_back_and_not_before() {
    let mut world = World::proven();
    paths_fail(&mut world);
    world.deploy("v2");
    world.observe("smoke-test");
    world.run("40m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::NotRecovered));
    let left = open(&world);
    assert!(left.contains(&PageReason::NoPathLeft), "{left:?}");
    let other = world.observe("login-broken");
    world.tell(Happening::Dismissed { firing: other, why: "it works".to_owned() });
    assert_eq!(open(&world), left, "that another one was dismissed helps nobody");
    world.shop().runs.insert(path("pipeline"), Run::Succeeds(duration("1m")));
    world.tell(Happening::RollbackAsked { path: None, to: Some(version("v1")) });
    world.run("5m");
    assert_eq!(world.ended("human"), Some(FiringEnd::Recovered));
    assert_eq!(open(&world), []);
}

#[test]
fn r9_what_still_shows_the_version_before_is_nobodys_recovery() {
    let mut world = World::proven();
    // The event comes at once, and v1 is seen to serve for some minutes more.
    world.announce(crate::common::world::report("v2"));
    let firing = world.observe("login-broken");
    world.run("3m");
    assert!(matches!(world.firing(&firing).stage, Stage::Paged { .. }), "{:?}", world.firing(&firing).stage);
    assert_eq!(world.firing(&firing).proof.serving_at, None);
}

#[test]
fn r8_a_page_about_a_metric_leads_to_its_chart() {
    let mut config = reference();
    config.graph_url = Some("https://prometheus.example.com".to_owned());
    shop_trigger(&mut config, "error-rate").action = Action::Page;
    let mut world = World::proven_with(config);
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("5m");
    let page = world.pages_opened().pop().expect("a page");
    let chart: Vec<&str> = page.details.iter().filter_map(|line| line.strip_prefix("chart: ")).collect();
    assert_eq!(
        chart,
        ["https://prometheus.example.com/graph?g0.expr=%28bad%29%20%2F%20%28total%29&g0.tab=0&g0.range_input=18m"]
    );
    world.observe("login-broken");
    let manual = world.pages_opened().pop().expect("a page");
    assert!(!manual.details.iter().any(|line| line.starts_with("chart: ")), "nothing is drawn of a report");
}
