//! A URL of the config with places for values: whole segments of its path, and whole values of its query.
//!
//! Never lets a value change where the request goes: scheme, host and port have no places, and what is filled in is
//! percent-encoded, so that it stays the one segment or the one value that it stands for.

use reqwest::Url;
use rollbackd_core::config::node::{self, Node, Problems};
use rollbackd_core::receipt::text::percent_encoded;
use rollbackd_core::template::{Names, Template, Text};

use super::Parts;
use crate::http_client::Endpoint;

/// What the first answer, or `find`, told of the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle;

impl Names for Handle {
    const ALL: &'static [Self] = &[Self];

    fn name(self) -> &'static str {
        "handle"
    }
}

/// Which of the config's addresses it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// That of the change.
    Change,
    /// That of what was begun: it may name the handle.
    Poll,
    /// That of the search for what was begun.
    Find,
}

impl Of {
    const fn key(self) -> &'static str {
        match self {
            Self::Change => "url",
            Self::Poll => "poll.url",
            Self::Find => "find.url",
        }
    }
}

/// A URL with places for values. Shown as its server alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    server: Endpoint,
    pieces: Vec<Piece>,
}

#[derive(Clone, PartialEq, Eq)]
enum Piece {
    /// As it stands in the config.
    Fixed(String),
    /// A part of the order.
    Part(usize),
    /// What the first answer told.
    Handle(Text<Handle>),
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // A key may stand in a path or a query.
            Self::Fixed(_) => formatter.write_str("Fixed"),
            Self::Part(index) => write!(formatter, "Part({index})"),
            Self::Handle(_) => formatter.write_str("Handle"),
        }
    }
}

impl Address {
    /// Reads a URL, and adds its templates to the parts of an order.
    pub(super) fn decode(node: &Node, of: Of, parts: &mut Parts, problems: &mut Problems) -> Option<Self> {
        let written = node::text(node, problems)?;
        let (server, tail) = split(written);
        let mut refuse = |why: &str| {
            problems.error(node.place, format!("`{}`: {why}", of.key()));
            None
        };
        if server.contains("{{") {
            return refuse(
                "a template may stand in a segment of the path or a value of the query, never in the server",
            );
        }
        if tail.contains('#') {
            return refuse("a part after # is never sent");
        }
        let mut reading = Reading { node, of, pieces: Vec::new(), parts, problems };
        let read = reading.tail(tail);
        let pieces = std::mem::take(&mut reading.pieces);
        let address = Self { server: problems.take(node.place, Endpoint::parse(server))?, pieces };
        read?;
        problems.take(node.place, address.with(&|_| Some("x"), Some("x"))).map(|_| address)
    }

    /// Where requests go.
    pub(super) const fn server(&self) -> &Endpoint {
        &self.server
    }

    /// Whether it names the handle.
    pub(super) fn names_handle(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Handle(_)))
    }

    /// Whether one of its parts is among these.
    pub(super) fn names_any(&self, parts: &[usize]) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Part(index) if parts.contains(index)))
    }

    /// The URL for this order and, where it names one, this handle.
    pub(super) fn fill(&self, run: &[String], handle: Option<&str>) -> Result<Url, String> {
        self.with(&|index| run.get(index).map(String::as_str), handle)
    }

    fn with<'a>(&self, part: &impl Fn(usize) -> Option<&'a str>, handle: Option<&str>) -> Result<Url, String> {
        let mut text = self.server.to_string();
        for piece in &self.pieces {
            match piece {
                Piece::Fixed(fixed) => text.push_str(fixed),
                Piece::Part(index) => escape(part(*index).ok_or("the order has too few parts")?, &mut text)?,
                Piece::Handle(template) => {
                    let filled = template.fill(|Handle| handle.ok_or("there is no handle to look with"))?;
                    escape(&filled, &mut text)?;
                }
            }
        }
        Url::parse(&text).map_err(|error| format!("that makes no URL: {error}"))
    }
}

/// The scheme, host and port, and the rest.
fn split(written: &str) -> (&str, &str) {
    let host = written.find("://").map_or(0, |found| found + 3);
    let end = written[host..].find(['/', '?', '#']).map_or(written.len(), |found| host + found);
    written.split_at(end)
}

/// Adds a value as one segment or one value of a query: all but the unreserved characters are escaped.
///
/// Source: RFC 3986, 2.1 and 2.3.
fn escape(value: &str, to: &mut String) -> Result<(), String> {
    // Escaped or not, these two would move through the path; nothing would be another path.
    if matches!(value, "" | "." | "..") {
        return Err(format!("a value of the URL is {value:?}, which can't stand in one"));
    }
    to.push_str(&percent_encoded(value));
    Ok(())
}

/// An address on its way from the config.
struct Reading<'a> {
    node: &'a Node,
    of: Of,
    pieces: Vec<Piece>,
    parts: &'a mut Parts,
    problems: &'a mut Problems,
}

