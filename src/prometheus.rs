//! Queries to Prometheus, or to anything that speaks its API: Thanos, Mimir, VictoriaMetrics.
//!
//! Never takes a part of the data for the whole, never panics on what a server sends, and judges no value: NaN and
//! infinities are the core's to judge.

pub(crate) mod body;
mod metadata;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::time::Duration;

use rollbackd_core::reading::{Answer, Labels, Series};
use rollbackd_core::time::{Timestamp, milliseconds, promql_duration};

use crate::http_client::{self, Endpoint, Error, HttpSettings};

/// Prometheus' own limit on the points of one series in one answer ("maximum resolution of 11,000 points").
const POINTS_PER_REQUEST: i64 = 11_000;

/// 100 times that: more than 30 days at 3 s. A range of more is a mistake in its step.
const REQUESTS_PER_RANGE: usize = 100;

/// 10,000 series of twenty samples are 8 MB, 200,000 of four 40 MB; what is much longer is no answer that can be worked
/// with.
const BODY_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// Samples of one range over all its requests: 64 MiB of memory.
const SAMPLES_PER_RANGE: usize = 4_000_000;

/// How often a request for history is halved: 11,000 points become requests of 3.
const MOST_HALVINGS: u32 = 12;

/// A server, and how it is asked.
#[derive(Clone)]
pub struct Prometheus {
    endpoint: Endpoint,
    client: prometheus_http_query::Client,
    http: HttpSettings,
    lookback_delta: Duration,
    /// How often a request that is too much for the server may be halved.
    halvings: u32,
}

/// A part of a range: its first and last point, and how often it may still be halved.
type Part = (Timestamp, Timestamp, u32);

impl Prometheus {
    /// A client for the server at `url`, to which `/api/v1/…` is added. `lookback_delta` is how old a sample may be
    /// and still count at an instant. A server that does not know the parameter (Prometheus 2.42) takes its own, 5 min.
    ///
    /// # Errors
    /// The URL is none, or has credentials or a query in it; a certificate file can't be used.
    pub fn new(url: &str, http: &HttpSettings, lookback_delta: Duration) -> Result<Self, Error> {
        let endpoint = Endpoint::parse(url)?;
        if endpoint.url().query().is_some() {
            // The library would drop it from some requests and keep it in others.
            return Err(Error::Url(format!("expected the URL of {endpoint} without a part after `?`; use `headers`")));
        }
        let client = http_client::build(http)?;
        // Without a slash at its end: the library would put a second one after it.
        let client = prometheus_http_query::Client::from(client, endpoint.under(&[]).as_str());
        let client = client.map_err(|_| Error::Url(format!("{endpoint} can't be used as the address of a server")))?;
        Ok(Self { endpoint, client, http: http.clone(), lookback_delta, halvings: 0 })
    }

    /// The same server, asked for history: a range that loads more samples than it allows (`--query.max-samples`), or
    /// takes it too long, is asked in halves. The daemon never does that: it has to know now, and asks no server more
    /// that has too much to do already.
    #[must_use]
    pub fn for_history(self) -> Self {
        Self { halvings: MOST_HALVINGS, ..self }
    }

    /// The values of `expr` at `from`, `from + step` and so on, up to `to`. Asks several times where these are more
    /// points than a server gives at once; then the series come in the order of their labels.
    pub async fn range(&self, expr: &str, from: Timestamp, to: Timestamp, step: Duration) -> Answer {
        let requests = match requests(from, to, step) {
            Ok(requests) => requests,
            Err(why) => return Answer::Failed(why),
        };
        if let ([(from, to)], 0) = (&requests[..], self.halvings) {
            return self.range_once(expr, *from, *to, step).await;
        }
        let mut parts: Vec<Part> = requests.into_iter().rev().map(|(from, to)| (from, to, self.halvings)).collect();
        let mut merged: BTreeMap<Labels, Vec<(Timestamp, f64)>> = BTreeMap::new();
        let mut samples = 0;
        while let Some(part) = parts.pop() {
            let found = match self.range_once(expr, part.0, part.1, step).await {
                Answer::Series(found) => found,
                spoiled @ (Answer::Partial(_) | Answer::Failed(_)) => match halves(&spoiled, part, step) {
                    Some((first, second)) => {
                        parts.extend([second, first]);
                        continue;
                    }
                    None => return spoiled,
                },
            };
            for series in found {
                samples += series.samples.len();
                merged.entry(series.labels).or_default().extend(series.samples);
            }
            if samples > SAMPLES_PER_RANGE {
                return Answer::Partial(format!("more than {SAMPLES_PER_RANGE} samples: only a part was read"));
            }
        }
        Answer::Series(merged.into_iter().map(|(labels, samples)| Series { labels, samples }).collect())
    }

    /// The value of `expr` at an instant.
    pub async fn instant(&self, expr: &str, at: Timestamp) -> Answer {
        self.send_instant(expr, at).await.unwrap_or_else(|why| self.failed(&why))
    }

    async fn range_once(&self, expr: &str, from: Timestamp, to: Timestamp, step: Duration) -> Answer {
        self.send_range(expr, from, to, step).await.unwrap_or_else(|why| self.failed(&why))
    }

    fn failed(&self, why: &str) -> Answer {
        Answer::Failed(format!("no answer from {}: {why}", self.endpoint))
    }

