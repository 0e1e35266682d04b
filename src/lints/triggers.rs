//! What a trigger's queries show to be hardly meant, without asking anybody.
//!
//! Never speaks of a query that can't be read.

use std::time::Duration;

use rollbackd_core::config::lint::Lint;
use rollbackd_core::config::node::Problems;
use rollbackd_core::config::{Metric, Observed, Query, Service, Trigger};
use rollbackd_core::template::{Template, Values, Variable};
use rollbackd_core::time::show_duration;

use super::cost;
use super::places::Places;
use crate::config::Settings;
use crate::promql::shape::{Shape, shape};

/// What stands for `since_deploy` here: nothing a person writes, so that it is known again.
const SINCE_DEPLOY: Duration = Duration::from_millis(1);
/// The same as PromQL.
pub(super) const SINCE_DEPLOY_TEXT: &str = "1ms";

/// A stand-in for what only a deploy brings.
const STAND_IN: &str = "v0";

/// Looks at every trigger of every service.
pub(super) fn look(settings: &Settings, places: &Places, problems: &mut Problems) {
    for service in settings.core.services.values() {
        for trigger in &service.triggers {
            if let Observed::Metric(metric) = &trigger.observed {
                let shapes = shapes(service, metric);
                // A comparison of samples asks for no hold: it says itself how many it needs.
                if metric.comparison.is_none() {
                    for_below_window(service, trigger, &shapes, places, problems);
                }
                ratio_without_at_least(service, trigger, metric, &shapes, places, problems);
                cost::note(service, trigger, metric, &shapes, places, problems);
            }
        }
    }
}

/// What the queries whose value is judged are made of.
fn shapes(service: &Service, metric: &Metric) -> Vec<Shape> {
    let queries: Vec<&Template> = match &metric.query {
        Query::Ratio { bad, total } => vec![bad, total],
        Query::Expression(expr) | Query::Filter { expr, .. } => vec![expr],
    };
    let values = Values::default()
        .with(Variable::Service, service.name.as_str())
        .with(Variable::DeployVersion, STAND_IN)
        .with(Variable::DeployAt, "2000-01-01T00:00:00Z")
        .with(Variable::DeployCommit, STAND_IN)
        .with(Variable::SinceDeploy, SINCE_DEPLOY_TEXT);
    queries.into_iter().filter_map(|template| shape(&template.render(&values).ok()?)).collect()
}

/// Whether a range is one that people wrote, and not `since_deploy`.
pub(super) fn is_written(range: Duration) -> bool {
    range > SINCE_DEPLOY
}

fn for_below_window(service: &Service, trigger: &Trigger, shapes: &[Shape], places: &Places, problems: &mut Problems) {
    let reach = shapes.iter().map(|shape| shape.reach).max().unwrap_or_default();
    if trigger.hold >= reach || !is_written(reach) {
        return;
    }
    let (hold, reach) = (show_duration(trigger.hold), show_duration(reach));
    let message = format!(
        "`for` is {hold}, shorter than the {reach} that the query looks back: a single burst stays in it for {reach} and \
         fires the trigger; make `for` {reach} or longer, or the range shorter"
    );
    problems.warning(Lint::ForBelowWindow, places.of_trigger(service, trigger, "for"), message);
}

fn ratio_without_at_least(
    service: &Service,
    trigger: &Trigger,
    metric: &Metric,
    shapes: &[Shape],
    places: &Places,
    problems: &mut Problems,
) {
    let key = match &metric.query {
        Query::Ratio { .. } => "total",
        Query::Expression(_) | Query::Filter { .. } if shapes.iter().any(|shape| shape.divides) => "expr",
        Query::Expression(_) | Query::Filter { .. } => return,
    };
    if metric.at_least.is_none() {
        let message = "a ratio of little traffic fires by chance: one failure of ten requests is 10%; add the traffic \
                       below which it says nothing: `at_least: {expr: …, value: N}`";
        problems.warning(Lint::RatioWithoutAtLeast, places.of_trigger(service, trigger, key), message);
    }
}
