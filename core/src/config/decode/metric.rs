//! How a trigger is observed: by reports, or by queries, a condition and the traffic below which they say nothing.
//!
//! Never asks Prometheus anything.

use std::sync::Arc;
use std::time::Duration;

use super::comparison;
use super::query::{self, Queried, Use};
use super::trigger::Origin;
use super::{Filtering, MOST_SLOTS, Reading};
use crate::config::lint::Lint;
use crate::config::node::{self, Fields, Node, Place, Problems};
use crate::config::{AtLeast, Condition, Freshness, Limit, Metric, Observed, Query};
use crate::template::{Template, Variable};
use crate::time::show_duration;

/// Samples older than this many evaluation intervals are stale, where `prometheus.lookback_delta` doesn't say otherwise.
/// Prometheus' own five minutes would let a gap of minutes pass for a breach that goes on.
const STALE_INTERVALS: u32 = 5;

/// The keys of a trigger that say how it is observed, as they were written.
struct Keys<'a> {
    bad: Option<&'a Node>,
    total: Option<&'a Node>,
    expr: Option<&'a Node>,
    above: Option<&'a Node>,
    below: Option<&'a Node>,
    at_least: Option<&'a Node>,
    baseline: Option<&'a Node>,
    compare: Option<&'a Node>,
    false_alarms: Option<&'a Node>,
}

impl<'a> Keys<'a> {
    fn of(fields: &mut Fields<'a>) -> Self {
        Self {
            bad: fields.optional("bad"),
            total: fields.optional("total"),
            expr: fields.optional("expr"),
            above: fields.optional("above"),
            below: fields.optional("below"),
            at_least: fields.optional("at_least"),
            baseline: fields.optional("baseline"),
            compare: fields.optional("compare"),
            false_alarms: fields.optional("false_alarms"),
        }
    }

    fn present(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            ("bad", self.bad),
            ("total", self.total),
            ("expr", self.expr),
            ("above", self.above),
            ("below", self.below),
            ("at_least", self.at_least),
            ("baseline", self.baseline),
            ("compare", self.compare),
            ("false_alarms", self.false_alarms),
        ];
        all.into_iter().filter_map(|(key, node)| node.map(|_| key))
    }
}

/// How the trigger is observed. `hold` is its `for`.
pub(super) fn decode(
    fields: &mut Fields<'_>,
    hold: Duration,
    origin: Origin,
    reading: &Reading<'_>,
    problems: &mut Problems,
) -> Option<Observed> {
    let observed = fields.optional("observed");
    let keys = Keys::of(fields);
    if let Some(node) = observed {
        return report(node, fields, &keys, problems);
    }
    let baseline = comparison::baseline(keys.baseline, problems);
    let limit = limit(fields, &keys, baseline.window, problems);
    let at_least = keys.at_least.and_then(|node| at_least(node, reading, problems));
    let (query, queried) = queries(fields, &keys, origin, reading, problems)?;
    let condition = condition(fields, &query, &queried, limit?, problems)?;
    let traffic = at_least.as_ref().map(|(_, queried)| queried);
    if origin == Origin::Shared {
        check_asked_alike(queried.iter().chain(traffic), problems);
    }
    let window = queried.iter().chain(traffic).map(Queried::window).max().unwrap_or_default();
    let Keys { compare, false_alarms, .. } = keys;
    let compared = comparison::Keys { compare, false_alarms, label: baseline.label };
    let interval = reading.evaluation_interval;
    let read = comparison::Read { hold, window, interval, condition, query: &query, queried: &queried };
    let compared = comparison::decode(fields, compared, &read, problems)?;
    let own_step = compared.as_ref().map(|(_, step)| *step);
    let step = step(fields, (hold, own_step), condition, &keys, reading, problems)?;
    let freshness = freshness(&queried, origin, reading);
    let at_least = at_least.map(|(at_least, _)| at_least);
    let comparison = compared.map(|(comparison, _)| comparison);
    Some(Observed::Metric(Arc::new(Metric { query, condition, at_least, window, freshness, step, comparison })))
}

