//! `wants`: which questions, over which windows, with which values; and none that nobody needs.

use std::sync::Arc;
use std::time::Duration;

use rollbackd_core::config::{AtLeast, Condition, Freshness, Metric, Observed, Query};
use rollbackd_core::event::{DeployReport, Happening};
use rollbackd_core::name::{Commit, TriggerName};
use rollbackd_core::template::Values;
use rollbackd_core::time::Timestamp;
use rollbackd_core::wants::{Want, names_since_deploy, wants, wants_of};

use crate::common::outside::Run;
use crate::common::plan::{SHOP, fixed, reference, shop, template};
use crate::common::world::{World, report};
use crate::common::{duration, instant, path, service, version};

fn wanted(world: &World) -> Vec<Want> {
    wants(&world.config, &world.state, &service(SHOP))
}

/// Since when it is asked what serves, where it is asked.
fn serving(world: &World) -> Option<Option<Timestamp>> {
    wanted(world).into_iter().find_map(|want| match want {
        Want::Serving { back_to, .. } => Some(back_to),
        Want::Trigger { .. }
        | Want::Baseline { .. }
        | Want::VersionBefore { .. }
        | Want::Version { .. }
        | Want::Smoke { .. } => None,
    })
}

fn asks_the_smoke_url(world: &World) -> bool {
    wanted(world).iter().any(|want| matches!(want, Want::Smoke { .. }))
}

/// v2 was deployed, and one look has shown the revision of each version.
fn known() -> World {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("30s");
    world
}

#[test]
fn a_baseline_is_asked_for_over_its_window_up_to_the_deploy() {
    let mut world = World::proven();
    world.deploy("v2");
    let asked = wanted(&world).into_iter().find_map(|want| match want {
        Want::Baseline { trigger, from, to, .. } => Some((trigger.to_string(), from, to)),
        Want::Trigger { .. }
        | Want::VersionBefore { .. }
        | Want::Serving { .. }
        | Want::Version { .. }
        | Want::Smoke { .. } => None,
    });
    let window = (instant("2026-11-23T09:40:15Z"), instant("2026-11-23T10:40:00Z"));
    assert_eq!(asked, Some(("p99-latency".to_owned(), window.0, window.1)));
}

#[test]
fn before_a_rehearsal_the_triggers_are_asked_for_four_slots_back() {
    let mut world = World::proven();
    world.tell(Happening::RehearsalAsked { bad: version("v13-bad"), witness: None });
    let rehearsal = world.own().rehearsal.clone().expect("a rehearsal");
    let asked = wanted(&world).into_iter().find_map(|want| match want {
        Want::Trigger { deploy, trigger, from, deploy_at, .. } => Some((deploy, trigger.to_string(), from, deploy_at)),
        Want::Baseline { .. }
        | Want::VersionBefore { .. }
        | Want::Serving { .. }
        | Want::Version { .. }
        | Want::Smoke { .. } => None,
    });
    let (from, deploy_at) = (instant("2026-11-23T10:39:00Z"), instant("2026-11-23T10:39:07Z"));
    assert_eq!(asked, Some((rehearsal.deploy, "error-rate".to_owned(), from, deploy_at)));
}

#[test]
fn where_versions_are_told_of_one_that_appears_is_looked_for_only_while_a_rehearsal_deploys_and_it_can_be_seen() {
    let looked_for = |world: &World| wanted(world).iter().any(|want| matches!(want, Want::Version { .. }));
    let mut config = reference();
    shop(&mut config).watch_version = false;
    let mut world = World::proven_with(config);
    assert!(!looked_for(&world), "nothing is deployed that nobody tells of");
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.tell(Happening::RehearsalAsked { bad: version("v13-bad"), witness: None });
    assert!(!looked_for(&world), "nothing is being deployed yet");
    world.run("15s");
    assert!(world.own().rehearsal.as_ref().is_some_and(|rehearsal| rehearsal.is_deploying()));
    assert!(looked_for(&world));
    shop(&mut world.config).version_query = None;
    assert!(!looked_for(&world), "there is nothing to look at");
}

#[test]
fn the_version_before_is_never_the_one_that_was_deployed_then() {
    let mut world = World::new(reference());
    world.shop().queries_fail = true;
    world.deploy("v1");
    let first_at = world.now;
    world.run("5m");
    world.deploy("v2");
    let asked = wanted(&world).into_iter().find_map(|want| match want {
        Want::VersionBefore { before, not, .. } => Some((before, not)),
        Want::Trigger { .. }
        | Want::Baseline { .. }
        | Want::Serving { .. }
        | Want::Version { .. }
        | Want::Smoke { .. } => None,
    });
    assert_eq!(asked, Some((first_at, version("v1"))));
}

#[test]
fn every_question_about_a_watch_brings_what_its_template_may_name() {
    let named = template("{{ service }} {{ deploy.version }} {{ deploy.at }} {{ deploy.commit }}");
    let mut config = reference();
    for trigger in shop(&mut config).triggers.iter_mut().map(Arc::make_mut) {
        if let Observed::Metric(metric) = &mut trigger.observed {
            Arc::make_mut(metric).query = Query::Expression(named.clone());
        }
    }
    let mut world = World::new(config);
    let commit = Some(Commit::new("0a1b2c").expect("a commit"));
    world.deploy_of(&service(SHOP), DeployReport { commit, ..report("v1") });
    let rendered = |values: &Values| named.render(values).expect("every name is known");
    let said: Vec<String> = wanted(&world)
        .iter()
        .filter_map(|want| match want {
            Want::Trigger { values, .. } | Want::Baseline { values, .. } | Want::VersionBefore { values, .. } => {
                Some(rendered(values))
            }
            Want::Serving { .. } | Want::Version { .. } | Want::Smoke { .. } => None,
        })
        .collect();
    // Two triggers, a baseline, and the version before.
    assert_eq!(said, vec!["capstone-api v1 2026-11-23T10:00:00.000Z 0a1b2c"; 4]);
}

