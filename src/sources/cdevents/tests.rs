//! Events as their producers send them: fields, types and examples as in cdevents/spec, its `conformance` folder and its
//! "CloudEvents Binding", in both lines that are in use (0.4 and 0.5).

use rollbackd_core::name::Version;
use serde_json::json;

use super::super::Sources;
use super::*;

const DIGEST: &str = "sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427";

fn parsed(cdevents: &str) -> (Option<Sources>, Vec<String>) {
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
sources: {{cdevents: {cdevents}}}
"#
    );
    let (settings, problems) = crate::config::parse(&text);
    (settings.map(|settings| settings.sources), problems.iter().map(ToString::to_string).collect())
}

fn source(version: &str) -> CdEvents {
    let (sources, problems) = parsed(&format!(
        "{{deployments: [{{service: shop, subject: service/myapp, environment: production, version: {version}}}], \
         test_suites: [{{service: shop, test_suite: smoke, environment: production, on_failure: smoke-test}}]}}"
    ));
    sources.and_then(|sources| sources.cdevents).unwrap_or_else(|| panic!("{problems:?}"))
}

/// An event of the 0.5 line.
fn event(kind: &str, subject: Value) -> Value {
    json!({
        "context": {
            "specversion": "0.5.1", "id": "271069a8-fc18-44f1-b38f-9d70a1695819", "source": "/event/source/123",
            "chainId": "4c8cb7dd-3448-41de-8768-eec704e2829b", "type": format!("dev.cdevents.{kind}.0.3.0"),
            "timestamp": "2026-11-23T09:58:02.315384Z", "schemaUri": "https://myorg.com/schema/custom",
            "links": [{"linkType": "RELATION", "linkKind": "TRIGGER", "target": {"contextId": "5328c37f"}}],
        },
        "subject": subject,
    })
}

fn deployed(kind: &str) -> Value {
    let artifact = format!("pkg:oci/myapp@{}?repository_url=mycr.io/myapp&tag=v2", DIGEST.replace(':', "%3A"));
    let content = json!({"environment": {"id": "production", "source": "/clusters/1"}, "artifactId": artifact});
    event(&format!("service.{kind}"), json!({"id": "service/myapp", "source": "/event/source/123", "content": content}))
}

fn finished(outcome: &str) -> Value {
    let content = json!({
        "outcome": outcome, "severity": "critical", "reason": "Host 123.34.23.32 not found",
        "environment": {"id": "production", "source": "testkube-dev-123"},
        "testSuite": {"id": "92834723894", "version": "1.0", "name": "smoke", "uri": "https://tests.example/smoke"},
    });
    event("testsuiterun.finished", json!({"id": "myTestSuiteRun123", "content": content}))
}

fn translated(source: &CdEvents, body: &Value) -> Translated {
    source.translate(Mode::Binary, body.to_string().as_bytes())
}

fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    *body.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    body
}

fn the_deploy(told: Translated) -> DeployReport {
    match told.unwrap().as_slice() {
        [Event { what: Happening::Hinted { report, run: None }, .. }] => report.clone(),
        other => panic!("{other:?}"),
    }
}

fn deploy(body: &Value) -> DeployReport {
    the_deploy(translated(&source("purl.tag"), body))
}

#[track_caller]
fn unconcerned(body: &Value) {
    let told = translated(&source("purl.tag"), body);
    assert!(matches!(told, Err(Untold::Unconcerned(_))), "{told:?}");
}

#[track_caller]
fn unusable(version: &str, body: &Value) {
    let told = translated(&source(version), body);
    assert!(matches!(told, Err(Untold::Unusable(_))), "{told:?}");
}

