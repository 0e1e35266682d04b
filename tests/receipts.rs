//! Receipts from a firing to the files: what they tell, that nobody's text breaks out of them, and that what happens to
//! the files is found.

#![expect(clippy::unwrap_used, reason = "in a test, the helpers as well, a panic is the message")]

#[path = "receipts/conclusions.rs"]
mod conclusions;
#[path = "receipts/picture.rs"]
mod picture;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rollbackd::receipts::{Error, Receipts, Summary, json, table};
use rollbackd_core::config::{
    Action, AutomaticLimit, Condition, Limit, Metric, Observed, PathRule, Query, RunPart, Service, Trigger,
};
use rollbackd_core::deploy::{Deploy, Migration, Target, TargetSource};
use rollbackd_core::firing::{Attempt, Firing, FiringEnd, Origin, Outcome, Proof, Stage, Step, Took};
use rollbackd_core::name::{
    AttemptId, Commit, DeployId, FiringId, PathName, RehearsalId, ServiceName, TriggerName, Version,
};
use rollbackd_core::receipt::{
    Evidence, FrontMatter, GapKind, Kind, Parts, PathExperience, Receipt, SideEffectCount, receipt,
};
use rollbackd_core::rehearsal::{PathRun, Rehearsed, Rehearsing};
use rollbackd_core::template::Template;
use rollbackd_core::time::Timestamp;

const PARTS: Parts<'static> = Parts { facts_sha256: "f", svg_sha256: "s" };

/// Seconds after the deploy.
fn at(seconds: f64) -> Timestamp {
    let deploy: Timestamp = "2026-11-23T10:00:00.000Z".parse().unwrap();
    let by = Duration::from_secs_f64(seconds.abs());
    if seconds < 0.0 { deploy - by } else { deploy + by }
}

fn path(name: &str, kind: &'static str, run: &[(&str, &str)], leaves_behind: Option<&str>) -> PathRule {
    let part =
        |(name, value): &(&str, &str)| RunPart { name: (*name).to_owned(), value: Template::parse(value).unwrap() };
    PathRule {
        name: PathName::new(name).unwrap(),
        timeout: Duration::from_secs(240),
        repeatable: false,
        kind,
        run: run.iter().map(part).collect(),
        leaves_behind: leaves_behind.map(str::to_owned),
        pipeline_files: Vec::new(),
    }
}

fn trigger(name: &str, observed: Observed, note: Option<&str>) -> Trigger {
    Trigger {
        name: TriggerName::new(name).unwrap(),
        observed,
        hold: Duration::from_secs(120),
        budget: Some(Duration::from_secs(300)),
        action: Action::Rollback,
        never_roll_back: false,
        veto: Duration::ZERO,
        note: note.map(str::to_owned),
        shared: None,
    }
}

fn service() -> Service {
    let ratio = Metric {
        query: Query::Ratio { bad: Template::parse("bad").unwrap(), total: Template::parse("total").unwrap() },
        condition: Condition::Above(Limit::Fixed { value: 0.05, shown_as_percentage: true }),
        at_least: None,
        window: Duration::from_secs(60),
        freshness: None,
        step: Duration::from_secs(15),
        comparison: None,
    };
    let console = [("", "gcloud"), ("", "--to-revisions={{ target.revision }}=100")];
    Service {
        name: ServiceName::new("capstone-api").unwrap(),
        watch: Duration::from_secs(1800),
        page: vec![],
        escalate_after: None,
        announce: Vec::new(),
        version_query: Some(Template::parse("app_build_info").unwrap()),
        watch_version: false,
        triggers: vec![
            trigger("error-rate", Observed::Metric(Arc::new(ratio)), None).into(),
            trigger("login-broken", Observed::Report, Some("Expand-contract; see RUNBOOK.md#migrations")).into(),
        ],
        paths: vec![
            path("pipeline", "github_actions", &[("inputs.image_tag", "{{ target.version }}")], None).into(),
            path(
                "console",
                "command",
                &console,
                Some("commit the revert, or the next deploy brings the bad version back"),
            )
            .into(),
        ],
        smoke: Some("http://127.0.0.1:8080/healthz".to_owned()),
        automatic_limit: AutomaticLimit::default(),
        side_effects: Some(vec![]),
        rehearsal: None,
    }
}

fn attempt(number: u32, path: &str, shown: &str, from: f64, until: f64, outcome: Outcome) -> Attempt {
    Attempt {
        id: AttemptId::new(format!("capstone-api-f-1-a{number}")).unwrap(),
        path: PathName::new(path).unwrap(),
        run: vec![],
        shown: shown.to_owned(),
        started_at: at(from),
        ends_at: at(from + 240.0),
        handle: None,
        in_doubt: false,
        ended_at: Some(at(until)),
        outcome: Some(outcome),
    }
}

fn step(seconds: f64, what: &str) -> Step {
    Step { at: at(seconds), what: what.to_owned() }
}

