//! Statistics that compare two groups of samples. Pure arithmetic: no instants, no config, no random numbers.
//!
//! Never takes a NaN for a number: whoever brings samples brings finite ones.

pub mod mann_whitney;
mod normal;
pub mod sequential;

/// The middle of the values: of an even number of them, half-way between the two in the middle. `None` of none.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied();
    let lower = middle.checked_sub(1).and_then(|below| sorted.get(below)).copied();
    match (sorted.len() % 2, lower, upper) {
        (0, Some(lower), Some(upper)) => Some(f64::midpoint(lower, upper)),
        (_, _, middle) => middle,
    }
}

/// A count as a number.
#[expect(clippy::cast_precision_loss, reason = "counts of samples are far below 2^52")]
const fn real(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
    }
}
