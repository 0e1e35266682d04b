//! What a receipt concludes: gaps, what is left to a human, and the sentence that says what happened.

use super::*;

/// A firing in which nothing ran, and its end.
fn nothing_ran(result: FiringEnd) -> Firing {
    let mut firing = firing();
    firing.attempts.clear();
    firing.proof = Proof::default();
    firing.recovered_at = None;
    firing.stage = Stage::Ended { result, at: at(480.0), receipt: 1, published: false };
    firing
}

/// A service that proves nothing.
fn without_proof() -> Service {
    Service { version_query: None, smoke: None, ..service() }
}

/// Evidence in which nothing is missing.
fn complete() -> Evidence {
    Evidence { side_effects: vec![], ..evidence() }
}

fn gaps_of(firing: &Firing, service: &Service) -> Vec<GapKind> {
    gaps(&receipt(firing, service, &complete()).unwrap())
}

fn to_do_of(firing: &Firing, evidence: &Evidence) -> Vec<String> {
    told(firing, evidence).to_do.iter().map(rollbackd_core::receipt::Sentence::plain).collect()
}

#[test]
fn no_target_is_a_gap_only_where_one_was_looked_for() {
    let mut firing = nothing_ran(FiringEnd::Paged);
    assert_eq!(gaps_of(&firing, &service()), []);
    firing.target = None;
    assert_eq!(gaps_of(&firing, &service()), [GapKind::NoTarget]);
    firing.never_roll_back = true;
    assert_eq!(gaps_of(&firing, &service()), []);
}

#[test]
fn how_long_a_dry_run_took_is_no_gap() {
    let mut firing = firing();
    firing.attempts.remove(0);
    firing.recovered_at = Some(at(1231.0));
    let slow = [GapKind::OverBudget, GapKind::Slow, GapKind::GitNotUpdated];
    assert_eq!(gaps_of(&firing, &service()), slow);
    firing.dry_run = true;
    firing.would_run = std::mem::take(&mut firing.attempts);
    assert_eq!(gaps_of(&firing, &service()), []);
}

#[test]
fn proof_is_missed_only_where_it_was_due() {
    let missing = [GapKind::NoVersionQuery, GapKind::NoSmoke];
    assert_eq!(gaps_of(&nothing_ran(FiringEnd::Paged), &without_proof()), []);
    assert_eq!(gaps_of(&nothing_ran(FiringEnd::Recovered), &without_proof()), missing);
    let mut firing = firing();
    firing.attempts.remove(0);
    firing.stage = Stage::Ended { result: FiringEnd::Paged, at: at(480.0), receipt: 1, published: false };
    assert_eq!(gaps_of(&firing, &without_proof())[1..], missing);
}

#[test]
fn a_missing_series_is_a_gap_only_of_what_is_measured() {
    let mut firing = nothing_ran(FiringEnd::Paged);
    let without = Evidence { series: vec![(at(0.0), f64::NAN)], ..complete() };
    assert_eq!(gaps(&told(&firing, &without)), [GapKind::NoSeries]);
    firing.origin = Origin::Report;
    assert_eq!(gaps(&told(&firing, &without)), []);
}

#[test]
fn a_path_falls_through_unless_it_worked_or_never_began() {
    let worked = Outcome::Succeeded { receipt: None, output: String::new() };
    let why = || "why".to_owned();
    let table = [
        (Some(worked), false, false),
        (Some(Outcome::NeverStarted), false, false),
        (Some(Outcome::Failed { why: why(), output: String::new() }), true, false),
        (Some(Outcome::Cancelled { why: why() }), true, false),
        (Some(Outcome::TimedOut), true, true),
        (Some(Outcome::Unknown { why: why() }), true, true),
        (None, true, true),
    ];
    for (outcome, falls, is_doubtful) in table {
        let mut firing = firing();
        firing.attempts.truncate(1);
        firing.attempts[0].outcome = outcome;
        let receipt = told(&firing, &complete());
        assert_eq!(gaps(&receipt).contains(&GapKind::PathFellThrough), falls, "{:?}", firing.attempts[0].outcome);
        let to_do = to_do_of(&firing, &complete());
        let look_up = to_do.iter().any(|each| each.starts_with("Look up what became of pipeline, attempt "));
        assert_eq!(look_up, is_doubtful, "{:?} {to_do:?}", firing.attempts[0].outcome);
    }
}

#[test]
fn what_a_path_leaves_behind_is_said_once_and_only_if_it_may_have_worked() {
    let left = |outcomes: &[Outcome]| {
        let mut firing = firing();
        let console = firing.attempts.remove(1);
        firing.attempts =
            outcomes.iter().map(|outcome| Attempt { outcome: Some(outcome.clone()), ..console.clone() }).collect();
        let said = to_do_of(&firing, &complete()).iter().filter(|each| each.starts_with("After console: ")).count();
        assert_eq!(gaps_of(&firing, &service()).iter().filter(|gap| **gap == GapKind::GitNotUpdated).count(), said);
        said
    };
    let worked = Outcome::Succeeded { receipt: None, output: String::new() };
    let failed = Outcome::Failed { why: String::new(), output: String::new() };
    assert_eq!(left(&[worked.clone(), worked.clone()]), 1);
    assert_eq!(left(&[Outcome::TimedOut, worked]), 1);
    assert_eq!(left(&[failed, Outcome::NeverStarted, Outcome::Cancelled { why: String::new() }]), 0);
}

