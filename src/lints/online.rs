//! `check --online`: what Prometheus' own data say of the queries. It asks, and changes nothing.
//!
//! Never claims what it was not told: where an answer fails, its lints are not looked for, and that is said.

mod baseline;
mod facts;
mod labels;
mod ranges;

use std::collections::BTreeSet;

use rollbackd_core::config::lint::Lint;
use rollbackd_core::config::node::{Place, Problems};
use rollbackd_core::config::{Observed, Query, Service, Trigger};
use rollbackd_core::reading::{Answer, Series};
use rollbackd_core::template::{Template, Values, Variable};
use serde_json::{Value, json};

use self::facts::Facts;
use super::Checked;
use super::places::Places;
use crate::clock;
use crate::edges::Edges;
use crate::http_client::one_line;
use crate::looker::as_one;
use crate::promql::shape::{Shape, shape};

/// Stands for a version and a commit, which only a deploy brings; letters that no label's value has.
const STAND_IN: &str = "standInVersion";

/// Which query it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// What failed: nothing, while nothing fails.
    Bad,
    /// One number is compared.
    Compared,
    /// Any series is a breach.
    Filter,
    /// Whether there is traffic; several series are added up.
    AtLeast,
    /// What serves; several series are several instances.
    Version,
    /// How often a side effect happened: nothing, where it did not. No lint looks at it.
    Count,
    /// All queries of a trigger as the one that the daemon asks. No lint looks at it.
    AsOne,
}

/// One query of the config.
struct Asked {
    service: String,
    what: String,
    place: Place,
    role: Role,
    /// What is asked of the server.
    query: Template,
    /// What it is made of.
    shape: Option<Shape>,
    /// Of a `bad`: the labels by which its `total` selects. They say what it is about, not what failed.
    labels_of_total: BTreeSet<String>,
    /// What it means that it is empty.
    empty: &'static str,
}

enum Found {
    Series(Vec<Series>),
    Failed(String),
}

/// What all queries came back with.
pub struct Answered {
    queries: Vec<(String, Result<String, String>)>,
    unanswered: Vec<String>,
}

/// Asks every query of a config once, and notes what the data show. `edges` are those of the config that is checked.
pub async fn ask(edges: &Edges, checked: &mut Checked) -> Answered {
    let (places, problems) = (&checked.places, &mut checked.problems);
    let now = clock::now() - edges.settings.prometheus.query_offset;
    let mut facts = Facts::new(&edges.prometheus, now);
    let mut queries = Vec::new();
    for service in edges.settings.core.services.values() {
        for asked in asked_of(service, places) {
            let found = ask_one(&facts, service, &asked).await;
            look(edges, &mut facts, &asked, &found, problems).await;
            // That all of them together are answered as well is no news.
            if asked.role == Role::AsOne && matches!(found, Found::Series(_)) {
                continue;
            }
            queries.push((format!("{} {}", asked.service, asked.what), found.sentence(&asked)));
        }
        baseline::look(&mut facts, service, places, problems).await;
    }
    Answered { queries, unanswered: facts.unanswered() }
}

/// Every query of a service.
fn asked_of(service: &Service, places: &Places) -> Vec<Asked> {
    let mut all = Vec::new();
    if let Some(query) = &service.version_query {
        let (place, empty) = (places.of_version_query(service), "no version can be proven to serve");
        all.push(Asked::new(service, "version_query".to_owned(), place, Role::Version, (query, query), empty));
    }
    service.triggers.iter().for_each(|trigger| of_trigger(service, trigger, places, &mut all));
    for effect in service.side_effects.iter().flatten() {
        let empty = "nothing of the kind happened in the last hour, or a label is misspelt";
        let (what, queries) = (format!("side effect {} count", one_line(&effect.name)), (&effect.count, &effect.count));
        let asked = Asked::new(service, what, Place::default(), Role::Count, queries, empty);
        all.push(Asked { shape: None, ..asked });
    }
    all
}

