//! The upper tail of the standard normal distribution.

/// The probability of more than `z`.
///
/// Source: M. Abramowitz and I. A. Stegun, "Handbook of Mathematical Functions" (1964), 26.2.17; its error is below
/// 7.5e-8.
pub(super) fn upper_tail(z: f64) -> f64 {
    /// The coefficients b1 to b5.
    const B: [f64; 5] = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    if z < 0.0 {
        return 1.0 - upper_tail(-z);
    }
    let t = 1.0 / z.mul_add(0.231_641_9, 1.0);
    let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let polynomial = B.iter().rev().fold(0.0, |sum, coefficient| t * (sum + coefficient));
    density * polynomial
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_that_of_the_tables() {
        // Abramowitz and Stegun, table 26.1.
        let tables = [
            (0.0, 0.5),
            (1.0, 0.158_655_253_9),
            (2.0, 0.022_750_131_9),
            (3.0, 0.001_349_898_0),
            (-1.0, 0.841_344_746_1),
        ];
        for (z, expected) in tables {
            assert!((upper_tail(z) - expected).abs() < 1e-7, "{z}: {}", upper_tail(z));
        }
    }
}