#[test]
fn each_path_is_compared_with_its_own_rehearsal() {
    let experience = |path: &str, rehearsed_at| PathExperience {
        path: PathName::new(path).unwrap(),
        rehearsed_at,
        rehearsed_as: None,
        took: vec![],
        back_after: vec![],
    };
    let earlier = Some(vec![experience("pipeline", None), experience("console", Some(at(9.0)))]);
    let mut firing = firing();
    // A path that ran twice is looked at once.
    firing.attempts.push(firing.attempts[0].clone());
    let receipt = told(&firing, &Evidence { earlier, ..complete() });
    let never: Vec<String> =
        receipt.gaps.iter().filter(|gap| gap.gap == GapKind::PathNeverRehearsed).map(|gap| gap.text.plain()).collect();
    assert_eq!(never, ["Path pipeline was never rehearsed."]);
}

#[test]
fn what_a_human_must_do_follows_from_how_it_ended() {
    let find_out = "Find out why v1.4.2 set off error-rate before that change is deployed again.";
    let decide = "Decide about capstone-api: nothing was rolled back.";
    let back = "Bring capstone-api back by hand: it has not been seen to recover.";
    let to_do = |firing: &Firing| to_do_of(firing, &complete());
    assert_eq!(to_do(&nothing_ran(FiringEnd::Recovered)), [find_out]);
    assert_eq!(to_do(&nothing_ran(FiringEnd::Paged)), [decide, find_out]);
    assert_eq!(to_do(&nothing_ran(FiringEnd::NotRecovered)), [back, find_out]);
    assert_eq!(to_do(&nothing_ran(FiringEnd::Dismissed)), Vec::<String>::new());
    let dry_run = Firing { dry_run: true, ..nothing_ran(FiringEnd::Paged) };
    assert_eq!(to_do(&dry_run), [find_out]);
    let rehearsal = Evidence { kind: Kind::Rehearsal, ..complete() };
    assert_eq!(to_do_of(&nothing_ran(FiringEnd::Recovered), &rehearsal), Vec::<String>::new());
}

#[test]
fn a_note_and_a_migration_are_told_to_the_human() {
    let note = "The trigger's note says: Expand-contract; see RUNBOOK.md#migrations";
    let migration = "The deploy migrated data: follow the migration plan before code goes back.";
    let said = |result, migration| {
        let mut firing = nothing_ran(result);
        firing.trigger = TriggerName::new("login-broken").unwrap();
        firing.deploy.as_mut().unwrap().migration = migration;
        let mut to_do = to_do_of(&firing, &complete());
        to_do.retain(|each| each.starts_with("The "));
        to_do
    };
    assert_eq!(said(FiringEnd::Recovered, Migration::None), [note]);
    assert_eq!(said(FiringEnd::Recovered, Migration::Breaking), [note, migration]);
    assert_eq!(said(FiringEnd::Recovered, Migration::Compatible), [note]);
    assert_eq!(said(FiringEnd::Dismissed, Migration::Breaking), [migration]);
}

#[test]
fn a_side_effect_that_did_not_happen_asks_for_nothing() {
    let shown = |count| {
        let mut evidence = evidence();
        evidence.side_effects.truncate(1);
        evidence.side_effects[0].count = count;
        let to_do = to_do_of(&nothing_ran(FiringEnd::Recovered), &evidence);
        to_do[0].strip_prefix("payments (").map(|rest| rest.split_once("):").unwrap().0.to_owned())
    };
    assert_eq!(shown(Ok(0.0)), None);
    assert_eq!(shown(Ok(41.0)).as_deref(), Some("41"));
    assert_eq!(shown(Ok(41.04)).as_deref(), Some("41"));
    assert_eq!(shown(Ok(40.96)).as_deref(), Some("41"));
    assert_eq!(shown(Ok(41.7)).as_deref(), Some("about 41.7"));
    assert_eq!(shown(Ok(0.05)).as_deref(), Some("about 0.1"));
    assert_eq!(shown(Ok(f64::NAN)).as_deref(), Some("not known"));
    assert_eq!(shown(Err("why".to_owned())).as_deref(), Some("not known"));
}

