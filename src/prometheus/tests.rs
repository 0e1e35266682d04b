//! Bodies against answers, and ranges against requests.

use std::time::Duration;

use reqwest::StatusCode;
use rollbackd_core::reading::{Answer, Labels, Series};
use rollbackd_core::time::Timestamp;

use super::{POINTS_PER_REQUEST, body, halves, requests, seconds};

enum Expected {
    Series(Vec<(&'static str, Vec<(i64, &'static str)>)>),
    Partial(&'static str),
    Failed(&'static str),
}
use Expected::{Failed, Partial, Series as Some_};

fn check(status: u16, text: &str, expected: &Expected) {
    let answer = body::decode(StatusCode::from_u16(status).unwrap(), false, text.as_bytes());
    match (&answer, expected) {
        (Answer::Series(found), Some_(expected)) => assert_eq!(shown(found), written(expected), "{text}"),
        (Answer::Partial(why), Partial(part)) | (Answer::Failed(why), Failed(part)) => {
            assert!(why.contains(part), "{why:?} should say {part:?}: {text}");
            assert!(!why.contains('\n') && why.chars().count() <= 301, "{why:?}");
        }
        (Answer::Series(_) | Answer::Partial(_) | Answer::Failed(_), _) => panic!("{answer:?} for {text}"),
    }
}

/// Values as text, since NaN is not equal to itself.
fn shown(series: &[Series]) -> Vec<(String, Vec<(i64, String)>)> {
    let samples = |one: &Series| one.samples.iter().map(|(at, value)| (at.milliseconds(), value.to_string())).collect();
    series.iter().map(|one| (labels(&one.labels), samples(one))).collect()
}

fn labels(labels: &Labels) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

fn written(series: &[(&str, Vec<(i64, &str)>)]) -> Vec<(String, Vec<(i64, String)>)> {
    let owned = |samples: &[(i64, &str)]| samples.iter().map(|(at, value)| (*at, (*value).to_owned())).collect();
    series.iter().map(|(labels, samples)| ((*labels).to_owned(), owned(samples))).collect()
}

#[test]
fn every_kind_of_success_becomes_series() {
    let vector = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[1700000000.125,"0.5"]}]}}"#;
    check(200, vector, &Some_(vec![("__name__=up,job=a", vec![(1_700_000_000_125, "0.5")])]));
    let empty = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    check(200, empty, &Some_(vec![]));
    let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[10,"NaN"],[25,"+Inf"],[40.5,"-Inf"],[55,"1e-3"]]}]}}"#;
    let values = vec![(10_000, "NaN"), (25_000, "inf"), (40_500, "-inf"), (55_000, "0.001")];
    check(200, matrix, &Some_(vec![("", values)]));
    let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[7,"42"]}}"#;
    check(200, scalar, &Some_(vec![("", vec![(7000, "42")])]));
    let escaped = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"\u00e9\n"},"value":[7,"\u0031"]}]}}"#;
    check(200, escaped, &Some_(vec![("a=é\n", vec![(7000, "1")])]));
}

