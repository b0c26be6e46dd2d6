//! From the numbers that a classifier gives to classes and probabilities.

use crate::error::{Error, Result};
use crate::network::{Graph, ValueId};

/// What a network's output means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scores {
    /// Anything: softmax makes probabilities of it.
    Logits,
    /// Probabilities.
    Probabilities,
    /// Their logarithms.
    LogProbabilities,
}

impl Scores {
    /// By the operator that makes `output`, through those that only change its shape.
    pub fn of(graph: &Graph, output: ValueId) -> Self {
        let mut value = output;
        for node in graph.nodes().iter().rev() {
            if !node.outputs.contains(&Some(value)) {
                continue;
            }
            match node.operator.name() {
                "Softmax" | "Sigmoid" => return Self::Probabilities,
                "LogSoftmax" => return Self::LogProbabilities,
                "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Dropout" => {
                    match node.inputs.first() {
                        Some(Some(input)) => value = *input,
                        _ => return Self::Logits,
                    }
                }
                _ => return Self::Logits,
            }
        }
        Self::Logits
    }

    /// Writes the probabilities of `scores` over them.
    pub fn probabilities(self, scores: &mut [f32]) {
        match self {
            Self::Probabilities => {}
            Self::LogProbabilities => scores.iter_mut().for_each(|score| *score = score.exp()),
            Self::Logits => {
                let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                scores
                    .iter_mut()
                    .for_each(|score| *score = (*score - largest).exp());
                let sum: f32 = scores.iter().sum();
                scores.iter_mut().for_each(|score| *score /= sum);
            }
        }
    }
}

/// The number of classes of an output of this shape, without the batch: `[classes]`, or with axes of 1 besides.
///
/// # Errors
/// Another shape.
pub fn classes(item: &[usize]) -> Result<usize> {
    let mut long = item.iter().filter(|&&size| size != 1);
    match (long.next(), long.next()) {
        (None, _) => Ok(1),
        (Some(&classes), None) if classes > 0 => Ok(classes),
        _ => Err(Error::Model {
            what: format!(
                "an output of shape {item:?} for each picture gives no classes: one axis may be longer than 1"
            ),
        }),
    }
}

/// The `count` largest of `scores` with their places, the largest first; of equal ones the first comes first, what
/// is not a number last.
pub fn top(scores: &[f32], count: usize) -> Vec<(usize, f32)> {
    let mut order: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    let key = |score: f32| match score.is_nan() {
        true => f32::NEG_INFINITY,
        false => score,
    };
    let before = |one: &(usize, f32), other: &(usize, f32)| {
        let nan = one.1.is_nan().cmp(&other.1.is_nan());
        nan.then(key(other.1).total_cmp(&key(one.1)))
            .then(one.0.cmp(&other.0))
    };
    let count = count.min(order.len());
    if count < order.len() {
        order.select_nth_unstable_by(count, before);
        order.truncate(count);
    }
    order.sort_unstable_by(before);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_first() {
        let scores = [0.1, f32::NAN, 0.5, 0.5, f32::NEG_INFINITY];
        let places = |count| {
            top(&scores, count)
                .into_iter()
                .map(|(place, _)| place)
                .collect::<Vec<_>>()
        };
        assert_eq!(places(1), [2]);
        assert_eq!(places(3), [2, 3, 0]);
        assert_eq!(places(9), [2, 3, 0, 4, 1]);
        assert_eq!(places(0), [] as [usize; 0]);
    }

    #[test]
    fn probabilities_of_each_kind() {
        let run = |kind: Scores, scores: &[f32]| {
            let mut scores = scores.to_vec();
            kind.probabilities(&mut scores);
            scores
        };
        assert_eq!(run(Scores::Logits, &[1000.0, 1000.0]), [0.5, 0.5]);
        assert_eq!(
            run(Scores::LogProbabilities, &[0.0, f32::NEG_INFINITY]),
            [1.0, 0.0]
        );
        assert_eq!(run(Scores::Probabilities, &[0.25]), [0.25]);
    }

    #[test]
    fn shapes_that_give_classes() {
        assert_eq!(classes(&[1000]), Ok(1000));
        assert_eq!(classes(&[1000, 1, 1]), Ok(1000));
        assert_eq!(classes(&[1, 1]), Ok(1));
        assert_eq!(classes(&[]), Ok(1));
        assert!(classes(&[4420, 2]).is_err());
        assert!(classes(&[0]).is_err());
    }
}
