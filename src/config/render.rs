//! Mistakes for people: each with its place, its line, and a mark under what is meant.
//!
//! Never shows what stands behind a key that could hold a secret, should somebody have pasted one.

use std::fmt::Write as _;

use rollbackd_core::config::node::{Problem, Severity};
use rollbackd_core::receipt::text::is_hidden;

use super::Settings;
use crate::yaml;

/// More mistakes than these are one mistake: the wrong file. The rest is counted; errors go before warnings then.
const MOST_SHOWN: usize = 100;
/// The most of a line that is shown, in characters: a line is for the eye.
const LONGEST_LINE: usize = 160;
/// How much is shown before the place where a longer line is cut at its beginning.
const BEFORE: usize = 60;
/// Keys whose values are not shown. Secrets belong in files; this is for the day when one is pasted all the same.
const SECRET_KEYS: [&str; 8] =
    ["sha256", "token", "password", "secret", "authorization", "bearer_token", "api_key", "routing_key"];

/// The mistakes in the order in which they are given, each as `FILE:LINE:COLUMN: error: what is wrong`, its line, and a
/// mark under the column.
#[must_use]
pub fn render_problems(file: &str, text: &str, problems: &[Problem]) -> String {
    let lines: Vec<&str> = yaml::lines(text).collect();
    let mut shown = String::new();
    let mut most_wanted: Vec<&Problem> = problems.iter().collect();
    if problems.len() > MOST_SHOWN {
        // A stable sort: within errors and within warnings the order stays.
        most_wanted.sort_by_key(|problem| problem.severity);
    }
    for problem in most_wanted.into_iter().take(MOST_SHOWN) {
        let (place, severity) = (problem.place, word(problem.severity));
        let message = printable(&problem.message);
        let lint = problem.lint.map_or(String::new(), |lint| format!(" [{lint}]"));
        // Writing into a String does not fail.
        let _ = writeln!(shown, "{file}:{}:{}: {severity}: {message}{lint}", place.line, place.column);
        let line = place.line.checked_sub(1).and_then(|index| lines.get(index));
        if let Some(line) = line.filter(|_| !problem.hides_line) {
            shown.push_str(&marked(line, place.column));
        }
    }
    if let Some(more) = problems.len().checked_sub(MOST_SHOWN).filter(|more| *more > 0) {
        let _ = writeln!(shown, "{file}: and {more} more");
    }
    shown
}

/// How bad it is, in a word.
#[must_use]
pub const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// A line, and a mark under its column.
fn marked(line: &str, column: usize) -> String {
    let line: Vec<char> = printable(&servers_alone(&without_secret(line))).chars().collect();
    let column = column.saturating_sub(1).min(line.len());
    let from = if line.len() <= LONGEST_LINE { 0 } else { column.saturating_sub(BEFORE) };
    let part: String = line.iter().skip(from).take(LONGEST_LINE).collect();
    format!("  {part}\n  {}^\n", " ".repeat(column - from))
}

/// The line as far as the value of the first key that could hold a secret.
fn without_secret(line: &str) -> String {
    match SECRET_KEYS.iter().filter_map(|key| value_start(line, key)).min() {
        Some(start) if !line[start..].trim().is_empty() => format!("{} ***", &line[..start]),
        Some(_) | None => line.to_owned(),
    }
}

/// The byte behind the colon of a key that ends like this one, in quotes or not.
fn value_start(line: &str, key: &str) -> Option<usize> {
    // ASCII alone, so that every place in it is a place in the line.
    let lower = line.to_ascii_lowercase();
    lower.match_indices(key).find_map(|(start, _)| {
        let after = lower[start + key.len()..].trim_start_matches(['"', '\'', ' ']);
        Some(line.len() - after.strip_prefix(':')?.len())
    })
}

/// The line with no more of each URL than its server: a user name, a password, a path or a query may be a secret. What is
/// left out stays as long as it was.
fn servers_alone(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find("://") {
        let (before, url) = rest.split_at(start + "://".len());
        shown.push_str(before);
        let end = url.find(|each: char| each.is_whitespace() || matches!(each, '"' | '\'' | ',' | '}' | ']'));
        let (url, after) = url.split_at(end.unwrap_or(url.len()));
        // Before the last @: a password may have a slash in it that nobody has written as %2F.
        let (user, url) = url.split_at(url.rfind('@').map_or(0, |at| at + 1));
        let (server, path) = url.split_at(url.find(['/', '?', '#']).unwrap_or(url.len()));
        shown.extend(user.chars().map(|_| '*'));
        shown.push_str(server);
        shown.extend(path.chars().map(|each| if path.len() == 1 { each } else { '*' }));
        rest = after;
    }
    shown + rest
}

/// The text without what could move a terminal's cursor; one character stays one character.
fn printable(text: &str) -> String {
    text.chars().map(|each| if each == '\t' || each.is_control() || is_hidden(each) { ' ' } else { each }).collect()
}