fn two_attempts() -> Vec<Attempt> {
    let failed = Outcome::Failed {
        why: "the run ended as failure: image not found".to_owned(),
        output: "Error: manifest unknown\n".to_owned(),
    };
    let succeeded = Outcome::Succeeded {
        receipt: Some("capstone-api-00041-xyz".to_owned()),
        output: "Updating traffic... done.\n".to_owned(),
    };
    let pipeline = "github_actions acme/capstone-api deploy.yml@main image_tag=v1.4.1";
    let console = "command gcloud run services update-traffic capstone-api --to-revisions=capstone-api-00041-xyz=100";
    vec![
        attempt(1, "pipeline", pipeline, 330.25, 371.5, failed),
        attempt(2, "console", console, 371.6, 395.0, succeeded),
    ]
}

/// The first path fails, the second one brings production back within the budget.
fn firing() -> Firing {
    Firing {
        id: FiringId::new("capstone-api-f-1").unwrap(),
        trigger: TriggerName::new("error-rate").unwrap(),
        origin: Origin::Metric,
        deploy: Some(Deploy {
            id: DeployId::new("capstone-api-d-1").unwrap(),
            version: Version::new("v1.4.2").unwrap(),
            previous: None,
            commit: Some(Commit::new("9f1c2ab").unwrap()),
            migration: Migration::None,
            run_url: None,
            at: at(0.0),
            reported_at: at(2.0),
            key: None,
            seen: false,
            rehearsal: false,
        }),
        target: Some(Target { version: Version::new("v1.4.1").unwrap(), source: TargetSource::Passed, revision: None }),
        built: None,
        note: None,
        value: Some(0.1312),
        limit: Some(0.05),
        budget: Some(Duration::from_secs(300)),
        never_roll_back: false,
        dry_run: false,
        rehearsal: None,
        breach_at: at(210.0),
        observed_at: at(330.0),
        decided_at: at(330.2),
        stage: Stage::Ended { result: FiringEnd::Recovered, at: at(480.0), receipt: 1, published: false },
        only_path: None,
        attempts: two_attempts(),
        would_run: vec![],
        passed_over: vec![],
        earlier_attempts: 0,
        joined: vec![],
        proof: Proof {
            serving_at: Some(at(405.0)),
            smoke_at: Some(at(406.0)),
            clear_at: BTreeMap::from([(TriggerName::new("error-rate").unwrap(), at(479.5))]),
        },
        recovered_at: Some(at(480.0)),
        acknowledged: false,
        approved: false,
        dismissed: None,
        budget_paged: false,
        announced: rollbackd_core::announcement::Announced::default(),
        story: vec![
            step(330.0, "error-rate fired at 13.1 %"),
            step(371.5, "pipeline failed: image not found"),
            step(395.0, "console succeeded"),
            step(480.0, "v1.4.1 serves and every trigger is clear"),
        ],
    }
}

/// 5xx rise after the deploy, a scrape is missing twice, and they fall after the rollback.
fn series() -> Vec<(Timestamp, f64)> {
    let value = |seconds: f64| match seconds {
        ..180.0 => 0.004 + 0.003 * (seconds / 23.0).sin().abs(),
        180.0..300.0 => 0.02 + (seconds - 180.0) / 120.0 * 0.106,
        300.0..400.0 => 0.126 + 0.008 * (seconds / 17.0).sin(),
        400.0..475.0 => 0.128 * (475.0 - seconds) / 75.0 + 0.004,
        _ => 0.004,
    };
    let seconds = (-8..34).map(|slot| f64::from(slot) * 15.0);
    let seen = seconds.filter(|seconds| !(120.0..150.0).contains(seconds));
    let before = |seconds: f64| at(0.0) + Duration::from_secs_f64(seconds + 120.0) - Duration::from_secs(120);
    seen.map(|seconds| (before(seconds), value(seconds))).collect()
}

fn evidence() -> Evidence {
    let count = |name: &str, count, compensate: &str| SideEffectCount {
        name: name.to_owned(),
        count,
        compensate: compensate.to_owned(),
    };
    Evidence {
        rehearsed: BTreeMap::new(),
        kind: Kind::Incident,
        series: series(),
        limit: Some(0.05),
        limit_is_percentage: true,
        above: true,
        side_effects: vec![
            count("payments", Ok(41.7), "Void each charge of the window: payctl void --since 2026-11-23T10:00:00.000Z"),
            count("mails", Ok(0.0), "Send an apology"),
            count("exports", Err("the query timed out".to_owned()), "Delete the exports of the window"),
        ],
        side_effects_declared: true,
        earlier: None,
        previous_sha256: None,
    }
}

fn told(firing: &Firing, evidence: &Evidence) -> Receipt {
    receipt(firing, &service(), evidence).unwrap()
}

fn gaps(receipt: &Receipt) -> Vec<GapKind> {
    receipt.gaps.iter().map(|gap| gap.gap).collect()
}

