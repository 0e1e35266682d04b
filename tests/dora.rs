//! `dora`: the figures of journals that the real core wrote, by the library and by the real binary.

#![expect(clippy::unwrap_used, reason = "in a test, the helpers as well, a panic is the message")]

#[path = "../core/tests/common/mod.rs"]
#[expect(dead_code, reason = "the core's own tests need more of their world than these")]
mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::outside::Run;
use common::plan::{SHOP, reference};
use common::world::{World, report as deploy_of};
use common::{duration, path, service};
use rollbackd::clock;
use rollbackd::dora::{Figures, report};
use rollbackd::journal::{self, Journal};
use rollbackd::supervisor::replay;
use rollbackd_core::config::Mode;
use rollbackd_core::event::Happening;
use rollbackd_core::state::State;
use serde_json::Value;
use tempfile::TempDir;

const NOTHING: &[u64] = &[];

/// The figures of the one service from the begin of time up to now.
fn figures(state: &State, not_incidents: &[u64], world: &World) -> Figures {
    let not_incidents: BTreeSet<u64> = not_incidents.iter().copied().collect();
    let since = common::instant("2026-11-01T00:00:00Z");
    report(state, &not_incidents, since, world.now).services.remove(0)
}

fn of(world: &World) -> Figures {
    figures(&world.state, NOTHING, world)
}

/// v1 passes, v2 is rolled back, v3 passes, v4 can't be rolled back, v5 mends it.
fn eventful(mut world: World) -> World {
    world.sicken("v2", "error-rate", 0.2);
    world.deploy("v2");
    world.run("40m");
    world.deploy("v3");
    world.run("40m");
    world.deploy("v4");
    for name in ["pipeline", "console"] {
        world.shop().runs.insert(path(name), Run::Fails(duration("5s")));
    }
    world.observe("smoke-test");
    world.run("10m");
    world.deploy("v5");
    world.run("40m");
    world
}

fn write(world: &World, dir: &Path) -> Journal {
    let (mut journal, _) = Journal::open(dir).unwrap();
    for (index, entry) in world.journal.iter().enumerate() {
        let body = serde_json::to_string(&entry.record).unwrap();
        journal.append(entry.service.as_str(), index as u64, entry.at, &[body]).unwrap();
    }
    journal
}

#[test]
fn deploys_failures_recoveries_and_rework_are_counted_as_defined() {
    let world = eventful(World::proven());
    let figures = of(&world);
    assert_eq!((figures.deployments, figures.failed, figures.rollbacks, figures.fixes), (5, 2, 1, 1));
    assert_eq!(figures.change_fail_rate, Some(0.4));
    assert_eq!(figures.rework_rate, Some(2.0 / 6.0), "a rollback and a fix, of five deploys and a rollback");
    let rolled_back = world.fired("error-rate").unwrap();
    let by_path = rolled_back.recovered_at.unwrap().since(rolled_back.observed_at);
    // v5 came ten minutes after v4 was reported to be broken, and passed.
    let recovery = &figures.recovery;
    assert_eq!((recovery.count, recovery.unknown), (2, 0));
    assert_eq!(recovery.median(), Some(by_path.min(duration("10m"))));
    assert_eq!(recovery.p90(), Some(by_path.max(duration("10m"))));
    let classes: usize = recovery.distribution.iter().map(|class| class.count).sum();
    assert_eq!(classes, 2);
    assert_eq!(figures.weeks.len(), 1);
    assert_eq!((figures.weeks[0].week_of.as_str(), figures.weeks[0].deployments), ("2026-11-23", 5));
}

#[test]
fn a_failure_that_is_not_over_has_no_recovery_time() {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    world.deploy("v2");
    world.observe("smoke-test");
    world.run("1m");
    let figures = of(&world);
    assert_eq!((figures.failed, figures.recovery.count, figures.recovery.unknown), (1, 0, 1));
    assert_eq!(figures.recovery.median_seconds, None);
}

#[test]
fn what_a_human_dismissed_is_no_failure() {
    let mut world = World::proven();
    world.deploy("v2");
    let firing = world.observe("login-broken");
    world.tell(Happening::Dismissed { firing, why: "a typo".to_owned() });
    world.run("40m");
    let figures = of(&world);
    assert_eq!((figures.deployments, figures.failed), (2, 0));
    assert_eq!(figures.change_fail_rate, Some(0.0));
}

#[test]
fn neither_dry_runs_nor_rehearsals_count() {
    let mut config = reference();
    config.mode = Mode::DryRun;
    let dry = of(&eventful(World::proven_with(config)));
    assert_eq!((dry.deployments, dry.failed, dry.rollbacks, dry.fixes, dry.left_out), (3, 0, 0, 0, 2));

    let world = eventful(World::proven());
    let rehearsed = figures(&world.state, &[1], &world);
    assert_eq!((rehearsed.deployments, rehearsed.failed, rehearsed.rollbacks, rehearsed.left_out), (4, 1, 0, 1));
}

