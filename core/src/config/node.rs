//! A config file as a tree of positions, and typed reading out of it that collects all mistakes, not the first alone.
//!
//! Knows no file format: the shell builds the tree from YAML. Never prints a value of a key that could be a secret:
//! secrets are not in the config, only the names of their files are.

use std::fmt;

use super::lint::Lint;

/// A place in the config file: line and column, both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it starts.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// What a node holds. Scalars keep the text that was written: whether `1.10` is a number is for the reader to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A scalar as it was written.
    Scalar {
        /// The text.
        text: String,
        /// Whether it was in quotes: then it is a text and no number, boolean or null.
        quoted: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// Keys and values in their order; a key occurs once.
    Map(Vec<(Node, Node)>),
}

impl Value {
    /// What it is, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar { .. } => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Whether a mistake keeps the config from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The config can't be used.
    Error,
    /// It can, but its writer hardly meant this.
    Warning,
    /// It can, and its writer may want to know this.
    Note,
}

/// One mistake: where, and what was expected instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// Whether the config can be used all the same.
    pub severity: Severity,
    /// What is wrong, and what was expected.
    pub message: String,
    /// Whether a secret may stand in its line, pasted by mistake: then the line is not to be shown.
    pub hides_line: bool,
    /// The name by which it can be allowed; an error has none.
    pub lint: Option<Lint>,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.place.line, self.place.column, self.message)?;
        self.lint.map_or(Ok(()), |lint| write!(formatter, " [{lint}]"))
    }
}

/// All mistakes found so far.
#[derive(Debug, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Notes an error.
    pub fn error(&mut self, place: Place, message: impl Into<String>) {
        self.0.push(Problem {
            place,
            severity: Severity::Error,
            message: message.into(),
            hides_line: false,
            lint: None,
        });
    }

    /// Notes an error about what may be a secret.
    pub fn error_about_secret(&mut self, place: Place, message: impl Into<String>) {
        self.0.push(Problem {
            place,
            severity: Severity::Error,
            message: message.into(),
            hides_line: true,
            lint: None,
        });
    }

    /// Notes a warning.
    pub fn warning(&mut self, lint: Lint, place: Place, message: impl Into<String>) {
        self.lint(Severity::Warning, lint, place, message.into());
    }

    /// Notes what is worth knowing and no mistake.
    pub fn note(&mut self, lint: Lint, place: Place, message: impl Into<String>) {
        self.lint(Severity::Note, lint, place, message.into());
    }

    fn lint(&mut self, severity: Severity, lint: Lint, place: Place, message: String) {
        self.0.push(Problem { place, severity, message, hides_line: false, lint: Some(lint) });
    }

    /// Notes the error of a result and gives its value.
    pub fn take<T>(&mut self, place: Place, result: Result<T, impl fmt::Display>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(place, error.to_string());
                None
            }
        }
    }

    /// Whether the config can't be used.
    #[must_use]
    pub fn any_error(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }
}

/// A mapping that is being read: each key is asked for once, and what nobody asked for is a mistake.
pub struct Fields<'a> {
    /// Where the mapping starts.
    pub place: Place,
    what: String,
    entries: &'a [(Node, Node)],
    asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The mapping at this node; notes a mistake where it is none. `what` names it in messages ("a trigger").
    pub fn of(node: &'a Node, what: impl Into<String>, problems: &mut Problems) -> Option<Self> {
        let what = what.into();
        if let Value::Map(entries) = &node.value {
            return Some(Self { place: node.place, what, entries, asked: Vec::new() });
        }
        problems.error(node.place, format!("expected {what} as a mapping (`key: value`), not {}", node.value.kind()));
        None
    }

    /// Names the mapping in messages from here on, where a better name is known by now ("trigger `error-rate`").
    pub fn call(&mut self, what: impl Into<String>) {
        self.what = what.into();
    }

    /// What the mapping is called in messages.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Whether this key is there, whatever its value. Does not count as asking for it.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _)| text_of(name) == Some(key))
    }

    /// Where the key itself stands, or the mapping where there is no such key.
    #[must_use]
    pub fn key_place(&self, key: &str) -> Place {
        self.entries.iter().find(|(name, _)| text_of(name) == Some(key)).map_or(self.place, |(name, _)| name.place)
    }

    /// Where the key's value stands, or the mapping where there is no such key.
    #[must_use]
    pub fn value_place(&self, key: &str) -> Place {
        self.entries.iter().find(|(name, _)| text_of(name) == Some(key)).map_or(self.place, |(_, value)| value.place)
    }

    /// The one key of a closed set that is there, with its value; notes a mistake where there is none, or a second one.
    pub fn exactly_one(
        &mut self,
        keys: &'static [&'static str],
        problems: &mut Problems,
    ) -> Option<(&'static str, &'a Node)> {
        let mut found = keys.iter().filter_map(|key| Some((*key, self.optional(key)?))).collect::<Vec<_>>();
        found.sort_by_key(|(key, _)| self.key_place(key));
        let Some(first) = found.first().copied() else {
            problems.error(self.place, format!("{} has none of `{}`: expected one", self.what, keys.join("`, `")));
            return None;
        };
        for (key, _) in found.iter().skip(1) {
            let message = format!("{} has `{}` already: expected one of them, not `{key}` too", self.what, first.0);
            problems.error(self.key_place(key), message);
        }
        Some(first)
    }

    /// The value of a key that may be missing. `null` counts as missing.
    pub fn optional(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        let (_, value) = self.entries.iter().find(|(name, _)| text_of(name) == Some(key))?;
        (value.value != Value::Null).then_some(value)
    }

    /// The value of a key that must be there.
    pub fn required(&mut self, key: &'static str, problems: &mut Problems) -> Option<&'a Node> {
        let found = self.optional(key);
        if found.is_none() {
            problems.error(self.place, format!("{} has no `{key}`", self.what));
        }
        found
    }

    /// Notes each key that nobody asked for, with the nearest one that exists.
    pub fn finish(self, problems: &mut Problems) {
        for (name, _) in self.entries {
            match text_of(name) {
                Some(text) if self.asked.contains(&text) => {}
                Some(text) => {
                    let near = crate::name::nearest(text, self.asked.iter().copied());
                    let hint = if near.is_empty() {
                        format!("expected one of {}", self.asked.join(", "))
                    } else {
                        format!("did you mean `{}`?", near.join("` or `"))
                    };
                    problems.error(name.place, format!("unknown key `{text}` in {}: {hint}", self.what));
                }
                None => problems.error(name.place, format!("expected a plain key in {}", self.what)),
            }
        }
    }
}

