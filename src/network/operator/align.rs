//! The old way to broadcast: the second operand lies along the axes of the first from a given one on.
//!
//! ```text
//! a [N, C, H, W], b [C], axis 1   ──►   b [C, 1, 1]     which broadcasts as today
//! ```

use std::sync::Arc;

use super::check::{at_most, required, wrong};
use super::shape::Reshape;
use super::{Fact, Facts, Operator, Step};
use crate::error::Result;
use crate::plan::PlanOptions;

/// Inputs: b, a. Gives b with axes of size 1 behind its own, so that it begins at an axis of a.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Align {
    axis: i64,
}

impl Align {
    /// From `axis` on, counted from the end where it is negative.
    pub fn new(axis: i64) -> Self {
        Self { axis }
    }
}

impl Operator for Align {
    fn name(&self) -> &'static str {
        "Align"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 2)?;
        let (b, a) = (required(inputs, 0, "b")?, required(inputs, 1, "a")?);
        // One element broadcasts wherever it lies.
        if b.shape.iter().all(|&size| size == 1) {
            return Ok(vec![b.clone()]);
        }
        let rank = a.shape.len();
        let first = super::check::axis("axis", self.axis, rank)?;
        let behind = rank.checked_sub(first + b.shape.len()).ok_or_else(|| {
            wrong(
                "b",
                format!(
                    "of at most {} axes, from axis {first} of {:?}",
                    rank - first,
                    a.shape
                ),
                format!("of shape {:?}", b.shape),
            )
        })?;
        let mut shape = b.shape.clone();
        shape.resize(shape.len() + behind, 1);
        let value = match &b.value {
            Some(value) => Some(Arc::new(value.as_ref().clone().reshape(&shape)?)),
            None => None,
        };
        Ok(vec![Fact {
            value,
            ..Fact::new(b.dtype, shape)
        }])
    }

    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>> {
        let aligned = self.infer(inputs)?.remove(0);
        Reshape::to(aligned.shape).step(&inputs[..1], options)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{fact, floats, infer, run};
    use super::*;

    #[test]
    fn axes_of_one_are_appended() {
        let shape = |axis, b: &[usize], a: &[usize]| {
            infer(&Align::new(axis), &[&fact(b), &fact(a)]).map(|facts| facts[0].shape.clone())
        };
        assert_eq!(shape(1, &[3], &[2, 3, 4, 5]).unwrap(), [3, 1, 1]);
        assert_eq!(shape(1, &[3, 4], &[2, 3, 4, 5]).unwrap(), [3, 4, 1]);
        assert_eq!(shape(-1, &[5], &[2, 3, 4, 5]).unwrap(), [5]);
        assert_eq!(shape(0, &[2], &[2, 3]).unwrap(), [2, 1]);
        assert_eq!(shape(1, &[], &[2, 3]).unwrap(), [0; 0]);
        assert_eq!(shape(1, &[1], &[2]).unwrap(), [1]);
        for (axis, b) in [(2, &[3, 4][..]), (3, &[2]), (-4, &[2])] {
            assert!(shape(axis, b, &[2, 3, 4]).is_err(), "{axis} {b:?}");
        }
    }

    #[test]
    fn elements_stay() {
        let (b, a) = (floats(&[2], [1.0, 2.0]), floats(&[1, 2, 1], [0.0, 0.0]));
        let aligned = run(&Align::new(1), &[b, a]).unwrap();
        assert_eq!(aligned, [floats(&[2, 1], [1.0, 2.0])]);
    }
}