#[test]
fn nothing_is_lost_when_the_journal_forgets_the_records_and_the_firings() {
    let world = eventful(World::proven());
    let dir = tempfile::tempdir().unwrap();
    let mut journal = write(&world, dir.path());
    let mut state = world.state.clone();
    state.services.get_mut(SHOP).unwrap().firings.clear();
    journal.compact(world.now, serde_json::to_string(&state).unwrap().as_str()).unwrap();
    let read = replay(&journal::read(dir.path()).unwrap()).unwrap();
    assert_eq!(figures(&read, NOTHING, &world), of(&world));
}

#[test]
fn what_an_old_journal_does_not_tell_is_not_known_and_not_zero() {
    let mut world = eventful(World::proven());
    let own = world.state.services.get_mut(SHOP).unwrap();
    own.firings.clear();
    own.ledger.entries.iter_mut().for_each(|entry| entry.incidents.clear());
    let figures = of(&world);
    assert_eq!((figures.failed, figures.recovery.count, figures.recovery.unknown), (2, 0, 2));
}

#[test]
fn a_rate_is_of_the_time_in_which_deploys_are_known() {
    let mut world = World::proven();
    for number in 2..=14 {
        world.run("24h");
        world.deploy_of(&service(SHOP), deploy_of(&format!("v{number}")));
    }
    world.run("24h");
    let figures = of(&world);
    assert_eq!(figures.deployments, 14);
    assert!((figures.per_week - 7.0).abs() < 0.1, "{}", figures.per_week);
    let whole = Duration::from_hours(24 * 14);
    assert!(world.now.since(figures.known_since).abs_diff(whole) < duration("1h"));
}

/// A folder with a config whose journal holds what happened three days ago; the journal stays open, as a daemon's is.
struct Place {
    dir: TempDir,
    _journal: Journal,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(reference());
    world.now = clock::now() - duration("3d");
    world.deploy("v1");
    world.run("40m");
    let world = eventful(world);
    let state_dir = dir.path().join("state");
    fs::create_dir(&state_dir).unwrap();
    let reference = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rollbackd.yml")).unwrap();
    let config = reference
        .replace("/var/lib/rollbackd", state_dir.to_str().unwrap())
        .replace("library/raw/rollback-rehearsals", dir.path().join("receipts").to_str().unwrap());
    fs::write(dir.path().join("rollbackd.yml"), config).unwrap();
    let journal = write(&world, &state_dir);
    Place { dir, _journal: journal }
}

impl Place {
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollbackd"));
        command.arg("dora").arg("--config").arg(self.dir.path().join("rollbackd.yml")).args(arguments);
        let ran = command.env_clear().current_dir(&self.dir).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (ran.status.code().unwrap(), text(ran.stdout), text(ran.stderr))
    }
}

#[test]
fn the_command_shows_tells_and_draws_while_a_daemon_holds_the_journal() {
    let place = place();
    let (code, shown, complaint) = place.run(&["--html", "page.html"]);
    assert_eq!((code, complaint.as_str()), (0, ""));
    for expected in ["change fail rate                 40.0 % (2 of 5)", "33.3 % (1 rollback, 1 fix)", "WEEK OF"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let (code, told, _) = place.run(&["--json", "--service", SHOP, "--since", "30d"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &told["services"][0]["failed"]), (0, &Value::from(2)));
    assert!(told["definitions"]["change fail rate"].as_str().unwrap().contains("immediate intervention"), "{told}");

    let page = fs::read_to_string(place.dir.path().join("page.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("prefers-color-scheme:dark") && page.contains("40.0 %"), "{page}");
    let addresses = page.matches("://").count();
    assert_eq!(addresses, page.matches("https://dora.dev/").count(), "no request goes anywhere");
    assert!(!page.contains("<script"));
}

#[test]
fn a_period_without_deploys_has_no_rates_and_an_unknown_service_is_named() {
    let place = place();
    let (code, shown, _) = place.run(&["--since", "1h"]);
    assert_eq!(code, 0);
    assert!(shown.contains("change fail rate                 - (0 of 0)"), "{shown}");
    let (code, shown, complaint) = place.run(&["--service", "capstone-web"]);
    assert_eq!((code, shown.as_str()), (1, ""));
    assert!(complaint.contains("no service capstone-web: expected capstone-api"), "{complaint}");
    assert_eq!(place.run(&["--since", "0s"]).0, 2);
    let (code, _, complaint) = place.run(&["--html", "no/such/folder.html"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("could not write no/such/folder.html"), "{complaint}");
}
