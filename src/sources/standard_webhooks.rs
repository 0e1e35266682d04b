//! Signatures as the specification "Standard Webhooks" has them, `v1`: HMAC-SHA256 over the id, the instant and the body.
//!
//! Never takes a delivery's id for the event's identity: a sender makes a new one as it likes.
//!
//! Source: standard-webhooks/standard-webhooks, spec/standard-webhooks.md, "Webhook headers" and "Signature scheme".

use std::time::Duration;

use aws_lc_rs::hmac;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rollbackd_core::time::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::{Choice, ConstantTimeEq as _};

use super::Denied;

const ID: &str = "webhook-id";
const SENT_AT: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

/// How old or early a delivery may be: what the specification's own libraries allow.
const TOLERANCE: Duration = Duration::from_secs(300);

/// What a secret's text begins with, before the base64 of the key.
const SECRET_PREFIX: &str = "whsec_";

const EXPECTED: &str = "expected one header each of `webhook-id`, `webhook-timestamp` and `webhook-signature: v1,` with \
                        the base64 of an HMAC-SHA256: give the webhook a signing token";

/// What a request says to be signed with. It is proven by [`Signed::verify`].
#[derive(Debug)]
pub(super) struct Signed {
    id: String,
    sent_at: String,
    signatures: Vec<[u8; 32]>,
}

/// Whether a request says that it is signed.
pub(super) fn says_signed(headers: &HeaderMap) -> bool {
    headers.contains_key(SIGNATURE)
}

/// The key that the text of a secret stands for: `whsec_` and base64. `None` where it is no such text.
pub(super) fn key(secret: &SecretString) -> Option<hmac::Key> {
    let encoded = secret.expose_secret().strip_prefix(SECRET_PREFIX)?;
    let bytes = BASE64_STANDARD.decode(encoded).ok().filter(|bytes| !bytes.is_empty())?;
    Some(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

impl Signed {
    /// What the headers say. A signature of another scheme than `v1` is passed over, as the specification asks.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Denied> {
        let read = || {
            let signatures = the_one(headers, SIGNATURE)?.split(' ').filter_map(v1).collect();
            let (id, sent_at) = (the_one(headers, ID)?.to_owned(), the_one(headers, SENT_AT)?.to_owned());
            Some(Self { id, sent_at, signatures })
        };
        read().filter(|signed| !signed.signatures.is_empty()).ok_or(Denied::NotProven(EXPECTED))
    }

    /// Whether the body has one of these signatures, made with this key not long ago. Compares in a time that says
    /// nothing about the right one.
    pub(super) fn verify(&self, key: &hmac::Key, body: &[u8], now: Timestamp) -> Result<(), Denied> {
        let mut right = hmac::Context::with_key(key);
        [self.id.as_bytes(), b".", self.sent_at.as_bytes(), b".", body].iter().for_each(|part| right.update(part));
        let right = right.sign();
        let same = |found: Choice, sent: &[u8; 32]| found | sent.as_slice().ct_eq(right.as_ref());
        if !bool::from(self.signatures.iter().fold(Choice::from(0), same)) {
            let wrong = "the signature is not that of this body with the signing token of the config: compare the two";
            return Err(Denied::NotProven(wrong));
        }
        let seconds: Option<i64> = self.sent_at.parse().ok();
        match seconds.map(|seconds| Timestamp::from_milliseconds(seconds.saturating_mul(1000))) {
            Some(sent_at) if sent_at <= now + TOLERANCE && now <= sent_at + TOLERANCE => Ok(()),
            Some(_) => {
                let why = "the delivery was signed more than five minutes ago, or ahead: it is sent again, or the clocks differ";
                Err(Denied::NotProven(why))
            }
            None => Err(Denied::NotProven("expected seconds since 1970 as `webhook-timestamp`")),
        }
    }
}

/// The text of a header that is there once.
fn the_one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut sent = headers.get_all(name).iter();
    let text = sent.next()?.to_str().ok()?;
    sent.next().is_none().then_some(text)
}

fn v1(signature: &str) -> Option<[u8; 32]> {
    BASE64_STANDARD.decode(signature.strip_prefix("v1,")?).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    /// Of the specification's own example, as its libraries test it (libraries/go/webhook_test.go, `TestWebhookSign`).
    const SIGNATURES: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const SIGNED_AT: &str = "1614265330";

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn example<'a>(signatures: &'a str, sent_at: &'a str) -> [(&'a str, &'a str); 3] {
        [(ID, "msg_p5jXN8AQM9LWM0D4loKWxJek"), (SENT_AT, sent_at), (SIGNATURE, signatures)]
    }

    fn verified(pairs: &[(&str, &str)], secret: &str, body: &[u8], now: i64) -> Result<(), Denied> {
        let key = key(&SecretString::from(secret)).unwrap();
        Signed::of(&headers(pairs))?.verify(&key, body, Timestamp::from_milliseconds(now * 1000))
    }

    #[test]
    fn the_signature_of_the_specifications_own_example_is_right_and_no_other() {
        let now = 1_614_265_330;
        let right = |signatures: &str| verified(&example(signatures, SIGNED_AT), SECRET, BODY, now);
        assert!(right(SIGNATURES).is_ok());
        let wrong = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=";
        // One of several is enough: a token is changed without a gap. Other schemes and broken ones are passed over.
        let several = [wrong, "v1a,AAAA", "v1,%", &wrong.replace("v1", "v2"), SIGNATURES, wrong].join(" ");
        assert!(right(&several).is_ok());
        let other_scheme = SIGNATURES.replace("v1", "v2");
        for none in [wrong, "", &SIGNATURES[3..], &SIGNATURES[..30], &other_scheme, "v1,", "v1,AAAA"] {
            assert!(right(none).is_err(), "{none}");
        }
        assert!(verified(&example(SIGNATURES, SIGNED_AT), SECRET, b"{}", now).is_err());
        assert!(verified(&example(SIGNATURES, SIGNED_AT), "whsec_c2VjcmV0", BODY, now).is_err());
        assert!(verified(&example(SIGNATURES, "1614265331"), SECRET, BODY, now).is_err());
        let mut other_id = example(SIGNATURES, SIGNED_AT);
        other_id[0].1 = "msg_2";
        assert!(verified(&other_id, SECRET, BODY, now).is_err());
    }

    #[test]
    fn each_of_the_three_headers_is_needed_once() {
        let all = example(SIGNATURES, SIGNED_AT);
        for left_out in 0..3 {
            let pairs: Vec<_> =
                all.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, pair)| *pair).collect();
            assert!(Signed::of(&headers(&pairs)).is_err());
            let twice: Vec<_> = all.iter().copied().chain([all[left_out]]).collect();
            assert!(Signed::of(&headers(&twice)).is_err());
        }
    }

    #[test]
    fn a_delivery_counts_for_five_minutes_by_either_clock() {
        let at = |now| verified(&example(SIGNATURES, SIGNED_AT), SECRET, BODY, now).is_ok();
        assert!(at(1_614_265_330 + 300) && at(1_614_265_330 - 300));
        assert!(!at(1_614_265_330 + 301) && !at(1_614_265_330 - 301));
    }

    #[test]
    fn only_a_prefix_and_base64_are_a_secret() {
        for wrong in ["", "whsec_", "whsec_%%", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqr TwjU"] {
            assert!(key(&SecretString::from(wrong)).is_none(), "{wrong}");
        }
    }
}
