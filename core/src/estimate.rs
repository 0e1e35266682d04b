//! How long the next run of a path takes, by its past runs: an estimate with its uncertainty.
//!
//! Never calls a few runs certain: the fewer there are, the wider the range.
//!
//! The logarithms of the durations are taken as normal, with an unknown mean (no prior) and an unknown spread (a weak
//! prior worth [`PRIOR_RUNS`] runs); the next one is then predicted by Student's t. Source: A. Gelman et al., "Bayesian
//! Data Analysis", 3rd ed., sections 3.2 and 3.3: the posterior predictive distribution of a normal sample under a
//! scaled inverse-χ² prior for the variance. Without the prior it is the usual prediction interval (NIST/SEMATECH
//! e-Handbook, 7.2.6.3), which one run does not have, and which is empty for runs that took the same.

use std::time::Duration;

use serde::Serialize;

/// How many runs the prior is worth.
const PRIOR_RUNS: f64 = 2.0;

/// What is expected of the spread before there are runs: from run to run about a quarter longer or shorter.
const PRIOR_SPREAD: f64 = 0.25;

/// Student's t below which nine of ten lie, by degrees of freedom from 1. Source: NIST/SEMATECH e-Handbook, 1.3.6.7.2.
const T_90: [f64; 30] = [
    3.078, 1.886, 1.638, 1.533, 1.476, 1.440, 1.415, 1.397, 1.383, 1.372, 1.363, 1.356, 1.350, 1.345, 1.341, 1.337,
    1.333, 1.330, 1.328, 1.325, 1.323, 1.321, 1.319, 1.318, 1.316, 1.315, 1.314, 1.313, 1.311, 1.310,
];

/// How long the next run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// How many runs it rests on.
    pub runs: usize,
    /// Nine of ten take longer.
    pub at_least: Duration,
    /// Half of them take longer.
    pub typical: Duration,
    /// One of ten takes longer.
    pub at_most: Duration,
}

/// How long the next run of a path takes, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NextRun {
    /// Nine of ten runs take longer, in seconds.
    pub at_least_seconds: f64,
    /// Half of them take longer, in seconds.
    pub typical_seconds: f64,
    /// One of ten takes longer, in seconds.
    pub at_most_seconds: f64,
}

impl From<Estimate> for NextRun {
    fn from(estimate: Estimate) -> Self {
        let seconds = |duration: Duration| (duration.as_secs_f64() * 10.0).round() / 10.0;
        Self {
            at_least_seconds: seconds(estimate.at_least),
            typical_seconds: seconds(estimate.typical),
            at_most_seconds: seconds(estimate.at_most),
        }
    }
}

/// The estimate out of what past runs took; `None` without any.
#[must_use]
pub fn estimate(took: impl IntoIterator<Item = Duration>) -> Option<Estimate> {
    /// Nothing is quicker, and a logarithm of zero is none.
    const QUICKEST: f64 = 0.001;
    let logarithms: Vec<f64> = took.into_iter().map(|took| took.as_secs_f64().max(QUICKEST).ln()).collect();
    let runs = u32::try_from(logarithms.len()).ok().filter(|runs| *runs > 0)?;
    let count = f64::from(runs);
    let mean = logarithms.iter().sum::<f64>() / count;
    let squares: f64 = logarithms.iter().map(|each| (each - mean).powi(2)).sum();
    let freedom = PRIOR_RUNS + count - 1.0;
    let variance = (PRIOR_RUNS * PRIOR_SPREAD.powi(2) + squares) / freedom;
    let reach = t_90(logarithms.len()) * (variance * (1.0 + 1.0 / count)).sqrt();
    let duration = |logarithm: f64| Duration::try_from_secs_f64(logarithm.exp()).unwrap_or(Duration::MAX);
    Some(Estimate {
        runs: logarithms.len(),
        at_least: duration(mean - reach),
        typical: duration(mean),
        at_most: duration(mean + reach),
    })
}