#[test]
fn a_service_that_was_deployed_upgraded_or_rolled_back_is_a_deploy_of_its_artifact() {
    for kind in ["deployed", "upgraded", "rolledback"] {
        let told = deploy(&deployed(kind));
        assert_eq!(told.version.as_str(), "v2");
        assert_eq!(told.at, "2026-11-23T09:58:02.315Z".parse().ok());
        assert_eq!((told.previous, told.commit, told.migration), (None, None, Migration::None));
    }
    let digest = the_deploy(translated(&source("purl.version"), &deployed("deployed")));
    assert_eq!(digest.version.as_str(), DIGEST);
    let mut migrates = deployed("deployed");
    migrates["customData"] = json!({"migration": true});
    assert_eq!(deploy(&migrates).migration, Migration::Breaking);
    migrates["customData"] = json!("TWFuIGlzIGRpc3Rpbmd1aXNoZWQ=");
    assert_eq!(deploy(&migrates).migration, Migration::None);
}

#[test]
fn both_lines_of_the_specification_and_both_modes_say_the_same() {
    let body = deployed("deployed");
    let told = deploy(&body);
    let mut older = with(body.clone(), "/context/type", json!("dev.cdevents.service.deployed.0.2.0"));
    let context = older["context"].as_object_mut().unwrap();
    context.remove("specversion");
    context.insert("version".to_owned(), json!("0.4.1"));
    older["subject"]["type"] = json!("service");
    assert_eq!(deploy(&older), told);

    let structured = json!({
        "specversion": "1.0", "id": body["context"]["id"], "source": body["context"]["source"],
        "type": body["context"]["type"], "subject": body["subject"]["id"], "time": body["context"]["timestamp"],
        "datacontenttype": "application/json", "data": body,
    });
    let wrapped = |mode| source("purl.tag").translate(mode, structured.to_string().as_bytes());
    assert_eq!(the_deploy(wrapped(Mode::Structured)), told);
    assert!(matches!(wrapped(Mode::Binary), Err(Untold::Unusable(_))));
    let encoded = json!({"specversion": "1.0", "data_base64": "e30="}).to_string();
    let told = source("purl.tag").translate(Mode::Structured, encoded.as_bytes());
    assert!(matches!(told, Err(Untold::Unusable(_))), "{told:?}");
    assert_eq!(Mode::of("Application/CloudEvents+JSON"), Mode::Structured);
    assert_eq!([Mode::of("application/json"), Mode::of("application/cdevents+json")], [Mode::Binary; 2]);
}

#[test]
fn an_event_is_known_by_its_source_and_its_id() {
    let key = |source: &str, id: &str| {
        let body = with(deployed("deployed"), "/context/source", json!(source));
        deploy(&with(body, "/context/id", json!(id))).key.unwrap()
    };
    let first = key("/ci/acme", "1");
    assert_eq!(first, key("/ci/acme", "1"));
    let long = "x".repeat(4096);
    for (source, id) in [("/ci/other", "1"), ("/ci/acme", "2"), ("/ci/acm", "e1"), ("/ci/acme1", ""), (&long, "\n{}")] {
        let other = key(source, id);
        assert_ne!(other, first, "{source} {id}");
        assert_eq!(other.len(), first.len());
    }
}

#[test]
fn a_version_that_can_not_be_found_or_used_is_said() {
    let artifact = |artifact: Value| with(deployed("deployed"), "/subject/content/artifactId", artifact);
    unusable("purl.tag", &artifact(json!("pkg:oci/myapp@sha256%3A0b31")));
    unusable("purl.version", &artifact(json!("pkg:oci/myapp?tag=v2")));
    for none in [Value::Null, json!(""), json!("six-1.14.0-py2.py3-none-any.whl"), json!(7)] {
        unusable("purl.tag", &artifact(none.clone()));
        unusable("purl.version", &artifact(none));
    }
    for evil in ["$(reboot)", "-rf", "v1%3B%20reboot", "%7B%7B service }}", "a%20b", "%0A"] {
        unusable("purl.tag", &artifact(json!(format!("pkg:oci/myapp?tag={evil}"))));
        unusable("purl.version", &artifact(json!(format!("pkg:generic/myapp@{evil}"))));
    }
    unusable("purl.tag", &with(deployed("deployed"), "/context/timestamp", json!("2026-11-23 09:58")));
    unusable("purl.tag", &json!({"context": {"type": "dev.cdevents.service.deployed.0.3.0"}}));
    for none in [json!({}), json!([]), json!({"context": {}})] {
        unusable("purl.tag", &none);
    }
}