#[test]
fn the_summary_says_what_came_of_it() {
    let summary = |firing: &Firing| {
        let summary = told(firing, &evidence()).summary.plain();
        summary.split_once("5 %)").unwrap().1.to_owned()
    };
    let mut firing = firing();
    let rolled_back = " and was rolled back to v1.4.1 by console; production was back";
    assert_eq!(summary(&firing), format!("{rolled_back} 2m 30s after it was observed, within the budget of 5m."));
    firing.recovered_at = Some(at(630.0));
    assert_eq!(summary(&firing), format!("{rolled_back} 5m after it was observed, within the budget of 5m."));
    firing.recovered_at = Some(at(631.0));
    assert_eq!(summary(&firing), format!("{rolled_back} 5m 1s after it was observed, beyond the budget of 5m."));
    firing.budget = None;
    assert_eq!(summary(&firing), format!("{rolled_back} 5m 1s after it was observed; no budget was set."));

    let paged = nothing_ran(FiringEnd::Paged);
    assert_eq!(summary(&paged), ", a human was paged, and no rollback of ours followed.");
    assert_eq!(summary(&Firing { dry_run: true, ..paged }), ", and a human would have been paged.");
    let dismissed = Firing { dismissed: Some("a drill".to_owned()), ..nothing_ran(FiringEnd::Dismissed) };
    assert_eq!(summary(&dismissed), ", and a human dismissed it: a drill.");
    let mut gone = nothing_ran(FiringEnd::NotRecovered);
    gone.attempts = two_attempts();
    assert_eq!(summary(&gone), ", and after 2 attempts production has not been seen to recover.");
    gone.attempts.truncate(1);
    assert_eq!(summary(&gone), ", and after one attempt production has not been seen to recover.");
    gone.attempts.clear();
    assert_eq!(summary(&gone), ", nothing was run, and production has not been seen to recover.");
}

#[test]
fn where_nothing_was_run_the_receipt_says_what_happened_instead() {
    let section = |firing: &Firing| {
        let markdown = told(firing, &evidence()).markdown(PARTS);
        let after = markdown.split_once("\n## Commands ").unwrap().1;
        after.split_once("\n\n## ").unwrap().0.to_owned()
    };
    for (end, says) in [
        (FiringEnd::Paged, "Nothing was run: a human was paged."),
        (FiringEnd::Dismissed, "Nothing was run: a human dismissed it."),
        (FiringEnd::Recovered, "Nothing was run: production came back without a path of ours."),
        (FiringEnd::NotRecovered, "Nothing was run, and production was not seen to recover."),
    ] {
        assert_eq!(section(&nothing_ran(end)), format!("run\n\n{says}"));
    }
    let paged = Firing { dry_run: true, ..nothing_ran(FiringEnd::Paged) };
    let says = "Nothing was run, and no path would have been: a human would have been paged.";
    assert_eq!(section(&paged), format!("that would have been run\n\n{says}"));
}

#[test]
fn the_story_is_told_in_the_order_of_time_and_at_one_instant_as_it_was_recorded() {
    let step = |seconds, what: &str| Step { at: at(seconds), what: what.to_owned() };
    let recorded = [step(340.0, "a"), step(360.0, "c"), step(350.0, "b"), step(360.0, "d"), step(340.0, "a, too")];
    let receipt = told(&Firing { story: recorded.to_vec(), ..firing() }, &evidence());
    let told: Vec<&str> = receipt.story.iter().map(|step| step.what.as_str()).collect();
    assert_eq!(told, ["a", "a, too", "b", "c", "d"]);
}

#[test]
fn a_count_that_is_no_number_is_a_gap() {
    let mut evidence = evidence();
    evidence.side_effects.truncate(1);
    evidence.side_effects[0].count = Ok(f64::NAN);
    assert_eq!(gaps(&told(&nothing_ran(FiringEnd::Recovered), &evidence)), [GapKind::SideEffectNotCounted]);
}

#[test]
fn a_path_that_was_passed_over_is_told_with_its_reason() {
    let passed_over = vec![(PathName::new("revert").unwrap(), "too slow".to_owned())];
    let firing = Firing { passed_over: passed_over.clone(), ..firing() };
    assert_eq!(told(&firing, &complete()).passed_over, passed_over);
}

#[test]
fn the_build_of_a_revert_is_named_beside_the_version_that_it_stands_for() {
    let markdown = |built: Option<&str>| {
        let built = built.map(|built| Version::new(built).unwrap());
        told(&Firing { built, ..firing() }, &complete()).markdown(PARTS)
    };
    let with = markdown(Some("sha-8f3c0d5"));
    let expected = "- Proof: `v1.4.1` (or `sha-8f3c0d5`, the build of its revert) seen serving at 10:06:45.000";
    assert!(with.replace('\\', "").contains(expected), "{with}");
    assert!(!markdown(None).contains("the build of its revert"));
}

#[test]
fn that_nothing_is_left_to_do_is_said_and_why_where_it_was_dismissed() {
    let end_of = |firing: &Firing, evidence: &Evidence| {
        let markdown = told(firing, evidence).markdown(PARTS);
        let (_, rest) = markdown.split_once("## What a human must still do\n\n").unwrap();
        rest.split_once("\n\n## ").unwrap().0.to_owned()
    };
    let rehearsal = Evidence { kind: Kind::Rehearsal, ..complete() };
    assert_eq!(end_of(&nothing_ran(FiringEnd::Recovered), &rehearsal), "Nothing.");
    assert_eq!(end_of(&nothing_ran(FiringEnd::Dismissed), &complete()), "Nothing: it was dismissed.");
}
