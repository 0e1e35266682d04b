//! Answers of a Prometheus: a line `STATUS json|text`, then the body.

use rollbackd::fuzzing::prometheus_answer;
use rollbackd_core::reading::Answer;
use serde_json::Value;

/// Series come only out of a success without warnings that is not partial, and their samples are in the order of time.
pub(super) fn prometheus(bytes: &[u8]) {
    let Some(line_end) = bytes.iter().position(|each| *each == b'\n') else { return };
    let (line, body) = (str::from_utf8(&bytes[..line_end]).unwrap_or_default(), &bytes[line_end + 1..]);
    let Some((status, kind)) = line.split_once(' ') else { return };
    let status = status.parse().unwrap_or(200);
    let Some(answer) = prometheus_answer(status, kind == "text", body) else { return };
    let again = prometheus_answer(status, kind == "text", body);
    assert!(again.is_some_and(|again| same(&again, &answer)), "the same answer is judged in two ways");
    match answer {
        Answer::Series(found) => {
            assert!((200..300).contains(&status), "series out of HTTP {status}");
            // A text that nobody reads may hold half of a surrogate pair, which `Value` refuses.
            let Ok(told) = serde_json::from_slice::<Value>(body) else { return };
            assert_eq!(told["status"], "success", "{told}");
            let warnings = told["warnings"].as_array().into_iter().flatten();
            assert!(
                warnings.clone().all(|each| each.as_str().is_some_and(|each| each.starts_with("PromQL info:"))),
                "series with warnings: {told}"
            );
            assert_ne!(told["isPartial"], true, "series of a part");
            assert_ne!(told["data"]["isPartial"], true, "series of a part");
            for series in &found {
                assert!(series.samples.is_sorted_by(|earlier, later| earlier.0 < later.0));
            }
            // What is kept is bounded by what was sent: no number in a body makes room for more than itself.
            let samples: usize = found.iter().map(|series| series.samples.len()).sum();
            assert!(samples * 3 <= body.len() && found.len() * 2 <= body.len());
            let expected = match told["data"]["resultType"].as_str() {
                Some("scalar") => 1,
                _ => told["data"]["result"].as_array().map_or(0, Vec::len),
            };
            assert_eq!(found.len(), expected, "a series was left out or made up: {told}");
        }
        Answer::Partial(why) | Answer::Failed(why) => {
            assert!(!why.is_empty() && !why.contains(['\n', '\r', '\u{1b}', '\0']), "{why:?} is not one line");
            assert!(why.chars().count() <= 2000, "{} characters of a reason", why.chars().count());
        }
    }
}

/// Whether both are the same answer; NaN is the same as NaN.
fn same(left: &Answer, right: &Answer) -> bool {
    format!("{left:?}") == format!("{right:?}")
}