/// The prior adds its runs to those that there were, and the mean takes one: so many degrees of freedom.
fn t_90(runs: usize) -> f64 {
    // One run has PRIOR_RUNS degrees: the second of the list.
    T_90.get(runs).or(T_90.last()).copied().unwrap_or(1.31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seconds: &[f64]) -> Estimate {
        estimate(seconds.iter().map(|each| Duration::from_secs_f64(*each))).unwrap()
    }

    fn ratio(long: Duration, short: Duration) -> f64 {
        long.as_secs_f64() / short.as_secs_f64()
    }

    #[test]
    fn without_runs_there_is_no_estimate() {
        assert_eq!(estimate([]), None);
    }

    #[test]
    fn one_run_says_half_to_twice_as_long() {
        let one = of(&[60.0]);
        assert!((one.typical.as_secs_f64() - 60.0).abs() < 0.01, "{one:?}");
        // exp(1.886 * 0.25 * sqrt(2)) = 1.948
        assert!((ratio(one.at_most, one.typical) - 1.948).abs() < 0.001, "{one:?}");
        assert!((ratio(one.typical, one.at_least) - 1.948).abs() < 0.001, "{one:?}");
    }

    #[test]
    fn the_more_runs_the_narrower_and_never_nothing() {
        let widths: Vec<f64> =
            [1, 2, 5, 20].map(|count| of(&vec![60.0; count])).map(|each| ratio(each.at_most, each.at_least)).to_vec();
        assert!(widths.is_sorted_by(|earlier, later| earlier > later), "{widths:?}");
        assert!(widths[3] > 1.05, "{widths:?}");
    }

    #[test]
    fn runs_that_differ_make_it_wide() {
        let (same, other) = (of(&[60.0, 60.0, 60.0, 60.0]), of(&[20.0, 40.0, 90.0, 180.0]));
        assert!(ratio(other.at_most, other.at_least) > 3.0 * ratio(same.at_most, same.at_least));
    }

    #[test]
    fn it_is_the_usual_prediction_interval_where_the_runs_outweigh_the_prior() {
        // Of ln: mean 4.0, standard deviation 0.5 of 20 values: mean ± t(19) * 0.5 * sqrt(1.05), by the handbook.
        let logarithms: Vec<f64> = (0..20).map(|index| 4.0 + if index % 2 == 0 { 0.5 } else { -0.5 }).collect();
        let found = of(&logarithms.iter().map(|each| each.exp()).collect::<Vec<_>>());
        let spread = (20.0_f64 * 0.25 / 19.0).sqrt();
        let usual = (4.0 + 1.328 * spread * (1.05_f64).sqrt()).exp();
        let difference = (found.at_most.as_secs_f64() / usual - 1.0).abs();
        assert!(difference < 0.04, "{found:?} {usual}");
    }

    #[test]
    fn nine_of_ten_runs_lie_below_the_upper_end_and_above_the_lower() {
        // A deterministic scatter: quantiles of a log-normal of median 60 s and spread 0.3, drawn by a fixed generator.
        let mut seed = 7_u64;
        let mut uniform = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(seed >> 33).unwrap()) / f64::from(1_u32 << 31)
        };
        let mut normal = || (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
        for runs in [1, 2, 4, 10] {
            let (mut below, mut above) = (0, 0);
            for _ in 0..4000 {
                let past: Vec<f64> = (0..runs).map(|_| 60.0 * (0.3 * normal()).exp()).collect();
                let next = Duration::from_secs_f64(60.0 * (0.3 * normal()).exp());
                let found = of(&past);
                below += u32::from(next <= found.at_most);
                above += u32::from(next >= found.at_least);
            }
            for count in [below, above] {
                let share = f64::from(count) / 4000.0;
                assert!((0.85..0.96).contains(&share), "{runs} runs: {share}");
            }
        }
    }

    #[test]
    fn programs_are_told_tenths_of_a_second() {
        let told = NextRun::from(of(&[60.0]));
        let expected = NextRun { at_least_seconds: 30.8, typical_seconds: 60.0, at_most_seconds: 116.9 };
        assert_eq!(told, expected);
    }

    #[test]
    fn no_duration_is_too_short_or_too_long() {
        let zero = of(&[0.0]);
        assert!(zero.at_most < Duration::from_secs(1));
        let huge = estimate([Duration::MAX, Duration::from_secs(1)]).unwrap();
        assert_eq!(huge.at_most, Duration::MAX);
    }
}
