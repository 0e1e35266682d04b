//! The path `command`, with the real binary watching real programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::world::{LONG, mistakes, order, path};
use rollbackd::paths::{self, Place, Progress, RollbackPath};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

struct World {
    dir: TempDir,
    place: Place,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = PathBuf::from(env!("CARGO_BIN_EXE_rollbackd"));
        let place = Place { attempts_dir: dir.path().join("attempts"), program };
        Self { dir, place }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        fs::write(&file, content).unwrap();
        file
    }

    /// A pipe with a name: reading it waits for the command to write, writing it for the command to read.
    fn fifo(&self, name: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        file
    }

    async fn start(&self, path: &RollbackPath, order: &Order) -> Outcome {
        path.start(order, &self.place, &mpsc::channel(8).0, CancellationToken::new()).await
    }

    async fn follow(&self, path: &RollbackPath, order: &Order) -> Outcome {
        path.follow(order, None, &self.place, &mpsc::channel(8).0, CancellationToken::new()).await
    }

    async fn run(&self, config: Value) -> Outcome {
        let (path, parts) = path("command", &config);
        self.start(&path, &order(&parts, LONG)).await
    }
}

fn shell(script: &str) -> Value {
    json!(["/bin/sh", "-c", script])
}

async fn read(fifo: &Path) -> String {
    let fifo = fifo.to_owned();
    tokio::task::spawn_blocking(move || fs::read_to_string(fifo).unwrap().trim().to_owned()).await.unwrap()
}

async fn write(fifo: &Path) {
    let fifo = fifo.to_owned();
    tokio::task::spawn_blocking(move || fs::write(fifo, "go\n").unwrap()).await.unwrap();
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.parse().unwrap()).unwrap()
}

fn assert_gone(pid: Pid) {
    assert_eq!(rustix::process::test_kill_process(pid), Err(Errno::SRCH), "{pid:?} still runs");
}

fn succeeded(outcome: Outcome) -> (Option<String>, String) {
    let Outcome::Succeeded { receipt, output } = outcome else { panic!("{outcome:?}") };
    (receipt, output)
}

fn failed(outcome: Outcome) -> (String, String) {
    let Outcome::Failed { why, output } = outcome else { panic!("{outcome:?}") };
    (why, output)
}

#[tokio::test]
async fn a_command_that_exits_with_0_succeeded_and_its_output_and_receipt_are_kept() {
    let world = World::new();
    let outcome = world.run(json!(["printf", "to %s\\nreceipt: rev-7\\n", "{{ target.version }} $HOME; x"])).await;
    assert_eq!(succeeded(outcome), (Some("rev-7".to_owned()), "to v41 $HOME; x\nreceipt: rev-7\n".to_owned()));
}

#[tokio::test]
async fn a_command_that_exits_otherwise_failed_and_says_how() {
    let world = World::new();
    let (why, output) = failed(world.run(shell("echo no such revision >&2; exit 3")).await);
    assert_eq!((why.as_str(), output.as_str()), ("exited with 3", "no such revision\n"));
    let world = World::new();
    assert_eq!(failed(world.run(shell("kill -9 $$")).await).0, "ended by signal 9");
}

#[tokio::test]
async fn a_program_that_is_not_there_failed_and_nothing_ran() {
    for program in ["no-such-program-anywhere", "/nowhere/at-all"] {
        let (why, _) = failed(World::new().run(json!([program])).await);
        assert!(why.contains(program) && why.ends_with("nothing ran"), "{why}");
    }
}

#[tokio::test]
async fn the_end_of_endless_output_is_kept_and_the_command_never_blocks() {
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i; echo error $i >&2; i=$((i+1)); done; echo last";
    let (_, output) = succeeded(World::new().run(shell(script)).await);
    assert!(output.starts_with("[earlier output left out]\n"), "{}", &output[..80]);
    assert!(output.contains("line 19999\n") && output.contains("error 19999\n") && output.contains("last\n"));
    assert!(output.len() < 33 * 1024);
}

