//! The pager `email` against a real mail server, and against one that misbehaves (`smtp.rs` says after what).

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::pagers::{now, open, page};
use crate::smtp::{Script, parsed, server};
use crate::world::{Program, at, certificates, node};
use rollbackd::pagers::{Failure, decode};
use rollbackd_core::config::node::Problems;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

const OURS: Option<&str> = Some("https://rollbackd.example/");

/// A config for a server here, with these keys besides.
fn config(smarthost: &str, more: Value) -> Value {
    let mut config = json!({"smarthost": smarthost, "from": "rollbackd@example.com", "to": "oncall@example.com"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

fn password(dir: &Path, password: &str) -> Value {
    let file = dir.join("password");
    fs::write(&file, password).unwrap();
    json!({"auth_username": "pager", "auth_password_file": file})
}

fn merged(one: Value, other: &Value) -> Value {
    let mut both = one;
    both.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
    both
}

/// What the server takes, as `parsed` says it.
async fn sent(more: Value, page: &rollbackd_core::page::Page) -> Value {
    let (address, mut mails, _commands) = server(vec![]).await;
    open("email", &config(&address, more)).send(page, now(), OURS).await.unwrap();
    parsed(&mails.recv().await.unwrap())
}

#[tokio::test]
async fn a_mail_says_what_other_pagers_say_and_its_end_answers_it() {
    let mut page = page();
    let headers = json!({"headers": {"X-Team": "shop", "Importance": "high"}});
    let first = sent(headers.clone(), &page).await;
    let id = "<shop-f-20261123T100402Z-1-budget@example.com>";
    let mut expected = json!({
        "from": "<rollbackd@example.com>", "to": "<oncall@example.com>", "message-id": id,
        "subject": "rollbackd: Rollback of shop did not finish in 5m", "date": "Mon, 23 Nov 2026 10:04:02 +0000",
        "auto-submitted": "auto-generated", "mime-version": "1.0", "x-team": "shop", "importance": "high",
        "content-type": "text/plain; charset=utf-8", "content-transfer-encoding": "base64",
        "text": "rollbackd: Rollback of shop did not finish in 5m\nerror-rate is 12% (limit 5%)\nApprove, dismiss or ack.\n\
                 firing: https://rollbackd.example/v1/firings/shop-f-20261123T100402Z-1\n",
    });
    assert_eq!(first, expected);

    page.resolved_at = Some(at("2026-11-23T10:09:00Z"));
    let over = merged(
        expected.take(),
        &json!({
            "message-id": "<shop-f-20261123T100402Z-1-budget+over@example.com>", "in-reply-to": id, "references": id,
            "subject": "rollbackd: over: Rollback of shop did not finish in 5m", "date": "Mon, 23 Nov 2026 10:09:00 +0000",
            "text": "rollbackd: over: Rollback of shop did not finish in 5m\n",
        }),
    );
    assert_eq!(sent(headers, &page).await, over);
}

#[tokio::test]
async fn what_others_wrote_begins_no_header_and_ends_no_mail() {
    let mut page = page();
    page.summary = "down\r\nBcc: all@example.com\r\n\r\n.\r\nQUIT".to_owned();
    page.details = vec![".\r\nMAIL FROM:<x@example.com>".to_owned(), "  ".to_owned(), ".".to_owned()];
    let mail = sent(json!({}), &page).await;
    assert_eq!(mail["bcc"], Value::Null);
    assert_eq!(mail["subject"], "rollbackd: down");
    let text = mail["text"].as_str().unwrap();
    assert!(
        text.contains("\nBcc: all@example.com \n") && text.contains("\nMAIL FROM:<x@example.com>\n  \n.\n"),
        "{text:?}"
    );

    for summary in ["ü".repeat(3000), "=?utf-8?B?eA==?= x".to_owned(), "a\u{0}b\u{7f}\tc".to_owned(), "x".repeat(4000)]
    {
        page.summary = summary.clone();
        let mail = sent(json!({}), &page).await;
        let subject = mail["subject"].as_str().unwrap();
        let shown: String = summary.chars().map(|each| if each.is_control() { ' ' } else { each }).collect();
        let begins = subject.trim_end_matches('…').strip_prefix("rollbackd: ").unwrap();
        assert!(shown.starts_with(begins) && subject.len() <= 250 && begins.len() > 4, "{subject}");
        assert!(mail["text"].as_str().unwrap().contains(&shown), "the body has all of it: {mail}");
    }
}

#[tokio::test]
async fn each_step_that_fails_is_told_apart() {
    let say = |line: &str| format!("{line}\r\n");
    let usual = Script::default;
    let steps = [
        (Script { greeting: say("554 5.7.1 not you"), ..usual() }, true, "554 5.7.1 not you"),
        (Script { greeting: say("421 4.3.2 later"), ..usual() }, false, "421 4.3.2 later"),
        (Script { greeting: say("SSH-2.0-OpenSSH_9.2"), ..usual() }, false, "does not speak SMTP"),
        (Script { greeting: String::new(), ..usual() }, false, "closed the connection"),
        (Script { greeting: say(&format!("220 {}", "x".repeat(10_000))), ..usual() }, false, "does not end"),
        (Script { greeting: "220-more\r\n".repeat(1000), ..usual() }, false, "does not end"),
        (Script { hello: say("502 what"), ..usual() }, true, "502 what"),
        (Script { hello: say("250 mail.example"), ..usual() }, true, "offers neither AUTH PLAIN nor AUTH LOGIN"),
        (Script { hello: say("250-mail.example\r\n250 AUTH CRAM-MD5"), ..usual() }, true, "offers neither"),
        (Script { auth: say("454 4.7.0 later s3cret AHBhZ2VyAHMzY3JldA=="), ..usual() }, false, "AUTH: 454"),
        (Script { auth: say("535 5.7.8 no: s3cret AHBhZ2VyAHMzY3JldA=="), ..usual() }, true, "AUTH: 535"),
        (Script { mail: say("550 5.1.8 whose"), ..usual() }, true, "550 5.1.8 whose"),
        (Script { mail: say("451 4.3.0 busy"), ..usual() }, false, "451 4.3.0 busy"),
        (
            Script { recipient: say("550-5.1.1 no such\r\n550 5.1.1 mailbox"), ..usual() },
            true,
            "550 5.1.1 no such 5.1.1 mailbox",
        ),
        (Script { recipient: say("450 4.2.0 greylisted"), ..usual() }, false, "450 4.2.0 greylisted"),
        (Script { recipient: say("354 what"), ..usual() }, false, "354 what"),
        (Script { data: say("554 5.5.1 none"), ..usual() }, true, "554 5.5.1 none"),
        (Script { data: say("250 what"), ..usual() }, false, "250 what"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let (address, mut mails, _commands) = server(steps.iter().map(|(script, ..)| script.clone()).collect()).await;
    let client = open("email", &config(&address, password(dir.path(), "s3cret")));
    for (_, is_refusal, expected) in &steps {
        let failure = client.send(&page(), now(), OURS).await.unwrap_err();
        let shown = format!("{failure} {client:?}");
        assert_eq!(matches!(failure, Failure::Permanent { .. }), *is_refusal, "{expected}: {failure:?}");
        assert!(shown.contains(expected) && shown.contains(&address), "{expected}: {shown}");
        assert!(!shown.contains("s3cret") && !shown.contains("AHBhZ2VyAHMzY3JldA"), "{shown}");
    }
    client.send(&page(), now(), OURS).await.unwrap();
    assert!(mails.recv().await.is_some() && mails.try_recv().is_err(), "one mail");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_after_the_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let silent = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap()
    });
    let client = open("email", &config(&address, json!({"timeout": "200ms"})));
    let failure = client.send(&page(), now(), OURS).await.unwrap_err();
    assert_eq!(failure, Failure::Retry { why: format!("{address}: timed out"), after: None });
    assert_eq!(silent.await.unwrap(), 0, "the connection is closed");
}

#[tokio::test]
async fn nothing_that_matters_is_said_before_the_connection_is_encrypted() {
    let offer = "250-mail.example\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n".to_owned();
    let steps = [
        (Script::default(), true, "offers no STARTTLS"),
        (
            Script { hello: offer.clone(), start_tls: "454 4.7.0 later\r\n".to_owned(), ..Script::default() },
            false,
            "454 4.7.0",
        ),
        // Somebody in between adds what would be taken for the answers that follow.
        (
            Script { hello: offer.clone(), start_tls: "220 go\r\n250 AUTH PLAIN\r\n".to_owned(), ..Script::default() },
            false,
            "without encryption",
        ),
        (Script { hello: offer, start_tls: "220 go\r\n".to_owned(), ..Script::default() }, false, "could not connect"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let (address, _mails, mut commands) = server(steps.iter().map(|(script, ..)| script.clone()).collect()).await;
    let more = merged(password(dir.path(), "s3cret"), &json!({"require_tls": true, "timeout": "2s"}));
    let client = open("email", &config(&address, more));
    for (_, is_refusal, expected) in &steps {
        let failure = client.send(&page(), now(), OURS).await.unwrap_err();
        assert_eq!(matches!(failure, Failure::Permanent { .. }), *is_refusal, "{expected}: {failure:?}");
        assert!(failure.to_string().contains(expected), "{expected}: {failure}");
    }
    while let Ok(command) = commands.try_recv() {
        let is_harmless = command == "EHLO localhost" || command == "STARTTLS" || !command.is_ascii();
        assert!(is_harmless, "{command}");
    }
}

#[tokio::test]
async fn a_login_by_the_older_mechanism_is_two_answers() {
    let hello = "250-mail.example\r\n250 auth=LOGIN\r\n".to_owned();
    // The last answer would be 235; that 334 comes each time makes it fail there, and no earlier.
    let script = Script { hello, auth: "334 VXNlcm5hbWU6\r\n".to_owned(), ..Script::default() };
    let dir = tempfile::tempdir().unwrap();
    let (address, _mails, mut commands) = server(vec![script]).await;
    let client = open("email", &config(&address, password(dir.path(), "s3cret")));
    let failure = client.send(&page(), now(), OURS).await.unwrap_err();
    assert!(failure.to_string().ends_with("AUTH: 334"), "{failure}");
    let mut said = Vec::new();
    while let Ok(command) = commands.try_recv() {
        said.push(command);
    }
    assert_eq!(said, ["EHLO localhost", "AUTH LOGIN", "cGFnZXI=", "czNjcmV0"]);
}

/// Debian's aiosmtpd; its packages are for Debian's own Python.
fn sink(dir: &Path, kind: &str) -> Program {
    certificates(dir);
    let mut command = Command::new("/usr/bin/python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/edges/smtp_sink.py"));
    Program::start(command.arg(dir).arg(kind), "takes mail at ")
}

#[tokio::test]
async fn a_real_server_takes_mail_by_starttls_and_by_tls_from_the_start() {
    for (kind, implicit) in [("starttls", false), ("implicit", true)] {
        let dir = tempfile::tempdir().unwrap();
        let sink = sink(dir.path(), kind);
        let config = |ca: &str, word: &str| {
            let tls =
                json!({"require_tls": true, "force_implicit_tls": implicit, "tls": {"ca_file": dir.path().join(ca)}});
            config(&sink.address, merged(password(dir.path(), word), &tls))
        };
        let unknown = open("email", &config("other.pem", "s3cret")).send(&page(), now(), OURS).await.unwrap_err();
        assert!(matches!(&unknown, Failure::Retry { why, .. } if why.contains("UnknownIssuer")), "{kind}: {unknown}");
        let wrong = open("email", &config("ca.pem", "wr0ng")).send(&page(), now(), OURS).await.unwrap_err();
        assert!(matches!(&wrong, Failure::Permanent { why } if why.ends_with("AUTH: 535")), "{kind}: {wrong}");
        assert!(!dir.path().join("1.eml").exists(), "{kind}");
        let client = open("email", &config("ca.pem", "s3cret"));
        let mut page = page();
        page.summary = "Zurück auf v1, später".to_owned();
        client.send(&page, now(), OURS).await.unwrap();
        page.resolved_at = Some(at("2026-11-23T10:09:00Z"));
        client.send(&page, now(), OURS).await.unwrap();
        let mail = |number| parsed(&fs::read_to_string(dir.path().join(number)).unwrap().replace("\r\n", "\n"));
        let (first, over) = (mail("1.eml"), mail("2.eml"));
        assert_eq!(first["subject"], "rollbackd: Zurück auf v1, später", "{kind}");
        assert_eq!(over["in-reply-to"], first["message-id"], "{kind}");
        assert!(!dir.path().join("3.eml").exists(), "{kind}");
    }
}

#[tokio::test]
async fn whoever_says_so_takes_any_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "implicit");
    let more = json!({"force_implicit_tls": true, "tls": {"insecure_skip_verify": true}});
    let client = open("email", &config(&sink.address, merged(password(dir.path(), "s3cret"), &more)));
    client.send(&page(), now(), OURS).await.unwrap();
    assert!(dir.path().join("1.eml").exists());
}

#[test]
fn mistakes_are_named_and_a_password_is_never_sent_in_the_open() {
    let login = json!({"auth_username": "u", "auth_password_file": "/f"});
    let table = [
        (json!({"smarthost": "smtp.example.com"}), "a server and its port"),
        (json!({"smarthost": "smtp.example.com:0"}), "a server and its port"),
        (json!({"smarthost": "http://smtp.example.com:25"}), "a server and its port"),
        (json!({"to": "a@example.com, b@example.com"}), "one address alone"),
        (json!({"to": "On call <a@example.com>"}), "one address alone"),
        (json!({"from": "a@example.com>\r\nDATA"}), "one address alone"),
        (json!({"hello": "a b"}), "expected a name such as"),
        (json!({"auth_username": "u"}), "together, or neither"),
        (json!({"headers": {"Bcc": "x@example.com"}}), "it comes from the page"),
        (json!({"headers": {"X-A": "a\r\nBcc: x@example.com"}}), "one line of printable ASCII"),
        (json!({"headers": {"X A": "a"}}), "no name of a header"),
        (json!({"bearer_token_file": "/f"}), "unknown key"),
        (merged(login.clone(), &json!({"require_tls": false})), "without encryption"),
    ];
    for (more, expected) in table {
        let mut problems = Problems::default();
        decode("email", &node(&config("smtp.example.com:587", more)), &mut problems);
        let shown = problems.0.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ");
        assert!(shown.contains(expected), "{shown:?} should say {expected:?}");
    }
    for more in [json!({}), login.clone(), json!({"require_tls": false}), json!({"smarthost": "[::1]:25"})] {
        open("email", &config("smtp.example.com:587", more));
    }
    open("email", &merged(config("localhost:25", login), &json!({"hello": "[127.0.0.1]"})));
}
