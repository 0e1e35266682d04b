//! What can be known of a PromQL query without asking a server: whether it parses, how far back it looks, what it
//! selects, whether it filters.
//!
//! Never asks a server, and never changes a query.

mod durations;
pub mod shape;

use std::collections::BTreeMap;
use std::time::Duration;

use promql_parser::label::Matchers;
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{AtModifier, Expr, Offset, VectorSelector};
use rollbackd_core::config::decode::{Filtering, PromqlFacts};

/// The longest query, in bytes. The longest rules in use have a few thousand; the parser's own recursion is known to
/// stand 20,000 levels.
const LONGEST_BYTES: usize = 16 * 1024;

/// Reads a query. Its templates are rendered already.
///
/// # Errors
/// Why it is no query that gives numbers, in the parser's words: it does not parse, gives a range or a string, or
/// would answer differently in a range query than at the instant (`@ start()`).
pub fn read(query: &str) -> Result<PromqlFacts, String> {
    if query.len() > LONGEST_BYTES {
        return Err(format!("the query has {} bytes: expected at most {LONGEST_BYTES}", query.len()));
    }
    durations::check_numbers(query)?;
    let expr = parse(query)?;
    match expr.value_type() {
        ValueType::Vector | ValueType::Scalar => {}
        ValueType::Matrix => {
            return Err(
                "gives a range vector: expected an instant vector or a scalar; wrap it, as in rate(…)".to_owned()
            );
        }
        ValueType::String => return Err("gives a string: expected an instant vector or a scalar".to_owned()),
    }
    let mut facts = PromqlFacts {
        window: Duration::ZERO,
        selectors: Vec::new(),
        instant_selectors: Vec::new(),
        filtering: filtering_outermost(&expr),
        is_scalar: expr.value_type() == ValueType::Scalar,
    };
    // A list of what is left instead of recursion: a query may nest as deep as it is long.
    let mut left = vec![(&expr, Reach::default())];
    while let Some((expr, reach)) = left.pop() {
        look_at(expr, reach, &mut facts)?;
        push_children(expr, reach, &mut left);
    }
    // The list is worked off from its end; people read from the beginning.
    facts.selectors.reverse();
    facts.instant_selectors.reverse();
    Ok(facts)
}

/// Whether a query counts a request: one of its selectors asks for what is known of it, its route (the value of this
/// label) among it. Labels of which nothing is known match. A query that can't be read counts nothing.
#[must_use]
pub fn selects(query: &str, route: &str, known: &BTreeMap<&str, &str>) -> bool {
    let Ok(facts) = read(query) else { return false };
    facts.selectors.iter().any(|selector| matches!(parse(selector), Ok(Expr::VectorSelector(selector)) if {
        let own = std::iter::once(&selector.matchers.matchers);
        let mut ways = own.chain(&selector.matchers.or_matchers).filter(|way| way.iter().any(|each| each.name == route));
        ways.any(|way| way.iter().all(|each| known.get(each.name.as_str()).is_none_or(|value| each.is_match(value))))
    }))
}

/// Parses a query. The parser panics on a few (`x offset 1e999`, a duration that no clock holds), which must not end a
/// daemon that reloads its config.
fn parse(query: &str) -> Result<Expr, String> {
    std::panic::catch_unwind(|| promql_parser::parser::parse(query)).unwrap_or_else(|_| {
        Err("the parser gave up on it: expected no number that is too large for a duration".to_owned())
    })
}

/// How far behind the instant the inside of subqueries is evaluated.
#[derive(Clone, Copy, Default)]
struct Reach {
    back: Duration,
    ahead: Duration,
}

impl Reach {
    fn further(self, range: Duration, offset: Option<&Offset>) -> Self {
        let back = self.back.saturating_add(range);
        match offset {
            None => Self { back, ..self },
            Some(Offset::Pos(offset)) => Self { back: back.saturating_add(*offset), ..self },
            Some(Offset::Neg(offset)) => Self { back, ahead: self.ahead.saturating_add(*offset) },
        }
    }

    fn window(self) -> Duration {
        self.back.saturating_sub(self.ahead)
    }
}

fn look_at(expr: &Expr, reach: Reach, facts: &mut PromqlFacts) -> Result<(), String> {
    match expr {
        Expr::VectorSelector(selector) => look_at_selector(selector, Duration::ZERO, reach, facts)?,
        Expr::MatrixSelector(selector) => look_at_selector(&selector.vs, selector.range, reach, facts)?,
        Expr::Subquery(subquery) => {
            durations::check_lengths(subquery.range, subquery.step, subquery.offset.as_ref())?;
            refuse_query_ends(subquery.at.as_ref())?;
        }
        Expr::Aggregate(_)
        | Expr::Unary(_)
        | Expr::Binary(_)
        | Expr::Paren(_)
        | Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::Call(_)
        | Expr::Extension(_) => {}
    }
    if facts.filtering == Filtering::Never && filters(expr) {
        facts.filtering = Filtering::Inside;
    }
    Ok(())
}

