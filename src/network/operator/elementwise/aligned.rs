//! Broadcasting with the channels last.
//!
//! ```text
//! operand [C, 1, 1] of a result [N, C, H, W]:  the result becomes [N, H, W, C], the operand is read as [1, 1, 1, C]
//! ```
//!
//! A value of three axes and more is turned by itself, `[N, C, …]` to `[N, …, C]`, as if its own first axis were
//! the images. Where a lower rank aligns other axes, the elements still lie in the order that the turned result needs
//! as long as their axes longer than 1 come in that order: then they are read with another shape.

use std::sync::Arc;

use crate::error::Result;
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::Tensor;
use crate::plan::PlanOptions;

/// The axes of a value of `rank` axes in the order that they lie in with the channels last.
fn turned(rank: usize) -> Vec<usize> {
    match rank {
        0..=2 => (0..rank).collect(),
        _ => std::iter::once(0).chain(2..rank).chain([1]).collect(),
    }
}

/// The shape in which a turned input of the logical `shape` is read for a turned result of `rank` axes.
///
/// `None` where its elements lie in another order.
fn read_as(shape: &[usize], rank: usize) -> Option<Vec<usize>> {
    let missing = rank.checked_sub(shape.len())?;
    let length = |axis: usize| axis.checked_sub(missing).map_or(1, |own| shape[own]);
    let wanted = turned(rank);
    let long = |axes: Vec<usize>| -> Vec<usize> {
        axes.into_iter().filter(|&axis| length(axis) != 1).collect()
    };
    let lie = turned(shape.len()).into_iter().map(|axis| axis + missing);
    let fits = long(lie.collect()) == long(wanted.clone());
    fits.then(|| wanted.into_iter().map(length).collect())
}

/// An elementwise `operator` for values with the channels last, where every input can be read so.
pub(crate) fn channels_last(
    operator: Arc<dyn Operator>,
    inputs: &Facts,
) -> Option<Arc<dyn Operator>> {
    let rank = inputs.iter().flatten().map(|fact| fact.shape.len()).max()?;
    if rank < 3 {
        return Some(operator);
    }
    let mut shapes = Vec::with_capacity(inputs.len());
    for input in inputs {
        shapes.push(match input {
            Some(fact) => Some(read_as(&fact.shape, rank)?),
            None => None,
        });
    }
    let same = inputs
        .iter()
        .all(|input| input.is_none_or(|fact| fact.shape.len() == rank));
    if same {
        return Some(operator);
    }
    Some(Arc::new(ReadAs { operator, shapes }))
}

/// An operator that reads its inputs with other shapes than theirs.
#[derive(Debug)]
struct ReadAs {
    operator: Arc<dyn Operator>,
    shapes: Vec<Option<Vec<usize>>>,
}

impl ReadAs {
    fn facts(&self, inputs: &Facts) -> Result<Vec<Option<Fact>>> {
        let read = |(input, shape): (&Option<&Fact>, &Option<Vec<usize>>)| {
            let (Some(fact), Some(shape)) = (input, shape) else {
                return Ok(None);
            };
            let mut fact = Fact::clone(fact);
            if let Some(value) = &fact.value {
                let value = Tensor::clone(value).reshape(shape)?;
                fact.value = Some(Arc::new(value));
            }
            fact.shape.clone_from(shape);
            Ok(Some(fact))
        };
        inputs.iter().zip(&self.shapes).map(read).collect()
    }
}

impl Operator for ReadAs {
    fn name(&self) -> &'static str {
        self.operator.name()
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let facts = self.facts(inputs)?;
        let facts: Vec<_> = facts.iter().map(Option::as_ref).collect();
        self.operator.infer(&facts)
    }

    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>> {
        let facts = self.facts(inputs)?;
        let facts: Vec<_> = facts.iter().map(Option::as_ref).collect();
        self.operator.step(&facts, options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_that_lie_right_are_read_so() {
        assert_eq!(read_as(&[8, 1, 1], 4), Some(vec![1, 1, 1, 8]));
        assert_eq!(read_as(&[5], 4), Some(vec![1, 1, 5, 1]));
        assert_eq!(read_as(&[4, 5], 4), Some(vec![1, 4, 5, 1]));
        assert_eq!(read_as(&[2, 8, 4, 5], 4), Some(vec![2, 4, 5, 8]));
        assert_eq!(read_as(&[], 4), Some(vec![1, 1, 1, 1]));
        assert_eq!(read_as(&[1, 4, 1], 4), Some(vec![1, 4, 1, 1]));
        assert_eq!(read_as(&[8, 4], 3), None);
        assert_eq!(read_as(&[8, 1], 3), Some(vec![1, 1, 8]));
    }

    #[test]
    fn shapes_that_would_have_to_be_turned_are_not() {
        assert_eq!(read_as(&[8, 4, 5], 4), None);
        assert_eq!(read_as(&[1, 4, 5], 4), None);
        assert_eq!(read_as(&[8, 4, 5], 5), None);
    }
}