#[test]
fn what_names_no_version_or_belongs_to_nobody_is_no_deploy() {
    for kind in
        ["service.published", "service.removed", "artifact.published", "environment.created", "service.deployedx"]
    {
        unconcerned(&with(deployed("deployed"), "/context/type", json!(format!("dev.cdevents.{kind}.0.3.0"))));
    }
    unconcerned(&with(deployed("deployed"), "/context/type", json!("com.example.service.deployed.0.3.0")));
    for (pointer, other) in [
        ("/subject/id", json!("service/other")),
        ("/subject/content/environment/id", json!("staging")),
        ("/subject/content/environment", Value::Null),
    ] {
        unconcerned(&with(deployed("deployed"), pointer, other));
    }
}

#[test]
fn a_test_suite_that_failed_is_the_triggers_report_about_what_serves() {
    for outcome in ["failure", "fail"] {
        let events = translated(&source("purl.tag"), &finished(outcome)).unwrap();
        let [Event { service, what: Happening::Reported { trigger, note, about } }] = events.as_slice() else {
            panic!("{events:?}");
        };
        assert_eq!((service.as_str(), trigger.as_str()), ("shop", "smoke-test"));
        assert_eq!(about.at, "2026-11-23T09:58:02.315Z".parse().ok());
        assert!(about.key.is_some());
        assert_eq!((&about.version, &about.commit, &about.since, &about.run), (&None::<Version>, &None, &None, &None));
        // What the event says of itself is no part of what people read.
        let expected = "a CDEvent says that the test suite smoke failed: https://tests.example/smoke";
        assert_eq!(note.as_deref(), Some(expected));
    }
    let by_id = with(finished("fail"), "/subject/content/testSuite", json!({"id": "smoke"}));
    assert!(translated(&source("purl.tag"), &by_id).is_ok());
}

#[test]
fn a_test_suite_that_did_not_fail_or_is_not_ours_is_no_report() {
    for outcome in ["success", "pass", "cancel", "error", "something_new"] {
        unconcerned(&finished(outcome));
    }
    for (pointer, other) in [
        ("/subject/content/testSuite/name", json!("nightly")),
        ("/subject/content/testSuite", Value::Null),
        ("/subject/content/environment/id", json!("staging")),
        ("/context/type", json!("dev.cdevents.testsuiterun.started.0.3.0")),
    ] {
        unconcerned(&with(finished("failure"), pointer, other));
    }
}

#[test]
fn each_mistake_in_the_config_is_named() {
    let entry = "service: shop, subject: myapp, environment: production, version: purl.tag";
    let suite = "service: shop, test_suite: smoke, environment: production, on_failure: smoke-test";
    for (cdevents, expected) in [
        ("{}".to_owned(), "no `deployments` and no `test_suites`"),
        (format!("{{deployments: [{{{}}}]}}", entry.replace("shop,", "shopp,")), "did you mean `shop`"),
        (format!("{{deployments: [{{{}}}]}}", entry.replace("purl.tag", "tag")), "purl.version or purl.tag"),
        (format!("{{deployments: [{{{}}}]}}", entry.replace("myapp", "''")), "not an empty text"),
        (format!("{{deployments: [{{{entry}, on_failure: smoke-test}}]}}"), "unknown key `on_failure`"),
        (format!("{{test_suites: [{{{}}}]}}", suite.replace("smoke-test", "errors")), "(smoke-test)"),
        (format!("{{secret_file: /s, test_suites: [{{{suite}}}]}}"), "unknown key `secret_file`"),
    ] {
        let (_, problems) = parsed(&cdevents);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{cdevents}: {problems:?}");
    }
}
