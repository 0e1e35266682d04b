//! How somebody does it who has never seen the service, where the daemon is not there to do it.

use std::fmt::Write as _;

use rollbackd_core::config::{Condition, Observed, Query, Trigger};
use rollbackd_core::receipt::text::{code_span, fenced, prose};
use rollbackd_core::template::Template;
use rollbackd_core::time::show_duration;

use super::{Told, indented};
use crate::http_client::Endpoint;

/// The steps, in their order.
pub(super) fn steps(told: &Told<'_>, text: &mut String) {
    text.push_str("### By hand, without the daemon\n\n");
    let steps = [
        Some(look(told)),
        Some(versions(told)),
        Some(go_back()),
        Some(prove(told)),
        Some(made_good()),
        Some(tell(told)),
    ];
    for (index, step) in steps.into_iter().flatten().enumerate() {
        let _ = writeln!(text, "{}. {}", index + 1, step.trim_end());
    }
    text.push('\n');
}

fn prometheus(told: &Told<'_>) -> String {
    // The server alone: a path may hold a token.
    let endpoint = Endpoint::parse(&told.settings.prometheus.url);
    endpoint.map_or("Prometheus".to_owned(), |endpoint| format!("Prometheus at {}", code_span(&endpoint.to_string())))
}

fn look(told: &Told<'_>) -> String {
    let mut step = format!("Look whether it is true. In {}:\n", prometheus(told));
    let metrics = told.service.triggers.iter().filter(|trigger| matches!(trigger.observed, Observed::Metric(_)));
    let queries: Vec<String> = metrics.map(|trigger| query(told, trigger)).collect();
    if queries.is_empty() {
        return "Look whether it is true: no trigger of this service has a query, so ask whoever reported it."
            .to_owned();
    }
    let _ = write!(step, "\n{}", indented(&fenced(&queries.join("\n\n"))));
    step
}

fn query(told: &Told<'_>, trigger: &Trigger) -> String {
    let Observed::Metric(metric) = &trigger.observed else { return String::new() };
    let fill = |template: &Template| told.fill(template);
    let expression = match &metric.query {
        Query::Ratio { bad, total } => format!("(\n  {}\n) / (\n  {}\n)", fill(bad), fill(total)),
        Query::Expression(expr) | Query::Filter { expr, .. } => fill(expr),
    };
    let baseline = metric
        .baseline_window()
        .map(|window| format!(" (its baseline: the same over the {} before the deploy)", show_duration(window)));
    let which = match metric.condition {
        Condition::Any => "bad where it returns anything".to_owned(),
        Condition::Above(_) | Condition::Below(_) => format!("bad where {}", super::spoken::when(trigger)),
    };
    format!("# {}: {which}{}\n{expression}", trigger.name, baseline.unwrap_or_default())
}

fn versions(told: &Told<'_>) -> String {
    let serves = match &told.service.version_query {
        None => "Find out which version serves (no `version_query` is configured).".to_owned(),
        Some(query) => {
            let query = told.fill(query);
            format!("Find out which version serves: the label `version` of the newest series of {}.", code_span(&query))
        }
    };
    format!(
        "{serves} Go back to the latest version before it that ran without trouble: `rollbackd status` names it as the \
         target, else take the one that was deployed before, and never one that was rolled back."
    )
}

fn go_back() -> String {
    "Go back by the first of the ways above that works, as it says under “By hand”. Note when you began. Start one way \
     at a time, and look up what became of it before you start the next."
        .to_owned()
}

fn prove(told: &Told<'_>) -> String {
    let mut proofs = vec!["the queries above are below their limits again".to_owned()];
    if told.service.version_query.is_some() {
        proofs.insert(0, "the version that you went back to is what serves".to_owned());
    }
    if let Some(smoke) = &told.service.smoke {
        proofs.push(format!("{} answers 2xx", code_span(&format!("curl -fsS {smoke}"))));
    }
    format!("It is over when {}.", proofs.join(", and "))
}

fn made_good() -> String {
    "Do what stands under “Afterwards” of the way that you took, and make good what a rollback does not undo (below)."
        .to_owned()
}

fn tell(told: &Told<'_>) -> String {
    format!(
        "Where the daemon runs again, tell it what serves: {}. Write down what you did and how long \
         it took; {} holds the receipts.",
        code_span(&format!("rollbackd deploy {} VERSION", told.service.name)),
        prose(&told.settings.receipts_dir.display().to_string())
    )
}
