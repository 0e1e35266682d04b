//! What every path by a platform's API promises, each against a stand-in of its platform behind a proxy that misbehaves.
//!
//! A stand-in here has nothing against us and keeps its state as the platform does; all faults come from the proxy.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use crate::proxy::{Proxy, Seen, Trouble};
use crate::world::{LONG, no_place, order, path};
use crate::{app_runner, argo_cd, cloud_run, ecs, fly, github_actions, github_app, gitlab, http, kubernetes};
use rollbackd::config;
use rollbackd::edges::Edges;
use rollbackd::outside::Outside as _;
use rollbackd::paths::{KINDS, NotReady, Progress, RollbackPath};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What every secret file of these tests holds; no outcome may show it.
pub(crate) const SECRET: &str = "s3cret-of-the-contract";

/// Paths that ask no platform: they have tests of their own for the same promises.
const WITHOUT_A_PLATFORM: &[&str] = &["command", "git_revert"];

/// What is special about a kind.
pub(crate) struct Contract {
    pub(crate) kind: &'static str,
    /// Starts a stand-in at which v42 serves and to which v41 is known; its URL. It ends with the test's runtime.
    pub(crate) platform: fn() -> Pin<Box<dyn Future<Output = String>>>,
    /// The path's config for a platform at this URL, to return to `{{ target.version }}`. The folder is for secret files,
    /// which hold [`SECRET`] where a token is asked for.
    pub(crate) config: fn(&str, &Path) -> Value,
    /// Whether a request changes something.
    pub(crate) is_change: fn(&Seen) -> bool,
}

/// What a request to such a server would do is not known, so that it is asked nothing before.
const LOOKED_AT_BY_NOBODY: &[&str] = &["http"];

/// Paths that read something at the platform before they change anything: through the connection of the look before.
const READ_FIRST: &[&str] = &["app_runner", "argo_cd", "cloud_run", "ecs", "fly", "kubernetes"];

const CONTRACTS: &[Contract] = &[
    app_runner::CONTRACT,
    argo_cd::CONTRACT,
    cloud_run::CONTRACT,
    ecs::CONTRACT,
    fly::CONTRACT,
    github_actions::CONTRACT,
    github_app::CONTRACT,
    gitlab::CONTRACT,
    gitlab::TRIGGER_CONTRACT,
    http::CONTRACT,
    kubernetes::CONTRACT,
];

/// One attempt of a kind, at a platform of its own.
struct World {
    kind: &'static str,
    proxy: Proxy,
    path: RollbackPath,
    order: Order,
    stop: CancellationToken,
    config: Value,
    dir: TempDir,
}

