//! The path `ecs`, against a stand-in that deploys a service as Amazon ECS does.
//!
//! Requests are checked against AWS' service model `ecs/2014-11-13` (tests/paths/aws_model.rs). Answers and states: "Amazon
//! ECS API Reference", and "View service history using Amazon ECS service deployments". Signatures: tests/paths/moto.rs.

mod stand_in;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::stand_in::{Ends, Remote, Shared, answer, changes, definition, rollout, story_arn};
use crate::contract::{Contract, SECRET};
use crate::world::{Attempts, attempt, mistakes, no_place, now, path, serve, why, would_fail};
use axum::Router;
use rollbackd::paths::{Progress, RollbackPath};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) const CONTRACT: Contract = Contract {
    kind: "ecs",
    platform: || Box::pin(async { World::new().await.url }),
    config,
    is_change: |seen| seen.target.as_deref().is_some_and(changes),
};

fn config(url: &str, dir: &Path) -> Value {
    json!({
        "region": "eu-central-1", "endpoint_url": url, "cluster": "prod", "service": "shop",
        "credentials_file": credentials(dir, SECRET, "t0ken"), "poll_interval": "10ms",
    })
}

pub(crate) fn credentials(dir: &Path, secret: &str, token: &str) -> std::path::PathBuf {
    let file = dir.join("aws");
    let keys =
        format!("aws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {secret}\naws_session_token = {token}\n");
    std::fs::write(&file, format!("[default]\n{keys}")).unwrap();
    file
}

struct World {
    remote: Shared,
    url: String,
    dir: TempDir,
}

impl World {
    async fn new() -> Self {
        let remote = Arc::new(Mutex::new(Remote::new()));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&remote));
        let url = format!("{}/", serve(router).await);
        Self { remote, url, dir: tempfile::tempdir().unwrap() }
    }

    /// A world in which the bad version is being deployed, over this revision.
    async fn deploying(over: u32) -> Self {
        let world = Self::new().await;
        let mut bad = rollout(4, 9, "IN_PROGRESS");
        bad.created_at = now().seconds() - 120.0;
        world.remote().rollouts =
            vec![rollout(1, 7, "SUCCESSFUL"), rollout(2, 8, "SUCCESSFUL"), rollout(3, over, "SUCCESSFUL"), bad];
        world
    }

    fn remote(&self) -> MutexGuard<'_, Remote> {
        self.remote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start_with(&self, config: &Value) -> Outcome {
        let (path, order) = attempt("ecs", config);
        path.start(&order, &no_place(), &mpsc::channel(8).0, CancellationToken::new()).await
    }

    fn changes(&self) -> Vec<(String, Value)> {
        self.remote().changes()
    }
}

impl Attempts for World {
    fn attempt(&self) -> (RollbackPath, Order) {
        attempt("ecs", &config(&self.url, self.dir.path()))
    }
}

fn done(receipt: &str) -> Outcome {
    let output = "the service runs the task definition shop:7".to_owned();
    Outcome::Succeeded { receipt: Some(receipt.to_owned()), output }
}

fn updated() -> Vec<(String, Value)> {
    let body = json!({"cluster": "prod", "service": "shop", "taskDefinition": definition(7)});
    vec![("UpdateService".to_owned(), body)]
}

#[tokio::test]
async fn the_service_is_updated_once_to_what_served_the_target_and_not_to_the_one_before() {
    let world = World::new().await;
    assert_eq!(world.start().await, done("ecs-svc/4"));
    assert_eq!(world.changes(), updated());
}

#[tokio::test]
async fn a_deployment_in_progress_is_stopped_where_ecs_goes_back_to_the_target_then() {
    let world = World::deploying(7).await;
    world.remote().ends = Ends::Never;
    assert_eq!(world.start().await, done(&story_arn(4)));
    let body = json!({"serviceDeploymentArn": story_arn(4), "stopType": "ROLLBACK"});
    assert_eq!(world.changes(), [("StopServiceDeployment".to_owned(), body)]);
}

