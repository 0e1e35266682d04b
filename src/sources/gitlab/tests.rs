//! Bodies as GitLab sends them: fields as in its documentation, "Webhook events" ("Deployment events", "Pipeline events"),
//! and in its `lib/gitlab/data_builder/deployment.rb` and `pipeline.rb`.

use rollbackd_core::deploy::Migration;
use rollbackd_core::event::{About, DeployReport, Event, Happening, Run};
use rollbackd_core::name::{Commit, Version};
use serde_json::{Value, json};

use super::super::Sources;
use super::*;

const SHA: &str = "279484c09fbe69ededfced8c1bb6e6d24616b468";

fn parsed(gitlab: &str, path: &str) -> (Option<Sources>, Vec<String>) {
    let text = format!(
        r#"
prometheus: {{url: "http://127.0.0.1:9090"}}
services:
  - name: shop
    triggers:
      - {{name: smoke-test, observed: report, budget: 3m}}
      - {{name: errors, expr: "sum(rate(errors[1m]))", above: 1, for: 1m, budget: 3m}}
    paths: [{{name: p, timeout: 1m, {path}}}]
    side_effects: none
sources: {{gitlab: {gitlab}}}
"#
    );
    let (settings, problems) = crate::config::parse(&text);
    (settings.map(|settings| settings.sources), problems.iter().map(ToString::to_string).collect())
}

fn source(gitlab: &str) -> GitLab {
    let (sources, problems) = parsed(gitlab, r#"command: ["true"]"#);
    sources.and_then(|sources| sources.gitlab).unwrap_or_else(|| panic!("{problems:?}"))
}

const ENTRY: &str = "service: shop, project: acme/web/shop, environment: production";

fn deployments(version: &str) -> GitLab {
    source(&format!(
        "{{secret_file: /s, path_user: rollback-bot, deployments: [{{{ENTRY}, version: '{version}', on_failure: smoke-test}}]}}"
    ))
}

fn pipelines() -> GitLab {
    source(&format!("{{secret_file: /s, pipelines: [{{{ENTRY}, on_failure: smoke-test}}]}}"))
}

fn project() -> Value {
    json!({
        "id": 30, "name": "shop", "path_with_namespace": "acme/web/shop", "default_branch": "main",
        "web_url": "https://gitlab.example/acme/web/shop",
    })
}

fn deployment() -> Value {
    json!({
        "object_kind": "deployment", "status": "success", "status_changed_at": "2026-11-23 10:58:02 +0100",
        "deployment_id": 15, "deployable_id": 796,
        "deployable_url": "https://gitlab.example/acme/web/shop/-/jobs/796",
        "environment": "production", "environment_tier": "production", "environment_slug": "production",
        "environment_external_url": "https://shop.example", "project": project(), "short_sha": "279484c0",
        "user": {"id": 1, "name": "Administrator", "username": "root", "email": "admin@example.com"},
        "user_url": "https://gitlab.example/root",
        "commit_url": format!("https://gitlab.example/acme/web/shop/-/commit/{SHA}"),
        "commit_title": "Add new file", "ref": "1.0.0",
    })
}

fn pipeline() -> Value {
    let job = |name: &str, status: &str, started: Value, environment: Value| {
        json!({
            "id": 380, "stage": "deploy", "name": name, "status": status, "created_at": "2026-11-23 09:55:00 UTC",
            "started_at": started, "finished_at": null, "allow_failure": false, "environment": environment,
        })
    };
    let production = json!({"name": "production", "action": "start", "deployment_tier": "production"});
    json!({
        "object_kind": "pipeline",
        "object_attributes": {
            "id": 31, "iid": 3, "name": "Make checkout faster", "ref": "main", "tag": false, "sha": SHA, "source": "push",
            "status": "failed", "detailed_status": "failed", "stages": ["build", "deploy", "smoke"],
            "created_at": "2026-11-23 09:55:00 UTC", "finished_at": "2026-11-23 09:59:30 UTC", "duration": 63,
            "variables": [{"key": "NESTOR", "value": "prod"}],
            "url": "https://gitlab.example/acme/web/shop/-/pipelines/31",
        },
        "merge_request": null, "user": {"username": "root"}, "project": project(),
        "builds": [
            job("build", "success", json!("2026-11-23 09:55:10 UTC"), Value::Null),
            job("deploy", "success", json!("2026-11-23 09:57:00 UTC"), production),
            job("smoke", "failed", json!("2026-11-23 09:58:10 UTC"), Value::Null),
        ],
    })
}

fn translated(source: &GitLab, body: &Value) -> Translated {
    source.translate(body.to_string().as_bytes())
}

fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    *body.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    body
}