impl World {
    async fn new(contract: &Contract) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (proxy, url) = Proxy::start(&(contract.platform)().await, contract.is_change).await;
        let config = (contract.config)(&url, dir.path());
        let (path, parts) = path(contract.kind, &config);
        let order = order(&parts, LONG);
        Self { kind: contract.kind, proxy, path, order, stop: CancellationToken::new(), config, dir }
    }

    /// The outside world of a config that has the path.
    fn edges(&self) -> Edges {
        let service = json!({
            "name": "shop", "watch": "30m", "page": ["oncall"], "side_effects": "none",
            "triggers": [{"name": "smoke-test", "observed": "report", "budget": "3m"}],
            "paths": [{"name": "first", "timeout": "60s", self.kind: self.config}],
        });
        let config = json!({
            "prometheus": {"url": "http://127.0.0.1:9"}, "listen": "127.0.0.1:0",
            "state_dir": self.dir.path(), "receipts_dir": self.dir.path(), "services": [service],
            "pagers": [{"name": "oncall", "webhook": {"url": "http://127.0.0.1:9"}}],
        });
        let file = self.dir.path().join("rollbackd.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let loaded = config::load(&file).unwrap_or_else(|error| panic!("{}", config::explain(&error)));
        Edges::open(loaded.settings).unwrap()
    }

    async fn start(&self) -> Outcome {
        self.start_told(&mpsc::channel(8).0).await
    }

    async fn start_told(&self, progress: &mpsc::Sender<Progress>) -> Outcome {
        self.path.start(&self.order, &no_place(), progress, self.stop.clone()).await
    }

    async fn follow(&self, handle: Option<&str>) -> Outcome {
        self.path.follow(&self.order, handle, &no_place(), &mpsc::channel(8).0, self.stop.clone()).await
    }

    /// Starts, and ends as a killed daemon does once the attempt can be found again; by what.
    async fn start_and_crash(&self) -> String {
        let (progress, mut told) = mpsc::channel(8);
        let place = no_place();
        let handle = async {
            loop {
                match told.recv().await {
                    Some(Progress::Started { handle }) => return handle,
                    Some(Progress::Waits { .. }) => {}
                    None => panic!("{}: ended without a handle", self.kind),
                }
            }
        };
        tokio::select! {
            biased;
            handle = handle => handle,
            outcome = self.path.start(&self.order, &place, &progress, self.stop.clone()) => {
                panic!("{}: over before it could be found again: {outcome:?}", self.kind)
            }
        }
    }

    /// That each change was carried out once, however often it was asked for.
    fn changed_once(&self) {
        let changes = self.proxy.changes();
        assert!(!changes.is_empty(), "{}: nothing was changed", self.kind);
        for (index, change) in changes.iter().enumerate() {
            assert!(!changes[..index].contains(change), "{}: changed twice: {change:?}", self.kind);
        }
    }

    fn changed_nothing(&self) {
        assert_eq!(self.proxy.changes(), [], "{}", self.kind);
    }
}

/// One world for each kind, all at the same time. Each has a thread of its own: that one makes a client, which takes a
/// while, must not keep another from noticing what it waits for.
fn each<F: AsyncFn(World) + Sync>(test: F) {
    let test = &test;
    std::thread::scope(|scope| {
        for contract in CONTRACTS {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async { test(World::new(contract).await).await });
            });
        }
    });
}

fn succeeded(kind: &str, outcome: &Outcome) {
    assert!(
        matches!(outcome, Outcome::Succeeded { receipt: Some(receipt), .. } if !receipt.is_empty()),
        "{kind}: {outcome:?}"
    );
}

/// Why an attempt failed that changed nothing.
fn nothing_ran(kind: &str, outcome: &Outcome) -> String {
    let Outcome::Failed { why, .. } = outcome else { panic!("{kind}: {outcome:?}") };
    assert!(why.ends_with("nothing ran") && !why.contains(SECRET), "{kind}: {why}");
    why.clone()
}

#[test]
fn every_kind_of_path_has_its_contract_tested() {
    let tested: BTreeSet<&str> = CONTRACTS.iter().map(|contract| contract.kind).collect();
    let expected = KINDS.iter().copied().filter(|kind| !WITHOUT_A_PLATFORM.contains(kind)).collect();
    assert_eq!(tested, expected);
}

#[test]
fn every_path_changes_once_tells_by_what_it_is_found_and_follows_to_the_end() {
    each(async |world| {
        let (progress, mut told) = mpsc::channel(8);
        succeeded(world.kind, &world.start_told(&progress).await);
        assert!(matches!(told.try_recv(), Ok(Progress::Started { .. })), "{}", world.kind);
        world.changed_once();
    });
}

#[test]
fn every_path_looks_before_it_is_started_and_changes_nothing_by_that() {
    each(async |world| {
        let ready = world.path.preflight(&world.order, &no_place()).unwrap().await;
        let ready = ready.unwrap_or_else(|why| panic!("{}: {why:?}", world.kind));
        let looked = !LOOKED_AT_BY_NOBODY.contains(&world.kind);
        assert_eq!(world.proxy.reads() > 0, looked, "{}", world.kind);
        assert_eq!(world.proxy.asked(), 0, "{}", world.kind);
        let connections = world.proxy.connections();
        let (progress, stop) = (mpsc::channel(8).0, world.stop.clone());
        let outcome = world.path.start_ready(&world.order, &no_place(), &ready, &progress, stop).await;
        succeeded(world.kind, &outcome);
        world.changed_once();
        let connected_anew = world.proxy.connections() > connections;
        assert_eq!(connected_anew, !READ_FIRST.contains(&world.kind), "{}", world.kind);
    });
}

