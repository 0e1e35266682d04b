//! What good configs mean.

use std::path::Path;
use std::time::Duration;

use rollbackd::{config, lints};
use rollbackd_core::config::{Action, AutomaticLimit, Condition, Limit, Mode, Observed, Query};
use rollbackd_core::name::PagerName;

use super::{GOOD, REFERENCE, errors_trigger, metric, minutes, said, settings, trigger, with};

#[test]
fn the_reference_file_loads_without_a_warning() {
    assert_eq!(said(REFERENCE), Vec::<String>::new());
    let report = lints::check(Path::new("config/rollbackd.yml")).unwrap();
    assert!(report.text.ends_with("config/rollbackd.yml: ok: 1 service, 5 triggers, 2 paths, 1 pager (1 note)\n"));
    assert!(report.ok && !report.any_warning(), "{}", report.text);
}

#[test]
fn the_reference_file_means_what_the_design_says_of_the_daemon() {
    let loaded = config::load(Path::new("config/rollbackd.yml")).unwrap();
    let settings = loaded.settings;
    assert_eq!(loaded.warnings, []);
    assert_eq!(settings.prometheus.url, "http://127.0.0.1:9090");
    assert_eq!(settings.listen, "127.0.0.1:9797".parse().unwrap());
    assert_eq!(settings.state_dir, Path::new("/var/lib/rollbackd"));
    assert_eq!(settings.receipts_dir, Path::new("library/raw/rollback-rehearsals"));
    assert_eq!(settings.service_label, "service");
    assert_eq!(settings.tokens, []);
    assert_eq!(settings.core.mode, Mode::Live);
    assert_eq!(settings.core.evaluation_interval, Duration::from_secs(15));
    let guard = settings.core.fleet_guard.unwrap();
    assert_eq!((guard.services, guard.within), (3, minutes(10)));
    assert_eq!(settings.pagers.keys().map(PagerName::as_str).collect::<Vec<_>>(), ["oncall"]);
    let adapters: Vec<String> = settings.paths.keys().map(|(service, path)| format!("{service}/{path}")).collect();
    assert_eq!(adapters, ["capstone-api/console", "capstone-api/pipeline"]);
}

