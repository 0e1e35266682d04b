//! Bodies against what they are read as.

use super::*;

enum Expected {
    Series(Vec<(&'static str, Vec<(i64, &'static str)>)>),
    Partial(&'static str),
    Refused(&'static str),
}
use Expected::{Partial, Refused, Series as Some_};

fn check(text: &str, expected: &Expected) {
    let body = read(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(body.status, "success", "{text}");
    match (&body.data, expected) {
        (Ok(Answer::Series(found)), Some_(expected)) => assert_eq!(shown(found), written(expected), "{text}"),
        (Ok(Answer::Partial(why)), Partial(part)) | (Err(why), Refused(part)) => {
            assert!(why.contains(part), "{why:?} should say {part:?}: {text}");
        }
        (Ok(_) | Err(_), _) => panic!("{body:?} for {text}"),
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
    check(vector, &Some_(vec![("__name__=up,job=a", vec![(1_700_000_000_125, "0.5")])]));
    let empty = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    check(empty, &Some_(vec![]));
    let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[10,"NaN"],[25,"+Inf"],[40.5,"-Inf"],[55,"1e-3"]]}]}}"#;
    let values = vec![(10_000, "NaN"), (25_000, "inf"), (40_500, "-inf"), (55_000, "0.001")];
    check(matrix, &Some_(vec![("", values)]));
    let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[7,"42"]}}"#;
    check(scalar, &Some_(vec![("", vec![(7000, "42")])]));
    let escaped = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"\u00e9\n"},"value":[7,"\u0031"]}]}}"#;
    check(escaped, &Some_(vec![("a=é\n", vec![(7000, "1")])]));
}

#[test]
fn warnings_and_partial_answers_are_partial_and_infos_are_not() {
    let with = |more: &str| {
        format!(
            r#"{{"status":"success"{more},"data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[7,"1"]}}]}}}}"#
        )
    };
    let whole = Some_(vec![("", vec![(7000, "1")])]);
    check(&with(r#","warnings":["store s1 is unreachable"]"#), &Partial("store s1 is unreachable"));
    check(&with(r#","warnings":["PromQL info: x","PromQL warning: y"]"#), &Partial("PromQL warning: y"));
    check(&with(r#","isPartial":true"#), &Partial("not all"));
    check(&with(r#","warnings":[],"isPartial":false"#), &whole);
    check(&with(r#","warnings":null,"infos":["PromQL info: metric might not be a counter"]"#), &whole);
    check(&with(r#","warnings":["PromQL info: metric might not be a counter"]"#), &whole);
    let inside = r#"{"status":"success","data":{"resultType":"vector","isPartial":true,"result":[]}}"#;
    check(inside, &Partial("not all"));
}

#[test]
fn data_that_is_none_of_a_sample_is_refused_with_its_reason() {
    check(r#"{"status":"success"}"#, &Refused("without `data`"));
    check(r#"{"status":"success","data":7}"#, &Refused("expected an object with `resultType` and `result`"));
    check(r#"{"status":"success","data":{"resultType":"vector"}}"#, &Refused("result"));
    check(r#"{"status":"success","data":{"result":[]}}"#, &Refused("resultType"));
    check(r#"{"status":"success","data":{"resultType":"string","result":[7,"x"]}}"#, &Refused("gives a string"));
    check(r#"{"status":"success","data":{"resultType":"vector","result":{}}}"#, &Refused("expected a list of series"));
    let twice = r#"{"status":"success","data":{"resultType":"vector","result":[],"result":[]}}"#;
    check(twice, &Refused("duplicate field `result`"));
    let twice = r#"{"status":"success","data":{"resultType":"vector","resultType":"matrix","result":[]}}"#;
    check(twice, &Refused("duplicate field `resultType`"));
    let vector =
        |element: &str| format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{element}]}}}}"#);
    check(&vector(r#"{"metric":{},"value":[7,"many"]}"#), &Refused("\"many\" is no value of a sample"));
    check(&vector(r#"{"metric":{},"value":[7,1]}"#), &Refused("expected the value of a sample as a text"));
    check(&vector("7"), &Refused("not understood"));
    check(&vector(r#"{"metric":{},"values":[[8,"1"],[7,"1"]]}"#), &Refused("order of time"));
    check(&vector(r#"{"metric":{},"values":[[7,"1"],[7,"1"]]}"#), &Refused("order of time"));
    check(&vector(r#"{"metric":{},"histogram":[7,{"count":"1"}]}"#), &Refused("histogram_quantile"));
    let later = vector(r#"{"metric":{},"value":[7,"1"]},{"metric":{"a":"b"},"histograms":[[7,{"count":"1"}]]}"#);
    check(&later, &Refused(r#"{"a": "b"} holds native histograms"#));
}

#[test]
fn a_result_before_its_type_and_what_nobody_asked_for_are_read_all_the_same() {
    let whole = Some_(vec![("", vec![(7000, "1")])]);
    let result = r#""result":[{"metric":{},"value":[7,"1"],"more":{}}]"#;
    check(&format!(r#"{{"data":{{{result},"resultType":"vector","stats":{{}}}},"status":"success"}}"#), &whole);
    check(&format!(r#"{{"data":{{"stats":{{}},"resultType":"vector",{result}}},"status":"success"}}"#), &whole);
    let scalar = r#"{"status":"success","data":{"result":[7,"1"],"resultType":"scalar"}}"#;
    check(scalar, &whole);
}

#[test]
fn an_error_says_what_it_is_and_a_body_of_something_else_is_none() {
    let body = read(br#"{"status":"error","errorType":"bad_data","error":"it broke"}"#).unwrap();
    let said = (body.status.as_str(), body.error_type.as_deref(), body.error.as_deref());
    assert_eq!(said, ("error", Some("bad_data"), Some("it broke")));
    for text in ["", "<html>Please log in</html>", r#"{"status":"success","data":{"resultType":"vec"#, "[]", "{}"] {
        assert!(read(text.as_bytes()).is_err(), "{text}");
    }
    assert!(read("[".repeat(100_000).as_bytes()).is_err());
    assert!(read(b"{\"status\":\"\xff\"}").is_err());
}

#[test]
fn more_series_or_samples_than_are_read_are_partial() {
    let many = |element: &str, times: usize| {
        let elements = vec![element; times].join(",");
        format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{elements}]}}}}"#)
    };
    let one = r#"{"metric":{},"values":[[7,"1"]]}"#;
    assert!(matches!(read(many(one, 200_000).as_bytes()).unwrap().data, Ok(Answer::Series(_))));
    check(&many(one, 200_001), &Partial("more than the 200000 series"));
    let of = |samples: u32| {
        let values: Vec<String> = (0..samples).map(|at| format!("[{at},\"1\"]")).collect();
        format!(r#"{{"metric":{{}},"values":[{}]}}"#, values.join(","))
    };
    check(&many(&of(250_001), 4), &Partial("more than the 1000000 samples"));
    assert!(matches!(read(many(&of(250_000), 4).as_bytes()).unwrap().data, Ok(Answer::Series(_))));
}

#[test]
fn no_cut_of_a_body_panics_or_passes_for_an_answer() {
    let whole = r#"{"status":"success","warnings":["é"],"data":{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[7,"1"]]}]}}"#;
    for end in 0..whole.len() {
        assert!(read(&whole.as_bytes()[..end]).is_err(), "the first {end} bytes");
    }
}