#[tokio::test]
async fn a_deployment_in_progress_is_replaced_where_ecs_would_go_back_elsewhere() {
    let world = World::deploying(8).await;
    world.remote().ends = Ends::Never;
    let (path, order) = world.attempt();
    let (progress, mut told) = mpsc::channel(8);
    let place = no_place();
    let (outcome, ()) = tokio::join!(path.start(&order, &place, &progress, CancellationToken::new()), async {
        told.recv().await.unwrap();
        world.remote().ends = Ends::Well;
    });
    assert_eq!(outcome, done("ecs-svc/5"));
    assert_eq!(world.changes(), updated());
}

#[tokio::test]
async fn a_stop_that_comes_too_late_is_looked_at_again() {
    let world = World::deploying(7).await;
    world.remote().ends = Ends::Never;
    world.remote().faults.push_back(("StopServiceDeployment", 400, "ConflictException"));
    assert_eq!(world.start().await, done(&story_arn(4)));
    assert_eq!(world.changes().len(), 1);
}

#[tokio::test]
async fn the_circuit_breaker_on_its_way_to_the_target_is_followed_and_nothing_is_begun_beside_it() {
    let world = World::deploying(7).await;
    world.remote().newest().status = "ROLLBACK_IN_PROGRESS";
    world.remote().looks = 6;
    assert_eq!(world.start().await, done(&story_arn(4)));

    let over = World::deploying(7).await;
    over.remote().newest().status = "ROLLBACK_SUCCESSFUL";
    assert_eq!(over.start().await, done("ecs-svc/3"));

    // Where ECS keeps no story, its deployments tell the same.
    let silent = World::deploying(7).await;
    silent.remote().newest().status = "ROLLBACK_IN_PROGRESS";
    silent.remote().keeps_story = false;
    silent.remote().definitions.remove(&10);
    assert_eq!(silent.start().await, done("ecs-svc/3"));
    for world in [world, over, silent] {
        assert_eq!(world.changes(), []);
    }
}

#[tokio::test]
async fn what_ecs_gives_up_has_failed_and_what_somebody_replaces_was_cancelled() {
    for (ends, expected) in [
        (Ends::GivenUp, "failed: the deployment ecs-svc/4 of shop:7 failed: ECS deployment ecs-svc/4 is FAILED."),
        (
            Ends::RolledBack,
            "failed: arn:aws:ecs:eu-central-1:123456789012:service-deployment/prod/shop/d4 was rolled back by ECS",
        ),
        (
            Ends::Replaced(10),
            "cancelled: arn:aws:ecs:eu-central-1:123456789012:service-deployment/prod/shop/d4 was stopped or",
        ),
    ] {
        let world = World::new().await;
        world.remote().ends = ends;
        let why = why(world.start().await);
        assert!(why.starts_with(expected), "{why}");
        assert_eq!(world.changes(), updated());
    }
    // The same by the story of the service alone, as after a crash.
    let world = World::new().await;
    world.remote().begin(7);
    world.remote().ends = Ends::GivenUp;
    let why = why(world.follow(Some(&format!("{} shop:7", story_arn(4)))).await);
    assert!(why.starts_with("failed:") && why.ends_with("d4 was stopped by ECS as a failure"), "{why}");
}

#[tokio::test]
async fn without_a_story_the_only_task_definition_with_the_image_is_the_target_and_two_are_none() {
    let world = World::new().await;
    world.remote().keeps_story = false;
    let two = why(world.start().await);
    assert!(two.contains("both shop:10 and shop:7 have") && two.ends_with("nothing ran"), "{two}");
    world.remote().definitions.remove(&10);
    assert_eq!(world.start().await, done("ecs-svc/4"));
    assert_eq!(world.changes(), updated());

    let none = World::new().await;
    let mut config = config(&none.url, none.dir.path());
    for (key, value, expected) in [
        ("image_tag", "v40", "image with the tag v40"),
        ("container", "proxy", "image with the tag v41"),
        ("cluster", "other", "cluster other has no service shop (MISSING)"),
    ] {
        let right = config.get(key).cloned();
        config[key] = json!(value);
        let why = why(none.start_with(&config).await);
        assert!(why.contains(expected) && why.ends_with("nothing ran"), "{why}");
        config.as_object_mut().unwrap().remove(key);
        config.as_object_mut().unwrap().extend(right.map(|right| (key.to_owned(), right)));
    }
    assert_eq!(none.changes(), []);
}

