//! Whether operators compute every image by itself: what several of them answer.

use super::check::axis;
use super::{Fact, Facts};

/// Only the first input is batched.
pub(super) fn first_alone(batched: &[bool]) -> bool {
    batched.first() == Some(&true) && !batched[1..].contains(&true)
}

/// The axes along which `fact` is not computed element by element leave out the first.
pub(super) fn spares_first(fact: Option<&Fact>, axes: &[i64]) -> bool {
    fact.is_some_and(|fact| {
        let is_later = |&at: &i64| axis("axis", at, fact.shape.len()).is_ok_and(|at| at > 0);
        axes.iter().all(is_later)
    })
}

/// Inputs that meet element by element: those that are batched at the first axis of the result, the others along it
/// everywhere.
pub(super) fn elementwise(inputs: &Facts, batched: &[bool]) -> bool {
    let rank = inputs.iter().flatten().map(|fact| fact.shape.len()).max();
    inputs
        .iter()
        .zip(batched)
        .all(|(fact, &batched)| match fact {
            None => true,
            Some(fact) if batched => Some(fact.shape.len()) == rank,
            Some(fact) => {
                Some(fact.shape.len()) < rank || fact.shape.first().is_none_or(|&n| n == 1)
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::fact;

    #[test]
    fn what_is_batched_meets_the_first_axis() {
        let (x, row, column) = (fact(&[4, 3, 2]), fact(&[3, 2]), fact(&[4, 1, 1]));
        let both = |a, b, batched: [bool; 2]| elementwise(&[Some(a), Some(b)], &batched);
        assert!(both(&x, &row, [true, false]));
        assert!(both(&x, &x, [true, true]));
        assert!(!both(&x, &row, [true, true]));
        assert!(!both(&x, &column, [true, false]));
        assert!(first_alone(&[true, false]) && !first_alone(&[true, true]));
        assert!(spares_first(Some(&x), &[1, -1]) && !spares_first(Some(&x), &[-3]));
    }
}
