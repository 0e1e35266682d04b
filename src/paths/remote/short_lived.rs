//! A token that a platform issued for a while, kept for as long as it may be used.
//!
//! Never shown, and never kept on disk.

use std::time::Duration;

use rollbackd_core::time::Timestamp;
use secrecy::SecretString;

/// How long before its end a token is not used any more: longer than a request takes, and than clocks differ.
const MARGIN: Duration = Duration::from_secs(60);

/// A token, and until when it may be used.
#[derive(Clone, Debug)]
pub(crate) struct ShortLived {
    token: SecretString,
    until: Timestamp,
}

impl ShortLived {
    /// A token that is valid up to this instant.
    pub(crate) const fn new(token: SecretString, until: Timestamp) -> Self {
        Self { token, until }
    }

    /// The token, where it may be used for a request that is sent now.
    pub(crate) fn at(&self, now: Timestamp) -> Option<&SecretString> {
        (now + MARGIN < self.until).then_some(&self.token)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_token_is_used_until_a_minute_before_its_end_and_shows_itself_nowhere() {
        let start = Timestamp::from_milliseconds(1_000_000_000);
        let kept = ShortLived::new(SecretString::from("ya29.secret"), start + Duration::from_secs(600));
        let used = |after: u64| kept.at(start + Duration::from_secs(after)).map(ExposeSecret::expose_secret);
        assert_eq!(used(0), Some("ya29.secret"));
        assert_eq!(used(539), Some("ya29.secret"));
        assert_eq!(used(540), None);
        assert!(!format!("{kept:?}").contains("ya29"));
    }
}
