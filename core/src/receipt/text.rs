//! Text on its way into a receipt: cleaned, bounded and escaped, so that what others wrote can only ever be read.
//!
//! Never lets text from outside become a heading, a link, an image, HTML, a table's cell or the end of a fence.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// The longest text within a line, in characters: a paragraph's worth, and a table stays readable.
pub const LONGEST_LINE: usize = 500;

/// The longest block of output or of a command, in characters: what fits a few screens.
pub const LONGEST_BLOCK: usize = 4000;

/// A character that shows nothing by itself, or turns around how its neighbours show: it could hide what a text says.
#[must_use]
pub fn is_hidden(each: char) -> bool {
    each.is_control()
        || matches!(each, '\u{00AD}' | '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{2069}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}')
}

/// One line: white space and hidden characters become single blanks, and the end is cut off beyond `longest` characters.
#[must_use]
pub fn line(text: &str, longest: usize) -> String {
    let mut clean = String::new();
    // Looking at more than this would only cost time: each character kept is one read, blanks aside.
    for each in text.chars().take(longest.saturating_mul(8)) {
        if each.is_whitespace() || is_hidden(each) {
            if !clean.is_empty() && !clean.ends_with(' ') {
                clean.push(' ');
            }
        } else {
            clean.push(each);
        }
    }
    let clean = clean.trim_end();
    if clean.chars().count() <= longest {
        return clean.to_owned();
    }
    clean.chars().take(longest.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

/// Several lines: line ends stay, hidden characters go, and the beginning is cut off beyond [`LONGEST_BLOCK`]
/// characters, since the end of an output says how it ended.
#[must_use]
pub fn block(text: &str) -> String {
    let text = text.trim_end();
    let cut = text.char_indices().rev().nth(LONGEST_BLOCK - 1).map_or(0, |(start, _)| start);
    let kept = text.get(cut..).unwrap_or_default().chars();
    let clean: String = kept
        .map(|each| if each == '\t' { ' ' } else { each })
        .filter(|each| *each == '\n' || !is_hidden(*each))
        .collect();
    if cut > 0 { format!("…{clean}") } else { clean }
}

/// Text as a span of code, in which markdown means nothing.
#[must_use]
pub fn code_span(text: &str) -> String {
    if text.trim().is_empty() {
        return "(nothing)".to_owned();
    }
    let fence = "`".repeat(longest_run(text, '`') + 1);
    // A blank on both sides is taken off again by the reader; it is needed where the text itself touches the fence.
    if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) {
        format!("{fence} {text} {fence}")
    } else {
        format!("{fence}{text}{fence}")
    }
}

/// Text as a fenced block that it can't close itself.
#[must_use]
pub fn fenced(text: &str) -> String {
    let fence = "`".repeat(longest_run(text, '`').saturating_add(1).max(3));
    format!("{fence}text\n{text}\n{fence}\n")
}

/// One line of plain words: everything that markdown would take for more than that is escaped.
#[must_use]
pub fn prose(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 8);
    let mut before = ' ';
    let mut characters = text.chars().peekable();
    while let Some(each) = characters.next() {
        let next = characters.peek().copied().unwrap_or(' ');
        let inside_word = before.is_alphanumeric() && next.is_alphanumeric();
        let starts = !safe.is_empty() && safe.chars().all(|earlier| earlier.is_ascii_digit());
        let escape = match each {
            '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '|' | '~' | '&' | '$' => true,
            '_' => !inside_word,
            // `https:` and `www.` become links by themselves in GitHub's markdown.
            ':' => next == '/',
            '.' => starts || safe.to_ascii_lowercase().ends_with("www"),
            ')' => starts,
            '-' | '+' | '=' | '#' => safe.is_empty(),
            _ => false,
        };
        if escape {
            safe.push('\\');
        }
        safe.push(each);
        before = each;
    }
    safe
}

