//! Bodies as GitHub sends them: fields and values as in its OpenAPI description (`x-webhooks`, api.github.com).

use axum::http::HeaderValue;
use rollbackd_core::name::Version;
use serde_json::json;

use super::super::Sources;
use super::*;

const SHA: &str = "9f1c2ab9c0f14e1f8a55c1f0d0a7b6a1c2d3e4f5";

/// The source of a config whose part for GitHub this is.
pub(crate) fn source(github: &str) -> GitHub {
    let (sources, problems) = parsed(github);
    sources.and_then(|sources| sources.github).unwrap_or_else(|| panic!("{problems:?}"))
}

fn parsed(github: &str) -> (Option<Sources>, Vec<String>) {
    let text = format!(
        r#"
prometheus: {{url: "http://127.0.0.1:9090"}}
services:
  - name: shop
    triggers:
      - {{name: smoke-test, observed: report, budget: 3m}}
      - {{name: errors, expr: "sum(rate(errors[1m]))", above: 1, for: 1m, budget: 3m}}
    paths: [{{name: p, timeout: 1m, command: ["true"]}}]
    side_effects: none
  - name: shop-worker
    triggers: [{{name: errors, expr: "sum(rate(errors[1m]))", above: 1, for: 1m, budget: 3m}}]
    paths: [{{name: p, timeout: 1m, command: ["true"]}}]
    side_effects: none
sources: {{github: {github}}}
"#
    );
    let (settings, problems) = crate::config::parse(&text);
    (settings.map(|settings| settings.sources), problems.iter().map(ToString::to_string).collect())
}

fn deployments(version: &str) -> GitHub {
    source(&format!(
        "{{secret_file: /secret, deployments: [{{service: shop, repo: acme/shop, environment: production, \
         version: '{version}', on_failure: smoke-test}}]}}"
    ))
}

fn workflows() -> GitHub {
    source(
        "{secret_file: /secret, workflows: [{service: shop, repo: acme/shop, workflow: deploy.yml, on_failure: smoke-test}]}",
    )
}

fn deployment_status() -> Value {
    json!({
        "action": "created",
        "deployment_status": {
            "id": 901, "state": "success", "environment": "production", "description": "", "target_url": "",
            "log_url": "https://github.com/acme/shop/actions/runs/77",
            "created_at": "2026-11-23T09:58:02Z", "updated_at": "2026-11-23T09:58:02Z",
        },
        "deployment": {
            "id": 500, "sha": SHA, "ref": "main", "task": "deploy", "environment": "production",
            "original_environment": "production", "payload": {}, "production_environment": true,
            "created_at": "2026-11-23T09:55:40Z", "updated_at": "2026-11-23T09:58:02Z",
        },
        "workflow_run": {"id": 77, "path": ".github/workflows/deploy.yml", "head_sha": SHA, "display_title": "deploy v2"},
        "repository": {"full_name": "acme/shop", "default_branch": "main"},
        "sender": {"login": "deploy-bot"},
    })
}

fn workflow_run() -> Value {
    json!({
        "action": "completed",
        "workflow_run": {
            "id": 77, "name": "deploy", "path": ".github/workflows/deploy.yml", "head_branch": "main", "head_sha": SHA,
            "event": "push", "status": "completed", "conclusion": "failure", "run_number": 12, "run_attempt": 2,
            "display_title": "Make checkout faster", "html_url": "https://github.com/acme/shop/actions/runs/77",
            "created_at": "2026-11-23T09:55:00Z", "run_started_at": "2026-11-23T09:55:10Z",
            "updated_at": "2026-11-23T09:59:30Z", "head_repository": {"full_name": "acme/shop"},
        },
        "repository": {"full_name": "acme/shop", "default_branch": "main"},
    })
}

fn translated(source: &GitHub, kind: &'static str, body: &Value) -> Translated {
    let event = axum::http::HeaderName::from_static(EVENT);
    let headers = [(event, HeaderValue::from_static(kind))].into_iter().collect();
    source.translate(&headers, body.to_string().as_bytes())
}

fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    *body.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    body
}

/// The one deploy that an event tells of.
fn deploy(source: &GitHub, body: &Value) -> DeployReport {
    let events = translated(source, "deployment_status", body).unwrap();
    match events.as_slice() {
        [Event { what: Happening::Hinted { report, .. }, .. }] => report.clone(),
        other => panic!("{other:?}"),
    }
}

/// The one report that an event comes to.
fn report(source: &GitHub, kind: &'static str, body: &Value) -> (String, About) {
    let events = translated(source, kind, body).unwrap();
    match events.as_slice() {
        [Event { what: Happening::Reported { trigger, about, .. }, .. }] => (trigger.to_string(), about.clone()),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn unconcerned(source: &GitHub, kind: &'static str, body: &Value) {
    let told = translated(source, kind, body);
    assert!(matches!(told, Err(Untold::Unconcerned(_))), "{told:?}");
}

#[test]
fn the_signature_of_githubs_own_example_is_right_and_no_other() {
    // docs.github.com, "Validating webhook deliveries", "Testing the webhook payload validation".
    let secret = SecretString::from("It's a Secret to Everybody");
    let text = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let signature = |text: &str| {
        let value = HeaderValue::from_str(text).unwrap();
        GitHub::signature(&[(SIGNATURE.parse().unwrap(), value)].into_iter().collect())
    };
    let right = signature(text).unwrap();
    assert!(verify(&secret, right, b"Hello, World!").is_ok());
    assert!(verify(&secret, right, b"Hello, World?").is_err());
    assert!(verify(&SecretString::from("another"), right, b"Hello, World!").is_err());
    let upper = signature(&text.to_uppercase().replace("SHA256", "sha256")).unwrap();
    assert!(verify(&secret, upper, b"Hello, World!").is_ok());
    for wrong in ["", "sha256=", &text[7..], &text[..70], &format!("{text}0"), &text.replace("sha256", "sha1")] {
        assert!(signature(wrong).is_err(), "{wrong}");
    }
    assert!(signature(&text.replace('7', "g")).is_err());
    assert!(GitHub::signature(&HeaderMap::new()).is_err());
    let twice = [text, text].map(|text| (SIGNATURE.parse().unwrap(), HeaderValue::from_str(text).unwrap()));
    let mut headers = HeaderMap::new();
    for (name, value) in twice {
        let name: axum::http::HeaderName = name;
        headers.append(name, value);
    }
    assert!(GitHub::signature(&headers).is_err());
}

#[test]
fn a_deployment_that_succeeded_is_a_deploy_with_its_own_identity() {
    let told = deploy(&deployments("sha"), &deployment_status());
    assert_eq!(told.version.as_str(), SHA);
    assert_eq!(told.commit.as_ref().map(Commit::as_str), Some(SHA));
    assert_eq!(told.at, "2026-11-23T09:58:02Z".parse().ok());
    assert_eq!(told.key.as_deref(), Some("github-deployment-500"));
    assert_eq!(told.run_url.as_deref(), Some("https://github.com/acme/shop/actions/runs/77"));
    assert_eq!(told.migration, Migration::None);
    // A second status of the same deployment is the same deploy; GitHub's names have no case.
    let again = with(deployment_status(), "/deployment_status/id", json!(902));
    let again = with(again, "/repository/full_name", json!("Acme/Shop"));
    assert_eq!(deploy(&deployments("sha"), &again).key, told.key);
}

#[test]
fn the_version_stands_where_the_config_says() {
    let version = |from: &str, body: &Value| deploy(&deployments(from), body).version.to_string();
    assert_eq!(version("sha:12", &deployment_status()), "9f1c2ab9c0f1");
    for tag in ["v1.2.3", "refs/tags/v1.2.3"] {
        assert_eq!(version("tag", &with(deployment_status(), "/deployment/ref", json!(tag))), "v1.2.3");
    }
    let payload = json!({"image_tag": "2026.47", "migration": true});
    let body = with(deployment_status(), "/deployment/payload", payload.clone());
    assert_eq!(version("payload.image_tag", &body), "2026.47");
    assert_eq!(deploy(&deployments("sha"), &body).migration, Migration::Breaking);
    // The API also takes a text, which is what older makers send.
    let body = with(deployment_status(), "/deployment/payload", json!(payload.to_string()));
    assert_eq!(version("payload.image_tag", &body), "2026.47");
}

#[test]
fn a_version_that_can_not_be_found_or_used_is_said() {
    let unusable = |from: &str, body: &Value| {
        let told = translated(&deployments(from), "deployment_status", body);
        assert!(matches!(told, Err(Untold::Unusable(_))), "{from}: {told:?}");
    };
    // A branch is the same for every deploy.
    unusable("tag", &deployment_status());
    unusable("tag", &with(deployment_status(), "/deployment/ref", json!("refs/heads/release")));
    unusable("payload.image_tag", &deployment_status());
    for evil in ["$(reboot)", "-rf", "v1; reboot", "{{ service }}", "", "a b"] {
        unusable("payload.v", &with(deployment_status(), "/deployment/payload", json!({"v": evil})));
        unusable("tag", &with(deployment_status(), "/deployment/ref", json!(evil)));
    }
    unusable("payload.v", &with(deployment_status(), "/deployment/payload", json!({"v": 7})));
    unusable("sha", &with(deployment_status(), "/deployment_status/created_at", json!("yesterday")));
    unusable("sha", &json!({"deployment_status": {}}));
    unusable("sha", &json!([]));
}

#[test]
fn what_has_not_ended_or_belongs_to_nobody_is_no_deploy() {
    let source = deployments("sha");
    for state in ["inactive", "in_progress", "queued", "pending", "something_new"] {
        let body = with(deployment_status(), "/deployment_status/state", json!(state));
        unconcerned(&source, "deployment_status", &body);
    }
    for (pointer, other) in [("/repository/full_name", "evil/shop"), ("/deployment/environment", "staging")] {
        unconcerned(&source, "deployment_status", &with(deployment_status(), pointer, json!(other)));
    }
    unconcerned(&source, "ping", &json!({"zen": "Design for failure.", "hook_id": 1, "hook": {}}));
    unconcerned(&source, "push", &json!({"ref": "refs/heads/main"}));
    unconcerned(&source, "", &deployment_status());
}

#[test]
fn a_deployment_that_failed_is_the_triggers_report_about_its_version() {
    for state in ["failure", "error"] {
        let body = with(deployment_status(), "/deployment_status/state", json!(state));
        let (trigger, about) = report(&deployments("sha"), "deployment_status", &body);
        assert_eq!(trigger, "smoke-test");
        assert_eq!(about.version, Version::new(SHA).ok());
        assert_eq!(about.commit, Commit::new(SHA).ok());
        assert_eq!(about.key.as_deref(), Some("github-deployment-status-901"));
        assert_eq!(about.at, "2026-11-23T09:58:02Z".parse().ok());
    }
    let without = source(
        "{secret_file: /s, deployments: [{service: shop, repo: acme/shop, environment: production, version: sha}]}",
    );
    unconcerned(
        &without,
        "deployment_status",
        &with(deployment_status(), "/deployment_status/state", json!("failure")),
    );
}

#[test]
fn a_workflow_that_ended_red_is_the_triggers_report_about_its_commit() {
    for conclusion in ["failure", "timed_out"] {
        let body = with(workflow_run(), "/workflow_run/conclusion", json!(conclusion));
        let (trigger, about) = report(&workflows(), "workflow_run", &body);
        assert_eq!(trigger, "smoke-test");
        let expected = About {
            key: Some("github-run-77-2".to_owned()),
            at: "2026-11-23T09:59:30Z".parse().ok(),
            since: "2026-11-23T09:55:10Z".parse().ok(),
            version: None,
            commit: Commit::new(SHA).ok(),
            run: Some(Run { id: "77".to_owned(), title: Some("Make checkout faster".to_owned()) }),
        };
        assert_eq!(about, expected);
    }
}

#[test]
fn a_workflow_that_did_not_fail_or_is_not_ours_is_no_report() {
    for conclusion in ["success", "neutral", "cancelled", "skipped", "action_required", "stale", "startup_failure"] {
        let body = with(workflow_run(), "/workflow_run/conclusion", json!(conclusion));
        unconcerned(&workflows(), "workflow_run", &body);
    }
    unconcerned(&workflows(), "workflow_run", &with(workflow_run(), "/workflow_run/conclusion", Value::Null));
    for (pointer, other) in [
        ("/action", "in_progress"),
        ("/repository/full_name", "acme/other"),
        ("/workflow_run/path", ".github/workflows/test.yml"),
        ("/workflow_run/event", "pull_request"),
        ("/workflow_run/event", "pull_request_target"),
        ("/workflow_run/head_repository/full_name", "fork/shop"),
    ] {
        unconcerned(&workflows(), "workflow_run", &with(workflow_run(), pointer, json!(other)));
    }
    let at_ref = with(workflow_run(), "/workflow_run/path", json!(".github/workflows/deploy.yml@refs/heads/main"));
    report(&workflows(), "workflow_run", &at_ref);
}

#[test]
fn a_link_that_is_none_is_left_out() {
    for evil in ["javascript:alert(1)", "https://user:word@ci.example/", "x"] {
        let body = with(deployment_status(), "/deployment_status/log_url", json!(evil));
        assert_eq!(deploy(&deployments("sha"), &body).run_url, None, "{evil}");
    }
}

#[test]
fn each_mistake_in_the_config_is_named() {
    let entry = "service: shop, repo: acme/shop, environment: production, version: sha";
    for (github, expected) in [
        ("{}".to_owned(), "no `secret_file`"),
        ("{secret_file: /s}".to_owned(), "no `deployments` and no `workflows`"),
        (format!("{{secret_file: s, deployments: [{{{entry}}}]}}"), "absolute path"),
        (format!("{{secret_file: /s, secret: x, deployments: [{{{entry}}}]}}"), "unknown key `secret`"),
        (
            format!("{{secret_file: /s, deployments: [{{{}}}]}}", entry.replace("shop,", "shopp,")),
            "there is no service shopp: did you mean `shop`",
        ),
        (format!("{{secret_file: /s, deployments: [{{{}}}]}}", entry.replace("acme/shop", "shop")), "OWNER/NAME"),
        (format!("{{secret_file: /s, deployments: [{{{}}}]}}", entry.replace(": sha", ": 'sha:6'")), "sha:N"),
        (format!("{{secret_file: /s, deployments: [{{{}}}]}}", entry.replace(": sha", ": main")), "payload.KEY"),
        (format!("{{secret_file: /s, deployments: [{{{entry}, on_failure: errors}}]}}"), "(smoke-test)"),
        (
            "{secret_file: /s, workflows: [{service: shop-worker, repo: a/b, workflow: w.yml, on_failure: errors}]}"
                .to_owned(),
            "which has none",
        ),
        ("{secret_file: /s, workflows: [{service: shop, repo: a/b, workflow: w.yml}]}".to_owned(), "no `on_failure`"),
    ] {
        let (_, problems) = parsed(&github);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{github}: {problems:?}");
    }
}

#[test]
fn the_status_that_an_announcer_gave_a_deployment_is_no_news() {
    let source = deployments("sha");
    let failed = with(deployment_status(), "/deployment_status/state", json!("failure"));
    report(&source, "deployment_status", &failed);
    let ours = json!("rollbackd: shop-f-20261123T100402Z-1: rolled back to v1 after error-rate");
    unconcerned(&source, "deployment_status", &with(failed.clone(), "/deployment_status/description", ours));
    report(&source, "deployment_status", &with(failed, "/deployment_status/description", Value::Null));
}
