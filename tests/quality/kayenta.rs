//! Kayenta's judge with its defaults: the Mann-Whitney test of `MannWhitneyClassifier`, confidence 98 %, tolerance 0.25,
//! on points of one minute; the hour before the deploy is the baseline.
//!
//! The interval of the shift is found by its normal approximation, as R's `wilcox.test` without exact ranks does it.

use crate::corpus::Deploy;
use crate::samples::Shown;

const MINUTE: i64 = 60_000;
const BASELINE: i64 = 60;
const TOLERANCE: f64 = 0.25;

/// The normal quantile of a confidence of 98 %, two-sided.
const DEVIATIONS: f64 = 2.326_348;

/// Whether any of the two metrics, both critical, is judged High at this instant.
pub(crate) fn fails(deploy: &Deploy, now: i64) -> bool {
    if !deploy.answers(now) {
        // Fetching is tried again for minutes: as if asked a little later.
        return false;
    }
    let points = |from: i64, until: i64, value: &dyn Fn(&Shown) -> Option<f64>| -> Vec<f64> {
        let instants = (1..).map(|index| from + index * MINUTE).take_while(|at| *at <= until);
        let values = instants.filter_map(|at| value(&Shown::of(&deploy.scrapes, at, MINUTE)));
        // `nanStrategy: remove`.
        values.filter(|value| value.is_finite()).collect()
    };
    let judged = |value: &dyn Fn(&Shown) -> Option<f64>| {
        let control = points(deploy.at - BASELINE * MINUTE, deploy.at, value);
        is_high(&control, &points(deploy.at, now, value))
    };
    judged(&Shown::ratio) || judged(&|shown| shown.p99)
}

/// Whether the experiment lies above the control by more than the tolerance.
fn is_high(control: &[f64], experiment: &[f64]) -> bool {
    if control.is_empty() || experiment.is_empty() {
        return false;
    }
    let mut differences: Vec<f64> =
        experiment.iter().flat_map(|one| control.iter().map(move |other| one - other)).collect();
    differences.sort_by(f64::total_cmp);
    let (m, n) = (experiment.len() as f64, control.len() as f64);
    // The bounds of the shift are the differences of these ranks.
    let spread = DEVIATIONS * (m * n * (m + n + 1.0) / 12.0).sqrt();
    let rank = (m * n / 2.0 - spread).floor().max(0.0) as usize;
    let lower = differences[rank.min(differences.len() - 1)];
    let estimate = differences[differences.len() / 2];
    lower > TOLERANCE * estimate.abs()
}

#[cfg(test)]
mod tests {
    use super::is_high;

    #[test]
    fn what_is_the_same_is_not_high_and_what_is_clearly_more_is() {
        let steady: Vec<f64> = (0..60).map(|index| 1.0 + f64::from(index % 7) * 0.01).collect();
        let more: Vec<f64> = steady.iter().take(20).map(|value| value * 2.0).collect();
        assert!(!is_high(&steady, &steady[..20]));
        assert!(is_high(&steady, &more));
        assert!(!is_high(&more, &steady[..20]), "less is not high");
        assert!(!is_high(&[], &more));
    }
}
