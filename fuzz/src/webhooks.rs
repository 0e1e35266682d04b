//! Events of every source, as bytes on a connection would bring them.
//!
//! An input is one request as in `http.rs`: a line `POST /v1/events/SOURCE`, headers, an empty line, the body. Who sent it
//! is asked, and what it means is taken to the core whoever sent it: a secret may be stolen.

use std::sync::LazyLock;
use std::time::Duration;

use axum::body::to_bytes;
use axum::http::{HeaderMap, header};
use rollbackd::config;
use rollbackd::sources::cdevents::Mode;
use rollbackd::sources::{GitHub, GitLab, Sources, Translated, Untold};
use rollbackd_core::apply::apply;
use rollbackd_core::config::Config;
use rollbackd_core::decide;
use rollbackd_core::deploy::Migration;
use rollbackd_core::event::{DeployReport, Event, Happening, Reply};
use rollbackd_core::name::Version;
use rollbackd_core::state::State;
use rollbackd_core::time::Timestamp;
use tempfile::TempDir;
use tokio::runtime::Builder;

/// GitHub's own example of a secret, and that of the specification "Standard Webhooks".
const GITHUB_SECRET: &str = "It's a Secret to Everybody";
const SIGNING_TOKEN: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const GITLAB_SECRET: &str = "a secret token";

/// The instant at which every input comes in, 2026-11-18T11:06:40Z.
const NOW: Timestamp = Timestamp::from_milliseconds(1_795_000_000_000);

/// More than any key that the sources make: a word, a hash or ids, and an instant.
const LONGEST_KEY: usize = 96;
/// A sentence with the longest link that is kept, and the longest name of a config.
const LONGEST_NOTE: usize = 2048 + 512;

static SETTINGS: LazyLock<(Config, Sources)> = LazyLock::new(|| settings("/nowhere"));

/// The config whose secrets are in this folder.
fn settings(secrets: &str) -> (Config, Sources) {
    let (settings, problems) = config::parse(&text(secrets));
    let settings = settings.unwrap_or_else(|| panic!("the config of the fuzz target: {problems:?}"));
    (settings.core, settings.sources)
}

/// The sources whose secrets can be read, for as long as their folder lives.
fn with_secrets() -> (TempDir, Sources) {
    let files: [(&str, &[u8]); 3] = [
        ("github", GITHUB_SECRET.as_bytes()),
        ("signing", SIGNING_TOKEN.as_bytes()),
        ("gitlab", GITLAB_SECRET.as_bytes()),
    ];
    let folder = super::folder::written(&files);
    let (_, sources) = settings(&folder.path().display().to_string());
    (folder, sources)
}

/// The reference's service, with everything that the sources may tell of it.
fn text(secrets: &str) -> String {
    let common = "service: capstone-api";
    let failure = "on_failure: smoke-test";
    let forge = format!("{common}, environment: production");
    let deployment = |version: &str| format!("{{{forge}, project: acme/shop, version: '{version}', {failure}}}");
    let deployments: Vec<String> = ["sha", "sha:8", "tag"].into_iter().map(deployment).collect();
    let of_gitlab = deployments.join(", ");
    let of_github = of_gitlab.replace("project:", "repo:").replace("tag", "payload.tag");
    let of_cdevents = format!("{common}, environment: production, subject: shop");
    format!(
        "{}
sources:
  github:
    secret_file: {secrets}/github
    deployments: [{of_github}]
    workflows: [{{{common}, repo: acme/shop, workflow: deploy.yml, {failure}}}]
  gitlab:
    secret_file: {secrets}/gitlab
    signing_token_file: {secrets}/signing
    path_user: rollback-bot
    deployments: [{of_gitlab}]
    pipelines: [{{{forge}, project: acme/shop, {failure}}}]
  cdevents:
    deployments: [{{{of_cdevents}, version: purl.tag}}, {{{of_cdevents}, version: purl.version}}]
    test_suites: [{{{common}, environment: production, test_suite: smoke, {failure}}}]
",
        include_str!("../../config/rollbackd.yml")
    )
}

/// Nobody is believed without the secret, and no event brings anything but what the config lets it say, once.
pub(super) fn webhooks(bytes: &[u8]) {
    let Some(request) = super::http::request(bytes) else { return };
    let (parts, body) = request.into_parts();
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
        let translated = match parts.uri.path() {
            "/v1/events/github" => github(&parts.headers, &body).await,
            "/v1/events/gitlab" => gitlab(&parts.headers, &body).await,
            "/v1/events/cdevents" => cdevents(&parts.headers, &body),
            _ => return,
        };
        match translated {
            Ok(events) => events.iter().for_each(check),
            Err(Untold::Unconcerned(why) | Untold::Unusable(why)) => assert!(!why.is_empty()),
        }
    });
}

