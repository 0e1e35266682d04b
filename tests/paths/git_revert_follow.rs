//! The path `git_revert` with `follow`: what the push starts, against a stand-in that keeps runs and pipelines of commits
//! as GitHub and GitLab do.
//!
//! Shapes: GitHub's OpenAPI description, `actions/list-workflow-runs`; docs.gitlab.com, "Pipelines API" (list).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::contract::{SECRET, secret_file};
use crate::git_revert::World;
use crate::world::{mistakes, why};
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use rollbackd::paths::Progress;
use rollbackd_core::firing::Outcome;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What the forge shows of a commit's run or pipeline.
#[derive(Clone, Copy)]
enum Shows {
    /// There is none yet.
    Nothing,
    /// This status and, at GitHub, this conclusion.
    Status(&'static str, Option<&'static str>),
    /// It answers with this status.
    Answers(u16),
    /// It breaks the connection.
    Breaks,
}

#[derive(Default)]
struct Forge {
    /// The last one stays.
    shows: VecDeque<Shows>,
    /// The commits that were asked for.
    commits: Vec<String>,
}

type Shared = Arc<Mutex<Forge>>;

fn lock(forge: &Shared) -> MutexGuard<'_, Forge> {
    forge.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A commit that was asked for.
fn shown(forge: &Shared, commit: &str) -> Shows {
    let mut forge = lock(forge);
    forge.commits.push(commit.to_owned());
    if forge.shows.len() > 1 { forge.shows.pop_front().unwrap() } else { forge.shows[0] }
}

async fn answer(
    State(forge): State<Shared>,
    Query(query): Query<BTreeMap<String, String>>,
    request: Request,
) -> Response {
    assert_eq!(request.method(), "GET", "it only looks");
    assert_eq!(request.headers()["authorization"], format!("Bearer {SECRET}"));
    let path = request.uri().path();
    let at_github = match path {
        "/repos/acme/shop/actions/workflows/deploy.yml/runs" => true,
        "/api/v4/projects/acme%2Fshop/pipelines" => false,
        other => panic!("a request to {other}"),
    };
    assert!(at_github || (query["ref"].as_str(), query["order_by"].as_str()) == ("main", "id"), "{query:?}");
    let commit = if at_github { &query["head_sha"] } else { &query["sha"] };
    let url = "https://forge.test/77";
    let found: Vec<Value> = match shown(&forge, commit) {
        Shows::Nothing => Vec::new(),
        Shows::Status(status, conclusion) if at_github => {
            vec![json!({"id": 77, "status": status, "conclusion": conclusion, "html_url": url, "head_sha": commit})]
        }
        Shows::Status(status, _) => vec![json!({"id": 77, "status": status, "web_url": url, "sha": commit})],
        Shows::Answers(status) => {
            let message = Json(json!({"message": "no, said the stand-in"}));
            return (StatusCode::from_u16(status).unwrap(), message).into_response();
        }
        Shows::Breaks => std::panic::resume_unwind(Box::new("the connection breaks")),
    };
    if at_github {
        return Json(json!({"total_count": found.len(), "workflow_runs": found})).into_response();
    }
    Json(found).into_response()
}

/// A world whose revert is followed at the forge, which shows this.
async fn followed(at: &str, shows: &[Shows]) -> (World, Shared) {
    let mut world = World::new().await;
    let forge = Arc::new(Mutex::new(Forge { shows: shows.iter().copied().collect(), ..Forge::default() }));
    let router = Router::new().fallback(answer).with_state(Arc::clone(&forge));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let token = secret_file(world.dir.path());
    world.config["follow"] = match at {
        "github" => {
            json!({"github": {"api_url": url, "repo": "acme/shop", "workflow": "deploy.yml", "token_file": token}})
        }
        _ => json!({"gitlab": {"url": url, "project": "acme/shop", "bearer_token_file": token}}),
    };
    (world, forge)
}