#[test]
fn the_reference_trigger_list_means_the_designs_table_row_by_row() {
    let settings = settings(REFERENCE);
    let service = &settings.core.services["capstone-api"];
    let rows: Vec<_> = service
        .triggers
        .iter()
        .map(|trigger| {
            let reported = trigger.observed == Observed::Report;
            (trigger.name.as_str(), reported, trigger.hold, trigger.budget, trigger.action, trigger.never_roll_back)
        })
        .collect();
    let expected = [
        ("error-rate", false, minutes(2), Some(minutes(5)), Action::Rollback, false),
        ("p99-latency", false, minutes(5), Some(minutes(10)), Action::Rollback, false),
        ("smoke-test", true, Duration::ZERO, Some(minutes(3)), Action::Rollback, false),
        ("login-broken", true, Duration::ZERO, Some(minutes(10)), Action::Page, false),
        ("data-corruption", true, Duration::ZERO, None, Action::Page, true),
    ];
    assert_eq!(rows, expected);
    assert!(service.triggers.iter().all(|trigger| trigger.shared.is_none() && trigger.veto.is_zero()));
    let note = trigger(service, "data-corruption").note.as_deref();
    assert_eq!(note, Some("Expand-contract; see RUNBOOK.md#migrations"));

    let errors = metric(trigger(service, "error-rate"));
    let Query::Ratio { bad, total } = &errors.query else { panic!("no ratio") };
    assert_eq!(bad.source(), r#"sum(rate(http_requests_total{service="capstone-api",code=~"5.."}[1m]))"#);
    assert_eq!(total.source(), r#"sum(rate(http_requests_total{service="capstone-api"}[1m]))"#);
    assert_eq!(errors.condition, Condition::Above(Limit::Fixed { value: 0.05, shown_as_percentage: true }));
    assert_eq!((errors.window, errors.step), (minutes(1), Duration::from_secs(15)));
    assert_eq!(errors.at_least.as_ref().unwrap().value.to_string(), "20");

    let latency = metric(trigger(service, "p99-latency"));
    assert!(matches!(latency.query, Query::Expression(_)));
    assert_eq!(latency.condition, Condition::Above(Limit::TimesBaseline { factor: 2.0, window: minutes(60) }));
    assert_eq!(latency.at_least, None);
}

#[test]
fn the_reference_service_means_what_the_design_says() {
    let settings = settings(REFERENCE);
    let service = &settings.core.services["capstone-api"];
    assert_eq!(service.watch, minutes(30));
    assert_eq!(service.page, [[PagerName::new("oncall").unwrap()]]);
    assert_eq!(settings.core.graph_url.as_deref(), Some("http://127.0.0.1:9090"));
    assert_eq!(service.version_query.as_ref().unwrap().source(), r#"app_build_info{service="capstone-api"}"#);
    assert_eq!(service.smoke.as_deref(), Some("http://127.0.0.1:8080/healthz"));
    assert_eq!(service.automatic_limit, AutomaticLimit { rollbacks: 3, within: minutes(60) });
    let paths: Vec<_> =
        service.paths.iter().map(|path| (path.name.as_str(), path.kind, path.timeout, path.repeatable)).collect();
    let expected = [("pipeline", "github_actions", minutes(4), false), ("console", "command", minutes(2), false)];
    assert_eq!(paths, expected);
    let last = service.paths[1].run.last().unwrap();
    assert_eq!(last.value.source(), "--to-revisions={{ target.revision }}=100");
    let effects = service.side_effects.as_ref().unwrap();
    assert_eq!(effects.iter().map(|effect| effect.name.as_str()).collect::<Vec<_>>(), ["payments"]);
    let rehearsal = service.rehearsal.as_ref().unwrap();
    assert_eq!((rehearsal.deploy_bad.as_str(), rehearsal.every), ("pipeline", 30 * 24 * minutes(60)));
    assert_eq!(rehearsal.timeout, service.watch, "as long as the watch, where nothing is said");
}

#[test]
fn what_is_left_out_has_the_designs_defaults() {
    assert_eq!(said(GOOD), Vec::<String>::new());
    let settings = settings(GOOD);
    assert_eq!(settings.listen, "127.0.0.1:9797".parse().unwrap());
    assert_eq!(settings.state_dir, Path::new("/var/lib/rollbackd"));
    assert_eq!(settings.receipts_dir, Path::new("library/raw/rollback-rehearsals"));
    assert_eq!(settings.prometheus.query_offset, Duration::ZERO);
    assert_eq!(settings.core.evaluation_interval, Duration::from_secs(15));
    assert_eq!(settings.core.fleet_guard, None);
    let service = &settings.core.services["shop"];
    assert_eq!((service.watch, service.smoke.as_ref()), (minutes(30), None));
    assert_eq!(service.side_effects, Some(Vec::new()));
}

#[test]
fn a_new_version_is_noticed_where_something_shows_it_unless_the_config_says_otherwise() {
    let query = "    version_query: build_info\n";
    for (written, noticed) in [
        (query.to_owned(), true),
        (format!("{query}    watch_version: true\n"), true),
        (format!("{query}    watch_version: false\n"), false),
        (String::new(), false),
        ("    watch_version: false\n".to_owned(), false),
    ] {
        let settings = settings(&with(query, &written));
        assert_eq!(settings.core.services["shop"].watch_version, noticed, "{written}");
    }
}

#[test]
fn side_effects_that_are_not_mentioned_are_not_none() {
    let text = with("    side_effects: none\n", "");
    assert_eq!(settings(&text).core.services["shop"].side_effects, None);
    assert!(said(&text)[0].contains("6:11: warning: service shop says nothing of side effects"));
}

#[test]
fn an_alerting_rules_expression_needs_no_limit() {
    let text =
        with("expr: 'sum(rate(errors_total[1m]))', above: 5", r#"expr: 'rate(e{s="{{ service }}"}[2m]) > 5 and f'"#);
    let errors = errors_trigger(&text);
    let metric = metric(&errors);
    assert_eq!(metric.condition, Condition::Any);
    assert_eq!(metric.window, minutes(2));
    let Query::Filter { presence, .. } = &metric.query else { panic!("no filter") };
    assert_eq!(presence.source(), r#"count(e{s="{{ service }}"}) or count(f)"#);
}

#[test]
fn a_number_without_series_is_asked_as_a_series_since_all_queries_of_a_trigger_are_asked_as_one() {
    let text = with("sum(rate(errors_total[1m]))", "scalar(rate(e[1m])) + time() # now");
    let errors = errors_trigger(&text);
    let Query::Expression(expr) = &metric(&errors).query else { panic!("no expression") };
    assert_eq!(expr.source(), "vector(\nscalar(rate(e[1m])) + time() # now\n)");
}

#[test]
fn a_window_since_the_deploy_adds_nothing_to_how_far_a_query_looks_back() {
    let text = with("errors_total[1m]", "errors_total[{{ since_deploy }}]");
    assert_eq!(metric(&errors_trigger(&text)).window, Duration::from_millis(1));
}

#[test]
fn shared_triggers_serve_every_service_but_the_one_that_has_its_own() {
    let shared = r#"
triggers:
  - {name: errors, expr: 'sum by (service) (rate(e[5m])) > 1', budget: 5m}
  - {name: slow, expr: 'max(latency{job="{{ service }}"})', above: 2, budget: 5m, action: page}
services:
  - {name: other, page: [oncall], version_query: v, side_effects: none, paths: [{name: b, command: [x]}]}
"#;
    let settings = settings(&GOOD.replacen("services:\n", shared.trim_start(), 1));
    let names = |service: &str| -> Vec<(String, bool)> {
        let triggers = settings.core.services[service].triggers.iter();
        triggers.map(|trigger| (trigger.name.to_string(), trigger.shared.is_some())).collect()
    };
    assert_eq!(names("shop"), [("errors".to_owned(), false), ("slow".to_owned(), true)]);
    assert_eq!(names("other"), [("errors".to_owned(), true), ("slow".to_owned(), true)]);
    let errors = metric(trigger(&settings.core.services["other"], "errors"));
    let Query::Filter { presence, .. } = &errors.query else { panic!("no filter") };
    assert_eq!(presence.source(), "count by (service) (e)");
}

#[test]
fn an_alias_stands_for_a_trigger_of_another_service() {
    let text = with("      - {name: errors", "      - &errors {name: errors");
    let more = "  - {name: other, page: [oncall], version_query: v, side_effects: none, paths: [{name: b, command: [x]}],\
                \n     triggers: [*errors]}\n";
    let settings = settings(&format!("{text}{more}"));
    assert_eq!(settings.core.services["other"].triggers, settings.core.services["shop"].triggers);
}

#[test]
fn the_longest_of_all_queries_says_how_far_back_a_trigger_looks() {
    let traffic = "at_least: {expr: 'sum_over_time(x[7m:])', value: 1},";
    for (bad, total, traffic, window) in
        [("rate(b[2m])", "rate(t[1m])", "", 2), ("b", "rate(t[3m])", "", 3), ("b", "t", traffic, 7)]
    {
        let queries = format!("bad: 'sum({bad})', total: 'sum({total})',{traffic}");
        let text = with("expr: 'sum(rate(errors_total[1m]))', above: 5", &format!("{queries} above: 5%"));
        assert_eq!(metric(&errors_trigger(&text)).window, minutes(window), "{queries}");
    }
}

#[test]
fn a_mistake_that_an_alias_repeats_is_said_once() {
    let text = with("      - {name: errors", "      - &errors {name: errors");
    let text = text.replacen("budget: 5m", "budget: soon", 1);
    let more = "  - {name: other, page: [oncall], version_query: v, side_effects: none, paths: [{name: b, command: [x]}],\
                \n     triggers: [*errors]}\n";
    let found = said(&format!("{text}{more}"));
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_variable_that_stands_twice_is_refused_once() {
    let text =
        with("sum(rate(errors_total[1m]))", "x{v=\"{{ firing.id }}\",w=\"{{ target.version }}{{ firing.id }}\"}");
    let found = said(&text);
    assert_eq!(found.iter().filter(|line| line.contains("{{ firing.id }} is not known")).count(), 1, "{found:?}");
    assert_eq!(found.len(), 2);
}

#[test]
fn a_dialect_is_let_through_where_the_config_says_so() {
    let dialect = with("sum(rate(errors_total[1m]))", "sum(rate(errors_total[3m] offset 1m) keep_metric_names)");
    assert!(said(&dialect)[0].starts_with("13:30: error: not PromQL: "));
    let lenient = dialect.replacen("9090\"", "9090\", promql: lenient", 1);
    assert!(said(&lenient)[0].starts_with("13:30: warning: not PromQL as we know it: "));
    assert_eq!(metric(&errors_trigger(&lenient)).window, minutes(4));
    let filter = lenient.replacen(", above: 5", "", 1);
    assert!(said(&filter)[0].contains("13:30: error: trigger errors needs `above` or `below`"));
}

fn with_pagers(lines: &str) -> String {
    let pagers =
        ["a", "b", "c"].map(|name| format!("  - {{name: {name}, webhook: {{url: \"http://127.0.0.1:9/\"}}}}\n"));
    format!(
        "prometheus: {{url: \"http://127.0.0.1:9090\"}}\npagers:\n{}services:\n  - name: shop\n    triggers: \
         [{{name: broken, observed: report, action: page}}]\n{lines}",
        pagers.concat()
    )
}

#[test]
fn a_page_without_escalation_tells_all_at_once_and_with_it_level_by_level() {
    let levels = |lines: &str| -> Vec<Vec<String>> {
        let settings = settings(&with_pagers(lines));
        let page = &settings.core.services["shop"].page;
        page.iter().map(|level| level.iter().map(ToString::to_string).collect()).collect()
    };
    assert_eq!(levels("    page: [a, b]\n"), [["a", "b"]]);
    assert_eq!(levels("    page: [c, [a, b]]\n    escalate_after: 5m\n"), [vec!["c"], vec!["a", "b"]]);
}

#[test]
fn an_address_that_may_hold_a_secret_is_not_shown_in_pages() {
    let graph_url = |prometheus: &str| {
        let config = with_pagers("    page: [a]\n").replace("{url: \"http://127.0.0.1:9090\"}", prometheus);
        settings(&config).core.graph_url
    };
    assert_eq!(graph_url("{url: \"https://metrics.example.com/s3cret/prometheus\"}"), None);
    let told = "{url: \"https://metrics.example.com/s3cret\", external_url: \"https://prometheus.example.com/\"}";
    assert_eq!(graph_url(told).as_deref(), Some("https://prometheus.example.com"));
}
