//! What the config expects of an answer: values at places of its JSON.
//!
//! Never guesses: where nothing stands at the place, nothing is known.

use reqwest::StatusCode;
use rollbackd_core::config::node::{self, Fields, Node, Problems};
use serde_json::Value;

use crate::http_client::one_line;
use crate::paths::remote::api::Answer;

/// The longest value that is taken for a handle or a receipt: an id, or a path on the server.
pub(super) const LONGEST_HANDLE: usize = 512;

/// A place in JSON, as in RFC 6901.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer(String);

impl Pointer {
    pub(super) fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let written = node::text(node, problems)?;
        if !written.starts_with('/') {
            problems.error(node.place, format!("expected a JSON pointer such as /state, not {written:?}"));
            return None;
        }
        Some(Self(written.to_owned()))
    }

    /// The text, number or boolean there, as a text.
    pub(super) fn read(&self, json: &Value) -> Option<String> {
        match json.pointer(&self.0)? {
            Value::String(text) => Some(text.clone()),
            value @ (Value::Bool(_) | Value::Number(_)) => Some(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// What stands there, where it can be an id: not empty, not long, without control characters.
    pub(super) fn id(&self, json: &Value) -> Option<String> {
        let usable = |id: &String| !id.is_empty() && id.len() <= LONGEST_HANDLE && !id.contains(char::is_control);
        self.read(json).filter(usable)
    }
}

impl std::fmt::Display for Pointer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A place, and the values of which one has to stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pointer: Pointer,
    is: Vec<String>,
}

impl Condition {
    /// Reads `{pointer: /state, is: [done]}`. `what` names it in messages.
    pub(super) fn decode(node: &Node, what: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, what, problems)?;
        let pointer = fields.required("pointer", problems).and_then(|node| Pointer::decode(node, problems));
        let is = fields.required("is", problems).map(|node| values(node, problems));
        fields.finish(problems);
        Some(Self { pointer: pointer?, is: is? })
    }

    /// What stands at its place.
    pub(super) fn read(&self, json: &Value) -> Option<String> {
        self.pointer.read(json)
    }

    /// Whether one of its values stands there: then what is seen, for sentences.
    pub(super) fn met(&self, json: &Value) -> Option<String> {
        let seen = self.read(json).filter(|seen| self.is.contains(seen))?;
        Some(self.sentence(&seen))
    }

    /// A value that this and the other one take at the same place.
    pub(super) fn shares(&self, other: &Self) -> Option<&str> {
        let both = self.is.iter().find(|value| self.pointer == other.pointer && other.is.contains(value));
        both.map(String::as_str)
    }

    fn sentence(&self, seen: &str) -> String {
        format!("{} is {:?}", self.pointer, one_line(seen))
    }
}

fn values(node: &Node, problems: &mut Problems) -> Vec<String> {
    let items = node::list(node, "values", problems);
    let values: Vec<String> = items.iter().filter_map(|item| node::text(item, problems).map(str::to_owned)).collect();
    if items.is_empty() {
        problems.error(node.place, "expected at least one value, such as [done]");
    }
    values
}

/// What an answer has to be, so that the request was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Success {
    /// Any from 200 to 299 where there is none.
    statuses: Vec<StatusCode>,
    json: Option<Condition>,
}

/// Whether an answer of a status from 200 to 299 says that the request was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It does.
    Yes,
    /// It says that it was not. What it says.
    No(String),
    /// It can't be told. Why.
    Unclear(String),
}

impl Success {
    /// Reads `{status: [200, 202], json: {pointer: /state, is: [accepted]}}`.
    pub(super) fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`success`", problems)?;
        let statuses = fields.optional("status").map(|node| statuses(node, problems)).unwrap_or_default();
        let json = fields.optional("json").map(|node| Condition::decode(node, "`success.json`", problems));
        fields.finish(problems);
        let json = json.map_or(Some(None), |json| json.map(Some))?;
        Some(Self { statuses, json })
    }

    /// What this answer, of a status from 200 to 299, says.
    pub(super) fn of(&self, answer: &Answer) -> Taken {
        if !self.statuses.is_empty() && !self.statuses.contains(&answer.status) {
            return Taken::No(format!("it answered {}, which is no `success.status`", answer.status.as_u16()));
        }
        let Some(condition) = &self.json else { return Taken::Yes };
        match answer.json::<Value>().map(|json| condition.read(&json)) {
            Ok(Some(seen)) if condition.is.contains(&seen) => Taken::Yes,
            Ok(Some(seen)) => {
                Taken::No(format!("it answered {}, and {}", answer.status.as_u16(), condition.sentence(&seen)))
            }
            Ok(None) => Taken::Unclear(format!("its answer has nothing at {}", condition.pointer)),
            Err(why) => Taken::Unclear(why),
        }
    }
}

fn statuses(node: &Node, problems: &mut Problems) -> Vec<StatusCode> {
    let mut found = Vec::new();
    for item in node::list(node, "statuses", problems) {
        let Some(number) = node::count(item, problems) else { continue };
        let status = u16::try_from(number).ok().and_then(|number| StatusCode::from_u16(number).ok());
        match status.filter(StatusCode::is_success) {
            Some(status) => found.push(status),
            None => problems.error(item.place, format!("expected a status from 200 to 299, not {number}")),
        }
    }
    found
}