/// Compares with the stored text; writes it where `UPDATE_SNAPSHOTS` is set.
fn assert_stored(name: &str, text: &str) {
    let file = format!("{}/tests/snapshots/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&file, text).unwrap();
    }
    let stored = fs::read_to_string(&file).unwrap_or_default();
    assert!(stored == text, "{name} is not as stored (UPDATE_SNAPSHOTS=1 stores it):\n{text}");
}

fn reported() -> (Firing, Evidence) {
    let mut firing = firing();
    firing.trigger = TriggerName::new("login-broken").unwrap();
    firing.origin = Origin::Report;
    firing.note = Some("nobody can log in".to_owned());
    firing.breach_at = firing.observed_at;
    (firing.value, firing.limit) = (None, None);
    firing.recovered_at = None;
    firing.proof = Proof::default();
    firing.attempts.truncate(1);
    firing.stage = Stage::Ended { result: FiringEnd::NotRecovered, at: at(900.0), receipt: 2, published: false };
    (firing, Evidence { series: vec![], limit: None, limit_is_percentage: false, ..evidence() })
}

/// The pipeline has brought production back three times.
fn evidence_with_history() -> Evidence {
    let seconds = |seconds: &[u64]| seconds.iter().map(|each| Duration::from_secs(*each)).collect();
    let pipeline = PathExperience {
        path: PathName::new("pipeline").unwrap(),
        rehearsed_at: Some(at(-86_400.0)),
        rehearsed_as: None,
        took: seconds(&[61, 40, 58]),
        back_after: seconds(&[95, 64, 81]),
    };
    Evidence { earlier: Some(vec![pipeline]), ..evidence() }
}

/// The same in a rehearsal, with a witness whose name would like to be more than that.
fn rehearsed() -> Firing {
    let succeeded = Outcome::Succeeded { receipt: None, output: String::new() };
    let deployed_by = Attempt {
        id: AttemptId::new("capstone-api-r-1-a1").unwrap(),
        ..attempt(
            1,
            "pipeline",
            "github_actions acme/capstone-api deploy.yml@main image_tag=v1.4.2",
            -40.0,
            5.0,
            succeeded,
        )
    };
    let rehearsal = Rehearsing {
        id: RehearsalId::new("capstone-api-r-1").unwrap(),
        witness: Some("Ada `L.` <b>".to_owned()),
        asked_at: at(-55.0),
        deployed_by,
    };
    Firing { rehearsal: Some(Box::new(rehearsal)), ..firing() }
}

#[test]
fn a_dry_run_says_what_its_history_promises_beside_what_production_really_took() {
    let sentence = |firing: &Firing, evidence: &Evidence| told(firing, evidence).beside.unwrap().sentence().plain();
    let longer = "By pipeline (3 past runs: median 1m 21s, longest 1m 35s from its start until production was back) \
                  production would have been back 1m 21.25s after it was observed; it really took 2m 30s, 1m 8.75s longer.";
    assert_eq!(sentence(&dry_run(), &evidence_with_history()), longer);
    let unknown = "No past run of pipeline is known here: rehearse it once, and the next dry run can say when production \
                   would have been back.";
    assert_eq!(sentence(&dry_run(), &evidence()), unknown);
    let paged = Firing { would_run: vec![], ..dry_run() };
    assert!(sentence(&paged, &evidence()).contains("a human would have been paged at once"));
    assert!(told(&firing(), &evidence_with_history()).beside.is_none(), "nothing was dry");
}

#[test]
fn a_receipt_says_of_each_path_when_it_was_rehearsed_and_how_often_in_a_row() {
    let run = PathRun {
        firing: FiringId::new("capstone-api-f-0").unwrap(),
        receipt: 7,
        trigger: TriggerName::new("error-rate").unwrap(),
        took: Some(Took(Duration::from_secs(97))),
        clean: true,
        fingerprint: vec![],
    };
    let console = Rehearsed { last: run, at: at(-86_400.0), in_a_row: 2 };
    let known = BTreeMap::from([(PathName::new("console").unwrap(), console)]);
    let markdown = told(&firing(), &Evidence { rehearsed: known, ..evidence() }).markdown(PARTS);
    assert_eq!(markdown.matches("Last rehearsed at 2026-11-22T10:00:00.000Z in 1m 37s; 2 clean in a row.").count(), 1);
}

#[test]
fn a_rehearsal_that_no_trigger_saw_says_so_and_is_a_gap() {
    let trigger = TriggerName::new("rehearsal").unwrap();
    let note = Some("no trigger has fired within 30m".to_owned());
    let unseen =
        Firing { origin: Origin::Rehearsal, trigger, note, value: None, limit: None, budget: None, ..rehearsed() };
    let receipt = told(&unseen, &evidence());
    assert_eq!(receipt.front.kind, Kind::Rehearsal);
    let summary = receipt.summary.plain();
    assert!(summary.starts_with("Rehearsal: no trigger saw version v1.4.2"), "{summary}");
    assert!(gaps(&receipt).contains(&GapKind::NoTriggerSaw));
    assert!(!gaps(&told(&rehearsed(), &evidence())).contains(&GapKind::NoTriggerSaw));
}