impl Reading<'_> {
    fn tail(&mut self, tail: &str) -> Option<()> {
        let (path, query) = tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)));
        for (index, segment) in path.split('/').enumerate() {
            self.fixed(if index == 0 { "" } else { "/" });
            self.value(segment)?;
        }
        for (index, pair) in query.iter().flat_map(|query| query.split('&')).enumerate() {
            self.fixed(if index == 0 { "?" } else { "&" });
            let (key, value) = pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value)));
            if key.contains("{{") {
                return self.refuse("a template may stand in a value of the query, not in its key");
            }
            self.fixed(key);
            if let Some(value) = value {
                self.fixed("=");
                self.value(value)?;
            }
        }
        Some(())
    }

    fn value(&mut self, written: &str) -> Option<()> {
        if !written.contains("{{") {
            self.fixed(written);
            return Some(());
        }
        if written.contains('%') {
            return self.refuse("write what stands beside a template without %: it is escaped together with the value");
        }
        let piece = match (Text::parse(written), self.of) {
            (Ok(handle), Of::Poll) => Piece::Handle(handle),
            (Ok(_), Of::Change | Of::Find) => return self.refuse("`{{ handle }}` is known in `poll.url` alone"),
            (Err(_), _) => {
                let template = self.problems.take(self.node.place, Template::parse(written))?;
                let name = format!("{}.{}", self.of.key(), self.pieces.len());
                Piece::Part(self.parts.add(name, template))
            }
        };
        self.pieces.push(piece);
        Some(())
    }

    fn fixed(&mut self, text: &str) {
        if let Some(Piece::Fixed(before)) = self.pieces.last_mut() {
            before.push_str(text);
        } else {
            self.pieces.push(Piece::Fixed(text.to_owned()));
        }
    }

    fn refuse(&mut self, why: &str) -> Option<()> {
        self.problems.error(self.node.place, format!("`{}`: {why}", self.of.key()));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollbackd_core::config::node::{Place, Value};

    fn read(written: &str, of: Of) -> (Option<Address>, Vec<String>) {
        let value = Value::Scalar { text: written.to_owned(), quoted: true };
        let node = Node { place: Place::default(), value };
        let mut problems = Problems::default();
        let address = Address::decode(&node, of, &mut Parts::default(), &mut problems);
        (address, problems.0.into_iter().map(|problem| problem.message).collect())
    }

    fn filled(written: &str, value: &str) -> Result<String, String> {
        let (address, problems) = read(written, Of::Poll);
        assert!(problems.is_empty(), "{problems:?}");
        let url = address.unwrap().fill(&[value.to_owned()], Some(value))?;
        Ok(url.to_string())
    }

    #[test]
    fn a_value_stays_the_one_segment_or_value_that_it_stands_for() {
        for (value, expected) in [
            ("v41", "http://h:1/a/v41?k=1"),
            ("a/../b?x=1&y#z", "http://h:1/a/a%2F..%2Fb%3Fx%3D1%26y%23z?k=1"),
            ("1%2f2 é\r\n", "http://h:1/a/1%252f2%20%C3%A9%0D%0A?k=1"),
            ("@evil.example:80\\", "http://h:1/a/%40evil.example%3A80%5C?k=1"),
        ] {
            assert_eq!(filled("http://h:1/a/{{ target.version }}?k=1", value).unwrap(), expected);
            let handle = filled("http://h:1/a/{{ handle }}?k=1", value).unwrap();
            assert_eq!(handle, expected);
        }
        let in_query = filled("https://h/?to=v-{{ handle }}&x", "a&b=c/d").unwrap();
        assert_eq!(in_query, "https://h/?to=v-a%26b%3Dc%2Fd&x");
    }

    #[test]
    fn a_value_that_would_move_through_the_path_is_refused() {
        for value in ["", ".", ".."] {
            assert!(filled("http://h/a/{{ target.version }}/b", value).unwrap_err().contains("can't stand in one"));
        }
    }

    #[test]
    fn no_template_stands_where_it_could_lead_elsewhere() {
        for (written, expected) in [
            ("http://{{ service }}.example/x", "never in the server"),
            ("http://h:{{ service }}/", "never in the server"),
            ("{{ service }}", "never in the server"),
            ("http://h/?{{ service }}=1", "not in its key"),
            ("http://h/?{{ service }}", "not in its key"),
            ("http://h/a%2F{{ service }}", "without %"),
            ("http://h/{{ handle }}", "in `poll.url` alone"),
            ("http://h/{{ nothing }}", "unknown template variable"),
            ("http://h/{{ service", "is not closed"),
            ("http://h/x#{{ service }}", "after #"),
            ("http://user:hunter2@h/", "no user name or password"),
            ("ftp://h/", "only http and https"),
        ] {
            let (_, problems) = read(written, Of::Change);
            assert!(problems.len() == 1 && problems[0].contains(expected), "{written}: {problems:?}");
            assert!(!problems[0].contains("hunter2"), "{problems:?}");
        }
    }
}
