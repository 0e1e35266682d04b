//! Problem details (RFC 9457): the one form of every error of the API.
//!
//! Never holds a token, nor more of what a client sent than it takes to find the mistake.

use std::fmt::Display;

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The longest piece of what a client sent that an error shows again.
const LONGEST_QUOTE: usize = 128;

/// What kind of problem it is. Programs tell problems apart by `type`, which is made of the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The body is no JSON object.
    NotJson,
    /// The body did not arrive.
    BodyNotRead,
    /// The head can be read in two ways.
    Ambiguous,
    /// No token, or none that is known.
    Unauthorized,
    /// The signature does not prove who sent it.
    NotProven,
    /// The token's scopes don't reach.
    MissingScope,
    /// A name that the browser's page chose leads here.
    ForeignHost,
    /// No such route.
    UnknownRoute,
    /// The config has no such source of events.
    NotConfigured,
    /// No such service, trigger, path, version or firing.
    UnknownName,
    /// The route has no such method.
    MethodNotAllowed,
    /// The body came too slowly.
    TooSlow,
    /// It's too late, or not possible now.
    Conflict,
    /// The body is too large.
    TooLarge,
    /// The body does not say that it is JSON.
    WrongMediaType,
    /// A field is missing, unknown, or has a value that can't be.
    InvalidField,
    /// An event about a service of the config says something that can't be.
    InvalidEvent,
    /// A mistake in this program.
    Internal,
    /// Nothing can be made durable.
    JournalNotWritable,
    /// The daemon is not ready, is stopping, or did not answer in time.
    Unavailable,
}

impl Kind {
    /// Status code, the word in `type`, and title.
    const fn about(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotJson => (StatusCode::BAD_REQUEST, "not-json", "The body is not a JSON object"),
            Self::BodyNotRead => (StatusCode::BAD_REQUEST, "body-not-read", "The body did not arrive"),
            Self::Ambiguous => (StatusCode::BAD_REQUEST, "ambiguous", "The request can be read in two ways"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "A known token is needed"),
            Self::NotProven => (StatusCode::UNAUTHORIZED, "not-proven", "The sender is not proven"),
            Self::MissingScope => (StatusCode::FORBIDDEN, "missing-scope", "The token lacks a scope"),
            Self::ForeignHost => (StatusCode::FORBIDDEN, "foreign-host", "The host is not this machine"),
            Self::UnknownRoute => (StatusCode::NOT_FOUND, "unknown-route", "There is no such route"),
            Self::NotConfigured => (StatusCode::NOT_FOUND, "not-configured", "There is no such source of events"),
            Self::UnknownName => (StatusCode::NOT_FOUND, "unknown-name", "There is nothing of that name"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The route has no such method")
            }
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too-slow", "The body came too slowly"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "Not possible now"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::WrongMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong-media-type", "The body must be JSON"),
            Self::InvalidField => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-field", "A field can't be used"),
            Self::InvalidEvent => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-event", "The event can't be used"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "A mistake in rollbackd"),
            Self::JournalNotWritable => {
                (StatusCode::SERVICE_UNAVAILABLE, "journal-not-writable", "The journal can't be written")
            }
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now"),
        }
    }
}

/// One problem, as it is told.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    field: Option<String>,
    nearest: Vec<String>,
    headers: Vec<(header::HeaderName, &'static str)>,
}

#[derive(Serialize)]
struct Details<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    nearest: &'a [String],
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Display) -> Self {
        Self { kind, detail: detail.to_string(), field: None, nearest: Vec::new(), headers: Vec::new() }
    }

    /// A field that can't be used.
    pub(crate) fn field(field: &str, detail: impl Display) -> Self {
        Self::new(Kind::InvalidField, detail).about_field(field)
    }

    /// Names the field that it is about.
    pub(crate) fn about_field(mut self, field: &str) -> Self {
        self.field = Some(quoted(field));
        self
    }

    /// Adds the names that may have been meant.
    pub(crate) fn did_you_mean(mut self, nearest: Vec<String>) -> Self {
        self.nearest = nearest;
        self
    }

    /// Adds a header to the answer.
    pub(crate) fn with_header(mut self, name: header::HeaderName, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// As much of what a client sent as an error may show.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, word, title) = self.kind.about();
        let body = Json(Details {
            r#type: format!("urn:rollbackd:problem:{word}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            field: self.field.as_deref(),
            nearest: &self.nearest,
        });
        let mut headers: HeaderMap =
            self.headers.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        (status, headers, body).into_response()
    }
}