fn dry_run() -> Firing {
    let mut firing = firing();
    firing.dry_run = true;
    firing.would_run = std::mem::take(&mut firing.attempts);
    firing.would_run.truncate(1);
    firing.would_run[0].ended_at = None;
    firing.would_run[0].outcome = None;
    firing.proof = Proof::default();
    firing
}

#[test]
fn a_whole_receipt_is_as_it_is_stored() {
    let receipt = told(&firing(), &evidence());
    assert_stored("incident.md", &receipt.markdown(PARTS));
    assert_stored("incident.json", &receipt.facts());
    assert_stored("incident.svg", &receipt.chart());
}

#[test]
fn a_report_and_a_dry_run_are_as_they_are_stored() {
    let (firing, evidence_of_report) = reported();
    let receipt = told(&firing, &evidence_of_report);
    assert_stored("reported.md", &receipt.markdown(PARTS));
    assert_stored("reported.svg", &receipt.chart());
    let receipt = told(&dry_run(), &evidence_with_history());
    assert_stored("dry-run.md", &receipt.markdown(PARTS));
    assert_stored("rehearsal.md", &told(&rehearsed(), &evidence()).markdown(PARTS));
}

#[test]
fn the_front_matter_has_the_keys_of_the_design_in_their_order() {
    let markdown = told(&firing(), &evidence()).markdown(PARTS);
    let front = markdown.split("---\n").nth(1).unwrap();
    let keys: Vec<&str> = front.lines().map(|line| line.split_once(": ").unwrap().0).collect();
    let expected = "number kind service version commit target trigger budget deployed_at breach_at observed_at decided_at \
                    path_started_at path_finished_at recovered_at total within_budget path receipt outcome previous_sha256";
    assert_eq!(keys.join(" "), expected);
    assert!(front.contains("\nobserved_at: 2026-11-23T10:05:30.000Z\n"), "{front}");
    assert!(front.contains("\ncommit: \"9f1c2ab\"\n"), "{front}");
}

#[test]
fn the_front_matter_is_read_back_as_it_was_written() {
    let mut firing = firing();
    firing.deploy.as_mut().unwrap().version = Version::new("1.10").unwrap();
    firing.target.as_mut().unwrap().version = Version::new("ghcr.io/acme/shop@sha256:ab12").unwrap();
    let strange = Some("--- \"x\": {y} # \u{7f} 'z' \\ \u{2028}".to_owned());
    firing.attempts[1].outcome = Some(Outcome::Succeeded { receipt: strange, output: String::new() });
    firing.deploy.as_mut().unwrap().commit = Some(Commit::new("12e4567").unwrap());
    let receipt = told(&firing, &evidence());
    assert_eq!(FrontMatter::read(&receipt.markdown(PARTS)), Ok(receipt.front.clone()));
    assert!(receipt.front.yaml().contains("version: \"1.10\"\n"));
}

#[test]
fn the_shares_of_the_steps_make_a_hundred() {
    for thirds in 1..60_u32 {
        let mut firing = firing();
        firing.decided_at = firing.observed_at + Duration::from_millis(u64::from(thirds) * 7);
        firing.recovered_at = Some(at(480.0) + Duration::from_millis(u64::from(thirds) * 333));
        let receipt = told(&firing, &evidence());
        let shares = receipt.timeline.phases.iter().filter_map(|phase| phase.share_percent);
        let tenths: f64 = shares.map(|share| share * 10.0).sum();
        assert!((tenths - 1000.0).abs() < 1e-6, "{tenths}");
        let clock: Duration = receipt
            .timeline
            .phases
            .iter()
            .filter(|phase| phase.share_percent.is_some())
            .map(|phase| phase.took())
            .sum();
        assert_eq!(Some(clock), receipt.front.total);
    }
}

#[test]
fn the_longest_step_is_named() {
    let receipt = told(&firing(), &evidence());
    let dominant = &receipt.timeline.phases[receipt.timeline.dominant.unwrap()];
    assert_eq!(dominant.step.plain(), "Waiting until error-rate was clear");
    assert!(
        receipt
            .markdown(PARTS)
            .contains("The dominant step: Waiting until `error-rate` was clear, 49.0 % of the total.")
    );
}

#[test]
fn a_path_that_fell_through_and_git_are_gaps() {
    let receipt = told(&firing(), &evidence());
    assert_eq!(gaps(&receipt), [GapKind::PathFellThrough, GapKind::GitNotUpdated, GapKind::SideEffectNotCounted]);
}