/// Text in XML, as content or within an attribute's quotes.
#[must_use]
pub fn xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for each in text.chars() {
        match each {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            hidden if is_hidden(hidden) => safe.push(' '),
            plain => safe.push(plain),
        }
    }
    safe
}

/// Text as a YAML value: as it is where no reader could take it for anything but this text, else in double quotes.
#[must_use]
pub fn yaml(text: &str) -> String {
    // What YAML 1.1 or 1.2 takes for a boolean or null. Numbers and dates begin with no letter.
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "true", "false", "on", "off", "null"];
    let plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|each| each.is_ascii_alphanumeric() || matches!(each, '.' | '_' | '-' | '/' | '+'))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { quoted(text) }
}

/// Double quotes as JSON and YAML both read them; hidden characters are written out.
fn quoted(text: &str) -> String {
    let mut safe = String::from("\"");
    for each in text.chars() {
        match each {
            '"' => safe.push_str("\\\""),
            '\\' => safe.push_str("\\\\"),
            hidden if is_hidden(hidden) => safe.push_str(&format!("\\u{:04X}", u32::from(hidden))),
            plain => safe.push(plain),
        }
    }
    safe.push('"');
    safe
}

fn longest_run(text: &str, of: char) -> usize {
    text.split(|each| each != of).map(|run| run.chars().count()).max().unwrap_or(0)
}

/// A duration as people read it and [`crate::time::parse_duration`] reads it back: `2m 12.345s`, exact to the millisecond.
#[must_use]
pub fn took(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let (hours, minutes) = (milliseconds / 3_600_000, milliseconds / 60_000 % 60);
    let (seconds, fraction) = (milliseconds / 1000 % 60, milliseconds % 1000);
    let mut parts = Vec::new();
    if hours > 0 {
        parts.push(format!("{hours}h"));
    }
    if minutes > 0 {
        parts.push(format!("{minutes}m"));
    }
    if fraction > 0 {
        let digits = format!("{fraction:03}");
        parts.push(format!("{seconds}.{}s", digits.trim_end_matches('0')));
    } else if seconds > 0 || parts.is_empty() {
        parts.push(format!("{seconds}s"));
    }
    parts.join(" ")
}

/// A sentence of our own words, with what others named or said kept apart from them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sentence(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Words(String),
    Quote(String),
}

impl Sentence {
    /// A sentence that begins with these words.
    #[must_use]
    pub fn new(words: &str) -> Self {
        Self::default().words(words)
    }

    /// The same and these words.
    #[must_use]
    pub fn words(mut self, words: &str) -> Self {
        self.0.push(Piece::Words(words.to_owned()));
        self
    }

    /// The same and a text from outside: a name, a version, what somebody said.
    #[must_use]
    pub fn quote(mut self, text: impl ToString) -> Self {
        self.0.push(Piece::Quote(line(&text.to_string(), LONGEST_LINE)));
        self
    }

    /// The same and another sentence.
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The same with a capital letter at its beginning, where that is ours.
    #[must_use]
    pub fn capitalised(mut self) -> Self {
        self.0.retain(|piece| !matches!(piece, Piece::Words(words) if words.is_empty()));
        if let Some(Piece::Words(words)) = self.0.first_mut() {
            let mut rest = words.chars();
            *words = rest.next().into_iter().flat_map(char::to_uppercase).chain(rest).collect();
        }
        self
    }

    /// Without any markup.
    #[must_use]
    pub fn plain(&self) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Words(text) | Piece::Quote(text) => text.as_str(),
            })
            .collect()
    }

    /// In markdown, for a paragraph or the item of a list.
    #[must_use]
    pub fn markdown(&self) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Words(words) => prose(&line_with_ends(words)),
            Piece::Quote(text) => code_span(text),
        });
        pieces.collect()
    }

    /// In markdown, for the cell of a table.
    #[must_use]
    pub fn cell(&self) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Words(words) => prose(&line_with_ends(words)),
            Piece::Quote(text) => cell(text),
        });
        pieces.collect()
    }
}

