//! Grafana: a firing that is over becomes an annotation of the time from its deploy to its end (`/api/annotations`).
//!
//! Never adds one where Grafana has one with the firing's tag, and never changes or deletes any.

use rollbackd_core::config::node::{self, Fields, Node, Problems};
use serde::Serialize;
use serde_json::Value;

use super::{Adapter, Announcement, DEFAULT_TIMEOUT, Ended, Failure, Sending, asked, in_words, later, post};
use crate::http_client::{Endpoint, HttpSettings};
use crate::outside::Pending;

/// The tag that all of ours have.
const OURS: &str = "rollbackd";

/// One Grafana.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grafana {
    server: Endpoint,
    dashboard_uid: Option<String>,
    panel_id: Option<usize>,
    http: HttpSettings,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Annotation<'a> {
    #[serde(rename = "dashboardUID", skip_serializing_if = "Option::is_none")]
    dashboard_uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    panel_id: Option<usize>,
    /// Milliseconds since 1970, as is the end.
    time: i64,
    time_end: i64,
    tags: [String; 3],
    text: String,
}

impl Grafana {
    /// Reads `url`, `dashboard_uid`, `panel_id`, and the keys of [`HttpSettings`].
    pub(super) fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`grafana`", problems)?;
        let server = fields.required("url", problems).and_then(|node| Endpoint::decode(node, problems));
        let dashboard_uid = fields.optional("dashboard_uid").and_then(|node| node::text(node, problems));
        let panel_id = fields.optional("panel_id").and_then(|node| node::count(node, problems));
        if panel_id.is_some() && dashboard_uid.is_none() {
            problems.error(fields.key_place("panel_id"), "expected `panel_id` together with its `dashboard_uid`");
        }
        let http = HttpSettings::decode(&mut fields, problems, DEFAULT_TIMEOUT);
        fields.finish(problems);
        Some(Self { server: server?, dashboard_uid: dashboard_uid.map(str::to_owned), panel_id, http })
    }

    /// Looks before it adds: an earlier try may have been taken without our hearing of it.
    async fn add(&self, announcement: &Announcement, with: Sending<'_>) -> Result<(), Failure> {
        let Some(ended) = &announcement.ended else { return Ok(()) };
        let annotation = self.annotation(announcement, ended);
        let [_, _, of_the_firing] = &annotation.tags;
        if self.has(of_the_firing, with).await? {
            return Ok(());
        }
        let request = with.http.post(self.annotations()).json(&annotation);
        post(&self.http, request, &self.server.to_string(), with.now).await
    }

    async fn has(&self, tag: &str, with: Sending<'_>) -> Result<bool, Failure> {
        let query = [("type", "annotation"), ("tags", OURS), ("tags", tag), ("limit", "1")];
        let request = with.http.get(self.annotations()).query(&query);
        let answer = asked(&self.http, request, &self.server.to_string(), with.now).await?;
        let Value::Array(found) = answer else {
            return Err(later(format!("{}: the answer is no list of annotations", self.server)));
        };
        let has_it =
            |annotation: &Value| annotation["tags"].as_array().is_some_and(|tags| tags.iter().any(|each| each == tag));
        Ok(found.iter().any(has_it))
    }

    fn annotations(&self) -> reqwest::Url {
        self.server.under(&["api", "annotations"])
    }

    fn annotation(&self, announcement: &Announcement, ended: &Ended) -> Annotation<'_> {
        let time = announcement.deployed_at.unwrap_or(announcement.observed_at).min(ended.at);
        Annotation {
            dashboard_uid: self.dashboard_uid.as_deref(),
            panel_id: self.panel_id,
            time: time.milliseconds(),
            time_end: ended.at.milliseconds(),
            tags: [
                OURS.to_owned(),
                format!("service:{}", announcement.service),
                format!("firing:{}", announcement.firing),
            ],
            // Grafana shows it as HTML: names that were checked have none.
            text: in_words(announcement),
        }
    }
}

impl Adapter for Grafana {
    fn settings(&self) -> &HttpSettings {
        &self.http
    }

    fn has_news(&self, announcement: &Announcement) -> bool {
        announcement.ended.is_some()
    }

    fn tell<'a>(&'a self, announcement: &'a Announcement, with: Sending<'a>) -> Pending<'a, Result<(), Failure>> {
        Box::pin(self.add(announcement, with))
    }
}
