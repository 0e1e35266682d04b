//! What a scrape says.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use rollbackd_core::view::RehearsedView;

use super::*;

/// One of everything, so that every metric has a sample.
fn busy() -> Metrics {
    let metrics = Metrics::new("0.1.0");
    let service = ServiceName::new("shop").unwrap();
    let (path, pager) = (PathName::new("pipeline").unwrap(), PagerName::new("oncall").unwrap());
    let at = Timestamp::from_milliseconds(1_500);
    metrics.config_loaded(at);
    metrics.runs(Mode::DryRun);
    metrics.event(&Happening::Woke);
    metrics.records_appended(3, Duration::from_millis(2));
    metrics.watches_open(1);
    metrics.triggers_blind(2);
    let trigger = TriggerName::new("error-rate").unwrap();
    metrics.budgets_end([(&service, &trigger, at + Duration::from_secs(1)), (&service, &trigger, at)].into_iter());
    metrics.attempts_time_out([(&service, &path, at)].into_iter());
    metrics.rehearsals(1, std::iter::once((&service, rehearsed(&path, at))));
    metrics.firing_began(&service, &TriggerName::new("error-rate").unwrap());
    metrics.firings_open(1);
    metrics.attempt_ended(&service, &path, &Outcome::TimedOut, Duration::from_secs(240));
    metrics.receipt_published(FiringEnd::NotRecovered);
    metrics.receipts_unpublished(1);
    metrics.receipts_kept("push", "failed");
    metrics.recovered(&service, Duration::from_secs(90));
    metrics.evaluated(Look::LowTraffic, at);
    metrics.evaluations_due(4);
    metrics.evaluations_missed(2);
    metrics.evaluation_unused();
    metrics.query_answered(&Answer::Partial(String::new()), Duration::from_millis(7));
    metrics.page_delivered(&pager);
    metrics.page_failed(&pager, "timeout");
    metrics.pages_undelivered(&pager, 1);
    let graphs = AnnouncerName::new("graphs").unwrap();
    metrics.announcement_delivered(&graphs);
    metrics.announcement_failed(&graphs, "retry");
    metrics.turned(Turning::Supervisor);
    metrics.heartbeat_sent("oncall", at);
    metrics.heartbeat_failed("ping");
    metrics.heartbeat_withheld("journal");
    metrics.http_answered("/v1/services/{name}", "GET", 404);
    metrics.source_event(Source::GitHub, "deploy");
    metrics
}

fn rehearsed(path: &PathName, at: Timestamp) -> PathView {
    let trigger = TriggerName::new("error-rate").unwrap();
    let known = RehearsedView {
        at,
        took_seconds: 97.5,
        trigger,
        receipt: 3,
        in_a_row: 2,
        changed: true,
        ready_for_a_game_day: false,
    };
    PathView {
        name: path.clone(),
        kind: "command",
        timeout_seconds: 60.0,
        took_seconds: Vec::new(),
        next: None,
        rehearsed: Some(known),
        rehearsal_due_at: Some(at + Duration::from_secs(60)),
    }
}

