//! What is said of bad configs, and where.

use std::fs;

use rollbackd::config::{self, LoadError, Scope};
use rollbackd::lints;

use super::{GOOD, said, settings, with};

#[test]
fn any_address_but_loopback_needs_a_token() {
    let token = "tokens: [{name: ci, sha256: E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855, scopes: [deploy, read]}]";
    let open = format!("{GOOD}listen: 0.0.0.0:9797\n");
    assert!(
        said(&open)[0].starts_with("14:9: error: without `tokens` anybody could roll back: rollbackd refuses to start")
    );
    let settings = settings(&format!("{open}{token}\n"));
    assert_eq!(settings.tokens[0].scopes, [Scope::Read, Scope::Deploy].into());
    assert_eq!(settings.tokens[0].sha256[..4], [0xe3, 0xb0, 0xc4, 0x42]);
    for loopback in ["127.9.9.9:1", "'[::1]:1'", "'[::ffff:127.0.0.1]:1'"] {
        assert_eq!(said(&format!("{GOOD}listen: {loopback}\n")), Vec::<String>::new(), "{loopback}");
    }
}

#[test]
fn a_token_that_is_pasted_by_mistake_is_never_shown() {
    let text = format!("{GOOD}tokens:\n  - {{name: ci, sha256: s3cr3t-t0ken, scopes: [read]}}\n");
    let (_, problems) = config::parse(&text);
    let shown = config::render_problems("F", &text, &problems);
    assert!(shown.contains("F:15:24: error: expected the token's SHA-256"), "{shown}");
    assert!(!shown.contains("s3cr3t"), "{shown}");
}

