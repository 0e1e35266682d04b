//! The body of an answer of the Prometheus HTTP API (`/api/v1/query` and `/api/v1/query_range`), read into series.
//! Source: Prometheus' documentation, "HTTP API", "Format overview" and "Expression query result formats".
//!
//! Never lets a warning or a native histogram pass unseen. Here, and not beside the requests, since each look at a fleet
//! goes through it: the core is built for speed, the shell for size.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Answer, Labels, Series};
use crate::time::Timestamp;

/// Of all queries of a trigger together: ten times the largest fleet that is measured (`scripts/bench scale`), with two
/// each. More series than this come from a missing `sum`.
const SERIES_LIMIT: usize = 200_000;

/// 16 MiB of memory; a range of 11,000 points may have 90 series.
const SAMPLE_LIMIT: usize = 1_000_000;

/// So many labels have room from the beginning, as the service's and the one that names the query.
const USUAL_LABELS: usize = 2;

/// A body that is such an answer.
#[derive(Debug)]
pub struct Body {
    /// `success` or `error`, or what is neither.
    pub status: String,
    /// The kind of an error.
    pub error_type: Option<String>,
    /// What an error says.
    pub error: Option<String>,
    /// What the data says; else why there is none, or why it is not understood.
    pub data: Result<Answer, String>,
}

/// Reads a body, whatever its status says.
///
/// # Errors
/// It is not the JSON of this API.
pub fn read(bytes: &[u8]) -> serde_json::Result<Body> {
    // At one go, since it may be some megabytes. Where that fails, what it says besides its data tells why.
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(body) = serde_json::from_str::<Written<Data<'_>>>(text)
    {
        return Ok(body.understood(Ok));
    }
    let body = serde_json::from_slice::<Written<&RawValue>>(bytes)?;
    Ok(body.understood(|data| serde_json::from_str(data.get())))
}

/// A body as it is written.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written<D> {
    status: String,
    data: Option<D>,
    error_type: Option<String>,
    error: Option<String>,
    warnings: Option<Vec<String>>,
    is_partial: Option<bool>,
}

impl<D> Written<D> {
    fn understood<'a>(self, read: impl FnOnce(D) -> serde_json::Result<Data<'a>>) -> Body {
        let Self { status, data, error_type, error, warnings, is_partial } = self;
        let warning = warnings.iter().flatten().find(|warning| !is_info(warning));
        let data = match (warning, data) {
            (Some(warning), _) => Ok(Answer::Partial(format!("the server warns: {warning}"))),
            (None, Some(data)) => read(data).map_err(|error| not_understood(&error)).and_then(|data| {
                if is_partial == Some(true) || data.is_partial == Some(true) {
                    return Ok(Answer::Partial("the server says that not all who hold the data answered".to_owned()));
                }
                data.answer()
            }),
            (None, None) => Err("an answer without `data`".to_owned()),
        };
        Body { status, error_type, error, data }
    }
}

fn not_understood(error: &serde_json::Error) -> String {
    format!("an answer that is not understood: {error}")
}

/// Prometheus 2.48 to 2.53 put hints ("metric might not be a counter") among the warnings; later ones have `infos`.
fn is_info(warning: &str) -> bool {
    warning.starts_with("PromQL info:")
}

struct Data<'a> {
    result_type: String,
    result: Found<'a>,
    is_partial: Option<bool>,
}

/// A result: read at once where its type comes before it, as Prometheus writes it; it may be most of a megabyte.
enum Found<'a> {
    Read(Elements),
    Unread(&'a RawValue),
}

impl<'de: 'a, 'a> Deserialize<'de> for Data<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DataReader)
    }
}

struct DataReader;