#[tokio::test]
async fn the_environment_is_what_the_config_names_and_the_attempt() {
    let world = World::new();
    let secret = world.file("secret", "s3cret-token\n");
    let work = fs::canonicalize(world.dir.path()).unwrap();
    let config = json!({
        "run": ["/bin/sh", "-c", "env | cut -d= -f1 | sort; pwd; echo $COLOUR $ROLLBACKD_ATTEMPT; echo ${#TOKEN}"],
        "environment": {"COLOUR": "blue"}, "pass_environment": ["CARGO_MANIFEST_DIR", "NOT_THERE"],
        "secret_environment": {"TOKEN": secret}, "directory": work,
    });
    let (_, output) = succeeded(world.run(config).await);
    let own = [
        "CARGO_MANIFEST_DIR",
        "COLOUR",
        "PATH",
        "PWD",
        "ROLLBACKD_ATTEMPT",
        "ROLLBACKD_FIRING",
        "ROLLBACKD_SERVICE",
        "TOKEN",
    ];
    // Some shells add OLDPWD, SHLVL and _ by themselves.
    let lines: Vec<&str> = output.lines().filter(|line| !["OLDPWD", "SHLVL", "_"].contains(line)).collect();
    assert_eq!(lines[..own.len()], own);
    assert_eq!(lines[own.len()..], [work.to_str().unwrap(), "blue shop-f-1-a1", "12"]);
}

#[tokio::test]
async fn secrets_are_on_no_disk_and_in_no_output() {
    let world = World::new();
    let secret = world.file("secret", "s3cret-token\n");
    // The filler puts the edge of what is kept into the middle of the second secret.
    let filler = 32 * 1024 - 6;
    let script = format!("echo \"[$TOKEN]\" >&2; printf \"$TOKEN\"; head -c {filler} /dev/zero | tr '\\0' x");
    let config = json!({"run": ["/bin/sh", "-c", script], "secret_environment": {"TOKEN": secret}});
    let (_, output) = succeeded(world.run(config).await);
    assert!(!output.contains("oken"), "{}", &output[..80]);
    for file in fs::read_dir(world.place.attempts_dir.join("shop-f-1-a1")).unwrap() {
        let content = fs::read(file.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&content).contains("s3cret"));
    }
    let world = World::new();
    let secret = world.file("secret", "s3cret-token\n");
    let config = json!({"run": ["/bin/sh", "-c", "echo \"[$TOKEN]\""], "secret_environment": {"TOKEN": secret}});
    assert_eq!(succeeded(world.run(config).await), (None, "[***]\n".to_owned()));
}

#[tokio::test]
async fn a_secret_that_can_not_be_read_keeps_the_command_from_running() {
    let world = World::new();
    let trace = world.dir.path().join("trace");
    let config = json!({"run": ["touch", trace], "secret_environment": {"TOKEN": "/nowhere/token"}});
    let (why, _) = failed(world.run(config).await);
    assert!(why.contains("/nowhere/token") && why.ends_with("nothing ran"), "{why}");
    assert!(!trace.exists());
}

#[tokio::test]
async fn a_command_that_hangs_is_ended_with_all_of_its_group() {
    let world = World::new();
    let fifo = world.fifo("running");
    // Both ignore SIGTERM, and the grandchild is no child of the shell any more.
    let script = format!("trap '' TERM; (sleep 1000 & echo $! $$ > {}); while :; do sleep 1000; done", fifo.display());
    let (path, parts) = path("command", &json!({"run": shell(&script), "kill_after": "100ms"}));
    let order = order(&parts, LONG);
    let stop = CancellationToken::new();
    let progress = mpsc::channel(8);
    let (outcome, (grandchild, leader)) =
        tokio::join!(path.start(&order, &world.place, &progress.0, stop.clone()), async {
            let pids = read(&fifo).await;
            stop.cancel();
            let (grandchild, leader) = pids.split_once(' ').unwrap();
            (pid(grandchild), pid(leader))
        });
    assert_eq!(outcome, Outcome::TimedOut);
    assert_gone(grandchild);
    assert_eq!(rustix::process::test_kill_process_group(leader), Err(Errno::SRCH));
}

#[tokio::test]
async fn the_watching_process_ends_the_command_at_the_timeout_by_itself() {
    let world = World::new();
    let (path, parts) = path("command", &shell("sleep 1000"));
    assert_eq!(world.start(&path, &order(&parts, Duration::from_millis(300))).await, Outcome::TimedOut);
}

#[tokio::test]
async fn what_a_command_leaves_in_its_group_is_ended_before_the_outcome_is_told() {
    let world = World::new();
    let left = world.dir.path().join("left");
    let script = format!("sleep 1000 & echo $! > {}", left.display());
    let (_, output) = succeeded(world.run(shell(&script)).await);
    assert_eq!(output, "");
    assert_gone(pid(fs::read_to_string(left).unwrap().trim()));
}