/// What is replaced in the good config, by what, and what is said of it then.
const MISTAKES: &[(&str, &str, &[&str])] = &[
    // The top level.
    ("prometheus: {url: \"http://127.0.0.1:9090\"}", "", &["3:1: error: the config has no `prometheus`"]),
    (
        "url: \"http://127.0.0.1:9090\"",
        "uri: x",
        &["2:13: error: prometheus has no `url`", "2:14: error: unknown key `uri` in prometheus: did you mean `url`"],
    ),
    ("http://127.0.0.1:9090", "127.0.0.1:9090", &["2:19: error: expected an address such as"]),
    ("http://127.0.0.1:9090", "http://u:p@127.0.0.1:9090", &["2:19: error: a name or password does not belong"]),
    ("127.0.0.1:9090", "127.0.0.1:9090/api/v1/", &["2:19: error: expected the address of the server itself"]),
    ("127.0.0.1:9090", "127.0.0.1:9090/?x=1", &["2:19: error: expected the address of the server itself"]),
    ("9090\"}", "9090\", promql: loose}", &["2:52: error: expected strict or lenient, not \"loose\""]),
    ("9090\"}", "9090\", concurrency: 0}", &["2:57: error: expected 1 to 64 queries at once"]),
    ("pagers:", "evaluation_interval: 10ms\npagers:", &["3:22: error: expected 100ms to 1h, not 10ms"]),
    ("pagers:", "evaluation_interval: soon\npagers:", &["3:22: error: expected a duration such as 90s"]),
    ("pagers:", "fleet_guard: {services: 1, within: 1m}\npagers:", &["3:25: error: expected at least 2"]),
    (
        "pagers:",
        "fleet_guard: {services: x}\npagers:",
        &["3:25: error: expected a whole number", "3:14: error: fleet_guard has no `within`"],
    ),
    ("pagers:", "service_label: a-b\npagers:", &["3:16: error: expected a label name"]),
    ("pagers:", "listen: localhost:80\npagers:", &["3:9: error: expected an IP address and a port"]),
    ("pagers:", "state_dir: ''\npagers:", &["3:12: error: expected the name of a folder"]),
    ("pagers:", "external_url: ftp://x\npagers:", &["3:15: error: expected an address such as"]),
    (
        "pagers:",
        "heartbeat: {every: 1m}\npagers:",
        &["3:12: error: expected `heartbeat` to have `pagers`, a `ping`, or both"],
    ),
    (
        "pagers:",
        "heartbeat: {every: 2h, ping: {url: 'http://h/'}}\npagers:",
        &["3:20: error: expected 1s to 1h, not 2h"],
    ),
    (
        "pagers:",
        "heartbeat: {pagers: [oncal]}\npagers:",
        &["3:22: error: there is no pager \"oncal\"; did you mean oncall?"],
    ),
    ("pagers:", "heartbeat: {pagers: [oncall]}\npagers:", &["3:22: error: pages of oncall do not end by themselves"]),
    (
        "pagers:",
        "heartbeat: {ping: {url: 'http://h/', url_file: f}}\npagers:",
        &["3:19: error: expected `ping` to have a `url` or a `url_file`"],
    ),
    ("pagers:", "tokens: []\npagers:", &["3:9: error: expected at least one token"]),
    (
        "pagers:",
        "tokens: [{name: a, sha256: 00, scopes: [write]}]\npagers:",
        &["3:28: error: expected the token's SHA-256", "3:41: error: expected read or deploy or operate"],
    ),
    ("pagers:", "servces: []\npagers:", &["3:1: error: unknown key `servces` in the config: did you mean `services`"]),
    // Pagers.
    (
        "webhook: {url: \"http://127.0.0.1:1/\"}",
        "note: x",
        &["4:5: error: pager oncall has none of `", "4:20: error: unknown key `note` in pager oncall"],
    ),
    (
        "webhook: {",
        "alertmanager: {url: \"http://x/\"}, webhook: {",
        &["4:54: error: pager oncall has `alertmanager` already"],
    ),
    (
        "name: oncall",
        "name: on call",
        &[
            "4:12: error: pager name \"on call\" is not allowed",
            "7:12: error: there is no pager \"oncall\": there is no pager at all",
        ],
    ),
    (
        "services:",
        "  - {name: oncall, webhook: {url: \"http://x/\"}}\nservices:",
        &["5:12: error: a second pager oncall: the first is on line 4"],
    ),
    // Services.
    (
        "name: shop",
        "nam: shop",
        &["6:5: error: a service has no `name`", "6:5: error: unknown key `nam` in a service: did you mean `name`"],
    ),
    ("name: shop", "name: ../shop", &["6:11: error: service name \"../shop\" is not allowed"]),
    ("name: shop", "name: shop\n    watch: 0s", &["7:12: error: expected 100ms to 7d, not 0s"]),
    (
        "page: [oncall]",
        "page: [oncal, oncall, oncall]",
        &[
            "7:12: error: there is no pager \"oncal\": did you mean oncall?",
            "7:27: error: pager oncall stands here a second time",
        ],
    ),
    ("page: [oncall]", "page: oncall", &["7:11: error: expected a list of pagers, not a single value"]),
    (
        "page: [oncall]",
        "page: [[oncall]]",
        &["7:12: error: expected a pager's name; a list in a list is a level, which needs `escalate_after`"],
    ),
    (
        "page: [oncall]",
        "page: [oncall]\n    escalate_after: 5m",
        &["8:21: error: expected a `page` of two levels at least: there is nobody to escalate to"],
    ),
    (
        "page: [oncall]",
        "page: [oncall]\n    announce: [graphs]",
        &["8:16: error: there is no announcer \"graphs\": there is no announcer at all"],
    ),
    (
        "services:",
        "announcers:\n  - {name: graphs, graphana: {url: \"http://x/\"}}\nservices:",
        &[
            "6:5: error: announcer graphs has none of",
            "6:20: error: unknown key `graphana` in announcer graphs: did you mean `grafana`",
        ],
    ),
    ("    page: [oncall]\n", "", &["6:11: warning: service shop pages nobody"]),
    ("version_query: build_info", "version_query: build_info[", &["8:20: error: not PromQL"]),
    (
        "version_query: build_info",
        "version_query: 'b{v=\"{{ deploy.version }}\"}'",
        &["8:20: error: {{ deploy.version }} is not known in `version_query`: expected one of service"],
    ),
    ("    version_query: build_info\n", "", &["6:11: warning: service shop has no `version_query`"]),
    ("side_effects: none", "side_effects: []", &["9:19: error: expected a list of side effects, or the word none"]),
    (
        "side_effects: none",
        "side_effects: [{name: pay, count: 'x[{{ bad_window }}]', compensate: '{{ since_deploy }}'}]",
        &[
            "9:39: error: not PromQL: gives a range vector",
            "9:74: error: {{ since_deploy }} is not known in `compensate`",
        ],
    ),
    ("side_effects: none", "side_effects: none\n    smoke: {url: health}", &["10:18: error: expected an address"]),
    (
        "side_effects: none",
        "side_effects: none\n    automatic_limit: {rollbacks: 0, within: 1h}",
        &["10:34: error: expected at least 1"],
    ),
    (
        "side_effects: none",
        "side_effects: none\n    rehearsal: {deploy_bad: bakc, every: 30d}",
        &["10:29: error: there is no path \"bakc\": did you mean back?"],
    ),
    (
        "side_effects: none",
        "side_effects: none\n    rehearsal: {deploy_bad: back}",
        &["10:16: error: rehearsal has no `every`"],
    ),
    (
        "command: [deploy, \"{{ target.version }}\"]}",
        "command: [undo]}\n    rehearsal: {deploy_bad: back, every: 30d}",
        &["12:29: error: path back can't deploy a bad version: it names no {{ target.version }}"],
    ),
    (
        "side_effects: none",
        "side_effects: none\n    rehearsal: {deploy_bad: back, every: 30d, timeout: 900d}",
        &["10:56: error: expected 100ms to"],
    ),
    (
        "side_effects: none",
        "side_effects: none\n    rehearsal: {deploy_bad: back, every: 30d, bad_versions: [v13, v13, -rf]}",
        &[
            "10:67: error: a second bad version v13: the first is on line 10",
            "10:72: error: version \"-rf\" is not allowed",
        ],
    ),
    (
        "side_effects: none",
        "side_effects: none\n    side_effects: none",
        &["10:5: error: the key `side_effects` stands here a second time"],
    ),
    // Paths.
    (
        "    paths:\n      - {name: back, timeout: 1m, command: [deploy, \"{{ target.version }}\"]}\n",
        "",
        &["6:11: error: service shop has no path to roll back by for errors; add one or set action: page"],
    ),
    (
        "timeout: 1m, command: [deploy, \"{{ target.version }}\"]",
        "timeout: 1m",
        &["11:9: error: path back has none of `"],
    ),
    (
        "timeout: 1m",
        "timeout: 6m",
        &["11:16: warning: path back may take 6m, longer than every budget: the longest is 5m"],
    ),
    (
        "timeout: 1m",
        "timeout: 1m, pipeline_files: [deploy.yml]",
        &["11:52: error: expected the whole path of a file, as in /srv/deploy.yml, not \"deploy.yml\""],
    ),
    ("timeout: 1m", "timeout: 1m, repeatable: yes", &["11:47: error: expected true or false, not \"yes\""]),
    ("timeout: 1m", "timeot: 1m", &["11:22: error: unknown key `timeot` in path back: did you mean `timeout`"]),
    ("{{ target.version }}", "{{ target.versoin }}", &["11:53: error: unknown template variable \"target.versoin\""]),
    ("{{ target.version }}", "{{ since_deploy }}", &["11:53: error: {{ since_deploy }} is not known in a path"]),
    (
        "version_query: build_info\n    side_effects: none\n    paths:\n      - {name: back, timeout: 1m, command: [deploy, \"{{ target.version }}\"]}",
        "side_effects: none\n    paths:\n      - {name: back, command: [deploy, \"{{ target.revision }}\"]}",
        &[
            "6:11: warning: service shop has no `version_query`",
            "10:16: error: path back needs {{ target.revision }}: its service has no `version_query`",
        ],
    ),
    (
        "    triggers:",
        "      - {name: back, command: [x]}\n    triggers:",
        &["12:16: error: a second path back: the first is on line 11"],
    ),
    // Triggers: how they are observed.
    (
        "      - {name: errors",
        "      - {name: errors, observed: report, budget: 5m}\n      - {name: errors",
        &["14:16: error: a second trigger errors: the first is on line 13"],
    ),
    ("name: errors", "name: human", &["13:16: error: a trigger can't be called human"]),
    (
        "expr: 'sum(rate(errors_total[1m]))', ",
        "",
        &["13:9: error: trigger errors says nothing of how it is observed: expected `bad` and `total`, or `expr`"],
    ),
    (
        "expr: 'sum(rate(errors_total[1m]))'",
        "bad: a",
        &["13:24: error: trigger errors has `bad` without `total`: a ratio needs both"],
    ),
    (
        "expr: 'sum(rate(errors_total[1m]))'",
        "total: a",
        &["13:24: error: trigger errors has `total` without `bad`: a ratio needs both"],
    ),
    ("expr:", "total: x, expr:", &["13:24: error: trigger errors has `expr` as well as `total`"]),
    (
        "expr: 'sum(rate(errors_total[1m]))', above: 5",
        "bad: a, total: b",
        &["13:9: error: trigger errors has no limit: expected `above` or `below`"],
    ),
    ("above: 5", "above: 5, below: 3", &["13:71: error: trigger errors has both `above` and `below`"]),
    (", above: 5", "", &["13:30: error: trigger errors needs `above` or `below`: nothing in its `expr` filters"]),
    (
        "above: 5",
        "above: many",
        &["13:68: error: expected a number, a percentage such as 5%, or a multiple such as 2x baseline, not \"many\""],
    ),
    ("above: 5", "above: 5, baseline: {window: 1h}", &["13:71: error: `baseline` means nothing without a limit"]),
    ("above: 5", "above: 2x baseline, baseline: {window: 10ms}", &["13:100: error: expected 1s to 7d"]),
    (
        "above: 5",
        "above: 2x baseline, baseline: {window: 8s}",
        &["13:100: warning: a baseline of less than 1m rests on few samples"],
    ),
    ("above: 5", "above: 0.9x baseline", &["13:68: warning: a healthy version is above this half of the time"]),
    (
        "above: 5",
        "at_least: {expr: 'a[', value: -1}, above: 5",
        &["13:78: error: not PromQL", "13:91: error: expected a number that is not negative"],
    ),
    ("expr: 'sum(rate(errors_total[1m]))'", "bad: a, total: b", &["13:49: warning: a ratio is never above 5"]),
    ("sum(rate(errors_total[1m]))", "x > 5", &["13:30: warning: its comparison drops what is healthy"]),
    ("sum(rate(errors_total[1m]))", "rate(x)", &["13:30: error: not PromQL: expected type", "lenient"]),
    (
        "sum(rate(errors_total[1m]))",
        "x{v=\"{{ target.version }}\"}",
        &["13:30: error: {{ target.version }} is not known in a trigger's query"],
    ),
    (
        "sum(rate(errors_total[1m]))",
        "rate(x[{{ bad_window }}])",
        &["13:30: error: {{ bad_window }} is not known in a trigger's query"],
    ),
    (
        "sum(rate(errors_total[1m]))",
        "x{v=\"{{ firing.id }}\"}",
        &["13:30: error: {{ firing.id }} is not known in a trigger's query"],
    ),
    (
        "sum(rate(errors_total[1m]))', above: 5",
        "rate(x[{{ since_deploy }}])', above: 2x baseline",
        &["13:30: warning: {{ since_deploy }} grows"],
    ),
    (
        "expr: 'sum(rate(errors_total[1m]))', above: 5, for: 1m",
        "observed: report, expr: up, for: 1m",
        &[
            "13:42: error: `expr` means nothing in a trigger with `observed: report`",
            "13:52: error: `for` means nothing",
        ],
    ),
    (
        "expr: 'sum(rate(errors_total[1m]))', above: 5, for: 1m",
        "observed: prometheus",
        &["13:34: error: expected `report`"],
    ),
    (
        "{name: errors, ",
        "{alert: Errors, ",
        &[
            "13:9: error: a trigger has no `name`",
            "13:10: error: an alerting rule's `expr` and `for` are taken as they are; its `alert` is called `name`",
        ],
    ),
    // Triggers: the clock, and what happens.
    (
        "for: 1m",
        "for: 31m",
        &["13:76: error: trigger errors can never fire for shop: `for` is 31m, the watch only 30m"],
    ),
    ("for: 1m", "For: 1m", &["13:71: error: unknown key `For` in trigger errors: did you mean `for`"]),
    (", budget: 5m", "", &["13:9: warning: trigger errors has no `budget`: write one, or `budget: none`"]),
    ("budget: 5m", "budget: 16m", &["13:88: warning: a budget of 16m is longer than 15m: a gap worth fixing"]),
    ("budget: 5m", "budget: 90s", &["13:88: warning: a budget of 1m 30s is shorter than 2m"]),
    ("budget: 5m", "budget: 0s", &["13:88: error: expected 100ms to 7d, not 0s"]),
    ("budget: 5m", "budget: 5m, veto: 5m", &["13:98: error: a veto of 5m leaves nothing of the budget of 5m"]),
    ("budget: 5m", "budget: 5m, veto: 30s, action: page", &["13:98: warning: a veto only delays a rollback"]),
    (
        "budget: 5m",
        "budget: 5m, action: restart",
        &["13:100: error: expected rollback or page or shadow, not \"restart\""],
    ),
    (
        "budget: 5m",
        "budget: 5m, rollback: never",
        &["13:102: error: trigger errors is never rolled back, yet its action is rollback: set action: page"],
    ),
    (
        "budget: 5m",
        "budget: 5m, rollback: never, action: shadow",
        &["13:102: warning: `rollback: never` says nothing of a shadow trigger"],
    ),
    ("budget: 5m", "budget: 5m, rollback: sometimes", &["13:102: error: expected never, not \"sometimes\""]),
    ("pagers:", "evaluation_interval: 100ms\npagers:", &[]),
    (
        "    version_query: build_info\n",
        "    watch_version: true\n",
        &[
            "6:11: warning: service shop has no `version_query`",
            "8:20: error: `watch_version` needs a `version_query`, which shows what serves",
        ],
    ),
    // Shared triggers.
    (
        "pagers:",
        "triggers: [{name: a, bad: 'b{s=\"{{ service }}\"}', total: t, above: 5%, budget: 5m}]\npagers:",
        &["3:58: error: expected {{ service }} here too"],
    ),
    (
        "pagers:",
        "triggers: [{name: a, expr: 'b{v=\"{{ deploy.version }}\"}', above: 5, budget: 5m}]\npagers:",
        &["3:28: error: {{ deploy.version }} needs {{ service }} beside it"],
    ),
    ("pagers:", "triggers: {a: b}\npagers:", &["3:11: error: expected a list of triggers, not a mapping"]),
];

