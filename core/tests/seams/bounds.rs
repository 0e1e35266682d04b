//! What grows stays bounded, and what is counted is counted once: the ledger, the sequence, the names that are near.

use std::time::Duration;

use rollbackd_core::deploy::{
    Deploy, Entry, KEPT_TO_RETURN_TO, LONGEST_LEDGER, Ledger, Migration, REMEMBERED_INCIDENTS, WatchEnd,
};
use rollbackd_core::event::Happening;
use rollbackd_core::firing::FiringEnd;
use rollbackd_core::name::{AnnouncerName, Commit, DeployId, FiringId, PageId, nearest};
use rollbackd_core::state::State;
use rollbackd_core::template::{Template, Variable};
use rollbackd_core::time::{Timestamp, promql_duration};

use crate::common::outside::Run;
use crate::common::plan::{SHOP, fleet, reference, shop};
use crate::common::world::{World, report};
use crate::common::{duration, instant, path, service, version};

fn entry(number: usize, end: WatchEnd) -> Entry {
    let at = Timestamp::from_milliseconds(1000);
    let deploy = Deploy {
        rehearsal: false,
        id: DeployId::new(format!("d-{number}")).expect("an id"),
        version: version(&format!("v{number}")),
        previous: None,
        commit: None,
        migration: Migration::None,
        run_url: None,
        at,
        reported_at: at,
        key: None,
        seen: false,
    };
    Entry { deploy, end: Some(end), rolled_back: false, automatically: false, revision: None, incidents: Vec::new() }
}

#[test]
fn a_ledger_forgets_its_oldest_deploys_but_never_the_latest_that_passed() {
    let mut ledger = Ledger::default();
    ledger.add(entry(0, WatchEnd::Passed));
    for number in 1..LONGEST_LEDGER {
        ledger.add(entry(number, WatchEnd::Unproven));
    }
    assert_eq!(ledger.entries.len(), LONGEST_LEDGER, "it is full, and nothing is forgotten");
    for number in LONGEST_LEDGER..LONGEST_LEDGER + 3 {
        ledger.add(entry(number, WatchEnd::Unproven));
    }
    assert_eq!(ledger.entries.len(), LONGEST_LEDGER);
    let oldest: Vec<&str> = ledger.entries[..2].iter().map(|entry| entry.deploy.version.as_str()).collect();
    assert_eq!(oldest, ["v0", "v4"]);
    for number in 1000..1000 + KEPT_TO_RETURN_TO - 1 {
        ledger.add(entry(number, WatchEnd::Passed));
        assert!(ledger.knows(&version("v0")), "it is one of the latest that passed");
    }
    ledger.add(entry(2000, WatchEnd::Passed));
    ledger.add(entry(2001, WatchEnd::Unproven));
    assert!(!ledger.knows(&version("v0")), "enough others have passed since");
    assert_eq!(ledger.latest_passed(&version("v9999")), Some(&version("v2000")));
}

#[test]
fn a_ledger_has_little_room_that_it_does_not_use() {
    let mut ledger = Ledger::default();
    for number in 0..LONGEST_LEDGER * 2 {
        let (room, had) = (ledger.entries.capacity(), ledger.entries.len());
        ledger.add(entry(number, WatchEnd::Passed));
        assert!(ledger.entries.capacity() == room || room < had + 2, "it moves only where there is no room for two");
        let unused = ledger.entries.capacity() - ledger.entries.len();
        let most = if had == 0 { 0 } else { ledger.entries.len().clamp(2, 16) };
        assert!(unused <= most, "room for {unused} more beside {}", ledger.entries.len());
        // One that came late goes in before the newest.
        let newest = ledger.entries.pop();
        ledger.add(entry(number, WatchEnd::Superseded));
        ledger.entries.extend(newest);
        assert!(ledger.entries.capacity() - ledger.entries.len() <= 16);
    }
}

/// A fleet of 200 keeps 80,000 of these, each with its longer texts besides; names of up to 23 bytes are in it.
#[test]
fn a_deploy_in_the_ledger_is_small() {
    assert!(size_of::<Entry>() <= 224, "{} bytes", size_of::<Entry>());
}