fn of_trigger(service: &Service, trigger: &Trigger, places: &Places, all: &mut Vec<Asked>) {
    let Observed::Metric(metric) = &trigger.observed else { return };
    let asked = |key: &'static str, role, queries, empty| {
        let place = places.of_trigger(service, trigger, key);
        Asked::new(service, format!("{} {key}", trigger.name), place, role, queries, empty)
    };
    match &metric.query {
        Query::Ratio { bad, total } => {
            let empty = "there is no traffic now, or a label is misspelt";
            let total = asked("total", Role::Compared, (total, total), empty);
            let selects = total.shape.iter().flat_map(|shape| &shape.selectors).flat_map(|each| &each.matchers);
            let labels_of_total = selects.map(|matcher| matcher.label.clone()).collect();
            all.push(Asked { labels_of_total, ..asked("bad", Role::Bad, (bad, bad), "") });
            all.push(total);
        }
        Query::Expression(expr) => {
            let empty = "the trigger would be blind; `bad` and `total` can tell a clean service from none";
            all.push(asked("expr", Role::Compared, (expr, expr), empty));
        }
        Query::Filter { expr, presence } => {
            // Whether there are data can't be told from what is returned while all is well.
            let empty = "nothing that it selects has data: the trigger would be blind";
            all.push(asked("expr", Role::Filter, (expr, presence), empty));
        }
    }
    if let Some(at_least) = &metric.at_least {
        let empty = "the trigger would always see too little traffic";
        all.push(asked("at_least", Role::AtLeast, (&at_least.expr, &at_least.expr), empty));
    }
    if let Some(query) = as_one(metric) {
        let what = format!("{}, its queries asked as one", trigger.name);
        let asked = Asked::new(service, what, Place::default(), Role::AsOne, (&query, &query), "");
        all.push(Asked { shape: None, ..asked });
    }
}

impl Asked {
    /// A query: as the config writes it, and as it is asked.
    fn new(
        service: &Service,
        what: String,
        place: Place,
        role: Role,
        (written, query): (&Template, &Template),
        empty: &'static str,
    ) -> Self {
        let text = written.render(&values(service, super::triggers::SINCE_DEPLOY_TEXT)).ok();
        let shape = text.and_then(|text| shape(&text));
        let (service, query) = (service.name.to_string(), query.clone());
        Self { service, what, place, role, query, shape, labels_of_total: BTreeSet::new(), empty }
    }

    /// Whether it selects by what only a deploy brings: that it is empty now says nothing.
    fn needs_deploy(&self) -> bool {
        [Variable::DeployVersion, Variable::DeployCommit, Variable::DeployAt].iter().any(|name| self.query.names(*name))
    }
}

/// What stands for a deploy that is not there.
pub(crate) fn values(service: &Service, since_deploy: &str) -> Values {
    Values::default()
        .with(Variable::Service, service.name.as_str())
        .with(Variable::DeployVersion, STAND_IN)
        .with(Variable::DeployAt, clock::now().to_string())
        .with(Variable::DeployCommit, STAND_IN)
        .with(Variable::TargetVersion, STAND_IN)
        .with(Variable::TargetRevision, STAND_IN)
        .with(Variable::FiringId, STAND_IN)
        .with(Variable::AttemptId, STAND_IN)
        .with(Variable::BadWindow, "1h")
        .with(Variable::SinceDeploy, since_deploy)
}

async fn ask_one(facts: &Facts<'_>, service: &Service, asked: &Asked) -> Found {
    let query = match asked.query.render(&values(service, "5m")) {
        Ok(query) => query,
        Err(unknown) => return Found::Failed(unknown.to_string()),
    };
    match facts.prometheus.instant(&query, facts.now).await {
        Answer::Series(series) => Found::Series(series),
        Answer::Partial(why) => Found::Failed(format!("answered in part: {why}")),
        Answer::Failed(why) => Found::Failed(why),
    }
}