fn report(node: &Node, fields: &Fields<'_>, keys: &Keys<'_>, problems: &mut Problems) -> Option<Observed> {
    if node::text(node, problems)? != "report" {
        let expected = "a trigger that Prometheus observes has `expr`, or `bad` and `total`, instead";
        problems.error(node.place, format!("expected `report`: {expected}"));
    }
    for key in keys.present() {
        let message = format!("`{key}` means nothing in a trigger with `observed: report`: leave one of them out");
        problems.error(fields.key_place(key), message);
    }
    Some(Observed::Report)
}

/// The queries as they are asked, and what is known of each.
fn queries(
    fields: &Fields<'_>,
    keys: &Keys<'_>,
    origin: Origin,
    reading: &Reading<'_>,
    problems: &mut Problems,
) -> Option<(Query, Vec<Queried>)> {
    let what = fields.what();
    let mut read = |node| query::query(node, Use::Trigger, reading, problems);
    match (keys.expr, keys.bad, keys.total) {
        (None, Some(bad), Some(total)) => {
            // Both are read before either may end it, so that the mistakes of both show.
            let (bad, total) = (read(bad), read(total));
            let (bad, total) = (bad?, total?);
            let query = Query::Ratio { bad: bad.template.clone(), total: total.template.clone() };
            Some((query, vec![bad, total]))
        }
        (Some(expr), None, None) => {
            let expr = read(expr)?;
            let query = match (keys.above, keys.below) {
                (None, None) => filter(fields, &expr, origin, reading, problems)?,
                (Some(_), _) | (_, Some(_)) => Query::Expression(expr.template.clone()),
            };
            Some((query, vec![expr]))
        }
        (Some(expr), bad, total) => {
            read(expr);
            for (key, node) in [("bad", bad), ("total", total)] {
                if node.is_some() {
                    let message =
                        format!("{what} has `expr` as well as `{key}`: expected `expr`, or `bad` and `total`");
                    problems.error(fields.key_place(key), message);
                }
            }
            None
        }
        (None, None, None) => {
            let expected = "expected `bad` and `total`, or `expr`, or `observed: report`";
            problems.error(fields.place, format!("{what} says nothing of how it is observed: {expected}"));
            None
        }
        (None, Some(bad), None) => {
            read(bad);
            problems.error(fields.key_place("bad"), format!("{what} has `bad` without `total`: a ratio needs both"));
            None
        }
        (None, None, Some(total)) => {
            read(total);
            problems.error(fields.key_place("total"), format!("{what} has `total` without `bad`: a ratio needs both"));
            None
        }
    }
}

/// An `expr` without a limit: it must filter by itself.
fn filter(
    fields: &Fields<'_>,
    expr: &Queried,
    origin: Origin,
    reading: &Reading<'_>,
    problems: &mut Problems,
) -> Option<Query> {
    let what = fields.what();
    let Some(facts) = &expr.facts else {
        let why = "whether there is data can't be told from an expression that can't be read";
        problems.error(expr.place, format!("{what} needs `above` or `below`: {why}"));
        return None;
    };
    if facts.filtering == Filtering::Never {
        let why = "nothing in its `expr` filters, so every series would be a breach";
        problems.error(expr.place, format!("{what} needs `above` or `below`: {why}"));
        return None;
    }
    let per_label =
        (origin == Origin::Shared && !expr.template.names(Variable::Service)).then_some(reading.service_label.as_str());
    let presence = query::presence(&facts.selectors, per_label)?;
    Some(Query::Filter { expr: expr.template.clone(), presence })
}

/// How stale samples are told, where a query reads any that could be.
fn freshness(queried: &[Queried], origin: Origin, reading: &Reading<'_>) -> Option<Freshness> {
    let facts = queried.iter().filter_map(|queried| queried.facts.as_ref());
    let mut selectors: Vec<String> = facts.flat_map(|facts| facts.instant_selectors.iter().cloned()).collect();
    selectors.dedup();
    let by_name = queried.iter().any(|queried| queried.template.names(Variable::Service));
    let per_label = (origin == Origin::Shared && !by_name).then_some(reading.service_label.as_str());
    let by_default = reading.evaluation_interval * STALE_INTERVALS;
    let stale_after = reading.edges.lookback_delta.unwrap_or(by_default);
    Some(Freshness { newest: query::newest(&selectors, per_label)?, stale_after })
}

