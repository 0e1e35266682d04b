//! What a PromQL query is made of, for who gives advice on it: its ranges with the functions over them, its selectors
//! with their matchers, the labels that it groups by.
//!
//! Never judges any of it.

use std::collections::BTreeSet;
use std::time::Duration;

use promql_parser::label::{MatchOp, Matcher as Parsed, Matchers};
use promql_parser::parser::token::{T_DIV, T_LOR};
use promql_parser::parser::{Expr, LabelModifier, VectorSelector};

use super::parse;

/// What a query is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Each selector with a range.
    pub ranges: Vec<Range>,
    /// Each selector, with a range or without.
    pub selectors: Vec<Selector>,
    /// The labels after `by` and `without`.
    pub grouped_by: BTreeSet<String>,
    /// Whether a division is the last thing that is done.
    pub divides: bool,
    /// Whether it says itself what stands for nothing (`or`).
    pub has_alternative: bool,
    /// How far behind an instant its ranges reach together, without offsets: a row of samples stays in them for so long.
    pub reach: Duration,
}

/// A selector with a range, and the function over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The innermost function; empty where there is none.
    pub function: &'static str,
    /// What is selected.
    pub selector: Selector,
    /// The range.
    pub length: Duration,
    /// Whether it stands inside a subquery.
    pub in_subquery: bool,
}

/// A selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The metric's name, where it is said.
    pub name: Option<String>,
    /// What the labels must be, the name aside; empty where alternatives (`or`) stand between the braces.
    pub matchers: Vec<Matcher>,
    /// The selector as PromQL, without range and offset.
    pub text: String,
    /// Whether it stands inside `absent`: then that it selects nothing is what is asked.
    pub in_absent: bool,
}

/// What a label must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    /// The label.
    pub label: String,
    /// The matcher as PromQL.
    pub text: String,
    /// Whether a series without the label can't match.
    pub needs_label: bool,
}

/// Where an expression stands.
#[derive(Clone, Copy, Default)]
struct Around {
    function: &'static str,
    reach: Duration,
    in_subquery: bool,
    in_absent: bool,
}

/// What a query is made of; none where it can't be read.
#[must_use]
pub fn shape(query: &str) -> Option<Shape> {
    if query.len() > super::LONGEST_BYTES {
        return None;
    }
    let expr = parse(query).ok()?;
    let mut shape = Shape { divides: divides(&expr), ..Shape::default() };
    // A list of what is left instead of recursion: a query may nest as deep as it is long.
    let mut left = vec![(&expr, Around::default())];
    while let Some((expr, around)) = left.pop() {
        take(expr, around, &mut shape, &mut left);
    }
    // The list is worked off from its end; people read from the beginning.
    shape.ranges.reverse();
    shape.selectors.reverse();
    Some(shape)
}

fn divides(expr: &Expr) -> bool {
    let mut outermost = expr;
    while let Expr::Paren(paren) = outermost {
        outermost = &paren.expr;
    }
    matches!(outermost, Expr::Binary(binary) if binary.op.id() == T_DIV)
}