async fn look(edges: &Edges, facts: &mut Facts<'_>, asked: &Asked, found: &Found, problems: &mut Problems) {
    let Found::Series(series) = found else { return };
    let before = problems.0.len();
    if let Some(shape) = &asked.shape {
        labels::look(facts, asked, shape, problems).await;
    }
    // A label that is to blame says more.
    let is_blamed = problems.0.len() > before;
    let tells = asked.role != Role::Count && !asked.empty.is_empty() && !asked.needs_deploy();
    if series.is_empty() && tells && !is_blamed {
        problems.warning(Lint::EmptyNow, asked.place, format!("empty now: {}", asked.empty));
    }
    if let Some(shape) = &asked.shape {
        many_series(&edges.settings.service_label, asked, shape, series, problems);
        ranges::look(facts, asked, shape, problems).await;
    }
}

/// Several series where nothing in the query says that several are meant.
fn many_series(service_label: &str, asked: &Asked, shape: &Shape, series: &[Series], problems: &mut Problems) {
    match asked.role {
        Role::Bad | Role::Compared => {}
        Role::Filter | Role::AtLeast | Role::Version | Role::Count | Role::AsOne => return,
    }
    let apart = |label: &&String| !matches!(label.as_str(), "le") && label.as_str() != service_label;
    if shape.grouped_by.iter().any(|label| apart(&label)) {
        return;
    }
    let services: BTreeSet<&str> =
        series.iter().map(|series| series.labels.get(service_label).map_or("", AsRef::as_ref)).collect();
    if series.len() <= services.len().max(1) {
        return;
    }
    let differ: BTreeSet<&str> = series.iter().flat_map(|series| series.labels.keys().map(AsRef::as_ref)).collect();
    let differ = differ.into_iter().filter(|label| {
        let values: BTreeSet<_> = series.iter().map(|series| series.labels.get(*label)).collect();
        values.len() > 1
    });
    let message = format!(
        "{} series where one is meant, told apart by {}, and the worst of them counts: wrap it in sum(…) or max(…), or \
         say `by` what it is to be told apart",
        series.len(),
        differ.collect::<Vec<_>>().join(", ")
    );
    problems.warning(Lint::ManySeries, asked.place, message);
}

impl Found {
    fn sentence(&self, asked: &Asked) -> Result<String, String> {
        match self {
            Self::Series(series) if series.is_empty() && asked.needs_deploy() => {
                Ok("empty, as it may be without a deploy".to_owned())
            }
            Self::Series(series) if series.is_empty() && asked.empty.is_empty() => {
                Ok("empty, as it is while nothing fails".to_owned())
            }
            Self::Series(series) if series.is_empty() && asked.role == Role::Count => {
                Ok(format!("warning: empty now: {}", asked.empty))
            }
            Self::Series(series) if series.is_empty() => Ok(format!("empty now: {}", asked.empty)),
            Self::Series(series) if series.len() == 1 => Ok("1 series".to_owned()),
            Self::Series(series) => Ok(format!("{} series", series.len())),
            Self::Failed(why) => Err(format!("error: {why}")),
        }
    }
}

impl Answered {
    /// Whether every query was answered.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.queries.iter().all(|(_, found)| found.is_ok())
    }

    /// For people: a line for each query, and one for each kind of question that nobody answered.
    #[must_use]
    pub fn text(&self) -> String {
        let line = |(what, found): &(String, Result<String, String>)| {
            let (Ok(found) | Err(found)) = found;
            format!("{what}: {found}\n")
        };
        let unanswered = self.unanswered.iter().map(|line| format!("{line}\n"));
        self.queries.iter().map(line).chain(unanswered).collect()
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Vec<Value> {
        let one = |(what, found): &(String, Result<String, String>)| {
            let (service, query) = what.split_once(' ').unwrap_or((what, ""));
            let (Ok(said) | Err(said)) = found;
            json!({"service": service, "query": query, "found": said, "ok": found.is_ok()})
        };
        self.queries.iter().map(one).collect()
    }

    /// What nobody answered, for programs.
    #[must_use]
    pub fn unanswered(&self) -> &[String] {
        &self.unanswered
    }
}
