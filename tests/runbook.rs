//! `runbook`: what it tells of a config, that it stays the same, and how it gets into a page of somebody's own.

#![expect(clippy::unwrap_used, reason = "in a test, the helpers as well, a panic is the message")]

use std::fs;
use std::path::Path;
use std::process::Command;

use rollbackd::runbook::{BEGIN, END};
use serde_json::Value;
use tempfile::TempDir;

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(dir: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollbackd"));
    let ran = command.arg("runbook").args(arguments).env_clear().current_dir(dir).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: ran.status.code().unwrap(), stdout: text(ran.stdout), stderr: text(ran.stderr) }
}

/// A folder with the reference config after these replacements.
fn place(replacements: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut config = fs::read_to_string(root().join("config/rollbackd.yml")).unwrap();
    for (from, to) in replacements {
        assert!(config.contains(from), "{from}");
        config = config.replace(from, to);
    }
    fs::write(dir.path().join("rollbackd.yml"), config).unwrap();
    dir
}

fn printed(dir: &Path) -> String {
    let ran = run(dir, &["--config", "rollbackd.yml"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    ran.stdout
}

/// A receipt as far as a runbook reads it.
fn rehearse(dir: &Path, number: u64, definition: &[&str]) {
    let receipts = dir.join("library/raw/rollback-rehearsals");
    fs::create_dir_all(&receipts).unwrap();
    let front = format!(
        "number: {number}\nkind: rehearsal\nservice: capstone-api\nversion: v2\ncommit: null\ntarget: v1\n\
         trigger: error-rate\nbudget: 5m\ndeployed_at: 2026-10-01T10:00:00.000Z\nbreach_at: 2026-10-01T10:00:00.000Z\n\
         observed_at: 2026-10-0{number}T10:02:00.000Z\ndecided_at: 2026-10-01T10:02:00.000Z\n\
         path_started_at: 2026-10-01T10:02:00.000Z\npath_finished_at: 2026-10-01T10:03:00.000Z\n\
         recovered_at: 2026-10-01T10:03:30.000Z\ntotal: 1m 30s\nwithin_budget: true\npath: pipeline\nreceipt: \"77\"\n\
         outcome: recovered\nprevious_sha256: null\n"
    );
    fs::write(receipts.join(format!("00{number}.md")), format!("---\n{front}---\n\n# Receipt\n")).unwrap();
    let attempt = serde_json::json!({
        "path": "pipeline", "definition": definition, "started_at": "2026-10-01T10:02:00.000Z",
        "ended_at": "2026-10-01T10:03:00.000Z", "result": "succeeded"
    });
    let json = serde_json::json!({"kind": "rehearsal", "service": "capstone-api", "attempts": [attempt]});
    fs::write(receipts.join(format!("00{number}.json")), json.to_string()).unwrap();
}

#[test]
fn a_stranger_finds_the_triggers_the_commands_and_what_to_make_good() {
    let dir = place(&[]);
    let runbook = printed(dir.path());
    for expected in [
        "## Rolling back `capstone-api`",
        "| `error-rate` | error-rate is above 5% for 2 minutes | 5m | roll back |",
        "| `p99-latency` | p99-latency is above 2 times its baseline for 5 minutes | 10m | roll back |",
        "| `login-broken` | somebody reports login-broken | 10m | page; a human approves |",
        "| `data-corruption` | somebody reports data-corruption | none | page; never roll back code alone |",
        "1. `pipeline` (`github_actions`), up to 4m. **Never rehearsed.**",
        "for 5 minutes (its baseline: the same over the 1h before the deploy)",
        "gh workflow run deploy.yml --repo acme/capstone-api --ref main --raw-field image_tag=VERSION",
        "gcloud run services update-traffic capstone-api --region us-central1 --to-revisions=REVISION=100",
        "the label `version` of the newest series of `app_build_info{service=\"capstone-api\"}`",
        "`curl -fsS http://127.0.0.1:8080/healthz` answers 2xx",
        "- `data-corruption` (code alone is never rolled back): Expand-contract; see RUNBOOK.md#migrations",
        "Void each charge of the window: payctl void --since DEPLOYED_AT",
    ] {
        assert!(runbook.contains(expected), "{expected}\nin\n{runbook}");
    }
    assert!(!runbook.contains("{{"), "{runbook}");
    assert!(!runbook.contains("/run/credentials"), "no secret, nor where one is");
    assert_eq!(printed(dir.path()), runbook, "the same each time");
}

#[test]
fn every_kind_of_path_says_how_a_person_does_it() {
    for (config, expected) in [
        ("kubernetes", "kubectl rollout undo deployment/"),
        ("argo-cd-rollback", "argocd app rollback "),
        ("cloud-run", "gcloud run services update-traffic "),
        ("ecs", "aws ecs update-service --service "),
        ("app-runner", "aws apprunner update-service "),
        ("fly", "fly deploy --app "),
        ("gitlab", "glab ci run --repo "),
        ("git-revert", "git revert --no-edit BAD_COMMIT"),
        ("http", "curl --fail --request "),
        ("command", "The same, on a machine that has the program"),
        ("github-actions", "gh workflow run "),
    ] {
        let file = format!("docs/examples/{config}.yml");
        let ran = run(root(), &["--config", &file]);
        assert_eq!(ran.code, 0, "{config}: {}", ran.stderr);
        assert!(ran.stdout.contains(expected), "{config}: {expected}\nin\n{}", ran.stdout);
    }
}

#[test]
fn a_page_is_updated_between_its_markers_and_checked() {
    let dir = place(&[]);
    let page = dir.path().join("RUNBOOK.md");
    fs::write(&page, format!("# Our runbook\n\nours\n\n{BEGIN}\n{END}\n\n## Migrations\n\nours too\n")).unwrap();
    let check = ["--config", "rollbackd.yml", "--check", "RUNBOOK.md"];
    let ran = run(dir.path(), &check);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("RUNBOOK.md:6: out of date"), "{}", ran.stdout);
    assert!(ran.stdout.contains("runbook --config rollbackd.yml --update RUNBOOK.md"), "{}", ran.stdout);

    let update = ["--config", "rollbackd.yml", "--update", "RUNBOOK.md"];
    assert_eq!(run(dir.path(), &update).stdout, "RUNBOOK.md: updated\n");
    let text = fs::read_to_string(&page).unwrap();
    assert!(text.starts_with(&format!("# Our runbook\n\nours\n\n{BEGIN}\n\nWritten by")), "{text}");
    assert!(text.ends_with(&format!("\n{END}\n\n## Migrations\n\nours too\n")), "{text}");
    assert_eq!(run(dir.path(), &check).code, 0);
    assert_eq!(run(dir.path(), &update).stdout, "RUNBOOK.md: up to date\n");

    fs::write(&page, text.replace("above 5%", "above 9%")).unwrap();
    let told: Value = serde_json::from_str(&run(dir.path(), &[&check[..], &["--json"]].concat()).stdout).unwrap();
    assert_eq!(told["ok"], Value::from(false));
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing is left beside the page: {names:?}");
}

#[test]
fn a_page_without_markers_is_left_alone_and_says_how_to_add_them() {
    let dir = place(&[]);
    fs::write(dir.path().join("RUNBOOK.md"), "# Ours\n").unwrap();
    for act in ["--update", "--check"] {
        let ran = run(dir.path(), &["--config", "rollbackd.yml", act, "RUNBOOK.md"]);
        assert_eq!(ran.code, 1);
        assert!(
            ran.stderr.contains(BEGIN) && ran.stderr.contains(END) && ran.stderr.contains("add these two"),
            "{act}"
        );
        assert_eq!(fs::read_to_string(dir.path().join("RUNBOOK.md")).unwrap(), "# Ours\n");
    }
    let ran = run(dir.path(), &["--config", "rollbackd.yml", "--check", "MISSING.md"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("could not read MISSING.md"), "{}", ran.stderr);
}

#[test]
fn the_last_rehearsal_of_a_path_and_what_changed_since_are_told() {
    let dir = place(&[]);
    rehearse(dir.path(), 1, &["github_actions", "ref=main", "inputs.image_tag={{ target.version }}"]);
    rehearse(dir.path(), 2, &["github_actions", "ref=main", "inputs.image_tag={{ target.version }}"]);
    let runbook = printed(dir.path());
    let told = "1. `pipeline` (`github_actions`), up to 4m. Last rehearsed on 2026-10-02 in 1m 30s (receipt 002).\n";
    assert!(runbook.contains(told), "{runbook}");
    assert!(runbook.contains("2. `console` (`command`), up to 2m. **Never rehearsed.**"), "{runbook}");
    rehearse(dir.path(), 3, &["github_actions", "ref=release", "inputs.image_tag={{ target.version }}"]);
    assert!(printed(dir.path()).contains("(receipt 003). **It has changed since: rehearse it again.**"));
}

#[test]
fn a_trigger_that_takes_longer_than_ten_seconds_to_say_is_pointed_at() {
    let note = "Expand-contract; see RUNBOOK.md#migrations";
    let long = "Ask the people of the data team first, since they know which of the tables were written to and by whom, \
                and wait until one of them has answered";
    let dir = place(&[(note, long)]);
    let ran = run(dir.path(), &["--config", "rollbackd.yml", "--json"]);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let warnings = told["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].as_str().unwrap().starts_with("capstone-api: trigger data-corruption takes "), "{warnings:?}");
    assert!(printed(dir.path()).contains("Too long to say under pressure: `data-corruption` takes "));
    let reference = place(&[]);
    assert!(!printed(reference.path()).contains("Too long"), "the reference list is short enough");
}

#[test]
fn no_text_of_the_config_becomes_markup() {
    let dir = place(&[
        (
            "Expand-contract; see RUNBOOK.md#migrations",
            "<img src=x> | [x](http://evil) **b** <!-- rollbackd runbook: end -->",
        ),
        ("payctl void --since", "`payctl` | <b>void</b> --since"),
        ("update-traffic, capstone-api", "\"a\\n<!-- rollbackd runbook: end -->\\nb\""),
    ]);
    let runbook = printed(dir.path());
    let markup = runbook.replace("\\<", "").replace("\\[", "");
    assert!(!markup.contains("<img") && !markup.contains("<b>") && !markup.contains("[x](http"), "{runbook}");
    let page = format!("{BEGIN}\n{END}\n");
    fs::write(dir.path().join("RUNBOOK.md"), page).unwrap();
    for _ in 0..2 {
        assert_eq!(run(dir.path(), &["--config", "rollbackd.yml", "--update", "RUNBOOK.md"]).code, 0);
    }
    assert_eq!(run(dir.path(), &["--config", "rollbackd.yml", "--check", "RUNBOOK.md"]).code, 0);
}
