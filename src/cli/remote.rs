//! The commands that ask the daemon for something: one request each.

use clap::Args;
use rollbackd_core::name::{Commit, FiringId, NotAName, PathName, ServiceName, TriggerName, Version};
use rollbackd_core::time::{Timestamp, parse_duration, show_duration};
use serde_json::{Map, Value, json};

use super::output::{Failure, Output};
use crate::client::{Answer, Client};

/// What a checked name is read with: clap hands over borrowed text.
macro_rules! name_parser {
    ($($function:ident: $name:ident),+) => {$(
        pub(super) fn $function(text: &str) -> Result<$name, NotAName> {
            $name::new(text)
        }
    )+};
}

name_parser!(service: ServiceName, trigger: TriggerName, version: Version, commit: Commit, path: PathName, firing: FiringId);

/// `deploy`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Prints the deploy's id. The same event again (same version and --at, or same --key) starts nothing and says so, so a \
pipeline may repeat it. A deploy with --migration is never rolled back automatically: a human is paged.

Examples:
  rollbackd deploy capstone-api v1.4.2
  rollbackd deploy capstone-api \"$TAG\" --commit \"$GITHUB_SHA\" --key \"$GITHUB_RUN_ID\"
  rollbackd deploy capstone-api v2.0.0 --migration
  rollbackd deploy capstone-api v2.0.1 --migration=compatible")]
pub(super) struct DeployArguments {
    /// The service, of the config's.
    #[arg(value_parser = service)]
    service: ServiceName,
    /// The version that starts to serve: an image tag or a release.
    #[arg(value_parser = version)]
    version: Version,
    /// The version that served before.
    #[arg(long, value_name = "VERSION", value_parser = version)]
    previous: Option<Version>,
    /// The commit that it was built from.
    #[arg(long, value_name = "SHA", value_parser = commit)]
    commit: Option<Commit>,
    /// It migrated data in a way that older code can't live with; `--migration=compatible`: in one that it can.
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = ["true", "compatible", "false"])]
    migration: Option<String>,
    /// Where the pipeline's run can be seen.
    #[arg(long, value_name = "URL")]
    run_url: Option<String>,
    /// When it started to serve, as RFC 3339; now, where it isn't said.
    #[arg(long, value_name = "TIME", value_parser = str::parse::<Timestamp>)]
    at: Option<Timestamp>,
    /// The event's own identity: the same key again starts nothing.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

/// `report`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Prints the firing's id. The same again while that firing is open changes nothing and says so, so a pipeline may repeat \
it. Only triggers with `observed: report` can be reported; Prometheus observes the others.

Examples:
  rollbackd report capstone-api smoke-test --note \"run $GITHUB_RUN_ID is red\"
  rollbackd report capstone-api login-broken --note 'password form answers 500'")]