#[tokio::test]
async fn a_command_goes_on_without_the_daemon_and_is_taken_up_again() {
    let world = World::new();
    let (running, release, trace) = (world.fifo("running"), world.fifo("release"), world.dir.path().join("trace"));
    let script = "echo x >> TRACE; echo $$ > RUNNING; read go < RELEASE; echo receipt: r-9";
    let script = script.replace("TRACE", trace.to_str().unwrap());
    let script = script.replace("RUNNING", running.to_str().unwrap()).replace("RELEASE", release.to_str().unwrap());
    let (path, parts) = path("command", &shell(&script));
    let order = order(&parts, LONG);

    let (progress, mut told) = mpsc::channel(8);
    let starting = {
        let (path, order, place) = (path.clone(), order.clone(), world.place.clone());
        tokio::spawn(async move { path.start(&order, &place, &progress, CancellationToken::new()).await })
    };
    let leader = pid(&read(&running).await);
    let Some(Progress::Started { handle }) = told.recv().await else { panic!("nothing was told") };
    starting.abort();
    assert!(starting.await.unwrap_err().is_cancelled());
    assert!(rustix::process::test_kill_process(leader).is_ok());
    assert!(paths::forget(&world.place, &order.attempt).is_err(), "a running attempt was forgotten");
    // A signal to the daemon's group reaches neither of the two.
    let own = rustix::process::getpgid(None).unwrap();
    let watching = pid(handle.strip_prefix("pid ").unwrap());
    assert_ne!(rustix::process::getpgid(Some(watching)).unwrap(), own);
    assert_eq!(rustix::process::getpgid(Some(leader)).unwrap(), leader);

    // Neither following nor starting the same attempt runs it again.
    let (followed, started, ()) =
        tokio::join!(world.follow(&path, &order), world.start(&path, &order), write(&release));
    assert_eq!(succeeded(followed).0, Some("r-9".to_owned()));
    assert_eq!(succeeded(started).0, Some("r-9".to_owned()));
    assert_eq!(fs::read_to_string(&trace).unwrap(), "x\n");
    assert_eq!(succeeded(world.follow(&path, &order).await).0, Some("r-9".to_owned()));

    paths::forget(&world.place, &order.attempt).unwrap();
    paths::forget(&world.place, &order.attempt).unwrap();
    assert_eq!(fs::read_dir(&world.place.attempts_dir).unwrap().count(), 0);
}

#[tokio::test]
async fn a_followed_command_is_ended_when_its_timeout_is_over() {
    let world = World::new();
    let running = world.fifo("running");
    let (path, parts) = path("command", &shell(&format!("echo $$ > {}; sleep 1000", running.display())));
    let order = order(&parts, LONG);
    let starting = {
        let (path, order, place) = (path.clone(), order.clone(), world.place.clone());
        tokio::spawn(async move { path.start(&order, &place, &mpsc::channel(8).0, CancellationToken::new()).await })
    };
    let leader = pid(&read(&running).await);
    starting.abort();
    let stop = CancellationToken::new();
    stop.cancel();
    let outcome = path.follow(&order, None, &world.place, &mpsc::channel(8).0, stop).await;
    assert_eq!(outcome, Outcome::TimedOut);
    assert_gone(leader);
}

#[tokio::test]
async fn an_attempt_that_left_nothing_was_never_started() {
    let world = World::new();
    let (path, parts) = path("command", &json!(["true"]));
    assert_eq!(world.follow(&path, &order(&parts, LONG)).await, Outcome::NeverStarted);
}

#[tokio::test]
async fn a_watching_process_that_can_not_begin_fails_the_attempt_and_nothing_ran() {
    for program in ["/bin/true", "/nowhere/rollbackd"] {
        let mut world = World::new();
        let trace = world.dir.path().join("trace");
        let (path, parts) = path("command", &json!(["touch", trace]));
        let order = order(&parts, LONG);
        let own = std::mem::replace(&mut world.place.program, PathBuf::from(program));
        let (why, _) = failed(world.start(&path, &order).await);
        assert!(why.ends_with("nothing ran") && !trace.exists(), "{why}");
        world.place.program = own;
        assert_eq!(world.follow(&path, &order).await, Outcome::NeverStarted);
    }
}