#[test]
fn each_gap_is_found_where_it_is() {
    let has = |change: &dyn Fn(&mut Firing, &mut Service, &mut Evidence), gap: GapKind| {
        let (mut firing, mut service, mut evidence) = (firing(), service(), evidence());
        change(&mut firing, &mut service, &mut evidence);
        gaps(&receipt(&firing, &service, &evidence).unwrap()).contains(&gap)
    };
    assert!(has(&|firing, _, _| firing.recovered_at = Some(at(1231.0)), GapKind::Slow));
    assert!(!has(&|firing, _, _| firing.recovered_at = Some(at(1230.0)), GapKind::Slow));
    assert!(has(&|firing, _, _| firing.recovered_at = Some(at(449.9)), GapKind::Fast));
    assert!(!has(&|firing, _, _| firing.recovered_at = Some(at(450.0)), GapKind::Fast));
    assert!(has(&|firing, _, _| firing.recovered_at = Some(at(630.1)), GapKind::OverBudget));
    assert!(!has(&|firing, _, _| firing.recovered_at = Some(at(630.0)), GapKind::OverBudget));
    assert!(has(&|_, service, _| service.version_query = None, GapKind::NoVersionQuery));
    assert!(has(&|_, service, _| service.smoke = None, GapKind::NoSmoke));
    assert!(has(&|_, _, evidence| evidence.side_effects_declared = false, GapKind::SideEffectsNotDeclared));
    assert!(has(&|_, _, evidence| evidence.series.clear(), GapKind::NoSeries));
    assert!(has(&|firing, _, _| firing.target = None, GapKind::NoTarget));
    assert!(has(&|_, _, evidence| evidence.earlier = Some(vec![]), GapKind::PathNeverRehearsed));
    let (reported, evidence) = reported();
    assert!(gaps(&told(&reported, &evidence)).contains(&GapKind::NotRecovered));
}

#[test]
fn a_path_that_changed_since_its_rehearsal_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let receipts = Receipts::new(folder.path());
    let rehearsal = Evidence { kind: Kind::Rehearsal, ..evidence() };
    receipts.publish(&told(&firing(), &rehearsal)).unwrap();
    let earlier = receipts.experience(&service().name).unwrap();
    let console = PathExperience {
        path: PathName::new("console").unwrap(),
        rehearsed_at: Some(at(371.6)),
        rehearsed_as: Some(vec![
            "command".to_owned(),
            "gcloud".to_owned(),
            "--to-revisions={{ target.revision }}=100".to_owned(),
        ]),
        took: vec![Duration::from_millis(23_400)],
        back_after: vec![Duration::from_millis(108_400)],
    };
    assert_eq!(earlier, [console]);

    let evidence = Evidence { earlier: Some(earlier), ..evidence() };
    assert!(!gaps(&told(&firing(), &evidence)).contains(&GapKind::PathChanged));
    let mut changed = service();
    Arc::make_mut(&mut changed.paths[1]).run[0].value = Template::parse("gcloud-beta").unwrap();
    assert!(gaps(&receipt(&firing(), &changed, &evidence).unwrap()).contains(&GapKind::PathChanged));
    assert!(receipts.experience(&ServiceName::new("billing").unwrap()).unwrap().is_empty());
}

#[test]
fn a_dry_run_says_what_would_have_been_run_and_that_nothing_was() {
    let receipt = told(&dry_run(), &evidence());
    let markdown = receipt.markdown(PARTS);
    assert!(markdown.contains("kind: dry-run\n"));
    assert!(markdown.contains("## Commands that would have been run\n\nNothing was run.\n"), "{markdown}");
    assert!(markdown.contains("image_tag=v1.4.1"), "{markdown}");
    assert!(receipt.front.path_started_at.is_none() && receipt.front.total.is_some());
}

#[test]
fn a_firing_that_is_open_has_no_receipt() {
    let mut firing = firing();
    firing.stage = Stage::Rolling;
    assert!(receipt(&firing, &service(), &evidence()).is_err());
}

/// What somebody could put wherever they may write.
const HOSTILE: &str = "<script>alert(1)</script> [x](javascript:alert(1)) ![y](https://evil.example/z.png) ` `` ``` | a | b |\n---\n# H\n\
     - key: value\n~~~\n<img src=x onerror=alert(1)>\u{202e}\u{1b}[31m &lt; \" ' ]]> --> \n```\n<b>";

fn hostile() -> (Firing, Evidence) {
    let (mut firing, mut evidence) = (firing(), evidence());
    let text = || HOSTILE.to_owned();
    firing.note = Some(text());
    firing.story.push(step(400.0, HOSTILE));
    firing.passed_over.push((PathName::new("revert").unwrap(), text()));
    firing.attempts[0].shown = text();
    firing.attempts[0].outcome = Some(Outcome::Failed { why: text(), output: text() });
    firing.attempts[1].outcome = Some(Outcome::Succeeded { receipt: Some(text()), output: text() });
    evidence.side_effects[0].name = text();
    evidence.side_effects[0].compensate = text();
    evidence.side_effects[1].count = Err(text());
    (firing, evidence)
}

/// The markdown without its code, in which nothing means anything: fenced blocks, then spans.
fn without_code(markdown: &str) -> String {
    let mut rest = String::new();
    let mut fence: Option<String> = None;
    for line in markdown.lines() {
        let ticks: String = line.chars().take_while(|each| *each == '`').collect();
        match &fence {
            Some(open) if line.trim_end() == open => fence = None,
            Some(_) => {}
            None if ticks.len() >= 3 && !line[ticks.len()..].contains('`') => fence = Some(ticks),
            None => rest.push_str(&format!("{}\n", without_spans(line))),
        }
    }
    assert_eq!(fence, None, "a fence is still open at the end");
    rest
}