#[test]
fn a_deploy_that_passed_leaves_its_entry_in_the_ledger_and_nothing_else() {
    let mut world = World::proven();
    let written = |world: &World| {
        let mut own = serde_json::to_value(world.own()).expect("a state that can be written");
        let ledger = own["ledger"].take();
        (ledger.to_string().len(), own.to_string().len())
    };
    let mut deploy = |number: usize| {
        world.deploy(&format!("v{number}"));
        world.run("31m");
        assert_eq!(world.watch_end(&format!("v{number}")), Some(WatchEnd::Passed));
        written(&world)
    };
    let (ledger, others) = (100..110).map(&mut deploy).last().expect("deploys");
    let (later, others_later) = (110..130).map(&mut deploy).last().expect("deploys");
    // Two counters may have a digit more.
    assert!(
        others_later <= others + 4,
        "all but the ledger took {others} bytes, and {others_later} twenty deploys later"
    );
    let each = (later - ledger) / 20;
    assert!(each <= 210, "{each} bytes for each deploy");
}

#[test]
fn that_a_version_was_rolled_back_is_written_where_it_was_and_only_there() {
    let healthy = entry(1, WatchEnd::Passed);
    let left = Entry { rolled_back: true, automatically: true, ..entry(2, WatchEnd::RolledBack) };
    let written = |entry: &Entry| serde_json::to_string(entry).expect("an entry that can be written");
    assert!(!written(&healthy).contains("rolled_back"), "{}", written(&healthy));
    assert_eq!(serde_json::from_str::<Entry>(&written(&left)).expect("an entry that can be read"), left);
}

#[test]
fn whom_a_firing_is_announced_to_is_written_only_where_there_is_somebody() {
    let written = |announcers: &[&str]| {
        let mut config = reference();
        shop(&mut config).announce = announcers.iter().map(|name| AnnouncerName::new(*name).expect("a name")).collect();
        let mut world = World::proven_with(config);
        world.deploy("v2");
        let firing = world.observe("smoke-test");
        serde_json::to_value(world.firing(&firing)).expect("a firing that can be written")
    };
    assert_eq!(written(&[]).get("announced"), None);
    assert_eq!(written(&["ops"])["announced"]["to"], serde_json::json!(["ops"]));
}

#[test]
fn the_state_is_read_as_it_was_written() {
    let mut world = World::proven();
    world.deploy("v2");
    world.observe("smoke-test");
    world.run("5m");
    let took = &world.own().durations["pipeline"];
    assert_eq!(took.iter().map(|took| took.0).collect::<Vec<_>>(), [duration("1m")]);
    let written = serde_json::to_string(&world.state).expect("a state that can be written");
    assert_eq!(serde_json::from_str::<State>(&written).expect("a state that can be read"), world.state);
}

#[test]
fn the_last_twenty_firings_are_remembered_and_the_first_two_hundred_steps_of_each() {
    let mut world = World::proven();
    world.deploy("v2");
    for _ in 0..25 {
        let firing = world.observe("login-broken");
        world.tell(Happening::Dismissed { firing, why: "it works".to_owned() });
    }
    assert_eq!(world.own().firings.len(), 20);
    world.shop().runs.insert(path("pipeline"), Run::Hangs);
    let firing = world.observe("smoke-test");
    let attempt = world.started()[0].attempt.clone();
    for _ in 0..250 {
        world.tell(Happening::AttemptWaits { attempt: attempt.clone(), why: "a person".to_owned() });
    }
    assert_eq!(world.firing(&firing).story.len(), 200);
}

#[test]
fn a_deploy_remembers_how_the_first_of_its_firings_ended() {
    let mut world = World::proven();
    let deploy = world.deploy("v2");
    for _ in 0..REMEMBERED_INCIDENTS + 4 {
        let firing = world.observe("login-broken");
        world.tell(Happening::Dismissed { firing, why: "it works".to_owned() });
    }
    let incidents = &world.own().ledger.entry(&deploy).expect("the deploy").incidents;
    let receipts: Vec<u64> = incidents.iter().map(|incident| incident.receipt).collect();
    assert_eq!(receipts, (1..=REMEMBERED_INCIDENTS as u64).collect::<Vec<_>>());
    assert!(incidents.iter().all(|each| (each.result, each.rollbacks) == (FiringEnd::Dismissed, 0)));
}

#[test]
fn a_deploy_remembers_how_many_paths_brought_production_back_and_when() {
    let mut world = World::proven();
    world.shop().runs.insert(path("pipeline"), Run::Fails(duration("10s")));
    let deploy = world.deploy("v2");
    world.run("1m");
    let observed_at = world.now;
    world.observe("smoke-test");
    world.run("5m");
    let incidents = &world.own().ledger.entry(&deploy).expect("the deploy").incidents;
    let recovered_at = world.fired("smoke-test").expect("it fired").recovered_at;
    assert!(recovered_at.is_some());
    let told: Vec<_> = incidents.iter().map(|each| (each.observed_at, each.recovered_at, each.rollbacks)).collect();
    assert_eq!(told, [(observed_at, recovered_at, 1)], "one of the two paths");
}

