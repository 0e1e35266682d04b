//! The path `git_revert`, against git's own server: `git http-backend` behind a bridge of CGI (RFC 3875).
//!
//! The bridge asks for the token, and misbehaves where a test says so; all else is git.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::contract::{SECRET, secret_file};
use crate::world::{LONG, mistakes, order, path, why};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use rollbackd::paths::{NotReady, Place, Progress, RollbackPath};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// RFC 7617, of `x-access-token` and [`SECRET`].
const AUTHORIZATION: &str = "Basic eC1hY2Nlc3MtdG9rZW46czNjcmV0LW9mLXRoZS1jb250cmFjdA==";

#[derive(Default)]
pub(crate) struct Faults {
    /// So many times somebody else pushes just before us.
    races: usize,
    /// A push is carried out, and its answer lost: the connection breaks.
    unanswered: bool,
    /// A push is carried out, and answered with this status all the same.
    fails_after: Option<u16>,
    /// A push is answered with this status.
    pub(crate) refuses: Option<u16>,
    /// A read is answered with this status.
    pub(crate) unreadable: Option<u16>,
    /// Each answer breaks off half-way.
    pub(crate) cut_short: bool,
    /// The requests that pushed.
    pushes: usize,
}

pub(crate) struct Server {
    root: PathBuf,
    work: Repository,
    faults: Mutex<Faults>,
}

impl Server {
    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn status(status: u16) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = axum::http::StatusCode::from_u16(status).unwrap();
    if status == 401 {
        response.headers_mut().insert("www-authenticate", "Basic realm=\"git\"".parse().unwrap());
    }
    response
}

async fn bridge(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    if header("authorization").as_deref() != Some(AUTHORIZATION) {
        return status(401);
    }
    let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
    let pushes = path.ends_with("/git-receive-pack");
    if pushes || query == "service=git-receive-pack" {
        let mut faults = server.faults();
        faults.pushes += usize::from(pushes);
        if let Some(refused) = faults.refuses {
            return status(refused);
        }
        if !pushes && faults.races > 0 {
            faults.races -= 1;
            let name = format!("race-{}", faults.races);
            server.work.pull();
            server.work.commit(&name, "somebody else's", &name);
            server.work.push();
        }
    }
    if let Some(refused) = server.faults().unreadable.filter(|_| !pushes && query != "service=git-receive-pack") {
        return status(refused);
    }
    let mut backend = tokio::process::Command::new("git");
    backend
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &server.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "rollbackd")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", &path)
        .env("QUERY_STRING", &query)
        .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding").unwrap_or_default())
        .env("GIT_PROTOCOL", header("git-protocol").unwrap_or_default());
    let mut backend = backend.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let body = axum::body::to_bytes(body, 1 << 24).await.unwrap();
    backend.stdin.take().unwrap().write_all(&body).await.unwrap();
    let output = backend.wait_with_output().await.unwrap().stdout;
    if pushes && server.faults().unanswered {
        // Ends the connection's task without an answer, and without a panic message in the test's output.
        std::panic::resume_unwind(Box::new("the connection breaks"));
    }
    if let Some(failed) = server.faults().fails_after.filter(|_| pushes) {
        return status(failed);
    }
    let answer = answer(&output);
    if server.faults().cut_short { crate::proxy::cut_short(answer).await } else { answer }
}