/// Words between quotes keep the blanks at their ends.
fn line_with_ends(words: &str) -> String {
    let blank = |is: bool| if is { " " } else { "" };
    let inner = line(words, LONGEST_LINE);
    if inner.is_empty() {
        return blank(!words.is_empty()).to_owned();
    }
    format!("{}{inner}{}", blank(words.starts_with(' ')), blank(words.ends_with(' ')))
}

/// A text from outside as the cell of a table. A bar would end the cell even within a span of code, and readers differ
/// on how one is escaped there: such a text is shown as words.
#[must_use]
pub fn cell(text: &str) -> String {
    if text.contains('|') { prose(text) } else { code_span(text) }
}

impl Serialize for Sentence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.plain())
    }
}

/// Percent-encoded, all but the unreserved characters (RFC 3986, 2.1 and 2.3).
#[must_use]
pub fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a text can't fail.
            let _written = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::parse_duration;

    #[test]
    fn a_line_is_one_line_however_it_was_written() {
        assert_eq!(line(" a\n\n---\r\n# b\u{202e}c\u{1b}[31m ", 99), "a --- # b c [31m");
        assert_eq!(line("abcdef", 4), "abc…");
    }

    #[test]
    fn of_a_block_the_end_is_kept() {
        assert_eq!(block("a\r\n\tb\u{1b}\n\n"), "a\n b");
        let whole = "é".repeat(LONGEST_BLOCK);
        assert_eq!(block(&whole), whole);
        assert_eq!(block(&format!("a{whole}")), format!("…{whole}"));
    }

    #[test]
    fn a_span_of_code_is_closed_by_us_alone() {
        assert_eq!(code_span("v1"), "`v1`");
        assert_eq!(code_span("a`b``c"), "```a`b``c```");
        assert_eq!(code_span("`"), "`` ` ``");
        assert_eq!((code_span("`a"), code_span("a`")), ("`` `a ``".to_owned(), "`` a` ``".to_owned()));
        assert_eq!(fenced("x\n```\ny"), "````text\nx\n```\ny\n````\n");
    }

    #[test]
    fn words_make_no_markup() {
        assert_eq!(prose("[x](javascript:1) <b> a|b"), "\\[x\\](javascript:1) \\<b\\> a\\|b");
        assert_eq!(prose("https://x www.y.z"), "https\\://x www\\.y.z");
        assert_eq!(prose("# a"), "\\# a");
        assert_eq!(prose("12. a"), "12\\. a");
        assert_eq!(prose("12) a"), "12\\) a");
        assert_eq!(prose("error_rate is 1.5 - _so_"), "error_rate is 1.5 - \\_so\\_");
    }

    #[test]
    fn what_is_hidden_is_a_blank_in_xml() {
        assert_eq!(xml("a\u{202e}b\u{0}<c>"), "a b &lt;c&gt;");
    }

    #[test]
    fn words_keep_the_blanks_at_their_ends() {
        assert_eq!(["", "  ", " a b ", "a"].map(line_with_ends), ["", " ", " a b ", "a"]);
    }

    #[test]
    fn a_yaml_value_is_that_text_and_nothing_else() {
        for plain in ["v1.4.2", "capstone-api", "registry/app"] {
            assert_eq!(yaml(plain), plain);
        }
        for other in ["1.10", "true", "No", "null", "12e4567", "0x1f", "a: b", "- a", "a #b", "", "\"", "a\nb", "@x"] {
            assert!(yaml(other).starts_with('"'), "{other}");
            assert_eq!(serde_json::from_str::<String>(&yaml(other)).unwrap(), other);
        }
    }

    #[test]
    fn a_duration_is_read_back_as_it_was() {
        for milliseconds in [0, 1, 850, 1000, 59_999, 60_000, 72_345, 3_600_000, 3_661_001, 200_000_010] {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(parse_duration(&took(duration)), Ok(duration), "{}", took(duration));
        }
        assert_eq!(took(Duration::from_millis(132_340)), "2m 12.34s");
    }
}