#[test]
fn a_watch_whose_last_looks_do_not_come_ends_three_intervals_late() {
    let mut world = World::proven();
    world.deploy("v2");
    world.run("29m");
    world.shop().queries_fail = true;
    world.run_to(instant("2026-11-23T11:10:51Z"));
    assert_eq!(world.watch_end("v2"), None);
    world.run_to(instant("2026-11-23T11:10:52Z"));
    assert_eq!(world.watch_end("v2"), Some(WatchEnd::Blind));
}

#[test]
fn every_record_counts_one_in_the_sequence_of_its_service() {
    let names = [SHOP, "other"];
    let mut world = World::proven_with(fleet(&names));
    world.deploy_of(&service("other"), report("v2"));
    world.deploy("v2");
    world.observe("smoke-test");
    world.run("10m");
    for name in names {
        let records = world.journal.iter().filter(|entry| entry.service == service(name)).count();
        assert_eq!(world.state.services[name].sequence, records as u64, "{name}");
    }
}

#[test]
fn an_id_is_short_and_plain() {
    for good in ["shop-f-20261123T100000Z-1", "0a1b2c", "A.b_c-d", &"a".repeat(128)] {
        assert!(FiringId::new(good).is_ok() && Commit::new(good).is_ok() && PageId::new(good).is_ok(), "{good}");
    }
    for bad in ["", "-a", ".a", "a/b", "a b", "a;b", "$(id)", "a\n", "{{x}}", "<b>", "a:b", &"a".repeat(129)] {
        assert!(FiringId::new(bad).is_err() && Commit::new(bad).is_err() && PageId::new(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_name_that_is_hardly_alike_is_not_near() {
    // Seven letters of ten, all in their place: a likeness of 0.8.
    assert!(nearest("xyzabcdefg", ["uvwabcdefg"]).is_empty());
    assert_eq!(nearest("xyzabcdefg", ["uvzabcdefg"]), ["uvzabcdefg"]);
}

#[test]
fn a_template_names_its_own_variables_alone_and_is_shown_as_it_was_written() {
    let written = "--to={{ target.version }} {{service}}";
    let template = Template::parse(written).expect("a template");
    let named: Vec<Variable> = Variable::ALL.into_iter().filter(|each| template.names(*each)).collect();
    assert_eq!(named, [Variable::Service, Variable::TargetVersion]);
    assert_eq!(template.to_string(), written);
}

#[test]
fn a_template_is_known_by_its_one_name_only_where_nothing_else_stands_in_it() {
    let sole = |text: &str| Template::parse(text).expect("a template").sole();
    assert_eq!(sole("{{ service }}"), Some(Variable::Service));
    for more in ["service", "v{{ service }}", "{{ service }}.", "<{{ service }}>", "{{ service }}{{ service }}"] {
        assert_eq!(sole(more), None, "{more}");
    }
}

#[test]
fn a_freeze_for_ever_is_there_after_a_restart() {
    let mut world = World::proven();
    world.tell(Happening::Frozen { duration: Duration::MAX, why: "closed".to_owned() });
    world.restart();
    assert!(world.own().frozen(world.now).is_some());
}

#[test]
fn prometheus_is_given_seconds_and_whole_units() {
    assert!((Timestamp::from_milliseconds(1_234_567).seconds() - 1234.567).abs() < f64::EPSILON);
    assert_eq!(promql_duration(duration("1m30s")), "90s");
    assert_eq!(promql_duration(duration("1500ms")), "1500ms");
    assert_eq!(promql_duration(duration("0s")), "1ms", "a range of nothing is no range");
}

#[test]
fn prometheus_is_given_numbers_of_32_bits_and_no_more_than_its_292_years() {
    let most = u64::from(u32::MAX);
    for (milliseconds, shown) in [
        (most, "4294967295ms"),
        (most + 1, "49d61367296ms"),
        (most * 1000, "4294967295s"),
        ((most + 1) * 1000, "49710d23296000ms"),
        (50_000 * 86_400_000, "50000d"),
        (9_223_372_036_854, "106751d85636854ms"),
        (9_223_372_036_855, "106751d85636854ms"),
        (u64::MAX, "106751d85636854ms"),
    ] {
        assert_eq!(promql_duration(Duration::from_millis(milliseconds)), shown);
    }
}