fn without_spans(line: &str) -> String {
    let mut rest = String::new();
    let characters: Vec<char> = line.chars().collect();
    let mut index = 0;
    while index < characters.len() {
        if characters[index] == '\\' {
            index += 2;
            continue;
        }
        if characters[index] != '`' {
            rest.push(characters[index]);
            index += 1;
            continue;
        }
        let run = |from: usize| characters[from..].iter().take_while(|each| **each == '`').count();
        let open = run(index);
        let mut end = index + open;
        while end < characters.len() && !(characters[end] == '`' && run(end) == open) {
            end += if characters[end] == '`' { run(end) } else { 1 };
        }
        assert!(end < characters.len(), "a span of code is not closed: {line}");
        index = end + open;
    }
    rest
}

#[test]
fn text_from_outside_makes_no_markup() {
    let (firing, evidence) = hostile();
    let markdown = told(&firing, &evidence).markdown(PARTS);
    assert_stored("hostile.md", &markdown);
    let body = markdown.splitn(3, "---\n").nth(2).unwrap();
    let rest = without_code(body);
    for forbidden in ["<", "~~~", "&lt;", "://", "\u{202e}", "\u{1b}"] {
        assert!(!rest.contains(forbidden), "{forbidden}: {rest}");
    }
    // The picture and the two files: links of our own, and as many headings and rules as a harmless receipt has.
    assert_eq!(rest.matches("](").count(), 3, "{rest}");
    let harmless = without_code(&told(&self::firing(), &self::evidence()).markdown(PARTS));
    let lines_with = |text: &str, start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    for start in ["#", "---", "|---", "```"] {
        let in_body = |text: &str| lines_with(text, start);
        assert!(in_body(&rest) <= in_body(&harmless), "{start}: {rest}");
    }
}

#[test]
fn tables_keep_their_columns_whatever_stands_in_them() {
    let (firing, evidence) = hostile();
    let markdown = told(&firing, &evidence).markdown(PARTS);
    let bars = |line: &str| line.replace("\\\\", "").replace("\\|", "").matches('|').count();
    let mut expected = None;
    for line in markdown.lines() {
        if !line.starts_with('|') {
            expected = None;
            continue;
        }
        assert_eq!(bars(line), *expected.get_or_insert(bars(line)), "{line}");
    }
}

#[test]
fn the_front_matter_holds_against_text_from_outside() {
    let (firing, evidence) = hostile();
    let receipt = told(&firing, &evidence);
    let markdown = receipt.markdown(PARTS);
    assert_eq!(FrontMatter::read(&markdown), Ok(receipt.front.clone()));
    assert_eq!(receipt.front.yaml().lines().count(), 23);
}

#[test]
fn every_text_is_bounded() {
    let (mut firing, mut evidence) = (firing(), evidence());
    let long = "x`| \n".repeat(20_000);
    firing.note = Some(long.clone());
    firing.attempts[0].shown.clone_from(&long);
    firing.attempts[0].outcome = Some(Outcome::Failed { why: long.clone(), output: long.clone() });
    firing.story = vec![step(400.0, &long); 5000];
    firing.attempts.extend(vec![firing.attempts[0].clone(); 500]);
    evidence.side_effects = vec![evidence.side_effects[0].clone(); 5000];
    evidence.series = (0..100_000).map(|index| (at(f64::from(index) / 100.0), 0.01)).collect();
    let receipt = told(&firing, &evidence);
    assert!(receipt.markdown(PARTS).len() < 2_000_000);
    assert!(receipt.chart().len() < 40_000, "{}", receipt.chart().len());
    assert!(receipt.timeline.phases.len() < 1200);
}

#[test]
fn the_chart_is_well_formed_and_brings_nothing_along() {
    let (mut firing, mut evidence) = hostile();
    evidence.series.push((at(481.0), f64::NAN));
    evidence.series.push((at(482.0), f64::INFINITY));
    firing.value = Some(f64::NAN);
    for receipt in
        [told(&firing, &evidence), told(&reported().0, &reported().1), told(&dry_run(), &Evidence::default())]
    {
        let svg = receipt.chart();
        assert_eq!(svg, receipt.chart());
        for forbidden in ["<script", "href", "NaN", "inf", "@import", "url(http", "onerror=\""] {
            assert!(!svg.contains(forbidden), "{forbidden}: {svg}");
        }
        assert_eq!(svg.matches("http").count(), 1, "the name of SVG alone");
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }
}

