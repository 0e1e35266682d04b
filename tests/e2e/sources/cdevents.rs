//! CDEvents against the real daemon, in both modes: delivered again, reordered, about something else.
//!
//! Fields as in cdevents/spec v0.5.1; the modes as in CloudEvents, "HTTP Protocol Binding".

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Words, ago, begun, result, send};
use crate::world::{SERVICE, World};

const ROUTE: &str = "/v1/events/cdevents";

struct CdEvents;

impl Words for CdEvents {
    const NAME: &'static str = "cdevents";
    const UNUSABLE: u16 = 422;

    fn config(_: &World) -> Value {
        let (service, environment) = (SERVICE, "production");
        json!({
            "deployments": [{
                "service": service, "subject": "service/capstone", "environment": environment, "version": "purl.tag",
            }],
            "test_suites": [{
                "service": service, "test_suite": "smoke", "environment": environment, "on_failure": "smoke-test",
            }],
        })
    }

    fn deployed(id: u64, version: &str, at: &str) -> Value {
        let digest: String = Sha256::digest(version).iter().map(|byte| format!("{byte:02x}")).collect();
        let tag: String = version.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let content = json!({
            "environment": {"id": "production"},
            "artifactId": format!("pkg:oci/capstone@sha256%3A{digest}?repository_url=ghcr.io/acme&tag={tag}"),
        });
        event(id, "service.deployed", at, json!({"id": "service/capstone", "content": content}))
    }

    fn red(id: u64, _: &str, ended_at: &str) -> Value {
        let content = json!({
            "outcome": "failure", "environment": {"id": "production"}, "testSuite": {"id": "17", "name": "smoke"},
        });
        event(id, "testsuiterun.finished", ended_at, json!({"id": format!("run-{id}"), "content": content}))
    }

    fn unconcerned(at: &str) -> Vec<Value> {
        let with = |mut body: Value, pointer: &str, value: &str| {
            *body.pointer_mut(pointer).unwrap() = json!(value);
            body
        };
        let (deployed, red) = (Self::deployed(505, "v5", at), Self::red(81, at, at));
        vec![
            with(deployed.clone(), "/context/type", "dev.cdevents.service.published.0.3.0"),
            with(deployed.clone(), "/context/type", "dev.cdevents.build.finished.0.3.0"),
            with(deployed.clone(), "/subject/id", "service/other"),
            with(deployed, "/subject/content/environment/id", "staging"),
            with(red.clone(), "/subject/content/outcome", "success"),
            with(red, "/subject/content/testSuite/name", "nightly"),
        ]
    }

    fn headers(body: &Value, _: &str) -> Vec<(&'static str, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let context = &body["context"];
        vec![
            ("content-type", "application/json".to_owned()),
            ("ce-specversion", "1.0".to_owned()),
            ("ce-id", text(&context["id"])),
            ("ce-source", text(&context["source"])),
            ("ce-type", text(&context["type"])),
            ("ce-subject", text(&body["subject"]["id"])),
            ("ce-time", text(&context["timestamp"])),
        ]
    }
}

fn event(id: u64, kind: &str, at: &str, subject: Value) -> Value {
    json!({
        "context": {
            "specversion": "0.5.1", "id": id.to_string(), "source": "/ci/acme",
            "type": format!("dev.cdevents.{kind}.0.3.0"), "timestamp": at,
        },
        "subject": subject,
    })
}

#[tokio::test]
async fn a_red_test_suite_after_a_deploy_rolls_back_once_however_often_both_are_delivered() {
    super::rolls_back_once::<CdEvents>().await;
}

#[tokio::test]
async fn cdevents_out_of_order_from_the_future_or_about_something_else_start_nothing() {
    let world = super::starts_nothing::<CdEvents>().await;
    // The same event in the other mode is the same event.
    let told = CdEvents::deployed(508, "v5", &ago(0));
    let structured = json!({
        "specversion": "1.0", "id": "508", "source": "/ci/acme", "type": told["context"]["type"],
        "subject": "service/capstone", "time": told["context"]["timestamp"], "data": told,
    });
    let of = |media_type: &str| [("content-type", media_type.to_owned())];
    let first = send(&world, ROUTE, &of("application/cloudevents+json; charset=utf-8"), structured.to_string()).await;
    let first = result(&first, 202);
    let again = result(&CdEvents::tell(&world, &told, "").await, 200);
    assert_eq!(again["deploy"], first["deploy"]);
    // A batch is none of them, and neither is what a form of a web page can send.
    let before = begun(&world).await;
    for media_type in ["application/cloudevents-batch+json", "text/plain", "application/x-www-form-urlencoded"] {
        let answer = send(&world, ROUTE, &of(media_type), CdEvents::deployed(509, "v6", &ago(0)).to_string()).await;
        assert_eq!(answer.status, 415, "{media_type}");
    }
    assert_eq!(begun(&world).await, before);
}