pub(super) struct ReportArguments {
    /// The service, of the config's.
    #[arg(value_parser = service)]
    service: ServiceName,
    /// The trigger, of the service's list.
    #[arg(value_parser = trigger)]
    trigger: TriggerName,
    /// In your words: it goes into the page and the receipt.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// `approve` and `ack`.
#[derive(Args, Debug)]
pub(super) struct FiringArguments {
    /// The firing: its id stands in the page and in `rollbackd status`.
    #[arg(value_parser = firing)]
    firing: FiringId,
}

/// `dismiss`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Example:
  rollbackd dismiss capstone-api-f-20261123T100402125Z-7 --why 'the load test, not the deploy'")]
pub(super) struct DismissArguments {
    /// The firing: its id stands in the page and in `rollbackd status`.
    #[arg(value_parser = firing)]
    firing: FiringId,
    /// Why it is no reason to roll back: it goes into the receipt.
    #[arg(long, value_name = "TEXT")]
    why: String,
}

/// `rollback`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  rollbackd rollback capstone-api                     by the preferred path, to the target that status shows
  rollbackd rollback capstone-api --path console --to v1.4.0")]
pub(super) struct RollbackArguments {
    /// The service, of the config's.
    #[arg(value_parser = service)]
    service: ServiceName,
    /// By this path; by the preferred one where it isn't named.
    #[arg(long, value_name = "NAME", value_parser = path)]
    path: Option<PathName>,
    /// To this version of the ledger; to the target where it isn't named.
    #[arg(long, value_name = "VERSION", value_parser = version)]
    to: Option<Version>,
}

/// `freeze`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  rollbackd freeze capstone-api --for 1h --why 'database maintenance'
  rollbackd freeze --for 30m --why 'load test'        every service")]
pub(super) struct FreezeArguments {
    /// The service; every service where it isn't named.
    #[arg(value_parser = service)]
    service: Option<ServiceName>,
    /// For how long: 30m, 1h30m.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    duration: std::time::Duration,
    /// Why: it stands in pages and in status.
    #[arg(long, value_name = "TEXT")]
    why: String,
}

/// `thaw`.
#[derive(Args, Debug)]
pub(super) struct ThawArguments {
    /// The service; every service where it isn't named.
    #[arg(value_parser = service)]
    service: Option<ServiceName>,
}

/// Reports a deploy.
pub(super) async fn deploy(client: &Client, asked: DeployArguments, output: &Output) -> Result<(), Failure> {
    let migration = asked.migration.map(|how| match how.as_str() {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => Value::String(how),
    });
    let body = object([
        ("service", Some(json!(asked.service))),
        ("version", Some(json!(asked.version))),
        ("previous_version", asked.previous.map(|previous| json!(previous))),
        ("commit", asked.commit.map(|commit| json!(commit))),
        ("migration", migration),
        ("run_url", asked.run_url.map(Value::String)),
        ("at", asked.at.map(|at| json!(at))),
    ]);
    let mut answer = client.post(&["v1", "deploys"], &body, asked.key.as_deref()).await?;
    let known = answer.status == 200;
    let text = match (text_of(client, &answer, "deploy")?, known) {
        (id, true) => format!("{id} (known already: nothing starts)"),
        (id, false) => id,
    };
    if let Some(members) = answer.body.as_object_mut() {
        members.insert("known".to_owned(), Value::Bool(known));
    }
    output.say(&text, &answer.body)
}

/// Reports that a trigger is observed.
pub(super) async fn report(client: &Client, asked: ReportArguments, output: &Output) -> Result<(), Failure> {
    let has_note = asked.note.is_some();
    let body = object([
        ("service", Some(json!(asked.service))),
        ("trigger", Some(json!(asked.trigger))),
        ("note", asked.note.map(Value::String)),
    ]);
    let answer = client.post(&["v1", "reports"], &body, None).await?;
    let known = answer.body.get("known") == Some(&Value::Bool(true));
    let text = match answer.body.get("firing") {
        Some(_) if known => format!("{} ({})", text_of(client, &answer, "firing")?, known_words(has_note)),
        Some(_) => text_of(client, &answer, "firing")?,
        None if answer.body.get("rehearsal").is_some() => {
            let id = text_of(client, &answer, "rehearsal")?;
            format!("recorded; it counts once {id} has deployed its version")
        }
        None => format!("recorded; trigger {} starts nothing (`action: shadow`)", asked.trigger),
    };
    output.say(&text, &answer.body)
}

/// What came of a report about a firing that is open.
const fn known_words(has_note: bool) -> &'static str {
    if has_note {
        "known already: nothing changed, and the note was not taken"
    } else {
        "known already: nothing changed"
    }
}

/// Approves a rollback.
pub(super) async fn approve(client: &Client, asked: FiringArguments, output: &Output) -> Result<(), Failure> {
    about_firing(client, &asked.firing, "approve", &json!({}), output).await
}

