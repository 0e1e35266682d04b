//! Secrets where others look: the arguments and environments of processes, and what is said of a config that has one
//! pasted into it.

use std::fs;

use serde_json::{Value, json};

use crate::world::{Daemon, Plan, SERVICE, Secrets, WINDOW, World, triggers, wait_until};

/// One process, as everybody (its arguments) and its own user (its environment) may see it.
struct Seen {
    arguments: Vec<u8>,
    environment: Vec<u8>,
}

/// The process and all that it started, as far as they still run.
fn family(of: u32) -> Vec<Seen> {
    let parent = |id: u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // Behind the name, which may have blanks and parentheses in it: state, parent.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let all: Vec<u32> =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    let belongs = |id: &u32| std::iter::successors(Some(*id), |id| parent(*id)).any(|each| each == of);
    let read = |id: u32, what: &str| fs::read(format!("/proc/{id}/{what}")).unwrap_or_default();
    let seen = |id| Seen { arguments: read(id, "cmdline"), environment: read(id, "environ") };
    all.into_iter().filter(belongs).map(seen).collect()
}

#[tokio::test]
async fn a_secret_is_in_no_arguments_and_in_the_environment_of_the_command_alone() {
    let mut world = World::start().await;
    let secrets = Secrets::planted(&world);
    let mut plan = world.plan();
    let file = |name: &str| json!(world.place(&format!("{name}-secret")));
    plan.paths([json!({
        "name": "waits", "timeout": "30s",
        "command": {
            "run": ["sh", "-c", "touch started; while [ ! -e go-on ]; do sleep 0.05; done"],
            "secret_environment": {"PIPELINE_SECRET": file("command")}, "directory": world.place("."),
        },
    })]);
    plan.triggers([triggers::smoke_test()]);
    plan.top(
        "pagers",
        json!([{"name": "oncall", "webhook": {
            "url": world.pager.url("/hook/page"), "bearer_token_file": file("pager"),
        }}]),
    );
    world.run(&plan).await;
    world.has_past(WINDOW).await;
    world.deploy("v2", "v1").await;
    world.report("smoke-test").await;
    wait_until(
        "the command runs",
        async || {
            if world.place("started").exists() { Ok(()) } else { Err("not yet".to_owned()) }
        },
    )
    .await;

    let daemon = world.daemon().id();
    let family = family(daemon);
    assert!(family.len() >= 3, "the daemon, the process that watches the command, the command: {}", family.len());
    let mut knowing = 0;
    for process in &family {
        let shown = String::from_utf8_lossy(&process.arguments).replace('\0', " ");
        secrets.assert_absent(&format!("the arguments {shown}"), &process.arguments);
        let found = secrets.found_in(&process.environment);
        if shown.contains("touch started") {
            assert_eq!(found, ["command"], "the environment of {shown}");
            knowing += 1;
        } else if !shown.starts_with("sleep") {
            assert!(found.is_empty(), "the secrets of {found:?} are in the environment of {shown}");
        }
    }
    assert_eq!(knowing, 1, "the command was looked at");
    // What lies on the disk while it runs: the order, and what the watching process has to complain about.
    assert!(secrets.assert_absent_below(&world.place("state")) >= 5);
    fs::write(world.place("go-on"), "").unwrap();
    world
        .view_until("the command has ended", |view| {
            view["firings"][0]["attempts"][0]["ended_at"].is_string() || view["firings"] == json!([])
        })
        .await;
}

