//! How far results are from what was expected. A number that is none counts as the worst difference.

use crate::Element;

/// Largest |got − expected|; `f64::MAX` where that is not finite, or where the lengths differ.
pub(crate) fn largest_difference<E: Element>(got: &[f32], expected: &[E]) -> f64 {
    if got.len() != expected.len() {
        return f64::MAX;
    }
    got.iter()
        .zip(expected)
        .fold(0.0, |worst, (&got, expected)| {
            let (got, expected) = (f64::from(got), expected.to_f64());
            // Equal infinities have no difference, although they cannot be subtracted.
            let difference = if got == expected {
                0.0
            } else {
                (got - expected).abs()
            };
            // Not `max` alone: it would drop a NaN.
            if difference.is_finite() {
                difference.max(worst)
            } else {
                f64::MAX
            }
        })
}

/// Largest |value|; what is not finite is passed over.
pub(crate) fn largest<E: Element>(values: &[E]) -> f64 {
    values
        .iter()
        .map(|value| value.to_f64().abs())
        .filter(|value| value.is_finite())
        .fold(0.0, f64::max)
}

/// Root of the mean of (got − expected)²; 0 where there is nothing.
pub(crate) fn rms_difference(got: &[f32], expected: &[f64]) -> f64 {
    let differences = got.iter().zip(expected);
    root_mean(differences.map(|(&got, expected)| (f64::from(got) - expected).powi(2)))
}

/// Root of the mean square; 0 where there is nothing.
pub(crate) fn rms(values: &[f64]) -> f64 {
    root_mean(values.iter().map(|value| value.powi(2)))
}

fn root_mean(squares: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = squares.len().max(1);
    (squares.sum::<f64>() / count as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_the_worst_difference() {
        assert_eq!(largest_difference(&[1.0, -4.0], &[1.5, -4.0]), 0.5);
        for (got, expected) in [(f32::NAN, 1.0), (1.0, f32::NAN), (f32::INFINITY, 1.0)] {
            let found = largest_difference(&[got, 0.0], &[expected, 0.5]);
            assert_eq!(found, f64::MAX, "{got} {expected}");
        }
        assert_eq!(largest_difference(&[1.0], &[1.0, 2.0]), f64::MAX);
        assert_eq!(largest_difference::<f64>(&[], &[]), 0.0);
        assert_eq!(largest(&[1.0, -3.0, f64::NAN, f64::INFINITY]), 3.0);
    }
}
