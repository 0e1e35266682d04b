//! What a rehearsal remembers, tells people and waits for, besides what the rules ask of it.

use std::time::Duration;

use rollbackd_core::config::{Action, Config, RunPart};
use rollbackd_core::event::{About, DeployReport, Happening, Reply, Run as PipelineRun};
use rollbackd_core::name::RehearsalId;
use rollbackd_core::rehearsal::{End, QUICK, REHEARSAL, RUNS_BEFORE_A_GAME_DAY, Rehearsal, Stage};
use rollbackd_core::view::{self, PathView, RehearsalView};

use crate::common::outside::Run;
use crate::common::plan::{SHOP, reference, shop, shop_path, shop_trigger, template};
use crate::common::world::{World, report};
use crate::common::{duration, path, service, trigger, version};

const BAD: &str = "v13-bad";

/// v1 serves and has passed; v13-bad fails one request of five.
fn healthy_with(config: Config) -> World {
    let mut world = World::proven_with(config);
    world.sicken(BAD, "error-rate", 0.2);
    world
}

fn ask(world: &mut World) -> RehearsalId {
    let reply = world.tell(Happening::RehearsalAsked { bad: version(BAD), witness: Some("Ada".to_owned()) });
    let Reply::Rehearsal(id) = reply else { panic!("expected a rehearsal, not {reply:?}") };
    id
}

fn rehearsal(world: &World) -> &Rehearsal {
    world.own().rehearsal.as_ref().expect("a rehearsal")
}

/// A world in which a rehearsal has brought v1 back.
fn rehearsed() -> World {
    let mut world = healthy_with(reference());
    ask(&mut world);
    world.run("10m");
    assert!(matches!(rehearsal(&world).stage, Stage::Ended { end: End::Recovered, .. }));
    world
}

/// What the page about a broken login says of a path.
fn paged_about(mut world: World, name: &str) -> String {
    world.observe("login-broken");
    let details = world.pages_opened().pop().expect("a page").details;
    let about = format!("path {name} ");
    details.into_iter().find(|line| line.starts_with(&about)).expect("a line about the path")
}

#[test]
fn a_rehearsal_that_is_asked_for_takes_a_number_of_its_own() {
    let mut world = healthy_with(reference());
    let before = world.own().ids;
    let first = ask(&mut world);
    assert_eq!(world.own().ids, before + 1);
    let deploy = rehearsal(&world).deploy.clone();
    world.tell(Happening::RehearsalStopAsked);
    let second = ask(&mut world);
    assert!(first != second && deploy != rehearsal(&world).deploy, "at the same instant, of the same version");
}

#[test]
fn the_look_before_a_rehearsal_waits_four_intervals_and_ten_seconds_at_least() {
    for (interval, waits) in [("15s", "1m"), ("2s", "10s")] {
        let mut config = reference();
        config.evaluation_interval = duration(interval);
        let mut world = World::new(config);
        world.state = World::proven().state;
        world.now = World::proven().now;
        ask(&mut world);
        assert_eq!(rehearsal(&world).stage, Stage::Checking { until: world.now + duration(waits) });
    }
}

#[test]
fn nothing_is_gone_on_from_after_the_look_before_a_rehearsal() {
    let mut world = healthy_with(reference());
    ask(&mut world);
    let (deploy, name, slot) =
        (rehearsal(&world).deploy.clone(), trigger("error-rate"), world.now.floor(duration("15s")));
    let metric = world.metric(&service(SHOP), &name);
    let answers = world.shop().answers(&name, &metric, slot - duration("1m"), slot);
    let decision = world.decide(&service(SHOP), Happening::looked_whole(deploy, name, answers, None));
    let verdict = decision.verdict.expect("a verdict");
    assert!(verdict.latest.is_some() && verdict.so_far.is_none(), "{verdict:?}");
}