#[test]
fn warnings_and_partial_answers_are_partial_and_infos_are_not() {
    let with = |more: &str| {
        format!(
            r#"{{"status":"success"{more},"data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[7,"1"]}}]}}}}"#
        )
    };
    let whole = Some_(vec![("", vec![(7000, "1")])]);
    check(200, &with(r#","warnings":["store s1 is unreachable"]"#), &Partial("store s1 is unreachable"));
    check(200, &with(r#","warnings":["PromQL info: x","PromQL warning: y"]"#), &Partial("PromQL warning: y"));
    check(200, &with(r#","isPartial":true"#), &Partial("not all"));
    check(200, &with(r#","warnings":[],"isPartial":false"#), &whole);
    check(200, &with(r#","warnings":null,"infos":["PromQL info: metric might not be a counter"]"#), &whole);
    check(200, &with(r#","warnings":["PromQL info: metric might not be a counter"]"#), &whole);
    let inside = r#"{"status":"success","data":{"resultType":"vector","isPartial":true,"result":[]}}"#;
    check(200, inside, &Partial("not all"));
}

#[test]
fn whatever_else_comes_is_a_failure_with_its_reason() {
    let error = |kind: &str| format!(r#"{{"status":"error","errorType":"{kind}","error":"it \n broke"}}"#);
    check(400, &error("bad_data"), &Failed("HTTP 400 Bad Request: bad_data: it   broke"));
    check(422, &error("execution"), &Failed("execution: it   broke"));
    check(429, &error("too_many_requests"), &Failed("HTTP 429 Too Many Requests: too_many_requests"));
    check(200, &error("internal"), &Failed("internal"));
    check(503, r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#, &Failed("HTTP 503"));
    check(502, "<html>Bad Gateway</html>", &Failed("HTTP 502 Bad Gateway: not the JSON"));
    check(200, "<html>Please log in</html>", &Failed("HTTP 200 OK: not the JSON"));
    check(302, "", &Failed("a redirect, which is not followed"));
    check(200, "", &Failed("not the JSON"));
    check(200, r#"{"status":"success","data":{"resultType":"vec"#, &Failed("not the JSON"));
    check(200, r#"{"status":"success"}"#, &Failed("without `data`"));
    check(200, r#"{"status":"weird"}"#, &Failed("neither success nor error"));
    check(200, r#"{"status":"success","data":[]}"#, &Failed("not understood"));
    check(200, r#"{"status":"success","data":{"resultType":"string","result":[7,"x"]}}"#, &Failed("gives a string"));
    check(200, r#"{"status":"success","data":{"resultType":"vector","result":{}}}"#, &Failed("not understood"));
    check(200, &"[".repeat(100_000), &Failed("not the JSON"));
    let vector =
        |element: &str| format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{element}]}}}}"#);
    check(200, &vector(r#"{"metric":{},"value":[7,"many"]}"#), &Failed("no value of a sample"));
    check(200, &vector(r#"{"metric":{},"value":[7,1]}"#), &Failed("not understood"));
    check(200, &vector(r#"{"metric":{},"values":[[8,"1"],[7,"1"]]}"#), &Failed("order of time"));
    check(200, &vector(r#"{"metric":{},"histogram":[7,{"count":"1"}]}"#), &Failed("histogram_quantile"));
    check(
        200,
        &vector(r#"{"metric":{},"value":[7,"1"]},{"metric":{"a":"b"},"histograms":[[7,{"count":"1"}]]}"#),
        &Failed(r#"{"a": "b"} holds native histograms"#),
    );
    let no_utf8 = body::decode(StatusCode::OK, false, b"{\"status\":\"\xff\"}");
    assert!(matches!(no_utf8, Answer::Failed(_)), "{no_utf8:?}");
}

#[test]
fn a_plain_text_refusal_is_quoted() {
    let answer = body::decode(StatusCode::UNAUTHORIZED, true, b"no org id\n");
    assert_eq!(answer, Answer::Failed("HTTP 401 Unauthorized: no org id".to_owned()));
}

#[test]
fn more_series_or_samples_than_are_read_are_partial() {
    let many = |element: &str, times: usize| {
        let elements = vec![element; times].join(",");
        format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{elements}]}}}}"#)
    };
    let one = r#"{"metric":{},"values":[[7,"1"]]}"#;
    assert!(matches!(body::decode(StatusCode::OK, false, many(one, 100_000).as_bytes()), Answer::Series(_)));
    check(200, &many(one, 100_001), &Partial("more than the 100000 series"));
    let values: Vec<String> = (0..251_000).map(|at| format!("[{at},\"1\"]")).collect();
    let long = format!(r#"{{"metric":{{}},"values":[{}]}}"#, values.join(","));
    check(200, &many(&long, 2), &Partial("more than the 500000 samples"));
}

#[test]
fn no_cut_of_a_body_panics_or_passes_for_an_answer() {
    let whole = r#"{"status":"success","warnings":["é"],"data":{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[7,"1"]]}]}}"#;
    for end in 0..whole.len() {
        let answer = body::decode(StatusCode::OK, false, &whole.as_bytes()[..end]);
        assert!(matches!(answer, Answer::Failed(_)), "{answer:?} for the first {end} bytes");
    }
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
