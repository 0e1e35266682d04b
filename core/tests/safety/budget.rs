//! R9: when the clock starts, which path may follow, and what a spent budget does.

use std::time::Duration;

use rollbackd_core::event::{Effect, Happening};
use rollbackd_core::firing::{FiringEnd, Outcome, Stage, Took};
use rollbackd_core::page::PageReason;

use super::attempts::{failed, rolling};
use crate::common::outside::Run;
use crate::common::plan::{reference, shop_trigger};
use crate::common::world::{World, refusal};
use crate::common::{duration, path, version};

#[test]
fn r9_the_clock_starts_when_the_data_says_so_however_late_the_daemon_looks() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    // The first slot after 10:40:07 is 10:40:15; for two minutes from there.
    let mut late = world.clone();
    world.run("5m");
    late.now = late.now + duration("4m");
    late.run("1m");
    let expected = crate::common::instant("2026-11-23T10:42:15Z");
    assert_eq!(world.fired("error-rate").unwrap().observed_at, expected);
    let firing = late.fired("error-rate").unwrap();
    assert_eq!(firing.observed_at, expected);
    assert!(firing.decided_at > expected + duration("1m"));
    assert_eq!(firing.budget_ends_at(), Some(expected + duration("5m")));
}

#[test]
fn r9_the_next_path_starts_at_once_where_one_fails_or_times_out() {
    let mut world = rolling();
    let attempt = world.started()[0].attempt.clone();
    world.end_attempt(&attempt, failed("exit 1"));
    assert_eq!(world.paths_started(), ["pipeline", "console"]);
    assert_eq!(world.started()[1].started_at, world.now);

    let mut config = reference();
    shop_trigger(&mut config, "smoke-test").budget = Some(duration("10m"));
    let mut world = World::proven_with(config);
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.deploy("v2");
    world.observe("smoke-test");
    let started_at = world.now;
    world.run("5m");
    assert_eq!(world.paths_started(), ["pipeline", "console"]);
    assert_eq!(world.started()[1].started_at, started_at + duration("4m"), "at its timeout, by a wake alone");
    assert!(world.effects.iter().any(|(_, effect)| matches!(effect, Effect::StopAttempt { .. })));
}

#[test]
fn r9_a_path_that_cannot_finish_in_what_is_left_is_not_started() {
    let took = |seconds: &[u64]| seconds.iter().map(|each| Took(Duration::from_secs(*each))).collect::<Vec<_>>();
    // smoke-test has three minutes; after 100 seconds 80 are left. One run of ten has to be that quick.
    let cases: [(&[u64], bool); 6] = [
        (&[], true),
        (&[80], true),
        (&[300], false),
        (&[120, 120, 120, 120, 120, 120, 120, 120, 120, 120], false),
        (&[60, 70, 90, 120, 80, 75, 100, 66, 85, 110], true),
        (&[10, 10, 10, 10, 10, 10, 10, 10, 500, 500], true),
    ];
    for (past, fits) in cases {
        let mut world = rolling();
        let own = world.state.services.get_mut(crate::common::plan::SHOP).unwrap();
        own.durations.insert(path("console"), took(past));
        let attempt = world.started()[0].attempt.clone();
        world.run("100s");
        world.end_attempt(&attempt, failed("exit 1"));
        assert_eq!(world.paths_started().len(), if fits { 2 } else { 1 }, "{past:?}");
        assert_eq!(world.paged_for().contains(&PageReason::NoPathLeft), !fits, "{past:?}");
        let by = if past.len() == 1 { "(by 1 past run)".to_owned() } else { format!("(by {} past runs)", past.len()) };
        assert_eq!(world.said().contains(&by), !fits, "{past:?}: {}", world.said());
    }
}

#[test]
fn r9_a_path_of_which_little_is_known_is_not_given_up_for_one_slow_run() {
    let mut runs: Vec<Took> = Vec::new();
    let mut given_up_after = None;
    // 80 seconds are left, and each run so far took two minutes.
    for count in 1..=20 {
        runs.push(Took(duration("2m")));
        let mut world = rolling();
        let own = world.state.services.get_mut(crate::common::plan::SHOP).unwrap();
        own.durations.insert(path("console"), runs.clone());
        let attempt = world.started()[0].attempt.clone();
        world.run("100s");
        world.end_attempt(&attempt, failed("exit 1"));
        let given_up = world.paths_started().len() == 1;
        assert!(given_up || given_up_after.is_none(), "more of the same makes nothing possible: {count}");
        if given_up && given_up_after.is_none() {
            given_up_after = Some(count);
            assert!(world.said().contains("console: it takes 2m, hardly ever less than 1m "), "{}", world.said());
            assert!(world.said().contains(", and 1m 20s of the budget is left"), "{}", world.said());
        }
    }
    assert!(given_up_after.is_some_and(|count| count > 1), "{given_up_after:?}");
}

#[test]
fn r9_the_preferred_path_is_started_whatever_it_took_before() {
    let mut world = World::proven();
    let own = world.state.services.get_mut(crate::common::plan::SHOP).unwrap();
    own.durations.insert(path("pipeline"), vec![Took(duration("1h"))]);
    world.deploy("v2");
    world.observe("smoke-test");
    assert_eq!(world.paths_started(), ["pipeline"]);
}