    async fn send_instant(&self, expr: &str, at: Timestamp) -> Result<Answer, String> {
        // Milliseconds go in as text: the builder's own `at` takes whole seconds.
        let mut query = self.client.query(expr).query("time", seconds(at.milliseconds()));
        for (name, value) in self.parameters() {
            query = query.query(name, value);
        }
        let request = self.client.inner().get(self.endpoint.url().clone());
        let request = http_client::authorize(&self.http, request).await.map_err(|error| error.to_string())?;
        let request = request.build().map_err(|error| http_client::explain(&error))?;
        for (name, value) in request.headers() {
            query = query.header(name.clone(), value.clone());
        }
        read(query.post_raw().await.map_err(|error| explain(&error))?).await
    }

    /// Sent by hand: the library's builder for ranges takes whole seconds, and its parameters can't be replaced.
    async fn send_range(&self, expr: &str, from: Timestamp, to: Timestamp, step: Duration) -> Result<Answer, String> {
        let mut form = vec![
            ("query", expr.to_owned()),
            ("start", seconds(from.milliseconds())),
            ("end", seconds(to.milliseconds())),
            ("step", seconds(milliseconds(step))),
        ];
        form.extend(self.parameters());
        let request = self.client.inner().post(self.endpoint.under(&["api", "v1", "query_range"])).form(&form);
        let request = http_client::authorize(&self.http, request).await.map_err(|error| error.to_string())?;
        read(request.send().await.map_err(|error| http_client::explain(&error))?).await
    }

    /// What every query says besides; a server ignores what it does not know (tried with Prometheus 2.42).
    fn parameters(&self) -> [(&'static str, String); 7] {
        let lookback = promql_duration(self.lookback_delta);
        [
            ("timeout", promql_duration(self.http.timeout)),
            ("lookback_delta", lookback.clone()),
            // VictoriaMetrics' name for it.
            ("max_lookback", lookback),
            // VictoriaMetrics shifts the points of a range of 50 or more, and repeats older values in place of those
            // of the last 30 s, unless told not to.
            ("nocache", "1".to_owned()),
            ("latency_offset", "1ms".to_owned()),
            // A part of the data is to be an error: VictoriaMetrics, Thanos.
            ("deny_partial_response", "1".to_owned()),
            ("partial_response", "false".to_owned()),
        ]
    }
}

async fn read(response: reqwest::Response) -> Result<Answer, String> {
    let status = response.status();
    let is_text = response
        .headers()
        .get(reqwest::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.starts_with("text/plain")));
    match http_client::body_within(response, BODY_LIMIT_BYTES).await {
        Ok(bytes) => Ok(body::decode(status, is_text, &bytes)),
        Err(error) => Err(format!("HTTP {status}, but {error}")),
    }
}

/// The library's own text has the URL in it.
fn explain(error: &prometheus_http_query::Error) -> String {
    let mut sources = std::iter::successors(error.source(), |error| (*error).source());
    let known = sources.find_map(|source| source.downcast_ref::<reqwest::Error>());
    known.map_or_else(|| "the request could not be made".to_owned(), http_client::explain)
}

/// The two halves of a part that was too much to answer at once; `None` where it may not be halved, or failed otherwise.
fn halves(spoiled: &Answer, (from, to, left): Part, step: Duration) -> Option<(Part, Part)> {
    /// What Prometheus, Mimir, Thanos and VictoriaMetrics say of a query that is too much, and what we say of an answer
    /// that is: a number of samples in one, the time in the other.
    const TOO_MUCH: [&str; 6] =
        ["too many samples", "maximum number of", "maxSamplesPer", "samples that are read", "timed out", "timeout"];
    let (Answer::Partial(why) | Answer::Failed(why)) = spoiled else { return None };
    let points = to.since(from).as_millis() / step.as_millis().max(1);
    let left = left.checked_sub(1)?;
    if points == 0 || !TOO_MUCH.iter().any(|mark| why.contains(mark)) {
        return None;
    }
    let middle = from + step * u32::try_from(points / 2).ok()?;
    Some(((from, middle, left), (middle + step, to, left)))
}

/// Milliseconds as the seconds that the API takes, exactly.
fn seconds(milliseconds: i64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

/// The requests that together cover a range: first and last point of each, no point in two of them.
fn requests(from: Timestamp, to: Timestamp, step: Duration) -> Result<Vec<(Timestamp, Timestamp)>, String> {
    if to < from {
        return Err(format!("the range ends at {to}, before it begins at {from}"));
    }
    if step < Duration::from_millis(1) {
        return Err("a step of less than 1ms can't be asked for".to_owned());
    }
    let step = Duration::from_millis(u64::try_from(step.as_millis()).unwrap_or(u64::MAX));
    let to_next = step.saturating_mul(u32::try_from(POINTS_PER_REQUEST).unwrap_or(u32::MAX));
    let starts = std::iter::successors(Some(from), |start| Some(*start + to_next).filter(|next| next > start));
    let starts = starts.take_while(|start| *start <= to).take(REQUESTS_PER_RANGE + 1);
    let requests: Vec<_> = starts.map(|start| (start, to.min(start + (to_next.saturating_sub(step))))).collect();
    if requests.len() > REQUESTS_PER_RANGE {
        let limit = POINTS_PER_REQUEST * REQUESTS_PER_RANGE as i64;
        return Err(format!("the range has more than {limit} points: expected a longer step"));
    }
    Ok(requests)
}

#[cfg(test)]
mod tests;