#[test]
fn what_a_look_before_finds_is_for_the_next_attempt_of_that_path_alone() {
    each(async |world| {
        if !READ_FIRST.contains(&world.kind) {
            return;
        }
        let edges = world.edges();
        assert_eq!(edges.preflight(&world.order).unwrap().await, Ok(()), "{}", world.kind);
        let progress = mpsc::channel(8).0;
        for connects_anew in [false, true] {
            let before = world.proxy.connections();
            let outcome = edges.start(&world.order, &progress, world.stop.clone()).unwrap().await;
            succeeded(world.kind, &outcome);
            assert_eq!(world.proxy.connections() > before, connects_anew, "{}", world.kind);
        }
    });
}

#[test]
fn what_died_unseen_after_the_look_before_keeps_no_path_from_running() {
    each(async |world| {
        if !READ_FIRST.contains(&world.kind) {
            return;
        }
        let ready = world.path.preflight(&world.order, &no_place()).unwrap().await.unwrap();
        world.proxy.break_connections();
        let (progress, stop) = (mpsc::channel(8).0, world.stop.clone());
        let outcome = world.path.start_ready(&world.order, &no_place(), &ready, &progress, stop).await;
        succeeded(world.kind, &outcome);
        world.changed_once();
    });
}

#[test]
fn every_path_says_before_it_is_started_that_its_platform_can_not_be_reached() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for contract in CONTRACTS.iter().filter(|contract| !LOOKED_AT_BY_NOBODY.contains(&contract.kind)) {
        // Nobody listens there.
        let (path, parts) = path(contract.kind, &(contract.config)("http://127.0.0.1:9/", dir.path()));
        let found = runtime.block_on(path.preflight(&order(&parts, LONG), &no_place()).unwrap());
        let Err(NotReady::Unseen(why)) = found else { panic!("{}: {found:?}", contract.kind) };
        assert!(!why.is_empty() && !why.contains(SECRET), "{}: {why}", contract.kind);
    }
}

#[test]
fn every_path_waits_for_a_slow_platform() {
    each(async |world| {
        world.proxy.slow_down(Duration::from_millis(200));
        succeeded(world.kind, &world.start().await);
        world.changed_once();
    });
}

#[test]
fn every_path_takes_a_refusal_for_one_and_asks_no_second_time() {
    for status in [400, 401, 403, 404] {
        each(async |world| {
            world.proxy.troubles(&[Trouble::Refused(status)]);
            let why = nothing_ran(world.kind, &world.start().await);
            assert!(why.contains(&status.to_string()), "{}: {why}", world.kind);
            assert_eq!(world.proxy.asked(), 1, "{} after {status}", world.kind);
            world.changed_nothing();
        });
    }
}

#[test]
fn every_path_that_meets_a_conflict_changes_once_or_not_at_all() {
    for status in [409, 412, 422] {
        each(async |world| {
            world.proxy.troubles(&[Trouble::Refused(status)]);
            match world.start().await {
                // Somebody else changed it meanwhile: it may be looked at and asked for anew.
                outcome if matches!(outcome, Outcome::Succeeded { .. }) => {
                    succeeded(world.kind, &outcome);
                    world.changed_once();
                }
                outcome => {
                    nothing_ran(world.kind, &outcome);
                    world.changed_nothing();
                }
            }
        });
    }
}