#[tokio::test]
async fn a_task_definition_that_is_named_has_to_be_the_services_own_and_deployable() {
    let world = World::new().await;
    world.remote().definitions.insert(6, ("registry.test:5000/shop:v6", "INACTIVE"));
    for (named, expected) in [
        ("shop:6", "shop:6 is INACTIVE and can't be deployed"),
        ("blog:7", "blog:7 is none of the service's family shop"),
        ("shop:99", "ClientException"),
    ] {
        let mut config = config(&world.url, world.dir.path());
        config["task_definition"] = json!(named);
        let before = would_fail(&attempt("ecs", &config)).await;
        let why = why(world.start_with(&config).await);
        assert!(why.contains(expected), "{why}");
        assert_eq!(why, format!("failed: {before}; nothing ran"));
    }
    assert_eq!(world.changes(), []);
    let mut config = config(&world.url, world.dir.path());
    config["task_definition"] = json!("shop:7");
    assert_eq!(world.start_with(&config).await, done("ecs-svc/4"));
}

#[tokio::test]
async fn a_service_that_ecs_itself_does_not_deploy_is_refused() {
    let world = World::new().await;
    world.remote().controller = "CODE_DEPLOY";
    let why = why(world.start().await);
    assert!(why.contains("by the controller CODE_DEPLOY") && why.ends_with("nothing ran"), "{why}");
    assert_eq!(world.changes(), []);
}

#[tokio::test]
async fn throttling_is_waited_out_before_the_change_at_it_and_after_it() {
    let world = World::new().await;
    world.remote().faults = VecDeque::from([
        ("DescribeServices", 400, "ThrottlingException"),
        ("UpdateService", 400, "ThrottlingException"),
        ("DescribeServices", 429, "TooManyRequestsException"),
        ("DescribeServices", 503, "ServiceUnavailable"),
    ]);
    assert_eq!(world.start().await, done("ecs-svc/4"));
    assert_eq!(world.changes(), updated());
    assert!(world.remote().faults.is_empty());
}

#[tokio::test]
async fn a_refusal_says_what_to_check_and_an_ended_session_is_renewed() {
    let world = World::new().await;
    world.remote().faults.push_back(("ListServiceDeployments", 400, "AccessDeniedException"));
    let why = why(world.start().await);
    assert!(why.contains("AccessDeniedException") && why.contains("the credentials may read and change it"), "{why}");
    assert!(why.ends_with("nothing ran") && !why.contains(SECRET) && !why.contains("t0ken"), "{why}");
    assert_eq!(world.changes(), []);

    let world = World::new().await;
    let (path, order) = world.attempt();
    let (progress, mut told) = mpsc::channel(8);
    let place = no_place();
    let (outcome, ()) = tokio::join!(path.start(&order, &place, &progress, CancellationToken::new()), async {
        told.recv().await.unwrap();
        credentials(world.dir.path(), SECRET, "t0ken2");
        world.remote().key = Some("t0ken2".to_owned());
    });
    assert_eq!(outcome, done("ecs-svc/4"));
}

#[tokio::test]
async fn credentials_that_have_ended_or_are_not_there_are_told_of_before_it_is_started() {
    let world = World::new().await;
    world.remote().key = Some("t0ken2".to_owned());
    let attempt = world.attempt();
    let why = would_fail(&attempt).await;
    assert!(why.contains("ExpiredToken") && why.ends_with("check the credentials: they have ended"), "{why}");
    let file = credentials(world.dir.path(), SECRET, "t0ken2");
    assert!(attempt.0.preflight(&attempt.1, &no_place()).unwrap().await.is_ok());

    std::fs::remove_file(&file).unwrap();
    let why = would_fail(&attempt).await;
    assert!(why.contains(&file.display().to_string()), "{why}");
    assert_eq!(world.changes(), []);
}