#[tokio::test]
async fn an_order_that_nobody_took_was_never_started_and_whoever_comes_late_does_not_run_it() {
    let mut world = World::new();
    let (ready, release, done) = (world.fifo("ready"), world.fifo("release"), world.fifo("done"));
    let trace = world.dir.path().join("trace");
    let (path, parts) = path("command", &shell(&format!("echo x >> {}", trace.display())));
    let order = order(&parts, LONG);
    // The daemon dies while the process that it started has not yet taken the order.
    let (late, own) = (world.dir.path().join("late"), world.place.program.clone());
    let script = "#!/bin/sh\necho r > READY; read go < RELEASE; OWN \"$@\"; echo $? > DONE\n"
        .replace("READY", ready.to_str().unwrap())
        .replace("RELEASE", release.to_str().unwrap())
        .replace("DONE", done.to_str().unwrap())
        .replace("OWN", own.to_str().unwrap());
    // Written by another process: a file that this one has open for writing could not be run.
    let write_script = "printf %s \"$1\" > \"$2\" && chmod +x \"$2\"";
    let written = std::process::Command::new("sh").args(["-c", write_script, "sh", &script]).arg(&late).status();
    assert!(written.unwrap().success());
    world.place.program = late;
    let starting = {
        let (path, order, place) = (path.clone(), order.clone(), world.place.clone());
        tokio::spawn(async move { path.start(&order, &place, &mpsc::channel(8).0, CancellationToken::new()).await })
    };
    read(&ready).await;
    starting.abort();
    assert_eq!(world.follow(&path, &order).await, Outcome::NeverStarted);
    // It may be started now. The late one comes when that is done.
    world.place.program = own;
    succeeded(world.start(&path, &order).await);
    write(&release).await;
    assert_eq!(read(&done).await, "1");
    assert_eq!(fs::read_to_string(&trace).unwrap(), "x\n");
}

#[tokio::test]
async fn an_attempt_whose_watching_process_was_killed_is_unknown_and_not_run_again() {
    let world = World::new();
    let (running, trace) = (world.fifo("running"), world.dir.path().join("trace"));
    let script = format!("echo x >> {}; echo $$ > {}; exec sleep 1000", trace.display(), running.display());
    let (path, parts) = path("command", &shell(&script));
    let order = order(&parts, LONG);
    let (progress, mut told) = mpsc::channel(8);
    let stop = CancellationToken::new();
    let (outcome, leader) = tokio::join!(path.start(&order, &world.place, &progress, stop), async {
        let leader = pid(&read(&running).await);
        let Some(Progress::Started { handle }) = told.recv().await else { panic!("nothing was told") };
        rustix::process::kill_process(pid(handle.strip_prefix("pid ").unwrap()), Signal::KILL).unwrap();
        leader
    });
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    assert!(matches!(world.start(&path, &order).await, Outcome::Unknown { .. }));
    let dir = world.place.attempts_dir.join(order.attempt.as_str());
    let second = std::process::Command::new(&world.place.program).arg("supervise-command").arg(dir).output().unwrap();
    assert!(!second.status.success());
    assert_eq!(fs::read_to_string(&trace).unwrap(), "x\n");
    rustix::process::kill_process_group(leader, Signal::KILL).unwrap();
}

#[test]
fn mistakes_in_the_config_say_what_was_expected() {
    for (config, expected) in [
        (json!([]), "expected a program"),
        (json!(["{{ target.version }}"]), "without a template"),
        (json!(["./run.sh"]), "absolute path"),
        (json!(["echo", "{{ target.versoin }}"]), "target.version"),
        (json!({"argv": ["true"]}), "has no `run`"),
        (json!({"run": ["true"], "envrionment": {}}), "did you mean `environment`"),
        (json!({"run": ["true"], "environment": {"A B": "x"}}), "no name of an environment variable"),
        (json!({"run": ["true"], "environment": {"A": "{{ service }}"}}), "takes no templates"),
        (json!({"run": ["true"], "environment": {"ROLLBACKD_X": "x"}}), "ROLLBACKD_X can't be set"),
        (json!({"run": ["true"], "environment": {"A": "x"}, "pass_environment": ["A"]}), "A is given twice"),
        (json!({"run": ["true"], "secret_environment": {"A": "hunter2"}}), "absolute path of the file of a secret"),
        (json!({"run": ["true"], "directory": "here"}), "absolute path of the directory"),
        (json!({"run": ["true"], "kill_after": "1h"}), "5m at most"),
    ] {
        let said = mistakes("command", &config);
        assert!(said.contains(expected) && !said.contains("hunter2"), "{config}: {said}");
    }
    assert!(mistakes("comand", &json!([])).contains(&format!("expected one of {}", paths::KINDS.join(", "))));
}
