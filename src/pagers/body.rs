//! A webhook's own body: a tree of the config whose texts may name what a page holds.
//!
//! Never joins texts to JSON: values go into the tree, and the tree is written out, so nothing in a page can end a text.

use rollbackd_core::config::node::{Node, Problems, Value};
use rollbackd_core::page::Page;
use rollbackd_core::template::{Names, Text};

use super::firing_url;

/// What a body may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    Id,
    Status,
    Reason,
    Summary,
    Details,
    Service,
    Trigger,
    Firing,
    Deploy,
    Version,
    OpenedAt,
    ResolvedAt,
    Url,
}

impl Names for Fact {
    const ALL: &'static [Self] = &[
        Self::Id,
        Self::Status,
        Self::Reason,
        Self::Summary,
        Self::Details,
        Self::Service,
        Self::Trigger,
        Self::Firing,
        Self::Deploy,
        Self::Version,
        Self::OpenedAt,
        Self::ResolvedAt,
        Self::Url,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Id => "page.id",
            Self::Status => "page.status",
            Self::Reason => "page.reason",
            Self::Summary => "page.summary",
            Self::Details => "page.details",
            Self::Service => "page.service",
            Self::Trigger => "page.trigger",
            Self::Firing => "page.firing",
            Self::Deploy => "page.deploy",
            Self::Version => "page.version",
            Self::OpenedAt => "page.opened_at",
            Self::ResolvedAt => "page.resolved_at",
            Self::Url => "page.url",
        }
    }
}

impl Fact {
    /// `None` where the page is about none, or is not over.
    fn of(self, page: &Page, external_url: Option<&str>) -> Option<String> {
        match self {
            Self::Id => Some(page.id.to_string()),
            Self::Status => Some(super::status(page).to_owned()),
            Self::Reason => Some(page.reason.word().to_owned()),
            Self::Summary => Some(page.summary.clone()),
            Self::Details => Some(page.details.join("\n")),
            Self::Service => Some(page.service.to_string()),
            Self::Trigger => page.trigger.as_ref().map(ToString::to_string),
            Self::Firing => page.firing.as_ref().map(ToString::to_string),
            Self::Deploy => page.deploy.as_ref().map(ToString::to_string),
            Self::Version => page.version.as_ref().map(ToString::to_string),
            Self::OpenedAt => Some(page.opened_at.to_string()),
            Self::ResolvedAt => page.resolved_at.as_ref().map(ToString::to_string),
            Self::Url => firing_url(external_url, page, ""),
        }
    }
}

/// A body with places for what a page holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Body(Part);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// The same for each page.
    Fixed(serde_json::Value),
    Text(Text<Fact>),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl Body {
    /// Reads a mapping or a list.
    pub(super) fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::Map(_) | Value::List(_) => part(node, problems).map(Self),
            Value::Null | Value::Scalar { .. } => {
                let message = "expected the body as a mapping or a list, not as one text: it is sent as JSON, with \
                               every value escaped";
                problems.error(node.place, message);
                None
            }
        }
    }

    /// The body for this page.
    pub(super) fn render(&self, page: &Page, external_url: Option<&str>) -> serde_json::Value {
        self.0.render(&|fact| fact.of(page, external_url))
    }
}

impl Part {
    fn render(&self, value: &impl Fn(Fact) -> Option<String>) -> serde_json::Value {
        match self {
            Self::Fixed(fixed) => fixed.clone(),
            Self::Text(text) => match text.sole() {
                Some(fact) => value(fact).into(),
                None => filled(text, value).into(),
            },
            Self::List(parts) => parts.iter().map(|part| part.render(value)).collect(),
            Self::Map(parts) => parts.iter().map(|(key, part)| (key.clone(), part.render(value))).collect(),
        }
    }
}

/// Among other words, what is not there is no word.
fn filled(text: &Text<Fact>, value: &impl Fn(Fact) -> Option<String>) -> String {
    let filled: Result<String, std::convert::Infallible> = text.fill(|fact| Ok(value(fact).unwrap_or_default()));
    filled.unwrap_or_else(|never| match never {})
}

/// The mistakes of all of its parts, not of the first alone.
fn part(node: &Node, problems: &mut Problems) -> Option<Part> {
    match &node.value {
        Value::Null => Some(Part::Fixed(serde_json::Value::Null)),
        Value::Scalar { text, quoted } => scalar(node, text, *quoted, problems),
        Value::List(nodes) => {
            let parts: Vec<Option<Part>> = nodes.iter().map(|node| part(node, problems)).collect();
            parts.into_iter().collect::<Option<Vec<Part>>>().map(Part::List)
        }
        Value::Map(entries) => {
            let parts: Vec<_> = entries.iter().map(|(name, node)| entry(name, node, problems)).collect();
            parts.into_iter().collect::<Option<Vec<(String, Part)>>>().map(Part::Map)
        }
    }
}

fn entry(name: &Node, node: &Node, problems: &mut Problems) -> Option<(String, Part)> {
    let found = part(node, problems);
    let Value::Scalar { text, .. } = &name.value else {
        problems.error(name.place, "expected a plain key in the body");
        return None;
    };
    if text.contains("{{") {
        problems.error(name.place, "expected a plain key in the body: only values are filled in");
        return None;
    }
    Some((text.clone(), found?))
}

/// In quotes it is a text; without them a number, `true` and `false` are what JSON says they are.
fn scalar(node: &Node, text: &str, quoted: bool, problems: &mut Problems) -> Option<Part> {
    let plain = if quoted { None } else { serde_json::from_str::<serde_json::Value>(text).ok() };
    match plain {
        Some(fixed @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_))) => Some(Part::Fixed(fixed)),
        Some(_) | None => problems.take(node.place, Text::parse(text)).map(Part::Text),
    }
}