#[test]
fn no_flag_of_the_chart_lies_on_another_or_is_crossed() {
    // Places of the flags and lines, out of the picture itself.
    let number = |line: &str, key: &str| -> f64 {
        let (_, rest) = line.split_once(&format!(" {key}=\"")).unwrap();
        rest.split_once('"').unwrap().0.parse().unwrap()
    };
    for recovered in [331.0, 335.0, 372.0, 480.0, 2000.0] {
        let mut firing = firing();
        firing.recovered_at = Some(at(recovered));
        let svg = told(&firing, &evidence()).chart();
        let lines: Vec<&str> = svg.lines().collect();
        let marks = lines.windows(2).filter(|pair| pair[0].contains("class=\"mark"));
        let flags: Vec<(f64, f64, f64)> = marks
            .map(|pair| {
                let (_, text) = pair[1].split_once('>').unwrap();
                let text = text.trim_end_matches("</text>");
                let left = number(pair[1], "x");
                (left, left + f64::from(u32::try_from(text.chars().count()).unwrap()) * 6.5, number(pair[0], "y1"))
            })
            .collect();
        assert_eq!(flags.len(), 6, "{svg}");
        for (index, (left, _, top)) in flags.iter().enumerate() {
            for (_, earlier_right, earlier_top) in &flags[..index] {
                assert!(left - 5.0 >= *earlier_right || top > earlier_top, "{flags:?}");
            }
        }
        assert!(flags.iter().all(|(_, right, _)| *right <= 800.0), "{flags:?}");
    }
}

/// A folder with three receipts of which each continues the one before.
fn three() -> (tempfile::TempDir, Receipts, Vec<(u64, String)>) {
    let folder = tempfile::tempdir().unwrap();
    let receipts = Receipts::new(folder.path());
    let mut published = Vec::new();
    for number in 1..=3 {
        let previous_sha256 = receipts.previous_sha256(number).unwrap();
        let one = receipts.publish(&numbered(number, previous_sha256)).unwrap();
        published.push((one.number, one.sha256));
    }
    (folder, receipts, published)
}

fn numbered(number: u64, previous_sha256: Option<String>) -> Receipt {
    let mut firing = firing();
    firing.id = FiringId::new(format!("capstone-api-f-{number}")).unwrap();
    firing.stage = Stage::Ended { result: FiringEnd::Recovered, at: at(480.0), receipt: number, published: false };
    told(&firing, &Evidence { previous_sha256, ..evidence() })
}

/// The numbers of the receipts in which something was found.
fn found(receipts: &Receipts, known: &[(u64, String)]) -> Vec<u64> {
    let report = receipts.verify(known).unwrap();
    let mut numbers: Vec<u64> = report.problems.iter().filter_map(|problem| problem.number).collect();
    numbers.dedup();
    numbers
}

#[test]
fn receipts_that_nobody_touched_are_verified() {
    let (folder, receipts, known) = three();
    fs::write(folder.path().join("README.md"), "what this folder is").unwrap();
    let report = receipts.verify(&known).unwrap();
    assert!(report.is_good(), "{}", report.table());
    assert_eq!(report.table(), "3 receipts: complete and unchanged\n");
    assert_eq!(receipts.last_number().unwrap(), Some(3));
    assert!(receipts.show(2).unwrap().starts_with("---\nnumber: 2\n"));
}

#[test]
fn a_change_of_any_byte_of_any_file_is_found() {
    for number in 1..=3 {
        for extension in ["md", "json", "svg"] {
            let (folder, receipts, _) = three();
            let file = folder.path().join(format!("00{number}.{extension}"));
            let original = fs::read(&file).unwrap();
            for place in (0..original.len()).step_by(original.len() / 23) {
                let mut changed = original.clone();
                changed[place] = if changed[place] == b'7' { b'8' } else { b'7' };
                fs::write(&file, &changed).unwrap();
                assert!(found(&receipts, &[]).contains(&number), "{} at {place}", file.display());
            }
            fs::write(&file, &original[..original.len() / 2]).unwrap();
            assert!(found(&receipts, &[]).contains(&number), "{} cut off", file.display());
            fs::write(&file, "").unwrap();
            assert!(found(&receipts, &[]).contains(&number), "{} emptied", file.display());
        }
    }
}

#[test]
fn a_receipt_that_was_written_anew_as_a_whole_breaks_the_chain() {
    let (folder, receipts, known) = three();
    let other = tempfile::tempdir().unwrap();
    let forged = Receipts::new(other.path());
    let mut firing = firing();
    firing.recovered_at = Some(at(400.0));
    forged.publish(&told(&firing, &evidence())).unwrap();
    for extension in ["md", "json", "svg"] {
        let name = format!("001.{extension}");
        fs::copy(other.path().join(&name), folder.path().join(&name)).unwrap();
    }
    assert_eq!(found(&receipts, &[]), [2]);
    assert_eq!(found(&receipts, &known), [1, 2]);
}