#[test]
fn every_mistake_is_said_at_its_place() {
    let mut wrong = Vec::new();
    for (from, to, expected) in MISTAKES {
        let found = said(&with(from, to));
        let all_there = expected.iter().all(|part| found.iter().any(|line| line.contains(part)));
        // Nothing else is blamed for it, either.
        let places = expected.iter().filter(|part| part.starts_with(|first: char| first.is_ascii_digit())).count();
        if !all_there || found.len() != places {
            wrong.push(format!("{from:?} -> {to:?}\n  expected {expected:?}\n  found {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn too_many_points_for_prometheus_are_refused() {
    let text = with("pagers:", "evaluation_interval: 100ms\npagers:");
    let text = text.replacen("for: 1m", "for: 30m", 1);
    assert!(said(&text)[0].starts_with("14:76: error: 30m in steps of 100ms are 18000 points: expected at most 10000"));
    let text = with("above: 5", "above: 2x baseline, baseline: {window: 7d}");
    assert!(said(&text)[0].contains("7d in steps of 15s are 40320 points"));
}

#[test]
fn all_mistakes_of_a_file_are_shown_at_once_and_in_order() {
    let text =
        with("for: 1m", "for: soon").replacen("timeout: 1m", "timeot: 1m", 1).replacen("[oncall]", "[nobody]", 1);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.yml");
    fs::write(&file, &text).unwrap();
    let report = lints::check(&file).unwrap();
    let name = file.display();
    let places: Vec<&str> = report.text.lines().filter_map(|line| line.strip_prefix(&format!("{name}:"))).collect();
    assert_eq!(places.len(), 4, "{}", report.text);
    assert!(places[0].starts_with("7:12: error: there is no pager \"nobody\""));
    assert!(places[1].starts_with("11:22: error: unknown key `timeot`"));
    assert!(places[2].starts_with("13:76: error: expected a duration"));
    assert_eq!(places[3], " 3 errors");
    assert!(
        report.text.contains("\n      - {name: errors, expr:")
            || report.text.contains("\n        - {name: errors, expr:")
    );
    assert!(!report.ok);
    let LoadError::Mistakes(shown) = config::load(&file).unwrap_err() else { panic!("readable") };
    assert_eq!(report.text, format!("{shown}{name}: 3 errors\n"));
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.yml");
    assert!(config::load(&missing).unwrap_err().to_string().contains("none.yml can't be read"));
    assert!(lints::check(&missing).unwrap_err().contains("none.yml: error: can't be read"));
    let bytes = dir.path().join("bytes.yml");
    fs::write(&bytes, b"a: b\nc: \xff\n").unwrap();
    assert!(lints::check(&bytes).unwrap().text.contains("bytes.yml:2:4: error: not UTF-8 from here on"));
}
