//! A webhook's own body: a tree of the config whose texts may name what a page holds.
//!
//! Never names anything else.

use rollbackd_core::config::node::{Node, Problems};
use rollbackd_core::page::Page;
use rollbackd_core::template::{Names, Text};

use super::firing_url;
use crate::json_body::JsonBody;

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
pub(super) struct Body(JsonBody<Text<Fact>>);

impl Body {
    /// Reads a mapping or a list.
    pub(super) fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut read =
            |node: &Node, text: &str, _at: &str, problems: &mut Problems| problems.take(node.place, Text::parse(text));
        JsonBody::decode(node, &mut read, problems).map(Self)
    }

    /// The body for this page.
    pub(super) fn render(&self, page: &Page, external_url: Option<&str>) -> serde_json::Value {
        let value = |fact: Fact| fact.of(page, external_url);
        self.0.render(&|text| match text.sole() {
            Some(fact) => value(fact).into(),
            None => filled(text, &value).into(),
        })
    }
}

/// Among other words, what is not there is no word.
fn filled(text: &Text<Fact>, value: &impl Fn(Fact) -> Option<String>) -> String {
    let filled: Result<String, std::convert::Infallible> = text.fill(|fact| Ok(value(fact).unwrap_or_default()));
    filled.unwrap_or_else(|never| match never {})
}