#[test]
fn what_deploys_the_bad_version_is_told_when_the_good_one_was_deployed() {
    let mut config = reference();
    let run = &mut shop_path(&mut config, "pipeline").run;
    run.push(RunPart { name: String::new(), value: template("{{ deploy.at }}") });
    let mut world = healthy_with(config);
    ask(&mut world);
    world.run("15s");
    let attempt = rehearsal(&world).attempt.as_ref().expect("an attempt");
    assert_eq!(attempt.run, ["deploy", BAD, "2026-11-23T10:00:00.000Z"]);
}

/// A rehearsal is deploying its bad version by run 991; that says nothing by itself.
fn deploying(config: Config) -> World {
    let mut world = healthy_with(config);
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    ask(&mut world);
    world.run("15s");
    let attempt = rehearsal(&world).attempt.as_ref().expect("an attempt").id.clone();
    world.tell(Happening::AttemptStarted { attempt, handle: "991".to_owned() });
    world
}

fn reported(world: &mut World, name: &str, about: About) {
    world.tell(Happening::Reported { trigger: trigger(name), note: None, about });
}

#[test]
fn a_report_is_kept_for_the_bad_version_unless_it_is_about_another_or_by_another_run() {
    let by = |run: Option<&str>, about: Option<&str>| About {
        run: run.map(|id| PipelineRun { id: id.to_owned(), title: None }),
        version: about.map(version),
        ..About::default()
    };
    for (about, kept) in [
        (by(None, None), 1),
        (by(None, Some(BAD)), 1),
        (by(Some("991"), Some("v12")), 1),
        (by(Some("991"), None), 1),
        (by(None, Some("v12")), 0),
        (by(Some("990"), Some("v12")), 0),
        (by(Some("990"), None), 0),
    ] {
        let mut world = deploying(reference());
        reported(&mut world, "smoke-test", about.clone());
        assert_eq!(rehearsal(&world).reports.len(), kept, "{about:?}");
    }
}

#[test]
fn each_trigger_is_kept_once_however_often_it_is_reported_and_a_shadow_never() {
    let mut config = reference();
    shop_trigger(&mut config, "data-corruption").action = Action::Shadow;
    let mut world = deploying(config);
    let keyed = || About { key: Some("run-1".to_owned()), ..About::default() };
    for name in ["smoke-test", "smoke-test", "login-broken", "data-corruption"] {
        reported(&mut world, name, keyed());
    }
    let kept: Vec<&str> = rehearsal(&world).reports.iter().map(|report| report.trigger.as_str()).collect();
    assert_eq!(kept, ["smoke-test", "login-broken"]);
    assert_eq!(world.own().reports, ["run-1"], "and its key is known, once");
}

#[test]
fn the_bad_version_deployed_again_after_its_rehearsal_is_a_deploy_as_any_other() {
    let mut world = rehearsed();
    let Stage::Ended { at, .. } = rehearsal(&world).stage else { panic!("it has ended") };
    let told = |at| DeployReport { at: Some(at), ..report(BAD) };
    let late = world.announce(told(at - duration("10s")));
    assert_eq!(late, Reply::SameDeploy(rehearsal(&world).deploy.clone()), "late word of the rehearsal's own");
    let now = world.now;
    assert!(matches!(world.announce(told(now)), Reply::Deploy(_)));
}

#[test]
fn an_earlier_rollback_of_another_version_does_not_keep_a_bad_version_there() {
    let mut world = World::proven();
    world.deploy("v2");
    world.observe("smoke-test");
    world.run("3h");
    assert_eq!(world.really_serves(), "v1");
    ask(&mut world);
    world.run("40m");
    assert!(world.fired(REHEARSAL).is_some(), "no trigger has seen it");
    assert_eq!(world.really_serves(), "v1");
    assert!(matches!(rehearsal(&world).stage, Stage::Ended { end: End::Recovered, .. }));
}

