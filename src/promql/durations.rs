//! Durations of a query that Prometheus and our parser read differently: refused, since a window would be wrong.
//!
//! Never reads what stands in quotes or in a comment.

use std::time::Duration;

use promql_parser::parser::Offset;
use rollbackd_core::time::LONGEST_PROMQL;

/// Refuses a number of a duration that needs more than 32 bits: the parser takes the unit for absent then, and
/// `[1h4294967296ms]` for an hour.
pub(super) fn check_numbers(query: &str) -> Result<(), String> {
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '"' | '\'' | '`' => after_quotes(rest, first),
            '#' => rest.split_once('\n').map_or("", |(_, after)| after),
            '0'..='9' => after_duration(rest)?,
            // What stands between a subquery's range and its step begins no name.
            _ if in_a_name(first) && first != ':' => rest.trim_start_matches(in_a_name),
            _ => &rest[first.len_utf8()..],
        };
    }
    Ok(())
}

fn in_a_name(each: char) -> bool {
    each.is_alphanumeric() || matches!(each, '_' | ':' | '.')
}

/// What comes after a string; in backticks a backslash means itself.
fn after_quotes(text: &str, quote: char) -> &str {
    let mut escaped = false;
    let mut signs = text.char_indices().skip(1);
    let end = signs.find(|(_, each)| {
        let ends = *each == quote && !escaped;
        escaped = *each == '\\' && !escaped && quote != '`';
        ends
    });
    end.map_or("", |(index, _)| &text[index + 1..])
}

/// What comes after a duration such as `1h30m`, or after a number or whatever else begins with a digit.
fn after_duration(text: &str) -> Result<&str, String> {
    let mut rest = text;
    loop {
        let after_number = rest.trim_start_matches(|each: char| each.is_ascii_digit());
        let number = &rest[..rest.len() - after_number.len()];
        let after_unit = after_number.trim_start_matches(|each: char| each.is_ascii_alphabetic());
        let unit = &after_number[..after_number.len() - after_unit.len()];
        if number.is_empty() || !matches!(unit, "ms" | "s" | "m" | "h" | "d" | "w" | "y") {
            return Ok(rest.trim_start_matches(|each: char| in_a_name(each) && each != ':'));
        }
        if number.parse::<u32>().is_err() {
            return Err(format!(
                "the duration {number}{unit} is too long a number: expected at most {} of a unit; use a larger unit, as \
                 in 50d instead of 4320000000ms",
                u32::MAX
            ));
        }
        rest = after_unit;
    }
}

/// Refuses a range, a step or an offset that is longer than Prometheus takes.
pub(super) fn check_lengths(range: Duration, step: Option<Duration>, offset: Option<&Offset>) -> Result<(), String> {
    let offset = match offset {
        None => Duration::ZERO,
        Some(Offset::Pos(offset) | Offset::Neg(offset)) => *offset,
    };
    if range.max(step.unwrap_or_default()).max(offset) > LONGEST_PROMQL {
        return Err("a duration in it is out of range: Prometheus takes at most 292 years".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    #[test]
    fn a_number_that_the_parser_would_drop_is_refused_and_not_taken_for_a_shorter_window() {
        for query in [
            "rate(x[1h4294967296ms])",
            "rate(x[4294967296ms])",
            "x offset 4294967296s",
            "x offset -4294967296s",
            "max_over_time(x[1m:4294967296ms])",
            "rate(x{a=\"\\\"\"}[4294967296ms])",
            "rate(x{a=`\\`}[4294967296ms])",
            "x # \"\n + rate(x[99999999999999999999s])",
        ] {
            let why = read(query).expect_err(query);
            assert!(why.contains("expected at most 4294967295 of a unit"), "{query}: {why}");
        }
    }

    #[test]
    fn what_is_no_duration_may_be_as_long_as_it_likes() {
        for (query, seconds) in [
            ("rate(x[4294967295ms])", 4_294_967),
            ("x > 4294967296000", 0),
            ("x > 0xffffffffffff", 0),
            ("x > 1e300", 0),
            ("x4294967296s", 0),
            ("job:4294967296s:_4294967296ms", 0),
            ("x{a=\"4294967296s\",b='\\'4294967296s',c=`d`,d=~\"é4294967296s\"}", 0),
            ("x # 4294967296s", 0),
            ("x @ 4294967296", 0),
        ] {
            assert_eq!(read(query).map(|facts| facts.window.as_secs()), Ok(seconds), "{query}");
        }
    }

    #[test]
    fn a_duration_is_as_long_as_prometheus_takes_it_and_not_longer() {
        let longest = "106751d85636854ms";
        assert_eq!(read(&format!("rate(x[{longest}])")).map(|facts| facts.window), Ok(LONGEST_PROMQL));
        for query in [
            "rate(x[106751d85636855ms])",
            "rate(x[293y])",
            "x offset 293y",
            "x offset -293y",
            "max_over_time(x[293y:1h])",
            "max_over_time(x[1h:293y])",
            "max_over_time(x[1h:1m] offset 293y)",
        ] {
            let why = read(query).expect_err(query);
            assert!(why.contains("at most 292 years"), "{query}: {why}");
        }
    }
}