fn look_at_selector(
    selector: &VectorSelector,
    range: Duration,
    reach: Reach,
    facts: &mut PromqlFacts,
) -> Result<(), String> {
    durations::check_lengths(range, None, selector.offset.as_ref())?;
    refuse_query_ends(selector.at.as_ref())?;
    facts.window = facts.window.max(reach.further(range, selector.offset.as_ref()).window());
    let bare = bare_selector(selector.name.as_deref(), &selector.matchers);
    promql_parser::parser::parse(&bare)
        .map_err(|error| format!("its selector {bare} can't be asked alone: {error}"))?;
    // One with an offset, an `@`, or inside a subquery is meant to be old.
    let is_now = range.is_zero() && reach.window().is_zero() && selector.offset.is_none() && selector.at.is_none();
    if is_now && !facts.instant_selectors.contains(&bare) {
        facts.instant_selectors.push(bare.clone());
    }
    facts.selectors.retain(|known| known != &bare);
    facts.selectors.push(bare);
    Ok(())
}

/// A query is asked for one instant or for a range of them, as it suits: both must give the same.
fn refuse_query_ends(at: Option<&AtModifier>) -> Result<(), String> {
    match at {
        None | Some(AtModifier::At(_)) => Ok(()),
        Some(AtModifier::Start | AtModifier::End) => {
            Err("`@ start()` and `@ end()` mean another instant in each request: leave them out".to_owned())
        }
    }
}

fn push_children<'a>(expr: &'a Expr, reach: Reach, left: &mut Vec<(&'a Expr, Reach)>) {
    match expr {
        Expr::Aggregate(aggregate) => {
            left.push((aggregate.expr.as_ref(), reach));
            left.extend(aggregate.param.as_deref().map(|param| (param, reach)));
        }
        Expr::Unary(unary) => left.push((unary.expr.as_ref(), reach)),
        Expr::Binary(binary) => left.extend([(binary.lhs.as_ref(), reach), (binary.rhs.as_ref(), reach)]),
        Expr::Paren(paren) => left.push((paren.expr.as_ref(), reach)),
        Expr::Subquery(subquery) => {
            left.push((subquery.expr.as_ref(), reach.further(subquery.range, subquery.offset.as_ref())));
        }
        Expr::Call(call) => left.extend(call.args.args.iter().map(|argument| (argument.as_ref(), reach))),
        Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Extension(_) => {}
    }
}

/// Whether a comparison that filters is the last thing that is done.
fn filtering_outermost(expr: &Expr) -> Filtering {
    let mut outermost = expr;
    while let Expr::Paren(paren) = outermost {
        outermost = &paren.expr;
    }
    if let Expr::Binary(binary) = outermost
        && binary.op.is_comparison_operator()
        && !binary.return_bool()
    {
        return Filtering::Outermost;
    }
    Filtering::Never
}

/// Whether this step can drop series by itself.
fn filters(expr: &Expr) -> bool {
    match expr {
        Expr::Binary(binary) => {
            binary.op.is_set_operator() || binary.op.is_comparison_operator() && !binary.return_bool()
        }
        Expr::Call(call) => matches!(call.func.name, "absent" | "absent_over_time"),
        Expr::Aggregate(_)
        | Expr::Unary(_)
        | Expr::Paren(_)
        | Expr::Subquery(_)
        | Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Extension(_) => false,
    }
}

