//! Names that may travel: into queries, commands, file names and pages. Checked once, here, then trusted.
//!
//! Never holds a character that a shell, PromQL, HTML or a path gives a meaning to, but for those that versions need.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use smol_str::SmolStr;

/// A text that may not be used as a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not allowed: expected {expected}")]
pub struct NotAName {
    kind: &'static str,
    text: String,
    expected: &'static str,
}

/// The longest a name other than a version may be: it becomes part of a file name and of a Prometheus label.
const LONGEST_NAME: usize = 63;

fn is_name(text: &str) -> bool {
    text.len() <= LONGEST_NAME
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|each| each.is_ascii_alphanumeric() || matches!(each, '.' | '_' | '-'))
}

/// Design, R14: `[A-Za-z0-9][A-Za-z0-9._+:@/-]{0,127}`.
fn is_version(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|each| each.is_ascii_alphanumeric() || matches!(each, '.' | '_' | '+' | ':' | '@' | '/' | '-'))
}

fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|each| each.is_ascii_alphanumeric() || matches!(each, '.' | '_' | '-'))
}

macro_rules! checked_text {
    ($(#[$documentation:meta])* $name:ident, $kind:literal, $check:path, $expected:literal) => {
        $(#[$documentation])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        // A fleet has hundreds of thousands of them, most of them copies: a short one is in its place, a long one is shared.
        pub struct $name(SmolStr);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl $name {
            /// Checks the text.
            ///
            /// # Errors
            /// The text has a character that the rule does not allow, or is too long.
            pub fn new(text: impl Into<String>) -> Result<Self, NotAName> {
                let text = text.into();
                if $check(&text) {
                    Ok(Self(text.into()))
                } else {
                    Err(NotAName { kind: $kind, text, expected: $expected })
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAName;
            fn try_from(text: String) -> Result<Self, NotAName> {
                Self::new(text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

checked_text!(
    /// The name of a service, of the config's.
    ServiceName, "service name", is_name, "a letter or digit, then at most 62 of A-Z a-z 0-9 . _ -"
);
checked_text!(
    /// The name of a trigger, of the config's.
    TriggerName, "trigger name", is_name, "a letter or digit, then at most 62 of A-Z a-z 0-9 . _ -"
);
checked_text!(
    /// The name of a rollback path, of the config's.
    PathName, "path name", is_name, "a letter or digit, then at most 62 of A-Z a-z 0-9 . _ -"
);
checked_text!(
    /// The name of a pager, of the config's.
    PagerName, "pager name", is_name, "a letter or digit, then at most 62 of A-Z a-z 0-9 . _ -"
);
checked_text!(
    /// The name of an announcer, of the config's.
    AnnouncerName, "announcer name", is_name, "a letter or digit, then at most 62 of A-Z a-z 0-9 . _ -"
);
checked_text!(
    /// An image tag, a digest or a release (design, R14).
    Version, "version", is_version, "a letter or digit, then at most 127 of A-Z a-z 0-9 . _ + : @ / -"
);
checked_text!(
    /// A commit, as the deploy event names it.
    Commit, "commit", is_id, "a letter or digit, then at most 127 of A-Z a-z 0-9 . _ -"
);
checked_text!(
    /// One deploy: `SERVICE-d-INSTANT-N`, made when it is recorded.
    DeployId, "deploy id", is_id, "a letter or digit, then at most 127 of A-Z a-z 0-9 . _ -"
);
checked_text!(
    /// One firing: `SERVICE-f-INSTANT-N`. It is also the correlation id and the dedup key that leave the house.
    FiringId, "firing id", is_id, "a letter or digit, then at most 127 of A-Z a-z 0-9 . _ -"
);
checked_text!(
    /// One run of a path: the id of the firing (or of the rehearsal), then `-aN`.
    AttemptId, "attempt id", is_id, "a letter or digit, then at most 127 of A-Z a-z 0-9 . _ -"
);
checked_text!(
    /// One page: what it is about, then why; its dedup key.
    PageId, "page id", is_id, "a letter or digit, then at most 127 of A-Z a-z 0-9 . _ -"
);

checked_text!(
    /// One rehearsal: `SERVICE-r-INSTANT-N`. It is the correlation id of what deploys the bad version.
    RehearsalId, "rehearsal id", is_id, "a letter or digit, then at most 127 of A-Z a-z 0-9 . _ -"
);

impl PageId {
    /// An id out of checked parts; what is over the longest length is cut from the front, since the end tells the
    /// instant, the number and the reason.
    pub(crate) fn shortened(text: &str) -> Self {
        let surplus = text.len().saturating_sub(128);
        let kept = text.get(surplus..).unwrap_or(text).trim_start_matches(|first: char| !first.is_ascii_alphanumeric());
        Self(kept.into())
    }
}

/// The names nearest to what was asked for, best first, three at most: for "did you mean". One that is not near is worse
/// than none, as somebody may take it.
#[must_use]
pub fn nearest<'a>(asked: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    /// A letter left out, doubled, swapped or wrong, or the beginning alone, is above it; another word is below.
    const NEAR: f64 = 0.8;
    let asked = asked.to_lowercase();
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&asked, &name.to_lowercase()), name))
        .filter(|(score, _)| *score > NEAR)
        .collect();
    scored.sort_by(|left, right| right.0.total_cmp(&left.0).then_with(|| left.1.cmp(right.1)));
    scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_what_the_design_says() {
        for good in ["v1.2.3", "ghcr.io/acme/shop@sha256:ab12", "1", "2026-11-23_a+b"] {
            assert!(Version::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-rf", "v1;reboot", "v 1", "$(id)", "v1\n", "../x\0", "{{x}}", "<b>", &"a".repeat(129)] {
            assert!(Version::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_service_name_is_no_way_out_of_a_folder() {
        for bad in ["../etc", "a/b", "..", ".hidden", "", "a\"b"] {
            assert!(ServiceName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_nearest_names_come_first() {
        assert_eq!(nearest("capstone-ap", ["billing", "capstone-api"]), vec!["capstone-api"]);
        for near in ["capstone", "cpastone-api", "capstoneapi", "Capstone-API", "capstone-pai"] {
            assert_eq!(nearest(near, ["billing", "capstone-api"]), vec!["capstone-api"], "{near}");
        }
        for other in ["zzz", "payments", "checkout", "user", "prod"] {
            assert!(nearest(other, ["billing", "capstone-api"]).is_empty(), "{other}");
        }
        for (asked, other) in [("paths", "pages"), ("above", "below"), ("v3", "v2"), ("/status", "/v1/services")] {
            assert!(nearest(asked, [other]).is_empty(), "{asked}");
        }
    }
}