const RUNS: Shows = Shows::Status("in_progress", None);
const DONE: [(&str, Shows); 2] =
    [("github", Shows::Status("completed", Some("success"))), ("gitlab", Shows::Status("success", None))];

#[tokio::test]
async fn the_reverts_own_pipeline_is_awaited_and_the_commit_stays_the_receipt() {
    for (at, done) in DONE {
        let (world, forge) = followed(at, &[Shows::Nothing, Shows::Status("queued", None), RUNS, done]).await;
        let outcome = world.start().await;
        let tip = world.tip("main");
        let output = "https://forge.test/77".to_owned();
        assert_eq!(outcome, Outcome::Succeeded { receipt: Some(tip.clone()), output }, "{at}");
        assert_eq!(lock(&forge).commits, vec![tip; 4], "{at}");
        assert_eq!(world.pushes(), 1);
    }
}

#[tokio::test]
async fn a_pipeline_that_does_not_succeed_says_so_and_that_the_revert_is_on_the_branch() {
    for (at, shows, expected) in [
        ("github", Shows::Status("completed", Some("failure")), "failed: the revert"),
        ("github", Shows::Status("completed", Some("skipped")), "failed: the revert"),
        ("github", Shows::Status("completed", Some("cancelled")), "cancelled: the revert"),
        ("gitlab", Shows::Status("failed", None), "failed: the revert"),
        ("gitlab", Shows::Status("skipped", None), "failed: the revert"),
        ("gitlab", Shows::Status("canceled", None), "cancelled: the revert"),
    ] {
        let (world, _forge) = followed(at, &[RUNS, shows]).await;
        let why = why(world.start().await);
        let told = format!("{} is on main, and ", world.tip("main"));
        assert!(why.starts_with(expected) && why.contains(&told) && why.contains("https://forge.test/77"), "{why}");
    }
}

#[tokio::test]
async fn a_pipeline_that_waits_for_a_person_pages_and_is_followed_on() {
    for ((at, done), waits) in DONE.into_iter().zip(["waiting", "manual"]) {
        let (world, _forge) = followed(at, &[RUNS, Shows::Status(waits, None), RUNS, done]).await;
        let (path, order) = world.attempt();
        let (progress, mut told) = mpsc::channel(8);
        let outcome = path.start(&order, &world.place, &progress, CancellationToken::new()).await;
        assert!(matches!(outcome, Outcome::Succeeded { .. }), "{at}: {outcome:?}");
        assert!(matches!(told.try_recv(), Ok(Progress::Started { .. })));
        assert!(
            matches!(told.try_recv(), Ok(Progress::Waits { why }) if why.contains("https://forge.test/77")),
            "{at}"
        );
    }
}

#[tokio::test]
async fn a_pipeline_is_followed_through_faults_and_limits_of_the_forge() {
    for (at, done) in DONE {
        let faults = [401, 403, 404, 409, 422, 429, 500, 503].map(Shows::Answers);
        let shows: Vec<Shows> = faults.into_iter().filter(|fault| !matches!(fault, Shows::Answers(429))).collect();
        let shows = [shows.as_slice(), &[Shows::Breaks, done]].concat();
        let (world, _forge) = followed(at, &shows).await;
        let outcome = world.start().await;
        assert!(matches!(outcome, Outcome::Succeeded { .. }), "{at}: {outcome:?}");
        assert_eq!(world.pushes(), 1);
    }
}

#[tokio::test]
async fn a_pipeline_that_is_not_shown_to_us_is_unknown_and_not_failed() {
    for (at, _) in DONE {
        let (world, _forge) = followed(at, &[Shows::Answers(403)]).await;
        let why = why(world.start().await);
        assert!(why.starts_with("unknown: the revert") && why.contains("403"), "{why}");
    }
}