fn take<'a>(expr: &'a Expr, around: Around, shape: &mut Shape, left: &mut Vec<(&'a Expr, Around)>) {
    match expr {
        Expr::Aggregate(aggregate) => {
            if let Some(LabelModifier::Include(labels) | LabelModifier::Exclude(labels)) = &aggregate.modifier {
                shape.grouped_by.extend(labels.labels.iter().cloned());
            }
            left.push((&aggregate.expr, around));
            left.extend(aggregate.param.as_deref().map(|param| (param, around)));
        }
        Expr::Binary(binary) => {
            shape.has_alternative |= binary.op.id() == T_LOR;
            left.extend([(binary.lhs.as_ref(), around), (binary.rhs.as_ref(), around)]);
        }
        Expr::Unary(unary) => left.push((&unary.expr, around)),
        Expr::Paren(paren) => left.push((&paren.expr, around)),
        Expr::Subquery(subquery) => {
            let reach = around.reach.saturating_add(subquery.range);
            shape.reach = shape.reach.max(reach);
            left.push((&subquery.expr, Around { reach, in_subquery: true, ..around }));
        }
        Expr::Call(call) => {
            let function = call.func.name;
            let in_absent = around.in_absent || matches!(function, "absent" | "absent_over_time");
            let inside = Around { function, in_absent, ..around };
            left.extend(call.args.args.iter().map(|argument| (argument.as_ref(), inside)));
        }
        Expr::VectorSelector(found) => shape.selectors.push(selector(found, around)),
        Expr::MatrixSelector(found) => {
            let selector = selector(&found.vs, around);
            shape.reach = shape.reach.max(around.reach.saturating_add(found.range));
            shape.selectors.push(selector.clone());
            let (function, in_subquery) = (around.function, around.in_subquery);
            shape.ranges.push(Range { function, selector, length: found.range, in_subquery });
        }
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

fn selector(found: &VectorSelector, around: Around) -> Selector {
    let text = super::bare_selector(found.name.as_deref(), &found.matchers);
    let all = if found.matchers.or_matchers.is_empty() { found.matchers.matchers.as_slice() } else { &[] };
    let named = all.iter().find(|matcher| matcher.name == "__name__" && matcher.op == MatchOp::Equal);
    let name = found.name.clone().or_else(|| named.map(|matcher| matcher.value.clone()));
    let labels = all.iter().filter(|matcher| matcher.name != "__name__");
    Selector { name, matchers: labels.map(matcher).collect(), text, in_absent: around.in_absent }
}

fn matcher(parsed: &Parsed) -> Matcher {
    let needs_label = match &parsed.op {
        MatchOp::Equal => !parsed.value.is_empty(),
        MatchOp::Re(pattern) => !pattern.is_match(""),
        MatchOp::NotEqual | MatchOp::NotRe(_) => false,
    };
    let alone = Matchers { matchers: vec![parsed.clone()], or_matchers: Vec::new() };
    Matcher { label: parsed.name.clone(), text: alone.to_string(), needs_label }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_told_with_the_function_over_them() {
        let shape = shape(r#"sum by (le) (rate(a{x="1"}[5m])) / max_over_time(deriv(b[2m])[1h:1m])"#).unwrap();
        let ranges: Vec<_> = shape
            .ranges
            .iter()
            .map(|range| (range.function, range.selector.text.as_str(), range.length.as_secs(), range.in_subquery))
            .collect();
        assert_eq!(ranges, [("rate", r#"a{x="1"}"#, 300, false), ("deriv", "b", 120, true)]);
        assert!(shape.divides && !shape.has_alternative);
        assert_eq!(shape.reach, Duration::from_secs(3720));
        assert_eq!(shape.grouped_by.into_iter().collect::<Vec<_>>(), ["le"]);
    }

    #[test]
    fn matchers_say_whether_they_need_their_label() {
        let shape = shape(r#"up{a="1",b="",c=~"5..",d=~".*",e!="x",f!~"y"} or absent(down)"#).unwrap();
        let up = shape.selectors.iter().find(|selector| selector.name.as_deref() == Some("up")).unwrap();
        let needed: Vec<&str> =
            up.matchers.iter().filter(|matcher| matcher.needs_label).map(|matcher| matcher.text.as_str()).collect();
        assert_eq!(needed, [r#"a="1""#, r#"c=~"5..""#]);
        assert!(!up.in_absent && shape.selectors.iter().any(|selector| selector.in_absent));
        assert!(shape.has_alternative && !shape.divides);
    }

    #[test]
    fn a_name_between_braces_is_a_name_and_alternatives_are_left_alone() {
        let of = |query: &str| shape(query).unwrap().selectors.remove(0);
        assert_eq!(of(r#"{__name__="up",a="1"}"#).name.as_deref(), Some("up"));
        assert_eq!(of(r#"{__name__=~"up.*"}"#).name, None);
        assert_eq!(of(r#"up{a="1" or b="2"}"#).matchers, []);
        assert_eq!(shape("sum("), None);
    }
}
