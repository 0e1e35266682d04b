//! Budgets against what the receipts tell: one that the preferred path keeps missing is no budget.
//!
//! Only reads the folder of receipts.

use std::path::Path;

use rollbackd_core::config::{Action, Service};
use rollbackd_core::estimate::estimate;
use rollbackd_core::receipt::took;
use rollbackd_core::time::show_duration;

use crate::config::Settings;
use crate::receipts::{PastRun, Receipts};

/// One missed run of so many is a bad day; more are a budget that can't be met.
const RUNS_FOR_ONE_MISS: usize = 10;

/// A line for each budget of the config that its service's preferred path has missed in over one of ten runs.
pub(super) fn warnings(file: &Path, settings: &Settings) -> String {
    let file = file.display();
    let receipts = Receipts::new(settings.receipts_dir.clone());
    let mut text = String::new();
    for service in settings.core.services.values() {
        match receipts.runs(&service.name) {
            Ok(runs) => {
                of_service(service, &runs).iter().for_each(|why| text.push_str(&format!("{file}: warning: {why}\n")))
            }
            Err(error) => {
                let why = std::error::Error::source(&error).map_or(String::new(), |why| format!(": {why}"));
                return format!("{file}: warning: budgets were not compared with past runs: {error}{why}\n");
            }
        }
    }
    text
}

fn of_service(service: &Service, runs: &[PastRun]) -> Vec<String> {
    let Some(path) = service.paths.first().map(|path| &path.name) else { return Vec::new() };
    let runs: Vec<&PastRun> = runs.iter().filter(|run| &run.path == path).collect();
    let rolling = service.triggers.iter().filter(|trigger| trigger.action == Action::Rollback);
    let budgets = rolling.filter_map(|trigger| Some((trigger, trigger.budget?)));
    let mut warnings = Vec::new();
    for (trigger, budget) in budgets {
        let missed = runs.iter().filter(|run| run.total.is_none_or(|total| total > budget)).count();
        if missed * RUNS_FOR_ONE_MISS <= runs.len() {
            continue;
        }
        let next = estimate(runs.iter().filter_map(|run| run.total));
        let next = next.map(|next| {
            let whole = |duration: std::time::Duration| took(std::time::Duration::from_secs(duration.as_secs()));
            format!("; by these the next takes {} to {}", whole(next.at_least), whole(next.at_most))
        });
        warnings.push(format!(
            "service {}, trigger {}: path {path} missed its budget of {} in {missed} of {} runs (incidents and rehearsals, \
             from observed to recovered){}: give it more time, or make the path faster",
            service.name,
            trigger.name,
            show_duration(budget),
            runs.len(),
            next.unwrap_or_default()
        ));
    }
    warnings
}
