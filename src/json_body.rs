//! A JSON body as the config writes it: a tree in which only texts have places for values.
//!
//! Never joins texts to JSON: values go into the tree, and the tree is written out, so no value can end a text.

use rollbackd_core::config::node::{Node, Problems, Value};

/// A body whose texts are read by its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JsonBody<T> {
    /// Always the same: a number, `true`, `false`, nothing.
    Fixed(serde_json::Value),
    /// A text.
    Text(T),
    /// A list.
    List(Vec<Self>),
    /// A mapping, its keys as they were written.
    Map(Vec<(String, Self)>),
}

/// What reads a text of a body: its node, the text, and the keys and positions that lead there (`.params.0`).
pub(crate) type ReadText<'a, T> = dyn FnMut(&Node, &str, &str, &mut Problems) -> Option<T> + 'a;

impl<T> JsonBody<T> {
    /// Reads a mapping or a list. Notes the mistakes of all of its parts, not of the first alone.
    pub(crate) fn decode(node: &Node, read: &mut ReadText<'_, T>, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::Map(_) | Value::List(_) => part(node, "", read, problems),
            Value::Null | Value::Scalar { .. } => {
                let message = "expected the body as a mapping or a list, not as one text: it is sent as JSON, with \
                               every value escaped";
                problems.error(node.place, message);
                None
            }
        }
    }

    /// The body with these values for its texts.
    pub(crate) fn render(&self, value: &impl Fn(&T) -> serde_json::Value) -> serde_json::Value {
        match self {
            Self::Fixed(fixed) => fixed.clone(),
            Self::Text(text) => value(text),
            Self::List(parts) => parts.iter().map(|part| part.render(value)).collect(),
            Self::Map(parts) => parts.iter().map(|(key, part)| (key.clone(), part.render(value))).collect(),
        }
    }
}

fn part<T>(node: &Node, at: &str, read: &mut ReadText<'_, T>, problems: &mut Problems) -> Option<JsonBody<T>> {
    match &node.value {
        Value::Null => Some(JsonBody::Fixed(serde_json::Value::Null)),
        Value::Scalar { text, quoted } => match constant(text, *quoted) {
            Some(fixed) => Some(JsonBody::Fixed(fixed)),
            None => read(node, text, at, problems).map(JsonBody::Text),
        },
        Value::List(nodes) => {
            let items = nodes.iter().enumerate();
            let parts: Vec<_> =
                items.map(|(at_item, node)| part(node, &format!("{at}.{at_item}"), read, problems)).collect();
            parts.into_iter().collect::<Option<Vec<_>>>().map(JsonBody::List)
        }
        Value::Map(entries) => {
            let parts: Vec<_> = entries.iter().map(|(name, node)| entry(name, node, at, read, problems)).collect();
            parts.into_iter().collect::<Option<Vec<_>>>().map(JsonBody::Map)
        }
    }
}

fn entry<T>(
    name: &Node,
    node: &Node,
    at: &str,
    read: &mut ReadText<'_, T>,
    problems: &mut Problems,
) -> Option<(String, JsonBody<T>)> {
    let Value::Scalar { text, .. } = &name.value else {
        problems.error(name.place, "expected a plain key in the body");
        return None;
    };
    let found = part(node, &format!("{at}.{text}"), read, problems);
    if text.contains("{{") {
        problems.error(name.place, "expected a plain key in the body: only values are filled in");
        return None;
    }
    Some((text.clone(), found?))
}

/// In quotes it is a text; without them a number, `true` and `false` are what JSON says they are.
fn constant(text: &str, quoted: bool) -> Option<serde_json::Value> {
    let plain = if quoted { None } else { serde_json::from_str::<serde_json::Value>(text).ok() };
    plain.filter(|plain| plain.is_boolean() || plain.is_number())
}