#[test]
fn a_question_that_names_nothing_brings_nothing_and_only_triggers_that_are_due_are_asked_about() {
    let mut world = World::proven();
    world.deploy("v2");
    let only = |wanted: &str| {
        let is_due = |trigger: &TriggerName| trigger.as_str() == wanted;
        let wanted = wants_of(&world.config, &world.state, &service(SHOP), is_due);
        let looks = wanted.into_iter().filter_map(|want| match want {
            Want::Trigger { trigger, values, .. } => Some((trigger.to_string(), values)),
            Want::Baseline { .. }
            | Want::VersionBefore { .. }
            | Want::Serving { .. }
            | Want::Version { .. }
            | Want::Smoke { .. } => None,
        });
        looks.collect::<Vec<_>>()
    };
    assert_eq!(only("error-rate"), [("error-rate".to_owned(), Values::default())]);
    assert_eq!(only("another"), []);
}

#[test]
fn what_serves_is_asked_for_where_a_path_names_a_revision_that_nobody_has_seen() {
    let mut world = World::proven();
    world.deploy("v2");
    assert_eq!(serving(&world), Some(None), "the revision of v2 is to be learned");
    world.run("30s");
    assert_eq!(serving(&world), None, "it is known");
    let mut config = reference();
    shop(&mut config).paths.retain(|path| path.name.as_str() == "pipeline");
    let mut world = World::proven_with(config);
    world.deploy("v2");
    assert_eq!(serving(&world), None, "no path names it");
    let mut config = reference();
    shop(&mut config).version_query = None;
    let mut world = World::proven_with(config);
    world.deploy("v2");
    assert_eq!(serving(&world), None, "there is nothing to be asked");
}

#[test]
fn a_proof_is_asked_for_back_to_the_earliest_deploy_that_a_firing_is_open_about() {
    let mut world = known();
    world.shop().runs.insert(path("pipeline"), Run::Lies(duration("5s")));
    let deployed_at = world.own().watch.as_ref().expect("a watch").at;
    world.observe("smoke-test");
    assert_eq!((serving(&world), asks_the_smoke_url(&world)), (None, false), "nothing is done yet");
    world.run("30s");
    assert_eq!((serving(&world), asks_the_smoke_url(&world)), (Some(Some(deployed_at)), true));
}

#[test]
fn what_a_human_brings_back_is_looked_for_only_where_it_can_be_seen() {
    let mut world = known();
    world.observe("login-broken");
    assert!(serving(&world).is_some() && asks_the_smoke_url(&world));

    let mut config = reference();
    shop(&mut config).version_query = None;
    let mut world = World::proven_with(config);
    world.deploy("v2");
    world.observe("login-broken");
    assert!(serving(&world).is_none() && !asks_the_smoke_url(&world), "no version can be seen");

    let mut config = reference();
    shop(&mut config).paths.retain(|path| path.name.as_str() == "pipeline");
    let mut world = World::new(config);
    world.deploy("v1");
    world.run("30s");
    world.tell(Happening::Reported {
        trigger: crate::common::trigger("login-broken"),
        note: None,
        about: Default::default(),
    });
    assert_eq!(world.target(), None);
    assert!(serving(&world).is_none() && !asks_the_smoke_url(&world), "there is no version to be seen");
}

#[test]
fn any_template_of_a_metric_may_name_the_time_since_the_deploy() {
    let plain = || template("up");
    let names = || template("up[{{ since_deploy }}]");
    let metric = |query: Query| Metric {
        query,
        condition: Condition::Above(fixed(1.0)),
        at_least: None,
        window: Duration::ZERO,
        freshness: None,
        step: duration("15s"),
        comparison: None,
    };
    let freshness = |newest| Some(Freshness { newest, stale_after: duration("1m") });
    let at_least = |expr| Some(AtLeast { expr, value: 1.0 });
    for without in [
        metric(Query::Expression(plain())),
        metric(Query::Ratio { bad: plain(), total: plain() }),
        metric(Query::Filter { expr: plain(), presence: plain() }),
        Metric { freshness: freshness(plain()), at_least: at_least(plain()), ..metric(Query::Expression(plain())) },
    ] {
        assert!(!names_since_deploy(&without), "{without:?}");
    }
    for with in [
        metric(Query::Expression(names())),
        metric(Query::Ratio { bad: names(), total: plain() }),
        metric(Query::Ratio { bad: plain(), total: names() }),
        metric(Query::Filter { expr: names(), presence: plain() }),
        metric(Query::Filter { expr: plain(), presence: names() }),
        Metric { freshness: freshness(names()), ..metric(Query::Expression(plain())) },
        Metric { at_least: at_least(names()), ..metric(Query::Expression(plain())) },
    ] {
        assert!(names_since_deploy(&with), "{with:?}");
    }
}
