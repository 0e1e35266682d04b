//! A test that may be looked at after each sample: the mixture sequential probability ratio test, on the statistic of Mann
//! and Whitney, which makes it indifferent to the distribution and to outliers.
//!
//! The share d of pairs whose greater is the new one, less a half, has in one distribution the variance
//! V = (m + n + 1) / (12 m n) for n new values and m others, and d is nearly the difference of two means (its Hájek
//! projection), so that d / V gains independent normal increments as either group grows. For such, the likelihood ratio of
//! "d is half-normal with scale t" against "d is 0" is
//!
//! L = 2 sqrt(V / (V + t²)) exp(t² d² / (2 V (V + t²))) F(t d / sqrt(V (V + t²))), F being the normal distribution,
//!
//! and a martingale: that it ever reaches 1/a has a probability of a at most, for any number of looks and any rule of when to
//! stop (Ville's inequality). As V is a limit's, so is that bound: `core/tests/statistics.rs` measures what it comes to from
//! the first sample on.
//!
//! Sources: the mixture and its bound, H. Robbins, "Statistical methods related to the law of the iterated logarithm", Annals
//! of Mathematical Statistics 41 (1970), pp. 1397-1409, section 3; the same as a test that is always valid, R. Johari,
//! P. Koomen, L. Pekelis and D. Walsh, "Always valid inference: continuous monitoring of A/B tests", Operations Research 70
//! (2022), section 5; the projection, A. W. van der Vaart, "Asymptotic
//! Statistics" (1998), section 12.2, example 12.7; V, Mann and Whitney (1947), section 4.

use super::{normal, real};

/// The scale t of the alternatives: three in four pairs, say. With 0.15 to 0.4 the simulations find about as much.
const SCALE: f64 = 0.25;

/// The test so far.
#[derive(Clone, Debug)]
pub struct Sequential {
    /// The new values, in order.
    new: Vec<f64>,
    /// The others, in order.
    others: Vec<f64>,
    /// How many pairs have the greater in the new one; a tie is half a pair.
    u: f64,
    /// The most that the likelihood ratio ever was.
    most: f64,
}

impl Sequential {
    /// No new value yet; these are the others.
    #[must_use]
    pub fn among(others: &[f64]) -> Self {
        let mut others = others.to_vec();
        others.sort_by(f64::total_cmp);
        Self { new: Vec::new(), others, u: 0.0, most: 1.0 }
    }

    /// One more of the others.
    pub fn learn(&mut self, value: f64) {
        let (below, ties) = place(&self.new, value);
        self.u += real(self.new.len() - below - ties) + real(ties) / 2.0;
        insert(&mut self.others, value);
    }

    /// One more new value.
    pub fn take(&mut self, value: f64) {
        let (below, ties) = place(&self.others, value);
        self.u += real(below) + real(ties) / 2.0;
        insert(&mut self.new, value);
        let pairs = real(self.new.len()) * real(self.others.len());
        if pairs > 0.0 {
            self.most = self.most.max(likelihood_ratio(self.u / pairs - 0.5, self.new.len(), self.others.len()));
        }
    }

    /// The most that the likelihood ratio ever was, from 1 on: its inverse is a p-value that stays valid.
    #[must_use]
    pub const fn most(&self) -> f64 {
        self.most
    }
}

/// The most that a number of new values can come to among so many others: each is greater than all of them.
#[must_use]
pub fn most_possible(others: usize, new: usize) -> f64 {
    (1..=new).filter(|_| others > 0).map(|count| likelihood_ratio(0.5, count, others)).fold(1.0, f64::max)
}

/// How many of the sorted values are less than this one, and how many are the same.
fn place(sorted: &[f64], value: f64) -> (usize, usize) {
    let below = sorted.partition_point(|other| other < &value);
    let up_to = sorted.partition_point(|other| other <= &value);
    (below, up_to - below)
}

fn insert(sorted: &mut Vec<f64>, value: f64) {
    let (below, _) = place(sorted, value);
    sorted.insert(below, value);
}

/// L of the module's own text.
fn likelihood_ratio(d: f64, new: usize, others: usize) -> f64 {
    let (n, m) = (real(new), real(others));
    let v = (m + n + 1.0) / (12.0 * m * n);
    let wider = SCALE.mul_add(SCALE, v);
    let exponent = (SCALE * d).powi(2) / (2.0 * v * wider);
    let side = 1.0 - normal::upper_tail(SCALE * d / (v * wider).sqrt());
    2.0 * (v / wider).sqrt() * exponent.exp() * side
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::mann_whitney;

    const OTHERS: [f64; 6] = [3.0, 1.0, 2.0, 5.0, 5.0, 4.0];
    const NEW: [f64; 5] = [4.5, 5.0, 9.0, 2.0, 7.0];

    /// The mixture by its definition: the mean over half-normal alternatives of the ratio of two normal densities of d.
    fn by_integration(d: f64, v: f64) -> f64 {
        let steps = 200_000;
        let width = 8.0 * SCALE / f64::from(steps);
        let weighted = |step: i32| {
            let shift = (f64::from(step) + 0.5) * width;
            let prior = 2.0 / (SCALE * (2.0 * std::f64::consts::PI).sqrt()) * (-(shift / SCALE).powi(2) / 2.0).exp();
            prior * ((d * shift - shift * shift / 2.0) / v).exp() * width
        };
        (0..steps).map(weighted).sum()
    }

    #[test]
    fn the_likelihood_ratio_is_the_mixture_that_it_is_the_solution_of() {
        for (d, new, others) in [(0.5, 5, 60), (0.1, 30, 60), (-0.3, 4, 9), (0.0, 10, 10)] {
            let v = (real(new + others) + 1.0) / (12.0 * real(new) * real(others));
            let (found, expected) = (likelihood_ratio(d, new, others), by_integration(d, v));
            assert!((found / expected - 1.0).abs() < 1e-5, "{d} {new} {others}: {found} {expected}");
        }
    }

    #[test]
    fn its_statistic_is_that_of_mann_and_whitney_in_whichever_order_values_come() {
        let mut after = Sequential::among(&OTHERS);
        NEW.iter().for_each(|value| after.take(*value));
        let mut beside = Sequential::among(&OTHERS[..2]);
        beside.take(NEW[0]);
        OTHERS[2..].iter().for_each(|value| beside.learn(*value));
        NEW[1..].iter().for_each(|value| beside.take(*value));
        let expected = mann_whitney::u(&NEW, &OTHERS);
        assert!((after.u - expected).abs() < 1e-12 && (beside.u - expected).abs() < 1e-12, "{} {}", after.u, beside.u);
    }

    #[test]
    fn what_was_once_sure_stays_so_and_nothing_is_sure_of_nothing() {
        let mut test = Sequential::among(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 9.5]);
        (10..20).for_each(|value| test.take(f64::from(value)));
        let sure = test.most();
        assert!(sure > 100.0 && (sure - most_possible(10, 10)).abs() < 1e-9, "{sure}");
        (0..10).for_each(|_| test.take(0.0));
        assert!(test.most() >= sure);
        let mut alone = Sequential::among(&[]);
        alone.take(1.0);
        assert_eq!((alone.most(), most_possible(0, 9)), (1.0, 1.0));
    }

    #[test]
    fn what_is_learned_later_counts_as_what_was_known_before() {
        let mut test = Sequential::among(&[1.0]);
        test.take(2.0);
        test.take(3.0);
        test.learn(2.0);
        // Both are greater than 1, one is greater than 2, and one is the same.
        assert_eq!(test.u.to_bits(), 3.5_f64.to_bits());
    }
}