/// Dismisses a firing.
pub(super) async fn dismiss(client: &Client, asked: DismissArguments, output: &Output) -> Result<(), Failure> {
    about_firing(client, &asked.firing, "dismiss", &json!({ "why": asked.why }), output).await
}

/// Acknowledges a page.
pub(super) async fn acknowledge(client: &Client, asked: FiringArguments, output: &Output) -> Result<(), Failure> {
    about_firing(client, &asked.firing, "ack", &json!({}), output).await
}

async fn about_firing(
    client: &Client,
    firing: &FiringId,
    action: &str,
    body: &Value,
    output: &Output,
) -> Result<(), Failure> {
    let answer = client.post(&["v1", "firings", firing.as_str(), action], body, None).await?;
    output.say(&text_of(client, &answer, "firing")?, &answer.body)
}

/// Starts a rollback.
pub(super) async fn rollback(client: &Client, asked: RollbackArguments, output: &Output) -> Result<(), Failure> {
    let body = object([("path", asked.path.map(|path| json!(path))), ("to", asked.to.map(|version| json!(version)))]);
    let answer = client.post(&["v1", "services", asked.service.as_str(), "rollback"], &body, None).await?;
    output.say(&text_of(client, &answer, "firing")?, &answer.body)
}

/// Holds automatic rollback.
pub(super) async fn freeze(client: &Client, asked: FreezeArguments, output: &Output) -> Result<(), Failure> {
    let duration = show_duration(asked.duration);
    let body = json!({ "for": duration, "why": asked.why });
    let done = for_services(client, asked.service, "freeze", &body).await?;
    say_done(output, "frozen", &format!("automatic rollback of {} is held for {duration}", done.join(", ")), &done)
}

/// Lets automatic rollback go on.
pub(super) async fn thaw(client: &Client, asked: ThawArguments, output: &Output) -> Result<(), Failure> {
    let done = for_services(client, asked.service, "thaw", &json!({})).await?;
    say_done(output, "thawed", &format!("automatic rollback of {} goes on", done.join(", ")), &done)
}

fn say_done(output: &Output, word: &str, text: &str, done: &[String]) -> Result<(), Failure> {
    if done.is_empty() {
        return output.say("the config has no service", &json!({ word: done }));
    }
    output.say(text, &json!({ word: done }))
}

/// Does the same to one service, or to each; where it fails for one, the others are done all the same.
async fn for_services(
    client: &Client,
    one: Option<ServiceName>,
    action: &str,
    body: &Value,
) -> Result<Vec<String>, Failure> {
    let names = match one {
        Some(name) => vec![name.to_string()],
        None => every_service(client).await?,
    };
    let mut failed = Vec::new();
    for name in &names {
        match client.post(&["v1", "services", name, action], body, None).await {
            Ok(_) => {}
            Err(error) if names.len() == 1 => return Err(error.into()),
            Err(error) => failed.push(format!("{name}: {error}")),
        }
    }
    if failed.is_empty() {
        return Ok(names);
    }
    let (count, all) = (failed.len(), names.len());
    Err(Failure::failed(format!("{action} failed for {count} of {all} services: {}", failed.join("; "))))
}

async fn every_service(client: &Client) -> Result<Vec<String>, Failure> {
    let answer = client.get(&["v1", "services"]).await?;
    let services = answer.body.as_array().ok_or_else(|| client.not_rollbackd("its list of services is no list"))?;
    let name = |service: &Value| service.get("name").and_then(Value::as_str).map(str::to_owned);
    Ok(services.iter().filter_map(name).collect())
}

/// An object of the fields that are there.
fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let there = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect::<Map<_, _>>())
}

/// An id of the answer.
fn text_of(client: &Client, answer: &Answer, field: &str) -> Result<String, Failure> {
    let text = answer.body.get(field).and_then(Value::as_str).map(str::to_owned);
    text.ok_or_else(|| client.not_rollbackd(&format!("its answer has no {field:?}")).into())
}
