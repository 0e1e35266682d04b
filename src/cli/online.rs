//! `check --online`: whether each query of the config returns data now. It asks, and changes nothing.

use std::path::Path;

use rollbackd_core::config::{Observed, Query, Service, Trigger};
use rollbackd_core::reading::Answer;
use rollbackd_core::template::{Template, Values, Variable};
use serde_json::{Value, json};

use super::census::{self, Census};
use super::output::one_line;
use crate::edges::Edges;
use crate::{clock, config, http_client};

/// A stand-in for a version, where a query names one.
const STAND_IN: &str = "v0";

/// What one query came back with.
pub(super) struct Asked {
    service: String,
    what: String,
    found: Found,
}

enum Found {
    Series(usize),
    Nothing(&'static str),
    Failed(String),
}

/// What all queries came back with.
pub(super) struct Report {
    queries: Vec<Asked>,
    census: Vec<Census>,
}

/// Asks every query of a config once.
pub(super) fn ask(file: &Path) -> Result<Report, String> {
    http_client::install_crypto();
    let loaded = config::load(file).map_err(|error| config::explain(&error))?;
    let edges = Edges::open(loaded.settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime could not be started: {error}"))?;
    Ok(runtime.block_on(ask_all(&edges)))
}

async fn ask_all(edges: &Edges) -> Report {
    let mut report = Report { queries: Vec::new(), census: Vec::new() };
    for service in edges.settings.core.services.values() {
        for (what, template, empty) in queries(service) {
            let found = ask_one(edges, service, &template, empty).await;
            report.queries.push(Asked { service: service.name.to_string(), what, found });
        }
        report.census.extend(census::ask(edges, service, &values(service)).await);
    }
    report
}

/// Every query of a service: what it is, its template, and what it means that it is empty.
fn queries(service: &Service) -> Vec<(String, Template, &'static str)> {
    let mut queries = Vec::new();
    if let Some(query) = &service.version_query {
        queries.push(("version_query".to_owned(), query.clone(), "no version can be proven to serve"));
    }
    service.triggers.iter().for_each(|trigger| of_trigger(trigger, &mut queries));
    for effect in service.side_effects.iter().flatten() {
        let empty = "nothing of the kind happened in the last hour, or a label is misspelt";
        queries.push((format!("side effect {} count", one_line(&effect.name)), effect.count.clone(), empty));
    }
    queries
}

fn of_trigger(trigger: &Trigger, queries: &mut Vec<(String, Template, &'static str)>) {
    let Observed::Metric(metric) = &trigger.observed else { return };
    let mut add = |key: &str, template: &Template, empty| {
        queries.push((format!("{} {key}", trigger.name), template.clone(), empty))
    };
    match &metric.query {
        Query::Ratio { bad, total } => {
            add("bad", bad, "");
            add("total", total, "there is no traffic now, or a label is misspelt");
        }
        Query::Expression(expr) => {
            add("expr", expr, "the trigger would be blind; `bad` and `total` can tell a clean service from none")
        }
        Query::Filter { presence, .. } => {
            add("expr", presence, "nothing that it selects has data: the trigger would be blind")
        }
    }
    if let Some(at_least) = &metric.at_least {
        add("at_least", &at_least.expr, "the trigger would always see too little traffic");
    }
}

fn values(service: &Service) -> Values {
    Values::default()
        .with(Variable::Service, service.name.as_str())
        .with(Variable::DeployVersion, STAND_IN)
        .with(Variable::DeployAt, clock::now().to_string())
        .with(Variable::DeployCommit, STAND_IN)
        .with(Variable::TargetVersion, STAND_IN)
        .with(Variable::TargetRevision, STAND_IN)
        .with(Variable::FiringId, STAND_IN)
        .with(Variable::AttemptId, STAND_IN)
        .with(Variable::SinceDeploy, "5m")
        .with(Variable::BadWindow, "1h")
}

async fn ask_one(edges: &Edges, service: &Service, template: &Template, empty: &'static str) -> Found {
    let query = match template.render(&values(service)) {
        Ok(query) => query,
        Err(unknown) => return Found::Failed(unknown.to_string()),
    };
    match edges.prometheus.instant(&query, clock::now()).await {
        Answer::Series(series) if series.is_empty() => Found::Nothing(empty),
        Answer::Series(series) => Found::Series(series.len()),
        Answer::Partial(why) => Found::Failed(format!("answered in part: {why}")),
        Answer::Failed(why) => Found::Failed(why),
    }
}

impl Report {
    /// Whether every query was answered; an empty answer is a warning, not a failure.
    pub(super) fn ok(&self) -> bool {
        let failed = |asked: &Asked| matches!(asked.found, Found::Failed(_));
        !self.queries.iter().any(failed) && self.census.iter().all(Census::ok)
    }

    pub(super) fn text(&self) -> String {
        let line = |asked: &Asked| format!("{} {}: {}\n", asked.service, asked.what, asked.found.sentence());
        self.queries.iter().map(line).chain(self.census.iter().map(Census::text)).collect()
    }

    pub(super) fn json(&self, offline: &str) -> Value {
        let one =
            |asked: &Asked| json!({"service": asked.service, "query": asked.what, "found": asked.found.sentence()});
        let queries: Vec<Value> = self.queries.iter().map(one).collect();
        let census = self.census.iter().filter_map(|census| {
            Some(json!({"service": census.service, "uncounted": census.uncounted.as_ref().ok()?}))
        });
        let census: Vec<Value> = census.collect();
        json!({"ok": self.ok(), "report": offline, "queries": queries, "side_effects": census})
    }
}

impl Found {
    fn sentence(&self) -> String {
        match self {
            Self::Series(1) => "1 series".to_owned(),
            Self::Series(count) => format!("{count} series"),
            Self::Nothing("") => "empty, as it is while nothing fails".to_owned(),
            Self::Nothing(meaning) => format!("warning: empty now: {meaning}"),
            Self::Failed(why) => format!("error: {why}"),
        }
    }
}