fn deploy(source: &GitLab, body: &Value) -> DeployReport {
    let events = translated(source, body).unwrap();
    match events.as_slice() {
        [Event { what: Happening::Hinted { report, run: None }, .. }] => report.clone(),
        other => panic!("{other:?}"),
    }
}

fn report(source: &GitLab, body: &Value) -> (String, About) {
    let events = translated(source, body).unwrap();
    match events.as_slice() {
        [Event { what: Happening::Reported { trigger, about, .. }, .. }] => (trigger.to_string(), about.clone()),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn unconcerned(source: &GitLab, body: &Value) {
    let told = translated(source, body);
    assert!(matches!(told, Err(Untold::Unconcerned(_))), "{told:?}");
}

#[track_caller]
fn unusable(source: &GitLab, body: &Value) {
    let told = translated(source, body);
    assert!(matches!(told, Err(Untold::Unusable(_))), "{told:?}");
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

/// Whether a request with these headers is believed, by a source whose config is `keys`. The secret is `a secret`, the
/// signing token that of the specification's own example.
async fn believed(keys: &[&str], pairs: &[(&'static str, &str)], body: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(file("secret_file"), "a secret\n").unwrap();
    std::fs::write(file("signing_token_file"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    let keys: Vec<String> = keys.iter().map(|key| format!("{key}: {}", file(key))).collect();
    let source = source(&format!("{{{}, pipelines: []}}", keys.join(", ")));
    let now = Timestamp::from_milliseconds(1_614_265_400_000);
    match source.proof(&headers(pairs)) {
        Ok(proof) => source.prove(proof, body.as_bytes(), now).await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test]
async fn a_request_is_believed_for_its_secret_token_and_where_a_signing_token_is_known_for_its_signature() {
    let body = r#"{"test": 2432232314}"#;
    let signed = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ];
    let (token, wrong) = ((TOKEN, "a secret"), (TOKEN, "another"));
    let with_token: Vec<_> = signed.into_iter().chain([token]).collect();
    let mut forged = with_token.clone();
    forged[2].1 = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let (secret, signing, both): (&[_], &[_], &[_]) =
        (&["secret_file"], &["signing_token_file"], &["secret_file", "signing_token_file"]);
    for (keys, pairs, right) in [
        (secret, &[token][..], true),
        (secret, &with_token, true),
        (secret, &[wrong], false),
        (secret, &[(TOKEN, "a secret and more")], false),
        (secret, &[(TOKEN, "")], false),
        (secret, &[token, token], false),
        (secret, &[], false),
        (secret, &signed, false),
        (signing, &signed, true),
        (signing, &with_token, true),
        (signing, &forged, false),
        (signing, &[token], false),
        (signing, &[], false),
        (both, &signed, true),
        (both, &[token], true),
        (both, &[wrong], false),
        // One that says that it is signed is never believed for its token.
        (both, &forged, false),
    ] {
        assert_eq!(believed(keys, pairs, body).await, right, "{keys:?} {pairs:?}");
    }
    assert!(!believed(signing, &signed, "{}").await);
}

#[test]
fn a_deployment_that_succeeded_is_a_deploy_with_its_own_identity() {
    let told = deploy(&deployments("sha"), &deployment());
    assert_eq!(told.version.as_str(), SHA);
    assert_eq!(told.commit.as_ref().map(Commit::as_str), Some(SHA));
    assert_eq!(told.at, "2026-11-23T09:58:02Z".parse().ok());
    assert_eq!(told.key.as_deref(), Some("gitlab-deployment-15"));
    assert_eq!(told.run_url.as_deref(), Some("https://gitlab.example/acme/web/shop/-/jobs/796"));
    assert_eq!(told.migration, Migration::None);
    // GitLab's paths have no case.
    let other_case = with(deployment(), "/project/path_with_namespace", json!("Acme/web/Shop"));
    assert_eq!(deploy(&deployments("sha"), &other_case).key, told.key);
}

#[test]
fn instants_are_read_as_gitlab_writes_them() {
    for text in [
        "2026-11-23 10:58:02 +0100",
        "2026-11-23 09:58:02 UTC",
        "2026-11-23T09:58:02Z",
        "2026-11-23T04:58:02.000-05:00",
    ] {
        assert_eq!(instant(text).ok(), "2026-11-23T09:58:02Z".parse().ok(), "{text}");
    }
    for none in ["", "yesterday", "2026-11-23", "2026-11-23 09:58:02", "2026-11-23 09:58:02 CEST", "1795427882"] {
        assert!(instant(none).is_err(), "{none}");
    }
}

#[test]
fn the_version_stands_where_the_config_says_and_the_whole_commit_in_the_url_alone() {
    let version = |from: &str, body: &Value| deploy(&deployments(from), body).version.to_string();
    assert_eq!(version("sha:12", &deployment()), "279484c09fbe");
    assert_eq!(version("tag", &deployment()), "1.0.0");
    // A deployment whose commit is gone has no URL: eight digits are all that is known.
    let without = with(deployment(), "/commit_url", Value::Null);
    assert_eq!(version("sha:8", &without), "279484c0");
    assert_eq!(version("sha:7", &without), "279484c");
    for other in [
        without.clone(),
        with(deployment(), "/commit_url", json!("https://gitlab.example/acme/web/shop/-/commit/main")),
        with(deployment(), "/commit_url", json!(format!("https://gitlab.example/{}", SHA.replace('2', "3")))),
    ] {
        unusable(&deployments("sha"), &other);
        unusable(&deployments("sha:12"), &other);
        assert_eq!(deploy(&deployments("tag"), &other).commit.as_ref().map(Commit::as_str), Some("279484c0"));
    }
}

#[test]
fn a_version_that_can_not_be_found_or_used_is_said() {
    // A branch is the same for every deploy.
    for branch in [json!("main"), json!("refs/heads/release"), Value::Null] {
        unusable(&deployments("tag"), &with(deployment(), "/ref", branch));
    }
    for evil in ["$(reboot)", "-rf", "v1; reboot", "{{ service }}", "a b"] {
        unusable(&deployments("tag"), &with(deployment(), "/ref", json!(evil)));
    }
    unusable(&deployments("sha"), &with(deployment(), "/status_changed_at", json!("yesterday")));
    unusable(&deployments("sha"), &json!({"object_kind": "deployment"}));
    unusable(&deployments("sha"), &json!([]));
}

#[test]
fn what_has_not_ended_or_belongs_to_nobody_is_no_deploy() {
    let source = deployments("sha");
    for status in ["created", "running", "canceled", "skipped", "blocked", "something_new"] {
        unconcerned(&source, &with(deployment(), "/status", json!(status)));
    }
    for (pointer, other) in [("/project/path_with_namespace", "evil/shop"), ("/environment", "review/1")] {
        unconcerned(&source, &with(deployment(), pointer, json!(other)));
    }
    for kind in ["push", "build", "merge_request", "something_new"] {
        unconcerned(&source, &json!({"object_kind": kind, "object_attributes": {}}));
    }
    unconcerned(&source, &pipeline());
    unconcerned(&source, &json!({}));
}

#[test]
fn a_deployment_that_failed_is_the_triggers_report_about_its_version() {
    let failed = with(deployment(), "/status", json!("failed"));
    let (trigger, about) = report(&deployments("sha"), &failed);
    assert_eq!(trigger, "smoke-test");
    let expected = About {
        key: Some("gitlab-deployment-15-failed".to_owned()),
        at: "2026-11-23T09:58:02Z".parse().ok(),
        since: None,
        version: Version::new(SHA).ok(),
        commit: Commit::new(SHA).ok(),
        run: None,
    };
    assert_eq!(about, expected);
    unconcerned(&source(&format!("{{secret_file: /s, deployments: [{{{ENTRY}, version: sha}}]}}")), &failed);
}

#[test]
fn a_deployment_by_the_paths_own_user_is_our_own_rollback_and_starts_nothing() {
    for status in ["success", "failed"] {
        for user in ["rollback-bot", "Rollback-Bot"] {
            let own = with(deployment(), "/user/username", json!(user));
            unconcerned(&deployments("sha"), &with(own, "/status", json!(status)));
        }
    }
    // Nobody's is not ours.
    deploy(&deployments("sha"), &with(deployment(), "/user", Value::Null));
}

#[test]
fn a_pipeline_that_deployed_and_ended_red_is_the_triggers_report_about_its_commit() {
    let (trigger, about) = report(&pipelines(), &pipeline());
    assert_eq!(trigger, "smoke-test");
    let expected = About {
        key: Some("gitlab-pipeline-31-1795427970000".to_owned()),
        at: "2026-11-23T09:59:30Z".parse().ok(),
        since: "2026-11-23T09:55:00Z".parse().ok(),
        version: None,
        commit: Commit::new(SHA).ok(),
        run: Some(Run { id: "31".to_owned(), title: None }),
    };
    assert_eq!(about, expected);
    // One job of it that is run again and fails again is another end of it.
    let again = with(pipeline(), "/object_attributes/finished_at", json!("2026-11-23 10:04:00 UTC"));
    assert_ne!(report(&pipelines(), &again).1.key, about.key);
}

#[test]
fn a_pipeline_that_did_not_fail_did_not_deploy_or_is_not_ours_is_no_report() {
    for status in ["success", "running", "pending", "canceled", "skipped", "manual", "something_new"] {
        unconcerned(&pipelines(), &with(pipeline(), "/object_attributes/status", json!(status)));
    }
    for (pointer, other) in [
        ("/project/path_with_namespace", json!("acme/other")),
        ("/object_attributes/source", json!("merge_request_event")),
        ("/object_attributes/source", json!("external_pull_request_event")),
        ("/builds/1/environment/name", json!("staging")),
        ("/builds/1/environment/action", json!("stop")),
        ("/builds/1/environment", Value::Null),
        ("/builds/1/started_at", Value::Null),
        ("/builds", json!([])),
    ] {
        unconcerned(&pipelines(), &with(pipeline(), pointer, other));
    }
    report(&pipelines(), &with(pipeline(), "/builds/1/environment/action", Value::Null));
    unusable(&pipelines(), &with(pipeline(), "/object_attributes/finished_at", Value::Null));
}

#[test]
fn a_pipeline_of_our_own_rollback_is_known_by_its_variable_and_starts_nothing() {
    // The path says so, and neither may call it by another name alone.
    let path = include_str!("../../paths/gitlab.rs");
    assert!(path.contains("const ATTEMPT_VARIABLE: &str = \"ROLLBACKD_ATTEMPT\";"));
    let variables = json!([
        {"key": "IMAGE_TAG", "value": "v1"},
        {"key": "ROLLBACKD_ATTEMPT", "value": "shop-f-20261123T095802104Z-1-a1"},
    ]);
    unconcerned(&pipelines(), &with(pipeline(), "/object_attributes/variables", variables));
}

#[test]
fn a_link_that_is_none_is_left_out() {
    for evil in ["javascript:alert(1)", "https://user:word@ci.example/", "x"] {
        let body = with(deployment(), "/deployable_url", json!(evil));
        assert_eq!(deploy(&deployments("sha"), &body).run_url, None, "{evil}");
    }
}

#[test]
fn each_mistake_in_the_config_is_named() {
    let entry = format!("{ENTRY}, version: sha");
    let deployments = |entry: &str| format!("{{secret_file: /s, deployments: [{{{entry}}}]}}");
    let pipelines = |entry: &str| format!("{{secret_file: /s, pipelines: [{{{entry}}}]}}");
    let command = r#"command: ["true"]"#;
    let by_gitlab = "gitlab: {project: acme/web/shop, ref: main, bearer_token_file: /t}";
    for (gitlab, path, expected) in [
        ("{}".to_owned(), command, "no `signing_token_file` and no `secret_file`"),
        ("{secret_file: /s}".to_owned(), command, "no `deployments` and no `pipelines`"),
        (deployments(&entry).replace("/s,", "s,"), command, "absolute path"),
        (deployments(&entry).replace("secret_file: /s", "signing_token_file: s"), command, "absolute path"),
        (deployments(&entry.replace("acme/web/shop", "shop")), command, "OWNER/NAME"),
        (deployments(&entry.replace("version: sha", "version: payload.tag")), command, "have no payload"),
        (deployments(&entry.replace("version: sha", "version: main")), command, "sha:N"),
        (deployments(&format!("{entry}, on_failure: errors")), command, "(smoke-test)"),
        (pipelines(ENTRY), command, "no `on_failure`"),
        (pipelines(&format!("{ENTRY}, on_failure: smoke-test, ref: main")), command, "unknown key `ref`"),
        (deployments(&entry), by_gitlab, "the path `p` of shop rolls back by GitLab: say in `path_user`"),
    ] {
        let (_, problems) = parsed(&gitlab, path);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{gitlab}: {problems:?}");
    }
    let named = deployments(&entry).replace("secret_file: /s", "secret_file: /s, path_user: bot");
    let (_, problems) = parsed(&named, by_gitlab);
    assert!(!problems.iter().any(|problem| problem.contains("path_user")), "{problems:?}");
}