#[tokio::test]
async fn after_a_crash_what_was_begun_is_found_even_where_somebody_has_replaced_it() {
    let world = World::new().await;
    world.remote().begin(7);
    assert_eq!(world.follow(Some("ecs-svc/4 shop:7")).await, done("ecs-svc/4"));
    assert_eq!(world.follow(None).await, done("ecs-svc/4"));

    let replaced = World::new().await;
    replaced.remote().begin(7);
    replaced.remote().begin(9);
    assert!(why(replaced.follow(None).await).starts_with("cancelled:"));

    let other = World::new().await;
    let mut foreign = rollout(4, 8, "SUCCESSFUL");
    foreign.created_at = now().seconds() + 120.0;
    other.remote().rollouts.push(foreign);
    assert!(why(other.follow(None).await).contains("somebody else has deployed"));
    other.remote().keeps_story = false;
    let gone = why(other.follow(Some("ecs-svc/5 shop:7")).await);
    assert_eq!(gone, "cancelled: the deployment ecs-svc/5 of shop:7 was replaced by ecs-svc/4 of shop:8");

    let none = World::new().await;
    assert_eq!(none.follow(None).await, Outcome::NeverStarted);
    for world in [world, replaced, other, none] {
        assert_eq!(world.changes(), []);
    }
}

#[tokio::test]
async fn where_ecs_shows_no_state_of_a_deployment_it_is_over_when_nothing_else_runs() {
    let world = World::new().await;
    world.remote().shows_state = false;
    world.remote().looks = 4;
    assert_eq!(world.start().await, done("ecs-svc/4"));
    assert!(world.remote().looks == 0, "it was called over too early");
}

#[tokio::test]
async fn a_deployment_that_waits_for_a_person_is_told_once_and_followed_on() {
    let world = World::deploying(8).await;
    world.remote().newest().to = 7;
    world.remote().looks = 6;
    world.remote().ends = Ends::Never;
    let (path, order) = world.attempt();
    let (progress, mut told) = mpsc::channel(8);
    let place = no_place();
    let (outcome, ()) = tokio::join!(path.start(&order, &place, &progress, CancellationToken::new()), async {
        assert!(matches!(told.recv().await, Some(Progress::Started { .. })));
        world.remote().pauses = true;
        assert!(matches!(told.recv().await, Some(Progress::Waits { why }) if why.contains("lifecycle hook")));
        world.remote().ends = Ends::Well;
    });
    assert_eq!(outcome, done(&story_arn(4)));
    assert_eq!(world.changes(), []);
}

#[tokio::test]
async fn a_deployment_that_ecs_does_not_show_yet_is_not_taken_for_replaced() {
    let world = World::new().await;
    world.remote().lags = 6;
    assert_eq!(world.start().await, done("ecs-svc/4"));
    assert_eq!(world.changes(), updated());
    assert_eq!(world.remote().lags, 0);
}

#[tokio::test]
async fn when_the_time_is_over_the_deployment_of_the_target_goes_on() {
    let world = World::new().await;
    world.remote().ends = Ends::Never;
    let (path, order) = world.attempt();
    let (progress, mut told) = mpsc::channel(8);
    let (stop, place) = (CancellationToken::new(), no_place());
    let (outcome, ()) = tokio::join!(path.start(&order, &place, &progress, stop.clone()), async {
        told.recv().await.unwrap();
        stop.cancel();
    });
    assert_eq!(outcome, Outcome::TimedOut);
    assert_eq!(world.changes(), updated());
}

#[tokio::test]
async fn mistakes_in_the_config_say_what_was_expected() {
    let world = World::new().await;
    for (key, value, expected) in [
        ("region", json!("Frankfurt"), "expected an AWS region"),
        ("region", json!(null), "region"),
        ("endpoint_url", json!("http://ecs.test/"), "expected an https URL"),
        ("endpoint_url", json!("https://user:hunter2@ecs.test"), "no user name or password"),
        ("service", json!("sh op"), "expected a name or an ARN"),
        ("task_definition", json!("{{ branch }}"), "unknown template variable"),
        ("bearer_token_file", json!("/t"), "AWS takes no bearer token"),
        ("poll_interval", json!("1ms"), "expected 10ms to"),
        ("servce", json!("x"), "did you mean `service`"),
    ] {
        let mut config = config(&world.url, world.dir.path());
        config[key] = value;
        let said = mistakes("ecs", &config);
        assert!(said.contains(expected) && !said.contains("hunter2"), "{key}: {said}");
    }
    let mut both = config(&world.url, world.dir.path());
    (both["task_definition"], both["image_tag"]) = (json!("shop:7"), json!("v41"));
    assert!(mistakes("ecs", &both).contains("not both"));
    let (_, parts) = path("ecs", &config(&world.url, world.dir.path()));
    assert!(parts.leaves_behind.unwrap().contains("infrastructure as code"));
}
