//! The templates of queries, paths and texts: which variables may stand where, and what PromQL makes of a query.
//!
//! Never renders for real: the values here are stand-ins, so that PromQL can be read before there is a deploy.

use std::time::Duration;

use super::{Dialect, Filtering, PromqlFacts, Reading};
use crate::config::lint::Lint;
use crate::config::node::{self, Node, Place, Problems};
use crate::template::{Template, Values, Variable};

use Variable::{
    AttemptId, BadWindow, DeployAt, DeployCommit, DeployVersion, FiringId, Service, SinceDeploy, TargetRevision,
    TargetVersion,
};

/// Where a template stands, which decides what it may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A trigger's query: asked after a deploy and before a firing.
    Trigger,
    /// `version_query`: asked at any time, so there may be no deploy.
    Version,
    /// A side effect's `count`: asked once the firing is over.
    Count,
    /// A side effect's `compensate`: a text for a human.
    Compensate,
    /// What a path runs.
    Path,
}

impl Use {
    const fn allowed(self) -> &'static [Variable] {
        match self {
            Self::Trigger => &[Service, DeployVersion, DeployAt, DeployCommit, SinceDeploy],
            Self::Version => &[Service],
            Self::Count => &[
                Service,
                DeployVersion,
                DeployAt,
                DeployCommit,
                TargetVersion,
                TargetRevision,
                FiringId,
                SinceDeploy,
                BadWindow,
            ],
            Self::Compensate => {
                &[Service, DeployVersion, DeployAt, DeployCommit, TargetVersion, TargetRevision, FiringId, BadWindow]
            }
            Self::Path => {
                &[Service, DeployVersion, DeployAt, DeployCommit, TargetVersion, TargetRevision, FiringId, AttemptId]
            }
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Trigger => "a trigger's query",
            Self::Version => "`version_query`",
            Self::Count => "`count`",
            Self::Compensate => "`compensate`",
            Self::Path => "a path",
        }
    }
}

/// A query and what is known of it; nothing is known where a dialect is let through.
pub(super) struct Queried {
    pub(super) template: Template,
    pub(super) facts: Option<PromqlFacts>,
    pub(super) place: Place,
}

impl Queried {
    /// How far behind an instant it looks. Of a dialect that can't be read the brackets say it, roughly.
    pub(super) fn window(&self) -> Duration {
        match &self.facts {
            Some(facts) => facts.window,
            None => bracketed(self.template.source()),
        }
    }

    pub(super) fn filtering(&self) -> Option<Filtering> {
        self.facts.as_ref().map(|facts| facts.filtering)
    }
}

/// The template at this node, if it names only what is known there.
pub(super) fn template(node: &Node, place_of_use: Use, problems: &mut Problems) -> Option<Template> {
    let template = node::template(node, problems)?;
    check_variables(&template, node.place, place_of_use, problems);
    Some(template)
}

/// Notes each variable that is not known at this use.
pub(super) fn check_variables(template: &Template, place: Place, place_of_use: Use, problems: &mut Problems) {
    let allowed = place_of_use.allowed();
    for variable in template.variables().filter(|variable| !allowed.contains(variable)) {
        let names: Vec<&str> = allowed.iter().map(|variable| variable.name()).collect();
        let (name, used, names) = (variable.name(), place_of_use.name(), names.join(", "));
        problems.error(place, format!("{{{{ {name} }}}} is not known in {used}: expected one of {names}"));
    }
}

/// The query at this node: its template and its PromQL are checked.
pub(super) fn query(node: &Node, place_of_use: Use, reading: &Reading<'_>, problems: &mut Problems) -> Option<Queried> {
    let template = template(node, place_of_use, problems)?;
    // Cannot fail: every variable has a stand-in.
    let rendered = template.render(&stand_ins()).ok()?;
    let facts = match ((reading.edges.promql)(&rendered), reading.edges.dialect) {
        (Ok(facts), _) => Some(with_variables(facts)),
        (Err(error), Dialect::Strict) => {
            let hint = "`prometheus: {promql: lenient}` lets dialects through";
            problems.error(node.place, format!("not PromQL: {} ({hint})", without_stand_ins(&error)));
            return None;
        }
        (Err(error), Dialect::Lenient) => {
            problems.warning(
                Lint::UnknownDialect,
                node.place,
                format!("not PromQL as we know it: {}", without_stand_ins(&error)),
            );
            None
        }
    };
    let template = match &facts {
        Some(facts) if facts.is_scalar && place_of_use == Use::Trigger => as_series(&template)?,
        Some(_) | None => template,
    };
    Some(Queried { template, facts, place: node.place })
}

