//! MatMul with a constant matrix, and what followed it: `Y = activation(A · B + bias + R)`.
//!
//! ```text
//! A […, k]   B [k, n], constant   bias [n]   R as Y, a sum that ends here   ->   Y […, n]
//! ```
//!
//! Passes make it of MatMul for a session, with sizes; the inputs stand where those of Conv do.

use super::matmul;
use super::product::{Native, Sizes};
use crate::conv::{Activation, Epilogue};
use crate::error::Result;
use crate::network::operator::check::{
    at_most, has_shape, has_type, optional, read, read_optional, required, write, wrong,
};
use crate::network::operator::convolution::Prepared;
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, View, ViewMut};
use crate::plan::PlanOptions;

/// A product with a constant matrix, f32.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    pub(crate) activation: Activation<f32>,
    prepared: Prepared<f32>,
}

impl Linear {
    /// What a MatMul of these inputs is, where it can be one: that with `prepared` weights.
    pub(super) fn of(inputs: &Facts, prepared: &Prepared<f32>) -> Option<Self> {
        let &[Some(a), Some(b)] = inputs else {
            return None;
        };
        let matrices = a.shape.len() >= 2 && b.shape.len() == 2 && b.value.is_some();
        let filled = a.shape.iter().chain(&b.shape).all(|&length| length > 0);
        (matrices && filled && a.dtype == DType::F32).then(|| Self {
            activation: Activation::Identity,
            prepared: prepared.clone(),
        })
    }

    /// Ends with `activation`.
    pub(crate) fn activation(mut self, activation: Activation<f32>) -> Self {
        self.activation = activation;
        self
    }
}

/// The sizes of the product, and the shape of the result.
fn sizes(inputs: &Facts) -> Result<(Sizes, Vec<usize>)> {
    let (a, b) = (required(inputs, 0, "A")?, required(inputs, 1, "B")?);
    matmul::sizes(&a.shape, &b.shape)
}

impl Operator for Linear {
    fn name(&self) -> &'static str {
        "MatMul"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 4)?;
        for (index, name) in ["A", "B"].into_iter().enumerate() {
            has_type(required(inputs, index, name)?, name, &[DType::F32])?;
        }
        let (sizes, shape) = sizes(inputs)?;
        for (index, name, shape) in [(2, "the bias", &[sizes.n][..]), (3, "the residual", &shape)] {
            if let Some(fact) = optional(inputs, index) {
                has_type(fact, name, &[DType::F32])?;
                has_shape(fact, name, shape)?;
            }
        }
        Ok(vec![Fact::new(DType::F32, shape)])
    }

    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>> {
        let (sizes, _) = sizes(inputs)?;
        let constants = [None, required(inputs, 1, "B")?.value.as_ref()];
        let native = Native::new(&sizes, constants, 1.0, &self.prepared, options)?;
        let native = native.ok_or_else(|| wrong("B", "a constant matrix", "another"))?;
        Ok(Box::new(LinearStep {
            native,
            multiply_adds: sizes.multiply_adds(),
            activation: self.activation,
        }))
    }
}

struct LinearStep {
    native: Native,
    multiply_adds: u64,
    activation: Activation<f32>,
}

impl Step for LinearStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        scratch: &mut [f32],
    ) -> Result<()> {
        let epilogue = Epilogue {
            bias: read_optional(inputs, 2)?,
            residual: read_optional(inputs, 3)?,
            activation: self.activation,
        };
        let (x, y) = (read(inputs, 0)?, write(outputs, 0)?);
        self.native.run(x, &epilogue, y, scratch)
    }

    fn scratch_len(&self) -> usize {
        self.native.scratch_len()
    }

    fn multiply_adds(&self) -> u64 {
        self.multiply_adds
    }

    fn recipe(&self) -> String {
        self.native.recipe()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::network::operator::MatMul;
    use crate::network::operator::testing::{fact, floats, run};

    fn of(a: &Fact, b: &Fact) -> Option<Linear> {
        MatMul::new().linear(&[Some(a), Some(b)])
    }

    #[test]
    fn bias_residual_and_activation_follow_the_product() {
        let x = floats(&[2, 1, 2], [1.0, 2.0, -3.0, 4.0]);
        let w = floats(&[2, 3], [1.0, 0.0, 2.0, 0.0, 1.0, -1.0]);
        let bias = floats(&[3], [0.5, 0.0, 1.0]);
        let residual = floats(&[2, 1, 3], [-2.0, 1.0, 0.0, 3.0, 0.0, 20.0]);
        let linear = of(&fact(&[2, 1, 2]), &Fact::constant(Arc::new(w.clone())));
        let linear = linear.unwrap().activation(Activation::Relu);
        let inputs = [x, w, bias, residual];
        let y = run(&linear, &inputs).unwrap().remove(0);
        let expected = floats(&[2, 1, 3], [0.0, 3.0, 1.0, 0.5, 4.0, 11.0]);
        assert_eq!(y, expected);
    }

    #[test]
    fn made_of_constant_matrices_alone() {
        let w = |shape: &[usize]| {
            let zeros = crate::network::tensor::Tensor::zeros(DType::F32, shape).unwrap();
            Fact::constant(Arc::new(zeros))
        };
        assert!(of(&fact(&[5, 3]), &w(&[3, 2])).is_some());
        assert!(of(&fact(&[5, 3]), &fact(&[3, 2])).is_none());
        assert!(of(&fact(&[2, 5, 3]), &w(&[1, 3, 2])).is_none());
        assert!(of(&fact(&[3]), &w(&[3, 2])).is_none());
        assert!(of(&fact(&[0, 3]), &w(&[3, 2])).is_none());
        let doubles = Fact::new(DType::F64, [5, 3]);
        assert!(of(&doubles, &w(&[3, 2])).is_none());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (x, w) = (fact(&[5, 3]), fact(&[3, 2]));
        let linear = of(&x, &Fact::constant(Arc::new(floats(&[3, 2], [0.0; 6])))).unwrap();
        let infer = |inputs: &Facts| linear.infer(inputs);
        assert_eq!(infer(&[Some(&x), Some(&w)]).unwrap()[0].shape, [5, 2]);
        assert!(infer(&[Some(&x), Some(&w), Some(&fact(&[3]))]).is_err());
        assert!(infer(&[Some(&x), Some(&w), None, Some(&fact(&[2]))]).is_err());
        assert!(
            linear
                .step(&[Some(&x), Some(&w)], &PlanOptions::new())
                .is_err()
        );
    }
}