#[test]
fn a_human_who_stops_a_rehearsal_is_held_by_no_freeze_and_by_no_page_about_something_else() {
    for (name, freezes) in [(None, true), (Some("data-corruption"), false)] {
        let mut world = World::proven();
        ask(&mut world);
        world.run("2m");
        if freezes {
            world.tell(Happening::Frozen { duration: duration("2h"), why: "stocktaking".to_owned() });
        }
        if let Some(name) = name {
            reported(&mut world, name, About::default());
        }
        assert!(matches!(world.tell(Happening::RehearsalStopAsked), Reply::Rehearsal(_)));
        assert!(world.own().rolling().is_some(), "{name:?}: {:?}", world.own().firings);
        world.run("5m");
        assert_eq!(world.really_serves(), "v1");
    }
}

#[test]
fn a_path_that_failed_begins_its_row_anew_and_the_one_that_followed_it_was_not_clean() {
    let mut world = rehearsed();
    assert_eq!(world.own().rehearsed[&path("pipeline")].in_a_row, 1);
    world.run("3h");
    ask(&mut world);
    world.run("90s");
    world.shop().runs.insert(path("pipeline"), Run::Fails(duration("5s")));
    world.run("20m");
    assert!(matches!(rehearsal(&world).stage, Stage::Ended { end: End::Recovered, .. }), "{:?}", rehearsal(&world));
    let rehearsed = &world.own().rehearsed;
    let (pipeline, console) = (&rehearsed[&path("pipeline")], &rehearsed[&path("console")]);
    assert_eq!((pipeline.in_a_row, console.in_a_row), (0, 0));
    assert!(
        console.last.took.is_some() && pipeline.at < console.at,
        "the last that the pipeline brought back is older"
    );
}

#[test]
fn a_clean_run_is_within_the_budget_and_takes_less_than_five_minutes() {
    let run = |budget: &str, takes: Duration| {
        let mut config = reference();
        shop_trigger(&mut config, "error-rate").budget = Some(duration(budget));
        shop_path(&mut config, "pipeline").timeout = duration("10m");
        let mut world = healthy_with(config);
        ask(&mut world);
        world.run("90s");
        world.shop().runs.insert(path("pipeline"), Run::Succeeds(takes));
        world.run("20m");
        let known = &world.own().rehearsed[&path("pipeline")];
        (known.last.took.expect("it worked").0, known.in_a_row)
    };
    assert_eq!(run("1m", duration("1m")), (duration("1m"), 1), "just within its budget");
    assert_eq!(run("59s", duration("1m")), (duration("1m"), 0), "beyond it");
    let all: Vec<(Duration, u32)> = (200..=320).step_by(5).map(|each| run("10m", Duration::from_secs(each))).collect();
    assert!(all.iter().any(|(took, _)| *took == QUICK), "{all:?}");
    assert!(all.iter().all(|(took, in_a_row)| (*took < QUICK) == (*in_a_row == 1)), "{all:?}");
}

#[test]
fn a_path_that_never_brought_production_back_was_not_rehearsed() {
    let mut world = healthy_with(reference());
    ask(&mut world);
    world.run("90s");
    for name in ["pipeline", "console"] {
        world.shop().runs.insert(path(name), Run::Fails(duration("5s")));
    }
    world.run("2h");
    assert!(matches!(rehearsal(&world).stage, Stage::Ended { end: End::NotRecovered, .. }), "{:?}", rehearsal(&world));
    assert!(world.own().rehearsed.is_empty(), "{:?}", world.own().rehearsed);
}

#[test]
fn a_page_says_of_each_path_whether_it_was_rehearsed_as_it_is() {
    let mut never = World::proven();
    never.deploy("v2");
    assert_eq!(paged_about(never, "pipeline"), "path pipeline has not brought a version back yet; never rehearsed");
    let mut world = rehearsed();
    let at = world.own().rehearsed[&path("pipeline")].at;
    world.deploy("v2");
    let clean = format!("path pipeline took 1m last time; rehearsed at {at}, 1 clean in a row");
    assert_eq!(paged_about(world.clone(), "pipeline"), clean);
    let mut changed = world.clone();
    shop_trigger(&mut changed.config, "error-rate").hold = duration("3m");
    let since = format!("path pipeline took 1m last time; rehearsed at {at}, and changed since");
    assert_eq!(paged_about(changed, "pipeline"), since);
    shop(&mut world.config).rehearsal = None;
    assert_eq!(paged_about(world, "pipeline"), "path pipeline took 1m last time");
}