/// A selector without its range, offset and `@`.
fn bare_selector(name: Option<&str>, matchers: &Matchers) -> String {
    let matchers = matchers.to_string();
    match name {
        None => format!("{{{matchers}}}"),
        Some(name) if matchers.is_empty() => name.to_owned(),
        Some(name) => format!("{name}{{{matchers}}}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_read_without_a_range_could_be_stale() {
        let of = |query: &str| read(query).unwrap().instant_selectors;
        assert_eq!(of("job:errors:ratio / job:all"), ["job:errors:ratio", "job:all"]);
        assert!(of("sum(rate(x[1m])) / sum(rate(y[1m]))").is_empty());
        assert!(of("x offset 5m").is_empty());
        assert!(of("max_over_time(x[5m:1m])").is_empty());
    }

    #[test]
    fn the_window_is_the_longest_range_with_its_offset_and_subqueries_add_up() {
        let table = [
            ("up", 0),
            ("1", 0),
            ("rate(x[5m])", 300),
            ("rate(x[5m] offset 1m) / rate(x[2m])", 360),
            ("max_over_time(rate(x[5m])[1h:1m])", 3900),
            ("max_over_time(rate(x[5m] offset 1m)[1h:1m] offset 10m)", 4560),
            ("rate(x[5m] offset -2m)", 180),
            ("up offset -1w", 0),
            ("topk(scalar(max_over_time(k[7m])), x)", 420),
            ("histogram_quantile(0.99, sum by (le) (rate(x_bucket[1m])))", 60),
            ("x > (y or rate(z[3m]))", 180),
            ("x @ 1700000000", 0),
        ];
        for (query, seconds) in table {
            assert_eq!(read(query).map(|facts| facts.window), Ok(Duration::from_secs(seconds)), "{query}");
        }
    }

    #[test]
    fn the_selectors_are_bare_and_each_stands_once() {
        let facts =
            read(r#"rate(a{x="1",y=~"5.."}[5m] offset 1m) / on () (b + a{y=~"5..",x="1"}) > {"my.metric",k="\""}"#);
        assert_eq!(facts.unwrap().selectors, [r#"a{x="1",y=~"5.."}"#, "b", r#"{__name__="my.metric",k="\""}"#]);
        assert_eq!(read("vector(1)").unwrap().selectors, Vec::<String>::new());
        assert_eq!(read(r#"{__name__=~"x.+"}"#).unwrap().selectors, [r#"{__name__=~"x.+"}"#]);
    }

    #[test]
    fn a_request_is_counted_where_its_route_is_asked_for() {
        let selects =
            |query: &str| selects(query, "handler", &BTreeMap::from([("handler", "/pay"), ("method", "POST")]));
        for counted in [
            r#"sum(increase(requests_total{handler="/pay",code=~"2.."}[5m]))"#,
            r#"requests_total{handler=~"/pay|/refund",method="POST"}"#,
            r#"other_total{handler="/other"} + requests_total{handler!="/health"}"#,
        ] {
            assert!(selects(counted), "{counted}");
        }
        for not in [
            r#"payments_total{service="shop"}"#,
            r#"requests_total{handler="/refund"}"#,
            r#"requests_total{handler="/pay",method="GET"}"#,
            "no promql (",
        ] {
            assert!(!selects(not), "{not}");
        }
    }

    #[test]
    fn what_can_filter_is_told_from_what_cannot() {
        let table = [
            ("up == 0", Filtering::Outermost),
            ("((up == 0))", Filtering::Outermost),
            ("up == bool 0", Filtering::Never),
            ("rate(x[5m])", Filtering::Never),
            ("sum(x > 5)", Filtering::Inside),
            ("x > 5 and y", Filtering::Inside),
            ("x unless y", Filtering::Inside),
            ("absent(up)", Filtering::Inside),
            ("absent_over_time(up[5m])", Filtering::Inside),
            ("1 > bool 2", Filtering::Never),
        ];
        for (query, filtering) in table {
            assert_eq!(read(query).unwrap().filtering, filtering, "{query}");
        }
    }

    #[test]
    fn what_gives_no_numbers_at_an_instant_is_refused() {
        let long = format!("x{}", " ".repeat(LONGEST_BYTES));
        let table = [
            ("x[5m]", "range vector"),
            ("x[5m:1m]", "range vector"),
            ("\"text\"", "string"),
            ("rate(x)", "expected type"),
            ("sum(x", "parenthesis"),
            ("", ""),
            ("x @ end()", "another instant"),
            ("max_over_time(x[5m:] @ start())", "another instant"),
            ("x{y=~\"(\"}", ""),
            ("x offset 1e999", "too large for a duration"),
            (&long, "bytes"),
        ];
        for (query, expected) in table {
            let error = read(query).unwrap_err();
            assert!(error.contains(expected), "{query}: {error}");
        }
    }

    #[test]
    fn a_query_that_nests_as_deep_as_it_is_long_is_read() {
        let half = LONGEST_BYTES / 2 - 1;
        assert!(read(&format!("{}x{}", "(".repeat(half), ")".repeat(half))).is_ok());
        assert!(read(&format!("{}x", "-".repeat(LONGEST_BYTES - 1))).is_ok());
        assert!(read(&format!("x{}", "+x".repeat(half))).is_ok());
        assert!(shape::shape(&format!("x{}", "+x".repeat(half))).is_some());
    }

    proptest! {
        #[test]
        fn no_query_panics(query in "[ -~é]{0,60}") {
            let _ = (read(&query), shape::shape(&query));
        }

        #[test]
        fn no_mixture_of_promql_signs_panics(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "x", "sum", "rate", "(", ")", "[5m]", "[5m:1m]", "{", "}", "a=\"b\"", "=~", ",", " ", "by", "on", "> ",
                    "bool ", "offset ", "1m", "-", "@ ", "start()", "1", "0x", "1e999", "and ", "absent(", "topk(", "\"",
                    "'", "`", "\\", "[", "]", ":", "#", "\n", "99999999999999999999y",
                ]),
                0..20,
            )
        ) {
            let _ = (read(&pieces.concat()), shape::shape(&pieces.concat()));
        }
    }
}
