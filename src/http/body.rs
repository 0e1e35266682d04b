//! A JSON body, read strictly: every mistake names its place or its field.
//!
//! Never guesses: an unknown, repeated or wrongly typed field is refused.

use std::fmt::{self, Display};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use rollbackd_core::name::nearest;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::problem::{Kind, Problem, quoted};

/// A body of 1 MiB takes a second on a bad line; whoever needs more than this holds a connection for nothing.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a human writes: a note, a reason. It ends up in pages and receipts.
const LONGEST_TEXT_BYTES: usize = 4096;

/// The fields of a JSON object.
#[derive(Debug)]
pub(super) struct Fields(Vec<(String, Value)>);

/// What a member of a JSON object is called, as far as it is shown.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
                let mut members: Vec<(String, Value)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if members.iter().any(|(known, _)| known == &name) {
                        let name = quoted(&name);
                        return Err(serde::de::Error::custom(format_args!("field {name:?} is there twice")));
                    }
                    members.push((name, map.next_value()?));
                    // No route knows as many fields; a body of 1 MiB could hold 200,000, each compared with all before.
                    if members.len() > 64 {
                        return Err(serde::de::Error::custom("expected at most 64 fields"));
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl Fields {
    /// Reads the body of a request whose fields are these. An empty body is an object without fields.
    ///
    /// The media type must be JSON even then: a form of a web page can't send that without asking first.
    pub(super) async fn read(request: Request, known: &[&'static str]) -> Result<Self, Problem> {
        Self::parse(&whole(request).await?, known)
    }

    fn parse(bytes: &[u8], known: &[&'static str]) -> Result<Self, Problem> {
        if bytes.is_empty() {
            return Ok(Self(Vec::new()));
        }
        // serde_json says "at line L column C" itself.
        let Members(members) = serde_json::from_slice(bytes).map_err(|error| {
            Problem::new(Kind::NotJson, format!("the body can't be read as a JSON object: {error}"))
        })?;
        match members.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(unknown_field(name, known)),
            None => Ok(Self(members)),
        }
    }

    /// The value of a field; `null` is the same as not there.
    pub(super) fn take(&mut self, field: &str) -> Option<Value> {
        let place = self.0.iter().position(|(name, _)| name == field)?;
        Some(self.0.swap_remove(place).1).filter(|value| !value.is_null())
    }

    /// A text that may be there.
    pub(super) fn optional<T, E: Display>(
        &mut self,
        field: &str,
        parse: impl FnOnce(String) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => {
                parse(text).map(Some).map_err(|why| Problem::field(field, shortened(&why.to_string())))
            }
            Some(other) => Err(wrong_type(field, "a string", &other)),
        }
    }

    /// A text that must be there.
    pub(super) fn required<T, E: Display>(
        &mut self,
        field: &str,
        parse: impl FnOnce(String) -> Result<T, E>,
    ) -> Result<T, Problem> {
        let missing = || Problem::field(field, format!("field {field:?} is missing"));
        self.optional(field, parse)?.ok_or_else(missing)
    }
}

/// The whole body of a request that says that it is JSON.
pub(super) async fn whole(request: Request) -> Result<Bytes, Problem> {
    whole_of(&["application/json"], request).await
}

/// The whole body of a request of one of these media types, which no form of a web page can have.
pub(super) async fn whole_of(media_types: &[&str], request: Request) -> Result<Bytes, Problem> {
    says_json(media_types, request.headers())?;
    match tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, &())).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(Problem::new(Kind::TooLarge, "the body is larger than 1 MiB"))
        }
        Ok(Err(_)) => Err(Problem::new(Kind::BodyNotRead, "the body could not be read to its end")),
        Err(_) => Err(Problem::new(Kind::TooSlow, format!("the body did not arrive within {BODY_TIMEOUT:?}"))),
    }
}

/// The media type of a body, without its parameters.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    said.split(';').next().unwrap_or_default().trim()
}

fn says_json(media_types: &[&str], headers: &HeaderMap) -> Result<(), Problem> {
    let said = media_type(headers);
    if media_types.iter().any(|media_type| said.eq_ignore_ascii_case(media_type)) {
        return Ok(());
    }
    let detail = "send `Content-Type: application/json` with every POST, also with one that has no body, so that no \
                  form of a web page can pass for you";
    Err(Problem::new(Kind::WrongMediaType, detail))
}

fn unknown_field(name: &str, known: &[&'static str]) -> Problem {
    let expected = if known.is_empty() { "no field".to_owned() } else { known.join(", ") };
    let name = quoted(name);
    Problem::field(&name, format!("unknown field {name:?}: expected {expected}"))
        .did_you_mean(nearest(&name, known.iter().copied()))
}

/// That a field's value is of another type than expected.
pub(super) fn wrong_type(field: &str, expected: &str, found: &Value) -> Problem {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "another string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Problem::field(field, format!("field {field:?} must be {expected}, not {found}"))
}

/// An error's text repeats what was sent; what was sent may be 1 MiB.
pub(super) fn shortened(why: &str) -> String {
    match why.char_indices().nth(512) {
        Some((end, _)) => format!("{}…", why.get(..end).unwrap_or_default()),
        None => why.to_owned(),
    }
}

/// What a human wrote, bounded, without characters that would do something to a terminal.
pub(super) fn human_text(text: String) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("expected some words, not an empty text".to_owned());
    }
    if text.len() > LONGEST_TEXT_BYTES {
        return Err(format!("expected at most {LONGEST_TEXT_BYTES} bytes, not {}", text.len()));
    }
    if text.chars().any(|each| each.is_control() && !matches!(each, '\n' | '\t')) {
        return Err("expected text without control characters other than newline and tab".to_owned());
    }
    Ok(text)
}
