//! What rollback paths read: the directory of an attempt, answers of GitHub, the output of a command.

use std::time::Duration;

use rollbackd::fuzzing::{AttemptSeen, attempt_begin, attempt_look, github_answer, order_again, printed};
use rollbackd_core::time::Timestamp;

use super::folder;

/// No file in the directory of an attempt makes it begin twice, or makes one that nobody runs look alive.
pub(super) fn attempt(bytes: &[u8]) {
    let allowed = ["order.json", "lock", "pid", "outcome.json", "supervisor.log"];
    let files: Vec<_> = folder::files(bytes).into_iter().filter(|(name, _)| allowed.contains(name)).collect();
    let has = |name: &str| files.iter().any(|(each, _)| *each == name);
    let dir = folder::written(&files);
    match attempt_look(dir.path()) {
        Err(_) => {}
        Ok(AttemptSeen::Absent) => panic!("the directory is there"),
        // A lock that can't be taken is a living process'; without a lock file nothing can be known.
        Ok(AttemptSeen::Running) => assert!(!has("lock"), "nobody holds the lock"),
        Ok(AttemptSeen::NotBegun) => assert!(!has("pid") && !has("outcome.json")),
        Ok(AttemptSeen::Lost) => assert!(has("pid") && !has("outcome.json")),
        Ok(AttemptSeen::Ended(outcome)) => {
            let again = serde_json::to_vec(&outcome).expect("JSON");
            assert_eq!(serde_json::from_slice(&again).ok(), Some(outcome));
        }
    }
    let order = attempt_begin(dir.path());
    assert!(order.is_err() || !(has("pid") || has("outcome.json")), "it began a second time");
    assert!(order.is_err() || attempt_begin(dir.path()).is_err(), "it began twice");
    if let Ok(order) = order {
        assert_eq!(order_again(&order), Some(order), "an order changes when it is written");
    }
}

/// Only a success shows a run, and no text of GitHub's is long or of several lines.
pub(super) fn github(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |each| *each == b'\n');
    let line = str::from_utf8(parts.next().unwrap_or_default()).unwrap_or_default();
    let body = parts.next().unwrap_or_default();
    let words: Vec<&str> = line.split(' ').collect();
    let word = |index: usize| words.get(index).copied().unwrap_or_default();
    let status: u16 = word(0).parse().unwrap_or(200);
    let names = ["retry-after", "x-ratelimit-remaining", "x-ratelimit-reset"];
    let headers: Vec<(&str, &str)> = names
        .into_iter()
        .enumerate()
        .map(|(index, name)| (name, word(index + 1)))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let now = Timestamp::from_milliseconds(1_795_000_000_000);
    let Some(answer) = github_answer(status, &headers, body, now) else { return };
    assert!(answer.run.is_err() || (200..300).contains(&status));
    assert!(answer.runs.is_err() || (200..300).contains(&status));
    assert!(answer.wait.is_none() || matches!(status, 403 | 429), "HTTP {status} was carried out or refused");
    assert!(answer.message.chars().count() <= 400 && !answer.message.contains(char::is_control));
    if let Some(wait) = answer.wait {
        assert!(wait <= Duration::from_secs(7 * 24 * 3600), "GitHub asks to wait for {wait:?}, and is believed");
    }
    if let Ok(runs) = answer.runs {
        assert!(runs.len() * 7 <= body.len(), "more runs than the body can hold");
    }
}

/// Whatever a command prints, in whatever pieces: its secrets are not in what is kept, and that is bounded text.
pub(super) fn output(bytes: &[u8]) {
    const SECRETS: [&str; 3] = ["hunter2", "hunter22", "s3cret-token-of-the-pipeline"];
    let pieces: Vec<&[u8]> = bytes.split(|each| *each == 0x1e).collect();
    let (receipt, text) = printed(&SECRETS, &pieces);
    for shown in receipt.iter().chain([&text]) {
        assert!(!SECRETS.iter().any(|secret| shown.contains(secret)), "a secret is shown: {shown:?}");
        assert!(!shown.contains(|each: char| each.is_control() && !matches!(each, '\n' | '\t')), "{shown:?}");
    }
    assert!(text.len() <= 33 * 1024, "{} bytes are kept", text.len());
    if let Some(receipt) = receipt {
        assert!(!receipt.is_empty() && receipt.len() <= 256 && !receipt.contains(char::is_whitespace));
    }
    // Where the pieces are cut changes nothing.
    let whole: Vec<u8> = pieces.concat();
    assert_eq!(printed(&SECRETS, &[&whole]).1, text);
}
