//! The body of an answer of the Prometheus HTTP API (`/api/v1/query` and `/api/v1/query_range`), judged.
//!
//! Never fails but with a reason on one line, and never lets a warning or a native histogram pass unseen.

use std::fmt;

use reqwest::StatusCode;
use rollbackd_core::reading::{Answer, Labels, Series};
use rollbackd_core::time::Timestamp;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::http_client::one_line;

/// Ten times the largest fleet that is measured (`scripts/bench scale`). More series than this come from a missing `sum`.
const SERIES_LIMIT: usize = 100_000;

/// 8 MiB of memory; a range of 11,000 points may have 45 series.
const SAMPLE_LIMIT: usize = 500_000;

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    status: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    error_type: Option<String>,
    error: Option<String>,
    warnings: Option<Vec<String>>,
    is_partial: Option<bool>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    result_type: String,
    #[serde(borrow)]
    result: &'a RawValue,
    is_partial: Option<bool>,
}

#[derive(serde::Deserialize)]
struct Element {
    #[serde(default)]
    metric: Labels,
    value: Option<Sample>,
    #[serde(default)]
    values: Vec<Sample>,
    histogram: Option<IgnoredAny>,
    #[serde(default)]
    histograms: Vec<IgnoredAny>,
}

/// `[1700000000.123, "0.5"]`: seconds, and the value as a text, which may be `NaN` or `+Inf`.
struct Sample(Timestamp, f64);

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (seconds, Value(value)) = <(f64, Value)>::deserialize(deserializer)?;
        let at = Timestamp::from_seconds(seconds).ok_or_else(|| D::Error::custom("a sample has no time"))?;
        Ok(Self(at, value))
    }
}

/// A value, read where it stands: an answer may have a million of them.
struct Value(f64);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl Visitor<'_> for Reads {
            type Value = Value;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the value of a sample as a text")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
                text.parse().map(Value).map_err(|_| E::custom(format!("{text:?} is no value of a sample")))
            }
        }
        deserializer.deserialize_str(Reads)
    }
}

/// The series of an answer, judged one by one as they are read.
struct Elements(Result<Answer, String>);

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Elements;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of series")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Elements, A::Error> {
                let (mut found, mut samples, mut judged) = (Vec::new(), 0, None);
                while let Some(element) = elements.next_element::<Element>()? {
                    let series = match series(element) {
                        Ok(series) => series,
                        Err(why) => {
                            judged = Some(Err(why));
                            break;
                        }
                    };
                    samples += series.samples.len();
                    if found.len() == SERIES_LIMIT {
                        judged =
                            Some(Ok(Answer::Partial(format!("more than the {SERIES_LIMIT} series that are read"))));
                        break;
                    }
                    if samples > SAMPLE_LIMIT {
                        judged =
                            Some(Ok(Answer::Partial(format!("more than the {SAMPLE_LIMIT} samples that are read"))));
                        break;
                    }
                    found.push(series);
                }
                while elements.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Elements(judged.unwrap_or(Ok(Answer::Series(found)))))
            }
        }
        deserializer.deserialize_seq(Reads)
    }
}

/// Judges an answer. `is_text` says that the server called the body plain text, which may then be quoted.
pub(crate) fn decode(status: StatusCode, is_text: bool, bytes: &[u8]) -> Answer {
    match serde_json::from_slice::<Body<'_>>(bytes) {
        Ok(body) if body.status == "error" || !status.is_success() => Answer::Failed(refusal(status, &body)),
        Ok(body) if body.status == "success" => success(&body).unwrap_or_else(Answer::Failed),
        Ok(body) => failed(status, &format!("its status is {:?}, neither success nor error", body.status)),
        Err(_) if status.is_redirection() => {
            failed(status, "a redirect, which is not followed: expected the URL that it leads to")
        }
        Err(_) if is_text && !status.is_success() => failed(status, &String::from_utf8_lossy(bytes)),
        Err(error) => failed(status, &format!("not the JSON of the Prometheus API: {error}")),
    }
}

fn failed(status: StatusCode, why: &str) -> Answer {
    Answer::Failed(one_line(&format!("HTTP {status}: {why}")))
}

fn refusal(status: StatusCode, body: &Body<'_>) -> String {
    let kind = body.error_type.as_deref().unwrap_or("error");
    let message = body.error.as_deref().unwrap_or("without a message");
    one_line(&format!("HTTP {status}: {kind}: {message}"))
}

fn success(body: &Body<'_>) -> Result<Answer, String> {
    if let Some(warning) = body.warnings.iter().flatten().find(|warning| !is_info(warning)) {
        return Ok(Answer::Partial(one_line(&format!("the server warns: {warning}"))));
    }
    let not_understood = |error: serde_json::Error| one_line(&format!("an answer that is not understood: {error}"));
    let data = body.data.ok_or("an answer without `data`")?;
    let data: Data<'_> = serde_json::from_str(data.get()).map_err(not_understood)?;
    if body.is_partial == Some(true) || data.is_partial == Some(true) {
        return Ok(Answer::Partial("the server says that not all who hold the data answered".to_owned()));
    }
    match data.result_type.as_str() {
        "vector" | "matrix" => {
            let Elements(judged) = serde_json::from_str(data.result.get()).map_err(not_understood)?;
            judged
        }
        "scalar" => {
            let Sample(at, value) = serde_json::from_str(data.result.get()).map_err(not_understood)?;
            Ok(Answer::Series(vec![Series { labels: Labels::default(), samples: vec![(at, value)] }]))
        }
        other => {
            Err(one_line(&format!("the query gives a {other}: expected an expression that gives a vector or a scalar")))
        }
    }
}

/// Prometheus 2.48 to 2.53 put hints ("metric might not be a counter") among the warnings; later ones have `infos`.
fn is_info(warning: &str) -> bool {
    warning.starts_with("PromQL info:")
}

fn series(element: Element) -> Result<Series, String> {
    if element.histogram.is_some() || !element.histograms.is_empty() {
        let labels = one_line(&format!("{:?}", element.metric));
        return Err(format!("the series {labels} holds native histograms: use histogram_quantile() or the like"));
    }
    let samples: Vec<_> = element.value.into_iter().chain(element.values).map(|sample| (sample.0, sample.1)).collect();
    if !samples.is_sorted_by(|earlier, later| earlier.0 < later.0) {
        return Err("the samples of a series are not in the order of time".to_owned());
    }
    Ok(Series { labels: element.metric, samples })
}
