//! What the tests of all rollback paths share: a config written as JSON, an order, and what came of it.

use std::path::PathBuf;
use std::time::Duration;

use rollbackd::paths::{self, NotReady, Progress, RollbackPath};
use rollbackd_core::config::PathParts;
use rollbackd_core::config::node::{Node, Place, Problems, Value};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use rollbackd_core::name::{AttemptId, FiringId, PathName, ServiceName};
use rollbackd_core::template::{Values, Variable};
use rollbackd_core::time::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Longer than any test takes; a test that hits it hangs.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The tree that a config file with the same content gives.
pub(crate) fn node(json: &serde_json::Value) -> Node {
    let scalar = |text: String, quoted| Value::Scalar { text, quoted };
    let value = match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::String(text) => scalar(text.clone(), true),
        serde_json::Value::Array(items) => Value::List(items.iter().map(node).collect()),
        serde_json::Value::Object(entries) => {
            Value::Map(entries.iter().map(|(key, value)| (node(&serde_json::json!(key)), node(value))).collect())
        }
        serde_json::Value::Bool(_) | serde_json::Value::Number(_) => scalar(json.to_string(), false),
    };
    Node { place: Place { line: 1, column: 1 }, value }
}

/// The path of this config, which must have no mistake.
pub(crate) fn path(kind: &str, json: &serde_json::Value) -> (RollbackPath, PathParts) {
    let mut problems = Problems::default();
    let decoded = paths::decode(kind, &node(json), &mut problems);
    assert!(!problems.any_error(), "{:?}", problems.0);
    decoded.unwrap()
}

/// The mistakes in this config.
pub(crate) fn mistakes(kind: &str, json: &serde_json::Value) -> String {
    let mut problems = Problems::default();
    let _decoded = paths::decode(kind, &node(json), &mut problems);
    problems.0.iter().map(|problem| format!("{}\n", problem.message)).collect()
}

pub(crate) fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_milliseconds(i64::try_from(since_epoch.as_millis()).unwrap())
}

/// An order as the core makes it out of the path's templates, with this much time.
pub(crate) fn order(parts: &PathParts, timeout: Duration) -> Order {
    let values = Values::default()
        .with(Variable::TargetVersion, "v41")
        .with(Variable::Service, "shop")
        .with(Variable::FiringId, "shop-f-1")
        .with(Variable::DeployCommit, "c0ffee0")
        .with(Variable::AttemptId, "shop-f-1-a1");
    Order {
        service: ServiceName::new("shop").unwrap(),
        firing: FiringId::new("shop-f-1").unwrap(),
        attempt: AttemptId::new("shop-f-1-a1").unwrap(),
        path: PathName::new("first").unwrap(),
        run: parts.run.iter().map(|part| part.value.render(&values).unwrap()).collect(),
        started_at: now(),
        ends_at: now() + timeout,
    }
}

/// A path of this config, and an order for it.
pub(crate) fn attempt(kind: &str, config: &serde_json::Value) -> (RollbackPath, Order) {
    let (path, parts) = path(kind, config);
    (path, order(&parts, LONG))
}

/// Why the look before an attempt says that it would fail.
pub(crate) async fn would_fail((path, order): &(RollbackPath, Order)) -> String {
    match path.preflight(order, &no_place()).unwrap().await {
        Err(NotReady::Fails(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// A world with a platform, at which the attempts of a path are made.
pub(crate) trait Attempts {
    /// The path and its order.
    fn attempt(&self) -> (RollbackPath, Order);

    async fn start(&self) -> Outcome {
        let (path, order) = self.attempt();
        path.start(&order, &no_place(), &mpsc::channel(8).0, CancellationToken::new()).await
    }

    async fn follow(&self, handle: Option<&str>) -> Outcome {
        let (path, order) = self.attempt();
        path.follow(&order, handle, &no_place(), &mpsc::channel(8).0, CancellationToken::new()).await
    }

    /// Starts, and acts once a person is told of; what came of it and what the person was told.
    async fn start_and_wait(&self, act: impl FnOnce()) -> (Outcome, String) {
        let (path, order) = self.attempt();
        let (progress, mut told) = mpsc::channel(8);
        let place = no_place();
        let person = async {
            loop {
                if let Progress::Waits { why } = told.recv().await.unwrap() {
                    act();
                    return why;
                }
            }
        };
        tokio::join!(path.start(&order, &place, &progress, CancellationToken::new()), person)
    }

    /// Starts, and says that the path's timeout is over once the attempt can be found again; what came of it.
    async fn start_and_stop(&self) -> Outcome {
        let (path, order) = self.attempt();
        let (progress, mut told) = mpsc::channel(8);
        let (place, stop) = (no_place(), CancellationToken::new());
        let (outcome, ()) = tokio::join!(path.start(&order, &place, &progress, stop.clone()), async {
            told.recv().await.unwrap();
            stop.cancel();
        });
        outcome
    }
}

/// Serves on loopback for as long as the test's runtime lives; scheme, host and port.
pub(crate) async fn serve(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// Where commands would live; paths by a platform's API have none.
pub(crate) fn no_place() -> paths::Place {
    paths::Place { attempts_dir: PathBuf::from("/nowhere"), program: PathBuf::from("/nowhere") }
}

/// Why an attempt did not bring the target back, and how it ended.
pub(crate) fn why(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed { why, .. } => format!("failed: {why}"),
        Outcome::Cancelled { why } => format!("cancelled: {why}"),
        Outcome::Unknown { why } => format!("unknown: {why}"),
        Outcome::Succeeded { .. } | Outcome::TimedOut | Outcome::NeverStarted => panic!("{outcome:?}"),
    }
}
