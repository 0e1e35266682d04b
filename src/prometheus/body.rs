//! The body of an answer of the Prometheus HTTP API (`/api/v1/query` and `/api/v1/query_range`), judged.
//!
//! Never fails but with a reason on one line, and never lets a warning or a native histogram pass unseen.

use std::borrow::Cow;
use std::collections::BTreeMap;

use reqwest::StatusCode;
use rollbackd_core::reading::{Answer, Series};
use rollbackd_core::time::Timestamp;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny};
use serde_json::value::RawValue;

use crate::http_client::one_line;

/// Five times the largest fleet measured (2,000 services). More series than this come from a missing `sum`.
const SERIES_LIMIT: usize = 10_000;

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
    metric: BTreeMap<String, String>,
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
        let (seconds, value) = <(f64, Cow<'de, str>)>::deserialize(deserializer)?;
        let at = Timestamp::from_seconds(seconds).ok_or_else(|| D::Error::custom("a sample has no time"))?;
        let value = value.parse().map_err(|_| D::Error::custom(format!("{value:?} is no value of a sample")))?;
        Ok(Self(at, value))
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
            let elements: Vec<&RawValue> = serde_json::from_str(data.result.get()).map_err(not_understood)?;
            all_series(&elements)
        }
        "scalar" => {
            let Sample(at, value) = serde_json::from_str(data.result.get()).map_err(not_understood)?;
            Ok(Answer::Series(vec![Series { labels: BTreeMap::new(), samples: vec![(at, value)] }]))
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

fn all_series(elements: &[&RawValue]) -> Result<Answer, String> {
    if elements.len() > SERIES_LIMIT {
        let found = elements.len();
        return Ok(Answer::Partial(format!("{found} series, more than the {SERIES_LIMIT} that are read")));
    }
    let mut found = Vec::with_capacity(elements.len());
    let mut samples = 0;
    for element in elements {
        let series = series(element)?;
        samples += series.samples.len();
        if samples > SAMPLE_LIMIT {
            return Ok(Answer::Partial(format!("more than the {SAMPLE_LIMIT} samples that are read")));
        }
        found.push(series);
    }
    Ok(Answer::Series(found))
}

fn series(element: &RawValue) -> Result<Series, String> {
    let element: Element = serde_json::from_str(element.get())
        .map_err(|error| one_line(&format!("a series that is not understood: {error}")))?;
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
