//! The real binary against the API: what it prints, where, and with which exit code.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy sees only in the tests themselves")]

mod api_world;

use std::process::Stdio;
use std::sync::Arc;

use api_world::{Supervisor, World, token};
use rollbackd::http::Scope;
use rollbackd_core::board::Shown;
use rollbackd_core::config::{Config, Mode};
use rollbackd_core::name::{ServiceName, TriggerName};
use rollbackd_core::reading::Look;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("no JSON: {:?} {:?}", self.stdout, self.stderr))
    }
}

/// Runs the binary with these arguments and these variables, and nothing else of the environment.
async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_rollbackd"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl World {
    /// Runs the binary against this world.
    async fn cli(&self, arguments: &[&str]) -> Ran {
        run(arguments, &[("ROLLBACKD_SERVER", &self.url(""))]).await
    }

    /// Runs it, expects success, gives stdout.
    async fn done(&self, arguments: &[&str]) -> String {
        let ran = self.cli(arguments).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
        ran.stdout
    }
}

#[tokio::test]
async fn a_deploy_prints_its_id_and_says_when_it_was_known() {
    let world = World::open().await;
    let arguments = [
        "deploy",
        "capstone-api",
        "v2",
        "--previous",
        "v1",
        "--commit",
        "abc",
        "--migration=compatible",
        "--run-url",
        "https://ci.example/1",
        "--at",
        "2026-01-02T03:04:05Z",
        "--key",
        "run-1",
    ];
    let id = world.done(&arguments).await.trim_end().to_owned();
    assert!(id.starts_with("capstone-api-d-") && !id.contains(char::is_whitespace), "{id}");
    assert_eq!(world.done(&arguments).await, format!("{id} (known already: nothing starts)\n"));
    let json = world.cli(&[&arguments[..], &["--json"]].concat()).await.json();
    assert_eq!(json, json!({"deploy": id, "known": true}));

    let state = world.shared.state();
    let deploy = &state.services.values().next().unwrap().ledger.entries[0].deploy;
    assert_eq!(json!(deploy.migration), "compatible");
    assert_eq!(deploy.previous.as_ref().unwrap().as_str(), "v1");
    assert_eq!(deploy.commit.as_ref().unwrap().as_str(), "abc");
    assert_eq!((deploy.key.as_deref(), deploy.run_url.as_deref()), (Some("run-1"), Some("https://ci.example/1")));
    assert_eq!(deploy.at.to_string(), "2026-01-02T03:04:05.000Z");
}

#[tokio::test]
async fn migration_alone_means_that_old_code_can_not_live_with_it() {
    let world = World::open().await;
    world.done(&["deploy", "billing", "v2", "--migration"]).await;
    assert_eq!(world.get("/v1/services/billing").await.json()["watch"]["migration"], "breaking");
}

#[tokio::test]
async fn a_firing_is_reported_seen_approved() {
    let world = World::open().await;
    world.deployed("v2").await;
    let id = world.done(&["report", "capstone-api", "login-broken", "--note", "form answers 500"]).await;
    let id = id.trim_end();
    assert_eq!(world.done(&["ack", id]).await, format!("{id}\n"));
    assert_eq!(world.cli(&["--json", "approve", id]).await.json(), json!({"firing": id}));
    let late = world.cli(&["dismiss", id, "--why", "no"]).await;
    assert_eq!((late.code, late.stderr.as_str()), (1, "rollbackd: too late: the rollback is running\n"));
}

#[tokio::test]
async fn a_report_of_what_is_known_says_that_nothing_changed() {
    let world = World::open().await;
    world.deployed("v2").await;
    let arguments = ["report", "capstone-api", "login-broken"];
    let id = world.done(&arguments).await.trim_end().to_owned();
    let before = world.shared.state().clone();
    assert_eq!(world.done(&arguments).await, format!("{id} (known already: nothing changed)\n"));
    let noted = world.done(&[&arguments[..], &["--note", "still broken"]].concat()).await;
    assert_eq!(noted, format!("{id} (known already: nothing changed, and the note was not taken)\n"));
    assert_eq!(world.cli(&[&arguments[..], &["--json"]].concat()).await.json(), json!({"firing": id, "known": true}));
    assert_eq!(*world.shared.state(), before);

    world.done(&["dismiss", &id, "--why", "a test account"]).await;
    let next = world.done(&arguments).await;
    assert!(!next.contains("known") && next.trim_end() != id, "what is over can begin again: {next}");
}

#[tokio::test]
async fn a_firing_is_dismissed() {
    let world = World::open().await;
    world.deployed("v2").await;
    let id = world.fired("login-broken").await;
    assert_eq!(world.done(&["dismiss", &id, "--why", "a test account"]).await, format!("{id}\n"));
    assert_eq!(world.get(&format!("/v1/firings/{id}")).await.json()["outcome"], "dismissed");
}

