//! What a server knows of a metric besides its samples: the type that its exporter says.
//!
//! Never a fact of the data: a server that was restarted or never scraped the metric itself knows nothing.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{BODY_LIMIT_BYTES, Prometheus};
use crate::http_client::{self, one_line};

#[derive(Deserialize)]
struct Body {
    data: BTreeMap<String, Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
}

impl Prometheus {
    /// The types that exporters say of a metric of this name: `counter`, `gauge`, `histogram`, `summary`, `unknown`. None
    /// where the server knows nothing of it.
    ///
    /// # Errors
    /// No answer, or one that is not understood (Thanos and others may not have this part of the API), on one line.
    pub async fn types_of(&self, metric: &str) -> Result<Vec<String>, String> {
        let mut url = self.endpoint.under(&["api", "v1", "metadata"]);
        url.query_pairs_mut().append_pair("metric", metric);
        let request = self.client.inner().get(url);
        let request = http_client::authorize(&self.http, request).await.map_err(|error| error.to_string())?;
        let response = request.send().await.map_err(|error| http_client::explain(&error))?;
        let status = response.status();
        let bytes = http_client::body_within(response, BODY_LIMIT_BYTES).await.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("HTTP {status}"));
        }
        let body: Body = serde_json::from_slice(&bytes)
            .map_err(|error| one_line(&format!("an answer that is not understood: {error}")))?;
        let entries = body.data.into_iter().filter(|(name, _)| name == metric).flat_map(|(_, entries)| entries);
        Ok(entries.map(|entry| entry.kind).collect())
    }
}