#[test]
fn a_receipt_that_was_removed_is_found() {
    let (folder, receipts, known) = three();
    for extension in ["md", "json", "svg"] {
        fs::remove_file(folder.path().join(format!("002.{extension}"))).unwrap();
    }
    assert_eq!(found(&receipts, &[]), [2]);
    for extension in ["md", "json", "svg"] {
        fs::remove_file(folder.path().join(format!("003.{extension}"))).unwrap();
    }
    assert_eq!(found(&receipts, &[]), Vec::<u64>::new(), "nothing but the journal knows of the last ones");
    assert_eq!(found(&receipts, &known), [2, 3]);
    fs::remove_file(folder.path().join("001.svg")).unwrap();
    assert_eq!(found(&receipts, &[]), [1]);
}

#[test]
fn receipts_in_each_others_place_are_found() {
    let (folder, receipts, _) = three();
    for extension in ["md", "json", "svg"] {
        let file = |number: u32| folder.path().join(format!("{number:03}.{extension}"));
        fs::rename(file(2), file(9)).unwrap();
        fs::rename(file(3), file(2)).unwrap();
        fs::rename(file(9), file(3)).unwrap();
    }
    assert_eq!(found(&receipts, &[]), [2, 3]);
}

#[test]
fn a_file_that_only_looks_like_a_receipt_is_found() {
    let (folder, receipts, _) = three();
    for name in ["2.md", "0004.md", "004 copy.md", "004.md~"] {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    assert_eq!(receipts.verify(&[]).unwrap().problems.len(), 4);
}

#[test]
fn what_a_crash_left_between_the_files_is_completed() {
    let (folder, receipts, known) = three();
    // As if it stopped before the markdown, with another half of one on the way.
    fs::remove_file(folder.path().join("003.md")).unwrap();
    fs::write(folder.path().join("003.svg"), "<svg of an earlier try").unwrap();
    fs::write(folder.path().join(".003.md.rollbackd-tmp"), "---\nnum").unwrap();
    assert_eq!(found(&receipts, &[]), [3]);
    assert_eq!(receipts.list().unwrap().len(), 2);
    let again = receipts.publish(&numbered(3, receipts.previous_sha256(3).unwrap())).unwrap();
    assert_eq!((again.number, again.sha256), known[2]);
    assert!(receipts.verify(&known).unwrap().is_good());
    let hidden = fs::read_dir(folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0);
}

#[test]
fn a_receipt_that_is_there_is_never_written_again() {
    let (_folder, receipts, known) = three();
    let mut told = numbered(3, receipts.previous_sha256(3).unwrap());
    // Prometheus answers otherwise the second time.
    told.limit = Some(9.0);
    assert_eq!(receipts.publish(&told).unwrap().sha256, known[2].1);
    assert!(receipts.verify(&known).unwrap().is_good());
}

#[test]
fn a_number_that_another_firing_has_is_refused() {
    let (_folder, receipts, known) = three();
    let mut firing = firing();
    firing.observed_at = at(331.0);
    let error = receipts.publish(&told(&firing, &evidence())).unwrap_err();
    assert!(matches!(error, Error::Taken { number: 1, .. }), "{error}");
    assert!(error.to_string().contains("never replaced"), "{error}");
    assert!(receipts.verify(&known).unwrap().is_good());
}

#[test]
fn a_folder_that_can_not_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("receipts");
    fs::write(&file, "a file where the folder should be").unwrap();
    let error = Receipts::new(&file).publish(&numbered(1, None)).unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error}");
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    let missing = Receipts::new(folder.path().join("not/yet/there"));
    assert!(missing.list().unwrap().is_empty());
    assert!(matches!(missing.show(1), Err(Error::Missing { number: 1, .. })));
    missing.publish(&numbered(1, None)).unwrap();
    assert_eq!(missing.list().unwrap().len(), 1);
}

#[test]
fn the_list_shows_what_can_and_what_can_not_be_read() {
    let (folder, receipts, _) = three();
    fs::write(folder.path().join("002.md"), "---\nnumber: 2\n").unwrap();
    let list = receipts.list().unwrap();
    let text = table(Path::new("receipts"), &list);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[1],
        "001  incident  capstone-api  v1.4.2   error-rate  recovered  2m 30s  5m      console  2026-11-23T10:05:30.000Z"
    );
    assert!(lines[2].contains("cut off"), "{text}");
    let json = json(&list);
    assert_eq!(json[0]["total"], "2m 30s");
    assert_eq!(json[1]["number"], 2);
    assert!(json[1]["error"].as_str().unwrap().contains("cut off"));
    assert_eq!(table(Path::new("receipts"), &[]), "no receipts in receipts yet\n");
}

#[test]
fn a_budget_reads_as_missed_only_where_a_path_was_run() {
    let row = |firing: &Firing| {
        let facts = Ok(told(firing, &evidence()).front);
        table(Path::new("receipts"), &[Summary { number: 1, facts }])
    };
    let mut late = firing();
    late.recovered_at = Some(at(631.0));
    assert!(row(&late).contains("  5m (over)  "), "{}", row(&late));
    late.attempts.clear();
    assert_eq!(told(&late, &evidence()).front.within_budget, Some(false), "by the data production was bad for longer");
    assert!(row(&late).contains("  5m 1s  5m  "), "{}", row(&late));
}
