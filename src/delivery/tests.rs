//! Waits and classifications; what goes over the wire is in `tests/edges`.

use std::time::Duration;

use rollbackd_core::time::Timestamp;

use super::*;

fn retry(after: Option<u64>) -> Failure {
    Failure::Retry { why: "down".to_owned(), after: after.map(Duration::from_secs) }
}

#[test]
fn waits_double_up_to_half_a_minute() {
    let waits: Vec<u128> = (1..=9).map(|failures| wait_after(&retry(None), failures, 1.0).as_millis()).collect();
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    assert_eq!(wait_after(&retry(None), u32::MAX, 1.0), LONGEST_WAIT);
    assert_eq!(wait_after(&retry(None), 0, 1.0), FIRST_WAIT);
}

#[test]
fn waits_are_spread_from_half_to_the_whole_whatever_the_random_number() {
    let waits = [0.0, 0.5, 1.0, -3.0, 7.0, f64::NAN].map(|random| wait_after(&retry(None), 2, random).as_millis());
    assert_eq!(waits, [500, 750, 1000, 500, 1000, 500]);
}

#[test]
fn a_receiver_is_left_alone_as_long_as_it_asks() {
    assert_eq!(wait_after(&retry(Some(7)), 1, 0.0), Duration::from_secs(7));
    assert_eq!(wait_after(&retry(Some(1)), 20, 1.0), LONGEST_WAIT);
}

#[test]
fn a_refusal_is_tried_again_slowly() {
    let refused = Failure::Permanent { why: "HTTP 404".to_owned() };
    assert_eq!(wait_after(&refused, 1, 1.0), WAIT_AFTER_REFUSAL);
    assert_eq!(wait_after(&refused, 9, 0.0), WAIT_AFTER_REFUSAL / 2);
}

#[test]
fn retry_after_is_seconds_or_a_date_and_never_more_than_five_minutes() {
    let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
    let wait = |text| retry_after(text, now).map(|wait| wait.as_secs());
    assert_eq!(wait("12"), Some(12));
    assert_eq!(wait(" 0 "), Some(0));
    assert_eq!(wait("86400"), Some(300));
    assert_eq!(wait("Mon, 23 Nov 2026 10:00:30 GMT"), Some(30));
    assert_eq!(wait("Mon, 23 Nov 2026 09:00:00 GMT"), Some(0));
    assert_eq!(wait("Mon, 23 Nov 2027 10:00:00 GMT"), None, "a weekday that is not the date's");
    assert_eq!(wait("soon"), None);
    assert_eq!(wait("-1"), None);
}