impl<'de> Visitor<'de> for DataReader {
    type Value = Data<'de>;
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with `resultType` and `result`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Data<'de>, A::Error> {
        let (mut result_type, mut result, mut is_partial) = (None::<String>, None, None);
        while let Some(key) = fields.next_key::<Cow<'de, str>>()? {
            match (key.as_ref(), result_type.as_deref()) {
                ("resultType", None) => result_type = Some(fields.next_value()?),
                ("result", _) if result.is_some() => return Err(A::Error::duplicate_field("result")),
                ("result", Some("vector" | "matrix")) => result = Some(Found::Read(fields.next_value()?)),
                ("result", _) => result = Some(Found::Unread(fields.next_value()?)),
                ("resultType", Some(_)) => return Err(A::Error::duplicate_field("resultType")),
                ("isPartial", _) => is_partial = fields.next_value()?,
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        let result_type = result_type.ok_or_else(|| A::Error::missing_field("resultType"))?;
        let result = result.ok_or_else(|| A::Error::missing_field("result"))?;
        Ok(Data { result_type, result, is_partial })
    }
}

#[derive(serde::Deserialize)]
struct Element {
    #[serde(default, deserialize_with = "labels")]
    metric: Labels,
    value: Option<Sample>,
    #[serde(default)]
    values: Vec<Sample>,
    histogram: Option<IgnoredAny>,
    #[serde(default)]
    histograms: Vec<IgnoredAny>,
}

fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
    deserializer.deserialize_map(LabelsReader)
}

struct LabelsReader;

impl<'de> Visitor<'de> for LabelsReader {
    type Value = Labels;
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the labels of a series")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Labels, A::Error> {
        let mut labels = Labels::with_capacity(USUAL_LABELS);
        while let Some((name, value)) = fields.next_entry()? {
            labels.insert(name, value);
        }
        Ok(labels)
    }
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
        deserializer.deserialize_str(ValueReader)
    }
}

struct ValueReader;

impl Visitor<'_> for ValueReader {
    type Value = Value;
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the value of a sample as a text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        text.parse().map(Value).map_err(|_| E::custom(format!("{text:?} is no value of a sample")))
    }
}

/// The series of an answer, judged one by one as they are read.
struct Elements(Result<Answer, String>);

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ElementsReader)
    }
}

struct ElementsReader;

impl<'de> Visitor<'de> for ElementsReader {
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
                judged = Some(Ok(Answer::Partial(format!("more than the {SERIES_LIMIT} series that are read"))));
                break;
            }
            if samples > SAMPLE_LIMIT {
                judged = Some(Ok(Answer::Partial(format!("more than the {SAMPLE_LIMIT} samples that are read"))));
                break;
            }
            found.push(series);
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Elements(judged.unwrap_or(Ok(Answer::Series(found)))))
    }
}

impl Data<'_> {
    fn answer(self) -> Result<Answer, String> {
        match (self.result_type.as_str(), self.result) {
            (_, Found::Read(Elements(judged))) => judged,
            ("vector" | "matrix", Found::Unread(result)) => {
                let Elements(judged) = serde_json::from_str(result.get()).map_err(|error| not_understood(&error))?;
                judged
            }
            ("scalar", Found::Unread(result)) => {
                let Sample(at, value) = serde_json::from_str(result.get()).map_err(|error| not_understood(&error))?;
                Ok(Answer::Series(vec![Series { labels: Labels::default(), samples: vec![(at, value)] }]))
            }
            (other, Found::Unread(_)) => {
                Err(format!("the query gives a {other}: expected an expression that gives a vector or a scalar"))
            }
        }
    }
}

fn series(element: Element) -> Result<Series, String> {
    if element.histogram.is_some() || !element.histograms.is_empty() {
        let labels: BTreeMap<_, _> = element.metric.iter().collect();
        return Err(format!("the series {labels:?} holds native histograms: use histogram_quantile() or the like"));
    }
    let mut samples: Vec<_> = element.values.into_iter().map(|Sample(at, value)| (at, value)).collect();
    if let Some(Sample(at, value)) = element.value {
        samples.insert(0, (at, value));
    }
    if !samples.is_sorted_by(|earlier, later| earlier.0 < later.0) {
        return Err("the samples of a series are not in the order of time".to_owned());
    }
    Ok(Series { labels: element.metric, samples })
}

#[cfg(test)]
mod tests;