fn text_of(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

/// The text at this node.
pub fn text<'a>(node: &'a Node, problems: &mut Problems) -> Option<&'a str> {
    let found = text_of(node);
    if found.is_none() {
        problems.error(node.place, format!("expected a text, not {}", node.value.kind()));
    }
    found
}

/// The number at this node.
pub fn number(node: &Node, problems: &mut Problems) -> Option<f64> {
    let written = text(node, problems)?;
    match written.parse::<f64>() {
        Ok(value) if value.is_finite() => Some(value),
        Ok(_) | Err(_) => {
            problems.error(node.place, format!("expected a number, not {written:?}"));
            None
        }
    }
}

/// The whole number at this node.
pub fn count(node: &Node, problems: &mut Problems) -> Option<usize> {
    let written = text(node, problems)?;
    problems.take(node.place, written.parse().map_err(|_| format!("expected a whole number, not {written:?}")))
}

/// `true` or `false` at this node.
pub fn boolean(node: &Node, problems: &mut Problems) -> Option<bool> {
    match (&node.value, text_of(node)) {
        (Value::Scalar { quoted: false, .. }, Some("true")) => Some(true),
        (Value::Scalar { quoted: false, .. }, Some("false")) => Some(false),
        (_, written) => {
            let written = written.unwrap_or_else(|| node.value.kind());
            problems.error(node.place, format!("expected true or false, not {written:?}"));
            None
        }
    }
}

/// One of a closed set of words at this node.
pub fn choice<T: Copy>(node: &Node, words: &[(&str, T)], problems: &mut Problems) -> Option<T> {
    let written = text(node, problems)?;
    let found = words.iter().find(|(word, _)| *word == written).map(|(_, meaning)| *meaning);
    if found.is_none() {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        problems.error(node.place, format!("expected {}, not {written:?}", words.join(" or ")));
    }
    found
}

/// The `http://` or `https://` address at this node. A name or password in it is a mistake: secrets come from files.
pub fn web_address<'a>(node: &'a Node, problems: &mut Problems) -> Option<&'a str> {
    let written = text(node, problems)?;
    let rest = written.strip_prefix("http://").or_else(|| written.strip_prefix("https://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    if host.contains('@') {
        let message = "a name or password does not belong in an address: it comes from a file";
        problems.error_about_secret(node.place, message);
        return None;
    }
    if host.is_empty() || written.contains(char::is_whitespace) {
        problems.error(node.place, "expected an address such as http://127.0.0.1:8080/healthz");
        return None;
    }
    Some(written)
}

/// The duration at this node, which must lie between two others.
pub fn duration_within(
    node: &Node,
    least: std::time::Duration,
    most: std::time::Duration,
    problems: &mut Problems,
) -> Option<std::time::Duration> {
    use crate::time::show_duration;
    let found = duration(node, problems)?;
    if (least..=most).contains(&found) {
        return Some(found);
    }
    let (least, most) = (show_duration(least), show_duration(most));
    problems.error(node.place, format!("expected {least} to {most}, not {}", show_duration(found)));
    None
}

/// The duration at this node.
pub fn duration(node: &Node, problems: &mut Problems) -> Option<std::time::Duration> {
    let written = text(node, problems)?;
    problems.take(node.place, crate::time::parse_duration(written))
}

/// The nodes of the list at this node.
pub fn list<'a>(node: &'a Node, what: &str, problems: &mut Problems) -> &'a [Node] {
    if let Value::List(items) = &node.value {
        return items;
    }
    problems.error(node.place, format!("expected a list of {what}, not {}", node.value.kind()));
    &[]
}

/// The keys and values of the mapping at this node, where any key may stand.
pub fn entries<'a>(node: &'a Node, what: &str, problems: &mut Problems) -> Vec<(&'a str, Place, &'a Node)> {
    let Value::Map(entries) = &node.value else {
        problems.error(node.place, format!("expected {what} as a mapping (`key: value`), not {}", node.value.kind()));
        return Vec::new();
    };
    entries.iter().filter_map(|(name, value)| Some((text(name, problems)?, name.place, value))).collect()
}

/// The template at this node.
pub fn template(node: &Node, problems: &mut Problems) -> Option<crate::template::Template> {
    let written = text(node, problems)?;
    problems.take(node.place, crate::template::Template::parse(written))
}
