//! Bodies against answers, and ranges against requests.

use std::time::Duration;

use reqwest::StatusCode;
use rollbackd_core::reading::Answer;
use rollbackd_core::time::Timestamp;

use super::{POINTS_PER_REQUEST, body, halves, requests, seconds};

fn check(status: u16, text: &str, part: &str) {
    let answer = body::decode(StatusCode::from_u16(status).unwrap(), false, text.as_bytes());
    let Answer::Failed(why) = &answer else { panic!("{answer:?} for {text}") };
    assert!(why.contains(part), "{why:?} should say {part:?}: {text}");
    assert!(!why.contains('\n') && why.chars().count() <= 301, "{why:?}");
}

#[test]
fn what_is_no_answer_is_a_failure_with_its_reason_on_one_line() {
    let error = |kind: &str| format!(r#"{{"status":"error","errorType":"{kind}","error":"it \n broke"}}"#);
    check(400, &error("bad_data"), "HTTP 400 Bad Request: bad_data: it   broke");
    check(422, &error("execution"), "execution: it   broke");
    check(429, &error("too_many_requests"), "HTTP 429 Too Many Requests: too_many_requests");
    check(200, &error("internal"), "internal");
    check(503, r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#, "HTTP 503");
    check(502, "<html>Bad Gateway</html>", "HTTP 502 Bad Gateway: not the JSON");
    check(200, "<html>Please log in</html>", "HTTP 200 OK: not the JSON");
    check(302, "", "a redirect, which is not followed");
    check(200, "", "not the JSON");
    check(200, r#"{"status":"weird"}"#, "neither success nor error");
    check(200, r#"{"status":"success","data":{"resultType":"st\nring","result":[]}}"#, "gives a st ring");
    let warned = br#"{"status":"success","warnings":["not \n all"],"data":{}}"#;
    let partial = Answer::Partial("the server warns: not   all".to_owned());
    assert_eq!(body::decode(StatusCode::OK, false, warned), partial);
}

#[test]
fn what_is_one_is_its_series() {
    let whole = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[7,"1"]}]}}"#;
    let answer = body::decode(StatusCode::OK, false, whole.as_bytes());
    assert!(matches!(&answer, Answer::Series(series) if series.len() == 1), "{answer:?}");
}

#[test]
fn a_plain_text_refusal_is_quoted() {
    let answer = body::decode(StatusCode::UNAUTHORIZED, true, b"no org id\n");
    assert_eq!(answer, Answer::Failed("HTTP 401 Unauthorized: no org id".to_owned()));
}

#[test]
fn requests_cover_each_point_of_a_range_once() {
    let step = Duration::from_millis(2500);
    let at = |point: i64| Timestamp::from_milliseconds(500 + point * 2500);
    assert_eq!(requests(at(0), at(0), step), Ok(vec![(at(0), at(0))]));
    let (last, more) = (POINTS_PER_REQUEST - 1, POINTS_PER_REQUEST);
    assert_eq!(requests(at(0), at(last), step), Ok(vec![(at(0), at(last))]));
    assert_eq!(requests(at(0), at(more), step), Ok(vec![(at(0), at(last)), (at(more), at(more))]));
    assert_eq!(requests(at(0), at(2 * more), step).map(|requests| requests.len()), Ok(3));
}

#[test]
fn ranges_that_can_not_be_asked_are_refused() {
    let at = Timestamp::from_milliseconds;
    assert!(requests(at(5), at(4), Duration::from_secs(1)).unwrap_err().contains("before it begins"));
    assert!(requests(at(0), at(4), Duration::ZERO).unwrap_err().contains("less than 1ms"));
    assert!(requests(at(0), at(4_000_000_000), Duration::from_millis(1)).unwrap_err().contains("longer step"));
    assert_eq!(requests(at(0), at(4), Duration::MAX), Ok(vec![(at(0), at(4))]));
}

#[test]
fn instants_are_asked_for_to_the_millisecond() {
    assert_eq!(seconds(1_700_000_000_125), "1700000000.125");
    assert_eq!(seconds(5), "0.005");
}

#[test]
fn a_part_that_is_too_much_is_asked_in_halves_that_hold_each_point_once() {
    let at = |second: i64| Timestamp::from_milliseconds(second * 1000);
    let step = Duration::from_secs(15);
    let too_much = Answer::Failed("HTTP 422: execution: query processing would load too many samples".to_owned());
    let halves_of = |from, to, left| halves(&too_much, (at(from), at(to), left), step);
    assert_eq!(halves_of(0, 60, 3), Some(((at(0), at(30), 2), (at(45), at(60), 2))));
    assert_eq!(halves_of(0, 15, 3), Some(((at(0), at(0), 2), (at(15), at(15), 2))));
    assert_eq!(halves_of(0, 0, 3), None, "a point has no half");
    assert_eq!(halves_of(0, 60, 0), None, "halved often enough");
    let refused = Answer::Failed("HTTP 400: bad_data: parse error".to_owned());
    assert_eq!(halves(&refused, (at(0), at(60), 3), step), None, "half of it is refused as well");
}
