//! Receipts in git: the real machinery of the daemon, the real git, and a bare repository as the remote.

#![expect(clippy::unwrap_used, reason = "in a test, the helpers as well, a panic is the message")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rollbackd::config;
use rollbackd::edges::Edges;
use rollbackd::journal::{Journal, OffThread};
use rollbackd::machine::Machine;
use rollbackd::metrics::Metrics;
use rollbackd::outside::InForce;
use rollbackd::supervisor::replay;
use rollbackd_core::config::Mode;
use rollbackd_core::event::{Event, Happening, Reply};
use rollbackd_core::name::{ServiceName, TriggerName};
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// A repository with a receipts folder in it, a bare one as its remote `origin`, and a config that keeps receipts there.
struct Place {
    dir: TempDir,
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let ran = Command::new("git")
        .args(["-c", "user.name=a person", "-c", "user.email=person@example.org", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(ran.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap().trim_end().to_owned()
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(place.repository()).unwrap();
        fs::create_dir(place.remote()).unwrap();
        git(&place.remote(), &["init", "--quiet", "--bare"]);
        git(&place.repository(), &["init", "--quiet"]);
        fs::write(place.repository().join("README.md"), "ours\n").unwrap();
        git(&place.repository(), &["add", "."]);
        git(&place.repository(), &["commit", "--quiet", "-m", "first"]);
        git(&place.repository(), &["remote", "add", "origin", place.remote().to_str().unwrap()]);
        place
    }

    fn repository(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    fn remote(&self) -> PathBuf {
        self.dir.path().join("remote.git")
    }

    fn receipts(&self) -> PathBuf {
        self.repository().join("library/raw [x]")
    }

    /// The commits of a repository's branch, newest first: their first lines.
    fn log(dir: &Path) -> Vec<String> {
        git(dir, &["log", "--format=%s", "main"]).lines().map(str::to_owned).collect()
    }

    fn config(&self, receipts: &Value) -> Value {
        json!({
            "prometheus": {"url": "http://127.0.0.1:9"},
            "evaluation_interval": "1s",
            "listen": "127.0.0.1:0",
            "state_dir": self.dir.path().join("state"),
            "receipts_dir": self.receipts(),
            "receipts": receipts,
            "services": [{
                "name": "api", "watch": "30m",
                "triggers": [{"name": "login-broken", "observed": "report", "action": "page", "budget": "20m"}],
                "paths": [{"name": "path", "timeout": "1m", "command": ["true"]}],
                "side_effects": "none",
            }],
        })
    }

    fn start(&self, receipts: &Value, mode: Mode) -> Running {
        rollbackd::http_client::install_crypto();
        let file = self.dir.path().join("rollbackd.yml");
        fs::write(&file, self.config(receipts).to_string()).unwrap();
        let mut settings = config::load(&file).unwrap_or_else(|error| panic!("{}", config::explain(&error))).settings;
        settings.core.mode = mode;
        fs::create_dir_all(&settings.state_dir).unwrap();
        let (journal, stored) = Journal::open(&settings.state_dir).unwrap();
        let state = replay(&stored).unwrap();
        let metrics = Arc::new(Metrics::new("test"));
        let edges = InForce::new(Edges::open(settings).unwrap());
        let machine = Machine::start(&edges, Box::new(OffThread::new(journal)), state, &metrics, || {});
        Running { machine, metrics }
    }
}

struct Running {
    machine: Machine,
    metrics: Arc<Metrics>,
}

impl Running {
    async fn ask(&self, what: Happening) -> Reply {
        let service = ServiceName::new("api").unwrap();
        self.machine.door.ask(Event { service, what }).await.expect("an answer")
    }

    /// Something fires and is dismissed, which ends in a receipt.
    async fn receipt(&self) {
        let trigger = TriggerName::new("login-broken").unwrap();
        let reply = self.ask(Happening::Reported { trigger, note: None, about: Default::default() }).await;
        let Reply::Firing(firing) = reply else { panic!("{reply:?}") };
        let _ = self.ask(Happening::Dismissed { firing, why: "a test".to_owned() }).await;
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let ends = tokio::time::Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(tokio::time::Instant::now() < ends, "{what} is not so: {}", self.metrics.text());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How often an act has gone so.
    fn count(&self, act: &str, result: &str) -> u64 {
        let name = format!("rollbackd_receipts_kept_total{{act=\"{act}\",result=\"{result}\"}} ");
        let line = self.metrics.text().lines().find_map(|line| line.strip_prefix(&name).map(str::to_owned));
        line.map_or(0, |count| count.parse().unwrap())
    }

    async fn stop(self) {
        self.machine.stop.cancel();
        let _ = self.machine.tasks.supervisor.await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_receipt_is_one_commit_of_its_three_files_and_is_pushed() {
    let place = Place::new();
    let repository = place.repository();
    fs::write(repository.join("staged.txt"), "somebody's\n").unwrap();
    git(&repository, &["add", "staged.txt"]);
    fs::write(repository.join("README.md"), "changed, not staged\n").unwrap();
    fs::write(repository.join("untracked.txt"), "somebody's\n").unwrap();
    let hook = repository.join(".git/hooks/pre-commit");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();

    let receipts = json!({"commit": true, "push": "origin", "author_name": "the daemon"});
    let running = place.start(&receipts, Mode::Live);
    running.receipt().await;
    running.until("the first receipt is pushed", |_| place.pushed().len() == 2).await;
    running.receipt().await;
    running.until("the second receipt is pushed", |_| place.pushed().len() == 3).await;
    let expected = "Receipt 002: login-broken of api, dismissed (incident)";
    assert_eq!(Place::log(&repository), [expected, &expected.replace("002", "001"), "first"]);
    assert_eq!(place.pushed(), Place::log(&repository));
    let files = |commit: &str| {
        git(&repository, &["-c", "core.quotePath=off", "show", "--format=%an <%ae>", "--name-only", commit])
    };
    let path = "library/raw [x]/002";
    assert_eq!(files("HEAD"), format!("the daemon <rollbackd@localhost>\n\n{path}.json\n{path}.md\n{path}.svg"));
    let left = git(&repository, &["status", "--porcelain=v1"]);
    assert_eq!(left, " M README.md\nA  staged.txt\n?? untracked.txt", "what others had there is as it was");
    assert_eq!((running.count("commit", "failed"), running.count("push", "failed")), (0, 0));
    running.stop().await;
}

impl Place {
    /// The commits of the remote's branch; none before the first push.
    fn pushed(&self) -> Vec<String> {
        let there = git(&self.remote(), &["for-each-ref", "refs/heads/main"]);
        if there.is_empty() { Vec::new() } else { Self::log(&self.remote()) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_fails_keeps_no_receipt_waiting_and_is_made_up_for_by_the_next() {
    let place = Place::new();
    let away = place.dir.path().join("away.git");
    fs::rename(place.remote(), &away).unwrap();
    let running = place.start(&json!({"commit": true, "push": "origin"}), Mode::Live);
    running.receipt().await;
    running.until("the receipt is committed", |_| Place::log(&place.repository()).len() == 2).await;
    running.until("the push has failed", |running| running.count("push", "failed") >= 1).await;
    assert!(place.receipts().join("001.md").exists());
    fs::rename(&away, place.remote()).unwrap();
    running.receipt().await;
    running.until("both are pushed", |_| place.pushed().len() == 3).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_behind_is_committed_at_the_next_start() {
    let place = Place::new();
    let running = place.start(&json!({"commit": false}), Mode::Live);
    running.receipt().await;
    running.receipt().await;
    running.until("both receipts are written", |_| place.receipts().join("002.md").exists()).await;
    running.stop().await;
    assert_eq!(Place::log(&place.repository()), ["first"]);
    // Added and not committed, as a crash leaves it.
    git(&place.repository(), &["add", "--", ":(literal)library/raw [x]/001.md"]);
    let running = place.start(&json!({"commit": true}), Mode::Live);
    running.until("both are committed", |_| Place::log(&place.repository()).len() == 3).await;
    assert_eq!(place.pushed(), Vec::<String>::new(), "nothing is pushed where nothing says so");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_that_somebody_changed_is_not_committed_in_their_place() {
    let place = Place::new();
    let running = place.start(&json!({"commit": true}), Mode::Live);
    running.receipt().await;
    running.until("it is committed", |_| Place::log(&place.repository()).len() == 2).await;
    fs::write(place.receipts().join("001.md"), "forged\n").unwrap();
    fs::remove_file(place.receipts().join("001.svg")).unwrap();
    running.receipt().await;
    running
        .until("the next is not written over a forged one, or is committed", |running| {
            running.count("commit", "done") >= 3
        })
        .await;
    let left = git(&place.repository(), &["status", "--porcelain=v1"]);
    assert!(left.contains("M \"library/raw [x]/001.md\"") && left.contains("D \"library/raw [x]/001.svg\""), "{left}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_writes_receipts_and_leaves_the_repository_alone() {
    let place = Place::new();
    let running = place.start(&json!({"commit": true, "push": "origin"}), Mode::DryRun);
    running.receipt().await;
    running.receipt().await;
    running.until("both receipts are written", |_| place.receipts().join("002.md").exists()).await;
    running.stop().await;
    assert_eq!((Place::log(&place.repository()), place.pushed()), (vec!["first".to_owned()], Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_belongs_to_no_repository_keeps_no_receipt_from_being_written() {
    let place = Place::new();
    fs::remove_dir_all(place.repository().join(".git")).unwrap();
    let running = place.start(&json!({"commit": true}), Mode::Live);
    running.receipt().await;
    running.until("it is written", |_| place.receipts().join("001.md").exists()).await;
    running.until("and counted as not committed", |running| running.count("commit", "failed") >= 1).await;
    running.stop().await;
}

#[test]
fn a_config_that_cannot_be_meant_is_refused_and_shows_no_secret() {
    let place = Place::new();
    for (receipts, expected) in [
        (json!({"push": "origin"}), "`push` needs `commit: true`"),
        (json!({"commit": true, "push_branch": "receipts"}), "`push_branch` needs `push`"),
        (json!({"commit": true, "push": "https://x:hunter2@example.org/r.git"}), "expected the name of a remote"),
        (json!({"commit": true, "push": "--mirror"}), "expected the name of a remote"),
        (json!({"comit": true}), "comit"),
    ] {
        let (settings, problems) = config::parse(&place.config(&receipts).to_string());
        assert!(settings.is_none(), "{receipts}");
        let told: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        assert!(told.contains(expected) && !told.contains("hunter2"), "{receipts}: {told}");
    }
    let fine = json!({"commit": true, "push": "origin", "push_branch": "rollback/receipts"});
    assert!(config::parse(&place.config(&fine).to_string()).0.is_some());
    let off = json!({"commit": true, "push": false});
    assert!(config::parse(&place.config(&off).to_string()).0.is_some());
}