/// A config with a mistake, in which somebody has pasted a secret where only the name of a file belongs.
fn pasted(plan: &Plan, secret: &str) -> Vec<(&'static str, Plan)> {
    let with = |what: &'static str, change: &dyn Fn(&mut Plan)| {
        let mut plan = plan.clone();
        change(&mut plan);
        (what, plan)
    };
    let url = |user: &str| json!(format!("http://{user}:{secret}@127.0.0.1:9090/"));
    let prometheus = |key: &'static str, value: Value| {
        move |plan: &mut Plan| plan.top("prometheus", json!({"url": "http://127.0.0.1:9090", key: value.clone()}))
    };
    let pager = |kind: &'static str, settings: Value| {
        move |plan: &mut Plan| plan.top("pagers", json!([{"name": "oncall", kind: settings.clone()}]))
    };
    let command = |settings: Value| {
        move |plan: &mut Plan| plan.paths([json!({"name": "p", "timeout": "9s", "command": settings.clone()})])
    };
    vec![
        with("a token in place of its hash", &|plan| {
            plan.top("tokens", json!([{"name": "ci", "sha256": secret, "scopes": ["read"]}]));
        }),
        with("a token in place of its hash's key", &|plan| {
            plan.top("tokens", json!([{"name": "ci", "token": secret, "scopes": ["read"]}]));
        }),
        with("a password in Prometheus' URL", &|plan| plan.top("prometheus", json!({"url": url("admin")}))),
        with("a token in place of its file", &prometheus("bearer_token", json!(secret))),
        with("a header with a token", &prometheus("headers", json!({"Authorization": format!("Bearer {secret}")}))),
        with("a header of two lines", &prometheus("headers", json!({"X-Scope": format!("{secret}\nX: y")}))),
        with(
            "a password in place of its file",
            &prometheus("basic_auth", json!({"username": "u", "password": secret})),
        ),
        with("a password in a pager's URL", &pager("webhook", json!({"url": url("u")}))),
        with(
            "a user name in a pager's URL",
            &pager("webhook", json!({"url": format!("https://{secret}@hooks.example")})),
        ),
        with(
            "a secret URL of a scheme that is none",
            &pager("webhook", json!({"url": format!("htps://hooks.example/{secret}")})),
        ),
        with("a secret URL twice", &pager("webhook", json!({"url": format!("https://h/{secret}"), "url_file": "/f"}))),
        with("a password in Alertmanager's URL", &pager("alertmanager", json!({"url": url("u")}))),
        with("a password in a smoke URL", &|plan| plan.service("smoke", json!({"url": url("u")}))),
        with("a password in our own URL", &|plan| plan.top("external_url", url("u"))),
        with(
            "a secret in place of its file",
            &command(json!({"run": ["true"], "secret_environment": {"ANY": secret}})),
        ),
        with("a token in place of GitHub's file", &|plan| {
            plan.paths([json!({"name": "p", "timeout": "9s", "github_actions": {
                "repo": "a/b", "workflow": "d.yml", "ref": "main", "token": secret,
            }})]);
        }),
    ]
}

#[tokio::test]
async fn a_secret_that_was_pasted_into_the_config_is_not_said_again() {
    let mut world = World::start().await;
    let plan = world.plan();
    world.run(&plan).await;
    let secret = "pasted-s3cr3t";
    for (reloads, (what, bad)) in pasted(&plan, secret).into_iter().enumerate() {
        let daemon = Daemon::new(&world.place("."), &bad, &[]);
        for command in ["check", "run"] {
            let said = daemon.command(&[command, "--config", "rollbackd.yml"]).await;
            assert_eq!(said.code, Some(1), "{what}: {said:?}");
            assert!(format!("{said:?}").contains("rollbackd.yml:"), "{what}: {said:?}");
            assert!(!format!("{said:?}").contains(secret), "{what}: {said:?}");
        }
        // The daemon that runs is told to load it, and says in its log why it doesn't.
        world.daemon().reload(&bad);
        let log = wait_until(&format!("the reload is refused: {what}"), async || {
            let log = world.daemon().log();
            if log.matches("the old one stays in force").count() == reloads + 1 { Ok(log) } else { Err(log) }
        })
        .await;
        assert!(!log.contains(secret), "{what}: {log}");
    }
    assert_eq!(world.view(SERVICE).await["name"], SERVICE);
}