/// What a CGI program wrote, as an answer.
fn answer(output: &[u8]) -> Response {
    let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let mut response = Response::new(Body::from(output[end + 4..].to_vec()));
    for line in std::str::from_utf8(&output[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        if name == "Status" {
            *response.status_mut() = value.split(' ').next().unwrap().parse().unwrap();
        } else {
            let name: axum::http::HeaderName = name.parse().unwrap();
            response.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    response
}

/// A clone that somebody works in.
#[derive(Clone)]
pub(crate) struct Repository(PathBuf);

impl Repository {
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let who = ["user.name=dev", "user.email=dev@localhost", "init.defaultBranch=main", "commit.gpgSign=false"];
        let who = who.iter().flat_map(|setting| ["-c", setting]);
        let mut git = std::process::Command::new("git");
        let git = git.args(who).args(arguments).current_dir(&self.0);
        let ran = git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, file: &str, content: &str, message: &str) -> String {
        std::fs::write(self.0.join(file), format!("{content}\n")).unwrap();
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub(crate) fn push(&self) {
        self.git(&["push", "--quiet", "origin", "HEAD:main"]);
    }

    fn pull(&self) {
        self.git(&["fetch", "--quiet", "origin"]);
        self.git(&["reset", "--quiet", "--hard", "origin/main"]);
    }

    /// A file on a branch of the remote.
    fn show(&self, branch: &str, file: &str) -> String {
        self.git(&["fetch", "--quiet", "origin"]);
        self.git(&["show", &format!("origin/{branch}:{file}")])
    }

    fn subjects(&self) -> Vec<String> {
        self.git(&["fetch", "--quiet", "origin"]);
        self.git(&["log", "--format=%s", "--first-parent", "origin/main"]).lines().map(str::to_owned).collect()
    }
}

pub(crate) struct World {
    pub(crate) server: Arc<Server>,
    pub(crate) work: Repository,
    pub(crate) place: Place,
    pub(crate) config: Value,
    /// What was deployed: it made `version` v42 of v41.
    deployed: String,
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("remote");
        let (bare, work) = (Repository(root.join("shop.git")), Repository(dir.path().join("work")));
        for repository in [&bare, &work] {
            std::fs::create_dir_all(&repository.0).unwrap();
        }
        bare.git(&["init", "--quiet", "--bare", "."]);
        bare.git(&["config", "http.receivepack", "true"]);
        work.git(&["init", "--quiet", "."]);
        work.git(&["remote", "add", "origin", bare.0.to_str().unwrap()]);
        work.commit("version", "v41", "The first");
        let deployed = work.commit("version", "v42", "The second [skip ci]");
        work.commit("other", "o", "Something else");
        work.push();
        let server = Arc::new(Server { root, work: work.clone(), faults: Mutex::default() });
        let router = Router::new().fallback(bridge).with_state(Arc::clone(&server));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/shop.git", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let program = PathBuf::from(env!("CARGO_BIN_EXE_rollbackd"));
        let place = Place { attempts_dir: dir.path().join("attempts"), program };
        let config = json!({"url": url, "token_file": secret_file(dir.path()), "poll_interval": "10ms"});
        Self { server, work, place, config, deployed, dir }
    }

    pub(crate) fn attempt(&self) -> (RollbackPath, Order) {
        let (path, parts) = path("git_revert", &self.config);
        let mut order = order(&parts, LONG);
        order.run[0].clone_from(&self.deployed);
        (path, order)
    }

    pub(crate) async fn start(&self) -> Outcome {
        let (path, order) = self.attempt();
        path.start(&order, &self.place, &mpsc::channel(8).0, CancellationToken::new()).await
    }

    pub(crate) async fn follow(&self, handle: Option<&str>) -> Outcome {
        let (path, order) = self.attempt();
        path.follow(&order, handle, &self.place, &mpsc::channel(8).0, CancellationToken::new()).await
    }

    pub(crate) fn tip(&self, branch: &str) -> String {
        self.work.git(&["ls-remote", "origin", &format!("refs/heads/{branch}")]).split('\t').next().unwrap().to_owned()
    }

    pub(crate) fn pushes(&self) -> usize {
        self.server.faults().pushes
    }
}

fn reverted(sha: &str) -> Outcome {
    Outcome::Succeeded { receipt: Some(sha.to_owned()), output: String::new() }
}

#[tokio::test]
async fn a_look_before_asks_for_the_branch_with_the_token_and_makes_nothing() {
    let mut world = World::new().await;
    let looked = async |world: &World| {
        let (path, order) = world.attempt();
        path.preflight(&order, &world.place).unwrap().await.map(drop)
    };
    // What somebody keeps around the folder where git runs is not looked into.
    std::fs::create_dir(world.dir.path().join(".git")).unwrap();
    std::fs::write(world.dir.path().join(".git/config"), "no config").unwrap();
    assert_eq!(looked(&world).await, Ok(()));
    world.config["branch"] = json!("gone");
    assert_eq!(looked(&world).await, Err(NotReady::Fails("there is no branch gone".to_owned())));
    std::fs::write(world.dir.path().join("secret"), "another\n").unwrap();
    let Err(NotReady::Fails(why)) = looked(&world).await else { panic!("the token is another's") };
    assert!(!why.contains("another"), "{why}");
    assert_eq!(world.pushes(), 0);
    assert!(!world.place.attempts_dir.exists());
}

#[tokio::test]
async fn the_deploys_commit_is_reverted_once_and_the_revert_is_the_receipt() {
    let world = World::new().await;
    let (path, order) = world.attempt();
    let (progress, mut told) = mpsc::channel(8);
    let outcome = path.start(&order, &world.place, &progress, CancellationToken::new()).await;
    let tip = world.tip("main");
    assert_eq!(outcome, reverted(&tip));
    assert_eq!(told.try_recv(), Ok(Progress::Started { handle: tip.clone() }));
    assert_eq!((world.work.show("main", "version"), world.work.show("main", "other")), ("v41".into(), "o".into()));
    let message = world.work.git(&["log", "-1", "--format=%an <%ae>%n%B", "origin/main"]);
    for expected in [
        "rollbackd <rollbackd@localhost>",
        &format!("This reverts commit {}.", world.deployed),
        "Rollbackd-Attempt: shop-f-1-a1",
    ] {
        assert!(message.contains(expected), "{message}");
    }
    assert!(!message.contains("[skip ci]"), "{message}");
    assert_eq!(world.pushes(), 1);
}

#[tokio::test]
async fn a_merge_is_reverted_to_its_first_parent_and_an_old_commit_is_found() {
    let mut world = World::new().await;
    world.work.git(&["checkout", "--quiet", "-b", "feature"]);
    world.work.commit("version", "v43", "A feature");
    world.work.git(&["checkout", "--quiet", "-"]);
    world.work.commit("third", "3", "Meanwhile");
    world.work.git(&["merge", "--quiet", "--no-ff", "-m", "Merge the feature", "feature"]);
    world.deployed = world.work.git(&["rev-parse", "HEAD"])[..12].to_owned();
    for number in 0..70 {
        world.work.git(&["commit", "--quiet", "--allow-empty", "-m", &format!("later {number}")]);
    }
    world.work.push();
    assert_eq!(world.start().await, reverted(&world.tip("main")));
    assert_eq!((world.work.show("main", "version"), world.work.show("main", "third")), ("v42".into(), "3".into()));
}

#[tokio::test]
async fn a_conflict_names_its_files_and_nothing_is_pushed() {
    let world = World::new().await;
    world.work.commit("version", "v43", "The third");
    world.work.push();
    let why = why(world.start().await);
    assert!(why.starts_with("failed:") && why.contains("in version: revert it by hand; nothing ran"), "{why}");
    assert_eq!(world.pushes(), 0);
}

#[tokio::test]
async fn what_is_reverted_already_is_not_reverted_again() {
    let world = World::new().await;
    world.work.git(&["revert", "--no-edit", &world.deployed]);
    world.work.push();
    let by = world.tip("main");
    let why = why(world.start().await);
    assert!(why.starts_with("failed:") && why.contains(&format!("already by {by}")), "{why}");
    assert!(why.ends_with("nothing ran"), "{why}");
    assert_eq!(world.pushes(), 0);
}

#[tokio::test]
async fn a_branch_that_moves_meanwhile_is_read_again_and_never_forced() {
    let world = World::new().await;
    world.server.faults().races = 2;
    assert_eq!(world.start().await, reverted(&world.tip("main")));
    let subjects = world.work.subjects();
    assert!(subjects[0].starts_with("Revert ") && subjects[1..3] == ["race-0", "race-1"], "{subjects:?}");
    assert_eq!(world.work.show("main", "version"), "v41");

    let world = World::new().await;
    world.server.faults().races = 100;
    let why = why(world.start().await);
    assert!(why.starts_with("failed: main moved 5 times") && why.ends_with("nothing ran"), "{why}");
    assert_eq!(world.work.show("main", "version"), "v42");
}

#[tokio::test]
async fn a_wrong_token_and_one_that_may_not_push_are_refused_without_being_shown() {
    let world = World::new().await;
    std::fs::write(world.dir.path().join("secret"), "an0ther\n").unwrap();
    let wrong = why(world.start().await);
    assert!(wrong.starts_with("failed:") && wrong.contains("Authentication failed"), "{wrong}");
    assert!(wrong.ends_with("nothing ran") && !wrong.contains("an0ther"), "{wrong}");

    let world = World::new().await;
    world.server.faults().refuses = Some(403);
    let read_only = why(world.start().await);
    assert!(read_only.starts_with("failed:") && read_only.contains("403"), "{read_only}");
    assert!(read_only.contains("that the token may push; nothing ran") && !read_only.contains(SECRET), "{read_only}");
    assert_eq!(world.work.show("main", "version"), "v42");
}

#[tokio::test]
async fn a_protected_branch_says_so_and_nothing_is_pushed() {
    let world = World::new().await;
    let hook = world.server.root.join("shop.git/hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\necho main is protected >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let why = why(world.start().await);
    assert!(why.starts_with("failed: main was not pushed to") && why.contains("main is protected"), "{why}");
    assert!(why.ends_with("nothing ran"), "{why}");
    assert_eq!(world.work.show("main", "version"), "v42");
}

#[tokio::test]
async fn a_push_whose_answer_is_lost_is_found_and_not_made_again() {
    for fails_after in [None, Some(502)] {
        let world = World::new().await;
        world.server.faults().unanswered = fails_after.is_none();
        world.server.faults().fails_after = fails_after;
        assert_eq!(world.start().await, reverted(&world.tip("main")));
        // Git itself sends once more what a broken connection left unanswered; the branch takes it once.
        let subjects = world.work.subjects();
        assert_eq!(subjects.iter().filter(|subject| subject.starts_with("Revert ")).count(), 1, "{subjects:?}");
    }
}

#[tokio::test]
async fn after_a_crash_the_revert_is_found_by_its_trailer_or_was_never_pushed() {
    let world = World::new().await;
    assert_eq!(world.follow(None).await, Outcome::NeverStarted);
    assert_eq!(world.pushes(), 0);
    world.start().await;
    let tip = world.tip("main");
    assert_eq!(world.follow(None).await, reverted(&tip));
    assert_eq!(world.follow(Some(&tip)).await, reverted(&tip));
    // A second start, too: it is there already.
    assert_eq!(world.start().await, reverted(&tip));
    assert_eq!(world.pushes(), 1);
}

#[tokio::test]
async fn a_revert_on_a_branch_of_its_own_waits_for_a_person_to_merge_it() {
    let mut world = World::new().await;
    world.config["push_to"] = json!("rollback/{{ attempt.id }}");
    let (path, order) = world.attempt();
    let (progress, mut told) = mpsc::channel(8);
    let merge = async {
        let Some(Progress::Started { handle }) = told.recv().await else { panic!("not started") };
        let Some(Progress::Waits { why }) = told.recv().await else { panic!("does not wait") };
        assert!(why.contains("rollback/shop-f-1-a1 waits for a person to merge it into main"), "{why}");
        assert_eq!(world.work.show("main", "version"), "v42");
        world.work.git(&["fetch", "--quiet", "origin"]);
        world.work.git(&["merge", "--quiet", "--no-ff", "-m", "Merge", "origin/rollback/shop-f-1-a1"]);
        world.work.push();
        let Some(Progress::Started { handle: merged }) = told.recv().await else { panic!("not merged") };
        (handle, merged)
    };
    let start = path.start(&order, &world.place, &progress, CancellationToken::new());
    let (outcome, (handle, merged)) = tokio::join!(start, merge);
    // What deploys the branch knows the merge alone.
    assert_eq!(outcome, reverted(&world.tip("main")));
    assert_eq!((merged == handle, &merged), (false, &world.tip("main")));
    assert_eq!(world.work.show("main", "version"), "v41");
    assert_eq!(world.pushes(), 1);
}

#[tokio::test]
async fn a_branch_of_its_own_that_is_deleted_is_cancelled() {
    let mut world = World::new().await;
    world.config["push_to"] = json!("rollback/{{ attempt.id }}");
    let (path, order) = world.attempt();
    let (progress, mut told) = mpsc::channel(8);
    let delete = async {
        while !matches!(told.recv().await, Some(Progress::Waits { .. })) {}
        world.work.git(&["push", "--quiet", "origin", ":refs/heads/rollback/shop-f-1-a1"]);
    };
    let start = path.start(&order, &world.place, &progress, CancellationToken::new());
    let (outcome, ()) = tokio::join!(start, delete);
    assert!(why(outcome).starts_with("cancelled: rollback/shop-f-1-a1 was deleted"));
}

#[tokio::test]
async fn only_a_commit_of_the_branch_is_reverted() {
    let mut world = World::new().await;
    for (commit, expected) in [
        ("--help", "is no commit: expected 7 to 64 hexadecimal digits"),
        ("abc", "is no commit"),
        ("0123456789abcdef", "is not on main"),
    ] {
        world.deployed = commit.to_owned();
        let why = why(world.start().await);
        assert!(why.contains(expected) && why.ends_with("nothing ran"), "{why}");
    }
    world.deployed = world.work.git(&["rev-list", "--max-parents=0", "HEAD"]);
    assert!(why(world.start().await).contains("or is the first of all"));
    assert_eq!(world.pushes(), 0);
}

#[tokio::test]
async fn a_repository_on_this_machine_needs_no_token_and_leaves_nothing_in_the_clone() {
    let mut world = World::new().await;
    world.config =
        json!({"url": format!("file://{}", world.server.root.join("shop.git").display()), "poll_interval": "10ms"});
    assert_eq!(world.start().await, reverted(&world.tip("main")));
    let (_, order) = world.attempt();
    rollbackd::paths::forget(&world.place, &order.attempt).unwrap();
    assert!(!world.place.attempts_dir.join("shop-f-1-a1").exists());
}

#[tokio::test]
async fn the_token_stands_in_no_file_of_the_clone() {
    let world = World::new().await;
    world.start().await;
    fn search(dir: &Path) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let file = entry.unwrap().path();
            if file.is_dir() {
                search(&file);
            } else {
                let content = std::fs::read(&file).unwrap();
                let holds = content.windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes());
                assert!(!holds, "{}", file.display());
            }
        }
    }
    search(&world.place.attempts_dir);
    let (path, parts) = path("git_revert", &world.config);
    assert!(!format!("{path:?} {parts:?}").contains(SECRET));
}

#[tokio::test]
async fn mistakes_in_the_config_say_what_was_expected() {
    let world = World::new().await;
    for (key, value, expected) in [
        ("url", json!("https://user:hunter2@h/x.git"), "no user name or password"),
        ("url", json!("ssh://git@h/x.git"), "only http and https"),
        ("url", json!("--upload-pack=x"), "expected a URL"),
        ("branch", json!("--force"), "expected a branch such as main"),
        ("branch", json!("a..b"), "expected a branch such as main"),
        ("push_to", json!("rollback"), "with {{ attempt.id }}"),
        ("push_to", json!("{{ target.version }}"), "with {{ attempt.id }}"),
        ("token_file", json!("hunter2"), "the absolute path of the file that holds the token"),
        ("author_name", json!("a <b>"), "without < and >"),
        ("poll_interval", json!("1ms"), "expected 10ms to"),
        ("brnch", json!("x"), "did you mean `branch`"),
    ] {
        let mut config = world.config.clone();
        config[key] = value;
        let said = mistakes("git_revert", &config);
        assert!(said.contains(expected) && !said.contains("hunter2"), "{key}: {said}");
    }
}
