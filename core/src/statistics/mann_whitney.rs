//! The test of Mann and Whitney: whether the values of one group tend to be greater than those of another, whatever
//! their distribution. Valid for one look: whoever looks again and again finds something sooner or later.
//!
//! Source: H. B. Mann and D. R. Whitney, "On a test of whether one of two random variables is stochastically larger than
//! the other", Annals of Mathematical Statistics 18 (1947), pp. 50-60: U and its exact distribution in section 2, its limit
//! in section 4; the correction for ties as in M. Hollander, D. A. Wolfe and E. Chicken, "Nonparametric Statistical
//! Methods" (3rd edition, 2014), section 4.1, comment on ties.

use super::{normal, real};

/// Up to so many pairs, and without ties, the probability is counted exactly; beyond, the limit is as good.
const MOST_PAIRS_COUNTED: usize = 400;

/// How many pairs of a value of `first` and one of `second` have the greater in `first`; a tie is half a pair.
#[must_use]
pub fn u(first: &[f64], second: &[f64]) -> f64 {
    let mut sorted = second.to_vec();
    sorted.sort_by(f64::total_cmp);
    let pairs = first.iter().map(|value| {
        let below = sorted.partition_point(|other| other < value);
        let up_to = sorted.partition_point(|other| other <= value);
        f64::midpoint(real(below), real(up_to))
    });
    pairs.sum()
}

/// The probability of a U as great as this or greater, where both groups are of one distribution. 1 where either is empty.
#[must_use]
pub fn greater(first: &[f64], second: &[f64]) -> f64 {
    if first.is_empty() || second.is_empty() {
        return 1.0;
    }
    let ties = ties(first, second);
    let u = u(first, second);
    if ties.is_empty() && first.len() * second.len() <= MOST_PAIRS_COUNTED {
        counted(u, first.len(), second.len())
    } else {
        in_the_limit(u, first.len(), second.len(), &ties)
    }
}

/// The smallest probability that groups of these sizes can come to: every value of `first` is the greater.
#[must_use]
pub fn smallest(first: usize, second: usize) -> f64 {
    if first == 0 || second == 0 {
        return 1.0;
    }
    let most = real(first) * real(second);
    if first * second <= MOST_PAIRS_COUNTED {
        counted(most, first, second)
    } else {
        in_the_limit(most, first, second, &[])
    }
}

/// How often each value occurs that occurs more than once, in both groups together.
fn ties(first: &[f64], second: &[f64]) -> Vec<usize> {
    let mut all: Vec<f64> = first.iter().chain(second).copied().collect();
    all.sort_by(f64::total_cmp);
    all.chunk_by(|one, other| one == other).map(<[f64]>::len).filter(|count| *count > 1).collect()
}

/// The share of all orders of the values that have this U or a greater one.
///
/// Of `m` and `n` values, the orders with U = `u` are those that end in a value of the first group, with `u - n` left for
/// the others, and those that end in one of the second: f(u; m, n) = f(u - n; m - 1, n) + f(u; m, n - 1).
fn counted(u: f64, first: usize, second: usize) -> f64 {
    let most = first * second;
    // Row by row over the size of the first group; in each, from left to right over that of the second. Shares instead of
    // counts, which would overflow: an order ends in the first group with probability m / (m + n).
    let mut above: Vec<Vec<f64>> = vec![point(0, most); second + 1];
    for m in 1..=first {
        let mut row = vec![point(0, most)];
        for n in 1..=second {
            let ends_in_first = real(m) / real(m + n);
            let (Some(shorter), Some(narrower)) = (above.get(n), row.last()) else { return 1.0 };
            let mut here: Vec<f64> = narrower.iter().map(|share| share * (1.0 - ends_in_first)).collect();
            for (share, moved) in here.iter_mut().skip(n).zip(shorter) {
                *share += moved * ends_in_first;
            }
            row.push(here);
        }
        above = row;
    }
    let shares = above.pop().unwrap_or_default();
    let greater = shares.iter().enumerate().filter(|(each, _)| real(*each) >= u);
    greater.map(|(_, share)| share).sum::<f64>().min(1.0)
}

/// All of the probability at one U.
fn point(u: usize, most: usize) -> Vec<f64> {
    (0..=most).map(|each| if each == u { 1.0 } else { 0.0 }).collect()
}

