//! The seams of the shell: pages in their order, what goes on after a restart, metrics that tell the truth.

#![expect(clippy::unwrap_used, reason = "a part of tests, which clippy sees only in the tests themselves")]

mod shell_world;

use std::collections::BTreeSet;

use rollbackd_core::config::Mode;
use rollbackd_core::event::{Effect, Event, Happening, Reply};
use rollbackd_core::name::{FiringId, PageId, PagerName};
use rollbackd_core::page::{Page, PageReason};
use rollbackd_core::time::Timestamp;
use serde_json::Value;

use shell_world::{Receiver, World, next, service};

fn page(number: usize) -> Page {
    let pagers = BTreeSet::from([PagerName::new("oncall").unwrap()]);
    Page {
        id: PageId::new(format!("api-page-{number}")).unwrap(),
        service: service(),
        reason: PageReason::Manual,
        summary: format!("page {number}"),
        details: Vec::new(),
        firing: Some(FiringId::new("api-f-1").unwrap()),
        deploy: None,
        version: None,
        trigger: None,
        opened_at: Timestamp::from_milliseconds(1),
        resolved_at: None,
        acknowledged_at: None,
        levels_left: Vec::new(),
        escalates_at: None,
        undelivered: pagers.clone(),
        pagers,
        unresolved: BTreeSet::new(),
    }
}

fn resolved(page: Page) -> Page {
    Page { resolved_at: Some(Timestamp::from_milliseconds(2)), unresolved: page.pagers.clone(), ..page }
}

fn deliver(page: Page) -> Effect {
    Effect::Page { service: service(), pager: PagerName::new("oncall").unwrap(), page }
}

fn told(page: &Value) -> (String, String) {
    let text = |field: &str| page[field].as_str().unwrap_or_default().to_owned();
    (text("summary"), text("status"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_page_that_is_over_in_the_same_moment_comes_before_the_word_that_it_is_over() {
    const PAGES: usize = 300;
    let (world, mut pages) = World::start(Mode::Live).await;
    for number in 0..PAGES {
        world.performer.perform(deliver(page(number)));
        world.performer.perform(deliver(resolved(page(number))));
    }
    let mut open = BTreeSet::new();
    for _ in 0..2 * PAGES {
        let (summary, status) = told(&next(&mut pages).await);
        match status.as_str() {
            "firing" => assert!(open.insert(summary)),
            _ => assert!(open.remove(&summary), "{summary} was over before it was told"),
        }
    }
}

#[tokio::test]
async fn a_page_that_nobody_took_before_the_restart_is_delivered_although_it_is_over() {
    let (mut world, _) = World::start(Mode::Live).await;
    world.receiver.takes(false);
    let running = world.run();
    let Reply::Firing(firing) = world.report().await else { panic!("no firing") };
    let why = "it works again".to_owned();
    world.ask(Happening::Dismissed { firing, why }).await;
    world.stop();
    running.await.unwrap();

    // A receiver of its own: a process that stops takes its tries with it, and here they go on.
    let (receiver, mut pages) = Receiver::start().await;
    let mut world = World::in_dir(world.dir, receiver, Mode::Live);
    assert_eq!(world.undelivered(), 1);
    let _running = world.run();
    assert!(world.shows("rollbackd_pages_undelivered{pager=\"oncall\"} 1"), "{}", world.metrics.text());
    assert!(world.shows("rollbackd_receipts_unpublished 1"), "{}", world.metrics.text());
    assert_eq!(next(&mut pages).await["status"], "firing");
    assert_eq!(next(&mut pages).await["status"], "resolved");
    world.until("no page is left", |world| world.shared.state().services[&service()].pages.is_empty()).await;
    world.until("the metric says so", |world| world.shows("rollbackd_pages_undelivered{pager=\"oncall\"} 0")).await;
}

#[tokio::test]
async fn a_dry_run_pages_nobody_about_its_journal() {
    let (world, mut pages) = World::start(Mode::DryRun).await;
    world.performer.journal_is_not_writable("the disk is full");
    world.performer.perform(deliver(page(1)));
    assert_eq!(told(&next(&mut pages).await).0, "page 1");
    assert!(pages.try_recv().is_err());

    let (world, mut pages) = World::start(Mode::Live).await;
    world.performer.journal_is_not_writable("the disk is full");
    world.performer.journal_is_back();
    world.performer.journal_is_not_writable("the disk is full");
    let (summary, status) = told(&next(&mut pages).await);
    assert!(summary.contains("the disk is full") && status == "firing", "{summary} {status}");
    world.performer.perform(deliver(page(1)));
    assert_eq!(told(&next(&mut pages).await).0, "page 1", "a disk that is full now and then pages once");
}

#[tokio::test]
async fn people_do_not_wait_behind_looks() {
    let (mut world, _pages) = World::start(Mode::Live).await;
    let (_, looks) = world.inbox.as_ref().unwrap();
    let looks = looks.clone();
    let look = || Event {
        service: service(),
        what: Happening::SmokeAnswered { at: Timestamp::from_milliseconds(1), healthy: true },
    };
    for _ in 0..1000 {
        let asked = rollbackd::door::Asked { event: look(), reply: None };
        looks.try_send(asked).unwrap();
    }
    let door = world.door.clone();
    let answer = door.ask(Event { service: service(), what: Happening::Thawed });
    tokio::pin!(answer);
    // The question stands in the queue before the loop starts.
    assert!(futures_util::poll!(&mut answer).is_pending());
    let _running = world.run();
    answer.await.unwrap();
    assert!(looks.capacity() < 1024, "the looks were taken first");
}