#[test]
fn every_metric_has_its_name_its_labels_and_its_value() {
    let text = busy().text();
    for line in [
        "rollbackd_build_info{version=\"0.1.0\"} 1",
        "rollbackd_dry_run 1",
        "rollbackd_config_last_reload_successful 1",
        "rollbackd_config_last_reload_success_timestamp_seconds 1.5",
        "rollbackd_events_total{kind=\"woke\"} 1",
        "rollbackd_records_total 3",
        "rollbackd_journal_append_duration_seconds_count 1",
        "rollbackd_journal_writable 1",
        "rollbackd_watches_open 1",
        "rollbackd_triggers_blind 2",
        "rollbackd_firing_budget_end_timestamp_seconds{service=\"shop\",trigger=\"error-rate\"} 1.5",
        "rollbackd_attempt_timeout_timestamp_seconds{service=\"shop\",path=\"pipeline\"} 1.5",
        "rollbackd_firings_total{service=\"shop\",trigger=\"error-rate\"} 1",
        "rollbackd_rehearsals_open 1",
        "rollbackd_path_rehearsal_last_timestamp_seconds{service=\"shop\",path=\"pipeline\"} 1.5",
        "rollbackd_path_rehearsal_due_timestamp_seconds{service=\"shop\",path=\"pipeline\"} 61.5",
        "rollbackd_path_rehearsal_last_recovery_seconds{service=\"shop\",path=\"pipeline\"} 97.5",
        "rollbackd_path_rehearsals_clean_in_a_row{service=\"shop\",path=\"pipeline\"} 2",
        "rollbackd_path_changed_since_rehearsal{service=\"shop\",path=\"pipeline\"} 1",
        "rollbackd_firings_open 1",
        "rollbackd_attempts_total{service=\"shop\",path=\"pipeline\",outcome=\"timed_out\"} 1",
        "rollbackd_attempt_duration_seconds_sum{service=\"shop\",path=\"pipeline\"} 240.0",
        "rollbackd_receipts_total{outcome=\"not_recovered\"} 1",
        "rollbackd_receipts_unpublished 1",
        "rollbackd_receipts_kept_total{act=\"push\",result=\"failed\"} 1",
        "rollbackd_recovery_duration_seconds_sum{service=\"shop\"} 90.0",
        "rollbackd_evaluations_total{answer=\"low_traffic\"} 1",
        "rollbackd_evaluations_due_total 4",
        "rollbackd_evaluations_missed_total 2",
        "rollbackd_evaluations_unused_total 1",
        "rollbackd_last_evaluation_timestamp_seconds 1.5",
        "rollbackd_prometheus_query_duration_seconds_count 1",
        "rollbackd_prometheus_queries_total{result=\"partial\"} 1",
        "rollbackd_prometheus_queries_in_flight 0",
        "rollbackd_page_deliveries_total{pager=\"oncall\",result=\"delivered\"} 1",
        "rollbackd_page_deliveries_total{pager=\"oncall\",result=\"timeout\"} 1",
        "rollbackd_pages_undelivered{pager=\"oncall\"} 1",
        "rollbackd_announcement_deliveries_total{announcer=\"graphs\",result=\"delivered\"} 1",
        "rollbackd_announcement_deliveries_total{announcer=\"graphs\",result=\"retry\"} 1",
        "rollbackd_loop_turns_total{task=\"supervisor\"} 1",
        "rollbackd_loop_turns_total{task=\"looker\"} 0",
        "rollbackd_heartbeats_sent_total{receiver=\"oncall\"} 1",
        "rollbackd_heartbeats_failed_total{receiver=\"ping\"} 1",
        "rollbackd_heartbeats_withheld_total{reason=\"journal\"} 1",
        "rollbackd_heartbeat_last_success_timestamp_seconds{receiver=\"oncall\"} 1.5",
        "rollbackd_source_events_total{source=\"github\",result=\"deploy\"} 1",
        "rollbackd_http_requests_total{route=\"/v1/services/{name}\",method=\"GET\",code=\"404\"} 1",
    ] {
        assert!(text.lines().any(|each| each == line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn every_metric_that_an_alert_asks_for_is_one_of_these() {
    let rules = include_str!("../../config/prometheus/rollbackd.rules.yml");
    let text = busy().text();
    let is_of_a_name = |each: char| each.is_ascii_alphanumeric() || each == '_';
    let words = rules.split(|each| !is_of_a_name(each)).filter(|word| word.starts_with("rollbackd_"));
    let asked: BTreeSet<&str> = words.collect();
    assert!(asked.len() > 10, "{asked:?}");
    for name in asked {
        let shown = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        assert!(text.lines().any(shown), "an alert asks for {name}, which is not in\n{text}");
    }
}

#[test]
fn a_query_is_in_flight_until_it_is_dropped() {
    let metrics = Metrics::new("0.1.0");
    let query = metrics.query_started();
    assert!(metrics.text().contains("rollbackd_prometheus_queries_in_flight 1"));
    drop(query);
    assert!(metrics.text().contains("rollbackd_prometheus_queries_in_flight 0"));
}

#[test]
fn a_journal_that_can_not_be_written_and_a_refused_config_show() {
    let metrics = busy();
    metrics.journal_not_writable();
    metrics.config_refused();
    let text = metrics.text();
    assert!(text.contains("rollbackd_journal_writable 0"));
    assert!(text.contains("rollbackd_config_last_reload_successful 0"));
    assert!(text.contains("rollbackd_config_last_reload_success_timestamp_seconds 1.5"), "the good one is in force");
}

#[test]
fn a_deadline_shows_only_while_something_is_under_way() {
    let metrics = busy();
    metrics.budgets_end(std::iter::empty());
    metrics.attempts_time_out(std::iter::empty());
    metrics.rehearsals(0, std::iter::empty());
    let text = metrics.text();
    assert!(!text.contains("_timestamp_seconds{service"), "{text}");
}

#[test]
fn a_method_that_nobody_knows_makes_no_series() {
    let metrics = Metrics::new("0.1.0");
    metrics.http_answered("/healthz", "BREW", 405);
    assert!(metrics.text().contains("method=\"other\""));
}

/// The classic text format, which is what `promtool check metrics` reads: there a counter's family has the suffix
/// `_total` as well, and there is neither a unit nor an end mark.
fn classic(text: &str) -> String {
    let counters: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter")))
        .collect();
    let with_total = |line: &str| {
        let mut words: Vec<String> = line.splitn(4, ' ').map(str::to_owned).collect();
        if words[0] == "#" && counters.contains(&words[2].as_str()) {
            words[2].push_str("_total");
        }
        words.join(" ")
    };
    let kept = text.lines().filter(|line| !line.starts_with("# UNIT") && *line != "# EOF");
    kept.map(|line| with_total(line) + "\n").collect()
}

#[test]
fn promtool_finds_nothing_wrong_where_it_is_installed() {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("promtool is not installed: not checked");
        return;
    };
    promtool.stdin.take().unwrap().write_all(classic(&busy().text()).as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_eq!(said, "");
}