/// The limit, where there is one; nothing at all where it can't be read.
#[expect(clippy::option_option, reason = "no limit is right for a filter; a limit that can't be read is a mistake")]
fn limit(fields: &Fields<'_>, keys: &Keys<'_>, window: Duration, problems: &mut Problems) -> Option<Option<Condition>> {
    let limit = match (keys.above, keys.below) {
        (None, None) => None,
        (Some(node), None) => Some(Condition::Above(limit_at(node, window, problems)?)),
        (None, Some(node)) => Some(Condition::Below(limit_at(node, window, problems)?)),
        (Some(_), Some(_)) => {
            let message =
                format!("{} has both `above` and `below`: expected one; make two triggers of it", fields.what());
            problems.error(fields.key_place("below"), message);
            return None;
        }
    };
    let multiple = matches!(
        limit,
        Some(Condition::Above(Limit::TimesBaseline { .. }) | Condition::Below(Limit::TimesBaseline { .. }))
    );
    if keys.baseline.is_some() && !multiple {
        problems.error(fields.key_place("baseline"), "`baseline` means nothing without a limit such as `2x baseline`");
    }
    Some(limit)
}

fn limit_at(node: &Node, window: Duration, problems: &mut Problems) -> Option<Limit> {
    let written = node::text(node, problems)?;
    let parsed = parse_limit(written, window);
    if parsed.is_none() {
        let expected = "expected a number, a percentage such as 5%, or a multiple such as 2x baseline";
        problems.error(node.place, format!("{expected}, not {written:?}"));
    }
    parsed
}

/// Reads `0.5`, `5%` or `2x baseline`.
fn parse_limit(text: &str, window: Duration) -> Option<Limit> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|value| value.is_finite());
    if let Some(multiple) = text.trim().strip_suffix("baseline") {
        let factor = number(multiple.trim_end().strip_suffix('x')?)?;
        return (factor > 0.0).then_some(Limit::TimesBaseline { factor, window });
    }
    if let Some(percentage) = text.trim().strip_suffix('%') {
        return Some(Limit::Fixed { value: number(percentage)? / 100.0, shown_as_percentage: true });
    }
    Some(Limit::Fixed { value: number(text)?, shown_as_percentage: false })
}

/// The limit as the queries' condition; what can't be meant is noted.
fn condition(
    fields: &Fields<'_>,
    query: &Query,
    queried: &[Queried],
    limit: Option<Condition>,
    problems: &mut Problems,
) -> Option<Condition> {
    match (query, limit) {
        (Query::Filter { .. }, None) => return Some(Condition::Any),
        (Query::Ratio { .. } | Query::Expression(_), None) => {
            problems.error(fields.place, format!("{} has no limit: expected `above` or `below`", fields.what()));
            return None;
        }
        (Query::Filter { .. } | Query::Ratio { .. } | Query::Expression(_), Some(_)) => {}
    }
    if let (Query::Ratio { .. }, Some(Condition::Above(Limit::Fixed { value, .. }))) = (query, limit)
        && value >= 1.0
    {
        let message = format!("a ratio is never above {value}: a percentage is written with its sign, as in 5%");
        problems.warning(Lint::PercentageSign, fields.value_place("above"), message);
    }
    if let Some(Condition::Above(Limit::TimesBaseline { factor, .. })) = limit
        && (factor < 1.0 || (factor <= 1.0 && !fields.has("compare")))
    {
        problems.warning(
            Lint::BaselineFactor,
            fields.value_place("above"),
            "a healthy version is above this half of the time",
        );
    }
    let outermost = queried.iter().find(|queried| queried.filtering() == Some(Filtering::Outermost));
    if let Some(outermost) = outermost {
        let message = "its comparison drops what is healthy, which then reads as no data: leave the comparison or \
                       the limit out";
        problems.warning(Lint::ComparisonAndLimit, outermost.place, message);
    }
    if let Some(Condition::Above(Limit::TimesBaseline { .. }) | Condition::Below(Limit::TimesBaseline { .. })) = limit {
        warn_of_moving_baseline(queried, problems);
    }
    limit
}