#[test]
fn a_page_about_a_rehearsal_says_that_it_is_one_and_why_it_asks() {
    let mut world = World::proven();
    let id = ask(&mut world);
    world.run("2m");
    world.tell(Happening::Frozen { duration: duration("2h"), why: "stocktaking".to_owned() });
    world.run("31m");
    assert!(world.fired(REHEARSAL).is_some());
    let details = world.pages_opened().pop().expect("a page").details;
    let said = |line: &str| details.iter().any(|each| each == line);
    assert!(said(&format!("rehearsal {id}: this version was deployed on purpose, witness Ada")), "{details:?}");
    assert!(said("why: no trigger has fired within 30m"), "{details:?}");
    let mut reported = World::proven();
    reported.deploy("v2");
    let note = Some("nobody gets in".to_owned());
    reported.tell(Happening::Reported { trigger: trigger("login-broken"), note, about: Default::default() });
    let details = reported.pages_opened().pop().expect("a page").details;
    assert!(details.contains(&"reported: nobody gets in".to_owned()), "{details:?}");
}

fn shown(world: &World) -> (RehearsalView, PathView) {
    let view =
        view::service(&world.config, &world.state, &rollbackd_core::board::Board::default(), &service(SHOP), world.now);
    let view = view.expect("a service of the config");
    (view.rehearsal.expect("a rehearsal"), view.paths[0].clone())
}

#[test]
fn a_rehearsal_is_shown_in_the_words_of_what_it_is_doing() {
    let mut world = healthy_with(reference());
    ask(&mut world);
    let state = |world: &World| shown(world).0.state;
    assert_eq!((state(&world), shown(&world).0.firing), ("checking", None));
    world.run("15s");
    assert_eq!(state(&world), "deploying");
    world.run("65s");
    assert_eq!(state(&world), "watching");
    world.run("150s");
    let firing = world.fired("error-rate").expect("it fired").id.clone();
    assert_eq!((state(&world), shown(&world).0.firing), ("rolling_back", Some(firing.clone())));
    world.run("5m");
    let (rehearsal, path) = shown(&world);
    assert_eq!((rehearsal.state, rehearsal.end, rehearsal.why), ("ended", Some("recovered"), None));
    assert_eq!(rehearsal.firing, Some(firing));
    assert!(!path.rehearsed.expect("it was").ready_for_a_game_day, "once is not enough");
}

#[test]
fn a_rehearsal_that_came_to_nothing_is_shown_with_why() {
    let mut stopped = healthy_with(reference());
    ask(&mut stopped);
    stopped.tell(Happening::RehearsalStopAsked);
    let why = |world: &World| shown(world).0.why;
    assert_eq!(why(&stopped).as_deref(), Some("it was stopped before anything was deployed"));
    let mut overtaken = World::proven();
    ask(&mut overtaken);
    overtaken.run("2m");
    overtaken.deploy("v14");
    assert_eq!(why(&overtaken).as_deref(), Some("v14 was deployed over it"));
}

#[test]
fn a_path_is_ready_for_a_game_day_after_three_clean_runs_unless_it_changed_since() {
    let mut world = rehearsed();
    let known = world.state.services.get_mut(SHOP).and_then(|own| own.rehearsed.get_mut("pipeline")).expect("a run");
    known.in_a_row = RUNS_BEFORE_A_GAME_DAY;
    let ready = |world: &World| shown(world).1.rehearsed.expect("it was").ready_for_a_game_day;
    assert!(ready(&world));
    let mut changed = world.clone();
    shop_trigger(&mut changed.config, "error-rate").hold = duration("3m");
    assert!(!ready(&changed));
}
