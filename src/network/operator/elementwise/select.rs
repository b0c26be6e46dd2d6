//! Where: one of two inputs, as a truth value says.
//!
//! ```text
//! y = x where condition, else z      all three broadcast
//! ```

use std::sync::Arc;

use super::aligned::channels_last;
use super::broadcast::{Broadcast, broadcast_shape};
use super::in_pieces;
use super::unbroadcast::{give_sum, number};
use crate::error::Result;
use crate::geometry::Axis;
use crate::network::gradient::Backward;
use crate::network::operator::by_image::elementwise as by_element;
use crate::network::operator::check::{at_most, has_type, read, required, write};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, Scalar, View, ViewMut, with_type};
use crate::plan::PlanOptions;

/// Where: inputs condition, x and z of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Where;

impl Where {
    /// The operator.
    pub fn new() -> Self {
        Self
    }
}

fn operands<'a>(inputs: &Facts<'a>) -> Result<[&'a Fact; 3]> {
    Ok([
        required(inputs, 0, "condition")?,
        required(inputs, 1, "X")?,
        required(inputs, 2, "Y")?,
    ])
}

impl Operator for Where {
    fn name(&self) -> &'static str {
        "Where"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 3)?;
        let [condition, x, z] = operands(inputs)?;
        has_type(condition, "condition", &[DType::Bool])?;
        has_type(z, "Y", &[x.dtype])?;
        let shape = broadcast_shape(&[&condition.shape, &x.shape, &z.shape])?;
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn by_image(&self, inputs: &Facts, batched: &[bool]) -> bool {
        by_element(inputs, batched)
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let [condition, x, z] = operands(inputs)?;
        let shapes = [&condition.shape[..], &x.shape, &z.shape];
        let plan = Broadcast::new(&broadcast_shape(&shapes)?, shapes);
        Ok(Box::new(WhereStep {
            dtype: x.dtype,
            plan,
        }))
    }

    fn window(&self, _inputs: &Facts) -> Option<Vec<Axis>> {
        Some(Vec::new())
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        channels_last(Arc::new(*self), inputs)
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let (condition, dy) = (backward.input(0)?, backward.d_output()?);
        let zero = number(backward, dy, 0.0)?;
        for (index, chosen) in [(1, [condition, dy, zero]), (2, [condition, zero, dy])] {
            if backward.wants(index) {
                let gradient = backward.node(Self, &chosen)?;
                give_sum(backward, index, gradient)?;
            }
        }
        Ok(())
    }
}

struct WhereStep {
    dtype: DType,
    plan: Broadcast<3>,
}

impl WhereStep {
    fn select<T: Scalar>(&self, inputs: &[Option<View>], outputs: &mut [ViewMut]) -> Result<()> {
        let conditions = read::<bool>(inputs, 0)?;
        let (xs, zs) = (read::<T>(inputs, 1)?, read::<T>(inputs, 2)?);
        let steps = [0, 1, 2].map(|input| usize::from(self.plan.moves(input)));
        in_pieces(write::<T>(outputs, 0)?, |start, y| {
            self.plan.rows(start, y.len(), |[c, x, z], place| {
                for (column, y) in y[place].iter_mut().enumerate() {
                    let x = xs[x + steps[1] * column];
                    let z = zs[z + steps[2] * column];
                    *y = if conditions[c + steps[0] * column] {
                        x
                    } else {
                        z
                    };
                }
            });
        });
        Ok(())
    }
}

impl Step for WhereStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        with_type!(self.dtype, T => self.select::<T>(inputs, outputs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{check_gradient, doubles, fact, floats, infer, run};
    use crate::network::tensor::Tensor;

    #[test]
    fn all_three_are_broadcast() {
        let condition: Tensor = ndarray::arr2(&[[true], [false]]).into_dyn().into();
        let inputs = [condition, floats(&[3], [1.0, 2.0, 3.0]), floats(&[], [9.0])];
        let y = run(&Where, &inputs).unwrap();
        assert_eq!(y, [floats(&[2, 3], [1.0, 2.0, 3.0, 9.0, 9.0, 9.0])]);
    }

    #[test]
    fn gradients_by_central_differences() {
        let condition = ndarray::arr2(&[[true], [false]]).into_dyn();
        for [x, z] in [[&[2, 3][..], &[2, 3]], [&[3], &[]], [&[2, 1], &[4, 2, 3]]] {
            let (x, z) = (doubles(x, 1, -1.0, 1.0), doubles(z, 2, -1.0, 1.0));
            check_gradient(Where, &[condition.clone().into(), x, z], &[1, 2]);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let condition = Fact::new(DType::Bool, [2]);
        assert!(infer(&Where, &[&condition, &fact(&[3]), &fact(&[])]).is_err());
        assert!(infer(&Where, &[&fact(&[2]), &fact(&[2]), &fact(&[2])]).is_err());
        assert!(infer(&Where, &[&condition, &fact(&[2]), &condition]).is_err());
        assert!(infer(&Where, &[&condition, &fact(&[2])]).is_err());
    }
}
