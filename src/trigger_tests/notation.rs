//! Series in promtool's expanding notation: `0.01x10 0.08+0.01x3 _x2 stale`.
//!
//! Never reads what promtool would read as something else: native histograms and hexadecimal numbers are refused, as their
//! `x` means two things. `error` and `partial` are our own, for queries that fail.

/// The longest series: a day of samples each second, and some more. What is longer is a slip in a number.
const MOST_SAMPLES: usize = 100_000;

/// What a query shows at one point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// A value, which may be NaN or infinite.
    Value(f64),
    /// Nothing: `_`, and `stale`, which says the same of an answer.
    Missing,
    /// The query fails: `error`.
    Failed,
    /// Not all who hold the data answer: `partial`.
    Partial,
}

/// The samples that a notation stands for.
///
/// # Errors
/// What is not understood, and what was expected.
pub fn expand(text: &str) -> Result<Vec<Sample>, String> {
    let mut samples = Vec::new();
    for word in text.split_whitespace() {
        let (first, by, more) = item(word).ok_or_else(|| not_understood(word))?;
        if samples.len().saturating_add(more) >= MOST_SAMPLES {
            return Err(format!("the series is longer than {MOST_SAMPLES} samples: is {word:?} meant?"));
        }
        let steps = (0..=more).filter(|step| first != Sample::Missing || by.is_some() || *step < more.max(1));
        samples.extend(steps.map(|step| at_step(first, by.unwrap_or_default(), step)));
    }
    if samples.is_empty() {
        return Err("the series is empty: expected samples such as 0.01x10 0.08x20".to_owned());
    }
    Ok(samples)
}

fn not_understood(word: &str) -> String {
    let histogram = if word.starts_with("{{") { "; native histograms are not read" } else { "" };
    let expected = "expected a number, a row such as 0.01x10 or 1+2x5, `_`, `_x5`, `stale`, `error` or `partial`";
    format!("{expected}, not {word:?}{histogram}")
}

fn at_step(first: Sample, by: f64, step: usize) -> Sample {
    match first {
        #[expect(clippy::cast_precision_loss, reason = "a step of a series is bounded far below 2^52")]
        Sample::Value(value) if step > 0 => Sample::Value(value + by * step as f64),
        Sample::Value(_) | Sample::Missing | Sample::Failed | Sample::Partial => first,
    }
}

/// One word: the first sample, what each next one adds, how many come after it. Of missing samples (`_x3`) there are as
/// many as are said, since they can't go on from a first one.
fn item(word: &str) -> Option<(Sample, Option<f64>, usize)> {
    let (body, more) = match word.rsplit_once('x') {
        Some((body, times)) => (body, whole(times)?),
        None => (word, 0),
    };
    let is_row = body.len() < word.len();
    match body {
        "_" => Some((Sample::Missing, None, more)),
        "stale" if !is_row => Some((Sample::Missing, None, 0)),
        "error" => Some((Sample::Failed, Some(0.0), more)),
        "partial" => Some((Sample::Partial, Some(0.0), more)),
        _ => {
            let (first, rest) = number(body)?;
            let by = if rest.is_empty() { 0.0 } else { signed(rest)? };
            // `1+2` without a count is two numbers that a blank was forgotten between.
            (rest.is_empty() || is_row).then_some((Sample::Value(first), Some(by), more))
        }
    }
}

/// The number at the beginning, which may have a sign, and what follows it.
fn number(text: &str) -> Option<(f64, &str)> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (-1.0, unsigned),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    for (word, value) in [("inf", f64::INFINITY), ("nan", f64::NAN)] {
        if let (Some(head), Some(rest)) = (unsigned.get(..word.len()), unsigned.get(word.len()..))
            && head.eq_ignore_ascii_case(word)
        {
            return Some((sign * value, rest));
        }
    }
    let end = end_of_digits(unsigned);
    let (digits, rest) = unsigned.split_at_checked(end)?;
    Some((sign * digits.parse::<f64>().ok()?, rest))
}

/// Where a number without a sign ends: digits with a point, and an exponent.
fn end_of_digits(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') {
        end += 1 + digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    end
}

/// A number whose sign is there, and nothing behind it.
fn signed(text: &str) -> Option<f64> {
    if !text.starts_with(['+', '-']) {
        return None;
    }
    let (value, rest) = number(text)?;
    rest.is_empty().then_some(value)
}

fn whole(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Sample::{Failed, Missing, Partial, Value};
    use super::*;

    #[test]
    fn promtools_own_examples_are_read_as_it_reads_them() {
        let values = |text: &str| -> Vec<f64> {
            let value = |sample| if let Value(value) = sample { value } else { f64::NEG_INFINITY };
            expand(text).unwrap().into_iter().map(value).collect()
        };
        assert_eq!(values("-2+4x3"), [-2.0, 2.0, 6.0, 10.0]);
        assert_eq!(values(" 1-2x4"), [1.0, -1.0, -3.0, -5.0, -7.0]);
        assert_eq!(values(" 1x4"), [1.0; 5]);
        assert_eq!(values("10+10x2 30+20x5"), [10.0, 20.0, 30.0, 30.0, 50.0, 70.0, 90.0, 110.0, 130.0]);
        assert_eq!(values("1+1e-1x1 2e2 .5 5."), [1.0, 1.1, 200.0, 0.5, 5.0]);
        assert_eq!(values("0x10"), [0.0; 11], "no hexadecimal number");
        assert_eq!(expand(" 1 _x3 stale").unwrap(), [Value(1.0), Missing, Missing, Missing, Missing]);
    }

    #[test]
    fn what_is_no_number_is_a_sample_all_the_same() {
        assert_eq!(expand("_ error errorx2 partial").unwrap(), [Missing, Failed, Failed, Failed, Failed, Partial]);
        let [Value(nan), Value(inf), Value(neg), Value(row), Value(_)] = expand("NaN Inf -inf NaNx1").unwrap()[..]
        else {
            panic!("five values")
        };
        assert!(nan.is_nan() && row.is_nan());
        assert_eq!((inf, neg), (f64::INFINITY, f64::NEG_INFINITY));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_its_word() {
        for word in
            ["1x", "x3", "1x-1", "1+2", "1++x2", "-1+-1x2", "abc", "1,2", "stalex3", "1+2x3x4", "0x1f", "1_", "é"]
        {
            let refused = expand(&format!("1 {word} 2")).unwrap_err();
            assert!(refused.contains(&format!("{word:?}")), "{refused}");
        }
        assert!(expand("{{schema:1}}").unwrap_err().contains("native histograms"));
        assert!(expand("").unwrap_err().contains("empty"));
        assert!(expand("1x99999 1x3").unwrap_err().contains("longer than"));
        assert!(expand("1x99999999999999999999").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ -~é]{0,40}") {
            let _ = expand(&text);
        }

        #[test]
        fn no_mixture_of_its_signs_panics(
            pieces in prop::collection::vec(
                prop::sample::select(vec!["x", "_", "+", "-", "1", "0.5", "e", " ", "stale", "NaN", "inf", "error", "9999", "."]),
                0..12,
            )
        ) {
            let _ = expand(&pieces.concat());
        }
    }
}