#[test]
fn every_path_waits_out_a_limit_unless_it_outlasts_the_timeout() {
    each(async |world| {
        world.proxy.troubles(&[Trouble::Limited("1")]);
        succeeded(world.kind, &world.start().await);
        world.changed_once();
    });
    each(async |world| {
        world.proxy.troubles(&[Trouble::Limited("3600")]);
        nothing_ran(world.kind, &world.start().await);
        world.changed_nothing();
    });
}

#[test]
fn every_path_looks_for_what_a_failing_platform_may_have_done_before_it_says_anything() {
    for trouble in [Trouble::Refused(500), Trouble::Refused(503), Trouble::Lost] {
        each(async |world| {
            world.proxy.troubles(&[trouble]);
            let outcome = world.start().await;
            let known = if let Outcome::Unknown { why } = &outcome {
                why.clone()
            } else {
                // It was proven that nothing was changed, by looking.
                nothing_ran(world.kind, &outcome)
            };
            assert!(!known.contains(SECRET), "{}: {known}", world.kind);
            assert!(world.proxy.reads() > 0, "{}: did not look", world.kind);
            assert_eq!(world.proxy.asked(), 1, "{}", world.kind);
        });
    }
}

#[test]
fn every_path_finds_what_was_done_although_the_answer_is_lost_or_breaks_off() {
    for trouble in [Trouble::Unanswered, Trouble::CutShort] {
        each(async |world| {
            world.proxy.troubles(&[trouble]);
            succeeded(world.kind, &world.start().await);
            world.changed_once();
        });
    }
}

#[test]
fn every_path_follows_through_faults_of_the_platform() {
    let faults = [401, 403, 404, 409, 422, 500, 503].map(Trouble::Refused);
    for fault in faults.into_iter().chain([Trouble::Limited("1"), Trouble::CutShort, Trouble::Lost]) {
        each(async |world| {
            world.proxy.troubles_looks(&[fault, fault]);
            succeeded(world.kind, &world.start().await);
            world.changed_once();
        });
    }
}

#[test]
fn every_path_takes_up_after_a_crash_what_it_began() {
    each(async |world| {
        let handle = world.start_and_crash().await;
        let before = world.proxy.asked();
        succeeded(world.kind, &world.follow(Some(&handle)).await);
        assert_eq!(world.proxy.asked(), before, "{}: asked again", world.kind);
        world.changed_once();
    });
}

#[test]
fn every_path_finds_after_a_crash_what_was_not_yet_written_down() {
    each(async |world| {
        world.start_and_crash().await;
        let before = world.proxy.asked();
        let outcome = world.follow(None).await;
        if let Outcome::Unknown { why } = &outcome {
            assert!(!why.contains(SECRET), "{}: {why}", world.kind);
        } else {
            succeeded(world.kind, &outcome);
        }
        assert_eq!(world.proxy.asked(), before, "{}: asked again", world.kind);
        world.changed_once();
    });
}

#[test]
fn no_path_begins_anything_when_it_looks_for_what_never_began() {
    each(async |world| {
        let outcome = world.follow(None).await;
        assert!(matches!(outcome, Outcome::NeverStarted | Outcome::Unknown { .. }), "{}: {outcome:?}", world.kind);
        assert_eq!(world.proxy.asked(), 0, "{}", world.kind);
    });
}

#[test]
fn no_path_begins_anything_once_its_time_is_over() {
    each(async |world| {
        world.stop.cancel();
        assert_eq!(world.start().await, Outcome::TimedOut, "{}", world.kind);
        world.changed_nothing();
    });
}

#[test]
fn no_path_shows_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    for contract in CONTRACTS {
        let config = (contract.config)("http://127.0.0.1:9/", dir.path());
        let (path, parts) = path(contract.kind, &config);
        let shown = format!("{path:?} {parts:?} {config}");
        assert!(!shown.contains(SECRET), "{}: {shown}", contract.kind);
    }
}

/// A file with [`SECRET`] in it.
pub(crate) fn secret_file(dir: &Path) -> PathBuf {
    let file = dir.join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    file
}
