//! A page as a mail (RFC 5322): plain text, the same bytes however often it is made.
//!
//! Never lets a text of the page end a header: what is not plain ASCII is encoded, and the body is base64.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rollbackd_core::page::Page;
use rollbackd_core::time::Timestamp;

use super::super::{in_words, within};

/// As much as a list of mails shows, and more; the body has all of it.
const LONGEST_SUBJECT: usize = 250;

/// A page has a handful of sentences, each of a few kilobytes at most.
const LONGEST_BODY: usize = 64 * 1024;

/// An encoded word has at most 75 characters (RFC 2047, 2), of which 12 say that it is one: what is left holds 45 bytes.
const BYTES_OF_A_WORD: usize = 45;

/// The longest line of base64 in a body (RFC 2045, 6.8).
const BODY_LINE: usize = 76;

/// The mail for a page, or for the word that it is over: an answer to the page's own mail, so that both are shown
/// together. Lines end in CRLF.
pub(super) fn of(
    page: &Page,
    external_url: Option<&str>,
    from: &str,
    to: &str,
    more: &BTreeMap<String, String>,
) -> String {
    let words = in_words(page, external_url);
    let about = id(page, "", from);
    let mut headers = vec![
        ("From", format!("<{from}>")),
        ("To", format!("<{to}>")),
        ("Subject", header_text(words.lines().next().unwrap_or_default())),
        ("Date", date(page.resolved_at.unwrap_or(page.opened_at))),
    ];
    if page.resolved_at.is_some() {
        headers.push(("Message-ID", id(page, "+over", from)));
        headers.push(("In-Reply-To", about.clone()));
        headers.push(("References", about));
    } else {
        headers.push(("Message-ID", about));
    }
    // So that no absence note answers (RFC 3834).
    headers.push(("Auto-Submitted", "auto-generated".to_owned()));
    headers.push(("MIME-Version", "1.0".to_owned()));
    headers.push(("Content-Type", "text/plain; charset=utf-8".to_owned()));
    headers.push(("Content-Transfer-Encoding", "base64".to_owned()));
    let more = more.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let lines = headers.into_iter().chain(more).map(|(name, value)| format!("{name}: {value}\r\n"));
    lines.chain(std::iter::once(format!("\r\n{}", body(&words)))).collect()
}

/// A page's id may have dots where an id of a mail has none, at its end and one after another; `=` is in no page's id,
/// nor is `+`.
fn id(page: &Page, which: &str, from: &str) -> String {
    let domain = from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    format!("<{}{which}@{domain}>", page.id.as_str().replace('.', "="))
}

/// Such as `Mon, 23 Nov 2026 10:04:02 +0000`.
fn date(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.milliseconds()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    jiff::fmt::rfc2822::to_string(&at.to_zoned_datetime(jiff::tz::TimeZone::UTC)).unwrap_or_default()
}

/// Plain ASCII as it stands, anything else as encoded words, each on a line of its own.
fn header_text(text: &str) -> String {
    let text: String = text.chars().map(|each| if each.is_control() { ' ' } else { each }).collect();
    let text = within(text.trim(), LONGEST_SUBJECT);
    if text.is_ascii() && !text.contains("=?") {
        return text;
    }
    let mut words = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (word, more) = rest.split_at(rest.floor_char_boundary(BYTES_OF_A_WORD));
        words.push(format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
        rest = more;
    }
    words.join("\r\n ")
}

/// Lines of base64, of a text whose own lines end in CRLF (RFC 2045, 6.8).
fn body(words: &str) -> String {
    let printable = |each: char| if each.is_control() && each != '\n' { ' ' } else { each };
    let text: String = within(words, LONGEST_BODY).chars().map(printable).collect();
    let encoded = STANDARD.encode(format!("{text}\n").replace('\n', "\r\n"));
    let mut lines = String::new();
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(BODY_LINE));
        lines.push_str(line);
        lines.push_str("\r\n");
        rest = more;
    }
    lines
}