async fn github(headers: &HeaderMap, body: &[u8]) -> Translated {
    if let Ok(signature) = GitHub::signature(headers) {
        let (_folder, sources) = with_secrets();
        let source = sources.github.expect("GitHub is configured");
        if source.prove(signature, body).await.is_ok() {
            let longer = [body, b" "].concat();
            assert!(source.prove(signature, &longer).await.is_err(), "the signature is that of two bodies");
        }
    }
    SETTINGS.1.github.as_ref().expect("GitHub is configured").translate(headers, body)
}

async fn gitlab(headers: &HeaderMap, body: &[u8]) -> Translated {
    if SETTINGS.1.gitlab.as_ref().is_some_and(|source| source.proof(headers).is_ok()) {
        let (_folder, sources) = with_secrets();
        let source = sources.gitlab.expect("GitLab is configured");
        proven(&source, headers, body).await;
    }
    SETTINGS.1.gitlab.as_ref().expect("GitLab is configured").translate(body)
}

/// What is believed is signed as a whole and not long ago, or comes with the very secret.
async fn proven(source: &GitLab, headers: &HeaderMap, body: &[u8]) {
    let believes = async |body: &[u8], now: Timestamp| match source.proof(headers) {
        Ok(proof) => source.prove(proof, body, now).await.is_ok(),
        Err(_) => false,
    };
    if !believes(body, NOW).await {
        return;
    }
    if headers.contains_key("webhook-signature") {
        let longer = [body, b" "].concat();
        assert!(!believes(&longer, NOW).await, "the signature is that of two bodies");
        assert!(!believes(body, NOW + Duration::from_secs(3600)).await, "a recorded delivery is believed for ever");
    } else {
        let tokens: Vec<_> = headers.get_all("x-gitlab-token").iter().collect();
        assert_eq!(tokens, [GITLAB_SECRET], "a token that is not the secret is believed");
    }
}

fn cdevents(headers: &HeaderMap, body: &[u8]) -> Translated {
    let source = SETTINGS.1.cdevents.as_ref().expect("CDEvents are configured");
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    source.translate(Mode::of(media_type), body)
}

fn check(event: &Event) {
    assert_eq!(event.service.as_str(), "capstone-api");
    let key = if let Happening::Hinted { report, .. } = &event.what {
        let url = report.run_url.as_deref().unwrap_or("https://");
        assert!(url.starts_with("https://") || url.starts_with("http://"), "{url}");
        report.key.as_deref()
    } else if let Happening::Reported { trigger, note, about } = &event.what {
        assert_eq!(trigger.as_str(), "smoke-test");
        let note = note.as_deref().unwrap_or_default();
        assert!(note.len() <= LONGEST_NOTE && !note.contains(char::is_control), "{note}");
        about.key.as_deref()
    } else {
        panic!("no source may say {event:?}")
    };
    let key = key.expect("an event has an identity");
    assert!(key.len() <= LONGEST_KEY && key.bytes().all(|byte| byte.is_ascii_graphic()), "{key}");
    told_twice(event);
}

/// Takes an event to a service that deployed something a minute ago, and once more.
fn told_twice(event: &Event) {
    let mut state = State::default();
    let report = DeployReport {
        version: Version::new("v1").expect("a version"),
        previous: None,
        commit: None,
        migration: Migration::None,
        run_url: None,
        at: Some(NOW - Duration::from_secs(60)),
        key: None,
    };
    let deployed = Event { service: event.service.clone(), what: Happening::Deployed(report) };
    told(&mut state, &deployed, NOW - Duration::from_secs(60));
    let first = told(&mut state, event, NOW);
    let second = told(&mut state, event, NOW + Duration::from_secs(1));
    let began = matches!(second, Reply::Deploy(_) | Reply::Firing(_));
    assert!(!began, "told again, {event:?} is answered {second:?} after {first:?}");
}

fn told(state: &mut State, event: &Event, now: Timestamp) -> Reply {
    let decision = decide(&SETTINGS.0, state, event, now);
    assert_eq!(decision.fault, None, "{event:?}");
    for record in &decision.records {
        apply(state, &event.service, now, record).expect("a record that was decided fits");
    }
    decision.reply
}