#[test]
fn r9_only_successful_runs_say_how_long_a_path_takes() {
    let mut world = rolling();
    let attempt = world.started()[0].attempt.clone();
    world.run("30s");
    world.end_attempt(&attempt, failed("exit 1"));
    world.run("2m");
    assert_eq!(world.own().durations.get("pipeline"), None);
    assert_eq!(world.own().durations.get("console"), Some(&vec![Took(duration("1m"))]));
}

#[test]
fn r9_a_spent_budget_pages_once_and_stops_nothing() {
    let mut world = rolling();
    world.run("200s");
    assert_eq!(world.paged_for(), [PageReason::BudgetSpent]);
    let firing = world.fired("smoke-test").unwrap();
    assert!(firing.running().is_some(), "the attempt still runs");
    assert!(!world.effects.iter().any(|(_, effect)| matches!(effect, Effect::StopAttempt { .. })));
    let attempt = world.started()[0].attempt.clone();
    let now = world.now;
    world.shop().serve(&version("v1"), now);
    world.end_attempt(&attempt, Outcome::Succeeded { receipt: None, output: String::new() });
    world.run("1m");
    assert_eq!(world.ended("smoke-test"), Some(FiringEnd::Recovered), "late, but it is told as it was");
    assert_eq!(world.paged_for(), [PageReason::BudgetSpent]);
}

#[test]
fn r9_a_wake_after_the_budget_is_spent_has_nothing_more_to_say() {
    let mut world = rolling();
    world.run("200s");
    let before = world.journal.len();
    world.tell(Happening::Woke);
    assert_eq!(world.journal.len(), before);
}

#[test]
fn r9_no_automatic_path_is_started_once_the_budget_is_spent() {
    let mut world = rolling();
    let attempt = world.started()[0].attempt.clone();
    world.run("200s");
    world.end_attempt(&attempt, failed("exit 1"));
    assert_eq!(world.paths_started(), ["pipeline"]);
    assert!(world.said().contains("console: the budget is spent"), "{}", world.said());
}

#[test]
fn r9_the_page_about_a_spent_budget_stays_until_recovery_is_proven() {
    let mut world = rolling();
    let attempt = world.started()[0].attempt.clone();
    world.run("200s");
    world.end_attempt(&attempt, Outcome::Succeeded { receipt: None, output: String::new() });
    let firing = world.fired("smoke-test").unwrap();
    assert!(matches!(firing.stage, Stage::Verifying { .. }));
    let open = |page: &&rollbackd_core::page::Page| page.resolved_at.is_none();
    let budget = world.own().pages.iter().filter(open).any(|page| page.reason == PageReason::BudgetSpent);
    assert!(budget, "v2 still serves: {:?}", world.own().pages);
}

#[test]
fn r9_a_human_who_approves_is_not_bound_by_the_budget() {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Fails(duration("5s")));
    world.deploy("v2");
    let firing = world.observe("login-broken");
    world.run("15m");
    world.tell(Happening::Approved { firing });
    world.run("10s");
    assert_eq!(world.paths_started(), ["pipeline", "console"]);
}

#[test]
fn r9_a_path_whose_template_has_no_value_is_passed_over_with_the_reason() {
    let mut world = World::proven();
    world.shop().without_revision.insert(version("v0"));
    world.shop().runs.insert(path("pipeline"), Run::Fails(duration("5s")));
    let own = world.state.services.get_mut(crate::common::plan::SHOP).unwrap();
    for entry in &mut own.ledger.entries {
        entry.revision = None;
    }
    world.deploy("v2");
    world.observe("smoke-test");
    world.run("10s");
    assert_eq!(world.paths_started(), ["pipeline"]);
    assert!(world.said().contains("console: {{ target.revision }} is not known here"), "{}", world.said());
}

#[test]
fn r9_the_remote_that_waits_for_a_person_pages_that_person_and_the_attempt_goes_on() {
    let mut world = rolling();
    let attempt = world.started()[0].attempt.clone();
    world.tell(Happening::AttemptWaits { attempt: attempt.clone(), why: "environment production".to_owned() });
    world.tell(Happening::AttemptWaits { attempt, why: "environment production".to_owned() });
    assert_eq!(world.paged_for(), [PageReason::RemoteWaits], "once");
    assert!(world.fired("smoke-test").unwrap().running().is_some());
}

#[test]
fn r9_a_rollback_by_a_named_path_uses_no_other() {
    let mut world = World::proven();
    world.shop().runs.insert(path("console"), Run::Fails(duration("5s")));
    world.deploy("v2");
    world.tell(Happening::RollbackAsked { path: Some(path("console")), to: None });
    world.run("1m");
    assert_eq!(world.paths_started(), ["console"]);
    let reply = world.tell(Happening::RollbackAsked { path: Some(path("konsole")), to: None });
    assert!(refusal(&reply).contains("konsole"));
}

#[test]
fn r9_recovery_counts_from_what_is_seen_after_the_path_said_done() {
    let mut world = World::proven();
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("6m");
    let firing = world.fired("error-rate").unwrap();
    let finished_at = firing.attempts[0].ended_at.unwrap();
    assert!(firing.recovered_at.unwrap() >= finished_at);
}