/// A number as a series of its own: a trigger's queries are asked as one, and in PromQL only series can be put together.
fn as_series(scalar: &Template) -> Option<Template> {
    // On lines of its own: it may end with a comment. Cannot fail: it was read as a template before.
    Template::parse(&format!("vector(\n{}\n)", scalar.source())).ok()
}

/// Letters alone, so that a stand-in passes for a part of a metric's name, a label's value and a regular expression,
/// and is found again in a selector. `since_deploy` adds nothing to a window: it never reaches behind the deploy.
const TEXTS: [(Variable, &str); 8] = [
    (Service, "standInService"),
    (DeployVersion, "standInDeployVersion"),
    (DeployAt, "standInDeployAt"),
    (DeployCommit, "standInDeployCommit"),
    (TargetVersion, "standInTargetVersion"),
    (TargetRevision, "standInTargetRevision"),
    (FiringId, "standInFiringId"),
    (AttemptId, "standInAttemptId"),
];

fn stand_ins() -> Values {
    let durations = Values::default().with(SinceDeploy, "1ms").with(BadWindow, "1m");
    TEXTS.iter().fold(durations, |values, (variable, text)| values.with(*variable, *text))
}

fn without_stand_ins(text: &str) -> String {
    TEXTS.iter().fold(text.to_owned(), |text, (variable, stand_in)| {
        text.replace(stand_in, &format!("{{{{ {} }}}}", variable.name()))
    })
}

fn with_variables(facts: PromqlFacts) -> PromqlFacts {
    let with = |selectors: &[String]| selectors.iter().map(|selector| without_stand_ins(selector)).collect();
    PromqlFacts { selectors: with(&facts.selectors), instant_selectors: with(&facts.instant_selectors), ..facts }
}

/// A query that returns something wherever anything of these selectors has data; per service where one query is asked
/// for all of them. Without a selector nothing can be missing.
pub(super) fn presence(selectors: &[String], per_label: Option<&str>) -> Option<Template> {
    let by = per_label.map_or(String::new(), |label| format!(" by ({label}) "));
    let counts: Vec<String> = selectors.iter().map(|selector| format!("count{by}({selector})")).collect();
    let source = if counts.is_empty() { "vector(1)".to_owned() } else { counts.join(" or ") };
    // Cannot fail: only variables of a template that was read stand in it.
    Template::parse(&source).ok()
}

/// A query for the instant of the newest sample of selectors that are read without a range; `None` without any.
pub(super) fn newest(selectors: &[String], per_label: Option<&str>) -> Option<Template> {
    if selectors.is_empty() {
        return None;
    }
    let by = per_label.map_or(String::new(), |label| format!(" by ({label}) "));
    let instants: Vec<String> = selectors.iter().map(|selector| format!("timestamp({selector})")).collect();
    // Cannot fail: only variables of a template that was read stand in it.
    Template::parse(&format!("max{by}({})", instants.join(" or "))).ok()
}

/// The sum of the durations in brackets and behind `offset`: at least as far as a query of an unknown dialect looks.
fn bracketed(query: &str) -> Duration {
    let insides = query.split('[').skip(1).filter_map(|rest| rest.split([']', ':']).next());
    let offsets = query.split("offset").skip(1).filter_map(|rest| rest.split_whitespace().next());
    let durations = insides.chain(offsets).filter_map(|text| {
        crate::time::parse_duration(text.trim().trim_end_matches(|each: char| !each.is_ascii_alphanumeric())).ok()
    });
    durations.fold(Duration::ZERO, Duration::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_and_offsets_of_a_dialect_add_up() {
        assert_eq!(bracketed("rate(x[5m] offset 1m) keep_metric_names"), Duration::from_secs(360));
        assert_eq!(bracketed("max_over_time(rate(x[$__interval])[1h:1m])"), Duration::from_secs(3600));
        assert_eq!(bracketed("x[[]]offset"), Duration::ZERO);
    }

    #[test]
    fn presence_asks_for_each_selector() {
        let of = |selectors: &[&str], label| {
            let selectors: Vec<String> = selectors.iter().map(|text| (*text).to_owned()).collect();
            presence(&selectors, label).unwrap().source().to_owned()
        };
        assert_eq!(of(&["a", "b{x=\"{{ service }}\"}"], None), "count(a) or count(b{x=\"{{ service }}\"})");
        assert_eq!(of(&["a"], Some("job")), "count by (job) (a)");
        assert_eq!(of(&[], None), "vector(1)");
    }
}
