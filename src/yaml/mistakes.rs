//! What breaks YAML itself, told so that a person finds it: a place that is in the file, and plain words.
//!
//! Never says more than the parser knows: words of its that are plain already stay.

use rollbackd_core::config::node::Place;

/// The lines of a text as YAML counts them: a line ends with LF, CR LF, or CR alone.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let line = rest.split(['\n', '\r']).next().unwrap_or(rest);
        let after = &rest[line.len()..];
        rest = after.strip_prefix("\r\n").or_else(|| after.strip_prefix(['\n', '\r'])).unwrap_or(after);
        Some(line)
    })
}

/// Where the mistake is and what it is, from the parser's place and words, and where the innermost list or mapping
/// begins that is not closed yet.
pub(super) fn explain(text: &str, place: Place, words: &str, innermost: Option<Place>) -> (Place, String) {
    let lines: Vec<&str> = lines(text).collect();
    // Only after a line without a `:` does the parser know that one is missing.
    if matches!(words, "simple key expect ':'" | "simple key expected") {
        let why = "expected `key: value` or `- item` here: a `:` with a space after it is missing";
        return (line_before(&lines, place).unwrap_or_else(|| within(&lines, place)), why.to_owned());
    }
    let bracket =
        innermost.and_then(|opened| Some((opened, sign_at(&lines, opened).filter(|sign| "{[".contains(*sign))?)));
    if let Some((opened, sign)) = bracket
        && is_about_brackets(words)
    {
        let separators = if sign == '{' { "`,`, a `: `" } else { "`,`" };
        let closing = if sign == '{' { '}' } else { ']' };
        let why = format!(
            "the `{sign}` of line {}, column {} has no `{closing}`, or a {separators} or a quote is missing before here",
            opened.line, opened.column
        );
        return (within(&lines, place), why);
    }
    (within(&lines, place), plain(words).to_owned())
}

fn is_about_brackets(words: &str) -> bool {
    words.contains("parsing a flow")
        || matches!(words, "unexpected eof" | "misplaced bracket" | "invalid indentation in flow construct")
}

/// The parser's words for the mistakes that are made most, in words that say what to do.
fn plain(words: &str) -> &str {
    match words {
        "mapping values are not allowed in this context" => {
            "a `:` can't stand here: put a text that holds `: ` in quotes, or mend the indentation"
        }
        "while parsing a block mapping, did not find expected key" => {
            "expected a `key:` here: mend the indentation, or what stands before"
        }
        "while parsing a block collection, did not find expected '-' indicator" => {
            "expected a `- item` here: mend the indentation, or what stands before"
        }
        "block sequence entries are not allowed in this context" => {
            "a `- item` can't stand here: begin it on a line of its own"
        }
        "while scanning a quoted scalar, found unexpected end of stream" => "the quote that begins here is not closed",
        "invalid indentation in quoted scalar" => {
            "the quote that begins here is not closed, or its next line is not indented further than its key"
        }
        _ => words,
    }
}

/// The place itself, or the end of the text where the parser has gone further.
fn within(lines: &[&str], place: Place) -> Place {
    match (lines.get(place.line.saturating_sub(1)), lines.last()) {
        (Some(line), _) => Place { line: place.line, column: place.column.min(columns(line)) },
        (None, Some(last)) => Place { line: lines.len(), column: columns(last) },
        (None, None) => Place { line: 1, column: 1 },
    }
}

/// The place after the last sign of a line counts as one of its columns.
fn columns(line: &str) -> usize {
    line.chars().count() + 1
}

/// Where the last line before this place begins that says something; `None` where something stands before it on its
/// own line.
fn line_before(lines: &[&str], place: Place) -> Option<Place> {
    let before = place.line.saturating_sub(1);
    let own = lines.get(before).map(|line| line.chars().take(place.column.saturating_sub(1)).collect::<String>());
    if own.is_some_and(|own| !own.trim().is_empty()) {
        return None;
    }
    let mut earlier = lines.iter().enumerate().take(before).rev();
    earlier.find_map(|(index, line)| {
        let said = line.trim_start();
        let column = columns(line) - said.chars().count();
        (!said.is_empty() && !said.starts_with('#')).then_some(Place { line: index + 1, column })
    })
}

fn sign_at(lines: &[&str], place: Place) -> Option<char> {
    lines.get(place.line.checked_sub(1)?)?.chars().nth(place.column.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use rollbackd_core::config::node::Problems;

    use super::super::parse;
    use super::*;

    fn mistake(text: &str) -> String {
        let mut problems = Problems::default();
        assert_eq!(parse(text, &mut problems), None, "{text:?}");
        problems.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn lines_end_as_yaml_ends_them() {
        let table: [(&str, &[&str]); 6] = [
            ("", &[]),
            ("a", &["a"]),
            ("a\n", &["a"]),
            ("a\n\nb", &["a", "", "b"]),
            ("a\r\nb\rc\n\rd", &["a", "b", "c", "", "d"]),
            ("\u{2028}a\u{85}b", &["\u{2028}a\u{85}b"]),
        ];
        for (text, expected) in table {
            assert_eq!(lines(text).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_line_without_a_colon_is_the_one_that_is_named() {
        for (text, place) in [
            ("a: 1\nlisten 127.0.0.1:1\nb: 2\n", "2:1"),
            ("a:\n  b: 1\n  é ü\n\n  # why\n  c: 2\n", "3:3"),
            ("a: 1\nend", "2:1"),
            ("a: 1\nend\n\n", "2:1"),
            ("a: 1\rend\rb: 2\r", "2:1"),
        ] {
            let said = mistake(text);
            assert!(said.starts_with(&format!("{place}: not YAML: expected `key: value`")), "{text:?}: {said}");
        }
    }

    #[test]
    fn a_bracket_that_is_not_closed_is_named_with_its_place() {
        for (text, place, opened) in [
            ("a: {b: 1\nc: 2\n", "2:2", "`{` of line 1, column 4 has no `}`"),
            ("a: [1, 2\n", "1:9", "`[` of line 1, column 4 has no `]`"),
            ("a:\n  - {b: 1, c: [2}\n", "2:17", "`[` of line 2, column 15 has no `]`"),
            ("a: [1]]\n", "1:7", "not YAML"),
        ] {
            let said = mistake(text);
            assert!(said.starts_with(&format!("{place}: ")) && said.contains(opened), "{text:?}: {said}");
        }
    }

    #[test]
    fn the_mistakes_that_are_made_most_say_what_to_do() {
        for (text, expected) in [
            ("note: wait: then go\n", "1:11: not YAML: a `:` can't stand here"),
            ("a:\n  - b\n c: d\n", "3:2: not YAML: expected a"),
            ("a: - b\n", "1:4: not YAML: a `- item` can't stand here"),
            ("a: \"b\nc: d\n", "1:4: not YAML: the quote that begins here is not closed, or"),
            ("a: \"b\n", "1:4: not YAML: the quote that begins here is not closed"),
            ("- a\nb: 1\n", "2:1: not YAML: expected a"),
        ] {
            let said = mistake(text);
            assert!(said.starts_with(expected), "{text:?}: {said}");
        }
    }
}