/// How many mistakes, warnings and notes there are; empty where there is none.
#[must_use]
pub fn count(problems: &[Problem]) -> String {
    let of = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let counts = [Severity::Error, Severity::Warning, Severity::Note].map(|severity| (of(severity), word(severity)));
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    counts.map(|(count, what)| several(count, what)).collect::<Vec<_>>().join(", ")
}

/// What a good config holds.
#[must_use]
pub fn summary(settings: &Settings, problems: &[Problem]) -> String {
    let services = settings.core.services.values();
    let triggers = services.clone().map(|service| service.triggers.len()).sum();
    let paths = services.map(|service| service.paths.len()).sum();
    let parts = [
        several(settings.core.services.len(), "service"),
        several(triggers, "trigger"),
        several(paths, "path"),
        several(settings.pagers.len(), "pager"),
    ];
    let warnings = if problems.is_empty() { String::new() } else { format!(" ({})", count(problems)) };
    format!("ok: {}{warnings}", parts.join(", "))
}

fn several(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use rollbackd_core::config::node::Place;

    use super::*;

    fn problem(line: usize, column: usize) -> Problem {
        Problem {
            place: Place { line, column },
            severity: Severity::Error,
            message: "wrong".to_owned(),
            hides_line: false,
            lint: None,
        }
    }

    #[test]
    fn a_mistake_is_shown_with_its_line_and_a_mark_under_the_column() {
        let shown = render_problems("f.yml", "a: 1\n\tü: oops\n", &[problem(2, 5)]);
        assert_eq!(shown, "f.yml:2:5: error: wrong\n   ü: oops\n      ^\n");
    }

    #[test]
    fn a_place_behind_the_end_is_shown_without_a_line_or_at_its_end() {
        assert_eq!(
            render_problems("f", "a", &[problem(7, 1), problem(0, 0)]),
            "f:7:1: error: wrong\nf:0:0: error: wrong\n"
        );
        assert_eq!(render_problems("f", "a", &[problem(1, 99)]), "f:1:99: error: wrong\n  a\n   ^\n");
    }

    #[test]
    fn a_long_line_is_cut_around_its_place() {
        let line = format!("{}HERE{}", "x".repeat(500), "y".repeat(500));
        let shown = render_problems("f", &line, &[problem(1, 501)]);
        let rows: Vec<&str> = shown.lines().collect();
        assert_eq!(rows[1].len(), LONGEST_LINE + 2);
        assert_eq!(rows[1].find("HERE"), rows[2].find('^'));
    }

    #[test]
    fn what_could_be_a_secret_is_not_shown() {
        let lines = [
            "  - {name: ci, sha256: s3cr3t, scopes: [x]}",
            "password: s3cr3t",
            "\"Authorization\" : \"Bearer s3cr3t\"",
            "bearer_token: s3cr3t",
            "client_secret: s3cr3t # token: x",
            "  webhook: {url: \"https://hooks.example/T1/s3cr3t\", colour: red}",
            "url: http://admin:s3cr3t@prometheus.example:9090",
            "url: http://admin:s3cr3t/@prometheus.example?key=s3cr3t",
            "  - http://prometheus.example#s3cr3t",
        ];
        for line in lines {
            let shown = render_problems("f", line, &[problem(1, 1)]);
            assert!(!shown.contains("s3cr3t") && shown.contains("***"), "{shown}");
        }
        assert!(render_problems("f", "token_file: /run/x", &[problem(1, 1)]).contains("/run/x"));
        let url = render_problems("f", "url: \"http://me:s3cr3t@h:1/s3cr3t\", x: http://h/", &[problem(1, 36)]);
        assert_eq!(
            url,
            "f:1:36: error: wrong\n  url: \"http://**********h:1*******\", x: http://h/\n".to_owned()
                + &" ".repeat(37)
                + "^\n"
        );
        let hidden = Problem { hides_line: true, ..problem(1, 1) };
        assert_eq!(render_problems("f", "ANYTHING: s3cr3t", &[hidden]), "f:1:1: error: wrong\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert!(!render_problems("f", "a\u{1b}[2Jb", &[problem(1, 1)]).contains('\u{1b}'));
        // A label's value of a remote may stand in the message.
        let turned = Problem { message: "a \u{202e}b".to_owned(), ..problem(1, 1) };
        assert!(!render_problems("f", "a", &[turned]).contains('\u{202e}'));
    }

    #[test]
    fn only_a_hundred_are_shown_and_no_error_hides_behind_warnings() {
        let mut problems = vec![Problem { severity: Severity::Warning, ..problem(1, 1) }; 129];
        problems.push(problem(9, 9));
        let shown = render_problems("f", "", &problems);
        assert!(shown.starts_with("f:9:9: error: wrong\n"));
        assert!(shown.ends_with("f: and 30 more\n"));
    }
}