#[tokio::test]
async fn a_rollback_is_started_by_its_path() {
    let world = World::open().await;
    world.deployed("v2").await;
    let id = world.done(&["rollback", "capstone-api", "--path", "console"]).await;
    let firing = world.get(&format!("/v1/firings/{}", id.trim_end())).await.json();
    assert_eq!((&firing["attempts"][0]["path"], &firing["target"]), (&json!("console"), &json!("v0")));
}

#[tokio::test]
async fn a_freeze_without_a_service_is_for_every_service() {
    let world = World::open().await;
    let text = world.done(&["freeze", "--for", "1h30m", "--why", "load test"]).await;
    assert_eq!(text, "automatic rollback of billing, capstone-api is held for 1h 30m\n");
    let frozen = |services: Value| -> Vec<bool> {
        services.as_array().unwrap().iter().map(|service| !service["frozen"].is_null()).collect()
    };
    assert_eq!(frozen(world.get("/v1/services").await.json()), [true, true]);
    assert_eq!(world.done(&["thaw", "billing"]).await, "automatic rollback of billing goes on\n");
    assert_eq!(frozen(world.get("/v1/services").await.json()), [false, true]);
    assert_eq!(world.cli(&["thaw", "--json"]).await.json(), json!({"thawed": ["billing", "capstone-api"]}));
    assert_eq!(frozen(world.get("/v1/services").await.json()), [false, false]);
}

