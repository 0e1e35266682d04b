//! Labels, values and metrics that a query names and that do not exist.
//!
//! Never speaks of a value that only failures bring: where a query may well be empty, its label must exist, no more.

use std::collections::BTreeSet;

use rollbackd_core::config::lint::Lint;
use rollbackd_core::config::node::Problems;

use super::facts::Facts;
use super::{Asked, Role, STAND_IN};
use crate::promql::shape::{Matcher, Selector, Shape};

/// More values than these are no help.
const VALUES_SHOWN: usize = 5;

/// Notes each selector that has nothing, with the label that is to blame.
pub(super) async fn look(facts: &mut Facts<'_>, asked: &Asked, shape: &Shape, problems: &mut Problems) {
    let may_be_empty = asked.role == Role::Bad || shape.has_alternative;
    for selector in shape.selectors.iter().filter(|selector| !selector.in_absent && !selector.text.contains(STAND_IN)) {
        let Some(name) = &selector.name else { continue };
        if facts.has_data(&selector.text).await != Some(false) {
            continue;
        }
        if let Some(why) = blame(facts, name, selector, (may_be_empty, &asked.labels_of_total)).await {
            problems.warning(Lint::LabelMatchesNothing, asked.place, why);
        }
    }
}

async fn blame(
    facts: &mut Facts<'_>,
    name: &str,
    selector: &Selector,
    (may_be_empty, labels_of_total): (bool, &BTreeSet<String>),
) -> Option<String> {
    if !facts.has_data(name).await? {
        let message = format!("there is no series {name} now: is the name right, and is it scraped?");
        return (!may_be_empty).then_some(message);
    }
    for matcher in selector.matchers.iter().filter(|matcher| matcher.needs_label) {
        if !facts.has_data(&format!("{name}{{{}!=\"\"}}", matcher.label)).await? {
            return Some(no_such_label(facts, name, matcher).await);
        }
    }
    let speaks_of_failures = |matcher: &&Matcher| may_be_empty && !labels_of_total.contains(&matcher.label);
    for matcher in selector.matchers.iter().filter(|matcher| !speaks_of_failures(matcher)) {
        if !facts.has_data(&format!("{name}{{{}}}", matcher.text)).await? {
            return Some(no_such_value(facts, name, matcher).await);
        }
    }
    let what = &selector.text;
    (!may_be_empty).then(|| {
        format!("{what} has no series now, though each of its matchers alone has some: is the combination right?")
    })
}

async fn no_such_label(facts: &mut Facts<'_>, name: &str, matcher: &Matcher) -> String {
    let labels = facts.labels_of_one(name).await.unwrap_or_default();
    let labels: Vec<&str> = labels.keys().map(AsRef::as_ref).filter(|label| *label != "__name__").collect();
    let (text, label) = (&matcher.text, &matcher.label);
    format!("{text} matches nothing: {name} has no label {label}; it has {}", labels.join(", "))
}

async fn no_such_value(facts: &mut Facts<'_>, name: &str, matcher: &Matcher) -> String {
    let values = facts.values_of(name, &matcher.label).await.unwrap_or_default();
    let shown: Vec<&str> = values.iter().map(String::as_str).take(VALUES_SHOWN).collect();
    let more = values.len().checked_sub(VALUES_SHOWN).filter(|more| *more > 0);
    let more = more.map_or(String::new(), |more| format!(" and {more} more"));
    let (text, label) = (&matcher.text, &matcher.label);
    format!("{text} matches nothing: {label} of {name} is {}{more} now", shown.join(", "))
}