/// By the normal distribution that U comes to, with half a pair taken off since U is whole.
fn in_the_limit(u: f64, first: usize, second: usize, ties: &[usize]) -> f64 {
    let (m, n) = (real(first), real(second));
    let all = m + n;
    let tied: f64 = ties.iter().map(|count| real(*count)).map(|count| count * count * count - count).sum();
    let variance = m * n / 12.0 * (all + 1.0 - tied / (all * (all - 1.0)));
    if variance <= 0.0 {
        // All values are the same.
        return 1.0;
    }
    normal::upper_tail((u - m * n / 2.0 - 0.5) / variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of scipy's documentation of `mannwhitneyu`: when diabetes begins, by sex.
    const MALES: [f64; 5] = [19.0, 22.0, 16.0, 29.0, 24.0];
    const FEMALES: [f64; 4] = [20.0, 11.0, 17.0, 12.0];

    /// The expected values are those of scipy 1.17.1, `mannwhitneyu(first, second, alternative='greater', method=...)`.
    #[test]
    fn what_is_counted_is_what_scipy_counts() {
        let first = [1.1, 2.3, 2.9, 3.7, 4.1, 5.0, 5.2, 6.6];
        let second = [0.4, 1.0, 1.9, 2.1, 2.5, 3.0, 3.3, 4.4, 4.9, 5.1, 0.2];
        for (first, second, expected_u, expected) in [
            (&MALES[..], &FEMALES[..], 17.0, 0.055_555_555_555_555_55),
            (&FEMALES[..], &MALES[..], 3.0, 0.968_253_968_253_968_3),
            (&first[..], &second[..], 62.0, 0.075_877_854_512_545_6),
        ] {
            assert!((u(first, second) - expected_u).abs() < 1e-12);
            let found = greater(first, second);
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
        assert!((smallest(5, 20) - 1.882_175_795_219_273_4e-5).abs() < 1e-15);
    }

    #[test]
    fn in_the_limit_and_with_ties_it_is_what_scipy_says() {
        assert!((in_the_limit(17.0, 5, 4, &[]) - 0.055_673_443_266_570_206).abs() < 1e-7);
        assert!((in_the_limit(62.0, 8, 11, &[]) - 0.074_226_844_374_876_95).abs() < 1e-7);
        let tied = ([1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 4.0, 5.0], [1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 4.0, 0.0, 0.0]);
        assert!((greater(&tied.0, &tied.1) - 0.060_850_702_214_489_544).abs() < 1e-7);
        assert_eq!(u(&tied.0, &tied.1), 57.5);
    }

    #[test]
    fn nothing_and_what_is_all_the_same_show_nothing() {
        assert_eq!(greater(&[], &[1.0]), 1.0);
        assert_eq!(greater(&[2.0; 5], &[2.0; 9]), 1.0);
        assert_eq!(smallest(0, 9), 1.0);
    }

    #[test]
    fn so_many_pairs_are_counted_and_more_are_taken_in_the_limit() {
        let (counted_most, limit_most) = (counted(400.0, 20, 20), in_the_limit(420.0, 21, 20, &[]));
        assert!(counted(420.0, 21, 20).to_bits() != limit_most.to_bits(), "they can be told apart");
        assert_eq!(smallest(20, 20).to_bits(), counted_most.to_bits());
        assert_eq!(smallest(21, 20).to_bits(), limit_most.to_bits());
        let values = |from: i32, count: i32| (from..from + count).map(f64::from).collect::<Vec<_>>();
        assert_eq!(greater(&values(100, 20), &values(0, 20)).to_bits(), counted_most.to_bits());
        assert_eq!(greater(&values(100, 21), &values(0, 20)).to_bits(), limit_most.to_bits());
    }

    #[test]
    fn without_values_in_one_of_the_groups_nothing_is_less_likely_than_anything() {
        for (first, second) in [(&[][..], &[1.0, 1.0][..]), (&[1.0, 1.0], &[])] {
            assert_eq!(greater(first, second).to_bits(), 1.0_f64.to_bits());
            assert_eq!(smallest(first.len(), second.len()).to_bits(), 1.0_f64.to_bits());
        }
    }
}