#[tokio::test]
async fn status_tells_a_human_and_json_tells_a_program() {
    let world = World::open().await;
    world.deployed("v2").await;
    let id = world.fired("login-broken").await;
    let text = world.done(&["status"]).await;
    for piece in [
        "billing  no deploy is known\n",
        "capstone-api  runs v2, would return to v0\n",
        "  firing   login-broken paged, observed ",
        " left of the budget",
        &format!("[{id}]"),
        "NOT YET DELIVERED to oncall",
        "  watch    paged, v2 deployed ",
        "  TRIGGER          STATE              VALUE  LIMIT     FOR  BUDGET  ACTION    SINCE\n",
        "  error-rate       ",
        "> 5%",
        "  PATH      KIND     TIMEOUT  LAST TOOK       NEXT\n",
        "  pipeline  command  4m       never run here  -\n",
    ] {
        assert!(text.contains(piece), "{piece:?} is not in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "no colour where there is no terminal");
    assert!(!world.done(&["status", "billing"]).await.contains("capstone-api"));

    assert_eq!(world.cli(&["status", "--json"]).await.json(), world.get("/v1/services").await.json());
    let one = world.cli(&["status", "billing", "--json"]).await.json();
    assert_eq!(one, world.get("/v1/services/billing").await.json());
}

#[tokio::test]
async fn what_nobody_has_looked_at_is_not_clear() {
    let world = World::open().await;
    let row = async |name: &str| {
        let text = world.done(&["status", "capstone-api"]).await;
        text.lines().find(|line| line.trim_start().starts_with(name)).unwrap().to_owned()
    };
    let state = |row: &str, word: &str| row.split("  ").any(|cell| cell.trim() == word);
    assert!(state(&row("error-rate").await, "not watched"), "{}", row("error-rate").await);
    world.deployed("v2").await;
    assert!(state(&row("error-rate").await, "not looked at yet"), "{}", row("error-rate").await);
    assert!(state(&row("login-broken").await, "clear"), "{}", row("login-broken").await);

    let (service, trigger) = (ServiceName::new("capstone-api").unwrap(), TriggerName::new("error-rate").unwrap());
    let look =
        |look| Shown { look: Some(look), breaching_since: None, may_fire: true, answered_until: None, so_far: None };
    let put = |shown| world.shared.board_mut().put(&world.shared.config(), &service, &trigger, shown);
    put(look(Look::Clear(0.01)));
    let before = row("error-rate").await;
    assert!(state(&before, "not looked at yet") && !before.contains("1%"), "the version before: {before}");
    put(look(Look::Error));
    assert!(state(&row("error-rate").await, "error"), "{}", row("error-rate").await);
}

#[tokio::test]
async fn status_says_first_that_the_daemon_runs_dry() {
    let world = World::open().await;
    let says = |text: &str| text.starts_with("DRY RUN: no path runs and nobody is paged");
    assert!(!says(&world.done(&["status"]).await));
    assert_eq!(world.cli(&["status", "billing", "--json"]).await.json()["dry_run"], false);

    let config = (*world.shared.config()).clone();
    world.shared.set_config(Arc::new(Config { mode: Mode::DryRun, ..config }));
    for arguments in [&["status"][..], &["status", "billing"]] {
        let text = world.done(arguments).await;
        assert!(says(&text), "{text}");
    }
    assert_eq!(world.cli(&["status", "billing", "--json"]).await.json()["dry_run"], true);
}

#[tokio::test]
async fn what_is_refused_is_one_line_with_what_to_do() {
    let world = World::open().await;
    for (arguments, line) in [
        (
            &["deploy", "capstone-ap", "v2"][..],
            "there is no service \"capstone-ap\" in the config; did you mean capstone-api?",
        ),
        (
            &["report", "billing", "smoke-tset"],
            "service billing has no trigger \"smoke-tset\"; did you mean smoke-test?",
        ),
        (&["rollback", "billing"], "no deploy of this service is known, so there is nothing to roll back from"),
        (&["approve", "nope"], "there is no firing \"nope\""),
        (&["status", "biling"], "there is no service \"biling\" in the config; did you mean billing?"),
        (
            &["deploy", "billing", "v2", "--run-url", "ftp://x"],
            "expected an http or https URL, not one of scheme \"ftp\" (run_url)",
        ),
    ] {
        let ran = world.cli(arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{arguments:?}");
        assert_eq!(ran.stderr, format!("rollbackd: {line}\n"));
    }
    let world = World::new(Vec::new(), Supervisor::CanNotWrite).await;
    let ran = world.cli(&["freeze", "--for", "1h", "--why", "x"]).await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.starts_with("rollbackd: freeze failed for 2 of 2 services: billing: the journal can't be"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn a_command_line_that_can_not_be_read_is_2() {
    let world = World::open().await;
    for arguments in [
        &[][..],
        &["deploy"],
        &["deploy", "capstone-api", "$(id)"],
        &["deploy", "../etc", "v2"],
        &["deploy", "capstone-api", "v2", "--migration=maybe"],
        &["deploy", "capstone-api", "v2", "--at", "yesterday"],
        &["deploy", "capstone-api", "v2", "--token", "hunter2"],
        &["approve", "a/b"],
        &["approve", ".."],
        &["freeze", "--for", "5M", "--why", "x"],
        &["freeze", "--for", "1h"],
        &["dismiss", "some-firing"],
        &["receipts", "--config", "a", "--receipts-dir", "b"],
        &["run"],
        &["journal", "verify"],
        &["--server", "not a url", "status"],
        &["--server", "http://me:hunter2@localhost", "status"],
        &["run", "--config", "a", "--log-format", "xml"],
    ] {
        let ran = world.cli(arguments).await;
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        assert!(!ran.stderr.is_empty() && ran.stdout.is_empty(), "{arguments:?}");
    }
    assert!(world.shared.state().services.is_empty());
}

#[tokio::test]
async fn a_daemon_that_can_not_be_reached_is_3() {
    // Bound and dropped: nobody listens there.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let ran = run(&["status", "--server", &format!("http://{address}")], &[]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""));
    let expected = format!("rollbackd: http://{address}/ can't be reached (Connection refused (os error 111)): is the");
    assert!(ran.stderr.starts_with(&expected) && ran.stderr.lines().count() == 1, "{}", ran.stderr);
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_this_machine() {
    let world = World::open().await;
    let environment = [
        ("ROLLBACKD_SERVER", world.url("")),
        ("http_proxy", "http://127.0.0.1:1".to_owned()),
        ("HTTP_PROXY", "http://127.0.0.1:1".to_owned()),
    ];
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(run(&["status"], &environment).await.code, 0);
}

/// Answers one connection with these bytes.
async fn impostor(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _read = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    url
}

#[tokio::test]
async fn what_is_no_rollbackd_is_said_to_be_none() {
    for (answer, why) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<h1>",
            "it answers 200 with \"text/html\"",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n",
            "it answers 302 with \"\"",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{", "its answer is not JSON"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
            "its view of a service can't be read: missing field `name`",
        ),
    ] {
        let ran = run(&["status", "--server", &impostor(answer).await], &[]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{answer}");
        assert!(ran.stderr.contains("is no rollbackd") && ran.stderr.contains(why), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1);
    }
}

#[tokio::test]
async fn a_token_comes_from_a_file_or_the_environment_and_is_never_shown() {
    let world = World::with_tokens(vec![token("reader", "hunter2", &[Scope::Read])]).await;
    let dir = tempfile::tempdir().unwrap();
    let (good, wrong, bad) = (dir.path().join("good"), dir.path().join("wrong"), dir.path().join("bad"));
    std::fs::write(&good, "hunter2\n").unwrap();
    std::fs::write(&wrong, "guess-0815\n").unwrap();
    std::fs::write(&bad, "hunter2 hunter2\n").unwrap();
    let (good, wrong, bad) = (good.to_str().unwrap(), wrong.to_str().unwrap(), bad.to_str().unwrap());
    let server = world.url("");
    let environment = [("ROLLBACKD_SERVER", server.as_str()), ("ROLLBACKD_TOKEN", "hunter2")];

    assert_eq!(world.cli(&["status", "--token-file", good]).await.code, 0);
    assert_eq!(run(&["status"], &environment).await.code, 0);
    let overridden = run(&["status", "--token-file", wrong], &environment).await;
    let failures = [
        (world.cli(&["status"]).await, "send a token of the config"),
        (overridden, "no token of the config"),
        (world.cli(&["status", "--token-file", bad]).await, "holds no token"),
        (world.cli(&["status", "--token-file", "/nowhere/at/all"]).await, "can't be read"),
        (run(&["thaw", "billing"], &environment).await, "this needs a token with the scope `operate`"),
        (run(&["--help"], &environment).await, ""),
    ];
    for (ran, why) in &failures {
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
        for secret in ["hunter2", "guess-0815"] {
            assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{} {}", ran.stdout, ran.stderr);
        }
    }
    assert_eq!(failures.map(|(ran, _)| ran.code), [1, 1, 1, 1, 1, 0]);
}

#[tokio::test]
async fn an_option_is_in_the_help_of_the_commands_to_which_it_means_something() {
    for local in ["run", "check", "test", "backtest", "receipts", "receipts show", "runbook", "dora", "journal verify"]
    {
        let arguments: Vec<&str> = local.split(' ').chain(["--help"]).collect();
        let help = run(&arguments, &[]).await.stdout;
        assert!(help.contains("--json") && !help.contains("--server") && !help.contains("--token-file"), "{help}");
    }
    for remote in ["status", "deploy", "report", "rehearse", "thaw"] {
        let help = run(&[remote, "--help"], &[]).await.stdout;
        assert!(help.contains("--server") && help.contains("--token-file"), "{help}");
    }
    let dir = tempfile::tempdir().unwrap();
    let receipts = dir.path().to_str().unwrap();
    for arguments in [
        ["--server", "http://127.0.0.1:1", "receipts", "--receipts-dir", receipts],
        ["receipts", "--receipts-dir", receipts, "--server", "http://127.0.0.1:1"],
    ] {
        let ran = run(&arguments, &[]).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "scripts may give it to every command");
    }
}

#[tokio::test]
async fn what_can_not_be_used_says_what_was_expected() {
    for (arguments, code, expected) in [
        (&["check", "--config", "no-such.yml"][..], 1, "no-such.yml: error: can't be read: No such file"),
        (&["check", "--config", "no-such.yml"], 1, "expected a config that is there"),
        (&["run", "--config", "no-such.yml"], 1, "expected a file that is there"),
        (&["run", "--config", "no-such.yml"], 1, "this name counts from the folder that rollbackd was started in"),
        (&["test", "no-such.yml"], 1, "expected a file of trigger tests that is there"),
        (&["test", "no-such.yml"], 1, "rollbackd test --help"),
        (&["receipts", "show", "last"], 2, "expected the number of a receipt, such as 7"),
        (&["status", "--token-file", "no-such"], 1, "expected a file with one line, the token"),
        (&["chekc"], 2, "a similar subcommand exists: 'check'"),
        (&["--config", "x", "check"], 2, "'check --config' exists"),
        (&["check", "--confg", "x"], 2, "a similar argument exists: '--config'"),
    ] {
        let ran = run(arguments, &[]).await;
        let said = ran.stdout + &ran.stderr;
        assert!(ran.code == code && said.contains(expected), "{arguments:?}: {} {said}", ran.code);
    }
    let other = run(&["test", "--config", "x.yml"], &[]).await.stderr;
    assert!(
        other.contains("Usage: rollbackd test") && !other.contains("tip:"),
        "no way to pass it is any good: {other}"
    );
    assert!(!run(&["zzz"], &[]).await.stderr.contains("similar"));
}

#[tokio::test]
async fn help_teaches_and_hides_what_is_not_for_people() {
    let help = run(&["--help"], &[]).await;
    assert_eq!(help.code, 0);
    for command in [
        "run", "check", "deploy", "report", "approve", "dismiss", "ack", "rollback", "freeze", "thaw", "status",
        "receipts", "journal",
    ] {
        assert!(help.stdout.lines().any(|line| line.trim_start().starts_with(command)), "{command}");
        let own = run(&[command, "--help"], &[]).await;
        assert_eq!(own.code, 0, "{command}");
    }
    assert!(help.stdout.contains("Examples:") && help.stdout.contains("Exit codes:"));
    assert!(!help.stdout.contains("supervise-command"));
    assert_eq!(run(&["--version"], &[]).await.stdout, concat!("rollbackd ", env!("CARGO_PKG_VERSION"), "\n"));
}