fn warn_of_moving_baseline(queried: &[Queried], problems: &mut Problems) {
    for each in queried.iter().filter(|each| each.template.names(Variable::SinceDeploy)) {
        let message = "{{ since_deploy }} grows while the baseline lies before the deploy: the two are hardly alike";
        problems.warning(Lint::MovingBaseline, each.place, message);
    }
}

/// A shared query is asked once per service or once for all, and what knows one deploy can't be asked for all.
fn check_asked_alike<'a>(queried: impl Iterator<Item = &'a Queried> + Clone, problems: &mut Problems) {
    let per_service = queried.clone().any(|each| each.template.names(Variable::Service));
    for each in queried.filter(|each| !each.template.names(Variable::Service)) {
        if per_service {
            let why = "another query of this shared trigger is asked once per service";
            problems.error(each.place, format!("expected {{{{ service }}}} here too: {why}"));
        } else if let Some(variable) = each.template.variables().next() {
            let (name, why) = (variable.name(), "a shared query without {{ service }} is asked once for all services");
            problems.error(each.place, format!("{{{{ {name} }}}} needs {{{{ service }}}} beside it: {why}"));
        }
    }
}

fn at_least(node: &Node, reading: &Reading<'_>, problems: &mut Problems) -> Option<(AtLeast, Queried)> {
    let mut fields = Fields::of(node, "at_least", problems)?;
    let expr = fields.required("expr", problems);
    let expr = expr.and_then(|node| query::query(node, Use::Trigger, reading, problems));
    let value = fields.required("value", problems).and_then(|node| {
        let value = node::number(node, problems)?;
        if value < 0.0 {
            problems.error(node.place, "expected a number that is not negative: there is no such traffic");
        }
        Some(value)
    });
    fields.finish(problems);
    let expr = expr?;
    let template: Template = expr.template.clone();
    Some((AtLeast { expr: template, value: value? }, expr))
}

/// From slot to slot, where the trigger's `for` and baseline are not too many of them. A comparison has a step of its own.
fn step(
    fields: &Fields<'_>,
    (hold, own): (Duration, Option<Duration>),
    condition: Condition,
    keys: &Keys<'_>,
    reading: &Reading<'_>,
    problems: &mut Problems,
) -> Option<Duration> {
    let interval = reading.evaluation_interval;
    let mut fits = |length: Duration, step: Duration, place: Place| {
        let slots = length.as_millis() / step.as_millis().max(1);
        if slots > MOST_SLOTS {
            let (length, step) = (show_duration(length), show_duration(step));
            let message = format!("{length} in steps of {step} are {slots} points: expected at most {MOST_SLOTS}");
            problems.error(place, format!("{message}; raise evaluation_interval"));
        }
        slots <= MOST_SLOTS
    };
    if !fits(hold, interval, fields.value_place("for")) {
        return None;
    }
    let step = own.unwrap_or_else(|| Metric::step(hold, interval));
    let baseline = match condition {
        Condition::Above(Limit::TimesBaseline { window, .. })
        | Condition::Below(Limit::TimesBaseline { window, .. }) => window,
        Condition::Above(Limit::Fixed { .. }) | Condition::Below(Limit::Fixed { .. }) | Condition::Any => {
            return Some(step);
        }
    };
    let place = keys.baseline.map_or(fields.place, |node| node.place);
    fits(baseline, step, place).then_some(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::decode::HOUR;

    #[test]
    fn a_limit_is_a_number_a_percentage_or_a_multiple() {
        let fixed = |value, shown_as_percentage| Some(Limit::Fixed { value, shown_as_percentage });
        let times = |factor| Some(Limit::TimesBaseline { factor, window: HOUR });
        let table = [
            ("5%", fixed(0.05, true)),
            ("0.5 %", fixed(0.005, true)),
            ("250", fixed(250.0, false)),
            ("-1.5", fixed(-1.5, false)),
            ("2x baseline", times(2.0)),
            ("1.5x  baseline", times(1.5)),
            ("2 x baseline", times(2.0)),
            ("0x baseline", None),
            ("baseline", None),
            ("2 baseline", None),
            ("x baseline", None),
            ("nan", None),
            ("inf%", None),
            ("5m", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_limit(text, HOUR), expected, "{text}");
        }
    }
}
