//! Words of others on their way to people: notes, reasons, what a command printed. They can only be read.

use serde_json::{Value, json};

use crate::world::{SERVICE, WINDOW, World, triggers};

/// A line that looks like one of the daemon's own, in each form of its log.
const FORGED: [&str; 3] = [
    "2026-11-24T00:00:00.000000Z  INFO forged: true",
    "{\"timestamp\":\"2026-11-24T00:00:00Z\",\"level\":\"INFO\",\"message\":\"forged\"}",
    "ts=2026-11-24T00:00:00.000Z level=info msg=forged",
];

/// What a note may hold as far as the API takes it: lines, and characters that turn a text around.
fn note() -> String {
    format!("look\n{}\nat \u{202e}desrever\u{202c}\u{200b} | `this` <b>", FORGED.join("\n"))
}

/// Prints what clears a screen, sets a title, makes a link and a colour, and forges lines; then fails.
fn shouting() -> Value {
    let forged = FORGED.join("\\n").replace('"', "\\\"");
    let print = format!(
        "printf '\\033[2J\\033]0;owned\\007\\033]8;;http://evil.example\\007link\\033[31m\\n\\302\\2332J\\r{forged}\\n</text><script>x</script>\\n| --- |\\n```\\n# heading\\n' >&2; exit 3"
    );
    json!({"name": "shouting", "timeout": "9s", "command": ["sh", "-c", print]})
}

/// Whether a terminal would do anything with it but show it.
fn acts(text: &str) -> bool {
    let turns =
        |each: char| matches!(each, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().any(|each| (each.is_control() && each != '\n') || turns(each))
}

async fn only_read(log_format: &str) {
    let mut world = World::start().await;
    let mut plan = world.plan();
    plan.triggers([triggers::smoke_test(), triggers::login_broken()]);
    plan.paths([shouting()]);
    world.run_with(&plan, &["--log-format", log_format]).await;
    world.has_past(WINDOW).await;
    world.deploy("v2", "v1").await;

    let report = json!({"service": SERVICE, "trigger": "smoke-test", "note": note()});
    let firing = world.post("/v1/reports", report).await.text_of(202, "firing");
    let page = world.page("no_path_left").await;
    let freeze = json!({"for": "1h", "why": note()});
    world.post(&format!("/v1/services/{SERVICE}/freeze"), freeze).await.json_of(200);
    let status = world.daemon().command(&["status"]).await;
    assert_eq!(status.code, Some(0), "{status:?}");
    assert!(status.out.contains("desrever"), "{status:?}");
    assert!(!acts(&status.out), "{status:?}");
    assert!(status.out.lines().all(|line| !FORGED.contains(&line.trim())), "{status:?}");

    world.post(&format!("/v1/firings/{firing}/dismiss"), json!({"why": note()})).await.json_of(202);
    let receipt = world.receipt(1).await;
    assert!(receipt.body.contains("heading"), "what the command printed is told: {}", receipt.body);
    let shown = world.daemon().command(&["receipts", "show", "1", "--config", "rollbackd.yml"]).await;
    assert!(!acts(&shown.out) && !shown.out.contains("\n# heading\n---"), "{shown:?}");
    let listed = world.daemon().command(&["receipts", "--config", "rollbackd.yml"]).await;
    assert!(!acts(&listed.out), "{listed:?}");
    let chart = std::fs::read_to_string(receipt.chart()).unwrap();
    assert!(!acts(&chart) && !chart.contains("<script"), "{chart}");
    let details = page.body["details"].as_array().expect("details");
    let told = details.iter().filter_map(|line| line.as_str()).find(|line| line.starts_with("reported: "));
    assert!(told.is_some_and(|told| told.contains("desrever") && !told.contains('\n')), "{}", page.body);
    assert!(!acts(&page.body.to_string()), "{}", page.body);

    let log = world.daemon().log();
    assert!(log.contains("desrever"), "the log tells the note: {log}");
    // JSON is for programs, which show what stands in it in their own way.
    let acts_on_a_terminal =
        if log_format == "json" { log.chars().any(|each| each.is_control() && each != '\n') } else { acts(&log) };
    assert!(!acts_on_a_terminal, "{log:?}");
    assert!(log.lines().all(|line| !FORGED.contains(&line.trim())), "{log}");
    if log_format == "json" {
        assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{log}");
        assert!(log.lines().all(|line| line.matches("\"target\":").count() == 1), "no key is there twice: {log}");
    }
}

#[tokio::test]
async fn words_of_others_do_nothing_to_a_terminal_and_forge_no_line() {
    only_read("human").await;
}

#[tokio::test]
async fn words_of_others_forge_no_object_in_a_log_of_json() {
    only_read("json").await;
}

#[tokio::test]
async fn words_of_others_forge_no_pairs_in_a_log() {
    only_read("logfmt").await;
}
