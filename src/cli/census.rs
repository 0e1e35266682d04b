//! The side-effect census against the metrics: requests that change something, which no side effect of the config counts.
//!
//! Only asks Prometheus, and never decides whether a request leaves anything to make good: a person does.

use std::collections::{BTreeMap, BTreeSet};

use rollbackd_core::config::Service;
use rollbackd_core::reading::{Answer, Series};
use rollbackd_core::template::Values;

use crate::edges::Edges;
use crate::lints::online;
use crate::{clock, promql};

/// The labels under which client libraries and service meshes put the method of a request: Prometheus' own clients and
/// Micrometer, OpenTelemetry before and after its semantic conventions 1.21, Istio and Envoy.
const METHOD_LABELS: [&str; 4] = ["method", "http_method", "http_request_method", "request_method"];

/// The labels under which they put what was asked for, the most telling first.
const ROUTE_LABELS: [&str; 10] =
    ["handler", "route", "http_route", "uri", "path", "endpoint", "url_rule", "url", "http_target", "action"];

/// More than these are hardly read; how many there are is told.
const MOST_SHOWN: usize = 20;

/// What was found for one service.
pub(super) struct Census {
    /// The service.
    pub(super) service: String,
    /// Requests that no side effect counts (`POST /refunds`), or why they could not be asked for.
    pub(super) uncounted: Result<Vec<String>, String>,
}

/// Asks for the census of every service of a config.
pub(super) async fn ask_all(edges: &Edges) -> Vec<Census> {
    let mut found = Vec::new();
    for service in edges.settings.core.services.values() {
        found.extend(ask(edges, service, &online::values(service, "5m")).await);
    }
    found
}

/// Asks which requests of a service change something and are in no side effect. `None` where the config says that there
/// are no side effects, on purpose.
async fn ask(edges: &Edges, service: &Service, values: &Values) -> Option<Census> {
    let declared = match service.side_effects.as_deref() {
        Some([]) => return None,
        Some(declared) => declared,
        None => &[],
    };
    let counts: Vec<String> = declared.iter().filter_map(|effect| effect.count.render(values).ok()).collect();
    let mut uncounted = BTreeSet::new();
    for method in METHOD_LABELS {
        match edges.prometheus.instant(&query(edges, service, method), clock::now()).await {
            Answer::Series(series) => {
                uncounted.extend(series.iter().filter_map(|series| request(series, method, &counts)));
            }
            Answer::Partial(why) | Answer::Failed(why) => {
                return Some(Census { service: service.name.to_string(), uncounted: Err(why) });
            }
        }
    }
    Some(Census { service: service.name.to_string(), uncounted: Ok(uncounted.into_iter().collect()) })
}

/// Which methods and routes the metrics of this service have now.
fn query(edges: &Edges, service: &Service, method: &str) -> String {
    let (label, routes) = (&edges.settings.service_label, ROUTE_LABELS.join(", "));
    let changes = "(?i:post|put|patch|delete)";
    format!("group by ({method}, {routes}) ({{{label}=\"{}\", {method}=~\"{changes}\"}})", service.name)
}

/// The request of a series, where no side effect counts it. One that names no route says nothing.
fn request(series: &Series, method: &str, counts: &[String]) -> Option<String> {
    let of = |label: &str| series.labels.get(label).filter(|value| !value.is_empty());
    let (label, route) = ROUTE_LABELS.iter().find_map(|label| Some((*label, of(label)?)))?;
    let called = of(method)?;
    let known = BTreeMap::from([(method, called.as_str()), (label, route.as_str())]);
    let counted = counts.iter().any(|count| promql::selects(count, label, &known));
    (!counted).then(|| format!("{} {route}", called.to_ascii_uppercase()))
}

impl Census {
    /// Whether Prometheus answered.
    pub(super) const fn ok(&self) -> bool {
        self.uncounted.is_ok()
    }

    /// For people; nothing where nothing is missing.
    pub(super) fn text(&self) -> String {
        let service = &self.service;
        match &self.uncounted {
            Err(why) => format!("{service} side effects: error: {}\n", super::output::one_line(why)),
            Ok(uncounted) => {
                let one = |request: &String| {
                    let request = super::output::one_line(request);
                    format!("{service} side effects: warning: {request} is in the metrics and in no side effect\n")
                };
                let mut text: String = uncounted.iter().take(MOST_SHOWN).map(one).collect();
                if uncounted.len() > MOST_SHOWN {
                    text.push_str(&format!("{service} side effects: and {} more\n", uncounted.len() - MOST_SHOWN));
                }
                if !uncounted.is_empty() {
                    text.push_str(&format!(
                        "{service} side effects: declare what of these a rollback does not undo; `side_effects: none` says \
                         on purpose that there is nothing\n"
                    ));
                }
                text
            }
        }
    }
}