#[tokio::test]
async fn after_a_crash_the_pipeline_is_followed_on_and_nothing_is_pushed() {
    for (at, done) in DONE {
        let (world, forge) = followed(at, &[RUNS]).await;
        let (path, order) = world.attempt();
        let (progress, mut told) = mpsc::channel(8);
        let handle = {
            let start = path.start(&order, &world.place, &progress, CancellationToken::new());
            tokio::select! {
                outcome = start => panic!("{at}: it ended: {outcome:?}"),
                Some(Progress::Started { handle }) = told.recv() => handle,
            }
        };
        for handle in [Some(handle.as_str()), None] {
            lock(&forge).shows = [RUNS, done].into();
            let outcome = world.follow(handle).await;
            let tip = world.tip("main");
            assert!(
                matches!(&outcome, Outcome::Succeeded { receipt: Some(of), .. } if of == &tip),
                "{at}: {outcome:?}"
            );
        }
        assert_eq!(world.pushes(), 1);
    }
}

#[tokio::test]
async fn a_pipeline_that_outlasts_the_timeout_is_left_alone() {
    let (world, _forge) = followed("github", &[RUNS]).await;
    let (path, order) = world.attempt();
    let (progress, mut told) = mpsc::channel(8);
    let stop = CancellationToken::new();
    let start = path.start(&order, &world.place, &progress, stop.clone());
    let (outcome, ()) = tokio::join!(start, async {
        told.recv().await.unwrap();
        stop.cancel();
    });
    // The stand-in takes no request but looks.
    assert_eq!(outcome, Outcome::TimedOut);
}

#[tokio::test]
async fn what_a_person_merges_is_followed_by_the_merge() {
    let (mut world, forge) = followed("github", &[RUNS, DONE[0].1]).await;
    world.config["push_to"] = json!("rollback/{{ attempt.id }}");
    let (path, order) = world.attempt();
    let (progress, mut told) = mpsc::channel(8);
    let merge = async {
        while !matches!(told.recv().await, Some(Progress::Waits { .. })) {}
        world.work.git(&["fetch", "--quiet", "origin"]);
        world.work.git(&["merge", "--quiet", "--no-ff", "-m", "Merge", "origin/rollback/shop-f-1-a1"]);
        world.work.push();
    };
    let start = path.start(&order, &world.place, &progress, CancellationToken::new());
    let (outcome, ()) = tokio::join!(start, merge);
    let tip = world.tip("main");
    assert!(matches!(&outcome, Outcome::Succeeded { receipt: Some(of), .. } if of == &tip), "{outcome:?}");
    assert_eq!(lock(&forge).commits, vec![tip; 2]);
}

#[tokio::test]
async fn mistakes_in_what_is_followed_say_what_was_expected() {
    let world = World::new().await;
    let github = json!({"repo": "acme/shop", "workflow": "deploy.yml", "token_file": "/run/token"});
    let with = |follow: Value| {
        let mut config = world.config.clone();
        config["follow"] = follow;
        mistakes("git_revert", &config)
    };
    assert_eq!(with(json!({"github": github})), "");
    let mut lacking = github.clone();
    lacking.as_object_mut().unwrap().remove("workflow");
    for (follow, expected) in [
        (json!({}), "`follow` has none of `github`, `gitlab`"),
        (json!({"github": github, "gitlab": {}}), "has `github` already"),
        (json!({"bitbucket": {}}), "unknown key"),
        (json!({"github": lacking}), "`follow.github` has no `workflow`"),
        (json!({"github": {"repo": "acme/shop", "workflow": "deploy.yml"}}), "has no `token_file` and no `app`"),
        (json!({"gitlab": {"project": "acme/shop"}}), "`follow.gitlab` has no `bearer_token_file`"),
        (json!({"gitlab": {"project": "shop", "bearer_token_file": "/x"}}), "group/name"),
    ] {
        let said = with(follow.clone());
        assert!(said.contains(expected), "{follow}: {said}");
    }
}
